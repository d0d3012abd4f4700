"""Clips come back frame for frame, or not at all."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from hostile import heic, with_cover
from PIL import Image, features

from did.data import layout, video
from did.data.prepare import prepare
from did.data.table import make_table
from did.errors import DidError


def numbered(number: int, size: int = 64) -> np.ndarray:
    """A picture that holds its number as eight black or white bars, which H.264 cannot blur away."""
    bars = [255 * (number >> bit & 1) for bit in range(8)]
    return np.repeat(np.tile(np.repeat(np.uint8(bars), size // 8), (size, 1))[..., None], 3, axis=2)


def number_in(image: np.ndarray) -> int:
    bars = image[..., 1].mean(axis=0).reshape(8, -1).mean(axis=1) > 127
    return int(sum(1 << bit for bit in range(8) if bars[bit]))


def encode(path: Path, count: int, fmt: str = "mp4", **options: str) -> Path:
    """A clip written without did, with options of the container."""
    with av.open(str(path), "w", format=fmt, options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def clip(tmp_path) -> Path:
    video.write_clip(tmp_path / "clip.mp4", (numbered(n) for n in range(50)))
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize(
    ("total", "count", "indices"),
    [
        (10, 5, [1, 3, 5, 7, 9]),
        (10, 3, [1, 5, 8]),
        (100, 1, [50]),
        (3, 3, [0, 1, 2]),
        (2, 8, [0, 1]),
        (0, 4, []),
        (4, 3, [0, 2, 3]),
    ],
)
def test_evenly_spaced(total, count, indices):
    assert video.evenly_spaced(total, count) == indices


def test_evenly_spaced_never_repeats_and_stays_even():
    for total in range(1, 200):
        for count in (1, 2, 7, 31, 32):
            indices = video.evenly_spaced(total, count)
            assert len(set(indices)) == len(indices) == min(total, count)
            assert 0 <= indices[0] <= indices[-1] < total
            steps = np.diff(indices)
            assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_no_frames_asked_for():
    with pytest.raises(DidError, match="number of frames is 0"):
        video.evenly_spaced(10, 0)


@pytest.mark.parametrize("count", [1, 7, 32, 50, 80])
def test_frames_come_back_with_their_numbers(clip, count):
    frames = video.read_frames(clip, count)
    assert [number for number, _ in frames] == video.evenly_spaced(50, count)
    assert [number_in(image) for _, image in frames] == [number for number, _ in frames]
    assert {(image.shape, image.dtype.name) for _, image in frames} == {((64, 64, 3), "uint8")}


def jpeg(colour: str, size: int = 64) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("first", [True, False])
def test_cover_art_is_no_video(clip, first):
    right = video.read_frames(clip, 7)
    clip.write_bytes(with_cover(clip.read_bytes(), jpeg("red"), first))
    with av.open(str(clip)) as container:
        assert [stream.codec_context.name for stream in container.streams.video].index("mjpeg") == (not first)
    frames = video.read_frames(clip, 7)
    assert [n for n, _ in frames] == [n for n, _ in right]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(frames, right, strict=True))
    assert video.count_frames(clip) == 50 and len(list(video.every_frame(clip))) == 50
    assert notes(clip, "video") == ()


def test_the_picture_that_is_attached_to_a_matroska_is_no_video(tmp_path):
    path = tmp_path / "c.mkv"
    with av.open(str(path), "w") as container:
        container.add_attachment("cover.jpg", "image/jpeg", jpeg("red"))
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        container.mux(stream.encode())
    assert [number_in(image) for _, image in video.read_frames(path, 9)] == list(range(6))


def test_sound_with_a_cover_has_no_video(tmp_path):
    path = tmp_path / "c.m4v"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    path.write_bytes(with_cover(path.read_bytes(), jpeg("red"), True))
    refuse(path, "holds still pictures alone, such as cover art; convert to JPEG or PNG")


@pytest.mark.parametrize(("name", "codec", "pixels"), [("c.mov", "mjpeg", "yuvj420p"), ("p.mov", "png", "rgb24")])
def test_a_single_picture_in_a_container_is_no_video(tmp_path, name, codec, pixels):
    for count in (1, 2):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = pixels
            for number in range(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
            container.mux(stream.encode())
        if count == 1:
            refuse(tmp_path / name, f"is a single picture \\({codec}\\); convert to JPEG or PNG")
    assert video.count_frames(tmp_path / name) == 2


def test_of_several_videos_the_best_one_counts(tmp_path):
    """Neither the first nor the largest: the one that the file marks as its default."""
    path = tmp_path / "c.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for size, disposition in ((128, 0), (64, Disposition.default), (256, 0)):
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = size
            stream.pix_fmt, stream.disposition = "yuv420p", disposition
            streams.append((stream, size))
        for number in range(6):
            for stream, size in streams:
                picture = numbered(number if size == 64 else 255, size)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream, _ in streams:
            container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert [bool(stream.disposition & 1) for stream in container.streams.video] == [False, True, False]
    frames = video.read_frames(path, 6)
    assert [(number_in(image), image.shape) for _, image in frames] == [(n, (64, 64, 3)) for n in range(6)]
    assert video.count_frames(path) == 6
    assert notes(path, "video") == ("of its 3 video streams the best counts, number 1",)


def avif(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(numbered(5)).save(stream, "AVIF", **options)
    return stream.getvalue()


PHOTOS = {"HEIC": lambda: heic([numbered(5)] * 4)}
if features.check("avif"):
    PHOTOS |= {"AVIF": avif, "AVIF with several": lambda: avif(save_all=True, append_images=[Image.new("L", (64, 64))])}


@pytest.mark.parametrize("kind", PHOTOS)
def test_a_photograph_is_no_video_whatever_it_says_of_itself(tmp_path, kind):
    """FFmpeg reads each of these as a video, of one tile or of all pictures."""
    photo = PHOTOS[kind]()
    brands = struct.unpack(">I", photo[:4])[0]
    other = struct.pack(">I4s", brands, b"ftyp") + b"isom" + photo[12:16] + b"iso2" * (brands // 4 - 4) + photo[brands:]
    for content in (photo, other, photo[:4] + b"free" + photo[8:]):
        for name in ("a.mp4", "a.HEIC", "a.png"):
            path = tmp_path / name
            path.write_bytes(content)
            with av.open(str(path)) as container:
                assert container.streams.video
            refuse(path, "is a HEIC or AVIF picture, which cannot be read; convert to JPEG or PNG")
            with pytest.raises(
                DidError, match="is a HEIC or AVIF picture, which cannot be read; convert to JPEG or PNG"
            ):
                video.read_image(path)


def test_no_crop_is_cut_from_a_cover_or_from_a_tile(tmp_path, draw_face):
    """A crop of a cover would have the video's label."""
    root, rows = tmp_path / "root", []
    for label, method in enumerate(("real", "swap")):
        for name in ("clip.mp4", "photo.mp4"):
            path = root / method / name
            video.write_clip(path, [draw_face(128)] * 3)
            sound = path.read_bytes()
            other = draw_face(128, skin=0.5)
            art = io.BytesIO()
            Image.fromarray(other).save(art, "JPEG")
            path.write_bytes(with_cover(sound, art.getvalue(), True) if name == "clip.mp4" else heic([other]))
            video.write_clip(root / "plain" / f"{method}.mp4", [draw_face(128)] * 3)
            rows.append(layout.row(root, path, "own", method, label, "train", f"{method}/{path.stem}", method))
        plain = root / "plain" / f"{method}.mp4"
        rows.append(layout.row(root, plain, "own", method, label, "train", f"plain/{method}", method))
    store = prepare(make_table(rows), root, tmp_path / "store", frames=3, size=32, workers=1, progress=False)
    manifest = store.manifest
    assert sorted(set(manifest.path)) == ["plain/real.mp4", "plain/swap.mp4", "real/clip.mp4", "swap/clip.mp4"]
    assert manifest.groupby("path").size().tolist() == [3] * 4
    assert manifest.groupby("frame").sha256.nunique().tolist() == [1] * 3  # With and without a cover the same crops.
    assert sorted(store.quarantine.path) == ["real/photo.mp4", "swap/photo.mp4"]
    assert store.quarantine.reason.str.contains("is a HEIC or AVIF picture, .*; convert to JPEG or PNG").all()


