"""Celeb-DF v2: a root folder in its layout becomes the table.

Official layout (https://github.com/yuezunli/celeb-deepfakeforensics); some copies have a folder `videos/` more::

    Celeb-real/[videos/]idA_0000.mp4             celebrity A
    YouTube-real/[videos/]00170.mp4              somebody; each file counts as a person of its own
    Celeb-synthesis/[videos/]idA_idB_0000.mp4    A's video with B's face put in
    List_of_testing_videos.txt                   lines such as `1 YouTube-real/00170.mp4`

**In the list 1 is real and 0 is fake**, the other way round than here. Labels come from the folder, by an explicit
map, and the list has to agree with it.

The authors publish a test list and no training list. Everything listed is the split "test". The other videos go to
"train" and "val" by person: who is in a test video is in no other split, four in five of the others are for training,
the fifth for validation, and a fake whose two people are on different sides is left out. Where this leaves train or
val without a class, the table holds the test split alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.errors import DidError

NAME = "cdf2"
TITLE = "Celeb-DF v2"
LISTED = True
METHODS = ("Celeb-synthesis",)
# The explicit maps: from folder to method, from method to label, from the list's first column to label.
FOLDERS = {"Celeb-real": tables.REAL, "YouTube-real": tables.REAL, "Celeb-synthesis": "Celeb-synthesis"}
LABELS = {tables.REAL: 0, "Celeb-synthesis": 1}
LISTED_LABELS = {"1": 0, "0": 1}
PUBLISHED = {
    "Celeb-real videos": 590,
    "YouTube-real videos": 300,
    "Celeb-synthesis videos": 5639,
    "test videos": 518,
}
HOW_TO_GET = "ask its authors for it with the form at https://github.com/yuezunli/celeb-deepfakeforensics"
LIST = "List_of_testing_videos.txt"
# File names that tell who is in the video; those of YouTube-real do not.
PATTERNS = {"Celeb-real": r"(id\d+)_\d+", "Celeb-synthesis": r"(id\d+)_(id\d+)_\d+"}
EXAMPLES = {"Celeb-real": "id0_0000.mp4", "Celeb-synthesis": "id0_id1_0000.mp4"}
#: One person in so many is for validation.
VALIDATION = 5


@layout.readable()
def index(root: str | Path, strict: bool = False, allow_missing: bool = False) -> pd.DataFrame:
    """Index the test list's videos and, of the others, those that share no person with another split.

    Args:
        root: folder of the data set (see the module).
        strict: raise where the number of videos is not the published one, instead of warning.
        allow_missing: leave out listed videos that are not there, with a `LayoutWarning`, instead of raising.

    Returns:
        The table (`did.data.table.COLUMNS`), one row per video, sorted by split, method and name; `frame` is <NA> and
        `path` is relative to `root`. How many videos were left out, and why, is a `LayoutWarning`.

    Raises:
        DidError: If the root is missing, empty or not Celeb-DF; a folder, the list or listed videos are missing; a line
            of the list is malformed or contradicts its folder; a file's name does not tell its people; or a count
            differs under `strict`.
    """
    root = layout.open_root(root, TITLE)
    left = layout.Left()
    found = _found(root, left)
    testing, missing = _testing(root, found, allow_missing)
    counts = {f"{folder} videos": sum(_folder(video) == folder for video in found) for folder in FOLDERS}
    counts["test videos"] = len(testing)
    layout.compare(root, TITLE, counts, PUBLISHED, strict)

    people = {video: _people(video, file) for video, file in found.items()}
    splits, left_out = _splits(people, testing)
    if left_out:
        layout.note(root, f"Of {TITLE} in {root} are left out: {left_out} (see did.data.cdf2).")
    rows = []
    for video, split in splits.items():
        method = FOLDERS[_folder(video)]
        rows.append(layout.row(root, found[video], NAME, method, LABELS[method], split, video, "+".join(people[video])))
    return left.noted(layout.finish(rows, layout.counted(counts, PUBLISHED, missing)), root, strict)


def _folder(video: str) -> str:
    return video.split("/")[0]


def _found(root: Path, left: layout.Left) -> dict[str, Path]:
    """Find every video: its id, folder and stem ("Celeb-real/id0_0000")."""
    found: dict[str, Path] = {}
    for name in FOLDERS:
        base = root / name
        if not base.is_dir():
            raise DidError(f"{root} lacks the folder {name}/ of {TITLE}; {layout.hint(root, [name])}.")
        if (base / "videos").is_dir():
            if astray := layout.files(base, (".mp4",)):
                raise DidError(f"{astray[0]} lies beside the folder videos/; move it there or remove it.")
            base = base / "videos"
        videos = layout.by_stem(base, ".mp4", left)
        if not videos:
            raise DidError(f"The folder {base} holds no .mp4 file; put the videos of {TITLE} there.")
        found |= {f"{name}/{stem}": file for stem, file in videos.items()}
    layout.apart({file.parent for file in found.values()})
    return found


def _testing(root: Path, found: Mapping[str, Path], allow_missing: bool) -> tuple[list[str], int]:
    """Return the ids of the listed videos that exist, in the list's order, and how many do not."""
    file = root / LIST
    listed = []
    for number, line in layout.lines(file, "https://github.com/yuezunli/celeb-deepfakeforensics"):
        match = re.fullmatch(r"([01])\s+([^/]+)/(.+)\.mp4", line)
        if not match or match[2] not in FOLDERS:
            raise DidError(
                f"Line {number} of {file}, {line!r}, is malformed; it must be like '1 YouTube-real/00170.mp4'."
            )
        if LISTED_LABELS[match[1]] != LABELS[FOLDERS[match[2]]]:
            raise DidError(
                f"Line {number} of {file}, {line!r}, contradicts its folder: in this list 1 is real and 0 is "
                "fake; get the list anew with the data set."
            )
        listed.append(f"{match[2]}/{match[3]}")
    if not listed:
        raise DidError(f"The list {file} is empty; get it anew with the data set.")
    if repeated := sorted({video for video in listed if listed.count(video) > 1}):
        raise DidError(f"The list {file} names {repeated[0]}.mp4 twice; get it anew with the data set.")
    absent = [f"{video}.mp4" for video in listed if video not in found]
    layout.check_listed(file, TITLE, absent, len(listed), allow_missing)
    return [video for video in listed if video in found], len(absent)


