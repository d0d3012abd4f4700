"""The ledger: one small JSON a finished table in `results/`, and all of them as one table, paper against ours.

From the records alone, without a run at hand, the page *Paper against ours* is made: `summary` and `section`.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from did import evaluation, findings, paper
from did.data.layout import lacking
from did.data.sources import STANDIN
from did.data.table import read_csv
from did.errors import DidError
from did.experiments import EXPERIMENTS, Outcome
from did.files import alone, given_path, home, write_atomically
from did.results import provenance
from did.words import Words, bullets, quoted

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
    quote, where = paper.CLAIMS.get(outcome.experiment.name, ("", ""))
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


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _in_order(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As in the paper; a record of an experiment that is no more is left out."""
    return [entry for name in EXPERIMENTS for entry in entries if entry["experiment"] == name]


def label(name: str) -> str:
    """`Table 1`, from an experiment's name."""
    title = EXPERIMENTS[name].title
    return title.split(":")[0] if ":" in title else "Open choices"


def comparisons(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Every compared difference of frame AUCs: experiment, of (its label), a, b, test, difference, std, low, high,
    seeds, paper (the published difference, or NaN), kind, so (see `findings.verdict`)."""
    rows = [
        {"experiment": entry["experiment"], "of": label(entry["experiment"]), **row, "kind": kind(entry),
         "so": findings.verdict(row["low"], row["high"])}
        for entry in _in_order(entries) for row in _numbers(entry["differences"]) if row["level"] == "frame"
    ]  # fmt: skip
    columns = "experiment of a b test level difference std low high seeds paper kind so".split()
    return pd.DataFrame(rows, columns=columns).drop(columns="level")


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
                    "published": findings.digits(row["paper"]),
                    "here": findings.digits(row["ours"], row["low"], row["high"])
                    if row["run_here"]
                    else "not run here",
                    "by chance": findings.digits(chance),
                    "± seeds": findings.digits(row["std"]),
                    "seeds": str(row["seeds"]) if row["run_here"] else "-",
                    "videos": findings.digits(videos.get(tuple(row[name] for name in place), math.nan)),
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
        return {(row, "Domains", "accuracy"): number for row, number in paper.FIGURE_5.items()}
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
        tables = [
            findings.differences(pd.DataFrame(_numbers(entry["differences"]))).assign(kind=kind(entry))
            for entry in mine
            if entry["differences"]
        ]
        words = f"Differences of AUCs, {len(apart)} in all; *ahead* and *behind* where the whole interval is:"
        parts += [Words(words), pd.concat(tables, ignore_index=True)]
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
    for name, (quote, where) in paper.CLAIMS.items():
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
    claims = [entry for entry in entries if entry["experiment"] in paper.CLAIMS]
    answers = [holds(entry)[0].split(":")[0].rstrip(".") for entry in claims]
    counts = ", ".join(f"{answer.lower()} {answers.count(answer)}" for answer in ANSWERS if answer in answers)
    lacking = [label(name) for name in paper.CLAIMS if name not in {entry["experiment"] for entry in claims}]
    said = [f"{_many(len(claims), 'answer')}, one for each claim and kind of data: {counts}."]
    if lacking:
        said.append(f"Not run: {', '.join(lacking)}.")
    if all(entry["edition"] != "licensed" for entry in entries):
        said.append(
            "All of it is on stand-ins: a no is a no on these stand-ins, and no claim of the paper is confirmed or "
            "refuted here."
        )
    return said


#: How `holds` begins.
ANSWERS = ("Yes", "In part", "No", "Undecided", "Not tested")


def holds(entry: dict[str, Any]) -> list[str]:
    """Whether the paper's claim holds in a record, in plain words: the first begins with one of `ANSWERS`.

    A claim that one system is ahead of another is put to the test by those pairs in which the paper's own numbers have
    it ahead: *yes* where every interval lies above 0, *no* where none does and at least one lies below, *in part* where
    some lie above, *undecided* where all hold 0. Fig. 5 to 7 claim something else: `_domains`, `_maps`, `_features`.
    """
    special = {"fig5_domains": _domains, "fig6_saliency": _maps, "fig7_embeddings": _features}.get(entry["experiment"])
    said = [special(_numbers(entry["rows"]))] if special else [_ahead(comparisons([entry]))]
    # Between words: "RL" is no part of another name.
    words = set(re.findall(r"[\w-]+", entry["claim"]["quote"]))
    absent = _once(row["row"] for row in entry["rows"] if not row["run_here"] and row["row"] in words)
    if absent:
        said.append(f"Named by the claim and not run here: {', '.join(absent)}.")
    return said


def _ahead(found: pd.DataFrame) -> str:
    claimed = found[found.paper > 0]
    if not len(claimed):
        return "Not tested: no pair ran here for which the paper prints numbers."
    pairs = {
        so: [f"{row.a} − {row.b} on {row.test}" for row in part.itertuples()] for so, part in claimed.groupby("so")
    }
    above, below, zero = (len(pairs.get(so, [])) for so in ("ahead", "behind", "undecided"))
    answer = "Undecided"
    if above == len(claimed):
        answer = "Yes"
    elif above:
        answer = "In part"
    elif below:
        answer = "No"
    counts = [f"{above} above 0", f"{below} below 0", f"{zero} undecided"]
    named = "; ".join(f"{so}: {', '.join(pairs[so])}" for so in ("ahead", "behind") if so in pairs)
    many = f"of {len(claimed)} pairs in which the paper's numbers have the first ahead, {', '.join(counts)}"
    return f"{answer}: {many}{f' ({named})' if named else ''}."


def _domains(rows: Sequence[dict[str, Any]]) -> str:
    """Fig. 5: the mean accuracy is the published one or more, and FaceSwap is told best."""
    of = {row["row"]: row for row in rows if row["metric"] == "accuracy"}
    if "mean" not in of:
        return "Not tested: the record has no accuracy of the domains."
    mean = of.pop("mean")
    best = max(of, key=lambda name: of[name]["ours"])
    high_enough = mean["high"] >= mean["paper"]
    published = max((name for name in of if not math.isnan(of[name]["paper"])), key=lambda name: of[name]["paper"])
    answer = {2: "Yes", 1: "In part", 0: "No"}[int(high_enough) + int(best == published)]
    where = "reaches" if high_enough else "lies below"
    return (
        f"{answer}: the mean, {findings.digits(mean['ours'], mean['low'], mean['high'])}, {where} the published "
        f"{mean['paper']:.3f}; told best is {best}"
        + (", as published." if best == published else f", not {published}.")
    )


def _maps(rows: Sequence[dict[str, Any]]) -> str:
    """Fig. 6: the two maps differ in how much of them lies inside the forged region, by more than their intervals."""
    of = {(row["row"], row["test"]): row for row in rows if not math.isnan(row.get("area", math.nan))}
    apart, found = 0, 0
    for (name, test), mine in of.items():
        other = of.get((name.replace("I_df on ", "I_dom on "), test))
        if name.startswith("I_df on ") and other:
            found += 1
            apart += mine["low"] > other["high"] or other["low"] > mine["high"]
    if not found:
        return "Not tested: no forged region is known."
    answer = "Yes" if apart == found else "In part" if apart else "No"
    return (
        f"{answer}: for {apart} of {found} methods the two maps differ clearly in how much of them lies inside the "
        "forged region; that is one number of a place, not the place."
    )


def _features(rows: Sequence[dict[str, Any]]) -> str:
    """Fig. 7: a line reads real from fake better from I_df than from the plain backbone, by more than the seeds'
    spread. It has no interval."""
    of = {(row["row"], row["test"]): row for row in rows if row["metric"] == "probe accuracy"}
    ours, plain = of.get(("DID: label", "I_df")), of.get(("BCE: label", "I_X"))
    if not ours or not plain:
        return "Not tested: the record has no probes."
    gain, spread = ours["ours"] - plain["ours"], max(ours["std"], plain["std"])
    words = f"a line reads real from fake {gain:+.3f} better from I_df than from the plain backbone"
    if math.isnan(spread):
        return f"Undecided: {words}; one seed has no spread to measure that by."
    answer = "Undecided" if abs(gain) <= spread else "Yes" if gain > 0 else "No"
    return f"{answer}: {words}; over seeds either spreads by up to {spread:.3f}."
