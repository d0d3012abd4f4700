"""Replay a finished run's beginning and end, to see whether today's code still gives its numbers.

A table keeps its numbers while the code around them changes. What has changed since can be told from hashes; whether it
matters is told here: the first iterations are trained anew and some test faces scored anew, and both compared with what
the run wrote down.
"""

import contextlib
import datetime
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from did.errors import DidError
from did.paper.code import REPLAYED
from did.paper.kept import Kept
from did.settings import Settings
from did.sources import Source, face_store
from did.task import options_of, task_named
from did.training.loop import fit, score
from did.training.provenance import commit, deciding
from did.training.runs import Run, split_faces
from did.utils.files import write_atomically

#: Iterations trained anew and test faces scored anew.
ITERATIONS, FACES = 10, 64
#: By how much a loss or a score may differ, relative to 1 or its size: rounding, on another processor.
TOLERANCE = 1e-4


class OtherCropsError(DidError):
    """A kept run was trained on other crops than this machine's, so that nothing can be told here."""


def replay(run: Run, source: Source, progress: bool = True) -> float:
    """Train a run's first iterations and score some of its test faces anew; return the largest difference.

    A run that passes has a file that says with which code; a kept run says it itself. A kept run has no weights, so its
    training alone is replayed, and only a machine whose crops are the same to the pixel gives the same losses.

    Args:
        run: a finished run, or a kept one.
        source: the data set that it was trained on.
        progress: show bars.

    Returns:
        The largest difference of a logged loss or a score, relative to the larger of 1 and its size.

    Raises:
        DidError: If it is above `TOLERANCE`; the sentence gives the number.
        OtherCropsError: If a kept run is from another machine's crops.
    """
    record, settings = run.record, run.settings
    with _threads(record["provenance"]["machine"]["threads"]):
        return _replayed(run, source, progress, record, settings)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with as many threads as the run did: others round sums otherwise, and training amplifies that."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _replayed(run: Run, source: Source, progress: bool, record: dict[str, Any], settings: Settings) -> float:
    task = task_named(record["task"])
    store, kept = face_store(source, settings, progress), isinstance(run, Kept)
    if kept and store.fingerprint != record["data"]["fingerprint"]:
        raise OtherCropsError(
            f"the kept run {run.folder.name} was trained on the crops of another machine, and not all of them are "
            "the same here: replay it there, or train it anew"
        )
    faces = split_faces(store, settings, task.wants, source, progress)
    begun = min(ITERATIONS, settings.iterations)
    torch.manual_seed(settings.seed)
    model = task(settings, len(faces["train"].domain_names), options_of(task, record["options"]))
    with tempfile.TemporaryDirectory() as folder:
        again = fit(model, faces["train"], faces["val"], Path(folder), progress, begun)
    trained = _difference(run.history.iloc[: len(again)][again.columns].to_numpy(float), again.to_numpy(float))
    test = faces["test"]
    rows = np.linspace(0, len(test) - 1, min(FACES, len(test))).round().astype(int)
    part = type(test)(test.rows.iloc[rows], test.store, settings.image_size, test.domain_names, wants=test.wants,
                      data=test.data, context=test.context, margin=test.margin)  # fmt: skip
    if part.wants.frames == 1 and not kept:  # a clip's neighbours are not among these rows
        scores = score(run.task().detector(), part, precision=settings.precision)
        scored = _difference(run.scores.score.to_numpy()[rows], scores)
    else:
        scored = 0.0
    worst = max(trained, scored)
    if not worst <= TOLERANCE:
        raise DidError(
            f"the run {run.folder.name} is not what today's code gives: its losses differ by up to {trained:.2g}, its "
            f"scores by up to {scored:.2g}; train it anew (`did runs rm {run.folder.name}`), or find what changed"
        )
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    found = {"commit": commit(), "code": deciding([task.__module__]), "date": now, "iterations": begun,
             "largest difference": worst}  # fmt: skip
    if isinstance(run, Kept):
        run.mark(found)
        return worst
    text = json.dumps(found, indent=1) + "\n"
    write_atomically(run.folder / REPLAYED, lambda path: path.write_text(text, encoding="utf-8"))
    return worst


def _difference(before: np.ndarray, now: np.ndarray) -> float:
    if before.shape != now.shape or (np.isnan(before) != np.isnan(now)).any():
        return float("inf")
    return float(np.nanmax(np.abs(now - before) / np.maximum(1, np.abs(before)), initial=0.0))
