"""Drawn faces that MTCNN detects, and small FF++ trees in both layouts, for the tests of the data path."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from did.data import prepare
from did.data.video import write_clip

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
PAIRS = {"train": [["001", "000"], ["002", "003"]], "val": [["010", "011"]], "test": [["020", "021"]]}


def _draw_face(size: int = 128, x: float = 0.5, y: float = 0.5, height: float = 0.62, skin: float = 1.0) -> np.ndarray:
    """A plain frontal face, RGB uint8 (size, size, 3): shaded oval, brows, eyes, nose, mouth, all softly blurred."""
    scale = 4  # Drawn large and reduced, so that shapes move by parts of a pixel.
    side = size * scale
    image = np.full((side, side, 3), (96, 112, 128), np.uint8)
    h = height * side
    cx, cy = x * side, y * side

    def oval(dx: float, dy: float, rx: float, ry: float, colour: tuple[float, float, float]) -> None:
        centre = (round(cx + dx * h), round(cy + dy * h))
        cv2.ellipse(image, centre, (round(rx * h), round(ry * h)), 0, 0, 360, colour, -1, cv2.LINE_AA)

    tone = tuple(float(skin * c) for c in (205, 165, 140))
    oval(0, -0.1, 0.42, 0.5, (60, 45, 35))  # hair
    oval(0, 0.5, 0.2, 0.3, tuple(0.8 * c for c in tone))  # neck
    oval(0, 0, 0.37, 0.5, tuple(0.93 * c for c in tone))
    oval(0, 0, 0.32, 0.46, tone)
    for side_sign in (-1, 1):
        oval(side_sign * 0.17, -0.08, 0.1, 0.06, tuple(0.82 * c for c in tone))  # socket
        oval(side_sign * 0.17, -0.155, 0.1, 0.018, (70, 50, 40))  # brow
        oval(side_sign * 0.17, -0.07, 0.07, 0.032, (240, 240, 240))
        oval(side_sign * 0.17, -0.07, 0.032, 0.032, (60, 40, 30))
        oval(side_sign * 0.04, 0.125, 0.02, 0.012, tuple(0.5 * c for c in tone))  # nostril
    oval(0, 0.02, 0.022, 0.12, tuple(1.08 * c for c in tone))
    oval(0, 0.1, 0.06, 0.035, tuple(1.05 * c for c in tone))
    oval(0, 0.28, 0.13, 0.035, (165, 80, 80))
    oval(0, 0.278, 0.12, 0.008, (90, 40, 40))
    image = cv2.GaussianBlur(image, (0, 0), scale * size / 160)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def draw_face() -> Callable[..., np.ndarray]:
    """The function `_draw_face` (a fixture, as a module named conftest cannot be imported by name reliably)."""
    return _draw_face


def _face_frames(number: int, frames: int, size: int) -> Iterator[np.ndarray]:
    """A face that drifts; skin and place tell people apart."""
    for t in range(frames):
        yield _draw_face(size, x=0.47 + 0.01 * (number % 5) + 0.005 * t, skin=0.7 + 0.03 * (number % 10))


@pytest.fixture(scope="session")
def ffpp_tree() -> Callable[..., Path]:
    """Function that writes a small FF++ tree with real clips under `root` and returns `root`."""

    def write(
        root: Path,
        layout: str = "official",
        methods: tuple[str, ...] = METHODS,
        pairs: dict[str, list[list[str]]] = PAIRS,
        frames: int = 4,
        size: int = 96,
        compression: str = "c23",
    ) -> Path:
        if layout == "official":
            folders = {name: root / "manipulated_sequences" / name / compression / "videos" for name in methods}
            folders["real"] = root / "original_sequences" / "youtube" / compression / "videos"
            splits = root / "splits"
        else:
            folders = {name: root / name for name in methods} | {"real": root / "original"}
            splits = root
        splits.mkdir(parents=True, exist_ok=True)
        for split, listed in pairs.items():
            (splits / f"{split}.json").write_text(json.dumps(listed))
            for number, (a, b) in enumerate(listed):
                for name, folder in folders.items():
                    for stem in (a, b) if name == "real" else (f"{a}_{b}", f"{b}_{a}"):
                        shift = int(stem[:3]) + number
                        write_clip(folder / f"{stem}.mp4", _face_frames(shift, frames, size))
        return root

    return write


@pytest.fixture(scope="module")
def two_videos_a_shard():
    """So that sixteen videos of two crops each fill eight shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "CROPS_A_SHARD", 4)
        yield
