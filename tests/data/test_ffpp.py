"""FF++ trees in both layouts index to the table written here by hand; every fault of a tree has its sentence."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest

from did.data import ffpp, layout, table
from did.data.layout import MARK, LayoutWarning
from did.errors import DidError

# These trees are small on purpose; the tests of the counts look for the warning.
pytestmark = pytest.mark.filterwarnings("ignore::did.data.layout.LayoutWarning")

# split, method, label, name, identity: what the pairs [000, 003], [010, 011] and [021, 020] stand for.
PAIRS = {"train": [["000", "003"]], "val": [["010", "011"]], "test": [["021", "020"]]}
EXPECTED = """
    train real           0 000     000
    train real           0 003     003
    train Deepfakes      1 000_003 000+003
    train Deepfakes      1 003_000 003+000
    train Face2Face      1 000_003 000+003
    train Face2Face      1 003_000 003+000
    train FaceSwap       1 000_003 000+003
    train FaceSwap       1 003_000 003+000
    train NeuralTextures 1 000_003 000+003
    train NeuralTextures 1 003_000 003+000
    val   real           0 010     010
    val   real           0 011     011
    val   Deepfakes      1 010_011 010+011
    val   Deepfakes      1 011_010 011+010
    val   Face2Face      1 010_011 010+011
    val   Face2Face      1 011_010 011+010
    val   FaceSwap       1 010_011 010+011
    val   FaceSwap       1 011_010 011+010
    val   NeuralTextures 1 010_011 010+011
    val   NeuralTextures 1 011_010 011+010
    test  real           0 020     020
    test  real           0 021     021
    test  Deepfakes      1 020_021 020+021
    test  Deepfakes      1 021_020 021+020
    test  Face2Face      1 020_021 020+021
    test  Face2Face      1 021_020 021+020
    test  FaceSwap       1 020_021 020+021
    test  FaceSwap       1 021_020 021+020
    test  NeuralTextures 1 020_021 020+021
    test  NeuralTextures 1 021_020 021+020
"""


def expected(official: bool) -> list[tuple]:
    rows = []
    for line in EXPECTED.split("\n")[1:-1]:
        split, method, label, name, identity = line.split()
        if official:
            folder = "original_sequences/youtube" if method == "real" else f"manipulated_sequences/{method}"
            path = f"{folder}/c23/videos/{name}.mp4"
        else:
            path = f"{'original' if method == 'real' else method}/{name}.mp4"
        rows.append((path, int(label), method, split, f"{method}/{name}", identity, "ffpp"))
    return rows


def plain(index: pd.DataFrame) -> list[tuple]:
    assert index["frame"].isna().all()
    return list(index.drop(columns="frame").itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def official(ffpp_tree, tmp_path_factory) -> Path:
    return ffpp_tree(tmp_path_factory.mktemp("official"), "official", pairs=PAIRS, frames=1, size=32)


@pytest.fixture(scope="module")
def mirror(ffpp_tree, tmp_path_factory) -> Path:
    return ffpp_tree(tmp_path_factory.mktemp("mirror"), "mirror", pairs=PAIRS, frames=1, size=32)


@pytest.fixture
def tree(official, tmp_path) -> Path:
    """A copy of the official tree, to be damaged."""
    return Path(shutil.copytree(official, tmp_path / "tree"))


def test_the_official_layout(official):
    assert plain(ffpp.index(official)) == expected(official=True)


def test_the_mirror(mirror):
    assert plain(ffpp.index(str(mirror))) == expected(official=False)


def test_the_mirror_with_a_level_of_videos(mirror, tmp_path):
    for folder in ("original", *ffpp.METHODS):
        shutil.copytree(mirror / folder, tmp_path / folder / "videos")
    shutil.copytree(mirror, tmp_path / "splits", ignore=lambda _, names: [n for n in names if ".json" not in n])
    index = ffpp.index(tmp_path)
    assert index["path"].tolist() == [row[0].replace("/", "/videos/") for row in expected(official=False)]


def test_unlisted_videos_and_other_compressions_are_left_alone(tree):
    folder = tree / "original_sequences" / "youtube"
    shutil.copy(folder / "c23/videos/000.mp4", folder / "c23/videos/999.mp4")
    shutil.copytree(folder / "c23", folder / "c40")
    assert plain(ffpp.index(tree)) == expected(official=True)


def test_another_compression(ffpp_tree, tmp_path):
    root = ffpp_tree(tmp_path, methods=("Deepfakes",), pairs=PAIRS, frames=1, size=32, compression="c40")
    assert ffpp.index(root, compression="c40", methods=("Deepfakes",))["path"].str.contains("/c40/videos/").all()
    with pytest.raises(DidError, match=r"no \.mp4 file of real at c23.*original_sequences/youtube/c23/videos/"):
        ffpp.index(root, methods=("Deepfakes",))


def test_fewer_methods(official):
    index = ffpp.index(official, methods=("FaceSwap",))
    assert plain(index) == [row for row in expected(official=True) if row[2] in ("real", "FaceSwap")]


FIVE = (*ffpp.METHODS, "FaceShifter")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A tree of the published size with five methods; the videos are empty files."""
    tmp_path = tmp_path_factory.mktemp("whole")
    ids = [f"{number:03d}" for number in range(1000)]
    pairs = [list(pair) for pair in zip(ids[::2], ids[1::2], strict=True)]
    for split, part in {"train": pairs[:360], "val": pairs[360:430], "test": pairs[430:]}.items():
        (tmp_path / f"{split}.json").write_text(json.dumps(part))
    for name in ("original", *FIVE):
        (tmp_path / name).mkdir()
        for a, b in pairs:
            for stem in (a, b) if name == "original" else (f"{a}_{b}", f"{b}_{a}"):
                (tmp_path / name / f"{stem}.mp4").touch()
    return tmp_path


