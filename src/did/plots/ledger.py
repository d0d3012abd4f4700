"""All compared differences of the ledger in one forest plot, the published ones beside them."""

import pandas as pd
import seaborn as sns

from did.errors import DidError
from did.plots.base import PALETTE, Plot, canvas, in_order, in_words, legend_above, markers, put_stamp
from did.plots.scores import PUBLISHED

_SIDES = {"ahead": PALETTE[6], "behind": PALETTE[5], "undecided": "#666666"}


def forest(table: pd.DataFrame, stamp: str) -> Plot:
    """Every compared difference of AUCs with its interval, in groups by table or figure, the published ones beside.

    The marker says what kind of data a difference is from; it is filled where the interval does not hold 0.

    Args:
        table: one row a comparison, as `did.paper.verdicts.comparisons` gives: of (the group), a, b, test, difference,
            low, high, paper (or NaN), kind, so (`ahead`, `behind`, `undecided`).
        stamp: where the numbers come from.

    Raises:
        DidError: nothing to draw.
    """
    if not len(table):
        raise DidError("there is no comparison to draw: no record has two rows that are compared")
    data = table.reset_index(drop=True)
    groups, kinds = in_order(data.of), markers(in_order(data.kind))
    # A free line above each group holds its name.
    place = data.index + 1 + data.of.map(groups.index)
    figure, axes = canvas(7.8, 1.2 + 0.24 * (place.iloc[-1] + 1))
    axis = axes[0, 0]
    for kind, marker in kinds.items():
        for so, colour in _SIDES.items():
            part = data[(data.kind == kind) & (data.so == so)]
            if len(part):
                at = place[part.index]
                axis.hlines(at - 0.12, part.low, part.high, color=colour, lw=1.5)
                face = "white" if so == "undecided" else colour
                axis.plot(part.difference, at - 0.12, marker, color=colour, mfc=face, ms=6, label=f"{kind}, {so}")
    if data.paper.notna().any():
        axis.plot(data.paper, place + 0.18, "|", color=PUBLISHED, ms=9, mew=2, label="as published")
    axis.axvline(0, color="black", lw=0.8)
    heads = [place[data.of == group].iloc[0] - 1 for group in groups]
    lines = [*zip(place, _names(data), strict=True), *zip(heads, groups, strict=True)]
    axis.set_yticks([at for at, _ in lines], [name for _, name in lines])
    for tick in axis.get_yticklabels()[len(data) :]:
        tick.set_fontweight("bold")
    axis.tick_params(axis="y", length=0)
    axis.set(xlabel="difference of AUCs, 95% interval", ylim=(place.iloc[-1] + 0.7, -0.7))
    sns.despine(ax=axis)
    legend_above(figure, axes, 3)
    put_stamp(figure, stamp)
    said = [
        f"{row.of}, {name}, {row.kind}: {in_words(row.difference, row.low, row.high)}, {row.so}"
        + ("" if pd.isna(row.paper) else f", published {row.paper:.3f}")
        for name, row in zip(_names(data), data.itertuples(), strict=True)
    ]
    return Plot(figure, data, f"Differences of AUCs: {'; '.join(said)}.")


def _names(data: pd.DataFrame) -> list[str]:
    return [f"{row.a} − {row.b} on {row.test}" for row in data.itertuples()]
