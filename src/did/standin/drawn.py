"""The procedural bank: portraits drawn by code, so that the project needs no photograph of anybody.

A face is a height field over canonical coordinates (skull, sockets, nose, lips, ...), lit by one lamp and some sky
(Lambert, a little gloss), with an albedo of skin, lips, brows, eyes and hair. Nothing here is learned from a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from did.data.geometry import Points
from did.standin.landmarks import TEMPLATE, Image, curve, fill

Plane = NDArray[np.float32]
#: Half the side of the drawn square in eye distances, and where the eyes are in it (share of its height).
REACH = 2.5
EYE_LINE = 0.45
#: The number of the first drawn person of each part.
FIRST_PERSON = {"seen": 0, "unseen": 1_000_000}


@dataclass(frozen=True)
class Still:
    """One picture of one person, to be animated: `image` (n, n, 3) uint8 RGB, `points` (68, 2) in its pixels."""

    image: Image
    points: Points


def identity_shape(rng: np.random.Generator) -> Points:
    """Draw canonical landmarks of a new person, (68, 2)."""
    p = TEMPLATE.copy()
    x, y = p[:, 0].copy(), p[:, 1].copy()
    low = np.clip((y - 0.5) / 1.2, 0, 1)
    jaw = np.arange(68) <= 16
    p[:, 0] = np.where(jaw, x * rng.normal(1.0, 0.05) * (1 + rng.normal(0, 0.07) * low), x)
    p[:, 1] = np.where(y > 0.2, 0.2 + (y - 0.2) * rng.normal(1.0, 0.05), y)
    p[:, 1] += np.where(jaw, rng.normal(0, 0.06) * low**2, 0)
    brow = slice(17, 27)
    p[brow, 1] += rng.normal(0, 0.035) + rng.normal(0.015, 0.03) * (np.abs(x[brow]) - 0.55) / 0.35
    p[brow, 0] *= rng.normal(1, 0.03)
    nose = slice(31, 36)
    p[nose, 0] *= rng.normal(1.0, 0.13)
    p[27:36, 1] += rng.normal(0, 0.045) * np.clip((y[27:36]) / 0.7, 0, 1)
    lift, tilt, narrow = rng.normal(1.0, 0.16), rng.normal(0, 0.06), rng.normal(1.0, 0.06)
    for eye, side in ((slice(36, 42), -1), (slice(42, 48), 1)):
        cx, cy = p[eye].mean(0)
        p[eye, 1] = cy + (p[eye, 1] - cy) * np.clip(lift, 0.7, 1.4) - side * tilt * (p[eye, 0] - cx)
        p[eye, 0] = cx + (p[eye, 0] - cx) * narrow
    mouth = slice(48, 68)
    cy = p[[48, 54], 1].mean()
    p[mouth, 0] *= rng.normal(1.0, 0.09)
    p[mouth, 1] = cy + (p[mouth, 1] - cy) * np.clip(rng.normal(1.0, 0.22), 0.55, 1.6) + rng.normal(0, 0.03)
    return p


def _noise(rng: np.random.Generator, size: int, sigma: float, stretch: float = 1.0) -> Plane:
    """Draw smooth noise (size, size) of unit spread: blobs of about `sigma` pixels, longer by `stretch` downwards."""
    coarse = max(8, int(size / max(1.0, sigma)))
    tall = max(8, int(coarse / stretch))
    plane = cv2.resize(
        rng.standard_normal((tall, coarse), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    return plane / plane.std()


class _Canvas:
    """Canonical coordinates of every pixel, and shapes drawn in them as planes."""

    def __init__(self, size: int) -> None:
        self.size, self.unit = size, size / (2 * REACH)
        axis = (np.arange(size, dtype=np.float32) + 0.5) / self.unit
        self.x, self.y = np.meshgrid(axis - REACH, axis - 2 * REACH * EYE_LINE)

    def pixels(self, points: Points) -> Points:
        return (points + np.array([REACH, 2 * REACH * EYE_LINE])) * self.unit - 0.5

    def blob(self, cx: float, cy: float, sx: float, sy: float, turn: float = 0.0) -> Plane:
        dx, dy = self.x - np.float32(cx), self.y - np.float32(cy)
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        return np.exp(-(((c * dx + s * dy) / sx) ** 2) - (((c * dy - s * dx) / sy) ** 2)).astype(np.float32)

    def area(self, polygon: Points, soft: float = 0.012) -> Plane:
        return fill(self.pixels(polygon), self.size, soft * self.unit)

    def line(self, points: Points, width: float, soft: float = 0.01) -> Plane:
        plane = np.zeros((self.size, self.size), np.float32)
        path = np.round(self.pixels(points) * 16).astype(np.int32)
        cv2.polylines(plane, [path], False, (1.0,), max(1, round(width * self.unit)), cv2.LINE_AA, 4)
        return cv2.GaussianBlur(plane, (0, 0), max(0.4, soft * self.unit))


def _half_width(p: Points, y: Plane, wide: float, top: float) -> Plane:
    """Return half the head's width at each height: jaw landmarks below the eyes, an ellipse above."""
    side = (p[8:17] * [1, 1] + p[8::-1] * [-1, 1]) / 2
    path = curve(side)
    below = np.interp(y, path[::-1, 1], path[::-1, 0], right=0.0).astype(np.float32)
    base = float(side[-1, 0])
    above = base * wide * np.sqrt(np.clip(1 - np.abs((y - 0.1) / (top - 0.1)) ** 2.5, 0, None))
    blend = np.clip((y + 0.5) / 0.6, 0, 1)
    return (blend * below + (1 - blend) * above).astype(np.float32)


