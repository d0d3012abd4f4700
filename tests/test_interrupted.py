"""An experiment under kill -9: started again it goes on, and ends with what an undisturbed one ends with.

Two ways to die. A child that kills itself before a given rename meets every moment at which something becomes whole,
on the tiny source. A process that is killed from outside, when a file comes up, meets what lies between: stand-in,
crops, and in Table 4's notebook training, testing, record.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from did.data import ffpp
from did.data.prepare import prepare
from did.data.store import FaceStore
from did.paper import conduct, records
from did.presets import PRESETS
from did.training import runs

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "table4_ablation.ipynb"
ROWS = ["w/o T", "DID, T's own step × 1"]
RUN = {"history.csv", "metrics.csv", "model.safetensors", "record.json", "scores.csv"}
TESTED = {"metrics.csv", "record.json", "scores.csv"}

# A new process is forked from one that has imported all this: a second each would be five otherwise.
fresh = multiprocessing.get_context("forkserver")
fresh.set_forkserver_preload(["did.paper.experiments", "did.paper.tables", "did.paper.records", "psutil", "pytest"])


# --- what an experiment leaves, and what a half-done one may leave -------------------------------------------------


def content(folder: Path) -> dict[str, Any]:
    """Name -> bytes of the files in it; of the record all but its provenance, which tells times."""
    found: dict[str, Any] = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    found = {name: of for name, of in found.items() if not name.endswith(".lock")}
    if "record.json" in found:
        record = json.loads(found["record.json"])
        assert {"commit", "date", "machine", "minutes"} <= set(record.pop("provenance"))
        found["record.json"] = record
    return found


def finished(home: Path) -> dict[str, dict[str, Any]]:
    """What counts as done under `home`: runs, their tests on other sources, records of experiments."""
    found = {}
    for run in runs.all_runs(home / "runs"):
        assert run.record["run"] == run.folder.name
        found[run.folder.name] = content(run.folder)
        for folder in run.folder.glob("on-*"):
            if (folder / runs.RECORD).is_file():
                found[f"{run.folder.name}/{folder.name}"] = content(folder)
    for entry in records.load(home / "results") if any(home.glob("results/*.json")) else ():
        found[f"results/{entry['experiment']}"] = {key: of for key, of in entry.items() if key != "provenance"}
    return found


def nothing_half_written(home: Path, whole: dict[str, dict[str, Any]]) -> None:
    """What counts as done is what an undisturbed experiment has there, and so it is to `did runs` and `did ledger`."""
    found = finished(home)
    assert set(found) <= set(whole)
    for name, of in found.items():
        assert of == whole[name], name
    assert len(runs.list_runs(home / "runs")) == sum(len(name) == 12 for name in found)


def goes_on_to_the_same(home: Path, whole: dict[str, dict[str, Any]]) -> None:
    """All is done, all is equal, and nothing lies about that a killed process was writing."""
    found = finished(home)
    assert set(found) == set(whole)
    for name, of in whole.items():
        assert found[name] == of, name
    assert not [*(home / "runs").rglob("*.tmp"), *(home / "data").rglob("*.tmp")]
    assert not list((home / "runs").glob("*.part"))


def test_what_is_compared_is_everything(undisturbed):
    whole = finished(undisturbed)
    runs, tested = [name for name in whole if len(name) == 12], [name for name in whole if "/on-cdf2-" in name]
    assert (len(runs), len(tested), len(whole)) == (2, 2, 5)
    assert all(set(whole[name]) == RUN for name in runs)
    assert all(set(whole[name]) == TESTED for name in tested)
    entry = whole["results/table4_ablation"]
    assert entry["runs"].keys() == set(ROWS) and len(entry["rows"]) == 8
    assert len(entry["differences"]) == 2 and entry["sentences"]


# --- a child that dies at a rename ---------------------------------------------------------------------------------


def die_before(number: int) -> None:
    """From here on this process is killed where it would rename a file or folder for the `number`-th time."""
    rename, done = os.replace, []

    def replace(old: Any, new: Any) -> None:
        done.append(new)
        if len(done) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(old, new)

    os.replace = replace  # type: ignore[assignment]


def perform(home: Path, data: dict[str, tuple] | None, number: int) -> None:
    """Two rows of Table 4 at preset smoke and their record, as the notebook makes them; each training is noted.

    `data` gives source and crops by name; None makes stand-ins, smaller yet than the preset's."""
    torch.set_num_threads(1)
    os.environ["DID_HOME"] = str(home)
    os.environ.pop("DID_DATA", None)
    if data is None:
        size = {"people": {"train": 2, "val": 2, "test": 2}, "frames": 2}
        PRESETS["smoke"].standins.update(dict.fromkeys(("ffpp", "cdf2"), size))
    else:
        conduct.open_source = lambda name, *_, **__: data[name][0]
        runs.face_store = lambda source, *_: data[source.name][1]
        runs.for_testing = lambda source, *_: source
    fit = runs.fit

    def noted(*arguments: Any) -> Any:
        with (home / "begun").open("a") as file:
            file.write(f"{arguments[3].name}\n")
        return fit(*arguments)

    runs.fit = noted
    die_before(number)
    conduct.conduct("table4_ablation", "smoke", rows=ROWS, progress=False)


