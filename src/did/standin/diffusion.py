"""Four forgeries of DiFF's kinds, each by a real denoising chain.

The rules are those of `did.standin.forge`: a target's and a donor's clip give the forged frames (n, h, w, 3)
uint8 and the masks (n, h, w) float32 in 0-1; what is fixed for a clip, the chain's noise too, is drawn once from `rng`.

A picture is encoded to a small latent, noised, and led back by a few deterministic steps (`denoise`). The denoiser
knows the content's outlines and how much texture to expect around each place, and shrinks what could be noise. So
faces come back smoother than they were, with texture that the noise made up. The originals' high frequencies are too
weak likewise (Ricker et al. 2022, "Towards the detection of diffusion model deepfakes").
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from did.standin.animate import Clip, paint_mouth
from did.standin.forge import (
    DECODER,
    Forgery,
    Masks,
    _hull,
    _match_colour,
    _match_light,
    _with_expression,
    lattice,
)
from did.standin.landmarks import EYES, JAW, Image, eye_distance, warp
from did.standin.synthesis import bend, finish, grain, match_spectrum, morph, retouch

Latent = NDArray[np.float32]
#: The picture's side over the latent's, and how many steps the chain takes.
SHRINK, STEPS = 2, 8
# Orthonormal: brightness and two differences of colours, the rows of a cosine transform over the channels.
_COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32)
_COLOURS /= np.linalg.norm(_COLOURS, axis=1, keepdims=True)
# Sides of the blurs that part the denoiser's bands, and side of the neighbourhood that it looks at.
_BLURS, _NEAR = (3, 7, 15, 31), 9
# Share of a band's variance that the denoiser expects, fine to coarse.
_TRUST = (0.6, 0.75, 0.9, 1.0, 1.0)
# Steps higher than this are outlines to the denoiser, lower ones texture; 2 is black to white.
_OUTLINE = 0.2


def encode(image: NDArray) -> Latent:
    """Encode a picture (n, n, 3) as a latent (m, m, 3): half the side, brightness and colour apart, about -1 to 1."""
    side = len(image) // SHRINK
    small = cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return cv2.transform(small / 127.5 - 1, _COLOURS)


def decode(latent: Latent, size: int) -> NDArray[np.float32]:
    """Decode a latent to a picture (size, size, 3), not clipped; the finest detail does not come back."""
    small = (cv2.transform(latent, _COLOURS.T) + 1) * 127.5
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def signal(time: float) -> float:
    """Compute the share of the picture's variance that is left at `time`, from 1 at 0 to almost 0 at 1.

    Source: the cosine schedule of Nichol and Dhariwal (2021), "Improved denoising diffusion probabilistic models".
    """
    return float(np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2)


def _split(maps: Latent) -> list[Latent]:
    """Split `maps` (m, m, 3) into bands, fine to coarse, and the remainder below them; they sum to `maps`."""
    levels = [maps, *(cv2.blur(maps, (k, k), borderType=cv2.BORDER_REFLECT_101) for k in _BLURS)]
    return [fine - coarse for fine, coarse in pairwise(levels)] + [levels[-1]]


@lru_cache(maxsize=1)
def _noise_in_bands() -> tuple[float, ...]:
    """Compute the variance of white noise of variance 1 in each band: the sum of squares of the band's filter."""
    pulse = np.zeros((129, 129, 3), np.float32)
    pulse[64, 64] = 1
    return tuple(float((band[..., 0] ** 2).sum()) for band in _split(pulse))


def known(latent: Latent) -> tuple[list[Latent], list[Latent]]:
    """Compute what the denoiser expects of each band around each place of `latent` (m, m, 3): mean and variance.

    That stands for what a network has learnt about the content: it knows the features and outlines, which an
    edge-preserving blur keeps, but of skin and hair only how strong their texture is. It expects a little less than
    there is, the less the finer the band.
    """
    plain = cv2.bilateralFilter(latent, 7, _OUTLINE, 2.0, borderType=cv2.BORDER_REFLECT_101)
    variances = [
        share * cv2.blur(band * band, (_NEAR, _NEAR), borderType=cv2.BORDER_REFLECT_101) + 1e-9
        for band, share in zip(_split(latent - plain), _TRUST, strict=True)
    ]
    return _split(plain), variances


