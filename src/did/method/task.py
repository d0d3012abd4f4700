"""DID as a task: Eq. 11 and 12, with the game between T and the features (§3.3)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from did.method.backbones import Backbone, Machine
from did.method.losses import auc_loss, classification_loss, domain_loss, jsd_mutual_information, marginal_permutation
from did.method.model import DID, Decomposed, statistics_on_device
from did.settings import Settings
from did.task import DomainGraph, Step, Task, register_task


def beta(progress: float) -> float:
    """Compute β = 2 / (1 + exp(-5·progress)) - 1: from 0 at the start to .987 at the end. Source: §4.1.3.

    Examples:
        >>> beta(0.0), round(beta(1.0), 3)
        (0.0, 0.987)
    """
    return 2 / (1 + math.exp(-5 * progress)) - 1


def adversary_scales(settings: Settings, progress: float) -> tuple[float, float, float]:
    """Return how λ_dec and β scale the game between T and the features, for the reading that the settings name.

    Returns:
        - weight: of T's own loss term, -Î.
        - reversal: the GRL's factor, so that weight · reversal scales the gradient that G and A_df descend.
        - rate: factor of T's learning rate.

    =========================  ==========  ===========================
    adversary                  T's step    G's and A_df's gradient of Î
    =========================  ==========  ===========================
    grl (§3.3)                 weight      λ_dec · β
    eq12 (Eq. 12 as printed)   weight · β  λ_dec
    =========================  ==========  ===========================

    The weight of T's own step is λ_dec in Eq. 11 and 12 (`estimator_weight="lambda_dec"`) or 1. Adam's steps do not
    depend on the scale of the gradient, so that Eq. 12's β on T's update scales its rate.
    """
    now = beta(progress)
    literal = settings.estimator_weight == "lambda_dec"
    weight, towards_features = (settings.lambda_dec, 1.0) if literal else (1.0, settings.lambda_dec)
    return (weight, towards_features * now, 1.0) if settings.adversary == "grl" else (weight, towards_features, now)


@register_task("did")
class DIDTask(Task):
    """DID with Eq. 11: λ_cls·L_cls + λ_dom·L_dom, and the game of T against the features.

    Its own choices are those of `did.settings.Settings`, since they are the paper's.
    """

    model: DID

    def __init__(self, settings: Settings, num_domains: int, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        chosen = {name: getattr(settings, name) for name in _MODEL_SETTINGS}
        self.model = DID(self.backbone(), num_domains, **chosen)

    def backbone(self) -> nn.Module:
        """Return G: `channels`, and images (n, 1, H, W) in [0, 1] -> a map (n, channels, h, w)."""
        s = self.settings
        return Backbone(s.backbone, s.pretrained, machine=Machine.of(s))

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the losses of a batch by Eq. 11, with T's loss in the reading that the settings name.

        Args:
            batch: `image` (n, 1, H, W), `label` (n,), `domain` (n,): of several processes, each gives its share, and
                the losses and values are those of the whole batch.
            progress: share of the iterations done, in [0, 1].
            seed: of the marginal's permutation.
            details: also log the maps' statistics and the gradients that reach G, which take a partial backward pass.
        """
        s = self.settings
        weight, reversal, _ = adversary_scales(s, progress)
        gather = self.gather
        labels, domains = gather(batch["label"]), gather(batch["domain"])
        partner = None
        if self.model.estimator is not None:
            n = len(labels)
            partner = marginal_permutation(n, torch.Generator().manual_seed(seed)).to(labels.device)[self.share(n)]
        out: Decomposed = self.model(batch["image"], partner, reversal, gather)
        scores = gather(out.score)
        logits = None if out.domain_logits is None else gather(out.domain_logits)
        terms = {"cls": s.lambda_cls * classification_loss(scores, labels, s.alpha, s.auc_margin, s.auc_power)}
        if logits is not None:
            terms["dom"] = s.lambda_dom * domain_loss(logits, domains)
        values: dict[str, Tensor | float] = {"beta": beta(progress)}
        if out.joint_scores is not None and out.marginal_scores is not None:
            joint, marginal = gather(out.joint_scores), gather(out.marginal_scores)
            estimate = jsd_mutual_information(joint, marginal)
            terms["dec"] = -weight * estimate
            right = torch.cat([joint > 0, marginal < 0])
            values |= {"estimate": estimate.detach(), "T accuracy": right.float().mean()}
        if details:
            values |= {
                "auc loss": auc_loss(scores, labels, s.auc_margin, s.auc_power).detach(),
                "bce": nn.functional.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype)).detach(),
            }
            if logits is not None:
                values["domain accuracy"] = (logits.argmax(1) == domains).float().mean()
            values |= self._details(out, terms)
        return Step(terms, values)

    def _details(self, out: Decomposed, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for name, attention_map in (("M_df", out.deepfake_map), ("M_dom", out.domain_map)):
            found = statistics_on_device(self.gather(attention_map.detach()))
            values |= {f"{name} {key}": value for key, value in found.items()}
        for name, sender in (("cls", "C"), ("dom", "C̄"), ("dec", "T")):
            if name in terms and out.features.requires_grad:
                (gradient,) = torch.autograd.grad(terms[name], out.features, retain_graph=True)
                # Each process has the gradient of all processes' losses, which are one and the same.
                values[f"gradient from {sender}"] = self.gather(gradient).norm() / self.ranks()
        return values

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups with the rates of Eq. 12: η_θ for G, and multiples of it for A, C and C̄, and T."""
        s, m = self.settings, self.model
        return self.groups(
            G=([m.backbone], 1.0),
            A=([m.deepfake_attention, m.domain_attention], s.attention_rate),
            C=([m.classifier, m.domain_classifier], s.head_rate),
            T=([m.estimator], s.estimator_rate),
        )

    def rate_factor(self, group: str, progress: float) -> float:
        """Return the factor of a group's rate at this point: 1, except for T under Eq. 12 as printed."""
        return adversary_scales(self.settings, progress)[2] if group == "T" else 1.0

    def detector(self) -> nn.Module:
        """Return the test-time graph of §3.5.1: images -> scores."""
        return self.model.detector()

    def domain_graph(self) -> nn.Module | None:
        """Return C̄ as a graph: images -> logits of the domains (n, k + 1); None without C̄."""
        return None if self.model.domain_classifier is None else DomainGraph(self.model)


_MODEL_SETTINGS = (
    "wiring merge adaptive_pool reduction pooling hidden estimator_channels estimator_input domain_attention "
    "domain_branch decorrelation image_size"
).split()
