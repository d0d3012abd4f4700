"""What the official layouts share: opening a root, listing files, making rows, comparing with the published counts.

A layout is a module with `index(root, strict=False, ...)`, which turns a folder into the table, and the constants
`NAME`, `TITLE`, `LABELS`, `PUBLISHED` and `HOW_TO_GET`. No layout opens a video or an image: that is the
preparation's work.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from did.data import table as tables
from did.errors import DidError

#: A folder that holds this file is a stand-in that did wrote; it is smaller than the data set on purpose.
MARK = "standin.json"
# One rule says what a file is, whether it is named or found in a folder: `media_kind`.
VIDEO_SUFFIXES = tuple(".mp4 .m4v .mov .mkv .webm .avi .wmv .asf .mpg .mpeg .ts .mts .m2ts .3gp .flv .ogv".split())
IMAGE_SUFFIXES = tuple(".png .apng .jpg .jpeg .jfif .bmp .webp .tif .tiff .gif".split())
#: Pictures, too, but nothing here reads them.
UNREADABLE_SUFFIXES = tuple(".heic .heif .hif .avif .jxl .jp2 .dng .cr2 .cr3 .nef .arw".split())


def media_kind(path: str | Path) -> str | None:
    """Return what a file is by its suffix, in upper or lower case: "image", "video" or None."""
    suffix = Path(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


class LayoutWarning(UserWarning):
    """A data set is usable and not what its authors publish, or some of its files are left out."""


@contextmanager
def readable() -> Iterator[None]:
    """Turn whatever the file system refuses inside the block, or the decorated function, into a DidError."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DidError(f"{error.filename} cannot be read ({reason}); mend that and index the folder again.") from error


@readable()
def open_root(root: str | Path, title: str) -> Path:
    """The root as a path.

    Raises:
        DidError: it does not exist, is a file, is empty or cannot be read.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise DidError(f"There is no folder {root}; give the folder that holds {title}.")
    if not root.is_dir():
        raise DidError(f"{root} is a file; give the folder that holds {title}.")
    if not any(root.iterdir()):
        raise DidError(f"The folder {root} is empty; put {title} there.")
    return root


@readable()
def files(folder: Path, suffixes: Sequence[str], deep: bool = False) -> list[Path]:
    """The files of a folder with one of `suffixes` (in lower case; the files' own case does not matter), sorted.

    Hidden files, such as the `._x` that macOS leaves, are left out; links are followed.

    Args:
        deep: look into the folders below, too.

    Raises:
        DidError: the folder, or one below it, cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error  # os.walk would pass over the folder in silence.

    found = []
    for base, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        below[:] = [name for name in below if not _hidden(name)] if deep else []
        found += [Path(base, name) for name in names if not _hidden(name) and Path(name).suffix.lower() in suffixes]
    return sorted(found, key=Path.as_posix)


@readable()
def folders(folder: Path) -> list[Path]:
    """The folders directly in `folder` that are not hidden, sorted by name."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _hidden(child.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def hint(root: Path, names: Iterable[str]) -> str:
    """What to do about a root in which no folder of `names` lies: they may be one level below."""
    for name in names:
        for child in folders(root):
            if (child / name).is_dir():
                return f"it is in the folder {child.name!r} inside, give that"
    return "check the folder"


def stems(found: Sequence[Path], base: Path) -> list[str]:
    """Names of files below `base`, unique: without the suffix, or all with it where two differ in nothing else."""
    short = [file.relative_to(base).with_suffix("").as_posix() for file in found]
    return short if len(set(short)) == len(short) else [file.relative_to(base).as_posix() for file in found]


def person(name: str) -> str:
    """One person's identity from the name of a file or folder: "+" would join two people."""
    return name.replace("+", "%2B")


def rank(name: str) -> str:
    """Key that sorts names in an order that looks random and is the same on every machine."""
    return hashlib.sha256(name.encode()).hexdigest()


def row(
    root: Path, file: Path, dataset: str, method: str, label: int, split: str, video: str, identity: str
) -> dict[str, Any]:
    """One row of the table (`did.data.table.make_table`) for a video or an image below `root`."""
    return {
        "path": file.relative_to(root).as_posix(),
        "label": label,
        "method": method,
        "split": split,
        "video": video,
        "identity": identity,
        "frame": pd.NA,
        "dataset": dataset,
    }


def still_rows(
    root: Path, folder: Path, dataset: str, method: str, label: int, split: str, prefix: str, deep: bool = False
) -> list[dict[str, Any]]:
    """Rows for the images of a folder, each a video of one frame, named `prefix`/..., and a person of its own."""
    found = files(folder, IMAGE_SUFFIXES, deep)
    videos = [f"{prefix}/{stem}" for stem in stems(found, folder)]
    return [
        row(root, file, dataset, method, label, split, video, person(video))
        for file, video in zip(found, videos, strict=True)
    ]


def finish(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The checked table: rows sorted by split (train, val, test), method (real first) and name.

    Raises:
        DidError: see `did.data.table.check`.
    """
    order = {split: number for number, split in enumerate(tables.SPLITS)}
    table = tables.make_table(
        sorted(rows, key=lambda r: (order[r["split"]], r["method"] != tables.REAL, r["method"], r["video"]))
    )
    tables.check(table)
    return table


def note(root: Path, sentence: str) -> None:
    """Warn with a LayoutWarning; a stand-in is what it is on purpose, so nothing is said about one."""
    if not (root / MARK).is_file():
        warnings.warn(sentence, LayoutWarning, stacklevel=2)


def compare(root: Path, title: str, found: Mapping[str, int], published: Mapping[str, int], strict: bool) -> None:
    """Warn where a count is not the published one; a stand-in is not compared.

    Args:
        found: how many there are of each thing that `published` names.
        strict: raise instead of warning.

    Raises:
        DidError: under `strict`, with all the numbers that differ.
    """
    differ = [f"{found.get(name, 0)} {name} (published: {n})" for name, n in published.items() if found.get(name) != n]
    if not differ or (root / MARK).is_file():
        return
    sentence = (
        f"{title} in {root} has {', '.join(differ)}; complete it, or call its numbers those of a part of {title}."
    )
    if strict:
        raise DidError(sentence)
    note(root, sentence)
