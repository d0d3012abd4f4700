"""NoiseDF: the noise of the face against the noise around it, behind the interface of `did.task.Task`.

Source: Wang and Chow (2023), "Noise based deepfake detection via multi-head relative-interaction", AAAI. The denoiser
is RIDNet (Anwar and Barnes, 2019, "Real image denoising with feature attention", ICCV). Written from a description of
layers and constants; no other implementation was used.
"""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.settings import Settings
from did.task import Step, Task, Wants, register_task

#: Side of both squares, of the map of tokens, and the width of a token.
SIDE, GRID, TOKEN = 64, 16, 64
HEADS = 8
#: Margin of the wider crop, whose corners are the surroundings: its side is 2.6 times the face's height.
MARGIN = 1.6


@dataclasses.dataclass(frozen=True)
class NoiseDFOptions:
    """Sizes of the denoiser.

    Attributes:
        blocks: of the denoiser.
        width: its channels.
    """

    blocks: int = 4
    width: int = 64


def _conv(inputs: int, outputs: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)


class Block(nn.Module):
    """RIDNet's block: dilated branches merged, two residual parts, and attention over channels; c -> c maps."""

    def __init__(self, c: int) -> None:
        super().__init__()
        relu = nn.ReLU
        self.near = nn.Sequential(_conv(c, c, 1), relu(), _conv(c, c, 2), relu())
        self.far = nn.Sequential(_conv(c, c, 3), relu(), _conv(c, c, 4), relu())
        self.merge = nn.Sequential(_conv(2 * c, c), relu())
        self.first = nn.Sequential(_conv(c, c), relu(), _conv(c, c))
        self.second = nn.Sequential(_conv(c, c), relu(), _conv(c, c), relu(), nn.Conv2d(c, c, 1))
        self.weights = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c // 16, 1), relu(),
                                     nn.Conv2d(c // 16, c, 1), nn.Sigmoid())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.merge(torch.cat([self.near(x), self.far(x)], 1))
        x = F.relu(x + self.first(x))
        x = F.relu(x + self.second(x))
        return self.weights(x) * x


class Denoiser(nn.Module):
    """RIDNet: images -> their noise. (n, 3, H, W) in [0, 255] -> the same shape.

    The noise is the denoised image less the image: what the network adds.
    """

    mean: Tensor

    def __init__(self, options: NoiseDFOptions) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor([0.4488, 0.4371, 0.4040]).view(3, 1, 1), persistent=False)
        self.head = nn.Sequential(_conv(3, options.width), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(options.width) for _ in range(options.blocks)))
        self.tail = _conv(options.width, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.blocks(self.head(images - self.mean))) + self.mean


class Interaction(nn.Module):
    """Multi-head relative interaction: how each token of the face meets those of its surroundings.

    Each head of the face meets the sum of all heads of the surroundings, so that the attention is over tokens.

    Shapes: two times (n, 64, 16, 16) -> (n, 256, 64).
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        wide = HEADS * TOKEN

        def tokens() -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(TOKEN, TOKEN, 3, padding=1, groups=TOKEN, bias=False),
                nn.Conv2d(TOKEN, TOKEN, 1, bias=False), nn.Conv2d(TOKEN, wide, 1), nn.BatchNorm2d(wide),
            )  # fmt: skip

        self.face, self.around = tokens(), tokens()
        self.narrow = nn.Sequential(nn.Linear(GRID**2, TOKEN), nn.GELU(), nn.Dropout(dropout))
        self.norm = nn.BatchNorm2d(HEADS)
        self.join = nn.Sequential(nn.Linear(wide, TOKEN), nn.Dropout(dropout))

    def energy(self, face: Tensor, around: Tensor) -> Tensor:
        """Return the scaled products of the tokens, (n, heads, 256, 256)."""
        a, b = (part(maps).unflatten(1, (HEADS, TOKEN)).flatten(3).transpose(2, 3)
                for part, maps in ((self.face, face), (self.around, around)))  # fmt: skip
        return a @ b.sum(1, keepdim=True).transpose(2, 3) / math.sqrt(HEADS * TOKEN)

    def forward(self, face: Tensor, around: Tensor) -> Tensor:
        met = self.norm(self.narrow(self.energy(face, around).softmax(3)))
        return self.join(met.transpose(1, 2).flatten(2))


class NoiseDFDetector(nn.Module):
    """One denoiser for both squares, tokens of their noise, their interaction, and a head.

    RGB images and wider crops, each (n, 3, H, W) in [0, 1] -> scores (n,), logits of fake. In the authors' sample
    folders the label 1 is *real*.

    Examples:
        >>> model = NoiseDFDetector().eval()
        >>> model(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, options: NoiseDFOptions | None = None, dropout: float = 0.4) -> None:
        super().__init__()
        self.denoiser = Denoiser(options or NoiseDFOptions())
        self.tokens = nn.Sequential(nn.Conv2d(3, 3, 7, stride=4, padding=2, groups=3, bias=False),
                                    nn.Conv2d(3, TOKEN, 1, bias=False))  # fmt: skip
        self.norm = nn.LayerNorm(TOKEN)
        self.interaction = Interaction(dropout)
        self.first = nn.Sequential(nn.Linear(GRID**2, TOKEN), nn.GELU(), nn.Dropout(dropout))
        self.last = nn.Sequential(nn.Linear(TOKEN**2, TOKEN), nn.GELU(), nn.Linear(TOKEN, 1))

    def noise(self, images: Tensor) -> Tensor:
        """Return the tokens of a square's noise, (n, 64, 16, 16)."""
        small = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        tokens = self.tokens(self.denoiser(255 * small))
        return self.norm(tokens.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def forward(self, images: Tensor, context: Tensor) -> Tensor:
        met = self.interaction(self.noise(images), self.noise(surroundings(context)))
        return self.last(self.first(met.transpose(1, 2)).flatten(1)).squeeze(1)


def surroundings(context: Tensor) -> Tensor:
    """Join the four corners of wider crops, each a quarter of the side, to squares without the face.

    Shapes: (n, 3, H, W) -> (n, 3, 2 (H // 4), 2 (W // 4)).

    Examples:
        >>> surroundings(torch.arange(16.0).view(1, 1, 4, 4)).flatten().tolist()
        [0.0, 3.0, 12.0, 15.0]
    """
    h, w = context.shape[2] // 4, context.shape[3] // 4
    rows = torch.cat([context[:, :, :h], context[:, :, -h:]], 2)
    return torch.cat([rows[..., :w], rows[..., -w:]], 3)


@register_task("noisedf")
class NoiseDFTask(Task):
    """NoiseDF with binary cross-entropy.

    Exact: all layers, 1.906 million parameters, the constants. Our readings: RGB; the surroundings are the corners of a
    wider crop, where the authors cut a square beside the face; any frame, not only key frames; the denoiser starts at
    random, because its published weights are in no package; the rates are the table's.
    """

    Options = NoiseDFOptions
    wants = Wants(channels=3, context=MARGIN)
    model: NoiseDFDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        self.model = NoiseDFDetector(self.options)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute binary cross-entropy of the scores."""
        scores = self.gather(self.model(batch["image"], batch["context"]))
        labels = self.gather(batch["label"]).to(scores.dtype)
        return Step({"bce": F.binary_cross_entropy_with_logits(scores, labels)}, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group, C: there is no backbone."""
        return self.groups()
