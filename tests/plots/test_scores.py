"""The paper's tables and figures beside ours: what is drawn where, and said."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from did import evaluation, plots
from did.errors import DidError

NAN = float("nan")


def published_and_ours():
    columns = ["row", "test", "level", "metric", "ours", "low", "high", "paper", "run_here"]
    rows = [
        ("Xception", "FF++", "frame", "auc", 0.9, 0.85, 0.95, 0.997, True),
        ("Xception", "CDF2", "frame", "auc", NAN, NAN, NAN, 0.653, False),
        ("MDD", "FF++", "frame", "auc", NAN, NAN, NAN, 0.998, False),
        ("MDD", "CDF2", "frame", "auc", NAN, NAN, NAN, NAN, False),
        ("DID", "FF++", "frame", "auc", 0.8, NAN, NAN, NAN, True),
        ("DID", "CDF2", "frame", "auc", 0.6123, 0.56, 0.66, 0.779, True),
        ("DID", "CDF2", "video", "auc", 0.7, 0.6, 0.8, NAN, True),
        ("DID", "CDF2", "frame", "eer", 0.4, 0.3, 0.5, 0.286, True),
    ]
    return pd.DataFrame(rows, columns=columns).assign(std=NAN, seeds=1)


def points(axis, marker):
    """(x, y) of a marker's points that are drawn."""
    found = [line.get_xydata() for line in axis.get_lines() if line.get_marker() == marker]
    there = np.concatenate(found)
    return {(round(x, 4), round(y, 4)) for x, y in there[np.isfinite(there).all(1)].tolist()}


def intervals(axis):
    """(x0, x1, y0, y1) of what hlines and vlines drew."""
    drawn = [segment for lines in axis.collections for segment in lines.get_segments()]
    return {
        tuple(np.round([*one[:, 0], *one[:, 1]], 4).tolist()) for one in drawn if len(one) and np.isfinite(one).all()
    }


