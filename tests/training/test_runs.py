import dataclasses
import importlib
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

import did
from did import evaluation
from did import task as tasks
from did.data import table
from did.data.loading import batches, domain_names
from did.data.store import FaceStore
from did.errors import DidError
from did.method.task import DIDTask
from did.predict import Detector, export
from did.settings import Settings
from did.training import loop, provenance, runs
from did.training import loop as training
from did.training.loop import BEST, RESUME, score
from did.training.runs import Run, domain_predictions, evaluate, find_run, list_runs, remove_run, run, split_faces
from did.utils import checkpoints
from did.utils.files import sha256


def test_the_record_says_everything(tiny_run, tiny_settings):
    record = tiny_run.record
    assert record["settings"] == tiny_settings.as_dict()
    assert tiny_run.settings == tiny_settings
    assert record["domains"] == ["real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    assert record["data"]["edition"] == "stand-in"
    assert record["data"]["crops"] == {"train": 60, "val": 40, "test": 40}
    for word in ("stand-in", "frames per video", "margin", "validation split", "seed 0", "95% intervals over people"):
        assert word in record["protocol"], word
    where = record["provenance"]
    assert {"commit", "versions", "machine", "seed", "minutes", "date"} <= set(where)
    assert where["minutes"] > 0
    assert {p.name for p in tiny_run.folder.iterdir()} == {
        "record.json", "history.csv", "metrics.csv", "scores.csv", "model.safetensors"
    }  # fmt: skip


def test_the_commit_counts_changes_of_the_code_and_not_the_records(tmp_path, monkeypatch):
    """A whole `make book` renews the committed records one by one; the later ones are of the same code."""
    code = tmp_path / "src/did/method/losses.py"
    records = [tmp_path / "results/a.json", tmp_path / "benchmarks/results/b.json"]
    for file in (code, *records):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    monkeypatch.setattr(did, "__file__", str(code.with_name("__init__.py")))
    assert provenance.commit() == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *arguments], check=True)
    clean = provenance.commit()
    assert len(clean) == 12 and not clean.endswith("+changes")
    for file in records:
        file.write_text("2")
    assert provenance.commit() == clean
    code.write_text("2")
    assert provenance.commit() == f"{clean}+changes"


def test_metrics_are_those_of_the_scores(tiny_run):
    scores = tiny_run.scores
    assert set(scores.split) == {"test"}
    row = tiny_run.metrics.query("level == 'frame' and method == 'all'").iloc[0]
    assert row.auc == pytest.approx(roc_auc_score(scores.label, scores.score), abs=1e-9)
    assert tiny_run.record["metrics"]["auc"] == pytest.approx(row.auc, abs=1e-9)


def test_the_saved_weights_give_the_recorded_scores(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["test"]
    assert np.allclose(score(tiny_run.task().detector(), faces), tiny_run.scores.score, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("another configuration", "the tensors in .* do not fit the model"),
        ("cut", "not a complete safetensors file"),
        ("missing", "there is no checkpoint"),
    ],
)
def test_weights_that_are_not_the_runs_are_one_sentence(tiny_run, tmp_path, weights, said):
    folder = tmp_path / tiny_run.folder.name
    shutil.copytree(tiny_run.folder, folder)
    if weights == "another configuration":
        other = DIDTask(Settings.of({**tiny_run.record["settings"], "hidden": 24}), 5)
        checkpoints.save(folder / BEST, other.state_dict(), {})
    elif weights == "cut":
        (folder / BEST).write_bytes((folder / BEST).read_bytes()[:1000])
    else:
        (folder / BEST).unlink()
    with pytest.raises(DidError, match=rf"{said}.*: remove the run \(`did runs rm {folder.name}`\)") as e:
        Run(folder).task()
    assert "\n" not in str(e.value)


