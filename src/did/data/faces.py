"""Find faces with MTCNN and align them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
import torch

from did.data.geometry import similarity
from did.data.mtcnn import PYRAMID_STEP, cascade
from did.errors import DidError

MARGIN = 0.3

# Left eye, right eye, nose, left and right corner of the mouth (left and right as seen in the picture), measured from
# the centre of the MTCNN box in units of its height: means over 189 frontal portraits of the Face Research Lab London
# and Young Adult White Faces sets (standard deviation about .02), made symmetric.
LANDMARKS_IN_BOX = np.array([[-0.173, -0.101], [0.173, -0.101], [0.0, 0.084], [-0.147, 0.262], [0.147, 0.262]])

# MTCNN's own default, in pixels.
SMALLEST_FACE = 20

# Below this side MTCNN has no scale to look at and raises.
SMALLEST_FRAME = 20

LARGE_FACE = 1 / 8

# A face's box also depends on the scales below its own: as many of them as make up this factor must have been there.
SCALES_BELOW = 2

# Frames that MTCNN sees at once hold at most this many pixels, so that memory stays bounded (about 12 bytes each).
PIXELS_AT_ONCE = 16_000_000

# Landmarks are rounded to this, in pixels: far less than MTCNN's own error, far more than that of floating point.
LANDMARK_GRID = 1 / 8

NO_FACE = "no face found"


def in_batches(images: Iterator[tuple[int, np.ndarray]]) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Group numbered images of one size into lists of at most `PIXELS_AT_ONCE` pixels, at least one image each."""
    for shape, group in groupby(images, key=lambda pair: pair[1].shape):
        batch: list[tuple[int, np.ndarray]] = []
        for pair in group:
            if batch and (len(batch) + 1) * shape[0] * shape[1] > PIXELS_AT_ONCE:
                yield batch
                batch = []
            batch.append(pair)
        yield batch


def template(size: int, margin: float = MARGIN) -> np.ndarray:
    """Return the places of the five landmarks in a crop of `size` pixels a side, as pixel coordinates (x, y), (5, 2).

    The crop is `1 + margin` times the height of MTCNN's box of an upright frontal face, about the box's centre. That
    box runs from the forehead to the chin: at the default of .3 the crop shows the whole face and a rim around it,
    where a pasted face has its seam.
    """
    return LANDMARKS_IN_BOX * size / (1 + margin) + (size - 1) / 2


