"""Worlds: drawn once and for all, apart from each other, and read by the same layouts."""

import dataclasses
import json
import math
import os
from functools import partial

import numpy as np
import pytest
from scipy.stats import t as student

from did import presets, standin
from did.data import cdf2, ffpp
from did.data.video import read_frames
from did.errors import DidError
from did.paper import conduct as conduct_module
from did.paper import records
from did.paper.conduct import conduct
from did.paper.experiments import EXPERIMENTS
from did.paper.heldout import CONFIRMATION
from did.paper.worlds import combined, numbers, over_worlds
from did.sources import open_source
from did.standin.layouts import LAYOUTS
from did.standin.worlds import CAMERA, CRF, POOL, STRENGTH, _at_strength, layout_in, world

PEOPLE = {"train": 2, "val": 2, "test": 2}
TESTED = [name for name in LAYOUTS if name != "dffd"]


@pytest.mark.parametrize("number", range(1, 21))
def test_a_world_gives_each_method_a_mechanism_and_tests_on_none_that_was_trained_on(number):
    of = world(number)
    assert of == world.__wrapped__(number)
    for name, layout in LAYOUTS.items():
        assert list(of.mechanisms[name]) == list(of.strengths[name]) == list(layout.methods)
        assert set(of.mechanisms[name].values()) <= set(POOL)
        assert len(set(of.mechanisms[name].values())) == len(layout.methods)
        assert all(STRENGTH[0] <= each <= STRENGTH[1] for each in of.strengths[name].values())
        assert all(CAMERA[0] <= each <= CAMERA[1] for each in of.light[name])
        assert list(layout_in(number, name).methods) == list(layout.methods)
    trained = {name: set(of.mechanisms[name].values()) for name in LAYOUTS}
    assert not trained["ffpp"] & trained["cdf2"] and not trained["ffpp"] & trained["diff"]
    assert not trained["dffd"] & trained["cdf2"]
    assert CRF[0] <= of.crf <= CRF[1]


def test_worlds_differ_and_world_0_is_the_usual_one():
    drawn = [json.dumps(world(number).mechanisms) for number in range(1, 21)]
    assert len(set(drawn)) == 20
    assert all(layout_in(0, name) is layout for name, layout in LAYOUTS.items())
    for wrong in (0, -1, 1.5, True, "1"):
        with pytest.raises(DidError, match="a world is a whole number from 1 up"):
            world.__wrapped__(wrong)


def test_strength_is_the_share_of_the_change_that_is_kept():
    target = np.full((2, 8, 8, 3), 100, np.uint8)
    mask = np.zeros((2, 8, 8), np.float32)
    mask[:, :4] = 1

    def forge(masks, *_):
        return np.full((2, 8, 8, 3), 200, np.uint8), masks

    clip = type("Clip", (), {"frames": target})()
    frames, masks = _at_strength(partial(forge, mask), 0.6)(clip, clip, None)
    assert (frames == 160).all() and masks is mask
    frames, _ = _at_strength(partial(forge, np.ones_like(mask)), 0.6)(clip, clip, None)
    assert (frames == 200).all(), "a whole picture has no target left to be mixed with"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """FF++ in world 0, and twice in world 3."""
    place = tmp_path_factory.mktemp("worlds")
    for name, number in (("usual", 0), ("third", 3), ("again", 3)):
        standin.write("ffpp", place / name, PEOPLE, frames=1, workers=1, progress=False, world=number)
    return place


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_world_has_the_same_bytes_and_another_one_has_not(two):
    usual, third, again = (files(two / name) for name in ("usual", "third", "again"))
    assert third == again and set(third) == set(usual)
    assert all(third[path] != usual[path] for path in usual if path.suffix == ".mp4")


