"""The command line as a user meets it: what it prints, where it leaves things, its exit status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from did import __version__
from did.cli import main
from did.data.prepare import open_store
from did.data.standin import write


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path / "project"))
    monkeypatch.delenv("DID_DATA", raising=False)
    return tmp_path / "project"


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli") / "ffpp"
    write("ffpp", root, {"train": 2, "val": 2, "test": 2}, frames=2, progress=False, workers=1)
    return root


def did(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_prepare_says_what_it_did_and_where(standin, project):
    code, out, err = did("prepare", "ffpp", "--root", standin, "--frames", 2, "--size", 64)
    assert code == 0, err
    assert "a stand-in, not the licensed data" in out
    assert "FaceSwap" in out and "crops" in out
    (store,) = (project / "data" / "faces").glob("ffpp-*-2x64-m0.3")
    assert f"The crops are in {store}" in out
    assert len(open_store(store).manifest) == 6 * 5 * 2
    before = {file: file.stat().st_mtime_ns for file in store.rglob("*")}
    assert did("prepare", "ffpp", "--root", standin, "--frames", 2, "--size", 64)[0] == 0
    assert {file: file.stat().st_mtime_ns for file in store.rglob("*")} == before


def test_prepare_counts_what_it_set_aside(standin, tmp_path):
    import shutil

    root = Path(shutil.copytree(standin, tmp_path / "copy"))
    next(root.rglob("Deepfakes/c23/videos/*.mp4")).write_bytes(b"")
    options = ("prepare", "ffpp", "--root", root, "--frames", 1, "--size", 64, "--store", tmp_path / "out")
    code, out, _ = did(*options)
    assert code == 0
    assert "set aside: 1 × does not decode" in out
    assert f"what gave none in {tmp_path / 'out' / 'quarantine.csv'}" in out
    code, _, err = did(*options[:-1], tmp_path / "strict", "--strict")
    assert code == 1
    assert err.startswith("Error: 1 of 30 videos cannot be read, the first, ") or "\nError: 1 of 30 videos" in err


def test_check_prints_every_check(standin, tmp_path):
    code, out, err = did("data", "check", "ffpp", "--root", standin)
    assert code == 0, err
    assert "NeuralTextures" in out
    assert out.count(" ok") >= 6 and "fail" not in out


def test_check_ends_badly_where_a_check_fails(tmp_path):
    root = tmp_path / "mine"
    for number in range(6):
        for place, shade in (("real", number), ("fake/swap", 100 + number)):
            (root / place).mkdir(parents=True, exist_ok=True)
            Image.new("L", (30, 30), shade).save(root / place / f"{number}.png")
    assert did("data", "check", f"folder:{root}")[0] == 0
    split = {"train": "0 1 2 3", "val": "4", "test": "5"}
    lines = [f"real/{n}.png,{n},{name}" for name, names in split.items() for n in names.split()]
    lines += [f"fake/swap/{n}.png,{n},{name}" for name, names in split.items() for n in names.split()]
    # The same picture as a real one of the training split and as one of the test split.
    (root / "real" / "5.png").write_bytes((root / "real" / "0.png").read_bytes())
    (root / "people.csv").write_text("path,identity,split\n" + "\n".join(lines) + "\n")
    code, out, _ = did("data", "check", f"folder:{root}")
    assert code == 1
    assert out.count("fail") == 1
    assert "real/0.png" in out and "real/5.png" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("prepare", "fppp"), "Error: unknown source 'fppp': did you mean 'ffpp'"),
        (("prepare", "ffpp", "--root", "no/folder"), "Error: data_root no/folder is not a folder"),
        (("prepare", "ffpp", "--root", "{standin}", "--face", "first"), "Error: face is 'first'"),
        (("prepare", "ffpp", "--root", "{standin}", "--frames", "0"), "Error: frames is 0"),
        (("data", "check", "cdf2", "--root", "{standin}"), "Error: "),
    ],
)
def test_a_mistake_is_one_sentence_on_standard_error(standin, arguments, sentence):
    code, _, err = did(*(str(argument).format(standin=standin) for argument in arguments))
    assert code == 1
    assert sentence in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_runs_are_listed_shown_and_removed(tiny_run, project):
    import shutil

    name = tiny_run.folder.name
    assert did("runs", "list") == (0, "none\n", "")
    shutil.copytree(tiny_run.folder, project / "runs" / name)
    code, out, _ = did("runs", "list")
    assert code == 0 and name in out and "test_efficientnet" in out
    code, out, _ = did("runs", "show", name[:8])
    assert json.loads(out) == tiny_run.record
    assert did("runs", "rm", name)[0] == 1  # asks, and nobody says yes
    assert did("runs", "rm", name, "--yes")[0] == 0
    assert not (project / "runs" / name).exists()
    code, _, err = did("runs", "show", name)
    assert code == 1 and f"Error: there is no finished run '{name}': none is there yet" in err


def test_an_unknown_option_names_the_nearest():
    code, _, err = did("prepare", "ffpp", "--rout", "x")
    assert code == 2
    assert "--root" in err


def test_the_command_is_installed_and_help_needs_no_torch():
    command = Path(sys.executable).with_name("did")
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert __version__ in version.stdout
    code = "import sys; from did.cli import main; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