def test_a_video_is_no_photograph(clip, tmp_path):
    assert not video.holds_heif(clip)
    rng = np.random.default_rng(0)
    for content in (b"", b"\0" * 100, *(rng.bytes(n) for n in range(1, 60)), heic([numbered(5)])[:60]):
        (tmp_path / "x").write_bytes(content)
        assert video.holds_heif(tmp_path / "x") == (content[4:8] == b"ftyp")


def test_frames_of_changing_size(tmp_path):
    """Each one comes in its own size, with its own number."""
    path = tmp_path / "c.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        other = av.CodecContext.create("libvpx", "w")
        other.width = other.height = 48
        other.pix_fmt, other.time_base = "yuv420p", Fraction(1, 25)
        for number in range(12):
            size = 64 if number < 6 else 48
            frame = av.VideoFrame.from_ndarray(numbered(number, size), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in (stream.codec_context if size == 64 else other).encode(frame):
                packet.stream = stream
                container.mux(packet)
        for left in (stream.codec_context, other):
            for packet in left.encode(None):
                packet.stream = stream
                container.mux(packet)
    sizes = [64] * 6 + [48] * 6
    frames = video.read_frames(path, 12)
    assert [(number_in(image), image.shape) for _, image in frames] == [(n, (s, s, 3)) for n, s in enumerate(sizes)]
    some = video.read_frames(path, 5)
    assert [(n, number_in(image), len(image)) for n, image in some] == [
        (n, n, sizes[n]) for n in video.evenly_spaced(12, 5)
    ]


def test_channels_are_red_green_blue(tmp_path):
    colour = np.zeros((32, 48, 3), np.uint8)
    colour[:] = (200, 90, 30)
    video.write_clip(tmp_path / "c.mp4", [colour])
    ((_, image),) = video.read_frames(tmp_path / "c.mp4", 1)
    assert image.shape == (32, 48, 3)
    assert np.abs(image.mean(axis=(0, 1)) - (200, 90, 30)).max() < 4


def test_count_frames(clip):
    assert video.count_frames(clip) == 50


# Each codec orders, refers to and drops frames in its own way: every one of the 50 must come back as itself.
KINDS = {
    "H.264": ("c.mp4", "mp4", "libx264", "yuv420p", {}),
    "H.264 with long chains of B-frames": ("c.mp4", "mp4", "libx264", "yuv420p", {"bf": "8", "b-pyramid": "normal"}),
    "H.264 with a key frame every 7": ("c.mkv", "matroska", "libx264", "yuv420p", {"g": "7"}),
    "H.264 at 10 bits": ("c.mp4", "mp4", "libx264", "yuv420p10le", {}),
    "H.265": ("c.mp4", "mp4", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
    "VP9": ("c.webm", "webm", "libvpx-vp9", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
    "MPEG-4 in AVI": ("c.avi", "avi", "mpeg4", "yuv420p", {"bf": "2"}),
    "Motion JPEG": ("c.mov", "mov", "mjpeg", "yuvj420p", {}),
    "H.264 without any time stamp": ("c.h264", "h264", "libx264", "yuv420p", {}),
    "MPEG transport stream": ("c.ts", "mpegts", "libx264", "yuv420p", {}),
    "MPEG programme stream": ("c.mpg", "vob", "mpeg2video", "yuv420p", {}),
    "MPEG-2 without a container": ("c.mpg", "mpeg2video", "mpeg2video", "yuv420p", {}),
    "WMV": ("c.wmv", "asf", "wmv2", "yuv420p", {}),
    "H.264 in ASF, with time stamps in the order of the file": ("c.asf", "asf", "libx264", "yuv420p", {}),
    "Flash video": ("c.flv", "flv", "flv", "yuv420p", {}),
    "3GP": ("c.3gp", "3gp", "libx264", "yuv420p", {}),
    "VP8 in Ogg": ("c.ogv", "ogg", "libvpx", "yuv420p", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_video_gives_the_frames_asked_for(tmp_path, kind):
    name, fmt, codec, pixels, options = KINDS[kind]
    with av.open(str(tmp_path / name), "w", format=fmt) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.options = pixels, options
        for number in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        container.mux(stream.encode())
    everything = video.read_frames(tmp_path / name, 50)
    assert [number_in(image) for _, image in everything] == list(range(50))
    for count in (1, 7, 16):
        frames = video.read_frames(tmp_path / name, count)
        assert [n for n, _ in frames] == video.evenly_spaced(50, count)
        assert all(np.array_equal(image, everything[n][1]) for n, image in frames)


def test_only_what_is_needed_is_decoded(clip, monkeypatch):
    decoded = []
    decode = video._decode

    def counting(*arguments):
        for frame in decode(*arguments):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video, "_decode", counting)
    assert [n for n, _ in video.read_frames(clip, 2)] == [12, 37]
    assert 2 <= len(decoded) < 30


@pytest.mark.parametrize("stamps", [None, [0, 1, 2]])
def test_where_time_stamps_do_not_tell_the_frames_are_counted(clip, stamps, monkeypatch):
    right = video.read_frames(clip, 7)
    monkeypatch.setattr(video, "_time_stamps", lambda *_: stamps)
    wrong = video.read_frames(clip, 7)
    assert [n for n, _ in wrong] == [n for n, _ in right]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(right, wrong, strict=True))


def test_a_variable_frame_rate(tmp_path):
    path = tmp_path / "c.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = 40 * number + 3 * number**2, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert [number_in(image) for _, image in video.read_frames(path, 4)] == video.evenly_spaced(30, 4)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_video_turned_by_its_metadata_comes_upright(tmp_path, degrees):
    """OpenCV, which turns such videos by itself, says what is upright."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :24] = 250  # a bright corner, at the top left of what was recorded
    path = tmp_path / "c.mp4"
    video.write_clip(path, [picture] * 3)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # the matrix of the track header, nine numbers of 16.16 and 2.30 bits
    c, s = (round(65536 * f(np.radians(degrees))) for f in (np.cos, np.sin))
    content[at : at + 36] = struct.pack(">9i", c, s, 0, -s, c, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    capture = cv2.VideoCapture(str(path))
    theirs = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB).astype(int)
    ours = video.read_frames(path, 1)[0][1].astype(int)
    assert ours.shape == theirs.shape == ((48, 64, 3) if degrees % 180 == 0 else (64, 48, 3))
    assert np.abs(ours - theirs).mean() < 3


def test_4k_frames_come_one_at_a_time(tmp_path):
    video.write_clip(tmp_path / "c.mp4", [np.full((2160, 3840, 3), 40 * n, np.uint8) for n in range(3)])
    frames = video.stream_frames(tmp_path / "c.mp4", 3)
    number, image = next(frames)
    assert (number, image.shape) == (0, (2160, 3840, 3))
    assert [n for n, _ in frames] == [1, 2]


def test_the_same_frames_give_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (12, 64, 64, 3), dtype=np.uint8)
    for name in "ab":
        video.write_clip(tmp_path / name, frames)
    video.write_clip(tmp_path / "coarse", frames, crf=40)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "coarse").stat().st_size < (tmp_path / "a").stat().st_size / 2


@pytest.mark.parametrize("size", [320, 352])
def test_the_same_bytes_at_widths_where_x264_reads_what_nobody_wrote(tmp_path, size):
    """With the macroblock tree one clip in three differs here; the pile of rubbish between them brings it out."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(0, 255, (400, 400, 3), dtype=np.uint8), (0, 0), 3)
    noise = rng.normal(0, 2, (6, size, size, 3))
    frames = [np.clip(cv2.resize(wall[k:380], (size, size)) + n, 0, 255).astype(np.uint8) for k, n in enumerate(noise)]

    def rubbish():
        for frame in frames:
            _ = [np.random.default_rng().integers(0, 255, n, dtype=np.uint8) for n in (1000, 20_000, 300_000)]
            yield frame

    clips = set()
    for _ in range(20):
        video.write_clip(tmp_path / "c.mp4", rubbish())
        clips.add((tmp_path / "c.mp4").read_bytes())
    assert len(clips) == 1


def test_frames_per_second(tmp_path):
    for fps in (25, 30, 29.97):
        video.write_clip(tmp_path / "c.mp4", [numbered(n) for n in range(3)], fps=fps)
        with av.open(str(tmp_path / "c.mp4")) as container:
            assert float(container.streams.video[0].average_rate) == pytest.approx(fps, rel=1e-3)


def failing():
    yield numbered(0)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("frames", "error", "match"),
    [
        ([], DidError, "has no frames"),
        ([np.zeros((31, 32, 3), np.uint8)], DidError, r"\(31, 32, 3\); H.264 takes"),
        ([np.zeros((32, 32), np.uint8)], DidError, r"\(32, 32\); H.264 takes"),
        ([numbered(0), numbered(0, 32)], DidError, r"frame of shape \(32, 32, 3\)"),
        ([numbered(0) / 255], DidError, "type float64"),
        (failing(), KeyboardInterrupt, None),
    ],
)
def test_no_half_written_clip_is_left(tmp_path, frames, error, match):
    with pytest.raises(error, match=match):
        video.write_clip(tmp_path / "c.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def notes(path: Path, kind: str) -> tuple[str, ...]:
    """What there is to say of a file, whichever way it is read."""
    if kind == "image":
        said: list[str] = []
        video.read_image(path, said)
        return tuple(said)
    some: list[str] = []
    every: list[str] = []
    list(video.stream_frames(path, 2, some))
    list(video.every_frame(path, every))
    assert some == every
    return tuple(some)


def refuse(path: Path, match: str) -> None:
    for read in (lambda: video.read_frames(path, 5), lambda: video.count_frames(path)):
        with pytest.raises(DidError, match=match) as caught:
            read()
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    refuse(tmp_path / "c.mp4", "There is no video")


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 100])
def test_an_empty_file_and_a_text(tmp_path, content):
    (tmp_path / "c.mp4").write_bytes(content)
    refuse(tmp_path / "c.mp4", "does not decode")


def test_a_clip_cut_off_before_its_index(clip):
    clip.write_bytes(clip.read_bytes()[:-100])
    refuse(clip, "does not decode|ends early")


def test_a_clip_cut_off_in_a_frame(tmp_path):
    path = encode(tmp_path / "c.mp4", 50, movflags="faststart")
    assert len(video.read_frames(path, 80)) == 50
    path.write_bytes(path.read_bytes()[:-30])
    refuse(path, "does not decode|ends early")


def test_a_clip_cut_off_between_two_frames(tmp_path):
    path = encode(tmp_path / "c.mp4", 50, movflags="faststart")
    with av.open(str(path)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: ends[19]])
    refuse(path, "ends early: 20 of its 50 frames")


