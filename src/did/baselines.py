"""The rivals, behind the interface of `did.tasks.DIDTask`, and the spectrum as a check on the forgeries themselves.

So far: the backbone with binary cross-entropy.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from did.backbones import Backbone
from did.data.loading import Faces, ordered
from did.data.table import REAL
from did.evaluation import auc
from did.settings import Settings
from did.tasks import Step


class PlainDetector(nn.Module):
    """G, global average pooling and one linear layer. Images (n, 1, H, W) in [0, 1] -> scores (n,)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(int(backbone.channels), 1)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.backbone(images).mean((2, 3))).squeeze(1)


class BCETask(nn.Module):
    """The paper's "BCE" rows (Table 3): the backbone fine-tuned with binary cross-entropy, at the rates of DID."""

    def __init__(self, settings: Settings, num_domains: int = 2) -> None:
        super().__init__()
        self.settings = settings
        self.model = PlainDetector(Backbone(settings.backbone, settings.pretrained))

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """As `DIDTask.forward`; progress, seed and details change nothing here."""
        scores = self.model(batch["image"])
        return Step({"bce": F.binary_cross_entropy_with_logits(scores, batch["label"].to(scores.dtype))}, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's groups: G at η_θ, the classifier at the rate of C."""
        s, m = self.settings, self.model
        return [
            {"name": "G", "params": list(m.backbone.parameters()), "lr": s.lr},
            {"name": "C", "params": list(m.classifier.parameters()), "lr": s.lr * s.head_rate},
        ]

    def rate_factor(self, group: str, progress: float) -> float:
        return 1.0

    def detector(self) -> nn.Module:
        """The test-time graph: images -> scores."""
        return self.model


def radial_spectrum(images: np.ndarray) -> np.ndarray:
    """Log power spectrum of gray images, averaged over rings of equal frequency.

    Args:
        images: (n, size, size).

    Returns:
        (n, size // 2): ring r holds the frequencies of r to r + 1 cycles an image, under a Hann window.

    Source: Durall et al. (2020), "Watch your up-convolution", arXiv:2003.01826, for its use on forgeries.
    """
    size = images.shape[-1]
    window = np.outer(np.hanning(size), np.hanning(size))
    power = np.abs(np.fft.fftshift(np.fft.fft2(images * window), axes=(1, 2))) ** 2
    y, x = np.indices((size, size)) - size // 2
    ring = np.hypot(x, y).astype(int)
    inside = ring < size // 2
    counts = np.bincount(ring[inside])
    sums = np.stack([np.bincount(ring[inside], p[inside]) for p in power])
    return np.log(sums / counts + 1e-8)


def spectral_baseline(train: Faces, test: Faces) -> pd.DataFrame:
    """How far the radial spectrum alone gives each forgery method away: logistic regression, real against one method.

    A detector's AUC on forgeries that a spectrum gives away says little about faces.

    Returns:
        One row a method: method, auc on the frames of `test`.
    """
    spectra, methods = [], []
    for faces in (train, test):
        images = np.concatenate([batch["image"][:, 0].numpy() for batch in ordered(faces, 64)])
        spectra.append(radial_spectrum(images))
        methods.append(np.array(faces.domain_names)[faces.domains])
    rows = []
    for method in train.domain_names[1:]:
        parts = [np.isin(m, [REAL, method]) for m in methods]
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(spectra[0][parts[0]], train.labels[parts[0]])
        value = auc(test.labels[parts[1]], model.decision_function(spectra[1][parts[1]]))
        rows.append({"method": method, "auc": value})
    return pd.DataFrame(rows)
