"""Trained on one method, tested on each: what is drawn where, and said."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from did.errors import DidError
from did.training import runs
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


def test_each_detector_sees_its_own_method_and_is_tested_on_all(tiny_source, tiny_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    short = dataclasses.replace(tiny_settings, iterations=4, validate_every=2)
    on_each = start.train_on_each(short, *tiny_source, progress=False)
    methods = ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    assert list(on_each) == [*methods, "all"]
    whole = tiny_source[1].manifest
    for method in methods:
        one, tested = on_each[method]
        assert one.record["task"] == "bce" and one.record["domains"] == ["real", method]
        # 6 training, 4 validation and 4 test people with 2 frames each, real and forged by the one method.
        assert one.record["data"]["crops"] == {"train": 24, "val": 16, "test": 16}
        assert one.record["data"]["label"] == f"bars on noise, {method} alone"
        assert set(one.scores.method) == {"real", method}
        assert tested.folder.parent == one.folder
        assert tested.scores.face.tolist() == whole.face[whole.split == "test"].tolist()
        own, again = (of.scores.set_index("face").score for of in (one, tested))
        assert (again[own.index] - own).abs().max() < 1e-5
    every, tested = on_each["all"]
    assert every.record["domains"] == ["real", *methods] and tested.folder == every.folder
    assert len({one.folder for one, _ in on_each.values()}) == 5
    assert len({one.settings for one, _ in on_each.values()}) == 1


def test_one_method_alone_is_no_question(tiny_source, tiny_settings):
    source, store = tiny_source
    with pytest.raises(DidError, match="bars on noise has 1 forgery method; name a source with two or more"):
        start.train_on_each(tiny_settings, source, store.only("FaceSwap"))


def test_the_validation_never_sees_another_method(tiny_source, tiny_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    seen, fit = [], runs.fit
    monkeypatch.setattr(runs, "fit", lambda task, *faces: seen.append(faces[:2]) or fit(task, *faces))
    short = dataclasses.replace(tiny_settings, iterations=1, validate_every=1)
    source, store = tiny_source
    start.train_on_each(short, source, store.only("FaceSwap", "Deepfakes"), progress=False)
    expected = [{"real", "Deepfakes"}, {"real", "FaceSwap"}, {"real", "Deepfakes", "FaceSwap"}]
    assert [set(train.rows.method) for train, _ in seen] == expected
    assert [set(validation.rows.method) for _, validation in seen] == expected
