"""What goes wrong: detectors trained on one forgery method, tested on each."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import Rectangle

from did import evaluation
from did.data.store import FaceStore
from did.data.table import REAL
from did.errors import DidError
from did.evaluation import Drawn
from did.paper.records import verdict
from did.paper.tables import digits
from did.plots.base import Plot, canvas, in_order, in_words, put_stamp
from did.settings import Settings
from did.sources import Source
from did.training.runs import Evaluation, Run, evaluate, run


def method_heatmap(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw the AUC by the method of training (rows) and testing (columns); the same method has a frame.

    Args:
        table: from `across_methods`: train, test, auc, low, high, kind (`own`, `other` or `all`).
        stamp: where the numbers come from.

    Raises:
        DidError: If there is nothing to draw, or a (train, test) occurs twice.
    """
    if not len(table):
        raise DidError("there is no detector to draw: give the AUC of at least one")
    if table.duplicated(["train", "test"]).any():
        twice = table[table.duplicated(["train", "test"])].iloc[0]
        raise DidError(f"the table holds {twice.train} on {twice.test} twice: give one row of it")
    trains, tests = in_order(table.train), in_order(table.test)
    words = table.assign(words=[f"{r.auc:.2f}\n[{r.low:.2f}, {r.high:.2f}]" for r in table.itertuples()])
    values, notes = (
        words.pivot(index="train", columns="test", values=name).loc[trains, tests] for name in ("auc", "words")
    )
    figure, axes = canvas(2.6 + 1.15 * len(tests), 1.3 + 0.62 * len(trains))
    axis = axes[0, 0]
    # Chance and below share the darkest colour: no detector is good for being worse than a coin.
    sns.heatmap(values, ax=axis, vmin=0.5, vmax=1, cmap="cividis", annot=notes, fmt="", annot_kws={"fontsize": 8},
                linewidths=1.5, linecolor="white", xticklabels=False, yticklabels=False,
                cbar_kws={"label": "AUC on frames (0.5: guessing)", "extend": "min"})  # fmt: skip
    place = {name: number for number, name in enumerate(trains)}
    for row in table[table.kind == "own"].itertuples():
        corner = (tests.index(row.test) + 0.03, place[row.train] + 0.05)
        axis.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, ec="#D55E00", lw=3, gid="own"))
    if "all" in place and len(trains) > 1:
        axis.axhline(place["all"], color="black", lw=1.5)
    axis.set(xlabel="tested on", ylabel="trained on", title="framed: its own method")
    axis.tick_params(length=0)
    axis.set_xticks([number + 0.5 for number in range(len(tests))], tests, rotation=0)
    axis.set_yticks([number + 0.5 for number in range(len(trains))], trains, rotation=0)
    put_stamp(figure, stamp)
    said = [
        f"trained on {train}: "
        + ", ".join(
            f"{row.test}{' (its own)' if row.kind == 'own' else ''} {in_words(row.auc, row.low, row.high)}"
            for row in table[table.train == train].itertuples()
        )
        for train in trains
    ]
    return Plot(figure, table, f"AUC on frames by method of training and test; {'; '.join(said)}.")


def across_methods(tests: Mapping[str, Evaluation]) -> pd.DataFrame:
    """Tabulate the frame AUC of each detector on each method, with 95% intervals.

    Args:
        tests: what a detector was trained on, a method or `all` -> its test on all methods.

    Returns:
        One row per (train, test): train, test, auc, low, high, kind: `own` method, `other` method, or `all`.
    """
    methods = [name for name in tests if name != "all"]
    rows = []
    for train, tested in tests.items():
        metrics = tested.metrics.query("level == 'frame'").set_index("method")
        for test in methods:
            auc, low, high = metrics.loc[test, ["auc", "auc_low", "auc_high"]]
            kind = "all" if train == "all" else "own" if train == test else "other"
            rows.append({"train": train, "test": test, "auc": auc, "low": low, "high": high, "kind": kind})
    return pd.DataFrame(rows)


