"""What the paper publishes, as data: its settings are the defaults of `did.settings`, its numbers stand here.

Source: Yang S, Guo H, Hu S, Zhu B, Fu Y, Lyu S, Wu X, Wang X (2025). CrossDF: improving cross-domain deepfake
detection with deep information decomposition. Front. Big Data 8:1669488. doi:10.3389/fdata.2025.1669488.
"""

CITATION = (
    "Yang et al. (2025), CrossDF: improving cross-domain deepfake detection with deep information decomposition, "
    "Front. Big Data 8:1669488, doi:10.3389/fdata.2025.1669488"
)

# Table 1: AUC, trained on FF++ (c23), tested on (FF++, CDF2). None where the paper prints a dash.
TABLE_1: dict[str, tuple[float | None, float | None]] = {
    "Xception": (0.997, 0.653),
    "Multi-task": (0.763, 0.543),
    "Two Branch": (0.931, 0.734),
    "MDD": (0.998, 0.674),
    "RL": (0.994, 0.669),
    "F3-Net": (0.981, 0.651),
    "CFFs": (0.976, 0.742),
    "NoiseDF": (0.940, 0.759),
    "FDML": (0.996, 0.731),
    "DIRE": (0.994, None),
    "DID": (0.970, 0.779),
}

# Table 2: AUC, trained on FF++, tested on DiFF's subsets.
TABLE_2: dict[str, dict[str, float]] = {
    "Xception": {"T2I": 0.624, "I2I": 0.568, "FS": 0.860, "FE": 0.586},
    "F3-Net": {"T2I": 0.669, "I2I": 0.676, "FS": 0.810, "FE": 0.606},
    "DIRE": {"T2I": 0.442, "I2I": 0.646, "FS": 0.850, "FE": 0.577},
    "DID": {"T2I": 0.802, "I2I": 0.741, "FS": 0.817, "FE": 0.676},
}

# Table 3: (AUC, EER), trained on DFFD, tested on CDF2.
TABLE_3: dict[tuple[str, str], tuple[float, float]] = {
    ("ResNet50", "BCE"): (0.620, 0.411),
    ("ResNet50", "DID"): (0.727, 0.332),
    ("EfficientNet-v2-L", "BCE"): (0.716, 0.344),
    ("EfficientNet-v2-L", "DID"): (0.763, 0.302),
}

# Table 4: (AUC, EER), trained on FF++, tested on CDF2.
TABLE_4: dict[str, tuple[float, float]] = {
    "w/o A_dom": (0.763, 0.302),
    "w/o T": (0.759, 0.305),
    "DID": (0.779, 0.286),
}

# Fig. 4: AUC on CDF2 against alpha; the text prints three of the five points.
FIGURE_4: dict[float, float] = {0.0: 0.380, 0.5: 0.779, 1.0: 0.763}

# Fig. 5: accuracy of the domain classifier, from the text.
FIGURE_5: dict[str, float] = {"mean": 0.91, "FaceSwap": 0.99}
