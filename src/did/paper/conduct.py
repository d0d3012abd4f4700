"""Conduct an experiment: train what is missing, test it, and write its record."""

import dataclasses
import functools
import inspect
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from did import evaluation, presets
from did.data.store import FaceStore
from did.errors import DidError, nearest
from did.paper import records, verdicts
from did.paper.code import code_of_all
from did.paper.definition import Experiment, Row
from did.paper.experiments import EXPERIMENTS
from did.paper.kept import Kept, find
from did.paper.records import Record, columns, plain
from did.paper.worlds import combined
from did.sources import Source, face_store, for_testing, has_licensed, open_source, within
from did.task import task_named
from did.training.provenance import deciding, provenance, stamp
from did.training.runs import Run, evaluate, run


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of an experiment.

    Attributes:
        experiment, preset, seeds: what was asked for.
        bank: what the data is made from: `licensed`, `licensed-part` if less of it is found than published, or for
            stand-ins `drawn` or `portraits`, with `-world` and its number for another world than the usual one.
        sources: name -> the data, all of one edition.
        runs: row -> its finished runs, in the order of the seeds.
        table: one row per (row, test, level, metric): row, runs_on (backbone), test, level, metric, ours (mean over
            seeds), std, low, high (95%, over people and seeds), seeds, paper (NaN where nothing is printed), run_here.
        differences: one row per (a, b, test, level): AUC of a less AUC of b: difference, std, low, high, seeds, paper.
        started: when, by the monotonic clock.
        options: of the experiment's own measure.
    """

    experiment: Experiment
    preset: str
    seeds: list[int]
    bank: str
    sources: dict[str, Source]
    runs: dict[str, list[Run]]
    table: pd.DataFrame
    differences: pd.DataFrame
    started: float
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def record(self) -> Record:
        """The record of the outcome, see `did.paper.records.Record`; measured, said and decided once."""
        what, edition = self.experiment, next(iter(self.sources.values())).edition
        figures = what.measure(self, **self.options) if what.measure else {}
        rows = figures.pop("rows", self.table)
        data = {name: source.label for name, source in self.sources.items()}
        protocol = _protocol([of[0].record["protocol"] for of in self.runs.values()])
        seeds = ", ".join(map(str, self.seeds))
        # Of one seed, they are those given it.
        over = what.over or ("people and seeds" if len(self.seeds) > 1 else "people")
        entry: Record = {
            "experiment": what.name,
            "title": what.title,
            "claim": dict(zip(("quote", "where"), what.claim, strict=True)),
            "preset": self.preset,
            "edition": edition,
            "bank": self.bank,
            "data": data,
            "counts": {name: dict(of.counts) for name, of in self.sources.items() if of.counts.get("found")},
            "protocol": f"trained on {protocol}; seeds {seeds}; 95% intervals over {over}",
            "seeds": self.seeds,
            "setup": what.setup(
                self.preset,
                {name: of[0].settings for name, of in self.runs.items()},
                {name: of[0].record["options"] for name, of in self.runs.items()},
            ),
            "rows": plain(rows),
            "differences": plain(self.differences),
            "figures": {name: columns(table) for name, table in figures.items()},
            "runs": {name: [one.folder.name for one in of] for name, of in self.runs.items()},
        }
        entry["verdict"] = verdicts.holds(entry, what.decide) if what.claim[0] else []
        said = [sentence for say in what.sentences for sentence in say(entry)]
        entry["sentences"] = [*said, *self._notes()]
        trained = {one.folder: one.record["provenance"]["minutes"] for of in self.runs.values() for one in of}
        minutes, before = (time.monotonic() - self.started) / 60, sum(trained.values())
        took = records.took(minutes, before, len(trained))
        part = "A part of the licensed data. " if self.bank == "licensed-part" else ""
        warning = part if edition == "licensed" else records.NO_REPRODUCTION
        under = stamp(warning + "; ".join(data.values()), self.preset, self.seeds, took)
        made = {
            **provenance(),
            "code": code_of_all(self.runs, deciding(_modules(entry))),
            "minutes": minutes,
            "minutes_runs": before,
            "commits": sorted({one.record["provenance"]["commit"] for of in self.runs.values() for one in of}),
        }
        return entry | {"provenance": {**made, "stamp": under}}

    def _notes(self) -> list[str]:
        """Say what a reader of the numbers must know of the runs behind them."""
        return [*self._several_crops(), *self._left_out()]

    def _left_out(self) -> list[str]:
        """Name the rows of the experiment that are not among these runs, so that no page looks whole that is not."""
        absent = [row.name for row in rows_of(self.experiment, self.preset) if row.task and row.name not in self.runs]
        return [f"Not among these runs: {_some(absent)}."] if absent else []

    def _several_crops(self) -> list[str]:
        """Say which rows were trained on which machine's crops, if there are several: a difference includes that."""
        rows: dict[tuple[str, ...], list[str]] = {}
        for name, of in self.runs.items():
            crops = dict.fromkeys(one.record["data"]["fingerprint"] for one in of)
            rows.setdefault(tuple(sorted(crops)), []).append(name)
        numbers = {crops: number for number, crops in enumerate(dict.fromkeys(itertools.chain(*rows)), start=1)}
        if len(numbers) < 2:
            return []
        named = [f"{' and '.join(str(numbers[one]) for one in crops)}: {_some(names)}" for crops, names in rows.items()]
        return [
            f"Trained on {len(numbers)} machines, whose crops of the same frames are not all alike; on machine "
            f"{'; '.join(named)}. A difference between rows of two machines includes that."
        ]

    @property
    def about(self) -> list[tuple[str, str]]:
        """Return what there is to say of each data set: the edition of its numbers, and the credit of its pictures."""
        return [(source.banner, source.credit) for source in self.sources.values()]

    def source(self, name: str) -> tuple[Source, FaceStore]:
        """Return a source of this experiment, at least its test split, with its crops at the preset's size."""
        first = next(iter(self.runs.values()))[0]
        part = for_testing(self.sources[name], first.settings)
        return part, face_store(part, first.settings, progress=False)

    def scores(self, one: Run, name: str) -> pd.DataFrame:
        """Return a run's score of each frame of a source's test split."""
        return _scores(one, self.sources[name], progress=False)

    def at_hand(self) -> "Outcome":
        """Return an outcome whose runs and sources are at hand, for pictures: this one."""
        return self


