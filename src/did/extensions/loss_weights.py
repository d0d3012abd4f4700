"""Loss weights that find themselves: DID without hand-set λ_cls, λ_dom and λ_dec, the first limit that the paper names.

The weight of the decorrelation acts on what flows back to the features, through the gradient reversal, and never on
T's own step: T has to measure as well as it can, whatever the features make of it. The weights of a step come from what
the step before has shown, so that they are known when the graph is built; they are buffers, so a resumed run has them.
"""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from did.errors import DidError, nearest
from did.method.losses import classification_loss, domain_loss, jsd_mutual_information, marginal_permutation
from did.method.model import Decomposed
from did.method.task import DIDTask, beta
from did.settings import Settings
from did.task import Step, register_task

RULES = ("paper", "equal", "random", "uncertainty", "gradnorm", "cosine", "constraint", "heldout")
#: Rules that look at the gradients of the three losses where they meet, at I_X.
_BY_GRADIENT = ("gradnorm", "cosine")
#: Bounds of every weight: beyond them a rule has failed, and the log shows it at the bound.
LEAST, MOST = 1e-3, 100.0
#: Share of the new value in the running mean of a weight or an estimate.
NEW = 0.1


@dataclasses.dataclass(frozen=True)
class WeightsOptions:
    """Options of DID with automatic weights.

    Attributes:
        rule: `paper` (the settings' weights), `equal`, `random` in each step, `uncertainty` for L_cls and L_dom with
            `constraint` for the game, `gradnorm`, `cosine` (an auxiliary loss counts as far as its gradient agrees with
            L_cls's), `constraint` (λ_dec rises until T's estimate is below `allowed`), or `heldout` (a loss counts more
            if its gradient lowers L_cls on a forgery method that this step's L_cls does not train on).
        allowed: what is left of T's estimate above -2 log 2, in nats.
        ascent: rate of the constraint's multiplier per step.
        restoring: GradNorm's exponent.
        step: of `heldout`, per iteration, times a cosine.
    """

    rule: str = "uncertainty"
    allowed: float = 0.1
    ascent: float = 0.05
    restoring: float = 1.5
    step: float = 0.05

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise DidError(f"unknown rule '{self.rule}': {nearest(self.rule, RULES)}")
        if self.allowed < 0 or self.ascent <= 0 or self.step <= 0:
            raise DidError(
                f"allowed is {self.allowed}, ascent {self.ascent} and step {self.step}; the first must be at least 0, "
                "the others above 0"
            )