def test_the_calibration_is_that_of_the_selected_weights_on_the_validation_split(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["val"]
    scored = faces.rows.assign(score=score(tiny_run.task().detector(), faces))
    found, expected = tiny_run.record["calibration"], evaluation.calibrate(scored)
    for level, n_real, n_fake in (("frame", 8, 32), ("video", 4, 16)):
        assert (found[level]["n_real"], found[level]["n_fake"]) == (n_real, n_fake)
        for key in ("temperature", "threshold", "fpr", "fnr"):
            assert found[level][key] == pytest.approx(expected[level][key], abs=1e-4), (level, key)


def test_asking_again_returns_the_run(tiny_run, tiny_source, tiny_settings, monkeypatch):
    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(runs, "fit", never)
    again = run(tiny_source[0], tiny_settings, store=tiny_source[1], runs=tiny_run.folder.parent)
    assert again.folder == tiny_run.folder
    with pytest.raises(AssertionError, match="trained again"):
        run(
            tiny_source[0],
            Settings.of({**tiny_settings.as_dict(), "seed": 1}),
            store=tiny_source[1],
            runs=tiny_run.folder.parent,
        )


def test_other_crops_are_another_run(tiny_run, tiny_source, tiny_settings, tmp_path):
    source, store = tiny_source
    copy = tmp_path / "store"
    shutil.copytree(store.root, copy)
    manifest = (copy / "manifest.csv").read_text().replace("faces/real/000/0000.png", "faces/real/000/0001.png")
    (copy / "manifest.csv").write_text(manifest)
    other = run(source, tiny_settings, store=runs.FaceStore(copy), runs=tmp_path / "runs", progress=False)
    assert other.folder.name != tiny_run.folder.name


def test_a_run_that_failed_does_not_count_as_done(tiny_run, tiny_source, tiny_settings, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.evaluation, "report", fails)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_source[0], tiny_settings, store=tiny_source[1], runs=tmp_path, progress=False)
    (left,) = tmp_path.glob("[!.]*")  # beside the lock
    assert left.name.endswith(".part")
    assert (left / RESUME).is_file()
    monkeypatch.undo()
    again = run(tiny_source[0], tiny_settings, store=tiny_source[1], runs=tmp_path, progress=False)
    assert [p.name for p in tmp_path.glob("[!.]*")] == [again.folder.name]
    assert again.record["metrics"] == tiny_run.record["metrics"]
    assert again.scores.equals(tiny_run.scores)


def test_the_minutes_are_those_of_all_sittings(tiny_source, tiny_settings, tmp_path, monkeypatch):
    """The book quotes them: a run that was interrupted took as long as its sittings together."""
    short = dataclasses.replace(tiny_settings, iterations=6, validate_every=2)
    validate = loop._validate
    with monkeypatch.context() as slow:
        slow.setattr(training, "_validate", lambda *given: time.sleep(0.5) or validate(*given))
        slow.setattr(runs.evaluation, "report", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tiny_source[0], short, "bce", store=tiny_source[1], runs=tmp_path, progress=False)
    started = time.monotonic()
    made = run(tiny_source[0], short, "bce", store=tiny_source[1], runs=tmp_path, progress=False).record["provenance"]
    last = time.monotonic() - started
    assert 60 * made["minutes"] > 60 * made["minutes_training"] > 1.5
    assert 60 * made["minutes"] < last + 10  # and not the time between them, or one of them twice


def test_a_folder_without_a_record_is_no_run(tiny_run, tiny_source, tiny_settings, tmp_path):
    empty = tmp_path / tiny_run.folder.name
    empty.mkdir()
    done = run(tiny_source[0], tiny_settings, store=tiny_source[1], runs=tmp_path, progress=False)
    assert done.folder == empty
    assert json.loads((empty / "record.json").read_text())["run"] == empty.name


def test_what_killed_processes_left_is_swept_before_training(
    tiny_run, tiny_source, tiny_settings, tmp_path, monkeypatch
):
    part = tmp_path / f"{tiny_run.folder.name}.part"
    part.mkdir()
    for name in (".tmpA1b2C3", ".resume.safetensors.17.tmp"):
        (part / name).write_bytes(b"gigabytes")
    monkeypatch.setattr(runs, "fit", lambda *_: sorted(part.iterdir()) == [] and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tiny_source[0], tiny_settings, store=tiny_source[1], runs=tmp_path, progress=False)


