"""Whatever a file does to its decoder, the next file is read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from did.data import reading, video
from did.data.reading import Reader
from did.errors import DidError


@pytest.fixture(scope="module")
def reader():
    with Reader(20) as one:
        yield one


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def clip(tmp_path) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
    video.write_clip(tmp_path / "c.mp4", frames)
    return tmp_path / "c.mp4"


def test_the_child_reads_what_this_process_reads(reader, picture, clip):
    assert np.array_equal(reader.image(picture), video.read_image(picture))
    for ours, theirs in ((reader.frames(clip, 5), video.read_frames(clip, 5)), (reader.frames(clip, None), None)):
        theirs = theirs or list(video.every_frame(clip))
        ours = list(ours)
        assert [n for n, _ in ours] == [n for n, _ in theirs]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(ours, theirs, strict=True))


def test_a_refusal_is_its_sentence_and_keeps_the_child(reader, picture, tmp_path):
    reader.image(picture)
    child = reader._child
    (tmp_path / "t.png").write_text("text")
    with pytest.raises(DidError, match=r"t\.png cannot be read \(it is none of PNG"):
        reader.image(tmp_path / "t.png")
    assert np.array_equal(reader.image(picture), video.read_image(picture))
    assert reader._child is child


def test_a_video_that_is_left_half_read_leaves_nothing_for_the_next_file(reader, picture, clip):
    next(reader.frames(clip, 5))
    assert np.array_equal(reader.image(picture), video.read_image(picture))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("time.sleep(60)", "took more than 1.5 seconds to decode"),
        ("os.kill(os.getpid(), 11)", "made its decoder crash"),
        ("numpy.zeros(10**12)", r"b\.png does not decode \(MemoryError\)|_ArrayMemoryError"),
        ("print('noise')", None),
    ],
)
def test_what_a_decoder_does_stays_in_the_child(picture, monkeypatch, code, reason):
    """The child runs the code in place of the decoder when it gets to b.png."""
    body = (
        "import os, time, numpy; from did.data import reading, video; read = video.read_image\n"
        f"def bad(path, notes):\n    if path.name == 'b.png':\n        {code}\n    return read(path, notes)\n"
        "video.read_image = bad; reading.serve()"
    )
    command = reading.command
    monkeypatch.setattr(reading, "command", lambda code: command(body))
    bad = picture.with_name("b.png")
    bad.write_bytes(picture.read_bytes())
    with Reader(60) as one:
        right = one.image(picture)
        one.seconds, begun = 1.5, time.monotonic()
        if reason is None:
            assert np.array_equal(one.image(bad), right)
        else:
            with pytest.raises(DidError, match=reason):
                one.image(bad)
        assert time.monotonic() - begun < 5
        one.seconds = 60
        assert np.array_equal(one.image(picture), right)


def test_notes_are_of_the_file_that_was_read(reader, picture, clip):
    pages = picture.with_name("pages.tif")
    Image.open(picture).save(pages, save_all=True, append_images=[Image.new("RGB", (9, 9))])
    reader.image(pages)
    assert reader.notes == ("of its several pictures the first counts",)
    list(reader.frames(clip, 2))
    assert reader.notes == ()
    reader.image(pages)
    with pytest.raises(DidError, match="does not decode"):
        list(reader.frames(picture, 2))
    assert reader.notes == ()


def test_what_has_no_end_is_not_opened(reader, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name, reason in {
        "pipe": "not a regular file", "folder": "is a folder", "loop": "cannot be reached", "none": "There is no image",
    }.items():  # fmt: skip
        with pytest.raises(DidError, match=reason):
            reader.image(tmp_path / f"{name}.png")
    with pytest.raises(DidError, match="is not a regular file"):
        next(reader.frames(tmp_path / "pipe.png", 3))


def test_names_that_are_no_text(reader, picture, clip):
    for file, read in ((picture, lambda p: reader.image(p)), (clip, lambda p: next(iter(reader.frames(p, 2)))[1])):
        odd = Path(os.fsdecode(os.fsencode(file.parent) + b"/caf\xe9\n" + os.fsencode(file.suffix)))
        odd.write_bytes(file.read_bytes())
        assert np.array_equal(read(odd), read(file))


def test_closing_ends_the_child(picture):
    one = Reader()
    one.image(picture)
    child = one._child
    one.close()
    assert child.poll() is not None
    assert one.image(picture).shape == (40, 30, 3)  # and another one starts
    one.close()
