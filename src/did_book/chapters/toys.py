"""Small experiments on known distributions, for the chapters on mutual information and on ranking.

What a face hides is known here: the mutual information of two Gaussians, which coordinate of a point carries its label,
the best AUC that a line can have. So a loss can be seen to do what it should, in seconds and without any data.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtr
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from did.errors import DidError
from did.evaluation import auc, calibration_error
from did.method.layers import gradient_reversal
from did.method.losses import auc_loss, classification_loss, jsd_mutual_information, marginal_permutation
from did.method.model import Estimator
from did.method.task import beta
from did.presets import of_preset
from did.training import provenance

#: What the chapters take at a preset. Sizes only.
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {
        "correlations": (0.0, 0.5, 0.8, 0.95),
        "steps": 150,
        "seeds": (0,),
        "draws": 500,
        "alphas": (1.0, 0.5, 0.0),
    },
    "laptop": {
        "correlations": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99),
        "steps": 500,
        "seeds": (0, 1, 2),
        "draws": 2000,
        "alphas": (1.0, 0.75, 0.5, 0.25, 0.0),
    },
}


def sizes(preset: str) -> dict[str, Any]:
    """The sizes of a chapter's experiments. Raises DidError on a preset that has none."""
    return of_preset(SIZES, preset)


def stamp(preset: str, seeds: Sequence[int] = (0,)) -> str:
    """What stands under a figure of these experiments. Raises DidError on a preset that has no sizes."""
    sizes(preset)
    return provenance.stamp("Made-up numbers, no faces", preset, seeds)


# --- mutual information --------------------------------------------------------------------------------------------


