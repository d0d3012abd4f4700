"""Grad-CAM in closed form, the forged region in a crop, embeddings and probes."""

import types

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from crops import pictures
from PIL import Image
from torch import nn

from did import standin
from did.data import faces as faces_module
from did.data import ffpp, prepare, video
from did.data.faces import Face
from did.data.geometry import similarity
from did.data.store import LANDMARKS
from did.errors import DidError
from did.evaluation import explain
from did.method.model import DID
from did.rivals.bce import PlainDetector
from did.rivals.f3net import F3Net
from did.training.runs import split_faces

SIZE = 64


class TwoChannels(nn.Module):
    """A backbone whose map is the image and its negative; a pixel of the image is a place of the map."""

    channels = 2

    def forward(self, images):
        return torch.cat([images, 1 - images], dim=1)


def two_channel_detector(weights, bias=0.0):
    detector = PlainDetector(TwoChannels())
    with torch.no_grad():
        detector.classifier.weight.copy_(torch.tensor([weights]))
        detector.classifier.bias.fill_(bias)
    return detector


@pytest.fixture(scope="module")
def did_model():
    torch.manual_seed(0)
    return DID("test_efficientnet", 5, hidden=8).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def tiny_standin(tmp_path_factory):
    """Root and face store of a small FF++ stand-in."""
    root, store = tmp_path_factory.mktemp("ffpp") / "root", tmp_path_factory.mktemp("store")
    people = {"train": 2, "val": 2, "test": 2}
    standin.write("ffpp", root, people, frames=2, workers=1, progress=False)
    return root, prepare.prepare(ffpp.index(root), root, store, frames=2, size=SIZE, workers=1, progress=False)


# --- saliency ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # relu(2x) / 1.6
        ([2.0, 0.0], [[0.0, 0.25], [0.5, 1.0]]),
        # relu(x - 3(1 - x)) = relu(4x - 3): 0, 0, 0, .2
        ([1.0, -3.0], [[0.0, 0.0], [0.0, 1.0]]),
        # relu(3(1 - x) - x) = relu(3 - 4x): 3, 2.2, 1.4, 0
        ([-1.0, 3.0], [[1.0, 2.2 / 3], [1.4 / 3, 0.0]]),
        # Nothing pushes this score up.
        ([-1.0, -1.0], [[0.0, 0.0], [0.0, 0.0]]),
    ],
)
def test_grad_cam_of_two_channels(weights, expected):
    image = torch.tensor([[[[0.0, 0.2], [0.4, 0.8]]]])
    found = explain.saliency(two_channel_detector(weights), image, "I_X")
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(np.array(expected), abs=1e-6)


def test_channels_are_weighted_by_the_mean_gradient():
    """Gradients that differ from place to place: means 3 and 1, so 3·A + 1·B, divided by the maximum 7."""
    activation = torch.tensor([[[[1.0, 2.0]], [[0.0, 1.0]]]])
    gradient = torch.tensor([[[[6.0, 0.0]], [[-1.0, 3.0]]]])
    found = explain._grad_cam(activation, gradient, (1, 2))
    assert found[0] == pytest.approx(np.array([[3 / 7, 1.0]]))


@pytest.mark.parametrize("name", explain.MAPS)
def test_saliency_is_a_picture_in_0_1(did_model, images, name):
    found = explain.saliency(did_model, images, name)
    assert found.shape == (3, SIZE, SIZE) and found.dtype == np.float32
    assert np.isfinite(found).all() and found.min() >= 0
    assert all(top == pytest.approx(1) or top == 0 for top in found.max((1, 2)))
    # Alone or in a batch: an image's map is its own.
    assert explain.saliency(did_model, images[1:2], name)[0] == pytest.approx(found[1], abs=1e-4)


@pytest.mark.parametrize("name", explain.MAPS)
def test_many_faces_cost_no_more_memory_than_a_few(did_model, images, name, monkeypatch):
    """As many faces go through a backward pass as fit, and the forward passes keep nothing of G for it but its map."""
    monkeypatch.setattr(explain, "AT_ONCE", 4)
    many, targets = images[torch.arange(10) % 3], np.arange(10) % 5 if name.endswith("dom") else None
    rows, kept, grad = [], [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda score, at: rows.append(len(at)) or grad(score, at))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        found = explain.saliency(did_model, many, name, targets)
    assert rows == [4, 4, 2]
    assert max(shape.numel() for shape in kept if len(shape) == 4) == did_model.backbone(many[:4]).numel()
    monkeypatch.setattr(explain, "AT_ONCE", 32)
    assert explain.saliency(did_model, many, name, targets) == pytest.approx(found, abs=1e-5)


