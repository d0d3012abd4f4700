"""AUC, EER, DeLong's variance and bootstrap intervals, on frames and on videos; calibration, confusion, seeds.

Labels: 1 = fake, 0 = real; higher scores mean fake.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import rankdata

from did.errors import DidError
from did.settings import nearest

Array = NDArray[Any]
Ranking = list[tuple[Array, Array]]


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Array, Array]:
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise DidError(f"labels and scores must be two lists of the same length, got shapes {y.shape} and {s.shape}")
    if set(np.unique(y)) != {0, 1}:
        raise DidError(
            f"AUC and EER need both classes, labels 0 (real) and 1 (fake); got {sorted(set(y.tolist()))[:5]}"
        )
    _check_finite(s)
    return y.astype(int), s


def _check_finite(scores: Array) -> None:
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise DidError(f"{bad} of {len(scores)} scores are not finite; score those rows again or leave them out")


def _ranking(labels: Array, scores: Array) -> Ranking:
    """What a ROC curve needs of the scores, found once for any number of weightings.

    For each class its rows by falling score, (n_class,), and how many of them are passed at each corner of the curve,
    (corners,), from none to all. Tied scores are one step of the curve, so that ties count one half in its area.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    counts = np.array([np.cumsum(labels[order] == side)[ends] for side in (0, 1)])
    # Where a class stands still before and after a point, the point lies on a straight line under every weighting.
    still = np.diff(counts, prepend=0) == 0
    corner = np.append(~(still[:, :-1] & still[:, 1:]).any(0), True)
    return [(order[labels[order] == side], np.append(0, counts[side, corner])) for side in (0, 1)]


def _curves(ranking: Ranking, weights: Array) -> tuple[Array, Array]:
    """ROC curves of many weightings of one ranking: weights (draws, columns) -> FPR and TPR, (draws, corners).

    The ranking's rows point into the columns of the weights.
    """
    sides = []
    for columns, counts in ranking:
        total = np.cumsum(weights[:, columns], axis=1)
        points = np.where(counts > 0, total[:, counts - 1], 0)
        sides.append(points / points[:, -1:])
    return sides[0], sides[1]


def _curve(labels: Array, scores: Array) -> tuple[Array, Array]:
    return _curves(_ranking(labels, scores), np.ones((1, len(labels))))


def _area(fpr: Array, tpr: Array) -> Array:
    return np.asarray((np.diff(fpr) * (tpr[:, 1:] + tpr[:, :-1]) / 2).sum(1))


def _crossing(fpr: Array, tpr: Array) -> Array:
    gap = fpr - (1 - tpr)  # from -1 to 1, never falling
    after = np.argmax(gap >= 0, axis=1)
    rows, before = np.arange(len(gap)), after - 1  # gap[:, 0] is -1, so after is at least 1
    t = gap[rows, before] / (gap[rows, before] - gap[rows, after])
    return np.asarray(fpr[rows, before] + t * (fpr[rows, after] - fpr[rows, before]))


METRICS: dict[str, Callable[[Array, Array], Array]] = {"auc": _area, "eer": _crossing}


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve; ties count one half. Shapes (n,), (n,).

    Raises:
        DidError: one class is absent, lengths differ, or a score is not finite.

    Source: the normalised WMW statistic, Eq. 6.
    """
    y, s = _checked(labels, scores)
    return float(_area(*_curve(y, s))[0])


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Equal error rate: where the false positive and the false negative rate meet on the ROC curve, interpolated.

    Shapes (n,), (n,). Raises DidError as `auc` does.
    """
    y, s = _checked(labels, scores)
    return float(_crossing(*_curve(y, s))[0])


