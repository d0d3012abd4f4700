"""Celeb-DF trees index to the table written here by hand; every fault of a tree has its sentence."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pandas as pd
import pytest

from did.data import cdf2, layout, table
from did.errors import DidError

pytestmark = pytest.mark.filterwarnings("ignore::did.data.layout.LayoutWarning")

LIST = "1 YouTube-real/00000.mp4\n1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4"
# Sorted by the SHA-256 of their names the people of nobody's test video are id3, id6, id7, YouTube-real/00001, id4,
# YouTube-real/00002, id5, YouTube-real/00003, YouTube-real/00004, id2: id4 and id2 are for validation.
EXPECTED = """
    train real            0 Celeb-real/id3_0000         id3
    train real            0 Celeb-real/id6_0000         id6
    train real            0 YouTube-real/00001          YouTube-real/00001
    train real            0 YouTube-real/00002          YouTube-real/00002
    train real            0 YouTube-real/00003          YouTube-real/00003
    train real            0 YouTube-real/00004          YouTube-real/00004
    train Celeb-synthesis 1 Celeb-synthesis/id3_id6_0000 id3+id6
    train Celeb-synthesis 1 Celeb-synthesis/id7_id5_0001 id7+id5
    val   real            0 Celeb-real/id2_0003         id2
    val   real            0 Celeb-real/id4_0000         id4
    val   Celeb-synthesis 1 Celeb-synthesis/id4_id2_0001 id4+id2
    test  real            0 Celeb-real/id0_0000         id0
    test  real            0 YouTube-real/00000          YouTube-real/00000
    test  Celeb-synthesis 1 Celeb-synthesis/id0_id1_0000 id0+id1
