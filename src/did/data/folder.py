"""Any folder of your own becomes the table.

Layout, with videos or images at any depth::

    real/...
    fake/<method>/...
    people.csv         optional: columns path, identity and, if you like, split

Who is in a file: the folder it lies in directly below `real/` or `fake/<method>/`, else its name without the suffix.
The same name in `real/` and in `fake/` is the same person. A name that joins other names by "_" is all of them, the
target first: `000_003` beside `000` and `003`. `FORMS` are read so in any case, and a name that another one begins,
`anna_2` beside `anna`, is that person's. Whatever is read from a name in these ways is warned of.

For the files and folders that it lists, `people.csv` says it instead: `path` is relative to the root (a file's own row
goes before its folder's), `identity` names everyone in the file, joined by "+", the target of a swap first.

Who is in which split: people that share a file are kept together, and each such group goes to train, val or test
(70, 10, 20 in 100) by the rank of a checksum of its names. So the same names get the same splits on every machine, and
nobody is in two. People with real files only, with fakes only and with both are shared out one kind after the other;
three people of a kind are enough for each split to get one. A split in `people.csv` goes before this rule and counts
for the whole group.

Each file is one video, a single image too: frames that lie as images in a folder are as many videos of one person.

A link to a folder may not lead out of `real/` or `fake/<method>/`; these themselves may be links. A file or folder that
a link leads to again counts once, and the people of both names are kept together.
"""

from __future__ import annotations

import csv
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.data.video import CONVERT
from did.errors import DidError

NAME = layout.OWN
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
#: Names that tell who is in a file by their form alone, as FF++, Celeb-DF and DeepFakeDetection give them.
FORMS = tuple(
    re.compile(form)
    for form in (r"(\d{3})_(\d{3})(?:_\d+)?", r"(id\d+)_(?:(id\d+)_)?\d{4}", r"(\d\d)_(?:(\d\d)__|_(?!_)).+")
)
#: So many names of different people that each have several numbers look like frames or takes.
SEVERAL = 3


@dataclass
class _File:
    """A video or image.

    `name` identifies the person in it unless people.csv does; `split` is "" until it is known.
    """

    path: Path
    method: str
    video: str
    name: str
    people: tuple[str, ...] = ()
    split: str = ""

    @property
    def label(self) -> int:
        return LABELS["real" if self.method == tables.REAL else "fake"]


@layout.readable()
def index(root: str | Path, strict: bool = False) -> pd.DataFrame:
    """Index every video and image of the folder.

    Args:
        root: the folder (see the module).
        strict: raise instead of warning: of people that are read from names that join or begin others, of names that
            look alike, of links to what is there already, and of pictures that cannot be read.

    Returns:
        The table (`did.data.table.COLUMNS`), one row per file, sorted by split, method and name; `frame` is <NA> and
        `path` is relative to `root`. Its `attrs["left_out"]` counts the other files by suffix.

    Raises:
        DidError: If the root is missing, empty or has another layout; a method has no file or is called "real"; a link
            leads out of its class; a file's name does not fit into a table; people.csv is malformed; there are too few
            people to give every split both classes; or something is doubtful under `strict`.
    """
    root = layout.open_root(root, TITLE)
    left = layout.Left()
    found, same = _found(root, left)
    _read_people(root, found)
    read = _read_names(root, found, strict)
    same = [tuple(person for name in names for person in read.get(name, (name,))) for names in same]
    same += _alike(root, found, strict)
    _share_out(root, found, same)
    table = layout.finish(
        layout.row(root, file.path, NAME, file.method, file.label, file.split, file.video, "+".join(file.people))
        for file in found
    )
    return left.noted(table, root, strict)


