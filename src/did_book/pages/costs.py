"""What `make bench` measures: ratios of time, side by side, in one small JSON a kind of machine, and in words.

The scripts in `benchmarks/` measure and `save` their rows; the page on speed shows what was saved.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from did.errors import DidError
from did.plots.base import PALETTE, Plot, canvas, in_order, legend_above, markers, put_stamp
from did.training.provenance import provenance
from did.utils.files import alone, checkout, given_path, home, write_atomically
from did.utils.words import Words

#: How a row's ratio is read, of the times of a pair (ours, theirs), and which side of its target is the good one.
READS = {
    "cost": "time of ours over theirs; the less, the better",
    "share": "part of the time of the whole; the less, the better",
    "speed-up": "time of theirs over ours; the more, the better",
}
_QUICK = "quick"


@dataclasses.dataclass(frozen=True)
class Row:
    """One ratio.

    Attributes:
        what, case: what is timed, and on what.
        sides: names of ours and theirs.
        reads: a key of `READS`.
        seconds: medians of ours and theirs.
        ratio, low, high: median and quartiles of the ratio over pairs.
        pairs: how many.
        target: what the ratio is to be at most (`speed-up`: at least), or None where none was set.
        memory: peak of each side in MiB, measured in a process of its own, or None.
        more: other numbers of both sides by name, such as images/s.
        note: what a reader must know of it.
    """

    what: str
    case: str
    sides: tuple[str, str]
    reads: str
    seconds: tuple[float, float]
    ratio: float
    low: float
    high: float
    pairs: int
    target: float | None = None
    memory: tuple[float, float] | None = None
    more: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if none was set."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.reads == "speed-up" else self.ratio <= self.target


def row(
    what: str, case: str, sides: tuple[str, str], reads: str, pairs: Sequence[tuple[float, float]], **more: Any
) -> Row:
    """Compute a row from its pairs of times.

    Args:
        what, case, sides, reads: see `Row`.
        pairs: seconds of ours and of theirs, measured one right after the other. The ratio is taken within each pair,
            so that what slows the machine down for a while slows both.
        more: the other fields of `Row`.

    Raises:
        DidError: If the word is not one of `READS`, or there is no pair.
    """
    if reads not in READS or not len(pairs):
        raise DidError(f"a row needs pairs of times and one of {', '.join(READS)}; it got {len(pairs)} and '{reads}'")
    ours, theirs = np.array(pairs, dtype=float).T
    low, middle, high = np.quantile(theirs / ours if reads == "speed-up" else ours / theirs, [0.25, 0.5, 0.75])
    seconds = float(np.median(ours)), float(np.median(theirs))
    return Row(what, case, sides, reads, seconds, float(middle), float(low), float(high), len(pairs), **more)


def folder() -> Path:
    """Return `benchmarks/results/` of the project, or of the checkout around the working folder.

    The checkout's is used if the project (see `DID_HOME`) has none.
    """
    places = [each / "benchmarks" / "results" for each in (home(), checkout()) if each is not None]
    return next((place for place in places if _files(place)), places[0])


def _files(place: Path) -> list[Path]:
    return [file for file in sorted(place.glob("*.json")) if not file.stem.endswith(f"-{_QUICK}")]


def file_of(machine: Mapping[str, Any], quick: bool = False) -> Path:
    """Return the file of a kind of machine.

    `cpu.json`, or one named after its GPU; `-quick` for a trial of the scripts.
    """
    kind = re.sub(r"[^a-z0-9]+", "-", (machine["gpu"] or "cpu").lower()).strip("-")
    return home() / "benchmarks" / "results" / f"{kind}{f'-{_QUICK}' if quick else ''}.json"


def save(
    part: str, rows: Sequence[Row], command: str, minutes: float, quick: bool = False, file: Path | None = None
) -> Path:
    """Write one script's rows in place of its earlier ones; the other scripts' parts stay as they are.

    Args:
        part: the script's name.
        rows: what it measured.
        command: that made them.
        minutes: that it took.
        quick: a trial of the script at sizes whose numbers mean nothing.
        file: by default the one of this kind of machine.

    Returns:
        The file.

    Raises:
        DidError: If the file exists and is not a file of benchmarks.
    """
    made = provenance()
    file = file or file_of(made["machine"], quick)
    entry = {"command": command, "quick": quick, "minutes": round(minutes, 2), "provenance": made,
             "rows": [{**dataclasses.asdict(each), "met": each.met} for each in rows]}  # fmt: skip
    with alone(file):
        parts = _read(file)["parts"] if file.is_file() else {}
        text = json.dumps({"parts": {**parts, part: entry}}, indent=1, ensure_ascii=False) + "\n"
        write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
    return file


def load(place: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """Load every file of benchmarks of a folder, by its name, without those of `--quick`.

    Empty if there is none.

    Args:
        place: the folder; `folder()` by default.

    Raises:
        DidError: If a file cannot be read.
    """
    files = _files(folder() if place is None else given_path(place, "records"))
    return {file.stem: _read(file)["parts"] for file in files}


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        for part in found["parts"].values():
            part["command"], part["minutes"], part["provenance"]["machine"]["cores"], part["provenance"]["date"]
            rows_of(part)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DidError(f"the benchmarks in {file} cannot be read ({error}): remove it and run `make bench`") from error
    return found


def rows_of(part: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a saved part."""
    rows = []
    for each in part["rows"]:
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in each.items()
        }
        known["more"] = {name: tuple(pair) for name, pair in each["more"].items()}
        del known["met"]
        rows.append(Row(**known))
    return rows


