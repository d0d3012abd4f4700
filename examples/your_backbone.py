"""Your own backbone with the paper's losses and decomposition: a small residual network in place of timm's.

    did train ffpp --plugin examples/your_backbone.py --task did-small --option width=48

DID asks two things of a backbone: `channels`, and a map (n, channels, h, w) of gray images (n, 1, H, W) in [0, 1].
The rest, from A_df to T, is built on `channels`. It is trained from random weights, so it wants a higher rate than a
pretrained one: `--set lr=0.001`.
"""

import dataclasses

from torch import nn
from torch.nn import functional as F

import did
from did.method.task import DIDTask


@dataclasses.dataclass(frozen=True)
class Options:
    width: int = 32  # channels of the first stage
    stages: int = 4  # each halves the map and doubles the channels


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return F.relu(x + self.body(x))


class SmallBackbone(nn.Module):
    def __init__(self, width, stages):
        super().__init__()
        parts, before = [], 1
        for stage in range(stages):
            self.channels = width * 2**stage
            shrink = nn.Conv2d(before, self.channels, 3, stride=2, padding=1)
            parts += [shrink, nn.BatchNorm2d(self.channels), nn.ReLU(), Residual(self.channels)]
            before = self.channels
        self.stages = nn.Sequential(*parts)

    def forward(self, images):
        return self.stages(2 * images - 1)


@did.register_task("did-small")
class SmallDID(DIDTask):
    Options = Options

    def backbone(self):
        return SmallBackbone(self.options.width, self.options.stages)
