"""DeepfakeBench's release indexes to tables written by hand, and its frames become crops without a search for faces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from crops import pictures

from did.data import deepfakebench, given
from did.data.faces import align
from did.data.layout import LayoutWarning
from did.data.loading import Faces
from did.data.prepare import prepare
from did.data.store import LANDMARKS
from did.errors import DidError
from did.settings import Settings
from did.sources import face_store, open_source, within
from did.task import Wants
from did.training.runs import evaluate, run

pytestmark = pytest.mark.filterwarnings("ignore::did.data.layout.LayoutWarning")
SIDE, FRAMES = 80, 3
LABELS = {"FF-real": "original_sequences/youtube", "FF-DF": "manipulated_sequences/Deepfakes",
          "FF-F2F": "manipulated_sequences/Face2Face", "FF-FS": "manipulated_sequences/FaceSwap",
          "FF-NT": "manipulated_sequences/NeuralTextures"}  # fmt: skip
PAIRS = {"train": [("000", "001"), ("002", "003")], "val": [("010", "011")], "test": [("020", "021")]}
CELEB = {
    ("CelebDFv2_real", "Celeb-real"): {"train": ["id0_0000", "id5_0000"], "test": ["id1_0000", "id2_0001"]},
    ("CelebDFv2_real", "YouTube-real"): {"train": ["00001"], "test": ["00007"]},
    ("CelebDFv2_fake", "Celeb-synthesis"): {
        "train": ["id0_id5_0000", "id0_id1_0002"],
        "test": ["id1_id2_0003", "id2_id1_0004"],
    },
}


def points(side: int = SIDE) -> np.ndarray:
    """81 points in dlib's order on the face that `draw_face` draws: the outline of each eye is around its centre."""
    height, centre = 0.62 * side, (side - 1) / 2
    found = np.full((81, 2), 5.0)
    around = 0.03 * np.array([[-1, 0], [-0.5, -1], [0.5, -1], [1, 0], [0.5, 1], [-0.5, 1]])
    found[36:42] = np.array([-0.17, -0.07]) + around
    found[42:48] = np.array([0.17, -0.07]) + around
    found[30], found[48], found[54] = (0, 0.1), (-0.13, 0.28), (0.13, 0.28)
    chosen = [*range(36, 48), 30, 48, 54]
    found[chosen] = found[chosen] * height + centre
    return found


class Release:
    """Writes a small release: frames, landmarks and lists, as its authors have them."""

    def __init__(self, root: Path, draw_face) -> None:
        self.root, self.face = root, draw_face
        self.lists: dict[str, dict] = {}

    def video(self, folder: str, stem: str, seed: int) -> list[str]:
        frames = self.root / folder / "frames" / stem
        marks = self.root / folder / "landmarks" / stem
        frames.mkdir(parents=True)
        marks.mkdir(parents=True)
        found = []
        for number in range(0, 10 * FRAMES, 10):
            picture = self.face(SIDE, skin=0.6 + 0.01 * (seed + number))
            cv2.imwrite(str(frames / f"{number:03d}.png"), picture[:, :, ::-1])
            np.save(marks / f"{number:03d}.npy", points())
            found.append(f"{folder}/frames/{stem}/{number:03d}.png".replace("/", "\\"))
        return found

    def write(self, name: str, content: dict) -> None:
        (self.root / "dataset_json").mkdir(exist_ok=True)
        (self.root / "dataset_json" / f"{name}.json").write_text(json.dumps({name: content}))


@pytest.fixture(scope="module")
def original(tmp_path_factory, draw_face):
    release = Release(tmp_path_factory.mktemp("release"), draw_face)
    forensics: dict = {label: {split: {"c23": {}} for split in PAIRS} for label in LABELS}
    for label, place in LABELS.items():
        for split, pairs in PAIRS.items():
            for one, other in pairs:
                stems = (one, other) if label == "FF-real" else (f"{one}_{other}", f"{other}_{one}")
                for seed, stem in enumerate(stems):
                    frames = release.video(f"FaceForensics++/{place}/c23", stem, seed)
                    forensics[label][split]["c23"][stem] = {"label": label, "frames": frames}
    release.write("FaceForensics++", forensics)
    celeb: dict = {}
    for (label, place), of in CELEB.items():
        for split, stems in of.items():
            for seed, stem in enumerate(stems):
                frames = release.video(f"Celeb-DF-v2/{place}", stem, seed)
                celeb.setdefault(label, {}).setdefault(split, {})[stem] = {"label": label, "frames": frames}
    celeb = {label: {**splits, "val": splits["test"]} for label, splits in celeb.items()}  # One set under two names.
    release.write("Celeb-DF-v2", celeb)
    preview: dict = {}
    for label, word in (("DFDCP_Real", "original"), ("DFDCP_FakeA", "method_A")):
        frames = release.video(f"DFDCP/{word}", "clip", 1)
        preview[label] = {"train": {}, "test": {"clip": {"label": label, "frames": frames}}}
    release.write("DFDCP", preview)
    return release.root


