"""F3-Net, a rival that looks for forgeries in the frequencies, behind the interface of `did.task.Task`.

Source: Qian, Yin, Sheng, Chen and Shao (2020), "Thinking in frequency: face forgery detection by mining
frequency-aware clues", ECCV, arXiv:2007.09355. Written from the paper; no other implementation was used.
"""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from did.errors import DidError, nearest
from did.method.backbones import PLAIN, Backbone, Machine, evaluating
from did.rivals.cutting import cut, widen
from did.settings import Settings
from did.task import Step, Task, register_task

#: What a share of the spectrum may be a share of: its area (`area`), the greatest u + v, 2·side - 2 (`diagonal`), or
#: the side (`side`).
SHARES = ("area", "diagonal", "side")
#: What is added to LFS's sums before the logarithm: a gray level, so that a flat window gives no -inf.
FLOOR = 1 / 255


@dataclasses.dataclass(frozen=True)
class F3NetOptions:
    """What F3-Net's paper states, and how this implementation reads it.

    Attributes:
        fad_bands: ends of FAD's bands, as shares of the spectrum: low, middle, high.
        fad_share: what they are shares of, one of `SHARES`.
        window, step: of LFS's sliding windows, in pixels.
        bands: of LFS, M.
        reduction: channels over hidden channels of a MixBlock.

    Raises:
        DidError: If there is an unknown share, or sizes that fit no window.
    """

    fad_bands: tuple[float, ...] = (0, 1 / 16, 1 / 8, 1)
    fad_share: str = "area"
    window: int = 10
    step: int = 2
    bands: int = 6
    reduction: int = 8

    def __post_init__(self) -> None:
        if self.fad_share not in SHARES:
            raise DidError(f"unknown share of the spectrum '{self.fad_share}': {nearest(self.fad_share, SHARES)}")
        if self.step not in (1, 2) or self.window < self.step or self.bands < 1 or self.reduction < 1:
            raise DidError(
                f"step is {self.step}, window {self.window}, bands {self.bands}, reduction {self.reduction}; step is 1 "
                "or 2, window at least step, the others at least 1"
            )


DEFAULT = F3NetOptions()


