"""The 68 landmarks that both banks share, and the smooth warp that moves a picture by them.

Points follow the iBUG order (jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67). *Canonical* coordinates have
the eye centres at (-.5, 0) and (.5, 0), x to the right of the picture and y down: the unit is the distance of the eyes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from did.data.geometry import Points, similarity

Image = NDArray[np.uint8]

JAW = list(range(0, 17))
BROWS = list(range(17, 27))
NOSE = list(range(27, 36))
EYES = list(range(36, 48))
LIPS = list(range(48, 60))
INNER_LIPS = list(range(60, 68))
#: MTCNN's five points as means of landmarks: eyes, tip of the nose, corners of the mouth.
FIVE = [list(range(36, 42)), list(range(42, 48)), [30], [48], [54]]


def _mirror(right: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(-x, y) for x, y in reversed(right)]


_JAW = [(0.34, 1.71), (0.65, 1.54), (0.88, 1.28), (0.98, 1.05), (1.03, 0.81), (1.06, 0.62), (1.09, 0.38), (1.10, 0.10)]
_BROW = [(0.22, -0.26), (0.46, -0.31), (0.66, -0.33), (0.80, -0.30), (0.90, -0.18)]
_NOSE = [(0.00, -0.02), (0.00, 0.17), (0.00, 0.36), (0.00, 0.52), (-0.2, 0.66), (-0.1, 0.69), (0, 0.70)]
_NOSE += [(0.1, 0.69), (0.2, 0.66)]
_LEFT_EYE = [(-0.70, 0.02), (-0.57, -0.085), (-0.41, -0.085), (-0.255, 0.035), (-0.42, 0.08), (-0.58, 0.075)]
_RIGHT_EYE = [(0.255, 0.035), (0.41, -0.085), (0.57, -0.085), (0.70, 0.02), (0.58, 0.075), (0.42, 0.08)]
_LIPS = [(-0.40, 1.05), (-0.25, 0.955), (-0.12, 0.905), (0, 0.925), (0.12, 0.905), (0.25, 0.955), (0.40, 1.05)]
_LIPS += [(0.27, 1.13), (0.15, 1.18), (0, 1.19), (-0.15, 1.18), (-0.27, 1.13)]
_INNER = [
    (-0.35, 1.055),
    (-0.13, 1.04),
    (0, 1.045),
    (0.13, 1.04),
    (0.35, 1.055),
    (0.13, 1.055),
    (0, 1.06),
    (-0.13, 1.055),
]

#: The mean face, (68, 2), canonical; read off the mean of neutral frontal portraits and made symmetric.
TEMPLATE: Points = np.array(
    _mirror(_JAW) + [(0, 1.78)] + _JAW + _mirror(_BROW) + _BROW + _NOSE + _LEFT_EYE + _RIGHT_EYE + _LIPS + _INNER
)


def depth(points: Points) -> NDArray[np.float64]:
    """Compute how far each canonical point (n, 2) is raised above the picture, (n,), in eye distances."""
    x, y = points[..., 0], points[..., 1]
    skull = 1.1 * np.sqrt(np.clip(1 - (x / 1.25) ** 2 - ((y - 0.3) / 2.3) ** 2, 0, None))
    nose = 0.45 * np.exp(-((x / 0.16) ** 2) - np.where(y < 0.55, ((y - 0.55) / 0.4) ** 2, ((y - 0.55) / 0.14) ** 2))
    return skull + nose


def five_points(points: Points) -> Points:
    """Return the points (5, 2) that MTCNN would give for these landmarks (68, 2)."""
    return np.array([points[group].mean(axis=0) for group in FIVE])


def eye_distance(points: Points) -> float:
    """Compute the distance of the eye centres of landmarks (68, 2)."""
    return float(np.linalg.norm(points[42:48].mean(axis=0) - points[36:42].mean(axis=0)))


def apply(matrix: NDArray[np.float64], points: Points) -> Points:
    """Apply an affine matrix (2, 3) to points (n, 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def to_canonical(points: Points) -> NDArray[np.float64]:
    """Fit the similarity (2, 3) from a face's pixels to canonical coordinates, on points that barely move."""
    steady = BROWS + NOSE + EYES
    return similarity(points[steady], TEMPLATE[steady])


def fit_template(five: Points) -> Points:
    """Fit the mean face to five MTCNN points (5, 2) by a least-squares affine map: (68, 2)."""
    base = np.column_stack([five_points(TEMPLATE), np.ones(5)])
    affine: NDArray[np.float64] = np.linalg.lstsq(base, five, rcond=None)[0].T.astype(np.float64)
    return apply(affine, TEMPLATE)


def spline_map(source: Points, target: Points, size: int, step: int = 4) -> tuple[NDArray, NDArray]:
    """Return the source of each pixel of a (size, size) picture, so that `source` (n, 2) maps to `target` (n, 2).

    A polyharmonic spline (kernel r): smooth, exact at the points, affine far away. It is evaluated on every `step`-th
    pixel and interpolated, which is what makes a frame take milliseconds.
    """
    n = len(target)
    kernel = np.linalg.norm(target[:, None] - target[None], axis=-1)
    affine = np.column_stack([target, np.ones(n)])
    system = np.block([[kernel, affine], [affine.T, np.zeros((3, 3))]])
    # Two landmarks may meet (a closed eye): a trace of smoothing keeps the system solvable.
    system[np.arange(n), np.arange(n)] -= 0.05
    weights = np.linalg.solve(system, np.vstack([source, np.zeros((3, 2))]))
    axis = np.arange(size // step) * step + (step - 1) / 2
    nodes = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype(np.float32)
    reach = np.sqrt(
        np.maximum(0, (nodes**2).sum(1)[:, None] - 2 * nodes @ target.T.astype(np.float32) + (target**2).sum(1))
    )
    moved = reach @ weights[:n] + nodes @ weights[n : n + 2] + weights[n + 2]
    grid = moved.reshape(len(axis), len(axis), 2).astype(np.float32)
    full = cv2.resize(grid, (size, size), interpolation=cv2.INTER_LINEAR)
    return full[..., 0], full[..., 1]


def warp(image: Image, source: Points, target: Points, size: int) -> Image:
    """Warp `image` (h, w, 3) to (size, size, 3) so that its points `source` (n, 2) are at `target` (n, 2)."""
    xs, ys = spline_map(source, target, size)
    return cv2.remap(image, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)


def curve(points: Points, each: int = 8) -> Points:
    """Draw a smooth open line through `points` (n, 2): Catmull-Rom, `each` steps per stretch."""
    p = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, each, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.vstack([*parts, points[-1:]])


def fill(polygon: Points, size: int, soft: float = 0.7) -> NDArray[np.float32]:
    """Fill a closed `polygon` (n, 2) in pixels: a mask (size, size) in 0-1, its edge `soft` pixels wide."""
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], (1.0,), lineType=cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), soft) if soft > 0 else mask
