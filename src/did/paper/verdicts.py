"""Verdicts: whether a claim of the paper holds in a record."""

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from did.paper import tables
from did.paper.experiments import EXPERIMENTS
from did.paper.records import _numbers, _once, kind


def _in_order(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As in the paper; a record of an experiment that is no more is left out."""
    return [entry for name in EXPERIMENTS for entry in entries if entry["experiment"] == name]


def label(name: str) -> str:
    """`Table 1`, from an experiment's name."""
    title = EXPERIMENTS[name].title
    return title.split(":")[0] if ":" in title else "Open choices"


def comparisons(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Every compared difference of frame AUCs: experiment, of (its label), a, b, test, difference, std, low, high,
    seeds, paper (the published difference, or NaN), kind, so (see `findings.verdict`)."""
    rows = [
        {"experiment": entry["experiment"], "of": label(entry["experiment"]), **row, "kind": kind(entry),
         "so": tables.verdict(row["low"], row["high"])}
        for entry in _in_order(entries) for row in _numbers(entry["differences"]) if row["level"] == "frame"
    ]  # fmt: skip
    columns = "experiment of a b test level difference std low high seeds paper kind so".split()
    return pd.DataFrame(rows, columns=columns).drop(columns="level")


#: How `holds` begins.
ANSWERS = ("Yes", "In part", "No", "Undecided", "Not tested")


def holds(entry: dict[str, Any]) -> list[str]:
    """Whether the paper's claim holds in a record, in plain words: the first begins with one of `ANSWERS`.

    A claim that one system is ahead of another is put to the test by those pairs in which the paper's own numbers have
    it ahead: *yes* where every interval lies above 0, *no* where none does and at least one lies below, *in part* where
    some lie above, *undecided* where all hold 0. Fig. 5 to 7 claim something else: `_domains`, `_maps`, `_features`.
    """
    special = {"fig5_domains": _domains, "fig6_saliency": _maps, "fig7_embeddings": _features}.get(entry["experiment"])
    said = [special(_numbers(entry["rows"]))] if special else [_ahead(comparisons([entry]))]
    # Between words: "RL" is no part of another name.
    words = set(re.findall(r"[\w-]+", entry["claim"]["quote"]))
    absent = _once(row["row"] for row in entry["rows"] if not row["run_here"] and row["row"] in words)
    if absent:
        said.append(f"Named by the claim and not run here: {', '.join(absent)}.")
    return said


def _ahead(found: pd.DataFrame) -> str:
    claimed = found[found.paper > 0]
    if not len(claimed):
        return "Not tested: no pair ran here for which the paper prints numbers."
    pairs = {
        so: [f"{row.a} − {row.b} on {row.test}" for row in part.itertuples()] for so, part in claimed.groupby("so")
    }
    above, below, zero = (len(pairs.get(so, [])) for so in ("ahead", "behind", "undecided"))
    answer = "Undecided"
    if above == len(claimed):
        answer = "Yes"
    elif above:
        answer = "In part"
    elif below:
        answer = "No"
    counts = [f"{above} above 0", f"{below} below 0", f"{zero} undecided"]
    named = "; ".join(f"{so}: {', '.join(pairs[so])}" for so in ("ahead", "behind") if so in pairs)
    many = f"of {len(claimed)} pairs in which the paper's numbers have the first ahead, {', '.join(counts)}"
    return f"{answer}: {many}{f' ({named})' if named else ''}."


def _domains(rows: Sequence[dict[str, Any]]) -> str:
    """Fig. 5: the mean accuracy is the published one or more, and FaceSwap is told best."""
    of = {row["row"]: row for row in rows if row["metric"] == "accuracy"}
    if "mean" not in of:
        return "Not tested: the record has no accuracy of the domains."
    mean = of.pop("mean")
    best = max(of, key=lambda name: of[name]["ours"])
    high_enough = mean["high"] >= mean["paper"]
    published = max((name for name in of if not math.isnan(of[name]["paper"])), key=lambda name: of[name]["paper"])
    answer = {2: "Yes", 1: "In part", 0: "No"}[int(high_enough) + int(best == published)]
    where = "reaches" if high_enough else "lies below"
    return (
        f"{answer}: the mean, {tables.digits(mean['ours'], mean['low'], mean['high'])}, {where} the published "
        f"{mean['paper']:.3f}; told best is {best}"
        + (", as published." if best == published else f", not {published}.")
    )


def _maps(rows: Sequence[dict[str, Any]]) -> str:
    """Fig. 6: the two maps differ in how much of them lies inside the forged region, by more than their intervals."""
    of = {(row["row"], row["test"]): row for row in rows if not math.isnan(row.get("area", math.nan))}
    apart, found = 0, 0
    for (name, test), mine in of.items():
        other = of.get((name.replace("I_df on ", "I_dom on "), test))
        if name.startswith("I_df on ") and other:
            found += 1
            apart += mine["low"] > other["high"] or other["low"] > mine["high"]
    if not found:
        return "Not tested: no forged region is known."
    answer = "Yes" if apart == found else "In part" if apart else "No"
    return (
        f"{answer}: for {apart} of {found} methods the two maps differ clearly in how much of them lies inside the "
        "forged region; that is one number of a place, not the place."
    )


def _features(rows: Sequence[dict[str, Any]]) -> str:
    """Fig. 7: a line reads real from fake better from I_df than from the plain backbone, by more than the seeds'
    spread. It has no interval."""
    of = {(row["row"], row["test"]): row for row in rows if row["metric"] == "probe accuracy"}
    ours, plain = of.get(("DID: label", "I_df")), of.get(("BCE: label", "I_X"))
    if not ours or not plain:
        return "Not tested: the record has no probes."
    gain, spread = ours["ours"] - plain["ours"], max(ours["std"], plain["std"])
    words = f"a line reads real from fake {gain:+.3f} better from I_df than from the plain backbone"
    if math.isnan(spread):
        return f"Undecided: {words}; one seed has no spread to measure that by."
    answer = "Undecided" if abs(gain) <= spread else "Yes" if gain > 0 else "No"
    return f"{answer}: {words}; over seeds either spreads by up to {spread:.3f}."
