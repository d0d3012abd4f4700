"""What could have been told: by the formula, and by simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import t

from did.cli import main
from did.paper import power
from did.paper.records import save

ROW = {"a": "DID", "b": "BCE", "test": "CDF2", "level": "frame", "difference": 0.02, "low": -0.01, "high": 0.05,
       "p": 0.2, "std": 0.01, "seeds": 3, "people": 100, "var_people": 0.0004, "var_seeds": 0.0001,
       "paper": 0.03}  # fmt: skip


def test_the_smallest_difference_by_hand():
    total, df = 0.0005, 0.0005**2 / (0.0004**2 / 99 + 0.0001**2 / 2)
    assert power.smallest(ROW) == pytest.approx((t.ppf(0.975, df) + t.ppf(0.8, df)) * math.sqrt(total))
    assert power.smallest(ROW, people=400) < power.smallest(ROW) < power.smallest(ROW, people=50)
    assert power.smallest(ROW, seeds=10) < power.smallest(ROW)
    assert power.smallest(ROW, seeds=1) == pytest.approx((t.ppf(0.975, 99) + t.ppf(0.8, 99)) * 0.02, rel=1e-6)


def test_a_difference_of_that_size_is_found_in_80_of_100():
    """Many people, so that the t distribution's degrees of freedom are known and the test is exact."""
    row = {**ROW, "seeds": 1, "var_seeds": 0.0}
    size, rng = power.smallest(row), np.random.default_rng(0)
    scores = rng.normal(size, math.sqrt(0.0004 * 100), (4000, 100))
    statistic = scores.mean(1) / (scores.std(1, ddof=1) / 10)
    assert (np.abs(statistic) > t.ppf(0.975, 99)).mean() == pytest.approx(0.8, abs=0.03)


def test_what_is_needed_finds_the_effect_and_less_does_not():
    people, seeds = power.needed(ROW, 0.06)
    assert seeds == 3 and power.smallest(ROW, people) <= 0.06 < power.smallest(ROW, people - 1)
    more, further = power.needed(ROW, 0.02)
    assert further > 3 and power.smallest(ROW, more, further) <= 0.02 < power.smallest(ROW, power.MOST, 3)
    assert power.needed(ROW, 1e-5)[0] is None
    one = {**ROW, "seeds": 1, "var_seeds": 0.0}
    assert power.needed(one, 0.02)[1] == 1


def test_a_record_without_variances_has_no_power():
    assert math.isnan(power.smallest({**ROW, "var_people": None}))
    assert math.isnan(power.smallest({**ROW, "seeds": 1}, seeds=3)), "one seed says nothing about others"
    entry = {"differences": [{key: ROW[key] for key in ("a", "b", "test", "level", "difference", "seeds", "paper")}]}
    assert power.table(entry).smallest.isna().all()


@pytest.mark.parametrize("paper", [None, math.nan, 0.0])
def test_what_is_not_published_or_no_difference_needs_no_seeds(paper):
    table = power.table({"differences": [{**ROW, "paper": paper}, ROW]})
    assert table["people needed"].isna().tolist() == table["seeds needed"].isna().tolist() == [True, False]
    assert table.smallest.notna().all()


def test_the_command_prints_it_for_other_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    made = {
        "commit": "abc",
        "date": "2026-01-02",
        "machine": {"cores": 2, "gpu": None},
        "minutes": 1,
        "minutes_runs": 2,
    }
    entry = {"experiment": "table1_intra_cross", "title": "Table 1: x", "preset": "laptop", "edition": "stand-in",
             "bank": "drawn", "data": {}, "protocol": "", "seeds": [0, 1, 2], "rows": [], "differences": [ROW],
             "sentences": [], "runs": {}, "provenance": made}  # fmt: skip
    save(entry, tmp_path / "results")
    said = CliRunner().invoke(main, ["power", "table1_intra_cross", "--people", "400"], catch_exceptions=False).stdout
    assert "STAND-IN (drawn)" in said and f"{power.smallest(ROW, 400):.3f}" in said and " 400 " in said
    table = power.table(entry, people=400)
    pd.testing.assert_series_equal(table.people, pd.Series([400]), check_names=False)
    none = CliRunner().invoke(main, ["power", "table3_backbones"])
    assert none.exit_code == 1 and "there is no record of table3_backbones" in none.stderr
