"""A task joins a model and its losses: batch in, named loss terms out. The loop and the log know no more than that."""

import dataclasses
import hashlib
import importlib.metadata
import inspect
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from did.backbones import Backbone, Machine
from did.distributed import gather, ranks, share
from did.errors import DidError
from did.losses import auc_loss, classification_loss, domain_loss, jsd_mutual_information, marginal_permutation
from did.model import DID, Decomposed, map_statistics
from did.settings import Settings


@dataclasses.dataclass
class Step:
    """One forward pass of a task.

    Attributes:
        terms: weighted loss terms by name; their sum is what the optimiser descends.
        values: what the log holds beside them, unweighted.
    """

    terms: dict[str, Tensor]
    values: dict[str, float]

    @property
    def total(self) -> Tensor:
        """The sum of the terms, a scalar."""
        return torch.stack(list(self.terms.values())).sum()


def beta(progress: float) -> float:
    """β = 2 / (1 + exp(-5·progress)) - 1: from 0 at the start to .987 at the end. Source: §4.1.3."""
    return 2 / (1 + math.exp(-5 * progress)) - 1


def adversary_scales(settings: Settings, progress: float) -> tuple[float, float, float]:
    """How λ_dec and β enter the game between T and the features, by the reading that the settings name.

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


def code_digest(task: type) -> str:
    """Return the SHA-256 of a task's source code if it is from outside the package, "" for one of did's own.

    The source is that of the module that defines the class, of those that define its bases, and of the modules whose
    names these import at their top, in turn. Installed packages are left out, apart from the task's own: the record
    has versions for them. A task in a notebook's cell counts by its class alone.

    Args:
        task: the class.

    Raises:
        DidError: its source cannot be read, so that a change of it would not be noticed.
    """
    top = _top(task.__module__)
    if top == "did":
        return ""
    foreign = {"did", *sys.stdlib_module_names, *importlib.metadata.packages_distributions()} - {top}
    found: dict[str, bytes] = {}
    waiting = [base.__module__ for base in task.__mro__]
    while waiting:
        name = waiting.pop()
        if name in found or name not in sys.modules or _top(name) in foreign:
            continue
        found[name] = _source(sys.modules[name], task)
        if getattr(sys.modules[name], "__file__", None):
            waiting += [_module_of(value) for value in vars(sys.modules[name]).values()]
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def _top(module: str) -> str:
    return module.partition(".")[0]


def _module_of(value: Any) -> str:
    """The name of the module that a value is, or was defined in."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def _source(module: ModuleType, task: type) -> bytes:
    """What a module's file holds, or the classes of the task that a notebook's cells define."""
    try:
        if file := getattr(module, "__file__", None):
            return Path(file).read_bytes()
        classes = [base for base in task.__mro__ if base.__module__ == module.__name__]
        return "".join(map(inspect.getsource, classes)).encode()
    except (OSError, TypeError) as error:
        raise DidError(f"the source of the task {task.__qualname__} cannot be read: define it in a file") from error


def machine(settings: Settings) -> Machine:
    """How G is to compute in training."""
    return Machine(settings.precision, settings.accumulate, settings.recompute, settings.compile)


class DIDTask(nn.Module):
    """DID with Eq. 11: λ_cls·L_cls + λ_dom·L_dom, and T against the features.

    Args:
        settings: the run's.
        num_domains: k + 1.
    """

    def __init__(self, settings: Settings, num_domains: int) -> None:
        super().__init__()
        self.settings = settings
        self.model = DID(
            Backbone(settings.backbone, settings.pretrained, machine=machine(settings)),
            num_domains,
            **{name: getattr(settings, name) for name in _MODEL_SETTINGS},
        )

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """The losses of a batch by Eq. 11, with T's by the reading that the settings name.

        Args:
            batch: `image` (n, 1, H, W), `label` (n,), `domain` (n,): of several processes, each gives its share, and
                the losses and values are those of the whole batch.
            progress: share of the iterations done, in [0, 1].
            seed: of the marginal's permutation.
            details: also log the maps' statistics and the gradients that reach G, which take a partial backward pass.
        """
        s = self.settings
        weight, reversal, _ = adversary_scales(s, progress)
        labels, domains = gather(batch["label"]), gather(batch["domain"])
        partner = None
        if self.model.estimator is not None:
            n = len(labels)
            partner = marginal_permutation(n, torch.Generator().manual_seed(seed)).to(labels.device)[share(n)]
        out: Decomposed = self.model(batch["image"], partner, reversal)
        scores, logits = gather(out.score), gather(out.domain_logits)
        terms = {
            "cls": s.lambda_cls * classification_loss(scores, labels, s.alpha, s.auc_margin, s.auc_power),
            "dom": s.lambda_dom * domain_loss(logits, domains),
        }
        values = {"beta": beta(progress)}
        if out.joint_scores is not None and out.marginal_scores is not None:
            joint, marginal = gather(out.joint_scores), gather(out.marginal_scores)
            estimate = jsd_mutual_information(joint, marginal)
            terms["dec"] = -weight * estimate
            right = torch.cat([joint > 0, marginal < 0])
            values |= {"estimate": estimate.item(), "T accuracy": right.float().mean().item()}
        if details:
            values |= {
                "auc loss": auc_loss(scores, labels, s.auc_margin, s.auc_power).item(),
                "bce": nn.functional.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype)).item(),
                "domain accuracy": (logits.argmax(1) == domains).float().mean().item(),
                **self._details(out, terms),
            }
        return Step(terms, values)

    def _details(self, out: Decomposed, terms: dict[str, Tensor]) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, attention_map in (("M_df", out.deepfake_map), ("M_dom", out.domain_map)):
            values |= {f"{name} {key}": value for key, value in map_statistics(gather(attention_map.detach())).items()}
        for name, sender in (("cls", "C"), ("dom", "C̄"), ("dec", "T")):
            if name in terms and out.features.requires_grad:
                (gradient,) = torch.autograd.grad(terms[name], out.features, retain_graph=True)
                # Each process has the gradient of all processes' losses, which are one and the same.
                values[f"gradient from {sender}"] = gather(gradient).norm().item() / ranks()
        return values

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's groups with the rates of Eq. 12: η_θ for G, and multiples of it for A, for C and C̄, and for T."""
        s, m = self.settings, self.model
        attention: list[nn.Module] = [a for a in (m.deepfake_attention, m.domain_attention) if a is not None]
        groups: dict[str, tuple[list[nn.Module], float]] = {
            "G": ([m.backbone], 1.0),
            "A": (attention, s.attention_rate),
            "C": ([m.classifier, m.domain_classifier], s.head_rate),
            "T": ([m.estimator] if m.estimator is not None else [], s.estimator_rate),
        }
        return [
            {"name": name, "params": [p for module in modules for p in module.parameters()], "lr": s.lr * factor}
            for name, (modules, factor) in groups.items()
            if modules
        ]

    def rate_factor(self, group: str, progress: float) -> float:
        """What a group's rate is multiplied by at this point: 1, but for T under Eq. 12 as printed."""
        return adversary_scales(self.settings, progress)[2] if group == "T" else 1.0

    def detector(self) -> nn.Module:
        """The test-time graph: images -> scores."""
        return self.model.detector()


_MODEL_SETTINGS = (
    "wiring merge adaptive_pool reduction pooling hidden estimator_channels estimator_input domain_attention "
    "decorrelation image_size"
).split()