def test_weights_from_a_file_count_by_their_content(tiny_source, tiny_settings, tmp_path):
    """The same path with other weights is another run, the same weights at another path are the same run."""

    def weights(seed, file):
        torch.manual_seed(seed)
        save_file(timm.create_model(tiny_settings.backbone).state_dict(), file)
        return dataclasses.replace(tiny_settings, iterations=2, validate_every=2, pretrained=str(file))

    def trained(settings):
        return run(tiny_source[0], settings, "bce", store=tiny_source[1], runs=tmp_path / "runs", progress=False)

    (tmp_path / "elsewhere").mkdir()
    first = trained(weights(0, tmp_path / "w.safetensors"))
    assert first.record["contents"] == {"weights": sha256(tmp_path / "w.safetensors")}
    again = trained(weights(0, tmp_path / "elsewhere/v.safetensors"))
    assert again.folder == first.folder
    other = trained(weights(1, tmp_path / "w.safetensors"))
    assert other.folder != first.folder
    assert not np.allclose(other.scores.score, first.scores.score)
    with pytest.raises(DidError, match="'.*gone.pth' is neither a file nor one of hub, package, none"):
        trained(dataclasses.replace(tiny_settings, pretrained=str(tmp_path / "gone.pth")))


def test_a_release_renames_no_run(tiny_run, tiny_source, tiny_settings, monkeypatch):
    monkeypatch.setattr(did, "__version__", "99.0")
    data = tiny_run.record["data"]["fingerprint"]
    assert data == tiny_source[1].fingerprint
    assert tiny_run.folder.name == runs.run_name(tiny_settings, "did", {}, {}, data)
    assert tiny_run.folder.name == tiny_settings.digest("did", data, f"format {runs.RUN_FORMAT}")
    assert tiny_run.record["contents"] == {}


def test_an_option_off_its_default_is_part_of_the_name(tiny_source, tiny_settings, tmp_path):
    short = dataclasses.replace(tiny_settings, iterations=2, validate_every=2)

    def named(**options):
        source, store = tiny_source
        return run(source, short, "f3net", options=options, store=store, runs=tmp_path, progress=False)

    plain, other = named(fad_share="area"), named(fad_share="side")
    assert plain.folder == named().folder != other.folder
    assert (plain.record["options"], other.record["options"]) == ({}, {"fad_share": "side"})
    assert other.task().options.fad_share == "side"
    for wrong, sentence in (({"fad_shar": "side"}, "did you mean 'fad_share'"), ({"bands": "six"}, "takes int")):
        with pytest.raises(DidError, match=sentence):
            named(**wrong)


MINE = """
from did.rivals.bce import BCETask
from mine_losses import weigh

class Mine(BCETask):
    def forward(self, *given, **named):
        step = super().forward(*given, **named)
        step.terms["bce"] = weigh(step.terms["bce"])
        return step
"""


def test_a_task_from_outside_counts_by_its_code(tiny_source, tiny_settings, tmp_path, monkeypatch):
    """Also by the code of its own that it imports; its weights are not put into code that has changed."""
    monkeypatch.syspath_prepend(tmp_path)
    short = dataclasses.replace(tiny_settings, iterations=2, validate_every=2)

    def trained(factor, text=MINE):
        (tmp_path / "mine.py").write_text(text)
        (tmp_path / "mine_losses.py").write_text(f"def weigh(loss):\n    return {factor} * loss\n")
        for name in ("mine", "mine_losses"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        monkeypatch.setitem(tasks._REGISTER, "mine", importlib.import_module("mine").Mine)
        return run(tiny_source[0], short, "mine", store=tiny_source[1], runs=tmp_path / "runs", progress=False)

    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode  # Two writings in one second have one .pyc.
    try:
        first = trained(1.0)
        assert set(first.record["contents"]) == {"code"}
        first.task()
        assert trained(1.0).folder == first.folder
        card = export(Detector.load(first.folder), tmp_path / "exported")
        other = trained(2.5)
        assert other.folder != first.folder
        assert trained(2.5, MINE + "# more\n").folder not in (first.folder, other.folder)
        with pytest.raises(DidError, match="the code of the task 'mine' is not the one that the run .* was trained"):
            first.task()
        with pytest.raises(DidError, match="the code of the task 'mine' is not the one"):
            Detector.load(card)
        monkeypatch.delitem(tasks._REGISTER, "mine")
        with pytest.raises(DidError, match="unknown task 'mine'"):
            first.task()
    finally:
        sys.dont_write_bytecode = before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"frames": 3}, "frames is 3, not 2"),
        ({"size": 96}, "size is 96, not 64"),
        ({"margin": 0.6}, "margin is 0.6, not 0.3"),
        ({"face": "track"}, "face is track, not largest"),
        ({"index": "0" * 64}, "its videos are not those of bars on noise"),
        ({"size": 96, "margin": 0.6}, "size is 96, not 64; margin is 0.6, not 0.3"),
    ],
)
def test_a_store_that_does_not_fit_is_refused(tiny_run, tiny_source, tiny_settings, tmp_path, change, named):
    source, store = tiny_source
    shutil.copytree(store.root, tmp_path / "store")
    (tmp_path / "store/store.json").write_text(json.dumps({**store.info, **change}))
    other = FaceStore(tmp_path / "store")
    said = rf"the face store .*store does not fit the settings \({named}\): take the store of"
    with pytest.raises(DidError, match=said):
        run(source, tiny_settings, store=other, runs=tmp_path / "runs", progress=False)
    with pytest.raises(DidError, match=said):
        evaluate(tiny_run, source, other, progress=False)
    if "index" not in change:
        with pytest.raises(DidError, match=said):
            split_faces(other, tiny_settings)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_task_is_refused(tiny_source, tiny_settings, tmp_path):
    with pytest.raises(DidError, match="unknown task 'dida': did you mean 'did'"):
        run(tiny_source[0], tiny_settings, store=tiny_source[1], task="dida", runs=tmp_path)


