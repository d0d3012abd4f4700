"""What every figure is made of: the `Plot` that is returned, an empty figure, the stamp, colours, markers, hatches."""

import dataclasses
import functools
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter

from did.utils.words import encodable, plain

#: Okabe and Ito's palette, which survives the common colour blindnesses.
PALETTE = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2", "#F0E442", "#999999"]
#: No colour is used alone: a marker or a hatch says the same.
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<"]
HATCHES = ["", "///", "...", "xxx", "\\\\\\", "ooo", "+++", "|||"]
GRAY = "#888888"
STAMP = "stamp"


@dataclasses.dataclass
class Plot:
    """A figure, the table that is drawn in it, and its alternative text.

    Names of methods and people come from the names of files. What is written in a figure is therefore made `plain`, and
    a $ in it is a dollar; only a figure that is our own words throughout may have `mathtext`. A diagram is a `vector`
    drawing too (SVG): its letters stay sharp at any size.
    """

    figure: Figure
    data: pd.DataFrame
    alt: str
    mathtext: dataclasses.InitVar[bool] = False
    vector: bool = False

    def __post_init__(self, mathtext: bool) -> None:
        self.alt = plain(self.alt)
        if not mathtext:
            _as_it_is(self.figure)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict[str, object], dict]:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Description": self.alt})
        numbered = isinstance(self.data.index, pd.RangeIndex)
        table = encodable(self.data.to_csv(index=not numbered, float_format="%.6g"))
        shown: dict[str, object] = {"image/png": buffer.getvalue(), "text/plain": self.alt, "text/csv": table}
        if self.vector:
            drawing = io.StringIO()
            with matplotlib.rc_context({"svg.hashsalt": "did"}):  # The same drawing is the same text.
                self.figure.savefig(drawing, format="svg", bbox_inches="tight", metadata={"Date": None})
            shown["image/svg+xml"] = drawing.getvalue()
        return shown, {"image/png": {"stamp": self.stamp}}

    @property
    def stamp(self) -> str:
        """The text of `put_stamp`, or nothing."""
        found = next((text.get_text() for text in self.figure.texts if text.get_gid() == STAMP), "")
        return found.replace(r"\$", "$")


def _as_it_is(figure: Figure) -> None:
    """Show every text of a figure, and every name at an axis, literally."""
    for text in figure.findobj(Text):
        text.set_text(_shown(text.get_text()))  # type: ignore[attr-defined]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            # They write the labels anew when they draw. Other formatters make numbers, powers of ten in mathtext.
            if isinstance(formatter := axis.get_major_formatter(), (FixedFormatter, FuncFormatter)):
                axis.set_major_formatter(FuncFormatter(functools.partial(_formatted, formatter)))


def _shown(text: str) -> str:
    return re.sub(r"(?<!\\)\$", r"\\$", "\n".join(map(plain, text.split("\n"))))


def _formatted(formatter: Formatter, value: float, place: int | None) -> str:
    return _shown(formatter(value, place))


def entry(name: str) -> str:
    """Return a name as a legend accepts it: matplotlib leaves out names that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    """Create a figure outside pyplot, so that no notebook shows it twice and none stays in memory.

    Width and height in inches; options as `Figure.subplots` takes them. Returns the axes as (rows, columns).
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.atleast_2d(figure.subplots(rows, columns, squeeze=False, **options))


def put_stamp(figure: Figure, text: str) -> None:
    """Write under a figure where its numbers are from."""
    figure.text(0.0, -0.02, text, gid=STAMP, fontsize=7, color="#555555", ha="left", va="top", wrap=True)


def legend_above(figure: Figure, axes: np.ndarray, columns: int) -> None:
    """Draw one legend for all axes, with each label once."""
    found: dict[str, Any] = {}
    for axis in axes.ravel():
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=columns, fontsize=8)


def colours(names: Sequence[str]) -> dict[str, str]:
    """Assign a colour to each name, by its position."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def markers(names: Sequence[str]) -> dict[str, str]:
    """Assign a marker to each name, by its position."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}


def in_order(names: pd.Series) -> list[str]:
    """List each name once, in the order of appearance."""
    return list(dict.fromkeys(names))


def in_words(value: float, low: float, high: float) -> str:
    """Format a value and its interval, if it has one.

    Three decimals, because nbval masks no number that has fewer.
    """
    return f"{value:.3f}" if np.isnan([low, high]).any() else f"{value:.3f} [{low:.3f}, {high:.3f}]"


matplotlib.rcParams.update({"font.size": 9, "axes.titlesize": 10})
