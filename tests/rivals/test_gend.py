"""The GenD recipe: what is trained, its losses against plain loops and their invariances."""

import math

import pytest
import torch
from batches import batch as made
from torch import nn

from did.rivals.gend import GenDTask, alignment, uniformity
from did.settings import Settings
from did.task import task_named


@pytest.fixture
def task():
    torch.manual_seed(0)
    return GenDTask(Settings.preset("smoke"), 5)


def unit(n, d=5, seed=0):
    return nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def batch(n=10):
    return made(GenDTask.wants, n)


def test_uniformity_and_alignment_by_plain_loops():
    z, labels = unit(7), torch.tensor([0, 1, 1, 0, 1, 0, 1])
    pairs = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    square = {(i, j): sum((a - b) ** 2 for a, b in zip(z[i].tolist(), z[j].tolist(), strict=True)) for i, j in pairs}
    expected = math.log(sum(math.exp(-2 * square[pair]) for pair in pairs) / len(pairs))
    assert uniformity(z).item() == pytest.approx(expected, abs=1e-5)
    same = [square[i, j] for i, j in pairs if labels[i] == labels[j]]
    assert alignment(z, labels).item() == pytest.approx(sum(same) / len(same), abs=1e-5)


def test_both_are_the_same_after_a_rotation_and_in_any_order():
    z, labels = unit(7), torch.tensor([0, 1, 1, 0, 1, 0, 1])
    turn, order = torch.linalg.qr(torch.randn(5, 5))[0], torch.randperm(7)
    assert uniformity(z @ turn).item() == pytest.approx(uniformity(z).item(), abs=1e-4)
    assert alignment((z @ turn)[order], labels[order]).item() == pytest.approx(alignment(z, labels).item(), abs=1e-4)


def test_the_extremes():
    same = torch.ones(4, 1)
    assert uniformity(same).item() == pytest.approx(0, abs=1e-6)
    far = torch.tensor([[1000.0], [-1000.0]])
    assert uniformity(far).item() == pytest.approx(math.log(1e-6), abs=1e-4)
    assert alignment(unit(2), torch.tensor([0, 1])).item() == 0


def test_only_norms_and_head_are_trained(task):
    trained = {name for name, p in task.named_parameters() if p.requires_grad}
    norms = {f"{name}.{part}" for name, module in task.named_modules() if isinstance(module, nn.BatchNorm2d)
             for part in ("weight", "bias")}  # fmt: skip
    assert trained == norms | {"model.classifier.weight", "model.classifier.bias"} and norms
    (group,) = task.parameter_groups()
    assert (group["lr"], group["weight_decay"]) == (3e-4, 0.0)
    assert {id(p) for p in group["params"]} == {id(p) for p in task.parameters() if p.requires_grad}
    task(batch(), 0.0, 0).total.backward()
    for name, p in task.named_parameters():
        assert (p.grad is not None and p.grad.abs().sum() > 0) == p.requires_grad, name


def test_the_terms_are_weighted_and_the_score_is_a_difference_of_logits(task):
    task.eval()
    of = batch()
    losses, z = task(of, 0.0, 0).losses, task.model.features(of["image"])
    assert torch.allclose(z.norm(dim=1), torch.ones(10), atol=1e-5)
    assert losses["uniformity"] == pytest.approx(0.5 * uniformity(z).item(), abs=1e-5)
    assert losses["alignment"] == pytest.approx(0.1 * alignment(z, of["label"]).item(), abs=1e-5)
    logits = task.model.classifier(z)
    assert losses["ce"] == pytest.approx(nn.functional.cross_entropy(logits, of["label"]).item(), abs=1e-5)
    assert torch.allclose(task.detector()(of["image"]), logits[:, 1] - logits[:, 0], atol=1e-5)


def test_the_rate_falls_by_half_a_cosine(task):
    assert task_named("gend") is GenDTask
    assert task.rate_factor("all", 0.0) == 1 and task.rate_factor("all", 1.0) == pytest.approx(1 / 300)
    assert task.rate_factor("all", 0.5) == pytest.approx((1 + 1 / 300) / 2)
