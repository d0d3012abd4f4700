"""Labels for L_dom that nobody has to give: environments, prototypes that are learnt on the way, known corruptions.

As in `did.extensions.unlabelled`, a real face is domain 0, and batches must not be drawn by method: use
`sampler=uniform`.
"""

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from did.errors import DidError, nearest
from did.extensions.unlabelled import UnlabelledTask, style
from did.method.backbones import evaluating
from did.method.task import DIDTask
from did.settings import Settings
from did.task import Step, register_task

KINDS = ("environments", "prototypes")
#: Prototypes: how many past fakes share in an assignment, ε, Sinkhorn's iterations, and what a prototype keeps of
#: itself in a step.
QUEUE, EPSILON, ITERATIONS, KEPT = 256, 0.05, 3, 0.9


@dataclasses.dataclass(frozen=True)
class DiscoveredOptions:
    """Options of DID with discovered labels.

    Attributes:
        labels: `environments` (EIIL: fakes that a plain reference gets right, and those that it gets wrong) or
            `prototypes` (each batch's fakes are assigned in equal shares to as many prototypes as there are methods).
    """

    labels: str = "environments"

    @property
    def clusters(self) -> int:
        """Groups of fakes: two environments, or 0 for as many as there are methods."""
        return 2 if self.labels == "environments" else 0

    def __post_init__(self) -> None:
        if self.labels not in KINDS:
            raise DidError(f"unknown labels '{self.labels}': {nearest(self.labels, KINDS)}")