def start(home: Path, data: dict[str, tuple] | None, number: int = 0) -> Any:
    home.mkdir(exist_ok=True)
    child = fresh.Process(target=perform, args=(home, data, number))
    child.start()
    return child


def ends(child: Any) -> bool:
    """True where it ended well, False where it was killed."""
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode == 0


@pytest.fixture(scope="module")
def data(tiny_source, tmp_path_factory):
    """The tiny source, and its test people under the name of CDF2."""
    source, store = tiny_source
    root = tmp_path_factory.mktemp("cdf2") / "store"
    shutil.copytree(store.root, root)
    manifest = store.manifest
    manifest[manifest.split == "test"].to_csv(root / "manifest.csv", index=False)
    other = dataclasses.replace(source, name="cdf2", label="bars on noise again")
    return {"ffpp": (source, store), "cdf2": (other, FaceStore(root))}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    home = tmp_path_factory.mktemp("undisturbed")
    assert ends(start(home, data))
    return home


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(range(1, 30), id="later each time"),
        # 3 is between the states of a training's two halves: the start after it has a training to go on with.
        pytest.param([3, 8] * 10, id="within each training"),
    ],
)
def test_killed_again_and_again_it_goes_on_to_the_same_record(data, undisturbed, tmp_path, numbers):
    whole, done = finished(undisturbed), set()
    for killed, number in enumerate(numbers):  # noqa: B007
        if ends(start(tmp_path, data, number)):
            break
        nothing_half_written(tmp_path, whole)
        assert done <= (done := set(finished(tmp_path))), "what was done is done anew"
    assert killed >= 5
    goes_on_to_the_same(tmp_path, whole)


@pytest.mark.slow
def test_killed_before_any_rename_it_goes_on_to_the_same_record(data, undisturbed, tmp_path):
    whole, number, states = finished(undisturbed), 1, set()
    while not ends(start(home := tmp_path / str(number), data, number)):
        nothing_half_written(home, whole)
        states.add(len(finished(home)))
        assert ends(start(home, data))
        goes_on_to_the_same(home, whole)
        number += 1
    assert number > 20
    assert states == {0, 1, 2, 3, 4}  # of 5, the record being the last


def test_two_that_ask_at_once_train_each_run_once(data, undisturbed, tmp_path):
    children = [start(tmp_path, data) for _ in range(2)]
    assert [ends(child) for child in children] == [True, True]
    goes_on_to_the_same(tmp_path, finished(undisturbed))
    begun = (tmp_path / "begun").read_text().split()
    assert sorted(begun) == sorted(f"{run.folder.name}.part" for run in runs.all_runs(tmp_path / "runs"))


def test_where_one_of_two_is_killed_the_other_takes_over(data, undisturbed, tmp_path):
    killed = start(tmp_path, data, 3)
    while not (tmp_path / "begun").exists():  # The one that is killed comes first, however busy the machine is.
        time.sleep(0.05)
    other = start(tmp_path, data)
    assert (ends(killed), ends(other)) == (False, True)
    goes_on_to_the_same(tmp_path, finished(undisturbed))


# --- killed from outside -------------------------------------------------------------------------------------------


