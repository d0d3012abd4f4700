"""What the official layouts share: opening a root, listing files, making rows, comparing with the published counts.

A layout is a module with `index(root, strict=False, ...)`, which turns a folder into the table, and the constants
`NAME`, `TITLE`, `LABELS`, `PUBLISHED` and `HOW_TO_GET`. No layout opens a video or an image: that is the
preparation's work.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from did.data import table as tables
from did.data.video import CONVERT, IMAGE_SUFFIXES
from did.errors import DidError
from did.utils.files import given_path

#: Name of the layout for one's own files, which has no published splits.
OWN = "folder"
#: A folder that holds this file is a stand-in that did wrote; it is smaller than the data set on purpose.
MARK = "standin.json"
# One rule says what a file is, whether it is named or found in a folder: `media_kind`.
VIDEO_SUFFIXES = tuple(".mp4 .m4v .mov .mkv .webm .avi .wmv .asf .mpg .mpeg .ts .mts .m2ts .3gp .flv .ogv".split())
#: Pictures, too, but nothing here reads them.
UNREADABLE_SUFFIXES = tuple(".heic .heif .hif .avif .jxl .jp2 .dng .cr2 .cr3 .nef .arw".split())
# Line breaks and other control characters, and bytes that are not UTF-8 (Python shows them as lone surrogates).
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def media_kind(path: str | Path) -> str | None:
    """Return what a file is by its suffix, in upper or lower case: "image", "video" or None."""
    suffix = Path(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


class LayoutWarning(UserWarning):
    """A data set can be used, but is not what its authors publish, or some of its files are left out."""


@dataclass
class Left:
    """Collects the files that are left out of a data set's folders, so that they can be reported.

    Attributes:
        counts: number of files by suffix ("no suffix" too), or by another reason.
        unreadable: pictures with one of `UNREADABLE_SUFFIXES`.
        again: links to what is there already.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unreadable: list[Path] = field(default_factory=list)
    again: list[Path] = field(default_factory=list)

    def noted(self, table: pd.DataFrame, root: Path, strict: bool) -> pd.DataFrame:
        """Return the table with the counts as its `attrs["left_out"]`, and warn of what the owner hardly intends.

        Raises:
            DidError: Under `strict`, instead of the warning.
        """
        if self.unreadable:
            first = min(self.unreadable).relative_to(root)
            sentence = (
                f"In {root} pictures that cannot be read are left out ({len(self.unreadable)} in all, first "
                f"{shown(first)}); {CONVERT}."
            )
            note(root, sentence, strict)
        if self.again:
            first = min(self.again).relative_to(root)
            sentence = (
                f"In {root} links to what is there already are left out ({len(self.again)} in all, first "
                f"{shown(first)}, to {shown(os.path.realpath(root / first))}); remove them."
            )
            note(root, sentence, strict)
        table.attrs["left_out"] = dict(sorted(self.counts.items()))
        return table