def environments(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Split examples into the two environments of EIIL, in closed form.

    EIIL looks for memberships q in [0, 1] that maximise (mean q·g)² + (mean (1 - q)·g)², where g = (σ(f) - y)·f is the
    derivative, at w = 1, of the cross-entropy of the logit w·f. The two means add up to that of g, so the sum of
    squares is largest when they are as far apart as they can be: q = 1 where g > 0, or the reverse. g is above 0 where
    the reference is wrong and below 0 where it is right.

    Args:
        logits: f (n,), of a reference that was trained on plain labels.
        labels: y (n,), 1 for fake.

    Returns:
        (n,), True where the reference is right.

    Source: Creager, Jacobsen and Zemel, "Environment inference for invariant learning" (ICML 2021), whose gradient
        ascent this replaces.
    """
    return (1 / (1 + np.exp(-logits)) - labels) * logits < 0


def balanced(scores: Tensor, iterations: int = ITERATIONS, epsilon: float = EPSILON) -> Tensor:
    """Assign rows to columns in equal shares, by Sinkhorn's iterations.

    Args:
        scores: (n, k), similarities.
        iterations: of normalising columns and rows in turn.
        epsilon: the smaller, the harder the assignment.

    Returns:
        (n, k); each row sums to 1, each column to about n / k.

    Source: Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments" (NeurIPS 2020).
    """
    found = torch.exp((scores - scores.max()) / epsilon)
    for _ in range(iterations):
        found = found / found.sum(0, keepdim=True).clamp(min=1e-12)
        found = found / found.sum(1, keepdim=True).clamp(min=1e-12)
    return found


@register_task("discovered")
class DiscoveredTask(UnlabelledTask):
    """DID whose domains are environments, found once, or prototypes, which move while it trains.

    Our readings: EIIL's reference is a logistic regression on the untrained backbone's statistics of each face, asked
    about people it was not fitted on. Prototypes take the same statistics, of the backbone as it is by then; SwAV would
    train the features by the assignment, where here C̄ learns it on I_dom, as it would a method's name.
    """

    Options = DiscoveredOptions  # type: ignore[assignment]
    options: DiscoveredOptions  # type: ignore[assignment]
    moments: Tensor
    prototypes: Tensor
    queue: Tensor
    methods: Tensor
    per_face = ("pseudo", "methods")

    def __init__(self, settings: Settings, num_domains: int, options: Any = None) -> None:
        super().__init__(settings, num_domains, options or DiscoveredOptions())
        size = 2 * int(self.model.backbone.channels)  # type: ignore[arg-type]
        self.register_buffer("methods", torch.zeros(0, dtype=torch.long))
        self.register_buffer("moments", torch.ones(2, size))
        self.register_buffer("prototypes", torch.zeros(self.clusters, size))
        self.register_buffer("queue", torch.zeros(QUEUE, size))

    @torch.no_grad()
    def begin(self, train: Any) -> None:
        """Find the environments, or start the prototypes at the centres of k-means.

        Raises:
            DidError: If there are too few fakes.
        """
        # Here, because every command that names a task loads this module.
        from sklearn.cluster import KMeans
        from sklearn.metrics import normalized_mutual_info_score

        labels, domains = np.asarray(train.labels), np.asarray(train.domains)
        fakes, seed = np.flatnonzero(labels == 1), self.settings.seed
        if len(fakes) < 2 * self.clusters:
            raise DidError(f"{len(fakes)} fakes are too few for {self.clusters} groups: train on more")
        groups = np.zeros(len(labels), dtype=np.int64)
        if self.options.labels == "environments":
            people = train.rows.identity.str.split("+").str[0].to_numpy()
            right = environments(_reference(self._styles(train, np.arange(len(labels))), labels, people), labels)
            groups[fakes] = 1 + right[fakes]
        else:
            seen = torch.from_numpy(self._styles(train, fakes))
            self.moments.copy_(torch.stack([seen.mean(0), seen.std(0).clamp(min=1e-6)]))
            z = self._standardised(seen.to(self.moments.device)).cpu()
            found = KMeans(self.clusters, n_init=10, random_state=seed).fit(z.numpy())
            self.prototypes.copy_(F.normalize(torch.from_numpy(found.cluster_centers_).float(), dim=1))
            order = np.random.default_rng(seed).permutation(len(z))[np.arange(QUEUE) % len(z)]
            self.queue.copy_(z[order])
            groups[fakes] = 1 + found.labels_
        device = self.pseudo.device
        self.pseudo, self.methods = (torch.from_numpy(of.astype(np.int64)).to(device) for of in (groups, domains))
        self.agreement.fill_(normalized_mutual_info_score(domains[fakes], groups[fakes]))

    def _standardised(self, statistics: Tensor) -> Tensor:
        return F.normalize((statistics - self.moments[0]) / self.moments[1], dim=1)

    @torch.no_grad()
    def _assign(self, batch: dict[str, Tensor]) -> None:
        """Assign the batch's fakes to prototypes, together with past ones, and move the prototypes towards them."""
        backbone = self.model.backbone
        with evaluating(backbone):
            seen = self.gather(self._standardised(style(backbone(batch["image"])).float()))
        index, labels = self.gather(batch["index"]), self.gather(batch["label"])
        z, at = seen[labels == 1], index[labels == 1]
        if not len(z):
            return
        shares = balanced(torch.cat([self.queue, z]) @ self.prototypes.T)[-len(z) :]
        chosen = shares.argmax(1)
        self.pseudo[at] = 1 + chosen
        sums = torch.zeros_like(self.prototypes).index_add_(0, chosen, z)
        moved = F.normalize(KEPT * self.prototypes + (1 - KEPT) * F.normalize(sums, dim=1), dim=1)
        self.prototypes.copy_(torch.where(sums.norm(dim=1, keepdim=True) > 0, moved, self.prototypes))
        self.queue.copy_(torch.cat([self.queue, z])[-QUEUE:])

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute DID's losses with the discovered domains; prototypes first assign the batch's fakes."""
        if self.options.labels == "prototypes":
            self._assign(batch)
            if details:
                from sklearn.metrics import normalized_mutual_info_score

                fakes = self.pseudo > 0
                found = (of[fakes].cpu().numpy() for of in (self.methods, self.pseudo))
                self.agreement.fill_(normalized_mutual_info_score(*found))
        return super().forward(batch, progress, seed, details)


def _reference(seen: NDArray[np.float32], labels: NDArray[np.int64], people: NDArray[Any]) -> NDArray[np.float64]:
    """Return each face's logit of a regression that was fitted on other people, real and fake counting alike."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    folds = GroupKFold(min(5, len(np.unique(people))))
    found: NDArray[np.float64] = cross_val_predict(
        plain, seen.astype(np.float64), labels, groups=people, cv=folds, method="decision_function"
    )
    return found


# --- known corruptions ----------------------------------------------------------------------------------------------

#: What a corrupted copy of a real face has: its domain is one more than the place in this list.
CORRUPTIONS = ("halved", "quartered", "sharpened", "brightened")


def corrupted(images: Tensor, which: Tensor) -> Tensor:
    """Corrupt the middle of each face in one of four known ways, softly blended into the rest.

    Args:
        images: (n, channels, H, W) in [0, 1], aligned crops.
        which: (n,), places in `CORRUPTIONS`.

    Returns:
        The same shape, in [0, 1].
    """
    size = images.shape[-2:]

    def reduced(by: int) -> Tensor:
        small = F.interpolate(images, size=(size[0] // by, size[1] // by), mode="nearest")
        return F.interpolate(small, size=size, mode="bilinear", align_corners=False)

    sharper = images + 0.5 * (images - F.avg_pool2d(images, 3, 1, 1, count_include_pad=False))
    ways = torch.stack([reduced(2), reduced(4), sharper, 1.1 * images + 0.05])
    chosen = ways[which, torch.arange(len(images), device=images.device)]
    y, x = (torch.linspace(-1, 1, side, device=images.device) for side in size)
    # An ellipse that holds a face cut with the usual margin, fading over a fifth of its radius.
    inside = ((1.15 - torch.sqrt((y[:, None] / 0.75) ** 2 + (x[None] / 0.6) ** 2)) / 0.2).clamp(0, 1)
    return (inside * chosen + (1 - inside) * images).clamp(0, 1)


@register_task("corruptions")
class CorruptionsTask(DIDTask):
    """DID whose domains are known corruptions of the batch's real faces: free labels, and no method is looked at.

    L_cls, and T, see the faces that are given. L_dom sees the real ones (domain 0) and a corrupted copy of each, whose
    domain is the corruption, drawn anew in each step.
    """

    def __init__(self, settings: Settings, num_domains: int, options: Any = None) -> None:
        super().__init__(settings, 1 + len(CORRUPTIONS), options)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute DID's losses with L_dom on real faces and their corrupted copies."""
        step = super().forward({**batch, "domain": torch.zeros_like(batch["domain"])}, progress, seed, details)
        if "dom" not in step.terms:
            return step
        real = self.gather(batch["label"]) == 0
        which = torch.randint(len(CORRUPTIONS), (len(real),), generator=torch.Generator().manual_seed(seed))
        which = which.to(real.device)
        # Of the fakes too, and left out below: each process has as many copies as the others.
        copies = corrupted(batch["image"], which[self.share(len(real))])
        plain, changed = (self.gather(self.model(images).domain_logits) for images in (batch["image"], copies))
        losses = F.cross_entropy(plain, torch.zeros_like(which), reduction="none")
        losses = losses + F.cross_entropy(changed, 1 + which, reduction="none")
        dom = (losses * real).sum() / (2 * real.sum().clamp(min=1))
        told = {name: value for name, value in step.logged.items() if name != "domain accuracy"}
        return Step({**step.terms, "dom": self.settings.lambda_dom * dom}, told)

    def domain_graph(self) -> None:
        """Return None, because a corruption is not a method."""
        return None
