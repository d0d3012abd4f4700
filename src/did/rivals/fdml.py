"""FDML: frequencies and mixed scenes as two views, joined by attention and split by complementary soft masks.

Source: Yu M. and others (2024), the row "FDML" of the paper's Table 1. Written from a description of layers, losses and
constants; no other implementation was used.

Like DID it splits features by a mask and its complement. It asks one half to look real always; DID asks both to be
independent.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.errors import DidError
from did.method.backbones import PLAIN, Backbone, Machine, evaluating
from did.rivals.cutting import cut_at, widen
from did.rivals.f3net import Filters, dct_matrix
from did.settings import Settings
from did.task import Step, Task, Wants, register_task

#: Ends of the frequency bands, as shares of the spectrum's area; a fourth band passes all of it.
BANDS = (0, 1 / 16, 1 / 8, 1)
#: Where the two views meet, besides their ends: strides of the maps.
TAPS = (8, 16)
HEADS, DROPOUT = 4, 0.5
#: The face in an aligned crop: from a fifth of the side to four fifths.
FACE = 0.2


@dataclasses.dataclass(frozen=True)
class FDMLOptions:
    """Sizes of FDML.

    Attributes:
        narrow: hidden units of the mask over channels; 0 for as many as there are channels, as the authors have it.
        hidden: of the heads over channels.
    """

    narrow: int = 0
    hidden: int = 500


class Bands(nn.Module):
    """Images (n, 3, s, s) -> their parts in four bands, (n, 12, s, s); the filters are learnt from fixed ones."""

    dct: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("dct", dct_matrix(size), persistent=False)
        self.filters = Filters(size, BANDS, share="area")
        self.whole = Filters(size, (0, 1))

    def forward(self, images: Tensor) -> Tensor:
        spectrum = self.dct @ images @ self.dct.T
        filters = torch.cat([self.filters(), self.whole()])
        # Both the three bands and the fourth sum to the image: halved, a stem sees it once.
        return (self.dct.T @ (spectrum[:, None] * filters[:, None]) @ self.dct).flatten(1, 2) / 2


class Meeting(nn.Module):
    """Where two views meet: attention over places and over channels, of their sum, as two masks multiplied.

    Shapes: two times (n, c, h, w) -> (n, c, h, w) in (0, 1).
    """

    def __init__(self, channels: int, places: int) -> None:
        super().__init__()
        self.over_places = nn.MultiheadAttention(channels, HEADS, DROPOUT, batch_first=True)
        self.over_channels = nn.MultiheadAttention(places, 1, DROPOUT, batch_first=True)
        self.norm_places, self.norm_channels = nn.LayerNorm(channels), nn.LayerNorm(places)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        x = F.relu(first) + F.relu(second)
        channels = x.flatten(2)  # a token per channel
        places = channels.transpose(1, 2)  # a token per place
        one = self.norm_places(places + self.over_places(places, places, places, need_weights=False)[0])
        other = self.norm_channels(channels + self.over_channels(channels, channels, channels, need_weights=False)[0])
        return (one.transpose(1, 2).sigmoid() * other.sigmoid()).view(x.shape)


def _mask(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
                         nn.Linear(hidden, inputs), nn.Sigmoid())  # fmt: skip


def mixed_scenes(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Mix each image with another one of its class: one's face in the other's surroundings, as large as the face.

    With probability 1/2 the whole partner is shrunk into the own face's place, otherwise the own image into the
    partner's. An image that is alone in its class stays.

    Args:
        images: (n, 3, s, s), aligned crops.
        labels: (n,).
        generator: on the CPU.
    """
    n, size = len(images), images.shape[-1]
    low, high = round(FACE * size), round((1 - FACE) * size)
    small = F.interpolate(images, size=(high - low, high - low), mode="bilinear", antialias=True)
    known = labels.cpu()
    mixed = images.clone()
    for at in range(n):
        others = ((known == known[at]) & (torch.arange(n) != at)).nonzero().squeeze(1)
        if not len(others):
            continue
        partner = int(others[torch.randint(len(others), (), generator=generator)])
        scene, inner = (at, partner) if torch.rand((), generator=generator) < 0.5 else (partner, at)
        mixed[at] = images[scene]
        mixed[at, :, low:high, low:high] = small[inner]
    return mixed


@dataclasses.dataclass
class Split:
    """Logits (n, 2) of both parts under both splits: over channels and over places."""

    forgery: tuple[Tensor, Tensor]
    source: tuple[Tensor, Tensor]


