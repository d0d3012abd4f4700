"""Inputs that mean harm, or look as if: made on the spot from drawn faces, the same ones for the same seed."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from PIL import Image, features
from PIL.Image import Transpose as Turn

from did.standin.drawn import draw

Rng = np.random.Generator
PICTURES = {
    "png": {}, "jpg": {"quality": 90}, "webp": {"quality": 80}, "bmp": {}, "tif": {"compression": "tiff_lzw"},
    "gif": {},
}  # fmt: skip
#: Further containers: format and codec.
MORE = {
    "wmv": ("asf", "wmv2"), "flv": ("flv", "flv"), "mpg": ("vob", "mpeg2video"), "ts": ("mpegts", "libx264"),
    "3gp": ("3gp", "libx264"), "ogv": ("ogg", "libvpx"), "asf": ("asf", "libx264"),
}  # fmt: skip
CONTAINERS = {"mp4": "libx264", "mkv": "libx264", "avi": "mpeg4", "webm": "libvpx-vp9", "mov": "mjpeg"}
SUFFIXES = [*PICTURES, *CONTAINERS]
# The inverse of what each value of EXIF's orientation asks for.
BACK = {2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE, 6: Turn.ROTATE_90,
        7: Turn.TRANSVERSE, 8: Turn.ROTATE_270}  # fmt: skip


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes = b"", extra: bytes = b"", depth: int = 8, colour: int = 0) -> bytes:
    """A PNG that claims a size, with any compressed rows and further chunks."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zeros, compressed."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(bytes(count & 0xFFFFF)), packer.flush()])


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def clip(frames: list[np.ndarray], kind: str, codec: str, folder: Path, form: str | None = None) -> bytes:
    file = folder / f"clip.{kind}"
    with av.open(str(file), "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    content = file.read_bytes()
    file.unlink()
    return content


def clips(videos: list[tuple[list[np.ndarray], bool]], kind: str, folder: Path, cover: bytes = b"") -> bytes:
    """A container of several videos, each of its frames and marked as the default or not, and an attached JPEG."""
    file = folder / f"clips.{kind}"
    with av.open(str(file), "w") as container:
        if cover:
            container.add_attachment("cover.jpg", "image/jpeg", cover)
        streams = []
        for frames, default in videos:
            stream = container.add_stream("libvpx" if kind == "webm" else "libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
            stream.disposition = Disposition.default if default else Disposition(0)
            streams.append((stream, frames))
        for number in range(max(len(frames) for frames, _ in videos)):
            for stream, frames in streams:
                if number < len(frames):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frames[number], format="rgb24")))
        for stream, _ in streams:
            container.mux(stream.encode())
    content = file.read_bytes()
    file.unlink()
    return content


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of an ISO file."""
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def full(kind: bytes, *content: bytes, version: int = 0) -> bytes:
    """A box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24), *content)


def handler(kind: bytes) -> bytes:
    return full(b"hdlr", bytes(4), kind, bytes(12), b"\0")


def with_cover(mp4: bytes, cover: bytes, first: bool) -> bytes:
    """An MP4 whose index lies at its end, with a JPEG for its cover: before its tracks, so that FFmpeg takes it for the
    first stream, or after them."""
    art = box(b"covr", box(b"data", struct.pack(">II", 13, 0), cover))
    tags = box(b"udta", full(b"meta", handler(b"mdir"), box(b"ilst", art)))
    start = mp4.rindex(b"moov") - 4
    size = struct.unpack(">I", mp4[start : start + 4])[0]
    assert start + size == len(mp4)
    at = mp4.index(b"trak", start) - 4 if first else len(mp4)
    return mp4[:start] + struct.pack(">I", size + len(tags)) + mp4[start + 4 : at] + tags + mp4[at:]


