"""What happened in training: losses, gradients, T's estimate and the attention maps."""

import math
from collections.abc import Mapping

import pandas as pd
import seaborn as sns

from did.plots.base import GRAY, PALETTE, Plot, canvas, colours, entry, put_stamp


def loss_curves(history: pd.DataFrame, stamp: str) -> Plot:
    """Draw the named losses, the validation AUC, T's estimate, and the gradients that reach G."""
    losses = [c for c in ("cls", "dom", "dec", "bce", "auc loss") if c in history]
    gradients = [c for c in history if c.startswith("gradient")]
    steps = history[history[losses[0]].notna()]
    figure, axes = canvas(11, 5.6, 2, 2)
    a, b, c, d = axes.ravel()
    for name, colour in colours(losses).items():
        a.plot(steps.iteration, steps[name], color=colour, label=name)
    a.set(title="losses (terms as weighted in the sum; bce and auc loss plain)")
    a.legend(fontsize=8, ncols=2)
    validated = history[history["validation AUC"].notna()]
    b.plot(validated.iteration, validated["validation AUC"], "o-", color=PALETTE[6])
    if "domain accuracy" in steps:
        b.plot(steps.iteration, steps["domain accuracy"], color=PALETTE[3], lw=1, label="domain accuracy, batch")
    if "T accuracy" in steps:
        b.plot(steps.iteration, steps["T accuracy"], color=PALETTE[4], lw=1, label="T accuracy, batch")
    b.set(title="validation AUC (dots), accuracies in the batch", ylim=(0, 1.02))
    b.legend(fontsize=8)
    if "estimate" in steps:
        c.plot(steps.iteration, steps.estimate, color=PALETTE[4], label="T's estimate Î (Eq. 4)")
        c.axhline(-2 * math.log(2), color=GRAY, ls=":", label="-2 log 2: T sees nothing")
        c.axhline(0, color=GRAY, ls="--", label="0: T tells every pair")
        c.legend(fontsize=8)
    c.set(title="T's estimate of dependence")
    for name, colour in colours(gradients).items():
        d.plot(steps.iteration, steps[name], color=colour, label=name)
    d.set(title="norm of the gradient that reaches G's output", yscale="log")
    d.legend(fontsize=8)
    for axis in axes.ravel():
        axis.set_xlabel("iteration")
        sns.despine(ax=axis)
    put_stamp(figure, stamp)
    first, last = steps.iloc[0], steps.iloc[-1]
    parts = [f"{name} from {first[name]:.3f} to {last[name]:.3f}" for name in losses]
    if "estimate" in steps:
        parts.append(f"T's estimate from {first.estimate:.3f} to {last.estimate:.3f}")
    parts.append(f"validation AUC at last {validated['validation AUC'].iloc[-1]:.3f}")
    return Plot(figure, history, "Training curves: " + ", ".join(parts) + ".")


def map_curves(history: pd.DataFrame, stamp: str) -> Plot:
    """Draw the mean, saturated share and spreads of M_df and M_dom over training."""
    steps = history[history["M_df mean"].notna()]
    keys = ["mean", "saturated", "channels", "places", "images"]
    labels = {
        "mean": "mean",
        "saturated": "share outside [.02, .98]",
        "channels": "s.d. over channels",
        "places": "s.d. over places",
        "images": "s.d. over images",
    }
    figure, axes = canvas(11, 3, 1, 2)
    for axis, name in zip(axes[0], ("M_df", "M_dom"), strict=True):
        for key, colour in colours(keys).items():
            axis.plot(steps.iteration, steps[f"{name} {key}"], color=colour, label=labels[key])
        axis.set(title=name, xlabel="iteration", ylim=(-0.02, 1.02))
        sns.despine(ax=axis)
    axes[0, 0].legend(fontsize=8)
    put_stamp(figure, stamp)
    columns = ["iteration", *(f"{name} {key}" for name in ("M_df", "M_dom") for key in keys)]
    last = steps.iloc[-1]
    said = "; ".join(
        f"{name} ends at mean {last[f'{name} mean']:.3f}, saturated share {last[f'{name} saturated']:.3f}, "
        f"deviation over channels {last[f'{name} channels']:.3f}, over images {last[f'{name} images']:.3f}"
        for name in ("M_df", "M_dom")
    )
    return Plot(figure, steps[columns], f"Statistics of the attention maps over training: {said}.")


def compare_histories(histories: Mapping[str, pd.DataFrame], stamp: str) -> Plot:
    """Draw the game between T and the features, and the state of M_df, for several runs in the same axes."""
    panels = {
        "estimate": "T's estimate Î",
        "T accuracy": "T's accuracy in the batch",
        "gradient ratio": "gradient at G: from T over from C",
        "M_df saturated": "M_df: share outside [.02, .98]",
        "M_df channels": "M_df: s.d. over channels",
        "M_df images": "M_df: s.d. over images",
    }
    frames = []
    for name, history in histories.items():
        steps = history[history.cls.notna()]
        if "gradient from T" in steps:
            ratio = steps["gradient from T"] / steps["gradient from C"]
            steps = steps.assign(**{"gradient ratio": ratio.where(ratio > 0)})  # 0 at the start, where β is 0
        frames.append(steps.reindex(columns=["iteration", *panels]).assign(run=name))
    data = pd.concat(frames, ignore_index=True)
    figure, axes = canvas(11, 6.4, 2, 3)
    for axis, (key, title) in zip(axes.ravel(), panels.items(), strict=True):
        for name, colour in colours(list(histories)).items():
            part = data[(data.run == name) & data[key].notna()]
            smooth = part[key].rolling(5, min_periods=1).mean()
            axis.plot(part.iteration, smooth, color=colour, label=entry(name), ls="--" if name == "default" else "-")
        axis.set(title=title, xlabel="iteration")
        sns.despine(ax=axis)
    axes[0, 0].axhline(-2 * math.log(2), color=GRAY, ls=":")
    axes[0, 2].set_yscale("log")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    put_stamp(figure, stamp)
    last = data.groupby("run", sort=False).tail(10).groupby("run", sort=False)[["estimate", "M_df saturated"]].mean()
    said = "; ".join(
        f"{name}: estimate {row.estimate:.3f}, saturated share {row['M_df saturated']:.3f}"
        for name, row in last.iterrows()
    )
    return Plot(figure, data, f"T and M_df under {len(histories)} readings, means of the last ten points: {said}.")


def weight_paths(paths: pd.DataFrame, stamp: str) -> Plot:
    """Draw the weight of each loss over training, one panel per loss and one line per rule.

    Args:
        paths: row, iteration, and the weights: `weight of cls`, `weight of dom`, `weight of dec`.
        stamp: where the numbers come from.
    """
    names = [name for name in paths if name.startswith("weight of")]
    rows = list(dict.fromkeys(paths.row))
    figure, axes = canvas(10, 3, 1, len(names))
    for axis, name in zip(axes[0], names, strict=True):
        for row, colour in colours(rows).items():
            of = paths[paths.row == row]
            axis.plot(of.iteration, of[name], color=colour, label=entry(row))
        axis.set(title=name, xlabel="iteration", yscale="log")
        sns.despine(ax=axis)
    axes[0, 0].legend(fontsize=8)
    put_stamp(figure, stamp)
    last = paths.groupby("row", sort=False).tail(1)
    said = "; ".join(
        f"{row['row']}: {', '.join(f'{name} {row[name]:.3f}' for name in names)}" for row in last.to_dict("records")
    )
    return Plot(figure, paths, f"Weights of the losses over training, at the end {said}.")