def test_the_layout_reads_it_and_its_mark_says_what_it_is(two):
    index, usual = (ffpp.index(two / name) for name in ("third", "usual"))
    assert index[["video", "method", "split"]].equals(usual[["video", "method", "split"]])
    mark = json.loads((two / "third/standin.json").read_text(encoding="utf-8"))
    assert mark["world"]["number"] == 3 and mark["world"]["mechanisms"] == json.loads(json.dumps(world(3).mechanisms))
    assert "world" not in json.loads((two / "usual/standin.json").read_text(encoding="utf-8"))
    assert not set(mark["identities"].values()) & {f"drawn-0-{k}" for k in range(100)}


@pytest.mark.parametrize("mechanism", POOL)
def test_every_mechanism_forges_a_clip(mechanism, two):
    """Those of stills too: in another world they make clips."""
    from did.standin.animate import animate
    from did.standin.drawn import DrawnBank

    bank = DrawnBank(5)
    clips = [animate(bank.still(who), np.random.default_rng(who), 2, 128) for who in (0, 1)]
    frames, masks = POOL[mechanism](*clips, np.random.default_rng(0))
    assert frames.shape == (2, 128, 128, 3) and frames.dtype == np.uint8 and masks.shape == (2, 128, 128)
    assert (frames != clips[0].frames).any()


def test_a_source_of_a_world_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    size = {"people": PEOPLE, "frames": 1}
    monkeypatch.setitem(presets.PRESETS["smoke"].standins, "cdf2", size)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    usual, other = (open_source("cdf2", "stand-in", preset="smoke", progress=False, world=n) for n in (0, 2))
    assert other.label.endswith(", world 2") and "world" not in usual.label
    assert (other.bank, usual.bank) == ("drawn-world2", "drawn") and other.root != usual.root
    assert len(other.index) == len(cdf2.index(usual.root))
    ((_, frame),) = read_frames(other.root / other.index.path[0], 1)
    assert frame.shape == (384, 384, 3)
    for given in ({"edition": "licensed"}, {"edition": "auto", "name": "folder:x"}):
        with pytest.raises(DidError, match="world=2 makes a stand-in"):
            open_source(**{"name": "cdf2", "preset": "smoke", "world": 2, **given})


def record(number, difference):
    apart = {"a": "A", "b": "B", "test": "CDF2", "level": "frame", "difference": difference, "low": -1.0, "high": 1.0}
    return {"experiment": "x", "title": "X: y", "edition": "stand-in", "bank": f"drawn-world{number}",
            "preset": "laptop", "differences": [apart]}  # fmt: skip


def test_differences_over_worlds_by_hand():
    values = [0.02, 0.03, 0.05, -0.01]
    (row,) = over_worlds([record(n, value) for n, value in enumerate(values, 1)]).to_dict("records")
    assert (row["a"], row["b"], row["test"], row["worlds"], row["above"]) == ("A", "B", "CDF2", 4, 3)
    half = 3.182446 * np.std(values, ddof=1) / 2
    assert row["difference"] == pytest.approx(0.0225)
    assert (row["low"], row["high"]) == pytest.approx((0.0225 - half, 0.0225 + half), abs=1e-6)
    assert row["so"] == "undecided"
    assert row["p"] == pytest.approx(2 * student.sf(0.0225 / (np.std(values, ddof=1) / 2), 3))
    alone = over_worlds([record(1, 0.5)]).iloc[0]
    assert np.isnan(alone.low) and np.isnan(alone.p) and alone.so == "undecided"
    with pytest.raises(DidError, match="one record of one experiment per world"):
        over_worlds([record(1, 0.1), record(1, 0.2)])


def whole(number, auc):
    """A record of a world in which A has this AUC and B one of .5."""
    rows = [
        {"row": row, "runs_on": "net", "test": "CDF2", "level": "frame", "metric": "auc", "ours": value, "std": 0.0,
         "low": 0.0, "high": 1.0, "seeds": 1, "paper": None, "run_here": True}
        for row, value in (("A", auc), ("B", 0.5))
    ]  # fmt: skip
    return {
        **record(number, auc - 0.5), "data": {"cdf2": f"stand-in for Celeb-DF, world {number}"}, "seeds": [0],
        "protocol": f"trained on stand-in, world {number}; 4 frames; seeds 0; 95% intervals over people",
        "rows": rows, "runs": {"A": [f"a{number}"], "B": [f"b{number}"]},
        "provenance": {"minutes": 1.0, "minutes_runs": 2.0, "commits": [f"c{number % 2}"], "stamp": "one world's"},
    }  # fmt: skip


