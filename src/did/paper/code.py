"""With which code a run was trained, or last replayed, and whether that is the code of a whole table."""

import json
from typing import Any

from did.training.runs import Run

#: What a replay leaves in the run's folder, see `did.paper.replay`.
REPLAYED = "replayed.json"


def code_of(run: Run) -> dict[str, str]:
    """Return the hash of each module that a run was trained with, or last replayed with; empty for runs before 0.2."""
    file = run.folder / REPLAYED
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found["code"]
    return run.record["provenance"].get("code", {})


def code_of_all(runs: dict[str, list[Run]], now: dict[str, str]) -> dict[str, str]:
    """Return the hash of each module that decides a table: of its runs' code, and of how they are evaluated today.

    Args:
        runs: row -> its runs, which differ in their seed: the first one speaks for all.
        now: today's hashes of all modules that decide the table.

    Returns:
        Module -> digits; "several" where rows have different ones or none, so that it is not today's.
    """
    codes = [code_of(of[0]) for of in runs.values()]
    found = {}
    for module, today in now.items():
        digits = {code[module] for code in codes if module in code}
        found[module] = (
            today if module.startswith("did.evaluation.") else digits.pop() if len(digits) == 1 else "several"
        )
    return found
