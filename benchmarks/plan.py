"""python benchmarks/plan.py [--steps 20] [--pairs 3] [--quick] [--json [FILE]]

Where the time of a run goes, and how many runs should share a machine.

Stages: a run of DID at preset laptop on the stand-in of FF++, and its test on that of Celeb-DF, with a clock around
each stage: the training steps, the validations, the scores of the test splits, the domains of the test faces, the
intervals. Each is a row, as its share of the whole; `the rest` is what no clock ran for.

Split: for each way to divide the cores evenly, so many processes with so many threads each train at once, and the steps
per second of all of them are compared with those of one process on all cores. The rows of a machine with 2 cores have
one such way, those of 16 have four.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from side_by_side import finish, parser

from did import evaluation
from did.method.task import DIDTask
from did.settings import Settings
from did.sources import face_store, open_source
from did.training import loop, runs
from did.utils.workers import cores
from did_book.pages.costs import Row, row

#: Stage -> where the function is that it is spent in. Of nested stages the outer one counts.
STAGES: dict[str, tuple[Any, str]] = {
    "training steps": (loop, "train_step"),
    "validations": (loop, "_validate"),
    "scores of the test splits": (runs, "score"),
    "domains of the test faces": (runs, "domain_accuracy"),
    "intervals": (evaluation, "report"),
    "opening crops": (runs, "split_faces"),
}


@contextlib.contextmanager
def clocks(spent: dict[str, float]) -> Iterator[None]:
    """Add the seconds of each stage to `spent`; what a stage calls counts as its own."""
    before, running = {name: getattr(place, attribute) for name, (place, attribute) in STAGES.items()}, []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if running:
                return function(*arguments, **more)
            start = time.perf_counter()
            running.append(name)
            try:
                return function(*arguments, **more)
            finally:
                spent[running.pop()] = spent.get(name, 0.0) + time.perf_counter() - start

        return call

    for name, (place, attribute) in STAGES.items():
        setattr(place, attribute, timed(name, before[name]))
    try:
        yield
    finally:
        for name, (place, attribute) in STAGES.items():
            setattr(place, attribute, before[name])


def stages(preset: str) -> list[Row]:
    settings = Settings.preset(preset, source="ffpp")
    sources = {name: open_source(name, "stand-in", preset=preset) for name in ("ffpp", "cdf2")}
    stores = {name: face_store(source, settings) for name, source in sources.items()}
    spent: dict[str, float] = {}
    start = time.perf_counter()
    with clocks(spent), tempfile.TemporaryDirectory() as place:
        done = runs.run(sources["ffpp"], settings, store=stores["ffpp"], runs=Path(place), progress=False)
        runs.evaluate(done, sources["cdf2"], stores["cdf2"], progress=False)
    whole = time.perf_counter() - start
    spent["the rest"] = whole - sum(spent.values())
    case = f"DID, {settings.backbone}, {settings.iterations} iterations, tests on FF++ and CDF2"
    return [
        row("stage of a run", case, (name, "the run"), "share", [(took, whole)], note=f"{took:.1f} s of {whole:.0f} s")
        for name, took in spent.items()
    ]


def work(steps: int) -> None:
    """Train for some steps once a line arrives, and print the seconds that they took."""
    torch.manual_seed(0)
    settings = Settings.preset("laptop")
    task = DIDTask(settings, 5)
    optimizer, domain = loop.optimizer_for(task), torch.arange(15) % 5
    images = torch.rand(15, 1, settings.image_size, settings.image_size)
    batch = {"image": images, "label": (domain > 0).long(), "domain": domain}

    def step() -> None:
        optimizer.zero_grad()
        task(batch, 0.5, 0).total.backward()
        optimizer.step()

    step()
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    print(time.perf_counter() - start, flush=True)


def together(number: int, threads: int, steps: int) -> float:
    """Return the seconds per step that `number` processes of `threads` threads each need, all together."""
    command = [sys.executable, __file__, "--work", str(steps)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    all_of_them = [
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    for each in all_of_them:
        assert each.stdout and each.stdout.readline() == "ready\n"
    for each in all_of_them:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    took = [float(each.stdout.readline()) for each in all_of_them if each.stdout]
    for each in all_of_them:
        each.wait()
    return max(took) / steps / number


def split(pairs: int, steps: int) -> list[Row]:
    whole = cores()
    ways = [number for number in range(2, whole + 1) if whole % number == 0]
    rows = []
    for number in ways:
        threads = whole // number
        found = [(together(number, threads, steps), together(1, whole, steps)) for _ in range(pairs)]
        names = (f"{number} runs at a time, {threads} thread{'s' * (threads > 1)} each", f"one run on {whole} threads")
        pace = {"steps/s": tuple(1 / min(side) for side in zip(*found, strict=True))}
        case = f"{whole} cores, DID, tf_efficientnet_lite0, 112 px, batch 15"
        rows.append(row("split of the cores", case, names, "speed-up", found, more=pace))
    return rows


if __name__ == "__main__":
    given = parser(__doc__)
    given.add_argument("--steps", type=int, default=20)
    given.add_argument("--pairs", type=int, default=3)
    given.add_argument("--work", type=int, help="what a process of the split does: for the script itself")
    options = given.parse_args()
    if options.work:
        work(options.work)
    else:
        preset = "smoke" if options.quick else "laptop"
        pairs, steps = (1, 2) if options.quick else (options.pairs, options.steps)
        finish([*split(pairs, steps), *stages(preset)], options)
