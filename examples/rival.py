"""A rival in one file: the backbone in colour, with one logit for each domain (real, and each forgery method).

did train ffpp --plugin examples/rival.py --task domains --option smoothing=0.1
"""

import dataclasses

from torch import nn
from torch.nn import functional as F

import did
from did.method.backbones import Backbone, Machine


@dataclasses.dataclass(frozen=True)
class Options:
    smoothing: float = 0.0  # of the labels, in [0, 1)


class DomainNames(nn.Module):
    """Images (n, 1, H, W) -> score (n,): the log-odds that a face is of any domain but the first, real."""

    def __init__(self, backbone, num_domains):
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.channels, num_domains)

    def logits(self, images):
        return self.classifier(self.backbone(images).mean((2, 3)))

    def forward(self, images):
        logits = self.logits(images)
        return logits[:, 1:].logsumexp(1) - logits[:, 0]


@did.register_task("domains")
class Domains(did.Task):
    Options = Options

    def __init__(self, settings, num_domains, options=None):
        super().__init__(settings, num_domains, options)
        backbone = Backbone(settings.backbone, settings.pretrained, machine=Machine.of(settings))
        self.model = DomainNames(backbone, num_domains)

    def forward(self, batch, progress, seed, details=False):
        logits, domains = self.gather(self.model.logits(batch["image"])), self.gather(batch["domain"])
        return did.Step({"ce": F.cross_entropy(logits, domains, label_smoothing=self.options.smoothing)}, {})
