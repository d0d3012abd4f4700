"""G: any timm backbone with a spatial feature map, for gray images, with weights from a named place."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from did.errors import DidError, nearest
from did.settings import Settings
from did.utils.weights import with_weights


@dataclasses.dataclass(frozen=True)
class Machine:
    """How a backbone computes in training; in evaluation mode it computes in float32 (see `evaluating`).

    Attributes:
        precision: `32`, or `bf16`: bfloat16 under autocast. What comes out is float32 again.
        accumulate: parts of the batch that go through one by one, of which one part's activations are held at a time
            (Chen et al., 2016, "Training deep nets with sublinear memory cost"). What comes out is the whole batch's,
            so that losses over pairs of images stay exact; batch normalisation alone is over a part.
        recompute: the same, with the activations inside each block of the network.
        compile: torch.compile.
    """

    precision: str = "32"
    accumulate: int = 1
    recompute: bool = False
    compile: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "Machine":
        """Return the machine that a run's settings describe."""
        return cls(settings.precision, settings.accumulate, settings.recompute, settings.compile)

    def run(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Compute `function(images)` in this way.

        Raises:
            DidError: If there are fewer images than parts.
        """
        if self == PLAIN:
            return function(images)
        if len(images) < self.accumulate:
            raise DidError(f"{len(images)} images cannot be cut into accumulate = {self.accumulate} parts: lower it")
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if self.accumulate == 1:
                out = function(images)
            else:
                parts = images.tensor_split(self.accumulate)
                out = torch.cat([checkpoint(function, part, use_reentrant=False) for part in parts])
        return out.to(images.dtype)

    @property
    def repeats(self) -> bool:
        """Whether the backward pass computes parts of the forward pass again."""
        return self.accumulate > 1 or self.recompute


PLAIN = Machine()


@contextlib.contextmanager
def steady_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation during a backward pass, though layers may run again."""
    again = [part for part in module.modules() if getattr(part, "machine", PLAIN).repeats]
    norms = {norm for part in again for norm in part.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)}
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    yield
    for buffer, value in kept:
        buffer.copy_(value)


@contextlib.contextmanager
def evaluating(module: nn.Module, precision: str = "32") -> Iterator[None]:
    """Put a module into evaluation mode, and restore the mode of each of its parts at the end.

    Args:
        module: with or without backbones.
        precision: of its backbones meanwhile; see `Machine`.
    """
    modes = [(part, part.training) for part in module.modules()]
    backbones: list[Any] = [part for part in module.modules() if hasattr(part, "in_evaluation")]
    module.eval()
    for part in backbones:
        part.in_evaluation = Machine(precision)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for part in backbones:
            part.in_evaluation = PLAIN


class Backbone(nn.Module):
    """G: a timm network up to its last feature map, which takes gray or RGB images in [0, 1].

    Args:
        name: timm's name.
        pretrained: `hub`, `package`, `none`, or the path of a file that timm can load (.safetensors, .pth).
        in_chans: 1 for gray. The RGB stem kernels are then summed, which is the same function as the gray image
            repeated three times when the three channels are normalised alike; the mean over channels of the
            network's own mean and standard deviation is used for that (§4.1.3 says grayscale, not how).
        machine: how it computes in training.

    Attributes:
        channels: c of the feature map.

    Shapes: (n, in_chans, H, W) in [0, 1] -> (n, c, h, w).

    Raises:
        DidError: If there is an unknown name, no feature map, weights that cannot be had, a file that does not fit, or
            a network that cannot compute its activations again.

    Examples:
        >>> backbone = Backbone("test_efficientnet")
        >>> tuple(backbone(torch.rand(2, 1, 64, 64)).shape) == (2, backbone.channels, 2, 2)
        True
    """

    body: Any  # timm's networks are not typed
    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, pretrained: str = "none", in_chans: int = 1, machine: Machine = PLAIN
    ) -> None:  # fmt: skip
        super().__init__()
        self.machine, self.in_evaluation = machine, PLAIN
        # Convolutions on the CPU are up to four times faster on channels-last memory, and no slower on a GPU.
        self.body = _create(name, pretrained, in_chans).to(memory_format=torch.channels_last)
        self.channels: int = self.body.num_features
        config = self.body.pretrained_cfg
        for key in ("mean", "std"):
            value = torch.tensor(config[key]).mean()
            self.register_buffer(key, value, persistent=False)
        if machine.recompute:
            _recompute(self.body, name)
        self._compiled = torch.compile(self.body.forward_features) if machine.compile else None

    def forward(self, images: Tensor) -> Tensor:
        images = (images - self.mean) / self.std
        if self.machine.recompute:
            self.body.set_grad_checkpointing(self.training)
        if not self.training:
            return self.in_evaluation.run(self.body.forward_features, images)
        return self.machine.run(self._compiled or self.body.forward_features, images)


def _recompute(body: Any, name: str) -> None:
    try:
        body.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise DidError(
            f"timm cannot compute the activations of '{name}' again: take recompute = False, and accumulate for memory"
        ) from error


def _create(name: str, pretrained: str, in_chans: int) -> Any:
    architecture = name.split(".")[0]
    if architecture not in timm.list_models(architecture):
        raise DidError(f"unknown backbone '{name}': {nearest(architecture, _spatial_names(architecture))}")
    options: dict[str, Any] = {"in_chans": in_chans, "num_classes": 0, "global_pool": ""}
    try:
        body = with_weights(name, pretrained, options)
    except TypeError as error:  # networks without a pooled map refuse global_pool=''
        raise DidError(f"backbone '{name}' has no spatial feature map, which A_df needs ({error})") from error
    _check_map(name, body, in_chans)
    return body


def _spatial_names(word: str) -> list[str]:
    return [
        "tf_efficientnetv2_l",
        "tf_efficientnet_lite0",
        "resnet50",
        "legacy_xception",
        *timm.list_models(f"{word[:5]}*")[:8],
    ]


def _check_map(name: str, body: Any, in_chans: int) -> None:
    """Check with a small forward pass on zeros that the network returns a map (n, c, h, w)."""
    try:
        with torch.no_grad(), evaluating(body):
            shape = tuple(body.forward_features(torch.zeros(1, in_chans, 64, 64)).shape)
    except AssertionError as error:  # transformers with a fixed input size
        raise DidError(f"backbone '{name}' takes no 64x64 image ({error}); use a convolutional network") from error
    if len(shape) != 4 or shape[1] != body.num_features:
        raise DidError(
            f"backbone '{name}' gives features of shape {shape}, not a map (n, c, h, w); use a convolutional network"
        )
