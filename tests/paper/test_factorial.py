"""The factorial of DID's parts: its cells are the admissible ones, and its effects are means of differences."""

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from did.method.task import DIDTask
from did.paper import factorial
from did.paper.experiments import EXPERIMENTS
from did.paper.factorial import NOTHING, PARTS, cell_of, cells, effects, name_of, row_of
from did.rivals.undivided import UndividedTask
from did.task import options_of, task_named

RNG = np.random.default_rng(0)


def test_the_cells_are_the_combinations_in_which_each_part_has_what_it_needs():
    found = cells()
    assert len(found) == len(set(found)) == 36
    for parts in map(frozenset, itertools.chain(*(itertools.combinations(PARTS, n) for n in range(7)))):
        possible = ("A_dom" not in parts or "L_dom" in parts) and ("T" not in parts or "A_df" in parts)
        assert (parts in found) == possible
        assert cell_of(name_of(parts)) == parts
    assert name_of(frozenset()) == NOTHING and name_of(frozenset(PARTS)) == " + ".join(PARTS)


@pytest.mark.parametrize("cell", cells(), ids=name_of)
def test_a_cell_has_its_parts_and_no_others(cell):
    row = row_of(cell)
    settings = row.settings("smoke", 0, "ffpp")
    task = task_named(row.task)(settings, 5, options_of(task_named(row.task), dict(row.options)))
    model = task.model
    assert (settings.alpha < 1) == ("L_auc" in cell) and (settings.augment == "light") == ("augmentation" in cell)
    if "A_df" in cell:
        assert isinstance(task, DIDTask)
        assert (model.estimator is not None) == ("T" in cell)
        assert (model.domain_classifier is not None) == ("L_dom" in cell)
    else:
        assert isinstance(task, UndividedTask)
        assert (settings.lambda_dom > 0) == ("L_dom" in cell)
    assert (model.domain_attention is not None) == ("A_dom" in cell)


def test_later_has_the_cells_with_augmentation_trained_four_times_as_long():
    rows = {cell_of(row.name): row for row in EXPERIMENTS["what_carries_later"].rows}
    assert set(rows) == {cell for cell in cells() if "augmentation" in cell} and len(rows) == 18
    for cell, row in rows.items():
        usual, longer = (each.settings("laptop", 0, "ffpp") for each in (row_of(cell), row))
        assert longer.iterations == 4 * usual.iterations == 800 and row.task == row_of(cell).task
        assert dataclasses.replace(longer, iterations=200, validate_every=usual.validate_every) == usual


def scored(shift, seed=0):
    """Scores of 40 people, one real and one fake clip each; the fake's are `shift` higher."""
    noise = np.random.default_rng(seed).normal(size=80)
    label = np.tile([0, 1], 40)
    return pd.DataFrame({"video": [f"v{i}" for i in range(80)], "identity": [f"p{i // 2}" for i in range(80)],
                         "label": label, "method": np.where(label == 1, "m", "real"), "frame": 0,
                         "score": noise + shift * label})  # fmt: skip


def outcome_of(shifts):
    tables = {name: [scored(shift, number)] for number, (name, shift) in enumerate(shifts.items())}
    runs = {name: [(name, 0)] for name in tables}
    what = SimpleNamespace(tests={"CDF2": ("cdf2", "all")})
    return SimpleNamespace(experiment=what, runs=runs, scores=lambda one, source: tables[one[0]][one[1]])


def auc(table):
    real, fake = (table.score[table.label == k].to_numpy() for k in (0, 1))
    return np.mean(fake[:, None] > real[None])


def test_effects_and_interactions_by_a_plain_loop():
    names = [name_of(cell) for cell in cells()]
    outcome = outcome_of({name: 0.3 + 1.5 * ("L_dom" in name) - 0.2 * ("T" in name) for name in names})
    found = effects(outcome)
    values = {cell_of(name): auc(outcome.scores(of[0], "cdf2")) for name, of in outcome.runs.items()}
    table = found["effects"].set_index("part")
    assert list(table.index) == list(PARTS)
    pairs = {"A_df": 12, "L_dom": 12, "A_dom": 12, "T": 12, "L_auc": 18, "augmentation": 18}
    for name in PARTS:
        gaps = [v - values[c - {name}] for c, v in values.items() if name in c and c - {name} in values]
        assert len(gaps) == table.pairs[name] == pairs[name]
        assert table.difference[name] == pytest.approx(np.mean(gaps))
        assert table.low[name] < table.difference[name] < table.high[name]
    assert table.so["L_dom"] == "ahead" and table.so["A_dom"] == "undecided"
    both = found["interactions"].set_index(["part", "other"])
    for part, other in itertools.combinations(PARTS, 2):
        quads = [values[c] - values[c - {part}] - values[c - {other}] + values[c - {part, other}] for c in values
                 if {part, other} <= c and {c - {part}, c - {other}, c - {part, other}} <= set(values)]  # fmt: skip
        if quads:
            assert both.loc[(part, other), "difference"] == pytest.approx(np.mean(quads))
            assert both.loc[(part, other), "pairs"] == len(quads)
        else:
            assert (part, other) not in both.index
    assert ("L_dom", "A_dom") not in both.index and ("A_df", "T") not in both.index


def test_the_intervals_cover_no_effect():
    """Of detectors that all rank alike, about one effect in twenty may lie off 0."""
    off = []
    for repeat in range(12):
        shifts = {name_of(cell): 1.0 for cell in cells()}
        tables = {name: [scored(1.0, 100 * repeat + i)] for i, name in enumerate(shifts)}
        outcome = outcome_of(shifts)
        outcome.scores = lambda one, source, tables=tables: tables[one[0]][0]
        off += (effects(outcome)["effects"].so != "undecided").tolist()
    assert np.mean(off) < 0.15


def test_the_sentences_count_what_would_be_off_by_chance():
    outcome = outcome_of({name_of(cell): 0.3 + 1.5 * ("L_dom" in cell) for cell in cells()})
    tables = {name: {key: column.tolist() for key, column in table.items()} for name, table in effects(outcome).items()}
    said = factorial.carried({"figures": tables})
    assert said[1].startswith("What L_dom adds: on CDF2 +0.") and "over 12 pairs" in said[1]
    assert any("Of these 6 effects, 1 have" in each and "0.3 would by chance" in each for each in said)
    assert factorial.carried({"figures": {}}) == []
    few = outcome_of({name: 0.5 for name in ("none of them", "L_dom")})
    tables = {name: {key: column.tolist() for key, column in table.items()} for name, table in effects(few).items()}
    assert factorial.carried({"figures": tables})[0].endswith("over 1 pair.")
    apart = outcome_of({name: 0.5 for name in ("none of them", "L_dom + L_auc")})
    tables = {name: {key: column.tolist() for key, column in table.items()} for name, table in effects(apart).items()}
    assert factorial.carried({"figures": tables}) == ["No two of these rows differ in one part alone."]
