"""Metrics, intervals and calibration of scores; what a model looks at; what leaks into a data set."""

from did.evaluation.calibration import (
    at_prior,
    calibrate,
    calibration_error,
    calibration_gap,
    probability,
    reliability,
)
from did.evaluation.comparing import compare, ensemble, in_a_sentence, read_scores
from did.evaluation.intervals import (
    Drawn,
    delong,
    difference_over_seeds,
    draws,
    ends,
    ends_of_difference,
    interval,
    mean_of,
    over_seeds,
    people,
    report,
)
from did.evaluation.metrics import METRICS, auc, by_video, confusion, eer, mean_accuracy

__all__ = [
    "METRICS",
    "Drawn",
    "at_prior",
    "auc",
    "by_video",
    "calibrate",
    "calibration_error",
    "calibration_gap",
    "compare",
    "confusion",
    "delong",
    "difference_over_seeds",
    "draws",
    "eer",
    "ends",
    "ends_of_difference",
    "ensemble",
    "in_a_sentence",
    "interval",
    "mean_accuracy",
    "mean_of",
    "over_seeds",
    "people",
    "probability",
    "read_scores",
    "reliability",
    "report",
]
