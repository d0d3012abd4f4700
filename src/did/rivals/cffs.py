"""CFFs: one specialist per forgery method first, then one network for all that is drawn to their features.

Source: Yu P. and others (2022), "Improving generalization by commonality learning in face forgery detection", IEEE
TIFS, doi:10.1109/TIFS.2022.3146781. Written from a description of networks, losses and constants; no other
implementation was used.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.errors import DidError
from did.method.backbones import PLAIN, Backbone, Machine, evaluating
from did.rivals.cutting import cut_at
from did.settings import Settings
from did.task import Step, Task, Wants, register_task

#: Widths of the decoder, from the smallest maps up.
WIDTHS = (128, 64, 32, 16)
#: Of the triplets. The authors give theirs on the command line only.
MARGIN = 1.0


class AutomaticWeights(nn.Module):
    """Weigh losses by learnt uncertainties: the sum of L_i / (2 s_i²) + log(1 + s_i²), each s_i starting at 1.

    Source: Liebel and Körner (2018), "Auxiliary tasks in multi-task learning", arXiv:1805.06334.
    """

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.ones(losses))

    def forward(self, *losses: Tensor) -> Tensor:
        squares = self.s.square()
        return (torch.stack(losses) / (2 * squares) + (1 + squares).log()).sum()


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Compute 1 - 2 Σ p m / (Σ p + Σ m) over all pixels of a batch; both sums get 1 more, so that empty masks count.

    Args:
        logits, masks: (n, 1, H, W).

    Examples:
        >>> dice_loss(torch.full((1, 1, 2, 2), 99.0), torch.ones(1, 1, 2, 2)).item()
        0.0
    """
    p = logits.sigmoid()
    return 1 - (2 * (p * masks).sum() + 1) / (p.sum() + masks.sum() + 1)


def triplet_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean of max(0, d(a, p) - d(a, n) + `MARGIN`) over all triplets of a batch; 0 if there is none.

    Args:
        features: (n, d).
        labels: (n,): a and p are two of one class, n is of the other.
    """
    d = torch.cdist(features[None], features[None])[0]
    same = labels[:, None] == labels
    other = ~same
    same = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    valid = same[:, :, None] & other[:, None, :]
    each = F.relu(d[:, :, None] - d[:, None, :] + MARGIN)
    return (each * valid).sum() / valid.sum().clamp(min=1)


@dataclasses.dataclass
class Found:
    """What an extractor finds in n images.

    Attributes:
        features: pooled, (n, c).
        score: logit of fake, (n,).
        mask: logits of what was forged, (n, 1, H, W).
    """

    features: Tensor
    score: Tensor
    mask: Tensor


class Extractor(nn.Module):
    """A U-Net: the backbone as encoder, a thin decoder to a mask, and a linear layer on the pooled features.

    RGB images (n, 3, H, W) in [0, 1] -> scores (n,), logits of fake.

    Examples:
        >>> Extractor(Backbone("test_efficientnet", in_chans=3)).eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.register_buffer("mean", backbone.mean, persistent=False)
        self.register_buffer("std", backbone.std, persistent=False)
        self.encoder = nn.ModuleList(cut_at(backbone, (4, 8, 16)))
        widths, x = [], torch.zeros(1, 3, 64, 64)
        with torch.no_grad(), evaluating(self.encoder):
            for part in self.encoder:
                x = part(x)
                widths.append(x.shape[1])
        inputs = [a + b for a, b in zip([widths[3], *WIDTHS[:2]], widths[2::-1], strict=True)] + [WIDTHS[2]]
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in zip(inputs, WIDTHS, strict=True)
        )
        self.mask = nn.Conv2d(WIDTHS[-1], 1, 1)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(widths[3], 1))

    def _encode(self, images: Tensor) -> list[Tensor]:
        found, x = [], (images - self.mean) / self.std
        for part in self.encoder:
            x = part(x)
            found.append(x)
        return found

    def look(self, images: Tensor) -> Found:
        """Return features, score and mask."""
        *skipped, deep = self._encode(images)
        features = deep.mean((2, 3))
        x = deep
        for layer, skip in zip(self.decoder, [*skipped[::-1], None], strict=True):
            if skip is None:
                x = layer(F.interpolate(x, size=images.shape[2:], mode="bilinear"))
            else:
                x = layer(torch.cat([F.interpolate(x, size=skip.shape[2:], mode="bilinear"), skip], 1))
        return Found(features, self.classifier(features).squeeze(1), self.mask(x))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self._encode(images)[-1].mean((2, 3))).squeeze(1)


