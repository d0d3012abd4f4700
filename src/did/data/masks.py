"""What a forgery changed: one small picture beside each forged file of a stand-in.

The mask of `<path>` is `masks/<path>.png`: 8-bit gray, one square of `SIDE` pixels a frame, side by side; 255 where
all of a pixel was replaced, 0 where nothing was.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from did.data.video import read_image
from did.errors import DidError
from did.utils.files import write_atomically

Masks = NDArray[np.float32]
FOLDER = "masks"
#: Side of a frame's mask in pixels, whatever the frame's own.
SIDE = 64


def file_of(root: Path, path: str) -> Path:
    """Where the mask of the file `path` (relative to `root`) lies."""
    return Path(root) / FOLDER / f"{path}.png"


def save(root: Path, path: str, masks: Masks) -> None:
    """Write the masks (n, h, w) in 0-1 of the forged file `path`."""
    small = [cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for mask in masks]
    strip = np.clip(np.round(255 * np.hstack(small)), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".png", strip)
    write_atomically(file_of(root, path), lambda file: file.write_bytes(data.tobytes()))


def mask(root: str | Path, path: str, frame: int = 0) -> Masks | None:
    """What was changed in one frame of a stand-in's file.

    Args:
        root: folder of the stand-in.
        path: the file, relative to `root`.
        frame: number of the frame, from 0.

    Returns:
        (SIDE, SIDE) in 0-1, over the whole frame; None where the file is real.

    Raises:
        DidError: no such file in the stand-in, or it has no such frame.
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
