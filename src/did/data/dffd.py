"""DFFD: a root folder of still images in its layout becomes the table.

Layout (http://cvlab.cse.msu.edu/dffd-dataset.html), for whichever subsets are there::

    <subset>/{train,validation,test}/*.png      real: ffhq, celeba
                                                fake: faceapp, stargan, pggan_v1, pggan_v2, stylegan_celeba,
                                                stylegan_ffhq

The case of a subset's name does not matter; `val` is taken for `validation`; other image formats are taken, too. The
parts that come from FaceForensics++, CelebA and DeepFaceLab are fetched apart, so that the published 58,703 real and
240,336 fake images are in nobody's folder: what is there is a part, which the record says, and no fault to warn of.

DFFD names nobody: each image is a video of one frame and counts as a person of its own. That nobody is in two splits
can therefore not be checked; the authors say that they took care of it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.errors import DidError

NAME = "dffd"
TITLE = "DFFD"
METHODS = ("faceapp", "stargan", "pggan_v1", "pggan_v2", "stylegan_celeba", "stylegan_ffhq")
# The explicit maps: from subset to method, from method to label.
SUBSETS = {"ffhq": tables.REAL, "celeba": tables.REAL} | {name: name for name in METHODS}
LABELS = {tables.REAL: 0} | dict.fromkeys(METHODS, 1)
#: Of all subsets and splits together.
PUBLISHED = {"real images": 58_703, "fake images": 240_336}
HOW_TO_GET = "ask its authors for it with the form at http://cvlab.cse.msu.edu/dffd-dataset.html"
SPLIT_FOLDERS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}


@layout.readable()
def index(root: str | Path, strict: bool = False) -> pd.DataFrame:
    """Index the images of the subsets that are there.

    Args:
        root: folder of the data set (see the module).
        strict: raise if there is an unknown folder, instead of warning.

    Returns:
        The table (`did.data.table.COLUMNS`), one row an image, sorted by split, method and name; `frame` is <NA> and
        `path` is relative to `root`.

    Raises:
        DidError: If the root is missing, empty or not DFFD; it has no real or no fake subset; a subset is there twice
            or has no image; or there is an unknown folder under `strict`.
    """
    root = layout.open_root(root, TITLE)
    rows = []
    left = layout.Left()
    places = []
    for subset, folder in _subsets(root, strict).items():
        method = SUBSETS[subset]
        images = []
        for split, place in _splits(folder).items():
            images += layout.still_rows(root, place, NAME, method, LABELS[method], split, f"{subset}/{split}", left)
            places.append(place)
        if not images:
            raise DidError(f"The subset {folder} has no image in train/, validation/ or test/; add them or remove it.")
        rows += images
    layout.apart(places)
    fake = sum(row["label"] for row in rows)
    counts = layout.counted({"real images": len(rows) - fake, "fake images": fake}, PUBLISHED)
    return left.noted(layout.finish(rows, counts), root, strict)


def _subsets(root: Path, strict: bool) -> dict[str, Path]:
    """Return the folder of each subset that exists, by its canonical name."""
    found: dict[str, Path] = {}
    unknown = []
    for folder in layout.folders(root):
        name = folder.name.lower()
        if name == "masks":  # What was forged, pixel by pixel: no subset.
            continue
        if name not in SUBSETS:
            unknown.append(folder.name)
        elif name in found:
            raise DidError(f"{root} holds the subset {name} twice, {found[name].name}/ and {folder.name}/; keep one.")
        else:
            found[name] = folder
    for label, kind in tables.LABELS.items():
        if all(LABELS[SUBSETS[name]] != label for name in found):
            names = [name for name, method in SUBSETS.items() if LABELS[method] == label]
            raise DidError(
                f"{root} has no {kind} subset of {TITLE} ({', '.join(names)}); add one, or "
                f"{layout.hint(root, SUBSETS)}."
            )
    if unknown:
        sentence = (
            f"{root} has folders that are not subsets of {TITLE} and are left out ({', '.join(unknown)}); the known "
            f"ones are {', '.join(SUBSETS)}."
        )
        if strict:
            raise DidError(sentence)
        layout.note(root, sentence)
    return found


def _splits(folder: Path) -> dict[str, Path]:
    """Return the folder of each split that a subset has."""
    found = {}
    for split, names in SPLIT_FOLDERS.items():
        there = [folder / name for name in names if (folder / name).is_dir()]
        if len(there) > 1:
            raise DidError(f"{folder} has both {names[0]}/ and {names[1]}/; keep one of them.")
        if there:
            found[split] = there[0]
    return found
