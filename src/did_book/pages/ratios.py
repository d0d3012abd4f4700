"""The ratios of `make bench`: what DID costs beside its backbone, with the targets, and how much faster the rest is."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from did.errors import DidError
from did.plots.base import PALETTE, Plot, canvas, in_order, legend_above, markers, put_stamp
from did_book.pages.costs import Row, number

_COLOUR = PALETTE[6]
_TITLES = {
    "cost": "time of ours over theirs (less is better)",
    "speed-up": "times as fast as theirs (more is better)",
}


def ratios(rows: Sequence[Row], stamp: str) -> Plot:
    """Every ratio with its quartiles: costs and shares of time on the left with their targets, speed-ups on the right.

    Args:
        rows: from `did_book.pages.costs.rows_of`.
        stamp: where the numbers come from.

    Raises:
        DidError: no row.
    """
    if not rows:
        raise DidError("there is no ratio to draw: `make bench` measures them")
    columns = "what case ours theirs reads ratio low high target met".split()
    data = pd.DataFrame(
        [(each.what, each.case, *each.sides, each.reads, each.ratio, each.low, each.high, each.target, each.met)
         for each in rows], columns=columns,
    ).astype({"target": float})  # fmt: skip
    sides = {name: part for name, part in data.groupby(data.reads == "speed-up", sort=True)}
    figure, axes = canvas(9.5, 1.3 + 0.42 * max(map(len, sides.values())), 1, len(sides))
    whats = in_order(data.what)
    for axis, (fast, part) in zip(axes[0], sides.items(), strict=True):
        _panel(axis, part, whats)
        axis.set(xlabel=_TITLES["speed-up" if fast else "cost"], xscale="log" if fast else "linear")
        axis.axvline(1, color="black", lw=0.8)
        if not fast:
            axis.set_xlim(left=0)
        sns.despine(ax=axis)
    legend_above(figure, axes, 4)
    put_stamp(figure, stamp)
    said = [
        f"{each.what}, {each.case}, {each.sides[0]} against {each.sides[1]}: {number(each.ratio)} "
        f"[{number(each.low)}, {number(each.high)}]" + ("" if each.target is None else f", target {each.target:.3f}")
        + {True: ", met", False: ", not met", None: ""}[each.met]
        for each in rows
    ]  # fmt: skip
    return Plot(figure, data, f"Ratios with quartiles: {'; '.join(said)}.")


def _panel(axis: Axes, part: pd.DataFrame, whats: Sequence[str]) -> None:
    marker = markers(whats)
    for at, row in enumerate(part.itertuples()):
        label, face = str(row.what), "white" if row.met is False else _COLOUR
        axis.hlines(at, row.low, row.high, color=_COLOUR, lw=1.5)
        axis.plot(row.ratio, at, marker[label], color=_COLOUR, mfc=face, ms=6, label=label)
    aimed = part.reset_index(drop=True).target.dropna()
    if len(aimed):
        axis.plot(aimed, aimed.index, "|", color=PALETTE[4], ms=14, mew=2, label="target (hollow: not met)")
    names = [
        f"{row.case}" + (f"\nagainst {row.theirs}" if row.reads == "speed-up" else "") for row in part.itertuples()
    ]
    axis.set_yticks(range(len(part)), names, fontsize=7)
    axis.set_ylim(len(part) - 0.5, -0.5)
