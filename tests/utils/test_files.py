import multiprocessing
import subprocess
import sys

import pytest

from did.errors import DidError
from did.utils.files import alone, checkout, home, regardless, writable, writable_file, write_atomically


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


def test_the_checkout_is_the_nearest_one_around_the_working_folder_whatever_did_home_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path / "named"))
    for root in (tmp_path, tmp_path / "inner"):
        (root / "src/did").mkdir(parents=True)
        (root / "src/did/__init__.py").touch()
        monkeypatch.chdir(root / "src")
        assert checkout() == root
    monkeypatch.chdir(tmp_path.parent)
    assert checkout() is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    file = tmp_path / "deep" / "file.txt"
    write_atomically(file, lambda path: path.write_text("first"))

    def half(path):
        path.write_text("hal")
        raise OSError("disk full")

    with pytest.raises(DidError, match=r"Nothing can be written to .*deep \(disk full\); make it writable, or name"):
        write_atomically(file, half)
    assert file.read_text() == "first"
    assert [p.name for p in file.parent.iterdir()] == ["file.txt"]


def test_what_the_file_system_refuses_is_one_sentence_before_the_work(tmp_path, read_only, small_disk, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(read_only / "project"))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(400_000))
    for folder, reason in (
        (read_only, "read-only file system"),
        (read_only / "new/deep", "read-only file system"),
        (tmp_path / "file", "not a directory"),
        (tmp_path / "file/deep", "not a directory"),
        (tmp_path / "link", "no such file or directory"),
        (small_disk / "new", "The disk is full"),
    ):
        for ask in (writable, lambda folder: writable_file(folder / "x"), lambda folder: alone(folder / "x")):
            with pytest.raises(DidError, match=reason) as caught:
                ask(folder)
            assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
            assert "DID_HOME" not in str(caught.value)
    with pytest.raises(DidError, match=r"name another folder \(DID_HOME names the project's\)\.$"):
        writable(read_only / "project" / "runs")
    with pytest.raises(DidError, match=r"\(read-only file system\); make it so\.$"):
        writable(read_only, "make it so")
    with pytest.raises(DidError, match="is a folder; name a file"):
        writable_file(tmp_path)
    writable(tmp_path / "new/deep")
    writable_file(tmp_path / "new/file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "read-only", "small"]


def test_a_write_that_is_refused_names_the_folder(read_only):
    with pytest.raises(DidError, match=r"Nothing can be written to .*read-only \(read-only file system\)"):
        write_atomically(read_only / "file", lambda path: path.write_text("x"))


def test_items_are_gone_through_whatever_becomes_of_the_writing():
    def two(items):
        next(items), next(items)
        raise ValueError("no more ink")

    seen = []

    def items(end=5):
        for number in range(5):
            if number == end:
                raise KeyError(number)
            seen.append(number)
            yield number

    assert regardless(items(), two) == "ValueError: no more ink"
    assert regardless(items(), list) == regardless(items(), lambda _: None) == ""
    assert seen == 3 * [0, 1, 2, 3, 4]
    # What the items raise is theirs, whether it is met on the way or after it, or caught on the way.
    for end, write in ((1, two), (3, two), (3, list), (3, lambda items: next(items, None))):
        with pytest.raises(KeyError, match=str(end)):
            regardless(items(end), write)


GUARD = "if __name__ == '__main__':"
SCRIPT = """
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from did.utils.files import alone

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
