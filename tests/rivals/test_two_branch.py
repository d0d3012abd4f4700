"""Two Branch: details of maps, the isolating loss by a plain loop, the centre that stays, frames of a clip."""

import math

import pytest
import torch
from batches import batch as made

from did.data.loading import Faces
from did.errors import DidError
from did.method.backbones import Backbone
from did.rivals.two_branch import (
    BEYOND,
    FRAMES,
    HIDDEN,
    SCALES,
    THRESHOLD,
    WITHIN,
    LaplacianOfGaussian,
    TwoBranchDetector,
    TwoBranchTask,
    gaussian,
    isolating_loss,
)
from did.settings import Settings


@pytest.fixture
def task():
    torch.manual_seed(0)
    return TwoBranchTask(Settings.preset("smoke"), 5)


def test_the_kernel_is_a_gaussian():
    kernel = gaussian(2.0)
    assert kernel.shape == (3, 3) and kernel.sum().item() == pytest.approx(1)
    assert (kernel[1, 1] / kernel[0, 1]).item() == pytest.approx(math.exp(1 / 8), abs=1e-5)


def test_a_flat_map_has_no_detail_and_a_fine_one_keeps_it():
    layer = LaplacianOfGaussian(2)
    flat = layer.details(torch.full((1, 2, 16, 16), 3.0))
    assert len(flat) == len(SCALES) and all(part.abs().max() < 1e-5 for part in flat)
    x = torch.arange(16)
    checks = ((x[:, None] + x) % 2).float().expand(1, 2, 16, 16)
    for part in layer.details(checks):
        assert part.shape == checks.shape and part.std() > 0.7 * checks.std()
    slope = (x / 16).expand(1, 2, 16, 16)
    assert layer.details(slope)[0][..., 4:-4].std() < 0.1 * slope.std()


def test_the_isolating_loss_by_a_plain_loop():
    d, y = [0.01, 0.2, 1.0, 3.0, 2.0], [0, 0, 1, 1, 1]
    near = sum(max(0, a - 0.05) for a, b in zip(d, y, strict=True) if b == 0) / 2
    far = sum(max(0, 2.5 - a) for a, b in zip(d, y, strict=True) if b == 1) / 3
    assert isolating_loss(torch.tensor(d), torch.tensor(y), 0.05, 2.5).item() == pytest.approx(near + far, abs=1e-6)
    assert isolating_loss(torch.tensor([9.0]), torch.tensor([1]), 0.05, 2.5).item() == 0


def test_the_loss_and_the_score_are_in_units_of_the_radius(task):
    of = made(TwoBranchTask.wants)
    task.eval()
    task.model.radius.fill_(0.5)
    d = task.model.distances(of["image"]) / 0.5
    expected = isolating_loss(d, of["label"], WITHIN * BEYOND, BEYOND).item()
    assert task(of, 0.0, 0).losses == {"isolating": pytest.approx(expected, abs=1e-5)}
    assert torch.allclose(task.detector()(of["image"]), d - THRESHOLD, atol=1e-5)


def test_centre_and_radius_are_the_untrained_networks_and_stay(task, tiny_source):
    _, store = tiny_source
    rows = store.manifest[store.manifest.split == "train"]
    faces = Faces(rows, store.root, 64, wants=TwoBranchTask.wants, training=True)
    task.begin(faces)
    real = torch.stack([faces[i]["image"] for i in range(len(faces)) if faces.labels[i] == 0])
    task.eval()
    with torch.no_grad():
        features = task.model.features(real)
    assert torch.allclose(task.model.centre, features.mean(0), atol=1e-5)
    distances = (features - features.mean(0)).norm(dim=1)
    assert (distances <= task.model.radius + 1e-6).float().mean() >= 0.9
    before = task.model.centre.clone()
    task.train()
    task(made(TwoBranchTask.wants), 0.0, 0).total.backward()
    assert torch.equal(task.model.centre, before) and {"model.centre", "model.radius"} <= set(task.state_dict())


def test_the_second_branch_begins_as_a_copy_and_every_frame_counts(task):
    first, second = task.model.backbone[1].state_dict(), task.model.detail[1].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    task.eval()
    clips = made(TwoBranchTask.wants, 2)["image"]
    scores = task.detector()(clips)
    for frame in range(FRAMES):
        changed = clips.clone()
        changed[:, frame] = 1 - changed[:, frame]
        assert not torch.allclose(task.detector()(changed), scores)
    assert not torch.allclose(task.detector()(clips.flip(1)), scores), "the order of frames counts"


def test_its_size():
    backbone = Backbone("test_efficientnet", in_chans=3)
    model, c = TwoBranchDetector(backbone), backbone.channels
    head = 2 * (3 * HIDDEN * (c + HIDDEN) + 6 * HIDDEN)
    assert sum(p.numel() for p in model.recurrent.parameters()) == head
    with pytest.raises(DidError, match="two_branch computes plainly"):
        TwoBranchTask(Settings.preset("smoke", accumulate=3), 5)
