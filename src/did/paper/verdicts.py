"""Sentences on a record, and whether the paper's claim holds in it; an experiment names those that are its own.

Each function takes a record with rows, differences and figures. `conduct` calls it once and keeps what it says.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
from scipy.stats import t

from did.paper import power
from did.paper.published import FIGURE_5
from did.paper.records import Record, comparisons, frame, part, verdict
from did.paper.tables import across_methods, digits, gap

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


def _twins(record: Record) -> dict[str, str]:
    """Return the rows whose runs are those of a row before, and that row: Xception is BCE on one backbone."""
    first: dict[tuple[str, ...], str] = {}
    known = {name: first.setdefault(tuple(runs), name) for name, runs in record.get("runs", {}).items()}
    return {name: other for name, other in known.items() if name != other}


def compared(record: Record) -> list[str]:
    """Say the first difference, and how all of them lie; rows with the same runs count once."""
    found, twins = comparisons([record]), _twins(record)
    if not len(found):
        return []
    alike = found[["a", "b"]].replace(twins).assign(test=found.test).duplicated()
    found = found[~alike]
    first = found[(found.a == found.a.iloc[0]) & (found.b == found.b.iloc[0])]
    parts = [
        f"on {row.test} {gap(row)}" + (f" (published: {row.paper:+.3f})" if math.isfinite(row.paper) else "")
        for row in first.itertuples()
    ]
    pair, number = f"{first.a.iloc[0]} less that of {first.b.iloc[0]}", _seeds(int(first.seeds.iloc[0]))
    said = [f"AUC of {pair}, {number}: {', '.join(parts)}."]
    so = found.so.tolist()
    if len(so) == 1:
        return [*said, _SO[so[0]]]
    said.append(
        f"Of the {len(so)} differences compared here, {so.count('ahead')} lie above 0 with their whole interval, "
        f"{so.count('behind')} lie below, and {so.count('undecided')} contain 0: these runs do not decide those. If no "
        f"two detectors differed, about {0.05 * len(so):.1f} of them would lie off 0 by chance."
    )
    if alike.any():
        same = ", ".join(f"{name} is {other}" for name, other in twins.items())
        said.append(f"On one backbone {same}: the same runs, whose differences are counted once.")
    return said


def powered(record: Record) -> list[str]:
    """Say the smallest difference that these people and seeds could have told, and what the paper's would take."""
    found = [row for row in power.table(record).to_dict("records") if 0 < row["smallest"] < 1]
    if not found:
        return []
    least, most = (pick(found, key=lambda row: row["smallest"]) for pick in (min, max))
    said = [f"A difference of {_found(least)} to {_found(most)} would have been found in 80% of cases."]
    hard = [row for row in found if row["paper"] > 0 and row["smallest"] > row["paper"]]
    for row in hard[:3]:
        what = f"To find the published {row['paper']:+.3f} of {row['a']} − {row['b']} on {row['test']}"
        if row["people needed"] is None or math.isnan(row["people needed"]):
            said.append(f"{what}, no number of people is enough with up to 100 seeds.")
        else:
            said.append(
                f"{what} takes about {int(row['people needed'])} units of people and "
                f"{_seeds(int(row['seeds needed']))}."
            )
    return said


def _found(row: dict[str, Any]) -> str:
    where = f"{row['a']} − {row['b']} on {row['test']}"
    return f"{row['smallest']:.3f} ({where}, {int(row['people'])} units of people, {_seeds(int(row['seeds']))})"


#: The frame AUC within FF++ from which on a detector counts as trained.
LEARNT = 0.85


def untrained(record: Record) -> pd.DataFrame:
    """Return the rows of the systems that have not learnt FF++ itself, per frame."""
    ran = _ran(record)
    return ran[(ran.test == "FF++") & (ran.metric == "auc") & (ran.ours < LEARNT)] if len(ran) else ran


def unlearnt(record: Record) -> list[str]:
    """Name the systems that have not learnt FF++ itself: a lead over them says little about generalising."""
    low = untrained(record)
    if not len(low):
        return []
    named = ", ".join(f"{row.row} {row.ours:.3f}" for row in low.itertuples())
    return [
        f"Below {LEARNT:.2f} on FF++ itself, where they were trained: {named}. A lead over these says little about "
        "generalising."
    ]


def backbones(record: Record) -> list[str]:
    """Say which row ran on which backbone if there are several: it may not be the one that the row is named after."""
    ran = _ran(record)
    if not len(ran) or ran.runs_on.nunique() < 2:
        return []
    parts = [f"{network} for {', '.join(dict.fromkeys(of.row))}" for network, of in ran.groupby("runs_on", sort=False)]
    return [f"What ran here: {'; '.join(parts)}."]


