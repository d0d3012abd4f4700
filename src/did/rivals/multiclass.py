"""(k + 1)-way cross-entropy on the plain backbone: a control for DID that names the methods and does nothing else.

DID's domain head learns which method forged a face. If that knowledge alone explains DID's gain, this control has it
too, without attention maps, without T and without the AUC loss.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from did.method.backbones import Backbone, Machine
from did.settings import Settings
from did.task import DomainGraph, Step, Task, register_task


class MulticlassDetector(nn.Module):
    """G, global average pooling and one logit per domain. Images (n, 1, H, W) in [0, 1] -> scores (n,).

    The score is the log-odds that the face is of any domain but the first, which is real.

    Examples:
        >>> import torch
        >>> MulticlassDetector(Backbone("test_efficientnet"), 5)(torch.rand(2, 1, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, backbone: nn.Module, num_domains: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(int(backbone.channels), num_domains)  # type: ignore[arg-type]

    def domains(self, images: Tensor) -> Tensor:
        """Return the logits of the domains, (n, k + 1)."""
        return self.classifier(self.backbone(images).mean((2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.domains(images)
        return logits[:, 1:].logsumexp(1) - logits[:, 0]


@register_task("multiclass")
class MulticlassTask(Task):
    """The backbone fine-tuned with cross-entropy over the k + 1 domains, at the rates of DID."""

    model: MulticlassDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: object = None) -> None:
        super().__init__(settings, num_domains, options)
        backbone = Backbone(settings.backbone, settings.pretrained, machine=Machine.of(settings))
        self.model = MulticlassDetector(backbone, num_domains)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the cross-entropy of the domains."""
        logits, domains = self.gather(self.model.domains(batch["image"])), self.gather(batch["domain"])
        return Step({"dom": F.cross_entropy(logits, domains)}, {})

    def domain_graph(self) -> nn.Module:
        """Return the graph images -> logits of the domains (n, k + 1)."""
        return DomainGraph(self.model)
