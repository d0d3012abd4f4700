"""The stand-in writer: what lies where, the same bytes twice, nothing half-written, faces that look like faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from did.data import cdf2, dffd, diff, ffpp, video
from did.data.faces import detect
from did.data.layout import MARK
from did.errors import DidError
from did.presets import PRESETS
from did.standin import GENERATOR, drawn, made, mask, write
from did.standin import camera as cameras
from did.standin.animate import animate
from did.standin.drawn import DrawnBank, Still, draw
from did.standin.forge import METHODS, METHODS_CDF2, _steady
from did.standin.landmarks import TEMPLATE, fit_template, five_points, warp
from did.standin.layouts import LAYOUTS, _couples, _rings
from did.standin.portraits import PortraitBank

TINY = {"train": 2, "val": 2, "test": 2}
FAKES = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
DFFD_FAKES = ("faceapp", "stargan", "pggan_v1", "pggan_v2", "stylegan_celeba", "stylegan_ffhq")
NAMES = ("a b.png", "portrét.jpg", "人/顔 1.png", "人/лицо.jpg", "e.JPG", "f.png", "g.png", "h.png", "i.png")
READERS = {"ffpp": ffpp, "cdf2": cdf2, "dffd": dffd, "diff": diff}
SWAPS = {**METHODS, **METHODS_CDF2}


def tiny(root: Path, name: str = "ffpp", **options) -> Path:
    write(name, root, **{"people": TINY, "frames": 3, "workers": 1, "progress": False, **options})
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


@pytest.fixture(scope="session")
def trees(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("standin")
    return {name: tiny(folder / name, name) for name in READERS}


@pytest.fixture(scope="session")
def tree(trees) -> Path:
    return trees["ffpp"]


@pytest.fixture(scope="session")
def portraits(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("portraits")
    for k, name in enumerate(NAMES):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(draw(np.random.default_rng([7, k])).image).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def clips():
    bank = DrawnBank(3)
    return [animate(bank.still(k), np.random.default_rng(k), 3, 256) for k in range(2)]


def listing(root: Path) -> set[str]:
    """All files of a stand-in but the masks."""
    return {name for name in contents(root) if not name.startswith("masks/")}


def test_layout_and_names_are_those_of_ffpp(tree):
    real = {f"original_sequences/youtube/c23/videos/{k:03d}.mp4" for k in range(6)}
    pairs = ["000_001", "001_000", "002_003", "003_002", "004_005", "005_004"]
    fake = {f"manipulated_sequences/{m}/c23/videos/{pair}.mp4" for m in FAKES for pair in pairs}
    rest = {"splits/train.json", "splits/val.json", "splits/test.json", "standin.json", "made.csv"}
    assert listing(tree) == real | fake | rest


def test_layout_names_and_list_are_those_of_celeb_df(trees):
    files = listing(trees["cdf2"])
    real = {f"Celeb-real/id{k}_0000.mp4" for k in range(6)} | {f"YouTube-real/0000{k}.mp4" for k in (0, 1)}
    fake = {name for name in files if name.startswith("Celeb-synthesis/")}
    assert files - fake == real | {"List_of_testing_videos.txt", "standin.json", "made.csv"}
    text = (trees["cdf2"] / "List_of_testing_videos.txt").read_text()
    assert text == (
        "1 Celeb-real/id4_0000.mp4\n0 Celeb-synthesis/id4_id5_0000.mp4\n"
        "1 Celeb-real/id5_0000.mp4\n0 Celeb-synthesis/id5_id4_0000.mp4\n1 YouTube-real/00001.mp4"
    )
    frames = video.read_frames(trees["cdf2"] / "Celeb-synthesis/id4_id5_0000.mp4", 9)
    assert [image.shape for _, image in frames] == [(384, 384, 3)] * 3


def test_layout_and_names_are_those_of_dffd(trees):
    people = {"train": (0, 1), "validation": (2, 3), "test": (4, 5)}
    expected = {
        f"{subset}/{split}/{k:05d}.png" for subset in ("ffhq", *DFFD_FAKES) for split in people for k in people[split]
    }
    assert listing(trees["dffd"]) == expected | {"standin.json", "made.csv"}


def test_layout_and_names_are_those_of_diff(trees):
    people = {"val": (0, 1), "test": (2, 3)}
    real = {f"DiFF_real/{split}/{k:05d}.jpg" for split in people for k in people[split]}
    fake = {
        f"{split}/{kind}/stand-in/{k:05d}.jpg"
        for split in people
        for kind in ("T2I", "I2I", "FS", "FE")
        for k in people[split]
    }
    assert listing(trees["diff"]) == real | fake | {"standin.json", "made.csv"}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ffpp", {"train": (6, 24), "val": (4, 16), "test": (4, 16)}),
        ("cdf2", {"train": (10, 8), "val": (2, 2), "test": (5, 4)}),
        ("dffd", {"train": (6, 36), "val": (4, 24), "test": (4, 24)}),
        ("diff", {"val": (4, 16), "test": (4, 16)}),
    ],
)
def test_the_reader_takes_all_that_is_planned(tmp_path, name, counts):
    plan = LAYOUTS[name].plan({"train": 6, "val": 4, "test": 4})
    items = [item for group in plan.groups for item in group]
    for path, text in {**plan.lists, "standin.json": "{}", **{item.path: "" for item in items}}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    index = READERS[name].index(tmp_path)
    assert sorted(index.path) == sorted(item.path for item in items)
    found = {split: (int((t.label == 0).sum()), int((t.label == 1).sum())) for split, t in index.groupby("split")}
    assert found == counts
    split = dict(zip(index.path, index.split, strict=True))
    sides = {}
    for item in items:
        for who in (item.target, item.donor):
            sides.setdefault(who, set()).add(split[item.path])
    assert all(len(side) == 1 for who, side in sides.items() if who is not None)


def test_everybody_is_a_target_and_a_donor_once():
    assert _rings([3, 5, 7, 9]) == [[3, 5], [7, 9]]
    assert _rings([3, 5, 7, 9, 11]) == [[3, 5], [7, 9, 11]]
    assert _rings([3]) == [[3]] and _rings([]) == []
    assert _couples([7, 9, 11]) == [(7, 9), (9, 11), (11, 7)]
    assert _couples([3, 5]) == [(3, 5), (5, 3)] and _couples([3]) == [(3, None)]


def test_the_record_says_how_each_file_was_made(trees):
    table = made(trees["cdf2"]).set_index("path")
    assert list(table.loc["Celeb-synthesis/id5_id4_0000.mp4"]) == [
        "Celeb-synthesis",
        "id5",
        "id4",
        "Celeb-real/id5_0000.mp4",
    ]
    assert list(table.loc["YouTube-real/00001.mp4"]) == ["", "YouTube-real/00001", "", "YouTube-real/00001.mp4"]
    with pytest.raises(DidError, match=r"no made.csv"):
        made(trees["cdf2"] / "Celeb-real")


def test_masks_lie_beside_every_forged_file_and_no_real_one(trees):
    for root in trees.values():
        table = made(root)
        masked = {name.removeprefix("masks/").removesuffix(".png") for name in set(contents(root)) - listing(root)}
        assert masked == set(table.path[table.method != ""])
        real, forged = table.path[table.method == ""].iloc[0], table.path[table.method != ""].iloc[0]
        assert mask(root, real) is None
        found = mask(root, forged)
        assert found.shape == (64, 64) and found.dtype == np.float32 and 0.9 < found.max() <= 1


def test_masks_are_those_of_the_frame(tree):
    path = "manipulated_sequences/FaceSwap/c23/videos/000_001.mp4"
    assert Image.open(tree / f"masks/{path}.png").size == (3 * 64, 64)
    real = dict(video.read_frames(tree / "original_sequences/youtube/c23/videos/000.mp4", 3))
    for number, image in video.read_frames(tree / path, 3):
        change = np.abs(image.astype(float) - real[number]).mean(-1).reshape(64, 4, 64, 4).mean((1, 3))
        found = mask(tree, path, number)
        # Outside there is noise and the codec's error alone.
        assert change[found > 0.9].mean() > 2 * change[found == 0].mean()
        assert 0.02 < (found > 0.5).mean() < 0.3
    with pytest.raises(DidError, match="frames 0 to 2"):
        mask(tree, path, 3)
    with pytest.raises(DidError, match="There is no file"):
        mask(tree, "gone.mp4")


def test_pictures_made_as_a_whole_have_a_full_mask(trees):
    whole = {m: mask(trees["dffd"], f"{m}/test/00004.png").min() == 1 for m in DFFD_FAKES}
    assert whole == dict(zip(DFFD_FAKES, (False, False, True, True, True, True), strict=True))


def test_pair_lists_split_people(tree):
    lists = {split: json.loads((tree / "splits" / f"{split}.json").read_text()) for split in TINY}
    assert lists == {"train": [["000", "001"]], "val": [["002", "003"]], "test": [["004", "005"]]}


def test_standin_json_marks_the_folder(tree):
    mark = json.loads((tree / "standin.json").read_text(encoding="utf-8"))
    assert (mark["bank"], mark["frames"], mark["people"]) == ("drawn faces", 3, TINY)
    assert mark["generator"] == GENERATOR
    assert len(set(mark["identities"].values())) == 6


def test_sets_to_train_on_and_to_test_on_share_nobody(trees, portraits):
    def whom(name):
        return set(json.loads((trees[name] / "standin.json").read_text(encoding="utf-8"))["identities"].values())

    assert whom("ffpp") == whom("dffd") == {f"drawn-0-{k}" for k in range(6)}
    assert not (whom("ffpp") & (whom("cdf2") | whom("diff")))
    people = {}
    for part, seed in (("seen", 0), ("unseen", 1)):
        bank = PortraitBank(portraits, seed, part)
        people[part] = {bank.identity(k) for k in range(bank.find(99))}
    assert (len(people["seen"]), len(people["unseen"])) == (6, 3)
    assert not people["seen"] & people["unseen"]


def test_no_drawn_person_of_a_set_to_test_on_is_in_a_set_to_train_on_at_the_real_sizes(monkeypatch):
    """Each person by what their face is drawn from; nothing is drawn. Nobody is in two splits either."""
    monkeypatch.setattr(drawn, "draw", lambda rng: tuple(rng.bit_generator.seed_seq.entropy))
    whom: dict[str, set] = {"seen": set(), "unseen": set()}
    for preset, sizes in ((name, of.standins) for name, of in PRESETS.items()):
        assert {LAYOUTS[name].part for name in ("ffpp", "dffd")} == {"seen"}, "these are trained on"
        for name, layout in LAYOUTS.items():
            plan, bank = layout.plan(sizes[name]["people"]), DrawnBank(0, layout.part)
            people = {who for group in plan.groups for item in group for who in (item.target, item.donor)} - {None}
            seeds = {bank.still(who) for who in people}
            assert len(seeds) == len(people) == sum(plan.people.values()) == len(plan.names), (preset, name)
            whom[layout.part] |= seeds
    assert len(whom["seen"]) == 1300 and len(whom["unseen"]) == 500  # dffd's and diff's at preset paper are the most
    assert not whom["seen"] & whom["unseen"]


def test_stills_have_one_frame_and_no_train_where_the_original_has_none(trees):
    marks = {name: json.loads((root / "standin.json").read_text(encoding="utf-8")) for name, root in trees.items()}
    assert {name: mark["frames"] for name, mark in marks.items()} == {"ffpp": 3, "cdf2": 3, "dffd": 1, "diff": 1}
    assert marks["diff"]["people"] == {"train": 0, "val": 2, "test": 2}
    assert sum(marks["cdf2"]["people"].values()) == 8


def test_clips_have_the_frames_asked_for_and_move(tree):
    frames = [image for _, image in video.read_frames(tree / "original_sequences/youtube/c23/videos/000.mp4", 9)]
    assert [frame.shape for frame in frames] == [(256, 256, 3)] * 3
    assert np.abs(frames[0].astype(int) - frames[2]).mean() > 0.5


@pytest.mark.parametrize("name", READERS)
def test_same_bytes_with_any_number_of_workers(trees, tmp_path, name):
    assert contents(tiny(tmp_path / "two", name, workers=2)) == contents(trees[name])


def test_another_seed_gives_other_clips(tree, tmp_path):
    other, name = tiny(tmp_path / "other", seed=1, frames=1), "original_sequences/youtube/c23/videos/000.mp4"
    first = [video.read_frames(root / name, 1)[0][1].astype(int) for root in (other, tree)]
    assert np.abs(first[0] - first[1]).mean() > 10


def test_nothing_is_left_after_an_interrupted_write(tmp_path, monkeypatch):
    calls = []

    def fail(path, frames, crf):
        calls.append(path)
        if len(calls) == 7:
            raise KeyboardInterrupt
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"clip")

    monkeypatch.setattr(cameras, "save", fail)
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
        {"size": 92},
        {"workers": 0},
        {"name": "fpp"},
    ],
)
def test_impossible_numbers(tmp_path, bad):
    with pytest.raises(DidError):
        tiny(tmp_path / "ffpp", **bad)
    assert not list(tmp_path.iterdir())


def test_portraits_with_any_file_name(portraits, tmp_path):
    root = tiny(tmp_path / "ffpp", faces=portraits, frames=1)
    mark = json.loads((root / "standin.json").read_text(encoding="utf-8"))
    assert mark["bank"] == "portraits"
    assert len(set(mark["identities"].values())) == 6 and set(mark["identities"].values()) <= set(NAMES)
    assert {"portrét.jpg", "人/顔 1.png", "人/лицо.jpg"} & set(mark["identities"].values())
    assert len(list(root.rglob("*.mp4"))) == 30


def test_portraits_give_landmarks_where_the_face_is(portraits):
    bank = PortraitBank(portraits)
    assert bank.find(1) == 1
    still = bank.still(0)
    found = detect([still.image])[0][0].landmarks
    unit = np.linalg.norm(found[1] - found[0])
    assert np.abs(five_points(still.points) - found).max() < 0.12 * unit


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
    with pytest.raises(DidError, match="6 seen people .* needs 8"):
        tiny(tmp_path / "ffpp", faces=portraits, people={"train": 4, "val": 2, "test": 2})


def test_splits_shrink_in_proportion_where_that_is_asked_for(portraits, tmp_path):
    tiny(tmp_path / "ffpp", faces=portraits, people={"train": 8, "val": 4, "test": 4}, fewer=True)
    splits = {s: json.loads((tmp_path / "ffpp" / "splits" / f"{s}.json").read_text()) for s in ("train", "val", "test")}
    assert {split: 2 * len(pairs) for split, pairs in splits.items()} == {"train": 2, "val": 2, "test": 2}
    assert json.loads((tmp_path / "ffpp" / MARK).read_text())["people"] == {"train": 2, "val": 2, "test": 2}
    few = tmp_path / "few"
    few.mkdir()
    for number, file in enumerate(sorted(portraits.rglob("*.png"))[:5]):
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


@pytest.mark.parametrize("method", SWAPS)
def test_forgery_changes_what_its_mask_says_and_nothing_else(clips, method):
    target, donor = clips
    forged, masks = SWAPS[method](target, donor, np.random.default_rng(0))
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
            forge(target, donor, np.random.default_rng(0))[0], forge(target, black, np.random.default_rng(0))[0]
        )
        for m, forge in SWAPS.items()
    }
    assert same == {
        "Deepfakes": False,
        "FaceSwap": False,
        "Face2Face": True,
        "NeuralTextures": True,
        "Celeb-synthesis": False,
    }


def test_celeb_df_matches_colours_better_than_faceswap():
    bank = DrawnBank(3)
    gaps = {"FaceSwap": [], "Celeb-synthesis": []}
    for k in range(0, 8, 2):
        target, donor = (animate(bank.still(k + i), np.random.default_rng(k + i), 1, 256) for i in (0, 1))
        for method, gap in gaps.items():
            forged, masks = SWAPS[method](target, donor, np.random.default_rng(0))
            inside = masks[0] > 0.9
            gap.append(np.abs(forged[0][inside].mean(0) - target.frames[0][inside].mean(0)).mean())
    assert np.mean(gaps["Celeb-synthesis"]) < 0.6 * np.mean(gaps["FaceSwap"])


def test_landmarks_are_smoothed_over_time():
    points = np.zeros((5, 68, 2))
    points[2] = 12
    assert np.allclose(_steady(points)[:, 0, 0], [1, 3, 4, 3, 1])
    assert np.allclose(_steady(np.full((1, 68, 2), 7.0)), 7)


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
        shot = cameras.shoot(cameras.VIDEO, clip.frames, np.random.default_rng(person), np.random.default_rng(person))
        faces = detect(list(shot))[0]
        if not faces:
            continue
        found += faces[0].probability > 0.9
        unit = np.linalg.norm(clip.points[0][42:48].mean(0) - clip.points[0][36:42].mean(0))
        good += bool(np.abs(faces[0].landmarks - five_points(clip.points[0])).max() < 0.3 * unit)
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