def estimate(noisy: Latent, sigma: float, means: list[Latent], variances: list[Latent]) -> Latent:
    """Estimate the clean latent by local Wiener shrinkage.

    `noisy` (m, m, 3) contains white noise of standard deviation `sigma`.

    In each band and place what departs from the mean is kept in the proportion in which it is expected over the noise.
    """
    clean = np.zeros_like(noisy)
    for band, mean, variance, share in zip(_split(noisy), means, variances, _noise_in_bands(), strict=True):
        clean += mean + (band - mean) * (variance / (variance + share * sigma**2))
    return clean


def denoise(latent: Latent, strength: float, noise: Latent, steps: int = STEPS, where: Masks | None = None) -> Latent:
    """Add noise to a latent (m, m, 3) up to time `strength`, and denoise it in `steps` deterministic steps.

    Args:
        latent: the picture to start from.
        strength: 0 gives `latent` itself, 1 keeps nothing of it but what is `known`.
        noise: white noise (m, m, 3) of spread 1.
        steps: denoising steps.
        where: mask (m, m); outside it every step puts back the latent that it started from, with its share of noise.

    Sources: Ho et al. (2020) for the noising, Song et al. (2021), "Denoising diffusion implicit models", for the
    steps, Meng et al. (2022), "SDEdit", for starting from a picture, Lugmayr et al. (2022), "RePaint", for `where`.
    """
    if strength == 0:
        return latent
    times, expected = np.linspace(strength, 0, steps + 1), known(latent)
    at = signal(times[0])
    maps = np.sqrt(at) * latent + np.sqrt(1 - at) * noise
    for time in times[1:]:
        clean = estimate(maps / np.sqrt(at), float(np.sqrt((1 - at) / at)), *expected)
        left = (maps - np.sqrt(at) * clean) / np.sqrt(1 - at)
        at = signal(time)
        maps = np.sqrt(at) * clean + np.sqrt(1 - at) * left
        if where is not None:
            outside = np.sqrt(at) * latent + np.sqrt(1 - at) * noise
            maps = outside + where[..., None] * (maps - outside)
    return maps.astype(np.float32)


