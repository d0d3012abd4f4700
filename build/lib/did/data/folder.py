"""Any folder of your own becomes the table.

Layout, with videos or images at any depth::

    real/...
    fake/<method>/...
    people.csv         optional: columns path, identity and, if you like, split

Who is in a file: the folder it lies in directly below `real/` or `fake/<method>/`, else its name without the suffix.
The same name in `real/` and in `fake/` is the same person. For the files that it lists, `people.csv` says it instead:
`path` is relative to the root, `identity` names everyone in the file, joined by "+", the target of a swap first.

Who is in which split: people that share a file are kept together, and each such group goes to train, val or test
(70, 10, 20 in 100) by the rank of a checksum of its names. So the same names get the same splits on every machine, and
nobody is in two. People with real files only, with fakes only and with both are shared out one kind after the other;
three people of a kind are enough for each split to get one. A split in `people.csv` goes before this rule and counts
for the whole group.

Each file is one video, a single image too: frames that lie as images in a folder are as many videos of one person.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.errors import DidError

NAME = "folder"
TITLE = "a folder with real/ and fake/<method>/"
# The explicit map of labels; every method of fake/ has the label of fake/.
LABELS = {"real": 0, "fake": 1}
#: Nobody publishes how many files you have.
PUBLISHED: dict[str, int] = {}
HOW_TO_GET = "make it, with your real files in real/ and the forged ones in fake/<method>/"
SUFFIXES = (*layout.VIDEO_SUFFIXES, *layout.IMAGE_SUFFIXES)
PEOPLE = "people.csv"
#: Share of the people in val and test; the rest is for training.
VAL, TEST = 0.1, 0.2


@dataclass
class _File:
    """A video or image; `split` is "" until it is known."""

    path: Path
    method: str
    video: str
    people: tuple[str, ...]
    split: str = ""

    @property
    def label(self) -> int:
        return LABELS["real" if self.method == tables.REAL else "fake"]


@layout.readable()
def index(root: str | Path, strict: bool = False) -> pd.DataFrame:
    """Index every video and image of the folder.

    Args:
        root: the folder (see the module).
        strict: changes nothing, as there are no published counts; it is there because every layout takes it.

    Returns:
        The table (`did.data.table.COLUMNS`), one row a file, sorted by split, method and name; `frame` is <NA> and
        `path` is relative to `root`.

    Raises:
        DidError: the root is missing, empty or has another layout; a method has no file or is called "real";
            people.csv is malformed; or there are too few people to give every split both classes.
    """
    root = layout.open_root(root, TITLE)
    found = _found(root)
    _read_people(root, found)
    _share_out(root, found)
    return layout.finish(
        layout.row(root, file.path, NAME, file.method, file.label, file.split, file.video, "+".join(file.people))
        for file in found
    )


def _found(root: Path) -> list[_File]:
    for name in LABELS:
        if not (root / name).is_dir():
            raise DidError(f"{root} has no folder {name}/; it must be {TITLE}: add it, or {layout.hint(root, LABELS)}.")
    if astray := layout.files(root / "fake", SUFFIXES):
        raise DidError(f"{astray[0]} lies in no method's folder; move it to fake/<method>/.")
    methods = layout.folders(root / "fake")
    if not methods:
        raise DidError(f"{root / 'fake'} has no folder; put the forged files in fake/<method>/.")
    found = []
    for base in (root / "real", *methods):
        method = tables.REAL if base == root / "real" else _composed(base.name)
        if method.lower() == tables.REAL and base != root / "real":
            raise DidError(f"{base} holds forged files and is called {base.name!r}; give the method another name.")
        files = layout.files(base, SUFFIXES, deep=True)
        if not files:
            raise DidError(f"The folder {base} holds no video and no image; put some there or remove it.")
        for file, stem in zip(files, layout.stems(files, base), strict=True):
            inside = file.relative_to(base)
            name = inside.parts[0] if len(inside.parts) > 1 else file.stem
            found.append(_File(file, method, f"{method}/{_composed(stem)}", (layout.person(_composed(name)),)))
    return found


def _composed(name: str) -> str:
    """One spelling for letters with accents: file systems differ in whether they write them as one sign or two."""
    return unicodedata.normalize("NFC", name)


def _read_people(root: Path, found: list[_File]) -> None:
    """Take over what people.csv says, where it is there."""
    file = root / PEOPLE
    if not file.is_file():
        return
    try:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # Of pandas' parser and of the encoding.
        raise DidError(f"{file} is not a table in CSV and UTF-8; write one with the columns path, identity.") from error
    if not {"path", "identity"} <= set(rows.columns):
        raise DidError(f"{file} needs the columns path and identity; it has {', '.join(rows.columns)}.")
    by_path = {_composed(f.path.relative_to(root).as_posix()): f for f in found}
    for number, row in enumerate(rows.to_dict("records"), start=2):
        there = by_path.pop(_composed(row["path"].strip()), None)
        people = [_composed(name.strip()) for name in row["identity"].split("+")]
        split = row.get("split", "").strip()
        if there is None:
            raise DidError(
                f"Row {number} of {file} names {row['path']!r}, which is listed twice or is no video or image of the "
                "folder; mend or remove the row."
            )
        if not all(people):
            raise DidError(f"Row {number} of {file} has no name, or none beside a '+'; write who is in the file.")
        if split and split not in tables.SPLITS:
            raise DidError(f"Row {number} of {file} has the split {split!r}; write train, val, test or nothing.")
        there.people, there.split = tuple(dict.fromkeys(people)), split


def _share_out(root: Path, found: list[_File]) -> None:
    """Give every file the split of its group of people."""
    groups = _groups(file.people for file in found)
    names = {id(group): "+".join(sorted(group)) for group in groups.values()}
    name_of = [names[id(groups[file.people[0]])] for file in found]
    splits: dict[str, str] = {}
    kinds: dict[str, set[int]] = {}
    for name, file in zip(name_of, found, strict=True):
        kinds.setdefault(name, set()).add(file.label)
        if file.split and splits.setdefault(name, file.split) != file.split:
            raise DidError(
                f"{root / PEOPLE} puts files that share people ({name}) in {splits[name]} and in {file.split}; keep "
                "them in one split."
            )
    ruled = [name for name in kinds if name not in splits]
    for kind in ({0}, {1}, {0, 1}):
        splits |= _ranked([name for name in ruled if kinds[name] == kind])
    for name, file in zip(name_of, found, strict=True):
        file.split = splits[name]

    cells = {(file.split, file.label) for file in found}
    if ruled and len(cells) < len(tables.SPLITS) * len(LABELS):
        both, real, fake = (sum(have == kind for have in kinds.values()) for kind in ({0, 1}, {0}, {1}))
        raise DidError(
            f"{root} has too few people to give train, val and test real and fake files each: {both} with both, {real} "
            f"with real and {fake} with fake files only, people who share a file counted as one; it takes 3 with both, "
            f"or 3 with real and 3 with fake files (or write a split for every file in {PEOPLE})."
        )


def _groups(files: Iterable[tuple[str, ...]]) -> dict[str, set[str]]:
    """For each person, everyone who is connected with them by shared files: one set object a group."""
    groups: dict[str, set[str]] = {}
    for people in files:
        sets = [groups.setdefault(name, {name}) for name in people]
        largest = max(sets, key=len)
        for other in sets:
            largest |= other
        for name in set().union(*(other for other in sets if other is not largest)):
            groups[name] = largest
    return groups


def _ranked(names: list[str]) -> dict[str, str]:
    """The split of each name: test first, then val, then train; with less than three names all are for training."""
    test, val = (max(1, round(share * len(names))) if len(names) >= 3 else 0 for share in (TEST, VAL))
    order = ["test"] * test + ["val"] * val + ["train"] * (len(names) - test - val)
    return dict(zip(sorted(names, key=layout.rank), order, strict=True))
