"""From one still to a short clip: head motion with parallax, expression, blinks, a drifting light.

Both banks end in a `Still` and are brought to life here by their landmarks alone, so a drawn face and a photograph
move the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from did.data.geometry import Points
from did.standin.drawn import EYE_LINE, REACH, Still
from did.standin.landmarks import INNER_LIPS, Image, apply, curve, depth, eye_distance, fill, to_canonical, warp

#: What a face can do, in this order; 0 is the still's own expression, 1 is strong.
EXPRESSION = ("open", "smile", "brow", "blink", "pucker")


@dataclass(frozen=True)
class Clip:
    """A clip before the camera.

    `frames` (n, h, w, 3) uint8 RGB, `points` (n, 68, 2) in pixels, and `expression` (n, 5), in the order of
    `EXPRESSION`, of the face in each frame.
    """

    frames: Image
    points: Points
    expression: NDArray[np.float64]


def express(points: Points, amounts: NDArray[np.float64]) -> Points:
    """Add an expression (5,) to canonical landmarks (68, 2)."""
    opening, smile, brow, blink, pucker = amounts
    p = points.copy()
    x, y = points[:, 0], points[:, 1]
    lips = slice(48, 68)
    centre = y[[48, 54]].mean()
    width = (x[54] - x[48]) / 2
    across = np.clip(1 - (x / width) ** 2, 0, 1)
    parting = np.zeros(68)
    parting[[55, 56, 57, 58, 59, 65, 66, 67]], parting[[50, 51, 52, 61, 62, 63]] = 0.20, -0.05
    p[:, 1] += opening * parting * across
    jaw = np.arange(68) < 17
    p[:, 1] += opening * 0.13 * jaw * np.clip((y - 0.7) / 1.0, 0, 1)
    corner = np.abs(x[lips]) / width
    p[lips, 0] += smile * 0.09 * np.sign(x[lips]) * corner**1.5 - pucker * 0.12 * x[lips] / width
    p[lips, 1] += -smile * 0.09 * corner**2 + pucker * 0.04 * np.sign(y[lips] - centre)
    p[17:27, 1] -= brow * 0.10
    for eye in (slice(36, 42), slice(42, 48)):
        floor = y[eye][[4, 5]].mean()
        lid = np.zeros(6)
        lid[[1, 2]] = 1
        # Never quite shut: the spline needs the lids apart.
        p[eye, 1] += 0.85 * np.clip(blink, 0, 1) * lid * (floor - y[eye]) - 0.02 * smile * np.array([0, 0, 0, 0, 1, 1])
    return p


def paint_mouth(image: Image, points: Points) -> Image:
    """Paint the dark of the mouth and the upper teeth, if the lips (68, 2) have parted; `image` (n, n, 3)."""
    inner = points[INNER_LIPS]
    unit = eye_distance(points)
    gap = (inner[5:8, 1] - inner[1:4, 1]).mean() / unit
    if gap < 0.05:
        return image
    size = len(image)
    upper, lower = curve(inner[:5]), curve(np.vstack([inner[4:], inner[:1]]))
    hole = fill(np.vstack([upper, lower]), size, 0.02 * unit) * min(1.0, (gap - 0.03) / 0.05)
    down = np.array([0, min(0.09, 0.55 * gap) * unit])
    teeth = fill(np.vstack([upper, upper[::-1] + down]), size, 0.015 * unit) * hole
    rows, columns = np.clip(inner[:, ::-1].astype(int).T, 0, size - 1)
    light = float(np.clip(image[rows, columns].mean() / 130, 0.5, 1.3))
    dark, white = light * np.array([[52, 22, 22], [196, 188, 176]], np.float32)
    out = image + hole[..., None] * (dark - image)
    out += 0.85 * teeth[..., None] * (white - out)
    return np.clip(out, 0, 255).astype(np.uint8)


def _wander(rng: np.random.Generator, frames: int, spread: NDArray | float, dims: int) -> NDArray[np.float64]:
    """Draw smooth random curves (frames, dims) of about the given spread: two slow sines each."""
    t = np.arange(frames)[:, None] / 25
    out = np.zeros((frames, dims))
    for speed in (0.7, 1.7):
        turns = speed * rng.uniform(0.7, 1.4, dims) * t + rng.uniform(0, 1, dims)
        out += rng.normal(0, 0.6, dims) * np.sin(2 * np.pi * turns)
    return out * spread


def motion(rng: np.random.Generator, frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw a person's way of moving: expression (frames, 5) and pose (frames, 6).

    The pose is yaw, pitch, roll in radians, zoom, and the shift in x and y in eye distances.
    """
    base = rng.uniform([0, -0.2, -0.5, 0, 0], [0.5, 0.9, 0.7, 0.12, 0.3])
    face = base + _wander(rng, frames, np.array([0.3, 0.25, 0.3, 0.05, 0.15]), 5)
    if rng.random() < 0.4:
        face[:, 3] += np.exp(-(((np.arange(frames) - rng.uniform(0, frames)) / 1.5) ** 2))
    face = np.clip(face, [0, -0.5, -0.8, 0, 0], [1.1, 1.2, 1.2, 0.9, 0.8])
    pose = rng.normal([0, 0, 0, 1, 0, 0], [0.11, 0.06, 0.06, 0.05, 0.10, 0.10])
    return face, pose + _wander(rng, frames, np.array([0.035, 0.03, 0.025, 0.008, 0.03, 0.03]), 6)


