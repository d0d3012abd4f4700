"""Independence that can be reached: DID with a measure of dependence in place of T.

T compares whole maps, and since I_df + I_os = I_X it tells pairs of one image from pairs of two almost perfectly. As
the book runs it, it wins, and the features have no direction in which to resist. Here the halves are compared as pooled
vectors, in fixed random directions (so that nothing can learn to look away), by statistics that need no player, or by
one that co-operates. Both halves may know the label; so by default independence is asked for within real and within
fake faces.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from did.errors import DidError, nearest
from did.method.layers import gradient_reversal
from did.method.losses import classification_loss, domain_loss, jsd_mutual_information, marginal_permutation
from did.method.model import Decomposed
from did.method.task import DIDTask, beta
from did.settings import Settings
from did.task import Step, register_task

#: A class with fewer faces in a batch says nothing of dependence.
FEWEST = 4


def _distances(x: Tensor) -> Tensor:
    """Return the distances between rows, (n, n); their gradient is finite on the diagonal too."""
    apart = x[:, None] - x[None]
    return (apart.square().sum(2) + 1e-12).sqrt()


def _centred(matrix: Tensor) -> Tensor:
    return matrix - matrix.mean(0) - matrix.mean(1, keepdim=True) + matrix.mean()


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Compute the distance correlation of two samples, in [0, 1]; in the limit 0 only if they are independent.

    Args:
        x: (n, d).
        y: (n, e), of the same images.

    Source: Székely, Rizzo and Bakirov (2007), "Measuring and testing dependence by correlation of distances".

    Examples:
        >>> x = torch.arange(8.0)[:, None]
        >>> round(distance_correlation(x, 3 - 2 * x).item(), 4)
        1.0
    """
    a, b = _centred(_distances(x)), _centred(_distances(y))
    spread = ((a * a).mean() * (b * b).mean()).sqrt()
    return ((a * b).mean().clamp(min=0) / spread.clamp(min=1e-12) + 1e-12).sqrt()


def _kernel(x: Tensor) -> Tensor:
    """Return the Gaussian kernel of rows, (n, n), whose width is their median distance."""
    squares = _distances(x).square()
    n = len(x)
    width = squares.detach()[~torch.eye(n, dtype=torch.bool, device=x.device)].median().clamp(min=1e-12)
    return torch.exp(-squares / (2 * width))


def normalised_hsic(x: Tensor, y: Tensor) -> Tensor:
    """Compute the normalised Hilbert-Schmidt independence criterion, in [0, 1], with Gaussian kernels.

    Args:
        x: (n, d).
        y: (n, e), of the same images.

    Source: Gretton et al. (2005), "Measuring statistical dependence with Hilbert-Schmidt norms"; normalised as in
        Kornblith et al. (2019), so that shrinking the features gains nothing.

    Examples:
        >>> x = torch.arange(8.0)[:, None]
        >>> round(normalised_hsic(x, 3 - 2 * x).item(), 4)
        1.0
    """
    k, h = _centred(_kernel(x)), _centred(_kernel(y))
    return (k * h).sum() / ((k * k).sum() * (h * h).sum()).sqrt().clamp(min=1e-12)


def cross_covariance(x: Tensor, y: Tensor) -> Tensor:
    """Compute the mean squared correlation between a dimension of one sample and one of the other, in [0, 1].

    It sees linear dependence only.

    Args:
        x: (n, d).
        y: (n, e), of the same images.
    """
    a, b = ((z - z.mean(0)) / z.std(0, unbiased=False).clamp(min=1e-6) for z in (x, y))
    return (a.T @ b / len(x)).square().mean()


MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dcor": distance_correlation,
    "hsic": normalised_hsic,
    "cross": cross_covariance,
}
#: By a network of their own: a bound that co-operates, a critic that is held back, and the domain adversary.
CLUB, CRITIC, ADVERSARY = "club", "critic", "adversary"
KINDS = (*MEASURES, CLUB, CRITIC, ADVERSARY)
#: Standard deviation of the noise that the critic's standardised inputs get at the start of training; 0 at its end.
NOISE = 1.0


