"""What a forgery changed: one small picture beside each forged file of a stand-in.

The mask of `<path>` is `masks/<path>.png`: 8-bit gray, one square of `SIDE` pixels a frame, side by side; 255 where
all of a pixel was replaced, 0 where nothing was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from did.data.faces import MARGIN, align
from did.data.layout import IMAGE_SUFFIXES
from did.data.store import LANDMARKS
from did.data.video import count_frames, read_image, stream_frames
from did.errors import DidError
from did.utils.files import write_atomically

Masks = NDArray[np.float32]
FOLDER = "masks"
#: Side of a frame's mask in pixels, whatever the frame's own.
SIDE = 64


def file_of(root: Path, path: str) -> Path:
    """Return the mask file of the file `path` (relative to `root`)."""
    return Path(root) / FOLDER / f"{path}.png"


def save(root: Path, path: str, masks: Masks) -> None:
    """Write the masks (n, h, w) in 0-1 of the forged file `path`."""
    small = [cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for mask in masks]
    strip = np.clip(np.round(255 * np.hstack(small)), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".png", strip)
    write_atomically(file_of(root, path), lambda file: file.write_bytes(data.tobytes()))


def mask(root: str | Path, path: str, frame: int = 0) -> Masks | None:
    """Return which part of one frame of a stand-in's file was changed.

    Args:
        root: folder of the stand-in.
        path: the file, relative to `root`.
        frame: number of the frame, from 0.

    Returns:
        (SIDE, SIDE) in 0-1, over the whole frame; None where the file is real.

    Raises:
        DidError: If there is no such file in the stand-in, or it has no such frame.
    """
    if not (Path(root) / path).is_file():
        raise DidError(f"There is no file {path} in the stand-in {root}; take a path of its index.")
    file = file_of(Path(root), path)
    if not file.is_file():
        return None
    strip = read_image(file)[..., 0]
    count = strip.shape[1] // SIDE
    if not 0 <= frame < count:
        raise DidError(f"The file {path} has the frames 0 to {count - 1}; it has no frame {frame}.")
    return strip[:, frame * SIDE : (frame + 1) * SIDE].astype(np.float32) / np.float32(255)


def true_region(root: str | Path, row: Any, size: int, margin: float = MARGIN) -> NDArray[Any] | None:
    """Return where a crop of a stand-in was forged: the mask of its frame, aligned by the crop's landmarks.

    A mask has 64 pixels a side for the whole frame: that is how fine a region is. The manifest rounds landmarks to
    .001 pixel.

    Args:
        root: folder of the stand-in.
        row: a row of the store's manifest: path, frame and the landmarks.
        size, margin: of the crops; the store's `info` has the margin.

    Returns:
        (size, size) float32 in [0, 1], the share of each pixel that was replaced; None if the file is real.

    Raises:
        DidError: If there is no such file or frame in the stand-in.
    """
    number = int(row.frame)
    changed = mask(root, row.path, number)
    if changed is None:
        return None
    shape = _frame(Path(root) / row.path, number).shape
    large = cv2.resize(changed, shape[1::-1], interpolation=cv2.INTER_LINEAR)
    picture = np.repeat(np.round(255 * large).astype(np.uint8)[..., None], 3, axis=2)
    landmarks = np.array([getattr(row, name) for name in LANDMARKS]).reshape(5, 2)
    crop = align(picture, landmarks, size, margin)
    return crop[..., 0].astype(np.float32) / np.float32(255)


def _frame(file: Path, number: int) -> NDArray[Any]:
    """Read one frame of a clip, or a picture: RGB uint8 (h, w, 3)."""
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return read_image(file)
    # A stand-in's clips are short: all frames are decoded.
    return dict(stream_frames(file, count_frames(file)))[number]