def test_a_model_that_fails_leaves_gradients_and_mode_as_they_were(did_model, images, monkeypatch):
    monkeypatch.setattr(did_model.backbone.body, "forward_features", lambda images: 1 / 0)
    did_model.train()
    with torch.no_grad(), pytest.raises(ZeroDivisionError):
        explain.saliency(did_model, images)
    assert torch.is_grad_enabled() and did_model.training
    assert not did_model.backbone._forward_hooks and not did_model.backbone._forward_pre_hooks
    did_model.eval()


def test_a_constant_in_the_score_changes_nothing(images):
    plain, shifted = (explain.saliency(two_channel_detector([1.0, -0.5], b), images, "I_X") for b in (0.0, 5.0))
    assert np.array_equal(plain, shifted)


def test_each_domain_has_a_map_of_its_own(did_model, images):
    with torch.no_grad():
        likeliest = did_model(images).domain_logits.argmax(1)
    default = explain.saliency(did_model, images, "I_dom")
    assert np.array_equal(default, explain.saliency(did_model, images, "I_dom", likeliest))
    assert not np.allclose(default, explain.saliency(did_model, images, "I_dom", (likeliest + 1) % 5))


def test_saliency_leaves_the_model_as_it_was(did_model, images):
    did_model.train()
    explain.saliency(did_model, images)
    assert did_model.training
    assert all(parameter.grad is None for parameter in did_model.parameters())
    did_model.eval()


def test_maps_that_a_model_lacks(images):
    without = DID("test_efficientnet", 5, hidden=8, domain_attention=False)
    with pytest.raises(DidError, match="no A_dom.*take I_dom"):
        explain.saliency(without, images, "M_dom")
    no_branch = DID("test_efficientnet", 5, hidden=8, domain_attention=False, domain_branch="dropped")
    with pytest.raises(DidError, match="no C̄, so that nothing depends on I_dom; take I_df"):
        explain.saliency(no_branch, images, "I_dom")
    assert explain.saliency(no_branch, images, "I_df").shape == (len(images), *images.shape[2:])
    with pytest.raises(DidError, match="PlainDetector has no map I_df"):
        explain.saliency(two_channel_detector([1.0, 1.0]), images)
    with pytest.raises(DidError, match="did you mean 'I_df'"):
        explain.saliency(without, images, "I_fd")


def landmarks_of(face: Face) -> dict[str, float]:
    return dict(zip(LANDMARKS, face.landmarks.ravel().tolist(), strict=True))


# --- the forged region -------------------------------------------------------------------------------------------


def test_a_real_face_has_no_forged_region(tiny_standin):
    root, store = tiny_standin
    row = store.manifest.query("method == 'real'").iloc[0]
    assert explain.true_region(root, row, SIZE) is None


def test_the_region_lies_on_the_forged_pixels(tiny_standin):
    """A forged frame differs from its target's real frame inside the region and, but for the codec, nowhere else; both
    are cut by the forged frame's landmarks, so that they lie one on the other."""
    root, store = tiny_standin
    real_of = standin.made(root).set_index("path").real
    rows, crops = store.manifest.query("label == 1 and split == 'train'"), pictures(store)
    assert set(rows.method) == {"Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"}
    for row in rows.itertuples():
        region = explain.true_region(root, row, SIZE)
        assert region.shape == (SIZE, SIZE) and region.min() >= 0 and 0.9 < region.max() <= 1
        frames = [dict(video.stream_frames(root / path, 2))[row.frame] for path in (row.path, real_of[row.path])]
        landmarks = np.array([getattr(row, name) for name in LANDMARKS]).reshape(5, 2)
        forged, real = (faces_module.align(frame, landmarks, SIZE).astype(float) for frame in frames)
        crop = crops[row.face].astype(float)
        assert np.abs(forged - crop).max() <= 1  # but for the rounding of the landmarks
        change = np.abs(forged - real).mean(2)
        assert change[region > 0.9].mean() > 3 * change[region < 0.05].mean()


