"""A run and its record: settings, data fingerprint, commit, machine, seed, metrics. Asking again returns it."""

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from did import evaluation
from did.data.augment import augmented
from did.data.loading import Faces, domain_names
from did.data.prepare import CHOICES, GIVEN
from did.data.store import PLACE, FaceStore, open_store
from did.data.table import COLUMNS, SPLITS, fingerprint, read_csv
from did.errors import DidError, nearest
from did.settings import ALL, Settings
from did.sources import Source, face_store, for_testing
from did.task import Task, Wants, code_digest, options_of, task_named
from did.training.loop import BEST, HISTORY, RESUME, STATE_MEND, checkpoint_file, fit, score
from did.training.provenance import deciding, provenance, tf32
from did.training.watching import Log, check_log, opened
from did.utils import checkpoints, distributed
from did.utils.files import alone, home, sha256, write_atomically
from did.utils.weights import weights_file

RECORD = "record.json"
#: Part of every run's name. Raised when what a run computes changes, and by nothing else: a release renames no run.
RUN_FORMAT = 3
#: The columns of `scores.csv` that hold text.
NAMES = (*(name for name in COLUMNS if name not in ("label", "frame")), "face", "sha256")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: a folder with `record.json`, `history.csv`, `metrics.csv`, `scores.csv`, `model.safetensors`."""

    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        """Its run, task, options, settings, contents, domains, data, protocol, metrics, calibration and provenance.

        Raises:
            DidError: If the record is damaged.
        """
        return _read_record(self.folder / RECORD)

    @property
    def settings(self) -> Settings:
        """The settings in the record."""
        return Settings.of(self.record["settings"])

    @property
    def history(self) -> pd.DataFrame:
        """One row per logged iteration: losses, estimate, maps' statistics, gradient norms, validation AUC."""
        return read_csv(self.folder / "history.csv", text=())

    @property
    def metrics(self) -> pd.DataFrame:
        """AUC and EER with intervals on the test split; see `did.evaluation.intervals.report`."""
        return Evaluation(self.folder).metrics

    @property
    def scores(self) -> pd.DataFrame:
        """One row per frame of the test split: the manifest's columns and `score`, a logit."""
        return Evaluation(self.folder).scores

    def task(self, after: int | None = None) -> Task:
        """Return the trained task, in evaluation mode, on `did.utils.distributed.device`.

        Args:
            after: so many iterations, at a validation whose weights were kept; by default the selected weights.

        Raises:
            DidError: If the weights are not there, damaged, or of another configuration than the record's; a task that
                is not known here, or whose code has changed.
        """
        record = self.record
        task = task_of(record)
        weights = self.folder / BEST if after is None else checkpoint_file(self.folder, after)
        if after is not None and not weights.is_file():
            kept = sorted(int(file.stem) for file in weights.parent.glob("*.safetensors"))
            there = f"those after {', '.join(map(str, kept))}" if kept else "none: train with --checkpoints"
            raise DidError(f"the run {self.folder.name} kept no weights after {after} iterations; it kept {there}")
        fix = f"remove the run (`did runs rm {self.folder.name}`) and train it again"
        checkpoints.put(task, checkpoints.load(weights, fix=fix)[0], weights, fix)
        return task.eval().to(distributed.device())


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of a run's detector on the test split of a source.

    It is a folder with `record.json` (run, data, protocol, provenance), `metrics.csv` and `scores.csv`. A run's own
    folder is one, for the source that it was trained on.
    """

    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        """Its run, data, protocol and provenance.

        Raises:
            DidError: If it is damaged.
        """
        return _read_record(self.folder / RECORD)

    @property
    def metrics(self) -> pd.DataFrame:
        """AUC and EER with intervals; see `did.evaluation.intervals.report`."""
        return read_csv(self.folder / "metrics.csv", text=("level", "method"))

    @property
    def scores(self) -> pd.DataFrame:
        """One row per frame: the manifest's columns and `score`, a logit."""
        return read_csv(self.folder / "scores.csv", text=NAMES)


