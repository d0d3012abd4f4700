"""The result at the top of README.md and of the book, from the record of Table 1: two sentences and a figure.

`did book front` writes both into README; a test fails when README and record disagree.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import seaborn as sns

from did.errors import DidError
from did.paper.records import Record, comparisons, frame, kind, load, verdict
from did.paper.tables import gap
from did.plots.base import PALETTE, Plot, canvas, in_words, put_stamp
from did.utils.files import write_atomically
from did_book.pages.found import answers, bullets

#: The record that README quotes, and the figure that it shows.
RECORD = "table1_intra_cross-laptop-drawn.json"
FIGURE = "book/images/result.png"
#: The rows that it shows: what DID is built on, what knows the methods' names and does nothing else, and DID.
SHOWN = ("BCE", "(k+1)-way CE", "DID")
#: Questions of "What we found" that the book's first page answers, and README.
QUESTIONS, IN_README = 5, 4
_MARKS = "<!-- result: written by `did book front` -->", "<!-- end of result -->"
_SAYS = {
    "ahead": "the interval lies above 0, so DID is ahead on this data",
    "behind": "the interval lies below 0, so DID is behind on this data",
    "undecided": "the interval contains 0, so these runs do not tell which of the two is better",
}


def record(root: Path) -> Record:
    """Return the record that README quotes.

    Raises:
        DidError: If the checkout does not have it.
    """
    for entry in load(root / "results"):
        if f"{entry['experiment']}-{entry['preset']}-{entry['bank']}.json" == RECORD:
            return entry
    raise DidError(f"results/ has no {RECORD}: make it with `make results`")


def sentences(entry: Record) -> str:
    """Say in two sentences how far the detectors fall, and whether DID is better than BCE across data sets."""
    rows = frame(entry["rows"])
    auc = rows[(rows.level == "frame") & (rows.metric == "auc")].set_index(["row", "test"]).ours
    falls = [f"{row} from {auc[row, 'FF++']:.3f} to {auc[row, 'CDF2']:.3f}" for row in ("BCE", "DID")]
    found = comparisons([entry]).set_index(["a", "b", "test"])
    one = found.loc[("DID", "BCE", "CDF2")]
    seeds = int(one.seeds)
    return (
        f"Trained on a stand-in of FaceForensics++, both detectors have a lower AUC on a stand-in of Celeb-DF: "
        f"{falls[0]} and {falls[1]}. On Celeb-DF, DID's AUC less BCE's is {gap(one)} over "
        f"{seeds} seeds: {_SAYS[verdict(one.low, one.high)]}."
    )


def figure(entry: Record) -> Plot:
    """Draw how far each of `SHOWN` falls from its own data set to the next: AUC per frame, with its interval."""
    rows = frame(entry["rows"])
    data = rows[(rows.level == "frame") & (rows.metric == "auc") & rows.row.isin(SHOWN)].reset_index(drop=True)
    tests = list(dict.fromkeys(data.test))
    looks = dict(zip(tests, [(PALETTE[6], "o"), (PALETTE[4], "s")], strict=True))
    words = dict(zip(tests, ["tested on the methods it has seen", "tested on the next data set"], strict=True))
    plot, axes = canvas(7.0, 0.9 + 0.5 * len(SHOWN))
    axis = axes[0, 0]
    for test, (colour, marker) in looks.items():
        part = data[data.test == test]
        at = part.row.map(SHOWN.index)
        axis.hlines(at, part.low, part.high, color=colour, lw=2)
        axis.plot(part.ours, at, marker, color=colour, ms=8, label=f"{words[test]} ({test}'s stand-in)")
    for at, name in enumerate(SHOWN):
        before, after = (data[(data.row == name) & (data.test == test)].iloc[0] for test in tests)
        if after.high < before.low:
            arrow = {"arrowstyle": "->", "color": "gray", "lw": 1}
            axis.annotate("", (after.high + 0.005, at), (before.low - 0.005, at), arrowprops=arrow)
    axis.set_yticks(range(len(SHOWN)), SHOWN)
    axis.axvline(0.5, color="black", lw=0.8, ls=":")
    axis.set(xlabel="AUC per frame, 95% interval (dotted: chance level)", ylim=(len(SHOWN) - 0.5, -0.6), xlim=(0.45, 1))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=2, fontsize=8, frameon=False)
    sns.despine(ax=axis)
    put_stamp(plot, f"{kind(entry)}. {entry['protocol']}. Commit {entry['provenance']['commit']}")
    said = "; ".join(f"{row.row} on {row.test}: {in_words(row.ours, row.low, row.high)}" for row in data.itertuples())
    return Plot(plot, data[["row", "test", "ours", "low", "high", "seeds"]], f"AUC per frame: {said}.")


def _label(entry: Record) -> str:
    return f"*{kind(entry)}, preset {entry['preset']}: not a reproduction of the paper's numbers.*"


def result(root: Path) -> str:
    """Return what the book's first page includes: the sentences, the figure and the first answers."""
    entry, entries = record(root), load(root / "results")
    picture = f"```{{image}} {Path(FIGURE).relative_to('book')}\n:alt: {figure(entry).alt}\n:width: 100%\n```"
    return f"{sentences(entry)}\n\n{picture}\n\n{_label(entry)}\n\n{answers(entries, 'executed/', QUESTIONS)}"


def block(entry: Record, entries: Sequence[Record]) -> str:
    """Return what README.md has between its marks: the sentences, the figure with its words, and the first answers."""
    parts = [sentences(entry), f"![{figure(entry).alt}]({FIGURE})", _label(entry), bullets(entries, IN_README)]
    return "\n\n".join([f"{_MARKS[0]}\n{parts[0]}", *parts[1:]]) + f"\n{_MARKS[1]}"


def written(readme: str) -> str:
    """Return the block that a README has now.

    Raises:
        DidError: If the marks are missing.
    """
    found = re.search(rf"{re.escape(_MARKS[0])}\n.*?{re.escape(_MARKS[1])}", readme, re.S)
    if not found:
        raise DidError(f"README.md lacks the marks {_MARKS[0]} and {_MARKS[1]}: put them back")
    return found[0]


def write(root: Path) -> None:
    """Write README's block and its figure from the record.

    Raises:
        DidError: If the record or the marks are missing.
    """
    entry, file = record(root), root / "README.md"
    text = file.read_text(encoding="utf-8")
    new = text.replace(written(text), block(entry, load(root / "results")))
    write_atomically(
        root / FIGURE, lambda path: figure(entry).figure.savefig(path, format="png", dpi=130, bbox_inches="tight")
    )
    write_atomically(file, lambda path: path.write_text(new, encoding="utf-8"))