def _over(picture: Plane, mask: Plane, colour: ArrayLike) -> None:
    """Paint `colour` over `picture` (n, n, 3) in place, where `mask` (n, n) is set."""
    picture += mask[..., None] * (np.asarray(colour, np.float32) - picture)


@dataclass(frozen=True)
class _Sitter:
    """The look and lighting of a person: every choice that more than one part of the drawing needs."""

    p: Points
    age: float
    top: float
    skin: NDArray[np.float64]
    dark: bool
    hair: NDArray[np.float64]
    beard: bool
    bald: bool
    length: float
    volume: float
    lamp: NDArray[np.float64]
    hard: float

    @property
    def wing(self) -> float:
        """Half the width of the nose."""
        return float(self.p[35, 0] - self.p[31, 0]) / 2


def _sitter(rng: np.random.Generator) -> _Sitter:
    age, tone = rng.uniform(0, 1), rng.beta(1.3, 1.6)
    skin = (1 - tone) * np.array([238, 200, 176.0]) + tone * np.array([104, 66, 46.0])
    shades = np.array([[28, 22, 20], [58, 38, 26], [96, 62, 36], [150, 108, 58], [120, 58, 32], [138, 136, 134]])
    odds = np.array([0.3, 0.25, 0.17, 0.15, 0.05, 0.08 + 0.3 * (age > 0.75)])
    if tone > 0.55:
        odds[2:5] *= 0.1
    beard, length = rng.random() < 0.28, float(rng.choice([0.2, 0.5, 2.2], p=[0.35, 0.3, 0.35]))
    turn, rise = rng.uniform(-1.1, 1.1), rng.uniform(0.1, 0.9)
    lamp = np.array([np.sin(turn), -np.sin(rise), np.cos(turn) * np.cos(rise)])
    return _Sitter(
        p=identity_shape(rng),
        age=age,
        top=rng.uniform(-1.75, -1.55),
        skin=skin * rng.normal(1, [0.02, 0.03, 0.05]),
        dark=tone > 0.6,
        hair=shades[rng.choice(6, p=odds / odds.sum())] * rng.normal(1, 0.08),
        beard=beard,
        bald=rng.random() < 0.08,
        length=0.3 if beard and length > 2 else length,
        volume=rng.uniform(0.10, 0.32),
        lamp=lamp / np.linalg.norm(lamp),
        hard=rng.uniform(0.35, 0.75),
    )


