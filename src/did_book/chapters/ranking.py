"""Chapter 4: ranking by pairs, in small experiments on known distributions, each above its figure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtr
from sklearn.metrics import roc_curve
from torch import Tensor

from did.errors import DidError
from did.evaluation import auc, calibration_error
from did.method.losses import auc_loss, classification_loss
from did.plots.base import GRAY, HATCHES, MARKERS, PALETTE, Plot, canvas, in_order, put_stamp
from did.presets import of_preset

#: What the chapter takes at a preset. Sizes only.
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": (0,), "draws": 500, "alphas": (1.0, 0.5, 0.0)},
    "laptop": {"seeds": (0, 1, 2), "draws": 2000, "alphas": (1.0, 0.75, 0.5, 0.25, 0.0)},
}


def sizes(preset: str) -> dict[str, Any]:
    """Return the sizes of the chapter's experiments.

    Raises:
        DidError: If the preset is unknown.
    """
    return of_preset(SIZES, preset)


def wmw(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Compute the normalised Wilcoxon-Mann-Whitney statistic, pair by pair as Eq. 6 is printed: a tie is wrong.

    Raises:
        DidError: If one class is absent.
    """
    fake, real = _two_classes(scores, labels)
    right = 0
    for i in fake:
        for j in real:
            right += i > j
    return right / (len(fake) * len(real))