def _read_record(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if not {"run", "data", "protocol", "provenance"} <= set(record):
            raise ValueError("parts are missing")
    except (OSError, ValueError, TypeError) as error:
        raise DidError(f"the record {file} cannot be read ({error}): remove its folder and run again") from error
    return record


def contents(settings: Settings, task: str) -> dict[str, str]:
    """Return the SHA-256 of what decides a run besides its settings and crops.

    `weights` of a file that `pretrained` names, `code` of a task from outside the package, and `version` of a task that
    has one. Empty for none of them.

    Raises:
        DidError: If the file is missing, or the code cannot be read.
    """
    of = task_named(task)
    weights, code = weights_file(settings.pretrained), code_digest(of)
    found = ({"weights": sha256(weights)} if weights else {}) | ({"code": code} if code else {})
    return found | ({"version": str(of.version)} if of.version else {})


def task_of(record: Mapping[str, Any]) -> Task:
    """Return the task of a run's record, or of an exported detector's card, with random weights.

    Raises:
        DidError: If the task is not known here, or its code has changed since.
    """
    task = task_named(record["task"])
    if record.get("contents", {}).get("code", "") != code_digest(task):
        raise DidError(
            f"the code of the task '{record['task']}' is not the one that the run {record['run']} was trained with: "
            "put that code back, or train anew"
        )
    settings = dataclasses.replace(Settings.of(record["settings"]), pretrained="none")
    return task(settings, len(record["domains"]), options_of(task, record.get("options", {})))


def check_store(store: FaceStore, settings: Settings, source: Source | None = None) -> None:
    """Check that a store's crops are those that the settings describe.

    Args:
        store: the crops.
        settings: of the run.
        source: the data set that they are said to be from.

    Raises:
        DidError: If frames, size, margin, the choice of the face or the list of videos differ; the sentence names
            which.
    """
    info = open_store(store.root).info
    s = settings
    wanted: dict[str, Any] = {"frames": s.frames, "size": s.image_size, "margin": s.crop_margin}
    if source is not None or info.get("face") != GIVEN:
        wanted["face"] = CHOICES[0] if source is None else source.face
    differing = [
        f"{name} is {info[name]}, not {value}" for name, value in wanted.items() if info.get(name, value) != value
    ]
    if source is not None and "index" in info and info["index"] != fingerprint(source.index):
        differing.append(f"its videos are not those of {source.label}")
    if differing:
        raise DidError(
            f"the face store {store.root} does not fit the settings ({'; '.join(differing)}): take the store of "
            "`did.sources.face_store`, or change the settings"
        )


def run_name(settings: Settings, task: str, options: Mapping[str, Any], content: Mapping[str, str], data: str) -> str:
    """Return the name of a run: 12 hexadecimal digits of everything that decides it.

    Args:
        settings: of the run.
        task: its name.
        options: the task's, as far as they are not the defaults.
        content: see `contents`: weights that are named by a path count by their content, wherever they lie.
        data: the fingerprint of the crops.
    """
    named = dataclasses.replace(settings, pretrained="file") if "weights" in content else settings
    chosen = [f"{name} = {value}" for name, value in sorted(options.items())]
    return named.digest(task, data, f"format {RUN_FORMAT}", *chosen, *(f"{key}: {it}" for key, it in content.items()))


def run(
    source: Source,
    settings: Settings,
    task: str = "did",
    *,
    options: Mapping[str, Any] | None = None,
    store: FaceStore | None = None,
    runs: Path | None = None,
    progress: bool = True,
    fabric: Fabric | None = None,
    init: Run | None = None,
    extend: Run | None = None,
    checkpoints: bool = False,
    log: Log | str | None = None,
) -> Run:
    """Train on the source's train split, select on its validation split, and test on its test split.

    Cached: the same inputs return the finished run, see `run_name`. A killed run resumes from its last checkpoint. The
    folder gets that name only when all is written:
    an interrupted run is resumed, never taken for done.

    Args:
        source: the data.
        settings: of the run.
        task: name of a task, see `did.task.task_names`.
        options: the task's own, by name.
        store: the crops; by default those of `did.sources.face_store`, prepared now if they are not there.
        runs: folder of the runs; `runs/` in the project by default.
        progress: show bars.
        fabric: from `did.utils.distributed.launch`, if several processes train the run together; all of them call this.
        init: a finished run of the same task, whose selected weights the training begins with. It is part of the name.
        extend: a finished run with `checkpoints` of the same settings but fewer iterations, whose training goes on. It
            is part of the name, because what depends on the share of the iterations that are done (β, a schedule) has
            gone another way than in one training of this length.
        checkpoints: keep the weights of every validation, see `Run.task`, and the last state, for `extend`.
        log: called with each row of the history while it trains, see `did.training.loop.fit`; or `tensorboard`, see
            `did.training.watching.opened`.

    Raises:
        DidError: If there is an unknown task or option, weights that cannot be had, a store that does not fit settings
            or source, a run that cannot be extended to these settings or was finished without the checkpoints that are
            asked for, or what training and evaluation raise.
    """
    check_log(log)
    chosen = chosen_options(task, options or {})
    if store is None:
        store = face_store(source, settings, progress)
    check_store(store, settings, source)
    content = contents(settings, task)
    if init is not None:
        content["init"] = init.folder.name
    if extend is not None:
        _check_extended(extend, settings, task, chosen, store)
        content["extends"] = extend.folder.name
    folder = (runs or home() / "runs") / run_name(settings, task, chosen, content, store.fingerprint)
    first = distributed.rank() == 0
    # Two that want the same run train it once.
    # What is finished needs no lock, which a read-only place could not have.
    if not distributed.of_first((folder / RECORD).is_file()):
        with alone(folder) if first else contextlib.nullcontext():
            if not distributed.of_first((folder / RECORD).is_file()):
                _train(settings, source, store, task, chosen, folder, content, progress and first, fabric, init, extend,
                       checkpoints, log)  # fmt: skip
        distributed.wait()
    if checkpoints and not (folder / RESUME).is_file():
        raise DidError(
            f"the run {folder.name} was finished without checkpoints; `did runs rm {folder.name}`, and train it again"
        )
    return Run(folder)


def _check_extended(run: Run, settings: Settings, task: str, options: Mapping[str, Any], store: FaceStore) -> None:
    """Check that a run's training can go on to these settings."""
    record, name = run.record, run.folder.name
    pairs = {
        "task": (record["task"], task),
        "options": (record["options"], options),
        "crops": (record["data"]["fingerprint"], store.fingerprint),
        **{key: (value, getattr(settings, key)) for key, value in run.settings.as_dict().items()
           if key not in ("iterations", "patience")},
    }  # fmt: skip
    if differing := [key for key, (before, now) in pairs.items() if before != now]:
        raise DidError(
            f"the run {name} cannot be extended: it has another value of {', '.join(differing)}, and only iterations "
            "and patience may change"
        )
    if settings.iterations <= run.settings.iterations:
        raise DidError(f"the run {name} has {run.settings.iterations} iterations already: set iterations to more")
    if not (run.folder / RESUME).is_file():
        raise DidError(
            f"the run {name} kept no state to go on from: train it with --checkpoints, or begin with its weights "
            "(--init)"
        )


def chosen_options(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that differ from the task's defaults, checked."""
    found, default = (dataclasses.asdict(options_of(task_named(task), given)) for given in (options, {}))
    return {name: value for name, value in found.items() if value != default[name]}


def _train(
    settings: Settings,
    source: Source,
    store: FaceStore,
    task: str,
    options: dict[str, Any],
    folder: Path,
    content: dict[str, str],
    progress: bool,
    fabric: Fabric | None,
    init: Run | None,
    extend: Run | None,
    keep: bool,
    log: Log | str | None,
) -> None:
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    if distributed.rank() == 0:
        _sweep(part)
        if extend is not None and not (part / RESUME).is_file():
            for name in (BEST, RESUME):  # The state last: from then on, it is this training's own.
                write_atomically(part / name, lambda path, name=name: shutil.copyfile(extend.folder / name, path))  # type: ignore[misc]
    distributed.wait()

    # A run that goes on counts the sittings before: what led to the state that it goes on from.
    before = checkpoints.about(part / RESUME, STATE_MEND).get("seconds", 0.0) if (part / RESUME).is_file() else 0.0
    started = time.monotonic() - before
    splits = split_faces(store, settings, task_named(task).wants, source, progress)
    domains = splits["train"].domain_names
    torch.manual_seed(settings.seed)
    model = task_named(task)(settings, len(domains), options_of(task_named(task), options))
    if init is not None:
        fix = f"begin with a run of the task {task} on as many methods and the same backbone"
        checkpoints.put(model, checkpoints.load(init.folder / BEST)[0], init.folder / BEST, fix)
    with opened(log if distributed.rank() == 0 else None, part) as shown:
        history = fit(model, splits["train"], splits["val"], part, progress, None, fabric, shown, keep)
    trained = time.monotonic()
    validation, test = splits["val"], splits["test"]
    validated = validation.rows.assign(
        score=score(model.detector(), validation, precision=settings.precision, progress=progress)
    )
    scored = test.rows.assign(score=score(model.detector(), test, precision=settings.precision, progress=progress))
    extra = {"domain_accuracy": domain_accuracy(model, test, len(domains))} if model.domain_graph() is not None else {}
    if distributed.rank() > 0:
        return
    metrics = evaluation.report(scored)

    write_atomically(part / "history.csv", lambda path: history.to_csv(path, index=False))
    record = {
        "run": folder.name,
        "task": task,
        "options": options,
        "settings": settings.as_dict(),
        "contents": content,
        "domains": domains,
        "data": _data(source, store, {split: len(faces) for split, faces in splits.items()}),
        "protocol": protocol(settings, source),
        "metrics": metrics.set_index(["level", "method"]).loc[("frame", "all")].to_dict() | extra,
        "calibration": evaluation.calibrate(validated),
        "provenance": {**provenance(), "code": deciding([task_named(task).__module__]), "seed": settings.seed,
                       "minutes": (time.monotonic() - started) / 60, "minutes_training": (trained - started) / 60},
    }  # fmt: skip
    _write(part, scored, metrics, record)
    for name in (HISTORY,) if keep else (RESUME, HISTORY):
        (part / name).unlink(missing_ok=True)
    if folder.exists():  # without a record: not a run
        shutil.rmtree(folder)
    os.replace(part, folder)


def _sweep(folder: Path) -> None:
    """Delete temporary files left by a killed process: ours, and those of safetensors."""
    for pattern in (".*.tmp", ".tmp*"):
        for left in folder.glob(pattern):
            left.unlink()


def _write(folder: Path, scored: pd.DataFrame, metrics: pd.DataFrame, record: dict[str, Any]) -> None:
    """Write the files of a run; the record comes last, so that a record means a complete run."""
    _sweep(folder)
    scored = scored.drop(columns=list(PLACE), errors="ignore")
    for file, frame in (("scores", scored), ("metrics", metrics)):
        write_atomically(folder / f"{file}.csv", lambda path, frame=frame: frame.to_csv(path, index=False))  # type: ignore[misc]
    text = json.dumps(record, indent=1) + "\n"
    write_atomically(folder / RECORD, lambda path: path.write_text(text, encoding="utf-8"))


def evaluate(run: Run, source: Source, store: FaceStore | None = None, progress: bool = True) -> Evaluation:
    """Test the run's detector on the test split of another source.

    Cached: an evaluation that exists is returned.

    Nothing is chosen on that source: the checkpoint is the one that the run selected on its own validation split.

    Args:
        run: a finished run.
        source: the data.
        store: its crops, at the run's size of crops; by default those of `did.sources.face_store`, of the test split
            alone (`did.sources.for_testing`).

    Raises:
        DidError: If the source has no test split, or the store does not fit the run's settings or the source.
    """
    if store is None:
        source = for_testing(source, run.settings)
        store = face_store(source, run.settings, progress)
    check_store(store, run.settings, source)
    manifest, data = store.manifest, store.fingerprint
    if data == run.record["data"]["fingerprint"]:
        return Evaluation(run.folder)
    folder = run.folder / f"on-{source.name}-{data[:12]}"
    if (folder / RECORD).is_file():
        return Evaluation(folder)
    with alone(folder):
        if not (folder / RECORD).is_file():
            started = time.monotonic()
            settings = run.settings
            wants = task_named(run.record["task"]).wants
            more = _wanted(wants, settings, source, progress)
            faces = Faces(manifest[manifest.split == "test"], store.root, settings.image_size, wants=wants, **more)
            scores = score(run.task().detector(), faces, precision=settings.precision, progress=progress)
            scored = faces.rows.assign(score=scores)
            metrics = evaluation.report(scored)
            record = {
                "run": run.folder.name,
                "data": _data(source, store, {"test": len(faces)}),
                "protocol": f"trained on {run.record['protocol']}. Tested on {source.label}; {source.kind}",
                "metrics": metrics.set_index(["level", "method"]).loc[("frame", "all")].to_dict(),
                "provenance": {**provenance(), "minutes": (time.monotonic() - started) / 60},
            }
            _write(folder, scored, metrics, record)
    return Evaluation(folder)


def _data(source: Source, store: FaceStore, crops: dict[str, int]) -> dict[str, Any]:
    return {
        "source": source.name,
        "edition": source.kind,
        "label": source.label,
        "counts": dict(source.counts),
        "left_out": dict(source.left_out),
        "fingerprint": store.fingerprint,
        "crops": crops,
        "quarantined": len(store.quarantine),
    }


def all_runs(runs: Path | None = None) -> list[Run]:
    """Return the finished runs of a folder, `runs/` in the project by default, the oldest first."""
    folder = runs or home() / "runs"
    found = [Run(file.parent) for file in folder.glob(f"*/{RECORD}") if not file.parent.name.endswith(".part")]
    return sorted(found, key=lambda run: (run.folder / RECORD).stat().st_mtime)


def list_runs(runs: Path | None = None) -> pd.DataFrame:
    """Tabulate the finished runs: name, task, data, edition, backbone, seed, iterations, AUC, minutes, date.

    Raises:
        DidError: If a record is damaged; the sentence names it.
    """
    rows = []
    for run in all_runs(runs):
        record = run.record
        settings, made = record["settings"], record["provenance"]
        rows.append(
            {"run": record["run"], "task": record["task"], "data": record["data"]["source"],
             "edition": record["data"]["edition"], "backbone": settings["backbone"], "seed": settings["seed"],
             "iterations": settings["iterations"], **{k: record["metrics"][k] for k in ("auc", "auc_low", "auc_high")},
             "minutes": made["minutes"], "date": made["date"][:16]}
        )  # fmt: skip
    return pd.DataFrame(rows)


def find_run(name: str, runs: Path | None = None) -> Run:
    """Return the finished run whose name is, or begins with, `name`.

    Raises:
        DidError: If there is none, or more than one.
    """
    names = {run.folder.name: run for run in all_runs(runs)}
    found = [run for full, run in names.items() if full.startswith(name)]
    if name and len(found) == 1:
        return found[0]
    if name and found:
        raise DidError(f"'{name}' begins the names of {len(found)} runs: give more of its digits")
    raise DidError(f"there is no finished run '{name}': {nearest(name, names) if names else 'none is there yet'}")


def remove_run(name: str, runs: Path | None = None) -> Path:
    """Remove a run and its evaluations; return the folder that was removed.

    Raises:
        DidError: As `find_run`.
    """
    run = find_run(name, runs)
    with alone(run.folder):
        (run.folder / RECORD).unlink()  # First: what is left after an interruption is not a run.
        shutil.rmtree(run.folder)
    return run.folder


def split_faces(
    store: FaceStore,
    settings: Settings,
    wants: Wants | None = None,
    source: Source | None = None,
    progress: bool = True,
) -> dict[str, Faces]:
    """Return the faces of each split, with the domain numbers of the train split.

    Training and validation hold the setting's forgery methods; the test split holds all, those that training does not
    know with the numbers after its own.

    Args:
        store, settings: of the run.
        wants: of its task; gray crops by default.
        source: the data, if the task wants more than the crops.
        progress: show bars.

    Raises:
        DidError: If the crops are not those of the settings, or do not have what is wanted.
    """
    check_store(store, settings)
    wants = wants or Wants()
    if settings.augment == "light":
        wants = augmented(wants)
    more = _wanted(wants, settings, source, progress)
    some = store if settings.methods == ALL else store.only(*map(str.strip, settings.methods.split(",")))
    of = {split: (store if split == "test" else some).manifest.query("split == @split") for split in SPLITS}
    known = domain_names(of["train"])
    new = [name for name in domain_names(of["test"]) if name not in known]
    return {
        split: Faces(rows, store.root, settings.image_size, known + new * (split == "test"), wants=wants,
                     training=split == "train", **more)
        for split, rows in of.items()
    }  # fmt: skip


def _wanted(wants: Wants, settings: Settings, source: Source | None, progress: bool) -> dict[str, Any]:
    """Return what `Faces` needs besides the crops for what a task wants."""
    found: dict[str, Any] = {"margin": settings.crop_margin, "data": None if source is None else source.root}
    if wants.context is not None and source is not None:
        wider = dataclasses.replace(settings, crop_margin=wants.context)
        found["context"] = face_store(source, wider, progress)
    return found


def protocol(settings: Settings, source: Source) -> str:
    """Describe the protocol in one line, to be shown beside every number of the run."""
    rule = "best frame AUC on the validation split" if settings.selection == "validation" else "last iterate"
    return (
        f"{source.label}; {source.kind}; frames and videos; {settings.frames} frames per video; crops of "
        f"{settings.image_size} px, margin {settings.crop_margin:g}; {rule}; {settings.iterations} iterations of "
        f"{settings.batch_size}{_changed(settings)}; seed {settings.seed}; 95% intervals over people"
    )


def _changed(settings: Settings) -> str:
    """Name what a run does that the paper does not, or does not say."""
    s = settings
    said = {
        f"forgeries by {' and '.join(map(str.strip, s.methods.split(',')))} alone": s.methods != ALL,
        f"{s.augment} augmentation": s.augment != "none",
        "batches of pairs": s.sampler == "pairs",
        f"averaged weights (decay {s.averaging:g})": s.averaging > 0,
        f"optimizer {s.optimizer}": s.optimizer != "adam",
        f"{s.schedule} schedule": s.schedule != "none",
        f"ended after {s.patience} validations without a better one": s.patience > 0,
        f"{' and '.join(tf32())} in TF32": s.precision == "32" and tf32() != [],
    }
    return "".join(f", {what}" for what, holds in said.items() if holds)


@torch.inference_mode()
def domain_predictions(task: Task, faces: Faces) -> np.ndarray:
    """Return the domain that the task predicts for each face, (n,), numbered in the order of the run's domains.

    Raises:
        DidError: If the task names no domains.
    """
    graph = task.domain_graph()
    if graph is None:
        raise DidError(f"a {type(task).__name__} names no domains: take a run of did with its domain branch")
    return score(graph, faces, precision=task.settings.precision).argmax(1)


def domain_accuracy(task: Task, faces: Faces, domains: int | None = None) -> float:
    """Compute the accuracy of C̄, each domain counting alike (chance level: 1 / (k + 1)).

    Args:
        task: a trained one.
        faces: of the test.
        domains: how many the task knows; faces of the others are left out. By default it knows all.
    """
    known = faces.domains < (domains or len(faces.domain_names))
    confusion = evaluation.confusion(
        faces.domains[known], domain_predictions(task, faces)[known], faces.domain_names[:domains]
    )
    return evaluation.mean_accuracy(confusion)