@contextmanager
def readable() -> Iterator[None]:
    """Turn any refusal of the file system inside the block, or the decorated function, into a DidError."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DidError(f"{error.filename} cannot be read ({reason}); fix that and index the folder again.") from error


@readable()
def open_root(root: str | Path, title: str) -> Path:
    """Return the root as a path, after checking that it is a folder.

    Raises:
        DidError: If it does not exist, is a file, is empty or cannot be read, or its name does not fit into a table.
    """
    root = given_path(root, "the data set's folder")
    check_name(root)
    if not root.exists():
        raise DidError(f"There is no folder {root}; give the folder that holds {title}.")
    if not root.is_dir():
        raise DidError(f"{root} is a file; give the folder that holds {title}.")
    if not any(root.iterdir()):
        raise DidError(f"The folder {root} is empty; put {title} there.")
    return root


@readable()
def files(
    folder: Path, suffixes: Sequence[str], deep: bool = False, left: Left | None = None, stay: bool = False
) -> list[Path]:
    """List the files of a folder with one of `suffixes`, sorted.

    The suffixes are in lower case; the case of the files' own suffixes does not matter.

    Hidden files, such as the `._x` that macOS leaves, are left out. Links are followed, and each real folder is
    entered once: under its own path rather than a link's.

    Args:
        deep: look into the folders below, too.
        left: collects what is left out.
        stay: refuse links to folders outside `folder`.

    Raises:
        DidError: If the folder, or one below it, cannot be read; a link leads to a folder around `folder`, or out of it
            under `stay`; or a name does not fit into a table.
    """
    left = Left() if left is None else left
    found: list[Path] = []
    top = os.path.realpath(folder)
    entered: set[str] = set()
    links: list[Path] = []

    def enter(start: Path, real: str) -> None:
        todo = [(start, real)]
        while todo:
            here, place = todo.pop()
            if place in entered:  # Below a link that leads to a folder around it.
                left.again.append(here)
                continue
            entered.add(place)
            if here != folder:
                check_name(here.name, here=here.parent)
            with os.scandir(here) as entries:
                for entry in entries:
                    path = here / entry.name
                    if _hidden(entry.name):
                        continue
                    if not entry.is_dir():
                        take(path, entry.is_symlink() and not entry.is_file())
                    elif deep and entry.is_symlink():
                        links.append(path)
                    elif deep:
                        todo.append((path, os.path.join(place, entry.name)))

    def take(path: Path, broken: bool) -> None:
        suffix = path.suffix.lower()
        if suffix in suffixes:
            check_name(path.name, here=path.parent)
            found.append(path)
            return
        left.counts["broken link" if broken else shown(suffix) or "no suffix"] += 1
        if suffix in UNREADABLE_SUFFIXES:
            left.unreadable.append(path)

    enter(folder, top)
    while links:
        link = min(links)
        links.remove(link)
        real = os.path.realpath(link)
        if real in entered:
            left.again.append(link)
        elif _within(top, real) or (stay and not _within(real, top)):
            raise DidError(
                f"{link} is a link to {real}, out of the folder {folder}, so that files would count for a class that "
                "they are not in; put the files there, or remove the link."
            )
        else:
            enter(link, real)
    return sorted(found, key=Path.as_posix)


def _within(place: str, folder: str) -> bool:
    return os.path.commonpath([place, folder]) == folder


@readable()
def by_stem(folder: Path, suffix: str, left: Left | None = None) -> dict[str, Path]:
    """Map the files of a folder with `suffix`, in upper or lower case, by their names without it.

    Raises:
        DidError: As `files`; or two differ in the case of the suffix alone.
    """
    found: dict[str, Path] = {}
    for file in files(folder, (suffix,), left=left):
        if (other := found.setdefault(file.stem, file)) != file:
            raise DidError(f"{folder} holds {other.name} and {file.name}; keep one of them.")
    return found


def apart(folders: Iterable[Path]) -> None:
    """Check that the folders of different classes are different folders, also if they are links.

    Raises:
        DidError: If two are the same, or one is inside another.
    """
    real = sorted((os.path.realpath(folder) + os.sep, folder) for folder in folders)
    for (first, one), (second, other) in pairwise(real):
        if second.startswith(first):
            raise DidError(
                f"{other} lies inside {one} or is the same folder, through a link, so that its files would be of two "
                "classes; remove the link."
            )


def shown(name: str | Path) -> str:
    """Format a name for people to read: bytes that are not text, and control characters, become escapes."""
    return _ODD.sub(lambda odd: odd[0].encode("unicode_escape").decode().replace("udc", "x"), os.fspath(name))


def check_name(name: str | Path, here: Path | None = None) -> None:
    """Check that a name can be written in a table, a page and a line of text.

    Args:
        name: of a file or folder.
        here: the folder that it is in, for the message.

    Raises:
        DidError: If it has a byte that is not UTF-8, or a control character such as a line break.
    """
    if _ODD.search(os.fspath(name)):
        raise DidError(
            f"The name of {shown(here / name if here else name)} has a byte that is not UTF-8, or a line break or "
            "another control character, which no table holds; rename it."
        )


@readable()
def folders(folder: Path) -> list[Path]:
    """List the folders directly in `folder` that are not hidden, sorted by name.

    Raises:
        DidError: If it cannot be read, or a name does not fit into a table.
    """
    found = sorted(child for child in folder.iterdir() if child.is_dir() and not _hidden(child.name))
    for child in found:
        check_name(child)
    return found


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def hint(root: Path, names: Iterable[str]) -> str:
    """Suggest what to do if a root contains no folder of `names`: they may be one level below."""
    for name in names:
        for child in folders(root):
            if (child / name).is_dir():
                return f"it is in the folder {child.name!r} inside, give that"
    return "check the folder"


def stems(found: Sequence[Path], base: Path) -> list[str]:
    """Return unique names of files below `base`: without the suffix, or with it if two differ only in it."""
    short = [file.relative_to(base).with_suffix("").as_posix() for file in found]
    return short if len(set(short)) == len(short) else [file.relative_to(base).as_posix() for file in found]


def person(name: str) -> str:
    """Return one person's identity from the name of a file or folder; a "+" in it would join two people."""
    return name.replace("+", "%2B")


def rank(name: str) -> str:
    """Return a key that sorts names in an order that looks random and is the same on every machine."""
    return hashlib.sha256(name.encode()).hexdigest()


