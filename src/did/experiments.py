"""The paper's tables and figures as data: which runs each takes, and on what they are tested; and the notebooks'
parameters. The call ::

    outcome = conduct("table1_intra_cross", preset="laptop")

trains what is not trained yet, tests it, and returns the paper's table with our numbers beside the published ones.
"""

import dataclasses
import time
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from did import evaluation, paper
from did.data.prepare import FaceStore
from did.data.sources import STANDIN, Source, face_store, open_source
from did.data.standin.drawn import DrawnBank
from did.data.table import REAL
from did.errors import DidError
from did.files import given_path
from did.results import Evaluation, Run, evaluate, run, stamp
from did.settings import Settings, nearest, of_preset

_COMMON = ("source", "edition", "faces", "data_root", "preset", "seed", "iterations")
_RESULT = ("preset", "edition", "faces", "data_root", "seeds")
PARAMETERS = {
    "data": ("source", "edition", "faces", "data_root", "preset"),
    "train": (*_COMMON, "backbone", "pretrained", "options"),
    "start": ("source", "edition", "faces", "data_root", "preset", "seed"),
    "predict": ("source", "edition", "faces", "data_root", "preset", "seed"),
    "adversary": _COMMON,
    **{
        f"method_{name}": ("preset",)
        for name in ("1_decomposition", "2_attention", "3_mutual_information", "4_ranking", "5_together")
    },
    "arithmetic": ("preset",),
    "table1_intra_cross": (*_RESULT, "rows"),
    "table2_diffusion": (*_RESULT, "rows"),
    "table3_backbones": _RESULT,
    "fig4_alpha": _RESULT,
    "table4_ablation": (*_RESULT, "rows"),
    "fig5_domains": _RESULT,
    "fig6_saliency": (*_RESULT, "people"),
    "fig7_embeddings": _RESULT,
    "open_choices": (*_RESULT, "rows"),
    "paper_against_ours": ("preset", "records"),
    "speed": ("preset", "records"),
}

# Readings of the game between T and the features, as changes to a preset of small size: §3.3 and Eq. 12 contradict
# each other, and neither says what λ_dec scales. "literal" undoes what those presets take in place of the paper's.
READINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "literal": {"estimator_weight": "lambda_dec", "adaptive_pool": "sum", "attention_rate": 10.0},
    "T's weight λ_dec": {"estimator_weight": "lambda_dec"},
    "A's rate ×10, S-ADP sum": {"adaptive_pool": "sum", "attention_rate": 10.0},
    "Eq. 12 as printed": {"adversary": "eq12"},
    "λ_dec = 1": {"lambda_dec": 1.0},
    "λ_dec = 1, T's rate = G's": {"lambda_dec": 1.0, "estimator_rate": 1.0},
    "λ_dec = 1, T pooled, T's rate = G's": {"lambda_dec": 1.0, "estimator_rate": 1.0, "estimator_input": "pooled"},
    "without T": {"decorrelation": False},
}

