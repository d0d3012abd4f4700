"""Figures on ranking: what is drawn where, and said."""

import numpy as np
import pandas as pd
import pytest

from did.errors import DidError
from did_book.chapters import ranking, toys


def test_the_grid_of_pairs_is_bounded_by_the_roc_curve(whole):
    plot = whole(ranking.pair_grid([3.0, 1.0, 2.0, 0.0], [1, 1, 0, 0], "the stamp"))
    (axis,) = plot.figure.axes
    assert axis.images[0].get_array().tolist() == [[True, True], [False, True]]
    assert axis.images[0].origin == "lower"
    assert axis.get_lines()[0].get_xydata().tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert plot.alt == "3 of 4 pairs of a fake and a real in the right order: AUC 0.750."
    assert [(row.fake > row.real) == row.right for row in plot.data.itertuples()] == [True] * 4
    with pytest.raises(DidError, match="a fake \\(1\\) and a real \\(0\\)"):
        ranking.pair_grid([1.0, 2.0], [1, 1], "s")


def test_the_turning_line_has_two_scales(whole):
    table = pd.DataFrame(
        {"angle": [0.0, 1, 2, 3, 4], "error": [0.5, 0.5, 0.5, 0.2, 0.2], "surrogate": [0.9, 0.8, 0.7, 0.1, 0.3]}
    )
    plot = whole(ranking.turning_line(table, "the stamp"))
    left, right = plot.figure.axes
    assert left.get_lines()[0].get_ydata().tolist() == table.error.tolist()
    assert right.get_lines()[0].get_ydata().tolist() == table.surrogate.tolist()
    assert "from 0.200 to 0.500 and does not change in 0.750 of the steps; L_AUC is least (0.100)" in plot.alt
    assert plot.alt.endswith("where 1 - WMW is 0.200.")


def test_a_curve_for_each_margin_and_power(whole):
    table = toys.surrogate_table([(0.5, 2), (1, 3)], [-1.0, 0.0, 1.0])
    plot = whole(ranking.surrogate_curves(table, "the stamp"))
    loss, slope = plot.figure.axes
    assert [line.get_ydata().tolist() for line in loss.get_lines()[:2]] == [[2.25, 0.25, 0], [8, 1, 0]]
    assert [line.get_ydata().tolist() for line in slope.get_lines()[:2]] == [[-3, -1, 0], [-12, -3, 0]]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == [
        "γ = 0.5, p = 2", "γ = 1, p = 3", "wrong order: 1"]  # fmt: skip
    assert "γ = 0.5, p = 2: loss 0.250 and slope -1.000 at a difference of 0; γ = 1" in plot.alt


def test_histograms_of_batches_are_shares(whole):
    few = pd.DataFrame({"fakes": [0, 1, 1, 1], "pairs": [0, 4, 4, 4], "auc": [np.nan, 0.5, 0.7, 0.9]})
    plot = whole(ranking.batch_histograms({"few": few, "many": few.assign(pairs=6)}, "the stamp"))
    pairs, aucs = plot.figure.axes
    heights = {}
    for bar in pairs.patches:
        if bar.get_height():
            heights.setdefault(bar.get_hatch() or "", []).append((bar.get_x() + 1, bar.get_height()))
    assert heights == {"": [(0, 0.25), (4, 0.75)], "///": [(6, 1)]}
    assert sum(bar.get_height() for bar in aucs.patches) == pytest.approx(2 * 0.75)
    assert "few: 3.000 pairs on average, none in 0.250 of the batches; AUC 0.700, deviation 0.200; many" in plot.alt


def test_imbalance_shows_directions_and_aucs(whole):
    rows = [
        {"clouds": name, "reals": reals, "fakes": fakes, "alpha": alpha, "seed": seed, "w1": 1.0, "w2": alpha, "b": 0.0,
         "auc": 0.6 + 0.1 * alpha + 0.02 * seed + fakes / 1000, "best": 0.9, "recall": 0.5}
        for name in ("equal", "unequal") for reals, fakes in ((30, 30), (50, 10)) for alpha in (1.0, 0.0)
        for seed in (0, 1)
    ]  # fmt: skip
    plot = whole(ranking.imbalance_panels(pd.DataFrame(rows), "the stamp"))
    above, _, below, _ = plot.figure.axes
    points, labels = toys.clouds("equal", 50, 10, 0)
    assert np.asarray(above.collections[0].get_offsets()) == pytest.approx(points[labels == 0].numpy())
    assert np.asarray(above.collections[1].get_offsets()) == pytest.approx(points[labels == 1].numpy())
    ends = {line.get_label(): line.get_xydata()[1] for line in above.get_lines()}
    assert ends["α = 1"] == pytest.approx([2.6 / 2**0.5] * 2) and ends["α = 0"] == pytest.approx([2.6, 0])
    assert ends["best"][1] / ends["best"][0] == pytest.approx(0.5)
    means = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in below.get_lines()}
    assert means["30 reals, 30 fakes"] == pytest.approx([0.64, 0.74])  # α = 0, then 1
    places = {line.get_label(): np.asarray(line.get_xdata()).tolist() for line in below.get_lines()}
    assert places["30 reals, 30 fakes"] == pytest.approx([0.92, -0.08])  # on the axis α = 1 comes first
    spans = {tuple(segment[:, 1].round(3)) for lines in below.collections for segment in lines.get_segments()}
    assert (0.63, 0.65) in spans and (0.71, 0.73) in spans
    assert "equal, 30:30, α = 1: 0.740" in plot.alt and "unequal, best line: 0.900" in plot.alt
