"""Data sets that are tested on alone: their trees index to tables written here by hand; each fault has its sentence."""

import json
from pathlib import Path

import pytest

from did.data import cdfpp, dfd, dfdcp, layout
from did.errors import DidError
from did.sources import open_source

pytestmark = pytest.mark.filterwarnings("ignore::did.data.layout.LayoutWarning")

REALS = ("Celeb-real/id0_0000", "YouTube-real/00170")
FAKES = {  # video: people
    "Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000": "id0+id1",
    "Celeb-synthesis/FaceSwap/Celeb-DF/id0_id1_0000": "id0+id1",
    "Celeb-synthesis/FaceReenact/LIA/id3_id2_0005": "id3+id2",
    "Celeb-synthesis/TalkingFace/SadTalker/id4_0003_test_0012": "id4",
}
LIST = "\n".join([*(f"1 {video}.mp4" for video in REALS), *(f"0 {video}.mp4" for video in FAKES)])
OTHER = "\n".join(f"{1 - int(line[0])}{line[1:]}" for line in LIST.splitlines())  # 0 is real
PREVIEW = {
    "original_videos/643049/643049_A_001.mp4": {"label": "real", "set": "train", "target_id": "643049"},
    "method_A/643049/643049_B/1_643049_B_001.mp4": {"label": "fake", "set": "train", "target_id": "643049",
                                                    "swapped_id": "1", "augmentations": ["flip"]},
    "original_videos/7/7_A_001.mp4": {"label": "real", "set": "test", "target_id": "7", "swapped_id": None},
    "method_B/8/8_A/7_8_A_001.mp4": {"label": "fake", "set": "test", "target_id": "8", "swapped_id": "7"},
}  # fmt: skip


def touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def celebs(root: Path, text: str = LIST, level: str = "") -> Path:
    for video in (*REALS, *FAKES, "Celeb-real/id9_0000"):  # the last one is on no list
        place = root / f"{video}.mp4"
        touch(place.parent / level / place.name)
    (root / "List_of_testing_videos.txt").write_text(text, encoding="utf-8")
    return root


def preview(root: Path, listed: object = PREVIEW) -> Path:
    for name in PREVIEW:
        touch(root / name)
    (root / "dataset.json").write_text(listed if isinstance(listed, str) else json.dumps(listed), encoding="utf-8")
    return root


def actors(root: Path, compression: str = "c23") -> Path:
    for name in ("actors", "DeepFakeDetection"):
        kind = "original" if name == "actors" else "manipulated"
        stems = ("28__outside_talking", "03__hugging") if name == "actors" else ("28_15__outside_talking__7C4PABCD",)
        for stem in stems:
            touch(root / f"{kind}_sequences" / name / compression / "videos" / f"{stem}.mp4")
    return root


def plain(table) -> list[tuple]:
    assert table["frame"].isna().all()
    return [tuple(row) for row in table[["path", "label", "method", "split", "identity"]].itertuples(index=False)]


@pytest.mark.parametrize("level", ["", "videos"])
@pytest.mark.parametrize("text", [LIST, LIST.replace("\n", "\r\n\r\n"), OTHER])
def test_celeb_df_plus_plus(tmp_path, level, text):
    found = cdfpp.index(celebs(tmp_path, text, level))
    wanted = [(video, 0, "real", "test", people) for video, people in zip(REALS, ("id0", REALS[1]), strict=True)]
    wanted += [(video, 1, video.split("/")[2], "test", people) for video, people in FAKES.items()]
    between = f"/{level}/" if level else "/"
    wanted.sort(key=lambda row: (row[1], row[2], row[0]))
    assert plain(found) == [(f"{between.join(video.rsplit('/', 1))}.mp4", *rest) for video, *rest in wanted]
    assert found.attrs["counts"]["found"] == {"real test videos": 2, "fake test videos": 4, "methods": 4}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not name both classes"),
        ("1 Celeb-real/id0_0000.mp4", "does not name both classes"),
        (LIST.replace("0 Celeb-synthesis/FaceReenact", "1 Celeb-synthesis/FaceReenact"), "contradicts the folders"),
        ("yes", "Line 1 of .* 'yes', is malformed"),
        ("1 id0_0000.mp4", "is malformed; it must be like"),
        ("0 Celeb-synthesis/id0_id1_0000.mp4", "is malformed"),
        ("0 Celeb-synthesis/Other/SimSwap/id0_id1_0000.mp4", "is malformed"),
        (f"{LIST}\n1 {REALS[0]}.mp4", "names Celeb-real/id0_0000.mp4 twice"),
        (f"{LIST}\n1 Celeb-real/id77_0000.mp4", "1 of the 7 videos that .* lists are not there, Celeb-real/id77_0000"),
    ],
)
def test_a_wrong_list_of_celeb_df_plus_plus(tmp_path, text, sentence):
    with pytest.raises(DidError, match=sentence):
        cdfpp.index(celebs(tmp_path, text))


