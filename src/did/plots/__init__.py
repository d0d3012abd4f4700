"""Figures from results.

Each function returns a `Plot`: the figure, the data in it, and an alternative text made from that data.
"""

from did.plots.base import PALETTE, Plot
from did.plots.data import contact_sheet, mean_spectra
from did.plots.inside import attention_overlay, dependence, embeddings, overlap_bars, probe_bars, saliency_sheet
from did.plots.scores import (
    alpha_curve,
    confusion_matrix,
    effects,
    forest,
    length_curves,
    paper_against_ours,
    reliability_diagram,
    roc_curves,
    score_histograms,
    worlds,
)
from did.plots.training import compare_histories, loss_curves, map_curves, weight_paths

__all__ = [
    "PALETTE",
    "Plot",
    "alpha_curve",
    "attention_overlay",
    "compare_histories",
    "confusion_matrix",
    "contact_sheet",
    "dependence",
    "effects",
    "embeddings",
    "forest",
    "length_curves",
    "loss_curves",
    "map_curves",
    "mean_spectra",
    "overlap_bars",
    "paper_against_ours",
    "probe_bars",
    "reliability_diagram",
    "roc_curves",
    "saliency_sheet",
    "score_histograms",
    "weight_paths",
    "worlds",
]