def test_the_region_turns_and_moves_with_the_face(tiny_standin, tmp_path):
    """The frame and its mask turned by 20 degrees and shifted: the aligned region stays where it was."""
    root, store = tiny_standin
    row = store.manifest.query("method == 'FaceSwap'").iloc[0].copy()
    expected = explain.true_region(root, row, SIZE)
    frame = dict(video.stream_frames(root / row.path, 2))[0]
    mask = standin.mask(root, row.path, 0)
    side = len(frame)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), 20, 1.0)
    matrix[:, 2] += (10, -6)
    pieces = [
        cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
        for picture in (frame, cv2.resize(mask, (side, side)))
    ]
    Image.fromarray(pieces[0]).save(tmp_path / "turned.png")
    small = cv2.resize(pieces[1], (64, 64), interpolation=cv2.INTER_AREA)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.uint8(np.round(255 * small))).save(tmp_path / "masks" / "turned.png.png")
    face = prepare.detect([pieces[0]])[0][0]
    there = types.SimpleNamespace(path="turned.png", frame=0, **landmarks_of(face))
    found = explain.true_region(tmp_path, there, SIZE)
    both, either = ((found > 0.5) & (expected > 0.5)).sum(), ((found > 0.5) | (expected > 0.5)).sum()
    assert both / either > 0.85
    # A mask that had not gone with the face would show.
    where = faces_module.align(
        np.uint8(255 * cv2.resize(mask, (side, side)))[..., None].repeat(3, 2), face.landmarks, SIZE
    )
    left_behind = where[..., 0] > 127
    assert (left_behind & (expected > 0.5)).sum() / (left_behind | (expected > 0.5)).sum() < 0.8


