"""Preparation: alignment in closed form, detection, and a store that is the same after any interruption."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from crops import pictures
from facenet_pytorch import MTCNN
from PIL import Image

from did.data import clips, ffpp, prepare, table, video
from did.data import faces as faces_module
from did.data import store as store_module
from did.data.geometry import similarity
from did.errors import DidError

pytestmark = [
    pytest.mark.filterwarnings("ignore::did.data.layout.LayoutWarning"),
    pytest.mark.usefixtures("two_videos_a_shard"),
]
SETTINGS = {"frames": 2, "size": 64, "workers": 1, "progress": False}


def turn(degrees: float, scale: float, dx: float, dy: float) -> np.ndarray:
    """(2, 3) matrix of a similarity."""
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, dx], [s, c, dy]])


def move(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


# --- alignment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_the_template_shows_the_box_at_its_share_of_the_crop(margin):
    box_height = 50.0
    landmarks = faces_module.LANDMARKS_IN_BOX * box_height + (200, 100)
    matrix = similarity(landmarks, faces_module.template(112, margin))
    assert matrix[0, 0] * box_height == pytest.approx(112 / (1 + margin))
    assert move(matrix, np.array([[200, 100]])) == pytest.approx(np.array([[55.5, 55.5]]))
    left_eye, right_eye, nose, left_mouth, right_mouth = faces_module.template(112, margin)
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] == right_eye[1] < nose[1] < left_mouth[1] == right_mouth[1]


@pytest.mark.parametrize("degrees", [0, -25, 60])
@pytest.mark.parametrize("height", [30, 90, 260])
def test_landmarks_land_on_the_template(degrees, height):
    size, margin = 112, 0.3
    landmarks = move(turn(degrees, height, 243.3, 251.8), faces_module.LANDMARKS_IN_BOX)
    y, x = np.mgrid[:500, :500]
    for point, target in zip(landmarks, faces_module.template(size, margin), strict=True):
        blob = 255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * (0.04 * height + 1) ** 2))
        crop = faces_module.align(np.repeat(np.uint8(blob)[..., None], 3, axis=2), landmarks, size, margin)
        assert crop.shape == (size, size, 3)
        weights = crop[..., 0].astype(float)
        rows, columns = np.mgrid[:size, :size]
        centroid = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
        assert np.abs(centroid - target).max() < 0.15


@pytest.mark.parametrize(("degrees", "scale"), [(20, 1.0), (-35, 0.7), (5, 1.6)])
def test_a_moved_picture_gives_the_same_crop(degrees, scale, draw_face):
    face = draw_face(256)
    landmarks = faces_module.LANDMARKS_IN_BOX * 150 + (128, 128)
    matrix = turn(degrees, scale, 180, 40)
    moved = cv2.warpAffine(face, matrix, (700, 700), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    there = faces_module.align(face, landmarks, 112).astype(float)
    here = faces_module.align(moved, move(matrix, landmarks), 112).astype(float)
    assert there.std() > 20
    assert np.abs(there - here).mean() < 2


def test_a_reduction_averages_and_does_not_alias():
    checkers = np.uint8(255 * (np.indices((400, 400)).sum(axis=0) % 2))
    landmarks = faces_module.LANDMARKS_IN_BOX * 240 + (200.3, 200.1)
    crop = faces_module.align(np.repeat(checkers[..., None], 3, axis=2), landmarks, 64, 0.3)
    assert crop.std() < 16
    assert crop.mean() == pytest.approx(127.5, abs=3)


# --- detection ---------------------------------------------------------------------------------------------------


def test_faces_are_found_where_they_are(draw_face):
    images = [draw_face(128), np.full((128, 128, 3), 90, np.uint8), draw_face(128, x=0.4, height=0.5)]
    threads = torch.get_num_threads()
    found = prepare.detect(images)
    assert torch.get_num_threads() == threads
    assert [len(faces) for faces in found] == [1, 0, 1]
    assert found[0][0].probability > 0.9
    # Eyes, nose and mouth as conftest draws them.
    for number, x, height in ((0, 64, 79), (2, 51, 64)):
        face = found[number][0]
        assert (face.box.shape, face.landmarks.shape) == ((4,), (5, 2))
        assert face.landmarks[:2].mean(axis=0) == pytest.approx([x, 64 - 0.07 * height], abs=4)
        assert face.landmarks[3:].mean(axis=0) == pytest.approx([x, 64 + 0.28 * height], abs=5)
        assert face.landmarks[0, 0] < face.landmarks[1, 0]
        x0, y0, x1, y1 = face.box
        assert x0 < x < x1
        assert y0 < 64 < y1
        assert face.centre == pytest.approx([x, 64], abs=8)


def same(a: faces_module.Face, b: faces_module.Face) -> bool:
    return a.box == pytest.approx(b.box, abs=0.01) and a.landmarks == pytest.approx(b.landmarks, abs=0.01)


def test_a_face_is_found_alike_alone_and_in_company(draw_face):
    images = [draw_face(128), draw_face(128, x=0.4, height=0.5)]
    together = prepare.detect(images)
    for number, image in enumerate(images):
        alone = prepare.detect([image])[0][0]
        assert same(alone, together[number][0])
        assert (alone.landmarks == together[number][0].landmarks).all()
        assert (8 * alone.landmarks % 1 == 0).all()  # so that rounding errors do not reach the crop


def test_faces_come_the_largest_first(draw_face):
    # The small one is the more probable one.
    image = np.hstack([draw_face(160, height=0.4, skin=0.7), draw_face(160, height=0.65)])
    (left,), (right,) = prepare.detect([image[:, :160].copy()]) + prepare.detect([image[:, 160:].copy()])
    assert left.probability > right.probability
    for picture in (image, image[:, ::-1].copy()):
        large, small = prepare.detect([picture])[0]
        assert large.box[3] - large.box[1] > 1.3 * (small.box[3] - small.box[1])
        assert (large.centre[0] > 160) == (picture is image)


def test_a_small_face_is_found_when_there_is_no_large_one(draw_face):
    image = np.full((300, 300, 3), (96, 112, 128), np.uint8)
    image[100:164, 30:94] = draw_face(64, height=0.62)
    ((face,),) = prepare.detect([image])
    assert face.probability > 0.7
    assert face.height < faces_module.SCALES_BELOW * 300 * faces_module.LARGE_FACE
    assert 30 < face.box[0] < face.box[2] < 94


@pytest.mark.parametrize("height", [0.08, 0.15, 0.3, 0.6])
def test_boxes_are_those_of_mtcnn_with_its_whole_pyramid(draw_face, height):
    images = [draw_face(480, x=x, height=height, skin=skin) for x, skin in ((0.5, 1.0), (0.42, 0.8), (0.61, 0.9))]
    detector = MTCNN(select_largest=True)
    for image, faces in zip(images, prepare.detect(images), strict=True):
        boxes, _ = detector.detect(image)
        assert (boxes is None) == (not faces)
        if faces:
            assert np.abs(boxes[0].astype(float) - faces[0].box).max() < 1


def test_many_pixels_go_through_the_detector_in_parts(monkeypatch, draw_face):
    images = [draw_face(128, x=x) for x in (0.4, 0.5, 0.6)]
    whole = prepare.detect(images)
    monkeypatch.setattr(faces_module, "PIXELS_AT_ONCE", 128 * 128 + 1)
    sizes = []
    faces = faces_module._faces
    monkeypatch.setattr(faces_module, "_faces", lambda part, size: sizes.append(len(part)) or faces(part, size))
    parts = prepare.detect(images)
    assert sizes == [1, 1, 1]
    assert all(same(a[0], b[0]) for a, b in zip(parts, whole, strict=True))


def test_what_the_detector_cannot_take(draw_face):
    with pytest.raises(DidError, match="at least 20 pixels"):
        prepare.detect([np.zeros((19, 80, 3), np.uint8)])
    with pytest.raises(DidError, match="uint8 RGB images of one size"):
        prepare.detect([draw_face(64), draw_face(96)])
    with pytest.raises(DidError, match="uint8 RGB images of one size"):
        prepare.detect([draw_face(64) / 255])
    assert prepare.detect([]) == []
    assert prepare.detect([np.zeros((20, 20, 3), np.uint8)]) == [[]]


# --- the store ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean_root(ffpp_tree, tmp_path_factory) -> Path:
    return ffpp_tree(tmp_path_factory.mktemp("ffpp"), methods=("Deepfakes",))


@pytest.fixture(scope="module")
def index(clean_root) -> pd.DataFrame:
    return ffpp.index(clean_root, methods=("Deepfakes",))


@pytest.fixture(scope="module")
def undisturbed(two_videos_a_shard, clean_root, index, tmp_path_factory) -> Path:
    """A store, whose files every other one must have too."""
    return prepare.prepare(index, clean_root, tmp_path_factory.mktemp("store") / "new", **SETTINGS).root


@pytest.fixture
def root(clean_root, tmp_path) -> Path:
    """A copy of the videos, to be damaged."""
    return Path(shutil.copytree(clean_root, tmp_path / "ffpp"))


def content(store: Path) -> dict[str, bytes]:
    return {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*") if file.is_file()}


def crops(store: Path) -> dict[str, bytes]:
    """Name -> PNG of every crop, as the manifest says where it is."""
    rows = store_module.FaceStore(store).manifest
    found = store_module.Crops(store, rows)
    return {name: found.read(number) for number, name in enumerate(rows["face"])}


def interrupt_after(videos: int, monkeypatch) -> list[str]:
    """Let the preparation stop, as by Ctrl-C, after some videos; the list gets the videos that were begun."""
    begun: list[str] = []
    original = prepare._prepare_video

    def stopping(file, name, *rest):
        if len(begun) == videos:
            raise KeyboardInterrupt
        begun.append(name)
        return original(file, name, *rest)

    monkeypatch.setattr(prepare, "_prepare_video", stopping)
    return begun


def interrupted(videos: int, monkeypatch, index: pd.DataFrame, root: Path, store: Path) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(videos, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare(index, root, store, **SETTINGS)


def test_what_a_store_holds(undisturbed, index, clean_root):
    store = store_module.open_store(undisturbed)
    manifest = store.manifest
    assert list(manifest.columns) == [*table.COLUMNS, *prepare.MANIFEST_COLUMNS]
    assert len(manifest) == 16 * 2
    assert len(store.quarantine) == 0
    assert list(store.quarantine.columns) == list(prepare.QUARANTINE_COLUMNS)
    table.check(manifest[list(table.COLUMNS)])
    whole = manifest.drop(columns=["frame", *prepare.MANIFEST_COLUMNS]).drop_duplicates("video").reset_index(drop=True)
    assert whole.equals(index.drop(columns="frame").sort_values("video").reset_index(drop=True))
    assert set(manifest["frame"]) == set(video.evenly_spaced(4, 2)) == {1, 3}
    row = manifest[manifest["video"] == "Deepfakes/000_001"].iloc[1]
    assert row["face"] == "faces/Deepfakes/000_001/0003.png"
    check_faces(store)
    shards = {f"faces/{number:06d}.tar" for number in range(8)}
    assert set(content(undisturbed)) == {"store.json", "index.csv", "manifest.csv", "quarantine.csv", *shards}
    # Any tar tool reads them.
    for shard in shards:
        with tarfile.open(undisturbed / shard) as tar:
            members = {f"faces/{name}": tar.extractfile(name).read() for name in tar.getnames()}
        assert members == {name: crops(undisturbed)[name] for name in manifest["face"][manifest["shard"] == shard]}
    info = store.info
    assert (info["size"], info["margin"], info["frames"], info["finished"]) == (64, prepare.MARGIN, 2, True)


def test_a_crop_is_the_aligned_frame_without_loss(undisturbed, clean_root):
    row = store_module.open_store(undisturbed).manifest.iloc[5]
    frames = dict(video.read_frames(clean_root / row["path"], 2))
    face = prepare.detect(list(frames.values()))[list(frames).index(row["frame"])][0]
    expected = faces_module.align(frames[row["frame"]], face.landmarks, 64)
    assert np.array_equal(pictures(store_module.FaceStore(undisturbed))[row["face"]], expected)
    assert row[["x0", "y0", "x1", "y1"]].tolist() == pytest.approx(face.box.tolist(), abs=0.01)
    assert row[list(store_module.LANDMARKS)].tolist() == pytest.approx(face.landmarks.ravel().tolist(), abs=0.001)


def test_two_workers_give_the_same_bytes(undisturbed, clean_root, index, tmp_path):
    store = prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS | {"workers": 2})
    assert content(store.root) == content(undisturbed)


def test_the_order_and_place_of_the_index_do_not_matter(undisturbed, root, index, tmp_path):
    store = prepare.prepare(index.sample(frac=1, random_state=0), root, tmp_path / "s", **SETTINGS)
    assert content(store.root) == content(undisturbed)


@pytest.mark.parametrize("videos", [0, 7, 15])
def test_an_interrupted_preparation_resumes(undisturbed, clean_root, index, tmp_path, monkeypatch, videos):
    store = tmp_path / "s"
    interrupted(videos, monkeypatch, index, clean_root, store)
    assert not (store / "store.json").exists()
    with pytest.raises(DidError, match="no finished face store"):
        store_module.open_store(store)
    # Torn files of the shard that was under way.
    (store / "faces").mkdir(parents=True, exist_ok=True)
    for name in (f"{videos // 2:06d}.tar", f".{videos // 2:06d}.tar.123.tmp"):
        (store / "faces" / name).write_bytes(b"torn")
    done = interrupt_after(99, monkeypatch)
    prepare.prepare(index, clean_root, store, **SETTINGS)
    assert len(done) == 16 - videos // 2 * 2, "no more than the shard that was under way is made again"
    assert content(store) == content(undisturbed)


def test_what_a_killed_process_was_writing_is_swept_up(undisturbed, clean_root, index, tmp_path, monkeypatch):
    interrupted(9, monkeypatch, index, clean_root, tmp_path / "s")
    (tmp_path / "s" / ".manifest.csv.123.tmp").write_text("half a man")
    prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS)
    assert content(tmp_path / "s") == content(undisturbed)


def test_a_finished_store_is_returned_at_once(undisturbed, clean_root, index, monkeypatch):
    before = content(undisturbed)
    begun = interrupt_after(0, monkeypatch)
    store = prepare.prepare(index, clean_root, undisturbed, **SETTINGS)
    assert store == prepare.FaceStore(undisturbed)
    assert begun == []
    assert content(undisturbed) == before


def test_an_interruption_in_the_last_moment_leaves_no_rest(undisturbed, clean_root, index, tmp_path, monkeypatch):
    def stop(store):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_tidy", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS)
    assert (tmp_path / "s" / "unfinished.json").exists()
    prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS)
    assert content(tmp_path / "s") == content(undisturbed)


@pytest.mark.parametrize(
    ("change", "match"), [({"size": 32}, "size 64"), ({"margin": 0.5}, "margin 0.3"), ({"frames": 3}, "frames 2")]
)
def test_a_store_of_other_settings_is_refused(undisturbed, clean_root, index, tmp_path, monkeypatch, change, match):
    with pytest.raises(DidError, match=rf"other there: {match}\)"):
        prepare.prepare(index, clean_root, undisturbed, **SETTINGS | change)
    interrupted(3, monkeypatch, index, clean_root, tmp_path / "s")
    with pytest.raises(DidError, match=rf"other there: {match}\)"):
        prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS | change)


def same_size(file: Path, content: bytes) -> None:
    """Write another content of a clip's size, with its time: an MP4 may end in a box of zeros."""
    size, time = file.stat().st_size, file.stat().st_mtime_ns
    assert len(content) + 8 <= size
    file.write_bytes(content + (size - len(content)).to_bytes(4, "big") + b"free" + bytes(size - len(content) - 8))
    os.utime(file, ns=(time, time))


