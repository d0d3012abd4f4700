"""A task joins a model and its losses: batch in, named loss terms out. The loop and the log know no more than that.

DID, the rivals, the extensions and a user's own detectors are tasks in one register. Another one is a class::

    @did.register_task("mine")
    class MyTask(did.Task):
        def __init__(self, settings, num_domains, options=None): ...  # sets self.model
        def forward(self, batch, progress, seed, details=False): ...  # returns a Step

in a file of its own, which `--plugin FILE` or an entry point of the group `did.tasks` makes known.
"""

import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from did.errors import DidError, nearest
from did.settings import Settings, as_type
from did.utils import distributed


@dataclasses.dataclass
class Step:
    """One forward pass of a task.

    Reading a number of a GPU waits until the GPU has computed it. All numbers of a step are therefore read at once, the
    first time that one of `losses` and `values` is asked for.

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
    def _numbers(self) -> tuple[dict[str, float], dict[str, float]]:
        scalars = {name: value for name, value in self.logged.items() if isinstance(value, Tensor)}
        with torch.no_grad():
            numbers = torch.stack([*self.terms.values(), *scalars.values()]).tolist()
        terms, values = numbers[: len(self.terms)], numbers[len(self.terms) :]
        known = dict(zip(scalars, values, strict=True))
        return (
            dict(zip(self.terms, terms, strict=True)),
            {name: known[name] if name in known else float(value) for name, value in self.logged.items()},
        )

    @property
    def losses(self) -> dict[str, float]:
        """The terms as numbers."""
        return self._numbers[0]

    @property
    def values(self) -> dict[str, float]:
        """What is logged, as numbers."""
        return self._numbers[1]


@dataclasses.dataclass(frozen=True)
class Wants:
    """What a task wants of its batches.

    Attributes:
        channels: of `image`: 1 for gray, 3 for RGB.
        transform: of a training image: ((channels, H, W) in [0, 1], generator) -> the same shape. Tests see none.
        pairs: batches of real faces, each beside forgeries of the same target.
        masks: `mask` in each batch, (n, 1, H, W): the share of each pixel that was forged. Stand-ins alone know it.
        context: `context` in each batch: the same faces cut with this margin instead of the settings'. The detector
            then takes it beside the images.
        frames: of one video that make up an item: then `image` is (n, frames, channels, H, W).
        blended: batches of real faces alone, with `blended`: each face with itself, changed, pasted into it (see
            `did.data.selfblend`). Both are augmented alike, by `transform` or lightly (`did.data.augment`).
    """

    channels: int = 1
    transform: Callable[[Tensor, torch.Generator], Tensor] | None = None
    pairs: bool = False
    masks: bool = False
    context: float | None = None
    frames: int = 1
    blended: bool = False


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a task that has none."""


class Task(nn.Module):
    """A model with its losses, and the defaults of what the loop, scoring and predictions ask of it.

    A subclass sets `model`, a module images -> scores or one with a `detector` of its own, and has a `forward`.

    Attributes:
        Options: a frozen dataclass of choices that are the task's own. They are part of a run's name.
        wants: what its batches hold.
        no_graph: why its detector cannot be one ONNX graph; empty if it can.
        version: part of a run's name from 1 on. Raised when what the task computes, or a default, changes.
        model: what is trained.

    Args:
        settings: the run's.
        num_domains: k + 1, real included.
        options: of the class `Options`; its defaults if None.
    """

    Options: ClassVar[type] = NoOptions
    wants: Wants = Wants()
    no_graph: ClassVar[str] = ""
    version: ClassVar[int] = 0
    model: nn.Module

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__()
        self.settings = settings
        self.num_domains = num_domains
        self.options = self.Options() if options is None else options

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the losses of a batch.

        Args:
            batch: `image` (n, channels, H, W) in [0, 1], `label` (n,), `domain` (n,), and what `wants` asks for. Of
                several processes, each gives its share, and `gather` joins what belongs together.
            progress: share of the iterations done, in [0, 1].
            seed: of whatever is random in it.
            details: also log what takes longer to compute.
        """
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups: the model's backbone (G) at η_θ, all else (C) at the rate of C."""
        return self.groups(G=([self.model.get_submodule("backbone")], 1.0))

    def groups(self, **named: tuple[Sequence[nn.Module | None], float]) -> list[dict[str, Any]]:
        """Return Adam's groups from modules and the factor of their rate over η_θ, by name.

        Parameters that are in none of them join the group C, at the rate of C. Frozen ones are in no group.
        """
        found = {
            name: ([p for module in modules if module is not None for p in learning(module)], factor)
            for name, (modules, factor) in named.items()
        }
        taken = {id(p) for parameters, _ in found.values() for p in parameters}
        if rest := [p for p in learning(self) if id(p) not in taken]:
            named_c, factor = found.get("C", ([], self.settings.head_rate))
            found["C"] = (named_c + rest, factor)
        return [
            {"name": name, "params": parameters, "lr": self.settings.lr * factor}
            for name, (parameters, factor) in found.items()
            if parameters
        ]

    def rate_factor(self, group: str, progress: float) -> float:
        """Return the factor of a group's rate at a share of the iterations in [0, 1]: 1."""
        return 1.0

    def begin(self, train: Any) -> None:
        """Set what depends on the untrained network and the training faces (`did.data.loading.Faces`): nothing.

        Called once, before the first iteration; what it sets is part of the task's state.
        """

    def finish(self, validation: Any) -> bool:
        """Learn what is learnt on the validation faces, once the weights are selected: nothing.

        Returns:
            Whether anything changed, so that the weights are written anew. Called again, it must give the same.
        """
        return False

    def detector(self) -> nn.Module:
        """Return the test-time graph: images -> scores (n,), logits of fake."""
        return self.model

    def domain_graph(self) -> nn.Module | None:
        """Return a graph images -> logits of the domains (n, k + 1), or None if the task knows no domains."""
        return None

    # What several processes share: see `did.utils.distributed`.
    gather = staticmethod(distributed.gather)
    share = staticmethod(distributed.share)
    ranks = staticmethod(distributed.ranks)


