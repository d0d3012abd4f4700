"""One loop for every task: Adam, named losses, validation, selection, and a state on disk to resume from."""

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import Subset
from tqdm import tqdm

from did import evaluation
from did.data.loading import Faces, batches, ordered
from did.errors import DidError
from did.method.backbones import evaluating, steady_statistics
from did.settings import Settings
from did.task import Step, Task
from did.training.watching import Log
from did.utils import checkpoints, distributed
from did.utils.files import write_atomically

F = TypeVar("F", bound=Callable[..., Any])
RESUME = "resume.safetensors"
BEST = "model.safetensors"
#: Folder of the weights at each validation, `<iteration>.safetensors`, where they are asked for.
CHECKPOINTS = "checkpoints"
#: The history of a training that goes on, a line per logged iteration; `history.csv` takes its place at the end.
HISTORY = "history.jsonl"
#: What to do about a state that cannot be read.
STATE_MEND = "remove it, and training begins anew"
#: The state is written at each validation, and where the last writing lies further back than this.
MINUTES_BETWEEN_STATES = 10.0
#: Images at a time that a GPU scores, or more. On the CPU larger batches are no faster, and would move scores by
#: rounding.
GPU_BATCH = 256


def optimizer_for(task: Task, fused: bool = False) -> torch.optim.Optimizer:
    """Build the optimiser with the task's rates: Adam with the paper's coupled weight decay (§4.1.3), or another.

    Args:
        task: its parameters are where they will be trained.
        fused: take Adam's step in one kernel for many parameters, which a GPU waits less for. The result is the same
            but for rounding.
    """
    groups = [{**group, "base_lr": group["lr"]} for group in task.parameter_groups()]
    decay = task.settings.weight_decay
    if task.settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=decay)
    kind = torch.optim.AdamW if task.settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=decay, fused=fused or None)


def schedule(settings: Settings, progress: float) -> float:
    """Return the factor of all rates at a share of the iterations in [0, 1].

    Examples:
        >>> schedule(Settings(schedule="cosine"), 0.5), schedule(Settings(), 0.5)
        (0.5, 1.0)
    """
    return round((1 + math.cos(math.pi * progress)) / 2, 12) if settings.schedule == "cosine" else 1.0


def train_step(fabric: Fabric, module: Any, optimizer: torch.optim.Optimizer, step: Callable[[], Step]) -> Step:
    """Take one simultaneous descent and ascent step on all modules (Eq. 12; the ascent is inside the GRL)."""
    optimizer.zero_grad(set_to_none=True)
    result = step()
    with steady_statistics(module):
        fabric.backward(result.total)
    optimizer.step()
    return result


class _Unread:
    """Losses that were not looked at yet: on a GPU a look waits until all of them are computed."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, Tensor, dict[str, Tensor]]] = []

    def add(self, iteration: int, index: Tensor, step: Step) -> None:
        """Remember a step's losses and the rows of its batch, where they are."""
        self.steps.append((iteration, index, {name: term.detach() for name, term in step.terms.items()}))

    def finite(self) -> Tensor:
        """Return whether all are finite, where they are, and forget those that were asked for before."""
        self.asked, self.steps = self.steps, []
        return torch.stack([torch.stack(list(terms.values())).sum() for *_, terms in self.asked]).isfinite().all()

    def error(self, train: Faces) -> DidError:
        """Return what there is to say of the first one asked for that is not finite. All processes call it."""
        iteration, index, losses = next(
            (at, index, numbers)
            for at, index, terms in self.asked
            for numbers in [{name: term.item() for name, term in terms.items()}]
            if not math.isfinite(sum(numbers.values()))
        )
        rows = distributed.gather(index).tolist()
        return DidError(
            f"the loss is not finite at iteration {iteration} ({losses}); lower the rates or look at this batch (rows "
            f"{rows} of the training faces: {', '.join(train.rows['face'].iloc[rows])})"
        )


@contextlib.contextmanager
def deterministic(same: bool = True) -> Iterator[None]:
    """Make cuDNN use the same algorithms each time, or the fastest ones, and restore its flags at the end."""
    flags = torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    flags.deterministic, flags.benchmark = same, not same
    try:
        yield
    finally:
        flags.deterministic, flags.benchmark = before


