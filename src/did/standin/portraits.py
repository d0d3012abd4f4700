"""The second bank: portraits from any folder of photographs.

Each photograph gives one `Still`: MTCNN finds the face and five points, the mean face is laid on those five, and the
head is cut out at the same scale as the drawn ones.

A folder may hold a table `portraits.csv` that says more about its files. Columns that count, the others are ignored:

- `file` and `identity` (both needed): path below the folder, and who it shows. One identity is one person, and one
  picture of it is used. Without a table every file is a person of its own.
- `licence_basis` (optional): on what ground the picture may be used. Forgeries are made only of people who agreed to
  it, so with this column only the rows that say "altered" (consent to *altered* forms) are used, and no other file.
- `expression` (optional): rows with `neutral` are preferred.
- `attribution` (optional): how the pictures want to be credited; it is copied to `standin.json`.

Without `licence_basis` the person who names the folder answers for the consent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from did.data.geometry import Points
from did.data.table import read_csv
from did.data.video import read_image
from did.errors import DidError
from did.standin.drawn import EYE_LINE, REACH, Still
from did.standin.landmarks import Image, apply, fit_template, to_canonical

TABLE = "portraits.csv"
CONSENT_COLUMN, CONSENT_WORD = "licence_basis", "altered"
SUFFIXES = (".jpg", ".jpeg", ".png")
#: Longest side that the detector sees, the least distance of the eyes in it, in pixels, and the least certainty.
LOOK_AT, LEAST_EYES, SURE = 512, 24, 0.9
#: The share of a folder's people whom data sets to train on get; the others are for those to test on.
SEEN = 0.7


@dataclass(frozen=True)
class _Person:
    identity: str
    files: tuple[Path, ...]
    attribution: str = ""


def _people(folder: Path) -> list[_Person]:
    """List everybody in `folder` who may be forged, in a fixed order."""
    if not folder.is_dir():
        raise DidError(f"There is no folder of portraits {folder}.")
    table = folder / TABLE
    if not table.is_file():
        files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
        if not files:
            raise DidError(f"The folder {folder} holds no portrait; put photographs (.jpg or .png) of faces in it.")
        return [_Person(str(file.relative_to(folder)), (file,)) for file in files]
    rows = read_csv(table)
    if not {"file", "identity"} <= set(rows.columns):
        raise DidError(f"The table {table} needs the columns 'file' and 'identity'; it has {', '.join(rows.columns)}.")
    if CONSENT_COLUMN in rows:
        rows = rows[rows[CONSENT_COLUMN].str.contains(CONSENT_WORD, case=False)]
        if rows.empty:
            raise DidError(
                f"No row of {table} says in '{CONSENT_COLUMN}' that the sitter agreed to {CONSENT_WORD} forms; "
                "forgeries are made of consenting people only."
            )
    if rows.empty:
        raise DidError(f"The table {table} has no row; list the portraits or remove it.")
    absent = [name for name in rows["file"] if not (folder / name).is_file()]
    if absent:
        raise DidError(f"The table {table} names {len(absent)} files that are not there, {absent[0]!r} first.")
    if "expression" in rows:
        rows = rows.sort_values("expression", key=lambda e: e != "neutral", kind="stable")
    people = []
    for identity, group in rows.groupby("identity", sort=True):
        credit = str(group["attribution"].iloc[0]) if "attribution" in group else ""
        people.append(_Person(str(identity), tuple(folder / name for name in group["file"]), credit))
    return people


@lru_cache(maxsize=1)
def _detector() -> Any:
    from facenet_pytorch import MTCNN

    return MTCNN(device="cpu")


def find_face(image: Image) -> Points | None:
    """Find eyes, nose and corners of the mouth of the largest face of `image` (h, w, 3): (5, 2), or None."""
    shrink = min(1.0, LOOK_AT / max(image.shape[:2]))
    if min(image.shape[:2]) * shrink < 40:
        return None
    width, height = (max(1, round(side * shrink)) for side in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, sure, five = _detector().detect(small, landmarks=True)
    if sure[0] is None or sure[0] < SURE:
        return None
    points = np.array(five[0], float)
    if np.linalg.norm(points[1] - points[0]) < LEAST_EYES:
        return None
    return (points + 0.5) / shrink - 0.5


def cut(image: Image, five: Points, size: int = 352) -> Still:
    """Cut out the head around five MTCNN points, like a drawn `Still` of (size, size, 3)."""
    points = fit_template(five)
    unit = size / (2 * REACH)
    shift = np.array([REACH, 2 * REACH * EYE_LINE]) * unit - 0.5
    to_still = to_canonical(points) * unit
    to_still[:, 2] += shift
    # A large photograph is reduced first, by area, so that nothing folds over.
    ratio = 1 / float(np.linalg.norm(to_still[:, 0]))
    if ratio > 1.5:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 * ratio)
    cutout = cv2.warpAffine(image, to_still, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return Still(cutout.astype(np.uint8), apply(to_still, points))


class PortraitBank:
    """People from a folder of photographs; see the module for `portraits.csv` and consent.

    Args:
        folder: photographs (.jpg, .png), nested or not.
        seed: in what order the people are taken.
        part: "seen", the first `SEEN` of the people in an order that no seed changes, "unseen", the others, or "all".

    Raises:
        DidError: If there is no such folder, no picture, a table that does not fit, nobody who agreed.
    """

    name = "portraits"

    def __init__(self, folder: str | Path, seed: int = 0, part: str = "all") -> None:
        self.folder = Path(folder)
        everybody = _people(self.folder)
        if part != "all":
            # Not by `seed`: data sets of two seeds must not share people either.
            mixed = [everybody[k] for k in np.random.default_rng(0).permutation(len(everybody))]
            seen = round(SEEN * len(everybody))
            everybody = mixed[:seen] if part == "seen" else mixed[seen:]
        order = np.random.default_rng([seed, 2]).permutation(len(everybody))
        self._waiting = [everybody[k] for k in order]
        self._found: list[tuple[_Person, Path, Points]] = []

    def find(self, wanted: int) -> int:
        """Find the faces of `wanted` people, or of as many as there are; return how many.

        Raises:
            DidError: If none of the pictures has a face, or one cannot be read; see `did.data.video.read_image`.
        """
        total = len(self._found) + len(self._waiting)
        while self._waiting and len(self._found) < wanted:
            person = self._waiting.pop(0)
            for file in person.files:
                five = find_face(read_image(file))
                if five is not None:
                    self._found.append((person, file, five))
                    break
        if not self._found:
            raise DidError(
                f"No portrait in {self.folder} has a face ({total} looked at); it takes frontal faces with at least "
                f"{LEAST_EYES} pixels from eye to eye."
            )
        return min(wanted, len(self._found))

    @property
    def attribution(self) -> str:
        """Credits of the pictures in use."""
        return " ".join(dict.fromkeys(person.attribution for person, _, _ in self._found if person.attribution))

    def identity(self, person: int) -> str:
        """Return the identity of person number `person`: from the table, or the file's name."""
        return self._found[person][0].identity

    def still(self, person: int) -> Still:
        """Return the portrait of `person`, a number below the one given to `check`."""
        _, file, five = self._found[person]
        return cut(read_image(file), five)
