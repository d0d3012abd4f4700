import math

import numpy as np
import pytest
import torch
from torch import nn

from did.method.layers import gradient_reversal
from did.method.losses import auc_loss, classification_loss, domain_loss, jsd_mutual_information, marginal_permutation
from did.method.model import Estimator
from did_book.chapters.ranking import auc_loss_by_pairs


def auc_loss_by_loops(scores, labels, margin, power):
    """The pair-by-pair reference, which tests/did_book/chapters/test_ranking.py holds against a calculation by hand."""
    return auc_loss_by_pairs(scores.tolist(), labels.tolist(), margin, power)


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    return torch.tensor(rng.normal(size=15)), torch.tensor([0, 0, 0] + [1] * 12)


@pytest.mark.parametrize(("margin", "power"), [(0.15, 2.0), (1.0, 2.0), (0.5, 1.5), (0.15, 3.0)])
def test_auc_loss_equals_the_double_loop(batch, margin, power):
    scores, labels = batch
    expected = auc_loss_by_loops(scores, labels, margin, power)
    assert auc_loss(scores, labels, margin, power).item() == pytest.approx(expected, rel=1e-12)
    assert expected > 0.01


def test_auc_loss_defaults_are_the_papers(batch):
    scores, labels = batch
    assert auc_loss(scores, labels).item() == pytest.approx(auc_loss_by_loops(scores, labels, 0.15, 2.0), rel=1e-12)


def test_auc_loss_at_the_margin():
    labels = torch.tensor([1, 0])
    at = torch.tensor([0.15, 0.0], dtype=torch.float64, requires_grad=True)
    auc_loss(at, labels).backward()
    assert auc_loss(at, labels).item() == 0
    assert at.grad.tolist() == [0, 0]
    below = torch.tensor([0.05, 0.0], dtype=torch.float64, requires_grad=True)
    auc_loss(below, labels).backward()
    assert auc_loss(below, labels).item() == pytest.approx(0.01)
    assert below.grad.tolist() == pytest.approx([-0.2, 0.2])  # up with the fake, down with the real


def test_auc_loss_is_zero_for_a_good_order_and_grows_with_a_bad_one():
    labels = torch.tensor([1, 1, 0, 0])
    assert auc_loss(torch.tensor([2.0, 1.0, 0.0, -1.0]), labels).item() == 0
    assert auc_loss(torch.tensor([-1.0, 0.0, 1.0, 2.0]), labels).item() > 1


@pytest.mark.parametrize("label", [0, 1])
def test_auc_loss_of_one_class_is_zero_with_zero_gradient(label):
    scores = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    loss = auc_loss(scores, torch.full((3,), label))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.tolist() == [0, 0, 0]


def test_losses_of_large_scores_are_finite():
    scores = torch.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    loss = classification_loss(scores, torch.tensor([0, 1, 1, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * 5e3 + 0.5 * (2e4 + 0.15) ** 2 / 4 + 0.5 * 2 * (0.15**2) / 4, rel=1e-5)
    assert torch.isfinite(scores.grad).all()
    estimate = jsd_mutual_information(scores, scores)
    assert torch.isfinite(estimate)


def test_auc_loss_gradcheck(batch):
    scores, labels = batch
    assert torch.autograd.gradcheck(lambda s: auc_loss(s, labels), scores.clone().requires_grad_())


def test_auc_loss_does_not_depend_on_the_order_of_the_batch(batch):
    scores, labels = batch
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))
    assert auc_loss(scores[order], labels[order]).item() == pytest.approx(auc_loss(scores, labels).item(), rel=1e-12)


def test_classification_loss_is_eq_9(batch):
    scores, labels = batch
    bce = 0.0
    for s, y in zip(scores.tolist(), labels.tolist(), strict=True):
        p = 1 / (1 + math.exp(-s))
        bce -= (y * math.log(p) + (1 - y) * math.log(1 - p)) / len(scores)
    ranking = auc_loss_by_loops(scores, labels, 0.15, 2.0)
    for alpha in (0.0, 0.25, 0.5, 1.0):
        expected = alpha * bce + (1 - alpha) * ranking
        assert classification_loss(scores, labels, alpha=alpha).item() == pytest.approx(expected, rel=1e-10)
    assert classification_loss(scores, labels).item() == pytest.approx(0.5 * bce + 0.5 * ranking, rel=1e-10)


