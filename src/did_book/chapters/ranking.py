"""Figures of the chapter on ranking: pairs, the surrogate of the AUC, imbalance."""

import numpy as np
import pandas as pd
import seaborn as sns
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from did.errors import DidError
from did.plots.base import GRAY, HATCHES, MARKERS, PALETTE, Plot, canvas, in_order, put_stamp
from did_book.chapters.toys import best_line, clouds

_STYLES = ("-", "--", "-.", ":")


def pair_grid(scores: ArrayLike, labels: ArrayLike, stamp: str) -> Plot:
    """Every pair of a fake and a real, dark where the fake scores higher (Eq. 6), with the ROC curve over it.

    Fakes are rows and reals columns, each from the highest score on: then the edge of the dark area is the ROC curve.

    Args:
        scores, labels: (n,); no two scores alike.
        stamp: where the numbers come from.

    Raises:
        DidError: one class is absent.
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
    """1 - WMW, which is flat between its steps, and the surrogate, which slopes.

    Args:
        table: from `did_book.chapters.toys.turned_line`.
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
    """Eq. 8 against the difference of a pair's scores, and its slope, for several γ and p.

    Args:
        table: from `did_book.chapters.toys.surrogate_table`.
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
    """How many pairs a batch has, and how far the AUC of a batch lies from that of all scores.

    Args:
        batches: name -> table of `did_book.chapters.toys.batches_of_pairs`.
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
    """Above: 1:50 points with the lines that each α learns. Below: the AUC of these lines, by the classes' sizes.

    Args:
        table: from `did_book.chapters.toys.imbalance_table`; of several sizes, the points of the last are drawn.
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
