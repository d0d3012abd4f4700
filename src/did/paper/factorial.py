"""What carries DID: every admissible combination of its parts, and what each part adds on average.

A cell is a set of parts, and its row is named after them. What a part adds is the mean of all differences between a
cell with it and the same cell without it. So each run serves every part, and a part is judged beside every combination
of the others, not in the full method alone.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from did import evaluation
from did.evaluation.intervals import Drawn, ends
from did.paper.definition import Row
from did.paper.measures import Tables, Tested
from did.paper.records import Record, part, verdict
from did.paper.tables import by_test, counted, gap

#: The parts, in the order of their names: the attention A_df and with it the split; the domain head's loss; the
#: attention before that head; the game with T; the AUC loss beside BCE; the field's light augmentation.
PARTS = ("A_df", "L_dom", "A_dom", "T", "L_auc", "augmentation")
#: The cell without any: BCE through DID's head, on a plain backbone.
NOTHING = "none of them"
#: How many times as long the cells with augmentation are trained for what the parts add later.
LATER = 4.0
#: Part -> what it cannot be without.
NEEDS = {"A_dom": "L_dom", "T": "A_df"}

Cell = frozenset[str]


def name_of(cell: Cell) -> str:
    """Return the name of a cell's row.

    Examples:
        >>> name_of(frozenset({"T", "A_df"})), name_of(frozenset())
        ('A_df + T', 'none of them')
    """
    return " + ".join(each for each in PARTS if each in cell) or NOTHING


def cell_of(name: str) -> Cell:
    """Return the parts that a row's name lists."""
    return frozenset() if name == NOTHING else frozenset(name.split(" + "))


def cells() -> list[Cell]:
    """Return every combination of parts in which each has what it needs: 36 of them."""
    subsets = itertools.chain.from_iterable(itertools.combinations(PARTS, size) for size in range(len(PARTS) + 1))
    return [frozenset(of) for of in subsets if all(NEEDS[each] in of for each in of if each in NEEDS)]


def row_of(cell: Cell, length: float = 1.0) -> Row:
    """Return the row that trains a cell: `did` with the split, `undivided` without it.

    Args:
        cell: its parts.
        length: iterations over the preset's.
    """
    changes: dict[str, Any] = {"alpha": 0.5 if "L_auc" in cell else 1.0}
    if "augmentation" in cell:
        changes["augment"] = "light"
    if "A_df" not in cell:
        if "L_dom" not in cell:
            changes["lambda_dom"] = 0.0
        return Row(name_of(cell), "undivided", changes, options={"domain_attention": "A_dom" in cell}, length=length)
    changes |= {"domain_attention": "A_dom" in cell, "decorrelation": "T" in cell}
    if "L_dom" not in cell:
        changes["domain_branch"] = "dropped"
    return Row(name_of(cell), "did", changes, length=length)


#: What its 95% intervals are over: a cell has one seed.
OVER = "people, and for what a part adds over people and pairs of detectors"


def effects(outcome: Tested) -> Tables:
    """Measure what each part adds to the frame AUC, alone and with each other part.

    Returns:
        effects: part, test, difference (mean over all cells that differ in this part alone), low, high, p, pairs (of
        cells and seeds), people, so; interactions: part, other, test, difference (what the part adds beside the other,
        less what it adds without it), low, high, p, pairs, people, so. The 95% intervals are over people and over the
        pairs, whose spread holds that of training and of the other parts.
    """
    found: dict[str, list[dict[str, Any]]] = {"effects": [], "interactions": []}
    for test, (source, _) in outcome.experiment.tests.items():
        drawn = {
            cell_of(name): evaluation.draws([outcome.scores(one, source) for one in of])
            for name, of in outcome.runs.items()
        }
        of_part = {name: added(drawn, name) for name in PARTS}
        for name, gaps in of_part.items():
            if gaps:
                found["effects"].append({"part": name, "test": test, **_told(list(gaps.values()))})
        for name, other in itertools.combinations(PARTS, 2):
            with_it = {cell: gap for cell, gap in of_part[name].items() if other in cell}
            pairs = [gap - of_part[name][cell - {other}] for cell, gap in with_it.items()
                     if cell - {other} in of_part[name]]  # fmt: skip
            if pairs:
                found["interactions"].append({"part": name, "other": other, "test": test, **_told(pairs)})
    return {name: pd.DataFrame(rows) for name, rows in found.items()}


def added(of: Mapping[Cell, Drawn], name: str) -> dict[Cell, Drawn]:
    """Return what a part adds in each cell that has it and whose like without it is there."""
    return {cell: drawn - of[cell - {name}] for cell, drawn in of.items() if name in cell and cell - {name} in of}


def _told(gaps: Sequence[Drawn]) -> dict[str, Any]:
    """Return mean, interval and p value of differences that count as runs of one difference."""
    drawn = Drawn(np.concatenate([gap.values for gap in gaps]), np.concatenate([gap.draws for gap in gaps]),
                  gaps[0].people)  # fmt: skip
    low, high = ends(drawn)
    p = 2 * float(t.sf(abs(drawn.mean) / drawn.se, drawn.df)) if drawn.se > 0 else float(drawn.mean == 0)
    return {"difference": drawn.mean, "low": low, "high": high, "p": p, "pairs": len(drawn.values),
            "people": drawn.people, "so": verdict(low, high)}  # fmt: skip


def carried(record: Record) -> list[str]:
    """Say what each part adds on each test, which parts work together, and how many would by chance."""
    if "effects" not in record.get("figures", {}):
        return []
    found, said = part(record, "effects"), []
    if not len(found):
        return ["No two of these rows differ in one part alone."]
    for name, of in found.groupby("part", sort=False):
        said.append(f"What {name} adds: {by_test(of)}, over {counted(of.pairs.iloc[0], 'pair')}.")
    off = found[found.so != "undecided"]
    said.append(
        f"Of these {len(found)} effects, {len(off)} have intervals that do not contain 0; "
        f"{0.05 * len(found):.1f} would by chance."
    )
    both = part(record, "interactions")
    if len(both):
        clear = [f"{row.part} with {row.other} on {row.test} {gap(row)}"
                 for row in both[both.so != "undecided"].itertuples()]  # fmt: skip
        said.append(
            f"Of {len(both)} interactions of two parts, {len(clear)} have intervals that do not contain 0"
            + (f" ({'; '.join(clear)})" if clear else "")
            + f"; {0.05 * len(both):.1f} would by chance."
        )
    return said
