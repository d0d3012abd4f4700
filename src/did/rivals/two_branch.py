"""Two Branch: what a Laplacian of Gaussian leaves of the features, beside the features; several frames; one centre.

Source: Masi, Killekar, Mascarenhas, Gurudatt and AbdAlmageed (2020), "Two-branch recurrent network for isolating
deepfakes in videos", ECCV, arXiv:2008.03412. Written from descriptions of it and of its later uses; no other
implementation was used.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.errors import DidError
from did.method.backbones import PLAIN, Backbone, Machine, evaluating
from did.rivals.cutting import cut_at
from did.settings import Settings
from did.task import Step, Task, Wants, register_task
from did.utils import distributed

#: Frames of a video that are seen together, and units of the recurrent head in each direction.
FRAMES, HIDDEN = 3, 64
#: Scales of the smoothing, and the side of its kernel.
SCALES, KERNEL = (2, 4, 8), 3
#: Radius beyond which fakes are pushed, over the radius R of real faces, and the one within which reals are free, over
#: the first: 1.638 and .042 in later uses of the loss.
BEYOND, WITHIN = 2.5, 0.042 / 1.638
#: Distance over R above which a face counts as fake.
THRESHOLD = 1.85
#: Real faces from which centre and radius are measured, and the share of them that lies inside the radius.
MEASURED, INSIDE = 256, 0.95


def gaussian(sigma: float, side: int = KERNEL) -> Tensor:
    """Build a Gaussian kernel that sums to 1, (side, side).

    Examples:
        >>> round(gaussian(1.0).sum().item(), 4)
        1.0
    """
    at = torch.arange(side) - (side - 1) / 2
    row = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = row[:, None] * row
    return kernel / kernel.sum()


class LaplacianOfGaussian(nn.Module):
    """Keep of each map what smoothing and shrinking take away, at several scales, and join them: c -> c maps.

    At scale s a map is smoothed with σ = s, shrunk s times and grown again; the map less that is its detail.
    """

    kernels: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernels", torch.stack([gaussian(scale) for scale in SCALES]), persistent=False)
        self.join = nn.Sequential(
            nn.Conv2d(len(SCALES) * channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        nn.init.kaiming_normal_(self.join[0].weight)  # type: ignore[arg-type]

    def details(self, x: Tensor) -> list[Tensor]:
        """Return the detail of the maps at each scale, each of their shape."""
        found = []
        for scale, kernel in zip(SCALES, self.kernels, strict=True):
            smooth = F.conv2d(x, kernel.expand(x.shape[1], 1, KERNEL, KERNEL), groups=x.shape[1])
            side = [max(1, size // scale) for size in x.shape[2:]]
            small = F.interpolate(smooth, size=side, mode="bilinear")
            found.append(x - F.interpolate(small, size=x.shape[2:], mode="bilinear"))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat(self.details(x), 1))


def isolating_loss(distances: Tensor, labels: Tensor, within: float | Tensor, beyond: float | Tensor) -> Tensor:
    """Compute the isolating loss: real faces inside a small radius about a fixed centre, fakes outside a large one.

    Args:
        distances: (n,) from the centre.
        labels: (n,), 1 = fake.
        within, beyond: the radii.

    Returns:
        The mean of max(0, d - within) over reals plus that of max(0, beyond - d) over fakes, a scalar.

    Examples:
        >>> isolating_loss(torch.tensor([0.5, 3.0, 1.0]), torch.tensor([0, 0, 1]), 1.0, 2.0).item()
        2.0
    """
    fake = labels == 1
    near, far = F.relu(distances - within), F.relu(beyond - distances)
    return (near * ~fake).sum() / (~fake).sum().clamp(min=1) + (far * fake).sum() / fake.sum().clamp(min=1)


class TwoBranchDetector(nn.Module):
    """The backbone with a second branch at stride 8, and a recurrent head over frames.

    Clips (n, `FRAMES`, 3, H, W) in [0, 1] -> scores (n,): the distance from the centre, over R, less `THRESHOLD`.

    Examples:
        >>> TwoBranchDetector(Backbone("test_efficientnet", in_chans=3)).eval()(torch.rand(2, 3, 3, 64, 64)).shape
        torch.Size([2])
    """

    mean: Tensor
    std: Tensor
    centre: Tensor
    radius: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.register_buffer("mean", backbone.mean, persistent=False)
        self.register_buffer("std", backbone.std, persistent=False)
        self.backbone = nn.ModuleList(cut_at(backbone, (4, 8)))
        with torch.no_grad(), evaluating(self.backbone):
            channels = self.backbone[0](torch.zeros(1, 3, 64, 64)).shape[1]
        self.detail = nn.Sequential(LaplacianOfGaussian(channels), copy.deepcopy(self.backbone[1]))
        self.recurrent = nn.GRU(backbone.channels, HIDDEN, batch_first=True, bidirectional=True)
        self.register_buffer("centre", torch.zeros(2 * HIDDEN))
        self.register_buffer("radius", torch.ones(()))

    def features(self, clips: Tensor) -> Tensor:
        """Return the last state forwards beside the first one backwards, (n, 2 · `HIDDEN`)."""
        shared = self.backbone[0]((clips.flatten(0, 1) - self.mean) / self.std)
        joined = self.backbone[1](shared) + self.detail(shared)
        pooled = self.backbone[2](joined).mean((2, 3)).unflatten(0, clips.shape[:2])
        _, last = self.recurrent(pooled)
        return torch.cat([last[0], last[1]], 1)

    def distances(self, clips: Tensor) -> Tensor:
        """Return the distances from the centre, (n,)."""
        return (self.features(clips) - self.centre).norm(dim=1)

    def forward(self, clips: Tensor) -> Tensor:
        return self.distances(clips) / self.radius - THRESHOLD


@register_task("two_branch")
class TwoBranchTask(Task):
    """Two Branch on the table's backbone, with the isolating loss.

    Exact: the two branches, the Laplacian of Gaussian with its scales, the loss, a centre and radii that stay as the
    untrained network gives them, the distance as the score. Our readings: the backbone, and where it is split (stride
    4) and joined again (added at stride 8); gated units instead of LSTM, 64 in each direction; clips of three frames
    around each frame, of stills the same picture three times; the radius holds 95% of 256 real faces, and the others
    are in proportion to it, as in later uses; the rates are the table's.

    Raises:
        DidError: If the backbone cannot be cut, or the settings of the machine are not the plain ones.
    """

    wants = Wants(channels=3, frames=FRAMES)
    model: TwoBranchDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        if Machine.of(settings) != PLAIN:
            raise DidError("two_branch computes plainly: leave out precision, accumulate, recompute and compile")
        self.model = TwoBranchDetector(Backbone(settings.backbone, settings.pretrained, in_chans=3))

    @torch.no_grad()
    def begin(self, train: Any) -> None:
        """Measure centre and radius on real training faces with the untrained network."""
        rng = np.random.default_rng(self.settings.seed)
        real = np.flatnonzero(train.labels == 0)
        rows = rng.choice(real, min(MEASURED, len(real)), replace=False)
        m = self.model
        with evaluating(m):
            found = torch.cat([
                m.features(torch.stack([train[int(row)]["image"] for row in part]).to(distributed.device_of(m)))
                for part in np.array_split(rows, -(-len(rows) // 32))
            ])  # fmt: skip
        m.centre.copy_(found.mean(0))
        m.radius.copy_((found - m.centre).norm(dim=1).quantile(INSIDE).clamp(min=1e-6))

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the isolating loss, in units of R."""
        distances = self.gather(self.model.distances(batch["image"])) / self.model.radius
        loss = isolating_loss(distances, self.gather(batch["label"]), WITHIN * BEYOND, BEYOND)
        return Step({"isolating": loss}, {"radius": self.model.radius})