"""
# Of people of the test list (id1 is there by the fake alone), and of one person of train and one of val.
TESTED = ["Celeb-real/id0_0001", "Celeb-real/id1_0000", "Celeb-synthesis/id5_id0_0000"]
MIXED = ["Celeb-synthesis/id3_id4_0000", "Celeb-synthesis/id2_id6_0000"]


def expected(level: str = "") -> list[tuple]:
    rows = []
    for line in EXPECTED.split("\n")[1:-1]:
        split, method, label, video, identity = line.split()
        rows.append((f"{video.replace('/', f'/{level}')}.mp4", int(label), method, split, video, identity, "cdf2"))
    return rows


def plain(index: pd.DataFrame) -> list[tuple]:
    assert index["frame"].isna().all()
    return list(index.drop(columns="frame").itertuples(index=False, name=None))


def tree(root: Path, level: str = "", text: bytes = LIST.encode()) -> Path:
    videos = [row[4] for row in expected()] + TESTED + MIXED
    for video in videos:
        file = root / f"{video.replace('/', f'/{level}')}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (root / "List_of_testing_videos.txt").write_bytes(text)
    return root


def test_the_official_layout(tmp_path):
    assert plain(cdf2.index(tree(tmp_path))) == expected()


def test_a_level_of_videos(tmp_path):
    assert plain(cdf2.index(str(tree(tmp_path, "videos/")))) == expected("videos/")


def test_windows_line_ends_blank_lines_and_hidden_files(tmp_path):
    text = b"\xef\xbb\xbf\r\n" + LIST.replace("\n", "\r\n\r\n").encode() + b"\r\n\r\n"
    tree(tmp_path, text=text)
    (tmp_path / "Celeb-real" / "._id0_0000.mp4").touch()
    assert plain(cdf2.index(tmp_path)) == expected()


def test_what_is_left_out_is_said_in_one_warning(tmp_path):
    tree(tmp_path)
    with pytest.warns(layout.LayoutWarning, match="are left out") as caught:
        cdf2.index(tmp_path)
    said = [str(warning.message) for warning in caught]
    assert said[0] == (
        f"Celeb-DF v2 in {tmp_path} has 7 Celeb-real videos (published: 590), 5 YouTube-real videos (published: 300), "
        "7 Celeb-synthesis videos (published: 5639), 3 test videos (published: 518); complete it, or call its numbers "
        "those of a part of Celeb-DF v2."
    )
    assert said[1:] == [
        f"Of Celeb-DF v2 in {tmp_path} are left out: 3 videos with people of the test list; 2 fakes of one person of "
        "train and one of val (see did.data.cdf2)."
    ]


def test_a_stand_in_is_indexed_without_a_word(tmp_path):
    tree(tmp_path)
    (tmp_path / layout.MARK).touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain(cdf2.index(tmp_path, strict=True)) == expected()


@pytest.mark.parametrize("gone", ["Celeb-synthesis/id4_id2_0001", "Celeb-real/id2_0003 Celeb-real/id4_0000"])
def test_without_a_class_in_val_the_test_split_stands_alone(tmp_path, gone):
    tree(tmp_path)
    for video in gone.split():
        (tmp_path / f"{video}.mp4").unlink()
    with pytest.warns(layout.LayoutWarning, match=r"train and val, \d+ videos, since a class would be missing there"):
        index = cdf2.index(tmp_path)
    assert plain(index) == [row for row in expected() if row[3] == "test"]


def test_a_tree_of_the_test_list_alone(tmp_path):
    tree(tmp_path)
    for row in expected():
        if row[3] != "test":
            (tmp_path / row[0]).unlink()
    for video in TESTED + MIXED:
        (tmp_path / f"{video}.mp4").unlink()
    assert plain(cdf2.index(tmp_path)) == [row for row in expected() if row[3] == "test"]


def test_the_published_counts_pass_strictly(tmp_path):
    """Of 59 people the first 9 are in the test list: 90 + 88 real and 340 fake videos, as many as in life."""
    real = [f"Celeb-real/id{a}_{n:04d}" for a in range(59) for n in range(10)]
    youtube = [f"YouTube-real/{n:05d}" for n in range(300)]
    fake = {
        people: [f"Celeb-synthesis/id{a}_id{b}_{n:04d}" for n in range(5) for a in people for b in people if a != b]
        for people in (range(9), range(9, 59))
    }
    tested, others = fake[range(9)][:340], fake[range(9, 59)][: 5639 - 340]
    for name in [*real, *youtube, *tested, *others]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.mp4").touch()
    lines = [f"1 {name}.mp4" for name in real[:90] + youtube[:88]] + [f"0 {name}.mp4" for name in tested]
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines))
    started = time.monotonic()
    index = cdf2.index(tmp_path, strict=True)
    assert table.report(index)["result"].eq("ok").all()
    assert time.monotonic() - started < 30
    counts = index.groupby(["split", "label"]).size()
    assert counts["test"].tolist() == [178, 340]
    # Of 262 people left, every fifth is for validation: 52, whoever it is.
    others = index[index["split"] != "test"]
    people = others["identity"].str.split("+").explode().groupby(others["split"]).nunique()
    assert people.to_dict() == {"train": 210, "val": 52}
    assert counts["train"].sum() + counts["val"].sum() < 500 + 212 + 5299


def refuse(match: str, root: Path, **options) -> None:
    with pytest.raises(DidError, match=match) as caught:
        cdf2.index(root, **options)
    assert "\n" not in str(caught.value)


def test_strict_refuses_other_counts(tmp_path):
    refuse(r"has 7 Celeb-real videos \(published: 590\)", tree(tmp_path), strict=True)


def test_a_missing_or_empty_folder(tmp_path):
    tree(tmp_path / "set")
    refuse("lacks the folder Celeb-real/ of Celeb-DF v2; it is in the folder 'set' inside, give that", tmp_path)
    for file in (tmp_path / "set" / "YouTube-real").iterdir():
        file.unlink()
    refuse(r"YouTube-real holds no \.mp4 file", tmp_path / "set")


def test_the_list_is_missing(tmp_path):
    (tree(tmp_path) / "List_of_testing_videos.txt").unlink()
    refuse(
        r"List_of_testing_videos\.txt is missing; the authors publish it with the data set "
        r"\(https://github.com/yuezunli/celeb-deepfakeforensics\)",
        tmp_path,
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xff\xfe1", "is not a text file"),
        (b"1 YouTube-real/00000.mp4\n1 Other/1.mp4", r"Line 2 of .*'1 Other/1\.mp4', is malformed"),
        (b"2 YouTube-real/00000.mp4", "Line 1 of .* is malformed"),
        (b"YouTube-real/00000.mp4", "Line 1 of .* is malformed"),
        (b"\n0 YouTube-real/00000.mp4", r"Line 2 of .*'0 YouTube-real/00000\.mp4', contradicts its folder"),
        (b"1 Celeb-synthesis/id0_id1_0000.mp4", "Line 1 of .* contradicts its folder: in this list 1 is real"),
        (b"1 Celeb-real/id0_0000.mp4\n1 Celeb-real/id0_0000.mp4", r"names Celeb-real/id0_0000\.mp4 twice"),
        (
            b"1 Celeb-real/id0_0000.mp4\n1 Celeb-real/id9_0000.mp4\n0 Celeb-synthesis/id8_id9_0000.mp4",
            r"2 of the 3 videos that .* lists are not there, Celeb-real/id9_0000\.mp4 first",
        ),
        (b"1 Celeb-real/id0_0000.mp4", "split 'test' holds no fake video"),
    ],
)
def test_a_faulty_list(tmp_path, text, match):
    refuse(match, tree(tmp_path, text=text))


@pytest.mark.parametrize("name", ["Celeb-real/id0_id1_0000", "Celeb-real/x", "Celeb-synthesis/id0_0000"])
def test_a_name_that_does_not_tell_its_people(tmp_path, name):
    (tree(tmp_path) / f"{name}.mp4").touch()
    refuse(rf"{name}\.mp4 does not tell who is in the video", tmp_path)


def test_videos_in_two_places_and_of_two_cases_are_refused(tmp_path):
    tree(tmp_path, "videos/")
    (tmp_path / "Celeb-real/id0_0009.mp4").touch()
    with pytest.raises(DidError, match=r"id0_0009\.mp4 lies beside the folder videos/; move it there"):
        cdf2.index(tmp_path)
    (tmp_path / "Celeb-real/id0_0009.mp4").rename(tmp_path / "Celeb-real/videos/id0_0000.MP4")
    with pytest.raises(DidError, match=r"holds id0_0000\.(MP4|mp4) and id0_0000\.(mp4|MP4); keep one"):
        cdf2.index(tmp_path)


def test_videos_with_other_suffixes_are_counted(tmp_path):
    tree(tmp_path)
    (tmp_path / "Celeb-real/id0_0009.avi").touch()
    assert cdf2.index(tmp_path).attrs["left_out"] == {".avi": 1}


def test_a_listed_video_may_be_missing_where_that_is_allowed(tmp_path):
    root = tree(tmp_path)
    (root / "Celeb-synthesis/id0_id1_0000.mp4").rename(root / "Celeb-synthesis/id0_id1_0009.mp4")
    (root / "List_of_testing_videos.txt").write_text(LIST + "\n0 Celeb-synthesis/id0_id1_0009.mp4")
    with pytest.raises(
        DidError, match=r"1 of the 4 videos that .* lists are not there, .*id0_id1_0000\.mp4 first.*--allow"
    ):
        cdf2.index(root)
    with pytest.warns(
        layout.LayoutWarning, match=r"goes without 1 of 4 listed videos, first Celeb-synthesis/id0_id1_0000"
    ):
        index = cdf2.index(root, allow_missing=True)
    assert len(index) == len(expected()) and index.attrs["counts"]["missing"] == 1
    assert index.attrs["counts"]["found"] == {
        "Celeb-real videos": 7, "YouTube-real videos": 5, "Celeb-synthesis videos": 7, "test videos": 3
    }  # fmt: skip
    assert layout.lacking(index.attrs["counts"]).endswith("7 of 5639 Celeb-synthesis videos, 3 of 518 test videos")
