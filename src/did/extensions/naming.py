"""(k + 1)-way cross-entropy, which names the methods, with two additions that may help with a method not yet seen.

Naming the methods is what carries DID (`did.paper.factorial`); this is the plainest task that does it. `detail` adds
what smoothing takes away from the face as a second channel. `mixup` trains on mixtures of two faces, whose target is
the mixture of their domains: a forged face with half of its traces is still half forged.

Source: Zhang et al. (2018), mixup: Beyond empirical risk minimization, ICLR, arXiv:1710.09412, for the mixtures.
"""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.errors import DidError
from did.method.backbones import Backbone, Machine
from did.rivals.multiclass import MulticlassDetector
from did.settings import Settings
from did.task import DomainGraph, Step, Task, register_task

#: Side of the square over which a face is averaged to get its detail, and the factor that brings it to about the
#: spread of the face.
SIDE, GAIN = 3, 4.0


@dataclasses.dataclass(frozen=True)
class NamingOptions:
    """Options of the task `naming`.

    Attributes:
        detail: the detector also sees what smoothing takes away from the face.
        mixup: a of the Beta(a, a) from which the share of a mixture is drawn; 0 for no mixtures.
    """

    detail: bool = False
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.mixup <= 10:
            raise DidError(f"mixup is {self.mixup:g}; it must lie in [0, 10]")


def with_detail(images: Tensor) -> Tensor:
    """Add a channel with the detail of gray images: (n, 1, h, w) -> (n, 2, h, w).

    Examples:
        >>> with_detail(torch.full((1, 1, 4, 4), 0.5))[0, 1].abs().max().item()
        0.0
    """
    smooth = F.avg_pool2d(F.pad(images, [SIDE // 2] * 4, mode="replicate"), SIDE, stride=1)
    return torch.cat([images, GAIN * (images - smooth)], 1)


class DetailDetector(MulticlassDetector):
    """A `MulticlassDetector` of faces and their detail. Images (n, 1, H, W) in [0, 1] -> scores (n,)."""

    def domains(self, images: Tensor) -> Tensor:
        """Return the logits of the domains, (n, k + 1)."""
        return super().domains(with_detail(images))


@register_task("naming")
class NamingTask(Task):
    """Cross-entropy over the k + 1 domains, at the rates of DID; without options, the task `multiclass`."""

    Options = NamingOptions
    options: NamingOptions
    model: MulticlassDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        kind, channels = (DetailDetector, 2) if self.options.detail else (MulticlassDetector, 1)
        backbone = Backbone(settings.backbone, settings.pretrained, in_chans=channels, machine=Machine.of(settings))
        self.model = kind(backbone, num_domains)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the cross-entropy of the domains, of images (n, 1, H, W) or of their mixtures."""
        images, domains = batch["image"], batch["domain"]
        other, share = torch.arange(len(images), device=images.device), 1.0
        if self.options.mixup:
            rng = np.random.default_rng(seed)
            share = float(rng.beta(self.options.mixup, self.options.mixup))
            other = torch.from_numpy(rng.permutation(len(images))).to(images.device)
            images = share * images + (1 - share) * images[other]
        logits = self.gather(self.model.domains(images))
        first, second = (F.cross_entropy(logits, self.gather(of)) for of in (domains, domains[other]))
        return Step({"dom": share * first + (1 - share) * second}, {})

    def domain_graph(self) -> nn.Module:
        """Return the graph images -> logits of the domains (n, k + 1)."""
        return DomainGraph(self.model)