@pytest.fixture
def release(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "release"))


def edit(release: Path, name: str, change) -> None:
    file = release / "dataset_json" / f"{name}.json"
    content = json.loads(file.read_text())
    change(content[name])
    file.write_text(json.dumps(content))


# --- the tables ------------------------------------------------------------------------------------------------------


def test_faceforensics_is_the_table_of_the_authors_splits(original):
    found = deepfakebench.index(original)
    assert len(found) == 8 * 5 and found["frame"].isna().all()
    assert found.groupby(["split", "method"]).size().to_dict() == {
        (split, method): 2 * len(pairs)
        for split, pairs in PAIRS.items()
        for method in ("real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    }
    row = found.set_index("video").loc["FaceSwap/011_010"]
    assert row["path"] == "FaceForensics++/manipulated_sequences/FaceSwap/c23/frames/011_010"
    assert (row["identity"], row["split"], row["label"]) == ("011+010", "val", 1)
    assert found.attrs["counts"]["found"] == {"train videos a method": 4, "val videos a method": 2,
                                              "test videos a method": 2}  # fmt: skip


def test_only_the_methods_asked_for(original):
    found = deepfakebench.index(original, methods=("FaceSwap",))
    assert set(found["method"]) == {"real", "FaceSwap"}
    with pytest.raises(DidError, match="has no FaceShifter; it has Deepfakes, Face2Face, FaceSwap, NeuralTextures"):
        deepfakebench.index(original, methods=("FaceShifter",))


def test_celeb_df_keeps_the_test_and_nobody_is_in_two_splits(original):
    with pytest.warns(LayoutWarning) as said:
        found = deepfakebench.index(original, "Celeb-DF-v2")
    assert set(found["split"]) == {"test"}
    assert found.set_index("video")["identity"].to_dict() == {
        "real/00007": "00007", "real/id1_0000": "id1", "real/id2_0001": "id2",
        "Celeb-synthesis/id1_id2_0003": "id1+id2", "Celeb-synthesis/id2_id1_0004": "id2+id1",
    }  # fmt: skip
    text = " ".join(str(each.message) for each in said)
    assert "5 videos of val with people of test; 1 videos of train with people of test or val" in text
    assert "train and val, 4 videos, since a class would be missing there" in text


def test_the_release_may_be_a_checkout_with_the_data_below(original, tmp_path):
    moved = tmp_path / "checkout"
    shutil.copytree(original / "dataset_json", moved / "preprocessing" / "dataset_json")
    shutil.copytree(original / "FaceForensics++", moved / "datasets" / "rgb" / "FaceForensics++")
    edit_list = moved / "preprocessing" / "dataset_json" / "FaceForensics++.json"
    edit_list.write_text(edit_list.read_text().replace('"FaceForensics++\\\\', '"D:\\\\data\\\\FaceForensics++\\\\'))
    found = deepfakebench.index(moved)
    assert found["path"].str.startswith("datasets/rgb/FaceForensics++/").all() and len(found) == 40


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("FaceForensics++", lambda of: of["FF-DF"].update(holdout=of["FF-DF"]["test"]), "a split 'holdout'"),
        ("FaceForensics++", lambda of: of.update({"FF-XX": of["FF-DF"]}), "'FF-XX' .* says neither real nor fake"),
        ("FaceForensics++", lambda of: of["FF-DF"]["test"].update(c23={"a": {"label": 1}}), "has no c23|malformed"),
        ("FaceForensics++", lambda of: of["FF-FS"].update(train=[1]), "malformed"),
        ("DFDCP", lambda of: of["DFDCP_FakeA"].update(test={}), "holds no fake video"),
    ],
    ids=["split", "label", "no frames", "list", "class"],
)  # fmt: skip
def test_each_fault_of_a_list_is_one_sentence(release, name, change, sentence):
    edit(release, name, change)
    with pytest.raises(DidError, match=sentence) as caught:
        deepfakebench.index(release, name)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named_and_may_be_left_out_only_with_a_word(release):
    gone = "FaceForensics++/manipulated_sequences/FaceSwap/c23/frames/000_001"
    shutil.rmtree(release / gone)
    with pytest.raises(DidError, match=f"lacks 1 of 40 listed videos, first .*{gone.replace('+', '.')}; add them, or"):
        deepfakebench.index(release)
    with pytest.warns(LayoutWarning, match="goes without 1 of 40"):
        found = deepfakebench.index(release, allow_missing=True)
    assert len(found) == 39 and found.attrs["counts"]["missing"] == 1
    with pytest.raises(DidError, match="has no c40; it has c23"):
        deepfakebench.index(release, compression="c40")
    with pytest.raises(DidError, match="has one compression: leave out c40"):
        deepfakebench.index(release, "DFDCP", compression="c40")
    with pytest.raises(DidError, match="has no list dataset_json/DFDCPP.json .*DFDCP"):
        deepfakebench.index(release, "DFDCPP")
    shutil.rmtree(release / "DFDCP")
    with pytest.raises(DidError, match="has no frames of DFDCP, such as DFDCP/original/frames/clip: unpack them there"):
        deepfakebench.index(release, "DFDCP")


