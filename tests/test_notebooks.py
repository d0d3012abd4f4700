"""The notebooks as a user runs them: papermill in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def papermill(folder: Path, *arguments: str, notebook: str = "train") -> subprocess.CompletedProcess:
    """Run a notebook with `folder` as the working folder and as the project that data and runs go to."""
    command = [sys.executable, "-m", "papermill", NOTEBOOKS / f"{notebook}.ipynb", "out.ipynb", *arguments]
    environment = {**os.environ, "DID_HOME": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-p", "sorce", "ffpp"], "DidError: unknown parameter 'sorce': did you mean 'source'?"),
        (["-p", "source", "fppp"], "DidError: unknown source 'fppp': did you mean 'ffpp'?"),
        (["-p", "preset", "labtop"], "DidError: unknown preset 'labtop': did you mean 'laptop'?"),
        (["-p", "edition", "licensed"], "DidError: edition=licensed, but there is no FaceForensics++ (looked in"),
    ],
)
def test_a_mistake_is_one_sentence_with_a_bad_exit_status(tmp_path, arguments, sentence):
    done = papermill(tmp_path, *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr
    after = done.stderr.split("Exception encountered at")[1]
    assert after.count("\n") < 8, "a stack stands beside the sentence"
    assert not (tmp_path / "runs").exists()


def test_the_owners_line_writes_the_notebook_to_a_redirected_output(tmp_path):
    """`papermill notebooks/train.ipynb -p ... > out.ipynb`: stopped by a wrong preset, it still writes what it ran."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOKS / "train.ipynb"),
        "-p",
        "source",
        "ffpp",
        "-p",
        "preset",
        "x",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "DID_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stdout.lstrip().startswith("{")
    assert '"nbformat"' in done.stdout
