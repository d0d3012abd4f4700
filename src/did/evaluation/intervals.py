"""Bootstrap intervals of AUC, EER and means, over videos and seeds, and DeLong's variance."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from did.errors import DidError, nearest
from did.evaluation.metrics import METRICS, Array, _area, _checked, _curves, _ranking, auc, by_video, eer


def interval(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    metric: str = "auc",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the percentile interval of a metric by a bootstrap over groups.

    Whole videos are drawn, never single frames.

    Frames of a video are far from independent; drawing frames would give intervals several times too narrow.

    Args:
        labels, scores: (n,) as for `auc`.
        groups: (n,) a name for each entry: its video, or its identity.
        metric: `auc` or `eer`.
        draws: bootstrap samples; those that hold one class only are left out.
        level: coverage.
        seed: of the draws.

    Returns:
        (low, high).

    Raises:
        DidError: As `auc`; or if the metric is unknown, or there are fewer than two groups of a class, so that nothing
            can be drawn.
    """
    if metric not in METRICS:
        raise DidError(f"unknown metric '{metric}': {nearest(metric, METRICS)}")
    return low_high(_bootstrap(labels, scores, groups, [metric], draws, seed)[0], level)


def _bootstrap(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, metrics: Sequence[str], draws: int, seed: int
) -> Array:
    """Compute metrics over draws of whole groups, (metrics, draws that contain both classes).

    A draw is a weighting: each row counts as often as its group was drawn. The same groups and seed give the same
    draws, whatever the scores and the order of the rows.
    """
    y, s = _checked(labels, scores)
    group, names = pd.factorize(np.asarray(groups), sort=True)
    if len(group) != len(y) or (group < 0).any():
        raise DidError(f"a bootstrap over groups needs a group for each of the {len(y)} scores, and none of them empty")
    if min(len(np.unique(group[y == side])) for side in (0, 1)) < 2:
        raise DidError("an interval by bootstrap over groups needs at least two groups of each class")
    sizes = np.array([np.bincount(group[y == side], minlength=len(names)) for side in (0, 1)])
    ranking = [(group[rows], counts) for rows, counts in _ranking(y, s)]
    rng, values = np.random.default_rng(seed), []
    share = max(1, 1_000_000 // len(y))  # draws at once: memory stays bounded
    for first in range(0, draws, share):
        count = min(share, draws - first)
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)  # a group's multiplicity
        both = (times @ sizes.T > 0).all(1)
        curves = _curves(ranking, times[both])
        values.append([METRICS[metric](*curves) for metric in metrics])
    if not sum(len(part[0]) for part in values):
        raise DidError(f"none of the {draws} draws of the bootstrap holds both classes; ask for more draws")
    return np.concatenate(values, axis=1)