class FDMLDetector(nn.Module):
    """Two backbones, on bands and on images, that meet at three resolutions, and two splits with two heads each.

    RGB images (n, 3, size, size) in [0, 1] -> scores (n,): the mean over both forgery heads of the logit of fake less
    that of real.

    Args:
        bands, scenes: backbones of one kind, with 3 input channels.
        image_size: side of the images.
        options: sizes.

    Examples:
        >>> two = (Backbone("test_efficientnet", in_chans=3) for _ in range(2))
        >>> FDMLDetector(*two, 64).eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, bands: Backbone, scenes: Backbone, image_size: int, options: FDMLOptions | None = None) -> None:
        super().__init__()
        o = options or FDMLOptions()
        self.register_buffer("mean", scenes.mean, persistent=False)
        self.register_buffer("std", scenes.std, persistent=False)
        self.decomposition = Bands(image_size)
        widen(bands, 4)
        self.bands, self.scenes = (nn.ModuleList(cut_at(of, TAPS)) for of in (bands, scenes))
        shapes, x = [], torch.zeros(1, 3, image_size, image_size)
        with torch.no_grad(), evaluating(self.scenes):
            for part in self.scenes:
                x = part(x)
                shapes.append(x.shape[1:])
        self.meetings = nn.ModuleList(Meeting(c, h * w) for c, h, w in shapes)
        self.grid = shapes[-1][1:]
        channels, places = 2 * shapes[-1][0], self.grid.numel()
        self.over_channels = _mask(channels, o.narrow or channels)
        self.over_places = _mask(places, places)
        self.channel_heads, self.place_heads = (
            nn.ModuleList(made() for _ in ("forgery", "source"))
            for made in (
                lambda: nn.Sequential(nn.Linear(channels, o.hidden), nn.ReLU(), nn.Dropout(DROPOUT),
                                      nn.Linear(o.hidden, 2)),
                lambda: nn.Linear(places, 2),
            )
        )  # fmt: skip

    def split(self, images: Tensor, scenes: Tensor) -> Split:
        """Return the logits of the forgery's part and of the source's, from a view of each kind."""
        a, b = self.decomposition((images - self.mean) / self.std), (scenes - self.mean) / self.std
        met = []
        for first, second, meeting in zip(self.bands, self.scenes, self.meetings, strict=True):
            a, b = first(a), second(b)
            met.append(F.interpolate(meeting(a, b), size=list(self.grid), mode="bilinear"))
        v = F.relu(torch.cat([a, b], 1)).mean((2, 3))
        u = torch.cat(met, 1).mean(1).flatten(1)
        forgery, source = [], []
        for x, mask, heads in ((v, self.over_channels, self.channel_heads), (u, self.over_places, self.place_heads)):
            of_source = mask(x)
            forgery.append(heads[0]((1 - of_source) * x))
            source.append(heads[1](of_source * x))
        return Split((forgery[0], forgery[1]), (source[0], source[1]))

    def forward(self, images: Tensor) -> Tensor:
        first, second = self.split(images, images).forgery
        real, fake = ((first + second) / 2).unbind(1)
        return fake - real


@register_task("fdml")
class FDMLTask(Task):
    """FDML on the table's backbone, of which it has two.

    Exact: both views, attention where they meet, both splits, four losses of weight 1. Our readings: the backbone; maps
    of strides 8 and 16 where the authors take blocks 9 and 21 of EfficientNet-B4; a narrower mask over channels where
    the table says so; a face's place is the middle of the aligned crop; scenes are mixed as described, which the
    authors' script never does, because its failures are caught; the stem of the bands starts from the pretrained one;
    the rates are the table's.

    Raises:
        DidError: If the backbone cannot be cut, or the settings of the machine are not the plain ones.
    """

    Options = FDMLOptions
    wants = Wants(channels=3)
    model: FDMLDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        if Machine.of(settings) != PLAIN:
            raise DidError("fdml computes plainly: leave out precision, accumulate, recompute and compile")
        bands, scenes = (Backbone(settings.backbone, settings.pretrained, in_chans=3) for _ in range(2))
        self.model = FDMLDetector(bands, scenes, settings.image_size, self.options)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute cross-entropy of the forgery's parts with the label, and of the source's with real, always."""
        images, labels = batch["image"], batch["label"]
        scenes = mixed_scenes(images, labels, torch.Generator().manual_seed(seed)) if self.training else images
        found = self.model.split(images, scenes)
        labels = self.gather(labels)
        terms = {}
        for number, name in enumerate(("channels", "places")):
            forgery, source = self.gather(found.forgery[number]), self.gather(found.source[number])
            terms[f"forgery {name}"] = F.cross_entropy(forgery, labels)
            terms[f"source {name}"] = F.cross_entropy(source, torch.zeros_like(labels))
        return Step(terms, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups: both backbones at η_θ, all else at the rate of C."""
        return self.groups(G=([self.model.bands, self.model.scenes], 1.0))
