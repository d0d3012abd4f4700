"""AUC and EER on frames and on videos; their ROC curves for many weightings at once; confusion of domains.

Labels: 1 = fake, 0 = real; higher scores mean fake.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from did.errors import DidError

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
    """Sort the scores once for ROC curves of any number of weightings.

    For each class its rows by falling score, (n_class,), and how many of them are passed at each corner of the curve,
    (corners,), from none to all. Tied scores are one step of the curve, so that ties count one half in its area.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    counts = np.array([np.cumsum(labels[order] == side)[ends] for side in (0, 1)])
    # Where a class does not change before and after a point, the point lies on a straight line under every weighting.
    still = np.diff(counts, prepend=0) == 0
    corner = np.append(~(still[:, :-1] & still[:, 1:]).any(0), True)
    return [(order[labels[order] == side], np.append(0, counts[side, corner])) for side in (0, 1)]


def _curves(ranking: Ranking, weights: Array) -> tuple[Array, Array]:
    """Compute ROC curves of many weightings of one ranking: weights (draws, columns) -> FPR, TPR (draws, corners).

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
    """Compute the area under the ROC curve; ties count one half.

    Raises:
        DidError: If one class is absent, lengths differ, or a score is not finite.

    Source: the normalised WMW statistic, Eq. 6.

    Examples:
        >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    y, s = _checked(labels, scores)
    return float(_area(*_curve(y, s))[0])


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the equal error rate: where the false positive and false negative rates meet on the ROC curve.

    The point is interpolated between the corners of the curve.

    Shapes (n,), (n,). Raises DidError as `auc` does.

    Examples:
        >>> eer([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.5
    """
    y, s = _checked(labels, scores)
    return float(_crossing(*_curve(y, s))[0])


def by_video(frames: pd.DataFrame) -> pd.DataFrame:
    """Average frame scores per video: one row per video.

    Args:
        frames: columns `video`, `label`, `method`, `identity`, `score`.

    Raises:
        DidError: If a score is not finite (a mean would pass over it in silence), or a video has two labels or methods.

    Examples:
        >>> frames = pd.DataFrame(
        ...     {"video": ["a", "a"], "label": 1, "method": "FS", "identity": "p", "score": [1.0, 3.0]}
        ... )
        >>> by_video(frames).score.tolist()
        [2.0]
    """
    _check_finite(frames.score.to_numpy(dtype=np.float64))
    kinds = frames[["video", "label", "method"]].drop_duplicates()
    if kinds.video.duplicated().any():
        twice = kinds.video[kinds.video.duplicated()].iloc[0]
        raise DidError(f"video '{twice}' has more than one label or method: put the method in the video's name")
    columns = {"label": "first", "method": "first", "identity": "first", "score": "mean"}
    return frames.groupby("video", sort=True).agg(columns).reset_index()


def confusion(true: ArrayLike, predicted: ArrayLike, names: Sequence[str]) -> pd.DataFrame:
    """Compute the confusion matrix of domains: true domains in rows, predicted ones in columns.

    Each row sums to 1: it is the share of its domain.

    Args:
        true, predicted: (n,) numbers of domains, from 0 to k.
        names: k + 1 names, in the order of the numbers.

    Returns:
        (k + 1, k + 1); a domain without a single face has a row of NaN.

    Raises:
        DidError: If lengths differ, nothing is given, or a number has no name.

    Examples:
        >>> table = confusion([0, 0, 1], [0, 1, 1], ["real", "FaceSwap"])
        >>> table.loc["real"].tolist()
        [0.5, 0.5]
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
    """Compute the mean of the diagonal of `confusion`.

    Each domain that has faces counts alike, however many faces it has.

    Examples:
        >>> mean_accuracy(confusion([0, 0, 1], [0, 1, 1], ["real", "FaceSwap"]))
        0.75
    """
    return float(np.nanmean(np.diag(table)))
