"""What the benchmarks share: two sides that take turns in one process, and the memory of each in one of its own."""

import argparse
import contextlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from did_book.pages import costs

Call = Callable[[], object]
START = time.monotonic()


def parser(doc: str | None) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--quick", action="store_true", help="a trial at tiny sizes, whose numbers mean nothing")
    where = "write the ratios there; without FILE, into benchmarks/results/"
    found.add_argument("--json", nargs="?", type=Path, const=Path(), metavar="FILE", help=where)
    return found


def seconds(call: Call, times: int = 1) -> float:
    """Return the seconds of one call, the mean over several in a row."""
    _wait()
    start = time.perf_counter()
    for _ in range(times):
        call()
    _wait()
    return (time.perf_counter() - start) / times


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def take_turns(ours: Call, theirs: Call, pairs: int, name: str, warm: int = 2) -> list[tuple[float, float]]:
    """Time both sides in turns; who goes first changes.

    Calls of less than 50 ms are repeated in a row.
    """
    last = {call: seconds(call) for _ in range(warm) for call in (ours, theirs)}
    times = {call: max(1, round(0.05 / took)) for call, took in last.items()}
    found = []
    for turn in tqdm(range(pairs), desc=name, leave=False):
        order = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
        took = {call: seconds(call, times[call]) for call in order}
        found.append((took[ours], took[theirs]))
    return found


def alone(build: Callable[..., Call], arguments: Sequence[Any], calls: int = 2) -> tuple[float, float, float]:
    """Build one side and call it in a process of its own.

    Returns:
        MiB that Python held with the packages that the script imports, MiB at the peak, seconds of the last call.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_alone, build, arguments, calls).result()


def _alone(build: Callable[..., Call], arguments: Sequence[Any], calls: int) -> tuple[float, float, float]:
    start = peak_memory()
    call = build(*arguments)
    took = [seconds(call) for _ in range(calls)]
    return start, peak_memory(), took[-1]


def memory(build: Callable[..., Call], ours: Sequence[Any], theirs: Sequence[Any], calls: int = 2) -> dict[str, Any]:
    """Return the peak memory of both sides as fields of a row.

    Adam's state exists already in the second call of a training step.
    """
    return as_fields(*(alone(build, side, calls) for side in (ours, theirs)))


def as_fields(*sides: tuple[float, float, float]) -> dict[str, Any]:
    """Convert the results of `alone` for both sides to fields of a row."""
    return {
        "memory": tuple(peak for _, peak, _ in sides),
        "more": {"MiB above the packages": tuple(peak - start for start, peak, _ in sides)},
    }


def peak_memory() -> float:
    """Return the peak memory in MiB.

    It is the most that this process has held of the GPU's memory, if there is a GPU; else the sum of the peaks of
    resident memory of this process and its running children (children on Linux only).
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    if platform.system() != "Linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)
    # Not getrusage: on Linux a new process begins with its parent's peak there.
    peaks, me = [], os.getpid()
    for file in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError, KeyError):  # It has ended meanwhile, or holds no memory.
            status = dict(line.split(":", 1) for line in file.read_text().splitlines())
            if me in (int(status["Pid"]), int(status["PPid"])):
                peaks.append(int(status["VmHWM"].split()[0]) / 1024)
    return sum(peaks)


def finish(rows: Sequence[costs.Row], options: argparse.Namespace) -> None:
    """Print the rows and, with --json, save them."""
    script = Path(sys.argv[0])
    for each in rows:
        print(costs.sentence(each))
        print(f"    {each.seconds[0]:.4g} s, {each.seconds[1]:.4g} s, {each.pairs} pairs", end="")
        print(f"; {each.memory[0]:.0f} MiB, {each.memory[1]:.0f} MiB" if each.memory else "", end="")
        print("".join(f"; {a:.4g}, {b:.4g} {name}" for name, (a, b) in each.more.items()), end="")
        print(f"; {each.note}" if each.note else "")
    if options.json is not None:
        # Where it was written is not part of what was measured, and a path of one machine.
        given = [each for each in sys.argv[1:] if each != "--json" and each != str(options.json)]
        command = " ".join(["python", f"benchmarks/{script.name}", *given])
        file = None if options.json == Path() else options.json
        saved = costs.save(script.stem, rows, command, (time.monotonic() - START) / 60, options.quick, file)
        print(f"saved in {saved}")
