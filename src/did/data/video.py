"""Video and image files: write a clip, count its frames, read evenly spaced ones. PyAV only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, UnidentifiedImageError

from did.errors import DidError
from did.files import write_atomically


def evenly_spaced(total: int, count: int) -> list[int]:
    """Indices of `count` frames out of `total`: the middle of each of `count` equal parts, rounded down.

    The middles, not the ends, so that a black first or last frame is not preferred. All frames where `total` is at
    most `count`: no index comes twice.
    """
    if count < 1:
        raise DidError(f"The number of frames is {count}; it must be at least 1.")
    if total <= count:
        return list(range(total))
    return [(2 * part + 1) * total // (2 * count) for part in range(count)]


def write_clip(path: str | Path, frames: Iterable[np.ndarray], fps: float = 25, crf: int = 23) -> None:
    """Write an H.264 clip (libx264, yuv420p) in one thread, so that the same frames give the same bytes.

    The clip gets its name only when it is complete: no half-written clip is left under `path`.

    Args:
        path: where to write; an existing file is replaced.
        frames: RGB uint8 arrays (H, W, 3) of one even height and width.
        fps: frames per second.
        crf: constant rate factor of x264; 23 is FF++'s "c23".

    Raises:
        DidError: no frames, or frames of another type, of unequal or of odd size.
    """
    path = Path(path)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise DidError(f"The clip {path} has no frames; give at least one.")
    if first.ndim != 3 or first.shape[2] != 3 or first.shape[0] % 2 or first.shape[1] % 2:
        raise DidError(f"The frames of the clip {path} have the shape {first.shape}; H.264 takes (even, even, 3).")

    def encode(file: Path) -> None:
        with av.open(str(file), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.options = {"crf": str(crf), "threads": "1"}
            stream.height, stream.width = first.shape[:2]
            stream.pix_fmt = "yuv420p"
            for image in _chain(first, iterator):
                if image.shape != first.shape or image.dtype != np.uint8:
                    raise DidError(
                        f"The clip {path} got a frame of shape {image.shape} and type {image.dtype}; "
                        f"all must be uint8 of shape {first.shape}."
                    )
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    write_atomically(path, encode)


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def count_frames(path: str | Path) -> int:
    """Number of frames of a video, by decoding it (the container's own number may be missing or wrong).

    Raises:
        DidError: the video does not decode.
    """
    return sum(1 for _ in _decode(Path(path)))


def read_frames(path: str | Path, count: int) -> list[tuple[int, np.ndarray]]:
    """Read evenly spaced frames.

    The video is decoded once from the start to its end, and only the wanted frames are converted and kept. Where the
    container's number of frames turns out missing or wrong, it is decoded once more with the true one.

    Args:
        path: a video file.
        count: number of frames; fewer come back only where the video has fewer.

    Returns:
        Pairs (frame number from 0, RGB uint8 array (H, W, 3)) at the indices of `evenly_spaced`; every array is the
        frame of that number, never a repeated or a neighbouring one.

    Raises:
        DidError: the video does not decode, or not to its end.
    """
    path = Path(path)
    total = _declared_frames(path)
    images, decoded = _keep(path, set(evenly_spaced(total, count)))
    if decoded == 0:
        raise DidError(f"The video {path} does not decode: it has no frames; replace the file.")
    wanted = evenly_spaced(decoded, count)
    if any(index not in images for index in wanted):
        images, _ = _keep(path, set(wanted))
    return [(index, images[index]) for index in wanted]


def _keep(path: Path, wanted: set[int]) -> tuple[dict[int, np.ndarray], int]:
    images = {}
    decoded = 0
    converter = VideoReformatter()  # One for the video: a frame's own one is set up anew for each, in milliseconds.
    for index, frame in enumerate(_decode(path)):
        decoded = index + 1
        if index in wanted:
            images[index] = converter.reformat(frame, format="rgb24").to_ndarray()
    return images, decoded


def _declared_frames(path: Path) -> int:
    """The container's number of frames, 0 where it has none."""
    with _open(path) as container:
        return container.streams.video[0].frames


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise DidError(f"There is no video {path}.")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise DidError(f"The video {path} does not decode ({_reason(error)}); replace the file.") from error
    if not container.streams.video:
        container.close()
        raise DidError(f"The video {path} has no pictures in it; replace the file.")
    return container


def _decode(path: Path) -> Iterator[av.VideoFrame]:
    with _open(path) as container:
        stream = container.streams.video[0]
        # Videos are decoded in parallel, one a process: threads within one would only compete.
        stream.codec_context.thread_count = 1
        packets = 0
        try:
            for packet in container.demux(stream):
                packets += packet.size > 0
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise DidError(f"The video {path} does not decode (a damaged frame); replace the file.")
                    yield frame
        except (av.error.FFmpegError, OSError) as error:
            raise DidError(f"The video {path} does not decode ({_reason(error)}); replace the file.") from error
        # The index of an MP4 lists every packet: fewer in the file mean that its end is cut off.
        if "mp4" in container.format.name and packets < stream.frames:
            raise DidError(
                f"The video {path} ends early: {packets} of its {stream.frames} frames are there; replace the file."
            )


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as an RGB uint8 array (H, W, 3).

    Raises:
        DidError: no such file, or it is not an image.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except FileNotFoundError as error:
        raise DidError(f"There is no image {path}.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DidError(f"The image {path} cannot be read; replace the file.") from error
