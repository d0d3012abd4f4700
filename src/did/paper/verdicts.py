"""Sentences on a record, and whether the paper's claim holds in it; an experiment names those that are its own.

Each function takes a record with rows, differences and figures. `conduct` calls it once and keeps what it says.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from did.paper.published import FIGURE_5
from did.paper.records import Record, comparisons, frame, part
from did.paper.tables import digits

# --- sentences ----------------------------------------------------------------------------------------------------

_SO = {
    "ahead": "The interval lies above 0: the claim holds here.",
    "behind": "The interval lies below 0: here it is the other way round.",
    "undecided": "The interval contains 0: these runs do not decide it.",
}


def _seeds(number: int) -> str:
    return "one seed" if number == 1 else f"{number} seeds"


def _ran(record: Record) -> pd.DataFrame:
    """Return the rows that were run here, per frame."""
    rows = frame(record["rows"])
    return rows[rows.run_here.astype(bool) & (rows.level == "frame")] if len(rows) else rows


def compared(record: Record) -> list[str]:
    """Say the first difference, and how all of them lie."""
    found = comparisons([record])
    if not len(found):
        return []
    first = found[(found.a == found.a.iloc[0]) & (found.b == found.b.iloc[0])]
    parts = [
        f"on {row.test} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        + (f" (published: {row.paper:+.3f})" if math.isfinite(row.paper) else "")
        for row in first.itertuples()
    ]
    pair, number = f"{first.a.iloc[0]} less that of {first.b.iloc[0]}", _seeds(int(first.seeds.iloc[0]))
    said = [f"AUC of {pair}, {number}: {', '.join(parts)}."]
    so = found.so.tolist()
    if len(so) == 1:
        return [*said, _SO[so[0]]]
    said.append(
        f"Of the {len(so)} differences compared here, {so.count('ahead')} lie above 0 with their whole interval, "
        f"{so.count('behind')} lie below, and {so.count('undecided')} contain 0: these runs do not decide those."
    )
    return said


def backbones(record: Record) -> list[str]:
    """Say which row ran on which backbone if there are several: it may not be the one that the row is named after."""
    ran = _ran(record)
    if not len(ran) or ran.runs_on.nunique() < 2:
        return []
    parts = [f"{', '.join(dict.fromkeys(of.row))} on {backbone}" for backbone, of in ran.groupby("runs_on", sort=False)]
    return [f"What ran here: {'; '.join(parts)}."]


def choices(record: Record) -> list[str]:
    """Say which choices differ from the default by more than their interval."""
    found = comparisons([record])
    clear = found[found.so != "undecided"]
    said = [
        f"{row.a} on {row.test}: {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}] against the default."
        for row in clear.itertuples()
    ]
    seeds = _seeds(int(found.seeds.max())) if len(found) else "no seed"
    return [
        *said,
        f"Of {len(found)} differences from the default, {len(clear)} have intervals that do not contain 0; if no "
        f"choice mattered, about {0.05 * len(found):.1f} would by chance. They are from {seeds}.",
    ]


def drop(record: Record) -> list[str]:
    """Say how far each detector falls from FF++ to CDF2 (Table 1)."""
    drops = {name: of.set_index("test").ours for name, of in _ran(record).groupby("row", sort=False)}
    said = ", ".join(f"{name} from {of['FF++']:.3f} to {of['CDF2']:.3f}" for name, of in drops.items())
    return [f"From FF++ to CDF2, AUC goes for {said}."]


def alpha_zero(record: Record) -> list[str]:
    """Say where the AUC loss alone ends, and which α has the highest mean (Fig. 4)."""
    ran = _ran(record)
    zero = ran[ran.row == "α = 0"]
    if not len(zero):
        return []
    at, top = zero.iloc[0], ran.loc[ran.ours.idxmax()]
    where = "above" if at.low > 0.5 else "below" if at.high < 0.5 else "not told from"
    return [
        f"α = 0, the AUC loss alone, gives {digits(at.ours, at.low, at.high)} on CDF2, {where} chance; published: "
        f"{at.paper:.3f}. The highest mean is that of {top.row}, {top.ours:.3f}."
    ]


def estimates(record: Record) -> list[str]:
    """Say whether T sees anything at the end under either reading of its own step (Table 4)."""
    said = []
    for row in part(record, "state").to_dict("records"):
        if row["row"].startswith("DID") and math.isfinite(estimate := row["estimate"]):
            ratio = row["gradient from T"] / row["gradient from C"]
            how = "sees nothing" if estimate < -1.3 else "tells nearly every pair" if estimate > -0.1 else "tells some"
            said.append(f"{row['row']}: the estimate ends at {estimate:.3f}, so that T {how}, and T's gradient at G is "
                        f"{100 * ratio:.3f}% of C's.")  # fmt: skip
    return [" ".join(said)] if said else []


def _domains(record: Record) -> tuple[pd.Series, pd.DataFrame, str, str]:
    """Return the mean, the domains, and the best recognised domain here and in the paper (Fig. 5)."""
    of = frame(record["rows"]).set_index("row")
    printed = {name: number for name, number in FIGURE_5.items() if name != "mean"}
    domains = of.drop(index="mean")
    return of.loc["mean"], domains, domains.ours.idxmax(), max(printed, key=lambda name: printed[name])


def domains(record: Record) -> list[str]:
    """Say how well domains are recognised, and which one best (Fig. 5)."""
    mean, of, best, published = _domains(record)
    return [
        f"The mean accuracy over domains is {digits(mean.ours, mean.low, mean.high)} over {_seeds(int(mean.seeds))}; "
        f"published: {mean.paper:.3f}, chance: {1 / len(of):.3f}.",
        f"The domain told best is {best} ({digits(*of.loc[best, ['ours', 'low', 'high']])}); in the paper it "
        f"is {published} ({FIGURE_5[published]:.3f}).",
    ]


def _shares(record: Record) -> dict[str, pd.DataFrame]:
    """Return the rows of each of the two maps, by method and test, if any forged region is known (Fig. 6)."""
    found: dict[str, list[Any]] = {}
    for row in record["rows"]:
        name, _, method = row["row"].partition(" on ")
        if row.get("area") is not None:
            found.setdefault(name, []).append({**row, "place": f"{method} of {row['test']}"})
    return {name: frame(rows).set_index("place") for name, rows in found.items()}


def saliency(record: Record) -> list[str]:
    """Say how much of each map lies inside the forged region, and whether the two maps differ (Fig. 6)."""
    said, shares = [], _shares(record)
    for name, claim in (("I_dom", "captures the forged region"), ("I_df", "is at what all forgeries share")):
        if name in shares:
            of = shares[name]
            said.append(
                f"{name}, which by the paper {claim}, puts {of.ours.mean():.3f} of its map into the forged region, "
                f"which covers {of.area.mean():.3f} of the crop; its interval lies above the area for "
                f"{int((of.low > of.area).sum())} of {len(of)} methods."
            )
    likeness = part(record, "likeness")
    between, within = likeness["I_df with I_dom"].mean(), likeness["I_df with another face's I_df"].mean()
    if not math.isfinite(between):
        return [*said, "One map of each face, or both, are 0 everywhere: nothing to compare."]
    differ = "less than" if between < within else "as much as, or more than,"
    said.append(
        f"The two maps of a face correlate by {between:.3f}, {differ} the same map on two faces of a method "
        f"({within:.3f})."
    )
    return said


def features(record: Record) -> list[str]:
    """Say how the classes lie in the features, and what a line reads from them (Fig. 7)."""
    rows = frame(record["rows"]).set_index(["row", "test"])
    label, plain = rows.ours["DID: label", "I_df"], rows.ours["BCE: label", "I_X"]
    domain, chance = rows.loc[("DID: domain", "I_df"), ["ours", "chance"]]
    shapes = ", ".join(f"{row.features} {row.silhouette:.3f}" for row in part(record, "silhouettes").itertuples())
    return [
        f"Silhouettes in the features themselves: {shapes}. A line reads real from fake with accuracy {label:.3f} "
        f"from I_df and {plain:.3f} from the features of the backbone trained with BCE.",
        f"From I_df, which should hold nothing of the method, a line reads the domain with accuracy {domain:.3f} "
        f"(chance {chance:.3f}), from I_dom with {rows.ours['DID: domain', 'I_dom']:.3f}: I_df "
        + ("still tells the methods apart here." if domain - chance > 0.1
           else "tells the methods little better than chance here."),
    ]  # fmt: skip


# --- does the claim hold? -----------------------------------------------------------------------------------------

#: How a verdict begins.
ANSWERS = ("Yes", "In part", "No", "Undecided", "Not tested")


def holds(record: Record, decide: Callable[[Record], str]) -> list[str]:
    """Return whether the paper's claim holds in a record, in plain words: the first begins with one of `ANSWERS`.

    Args:
        record: with the claim.
        decide: the experiment's own way to tell; `ahead`, unless it claims something else.
    """
    # Between words: "RL" is not part of another name.
    words = set(re.findall(r"[\w-]+", record["claim"]["quote"]))
    absent = dict.fromkeys(row["row"] for row in record["rows"] if not row["run_here"] and row["row"] in words)
    return [decide(record), *([f"Named by the claim and not run here: {', '.join(absent)}."] if absent else [])]


def ahead(record: Record) -> str:
    """Decide a claim that one system is ahead, by those pairs in which the paper's own numbers have the first ahead.

    *Yes* if every interval lies above 0, *no* if none does and at least one lies below, *in part* if some lie above,
    *undecided* if all contain 0.
    """
    found = comparisons([record])
    claimed = found[found.paper > 0]
    if not len(claimed):
        return "Not tested: no pair ran here for which the paper prints numbers."
    pairs = {so: [f"{row.a} − {row.b} on {row.test}" for row in of.itertuples()] for so, of in claimed.groupby("so")}
    above, below, zero = (len(pairs.get(so, [])) for so in ("ahead", "behind", "undecided"))
    answer = "Yes" if above == len(claimed) else "In part" if above else "No" if below else "Undecided"
    counts = [f"{above} above 0", f"{below} below 0", f"{zero} undecided"]
    named = "; ".join(f"{so}: {', '.join(pairs[so])}" for so in ("ahead", "behind") if so in pairs)
    many = f"of {len(claimed)} pairs in which the paper's numbers have the first ahead, {', '.join(counts)}"
    return f"{answer}: {many}{f' ({named})' if named else ''}."


def domains_told(record: Record) -> str:
    """Decide Fig. 5: the mean accuracy is the published one or more, and the domain told best is the published one."""
    mean, _, best, published = _domains(record)
    high_enough = mean.high >= mean.paper
    answer = {2: "Yes", 1: "In part", 0: "No"}[int(high_enough) + int(best == published)]
    where = "reaches" if high_enough else "lies below"
    return (
        f"{answer}: the mean, {digits(mean.ours, mean.low, mean.high)}, {where} the published "
        f"{mean.paper:.3f}; told best is {best}" + (", as published." if best == published else f", not {published}.")
    )


def maps_apart(record: Record) -> str:
    """Decide Fig. 6: the maps differ in how much of them lies inside the forged region, beyond their intervals."""
    shares = _shares(record)
    if set(shares) != {"I_df", "I_dom"}:
        return "Not tested: no forged region is known."
    both = [(of, shares["I_dom"].loc[at]) for at, of in shares["I_df"].iterrows() if at in shares["I_dom"].index]
    apart = sum(of.low > other.high or other.low > of.high for of, other in both)
    answer = "Yes" if apart == len(both) else "In part" if apart else "No"
    return (
        f"{answer}: for {apart} of {len(both)} methods the two maps differ clearly in how much of them lies inside the "
        "forged region; that is one number of a place, not the place."
    )


def features_apart(record: Record) -> str:
    """Decide Fig. 7: a linear probe reads real from fake better from I_df than from the plain backbone.

    Better means by more than the seeds' spread; there is no interval.
    """
    of = frame(record["rows"]).set_index(["row", "test"])
    places = ("DID: label", "I_df"), ("BCE: label", "I_X")
    if not set(places) <= set(of.index):
        return "Not tested: the record has no probes."
    ours, plain = (of.loc[place] for place in places)
    gain, spread = ours.ours - plain.ours, max(ours["std"], plain["std"])
    words = f"a line reads real from fake {gain:+.3f} better from I_df than from the plain backbone"
    if math.isnan(spread):
        return f"Undecided: {words}; one seed has no spread to measure that by."
    answer = "Undecided" if abs(gain) <= spread else "Yes" if gain > 0 else "No"
    return f"{answer}: {words}; over seeds either spreads by up to {spread:.3f}."
