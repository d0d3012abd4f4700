"""The rivals, behind the interface of `did.method.task.DIDTask`. So far: the backbone with binary cross-entropy."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from did.method.backbones import Backbone
from did.settings import Settings
from did.task import Step, machine
from did.utils.distributed import gather


class PlainDetector(nn.Module):
    """G, global average pooling and one linear layer. Images (n, 1, H, W) in [0, 1] -> scores (n,)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(int(backbone.channels), 1)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.backbone(images).mean((2, 3))).squeeze(1)


class BCETask(nn.Module):
    """The paper's "BCE" rows (Table 3): the backbone fine-tuned with binary cross-entropy, at the rates of DID."""

    def __init__(self, settings: Settings, num_domains: int = 2) -> None:
        super().__init__()
        self.settings = settings
        self.model = PlainDetector(Backbone(settings.backbone, settings.pretrained, machine=machine(settings)))

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """As `DIDTask.forward`; progress, seed and details change nothing here."""
        scores, labels = gather(self.model(batch["image"])), gather(batch["label"])
        return Step({"bce": F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype))}, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's groups: G at η_θ, the classifier at the rate of C."""
        s, m = self.settings, self.model
        return [
            {"name": "G", "params": list(m.backbone.parameters()), "lr": s.lr},
            {"name": "C", "params": list(m.classifier.parameters()), "lr": s.lr * s.head_rate},
        ]

    def rate_factor(self, group: str, progress: float) -> float:
        """What a group's rate is multiplied by: always 1."""
        return 1.0

    def detector(self) -> nn.Module:
        """The test-time graph: images -> scores."""
        return self.model
