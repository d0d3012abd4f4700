"""UCF: fingerprint and content are encoded apart, and the fingerprint is split into a specific and a shared part.

Source: Yan, Zhang, Fan and Wu (2023), "UCF: uncovering common features for generalizable deepfake detection", ICCV,
arXiv:2304.13949. Written from a description of layers, losses and constants; no other implementation was used.

Of all rivals it is the nearest to DID: both split features into what all forgeries share and what tells methods apart.
UCF asks a decoder, given the content of a face, to rebuild the face from both parts; DID asks them to be independent.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from did.errors import DidError
from did.method.backbones import Backbone, Machine
from did.settings import Settings
from did.task import DomainGraph, Step, Task, Wants, register_task

#: Weights of the losses besides the shared part's cross-entropy.
SPECIFIC, RECONSTRUCTION, CONTRAST = 0.1, 0.3, 0.05
#: Margin of the triplets, and how often the shared parts of a class are permuted.
MARGIN, SHUFFLED = 3.0, 0.7


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Compute the mean of max(0, ‖a - p‖ - ‖a - n‖ + `MARGIN`); 0 without anchors.

    Args:
        anchor, positive, negative: (n, d).

    Examples:
        >>> a = torch.zeros(1, 2)
        >>> triplet(a, a + torch.tensor([[3.0, 4.0]]), a + torch.tensor([[6.0, 0.0]])).item()  # 5 - 6 + 3
        2.0
    """
    apart = (anchor - positive).norm(dim=1) - (anchor - negative).norm(dim=1)
    return F.relu(apart + MARGIN).sum() / max(len(anchor), 1)


def partners(groups: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each entry another one of its group; its own position where it is alone.

    Args:
        groups: (n,) numbers, on any device.
        generator: on the CPU.

    Returns:
        (n,) positions.
    """
    numbers = groups.cpu()
    found = torch.arange(len(numbers))
    for group in numbers.unique():
        members = (numbers == group).nonzero().squeeze(1)
        members = members[torch.randperm(len(members), generator=generator)]
        found[members] = members.roll(1)  # Each the one before it in a random order: never itself, if there are two.
    return found.to(groups.device)


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Give the maps of `content` the mean and standard deviation over places that those of `style` have.

    Shapes: (n, c, h, w), (n, c, h', w') -> (n, c, h, w).

    Source: Huang and Belongie (2017), "Arbitrary style transfer in real-time with adaptive instance normalization".
    """
    dims, least = (2, 3), 1e-5
    normal = (content - content.mean(dims, True)) / (content.var(dims, keepdim=True, unbiased=False) + least).sqrt()
    spread = (style.var(dims, keepdim=True, unbiased=False) + least).sqrt()
    return normal * spread + style.mean(dims, True)


def _squeeze(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU())


def _stack(inputs: int, outputs: int) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 1), nn.LeakyReLU(), nn.Conv2d(outputs, outputs, 1), nn.LeakyReLU(),
              nn.Conv2d(outputs, outputs, 1)]  # fmt: skip
    return nn.Sequential(*layers)


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(), nn.Linear(hidden, outputs), nn.Dropout(0.2))