@pytest.mark.parametrize("task", ["bce", "f3net"])
def test_a_rival_has_a_record_too(tiny_source, tiny_settings, tmp_path, task):
    done = run(tiny_source[0], tiny_settings, store=tiny_source[1], task=task, runs=tmp_path, progress=False)
    assert done.record["task"] == task
    assert "domain_accuracy" not in done.record["metrics"]
    assert isinstance(done, Run)


def test_training_sees_the_methods_of_the_settings_and_the_test_all(tiny_source, tiny_settings, tmp_path, monkeypatch):
    seen, fit = [], runs.fit
    monkeypatch.setattr(runs, "fit", lambda task, *given: seen.append(given[:2]) or fit(task, *given))
    source, store = tiny_source
    every = domain_names(store.manifest)
    some = dataclasses.replace(tiny_settings, methods=f"{every[3]}, {every[1]}", iterations=5, validate_every=5)
    faces = split_faces(store, some)
    for split in ("train", "val"):
        assert set(faces[split].rows.method) == {"real", every[1], every[3]}
        assert faces[split].domain_names == ["real", every[1], every[3]]
    assert set(faces["test"].rows.method) == set(every)
    assert faces["test"].domain_names == ["real", every[1], every[3], every[2], every[4]]
    done = run(source, some, store=store, runs=tmp_path, progress=False)
    assert [set(part.rows.method) for part in seen[0]] == 2 * [{"real", every[1], every[3]}]
    assert done.record["domains"] == ["real", every[1], every[3]]
    assert set(done.scores.method) == set(every)
    assert f"forgeries by {every[3]} and {every[1]} alone" in done.record["protocol"]
    known = faces["test"].domains < 3
    right = domain_predictions(done.task(), faces["test"])[known] == faces["test"].domains[known]
    expected = np.mean([right[faces["test"].domains[known] == number].mean() for number in range(3)])
    assert done.record["metrics"]["domain_accuracy"] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(DidError, match="unknown method 'Deepfake'"):
        split_faces(store, dataclasses.replace(some, methods="Deepfake"))


def test_batches_of_pairs_are_a_setting(tiny_source, tiny_settings):
    paired = split_faces(tiny_source[1], dataclasses.replace(tiny_settings, sampler="pairs"))["train"]
    people = paired.rows["identity"].str.split("+").str[0]
    for batch in batches(paired, 10, iterations=4, seed=0, sampler="pairs"):
        groups = people.iloc[batch["index"].numpy()].to_numpy().reshape(2, 5)
        assert (groups == groups[:, :1]).all()
        assert (batch["domain"].reshape(2, 5).sort(1).values == torch.arange(5)).all()


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


@pytest.fixture
def other_source(tiny_source, tmp_path):
    """The tiny source's test people without one of them, under another name and with another method."""
    source, store = tiny_source
    root = tmp_path / "other"
    shutil.copytree(store.root, root)
    manifest = store.manifest
    manifest = manifest[(manifest.split == "test") & ~manifest.identity.str.contains("013")]
    manifest = manifest.assign(method=manifest.method.replace("FaceSwap", "Celeb-synthesis"))
    manifest.to_csv(root / "manifest.csv", index=False)
    return dataclasses.replace(source, name="cdf2", label="others"), FaceStore(root)


