"""Pictures of one face each, which somebody has cut out already: no face is looked for.

If landmarks come with them, they lie beside the frames, as in releases of preprocessed data::

    .../frames/<video>/000.png
    .../landmarks/<video>/000.npy     81 or 68 points (x, y) in dlib's order, or MTCNN's five, in pixels of the picture

With landmarks a picture is aligned as any other face (`did.data.faces.align`), so that size and margin mean the same.
Without any, the whole picture (the square in its middle) is the crop, and the store holds no landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from did.data.faces import Face, align
from did.errors import DidError

FRAMES, LANDMARKS = "frames", "landmarks"
NO_LANDMARKS = "no landmarks beside the frame"
# Of dlib's 68 points, and of 81, which add the forehead after them: both eyes' outlines, tip of the nose, the mouth's
# corners; left and right as seen in the picture.
_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH = slice(36, 42), slice(42, 48), 30, (48, 54)


def landmarks_folder(clip: Path) -> Path | None:
    """Return the folder with the landmarks of a folder of frames; None if its place has none."""
    parts = list(clip.parts)
    if FRAMES not in parts:
        return None
    at = len(parts) - 1 - parts[::-1].index(FRAMES)
    whole = Path(*parts[:at], LANDMARKS)
    return Path(whole, *parts[at + 1 :]) if whole.is_dir() else None


def five_points(points: np.ndarray) -> np.ndarray:
    """Return the five landmarks of MTCNN, (5, 2), from them, or from dlib's 68 or 81 points.

    Raises:
        DidError: If there are as many points as none of these have.

    Examples:
        >>> five_points(np.arange(68 * 2).reshape(68, 2))[2].tolist()
        [60.0, 61.0]
    """
    points = np.asarray(points, dtype=np.float64)
    if points.shape == (5, 2):
        return points
    if points.shape not in ((68, 2), (81, 2)):
        raise DidError(f"landmarks have the shape {points.shape}; they must be 5, 68 or 81 points (x, y).")
    eyes = [points[_LEFT_EYE].mean(axis=0), points[_RIGHT_EYE].mean(axis=0)]
    return np.stack([*eyes, points[_NOSE], *points[list(_MOUTH)]])


def given(clip: Path, numbers: Sequence[int], pictures: Sequence[np.ndarray]) -> list[list[Face]]:
    """Return the one face of each picture; none where other frames have landmarks and it has not.

    Args:
        clip: the folder of frames.
        numbers: of the frames.
        pictures: RGB uint8 (H, W, 3).

    Returns:
        For each picture a list of one or no face. Its box is the whole picture, its landmarks are NaN where the data
        set has none.

    Raises:
        DidError: If a file of landmarks cannot be read, or they are not those of such a picture.
    """
    folder = landmarks_folder(clip)
    files = {} if folder is None else {_number(file.stem): file for file in sorted(folder.glob("*.npy"))}
    found = []
    for number, picture in zip(numbers, pictures, strict=True):
        height, width = picture.shape[:2]
        box = np.array([0, 0, width, height], dtype=np.float64)
        if folder is None:
            found.append([Face(box, 1.0, np.full((5, 2), np.nan))])
        elif number not in files:
            found.append([])
        else:
            found.append([Face(box, 1.0, _read(clip, files[number], width, height))])
    return found


def crop(image: np.ndarray, landmarks: np.ndarray, size: int, margin: float) -> np.ndarray:
    """Cut out the face, aligned by its landmarks, (size, size, 3); where they are NaN, scale the picture's middle."""
    if np.isfinite(landmarks).all():
        return align(image, landmarks, size, margin)
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    middle = image[top : top + side, left : left + side]
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return middle if side == size else cv2.resize(middle, (size, size), interpolation=way)


def _number(stem: str) -> int:
    return int(stem) if stem.isdecimal() else -1


def _read(clip: Path, file: Path, width: int, height: int) -> np.ndarray:
    try:
        points = five_points(np.load(file, allow_pickle=False))
    except (OSError, ValueError, DidError) as error:
        reason = str(error).rstrip(".")
        raise DidError(
            f"The video {clip} has unreadable landmarks, {file.name}: {reason}; replace the file."
        ) from error
    low, high = points.min(), points.max()
    if not (np.isfinite(points).all() and np.ptp(points, axis=0).min() > 0
            and -max(width, height) < low and high < 2 * max(width, height)):  # fmt: skip
        raise DidError(
            f"The video {clip} has landmarks, {file.name}, that are not those of a picture of {width}×{height}; "
            "replace the file."
        )
    return points
