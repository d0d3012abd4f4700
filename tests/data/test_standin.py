"""The stand-in writer: what lies where, the same bytes twice, nothing half-written, faces that look like faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from did.data import video
from did.data.prepare import detect
from did.data.standin import MARK, write, write_ffpp
from did.data.standin.animate import animate
from did.data.standin.drawn import DrawnBank, Still, draw
from did.data.standin.forge import METHODS
from did.data.standin.landmarks import TEMPLATE, fit_template, five_points, warp
from did.data.standin.portraits import PortraitBank
from did.errors import DidError

TINY = {"train": 2, "val": 2, "test": 2}
FAKES = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def tiny(root: Path, **options) -> Path:
    write_ffpp(root, **{"people": TINY, "frames": 3, "workers": 1, "progress": False, **options})
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    return tiny(tmp_path_factory.mktemp("standin") / "ffpp")


@pytest.fixture(scope="session")
def portraits(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("portraits")
    for k, name in enumerate(("a b.png", "portrét.jpg", "人/顔 1.png", "人/лицо.jpg", "e.JPG", "f.png")):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(draw(np.random.default_rng([7, k])).image).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def clips():
    bank = DrawnBank(3)
    return [animate(bank.still(k), np.random.default_rng(k), 3, 256) for k in range(2)]


def test_layout_and_names_are_those_of_ffpp(tree):
    real = {f"original_sequences/youtube/c23/videos/{k:03d}.mp4" for k in range(6)}
    pairs = ["000_001", "001_000", "002_003", "003_002", "004_005", "005_004"]
    fake = {f"manipulated_sequences/{m}/c23/videos/{pair}.mp4" for m in FAKES for pair in pairs}
    rest = {"splits/train.json", "splits/val.json", "splits/test.json", "standin.json"}
    assert set(contents(tree)) == real | fake | rest


def test_pair_lists_split_people(tree):
    lists = {split: json.loads((tree / "splits" / f"{split}.json").read_text()) for split in TINY}
    assert lists == {"train": [["000", "001"]], "val": [["002", "003"]], "test": [["004", "005"]]}


def test_standin_json_marks_the_folder(tree):
    made = json.loads((tree / "standin.json").read_text(encoding="utf-8"))
    assert (made["bank"], made["frames"], made["people"]) == ("drawn faces", 3, TINY)
    assert made["generator"] == write.GENERATOR
    assert len(set(made["identities"].values())) == 6


def test_clips_have_the_frames_asked_for_and_move(tree):
    frames = [image for _, image in video.read_frames(tree / "original_sequences/youtube/c23/videos/000.mp4", 9)]
    assert [frame.shape for frame in frames] == [(256, 256, 3)] * 3
    assert np.abs(frames[0].astype(int) - frames[2]).mean() > 0.5


def test_same_bytes_with_any_number_of_workers(tree, tmp_path):
    assert contents(tiny(tmp_path / "two", workers=2)) == contents(tree)


def test_another_seed_gives_other_clips(tree, tmp_path):
    other, name = tiny(tmp_path / "other", seed=1, frames=1), "original_sequences/youtube/c23/videos/000.mp4"
    first = [video.read_frames(root / name, 1)[0][1].astype(int) for root in (other, tree)]
    assert np.abs(first[0] - first[1]).mean() > 10


def test_nothing_is_left_after_an_interrupted_write(tmp_path, monkeypatch):
    calls = []

    def fail(path, frames):
        calls.append(path)
        if len(calls) == 7:
            raise KeyboardInterrupt
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"clip")

    monkeypatch.setattr(write, "write_clip", fail)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path / "ffpp")
    assert len(calls) == 7 and not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DidError, match="There is something in"):
        tiny(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "bad",
    [
        {"people": {"train": 3, "val": 2, "test": 2}},
        {"people": {"train": 2, "val": 0, "test": 2}},
        {"people": {"train": 2, "test": 2}},
        {"frames": 0},
        {"size": 130},
        {"workers": 0},
    ],
)
def test_impossible_numbers(tmp_path, bad):
    with pytest.raises(DidError):
        tiny(tmp_path / "ffpp", **bad)
    assert not list(tmp_path.iterdir())


def test_portraits_with_any_file_name(portraits, tmp_path):
    root = tiny(tmp_path / "ffpp", faces=portraits, frames=1)
    made = json.loads((root / "standin.json").read_text(encoding="utf-8"))
    assert made["bank"] == "portraits"
    assert sorted(made["identities"].values()) == [
        "a b.png",
        "e.JPG",
        "f.png",
        "portrét.jpg",
        "人/лицо.jpg",
        "人/顔 1.png",
    ]
    assert len(list(root.rglob("*.mp4"))) == 30


def test_portraits_give_landmarks_where_the_face_is(portraits):
    bank = PortraitBank(portraits)
    assert bank.find(1) == 1
    still = bank.still(0)
    _, _, found = detect([still.image])
    unit = np.linalg.norm(found[0][1] - found[0][0])
    assert np.abs(five_points(still.points) - found[0]).max() < 0.12 * unit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.rmdir(), "There is no folder"),
        (lambda folder: (folder / "note.txt").write_text("x"), "holds no portrait"),
        (lambda folder: (folder / "a.png").write_text("not a picture"), "cannot be read"),
        (lambda folder: Image.new("RGB", (200, 200), "gray").save(folder / "a.png"), "has a face"),
    ],
)
def test_folder_that_does_not_do(tmp_path, make, message):
    folder = tmp_path / "faces"
    folder.mkdir()
    make(folder)
    with pytest.raises(DidError, match=message):
        tiny(tmp_path / "ffpp", faces=folder)
    assert not (tmp_path / "ffpp").exists()


def test_too_few_people_is_an_error_that_says_how_many(portraits, tmp_path):
    with pytest.raises(DidError, match="6 people .* needs 8"):
        tiny(tmp_path / "ffpp", faces=portraits, people={"train": 4, "val": 2, "test": 2})


def test_splits_shrink_in_proportion_where_that_is_asked_for(portraits, tmp_path):
    tiny(tmp_path / "ffpp", faces=portraits, people={"train": 8, "val": 4, "test": 4}, fewer=True)
    splits = {s: json.loads((tmp_path / "ffpp" / "splits" / f"{s}.json").read_text()) for s in ("train", "val", "test")}
    assert {split: 2 * len(pairs) for split, pairs in splits.items()} == {"train": 2, "val": 2, "test": 2}
    assert json.loads((tmp_path / "ffpp" / MARK).read_text())["people"] == {"train": 2, "val": 2, "test": 2}
    few = tmp_path / "few"
    few.mkdir()
    for number, file in enumerate(sorted(portraits.rglob("*.png"))[:4]):
        (few / f"{number}.png").write_bytes(file.read_bytes())
    with pytest.raises(DidError, match="two for each split are the least"):
        tiny(tmp_path / "other", faces=few, people={"train": 8, "val": 4, "test": 4}, fewer=True)


def test_table_gives_identity_and_consent(portraits):
    table = portraits / "portraits.csv"
    rows = [
        ("a b.png", "ann", "consent incl. altered forms", "smiling"),
        ("e.JPG", "ann", "consent incl. altered forms", "neutral"),
        ("f.png", "bob", "signed consent", "neutral"),
        ("人/顔 1.png", "cleo", "Altered forms agreed", "neutral"),
    ]
    try:
        table.write_text(
            "file,identity,licence_basis,expression\n" + "\n".join(",".join(row) for row in rows), encoding="utf-8"
        )
        bank = PortraitBank(portraits)
        assert bank.find(2) == 2
        assert sorted(bank.identity(k) for k in range(2)) == ["ann", "cleo"]
        assert bank.find(3) == 2
        table.write_text("file,identity,licence_basis\nf.png,bob,signed consent\n", encoding="utf-8")
        with pytest.raises(DidError, match="consenting people only"):
            PortraitBank(portraits)
        table.write_text("file,identity\ngone.png,bob\n", encoding="utf-8")
        with pytest.raises(DidError, match="gone.png"):
            PortraitBank(portraits)
        table.write_text("name\nf.png\n", encoding="utf-8")
        with pytest.raises(DidError, match="needs the columns"):
            PortraitBank(portraits)
    finally:
        table.unlink()


@pytest.mark.parametrize("method", FAKES)
def test_forgery_changes_what_its_mask_says_and_nothing_else(clips, method):
    target, donor = clips
    forged, masks = METHODS[method](target, donor, np.random.default_rng(0))
    assert forged.shape == target.frames.shape and forged.dtype == np.uint8 and masks.shape == forged.shape[:3]
    change = np.abs(forged.astype(int) - target.frames).max(-1)
    assert change[masks <= 0].max() == 0
    assert change[masks > 0.9].mean() > 3
    assert 0.02 < (masks > 0.5).mean() < 0.3


def test_mouth_forgery_leaves_the_eyes(clips):
    target, donor = clips
    forged, _ = METHODS["NeuralTextures"](target, donor, np.random.default_rng(0))
    bottom = int(target.points[0][36:48, 1].max()) + 4
    assert np.array_equal(forged[0][:bottom], target.frames[0][:bottom])


def test_swaps_take_the_donor_and_reenactments_do_not(clips):
    target, donor = clips
    black = type(donor)(np.zeros_like(donor.frames), donor.points, donor.expression)
    same = {
        m: np.array_equal(
            METHODS[m](target, donor, np.random.default_rng(0))[0],
            METHODS[m](target, black, np.random.default_rng(0))[0],
        )
        for m in FAKES
    }
    assert same == {"Deepfakes": False, "FaceSwap": False, "Face2Face": True, "NeuralTextures": True}


def test_warp_moves_points_where_they_should_go():
    image = np.zeros((96, 96, 3), np.uint8)
    image[40:45, 30:35] = 255
    source = np.array([[32.0, 42], [5, 5], [90, 5], [5, 90], [90, 90]])
    target = source + np.array([[12, -7], [0, 0], [0, 0], [0, 0], [0, 0]])
    ys, xs = np.nonzero(warp(image, source, target, 96)[..., 0] > 128)
    assert abs(xs.mean() - 44) < 1.5 and abs(ys.mean() - 35) < 1.5


def test_template_is_fitted_to_five_points():
    five = five_points(TEMPLATE) @ np.array([[40, 5], [-5, 42.0]]) + [100, 120]
    assert np.allclose(five_points(fit_template(five)), five, atol=1e-6)


def found_share(people: range) -> tuple[float, float]:
    """Share of faces that MTCNN finds in camera frames, and the share with all five points in their place."""
    found = good = 0
    for person in people:
        clip = animate(DrawnBank(11).still(person), np.random.default_rng([1, person]), 1, 256)
        shot = write.camera(clip.frames, np.random.default_rng(person), np.random.default_rng(person))
        _, sure, five = detect(list(shot))
        found += bool(sure[0] > 0.9)
        unit = np.linalg.norm(clip.points[0][42:48].mean(0) - clip.points[0][36:42].mean(0))
        good += bool(np.abs(five[0] - five_points(clip.points[0])).max() < 0.3 * unit)
    return found / len(people), good / len(people)


def test_mtcnn_finds_drawn_faces():
    found, good = found_share(range(24))
    assert found == 1 and good >= 0.95


@pytest.mark.slow
def test_mtcnn_finds_99_of_100_drawn_faces():
    found, good = found_share(range(100, 400))
    assert found >= 0.99 and good >= 0.95


def test_drawn_people_differ():
    a, b = (draw(np.random.default_rng(k)) for k in range(2))
    assert isinstance(a, Still) and a.image.shape == (352, 352, 3) and a.points.shape == (68, 2)
    assert np.abs(a.points - b.points).max() > 2 and np.abs(a.image.astype(int) - b.image).mean() > 10
