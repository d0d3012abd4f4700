"""DiFF: a root folder of still images in its layout becomes the table.

Layout (https://github.com/iLearn-Lab/MM24-DiFF), at any depth below the last folder named here::

    DiFF_real/{train,val,test}/...                   real; some copies call the folder `real`
    {train,val,test}/{T2I,I2I,FS,FE}/...             fake; the folders below are the generators

The authors publish no forgeries for training: the real images of a split without forgeries are left out, and so are
forgeries of a split without real images. Labels come from the folder's name, by an explicit map: the order of the
folders says nothing.

DiFF's names do not tell who is shown: each image is a video of one frame and counts as a person of its own. That
nobody is in two splits can therefore not be checked, and rests on the authors' splits.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.errors import DidError

NAME = "diff"
TITLE = "DiFF"
METHODS = ("T2I", "I2I", "FS", "FE")
# The explicit map of labels.
LABELS = {tables.REAL: 0} | dict.fromkeys(METHODS, 1)
#: Of all splits together, as the paper gives them.
PUBLISHED = {"pristine images": 23_661, "forged images": 537_466}
HOW_TO_GET = "download it, and ask its authors for the real images, at https://github.com/iLearn-Lab/MM24-DiFF"
REAL_FOLDERS = ("DiFF_real", "real")


@layout.readable()
def index(root: str | Path, strict: bool = False) -> pd.DataFrame:
    """Index the images of the splits that have both classes.

    Args:
        root: folder of the data set (see the module).
        strict: raise where the number of images is not the published one, instead of warning.

    Returns:
        The table (`did.data.table.COLUMNS`), one row an image, sorted by split, method and name; `frame` is <NA> and
        `path` is relative to `root`. How many images were left out, and why, is a `LayoutWarning`.

    Raises:
        DidError: If the root is missing, empty or not DiFF; it has the real images twice; no split has both classes; or
            a count differs under `strict`.
    """
    root = layout.open_root(root, TITLE)
    real = _real_folder(root)
    rows, unknown = [], []
    left = layout.Left()
    there = []
    for split in tables.SPLITS:
        places = {tables.REAL: real / split} | {method: root / split / method for method in METHODS}
        for method, place in places.items():
            if place.is_dir():
                rows += layout.still_rows(
                    root, place, NAME, method, LABELS[method], split, f"{method}/{split}", left, deep=True
                )
                there.append(place)
        if (root / split).is_dir():
            others = [folder.name for folder in layout.folders(root / split) if folder.name not in METHODS]
            unknown += [f"{split}/{name}" for name in others]
    forged = sum(row["label"] for row in rows)
    pristine = len(rows) - forged
    if not pristine:
        raise DidError(f"The folder {real} holds no image in train/, val/ or test/; put the real images there.")
    if not forged:
        raise DidError(f"{root} holds no forged image in folders such as test/{METHODS[0]}/; put them there.")
    counts = {"pristine images": pristine, "forged images": forged}
    layout.compare(root, TITLE, counts, PUBLISHED, strict)

    classes = {split: {row["label"] for row in rows if row["split"] == split} for split in tables.SPLITS}
    kept = [row for row in rows if len(classes[row["split"]]) == 2]
    left_out = [f"the folder {name}, which is not a method of {TITLE}" for name in unknown]
    for split, labels in classes.items():
        if len(labels) == 1:
            count = sum(row["split"] == split for row in rows)
            missing = tables.LABELS[1 - min(labels)]
            left_out.append(f"{count} images of {split}, since it has no {missing} one")
    if not kept:
        raise DidError(f"No split of {TITLE} in {root} has real and fake images; add those that are missing.")
    if left_out:
        layout.note(root, f"Of {TITLE} in {root} are left out: {'; '.join(left_out)}.")
    layout.apart(there)
    return left.noted(layout.finish(kept, layout.counted(counts, PUBLISHED)), root, strict)


def _real_folder(root: Path) -> Path:
    there = [root / name for name in REAL_FOLDERS if (root / name).is_dir()]
    if len(there) > 1:
        raise DidError(f"{root} has both DiFF_real/ and real/; keep the one that holds the real images of {TITLE}.")
    if not there:
        raise DidError(
            f"{root} has no folder of real images of {TITLE}, DiFF_real/ or real/; add it, or "
            f"{layout.hint(root, REAL_FOLDERS)}."
        )
    return there[0]
