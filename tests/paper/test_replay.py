"""A replay finds what changed, marks what passes, and a table's hashes are those of its runs' code."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from did.cli import main
from did.errors import DidError
from did.paper import code
from did.paper import replay as of
from did.paper.code import REPLAYED, code_of, code_of_all
from did.paper.kept import Kept, keep
from did.paper.plan import firsts, plan
from did.paper.replay import replay
from did.training import runs
from did.training.loop import BEST
from did.training.provenance import deciding


@pytest.fixture
def finished(tiny_source, tiny_settings, tmp_path, monkeypatch):
    source, store = tiny_source
    monkeypatch.setattr(of, "face_store", lambda *_: store)
    return runs.run(source, tiny_settings, "bce", store=store, runs=tmp_path, progress=False), source


def test_a_run_knows_the_code_that_it_was_trained_with(finished):
    run, _ = finished
    assert run.record["provenance"]["code"] == deciding(["did.rivals.bce"]) == code_of(run)


def test_a_run_that_passes_is_marked_with_todays_code(finished):
    run, source = finished
    record = run.record
    record["provenance"]["code"]["did.task"] = "older"
    (run.folder / "record.json").write_text(json.dumps(record))
    assert code_of(run)["did.task"] == "older"
    assert replay(run, source, progress=False) < 1e-6  # batches of another size round otherwise
    assert code_of(run) == deciding(["did.rivals.bce"])
    assert json.loads((run.folder / REPLAYED).read_text())["iterations"] == 10


def test_it_computes_with_the_threads_of_the_run(finished, monkeypatch):
    run, source = finished
    record, seen = run.record, []
    record["provenance"]["machine"]["threads"] = 3
    (run.folder / "record.json").write_text(json.dumps(record))
    plain = of.fit
    monkeypatch.setattr(of, "fit", lambda *a: (seen.append(torch.get_num_threads()), plain(*a))[1])
    before = torch.get_num_threads()
    replay(run, source, progress=False)
    assert seen == [3] and torch.get_num_threads() == before


def test_another_loss_is_found(finished, monkeypatch):
    run, source = finished
    monkeypatch.setattr(of, "TOLERANCE", 1e-4)
    plain = torch.nn.functional.binary_cross_entropy_with_logits
    monkeypatch.setattr("did.rivals.bce.F.binary_cross_entropy_with_logits", lambda x, y: 1.01 * plain(x, y))
    with pytest.raises(DidError, match=r"is not what today's code gives: its losses differ by up to 0\.0"):
        replay(run, source, progress=False)
    assert not (run.folder / REPLAYED).exists()


def test_other_weights_are_found(finished):
    run, source = finished
    tensors = load_file(run.folder / BEST)
    name = next(name for name in tensors if name.endswith("classifier.weight"))
    tensors[name] += 0.1
    with open(run.folder / BEST, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        about = json.loads(file.read(size))["__metadata__"]
    save_file(tensors, run.folder / BEST, about)
    with pytest.raises(DidError, match="its scores by up to"):
        replay(run, source, progress=False)


def test_a_kept_run_is_replayed_by_its_losses_and_marked(finished, tmp_path, monkeypatch):
    run, source = finished
    record = run.record
    record["provenance"]["code"]["did.task"] = "older"
    (run.folder / "record.json").write_text(json.dumps(record))
    file = keep(run, tmp_path / "kept")
    assert code_of(Kept.read(file))["did.task"] == "older"
    before = Kept.read(file)
    assert replay(before, source, progress=False) < 1e-6
    after = Kept.read(file)
    assert code_of(after) == deciding(["did.rivals.bce"])
    assert after.record["provenance"]["replayed"]["iterations"] == 10
    assert after.scores.equals(before.scores) and after.history.equals(before.history)
    content = json.loads(file.read_text())
    content["run"]["data"]["fingerprint"] = "of another machine"
    other = file.with_name("other.json")
    other.write_text(json.dumps(content))
    with pytest.raises(DidError, match="was trained on the crops of another machine"):
        replay(Kept.read(other), source, progress=False)
    plain = torch.nn.functional.binary_cross_entropy_with_logits
    monkeypatch.setattr("did.rivals.bce.F.binary_cross_entropy_with_logits", lambda x, y: 1.01 * plain(x, y))
    text = file.read_bytes()
    with pytest.raises(DidError, match="is not what today's code gives"):
        replay(after, source, progress=False)
    assert file.read_bytes() == text


def test_a_tables_code_is_that_of_its_runs_and_the_evaluations_is_todays(finished, monkeypatch):
    run, _ = finished
    now = {"did.task": "b", "did.evaluation.metrics": "new", "did.rivals.bce": "x", "did.rivals.sbi": "y"}
    codes = {"did.task": "a", "did.evaluation.metrics": "old", "did.rivals.bce": "x"}
    monkeypatch.setattr(code, "code_of", lambda of: codes)
    found = code_of_all({"BCE": [run], "Xception": [run]}, now)
    assert found == {
        "did.task": "a", "did.evaluation.metrics": "new", "did.rivals.bce": "x", "did.rivals.sbi": "several",
    }  # fmt: skip
    each = iter([{"did.task": "a"}, {"did.task": "b"}])
    monkeypatch.setattr(code, "code_of", lambda of: next(each))
    assert code_of_all({"BCE": [run], "DID": [run]}, {"did.task": "b"}) == {"did.task": "several"}


def test_the_command_replays_one_run_a_row_and_counts_what_is_missing(tmp_path, furnish, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(furnish(tmp_path)))
    given = ["fig7_embeddings", "--preset", "smoke", "--edition", "stand-in"]
    said = CliRunner().invoke(main, ["runs", "replay", *given], catch_exceptions=False)
    assert said.exit_code == 0 and "2 of 2 are not trained: `did runs train fig7_embeddings` makes them" in said.output
    (job,) = [job for job in firsts(plan(["fig7_embeddings"], "smoke", "0,1", "stand-in")) if job.task == "bce"]
    assert job.settings.seed == 0
    job.train()
    said = CliRunner().invoke(main, ["runs", "replay", *given], catch_exceptions=False)
    assert f"{job.finished().folder.name} bce: the same" in said.output and "1 of 2 are not trained" in said.output
