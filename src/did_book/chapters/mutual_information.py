"""Chapter 3, mutual information: T on known distributions and the gradient reversal in the plane, with their figures.

What a face hides is known here: the mutual information of two Gaussians, which coordinate of a point carries its label.
So a loss can be seen to do what it should, in seconds and without any data.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from did.method.layers import gradient_reversal
from did.method.losses import jsd_mutual_information, marginal_permutation
from did.method.model import Estimator
from did.method.task import beta
from did.plots.base import GRAY, HATCHES, PALETTE, Plot, canvas, in_order, legend_above, put_stamp
from did.presets import of_preset

#: What the chapter takes at a preset. Sizes only.
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {
        "correlations": (0.0, 0.5, 0.8, 0.95),
        "steps": 150,
        "seeds": (0,),
        "draws": 500,
    },
    "laptop": {
        "correlations": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99),
        "steps": 500,
        "seeds": (0, 1, 2),
        "draws": 2000,
    },
}


def sizes(preset: str) -> dict[str, Any]:
    """Return the sizes of the chapter's experiments.

    Raises:
        DidError: If the preset is unknown.
    """
    return of_preset(SIZES, preset)


def gaussian_pairs(n: int, correlation: float, dimensions: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw two standard normal vectors whose coordinates are correlated one by one.

    Returns:
        x and y, each (n, dimensions); coordinate i of x has the correlation ρ with coordinate i of y, and no other.
    """
    x, noise = torch.randn(2, n, dimensions, generator=generator)
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


def gaussian_information(correlation: float, dimensions: int = 1) -> float:
    """Compute the mutual information of `gaussian_pairs` in nats: -½ log(1 - ρ²) for each dimension."""
    return dimensions / 2 * -math.log1p(-(correlation**2))