def _height(c: _Canvas, s: _Sitter, wide: Plane, rng: np.random.Generator) -> Plane:
    """Compute how far the head is raised above the background, in eye distances, (n, n)."""
    p, wing, chin, tip, base = s.p, s.wing, s.p[8, 1], s.p[30, 1], s.p[33, 1]
    roll = np.sqrt(np.clip(1 - np.abs((c.y - 0.1) / np.where(c.y > 0.1, chin + 0.12, s.top - 0.15)) ** 2.6, 0, None))
    z = 1.15 * roll * np.sqrt(np.clip(1 - np.abs(c.x / np.maximum(wide, 0.05)) ** 2.5, 0, None))
    # The nose: a ridge that rises to the tip and rounds under it, a tip, two wings.
    along, under = np.clip((c.y + 0.15) / (tip + 0.15), 0, 1), np.clip((base + 0.04 - c.y) / 0.17, 0, 1)
    ridge = (0.08 + 0.24 * along**1.5) * under**2 * (3 - 2 * under) * np.clip((c.y + 0.4) / 0.4, 0, 1)
    z += ridge * np.exp(-((c.x / (rng.uniform(0.09, 0.14) + 0.10 * along)) ** 2))
    z += 0.08 * c.blob(0, tip + 0.02, wing * 0.7, 0.13)
    for side, eye in ((-1, p[36:42]), (1, p[42:48])):
        ex, ey = eye.mean(0)
        z += 0.10 * c.blob(side * wing * 0.95, base - 0.06, 0.11, 0.11)
        # Socket, inner corner, eyeball; brow ridge, cheek.
        z -= 0.20 * c.blob(ex, ey - 0.03, 0.30, 0.17) + 0.05 * c.blob(side * 0.2, ey + 0.02, 0.10, 0.12)
        z += 0.12 * c.blob(ex, ey, 0.20, 0.14)
        z += 0.06 * c.blob(side * 0.5, p[19, 1] + 0.05, 0.4, 0.10) + 0.10 * c.blob(side * 0.68, 0.5, 0.3, 0.25)
        fold = [[side * (wing + 0.06), base - 0.05], [side * 0.45, base + 0.2], [side * 0.52, p[54, 1] + 0.05]]
        z -= (0.01 + 0.035 * s.age) * c.line(curve(np.array(fold)), 0.03, 0.04)
        bag = [[ex - 0.2, ey + 0.2], [ex, ey + 0.26], [ex + 0.2, ey + 0.21]]
        z -= 0.02 * s.age * c.line(np.array(bag), 0.02, 0.03)
    # Mouth: the whole bulges, both lips, the dip below, the groove above; then the chin and the forehead's lines.
    (mx, my), lip = p[48:60].mean(0), (p[54, 0] - p[48, 0]) / 2
    z += 0.12 * c.blob(mx, my, lip * 1.1, 0.28) + 0.05 * c.blob(mx, p[51, 1] + 0.05, lip * 0.8, 0.06)
    z += 0.07 * c.blob(mx, p[57, 1] - 0.06, lip * 0.7, 0.07) - 0.06 * c.blob(mx, p[57, 1] + 0.12, 0.3, 0.06)
    z += 0.12 * c.blob(0, chin - 0.22, 0.3, 0.18) - 0.03 * c.blob(0, (base + p[51, 1]) / 2, 0.05, 0.12)
    for y in (-0.62, -0.78, -0.94):
        z -= 0.012 * s.age * c.line(np.array([[-0.6, y], [0, y - 0.04], [0.6, y]]), 0.02, 0.02)
    return z + 0.0008 * _noise(rng, c.size, 1.5) + 0.0016 * _noise(rng, c.size, 4) * (0.5 + s.age)


