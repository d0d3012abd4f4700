"""The field's light augmentation of training images, an option: the paper names none.

What a camera and an upload do to a picture of the same face: mirrored, slightly turned, brighter or darker, blurred,
noisy, compressed again. The kinds are those of the usual benchmarks (DeepfakeBench's list, Yan et al. 2023, §3); the
strengths are ours, chosen before any result, for crops of 112 px.
"""

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from did.errors import DidError
from did.task import Wants


@functools.cache
def _steps() -> v2.Transform:
    def sometimes(share: float, step: v2.Transform) -> v2.Transform:
        return v2.RandomApply([step], share)

    compressed = v2.Compose([v2.ToDtype(torch.uint8, scale=True), v2.JPEG((40, 95)),
                             v2.ToDtype(torch.float32, scale=True)])  # fmt: skip
    return v2.Compose([
        v2.RandomHorizontalFlip(0.5),
        sometimes(0.3, v2.RandomRotation(10, InterpolationMode.BILINEAR)),
        sometimes(0.5, v2.ColorJitter(brightness=0.2, contrast=0.2)),
        sometimes(0.3, v2.GaussianBlur(3, (0.3, 1.0))),
        sometimes(0.3, v2.Lambda(_noisy)),
        sometimes(0.5, compressed),
    ])  # fmt: skip


def _noisy(image: Tensor) -> Tensor:
    return image + 0.02 * torch.randn_like(image)


def light(image: Tensor, generator: torch.Generator) -> Tensor:
    """Augment an image: mirror, turn by up to 10°, brightness and contrast by up to 20%, blur, noise, JPEG 40 to 95.

    Each step is applied or not by a coin of its own. Everything is drawn from `generator`; torch's global random state
    is left as it was.

    Args:
        image: (channels, H, W) in [0, 1].
        generator: on the CPU.

    Returns:
        The same shape, in [0, 1].

    Examples:
        >>> light(torch.rand(1, 64, 64), torch.Generator().manual_seed(0)).shape
        torch.Size([1, 64, 64])
    """
    with torch.random.fork_rng([]):
        torch.set_rng_state(generator.get_state())
        return _steps()(image).clamp(0, 1)


def augmented(wants: Wants) -> Wants:
    """Return what a task wants, with its training images augmented before the task's own transform sees them.

    Raises:
        DidError: If the task wants masks or context, which would no longer fit the augmented image, or blends and
            augments by itself.
    """
    if wants.blended:
        raise DidError("The task makes and augments its own pairs; take augment=none.")
    if wants.masks or wants.context is not None:
        raise DidError("The task wants masks or context, which do not fit a turned image; take augment=none.")
    then = light if wants.transform is None else functools.partial(_both, wants.transform)
    return dataclasses.replace(wants, transform=then)


def _both(then: Callable[[Tensor, torch.Generator], Tensor], image: Tensor, generator: torch.Generator) -> Tensor:
    return then(light(image, generator), generator)
