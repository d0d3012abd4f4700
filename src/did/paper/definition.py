"""What an experiment is: its rows, what they are tested on, and how its claim is decided."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from did import presets
from did.paper import measures, verdicts
from did.paper.records import Record
from did.settings import Settings


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table, or one point of a figure.

    Attributes:
        name: as the paper has it.
        task: its name; None for a system that is not run here, of which only the published numbers are shown.
        changes: to the preset.
        options: the task's own, by name.
        backbone: the place of its backbone, a key of `did.presets.Preset.backbones`.
        paper: the published numbers, (test, metric) -> number.
        length: iterations over the preset's. There are as many validations at every length.
        seeds: at most so many of the experiment's, the first ones; None for all.
        small: options at presets below `paper`, for what would be slow without a GPU.
        longer: as `length`, at presets below `paper`, whose iterations are for pretrained backbones.
        own: changes at preset `paper`: the system's published backbone, input size and training.
        network: what the system is, if it has a network of its own and no backbone.
    """

    name: str
    task: str | None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backbone: str = "first"
    paper: Mapping[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    length: float = 1.0
    seeds: int | None = None
    small: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    longer: float = 1.0
    own: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: str = ""

    def options_at(self, preset: str) -> Mapping[str, Any]:
        """Return the task's options at a preset."""
        return self.options if preset == "paper" else {**self.options, **self.small}

    def length_at(self, preset: str) -> float:
        """Return its iterations at a preset, over the preset's own."""
        return self.length * (1 if preset == "paper" else self.longer)

    def settings(self, preset: str, seed: int, source: str) -> Settings:
        """Return the settings of this row's run."""
        backbone, pretrained = presets.preset(preset).backbones[self.backbone]
        changes = {"backbone": backbone, "pretrained": pretrained, **self.changes}
        if preset == "paper":
            changes |= self.own
        if (length := self.length_at(preset)) != 1:
            usual = Settings.preset(preset)
            for name in ("iterations", "validate_every"):
                changes[name] = max(1, int(length * getattr(usual, name)))
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
        claim: the paper's words, and where they are; empty if it claims nothing.
        printed: numbers that the paper prints besides those of the rows, (row, test, metric) -> number.
        measure: what it measures besides the metrics, see `did.paper.measures`; its keywords are `conduct`'s too.
        sentences: what is said of the result, in this order, see `did.paper.verdicts`.
        decide: whether the claim holds.
        smoke: the rows that preset smoke runs, which shows that it runs and no more; all by default.
        worlds: on stand-ins it is run in each of these (`did.standin.worlds`), and decided over them.
        over: what its 95% intervals are over, if it is not people, and seeds where there are several.
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
    claim: tuple[str, str] = ("", "")
    printed: Mapping[tuple[str, str, str], float] = dataclasses.field(default_factory=dict)
    measure: Callable[..., measures.Tables] | None = None
    sentences: tuple[Callable[[Record], list[str]], ...] = (verdicts.compared, verdicts.backbones)
    decide: Callable[[Record], str] = verdicts.ahead
    smoke: tuple[str, ...] = ()
    worlds: tuple[int, ...] = ()
    over: str = ""

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the sources that it is trained and tested on, once each."""
        return tuple(dict.fromkeys([self.train, *(source for source, _ in self.tests.values())]))

    @property
    def published(self) -> dict[tuple[str, str, str], float]:
        """Every number that the paper prints: (row, test, metric) -> number."""
        of_rows = {(row.name, *place): number for row in self.rows for place, number in row.paper.items()}
        return {**of_rows, **self.printed}

    def setup(
        self, preset: str, settings: Mapping[str, Settings], options: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, str]]:
        """Describe what is run at a preset: row -> task, backbone, weights, trained on, changed.

        Settings and options are those of the rows.
        """
        rows = {row.name: row for row in self.rows if row.name in settings}
        found = {}
        for name, row in rows.items():
            own = {key: value for key, value in row.own.items() if key != "backbone"} if preset == "paper" else {}
            of, changes = settings[name], {**row.changes, **own, **options.get(name, {})}
            if row.length_at(preset) != 1:
                changes["iterations"] = of.iterations
            changed = ", ".join(f"{key} = {value}" for key, value in changes.items())
            found[name] = {"task": str(row.task), "backbone": row.network or of.backbone,
                           "weights": "none" if row.network else of.pretrained, "trained on": of.source,
                           "changed": changed or "nothing"}  # fmt: skip
        return found