def within(
    measure: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, groups: Tensor, fewest: int = FEWEST
) -> Tensor:
    """Return the mean of a measure within groups, weighted by their rows; 0 if all groups are too small.

    Args:
        measure: of (n, d) and (n, e).
        x, y: the samples.
        groups: (n,), whole numbers.
        fewest: rows that a group must have.
    """
    parts = [groups == group for group in groups.unique()]
    parts = [part for part in parts if int(part.sum()) >= fewest]
    if not parts:
        return 0 * (x.sum() + y.sum())
    sizes = torch.stack([part.sum() for part in parts]).to(x.dtype)
    found = torch.stack([measure(x[part], y[part]) for part in parts])
    return (found * sizes).sum() / sizes.sum()


class Club(nn.Module):
    """vCLUB: an upper bound of the mutual information, by a network q(y | x) that is fitted and not opposed.

    Args:
        inputs: of x.
        outputs: of y.
        hidden: units of the two networks for q's mean and logarithm of the variance.

    Source: Cheng et al. (2020), "CLUB: a contrastive log-ratio upper bound of mutual information".
    """

    def __init__(self, inputs: int, outputs: int, hidden: int = 64) -> None:
        super().__init__()

        def net(*last: nn.Module) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs), *last)

        self.mean, self.log_variance = net(), net(nn.Tanh())

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log q(y | x) of each row, (n,)."""
        mean, log_variance = self.mean(x), self.log_variance(x)
        return -0.5 * ((y - mean).square() / log_variance.exp() + log_variance + math.log(2 * math.pi)).sum(1)

    def bound(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the bound in nats: the mean log q of the pairs less that of all pairs of rows, over q as it is."""
        mean, log_variance = self.mean(x), self.log_variance(x)
        joint = ((y - mean).square() / log_variance.exp()).sum(1).mean()
        apart = (y[None] - mean[:, None]).square() / log_variance.exp()[:, None]
        return 0.5 * (apart.sum(2).mean() - joint)