def _albedo(c: _Canvas, s: _Sitter, rng: np.random.Generator) -> Plane:
    """Paint the face's own colours (n, n, 3): skin, flush, freckles and moles, beard, brows, lips, nostrils."""
    p, wing, chin, base = s.p, s.wing, s.p[8, 1], s.p[33, 1]
    out = np.ones((c.size, c.size, 3), np.float32) * s.skin.astype(np.float32)
    flush = rng.uniform(0.05, 0.2) if s.dark else rng.uniform(0.1, 0.5)
    for cx, cy, spread in ((-0.62, 0.5, 0.25), (0.62, 0.5, 0.25), (0, p[30, 1], 0.15), (0, chin - 0.2, 0.25)):
        _over(out, flush * c.blob(cx, cy, spread, spread), s.skin * [1.02, 0.80, 0.78])
    mottle = 0.5 * _noise(rng, c.size, 2) + 0.35 * _noise(rng, c.size, 5) + 0.5 * _noise(rng, c.size, 18)
    out *= (1 + 0.035 * mottle)[..., None]
    for _ in range(rng.integers(0, 7)):
        mole = c.blob(rng.uniform(-0.9, 0.9), rng.uniform(-0.6, 1.5), *rng.uniform(0.015, 0.03, 2))
        _over(out, 0.75 * mole, s.skin * 0.45)
    if rng.random() < 0.25:
        cheeks = c.blob(-0.5, 0.4, 0.4, 0.35) + c.blob(0.5, 0.4, 0.4, 0.35)
        _over(out, np.clip((_noise(rng, c.size, 3) - 1.4) * cheeks, 0, 0.6), s.skin * [0.75, 0.6, 0.5])
    if s.beard:
        zone = c.blob(0, 1.35, 0.95, 0.55) * np.clip((c.y - 0.55 - 0.25 * (1 - np.abs(c.x))) / 0.25, 0, 1)
        zone *= 1 - 0.8 * c.blob(0, p[48:60, 1].mean(), p[54, 0], 0.1)
        stubble = rng.uniform(0.35, 0.8) * zone * (1 + 0.35 * _noise(rng, c.size, 1.5))
        _over(out, np.clip(stubble, 0, 0.92), s.hair * 0.9 + 8)
    thick = rng.uniform(0.05, 0.11)
    for brow in (p[17:22], p[26:21:-1]):
        body = c.line(curve(brow), thick, 0.022) * (0.9 + 0.16 * _noise(rng, c.size, 1.6, 3))
        _over(out, np.clip(body * rng.uniform(0.75, 1.0), 0, 1), s.hair * 0.75)
    lips = np.vstack([curve(p[48:55]), curve(np.vstack([p[54:60], p[48:49]]))])
    red = s.skin * np.array([0.86, 0.55, 0.56]) * rng.normal(1, 0.05, 3)
    _over(out, rng.uniform(0.6, 0.95) * c.area(lips, 0.02), red)
    _over(out, 0.9 * c.line(curve(p[[60, 61, 62, 63, 64]]), 0.022, 0.014), red * 0.35)
    for side in (-1, 1):
        _over(out, 0.85 * c.blob(side * wing * 0.5, base - 0.01, wing * 0.26, 0.032, -side * 0.25), s.skin * 0.25)
    return out