def number(value: float) -> str:
    """Format a ratio: three decimals below 10, fewer above."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def table(part: Mapping[str, Any]) -> pd.DataFrame:
    """Format a part's ratios, with quartiles and targets."""
    lines = [
        {
            "what": each.what,
            "on": each.case,
            "ours": each.sides[0],
            "theirs": each.sides[1],
            "ratio": f"{number(each.ratio)} [{number(each.low)}, {number(each.high)}]",
            "target": "-" if each.target is None else f"{_bound(each)} {each.target:g}",
            "met": {True: "yes", False: "no", None: "-"}[each.met],
            "pairs": str(each.pairs),
            "note": each.note or "-",
        }
        for each in rows_of(part)
    ]
    return pd.DataFrame(lines)


def measured(part: Mapping[str, Any]) -> pd.DataFrame:
    """Tabulate what a part's ratios are made of, ours and theirs, and what was measured beside them."""
    lines = []
    for each in rows_of(part):
        numbers = {"seconds": each.seconds, **({"MiB at the peak": each.memory} if each.memory else {}), **each.more}
        shown = {name: _both(*values) for name, values in numbers.items()}
        lines.append({"what": each.what, "on": each.case, "theirs": each.sides[1], **shown})
    return pd.DataFrame(lines).fillna("-")


def _both(ours: float, theirs: float) -> str:
    return " | ".join(f"{value:.3g}" if value < 100 else f"{value:,.0f}" for value in (ours, theirs))


def _bound(each: Row) -> str:
    return "at least" if each.reads == "speed-up" else "at most"


def sentence(each: Row) -> str:
    """Describe a row in words, with its target and whether that is met."""
    ours, theirs = each.sides
    value = f"{number(each.ratio)} [{number(each.low)}, {number(each.high)}]"
    said = {
        "cost": f"{ours} takes {value} of the time of {theirs}",
        "share": f"{ours} takes {value} of {theirs}",
        "speed-up": f"{ours} is {value} times as fast as {theirs}",
    }[each.reads]
    met = (
        ""
        if each.target is None
        else f"; {_bound(each)} {each.target:g} was wanted: {'met' if each.met else 'not met'}"
    )
    return f"{each.what}, {each.case}: {said}{met}."


