"""Ranking by pairs: the experiments against hand calculation, and their figures."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from did.errors import DidError
from did.method.losses import auc_loss, classification_loss
from did_book.chapters import ranking


def test_wmw_is_the_auc_but_for_ties():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    scores = rng.normal(size=40) + labels
    assert ranking.wmw(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert ranking.wmw([2, 1, 1, 0], [1, 1, 0, 0]) == 0.75
    assert roc_auc_score([1, 1, 0, 0], [2, 1, 1, 0]) == 0.875


def test_the_loop_over_pairs_is_eq_8_by_hand():
    # differences .2, -.1, .05 with γ = .15: 0, .25², .1²
    assert ranking.auc_loss_by_pairs([0.3, 0.0, 0.15, 0.1], [1, 1, 1, 0]) == pytest.approx((0.0625 + 0.01) / 3)
    scores = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(30) % 3 == 0).long()
    assert ranking.auc_loss_by_pairs(scores.tolist(), labels.tolist(), 0.5, 1.5) == pytest.approx(
        auc_loss(scores, labels, 0.5, 1.5).item(), rel=1e-12
    )
    for function in (ranking.wmw, ranking.auc_loss_by_pairs):
        with pytest.raises(DidError, match="a fake \\(1\\) and a real \\(0\\)"):
            function([0.1, 0.2], [1, 1])


def test_the_surrogate_and_its_slope_have_a_formula():
    table = ranking.surrogate_table([(0.15, 2), (1, 1.5)], [-0.5, 0.0, 0.15, 0.9, 1.2])
    for row in table.itertuples():
        short = max(row.margin - row.difference, 0)
        assert row.loss == pytest.approx(short**row.power, abs=1e-12)
        assert row.slope == pytest.approx(-row.power * short ** (row.power - 1), abs=1e-12)
    assert len(table) == 10 and len(ranking.surrogate_table([(1, 2)])) == 201


def test_the_error_stands_still_while_the_surrogate_moves():
    table = ranking.turned_line(angles=181)
    assert len(table) == 181 and table.angle.iloc[[0, -1]].tolist() == [-180, 180]
    assert set((table.error * 50).round(6) % 1) == {0}  # 5 fakes, 10 reals
    assert (table.error.diff().iloc[1:] == 0).mean() > 0.5
    assert (table.surrogate.diff().iloc[1:] != 0).all()
    opposite = table.set_index("angle").error
    assert opposite[-180.0] == pytest.approx(opposite[180.0]) == pytest.approx(1 - opposite[0.0])


def test_batches_have_few_pairs():
    three_of_each = ranking.batches_of_pairs(draws=500)
    assert set(three_of_each.pairs) == {36}
    assert three_of_each.auc.mean() == pytest.approx(0.76, abs=0.03)  # Φ(1 / √2)
    assert 0.1 < three_of_each.auc.std() < 0.2
    drawn = ranking.batches_of_pairs(fakes=None, draws=3000)
    assert (drawn.pairs == drawn.fakes * (15 - drawn.fakes)).all()
    assert drawn.pairs.mean() == pytest.approx(15 * 14 * 0.8 * 0.2, rel=0.05)
    assert (drawn.pairs == 0).mean() == pytest.approx(0.8**15, abs=0.01)
    assert drawn.auc.isna().equals(drawn.pairs == 0)


@pytest.mark.parametrize("name", ranking.CLOUDS)
def test_the_auc_of_a_line_is_known(name):
    points, labels = ranking.clouds(name, 20_000, 20_000)
    for w in ([1.0, 0.0], [0.3, -1.0]):
        seen = roc_auc_score(labels, points.numpy() @ np.array(w))
        assert ranking.line_auc(name, w) == pytest.approx(seen, abs=0.01)
    angles = np.radians(np.arange(360))
    assert ranking.best_line(name)[1] == pytest.approx(
        max(ranking.line_auc(name, [math.cos(a), math.sin(a)]) for a in angles), abs=1e-3
    )


def test_unknown_clouds_are_refused():
    with pytest.raises(DidError, match="unknown clouds 'even': valid: equal, unequal"):
        ranking.clouds("even", 1, 1)


def test_a_line_descends_eq_9():
    points, labels = ranking.clouds("unequal", 60, 30)
    w, b = ranking.trained_line(points, labels, 1.0, steps=600)
    other = LogisticRegression(C=1e9, tol=1e-8).fit(points, labels)
    assert [*w, b] == pytest.approx([*other.coef_[0], *other.intercept_], abs=0.02)
    w, b = ranking.trained_line(points, labels, 0.4, steps=600)

    def loss(w1, w2, b):
        scores = points @ torch.tensor([w1, w2], dtype=torch.float64) + b
        return classification_loss(scores, labels, 0.4).item()

    here = loss(*w, b)
    assert all(loss(w[0] + i, w[1] + j, b + k) > here for i, j, k in np.vstack([np.eye(3), -np.eye(3)]) * 0.05)


def test_at_alpha_0_the_offset_stays_where_it_started():
    points, labels = ranking.clouds("equal", 50, 50)
    for start in (0.0, 2.0):
        assert ranking.trained_line(points, labels, 0.0, steps=50, start=start)[1] == pytest.approx(start, abs=1e-6)
    assert ranking.trained_line(points, labels, 1.0, steps=50, start=2.0)[1] < 1.9


def test_bce_loses_by_imbalance_where_the_variances_differ():
    table = ranking.imbalance_table(alphas=(1.0, 0.0), seeds=(0, 1), steps=200)
    assert len(table) == 2 * 2 * 2 * 2
    auc = table.groupby(["clouds", "fakes", "alpha"]).auc.mean()
    assert auc["unequal", 20, 0.0] > auc["unequal", 20, 1.0] + 0.05
    assert abs(auc["unequal", 140, 0.0] - auc["unequal", 140, 1.0]) < 0.01
    assert abs(auc["equal", 20, 0.0] - auc["equal", 20, 1.0]) < 0.02
    assert (table.auc <= table.best + 1e-9).all()
    assert table[(table.fakes == 20) & (table.alpha == 1)].recall.max() < 0.5


def test_calibration_needs_bce():
    table, scored = ranking.calibration_table(n=100, start=2.0)
    table = table.set_index(["alpha", "margin"])
    assert table.error[1.0, 0.15] < 0.05 < 0.1 < table.error[0.5, 0.15] < table.error[0.0, 0.15]
    assert table.auc.max() - table.auc.min() < 0.01
    # L(c·s; c·γ) = c^p L(s; γ): the least loss lies at a size in proportion to γ.
    assert table["size"][0.0, 1.0] == pytest.approx(table["size"][0.0, 0.15] / 0.15, rel=0.02)
    assert table.b[0.0, 0.15] == pytest.approx(2, abs=1e-6)
    part = scored[(scored.alpha == 1) & (scored.margin == 0.15)]
    assert len(part) == 10_000 and roc_auc_score(part.label, part.probability) == pytest.approx(table.auc[1.0, 0.15])


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
    table = ranking.surrogate_table([(0.5, 2), (1, 3)], [-1.0, 0.0, 1.0])
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
    points, labels = ranking.clouds("equal", 50, 10, 0)
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
