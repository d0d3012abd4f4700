"""A task joins a model and its losses: batch in, named loss terms out. The loop and the log know no more than that."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from did.errors import DidError
from did.method.backbones import Machine
from did.settings import Settings


@dataclasses.dataclass
class Step:
    """One forward pass of a task.

    Reading a number of a GPU waits until the GPU has computed it. All numbers of a step are therefore read at once, the
    first time that one of `losses`, `values` and `finite` is asked for.

    Attributes:
        terms: weighted loss terms by name, scalars; their sum is what the optimiser descends.
        logged: what the log holds beside them, unweighted: scalars on the terms' device, or plain numbers.
    """

    terms: dict[str, Tensor]
    logged: Mapping[str, Tensor | float]

    @property
    def total(self) -> Tensor:
        """The sum of the terms, a scalar."""
        return torch.stack(list(self.terms.values())).sum()

    @functools.cached_property
    def _numbers(self) -> tuple[float, dict[str, float], dict[str, float]]:
        scalars = {name: value for name, value in self.logged.items() if isinstance(value, Tensor)}
        with torch.no_grad():
            read = torch.stack([self.total, *self.terms.values(), *scalars.values()]).tolist()
        total, terms, values = read[0], read[1 : 1 + len(self.terms)], read[1 + len(self.terms) :]
        known = dict(zip(scalars, values, strict=True))
        return (
            total,
            dict(zip(self.terms, terms, strict=True)),
            {name: known[name] if name in known else float(value) for name, value in self.logged.items()},
        )

    @property
    def losses(self) -> dict[str, float]:
        """The terms as numbers."""
        return self._numbers[1]

    @property
    def values(self) -> dict[str, float]:
        """What is logged, as numbers."""
        return self._numbers[2]

    @property
    def finite(self) -> bool:
        """Whether the total is finite."""
        return math.isfinite(self._numbers[0])


def code_digest(task: type) -> str:
    """Return the SHA-256 of a task's source code if it is from outside the package, "" for one of did's own.

    The source is that of the module that defines the class, of those that define its bases, and of the modules whose
    names these import at their top, in turn. Installed packages are left out, apart from the task's own: the record
    has versions for them. A task in a notebook's cell counts by its class alone.

    Args:
        task: the class.

    Raises:
        DidError: its source cannot be read, so that a change of it would not be noticed.
    """
    top = _top(task.__module__)
    if top == "did":
        return ""
    foreign = {"did", *sys.stdlib_module_names, *importlib.metadata.packages_distributions()} - {top}
    found: dict[str, bytes] = {}
    waiting = [base.__module__ for base in task.__mro__]
    while waiting:
        name = waiting.pop()
        if name in found or name not in sys.modules or _top(name) in foreign:
            continue
        found[name] = _source(sys.modules[name], task)
        if getattr(sys.modules[name], "__file__", None):
            waiting += [_module_of(value) for value in vars(sys.modules[name]).values()]
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def _top(module: str) -> str:
    return module.partition(".")[0]


def _module_of(value: Any) -> str:
    """The name of the module that a value is, or was defined in."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def _source(module: ModuleType, task: type) -> bytes:
    """What a module's file holds, or the classes of the task that a notebook's cells define."""
    try:
        if file := getattr(module, "__file__", None):
            return Path(file).read_bytes()
        classes = [base for base in task.__mro__ if base.__module__ == module.__name__]
        return "".join(map(inspect.getsource, classes)).encode()
    except (OSError, TypeError) as error:
        raise DidError(f"the source of the task {task.__qualname__} cannot be read: define it in a file") from error


def machine(settings: Settings) -> Machine:
    """How G is to compute in training."""
    return Machine(settings.precision, settings.accumulate, settings.recompute, settings.compile)