def heic(tiles: list[np.ndarray], columns: int = 1) -> bytes:
    """A HEIC as phones write it: a grid of HEVC tiles, RGB (h, w, 3) of one size, row by row."""
    height, width = tiles[0].shape[:2]
    coded, setup = [], b""
    for tile in tiles:
        stream = io.BytesIO()
        with av.open(stream, "w", format="mp4") as container:
            track = container.add_stream("libx265", rate=25)
            track.width, track.height, track.pix_fmt = width, height, "yuv420p"
            track.options = {"x265-params": "log-level=none:bframes=0:keyint=1"}
            container.mux(track.encode(av.VideoFrame.from_ndarray(tile, format="rgb24")))
            container.mux(track.encode())
        stream.seek(0)
        with av.open(stream) as container:
            setup = bytes(container.streams.video[0].codec_context.extradata)
            coded += [bytes(packet) for packet in container.demux(video=0) if packet.size]
    rows, grid = len(tiles) // columns, len(tiles) + 1
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, columns * width, rows * height)
    entries = [full(b"infe", struct.pack(">HH", n, 0), b"hvc1\0", version=2) for n in range(1, grid)]
    entries.append(full(b"infe", struct.pack(">HH", grid, 0), b"grid\0", version=2))
    sizes = [(width, height), (columns * width, rows * height)]
    properties = [box(b"hvcC", setup), *(full(b"ispe", struct.pack(">II", *size)) for size in sizes)]
    uses = [struct.pack(">HBBB", n, 2, 0x81, 2) for n in range(1, grid)] + [struct.pack(">HBB", grid, 1, 3)]

    def meta(start: int) -> bytes:
        places = []
        for number, content in enumerate([*coded, layout], 1):
            places.append(struct.pack(">HHHII", number, 0, 1, start, len(content)))
            start += len(content)
        return full(
            b"meta",
            handler(b"pict"),
            full(b"pitm", struct.pack(">H", grid)),
            full(b"iloc", b"\x44\0", struct.pack(">H", len(places)), *places),
            full(b"iinf", struct.pack(">H", len(entries)), *entries),
            full(b"iref", box(b"dimg", struct.pack(f">HH{len(tiles)}H", grid, len(tiles), *range(1, grid)))),
            box(b"iprp", box(b"ipco", *properties), full(b"ipma", struct.pack(">I", len(uses)), *uses)),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *coded, layout)


