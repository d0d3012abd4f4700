"""The forest plot of the ledger: every difference has its line, and its kind and verdict can be seen."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from did import plots
from did.errors import DidError

NAN = float("nan")


def test_each_difference_has_a_line_below_its_groups_name(whole):
    columns = ["of", "a", "b", "test", "difference", "low", "high", "paper", "kind", "so"]
    rows = [
        ("Table 1", "DID", "BCE", "FF++", 0.1, 0.05, 0.15, NAN, "STAND-IN (drawn)", "ahead"),
        ("Table 1", "DID", "BCE", "FF++", 0.0, -0.1, 0.1, 0.07, "licensed", "undecided"),
        ("Fig. 4", "α = 0.5", "α = 1", "CDF2", -0.1, -0.15, -0.05, 0.016, "STAND-IN (drawn)", "behind"),
    ]
    plot = whole(plots.forest(pd.DataFrame(rows, columns=columns), "the stamp"))
    (axis,) = plot.figure.axes
    ticks = {label.get_text(): tick for tick, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)}
    assert ticks == {"DID − BCE on FF++": 2, "α = 0.5 − α = 1 on CDF2": 4, "Table 1": 0, "Fig. 4": 3}
    drawn = {line.get_label(): line for line in axis.get_lines()}
    ours = {name: (line.get_marker(), line.get_xydata().round(2).tolist()) for name, line in drawn.items()
            if ", " in name}  # fmt: skip
    assert ours == {
        "STAND-IN (drawn), ahead": ("o", [[0.1, 0.88]]),
        "STAND-IN (drawn), behind": ("o", [[-0.1, 3.88]]),
        "licensed, undecided": ("s", [[0.0, 1.88]]),
    }
    assert to_hex(drawn["licensed, undecided"].get_markerfacecolor()) == "#ffffff"
    assert to_hex(drawn["STAND-IN (drawn), ahead"].get_markerfacecolor()) != "#ffffff"
    segments = sorted(one[:, 0].round(2).tolist() for lines in axis.collections for one in lines.get_segments())
    assert segments == [[-0.15, -0.05], [-0.1, 0.1], [0.05, 0.15]]
    shown = drawn["as published"].get_xydata()
    assert shown[~pd.isna(shown[:, 0])].round(3).tolist() == [[0.07, 2.18], [0.016, 4.18]]
    assert "Table 1, DID − BCE on FF++, licensed: 0.000 [-0.100, 0.100], undecided, published 0.070" in plot.alt
    with pytest.raises(DidError, match="no comparison to draw"):
        plots.forest(pd.DataFrame(columns=columns), "the stamp")


def test_each_world_is_a_dot_and_their_mean_has_the_interval(whole):
    each = pd.DataFrame(
        [("CE", "BCE", "CDF2", 1, 0.1), ("CE", "BCE", "CDF2", 2, 0.3), ("CE", "DID", "CDF2", 1, -0.2),
         ("CE", "DID", "CDF2", 2, 0.1), ("CE", "BCE", "DiFF", 1, 0.0), ("CE", "BCE", "DiFF", 2, 0.2),
         ("CE", "DID", "DiFF", 1, -0.1), ("CE", "DID", "DiFF", 2, -0.3)],
        columns=["a", "b", "test", "world", "difference"],
    )  # fmt: skip
    over = pd.DataFrame(
        [("CE", "BCE", "CDF2", 0.2, 0.1, 0.3, "ahead"), ("CE", "BCE", "DiFF", 0.1, -0.1, 0.3, "undecided"),
         ("CE", "DID", "CDF2", -0.05, -0.2, 0.1, "undecided"), ("CE", "DID", "DiFF", -0.2, -0.3, -0.1, "behind")],
        columns=["a", "b", "test", "difference", "low", "high", "so"],
    )  # fmt: skip
    plot = whole(plots.worlds(each, over, "the stamp"))
    cdf2, diff = plot.figure.axes
    assert [axis.get_title() for axis in (cdf2, diff)] == ["CDF2", "DiFF"]
    dots = [line.get_xdata().tolist() for line in cdf2.get_lines() if line.get_marker() == "o"]
    assert dots == [[0.1, 0.3], [-0.2, 0.1]]
    means = [line.get_xdata().tolist() for line in diff.get_lines() if line.get_marker() == "D"]
    assert means == [[0.1], [-0.2]]
    segments = [one[:, 0].round(2).tolist() for lines in diff.collections for one in lines.get_segments()]
    assert segments == [[-0.1, 0.3], [-0.3, -0.1]]
    assert "CE − BCE on CDF2 0.200 [0.100, 0.300], above 0 in 2 of 2" in plot.alt
    assert "CE − DID on CDF2 -0.050 [-0.200, 0.100], above 0 in 1 of 2" in plot.alt
    with pytest.raises(DidError, match="no worlds to draw"):
        plots.worlds(each[:0], over, "the stamp")
