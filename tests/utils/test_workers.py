"""How many workers a machine, a batch system or a container gives, and scripts that start some without a main guard."""

import multiprocessing
import os
import subprocess
import sys

import pandas as pd
import pytest

from did import standin
from did.data import loading, prepare, table
from did.errors import DidError
from did.utils import distributed, workers


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 cores whose cgroups are the files that a test writes."""
    monkeypatch.setattr(workers, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(workers, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)

    def write(own: str, **files: str) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / "cgroup" / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    return write


def test_without_a_limit_it_is_every_core(machine):
    assert workers.cores() == 64
    machine("0::/\n", cpu_max="max 100000\n")
    assert workers.cores() == 64


def test_a_process_that_is_bound_to_some_cores_has_those(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 4, 9})
    assert workers.cores() == 3


def test_without_affinity_and_cgroups_as_on_a_mac_it_is_the_machines(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert workers.cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert workers.cores() == 1


def test_the_smallest_quota_of_version_2_from_the_own_group_up_counts(machine):
    machine("0::/job/step\n", job__step__cpu_max="800000 100000\n", job__cpu_max="350000 100000\n")
    assert workers.cores() == 3
    machine("0::/job/step\n", job__cpu_max="max 100000\n")
    assert workers.cores() == 8
    machine("0::/job/step\n", job__cpu_max="50000 100000\n")
    assert workers.cores() == 1


def test_a_container_that_sees_its_group_under_the_hosts_name_reads_the_root(machine):
    machine("0::/docker/0123\n", cpu_max="200000 100000\n")
    assert workers.cores() == 2


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
def test_a_quota_of_version_1(machine, folder):
    files = {f"{folder}__job__cpu_cfs_quota_us": "450000\n", f"{folder}__job__cpu_cfs_period_us": "100000\n"}
    machine("9:name=systemd:/x\n4:cpu,cpuacct:/job\n3:cpuset:/job\n0::/\n", **files)
    assert workers.cores() == 4
    machine("4:cpu,cpuacct:/job\n", **{f"{folder}__job__cpu_cfs_quota_us": "-1\n"})
    assert workers.cores() == 64


def test_here_it_is_no_more_than_this_process_may_use():
    assert 1 <= workers.cores() <= len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(10**6))


def test_preparation_and_stand_ins_take_as_many_workers(machine, monkeypatch, tmp_path):
    """Of 3 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 4, 9})
    taken = []

    def take(number, *_, **__):
        taken.append(number)
        raise RuntimeError("enough")

    monkeypatch.setattr(prepare, "ProcessPoolExecutor", take)
    with pytest.raises(RuntimeError, match="enough"), prepare._executor([()] * 100, 100_000, None, None):
        pass
    monkeypatch.setattr(standin.writing, "ProcessPoolExecutor", take)
    with pytest.raises(RuntimeError, match="enough"):
        standin.write("ffpp", tmp_path / "set", {"train": 4, "val": 4, "test": 4}, frames=1, progress=False)
    assert taken == [3, 3]


# --- scripts without a main guard -----------------------------------------------------------------------------------


def two_faces(place):
    rows = pd.DataFrame({"label": [0, 1], "method": ["real", "fake"], "face": ["a.png", "b.png"]})
    return loading.Faces(rows, place, 64)


def two_videos(place):
    for name in ("a.mp4", "b.mp4"):
        (place / name).touch()
    return table.make_table(
        {"path": f"{name}.mp4", "label": label, "method": method, "split": "test", "video": name, "identity": name,
         "frame": pd.NA, "dataset": "x"}
        for label, (name, method) in enumerate({"a": "real", "b": "fake"}.items())
    )  # fmt: skip


STARTS = {
    "ordered": lambda place: loading.ordered(two_faces(place), 2, num_workers=1),
    "batches": lambda place: loading.batches(two_faces(place), 2, 1, 0, num_workers=1),
    "launch": lambda place: distributed.launch(accelerator="cpu"),
    "prepare": lambda place: prepare.prepare(two_videos(place), place, place / "store", workers=2, progress=False),
    "standin": lambda place: standin.write("ffpp", place / "set", {"train": 2, "val": 2, "test": 2}, 1, workers=2,
                                           progress=False),
}  # fmt: skip


@pytest.mark.parametrize("start", STARTS)
def test_every_function_that_starts_workers_refuses_to_inside_one(tmp_path, monkeypatch, start):
    # What Python sets in a worker while it reads the script anew.
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(DidError, match="read it anew: put what it does under `if __name__ == '__main__':`"):
        STARTS[start](tmp_path)


SCRIPT = """
import multiprocessing
import sys
from pathlib import Path

import pandas as pd
from PIL import Image

from did.data import loading

def work():
    multiprocessing.set_start_method("spawn", force=True)  # as on Windows and macOS
    folder = Path(sys.argv[1])
    for name in ("a.png", "b.png"):
        Image.new("L", (8, 8)).save(folder / name)
    rows = pd.DataFrame({"label": [0, 1], "method": ["real", "fake"], "face": ["a.png", "b.png"]})
    for batch in loading.ordered(loading.Faces(rows, folder, 8), 2, num_workers=1):
        print(len(batch["image"]))

"""


def test_a_script_that_writes_a_stand_in_ends_with_a_sentence_too(tmp_path):
    script = tmp_path / "script.py"
    people = {"train": 2, "val": 2, "test": 2}
    script.write_text(f"from did import standin\nstandin.write('ffpp', {str(tmp_path / 'set')!r}, {people}, 1, "
                      "workers=2, progress=False)\n")  # fmt: skip
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0 and "DidError: the workers that this script starts read it anew" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("did.errors.DidError: A worker that writes the stand-in ended early")


@pytest.mark.parametrize("guard", [True, False])
def test_a_script_whose_loader_has_workers(tmp_path, guard):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + ("if __name__ == '__main__':\n    work()\n" if guard else "work()\n"))
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if guard:
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    else:
        assert done.returncode != 0 and done.stdout == ""
        assert "DidError: the workers that this script starts read it anew" in done.stderr
