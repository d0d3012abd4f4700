"""Files: where the project keeps its data and runs, and writing that is whole or not there."""

import contextlib
import errno
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from did.errors import DidError


def home() -> Path:
    """The folder that holds `data/` and `runs/`: `DID_HOME` if set, else the project around the working folder, else
    the working folder. papermill runs in the caller's folder and nbval in the notebook's; both find the same one.
    """
    if named := os.environ.get("DID_HOME"):
        return Path(named).expanduser().resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "src" / "did" / "__init__.py").is_file():
            return folder
    return here


@contextlib.contextmanager
def room_on_disk(place: Path) -> Iterator[None]:
    """Turns a full disk (or quota) met while writing to `place` into one sentence.

    Raises:
        DidError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DidError(
            f"The disk is full: nothing more can be written to {place.parent}; free some space and run again (what is "
            "finished is kept)."
        ) from error


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with another name in the same folder, then rename: the file is whole or not there.

    Raises:
        DidError: the disk is full; what stood under `path` before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with room_on_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def writable(folder: Path) -> None:
    """Check, before any work, that something can be written in a folder. One that is not there is not made.

    Raises:
        DidError: it cannot; the sentence gives the system's reason.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"?")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DidError(f"Nothing can be written to {folder} ({reason}); make it writable, or name another.") from error


def alone(path: Path) -> FileLock:
    """A lock on `path`, to be used with `with`: a second process that wants it waits until the first is done or dead.

    The lock is a file beside `path`, so that `path` itself may be removed or renamed under it.

    Raises:
        DidError: asked for by a script that a worker reads anew on its start: that worker would wait for its own
            parent.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DidError(
            "the workers that this script starts read it anew: put what it does under `if __name__ == '__main__':`"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))