@dataclasses.dataclass(frozen=True)
class Recorded(Outcome):
    """The outcome of which the record is at hand and the runs are not. It has no sources and no runs.

    Attributes:
        entry: the record.
    """

    entry: Record = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def record(self) -> Record:
        """The record."""
        return self.entry

    @property
    def about(self) -> list[tuple[str, str]]:
        """Return what there is to say of the data, from the record."""
        return [(self.record["provenance"]["stamp"], "")]

    def at_hand(self) -> Outcome:
        """Return the runs of the first seed and the data, for pictures; what is missing is made now."""
        what = self.experiment
        sources = {name: _open(name, "stand-in", None, None, self.preset, True, 0) for name in what.data}
        runs = {
            row.name: [run(sources[what.train], row.settings(self.preset, self.seeds[0], what.train), row.task,
                           options=row.options_at(self.preset))]
            for row in rows_of(what, self.preset, list(self.entry["setup"])) if row.task
        }  # fmt: skip
        return Outcome(
            what, self.preset, self.seeds[:1], self.bank, sources, runs, self.table, self.differences, self.started
        )


def _some(names: Sequence[str]) -> str:
    """Join names; of more than four, the first three and how many there are besides."""
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _committed(entry: Record) -> Record:
    """Return a committed record whose stamp says so, and whether the code that decides its numbers has changed."""
    made = entry["provenance"]
    now, before = deciding(_modules(entry)), made.get("code", {})
    changed = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
    words = "From the committed record. "
    if changed:
        named = _some(changed) if before else "not recorded"
        words += f"Code that decides these numbers has changed since ({named}). "
    return entry | {"provenance": {**made, "stamp": words + made["stamp"]}}


def _modules(entry: Record) -> list[str]:
    return sorted({task_named(of["task"]).__module__ for of in entry["setup"].values()})


