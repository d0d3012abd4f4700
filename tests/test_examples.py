"""The examples, as a reader would use them: from outside the package, through the command line."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from did.cli import main
from did.sources import open_source

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TASKS = {
    "rival": ("domains", "smoothing=0.2"),
    "loss_term": ("did-balanced", "weight=0.5"),
    "your_backbone": ("did-small", "width=4"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory, furnish):
    """A project of a reader's, with the examples copied into it and the stand-in of FF++ written."""
    home = furnish(tmp_path_factory.mktemp("reader"))
    shutil.copytree(EXAMPLES, home / "mine")
    return home


def did(*words: object) -> str:
    done = CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_trained_used_and_listed(home, monkeypatch, name):
    monkeypatch.setenv("DID_HOME", str(home))
    monkeypatch.chdir(home)
    (task, option), plugin = TASKS[name], ["--plugin", f"mine/{name}.py"]
    train = ["train", "ffpp", "--preset", "smoke", "--edition", "stand-in", "--task", task, *plugin]
    said = did(*train, "--option", option)
    run = re.search(r"^run (\w+) in", said, re.M)[1]
    assert re.search(r"^run (\w+) in", did(*train), re.M)[1] != run, "an option is part of the name"
    record = json.loads(did("runs", "show", run, *plugin))
    assert (record["task"], [f"{k}={v:g}" for k, v in record["options"].items()]) == (task, [option])
    assert set(record["contents"]) == {"code"}
    assert re.search(rf"{run} +{task} +ffpp", did("runs", "list"))
    clip = next((home / "data/stand-in").rglob("*.mp4"))
    answers = [json.loads(did("predict", "--json", "--run", run, *plugin, clip).splitlines()[-1])]
    did("export", run, home / f"{name}-detector", *plugin)
    answers.append(json.loads(did("predict", "--json", "--run", home / f"{name}-detector", *plugin, clip)))
    assert [one["status"] for one in answers] == ["scored", "scored"]
    assert answers[0]["score"] == pytest.approx(answers[1]["score"], abs=1e-6)


def test_without_its_plugin_a_task_is_not_known(home, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(home))
    command = [sys.executable, "-m", "did.cli", "train", "ffpp", "--preset", "smoke", "--task", "domains"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: unknown task 'domains'") and "--plugin" in done.stderr


def test_a_data_set_is_read_and_trained_on(home, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(home))
    monkeypatch.chdir(home)
    source = open_source("ffpp", "stand-in", preset="smoke", progress=False)
    with (source.root / "videos.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "method", "split", "person"])
        rows.writerows(source.index[["path", "method", "split", "identity"]].itertuples(index=False))
    clips = home / "clips"
    shutil.copytree(source.root, clips, ignore=shutil.ignore_patterns("standin.json"))
    (source.root / "videos.csv").unlink()
    words = ["mine", "--root", clips, "--plugin", "mine/dataset.py"]
    assert "no identity in two splits" in did("data", "check", *words)
    said = did("train", *words, "--preset", "smoke", "--task", "bce")
    assert "my videos" in said and re.search(r"^run \w+ in", said, re.M)
