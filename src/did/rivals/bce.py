"""The plain backbone with binary cross-entropy: the paper's "BCE" rows."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from did.method.backbones import Backbone, Machine
from did.settings import Settings
from did.task import Step, Task, register_task


class PlainDetector(nn.Module):
    """G, global average pooling and one linear layer. Images (n, 1, H, W) in [0, 1] -> scores (n,).

    Examples:
        >>> import torch
        >>> PlainDetector(Backbone("test_efficientnet"))(torch.rand(2, 1, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(int(backbone.channels), 1)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.backbone(images).mean((2, 3))).squeeze(1)


@register_task("bce")
class BCETask(Task):
    """The paper's "BCE" rows (Table 3): the backbone fine-tuned with binary cross-entropy, at the rates of DID."""

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        self.model = PlainDetector(Backbone(settings.backbone, settings.pretrained, machine=Machine.of(settings)))

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        scores, labels = self.gather(self.model(batch["image"])), self.gather(batch["label"])
        return Step({"bce": F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype))}, {})