def _recorded(what: Experiment, preset: str, edition: str, seeds: list[int], rows: Sequence[Row]) -> Recorded | None:
    """Return the outcome in the record of these runs on drawn stand-ins, if there is one and nobody has other data."""
    file = records.nearest() / f"{what.name}-{preset}-drawn.json"
    if edition == "licensed" or not file.is_file() or (edition == "auto" and any(map(has_licensed, what.data))):
        return None
    entry = records.read(file)
    older = what.measure is not None and not entry.get("figures")
    if older or entry["seeds"] != seeds or set(entry["setup"]) - {row.name for row in rows if row.task}:
        return None
    table, apart = (records.frame(entry[part]) for part in ("rows", "differences"))
    return Recorded(what, preset, seeds, "drawn", {}, {}, table, apart, time.monotonic(), entry=_committed(entry))


def worlds_of(what: Experiment, preset: str, edition: str = "auto", world: int = 0) -> tuple[int, ...]:
    """Return the worlds in which an experiment is run: the one that is named, or its own where stand-ins are made.

    At preset smoke it is the usual one, which other experiments draw too.
    """
    licensed = edition == "licensed" or (edition == "auto" and any(map(has_licensed, what.data)))
    return (world,) if world or licensed or preset == records.SMOKE or not what.worlds else what.worlds


def seed_list(seeds: Any, default: int) -> list[int]:
    """Parse seeds as a notebook gets them.

    None means 0 to default - 1; otherwise a number, a list, or text such as "0,1,2".

    Raises:
        DidError: If the seeds are not whole numbers from 0 up, or there are none.
    """
    given = seeds.split(",") if isinstance(seeds, str) else seeds
    given = range(default) if given is None else given if isinstance(given, (list, tuple)) else [given]
    try:
        found = [int(seed) for seed in given if not isinstance(seed, bool)]
        if found and min(found) >= 0 and len(found) == len(set(found)) and [float(seed) for seed in given] == found:
            return found
    except (TypeError, ValueError, OverflowError):
        pass
    raise DidError(f"seeds takes different whole numbers from 0 up, as in -p seeds 0,1,2; got {seeds!r}")


def seeds_of(row: Row, seeds: Sequence[int]) -> list[int]:
    """Return the seeds of a row: those of the experiment, or the first ones of them."""
    return list(seeds)[: row.seeds]