def auc_loss_by_pairs(scores: Sequence[float], labels: Sequence[int], margin: float = 0.15, power: float = 2) -> float:
    """Compute Eq. 7 and 8 pair by pair, as a reference for `did.method.losses.auc_loss`.

    Raises:
        DidError: If a class is absent.
    """
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
    """Tabulate Eq. 8 for one pair, and its slope, against the difference of the two scores.

    Args:
        pairs: (γ, p) of each curve.
        differences: of a fake's score and a real one's; by default -1 to 1.

    Returns:
        One row per (margin, power, difference): margin, power, difference, loss, slope.
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
    """Tabulate 1 - WMW and its surrogate while the line that scores n points of the plane turns.

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
    """Tabulate pairs and AUC in random batches of scores: real ones N(0, 1), fakes N(separation, 1).

    Args:
        n: scores a batch.
        fakes: of them, in each batch; None: each score is a fake with the chance `share`.

    Returns:
        One row per batch: fakes, pairs, auc (NaN where one class is absent).
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
    """Draw points (reals + fakes, 2), float64, and labels of a pair of `CLOUDS`.

    Raises:
        DidError: If the name is unknown.
    """
    if name not in CLOUDS:
        raise DidError(f"unknown clouds '{name}': valid: {', '.join(CLOUDS)}")
    about = {key: torch.tensor(value, dtype=torch.float64) for key, value in CLOUDS[name].items()}
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(reals + fakes, 2, generator=generator, dtype=torch.float64)
    real = noise[:reals] * about["real"].sqrt()
    fake = noise[reals:] * about["fake"].sqrt() + about["shift"]
    return torch.cat([real, fake]), torch.tensor([0] * reals + [1] * fakes)


def line_auc(name: str, weights: ArrayLike) -> float:
    """Compute the exact AUC of the score w·x on a pair of `CLOUDS`: Φ(w·shift / √(w'(Σ_real + Σ_fake)w))."""
    about, w = CLOUDS[name], np.asarray(weights, dtype=float)
    variances = np.add(about["real"], about["fake"])
    return float(ndtr(w @ about["shift"] / math.sqrt(w**2 @ variances)))


def best_line(name: str) -> tuple[NDArray, float]:
    """Return the best line on a pair of `CLOUDS`, w = (Σ_real + Σ_fake)⁻¹ shift, and its AUC."""
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
    """Train a logistic model w·x + b on L_cls over all points with Adam, from w = 0 and b = `start`.

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
    """Tabulate `trained_line` on both `CLOUDS`, by α and by the sizes of the classes.

    Args:
        sizes: (reals, fakes); the two given here have nearly as many pairs, 19600 and 20000.

    Returns:
        One row per (clouds, size, alpha, seed): clouds, reals, fakes, alpha, seed, w1, w2, b, auc (exact, `line_auc`),
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
    """Tabulate what `trained_line` on the equal clouds says of fresh points, by (α, γ).

    There are n points of each class.

    Returns:
        One row per (alpha, margin): alpha, margin, size (mean of `|w·x|`), b, auc, error (expected calibration error).
        One row per (alpha, margin, fresh point): alpha, margin, label, probability (σ of the logit).
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


_STYLES = ("-", "--", "-.", ":")


def pair_grid(scores: ArrayLike, labels: ArrayLike, stamp: str) -> Plot:
    """Draw every pair of a fake and a real, dark if the fake scores higher (Eq. 6), with the ROC curve over it.

    Fakes are rows and reals columns, each from the highest score on: then the edge of the dark area is the ROC curve.

    Args:
        scores, labels: (n,); no two scores alike.
        stamp: where the numbers come from.

    Raises:
        DidError: If one class is absent.
    """
    s, y = np.asarray(scores, dtype=float), np.asarray(labels)
    fake, real = (np.sort(s[y == label])[::-1] for label in (1, 0))
    if not len(fake) or not len(real):
        raise DidError("a grid of pairs needs a fake (1) and a real (0): give scores of both")
    right = fake[:, None] > real[None, :]
    figure, axes = canvas(5.0, 4.4)
    axis = axes[0, 0]
    axis.imshow(right, cmap="Greys", vmin=0, vmax=1.6, origin="lower", extent=(0, 1, 0, 1), aspect="auto")
    axis.set_xticks(np.arange(len(real) + 1) / len(real), [], minor=False)
    axis.set_yticks(np.arange(len(fake) + 1) / len(fake), [])
    axis.grid(color="white")
    fpr, tpr, _ = roc_curve(y, s, drop_intermediate=False)
    axis.plot(fpr, tpr, color=PALETTE[4], lw=3, label="ROC curve", clip_on=False)
    axis.set(xlabel="reals, the highest score first", ylabel="fakes, the highest score first")
    axis.set_title(f"{right.sum()} of {right.size} pairs in the right order")
    axis.legend(loc="lower right")
    put_stamp(figure, stamp)
    data = pd.DataFrame([{"fake": i, "real": j, "right": bool(i > j)} for i in fake.tolist() for j in real.tolist()])
    share = right.mean()
    return Plot(
        figure, data, f"{right.sum()} of {right.size} pairs of a fake and a real in the right order: AUC {share:.3f}."
    )


def turning_line(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw 1 - WMW, which is flat between its steps, and the surrogate, which slopes.

    Args:
        table: from `did_book.chapters.ranking.turned_line`.
        stamp: where the numbers come from.
    """
    figure, axes = canvas(8.4, 3.0)
    axis = axes[0, 0]
    axis.step(table.angle, table.error, where="mid", color=PALETTE[6], label="1 - WMW (left scale)")
    axis.set(xlabel="direction of the score, degrees", ylabel="1 - WMW", xticks=range(-180, 181, 60))
    twin = axis.twinx()
    twin.plot(table.angle, table.surrogate, color=PALETTE[4], ls="--", label="L_AUC (right scale)")
    twin.set_ylabel("L_AUC")
    handles = [*axis.get_lines(), *twin.get_lines()]
    axis.legend(handles, [str(line.get_label()) for line in handles], fontsize=8, loc="lower left")
    sns.despine(ax=axis, right=False)
    put_stamp(figure, stamp)
    flat = (table.error.diff().iloc[1:] == 0).mean()
    best = table.loc[table.surrogate.idxmin()]
    return Plot(
        figure,
        table,
        f"As the score turns, 1 - WMW goes from {table.error.min():.3f} to {table.error.max():.3f} and does not change "
        f"in {flat:.3f} of the steps; L_AUC is least ({best.surrogate:.3f}) where 1 - WMW is {best.error:.3f}.",
    )


def surrogate_curves(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw Eq. 8 against the difference of a pair's scores, and its slope, for several γ and p.

    Args:
        table: from `did_book.chapters.ranking.surrogate_table`.
        stamp: where the numbers come from.
    """
    figure, axes = canvas(9.2, 3.4, 1, 2)
    said = []
    for i, ((margin, power), part) in enumerate(table.groupby(["margin", "power"], sort=False)):
        name = f"γ = {margin:g}, p = {power:g}"
        for axis, column in zip(axes[0], ("loss", "slope"), strict=True):
            axis.plot(part.difference, part[column], color=PALETTE[(6, 4, 3, 5, 1)[i % 5]], ls=_STYLES[i % 4], lw=2,
                      label=name)  # fmt: skip
        middle = part.loc[part.difference.abs().idxmin()]
        said.append(f"{name}: loss {middle.loss:.3f} and slope {middle.slope:.3f} at a difference of 0")
    wrong = np.array([table.difference.min(), 0, 0, table.difference.max()])
    axes[0, 0].plot(wrong, [1, 1, 0, 0], color=GRAY, lw=1, label="wrong order: 1")
    axes[0, 0].set(title="loss of one pair", xlabel="s_fake - s_real")
    axes[0, 1].set(title="slope", xlabel="s_fake - s_real")
    axes[0, 0].legend(fontsize=8)
    for axis in axes[0]:
        sns.despine(ax=axis)
    put_stamp(figure, stamp)
    return Plot(figure, table, f"The loss of a pair against the difference of its scores. {'; '.join(said)}.")


def batch_histograms(batches: dict[str, pd.DataFrame], stamp: str) -> Plot:
    """Draw how many pairs a batch has, and how far the AUC of a batch lies from that of all scores.

    Args:
        batches: name -> table of `did_book.chapters.ranking.batches_of_pairs`.
        stamp: where the numbers come from.
    """
    figure, axes = canvas(9.2, 3.2, 1, 2)
    most = max(table.pairs.max() for table in batches.values())
    said = []
    for i, (name, table) in enumerate(batches.items()):
        look = {"color": PALETTE[1 + i], "hatch": HATCHES[i], "edgecolor": "white", "alpha": 0.75, "label": name}
        weights = np.full(len(table), 1 / len(table))
        axes[0, 0].hist(table.pairs, bins=np.arange(-1, most + 4, 2).tolist(), weights=weights, **look)
        known = table.auc.dropna()
        axes[0, 1].hist(known, bins=np.linspace(0, 1, 26).tolist(), weights=weights[: len(known)], **look)
        said.append(
            f"{name}: {table.pairs.mean():.3f} pairs on average, none in {(table.pairs == 0).mean():.3f} of the "
            f"batches; AUC {known.mean():.3f}, deviation {known.std():.3f}"
        )
    axes[0, 0].set(xlabel="pairs in a batch", ylabel="share of batches")
    axes[0, 1].set(xlabel="AUC in a batch")
    axes[0, 0].legend(fontsize=8)
    for axis in axes[0]:
        sns.despine(ax=axis)
    put_stamp(figure, stamp)
    data = pd.concat([table.assign(batch=name) for name, table in batches.items()], ignore_index=True)
    return Plot(figure, data, f"Pairs in small batches. {'; '.join(said)}.")


def imbalance_panels(table: pd.DataFrame, stamp: str, seed: int = 0) -> Plot:
    """Draw the lines that each α learns from 1:50 points, and below their AUC by the classes' sizes.

    Args:
        table: from `did_book.chapters.ranking.imbalance_table`; of several sizes, the points of the last are drawn.
        stamp: where the numbers come from.
        seed: whose points and lines are drawn.
    """
    names, alphas = in_order(table.clouds), in_order(table.alpha)
    sizes = list(dict.fromkeys(zip(table.reals, table.fakes, strict=True)))
    reals, fakes = sizes[-1]
    figure, axes = canvas(9.2, 6.4, 2, len(names))
    said = []
    for (above, below), name in zip(axes.T, names, strict=True):
        points, labels = clouds(name, reals, fakes, seed)
        for label, colour, marker, size in ((0, PALETTE[2], ".", 8), (1, PALETTE[4], "^", 30)):
            above.scatter(*points[labels == label].T, size, color=colour, marker=marker, alpha=0.7, lw=0)
        part = table[table.clouds == name]
        drawn = part[(part.seed == seed) & (part.reals == reals) & (part.fakes == fakes)]
        arrows = [(f"α = {row.alpha:g}", np.array([row.w1, row.w2])) for row in drawn.itertuples()]
        for i, (arrow, w) in enumerate([*arrows, ("best", best_line(name)[0])]):
            colour = "black" if arrow == "best" else PALETTE[(6, 5, 1, 3, 7)[i % 5]]
            ends = np.array([[0, 0], 2.6 * w / np.linalg.norm(w)])
            above.plot(*ends.T, color=colour, ls=_STYLES[i % 4], lw=2.2, marker=MARKERS[i], markevery=[1], label=arrow)
        above.set(title=f"{name} variances, {reals} reals and {fakes} fakes", aspect="equal", xlim=(-3.5, 3.5))
        above.set_ylim(-3.5, 4)
        above.legend(fontsize=7, loc="lower left", title="direction of the score")
        for i, (r, f) in enumerate(sizes):
            mine = part[(part.reals == r) & (part.fakes == f)].groupby("alpha").auc.agg(["mean", "min", "max"])
            place = np.array([alphas.index(a) for a in mine.index]) + 0.16 * (i - (len(sizes) - 1) / 2)
            below.vlines(place, mine["min"], mine["max"], color=PALETTE[(6, 4)[i % 2]])
            below.plot(place, mine["mean"], MARKERS[i], color=PALETTE[(6, 4)[i % 2]], label=f"{r} reals, {f} fakes")
            said += [f"{name}, {r}:{f}, α = {a:g}: {value:.3f}" for a, value in mine["mean"].items()]
        below.axhline(part.best.iloc[0], color="black", lw=1, label="best line")
        below.set_xticks(range(len(alphas)), [f"α = {alpha:g}" for alpha in alphas])
        below.set(ylabel="AUC", xlim=(-0.6, len(alphas) - 0.4))
        below.legend(fontsize=7)
        sns.despine(ax=above)
        sns.despine(ax=below)
        said.append(f"{name}, best line: {part.best.iloc[0]:.3f}")
    low, high = min(axis.get_ylim()[0] for axis in axes[1]), max(axis.get_ylim()[1] for axis in axes[1])
    for axis in axes[1]:
        axis.set_ylim(low, high)
    put_stamp(figure, stamp)
    return Plot(figure, table, f"AUC of lines by clouds, sizes and α, means over seeds: {'; '.join(said)}.")