def _light(c: _Canvas, s: _Sitter, z: Plane) -> tuple[Plane, Plane]:
    """Compute shade and gloss (n, n) of a height field under the sitter's lamp and an even sky."""
    gy, gx = np.gradient(cv2.GaussianBlur(z, (0, 0), 0.008 * c.unit) * c.unit)
    norm = np.sqrt(gx**2 + gy**2 + 1)
    lambert = np.clip((-gx * s.lamp[0] - gy * s.lamp[1] + s.lamp[2]) / norm, 0, None)
    half = s.lamp + np.array([0, 0, 1.0])
    half /= np.linalg.norm(half)
    gloss = np.clip((-gx * half[0] - gy * half[1] + half[2]) / norm, 0, None) ** 22
    # Hollows see less of the sky.
    hollow = np.clip(1 + 1.1 * (z - cv2.GaussianBlur(z, (0, 0), 0.12 * c.unit)), 0.55, 1.15)
    shade = (1 - s.hard) * (0.5 + 0.5 / norm) * hollow + s.hard * 1.15 * lambert
    return shade.astype(np.float32), (s.hard * gloss).astype(np.float32)


def _eyes(c: _Canvas, s: _Sitter, face: Plane, shade: Plane, rng: np.random.Generator) -> None:
    """Paint eyes, lashes and the fold of the lid over the lit face, because eyes have a shine of their own."""
    tints = np.array([[70, 45, 28], [95, 66, 38], [96, 110, 72], [84, 116, 148]])
    iris = tints[rng.choice(4, p=[0.45, 0.25, 0.12, 0.18])] * rng.normal(1, 0.07)
    if s.dark:
        iris = np.array([58, 38, 26.0])
    radius = 0.118
    for eye in (s.p[36:42], s.p[42:48]):
        upper, lower = curve(eye[:4]), curve(np.vstack([eye[3:], eye[:1]]))
        cx, cy = eye.mean(0)
        far = np.hypot(c.x - cx, c.y - cy + 0.01)
        ball = np.ones((c.size, c.size, 3), np.float32) * np.array([222, 216, 210], np.float32)
        ball *= (0.55 + 0.45 * np.clip((c.y - upper[:, 1].min()) / 0.12, 0, 1))[..., None]
        _over(
            ball,
            np.clip((radius - far) * c.unit + 0.5, 0, 1),
            iris * (0.7 + 0.6 * np.clip(far / radius, 0, 1))[..., None],
        )
        ball *= 1 - 0.6 * np.exp(-(((far - radius) / 0.014) ** 2))[..., None]
        _over(ball, np.clip((0.05 - far) * c.unit + 0.5, 0, 1), 12)
        _over(ball, 0.85 * c.blob(cx + 0.035 * np.sign(s.lamp[0]), cy - 0.045, 0.022, 0.022), 245)
        _over(face, c.area(np.vstack([upper, lower])), ball * (0.35 + 0.65 * np.clip(shade, 0.2, 1.1))[..., None])
        face *= (1 - 0.75 * c.line(upper, 0.026, 0.012))[..., None]
        face *= (1 - 0.25 * c.line(lower, 0.015, 0.012))[..., None]
        face *= (1 - 0.30 * c.line(upper + [0, -0.06], 0.02, 0.02))[..., None]


def _wall(c: _Canvas, rng: np.random.Generator) -> Plane:
    """Paint the background (n, n, 3): an uneven wall with a few things out of focus."""
    colour = rng.uniform(60, 215, 3) * 0.2 + rng.uniform(50, 210) * 0.8
    out = np.ones((c.size, c.size, 3), np.float32) * colour.astype(np.float32)
    grain = 0.10 * _noise(rng, c.size, 60) + 0.03 * _noise(rng, c.size, 9) + 0.02 * _noise(rng, c.size, 2)
    out *= (1 + (0.10 * rng.normal() * c.x + 0.08 * rng.normal() * c.y) / REACH + grain)[..., None]
    for _ in range(rng.integers(0, 4)):
        left, low, w, h = rng.uniform(-2.6, 1.6), rng.uniform(-2.4, 1.5), rng.uniform(0.4, 2), rng.uniform(0.4, 2.4)
        box = np.array([[left, low], [left + w, low], [left + w, low + h], [left, low + h]])
        _over(out, c.area(box, 0.06) * np.float32(rng.uniform(0.2, 0.6)), rng.uniform(30, 220, 3))
    return out


