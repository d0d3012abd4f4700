"""What a book made from nothing takes: how many runs each experiment adds, and how long these trained."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from did.paper import records
from did.paper.experiments import EXPERIMENTS
from did.paper.kept import RUNS, Kept, key
from did.paper.plan import plan
from did.settings import Settings


def training(names: Sequence[str] | None = None, cores: int = 2) -> pd.DataFrame:
    """Tabulate the training of preset laptop on drawn stand-ins, from the kept runs, which know their minutes.

    A run that several experiments need counts where it comes first. Kept runs were trained one to a core, with another
    one on the other core.

    Args:
        names: of the experiments, in their order; all by default.
        cores: that the minutes are divided by.

    Returns:
        experiment, runs (that no experiment above has), kept (how many of these are in `results/runs/`), minutes (of
        the kept ones, on so many cores). The last row is the sum.
    """
    kept = _minutes()
    seen: set[str] = set()
    rows = []
    for name in names or EXPERIMENTS:
        jobs = plan([name], "laptop", edition="stand-in")
        new = {_key(job.settings, job.task, dict(job.options), int(dict(job.open)["world"])) for job in jobs} - seen
        seen |= new
        there = [kept[one] for one in new if one in kept]
        rows.append({"experiment": name, "runs": len(new), "kept": len(there), "minutes": sum(there) / cores})
    found = pd.DataFrame(rows)
    whole = {"experiment": "all", **found[["runs", "kept", "minutes"]].sum()}
    return pd.concat([found, pd.DataFrame([whole])], ignore_index=True).astype({"runs": int, "kept": int})


def _key(settings: Settings, task: str, options: dict[str, Any], world: int) -> str:
    return key(settings, task, options, str(world))


def _minutes() -> dict[str, float]:
    """Return the minutes of each kept run on drawn stand-ins, with its tests."""
    found: dict[str, float] = {}
    # The project may be the checkout itself. Its own runs come last, and count.
    places = dict.fromkeys(place.resolve() for place in records.places()[::-1])
    for file in (file for place in places for file in sorted((place / RUNS).glob("*.json"))):
        one = Kept.read(file)
        label, _, world = one.record["data"]["label"].partition(", world ")
        if label.endswith("drawn faces"):
            own = one.record["data"]["source"]  # whose test is part of the run's minutes
            others = (test["provenance"]["minutes"] for name, test in one.content["tests"].items() if name != own)
            minutes = one.record["provenance"]["minutes"] + sum(others)
            found[_key(one.settings, one.record["task"], one.record["options"], int(world or 0))] = minutes
    return found
