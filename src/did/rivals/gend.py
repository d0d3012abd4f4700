"""The GenD recipe: only the norms' affine parameters and a head on normalised features are trained.

Source: Yermakov, Cech, Matas and Fritz (2025), "Deepfake detection that generalizes across benchmarks",
arXiv:2508.06248. There the network is CLIP ViT-L/14 or another foundation model; here it is the table's backbone, so
that this row shows the recipe and not the network. Written from the description; no other implementation was used.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.method.backbones import Backbone, Machine
from did.settings import Settings
from did.task import Step, Task, Wants, register_task

#: Weights of the losses besides cross-entropy, and the rates at the start and the end.
UNIFORMITY, ALIGNMENT = 0.5, 0.1
RATE, LAST_RATE = 3e-4, 1e-6
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def uniformity(features: Tensor) -> Tensor:
    """Compute log of the mean of exp(-2 ‖z_i - z_j‖²) over all pairs i < j: low if features are spread evenly.

    Args:
        features: (n, d), each of length 1; n at least 2.

    Returns:
        A scalar, at most 0; the mean is kept above 1e-6.

    Source: Wang and Isola (2020), "Understanding contrastive representation learning through alignment and uniformity
    on the hypersphere", ICML.

    Examples:
        >>> round(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item(), 3)  # exp(-2 · 4)
        -8.0
    """
    return torch.pdist(features).square().mul(-2).exp().mean().clamp(min=1e-6).log()


def alignment(features: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean of ‖z_i - z_j‖² over the pairs i < j of one class; 0 if there is no such pair.

    Args:
        features: (n, d).
        labels: (n,).

    Examples:
        >>> alignment(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([1, 1, 0])).item()
        2.0
    """
    first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
    same = labels[first] == labels[second]
    squares = (features[first] - features[second]).square().sum(1)
    return (squares * same).sum() / same.sum().clamp(min=1)


class GenDetector(nn.Module):
    """G with frozen kernels, pooling, L2 normalisation and a linear layer for two classes.

    RGB images (n, 3, H, W) in [0, 1] -> scores (n,), the logit of fake less that of real.

    Examples:
        >>> GenDetector(Backbone("test_efficientnet", in_chans=3))(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        for module in backbone.modules():
            if isinstance(module, _NORMS):
                module.requires_grad_(True)
        self.classifier = nn.Linear(int(backbone.channels), 2)  # type: ignore[arg-type]

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features, of length 1, (n, c)."""
        return F.normalize(self.backbone(images).mean((2, 3)), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        real, fake = self.classifier(self.features(images)).unbind(1)
        return fake - real


@register_task("gend")
class GenDTask(Task):
    """The GenD recipe on the table's backbone.

    Exact: what is trained, the head, the losses and their weights, the rates at both ends. Our readings: the backbone;
    Adam without weight decay; one cosine over the whole training instead of restarts every 10 epochs; batch
    normalisation uses the batch in training, as usual; augmentation is the settings'.
    """

    wants = Wants(channels=3)
    model: GenDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        backbone = Backbone(settings.backbone, settings.pretrained, in_chans=3, machine=Machine.of(settings))
        self.model = GenDetector(backbone)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute cross-entropy, uniformity and alignment of the whole batch."""
        features, labels = self.gather(self.model.features(batch["image"])), self.gather(batch["label"])
        terms = {
            "ce": F.cross_entropy(self.model.classifier(features), labels),
            "uniformity": UNIFORMITY * uniformity(features),
            "alignment": ALIGNMENT * alignment(features, labels),
        }
        return Step(terms, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group, of what is trained, at the authors' rate and without weight decay."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return [{"name": "all", "params": trained, "lr": RATE, "weight_decay": 0.0}]

    def rate_factor(self, group: str, progress: float) -> float:
        """Return the factor of the rate: half a cosine from 1 to `LAST_RATE` / `RATE`."""
        last = LAST_RATE / RATE
        return last + (1 - last) * (1 + math.cos(math.pi * progress)) / 2
