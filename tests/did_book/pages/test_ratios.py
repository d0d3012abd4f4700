"""The figure of ratios: costs left with targets, speed-ups right, each where it was measured."""

import pytest
from matplotlib.colors import to_hex

from did.errors import DidError
from did_book.pages import ratios
from did_book.pages.costs import row

ROWS = [
    row("training step", "lite0", ("DID", "BCE"), "cost", [(1.05, 1), (1.0, 1), (1.2, 1)], target=1.1),
    row("loader", "lite0", ("waiting", "an iteration"), "share", [(0.06, 1)], target=0.05),
    row("loss", "batch 15", ("ours", "a loop"), "speed-up", [(1, 400)]),
]


def test_each_ratio_stands_at_its_place_and_what_misses_its_target_is_hollow(whole):
    plot = whole(ratios.ratios(ROWS, "the stamp"))
    left, right = plot.figure.axes
    drawn = {line.get_label(): line for line in (*left.get_lines(), *right.get_lines())}
    places = {name: drawn[name].get_xydata().round(3).tolist() for name in ("training step", "loader", "loss")}
    assert places == {"training step": [[1.05, 0]], "loader": [[0.06, 1]], "loss": [[400, 0]]}
    hollow = {name: to_hex(drawn[name].get_markerfacecolor()) == "#ffffff" for name in places}
    assert hollow == {"training step": False, "loader": True, "loss": False}
    assert drawn["target (hollow: not met)"].get_xydata().tolist() == [[1.1, 0], [0.05, 1]]
    (quartiles, *_) = left.collections
    assert quartiles.get_segments()[0][:, 0].round(3).tolist() == [1.025, 1.125]
    assert [axis.get_xscale() for axis in (left, right)] == ["linear", "log"]
    assert "training step, lite0, DID against BCE: 1.050 [1.025, 1.125], target 1.100, met;" in plot.alt
    assert "waiting against an iteration: 0.060 [0.060, 0.060], target 0.050, not met;" in plot.alt
    assert plot.alt.endswith("ours against a loop: 400.0 [400.0, 400.0].")


def test_a_target_stands_at_its_own_row():
    plain = row("memory", "lite0", ("DID", "BCE"), "cost", [(1.3, 1)])
    left, _ = ratios.ratios([plain, *ROWS], "the stamp").figure.axes
    (target,) = [line for line in left.get_lines() if line.get_label().startswith("target")]
    assert target.get_xydata().tolist() == [[1.1, 1], [0.05, 2]]


@pytest.mark.parametrize(("rows", "scale"), [(ROWS[:1], "linear"), (ROWS[2:], "log")])
def test_one_kind_of_ratio_fills_the_figure(rows, scale):
    (axis,) = ratios.ratios(rows, "the stamp").figure.axes
    assert axis.get_xscale() == scale


def test_nothing_to_draw_is_said():
    with pytest.raises(DidError, match="`make bench` measures them"):
        ratios.ratios([], "the stamp")