def dct_matrix(size: int) -> Tensor:
    """Build the orthonormal DCT-II matrix D, (size, size).

    D @ x transforms a column, D @ x @ D.T an image; D.T is the inverse.

    Examples:
        >>> matrix = dct_matrix(4)
        >>> torch.allclose(matrix @ matrix.T, torch.eye(4), atol=1e-6)
        True
    """
    frequency, place = torch.arange(size).double()[:, None], torch.arange(size)  # float loses digits at large angles
    matrix = torch.cos(math.pi * (2 * place + 1) * frequency / (2 * size)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def band_filters(size: int, ends: tuple[float, ...], share: str = "diagonal") -> Tensor:
    """Build fixed filters of a DCT spectrum, one per band: 1 inside, 0 outside.

    Together they contain every frequency once.

    Args:
        size: side of the spectrum.
        ends: rising, from 0 to 1. The last band goes on to the end of the spectrum.
        share: one of `SHARES`. Place (u, v) lies at (u + v) / (2·size - 1) for `diagonal`, so that the corner of the
            mean is at 0 and the opposite one just below 1; at (u + v) / size for `side`; for `area` at
            (u + v)² / (2·size²), the share of the square that lies below its stripe, up to the longest stripe.

    Returns:
        (len(ends) - 1, size, size).
    """
    u = torch.arange(size)
    stripe = (u[:, None] + u).double()
    if share == "area":
        beyond = 2 * size - 1 - stripe  # from the opposite corner
        position = torch.where(stripe <= size, stripe**2, 2 * size**2 - beyond**2) / (2 * size**2)
    else:
        position = stripe / (2 * size - 1 if share == "diagonal" else size)
    upper = (*ends[1:-1], math.inf)
    return torch.stack(
        [(position >= low) & (position < high) for low, high in zip(ends[:-1], upper, strict=True)]
    ).float()


def squash(x: Tensor) -> Tensor:
    """Compute σ(x) = (1 - exp(-x)) / (1 + exp(-x)), in (-1, 1), as tanh(x / 2), which does not overflow.

    Examples:
        >>> squash(torch.tensor([0.0, 100.0])).tolist()
        [0.0, 1.0]
    """
    return torch.tanh(x / 2)


class Filters(nn.Module):
    """Filters of a DCT spectrum: fixed bands plus squashed learnt ones.

    The learnt ones start as noise of standard deviation `spread`.

    Shapes: forward() -> (bands, size, size).
    """

    base: Tensor

    def __init__(
        self, size: int, ends: tuple[float, ...], spread: float = 0.0, share: str = "diagonal"
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("base", band_filters(size, ends, share), persistent=False)
        self.learnt = nn.Parameter(spread * torch.randn_like(self.base))

    def forward(self) -> Tensor:
        return self.base + squash(self.learnt)


class Decomposition(nn.Module):
    """FAD, frequency-aware decomposition: the part of an image in each band, as images.

    Shapes: (n, 1, size, size) -> (n, 3, size, size). With filters that are not learnt yet, the parts sum to the image.
    """

    dct: Tensor

    def __init__(self, size: int, options: F3NetOptions = DEFAULT) -> None:
        super().__init__()
        self.register_buffer("dct", dct_matrix(size), persistent=False)
        self.filters = Filters(size, options.fad_bands, share=options.fad_share)

    def forward(self, images: Tensor) -> Tensor:
        spectrum = self.dct @ images @ self.dct.T
        return self.dct.T @ (spectrum * self.filters()) @ self.dct


class LocalStatistics(nn.Module):
    """LFS, local frequency statistics: the energy of each band in a sliding window.

    It is `log10 Σ |D(window) ⊙ filter|`.

    Shapes: (n, 1, H, W) -> (n, M, H // 2, W // 2). The image is mirrored at its rim by 4 pixels.
    """

    basis: Tensor

    def __init__(self, options: F3NetOptions = DEFAULT) -> None:
        super().__init__()
        self.options = options
        window, bands = options.window, options.bands
        matrix = dct_matrix(window)
        # (100, 1, 10, 10): convolving with the products of two cosines gives the windows' coefficients at once.
        basis = torch.einsum("ui,vj->uvij", matrix, matrix).reshape(-1, 1, window, window)
        self.register_buffer("basis", basis, persistent=False)
        # At exactly 0, as outside a fixed band, an absolute value has no slope and a filter would never learn.
        self.filters = Filters(window, tuple(band / bands for band in range(bands + 1)), spread=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        rim, step = (self.options.window - self.options.step) // 2, self.options.step
        coefficients = F.conv2d(F.pad(images, (rim,) * 4, mode="reflect"), self.basis, stride=step)
        # |a·h| = |a|·|h|: the sums over a band are a 1×1 convolution of the absolute coefficients.
        sums = F.conv2d(coefficients.abs(), self.filters().abs().reshape(self.options.bands, -1, 1, 1))
        return torch.log10(sums + FLOOR)


class MixBlock(nn.Module):
    """Cross-attention between the branches: each place of one attends to similar places of the other.

    The affinity of a place of FAD and one of LFS is the scaled product of two 1×1 convolutions; a softmax over the
    other branch's places makes weights of it. What is taken up is multiplied by a learnt factor for each channel, which
    starts at 0, so that the branches start with the features that their pretrained weights give.

    Shapes: (n, c, h, w), (n, c, h', w') -> the same.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.gate_fad = nn.Parameter(torch.zeros(channels, 1, 1))
        self.gate_lfs = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, fad: Tensor, lfs: Tensor) -> tuple[Tensor, Tensor]:
        query, key = self.query(fad).flatten(2), self.key(lfs).flatten(2)
        affinity = query.transpose(1, 2) @ key / math.sqrt(query.shape[1])  # (n, places of fad, places of lfs)
        to_fad = lfs.flatten(2) @ affinity.softmax(2).transpose(1, 2)
        to_lfs = fad.flatten(2) @ affinity.softmax(1)
        return fad + self.gate_fad * to_fad.view(fad.shape), lfs + self.gate_lfs * to_lfs.view(lfs.shape)


class F3Net(nn.Module):
    """Two backbones, on FAD's parts and on LFS's statistics, joined twice on the way, and one classifier.

    Images (n, 1, size, size) in [0, 1] -> scores (n,), logits of fake.

    Stated in the paper: FAD's bands, the squashed learnt filters, LFS's window, step, six bands and logarithm, two
    Xceptions with ImageNet weights, MixBlocks after blocks 7 and 12, one classifier. Left open, and taken here:

    - Gray images: one channel, hence 3 parts and 6 statistics.
    - A band is a stripe along u + v = constant in the spectrum. "The first 1/16 of the spectrum" is read as 1/16 of its
      area: at 224 px the low band is u + v < 80, as in the public implementations. Relative to the greatest u + v
      (option `fad_share=diagonal`) it would be u + v < 28, relative to the side (`side`) u + v < 14.
    - The learnt filters start at 0, LFS's next to it.
    - FAD's stem uses the pretrained gray kernel for each part. The branch starts as the plain backbone.
    - LFS's map has half the image's side (at a step of 2), so its stem has stride 1 and the branches' maps are alike
      in size. Its kernels are the gray ones too, and it is not normalised: the batch normalisation after the stem does
      that.
    - The form of the attention (see `MixBlock`); where other backbones are mixed (see `did.rivals.cutting.cut`).
    - The fusion: average pooling of each branch, concatenation and one linear layer, with one logit for two classes.

    Args:
        backbone: timm's name; the paper's is legacy_xception.
        pretrained: see `did.method.backbones.Backbone`.
        image_size: side of the images; FAD's filters have as many places.
        machine: how both branches compute in training.
        options: bands, windows and readings.

    Raises:
        DidError: As `did.method.backbones.Backbone` and `did.rivals.cutting.cut`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        pretrained: str = "none",
        image_size: int = 224,
        machine: Machine = PLAIN,
        options: F3NetOptions = DEFAULT,
    ) -> None:
        super().__init__()
        self.machine, self.in_evaluation = machine, PLAIN
        fad, lfs = Backbone(backbone, pretrained), Backbone(backbone, pretrained)
        self.decomposition = Decomposition(image_size, options)
        self.statistics = LocalStatistics(options)
        self.register_buffer("mean", fad.mean, persistent=False)
        self.register_buffer("std", fad.std, persistent=False)
        widen(fad, len(options.fad_bands) - 1)
        widen(lfs, options.bands, stride=2 // options.step)
        self.fad, self.lfs = nn.ModuleList(cut(fad)), nn.ModuleList(cut(lfs))
        self.mix = nn.ModuleList(MixBlock(channels, options.reduction) for channels in _widths(self.fad))
        self.classifier = nn.Linear(fad.channels + lfs.channels, 1)
        if machine.compile:
            for part in [*self.fad, *self.lfs]:
                part.compile()

    def forward(self, images: Tensor) -> Tensor:
        machine = self.machine if self.training else self.in_evaluation
        return self.classifier(machine.run(self._pooled, images)).squeeze(1)

    def _pooled(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):  # 8 bits are too few for a spectrum
            fad, lfs = self.decomposition((images - self.mean) / self.std), self.statistics(images)
        fad, lfs = self._part(self.fad[0], fad), self._part(self.lfs[0], lfs)
        for number, mix in enumerate(self.mix, start=1):
            fad, lfs = mix(fad, lfs)
            fad, lfs = self._part(self.fad[number], fad), self._part(self.lfs[number], lfs)
        return torch.cat([fad.mean((2, 3)), lfs.mean((2, 3))], dim=1)

    def _part(self, part: nn.Module, x: Tensor) -> Tensor:
        again = self.machine.recompute and self.training
        return checkpoint(part, x, use_reentrant=False) if again else part(x)


def _widths(parts: nn.ModuleList) -> list[int]:
    """Return the numbers of channels at the two cuts."""
    widths, x = [], torch.zeros(1, next(parts.parameters()).shape[1], 64, 64)
    with torch.no_grad(), evaluating(parts):
        for part in parts[:2]:
            x = part(x)
            widths.append(x.shape[1])
    return widths


@register_task("f3net")
class F3NetTask(Task):
    """F3-Net with binary cross-entropy, trained like the other rivals: Adam at the rates of DID.

    Below preset `paper` its own recipe (SGD with a cosine schedule) is not followed, so that rows of one table differ
    in the model only.
    """

    Options = F3NetOptions
    version = 1  # since bands are shares of the spectrum's area
    model: F3Net

    def __init__(self, settings: Settings, num_domains: int = 2, options: F3NetOptions | None = None) -> None:
        super().__init__(settings, num_domains, options)
        s = settings
        self.model = F3Net(s.backbone, s.pretrained, s.image_size, Machine.of(s), self.options)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the loss.

        `details` also logs what has been learnt so far: the mean absolute values of the squashed filters and of the
        MixBlocks' weights, which are close to 0 at the start.
        """
        scores, labels = self.gather(self.model(batch["image"])), self.gather(batch["label"])
        terms = {"bce": F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype))}
        return Step(terms, self._details() if details else {})

    def _details(self) -> dict[str, Tensor]:
        m = self.model
        gates = torch.cat([gate.flatten() for name, gate in m.mix.named_parameters() if "gate" in name])
        return {
            "FAD filters": squash(m.decomposition.filters.learnt).abs().mean(),
            "LFS filters": squash(m.statistics.filters.learnt).abs().mean(),
            "gates": gates.abs().mean(),
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups: backbones (G) at η_θ; filters (F), MixBlocks (M), classifier (C) at C's rate."""
        m, rate = self.model, self.settings.head_rate
        return self.groups(
            G=([m.fad, m.lfs], 1.0), F=([m.decomposition, m.statistics], rate), M=([m.mix], rate),
            C=([m.classifier], rate),
        )  # fmt: skip
