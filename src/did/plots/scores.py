"""How well detectors do: ROC and histograms of one run, and the paper's tables and figures beside what was run here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from did.data.table import REAL
from did.errors import DidError
from did.evaluation import auc, calibration_gap, mean_accuracy
from did.plots.base import (
    GRAY,
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

HERE, PUBLISHED = PALETTE[6], PALETTE[4]
HERE_LABEL = "here (stand-in or licensed: see stamp), 95% interval"


def roc_curves(scores: pd.DataFrame, stamp: str) -> Plot:
    """Draw ROC curves on the frames of the test split: all fakes, and each method, against all reals."""
    from sklearn.metrics import roc_curve

    methods = sorted(set(scores.method) - {REAL})
    figure, axes = canvas(4.6, 4.4)
    axis, rows, said = axes[0, 0], [], []
    for name, colour in colours(["all", *methods]).items():
        part = scores if name == "all" else scores[scores.method.isin([REAL, name])]
        fpr, tpr, _ = roc_curve(part.label, part.score)
        value = auc(part.label, part.score)
        axis.plot(fpr, tpr, color=colour, lw=2.4 if name == "all" else 1.2, label=entry(f"{name} {value:.3f}"))
        rows.append(pd.DataFrame({"method": name, "fpr": fpr, "tpr": tpr}))
        said.append(f"{name} {value:.3f}")
    axis.plot([0, 1], [0, 1], color=GRAY, ls=":")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, test frames", aspect="equal")
    axis.legend(title="AUC", fontsize=8)
    sns.despine(ax=axis)
    put_stamp(figure, stamp)
    return Plot(figure, pd.concat(rows, ignore_index=True), f"ROC curves on test frames; AUC {', '.join(said)}.")


def score_histograms(scores: pd.DataFrame, stamp: str) -> Plot:
    """Draw histograms of the scores (logits), one panel per method, with the reals in each."""
    methods = sorted(set(scores.method) - {REAL})
    figure, axes = canvas(2.6 * len(methods), 2.6, 1, len(methods))
    bins = np.linspace(scores.score.min(), scores.score.max(), 30).tolist()
    for axis, method in zip(axes[0], methods, strict=True):
        for name, colour in ((REAL, PALETTE[6]), (method, PALETTE[4])):
            axis.hist(
                scores.score[scores.method == name], bins=bins, density=True, alpha=0.6, color=colour, label=entry(name)
            )
        axis.axvline(0, color=GRAY, ls=":")
        axis.set(title=method, xlabel="score (logit)", yticks=[])
        axis.legend(fontsize=7)
        sns.despine(ax=axis, left=True)
    put_stamp(figure, stamp)
    medians = scores.groupby("method").score.median()
    said = ", ".join(f"{name} {value:.3f}" for name, value in medians.items())
    return Plot(figure, scores[["method", "label", "score"]], f"Histograms of test scores; medians: {said}.")


def paper_against_ours(table: pd.DataFrame, stamp: str, metric: str = "auc", level: str = "frame") -> Plot:
    """Draw our numbers beside the paper's, one panel per test, one line per detector.

    Args:
        table: one row per (row, test, level, metric): row, test, level, metric, ours, std, low, high, seeds, paper,
            run_here; optionally runs_on, the backbone. What was not run or not printed is NaN.
        stamp: where the numbers come from.
        metric, level: which rows of the table to draw.

    Raises:
        DidError: If there are no such rows, or a (row, test) occurs twice.
    """
    data = _of(table, metric, level)
    names, tests = in_order(data.row), in_order(data.test)
    wide = 3.6 + min(2.4 * len(tests), 6.0)  # a wider figure could not be read on a page
    figure, axes = canvas(wide, 1.1 + 0.34 * len(names), 1, len(tests), sharex=True, sharey=True)
    for axis, test in zip(axes[0], tests, strict=True):
        part = data[data.test == test]
        ran = part[part.run_here]
        # A little apart, so that two equal values are seen to be two.
        axis.hlines(ran.row.map(names.index) - 0.13, ran.low, ran.high, color=HERE, lw=1.6)
        axis.plot(ran.ours, ran.row.map(names.index) - 0.13, "o", color=HERE, ms=5, label=HERE_LABEL)
        place = part.row.map(names.index) + 0.13
        axis.plot(part.paper, place, "D", color=PUBLISHED, mfc="none", ms=5, label="as published")
        _chance(axis.axvline, metric)
        axis.set(title=test, xlabel=f"{metric.upper()}, {level}s")
        axis.grid(axis="y", color="#EEEEEE")
        axis.set_axisbelow(True)
        sns.despine(ax=axis)
    first = axes[0, 0]
    first.set(ylim=(len(names) - 0.5, -0.5))
    first.set_yticks(range(len(names)), [_with_note(name, data[data.row == name]) for name in names])
    missing = [name for name in names if not data.run_here[data.row == name].any()]
    for label, name in zip(first.get_yticklabels(), names, strict=True):
        label.set_color(GRAY if name in missing else "black")
    legend_above(figure, axes, 3)
    put_stamp(figure, stamp)
    rest = f"; not run here: {', '.join(missing)}" if missing else ""
    return Plot(figure, data, f"{metric.upper()} on {level}s, {_beside(data)}{rest}.")


def _of(table: pd.DataFrame, metric: str, level: str) -> pd.DataFrame:
    """Select the rows of one metric and level, with `run_here` as bool."""
    data = table[(table.metric == metric) & (table.level == level)].reset_index(drop=True)
    if not len(data):
        raise DidError(f"the table has no {metric} on {level}s to draw: give rows of this metric and level")
    if data.duplicated(["row", "test"]).any():
        twice = data[data.duplicated(["row", "test"])].iloc[0]
        raise DidError(f"the table holds {twice.row} on {twice.test} twice: give one row of it")
    return data.astype({"run_here": bool})


def _chance(line: Callable[..., object], metric: str) -> None:
    if metric == "auc":
        line(0.5, color=GRAY, ls=":", label="chance")


def _with_note(name: str, part: pd.DataFrame) -> str:
    """Return a row's name with the backbone that it ran on here, and on which of its tests if not on all."""
    backbone = part.get("runs_on", pd.Series(dtype=str))[part.run_here]
    name += f"\n{backbone.iloc[0]}" if len(backbone) else ""
    if part.run_here.all():
        return name
    ran = ", ".join(part.test[part.run_here])
    return f"{name} (here on {ran} only)" if ran else f"{name} (not run here)"