def choices(record: Record) -> list[str]:
    """Say which choices differ from the default by more than their interval."""
    found = comparisons([record])
    clear = found[found.so != "undecided"]
    said = [f"{row.a} on {row.test}: {gap(row)} against the default." for row in clear.itertuples()]
    seeds = int(found.seeds.max()) if len(found) else 0
    chance = (
        f"if no choice mattered, about {0.05 * len(found):.1f} would by chance"
        if seeds > 1
        else "with one seed, the difference between two seeds can look like one between two choices"
    )
    return [
        *said,
        f"Of {len(found)} differences from the default, {len(clear)} have intervals that do not contain 0; {chance}.",
    ]


#: What a doubling of the length must add to the validation AUC for training to count as unfinished.
PLATEAU = 0.005


def lengths(record: Record) -> list[str]:
    """Say how DID's differences change from the shortest to the longest training, and where each system levels off.

    DID is better than another system where the difference lies above 0 after the longest training, and only learns
    faster where it does so after a shorter one alone. A system is at its plateau at the first length whose doubling
    adds less than `PLATEAU` to its validation AUC, within the source: no test set is asked.
    """
    of, found = part(record, "lengths").set_index("row"), comparisons([record])
    how = of.loc[found.a, ["augmentation", "iterations"]].reset_index(drop=True)
    found = found.assign(**how, other=[name.split(" ×")[0] for name in found.b])
    said: list[str] = []
    better: list[str] = []
    faster: list[str] = []
    for (other, augmentation), pairs in found.groupby(["other", "augmentation"], sort=False):
        parts = []
        kind = "without augmentation" if augmentation == "none" else f"with {augmentation} augmentation"
        for test, each in pairs.groupby("test", sort=False):
            *shorter, longest = each.sort_values("iterations").so
            if "ahead" in (longest, *shorter):
                (better if longest == "ahead" else faster).append(f"{other} on {test} {kind}")
            ends = each.sort_values("iterations").iloc[[0, -1] if len(each) > 1 else [0]]
            at = [f"{gap(row)} after {row.iterations} iterations"
                  for row in ends.itertuples()]  # fmt: skip
            parts.append(f"on {test} {' and '.join(at)}")
        said.append(f"DID − {other}, {kind}: {'; '.join(parts)}.")
    if said:
        said.append(
            f"By the rule, DID is better after the longest training than: {'; '.join(better) or 'none'}. It only "
            f"learns faster than: {'; '.join(faster) or 'none'}."
        )
    levels, early = [], []
    for (system, augmentation), each in of.groupby(["system", "augmentation"], sort=False):
        curve = each.sort_values("iterations").set_index("iterations")["validation AUC"]
        if len(curve) < 2:  # one length says nothing of a plateau
            continue
        flat = curve.index[:-1][(curve.diff().shift(-1).iloc[:-1] < PLATEAU).to_numpy()]
        name = system if augmentation == "none" else f"{system}, {augmentation}"
        levels.append(f"{name}: " + (f"{flat[0]}" if len(flat) else f"not by {curve.index[-1]}"))
        usual = each.iterations[each.index.str.contains(" ×1$| ×1,")]
        early += [name] if len(usual) and not (len(flat) and flat[0] <= usual.iloc[0]) else []
    if levels:
        said.append(
            f"Iterations after which a doubling adds less than {PLATEAU:g} to the validation AUC: {'; '.join(levels)}."
        )
    if early:
        said.append(
            f"Preset {record['preset']} stops {len(early)} of these {len(levels)} before their plateau "
            f"({'; '.join(early)}), so that its tables compare how far detectors have come by then."
        )
    if so := found.so.tolist():
        said.append(
            f"Of the {len(so)} differences, {so.count('ahead')} lie above 0, {so.count('behind')} below, and "
            f"{so.count('undecided')} contain 0; about {0.05 * len(so):.1f} would lie off 0 by chance."
        )
    return said


_FAILS = {
    "ahead": "The interval lies above 0: on forgeries of a kind that they never saw, they do fail here.",
    "behind": "The interval lies below 0: here they do better on the methods that they never saw.",
    "undecided": "The interval contains 0: these runs do not show that they fail on methods that they never saw.",
}


