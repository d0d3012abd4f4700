"""Finished runs that are part of the repository: record, history and scores, without the weights.

A table can be made from them again without training: with other intervals, another rule, another pair of rows, or
beside runs that were trained elsewhere since. In `results/runs/` are ::

    <key>.json                 the run's record and history, and for each test its record and one score per frame, as
                               little-endian 32-bit floats in base64
    frames-<digits>.csv.gz     the frames that scores belong to, in their order, shared by the runs

The key is the run's name (`did.training.runs.run_name`) with the label of its data in place of the crops' checksum: the
crops of two machines are not all alike, and neither are the names of the runs on them. Another processor rounds
differently, and the video codec spreads the difference. Of the 70 clips of a small stand-in, 17 change if OpenCV does
not use AVX2, and 66 if OpenBLAS uses its kernels for an older processor; half of these clips change in at least 8% and
33% of their pixels, and a face's box can then move by a few pixels. A table's record names the commits of its runs, and
the file of each run its machine.
"""

import base64
import dataclasses
import functools
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from did.data.table import COLUMNS, fingerprint, read_csv
from did.errors import DidError
from did.paper import records
from did.paper.code import code_of
from did.settings import Settings
from did.training.runs import Evaluation, Run, chosen_options, contents, run_name
from did.utils.files import write_atomically

RUNS = "runs"
_TEXT = tuple(name for name in COLUMNS if name not in ("label", "frame"))


@dataclasses.dataclass(frozen=True)
class Kept(Run):
    """A run without its weights, read from its file: it has a record, a history and scores, and cannot predict.

    Attributes:
        file: that `keep` wrote.
        content: what it holds: the run's record, its history, and its tests by source.
    """

    file: Path = Path()
    content: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, file: Path) -> "Kept":
        """Return the run of a file that `keep` wrote.

        Raises:
            DidError: If it cannot be read.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if not {"run", "history", "tests"} <= set(found):
                raise ValueError("parts are missing")
        except (OSError, ValueError, TypeError) as error:
            raise DidError(f"the kept run {file} cannot be read ({error}): get it anew") from error
        return cls(Path(found["run"]["run"]), file, found)

    @property
    def record(self) -> dict[str, Any]:
        """The record as its training wrote it, with the code that the run was last replayed with."""
        return self.content["run"]

    @property
    def history(self) -> pd.DataFrame:
        """One row per logged iteration, as `Run.history`."""
        return records.of_columns(self.content["history"])

    @property
    def tests(self) -> list[str]:
        """Names of the sources whose scores are here."""
        return list(self.content["tests"])

    @property
    def scores(self) -> pd.DataFrame:
        """One row per frame of the test split of the source that it was trained on."""
        return self.on(self.record["data"]["source"])

    def on(self, source: str) -> pd.DataFrame:
        """Return one row per frame of the test split of a source: the table's columns and `score`, a logit.

        Raises:
            DidError: If the run was not tested on it.
        """
        if source not in self.content["tests"]:
            raise DidError(f"the kept run {self.folder} was not tested on {source}: train it with `did runs train`")
        test = self.content["tests"][source]
        frames, scores = _frames(self.file.parent / test["frames"]), base64.b64decode(test["scores"])
        if len(scores) != 4 * len(frames):
            raise DidError(f"the kept run {self.folder} has other frames than {test['frames']}: get both anew")
        return frames.assign(score=np.frombuffer(scores, dtype="<f4").astype(np.float64))

    def mark(self, replayed: Mapping[str, Any]) -> None:
        """Note in its file that today's code gives its numbers; see `did.paper.replay.replay`.

        Args:
            replayed: commit, code, date, iterations and the largest difference.

        Raises:
            DidError: If the file cannot be written.
        """
        about = {**self.record["provenance"], "code": replayed["code"], "replayed": dict(replayed)}
        found = {**self.content, "run": {**self.record, "provenance": about}}
        _write(found, self.file)

    def task(self, after: int | None = None) -> Any:
        """Raise, because there are no weights.

        Raises:
            DidError: Always.
        """
        raise DidError(f"the run {self.folder} is kept without its weights: train it with `did runs train`")


def key(settings: Settings, task: str, options: Mapping[str, Any], label: str) -> str:
    """Return the name of a run's file, without suffix: of all that decides it but the machine."""
    return run_name(settings, task, chosen_options(task, options), contents(settings, task), label)


def keep(run: Run, place: Path) -> Path:
    """Write a finished run, and all that it was tested on, into a folder, and return its file.

    A run of the same settings that is kept there already, from another machine's crops, stays: tables were made from
    it, and which of the two is kept must not depend on their numbers.

    Raises:
        DidError: If its record is damaged, or the folder cannot be written to.
    """
    record = run.record
    file = place / f"{key(run.settings, record['task'], record['options'], record['data']['label'])}.json"
    if file.is_file() and Kept.read(file).folder.name != run.folder.name:
        return file
    evaluations = [Evaluation(run.folder), *map(Evaluation, sorted(run.folder.glob("on-*")))]
    tests = {}
    for each in evaluations:
        of, scores = each.record, each.scores
        tests[of["data"]["source"]] = {
            "data": of["data"],
            "protocol": of["protocol"],
            "provenance": of["provenance"],
            "frames": _keep_frames(scores[list(COLUMNS)], place),
            "scores": base64.b64encode(scores["score"].to_numpy("<f4").tobytes()).decode(),
        }
    record["provenance"]["code"] = code_of(run)
    found = {"run": record, "history": records.columns(run.history), "tests": tests}
    _write(found, file)
    return file


def _write(found: Mapping[str, Any], file: Path) -> None:
    text = json.dumps(found, separators=(",", ":")) + "\n"
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))


def find(settings: Settings, task: str, options: Mapping[str, Any], label: str) -> Kept | None:
    """Return the kept run of these settings on data with this label; None if none is kept.

    The project's `results/` is looked into first, then that of the checkout around the working folder.

    Raises:
        DidError: If its file cannot be read.
    """
    name = f"{key(settings, task, options, label)}.json"
    files = [place / RUNS / name for place in records.places()]
    return next((Kept.read(file) for file in files if file.is_file()), None)


def _keep_frames(frames: pd.DataFrame, place: Path) -> str:
    name = f"frames-{fingerprint(frames.assign(order=range(len(frames))))[:12]}.csv.gz"
    text = frames.to_csv(index=False, lineterminator="\n").encode()
    if not (place / name).is_file():
        write_atomically(place / name, lambda path: path.write_bytes(gzip.compress(text, mtime=0)))
    return name


@functools.lru_cache(maxsize=8)
def _frames(file: Path) -> pd.DataFrame:
    try:
        return read_csv(file, text=_TEXT)
    except (OSError, ValueError, EOFError) as error:
        raise DidError(f"the frames {file} of kept runs cannot be read ({error}): get them anew") from error
