"""Several processes, one batch: each rank has its share of the rows, and the losses and batch normalisation see all.

Every rank computes the loss of the whole batch from gathered scores. The backward pass of `gather` sums the ranks'
gradients and DistributedDataParallel divides by their number, which gives the gradient of one process with the whole
batch. With one process each function here is the identity.

Where a process computes is also decided here: `device` says it for whatever no `Fabric` has put elsewhere, and
`device_of` finds where a module has been put.
"""

import functools
import os
import warnings
import weakref
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from did.errors import DidError
from did.utils.workers import check_start, cores

T = TypeVar("T")
#: More workers than this read no faster than a GPU computes.
MOST_WORKERS = 8


def device() -> torch.device:
    """Return the default device of this process: its GPU if it has one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_of(module: nn.Module) -> torch.device:
    """Return the device that a module's weights are on."""
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))


def loader_workers(device: torch.device) -> int:
    """Return how many worker processes read crops for a device.

    None for a CPU, whose own work is slowed down by more than reading small crops takes; a GPU must not wait for crops.
    """
    return 0 if device.type == "cpu" else min(MOST_WORKERS, cores())


def launch(devices: int | None = None, nodes: int = 1, accelerator: str = "auto") -> Fabric:
    """Start the processes of a run, one per device, and return what drives them.

    Under `fabric run` the processes exist already.

    Args:
        devices: of each host; 1 by default, and under `fabric run` what that says.
        nodes: hosts. Each runs the same command, with the variables of torch's launcher (MASTER_ADDR, NODE_RANK, ...)
            or under Slurm; the project's folder must be one that all of them share.
        accelerator: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        DidError: If devices do not exist, or contradict `fabric run`; or as `did.utils.workers.check_start`.
    """
    check_start()
    # What Fabric's command sets; its environment then speaks for what is left at "auto".
    commanded = os.environ.get("LT_CLI_USED") == "1"
    several = (devices or 1) * nodes > 1
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices or ("auto" if commanded else 1),
            num_nodes=nodes,
            strategy="ddp" if several else "auto",
            precision="32-true",  # `precision` is a setting of the run: see `did.method.backbones.Backbone`
        )
    except (ValueError, RuntimeError) as error:  # Fabric's own errors are of these kinds
        raise DidError(f"these devices cannot be used: {' '.join(str(error).split())}") from error
    # Channels-last weights; it costs a copy of a gradient.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    if not commanded:
        fabric.launch()
    return fabric


def ranks() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if ranks() > 1 else 0


def wait() -> None:
    """Wait until every process has arrived."""
    if ranks() > 1:
        dist.barrier(group=_group(device()))


# Groups of processes for tensors on the CPU, made where a process group serves no CPU.
_beside: "weakref.WeakKeyDictionary[dist.ProcessGroup, dist.ProcessGroup]" = weakref.WeakKeyDictionary()


def _group(device: torch.device) -> dist.ProcessGroup:
    """Return all processes as a group that serves tensors on a device; every collective uses it.

    NCCL's group serves GPUs alone. For a tensor on the CPU there is a second one, by gloo, from its first use on; all
    processes have to get there, as with any collective.
    """
    world: Any = dist.group.WORLD
    try:
        world._get_backend(device)
    except RuntimeError:  # it serves none such
        if world not in _beside:
            _beside[world] = dist.new_group(backend="gloo")  # type: ignore[assignment]
        return _beside[world]
    return world  # type: ignore[no-any-return]


def of_first(value: T) -> T:
    """Return the first process's `value` in every process."""
    if ranks() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, group=_group(device()))
    return box[0]


def share(n: int) -> slice:
    """Return this process's part of n rows.

    The parts follow each other and differ in length by at most one row.

    Raises:
        DidError: If there are fewer rows than processes.
    """
    if n < ranks():
        raise DidError(f"{n} images cannot be shared by {ranks()} processes: take fewer devices")
    each, left = divmod(n, ranks())
    start = rank() * each + min(rank(), left)
    return slice(start, start + each + (rank() < left))


class _Shares(Sampler[list[int]]):
    def __init__(self, whole: Any) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[list[int]]:
        for rows in self.whole:
            yield rows[share(len(rows))]


