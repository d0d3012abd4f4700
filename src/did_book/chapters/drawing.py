"""The paper's two diagrams in a drawing of our own: Fig. 2, the whole method, and Fig. 3, the attention network.

Both are drawn for a given model: the sizes in the boxes are computed by it, and its choices of wiring show.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from torch import Tensor, nn

from did.method.layers import Attention
from did.method.model import DID
from did.plots.base import GRAY, PALETTE, Plot, canvas, put_stamp

# What a box is: its colour and its words in the legend. The text in the box says the same.
_KINDS = {
    "data": ("#FFFFFF", "image or map"),
    "network": ("#CFE6F7", "trained weights"),
    "fixed": ("#FDF0CE", "no weights"),
    "loss": ("#EEEEEE", "loss"),
}


@dataclasses.dataclass(frozen=True)
class _Box:
    """A box: its middle, its name in mathtext and in plain words, and what it is."""

    x: float
    y: float
    text: str
    name: str
    kind: str
    size: str = ""
    always: bool = True  # False: in training only
    width: float = 1.0
    height: float = 0.62

    def edge(self, towards: tuple[float, float]) -> tuple[float, float]:
        """Return where a horizontal or vertical line to this place leaves the box."""
        x, y = towards
        if abs(x - self.x) < self.width / 2:
            return x, self.y + (self.height if y > self.y else -self.height) / 2
        return self.x + (self.width if x > self.x else -self.width) / 2, y


@dataclasses.dataclass(frozen=True)
class _Arrow:
    """From a box to a box, by corners."""

    start: str
    end: str
    corners: tuple[tuple[float, float], ...] = ()


def architecture(model: DID, images: Tensor, stamp: str) -> Plot:
    """Draw the method as a graph: what is computed from what, which part the test phase keeps, size of each map.

    Solid borders: in training and test. Dashed: in training only. The modules that the model does not have
    (Table 4's ablations) are left out.

    Args:
        model: its own forward pass gives the sizes.
        images: (n, 1, H, W) in [0, 1].
        stamp: where the sizes come from.

    Source: Fig. 2, Algorithms 1 and 2.
    """
    mode = model.training
    with torch.no_grad():
        out = model.eval()(images)
    model.train(mode)
    names = ("features", "deepfake_map", "domain_map", "domain_logits")
    size = {name: "" if getattr(out, name) is None else _size(getattr(out, name)[0]) for name in names}
    boxes = {
        "X": _Box(0, 3, "$X$", "image X", "data", _size(images[0])),
        "G": _Box(1.45, 3, "$G$", "backbone G", "network"),
        "I_X": _Box(2.9, 3, "$I_X$", "I_X", "data", size["features"]),
        "A_df": _Box(4.35, 3, "$A_{df}$", "A_df", "network"),
        "M_df": _Box(5.8, 3, "$M_{df}$", "M_df", "data", size["deepfake_map"]),
        "I_df": _Box(7.5, 4.1, r"$I_{df}=M_{df}\otimes I_X$", "I_df", "data", size["features"], width=1.75),
        "I_os": _Box(7.5, 1.9, r"$I_{os}=(1-M_{df})\otimes I_X$", "I_os", "data", size["features"], False, 2.05),
        "C": _Box(13.4, 4.1, "$C$", "C", "network", "one score"),
        "L_cls": _Box(14.8, 4.1, r"$\mathcal{L}_{cls}$", "L_cls", "loss", "Eq. 9", False),
        "A_dom": _Box(9.3, 0.8, "$A_{dom}$", "A_dom", "network", "", False),
        "M_dom": _Box(10.7, 0.8, "$M_{dom}$", "M_dom", "data", size["domain_map"], False),
        "I_dom": _Box(11.7, 1.9, r"$I_{dom}=M_{dom}\otimes I_{os}$", "I_dom", "data", size["features"], False, 1.85),
        "I_res": _Box(
            11.7, -0.3, r"$I_{res}=(1-M_{dom})\otimes I_{os}$", "I_res", "data", size["features"], False, 2.2
        ),
        "C_dom": _Box(13.45, 1.9, r"$\bar{C}$", "C̄", "network", f"{size['domain_logits']} domains", False, 1.1),
        "L_dom": _Box(14.8, 1.9, r"$\mathcal{L}_{dom}$", "L_dom", "loss", "Eq. 10", False),
        "GRL": _Box(9.3, 3, "GRL", "GRL", "fixed", r"backwards $\times(-\beta)$", False, 1.3),
        "T": _Box(11.7, 3, "$T$", "T", "network", "a score a pair", False),
        "L_dec": _Box(14.8, 3, r"$\mathcal{L}_{dec}$", "L_dec", "loss", "Eq. 5", False),
    }
    arrows = [
        _Arrow("X", "G"),
        _Arrow("G", "I_X"),
        _Arrow("I_X", "A_df"),
        _Arrow("A_df", "M_df"),
        _Arrow("I_X", "I_df", ((2.9, 4.1),)),
        _Arrow("M_df", "I_df", ((7.5, 3),)),
        _Arrow("I_X", "I_os", ((2.9, 1.9),)),
        _Arrow("M_df", "I_os", ((7.5, 3),)),
        _Arrow("I_df", "C"),
        _Arrow("C", "L_cls"),
        _Arrow("I_df", "GRL", ((9.3, 4.1),)),
        _Arrow("I_os", "GRL", ((9.3, 1.9),)),
        _Arrow("GRL", "T"),
        _Arrow("T", "L_dec"),
        _Arrow("I_os", "A_dom", ((7.5, 0.8),)),
        _Arrow("A_dom", "M_dom"),
        _Arrow("I_os", "I_dom"),
        _Arrow("M_dom", "I_dom", ((11.7, 0.8),)),
        _Arrow("I_os", "I_res", ((7.5, -0.3),)),
        _Arrow("M_dom", "I_res", ((11.7, 0.8),)),
        _Arrow("I_dom", "C_dom"),
        _Arrow("C_dom", "L_dom"),
    ]
    absent = set() if model.estimator is not None else {"GRL", "T", "L_dec"}
    if model.domain_classifier is None:
        absent |= {"C_dom", "L_dom"}
    if model.domain_attention is None:
        absent |= {"A_dom"}
        boxes["M_dom"] = dataclasses.replace(boxes["M_dom"], text="$M_{dom}=1$", kind="fixed")
    boxes = {key: box for key, box in boxes.items() if key not in absent}
    arrows = [one for one in arrows if not {one.start, one.end} & absent]
    figure, axes = canvas(11.5, 4.2)
    data = _draw(axes[0, 0], boxes, arrows)
    put_stamp(figure, stamp)
    kept = ", ".join(box.name for box in boxes.values() if box.always)
    rest = ", ".join(box.name for box in boxes.values() if not box.always)
    alt = (
        f"The method of Fig. 2 as boxes and arrows. {_in_words(data)} Maps of size {size['features']}. In training and "
        f"in the test phase: {kept}. In training only: {rest}."
    )
    return Plot(figure, data, alt, mathtext=True, vector=True)


def attention_network(attention: Attention, features: Tensor, stamp: str) -> Plot:
    """Draw the attention network of Fig. 3 as it is wired here, with the size of each box's output.

    Args:
        attention: A_df or A_dom.
        features: (n, c, h, w), what it is given.
        stamp: where the sizes come from.

    Source: §3.2, Fig. 3.
    """
    channel, spatial = attention.channel, attention.spatial
    sizes = _sizes(
        {
            "S_ADP": channel.adaptive,
            "S_1": channel.squeeze,
            "S_2": channel.excite,
            "C_ADP": spatial.adaptive,
            "C_1": spatial.squeeze,
            "C_2": spatial.excite,
            "M": attention,
        },
        attention,
        features,
    )
    c, h, w = features.shape[1:]
    column, plane = f"{c}×1×1", f"1×{h}×{w}"
    pool = channel.adaptive_pool
    sequential, joint = attention.wiring == "sequential", {"sum": "+", "product": "×"}[attention.merge]
    boxes = {
        "x": _Box(0, 4.5 if sequential else 2.5, "$I$", "input I", "data", _size(features[0])),
        "S_GAP": _Box(2.2, 5.4, "S-GAP", "S-GAP", "fixed", f"mean → {column}", width=2.5),
        "S_GMP": _Box(2.2, 4.5, "S-GMP", "S-GMP", "fixed", f"maximum → {column}", width=2.5),
        "S_ADP": _Box(2.2, 3.6, "S-ADP", "S-ADP", "network", f"depthwise conv, PReLU, {pool} → {column}", width=2.5),
        "S_cat": _Box(4.4, 4.5, "cat", "cat of channels", "fixed", f"{3 * c}×1×1"),
        "S_1": _Box(6.2, 4.5, "conv, PReLU", "first conv of the channel branch", "network", sizes["S_1"], width=1.3),
        "S_2": _Box(8.1, 4.5, "conv, PReLU", "second conv of the channel branch", "network", sizes["S_2"], width=1.3),
        "C_GAP": _Box(2.2, 1.9, "C-GAP", "C-GAP", "fixed", f"mean → {plane}", width=2.5),
        "C_GMP": _Box(2.2, 1.0, "C-GMP", "C-GMP", "fixed", f"maximum → {plane}", width=2.5),
        "C_ADP": _Box(2.2, 0.1, "C-ADP", "C-ADP", "network", f"1×1 conv, PReLU → {sizes['C_ADP']}", width=2.5),
        "C_cat": _Box(4.4, 1.0, "cat", "cat of places", "fixed", f"3×{h}×{w}"),
        "C_1": _Box(6.2, 1.0, "conv, PReLU", "first conv of the spatial branch", "network", sizes["C_1"], width=1.3),
        "C_2": _Box(8.1, 1.0, "conv, PReLU", "second conv of the spatial branch", "network", sizes["C_2"], width=1.3),
        "join": _Box(9.6, 2.75, joint, f"broadcast {attention.merge}", "fixed", sizes["M"]),
        "sigma": _Box(11.0, 2.75, r"$\sigma$", "sigmoid", "fixed"),
        "M": _Box(12.4, 2.75, "$M$", "map M", "data", sizes["M"]),
    }
    arrows = [
        *(_Arrow(pooled, "S_cat", ((3.68, boxes[pooled].y), (3.68, 4.5))) for pooled in ("S_GAP", "S_ADP")),
        _Arrow("S_GMP", "S_cat"),
        *(_Arrow(pooled, "C_cat", ((3.68, boxes[pooled].y), (3.68, 1.0))) for pooled in ("C_GAP", "C_ADP")),
        _Arrow("C_GMP", "C_cat"),
        _Arrow("S_cat", "S_1"),
        _Arrow("S_1", "S_2"),
        _Arrow("C_cat", "C_1"),
        _Arrow("C_1", "C_2"),
        _Arrow("S_2", "join", ((9.6, 4.5),)),
        _Arrow("C_2", "join", ((9.6, 1.0),)),
        _Arrow("join", "sigma"),
        _Arrow("sigma", "M"),
    ]
    if sequential:
        # The spatial branch sees I weighted by the channel branch.
        boxes["weighted"] = _Box(
            0, 1.0, r"$\sigma(\cdot)\otimes I$", "I weighted by the channel branch", "fixed", _size(features[0])
        )
        arrows += [_Arrow("x", "weighted"), _Arrow("S_2", "weighted", ((8.1, 2.75), (0.3, 2.75)))]
    for pooled in ("S_GAP", "S_GMP", "S_ADP", "C_GAP", "C_GMP", "C_ADP"):
        source = "weighted" if sequential and pooled.startswith("C") else "x"
        y, end = boxes[source].y, boxes[pooled].y
        arrows.append(_Arrow(source, pooled, () if y == end else ((0.72, y), (0.72, end))))
    figure, axes = canvas(11.5, 5.0)
    data = _draw(axes[0, 0], boxes, arrows)
    put_stamp(figure, stamp)
    alt = (
        f"The attention network of Fig. 3 as boxes and arrows, {attention.wiring}, for an input of "
        f"{_size(features[0])}; S-ADP is a depthwise convolution and a {pool} over places. {_in_words(data)}"
    )
    return Plot(figure, data, alt, mathtext=True, vector=True)


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _sizes(modules: Mapping[str, nn.Module], whole: nn.Module, features: Tensor) -> dict[str, str]:
    """Return the output size of each module for one image, recorded in one forward pass."""
    found: dict[str, str] = {}
    hooks = []
    for name, module in modules.items():

        def note(_module: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
            one = output[0]
            found[name] = _size(one if one.ndim == 3 else one[:, None, None])

        hooks.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            whole(features)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _draw(axis: Axes, boxes: Mapping[str, _Box], arrows: Sequence[_Arrow]) -> pd.DataFrame:
    """Draw boxes and arrows; return one row per arrow: from, to, and the size of what it carries."""
    for key, box in boxes.items():
        low = (box.x - box.width / 2, box.y - box.height / 2)
        axis.add_patch(
            FancyBboxPatch(
                low, box.width, box.height, boxstyle=f"round,pad=0,rounding_size={0.3 if box.kind == 'loss' else 0.06}",
                facecolor=_KINDS[box.kind][0], edgecolor=PALETTE[0] if box.always else GRAY,
                linewidth=1.6 if box.always else 1.1, linestyle="-" if box.always else "--", gid=key,
            )
        )  # fmt: skip
        axis.text(box.x, box.y + (0.11 if box.size else 0), box.text, ha="center", va="center", fontsize=9, gid=key)
        axis.text(box.x, box.y - 0.17, box.size, ha="center", va="center", fontsize=6.5, gid=key)
    for arrow in arrows:
        start, end = boxes[arrow.start], boxes[arrow.end]
        middles = [(start.x, start.y), *arrow.corners, (end.x, end.y)]
        points = [start.edge(middles[1]), *arrow.corners, end.edge(middles[-2])]
        both = start.always and end.always
        axis.add_patch(
            FancyArrowPatch(
                path=Path(points), arrowstyle="-|>", mutation_scale=9, color=PALETTE[0] if both else GRAY,
                linewidth=1.3 if both else 1.0, linestyle="-" if both else "--", shrinkA=0, shrinkB=0,
                gid=f"{arrow.start}→{arrow.end}", zorder=1.6 if both else 1.5,  # solid above dashed
            )
        )  # fmt: skip
    across = [box.x + side * box.width / 2 for box in boxes.values() for side in (-1, 1)]
    upright = [box.y + side * box.height / 2 for box in boxes.values() for side in (-1, 1)]
    axis.set(xlim=(min(across) - 0.1, max(across) + 0.1), ylim=(min(upright) - 0.1, max(upright) + 0.1))
    axis.axis("off")
    kinds = [kind for kind in _KINDS if any(box.kind == kind for box in boxes.values())]
    handles = [Patch(facecolor=_KINDS[kind][0], edgecolor=GRAY, label=_KINDS[kind][1]) for kind in kinds]
    axis.figure.legend(handles=handles, loc="outside upper center", fontsize=8, ncols=len(kinds))
    rows = [(boxes[one.start].name, boxes[one.end].name, boxes[one.start].size) for one in arrows]
    return pd.DataFrame(rows, columns=["from", "to", "size"])


def _in_words(data: pd.DataFrame) -> str:
    """Describe the arrows in sentences, one per start."""
    ends = data.groupby("from", sort=False)["to"]
    return " ".join(f"{start} leads to {' and '.join(to)}." for start, to in ends)