ODD = {"Deepfakes": "None", "Face2Face": "NA", "FaceSwap": "nan", "NeuralTextures": "null"}


def test_names_that_look_like_missing_values_go_through_to_the_metrics(tiny_source, tiny_settings, tmp_path):
    """Methods, people and files."""
    source, store = tiny_source
    shutil.copytree(store.root, tmp_path / "store")
    manifest = store.manifest
    for column in ("method", "video", "path"):
        manifest[column] = manifest[column].replace(ODD, regex=True)
    people = {"000": "NA", "006": "None", "010": "nan", "011": "null", "012": "N/A"}
    manifest["identity"] = manifest["identity"].replace(people, regex=True)
    manifest.loc[manifest.video == "real/012", "video"] = "None"
    table.save(manifest, tmp_path / "store/manifest.csv")
    short = dataclasses.replace(tiny_settings, iterations=2, validate_every=2)
    done = run(source, short, "bce", store=FaceStore(tmp_path / "store"), runs=tmp_path / "runs", progress=False)
    scores, metrics = done.scores, done.metrics
    assert {*ODD.values(), "real"} == set(scores.method)
    assert {"nan", "null", "N/A", "nan+null"} <= set(scores.identity) and "None" in set(scores.video)
    assert set(metrics.method) == {"all", *ODD.values()} and not scores.isna().any(axis=None)
    for name in ODD.values():
        rows = scores[scores.method.isin(["real", name])]
        row = metrics[(metrics.level == "frame") & (metrics.method == name)].iloc[0]
        assert row.auc == pytest.approx(roc_auc_score(rows.label, rows.score), abs=1e-9)
    again = evaluation.report(scores)
    assert again.method.tolist() == metrics.method.tolist()
    assert np.allclose(again.auc, metrics.auc) and np.allclose(again.auc_low, metrics.auc_low)


def test_a_part_of_licensed_data_says_so_in_every_record(tiny_source, tiny_settings, tmp_path):
    source, store = tiny_source
    counts = {"found": {"videos": 7}, "published": {"videos": 1000}, "missing": 1}
    part = dataclasses.replace(source, edition="licensed", label="FF++", counts=counts)
    short = dataclasses.replace(tiny_settings, iterations=2, validate_every=2)
    record = run(part, short, "bce", store=store, runs=tmp_path, progress=False).record
    assert (record["data"]["edition"], record["data"]["counts"]) == ("licensed, part", counts)
    assert record["protocol"].startswith("FF++; licensed, part; frames and videos")
    assert list_runs(tmp_path).edition.tolist() == ["licensed, part"]


def test_a_run_is_tested_on_another_source_once(tiny_run, other_source):
    first = evaluate(tiny_run, *other_source, progress=False)
    assert first.folder.parent == tiny_run.folder
    assert first.record["data"]["source"] == "cdf2"
    assert first.record["protocol"].startswith(f"trained on {tiny_run.record['protocol']}")
    assert first.record["protocol"].endswith("Tested on others; stand-in")
    assert set(first.scores.method) == {"real", "Deepfakes", "Face2Face", "Celeb-synthesis", "NeuralTextures"}
    # The same weights: a frame's score is the one that the run gave it.
    own = tiny_run.scores.set_index(["face"]).score
    assert np.allclose(first.scores.set_index("face").score, own[first.scores.face], atol=1e-5)
    before = (first.folder / "record.json").stat().st_mtime_ns
    assert evaluate(tiny_run, *other_source, progress=False) == first
    assert (first.folder / "record.json").stat().st_mtime_ns == before


def test_on_its_own_source_a_run_is_its_evaluation(tiny_run, tiny_source):
    assert evaluate(tiny_run, *tiny_source, progress=False).folder == tiny_run.folder


