"""Face swaps and reenactments, each by the mechanism that leaves the traces of a method of FF++ or of Celeb-DF.

Every method takes the clip of a target and of a donor and gives the forged frames, (n, h, w, 3) uint8, and the masks
of what it changed, (n, h, w) float32 in 0-1: outside the mask the target's pixels stay as they are. It works on
landmarks alone, so drawn faces and photographs are forged alike. What is fixed for a clip (how well the colours
match, how far the fit is off, the mask) is drawn once from `rng`, so a clip is consistent over time.

Forged pixels get back the grain that resampling and smoothing took from them (`match_grain`). Real tools add grain or
sharpen for the same reason; here it also keeps a mere spectrum from giving the forgery away: what is left to see is
where things do not fit, not how much fine detail there is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from did.data.geometry import Points, similarity
from did.standin.animate import Clip, express, paint_mouth
from did.standin.landmarks import BROWS, JAW, TEMPLATE, Image, apply, eye_distance, fill, to_canonical, warp

Masks = NDArray[np.float32]
#: How much `match_grain` may sharpen.
SHARPEN = 2.5
#: Spread of the grid that Deepfakes' decoder leaves, in gray levels.
DECODER = 2.8
# The mesh of Face2Face: landmarks and points halfway between some of them, so that cheeks have triangles too.
_HALFWAY = np.array(
    [[1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 36, 45, 39, 42, 33, 7, 9]]
    + [[36, 31, 31, 48, 48, 59, 57, 55, 54, 54, 35, 35, 45, 31, 35, 29, 29, 51, 58, 56]]
)


def _corners(points: Points) -> Points:
    return np.vstack([points, points[_HALFWAY].mean(axis=0)])


_MESH = Delaunay(_corners(TEMPLATE)).simplices
# The lower face in canonical coordinates: what NeuralTextures renders anew.
_MOUTH = np.array([[0.30, 0.72], [0.62, 0.85], [0.66, 1.20], [0.40, 1.55]])
_MOUTH = np.vstack([_MOUTH, _MOUTH[::-1] * [-1, 1]])
Forgery = Callable[[Clip, Clip, np.random.Generator], tuple[Image, Masks]]


def _hull(points: Points, size: int, feather: float, shrink: float = 1.0) -> Masks:
    """Draw the mask (size, size) of the landmarks' convex hull.

    Its edge is `feather` eye distances wide, inside the hull.
    """
    soft = feather * eye_distance(points)
    hull = cv2.convexHull(points[JAW + BROWS].astype(np.float32))[:, 0].astype(np.float64)
    spokes = hull - points[30]
    return fill(points[30] + spokes * (shrink - soft / np.linalg.norm(spokes, axis=1).mean()), size, soft)


def _luma(image: NDArray) -> NDArray[np.float32]:
    return cv2.transform(image.astype(np.float32), np.array([[0.299, 0.587, 0.114]], np.float32))


def _bands(plane: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    levels = [plane, *(cv2.stackBlur(plane, (k, k)) for k in (3, 5, 7, 11, 15, 21, 31))]
    return [fine - coarse for fine, coarse in pairwise(levels)]


def match_grain(new: NDArray, target: Image, mask: Masks, noise: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Match the fine detail of `new` (h, w, 3) inside `mask` to the spread that `target` has there.

    Band by band: detail is sharpened (at most `SHARPEN` times) or damped; what is still missing is made up by
    `noise`, the bands of a plane of noise. Sharpening comes first because the codec drops noise and keeps edges.
    """
    weight = mask / max(1.0, float(mask.sum()))
    change = np.zeros(mask.shape, np.float32)
    for mine, wanted, grain in zip(_bands(_luma(new)), _bands(_luma(target)), noise, strict=True):
        has, wants, gives = (float((weight * band**2).sum()) for band in (mine, wanted, grain))
        gain = min(SHARPEN, float(np.sqrt(wants / max(has, 1e-6))))
        lack = max(0.0, wants - gain**2 * has)
        change += (gain - 1) * mine + float(np.sqrt(lack / max(gives, 1e-6))) * grain
    return new.astype(np.float32) + change[..., None]


