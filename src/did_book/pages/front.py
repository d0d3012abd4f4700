"""The result at the top of README.md, from the record of Table 1: two sentences and a figure.

`did book front` writes both; a test fails when README and record disagree.
"""

import re
from pathlib import Path

import seaborn as sns

from did.errors import DidError
from did.paper.records import Record, comparisons, frame, kind, load, verdict
from did.plots.base import PALETTE, Plot, canvas, in_words, put_stamp
from did.utils.files import write_atomically

#: The record that README quotes, and the figure that it shows.
RECORD = "table1_intra_cross-laptop-drawn.json"
FIGURE = "book/images/result.png"
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
        f"Trained on a stand-in of FaceForensics++ and tested on a stand-in of Celeb-DF, the AUC falls for both "
        f"detectors: {falls[0]} and {falls[1]}. There, DID less BCE is {one.difference:+.3f} [{one.low:+.3f}, "
        f"{one.high:+.3f}] over {seeds} seeds: {_SAYS[verdict(one.low, one.high)]}."
    )


def figure(entry: Record) -> Plot:
    """Draw the AUC of every row that was run, on both test sets, with its interval."""
    rows = frame(entry["rows"])
    data = rows[(rows.level == "frame") & (rows.metric == "auc") & rows.run_here.astype(bool)].reset_index(drop=True)
    names, tests = list(dict.fromkeys(data.row)), list(dict.fromkeys(data.test))
    plot, axes = canvas(7.0, 0.9 + 0.45 * len(names))
    axis = axes[0, 0]
    for number, test in enumerate(tests):
        part = data[data.test == test]
        at = part.row.map(names.index) + 0.16 * (number - (len(tests) - 1) / 2) * 2
        colour, marker = (PALETTE[6], "o") if number == 0 else (PALETTE[4], "s")
        axis.hlines(at, part.low, part.high, color=colour, lw=2)
        axis.plot(part.ours, at, marker, color=colour, ms=7, label=f"tested on {test}'s stand-in")
    axis.set_yticks(range(len(names)), names)
    axis.axvline(0.5, color="black", lw=0.8, ls=":")
    axis.set(xlabel="AUC per frame, 95% interval (dotted: chance level)", ylim=(len(names) - 0.5, -0.6), xlim=(0.35, 1))
    axis.legend(loc="lower left", fontsize=8, frameon=False)
    sns.despine(ax=axis)
    put_stamp(plot, f"{kind(entry)}. {entry['protocol']}. Commit {entry['provenance']['commit']}")
    said = "; ".join(f"{row.row} on {row.test}: {in_words(row.ours, row.low, row.high)}" for row in data.itertuples())
    return Plot(plot, data[["row", "test", "ours", "low", "high", "seeds"]], f"AUC per frame: {said}.")


def block(entry: Record) -> str:
    """Return what README.md has between its marks: the sentences and the figure with its alternative text."""
    label = f"*{kind(entry)}, preset {entry['preset']}: not a reproduction of the paper's numbers.*"
    return f"{_MARKS[0]}\n{sentences(entry)}\n\n![{figure(entry).alt}]({FIGURE})\n\n{label}\n{_MARKS[1]}"


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
    new = text.replace(written(text), block(entry))
    write_atomically(
        root / FIGURE, lambda path: figure(entry).figure.savefig(path, format="png", dpi=130, bbox_inches="tight")
    )
    write_atomically(file, lambda path: path.write_text(new, encoding="utf-8"))