def test_a_video_of_the_same_size_and_time_but_another_content_is_another(root, index, tmp_path, draw_face):
    name = index.sort_values("video")["path"].iloc[3]
    video.write_clip(tmp_path / "other.mp4", [draw_face(96, x=0.4) for _ in range(2)])
    prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    same_size(root / name, (tmp_path / "other.mp4").read_bytes())
    for _ in range(2):
        with pytest.raises(DidError, match=rf"other there: the videos' content, such as {name}\)"):
            prepare.prepare(index, root, tmp_path / "s", **SETTINGS)


def test_a_video_that_changes_unseen_during_an_interruption_is_done_again(
    root, index, tmp_path, monkeypatch, draw_face
):
    name = index.sort_values("video")["path"].iloc[0]
    interrupted(5, monkeypatch, index, root, tmp_path / "s")
    video.write_clip(tmp_path / "other.mp4", [draw_face(96, x=0.4) for _ in range(2)])
    same_size(root / name, (tmp_path / "other.mp4").read_bytes())
    resumed = prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    assert content(resumed.root) == content(prepare.prepare(index, root, tmp_path / "new", **SETTINGS).root)


def test_videos_are_read_again_only_if_something_about_the_file_has_changed(root, index, tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "A_MOMENT", 0)
    read: list[str] = []
    digest = clips.sha256
    monkeypatch.setattr(clips, "sha256", lambda file: read.append(file.name) or digest(file))
    store = prepare.prepare(index, root, tmp_path / "s", **SETTINGS).root
    read.clear()
    before = content(store)
    prepare.prepare(index, root, store, **SETTINGS)
    assert read == []
    os.utime(root / index["path"][2])  # Touched, but the same.
    for expected in ([Path(index["path"][2]).name], []):
        prepare.prepare(index, root, store, **SETTINGS)
        assert read == expected
        read.clear()
    # Without what this machine remembers, from a copy of the videos, and where nothing can be remembered.
    (tmp_path / ".s.seen.csv").unlink()
    prepare.prepare(index, Path(shutil.copytree(root, tmp_path / "copy")), store, **SETTINGS)
    assert len(read) == len(index)
    (tmp_path / ".s.seen.csv").write_text("no, table\n")
    prepare.prepare(index, root, store, **SETTINGS)
    assert len(read) == 2 * len(index)
    assert content(store) == before


