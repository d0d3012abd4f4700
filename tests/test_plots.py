import re

import pytest

from did import plots
from did.results import split_faces


@pytest.fixture(
    params=["contact_sheet", "mean_spectra", "loss_curves", "map_curves", "roc_curves", "score_histograms", "overlay"]
)
def plot(request, tiny_run, tiny_source, tiny_settings):
    if request.param in ("contact_sheet", "mean_spectra"):
        return getattr(plots, request.param)(tiny_source[1], "stamp")
    if request.param == "overlay":
        faces = split_faces(tiny_source[1], tiny_settings)["test"]
        return plots.attention_overlay(tiny_run.task(), faces, "stamp", people=2)
    data = tiny_run.history if request.param.endswith("_curves") and request.param != "roc_curves" else tiny_run.scores
    return getattr(plots, request.param)(data, "stamp")


def test_every_plot_has_a_picture_its_data_and_words(plot):
    bundle, _ = plot._repr_mimebundle_()
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


def test_a_set_that_names_nobody_shows_each_method_its_own_people(tiny_source):
    _, store = tiny_source
    manifest = store.manifest
    manifest["identity"] = manifest["video"]
    other = type(store)(store.root)
    object.__setattr__(other, "__class__", type("Renamed", (type(store),), {"manifest": manifest}))
    sheet = plots.contact_sheet(other, "stamp", people=3)
    assert sheet.data.groupby("method").size().tolist() == [3] * 5
    assert "people who differ from row to row" in sheet.alt


def test_spectra_show_the_difference_that_was_put_in(tiny_source):
    """The forged crops of `tiny_source` have a bright bar of 6 rows in noise: more power at low frequencies."""
    plot = plots.mean_spectra(tiny_source[1], "stamp", size=64)
    data = plot.data
    assert set(data.method) == {"real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"}
    assert (data[data.method == "real"].difference == 0).all()
    low = data[(data.method == "FaceSwap") & data.cycles.between(2, 6)]
    high = data[(data.method == "FaceSwap") & (data.cycles > 24)]
    assert (low.difference > low.half).all()
    assert low.difference.mean() > high.difference.mean() + 3
    assert re.search(r"FaceSwap \d+\.\d{3} dB", plot.alt)


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
