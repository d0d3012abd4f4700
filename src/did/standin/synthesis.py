"""Six forgeries, each by the mechanism that leaves the traces of one method of DFFD.

The rules are those of `did.standin.forge`: a target's and a donor's clip give the forged frames (n, h, w, 3)
uint8 and the masks (n, h, w) float32 in 0-1; what is fixed for a clip is drawn once from `rng`. Two methods edit a
face. Four make a whole picture of nobody, and their mask is 1 everywhere: a morph of two people is drawn anew by
`generate`, octave by octave, the way a generator's upsampling layers do it.

A network's weights are the same for every picture that it makes, so its kernels are constants here (`Network`), not
drawn for each clip: they are its fingerprint (Marra et al. 2019, "Do GANs leave artificial fingerprints?").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

from did.data.geometry import Points
from did.standin.animate import Clip
from did.standin.forge import (
    Forgery,
    Masks,
    _from_canonical,
    _hull,
    _luma,
    _match_colour,
    _match_light,
    _with_expression,
)
from did.standin.landmarks import BROWS, EYES, JAW, LIPS, Image, apply, eye_distance, fill, warp

Plane = NDArray[np.float32]
# The eyelids, the brows and the lips as shapes that are not skin.
_FEATURES = (EYES[:6], EYES[6:], BROWS[:5], BROWS[5:], LIPS)
#: How much `match_spectrum` may sharpen, and the cycles a picture below which it leaves things as they are.
SHARPEN, COARSE = 2.0, 12
# Grain is this fine at least, in cycles a pixel: coarser noise would be blotches.
_FINE = 0.13


@dataclass(frozen=True)
class Network:
    """The marks that one trained generator leaves in every picture.

    Attributes:
        seed: its weights.
        upsampling: "nearest" and a 3×3 convolution, "bilinear", or "transposed" convolution.
        spread: how far its kernels are from smooth ones.
        coarsest: side of its smallest map in pixels, at most.
        top: side of what it makes, as a share of the picture's side; the picture is scaled up from that.
        loss: share of the detail that the finest octave lacks; half as much in the next one, and so on.
        level: how far pixelwise normalisation evens out the contrast, 0 not at all.
    """

    seed: int
    upsampling: str
    spread: float
    coarsest: int = 8
    top: float = 1.0
    loss: float = 0.2
    level: float = 0.0


@dataclass(frozen=True)
class Style:
    """The differences from picture to picture in a style-based generator, one entry per octave, coarse to fine.

    `gains` and `shifts` (octaves, 3) change the detail and the tone, `noises` are planes (n, n) that are added;
    `droplet` (h, w) is added too, at the octave of about 64 pixels.
    """

    gains: NDArray[np.float32]
    shifts: NDArray[np.float32]
    noises: list[Plane]
    droplet: Plane


def transposed_convolution(maps: Plane, kernel: Plane) -> Plane:
    """Apply a transposed convolution of stride 2 and padding 1.

    Every value of `maps` (h, w, c) adds a copy of `kernel`.

    `kernel` is (4, 4). Returns (2h, 2w, c); beyond the border the last values are repeated. Where the kernel's four
    phases sum to different values a flat map comes out as a checkerboard.

    Source: Odena et al. (2016), "Deconvolution and checkerboard artifacts".
    """
    padded = np.pad(maps, ((1, 1), (1, 1), (0, 0)), "edge")
    zeros = np.zeros((2 * padded.shape[0], 2 * padded.shape[1], maps.shape[2]), np.float32)
    zeros[::2, ::2] = padded
    # filter2D correlates, so the kernel is turned; the anchor puts the copy of value i at 2i - 1.
    spread = cv2.filter2D(zeros, -1, kernel[::-1, ::-1], anchor=(2, 2), borderType=cv2.BORDER_CONSTANT)
    return spread.reshape(zeros.shape)[2:-2, 2:-2]


@lru_cache(maxsize=64)
def _kernel(network: Network, octave: int, channel: int) -> Plane:
    """Draw the weights of one upsampling layer for one channel: a smooth kernel, slightly off, with the right sum."""
    row = np.array([1, 3, 3, 1] if network.upsampling == "transposed" else [1, 2, 1], np.float32)
    # Colours would part at every edge if the channels had kernels of their own: most of the error is common to them.
    common, own = (np.random.default_rng([network.seed, octave, n]) for n in (0, 1 + channel))
    error = common.standard_normal((len(row), len(row))) + 0.3 * own.standard_normal((len(row), len(row)))
    kernel = np.outer(row, row) * (1 + network.spread * error)
    whole = 4 if network.upsampling == "transposed" else 1
    return (whole * kernel / kernel.sum()).astype(np.float32)


def _upsample(maps: Plane, side: int, network: Network, octave: int) -> Plane:
    """Upsample `maps` (n, n, 3) to twice the side, (side, side, 3), by the network's own layer."""
    if network.upsampling == "bilinear":
        return cv2.resize(maps, (side, side), interpolation=cv2.INTER_LINEAR)
    kernels = [_kernel(network, octave, channel) for channel in range(3)]
    if network.upsampling == "transposed":
        parts = [transposed_convolution(maps[..., c : c + 1], kernel) for c, kernel in enumerate(kernels)]
        # An odd side has one row and column less.
        return np.concatenate(parts, axis=2)[:side, :side]
    near = cv2.resize(maps, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.stack([cv2.filter2D(near[..., c], -1, kernel) for c, kernel in enumerate(kernels)], axis=2)


def octaves(side: int, network: Network) -> list[int]:
    """Return the sides of the network's maps, coarse to fine, for a picture of `side` pixels."""
    sides = [max(4, round(side * network.top))]
    while sides[0] > network.coarsest:
        sides.insert(0, (sides[0] + 1) // 2)
    return sides


def _even_out(detail: Plane, level: float) -> Plane:
    """Damp strong detail (n, n, 3) and lift faint detail, pixel by pixel, as pixel normalisation does.

    The energy of the whole stays what it is.
    """
    energy = (detail**2).mean(axis=2, keepdims=True)
    typical = energy.mean() + 1e-6
    even = detail * (typical / (energy + typical)) ** level
    return even * np.sqrt(typical / ((even**2).mean() + 1e-6))


def _resize(maps: Plane, side: int, how: int) -> Plane:
    return maps if len(maps) == side else cv2.resize(maps, (side, side), interpolation=how)


def generate(image: NDArray, network: Network, style: Style | None = None) -> Plane:
    """Redraw `image` (h, h, 3) from a small map upwards: each octave is upsampled, then its detail is added.

    The detail of an octave is what a smooth interpolation of the next coarser one lacks. Where the network's
    upsampling is not that smooth one its replicas of the coarser octave's spectrum stay (Durall et al. 2020, "Watch
    your up-convolution"). Returns (h, h, 3) float32, not clipped.
    """
    sides = octaves(len(image), network)
    views = [_resize(image.astype(np.float32), sides[-1], cv2.INTER_AREA)]
    for side in sides[-2::-1]:
        views.insert(0, _resize(views[0], side, cv2.INTER_AREA))
    # Droplets begin in the maps of 64 pixels (Karras et al. 2020).
    stained = int(np.argmin(np.abs(np.array(sides[1:]) - 64)))
    maps = views[0]
    for k, (side, view) in enumerate(zip(sides[1:], views[1:], strict=True)):
        smooth = _resize(views[k], side, cv2.INTER_LINEAR)
        detail = _even_out(view - smooth, network.level) * (1 - network.loss * 0.5 ** (len(sides) - 2 - k))
        maps = _upsample(maps, side, network, k)
        if style is None:
            maps = maps + detail
            continue
        maps = maps + detail * style.gains[k] + style.shifts[k] + style.noises[k][..., None]
        if k == stained:
            maps = maps + _resize(style.droplet, side, cv2.INTER_AREA)[..., None]
    return _resize(maps, len(image), cv2.INTER_CUBIC)


def bend(image: Image, points: Points, aim: Points) -> Image:
    """Warp `image` (n, n, 3) so that its landmarks (68, 2) move from `points` to `aim`; the picture's rim stays."""
    n = len(image)
    rim = np.array([[x, y] for x in (0, n / 2, n) for y in (0, n)] + [[0, n / 2], [n, n / 2]])
    return warp(image, np.vstack([points, rim]), np.vstack([aim, rim]), n)


def morph(host: Clip, guest: Clip, k: int, share: float, off: Points | float = 0.0) -> tuple[Image, Points]:
    """Mix two people into nobody: landmarks between theirs, `share` of the way to the guest, and their faces mixed.

    For frame `k`.

    Hair, neck and wall are the host's, bent to fit, since two of each in one picture would look like a double
    exposure. `off` (68, 2) in eye distances is added to the landmarks. Returns the picture and its landmarks.
    """
    ours, theirs = host.points[k], guest.points[k]
    points = ours + share * (theirs - ours) + off * eye_distance(ours)
    new = bend(host.frames[k], ours, points)
    face = bend(guest.frames[k], theirs, points)
    mask = _hull(points, len(new), 0.10)
    face = _match_colour(face, new, mask, 1.0, spread=True)
    face = _match_light(face, new, mask, 0.8, eye_distance(points))
    weight = (share * mask)[..., None]
    mixed = new + weight * (face.astype(np.float32) - new)
    # A mean of two textures is fainter than either; what is coarser than this blur is alike in both.
    fine = mixed - cv2.GaussianBlur(mixed, (0, 0), 0.05 * eye_distance(points))
    mixed += fine * (1 / np.sqrt((1 - weight) ** 2 + weight**2) - 1)
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8), points


def skin(points: Points, size: int, feather: float = 0.08) -> Masks:
    """Draw the mask (size, size) of the face's skin: the landmarks' hull without eyes, brows and lips."""
    unit = eye_distance(points)
    mask = _hull(points, size, feather)
    for shape in _FEATURES:
        grown = cv2.convexHull(points[shape].astype(np.float32))[:, 0]
        mask = mask * (1 - fill(grown, size, 0.06 * unit))
    return mask.astype(np.float32)


def _oval(points: Points, size: int, down: float, wide: float, tall: float) -> Masks:
    """Draw a soft mask (size, size) of an ellipse in canonical coordinates.

    Given are how far it lies below the eyes, and its half axes.
    """
    around = np.linspace(0, 2 * np.pi, 40)
    line = np.stack([wide * np.cos(around), down + tall * np.sin(around)], 1)
    return np.clip(1.02 * fill(apply(_from_canonical(points), line), size, 0.13 * eye_distance(points)) - 0.01, 0, 1)


def hair(image: Image, points: Points) -> Masks:
    """Draw a soft mask (n, n) of what is near the crown and has its colour.

    It is faint where the hair has the colour of the face.
    """
    unit = eye_distance(points)
    crown = apply(_from_canonical(points), np.array([[0, -1.35]]))[0]
    head = _oval(points, len(image), -0.35, 1.45, 1.6)
    lab = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), (0, 0), 0.03 * unit).astype(np.float32)
    left, top = np.clip(np.round(crown - 0.15 * unit).astype(int), 0, len(image) - 2)
    patch = lab[top : top + max(2, int(0.3 * unit)), left : left + max(2, int(0.3 * unit))]
    colour, face = np.median(patch.reshape(-1, 3), axis=0), _hull(points, len(image), 0.05)
    far = ((lab - colour) * np.array([0.6, 1, 1], np.float32)) ** 2
    bald = np.exp(-((colour - np.median(lab[face > 0.5], axis=0)) ** 2).sum() / (2 * 15.0**2))
    mask = (1 - bald) * head * np.exp(-far.sum(axis=2) / (2 * 14.0**2)) * (1 - face)
    return np.clip(cv2.GaussianBlur(mask, (0, 0), 0.02 * unit) - 0.02, 0, 1).astype(np.float32)


