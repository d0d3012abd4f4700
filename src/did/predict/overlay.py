"""Pictures with what the detector saw: the face's box, its score, and M_df laid over the face."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from did.data.faces import template
from did.data.geometry import similarity
from did.data.video import write_clip
from did.predict.detector import Detector, Seen
from did.utils.files import write_atomically

#: Longest side of an overlay in pixels.
LONGEST = 1280
#: Okabe and Ito's orange and blue; the words say the same.
COLOURS = {"fake": (213, 94, 0), "real": (0, 114, 178)}
# Share of the map in the mixture with the picture.
OPACITY = 0.45


def drawn(detector: Detector, seen: Seen, longest: int = LONGEST, words: bool = True, even: bool = False) -> NDArray:
    """Draw a picture with its faces' boxes, scores and M_df.

    M_df is averaged over channels and shown from dark to bright over its own range.

    A narrow range means that M_df hardly tells one place from another, whatever the colours suggest: with `words` it
    is written beside the score.

    Args:
        detector: whose crops the maps are of.
        seen: of `Detector.look`.
        longest: side in pixels that a larger picture is reduced to.
        words: write scores and ranges.
        even: cut to even sides, as H.264 takes them.

    Returns:
        RGB uint8 (H, W, 3).
    """
    scale = min(1.0, longest / max(seen.image.shape[:2]))
    height, width = (max(2, round(side * scale)) for side in seen.image.shape[:2])
    if even:
        height, width = height - height % 2, width - width % 2
    picture = cv2.resize(seen.image, (width, height), interpolation=cv2.INTER_AREA)
    for number, face in enumerate(seen.frame.faces):
        if seen.maps is not None:
            _lay(picture, seen.maps[number], np.array(face.landmarks) * scale, detector.settings.crop_margin)
        x0, y0, x1, y1 = (round(value * scale) for value in face.box)
        line = max(1, max(height, width) // 400)
        cv2.rectangle(picture, (x0, y0), (x1, y1), COLOURS[face.label], line)
        if words:
            text = [f"{face.label} {face.score:+.2f}", f"p {face.probability:.2f}"]
            if seen.maps is not None:
                text.append(f"M_df {seen.maps[number].min():.2f}-{seen.maps[number].max():.2f}")
            _write(picture, text, x0, y1, COLOURS[face.label])
    return picture


def _lay(picture: NDArray, attention: NDArray, landmarks: NDArray, margin: float, side: int = 224) -> None:
    """Blend a map (h, w) of the crop into the picture, at the place of the crop."""
    low, high = float(attention.min()), float(attention.max())
    gray = np.uint8(255 * (attention - low) / (high - low if high > low else 1))
    large = cv2.resize(np.asarray(gray), (side, side), interpolation=cv2.INTER_LINEAR)
    coloured = cv2.cvtColor(cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    matrix = similarity(landmarks, template(side, margin))  # from the picture to the crop
    size, back = picture.shape[1::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    there = cv2.warpAffine(coloured, matrix, size, flags=back)
    share = OPACITY * cv2.warpAffine(np.ones((side, side), np.float32), matrix, size, flags=back)[..., None]
    picture[:] = np.round((1 - share) * picture + share * there).astype(np.uint8)


def _write(picture: NDArray, lines: list[str], x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Write lines of text below a box, on its colour, moved into the picture."""
    scale = float(np.clip(max(picture.shape[:2]) / 1400, 0.35, 0.9))
    sizes = [cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0] for line in lines]
    step, wide = max(h for _, h in sizes) + 5, max(w for w, _ in sizes) + 4
    x = max(0, min(x, picture.shape[1] - wide))
    y = max(0, min(y, picture.shape[0] - step * len(lines) - 2))
    cv2.rectangle(picture, (x, y), (x + wide, y + step * len(lines) + 2), colour, -1)
    for number, line in enumerate(lines):
        at = (x + 2, y + step * (number + 1) - 3)
        cv2.putText(picture, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


def overlay_file(folder: Path, number: int, path: Path, suffix: str) -> Path:
    """Return the file of an input's overlay.

    Its number distinguishes files of the same name, and unsafe characters are removed from its name.
    """
    name = re.sub(r"[^\w.-]", "_", path.stem, flags=re.ASCII)[:80]
    return folder / f"{number:05d}-{name}{suffix}"


def write_overlay(file: Path, detector: Detector, seen: Iterator[Seen], fps: float | None = None) -> None:
    """Draw what was seen in one input.

    Args:
        file: the PNG or MP4.
        detector, seen: see `drawn`.
        fps: frames a second of a video; None for a picture.

    Raises:
        DidError: If it cannot be written, or not encoded.
    """
    if fps is None:
        (one,) = seen
        write_atomically(file, lambda path: Image.fromarray(drawn(detector, one)).save(path, "PNG"))
    else:
        write_clip(file, _of_one_size(drawn(detector, one, even=True) for one in seen), fps, crf=18)


def _of_one_size(pictures: Iterable[NDArray]) -> Iterator[NDArray]:
    """Yield pictures (H, W, 3) of the first one's size.

    The frames of a video may change their size, those of a clip cannot. A picture of another size is scaled as a whole,
    on black.
    """
    size: tuple[int, int] | None = None
    for picture in pictures:
        height, width = size = size or picture.shape[:2]
        if picture.shape[:2] != size:
            scale = min(height / picture.shape[0], width / picture.shape[1])
            inner = [max(1, round(side * scale)) for side in picture.shape[:2]]
            top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
            whole = np.zeros((height, width, 3), np.uint8)
            whole[top : top + inner[0], left : left + inner[1]] = cv2.resize(
                picture, inner[::-1], interpolation=cv2.INTER_AREA
            )
            picture = whole
        yield picture
