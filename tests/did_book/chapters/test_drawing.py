"""The two diagrams: what leads to what, where the lines run, and that the sizes in the boxes are the model's."""

import itertools

import matplotlib.patches as patches
import pytest
import torch

from did.method.layers import Attention
from did.method.model import DID
from did_book.chapters.drawing import architecture, attention_network


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def did(**options):
    torch.manual_seed(0)
    return DID("test_efficientnet", 4, hidden=8, estimator_channels=8, **options)


def whole(plot):
    """A picture with its stamp, and words that are a sentence."""
    shown = plot._repr_mimebundle_()[0]
    assert shown["image/png"].startswith(b"\x89PNG")
    assert "<svg" in shown["image/svg+xml"] and shown["image/svg+xml"] == plot._repr_mimebundle_()[0]["image/svg+xml"]
    assert any("the stamp" in text.get_text() for text in plot.figure.texts)
    assert plot.alt.endswith(".") and "nan" not in plot.alt and "None" not in plot.alt
    return plot


def parts(plot):
    """Boxes as name -> (x0, y0, x1, y1), arrows as name -> corners, texts as name -> lines."""
    (axis,) = plot.figure.axes
    boxes, arrows, texts = {}, {}, {}
    for patch in axis.patches:
        if isinstance(patch, patches.FancyBboxPatch):
            x, y = patch.get_x(), patch.get_y()
            boxes[patch.get_gid()] = (x, y, x + patch.get_width(), y + patch.get_height())
        else:
            arrows[patch.get_gid()] = [tuple(map(float, point)) for point in patch._path_original.vertices]
    for text in axis.texts:
        texts.setdefault(text.get_gid(), []).append(text.get_text())
    return boxes, arrows, texts


def on_the_border(place, box):
    (x, y), (x0, y0, x1, y1) = place, box
    inside = x0 - 1e-9 <= x <= x1 + 1e-9 and y0 - 1e-9 <= y <= y1 + 1e-9
    return inside and min(abs(x - x0), abs(x - x1), abs(y - y0), abs(y - y1)) < 1e-9


def crosses(a, b, box):
    """Does the level or upright line from a to b run through the inside of the box?"""
    x0, y0, x1, y1 = box
    return min(a[0], b[0]) < x1 and max(a[0], b[0]) > x0 and min(a[1], b[1]) < y1 and max(a[1], b[1]) > y0


CASES = {
    "whole method": lambda images: architecture(did(), images, "the stamp"),
    "without A_dom": lambda images: architecture(did(domain_attention=False), images, "the stamp"),
    "without T": lambda images: architecture(did(decorrelation=False), images, "the stamp"),
    **{
        f"{wiring}, {merge}": lambda images, wiring=wiring, merge=merge: attention_network(
            Attention(2048, wiring, merge), torch.rand(1, 2048, 12, 12), "the stamp"
        )
        for wiring, merge in (("parallel", "sum"), ("sequential", "product"))
    },
}


@pytest.mark.parametrize("case", CASES)
def test_lines_lead_from_border_to_border_and_through_no_box(case, images):
    plot = whole(CASES[case](images))
    boxes, arrows, texts = parts(plot)
    assert len(arrows) == len(plot.data) > 10 and set(texts) == set(boxes)
    for name, corners in arrows.items():
        start, end = name.split("→")
        assert on_the_border(corners[0], boxes[start]) and on_the_border(corners[-1], boxes[end]), name
        for a, b in itertools.pairwise(corners):
            assert a[0] == pytest.approx(b[0]) or a[1] == pytest.approx(b[1]), f"{name} is slanted"
            assert a != b
            for other, box in boxes.items():
                assert not crosses(a, b, box), f"{name} runs through {other}"
    for (a, one), (b, two) in itertools.combinations(boxes.items(), 2):
        apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        assert apart, f"{a} lies on {b}"


@pytest.mark.parametrize("case", CASES)
def test_text_stays_in_its_box(case, images):
    plot = CASES[case](images)
    plot._repr_mimebundle_()
    (axis,) = plot.figure.axes
    outlines = {p.get_gid(): p.get_window_extent() for p in axis.patches if isinstance(p, patches.FancyBboxPatch)}
    for text in axis.texts:
        if text.get_text():
            extent, box = text.get_window_extent(), outlines[text.get_gid()]
            assert box.x0 <= extent.x0 and extent.x1 <= box.x1, text.get_text()


def edges(plot):
    return set(zip(plot.data["from"], plot.data["to"], strict=True))