# --- ids as paths ----------------------------------------------------------------------------------------------------


def test_no_place_of_a_video_is_inside_that_of_another():
    ids = [
        "real/p0",
        "real/p0/f1",
        "real/p0/f1/x",
        "real/p1",
        "real/P1",
        "real/\u00e9",
        "real/e\u0301",
        "real/p2/0003.png",
    ]
    ids += ["real/p2", "../out", "/etc/x", "real//x", "real/./x", "", "~0123456789abcdef", "fake/p0"]
    found = prepare.places(ids)
    kept = {"real/p0/f1/x", "real/p1", "real/\u00e9", "real/p2/0003.png", "fake/p0"}
    assert {one for one in found if not one.startswith("~")} == kept
    assert len(set(found)) == len(ids)
    for one in found:
        path = Path("/faces") / one
        assert path.is_relative_to("/faces") and ".." not in path.parts
        assert not any(Path("/faces") / other in path.parents for other in found if other != one)
    # The names of every data set stay as they are.
    plain = ["Deepfakes/000_003", "real/000", "Celeb-real/id0_0000", "FS/a b/ü.1", "real/~x"]
    assert prepare.places(plain) == plain


def picture(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


@pytest.fixture
def nested(tmp_path, draw_face) -> tuple[Path, pd.DataFrame]:
    """A clip real/p0.mp4 beside pictures real/p0/*, and a method."""
    root = tmp_path / "nested"
    for number in range(2):
        picture(root / f"real/p0/f{number}.png", draw_face(96, skin=0.8 + 0.1 * number))
    for path, x in (("real/p0.mp4", 0.5), ("fake/swap/p0.mp4", 0.45)):
        video.write_clip(root / path, [draw_face(96, x=x)] * 2)
    rows = []
    for path in ("real/p0.mp4", "real/p0/f0.png", "real/p0/f1.png", "fake/swap/p0.mp4"):
        name = path.removeprefix("fake/").rpartition(".")[0]
        row = {"path": path, "label": int("fake" in path), "method": name.split("/")[0], "split": "test"}
        rows.append(row | {"video": name, "identity": "p0", "frame": pd.NA, "dataset": "folder"})
    return root, table.make_table(rows)


def check_faces(store: prepare.FaceStore) -> None:
    found = crops(store.root)
    for face, digest in zip(store.manifest["face"], store.manifest["sha256"], strict=True):
        assert hashlib.sha256(found[face]).hexdigest() == digest


def test_a_clip_beside_a_folder_of_its_name_takes_nothing_away(nested, tmp_path, draw_face):
    root, index = nested
    whole = (root / "real/p0.mp4").read_bytes()
    (root / "real/p0.mp4").write_bytes(whole[:300])
    with pytest.raises(DidError, match="1 of 4 videos cannot be read"):
        prepare.prepare(index, root, tmp_path / "s", **SETTINGS, strict=True)
    (root / "real/p0.mp4").write_bytes(whole)
    store = prepare.prepare(index, root, tmp_path / "s", **SETTINGS, strict=True)
    check_faces(store)
    assert store.manifest.groupby("video").size().to_dict() == {
        "real/p0": 2, "real/p0/f0": 1, "real/p0/f1": 1, "swap/p0": 2
    }  # fmt: skip
    assert content(store.root) == content(prepare.prepare(index, root, tmp_path / "new", **SETTINGS).root)
    # Whichever comes last.
    again = prepare.prepare(index, root, tmp_path / "two", **SETTINGS | {"workers": 2})
    assert content(again.root) == content(store.root)


def harm(shard: Path, how: str) -> None:
    if how == "removed":
        shard.unlink()
    elif how == "emptied":
        shard.write_bytes(b"")
    else:
        with shard.open("r+b") as file:  # a byte of the first crop
            file.seek(600)
            byte = file.read(1)
            file.seek(600)
            file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize(("how", "number"), [("removed", 4), ("emptied", 4), ("a byte", 1)])
def test_a_crop_that_is_gone_or_damaged_at_the_end_is_an_error_and_cut_anew(
    undisturbed, clean_root, index, tmp_path, monkeypatch, how, number
):
    store = tmp_path / "s"
    run = prepare._run

    def harming(*given):
        yield from run(*given)
        harm(store / "faces/000004.tar", how)  # the first two real videos

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_run", harming)
        with pytest.raises(DidError, match=rf"{number} crops of .* gone or damaged, the first faces/real/000/0001.png"):
            prepare.prepare(index, clean_root, store, **SETTINGS)
    assert not (store / "store.json").exists()
    begun = interrupt_after(99, monkeypatch)
    prepare.prepare(index, clean_root, store, **SETTINGS)
    assert begun == ["real/000", "real/001"]
    assert content(store) == content(undisturbed)


def test_a_shard_that_cannot_be_read_at_the_end_is_not_taken_for_whole(clean_root, index, tmp_path, monkeypatch):
    whole = prepare._is_whole

    def unreadable(file, *rest):
        if file.name.endswith("000003.tar"):
            raise OSError(5, "Input/output error")
        return whole(file, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_is_whole", unreadable)
        with pytest.raises(DidError, match="4 crops of .* are gone or damaged, the first faces/Deepfakes/"):
            prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS)
    assert not (tmp_path / "s/parts/000003.json").exists() and (tmp_path / "s/parts/000002.json").exists()


def test_a_crop_that_goes_during_an_interruption_is_cut_anew(undisturbed, clean_root, index, tmp_path, monkeypatch):
    interrupted(9, monkeypatch, index, clean_root, tmp_path / "s")
    (tmp_path / "s" / "faces" / "000002.tar").unlink()
    prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS)
    assert content(tmp_path / "s") == content(undisturbed)


