"""The plan: each run once, in slices, several at a time, resumed after an interruption."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from did.cli import main
from did.errors import DidError
from did.paper import plan as of
from did.paper.conduct import conduct
from did.paper.experiments import EXPERIMENTS
from did.settings import Settings
from did.training import runs

TABLES = ["table1_intra_cross", "table2_diffusion", "fig5_domains"]


def test_tables_that_share_runs_need_them_once():
    alone = of.plan(TABLES[:1], "laptop")
    both = of.plan(TABLES, "laptop")
    rows = [row for row in EXPERIMENTS["table1_intra_cross"].rows if row.task]
    fewer = sum(row.seeds == 3 for row in rows)  # Xception is BCE at laptop: the same runs
    assert fewer >= 6 and len(rows) - fewer == 5
    assert len({(job.task, job.settings) for job in both}) == len(both) == len(alone) == 4 * 5 + 3 * fewer
    assert {job.tests for job in alone} == {("cdf2", "ffpp")} and {job.tests for job in both} == {
        ("cdf2", "diff", "ffpp")
    }
    assert len(of.plan(TABLES, "laptop", seeds="3")) == 4 + fewer


def test_an_experiment_with_worlds_needs_its_runs_in_each_and_on_licensed_data_once():
    jobs = of.plan(["ten_worlds"], "laptop", edition="stand-in")
    assert len(jobs) == len(set(jobs)) == 50
    assert {dict(job.open)["world"] for job in jobs} == set(range(1, 11))
    (alone,) = {dict(job.open)["world"] for job in of.plan(["ten_worlds"], "laptop", edition="stand-in", world=3)}
    assert alone == 3
    for preset, edition, rows in (("smoke", "stand-in", 3), ("paper", "licensed", 5)):
        assert [dict(job.open)["world"] for job in of.plan(["ten_worlds"], preset, edition=edition)] == [0] * rows
    # Their runs are those of the tables in these worlds.
    shared = {(job.task, job.settings, job.open) for job in of.plan(TABLES[:1], "laptop", edition="stand-in", world=3)}
    mine = of.plan(["ten_worlds"], "laptop", edition="stand-in", world=3)
    assert {(job.task, job.settings, job.open) for job in mine} <= shared


def test_the_data_of_each_world_is_prepared_before_the_runs(monkeypatch):
    prepared = []
    monkeypatch.setattr(of.Job, "source", lambda job, name: (name, dict(job.open)["world"]))
    monkeypatch.setattr(of, "for_testing", lambda source, settings: source)
    monkeypatch.setattr(of, "face_store", lambda source, settings, progress: prepared.append(source))
    monkeypatch.setattr(of, "_train_on", lambda cluster, jobs, progress: None)
    of.train(of.plan(["ten_worlds"], "laptop", edition="stand-in"), progress=False, cluster="tcp://nowhere:1")
    assert sorted(prepared) == sorted((name, world) for name in ("ffpp", "cdf2", "diff") for world in range(1, 11))


def test_a_job_survives_the_way_to_another_process():
    for job in of.plan(["open_choices", "table4_ablation"], "smoke", faces="london"):
        assert of.Job.of(job.as_json()) == job


def test_slices_are_a_partition():
    jobs = of.plan(TABLES, "laptop")
    slices = [of.part(jobs, f"{n}/3") for n in (1, 2, 3)]
    assert sorted(id(job) for of_slice in slices for job in of_slice) == sorted(map(id, jobs))
    assert max(map(len, slices)) - min(map(len, slices)) <= 1
    for wrong in ("0/3", "4/3", "a/3", "3", "-1/3", "²/3", "1/³"):
        with pytest.raises(DidError, match="a slice is a number of how many, such as 3/16"):
            of.part(jobs, wrong)


@pytest.fixture
def home(tmp_path, furnish, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    return furnish(tmp_path)


def test_the_plans_runs_are_those_that_the_table_takes(home, monkeypatch):
    said = CliRunner().invoke(
        main, ["runs", "train", "fig7_embeddings", "--preset", "smoke", "--jobs", "2", "--edition", "stand-in"],
        catch_exceptions=False,
    )  # fmt: skip
    assert said.stdout.strip().endswith("2 of 2 runs finished")
    monkeypatch.setattr(runs, "fit", lambda *_, **__: pytest.fail("trained again"))
    outcome = conduct("fig7_embeddings", "smoke", "stand-in", progress=False)
    assert {one.folder.parent for of_row in outcome.runs.values() for one in of_row} == {home / "runs"}


def test_a_run_whose_options_are_the_defaults_is_found(tiny_source, tiny_settings, tmp_path, monkeypatch):
    source, store = tiny_source
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    monkeypatch.setattr(of, "open_source", lambda *_, **__: source)
    monkeypatch.setattr(of, "face_store", lambda *_: store)
    short = Settings.of({**tiny_settings.as_dict(), "iterations": 2, "validate_every": 2})
    known = tuple(dict.fromkeys(("preset", "edition", "faces", "world", "data_root"), None).items())
    job = of.Job("undivided", short, (("domain_attention", False),), (), known)
    monkeypatch.setattr(of, "within", lambda *_: None)
    assert job.finished() is None
    done = runs.run(source, short, "undivided", options=dict(job.options), store=store, progress=False)
    assert job.finished() == done


@pytest.mark.slow
def test_a_cluster_trains_the_same_runs(home, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    jobs = of.plan(["fig7_embeddings"], "smoke", edition="stand-in")
    broken = of.Job("did", Settings.of({**jobs[0].settings.as_dict(), "pretrained": "/none.pth"}), (), ("ffpp",),
                    jobs[0].open)  # fmt: skip
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, protocol="tcp"
    ) as cluster:
        of.train(jobs, progress=False, cluster=cluster.scheduler_address)
        there = {one.folder.name: one.scores for one in runs.all_runs(home / "runs")}
        with pytest.raises(DidError, match="^a run of the plan failed: pretrained = '/none.pth' is neither a file"):
            of.train([broken], progress=False, cluster=cluster.scheduler_address)
    assert len(there) == len(jobs) == 2
    shutil.rmtree(home / "runs")
    of.train(jobs, 1, progress=False)
    here = {one.folder.name: one.scores for one in runs.all_runs(home / "runs")}
    assert set(here) == set(there) and all(here[name].equals(there[name]) for name in here)


def test_a_cluster_has_its_own_number_of_runs_at_a_time(home):
    said = CliRunner().invoke(main, ["runs", "train", "fig7_embeddings", "--jobs", "2", "--cluster", "tcp://a:1"])
    assert said.exit_code == 1 and "leave out --jobs" in said.stderr


def test_a_failing_run_is_one_sentence_and_the_rest_is_not_begun(home):
    (job, other) = of.plan(["fig7_embeddings"], "smoke", edition="stand-in")
    of.train([other], 1, progress=False)
    broken = of.Job("did", Settings.of({**job.settings.as_dict(), "pretrained": "/none.pth"}), (), ("ffpp",), job.open)
    with pytest.raises(DidError, match="^a run of the plan failed: pretrained = '/none.pth' is neither a file"):
        of.train([broken, job], 1, progress=False)
    assert len([folder for folder in (home / "runs").iterdir() if (folder / "record.json").is_file()]) == 1


@pytest.mark.parametrize(
    ("shown", "many", "seen"),
    [
        (None, 2, ["0", "1", "0"]),
        (None, 0, [None, None, None]),
        ("3,5", 2, ["3", "5", "3"]),
        ("3,5", 1, ["3", "3", "3"]),  # CUDA sees no GPU from the first on that is not there.
        ("", 0, ["", "", ""]),
        ("-1", 0, ["-1", "-1", "-1"]),
    ],
)
def test_each_process_sees_a_gpu_that_is_there_or_what_the_user_shows(monkeypatch, shown, many, seen):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: many)
    tell = "import os; raise SystemExit(repr(os.environ.get('CUDA_VISIBLE_DEVICES')))"
    monkeypatch.setattr(of, "command", lambda _: [sys.executable, "-c", tell])
    (job, *_) = of.plan(["fig7_embeddings"], "smoke", edition="stand-in")
    assert [of._Process(job, 1, device).failure() for device in range(3)] == [[repr(each)] for each in seen]


def test_a_number_of_runs_is_written_in_plain_digits(home):
    said = CliRunner().invoke(main, ["runs", "train", "fig7_embeddings", "--jobs", "²", "--dry"])
    assert said.exit_code == 1 and "--jobs takes a number from 1 up, or auto, not '²'" in said.stderr


def alive(home):
    """The processes that work for this home."""
    environments = [file for file in Path("/proc").glob("[0-9]*/environ") if os.access(file, os.R_OK)]
    found = []
    for file in environments:
        with contextlib.suppress(OSError):
            if f"DID_HOME={home}\0".encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return set(found) - {os.getpid()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="asks Linux which processes there are")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_plan_that_is_killed_is_resumed_with_the_same_records(home, how):
    number = len(of.plan(["table4_ablation"], "smoke", edition="stand-in"))
    command = [sys.executable, "-m", "did.cli", "runs", "train", "table4_ablation", "--preset", "smoke", "--jobs", "2",
               "--edition", "stand-in"]  # fmt: skip
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list(home.glob("runs/*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    killed.send_signal(how)
    assert killed.wait(30) != 0
    deadline = time.monotonic() + 10
    while alive(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(home), "runs go on without the plan"
    before = {path: path.read_bytes() for path in home.glob("runs/*/record.json")}
    assert 0 < len(before) < number
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert len(list(home.glob("runs/*/record.json"))) == number
    assert all(path.read_bytes() == text for path, text in before.items())
