"""Clips of a drawn person before a wall, as H.264: nobody's picture."""

from pathlib import Path

import cv2
import numpy as np

from did.data import video
from did.standin.animate import animate
from did.standin.drawn import DrawnBank

SIDE = 320  # of the square with the person, in pixels


def write(file: Path, person: int, length: int, size: tuple[int, int]) -> None:
    """Write `length` frames of one person, 25 per second.

    Args:
        file: the clip.
        person: a number; another number, another person, wall and place.
        length: frames.
        size: (width, height) of the frames, at least `SIDE`.
    """
    width, height = size
    clip = animate(DrawnBank(11).still(person), np.random.default_rng(person), length, SIDE)
    rng = np.random.default_rng([person, 1])
    wall = cv2.resize(rng.integers(60, 180, (12, 20, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    left, top = rng.integers(0, width - SIDE), rng.integers(0, height - SIDE)

    def scene(frame: np.ndarray) -> np.ndarray:
        picture = wall.copy()
        picture[top : top + SIDE, left : left + SIDE] = frame
        return cv2.add(picture, rng.integers(0, 6, picture.shape, np.uint8))

    video.write_clip(file, map(scene, clip.frames))
