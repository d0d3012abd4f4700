"""Provenance of a result: commit, versions, machine and date; and the stamp under every figure and table."""

import datetime
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import did
from did.utils import distributed
from did.utils.workers import cores


def provenance() -> dict[str, Any]:
    """Return commit, versions, machine and date, without the name of the host or the user."""
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
            "cores": cores(),
            "threads": torch.get_num_threads(),
            "processes": distributed.ranks(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def stamp(data: str, preset: str, seeds: Sequence[int] = (0,), minutes: str = "") -> str:
    """Format the line under every figure and table that says where its numbers are from.

    Args:
        data: what the numbers are from, with its edition; see `Source.banner`.
        preset, seeds: of the runs.
        minutes: how long it took, in words.
    """
    where = provenance()
    machine = f"{where['machine']['cores']} cores" + (f", {where['machine']['gpu']}" if where["machine"]["gpu"] else "")
    named = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    parts = (f"Preset {preset}", named, minutes, f"commit {where['commit']}", where["date"][:10], machine)
    return f"{data.rstrip('.')}. {', '.join(part for part in parts if part)}"


def commit() -> str:
    """Return the project's commit, with `+changes` if the working tree differs from it, or `unknown`.

    The records that are committed are written by what is stamped here, and are not a change of the code.
    """
    git = ["git", "-C", str(Path(did.__file__).parent)]
    code = [":/", ":(top,exclude)results", ":(top,exclude)benchmarks/results"]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        status = [*git, "status", "--porcelain", "-uno", "--", *code]
        changes = subprocess.run(status, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
