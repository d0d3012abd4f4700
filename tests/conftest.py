"""The tests draw without a screen and ask no hub for weights."""

import os

import matplotlib

# Not through MPLBACKEND: the notebooks' kernels would inherit that and show no figure.
matplotlib.use("Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