@register_task("cffs")
class CFFsTask(Task):
    """CFFs in one training: specialists in the first half of the iterations, the common extractor in the second.

    Exact: U-Nets, the losses of both stages, their automatic weights. Our readings: the backbone and the decoder's
    widths; all specialists learn side by side, each from the real faces and its method's in the batch; in the second
    stage a real face is drawn to the features of a specialist at random; no discriminator, which the paper's summary
    does not name and whose published loss is unfinished; a margin of 1; one logit for two classes; the augmentation is
    the settings'; the rates are the table's. It wants masks, which stand-ins have.

    Raises:
        DidError: If the backbone cannot be cut, or the settings of the machine are not the plain ones.
    """

    wants = Wants(channels=3, masks=True)
    model: Extractor

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        if Machine.of(settings) != PLAIN:
            raise DidError("cffs computes plainly: leave out precision, accumulate, recompute and compile")

        def made() -> Extractor:
            return Extractor(Backbone(settings.backbone, settings.pretrained, in_chans=3))

        self.model = made()
        self.specialists = nn.ModuleList(made() for _ in range(num_domains - 1))
        self.weights = nn.ModuleList(AutomaticWeights(3) for _ in range(num_domains))

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the losses of the stage that this share of the iterations is in."""
        return self._specialised(batch) if progress < 0.5 else self._common(batch, seed)

    def _specialised(self, batch: dict[str, Tensor]) -> Step:
        domains, terms = batch["domain"], {}
        for number, specialist in enumerate(self.specialists, start=1):
            rows = (domains == 0) | (domains == number)
            if not rows.any():  # of several processes, one may have none
                continue
            found: Found = specialist.look(batch["image"][rows])  # type: ignore[operator]
            label, mask = batch["label"][rows], (batch["mask"][rows] > 0.5).float()
            terms[f"specialist {number}"] = self.weights[number](
                F.binary_cross_entropy_with_logits(found.score, label.float()),
                dice_loss(found.mask, mask),
                triplet_loss(found.features, label),
            )
        return Step(terms, {})

    def _common(self, batch: dict[str, Tensor], seed: int) -> Step:
        images, labels, domains = batch["image"], batch["label"], batch["domain"]
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(1, self.num_domains, (len(labels),), generator=generator).to(domains.device)
        matched = torch.where(domains == 0, drawn, domains)
        found = self.model.look(images)
        wanted = torch.zeros_like(found.features)
        with torch.no_grad(), evaluating(self.specialists):
            for number, specialist in enumerate(self.specialists, start=1):
                if (rows := matched == number).any():
                    wanted[rows] = specialist.look(images[rows]).features  # type: ignore[operator]
        mask = (batch["mask"] > 0.5).float()
        total = self.weights[0](
            F.binary_cross_entropy_with_logits(self.gather(found.score), self.gather(labels).float()),
            dice_loss(self.gather(found.mask), self.gather(mask)),
            F.mse_loss(self.gather(found.features), self.gather(wanted)),
        )
        return Step({"common": total}, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups: all encoders at η_θ, all else at the rate of C."""
        encoders = [self.model.encoder, *(one.encoder for one in self.specialists)]  # type: ignore[union-attr]
        return self.groups(G=(encoders, 1.0))  # type: ignore[arg-type]