def test_records_of_worlds_become_one_over_worlds():
    entries = [whole(n, auc) for n, auc in ((1, 0.6), (2, 0.7), (3, 0.8))]
    found = combined(entries, [lambda entry: [f"said of {len(entry['figures']['worlds']['world'])} worlds"]])
    assert (found["bank"], found["data"]) == ("drawn", {"cdf2": "stand-in for Celeb-DF, worlds 1 to 3"})
    assert found["protocol"] == ("trained on stand-in; 4 frames; seeds 0; worlds 1 to 3; 95% intervals over worlds")
    first, second = found["rows"]
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (first["row"], first["ours"], first["seeds"]) == ("A", 0.7, 1)
    assert (first["low"], first["high"]) == pytest.approx((0.7 - half, 0.7 + half), abs=2e-6)
    assert (second["row"], second["ours"], second["low"], second["high"]) == ("B", 0.5, 0.5, 0.5)
    (apart,) = found["differences"]
    assert apart["difference"] == pytest.approx(0.2) and apart["so"] == "undecided" and apart["worlds"] == 3
    assert found["figures"]["worlds"]["difference"] == pytest.approx([0.1, 0.2, 0.3])
    assert found["runs"] == {"A": ["a1", "a2", "a3"], "B": ["b1", "b2", "b3"]}
    made = found["provenance"]
    assert (made["minutes"], made["minutes_runs"], made["commits"]) == (3.0, 6.0, ["c0", "c1"])
    assert "STAND-IN" in made["stamp"] and "worlds 1 to 3" in made["stamp"] and "one world's" not in made["stamp"]
    assert found["sentences"] == ["said of 3 worlds"]
    del entries[1]["runs"]["B"]
    with pytest.raises(DidError, match="not run in every world: B; train them there"):
        combined(entries)


def test_an_experiment_with_worlds_is_run_in_each_and_has_one_record_over_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    of = dataclasses.replace(CONFIRMATION, tests={"FF++": ("ffpp", "all")}, rows=CONFIRMATION.rows[:2], worlds=(1, 2))
    monkeypatch.setitem(EXPERIMENTS, of.name, of)
    monkeypatch.setitem(presets.PRESETS["smoke"].standins, "ffpp", {"people": PEOPLE, "frames": 2})
    monkeypatch.setattr(conduct_module, "worlds_of", lambda what, preset, edition, world: (world,) if world else (1, 2))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    found = conduct(of.name, "smoke", "stand-in", progress=False).record
    each = [records.read(tmp_path / "results" / f"ten_worlds-smoke-drawn-world{number}.json") for number in (1, 2)]
    assert records.read(tmp_path / "results/ten_worlds-smoke-drawn.json")["rows"] == found["rows"]
    (row,) = [row for row in found["rows"] if (row["row"], row["level"]) == ("BCE", "frame")]
    ours = [next(row["ours"] for row in one["rows"] if (row["row"], row["level"]) == ("BCE", "frame")) for one in each]
    assert row["ours"] == pytest.approx(np.mean(ours), abs=1e-6) and len(set(found["runs"]["BCE"])) == 2
    assert found["figures"]["worlds"]["world"] == [1, 2]


def test_worlds_are_named_by_numbers():
    assert numbers("1-3, 8") == [1, 2, 3, 8]
    for wrong in ("", "0", "a", "1,1", "3-1", "1,3-2", "1-", "-2"):
        with pytest.raises(DidError, match="whole numbers from 1 up"):
            numbers(wrong)
