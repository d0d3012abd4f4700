"""A run and its record: settings, data fingerprint, commit, machine, seed, metrics. Asking again returns it."""

import dataclasses
import datetime
import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn

import did
from did import evaluation
from did.baselines import BCETask
from did.data.loading import Faces, domain_names
from did.data.prepare import FaceStore
from did.data.sources import Source
from did.data.table import fingerprint
from did.errors import DidError
from did.files import home, write_atomically
from did.settings import Settings, nearest
from did.tasks import DIDTask
from did.training import BEST, RESUME, fit, score

TASKS = {"did": DIDTask, "bce": BCETask}
RECORD = "record.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: a folder with `record.json`, `history.csv`, `metrics.csv`, `scores.csv`, `model.safetensors`."""

    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        """task, settings, domains, data, selection, metrics, provenance."""
        return json.loads((self.folder / RECORD).read_text(encoding="utf-8"))

    @property
    def settings(self) -> Settings:
        return Settings.of(self.record["settings"])

    @property
    def history(self) -> pd.DataFrame:
        """One row a logged iteration: losses, estimate, maps' statistics, gradient norms, validation AUC."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def metrics(self) -> pd.DataFrame:
        """AUC and EER with intervals on the test split; see `did.evaluation.report`."""
        return pd.read_csv(self.folder / "metrics.csv")

    @property
    def scores(self) -> pd.DataFrame:
        """One row a frame of the test split: the manifest's columns and `score`, a logit."""
        return pd.read_csv(self.folder / "scores.csv", dtype={"video": str, "identity": str})

    def task(self) -> nn.Module:
        """The trained task with the selected weights, in evaluation mode."""
        record = self.record
        settings = dataclasses.replace(self.settings, pretrained="none")
        task = TASKS[record["task"]](settings, len(record["domains"]))
        task.load_state_dict(load_file(self.folder / BEST))
        return task.eval()


def run(
    settings: Settings,
    source: Source,
    store: FaceStore,
    task: str = "did",
    runs: Path | None = None,
    progress: bool = True,
) -> Run:
    """Train on the source's train split, select on its validation split, test on its test split; or return the run
    that did so before.

    The name of a run is the hash of its task, settings, the fingerprint of its crops and the package's version. The
    folder gets that name only when all is written: a run that was interrupted is taken up again, never taken for done.

    Args:
        settings: of the run.
        source, store: the data and its crops.
        task: `did` or `bce`.
        runs: folder of the runs; `runs/` in the project by default.

    Raises:
        DidError: an unknown task, weights that cannot be had, or what training and evaluation raise.
    """
    if task not in TASKS:
        raise DidError(f"unknown task '{task}': {nearest(task, TASKS)}")
    manifest = store.manifest
    data = fingerprint(manifest)
    name = settings.digest(task, data, did.__version__)
    folder = (runs or home() / "runs") / name
    if (folder / RECORD).is_file():
        return Run(folder)
    part = folder.with_name(f"{name}.part")
    part.mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    splits = split_faces(store, settings)
    domains = splits["train"].domain_names
    torch.manual_seed(settings.seed)
    model = TASKS[task](settings, len(domains))
    history = fit(model, splits["train"], splits["val"], part, progress)
    trained = time.monotonic()
    test = splits["test"]
    scored = test.rows.assign(score=score(model.detector(), test, progress=progress))
    metrics = evaluation.report(scored)
    extra = {"domain_accuracy": domain_accuracy(model, test)} if task == "did" else {}

    for file, frame in (("history", history), ("scores", scored), ("metrics", metrics)):
        write_atomically(part / f"{file}.csv", lambda path, frame=frame: frame.to_csv(path, index=False))  # type: ignore[misc]
    record = {
        "run": name,
        "task": task,
        "settings": settings.as_dict(),
        "domains": domains,
        "data": {
            "source": source.name,
            "edition": source.edition,
            "label": source.label,
            "fingerprint": data,
            "crops": {split: len(faces) for split, faces in splits.items()},
            "quarantined": len(store.quarantine),
        },
        "protocol": protocol(settings, source),
        "metrics": metrics.set_index(["level", "method"]).loc[("frame", "all")].to_dict() | extra,
        "provenance": {**provenance(), "seed": settings.seed, "minutes": (time.monotonic() - started) / 60,
                       "minutes_training": (trained - started) / 60},
    }  # fmt: skip
    write_atomically(part / RECORD, lambda path: path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8"))
    (part / RESUME).unlink(missing_ok=True)
    if folder.exists():  # without a record: not a run
        shutil.rmtree(folder)
    os.replace(part, folder)
    return Run(folder)


def split_faces(store: FaceStore, settings: Settings) -> dict[str, Faces]:
    """The faces of each split, with the domain numbers of the train split."""
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
        f"{source.label}; {source.edition}; frames and videos; {settings.frames} frames a video; crops of "
        f"{settings.image_size} px, margin {settings.crop_margin:g}; {rule}; {settings.iterations} iterations of "
        f"{settings.batch_size}; seed {settings.seed}; 95% intervals by bootstrap over videos"
    )


@torch.inference_mode()
def domain_accuracy(task: nn.Module, faces: Faces) -> float:
    """Share of faces whose domain C̄ names rightly, each domain counting alike (chance: 1 / (k + 1))."""
    logits = score(_DomainLogits(task.model), faces)  # type: ignore[arg-type]
    right = logits.argmax(1) == faces.domains
    return float(pd.Series(right).groupby(faces.domains).mean().mean())


class _DomainLogits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images).domain_logits


def provenance() -> dict[str, Any]:
    """Commit, versions, machine and date. No host or user name."""
    packages = ("torch", "timm", "facenet-pytorch", "av", "opencv-python-headless", "numpy", "lightning-fabric")
    from importlib.metadata import version

    return {
        "did": did.__version__,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def commit() -> str:
    """The project's commit, with `+changes` where the working tree differs from it, or `unknown`."""
    git = ["git", "-C", str(Path(did.__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
