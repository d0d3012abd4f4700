"""DIRE-small: how badly a diffusion model of real faces rebuilds an image, as an image to classify.

Source: Wang, Bao, Zhou, Wang, Hu, Chen and Li (2023), "DIRE for diffusion-generated image detection", ICCV,
arXiv:2303.09295. There the diffusion model is one of 550 million parameters, trained on ImageNet at 256 px; its weights
are in no package. Here a small one learns from the real faces of the training split: hence the name. Written from a
description; no other implementation was used.
"""

import dataclasses
import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.errors import DidError
from did.method.backbones import Backbone, Machine
from did.settings import Settings
from did.task import Step, Task, Wants, register_task

#: Steps of the diffusion, and the rate of its network.
STEPS, RATE = 1000, 1e-3
#: Noisy versions of each real face in a step of the first stage.
VERSIONS = 4


@dataclasses.dataclass(frozen=True)
class DIREOptions:
    """Sizes of DIRE-small.

    Attributes:
        side: of the images that are rebuilt, in pixels; a multiple of 4.
        width: channels of the diffusion network at its full side; twice and four times as many below.
        passes: steps from the image to noise, and again from noise to the image.
    """

    side: int = 64
    width: int = 32
    passes: int = 20

    def __post_init__(self) -> None:
        if self.side < 16 or self.side % 4 or self.width < 8 or self.width % 8 or not 2 <= self.passes <= STEPS:
            raise DidError(
                f"side is {self.side}, width {self.width}, passes {self.passes}; side is a multiple of 4 from 16 up, "
                f"width a multiple of 8, passes 2 to {STEPS}"
            )


