"""Chapter 1, the decomposition: the split on small maps, what a map can hide, and the modules, with their figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor

from did.evaluation.explain import probe
from did.method.backbones import Backbone
from did.method.model import DID, map_statistics
from did.paper import records
from did.plots import probe_bars
from did.plots.base import HATCHES, PALETTE, Plot, canvas, in_order, legend_above, put_stamp
from did.utils.words import Words


def split_panels(parts: Mapping[str, Tensor], stamp: str) -> Plot:
    """Draw one channel of each part of a split, side by side.

    Parts share one colour scale; attention maps have 0 to 1.

    Args:
        parts: name -> (h, w); a name that starts with M is an attention map.
        stamp: where the numbers come from.
    """
    figure, axes = canvas(1.75 * len(parts), 2.1, 1, len(parts))
    size = max(part.abs().max().item() for name, part in parts.items() if not name.startswith("M"))
    for axis, (name, part) in zip(axes[0], parts.items(), strict=True):
        if name.startswith("M"):
            options: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 1}
        else:
            options = {"cmap": "RdBu_r", "vmin": -size, "vmax": size}
        axis.imshow(part.detach(), **options)
        _write_in(axis, part, options)
        axis.set(xticks=[], yticks=[], title=f"${name[0]}_{{{name[2:]}}}$" if "_" in name else name)
    put_stamp(figure, stamp)
    rows = [
        {"part": name, "row": i, "column": j, "value": value}
        for name, part in parts.items()
        for (i, j), value in np.ndenumerate(part.detach().numpy())
    ]
    data = pd.DataFrame(rows)
    ends = data.groupby("part", sort=False).value.agg(["min", "max"])
    said = "; ".join(f"{name} from {low:.3f} to {high:.3f}" for name, low, high in ends.itertuples())
    return Plot(figure, data, f"One channel of each part, place by place: {said}.", mathtext=True)


def _write_in(axis: Any, part: Tensor, options: Mapping[str, Any]) -> None:
    """Write the values on top of the colours, so that a reader can add them up; white on dark ground."""
    low, high = options["vmin"], options["vmax"]
    for (i, j), value in np.ndenumerate(part.detach().numpy()):
        place = (value - low) / (high - low)
        dark = place < 0.6 if options["cmap"] == "viridis" else not 0.15 < place < 0.85
        axis.text(
            j,
            i,
            f"{round(float(value), 2) + 0:.2f}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )


def entangled(entries: Sequence[records.Record]) -> Plot | Words:
    """Draw what a linear probe reads from a plain backbone's features (Fig. 1), from the record of Fig. 7.

    Args:
        entries: records; without the one of Fig. 7, the answer is a sentence.
    """
    known = [
        entry for entry in entries if entry["experiment"] == "fig7_embeddings" and entry["preset"] != records.SMOKE
    ]
    if not known:
        return Words("The record of Fig. 7 is not at hand; its notebook makes it.")
    probes = records.part(known[0], "probes").query("row == 'BCE' and features == 'I_X'")
    means = probes.groupby(["features", "target"], sort=False, as_index=False)[["accuracy", "chance"]].mean()
    stamp = f"Mean over {probes.seed.nunique()} seeds. {known[0]['provenance']['stamp']}"
    return probe_bars(means.assign(features="features of a plain detector"), stamp)


def readable_halves(maps: Mapping[str, Tensor], images: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Measure what a linear probe reads from I_df and I_os.

    The first half of the channels contains the label, the second half the domain (two of them, independent of the
    label).

    The features are noise of deviation 1 at each place of 8 channels of 4×4; in the channels that hold a bit, the mean
    is .25 up or down. Label and domain are read from the means over places, as C and C̄ read them.

    Args:
        maps: name -> M_df, of a shape that broadcasts to (images, 8, 4, 4).
        images: half of them are fitted, half are tested.
        seed: of labels, domains and noise.

    Returns:
        One row per (map, half, target): map, half (I_df, I_os), target (label, domain), accuracy; .5 is chance.
    """
    generator = torch.Generator().manual_seed(seed)
    bits = {name: torch.randint(0, 2, (images,), generator=generator) for name in ("label", "domain")}
    features = torch.randn(images, 8, 4, 4, generator=generator)
    features[:, :4] += 0.25 * (2 * bits["label"] - 1)[:, None, None, None]
    features[:, 4:] += 0.25 * (2 * bits["domain"] - 1)[:, None, None, None]
    fit = images // 2
    rows = []
    for name, attention_map in maps.items():
        deepfake = attention_map * features
        for half, part in (("I_df", deepfake), ("I_os", features - deepfake)):
            pooled = part.mean((2, 3)).numpy()
            for target, of in bits.items():
                accuracy = probe(pooled[:fit], of[:fit].numpy(), pooled[fit:], of[fit:].numpy())
                rows.append({"map": name, "half": half, "target": target, "accuracy": accuracy})
    return pd.DataFrame(rows)