def test_the_method_is_what_fig_2_and_algorithm_1_say(images):
    plot = architecture(did(), images, "the stamp")
    found = edges(plot)
    split = {("I_X", "I_df"), ("M_df", "I_df"), ("I_X", "I_os"), ("M_df", "I_os"), ("I_X", "A_df"), ("A_df", "M_df")}
    again = {("I_os", "I_dom"), ("M_dom", "I_dom"), ("I_os", "I_res"), ("M_dom", "I_res"), ("I_os", "A_dom")}
    tasks = {("I_df", "C"), ("I_dom", "C̄"), ("I_df", "GRL"), ("I_os", "GRL"), ("GRL", "T"), ("T", "L_dec")}
    ends = {("image X", "backbone G"), ("backbone G", "I_X"), ("A_dom", "M_dom"), ("C", "L_cls"), ("C̄", "L_dom")}
    assert found == split | again | tasks | ends
    _, _, texts = parts(plot)
    assert texts["I_X"] == ["$I_X$", "256×2×2"] and texts["X"][1] == "1×64×64" and texts["C_dom"][1] == "4 domains"
    assert "Maps of size 256×2×2." in plot.alt and "I_X leads to A_df and I_df and I_os." in plot.alt


def test_the_test_phase_is_drawn_solid(images):
    plot = architecture(did(), images, "the stamp")
    (axis,) = plot.figure.axes
    solid = {p.get_gid() for p in axis.patches if isinstance(p, patches.FancyBboxPatch) and p.get_linestyle() == "-"}
    assert solid == {"X", "G", "I_X", "A_df", "M_df", "I_df", "C"}
    assert "in the test phase: image X, backbone G, I_X, A_df, M_df, I_df, C. In training only: I_os," in plot.alt
    lines = {p.get_gid(): p.get_linestyle() for p in axis.patches if not isinstance(p, patches.FancyBboxPatch)}
    assert lines["I_df→C"] == "-" and lines["I_X→I_os"] == lines["C→L_cls"] == "--"


def test_ablations_leave_out_what_they_lack(images):
    no_t = edges(architecture(did(decorrelation=False), images, "s"))
    assert not {"GRL", "T", "L_dec"} & {end for edge in no_t for end in edge} and ("I_df", "C") in no_t
    plot = architecture(did(domain_attention=False), images, "s")
    assert not any("A_dom" in edge for edge in edges(plot))
    assert parts(plot)[2]["M_dom"][0] == "$M_{dom}=1$"
    dropped = edges(architecture(did(domain_attention=False, domain_branch="dropped"), images, "s"))
    assert not {"C_dom", "L_dom"} & {end for edge in dropped for end in edge} and ("I_os", "GRL") in dropped


def test_drawing_a_model_does_not_change_it(images):
    model = did().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    architecture(model, images, "s")
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    attention = Attention(16)
    attention_network(attention, torch.rand(1, 16, 3, 3), "s")
    assert not any(module._forward_hooks for module in attention.modules())


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_the_attention_network_has_the_sizes_of_its_layers(pool):
    plot = attention_network(Attention(32, adaptive_pool=pool, reduction=2), torch.rand(1, 32, 5, 4), "s")
    sizes = {name: lines[1] for name, lines in parts(plot)[2].items()}
    assert sizes["S_ADP"] == f"depthwise conv, PReLU, {pool} → 32×1×1"
    assert (sizes["S_GAP"], sizes["S_cat"], sizes["S_1"], sizes["S_2"]) == (
        "mean → 32×1×1",
        "96×1×1",
        "16×1×1",
        "32×1×1",
    )
    assert (sizes["C_GMP"], sizes["C_cat"], sizes["C_1"], sizes["C_2"]) == (
        "maximum → 1×5×4",
        "3×5×4",
        "8×5×4",
        "1×5×4",
    )
    assert sizes["C_ADP"] == "1×1 conv, PReLU → 1×5×4" and sizes["x"] == sizes["join"] == sizes["M"] == "32×5×4"
    assert "an input of 32×5×4" in plot.alt and f"a {pool} over places" in plot.alt


def test_wiring_and_merge_are_drawn():
    parallel = attention_network(Attention(16), torch.rand(1, 16, 3, 3), "s")
    sequential = attention_network(Attention(16, "sequential", "product"), torch.rand(1, 16, 3, 3), "s")
    weighted = "I weighted by the channel branch"
    for pooling in ("C-GAP", "C-GMP", "C-ADP"):
        assert ("input I", pooling) in edges(parallel) and ("input I", pooling) not in edges(sequential)
        assert (weighted, pooling) in edges(sequential)
    for pooling in ("S-GAP", "S-GMP", "S-ADP"):
        assert ("input I", pooling) in edges(parallel) & edges(sequential)
    assert ("second conv of the channel branch", weighted) in edges(sequential)
    assert parts(parallel)[2]["join"][0] == "+" and parts(sequential)[2]["join"][0] == "×"
    assert ", sequential, for" in sequential.alt and "leads to broadcast product" in sequential.alt