def _found(root: Path, left: layout.Left) -> tuple[list[_File], list[tuple[str, ...]]]:
    """Find every file, once, and the names that links identify as the same person."""
    for name in LABELS:
        if not (root / name).is_dir():
            raise DidError(f"{root} has no folder {name}/; it must be {TITLE}: add it, or {layout.hint(root, LABELS)}.")
    if astray := layout.files(root / "fake", SUFFIXES, left=left):
        raise DidError(f"{astray[0]} lies in no method's folder; move it to fake/<method>/.")
    methods = layout.folders(root / "fake")
    if not methods:
        raise DidError(f"{root / 'fake'} has no folder; put the forged files in fake/<method>/.")
    layout.apart([root / "real", *methods])
    found: list[_File] = []
    same: list[tuple[str, ...]] = []
    known: dict[tuple[int, int], _File] = {}
    for base in (root / "real", *methods):
        method = tables.REAL if base == root / "real" else _composed(base.name)
        if method.lower() == tables.REAL and base != root / "real":
            raise DidError(f"{base} holds forged files and is called {base.name!r}; give the method another name.")
        links = len(left.again)
        files = layout.files(base, SUFFIXES, deep=True, left=left, stay=True)
        if not files:
            unreadable = any(base in file.parents for file in left.unreadable)
            fix = f"its pictures cannot be read, {CONVERT}" if unreadable else "put some there or remove it"
            raise DidError(f"The folder {base} holds no video and no image; {fix}.")
        for link in left.again[links:]:
            target = Path(os.path.realpath(link)).relative_to(os.path.realpath(base))
            same.append(tuple(_composed(p.parts[0]) for p in (link.relative_to(base), target) if p.parts))
        for file, stem in zip(files, layout.stems(files, base), strict=True):
            here = _File(file, method, f"{method}/{_composed(stem)}", _name(file, base))
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise DidError(f"{file} is not a regular file (a pipe, a socket or a device); remove it.")
            there = known.setdefault((status.st_dev, status.st_ino), here)
            if there is here:
                found.append(here)
            elif there.method == method:
                same.append((there.name, here.name))
                left.again.append(file)
                left.counts[f"{file.suffix.lower()}, linked again"] += 1
            else:
                raise DidError(
                    f"{file} and {there.path} are one file, through a link, and of two classes, {method} and "
                    f"{there.method}; remove one of them."
                )
    return found, same


def _name(file: Path, base: Path) -> str:
    """Return the part of a path that identifies the person in a file of a class's folder."""
    inside = file.relative_to(base)
    return _composed(inside.parts[0] if len(inside.parts) > 1 else file.stem)


def _composed(name: str) -> str:
    """Normalise letters with accents, which file systems write as one character or as two."""
    return unicodedata.normalize("NFC", name)


def _read_people(root: Path, found: list[_File]) -> None:
    """Apply people.csv, if it exists: to folders first, then to the files themselves."""
    file = root / PEOPLE
    if not file.is_file():
        return
    below: dict[str, list[_File]] = {}
    for one in found:
        inside = one.path.relative_to(root)
        for place in (inside, *inside.parents):
            below.setdefault(_composed(place.as_posix()), []).append(one)
    rows: dict[str, tuple[tuple[str, ...], str]] = {}
    for line, row in _rows(file):
        path = _composed(PurePosixPath(row["path"].strip()).as_posix())
        people = tuple(dict.fromkeys(_composed(name.strip()) for name in row["identity"].split("+")))
        split = row.get("split", "").strip()
        if path in rows or path == "." or path not in below:
            raise DidError(
                f"Row {line} of {file} names {row['path']!r}, which is listed twice or is not a video or image of the "
                "folder, and no folder of them; fix or remove the row."
            )
        if not all(people):
            raise DidError(f"Row {line} of {file} has no name, or none beside a '+'; write who is in the file.")
        if split and split not in tables.SPLITS:
            raise DidError(f"Row {line} of {file} has the split {split!r}; write train, val, test or nothing.")
        rows[path] = people, split
    for path in sorted(rows, key=lambda path: path.count("/")):
        people, split = rows[path]
        for one in below[path]:
            one.people, one.split = people, split or one.split


