"""Cameras: what lies between a clean picture and a file, the same for real and forged ones.

A data set has one kind of camera, and each person one camera of that kind. Nothing here knows whether a picture is
forged, so nothing here can give it away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from did.data.video import write_clip
from did.standin.landmarks import Image
from did.utils.files import write_atomically

Range = tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """One kind of camera; each person's camera is drawn evenly from these ranges.

    Attributes:
        gamma: exponent of the tone curve.
        contrast: depth of an S in the tone curve; 0 none.
        blur: of the lens, standard deviation in pixels.
        grid: the sensor's pixels a side, as a share of the picture's.
        grain: spread of the gray noise, of 255.
        chroma: spread of the coloured noise, of 255; its blobs are about two pixels wide.
        shot: True where noise grows with the root of the light, False where it is even.
        sharpen: strength of unsharp masking; 0 none.
        web: the side at which a first JPEG is made, as a share of the picture's, before it is brought back to size.
        quality: of that JPEG; None for none.
    """

    gamma: Range
    blur: Range
    grid: Range
    grain: Range
    contrast: Range = (0, 0)
    chroma: Range = (0, 0)
    shot: bool = False
    sharpen: Range = (0, 0)
    web: Range = (1, 1)
    quality: Range | None = None


#: FF++: video cameras, uncompressed until the one pass of H.264.
VIDEO = Camera(gamma=(0.85, 1.2), blur=(0.3, 0.6), grid=(0.85, 1.0), grain=(0.8, 2.5))
#: Celeb-DF: phones that sharpen and lift the contrast; clips compressed and resized once before.
PHONE = Camera(
    gamma=(0.75, 1.0),
    contrast=(0.15, 0.4),
    blur=(0.5, 0.8),
    grid=(0.8, 0.95),
    grain=(1.0, 3.0),
    chroma=(1.0, 3.0),
    shot=True,
    sharpen=(0.4, 0.9),
    web=(0.75, 0.9),
    quality=(70, 90),
)
#: DFFD: photographs as the web has them: little noise, resized and compressed once.
STILL = Camera(
    gamma=(0.85, 1.15),
    contrast=(0, 0.2),
    blur=(0.3, 0.5),
    grid=(0.9, 1.0),
    grain=(0.4, 1.5),
    chroma=(0, 1.0),
    shot=True,
    sharpen=(0.1, 0.5),
    web=(0.85, 1.0),
    quality=(80, 95),
)
#: DiFF: film stills and press photographs, softer and flatter; the file itself is the JPEG.
PRESS = Camera(
    gamma=(0.9, 1.3),
    blur=(0.5, 0.9),
    grid=(0.75, 0.95),
    grain=(0.6, 2.0),
    chroma=(0.3, 1.2),
    shot=True,
    sharpen=(0.0, 0.3),
)


def shoot(camera: Camera, frames: Image, taste: np.random.Generator, rng: np.random.Generator) -> Image:
    """Record clean frames (n, h, h, 3) uint8 with a camera: tone, lens blur, sensor grid, noise, sharpening, JPEG.

    `taste` decides which camera of its kind it is (the same one for a person's real and forged pictures), `rng` its
    noise.
    """
    gamma, gain = taste.uniform(*camera.gamma), taste.uniform(0.92, 1.08) * taste.normal(1, 0.02, 3)
    blur, grid, grain = taste.uniform(*camera.blur), taste.uniform(*camera.grid), taste.uniform(*camera.grain)
    contrast, chroma = taste.uniform(*camera.contrast), taste.uniform(*camera.chroma)
    sharpen, web = taste.uniform(*camera.sharpen), taste.uniform(*camera.web)
    level = np.clip((np.arange(256)[:, None] / 255) ** gamma * gain, 0, 1)
    tone = (level - contrast * np.sin(2 * np.pi * level) / (2 * np.pi)) * 255
    quality = round(taste.uniform(*camera.quality)) if camera.quality else None
    size = frames.shape[1]
    out = []
    for frame in frames:
        image = cv2.LUT(frame, tone[:, None].astype(np.float32))
        image = cv2.GaussianBlur(image, (0, 0), blur)
        image = _through(image, round(size * grid))
        noise = grain * rng.standard_normal((size, size, 1), dtype=np.float32)
        if chroma:
            noise = noise + chroma * 2 * cv2.GaussianBlur(
                rng.standard_normal((size, size, 3), dtype=np.float32), (0, 0), 0.8
            )
        if camera.shot:
            noise = noise * np.sqrt(np.clip(image, 8, 255) / 128)
        image = image + noise
        if sharpen:
            image = image + sharpen * (image - cv2.GaussianBlur(image, (0, 0), 1.2))
        picture = np.clip(image + 0.5, 0, 255).astype(np.uint8)
        out.append(picture if quality is None else _compressed(picture, round(size * web), quality))
    return np.stack(out)


def _through(image: Image, few: int) -> Image:
    """Reduce `image` (n, n, 3) to `few` pixels a side, and enlarge it again."""
    size = len(image)
    small = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def _compressed(picture: Image, few: int, quality: int) -> Image:
    """Compress `picture` (n, n, 3) as a JPEG of `few` pixels a side, and enlarge it again."""
    size = len(picture)
    small = cv2.resize(picture, (few, few), interpolation=cv2.INTER_AREA)
    # OpenCV takes the channels for blue, green, red: JPEG's luma would be weighted wrongly.
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    small = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return cv2.resize(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), (size, size), interpolation=cv2.INTER_CUBIC)


def save(path: Path, frames: Image, crf: int = 23) -> None:
    """Write frames (n, h, w, 3) in the format of the file's suffix.

    `.mp4` at this crf, or the first frame as `.png`, or as `.jpg` of quality 85.
    """
    if path.suffix == ".mp4":
        write_clip(path, frames, crf=crf)
        return
    options = [cv2.IMWRITE_JPEG_QUALITY, 85] if path.suffix == ".jpg" else []
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(frames[0], cv2.COLOR_RGB2BGR), options)
    write_atomically(path, lambda file: file.write_bytes(data.tobytes()))
