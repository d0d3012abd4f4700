"""Small experiments on known distributions: what is known of them, and what the chapters say of them."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal

from did.errors import DidError
from did_book import chapters
from did_book.chapters import mutual_information


def test_presets_change_sizes_and_nothing_else():
    assert mutual_information.sizes("smoke").keys() == mutual_information.sizes("laptop").keys()
    assert mutual_information.sizes("smoke")["steps"] < mutual_information.sizes("laptop")["steps"]
    with pytest.raises(DidError, match="unknown preset 'labtop': did you mean 'laptop'"):
        mutual_information.sizes("labtop")
    assert chapters.stamp("smoke", (0, 1)).startswith("Made-up numbers, no faces. Preset smoke, seeds 0, 1, commit ")


def test_pairs_are_correlated_one_by_one():
    x, y = mutual_information.gaussian_pairs(40_000, 0.8, 2, torch.Generator().manual_seed(0))
    seen = np.corrcoef(np.hstack([x, y]).T)
    expected = np.eye(4)
    for i in range(2):
        expected[i, 2 + i] = expected[2 + i, i] = 0.8
    assert seen == pytest.approx(expected, abs=0.02)
    assert y.std(0).tolist() == pytest.approx([1, 1], abs=0.02)


def test_the_log_ratio_is_that_of_the_densities_and_its_mean_the_information():
    x, y = mutual_information.gaussian_pairs(50, 0.6, 1, torch.Generator().manual_seed(0))
    joint, alone = multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]]), multivariate_normal(0, 1)
    for a, b, found in zip(x, y, mutual_information.gaussian_log_ratio(x, y, 0.6), strict=True):
        expected = joint.logpdf([a.item(), b.item()]) - alone.logpdf(a.item()) - alone.logpdf(b.item())
        assert found.item() == pytest.approx(expected, abs=1e-5)
    x, y = mutual_information.gaussian_pairs(200_000, 0.6, 3, torch.Generator().manual_seed(1))
    assert mutual_information.gaussian_log_ratio(x, y, 0.6).mean().item() == pytest.approx(
        mutual_information.gaussian_information(0.6, 3), abs=0.01
    )
    assert mutual_information.gaussian_information(0.6) == pytest.approx(-0.5 * math.log(0.64))


def test_the_best_estimate_is_the_integral():
    """Eq. 4 under the best T, summed over a grid of the plane; and what is missing to the mutual information."""
    rho, step = 0.8, 0.05
    axis = np.arange(-6, 6, step)
    x, y = np.meshgrid(axis, axis)
    p = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).pdf(np.dstack([x, y]))
    q = multivariate_normal([0, 0], np.eye(2)).pdf(np.dstack([x, y]))
    estimate = (p * np.log(p / (p + q)) + q * np.log(q / (p + q))).sum() * step**2
    table = mutual_information.information_table([rho], dimensions=1, steps=2, test=50_000)
    assert table.best[0] == pytest.approx(estimate, abs=0.01)
    m = (p + q) / 2
    missing = 2 * (m * np.log(m / q)).sum() * step**2
    assert estimate + 2 * math.log(2) + missing == pytest.approx(mutual_information.gaussian_information(rho), abs=1e-4)


def test_the_estimate_grows_with_the_information_below_its_bounds():
    table = mutual_information.information_table([0.0, 0.6, 0.95], steps=150)
    assert table.information.tolist() == pytest.approx([0, -math.log(0.64), -math.log(1 - 0.95**2)])
    assert table.estimate.is_monotonic_increasing and table.best.is_monotonic_increasing
    assert table.estimate[0] == pytest.approx(-2 * math.log(2), abs=0.01)
    assert (table.estimate <= table.best + 0.01).all() and (table.estimate > table.best - 0.1).all()
    assert (table.best < 0).all() and (table.best + 2 * math.log(2) <= table.information + 1e-6).all()


def test_the_same_seed_gives_the_same_estimator():
    state = torch.random.get_rng_state()
    first, second = (mutual_information.information_table([0.5], steps=3, test=100) for _ in range(2))
    assert first.equals(second)
    assert not first.estimate.equals(mutual_information.information_table([0.5], steps=3, test=100, seeds=[1]).estimate)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_plain_permutation_leaves_a_joint_pair_in_a_batch():
    means = mutual_information.fixed_points(15, 1000).groupby("way").joint_pairs.agg(["mean", "max", "count"])
    assert means["mean"]["plain"] == pytest.approx(1, abs=0.1)
    assert means["max"]["marginal_permutation"] == 0
    assert (means["count"] == 1000).all()


def test_coupled_decay_kills_an_estimator_of_small_weight():
    living, dying, decoupled, free = (
        mutual_information.estimator_under_decay(weight, decay, kind)
        for weight, decay, kind in ((1, 5e-4, False), (0.01, 5e-4, False), (0.01, 5e-4, True), (0.01, 0, False))
    )
    assert dying.norm.iloc[-1] < 0.5 * dying.norm.iloc[0]
    assert dying.estimate.tail(50).mean() == pytest.approx(-2 * math.log(2), abs=1e-3)
    for table in (living, decoupled, free):
        assert table.norm.iloc[-1] > 0.7 * table.norm.iloc[0] and table.estimate.tail(50).mean() > -1.3
    assert len(living) == 200 and living.norm[0] == dying.norm[0]


def test_each_coordinate_carries_one_of_label_and_domain():
    points, labels, domains = mutual_information.labelled_domains(2000)
    assert points[labels == 1].mean(0).tolist() == pytest.approx([1, 0], abs=0.1)
    assert points[domains == 0].mean(0).tolist() == pytest.approx([0, -1], abs=0.1)
    assert (labels == domains).double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_the_reversal_hides_the_domain_and_keeps_the_label():
    found = {
        name: mutual_information.reversal_toy(beta)
        for name, beta in (("none", None), ("blocked", 0.0), ("reversed", 1.0))
    }
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
    measures = mutual_information.reversal_toy(1.0, head_rate=0.0)[1]
    assert measures["domain"] < 0.7 and measures["domain read"] > 0.95


def lines(axis):
    return {line.get_label(): line.get_xydata().round(6).tolist() for line in axis.get_lines()}


def test_joint_pairs_stand_beside_marginal_ones(whole):
    x, y, partner = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.5, 1.5, 2.5]), torch.tensor([1, 2, 0])
    counts = pd.DataFrame({"way": ["plain"] * 4 + ["marginal_permutation"] * 2, "joint_pairs": [0, 1, 1, 2, 0, 0]})
    plot = whole(mutual_information.joint_and_marginal(x, y, partner, counts, "the stamp"))
    joint, marginal, bars = plot.figure.axes
    assert joint.collections[0].get_offsets().tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]
    assert marginal.collections[0].get_offsets().tolist() == [[0, 1.5], [1, 2.5], [2, 0.5]]
    assert [bar.get_height() for bar in bars.patches] == [0.25, 0.5, 0.25, 1, 0, 0]
    assert "correlation of the joint pairs 1.000" in plot.alt and "of the marginal pairs -0.500" in plot.alt
    assert "plain: 1.000 joint pairs a batch; marginal permutation: 0.000 joint pairs" in plot.alt
    assert plot.data.y.tolist() == [0.5, 1.5, 2.5, 1.5, 2.5, 0.5]


def test_the_estimate_stands_between_its_levels(whole):
    table = pd.DataFrame({"t": [2.0, -1.0, 0.1], "estimate": [-0.25, -2.6, -1.3]})
    plot = whole(mutual_information.estimate_by_separation(table, "the stamp"))
    (axis,) = plot.figure.axes
    assert lines(axis)["_child0"] == [[2, -0.25], [-1, -2.6], [0.1, -1.3]]
    levels = {line.get_label(): line.get_ydata()[0] for line in axis.get_lines()[1:]}
    assert levels == {"-2 log 2: T tells nothing": pytest.approx(-2 * math.log(2)), "0: T tells every pair": 0}
    assert plot.alt.endswith("-2.600 at t = -1.000, -1.300 at t = 0.100, -0.250 at t = 2.000.")


def test_the_estimate_is_drawn_as_printed_and_shifted(whole):
    table = pd.DataFrame({"correlation": [0.0, 0.0, 0.9], "seed": [0, 1, 0], "information": [0.0, 0.0, 1.6],
                          "estimate": [-1.4, -1.2, -0.7], "best": [-1.3, -1.3, -0.6]})  # fmt: skip
    plot = whole(mutual_information.estimate_against_information(table, "the stamp"))
    for axis, shift in zip(plot.figure.axes, (0, 2 * math.log(2)), strict=True):
        drawn = lines(axis)
        assert np.array(drawn["trained T"]) == pytest.approx(
            np.array([[0, -1.4 + shift], [0, -1.2 + shift], [1.6, -0.7 + shift]]), abs=1e-5
        )
        assert np.array(drawn["best T there is (known here)"]) == pytest.approx(
            np.array([[0, -1.3 + shift], [1.6, -0.6 + shift]]), abs=1e-5
        )
    assert lines(plot.figure.axes[1])["equality"] == [[0, 0], [1.6, 1.6]]
    assert "0.000 nats: trained T -1.300, best -1.300; 1.600 nats: trained T -0.700, best -0.600" in plot.alt


def test_reversal_panels_tell_label_by_colour_and_domain_by_shape(whole):
    points = pd.DataFrame({"x": [0.0, 1, 2, 3], "y": [4.0, 5, 6, 7], "label": [0, 0, 1, 1], "domain": [0, 1, 0, 1]})
    measures = {"label": 0.9, "domain": 0.4, "label read": 0.95, "domain read": 0.55}
    plot = whole(
        mutual_information.reversal_panels({"a": points, "b": points + 0}, {"a": measures, "b": measures}, "the stamp")
    )
    for axis in plot.figure.axes:
        assert [one.get_offsets().tolist() for one in axis.collections] == [[[0, 4]], [[1, 5]], [[2, 6]], [[3, 7]]]
        colours = [tuple(one.get_facecolor()[0]) for one in axis.collections]
        shapes = [one.get_paths()[0].vertices.shape for one in axis.collections]
        assert colours[0] == colours[1] != colours[2] == colours[3]
        assert shapes[0] == shapes[2] != shapes[1] == shapes[3]
        assert "label 0.95, domain 0.55" in axis.get_title()
    assert "a: domain head 0.400, neighbours read the label 0.950 and the domain 0.550" in plot.alt
    assert plot.data.way.tolist() == ["a"] * 4 + ["b"] * 4


def test_decay_curves_show_norm_and_smoothed_estimate(whole):
    table = pd.DataFrame({"step": range(30), "norm": np.linspace(6, 2, 30), "estimate": np.arange(30.0)})
    plot = whole(
        mutual_information.decay_curves({"weight 1": table, "weight .01": table.assign(norm=5.0)}, "the stamp")
    )
    norms, estimates = plot.figure.axes
    assert lines(norms)["weight 1"][-1] == [29, 2] and lines(norms)["weight .01"][-1] == [29, 5]
    assert estimates.get_lines()[0].get_ydata()[-1] == pytest.approx(np.mean(np.arange(10, 30)))
    assert "weight 1: norm from 6.000 to 2.000, estimate at last 19.500; weight .01: norm from 5.000" in plot.alt