def test_the_published_splits_give_720_140_140_videos_a_method(whole):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        started = time.monotonic()
        index = ffpp.index(whole, strict=True, methods=FIVE)
        assert table.report(index)["result"].eq("ok").all()
        assert time.monotonic() - started < 30
    assert table.counts(index).to_numpy().tolist() == [[720, 140, 140]] * 6
    counts = index.attrs["counts"]
    assert counts["missing"] == 0 and counts["found"] == counts["published"] and layout.lacking(counts) == ""


def test_one_missing_video_of_a_thousand_passes_where_it_is_allowed_and_is_counted(whole):
    (whole / "Deepfakes/000_001.mp4").unlink()
    try:
        refuse(r"\(1 of 1000 of Deepfakes, first 000_001\.mp4\).*--allow-missing", whole, methods=("Deepfakes",))
        with pytest.warns(LayoutWarning, match=r"goes without 1 of 1000 of Deepfakes, first 000_001\.mp4, as"):
            index = ffpp.index(whole, methods=("Deepfakes",), allow_missing=True)
    finally:
        (whole / "Deepfakes/000_001.mp4").touch()
    assert len(index) == 1999 and "Deepfakes/000_001" not in set(index["video"])
    assert index.attrs["counts"]["missing"] == 1
    assert layout.lacking(index.attrs["counts"]) == "719 of 720 train videos a method"


def test_fewer_videos_than_published_are_named(tree):
    match = (
        r"has 2 train videos a method \(published: 720\), 2 val videos a method \(published: 140\), "
        r"2 test videos a method \(published: 140\); complete it"
    )
    with pytest.warns(LayoutWarning, match=match):
        ffpp.index(tree)
    refuse(match, tree, strict=True)
    (tree / MARK).touch()
    assert plain(ffpp.index(tree, strict=True)) == expected(official=True)


def test_hidden_files_are_no_videos(tree):
    folder = tree / "manipulated_sequences" / "FaceSwap" / "c23" / "videos"
    for file in folder.iterdir():
        file.rename(folder / f"._{file.name}")
    refuse(r"no \.mp4 file of FaceSwap at c23", tree)


def test_the_fingerprint_does_not_depend_on_the_root(official, tree):
    assert table.fingerprint(ffpp.index(official)) == table.fingerprint(ffpp.index(tree))


