"""SBI: real faces alone, each against itself with a changed copy pasted in.

Source: Shiohara and Yamasaki (2022), "Detecting deepfakes with self-blended images", CVPR, arXiv:2204.08376. Written
from a description; no other implementation was used.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from did.method.backbones import Backbone, Machine
from did.rivals.bce import PlainDetector
from did.settings import Settings
from did.task import Step, Task, Wants, register_task


@register_task("sbi")
class SBITask(Task):
    """The plain backbone with binary cross-entropy on real faces and their self-blended images. It sees no forgery.

    Exact: training on real faces alone, the steps of the blend (`did.data.selfblend`), one augmentation for both images
    of a pair. Our readings: the outline follows five landmarks, where the authors have 81; the augmentation of a pair
    is the light one of `did.data.augment`; Adam at the table's rates, without sharpness-aware steps; one logit for two
    classes; a batch holds as many images as the settings say, half of them real; selection is the table's, on the
    validation split's forgeries.
    """

    wants = Wants(channels=3, blended=True)
    model: PlainDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        backbone = Backbone(settings.backbone, settings.pretrained, in_chans=3, machine=Machine.of(settings))
        self.model = PlainDetector(backbone)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute binary cross-entropy of the images (n, 3, H, W) as real and of `blended` as fake."""
        scores = self.gather(self.model(torch.cat([batch["image"], batch["blended"]])))
        ours = len(scores) // self.ranks() // 2  # each process gives its real faces, then their blends
        labels = torch.tensor([0.0, 1.0], device=scores.device).repeat_interleave(ours).repeat(self.ranks())
        return Step({"bce": F.binary_cross_entropy_with_logits(scores, labels)}, {})