def interval(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    metric: str = "auc",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a metric by a bootstrap over groups: whole videos are drawn, never single frames.

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
        DidError: as `auc` does, an unknown metric, or fewer than two groups of a class, so that nothing can be drawn.
    """
    if metric not in METRICS:
        raise DidError(f"unknown metric '{metric}': {nearest(metric, METRICS)}")
    return low_high(_bootstrap(labels, scores, groups, [metric], draws, seed)[0], level)


def _bootstrap(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, metrics: Sequence[str], draws: int, seed: int
) -> Array:
    """Metrics over draws of whole groups, (metrics, draws that hold both classes).

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
    """The ends of the percentile interval of bootstrap draws, (draws,), at a coverage of `level`."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def delong(labels: ArrayLike, *scores: ArrayLike) -> tuple[Array, Array]:
    """AUCs of several detectors on the same rows, and the covariance of these AUCs.

    The variance of detector i's AUC is `covariance[i, i]`; that of the difference of i and j is
    `covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]`. Every row is taken for independent: give one row a
    video. For the frames of videos the variance comes out far too small; take `difference` there.

    Args:
        labels: (n,).
        scores: k lists, (n,) each.

    Returns:
        (k,) and (k, k).

    Raises:
        DidError: as `auc` does, no scores, or fewer than two rows of a class.

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


def by_video(frames: pd.DataFrame) -> pd.DataFrame:
    """Frame scores -> one row a video: the mean of its frames' scores.

    Args:
        frames: columns `video`, `label`, `method`, `identity`, `score`.

    Raises:
        DidError: a score is not finite (a mean would pass over it in silence), or a video has two labels or methods.
    """
    _check_finite(frames.score.to_numpy(dtype=np.float64))
    kinds = frames[["video", "label", "method"]].drop_duplicates()
    if kinds.video.duplicated().any():
        twice = kinds.video[kinds.video.duplicated()].iloc[0]
        raise DidError(f"video '{twice}' has more than one label or method: put the method in the video's name")
    columns = {"label": "first", "method": "first", "identity": "first", "score": "mean"}
    return frames.groupby("video", sort=True).agg(columns).reset_index()


def report(frames: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """AUC and EER with 95% intervals over videos: all fakes and each method against all reals, frames and videos.

    Args:
        frames: columns `video`, `label`, `method`, `identity`, `score`; one row a frame.
        draws, seed: of the bootstrap.

    Returns:
        One row a level and method: level, method, auc, auc_low, auc_high, eer, eer_low, eer_high, n_real, n_fake.
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
    """AUC of detector a less that of detector b on the same frames, with its 95% interval over videos.

    Both detectors see the same draws of videos, as in `interval`: what makes a video hard for both cancels.

    Args:
        scored_a, scored_b: columns `video`, `frame`, `label`, `method`, `identity`, `score`; one row a frame, the
            rows in any order.
        draws, seed: of the bootstrap.

    Returns:
        One row a level, frame and video: level, auc_a, auc_b, difference, low, high.

    Raises:
        DidError: the two are not about the same frames, or as `interval` does.
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
            raise DidError(f"the {name} detector's scores hold a frame of a video twice: leave one row a frame")
    pairs = scored_a[[*keys, "label"]].merge(scored_b[[*keys, "label"]], "outer", indicator="side")
    alone = int((pairs.side != "both").sum())
    if alone:
        raise DidError(
            f"the two detectors are not about the same frames, {alone} rows (video, frame, label) have no partner: "
            f"score both on the same test split"
        )


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> pd.DataFrame:
    """Table of a reliability diagram: the share of fakes against the probability of "fake", in bins of equal width.

    A bin (low, high] holds its upper edge; the first holds 0 too.

    Args:
        labels: (n,) of 0 and 1; one class alone will do.
        probabilities: (n,) of "fake", in [0, 1]: the sigmoid of a run's scores, which are logits.
        bins: number of bins.

    Returns:
        One row a bin: low, high, n, probability (mean in the bin), share (of fakes in it); NaN in an empty bin.

    Raises:
        DidError: lengths differ, nothing is given, a label is not 0 or 1, or a probability is not in [0, 1].
    """
    y, p = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1 or not len(y):
        raise DidError(f"labels and probabilities must be two lists of one length, got shapes {y.shape} and {p.shape}")
    if not np.isin(y, (0, 1)).all():
        raise DidError("calibration needs labels 0 (real) and 1 (fake)")
    if not ((p >= 0) & (p <= 1)).all():  # false for NaN too
        raise DidError("probabilities must lie in [0, 1]; turn logits into them with scipy.special.expit")
    edges = np.arange(bins + 1) / bins
    index = np.searchsorted(edges[1:], p)
    n = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, values, bins) for values in (p, y)]
    mean, share = (np.divide(total, n, out=np.full(bins, np.nan), where=n > 0) for total in sums)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n, "probability": mean, "share": share})


def calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: the mean gap between probability and share of fakes, each bin by its size.

    It compares the probability of "fake" with the share of fakes. The source compares the larger of the two classes'
    probabilities with the accuracy, and so lets errors on reals and on fakes cancel. Shapes, bins and errors as in
    `reliability`.

    Source: Guo et al. (ICML 2017), Eq. 3, with 15 bins.
    """
    return calibration_gap(reliability(labels, probabilities, bins))


def calibration_gap(table: pd.DataFrame) -> float:
    """The expected calibration error of a table of `reliability`; see `calibration_error`."""
    gap = (table.probability - table.share).abs()  # NaN in an empty bin, which the sum leaves out
    return float((gap * table.n).sum() / table.n.sum())


#: Between which a temperature lies. A split that the scores separate would drive it to 0, one that they order wrongly
#: to infinity; neither says more than that the split is small or the detector bad.
TEMPERATURES = (0.05, 20.0)


def calibrate(frames: pd.DataFrame) -> dict[str, Any]:
    """From the scores of a validation split: what turns a later score into a probability, and into a word.

    The probability of "fake" is sigmoid(score / temperature). The temperature minimises the log loss with both classes
    weighted alike, so that the probability is that for a prior of one half, whatever the split's shares are: where one
    picture in a thousand is forged, the same score means much less. It changes the order of no two scores.

    A score above the threshold is called fake. The threshold is the equal-error point of the split: half-way between
    the two neighbouring scores where the false positive and the false negative rate come nearest to each other. It
    need not lie at a probability of one half.

    Args:
        frames: columns `video`, `label`, `method`, `identity`, `score`; one row a frame.

    Returns:
        rule, in words; prior; and for each level, `frame` and `video` (the mean score of a video's frames):
        temperature, bound (`lower` or `upper` where the temperature ran into an end of `TEMPERATURES`, else None),
        threshold, fpr and fnr there, n_real, n_fake. Plain numbers, as JSON takes them.

    Raises:
        DidError: one class is absent, a score is not finite, or as `by_video`.

    Source: Guo et al. (ICML 2017), §4.2, with balanced classes.
    """
    if set(frames.label) != {0, 1}:
        raise DidError("a calibration needs real (0) and fake (1) frames in the validation split; it has one class")
    rule = "called fake above the equal-error point of the validation split; probabilities for a prior of one half"
    return {"rule": rule, "prior": 0.5, "frame": _calibrated(frames), "video": _calibrated(by_video(frames))}


def _calibrated(table: pd.DataFrame) -> dict[str, Any]:
    y, s = _checked(table.label, table.score)
    real, fake = s[y == 0], s[y == 1]

    def loss(log_temperature: float) -> float:
        t = np.exp(log_temperature)
        return float(np.logaddexp(0, real / t).mean() + np.logaddexp(0, -fake / t).mean()) / 2

    low, high = np.log(TEMPERATURES)
    # The loss is convex in 1 / temperature, so that it has one valley in its logarithm too.
    found = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)
    best = min((low, found, high), key=loss)
    bound = {low: "lower", high: "upper"}.get(best)
    temperature = TEMPERATURES[bound == "upper"] if bound else float(np.exp(best))
    threshold, fpr, fnr = _equal_error_point(real, fake)
    counts = {"n_real": len(real), "n_fake": len(fake)}
    return {"temperature": temperature, "bound": bound, "threshold": threshold, "fpr": fpr, "fnr": fnr, **counts}


def _equal_error_point(real: Array, fake: Array) -> tuple[float, float, float]:
    """Threshold, and the rates of errors there; a score above the threshold is called fake."""
    values = np.unique(np.concatenate([real, fake]))
    lower, upper = (values[:-1], values[1:]) if len(values) > 1 else (values, values)
    # Half-way between neighbouring numbers may be rounded to the upper one, which is to lie above the cut.
    cuts = (lower + upper) / 2
    cuts = np.where(cuts < upper, cuts, lower)
    fpr = (len(real) - np.searchsorted(np.sort(real), cuts, "right")) / len(real)
    fnr = np.searchsorted(np.sort(fake), cuts, "right") / len(fake)
    best = np.lexsort([fpr + fnr, np.abs(fpr - fnr)])[0]
    return float(cuts[best]), float(fpr[best]), float(fnr[best])


def probability(score: ArrayLike, temperature: float) -> Array:
    """The probability of "fake" at a prior of one half that a score and a temperature of `calibrate` give."""
    return np.asarray(expit(np.asarray(score, dtype=np.float64) / temperature))


def at_prior(probabilities: ArrayLike, prior: float) -> Array:
    """Probabilities for a prior of one half, turned by Bayes' rule into those where a share `prior` is forged.

    Args:
        probabilities: any shape, in [0, 1].
        prior: in (0, 1).

    Raises:
        DidError: a prior that is not between 0 and 1.
    """
    if not 0 < prior < 1:
        raise DidError(f"a prior must lie between 0 and 1, got {prior}")
    p = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(p * prior / (p * prior + (1 - p) * (1 - prior)))


def confusion(true: ArrayLike, predicted: ArrayLike, names: Sequence[str]) -> pd.DataFrame:
    """Confusion matrix of domains: a row a true domain, a column a predicted one, each row a share of its domain.

    Args:
        true, predicted: (n,) numbers of domains, from 0 to k.
        names: k + 1 names, in the order of the numbers.

    Returns:
        (k + 1, k + 1); a domain without a single face has a row of NaN.

    Raises:
        DidError: lengths differ, nothing is given, or a number has no name.
    """
    t, p = np.asarray(true), np.asarray(predicted)
    if t.shape != p.shape or t.ndim != 1 or not len(t):
        raise DidError(f"true and predicted domains must be two lists of one length, got shapes {t.shape}, {p.shape}")
    if not np.isin(np.append(t, p), np.arange(len(names))).all():
        raise DidError(f"domains must be whole numbers from 0 to {len(names) - 1}, one for each of {', '.join(names)}")
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (t.astype(int), p.astype(int)), 1)
    total = counts.sum(1, keepdims=True)
    rows = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    return pd.DataFrame(rows, pd.Index(names, name="true"), pd.Index(names, name="predicted"))


def mean_accuracy(table: pd.DataFrame) -> float:
    """Mean of the diagonal of `confusion`: each domain that has faces counts alike, however many it has."""
    return float(np.nanmean(np.diag(table)))


def over_seeds(
    scored: Sequence[pd.DataFrame], draws: int = 1000, seed: int = 0, methods: Sequence[str] | None = None
) -> pd.DataFrame:
    """AUC and EER as means over runs that differ in their seed, with 95% intervals over videos and seeds.

    A draw of the bootstrap takes videos with replacement, the same ones for every run, and runs with replacement: the
    interval holds what other test videos and, as far as a few runs tell, other seeds would change. Three runs tell
    little: with n of them the spread over seeds enters (n - 1) / n too small. With one run it is the interval of
    `report`.

    Args:
        scored: one table a run, columns as for `report`, all about the same frames.
        draws, seed: of the bootstrap.
        methods: `all` fakes or single methods; all of them by default.

    Returns:
        One row a level, method (all fakes, and each) and metric: level, method, metric, mean, std, low, high, seeds.
        The standard deviation is the sample's (divided by the number of runs less one), NaN for one run.

    Raises:
        DidError: no table, tables about other frames, or as `report`.
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
    """AUC of detector a less that of detector b, as means over runs paired by their seed, with 95% intervals over
    videos and seeds (see `over_seeds`); what makes a video, or a seed's batches, hard for both cancels.

    Args:
        scored_a, scored_b: one table a run, in the same order of seeds, all about the same frames.
        draws, seed, methods: as in `over_seeds`.

    Returns:
        One row a level and method: level, method, difference, std, low, high, seeds.

    Raises:
        DidError: unequal numbers of runs, or as `over_seeds`.
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
    """Frame AUC of several detectors on several methods, each against all reals, over the same draws of all videos.

    `report` draws the videos of each method apart. Here one draw serves every detector and method, so that AUCs on
    different methods can be averaged and subtracted draw by draw.

    Args:
        scored: one table a detector, columns as for `difference`, all about the same frames.
        methods: `all` fakes or single methods.
        draws, seed: of the bootstrap; draws in which a method, or the reals, have no video are left out.

    Returns:
        (detectors, methods, draws that are left).

    Raises:
        DidError: no table, tables about other frames, a method without fakes, or no draw that is left.
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
    """The same draws of videos for every run: (runs, metrics, draws)."""
    return np.array([_bootstrap(part.label, part.score, part.video, metrics, draws, seed) for part in parts])


def _over_runs(values: Array, seed: int) -> Array:
    """(runs, metrics, draws) -> (metrics, draws): in each draw the mean over runs that are drawn as well."""
    runs, _, draws = values.shape
    times = np.random.default_rng([seed, runs]).multinomial(runs, np.full(runs, 1 / runs), size=draws)
    return np.asarray(np.einsum("rmd,dr->md", values, times / runs))


def mean_draws(values: ArrayLike, groups: ArrayLike, draws: int = 1000, seed: int = 0) -> Array:
    """Means of values (n,) over draws of whole groups (n,), as in `interval`: (draws,). One group gives one mean."""
    group, names = pd.factorize(np.asarray(groups))
    sums, counts = np.bincount(group, np.asarray(values, dtype=float)), np.bincount(group)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.asarray((times @ sums) / (times @ counts))


def _std(values: Array) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