def test_runs_are_listed_found_and_removed(tiny_source, tiny_settings, tmp_path):
    short = dataclasses.replace(tiny_settings, iterations=2, validate_every=2)
    names = []
    for seed in (0, 1):
        names.append(
            run(
                tiny_source[0],
                dataclasses.replace(short, seed=seed),
                store=tiny_source[1],
                runs=tmp_path,
                progress=False,
            ).folder.name
        )
    (tmp_path / "half.part").mkdir()
    (tmp_path / "half.part" / "record.json").write_text("{}")
    table = list_runs(tmp_path)
    assert table.run.tolist() == names
    assert table.seed.tolist() == [0, 1]
    assert find_run(names[0][:6], tmp_path).folder.name == names[0]
    with pytest.raises(DidError, match=f"no finished run 'x{names[0][1:]}': did you mean '{names[0]}'"):
        find_run("x" + names[0][1:], tmp_path)
    with pytest.raises(DidError, match="no finished run ''"):
        find_run("", tmp_path)
    with pytest.raises(DidError, match="none is there yet"):
        find_run("abc", tmp_path / "nowhere")
    remove_run(names[0], tmp_path)
    assert list_runs(tmp_path).run.tolist() == [names[1]]
    assert not (tmp_path / names[0]).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"run": "x"}'])
def test_a_damaged_record_is_one_sentence(tmp_path, content):
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / "record.json").write_text(content)
    with pytest.raises(
        DidError, match=r"the record .*abc.record\.json cannot be read \(.*\): remove its folder"
    ) as caught:
        list_runs(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_processes_that_want_the_same_run_train_it_once(tiny_source, tiny_settings, tmp_path, monkeypatch):
    """Threads stand in for processes: the lock is a file, and each takes it anew."""
    begun = []
    fit = runs.fit
    monkeypatch.setattr(runs, "fit", lambda *a: begun.append(1) or fit(*a))
    short = dataclasses.replace(tiny_settings, iterations=2, validate_every=2)
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(run, tiny_source[0], short, store=tiny_source[1], runs=tmp_path, progress=False)
            for _ in range(2)
        ]
        assert jobs[0].result() == jobs[1].result()
    assert len(begun) == 1


def test_a_run_begins_with_the_weights_of_another(tiny_source, tiny_settings, tiny_run, tmp_path):
    source, store = tiny_source
    seen = []
    warm = run(source, tiny_settings, store=store, runs=tmp_path, progress=False, init=tiny_run, log=seen.append)
    assert warm.folder.name != tiny_run.folder.name and warm.record["contents"] == {"init": tiny_run.folder.name}
    cold, first = tiny_run.history.iloc[0], warm.history.iloc[0]
    assert first["bce"] < cold["bce"] and seen[0]["bce"] == first["bce"]
    assert not (warm.folder / "history.jsonl").exists() and (warm.folder / "history.csv").is_file()
    with pytest.raises(DidError, match="begin with a run of the task bce on as many methods and the same backbone"):
        run(source, tiny_settings, "bce", store=store, runs=tmp_path, progress=False, init=tiny_run)


@pytest.fixture(scope="module")
def with_checkpoints(tiny_source, tiny_settings, tmp_path_factory):
    source, store = tiny_source
    settings = dataclasses.replace(tiny_settings, validate_every=10, iterations=20)
    place = tmp_path_factory.mktemp("checkpoints")
    return run(source, settings, "bce", store=store, runs=place, progress=False, checkpoints=True)


def longer(one, source, iterations=40, **changes):
    settings = dataclasses.replace(one.settings, iterations=iterations, **changes)
    return run(source[0], settings, "bce", store=source[1], runs=one.folder.parent, progress=False, extend=one)


def test_a_finished_run_is_extended_as_if_it_had_been_interrupted(tiny_source, with_checkpoints, tmp_path, monkeypatch):
    """For a task without β the training is that of all iterations, to the last bit; only the new ones are trained."""
    step, steps = loop.train_step, []
    with monkeypatch.context() as counted:
        counted.setattr(loop, "train_step", lambda *given: steps.append(1) or step(*given))
        more = longer(with_checkpoints, tiny_source)
    assert len(steps) == 40 - 20
    assert more.record["contents"] == {"extends": with_checkpoints.folder.name}
    assert more.record["provenance"]["minutes"] >= with_checkpoints.record["provenance"]["minutes_training"]
    source, store = tiny_source
    whole = run(source, more.settings, "bce", store=store, runs=tmp_path, progress=False)
    assert more.folder.name != whole.folder.name
    pd.testing.assert_frame_equal(more.history, whole.history)
    assert (more.scores.score == whole.scores.score).all()
    assert not (more.folder / "resume.safetensors").exists()