def methods(record: Record) -> list[str]:
    """Say what training with one method does."""
    table, drops = across_methods(record), part(record, "drops")
    own, other, both = (table[table.kind == kind] for kind in ("own", "other", "all"))
    mean, each = drops[drops.train == "mean"].iloc[0], drops[drops.train != "mean"]
    learnt = int((own.low > 0.5).sum())
    said = [
        f"On the method that they were trained on, the {len(own)} detectors have an AUC of {mean.own:.3f} on average; "
        f"on the methods that they never saw, {mean.others:.3f}. "
        f"That is a drop of {digits(mean['drop'], mean.low, mean.high)}.",
        f"{learnt} of {len(own)} detectors beat guessing on their own method with their whole interval."
        + ("" if learnt else " Nothing was learnt, so that nothing could fail: train longer, as at preset laptop."),
    ]
    if learnt:
        said.append(_FAILS[verdict(mean.low, mean.high)])
    for so, how in (
        ("ahead", "AUC drops"),
        ("behind", "AUC rises"),
        ("undecided", "The interval of the drop contains 0"),
    ):
        those = [row for row in each.itertuples() if verdict(row.low, row.high) == so]
        if those:
            names = ", ".join(f"{row.train} ({row.own - row.others:+.3f})" for row in those)
            said.append(f"{how} for {len(those)} of {len(each)}, trained on {names}.")
    worst, guessing = other.loc[other.auc.idxmin()], int((other.low <= 0.5).sum())
    said.append(
        f"Of the {len(other)} AUCs on a method that was never seen, {guessing} are not told from guessing, or lie "
        f"below it; the lowest is {digits(worst.auc, worst.low, worst.high)}, trained on {worst.train} and tested on "
        f"{worst.test}."
    )
    if len(both):
        said.append(f"One detector that was trained on all methods has {both.auc.mean():.3f} on average over them.")
    return said


def drop(record: Record) -> list[str]:
    """Say how far each detector falls from FF++ to CDF2 (Table 1)."""
    drops = {name: of.set_index("test").ours for name, of in _ran(record).groupby("row", sort=False)}
    said = ", ".join(f"{name} from {of['FF++']:.3f} to {of['CDF2']:.3f}" for name, of in drops.items())
    return [f"From FF++ to CDF2, the AUC changes as follows: {said}."]


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


def _sees(estimate: float) -> str:
    """Say what T sees at an estimate; see `did.paper.measures.final_state`."""
    return "sees nothing" if estimate < -1.3 else "tells nearly every pair" if estimate > -0.1 else "tells some pairs"


def players(state: pd.DataFrame) -> list[str]:
    """Say under which readings T works at the end of training, and who has won.

    Args:
        state: of `did.paper.measures.final_state`, a row per reading; those without T have no estimate.
    """
    with_t = state[state["estimate"].notna()]
    if not len(with_t):
        return ["T is in none of these rows."]
    groups = {words: list(part.index) for words, part in with_t.groupby(with_t["estimate"].map(_sees), sort=False)}
    said = [f"T {words} under {len(names)} of {len(with_t)} readings: {'; '.join(names)}."
            for words, names in groups.items()]  # fmt: skip
    share = with_t["gradient from T"] / with_t["gradient from C"]
    most = f"{share.max():.3g} times" if share.max() >= 1 else f"{100 * share.max():.2g}% of"
    said.append(f"T's gradient at G is at most {most} C's, under {share.idxmax()}.")
    if won := groups.get("tells nearly every pair"):
        said.append(f"Where T works it wins: under {'; '.join(won)} the features have not become independent.")
    elif "tells some pairs" not in groups:
        said.append("So nobody has won: T has not learnt, or has collapsed, and the features had nothing to resist.")
    return said


def game_ends(record: Record) -> list[str]:
    """Say under which readings T works at the end of training, and who has won; see `players`."""
    return players(part(record, "state").set_index("row"))


