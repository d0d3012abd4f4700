"""The (k+1)-way control: its size, its loss against a plain loop, a gradient for every part, its score."""

import math

import pytest
import torch
from batches import batch as made

from did.method.backbones import Backbone
from did.rivals.multiclass import MulticlassDetector, MulticlassTask
from did.settings import Settings
from did.task import task_named


@pytest.fixture
def task():
    torch.manual_seed(0)
    return MulticlassTask(Settings.preset("smoke"), num_domains=5)


def batch(n=10):
    return made(MulticlassTask.wants, n)


def test_it_is_registered_and_has_a_backbone_and_one_linear_layer():
    assert task_named("multiclass") is MulticlassTask
    model = MulticlassDetector(Backbone("test_efficientnet"), 5)
    own = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in model.backbone.parameters())
    assert own == 5 * (model.backbone.channels + 1)


def test_the_loss_is_cross_entropy_by_a_plain_loop(task):
    of = batch()
    step = task(of, 0.0, 0)
    logits = task.model.domains(of["image"]).tolist()
    by_hand = [math.log(sum(math.exp(x) for x in row)) - row[d] for row, d in zip(logits, of["domain"], strict=True)]
    assert step.losses == {"dom": pytest.approx(sum(by_hand) / 10, abs=1e-5)}


def test_the_score_is_the_log_odds_of_any_forgery(task):
    images = batch()["image"]
    task.eval()
    logits = task.domain_graph()(images)
    p = logits.softmax(1)[:, 0]
    assert task.detector()(images).tolist() == pytest.approx(torch.log((1 - p) / p).tolist(), abs=1e-4)


def test_a_gradient_reaches_every_part_at_the_rates_of_did(task):
    task(batch(), 0.0, 0).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.model.classifier.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in task.model.backbone.parameters())
    groups = {group["name"]: group["lr"] for group in task.parameter_groups()}
    assert groups == {"G": task.settings.lr, "C": task.settings.lr * task.settings.head_rate}