def _pitch(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the grid that the decoder leaves at its latent's pitch, (size, size, 1).

    It is half as strong as that of Deepfakes.

    Source: Corvi et al. (2023), "On the detection of synthetic images generated by diffusion models": peaks in the
    spectra of latent diffusion.
    """
    return DECODER / 2 * lattice(size, rng.uniform(6, 9), 0.0)[..., None]


def _noise(size: int, rng: np.random.Generator) -> Latent:
    side = size // SHRINK
    return rng.standard_normal((side, side, 3), dtype=np.float32)


def t2i(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by T2I: a whole picture of nobody, denoised from strong noise.

    As in text-to-image models: a latent chain; skin is smooth, contrast regular, and fine detail is made up from
    noise. Not imitated: the prompt and what a network knows; a morph of two people stands for the content.
    """
    size = target.frames.shape[1]
    share, strength, noise = rng.uniform(0.4, 0.6), rng.uniform(0.7, 0.9), _noise(size, rng)
    host, guest = (target, donor) if rng.random() < 0.5 else (donor, target)
    film, off = grain(size, rng), np.zeros((68, 2))
    off[EYES] = np.repeat(rng.normal(0, 0.025, (2, 2)), 6, axis=0)
    frames, grid = [], _pitch(size, rng)
    for k, image in enumerate(host.frames):
        picture, points = morph(host, guest, k, share, off)
        new = decode(denoise(encode(picture), strength, noise), size)
        frames.append(match_spectrum(new, image, _hull(points, size, 0.05), film, 0.6) + grid)
    return finish(frames, [np.ones((size, size), np.float32)] * len(frames))


def i2i(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by I2I: the target's own picture, denoised from medium noise.

    As in image-to-image models: layout and person stay, roughly; features shift a little, all detail is another and
    the tone of the picture changes. Not imitated: the prompt; the donor is not used.
    """
    size = target.frames.shape[1]
    strength, noise, tone = rng.uniform(0.45, 0.7), _noise(size, rng), rng.normal(1, 0.025, 3)
    off, film = rng.normal(0, 0.012, (68, 2)), grain(size, rng)
    frames, grid = [], _pitch(size, rng)
    for image, points in zip(target.frames, target.points, strict=True):
        picture = bend(image, points, points + off * eye_distance(points))
        new = decode(denoise(encode(picture), strength, noise), size) * tone
        frames.append(match_spectrum(new, image, _hull(points, size, 0.05), film, 0.6) + grid)
    return finish(frames, [np.ones((size, size), np.float32)] * len(frames))


def _inpaint(
    picture: Image, image: Image, mask: Masks, strength: float, noise: Latent, film: Latent, grid: NDArray
) -> NDArray:
    """Blend the denoised `picture` into `image` inside `mask`.

    `image` and `picture` are (n, n, 3), the mask (n, n), the grid (n, n, 1).
    """
    size = len(image)
    where = cv2.resize(mask, noise.shape[1::-1], interpolation=cv2.INTER_AREA)
    new = decode(denoise(encode(picture), strength, noise, where=np.sqrt(where)), size)
    return image + mask[..., None] * (match_spectrum(new, image, mask, film, 0.85) + grid - image)


def fs(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by FS: the donor's face on the target, denoised inside a mask.

    As in diffusion face swaps: the identity comes from the donor, pose, light and colours from the target, the chain
    harmonises the border, and inside it the texture's statistics are the denoiser's. Not imitated: an identity
    encoder as guide.
    """
    size = target.frames.shape[1]
    strength, feather, noise = rng.uniform(0.35, 0.6), rng.uniform(0.06, 0.12), _noise(size, rng)
    colour, off = rng.uniform(0.6, 0.95), rng.normal(0, 0.02, 2)
    film = grain(size, rng)
    frames, masks, grid = [], [], _pitch(size, rng)
    for k, (image, points) in enumerate(zip(target.frames, target.points, strict=True)):
        unit = eye_distance(points)
        mask = _hull(points, size, feather)
        face = warp(donor.frames[k], donor.points[k], points + off * unit, size)
        face = _match_light(_match_colour(face, image, mask, colour, spread=True), image, mask, 0.8, unit)
        start = np.clip(image + mask[..., None] * (face.astype(np.float32) - image), 0, 255).astype(np.uint8)
        frames.append(_inpaint(start, image, mask, strength, noise, film, grid))
        masks.append(mask)
    return finish(frames, masks)


def fe(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
    """Forge by FE: the target's expression or age edited, the face denoised inside a mask.

    As in diffusion face editing: the person stays; mouth, brows and skin change, and the chain draws the edited
    region anew, so that its texture does not go on over the border. Not imitated: the prompt; the donor is not used.
    """
    size = target.frames.shape[1]
    strength, feather, noise = rng.uniform(0.35, 0.6), rng.uniform(0.05, 0.10), _noise(size, rng)
    side = rng.choice([-1, 1], 2)
    change = np.array([rng.uniform(0, 0.4), side[0] * rng.uniform(0.5, 1.0), side[1] * rng.uniform(0.4, 0.8), 0, 0])
    aged = rng.choice([-0.6, 0.0, 1.0])
    film = grain(size, rng)
    frames, masks, grid = [], [], _pitch(size, rng)
    for image, points in zip(target.frames, target.points, strict=True):
        aim = _with_expression(points, change)
        aim[JAW] = points[JAW]
        mask = _hull(points, size, feather)
        edited = np.clip(retouch(paint_mouth(bend(image, points, aim), aim), aim, aged), 0, 255).astype(np.uint8)
        frames.append(_inpaint(edited, image, mask, strength, noise, film, grid))
        masks.append(mask)
    return finish(frames, masks)


#: DiFF's kinds of forgery by its folder names, and what imitates them here.
METHODS_DIFF: dict[str, Forgery] = {"T2I": t2i, "I2I": i2i, "FS": fs, "FE": fe}
