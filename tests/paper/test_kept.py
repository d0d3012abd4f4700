"""Runs without weights: the same scores, and the same tables as from the runs themselves."""

import dataclasses
import json
import shutil

import pandas as pd
import pytest

from did.errors import DidError
from did.evaluation import over_seeds
from did.paper import kept as module
from did.paper import records
from did.paper.kept import Kept, find, keep, key
from did.training.runs import Run


def alone(run, folder):
    """A copy of a run without what other tests have tested it on."""
    return Run(shutil.copytree(run.folder, folder / run.folder.name, ignore=shutil.ignore_patterns("on-*")))


@pytest.fixture
def place(tiny_run, tiny_source, tmp_path, monkeypatch):
    """`results/runs` of a project that keeps one run."""
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    keep(alone(tiny_run, tmp_path / "copies"), tmp_path / "results" / "runs")
    return tmp_path / "results" / "runs"


def test_a_kept_run_has_the_scores_the_record_and_the_history_of_the_run(tiny_run, place):
    [file] = place.glob("*.json")
    found = Kept.read(file)
    assert found.record == tiny_run.record and found.folder.name == tiny_run.folder.name
    assert found.settings == tiny_run.settings and found.tests == ["ffpp"]
    pd.testing.assert_frame_equal(found.history, tiny_run.history, check_dtype=False)
    mine, theirs = found.scores, tiny_run.scores
    assert (mine["score"].astype("float32") == theirs["score"].astype("float32")).all()
    assert mine["video"].tolist() == theirs["video"].tolist() and mine["frame"].tolist() == theirs["frame"].tolist()
    a, b = (over_seeds([of], draws=50) for of in (mine, theirs))
    pd.testing.assert_frame_equal(a, b)


def test_it_is_found_by_what_decides_it_and_not_by_its_machine(tiny_run, place):
    record = tiny_run.record
    label = record["data"]["label"]
    found = find(tiny_run.settings, "did", {}, label)
    assert found is not None and found.folder.name == tiny_run.folder.name
    assert find(dataclasses.replace(tiny_run.settings, seed=9), "did", {}, label) is None
    assert find(tiny_run.settings, "bce", {}, label) is None
    assert find(tiny_run.settings, "did", {}, "another data set") is None
    # Options at their defaults name no other run.
    settings = tiny_run.settings
    plain = key(settings, "noisedf", {}, label)
    assert key(settings, "noisedf", {"blocks": 4}, label) == plain != key(settings, "noisedf", {"blocks": 2}, label)


def test_what_is_kept_already_from_another_machine_stays(tiny_run, place, tmp_path):
    [file] = place.glob("*.json")
    before = file.read_bytes()
    other = alone(tiny_run, tmp_path / "elsewhere")
    other = Run(other.folder.rename(other.folder.with_name("0123456789ab")))
    record = other.record
    record["provenance"]["minutes"] += 1
    (other.folder / "record.json").write_text(json.dumps(record))
    assert keep(other, place) == file and file.read_bytes() == before


def test_frames_are_kept_once_for_all_runs(tiny_runs, place, tmp_path):
    runs = [alone(run, tmp_path / "more") for run in tiny_runs["DID"] + tiny_runs["BCE"]]
    for run in runs:
        keep(run, place)
    assert len(list(place.glob("*.json"))) == 3 and len(list(place.glob("frames-*.csv.gz"))) == 1
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    keep(runs[-1], place)
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before


def test_where_nothing_can_be_written_is_one_sentence(tiny_run, tmp_path):
    (tmp_path / "file").touch()
    entry = {"experiment": "a", "preset": "smoke", "bank": "drawn"}
    for write in (lambda place: keep(tiny_run, place), lambda place: records.save(entry, place)):
        with pytest.raises(DidError, match=rf"^Nothing can be written to {tmp_path}/file/deep \(not a directory\)"):
            write(tmp_path / "file/deep")


def test_what_it_has_not_is_one_sentence(tiny_run, place):
    [file] = place.glob("*.json")
    found = Kept.read(file)
    with pytest.raises(DidError, match=r"was not tested on cdf2: train it with `did runs train`"):
        found.on("cdf2")
    with pytest.raises(DidError, match="is kept without its weights"):
        found.task()
    [frames] = place.glob("frames-*")
    frames.write_bytes(b"none")
    module._frames.cache_clear()
    with pytest.raises(DidError, match="the frames .* cannot be read"):
        _ = found.scores
    file.write_text("{}")
    with pytest.raises(DidError, match="the kept run .* cannot be read .*: get it anew"):
        Kept.read(file)


def test_a_run_is_looked_for_in_the_project_and_then_in_the_checkout(tiny_run, place, tmp_path, monkeypatch):
    label = tiny_run.record["data"]["label"]
    checkout = tmp_path / "checkout"
    (checkout / "src/did").mkdir(parents=True)
    (checkout / "src/did/__init__.py").touch()
    (checkout / "results").mkdir()
    place.rename(checkout / "results" / "runs")
    (tmp_path / "results" / "table1_intra_cross-laptop-drawn.json").write_text("{}")  # A record there is no run.
    assert find(tiny_run.settings, "did", {}, label) is None
    monkeypatch.chdir(checkout / "src")
    assert find(tiny_run.settings, "did", {}, label) is not None