def halves_bars(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw what each half of the split reveals, one panel per map.

    The table is from `readable_halves`.
    """
    names, halves, targets = in_order(table["map"]), in_order(table.half), in_order(table.target)
    figure, axes = canvas(2.1 * len(names) + 0.6, 2.8, 1, len(names), sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        for i, target in enumerate(targets):
            part = table[(table["map"] == name) & (table.target == target)].set_index("half").accuracy[halves]
            axis.bar(np.arange(len(halves)) + 0.4 * i - 0.2, part, 0.36, color=PALETTE[1 + i], hatch=HATCHES[i],
                     edgecolor="white", label=target)  # fmt: skip
        axis.axhline(0.5, color="black", lw=1.5, label="chance")
        axis.set_xticks(range(len(halves)), [f"${half[0]}_{{{half[2:]}}}$" for half in halves])
        axis.set(title=name, ylim=(0, 1.02))
        sns.despine(ax=axis)
    axes[0, 0].set_ylabel("accuracy of a linear probe")
    legend_above(figure, axes, 3)
    put_stamp(figure, stamp)
    said = []
    for name, part in table.groupby("map", sort=False):
        read = ", ".join(f"{row.target} from {row.half} {row.accuracy:.3f}" for row in part.itertuples())
        said.append(f"{name}: {read}")
    return Plot(figure, table, f"Accuracy of linear probes; .500 is chance. {'. '.join(said)}.", mathtext=True)


def example_maps(seed: int = 0) -> dict[str, Tensor]:
    """Make six attention maps (2, 8, 3, 3), healthy and failed, for `did.method.model.map_statistics` to tell apart."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(8) % 2).float()[None, :, None, None]
    place = torch.zeros(3, 3)
    place[1, 1] = 1
    return {
        "stuck at .5": torch.full((2, 8, 3, 3), 0.5),
        "stuck at 0": torch.zeros(2, 8, 3, 3),
        "stuck at 1": torch.ones(2, 8, 3, 3),
        "mask of channels": mask.expand(2, 8, 3, 3).clone(),
        "mask of places": place.expand(2, 8, 3, 3).clone(),
        "depends on the image": torch.rand(2, 8, 3, 3, generator=generator),
    }


def map_gallery(maps: Mapping[str, Tensor], stamp: str) -> Plot:
    """Draw attention maps as tables of channels by places, one image after the other, above their statistics.

    Args:
        maps: name -> (n, c, h, w) in [0, 1].
        stamp: where the maps come from.
    """
    lines = -(-len(maps) // 3)
    figure, axes = canvas(9.6, 2.5 * lines, lines, 3)
    for axis in axes.ravel()[len(maps) :]:
        axis.axis("off")
    rows = []
    for axis, (name, attention_map) in zip(axes.ravel(), maps.items(), strict=False):
        n, c, h, w = attention_map.shape
        axis.imshow(attention_map.detach().permute(1, 0, 2, 3).reshape(c, n * h * w), cmap="viridis", vmin=0, vmax=1,
                    aspect="auto")  # fmt: skip
        for i in range(1, n):
            axis.axvline(i * h * w - 0.5, color="white", lw=3)
        found = map_statistics(attention_map)
        rows.append({"map": name, **found})
        axis.set(xticks=[], yticks=[], title=name, ylabel="channels")
        text = "mean {mean:.2f}, saturated {saturated:.2f}\nspread over channels {channels:.2f}, places {places:.2f}, "
        axis.set_xlabel((text + "images {images:.2f}").format(**found), fontsize=8)
    put_stamp(figure, stamp)
    data = pd.DataFrame(rows)
    said = "; ".join(
        f"{row.map}: mean {row.mean:.3f}, saturated share {row.saturated:.3f}, deviation over channels "
        f"{row.channels:.3f}, places {row.places:.3f}, images {row.images:.3f}"
        for row in data.itertuples()
    )
    return Plot(figure, data, f"Attention maps, channels by places. {said}.")


def module_sizes(model: DID, stamp: str) -> Plot:
    """Draw the number of parameters of each module of Fig. 2, and whether the test phase needs them."""
    symbols = {"backbone": "G", "deepfake_attention": "A_df", "classifier": "C", "domain_attention": "A_dom",
               "domain_classifier": "C̄", "estimator": "T"}  # fmt: skip
    needed = {id(parameter) for parameter in model.detector().parameters()}
    rows = []
    for name, symbol in symbols.items():
        module = getattr(model, name)
        if module is not None:
            parameters = list(module.parameters())
            count = sum(parameter.numel() for parameter in parameters)
            rows.append({"module": symbol, "parameters": count, "test": all(id(p) in needed for p in parameters)})
    data = pd.DataFrame(rows)
    figure, axes = canvas(7, 0.4 * len(data) + 0.9)
    axis = axes[0, 0]
    for test, words, look in ((True, "training and test", 0), (False, "training only", 1)):
        part = data[data.test == test]
        axis.barh(part.index, part.parameters, color=PALETTE[6 if test else 1], hatch=HATCHES[look], edgecolor="white",
                  label=words)  # fmt: skip
    for place, count in enumerate(data.parameters):
        axis.text(count, place, f" {count:,}", va="center", fontsize=8)
    axis.set_yticks(range(len(data)), data.module)
    axis.invert_yaxis()
    axis.set(xlabel="parameters", xlim=(0, 1.15 * data.parameters.max()))
    axis.ticklabel_format(axis="x", style="plain")
    sns.despine(ax=axis)
    legend_above(figure, axes, 2)
    put_stamp(figure, stamp)
    said = ", ".join(f"{row.module} {row.parameters}" for row in data.itertuples())
    share = data.parameters[data.test].sum() / data.parameters.sum()
    alt = f"Parameters: {said}. The test phase needs {', '.join(data.module[data.test])}: a share of {share:.3f}."
    return Plot(figure, data, alt)


def stem_kernels(rgb: Backbone, gray: Backbone, stamp: str, kernels: int = 8) -> Plot:
    """Draw the first convolution of a network for RGB and for gray, and the sum of the former over colours.

    Args:
        rgb, gray: the same network with `in_chans` 3 and 1.
        stamp: where the weights come from.
        kernels: how many to show, those with the largest sums.
    """
    colour, one = (
        backbone.body.get_submodule(backbone.body.pretrained_cfg["first_conv"]).weight.detach()
        for backbone in (rgb, gray)
    )
    total = colour.sum(1)
    chosen = total.flatten(1).norm(dim=1).argsort(descending=True)[:kernels]
    lines = {"R": colour[:, 0], "G": colour[:, 1], "B": colour[:, 2], "R + G + B": total, "gray network": one[:, 0]}
    figure, axes = canvas(0.85 * len(chosen) + 1.2, 4.4, len(lines), len(chosen))
    size = total[chosen].abs().max().item()
    for line, (name, weights) in zip(axes, lines.items(), strict=True):
        for axis, k in zip(line, chosen, strict=True):
            axis.imshow(weights[k], cmap="RdBu_r", vmin=-size, vmax=size)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    put_stamp(figure, stamp)
    apart = (total - one[:, 0]).abs().flatten(1).max(1).values
    data = pd.DataFrame({"kernel": range(len(apart)), "largest difference": apart.numpy()})
    alt = (
        f"{len(chosen)} of {len(total)} kernels of the first convolution: red, green, blue, their sum, and the gray "
        f"network's. The largest difference between the last two, over all kernels, is {apart.max():.3f}."
    )
    return Plot(figure, data, alt)
