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
from torch import nn

import did
from did import evaluation
from did.data.loading import Faces, domain_names
from did.data.store import FaceStore, open_store
from did.data.table import COLUMNS, fingerprint, read_csv
from did.errors import DidError
from did.method.backbones import weights_file
from did.method.task import DIDTask
from did.rivals.bce import BCETask
from did.rivals.f3net import F3NetTask
from did.settings import Settings, nearest
from did.sources import Source
from did.task import code_digest
from did.training.loop import BEST, RESUME, STATE_MEND, fit, score
from did.training.provenance import provenance
from did.utils import checkpoints, distributed
from did.utils.files import alone, home, sha256, write_atomically

TASKS = {"did": DIDTask, "bce": BCETask, "f3net": F3NetTask}
RECORD = "record.json"
#: The columns of `scores.csv` that hold text.
NAMES = (*(name for name in COLUMNS if name not in ("label", "frame")), "face", "sha256")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: a folder with `record.json`, `history.csv`, `metrics.csv`, `scores.csv`, `model.safetensors`."""

    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        """run, task, settings, contents, domains, data, protocol, metrics, calibration, provenance.

        Raises:
            DidError: the record is damaged.
        """
        return _read_record(self.folder / RECORD)

    @property
    def settings(self) -> Settings:
        """Those that the record holds."""
        return Settings.of(self.record["settings"])

    @property
    def history(self) -> pd.DataFrame:
        """One row a logged iteration: losses, estimate, maps' statistics, gradient norms, validation AUC."""
        return read_csv(self.folder / "history.csv", text=())

    @property
    def metrics(self) -> pd.DataFrame:
        """AUC and EER with intervals on the test split; see `did.evaluation.report`."""
        return Evaluation(self.folder).metrics

    @property
    def scores(self) -> pd.DataFrame:
        """One row a frame of the test split: the manifest's columns and `score`, a logit."""
        return Evaluation(self.folder).scores

    def task(self) -> DIDTask | BCETask | F3NetTask:
        """The trained task with the selected weights, in evaluation mode, on `did.utils.distributed.device`.

        Raises:
            DidError: weights that are damaged, or of another configuration than the record's; a task that is not known
                here, or whose code has changed.
        """
        record = self.record
        check_code(record)
        settings = dataclasses.replace(self.settings, pretrained="none")
        task: DIDTask | BCETask | F3NetTask = TASKS[record["task"]](settings, len(record["domains"]))
        weights = self.folder / BEST
        mend = f"remove the run (`did runs rm {self.folder.name}`) and train it again"
        checkpoints.put(task, checkpoints.load(weights, mend=mend)[0], weights, mend)
        return task.eval().to(distributed.device())


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a run's detector gives on the test split of a source: a folder with `record.json` (run, data, protocol,
    provenance), `metrics.csv` and `scores.csv`. A run's own folder is one, for the source that it was trained on."""

    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        """run, data, protocol, provenance. Raises DidError where it is damaged."""
        return _read_record(self.folder / RECORD)

    @property
    def metrics(self) -> pd.DataFrame:
        """AUC and EER with intervals; see `did.evaluation.report`."""
        return read_csv(self.folder / "metrics.csv", text=("level", "method"))

    @property
    def scores(self) -> pd.DataFrame:
        """One row a frame: the manifest's columns and `score`, a logit."""
        return read_csv(self.folder / "scores.csv", text=NAMES)


