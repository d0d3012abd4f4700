"""Provenance of a result: commit, versions, machine and date; and the stamp under every figure and table."""

import ast
import datetime
import functools
import hashlib
import platform
import subprocess
from collections.abc import Iterable, Sequence
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


def tf32() -> list[str]:
    """Name what a GPU computes in TF32, with 10 bits of mantissa, where float32 is asked for; empty without one."""
    if not torch.cuda.is_available():
        return []
    flags = {"convolutions": torch.backends.cudnn.allow_tf32, "products": torch.backends.cuda.matmul.allow_tf32}
    return [name for name, allowed in flags.items() if allowed]


#: What of the package decides a result, besides the tasks that it compares.
DECIDING = ("data", "evaluation", "method", "standin", "training", "settings.py", "presets.py", "sources.py", "task.py")


def deciding(modules: Iterable[str] = ()) -> dict[str, str]:
    """Return 12 digits for each module that decides a result: a hash of its code without docstrings and comments.

    Args:
        modules: those of tasks, as "did.rivals.bce". Modules from outside did are left out: a run's record has their
            digest.
    """
    root = Path(did.__file__).parent
    files = [
        file for name in DECIDING for file in ([root / name] if name.endswith(".py") else (root / name).glob("*.py"))
    ]
    files += [root.joinpath(*name.split(".")[1:]).with_suffix(".py") for name in modules if name.startswith("did.")]
    files = sorted({file for file in files if file.name != "__init__.py"})
    return {".".join(file.relative_to(root.parent).with_suffix("").parts): _code(file) for file in files}


@functools.cache
def _code(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body[0] = ast.Pass()
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


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