def test_a_damaged_frame_is_not_concealed(tmp_path):
    """FFmpeg alone fills a damaged frame in from the one before and goes on."""
    path = tmp_path / "c.mp4"
    rng = np.random.default_rng(0)
    video.write_clip(path, rng.integers(0, 255, (30, 64, 64, 3), dtype=np.uint8))
    right = video.read_frames(path, 5)
    with av.open(str(path)) as container:
        packets = [(packet.pos + 40, packet.pos + packet.size) for packet in container.demux(video=0) if packet.size]
    sound, refused = path.read_bytes(), 0
    for start, end in packets:
        content = bytearray(sound)
        content[start:end] = bytes(end - start)
        path.write_bytes(content)
        with pytest.raises(DidError, match="does not decode"):
            video.count_frames(path)
        try:
            frames = video.read_frames(path, 5)
        except DidError:
            refused += 1
        else:  # A frame that none of the five needs.
            assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(frames, right, strict=True))
    assert refused >= 5


def test_a_codec_that_nobody_knows(clip):
    clip.write_bytes(clip.read_bytes().replace(b"avc1\0", b"zzzz\0").replace(b"avcC", b"zzzC"))
    refuse(clip, r"does not decode \(its codec is not known\)")


def test_a_file_with_sound_only(tmp_path):
    with av.open(str(tmp_path / "c.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    refuse(tmp_path / "c.mp4", "has no pictures")


def test_read_image(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert np.array_equal(video.read_image(tmp_path / "a.png"), picture)
    Image.fromarray(picture[..., 0]).save(tmp_path / "gray.png")
    assert video.read_image(tmp_path / "gray.png").shape == (20, 30, 3)
    with pytest.raises(DidError, match=r"There is no image .*b\.png"):
        video.read_image(tmp_path / "b.png")
    (tmp_path / "t.png").write_text("text")
    with pytest.raises(DidError, match=r"t\.png cannot be read"):
        video.read_image(tmp_path / "t.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    with pytest.raises(DidError, match=r"half\.png cannot be read"):
        video.read_image(tmp_path / "half.png")


def test_an_image_turned_by_its_metadata_comes_upright(tmp_path):
    picture = Image.fromarray(np.uint8(np.arange(6).reshape(2, 3)[..., None] * [40, 40, 40]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(video.read_image(tmp_path / "a.png"), np.rot90(np.array(picture), -1))


def test_an_image_of_too_many_pixels_is_refused_unread(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(video, "MOST_PIXELS", 9_999)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("was read"))
    with pytest.raises(DidError, match=r"a\.png is too large: 100×100 are more than"):
        video.read_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_999)  # Pillow's own limit, at twice this
    with pytest.raises(DidError, match=r"a\.png is too large: it has more than"):
        video.read_image(tmp_path / "a.png")


GRAYS = np.uint8(np.arange(12).reshape(3, 4) * 20)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    """Pillow alone would make every value above 255 white."""
    Image.fromarray(GRAYS.astype(np.uint16) * 257).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(video.read_image(tmp_path / f"a.{suffix}"), np.repeat(GRAYS[..., None], 3, 2))


def test_what_is_transparent_lies_over_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 51, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert video.read_image(tmp_path / "a.png")[0, :, 0].tolist() == [255, 204, 0]
    palette = Image.fromarray(np.uint8([[0, 1]]), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=0)
    assert video.read_image(tmp_path / "p.png")[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_cmyk_and_palettes_become_rgb(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(video.read_image(tmp_path / "a.jpg").astype(int) - (255, 0, 0)).max() < 4


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_picture(tmp_path, suffix):
    pictures = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    pictures[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pictures[1:], lossless=True)
    assert np.array_equal(video.read_image(tmp_path / f"a.{suffix}"), np.asarray(pictures[0]))
    assert notes(tmp_path / f"a.{suffix}", "image") == ("of its several pictures the first counts",)
    pictures[0].save(tmp_path / f"a.{suffix}")
    assert notes(tmp_path / f"a.{suffix}", "image") == ()


@pytest.mark.parametrize("kind", [np.int32, np.uint16])
def test_whole_numbers_of_up_to_255_are_eight_bits_in_whatever_type(tmp_path, kind):
    """Programs for measurements write such TIFFs; divided by 257 they would be black."""
    Image.fromarray(GRAYS.astype(kind)).save(tmp_path / "a.tif")
    assert np.array_equal(video.read_image(tmp_path / "a.tif"), np.repeat(GRAYS[..., None], 3, 2))
    Image.fromarray(GRAYS.astype(kind) * 257).save(tmp_path / "a.tif")
    assert np.array_equal(video.read_image(tmp_path / "a.tif"), np.repeat(GRAYS[..., None], 3, 2))


def test_floats_have_no_white(tmp_path):
    Image.fromarray(np.float32(GRAYS)).save(tmp_path / "a.tif")
    with pytest.raises(DidError, match=r"a\.tif has floats for pixels; save it"):
        video.read_image(tmp_path / "a.tif")
    Image.fromarray(np.int32(GRAYS) * 10**6).save(tmp_path / "i.tif")
    with pytest.raises(DidError, match=r"i\.tif has 32 bits a channel; save it"):
        video.read_image(tmp_path / "i.tif")


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO", "PCX", "TGA", "JPEG2000"])
def test_a_format_that_is_not_meant_is_refused_whatever_its_name(tmp_path, kind):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png", kind)
    with pytest.raises(DidError, match=r"a\.png cannot be read \(it is none of PNG, JPEG, "):
        video.read_image(tmp_path / "a.png")


@pytest.mark.parametrize("error", [MemoryError, RecursionError, OverflowError, struct.error, zlib.error, KeyError])
def test_whatever_a_decoder_raises_is_a_reason(tmp_path, clip, monkeypatch, error):
    def fails(*_, **__):
        raise error

    Image.new("L", (10, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", fails)
    with pytest.raises(DidError, match=rf"a\.png cannot be read \({error.__name__.lower()}\)"):
        video.read_image(tmp_path / "a.png")
    monkeypatch.setattr(video, "VideoReformatter", type("Failing", (), {"reformat": fails}))
    with pytest.raises(DidError, match=rf"clip\.mp4 does not decode \({error.__name__.lower()}\)"):
        video.read_frames(clip, 2)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 9 RTP/AVP 96\n",
    ],
    ids=["concat", "HLS", "DASH", "SDP"],
)
def test_a_playlist_under_a_videos_name_is_not_followed(clip, text, monkeypatch):
    clip.rename(clip.with_name("other.mp4"))
    clip.write_text(text)
    monkeypatch.chdir(clip.parent)
    refuse(clip, "does not decode")


def test_a_name_that_is_an_address_of_ffmpegs_is_a_name(clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    Path("concat:clip.mp4|clip.mp4").write_bytes(clip.read_bytes())
    assert video.count_frames("concat:clip.mp4|clip.mp4") == 50


def test_frames_of_too_many_pixels_are_refused(clip, monkeypatch):
    monkeypatch.setattr(video, "MOST_PIXELS", 64 * 64 - 1)
    refuse(clip, "is too large: 64×64 are more than")
    monkeypatch.setattr(video, "_check_pixels", lambda *_: None)  # The decoder has the limit too.
    refuse(clip, "does not decode")


def test_more_frames_than_memory_holds_are_refused(clip, monkeypatch):
    monkeypatch.setattr(video, "MOST_KEPT", 10 * 64 * 64 * 1.5)
    assert len(video.read_frames(clip, 10)) == 10
    with pytest.raises(DidError, match="is too large: 11 frames of 64×64 pixels take more than"):
        video.read_frames(clip, 11)
    monkeypatch.setattr(video, "_time_stamps", lambda *_: None)
    with pytest.raises(DidError, match="is too large: 11 frames of 64×64 pixels take more than"):
        video.read_frames(clip, 11)
    assert [n for n, _ in video.every_frame(clip)] == list(range(50))


def test_every_frame_is_the_same_as_when_asked_for(clip):
    for (n, image), (m, same) in zip(video.every_frame(clip), video.read_frames(clip, 50), strict=True):
        assert n == m and np.array_equal(image, same)