class UCFDetector(nn.Module):
    """The fingerprint's encoder, its two parts and their heads.

    RGB images (n, 3, H, W) in [0, 1] -> scores (n,): the shared head's logit of fake less that of real.

    Args:
        backbone: of c channels, 3 input channels.
        num_domains: k + 1.
        width: of the fingerprint, w; each part has w / 2 channels. The paper's is 512 for Xception's 2048.

    Examples:
        >>> UCFDetector(Backbone("test_efficientnet", in_chans=3), 5, 16).eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, backbone: nn.Module, num_domains: int, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.squeeze = _squeeze(int(backbone.channels), width)  # type: ignore[arg-type]
        self.specific, self.shared = _stack(width, width // 2), _stack(width, width // 2)
        self.specific_head = _head(width // 2, width, num_domains)
        self.shared_head = _head(width // 2, width, 2)

    def split(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the specific and the shared part of the fingerprint, each (n, w / 2, h, w)."""
        fingerprint = self.squeeze(self.backbone(images))
        return self.specific(fingerprint), self.shared(fingerprint)

    def domains(self, images: Tensor) -> Tensor:
        """Return the logits of the domains, (n, k + 1), of the specific part."""
        return self.specific_head(self.split(images)[0].mean((2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        shared = self.shared(self.squeeze(self.backbone(images)))
        real, fake = self.shared_head(shared.mean((2, 3))).unbind(1)
        return fake - real


class Decoder(nn.Module):
    """Rebuild an image from a face's content, in the style of a fingerprint: three AdaIN steps, each twice the size.

    Shapes: content (n, w, h, h), style (n, w, h, h) -> (n, 3, side, side) in [-1, 1].
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        widths = [width, width // 2, width // 4, width // 8]
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Dropout(0.3),
                          nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(),
                          nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU())
            for inputs, outputs in itertools.pairwise(widths)
        )  # fmt: skip
        self.last = nn.Conv2d(widths[-1], 3, 1)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        for step in self.steps:
            content, style = step(adain(content, style)), step(style)
        return F.interpolate(self.last(content), size=(self.side, self.side), mode="bilinear").tanh()


@register_task("ucf")
class UCFTask(Task):
    """UCF on the table's backbone, of which it has two: for fingerprints and for contents.

    Exact: the split, heads, decoder, losses, weights, margin and the permutation. Our readings: the backbone, and a
    width of a quarter of its channels (512 for Xception, as published); each fake is paired with a real face of the
    batch at random, because batches are balanced over domains, not half and half; the rates are the table's. With
    several processes each pairs within its own share.

    Raises:
        DidError: If the backbone has fewer than 64 channels.
    """

    wants = Wants(channels=3)
    model: UCFDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        s, machine = settings, Machine.of(settings)
        fingerprint, content = (Backbone(s.backbone, s.pretrained, in_chans=3, machine=machine) for _ in range(2))
        width = fingerprint.channels // 4 // 8 * 8
        if width < 16:
            raise DidError(f"ucf takes a backbone of 64 channels or more; '{s.backbone}' has {fingerprint.channels}")
        self.model = UCFDetector(fingerprint, num_domains, width)
        self.content = nn.Sequential(content, _squeeze(content.channels, width))
        self.decoder = Decoder(width, s.image_size)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute the four losses of a batch.

        Raises:
            DidError: If the batch has no real or no fake face.
        """
        images, labels, domains = batch["image"], batch["label"], batch["domain"]
        if labels.min() == labels.max():
            raise DidError("ucf takes batches with real and fake faces: raise the batch size, or sampler=balanced")
        generator = torch.Generator().manual_seed(seed)
        specific, shared = self.model.split(images)
        if torch.rand((), generator=generator) < SHUFFLED:
            shared = shared[partners(labels, generator)]
        pooled, common = specific.mean((2, 3)), shared.mean((2, 3))
        terms = {
            "ce": F.cross_entropy(self.model.shared_head(common), labels),
            "specific": SPECIFIC * F.cross_entropy(self.model.specific_head(pooled), domains),
            "rec": RECONSTRUCTION * self.reconstruction(images, torch.cat([specific, shared], 1), labels, generator),
            "con": CONTRAST * self.contrast(pooled, common, labels, domains, generator),
        }
        return Step(terms, {})

    def reconstruction(self, images: Tensor, style: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Compute the L1 distances to each image from its content and its own fingerprint, and from the other class's.

        The owner of the content is what has to come out.
        """
        content, wanted = self.content(images), 2 * images - 1
        other = self._of_the_other(labels, generator)
        own = (self.decoder(content, style) - wanted).abs().mean((1, 2, 3))
        crossed = (self.decoder(content, style[other]) - wanted).abs().mean((1, 2, 3))
        # Four images count alike: a real and a fake one, each rebuilt in two ways.
        return torch.stack([part[labels == label].mean() for part in (own, crossed) for label in (0, 1)]).sum()

    def contrast(
        self, specific: Tensor, shared: Tensor, labels: Tensor, domains: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Compute the four triplet terms: of real and of fake anchors, in the shared and in the specific features."""
        other = self._of_the_other(labels, generator)
        total = specific.new_zeros(())
        for features, groups in ((shared, labels), (specific, domains)):
            same = partners(groups, generator)
            paired = same != torch.arange(len(same), device=same.device)
            for label in (0, 1):
                rows = (labels == label) & paired
                total = total + triplet(features[rows], features[same[rows]], features[other[rows]])
        return total

    @staticmethod
    def _of_the_other(labels: Tensor, generator: torch.Generator) -> Tensor:
        """Draw for each entry one of the other class, (n,)."""
        numbers, found = labels.cpu(), torch.empty(len(labels), dtype=torch.long)
        for label in (0, 1):
            rows, others = (numbers == label), (numbers != label).nonzero().squeeze(1)
            found[rows] = others[torch.randint(len(others), (int(rows.sum()),), generator=generator)]
        return found.to(labels.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return Adam's groups: both backbones at η_θ, all else at the rate of C."""
        return self.groups(G=([self.model.backbone, self.content[0]], 1.0))

    def domain_graph(self) -> nn.Module:
        """Return the graph images -> logits of the domains (n, k + 1), from the specific part."""
        return DomainGraph(self.model)
