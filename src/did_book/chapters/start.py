"""What goes wrong: detectors trained on one forgery method, tested on each."""

import pandas as pd
import seaborn as sns
from matplotlib.patches import Rectangle

from did.errors import DidError
from did.paper.records import verdict
from did.paper.tables import digits
from did.plots.base import Plot, canvas, in_order, in_words, put_stamp


def method_heatmap(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw the AUC by the method of training (rows) and testing (columns); the same method has a frame.

    Args:
        table: from `did.paper.tables.across_methods`: train, test, auc, low, high, kind (`own`, `other` or `all`).
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
    """Format the table of `did.paper.measures.drops`."""
    rows = {
        row.train: {"own method": digits(row.own), "mean of the others": digits(row.others),
                    "drop": digits(row.drop, row.low, row.high), "so": _FALLS[verdict(row.low, row.high)]}
        for row in drops.itertuples()
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trained on")
