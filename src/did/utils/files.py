"""Files: where the project keeps its data and runs, and writing that is whole or not there."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from did.errors import DidError
from did.utils.workers import check_start

T = TypeVar("T")


def home() -> Path:
    """Return the folder that contains `data/` and `runs/`.

    It is `DID_HOME` if set, else the checkout around the working folder, else the working folder. papermill runs in the
    caller's folder and nbval in the notebook's; both find the same one.
    """
    if named := os.environ.get("DID_HOME"):
        return given_path(named, "DID_HOME").resolve()
    return checkout() or Path.cwd().resolve()


def checkout() -> Path | None:
    """Return the checkout of the project around the working folder; None if there is none."""
    here = Path.cwd().resolve()
    return next((each for each in (here, *here.parents) if (each / "src/did/__init__.py").is_file()), None)


def given_path(value: Any, name: str) -> Path:
    """Return the path that a user gave, with `~` expanded.

    Args:
        value: what was given.
        name: of the argument or variable, for the message.

    Raises:
        DidError: If it is not a path: a number, nothing, or an empty text.
    """
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise DidError(f"{name} is {value!r}; it must be a path, as text.")
    return Path(os.path.expanduser(value))  # Path.expanduser raises on a user whom the machine does not have.


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal, read in chunks.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def writing(folder: Path, fix: str = "") -> Iterator[None]:
    """Turn any refusal of the file system, while something in `folder` is written or removed, into one sentence.

    Args:
        folder: where it happens.
        fix: end of the sentence: what to do; by default to make it writable, or to name another folder.

    Raises:
        DidError: If the disk is full, the folder is read-only, somebody else's, or not a folder, or the like.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DidError(
                f"The disk is full: nothing more can be written to {folder}; free some space and run again (what is "
                "finished is kept)."
            ) from error
        reason = (error.strerror or str(error)).lower()
        ours = home() in (absolute := Path(os.path.abspath(folder)), *absolute.parents)
        other = "make it writable, or name another folder" + " (DID_HOME names the project's)" * ours
        raise DidError(f"Nothing can be written to {folder} ({reason}); {fix or other}.") from error


def writable(folder: Path, fix: str = "") -> None:
    """Check, before any work, that a folder can be written to.

    A missing folder is not created.

    Raises:
        DidError: As `writing`.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent  # Where the folder would be made.
    # Not os.access: it asks for the rights alone, and root has them on a full disk or in /proc.
    with writing(folder, fix), tempfile.TemporaryFile(dir=there) as file:
        file.write(b"?")
        file.flush()


def writable_file(file: Path) -> None:
    """Check, before any work, that a file can be written.

    Raises:
        DidError: If it is a folder, or nothing can be written beside it (see `writing`).
    """
    if file.is_dir():
        raise DidError(f"{file} is a folder; name a file.")
    writable(file.parent)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file atomically: call `write` with a temporary name in the same folder, then rename.

    Raises:
        DidError: As `writing`; what was under `path` before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def regardless(items: Iterable[T], write: Callable[[Iterator[T]], object]) -> str:
    """Iterate over all items even if `write`, which receives them, fails.

    Returns:
        Why `write` failed, "" if it did not.

    Raises:
        Exception: what the items themselves raise.
    """
    raised: list[Exception] = []

    def watched() -> Iterator[T]:
        try:
            yield from items
        except Exception as error:
            raised.append(error)
            raise

    rest, reason = watched(), ""
    try:
        write(rest)
    except Exception as error:  # Of whatever draws, encodes or writes.
        reason = str(error) if isinstance(error, DidError) else f"{type(error).__name__}: {error}"
    if not raised:
        for _ in rest:
            pass
    if raised:
        raise raised[0]
    return reason


def alone(path: Path) -> FileLock:
    """Lock `path`, as a context manager: a second process waits until the first has finished or was killed.

    The lock is a file beside `path`, so that `path` itself may be removed or renamed under it.

    Raises:
        DidError: If nothing can be written beside `path` (see `writing`); or asked for by a script that a worker reads
            anew on its start: see `did.utils.workers.check_start`.
    """
    check_start()
    writable(path.parent)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))