@pytest.mark.parametrize("margin", [0.3, 0.8])
def test_what_was_forged_at_an_eye_lies_at_the_templates_eye(tiny_standin, tmp_path, margin):
    root, store = tiny_standin
    frame = dict(video.stream_frames(root / store.manifest.path[0], 2))[0]
    Image.fromarray(frame).save(tmp_path / "face.png")
    face = prepare.detect([frame])[0][0]
    eyes = [np.round((point + 0.5) / len(frame) * 64 - 0.5).astype(int) for point in face.landmarks[:2]]
    mask = np.zeros((64, 64), np.uint8)
    for x, y in eyes:
        mask[y - 1 : y + 2, x - 1 : x + 2] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "face.png.png")
    row = types.SimpleNamespace(path="face.png", frame=0, **landmarks_of(face))
    region = explain.true_region(tmp_path, row, SIZE, margin)
    left, right = np.split(region, 2, axis=1)
    found = []
    for half, start in ((left, 0), (right, SIZE // 2)):
        y, x = np.indices(half.shape)
        found.append([(half * x).sum() / half.sum() + start, (half * y).sum() / half.sum()])
    # Where the eyes lie in the crop itself; the mask's grid of 64 pixels a frame leaves half a pixel or so.
    matrix = similarity(face.landmarks, faces_module.template(SIZE, margin))
    assert np.abs(found - (face.landmarks[:2] @ matrix[:, :2].T + matrix[:, 2])).max() < 1


def test_no_face_is_looked_for_again(tiny_standin, monkeypatch):
    root, store = tiny_standin
    monkeypatch.setattr(faces_module, "_faces", None)
    row = store.manifest.query("label == 1").iloc[0]
    assert explain.true_region(root, row, SIZE).max() > 0.9


def test_overlap_by_hand():
    maps = np.array(
        [[[1.0, 0.5], [0.5, 0.0]], [[0.0, 0.0], [0.0, 1.0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]], np.float32
    )
    region = np.array([[0.9, 0.6], [0.4, 0.0]])
    # The mean of the four maps has the parts 2, .5, .5, 1 (quarters): 2.5 of 4 lie inside.
    table = explain.overlap(maps, [region, region, region, None])
    assert table.share.tolist()[:2] == [0.75, 0.0]
    assert table.area.tolist()[:2] == [0.5, 0.5]
    assert table.fixed.tolist()[:2] == [0.625, 0.625]
    assert table.hit.tolist()[:2] == [1.0, 0.0]
    assert table.note.tolist() == ["", "", "empty map", "not forged"]
    assert table.iloc[2:][["share", "area", "fixed", "hit"]].isna().all(axis=None)
    whole = explain.overlap(maps[:2], [np.ones((2, 2)), np.zeros((2, 2))])
    assert whole.note.tolist() == ["whole crop forged", "nothing forged in the crop"]
    assert whole.share.isna().all()


def shares(values, people, **more):
    """Rows as `overlap_faces` has them, of one map and one method."""
    known = {"share": values, "hit": values, "person": people, "face": range(len(values)), "video": people}
    of = {"map": "I_df", "method": "whole", "area": 0.5, "fixed": 0.5, "note": ""}
    return pd.DataFrame(known).assign(**of, **more)


def test_intervals_of_means_draw_whole_people():
    def of(values, people):
        return tuple(explain.overlap_table(shares(values, people)).loc[0, ["share_low", "share_high"]])

    low, high = of([0, 0, 1, 1], ["a", "a", "b", "b"])
    assert low < 0.01 and high > 0.99, "two people tell nearly nothing"
    assert np.isnan(of([0, 1], ["a", "a"])).all()
    assert of(np.tile([0, 1], 200), np.arange(400)) == pytest.approx((0.451, 0.549), abs=0.01)


def test_overlaps_of_several_runs_have_intervals_over_people_and_seeds():
    rng = np.random.default_rng(0)
    people, base = np.arange(40), rng.uniform(0.4, 0.6, 40)
    runs = [shares(base + shift, people, seed=seed) for seed, shift in enumerate((-0.1, 0.0, 0.1))]
    one, three = explain.overlap_table(runs[1]).iloc[0], explain.overlap_table(pd.concat(runs)).iloc[0]
    assert one.share == pytest.approx(three.share) == pytest.approx(base.mean())
    assert (one.seeds, three.seeds, one.faces, three.faces) == (1, 3, 40, 40)
    assert np.isnan(one.share_std) and three.share_std == pytest.approx(0.1)
    assert three.share_high - three.share_low > 1.5 * (one.share_high - one.share_low), "seeds are not drawn"
    # A difference is paired by run: where both maps move together, the seeds' spread is gone from it.
    other = [run.assign(map="I_dom", share=run.share - 0.05) for run in runs]
    apart = explain.overlap_difference(pd.concat([*runs, *other]), "I_df", "I_dom").iloc[0]
    assert (apart.difference, apart.low, apart.high) == pytest.approx((0.05, 0.05, 0.05))
    turned = [run.assign(map="I_dom", share=run.share - gap) for run, gap in zip(runs, (-0.1, 0.05, 0.2), strict=True)]
    apart = explain.overlap_difference(pd.concat([*runs, *turned]), "I_df", "I_dom").iloc[0]
    assert apart.difference == pytest.approx(0.05) and apart.low < 0 < apart.high


def test_the_table_of_overlaps(tiny_standin, tiny_settings, did_model):
    root, store = tiny_standin
    faces = split_faces(store, tiny_settings)["test"]
    per_face = explain.overlap_faces(types.SimpleNamespace(model=did_model), faces, root)
    table = explain.overlap_table(per_face, draws=50)
    apart = explain.overlap_difference(per_face)
    methods = ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    assert list(zip(table["map"], table.method, strict=True)) == [(m, x) for m in ("I_df", "I_dom") for x in methods]
    assert (table.faces + table.empty == 4).all() and (table.videos <= 2).all()
    have = table[table.faces > 0]
    assert have.area.between(0.03, 0.5).all() and have.share.between(0, 1).all() and have.fixed.between(0, 1).all()
    twice = table[table.share_low.notna()]
    assert ((twice.share_low <= twice.share) & (twice.share <= twice.share_high)).all()
    shares = per_face[per_face.note == ""].pivot(index=["method", "face"], columns="map", values="share").dropna()
    gaps = (shares.I_df - shares.I_dom).groupby("method").mean()
    assert all(row.difference == pytest.approx(gaps[row.method], abs=1e-9) for row in apart.itertuples())


# --- embeddings --------------------------------------------------------------------------------------------------


def test_features_are_means_over_places(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["test"]
    task = tiny_run.task()
    found = explain.features(task, faces)
    assert list(found) == ["I_X", "I_df", "I_dom", "I_res"]
    with torch.no_grad():
        out = task.model(faces[7]["image"][None])
    for name, field in (("I_X", "features"), ("I_df", "deepfake"), ("I_dom", "domain"), ("I_res", "residual")):
        assert len(found[name]) == len(faces)
        assert found[name][7] == pytest.approx(getattr(out, field)[0].mean((1, 2)).numpy(), abs=1e-4)
    # Eq. 1 and 2
    assert found["I_df"] + found["I_dom"] + found["I_res"] == pytest.approx(found["I_X"], abs=1e-4)


def test_features_of_other_models_are_what_the_classifier_is_given(tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["val"]
    plain = explain.features(types.SimpleNamespace(model=two_channel_detector([1.0, 1.0])), faces, batch_size=7)
    assert list(plain) == ["I_X"]
    means = np.array([faces[k]["image"].mean().item() for k in range(len(faces))])
    assert plain["I_X"] == pytest.approx(np.column_stack([means, 1 - means]), abs=1e-5)
    two = F3Net("test_efficientnet", image_size=tiny_settings.image_size)
    found = explain.features(types.SimpleNamespace(model=two), faces)["I_X"]
    assert found.shape == (len(faces), two.classifier.in_features)
    assert not two.classifier._forward_pre_hooks and two.training


def test_tsne_is_the_same_for_a_seed():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 12)
    vectors = (rng.normal(size=(24, 5)) + 30 * groups[:, None]).astype(np.float32)
    places = explain.tsne(vectors, seed=1)
    assert places.shape == (24, 2)
    assert np.array_equal(places, explain.tsne(vectors, seed=1))
    assert explain.silhouette(places, groups) > 0.5
    assert explain.tsne(vectors[:4]).shape == (4, 2)
    with pytest.raises(DidError, match="at least 4 vectors"):
        explain.tsne(vectors[:3])


def test_a_silhouette_by_hand():
    """0 and 1 against 10 and 11: 1 to their own, 10.5 or 9.5 to the others."""
    points = np.array([[0.0], [1.0], [10.0], [11.0]])
    assert explain.silhouette(points, ["a", "a", "b", "b"]) == pytest.approx((2 * 9.5 / 10.5 + 2 * 8.5 / 9.5) / 4)
    assert explain.silhouette(points, ["a", "b", "a", "b"]) < 0
    for labels in (["a"] * 4, ["a", "b", "c", "d"]):
        with pytest.raises(DidError, match="two labels or more"):
            explain.silhouette(points, labels)


def test_a_probe_reads_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [100, 200, 300])
    noise = rng.normal(size=(600, 4))
    there = noise + 20 * np.eye(4)[labels]
    assert explain.probe(there[::2], labels[::2], there[1::2], labels[1::2]) == 1.0
    assert explain.probe(noise[::2], labels[::2], noise[1::2], labels[1::2]) == pytest.approx(1 / 3, abs=0.08)


def test_a_probe_counts_classes_alike():
    # One feature, a threshold between 0 and 1: all 8 of class 0 right, 1 of 2 of class 1.
    test = np.array([[0.0]] * 8 + [[0.0], [1.0]])
    assert explain.probe(np.array([[0.0], [1.0]]), [0, 1], test, [0] * 8 + [1] * 2) == 0.75
    # Nine of ten to fit on are of class 0, and the spread is alike: counted alike, the threshold lies halfway.
    fit = np.concatenate([np.linspace(-2, 2, 900), np.linspace(-1, 3, 100)])[:, None]
    halfway = np.array([[0.3], [0.7]])
    assert explain.probe(fit, np.repeat([0, 1], [900, 100]), halfway, [0, 1]) == 1.0
    with pytest.raises(DidError, match="class '2', which it was not fitted on"):
        explain.probe(np.array([[0.0], [1.0]]), [0, 1], test[:1], [2])
    with pytest.raises(DidError, match="two classes to fit on"):
        explain.probe(np.array([[0.0], [1.0]]), [1, 1], test[:1], [1])


def test_halves_part_each_persons_videos():
    rows = pd.DataFrame(
        [("real/0", "0"), ("real/0", "0"), ("F/0_1", "0+1"), ("G/0_1", "0+1"), ("F/1_0", "1+0"), ("real/1", "1"),
         ("real/2", "2"), ("real/2", "2")], columns=["video", "identity"]
    )  # fmt: skip
    halves = explain._halves(rows, seed=0)
    assert halves[0] == halves[1]
    assert sorted(halves[[0, 2, 3]]) == [0, 0, 1]
    assert sorted(halves[[4, 5]]) == [0, 1]
    assert halves[6:].tolist() == [-1, -1]


def test_the_table_of_probes(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)
    table = explain.probe_table(tiny_run.task(), faces["val"], faces["test"])
    sets, targets = ["I_X", "I_df", "I_dom", "I_res"], ["label", "domain", "identity"]
    assert list(zip(table.features, table.target, strict=True)) == [(s, t) for s in sets for t in targets]
    assert table.chance[:3].tolist() == [1 / 2, 1 / 5, 1 / 4]
    # Four people with 5 videos of 2 frames each: all 40 faces, and for identity 2 of the 5 videos.
    assert table.n[:3].tolist() == [40, 40, 16]
    # The bars can be read from the backbone's features; the people are noise.
    wide = table.pivot(index="features", columns="target", values="accuracy")
    assert wide.domain["I_X"] > 0.6
    assert wide.identity["I_X"] < 0.6
