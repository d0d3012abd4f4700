"""The command line as a user meets it: what it prints, where it leaves things, its exit status."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from did import __version__
from did.cli import main
from did.data.store import open_store
from did.errors import DidError
from did.standin import write
from did.standin.drawn import draw
from did.training import runs


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
    assert "STAND-IN, not the licensed data" in out
    assert "FaceSwap" in out and "crops" in out
    (store,) = (project / "data" / "faces").glob("ffpp-*-2x64-m0.3")
    assert f"The crops are in {store}" in out
    assert len(open_store(store).manifest) == 6 * 5 * 2
    before = {file: file.stat().st_mtime_ns for file in store.rglob("*")}
    assert did("prepare", "ffpp", "--root", standin, "--frames", 2, "--size", 64)[0] == 0
    assert {file: file.stat().st_mtime_ns for file in store.rglob("*")} == before


def test_prepare_takes_one_split_alone_and_no_face_that_the_source_has_not(standin, tmp_path):
    options = ("--root", standin, "--frames", 1, "--size", 64, "--store", tmp_path / "s")
    code, _, err = did("prepare", "ffpp", *options, "--split", "test")
    assert code == 0, err
    assert set(open_store(tmp_path / "s").manifest["split"]) == {"test"}
    code, _, err = did("prepare", "ffpp", *options, "--split", "holdout")
    assert code == 1 and "has no split 'holdout'; it has train, val, test" in err
    code, _, err = did("prepare", "ffpp", *options, "--face", "given")
    assert code == 1 and "are whole pictures: take largest or track" in err


def test_prepare_counts_what_it_set_aside(standin, tmp_path):
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


def test_prepare_counts_what_is_left_out_and_compares_contents(standin, tmp_path, monkeypatch):
    import shutil

    faces = sorted(standin.rglob("youtube/**/*.mp4"))
    root = tmp_path / "~" / "mine"
    for number, file in enumerate(faces):
        for place in ("real", "fake/swap"):
            (root / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / place / f"p{number}.mp4")
            with open(root / place / f"p{number}.mp4", "ab") as clip:
                clip.write(place.encode())
    (root / "real/old.vob").touch()
    shutil.copy(root / "real/p0.mp4", root / "fake/swap/p0.mp4")
    monkeypatch.setenv("HOME", str(tmp_path / "~"))
    options = ("prepare", "folder:~/mine", "--frames", 1, "--size", 64, "--store=~/crops")
    code, out, err = did(*options)
    assert code == 0, err
    assert "left out: 1 × .vob\n" in out
    assert f"The crops are in {tmp_path}/~/crops" in out
    sentence = "2 files have the content of a file of another class, such as fake/swap/p0.mp4 (swap) and real/p0.mp4 ("
    assert f"Warning: {sentence}" in err
    code, _, err = did(*options, "--strict")
    assert code == 1
    assert f"Error: {sentence}" in err


@pytest.mark.parametrize("command", [("prepare", "--frames", 1, "--size", 64), ("data", "check")])
def test_missing_videos_are_let_pass_where_that_is_asked_for_and_counted(standin, tmp_path, project, command):
    import shutil

    root = Path(shutil.copytree(standin, tmp_path / "copy"))
    next(root.rglob("Deepfakes/c23/videos/*.mp4")).unlink()
    given = [*command[: 1 + (command[0] == "data")], "ffpp", "--root", root, *command[1 + (command[0] == "data") :]]
    code, _, err = did(*given)
    assert code == 1 and "lacks videos that its splits list (1 of 6 of Deepfakes" in err and "--allow-missing" in err
    code, out, err = did(*given, "--allow-missing")
    assert code == 0, err
    assert "missing, and let pass: 1 of the videos that the lists name" in out
    assert "goes without 1 of 6 of Deepfakes, first " in err


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
    (root / "real/phone.HEIC").touch()
    (root / "fake/swap/notes.txt").touch()
    code, out, err = did("data", "check", f"folder:{root}")
    assert code == 0
    assert "left out: 1 × .heic (convert to JPEG or PNG)\nleft out: 1 × .txt\n" in out
    assert "(1 in all, first real/phone.HEIC); convert to JPEG or PNG" in err
    code, _, err = did("data", "check", f"folder:{root}", "--strict")
    assert code == 1 and "first real/phone.HEIC" in err
    (root / "real/phone.HEIC").unlink()
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


def test_a_run_is_tested_on_another_source_and_compared(tiny_run, project, standin, tmp_path):
    name = tiny_run.folder.name
    shutil.copytree(tiny_run.folder, project / "runs" / name)
    code, out, err = did("test", "ffpp", "--root", standin, "--run", name[:8])
    assert code == 0, err
    (scores,) = (project / "runs" / name).glob("on-ffpp-*/scores.csv")
    assert f"the scores are in {scores}" in out and "frame" in out and "Deepfakes" in out
    mine = tmp_path / "theirs.csv"
    table = tiny_run.scores.assign(score=lambda of: -of.score)[["video", "label", "score", "frame", "identity"]]
    table.to_csv(mine, index=False)
    code, out, err = did("compare", name[:8], mine, "--csv", tmp_path / "table.csv")
    assert code == 0, err
    assert f"{name[:8]} is " in out and f" {mine}: AUC per frame " in out and "p = " in out
    assert (tmp_path / "table.csv").read_text().startswith("level,method,AUC ")
    both = did("compare", f"{name}+{name}", name)[1]
    assert " cannot be told from " in both and "+0.000 [+0.000, +0.000]" in both, "an ensemble of one with itself"
    assert did("compare", name, f"{name},{name}")[2].startswith("Error: 1 and 2 runs cannot be paired by seed")
    assert "there is no finished run 'nothing'" in did("compare", name, "nothing")[2]


def test_a_folder_for_the_table_is_refused_before_any_score_is_read(tmp_path):
    code, _, err = did("compare", "nothing", "nothing", "--csv", tmp_path)
    assert code == 1 and err == f"Error: {tmp_path} is a folder; name a file.\n"


def test_every_path_is_taken_with_a_tilde(project, tmp_path, monkeypatch):
    """Also where the shell leaves it, as in --csv=~/rows.csv."""
    paths = {
        f"{name} {parameter.name}": parameter.type
        for name, command in commands(main).items() if not name.startswith("book ")
        for parameter in command.params if isinstance(parameter.type, click.Path)
    }  # fmt: skip
    assert {"predict overlay", "predict html_file", "predict csv_file", "compare file", "ledger csv_file"} <= set(paths)
    monkeypatch.setenv("HOME", str(tmp_path))
    taken = {name: kind.convert("~/x", None, None) for name, kind in paths.items()}
    assert taken == dict.fromkeys(paths, tmp_path / "x")
    write_record(project)
    assert did("ledger", "--csv=~/rows.csv")[0] == 0 and (tmp_path / "rows.csv").is_file()


# --- read-only places ------------------------------------------------------------------------------------------------


def commands(group: click.Group, before: str = "") -> dict[str, click.Command]:
    """All commands by name, "runs rm" for one in a group."""
    found: dict[str, click.Command] = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found |= commands(command, f"{before}{name} ") if isinstance(command, click.Group) else {before + name: command}
    return found


#: Arguments of each command, and the folder in the sentence; None if the command only reads, and does so.
ON_READ_ONLY = [
    ("prepare ffpp --preset smoke", "{home}/data/stand-in"),
    ("prepare ffpp --root {standin} --frames 1 --size 64", "{home}/data/faces"),
    ("prepare ffpp --root {standin} --frames 1 --size 64 --store {place}/crops", "{place}"),
    ("prepare ffpp --preset smoke --faces london", "{home}/data/portraits/london"),
    ("train ffpp --root {standin} --preset smoke", "{home}/runs"),
    ("test ffpp --root {standin} --run {run}", "{home}/data/faces"),
    ("compare {run} {run}", None),
    ("compare {run} {run} --csv {place}/deep/x.csv", "{place}/deep"),
    ("predict {picture} --run {run}", None),
    ("predict {picture} --run {run} --html {place}/deep/page.html", "{place}/deep"),
    ("predict {picture} --run {run} --csv {place}/deep/faces.csv", "{place}/deep"),
    ("predict {picture} --run {run} --json --overlay {place}/drawn", "{place}/drawn"),
    ("export {run} {place}/x --onnx", "{place}/x"),
    ("pull somebody/detector {place}/x", "{place}/x"),
    ("data check ffpp --root {standin}", None),
    ("data check ffpp --preset smoke", "{home}/data/stand-in"),
    ("runs train table1_intra_cross --preset smoke --dry", None),
    ("runs replay fig7_embeddings --preset smoke", "{home}/data/stand-in"),
    ("runs keep fig7_embeddings --preset smoke", "{home}/data/stand-in"),
    ("runs list", None),
    ("runs show {run}", None),
    ("runs rm {run} --yes", "{home}/runs/{run}"),
    ("ledger", None),
    ("worlds fig7_embeddings --preset smoke", "{home}/data/stand-in"),
    ("power table1_intra_cross", None),
    ("ledger --csv {place}/rows.csv", "{place}"),
    ("ledger --wall 60 smoke 9", "{home}/results"),
    ("book build --preset smoke", "{home}/_build"),
    ("book build --committed", "{home}/_build"),
    ("book pdf {place}/did.pdf", "{place}"),
    ("book refresh", "{home}/tests/notebooks"),
    ("book refresh --shown", "{home}/notebooks"),
    ("book front", "{home}"),
    ("book face {run} {place}/face.json", "{place}"),
]  # fmt: skip


@pytest.fixture
def on_read_only(read_only, tiny_run, standin, tmp_path, monkeypatch) -> dict[str, Path | str]:
    """A read-only checkout with a run and a record, and what the commands are to be called with."""
    root, home = Path(__file__).parents[1], read_only / "home"
    subprocess.run(["mount", "-o", "remount,rw", str(read_only)], check=True)
    for folder in ("notebooks", "book"):
        shutil.copytree(root / folder, home / folder, ignore=shutil.ignore_patterns("executed"))
    (home / "src/did").mkdir(parents=True)
    (home / "src/did/__init__.py").touch()
    shutil.copytree(tiny_run.folder, home / "runs" / tiny_run.folder.name)
    write_record(home)
    subprocess.run(["mount", "-o", "remount,ro", str(read_only)], check=True)
    monkeypatch.setenv("DID_HOME", str(home))
    Image.fromarray(draw(np.random.default_rng(5)).image).save(tmp_path / "a.png")
    names = {"home": home, "place": read_only, "run": tiny_run.folder.name}
    return names | {"standin": standin, "picture": tmp_path / "a.png"}


def test_every_command_is_tried_on_a_read_only_place():
    """A new command needs a row."""
    tried = {" ".join(text.split()[: 1 + (text.split()[0] in ("data", "runs", "book"))]) for text, _ in ON_READ_ONLY}
    assert tried | {"push"} == set(commands(main)), "push writes to the hub alone: see tests/predict/test_hub.py"


def test_on_a_read_only_place_each_command_works_or_says_so_before_the_work(on_read_only):
    before = {file: file.stat().st_mtime_ns for file in on_read_only["home"].rglob("*")}
    for text, folder in ON_READ_ONLY:
        code, out, err = did(*text.format(**on_read_only).split())
        if folder is None:
            assert code == 0 and out and "Error" not in err, (text, err)
            continue
        assert code == 1 and "Written" not in err, (text, err)
        assert "score" not in out and "crops" not in out and "Removed" not in out and "Noted" not in out, (text, out)
        (sentence,) = [line for line in err.splitlines() if line.startswith("Error: ")]
        assert sentence == err.splitlines()[-1], (text, err)
        assert folder.format(**on_read_only) in sentence and "read-only file system" in sentence.lower(), (
            text,
            sentence,
        )
        assert any(word in sentence for word in ("make it writable", "name another folder")), sentence
    assert {file: file.stat().st_mtime_ns for file in on_read_only["home"].rglob("*")} == before


def test_a_run_is_refused_before_its_training(tiny_source, tiny_settings, read_only, monkeypatch):
    """As the notebooks ask for it."""
    monkeypatch.setenv("DID_HOME", str(read_only))
    monkeypatch.setattr("did.training.runs.fit", None)
    with pytest.raises(DidError, match=r"Nothing can be written to .*/runs \(read-only .* \(DID_HOME names the"):
        runs.run(tiny_source[0], tiny_settings, store=tiny_source[1], progress=False)


def test_finished_crops_are_taken_from_a_read_only_place(standin, read_only):
    options = ("--frames", 1, "--size", 64, "--store", read_only / "crops")
    subprocess.run(["mount", "-o", "remount,rw", str(read_only)], check=True)
    assert did("prepare", "ffpp", "--root", standin, *options)[0] == 0
    (read_only / ".crops.seen.csv").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", str(read_only)], check=True)
    code, out, err = did("prepare", "ffpp", "--root", standin, *options)
    assert code == 0 and "The crops are in" in out, err


def test_what_the_file_system_refuses_is_one_sentence_wherever_it_does(project, monkeypatch):
    def refuse():
        raise PermissionError(13, "Permission denied", "/some/place")

    monkeypatch.setattr("did.training.runs.list_runs", refuse)
    assert did("runs", "list") == (1, "", "Error: '/some/place' cannot be read or written (permission denied).\n")


# --- did ledger ----------------------------------------------------------------------------------------------------

ROW = {"runs_on": "lite0", "test": "CDF2", "level": "frame", "metric": "auc", "std": None, "seeds": 2, "run_here": True}
NOT_RUN = {"ours": None, "low": None, "high": None, "std": None, "seeds": 0, "run_here": False, "runs_on": ""}


def write_record(project: Path, experiment: str = "table1_intra_cross", bank: str = "drawn", **changes: object) -> Path:
    """A record made by hand, with one row that was run and one that was not."""
    entry = {
        "experiment": experiment,
        "title": f"The title of {experiment}",
        "claim": {"quote": "", "where": ""},
        "preset": "laptop",
        "edition": "licensed" if bank == "licensed" else "stand-in",
        "bank": bank,
        "data": {"cdf2": "Celeb-DF of a kind"},
        "protocol": "frames and videos, 2 of a kind",
        "seeds": [0, 1],
        "rows": [
            ROW | {"row": "Ours", "ours": 0.61234, "low": 0.5, "high": 0.7, "std": 0.0211, "paper": 0.802},
            ROW | NOT_RUN | {"row": "Theirs", "paper": 0.731},
        ],
        "differences": [],
        "sentences": ["Ours is ahead by nothing to speak of."],
        "runs": {"Ours": ["aaa", "bbb"]},
        "provenance": {
            "commit": "c0ffee", "date": "2025-02-03T04:05:06+00:00", "machine": {"cores": 7, "gpu": None},
            "minutes": 12.34, "minutes_runs": 56.78,
        },
        **changes,
    }  # fmt: skip
    file = project / "results" / f"{experiment}-laptop-{bank}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(entry))
    return file


def line_with(text: str, *words: str) -> str:
    (line,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return line


def test_ledger_prints_paper_against_ours_and_marks_every_row_of_a_stand_in(project):
    write_record(project)
    write_record(project, "table3_backbones", "licensed")
    code, out, err = did("ledger")
    assert (code, err) == (0, "")
    first, second = out.split("Minutes")[0].split("The title of table3_backbones")
    for text, kind, other in ((first, "STAND-IN (drawn)", "licensed"), (second, "licensed", "STAND-IN")):
        ours, theirs = line_with(text, "Ours", "CDF2"), line_with(text, "Theirs", "CDF2")
        assert ours.split(kind)[0].split() == "Ours CDF2 AUC 0.802 0.612 [0.500, 0.700] 0.021 2 lite0".split()
        assert theirs.split(kind)[0].split() == "Theirs CDF2 AUC 0.731 not run here - - -".split()
        assert text.count(kind) == 3  # its title and two rows
        assert other not in text
        for part in ("2 of a kind", "Celeb-DF of a kind", "- Ours is ahead", "c0ffee", "2025-02-03", "7 cores"):
            assert part in text, part
    minutes = line_with(out.split("Minutes")[1], "table1_intra_cross")
    assert "12.3" in minutes and "56.8" in minutes


def test_ledger_of_one_experiment(project):
    write_record(project)
    write_record(project, "table3_backbones")
    code, out, _ = did("ledger", "--experiment", "table3_backbones")
    assert code == 0 and "table3_backbones" in out and "table1_intra_cross" not in out
    code, out, err = did("ledger", "--experiment", "table3_backbone")
    assert (code, out) == (1, "")
    assert err.startswith("Error: no record of 'table3_backbone': did you mean 'table3_backbones'? valid: table1_")
    assert err.count("\n") == 1


def test_ledger_writes_all_rows_as_csv(project, tmp_path):
    write_record(project)
    write_record(project, bank="licensed")
    file = tmp_path / "rows.csv"
    assert did("ledger", "--csv", file) == (0, f"The rows are in {file}\n", "")
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = [(row["kind"], row["row"], row["paper"], row["here"], row["note"]) for row in rows]
    assert found == [
        ("STAND-IN (drawn)", "Ours", "0.802", "0.61234", ""),
        ("STAND-IN (drawn)", "Theirs", "0.731", "", "not run here"),
        ("licensed", "Ours", "0.802", "0.61234", ""),
        ("licensed", "Theirs", "0.731", "", "not run here"),
    ]
    assert {row["protocol"] for row in rows} == {"frames and videos, 2 of a kind"}
    assert {row["commit"] for row in rows} == {"c0ffee"}


def test_ledger_without_a_record_says_how_to_make_them(project):
    code, out, err = did("ledger")
    assert (code, out) == (1, "")
    assert err == f"Error: no record in {project / 'results'}: `make results`, in a checkout, makes them\n"
    assert not (project / "results").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff", '{"experiment": "table1_intra_cross"}'])
def test_ledger_names_a_corrupt_record(project, content):
    write_record(project)
    file = write_record(project, "table2_diffusion")
    file.write_bytes(content.encode("latin-1"))
    for arguments in ((), ("--experiment", "table1_intra_cross"), ("--csv", project / "rows.csv")):
        code, out, err = did("ledger", *arguments)
        assert (code, out) == (1, "")
        assert err.startswith(f"Error: the record {file} cannot be read (")
        assert err.endswith("): make it again, or remove it\n") and err.count("\n") == 1
    assert not (project / "rows.csv").exists()


def test_ledger_takes_no_half_written_record_for_one(project):
    write_record(project)
    (project / "results" / ".table2_diffusion-laptop-drawn.json.123.tmp").write_text("{")
    (project / "results" / "wall.csv").write_text("date\n")
    assert did("ledger")[0] == 0


def test_ledger_notes_the_wall_time_under_what_was_noted_before(project):
    write_record(project)
    for seconds, preset, notebooks in ((90, "smoke", 9), (7200, "laptop", 9)):
        code, out, _ = did("ledger", "--wall", seconds, preset, notebooks)
        assert code == 0
        assert out.startswith(f"Noted in {project / 'results' / 'wall.csv'}\n") and "STAND-IN" in out
    with (project / "results" / "wall.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    noted = [(row["preset"], float(row["minutes"]), row["notebooks"]) for row in rows]
    assert noted == [("smoke", 1.5, "9"), ("laptop", 120.0, "9")]
    assert all(row["commit"] and row["date"] and int(row["cores"]) > 0 for row in rows)
    assert did("ledger", "--wall", "soon", "laptop", 9)[0] == 2


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


def train(standin: Path, *more: str) -> list[str]:
    sizes = ("--set", "iterations=2", "--set", "validate_every=2")
    return ["train", "ffpp", "--root", str(standin), "--preset", "smoke", *sizes, *more]


def test_train_gives_the_run_that_the_notebook_gives(standin, project):
    from did.paper.parameters import train_settings
    from did.sources import face_store, open_source
    from did.training.runs import run

    code, out, err = did(*train(standin, "--seed", "3", "--set", "alpha=1"))
    assert code == 0, err
    (folder,) = (project / "runs").glob("[!.]*")
    assert "STAND-IN" in out and "2 iterations of 15; seed 3" in out and "NeuralTextures" in out
    assert f"run {folder.name} in {folder}" in out
    assert {file.name for file in folder.iterdir()} == {
        "history.csv", "metrics.csv", "model.safetensors", "record.json", "scores.csv"
    }  # fmt: skip
    before = (folder / "record.json").stat().st_mtime_ns
    settings = train_settings("smoke", seed=3, options={"iterations": 2, "validate_every": 2, "alpha": 1.0})
    source = open_source("ffpp", "auto", standin, None, "smoke")
    assert run(source, settings, store=face_store(source, settings, False), progress=False).folder == folder
    assert did(*train(standin, "--seed", "3", "--set", "alpha=1"))[0] == 0
    assert (folder / "record.json").stat().st_mtime_ns == before


def test_what_train_cannot_take_is_one_sentence_before_any_work(standin, project):
    for given, sentence in (
        (("--set", "alhpa=1"), "Error: unknown setting 'alhpa': did you mean 'alpha'"),
        (("--task", "bcd"), "Error: unknown task 'bcd': did you mean 'bce'"),
        (("--preset", "smok"), "Error: unknown preset 'smok': did you mean 'smoke'"),
    ):
        code, _, err = did(*train(standin, *given))
        assert code == 1
        assert err.startswith(sentence) and err.count("\n") == 1
    assert not (project / "data" / "faces").exists()
    absent = "mps" if sys.platform != "darwin" else "cuda"
    code, _, err = did(*train(standin, "--accelerator", absent))
    assert code == 1 and err.splitlines()[-1].startswith("Error: these devices cannot be used: ")


@pytest.mark.slow
def test_two_processes_by_either_launcher_leave_a_run_of_the_same_form(standin, project):
    """As one process does: the same files, the same keys, the same numbers up to rounding."""
    fabric, script = (str(Path(sys.executable).with_name(name)) for name in ("fabric", "did"))
    commanded = [fabric, "run", "--devices", "2", "--accelerator", "cpu", "--strategy", "ddp", script]
    own = [script, *train(standin), "--devices", "2", "--accelerator", "cpu"]
    found = []
    for command in ([script, *train(standin)], own, [*commanded, *train(standin)]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("STAND-IN") == 1 and done.stdout.count("\nrun ") == 1
        (folder,) = (project / "runs").glob("[!.]*")
        found.append({file.name: file.read_text() for file in folder.iterdir() if file.suffix != ".safetensors"})
        found[-1]["record.json"] = json.loads(found[-1]["record.json"])
        assert (folder / "model.safetensors").is_file() and len(list(folder.iterdir())) == 5
        folder.rename(project / f"kept-{len(found)}")
    one, *several = found
    for each in several:
        assert each["record.json"]["provenance"]["machine"]["processes"] == 2
        assert each["record.json"].keys() == one["record.json"].keys()
        assert each["record.json"]["provenance"].keys() == one["record.json"]["provenance"].keys()
        for name in ("history.csv", "scores.csv"):
            expected, got = (list(csv.reader(of[name].splitlines())) for of in (one, each))
            assert got[0] == expected[0] and len(got) == len(expected)
            for row, wanted in zip(got[1:], expected[1:], strict=True):
                for value, target in zip(row, wanted, strict=True):
                    assert value == target or float(value) == pytest.approx(float(target), rel=1e-3, abs=1e-4)