def summary(parts: Mapping[str, Any]) -> list[str]:
    """Say how many targets of a machine were met, which were not, and where ours is the slower side."""
    rows = [each for part in parts.values() for each in rows_of(part)]
    aimed = [each for each in rows if each.target is not None]
    missed = [each for each in aimed if not each.met]
    said = [f"Targets met: {len(aimed) - len(missed)} of {len(aimed)}."]
    said += [sentence(each) for each in missed]
    slower = [each for each in rows if each.reads == "speed-up" and each.ratio < 1]
    said += [f"Ours is the slower side: {sentence(each)}" for each in slower]
    if not any(part["provenance"]["machine"]["gpu"] for part in parts.values()):
        said.append(
            "No GPU was at hand, so that nothing here says what one does. On a machine with one, `make bench` writes a "
            "file of its own, and this page shows it."
        )
    trials = [name for name, part in parts.items() if part["quick"]]
    if trials:
        said.append(f"A trial at small sizes (--quick), whose numbers mean nothing: {', '.join(trials)}.")
    return said


def in_words(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the `summary` of each machine as Markdown."""
    if not found:
        return stamp(found)
    return "\n\n".join(
        "\n".join([f"**{name}**", "", *(f"- {each}" for each in summary(parts))]) for name, parts in found.items()
    )


def all_rows(found: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return every row of every machine; if there are several, a row's case begins with the machine's name."""
    return [
        dataclasses.replace(each, case=f"{name}: {each.case}") if len(found) > 1 else each
        for name, parts in found.items()
        for part in parts.values()
        for each in rows_of(part)
    ]


def section(found: Mapping[str, Mapping[str, Any]], part: str) -> list[Words | pd.DataFrame]:
    """Show one script's results: for each machine its command, every ratio in a sentence, and two tables."""
    said: list[Words | pd.DataFrame] = []
    for name, parts in found.items():
        if part in parts:
            sentences = [f"- {sentence(each)}" for each in rows_of(parts[part])]
            said.append(Words("\n".join([f"**{name}**: `{parts[part]['command']}`", "", *sentences])))
            said += [table(parts[part]), measured(parts[part])]
    return said or [Words(f"This has not been measured yet: `python benchmarks/{part}.py --json` does it.")]


def machine(parts: Mapping[str, Any]) -> pd.DataFrame:
    """Tabulate the command, minutes, machine, versions, commit and date of each part."""
    lines = []
    for name, part in parts.items():
        made = part["provenance"]
        lines.append(
            {
                "part": name,
                "command": part["command"],
                "minutes": f"{part['minutes']:.1f}",
                "machine": _machine(made),
                "python": made["python"],
                "torch": made["versions"]["torch"],
                "commit": made["commit"],
                "date": made["date"][:10],
            }
        )
    return pd.DataFrame(lines).set_index("part")


def _machine(made: Mapping[str, Any]) -> str:
    of = made["machine"]
    return f"{of['gpu'] + ', ' if of['gpu'] else ''}{of['cores']} cores, {of['threads']} threads, {of['processor']}"


def stamp(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in one line where the numbers of all machines are from."""
    made = [part["provenance"] for parts in found.values() for part in parts.values()]
    if not made:
        return "No benchmark has been run: `make bench` does it."
    each = {
        key: ", ".join(sorted({one[key][:length] for one in made})) for key, length in (("commit", 20), ("date", 10))
    }
    where = "; ".join(sorted({_machine(one) for one in made}))
    what = "Times on drawn faces and random numbers; no accuracy is measured"
    return f"{what}. {where}; commit {each['commit']}; {each['date']}"


_COLOUR = PALETTE[6]

_TITLES = {
    "cost": "time of ours over theirs (less is better)",
    "speed-up": "times as fast as theirs (more is better)",
}


def ratios(rows: Sequence[Row], stamp: str) -> Plot:
    """Draw every ratio with its quartiles: costs with their targets on the left, speed-ups on the right.

    Shares of time are drawn with the costs.

    Args:
        rows: from `did_book.pages.costs.rows_of`.
        stamp: where the numbers come from.

    Raises:
        DidError: If there is no row.
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