class TamedCritic(nn.Module):
    """T held back: on vectors, with spectral norms and noise, so that it cannot tell every pair at once.

    Spectral norms bound how fast its logit can change, and noise that fades over training hides what two halves of one
    image share exactly.

    Args:
        width: of each half.
        hidden: units.

    Source: Miyato et al. (2018) for spectral norms, Sønderby et al. (2017) for noise on the inputs.
    """

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.net = nn.Sequential(norm(nn.Linear(2 * width, hidden)), nn.LeakyReLU(0.2), norm(nn.Linear(hidden, 1)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logit that two halves, (n, width) each, are of one image, (n,)."""
        return self.net(torch.cat([x, y], 1)).squeeze(1)


def partner_within(groups: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each row another row of its group, (n,); itself if it is alone there."""
    partner = torch.arange(len(groups))
    for group in groups.unique():
        rows = torch.nonzero(groups == group).squeeze(1).cpu()
        if len(rows) > 1:
            partner[rows] = rows[marginal_permutation(len(rows), generator)]
    return partner


@dataclasses.dataclass(frozen=True)
class IndependenceOptions:
    """Options of DID with reachable independence.

    Attributes:
        measure: `dcor`, `hsic`, `cross`, `club`, `critic` (T held back, on vectors), or `adversary` (a domain
            classifier on I_df of the fakes, reversed).
        weight: of its term.
        given_label: independence within real and within fake faces, since both halves may know the label.
        width: random directions in which the halves are compared.
    """

    measure: str = "dcor"
    weight: float = 0.1
    given_label: bool = True
    width: int = 64

    def __post_init__(self) -> None:
        if self.measure not in KINDS:
            raise DidError(f"unknown measure '{self.measure}': {nearest(self.measure, KINDS)}")
        if self.weight < 0 or self.width < 2:
            raise DidError(f"weight is {self.weight} and width {self.width}; they must be at least 0 and 2")


@register_task("independent")
class IndependenceTask(DIDTask):
    """DID whose halves are made independent by a measure that can be met, in place of T."""

    Options = IndependenceOptions
    options: IndependenceOptions

    def __init__(self, settings: Settings, num_domains: int, options: Any = None) -> None:
        super().__init__(dataclasses.replace(settings, decorrelation=False), num_domains, options)
        width, channels = self.options.width, int(self.model.backbone.channels)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(settings.seed)
        for name in ("deepfake_directions", "other_directions"):
            drawn = torch.randn(channels, width, generator=generator) / math.sqrt(channels)
            self.register_buffer(name, drawn)
        kind = self.options.measure
        self.club = Club(width, width) if kind == CLUB else None
        self.critic = TamedCritic(width) if kind == CRITIC else None
        self.adversary = (
            nn.Sequential(nn.Linear(channels, settings.hidden), nn.PReLU(), nn.Linear(settings.hidden, num_domains))
            if kind == ADVERSARY
            else None
        )

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute L_cls and L_dom as DID does, and the dependence of the halves in place of T's loss."""
        s = self.settings
        labels, domains = self.gather(batch["label"]), self.gather(batch["domain"])
        out: Decomposed = self.model(batch["image"])
        scores = self.gather(out.score)
        terms = {"cls": s.lambda_cls * classification_loss(scores, labels, s.alpha, s.auc_margin, s.auc_power)}
        if out.domain_logits is not None:
            terms["dom"] = s.lambda_dom * domain_loss(self.gather(out.domain_logits), domains)
        found, logged = self._dependence(out, labels, domains, progress, seed)
        terms |= found
        return Step(terms, logged | (self._details(out, terms) if details else {}))

    def halves(self, out: Decomposed) -> tuple[Tensor, Tensor]:
        """Return I_df and I_os of the whole batch as vectors in the random directions, standardised, (n, width)."""
        directions = {"deepfake": self.deepfake_directions, "other": self.other_directions}
        pooled = [self.gather(getattr(out, name).mean((2, 3)) @ of) for name, of in directions.items()]
        a, b = ((z - z.mean(0)) / z.std(0, unbiased=False).clamp(min=1e-6) for z in pooled)
        return a, b

    def _dependence(
        self, out: Decomposed, labels: Tensor, domains: Tensor, progress: float, seed: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor | float]]:
        o = self.options
        if self.adversary is not None:
            seen = gradient_reversal(self.gather(out.deepfake.mean((2, 3))), o.weight * beta(progress))
            fakes = labels == 1
            logits = self.adversary(seen)[fakes]
            loss = F.cross_entropy(logits, domains[fakes]) if len(logits) else 0 * self.adversary(seen).sum()
            return {"dec": loss}, {"dependence": -loss.detach()}
        x, y = self.halves(out)
        if self.club is not None:
            fit = -self.club(x.detach(), y.detach()).mean()
            with _frozen(self.club):
                bound = self.club.bound(x, y)
            return {"dec": o.weight * bound, "q": fit}, {"dependence": bound.detach()}
        groups = labels if o.given_label else torch.zeros_like(labels)
        if self.critic is not None:
            generator = torch.Generator().manual_seed(seed)
            fade = NOISE * (1 - progress) if self.training else 0.0

            def opposed(z: Tensor) -> Tensor:
                noise = torch.randn(z.shape, generator=generator).to(z.device)
                return gradient_reversal(z, o.weight * beta(progress)) + fade * noise

            a, b, partner = opposed(x), opposed(y), partner_within(groups, generator).to(y.device)
            estimate = jsd_mutual_information(self.critic(a, b), self.critic(a, b[partner]))
            return {"dec": -estimate}, {"dependence": estimate.detach()}
        found = within(MEASURES[o.measure], x, y, groups)
        return {"dec": o.weight * found}, {"dependence": found.detach()}


class _frozen:
    """Keep a module's parameters out of what is computed inside: gradients flow through it and not into it."""

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]

    def __enter__(self) -> None:
        for p in self.parameters:
            p.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for p in self.parameters:
            p.requires_grad_(True)
