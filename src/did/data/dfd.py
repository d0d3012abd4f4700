"""DeepFakeDetection: a part of FaceForensics++'s download, of actors, becomes a table of its own.

Layout, that of FaceForensics++ (https://github.com/ondyari/FaceForensics), or the two folders of videos alone::

    original_sequences/actors/{raw,c23,c40}/videos/28__outside_talking.mp4                           actor 28
    manipulated_sequences/DeepFakeDetection/{raw,c23,c40}/videos/28_15__outside_talking__7C4P.mp4    28 with 15's face

Its authors publish no splits, and none of its people is in FaceForensics++'s: the whole of it is the split "test".
Labels come from the folder.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.data.ffpp import VARIANTS as VARIANTS  # the same compressions
from did.errors import DidError

NAME = "dfd"
TITLE = "DeepFakeDetection"
# The explicit map: from folder to method, its label, and how a file of it names its people, the target first.
FOLDERS = {
    "original_sequences/actors": (tables.REAL, 0, re.compile(r"(\d+)__.+")),
    "manipulated_sequences/DeepFakeDetection": ("DeepFakeDetection", 1, re.compile(r"(\d+)_(\d+)__.+")),
}
PUBLISHED = {"real videos": 363, "fake videos": 3068}
HOW_TO_GET = "ask for FaceForensics++ at https://github.com/ondyari/FaceForensics; its script fetches this part too"


@layout.readable()
def index(root: str | Path, strict: bool = False, compression: str = "c23") -> pd.DataFrame:
    """Index all videos of one compression, as a test split.

    Args:
        root: folder of the data set (see the module).
        strict: raise where the number of videos is not the published one, instead of warning.
        compression: c23, raw or c40.

    Returns:
        The table (`did.data.table.COLUMNS`), one row per video, sorted by method and name; `frame` is <NA> and `path`
        is relative to `root`.

    Raises:
        DidError: If the root is missing or empty; a folder is missing or has no video; a file's name does not tell its
            people; or a count differs under `strict`.
    """
    root = layout.open_root(root, TITLE)
    rows, left = [], layout.Left()
    for place, (method, label, pattern) in FOLDERS.items():
        folder = root / place / compression / "videos"
        if not folder.is_dir():
            raise DidError(f"{root} lacks the folder {place}/{compression}/videos/ of {TITLE}; {HOW_TO_GET}.")
        videos = layout.by_stem(folder, ".mp4", left)
        if not videos:
            raise DidError(f"The folder {folder} holds no .mp4 file; put the videos of {TITLE} there.")
        for stem, file in videos.items():
            match = pattern.fullmatch(stem)
            if not match:
                raise DidError(
                    f"The name of {file} does not tell who is in the video; it must be like 28__outside_talking.mp4 or "
                    "28_15__outside_talking__7C4P.mp4: rename or remove the file."
                )
            people = "+".join(dict.fromkeys(match.groups()))
            rows.append(layout.row(root, file, NAME, method, label, "test", f"{method}/{stem}", people))
    layout.apart({(root / row["path"]).parent for row in rows})
    fakes = sum(row["label"] for row in rows)
    counts = {"real videos": len(rows) - fakes, "fake videos": fakes}
    layout.compare(root, TITLE, counts, PUBLISHED, strict)
    return left.noted(layout.finish(rows, layout.counted(counts, PUBLISHED)), root, strict)