def estimates(record: Record) -> list[str]:
    """Say whether T sees anything at the end under either reading of its own step (Table 4)."""
    said = []
    for row in part(record, "state").to_dict("records"):
        if row["row"].startswith("DID") and math.isfinite(estimate := row["estimate"]):
            ratio = row["gradient from T"] / row["gradient from C"]
            how = _sees(estimate)
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
        f"The domain recognised best is {best} ({digits(*of.loc[best, ['ours', 'low', 'high']])}); in the paper it "
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
    """Say how the classes lie in the features, and what a linear probe reads from them (Fig. 7)."""
    rows = frame(record["rows"]).set_index(["row", "test"])
    label, plain = rows.ours["DID: label", "I_df"], rows.ours["BCE: label", "I_X"]
    domain, chance = rows.loc[("DID: domain", "I_df"), ["ours", "chance"]]
    shapes = ", ".join(f"{row.features} {row.silhouette:.3f}" for row in part(record, "silhouettes").itertuples())
    return [
        f"Silhouettes in the features themselves: {shapes}. A linear probe reads real from fake with accuracy "
        f"{label:.3f} from I_df and {plain:.3f} from the features of the backbone trained with BCE.",
        f"From I_df, which should hold nothing of the method, a linear probe reads the domain with accuracy "
        f"{domain:.3f} (chance {chance:.3f}), from I_dom with {rows.ours['DID: domain', 'I_dom']:.3f}: I_df "
        + ("still tells the methods apart here." if domain - chance > 0.1
           else "tells the methods little better than chance here."),
        *_domain_read(record),
    ]  # fmt: skip


def _domain_read(record: Record) -> list[str]:
    """Say whether the method is more or less readable from I_df than from features that were never split."""
    if "probes" not in record.get("figures", {}):
        return []
    gap, low, high = _paired(record, "domain", ("DID", "I_df"), ("BCE", "I_X"))
    if math.isnan(low):
        return [f"The domain is {gap:+.3f} more readable from I_df than from BCE's features, in one seed."]
    so = "more" if low > 0 else "less" if high < 0 else "neither more nor less"
    return [
        f"The domain is {so} readable from I_df than from BCE's features, which were never split: {gap:+.3f} "
        f"[{low:+.3f}, {high:+.3f}] over seeds. Independence of the method would make it less."
    ]


# --- does the claim hold? -----------------------------------------------------------------------------------------

#: How a verdict begins.
ANSWERS = ("Yes", "In part", "No", "Undecided", "Not tested")
#: What is decided of one pair, see `claims`.
VERDICTS = ("holds", "does not hold", "ruled out", "undecided")


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


def holm(p: pd.Series) -> pd.Series:
    """Correct p values for their number by Holm's method; they keep their order.

    Examples:
        >>> holm(pd.Series([0.04, 0.01])).tolist()
        [0.04, 0.02]
    """
    order = p.sort_values().index
    steps = [min(1.0, (len(p) - rank) * p[at]) for rank, at in enumerate(order)]
    return pd.Series(pd.Series(steps, dtype=float).cummax().to_numpy(), index=order).reindex(p.index)


