"""Figures from results. Each function returns a `Plot`: the figure, the data in it, and an alternative text made from
that data."""

import dataclasses
import io
import math
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from did.data.loading import Faces, domain_names
from did.data.prepare import FaceStore
from did.data.table import REAL
from did.evaluation import auc
from did.leaks import radial_spectrum

# Okabe and Ito's palette, which survives the common colour blindnesses.
PALETTE = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2", "#F0E442", "#999999"]


@dataclasses.dataclass
class Plot:
    """A figure, the table that is drawn in it, and what it shows in words."""

    figure: Figure
    data: pd.DataFrame
    alt: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Description": self.alt})
        return {"image/png": buffer.getvalue(), "text/plain": self.alt}


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure that pyplot does not know of, so that no notebook shows it twice and none stays in memory."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.atleast_2d(figure.subplots(rows, columns, squeeze=False))


def _stamp(figure: Figure, text: str) -> None:
    figure.text(0.0, -0.02, text, fontsize=7, color="#555555", ha="left", va="top", wrap=True)


def _colours(names: list[str]) -> dict[str, str]:
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def contact_sheet(store: FaceStore, stamp: str, people: int = 6, split: str = "train") -> Plot:
    """One crop a person and method: rows are real and each forgery method, columns the same people.

    Where a method names none of them, as in sets of single images, its row shows people of its own.
    """
    rows = store.manifest
    rows = rows[rows.split == split]
    methods = domain_names(rows)
    rows = rows.assign(person=rows.identity.str.split("+").str[0])
    real, forged = (set(rows.person[(rows.method == REAL) == is_real]) for is_real in (True, False))
    targets = sorted(real & forged or real)[:people]
    figure, axes = _figure(1.35 * len(targets) + 0.9, 1.4 * len(methods), len(methods), len(targets))
    shown = []
    for i, method in enumerate(methods):
        part = rows[rows.method == method]
        shared = [person for person in targets if person in set(part.person)]
        columns = targets if shared else list(dict.fromkeys(part.person))[: len(targets)]
        for j in range(len(targets)):
            axis = axes[i, j]
            axis.set(xticks=[], yticks=[])
            crops = part[part.person == columns[j]] if j < len(columns) else part[:0]
            if len(crops):
                row = crops.iloc[len(crops) // 2]
                axis.imshow(np.asarray(Image.open(store.root / row.face)))
                shown.append(row)
            if j == 0:
                axis.set_ylabel(method if method == REAL else f"fake\n{method}", fontsize=9)
            if i == 0 and real & forged:
                axis.set_title(f"person {targets[j]}", fontsize=8)
    _stamp(figure, stamp)
    data = pd.DataFrame(shown).reset_index(drop=True)
    who = f"{len(targets)} people" if real & forged else "people who differ from row to row"
    alt = f"Contact sheet of {len(data)} aligned face crops of {who}: rows {', '.join(methods)}."
    return Plot(figure, data, alt)


def mean_spectra(store: FaceStore, stamp: str, size: int = 112, crops: int = 300) -> Plot:
    """Radial power spectra of gray crops: the mean of the real ones, and how far each method's mean lies from it.

    At most `crops` crops a method, one a video as far as there are, are brought to `size` pixels. The bands are 95%
    intervals of the difference of two means (normal approximation over videos).
    """
    rows = store.manifest
    methods = domain_names(rows)
    means = {}
    for method in methods:
        part = rows[rows.method == method]
        part = part.iloc[np.argsort(part.groupby("video").cumcount(), kind="stable")[:crops]]
        faces = Faces(part, store.root, size, domains=methods)
        spectra = radial_spectrum(np.stack([faces[k]["image"][0].numpy() for k in range(len(faces))]))
        # One spectrum a video: its frames are not independent.
        means[method] = 10 / np.log(10) * pd.DataFrame(spectra).groupby(part.video.to_numpy()).mean()
    cycles = np.arange(size // 2)
    table = []
    for method in methods:
        mean, error = means[method].mean(), means[method].sem().fillna(0)
        half = 1.96 * np.hypot(error, means[REAL].sem().fillna(0)) if method != REAL else 1.96 * error
        table.append(
            pd.DataFrame(
                {
                    "method": method,
                    "cycles": cycles,
                    "power": mean,
                    "difference": mean - means[REAL].mean(),
                    "half": half,
                }
            )
        )
    data = pd.concat(table, ignore_index=True)
    figure, axes = _figure(11, 3.6, 1, 2)
    left, right = axes.ravel()
    for method, colour in _colours(methods).items():
        part = data[(data.method == method) & (data.cycles > 0)]
        left.plot(part.cycles, part.power, color=colour, label=method)
        if method != REAL:
            right.plot(part.cycles, part.difference, color=colour, label=method)
            right.fill_between(
                part.cycles, part.difference - part.half, part.difference + part.half, color=colour, alpha=0.15, lw=0
            )
    right.axhline(0, color="black", lw=0.8)
    left.set(xscale="log", xlabel="cycles a crop", ylabel="mean power, dB")
    right.set(xlabel="cycles a crop", ylabel="difference from real, dB")
    right.legend(fontsize=8)
    _stamp(figure, stamp)
    far = data[data.cycles > 0].groupby("method").difference.agg(lambda d: d[d.abs().idxmax()])
    alt = "Mean radial power spectra of the crops; largest difference from real: " + ", ".join(
        f"{method} {far[method]:.3f} dB" for method in methods[1:]
    )
    return Plot(figure, data, alt + ".")


def loss_curves(history: pd.DataFrame, stamp: str) -> Plot:
    """The named losses, the validation AUC, T's estimate, and the gradients that reach G."""
    losses = [c for c in ("cls", "dom", "dec", "bce", "auc loss") if c in history]
    gradients = [c for c in history if c.startswith("gradient")]
    steps = history[history[losses[0]].notna()]
    figure, axes = _figure(11, 5.6, 2, 2)
    a, b, c, d = axes.ravel()
    for name, colour in _colours(losses).items():
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
        c.axhline(-2 * math.log(2), color="#888888", ls=":", label="-2 log 2: T sees nothing")
        c.axhline(0, color="#888888", ls="--", label="0: T tells every pair")
        c.legend(fontsize=8)
    c.set(title="T's estimate of dependence")
    for name, colour in _colours(gradients).items():
        d.plot(steps.iteration, steps[name], color=colour, label=name)
    d.set(title="norm of the gradient that reaches G's output", yscale="log")
    d.legend(fontsize=8)
    for axis in axes.ravel():
        axis.set_xlabel("iteration")
        sns.despine(ax=axis)
    _stamp(figure, stamp)
    first, last = steps.iloc[0], steps.iloc[-1]
    parts = [f"{name} from {first[name]:.3f} to {last[name]:.3f}" for name in losses]
    if "estimate" in steps:
        parts.append(f"T's estimate from {first.estimate:.3f} to {last.estimate:.3f}")
    parts.append(f"validation AUC at last {validated['validation AUC'].iloc[-1]:.3f}")
    return Plot(figure, history, "Training curves: " + ", ".join(parts) + ".")


def map_curves(history: pd.DataFrame, stamp: str) -> Plot:
    """Mean, saturated share and spreads of M_df and M_dom over training."""
    steps = history[history["M_df mean"].notna()]
    keys = ["mean", "saturated", "channels", "places", "images"]
    labels = {
        "mean": "mean",
        "saturated": "share outside [.02, .98]",
        "channels": "s.d. over channels",
        "places": "s.d. over places",
        "images": "s.d. over images",
    }
    figure, axes = _figure(11, 3, 1, 2)
    for axis, name in zip(axes[0], ("M_df", "M_dom"), strict=True):
        for key, colour in _colours(keys).items():
            axis.plot(steps.iteration, steps[f"{name} {key}"], color=colour, label=labels[key])
        axis.set(title=name, xlabel="iteration", ylim=(-0.02, 1.02))
        sns.despine(ax=axis)
    axes[0, 0].legend(fontsize=8)
    _stamp(figure, stamp)
    columns = ["iteration", *(f"{name} {key}" for name in ("M_df", "M_dom") for key in keys)]
    last = steps.iloc[-1]
    said = "; ".join(
        f"{name} ends at mean {last[f'{name} mean']:.3f}, saturated share {last[f'{name} saturated']:.3f}, "
        f"deviation over channels {last[f'{name} channels']:.3f}, over images {last[f'{name} images']:.3f}"
        for name in ("M_df", "M_dom")
    )
    return Plot(figure, steps[columns], f"Statistics of the attention maps over training: {said}.")


def compare_histories(histories: Mapping[str, pd.DataFrame], stamp: str) -> Plot:
    """The game between T and the features, and the state of M_df, for several runs in the same axes."""
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
    figure, axes = _figure(11, 6.4, 2, 3)
    for axis, (key, title) in zip(axes.ravel(), panels.items(), strict=True):
        for name, colour in _colours(list(histories)).items():
            part = data[(data.run == name) & data[key].notna()]
            smooth = part[key].rolling(5, min_periods=1).mean()
            axis.plot(part.iteration, smooth, color=colour, label=name, ls="--" if name == "default" else "-")
        axis.set(title=title, xlabel="iteration")
        sns.despine(ax=axis)
    axes[0, 0].axhline(-2 * math.log(2), color="#888888", ls=":")
    axes[0, 2].set_yscale("log")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    _stamp(figure, stamp)
    last = data.groupby("run", sort=False).tail(10).groupby("run", sort=False)[["estimate", "M_df saturated"]].mean()
    said = "; ".join(
        f"{name}: estimate {row.estimate:.3f}, saturated share {row['M_df saturated']:.3f}"
        for name, row in last.iterrows()
    )
    return Plot(figure, data, f"T and M_df under {len(histories)} readings, means of the last ten points: {said}.")


def roc_curves(scores: pd.DataFrame, stamp: str) -> Plot:
    """ROC on the frames of the test split, all fakes and each method against all reals."""
    from sklearn.metrics import roc_curve

    methods = sorted(set(scores.method) - {REAL})
    figure, axes = _figure(4.6, 4.4)
    axis, rows, said = axes[0, 0], [], []
    for name, colour in _colours(["all", *methods]).items():
        part = scores if name == "all" else scores[scores.method.isin([REAL, name])]
        fpr, tpr, _ = roc_curve(part.label, part.score)
        value = auc(part.label, part.score)
        axis.plot(fpr, tpr, color=colour, lw=2.4 if name == "all" else 1.2, label=f"{name} {value:.3f}")
        rows.append(pd.DataFrame({"method": name, "fpr": fpr, "tpr": tpr}))
        said.append(f"{name} {value:.3f}")
    axis.plot([0, 1], [0, 1], color="#888888", ls=":")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, test frames", aspect="equal")
    axis.legend(title="AUC", fontsize=8)
    sns.despine(ax=axis)
    _stamp(figure, stamp)
    return Plot(figure, pd.concat(rows, ignore_index=True), f"ROC curves on test frames; AUC {', '.join(said)}.")


def score_histograms(scores: pd.DataFrame, stamp: str) -> Plot:
    """Histograms of the scores (logits), one panel a method, the reals in each."""
    methods = sorted(set(scores.method) - {REAL})
    figure, axes = _figure(2.6 * len(methods), 2.6, 1, len(methods))
    bins = np.linspace(scores.score.min(), scores.score.max(), 30).tolist()
    for axis, method in zip(axes[0], methods, strict=True):
        for name, colour in ((REAL, PALETTE[6]), (method, PALETTE[4])):
            axis.hist(scores.score[scores.method == name], bins=bins, density=True, alpha=0.6, color=colour, label=name)
        axis.axvline(0, color="#888888", ls=":")
        axis.set(title=method, xlabel="score (logit)", yticks=[])
        axis.legend(fontsize=7)
        sns.despine(ax=axis, left=True)
    _stamp(figure, stamp)
    medians = scores.groupby("method").score.median()
    said = ", ".join(f"{name} {value:.3f}" for name, value in medians.items())
    return Plot(figure, scores[["method", "label", "score"]], f"Histograms of test scores; medians: {said}.")


@torch.inference_mode()
def attention_overlay(task: nn.Module, faces: Faces, stamp: str, people: int = 4) -> Plot:
    """M_df of a few test faces, averaged over channels, laid over the crops; the colours span each map's own range."""
    methods = faces.domain_names
    figure, axes = _figure(1.7 * people * 2, 1.6 * len(methods), len(methods), 2 * people)
    rows = []
    for i, method in enumerate(methods):
        chosen = faces.rows.index[faces.rows.method == method]
        chosen = chosen[np.linspace(0, len(chosen) - 1, people).astype(int)]
        images = torch.stack([faces[int(k)]["image"] for k in chosen])
        out = task.model(images)  # type: ignore[operator,union-attr]
        maps = out.deepfake_map.mean(1, keepdim=True)
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
    _stamp(figure, stamp)
    data = pd.DataFrame(rows)
    alt = (
        f"M_df, mean over channels, on {len(data)} test faces; values from {data.low.min():.3f} to "
        f"{data.high.max():.3f}, widest range within one face {(data.high - data.low).max():.3f}."
    )
    return Plot(figure, data, alt)


matplotlib.rcParams.update({"font.size": 9, "axes.titlesize": 10})
