"""DeepfakeBench's release of preprocessed data: a data set's list in it becomes the table.

The release (https://github.com/SCLBD/DeepfakeBench, "Download Data" and "Rearrangement") holds, for each of its data
sets, frames in which a face is cut out, their landmarks, and a list of them::

    [datasets/[rgb/]]FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/000.png
    [datasets/[rgb/]]FaceForensics++/manipulated_sequences/Deepfakes/c23/landmarks/000_003/000.npy
    [preprocessing/]dataset_json/FaceForensics++.json
        {"FaceForensics++": {"FF-DF": {"train": {"c23": {"000_003": {"label": "FF-DF", "frames": [...]}}}}}}

Data sets of one compression lack that level. No face is looked for: see `did.data.given`.

For some data sets its lists use one set of videos for both validation and test, and Celeb-DF's training videos show
people who are in the test, too. Here nobody is in two splits: the test split keeps all of its videos, and validation
and then training keep those that show nobody from the splits before them. If this leaves train or val without a class,
the table contains the test split alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from did.data import cdf2, ffpp, folder, layout
from did.data import table as tables
from did.errors import DidError, nearest

NAME = "deepfakebench"
TITLE = "DeepfakeBench's release"
#: Our sources that are among its data sets: (its name there, the methods of the source).
KNOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    ffpp.NAME: ("FaceForensics++", ffpp.METHODS),
    cdf2.NAME: ("Celeb-DF-v2", cdf2.METHODS),
}
#: Its labels that are abbreviations; `_method` reads the others.
METHODS = {
    "FF-DF": "Deepfakes",
    "FF-F2F": "Face2Face",
    "FF-FS": "FaceSwap",
    "FF-NT": "NeuralTextures",
    "FF-FH": "FaceShifter",
    "DFD_fake": "DeepFakeDetection",
    "CelebDFv1_fake": "Celeb-synthesis",
    "CelebDFv2_fake": "Celeb-synthesis",
}
LISTS = ("dataset_json", "preprocessing/dataset_json")
_PLACES = ("", "datasets", "datasets/rgb", "rgb")
#: A person belongs to the first of these splits that shows them.
_ORDER = ("test", "val", "train")


def is_release(root: Path) -> bool:
    """Return whether a folder holds the release."""
    return any((root / place).is_dir() for place in LISTS)


def names(root: Path) -> list[str]:
    """List the data sets of the release that have a list."""
    return sorted({file.stem for place in LISTS for file in (root / place).glob("*.json")})


@layout.readable()
def index(
    root: str | Path,
    name: str = "FaceForensics++",
    strict: bool = False,
    compression: str = "",
    methods: Collection[str] | None = None,
    allow_missing: bool = False,
) -> pd.DataFrame:
    """Index the videos that a data set's list names; each is a folder of frames.

    Args:
        root: folder of the release (see the module).
        name: of the data set, as its list is called.
        strict: raise where the number of videos is not the published one, instead of warning.
        compression: where the list has several; "c23" if there is a choice and none is given.
        methods: forgery methods to take; None for all.
        allow_missing: leave out listed videos that are not there, with a `LayoutWarning`, instead of raising.

    Returns:
        The table (`did.data.table.COLUMNS`), one row per video, sorted by split, method and name; `frame` is <NA> and
        `path`, a folder, is relative to `root`. What was left out, and why, is a `LayoutWarning`.

    Raises:
        DidError: If the root is missing, empty or not the release; the list is missing or malformed; it has not this
            compression or these methods; videos are missing; or the test lacks a class.
    """
    root = layout.open_root(root, TITLE)
    listed = list(_listed(_content(root, name), name, compression))
    wanted = [each for each in listed if each.method == tables.REAL or methods is None or each.method in methods]
    if lacking := set(methods or ()) - {each.method for each in wanted}:
        known = ", ".join(sorted({each.method for each in listed} - {tables.REAL}))
        raise DidError(f"The list of {name} in {root} has no {min(lacking)}; it has {known}.")
    said = []
    if empty := [each for each in wanted if not each.frames]:
        said.append(f"{len(empty)} videos without a frame, first {empty[0].video}")
    wanted = [each for each in wanted if each.frames]
    place, cut = _place(root, wanted, name)
    folders = {each: place.joinpath(*each.frames[cut:]) for each in wanted}
    there, missing = _there(root, folders, name, allow_missing)
    kept, apart = _apart(there)
    said += apart
    if said:
        layout.note(root, f"Of {name} in {root} are left out: {'; '.join(said)} (see did.data.deepfakebench).")
    counts, published = _counts(name, kept)
    layout.compare(root, name, counts, published, strict)
    rows = [layout.row(root, folders[each], name, each.method, int(each.method != tables.REAL), split, each.video,
                       "+".join(each.people)) for each, split in kept.items()]  # fmt: skip
    return layout.finish(rows, layout.counted(counts, published, missing))


class _Video:
    """A video of a list: its method, split, id, people, and the parts of its folder's path in the list."""

    def __init__(self, method: str, split: str, stem: str, frames: tuple[str, ...]) -> None:
        self.method, self.split, self.frames = method, split, frames
        self.video = f"{method}/{stem}"
        match = next((found for form in folder.FORMS if (found := form.fullmatch(stem))), None)
        named = tuple(dict.fromkeys(filter(None, match.groups()))) if match else (stem,)
        self.people = tuple(map(layout.person, named))


