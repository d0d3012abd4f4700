"""Multi-task: an autoencoder that classifies, segments and reconstructs, behind the interface of `did.task.Task`.

Source: Nguyen, Fang, Yamagishi and Echizen (2019), "Multi-task learning for detecting and segmenting manipulated
facial images and videos", BTAS. Layers, losses and rates are those of the authors' published code (BSD-3-Clause), of
which facts were used and no line.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.errors import DidError
from did.settings import Settings
from did.task import Step, Task, Wants, register_task

#: Maps of the latent code: the first half is active for real faces, the second for fakes.
HALF = 64
#: Side of the image over that of the code.
STRIDE = 16


def _layers(widths: tuple[int, ...], strides: tuple[int, ...], kind: Any) -> nn.Sequential:
    """Build 3×3 convolutions (or transposed ones), each followed by batch normalisation and ReLU."""
    found: list[nn.Module] = []
    for inputs, outputs, stride in zip(widths[:-1], widths[1:], strides, strict=True):
        more = {"output_padding": stride - 1} if kind is nn.ConvTranspose2d else {}
        found += [kind(inputs, outputs, 3, stride, 1, **more), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*found)


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 0.5, 0.02)
        nn.init.zeros_(module.bias)


class MultiTaskDetector(nn.Module):
    """The encoder and three decoders. RGB images (n, 3, H, W) in [0, 1] -> scores (n,), logits of fake.

    The score is the activation of the half for fakes less that of the half for real faces. In the authors' code the
    second half is for *real* faces, because their folders are numbered by name ("altered", "original").

    Examples:
        >>> model = MultiTaskDetector().eval()
        >>> model(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
        >>> sum(p.numel() for p in model.parameters())
        304949
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)
        up = nn.ConvTranspose2d
        self.encoder = _layers((3, 8, 8, 16, 16, 32, 32, 64, 64, 128), (1, 2, 1, 2, 1, 2, 1, 2, 1), nn.Conv2d)
        self.shared = _layers((128, 64, 64, 32, 32), (1, 2, 1, 2), up)
        self.segmentation, self.reconstruction = (
            nn.Sequential(*_layers((32, 16, 16, 8, 8), (1, 2, 1, 2), up), up(8, outputs, 3, 1, 1)) for outputs in (2, 3)
        )
        for part in (self.encoder, self.segmentation, self.reconstruction):
            part.apply(_start)

    def normalised(self, images: Tensor) -> Tensor:
        """Return the images as the encoder sees them, and as they are to be reconstructed."""
        return (images - self.mean) / self.std

    def code(self, images: Tensor) -> Tensor:
        """Return the latent code in its two halves, (n, 2, 64, H / 16, W / 16)."""
        return self.encoder(self.normalised(images)).unflatten(1, (2, HALF))

    @staticmethod
    def activations(code: Tensor) -> Tensor:
        """Return the mean absolute value of each half, (n, 2)."""
        return code.abs().mean((2, 3, 4))

    def decode(self, code: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        """Decode one half of each code; the other is set to 0.

        Args:
            code: (n, 2, 64, h, w).
            half: (n,) which one, 0 or 1.

        Returns:
            logits of the pixels' classes (n, 2, H, W), and the reconstruction (n, 3, H, W) in [-1, 1].
        """
        kept = F.one_hot(half, 2).to(code.dtype)[:, :, None, None, None] * code
        shared = self.shared(kept.flatten(1, 2))
        return self.segmentation(shared), self.reconstruction(shared).tanh()

    def segment(self, images: Tensor) -> Tensor:
        """Return the probability that each pixel is forged, (n, H, W), from the half that is more active."""
        code = self.code(images)
        return self.decode(code, self.activations(code).argmax(1))[0].softmax(1)[:, 1]

    def forward(self, images: Tensor) -> Tensor:
        real, fake = self.activations(self.code(images)).unbind(1)
        return fake - real


@register_task("multi_task")
class MultiTask(Task):
    """The rival "Multi-task" of Table 1: three losses of weight 1, at the authors' rates.

    Exact: layers, number of parameters, losses, Adam's rate and epsilon. Our readings: the pixels' cross-entropy is on
    logits (the authors' code applies a softmax twice); the crop is the project's, at its size and margin; the batch and
    the number of iterations are the settings'. It wants masks, which stand-ins have.

    Raises:
        DidError: If the images' side is not a multiple of 16.
    """

    wants = Wants(channels=3, masks=True)
    model: MultiTaskDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        if settings.image_size % STRIDE:
            raise DidError(f"multi_task takes an image_size that is a multiple of {STRIDE}, not {settings.image_size}")
        self.model = MultiTaskDetector()

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the losses: activation, segmentation and reconstruction, each a mean over the batch.

        The half of the true class is decoded.
        """
        images, labels = batch["image"], batch["label"]
        code = self.model.code(images)
        pixels, again = self.model.decode(code, labels)
        mask = (batch["mask"][:, 0] > 0.5).long()
        wanted = F.one_hot(labels, 2).to(code.dtype)
        each = torch.stack([
            (self.model.activations(code) - wanted).abs().sum(1),
            F.cross_entropy(pixels, mask, reduction="none").mean((1, 2)),
            (again - self.model.normalised(images)).square().mean((1, 2, 3)),
        ], 1)  # fmt: skip
        return Step(dict(zip(("act", "seg", "rec"), self.gather(each).mean(0), strict=True)), {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group at the authors' rate, 1e-3, whatever the settings' is."""
        return [{"name": "all", "params": list(self.parameters()), "lr": 1e-3, "eps": 1e-7}]