def test_an_extension_that_is_killed_goes_on_from_its_own_state(tiny_source, with_checkpoints, monkeypatch):
    def killed(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runs, "score", killed)
        with pytest.raises(KeyboardInterrupt):
            longer(with_checkpoints, tiny_source, 30)
    (part,) = with_checkpoints.folder.parent.glob("*.part")
    assert runs.checkpoints.about(part / "resume.safetensors")["iteration"] == 30
    trained = []
    monkeypatch.setattr(loop, "train_step", lambda *arguments: trained.append(1))
    assert len(longer(with_checkpoints, tiny_source, 30).history) > len(with_checkpoints.history)
    assert not trained


def test_the_weights_of_each_validation_are_kept_where_that_is_asked_for(with_checkpoints, tiny_run):
    files = sorted(file.name for file in (with_checkpoints.folder / "checkpoints").iterdir())
    assert files == ["000010.safetensors", "000020.safetensors"]
    validated = with_checkpoints.history.set_index("iteration")["validation AUC"].dropna()
    for after in (10, 20):
        about = runs.checkpoints.about(with_checkpoints.folder / "checkpoints" / f"{after:06d}.safetensors")
        assert about["iteration"] == after and about["validation AUC"] == pytest.approx(validated[after], abs=1e-12)
    one, other = (with_checkpoints.task(after).state_dict() for after in (10, 20))
    best = with_checkpoints.task().state_dict()
    assert any((one[name] != other[name]).any() for name in one)
    best_is = other if validated[20] > validated[10] else one
    assert all((best[name] == best_is[name]).all() for name in best)
    with pytest.raises(DidError, match="kept no weights after 15 iterations; it kept those after 10, 20"):
        with_checkpoints.task(15)
    with pytest.raises(DidError, match="it kept none: train with --checkpoints"):
        tiny_run.task(10)


def test_what_cannot_be_extended(tiny_source, with_checkpoints, tiny_run):
    with pytest.raises(DidError, match="another value of lr, seed, and only iterations and patience may change"):
        longer(with_checkpoints, tiny_source, lr=2e-5, seed=5)
    with pytest.raises(DidError, match="has 20 iterations already: set iterations to more"):
        longer(with_checkpoints, tiny_source, 20)
    source, store = tiny_source
    more = dataclasses.replace(tiny_run.settings, iterations=10 * tiny_run.settings.iterations)
    with pytest.raises(DidError, match="kept no state to go on from: train it with --checkpoints, or begin"):
        run(source, more, store=store, runs=tiny_run.folder.parent, progress=False, extend=tiny_run)
    with pytest.raises(DidError, match="another value of task"):
        run(source, more, "f3net", store=store, runs=tiny_run.folder.parent, progress=False, extend=tiny_run)
    with pytest.raises(DidError, match=f"{tiny_run.folder.name} was finished without checkpoints; `did runs rm"):
        run(source, tiny_run.settings, store=store, runs=tiny_run.folder.parent, progress=False, checkpoints=True)


@pytest.mark.parametrize(
    ("convolutions", "products", "said"),
    [
        (True, False, "of 10, convolutions in TF32; seed 0"),
        (True, True, "of 10, convolutions and products in TF32; seed 0"),
        (False, False, "of 10; seed 0"),
    ],
)
def test_the_protocol_names_tf32_where_a_gpu_takes_it_for_float32(
    tiny_source, tiny_settings, monkeypatch, convolutions, products, said
):
    flags = SimpleNamespace(
        cudnn=SimpleNamespace(allow_tf32=convolutions),
        cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=products)),
    )
    gpu = SimpleNamespace(is_available=lambda: True)
    assert "TF32" not in runs.protocol(tiny_settings, tiny_source[0])  # no GPU here
    monkeypatch.setattr(provenance, "torch", SimpleNamespace(cuda=gpu, backends=flags))
    assert said in runs.protocol(tiny_settings, tiny_source[0])
    assert "TF32" not in runs.protocol(dataclasses.replace(tiny_settings, precision="bf16"), tiny_source[0])


def test_the_protocol_names_what_the_paper_does_not_do(tiny_source, tiny_settings):
    settings = dataclasses.replace(tiny_settings, augment="light", optimizer="sgd", schedule="cosine", patience=3)
    said = runs.protocol(settings, tiny_source[0])
    changed = "light augmentation, optimizer sgd, cosine schedule, ended after 3 validations without a better one"
    assert f"of 10, {changed}; seed 0" in said
    assert "of 10; seed 0" in runs.protocol(tiny_settings, tiny_source[0])