@pytest.mark.parametrize(("name", "shown"), [("caf\udce9.png", r"caf\xe9"), ("a\rb.png", r"a\rb")])
def test_a_name_that_no_table_gives_back_is_an_error_before_the_work(nested, tmp_path, draw_face, name, shown):
    root, index = nested
    os.rename(root / "real/p0/f1.png", root / "real" / name)
    index.loc[2, ["path", "video"]] = f"real/{name}", f"real/{name}"
    with pytest.raises(DidError, match=re.escape(f"'real/{shown}.png' of the index is not UTF-8 or has a carriage")):
        prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    assert not (tmp_path / "s").exists()


def test_a_store_of_other_videos_is_refused(undisturbed, root, index, draw_face):
    with pytest.raises(DidError, match="other there: the list of videos"):
        prepare.prepare(index[index["split"] == "train"], root, undisturbed, **SETTINGS)
    video.write_clip(root / index["path"][0], [draw_face(64)])
    with pytest.raises(DidError, match="other there: the videos' content"):
        prepare.prepare(index, root, undisturbed, **SETTINGS)


def test_strict_a_clip_that_does_not_decode_stops_the_work(undisturbed, clean_root, root, index, tmp_path, monkeypatch):
    name = index.sort_values("video")["path"].iloc[0]
    (root / name).write_bytes((root / name).read_bytes()[:300])
    (root / index["path"][3]).write_bytes(b"")
    store = tmp_path / "s"
    with pytest.raises(DidError, match=rf"^2 of 16 videos cannot be read, the first, .*{name}, does not") as caught:
        prepare.prepare(index, root, store, **SETTINGS, strict=True)
    assert "\n" not in str(caught.value)
    assert not (store / "store.json").exists()
    # Mended, the store is finished, and is what it would have been.
    for path in (name, index["path"][3]):
        shutil.copy(clean_root / path, root / path)
    begun = interrupt_after(99, monkeypatch)
    prepare.prepare(index, root, store, **SETTINGS, strict=True)
    of = {path: number // 2 for number, path in enumerate(index.sort_values("video")["path"])}
    assert len(begun) == 2 * len({of[name], of[index["path"][3]]}), "whole shards, and no others"
    assert content(store) == content(undisturbed)


def test_a_clip_that_changes_during_an_interruption_is_done_again(
    undisturbed, root, index, tmp_path, monkeypatch, draw_face
):
    path = index.sort_values("video")["path"].iloc[0]
    original = (root / path).read_bytes()
    video.write_clip(root / path, [draw_face(96, x=0.4) for _ in range(9)])
    interrupted(5, monkeypatch, index, root, tmp_path / "s")
    (root / path).write_bytes(original)
    prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    assert content(tmp_path / "s") == content(undisturbed)


def test_clips_that_do_not_decode_are_set_aside(root, index, tmp_path):
    path = index["path"][0]
    (root / path).write_text("text")
    store = prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    assert len(store.manifest) == 15 * 2
    quarantine = store.quarantine
    assert quarantine["path"].tolist() == [path]
    assert quarantine["frame"].isna().all()
    assert quarantine["reason"].tolist() == ["does not decode (invalid data found when processing input)"]


def test_frames_without_a_face_are_set_aside_and_not_replaced(root, index, tmp_path, draw_face):
    blank = np.full((96, 96, 3), 90, np.uint8)
    some, none, small = index["path"][0], index["path"][2], index["path"][3]
    video.write_clip(root / some, [draw_face(96), blank, blank, draw_face(96)])
    video.write_clip(root / none, [blank] * 4)
    video.write_clip(root / small, [blank[:16, :16]] * 4)
    store = prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    manifest, quarantine = store.manifest, store.quarantine
    assert manifest.loc[manifest["path"] == some, "frame"].tolist() == [3]
    assert none not in set(manifest["path"])
    rows = {(row.path, row.frame): row.reason for row in quarantine.itertuples()}
    assert rows == {
        (some, 1): "no face found",
        (none, 1): "no face found in any sampled frame of the video",
        (none, 3): "no face found in any sampled frame of the video",
        (small, 1): "frames of 16 pixels are too small for a face",
        (small, 3): "frames of 16 pixels are too small for a face",
    }


def test_a_method_that_a_split_would_lack(root, index, tmp_path):
    for path in index.loc[(index["split"] == "val") & (index["label"] == 1), "path"]:
        video.write_clip(root / path, [np.full((96, 96, 3), 90, np.uint8)])
    with pytest.raises(DidError, match="No face was found in any video of 'Deepfakes' in the split 'val'"):
        prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    assert not (tmp_path / "s" / "store.json").exists()


def test_images_are_videos_of_one_frame(tmp_path, draw_face):
    rows = []
    for number, method in enumerate(["real", "StyleGAN"]):
        path = f"{method}/{number}.png"
        (tmp_path / method).mkdir()
        cv2.imwrite(str(tmp_path / path), cv2.cvtColor(draw_face(96), cv2.COLOR_RGB2BGR))
        row = {"path": path, "label": number, "method": method, "split": "test", "video": f"{method}/{number}"}
        rows.append(row | {"identity": str(number), "frame": pd.NA, "dataset": "dffd"})
    store = prepare.prepare(table.make_table(rows), tmp_path, tmp_path / "s", **SETTINGS)
    assert store.manifest["face"].tolist() == ["faces/StyleGAN/1/0000.png", "faces/real/0/0000.png"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"face": "first"}, "face is 'first'; it must be 'largest' or 'track'"),
        ({"frames": 0}, "frames is 0"),
        ({"size": 8}, "size 8"),
        ({"margin": -0.1}, r"margin -0\.1"),
        ({"workers": 0}, "workers 0"),
    ],
)
def test_impossible_settings(clean_root, index, tmp_path, options, match):
    with pytest.raises(DidError, match=match):
        prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS | options)
    assert not (tmp_path / "s").exists()