def row(
    root: Path, file: Path, dataset: str, method: str, label: int, split: str, video: str, identity: str
) -> dict[str, Any]:
    """Build one row of the table (`did.data.table.make_table`) for a video or an image below `root`."""
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
    root: Path,
    folder: Path,
    dataset: str,
    method: str,
    label: int,
    split: str,
    prefix: str,
    left: Left,
    deep: bool = False,
) -> list[dict[str, Any]]:
    """Build rows for the images of a folder: each is a video of one frame, and a person of its own.

    The videos are named `prefix`/...
    """
    found = files(folder, IMAGE_SUFFIXES, deep, left)
    videos = [f"{prefix}/{stem}" for stem in stems(found, folder)]
    return [
        row(root, file, dataset, method, label, split, video, person(video))
        for file, video in zip(found, videos, strict=True)
    ]


def counted(found: Mapping[str, int], published: Mapping[str, int], missing: int = 0) -> dict[str, Any]:
    """Return what a data set's record says of its completeness.

    Args:
        found: how many there are of each thing that `published` names.
        published: how many its authors publish.
        missing: videos that its lists name, that are not there, and that the user lets be missing.
    """
    return {"found": {name: found.get(name, 0) for name in published}, "published": dict(published), "missing": missing}


def lacking(counts: Mapping[str, Any]) -> str:
    """Describe what is missing compared with the published data, from the result of `counted`; "" for nothing."""
    found, published = counts.get("found", {}), counts.get("published", {})
    return ", ".join(f"{found[name]} of {n} {name}" for name, n in published.items() if found[name] < n)


def let_pass(root: Path, title: str, said: str) -> None:
    """Warn of videos that the lists name and that the user accepts as missing, also for a stand-in."""
    warnings.warn(f"{title} in {root} goes without {said}, as allow_missing says.", LayoutWarning, stacklevel=2)


def lines(file: Path, where: str) -> list[tuple[int, str]]:
    """Return the lines of a data set's list that are not blank, stripped, with their numbers.

    Args:
        file: the list.
        where: to get it, for the error.

    Raises:
        DidError: If it is missing, or not a text file.
    """
    if not file.is_file():
        raise DidError(f"The list {file} is missing; the authors publish it with the data set ({where}).")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DidError(f"The list {file} is not a text file; get it anew with the data set.") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def check_listed(file: Path, title: str, absent: Sequence[str], listed: int, allow_missing: bool) -> None:
    """Refuse a data set that lacks videos of its list, or warn if the user accepts that.

    Args:
        file: the list, in the data set's folder.
        title: of the data set.
        absent: names of the videos that are not there.
        listed: how many the list names.
        allow_missing: go without them.

    Raises:
        DidError: If some are missing, unless that is accepted.
    """
    if not absent:
        return
    if not allow_missing:
        raise DidError(
            f"{len(absent)} of the {listed} videos that {file} lists are not there, {absent[0]} first; add them, since "
            "a test set with holes is another test set, or go without them by allow_missing (--allow-missing)."
        )
    let_pass(file.parent, title, f"{len(absent)} of {listed} listed videos, first {absent[0]}")


def finish(rows: Iterable[Mapping[str, Any]], counts: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Build and check the table: rows sorted by split (train, val, test), method (real first) and name.

    Args:
        rows: of the table.
        counts: of `counted`; they are the table's `attrs["counts"]`.

    Raises:
        DidError: See `did.data.table.check`.
    """
    order = {split: number for number, split in enumerate(tables.SPLITS)}
    table = tables.make_table(
        sorted(rows, key=lambda r: (order[r["split"]], r["method"] != tables.REAL, r["method"], r["video"]))
    )
    tables.check(table)
    table.attrs["counts"] = dict(counts or {})
    return table


def note(root: Path, sentence: str, strict: bool = False) -> None:
    """Warn with a LayoutWarning; for a stand-in, which differs on purpose, nothing is said.

    Raises:
        DidError: Under `strict`, instead of the warning.
    """
    if (root / MARK).is_file():
        return
    if strict:
        raise DidError(sentence)
    warnings.warn(sentence, LayoutWarning, stacklevel=2)


def compare_contents(table: pd.DataFrame, root: Path, strict: bool, progress: bool = True) -> None:
    """Warn if files of different splits, or of different classes, have the same content; a stand-in is not read.

    Args:
        table: the table.
        root: folder that `table["path"]` is relative to.
        strict: raise instead of warning, for one's own files: nobody can fix the splits that authors publish.
        progress: show a bar while files of equal size are read.

    Raises:
        DidError: Under `strict`; or a file is missing or cannot be read.
    """
    if (root / MARK).is_file():
        return
    for sentence in tables.equal_contents(table, root, progress).values():
        if sentence:
            note(root, sentence, strict and table["dataset"].eq(OWN).all())


def compare(root: Path, title: str, found: Mapping[str, int], published: Mapping[str, int], strict: bool) -> None:
    """Warn if a count is not the published one; a stand-in is not compared.

    Args:
        found: how many there are of each thing that `published` names.
        strict: raise instead of warning.

    Raises:
        DidError: Under `strict`, with all the numbers that differ.
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