def _beside(data: pd.DataFrame) -> str:
    ran = data[data.run_here]
    said = [
        f"{row.row} on {row.test}: here {in_words(row.ours, row.low, row.high)}, "
        + ("no published number" if pd.isna(row.paper) else f"published {row.paper:.3f}")
        for row in ran.itertuples()
    ]
    return "; ".join(said) if said else "nothing was run here"


_SIDES = {"ahead": PALETTE[6], "behind": PALETTE[5], "undecided": "#666666"}


def forest(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw every compared difference of AUCs with its interval, grouped by table or figure, beside the published ones.

    The marker says what kind of data a difference is from; it is filled where the interval does not contain 0.

    Args:
        table: one row per comparison, as `did.paper.records.comparisons` gives: of (the group), a, b, test, difference,
            low, high, paper (or NaN), kind, so (`ahead`, `behind`, `undecided`).
        stamp: where the numbers come from.

    Raises:
        DidError: If there is nothing to draw.
    """
    if not len(table):
        raise DidError("there is no comparison to draw: no record has two rows that are compared")
    data = table.reset_index(drop=True)
    groups, kinds = in_order(data.of), markers(in_order(data.kind))
    # A free line above each group holds its name.
    place = data.index + 1 + data.of.map(groups.index)
    figure, axes = canvas(7.8, 1.2 + 0.24 * (place.iloc[-1] + 1))
    axis = axes[0, 0]
    for kind, marker in kinds.items():
        for so, colour in _SIDES.items():
            part = data[(data.kind == kind) & (data.so == so)]
            if len(part):
                at = place[part.index]
                axis.hlines(at - 0.12, part.low, part.high, color=colour, lw=1.5)
                face = "white" if so == "undecided" else colour
                axis.plot(part.difference, at - 0.12, marker, color=colour, mfc=face, ms=6, label=f"{kind}, {so}")
    if data.paper.notna().any():
        axis.plot(data.paper, place + 0.18, "|", color=PUBLISHED, ms=9, mew=2, label="as published")
    axis.axvline(0, color="black", lw=0.8)
    heads = [place[data.of == group].iloc[0] - 1 for group in groups]
    names = [f"{row.a} − {row.b} on {row.test}" for row in data.itertuples()]
    lines = [*zip(place, names, strict=True), *zip(heads, groups, strict=True)]
    axis.set_yticks([at for at, _ in lines], [name for _, name in lines])
    for tick in axis.get_yticklabels()[len(data) :]:
        tick.set_fontweight("bold")
    axis.tick_params(axis="y", length=0)
    axis.set(xlabel="difference of AUCs, 95% interval", ylim=(place.iloc[-1] + 0.7, -0.7))
    sns.despine(ax=axis)
    legend_above(figure, axes, 3)
    put_stamp(figure, stamp)
    said = [
        f"{row.of}, {name}, {row.kind}: {in_words(row.difference, row.low, row.high)}, {row.so}"
        + ("" if pd.isna(row.paper) else f", published {row.paper:.3f}")
        for name, row in zip(names, data.itertuples(), strict=True)
    ]
    return Plot(figure, data, f"Differences of AUCs: {'; '.join(said)}.")


def alpha_curve(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw the frame AUC against α of Eq. 9, one panel per test, beside the paper's points (Fig. 4).

    Args:
        table: as for `paper_against_ours`, and `alpha`; rows without one are left out.
        stamp: where the numbers come from.

    Raises:
        DidError: If no row has an alpha, or a (row, test) occurs twice.
    """
    data = _of(table[table.alpha.notna()], "auc", "frame").sort_values("alpha", kind="stable", ignore_index=True)
    tests = in_order(table.test[table.test.isin(data.test)])
    figure, axes = canvas(0.6 + 3.6 * len(tests), 3.6, 1, len(tests), sharey=True)
    for axis, test in zip(axes[0], tests, strict=True):
        part = data[data.test == test]
        ran = part[part.run_here]
        axis.vlines(ran.alpha, ran.low, ran.high, color=HERE, lw=1.6)
        axis.plot(ran.alpha, ran.ours, "o-", color=HERE, ms=5, lw=1, label=HERE_LABEL)
        axis.plot(part.alpha, part.paper, "D", color=PUBLISHED, mfc="none", ms=7, label="as published")
        _chance(axis.axhline, "auc")
        axis.set(title=test, xlabel="α", xticks=sorted(set(data.alpha)))
        sns.despine(ax=axis)
    axes[0, 0].set_ylabel("AUC, frames")
    legend_above(figure, axes, 2)
    put_stamp(figure, stamp)
    return Plot(
        figure, data, f"AUC on frames against α, {_beside(data.assign(row='α = ' + data.alpha.map('{:g}'.format)))}."
    )


def length_curves(rows: pd.DataFrame, lengths: pd.DataFrame, stamp: str) -> Plot:
    """Draw the frame AUC against the length of training, one panel per test, and the validation AUC.

    Args:
        rows: as for `paper_against_ours`.
        lengths: row, system, augmentation, iterations and validation AUC of the rows (`did.paper.measures.lengths`).
        stamp: where the numbers come from.

    Raises:
        DidError: If a (row, test) occurs twice.
    """
    data = _of(rows, "auc", "frame").merge(lengths, on="row")
    tests, systems = in_order(data.test), in_order(data.system)
    panels = [*((test, data[data.test == test], "ours") for test in tests),
              ("validation, within the source", data[data.test == tests[0]], "validation AUC")]  # fmt: skip
    figure, axes = canvas(0.6 + 3 * len(panels), 3.6, 1, len(panels))
    colour = colours(systems)
    for axis, (title, part, column) in zip(axes[0], panels, strict=True):
        for (system, augmentation), curve in part.groupby(["system", "augmentation"], sort=False):
            curve = curve.sort_values("iterations")
            plain = augmentation == "none"
            axis.plot(curve.iterations, curve[column], "o--" if plain else "o-", color=colour[system], ms=4,
                      mfc="none" if plain else colour[system], lw=1.2,
                      label=system if plain else f"{system}, {augmentation}")  # fmt: skip
            if column == "ours":
                axis.fill_between(curve.iterations, curve.low, curve.high, color=colour[system], alpha=0.1, lw=0)
        ticks = sorted(set(part.iterations))
        axis.set_xscale("log", base=2)
        axis.set(title=title, xlabel="iterations", xticks=ticks, xticklabels=[str(tick) for tick in ticks])
        axis.minorticks_off()
        sns.despine(ax=axis)
    axes[0, 0].set_ylabel("AUC, frames")
    legend_above(figure, axes, 4)
    put_stamp(figure, stamp)
    last = data.sort_values("iterations").groupby(["test", "system", "augmentation"], sort=False).tail(1)
    said = "; ".join(f"{row.system} ({row.augmentation}) on {row.test} {in_words(row.ours, row.low, row.high)} after "
                     f"{row.iterations} iterations" for row in last.itertuples())  # fmt: skip
    return Plot(figure, data, f"AUC on frames against the length of training: {said}.")


def confusion_matrix(confusion: pd.DataFrame, stamp: str) -> Plot:
    """Draw which domain C̄ predicts for each domain (Fig. 5).

    Args:
        confusion: from `did.evaluation.metrics.confusion`: a row a true domain, a column a predicted one; a row of NaN
            is a domain without faces.
        stamp: where the numbers come from.

    Raises:
        DidError: If no domain has faces.
    """
    names, shares = list(confusion.index), confusion.to_numpy()
    if np.isnan(shares).all():
        raise DidError("no domain of the confusion matrix has faces: give faces of the run's domains")
    accuracy = mean_accuracy(confusion)
    side = 1.6 + 0.75 * len(names)
    figure, axes = canvas(side + 0.6, side)
    axis = axes[0, 0]
    picture = axis.imshow(shares, cmap=matplotlib.colormaps["cividis"].with_extremes(bad="#EEEEEE"), vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        text, dark = ("–" if np.isnan(share) else f"{share:.2f}"), share < 0.6
        axis.text(j, i, text, ha="center", va="center", color="white" if dark else "black")
    axis.set(xlabel="taken for", ylabel="true domain", title=f"mean accuracy {accuracy:.2f}")
    axis.set_xticks(range(len(names)), list(confusion.columns), rotation=30, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
    figure.colorbar(picture, ax=axis, label="share of the true domain", shrink=0.8)
    put_stamp(figure, stamp)
    right = ", ".join(
        f"{name} {share:.3f}" for name, share in zip(names, np.diag(shares), strict=True) if not np.isnan(share)
    )
    others = np.where(np.eye(len(names)), np.nan, shares)
    i, j = np.unravel_index(np.nanargmax(others), shares.shape)
    most = f"{names[i]} taken for {confusion.columns[j]}, {shares[i, j]:.3f}"
    none = [name for name, row in zip(names, shares, strict=True) if np.isnan(row).all()]
    alt = f"Confusion matrix of domains: mean accuracy {accuracy:.3f}; right: {right}; greatest confusion: {most}"
    return Plot(figure, confusion, alt + (f"; without faces: {', '.join(none)}" if none else "") + ".")


def reliability_diagram(tables: Mapping[str, pd.DataFrame], stamp: str) -> Plot:
    """Draw the share of fakes against the probability of "fake".

    On the dotted line a detector is as confident as it is right.

    Args:
        tables: detector -> table of `did.evaluation.calibration.reliability`.
        stamp: where the numbers come from.
    """
    names = list(tables)
    figure, axes = canvas(5.6, 5.0)
    axis, frames, said = axes[0, 0], [], []
    axis.plot([0, 1], [0, 1], color=GRAY, ls=":")
    for name, colour, marker in zip(names, colours(names).values(), markers(names).values(), strict=True):
        part = tables[name][tables[name].n > 0]
        weight = part.n / part.n.sum()
        error = calibration_gap(part)
        axis.plot(part.probability, part.share, color=colour, lw=1, alpha=0.7)
        axis.scatter(
            part.probability, part.share, 12 + 250 * weight, color=colour, marker=marker, alpha=0.7, lw=0,
            label=entry(f"{name}, error {error:.3f}"),
        )  # fmt: skip
        frames.append(tables[name].assign(detector=name))
        said.append(f"{name} {error:.3f}")
    axis.set(xlabel='probability of "fake"', ylabel="share of fakes", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axis.set(title="reliability; a marker's area: share of the faces", aspect="equal")
    legend = axis.legend(title="expected calibration error", fontsize=8)
    for handle in legend.legend_handles:
        handle.set_sizes([36.0])  # type: ignore[union-attr]
    sns.despine(ax=axis)
    put_stamp(figure, stamp)
    data = pd.concat(frames, ignore_index=True)
    return Plot(figure, data, f"Reliability diagram; expected calibration error: {', '.join(said)}.")


def effects(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw what each part of a method adds on average, one panel per test.

    Args:
        table: part, test, difference, low, high, so, as `did.paper.factorial.effects` gives.
        stamp: where the numbers come from.

    Raises:
        DidError: If there is nothing to draw.
    """
    if not len(table):
        raise DidError("there is no effect to draw: no two rows differ in one part alone")
    tests, parts = in_order(table.test), in_order(table.part)
    figure, axes = canvas(3.2 * len(tests) + 1, 0.9 + 0.32 * len(parts), 1, len(tests), sharey=True)
    for axis, test in zip(axes[0], tests, strict=True):
        of = table[table.test == test].set_index("part").reindex(parts)
        for at, row in enumerate(of.itertuples()):
            _with_interval(axis, at, row, "o")
        _about_zero(axis, str(test), "added to the AUC", parts)
    put_stamp(figure, stamp)
    said = "; ".join(
        f"{row.part} on {row.test} {in_words(row.difference, row.low, row.high)}" for row in table.itertuples()
    )
    return Plot(figure, table.reset_index(drop=True), f"What each part adds to the AUC: {said}.")


def _with_interval(axis: Axes, at: float, row: Any, marker: str, label: str = "_") -> None:
    """Draw a difference with its interval in the colour of its side, hollow if the interval contains 0."""
    colour = _SIDES.get(row.so, GRAY)
    axis.hlines(at, row.low, row.high, color=colour, lw=1.5)
    axis.plot(row.difference, at, marker, color=colour, mfc="white" if row.so == "undecided" else colour, ms=6,
              label=label)  # fmt: skip


def _about_zero(axis: Axes, title: str, label: str, names: Sequence[str]) -> None:
    """Give a panel its line at 0, and a name to each of its rows, the first on top."""
    axis.axvline(0, color="black", lw=0.8)
    axis.set(title=title, xlabel=label, yticks=range(len(names)), yticklabels=names)
    axis.locator_params(axis="x", nbins=4)
    axis.set_ylim(len(names) - 0.5, -0.5)
    sns.despine(ax=axis)


def worlds(each: pd.DataFrame, over: pd.DataFrame, stamp: str) -> Plot:
    """Draw how far one detector is ahead of another in each world, and on average over worlds, one panel per test.

    Args:
        each: a, b, test, world, difference, as the figure `worlds` of a record of several worlds has.
        over: a, b, test, difference, low, high, so, as `did.paper.worlds.over_worlds` gives.
        stamp: where the numbers come from.

    Raises:
        DidError: If there is nothing to draw.
    """
    if not len(each):
        raise DidError("there are no worlds to draw: the record is of one world")
    tests, pairs = in_order(over.test), in_order(over.a + " − " + over.b)
    figure, axes = canvas(3.4 * len(tests) + 1.4, 1.1 + 0.5 * len(pairs), 1, len(tests), sharey=True)
    for axis, test in zip(axes[0], tests, strict=True):
        for at, pair in enumerate(pairs):
            dots = each[(each.test == test) & (each.a + " − " + each.b == pair)]
            axis.plot(dots.difference, [at + 0.17] * len(dots), "o", color=GRAY, alpha=0.6, ms=5, label="a world")
            row = over[(over.test == test) & (over.a + " − " + over.b == pair)].iloc[0]
            _with_interval(axis, at - 0.12, row, "D", f"mean, {row.so}")
        _about_zero(axis, str(test), "difference of AUCs", pairs)
    legend_above(figure, axes, 3)
    put_stamp(figure, stamp)
    said = []
    for row in over.itertuples():
        dots = each[(each.test == row.test) & (each.a == row.a) & (each.b == row.b)].difference
        said.append(f"{row.a} − {row.b} on {row.test} {in_words(row.difference, row.low, row.high)}, above 0 in "
                    f"{int((dots > 0).sum())} of {len(dots)}")  # fmt: skip
    return Plot(figure, each.reset_index(drop=True), f"Differences of AUCs over worlds: {'; '.join(said)}.")