def labels(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def test_published_numbers_stand_beside_ours(whole):
    plot = whole(plots.paper_against_ours(published_and_ours(), "the stamp"))
    ff, cdf2 = plot.figure.axes
    assert [axis.get_title() for axis in plot.figure.axes] == ["FF++", "CDF2"]
    # Rows 0, 1, 2 from above; ours a little above the line, the paper's below.
    assert points(ff, "o") == {(0.9, -0.13), (0.8, 1.87)}
    assert points(ff, "D") == {(0.997, 0.13), (0.998, 1.13)}
    assert points(cdf2, "o") == {(0.6123, 1.87)}
    assert points(cdf2, "D") == {(0.653, 0.13), (0.779, 2.13)}
    assert intervals(ff) == {(0.85, 0.95, -0.13, -0.13)}
    assert intervals(cdf2) == {(0.56, 0.66, 1.87, 1.87)}
    assert ff.get_ylim() == cdf2.get_ylim() == (2.5, -0.5)
    for axis in (ff, cdf2):
        (chance,) = [line for line in axis.get_lines() if line.get_linestyle() == ":"]
        assert list(chance.get_xdata()) == [0.5, 0.5]


def test_rows_that_were_not_run_say_so():
    axis = plots.paper_against_ours(published_and_ours(), "s").figure.axes[0]
    assert labels(axis) == ["Xception (here on FF++ only)", "MDD (not run here)", "DID"]
    shades = [to_hex(label.get_color()) for label in axis.get_yticklabels()]
    assert shades == ["#000000", "#888888", "#000000"]


def test_words_say_both_numbers():
    plot = plots.paper_against_ours(published_and_ours(), "s")
    assert plot.alt == (
        "AUC on frames, Xception on FF++: here 0.900 [0.850, 0.950], published 0.997; "
        "DID on FF++: here 0.800, no published number; DID on CDF2: here 0.612 [0.560, 0.660], published 0.779; "
        "not run here: MDD."
    )
    nothing = published_and_ours().query("row == 'MDD'")
    assert "nothing was run here" in plots.paper_against_ours(nothing, "s").alt


def test_another_metric_and_another_level():
    eer = plots.paper_against_ours(published_and_ours(), "s", metric="eer")
    assert "EER on frames, DID on CDF2: here 0.400" in eer.alt
    assert not [line for line in eer.figure.axes[0].get_lines() if line.get_linestyle() == ":"]
    assert (
        "AUC on videos, DID on CDF2: here 0.700"
        in plots.paper_against_ours(published_and_ours(), "s", "auc", "video").alt
    )
    with pytest.raises(DidError, match="no eer on videos"):
        plots.paper_against_ours(published_and_ours(), "s", "eer", "video")
    with pytest.raises(DidError, match="DID on CDF2 twice"):
        plots.paper_against_ours(published_and_ours().assign(metric="auc"), "s")


def test_alpha_runs_along_x(whole):
    rows = [(1.0, 0.7, 0.763), (0.0, 0.4, 0.38), (0.25, 0.55, NAN), (NAN, 0.9, 0.9)]
    table = pd.DataFrame(rows, columns=["alpha", "ours", "paper"])
    table = table.assign(row=[f"run {i}" for i in range(4)], test="CDF2", level="frame", metric="auc", run_here=True)
    table = table.assign(low=table.ours - 0.1, high=table.ours + 0.1)
    plot = whole(plots.alpha_curve(table, "the stamp"))
    (axis,) = plot.figure.axes
    (line,) = [line for line in axis.get_lines() if line.get_marker() == "o"]
    assert line.get_xydata().tolist() == [[0.0, 0.4], [0.25, 0.55], [1.0, 0.7]]
    assert points(axis, "D") == {(0.0, 0.38), (1.0, 0.763)}
    assert intervals(axis) == {(x, x, round(y - 0.1, 4), round(y + 0.1, 4)) for x, y in line.get_xydata().tolist()}
    assert "α = 0 on CDF2: here 0.400 [0.300, 0.500], published 0.380; α = 0.25" in plot.alt
    two = pd.concat([table, table.assign(test="FF++")])
    assert [axis.get_title() for axis in plots.alpha_curve(two, "s").figure.axes] == ["CDF2", "FF++"]
    with pytest.raises(DidError, match="no auc on frames"):
        plots.alpha_curve(table.assign(alpha=NAN), "s")


def test_a_confusion_matrix_by_hand(whole):
    # A: 3 right, 1 taken for B; B: 1 right, 1 taken for A; C has no faces.
    confusion = evaluation.confusion([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], ["A", "B", "C"])
    plot = whole(plots.confusion_matrix(confusion, "the stamp"))
    axis = plot.figure.axes[0]
    cells = {text.get_position()[::-1]: text.get_text() for text in axis.texts}
    assert cells == {
        (0, 0): "0.75", (0, 1): "0.25", (0, 2): "0.00", (1, 0): "0.50", (1, 1): "0.50", (1, 2): "0.00",
        (2, 0): "–", (2, 1): "–", (2, 2): "–",
    }  # fmt: skip
    assert labels(axis) == ["A", "B", "C"]
    assert "mean accuracy 0.62" in axis.get_title()
    assert "mean accuracy 0.625; right: A 0.750, B 0.500; greatest confusion: B taken for A, 0.500" in plot.alt
    assert plot.alt.endswith("without faces: C.")
    with pytest.raises(DidError, match="no domain"):
        plots.confusion_matrix(confusion * NAN, "s")


def test_calibration_error_is_that_of_the_evaluation(whole):
    rng = np.random.default_rng(0)
    drawn = {name: rng.random(200) ** power for name, power in (("DID", 1), ("BCE", 3))}
    truth = {name: (rng.random(200) < p**2).astype(int) for name, p in drawn.items()}
    tables = {name: evaluation.reliability(truth[name], p) for name, p in drawn.items()}
    plot = whole(plots.reliability_diagram(tables, "the stamp"))
    (axis,) = plot.figure.axes
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    for (name, table), scatter, entry in zip(tables.items(), axis.collections, legend, strict=True):
        error = evaluation.calibration_error(truth[name], drawn[name])
        assert f"{name} {error:.3f}" in plot.alt and f"{name}, error {error:.3f}" == entry
        full = table[table.n > 0]
        assert np.array_equal(scatter.get_offsets(), full[["probability", "share"]])
    assert axis.get_lines()[0].get_xydata().tolist() == [[0, 0], [1, 1]]


def test_length_runs_along_x_in_powers_of_two(whole):
    rows, lengths = [], []
    for system, augmentation in (("DID", "none"), ("DID", "light"), ("BCE", "none")):
        for times in (4, 1, 2):
            name = f"{system} ×{times}, {augmentation}"
            lengths.append({"row": name, "system": system, "augmentation": augmentation, "iterations": 100 * times,
                            "validation AUC": 0.9 + times / 100})  # fmt: skip
            common = {"row": name, "level": "frame", "metric": "auc", "paper": NAN, "run_here": True}
            ours = {"ours": 0.6 + times / 50, "low": 0.5, "high": 0.8}
            rows += [{**common, **ours, "test": test} for test in ("FF++", "CDF2")]
    plot = whole(plots.length_curves(pd.DataFrame(rows), pd.DataFrame(lengths), "the stamp"))
    panels = plot.figure.axes
    assert [axis.get_title() for axis in panels] == ["FF++", "CDF2", "validation, within the source"]
    for axis, expected in zip(panels, ((0.62, 0.64, 0.68), (0.62, 0.64, 0.68), (0.91, 0.92, 0.94)), strict=True):
        assert axis.get_xscale() == "log" and list(axis.get_xticks()) == [100, 200, 400]
        found = {line.get_label(): line for line in axis.get_lines()}
        assert set(found) == {"DID", "DID, light", "BCE"}
        assert found["DID"].get_linestyle() == "--" and found["DID, light"].get_linestyle() == "-"
        assert found["DID"].get_color() == found["DID, light"].get_color() != found["BCE"].get_color()
        for line in found.values():
            assert np.allclose(line.get_xydata(), list(zip((100, 200, 400), expected, strict=True)))
    assert "DID (light) on CDF2 0.680 [0.500, 0.800] after 400 iterations" in plot.alt