def _body(c: _Canvas, s: _Sitter, scene: Plane, rng: np.random.Generator) -> None:
    """Paint neck, clothes and, if no hair hides them, ears."""
    side_light = np.clip(1 - s.hard * 0.35 + 0.25 * s.hard * np.sign(s.lamp[0]) * c.x, 0.4, 1.2)
    neck = np.clip((rng.uniform(0.62, 0.8) + 0.12 * np.clip(c.y - 1.6, 0, 1) - np.abs(c.x)) * 14, 0, 1) * (c.y > 0.9)
    shadow = 0.50 + 0.5 * np.clip((c.y - s.p[8, 1]) / 0.75, 0, 1)
    lit = shadow * (1 - 0.35 * np.abs(c.x)) * side_light * (1 + 0.02 * _noise(rng, c.size, 4))
    _over(scene, neck, s.skin * lit[..., None])
    cloth = rng.uniform(20, 220) * 0.6 + rng.uniform(20, 220, 3) * 0.4
    collar = 2.02 + 0.28 * np.abs(c.x) ** 1.6 + 0.33 * np.exp(-((np.abs(c.x) / 0.75) ** 4))
    weave = side_light * (1 + 0.07 * _noise(rng, c.size, 3) + 0.08 * _noise(rng, c.size, 25))
    _over(scene, np.clip((c.y - collar) * 14, 0, 1), cloth * weave[..., None])
    if s.length > 0.6 and not s.bald:
        return
    for side in (-1, 1):
        x = side * (s.p[16, 0] + 0.07)
        ear, inner = c.blob(x, 0.28, 0.13, 0.33, side * 0.15), 0.45 * c.blob(x, 0.26, 0.06, 0.19)
        lit = np.clip(0.75 + 0.35 * side * s.lamp[0], 0.4, 1.1) * (1 - inner)
        _over(scene, np.clip(ear * 3 - 1, 0, 1), s.skin * lit[..., None])


def _hair(c: _Canvas, s: _Sitter, wide: Plane, rng: np.random.Generator) -> tuple[Plane, Plane, Plane]:
    """Paint locks (n, n, 3), and return the masks (n, n) of the hair behind the head and over it."""
    angle, far = np.arctan2(c.x, 0.6 - c.y).astype(np.float32), np.hypot(c.x, c.y - 0.1).astype(np.float32)
    turn = ((angle / np.pi + 1) * 255).astype(np.float32)
    strands = _noise(rng, 512, 2.2, 14)
    flow = cv2.remap(strands, turn + 6 * _noise(rng, c.size, 40), far * 100, cv2.INTER_LINEAR)
    sheen = 0.9 + 0.25 * np.exp(-(((far - 1.35 - 0.1 * s.lamp[1]) / 0.2) ** 2)) + 0.12 * s.lamp[0] * c.x
    locks = ((s.hair * 1.1 + 6) * (sheen * (1 + 0.22 * flow))[..., None]).astype(np.float32)
    full = s.p[16, 0] + 0.06 + s.volume
    crown = np.sqrt(np.clip(1 - ((c.y - 0.1) / (s.top - s.volume - 0.1)) ** 2, 0, None))
    hang = 1 + 0.1 * np.sin(c.y * 2 + rng.uniform(0, 6)) if s.length > 2 else np.exp(-0.9 * np.clip(c.y - 0.1, 0, 2))
    mane = np.clip((full * np.where(c.y < 0.1, crown, hang) - np.abs(c.x)) * 12, 0, 1) * np.clip(
        (s.length - c.y) * 5, 0, 1
    )
    mane = cv2.GaussianBlur(mane.astype(np.float32), (0, 0), 1.2)
    # The hairline runs down beside the temples; some hair lies over the sides of the face.
    line = rng.uniform(-1.22, -0.98) + 0.05 * cv2.remap(_noise(rng, 512, 9), turn, far * 0 + 9, cv2.INTER_LINEAR)
    line += 0.9 * np.clip(np.abs(c.x - rng.uniform(-0.15, 0.15)) / s.p[16, 0], 0, 1.2) ** rng.uniform(2.2, 5.0)
    reach = np.abs(c.x) / (wide + 0.001)
    over = np.clip((line - c.y) * 9 + 0.25 * flow, 0, 1) * np.clip((1.04 - reach) * 14, 0, 1)
    sides = np.clip((reach - 0.93) * 12, 0, 1) * mane * (c.y < min(s.length, 0.45)) * (reach < 1.4)
    over = np.maximum(over, sides) * np.clip(mane * 2, 0, 1)
    return locks, mane, over.astype(np.float32)


