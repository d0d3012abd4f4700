"""The page 'Paper against ours', from the records alone."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from did import evaluation
from did.paper import published, tables
from did.paper.experiments import EXPERIMENTS
from did.paper.records import _many, _numbers, _once, kind, table
from did.paper.verdicts import ANSWERS, _in_order, comparisons, holds, label
from did.sources import STANDIN
from did.utils.words import Words, bullets, quoted


def stamp(entries: Sequence[dict[str, Any]]) -> str:
    """From which records a page is made: kinds, how many, presets, commits, dates, machines; one line."""
    kinds = sorted({kind(entry) for entry in entries})
    standins = [name.removeprefix(f"{STANDIN} (").removesuffix(")") for name in kinds if name.startswith(STANDIN)]
    made = [entry["provenance"] for entry in entries]
    machines = [f"{of['cores']} cores" + (f", {of['gpu']}" if of["gpu"] else "") for of in (m["machine"] for m in made)]
    dates = sorted({where["date"][:10] for where in made})
    warning = f"{STANDIN} ({', '.join(standins)}), no reproduction of a published number. " if standins else ""
    licensed = sum(entry["edition"] == "licensed" for entry in entries)
    incomplete = sum(kind(entry) == "licensed, part" for entry in entries)
    parts = [
        _many(len(entries), "record")
        + (f", {licensed} of them from licensed data" if standins and licensed else "")
        + (f", {incomplete} of them from a part of the licensed data" if incomplete else ""),
        f"preset {', '.join(_once(entry['preset'] for entry in entries))}",
        f"commit {', '.join(_once(where['commit'] for where in made))}",
        dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        " or ".join(_once(machines)),
    ]
    return f"{warning}{'; '.join(parts)}."


def against(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The paper's numbers beside ours, to read: one row a (row, test, metric) of each record.

    Frame level, with the video level's number beside it; the index is the row. `by chance`, where a record has it: the
    accuracy of guessing (Fig. 7), or the forged region's share of the crop (Fig. 6).
    """
    lines, names = [], []
    for entry in entries:
        rows = _numbers(entry["rows"])
        place = ("row", "test", "metric")
        videos = {tuple(row[name] for name in place): row["ours"] for row in rows if row["level"] == "video"}
        for row in rows:
            if row["level"] == "video":
                continue
            chance = row.get("chance", row.get("area", math.nan))
            names.append(row["row"])
            lines.append(
                {
                    "on": row["test"],
                    "metric": row["metric"].upper() if row["metric"] in evaluation.METRICS else row["metric"],
                    "published": tables.digits(row["paper"]),
                    "here": tables.digits(row["ours"], row["low"], row["high"]) if row["run_here"] else "not run here",
                    "by chance": tables.digits(chance),
                    "± seeds": tables.digits(row["std"]),
                    "seeds": str(row["seeds"]) if row["run_here"] else "-",
                    "videos": tables.digits(videos.get(tuple(row[name] for name in place), math.nan)),
                    "backbone": row["runs_on"] or "-",
                    "kind": kind(entry),
                }
            )
    found = pd.DataFrame(lines, index=names)
    unused = [name for name in ("by chance", "± seeds", "videos") if (found[name] == "-").all()]
    return found.drop(columns=unused)


