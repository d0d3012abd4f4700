"""Saliency beside forged regions, embeddings and probes: what is drawn where, and said."""

import types

import numpy as np
import pandas as pd
import pytest
import torch

from did import plots, standin
from did.data import ffpp, prepare
from did.data.loading import Faces
from did.evaluation import explain
from did.method.model import DID
from did.plots.inside import _same_people

NAN = float("nan")
METHODS = ["real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    model = DID("test_efficientnet", 5, hidden=8).eval()
    return types.SimpleNamespace(model=model, detector=model.detector)


@pytest.fixture(scope="module")
def forged(tmp_path_factory):
    """Root and test faces of a small FF++ stand-in."""
    root, store = tmp_path_factory.mktemp("ffpp") / "root", tmp_path_factory.mktemp("store")
    standin.write("ffpp", root, {"train": 2, "val": 2, "test": 2}, frames=2, workers=1, progress=False)
    made = prepare.prepare(ffpp.index(root), root, store, frames=2, size=64, workers=1, progress=False)
    manifest = made.manifest
    return root, Faces(manifest[manifest.split == "test"], made.root, 64)


def outlines(axis):
    """The bounds (x0, y0, x1, y1) of each line of contours in the axes, for contours that are paths."""
    paths = [path for lines in axis.collections for path in lines.get_paths() if len(path.vertices)]
    return [(*path.vertices.min(0), *path.vertices.max(0)) for path in paths]


# --- saliency ----------------------------------------------------------------------------------------------------


def test_the_sheet_lays_maps_and_outlines_over_crops(whole, task, forged):
    root, faces = forged
    plot = whole(plots.saliency_sheet(task, faces, root, "the stamp"))
    grid = np.array(plot.figure.axes).reshape(5, 6)
    assert [axis.get_title() for axis in grid[0]] == ["crop", "I_df", "I_dom"] * 2
    assert [line[0].get_ylabel() for line in grid] == METHODS
    assert [len(axis.images) for axis in grid[0]] == [1, 2, 2] * 2
    rows, people = faces.rows.set_index("face"), list(dict.fromkeys(plot.data.person))
    assert len(people) == 2 and len(plot.data) == 20
    for one in plot.data.itertuples():
        i = METHODS.index(one.method)
        j = 3 * people.index(one.person)
        axis = grid[i, j + 1 + ["I_df", "I_dom"].index(one.map)]
        image = faces[list(rows.index).index(one.face)]["image"]
        assert np.array_equal(axis.images[0].get_array(), image[0])
        expected = explain.saliency(task.model, image[None], one.map)[0]
        assert np.asarray(axis.images[1].get_array()) == pytest.approx(expected, abs=1e-3)
        assert one.score == pytest.approx(task.detector()(image[None]).item(), abs=1e-4)
        region = explain.true_region(root, rows.loc[one.face], 64)
        if one.method == "real":
            assert region is None and not outlines(axis) and axis.get_xlabel() == one.note == "not forged"
            continue
        y, x = np.nonzero(region >= 0.5)
        inside, every = 0.0, 0.0
        for (row, column), value in np.ndenumerate(expected):
            every += value
            inside += value if region[row, column] >= 0.5 else 0
        assert one.share == pytest.approx(inside / every, abs=1e-3)
        assert axis.get_xlabel() == f"{one.share:.2f} inside"
        for axis_ in (axis, grid[i, j]):
            assert outlines(axis_)[0] == pytest.approx((x.min(), y.min(), x.max(), y.max()), abs=1)


def test_words_on_saliency(task, forged):
    root, faces = forged
    plot = plots.saliency_sheet(task, faces, root, "s", names=("I_X",), people=1)
    assert plot.alt.startswith("Grad-CAM of I_X on 5 faces. real: mean score ")
    swap = plot.data.query("method == 'FaceSwap'").iloc[0]
    assert f"FaceSwap: mean score {swap.score:.3f}, {swap.share:.3f} of I_X inside, where {swap.area:.3f}" in plot.alt
    assert "(not forged)" in plot.alt


def test_without_a_stand_in_no_region_is_claimed(whole, task, forged):
    plot = whole(plots.saliency_sheet(task, forged[1], None, "the stamp"))
    assert set(plot.data.note) == {"no region known"} and plot.data.share.isna().all()
    assert not any(outlines(axis) for axis in plot.figure.axes)
    assert {axis.get_xlabel() for axis in plot.figure.axes[1:3]} == {""}
    assert "forged" not in plot.alt and not any("outline" in text.get_text() for text in plot.figure.texts)


def faces_of(rows):
    table = pd.DataFrame(rows, columns=["method", "identity"])
    table = table.assign(label=(table.method != "real").astype(int), face=[f"{i}.png" for i in range(len(table))])
    return Faces(table, "nowhere", 64)


def test_rows_show_the_people_they_share():
    rows = [
        (method, f"{p}+9" if method != "real" else p) for method in ("real", "A", "B") for p in "01234" for _ in "ab"
    ]
    # B lacks everybody but 3 and 4.
    faces = faces_of([row for row in rows if row[0] != "B" or row[1][0] in "34"])
    for seed in range(4):
        chosen = _same_people(faces, 2, seed)
        who = {method: [faces.rows.identity[k][0] for k in numbers] for method, numbers in chosen.items()}
        assert who["real"] == who["A"] == who["B"]
        assert set(who["B"]) == {"3", "4"}
        assert all(faces.rows.method[k] == method for method, numbers in chosen.items() for k in numbers)
    four = [_same_people(faces_of([row for row in rows if row[0] != "B"]), 2, seed)["real"] for seed in range(8)]
    assert len({tuple(one) for one in four}) > 1
    assert four[3] == _same_people(faces_of([row for row in rows if row[0] != "B"]), 2, 3)["real"]


def test_rows_that_share_nobody_show_their_own():
    faces = faces_of([("real", "a"), ("real", "b"), ("A", "c"), ("A", "d"), ("B", "e")])
    assert {method: len(numbers) for method, numbers in _same_people(faces, 2, 0).items()} == {
        "real": 2,
        "A": 2,
        "B": 1,
    }


# --- overlap -----------------------------------------------------------------------------------------------------


def overlaps():
    columns = ["data", "map", "method", "share", "area", "fixed", "share_low", "share_high", "note"]
    rows = [
        ("FF++", "I_df", "Deepfakes", 0.4, 0.2, 0.25, 0.3, 0.5, ""),
        ("FF++", "I_df", "FaceSwap", NAN, NAN, NAN, NAN, NAN, "whole crop forged"),
        ("FF++", "I_dom", "Deepfakes", 0.1, 0.21, 0.22, NAN, NAN, ""),
        ("FF++", "I_dom", "FaceSwap", 0.3, 0.15, 0.16, 0.2, 0.35, ""),
        ("CDF2", "I_X", "Celeb-synthesis", 0.6, 0.5, 0.55, 0.5, 0.7, ""),
    ]
    return pd.DataFrame(rows, columns=columns)


def bars(axis):
    """{hatch: {middle: height}} of the bars that are drawn."""
    found: dict = {}
    for bar in axis.patches:
        if np.isfinite(bar.get_height()):
            middle = round(bar.get_x() + bar.get_width() / 2, 3)
            found.setdefault(bar.get_hatch() or "", {})[middle] = round(bar.get_height(), 4)
    return found


def level_lines(axis):
    """{(middle, height)} of lines that lie level, {(middle, low, high)} of upright ones."""
    level, upright = set(), set()
    for lines in axis.collections:
        for (x0, y0), (x1, y1) in (s for s in lines.get_segments() if len(s) and np.isfinite(s).all()):
            (level if y0 == y1 else upright).add(
                (round((x0 + x1) / 2, 3), round(y0, 4)) if y0 == y1 else (round(x0, 3), round(y0, 4), round(y1, 4))
            )
    return level, upright


def test_overlap_bars_stand_beside_area_and_mean(whole):
    plot = whole(plots.overlap_bars(overlaps(), "the stamp"))
    ff, cdf2 = plot.figure.axes
    assert [axis.get_title() for axis in (ff, cdf2)] == ["FF++", "CDF2"]
    assert [label.get_text() for label in ff.get_xticklabels()] == ["Deepfakes", "FaceSwap"]
    # Three maps, bars of .8 / 3 about 0 and 1: I_df on the left, I_dom in the middle, I_X on the right.
    assert bars(ff) == {"": {-0.267: 0.4}, "///": {0.0: 0.1, 1.0: 0.3}}
    assert bars(cdf2) == {"...": {0.267: 0.6}}
    level, upright = level_lines(ff)
    assert level == {(-0.267, 0.2), (-0.267, 0.25), (0.0, 0.21), (0.0, 0.22), (1.0, 0.15), (1.0, 0.16)}
    assert upright == {(-0.267, 0.3, 0.5), (1.0, 0.2, 0.35)}
    assert [text.get_text() for text in ff.texts] == ["whole crop forged"]
    shown = {text.get_text() for text in plot.figure.legends[0].get_texts()}
    assert {"I_df", "I_dom", "I_X"} < shown
    assert "FF++ Deepfakes I_df 0.400 [0.300, 0.500] (area 0.200, one map for all 0.250);" in plot.alt
    assert "FF++ Deepfakes I_dom 0.100 (area 0.210" in plot.alt
    assert plot.alt.endswith("left out: FF++ FaceSwap I_df (whole crop forged).")


def test_one_table_of_overlaps_is_one_panel():
    plot = plots.overlap_bars(overlaps()[:4].drop(columns="data"), "s")
    assert len(plot.figure.axes) == 1 and "region: Deepfakes I_df 0.400" in plot.alt


# --- embeddings and probes ---------------------------------------------------------------------------------------


def test_embeddings_tell_classes_by_colour_and_marker(whole):
    rng = np.random.default_rng(0)
    points = {name: rng.normal(size=(6, 2)) for name in ("I_X", "I_df", "I_dom", "I_res")}
    labels = {name: ["A", "A", "real", "B", "B", "B"] for name in points} | {"I_df": ["fake"] * 4 + ["real"] * 2}
    table = pd.concat([
        pd.DataFrame(places, columns=["x", "y"]).assign(features=name, label=labels[name])
        for name, places in points.items()
    ], ignore_index=True)  # fmt: skip
    plot = whole(plots.embeddings(table, {"I_df": "silhouette 0.123"}, "the stamp"))
    grid = np.array(plot.figure.axes)
    assert [axis.get_title() for axis in grid] == list(points)
    assert [axis.texts[0].get_text() for axis in grid] == ["", "silhouette 0.123", "", ""]
    looks: dict = {}
    for axis, name in zip(grid, points, strict=True):
        for scatter, label in zip(axis.collections, ["real", "A", "B", "fake"], strict=True):
            mine = [place for place, one in zip(points[name].tolist(), labels[name], strict=True) if one == label]
            assert np.asarray(scatter.get_offsets()).tolist() == mine
            shape = scatter.get_paths()[0].vertices.round(3)
            looks.setdefault(label, set()).add((tuple(scatter.get_facecolor()[0]) if mine else None, shape.tobytes()))
    shapes = [shape for seen in looks.values() for _, shape in seen]
    seen = [{colour for colour, _ in one if colour} for one in looks.values()]
    assert all(len(one) == 1 for one in seen) and len(set.union(*seen)) == 4
    assert len(set(shapes)) == 4
    assert [text.get_text() for text in plot.figure.legends[0].get_texts()] == ["real", "A", "B", "fake"]
    assert plot.data.equals(table) and len(plot.data) == 24
    assert "I_X: 1 real, 2 A, 3 B. I_df: 2 real, 4 fake; silhouette 0.123. I_dom" in plot.alt


def test_probes_stand_beside_chance(whole):
    columns = ["features", "target", "accuracy", "chance", "n"]
    rows = [("I_df", "label", 0.9, 0.5, 40), ("I_df", "domain", 0.4, 0.2, 40),
            ("I_dom", "label", 0.6, 0.5, 40), ("I_dom", "domain", NAN, NAN, 0)]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    plot = whole(plots.probe_bars(table, "the stamp"))
    (axis,) = plot.figure.axes
    assert bars(axis) == {"": {-0.2: 0.9, 0.8: 0.6}, "///": {0.2: 0.4}}
    assert level_lines(axis) == ({(-0.2, 0.5), (0.2, 0.2), (0.8, 0.5)}, set())
    assert [label.get_text() for label in axis.get_xticklabels()] == ["I_df", "I_dom"]
    assert "label from I_df 0.900 (chance 0.500); domain from I_df 0.400 (chance 0.200)" in plot.alt
    assert plot.alt.endswith("too few classes: domain from I_dom.")
    spread = plots.probe_bars(table.assign(low=table.accuracy - 0.1, high=table.accuracy + 0.1), "s")
    assert level_lines(spread.figure.axes[0])[1] == {(-0.2, 0.8, 1.0), (0.2, 0.3, 0.5), (0.8, 0.5, 0.7)}
    assert "label from I_df 0.900 [0.800, 1.000] (chance" in spread.alt
