"""Video and image files: write a clip, count its frames, read evenly spaced ones. PyAV and Pillow only.

Files may be hostile. A file is taken for what its content is, out of a few formats that read no other file; frames
and pictures have a limit of pixels, the frames that are kept of a video one of bytes; and whatever a decoder raises is
a DidError with a reason. What a decoder does not come back from, `did.data.reading` ends.

A still picture is not a video, whatever it is packed in: cover art and the pictures of HEIC and AVIF, which FFmpeg
shows as streams, are never decoded as frames. If a file has several videos, the best one by the container's own rules
counts, and of several pictures the first: the reader of a file can give a list that such a note is added to.
"""

from __future__ import annotations

import contextlib
import struct
import warnings
from collections.abc import Collection, Container, Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image, ImageOps, UnidentifiedImageError

from did.errors import DidError
from did.utils.files import write_atomically

#: What to do about a picture that cannot be read.
CONVERT = "convert to JPEG or PNG"
#: Of the pictures that are read, in lower case.
IMAGE_SUFFIXES = tuple(".png .apng .jpg .jpeg .jfif .bmp .webp .tif .tiff .gif".split())
#: Pixels of a picture or a frame: more than a 4K frame or a camera's picture has.
MOST_PIXELS = 64_000_000
#: Bytes of the decoded frames that are kept of one video: 32 frames at 8K.
MOST_KEPT = 2_000_000_000
#: Pillow knows forty formats, some of which start other programs (EPS) or are rarely tested.
PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
# Those that may hold an animation, or several pages.
_ANIMATED = ("GIF", "PNG", "WEBP", "TIFF")
# FFmpeg, too, goes by content: a text named .mp4 may be a playlist that reads other files or hosts. These formats read
# themselves alone ("mov" as long as it may not follow the references of a QuickTime file).
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,h264"
_ALONE = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS, "enable_drefs": "0"}
# Streams of these kinds are pictures that come with a video, or parts of a picture.
_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
# A single frame of such a codec is a picture in a video's container.
_PICTURE_CODECS = ("mjpeg", "png", "bmp", "tiff", "gif", "webp", "jpeg2000", "ppm", "pgm")
# The brands of HEIC and AVIF, animated ones too: ISO 23008-12 and AV1 Image File Format.
_PICTURE_BRANDS = frozenset("heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 miaf avif avis avio".split())
# Boxes of an ISO file that are looked at, at most.
_MOST_BOXES = 10_000


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return the indices of `count` frames out of `total`: the middle of each of `count` equal parts, rounded down.

    The middles, not the ends, so that a black first or last frame is not preferred. All frames where `total` is at
    most `count`: no index comes twice.

    Raises:
        DidError: If `count` is below 1.
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
        DidError: If there are no frames, or frames of another type, of unequal or of odd size.
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
            if stream.width % 128:
                # x264's macroblock tree works on rows of eight blocks of 16 pixels. In a shorter one it reads memory
                # that nobody wrote, and the same frames give other bytes now and then.
                stream.options |= {"x264-params": "mbtree=0"}
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
    """Count the frames of a video by decoding it; the container's own number may be missing or wrong.

    Raises:
        DidError: If the video does not decode.
    """
    return sum(1 for _ in _decode(Path(path)))


def read_frames(path: str | Path, count: int) -> list[tuple[int, np.ndarray]]:
    """Read all frames of `stream_frames` into a list: `count` whole pictures in memory."""
    return list(stream_frames(path, count))


