"""Trained on one method, tested on each: what is drawn where, and said."""

import numpy as np
import pandas as pd
import pytest

from did.errors import DidError
from did_book.chapters import start


def across():
    rows = [
        ("B", "B", 0.9512, 0.9, 0.99, "own"), ("B", "A", 0.6, 0.5, 0.7, "other"),
        ("A", "B", 0.4, 0.3, 0.55, "other"), ("A", "A", 1.0, 1.0, 1.0, "own"),
        ("all", "B", 0.9, 0.8, 0.95, "all"), ("all", "A", 0.8, 0.7, 0.9, "all"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["train", "test", "auc", "low", "high", "kind"])


def test_each_number_stands_in_its_row_and_column(whole):
    plot = whole(start.method_heatmap(across(), "the stamp"))
    axis, bar = plot.figure.axes
    cells = {tuple(np.floor(text.get_position()).astype(int)): text.get_text() for text in axis.texts}
    assert cells == {
        (0, 0): "0.95\n[0.90, 0.99]", (1, 0): "0.60\n[0.50, 0.70]", (0, 1): "0.40\n[0.30, 0.55]",
        (1, 1): "1.00\n[1.00, 1.00]", (0, 2): "0.90\n[0.80, 0.95]", (1, 2): "0.80\n[0.70, 0.90]",
    }  # fmt: skip
    assert [label.get_text() for label in axis.get_xticklabels()] == ["B", "A"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["B", "A", "all"]
    assert np.allclose(axis.collections[0].get_array(), [[0.9512, 0.6], [0.4, 1.0], [0.9, 0.8]])
    assert axis.collections[0].get_clim() == (0.5, 1.0)
    assert bar.get_ylabel() == "AUC on frames (0.5: guessing)"
    assert plot.data.equals(across())


def test_a_frame_marks_the_own_method_in_place_of_colour_alone():
    axis = start.method_heatmap(across(), "s").figure.axes[0]
    framed = {(int(patch.get_x()), int(patch.get_y())) for patch in axis.patches if patch.get_gid() == "own"}
    assert framed == {(0, 0), (1, 1)}
    (line,) = axis.get_lines()
    assert list(line.get_ydata()) == [2, 2]  # above the detector that has seen all


def test_the_frame_follows_the_method_where_rows_and_columns_are_ordered_otherwise():
    rows = [
        {"train": train, "test": test, "auc": 0.7, "low": 0.6, "high": 0.8, "kind": "own" if train == test else "other"}
        for train in "ABC"
        for test in "BCA"
    ]
    axis = start.method_heatmap(pd.DataFrame(rows), "s").figure.axes[0]
    framed = {(int(patch.get_x()), int(patch.get_y())) for patch in axis.patches if patch.get_gid() == "own"}
    assert framed == {(2, 0), (0, 1), (1, 2)}


def test_words_say_every_number():
    assert start.method_heatmap(across(), "s").alt == (
        "AUC on frames by method of training and test; "
        "trained on B: B (its own) 0.951 [0.900, 0.990], A 0.600 [0.500, 0.700]; "
        "trained on A: B 0.400 [0.300, 0.550], A (its own) 1.000 [1.000, 1.000]; "
        "trained on all: B 0.900 [0.800, 0.950], A 0.800 [0.700, 0.900]."
    )


def test_nothing_and_twice_the_same_are_refused():
    with pytest.raises(DidError, match="no detector to draw"):
        start.method_heatmap(across()[:0], "s")
    with pytest.raises(DidError, match="B on B twice"):
        start.method_heatmap(pd.concat([across(), across()]), "s")
