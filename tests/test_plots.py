import re

import pytest

from did import plots
from did.results import split_faces


@pytest.fixture(params=["contact_sheet", "loss_curves", "map_curves", "roc_curves", "score_histograms", "overlay"])
def plot(request, tiny_run, tiny_source, tiny_settings):
    if request.param == "contact_sheet":
        return plots.contact_sheet(tiny_source[1], "stamp")
    if request.param == "overlay":
        faces = split_faces(tiny_source[1], tiny_settings)["test"]
        return plots.attention_overlay(tiny_run.task(), faces, "stamp", people=2)
    data = tiny_run.history if request.param.endswith("_curves") and request.param != "roc_curves" else tiny_run.scores
    return getattr(plots, request.param)(data, "stamp")


def test_every_plot_has_a_picture_its_data_and_words(plot):
    bundle = plot._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert len(bundle["image/png"]) > 5000
    assert bundle["text/plain"] == plot.alt
    assert len(plot.alt) > 40
    assert re.search(r"\d", plot.alt)
    assert len(plot.data) > 0
    assert any("stamp" in text.get_text() for text in plot.figure.texts)


def test_the_contact_sheet_shows_the_same_people_in_every_row(tiny_source):
    data = plots.contact_sheet(tiny_source[1], "stamp", people=3).data
    assert len(data) == 15
    targets = data.identity.str.split("+").str[0]
    assert set(targets.groupby(data.method).apply(tuple)) == {("000", "001", "002")}


def test_words_come_from_the_data(tiny_run):
    curves = plots.roc_curves(tiny_run.scores, "stamp")
    value = tiny_run.metrics.query("level == 'frame' and method == 'FaceSwap'").auc.iloc[0]
    assert f"FaceSwap {value:.3f}" in curves.alt


def test_runs_are_compared_in_the_same_axes(tiny_run):
    history = tiny_run.history
    dead = history.assign(estimate=-1.386)
    plot = plots.compare_histories({"default": history, "dead": dead, "none": history.drop(columns="estimate")}, "s")
    assert "3 readings" in plot.alt
    assert "dead: estimate -1.386" in plot.alt
    assert set(plot.data.run) == {"default", "dead", "none"}
    ratio = history["gradient from T"] / history["gradient from C"]
    assert plot.data["gradient ratio"].iloc[5] == pytest.approx(ratio.iloc[5])
