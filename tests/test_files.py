import multiprocessing
import subprocess
import sys

import pytest

from did.errors import DidError
from did.files import alone, home, write_atomically


def test_home_is_the_project_from_any_folder_inside_it(tmp_path, monkeypatch):
    monkeypatch.delenv("DID_HOME", raising=False)
    (tmp_path / "src" / "did").mkdir(parents=True)
    (tmp_path / "src" / "did" / "__init__.py").touch()
    (tmp_path / "notebooks").mkdir()
    for folder in (tmp_path, tmp_path / "notebooks", tmp_path / "src" / "did"):
        monkeypatch.chdir(folder)
        assert home() == tmp_path


def test_home_elsewhere_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DID_HOME", raising=False)
    assert home() == tmp_path
    monkeypatch.setenv("DID_HOME", str(tmp_path / "named"))
    assert home() == tmp_path / "named"


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    file = tmp_path / "deep" / "file.txt"
    write_atomically(file, lambda path: path.write_text("first"))

    def half(path):
        path.write_text("hal")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, half)
    assert file.read_text() == "first"
    assert [p.name for p in file.parent.iterdir()] == ["file.txt"]


GUARD = "if __name__ == '__main__':"
SCRIPT = """
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from did.files import alone

def work():
    with alone(Path(sys.argv[1])), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(len, "four").result())

"""


def started(folder, ending):
    """A script whose worker, as every spawned one, reads the script anew when it starts."""
    script = folder / "script.py"
    script.write_text(SCRIPT + ending)
    command = [sys.executable, str(script), str(folder / "thing")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_script_without_a_main_guard_ends_with_one_sentence(tmp_path):
    done = started(tmp_path, "work()\n")
    assert done.returncode != 0 and done.stdout == ""
    assert "DidError: the workers that this script starts read it anew" in done.stderr
    assert f"put what it does under `{GUARD}`" in done.stderr


def test_a_script_with_a_main_guard_works(tmp_path):
    done = started(tmp_path, f"{GUARD}\n    work()\n")
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr


def test_the_lock_is_beside_what_it_locks(tmp_path, monkeypatch):
    thing = tmp_path / "deep" / "thing"
    with alone(thing) as lock:
        assert lock.is_locked and not thing.exists()
        assert [p.name for p in thing.parent.iterdir()] == [".thing.lock"]
    # What Python sets in a worker while it reads the script anew.
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(DidError, match="read it anew"):
        alone(thing)