def _as_its_settings_say(train: F) -> F:
    """Run a function of a task under `deterministic`, as the task's settings ask for."""

    @functools.wraps(train)
    def within(task: Task, *given: Any, **named: Any) -> Any:
        with deterministic(task.settings.deterministic):
            return train(task, *given, **named)

    return within  # type: ignore[return-value]


@_as_its_settings_say
def fit(
    task: nn.Module,
    train: Faces,
    validation: Faces,
    folder: Path,
    progress: bool = True,
    stop_at: int | None = None,
    fabric: Fabric | None = None,
    log: Log | None = None,
    checkpoint: bool = False,
) -> pd.DataFrame:
    """Train a task by Algorithm 2 and leave the selected weights in it.

    Every `validate_every` iterations the frame AUC on the validation split is measured and the state is written to
    `folder`, from which an interrupted run goes on with the same result: whatever is random depends on the seed and
    the iteration alone. The weights kept are those of the best validation (the first one among equals), or of the
    last iteration under `selection="last"`; with `averaging`, these are the averaged ones. No test data is seen.
    Several processes share each batch and the validation; the first of them writes. Numbers of a GPU, and whether the
    losses are finite, are read at the iterations that are logged, one in a hundred, at once: between them the GPU is
    never waited for.

    Args:
        task: see `Task`; built right after `torch.manual_seed(settings.seed)`.
        train, validation: faces; `train` gives the domain numbers to both.
        folder: for the resume state and the selected weights.
        progress: show a bar with the named losses.
        stop_at: end early at this iteration, as an interruption would (for tests).
        fabric: from `did.utils.distributed.launch`; by default the device of `did.utils.distributed.device`. The task
            is there afterwards.
        log: called with each row of the history, by the first process; `HISTORY` in the folder gets them too.
        checkpoint: keep the weights of every validation, in `CHECKPOINTS`.

    Returns:
        The history: one row per logged iteration.

    Raises:
        DidError: If a loss was not finite (the last checkpoint, from before, is kept), a full disk, a state of another
            task, `compile` with several processes, or more processes than images in a batch.
    """
    settings: Settings = task.settings  # type: ignore[assignment]
    fabric = fabric or Fabric(accelerator=distributed.device().type, devices=1)
    if settings.compile and distributed.ranks() > 1:
        raise DidError("compile = True is for one device: batch normalisation over several cannot be compiled")
    distributed.join_batch_norms(task)
    optimizer = optimizer_for(task.to(fabric.device), fused=fabric.device.type == "cuda")  # type: ignore[arg-type]
    module, optimizer = fabric.setup(task, optimizer)
    state: dict[str, Any] = {"iteration": 0, "best": -math.inf, "since": 0, "history": []}
    resumed = (folder / RESUME).is_file()
    if not resumed:
        task.begin(train)  # type: ignore[operator]
    mean = MovingAverage(task, settings.averaging)  # what `begin` has set must not be averaged with what was before
    if resumed:
        state = read_state(folder / RESUME, task, optimizer, mean)
    history = _History(folder / HISTORY, state["history"], log)
    log_every = max(1, settings.iterations // 100)
    drawn = batches(
        train, settings.batch_size, settings.iterations, settings.seed, state["iteration"],
        sampler=settings.sampler, num_workers=distributed.loader_workers(fabric.device),
    )  # fmt: skip
    loader: Any = fabric.setup_dataloaders(distributed.shared(drawn), use_distributed_sampler=False)
    bar = tqdm(total=settings.iterations, initial=state["iteration"], desc="training", unit="it", disable=not progress)
    unread = _Unread()
    written = time.monotonic()
    began = written - state.get("seconds", 0.0)  # those of the sittings before this one
    module.train()
    with bar:
        for iteration, batch in enumerate(loader, start=state["iteration"]):
            if iteration == stop_at or _ended(settings, state):
                break
            done = iteration / settings.iterations
            details = iteration % log_every == 0
            for group in optimizer.param_groups:
                factor = task.rate_factor(group["name"], done)  # type: ignore[operator]
                group["lr"] = group["base_lr"] * factor * schedule(settings, done)
            seed = _seed(settings.seed, iteration)
            torch.manual_seed(_seed(settings.seed, iteration, 1 + distributed.rank()))  # dropout and its like
            step = train_step(fabric, module, optimizer, lambda: module(batch, done, seed, details))  # noqa: B023
            mean.update()
            unread.add(iteration, batch["index"], step)
            due = iteration + 1 == settings.iterations or (iteration + 1) % settings.validate_every == 0
            if details or due:
                step.logged = {**step.logged, "finite": unread.finite()}
                row = {"iteration": iteration, **step.losses, **step.values}
                if not row.pop("finite"):
                    raise unread.error(train)
            if details:
                history.append(row)
                bar.set_postfix({name: f"{value:.3f}" for name, value in step.losses.items()}, refresh=False)
            bar.update()
            state["iteration"] = iteration + 1
            if due:
                with mean.in_place():
                    history.append(_validate(task, validation, state, folder, checkpoint))
                module.train()
            late = details and time.monotonic() - written > 60 * MINUTES_BETWEEN_STATES
            if distributed.rank() == 0 and (due or late):
                state["seconds"] = time.monotonic() - began
                write_state(folder / RESUME, task, optimizer, state, mean)
                written = time.monotonic()
    distributed.wait()
    if state["iteration"] == settings.iterations or _ended(settings, state):
        tensors, about = checkpoints.load(folder / BEST)
        checkpoints.put(task, tensors, folder / BEST)
        if task.finish(validation) and distributed.rank() == 0:  # type: ignore[operator]
            checkpoints.save(folder / BEST, task.state_dict(), about)
    return pd.DataFrame(state["history"])


def _ended(settings: Settings, state: Mapping[str, Any]) -> bool:
    """Return whether training ends early: the last validations brought nothing better."""
    return 0 < settings.patience <= state.get("since", 0)


class _History:
    """Rows of a history that are written as they come, so that a training can be watched."""

    def __init__(self, file: Path, rows: list[dict[str, Any]], log: Log | None) -> None:
        self.file, self.rows, self.log = file, rows, log
        self.first = distributed.rank() == 0
        if self.first:  # what a killed training wrote after its last state is taken back
            text = "".join(map(self._line, rows))
            write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))

    def append(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if not self.first:
            return
        with self.file.open("a", encoding="utf-8") as file:
            file.write(self._line(row))
        if self.log is not None:
            self.log(row)

    @staticmethod
    def _line(row: Mapping[str, Any]) -> str:
        return json.dumps(row) + "\n"


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _validate(
    task: nn.Module, validation: Faces, state: dict[str, Any], folder: Path, checkpoint: bool
) -> dict[str, Any]:
    settings: Settings = task.settings  # type: ignore[assignment]
    scores = score(task.detector(), validation, settings.batch_size, settings.precision)  # type: ignore[operator]
    value = evaluation.auc(validation.labels, scores)
    better = value > state["best"]
    state["since"] = 0 if better else state.get("since", 0) + 1
    about = {"settings": settings.as_dict(), "iteration": state["iteration"], "validation AUC": value}
    files = [checkpoint_file(folder, state["iteration"])] if checkpoint else []
    if better or settings.selection == "last":
        state["best"] = value
        files.append(folder / BEST)
    if distributed.rank() == 0:
        for file in files:
            checkpoints.save(file, task.state_dict(), about)
    return {"iteration": state["iteration"], "validation AUC": value}


class MovingAverage:
    """An exponential moving average of a task's weights: w̄ <- d w̄ + (1 - d) w after each step.

    The decay of the step n is min(decay, (1 + n) / (10 + n)), so that the beginning is soon forgotten. Buffers that
    are numbers with a point, such as the statistics of batch normalisation, are averaged too. It costs a copy of the
    weights; at decay 0 nothing is kept and nothing is done.

    Args:
        task: whose weights change in training.
        decay: d, in [0, 1).

    Source: Polyak and Juditsky (SIAM J. Control Optim. 1992) for averaging; the warm-up is TensorFlow's
    `ExponentialMovingAverage`.
    """

    def __init__(self, task: nn.Module, decay: float) -> None:
        self.task, self.decay, self.steps = task, decay, 0
        self.tensors = {name: of.clone() for name, of in self._weights().items()}

    def _weights(self) -> dict[str, Tensor]:
        if not self.decay:
            return {}
        return {name: of for name, of in self.task.state_dict().items() if of.is_floating_point()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        if self.decay:
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
            average = get_ema_multi_avg_fn(decay)
            average(list(self.tensors.values()), list(self._weights().values()), self.steps)
            self.steps += 1

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the task, and the weights of training back at the end."""
        before = {name: of.clone() for name, of in self._weights().items()}
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(before)

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        self.task.load_state_dict(tensors, strict=False)

    def resume(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on from the average after so many steps."""
        self.steps = steps
        for name, of in tensors.items():
            self.tensors[name].copy_(of)


def checkpoint_file(folder: Path, iteration: int) -> Path:
    """Return where the weights of a run's validation after so many iterations are, if they were kept."""
    return folder / CHECKPOINTS / f"{iteration:06d}.safetensors"


def write_state(
    path: Path, task: nn.Module, optimizer: Any, state: dict[str, Any], mean: MovingAverage | None = None
) -> None:
    """Write a checkpoint from which training resumes: the task's tensors, Adam's by parameter name, and `state`.

    Args:
        path: of the checkpoint; see `did.utils.checkpoints.save`, also for what it raises.
        task, optimizer: as they are after an iteration.
        state: iteration, best, history and seconds, those that all sittings took up to here.
        mean: the averaged weights, if there may be some.
    """
    names = {parameter: name for name, parameter in task.named_parameters()}
    tensors = {f"task.{name}": tensor for name, tensor in task.state_dict().items()}
    tensors |= {f"mean.{name}": tensor for name, tensor in (mean.tensors if mean else {}).items()}
    for parameter, moments in optimizer.state.items():
        tensors |= {f"adam.{names[parameter]}.{key}": value for key, value in moments.items()}
    checkpoints.save(path, tensors, state)


def read_state(path: Path, task: nn.Module, optimizer: Any, mean: MovingAverage | None = None) -> dict[str, Any]:
    """Read a checkpoint of `write_state` into a task, its optimiser and its average, and return `state`.

    Raises:
        DidError: If the file is not a checkpoint of this task.
    """
    tensors, state = checkpoints.load(path, fix=STATE_MEND)
    # Settings may differ between versions; the rates are set anew at each iteration.
    parts = {name: _part(tensors, name) for name in ("task", "adam", "mean")}
    checkpoints.put(task, parts["task"], path, STATE_MEND)
    if mean:
        mean.resume(parts["mean"], state["iteration"])
    names = {parameter: name for name, parameter in task.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in _part(parts["adam"], names[parameter]).items():
                # In the parameter's own memory format, in which Adam keeps its moments. Its count stays on the CPU,
                # unless one kernel does all.
                at = parameter.device if group.get("fused") else value.device
                like = torch.empty_like(parameter if value.shape == parameter.shape else value.to(at))
                optimizer.state[parameter][key] = like.copy_(value)
    return state


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


@torch.inference_mode()
@deterministic()
def score(
    detector: nn.Module, faces: Faces, batch_size: int = 64, precision: str = "32", progress: bool = False
) -> np.ndarray:
    """Score all faces in the order of their rows, (n, ...), by the test-time graph in evaluation mode.

    The scores are computed on the detector's device.

    Several processes share the faces, and each gets all scores: all of them have to ask.

    Args:
        detector: images (m, channels, H, W) in [0, 1], and the context if that is wanted -> scores (m, ...).
        faces: n of them.
        batch_size: images at a time, at least 32; at least `GPU_BATCH` on a GPU.
        precision: of the detector's backbones, as in `did.settings.Settings`. What follows them is float32.
        progress: show a bar.

    Raises:
        DidError: If a crop cannot be read, or there are fewer faces than processes.
    """
    device = distributed.device_of(detector)
    own = range(len(faces))[distributed.share(len(faces))]
    part: Any = faces if len(own) == len(faces) else Subset(faces, own)
    at_once = max(batch_size, 32 if device.type == "cpu" else GPU_BATCH)
    loader = ordered(part, at_once, distributed.loader_workers(device))
    bar = tqdm(loader, desc="scoring", unit="batch", disable=not progress)
    with evaluating(detector, precision):
        given = [name for name in ("image", "context") if name == "image" or faces.wants.context is not None]
        scores = torch.cat([detector(*(batch[name].to(device) for name in given)).float() for batch in bar])
    return distributed.gather(scores).cpu().numpy()
