import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from did import plots
from did.data.loading import Faces
from did.plots.inside import _same_people
from did.training.runs import split_faces


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


def test_a_method_without_a_test_face_has_no_row(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["test"]
    others = Faces(faces.rows[faces.rows.method != "FaceSwap"], faces.store, faces.size, domains=faces.domain_names)
    plot = plots.attention_overlay(tiny_run.task(), others, "stamp", people=2)
    assert "FaceSwap" not in set(plot.data.method) and len(plot.data) == 8
    assert plot.alt.endswith("; without test faces: FaceSwap.")


# --- what is drawn, against the data ----------------------------------------------------------------------------------

SCORES = pd.DataFrame(
    {"method": ["real"] * 5 + ["FaceSwap"] * 3 + ["Deepfakes"] * 3, "label": [0] * 5 + [1] * 6,
     "score": [-4.0, -3.0, -2.0, -1.0, 5.0, -2.5, 3.0, 4.0, 0.0, 1.0, 8.0]}
)  # fmt: skip


def test_the_roc_runs_above_the_diagonal_where_the_fakes_score_higher():
    lines = plots.roc_curves(SCORES, "s").figure.axes[0].get_lines()
    (line,) = [line for line in lines if line.get_label().startswith("FaceSwap")]
    x, y = line.get_data()
    # Above 3.5: one real of five and one fake of three; above -2.7: three reals and all fakes.
    points = set(zip(np.round(x, 6).tolist(), np.round(y, 6).tolist(), strict=True))
    assert {(0.2, 0.0), (0.2, 0.666667), (0.6, 1.0)} <= points


def test_each_histogram_counts_its_own_scores_and_the_words_are_medians():
    plot = plots.score_histograms(SCORES, "s")
    for axis in plot.figure.axes:
        labels = [text.get_text() for text in axis.get_legend().get_texts()]
        assert labels == ["real", axis.get_title()]
        for name, container in zip(labels, axis.containers, strict=True):
            mine = SCORES.score[SCORES.method == name]
            edges = [patch.get_x() for patch in container] + [container[-1].get_x() + container[-1].get_width()]
            expected, _ = np.histogram(mine, edges, density=True)
            assert np.allclose([patch.get_height() for patch in container], expected)
    assert plot.alt.endswith("medians: Deepfakes 1.000, FaceSwap 3.000, real -2.000.")


def test_bands_lie_on_both_sides_of_a_difference(tiny_source):
    plot = plots.mean_spectra(tiny_source[1], "stamp", size=64)
    right = plot.figure.axes[1]
    forged = [name for name in dict.fromkeys(plot.data.method) if name != "real"]
    for name, band in zip(forged, right.collections, strict=True):
        part = plot.data[(plot.data.method == name) & (plot.data.cycles > 0)]
        corners = band.get_paths()[0].vertices
        assert corners[:, 1].min() == pytest.approx((part.difference - part.half).min())
        assert corners[:, 1].max() == pytest.approx((part.difference + part.half).max())
        assert (part.half > 0).all()


def test_of_a_person_the_middle_crop_is_shown(tiny_source):
    sheet = plots.contact_sheet(tiny_source[1], "stamp", people=3)
    rows = tiny_source[1].manifest
    for shown in sheet.data.itertuples():
        person = shown.identity.split("+")[0]
        own = rows[(rows.method == shown.method) & rows.identity.str.startswith(person) & (rows.split == "train")]
        assert shown.face == own.face.iloc[len(own) // 2]
    pictures = [axis.images[0].get_array() for axis in sheet.figure.axes]
    faces = [np.asarray(Image.open(tiny_source[1].root / face)) for face in sheet.data.face]
    assert all(np.array_equal(picture, face) for picture, face in zip(pictures, faces, strict=True))


def test_training_curves_run_over_the_iterations(tiny_run):
    history = tiny_run.history
    losses, auc, estimate, gradients = plots.loss_curves(history, "s").figure.axes
    validated, steps = history[history["validation AUC"].notna()], history[history.cls.notna()]
    assert auc.get_lines()[0].get_xydata().tolist() == validated[["iteration", "validation AUC"]].values.tolist()
    for axis, wanted in ((losses, "cls"), (auc, "domain accuracy, batch"), (gradients, "gradient from C")):
        (line,) = [line for line in axis.get_lines() if line.get_label() == wanted]
        assert np.allclose(line.get_xydata(), steps[["iteration", wanted.removesuffix(", batch")]])
    assert np.allclose(estimate.get_lines()[0].get_xydata(), steps[["iteration", "estimate"]])
    maps = plots.map_curves(history, "s").figure.axes
    for axis, name in zip(maps, ("M_df", "M_dom"), strict=True):
        assert np.allclose(axis.get_lines()[1].get_xydata(), steps[["iteration", f"{name} saturated"]])


def test_the_words_on_several_runs_are_of_their_ends():
    steps = pd.DataFrame({"iteration": range(40), "cls": 1.0, "estimate": np.linspace(0, -1.3, 40),
                          "M_df saturated": np.linspace(0, 1, 40)})  # fmt: skip
    assert plots.compare_histories({"one": steps}, "s").alt.endswith("one: estimate -1.150, saturated share 0.885.")


def test_each_map_lies_over_its_own_face_with_its_own_range(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["test"]
    task = tiny_run.task()
    plot = plots.attention_overlay(task, faces, "s", people=3)
    grid = np.array(plot.figure.axes).reshape(5, 6)
    for number, shown in enumerate(plot.data.itertuples()):
        left, right = grid[number // 3, 2 * (number % 3) : 2 * (number % 3) + 2]
        at = list(faces.rows.face).index(shown.face)
        image = faces[at]["image"]
        with torch.inference_mode():
            out = task.model(image[None])
        small = out.deepfake_map.mean(1, keepdim=True)
        large = torch.nn.functional.interpolate(small, size=image.shape[1:], mode="bilinear", align_corners=False)
        assert np.array_equal(left.images[0].get_array(), image[0])
        assert np.allclose(right.images[1].get_array(), large[0, 0], atol=1e-4)
        assert (shown.low, shown.high) == pytest.approx((small.min().item(), small.max().item()), abs=1e-4)
        assert right.get_xlabel() == f"{shown.low:.2f} to {shown.high:.2f}"
        assert left.get_xlabel() == f"score {out.score[0].item():+.1f}"


# --- of the size of the licensed data, without its pixels -----------------------------------------------------------

METHODS = ("real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def manifest(people: int, frames: int) -> pd.DataFrame:
    """A real video of each person and one of each method, all crops in one file."""
    person = np.repeat(np.arange(people), len(METHODS) * frames)
    method = np.tile(np.repeat(METHODS, frames), people)
    swapped = [f"{a:04d}_{(a + 1) % people:04d}" for a in person]
    video = np.where(method == "real", [f"{a:04d}" for a in person], swapped)
    return pd.DataFrame(
        {"label": (method != "real").astype(int), "method": method, "split": "test", "video": method + "/" + video,
         "identity": pd.Series(video).str.replace("_", "+"), "face": "crop.png",
         "score": np.random.default_rng(0).normal(method != "real", 1)}
    )  # fmt: skip


def drawn(rows: pd.DataFrame, root) -> dict[str, plots.Plot]:
    store = SimpleNamespace(manifest=rows, root=root)
    return {
        "contact_sheet": plots.contact_sheet(store, "stamp", split="test"),
        "mean_spectra": plots.mean_spectra(store, "stamp", size=16, crops=20),
        "roc_curves": plots.roc_curves(rows, "stamp"),
        "score_histograms": plots.score_histograms(rows, "stamp"),
        "embeddings": plots.embeddings(
            pd.DataFrame({"features": "(a)", "x": rows.score, "y": rows.score, "label": rows.method}), {}, "stamp"
        ),
    }


def test_figures_do_not_grow_with_the_people_and_the_videos(tmp_path):
    """5,000 videos of 1,000 people, as FF++ has them, give no more lines, legends and panels than 60 videos do."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "crop.png")
    few, many = drawn(manifest(12, 2), tmp_path), drawn(manifest(1000, 8), tmp_path)
    for name, plot in many.items():
        assert len(plot.figure.findobj()) <= len(few[name].figure.findobj()), name
        assert tuple(plot.figure.get_size_inches()) == tuple(few[name].figure.get_size_inches())
        assert len(plot.alt) < 2 * len(few[name].alt)
        assert plot._repr_mimebundle_()[0]["image/png"]


def test_the_people_of_a_sheet_are_chosen_among_thousands(tmp_path):
    chosen = _same_people(Faces(manifest(1000, 4), tmp_path, 16), 2, 0)
    assert list(chosen) == sorted(METHODS, key=lambda name: (name != "real", name))
    assert all(len(numbers) == 2 for numbers in chosen.values())
