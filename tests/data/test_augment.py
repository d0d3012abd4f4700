"""The field's light augmentation: what it draws, what it leaves alone, and who may not have it."""

import dataclasses

import numpy as np
import pytest
import torch

from did import DidError, Settings
from did.data.augment import augmented, light
from did.task import Wants
from did.training.runs import run, split_faces


def generator(seed):
    return torch.Generator().manual_seed(seed)


def face(channels=1, size=48):
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    return torch.stack([(0.3 + 0.4 * x * y + 0.1 * torch.sin(9 * x)) / (1 + 0.1 * c) for c in range(channels)])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_generator_gives_the_same_image_and_the_global_state_stays(channels):
    image = face(channels)
    before = torch.get_rng_state()
    first, again = light(image, generator(3)), light(image, generator(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert first.shape == image.shape and first.dtype == image.dtype
    assert first.min() >= 0 and first.max() <= 1


def test_images_differ_by_seed_and_some_are_left_as_they_are():
    image = face()
    drawn = [light(image, generator(seed)) for seed in range(400)]
    # No step is taken with probability .5 * .7 * .5 * .7 * .7 * .5 = .043: 17 of 400, standard deviation 4.
    untouched = sum(torch.equal(each, image) for each in drawn)
    assert 4 <= untouched <= 34
    assert len({each.numpy().tobytes() for each in drawn}) > 300


def test_it_is_light():
    image = face()
    moved = [(light(image, generator(seed)) - image).abs().median().item() for seed in range(200)]
    assert 0.005 < np.median(moved) < 0.15


def test_the_tasks_own_transform_sees_the_augmented_image():
    def own(image, generator):
        return image + 2

    image = face()
    both = augmented(Wants(transform=own)).transform
    assert torch.equal(both(image, generator(5)), light(image, generator(5)) + 2)
    assert augmented(Wants()).transform is light


@pytest.mark.parametrize("wants", [Wants(masks=True), Wants(context=0.6)])
def test_masks_and_context_would_not_fit(wants):
    with pytest.raises(DidError, match=r"do not fit a turned image; take augment=none"):
        augmented(wants)


def test_only_training_images_are_augmented(tiny_source, tiny_settings):
    source, store = tiny_source
    lit = dataclasses.replace(tiny_settings, augment="light")
    faces, other = (split_faces(store, each, None, source, False) for each in (tiny_settings, lit))
    for split in ("val", "test"):
        assert torch.equal(faces[split][0]["image"], other[split][0]["image"])
    changed = [not torch.equal(faces["train"][0]["image"], other["train"][0, seed]["image"]) for seed in range(40)]
    assert sum(changed) > 30  # of 40; .957 of them are expected


def test_the_default_names_runs_as_before():
    assert Settings().digest() == Settings(augment="none").digest() != Settings(augment="light").digest()


def test_a_run_with_augmentation_is_the_same_each_time_and_says_so(tiny_source, tiny_settings, tmp_path):
    source, store = tiny_source
    settings = dataclasses.replace(tiny_settings, augment="light", iterations=4, validate_every=4)
    first, again = (
        run(source, settings, "bce", store=store, runs=tmp_path / name, progress=False) for name in ("one", "two")
    )
    plain = run(source, dataclasses.replace(settings, augment="none"), "bce", store=store, runs=tmp_path / "one",
                progress=False)  # fmt: skip
    assert first.scores.equals(again.scores) and not first.scores.score.equals(plain.scores.score)
    assert "4 iterations of 10, light augmentation;" in first.record["protocol"]
    assert "augmentation" not in plain.record["protocol"]
