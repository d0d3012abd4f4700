"""Cut a backbone in parts and widen its stem, for models that join two networks or look at several resolutions."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from did.errors import DidError
from did.method.backbones import Backbone, evaluating


def cut(backbone: Backbone) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """Cut the backbone's network into three parts, for models that join two networks half-way.

    The first cut lies after the middle block of the last resolution but one, the second after the first block of the
    last resolution. In Xception these are blocks 7 and 12, in tf_efficientnet_lite0 blocks.4.0 and blocks.5.0.

    Args:
        backbone: its modules are shared with the parts; its normalisation is in none of them.

    Returns:
        Three modules that, one after the other, compute what `backbone.body.forward_features` does.

    Raises:
        DidError: If the network is not one chain of blocks with a single first convolution.
    """
    pieces, sides = _chain(backbone)
    resolutions = sorted(set(sides))
    if len(resolutions) < 2:
        raise _uncuttable(backbone)
    before = [number for number, side in enumerate(sides) if side == resolutions[1]]
    first, second = before[len(before) // 2] + 1, sides.index(resolutions[0]) + 1
    return nn.Sequential(*pieces[:first]), nn.Sequential(*pieces[first:second]), nn.Sequential(*pieces[second:])


def cut_at(backbone: Backbone, strides: Sequence[int]) -> list[nn.Sequential]:
    """Cut the backbone's network after the last block of each resolution, for models that look at several of them.

    Args:
        backbone: as for `cut`.
        strides: sides of the image over those of the maps, in rising order, as 4 and 16.

    Returns:
        One module per stride, and the rest of the network, which may be empty.

    Raises:
        DidError: As `cut`, or if the network has no map of a stride.
    """
    pieces, sides = _chain(backbone)
    ends = []
    for stride in strides:
        found = [number for number, side in enumerate(sides) if side * stride == _SIDE]
        if not found:
            raise DidError(f"backbone '{_name(backbone)}' has no map of stride {stride}: take another one")
        ends.append(found[-1] + 1)
    return [nn.Sequential(*pieces[a:b]) for a, b in itertools.pairwise([0, *ends, len(pieces)])]


#: Side of the image with which a chain is tried.
_SIDE = 64


def _name(backbone: Backbone) -> str:
    return backbone.body.pretrained_cfg["architecture"]


def _uncuttable(backbone: Backbone) -> DidError:
    return DidError(
        f"backbone '{_name(backbone)}' is not one chain of blocks and cannot be cut: take legacy_xception or resnet50"
    )


def _chain(backbone: Backbone) -> tuple[list[nn.Module], list[int]]:
    """Return the modules that the network is a chain of, and the side of each one's map for an image of `_SIDE`.

    Raises:
        DidError: If it is not a chain.
    """
    body = backbone.body
    pieces = list(_pieces(body))
    generator = torch.Generator().manual_seed(0)
    sides, x = [], torch.rand(1, _stem(body).in_channels, _SIDE, _SIDE, generator=generator)
    try:
        with torch.no_grad(), evaluating(body):
            expected = body.forward_features(x)
            for piece in pieces:
                x = piece(x)
                sides.append(x.shape[-1])
            chained = torch.allclose(x, expected, rtol=1e-4, atol=1e-6)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):
        chained = False
    if not chained:
        raise _uncuttable(backbone)
    return pieces, sides


def widen(backbone: Backbone, channels: int, stride: int | None = None) -> None:
    """Let a backbone take `channels` images side by side in place of one.

    Each gets the stem's kernels; the stem's stride can be changed.

    The stem of the widened backbone gives for maps that sum to an image what it gave for the image.
    """
    stem = _stem(backbone.body)
    weight = stem.weight.detach().repeat(1, channels, 1, 1)
    stem.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
    stem.in_channels = weight.shape[1]
    if stride is not None:
        stem.stride = (stride, stride)


def _stem(body: Any) -> nn.Conv2d:
    first = body.pretrained_cfg["first_conv"]
    if not isinstance(first, str):
        name = body.pretrained_cfg["architecture"]
        raise DidError(f"backbone '{name}' has no single first convolution: take another one, such as legacy_xception")
    return body.get_submodule(first)


def _pieces(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules in the order of a network's definition, up to its head; sequences are opened."""
    for name, child in module.named_children():
        if name in ("global_pool", "head"):
            return
        if type(child) is nn.Sequential:
            yield from _pieces(child)
        else:
            yield child