# The backbone of each place in the paper, by preset: (timm's name, where its weights are from). Below `paper` those
# whose ImageNet weights come in packages (`laptop`), or small ones without (`smoke`): they stand in the paper's
# places, and every row names what it ran on.
BACKBONES: dict[str, dict[str, tuple[str, str]]] = {
    "paper": {
        "first": ("tf_efficientnetv2_l", "hub"),
        "second": ("resnet50", "hub"),
        "xception": ("legacy_xception", "hub"),
    },
    "laptop": {
        "first": ("tf_efficientnet_lite0", "package"),
        "second": ("tf_efficientnet_lite1", "package"),
        "xception": ("tf_efficientnet_lite1", "package"),
    },
    "smoke": {
        "first": ("test_efficientnet", "none"),
        "second": ("test_resnet", "none"),
        "xception": ("test_resnet", "none"),
    },
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table, or one point of a figure.

    Attributes:
        name: as the paper has it.
        task: `did`, `bce` or `f3net`; None for a system that is not run here, whose published numbers stand alone.
        changes: to the preset.
        backbone: the place of its backbone, a key of `BACKBONES[preset]`.
        paper: the published numbers, (test, metric) -> number.
    """

    name: str
    task: str | None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backbone: str = "first"
    paper: Mapping[tuple[str, str], float] = dataclasses.field(default_factory=dict)

    def settings(self, preset: str, seed: int, source: str) -> Settings:
        """The settings of this row's run."""
        backbone, pretrained = BACKBONES[preset][self.backbone]
        changes = {"backbone": backbone, "pretrained": pretrained, **self.changes}
        return Settings.preset(preset, source=source, seed=seed, **changes)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A table or figure of the paper.

    Attributes:
        name: of its notebook and of its record.
        title: its number in the paper and what it shows.
        train: source of all its runs.
        tests: name -> (source, method: `all` fakes or one).
        rows: what is trained.
        metrics: `auc`, or with `eer`.
        compared: (a, b): rows whose difference the paper's claim is about.
        default: a row that every other one is compared with.
        seeds: how many, where none are named.
    """

    name: str
    title: str
    train: str
    tests: Mapping[str, tuple[str, str]]
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ("auc",)
    compared: tuple[tuple[str, str], ...] = ()
    default: str | None = None
    seeds: int = 1


def _printed(tests: Sequence[str], metric: str, numbers: Iterable[float | None]) -> dict[tuple[str, str], float]:
    return {(test, metric): number for test, number in zip(tests, numbers, strict=True) if number is not None}


def _pair(numbers: tuple[float, float]) -> dict[tuple[str, str], float]:
    return {("CDF2", "auc"): numbers[0], ("CDF2", "eer"): numbers[1]}


_BCE, _DID = Row("BCE", "bce"), Row("DID", "did")
_CDF2 = {"CDF2": ("cdf2", "all")}
_TASKS: dict[str, tuple[str, str]] = {
    "Xception": ("bce", "xception"),
    "F3-Net": ("f3net", "xception"),
    "DID": ("did", "first"),
}
_TABLE_1 = {"FF++": ("ffpp", "all"), **_CDF2}
_TABLE_2 = {name: ("diff", name) for name in ("T2I", "I2I", "FS", "FE")}


_FULL = _pair(paper.TABLE_4["DID"])


def _published(name: str, numbers: Mapping[tuple[str, str], float]) -> Row:
    task, backbone = _TASKS.get(name, (None, "first"))
    return Row(name, task, {}, backbone, numbers)


def _choices() -> tuple[Row, ...]:
    """Each option of the settings' table one at a time, and the paper's three settled ones together."""
    rows = [Row("default", "did")]
    for field in dataclasses.fields(Settings):
        for value in field.metadata.get("trials", ()):
            rows.append(Row(f"{field.name} = {value}", "did", {field.name: value}))
    return (*rows, Row("literal: the paper's values of all three", "did", READINGS["literal"]))


EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        Experiment(
            "table1_intra_cross",
            "Table 1: trained on FF++, tested on FF++ and on CDF2",
            "ffpp",
            _TABLE_1,
            (
                _BCE,
                *(_published(name, _printed(list(_TABLE_1), "auc", both)) for name, both in paper.TABLE_1.items()),
            ),
            compared=(("DID", "BCE"), ("DID", "Xception"), ("DID", "F3-Net")),
            seeds=3,
        ),
        Experiment(
            "table2_diffusion",
            "Table 2: trained on FF++, tested on DiFF",
            "ffpp",
            _TABLE_2,
            (
                _BCE,
                *(_published(name, _printed(list(of), "auc", of.values())) for name, of in paper.TABLE_2.items()),
            ),
            compared=(("DID", "BCE"), ("DID", "Xception"), ("DID", "F3-Net")),
            seeds=3,
        ),
        Experiment(
            "table3_backbones",
            "Table 3: trained on DFFD, tested on CDF2, two backbones",
            "dffd",
            _CDF2,
            tuple(
                Row(f"{backbone} + {head}", head.lower(), {}, "second" if backbone == "ResNet50" else "first",
                _pair(numbers)) for (backbone, head), numbers in paper.TABLE_3.items()
            ),
            metrics=("auc", "eer"),
            compared=(
                ("ResNet50 + DID", "ResNet50 + BCE"),
                ("EfficientNet-v2-L + DID", "EfficientNet-v2-L + BCE"),
            ),
            seeds=3,
        ),
        Experiment(
            "fig4_alpha",
            "Fig. 4: the weight α of BCE against the AUC loss",
            "ffpp",
            _CDF2,
            tuple(
                Row(f"α = {alpha:g}", "did", {"alpha": alpha}, "first",
                    {("CDF2", "auc"): paper.FIGURE_4[alpha]} if alpha in paper.FIGURE_4 else {})
                for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)
            ),
            compared=(("α = 0.5", "α = 1"), ("α = 0.5", "α = 0")),
        ),
        Experiment(
            "table4_ablation",
            "Table 4: without A_dom, without T",
            "ffpp",
            _CDF2,
            (
                _BCE,
                # What becomes of C̄ and L_dom is left open: both readings stand beside the paper's numbers.
                Row("w/o A_dom", "did", {"domain_attention": False}, "first", _pair(paper.TABLE_4["w/o A_dom"])),
                Row("w/o A_dom and L_dom", "did", {"domain_attention": False, "domain_branch": "dropped"}, "first",
                    _pair(paper.TABLE_4["w/o A_dom"])),
                Row("w/o T", "did", {"decorrelation": False}, "first", _pair(paper.TABLE_4["w/o T"])),
                # The paper has one DID; both readings of it stand beside its numbers.
                Row("DID, T's own step × λ_dec", "did", {"estimator_weight": "lambda_dec"}, "first", _FULL),
                Row("DID, T's own step × 1", "did", {"estimator_weight": "one"}, "first", _FULL),
            ),
            metrics=("auc", "eer"),
            compared=(
                ("DID, T's own step × 1", "w/o A_dom"),
                ("DID, T's own step × 1", "w/o A_dom and L_dom"),
                ("DID, T's own step × 1", "w/o T"),
                ("DID, T's own step × λ_dec", "w/o T"),
                ("DID, T's own step × 1", "BCE"),
            ),
            seeds=3,
        ),
        Experiment("fig5_domains", "Fig. 5: what the domain classifier confuses", "ffpp", {}, (_DID,), seeds=3),
        # Tested as in Table 1, so that both data sets are at hand.
        Experiment("fig6_saliency", "Fig. 6: where M_df and M_dom look", "ffpp", _TABLE_1, (_DID,)),
        Experiment("fig7_embeddings", "Fig. 7: what the features hold", "ffpp", {}, (_BCE, _DID), seeds=3),
        Experiment(
            "open_choices",
            "What the paper leaves open, one choice at a time",
            "ffpp",
            _TABLE_1,
            _choices(),
            default="default",
        ),
    )
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of an experiment.

    Attributes:
        experiment, preset, seeds: what was asked for.
        bank: what the data is made from: `licensed`, `licensed-part` if less of it is found than published, or for
            stand-ins `drawn` or `portraits`.
        sources: name -> the data, all of one edition.
        runs: row -> its finished runs, in the order of the seeds.
        table: one row a (row, test, level, metric): row, runs_on (backbone), test, level, metric, ours (mean over
            seeds), std, low, high (95%, over videos and seeds), seeds, paper (NaN where nothing is printed), run_here.
        differences: one row a (a, b, test, level): AUC of a less AUC of b: difference, std, low, high, seeds, paper.
        minutes: from the start to here.
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

    @property
    def edition(self) -> str:
        """`licensed` or `stand-in`: that of the training data."""
        return next(iter(self.sources.values())).edition

    @property
    def label(self) -> str:
        """Every data set in it, as figures and tables name them."""
        return "; ".join(source.label for source in self.sources.values())

    @property
    def protocol(self) -> str:
        """Edition, level, frames, crops, selection rule, seeds and intervals, in one line."""
        first = next(iter(self.runs.values()))[0]
        text = first.record["protocol"].rsplit("; seed ", 1)[0]
        seeds = ", ".join(map(str, self.seeds))
        return f"trained on {text}; seeds {seeds}; 95% intervals by bootstrap over videos and seeds"

    @property
    def stamp(self) -> str:
        """What stands under every figure and table."""
        part = "A part of the licensed data. " if self.bank == "licensed-part" else ""
        warning = part if self.edition == "licensed" else f"{STANDIN}, no reproduction of a published number. "
        runs = {one.folder: one.record["provenance"]["minutes"] for of in self.runs.values() for one in of}
        minutes = f"{self.minutes:.1f} min (training its {len(runs)} runs, now or before: {sum(runs.values()):.1f} min)"
        return stamp(warning + self.label, self.preset, self.seeds, minutes)

    @property
    def minutes(self) -> float:
        """Since the experiment was opened."""
        return (time.monotonic() - self.started) / 60

    def source(self, name: str) -> tuple[Source, FaceStore]:
        """A source of this experiment with its crops at the preset's size."""
        first = next(iter(self.runs.values()))[0]
        return self.sources[name], face_store(self.sources[name], first.settings, progress=False)


def seed_list(seeds: Any, default: int) -> list[int]:
    """Seeds as a notebook is given them: None for 0 to default - 1, a number, a list, or text such as "0,1,2".

    Raises:
        DidError: something else than whole numbers from 0 up, or none.
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


def experiment(name: str) -> Experiment:
    """An experiment by its name. Raises DidError on an unknown one."""
    if name not in EXPERIMENTS:
        raise DidError(f"unknown experiment '{name}': {nearest(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


def rows_of(what: Experiment, preset: str, rows: Sequence[str] | None = None) -> list[Row]:
    """An experiment's rows at a preset: all, or those named. A choice that the preset has made already is left out.

    Raises:
        DidError: a row that is not there.
    """
    known = {row.name: row for row in what.rows}
    if rows is not None:
        if not isinstance(rows, (list, tuple)) or not rows:
            raise DidError(f"rows takes a list, as in -y 'rows: [{what.rows[0].name}]', got {rows!r}")
        for name in rows:
            if name not in known or known[name].task is None:
                raise DidError(f"unknown row '{name}': {nearest(name, [row.name for row in what.rows if row.task])}")
        return [known[name] for name in dict.fromkeys(rows)]
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
) -> Outcome:
    """Train and test what an experiment asks for; runs and tests that are there already are taken as they are.

    Args:
        name: a key of `EXPERIMENTS`.
        preset: `smoke`, `laptop` or `paper`.
        edition: `licensed`, `stand-in` or `auto`, for all its data sets alike.
        faces: for stand-ins, see `did.data.sources.open_source`.
        data_root: a folder that holds ffpp/, cdf2/, dffd/, diff/; by default where `open_source` looks.
        seeds: see `seed_list`.
        rows: names of the rows to run; all by default.

    Raises:
        DidError: an unknown experiment, preset or row; seeds that are none; licensed data beside a stand-in; or what
            data and training raise.
    """
    started = time.monotonic()
    what = experiment(name)
    of_preset(BACKBONES, preset)
    numbers = seed_list(seeds, 1 if preset == "smoke" else what.seeds)
    chosen = rows_of(what, preset, rows)
    names = dict.fromkeys([what.train, *(source for source, _ in what.tests.values())])
    sources = {each: _open(each, edition, faces, data_root, preset, progress) for each in names}
    if len(editions := {source.edition for source in sources.values()}) > 1:
        which = ", ".join(f"{source.name} is {source.edition}" for source in sources.values())
        raise DidError(
            f"{len(editions)} editions in one table ({which}): name all licensed data, or add edition=stand-in"
        )
    runs = {
        row.name: [
            _run(row.settings(preset, seed, what.train), sources[what.train], row.task, progress) for seed in numbers
        ]
        for row in chosen
        if row.task
    }
    scored = {(row, source): [_test(each, sources[source], progress).scores for each in of]
              for row, of in runs.items() for source in {source for source, _ in what.tests.values()}}  # fmt: skip
    table = _table(what, chosen, runs, scored)
    drawn = all(source.credit == DrawnBank.attribution for source in sources.values())
    part = any(source.kind != source.edition for source in sources.values())
    whole = "licensed-part" if part else "licensed"
    bank = whole if editions == {"licensed"} else "drawn" if drawn else "portraits"
    return Outcome(what, preset, numbers, bank, sources, runs, table, _differences(what, runs, scored), started)


def train_on_each(
    settings: Settings, source: Source, store: FaceStore, progress: bool = True
) -> dict[str, tuple[Run, Evaluation]]:
    """Plain detectors (BCE), each trained on the real faces and one forgery method, all tested on every method.

    A detector's training and validation hold its own method alone; the settings are the same for all, and each test
    is on the whole test split. What is there already is taken as it is.

    Args:
        settings: of all runs.
        source, store: the data and its crops.

    Returns:
        Method -> its run and that run's test on all methods; last `all`, one detector trained on all of them (the run
        "BCE" of Table 1 under that table's settings).

    Raises:
        DidError: fewer than two methods, or what training raises.
    """
    methods = sorted(set(store.manifest["method"]) - {REAL})
    if len(methods) < 2:
        raise DidError(f"{source.label} has {len(methods)} forgery method; name a source with two or more")
    parts = {method: (f"{source.label}, {method} alone", store.only(method)) for method in methods}
    found = {}
    for name, (label, part) in {**parts, "all": (source.label, store)}.items():
        one = run(settings, dataclasses.replace(source, label=label), part, "bce", progress=progress)
        found[name] = one, evaluate(one, source, store, progress)
    return found


def _open(name: str, edition: str, faces: str | None, data_root: str | None, preset: str, progress: bool) -> Source:
    folder = None if data_root is None or edition == "stand-in" else given_path(data_root, "data_root") / name
    return open_source(name, edition, folder, faces, preset, progress)


def _run(settings: Settings, source: Source, task: str, progress: bool) -> Run:
    return run(settings, source, face_store(source, settings, progress), task, progress=progress)


def _test(one: Run, source: Source, progress: bool) -> Evaluation:
    return evaluate(one, source, face_store(source, one.settings, progress), progress)


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
                    # The paper's systems are called frame-level: its numbers stand there.
                    printed = row.paper.get((test, metric), np.nan) if level == "frame" else np.nan
                    if row.name in runs:
                        mine = report[(report.level == level) & (report.metric == metric)].iloc[0]
                        ours = {"ours": mine["mean"], **mine[["std", "low", "high", "seeds"]].to_dict()}
                        place["runs_on"] = runs[row.name][0].settings.backbone
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
            both = evaluation.difference_over_seeds(scored[a, source], scored[b, source], methods=[method])
            published = printed[a].get((test, "auc"), np.nan) - printed[b].get((test, "auc"), np.nan)
            for row in both.to_dict("records"):
                found.append(
                    {"a": a, "b": b, "test": test, **row, "paper": published if row["level"] == "frame" else np.nan}
                )
    columns = ["a", "b", "test", "level", "difference", "std", "low", "high", "seeds", "paper"]
    return pd.DataFrame(found, columns=columns)


# --- the notebooks' parameters -------------------------------------------------------------------------------------


_TEXTS = ("source", "edition", "preset", "faces", "data_root", "backbone", "pretrained", "records")
_NEVER_NONE = ("source", "edition", "preset", "seed")


def check_parameters(namespace: Mapping[str, Any], notebook: str) -> None:
    """Stop a notebook, before any work, that was given a parameter it does not have, or one of another kind.

    papermill itself would only warn, and it reads `-p data_root 2024` as a number.

    Args:
        namespace: the notebook's `globals()`, right after its parameter cells.
        notebook: its name, a key of `PARAMETERS`.

    Raises:
        DidError: a name that is not known, and the sentence gives the nearest one; or a value that is not possible,
            and it says what the parameter takes.
    """
    known = PARAMETERS[notebook]
    shell = {"In", "Out", "exit", "quit", "get_ipython", "open", "check_parameters"}
    for name, value in namespace.items():
        if name.startswith("_") or name in shell or isinstance(value, types.ModuleType):
            continue
        if name not in known:
            raise DidError(f"unknown parameter '{name}': {nearest(name, known)}")
    for name in known:
        _check_value(name, namespace[name])


def _check_value(name: str, value: Any) -> None:
    """Raises DidError on a value that a notebook's parameter does not take; rows and options see to theirs."""
    if value is None and name not in _NEVER_NONE:
        return
    if name in _TEXTS and not isinstance(value, str):
        raise DidError(f"the parameter '{name}' takes a text, got {value!r}: give it with -r, as in -r {name} TEXT")
    if name == "people" and (type(value) is not int or value < 1):
        raise DidError(f"the parameter 'people' takes a whole number from 1 up, as in -p people 4, got {value!r}")
    if name in ("seed", "iterations"):
        Settings(**{name: value})
    if name == "seeds":
        for seed in seed_list(value, 1):
            Settings(seed=seed)


def train_settings(
    preset: str,
    backbone: str | None = None,
    pretrained: str | None = None,
    seed: int | None = None,
    iterations: int | None = None,
    options: Mapping[str, Any] | None = None,
    source: str = "ffpp",
) -> Settings:
    """Settings of the train notebook: a preset, and whatever is given in place of the preset's values.

    Raises:
        DidError: see `did.settings.Settings.preset`.
    """
    if options is not None and not isinstance(options, Mapping):
        raise DidError(f"options takes a mapping of settings, as in -y 'options: {{alpha: 1.0}}', got {options!r}")
    # Without the path of folder:PATH: settings name a run on every machine alike.
    named = {
        "source": source.partition(":")[0],
        "backbone": backbone,
        "pretrained": pretrained,
        "seed": seed,
        "iterations": iterations,
    }
    given = {name: value for name, value in named.items() if value is not None}
    return Settings.preset(preset, **{**(options or {}), **given})