def align(image: np.ndarray, landmarks: np.ndarray, size: int = 224, margin: float = MARGIN) -> np.ndarray:
    """Cut out a face, upright and at one scale.

    Args:
        image: RGB uint8 (H, W, 3).
        landmarks: (5, 2) pixel coordinates (x, y) in the order of MTCNN.
        size: side of the crop in pixels.
        margin: see `template`.

    Returns:
        RGB uint8 (size, size, 3). Beyond the image's border its last row or column is repeated.
    """
    matrix = similarity(np.asarray(landmarks, dtype=np.float64), template(size, margin))
    # A reduction by bilinear interpolation alone aliases: sample finely, then average areas.
    fine = max(1, int(np.ceil(1 / np.hypot(matrix[0, 0], matrix[1, 0]) - 1e-9)))
    matrix = fine * matrix
    matrix[:, 2] += (fine - 1) / 2  # Pixel coordinates count from the centre of the first pixel.
    crop = cv2.warpAffine(
        image, matrix, (fine * size, fine * size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return crop if fine == 1 else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Face:
    """A face in an image, in pixels.

    The bounding box (4,) is x0, y0, x1, y1. The landmarks (5, 2) are (x, y): left eye, right eye, nose, left and right
    corner of the mouth as seen in the picture; `detect` gives them in steps of `LANDMARK_GRID`. The probability is in
    0-1.
    """

    box: np.ndarray
    probability: float
    landmarks: np.ndarray

    @property
    def height(self) -> float:
        """Height of the bounding box."""
        return float(self.box[3] - self.box[1])

    @property
    def centre(self) -> np.ndarray:
        """Centre of the bounding box, (2,)."""
        return (self.box[:2] + self.box[2:]) / 2

    def scaled(self, factor: float) -> Face:
        """Return the same face in an image that is `factor` times as large.

        Pixel coordinates count from the centres of pixels.
        """
        shift = (factor - 1) / 2
        return Face(self.box * factor + shift, self.probability, self.landmarks * factor + shift)


def detect(images: Sequence[np.ndarray], every: bool = False) -> list[list[Face]]:
    """Find the faces in each image with MTCNN, the largest first.

    Large faces are looked for first, from an eighth of the image's shorter side, and smaller ones only in the images
    where no face is twice as high as the smallest one looked for. As a large face is wanted, the small scales of
    MTCNN's image pyramid, which take most of its time, would only matter there; the boxes are those of the whole one.

    Images of more than `PIXELS_AT_ONCE` are looked at in a reduced form, so that memory stays bounded.

    Args:
        images: RGB uint8 arrays (H, W, 3) of one size, at least 20 pixels a side.
        every: look through the whole pyramid, for every face of `SMALLEST_FACE` pixels or more.

    Returns:
        For each image its faces; an empty list if there is none.

    Raises:
        DidError: If the images are too small, of unequal size, or not uint8.
    """
    found: list[list[Face]] = [[] for _ in images]
    if not len(images):
        return found
    shape = images[0].shape
    if any(image.shape != shape or image.dtype != np.uint8 for image in images) or len(shape) != 3 or shape[2] != 3:
        raise DidError("The face detector takes uint8 RGB images of one size; convert or group them first.")
    if min(shape[:2]) < SMALLEST_FRAME:
        raise DidError(f"The face detector takes images of at least {SMALLEST_FRAME} pixels a side, not {shape[:2]}.")

    step = int(np.ceil(np.sqrt(shape[0] * shape[1] / PIXELS_AT_ONCE)))
    if step > 1:
        if min(shape[:2]) // step < SMALLEST_FRAME:  # a ribbon, too narrow for a face
            return found
        return [[face.scaled(step) for face in faces] for faces in detect([_reduced(i, step) for i in images], every)]

    at_once = max(1, PIXELS_AT_ONCE // (shape[0] * shape[1]))
    todo = list(range(len(images)))
    smallest = float(SMALLEST_FACE) if every else _pyramid_size(LARGE_FACE * min(shape[:2]))
    while todo:
        for start in range(0, len(todo), at_once):
            batch = todo[start : start + at_once]
            for number, faces in zip(batch, _faces([images[i] for i in batch], smallest), strict=True):
                found[number] = faces
        if smallest == SMALLEST_FACE:
            break
        todo = [i for i in todo if not found[i] or found[i][0].height < SCALES_BELOW * smallest]
        smallest = _pyramid_size(smallest / SCALES_BELOW)
    return found


def _reduced(image: np.ndarray, step: int) -> np.ndarray:
    """Average blocks of step × step pixels; leftover pixels at the right and lower border are dropped."""
    height, width = (side // step for side in image.shape[:2])
    whole = image[: height * step, : width * step]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _pyramid_size(pixels: float) -> float:
    """Return the largest face size of MTCNN's default pyramid (20 / .709^k) up to `pixels`.

    So the scales of the pyramid stay the same ones.
    """
    result = float(SMALLEST_FACE)
    while result / PYRAMID_STEP <= pixels:
        result /= PYRAMID_STEP
    return result


# The number of threads belongs to the process: the threads of a Dask worker take turns.
_ONE_AT_A_TIME = threading.Lock()


def _faces(images: list[np.ndarray], smallest_face: float) -> list[list[Face]]:
    with _ONE_AT_A_TIME, _one_thread():
        found = cascade(images, smallest_face)
    return [
        [Face(box.astype(float), float(sure), _on_grid(five)) for box, sure, five in zip(*one, strict=True)]
        for one in found
    ]


def _on_grid(landmarks: np.ndarray) -> np.ndarray:
    """Round landmarks to `LANDMARK_GRID`.

    Processors and libraries give landmarks that differ by some 1e-5 pixels. Unrounded, that is enough to change single
    gray levels of a crop; rounded, the crop is the same to the bit nearly everywhere, and a run gets the same data.
    """
    return np.round(landmarks.astype(float) / LANDMARK_GRID) * LANDMARK_GRID


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread.

    Sums over several threads may round differently, and the crops must not depend on the number of workers.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
