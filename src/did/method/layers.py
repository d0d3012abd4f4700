"""The layers that the method adds to a backbone: the attention network of Fig. 3 and the gradient reversal of §3.3."""

from typing import Any, Literal

import torch
from torch import Tensor, nn


class _GradientReversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: float) -> Tensor:
        ctx.beta = beta
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.beta * grads[0], None


def gradient_reversal(x: Tensor, beta: float) -> Tensor:
    """Reverse the gradient (GRL): the identity in the forward pass, a factor of -beta in the backward pass.

    Args:
        x: tensor of any shape.
        beta: the β of §3.3, at least 0; 0 blocks the gradient.

    Returns:
        `x`, same shape and values.

    Source: §3.3; Ganin and Lempitsky (2015).

    Examples:
        >>> x = torch.ones(2, requires_grad=True)
        >>> gradient_reversal(x, 0.5).sum().backward()
        >>> x.grad
        tensor([-0.5000, -0.5000])
    """
    return _GradientReversal.apply(x, beta)  # type: ignore[no-untyped-call]


def conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    """Build a convolution that keeps h and w, followed by PReLU, like every convolution of Fig. 3.

    Examples:
        >>> conv(3, 8, 1)(torch.zeros(2, 3, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups), nn.PReLU())


class ChannelAttention(nn.Module):
    """Channel branch of Fig. 3: cat(S-GAP, S-GMP, S-ADP) -> conv -> conv, one logit per channel.

    S-GAP and S-GMP are the mean and the maximum over places. S-ADP, the paper's "channel-wise spatial convolution
    followed by a sum pooling layer", is a depthwise convolution and a sum over places. With `adaptive_pool="mean"`
    the sum is divided by h·w: then it has the scale of S-GAP whatever the size of the map.

    Shapes: (n, c, h, w) -> (n, c, 1, 1).

    Examples:
        >>> ChannelAttention(16, 16, "mean")(torch.zeros(2, 16, 7, 7)).shape
        torch.Size([2, 16, 1, 1])
    """

    def __init__(self, channels: int, reduction: int, adaptive_pool: Literal["sum", "mean"]) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.adaptive_pool = adaptive_pool
        self.adaptive = conv(channels, channels, kernel=3, groups=channels)
        # A 1×1 convolution of a 1×1 map is a linear layer, which is several times faster on the CPU.
        self.squeeze = nn.Sequential(nn.Linear(3 * channels, hidden), nn.PReLU())
        self.excite = nn.Sequential(nn.Linear(hidden, channels), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        adaptive = self.adaptive(x)
        pool = adaptive.sum if self.adaptive_pool == "sum" else adaptive.mean
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3)), pool((2, 3))], dim=1)
        return self.excite(self.squeeze(pooled))[:, :, None, None]


class SpatialAttention(nn.Module):
    """Spatial branch of Fig. 3: cat(C-GAP, C-GMP, C-ADP) -> conv -> conv, one logit per place.

    C-GAP and C-GMP are the mean and the maximum over channels; C-ADP is a 1×1 convolution to one channel.

    Shapes: (n, c, h, w) -> (n, 1, h, w).

    Examples:
        >>> SpatialAttention(16)(torch.zeros(2, 16, 7, 7)).shape
        torch.Size([2, 1, 7, 7])
    """

    def __init__(self, channels: int, kernel: int = 3, hidden: int = 8) -> None:
        super().__init__()
        self.adaptive = conv(channels, 1)
        self.squeeze = conv(3, hidden, kernel)
        self.excite = conv(hidden, 1, kernel)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, True), x.amax(1, True), self.adaptive(x)], dim=1)
        return self.excite(self.squeeze(pooled))


class Attention(nn.Module):
    """The attention network A of Fig. 3; A_df and A_dom are two of them.

    The figure leaves the wiring open. `parallel` feeds both branches with x; `sequential` feeds the spatial branch
    with x weighted by the channel branch, as CBAM does (Woo et al., 2018). The map is the sigmoid of the two
    branches' logits, joined by broadcast `sum` (default) or `product`. Two logits near 0 have a saddle in their
    product, so that the map would hardly leave .5 at the start; their sum has none.

    Args:
        channels: c, the channels of the feature map.
        wiring: `parallel` or `sequential`.
        merge: `sum` or `product` of the two branches' logits.
        adaptive_pool: `sum` as printed (§3.2), or `mean`.
        reduction: c over the hidden channels of the channel branch.

    Shapes: (n, c, h, w) -> (n, c, h, w), each entry in [0, 1].

    Source: §3.2, Fig. 3.

    Examples:
        >>> maps = Attention(16)(torch.randn(2, 16, 7, 7))
        >>> maps.shape, bool((maps > 0).all() and (maps < 1).all())
        (torch.Size([2, 16, 7, 7]), True)
    """

    def __init__(
        self,
        channels: int,
        wiring: Literal["parallel", "sequential"] = "parallel",
        merge: Literal["sum", "product"] = "sum",
        adaptive_pool: Literal["sum", "mean"] = "sum",
        reduction: int = 16,
    ) -> None:
        super().__init__()
        self.wiring = wiring
        self.merge = merge
        self.channel = ChannelAttention(channels, reduction, adaptive_pool)
        self.spatial = SpatialAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        channel = self.channel(x)
        spatial = self.spatial(x * channel.sigmoid() if self.wiring == "sequential" else x)
        # Broadcast with channels last, the backbone's own memory format, so that no later product has to convert.
        channel, spatial = channel.permute(0, 2, 3, 1), spatial.permute(0, 2, 3, 1)
        logit = channel + spatial if self.merge == "sum" else channel * spatial
        return logit.sigmoid().permute(0, 3, 1, 2)
