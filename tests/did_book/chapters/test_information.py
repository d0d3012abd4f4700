"""Figures on mutual information: what is drawn where, and said."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from did_book.chapters import information


def lines(axis):
    return {line.get_label(): line.get_xydata().round(6).tolist() for line in axis.get_lines()}


def test_joint_pairs_stand_beside_marginal_ones(whole):
    x, y, partner = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.5, 1.5, 2.5]), torch.tensor([1, 2, 0])
    counts = pd.DataFrame({"way": ["plain"] * 4 + ["marginal_permutation"] * 2, "joint_pairs": [0, 1, 1, 2, 0, 0]})
    plot = whole(information.joint_and_marginal(x, y, partner, counts, "the stamp"))
    joint, marginal, bars = plot.figure.axes
    assert joint.collections[0].get_offsets().tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]
    assert marginal.collections[0].get_offsets().tolist() == [[0, 1.5], [1, 2.5], [2, 0.5]]
    assert [bar.get_height() for bar in bars.patches] == [0.25, 0.5, 0.25, 1, 0, 0]
    assert "correlation of the joint pairs 1.000" in plot.alt and "of the marginal pairs -0.500" in plot.alt
    assert "plain: 1.000 joint pairs a batch; marginal permutation: 0.000 joint pairs" in plot.alt
    assert plot.data.y.tolist() == [0.5, 1.5, 2.5, 1.5, 2.5, 0.5]


def test_the_estimate_stands_between_its_levels(whole):
    table = pd.DataFrame({"t": [2.0, -1.0, 0.1], "estimate": [-0.25, -2.6, -1.3]})
    plot = whole(information.estimate_by_separation(table, "the stamp"))
    (axis,) = plot.figure.axes
    assert lines(axis)["_child0"] == [[2, -0.25], [-1, -2.6], [0.1, -1.3]]
    levels = {line.get_label(): line.get_ydata()[0] for line in axis.get_lines()[1:]}
    assert levels == {"-2 log 2: T tells nothing": pytest.approx(-2 * math.log(2)), "0: T tells every pair": 0}
    assert plot.alt.endswith("-2.600 at t = -1.000, -1.300 at t = 0.100, -0.250 at t = 2.000.")


def test_the_estimate_is_drawn_as_printed_and_shifted(whole):
    table = pd.DataFrame({"correlation": [0.0, 0.0, 0.9], "seed": [0, 1, 0], "information": [0.0, 0.0, 1.6],
                          "estimate": [-1.4, -1.2, -0.7], "best": [-1.3, -1.3, -0.6]})  # fmt: skip
    plot = whole(information.estimate_against_information(table, "the stamp"))
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
        information.reversal_panels({"a": points, "b": points + 0}, {"a": measures, "b": measures}, "the stamp")
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
    plot = whole(information.decay_curves({"weight 1": table, "weight .01": table.assign(norm=5.0)}, "the stamp"))
    norms, estimates = plot.figure.axes
    assert lines(norms)["weight 1"][-1] == [29, 2] and lines(norms)["weight .01"][-1] == [29, 5]
    assert estimates.get_lines()[0].get_ydata()[-1] == pytest.approx(np.mean(np.arange(10, 30)))
    assert "weight 1: norm from 6.000 to 2.000, estimate at last 19.500; weight .01: norm from 5.000" in plot.alt
