"""Small experiments on known distributions: what is known of them, and what the chapters say of them."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from did.errors import DidError
from did.method.losses import auc_loss, classification_loss
from did_book.chapters import toys


def test_presets_change_sizes_and_nothing_else():
    assert toys.sizes("smoke").keys() == toys.sizes("laptop").keys()
    assert toys.sizes("smoke")["steps"] < toys.sizes("laptop")["steps"]
    with pytest.raises(DidError, match="unknown preset 'labtop': did you mean 'laptop'"):
        toys.stamp("labtop")
    assert toys.stamp("smoke", (0, 1)).startswith("Made-up numbers, no faces. Preset smoke, seeds 0, 1, commit ")


# --- mutual information --------------------------------------------------------------------------------------------


def test_pairs_are_correlated_one_by_one():
    x, y = toys.gaussian_pairs(40_000, 0.8, 2, torch.Generator().manual_seed(0))
    seen = np.corrcoef(np.hstack([x, y]).T)
    expected = np.eye(4)
    for i in range(2):
        expected[i, 2 + i] = expected[2 + i, i] = 0.8
    assert seen == pytest.approx(expected, abs=0.02)
    assert y.std(0).tolist() == pytest.approx([1, 1], abs=0.02)


def test_the_log_ratio_is_that_of_the_densities_and_its_mean_the_information():
    x, y = toys.gaussian_pairs(50, 0.6, 1, torch.Generator().manual_seed(0))
    joint, alone = multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]]), multivariate_normal(0, 1)
    for a, b, found in zip(x, y, toys.gaussian_log_ratio(x, y, 0.6), strict=True):
        expected = joint.logpdf([a.item(), b.item()]) - alone.logpdf(a.item()) - alone.logpdf(b.item())
        assert found.item() == pytest.approx(expected, abs=1e-5)
    x, y = toys.gaussian_pairs(200_000, 0.6, 3, torch.Generator().manual_seed(1))
    assert toys.gaussian_log_ratio(x, y, 0.6).mean().item() == pytest.approx(
        toys.gaussian_information(0.6, 3), abs=0.01
    )
    assert toys.gaussian_information(0.6) == pytest.approx(-0.5 * math.log(0.64))


def test_the_best_estimate_is_the_integral():
    """Eq. 4 under the best T, summed over a grid of the plane; and what is missing to the mutual information."""
    rho, step = 0.8, 0.05
    axis = np.arange(-6, 6, step)
    x, y = np.meshgrid(axis, axis)
    p = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).pdf(np.dstack([x, y]))
    q = multivariate_normal([0, 0], np.eye(2)).pdf(np.dstack([x, y]))
    estimate = (p * np.log(p / (p + q)) + q * np.log(q / (p + q))).sum() * step**2
    table = toys.information_table([rho], dimensions=1, steps=2, test=50_000)
    assert table.best[0] == pytest.approx(estimate, abs=0.01)
    m = (p + q) / 2
    missing = 2 * (m * np.log(m / q)).sum() * step**2
    assert estimate + 2 * math.log(2) + missing == pytest.approx(toys.gaussian_information(rho), abs=1e-4)


def test_the_estimate_grows_with_the_information_below_its_bounds():
    table = toys.information_table([0.0, 0.6, 0.95], steps=150)
    assert table.information.tolist() == pytest.approx([0, -math.log(0.64), -math.log(1 - 0.95**2)])
    assert table.estimate.is_monotonic_increasing and table.best.is_monotonic_increasing
    assert table.estimate[0] == pytest.approx(-2 * math.log(2), abs=0.01)
    assert (table.estimate <= table.best + 0.01).all() and (table.estimate > table.best - 0.1).all()
    assert (table.best < 0).all() and (table.best + 2 * math.log(2) <= table.information + 1e-6).all()


def test_the_same_seed_gives_the_same_estimator():
    state = torch.random.get_rng_state()
    first, second = (toys.information_table([0.5], steps=3, test=100) for _ in range(2))
    assert first.equals(second)
    assert not first.estimate.equals(toys.information_table([0.5], steps=3, test=100, seeds=[1]).estimate)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_plain_permutation_leaves_a_joint_pair_in_a_batch():
    means = toys.fixed_points(15, 1000).groupby("way").joint_pairs.agg(["mean", "max", "count"])
    assert means["mean"]["plain"] == pytest.approx(1, abs=0.1)
    assert means["max"]["marginal_permutation"] == 0
    assert (means["count"] == 1000).all()


def test_coupled_decay_kills_an_estimator_of_small_weight():
    living, dying, decoupled, free = (
        toys.estimator_under_decay(weight, decay, kind)
        for weight, decay, kind in ((1, 5e-4, False), (0.01, 5e-4, False), (0.01, 5e-4, True), (0.01, 0, False))
    )
    assert dying.norm.iloc[-1] < 0.5 * dying.norm.iloc[0]
    assert dying.estimate.tail(50).mean() == pytest.approx(-2 * math.log(2), abs=1e-3)
    for table in (living, decoupled, free):
        assert table.norm.iloc[-1] > 0.7 * table.norm.iloc[0] and table.estimate.tail(50).mean() > -1.3
    assert len(living) == 200 and living.norm[0] == dying.norm[0]


# --- gradient reversal ---------------------------------------------------------------------------------------------


def test_each_coordinate_carries_one_of_label_and_domain():
    points, labels, domains = toys.labelled_domains(2000)
    assert points[labels == 1].mean(0).tolist() == pytest.approx([1, 0], abs=0.1)
    assert points[domains == 0].mean(0).tolist() == pytest.approx([0, -1], abs=0.1)
    assert (labels == domains).double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_the_reversal_hides_the_domain_and_keeps_the_label():
    found = {name: toys.reversal_toy(beta) for name, beta in (("none", None), ("blocked", 0.0), ("reversed", 1.0))}
    for table, measures in found.values():
        assert measures["label read"] > 0.95 and measures["label"] > 0.95
        assert list(table.columns) == ["x", "y", "label", "domain"] and len(table) == 400
    assert found["none"][1]["domain read"] > 0.95 and found["blocked"][1]["domain read"] > 0.95
    assert found["reversed"][1]["domain read"] < 0.7
    gaps = {}
    for name, (table, _) in found.items():
        one, zero = (table[table.domain == d].groupby("label")[["x", "y"]].mean() for d in (1, 0))
        gaps[name] = np.linalg.norm((one - zero).to_numpy(), axis=1).mean()
    assert gaps["none"] > gaps["blocked"] > 4 * gaps["reversed"]


def test_a_head_that_does_not_learn_hides_nothing():
    measures = toys.reversal_toy(1.0, head_rate=0.0)[1]
    assert measures["domain"] < 0.7 and measures["domain read"] > 0.95


# --- ranking -------------------------------------------------------------------------------------------------------


def test_wmw_is_the_auc_but_for_ties():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    scores = rng.normal(size=40) + labels
    assert toys.wmw(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert toys.wmw([2, 1, 1, 0], [1, 1, 0, 0]) == 0.75
    assert roc_auc_score([1, 1, 0, 0], [2, 1, 1, 0]) == 0.875


def test_the_loop_over_pairs_is_eq_8_by_hand():
    # differences .2, -.1, .05 with γ = .15: 0, .25², .1²
    assert toys.auc_loss_by_pairs([0.3, 0.0, 0.15, 0.1], [1, 1, 1, 0]) == pytest.approx((0.0625 + 0.01) / 3)
    scores = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(30) % 3 == 0).long()
    assert toys.auc_loss_by_pairs(scores.tolist(), labels.tolist(), 0.5, 1.5) == pytest.approx(
        auc_loss(scores, labels, 0.5, 1.5).item(), rel=1e-12
    )
    for function in (toys.wmw, toys.auc_loss_by_pairs):
        with pytest.raises(DidError, match="a fake \\(1\\) and a real \\(0\\)"):
            function([0.1, 0.2], [1, 1])


def test_the_surrogate_and_its_slope_have_a_formula():
    table = toys.surrogate_table([(0.15, 2), (1, 1.5)], [-0.5, 0.0, 0.15, 0.9, 1.2])
    for row in table.itertuples():
        short = max(row.margin - row.difference, 0)
        assert row.loss == pytest.approx(short**row.power, abs=1e-12)
        assert row.slope == pytest.approx(-row.power * short ** (row.power - 1), abs=1e-12)
    assert len(table) == 10 and len(toys.surrogate_table([(1, 2)])) == 201


def test_the_error_stands_still_while_the_surrogate_moves():
    table = toys.turned_line(angles=181)
    assert len(table) == 181 and table.angle.iloc[[0, -1]].tolist() == [-180, 180]
    assert set((table.error * 50).round(6) % 1) == {0}  # 5 fakes, 10 reals
    assert (table.error.diff().iloc[1:] == 0).mean() > 0.5
    assert (table.surrogate.diff().iloc[1:] != 0).all()
    opposite = table.set_index("angle").error
    assert opposite[-180.0] == pytest.approx(opposite[180.0]) == pytest.approx(1 - opposite[0.0])


def test_batches_have_few_pairs():
    three_of_each = toys.batches_of_pairs(draws=500)
    assert set(three_of_each.pairs) == {36}
    assert three_of_each.auc.mean() == pytest.approx(0.76, abs=0.03)  # Φ(1 / √2)
    assert 0.1 < three_of_each.auc.std() < 0.2
    drawn = toys.batches_of_pairs(fakes=None, draws=3000)
    assert (drawn.pairs == drawn.fakes * (15 - drawn.fakes)).all()
    assert drawn.pairs.mean() == pytest.approx(15 * 14 * 0.8 * 0.2, rel=0.05)
    assert (drawn.pairs == 0).mean() == pytest.approx(0.8**15, abs=0.01)
    assert drawn.auc.isna().equals(drawn.pairs == 0)


@pytest.mark.parametrize("name", toys.CLOUDS)
def test_the_auc_of_a_line_is_known(name):
    points, labels = toys.clouds(name, 20_000, 20_000)
    for w in ([1.0, 0.0], [0.3, -1.0]):
        seen = roc_auc_score(labels, points.numpy() @ np.array(w))
        assert toys.line_auc(name, w) == pytest.approx(seen, abs=0.01)
    angles = np.radians(np.arange(360))
    assert toys.best_line(name)[1] == pytest.approx(
        max(toys.line_auc(name, [math.cos(a), math.sin(a)]) for a in angles), abs=1e-3
    )


def test_unknown_clouds_are_refused():
    with pytest.raises(DidError, match="unknown clouds 'even': valid: equal, unequal"):
        toys.clouds("even", 1, 1)


def test_a_line_descends_eq_9():
    points, labels = toys.clouds("unequal", 60, 30)
    w, b = toys.trained_line(points, labels, 1.0, steps=600)
    other = LogisticRegression(C=1e9, tol=1e-8).fit(points, labels)
    assert [*w, b] == pytest.approx([*other.coef_[0], *other.intercept_], abs=0.02)
    w, b = toys.trained_line(points, labels, 0.4, steps=600)

    def loss(w1, w2, b):
        scores = points @ torch.tensor([w1, w2], dtype=torch.float64) + b
        return classification_loss(scores, labels, 0.4).item()

    here = loss(*w, b)
    assert all(loss(w[0] + i, w[1] + j, b + k) > here for i, j, k in np.vstack([np.eye(3), -np.eye(3)]) * 0.05)


def test_at_alpha_0_the_offset_stays_where_it_started():
    points, labels = toys.clouds("equal", 50, 50)
    for start in (0.0, 2.0):
        assert toys.trained_line(points, labels, 0.0, steps=50, start=start)[1] == pytest.approx(start, abs=1e-6)
    assert toys.trained_line(points, labels, 1.0, steps=50, start=2.0)[1] < 1.9


def test_bce_loses_by_imbalance_where_the_variances_differ():
    table = toys.imbalance_table(alphas=(1.0, 0.0), seeds=(0, 1), steps=200)
    assert len(table) == 2 * 2 * 2 * 2
    auc = table.groupby(["clouds", "fakes", "alpha"]).auc.mean()
    assert auc["unequal", 20, 0.0] > auc["unequal", 20, 1.0] + 0.05
    assert abs(auc["unequal", 140, 0.0] - auc["unequal", 140, 1.0]) < 0.01
    assert abs(auc["equal", 20, 0.0] - auc["equal", 20, 1.0]) < 0.02
    assert (table.auc <= table.best + 1e-9).all()
    assert table[(table.fakes == 20) & (table.alpha == 1)].recall.max() < 0.5


def test_calibration_needs_bce():
    table, scored = toys.calibration_table(n=100, start=2.0)
    table = table.set_index(["alpha", "margin"])
    assert table.error[1.0, 0.15] < 0.05 < 0.1 < table.error[0.5, 0.15] < table.error[0.0, 0.15]
    assert table.auc.max() - table.auc.min() < 0.01
    # L(c·s; c·γ) = c^p L(s; γ): the least loss lies at a size in proportion to γ.
    assert table["size"][0.0, 1.0] == pytest.approx(table["size"][0.0, 0.15] / 0.15, rel=0.02)
    assert table.b[0.0, 0.15] == pytest.approx(2, abs=1e-6)
    part = scored[(scored.alpha == 1) & (scored.margin == 0.15)]
    assert len(part) == 10_000 and roc_auc_score(part.label, part.probability) == pytest.approx(table.auc[1.0, 0.15])
