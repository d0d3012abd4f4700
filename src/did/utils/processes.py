"""Start Python so that it imports nothing from the working folder, which may hold files of anybody's.

Python looks for modules in the working folder first if it is started with `-c` or `-m`: a `random.py` beside the
pictures that are looked at would be executed. `-P` is there from Python 3.11 on; `-I` always, but it leaves out
`PYTHONPATH` too, so that the child is told where its parent imports from.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker, util
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any


def import_path(here: bool = False) -> list[str]:
    """Return the folders that this process imports from, without the working folder; did's own is always among them.

    Args:
        here: keep the working folder if it is there under its name, as it is for a script in it; "", which is
            whichever folder a process is in, goes in any case.
    """
    path = [entry for entry in sys.path if entry and (here or not _is_here(entry))]
    own = str(Path(__file__).resolve().parents[2])
    return path if own in path else [*path, own]


def _is_here(entry: str) -> bool:
    try:
        return os.path.samefile(entry, os.curdir)
    except OSError:  # One of them is not there.
        return False


def command(code: str) -> list[str]:
    """Return the command that runs Python code in a process of its own, with the same import path."""
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = sys.argv[1:]; {code}", *import_path()]


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Make whatever multiprocessing starts in the block start without the working folder."""
    flags, path = util._args_from_interpreter_flags, sys.path  # type: ignore[attr-defined]
    util._args_from_interpreter_flags = lambda: ["-I", *flags()]  # type: ignore[attr-defined]
    sys.path = import_path(here=True)  # A worker gets this list, as soon as it runs.
    try:
        yield
    finally:
        util._args_from_interpreter_flags, sys.path = flags, path  # type: ignore[attr-defined]


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        with isolated():
            return SpawnProcess._Popen(process)  # type: ignore[attr-defined]


class _Spawn(SpawnContext):
    Process = _Process  # type: ignore[assignment]


def spawn() -> SpawnContext:
    """Return multiprocessing's context whose workers start anew and import nothing from the working folder.

    Not forked: a forked copy of a process in which torch or OpenCV has started threads can hang.
    """
    with isolated():
        resource_tracker.ensure_running()  # type: ignore[attr-defined]  # The first lock would start it.
    return _Spawn()
