"""The ledger: one small JSON a finished table in `results/`, and all of them as one table, paper against ours.

From the records alone, without a run at hand, the page *Paper against ours* is made: `summary` and `section`.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from did.data.layout import lacking
from did.data.table import read_csv
from did.errors import DidError
from did.paper import published
from did.paper.conduct import Outcome
from did.sources import STANDIN
from did.training.provenance import provenance
from did.utils.files import alone, given_path, home, write_atomically

_PARTS = set(
    "experiment title preset edition bank data protocol seeds rows differences sentences runs provenance".split()
)
#: The preset whose numbers mean nothing.
SMOKE = "smoke"


def record(outcome: Outcome, sentences: Sequence[str], table: pd.DataFrame | None = None) -> dict[str, Any]:
    """An experiment's record.

    Args:
        outcome: what came of it.
        sentences: what was said of it.
        table: in place of the outcome's, for figures that have one of their own.

    Returns:
        experiment, title, claim, preset, edition, bank (licensed, licensed-part, drawn or portraits), data, counts (of
        licensed data, found and published), protocol, seeds, rows, differences, sentences, runs (row -> names),
        provenance (commit, machine, date, minutes of this notebook, minutes that the training of its runs took, now or
        before).
    """
    made = {name: [one.record for one in of] for name, of in outcome.runs.items()}
    training = {one["run"]: one["provenance"]["minutes"] for of in made.values() for one in of}
    quote, where = published.CLAIMS.get(outcome.experiment.name, ("", ""))
    return {
        "experiment": outcome.experiment.name,
        "title": outcome.experiment.title,
        "claim": {"quote": quote, "where": where},
        "preset": outcome.preset,
        "edition": outcome.edition,
        "bank": outcome.bank,
        "data": {name: source.label for name, source in outcome.sources.items()},
        "counts": {name: dict(source.counts) for name, source in outcome.sources.items() if source.counts.get("found")},
        "protocol": outcome.protocol,
        "seeds": outcome.seeds,
        "rows": _plain(outcome.table if table is None else table),
        "differences": _plain(outcome.differences),
        "sentences": list(sentences),
        "runs": {name: [one["run"] for one in of] for name, of in made.items()},
        "provenance": {**provenance(), "minutes": outcome.minutes, "minutes_runs": sum(training.values())},
    }


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON, which has no NaN; rounded to what a reader and a comparison need."""
    rows = table.to_dict("records")
    return [{str(key): _value(value) for key, value in row.items()} for row in rows]


