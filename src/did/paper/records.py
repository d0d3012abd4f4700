"""The ledger: one small JSON for each finished table or figure in `results/`, written by `conduct`.

A record is all that tables, sentences, verdicts, figures, pages and `did ledger` read; no run has to be at hand.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from did.data.layout import lacking
from did.data.table import read_csv
from did.errors import DidError
from did.sources import STANDIN
from did.training.provenance import provenance
from did.utils.files import alone, checkout, given_path, home, write_atomically

#: experiment, title, claim (quote, where), preset, edition, bank (licensed, licensed-part, drawn or portraits), data,
#: counts (of licensed data, found and published), protocol, seeds, setup (row -> what was run), rows, differences,
#: figures (name -> columns of a table, see `part`), verdict, sentences, runs (row -> names), and provenance (commit,
#: machine, date, minutes of this experiment, minutes that training its runs took, now or before, and the stamp).
Record = dict[str, Any]
#: Without these a file is not a record. What an older record lacks besides, `part` and the pages say.
_PARTS = set(
    "experiment title preset edition bank data protocol seeds rows differences sentences runs provenance".split()
)
#: What the stamp of every number from a stand-in begins with.
NO_REPRODUCTION = f"{STANDIN}, no reproduction of a published number. "
#: The preset whose numbers mean nothing.
SMOKE = "smoke"


def plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Convert a table's rows for JSON, which has no NaN; numbers are rounded to six decimals."""
    rows = table.to_dict("records")
    return [{str(key): _value(value, 6) for key, value in row.items()} for row in rows]


def columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Convert a table's columns for JSON, not rounded; `of_columns` converts them back."""
    return {str(name): [_value(value) for value in table[name]] for name in table}


def _value(value: Any, decimals: int | None = None) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else value if decimals is None else round(value, decimals)


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Convert rows of a record to a table, with NaN for null.

    Without that, a column that contains only null would have the type object.
    """
    return pd.DataFrame([{name: _number(value) for name, value in row.items()} for row in rows])


def took(minutes: float, before: float, runs: int) -> str:
    """Say how long an experiment took, and how long the training of its runs."""
    return f"{minutes:.1f} min (training its {runs} runs, now or before: {before:.1f} min)"


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def part(record: Record, name: str) -> pd.DataFrame:
    """Return what an experiment measured besides its rows, such as the confusion matrix of Fig. 5.

    Raises:
        DidError: If the record does not have it.
    """
    found = record.get("figures", {})
    if name not in found:
        raise DidError(f"the record of {record['experiment']} has no '{name}': make it again with this version")
    return of_columns(found[name])


def of_columns(found: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return the table that `columns` turned into lists."""
    return pd.DataFrame({column: [_number(value) for value in of] for column, of in found.items()})


def folder() -> Path:
    """Return `results/` of the project."""
    return home() / "results"


def places() -> list[Path]:
    """Return `results/` of the project, and of the checkout around the working folder if there is one."""
    around = checkout()
    return [folder()] if around is None else [folder(), around / "results"]


def nearest(named: str | Path | None = None) -> Path:
    """Return the folder in which a page looks for records.

    It is the folder that is named, else `results/` of the project, else `results/` of the checkout around the working
    folder if the project contains no record of a preset larger than smoke.
    """
    if named is not None:
        return given_path(named, "records")
    for place in places():
        if any(f"-{SMOKE}-" not in file.name for file in place.glob("*.json")):
            return place
    return folder()


def without_smoke(entries: Sequence[Record]) -> list[Record]:
    """Select the records whose numbers mean something: preset smoke runs in seconds and learns nothing.

    Raises:
        DidError: If none is left.
    """
    kept = [entry for entry in entries if entry["preset"] != SMOKE]
    if not kept:
        raise DidError(f"every record is of preset {SMOKE}, whose numbers mean nothing: `make results` makes others")
    return kept


def left_out(entries: Sequence[Record]) -> list[str]:
    """Say in one sentence how many records `without_smoke` drops; an empty list if it drops none."""
    number = sum(entry["preset"] == SMOKE for entry in entries)
    return [f"Left out, since their numbers mean nothing: {number} of preset {SMOKE}."] if number else []


def save(entry: Record, into: Path | None = None) -> Path:
    """Write a record in place of the one of the same experiment, preset and kind of data, and return its file.

    Raises:
        DidError: If it cannot be written.
    """
    place = into or folder()
    file = place / f"{entry['experiment']}-{entry['preset']}-{entry['bank']}.json"
    text = json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
    return file


def load(place: Path | None = None) -> list[Record]:
    """Load all records, sorted by name.

    Raises:
        DidError: If there are none, or one cannot be read.
    """
    at = place or folder()
    found = [read(file) for file in sorted(at.glob("*.json"))]
    if not found:
        raise DidError(f"no record in {at}: `make results`, in a checkout, makes them")
    return found


