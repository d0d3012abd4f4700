"""The minutes of a book from nothing: each run once, where it comes first, with those of all its tests."""

import json

import pytest

from did.paper import records
from did.paper.kept import RUNS, Kept
from did.paper.plan import plan
from did.settings import Settings
from did_book.pages.from_nothing import training


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Write a run that the repository keeps into a project of its own, with minutes by hand: 1 for each test."""
    usual = Settings.preset("laptop")
    files = sorted((records.nearest() / RUNS).glob("*.json"))
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / RUNS).mkdir(parents=True)

    def write(task, minutes, world=0):
        one = next(of for of in map(Kept.read, files) if of.settings == usual and of.record["task"] == task
                   and "world" not in of.record["data"]["label"])  # fmt: skip
        content = json.loads(json.dumps(one.content))
        content["run"]["provenance"]["minutes"] = minutes
        content["run"]["data"]["label"] += f", world {world}" if world else ""
        for name, test in content["tests"].items():
            test["provenance"]["minutes"] = minutes if name == content["run"]["data"]["source"] else 1.0
        (tmp_path / "results" / RUNS / f"{task}{world}.json").write_text(json.dumps(content))
        return len(content["tests"]) - 1

    return write


def test_a_run_counts_once_with_its_tests_and_divided_by_the_cores(kept):
    others = kept("multiclass", 10.0)
    found = training(["table1_intra_cross", "table2_diffusion"], cores=4).set_index("experiment")
    alone = len({(job.task, job.settings) for job in plan(["table1_intra_cross"], "laptop", edition="stand-in")})
    assert found.runs["table1_intra_cross"] == alone and found.runs["table2_diffusion"] < alone
    assert list(found.kept) == [1, 0, 1]
    assert found.minutes["table1_intra_cross"] == found.minutes["all"] == pytest.approx((10 + others) / 4)


def test_a_run_of_another_world_is_another_run(kept):
    kept("multiclass", 10.0, world=3)
    found = training(["table1_intra_cross", "ten_worlds"]).set_index("experiment")
    assert (found.kept["table1_intra_cross"], found.kept["ten_worlds"], found.runs["ten_worlds"]) == (0, 1, 50)