# --- crops -----------------------------------------------------------------------------------------------------------


def store_of(root: Path, index, folder: Path, **more):
    return prepare(index, root, folder, **{"frames": 2, "size": 48, "workers": 1, "progress": False, "face": "given",
                                           **more})  # fmt: skip


def test_a_crop_is_the_frame_aligned_by_its_landmarks(original, tmp_path):
    index = deepfakebench.index(original, "DFDCP")
    store = store_of(original, index, tmp_path / "s")
    rows = store.manifest
    assert rows["frame"].tolist() == [0, 20] * 2  # 3 frames: the middles of 2 equal parts are the first and the last.
    assert store.info["detector"] == "none: given"
    row = rows.iloc[1]
    picture = cv2.imread(str(original / row["path"] / "020.png"))[:, :, ::-1]
    # By hand: left eye, right eye, nose, left and right corner of the mouth of the face that `draw_face` draws.
    mine = (
        np.array([[-0.17, -0.07], [0.17, -0.07], [0, 0.1], [-0.13, 0.28], [0.13, 0.28]]) * 0.62 * SIDE + (SIDE - 1) / 2
    )
    assert mine == pytest.approx(np.array([[row[f"landmark_x{i}"], row[f"landmark_y{i}"]] for i in range(5)]), abs=1e-3)
    expected = align(np.ascontiguousarray(picture), mine, 48, 0.3)
    assert (pictures(store)[row["face"]] == expected).all()


def test_the_eyes_are_where_every_crop_has_them(original, tmp_path):
    """The same place as for MTCNN's faces, so that a detector trained on one reads the other."""
    index = deepfakebench.index(original, "DFDCP")
    store = store_of(original, index, tmp_path / "s", size=96)
    crop = cv2.cvtColor(pictures(store)[store.manifest["face"][0]], cv2.COLOR_RGB2GRAY).astype(float)
    left, right = crop[38:46, 20:44], crop[38:46, 52:76]
    middle = crop[60:70, 40:56].mean()  # below the nose: skin
    assert left.min() < 0.6 * middle and right.min() < 0.6 * middle


def test_a_frame_without_landmarks_is_set_aside_and_without_any_the_picture_is_the_crop(release, tmp_path):
    index = deepfakebench.index(release, "DFDCP")
    (release / "DFDCP/original/landmarks/clip/020.npy").unlink()
    store = store_of(release, index, tmp_path / "s")
    assert store.quarantine[["frame", "reason"]].values.tolist() == [[20, given.NO_LANDMARKS]]
    shutil.rmtree(release / "DFDCP/original/landmarks")
    shutil.rmtree(release / "DFDCP/method_A/landmarks")
    store = store_of(release, index, tmp_path / "t")
    assert len(store.quarantine) == 0 and store.manifest[list(LANDMARKS)].isna().all(axis=None)
    picture = cv2.imread(str(release / "DFDCP/original/frames/clip/000.png"))[:, :, ::-1]
    crop = pictures(store)[store.manifest.query("method == 'real'")["face"].iloc[0]]
    assert (crop == cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA)).all()
    with pytest.raises(DidError, match="has no landmarks, which a self-blended image needs"):
        Faces(store.manifest, store.root, 48, wants=Wants(blended=True), training=True)[0]


@pytest.mark.parametrize("content", [b"none", np.zeros((81, 2)), np.full((81, 2), 1e4), np.ones((7, 2))],
                         ids=["bytes", "one place", "far", "seven"])  # fmt: skip