def corrected(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return compared differences of which only those are told apart that survive Holm's correction over all of them.

    Args:
        pairs: from `did.paper.records.comparisons`. Where a record has no p, the interval alone tells.
    """
    pairs = pairs.reset_index(drop=True)
    return pairs.assign(so=pairs.so.where(pairs.p.isna() | (holm(pairs.p) <= 0.05), "undecided"))


def surviving(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the compared differences above 0 and those below, of those whose p survives Holm's correction over all.

    Args:
        pairs: from `did.paper.records.comparisons`.
    """
    sure = corrected(pairs)
    return sure[sure.so == "ahead"], sure[sure.so == "behind"]


def claims(record: Record) -> pd.DataFrame:
    """Decide each pair of which the paper's own numbers have the first ahead.

    The p values are corrected over the pairs by Holm's method, so that a table of many pairs does not hold by chance:

    - *holds*: ahead, and the corrected p is at most .05;
    - *does not hold*: behind, and the corrected p is at most .05;
    - *ruled out*: neither, and the interval excludes an effect as large as the paper's;
    - *undecided*: all others.

    Returns:
        a, b, test, difference, low, high, paper, p, holm (the corrected p) and verdict, one row per pair. Records up
        to version 0.1 have no p: there the interval alone decides.
    """
    found = comparisons([record])
    found = found[found.paper > 0].reset_index(drop=True)
    corrected = holm(found.p)
    decided = []
    for at, row in found.iterrows():
        sure = corrected[at] <= 0.05 if math.isfinite(row.p) else row.low > 0 or row.high < 0
        if sure:
            decided.append("holds" if row.difference > 0 else "does not hold")
        else:
            decided.append("ruled out" if row.high < row.paper else "undecided")
    columns = ["a", "b", "test", "difference", "low", "high", "paper", "p"]
    return found[columns].assign(holm=corrected, verdict=pd.Series(decided, index=found.index, dtype=object))


def weak(found: pd.DataFrame, record: Record) -> str:
    """Say how many claims hold against systems that have not learnt FF++ itself; nothing if none does.

    Args:
        found: from `claims`.
        record: with the systems' AUCs on FF++.
    """
    low = list(untrained(record).get("row", []))
    number = found.b[found.verdict == "holds"].isin(low).sum()
    return f" Of those that hold, {number} are against systems that have not learnt FF++ itself." if number else ""


def ahead(record: Record) -> str:
    """Decide a claim that one system is ahead, from its pairs (see `claims`).

    *Yes* if all hold, *in part* if some do, *no* if none does and one does not hold or all rule out an effect as large
    as the paper's, *undecided* otherwise.
    """
    found = claims(record)
    if not len(found):
        return "Not tested: no pair ran here for which the paper prints numbers."
    pairs = {so: [f"{row.a} − {row.b} on {row.test}" for row in of.itertuples()] for so, of in found.groupby("verdict")}
    hold, fail, out, open_ = (len(pairs.get(so, [])) for so in VERDICTS)
    answer = "Yes" if hold == len(found) else "In part" if hold else "No" if fail or out == len(found) else "Undecided"
    counts = f"{hold} hold, {fail} do not, {out} rule out an effect as large as the paper's, {open_} undecided"
    named = "; ".join(f"{so}: {', '.join(pairs[so])}" for so in VERDICTS[:3] if so in pairs)
    many = (
        f"of {len(found)} pairs in which the paper's numbers have the first ahead, {counts}, corrected over the pairs"
    )
    return f"{answer}: {many}{f' ({named})' if named else ''}.{weak(found, record)}"


def domains_told(record: Record) -> str:
    """Decide Fig. 5: the mean accuracy is at least the published one.

    *Yes* if the whole interval is, *no* if none of it is, else *undecided*. Which domain is recognised best is said
    beside it.
    """
    mean, _, best, published = _domains(record)
    answer = "Yes" if mean.low >= mean.paper else "No" if mean.high < mean.paper else "Undecided"
    where = {"Yes": "is at least", "No": "lies below", "Undecided": "is not told from"}[answer]
    return (
        f"{answer}: the mean, {digits(mean.ours, mean.low, mean.high)}, {where} the published "
        f"{mean.paper:.3f}; the domain recognised best is {best}"
        + (", as published." if best == published else f", not {published}.")
    )


def maps_apart(record: Record) -> str:
    """Decide Fig. 6: the maps of a face differ in how much of them lies inside the forged region.

    By the paired difference of each method, I_df less I_dom, with its interval over people.
    """
    if "apart" not in record.get("figures", {}):
        return "Not tested: no forged region is known, or the record is older than paired differences."
    found = part(record, "apart")
    if not len(found):
        return "Not tested: no method has maps of two people that could be compared."
    apart = int(((found.low > 0) | (found.high < 0)).sum())
    answer = "Yes" if apart == len(found) else "In part" if apart else "Undecided"
    shares = ", ".join(f"{row.method} {gap(row)}"
                       for row in found.itertuples())  # fmt: skip
    return (
        f"{answer}: for {apart} of {len(found)} methods the share of the map inside the forged region differs between "
        f"I_df and I_dom ({shares}); that is one number of a place, not the place."
    )


def _paired(record: Record, target: str, ours: tuple[str, str], theirs: tuple[str, str]) -> tuple[float, float, float]:
    """Return the difference of two probes' accuracies, paired by seed, with its t interval over seeds; NaN for one."""
    probes = part(record, "probes").query("target == @target")
    sides = [
        probes[(probes.row == row) & (probes.features == of)].set_index("seed").accuracy for row, of in (ours, theirs)
    ]
    gap = (sides[0] - sides[1]).dropna()
    if len(gap) < 2:
        return float(gap.mean()), math.nan, math.nan
    half = float(t.ppf(0.975, len(gap) - 1)) * gap.std() / math.sqrt(len(gap))
    return float(gap.mean()), float(gap.mean() - half), float(gap.mean() + half)


def features_apart(record: Record) -> str:
    """Decide Fig. 7: a linear probe reads real from fake better from I_df than from the plain backbone.

    By the difference of both accuracies, paired by seed, and its t interval over seeds.
    """
    if "probes" not in record.get("figures", {}):
        return "Not tested: the record has no probes."
    gain, low, high = _paired(record, "label", ("DID", "I_df"), ("BCE", "I_X"))
    words = f"a linear probe reads real from fake {gain:+.3f} better from I_df than from the plain backbone"
    if math.isnan(low):
        return f"Undecided: {words}; one seed has no spread to measure that by."
    answer = "Yes" if low > 0 else "No" if high < 0 else "Undecided"
    return f"{answer}: {words}, [{low:+.3f}, {high:+.3f}] over seeds."