def _value(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def folder() -> Path:
    """`results/` of the project."""
    return home() / "results"


def nearest(named: str | Path | None = None) -> Path:
    """Where a page looks for records: the folder that is named, else `results/` of the project, else `results/` of the
    checkout around the working folder, where `DID_HOME` holds none of a preset larger than smoke."""
    if named is not None:
        return given_path(named, "records")
    here = Path.cwd().resolve()
    checkouts = [each / "results" for each in (here, *here.parents) if (each / "src/did/__init__.py").is_file()]
    for place in (folder(), *checkouts[:1]):
        if any(f"-{SMOKE}-" not in file.name for file in place.glob("*.json")):
            return place
    return folder()


def without_smoke(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records whose numbers mean something: preset smoke runs in seconds and learns nothing.

    Raises:
        DidError: none is left.
    """
    kept = [entry for entry in entries if entry["preset"] != SMOKE]
    if not kept:
        raise DidError(f"every record is of preset {SMOKE}, whose numbers mean nothing: `make results` makes others")
    return kept


def left_out(entries: Sequence[dict[str, Any]]) -> list[str]:
    """How many records `without_smoke` drops, in one sentence; none where it drops none."""
    number = sum(entry["preset"] == SMOKE for entry in entries)
    return [f"Left out, since their numbers mean nothing: {number} of preset {SMOKE}."] if number else []


def save(entry: dict[str, Any], into: Path | None = None) -> Path:
    """Write a record, in place of the one of the same experiment, preset and kind of data. Returns its file."""
    place = into or folder()
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{entry['experiment']}-{entry['preset']}-{entry['bank']}.json"
    text = json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
    return file


def load(place: Path | None = None) -> list[dict[str, Any]]:
    """All records, by name.

    Raises:
        DidError: one that cannot be read, or none.
    """
    at = place or folder()
    found = []
    for file in sorted(at.glob("*.json")):
        try:
            entry = json.loads(file.read_text(encoding="utf-8"))
            if lacking := _PARTS - set(entry):
                raise ValueError(f"it has no '{min(lacking)}'")
            table([entry]), timings([entry])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DidError(f"the record {file} cannot be read ({error}): make it again, or remove it") from error
        found.append(entry)
    if not found:
        raise DidError(f"no record in {at}: `make results`, in a checkout, makes them")
    return found


def kind(entry: dict[str, Any]) -> str:
    """`licensed`, `licensed, part` if less is found than published, or `STAND-IN` with what its faces are from."""
    if entry["edition"] != "licensed":
        return f"{STANDIN} ({entry['bank']})"
    return "licensed, part" if any(map(lacking, entry.get("counts", {}).values())) else "licensed"


def completeness(entry: dict[str, Any]) -> str:
    """Return for each data set how much of what is published was found, in words; "" for stand-ins."""
    said = []
    for name, counts in entry.get("counts", {}).items():
        missing = f", {counts['missing']} of its lists let be missing" if counts["missing"] else ""
        said.append(f"{name}: {lacking(counts) or 'all that is published'}{missing}")
    return "; ".join(said)


def _numbers(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a record with NaN for null: a column of nothing but null would be one of objects."""
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]


def table(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Paper against ours, one row a number: experiment, row, on (backbone), test, level, metric, paper, here, low,
    high, std, seeds, note, kind (see `kind`), preset, data, found (see `completeness`), protocol, commit, date."""
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
        for row in _numbers(entry["rows"]):
            numbers = {"paper": row["paper"], "here": row["ours"]}
            numbers |= {name: row[name] for name in ("low", "high", "std", "seeds")}
            place = {key: row[key] for key in ("row", "runs_on", "test", "level", "metric")}
            note = "" if row["run_here"] else "not run here"
            rows.append({"experiment": entry["experiment"], **place, **numbers, "note": note, **common})
    return pd.DataFrame(rows)


def shown(entry: dict[str, Any]) -> str:
    """One record for a terminal: its title and kind, protocol, rows with their kind, sentences, machine and minutes."""
    rows = table([entry])
    here = [
        row.note or f"{row.here:.3f}" + (f" [{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else "")
        for row in rows.itertuples()
    ]
    names = ["kind", "row", "backbone", "test", "level", "metric", "paper"]
    lean = rows.rename(columns={"runs_on": "backbone"})[names].assign(paper=_three(rows.paper), here=here)
    lean["± seeds"] = _three(rows["std"])
    where = entry["provenance"]
    machine = f"{where['machine']['cores']} cores" + (f", {where['machine']['gpu']}" if where["machine"]["gpu"] else "")
    return "\n".join(
        [
            f"{entry['title']}   [{rows.kind.iloc[0]}, preset {entry['preset']}]",
            f"data: {'; '.join(entry['data'].values())}",
            *([f"found: {found}"] if (found := completeness(entry)) else []),
            f"protocol: {entry['protocol']}",
            lean.to_string(index=False),
            *(f"- {sentence}" for sentence in entry["sentences"]),
            f"commit {where['commit']}, {where['date'][:10]}, {machine}, {where['minutes']:.1f} min, its runs "
            f"{where['minutes_runs']:.1f} min",
        ]
    )


def _three(values: pd.Series) -> list[str]:
    return [f"{value:.3f}" if value == value else "-" for value in values.astype(float)]


WALL = "wall.csv"


def note_wall(seconds: float, preset: str, notebooks: int, into: Path | None = None) -> Path:
    """Add to `wall.csv` what `make results` took in all, from its start to its end, with machine, commit and date."""
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


def timings(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row a record: its notebook's minutes, those its runs took (now or before), machine, commit, date."""
    rows = []
    for entry in entries:
        where = entry["provenance"]
        rows.append(
            {
                "experiment": entry["experiment"],
                "preset": entry["preset"],
                "bank": entry["bank"],
                "seeds": len(entry["seeds"]),
                "minutes": where["minutes"],
                "minutes of its runs": where["minutes_runs"],
                "cores": where["machine"]["cores"],
                "gpu": where["machine"]["gpu"],
                "commit": where["commit"],
                "date": where["date"][:10],
            }
        )
    return pd.DataFrame(rows)


# --- the page "Paper against ours" ---------------------------------------------------------------------------------


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