def test_what_cannot_be_prepared(root, index, tmp_path):
    twice = pd.concat([index.assign(frame=0), index.assign(frame=1)])
    with pytest.raises(DidError, match="lists a video twice"):
        prepare.prepare(twice, root, tmp_path / "s", **SETTINGS)
    with pytest.raises(DidError, match=r"is not empty and is not a face store"):
        prepare.prepare(index, root, root, **SETTINGS)
    (root / index["path"][4]).unlink()
    with pytest.raises(DidError, match=rf"{index['path'][4]} of the index is missing"):
        prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    assert not (tmp_path / "s").exists()


def test_a_killed_worker_is_reported(clean_root, index, tmp_path, monkeypatch):
    class Pool:
        def __init__(self, *arguments, **options):
            pass

        def submit(self, *arguments):
            raise prepare.BrokenProcessPool("killed")

        def shutdown(self, **options):
            pass

    monkeypatch.setattr(prepare, "ProcessPoolExecutor", Pool)
    with pytest.raises(DidError, match="run again with fewer workers"):
        prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS | {"workers": 2})
    assert json.loads((tmp_path / "s" / "unfinished.json").read_text())["finished"] is False


# --- part of a store --------------------------------------------------------------------------------------------------


def test_a_part_of_a_store_holds_the_reals_and_the_methods_named(ffpp_tree, tmp_path):
    root = ffpp_tree(tmp_path / "ffpp")
    broken = root / "manipulated_sequences" / "FaceSwap" / "c23" / "videos" / "000_001.mp4"
    broken.write_bytes(b"no video")
    store = prepare.prepare(ffpp.index(root), root, tmp_path / "store", **SETTINGS)
    part, whole = store.only("Deepfakes"), store.manifest
    manifest = part.manifest
    assert set(manifest.method) == {"real", "Deepfakes"}
    for split in ("train", "val", "test"):
        assert set(manifest.method[manifest.split == split]) == {"real", "Deepfakes"}
    kept = whole[whole.method.isin(["real", "Deepfakes"])]
    assert table.fingerprint(manifest) == table.fingerprint(kept) != table.fingerprint(whole)
    assert table.fingerprint(manifest) != table.fingerprint(store.only("Face2Face").manifest)
    assert list(part.summary.index) == ["real", "Deepfakes"]
    assert part.summary.equals(store.summary.loc[["real", "Deepfakes"]])
    # What gave no crop counts where it belongs.
    assert len(store.quarantine) == 1 and len(part.quarantine) == 0 and len(store.only("FaceSwap").quarantine) == 1
    assert store.only("FaceSwap", "Deepfakes") == store.only("Deepfakes", "FaceSwap") != part
    with pytest.raises(DidError, match="unknown method 'Deepfake': did you mean 'Deepfakes'"):
        store.only("Deepfake")
    with pytest.raises(DidError, match="at least one forgery method of it: Deepfakes, Face2Face"):
        store.only()