def _glasses(c: _Canvas, s: _Sitter, picture: Plane, rng: np.random.Generator) -> None:
    frame, around = rng.uniform(10, 90, 3), np.linspace(0, 2 * np.pi, 40)
    for eye in (s.p[36:42], s.p[42:48]):
        rim = eye.mean(0) + np.stack([0.38 * np.cos(around), 0.05 + 0.29 * np.sin(around)], 1)
        _over(picture, 0.9 * c.line(rim, 0.035), frame)
    _over(picture, 0.9 * c.line(curve(np.array([[-0.13, 0.02], [0, -0.03], [0.13, 0.02]])), 0.035), frame)


def draw(rng: np.random.Generator, size: int = 352) -> Still:
    """Draw one new person, frontal and neutral, as a `Still` of (size, size, 3)."""
    c, s = _Canvas(size), _sitter(rng)
    wide = _half_width(s.p, c.y, rng.uniform(1.0, 1.06), s.top)
    shade, gloss = _light(c, s, _height(c, s, wide, rng))
    face = _albedo(c, s, rng) * shade[..., None] + np.float32(rng.uniform(8, 38)) * gloss[..., None]
    _eyes(c, s, face, shade, rng)

    picture = _wall(c, rng)
    locks, mane, over = _hair(c, s, wide, rng)
    if not s.bald:
        _over(picture, mane, locks * 0.8)
    _body(c, s, picture, rng)
    _over(picture, np.clip((wide - np.abs(c.x)) * c.unit / 1.5, 0, 1), face)
    if not s.bald:
        # Hair darkens the skin below it.
        picture *= (1 - 0.25 * np.clip(cv2.GaussianBlur(over, (0, 0), 0.07 * c.unit) - over, 0, 1))[..., None]
        _over(picture, over, locks * np.clip(0.55 + 0.6 * shade, 0.4, 1.15)[..., None])
    if rng.random() < 0.12:
        _glasses(c, s, picture, rng)
    picture *= rng.normal(1, 0.03, 3) * rng.uniform(0.85, 1.15)
    return Still(np.clip(picture, 2, 253).astype(np.uint8), c.pixels(s.p))


class DrawnBank:
    """The procedural bank of any number of people; person `k` of seed `s` is always the same.

    Args:
        seed: other people for another one.
        part: "seen" or "unseen"; the two have nobody in common.
    """

    name = "drawn faces"
    attribution = "Faces drawn by code; they show nobody."

    def __init__(self, seed: int = 0, part: str = "seen") -> None:
        self.seed, self.first = seed, FIRST_PERSON[part]

    def find(self, wanted: int) -> int:
        """Return the number of people asked for: a drawn bank has as many as needed."""
        return wanted

    def identity(self, person: int) -> str:
        """Return the identity of person number `person`."""
        return f"drawn-{self.seed}-{self.first + person}"

    def still(self, person: int) -> Still:
        """Draw the portrait of `person`."""
        return draw(np.random.default_rng([self.seed, 1, self.first + person]))