def test_bad_landmarks_set_their_video_aside(release, tmp_path, content):
    file = release / "DFDCP/method_A/landmarks/clip/000.npy"
    file.write_bytes(content) if isinstance(content, bytes) else np.save(file, content)
    index = deepfakebench.index(release, "DFDCP")
    real = release / "DFDCP/method_A/frames/clip2"
    shutil.copytree(release / "DFDCP/method_A/frames/clip", real)
    shutil.copytree(release / "DFDCP/original/landmarks/clip", release / "DFDCP/method_A/landmarks/clip2")
    more = index.assign(path=index["path"].replace({index["path"].iloc[-1]: "DFDCP/method_A/frames/clip2"}))
    more = more.assign(video=more["video"] + "2", identity=more["identity"] + "2").iloc[1:]

    store = store_of(release, pd.concat([index, more], ignore_index=True), tmp_path / "s")
    [reason] = store.quarantine["reason"]
    assert "landmarks" in reason and str(release) not in reason
    with pytest.raises(DidError, match="cannot be read, the first, .*landmarks"):
        store_of(release, pd.concat([index, more], ignore_index=True), tmp_path / "t", strict=True)


def test_an_interrupted_store_goes_on_and_a_changed_frame_is_another_content(release, tmp_path, monkeypatch):
    from did.data import prepare as module

    index = deepfakebench.index(release)
    calm = store_of(release, index, tmp_path / "calm")
    many, original_one = [], module._prepare_video

    def stop(*job):
        if len(many) == 17:
            raise KeyboardInterrupt
        many.append(1)
        return original_one(*job)

    monkeypatch.setattr(module, "_prepare_video", stop)
    with pytest.raises(KeyboardInterrupt):
        store_of(release, index, tmp_path / "s")
    monkeypatch.setattr(module, "_prepare_video", original_one)
    assert store_of(release, index, tmp_path / "s").fingerprint == calm.fingerprint
    frame = release / index["path"].iloc[3] / "000.png"
    cv2.imwrite(str(frame), np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(DidError, match="other there: the videos' content"):
        store_of(release, index, tmp_path / "s")


# --- sources ---------------------------------------------------------------------------------------------------------


def test_ffpp_and_cdf2_are_read_from_the_release(original, tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    source = open_source("ffpp", data_root=original)
    assert (source.name, source.kind, source.face) == ("ffpp", "licensed, part", "given")
    assert source.label == "FaceForensics++ (c23), frames of DeepfakeBench's release"
    store = face_store(source, Settings.preset("smoke"), progress=False)
    assert len(store.manifest) == 40 * min(FRAMES, Settings.preset("smoke").frames)
    assert face_store(source, Settings.preset("smoke"), progress=False).fingerprint == store.fingerprint
    assert open_source("cdf2", data_root=within(original, "cdf2")).index["method"].nunique() == 2
    with pytest.raises(DidError, match="which has ffpp and cdf2, not dffd: name its own folder"):
        open_source("dffd", data_root=original)
    monkeypatch.setenv("DID_DATA", str(original))
    assert open_source("ffpp").face == "given"
    assert within(tmp_path, "ffpp") == tmp_path / "ffpp" and within(original, "ffpp", "stand-in") is None


def test_any_of_its_data_sets_is_a_source(original):
    source = open_source(f"deepfakebench:{original}/DFDCP")
    assert (source.label, set(source.index["method"])) == (
        "DFDCP, frames of DeepfakeBench's release", {"real", "DFDCP_FakeA"},
    )  # fmt: skip
    assert open_source(f"deepfakebench:{original}/FaceForensics++:c23").label.startswith("FaceForensics++ (c23), ")
    some = open_source("ffpp", data_root=original, methods=["FaceSwap"])
    assert set(some.index["method"]) == {"real", "FaceSwap"} and "(c23), FaceSwap alone, frames of" in some.label
    for wrong in ("deepfakebench", "deepfakebench:", f"deepfakebench:{original}", "deepfakebench:/nowhere/DFDCP"):
        with pytest.raises(DidError, match="needs the release's folder and the name of a list"):
            open_source(wrong)
    with pytest.raises(DidError, match="leave out edition=stand-in, faces and data_root"):
        open_source(f"deepfakebench:{original}/DFDCP", edition="stand-in")


def test_a_run_trains_on_the_release_and_is_tested_on_another_of_its_data_sets(original, tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    settings = Settings.preset("smoke", iterations=2, validate_every=2, batch_size=10)
    done = run(open_source("ffpp", data_root=original), settings, "bce", progress=False)
    assert done.record["data"]["label"].endswith("frames of DeepfakeBench's release")
    tested = evaluate(done, open_source("cdf2", data_root=original), progress=False)
    assert sorted(tested.scores["video"].unique()) == [
        "Celeb-synthesis/id1_id2_0003", "Celeb-synthesis/id2_id1_0004", "real/00007", "real/id1_0000", "real/id2_0001",
    ]  # fmt: skip
    assert "frames of DeepfakeBench's release" in tested.record["protocol"]
