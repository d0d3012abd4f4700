"""Figures of the chapter on mutual information: T on known distributions, and the gradient reversal in the plane."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from torch import Tensor

from did.plots.base import GRAY, HATCHES, PALETTE, Plot, canvas, in_order, legend_above, put_stamp

#: Î of a T that tells nothing.
NOTHING = -2 * math.log(2)


def joint_and_marginal(x: Tensor, y: Tensor, partner: Tensor, counts: pd.DataFrame, stamp: str) -> Plot:
    """Joint pairs, marginal pairs, and how many joint pairs two ways to draw the marginal leave in it.

    Args:
        x, y: (n,) two numbers of each image.
        partner: (n,) whose y stands beside each x in the marginal.
        counts: from `did_book.chapters.toys.fixed_points`.
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
    """Î of a T that gives t to every joint pair and -t to every marginal one.

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
    """Î beside the true mutual information, as printed in Eq. 4 and with 2 log 2 added.

    Args:
        table: from `did_book.chapters.toys.information_table`.
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
    """The embedding of points in the plane, a panel a way to train it: colour is the label, shape the domain.

    Args:
        embedded: way -> the points of `did_book.chapters.toys.reversal_toy`.
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
    """T's weights and its estimate over the steps, by the weight of its loss and the kind of decay.

    Args:
        histories: name -> table of `did_book.chapters.toys.estimator_under_decay`.
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