def kept(steps: int = STEPS) -> Tensor:
    """Return ᾱ_t, how much of an image's variance is left after t steps, (steps + 1,): from 1 to nearly 0.

    Source: Nichol and Dhariwal (2021), "Improved denoising diffusion probabilistic models" (the cosine schedule).

    Examples:
        >>> [round(x, 1) for x in kept(4).tolist()]
        [1.0, 0.8, 0.5, 0.1, 0.0]
    """
    t = torch.arange(steps + 1).double() / steps
    cosine = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
    return (cosine / cosine[0]).clamp(min=1e-4).float()


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.time = nn.Linear(time, outputs)
        self.second = nn.Sequential(nn.GroupNorm(8, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.skip(x) + self.second(self.first(x) + self.time(time)[:, :, None, None])


class _Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.attend = nn.MultiheadAttention(channels, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attend(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).view(x.shape)


class NoiseNet(nn.Module):
    """A U-Net of three resolutions: the noise in an image. (n, 3, s, s), t (n,) in [0, 1] -> (n, 3, s, s)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w, time = width, 4 * width
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.into = nn.Conv2d(3, w, 3, padding=1)
        self.down = nn.ModuleList([_Block(w, w, time), _Block(w, 2 * w, time), _Block(2 * w, 4 * w, time)])
        self.middle = _Attention(4 * w)
        self.up = nn.ModuleList([_Block(8 * w, 2 * w, time), _Block(4 * w, w, time), _Block(2 * w, w, time)])
        self.out = nn.Sequential(nn.GroupNorm(8, w), nn.SiLU(), nn.Conv2d(w, 3, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.width // 2
        waves = t[:, None] * 1000 * torch.exp(-math.log(10_000) * torch.arange(half, device=x.device) / half)
        time = self.time(torch.cat([waves.sin(), waves.cos()], 1))
        x, kept_maps = self.into(x), []
        for number, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if number else x, time)
            kept_maps.append(x)
        x = self.middle(x)
        for number, block in enumerate(self.up):
            x = block(torch.cat([x, kept_maps.pop()], 1), time)
            x = F.interpolate(x, scale_factor=2) if number < 2 else x
        return self.out(x)


class Diffusion(nn.Module):
    """A diffusion model of images (n, 3, s, s) in [-1, 1], and its deterministic steps (DDIM).

    Source: Song, Meng and Ermon (2021), "Denoising diffusion implicit models", arXiv:2010.02502.
    """

    kept: Tensor

    def __init__(self, options: DIREOptions) -> None:
        super().__init__()
        self.options = options
        self.network = NoiseNet(options.width)
        self.register_buffer("kept", kept(), persistent=False)

    def loss(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Compute the mean squared error of the noise that the network finds, at random steps."""
        t = torch.randint(1, STEPS + 1, (len(images),), generator=generator)
        noise = torch.randn(images.shape, generator=generator).to(images.device)
        left = self.kept[t.to(images.device)][:, None, None, None]
        mixed = left.sqrt() * images + (1 - left).sqrt() * noise
        return F.mse_loss(self.network(mixed, (t / STEPS).to(images.device)), noise)

    def step(self, x: Tensor, now: int, then: int) -> Tensor:
        """Move images from step `now` to step `then`, in either direction."""
        noise = self.network(x, torch.full_like(x[:, 0, 0, 0], max(now, 1) / STEPS))
        left, after = self.kept[now], self.kept[then]
        clean = ((x - (1 - left).sqrt() * noise) / left.sqrt()).clamp(-1, 1)
        return after.sqrt() * clean + (1 - after).sqrt() * noise

    def rebuilt(self, images: Tensor) -> Tensor:
        """Turn images into noise and back, by `passes` steps each way."""
        steps = torch.linspace(0, STEPS, self.options.passes + 1).round().int().tolist()
        x = images
        for now, then in itertools.pairwise([*steps, *steps[-2::-1]]):
            x = self.step(x, now, then)
        return x


class DIREDetector(nn.Module):
    """The diffusion model, and a classifier of the error with which it rebuilds an image.

    RGB images (n, 3, H, W) in [0, 1] -> scores (n,), logits of fake.

    Examples:
        >>> small = DIREOptions(side=16, width=8, passes=2)
        >>> DIREDetector(Backbone("test_efficientnet", in_chans=3), small).eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, backbone: nn.Module, options: DIREOptions | None = None) -> None:
        super().__init__()
        self.diffusion = Diffusion(options or DIREOptions())
        self.backbone = backbone
        self.classifier = nn.Linear(int(backbone.channels), 1)  # type: ignore[arg-type]

    def small(self, images: Tensor) -> Tensor:
        """Return the images at the diffusion's side, in [-1, 1]."""
        side = self.diffusion.options.side
        return 2 * F.interpolate(images, size=(side, side), mode="bilinear", antialias=True) - 1

    @torch.no_grad()
    def error(self, images: Tensor) -> Tensor:
        """Return DIRE, half the absolute difference of x and x', in [0, 1], (n, 3, side, side)."""
        x = self.small(images)
        return ((x - self.diffusion.rebuilt(x)).abs() / 2).clamp(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        error = F.interpolate(self.error(images), size=images.shape[2:], mode="bilinear")
        return self.classifier(self.backbone(error).mean((2, 3))).squeeze(1)


@register_task("dire")
class DIRETask(Task):
    """DIRE-small in one training: the diffusion model in the first half of the iterations, then the classifier.

    Exact: the error of a deterministic inversion and reconstruction, 20 steps each way; a classifier with one logit and
    binary cross-entropy. Our readings: the diffusion model, which is small and knows real faces of the training split
    alone; the cosine schedule; the backbone; the rates are the table's, and 1e-3 for the diffusion model. What the
    published model knows of images in general is not here: the row says what the recipe does, not that detector.
    """

    Options = DIREOptions
    wants = Wants(channels=3)
    model: DIREDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        backbone = Backbone(settings.backbone, settings.pretrained, in_chans=3, machine=Machine.of(settings))
        self.model = DIREDetector(backbone, self.options)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the loss of the stage that this share of the iterations is in.

        Raises:
            DidError: If a batch of the first stage has no real face.
        """
        images, labels = batch["image"], batch["label"]
        if progress < 0.5:
            real = self.model.small(images[labels == 0])
            if not len(real):
                raise DidError("dire takes batches with real faces: raise the batch size, or sampler=balanced")
            return Step({"noise": self.model.diffusion.loss(real.repeat(VERSIONS, 1, 1, 1),
                                                            torch.Generator().manual_seed(seed))}, {})  # fmt: skip
        scores = self.gather(self.model(images))
        labels = self.gather(labels).to(scores.dtype)
        return Step({"bce": F.binary_cross_entropy_with_logits(scores, labels)}, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups: the diffusion model at its own rate, the backbone at η_θ, the classifier at C's."""
        return self.groups(D=([self.model.diffusion], RATE / self.settings.lr), G=([self.model.backbone], 1.0))
