"""Worker processes: how many this process may keep busy, where none can be started, and those of a Dask cluster."""

import contextlib
import math
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from did.errors import DidError

#: Where Linux shows the groups of processes, and the group that this process is in.
CGROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

#: Seconds to wait for the answer of a cluster.
PATIENCE = 10


def cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    That is the smallest of the machine's cores, the cores that the process is bound to (as by `taskset` or Slurm) and
    the share of processor time that its cgroups, of version 1 or 2, have (as by a container or a batch system); a
    part of a core does not count.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else math.inf
    return max(1, int(min([os.cpu_count() or 1, bound, *_quotas()])))


def _quotas() -> Iterator[float]:
    """Yield the cores that each cgroup of this process allows, from its own up to the root; nothing if unlimited."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 1 has a folder for each set of controllers; version 2, if it is mounted beside it, is in `unified`.
        roots = [controllers, "cpu"] if controllers else ["", "unified"]
        path = PurePosixPath(group.lstrip("/"))
        # A container may see the group's name on the host, under which it has no folder: its own is the root then.
        for root in dict.fromkeys(CGROUPS / root for root in roots):
            for folder in {root / path, *(root / parent for parent in path.parents)}:
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (folder / "cpu.max").is_file():
            time, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            time, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            )
        if time not in ("max", "-1"):
            yield float(time) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such group, or one without a limit
        return


def check_start() -> None:
    """Check that worker processes can be started here.

    Every function that starts workers calls it.

    Raises:
        DidError: If the code belongs to a script that a worker reads anew on its start: it would start workers of its
            own, or wait for its own parent.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DidError(
            "the workers that this script starts read it anew: put what it does under `if __name__ == '__main__':`"
        )


@contextlib.contextmanager
def dask_client(address: str) -> Iterator[Any]:
    """Connect to a Dask cluster, as a context manager.

    Args:
        address: of the scheduler, tcp://host:port.

    Raises:
        DidError: If the packages are missing, no scheduler answers, or workers die.
    """
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise DidError("A cluster needs the packages of crossdf[cluster]: pip install 'crossdf[cluster]'.") from error
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError.
        raise DidError(
            f"No Dask scheduler answers at {address}; start one with `dask scheduler` and workers with `dask worker`."
        ) from error
    try:
        yield client
    except KilledWorker as error:
        raise DidError(
            "Workers of the cluster died, most often for lack of memory; run again with more memory for each, it "
            "resumes where it stopped."
        ) from error
    finally:
        client.close()
