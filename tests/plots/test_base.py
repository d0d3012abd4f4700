"""What every figure is made of, with names that no figure was made for: they are read as they are."""

import os

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from did import plots
from did.evaluation import confusion, reliability
from did.plots.base import Plot, canvas, entry, put_stamp

NAMES = ["<img src=x onerror=alert(1)> \"q' `t` | \n" + os.fsdecode(b"caf\xe9"), r"$\nosuch$ _", "_a $b$ c"]
STAMP = "folder $x$ <b>: your own data. commit abc"


def scores(methods):
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"method": name, "label": int(number > 0), "score": rng.normal(number > 0, 1, 30)})
        for number, name in enumerate(["real", *methods])
    ]
    return pd.concat(parts, ignore_index=True)


def _embeddings(name):
    labels = ["real", name] * 5
    return plots.embeddings({name: np.arange(20.0).reshape(10, 2)}, {name: labels}, {name: f"note {name}"}, STAMP)


def _overlaps(name):
    row = {"method": name, "map": "I_df", "share": 0.5, "share_low": 0.4, "share_high": 0.6, "area": 0.3, "fixed": 0.3}
    none = {"method": "other", "map": "I_df", "note": name}
    return plots.overlap_bars(pd.DataFrame([{**row, "note": "", "data": name}, {**none, "data": name}]), STAMP)


def _heatmap(name):
    rows = [
        {"train": a, "test": b, "auc": 0.7, "low": 0.6, "high": 0.8, "kind": "own" if a == b else "other"}
        for a in (name, "other")
        for b in (name, "other")
    ]
    return plots.method_heatmap(pd.DataFrame(rows), STAMP)


def _histories(name):
    steps = pd.DataFrame({"iteration": range(4), "cls": 0.5, "estimate": -1.0, "M_df saturated": 0.1})
    return plots.compare_histories({name: steps, "other": steps}, STAMP)


FIGURES = {
    "roc_curves": lambda name: plots.roc_curves(scores([name]), STAMP),
    "score_histograms": lambda name: plots.score_histograms(scores([name]), STAMP),
    "confusion_matrix": lambda name: plots.confusion_matrix(
        confusion(np.array([0, 1, 1]), np.array([0, 1, 0]), ["real", name]), STAMP
    ),
    "reliability_diagram": lambda name: plots.reliability_diagram(
        {name: reliability(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.9, 0.3]), bins=2)}, STAMP
    ),
    "embeddings": _embeddings,
    "overlap_bars": _overlaps,
    "method_heatmap": _heatmap,
    "compare_histories": _histories,
}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES.keys())
def test_a_figure_shows_any_name_as_it_is(figure, name):
    plot = figure(name)
    bundle, about = plot._repr_mimebundle_()  # draws it
    assert about["image/png"]["stamp"] == plot.stamp == STAMP
    for kind in ("text/plain", "text/csv"):
        bundle[kind].encode("utf-8")
    assert "\n" not in bundle["text/plain"]
    texts = [text.get_text() for text in plot.figure.findobj(Text)]
    wanted = os.fsencode(name).decode("utf-8", "backslashreplace")
    # A dollar is written with a backslash, which matplotlib drops.
    assert any(wanted in text.replace(r"\$", "$") for text in texts), texts


@pytest.mark.parametrize("figure", ["roc_curves", "score_histograms", "reliability_diagram", "embeddings"])
def test_no_name_is_left_out_of_a_legend(figure):
    found = FIGURES[figure]("_left_out").figure
    legends = [*found.legends, *(axes.get_legend() for axes in found.axes if axes.get_legend())]
    assert any("_left_out" in text.get_text() for legend in legends for text in legend.get_texts())


def test_what_is_no_odd_name_is_as_it_was():
    assert [entry(name) for name in ("real", "a_b", "")] == ["real", "a_b", ""]
    figure, axes = canvas(2, 2)
    axes[0, 0].plot([1, 1000], [1, 1000])
    axes[0, 0].set(xscale="log", title="per cent: 5 $")
    put_stamp(figure, "x")
    plot = Plot(figure, pd.DataFrame({"a": [1]}), "words")
    figure.canvas.draw()
    ticks = [label.get_text() for label in axes[0, 0].get_xticklabels()]
    assert any(tick.startswith("$\\mathdefault{10^") for tick in ticks), "powers are in mathtext"
    assert axes[0, 0].get_title() == r"per cent: 5 \$"
    assert plot.alt == "words"