def _content(root: Path, name: str) -> Mapping[str, Any]:
    file = next((found for place in LISTS if (found := root / place / f"{name}.json").is_file()), None)
    if file is None:
        raise DidError(
            f"{root} has no list {LISTS[0]}/{name}.json of {TITLE}: "
            + (nearest(name, names(root)) if names(root) else "get the lists with its data, or write them with it")
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        [found] = content.values()
    except (OSError, ValueError, AttributeError) as error:
        raise DidError(f"The list {file} is malformed; get it anew with the release.") from error
    return found


def _listed(content: Mapping[str, Any], name: str, compression: str) -> Iterator[_Video]:
    try:
        for label, splits in content.items():
            for split, videos in splits.items():
                of = _of_compression(videos, name, compression)
                for stem, video in of.items():
                    paths = [PurePosixPath(path.replace("\\", "/")) for path in video["frames"]]
                    yield _Video(
                        _method(label, name), _split(split, name), stem, paths[0].parent.parts if paths else ()
                    )
    except (AttributeError, KeyError, TypeError) as error:
        raise DidError(f"The list of {name} is malformed: {error!r}; get it anew with the release.") from error


def _of_compression(videos: Mapping[str, Any], name: str, compression: str) -> Mapping[str, Any]:
    if not videos or "frames" in next(iter(videos.values())):
        if compression:
            raise DidError(f"The list of {name} has one compression: leave out {compression}.")
        return videos
    if (wanted := compression or ffpp.COMPRESSIONS[1]) not in videos:
        raise DidError(f"The list of {name} has no {wanted}; it has {', '.join(sorted(videos))}.")
    return videos[wanted]


def _method(label: str, name: str) -> str:
    words = label.replace("-", "_").lower().split("_")
    if tables.REAL in words:
        return tables.REAL
    if label in METHODS:
        return METHODS[label]
    if any(word.startswith("fake") for word in words):
        return label
    raise DidError(f"The label {label!r} in the list of {name} says neither real nor fake; register a layout for it.")


def _split(split: str, name: str) -> str:
    if split not in tables.SPLITS:
        raise DidError(f"The list of {name} has a split {split!r}; it must be one of {', '.join(tables.SPLITS)}.")
    return split


def _place(root: Path, videos: list[_Video], name: str) -> tuple[Path, int]:
    """Return the folder that the list's paths begin in, and how many of their first parts lead to it elsewhere."""
    for video in videos[:1000]:
        for cut in range(len(video.frames)):
            for place in _PLACES:
                if (root / place).joinpath(*video.frames[cut:]).is_dir():
                    return root / place, cut
    first = "/".join(videos[0].frames) if videos else "any"
    raise DidError(f"{root} has no frames of {name}, such as {first}: unpack them there.")


def _there(root: Path, folders: Mapping[_Video, Path], name: str, allow_missing: bool) -> tuple[list[_Video], int]:
    absent = [each for each, place in folders.items() if not place.is_dir()]
    if absent:
        said = f"{len(absent)} of {len(folders)} listed videos, first {folders[absent[0]]}"
        if not allow_missing:
            raise DidError(
                f"{name} in {root} lacks {said}; add them, or go without them by allow_missing (--allow-missing)."
            )
        layout.let_pass(root, name, said)
    gone = set(absent)
    return [each for each in folders if each not in gone], len(absent)


def _apart(videos: list[_Video]) -> tuple[dict[_Video, str], list[str]]:
    """Return the split of each video that has one, and what is left out in words; see the module."""
    kept: dict[_Video, str] = {}
    before: set[str] = set()
    said = []
    for split in _ORDER:
        of = [each for each in videos if each.split == split]
        free = [each for each in of if before.isdisjoint(each.people)]
        if len(free) < len(of):
            said.append(
                f"{len(of) - len(free)} videos of {split} with people of {' or '.join(_ORDER[: _ORDER.index(split)])}"
            )
        kept |= dict.fromkeys(free, split)
        before |= {name for each in free for name in each.people}
    classes = Counter((split, each.method == tables.REAL) for each, split in kept.items())
    if not all(classes[split, real] for split in ("train", "val") for real in (True, False)):
        if rest := sum(split != "test" for split in kept.values()):
            said.append(f"train and val, {rest} videos, since a class would be missing there")
        kept = {each: split for each, split in kept.items() if split == "test"}
    return kept, said


def _counts(name: str, kept: Mapping[_Video, str]) -> tuple[dict[str, int], dict[str, int]]:
    """Count what is found, and what its authors publish, where that is known here."""
    if name == KNOWN[ffpp.NAME][0]:
        each = Counter((split, video.method) for video, split in kept.items())
        methods = {video.method for video in kept}
        counts = {
            f"{split} videos a method": min(each[split, method] for method in methods) for split in ffpp.PUBLISHED
        }
        return counts, {f"{split} videos a method": n for split, n in ffpp.PUBLISHED.items()}
    if name == KNOWN[cdf2.NAME][0]:
        key = "test videos"
        return {key: sum(split == "test" for split in kept.values())}, {key: cdf2.PUBLISHED[key]}
    return {}, {}
