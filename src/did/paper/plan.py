"""The plan: every run that the tables asked for need, once each, trained several at a time.

A run is independent of the others and named by what decides it, so the plan is a set of names: what is finished is
skipped, what is interrupted is resumed, and any number of machines can take a slice each.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from typing import Any

from tqdm.auto import tqdm

from did.errors import DidError
from did.paper.conduct import experiment, rows_of, seed_list, seeds_of, worlds_of
from did.paper.kept import Kept, find
from did.settings import Settings
from did.sources import face_store, for_testing, open_source, within
from did.training.runs import RECORD, Run, chosen_options, contents, evaluate, run, run_name
from did.utils.files import home
from did.utils.processes import command
from did.utils.workers import cores, dask_client

# What Python prints before the sentence of a DidError that nobody catches.
_RAISED = f"{DidError.__module__}.{DidError.__qualname__}: "


@dataclasses.dataclass(frozen=True)
class Job:
    """One run and what it is tested on.

    Attributes:
        task: its name.
        settings: of the run, with its seed and source.
        options: the task's own, as sorted pairs.
        tests: names of the sources that it is tested on.
        open: how its sources are opened: preset, edition, faces, world and data_root, as `did.paper.conduct.conduct`
            has them.
    """

    task: str
    settings: Settings
    options: tuple[tuple[str, Any], ...]
    tests: tuple[str, ...]
    open: tuple[tuple[str, Any], ...]

    def as_json(self) -> str:
        """Return the job as text, for a process of its own."""
        return json.dumps({**dataclasses.asdict(self), "settings": self.settings.as_dict()})

    @classmethod
    def of(cls, text: str) -> "Job":
        """Return the job that `as_json` wrote."""
        known = json.loads(text)
        pairs = {name: tuple(map(tuple, known[name])) for name in ("options", "open")}
        return cls(known["task"], Settings.of(known["settings"]), tests=tuple(known["tests"]), **pairs)

    def source(self, name: str) -> Any:
        """Open one of its sources."""
        known = dict(self.open)
        folder = within(known["data_root"], name, known["edition"])
        return open_source(name, known["edition"], folder, known["faces"], known["preset"], False, world=known["world"])

    def finished(self) -> Run | None:
        """Return the run if it is finished; nothing is trained."""
        store = face_store(self.source(self.settings.source), self.settings, False)
        options = chosen_options(self.task, dict(self.options))  # those at their defaults name no other run
        name = run_name(self.settings, self.task, options, contents(self.settings, self.task), store.fingerprint)
        found = Run(home() / "runs" / name)
        return found if (found.folder / RECORD).is_file() else None

    def kept(self) -> Kept | None:
        """Return the run that the repository keeps, if it does and the run was tested on all of this."""
        label = self.source(self.settings.source).label
        found = find(self.settings, self.task, dict(self.options), label)
        return found if found is not None and set(self.tests) <= set(found.tests) else None

    def train(self) -> None:
        """Train the run and test it, or find both finished."""
        done = run(self.source(self.settings.source), self.settings, self.task, options=dict(self.options),
                   progress=False)  # fmt: skip
        for name in self.tests:
            evaluate(done, self.source(name), progress=False)


def plan(
    names: Sequence[str],
    preset: str = "laptop",
    seeds: Any = None,
    edition: str = "auto",
    faces: str | None = None,
    data_root: str | None = None,
    world: int = 0,
) -> list[Job]:
    """List the runs that experiments need, once each; a run is tested on all that any of them tests it on.

    Args:
        names: of experiments; a number of seeds for each is its own, see `did.paper.conduct.seed_list`.
        preset, seeds, edition, faces, data_root, world: as `did.paper.conduct.conduct`.

    Raises:
        DidError: If an experiment, a preset or the seeds are not valid.

    Examples:
        >>> len(plan(["table1_intra_cross", "table2_diffusion"], "laptop", seeds=1))  # the two tables share their runs
        16
    """
    known = {"preset": preset, "edition": edition, "faces": faces, "world": world, "data_root": data_root}
    found: dict[tuple[Any, ...], set[str]] = {}
    for name in names:
        what = experiment(name)
        tests = {source for source, _ in what.tests.values()}
        worlds = worlds_of(what, preset, edition, world)
        numbers = seed_list(seeds, 1 if preset == "smoke" else what.seeds)
        for row in rows_of(what, preset):
            for seed in seeds_of(row, numbers):
                if row.task:
                    settings, options = row.settings(preset, seed, what.train), row.options_at(preset)
                    for each in worlds:
                        opened = tuple({**known, "world": each}.items())
                        key = (row.task, settings, tuple(sorted(options.items())), opened)
                        found.setdefault(key, set()).update(tests)
    return [Job(task, settings, options, tuple(sorted(tests)), opened)
            for (task, settings, options, opened), tests in found.items()]  # fmt: skip


def firsts(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs of the lowest seed among those that differ in nothing else."""
    found: dict[Job, Job] = {}
    for job in sorted(jobs, key=lambda job: job.settings.seed):
        same = dataclasses.replace(job, settings=dataclasses.replace(job.settings, seed=0), tests=())
        found.setdefault(same, job)
    return list(found.values())


