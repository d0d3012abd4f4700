"""Leave one method out: each run is judged on the method it has not seen, and the rule chooses by that alone."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from did import evaluation
from did.paper import heldout, records
from did.paper.experiments import EXPERIMENTS
from did.paper.heldout import CANDIDATES, CONTROL, EXPERIMENT, METHODS, SEARCH
from did.settings import Settings

NAMES = [row.name for row in CANDIDATES]
ROOT = Path(__file__).parents[2]


def scores(lift, seed):
    """Scores of twelve people, real and forged by each method; a forged face scores higher by its method's lift."""
    rng = np.random.default_rng(seed)
    rows = [
        {"video": f"{method}/{video}", "frame": frame, "label": int(method != "real"), "method": method,
         "identity": f"{video}", "score": rng.normal() + lift.get(method, 0.0)}
        for method in ("real", *METHODS)
        for video in range(12)
        for frame in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def outcome(lifts, seeds=2, what=EXPERIMENT):
    """An outcome by hand: candidate -> how much higher forged faces score on the method that it has not seen."""
    runs = {}
    for name, lift in lifts.items():
        for number, method in enumerate(METHODS):
            # On what it has seen it is perfect, which must not count.
            seen = {other: 9.0 for other in METHODS if other != method}
            runs[f"{name}, not {method}"] = [
                scores({**seen, method: lift}, [len(name), number, seed]) for seed in range(seeds)
            ]
    return SimpleNamespace(experiment=what, runs=runs, scores=lambda run, source: run)


def record(lifts, **more):
    figures = {name: records.columns(table) for name, table in heldout.unseen(outcome(lifts, **more)).items()}
    return {"experiment": EXPERIMENT.name, "title": EXPERIMENT.title, "edition": "stand-in", "bank": "drawn",
            "preset": "laptop", "figures": figures}  # fmt: skip


def test_means_over_different_methods_are_not_compared():
    of = outcome({CONTROL: 1.0, "BCE": 1.0, "DID": 1.0}, seeds=1)
    hard, easy = METHODS[:2]
    of.runs = {f"{CONTROL}, not {hard}": of.runs[f"{CONTROL}, not {hard}"],
               f"BCE, not {easy}": of.runs[f"BCE, not {easy}"]}  # fmt: skip
    table = heldout.unseen(of)["candidates"].set_index("candidate")
    assert table.difference.isna().all(), "one of each, of two methods: nothing is paired"
    of.runs |= outcome({"DID": 1.0}, seeds=1).runs
    table = heldout.unseen(of)["candidates"]
    assert list(table.candidate) == ["DID"], "a mean over one method is not one over four"


@pytest.mark.parametrize("preset", ["paper", "laptop", "smoke"])
def test_no_run_sees_the_method_that_it_is_judged_on(preset):
    rows = {row.name: row.settings(preset, 0, "ffpp") for row in EXPERIMENT.rows}
    assert len(rows) == len(CANDIDATES) * len(METHODS)
    for name in NAMES:
        for method in METHODS:
            seen = rows[f"{name}, not {method}"].methods.split(",")
            assert method not in seen and sorted([*seen, method]) == sorted(METHODS)
    assert EXPERIMENT.tests == {method: ("ffpp", method) for method in METHODS}  # and no other data set


def test_an_average_is_over_the_methods_that_were_not_seen():
    made = outcome({CONTROL: 1.0, "DID": 0.5})
    table = heldout.unseen(made)["candidates"].set_index("candidate")
    assert table.index.tolist() == [CONTROL, "DID"]
    for name in table.index:
        each = []
        for method in METHODS:
            parts = [run[run.method.isin(["real", method])] for run in made.runs[f"{name}, not {method}"]]
            each.append(np.mean([roc_auc_score(part.label, part.score) for part in parts]))
        assert table.loc[name, list(METHODS)].tolist() == pytest.approx(each)
        assert table.auc[name] == pytest.approx(np.mean(each))
    assert np.isnan(table.difference[CONTROL])
    assert table.difference["DID"] == pytest.approx(table.auc["DID"] - table.auc[CONTROL])


def test_a_difference_is_paired_by_people_and_seeds():
    made = outcome({CONTROL: 1.0, "DID": 0.5})
    drawn = {
        name: evaluation.Drawn.average([
            evaluation.draws([run[run.method.isin(["real", method])] for run in made.runs[f"{name}, not {method}"]],
                             among=evaluation.people(made.runs[f"{name}, not {method}"][0]))
            for method in METHODS
        ])
        for name in (CONTROL, "DID")
    }  # fmt: skip
    row = heldout.unseen(made)["candidates"].set_index("candidate").loc["DID"]
    assert (row.difference_low, row.difference_high) == pytest.approx(evaluation.ends(drawn["DID"] - drawn[CONTROL]))
    assert (row.low, row.high) == pytest.approx(evaluation.ends(drawn["DID"]))


def test_the_rule_takes_the_highest_average():
    of = record({CONTROL: 0.8, "averaged weights": 2.5, "DID": 0.2}, seeds=5)
    assert heldout.winner(of).candidate == "averaged weights"
    first, second = heldout.chosen(of)
    assert "The rule chooses averaged weights, with" in first
    apart = heldout.differences(of).set_index("a")
    assert apart.so.to_dict() == {"averaged weights": "ahead", "DID": "behind"}
    assert "Of the 2 intervals, 2 lie off 0; about 0.1 would by chance." in second
    assert heldout.candidates(of).columns.tolist() == [*METHODS, "mean"]


def test_of_equal_averages_the_plainer_one_is_taken():
    of = record({CONTROL: 1.0, "DID": 1.0})
    table = of["figures"]["candidates"]
    table["auc"] = [0.80041, 0.80049]
    assert heldout.winner(of).candidate == CONTROL


def test_the_search_compares_with_the_papers_weights_and_changes_one_weight_at_a_time():
    usual = Settings.preset("laptop", source="ffpp")
    for row in SEARCH.rows:
        of = dataclasses.replace(row.settings("laptop", 0, "ffpp"), methods=usual.methods).as_dict()
        changed = {name for name, value in of.items() if usual.as_dict()[name] != value}
        assert changed <= {"lambda_dom", "lambda_dec"} and len(changed) <= 1
        assert bool(changed) == (not row.name.startswith("the paper's weights"))
    of = record({"the paper's weights": 1.0, "λ_dom = 3": 2.0, "λ_dec = 0.1": 0.0}, seeds=1, what=SEARCH)
    assert heldout.winner(of).candidate == "λ_dom = 3"
    apart = heldout.differences(of).set_index("a")
    assert (
        set(apart.b) == {"the paper's weights"} and apart.difference["λ_dom = 3"] > 0 > apart.difference["λ_dec = 0.1"]
    )
    assert "Difference from the AUC of the paper's weights: λ_dom = 3 +" in heldout.chosen(of)[1]


def worlds(**of):
    """A record over worlds by hand: (rival, test) -> its AUC and the interval of the chosen detector's lead over it."""
    rows, apart = [], []
    for (rival, test), (auc, low, high) in of["leads"].items():
        rows.append({"row": rival, "test": test, "level": "frame", "metric": "auc", "ours": auc})
        apart.append({"a": CONTROL, "b": rival, "test": test, "level": "frame", "difference": (low + high) / 2,
                      "low": low, "high": high})  # fmt: skip
    return {"experiment": "ten_worlds", "title": "Ten worlds: x", "edition": "stand-in", "bank": "drawn",
            "preset": "laptop", "rows": rows, "differences": apart, "figures": of.get("figures", {})}  # fmt: skip


def test_the_smallest_difference_that_ten_worlds_find_in_four_of_five_cases():
    """The smallest is found by the interval's t in 80% of simulated cases."""
    half, n = 0.02, 10
    error = half / 2.262157
    of = worlds(
        leads={("BCE", "CDF2"): (0.7, 0.0, 2 * half)},
        figures={"worlds": {"world": list(range(n)), "low": [0.1, *[-0.1] * 9], "high": [0.2, *[0.1] * 8, -0.05]}},
    )
    *_, said, alone = heldout.confirmed(of)
    smallest = float(said.split("difference of ")[1].split(" ")[0])
    assert (
        said
        == f"With 10 worlds, a difference of {smallest:.3f} to {smallest:.3f} would have been found in 80% of cases."
    )
    assert "1 of 10 intervals lie above 0 and 1 below: a verdict from one set" in alone
    drawn = np.random.default_rng(0).normal(smallest, error * np.sqrt(n), size=(20000, n))
    reach = 2.262157 * drawn.std(1, ddof=1) / np.sqrt(n)
    assert np.mean(drawn.mean(1) - reach > 0) == pytest.approx(0.8, abs=0.02)


def test_the_aim_is_a_lead_over_the_best_of_the_others():
    of = worlds(leads={("BCE", "CDF2"): (0.7, 0.05, 0.15), ("DID", "CDF2"): (0.75, 0.01, 0.05),
                       ("BCE", "DiFF"): (0.8, 0.02, 0.06), ("DID", "DiFF"): (0.6, 0.2, 0.3)})  # fmt: skip
    found = heldout.leads(of).set_index("test")
    assert list(found.b) == ["DID", "BCE"]  # the smaller lead on each
    assert list(found.difference) == pytest.approx([0.03, 0.04]) and list(found.aim) == [0.03, 0.05]
    said = " ".join(heldout.confirmed(of))
    assert "On CDF2 the best of the others is DID; the aim, +0.03 over it with the interval above 0, is met" in said
    assert "On DiFF the best of the others is BCE; the aim, +0.05 over it with the interval above 0, is missed" in said
    assert (
        f"{CONTROL} less DID: on CDF2 +0.030 [+0.010, +0.050], ahead, on DiFF +0.250 [+0.200, +0.300], ahead." in said
    )
    assert "Of the 4 intervals, 4 lie off 0; about 0.2 would by chance." in said


def test_a_lead_that_is_large_enough_but_not_above_zero_misses_the_aim():
    of = worlds(leads={("BCE", "CDF2"): (0.7, -0.1, 0.3), ("DID", "CDF2"): (0.6, 0.1, 0.3)})
    said = " ".join(heldout.confirmed(of))
    assert "is missed: +0.100 [-0.100, +0.300]" in said and "undecided" in said and "DiFF" not in said


def test_the_confirmation_takes_the_chosen_detector_in_ten_worlds_with_the_same_settings():
    of = heldout.CONFIRMATION
    assert of.worlds == tuple(range(1, 11)) and of.seeds == 1 and set(of.tests) == set(heldout.AIM)
    found = {row.name: row.settings("laptop", 0, of.train) for row in of.rows}
    assert set(found) == {CONTROL, "BCE", "DID", "SBI", "Two Branch"}
    assert len({settings for name, settings in found.items() if name != "SBI"}) == 1
    assert found["SBI"].iterations == 4 * found["BCE"].iterations  # as in Table 1: it sees no forgery of FF++
    assert {row.name: row for row in EXPERIMENTS["table1_intra_cross"].rows}["SBI"] in of.rows
    assert {b for a, b in of.compared if a == CONTROL} == set(found) - {CONTROL}


def test_the_best_rival_of_world_0_is_the_one_that_goes_to_ten_worlds():
    files = [ROOT / f"results/{name}-laptop-drawn.json" for name in ("table1_intra_cross", "table2_diffusion")]
    found = pd.concat([records.frame(records.read(file)["rows"]) for file in files])
    found = found.query("level == 'frame' and metric == 'auc' and test != 'FF++'").dropna(subset=["ours"])
    found = found[~found.row.isin(["BCE", CONTROL, "DID"])]
    cdf2 = found.test.eq("CDF2")
    for one in (found[cdf2], found[~cdf2]):
        assert one.groupby("row").ours.mean().idxmax() == heldout.BEST_RIVAL
