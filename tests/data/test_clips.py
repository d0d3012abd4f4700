"""A folder of frames is read as the video that it was."""

import os
import shutil

import cv2
import numpy as np
import pytest

from did.data import clips, table
from did.errors import DidError


@pytest.fixture
def folder(tmp_path):
    """Ten frames, each of one gray value: ten times its number."""
    place = tmp_path / "clip"
    place.mkdir()
    for number in range(10):
        cv2.imwrite(str(place / f"{number * 5:03d}.png"), np.full((32, 40, 3), 10 * number, np.uint8))
    (place / "notes.txt").touch()
    return place


def test_frames_come_in_the_order_of_their_numbers_evenly_spaced(folder):
    found = list(clips.stream(folder, 3, []))
    assert [number for number, _ in found] == [5, 25, 40]  # the middles of three equal parts: 1, 5, 8
    assert [int(image.mean()) for _, image in found] == [10, 50, 80]
    assert len(list(clips.stream(folder, 32, []))) == 10


def test_names_that_are_no_numbers_are_counted(tmp_path):
    for name in ("b.png", "a.jpg", "10.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((32, 32, 3), np.uint8))
    assert [(number, file.name) for number, file in clips.frames_in(tmp_path)] == [
        (0, "10.png"), (1, "a.jpg"), (2, "b.png"),
    ]  # fmt: skip


def test_numbers_count_as_numbers_however_they_are_padded(tmp_path):
    for name in ("9.png", "10.png", "011.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((32, 32, 3), np.uint8))
    assert [number for number, _ in clips.frames_in(tmp_path)] == [9, 10, 11]
    (tmp_path / "09.png").touch()
    with pytest.raises(DidError, match="two pictures of one frame number; keep one of them"):
        clips.frames_in(tmp_path)


def test_a_bad_frame_and_an_empty_folder_are_one_sentence(folder, tmp_path):
    (folder / "005.png").write_bytes(b"no picture")
    with pytest.raises(DidError, match=r"The video .*clip has a bad frame: 005.png .*; replace the file.$") as caught:
        list(clips.stream(folder, 10, []))
    assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DidError, match="has no frames: the folder holds no picture"):
        list(clips.stream(tmp_path / "empty", 3, []))


def test_the_digest_is_of_names_and_contents_alone(folder, tmp_path):
    before = clips.digest(folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert clips.digest(copy) == before and clips.size(copy) == clips.size(folder)
    (copy / "notes.txt").write_text("not a frame")
    assert clips.digest(copy) == before
    (copy / "000.png").rename(copy / "001.png")
    assert clips.digest(copy) != before


def test_a_stamp_tells_every_change_of_a_frame(folder, monkeypatch):
    assert clips.stamp(folder) == ""  # It has just been written.
    monkeypatch.setattr(clips, "A_MOMENT", 0)
    before = clips.stamp(folder)
    assert before and clips.stamp(folder) == before
    os.utime(folder / "020.png", ns=(1, 1))
    assert clips.stamp(folder) != before
    with pytest.raises(DidError, match="of the index is missing"):
        clips.stamp(folder / "gone.mp4")


def test_a_file_that_has_just_changed_is_not_told_by_its_times(folder, monkeypatch):
    file = folder / "000.png"
    os.utime(file)
    assert clips.stamp(file) == ""
    later = file.stat().st_ctime_ns + clips.A_MOMENT
    monkeypatch.setattr(clips.time, "time_ns", lambda: later)
    assert clips.stamp(file).startswith(f"{file.stat().st_size} ")


def test_equal_folders_in_two_splits_are_found(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    rows = [
        {"path": path, "label": 0, "method": "real", "split": split, "video": path, "identity": path, "frame": None,
         "dataset": "x"}
        for path, split in (("clip", "train"), ("copy", "test"))
    ]  # fmt: skip
    assert table.duplicates(table.make_table(rows), tmp_path, progress=False)["path"].tolist() == ["clip", "copy"]