def _people(video: str, file: Path) -> tuple[str, ...]:
    """Return everyone in a video, the target first."""
    folder = _folder(video)
    if folder not in PATTERNS:
        return (layout.person(video),)
    match = re.fullmatch(PATTERNS[folder], file.stem)
    if not match:
        raise DidError(
            f"The name of {file} does not tell who is in the video; it must be like {EXAMPLES[folder]}: rename or "
            "remove the file."
        )
    return tuple(dict.fromkeys(match.groups()))


def _splits(people: Mapping[str, tuple[str, ...]], testing: list[str]) -> tuple[dict[str, str], str]:
    """Return the split of each video that has one, and what was left out in words ("" for nothing)."""
    tested = {name for video in testing for name in people[video]}
    rest = sorted(people.keys() - set(testing))
    free = [video for video in rest if tested.isdisjoint(people[video])]
    names = sorted({name for video in free for name in people[video]}, key=layout.rank)
    side = {name: "val" if place % VALIDATION == VALIDATION - 1 else "train" for place, name in enumerate(names)}
    chosen = {video: side[people[video][0]] for video in free if len({side[name] for name in people[video]}) == 1}

    reasons = []
    if count := len(rest) - len(free):
        reasons.append(f"{count} videos with people of the test list")
    if count := len(free) - len(chosen):
        reasons.append(f"{count} fakes of one person of train and one of val")
    cells = {(split, LABELS[FOLDERS[_folder(video)]]) for video, split in chosen.items()}
    if rest and len(cells) < 4:
        reasons.append(f"train and val, {len(chosen)} videos, since a class would be missing there")
        chosen = {}
    return dict.fromkeys(testing, "test") | chosen, "; ".join(reasons)