def _redraw(image: Image, cells: float, unit: float) -> Image:
    """Redraw `image` (h, w, 3) like a small decoder: `cells` pixels from eye to eye, flat patches, crisp outlines."""
    few = max(16, round(len(image) * cells / unit))
    code = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(code, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    # Each pixel goes to the nearer of its neighbourhood's extremes: edges become steps, the rest stays smooth.
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    for _ in range(max(1, round(unit / cells / 1.5))):
        low, high = cv2.erode(soft, reach).astype(np.int16), cv2.dilate(soft, reach).astype(np.int16)
        soft = np.where(high + low > 2 * soft.astype(np.int16), low, high).astype(np.uint8)
    return cv2.GaussianBlur(soft, (0, 0), 0.5)


def lattice(size: int, period: float, turn: float) -> NDArray[np.float32]:
    """Draw the grid that a decoder's upsampling leaves, `period` pixels wide: a plane (size, size) of spread 1."""
    ys, xs = np.mgrid[:size, :size].astype(np.float32) * np.float32(2 * np.pi / period)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return (np.cos(c * xs + s * ys) + np.cos(c * ys - s * xs)).astype(np.float32)


def _ride(plane: NDArray[np.float32], still: Points, moved: Points) -> NDArray[np.float32]:
    """Warp a plane (h, w), drawn for the landmarks `still`, to where the landmarks have moved.

    Grain and grids then move with the face, and a codec that predicts its motion keeps them.
    """
    matrix = similarity(still, moved)
    return cv2.warpAffine(plane, matrix, plane.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def _facets(points: Points, size: int, values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Draw one value for each triangle of a mesh over the landmarks (68, 2), 0 outside: a plane (size, size)."""
    corners = np.round(_corners(points) * 16).astype(np.int32)
    plane = np.zeros((size, size), np.float32)
    for triangle, value in zip(_MESH, values, strict=True):
        cv2.fillConvexPoly(plane, corners[triangle], float(value), cv2.LINE_8, 4)
    return plane


def _compose(
    target: Clip,
    rng: np.random.Generator,
    render: Callable[[int], tuple[NDArray, Masks]],
    thinned: bool = True,
    trace: Callable[[int], NDArray] | None = None,
) -> tuple[Image, Masks]:
    """Blend into the target's clip what `render` gives for each frame (new pixels, mask), with its grain matched.

    Where two pictures mix, the detail of both is thinned, so that grain is matched once more after blending; not so
    (`thinned` False) where the new pixels have the target's own detail. `trace` gives the plane (h, w) of gray
    levels that a frame's new pixels get at the end: before, sharpening would make it one that nobody overlooks.
    """
    size = target.frames.shape[1]
    plane = rng.standard_normal((size, size), dtype=np.float32)
    frames, masks = [], []
    for k, image in enumerate(target.frames):
        new, mask = render(k)
        noise = _bands(_ride(plane, target.points[0], target.points[k]))
        mixed = image + mask[..., None] * (match_grain(new, image, mask, noise) - image)
        if thinned:
            mixed += mask[..., None] * (match_grain(mixed, image, mask, noise) - mixed)
        if trace is not None:
            mixed += (mask * trace(k))[..., None]
        frames.append(np.clip(np.round(mixed), 0, 255).astype(np.uint8))
        masks.append(mask)
    return np.stack(frames), np.stack(masks)


def _match_colour(new: Image, target: Image, mask: Masks, strength: float, spread: bool) -> Image:
    """Move the mean (and spread, if asked) of each channel of Lab inside the mask towards the target's."""
    weight = mask / max(1.0, float(mask.sum()))
    a = cv2.cvtColor(new, cv2.COLOR_RGB2LAB).astype(np.float32)
    b = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)
    out = a.copy()
    for ch in range(3):
        ma, mb = float((weight * a[..., ch]).sum()), float((weight * b[..., ch]).sum())
        gain = 1.0
        if spread:
            va, vb = (float((weight * (p[..., ch] - m) ** 2).sum()) for p, m in ((a, ma), (b, mb)))
            gain = float(np.clip(np.sqrt((vb + 1) / (va + 1)), 0.5, 2.0)) ** strength
        out[..., ch] = (a[..., ch] - ma) * gain + ma + strength * (mb - ma)
    return cv2.cvtColor(np.clip(out, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB).astype(np.uint8)


def _match_light(new: Image, target: Image, mask: Masks, strength: float, unit: float) -> Image:
    """Give `new` (h, w, 3) the broad light of the target's face; `strength` 0 is none, 1 all of it."""
    reach = 2 * int(0.5 * unit) + 1
    ours, theirs = (cv2.stackBlur(_luma(image) * mask, (reach, reach)) for image in (new, target))
    empty = 8 * cv2.stackBlur(mask, (reach, reach)) + 0.5
    gain = np.clip((theirs + empty) / (ours + empty), 0.4, 2.5) ** strength
    return np.clip(new * gain[..., None], 0, 255).astype(np.uint8)


def _from_canonical(points: Points) -> NDArray[np.float64]:
    return cv2.invertAffineTransform(to_canonical(points))


def _with_expression(points: Points, change: NDArray[np.float64]) -> Points:
    """Change the expression (5,) of landmarks (68, 2) in pixels."""
    moved = express(TEMPLATE, change) - TEMPLATE
    return points + moved @ _from_canonical(points)[:, :2].T


def faceswap(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by FaceSwap: the donor's face, warped to the target's landmarks, cut along their hull, blended.

    Its colours are matched to the target's.

    As in FF++: landmarks drive it frame by frame, a hull mask, colour transfer, a narrow seam that darkens where the
    cut-out's black bleeds in; the donor's light and skin stay, brows and jaw double where the fit is off. Not
    imitated: the 3D model, lost tracks, flicker.
    """
    size = target.frames.shape[1]
    strength, feather, fringe = rng.uniform(0.35, 0.7), rng.uniform(0.02, 0.035), rng.uniform(0.25, 0.45)
    off, grow = rng.normal(0, 0.03, 2), rng.normal(1, 0.02)

    def render(k: int) -> tuple[NDArray, Masks]:
        image, points = target.frames[k], target.points[k]
        aim = points[30] + (points - points[30]) * grow + off * eye_distance(points)
        mask = _hull(points, size, feather, 0.88)
        new = warp(donor.frames[k], donor.points[k], aim, size)
        new = _match_colour(new, image, mask, strength, spread=True)
        new = _match_light(new, image, mask, strength, eye_distance(points))
        return new * (1 - fringe * 4 * mask * (1 - mask))[..., None], mask

    return _compose(target, rng, render)


def deepfakes(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by Deepfakes: the donor's face, rendered through a bottleneck and pasted back with a soft mask.

    As in FF++: a face of few pixels on the target's landmarks, flat patches and the decoder's faint upsampling grid,
    colours matched in the mean only, a wide soft border inside which two faces mix. Not imitated: the autoencoder
    itself, what it makes of profiles and hands.
    """
    size = target.frames.shape[1]
    cells, feather, strength = rng.uniform(25, 33), rng.uniform(0.08, 0.14), rng.uniform(0.6, 1.0)
    off = rng.normal(0, 0.03, 2)
    grid = DECODER * lattice(size, rng.uniform(5.5, 11), rng.uniform(0, 0.3))

    def render(k: int) -> tuple[NDArray, Masks]:
        image, points = target.frames[k], target.points[k]
        unit = eye_distance(points)
        mask = _hull(points, size, feather)
        new = _redraw(warp(donor.frames[k], donor.points[k], points + off * unit, size), cells, unit)
        new = _match_colour(new, image, mask, strength, spread=False)
        new = _match_light(new, image, mask, strength, unit)
        # The finest detail comes from the target, where it no longer fits the features: the codec would drop noise.
        fine = image - cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7 * unit / cells)
        return new + fine, mask

    return _compose(target, rng, render, thinned=False, trace=lambda k: _ride(grid, target.points[0], target.points[k]))


def face2face(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by Face2Face: the target's own face with the donor's expression, rendered anew and composited.

    As in FF++: identity stays; mouth, jaw and brows follow the donor; the face is rendered from a mesh whose light is
    a low-order estimate that does not quite meet the skin around it, and whose facets show. Not imitated: dense 3D
    tracking, mouth interiors taken from other frames.
    """
    size = target.frames.shape[1]
    turn, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.16)
    level = rng.choice([-1, 1]) * rng.uniform(0.04, 0.10)
    feather, off, gains = rng.uniform(0.015, 0.03), rng.normal(0, 0.025, 2), rng.normal(0, 6.0, len(_MESH))
    # The picture's rim stays where it is when the face moves.
    rim = np.array([[x, y] for x in (0, size / 2, size) for y in (0, size)] + [[0, size / 2], [size, size / 2]])
    ys, xs = np.mgrid[:size, :size].astype(np.float32)

    def aims(k: int) -> Points:
        change = (donor.expression[k] - target.expression[k]) * [1, 1, 1, 0, 1]
        return _with_expression(target.points[k], change) + off * eye_distance(target.points[k])

    def render(k: int) -> tuple[NDArray, Masks]:
        image, points, aim = target.frames[k], target.points[k], aims(k)
        unit, (x, y) = eye_distance(points), points[30]
        new = paint_mouth(warp(image, np.vstack([points, rim]), np.vstack([aim, rim]), size), aim)
        slope = np.clip(((xs - x) * np.cos(turn) + (ys - y) * np.sin(turn)) / unit, -1.3, 1.3)
        return new * (1 + level + lean * slope)[..., None], _hull(aim, size, feather, 0.93)

    return _compose(target, rng, render, trace=lambda k: _facets(aims(k), size, gains))


def neuraltextures(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by NeuralTextures: the mouth region of the target, rendered anew with the donor's mouth.

    As in FF++: only the lower face changes; its texture is put together from other frames of the same person at low
    resolution and upsampled by a decoder, so lips and teeth are blurred copies of each other, a little off in tone,
    with a faint grid. Not imitated: the neural renderer and its adversarial texture.
    """
    size, count = target.frames.shape[1], len(target.frames)
    cells, feather = rng.uniform(22, 30), rng.uniform(0.03, 0.06)
    grid = 4.4 * lattice(size, rng.uniform(5.5, 11), rng.uniform(0, 0.3))
    tone, off = 1 + rng.choice([-1, 1]) * rng.uniform(0.07, 0.14), rng.normal(0, 0.05, (3, 2))

    def render(k: int) -> tuple[NDArray, Masks]:
        points = target.points[k]
        unit = eye_distance(points)
        aim = _with_expression(points, (donor.expression[k] - target.expression[k]) * [1, 1, 0, 0, 1])
        mask = fill(apply(_from_canonical(points), _MOUTH), size, feather * unit)
        views = [(k + part * count // 4) % count for part in (1, 2, 3)]
        seen = [warp(target.frames[v], target.points[v], aim + o * unit, size) for v, o in zip(views, off, strict=True)]
        new = _redraw(paint_mouth(np.mean(seen, axis=0).astype(np.uint8), aim), cells, unit)
        return new * tone, mask

    return _compose(target, rng, render, trace=lambda k: _ride(grid, target.points[0], target.points[k]))


def _steady(points: Points) -> Points:
    """Smooth landmarks (n, 68, 2) by a weighted mean over five frames; the ends are repeated."""
    weights = np.array([1, 3, 4, 3, 1]) / 12
    padded = np.concatenate([points[:1], points[:1], points, points[-1:], points[-1:]])
    return np.asarray(sum(w * padded[k : k + len(points)] for k, w in enumerate(weights)))


def celeb(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by Celeb-DF's improved swap: the donor's face at high resolution, in the target's colours and light.

    As in Celeb-DF: a synthesis of twice the pixels of early tools, slightly soft, its decoder's grid half as strong as
    that of Deepfakes: a trace that both share, without which nothing learnt on FF++ would help here; colour matched in
    mean and spread; a smooth mask that reaches from the brows to below the mouth, with a wide border; landmarks
    smoothed over time, so that nothing shakes. What is left to see is a face that does not quite belong to its head.
    Not imitated: the autoencoder itself, its training on augmented colours, the double brows of its worst clips.
    """
    size = target.frames.shape[1]
    cells, feather, fit = rng.uniform(46, 58), rng.uniform(0.10, 0.16), rng.uniform(0.85, 1.0, 2)
    off = rng.normal(0, 0.01, 2)
    grid = DECODER / 2 * lattice(size, rng.uniform(5.5, 11), rng.uniform(0, 0.3))
    tracked = _steady(target.points)

    def render(k: int) -> tuple[NDArray, Masks]:
        image, points = target.frames[k], tracked[k]
        unit = eye_distance(points)
        mask = _hull(points, size, feather, 0.97)
        new = warp(donor.frames[k], donor.points[k], points + off * unit, size)
        if unit > cells:
            new = cv2.GaussianBlur(new, (0, 0), 0.45 * unit / cells).astype(np.uint8)
        new = _match_colour(new, image, mask, fit[0], spread=True)
        return _match_light(new, image, mask, fit[1], unit), mask

    return _compose(target, rng, render, trace=lambda k: _ride(grid, target.points[0], target.points[k]))


#: FF++'s method names and what imitates them here.
METHODS: dict[str, Forgery] = {
    "Deepfakes": deepfakes,
    "Face2Face": face2face,
    "FaceSwap": faceswap,
    "NeuralTextures": neuraltextures,
}
#: Celeb-DF's one method, by the name of its folder.
METHODS_CDF2: dict[str, Forgery] = {"Celeb-synthesis": celeb}
