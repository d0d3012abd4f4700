"""Fig. 2: `DID`, the training graph in which each quantity has a name, and `DetectionGraph`, that of the test phase."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from did.method.backbones import Backbone, evaluating
from did.method.layers import Attention, gradient_reversal

#: Joins the rows of several processes; one process has them all.
Gather = Callable[[Tensor], Tensor]


def _alone(rows: Tensor) -> Tensor:
    return rows


@dataclasses.dataclass
class Decomposed:
    """The quantities of Fig. 2 for n images; c, h, w are the sizes of the feature map, k the forgery methods.

    Maps lie in [0, 1]. deepfake + other = features and domain + residual = other, up to rounding (Eq. 1 and 2).
    T's scores are there only in training, when a partner for each image is given.
    """

    features: Tensor  #: I_X, (n, c, h, w)
    deepfake_map: Tensor  #: M_df, (n, c, h, w)
    deepfake: Tensor  #: I_df, (n, c, h, w)
    other: Tensor  #: I_os, (n, c, h, w)
    domain_map: Tensor  #: M_dom, (n, c, h, w)
    domain: Tensor  #: I_dom, (n, c, h, w)
    residual: Tensor  #: I_res, (n, c, h, w)
    score: Tensor  #: C(I_df), (n,), a logit: above 0 is fake
    domain_logits: Tensor | None  #: C̄(I_dom), (n, k + 1); None without C̄
    joint_scores: Tensor | None = None  #: T on (I_df, I_os) of the same image, (n,)
    marginal_scores: Tensor | None = None  #: T on I_df and another image's I_os, (n,)


class Head(nn.Module):
    """C and C̄: pooling, one hidden layer, PReLU, output. (n, c, h, w) -> (n, outputs).

    Source: §3.4 and §3.5 ("MLP"); the pooling and the hidden layer are left open.

    Examples:
        >>> Head(8, 1, hidden=16, cells=None)(torch.zeros(2, 8, 3, 3)).shape
        torch.Size([2, 1])
    """

    def __init__(self, channels: int, outputs: int, hidden: int, cells: int | None) -> None:
        super().__init__()
        self.cells = cells
        self.layers = nn.Sequential(nn.Linear(channels * (cells or 1), hidden), nn.PReLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.mean((2, 3)) if self.cells is None else x.flatten(1))


class Estimator(nn.Module):
    """T: three convolutions, each followed by ReLU, and a fully connected layer; one score per pair.

    The first convolution is 1×1 on cat(I_df, I_os). A 1×1 convolution of a concatenation is the sum of two
    convolutions, so each half is convolved once and the marginal pairs only permute the second result; this is
    exact and halves the cost of the widest layer. `estimator_input="pooled"` shows T the means over places only.

    With several processes, `partner` points into the batch of all of them, and `gather` joins the second results of
    all: they have 64 channels, and c is a thousand.

    Shapes: I_df and I_os (n, c, h, w), partner (n,) -> joint scores (n,), marginal scores (n,).

    Source: §3.3, Eq. 4; the widths and the pooling before the last layer are left open.

    Examples:
        >>> maps = torch.zeros(2, 8, 3, 3)
        >>> joint, marginal = Estimator(8, 16)(maps, maps, partner=torch.tensor([1, 0]))
        >>> joint.shape, marginal.shape
        (torch.Size([2]), torch.Size([2]))
    """

    def __init__(self, channels: int, hidden: int = 64, inputs: Literal["maps", "pooled"] = "maps") -> None:
        super().__init__()
        self.inputs = inputs
        kernel = 3 if inputs == "maps" else 1
        self.deepfake = nn.Conv2d(channels, hidden, 1)
        self.other = nn.Conv2d(channels, hidden, 1, bias=False)
        self.conv2 = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2)
        self.conv3 = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2)
        self.fc = nn.Linear(hidden, 1)

    def forward(
        self, deepfake: Tensor, other: Tensor, partner: Tensor, gather: Gather = _alone
    ) -> tuple[Tensor, Tensor]:
        if self.inputs == "pooled":
            deepfake, other = deepfake.mean((2, 3), True), other.mean((2, 3), True)
        first, second = self.deepfake(deepfake), self.other(other)
        x = F.relu(torch.cat([first + second, first + gather(second)[partner]]))
        x = F.relu(self.conv3(F.relu(self.conv2(x))))
        joint, marginal = self.fc(x.mean((2, 3))).squeeze(1).chunk(2)
        return joint, marginal


class DetectionGraph(nn.Module):
    """The test phase (§3.5.1): G, A_df and C only. Images (n, 1, H, W) in [0, 1] -> scores (n,), logits of fake."""

    def __init__(self, backbone: nn.Module, attention: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.deepfake_attention = attention
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        return self.classifier(self.deepfake_attention(features) * features).squeeze(1)


class DID(nn.Module):
    """Deep information decomposition: G, A_df, A_dom, T, C and C̄ of Fig. 2.

    Args:
        backbone: a timm name (then without pretrained weights), or a module with `channels` that gives a map.
        num_domains: k + 1, real included.
        wiring, merge, adaptive_pool, reduction: see `did.method.layers.Attention`.
        pooling: `average` or `flatten` before C and C̄.
        hidden: hidden units of C and C̄.
        estimator_channels, estimator_input: see `Estimator`.
        domain_attention: False is Table 4's "w/o A_dom": M_dom is 1 everywhere, so C̄ sees all of I_os.
        domain_branch: `dropped`, with `domain_attention=False` only, is the other reading of it: C̄ goes too.
        decorrelation: False is Table 4's "w/o T".
        image_size: side of the images; used by `pooling="flatten"` only.

    Source: Fig. 2, §3, Algorithms 1 and 2.

    Examples:
        >>> model = DID("test_efficientnet", num_domains=5)
        >>> out = model(torch.rand(2, 1, 64, 64), partner=torch.tensor([1, 0]))
        >>> out.score.shape, out.domain_logits.shape, out.joint_scores.shape
        (torch.Size([2]), torch.Size([2, 5]), torch.Size([2]))
        >>> torch.allclose(out.deepfake + out.other, out.features, atol=1e-5)  # Eq. 1
        True
    """

    def __init__(
        self,
        backbone: str | nn.Module,
        num_domains: int,
        *,
        wiring: Literal["parallel", "sequential"] = "parallel",
        merge: Literal["sum", "product"] = "sum",
        adaptive_pool: Literal["sum", "mean"] = "sum",
        reduction: int = 16,
        pooling: Literal["average", "flatten"] = "average",
        hidden: int = 128,
        estimator_channels: int = 64,
        estimator_input: Literal["maps", "pooled"] = "maps",
        domain_attention: bool = True,
        domain_branch: Literal["kept", "dropped"] = "kept",
        decorrelation: bool = True,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        self.backbone: nn.Module = Backbone(backbone) if isinstance(backbone, str) else backbone
        channels = int(self.backbone.channels)  # type: ignore[arg-type]
        cells = _cells(self.backbone, image_size) if pooling == "flatten" else None
        self.deepfake_attention = Attention(channels, wiring, merge, adaptive_pool, reduction)
        self.domain_attention = (
            Attention(channels, wiring, merge, adaptive_pool, reduction) if domain_attention else None
        )
        self.classifier = Head(channels, 1, hidden, cells)
        self.domain_classifier = Head(channels, num_domains, hidden, cells) if domain_branch == "kept" else None
        self.estimator = Estimator(channels, estimator_channels, estimator_input) if decorrelation else None

    def forward(
        self, images: Tensor, partner: Tensor | None = None, beta: float = 1.0, gather: Gather = _alone
    ) -> Decomposed:
        """Decompose, classify and, with a partner for each image, score the pairs of Eq. 4.

        Args:
            images: (n, 1, H, W) in [0, 1].
            partner: (n,) from `did.method.losses.marginal_permutation`, or None outside training.
            beta: factor of the gradient that T sends back to G and A_df, reversed (§3.3).
            gather: joins the rows of several processes into those of the whole batch.
        """
        features = self.backbone(images)
        deepfake_map = self.deepfake_attention(features)
        deepfake = deepfake_map * features
        other = features - deepfake  # (1 - M_df) ⊗ I_X of Eq. 1, with one product less
        domain_map = torch.ones_like(other) if self.domain_attention is None else self.domain_attention(other)
        domain = domain_map * other
        joint = marginal = None
        if self.estimator is not None and partner is not None:
            reversed_deepfake, reversed_other = gradient_reversal(deepfake, beta), gradient_reversal(other, beta)
            joint, marginal = self.estimator(reversed_deepfake, reversed_other, partner, gather)
        return Decomposed(
            features=features,
            deepfake_map=deepfake_map,
            deepfake=deepfake,
            other=other,
            domain_map=domain_map,
            domain=domain,
            residual=other - domain,
            score=self.classifier(deepfake).squeeze(1),
            domain_logits=None if self.domain_classifier is None else self.domain_classifier(domain),
            joint_scores=joint,
            marginal_scores=marginal,
        )

    def decompose(self, images: Tensor) -> Decomposed:
        """Decompose and classify images (n, 1, H, W), without T: the source of maps and probes."""
        return self(images)

    def domains(self, images: Tensor) -> Tensor:
        """Return the logits of the domains, (n, k + 1), of images (n, 1, H, W). There must be a C̄."""
        logits = self(images).domain_logits
        assert logits is not None
        return logits

    def detector(self) -> DetectionGraph:
        """Return the test-time graph, which shares its weights with this model and gives the same scores."""
        return DetectionGraph(self.backbone, self.deepfake_attention, self.classifier)


def _cells(backbone: nn.Module, image_size: int) -> int:
    """Return h·w of the feature map of an image of this size."""
    with torch.no_grad(), evaluating(backbone):
        return backbone(torch.zeros(1, 1, image_size, image_size)).shape[2:].numel()


def map_statistics(attention_map: Tensor) -> dict[str, float]:
    """Compute statistics of an attention map that show whether it is saturated.

    A mean near .5 alone does not show that a map works.

    Args:
        attention_map: (n, c, h, w) in [0, 1].

    Returns:
        `mean`; `saturated`, the share of entries outside [.02, .98]; and three standard deviations: `channels`
        (of the channels' means: large for a fixed mask over channels), `places` (over h·w, mean of the rest) and
        `images` (over n, mean of the rest: how much the map depends on its input).

    Examples:
        >>> map_statistics(torch.full((2, 3, 4, 4), 0.5))["saturated"]
        0.0
    """
    return {name: value.item() for name, value in statistics_on_device(attention_map).items()}


def statistics_on_device(attention_map: Tensor) -> dict[str, Tensor]:
    """Compute `map_statistics` as scalars on the map's device, without a synchronisation."""
    m = attention_map.detach().float()
    return {
        "mean": m.mean(),
        "saturated": ((m < 0.02) | (m > 0.98)).float().mean(),
        "channels": m.mean((0, 2, 3)).std(),
        "places": m.std((2, 3)).mean() if m.shape[2:].numel() > 1 else m.new_zeros(()),
        "images": m.std(0).mean(),
    }