def low_high(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of the percentile interval of bootstrap draws, (draws,), at a coverage of `level`."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def delong(labels: ArrayLike, *scores: ArrayLike) -> tuple[Array, Array]:
    """Compute AUCs of several detectors on the same rows, and the covariance of these AUCs.

    The variance of detector i's AUC is `covariance[i, i]`; that of the difference of i and j is
    `covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]`. Every row is taken for independent: give one row per
    video. For the frames of videos the variance comes out far too small; take `difference` there.

    Args:
        labels: (n,).
        scores: k lists, (n,) each.

    Returns:
        (k,) and (k, k).

    Raises:
        DidError: As `auc`; or if there are no scores, or fewer than two rows of a class.

    Source: DeLong, DeLong and Clarke-Pearson (Biometrics, 1988); by midranks: Sun and Xu (IEEE SPL, 2014).
    """
    if not scores:
        raise DidError("delong needs the scores of at least one detector after the labels")
    checked = [_checked(labels, one) for one in scores]
    y = checked[0][0]
    fake, real = y == 1, y == 0
    if min(fake.sum(), real.sum()) < 2:
        raise DidError("DeLong's variance needs at least two rows of each class")
    # A row's midrank among all, less its midrank in its own class, counts the rows of the other class below it.
    ranks = [(rankdata(s), rankdata(s[fake]), rankdata(s[real])) for _, s in checked]
    wins = np.array([(every[fake] - own) / real.sum() for every, own, _ in ranks])
    losses = np.array([(every[real] - own) / fake.sum() for every, _, own in ranks])
    covariance = np.cov(wins) / fake.sum() + np.cov(losses) / real.sum()
    return wins.mean(1), covariance.reshape(len(scores), len(scores))


def report(frames: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Tabulate AUC and EER with 95% intervals: all fakes and each method against all reals, frames and videos.

    Args:
        frames: columns `video`, `label`, `method`, `identity`, `score`; one row per frame.
        draws, seed: of the bootstrap.

    Returns:
        One row per level and method: level, method, auc, auc_low, auc_high, eer, eer_low, eer_high, n_real, n_fake.
    """
    rows = []
    for level, table in (("frame", frames), ("video", by_video(frames))):
        for method in _every_method(table):
            part = _against_reals(table, method)
            row: dict[str, Any] = {"level": level, "method": method}
            values = _bootstrap(part.label, part.score, part.video, list(METRICS), draws, seed)
            for name, metric, drawn in zip(METRICS, (auc, eer), values, strict=True):
                row[name] = metric(part.label, part.score)
                row[f"{name}_low"], row[f"{name}_high"] = low_high(drawn)
            row["n_real"], row["n_fake"] = int((part.label == 0).sum()), int((part.label == 1).sum())
            rows.append(row)
    return pd.DataFrame(rows)


def difference(scored_a: pd.DataFrame, scored_b: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Compute the AUC of detector a less that of detector b on the same frames, with its 95% interval.

    Both detectors see the same draws of videos, as in `interval`: what makes a video hard for both cancels.

    Args:
        scored_a, scored_b: columns `video`, `frame`, `label`, `method`, `identity`, `score`; one row per frame, the
            rows in any order.
        draws, seed: of the bootstrap.

    Returns:
        One row per level, frame and video: level, auc_a, auc_b, difference, low, high.

    Raises:
        DidError: If the two are not about the same frames, or as `interval` does.
    """
    _check_same_frames(scored_a, scored_b)
    rows = []
    for level, one, two in (("frame", scored_a, scored_b), ("video", by_video(scored_a), by_video(scored_b))):
        drawn = [_bootstrap(part.label, part.score, part.video, ["auc"], draws, seed)[0] for part in (one, two)]
        low, high = low_high(drawn[0] - drawn[1])
        auc_a, auc_b = auc(one.label, one.score), auc(two.label, two.score)
        rows.append(
            {"level": level, "auc_a": auc_a, "auc_b": auc_b, "difference": auc_a - auc_b, "low": low, "high": high}
        )
    return pd.DataFrame(rows)


def _check_same_frames(scored_a: pd.DataFrame, scored_b: pd.DataFrame) -> None:
    keys = ["video", "frame"]
    for name, scored in (("first", scored_a), ("second", scored_b)):
        lacking = {*keys, "label", "method", "identity", "score"} - set(scored.columns)
        if lacking:
            raise DidError(f"the {name} detector's scores lack the column '{min(lacking)}': take a run's scores")
        if scored.duplicated(keys).any():
            raise DidError(f"the {name} detector's scores hold a frame of a video twice: leave one row per frame")
    pairs = scored_a[[*keys, "label"]].merge(scored_b[[*keys, "label"]], "outer", indicator="side")
    alone = int((pairs.side != "both").sum())
    if alone:
        raise DidError(
            f"the two detectors are not about the same frames, {alone} rows (video, frame, label) have no partner: "
            f"score both on the same test split"
        )


def over_seeds(
    scored: Sequence[pd.DataFrame], draws: int = 1000, seed: int = 0, methods: Sequence[str] | None = None
) -> pd.DataFrame:
    """Compute AUC and EER as means over runs that differ in their seed, with 95% intervals.

    A draw of the bootstrap takes videos with replacement, the same ones for every run, and runs with replacement: the
    interval holds what other test videos and, as far as a few runs tell, other seeds would change. Three runs tell
    little: with n of them the spread over seeds enters (n - 1) / n too small. With one run it is the interval of
    `report`.

    Args:
        scored: one table a run, columns as for `report`, all about the same frames.
        draws, seed: of the bootstrap.
        methods: `all` fakes or single methods; all of them by default.

    Returns:
        One row per level, method (all fakes, and each) and metric: level, method, metric, mean, std, low, high, seeds.
        The standard deviation is the sample's (divided by the number of runs less one), NaN for one run.

    Raises:
        DidError: If there is no table, tables about other frames, or as `report`.
    """
    if not len(scored):
        raise DidError("a mean over seeds needs the scores of at least one run")
    for other in scored[1:]:
        _check_same_frames(scored[0], other)
    rows = []
    for level, tables in (("frame", scored), ("video", [by_video(one) for one in scored])):
        for method in methods or _every_method(tables[0]):
            parts = [_against_reals(one, method) for one in tables]
            drawn = _over_runs(_draws(parts, list(METRICS), draws, seed), seed)
            for number, (metric, value) in enumerate((("auc", auc), ("eer", eer))):
                values = np.array([value(part.label, part.score) for part in parts])
                low, high = low_high(drawn[number])
                rows.append({"level": level, "method": method, "metric": metric, "mean": values.mean(), "std":
                _std(values),
                             "low": low, "high": high, "seeds": len(values)})  # fmt: skip
    return pd.DataFrame(rows)


def difference_over_seeds(
    scored_a: Sequence[pd.DataFrame],
    scored_b: Sequence[pd.DataFrame],
    draws: int = 1000,
    seed: int = 0,
    methods: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compute the AUC of detector a less that of detector b, as a mean over runs, with 95% intervals.

    Runs are paired by their seed; the intervals are over videos and seeds (see `over_seeds`). What makes a video, or a
    seed's batches, hard for both cancels.

    Args:
        scored_a, scored_b: one table a run, in the same order of seeds, all about the same frames.
        draws, seed, methods: as in `over_seeds`.

    Returns:
        One row per level and method: level, method, difference, std, low, high, seeds.

    Raises:
        DidError: If the numbers of runs differ, or as `over_seeds`.
    """
    if len(scored_a) != len(scored_b) or not len(scored_a):
        raise DidError(
            f"{len(scored_a)} and {len(scored_b)} runs cannot be paired by seed: run both with the same seeds"
        )
    for other in (*scored_a[1:], *scored_b):
        _check_same_frames(scored_a[0], other)
    rows = []
    for level, side_a, side_b in (
        ("frame", scored_a, scored_b),
        ("video", [by_video(one) for one in scored_a], [by_video(one) for one in scored_b]),
    ):
        for method in methods or _every_method(side_a[0]):
            a, b = ([_against_reals(one, method) for one in side] for side in (side_a, side_b))
            drawn = _over_runs(_draws(a, ["auc"], draws, seed) - _draws(b, ["auc"], draws, seed), seed)
            values = np.array([auc(x.label, x.score) - auc(y.label, y.score) for x, y in zip(a, b, strict=True)])
            low, high = low_high(drawn[0])
            rows.append({"level": level, "method": method, "difference": values.mean(), "std": _std(values),
                         "low": low, "high": high, "seeds": len(values)})  # fmt: skip
    return pd.DataFrame(rows)


def auc_draws(scored: Sequence[pd.DataFrame], methods: Sequence[str], draws: int = 1000, seed: int = 0) -> Array:
    """Draw the frame AUC of several detectors on several methods, over the same draws of all videos.

    Each method is tested against all reals.

    `report` draws the videos of each method apart. Here one draw serves every detector and method, so that AUCs on
    different methods can be averaged and subtracted draw by draw.

    Args:
        scored: one table a detector, columns as for `difference`, all about the same frames.
        methods: `all` fakes or single methods.
        draws, seed: of the bootstrap; draws in which a method, or the reals, have no video are left out.

    Returns:
        (detectors, methods, draws that are left).

    Raises:
        DidError: If there is no table, tables about other frames, a method without fakes, or no draw that is left.
    """
    if not len(scored):
        raise DidError("a comparison over methods needs the scores of at least one detector")
    for other in scored[1:]:
        _check_same_frames(scored[0], other)
    videos = pd.Index(sorted(set(scored[0].video)))
    times = np.random.default_rng(seed).multinomial(len(videos), np.full(len(videos), 1 / len(videos)), size=draws)
    parts = [[_against_reals(one, method) for method in methods] for one in scored]
    for part in parts[0]:
        y = _checked(part.label, part.score)[0]
        held = [(times[:, videos.get_indexer(part.video[y == side].unique())] > 0).any(1) for side in (0, 1)]
        times = times[held[0] & held[1]]
    if not len(times):
        raise DidError(f"none of the {draws} draws of the bootstrap holds every method; ask for more draws")
    return np.array([[_drawn_auc(part, videos, times) for part in of] for of in parts])


def _drawn_auc(part: pd.DataFrame, videos: pd.Index, times: Array) -> Array:
    y, s = _checked(part.label, part.score)
    column = videos.get_indexer(part.video)
    ranking = [(column[rows], counts) for rows, counts in _ranking(y, s)]
    share = max(1, 1_000_000 // len(y))  # draws at once: memory stays bounded
    return np.concatenate(
        [_area(*_curves(ranking, times[first : first + share])) for first in range(0, len(times), share)]
    )


def _every_method(table: pd.DataFrame) -> list[str]:
    return ["all", *sorted(set(table.method[table.label == 1]))]


def _against_reals(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table if method == "all" else table[(table.label == 0) | (table.method == method)]


def _draws(parts: Sequence[pd.DataFrame], metrics: Sequence[str], draws: int, seed: int) -> Array:
    """Compute the same draws of videos for every run: (runs, metrics, draws)."""
    return np.array([_bootstrap(part.label, part.score, part.video, metrics, draws, seed) for part in parts])


def _over_runs(values: Array, seed: int) -> Array:
    """Average over runs that are drawn as well, in each draw: (runs, metrics, draws) -> (metrics, draws)."""
    runs, _, draws = values.shape
    times = np.random.default_rng([seed, runs]).multinomial(runs, np.full(runs, 1 / runs), size=draws)
    return np.asarray(np.einsum("rmd,dr->md", values, times / runs))


def mean_draws(values: ArrayLike, groups: ArrayLike, draws: int = 1000, seed: int = 0) -> Array:
    """Compute means of values (n,) over draws of whole groups (n,), as in `interval`: (draws,).

    One group gives one mean.
    """
    group, names = pd.factorize(np.asarray(groups))
    sums, counts = np.bincount(group, np.asarray(values, dtype=float)), np.bincount(group)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.asarray((times @ sums) / (times @ counts))


def _std(values: Array) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
