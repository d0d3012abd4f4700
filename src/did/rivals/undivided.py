"""Both of DID's heads on features that are never split: a control for the decomposition as a whole.

DID without A_df, so that C and C̄ both see I_X, with DID's losses L_cls and L_dom. T is left out too: it estimates how
much one part tells of the other, and here nothing is split. If DID is ahead of this, the split is what helps.
"""

import dataclasses
from typing import Any

from torch import Tensor, nn

from did.method.backbones import Backbone, Machine
from did.method.layers import Attention
from did.method.losses import classification_loss, domain_loss
from did.method.model import Head
from did.settings import Settings
from did.task import DomainGraph, Step, Task, register_task


class UndividedDetector(nn.Module):
    """G, and DID's two heads on its feature map I_X. Images (n, 1, H, W) in [0, 1] -> scores (n,).

    Args:
        backbone: with `channels`, gives the map I_X.
        num_domains: k + 1.
        hidden: hidden units of C and C̄.
        attention: A_dom, which then weights I_X for C̄; None: C̄ sees all of it.

    Examples:
        >>> import torch
        >>> UndividedDetector(Backbone("test_efficientnet"), 5, 16)(torch.rand(2, 1, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, backbone: nn.Module, num_domains: int, hidden: int, attention: nn.Module | None = None) -> None:
        super().__init__()
        channels = int(backbone.channels)  # type: ignore[arg-type]
        self.backbone = backbone
        self.domain_attention = attention
        self.classifier = Head(channels, 1, hidden, None)
        self.domain_classifier = Head(channels, num_domains, hidden, None)

    def domains(self, images: Tensor) -> Tensor:
        """Return the logits of the domains, (n, k + 1), of images (n, 1, H, W)."""
        return self.domains_of(self.backbone(images))

    def domains_of(self, features: Tensor) -> Tensor:
        """Return the logits of the domains, (n, k + 1), from I_X."""
        seen = features if self.domain_attention is None else self.domain_attention(features) * features
        return self.domain_classifier(seen)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.backbone(images)).squeeze(1)


@dataclasses.dataclass(frozen=True)
class UndividedOptions:
    """Options of the control.

    Attributes:
        domain_attention: A_dom before C̄, as in DID: then only A_df, and T with it, are left out.
    """

    domain_attention: bool = False


@register_task("undivided")
class UndividedTask(Task):
    """DID's heads and losses without its decomposition, at the rates of DID."""

    Options = UndividedOptions
    model: UndividedDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        s = settings
        backbone = Backbone(s.backbone, s.pretrained, machine=Machine.of(s))
        attention = (
            Attention(int(backbone.channels), s.wiring, s.merge, s.adaptive_pool, s.reduction)  # type: ignore[arg-type]
            if self.options.domain_attention
            else None
        )
        self.model = UndividedDetector(backbone, num_domains, s.hidden, attention)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute L_cls on C's scores and L_dom on C̄'s logits (Eq. 7 and 9 to 11)."""
        s, features = self.settings, self.model.backbone(batch["image"])
        scores = self.gather(self.model.classifier(features).squeeze(1))
        logits = self.gather(self.model.domains_of(features))
        labels, domains = self.gather(batch["label"]), self.gather(batch["domain"])
        cls = classification_loss(scores, labels, s.alpha, s.auc_margin, s.auc_power)
        return Step({"cls": s.lambda_cls * cls, "dom": s.lambda_dom * domain_loss(logits, domains)}, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups with the rates of Eq. 12."""
        m = self.model
        return self.groups(G=([m.backbone], 1.0), A=([m.domain_attention], self.settings.attention_rate))

    def domain_graph(self) -> nn.Module:
        """Return the graph images -> logits of the domains (n, k + 1)."""
        return DomainGraph(self.model)
