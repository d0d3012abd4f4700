"""Differences over worlds: whether a conclusion holds for other people, forgeries and cameras too."""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

from did.errors import DidError
from did.paper.records import NO_REPRODUCTION, Record, columns, comparisons, frame, plain, took, verdict
from did.training.provenance import stamp


def numbers(text: str) -> list[int]:
    """Return the worlds that a text such as `1-10` or `1,3,8` names.

    Raises:
        DidError: If it or a part of it names none, or it names one twice or one below 1.

    Examples:
        >>> numbers("1-3,7")
        [1, 2, 3, 7]
    """
    found: list[int] = []
    for each in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", each)
        if not ends or int(ends[2] or ends[1]) < int(ends[1]):
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
        a, b, test, difference, low, high, p, worlds, above (in how many it is above 0), so; one row per pair and test.
        One world has neither interval nor p.

    Raises:
        DidError: If two records are of one world, or of two experiments.
    """
    if len({entry["bank"] for entry in entries}) < len(entries) or len({e["experiment"] for e in entries}) != 1:
        raise DidError("differences over worlds need one record of one experiment per world")
    rows = []
    for (a, b, test), of in comparisons(entries).groupby(["a", "b", "test"], sort=False):
        over = _over(of.difference)
        so = verdict(over["low"], over["high"]) if len(of) > 1 else "undecided"
        rows.append({"a": a, "b": b, "test": test, "difference": over["mean"],
                     **{name: over[name] for name in ("low", "high", "p")},
                     "worlds": len(of), "above": int(np.sum(of.difference > 0)), "so": so})  # fmt: skip
    return pd.DataFrame(rows)


def _over(values: pd.Series) -> dict[str, float]:
    """Return mean, the ends of the 95% t interval, and the p of a mean of 0, over worlds."""
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return {"mean": mean, "low": math.nan, "high": math.nan, "p": math.nan}
    error = float(values.std()) / math.sqrt(n)
    half = float(t.ppf(0.975, n - 1)) * error
    p = 2 * float(t.sf(abs(mean) / error, n - 1)) if error else float(not mean)
    return {"mean": mean, "low": mean - half, "high": mean + half, "p": p}


def combined(entries: Sequence[Record], sentences: Sequence[Callable[[Record], list[str]]] = ()) -> Record:
    """Combine the records that an experiment has in several worlds: means over worlds, with t intervals over them.

    Args:
        entries: one record per world, in the order of the worlds.
        sentences: what is said of the whole.

    Returns:
        A record whose `rows` and `differences` are over worlds; the figure `worlds` keeps each world's difference: a,
        b, test, world, difference, low, high (over people and seeds, within the world).

    Raises:
        DidError: If a row is not in every world; see `over_worlds` too.
    """
    first, apart = entries[0], over_worlds(entries)
    somewhere = list(dict.fromkeys(row for entry in entries for row in entry["runs"]))
    if lacking := [row for row in somewhere if any(row not in entry["runs"] for entry in entries)]:
        raise DidError(f"not run in every world: {', '.join(lacking)}; train them there, or name the other rows")
    named = [int(entry["bank"].rpartition("world")[2]) for entry in entries]
    said = f"worlds {named[0]} to {named[-1]}" if len(named) > 1 else f"world {named[0]}"

    def without(text: str) -> str:
        return re.sub(r", world \d+", "", text)

    keys = ["row", "runs_on", "test", "level", "metric"]
    whole = pd.concat([frame(entry["rows"]) for entry in entries])
    rows = [
        {**dict(zip(keys, place, strict=True)), "ours": (over := _over(of.ours))["mean"],
         "low": over["low"], "high": over["high"], "std": math.nan,  # it would be that over seeds
         "seeds": int(of.seeds.min()), "paper": math.nan, "run_here": True}
        for place, of in whole.groupby(keys, sort=False)
    ]  # fmt: skip
    each = [comparisons([entry]).assign(world=number) for entry, number in zip(entries, named, strict=True)]
    worlds = pd.concat(each, ignore_index=True)[["a", "b", "test", "world", "difference", "low", "high"]]
    data = {name: f"{without(label)}, {said}" for name, label in first["data"].items()}
    made = [entry["provenance"] for entry in entries]
    minutes, before = (sum(one[name] for one in made) for name in ("minutes", "minutes_runs"))
    runs = {row: [name for entry in entries for name in entry["runs"][row]] for row in first["runs"]}
    spent = took(minutes, before, sum(map(len, runs.values())))
    under = stamp(NO_REPRODUCTION + "; ".join(data.values()), first["preset"], first["seeds"], spent)
    protocol = without(first["protocol"]).rpartition("; ")[0]
    entry: Record = {
        **first,
        "bank": first["bank"].partition("-world")[0],
        "data": data,
        "protocol": f"{protocol}; {said}; 95% intervals over worlds",
        "rows": plain(pd.DataFrame(rows)),
        "differences": plain(apart.assign(level="frame", seeds=len(first["seeds"]), paper=math.nan)),
        "figures": {"worlds": columns(worlds)},
        "runs": runs,
        "provenance": {
            **made[0],
            "minutes": minutes,
            "minutes_runs": before,
            "commits": sorted({commit for one in made for commit in one["commits"]}),
            "stamp": under,
        },
    }
    return entry | {"sentences": [sentence for say in sentences for sentence in say(entry)]}