def shared(loader: DataLoader) -> DataLoader:
    """Build a loader of this process's share of each batch of `loader`, which has a batch sampler."""
    if ranks() == 1:
        return loader
    return DataLoader(
        loader.dataset,
        batch_sampler=_Shares(loader.batch_sampler),
        num_workers=loader.num_workers,
        generator=loader.generator,
    )


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=_group(total.device))
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _Sum.apply(grads[0])  # type: ignore[no-any-return,no-untyped-call]


def all_sum(x: Tensor) -> Tensor:
    """Sum a tensor over the processes; the gradients of all their losses flow back."""
    return x if ranks() == 1 else _Sum.apply(x)  # type: ignore[no-any-return,no-untyped-call]


def gather(rows: Tensor) -> Tensor:
    """Gather the rows of all processes in the order of the ranks; the gradients of all their losses flow back.

    Args:
        rows: (n_rank, ...), where the n_rank may differ.

    Returns:
        (n, ...), n being the sum of the n_rank. Each process adds its rows to zeros at their place, and the sum over
        the processes is the whole: exact, and the same for even and uneven shares.
    """
    if ranks() == 1:
        return rows
    sizes = torch.zeros(ranks(), dtype=torch.long, device=rows.device)
    sizes[rank()] = len(rows)
    dist.all_reduce(sizes, group=_group(sizes.device))
    lengths = sizes.tolist()
    before, after = sum(lengths[: rank()]), sum(lengths[rank() + 1 :])
    return all_sum(F.pad(rows, (0, 0) * (rows.dim() - 1) + (before, after)))


class _Normalise(torch.autograd.Function):
    """Batch normalisation over the rows of all processes: x -> (normalised, mean, variance).

    Source: Ioffe and Szegedy (2015). Mean and variance take one sum each: E[x²] - E[x]² in a single sum would lose
    digits.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        sums = all_sum(torch.cat([wide.sum((0, 2, 3)), wide.new_tensor([x.numel() / x.shape[1]])]))
        count = sums[-1]
        mean = sums[:-1] / count
        normal = wide - mean[:, None, None]
        variance = all_sum(normal.square().sum((0, 2, 3))) / count
        scale = (variance + eps).rsqrt()
        normal = normal * scale[:, None, None]
        ctx.save_for_backward(normal.to(x.dtype), weight, scale, count)
        ctx.mark_non_differentiable(mean, variance)
        out = normal * weight[:, None, None] + bias[:, None, None]
        return out.to(x.dtype), mean, variance * count / (count - 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normal, weight, scale, count = ctx.saved_tensors
        grad = grads[0].to(scale.dtype)
        to_bias, to_weight = grad.sum((0, 2, 3)), (grad * normal).sum((0, 2, 3))
        mean_bias, mean_weight = (all_sum(torch.stack([to_bias, to_weight])) / count)[:, :, None, None]
        to_x = (weight * scale)[:, None, None] * (grad - mean_bias - normal * mean_weight)
        return to_x.to(normal.dtype), to_weight.to(weight.dtype), to_bias.to(weight.dtype), None


def _normalise(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Run the forward pass of a `BatchNorm2d`, or of timm's with an activation, over the rows of all processes."""
    if not norm.training:
        return type(norm).forward(norm, x)
    weight = torch.ones_like(norm.running_mean) if norm.weight is None else norm.weight  # type: ignore[arg-type]
    bias = torch.zeros_like(weight) if norm.bias is None else norm.bias
    out, mean, variance = _Normalise.apply(x, weight, bias, norm.eps)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
            momentum = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
            norm.running_mean += momentum * (mean - norm.running_mean)
            norm.running_var += momentum * (variance - norm.running_var)
    return norm.act(norm.drop(out)) if hasattr(norm, "act") else out  # type: ignore[operator]


def join_batch_norms(module: nn.Module) -> None:
    """Let every BatchNorm2d in a module normalise over the rows of all processes; tensors keep their names.

    torch's own SyncBatchNorm does not run on the CPU. With one process nothing is changed.
    """
    if ranks() > 1:
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.forward = functools.partial(_normalise, norm)  # type: ignore[method-assign]
