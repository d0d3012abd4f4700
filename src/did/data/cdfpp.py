"""Celeb-DF++: the test list of a root folder in its layout becomes the table.

Layout (https://github.com/OUC-VAS/Celeb-DF-PP); some copies have a folder `videos/` more at the end::

    Celeb-real/[videos/]idA_0000.mp4                              celebrity A
    YouTube-real/[videos/]00170.mp4                               somebody; each file counts as a person of its own
    Celeb-synthesis/FaceSwap/<method>/[videos/]idA_idB_0000.mp4   A's video with B's face put in
    Celeb-synthesis/FaceReenact/<method>/[videos/]idA_idB_0000.mp4
    Celeb-synthesis/TalkingFace/<method>/[videos/]idA_0000_*.mp4  A, driven by a sound
    List_of_testing_videos.txt                                    lines such as `1 YouTube-real/00170.mp4`

The real videos are those of Celeb-DF v2. The authors publish a test list and no training list, and the data set serves
as a test set here: the table holds the test list alone. Labels come from the folder, by an explicit map; the list's
first column has to tell the classes apart, whichever number it gives to which.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.errors import DidError

NAME = "cdfpp"
TITLE = "Celeb-DF++"
LISTED = True
# The explicit map of labels, by the first folder.
LABELS = {"Celeb-real": 0, "YouTube-real": 0, "Celeb-synthesis": 1}
SCENARIOS = ("FaceSwap", "FaceReenact", "TalkingFace")
PUBLISHED = {"real test videos": 178, "fake test videos": 5240, "methods": 22}
HOW_TO_GET = "ask its authors for it with the form at https://github.com/OUC-VAS/Celeb-DF-PP"
LIST = "List_of_testing_videos.txt"
_FAKE = re.compile(r"(id\d+)_(?:(id\d+)_)?\d+.*")
_REAL = re.compile(r"(id\d+)_\d+")


@layout.readable()
def index(root: str | Path, strict: bool = False, allow_missing: bool = False) -> pd.DataFrame:
    """Index the videos of the test list.

    Args:
        root: folder of the data set (see the module).
        strict: raise where the number of videos is not the published one, instead of warning.
        allow_missing: leave out listed videos that are not there, with a `LayoutWarning`, instead of raising.

    Returns:
        The table (`did.data.table.COLUMNS`), one row per video, sorted by method and name; `frame` is <NA> and `path`
        is relative to `root`. A method is named by its folder.

    Raises:
        DidError: If the root is missing, empty or not Celeb-DF++; the list or listed videos are missing; a line of the
            list is malformed or contradicts the others; a file's name does not tell its people; or a count differs
            under `strict`.
    """
    root = layout.open_root(root, TITLE)
    for name in LABELS:
        if not (root / name).is_dir():
            raise DidError(f"{root} lacks the folder {name}/ of {TITLE}; {layout.hint(root, [name])}.")
    rows, absent = [], []
    for place in _listed(root):
        if (file := _file(root / place)) is None:
            absent.append(str(place))
            continue
        video, people = place.with_suffix("").as_posix(), "+".join(_people(place))
        rows.append(layout.row(root, file, NAME, _method(place), LABELS[place.parts[0]], "test", video, people))
    layout.check_listed(root / LIST, TITLE, absent, len(rows) + len(absent), allow_missing)
    fakes = [row["method"] for row in rows if row["label"]]
    counts = {"real test videos": len(rows) - len(fakes), "fake test videos": len(fakes), "methods": len(set(fakes))}
    layout.compare(root, TITLE, counts, PUBLISHED, strict)
    layout.apart({(root / row["path"]).parent for row in rows})
    return layout.finish(rows, layout.counted(counts, PUBLISHED, len(absent)))


def _listed(root: Path) -> list[Path]:
    """Return the listed paths, in the list's order, after checking that its first column tells the classes apart."""
    file = root / LIST
    places: dict[Path, str] = {}
    for number, line in layout.lines(file, "https://github.com/OUC-VAS/Celeb-DF-PP"):
        match = re.fullmatch(r"([01])\s+(\S.*\.mp4)", line)
        place = Path(match[2] if match else "")
        label = LABELS.get(place.parts[0]) if place.parts else None
        real, fake = (label, len(place.parts)) == (0, 2), (label, len(place.parts)) == (1, 4)
        if match is None or not (real or (fake and place.parts[1] in SCENARIOS)):
            raise DidError(
                f"Line {number} of {file}, {line!r}, is malformed; it must be like '1 YouTube-real/00170.mp4' "
                "or '0 Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4'."
            )
        if place in places:
            raise DidError(f"The list {file} names {place} twice; get it anew with the data set.")
        places[place] = match[1]
    says = {(number, LABELS[place.parts[0]]) for place, number in places.items()}
    if says not in ({("0", 0), ("1", 1)}, {("0", 1), ("1", 0)}):
        raise DidError(
            f"The list {file} does not name both classes, or its first column contradicts the folders; get it anew "
            "with the data set."
        )
    return list(places)


def _file(place: Path) -> Path | None:
    return next((file for file in (place, place.parent / "videos" / place.name) if file.is_file()), None)


def _method(place: Path) -> str:
    return place.parts[2] if LABELS[place.parts[0]] else tables.REAL


def _people(place: Path) -> tuple[str, ...]:
    """Return everyone in a video, the target first."""
    if place.parts[0] == "YouTube-real":
        return (layout.person(place.with_suffix("").as_posix()),)
    match = (_FAKE if LABELS[place.parts[0]] else _REAL).fullmatch(place.stem)
    if not match:
        raise DidError(
            f"The name {place} does not tell who is in the video; it must be like id0_id1_0000.mp4: get the list anew."
        )
    return tuple(dict.fromkeys(name for name in match.groups() if name))