def refuse(match: str, *arguments, **options) -> None:
    with pytest.raises(DidError, match=match) as caught:
        ffpp.index(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_no_root(tmp_path):
    refuse("There is no folder .*nowhere", tmp_path / "nowhere")


def test_the_root_is_a_file(tmp_path):
    (tmp_path / "ff.zip").touch()
    refuse(r"ff\.zip is a file", tmp_path / "ff.zip")


def test_an_empty_root(tmp_path):
    refuse("is empty", tmp_path)


def test_another_tree(tmp_path):
    (tmp_path / "Celeb-real").mkdir()
    refuse(r"is not a FaceForensics\+\+ tree.*original_sequences/.*original/ and Deepfakes/", tmp_path)


def test_one_folder_too_high_gets_a_hint(official, tmp_path):
    shutil.copytree(official, tmp_path / "high" / "inside")
    refuse("it is in the folder 'inside' inside", tmp_path / "high")


def test_a_method_is_missing(tree, mirror, tmp_path):
    shutil.rmtree(tree / "manipulated_sequences" / "FaceSwap")
    refuse("has no folder manipulated_sequences/FaceSwap/", tree)
    copy = shutil.copytree(mirror, tmp_path / "mirror")
    shutil.rmtree(copy / "original")
    refuse("has no folder original/", copy)


def test_a_method_has_no_videos(tree):
    folder = tree / "manipulated_sequences" / "FaceSwap" / "c23" / "videos"
    shutil.rmtree(folder)
    folder.mkdir()
    refuse(r"no \.mp4 file of FaceSwap at c23", tree)


def test_the_mirror_has_one_compression(mirror):
    refuse(r"no \.mp4 file of real at c40", mirror, compression="c40")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_file_is_missing(tree, split):
    (tree / "splits" / f"{split}.json").unlink()
    refuse(rf"{split}\.json is missing; .*FaceForensics repository on GitHub, folder dataset/splits", tree)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[[",
        b"{}",
        b"[]",
        b'["000", "003"]',
        b'[["000"]]',
        b'[["000", 3]]',
        b'[["000", "003", "004"]]',
        b"\xff\xfe",
    ],
)
def test_a_malformed_split_file(tree, content):
    (tree / "splits" / "val.json").write_bytes(content)
    refuse(r"val\.json is malformed; it must be a JSON list of pairs", tree)


def test_a_split_file_with_a_byte_order_mark(tree):
    file = tree / "splits" / "val.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert plain(ffpp.index(tree)) == expected(official=True)


@pytest.mark.parametrize("name", ["None", "NA", "nan", "null"])
def test_an_id_that_looks_like_nothing_stays_text(ffpp_tree, tmp_path, name):
    root = ffpp_tree(tmp_path, methods=("Deepfakes",), pairs={**PAIRS, "val": []}, frames=1, size=32)
    (root / "splits/val.json").write_text(json.dumps([[name, "x"]]))
    for path in (f"original_sequences/youtube/c23/videos/{name}", "original_sequences/youtube/c23/videos/x"):
        (root / f"{path}.mp4").touch()
    for stem in (f"{name}_x", f"x_{name}"):
        (root / f"manipulated_sequences/Deepfakes/c23/videos/{stem}.mp4").touch()
    index = ffpp.index(root, methods=("Deepfakes",))
    assert index["identity"][index["split"] == "val"].tolist() == sorted([name, "x"]) + sorted(
        [f"{name}+x", f"x+{name}"]
    )


def test_the_case_of_a_suffix_does_not_matter_and_other_suffixes_are_counted(tree):
    folder = tree / "original_sequences/youtube/c23/videos"
    (folder / "000.mp4").rename(folder / "000.MP4")
    (folder / "003.avi").touch()
    index = ffpp.index(tree)
    assert index["path"].str.endswith("/000.MP4").sum() == 1 and len(index) == 30
    assert index.attrs["left_out"] == {".avi": 1}
    (folder / "000.mp4").touch()
    refuse(r"holds 000\.MP4 and 000\.mp4; keep one", tree)


def test_a_method_that_is_a_link_to_the_real_videos(tree):
    folder = tree / "manipulated_sequences/FaceSwap"
    shutil.rmtree(folder)
    folder.symlink_to(tree / "original_sequences/youtube")
    refuse("or is the same folder, through a link, so that its files would be of two classes", tree)


def test_an_id_in_two_pairs_or_two_splits(tree):
    (tree / "splits" / "train.json").write_text('[["000", "003"], ["003", "010"]]')
    (tree / "original_sequences/youtube/c23/videos/010.mp4").touch()
    refuse(r"train\.json lists the id '003' twice", tree)
    (tree / "splits" / "train.json").write_text('[["000", "003"]]')
    (tree / "splits" / "val.json").write_text('[["003", "000"]]')
    refuse("is in the splits train and val", tree)


def test_half_a_tree_says_what_is_absent(tree):
    (tree / "manipulated_sequences/Deepfakes/c23/videos/003_000.mp4").unlink()
    (tree / "manipulated_sequences/Deepfakes/c23/videos/020_021.mp4").unlink()
    (tree / "original_sequences/youtube/c23/videos/011.mp4").unlink()
    refuse(r"\(1 of 6 of real, first 011\.mp4; 2 of 6 of Deepfakes, first 003_000\.mp4\)", tree)


def test_unknown_arguments(official):
    refuse("no compression 'c32'; choose one of raw, c23, c40", official, compression="c32")
    refuse("no method 'DeepFakes'; choose from Deepfakes, Face2Face", official, methods=("DeepFakes",))
    refuse("no method 'real'", official, methods=("real",))
    refuse("No FF.. method is named", official, methods=())
