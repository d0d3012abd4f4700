"""What a table could have told: the smallest difference that its people and seeds find, and how many more are needed.

The variance of a difference has two parts, one over people and one over seeds. The first falls with the number of
people, the second with the number of seeds; both were measured with the difference itself
(`did.evaluation.difference_over_seeds`).
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy.stats import t

from did.paper.records import Record

#: The chance that a difference of the size in question is found.
POWER, LEVEL = 0.8, 0.05
#: No search goes beyond this.
MOST = 100_000


def smallest(row: Mapping[str, Any], people: int | None = None, seeds: int | None = None) -> float:
    """Return the smallest difference that is found with 80% power by a two-sided test at .05.

    Args:
        row: a measured difference: people, seeds, var_people and var_seeds.
        people, seeds: others than those of the row. With one seed the answer is conditional on it.

    Returns:
        (t(.975) + t(.8)) times the standard error; NaN if the row has no variances, or for several seeds from one.
    """
    if row.get("var_people") is None or math.isnan(row["var_people"]):
        return math.nan
    many, runs = people or int(row["people"]), seeds or int(row["seeds"])
    if runs > 1 and row["seeds"] < 2:
        return math.nan
    over_people = row["var_people"] * row["people"] / many
    over_seeds = row["var_seeds"] * row["seeds"] / runs if runs > 1 else 0.0
    total = over_people + over_seeds
    if total == 0:
        return 0.0
    df = total**2 / (over_people**2 / max(many - 1, 1) + over_seeds**2 / max(runs - 1, 1))
    return float((t.ppf(1 - LEVEL / 2, df) + t.ppf(POWER, df)) * math.sqrt(total))


def needed(row: Mapping[str, Any], effect: float) -> tuple[int | None, int]:
    """Return how many people, and how many seeds, it takes to find an effect with 80% power.

    The number of seeds is the row's own if people alone can do it, otherwise the next one up to 100 that can.

    Args:
        row: as for `smallest`.
        effect: the difference to be found, such as the paper's.

    Returns:
        (people, seeds); people is None if 100 seeds and `MOST` people are not enough.
    """
    first = int(row["seeds"])
    for seeds in (first, *(n for n in (3, 5, 10, 20, 50, 100) if n > first and first > 1)):
        if smallest(row, MOST, seeds) <= abs(effect):
            low, high = 2, MOST
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if smallest(row, middle, seeds) <= abs(effect) else (middle + 1, high)
            return low, seeds
    return None, first


def table(entry: Record, people: int | None = None, seeds: int | None = None) -> pd.DataFrame:
    """Tabulate the power of each compared difference of a record, per frame.

    Args:
        entry: the record.
        people, seeds: others than those of the record.

    Returns:
        One row per difference: a, b, test, difference, people, seeds, smallest (see `smallest`), paper (the published
        difference, or NaN), people needed and seeds needed for the published difference, if there is one.
    """
    rows = []
    for row in entry["differences"]:
        if row["level"] != "frame":
            continue
        paper = math.nan if row["paper"] is None else row["paper"]
        known = row.get("var_people") is not None and abs(paper) > 0  # NaN, where nothing is published, is not.
        most, runs = needed(row, paper) if known else (None, None)
        rows.append({"a": row["a"], "b": row["b"], "test": row["test"], "difference": row["difference"],
                     "people": people or row.get("people"), "seeds": seeds or row["seeds"],
                     "smallest": smallest(row, people, seeds), "paper": paper, "people needed": most,
                     "seeds needed": runs})  # fmt: skip
    return pd.DataFrame(rows)
