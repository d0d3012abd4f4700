"""A clip on disk: a video, a picture, or a folder that holds a video's frames as pictures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from did.data import video as videos
from did.data.video import IMAGE_SUFFIXES
from did.errors import DidError
from did.utils.files import sha256

# Nanoseconds in which a file may change twice without another time of change, on any file system.
A_MOMENT = 3_000_000_000


def frames_in(folder: Path) -> list[tuple[int, Path]]:
    """List the pictures of a folder with their frame numbers, in their order.

    The numbers are the files' names where all of these are numbers (`000.png`, `010.png`), and count from 0 otherwise.

    Raises:
        OSError: the folder cannot be read.
        DidError: If two names are one number.
    """
    found = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    if not found or not all(file.stem.isdecimal() for file in found):
        return list(enumerate(found))
    numbered = {int(file.stem): file for file in found}
    if len(numbered) < len(found):
        raise DidError(f"{folder} holds two pictures of one frame number; keep one of them.")
    return sorted(numbered.items())


def stream(clip: Path, count: int, notes: list[str]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield evenly spaced frames of a clip with their numbers, RGB uint8 (H, W, 3); a picture is frame 0.

    Args:
        clip: the file or folder.
        count: of frames; fewer come only where the clip has fewer.
        notes: gets what there is to say of the file.

    Raises:
        DidError: If a frame does not decode, or a folder holds none.
    """
    if clip.is_dir():
        there = frames_in(clip)
        if not there:
            raise DidError(f"The video {clip} has no frames: the folder holds no picture; replace the file.")
        for at in videos.evenly_spaced(len(there), count):
            number, file = there[at]
            try:
                picture = videos.read_image(file, notes)
            except DidError as error:
                reason = str(error).split(f"{file} ")[-1].removesuffix("; replace the file.").rstrip(".")
                raise DidError(f"The video {clip} has a bad frame: {file.name} {reason}; replace the file.") from error
            yield number, picture
    elif clip.suffix.lower() in IMAGE_SUFFIXES:
        yield 0, videos.read_image(clip, notes)
    else:
        yield from videos.stream_frames(clip, count, notes)


def size(clip: Path) -> int:
    """Return the bytes of a clip.

    Raises:
        OSError: it is missing.
    """
    return sum(file.stat().st_size for _, file in frames_in(clip)) if clip.is_dir() else clip.stat().st_size


def digest(clip: Path) -> str:
    """Return the SHA-256 of a clip's content: of a folder, of its pictures' names and contents.

    Raises:
        OSError: it cannot be read.
    """
    if not clip.is_dir():
        return sha256(clip)
    return _joined(f"{file.name} {sha256(file)}" for _, file in frames_in(clip))


def stamp(clip: Path) -> str:
    """Return what changes whenever a clip's content may have changed: its files' sizes, inode numbers and times.

    It is "" if a file has just been changed, because another change in the same moment would not show.

    Raises:
        DidError: If there is no such clip.
    """
    try:
        stamps = [_stamp(file) for file in ([file for _, file in frames_in(clip)] if clip.is_dir() else [clip])]
    except OSError as error:
        raise DidError(f"The file {clip} of the index is missing; put it there or index the folder again.") from error
    if not all(stamps):
        return ""
    return _joined(stamps) if clip.is_dir() else stamps[0]


def _stamp(file: Path) -> str:
    found = file.stat()
    # The time of change (of the file or its name) is the one that nobody can set.
    if time.time_ns() - found.st_ctime_ns < A_MOMENT:
        return ""
    return f"{found.st_size} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"


def _joined(texts: Iterator[str] | list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode(errors="surrogateescape")).hexdigest()