def read(file: Path) -> Record:
    """Read one record.

    Raises:
        DidError: If it cannot be read, or is not a record.
    """
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        if lacking := _PARTS - set(entry):
            raise ValueError(f"it has no '{min(lacking)}'")
        table([entry]), timings([entry])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DidError(f"the record {file} cannot be read ({error}): make it again, or remove it") from error
    return entry


def kind(entry: Record) -> str:
    """Return the kind of data: `licensed`, `licensed, part` (less is found than published), or `STAND-IN (bank)`."""
    if entry["edition"] != "licensed":
        return f"{STANDIN} ({entry['bank']})"
    return "licensed, part" if any(map(lacking, entry.get("counts", {}).values())) else "licensed"


def completeness(entry: Record) -> str:
    """Describe how much of each published data set was found; "" for stand-ins."""
    said = []
    for name, counts in entry.get("counts", {}).items():
        missing = f", {counts['missing']} of its lists let be missing" if counts["missing"] else ""
        said.append(f"{name}: {lacking(counts) or 'all that is published'}{missing}")
    return "; ".join(said)


SIDES = ("ahead", "behind", "undecided")


def verdict(low: float, high: float) -> str:
    """Return which of `SIDES` the interval of a difference says; `undecided` if it contains 0."""
    return "ahead" if low > 0 else "behind" if high < 0 else "undecided"


def comparisons(entries: Sequence[Record]) -> pd.DataFrame:
    """Tabulate every compared difference of frame AUCs.

    Columns: experiment, of (its label), a, b, test, difference, std, low, high, p, seeds, people, paper (the published
    difference, or NaN), kind, so (see `verdict`). Records up to version 0.1 have no p and no people.
    """
    rows = [
        {"experiment": entry["experiment"], "of": label(entry["title"]), **row, "kind": kind(entry)}
        for entry in entries for row in entry["differences"] if row["level"] == "frame"
    ]  # fmt: skip
    names = "experiment of a b test difference std low high p seeds people paper kind".split()
    found = frame(rows).reindex(columns=names)
    return found.assign(so=[verdict(*ends) for ends in zip(found.low, found.high, strict=True)])


def label(title: str) -> str:
    """Return `Table 1` from the title of Table 1."""
    return title.split(":")[0]


def table(entries: Sequence[Record]) -> pd.DataFrame:
    """Tabulate paper against ours, one row per number.

    Columns: experiment, row, on (backbone), test, level, metric, paper, here, low, high, std, seeds, note, kind (see
    `kind`), preset, data, found (see `completeness`), protocol, commit, date.
    """
    rows = []
    for entry in entries:
        common = {
            "kind": kind(entry),
            "preset": entry["preset"],
            "data": "; ".join(entry["data"].values()),
            "found": completeness(entry),
            "protocol": entry["protocol"],
            "commit": entry["provenance"]["commit"],
            "date": entry["provenance"]["date"][:10],
        }
        for row in entry["rows"]:
            numbers = {"paper": row["paper"], "here": row["ours"]}
            numbers |= {name: row[name] for name in ("low", "high", "std", "seeds")}
            place = {key: row[key] for key in ("row", "runs_on", "test", "level", "metric")}
            note = "" if row["run_here"] else "not run here"
            rows.append({"experiment": entry["experiment"], **place, **numbers, "note": note, **common})
    return frame(rows)


WALL = "wall.csv"


def note_wall(seconds: float, preset: str, notebooks: int, into: Path | None = None) -> Path:
    """Add the duration of a whole `make results` to `wall.csv`, with machine, commit and date."""
    where = provenance()
    row = {
        **{name: where[name] for name in ("date", "commit")},
        **{"preset": preset, "notebooks": notebooks, "minutes": round(seconds / 60, 1)},
        **{name: where["machine"][name] for name in ("cores", "gpu")},
    }
    file = (into or folder()) / WALL
    with alone(file):
        before = read_csv(file) if file.is_file() else pd.DataFrame()
        whole = pd.concat([before, pd.DataFrame([row])])
        write_atomically(file, lambda path: whole.to_csv(path, index=False))
    return file


def timings(entries: Sequence[Record]) -> pd.DataFrame:
    """Tabulate the minutes of each record's notebook and of its runs, with machine, commit and date."""
    rows = [
        {
            **{name: entry[name] for name in ("experiment", "preset", "bank")},
            "seeds": len(entry["seeds"]),
            "minutes": (where := entry["provenance"])["minutes"],
            "minutes of its runs": where["minutes_runs"],
            **{name: where["machine"][name] for name in ("cores", "gpu")},
            "commit": where["commit"],
            "date": where["date"][:10],
        }
        for entry in entries
    ]
    return pd.DataFrame(rows)