def _rows(file: Path) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield the rows of people.csv with their line numbers; a comma at the end of a line is not a cell."""
    malformed = f"{file} is not a table in CSV and UTF-8; write one with the columns path, identity."
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.reader(opened, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (ValueError, csv.Error) as error:  # The first of the encoding.
        raise DidError(malformed) from error
    if not lines:
        raise DidError(malformed)
    (_, head), *rows = lines
    names = [name.strip() for name in head]
    if not {"path", "identity"} <= set(names):
        raise DidError(f"{file} needs the columns path and identity; it has {', '.join(filter(None, names))}.")
    for line, cells in rows:
        if any(cell.strip() for cell in cells[len(names) :]):
            raise DidError(f"Row {line} of {file} has {len(cells)} cells and the head {len(names)}; fix the row.")
        yield line, dict.fromkeys(names, "") | dict(zip(names, cells, strict=False))


def _read_names(root: Path, found: list[_File], strict: bool) -> dict[str, tuple[str, ...]]:
    """Identify from the names who is in the files that people.csv does not mention.

    Returns:
        The people of each name that is not simply one person's.
    """
    told = {person for file in found for person in file.people}
    names = {file.name: file for file in reversed(found) if not file.people}
    read: dict[str, tuple[str, ...]] = {}
    for name in names:
        if form := next(filter(None, (form.fullmatch(name) for form in FORMS)), None):
            read[name] = tuple(dict.fromkeys(filter(None, form.groups())))
    known = {_folded(person): person for person in (*sorted(told), *(p for people in read.values() for p in people))}
    for name in sorted(names.keys() - read.keys(), key=lambda name: (name.count("_"), name)):
        if _folded(name) not in known and (people := _joined(name, known)):
            read[name] = people
        else:
            known.setdefault(_folded(name), name)
    for file in found:
        file.people = file.people or tuple(map(layout.person, read.get(file.name, (file.name,))))

    def doubt(names: Sequence[str], what: str, fix: str = "") -> None:
        layout.note(
            root,
            f"In {root} {what} ({len(names)} in all, first {names[0]}); {fix}say who is in those files or folders in "
            f"{PEOPLE}.",
            strict,
        )

    if read:
        joined = [f"{_place(root, names[name])}: {' and '.join(read[name])}" for name in sorted(read)]
        doubt(joined, "names that join or begin with other names are read as those people")
    own = sorted(names.keys() - read.keys())
    holding = []
    for name in own:
        others = [known[part] for part in re.split(r"[\W_]+", _folded(name)) if part in known and part != _folded(name)]
        if others:
            holding.append(f"{_place(root, names[name])}, beside {others[0]}")
    if holding:
        doubt(holding, "names that have another name in them are read as people of their own")
    numbered: dict[str, list[str]] = {}
    for name in own:
        if match := re.fullmatch(r"(.*[^\W\d_].*?|\d+)[\W_]+\d+", name):
            numbered.setdefault(match[1], []).append(_place(root, names[name]))
    several = [places for places in numbered.values() if len(places) > 1]
    if len(several) >= SEVERAL:
        frames = [place for places in several for place in places]
        doubt(
            frames,
            "names that differ in a number at the end alone are read as people of their own",
            "put the frames or takes of a person into one folder, or ",
        )
    return read


def _joined(name: str, known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the people whose names a name joins or begins with; nobody if the name is a person of its own."""
    tokens = name.split("_")
    people: list[str] = []
    at, end = 0, len(tokens) - 1  # Never the whole name.
    while at < len(tokens):
        ends = (k for k in range(end, at, -1) if _folded("_".join(tokens[at:k])) in known)
        if (here := next(ends, None)) is None:
            break
        people.append(known[_folded("_".join(tokens[at:here]))])
        at, end = here, len(tokens)
    if people:  # Of the rest, what looks like the first name: p9 beside p0, and no number of a take.
        form = _form(people[0])
        people += [token for token in tokens[at:] if form and form == _form(token)]
    return tuple(dict.fromkeys(people))


def _form(name: str) -> str:
    """Return a name with "#" for its numbers; digits alone keep their count; "" if it has no number."""
    if not re.search(r"\d", name):
        return ""
    return "#" * len(name) if name.isdigit() else re.sub(r"\d+", "#", name)


def _folded(name: str) -> str:
    """Fold names that differ only in upper and lower case, or in blanks at the ends, to the same text."""
    return _composed(name).strip().casefold()


def _place(root: Path, file: _File) -> str:
    """Return the folder or file whose name identifies the person in a file, relative to the root."""
    inside = file.path.relative_to(root)
    depth = 2 if file.method == tables.REAL else 3
    return Path(*inside.parts[:depth]).as_posix()


def _alike(root: Path, found: list[_File], strict: bool) -> list[tuple[str, ...]]:
    """Return people whose names differ only in upper and lower case.

    They may be one person, so they are kept together.
    """
    alike: dict[str, dict[str, None]] = {}
    for person in sorted({person for file in found for person in file.people}):
        alike.setdefault(_folded(person), {})[person] = None
    several = [tuple(names) for names in alike.values() if len(names) > 1]
    if several:
        layout.note(
            root,
            f"In {root} people whose names differ in upper and lower case or in blanks alone are kept in one split "
            f"({len(several)} in all, first {' and '.join(map(repr, several[0]))}); spell one person's name alike.",
            strict,
        )
    return several


def _share_out(root: Path, found: list[_File], same: Sequence[tuple[str, ...]]) -> None:
    """Assign to every file the split of its group of people; `same` are further people to keep together."""
    groups = _groups([*(file.people for file in found), *same])
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
            f"with real and {fake} with fake files only, people who share a file counted as one (at most "
            f"{max(map(len, groups.values()))}); it takes 3 with both, or 3 with real and 3 with fake files (or write "
            f"who is in them, or a split for every file, in {PEOPLE})."
        )


def _groups(files: Iterable[tuple[str, ...]]) -> dict[str, set[str]]:
    """Map each person to everyone who is connected with them by shared files: one set object per group."""
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
    """Assign a split to each name: test first, then val, then train.

    With fewer than three names, all are for training.
    """
    test, val = (max(1, round(share * len(names))) if len(names) >= 3 else 0 for share in (TEST, VAL))
    order = ["test"] * test + ["val"] * val + ["train"] * (len(names) - test - val)
    return dict(zip(sorted(names, key=layout.rank), order, strict=True))