class Maker:
    """Makes inputs in a folder.

    The right picture of each one is a face of 192×192 pixels. Whatever else is in it, such as a cover, another video or
    another tile, is a mirrored face of another size, so that an answer shows which picture it is from.

    Attributes:
        sound: name of a sound file's suffix -> its content.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.face = Image.fromarray(draw(np.random.default_rng(seed)).image).resize((192, 192))
        self.frames = frames = [np.roll(np.asarray(self.face), shift, 1) for shift in range(5)]
        self.other = self.face.transpose(Turn.FLIP_LEFT_RIGHT).resize((256, 256))
        tile = np.asarray(self.other)
        self.photos = {"heic": heic([tile] * 4, 2), "single-heic": heic([tile])}
        if features.check("avif"):
            self.photos["avif"] = saved(self.other, "AVIF")
            self.photos["several-avif"] = saved(self.other, "AVIF", save_all=True, append_images=[self.other])
        kinds = {"jpg": "JPEG", "tif": "TIFF"}
        self.sound = {s: saved(self.face, kinds.get(s, s.upper()), **o) for s, o in PICTURES.items()}
        self.sound |= {s: clip(frames, s, codec, folder) for s, codec in CONTAINERS.items()}

    def write(self, name: str | bytes, content: bytes) -> Path:
        path = os.path.join(os.fsencode(self.folder), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(content)
        return Path(os.fsdecode(path))

    # --- damage, any number of times ---

    def random_bytes(self) -> tuple[str, bytes]:
        return self._any(), self.rng.bytes(int(self.rng.integers(1, 20_000)))

    def truncated(self) -> tuple[str, bytes]:
        suffix = self._any()
        content = self.sound[suffix]
        return suffix, content[: int(self.rng.integers(1, len(content)))]

    def flipped(self) -> tuple[str, bytes]:
        suffix = self._any()
        content = bytearray(self.sound[suffix])
        near = len(content) if self.rng.random() < 0.5 else min(200, len(content))  # half of them in the header
        for at in self.rng.integers(0, near, int(self.rng.integers(1, 40))):
            content[at] ^= 1 << int(self.rng.integers(0, 8))
        return suffix, bytes(content)

    def overwritten(self) -> tuple[str, bytes]:
        suffix = self._any()
        content = bytearray(self.sound[suffix])
        at = int(self.rng.integers(0, len(content)))
        content[at : at + 64] = bytes([int(self.rng.choice([0, 127, 255]))]) * 64
        return suffix, bytes(content)

    def misnamed(self) -> tuple[str, bytes]:
        return self._any(), self.sound[self._any()]

    def spliced(self) -> tuple[str, bytes]:
        suffix, other = self._any(), self._any()
        content = self.sound[suffix]
        return suffix, content[: len(content) // 2] + self.sound[other][len(self.sound[other]) // 2 :]

    def packed(self) -> tuple[str, bytes]:
        """A picture beside a video, or in place of one, with a few bytes of its head or its end changed."""
        covers = [with_cover(self.sound["mp4"], saved(self.other, "JPEG"), first) for first in (True, False)]
        # Of the last kind, with another head, the rest is a video.
        contents = [*covers, *(content for name, content in self.photos.items() if name != "several-avif")]
        content = bytearray(contents[int(self.rng.integers(len(contents)))])
        near = min(len(content), 1000)
        for at in self.rng.integers(-near, near, int(self.rng.integers(1, 6))):
            content[at] ^= 1 << int(self.rng.integers(0, 8))
        return str(self.rng.choice(["mp4", "mov", "m4v"])), bytes(content)

    def _any(self) -> str:
        return str(self.rng.choice(SUFFIXES))

    DAMAGE: tuple[Callable[[Maker], tuple[str, bytes]], ...] = (
        random_bytes, truncated, flipped, flipped, overwritten, misnamed, spliced, packed,
    )  # fmt: skip

    # --- pictures that are unusual and sound: they are scored ---

    def unusual(self) -> Iterator[tuple[str, bytes]]:
        face, gray = self.face, self.face.convert("L")
        yield "cmyk.jpg", saved(face.convert("CMYK"), "JPEG")
        yield "sixteen.png", saved(Image.fromarray(np.asarray(gray).astype(np.uint16) * 257), "PNG")
        yield "sixteen.tif", saved(Image.fromarray(np.asarray(gray).astype(np.uint16) * 257), "TIFF")
        yield "gray.png", saved(gray, "PNG")
        yield "palette.png", saved(face.quantize(200), "PNG")
        yield "progressive.jpg", saved(face, "JPEG", progressive=True)
        rgba = face.convert("RGBA")
        rgba.putalpha(230)
        yield "alpha.png", saved(rgba, "PNG")
        yield "alpha.webp", saved(rgba, "WEBP")
        yield "gray-alpha.png", saved(rgba.convert("LA"), "PNG")
        others = [Image.new("RGB", face.size, colour) for colour in ("red", "blue")]
        for suffix, kind in (("gif", "GIF"), ("webp", "WEBP"), ("apng", "PNG")):
            yield f"animated.{suffix}", saved(face, kind, save_all=True, append_images=others, duration=50)
        for turn in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = turn
            stored = face if turn == 1 else face.transpose(BACK[turn])  # so that it is upright as the EXIF says
            yield f"turned-{turn}.jpg", saved(stored, "JPEG", exif=exif)
        fifty = Image.new("RGB", (960, 480), "gray")
        for number in range(50):
            fifty.paste(face.resize((92, 92)), (96 * (number % 10), 96 * (number // 10)))
        yield "fifty.png", saved(fifty, "PNG")
        yield "trailing.jpg", self.sound["jpg"] + self.rng.bytes(5000)
        # H.264 has a size of its own, which is the one that counts.
        claimed = struct.pack(">HH", 192, 192), struct.pack(">HH", 65_535, 65_535)
        yield "claims.mp4", self.sound["mp4"].replace(*claimed)

    # --- videos that hold more than one thing: the right one is scored ---

    def several(self) -> Iterator[tuple[str, bytes]]:
        cover, others = saved(self.other, "JPEG"), [np.asarray(self.other)] * 5
        for name in ("mp4", "mov"):
            for first in (True, False):
                content = self.sound["mp4"] if name == "mp4" else clip(self.frames, "mov", "libx264", self.folder)
                yield f"cover-{'first' if first else 'last'}.{name}", with_cover(content, cover, first)
        for kind in ("mkv", "webm", "asf", "ts", "mov"):
            for place in (0, 1):
                # Where a container cannot say which is the default, the right one has more frames.
                videos = [(self.frames, True), (others[:2], False)]
                yield f"two-{place}.{kind}", clips(videos[:: 1 - 2 * place], kind, self.folder)
        yield "attached.mkv", clips([(self.frames, True)], "mkv", self.folder, cover)
        for suffix, (kind, codec) in MORE.items():
            yield f"plain.{suffix}", clip(self.frames, suffix, codec, self.folder, kind)

    # --- what has no face in it ---

    def faceless(self) -> Iterator[tuple[str, bytes]]:
        yield "black.png", saved(Image.new("RGB", (300, 200)), "PNG")
        yield "noise.png", saved(Image.fromarray(self.rng.integers(0, 255, (700, 700, 3), dtype=np.uint8)), "PNG")
        yield "ramp.jpg", saved(Image.linear_gradient("L"), "JPEG")
        yield "ribbon.png", saved(Image.new("L", (20, 30_000)), "PNG")
        yield "large.png", png(7900, 7900, zeros(7900 * 7901))
        grid = np.asarray(Image.new("RGB", (192, 192), "green"))
        yield "green.mp4", clip([grid] * 4, "mp4", "libx264", self.folder)

    # --- what is refused ---

    def refused(self) -> Iterator[tuple[str, bytes]]:
        for name, content in self.photos.items():
            brands = struct.unpack(">I", content[:4])[0]
            for brand in (b"isom", b"qt  "):
                head = struct.pack(">I4s4s", brands, b"ftyp", brand) + content[12:16] + b"mp41" * (brands // 4 - 4)
                yield f"{name}-as-{brand.strip().decode()}.mp4", head + content[brands:]
            yield f"{name}-without-brand.mov", content[:4] + b"free" + content[8:]
            for suffix in ("mp4", "png", "HEIC", "avif", "mkv"):
                yield f"{name}.{suffix}", content
        yield "cover-alone.mov", clip([np.asarray(self.face)], "mov", "mjpeg", self.folder)
        yield "claims.png", png(60_000, 60_000)
        yield "claims-more.png", png(2**31 - 1, 2**31 - 1)
        yield "bomb.png", png(20_000, 20_000, zeros(20_000 * 20_001))
        yield "bomb-1-bit.png", png(20_000, 20_000, zeros(20_000 * 2_501), depth=1)
        text = b"Comment\0\0" + zeros(300_000_000)
        yield "text-bomb.png", png(1, 1, zlib.compress(b"\0\0"), chunk(b"zTXt", text))
        gif = bytearray(self.sound["gif"])
        gif[6:10] = struct.pack("<HH", 65_535, 65_535)
        yield "claims.gif", bytes(gif)
        bmp = bytearray(self.sound["bmp"])
        bmp[18:26] = struct.pack("<ii", 40_000, 40_000)
        yield "claims.bmp", bytes(bmp)
        jpg = bytearray(self.sound["jpg"])
        at = jpg.index(b"\xff\xc0") + 5
        jpg[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
        yield "claims.jpg", bytes(jpg)
        tags = [(256, 100_000), (257, 100_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 100_000)]
        tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
        tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
        yield "claims.tif", tiff
        loop = bytearray(tiff)
        loop[-4:] = struct.pack("<I", 8)  # its next directory is itself
        yield "loop.tif", bytes(loop)
        # The canvas of an extended WebP: 16384 pixels a side, in 24 bits each.
        webp = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\0" * 2
        yield "claims.webp", b"RIFF" + struct.pack("<I", len(webp)) + webp
        yield "floats.tif", saved(Image.fromarray(np.zeros((64, 64), np.float32)), "TIFF")
        for suffix, kind in (("png", "PNG"), ("jpg", "JPEG"), ("gif", "GIF"), ("bmp", "BMP"), ("webp", "WEBP")):
            yield f"one.{suffix}", saved(Image.new("RGB", (1, 1)), kind)
        yield "nineteen.png", saved(self.face.resize((19, 19)), "PNG")
        yield "thread.png", saved(Image.new("L", (1, 5000)), "PNG")
        yield "tiny.mp4", clip([np.zeros((16, 16, 3), np.uint8)] * 3, "mp4", "libx264", self.folder)
        for suffix in ("png", "jpg", "mp4", "mkv"):
            yield f"empty.{suffix}", b""
        mp4 = self.sound["mp4"]
        yield "no-index.mp4", mp4[: mp4.rindex(b"moov") - 4]
        for name, text in self.texts().items():
            for suffix in ("png", "jpg", "mp4", "mkv"):
                yield f"{name}.{suffix}", text

    def texts(self) -> dict[str, bytes]:
        """Scripts and lists that make a careless reader open other files, hosts or programs."""
        target = os.fsencode(self.folder) + b"/" + b"target.mp4"
        Path(os.fsdecode(target)).write_bytes(self.sound["mp4"])
        return {
            "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://" + target + b"\n#EXT-X-ENDLIST\n",
            "concat": b"ffconcat version 1.0\nfile '" + target + b"'\n",
            "dash": b'<?xml version="1.0"?><MPD type="static"><Period><BaseURL>'
            + target
            + b"</BaseURL></Period></MPD>",
            "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
            "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://' + target + b'"/></svg>',
            "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(" + target + b") run\nshowpage\n",
            "pickle": b"cos\nsystem\n(S'true'\ntR.",
            "zip": b"PK\x03\x04" + bytes(60),
        }

    # --- what the file system has in store ---

    def odd_files(self) -> Iterator[tuple[Path, str]]:
        """Paths, and `scored` or `refused`."""
        folder = self.folder
        (folder / "folder.png").mkdir()
        for name, target in (("again", "."), ("up", ".."), ("root", "/")):  # Folders within folders without end.
            (folder / "folder.png" / name).symlink_to(target)
        yield folder / "folder.png", "refused"
        os.mkfifo(folder / "pipe.png")
        os.mkfifo(folder / "pipe.mp4")
        yield folder / "pipe.png", "refused"
        yield folder / "pipe.mp4", "refused"
        (folder / "loop.png").symlink_to("loop.png")
        (folder / "nowhere.png").symlink_to("not there")
        yield folder / "loop.png", "refused"
        yield folder / "nowhere.png", "refused"
        yield folder / "missing.png", "refused"
        locked = self.write("locked.png", self.sound["png"])
        locked.chmod(0)
        yield locked, "scored" if os.access(locked, os.R_OK) else "refused"
        yield self.write(b"caf\xe9.png", self.sound["png"]), "scored"
        yield self.write(b"caf\xe9.mp4", self.sound["mp4"]), "scored"
        yield self.write("line\nbreak\x1b[31m\u202e.png", self.sound["png"]), "scored"
        yield self.write("concat:a|b.mp4", self.sound["mp4"]), "scored"
        yield self.write("%d{}'\"<&>.mp4", self.sound["mp4"]), "scored"
        yield self.write("l" * 251 + ".png", self.sound["png"]), "scored"
        yield Path("/dev/zero"), "refused"
        outside = folder.with_name(f"{folder.name}-outside")
        outside.mkdir()
        (outside / "face.png").write_bytes(self.sound["png"])
        for name, target, status in (
            ("outside.png", outside / "face.png", "scored"),
            ("outside.mp4", folder / "target.mp4", "scored"),
            ("round.mp4", "there/../round.mp4", "refused"),
            ("zero.mp4", "/dev/zero", "refused"),
            ("text.png", "/etc/passwd", "refused"),
        ):
            (folder / name).symlink_to(target)
            yield folder / name, status
        for name in ("-rf.png", "--json.png", " .png", "a;b&c|d.png", "$(touch x)`.png", "*?[a].png", "..png", "~.png"):
            yield self.write(name, self.sound["png"]), "scored"
        for name in (b"\xff\xfe.mp4", b"\xed\xa0\x80.mkv", b"a\rb\tc\x07.mp4", "e\u0301\u200b\ufeff.mp4".encode()):
            yield self.write(name, self.sound[os.fsdecode(name)[-3:]]), "scored"

    def once(self) -> Iterator[tuple[Path, str]]:
        """Everything that is made once, with the status that it must have."""
        kinds = {self.unusual: "scored", self.several: "scored", self.faceless: "no face", self.refused: "refused"}
        for kind, status in kinds.items():
            for name, content in kind():
                yield self.write(f"{status.replace(' ', '-')}-{name}", content), status
        yield from self.odd_files()

    def damaged(self, count: int) -> Iterator[Path]:
        """So many damaged files."""
        for number in range(count):
            kind = self.DAMAGE[number % len(self.DAMAGE)]
            suffix, content = kind(self)
            yield self.write(f"{kind.__name__}-{number:04d}.{suffix}", content)
