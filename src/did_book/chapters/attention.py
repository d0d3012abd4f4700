"""Chapter 2, the attention network: small experiments on its pooling, merge and saturation, each above its figure.

Their inputs are drawn at random, from a seed; no data set is read. What an experiment gives is a table, or what the
package's own layers return, and the figure draws that and nothing else.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor, nn

from did.errors import DidError
from did.method.layers import Attention, ChannelAttention
from did.method.model import map_statistics
from did.plots.base import GRAY, HATCHES, MARKERS, PALETTE, Plot, canvas, in_order, legend_above, put_stamp

_LINES = ["-", "--", "-.", ":"]


def pattern_maps(side: int = 6) -> dict[str, Tensor]:
    """Make four feature maps (side, side) of the same mean, .5, that differ in shape."""
    spike, left, stripes = (torch.zeros(side, side) for _ in range(3))
    spike[side // 2, side // 2] = side * side / 2
    left[:, : side // 2] = 1
    stripes[:, ::2] = 1
    return {"flat": torch.full((side, side), 0.5), "spike": spike, "half": left, "stripes": stripes}


def pooled_patterns(maps: Mapping[str, Tensor], kernel: Tensor) -> pd.DataFrame:
    """Pool single channels by S-GAP, S-GMP and S-ADP (sum), as the channel branch does, with a given kernel.

    Args:
        maps: name -> (h, w), all of one size; each is a channel of one feature map.
        kernel: (3, 3), the depthwise kernel of every channel; the PReLU after it has its initial slope, .25.

    Returns:
        One row per map: map, S-GAP, S-GMP, S-ADP.
    """
    branch = ChannelAttention(len(maps), 1, "sum")
    adaptive: Any = branch.adaptive[0]
    with torch.no_grad():
        adaptive.weight.copy_(kernel.expand_as(adaptive.weight))
        adaptive.bias.zero_()
        pooled = _concatenated(branch, torch.stack(list(maps.values()))[None])[0]
    table = pd.DataFrame(pooled.T.numpy(), columns=["S-GAP", "S-GMP", "S-ADP"])
    table.insert(0, "map", list(maps))
    return table


def _concatenated(branch: ChannelAttention, x: Tensor) -> Tensor:
    """Return what the channel branch concatenates for x: the input of its first convolution, (n, 3, c)."""
    caught: list[Tensor] = []
    hook = branch.squeeze.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    try:
        with torch.no_grad():
            branch(x)
    finally:
        hook.remove()
    return caught[0].unflatten(1, (3, -1))


def pattern_bars(maps: Mapping[str, Tensor], table: pd.DataFrame, stamp: str) -> Plot:
    """Draw feature maps above, and what three poolings show of them below.

    The table is from `pooled_patterns`.
    """
    poolings = [name for name in table if name != "map"]
    figure, axes = canvas(8.4, 4.0, 2, len(maps), height_ratios=[1, 1.3])
    for (above, below), (name, one) in zip(axes.T, maps.items(), strict=True):
        above.imshow(one, cmap="viridis", vmin=0, vmax=1)
        above.set(xticks=[], yticks=[], title=name)
        values = table.set_index("map").loc[name, poolings]
        below.barh(poolings, values, color=PALETTE[1:4], hatch=HATCHES[:3], edgecolor="white")
        for place, value in enumerate(values):
            below.text(max(value, 0), place, f" {value:.2f}", va="center", fontsize=8)
        below.axvline(0, color="black", lw=0.8)
        below.set(xlim=(min(0, 1.2 * table[poolings].min().min()), 1.35 * table[poolings].max().max()))
        below.invert_yaxis()
        below.label_outer()
        sns.despine(ax=below)
    put_stamp(figure, stamp)
    said = "; ".join(
        f"{row['map']}: " + ", ".join(f"{name} {row[name]:.3f}" for name in poolings) for _, row in table.iterrows()
    )
    return Plot(figure, table, f"Feature maps and their pooled values. {said}.")


def pooled_sizes(
    sides: Sequence[int] = (4, 7, 14), channels: int = 64, images: int = 8, weights: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Measure the three vectors that the untrained channel branch concatenates, as the feature map grows.

    The features are normal noise, rectified as a backbone's are. The size of a vector is its mean absolute value, and
    a mean over several draws of the weights.

    Args:
        sides: h = w of the feature maps.
        channels: c.
        images: n.
        weights: draws of the branch's weights.
        seed: of features and weights.

    Returns:
        One row per (side, vector): side, vector (S-GAP, S-GMP, S-ADP sum, S-ADP mean), size.
    """
    found: dict[tuple[int, str], list[float]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for side in sides:
            features = torch.randn(images, channels, side, side).relu()
            for _ in range(weights):
                branch = ChannelAttention(channels, 16, "sum")
                gap, gmp, total = _concatenated(branch, features).abs().mean((0, 2)).tolist()
                branch.adaptive_pool = "mean"
                mean = _concatenated(branch, features)[:, 2].abs().mean().item()
                for name, size in (("S-GAP", gap), ("S-GMP", gmp), ("S-ADP sum", total), ("S-ADP mean", mean)):
                    found.setdefault((side, name), []).append(size)
    rows = [{"side": side, "vector": name, "size": float(np.mean(sizes))} for (side, name), sizes in found.items()]
    return pd.DataFrame(rows)


def size_lines(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw the size of each pooled vector over the side of the feature map.

    The table is from `pooled_sizes`.
    """
    figure, axes = canvas(6.4, 3.4)
    axis = axes[0, 0]
    for i, (name, part) in enumerate(table.groupby("vector", sort=False)):
        axis.plot(part.side, part["size"], MARKERS[i] + _LINES[i % 4], color=PALETTE[[2, 3, 4, 6][i % 4]], label=name)
    sides = sorted(set(table.side))
    axis.set(xscale="log", yscale="log", xlabel="side of the feature map (h = w)", ylabel="mean absolute value")
    axis.set_xticks(sides, [f"{side}×{side}" for side in sides])
    axis.minorticks_off()
    sns.despine(ax=axis)
    legend_above(figure, axes, 4)
    put_stamp(figure, stamp)
    said = []
    for name, part in table.groupby("vector", sort=False):
        said.append(f"{name} " + ", ".join(f"{row['size']:.3f} at {row.side}×{row.side}" for _, row in part.iterrows()))
    return Plot(figure, table, f"Mean absolute value of the pooled vectors: {'; '.join(said)}.")


def interaction(logits: Tensor) -> float:
    """Compute the share of the variance of logits (c, h, w) that is not a channel term plus a place term.

    0 for every map whose two branches are added; between 0 and 1 otherwise. There is no share of nothing: nan where
    all logits are equal.

    Args:
        logits: of one image, (c, h, w).

    Raises:
        DidError: If the logits have another shape, such as a batch, or are not a tensor.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DidError(f"interaction takes the logits of one image, a torch tensor of shape (c, h, w); got {got}")
    table = logits.detach().double().flatten(1)
    table = table - table.mean()
    rest = table - table.mean(0, keepdim=True) - table.mean(1, keepdim=True)
    return (rest.square().sum() / table.square().sum()).item()


def wiring_panels(networks: Mapping[str, Attention], features: Tensor, stamp: str) -> Plot:
    """Draw the logits of one image, channels by places, under several wirings, with rank and `interaction`.

    Args:
        networks: name -> an attention network.
        features: (1, c, h, w).
        stamp: where features and weights come from.
    """
    figure, axes = canvas(3.1 * len(networks), 2.9, 1, len(networks))
    rows = []
    for axis, (name, attention) in zip(axes[0], networks.items(), strict=True):
        with torch.no_grad():
            logits = copy.deepcopy(attention).double()(features.double())[0].logit()
        table = logits.flatten(1)
        rank = int(torch.linalg.matrix_rank(table, rtol=1e-8))
        rows.append({"network": name, "rank": rank, "interaction": interaction(logits)})
        size = table.abs().max().item()
        image = axis.imshow(table, cmap="RdBu_r", vmin=-size, vmax=size, aspect="auto", interpolation="nearest")
        figure.colorbar(image, ax=axis, shrink=0.8)
        axis.set(xticks=[], yticks=[], xlabel="places", title=name)
    axes[0, 0].set_ylabel("channels")
    put_stamp(figure, stamp)
    data = pd.DataFrame(rows)
    said = "; ".join(f"{row.network}: rank {row.rank}, interaction {row.interaction:.3f}" for row in data.itertuples())
    return Plot(figure, data, f"Logits of an attention map as tables of channels by places. {said}.")


def descend(merge: Literal["sum", "product"], start: tuple[float, float], rate: float, steps: int) -> pd.DataFrame:
    """Descend on two logits, of a channel and of a place, that should open their entry of the map.

    The loss is -log M with M = σ(u + v) or σ(u·v).

    Args:
        merge: how u and v join.
        start: u and v before the first step.
        rate: of plain gradient descent.
        steps: how many.

    Returns:
        One row per step, from 0: merge, step, u, v, M.
    """
    logits = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    rows = []
    for step in range(steps + 1):
        joined = logits.sum() if merge == "sum" else logits.prod()
        u, v = logits.tolist()
        rows.append({"merge": merge, "step": step, "u": u, "v": v, "M": joined.sigmoid().item()})
        (gradient,) = torch.autograd.grad(-nn.functional.logsigmoid(joined), logits)
        logits = (logits - rate * gradient).detach().requires_grad_()
    return pd.DataFrame(rows)


def merge_paths(paths: pd.DataFrame, stamp: str) -> Plot:
    """Draw the map over the two logits for each merge, with the path of the descent, and M over the steps.

    Args:
        paths: tables of `descend`, one below the other.
        stamp: how they were made.
    """
    merges = in_order(paths["merge"])
    figure, axes = canvas(3.3 * (len(merges) + 1), 3.1, 1, len(merges) + 1)
    reach = max(1.0, 1.1 * paths[["u", "v"]].abs().max().max())
    u, v = np.meshgrid(*2 * [np.linspace(-reach, reach, 81)])
    last = axes[0, -1]
    for i, (axis, merge) in enumerate(zip(axes[0], merges, strict=False)):
        part = paths[paths["merge"] == merge]
        surface = 1 / (1 + np.exp(-(u + v if merge == "sum" else u * v)))
        lines = axis.contour(u, v, surface, levels=[0.1, 0.3, 0.5, 0.7, 0.9], cmap="viridis", vmin=0, vmax=1)
        axis.clabel(lines, fontsize=7)
        axis.plot(part.u, part.v, "-", color=PALETTE[4], lw=2)
        axis.plot(part.u.iloc[:1], part.v.iloc[:1], "o", color=PALETTE[4])
        axis.plot(part.u.iloc[-1:], part.v.iloc[-1:], "s", color=PALETTE[4])
        axis.set(title=f"M by {merge}", xlabel="logit of the channel", ylabel="logit of the place", aspect="equal")
        last.plot(part.step, part.M, _LINES[i % 4], color=PALETTE[[6, 4][i % 2]], label=merge)
    last.axhline(0.5, color=GRAY, lw=0.8)
    last.set(title="M over the steps", xlabel="step", ylim=(0, 1.02))
    last.legend(fontsize=8)
    sns.despine(ax=last)
    put_stamp(figure, stamp)
    said = []
    for merge in merges:
        part = paths[paths["merge"] == merge]
        early = part.iloc[len(part) // 4]
        said.append(
            f"{merge} from {part.M.iloc[0]:.3f} to {early.M:.3f} at step {early.step} and {part.M.iloc[-1]:.3f} at "
            f"step {part.step.iloc[-1]}"
        )
    return Plot(figure, paths, f"An entry of the map under gradient descent that opens it: {'; '.join(said)}.")


def saturation(
    adaptive_pool: Literal["sum", "mean"], factor: float, steps: int = 200, images: int = 16, seed: int = 0
) -> pd.DataFrame:
    """Train A_df alone for its two duties on random features.

    C reads a label from I_df, a second head reads a domain from I_os. There is neither backbone nor T.

    Of 16 channels of 7×7, rectified noise about 1, the first half is moved by .5 up or down with the label and the
    second half with the domain, which is independent of it. Batches are drawn anew at each step, so nothing can be
    learnt by heart. Adam with the paper's weight decay; the rate is .001 for A_df times `factor`, and .01 for the two
    heads, which are linear on the means over places.

    Args:
        adaptive_pool: S-ADP's pooling.
        factor: the rate of A_df over .001.
        steps: of Adam.
        images: a batch.
        seed: of weights and batches.

    Returns:
        One row every fifth step: S-ADP, factor, step, loss and the statistics of `did.method.model.map_statistics`.
    """
    channels, side, rate = 16, 7, 1e-3
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        attention = Attention(channels, adaptive_pool=adaptive_pool)
        heads = nn.ModuleList([nn.Linear(channels, 1), nn.Linear(channels, 1)])
    groups = [
        {"params": list(attention.parameters()), "lr": factor * rate},
        {"params": list(heads.parameters()), "lr": 10 * rate},
    ]
    optimizer = torch.optim.Adam(groups, weight_decay=5e-4)
    rows = []
    for step in range(steps + 1):
        bits = torch.randint(0, 2, (2, images), generator=generator).float()
        moved = (bits - 0.5).repeat_interleave(channels // 2, 0).T[:, :, None, None]
        features = (1 + moved + torch.randn(images, channels, side, side, generator=generator)).relu()
        attention_map = attention(features)
        deepfake = attention_map * features
        halves = (deepfake, features - deepfake)
        logits = [head(half.mean((2, 3))).squeeze(1) for head, half in zip(heads, halves, strict=True)]
        loss = nn.functional.binary_cross_entropy_with_logits(torch.stack(logits), bits) * 2  # the sum of the two
        if step % 5 == 0:
            found = map_statistics(attention_map)
            rows.append({"S-ADP": adaptive_pool, "factor": factor, "step": step, "loss": loss.item(), **found})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return pd.DataFrame(rows)


def saturation_curves(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw the saturated share, mean and spread over images of the map, over the steps, for several runs.

    Args:
        table: tables of `saturation`, one below the other.
        stamp: how they were made.
    """
    panels = {"saturated": "share outside [.02, .98]", "mean": "mean", "images": "s.d. over images"}
    figure, axes = canvas(9.6, 3.2, 1, len(panels))
    runs = list(table.groupby(["S-ADP", "factor"], sort=False))
    for i, ((pool, factor), part) in enumerate(runs):
        label = f"S-ADP {pool}, rate × {factor:g}"
        for axis, key in zip(axes[0], panels, strict=True):
            axis.plot(part.step, part[key], _LINES[i % 4], color=PALETTE[[2, 3, 4, 6][i % 4]], marker=MARKERS[i % 9],
                      markevery=max(len(part) // 6, 1), markersize=4, label=label)  # fmt: skip
    for axis, title in zip(axes[0], panels.values(), strict=True):
        axis.set(title=title, xlabel="step", ylim=(-0.02, 1.02))
        sns.despine(ax=axis)
    legend_above(figure, axes, 2)
    put_stamp(figure, stamp)
    said = []
    for (pool, factor), part in runs:
        end = part.iloc[-1]
        said.append(
            f"S-ADP {pool}, rate × {factor:g}: saturated share {end.saturated:.3f}, mean {end['mean']:.3f}, deviation "
            f"over images {end.images:.3f}"
        )
    alt = f"A_df alone on random features, after {table.step.max()} steps. {'; '.join(said)}."
    return Plot(figure, table, alt)
