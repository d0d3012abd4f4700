"""NoiseDF: its number of parameters, its attention against a plain loop, what it sees of the surroundings."""

import math

import pytest
import torch

from did.rivals.noisedf import Denoiser, NoiseDFDetector, NoiseDFOptions, NoiseDFTask, surroundings
from did.settings import Settings
from did.task import options_of, task_named

SMALL = NoiseDFOptions(blocks=1, width=16)


@pytest.fixture
def task():
    torch.manual_seed(0)
    return NoiseDFTask(Settings.preset("smoke"), 5, SMALL)


def batch(n=8):
    generator = torch.Generator().manual_seed(1)
    label = torch.arange(n) % 2
    images, context = torch.rand(2, n, 3, 64, 64, generator=generator)
    return {"image": images, "context": context, "label": label, "domain": label}


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_it_has_the_authors_number_of_parameters():
    model = NoiseDFDetector()
    assert count(model) == pytest.approx(1.906e6, abs=500) and count(model.denoiser) == pytest.approx(1.499e6, abs=500)
    assert task_named("noisedf") is NoiseDFTask
    assert (NoiseDFTask.wants.channels, NoiseDFTask.wants.context) == (3, 1.6)
    assert options_of(NoiseDFTask, {"blocks": "1", "width": "16"}) == SMALL


def test_the_energy_by_a_plain_loop(task):
    part = task.model.interaction.eval()
    face, around = torch.randn(2, 1, 64, 16, 16, generator=torch.Generator().manual_seed(2))
    found = part.energy(face, around)
    a, b = part.face(face)[0].reshape(8, 64, 256), part.around(around)[0].reshape(8, 64, 256)
    assert found.shape == (1, 8, 256, 256)
    for n, j, k in ((0, 0, 0), (3, 17, 200), (7, 255, 1)):
        expected = sum(a[n, d, j].item() * b[h, d, k].item() for h in range(8) for d in range(64)) / math.sqrt(512)
        assert found[0, n, j, k].item() == pytest.approx(expected, abs=1e-3)


def test_the_surroundings_have_no_part_of_the_face():
    """With a margin of 1.6, the face's box is the middle 1 / 2.6 of the wider crop, its crop the middle 1 / 2."""
    context = torch.zeros(1, 3, 104, 104)
    middle = slice(104 // 4, -104 // 4)
    context[..., middle, middle] = 1.0
    assert surroundings(context).sum() == 0 and surroundings(context).shape == (1, 3, 52, 52)


def test_what_the_denoiser_adds_is_the_noise(task):
    denoiser = Denoiser(SMALL)
    for p in denoiser.tail.parameters():
        torch.nn.init.zeros_(p)
    out = denoiser(255 * torch.rand(1, 3, 16, 16))
    assert torch.allclose(out, denoiser.mean.expand(1, 3, 16, 16))


def test_the_loss_by_a_plain_loop_and_both_squares_count(task):
    task.eval()
    of = batch()
    of["image"].requires_grad_(), of["context"].requires_grad_()
    scores = task.detector()(of["image"], of["context"])
    expected = [math.log1p(math.exp(-x if y else x)) for x, y in zip(scores.tolist(), of["label"], strict=True)]
    assert task(of, 0.0, 0).losses["bce"] == pytest.approx(sum(expected) / 8, abs=1e-5)
    scores.sum().backward()
    assert of["image"].grad.abs().sum() > 0 and of["context"].grad.abs().sum() > 0