def _turn(points: Points, pose: NDArray[np.float64]) -> Points:
    """Turn canonical points (n, 2) of a head by the pose's yaw, pitch and roll, seen from the front."""
    yaw, pitch, roll = np.clip(pose[:3], [-0.26, -0.18, -0.25], [0.26, 0.18, 0.25])
    centre = np.array([0, 0.6])
    x, y = (points - centre).T
    z = depth(points) - 0.3
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y = y * np.cos(pitch) - z * np.sin(pitch)
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    return np.stack([x, y], 1) + centre


# The picture's rim moves with zoom and shift only, half of it: the wall behind a head does not turn with it.
_RIM = np.array(
    [[x, y] for x in (-2.6, -0.9, 0.9, 2.6) for y in (-2.4, -0.8, 1.2, 2.9) if abs(x) > 2 or not -1 < y < 2]
)


def animate(still: Still, rng: np.random.Generator, frames: int, size: int) -> Clip:
    """Animate the person in `still`: a clip of `frames` pictures (size, size, 3).

    The eyes are about a fifth of the picture apart. `rng` decides how the person moves; the same generator state
    gives the same clip.
    """
    to_face = to_canonical(still.points)
    to_still = cv2.invertAffineTransform(to_face)
    rest = apply(to_face, still.points)
    skull = np.array([[-0.6, -1.35], [0, -1.55], [0.6, -1.35], [-1.2, -0.7], [1.2, -0.7]])
    source = apply(to_still, np.vstack([rest, skull, _RIM]))
    unit = size / (2 * REACH)
    # Pixels shrink on the way: without this blur the finer grain would fold over.
    ratio = float(np.linalg.norm(to_still[:, 0])) / unit
    image = cv2.GaussianBlur(still.image, (0, 0), 0.4 * ratio) if ratio > 1.1 else still.image
    expression, pose = motion(rng, frames)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    lean, level = _wander(rng, frames, 0.04, 2), _wander(rng, frames, 0.02, 1)[:, 0]
    pictures, points = [], []
    for k in range(frames):
        head = _turn(np.vstack([express(rest, expression[k]), skull]), pose[k])
        placed = np.vstack([head * pose[k, 3] + pose[k, 4:], _RIM * (0.5 + 0.5 * pose[k, 3]) + 0.5 * pose[k, 4:]])
        target = (placed + [REACH, 2 * REACH * EYE_LINE]) * unit - 0.5
        picture = paint_mouth(warp(image, source, target, size), target[:68])
        light = 1 + level[k] + lean[k, 0] * axis[None, :] + lean[k, 1] * axis[:, None]
        pictures.append(np.clip(picture * light[..., None], 0, 255).astype(np.uint8))
        points.append(target[:68])
    return Clip(np.stack(pictures), np.stack(points), expression)