def part(jobs: Sequence[Job], text: str) -> list[Job]:
    """Return a slice of a plan for one job of a batch system's array, such as "3/16": every 16th, from the third.

    Raises:
        DidError: If it is not two whole numbers, the first from 1 to the second.
    """
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise DidError(f"a slice is a number of how many, such as 3/16, not {text!r}")
    return list(jobs)[int(number) - 1 :: int(of)]


def at_once(jobs: int | None) -> tuple[int, int]:
    """Return how many runs to train at a time, and with how many threads each.

    By default one run per GPU, or per core with one thread each: on 2 cores, two runs side by side do 1.3 times as many
    steps as one run on two threads (`benchmarks/plan.py` measures every even split of a machine's cores), and on more
    cores a single run gains less from every further thread.
    """
    import torch

    many = jobs or torch.cuda.device_count() or cores()
    return many, max(1, cores() // many)


def train(jobs: Sequence[Job], many: int | None = None, progress: bool = True, cluster: str | None = None) -> None:
    """Train what is not finished, several at a time, each in a process of its own.

    The data sets are written and prepared first, once, so that the processes only read them. Interrupted, it stops its
    processes; called again, it resumes.

    Args:
        jobs: from `plan`.
        many: how many at a time, see `at_once`.
        progress: show a bar for the whole.
        cluster: address of a Dask scheduler (tcp://host:port) whose workers train the runs, one per thread that a
            worker has, in place of processes here. They must see the project's folder under the same path.

    Raises:
        DidError: If a run fails, after the others that have begun are finished; the sentence is the run's.
    """
    crops = {(name, s.frames, s.image_size, s.crop_margin, job.open): job for job in jobs for s in (job.settings,)
             for name in (s.source, *job.tests)}  # fmt: skip
    trained = {job.settings.source for job in jobs}
    for (name, *_), job in crops.items():
        source = job.source(name)
        face_store(source if name in trained else for_testing(source, job.settings), job.settings, progress)
    if cluster is not None:
        _train_on(cluster, jobs, progress)
        return
    number, threads = at_once(many)
    waiting, running, failed = list(jobs), list[tuple[_Process, int]](), list[str]()
    devices = list(range(number))
    with tqdm(total=len(jobs), desc="runs", unit="run", disable=not progress) as bar:
        try:
            while (waiting and not failed) or running:
                while waiting and len(running) < number and not failed:
                    running.append((_Process(waiting.pop(0), threads, device := devices.pop(0)), device))
                for each in [each for each in running if each[0].poll() is not None]:
                    running.remove(each)
                    devices.append(each[1])
                    failed += each[0].failure()
                    bar.update(not each[0].returncode)
                time.sleep(0.05)
        finally:
            for process, _ in running:
                process.terminate()
            for process, _ in running:
                process.wait()
    if failed:
        raise DidError(f"a run of the plan failed: {failed[0]}")


class _Process(subprocess.Popen):
    """A process that trains a job; its errors go to a file, so that it never waits for somebody to read them.

    Args:
        job: what it trains.
        threads: that it uses.
        device: number of the GPU among those that this process sees, counted round and round; None for all of them.
        more: of its environment.
    """

    def __init__(self, job: Job, threads: int, device: int | None = None, **more: str) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), **more}
        if device is not None and (gpus := _gpus()):  # Without a GPU, what may hide them all stays as it is.
            env["CUDA_VISIBLE_DEVICES"] = gpus[device % len(gpus)]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `failure`
        what = command("from did.paper.plan import work; work()")
        super().__init__(what, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.said, text=True, env=env)
        assert self.stdin
        self.stdin.write(job.as_json() + "\n")
        self.stdin.flush()

    def failure(self) -> list[str]:
        """Wait for the end, and return the last line of the errors if the run failed."""
        failed = self.wait() != 0
        self.said.seek(0)
        said = self.said.read().strip()
        self.said.close()
        if self.stdin:
            self.stdin.close()
        return [said.splitlines()[-1].removeprefix(_RAISED) if said else "a run was killed"] if failed else []


def _gpus() -> list[str]:
    """Name the GPUs that this process sees, as CUDA_VISIBLE_DEVICES does."""
    import torch

    shown, many = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    return [str(number) for number in range(many)] if shown is None else shown.split(",")[:many]


def _train_on(cluster: str, jobs: Sequence[Job], progress: bool) -> None:
    with dask_client(cluster) as client:
        executor = client.get_executor(pure=False)
        futures = [executor.submit(_alone, job.as_json(), str(home())) for job in jobs]
        with tqdm(total=len(jobs), desc="runs", unit="run", disable=not progress) as bar:
            try:
                for future in as_completed(futures):
                    future.result()
                    bar.update()
            finally:
                for future in futures:
                    future.cancel()


def _alone(text: str, project: str) -> None:
    """Train a job in a process of its own on a worker, whose threads would share torch's random state."""
    if failed := _Process(Job.of(text), 1, DID_HOME=project).failure():
        raise DidError(f"a run of the plan failed: {failed[0]}")


def work() -> None:
    """Train the job in the first line of the standard input, and end if the input does: the parent was killed."""
    job = Job.of(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    job.train()


def _end_with_input() -> None:
    os.read(sys.stdin.fileno(), 1)  # Not through sys.stdin, whose lock would be held when Python ends.
    os._exit(1)