def test_celeb_df_plus_plus_may_go_without_listed_videos(tmp_path):
    root = celebs(tmp_path, f"{LIST}\n1 Celeb-real/id77_0000.mp4")
    with pytest.warns(layout.LayoutWarning, match="goes without 1 of 7 listed videos, first Celeb-real/id77_0000.mp4"):
        found = cdfpp.index(root, allow_missing=True)
    assert len(found) == 6 and found.attrs["counts"]["missing"] == 1
    (root / "Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4").rename(root / "Celeb-synthesis/FaceSwap/SimSwap/x.mp4")
    (root / "List_of_testing_videos.txt").write_text(LIST.replace("SimSwap/id0_id1_0000", "SimSwap/x"))
    with pytest.raises(DidError, match="SimSwap/x.mp4 does not tell who is in the video"):
        cdfpp.index(root)


def test_the_preview_of_dfdc(tmp_path):
    assert plain(dfdcp.index(preview(tmp_path))) == [
        ("original_videos/643049/643049_A_001.mp4", 0, "real", "train", "643049"),
        ("method_A/643049/643049_B/1_643049_B_001.mp4", 1, "method_A", "train", "643049+1"),
        ("original_videos/7/7_A_001.mp4", 0, "real", "test", "7"),
        ("method_B/8/8_A/7_8_A_001.mp4", 1, "method_B", "test", "8+7"),
    ]


def changed(name: str, **about: object) -> dict:
    return PREVIEW | {name: PREVIEW.get(name, {"label": "real", "set": "test", "target_id": "9"}) | about}


FIRST = next(iter(PREVIEW))


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ("{", "is not JSON"),
        ([], "names no video"),
        ({}, "names no video"),
        (changed(FIRST, label="fake"), "calls original_videos/643049/643049_A_001.mp4 fake, against its folder"),
        (changed(FIRST, label="REAL"), "is malformed at 'original_videos/643049/643049_A_001.mp4'"),
        (changed(FIRST, set="val"), "is malformed at"),
        (PREVIEW | {FIRST: 1}, "is malformed at"),
        (changed("../out.mp4"), "is malformed at '../out.mp4'"),
        (changed("original_videos/../x.mp4"), "is malformed at"),
        (changed("original_videos/9/9_A.mp4"), "1 of the 5 videos that .* lists are not there"),
        (changed("method_B/8/8_A/7_8_A_001.mp4", swapped_id="643049"), "643049"),  # a person in both splits
    ],
)
def test_a_wrong_list_of_the_preview(tmp_path, listed, sentence):
    with pytest.raises(DidError, match=sentence):
        dfdcp.index(preview(tmp_path, listed))


@pytest.mark.parametrize("compression", ["c23", "c40", "raw"])
def test_deepfakedetection(tmp_path, compression):
    found = dfd.index(actors(tmp_path, compression), compression=compression)
    assert plain(found) == [
        (f"original_sequences/actors/{compression}/videos/03__hugging.mp4", 0, "real", "test", "03"),
        (f"original_sequences/actors/{compression}/videos/28__outside_talking.mp4", 0, "real", "test", "28"),
        (f"manipulated_sequences/DeepFakeDetection/{compression}/videos/28_15__outside_talking__7C4PABCD.mp4", 1,
         "DeepFakeDetection", "test", "28+15"),
    ]  # fmt: skip


def test_what_deepfakedetection_lacks(tmp_path):
    root = actors(tmp_path)
    with pytest.raises(DidError, match=r"lacks the folder original_sequences/actors/c40/videos/ of DeepFakeDetection"):
        dfd.index(root, compression="c40")
    touch(root / "original_sequences/actors/c23/videos/hello.mp4")
    with pytest.raises(DidError, match=r"hello\.mp4 does not tell who is in the video; it must be like 28__outside"):
        dfd.index(root)


@pytest.mark.parametrize(("name", "make"), [("cdfpp", celebs), ("dfdcp", preview), ("dfd", actors)])
def test_each_is_a_source_whose_counts_are_compared_and_which_has_no_stand_in(tmp_path, name, make):
    with pytest.warns(layout.LayoutWarning, match=r"published: "):
        source = open_source(name, data_root=make(tmp_path / name))
    assert source.kind == "licensed, part" and "a part of the licensed data" in source.banner
    with pytest.raises(DidError, match=r"published: .*complete it"):
        open_source(name, data_root=tmp_path / name, strict=True)
    with pytest.raises(DidError, match="there is no stand-in for"):
        open_source(name, edition="stand-in")
    with pytest.raises(DidError, match=r"^there is no .*looked in .*, then name its folder by data_root"):
        open_source(name)
