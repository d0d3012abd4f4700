"""The page 'Paper against ours', from the records alone."""

from collections.abc import Iterable, Sequence

import pandas as pd

from did.paper import tables
from did.paper.definition import Experiment
from did.paper.experiments import EXPERIMENTS
from did.paper.records import SIDES, Record, comparisons, kind, label, table
from did.paper.verdicts import ANSWERS
from did.sources import STANDIN
from did.utils.words import Words, bullets, quoted


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def in_order(entries: Sequence[Record]) -> list[Record]:
    """Sort records in the paper's order; a record of an unknown experiment is left out."""
    return [entry for name in EXPERIMENTS for entry in entries if entry["experiment"] == name]


def _holds(entry: Record) -> list[str]:
    """Return what a record says of the paper's claim; the first begins with one of `ANSWERS`."""
    return entry.get("verdict") or ["Not tested: the record is of an older version; make it again."]


def stamp(entries: Sequence[Record]) -> str:
    """Say in one line from which records a page is made: kinds, number, presets, commits, dates, machines."""
    kinds = sorted({kind(entry) for entry in entries})
    standins = [name.removeprefix(f"{STANDIN} (").removesuffix(")") for name in kinds if name.startswith(STANDIN)]
    made = [entry["provenance"] for entry in entries]
    machines = [f"{of['cores']} cores" + (f", {of['gpu']}" if of["gpu"] else "") for of in (m["machine"] for m in made)]
    dates = sorted({where["date"][:10] for where in made})
    warning = f"{STANDIN} ({', '.join(standins)}), no reproduction of a published number. " if standins else ""
    licensed = sum(entry["edition"] == "licensed" for entry in entries)
    incomplete = sum(kind(entry) == "licensed, part" for entry in entries)
    parts = [
        tables.counted(len(entries), "record")
        + (f", {licensed} of them from licensed data" if standins and licensed else "")
        + (f", {incomplete} of them from a part of the licensed data" if incomplete else ""),
        f"preset {', '.join(_once(entry['preset'] for entry in entries))}",
        f"commit {', '.join(_once(where['commit'] for where in made))}",
        dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        " or ".join(_once(machines)),
    ]
    return f"{warning}{'; '.join(parts)}."


def unpublished(entries: Sequence[Record]) -> list[str]:
    """List the numbers that the paper prints in a table or figure and that no record contains."""
    found = table(entries)
    lacking = []
    for name in _once(entry["experiment"] for entry in in_order(entries)):
        mine = found[(found.experiment == name) & (found.level == "frame")]
        have = set(mine[["row", "test", "metric", "paper"]].itertuples(index=False, name=None))
        for (row, test, metric), number in EXPERIMENTS[name].published.items():
            if (row, test, metric, number) not in have:
                of = label(EXPERIMENTS[name].title)
                lacking.append(f"{of} prints {number:.3f} for {row} on {test}, and no record of it does")
    return lacking


def section(entries: Sequence[Record], name: str) -> list[Words | pd.DataFrame]:
    """Show one table or figure: the paper's claim, both numbers, the differences, the sentences.

    Args:
        entries: records, of any experiments.
        name: of the experiment.

    Returns:
        Texts and tables in the order of reading; one sentence if there is no record.
    """
    mine = [entry for entry in entries if entry["experiment"] == name]
    if not mine:
        return [Words(not_run(name))]
    quote, where = mine[0]["claim"]["quote"], mine[0]["claim"]["where"]
    parts: list[Words | pd.DataFrame] = [
        Words(f"> “{quoted(quote)}” ({quoted(where)})" if quote else "The paper prints nothing here.")
    ]
    parts.append(tables.against(*mine))
    if len(apart := tables.differences(*mine)):
        words = f"Differences of AUCs, {len(apart)} in all; *ahead* and *behind* where the whole interval is:"
        parts += [Words(words), apart]
    for entry in mine:
        data = "; ".join(entry["data"].values())
        said = quoted(f"preset {entry['preset']}: {data}; {entry['protocol']}.")
        parts.append(Words(f"**{quoted(kind(entry))}**, {said}\n\n{bullets(entry['sentences'])}"))
    return parts


def not_run(name: str) -> str:
    """Say that an experiment has no record, and which command makes it."""
    command = f"papermill notebooks/{name}.ipynb runs/{name}.ipynb -p preset laptop"
    return f"{label(EXPERIMENTS[name].title)} has not been run: `{command}` makes its record."


def summary(entries: Sequence[Record]) -> pd.DataFrame:
    """Tabulate every claim of the paper, once for each kind of data on which it was tested.

    Returns:
        One row per claim and record, by its label: what the paper says, what these runs decide (all compared
        differences), `does it hold here` (see `holds`), and the data. A claim without a record says so.
    """
    lines, names = [], []
    for what in _claims():
        mine: list[Record | None] = [entry for entry in entries if entry["experiment"] == what.name]
        for entry in mine or [None]:
            names.append(label(what.title))
            says = {"the paper says": "“{}” ({})".format(*what.claim)}
            if entry is None:
                lines.append({**says, "these runs": "-", "does it hold here": "Not run.", "data": "-"})
                continue
            found = comparisons([entry])["so"].tolist()
            counts = ", ".join(f"{found.count(so)} {so}" for so in SIDES)
            lines.append(
                {
                    **says,
                    "these runs": f"{len(found)} compared: {counts}" if found else "nothing compared",
                    "does it hold here": " ".join(_holds(entry)),
                    "data": f"{kind(entry)}: {'; '.join(entry['data'].values())}; preset {entry['preset']}; "
                    + tables.counted(len(entry["seeds"]), "seed"),
                }
            )
    return pd.DataFrame(lines, index=names)


def _claims() -> list[Experiment]:
    return [what for what in EXPERIMENTS.values() if what.claim[0]]


def summary_sentences(entries: Sequence[Record]) -> list[str]:
    """Say how many claims hold, and on what data."""
    claimed = {what.name: label(what.title) for what in _claims()}
    claims = [entry for entry in entries if entry["experiment"] in claimed]
    answers = [_holds(entry)[0].split(":")[0] for entry in claims]
    counts = ", ".join(f"{answer.lower()} {answers.count(answer)}" for answer in ANSWERS if answer in answers)
    lacking = [of for name, of in claimed.items() if name not in {entry["experiment"] for entry in claims}]
    said = [f"{tables.counted(len(claims), 'answer')}, one for each claim and kind of data: {counts}."]
    if lacking:
        said.append(f"Not run: {', '.join(lacking)}.")
    if all(entry["edition"] != "licensed" for entry in entries):
        said.append(
            "All of it is on stand-ins: a no is a no on these stand-ins, and no claim of the paper is confirmed or "
            "refuted here."
        )
    return said
