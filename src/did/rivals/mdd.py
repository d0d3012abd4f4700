"""MDD, multi-attentional deepfake detection: several attention maps, texture, and parts that are kept apart.

Source: Zhao, Zhou, Chen, Wei, Zhang and Yu (2021), "Multi-attentional deepfake detection", CVPR, arXiv:2103.02406.
Written from a description of layers, losses and constants; no other implementation was used.
"""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from did.errors import DidError
from did.method.backbones import PLAIN, Backbone, Machine, evaluating
from did.rivals.cutting import cut_at
from did.settings import Settings
from did.task import Step, Task, Wants, register_task

#: Weights: of the regional independence loss, and of the match of the maps that the augmentation left alone.
INDEPENDENCE, MATCH = 0.5, 0.1
#: Distance to a part's centre that costs nothing, for real and fake; and that between two centres.
INSIDE, OUTSIDE = (0.05, 0.1), 0.2
#: How fast the centres move at the start, and the factor of each of ten epochs that the training is cut into.
SPEED, SLOWER = 0.05, 0.9


@dataclasses.dataclass(frozen=True)
class MDDOptions:
    """Sizes of MDD.

    Attributes:
        maps: attention maps, M.
        growth: channels that each layer of the texture's dense block adds, N.
        hidden: of the classifier.
    """

    maps: int = 4
    growth: int = 32
    hidden: int = 256


@dataclasses.dataclass
class Parts:
    """What MDD sees in n images.

    Attributes:
        attention: (n, M, h, w), at least 0.
        parts: V, (n, M, c), of length 1: the shallow features without texture, pooled by each map.
        logits: (n, 2).
    """

    attention: Tensor
    parts: Tensor
    logits: Tensor


class MDDDetector(nn.Module):
    """Attention at stride 16, texture at stride 4, and the last features, pooled together.

    RGB images (n, 3, H, W) in [0, 1] -> scores (n,), the logit of fake less that of real.

    Attributes:
        parts: (M, c): how many parts there are, and of how many channels.

    Args:
        backbone: one chain of blocks with maps of strides 4 and 16, see `did.rivals.cutting.cut_at`.
        options: sizes.

    Examples:
        >>> MDDDetector(Backbone("test_efficientnet", in_chans=3)).eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, options: MDDOptions | None = None) -> None:
        super().__init__()
        o = options or MDDOptions()
        self.register_buffer("mean", backbone.mean, persistent=False)
        self.register_buffer("std", backbone.std, persistent=False)
        self.backbone = nn.ModuleList(cut_at(backbone, (4, 16)))
        with torch.no_grad(), evaluating(self.backbone):
            shallow = self.backbone[0](torch.zeros(1, 3, 64, 64))
            middle = self.backbone[1](shallow)
        c, m = shallow.shape[1], middle.shape[1]
        self.parts = (o.maps, c)
        self.attention = nn.Sequential(
            nn.Conv2d(m, m, 3, padding=1), nn.BatchNorm2d(m), nn.ReLU(),
            nn.Conv2d(m, o.maps, 1, bias=False), nn.BatchNorm2d(o.maps), nn.ELU(),
        )  # fmt: skip
        self.dense = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c + i * o.growth, o.growth, 3, padding=1), nn.BatchNorm2d(o.growth), nn.ReLU())
            for i in range(3)
        )
        texture = 4 * o.growth
        self.texture = nn.Sequential(nn.Conv2d(c + 3 * o.growth, texture, 1), nn.BatchNorm2d(texture))
        self.local = nn.Sequential(nn.Linear(o.maps * texture, o.hidden), nn.Hardswish(),
                                   nn.Linear(o.hidden, o.hidden), nn.Hardswish())  # fmt: skip
        self.whole = nn.Sequential(nn.Dropout(0.5), nn.Linear(backbone.channels, o.hidden), nn.Hardswish())
        self.classifier = nn.Sequential(nn.Linear(2 * o.hidden, o.hidden), nn.Hardswish(), nn.Linear(o.hidden, 2))

    def look(self, images: Tensor) -> Parts:
        """Return the attention maps, the parts that they pool, and the logits."""
        shallow = self.backbone[0]((images - self.mean) / self.std)
        middle = self.backbone[1](shallow)
        deep = self.backbone[2](middle)
        attention = _without_rim(self.attention(middle) + 1)
        plain = F.adaptive_avg_pool2d(shallow, (attention.shape[2], attention.shape[3]))
        detail = shallow - F.interpolate(plain, size=shallow.shape[2:])
        for layer in self.dense:
            detail = torch.cat([detail, layer(detail)], 1)
        detail = self.texture(detail)
        wide = F.interpolate(attention, size=detail.shape[2:], mode="bilinear")
        rows = F.normalize(torch.einsum("nmhw,nchw->nmc", wide, detail), dim=2)
        if self.training:  # whole rows, so that no map can do alone
            rows = F.dropout(rows.new_ones(rows.shape[:2]), 0.25)[:, :, None] * rows
        weights = F.interpolate(attention.sum(1, keepdim=True), size=deep.shape[2:], mode="bilinear")
        mean = (weights * deep).sum((2, 3)) / (weights.sum((2, 3)) + 1e-8)
        logits = self.classifier(torch.cat([self.local(rows.flatten(1)), self.whole(mean)], 1))
        parts = F.normalize(torch.einsum("nmhw,nchw->nmc", attention, plain), dim=2)
        return Parts(attention, parts, logits)

    def forward(self, images: Tensor) -> Tensor:
        real, fake = self.look(images).logits.unbind(1)
        return fake - real


def _without_rim(maps: Tensor) -> Tensor:
    """Set the rim of maps to 0: 2 cells of 24, in proportion; none where a cell is too large a part."""
    rim = round(maps.shape[-1] / 12)
    return F.pad(maps[..., rim:-rim, rim:-rim], (rim,) * 4) if rim else maps


def independence(parts: Tensor, labels: Tensor, centres: Tensor, speed: float) -> tuple[Tensor, Tensor]:
    """Compute the regional independence loss: parts near their centres, centres apart.

    Args:
        parts: V, (n, M, c).
        labels: (n,).
        centres: (M, c), as they were before.
        speed: α, how far they move towards the batch's mean.

    Returns:
        The loss, a scalar, and the moved centres. These keep the gradient of the batch's part in them, which is α of
        it; the division of the second term by M · α makes up for that.
    """
    moved = centres + speed * (parts - centres).mean(0)
    inside = torch.tensor(INSIDE, device=parts.device)[labels]
    near = F.relu((parts - moved).norm(dim=2) - inside[:, None]).mean()
    first, second = torch.triu_indices(len(centres), len(centres), 1, device=parts.device)
    apart = F.relu(OUTSIDE - (moved[first] - moved[second]).norm(dim=1)).sum()
    return near + apart / (len(centres) * speed), moved


def degraded(images: Tensor, attention: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Degrade each image where one of its maps looks (attention-guided data augmentation, AGDA).

    Args:
        images: (n, 3, H, W) in [0, 1].
        attention: (n, M, h, w).
        generator: on the CPU.

    Returns:
        The images, and which map was taken, (n,): with a probability in proportion to the root of 1 + its sum.
    """
    n, device = len(images), images.device
    chance = (1 + attention.detach().sum((2, 3))).sqrt().cpu()
    chosen = torch.multinomial(chance, 1, generator=generator).squeeze(1)
    places = torch.arange(n, device=device)
    one = attention.detach()[places, chosen.to(device)][:, None]
    one = F.interpolate(one, size=images.shape[2:], mode="bilinear")
    one = one / one.amax((2, 3), keepdim=True).clamp(min=1e-8)
    threshold = (0.4 + 0.2 * torch.rand(n, 1, 1, 1, generator=generator)).to(device)
    steep = (3 + 2 * torch.rand(n, 1, 1, 1, generator=generator)).to(device)
    at_zero = torch.sigmoid(-threshold * steep)
    weight = (torch.sigmoid((one - threshold) * steep) - at_zero) / (1 - at_zero)
    small = gaussian_blur(F.interpolate(images, scale_factor=0.5, mode="bilinear"), [11, 11], [7.0, 7.0])
    small = small + 0.1 * torch.randn(small.shape, generator=generator).to(device)
    rough = F.interpolate(small, size=images.shape[2:], mode="bilinear").clamp(0, 1)
    return (1 - weight) * images + weight * rough, chosen.to(device)


