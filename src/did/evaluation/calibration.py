"""Calibration of scores: reliability, temperature, thresholds and priors."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit

from did.errors import DidError
from did.evaluation.metrics import Array, _checked, by_video


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> pd.DataFrame:
    """Tabulate a reliability diagram: the share of fakes against the probability of "fake".

    The bins have equal width.

    A bin (low, high] holds its upper edge; the first contains 0 too.

    Args:
        labels: (n,) of 0 and 1; one class alone will do.
        probabilities: (n,) of "fake", in [0, 1]: the sigmoid of a run's scores, which are logits.
        bins: number of bins.

    Returns:
        One row per bin: low, high, n, probability (mean in the bin), share (of fakes in it); NaN in an empty bin.

    Raises:
        DidError: If lengths differ, nothing is given, a label is not 0 or 1, or a probability is not in [0, 1].
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
    """Compute the expected calibration error: the mean gap between probability and share of fakes.

    Each bin counts by its size.

    It compares the probability of "fake" with the share of fakes. The source compares the larger of the two classes'
    probabilities with the accuracy, and so lets errors on reals and on fakes cancel. Shapes, bins and errors as in
    `reliability`.

    Source: Guo et al. (ICML 2017), Eq. 3, with 15 bins.

    Examples:
        >>> round(calibration_error([0, 1, 1, 1], [0.5, 0.5, 0.9, 0.9]), 3)
        0.05
    """
    return calibration_gap(reliability(labels, probabilities, bins))


def calibration_gap(table: pd.DataFrame) -> float:
    """Compute the expected calibration error from a table of `reliability`; see `calibration_error`."""
    gap = (table.probability - table.share).abs()  # NaN in an empty bin, which the sum leaves out
    return float((gap * table.n).sum() / table.n.sum())


#: Between which a temperature lies. A split that the scores separate would drive it to 0, one that they order wrongly
#: to infinity; neither says more than that the split is small or the detector bad.
TEMPERATURES = (0.05, 20.0)


def calibrate(frames: pd.DataFrame) -> dict[str, Any]:
    """Fit the temperature and the threshold to the scores of a validation split.

    The probability of "fake" is sigmoid(score / temperature). The temperature minimises the log loss with both classes
    weighted alike, so that the probability is that for a prior of one half, whatever the split's shares are: where one
    picture in a thousand is forged, the same score means much less. It changes the order of no two scores.

    A score above the threshold is called fake. The threshold is the equal-error point of the split: half-way between
    the two neighbouring scores where the false positive and the false negative rate come nearest to each other. It
    need not lie at a probability of one half.

    Args:
        frames: columns `video`, `label`, `method`, `identity`, `score`; one row per frame.

    Returns:
        rule, in words; prior; and for each level, `frame` and `video` (the mean score of a video's frames):
        temperature, bound (`lower` or `upper` where the temperature ran into an end of `TEMPERATURES`, else None),
        threshold, fpr and fnr there, n_real, n_fake. Plain numbers, as JSON takes them.

    Raises:
        DidError: If one class is absent, a score is not finite, or as `by_video`.

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
    """Return the threshold of equal error and the error rates there; scores above it are called fake."""
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
    """Compute the probability of "fake", at a prior of one half, from a score and a temperature.

    Examples:
        >>> float(probability(0.0, 2.0))
        0.5
    """
    return np.asarray(expit(np.asarray(score, dtype=np.float64) / temperature))


def at_prior(probabilities: ArrayLike, prior: float) -> Array:
    """Convert probabilities at a prior of one half into those at a share `prior` of fakes, by Bayes' rule.

    Args:
        probabilities: any shape, in [0, 1].
        prior: in (0, 1).

    Raises:
        DidError: If a prior is not between 0 and 1.

    Examples:
        >>> round(float(at_prior(0.5, 0.01)), 3)  # a score that tells nothing leaves the prior
        0.01
    """
    if not 0 < prior < 1:
        raise DidError(f"a prior must lie between 0 and 1, got {prior}")
    p = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(p * prior / (p * prior + (1 - p) * (1 - prior)))