def stream_frames(path: str | Path, count: int, notes: list[str] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield evenly spaced frames of a video, upright, one at a time.

    The time stamps of the packets, read without decoding, say which frame is which. Decoding stops at the last wanted
    frame and leaves out, on the way, what no wanted frame refers to. Where time stamps are missing, double or wrong,
    the frames are counted by decoding them all.

    Args:
        path: a video file.
        count: number of frames; fewer come only where the video has fewer.
        notes: gets a note if the file has several videos.

    Yields:
        Pairs (frame number from 0, RGB uint8 array (H, W, 3)) at the indices of `evenly_spaced`; every array is the
        frame of that number, never a repeated or a neighbouring one, turned as the file's metadata says.

    Raises:
        DidError: If the video ends early, one of the frames that are needed does not decode, or there is too much of
            it: `MOST_PIXELS` a frame, `MOST_KEPT` bytes in all. Nothing was yielded then.
    """
    path = Path(path)
    stamps = _time_stamps(path, notes)
    kept = None
    if stamps is not None:
        wanted = evenly_spaced(len(stamps), count)
        kept = _by_time({stamps[index]: index for index in wanted}, path)
    if kept is None:
        wanted = evenly_spaced(count_frames(path), count)
        kept = dict(_kept(((index, f) for index, f in enumerate(_decode(path)) if index in set(wanted)), wanted, path))
    if not wanted:
        raise DidError(f"The video {path} does not decode: it has no frames; replace the file.")
    # The decoder's own planes are kept until here: they take half the memory of RGB.
    converter = VideoReformatter()  # One for the video: a frame's own one is set up anew for each, in milliseconds.
    for index in wanted:
        yield index, _upright(kept.pop(index), converter, path)


def every_frame(path: str | Path, notes: list[str] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield frames like `stream_frames`, but each as soon as it is decoded, so that none is kept.

    Raises:
        DidError: As `stream_frames`, but only when the bad part is reached: frames may have come before.
    """
    path, converter = Path(path), VideoReformatter()
    for index, frame in enumerate(_decode(path, notes=notes)):
        yield index, _upright(frame, converter, path)


def _upright(frame: av.VideoFrame, converter: VideoReformatter, path: Path) -> np.ndarray:
    with _sentences(path):
        image = converter.reformat(frame, format="rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def _kept(
    frames: Iterable[tuple[int, av.VideoFrame]], wanted: Collection[int], path: Path
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield the same pairs if all that are wanted fit into memory."""
    for index, frame in frames:
        # Of the decoder's pixels most have 1.5 bytes and none more than 8.
        if len(wanted) * frame.width * frame.height * frame.format.padded_bits_per_pixel / 8 > MOST_KEPT:
            raise DidError(
                f"The video {path} is too large: {len(wanted)} frames of {frame.width}×{frame.height} pixels take more "
                f"than {MOST_KEPT / 1e9:.0f} GB; ask for fewer frames."
            )
        yield index, frame


def _time_stamps(path: Path, notes: list[str] | None = None) -> list[int] | None:
    """Return the time stamp of every frame in the order of display, or None if the packets do not contain them."""
    with _open(path, notes) as (container, stream):
        with _sentences(path):
            packets = [(packet.pts, packet.is_discard) for packet in container.demux(stream) if packet.size]
            reordered = stream.codec_context.has_b_frames
        _check_end(path, container, stream, len(packets))
    found = [pts for pts, _ in packets if pts is not None]
    stamps = sorted(found)
    if len(set(stamps)) < len(packets) or any(discard for _, discard in packets):
        return None
    # Frames that refer to later ones are stored after them. Stamps that grow all the same are not those of display, as
    # some programs write them into ASF.
    return None if reordered and found == stamps else stamps


def _by_time(wanted: dict[int, int], path: Path) -> dict[int, av.VideoFrame] | None:
    """Return the frames with the time stamps of `wanted`, by their numbers; None if one does not appear."""
    kept: dict[int, av.VideoFrame] = {}
    found = ((wanted[frame.pts], frame) for frame in _decode(path, wanted) if frame.pts in wanted)
    for index, frame in _kept(found, wanted, path):
        kept[index] = frame
        if len(kept) == len(wanted):
            return kept
    return None if wanted else kept


@contextlib.contextmanager
def _open(path: Path, notes: list[str] | None = None) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """Open the file and select the stream that is the video."""
    if not path.is_file():
        raise DidError(f"There is no video {path}.")
    if holds_heif(path):
        raise DidError(f"The video {path} is a HEIC or AVIF picture, which cannot be read; {CONVERT}.")
    with _container(path) as container:
        stream = _best(path, container, notes)
        if stream.codec_context.name in _PICTURE_CODECS and not _moves(path, stream.index):
            raise DidError(f"The video {path} is a single picture ({stream.codec_context.name}); {CONVERT}.")
        with _sentences(path):
            _check_pixels(path, "video", stream.codec_context.width, stream.codec_context.height)
            # A stream's later frames may be larger than it says at its start.
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        yield container, stream


def _container(path: Path) -> av.container.InputContainer:
    with _sentences(path):
        # With `file:` before it, no name is taken for an address (concat:..., http:...).
        return av.open(f"file:{path}", options=_ALONE | {"max_pixels": str(MOST_PIXELS)}, metadata_errors="replace")


def _best(path: Path, container: av.container.InputContainer, notes: list[str] | None) -> VideoStream:
    """Select the best video stream by the container's own rules: the default one, then the larger one."""
    if not container.streams.video:
        raise DidError(f"The video {path} has no pictures in it; replace the file.")
    found = [stream for stream in container.streams.video if not stream.disposition & _PICTURE]
    if not found:
        raise DidError(f"The video {path} holds still pictures alone, such as cover art; {CONVERT}.")
    with _sentences(path):
        best = container.streams.best("video")
    # The container may prefer a picture that is marked as default.
    index = best.index if best is not None else -1
    chosen = next((stream for stream in found if stream.index == index), found[0])
    if chosen.codec_context is None:
        raise DidError(f"The video {path} does not decode (its codec is not known); replace the file.")
    if notes is not None and len(found) > 1:
        notes.append(f"of its {len(found)} video streams the best counts, number {chosen.index}")
    return chosen


def _moves(path: Path, index: int) -> bool:
    """Return whether the stream has a second frame."""
    with _container(path) as container, _sentences(path):
        packets = (packet for packet in container.demux(container.streams[index]) if packet.size)
        return len(list(islice(packets, 2))) > 1


def holds_heif(path: Path) -> bool:
    """Return whether a file is a HEIC or AVIF, by its content; FFmpeg would show its parts as videos."""
    major = ""
    boxes: set[str] = set()
    inside: set[str] = set()
    try:
        with path.open("rb") as file:
            start, end = 0, path.stat().st_size
            for _ in range(_MOST_BOXES):
                kind, body, after = _box(file, start, end)
                boxes.add(kind)
                if kind == "ftyp" and not major:
                    major = file.read(4).decode("latin-1")
                elif kind == "meta":
                    at = body + 4  # version and flags
                    while at < after:
                        child, _, at = _box(file, at, after)
                        inside.add(child)
                start = after
    except (EOFError, OSError):
        pass
    # A file that says it is something else has a `meta` box with the properties of pictures in it, or no `moov` box, so
    # that there is nothing but pictures.
    return major in _PICTURE_BRANDS or "iprp" in inside or ("meta" in boxes and "moov" not in boxes)


def _box(file: BinaryIO, start: int, end: int) -> tuple[str, int, int]:
    """Return the kind of the box at `start`, the start of its content, and the start of the next box.

    The file is positioned at the content.

    Raises:
        EOFError: there is none.
    """
    if start + 8 > end:
        raise EOFError
    file.seek(start)
    head = file.read(8)
    if len(head) < 8:
        raise EOFError
    size, kind = struct.unpack(">I4s", head)
    body = start + 8
    if size == 1:
        large = file.read(8)
        if len(large) < 8:
            raise EOFError
        size, body = struct.unpack(">Q", large)[0], start + 16
    after = end if size == 0 else start + size
    if after < body:
        raise EOFError
    return kind.decode("latin-1"), body, after


def _check_pixels(path: Path, what: str, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise DidError(
            f"The {what} {path} is too large: {width}×{height} are more than {MOST_PIXELS / 1e6:.0f} million pixels; "
            "make it smaller."
        )


def _decode(
    path: Path, wanted: Container[int] | None = None, notes: list[str] | None = None
) -> Iterator[av.VideoFrame]:
    """Yield every frame in the order of display; if time stamps are given, at least the frames that they need."""
    with _open(path, notes) as (container, stream):
        # Videos are decoded in parallel, one a process: threads within one would only compete.
        stream.codec_context.thread_count = 1
        packets = 0
        with _sentences(path):
            for packet in container.demux(stream):
                packets += packet.size > 0
                if wanted is not None:
                    # Frames that no other one refers to are not decoded unless they are wanted themselves.
                    needed = packet.pts is None or packet.pts in wanted
                    stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise DidError(f"The video {path} does not decode (a damaged frame); replace the file.")
                    yield frame
        _check_end(path, container, stream, packets)


def _check_end(path: Path, container: av.container.InputContainer, stream: VideoStream, packets: int) -> None:
    """Check that the file contains all packets that its index lists; fewer mean that its end is cut off."""
    declared = stream.frames
    if "mp4" in container.format.name and packets < declared:
        raise DidError(f"The video {path} ends early: {packets} of its {declared} frames are there; replace the file.")


@contextlib.contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except DidError:
        raise
    except Exception as error:  # A damaged file makes decoders raise anything, MemoryError included.
        raise DidError(f"The video {path} does not decode ({_reason(error)}); replace the file.") from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0].rstrip(".").lower()


def read_image(path: str | Path, notes: list[str] | None = None) -> np.ndarray:
    """Read an image file as an RGB uint8 array (H, W, 3), upright as its EXIF says.

    Of an animation, the first picture is read.

    Integers of more than eight bits are scaled to eight; see `as_rgb`. What is transparent is laid over white, as most
    viewers show it: the colours that lie under full transparency were never meant to be seen. CMYK and palettes become
    RGB.

    Args:
        path: an image file.
        notes: gets a note if the file has several pictures.

    Raises:
        DidError: If there is no such file, it is none of `PICTURES`, it has more than `MOST_PIXELS`, it is damaged, or
            its pixels are floats.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise DidError(f"There is no image {path}.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what Pillow warns, the limit of pixels refuses the worst.
            with Image.open(path, formats=PICTURES) as image:
                _check_pixels(path, "image", *image.size)
                # The further pictures of a JPEG are a preview or a map of depth.
                if notes is not None and image.format in _ANIMATED and getattr(image, "is_animated", False):
                    notes.append("of its several pictures the first counts")
                return as_rgb(ImageOps.exif_transpose(image), path)
    except DidError:
        raise
    except Image.DecompressionBombError as error:
        most = f"{MOST_PIXELS / 1e6:.0f} million pixels"
        raise DidError(f"The image {path} is too large: it has more than {most}; make it smaller.") from error
    except UnidentifiedImageError as error:
        if holds_heif(path):
            raise DidError(f"The image {path} is a HEIC or AVIF picture, which cannot be read; {CONVERT}.") from error
        kinds = ", ".join(PICTURES)
        raise DidError(f"The image {path} cannot be read (it is none of {kinds}); replace the file.") from error
    except Exception as error:  # A damaged file makes decoders raise anything, MemoryError included.
        raise DidError(f"The image {path} cannot be read ({_reason(error)}); replace the file.") from error


def as_rgb(image: Image.Image, name: str | Path = "in memory") -> np.ndarray:
    """Return a Pillow image of any mode as an RGB uint8 array (H, W, 3); see `read_image`.

    Integers of more than 8 bits say by their values what is white: up to 255 they are eight bits in a wider type, as
    programs for measurements write them, and up to 65535 sixteen.

    Raises:
        DidError: If its pixels are floats, or integers below 0 or above 65535, whose white is not known.
    """
    if image.mode.startswith("I;16") or image.mode == "I":
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise DidError(f"The image {name} has 32 bits a channel; save it with 8 or 16.")
        image = Image.fromarray(np.round(deep if deep.max() < 256 else deep / 257).astype(np.uint8))
    elif image.mode == "F":
        raise DidError(f"The image {name} has floats for pixels; save it with 8 or 16 bits a channel.")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