def gaussian_pairs(n: int, correlation: float, dimensions: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two standard normal vectors whose coordinates are correlated one by one.

    Returns:
        x and y, each (n, dimensions); coordinate i of x has the correlation ρ with coordinate i of y, and no other.
    """
    x, noise = torch.randn(2, n, dimensions, generator=generator)
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


def gaussian_information(correlation: float, dimensions: int = 1) -> float:
    """The mutual information of `gaussian_pairs` in nats: -½ log(1 - ρ²) for each dimension."""
    return dimensions / 2 * -math.log1p(-(correlation**2))


def gaussian_log_ratio(x: Tensor, y: Tensor, correlation: float) -> Tensor:
    """log p(x, y) / (p(x) p(y)) of `gaussian_pairs`: the T that no other T can beat in Eq. 4.

    Shapes: x and y (n, dimensions) -> (n,), in nats.
    """
    rest = 1 - correlation**2
    shift = correlation**2 * (x**2 + y**2) - 2 * correlation * x * y
    return (-0.5 * math.log(rest) - shift / (2 * rest)).sum(1)


def trained_estimator(
    correlation: float,
    dimensions: int = 2,
    steps: int = 300,
    batch: int = 256,
    seed: int = 0,
    hidden: int = 32,
) -> Estimator:
    """T after it has ascended Eq. 4 on `gaussian_pairs`, with fresh pairs in every batch."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        estimator = Estimator(dimensions, hidden)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=5e-3)
    for _ in range(steps):
        x, y = gaussian_pairs(batch, correlation, dimensions, generator)
        estimate = jsd_mutual_information(*_scores(estimator, x, y, marginal_permutation(batch, generator)))
        optimizer.zero_grad()
        (-estimate).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return estimator


def _scores(estimator: Estimator, x: Tensor, y: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """T on vectors: a vector is a map of one place."""
    return estimator(x[..., None, None], y[..., None, None], partner)


@torch.no_grad()
def information_table(
    correlations: Sequence[float],
    dimensions: int = 2,
    steps: int = 300,
    seeds: Sequence[int] = (0,),
    test: int = 20_000,
) -> pd.DataFrame:
    """The estimate of Eq. 4 beside the mutual information, for Gaussians of several correlations.

    Returns:
        One row a (correlation, seed): correlation, seed, information (true, nats), estimate (of a trained T on fresh
        pairs), best (of the log ratio on the same pairs, which no T can exceed but by chance).

    Source: Eq. 3 and 4.
    """
    rows = []
    for correlation in correlations:
        for seed in seeds:
            with torch.enable_grad():
                estimator = trained_estimator(correlation, dimensions, steps, seed=seed)
            generator = torch.Generator().manual_seed(10_000 + seed)
            x, y = gaussian_pairs(test, correlation, dimensions, generator)
            partner = marginal_permutation(test, generator)
            best = [gaussian_log_ratio(x, other, correlation) for other in (y, y[partner])]
            rows.append(
                {
                    "correlation": correlation,
                    "seed": seed,
                    "information": gaussian_information(correlation, dimensions),
                    "estimate": jsd_mutual_information(*_scores(estimator, x, y, partner)).item(),
                    "best": jsd_mutual_information(*best).item(),
                }
            )
    return pd.DataFrame(rows)


def fixed_points(n: int = 15, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How many images of a batch get themselves as a partner, by two ways to draw the marginal.

    Returns:
        One row a (way, draw): way (`plain` permutation or `marginal_permutation`), joint_pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    ways = {
        "plain": lambda: torch.randperm(n, generator=generator),
        "marginal_permutation": lambda: marginal_permutation(n, generator),
    }
    here = torch.arange(n)
    return pd.DataFrame(
        [{"way": way, "joint_pairs": int((draw() == here).sum())} for way, draw in ways.items() for _ in range(draws)]
    )


def estimator_under_decay(
    weight: float = 1.0,
    decay: float = 5e-4,
    decoupled: bool = False,
    correlation: float = 0.5,
    dimensions: int = 8,
    steps: int = 200,
    batch: int = 15,
    lr: float = 1e-3,
    seed: int = 0,
) -> pd.DataFrame:
    """T's weights and its estimate while it ascends `weight` · Î under Adam with weight decay.

    Args:
        weight: of T's own loss: 1, or λ_dec.
        decay: Adam's weight decay; coupled, it is added to the gradient before Adam divides by the gradient's size.
        decoupled: take AdamW, which shrinks the weights beside Adam's step.

    Returns:
        One row a step: step, norm (of all of T's weights before the step), estimate (on the batch of that step).

    Source: §4.1.3 for Adam, its decay and λ_dec.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        estimator = Estimator(dimensions, hidden=32)
    adam = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = adam(estimator.parameters(), lr=lr, weight_decay=decay)
    rows = []
    for step in range(steps):
        x, y = gaussian_pairs(batch, correlation, dimensions, generator)
        estimate = jsd_mutual_information(*_scores(estimator, x, y, marginal_permutation(batch, generator)))
        norm = torch.cat([p.detach().flatten() for p in estimator.parameters()]).norm().item()
        rows.append({"step": step, "norm": norm, "estimate": estimate.item()})
        optimizer.zero_grad()
        (-weight * estimate).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return pd.DataFrame(rows)


# --- gradient reversal ---------------------------------------------------------------------------------------------


def labelled_domains(n: int, seed: int = 0, spread: float = 0.35) -> tuple[Tensor, Tensor, Tensor]:
    """Points of the plane: the first coordinate is ±1 by the label, the second ±1 by the domain, both blurred.

    Returns:
        points (n, 2), labels (n,), domains (n,); both 0 or 1, and independent of each other.
    """
    generator = torch.Generator().manual_seed(seed)
    labels, domains = torch.randint(0, 2, (2, n), generator=generator)
    centres = 2.0 * torch.stack([labels, domains], 1) - 1
    return centres + spread * torch.randn(n, 2, generator=generator), labels, domains


def reversal_toy(
    reversal: float | None,
    steps: int = 600,
    n: int = 200,
    optimizer: Literal["sgd", "adam"] = "sgd",
    head_rate: float = 5.0,
    damping: float = 0.05,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """An encoder with a label head, and a domain head behind the GRL, on `labelled_domains`.

    The encoder is a matrix, the identity at first, and noise: what the matrix makes small is lost in the noise.

    Args:
        reversal: the β that the GRL ends with; it rises as in §4.1.3. None: no GRL, the encoder helps the domain head.
        steps: of the optimizer, each on all points.
        n: points to train on; twice as many others are encoded and measured.
        optimizer: `sgd` at a rate of .1, or `adam` at .01 with decoupled decay.
        head_rate: the domain head's learning rate over the encoder's; 0 leaves it as it was drawn.
        damping: weight decay of the domain head under SGD. Without it head and encoder go round each other for longer.
        seed: of points, noise and heads.

    Returns:
        One row a fresh point: x, y (its embedding), label, domain.
        `label` and `domain`: accuracy of the two heads on fresh points. `label read` and `domain read`: accuracy of 15
        nearest neighbours in the embedding, fitted on one half of the fresh points and measured on the other.

    Source: §3.3; Ganin and Lempitsky (2015).
    """
    points, labels, domains = labelled_domains(n, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        heads = {"label": nn.Linear(2, 1), "domain": nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))}
    generator = torch.Generator().manual_seed(seed)
    matrix = nn.Parameter(torch.eye(2))
    lr = 0.1 if optimizer == "sgd" else 0.01
    groups: list[dict[str, Any]] = [
        {"params": [matrix, *heads["label"].parameters()]},
        {"params": list(heads["domain"].parameters()), "lr": lr * head_rate, "weight_decay": damping},
    ]
    step_by = torch.optim.SGD(groups, lr=lr) if optimizer == "sgd" else torch.optim.AdamW(groups, lr=lr, weight_decay=0)
    for step in range(steps):
        z = _blurred(points @ matrix.T, generator)
        behind = z if reversal is None else gradient_reversal(z, reversal * beta(step / steps))
        loss = _bce(heads["label"](z), labels) + _bce(heads["domain"](behind), domains)
        step_by.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        step_by.step()
    points, labels, domains = labelled_domains(2 * n, seed + 1000)
    with torch.no_grad():
        z = _blurred(points @ matrix.T, generator)
        found = {
            name: ((head(z).squeeze(1) > 0) == truth).double().mean().item()
            for (name, head), truth in zip(heads.items(), (labels, domains), strict=True)
        }
    for name, truth in (("label", labels), ("domain", domains)):
        neighbours = KNeighborsClassifier(15).fit(z[:n], truth[:n])
        found[f"{name} read"] = float(neighbours.score(z[n:], truth[n:]))
    return pd.DataFrame({"x": z[:, 0], "y": z[:, 1], "label": labels, "domain": domains}), found


def _blurred(z: Tensor, generator: torch.Generator) -> Tensor:
    return z + 0.3 * torch.randn(z.shape, generator=generator)


def _bce(logits: Tensor, truth: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.squeeze(1), truth.to(logits.dtype))


# --- ranking -------------------------------------------------------------------------------------------------------


def wmw(scores: Sequence[float], labels: Sequence[int]) -> float:
    """The normalised Wilcoxon-Mann-Whitney statistic, pair by pair as Eq. 6 is printed: a tie counts as wrong.

    Raises:
        DidError: one class is absent.
    """
    fake, real = _two_classes(scores, labels)
    right = 0
    for i in fake:
        for j in real:
            right += i > j
    return right / (len(fake) * len(real))


def auc_loss_by_pairs(scores: Sequence[float], labels: Sequence[int], margin: float = 0.15, power: float = 2) -> float:
    """Eq. 7 and 8 pair by pair, to hold `did.method.losses.auc_loss` against. Raises DidError if a class is absent."""
    fake, real = _two_classes(scores, labels)
    total = 0.0
    for i in fake:
        for j in real:
            if i - j < margin:
                total += (-(i - j - margin)) ** power
    return total / (len(fake) * len(real))


def _two_classes(scores: Sequence[float], labels: Sequence[int]) -> tuple[list[float], list[float]]:
    fake = [s for s, y in zip(scores, labels, strict=True) if y == 1]
    real = [s for s, y in zip(scores, labels, strict=True) if y == 0]
    if not fake or not real:
        raise DidError("a ranking needs a fake (1) and a real (0): give scores of both")
    return fake, real


def surrogate_table(pairs: Sequence[tuple[float, float]], differences: ArrayLike | None = None) -> pd.DataFrame:
    """Eq. 8 for one pair, and its slope, against the difference of the two scores.

    Args:
        pairs: (γ, p) of each curve.
        differences: of a fake's score and a real one's; by default -1 to 1.

    Returns:
        One row a (margin, power, difference): margin, power, difference, loss, slope.
    """
    found = []
    given = np.linspace(-1, 1, 201) if differences is None else np.asarray(differences, dtype=float)
    for margin, power in pairs:
        for difference in given.tolist():
            scores = torch.tensor([difference, 0.0], dtype=torch.float64, requires_grad=True)
            loss = auc_loss(scores, torch.tensor([1, 0]), margin, power)
            (slope,) = torch.autograd.grad(loss, scores)
            row = {"margin": margin, "power": power, "difference": difference}
            found.append({**row, "loss": loss.item(), "slope": slope[0].item()})
    return pd.DataFrame(found)


def turned_line(n: int = 15, angles: int = 721, seed: int = 0, margin: float = 0.15) -> pd.DataFrame:
    """1 - WMW and its surrogate while the line that scores n points of the plane turns.

    A third of the points is fake and lies to the right of the others. The score is cos(a)·x + sin(a)·y.

    Returns:
        One row an angle: angle (degrees), error (1 - WMW), surrogate (L_AUC).
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) < n // 3
    points = rng.normal(0, 0.5, (n, 2)) + np.outer(labels, [0.5, 0.0])
    rows = []
    for angle in np.linspace(-180, 180, angles):
        turned = points @ [math.cos(math.radians(angle)), math.sin(math.radians(angle))]
        loss = auc_loss(torch.from_numpy(turned), torch.from_numpy(labels.astype(int)), margin).item()
        rows.append({"angle": angle, "error": 1 - wmw(turned.tolist(), labels.tolist()), "surrogate": loss})
    return pd.DataFrame(rows)


def batches_of_pairs(
    n: int = 15, fakes: int | None = 12, share: float = 0.8, separation: float = 1.0, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Pairs and the AUC in random batches of scores: real ones N(0, 1), fakes N(separation, 1).

    Args:
        n: scores a batch.
        fakes: of them, in each batch; None: each score is a fake with the chance `share`.

    Returns:
        One row a batch: fakes, pairs, auc (NaN where one class is absent).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        labels = rng.random(n) < share if fakes is None else np.arange(n) < fakes
        scores = rng.normal(size=n) + separation * labels
        k = int(labels.sum())
        rows.append({"fakes": k, "pairs": k * (n - k), "auc": auc(labels, scores) if 0 < k < n else math.nan})
    return pd.DataFrame(rows)


# Two classes of the plane: real ones about 0, fakes about `shift`, each with its own variances along the two axes.
# `equal`: a line is the best there is, whatever the classes' sizes. `unequal`: lines trade one axis for the other.
CLOUDS: Mapping[str, dict[str, tuple[float, float]]] = {
    "equal": {"shift": (1.0, 0.5), "real": (1.0, 1.0), "fake": (1.0, 1.0)},
    "unequal": {"shift": (1.0, 0.5), "real": (1.0, 0.05), "fake": (0.2, 3.0)},
}


def clouds(name: str, reals: int, fakes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points (reals + fakes, 2), float64, and labels of a pair of `CLOUDS`. Raises DidError on an unknown name."""
    if name not in CLOUDS:
        raise DidError(f"unknown clouds '{name}': valid: {', '.join(CLOUDS)}")
    about = {key: torch.tensor(value, dtype=torch.float64) for key, value in CLOUDS[name].items()}
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(reals + fakes, 2, generator=generator, dtype=torch.float64)
    real = noise[:reals] * about["real"].sqrt()
    fake = noise[reals:] * about["fake"].sqrt() + about["shift"]
    return torch.cat([real, fake]), torch.tensor([0] * reals + [1] * fakes)


def line_auc(name: str, weights: ArrayLike) -> float:
    """The AUC of the score w·x on a pair of `CLOUDS`, exactly: Φ(w·shift / √(w'(Σ_real + Σ_fake)w))."""
    about, w = CLOUDS[name], np.asarray(weights, dtype=float)
    variances = np.add(about["real"], about["fake"])
    return float(ndtr(w @ about["shift"] / math.sqrt(w**2 @ variances)))


def best_line(name: str) -> tuple[NDArray, float]:
    """The line that no other beats on a pair of `CLOUDS`, w = (Σ_real + Σ_fake)⁻¹ shift, and its AUC."""
    about = CLOUDS[name]
    w = np.divide(about["shift"], np.add(about["real"], about["fake"]))
    return w, line_auc(name, w)


def trained_line(
    points: Tensor,
    labels: Tensor,
    alpha: float,
    margin: float = 0.15,
    steps: int = 300,
    lr: float = 0.05,
    start: float = 0.0,
) -> tuple[NDArray, float]:
    """A logistic model w·x + b that descends L_cls on all points at once with Adam, from w = 0 and b = `start`.

    Args:
        points: (n, 2), float64. In float32 the rounding of a gradient that should be 0 moves b: Adam divides it by its
            own size.

    Returns:
        w (2,), b.

    Source: Eq. 9.
    """
    weights = torch.zeros(2, dtype=points.dtype, requires_grad=True)
    bias = torch.full((1,), start, dtype=points.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([weights, bias], lr=lr)
    for _ in range(steps):
        loss = classification_loss(points @ weights + bias, labels, alpha, margin)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weights.detach().numpy(), bias.item()


def imbalance_table(
    alphas: Sequence[float] = (1.0, 0.5, 0.0),
    sizes: Sequence[tuple[int, int]] = ((140, 140), (1000, 20)),
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 300,
) -> pd.DataFrame:
    """`trained_line` on both `CLOUDS`, by α and by the sizes of the classes.

    Args:
        sizes: (reals, fakes); the two given here have nearly as many pairs, 19600 and 20000.

    Returns:
        One row a (clouds, size, alpha, seed): clouds, reals, fakes, alpha, seed, w1, w2, b, auc (exact, `line_auc`),
        best (of any line), recall (share of 2000 fresh fakes with σ(score) ≥ .5).
    """
    rows = []
    for name in CLOUDS:
        for reals, fakes in sizes:
            for seed in seeds:
                points, labels = clouds(name, reals, fakes, seed)
                fresh, _ = clouds(name, 0, 2000, seed + 1000)
                for alpha in alphas:
                    w, b = trained_line(points, labels, alpha, steps=steps)
                    row: dict[str, Any] = {"clouds": name, "reals": reals, "fakes": fakes, "alpha": alpha, "seed": seed}
                    row |= {"w1": w[0], "w2": w[1], "b": b, "auc": line_auc(name, w), "best": best_line(name)[1]}
                    rows.append({**row, "recall": float((fresh.numpy() @ w + b >= 0).mean())})
    return pd.DataFrame(rows)


def calibration_table(
    choices: Sequence[tuple[float, float]] = ((1.0, 0.15), (0.5, 0.15), (0.0, 0.15), (0.0, 1.0)),
    n: int = 200,
    start: float = 0.0,
    seed: int = 0,
    steps: int = 300,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `trained_line` on the equal clouds, n points of each class, says of fresh points, by (α, γ).

    Returns:
        One row a (alpha, margin): alpha, margin, size (mean of `|w·x|`), b, auc, error (expected calibration error).
        One row a (alpha, margin, fresh point): alpha, margin, label, probability (σ of the logit).
    """
    points, labels = clouds("equal", n, n, seed)
    fresh, truth = clouds("equal", 5000, 5000, seed + 1000)
    rows, scored = [], []
    for alpha, margin in choices:
        w, b = trained_line(points, labels, alpha, margin, steps, start=start)
        logits = fresh.numpy() @ w + b
        p = expit(logits)
        about = {"alpha": alpha, "margin": margin}
        found = {"auc": auc(truth, logits), "error": calibration_error(truth, p)}
        rows.append({**about, "size": float(np.abs(logits - b).mean()), "b": b, **found})
        scored.append(pd.DataFrame({**about, "label": truth.numpy(), "probability": p}))
    return pd.DataFrame(rows), pd.concat(scored, ignore_index=True)