def retone(image: NDArray, mask: Masks, gain: NDArray) -> Plane:
    """Multiply the channels of `image` (n, n, 3) by `gain` (3,) where `mask` (n, n) is set."""
    return (image * (1 + mask[..., None] * (gain - 1))).astype(np.float32)


def retouch(image: NDArray, points: Points, amount: float) -> Plane:
    """Deepen pores and wrinkles of the skin in `image` (n, n, 3) by a share `amount`; smooth them if it is negative."""
    unit, image = eye_distance(points), image.astype(np.float32)
    texture = cv2.GaussianBlur(image, (0, 0), 0.012 * unit) - cv2.GaussianBlur(image, (0, 0), 0.07 * unit)
    return image + (amount * skin(points, len(image)))[..., None] * texture


@lru_cache(maxsize=4)
def _rings(size: int) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Assign the frequencies of `rfft2` of a (size, size) picture to rings of equal width, logarithmically.

    Returns each frequency's ring (size, size // 2 + 1), 0 for those below `COARSE`, and its logarithm; how many
    frequencies each ring has; and the logarithm of the ring's middle.
    """
    far = np.hypot(np.fft.fftfreq(size, 1 / size)[:, None], np.fft.rfftfreq(size, 1 / size)[None])
    edges = np.geomspace(COARSE, size / 2, 16)
    ring = np.digitize(far, edges)
    middles = np.log(np.append(edges, size / np.sqrt(2))) - np.log(edges[1] / edges[0]) / 2
    return ring, np.log(np.maximum(far, 1)), np.maximum(np.bincount(ring.ravel()), 1), middles


def match_spectrum(
    new: NDArray, target: Image, mask: Masks, noise: Plane, strength: float = 1.0
) -> NDArray[np.float32]:
    """Match the spectrum of `new` (h, h, 3) inside `mask` (h, h) to that of `target` there.

    Ring by ring of frequencies: detail is sharpened, at most `SHARPEN` times, or damped; what is still missing is made
    up by `noise` (h, h), white and of spread 1. `strength` says how much of that, from 0 to 1. Tools add grain and
    sharpen too; here it also keeps a mere spectrum from giving the forgery away.
    """
    size = len(new)
    ring, place, counts, middles = _rings(size)
    planes = [_luma(image) for image in (new, target)]
    powers = []
    for plane in planes:
        level = float((mask * plane).sum() / max(1.0, float(mask.sum())))
        powers.append(np.bincount(ring.ravel(), (np.abs(rfft2(mask * (plane - level))) ** 2).ravel()) / counts)
    has, wants = powers
    gain = np.clip(np.sqrt(wants / (has + 1e-6)), 1 / SHARPEN, SHARPEN)
    # Grain belongs where texture is, not on a bare wall; an outline is not texture, so there is a limit.
    texture = np.sqrt(cv2.GaussianBlur((planes[0] - cv2.GaussianBlur(planes[0], (0, 0), 1.5)) ** 2, (0, 0), 2.0))
    texture = cv2.blur(cv2.erode(texture, np.ones((9, 9), np.uint8)), (9, 9))
    noise = noise * np.minimum(texture + 0.3, float((mask * texture).sum() / max(1.0, float(mask.sum()))) + 0.3)
    # Under the mask it has the same power in every ring.
    fill_up = np.sqrt(np.maximum(0, wants - gain**2 * has) / (float(((mask * noise) ** 2).sum()) + 1e-6))
    gain[0], fill_up[middles < np.log(_FINE * size)] = 1, 0
    # Between the rings' middles both go over smoothly: steps would ring around every edge.
    gain, fill_up = (np.interp(place, middles, curve) for curve in (gain, fill_up))
    change = rfft2(planes[0]) * (gain - 1) + rfft2(noise) * fill_up
    return new + np.float32(strength) * irfft2(change, s=(size, size))[..., None].astype(np.float32)


def grain(size: int, rng: np.random.Generator) -> Plane:
    """Draw a plane (size, size) of white noise of spread 1, for `match_spectrum`; one serves a whole clip."""
    return rng.standard_normal((size, size), dtype=np.float32)


def finish(frames: list[NDArray], masks: list[Masks]) -> tuple[Image, Masks]:
    """Stack frames (h, w, 3) and masks (h, w) into the result of a method."""
    return np.clip(np.round(np.stack(frames)), 0, 255).astype(np.uint8), np.stack(masks).astype(np.float32)


def faceapp(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by FaceApp: a smile added or removed, the skin made older or younger, hair or lips in another tone.

    As in FaceApp: one person at high quality, everything composited through soft masks so that no seam is seen;
    wrinkles and pores are deepened or wiped away, the features are bent, and the grain is put back. Not imitated: the
    network, beards and glasses; the donor is not used.
    """
    size = target.frames.shape[1]
    side = rng.choice([-1, 1])
    change = np.array([0, side * rng.uniform(0.5, 0.9), rng.choice([-1, 1]) * rng.uniform(0.3, 0.7), 0, 0])
    grow, aged = 1 + rng.choice([-1, 1]) * rng.uniform(0.03, 0.06), rng.choice([-0.75, 1.1]) * rng.uniform(0.8, 1.2)
    on_hair, tint = rng.random() < 0.5, rng.normal(1, 0.04, 3)
    tone = tint * (rng.uniform(0.75, 1.2) if on_hair else [1.0, 0.78, 0.82])
    noise = grain(size, rng)
    frames, masks = [], []
    for image, points in zip(target.frames, target.points, strict=True):
        aim = _with_expression(points, change)
        for shape in (EYES[:6], EYES[6:]):
            centre = points[shape].mean(axis=0)
            aim[shape] = centre + (aim[shape] - centre) * grow
        # The jaw does not move, so what is bent meets what is not.
        aim[JAW] = points[JAW]
        new = retouch(bend(image, points, aim), aim, aged)
        part = hair(image, points) if on_hair else fill(aim[LIPS], size, 0.05 * eye_distance(points))
        new, face = retone(new, part, tone), _hull(points, size, 0.07)
        mask = np.maximum(face, part)
        new = match_spectrum(new, image, face, noise)
        frames.append(image + mask[..., None] * (new - image))
        masks.append(mask)
    return finish(frames, masks)


