"""The page "The rivals": a card for each, from its docstrings, the tables' rows, the records and the costs."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from did.paper.definition import Row
from did.paper.experiments import EXPERIMENTS
from did.paper.kept import RUNS, Kept
from did.paper.records import Record, comparisons, frame, kind, load
from did.paper.tables import digits, gap
from did.settings import Settings
from did.task import learning, options_of, task_named
from did_book.pages import costs

_INTRO = """# The rivals

Tables 1 and 2 of the paper compare DID with ten other systems. Most of their numbers come from other papers, each with
a protocol of its own; no code that ran them side by side is known. Here all but one are built and trained under one
protocol: the same faces, crops, frames, batches, selection and intervals, and the same backbone where a system has one.
The exception is DIRE, whose diffusion model is not available; *DIRE-small* is its recipe with a small one that is
trained here. What starts from random weights, trains few of them or sees no forgery is trained longer than the others;
its card says how long. Below preset `paper` Xception has the backbone of all, so that it is BCE and has no card.
Beside them are what a new detector should be compared with today (SBI, the GenD recipe, plain cross-entropy with
augmentation), UCF, the rival nearest to DID, and a control that only learns to name the methods.

Own numbers are from **{kinds}**. They compare the systems with each other here, after a short training; they reproduce
no published number. AUCs are per frame, with 95% intervals over people and seeds.{missing}

Adding a rival takes three files: a module in `src/did/rivals/` with one class, its test, and a line in the reference;
to appear in the tables, it also needs a row in `did.paper.experiments`. See [](../your_own.md).
"""
#: Tests by experiment, in the order of a card.
_TESTS = {"table1_intra_cross": ("FF++", "CDF2"), "table2_diffusion": ("T2I", "I2I", "FS", "FE")}


def rivals_page(root: Path) -> str:
    """Return the page as MyST text.

    Args:
        root: the project, with its records and benchmarks.
    """
    of = {entry["experiment"]: entry for entry in load(root / "results")
          if entry["experiment"] in _TESTS and entry["bank"] == "drawn"}  # fmt: skip
    rows = [row for row in EXPERIMENTS["table1_intra_cross"].rows if row.task and row.name not in ("DID", "Xception")]
    measured = costs.load(root / "benchmarks" / "results").get("cpu", {}).get("rivals")
    timed = costs.rows_of(measured) if measured else []
    kinds = ", ".join(dict.fromkeys(kind(entry) for entry in of.values())) or "no record yet"
    absent = [row.name for row in rows if not any(row.name in entry["setup"] for entry in of.values())]
    missing = f" Not all runs of these are in the records yet: {', '.join(absent)}." if absent and of else ""
    curves = _curves(root / "results" / RUNS)
    return "\n".join([_INTRO.format(kinds=kinds, missing=missing), *(_card(row, of, timed, curves) for row in rows)])


def _curves(folder: Path) -> dict[str, pd.Series]:
    """Return the validation AUC by iteration of each kept run, by the run's name."""
    found = {}
    for run in map(Kept.read, sorted(folder.glob("*.json"))):
        found[str(run.folder)] = run.history.set_index("iteration")["validation AUC"].dropna()
    return found


def _card(row: Row, entries: dict[str, Record], timed: Sequence[costs.Row], curves: Mapping[str, pd.Series]) -> str:
    task = task_named(str(row.task))
    module, doc = sys.modules[task.__module__], inspect.getdoc(task) or ""
    said = inspect.cleandoc(module.__doc__ or "").split("\n\n")
    facts = [part for part in doc.split("\n\n")[1:] if not part.startswith("Raises:")]
    lines = [
        f"## {row.name}\n",
        said[0].replace("\n", " ") + "\n",
        *(f"{part}\n" for part in said[1:]),
        *(f"{part}\n" for part in facts),
        *_numbers(row, entries),
        f"*Size:* {_size(row)}. *Training here:* {_training(row, entries)}.{_curve(row, entries, curves)}"
        f"{_cost(row, timed)} "
        f"*Code:* {{py:mod}}`{task.__module__}`.\n",
    ]
    return "\n".join(lines)


def _numbers(row: Row, entries: dict[str, Record]) -> list[str]:
    """Tabulate published and own AUCs, and DID less this system."""
    lines = ["| tested on | published | here | DID less this, here |", "|---|---|---|---|"]
    for name, entry in entries.items():
        rows = frame(entry["rows"])
        rows = rows[(rows.level == "frame") & (rows.metric == "auc") & (rows.row == row.name)].set_index("test")
        gaps = comparisons([entry])
        gaps = gaps[(gaps.a == "DID") & (gaps.b == row.name)].set_index("test")
        for test in _TESTS[name]:
            paper = {**{r.name: r.paper for r in EXPERIMENTS[name].rows}.get(row.name, {})}.get((test, "auc"))
            here = rows.loc[test] if test in rows.index else None
            apart = gaps.loc[test] if test in gaps.index else None
            lines.append(
                f"| {test} | {'-' if paper is None else f'{paper:.3f}'} | "
                + f"{'-' if here is None else digits(here.ours, here.low, here.high)} | "
                + f"{'-' if apart is None else gap(apart)} |"
            )
    return [*lines, ""] if len(lines) > 2 else []


def _training(row: Row, entries: dict[str, Record]) -> str:
    for entry in entries.values():
        if row.name in entry["setup"]:
            of: dict[str, Any] = entry["setup"][row.name]
            seeds = len(entry["runs"][row.name])
            return f"{of['backbone']}, changed from preset {entry['preset']}: {of['changed']}; {seeds} seeds"
    return "none yet"


def _curve(row: Row, entries: dict[str, Record], curves: Mapping[str, pd.Series]) -> str:
    """Say how the validation AUC went while the runs of a row were trained: the mean of the seeds."""
    names: list[str] = next((entry["runs"][row.name] for entry in entries.values() if row.name in entry["runs"]), [])
    known = [curves[name] for name in names if name in curves]
    if not known:
        return ""
    mean = pd.concat(known, axis=1).mean(axis=1)
    way = ", ".join(f"{value:.3f} after {int(at)}" for at, value in mean.items())
    return f" *Validation AUC*, mean of its seeds: {way} iterations."


def _size(row: Row, preset: str = "laptop") -> str:
    """Count what is trained and what is used at test, at a preset, without loading weights."""
    kind_of = task_named(str(row.task))
    settings = row.settings(preset, 0, "ffpp")
    settings = Settings.of({**settings.as_dict(), "pretrained": "none"})
    with torch.random.fork_rng([]):
        task = kind_of(settings, 5, options_of(kind_of, row.options_at(preset)))
    trained, test = (sum(p.numel() for p in of) for of in (learning(task), task.detector().parameters()))
    return f"{trained / 1e6:.2f} million parameters trained, {test / 1e6:.2f} million at test (preset {preset})"


def _cost(row: Row, timed: Sequence[costs.Row]) -> str:
    found = {each.what: each for each in timed if each.sides[0] == row.name}
    if not found:
        return ""
    said = ", ".join(f"{each.ratio:.1f} times BCE's {what}" for what, each in found.items())
    return f" *Cost:* {said}."
