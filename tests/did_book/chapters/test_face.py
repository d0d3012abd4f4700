"""The face of the method's chapters: from a run, through its file, into the figures."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from did.errors import DidError
from did.paper.records import load
from did.plots.base import Plot
from did.training.runs import split_faces
from did_book.chapters import decomposition, face

RESULTS = Path(__file__).resolve().parents[3] / "results"


@pytest.fixture(scope="module")
def seen(tiny_run, tiny_source):
    return face.look(tiny_run, tiny_source[1], tiny_source[0].banner)


def close(a: face.Face, b: face.Face) -> None:
    for name, value in dataclasses.asdict(a).items():
        other = dataclasses.asdict(b)[name]
        if isinstance(value, dict):
            assert value.keys() == other.keys()
            assert all(np.allclose(value[part], other[part], rtol=1e-3, atol=1e-6) for part in value)
        elif isinstance(value, np.ndarray):
            assert np.allclose(value, other, rtol=1e-3, atol=1 / 255)
        else:
            assert value == pytest.approx(other, rel=1e-3) if isinstance(value, float) else value == other


def test_it_is_the_first_test_person_real_and_forged(seen, tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["test"]
    assert seen.names == ("real", "Deepfakes") and seen.crops.shape == (2, 64, 64)
    for crop, method in zip(seen.crops, seen.names, strict=True):
        at = faces.rows.index[(faces.rows.method == method) & faces.rows.identity.str.startswith("010")][0]
        assert np.array_equal(crop, faces[int(at)]["image"][0].numpy())
        assert seen.scores[seen.names.index(method)] == pytest.approx(tiny_run.scores.score[at])


def test_its_parts_add_up_and_its_chances_to_1(seen):
    parts = seen.parts
    assert np.allclose(parts["I_df"] + parts["I_os"], parts["I_X"], atol=1e-5)
    assert np.allclose(parts["I_dom"] + parts["I_res"], parts["I_os"], atol=1e-5)
    assert all(((parts[name] > 0) & (parts[name] < 1)).all() for name in ("M_df", "M_dom"))
    assert seen.chances.sum(1) == pytest.approx(1) and seen.chances.shape == (2, 5)


def test_its_rank_is_counted_pair_by_pair_and_their_mean_is_the_auc(seen, tiny_run):
    scores = tiny_run.scores
    real, fake = (scores.score[scores.label == label].to_numpy() for label in (0, 1))
    assert seen.ranked[1] == pytest.approx(np.mean([1.0 if seen.scores[1] > each else 0.0 for each in real]))
    assert seen.ranked[0] == pytest.approx(np.mean([1.0 if seen.scores[0] < each else 0.0 for each in fake]))
    assert seen.auc == pytest.approx(np.mean([1 - face._below(each, real) for each in fake]))
    assert face._below(1.0, np.array([1.0, 2.0])) == 0.75, "a tie counts half"


def test_its_file_gives_it_back(seen, tmp_path):
    face.write(seen, tmp_path / "face.json")
    close(face.load(tmp_path / "face.json"), seen)
    assert (tmp_path / "face.json").stat().st_size < 200_000


def test_the_committed_face_is_of_the_run_in_table_1():
    (entry,) = [e for e in load(RESULTS) if e["experiment"] == "table1_intra_cross" and e["bank"] == "drawn"]
    found = face.load()
    assert f"Run {entry['runs']['DID'][0]}, commit " in found.stamp
    assert found.stamp.startswith(
        "STAND-IN, not the licensed data: stand-in for FaceForensics++ (c23) from 156 drawn faces"
    )
    assert "; seed 0;" in found.stamp and "4 frames per video" in found.stamp
    parts = found.parts
    assert np.allclose(parts["I_df"] + parts["I_os"], parts["I_X"], atol=2e-3)


def test_the_figure_has_a_panel_for_each_part_and_says_its_numbers(seen):
    plot = face.panels(seen, ["M_df", "I_df"])
    assert len(plot.figure.axes) == 6
    below = [axis.get_xlabel() for axis in plot.figure.axes]
    assert below[1] == f"{seen.parts['M_df'][0].min():.2f} to {seen.parts['M_df'][0].max():.2f}"
    assert below[2] == f"mean {seen.parts['I_df'][0].mean():.3f}"
    assert f"I_df of the Deepfakes face {seen.parts['I_df'][1].mean():.3f}" in plot.alt and plot.stamp == seen.stamp


def test_the_table_and_the_likeness(seen):
    table = seen.table()
    assert table.index.tolist() == ["real", "Deepfakes"] and table.shape == (2, 7)
    assert table["C̄: real"].tolist() == pytest.approx(seen.chances[:, 0])
    assert seen.likeness("I_df", "I_df") == pytest.approx([1, 1])


def test_what_is_read_from_plain_features_is_the_record_of_fig_7(tmp_path):
    plot = decomposition.entangled(load(RESULTS))
    assert isinstance(plot, Plot)
    (entry,) = [e for e in load(RESULTS) if e["experiment"] == "fig7_embeddings"]
    probes = entry["figures"]["probes"]
    mine = [accuracy for accuracy, row, of, target in zip(probes["accuracy"], probes["row"], probes["features"],
            probes["target"], strict=True) if (row, of, target) == ("BCE", "I_X", "domain")]  # fmt: skip
    assert plot.data.set_index("target").accuracy["domain"] == pytest.approx(np.mean(mine)) and len(mine) > 1
    assert "not at hand" in decomposition.entangled([])


def test_a_run_without_a_map_is_refused(tiny_runs, tiny_source):
    with pytest.raises(DidError, match="is of bce and is not DID"):
        face.look(tiny_runs["BCE"][0], tiny_source[1], "")


def test_the_file_has_no_more_digits_than_are_read():
    found = json.loads(face.FILE.read_text(encoding="utf-8"))
    assert all(len(f"{abs(value):.10g}".replace(".", "").lstrip("0")) <= 4 for value in found["scores"])
