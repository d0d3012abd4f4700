"""Multi-task: its size, its losses against plain loops, its traps."""

import math

import pytest
import torch

from did.errors import DidError
from did.rivals.multi_task import MultiTask, MultiTaskDetector
from did.settings import Settings
from did.task import task_named


@pytest.fixture
def task():
    torch.manual_seed(0)
    return MultiTask(Settings.preset("smoke"), 5)


def batch(n=6, size=64):
    generator = torch.Generator().manual_seed(1)
    label = torch.arange(n) % 2
    mask = torch.zeros(n, 1, size, size)
    mask[label == 1, :, 16:48, 16:48] = 0.8
    return {"image": torch.rand(n, 3, size, size, generator=generator), "label": label, "domain": label, "mask": mask}


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_it_has_the_authors_number_of_parameters():
    model = MultiTaskDetector()
    assert count(model) == 304_949 and count(model.encoder) == 148_200
    assert task_named("multi_task") is MultiTask and MultiTask.wants.channels == 3 and MultiTask.wants.masks


@pytest.mark.parametrize("size", [64, 112, 256])
def test_the_code_is_a_sixteenth_and_the_decoders_give_the_images_size(size):
    model = MultiTaskDetector().eval()
    images = torch.rand(2, 3, size, size)
    code = model.code(images)
    assert code.shape == (2, 2, 64, size // 16, size // 16)
    pixels, again = model.decode(code, torch.tensor([0, 1]))
    assert pixels.shape == (2, 2, size, size) and again.shape == (2, 3, size, size)
    assert again.abs().max() <= 1 and model.segment(images).shape == (2, size, size)


def test_another_size_is_one_sentence():
    with pytest.raises(DidError, match="multi_task takes an image_size that is a multiple of 16, not 100"):
        MultiTask(Settings.preset("smoke", image_size=100), 5)


def test_the_start_is_the_authors():
    torch.manual_seed(0)
    model = MultiTaskDetector()
    kernels = torch.cat([p.flatten() for name, p in model.encoder.named_parameters() if p.ndim == 4])
    assert abs(kernels.std().item() - 0.02) < 1e-3
    norms = torch.cat([m.weight for m in model.segmentation if isinstance(m, torch.nn.BatchNorm2d)])
    assert abs(norms.mean().item() - 0.5) < 0.02
    assert all((m.weight == 1).all() for m in model.shared if isinstance(m, torch.nn.BatchNorm2d))


def test_only_the_half_of_the_true_class_is_decoded():
    model = MultiTaskDetector().eval()
    code = model.code(batch()["image"])
    for half in (0, 1):
        which = torch.full((6,), half)
        changed = code.clone()
        changed[:, 1 - half] += 1
        same, other = code.clone(), code.clone()
        other[:, half] += 1
        kept = model.decode(same, which)[0]
        assert torch.equal(kept, model.decode(changed, which)[0])
        assert not torch.equal(kept, model.decode(other, which)[0])


def test_the_losses_are_those_of_plain_loops(task):
    task.eval()
    of, model = batch(), task.model
    losses = task(of, 0.0, 0).losses
    code = model.code(of["image"])
    pixels, again = model.decode(code, of["label"])
    activation, segmentation, reconstruction = [], [], []
    for i, label in enumerate(of["label"].tolist()):
        real, fake = (code[i, half].abs().mean().item() for half in (0, 1))
        activation.append(abs(fake - label) + abs(real - (1 - label)))
        logits, mask = pixels[i].permute(1, 2, 0).reshape(-1, 2).tolist(), (of["mask"][i] > 0.5).flatten().tolist()
        segmentation.append(sum(math.log(sum(map(math.exp, z))) - z[m] for z, m in zip(logits, mask, strict=True)))
        normalised = (of["image"][i] - model.mean) / model.std
        reconstruction.append(((again[i] - normalised) ** 2).mean().item())
    assert losses["act"] == pytest.approx(sum(activation) / 6, abs=1e-5)
    assert losses["seg"] == pytest.approx(sum(segmentation) / 6 / 64**2, abs=1e-5)
    assert losses["rec"] == pytest.approx(sum(reconstruction) / 6, abs=1e-5)
    assert list(losses) == ["act", "seg", "rec"]


def test_the_second_half_is_that_of_fakes(task):
    """The label trap: in the authors' code, label 1 is real. Here the loss drives the second half up for fakes."""
    optimiser = torch.optim.Adam(task.parameter_groups())
    of = batch()
    for _ in range(60):
        optimiser.zero_grad()
        task(of, 0.0, 0).total.backward()
        optimiser.step()
    scores = task.model(of["image"])
    assert scores[of["label"] == 1].min() > scores[of["label"] == 0].max()
    first, last = task(of, 0.0, 0).losses["act"], abs(scores).mean()
    assert first < 0.5 and last > 0.5
