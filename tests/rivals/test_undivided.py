"""The control without decomposition: its parts, its losses against plain loops, a gradient for every part."""

import math

import pytest
import torch
from batches import batch as made

from did.errors import DidError
from did.rivals.undivided import UndividedOptions, UndividedTask
from did.settings import Settings
from did.task import options_of, task_named


@pytest.fixture(params=[False, True], ids=["no decomposition", "A_dom kept"])
def task(request):
    torch.manual_seed(0)
    return UndividedTask(Settings.preset("smoke"), 5, UndividedOptions(domain_attention=request.param))


def batch(n=10):
    return made(UndividedTask.wants, n)


def test_it_is_registered_with_its_option():
    assert task_named("undivided") is UndividedTask
    assert options_of(UndividedTask, {"domain_attention": "true"}).domain_attention
    with pytest.raises(DidError, match="unknown option 'domain_atention' of UndividedTask: did you mean"):
        options_of(UndividedTask, {"domain_atention": "true"})


def test_the_losses_are_dids_by_plain_loops(task):
    task.eval()
    of, s = batch(), task.settings
    losses = task(of, 0.0, 0).losses
    scores, logits = task.detector()(of["image"]).tolist(), task.domain_graph()(of["image"]).tolist()
    ce = [math.log(sum(map(math.exp, row))) - row[d] for row, d in zip(logits, of["domain"], strict=True)]
    assert losses["dom"] == pytest.approx(sum(ce) / 10, abs=1e-5)
    bce = [math.log1p(math.exp(-x if y else x)) for x, y in zip(scores, of["label"], strict=True)]
    fakes, reals = ([x for x, y in zip(scores, of["label"], strict=True) if y == k] for k in (1, 0))
    ranking = [max(s.auc_margin - (f - r), 0) ** s.auc_power for f in fakes for r in reals]
    expected = s.alpha * sum(bce) / 10 + (1 - s.alpha) * sum(ranking) / len(ranking)
    assert losses["cls"] == pytest.approx(expected, abs=1e-5)
    assert set(losses) == {"cls", "dom"}


def test_both_heads_see_the_whole_features(task):
    task.eval()
    features = task.model.backbone(batch()["image"])
    means = features.mean((2, 3))
    assert torch.allclose(task.model.classifier.layers(means).squeeze(1), task.detector()(batch()["image"]), atol=1e-5)
    all_of_it = task.model.domain_classifier.layers(means)
    plain = task.model.domain_attention is None
    assert torch.allclose(task.model.domains_of(features), all_of_it, atol=1e-5) == plain


def test_a_gradient_reaches_every_part_at_the_rates_of_did(task):
    task(batch(), 0.0, 0).total.backward()
    for part in ("classifier", "domain_classifier", "domain_attention", "backbone"):
        module = getattr(task.model, part)
        if module is not None:
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters()), part
    rates, s = {group["name"]: group["lr"] for group in task.parameter_groups()}, task.settings
    expected = {"G": s.lr, "C": s.lr * s.head_rate}
    if task.options.domain_attention:
        expected["A"] = s.lr * s.attention_rate
    assert rates == expected
