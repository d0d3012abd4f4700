"""Read pictures and videos that may be hostile, in a process that can be ended.

`did.data.video` refuses what it knows. A decoder is still a large program in C: a file may make it crash, want all of
the memory, or never come back. Here it does so in a child process with a limit on memory and on the time for a frame;
the child is then ended, the file has a reason, and the next file gets a new child.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from did.data import video
from did.errors import DidError
from did.utils.processes import command

#: Bytes of address space that the child may take (on Linux).
MEMORY = 6_000_000_000
_HEADER = struct.Struct("<qqq")  # number, height, width of a frame; or one of these for the number:
_END, _REFUSED, _NOTE = -1, -2, -3


class Reader:
    """Reads files in a child process, one after the other; use it as a context manager.

    Args:
        seconds: that the child may take for a frame, before it is ended.

    Attributes:
        notes: what there is to say of the file that was read last, to its end; see `did.data.video`.
    """

    def __init__(self, seconds: float = 120) -> None:
        self.seconds = seconds
        self.notes: tuple[str, ...] = ()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child process, if there is one; the next file starts another."""
        if self._child is not None:
            self._child.kill()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._child.wait()
            self._child = None

    def image(self, path: str | Path) -> np.ndarray:
        """Read an image, as `did.data.video.read_image`.

        Raises:
            DidError: As there; or if the file is not a regular one, or the child crashed or took too long.
        """
        ((_, image),) = self._frames(Path(path), "image", 1)
        return image

    def frames(self, path: str | Path, count: int | None) -> Iterator[tuple[int, np.ndarray]]:
        """Read frames, as `did.data.video.stream_frames`, or as `every_frame` if `count` is None.

        Raises:
            DidError: As there; or if the file is not a regular one, or the child crashed or took too long.
        """
        return self._frames(Path(path), "video", count)

    def _frames(self, path: Path, kind: str, count: int | None) -> Iterator[tuple[int, np.ndarray]]:
        check_regular(path, kind)
        self.notes = ()
        ended = False
        try:
            self._ask({"path": os.fsencode(path).hex(), "kind": kind, "count": count})
            while True:
                number, height, width = _HEADER.unpack(self._receive(_HEADER.size, path, kind))
                if number == _REFUSED:
                    ended = True
                    raise DidError(self._receive(height, path, kind).decode("utf-8", "surrogatepass"))
                if number == _END:
                    ended = True
                    return
                if number == _NOTE:
                    self.notes += (self._receive(height, path, kind).decode(),)
                    continue
                pixels = self._receive(3 * height * width, path, kind)
                yield number, np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        finally:
            if not ended:  # What is still to come belongs to this file.
                self.close()

    def _ask(self, job: dict[str, Any]) -> None:
        line = json.dumps(job).encode() + b"\n"
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            # Not multiprocessing: that would read the caller's script anew.
            self._child = subprocess.Popen(
                command("from did.data.reading import serve; serve()"),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # Then the answer does not come, either.
            self._child.stdin.write(line)
            self._child.stdin.flush()

    def _receive(self, size: int, path: Path, kind: str) -> bytearray:
        assert self._child is not None and self._child.stdout is not None
        pipe, received, done = self._child.stdout.fileno(), bytearray(size), 0
        until = time.monotonic() + self.seconds
        while done < size:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                raise DidError(
                    f"The {kind} {path} took more than {self.seconds:g} seconds to decode; replace the file, or allow "
                    "more time."
                )
            got = os.readv(pipe, [memoryview(received)[done:]])
            if not got:
                raise DidError(f"The {kind} {path} made its decoder crash, or want too much memory; replace the file.")
            done += got
        return received


def check_regular(path: Path, kind: str = "file") -> None:
    """Check that a file is a regular one; a pipe or a device may block for ever.

    Raises:
        DidError: If the file does not exist, cannot be reached, or has no end.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise DidError(f"There is no {kind} {path}.") from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise DidError(f"The {kind} {path} cannot be reached ({reason}).") from error
    if stat.S_ISDIR(mode):
        raise DidError(f"The {kind} {path} is a folder.")
    if not stat.S_ISREG(mode):
        raise DidError(f"The {kind} {path} is not a regular file (a pipe, a socket or a device).")


def serve() -> None:
    """Run the child: one job per line on standard input, its frames on standard output."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # What a library prints does not get between the frames.
    _limit_memory()
    for line in sys.stdin.buffer:
        job = json.loads(line)
        path = Path(os.fsdecode(bytes.fromhex(job["path"])))
        try:
            notes: list[str] = []
            for number, image in _read(path, job["kind"], job["count"], notes):
                _write(out, _HEADER.pack(number, *image.shape[:2]))
                _write(out, np.ascontiguousarray(image).data.cast("B"))
            for note in notes:
                _write_text(out, _NOTE, note)
            _write(out, _HEADER.pack(_END, 0, 0))
        except BrokenPipeError:
            return
        except Exception as error:
            sentence = (
                str(error) if isinstance(error, DidError) else f"{path} does not decode ({type(error).__name__})."
            )
            _write_text(out, _REFUSED, sentence)


def _read(path: Path, kind: str, count: int | None, notes: list[str]) -> Iterator[tuple[int, np.ndarray]]:
    if kind == "image":
        yield 0, video.read_image(path, notes)
    elif count is None:
        yield from video.every_frame(path, notes)
    else:
        yield from video.stream_frames(path, count, notes)


def _write_text(out: Any, kind: int, text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    _write(out, _HEADER.pack(kind, len(content), 0))
    _write(out, content)


def _write(out: Any, content: bytes | memoryview) -> None:
    left = memoryview(content)
    while left:
        left = left[out.write(left) :]


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
