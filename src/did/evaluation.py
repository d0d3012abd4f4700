"""AUC, EER and their intervals, on frames and on videos. Labels: 1 = fake, 0 = real; higher scores mean fake."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from did.errors import DidError
from did.settings import nearest

Array = NDArray[Any]


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Array, Array]:
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise DidError(f"labels and scores must be two lists of the same length, got shapes {y.shape} and {s.shape}")
    if set(np.unique(y)) != {0, 1}:
        raise DidError(
            f"AUC and EER need both classes, labels 0 (real) and 1 (fake); got {sorted(set(y.tolist()))[:5]}"
        )
    if not np.isfinite(s).all():
        raise DidError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite")
    return y.astype(int), s


def _curves(labels: Array, scores: Array, weights: Array) -> tuple[Array, Array]:
    """ROC curves of many weightings of one set of scores: (draws, n) weights -> FPR and TPR, (draws, points).

    The scores are sorted once; tied scores are one point of the curve, so that ties count one half in its area.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    sides = []
    for side in (0, 1):
        total = np.cumsum(weights[:, order] * (labels[order] == side), axis=1)
        points = np.concatenate([np.zeros((len(weights), 1)), total[:, ends]], axis=1)
        sides.append(points / points[:, -1:])
    return sides[0], sides[1]


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
    return float(_area(*_curves(y, s, np.ones((1, len(y)))))[0])


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Equal error rate: where the false positive and the false negative rate meet on the ROC curve, interpolated.

    Shapes (n,), (n,). Raises DidError as `auc` does.
    """
    y, s = _checked(labels, scores)
    return float(_crossing(*_curves(y, s, np.ones((1, len(y)))))[0])


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
    y, s = _checked(labels, scores)
    if metric not in METRICS:
        raise DidError(f"unknown metric '{metric}': {nearest(metric, METRICS)}")
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if min(len(np.unique(group[y == side])) for side in (0, 1)) < 2:
        raise DidError("an interval by bootstrap over groups needs at least two groups of each class")
    rng, values = np.random.default_rng(seed), []
    share = max(1, 4_000_000 // len(y))  # draws at once: memory stays bounded
    for first in range(0, draws, share):
        count = min(share, draws - first)
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)  # a group's multiplicity
        weights = times[:, group]
        both = (weights[:, y == 0].sum(1) > 0) & (weights[:, y == 1].sum(1) > 0)
        values.append(METRICS[metric](*_curves(y, s, weights[both])))
    low, high = np.quantile(np.concatenate(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def by_video(frames: pd.DataFrame) -> pd.DataFrame:
    """Frame scores -> one row a video: the mean of its frames' scores.

    Args:
        frames: columns `video`, `label`, `method`, `identity`, `score`.
    """
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
        methods = sorted(set(table.method[table.label == 1]))
        for method in ["all", *methods]:
            part = table if method == "all" else table[(table.label == 0) | (table.method == method)]
            row: dict[str, Any] = {"level": level, "method": method}
            for name, metric in (("auc", auc), ("eer", eer)):
                row[name] = metric(part.label, part.score)
                low_high = interval(part.label, part.score, part.video, name, draws, seed=seed)
                row[f"{name}_low"], row[f"{name}_high"] = low_high
            row["n_real"], row["n_fake"] = int((part.label == 0).sum()), int((part.label == 1).sum())
            rows.append(row)
    return pd.DataFrame(rows)