@register_task("mdd")
class MDDTask(Task):
    """MDD with its two forward passes: of the images, and of those that AGDA has degraded.

    Exact: attention, texture (the paper's form), pooling, losses with the authors' weights, margins. Our readings: the
    backbone; batch normalisation and ReLU in the dense block; ten epochs for the slowing of the centres, whatever the
    length; the rates are the table's. The first epochs of the plain backbone are left out.

    Raises:
        DidError: If the backbone cannot be cut, or the settings of the machine are not the plain ones.
    """

    Options = MDDOptions
    wants = Wants(channels=3)
    model: MDDDetector
    centres: Tensor

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        if Machine.of(settings) != PLAIN:
            raise DidError("mdd computes plainly: leave out precision, accumulate, recompute and compile")
        self.model = MDDDetector(Backbone(settings.backbone, settings.pretrained, in_chans=3), self.options)
        self.register_buffer("centres", torch.zeros(self.model.parts))

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the losses of both passes; in training, move the centres."""
        images, labels = batch["image"], self.gather(batch["label"])
        seen = self.model.look(images)
        speed = SPEED * SLOWER ** math.floor(10 * progress)
        loss, moved = independence(self.gather(seen.parts), labels, self.centres, speed)
        if self.training:
            self.centres.copy_(moved.detach())
        rough, chosen = degraded(images, seen.attention, torch.Generator().manual_seed(seed))
        again = self.model.look(rough)
        others = F.one_hot(chosen, self.options.maps) == 0
        match = (again.parts - seen.parts).norm(dim=2)[others]
        terms = {
            "ce": F.cross_entropy(self.gather(seen.logits), labels),
            "independence": INDEPENDENCE * loss,
            "degraded": F.cross_entropy(self.gather(again.logits), labels),
            "match": MATCH * self.gather(match).mean(),
        }
        return Step(terms, {})