class DomainGraph(nn.Module):
    """A graph images -> logits of the domains (n, k + 1), from a model with a method of its own for them.

    Args:
        model: whose weights it shares.
        logits: name of its method images -> logits.
    """

    def __init__(self, model: nn.Module, logits: str = "domains") -> None:
        super().__init__()
        self.model = model
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return getattr(self.model, self.logits)(images)


def learning(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [p for p in module.parameters() if p.requires_grad]


_REGISTER: dict[str, type[Task]] = {}
T = TypeVar("T", bound=type[Task])


def register_task(name: str) -> Callable[[T], T]:
    """Register a task under a name, as a decorator of its class.

    Raises:
        DidError: If another task has the name.
    """

    def register(task: T) -> T:
        known = _REGISTER.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (task.__module__, task.__qualname__):
            raise DidError(f"two tasks are called '{name}', of {known.__module__} and {task.__module__}: rename one")
        _REGISTER[name] = task
        return task

    return register


def task_names() -> list[str]:
    """Return the names of all tasks: did's own, those of installed packages, and those of plugins.

    Packages register tasks as entry points of the group `did.tasks`.
    """
    _load()
    return sorted(_REGISTER)


def task_named(name: str) -> type[Task]:
    """Return the class of a task.

    Raises:
        DidError: If the name is unknown; the sentence gives the nearest.
    """
    if name not in _REGISTER:
        _load()
    if name not in _REGISTER:
        raise DidError(f"unknown task '{name}': {nearest(name, _REGISTER)}; --plugin FILE makes your own known")
    return _REGISTER[name]


@functools.cache
def _load() -> None:
    """Import what registers tasks: did's own modules, then the entry points."""
    importlib.import_module("did.method.task")
    for package in ("did.rivals", "did.extensions"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")
    for point in importlib.metadata.entry_points(group="did.tasks"):
        point.load()


def options_of(task: type[Task], values: Mapping[str, Any]) -> Any:
    """Return a task's options from values by name; texts are parsed as the field's type.

    Raises:
        DidError: If an option is unknown, or a value is of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(task.Options)}
    read = {}
    for name, value in values.items():
        if name not in fields:
            known = nearest(name, fields) if fields else "it has none"
            raise DidError(f"unknown option '{name}' of {task.__name__}: {known}")
        read[name] = as_type(f"option '{name}'", type(fields[name].default), value)
    return task.Options(**read)


def code_digest(task: type) -> str:
    """Return the SHA-256 of a task's source code if it is from outside the package, "" for one of did's own.

    The source is that of the module that defines the class, of those that define its bases, and of the modules whose
    names these import at their top, in turn. Installed packages are left out, apart from the task's own: the record
    has versions for them. A task in a notebook's cell counts by its class alone.

    Args:
        task: the class.

    Raises:
        DidError: If its source cannot be read, so that a change of it would not be noticed.
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
    """Return the name of the module that a value is, or was defined in."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def _source(module: ModuleType, task: type) -> bytes:
    """Return a module's source, or the source of the task's classes if a notebook's cells define them."""
    try:
        if file := getattr(module, "__file__", None):
            return Path(file).read_bytes()
        classes = [base for base in task.__mro__ if base.__module__ == module.__name__]
        return "".join(map(inspect.getsource, classes)).encode()
    except (OSError, TypeError) as error:
        raise DidError(f"the source of the task {task.__qualname__} cannot be read: define it in a file") from error