def method_drops(tests: Mapping[str, Evaluation], draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Measure how far each detector's AUC drops from its own method to the mean of the others, with intervals.

    Both sides of a drop see the same draws of people.

    Args:
        tests: as for `across_methods`; `all` is left out, as it has seen every method.
        draws, seed: of the bootstrap.

    Returns:
        One row per detector, and `mean` over them: train, own, others, drop, low, high.
    """
    methods = [name for name in tests if name != "all"]
    measured = across_methods(tests).pivot(index="train", columns="test", values="auc").loc[methods, methods]
    drops = {name: _drop(tests[name].scores, name, methods, draws, seed) for name in methods}
    drops["mean"] = Drawn.average(list(drops.values()))
    rows = []
    for name, drawn in drops.items():
        at = methods if name == "mean" else [name]
        own = float(np.mean([measured.loc[each, each] for each in at]))
        low, high = evaluation.ends(drawn)
        rows.append({"train": name, "own": own, "others": own - drawn.mean, "drop": drawn.mean, "low": low,
                     "high": high})  # fmt: skip
    return pd.DataFrame(rows)


def _drop(scores: pd.DataFrame, own: str, methods: Sequence[str], draws: int, seed: int) -> Drawn:
    """Draw people for the AUC on a detector's own method less the mean of its AUCs on the others."""
    table = scores.assign(person=evaluation.people(scores))
    drawn = {}
    for method in methods:
        part = table[(table.label == 0) | (table.method == method)]
        drawn[method] = evaluation.draws([part], "auc", [part.person], table.person, draws, seed)
    return drawn[own] - Drawn.average([each for method, each in drawn.items() if method != own])


def method_matrix(table: pd.DataFrame) -> pd.DataFrame:
    """Format `across_methods`: one row per detector, one column per test method; its own method is marked."""
    shown = [
        digits(*ends) + (" (own)" if kind == "own" else "")
        for *ends, kind in table[["auc", "low", "high", "kind"]].itertuples(index=False)
    ]
    wide = table.assign(shown=shown).pivot(index="train", columns="test", values="shown")
    wide = wide.loc[table.train.unique(), table.test.unique()]
    return wide.rename_axis(index="trained on", columns="tested on")


_FALLS = {"ahead": "drops", "behind": "rises", "undecided": "undecided"}


def drop_table(drops: pd.DataFrame) -> pd.DataFrame:
    """Format `method_drops`."""
    rows = {
        row.train: {"own method": digits(row.own), "mean of the others": digits(row.others),
                    "drop": digits(row.drop, row.low, row.high), "so": _FALLS[verdict(row.low, row.high)]}
        for row in drops.itertuples()
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trained on")


_FAILS = {
    "ahead": "The interval lies above 0: on forgeries of a kind that they never saw, they do fail here.",
    "behind": "The interval lies below 0: here they do better on the methods that they never saw.",
    "undecided": "The interval contains 0: these runs do not show that they fail on methods that they never saw.",
}


def method_sentences(table: pd.DataFrame, drops: pd.DataFrame) -> list[str]:
    """Say what training with one method does, from the tables of `across_methods` and `method_drops`."""
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
        part = [row for row in each.itertuples() if verdict(row.low, row.high) == so]
        if part:
            names = ", ".join(f"{row.train} ({row.own - row.others:+.3f})" for row in part)
            said.append(f"{how} for {len(part)} of {len(each)}, trained on {names}.")
    worst, guessing = other.loc[other.auc.idxmin()], int((other.low <= 0.5).sum())
    said.append(
        f"Of the {len(other)} AUCs on a method that was never seen, {guessing} are not told from guessing, or lie "
        f"below it; the lowest is {digits(worst.auc, worst.low, worst.high)}, trained on {worst.train} and tested on "
        f"{worst.test}."
    )
    if len(both):
        said.append(f"One detector that was trained on all methods has {both.auc.mean():.3f} on average over them.")
    return said


def train_on_each(
    settings: Settings, source: Source, store: FaceStore, progress: bool = True
) -> dict[str, tuple[Run, Evaluation]]:
    """Train plain detectors (BCE), each on real faces and one forgery method, and test them on every method.

    A detector's training and validation hold its own method alone; the settings are the same for all, and each test
    is on the whole test split. What is there already is taken as it is.

    Args:
        settings: of all runs.
        source, store: the data and its crops.

    Returns:
        Method -> its run and that run's test on all methods; last `all`, one detector trained on all of them (the run
        "BCE" of Table 1 under that table's settings).

    Raises:
        DidError: If there are fewer than two methods, or as training.
    """
    methods = sorted(set(store.manifest["method"]) - {REAL})
    if len(methods) < 2:
        raise DidError(f"{source.label} has {len(methods)} forgery method; name a source with two or more")
    parts = {method: (f"{source.label}, {method} alone", store.only(method)) for method in methods}
    found = {}
    for name, (label, part) in {**parts, "all": (source.label, store)}.items():
        one = run(dataclasses.replace(source, label=label), settings, "bce", store=part, progress=progress)
        found[name] = one, evaluate(one, source, store, progress)
    return found