def wait_for(home: Path, pattern: str, process: psutil.Process) -> None:
    """Until a file or folder is there that was not there before."""
    assert not list(home.glob(pattern)), f"{pattern} is no new moment"
    deadline = time.monotonic() + 600
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):  # A folder that was renamed while we looked into it.
            if next(home.glob(pattern), None):
                return
        time.sleep(0.001)
    kill(process, *process.children(recursive=True))
    raise AssertionError(f"{pattern} did not come up")


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The project of an undisturbed experiment with its stand-ins and crops."""
    home = tmp_path_factory.mktemp("made")
    assert ends(start(home, None))
    return home


def files(folder: Path) -> dict[str, bytes]:
    """Those under `folder`, but not locks, nor what names the folder that it came from."""
    found = [file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".lock")]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


@pytest.mark.slow
def test_killed_while_data_is_made_it_goes_on_to_the_same_data_and_record(made, tmp_path):
    whole = finished(made)
    for pattern in (
        "data/stand-in/.ffpp-*.tmp/manipulated_sequences/*/c23/videos/*.mp4",
        "data/faces/ffpp-*/parts/*.json",
    ):
        child = start(tmp_path, None)
        process = psutil.Process(child.pid)
        wait_for(tmp_path, pattern, process)
        kill(process, *process.children(recursive=True))  # The parent first: it would tidy up after its workers.
        assert not ends(child)
        assert finished(tmp_path) == {}
    assert not list(tmp_path.glob("data/faces/*/store.json"))
    assert ends(start(tmp_path, None))
    goes_on_to_the_same(tmp_path, whole)
    assert files(tmp_path / "data" / "stand-in") == files(made / "data" / "stand-in")
    # The name of a store says where its videos are.
    stores = [{store.name[:4]: files(store) for store in home.glob("data/faces/[!.]*")} for home in (tmp_path, made)]
    assert stores[0] == stores[1] and set(stores[0]) == {"ffpp", "cdf2"}


def papermill(home: Path, made: Path) -> psutil.Popen:
    """Table 4's notebook as `make results` runs it, on the stand-ins and crops that are made already."""
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), "out.ipynb", "-p", "preset", "smoke"]
    command += ["-y", f"rows: {json.dumps(ROWS)}", "--start-timeout", "600"]
    # One thread, as the tests have: sums over several round otherwise, and the records are compared to the bit.
    environment = os.environ | {"DID_HOME": str(home), "DID_DATA": str(home / "named"), "OMP_NUM_THREADS": "1"}
    if not (home / "named").exists():
        (home / "named").mkdir()
        (home / "data").symlink_to(made / "data")
        for root in made.glob("data/stand-in/[!.]*"):
            (home / "named" / root.name.partition("-")[0]).symlink_to(root)
    with (home / "log").open("a") as log:
        return psutil.Popen(
            command, cwd=home, env=environment, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


@pytest.mark.slow
def test_a_notebook_killed_at_every_stage_goes_on_to_the_same_record(made, tmp_path):
    whole = finished(made)
    for pattern, with_kernel in (
        # papermill's kernel is in a process group of its own: it outlives papermill by a second, with its lock.
        ("runs/*.part/resume.safetensors", False),
        ("runs/*/.on-cdf2-*.lock", True),
        ("results", True),
    ):
        process = papermill(tmp_path, made)
        wait_for(tmp_path, pattern, process)
        family = process.children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        kill(*family if with_kernel else ())
        assert process.wait() == -signal.SIGKILL
        nothing_half_written(tmp_path, whole)
    assert papermill(tmp_path, made).wait() == 0, (tmp_path / "log").read_text()[-2000:]
    goes_on_to_the_same(tmp_path, whole)


def crops(store: Path, root: Path, number: int) -> None:
    die_before(number)
    prepare(ffpp.index(root), root, store, 1, 64, workers=1, progress=False)


@pytest.mark.slow
def test_a_store_that_was_killed_before_its_first_file_is_begun_again(made, tmp_path):
    (root,) = made.glob("data/stand-in/ffpp-*")
    for number, well in ((1, False), (0, True)):
        child = fresh.Process(target=crops, args=(tmp_path / "store", root, number))
        child.start()
        assert ends(child) is well
    assert len(FaceStore(tmp_path / "store").manifest) > 0
    assert not list(tmp_path.rglob("*.tmp"))
