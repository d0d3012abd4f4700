"""Naming the methods: without options it is the control; detail and mixtures do what they say."""

import numpy as np
import pytest
import torch
from batches import batch
from torch.nn import functional as F

from did.errors import DidError
from did.extensions.naming import GAIN, NamingOptions, with_detail
from did.settings import Settings
from did.task import Wants, task_named


def task_of(name="naming", **options):
    torch.manual_seed(0)
    kind = task_named(name)
    return kind(Settings.preset("smoke"), 5, NamingOptions(**options) if name == "naming" else None)


def test_without_options_it_is_the_control():
    task, control, given = task_of(), task_of("multiclass"), batch(Wants())
    losses = [each(given, 0.5, 3).losses["dom"] for each in (task, control)]
    assert losses[0] == losses[1] and task.state_dict().keys() == control.state_dict().keys()


def test_the_detail_is_what_a_mean_over_three_by_three_takes_away():
    images = torch.rand(2, 1, 7, 9, generator=torch.Generator().manual_seed(1))
    found = with_detail(images)
    assert found.shape == (2, 2, 7, 9) and torch.equal(found[:, :1], images)
    padded = np.pad(images[1, 0].numpy(), 1, mode="edge")
    for y in range(7):
        for x in range(9):
            expected = GAIN * (padded[y + 1, x + 1] - padded[y : y + 3, x : x + 3].mean())
            assert found[1, 1, y, x].item() == pytest.approx(expected, abs=1e-5)


def test_a_brighter_face_has_the_same_detail():
    images = torch.rand(2, 1, 8, 8)
    assert torch.allclose(with_detail(images + 0.3)[:, 1], with_detail(images)[:, 1], atol=1e-5)


def test_a_mixture_has_the_mixture_of_two_losses():
    """Against a plain loop over the images of a batch, in evaluation, where no image depends on another."""
    task, given, seed = task_of(mixup=0.4).eval(), batch(Wants()), 11
    rng = np.random.default_rng(seed)
    share, other = rng.beta(0.4, 0.4), rng.permutation(len(given["image"]))
    expected = []
    with torch.no_grad():
        task.model.classifier.weight.mul_(1000)  # untrained, all images have nearly the same logits
        for one, two in enumerate(other):
            mixed = share * given["image"][one] + (1 - share) * given["image"][two]
            logits = task.model.domains(mixed[None])
            losses = [F.cross_entropy(logits, given["domain"][at][None]).item() for at in (one, two)]
            expected.append(share * losses[0] + (1 - share) * losses[1])
        assert task(given, 0.5, seed).losses["dom"] == pytest.approx(np.mean(expected), rel=1e-4)
        assert task(given, 0.5, seed + 1).losses["dom"] != pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"detail": True}, {"mixup": 0.5}])
def test_it_learns_and_names_domains(options):
    task, given = task_of(**options), batch(Wants())
    optimizer = torch.optim.Adam(task.parameters(), 1e-3)
    before = np.mean([task(given, 0.0, seed).losses["dom"] for seed in range(5)])
    for step in range(15):
        optimizer.zero_grad()
        task(given, 0.0, step).total.backward()
        optimizer.step()
    assert np.mean([task(given, 0.0, seed).losses["dom"] for seed in range(5)]) < before
    assert task.domain_graph()(given["image"]).shape == (len(given["image"]), 5)
    logits = task.model.eval().domains(given["image"])
    assert torch.allclose(task.model(given["image"]), logits[:, 1:].logsumexp(1) - logits[:, 0])


def test_an_impossible_share_is_refused():
    with pytest.raises(DidError, match=r"mixup is -1; it must lie in \[0, 10\]"):
        NamingOptions(mixup=-1)
