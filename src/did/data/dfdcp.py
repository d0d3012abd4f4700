"""The preview of the Deepfake Detection Challenge: a root folder in its layout becomes the table.

Layout (https://ai.meta.com/datasets/dfdc/), `dfdc_preview_set`::

    dataset.json                             path -> label, set (train or test), target_id, swapped_id
    original_videos/<person>/*.mp4           real
    method_A/<person>/.../*.mp4              fake
    method_B/<person>/.../*.mp4              fake, by another method

Labels and splits are those of dataset.json, and have to agree with the folder. In a fake the person `target_id` wears
the face of `swapped_id`. There is no validation split: to train on this data set, make one with `folder:`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.errors import DidError

NAME = "dfdcp"
TITLE = "DFDC preview"
LISTED = True
# The explicit maps: from folder to method, from the list's words to labels.
FOLDERS = {"original_videos": tables.REAL, "method_A": "method_A", "method_B": "method_B"}
LABELS = {"real": 0, "fake": 1}
SPLITS = ("train", "test")
PUBLISHED = {"real videos": 1131, "fake videos": 4113}
HOW_TO_GET = "accept its terms at https://ai.meta.com/datasets/dfdc/"
LIST = "dataset.json"
_KEYS = ("label", "set", "target_id")


@layout.readable()
def index(root: str | Path, strict: bool = False, allow_missing: bool = False) -> pd.DataFrame:
    """Index the videos that dataset.json lists.

    Args:
        root: folder of the data set (see the module).
        strict: raise where the number of videos is not the published one, instead of warning.
        allow_missing: leave out listed videos that are not there, with a `LayoutWarning`, instead of raising.

    Returns:
        The table (`did.data.table.COLUMNS`), one row per video, sorted by split, method and name; `frame` is <NA> and
        `path` is relative to `root`.

    Raises:
        DidError: If the root is missing, empty or not the preview; the list is missing or damaged, contradicts a folder
            or puts a person's videos into two splits; listed videos are missing; or a count differs under `strict`.
    """
    root = layout.open_root(root, TITLE)
    rows, absent = [], []
    for name, about in sorted(_listed(root).items()):
        place = Path(name)
        folder = place.parts[0] if place.parts else ""
        named = folder in FOLDERS and ".." not in place.parts and place.suffix.lower() == ".mp4"
        told = isinstance(about, dict) and all(key in about for key in _KEYS)
        if not (named and told and about["label"] in LABELS and about["set"] in SPLITS):
            raise DidError(
                f"{root / LIST} is malformed at {name!r}: it must name a .mp4 in {', '.join(FOLDERS)}, with label, set "
                "and target_id; get it anew with the data set."
            )
        label = LABELS[about["label"]]
        if (label == 0) != (FOLDERS[folder] == tables.REAL):
            raise DidError(f"{root / LIST} calls {name} {about['label']}, against its folder; get it anew.")
        if not (root / place).is_file():
            absent.append(name)
            continue
        people = dict.fromkeys(
            str(about[key]) for key in ("target_id", "swapped_id") if about.get(key) not in (None, "")
        )
        video = place.with_suffix("").as_posix()
        rows.append(layout.row(root, root / place, NAME, FOLDERS[folder], label, about["set"], video, "+".join(people)))
    layout.check_listed(root / LIST, TITLE, absent, len(rows) + len(absent), allow_missing)
    counts = {"real videos": sum(row["label"] == 0 for row in rows), "fake videos": sum(row["label"] for row in rows)}
    layout.compare(root, TITLE, counts, PUBLISHED, strict)
    layout.apart({(root / row["path"]).parent for row in rows})
    return layout.finish(rows, layout.counted(counts, PUBLISHED, len(absent)))


def _listed(root: Path) -> dict[str, Any]:
    file = root / LIST
    if not file.is_file():
        raise DidError(f"The list {file} is missing; {layout.hint(root, [LIST, *FOLDERS])}.")
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DidError(f"The list {file} is not JSON ({error}); get it anew with the data set.") from error
    if not isinstance(found, dict) or not found:
        raise DidError(f"The list {file} names no video; get it anew with the data set.")
    return found