def test_domain_loss_is_eq_10():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], dtype=torch.float64)
    domains = torch.tensor([0, 1])
    expected = 0.0
    for row, domain in zip(logits.tolist(), domains.tolist(), strict=True):
        expected -= math.log(math.exp(row[domain]) / sum(math.exp(x) for x in row)) / 2
    assert domain_loss(logits, domains).item() == pytest.approx(expected, rel=1e-12)


def test_the_estimate_at_zero_and_its_bound():
    zero = torch.zeros(7, dtype=torch.float64)
    assert jsd_mutual_information(zero, zero).item() == pytest.approx(-2 * math.log(2), rel=1e-12)
    rng = torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0, 100.0):
        joint, marginal = scale * torch.randn(2, 50, generator=rng)
        assert jsd_mutual_information(joint, marginal).item() <= 0
    # a T that tells them apart comes up to 0, one that has them the wrong way round goes far down
    assert jsd_mutual_information(zero + 50, zero - 50).item() == pytest.approx(0, abs=1e-12)
    assert jsd_mutual_information(zero - 50, zero + 50).item() == pytest.approx(-100, rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 15])
def test_the_marginal_is_a_permutation_without_fixed_points(n):
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(200):
        partner = marginal_permutation(n, generator)
        assert sorted(partner.tolist()) == list(range(n))
        assert (partner != torch.arange(n)).all()
        seen.add(tuple(partner.tolist()))
    assert len(seen) == {2: 1, 3: 2, 15: 200}[n]


def test_the_marginal_of_one_image_is_refused():
    with pytest.raises(ValueError, match="at least 2 images"):
        marginal_permutation(1)


def gaussian_pair(n, correlation, dimensions, generator):
    x = torch.randn(n, dimensions, generator=generator)
    noise = torch.randn(n, dimensions, generator=generator)
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


def estimate_of(correlation, steps=250, n=256, dimensions=2):
    """T trained to ascend the estimate on correlated Gaussians; the mean of its last 50 estimates."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    estimator = Estimator(dimensions, hidden=32)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=5e-3)
    estimates = []
    for _ in range(steps):
        x, y = gaussian_pair(n, correlation, dimensions, generator)
        joint, marginal = estimator(x[..., None, None], y[..., None, None], marginal_permutation(n, generator))
        estimate = jsd_mutual_information(joint, marginal)
        optimizer.zero_grad()
        (-estimate).backward()
        optimizer.step()
        estimates.append(estimate.item())
    return sum(estimates[-50:]) / 50


def test_a_trained_estimator_ranks_known_mutual_information():
    # MI of two d-dimensional Gaussians: -d/2 · log(1 - ρ²) = 0, .29, 1.02, 2.33 nats for d = 2
    estimates = [estimate_of(correlation) for correlation in (0.0, 0.5, 0.8, 0.95)]
    assert estimates == sorted(estimates)
    assert estimates[0] == pytest.approx(-2 * math.log(2), abs=0.02)  # independent: T finds nothing
    assert estimates[1] > estimates[0] + 0.05
    assert estimates[3] > estimates[2] + 0.2
    assert all(estimate <= 0 for estimate in estimates)


def test_an_encoder_behind_the_gradient_reversal_gets_rid_of_dependence():
    """z = w·(s, u) is compared with s: descending the estimate turns w away from s; without the GRL it does not."""

    def weight_on_s(beta):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(1)
        encoder = nn.Linear(2, 1, bias=False)
        encoder.weight.data = torch.tensor([[1.0, 1.0]])
        estimator = Estimator(1, hidden=32)
        estimator_rate = {"params": estimator.parameters(), "lr": 5e-3}
        optimizer = torch.optim.Adam([estimator_rate, {"params": encoder.parameters(), "lr": 5e-3}])
        for _ in range(400):
            s, u = torch.randn(2, 256, 1, generator=generator)
            z = encoder(torch.cat([s, u], 1)) / encoder.weight.norm()
            z = gradient_reversal(z, beta)
            partner = marginal_permutation(256, generator)
            joint, marginal = estimator(z[..., None, None], s[..., None, None], partner)
            optimizer.zero_grad()
            (-jsd_mutual_information(joint, marginal)).backward()
            optimizer.step()
        w = encoder.weight.detach().squeeze() / encoder.weight.norm()
        return abs(w[0].item())

    assert weight_on_s(1.0) < 0.2  # correlation of z with s, from .71
    assert weight_on_s(-1.0) > 0.95  # no reversal: encoder and T ascend together
