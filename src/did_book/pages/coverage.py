"""The page on the intervals: how they are made, and how often they contained the truth in `benchmarks/coverage.py`."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binom

from did.data.table import read_csv
from did.errors import DidError

#: The study's table.
FILE = "benchmarks/results/coverage.csv"
_INTRO = """# Can the intervals be trusted?

Every number of a detector in this book has a 95% interval. It answers a question: within which limits would the number
lie with other test people and, if there are several runs, with other seeds?

**People are drawn, not videos.** A person's real clip and the forgeries of it are much alike, and so are the frames of
a clip. Drawing videos, or frames, would count one person several times and give intervals that are too narrow. The unit
is the pair of people who swap with each other in FaceForensics++, the target in Celeb-DF, and the picture in DFFD and
DiFF ({py:func}`did.evaluation.intervals.people`).

**Seeds count too.** The variance of a mean over runs is the variance over draws of people plus the variance over seeds
divided by their number. The interval is a t interval on the logit scale, with Welch and Satterthwaite's degrees of
freedom ({py:func}`did.evaluation.intervals.ends`). With one seed, it is conditional on that seed. The interval of a
difference of two detectors pairs people and seeds ({py:func}`did.evaluation.intervals.ends_of_difference`).

**How often do they contain the truth?** `python benchmarks/coverage.py` (10 minutes on 2 cores) makes worlds in which
the truth is known and counts. The share should be .95.
"""


def coverage_page(root: Path) -> str:
    """Return the page as MyST text.

    Args:
        root: the project.

    Raises:
        DidError: If the study's table is missing.
    """
    file = root / FILE
    if not file.is_file():
        raise DidError(f"there is no {FILE}: make it with `python benchmarks/coverage.py`")
    table = read_csv(file)
    numbers = table.apply(pd.to_numeric)
    worlds = f"{int(numbers.worlds.min())} worlds per cell, {len(numbers)} cells"
    parts = [
        _INTRO,
        "Share of worlds whose interval contains the truth, mean over cells [least, most], by people and seeds; "
        f"{worlds}.\n",
        _by_size(numbers, "auc", "The AUC of a detector"),
        _by_size(numbers, "difference", "The difference of two detectors"),
        _outside(numbers),
        _old(numbers),
    ]
    return "\n".join(parts)


def _by_size(table: pd.DataFrame, column: str, title: str) -> str:
    seeds = sorted(table.seeds.unique())
    lines = [
        f"| {title}: people | " + " | ".join(f"{n} seed{'s' if n > 1 else ''}" for n in seeds) + " |",
        "|---" * (len(seeds) + 1) + "|",
    ]
    for people, of in table.groupby("people"):
        cells = []
        for n in seeds:
            rates = of[of.seeds == n][column]
            cells.append(f"{rates.mean():.3f} [{rates.min():.3f}, {rates.max():.3f}]" if len(rates) else "-")
        lines.append(f"| {people} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _outside(table: pd.DataFrame) -> str:
    """Say how many cells are near .95, and where the interval is too narrow."""
    rates = table.melt(["people", "seeds", "worlds"], ["auc", "difference"], value_name="rate")
    near = rates.rate.between(0.93, 0.97)
    chance = float(np.mean([binom.cdf(0.97 * n, n, 0.95) - binom.cdf(0.93 * n - 1, n, 0.95) for n in rates.worlds]))
    low = rates.loc[rates.rate.idxmin()]
    return (
        f"Of {len(rates)} shares, {int(near.sum())} lie between .93 and .97; if every interval were exact, "
        f"{chance * len(rates):.0f} would, because the number of worlds is finite. The lowest is {low.rate:.3f}, with "
        f"{int(low.people)} people and {int(low.seeds)} seeds. Where people are many and seeds few, the interval is "
        "somewhat too narrow: two or three seeds say little about how much seeds differ.\n"
    )


def _old(table: pd.DataFrame) -> str:
    """Compare with the interval up to version 0.1, on equal detectors."""
    equal = table[(table.auc_a == table.auc_b) & table["difference, over videos"].notna()]
    if not len(equal):
        return ""
    lines = [
        "Two detectors that are equal should be called different in 5 of 100 cases. The percentile interval over "
        "videos and seeds, which this project used up to version 0.1, does so in more:\n",
        "| seeds | over videos (0.1) | over people (now) |",
        "|---|---|---|",
    ]
    for seeds, of in equal.groupby("seeds"):
        before, now = 1 - of["difference, over videos"].mean(), 1 - of["difference"].mean()
        lines.append(f"| {seeds} | {100 * before:.0f} of 100 | {100 * now:.0f} of 100 |")
    return "\n".join(lines) + "\n"
