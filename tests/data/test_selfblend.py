"""Self-blended images: where they differ from the face, what the outline is, and that the seed decides all."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from did.data.augment import augmented
from did.data.faces import template
from did.data.loading import Faces, batches
from did.data.selfblend import RATIOS, outline, self_blended, soft_mask
from did.data.store import LANDMARKS as LANDMARK_NAMES
from did.errors import DidError
from did.task import Wants

LANDMARKS = template(112)


def face(channels=3, size=112):
    ramp = torch.linspace(0.2, 0.8, size)
    noise = torch.rand(channels, size, size, generator=torch.Generator().manual_seed(0))
    return (ramp + 0.1 * noise).clamp(0, 1)


def inside(points, hull):
    return [cv2.pointPolygonTest(hull.astype(np.float32), (float(x), float(y)), False) > 0 for x, y in points]


def test_the_outline_holds_the_landmarks_and_follows_them():
    hull = outline(LANDMARKS)
    assert all(inside(LANDMARKS, hull)) and cv2.isContourConvex(hull.astype(np.float32))
    moved = outline(LANDMARKS + [5, -3])
    assert np.allclose(sorted(map(tuple, moved - [5, -3])), sorted(map(tuple, hull)), atol=1e-3)
    wide = outline(LANDMARKS * [1.2, 1.0])
    assert np.ptp(wide[:, 0]) == pytest.approx(1.2 * np.ptp(hull[:, 0]), rel=0.01)


def test_without_a_forehead_it_ends_at_the_brows():
    whole, lower = outline(LANDMARKS), outline(LANDMARKS, forehead=False)
    eyes = LANDMARKS[:2, 1].mean()
    assert whole[:, 1].min() < lower[:, 1].min() < eyes and whole[:, 1].max() == pytest.approx(lower[:, 1].max())


def test_the_mask_is_soft_and_1_in_the_middle_of_the_face():
    masks = [soft_mask(outline(LANDMARKS), 112, np.random.default_rng(seed)) for seed in range(8)]
    x, y = LANDMARKS[2].round().astype(int)
    for mask in masks:
        assert mask.shape == (112, 112) and mask.min() >= 0 and mask.max() == 1
        assert mask[y, x] > 0.9 and mask[:4].max() < 0.1 and mask[:, :4].max() < 0.1
        assert ((mask > 0.1) & (mask < 0.9)).mean() > 0.02
    assert not np.allclose(masks[0], masks[1])


def test_the_seed_decides_all_and_the_range_is_kept():
    images = [self_blended(face(), LANDMARKS, seed) for seed in (1, 1, 2)]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    for seed in range(20):
        found = self_blended(face(), LANDMARKS, seed)
        assert found.shape == (3, 112, 112) and found.dtype == torch.float32
        assert found.min() >= 0 and found.max() <= 1 and torch.isfinite(found).all()
    assert self_blended(face(1), LANDMARKS, 0).shape == (1, 112, 112)


def test_in_half_of_them_only_the_face_differs_and_in_half_only_its_surroundings_are_recoloured():
    rim = torch.ones(112, 112, dtype=torch.bool)
    rim[8:-8, 8:-8] = False
    same = [bool((self_blended(face(), LANDMARKS, seed) - face()).abs()[:, rim].max() < 1e-6) for seed in range(60)]
    assert 20 <= sum(same) <= 40
    assert RATIOS == (0.25, 0.5, 0.75, 1, 1, 1)


def test_a_batch_has_real_faces_alone_each_beside_its_blend(tiny_source):
    _, store = tiny_source
    wants = Wants(channels=3, blended=True)
    rows = store.manifest[store.manifest.split == "train"]
    faces = Faces(rows, store.root, 64, wants=wants, training=True)
    batch = next(iter(batches(faces, 9, 1, seed=0)))
    assert len(batch["image"]) == 5 and set(batch["domain"].tolist()) == {0}
    assert batch["blended"].shape == batch["image"].shape and not torch.equal(batch["blended"], batch["image"])
    again = next(iter(batches(faces, 9, 1, seed=0)))
    assert torch.equal(again["blended"], batch["blended"])
    assert "blended" not in Faces(rows, store.root, 64, wants=wants)[0]


def test_one_transform_for_both_of_a_pair(tiny_source):
    """A pair that differed in its augmentation would be told apart by that."""
    _, store = tiny_source

    def draw(image, generator):
        return torch.rand((), generator=generator).expand_as(image)

    wants = Wants(channels=3, transform=draw, blended=True)
    rows = store.manifest[store.manifest.split == "train"]
    batch = next(iter(batches(Faces(rows, store.root, 64, wants=wants, training=True), 8, 1, seed=0)))
    assert torch.equal(batch["image"], batch["blended"]) and len(batch["image"][:, 0, 0, 0].unique()) == 4
    with pytest.raises(DidError, match="makes and augments its own pairs"):
        augmented(dataclasses.replace(wants, transform=None))


def test_crops_without_landmarks_are_one_sentence(tiny_source):
    _, store = tiny_source
    rows = store.manifest[store.manifest.split == "train"].assign(**dict.fromkeys(LANDMARK_NAMES, 32.0))
    with pytest.raises(DidError, match=r"The crop .*0000.png has no landmarks, which a self-blended image needs"):
        Faces(rows, store.root, 64, wants=Wants(blended=True), training=True)[(0, 1)]


def test_too_few_real_faces_are_one_sentence(tiny_source):
    _, store = tiny_source
    rows = store.manifest[(store.manifest.split == "train") & (store.manifest.label == 1)]
    faces = Faces(rows, store.root, 64, ["real", *sorted(set(rows.method))], wants=Wants(blended=True), training=True)
    with pytest.raises(DidError, match="A batch takes 5 real faces, and there are 0"):
        batches(faces, 10, 1, seed=0)
