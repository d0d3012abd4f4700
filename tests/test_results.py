import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from did import results
from did.errors import DidError
from did.results import Run, run, split_faces
from did.settings import Settings
from did.training import RESUME, score


def test_the_record_says_everything(tiny_run, tiny_settings):
    record = tiny_run.record
    assert record["settings"] == tiny_settings.as_dict()
    assert tiny_run.settings == tiny_settings
    assert record["domains"] == ["real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    assert record["data"]["edition"] == "stand-in"
    assert record["data"]["crops"] == {"train": 60, "val": 40, "test": 40}
    for word in ("stand-in", "frames a video", "margin", "validation split", "seed 0", "intervals by bootstrap"):
        assert word in record["protocol"], word
    where = record["provenance"]
    assert {"commit", "versions", "machine", "seed", "minutes", "date"} <= set(where)
    assert where["minutes"] > 0
    assert {p.name for p in tiny_run.folder.iterdir()} == {
        "record.json", "history.csv", "metrics.csv", "scores.csv", "model.safetensors"
    }  # fmt: skip


def test_metrics_are_those_of_the_scores(tiny_run):
    scores = tiny_run.scores
    assert set(scores.split) == {"test"}
    row = tiny_run.metrics.query("level == 'frame' and method == 'all'").iloc[0]
    assert row.auc == pytest.approx(roc_auc_score(scores.label, scores.score), abs=1e-9)
    assert tiny_run.record["metrics"]["auc"] == pytest.approx(row.auc, abs=1e-9)


def test_the_saved_weights_give_the_recorded_scores(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["test"]
    assert np.allclose(score(tiny_run.task().detector(), faces), tiny_run.scores.score, atol=1e-5)


def test_asking_again_returns_the_run(tiny_run, tiny_source, tiny_settings, monkeypatch):
    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(results, "fit", never)
    again = run(tiny_settings, *tiny_source, runs=tiny_run.folder.parent)
    assert again.folder == tiny_run.folder
    with pytest.raises(AssertionError, match="trained again"):
        run(Settings.of({**tiny_settings.as_dict(), "seed": 1}), *tiny_source, runs=tiny_run.folder.parent)


def test_other_crops_are_another_run(tiny_run, tiny_source, tiny_settings, tmp_path):
    source, store = tiny_source
    copy = tmp_path / "store"
    shutil.copytree(store.root, copy)
    manifest = (copy / "manifest.csv").read_text().replace("faces/real/000/0000.png", "faces/real/000/0001.png")
    (copy / "manifest.csv").write_text(manifest)
    other = run(tiny_settings, source, results.FaceStore(copy), runs=tmp_path / "runs", progress=False)
    assert other.folder.name != tiny_run.folder.name


def test_a_run_that_failed_does_not_count_as_done(tiny_run, tiny_source, tiny_settings, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(results.evaluation, "report", fails)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_settings, *tiny_source, runs=tmp_path, progress=False)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".part")
    assert (left / RESUME).is_file()
    monkeypatch.undo()
    again = run(tiny_settings, *tiny_source, runs=tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == [again.folder.name]
    assert again.record["metrics"] == tiny_run.record["metrics"]
    assert again.scores.equals(tiny_run.scores)


def test_a_folder_without_a_record_is_no_run(tiny_run, tiny_source, tiny_settings, tmp_path):
    empty = tmp_path / tiny_run.folder.name
    empty.mkdir()
    done = run(tiny_settings, *tiny_source, runs=tmp_path, progress=False)
    assert done.folder == empty
    assert json.loads((empty / "record.json").read_text())["run"] == empty.name


def test_an_unknown_task_is_refused(tiny_source, tiny_settings, tmp_path):
    with pytest.raises(DidError, match="unknown task 'dida': did you mean 'did'"):
        run(tiny_settings, *tiny_source, task="dida", runs=tmp_path)


def test_bce_has_a_record_too(tiny_source, tiny_settings, tmp_path):
    done = run(tiny_settings, *tiny_source, task="bce", runs=tmp_path, progress=False)
    assert done.record["task"] == "bce"
    assert "domain_accuracy" not in done.record["metrics"]
    assert isinstance(done, Run)


def test_domain_accuracy_is_the_mean_over_domains(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["test"]
    model = tiny_run.task().model
    right: dict[int, list[bool]] = {}
    for k in range(len(faces)):
        item = faces[k]
        guess = model(item["image"][None]).domain_logits.argmax().item()
        right.setdefault(item["domain"], []).append(guess == item["domain"])
    expected = np.mean([np.mean(values) for values in right.values()])
    assert tiny_run.record["metrics"]["domain_accuracy"] == pytest.approx(expected, abs=0.03)