@register_task("weights")
class WeightsTask(DIDTask):
    """DID whose three loss weights follow a rule instead of being set by hand.

    Sources: uncertainty: Kendall et al. (2018); gradnorm: Chen et al. (2018); random: Lin et al. (2022); cosine: Du et
    al. (2018); constraint: dual ascent, as in Rezende and Viola (2018); heldout: Ren et al. (2018) and Liu et al.
    (2022), in first order and by cosines.
    """

    Options = WeightsOptions
    options: WeightsOptions
    weights: Tensor
    first: Tensor
    left: Tensor

    def __init__(self, settings: Settings, num_domains: int, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        s, rule = settings, self.options.rule
        start = [s.lambda_cls, s.lambda_dom, s.lambda_dec] if rule == "paper" else [1.0, 1.0, 1.0]
        self.register_buffer("weights", torch.tensor(start))
        self.register_buffer("first", torch.zeros(2))  # L_cls and L_dom of the first step
        self.register_buffer("left", torch.tensor(0.0))  # running mean of T's estimate above -2 log 2
        self.log_variance = nn.Parameter(torch.zeros(2)) if rule == "uncertainty" else None

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the three losses under the present weights, then set those of the next step."""
        s, now = self.settings, beta(progress)
        labels, domains = self.gather(batch["label"]), self.gather(batch["domain"])
        generator = torch.Generator().manual_seed(seed)
        partner, n = None, len(labels)
        if self.model.estimator is not None:
            partner = marginal_permutation(n, generator).to(labels.device)[self.share(n)]
        w = self.weights.clone()
        if self.options.rule == "random":
            w = 3 * torch.randn(3, generator=generator).softmax(0).to(w.device)
        reversal = w[2] * now
        out: Decomposed = self.model(batch["image"], partner, reversal, self.gather)  # type: ignore[arg-type]
        scores = self.gather(out.score)
        cls = classification_loss(scores, labels, s.alpha, s.auc_margin, s.auc_power)
        unseen = None
        if self.options.rule == "heldout" and self.training:
            held = 1 + int(torch.randint(self.num_domains - 1, (1,), generator=generator))
            train, other = domains != held, (domains == held) | (labels == 0)
            if (labels[train] == 1).any() and (domains == held).any() and (labels == 0).any():
                unseen = classification_loss(scores[other], labels[other], s.alpha, s.auc_margin, s.auc_power)
                cls = classification_loss(scores[train], labels[train], s.alpha, s.auc_margin, s.auc_power)
        dom = 0 * cls if out.domain_logits is None else domain_loss(self.gather(out.domain_logits), domains)
        terms = {"cls": w[0] * cls, "dom": w[1] * dom}
        logged: dict[str, Tensor | float] = {"beta": now}
        if self.log_variance is not None:
            v = self.log_variance.clamp(-math.log(MOST), -math.log(LEAST))
            terms = {"cls": (-v[0]).exp() * cls + v[0] / 2, "dom": (-v[1]).exp() * dom + v[1] / 2}
            w = torch.cat([(-v).exp().detach(), w[2:]])
        if out.joint_scores is not None and out.marginal_scores is not None:
            estimate = jsd_mutual_information(self.gather(out.joint_scores), self.gather(out.marginal_scores))
            terms["dec"] = -estimate
            logged["estimate"] = estimate.detach()
        logged |= {f"weight of {name}": value for name, value in zip(("cls", "dom", "dec"), w, strict=True)}
        step = Step(terms, logged | (self._details(out, terms) if details else {}))
        if self.training:
            self._follow(cls, dom, terms.get("dec"), out.features, reversal)
            if unseen is not None:
                self._follow_unseen(unseen, [cls, dom, *([terms["dec"]] if "dec" in terms else [])])
        return step

    def _follow_unseen(self, unseen: Tensor, losses: list[Tensor]) -> None:
        """Raise the weight of each loss whose descent would lower L_cls on the held-out method, and lower the others.

        The gradients are compared at A_df, which every loss reaches; the game's is what its reversal lets through.
        """
        at = [p for p in self.model.deepfake_attention.parameters() if p.requires_grad]

        def gradient(loss: Tensor) -> Tensor:
            found = torch.autograd.grad(loss, at, retain_graph=True, allow_unused=True)
            flat = [torch.zeros_like(p) if g is None else g for p, g in zip(at, found, strict=True)]
            return self.gather(torch.cat([g.flatten() for g in flat])[None]).mean(0)

        wanted = gradient(unseen)
        for number, loss in enumerate(losses):
            agrees = torch.cosine_similarity(gradient(loss), wanted, dim=0)
            self.weights[number] = (self.weights[number] * torch.exp(self.options.step * agrees)).clamp(LEAST, MOST)

    def _follow(self, cls: Tensor, dom: Tensor, dec: Tensor | None, features: Tensor, reversal: Tensor) -> None:
        """Set the weights of the next step."""
        o = self.options
        losses = torch.stack([cls.detach(), dom.detach()])
        self.first.copy_(torch.where(self.first == 0, losses, self.first))
        if dec is not None:
            above = (2 * math.log(2) - dec.detach()).clamp(min=0)
            self.left.mul_(1 - NEW).add_(NEW * above)
        if o.rule in ("constraint", "uncertainty"):
            self.weights[2] = (self.weights[2] * torch.exp(o.ascent * (self.left - o.allowed))).clamp(LEAST, MOST)
        elif o.rule in _BY_GRADIENT and features.requires_grad:
            parts = [cls, dom] if dec is None else [cls, dom, dec]
            found = [torch.autograd.grad(part, features, retain_graph=True, allow_unused=True)[0] for part in parts]
            flat = [torch.zeros_like(features).flatten() if g is None else self.gather(g).flatten() for g in found]
            if dec is not None:
                flat[2] = flat[2] / reversal.clamp(min=1e-8)  # of the loss itself, before its weight
            wanted = self._by_norm(losses, flat) if o.rule == "gradnorm" else self._by_cosine(flat)
            self.weights[: len(wanted)] += NEW * (wanted.clamp(LEAST, MOST) - self.weights[: len(wanted)])

    def _by_norm(self, losses: Tensor, gradients: list[Tensor]) -> Tensor:
        """Return weights under which each gradient has the norm that its loss's progress asks for; they sum to n."""
        norms = torch.stack([g.norm() for g in gradients]).clamp(min=1e-12)
        pace = losses / self.first.clamp(min=1e-12)
        pace = torch.cat([pace / pace.mean(), torch.ones(len(gradients) - 2, device=pace.device)])  # the game has none
        wanted = pace**self.options.restoring / norms
        return len(wanted) * wanted / wanted.sum()

    def _by_cosine(self, gradients: list[Tensor]) -> Tensor:
        """Return 1 for L_cls, and for each other loss the cosine of its gradient and L_cls's, at least 0."""
        cosines = [torch.cosine_similarity(g, gradients[0], dim=0).clamp(min=0) for g in gradients[1:]]
        return torch.stack([torch.ones_like(cosines[0]), *cosines])