def test_a_large_image_is_looked_at_in_a_reduced_form(draw_face, monkeypatch):
    image = draw_face(420, x=0.4, y=0.45, height=0.5)
    (whole,) = prepare.detect([image])
    monkeypatch.setattr(faces_module, "PIXELS_AT_ONCE", 420 * 420 // 3)  # by 2, to 210 pixels a side
    (reduced,) = prepare.detect([image])
    (exact,) = prepare.detect([cv2.resize(image, (210, 210), interpolation=cv2.INTER_AREA)])
    assert len(whole) == len(reduced) == len(exact) == 1
    assert np.allclose(reduced[0].landmarks, 2 * exact[0].landmarks + 0.5)
    assert np.abs(reduced[0].landmarks - whole[0].landmarks).max() < 6
    assert np.abs(reduced[0].box - whole[0].box).max() < 20
    monkeypatch.setattr(faces_module, "PIXELS_AT_ONCE", 100)
    assert prepare.detect([image]) == [[]]  # reduced to less than a face


def test_every_face_is_found_where_the_largest_alone_is_looked_for_first(draw_face):
    image = np.full((640, 640, 3), (96, 112, 128), np.uint8)
    image[:420, :420] = draw_face(420, height=0.6)
    for place in (460, 540):
        image[place : place + 50, place : place + 50] = draw_face(50, height=0.6)
    assert len(prepare.detect([image])[0]) == 1
    found = prepare.detect([image], every=True)[0]
    assert len(found) == 3
    assert np.allclose(found[0].landmarks, prepare.detect([image])[0][0].landmarks, atol=1e-3)
    assert found[0].height > 4 * max(face.height for face in found[1:])


def test_what_there_is_to_say_of_a_file_is_kept_with_the_store(root, index, tmp_path):
    data = shutil.copytree(root, tmp_path / "data")
    path = index["path"][0]
    ((_, frame),) = video.read_frames(data / path, 1)
    (data / path).unlink()
    animated = str(Path(path).with_suffix(".gif"))
    still, other = Image.fromarray(frame), Image.fromarray(frame[::-1])
    still.save(data / animated, save_all=True, append_images=[other])
    changed = index.assign(path=index["path"].replace(path, animated))
    store = prepare.prepare(changed, data, tmp_path / "s", **SETTINGS)
    assert list(store.info["notes"]) == [animated]
    assert "the first counts" in store.info["notes"][animated]
