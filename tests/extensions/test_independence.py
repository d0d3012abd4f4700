"""Measures of dependence against plain loops and what they must not see; the task that puts one in the place of T."""

import math

import numpy as np
import pytest
import torch
from batches import batch

from did.errors import DidError
from did.extensions import independence as module
from did.extensions.independence import (
    Club,
    IndependenceOptions,
    cross_covariance,
    distance_correlation,
    normalised_hsic,
    within,
)
from did.settings import Settings
from did.task import task_named

MEASURES = pytest.mark.parametrize("measure", list(module.MEASURES.values()), ids=list(module.MEASURES))


def sample(n=40, d=3, e=2, tied=0.0, seed=0):
    """Two samples; `tied` is the share of the second that is a function of the first."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.randn(n, e, generator=generator, dtype=torch.float64)
    return x, tied * x[:, :e].square() + (1 - tied) * y


def centred(matrix):
    n = len(matrix)
    rows = [sum(row) / n for row in matrix]
    columns = [sum(matrix[i][j] for i in range(n)) / n for j in range(n)]
    whole = sum(rows) / n
    return [[matrix[i][j] - rows[i] - columns[j] + whole for j in range(n)] for i in range(n)]


def test_distance_correlation_by_hand():
    x, y = sample(12, tied=0.5)
    a, b = (centred([[math.dist(p, q) for q in z.tolist()] for p in z.tolist()]) for z in (x, y))
    pairs = [(i, j) for i in range(12) for j in range(12)]
    of = [sum(p[i][j] * q[i][j] for i, j in pairs) / 144 for p, q in ((a, b), (a, a), (b, b))]
    assert distance_correlation(x, y).item() == pytest.approx(math.sqrt(of[0] / math.sqrt(of[1] * of[2])), abs=1e-5)


def test_hsic_by_hand():
    x, y = sample(10, tied=0.5)
    kernels = []
    for z in (x.tolist(), y.tolist()):
        apart = [[math.dist(p, q) ** 2 for q in z] for p in z]
        width = sorted(apart[i][j] for i in range(10) for j in range(10) if i != j)[44]  # the lower median of 90
        kernels.append(centred([[math.exp(-value / (2 * width)) for value in row] for row in apart]))
    k, h = kernels
    of = [sum(p[i][j] * q[i][j] for i in range(10) for j in range(10)) for p, q in ((k, h), (k, k), (h, h))]
    assert normalised_hsic(x, y).item() == pytest.approx(of[0] / math.sqrt(of[1] * of[2]), abs=1e-6)


def test_cross_covariance_by_numpy():
    x, y = sample(30, tied=0.5)
    expected = np.corrcoef(x.numpy().T, y.numpy().T)[:3, 3:] ** 2
    assert cross_covariance(x, y).item() == pytest.approx(expected.mean(), abs=1e-9)


@MEASURES
def test_a_measure_lies_in_0_1_and_does_not_see_scale_or_place_or_order(measure):
    x, y = sample(tied=0.3)
    found = measure(x, y)
    assert 0 <= found <= 1
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert measure(x[order], y[order]).item() == pytest.approx(found.item(), abs=1e-6)
    assert measure(5 * x + 2, 0.1 * y - 1).item() == pytest.approx(found.item(), abs=1e-5)
    assert measure(y, x).item() == pytest.approx(found.item(), abs=1e-6)


@pytest.mark.parametrize("measure", [distance_correlation, normalised_hsic])
def test_dependence_without_correlation_is_seen_by_what_sees_more_than_lines(measure):
    """y = x² of a symmetric x: the example of chapter 3."""
    x = torch.linspace(-1, 1, 61, dtype=torch.float64)[:, None]
    generator = torch.Generator().manual_seed(0)
    unrelated = [measure(x, (x**2)[torch.randperm(61, generator=generator)]).item() for _ in range(50)]
    assert measure(x, x**2) > max(unrelated)
    assert cross_covariance(x, x**2).item() == pytest.approx(0, abs=1e-12)


@MEASURES
def test_descending_a_measure_makes_two_samples_independent(measure):
    x, y = sample(60, tied=0.6, seed=3)
    free = y.clone().requires_grad_()
    optimizer, before = torch.optim.Adam([free], 0.03), measure(x, y).item()
    for _ in range(150):
        optimizer.zero_grad()
        measure(x, free).backward()
        optimizer.step()
    assert torch.isfinite(free).all() and measure(x, free).item() < 0.5 * before
    assert free.std(0).min() > 0.05  # not by shrinking


@MEASURES
def test_within_groups_is_the_weighted_mean_of_the_groups(measure):
    x, y = sample(30, tied=0.4)
    groups = torch.tensor([0] * 10 + [1] * 18 + [2] * 2)  # the last is too small
    expected = (10 * measure(x[:10], y[:10]) + 18 * measure(x[10:28], y[10:28])) / 28
    assert within(measure, x, y, groups).item() == pytest.approx(expected.item(), abs=1e-9)
    none = within(measure, x, y, torch.arange(30))
    assert none.item() == 0


def test_what_the_label_alone_explains_is_no_dependence_within_classes():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(200) % 2
    x, y = (4 * label[:, None] + torch.randn(200, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    assert distance_correlation(x, y) > 0.8
    assert within(distance_correlation, x, y, label) < 0.3


def test_club_is_above_the_information_of_gaussians_and_near_it_when_fitted():
    generator, rho, n = torch.Generator().manual_seed(0), 0.7, 4000
    x = torch.randn(n, 1, generator=generator)
    y = rho * x + math.sqrt(1 - rho**2) * torch.randn(n, 1, generator=generator)
    torch.manual_seed(0)
    club = Club(1, 1, 32)
    optimizer = torch.optim.Adam(club.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        (-club(x, y).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        found, truth = club.bound(x, y).item(), -0.5 * math.log(1 - rho**2)
        shuffled = club.bound(x, y[torch.randperm(n, generator=generator)]).item()
    assert truth < found < 3 * truth and abs(shuffled) < 0.15 * found


def test_club_is_its_definition_over_all_pairs():
    x, y = (z.float() for z in sample(6, tied=0.5))
    torch.manual_seed(1)
    club = Club(3, 2, 8)
    with torch.no_grad():
        pairs = torch.stack([club(x[i : i + 1].expand(6, -1), y) for i in range(6)])  # log q(y_j | x_i)
        assert club.bound(x, y).item() == pytest.approx((pairs.diagonal().mean() - pairs.mean()).item(), abs=1e-5)


# --- the task --------------------------------------------------------------------------------------------------------


def task_of(**options):
    torch.manual_seed(0)
    return task_named("independent")(Settings.preset("smoke"), 5, IndependenceOptions(**options))


@pytest.mark.parametrize("measure", module.KINDS)
def test_every_part_learns_and_t_is_gone(measure):
    task = task_of(measure=measure)
    assert task.model.estimator is None
    learning = [p for p in task.parameters() if p.requires_grad]
    taken = [p for group in task.parameter_groups() for p in group["params"]]
    assert sorted(map(id, taken)) == sorted(map(id, learning))
    step = task(batch(task.wants, 15), 0.5, 0, details=True)
    step.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning if p.ndim > 1)
    assert "dec" in step.losses and math.isfinite(step.values["dependence"]) and step.total.isfinite()
    assert [name for name in task.state_dict() if "directions" in name]  # a resumed run compares in the same ones


@pytest.mark.parametrize("measure", ["dcor", "hsic", "cross", "club"])
def test_the_term_pushes_both_halves_and_no_part_of_it_the_classifier(measure):
    task = task_of(measure=measure, weight=1.0)
    step = task(batch(task.wants, 15), 0.5, 0)
    step.terms["dec"].backward()
    assert all(p.grad is None or not p.grad.any() for p in task.model.classifier.parameters())
    assert any(p.grad is not None and p.grad.any() for p in task.model.deepfake_attention.parameters())
    if task.club is not None:  # the bound is descended by the features, and q is fitted by its own term
        assert all(p.grad is None for p in task.club.parameters())


def test_the_adversary_is_reversed_by_its_weight_and_beta():
    grads = {}
    for weight in (0.1, 0.2):
        task = task_of(measure="adversary", weight=weight)
        task(batch(task.wants, 15), 1.0, 0).terms["dec"].backward()
        grads[weight] = torch.cat([p.grad.flatten() for p in task.model.deepfake_attention.parameters()])
    assert torch.allclose(grads[0.2], 2 * grads[0.1], atol=1e-7) and grads[0.1].abs().sum() > 0


def test_the_critic_ascends_and_the_features_are_reversed_by_its_weight_and_beta():
    grads, own = {}, {}
    for weight in (0.1, 0.2):
        task = task_of(measure="critic", weight=weight)
        task(batch(task.wants, 15), 1.0, 0).terms["dec"].backward()
        grads[weight] = torch.cat([p.grad.flatten() for p in task.model.deepfake_attention.parameters()])
        own[weight] = torch.cat([p.grad.flatten() for p in task.critic.parameters()])
    assert torch.allclose(grads[0.2], 2 * grads[0.1], atol=1e-7) and grads[0.1].abs().sum() > 0
    assert torch.allclose(own[0.2], own[0.1])


def test_a_critic_is_held_back_by_its_spectral_norms():
    """Its logit changes by no more than its inputs do, whatever its weights would be."""
    torch.manual_seed(0)
    critic = module.TamedCritic(8)
    with torch.no_grad():
        for weight in critic.parameters():
            weight.mul_(50.0 if weight.ndim > 1 else 1.0)
    for _ in range(50):  # power iterations
        critic(torch.randn(4, 8), torch.randn(4, 8))
    critic.eval()
    a, b = torch.randn(2, 200, 16)
    change = (critic(a[:, :8], a[:, 8:]) - critic(b[:, :8], b[:, 8:])).abs() / (a - b).norm(dim=1)
    assert 0.05 < change.max() <= 1.02


def test_its_noise_is_there_at_the_start_fades_to_the_end_and_is_none_in_evaluation(monkeypatch):
    of = batch(task_of(measure="critic").wants, 15)

    def estimate(noise, progress, training=True):
        monkeypatch.setattr(module, "NOISE", noise)
        return task_of(measure="critic").train(training)(of, progress, 1).values["dependence"]

    assert estimate(1.0, 0.0) != estimate(0.0, 0.0)
    assert abs(estimate(1.0, 0.9) - estimate(0.0, 0.9)) < abs(estimate(1.0, 0.0) - estimate(0.0, 0.0))
    assert estimate(1.0, 1.0) == estimate(0.0, 1.0)
    assert estimate(1.0, 0.0, training=False) == estimate(0.0, 0.0, training=False)


def test_partners_are_others_of_the_group():
    groups = torch.tensor([0, 0, 0, 1, 1, 2])
    for seed in range(20):
        partner = module.partner_within(groups, torch.Generator().manual_seed(seed))
        assert (groups[partner] == groups).all() and sorted(partner.tolist()) == list(range(6))
        assert (partner[:5] != torch.arange(5)).all() and partner[5] == 5


def test_its_detector_is_dids():
    task = task_of().eval()
    with torch.no_grad():
        images = batch(task.wants, 4)["image"]
        assert torch.equal(task.detector()(images), task.model(images).score)


def test_an_unknown_measure_is_one_sentence():
    with pytest.raises(DidError, match="unknown measure 'dcorr': did you mean 'dcor'"):
        IndependenceOptions(measure="dcorr")
    with pytest.raises(DidError, match="weight is -1"):
        IndependenceOptions(weight=-1)
