"""What happens inside a model: its attention, where it looks beside where was forged, and what its features hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import nn

from did.data.faces import MARGIN
from did.data.loading import Faces
from did.data.masks import true_region
from did.data.table import REAL
from did.evaluation.explain import overlap, saliency
from did.plots.base import (
    GRAY,
    HATCHES,
    PALETTE,
    Plot,
    canvas,
    colours,
    entry,
    in_order,
    in_words,
    legend_above,
    markers,
    put_stamp,
)
from did.utils.distributed import device_of


@torch.inference_mode()
def attention_overlay(task: nn.Module, faces: Faces, stamp: str, people: int = 4) -> Plot:
    """Draw M_df, averaged over channels, over a few test faces; the colours span each map's own range.

    A method of the training data that has no test face, as may be in a folder of one's own, has no row.
    """
    methods = [method for method in faces.domain_names if method in set(faces.rows.method)]
    none = [method for method in faces.domain_names if method not in methods]
    figure, axes = canvas(1.7 * people * 2, 1.6 * len(methods), len(methods), 2 * people)
    rows = []
    for i, method in enumerate(methods):
        chosen = faces.rows.index[faces.rows.method == method]
        chosen = chosen[np.linspace(0, len(chosen) - 1, people).astype(int)]
        images = torch.stack([faces[int(k)]["image"] for k in chosen])
        out = task.model(images.to(device_of(task)))  # type: ignore[operator,union-attr]
        maps = out.deepfake_map.mean(1, keepdim=True).cpu()
        large = nn.functional.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)
        for j in range(people):
            left, right = axes[i, 2 * j], axes[i, 2 * j + 1]
            for axis in (left, right):
                axis.imshow(images[j, 0], cmap="gray", vmin=0, vmax=1)
                axis.set(xticks=[], yticks=[])
            right.imshow(large[j, 0], cmap="viridis", alpha=0.55)
            low, high = maps[j].min().item(), maps[j].max().item()
            right.set_xlabel(f"{low:.2f} to {high:.2f}", fontsize=7)
            left.set_xlabel(f"score {out.score[j].item():+.1f}", fontsize=7)
            rows.append({"method": method, "face": faces.rows.face[chosen[j]], "low": low, "high": high})
        axes[i, 0].set_ylabel(method, fontsize=8)
    put_stamp(figure, stamp)
    data = pd.DataFrame(rows)
    alt = (
        f"M_df, mean over channels, on {len(data)} test faces; values from {data.low.min():.3f} to "
        f"{data.high.max():.3f}, widest range within one face {(data.high - data.low).max():.3f}"
    )
    return Plot(figure, data, alt + (f"; without test faces: {', '.join(none)}" if none else "") + ".")


def saliency_sheet(
    task: Any,
    faces: Faces,
    root: str | Path | None,
    stamp: str,
    margin: float = MARGIN,
    names: Sequence[str] = ("I_df", "I_dom"),
    people: int = 2,
    seed: int = 0,
) -> Plot:
    """Draw Grad-CAM over crops with the outline of the forged region (Fig. 6): rows are methods, and real.

    A group of columns is a person: the crop with its score, and the crop under each map with the share of the map that
    lies inside the outline. Each row shows the same people as far as it has them. For M_dom and I_dom the logit is
    that of the domain that C̄ takes the face for: the faces may be of methods that the run does not know.

    Args:
        task: a finished run's, with `model`.
        faces: of one split.
        root: folder of the stand-in; None for other data, of which no forged region is known.
        stamp: where the faces and the run come from.
        margin: of the crops (the store's `info`).
        names: maps, as `did.evaluation.explain.saliency` takes them.
        people: at most so many.
        seed: of the choice among the people who are in the most rows.

    Raises:
        DidError: As `did.evaluation.explain.saliency` and `did.data.masks.true_region`.
    """
    chosen = _same_people(faces, people, seed)
    wide = 1 + len(names)
    columns = wide * max(map(len, chosen.values()))
    figure, axes = canvas(1.3 * columns + 0.6, 1.5 * len(chosen), len(chosen), columns)
    tables = []
    for line, (method, numbers) in zip(axes, chosen.items(), strict=True):
        images = torch.stack([faces[k]["image"] for k in numbers])
        rows = faces.rows.iloc[numbers]
        regions = [None if root is None else true_region(root, row, faces.size, margin) for row in rows.itertuples()]
        with torch.inference_mode():
            scores = task.detector()(images.to(device_of(task.model))).tolist()
        maps = {name: saliency(task.model, images, name) for name in names}
        found = {name: overlap(maps[name], regions) for name in names}
        for axis in line:
            axis.set(xticks=[], yticks=[])
        for axis in line[wide * len(numbers) :]:
            axis.axis("off")
        for j, person in enumerate(_person(rows)):
            crop, *overlaid = group = line[wide * j : wide * (j + 1)]
            for axis in group:
                axis.imshow(images[j, 0], cmap="gray", vmin=0, vmax=1)
            crop.set_xlabel(f"{person}, score {scores[j]:+.1f}", fontsize=8)
            for axis, name in zip(overlaid, names, strict=True):
                axis.imshow(maps[name][j], cmap="viridis", vmin=0, vmax=1, alpha=0.55)
                share, note = found[name].share[j], found[name].note[j]
                # Without a root nothing is known of any face: "not forged" would be untrue.
                axis.set_xlabel("" if root is None else note or f"{share:.2f} inside", fontsize=8)
            for axis in group:
                _outline(axis, regions[j])
        line[0].set_ylabel(method, fontsize=9)
        shown = rows.assign(person=_person(rows), score=scores).reset_index(drop=True)
        for name in names:
            # Not `fixed`, which is meant over many maps.
            about = found[name][["share", "area", "hit", "note"]].assign(map=name)
            tables.append(shown[["method", "person", "face", "score"]].join(about))
    for place, axis in enumerate(axes[0]):
        axis.set_title(("crop", *names)[place % wide], fontsize=9)
    figure.suptitle("Grad-CAM" + ("" if root is None else "; the outline: what was forged"), fontsize=9)
    put_stamp(figure, stamp)
    data = pd.concat(tables, ignore_index=True)
    if root is None:
        data["note"] = "no region known"
    return Plot(figure, data, _saliency_words(data, list(names)))


def _person(rows: pd.DataFrame) -> pd.Series:
    """Return the target of each row, the person whom a forgery shows."""
    return rows.identity.str.split("+").str[0]


def _same_people(faces: Faces, people: int, seed: int) -> dict[str, list[int]]:
    """Return for each method the positions of one face per person, people in the most methods first."""
    rows = faces.rows.reset_index(drop=True)
    person = _person(rows)
    in_methods = rows.method.groupby(person).nunique().sample(frac=1, random_state=seed)
    ranked = in_methods.sort_values(ascending=False, kind="stable").index.tolist()
    targets = ranked[:people]
    chosen = {}
    for method in faces.domain_names:
        of = {name: part.index for name, part in rows[rows.method == method].groupby(person)}
        # A person whom a row lacks leaves the place to one of its own.
        spare = [name for name in ranked if name in of and name not in targets]
        shown = [name if name in of else (spare.pop(0) if spare else None) for name in targets]
        numbers = [int(of[name][len(of[name]) // 2]) for name in shown if name is not None]
        if numbers:
            chosen[method] = numbers
    return chosen


def _outline(axis: Axes, region: NDArray | None) -> None:
    """Draw the border of a region, white on black, which is visible on light and dark."""
    if region is None or not region.min() < 0.5 <= region.max():
        return
    for colour, width in (("black", 2.4), ("white", 1.0)):
        axis.contour(region, levels=[0.5], colors=[colour], linewidths=[width])


def _saliency_words(data: pd.DataFrame, names: list[str]) -> str:
    said = []
    for method, part in data.groupby("method", sort=False):
        first = part[part["map"] == names[0]]
        words = f"{method}: mean score {first.score.mean():.3f}"
        counted = part[part.note == ""]
        if len(counted):
            shares = counted.groupby("map", sort=False).share.mean()
            words += "".join(f", {share:.3f} of {name} inside" for name, share in shares.items())
            words += f", where {counted.area.mean():.3f} of the crop was forged"
        notes = in_order(part.note[part.note != ""])
        said.append(words + (f" ({', '.join(notes)})" if notes else ""))
    return f"Grad-CAM of {' and '.join(names)} on {data.face.nunique()} faces. {'; '.join(said)}."


def overlap_bars(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw the share of each map's mass inside the forged region, beside that of uninformed maps.

    Args:
        table: from `did.evaluation.explain.overlap_table`, several of them with a column `data` to tell them apart: a
            panel each.
        stamp: where the numbers come from.
    """
    data = table if "data" in table else table.assign(data="")
    sets, maps = in_order(data["data"]), in_order(data["map"])
    methods = [data.method[data["data"] == name].nunique() for name in sets]
    figure, axes = canvas(
        1.6 + max(1.1 * sum(methods), 2.6), 3.6, 1, len(sets), sharey=True, width_ratios=[m + 0.5 for m in methods]
    )
    for axis, name in zip(axes[0], sets, strict=True):
        part = data[data["data"] == name].reset_index(drop=True)
        place, half = _bars(axis, part, "method", "map", maps, "share", "share_low", "share_high")
        axis.hlines(part.area, place - half, place + half, color="black", lw=2, label="a uniform map: area")
        axis.hlines(part.fixed, place - half, place + half, color="black", lw=2, ls=(0, (1, 1)),
                    label="one map for all: their mean")  # fmt: skip
        for x, row in zip(place, part.itertuples(), strict=True):
            if pd.isna(row.share):
                axis.text(x, 0.01, row.note or "none", rotation=90, ha="center", va="bottom", fontsize=7, color=GRAY,
                          transform=axis.get_xaxis_transform())  # fmt: skip
        axis.set_title(name)
        sns.despine(ax=axis)
    axes[0, 0].set_ylabel("share inside the forged region")
    axes[0, 0].set_ylim(bottom=0)
    legend_above(figure, axes, 2)
    put_stamp(figure, stamp)
    said, left_out = [], []
    for row in data.itertuples():
        name = " ".join(filter(None, [row.data, row.method, row.map]))
        if pd.isna(row.share):
            left_out.append(f"{name} ({row.note})")
        else:
            share = in_words(row.share, row.share_low, row.share_high)
            said.append(f"{name} {share} (area {row.area:.3f}, one map for all {row.fixed:.3f})")
    alt = f"Share of each map inside the forged region: {'; '.join(said) or 'none'}"
    return Plot(figure, data, alt + (f"; left out: {', '.join(left_out)}" if left_out else "") + ".")


def _bars(
    axis: Axes, part: pd.DataFrame, group: str, bar: str, names: Sequence[str], value: str, low: str, high: str
) -> tuple[pd.Series, float]:
    """Draw bars in groups with their intervals; return the middle of each row's bar, and half a bar's width."""
    groups = in_order(part[group])
    width = 0.8 / len(names)
    place = part[group].map(groups.index) + (part[bar].map(list(names).index) - (len(names) - 1) / 2) * width
    for i, name in enumerate(names):
        mine = part[bar] == name
        if not mine.any():
            continue
        axis.bar(place[mine], part[value][mine], 0.92 * width, color=PALETTE[1 + i % (len(PALETTE) - 1)],
                 hatch=HATCHES[i % len(HATCHES)], edgecolor="white", label=entry(name))  # fmt: skip
    if low in part:
        axis.vlines(place, part[low], part[high], color="#444444", lw=1.4, label="95% interval")
    axis.set_xticks(range(len(groups)), groups)
    axis.set_xlim(-0.6, len(groups) - 0.4)
    return place, 0.46 * width


def embeddings(data: pd.DataFrame, notes: Mapping[str, str], stamp: str) -> Plot:
    """Draw feature sets in the plane (Fig. 7), one panel each; a class has the same colour and marker in all.

    Args:
        data: one row per point: features (the set), x, y (from `did.evaluation.explain.tsne`), label (real and fake, or
            the methods).
        notes: feature set -> what is written under its title: silhouette and probe, as distances here mean nothing.
        stamp: where the faces and the run come from.
    """
    classes = sorted(set(data.label), key=lambda name: (name != REAL, name))
    sets = data.features.nunique()
    columns = sets if sets < 4 else -(-sets // 2)
    lines = -(-sets // columns)
    figure, axes = canvas(3.3 * columns + 0.2, 3.4 * lines + 0.4, lines, columns)
    for axis in axes.ravel()[sets:]:
        axis.axis("off")
    handles = {}
    for axis, (name, part) in zip(axes.ravel(), data.groupby("features", sort=False), strict=False):
        for label, colour, marker in zip(classes, colours(classes).values(), markers(classes).values(), strict=True):
            mine = part[part.label == label]
            handles[label] = axis.scatter(mine.x, mine.y, 20, color=colour, marker=marker, alpha=0.7, lw=0)
        axis.set(xticks=[], yticks=[])
        note = notes.get(str(name), "")
        axis.set_title(str(name), pad=18 if note else 6)
        axis.text(0.5, 1.02, note, transform=axis.transAxes, ha="center", fontsize=8)
    figure.legend(
        list(handles.values()),
        list(map(entry, classes)),
        loc="outside upper center",
        ncols=min(len(classes), 5),
        fontsize=8,
    )
    put_stamp(figure, stamp)
    said = []
    for name, part in data.groupby("features", sort=False):
        counts = ", ".join(f"{sum(part.label == label)} {label}" for label in classes if label in set(part.label))
        note = notes.get(str(name), "")
        said.append(f"{name}: {counts}" + (f"; {note}" if note else ""))
    return Plot(figure, data, f"Features in the plane by t-SNE. {'. '.join(said)}.")


def probe_bars(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw what a linear probe reads from each feature set, beside the chance level.

    Args:
        table: from `did.evaluation.explain.probe_table`; with columns `low` and `high`, the ends of an interval, these
            are drawn.
        stamp: where the numbers come from.
    """
    data = table.reset_index(drop=True)
    targets = in_order(data.target)
    figure, axes = canvas(1.6 + 1.6 * data.features.nunique(), 3.4)
    axis = axes[0, 0]
    place, half = _bars(axis, data, "features", "target", targets, "accuracy", "low", "high")
    axis.hlines(data.chance, place - half, place + half, color="black", lw=2, label="chance")
    axis.set(ylim=(0, 1.02), ylabel="accuracy, each class alike")
    sns.despine(ax=axis)
    legend_above(figure, axes, 4)
    put_stamp(figure, stamp)
    said, left_out = [], []
    for row in data.assign(low=data.get("low", np.nan), high=data.get("high", np.nan)).itertuples():
        name = f"{row.target} from {row.features}"
        if pd.isna(row.accuracy):
            left_out.append(name)
        else:
            said.append(f"{name} {in_words(row.accuracy, row.low, row.high)} (chance {row.chance:.3f})")
    alt = f"Accuracy of linear probes: {'; '.join(said) or 'none'}"
    return Plot(figure, data, alt + (f"; too few classes: {', '.join(left_out)}" if left_out else "") + ".")


def dependence(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw what is left of the dependence of two parts, by row: every run a mark.

    Args:
        table: row, distance correlation, shuffled, critic: one row per run, as `did.paper.beyond.reached` gives.
        stamp: where the numbers come from.
    """
    rows = in_order(table.row)
    place = table.row.map(rows.index)
    figure, axes = canvas(8.6, 1.0 + 0.3 * len(rows), 1, 2, sharey=True)
    left, right = axes[0]
    left.plot(table["distance correlation"], place, "o", color=PALETTE[6], label="measured")
    left.plot(table["shuffled"], place, "|", color=GRAY, ms=10, mew=2, label="mean of the shuffles")
    left.set(xlabel="distance correlation of I_df and I_os", yticks=range(len(rows)), yticklabels=rows)
    left.legend(fontsize=8)
    right.plot(table["critic"], place, "o", color=PALETTE[4])
    right.axvline(0.5, color=GRAY, ls=":")
    right.set(xlabel="a fresh critic is right (chance: .5)")
    for axis in axes[0]:
        axis.set_ylim(len(rows) - 0.5, -0.5)
        sns.despine(ax=axis)
    put_stamp(figure, stamp)
    means = table.groupby("row", sort=False)[["distance correlation", "shuffled", "critic"]].mean()
    said = "; ".join(
        f"{name}: {row['distance correlation']:.3f} against {row.shuffled:.3f}, critic {row.critic:.3f}"
        for name, row in means.iterrows()
    )
    return Plot(figure, table, f"Distance correlation, measured and shuffled, and a fresh critic's accuracy: {said}.")