def _read_record(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if not {"run", "data", "protocol", "provenance"} <= set(record):
            raise ValueError("parts are missing")
    except (OSError, ValueError, TypeError) as error:
        raise DidError(f"the record {file} cannot be read ({error}): remove its folder and run again") from error
    return record


def check_task(task: str) -> None:
    """Raises DidError where there is no such task; the sentence names the nearest."""
    if task not in TASKS:
        raise DidError(f"unknown task '{task}': {nearest(task, TASKS)}")


def contents(settings: Settings, task: str) -> dict[str, str]:
    """Return the SHA-256 of what decides a run beside settings and crops: `weights` of a file that `pretrained` names,
    and `code` of a task from outside the package. Empty for neither.

    Raises:
        DidError: the file is not there, or the code cannot be read.
    """
    weights, code = weights_file(settings.pretrained), code_digest(TASKS[task])
    return ({"weights": sha256(weights)} if weights else {}) | ({"code": code} if code else {})


def check_code(record: Mapping[str, Any]) -> None:
    """Check that the task of a record, or of an exported detector's card, is the one that was trained.

    Raises:
        DidError: the task is not known here, or its code has changed since.
    """
    check_task(record["task"])
    if record.get("contents", {}).get("code", "") != code_digest(TASKS[record["task"]]):
        raise DidError(
            f"the code of the task '{record['task']}' is not the one that the run {record['run']} was trained with: "
            "put that code back, or train anew"
        )


def check_store(store: FaceStore, settings: Settings, source: Source | None = None) -> None:
    """Check that a store's crops are those that the settings describe.

    Args:
        store: the crops.
        settings: of the run.
        source: the data set that they are said to be from.

    Raises:
        DidError: frames, size, margin or the choice of the face differ, or the list of videos; the sentence names
            which.
    """
    info = open_store(store.root).info
    s = settings
    wanted = {"frames": s.frames, "size": s.image_size, "margin": s.crop_margin, "face": "largest"}
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


def run(
    settings: Settings,
    source: Source,
    store: FaceStore,
    task: str = "did",
    runs: Path | None = None,
    progress: bool = True,
    fabric: Fabric | None = None,
) -> Run:
    """Train on the source's train split, select on its validation split, test on its test split; or return the run
    that did so before.

    The name of a run is the hash of its task, settings, the fingerprint of its crops, the package's version and
    `contents`: weights that are named by a path count by their content, wherever they lie. The folder gets that name
    only when all is written: a run that was interrupted is taken up again, never taken for done.

    Args:
        settings: of the run.
        source, store: the data and its crops.
        task: `did`, `bce` or `f3net`.
        runs: folder of the runs; `runs/` in the project by default.
        progress: show bars.
        fabric: from `did.utils.distributed.launch`, if several processes train the run together; all of them call this.

    Raises:
        DidError: an unknown task, weights that cannot be had, a store that does not fit settings or source, or what
            training and evaluation raise.
    """
    check_task(task)
    check_store(store, settings, source)
    data, content = fingerprint(store.manifest), contents(settings, task)
    named = dataclasses.replace(settings, pretrained="file") if "weights" in content else settings
    name = named.digest(task, data, did.__version__, *(f"{what}: {digest}" for what, digest in content.items()))
    folder = (runs or home() / "runs") / name
    first = distributed.rank() == 0
    # Two that want the same run train it once.
    # What is finished needs no lock, which a read-only place could not have.
    if distributed.of_first((folder / RECORD).is_file()):
        return Run(folder)
    with alone(folder) if first else contextlib.nullcontext():
        if not distributed.of_first((folder / RECORD).is_file()):
            _train(settings, source, store, task, folder, data, content, progress and first, fabric)
    distributed.wait()
    return Run(folder)


def _train(
    settings: Settings,
    source: Source,
    store: FaceStore,
    task: str,
    folder: Path,
    data: str,
    content: dict[str, str],
    progress: bool,
    fabric: Fabric | None,
) -> None:
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    if distributed.rank() == 0:
        _sweep(part)

    # A run that goes on counts the sittings before: what led to the state that it goes on from.
    before = checkpoints.about(part / RESUME, STATE_MEND).get("seconds", 0.0) if (part / RESUME).is_file() else 0.0
    started = time.monotonic() - before
    splits = split_faces(store, settings)
    domains = splits["train"].domain_names
    torch.manual_seed(settings.seed)
    model = TASKS[task](settings, len(domains))
    history = fit(model, splits["train"], splits["val"], part, progress, None, fabric)
    trained = time.monotonic()
    validation, test = splits["val"], splits["test"]
    validated = validation.rows.assign(
        score=score(model.detector(), validation, precision=settings.precision, progress=progress)
    )
    scored = test.rows.assign(score=score(model.detector(), test, precision=settings.precision, progress=progress))
    has_domains = isinstance(model, DIDTask) and model.model.domain_classifier is not None
    extra = {"domain_accuracy": domain_accuracy(model, test)} if has_domains else {}
    if distributed.rank() > 0:
        return
    metrics = evaluation.report(scored)

    write_atomically(part / "history.csv", lambda path: history.to_csv(path, index=False))
    record = {
        "run": folder.name,
        "task": task,
        "settings": settings.as_dict(),
        "contents": content,
        "domains": domains,
        "data": _data(source, store, data, {split: len(faces) for split, faces in splits.items()}),
        "protocol": protocol(settings, source),
        "metrics": metrics.set_index(["level", "method"]).loc[("frame", "all")].to_dict() | extra,
        "calibration": evaluation.calibrate(validated),
        "provenance": {**provenance(), "seed": settings.seed, "minutes": (time.monotonic() - started) / 60,
                       "minutes_training": (trained - started) / 60},
    }  # fmt: skip
    _write(part, scored, metrics, record)
    (part / RESUME).unlink(missing_ok=True)
    if folder.exists():  # without a record: not a run
        shutil.rmtree(folder)
    os.replace(part, folder)


def _sweep(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote: ours, and safetensors' own."""
    for pattern in (".*.tmp", ".tmp*"):
        for left in folder.glob(pattern):
            left.unlink()


def _write(folder: Path, scored: pd.DataFrame, metrics: pd.DataFrame, record: dict[str, Any]) -> None:
    """The record last: where it is, the rest is."""
    _sweep(folder)
    for file, frame in (("scores", scored), ("metrics", metrics)):
        write_atomically(folder / f"{file}.csv", lambda path, frame=frame: frame.to_csv(path, index=False))  # type: ignore[misc]
    text = json.dumps(record, indent=1) + "\n"
    write_atomically(folder / RECORD, lambda path: path.write_text(text, encoding="utf-8"))


def evaluate(run: Run, source: Source, store: FaceStore, progress: bool = True) -> Evaluation:
    """The run's detector on the test split of another source; or the evaluation that was made before.

    Nothing is chosen on that source: the checkpoint is the one that the run selected on its own validation split.

    Args:
        run: a finished run.
        source, store: the data and its crops, at the run's size of crops.

    Raises:
        DidError: the source has no test split, or a store that does not fit the run's settings or the source.
    """
    check_store(store, run.settings, source)
    manifest = store.manifest
    data = fingerprint(manifest)
    if data == run.record["data"]["fingerprint"]:
        return Evaluation(run.folder)
    folder = run.folder / f"on-{source.name}-{data[:12]}"
    if (folder / RECORD).is_file():
        return Evaluation(folder)
    with alone(folder):
        if not (folder / RECORD).is_file():
            started = time.monotonic()
            settings = run.settings
            faces = Faces(manifest[manifest.split == "test"], store.root, settings.image_size)
            scores = score(run.task().detector(), faces, precision=settings.precision, progress=progress)
            scored = faces.rows.assign(score=scores)
            metrics = evaluation.report(scored)
            record = {
                "run": run.folder.name,
                "data": _data(source, store, data, {"test": len(faces)}),
                "protocol": f"trained on {run.record['protocol']}. Tested on {source.label}; {source.kind}",
                "metrics": metrics.set_index(["level", "method"]).loc[("frame", "all")].to_dict(),
                "provenance": {**provenance(), "minutes": (time.monotonic() - started) / 60},
            }
            _write(folder, scored, metrics, record)
    return Evaluation(folder)


def _data(source: Source, store: FaceStore, fingerprint: str, crops: dict[str, int]) -> dict[str, Any]:
    return {
        "source": source.name,
        "edition": source.kind,
        "label": source.label,
        "counts": dict(source.counts),
        "left_out": dict(source.left_out),
        "fingerprint": fingerprint,
        "crops": crops,
        "quarantined": len(store.quarantine),
    }


def all_runs(runs: Path | None = None) -> list[Run]:
    """The finished runs of a folder, `runs/` in the project by default, the oldest first."""
    folder = runs or home() / "runs"
    found = [Run(file.parent) for file in folder.glob(f"*/{RECORD}") if not file.parent.name.endswith(".part")]
    return sorted(found, key=lambda run: (run.folder / RECORD).stat().st_mtime)


def list_runs(runs: Path | None = None) -> pd.DataFrame:
    """One row a finished run: its name, task, data, edition, backbone, seed, iterations, AUC, minutes and date.

    Raises:
        DidError: a record is damaged; the sentence names it.
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
    """The finished run whose name is, or begins with, `name`.

    Raises:
        DidError: none, or more than one.
    """
    names = {run.folder.name: run for run in all_runs(runs)}
    found = [run for full, run in names.items() if full.startswith(name)]
    if name and len(found) == 1:
        return found[0]
    if name and found:
        raise DidError(f"'{name}' begins the names of {len(found)} runs: give more of its digits")
    raise DidError(f"there is no finished run '{name}': {nearest(name, names) if names else 'none is there yet'}")


def remove_run(name: str, runs: Path | None = None) -> Path:
    """Remove a run and the evaluations in it; returns the folder that is gone. Raises DidError as `find_run`."""
    run = find_run(name, runs)
    with alone(run.folder):
        (run.folder / RECORD).unlink()  # First: what is left after an interruption is no run.
        shutil.rmtree(run.folder)
    return run.folder


def split_faces(store: FaceStore, settings: Settings) -> dict[str, Faces]:
    """The faces of each split, with the domain numbers of the train split. Raises DidError as `check_store`."""
    check_store(store, settings)
    manifest = store.manifest
    domains = domain_names(manifest[manifest.split == "train"])
    return {
        split: Faces(manifest[manifest.split == split], store.root, settings.image_size, domains=domains)
        for split in ("train", "val", "test")
    }


def protocol(settings: Settings, source: Source) -> str:
    """The protocol in one line, to stand beside every number of the run."""
    rule = "best frame AUC on the validation split" if settings.selection == "validation" else "last iterate"
    return (
        f"{source.label}; {source.kind}; frames and videos; {settings.frames} frames a video; crops of "
        f"{settings.image_size} px, margin {settings.crop_margin:g}; {rule}; {settings.iterations} iterations of "
        f"{settings.batch_size}; seed {settings.seed}; 95% intervals by bootstrap over videos"
    )


@torch.inference_mode()
def domain_predictions(task: nn.Module, faces: Faces) -> np.ndarray:
    """The domain that C̄ takes each face for, (n,): numbers in the order of the run's domains."""
    return score(_DomainLogits(task.model), faces, precision=task.settings.precision).argmax(1)  # type: ignore[arg-type,union-attr]


def domain_accuracy(task: nn.Module, faces: Faces) -> float:
    """Share of faces whose domain C̄ names rightly, each domain counting alike (chance: 1 / (k + 1))."""
    confusion = evaluation.confusion(faces.domains, domain_predictions(task, faces), faces.domain_names)
    return evaluation.mean_accuracy(confusion)


class _DomainLogits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images).domain_logits