def unpublished(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Numbers that the paper prints in a table or figure and that no record of it holds, one sentence each."""
    found = table(entries)
    lacking = []
    for name in _once(entry["experiment"] for entry in _in_order(entries)):
        mine = found[(found.experiment == name) & (found.level == "frame")]
        have = set(mine[["row", "test", "metric", "paper"]].itertuples(index=False, name=None))
        for (row, test, metric), number in _printed(name).items():
            if (row, test, metric, number) not in have:
                lacking.append(f"{label(name)} prints {number:.3f} for {row} on {test}, and no record of it does")
    return lacking


def _printed(name: str) -> dict[tuple[str, str, str], float]:
    if name == "fig5_domains":
        return {(row, "Domains", "accuracy"): number for row, number in published.FIGURE_5.items()}
    return {(row.name, *place): number for row in EXPERIMENTS[name].rows for place, number in row.paper.items()}


def section(entries: Sequence[dict[str, Any]], name: str) -> list[Words | pd.DataFrame]:
    """What the page says of one table or figure: the paper's claim, both numbers, the differences, the sentences.

    Args:
        entries: records, of any experiments.
        name: of the experiment.

    Returns:
        Texts and tables in the order of reading; one sentence where there is no record.
    """
    mine = [entry for entry in entries if entry["experiment"] == name]
    if not mine:
        return [Words(not_run(name))]
    quote, where = mine[0]["claim"]["quote"], mine[0]["claim"]["where"]
    parts: list[Words | pd.DataFrame] = [
        Words(f"> “{quoted(quote)}” ({quoted(where)})" if quote else "The paper prints nothing here.")
    ]
    parts.append(against(mine))
    if len(apart := comparisons(mine)):
        apart_of_each = [
            tables.differences(pd.DataFrame(_numbers(entry["differences"]))).assign(kind=kind(entry))
            for entry in mine
            if entry["differences"]
        ]
        words = f"Differences of AUCs, {len(apart)} in all; *ahead* and *behind* where the whole interval is:"
        parts += [Words(words), pd.concat(apart_of_each, ignore_index=True)]
    for entry in mine:
        data = "; ".join(entry["data"].values())
        said = quoted(f"preset {entry['preset']}: {data}; {entry['protocol']}.")
        parts.append(Words(f"**{quoted(kind(entry))}**, {said}\n\n{bullets(entry['sentences'])}"))
    return parts


def not_run(name: str) -> str:
    """That an experiment has no record, and which command makes it."""
    command = f"papermill notebooks/{name}.ipynb runs/{name}.ipynb -p preset laptop"
    return f"{label(name)} has not been run: `{command}` makes its record."


def summary(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Every claim of the paper, once for each kind of data that it was put to the test on.

    Returns:
        One row a claim and record, by its label: what the paper says, what these runs decide (all compared
        differences), `does it hold here` (see `holds`), and the data. A claim without a record says so.
    """
    lines, names = [], []
    for name, (quote, where) in published.CLAIMS.items():
        mine: list[dict[str, Any] | None] = [entry for entry in entries if entry["experiment"] == name]
        for entry in mine or [None]:
            names.append(label(name))
            says = {"the paper says": f"“{quote}” ({where})"}
            if entry is None:
                lines.append({**says, "these runs": "-", "does it hold here": "Not run.", "data": "-"})
                continue
            found = comparisons([entry])["so"].tolist()
            counts = ", ".join(f"{found.count(so)} {so}" for so in ("ahead", "behind", "undecided"))
            lines.append(
                {
                    **says,
                    "these runs": f"{len(found)} compared: {counts}" if found else "nothing compared",
                    "does it hold here": " ".join(holds(entry)),
                    "data": f"{kind(entry)}: {'; '.join(entry['data'].values())}; preset {entry['preset']}; "
                    + _many(len(entry["seeds"]), "seed"),
                }
            )
    return pd.DataFrame(lines, index=names)


def summary_sentences(entries: Sequence[dict[str, Any]]) -> list[str]:
    """How many claims hold, and on what; computed."""
    claims = [entry for entry in entries if entry["experiment"] in published.CLAIMS]
    answers = [holds(entry)[0].split(":")[0].rstrip(".") for entry in claims]
    counts = ", ".join(f"{answer.lower()} {answers.count(answer)}" for answer in ANSWERS if answer in answers)
    lacking = [label(name) for name in published.CLAIMS if name not in {entry["experiment"] for entry in claims}]
    said = [f"{_many(len(claims), 'answer')}, one for each claim and kind of data: {counts}."]
    if lacking:
        said.append(f"Not run: {', '.join(lacking)}.")
    if all(entry["edition"] != "licensed" for entry in entries):
        said.append(
            "All of it is on stand-ins: a no is a no on these stand-ins, and no claim of the paper is confirmed or "
            "refuted here."
        )
    return said