def gaussian_log_ratio(x: Tensor, y: Tensor, correlation: float) -> Tensor:
    """Compute log p(x, y) / (p(x) p(y)) of `gaussian_pairs`: the best possible T in Eq. 4.

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
    """Train T by ascending Eq. 4 on `gaussian_pairs`, with fresh pairs in every batch."""
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
    """Apply T to vectors: a vector is a map of one place."""
    return estimator(x[..., None, None], y[..., None, None], partner)


@torch.no_grad()
def information_table(
    correlations: Sequence[float],
    dimensions: int = 2,
    steps: int = 300,
    seeds: Sequence[int] = (0,),
    test: int = 20_000,
) -> pd.DataFrame:
    """Tabulate the estimate of Eq. 4 beside the mutual information, for Gaussians of several correlations.

    Returns:
        One row per (correlation, seed): correlation, seed, information (true, nats), estimate (of a trained T on fresh
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
    """Count the images of a batch that get themselves as a partner, for two ways to draw the marginal.

    Returns:
        One row per (way, draw): way (`plain` permutation or `marginal_permutation`), joint_pairs.
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
    """Record T's weights and estimate while it ascends `weight` · Î under Adam with weight decay.

    Args:
        weight: of T's own loss: 1, or λ_dec.
        decay: Adam's weight decay; coupled, it is added to the gradient before Adam divides by the gradient's size.
        decoupled: take AdamW, which shrinks the weights beside Adam's step.

    Returns:
        One row per step: step, norm (of all of T's weights before the step), estimate (on the batch of that step).

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


def labelled_domains(n: int, seed: int = 0, spread: float = 0.35) -> tuple[Tensor, Tensor, Tensor]:
    """Draw points of the plane: the first coordinate is ±1 by the label, the second ±1 by the domain, both blurred.

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
    head_rate: float = 5.0,
    damping: float = 0.05,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Train an encoder with a label head, and a domain head behind the GRL, on `labelled_domains`.

    The encoder is a matrix, the identity at first, and noise: what the matrix makes small is lost in the noise.

    Args:
        reversal: the β that the GRL ends with; it rises as in §4.1.3. None: no GRL, the encoder helps the domain head.
        steps: of SGD at a rate of .1, each on all points.
        n: points to train on; twice as many others are encoded and measured.
        head_rate: the domain head's learning rate over the encoder's; 0 leaves it as it was drawn.
        damping: weight decay of the domain head. Without it head and encoder go round each other for longer.
        seed: of points, noise and heads.

    Returns:
        One row per fresh point: x, y (its embedding), label, domain.
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
    lr = 0.1
    groups: list[dict[str, Any]] = [
        {"params": [matrix, *heads["label"].parameters()]},
        {"params": list(heads["domain"].parameters()), "lr": lr * head_rate, "weight_decay": damping},
    ]
    step_by = torch.optim.SGD(groups, lr=lr)
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


#: Î of a T that tells nothing.
NOTHING = -2 * math.log(2)


def joint_and_marginal(x: Tensor, y: Tensor, partner: Tensor, counts: pd.DataFrame, stamp: str) -> Plot:
    """Draw joint pairs, marginal pairs, and how many joint pairs two ways to draw the marginal leave in it.

    Args:
        x, y: (n,) two numbers of each image.
        partner: (n,) whose y is paired with each x in the marginal.
        counts: from `did_book.chapters.mutual_information.fixed_points`.
        stamp: where the numbers come from.
    """
    figure, axes = canvas(9.6, 3.2, 1, 3)
    pairs = {"joint: same image": y, "marginal: y of another image": y[partner]}
    tables, said = [], []
    for axis, (title, other), colour, marker in zip(
        axes[0], pairs.items(), (PALETTE[6], PALETTE[4]), "o^", strict=False
    ):
        axis.scatter(x, other, 12, color=colour, marker=marker, alpha=0.6, lw=0)
        axis.set(title=title, xlabel="x", ylabel="y", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
        tables.append(pd.DataFrame({"pairs": title, "x": x, "y": other}))
        said.append(f"correlation of the {title.split(':')[0]} pairs {np.corrcoef(x, other)[0, 1]:.3f}")
    axis = axes[0, 2]
    most = counts.joint_pairs.max()
    for i, way in enumerate(in_order(counts.way)):
        mine = counts.joint_pairs[counts.way == way]
        shares = mine.value_counts(normalize=True).reindex(range(most + 1), fill_value=0.0)
        axis.bar(shares.index + 0.4 * i - 0.2, shares, 0.38, color=PALETTE[1 + i], hatch=HATCHES[i], edgecolor="white",
                 label=way.replace("_", " "))  # fmt: skip
        said.append(f"{way.replace('_', ' ')}: {mine.mean():.3f} joint pairs a batch")
    axis.set(title="joint pairs left in the marginal", xlabel="of a batch", ylabel="share of batches")
    axis.set_xticks(range(most + 1))
    axis.legend(fontsize=7)
    for axis in axes[0]:
        sns.despine(ax=axis)
    put_stamp(figure, stamp)
    data = pd.concat(tables, ignore_index=True)
    return Plot(figure, data, f"Pairs of two correlated numbers; {'; '.join(said)}.")


def estimate_by_separation(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw Î of a T that gives t to every joint pair and -t to every marginal one.

    Args:
        table: columns t, estimate.
        stamp: where the numbers come from.
    """
    figure, axes = canvas(4.8, 3.0)
    axis = axes[0, 0]
    axis.plot(table.t, table.estimate, color=PALETTE[6])
    axis.axhline(NOTHING, color=GRAY, ls=":", label="-2 log 2: T tells nothing")
    axis.axhline(0, color=GRAY, ls="--", label="0: T tells every pair")
    axis.set(xlabel="t: T of a joint pair, -t of a marginal one", ylabel="Î, nats")
    axis.legend(fontsize=8)
    sns.despine(ax=axis)
    put_stamp(figure, stamp)
    low, high = table.loc[table.t.idxmin()], table.loc[table.t.idxmax()]
    middle = table.loc[table.t.abs().idxmin()]
    said = ", ".join(f"{row.estimate:.3f} at t = {row.t:.3f}" for row in (low, middle, high))
    return Plot(figure, table, f"The estimate of Eq. 4 against T's score of joint pairs: {said}.")


def estimate_against_information(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw Î beside the true mutual information, as printed in Eq. 4 and with 2 log 2 added.

    Args:
        table: from `did_book.chapters.mutual_information.information_table`.
        stamp: where the numbers come from.
    """
    data = table.groupby("correlation", as_index=False)[["information", "estimate", "best"]].mean()
    figure, axes = canvas(9.2, 3.6, 1, 2)
    for axis, shift, title in zip(axes[0], (0.0, -NOTHING), ("Î of Eq. 4", "Î + 2 log 2"), strict=True):
        axis.plot(data.information, data.best + shift, color=GRAY, label="best T there is (known here)")
        axis.plot(table.information, table.estimate + shift, "o", color=PALETTE[4], ms=5, label="trained T")
        axis.set(title=title, xlabel="true mutual information, nats", ylabel="nats")
        sns.despine(ax=axis)
    axes[0, 0].axhline(NOTHING, color="black", ls=":", lw=1, label="-2 log 2")
    axes[0, 0].axhline(0, color="black", ls="--", lw=1, label="0")
    axes[0, 1].plot([0, data.information.max()], [0, data.information.max()], color=PALETTE[6], label="equality")
    axes[0, 1].axhline(-NOTHING, color="black", ls="-.", lw=1, label="2 log 2")
    legend_above(figure, axes, 6)
    put_stamp(figure, stamp)
    said = "; ".join(
        f"{row.information:.3f} nats: trained T {row.estimate:.3f}, best {row.best:.3f}" for row in data.itertuples()
    )
    return Plot(figure, table, f"The estimate against the mutual information of Gaussians. {said}.")


def reversal_panels(
    embedded: Mapping[str, pd.DataFrame], measures: Mapping[str, Mapping[str, float]], stamp: str
) -> Plot:
    """Draw the embedding of points in the plane, one panel per way to train: colour is label, shape is domain.

    Args:
        embedded: way -> the points of `did_book.chapters.mutual_information.reversal_toy`.
        measures: way -> its accuracies.
        stamp: where the numbers come from.
    """
    figure, axes = canvas(3.1 * len(embedded) + 0.2, 3.6, 1, len(embedded), sharex=True, sharey=True)
    said = []
    for axis, (way, points) in zip(axes[0], embedded.items(), strict=True):
        for label in (0, 1):
            for domain in (0, 1):
                mine = points[(points.label == label) & (points.domain == domain)]
                axis.scatter(mine.x, mine.y, 16, color=PALETTE[(6, 4)[label]], marker="o^"[domain], alpha=0.6, lw=0,
                             label=f"label {label}, domain {domain}")  # fmt: skip
        found = measures[way]
        axis.set_title(f"{way}\nread by neighbours: label {found['label read']:.2f}, domain {found['domain read']:.2f}",
                       fontsize=8)  # fmt: skip
        axis.set(aspect="equal", xlabel="first coordinate of the embedding")
        sns.despine(ax=axis)
        said.append(
            f"{way}: domain head {found['domain']:.3f}, neighbours read the label {found['label read']:.3f} and the "
            f"domain {found['domain read']:.3f}"
        )
    axes[0, 0].set_ylabel("second")
    legend_above(figure, axes, 4)
    put_stamp(figure, stamp)
    data = pd.concat([points.assign(way=way) for way, points in embedded.items()], ignore_index=True)
    return Plot(figure, data, f"Embeddings of points with a label and a domain. {'; '.join(said)}.")


def decay_curves(histories: Mapping[str, pd.DataFrame], stamp: str) -> Plot:
    """Draw T's weights and its estimate over the steps, by the weight of its loss and the kind of decay.

    Args:
        histories: name -> table of `did_book.chapters.mutual_information.estimator_under_decay`.
        stamp: where the numbers come from.
    """
    figure, axes = canvas(9.2, 3.2, 1, 2)
    said = []
    for (name, table), colour, style in zip(
        histories.items(), (PALETTE[6], PALETTE[4], PALETTE[3], PALETTE[1]), ("-", "--", "-.", ":"), strict=False
    ):
        smooth = table.estimate.rolling(20, min_periods=1).mean()
        axes[0, 0].plot(table.step, table.norm, color=colour, ls=style, lw=2, label=name)
        axes[0, 1].plot(table.step, smooth, color=colour, ls=style, lw=2)
        said.append(
            f"{name}: norm from {table.norm.iloc[0]:.3f} to {table.norm.iloc[-1]:.3f}, estimate at last "
            f"{smooth.iloc[-1]:.3f}"
        )
    axes[0, 0].set(title="norm of T's weights", xlabel="step", ylim=(0, None))
    axes[0, 1].axhline(NOTHING, color="black", ls=":", lw=1, label="-2 log 2")
    axes[0, 1].set(title="Î, mean of 20 steps", xlabel="step")
    for axis in axes[0]:
        sns.despine(ax=axis)
    legend_above(figure, axes, 4)
    put_stamp(figure, stamp)
    data = pd.concat([table.assign(way=name) for name, table in histories.items()], ignore_index=True)
    return Plot(figure, data, f"T under weight decay. {'; '.join(said)}.")
