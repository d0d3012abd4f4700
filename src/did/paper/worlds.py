"""Differences over worlds: whether a conclusion holds for other people, forgeries and cameras too."""

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

from did.errors import DidError
from did.paper.records import Record, comparisons, verdict


def numbers(text: str) -> list[int]:
    """Return the worlds that a text such as `1-10` or `1,3,8` names.

    Raises:
        DidError: If it names none, one twice, or one below 1.

    Examples:
        >>> numbers("1-3,7")
        [1, 2, 3, 7]
    """
    found: list[int] = []
    for each in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", each)
        if not ends:
            raise DidError(f"worlds are whole numbers from 1 up, such as 1-10 or 1,3,8, not {text!r}")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    if not found or min(found) < 1 or len(set(found)) < len(found):
        raise DidError(f"worlds are different whole numbers from 1 up, such as 1-10 or 1,3,8, not {text!r}")
    return found


def over_worlds(entries: Sequence[Record]) -> pd.DataFrame:
    """Average each compared difference over worlds, with its 95% t interval over them.

    A world is one draw: people, seeds and forgeries within it are part of what differs from one to the next, so that
    nothing else enters the interval.

    Args:
        entries: one record of an experiment per world.

    Returns:
        a, b, test, difference, low, high, worlds, above (in how many it is above 0), so; one row per pair and test. One
        world has no interval.

    Raises:
        DidError: If two records are of one world, or of two experiments.
    """
    if len({entry["bank"] for entry in entries}) < len(entries) or len({e["experiment"] for e in entries}) != 1:
        raise DidError("differences over worlds need one record of one experiment per world")
    rows = []
    for (a, b, test), of in comparisons(entries).groupby(["a", "b", "test"], sort=False):
        mean, n = float(of.difference.mean()), len(of)
        half = float(t.ppf(0.975, n - 1) * of.difference.std() / math.sqrt(n)) if n > 1 else math.nan
        so = verdict(mean - half, mean + half) if n > 1 else "undecided"
        rows.append({"a": a, "b": b, "test": test, "difference": mean, "low": mean - half, "high": mean + half,
                     "worlds": n, "above": int(np.sum(of.difference > 0)), "so": so})  # fmt: skip
    return pd.DataFrame(rows)