# StarGAN's attributes: where, and the gain of red, green and blue at full strength.
_ATTRIBUTES = (
    ("hair", (0.62, 0.60, 0.62)),
    ("hair", (1.50, 1.34, 1.05)),
    ("hair", (1.30, 0.90, 0.70)),
    ("skin", (0.80, 0.74, 0.68)),
    ("skin", (1.13, 1.15, 1.19)),
    ("eyes and lips", (0.90, 0.62, 0.68)),
)
STARGAN = Network(seed=1, upsampling="transposed", spread=0.025, coarsest=32, top=0.5, loss=0.25, level=0.05)


def stargan(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by StarGAN: another hair colour, skin tone or make-up; the head is redrawn at half the resolution.

    As in StarGAN: an encoder and a decoder with two transposed convolutions, whose phases are unequal and leave a
    checkerboard (Odena et al. 2016); detail is lost and what surrounds the head changes too. Not imitated: beards,
    glasses and other changes of shape; the donor is not used.
    """
    size = target.frames.shape[1]
    where, full = _ATTRIBUTES[rng.integers(len(_ATTRIBUTES))]
    gain, noise = 1 + rng.uniform(0.6, 1.0) * (np.array(full) - 1), grain(size, rng)
    frames, masks = [], []
    for image, points in zip(target.frames, target.points, strict=True):
        if where == "hair":
            part = hair(image, points)
        elif where == "skin":
            part = skin(points, size, 0.2)
        else:
            shapes = [fill(points[shape], size, 0.05 * eye_distance(points)) for shape in (EYES[:6], EYES[6:], LIPS)]
            part = np.maximum.reduce(shapes)
        new = generate(retone(image, part, gain), STARGAN)
        mask = _oval(points, size, 0.35, 1.75, 1.95)
        new = match_spectrum(new, image, mask, noise)
        frames.append(image + mask[..., None] * (new - image))
        masks.append(mask)
    return finish(frames, masks)


PGGAN_V1 = Network(seed=2, upsampling="nearest", spread=0.25, coarsest=8, loss=0.35, level=0.12)
PGGAN_V2 = Network(seed=3, upsampling="nearest", spread=0.20, coarsest=6, top=0.75, loss=0.2, level=0.2)
STYLEGAN_CELEBA = Network(seed=4, upsampling="bilinear", spread=0, top=0.5, loss=0.3, level=0.1)
STYLEGAN_FFHQ = Network(seed=5, upsampling="bilinear", spread=0, loss=0.2, level=0.1)


def _nobody(target: Clip, donor: Clip, rng: np.random.Generator, network: Network, styled: bool) -> tuple[Image, Masks]:
    """Draw whole pictures of somebody between target and donor by `network`; the mask is 1 everywhere."""
    size, share = target.frames.shape[1], rng.uniform(0.4, 0.6)
    host, guest = (target, donor) if rng.random() < 0.5 else (donor, target)
    noise = grain(size, rng)
    style, off = None, np.zeros((68, 2))
    if styled:
        style = _style(octaves(size, network), rng)
        # Two eyes that do not quite belong together.
        off[EYES] = np.repeat(rng.normal(0, 0.03, (2, 2)), 6, axis=0)
    frames = []
    for k, image in enumerate(host.frames):
        picture, points = morph(host, guest, k, share, off)
        new = generate(picture, network, style)
        frames.append(match_spectrum(new, image, _hull(points, size, 0.05), noise, 0.8))
    return finish(frames, [np.ones((size, size), np.float32)] * len(frames))


def _style(sides: list[int], rng: np.random.Generator) -> Style:
    count = len(sides) - 1
    gains = rng.normal(1, 0.12, (count, 1)) * rng.normal(1, 0.05, (count, 3))
    shifts = rng.normal(0, 1.5, (count, 3)) * (np.arange(count) < 3)[:, None]
    noises = [rng.uniform(0.3, 1.0) * rng.standard_normal((side, side), dtype=np.float32) for side in sides[1:]]
    # The droplet: a bright core in a dark ring, somewhere near the head's outline.
    side, turn = sides[-1], rng.uniform(0, 2 * np.pi)
    x, y = side * (0.5 + np.array([0.28 * np.cos(turn), 0.30 * np.sin(turn)]))
    ys, xs = np.mgrid[:side, :side]
    far = ((xs - x) ** 2 + (ys - y) ** 2) / (0.02 * side) ** 2
    droplet = rng.choice([-1, 1]) * rng.uniform(50, 80) * (np.exp(-far) - 0.5 * np.exp(-far / 4))
    return Style(gains.astype(np.float32), shifts.astype(np.float32), noises, droplet.astype(np.float32))


def pggan_v1(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by PGGAN, first version: a whole picture of nobody, grown from a map of 8 pixels.

    As in PGGAN: nearest-neighbour upsampling and a 3×3 convolution in every octave, which leaves replicas of the
    spectrum, pixelwise normalisation, which evens out contrast, and detail that is lost towards the finest octave.
    Not imitated: what the network imagines; hair and wall are one person's.
    """
    return _nobody(target, donor, rng, PGGAN_V1, styled=False)


def pggan_v2(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by PGGAN, second version: like the first, from another training run.

    As in PGGAN: other kernels, other sizes of the maps, stronger normalisation and less detail lost; the picture is
    scaled up in the end. Not imitated: see `pggan_v1`.
    """
    return _nobody(target, donor, rng, PGGAN_V2, styled=False)


def stylegan_celeba(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by StyleGAN trained on CelebA: a whole picture of nobody at half the resolution, scaled up.

    As in StyleGAN: blurred upsampling, a gain and a shift for each octave and channel, noise added in every octave,
    a droplet that instance normalisation leaves (Karras et al. 2020), eyes that do not quite match. Not imitated:
    what the network imagines; hair and wall are one person's.
    """
    return _nobody(target, donor, rng, STYLEGAN_CELEBA, styled=True)


def stylegan_ffhq(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by StyleGAN trained on FFHQ: as for CelebA, at full resolution.

    As in StyleGAN: see `stylegan_celeba`; one octave more, with its own noise. Not imitated: see there.
    """
    return _nobody(target, donor, rng, STYLEGAN_FFHQ, styled=True)


#: The methods that DFFD has beside FF++'s, by its folder names, and what imitates them here.
METHODS_DFFD: dict[str, Forgery] = {
    "faceapp": faceapp,
    "stargan": stargan,
    "pggan_v1": pggan_v1,
    "pggan_v2": pggan_v2,
    "stylegan_celeba": stylegan_celeba,
    "stylegan_ffhq": stylegan_ffhq,
}
