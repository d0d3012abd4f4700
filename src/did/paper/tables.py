"""Tables to read, made from records alone: the paper's numbers beside ours, differences, what is run, open choices."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from did import evaluation
from did.paper.records import Record, comparisons, completeness, frame, kind
from did.settings import Settings

#: The detector that is trained on every method, beside those that are trained on one.
EVERY = "all"


def digits(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """Format a number with three decimals and its interval, if it has one; `-` if it is missing."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if math.isfinite(low) else "")


def gap(row: Any) -> str:
    """Format a difference with its sign and its interval, of a row with `difference`, `low` and `high`."""
    return f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def percent(share: float) -> str:
    """Format a share as a whole number of per cent; what rounds to 0 has no sign.

    Examples:
        >>> percent(0.324), percent(-0.001)
        ('32%', '0%')
    """
    return f"{round(share, 2) + 0.0:.0%}"


def counted(number: int, what: str) -> str:
    """Format a number of things, in the singular or the plural.

    Examples:
        >>> counted(1, "pair"), counted(2, "pair")
        ('1 pair', '2 pairs')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def by_test(rows: pd.DataFrame) -> str:
    """Format the differences of a table, each with its test."""
    return ", ".join(f"on {row.test} {gap(row)}" for row in rows.itertuples())


def across_methods(entry: Record) -> pd.DataFrame:
    """Tabulate the frame AUC of each detector that is named by its method of training, on each method.

    Returns:
        One row per (train, test): train, test, auc, low, high, kind: its `own` method, an `other` one, or `all` for the
        detector that has seen all.
    """
    rows = frame(entry["rows"]).query("level == 'frame' and metric == 'auc'")
    found = rows.rename(columns={"row": "train", "ours": "auc"})[["train", "test", "auc", "low", "high"]]
    kinds = ["all" if row.train == EVERY else "own" if row.train == row.test else "other" for row in found.itertuples()]
    return found.assign(kind=kinds).reset_index(drop=True)


def against(*entries: Record) -> pd.DataFrame:
    """Set the paper's numbers beside ours: one row per (row, test, metric) of each record.

    Per frame, with the per-video number beside it; the index is the row. `by chance`, where a record has it: the
    accuracy of guessing (Fig. 7), or the forged region's share of the crop (Fig. 6).
    """
    lines, names = [], []
    for entry in entries:
        rows = frame(entry["rows"]).to_dict("records")
        place = ("row", "test", "metric")
        videos = {tuple(row[name] for name in place): row for row in rows if row["level"] == "video"}
        for row in rows:
            if row["level"] == "video":
                continue
            video = videos.get(tuple(row[name] for name in place))
            chance = [row[name] for name in ("chance", "area") if name in row]
            names.append(row["row"])
            lines.append(
                {
                    "on": row["test"],
                    "metric": row["metric"].upper() if row["metric"] in evaluation.METRICS else row["metric"],
                    "published": digits(row["paper"]),
                    "here": _here(row) if row["run_here"] else "not run here",
                    "by chance": digits(*chance or [math.nan]),
                    "± seeds": digits(row["std"]),
                    "seeds": str(row["seeds"]) if row["run_here"] else "-",
                    "videos": _here(video) if video else "-",
                    "backbone": row["runs_on"] or "-",
                    "kind": kind(entry),
                }
            )
    found = pd.DataFrame(lines, index=names)
    unused = [name for name in ("by chance", "± seeds", "videos") if (found[name] == "-").all()]
    return found.drop(columns=unused)


def _here(row: Mapping[str, Any]) -> str:
    return digits(row["ours"], row["low"], row["high"])


def differences(*entries: Record) -> pd.DataFrame:
    """Tabulate the compared differences of frame AUCs, one row each, with what the interval says."""
    rows = [
        {
            "AUC of": row["a"],
            "less that of": row["b"],
            "on": row["test"],
            "published": digits(row["paper"]),
            "here": digits(row["difference"], row["low"], row["high"]),
            "± seeds": digits(row["std"]),
            "so": row["so"],
            "kind": row["kind"],
        }
        for row in comparisons(entries).to_dict("records")
    ]
    return pd.DataFrame(rows)


def shown(entry: Record) -> str:
    """Format one record for a terminal: title, kind, protocol, `against`, sentences, machine and minutes."""
    where = entry["provenance"]
    machine = f"{where['machine']['cores']} cores" + (f", {where['machine']['gpu']}" if where["machine"]["gpu"] else "")
    return "\n".join(
        [
            f"{entry['title']}   [{kind(entry)}, preset {entry['preset']}]",
            f"data: {'; '.join(entry['data'].values())}",
            *([f"found: {found}"] if (found := completeness(entry)) else []),
            f"protocol: {entry['protocol']}",
            against(entry).to_string(),
            *(f"- {sentence}" for sentence in entry["sentences"]),
            f"commit {where['commit']}, {where['date'][:10]}, {machine}, {where['minutes']:.1f} min, its runs "
            f"{where['minutes_runs']:.1f} min",
        ]
    )


# --- what the paper leaves open -----------------------------------------------------------------------------------


def open_choices(preset: str) -> pd.DataFrame:
    """Tabulate every choice that the paper leaves open, or that is tried otherwise, one row per setting.

    The table includes choices on which the paper contradicts itself; it comes from the settings' own metadata.

    Args:
        preset: whose values are `default here`.

    Returns:
        setting, `what it decides`, `the paper` (where it speaks of it, or `left open`), `default here`,
        `at preset paper`, `tried instead` (`not measured` where no other value is).

    Raises:
        DidError: If the preset is unknown.
    """
    rows = []
    for field, default, paper_default, others in _choices(preset):
        rows.append(
            {
                "setting": field.name,
                "what it decides": field.metadata["says"],
                "the paper": _paper_says(field),
                "default here": default,
                "at preset paper": paper_default,
                "tried instead": ", ".join(others) or "not measured",
            }
        )
    return pd.DataFrame(rows)


def _choices(preset: str) -> list[tuple[Any, str, str, list[str]]]:
    """Return (field, default at the preset, default at preset paper, other values that are tried) of each choice."""
    here, printed = Settings.preset(preset), Settings.preset("paper")
    found = []
    for field in dataclasses.fields(Settings):
        trials = field.metadata.get("trials", ())
        if not (field.metadata.get("open") or trials):
            continue
        default = getattr(here, field.name)
        others = [str(value) for value in trials if value != default]
        found.append((field, str(default), str(getattr(printed, field.name)), others))
    return found


def _paper_says(field: Any) -> str:
    where = field.metadata["where"]
    return where if field.metadata.get("open") else f"{where} states {field.default:g}"


def measured_choices(record: Record) -> pd.DataFrame:
    """Join `open_choices` with the effect of each other value: one row per setting and value tried.

    Args:
        record: of the experiment that tries them.

    Returns:
        setting, `the paper`, `default here`, tried, and for each test its AUC less the default's with its interval and
        what that says; `not measured` where nothing else is tried, `not run` where these runs left it out. Last, what
        changes several settings at once.
    """
    found = comparisons([record])
    tests = list(dict.fromkeys(row["test"] for row in record["rows"]))
    said = {(row.a, row.test): f"{digits(row.difference, row.low, row.high)}, {row.so}" for row in found.itertuples()}
    rows, seen = [], set()
    for field, default, _, others in _choices(record["preset"]):
        for other in others or [""]:
            name = f"{field.name} = {other}"
            seen.add(name)
            lacking = "not run" if other else "not measured"
            line = {"setting": field.name, "the paper": _paper_says(field), "default here": default}
            line |= {"tried": other or "-", **{f"on {test}": said.get((name, test), lacking) for test in tests}}
            rows.append(line)
    for name in dict.fromkeys(found.a):
        if name not in seen:
            head, _, what = str(name).partition(": ")
            line = {"setting": what or head, "the paper": "-", "default here": "-", "tried": head if what else "-"}
            rows.append({**line, **{f"on {test}": said[name, test] for test in tests}})
    return pd.DataFrame(rows)
