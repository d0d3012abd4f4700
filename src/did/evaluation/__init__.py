"""Metrics, intervals and calibration of scores; what a model looks at; what leaks into a data set."""

from did.evaluation.calibration import (
    at_prior,
    calibrate,
    calibration_error,
    calibration_gap,
    probability,
    reliability,
)
from did.evaluation.intervals import (
    auc_draws,
    delong,
    difference,
    difference_over_seeds,
    interval,
    low_high,
    mean_draws,
    over_seeds,
    report,
)
from did.evaluation.metrics import METRICS, auc, by_video, confusion, eer, mean_accuracy

__all__ = [
    "METRICS",
    "at_prior",
    "auc",
    "auc_draws",
    "by_video",
    "calibrate",
    "calibration_error",
    "calibration_gap",
    "confusion",
    "delong",
    "difference",
    "difference_over_seeds",
    "eer",
    "interval",
    "low_high",
    "mean_accuracy",
    "mean_draws",
    "over_seeds",
    "probability",
    "reliability",
    "report",
]