def experiment(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises:
        DidError: If the name is unknown.
    """
    if name not in EXPERIMENTS:
        raise DidError(f"unknown experiment '{name}': {nearest(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


def rows_of(what: Experiment, preset: str, rows: Sequence[str] | None = None) -> list[Row]:
    """Return an experiment's rows at a preset: all of them, or those named.

    A choice that the preset has already made is left out. At preset smoke some rows only show their published numbers.

    Raises:
        DidError: If a row does not exist.
    """
    known = {row.name: row for row in what.rows}
    if rows is not None:
        if not isinstance(rows, (list, tuple)) or not rows:
            raise DidError(f"rows takes a list, as in -y 'rows: [{what.rows[0].name}]', got {rows!r}")
        for name in rows:
            if name not in known or known[name].task is None:
                raise DidError(f"unknown row '{name}': {nearest(name, [row.name for row in what.rows if row.task])}")
        return [known[name] for name in dict.fromkeys(rows)]
    if preset == "smoke" and what.smoke:
        shown = [row for row in what.rows if row.name in what.smoke or row.paper]
        return [row if row.name in what.smoke else dataclasses.replace(row, task=None) for row in shown]
    if what.default is None:
        return list(what.rows)
    base = known[what.default].settings(preset, 0, what.train)
    return [row for row in what.rows if row.name == what.default or row.settings(preset, 0, what.train) != base]


def conduct(
    name: str,
    preset: str = "laptop",
    edition: str = "auto",
    faces: str | None = None,
    data_root: str | None = None,
    seeds: Any = None,
    rows: Sequence[str] | None = None,
    progress: bool = True,
    fresh: bool = True,
    kept: bool = False,
    world: int = 0,
    **options: Any,
) -> Outcome:
    """Train and test what an experiment needs, and save its record.

    Cached: runs and tests that exist already are reused.

    Args:
        name: a key of `EXPERIMENTS`.
        preset: `smoke`, `laptop` or `paper`.
        edition: `licensed`, `stand-in` or `auto`, for all its data sets alike.
        faces: for stand-ins, see `did.sources.open_source`.
        data_root: a folder that holds ffpp/, cdf2/, dffd/, diff/, or DeepfakeBench's release; by default where
            `open_source` looks.
        seeds: see `seed_list`.
        rows: names of the rows to run; all by default.
        progress: whether to show bars.
        fresh: False shows the committed record of these runs, if there is one, and trains nothing.
        kept: take the runs that the repository keeps (`did.paper.kept`), and train nothing. A row of which one is
            missing shows its published numbers alone. Kept runs have no weights: an experiment that looks into the
            networks refuses them.
        world: for stand-ins, see `did.sources.open_source`. An experiment that has worlds of its own is run in each of
            them, and its record is over worlds, where none is named.
        options: of the experiment's own measure, such as `people` of Fig. 6.

    Raises:
        DidError: If there is an unknown experiment, preset, row or option; seeds that are none; licensed data beside a
            stand-in; or what data and training raise.
    """
    started = time.monotonic()
    what = experiment(name)
    presets.preset(preset)
    numbers = seed_list(seeds, 1 if preset == "smoke" else what.seeds)
    chosen = rows_of(what, preset, rows)
    known = list(inspect.signature(what.measure).parameters)[1:] if what.measure else []
    for option in options:
        if option not in known:
            raise DidError(f"unknown option '{option}' of {name}: {nearest(option, known)}")
    if not fresh and preset != records.SMOKE and faces is None and data_root is None and not world:
        known_outcome = _recorded(what, preset, edition, numbers, chosen)
        if known_outcome is not None:
            return known_outcome
    worlds = worlds_of(what, preset, edition, world)
    if len(worlds) > 1:
        each = [conduct(name, preset, edition, faces, data_root, numbers, rows, progress, fresh, kept, one, **options)
                for one in worlds]  # fmt: skip
        notes = dict.fromkeys(note for one in each for note in one._notes())  # mostly the same in every world
        entry = combined([one.record for one in each], (*what.sentences, lambda _: list(notes)))
        records.save(entry)
        table, apart = (records.frame(entry[part]) for part in ("rows", "differences"))
        return Recorded(what, preset, numbers, entry["bank"], {}, {}, table, apart, started, entry=entry)
    sources = {each: _open(each, edition, faces, data_root, preset, progress, world) for each in what.data}
    if len(editions := {source.edition for source in sources.values()}) > 1:
        which = ", ".join(f"{source.name} is {source.edition}" for source in sources.values())
        raise DidError(
            f"{len(editions)} editions in one table ({which}): name all licensed data, or add edition=stand-in"
        )
    train = sources[what.train]
    runs: dict[str, list[Run]] = {}
    for row in chosen:
        if row.task:
            given = [(row.settings(preset, seed, what.train), row.task, row.options_at(preset))
                     for seed in seeds_of(row, numbers)]  # fmt: skip
            if not kept:
                runs[row.name] = [run(train, s, task, options=options, progress=progress) for s, task, options in given]
            elif found := _all_kept([find(*one, train.label) for one in given], sources):
                runs[row.name] = found
    if kept and not runs:
        raise DidError(f"no run of {name} on this data is kept: train them with `did runs train {name}`")
    # Without runs here, a row shows its published numbers alone.
    chosen = [row for row in chosen if row.name in runs or row.paper]
    scored = {(row, source): [_scores(each, sources[source], progress) for each in of]
              for row, of in runs.items() for source in {source for source, _ in what.tests.values()}}  # fmt: skip
    table = _table(what, chosen, runs, scored)
    banks = {source.bank for source in sources.values()}
    part = any(source.kind != source.edition for source in sources.values())
    standin = next((each for each in sorted(banks) if each.startswith("portraits")), next(iter(sorted(banks))))
    bank = f"licensed{'-part' if part else ''}" if editions == {"licensed"} else standin
    apart = _differences(what, runs, scored)
    outcome = Outcome(what, preset, numbers, bank, sources, runs, table, apart, started, options)
    records.save(outcome.record)
    return outcome


def _all_kept(found: Sequence[Kept | None], tests: Iterable[str]) -> list[Run]:
    """Return a row's kept runs if all are there and were tested on all; else none."""
    there = [each for each in found if each is not None and set(tests) <= set(each.tests)]
    return list(there) if len(there) == len(found) else []


def _scores(of: Run, source: Source, progress: bool) -> pd.DataFrame:
    return of.on(source.name) if isinstance(of, Kept) else evaluate(of, source, progress=progress).scores


def _protocol(runs: Sequence[str]) -> str:
    """Join the protocols of the rows' runs, without the seed.

    What differs between rows is given for all of them, or, where that would be a long list, left to the rows' setup.
    """
    parts = zip(*(text.rsplit("; seed ", 1)[0].split("; ") for text in runs), strict=True)
    return "; ".join(_either(list(dict.fromkeys(part))) for part in parts)


def _either(variants: list[str]) -> str:
    """Join alternatives; of many that have something in common, say that and that the rest is by row."""
    common = [piece for piece in variants[0].split(", ") if all(piece in each.split(", ") for each in variants)]
    if len(variants) <= 3 or not common:
        return " or ".join(variants)
    return f"{', '.join(common)}, and what each row changes"


def _open(
    name: str, edition: str, faces: str | None, data_root: str | None, preset: str, progress: bool, world: int
) -> Source:
    return open_source(name, edition, within(data_root, name, edition), faces, preset, progress, world=world)


def _table(
    what: Experiment,
    rows: Sequence[Row],
    runs: Mapping[str, Sequence[Run]],
    scored: Mapping[tuple[str, str], Sequence[pd.DataFrame]],
) -> pd.DataFrame:
    found: list[dict[str, Any]] = []
    for row in rows:
        for test, (source, method) in what.tests.items():
            if row.name in runs:
                report = evaluation.over_seeds(scored[row.name, source], methods=[method])
            for level in ("frame", "video"):
                for metric in what.metrics:
                    place = {"row": row.name, "runs_on": "", "test": test, "level": level, "metric": metric}
                    # The paper's systems are called frame-level: its numbers are shown there.
                    printed = row.paper.get((test, metric), np.nan) if level == "frame" else np.nan
                    if row.name in runs:
                        mine = report[(report.level == level) & (report.metric == metric)].iloc[0]
                        ours = {"ours": mine["mean"], **mine[["std", "low", "high", "seeds"]].to_dict()}
                        place["runs_on"] = row.network or runs[row.name][0].settings.backbone
                    elif level == "frame":
                        ours = dict.fromkeys(("ours", "std", "low", "high"), np.nan) | {"seeds": 0}
                    else:
                        continue
                    found.append({**place, **ours, "paper": printed, "run_here": row.name in runs})
    return pd.DataFrame(found)


def _differences(
    what: Experiment, runs: Mapping[str, Sequence[Run]], scored: Mapping[tuple[str, str], Sequence[pd.DataFrame]]
) -> pd.DataFrame:
    pairs = what.compared if what.default is None else [(name, what.default) for name in runs if name != what.default]
    printed = {row.name: row.paper for row in what.rows}
    found: list[dict[str, Any]] = []
    for a, b in pairs:
        if a not in runs or b not in runs:
            continue
        for test, (source, method) in what.tests.items():
            one, other = scored[a, source], scored[b, source]
            common = min(len(one), len(other))  # of two lists that begin with the same seeds
            both = evaluation.difference_over_seeds(one[:common], other[:common], methods=[method])
            published = printed[a].get((test, "auc"), np.nan) - printed[b].get((test, "auc"), np.nan)
            for row in both.to_dict("records"):
                paper = published if row["level"] == "frame" else np.nan
                found.append({"a": a, "b": b, "test": test, **row, "paper": paper})
    columns = ["a", "b", "test", "level", "difference", "std", "low", "high", "p", "seeds", "people", "var_people",
               "var_seeds", "paper"]  # fmt: skip
    return pd.DataFrame(found, columns=columns)
