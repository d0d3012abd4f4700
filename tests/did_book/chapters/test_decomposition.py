"""The split in figures: what each panel, bar and gallery shows."""

import numpy as np
import pytest
import torch

from did.method.backbones import Backbone
from did.method.model import DID, map_statistics
from did_book.chapters import decomposition as a


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_panels_show_each_value_of_each_part(whole):
    parts = {"I_X": noise(2, 3), "M_df": noise(2, 3, seed=1).sigmoid(), "I_df": torch.full((2, 3), -0.001)}
    plot = whole(a.split_panels(parts, "the stamp"))
    for axis, (name, part) in zip(plot.figure.axes, parts.items(), strict=True):
        assert axis.get_title() == f"${name[0]}_{{{name[2:]}}}$"
        assert np.allclose(axis.images[0].get_array(), part)
        written = [text.get_text() for text in axis.texts]
        assert written == [f"{value:.2f}".replace("-0.00", "0.00") for row in part.tolist() for value in row]
    ranges = [axis.images[0].get_clim() for axis in plot.figure.axes]
    size = parts["I_X"].abs().max().item()
    assert ranges == [(-size, size), (0, 1), (-size, size)]
    one = plot.data.query("part == 'M_df' and row == 1 and column == 2")
    assert one.value.item() == pytest.approx(parts["M_df"][1, 2].item())
    assert f"I_X from {parts['I_X'].min():.3f} to {parts['I_X'].max():.3f};" in plot.alt


@pytest.fixture(scope="module")
def halves():
    keep = (torch.arange(8) < 4).float()[None, :, None, None]
    return a.readable_halves({"0": torch.zeros(1), ".5": torch.full((1,), 0.5), "1": torch.ones(1), "splits": keep})


def test_halves_hold_what_the_map_lets_through(halves):
    found = {(row.map, row.half, row.target): row.accuracy for row in halves.itertuples()}
    assert len(found) == 16
    for target in ("label", "domain"):
        assert found["0", "I_df", target] == found["1", "I_os", target] == 0.5
        assert found[".5", "I_df", target] == found[".5", "I_os", target] == found["1", "I_df", target] > 0.95
    assert found["splits", "I_df", "label"] > 0.95 and found["splits", "I_os", "domain"] > 0.95
    assert abs(found["splits", "I_os", "label"] - 0.5) < 0.06 and abs(found["splits", "I_df", "domain"] - 0.5) < 0.06


def test_bars_of_the_halves(whole, halves):
    plot = whole(a.halves_bars(halves, "the stamp"))
    assert [axis.get_title() for axis in plot.figure.axes] == ["0", ".5", "1", "splits"]
    label, domain = plot.figure.axes[3].containers
    table = halves.set_index(["map", "half", "target"]).accuracy
    assert [bar.get_height() for bar in label] == [table["splits", half, "label"] for half in ("I_df", "I_os")]
    assert [bar.get_height() for bar in domain] == [table["splits", half, "domain"] for half in ("I_df", "I_os")]
    assert label[0].get_hatch() != domain[0].get_hatch()
    assert f"splits: label from I_df {table['splits', 'I_df', 'label']:.3f}, domain from I_df" in plot.alt


def test_example_maps_fail_as_their_names_say():
    found = {name: map_statistics(one) for name, one in a.example_maps().items()}
    for name, mean in (("stuck at .5", 0.5), ("stuck at 0", 0), ("stuck at 1", 1)):
        assert found[name]["mean"] == mean
        assert found[name]["channels"] == found[name]["places"] == found[name]["images"] == 0
    assert found["mask of channels"]["mean"] == 0.5 and found["mask of channels"]["channels"] > 0.5
    assert found["mask of places"]["places"] > 0.3 > found["mask of places"]["channels"] == 0
    assert found["depends on the image"]["images"] > 0.2 > found["depends on the image"]["saturated"]
    assert sum(abs(one["mean"] - 0.5) < 0.02 for one in found.values()) == 3


def test_the_gallery_lays_images_side_by_side(whole):
    maps = {"one": torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)), "two": torch.zeros(2, 3, 1, 2)}
    plot = whole(a.map_gallery(maps, "the stamp"))
    one, two, empty = plot.figure.axes
    shown = one.images[0].get_array()
    for n in range(2):
        for c in range(3):
            for i in range(2):
                for j in range(2):
                    assert shown[c, 4 * n + 2 * i + j] == maps["one"][n, c, i, j]
    assert two.images[0].get_array().shape == (3, 4) and not empty.axison
    expected = map_statistics(maps["one"])
    assert plot.data.iloc[0].drop("map").to_dict() == expected
    assert f"saturated {expected['saturated']:.2f}" in one.get_xlabel()
    assert f"one: mean {expected['mean']:.3f}, saturated share {expected['saturated']:.3f}" in plot.alt


def test_sizes_of_the_modules_and_of_the_test_phase(whole):
    model = DID("test_efficientnet", 4, hidden=8, estimator_channels=8)
    plot = whole(a.module_sizes(model, "the stamp"))
    count = {row.module: (row.parameters, row.test) for row in plot.data.itertuples()}
    assert count["G"] == (sum(p.numel() for p in model.backbone.parameters()), True)
    assert count["T"] == (sum(p.numel() for p in model.estimator.parameters()), False)
    assert [name for name, (_, test) in count.items() if test] == ["G", "A_df", "C"]
    assert sum(number for number, _ in count.values()) == sum(p.numel() for p in model.parameters())
    share = sum(p.numel() for p in model.detector().parameters()) / sum(p.numel() for p in model.parameters())
    assert f"needs G, A_df, C: a share of {share:.3f}." in plot.alt
    widths = sorted(bar.get_width() for bar in plot.figure.axes[0].patches)
    assert widths == sorted(number for number, _ in count.values())
    assert "T" not in set(a.module_sizes(DID("test_efficientnet", 4, decorrelation=False), "s").data.module)


def test_gray_kernels_stand_below_the_sum_of_the_coloured_ones(whole):
    torch.manual_seed(0)
    rgb, gray = Backbone("test_efficientnet", in_chans=3), Backbone("test_efficientnet", in_chans=1)
    coloured = rgb.body.conv_stem.weight.detach()
    gray.body.conv_stem.weight.data = coloured.sum(1, keepdim=True)
    gray.body.conv_stem.weight.data[3, 0, 1, 1] += 0.25
    plot = whole(a.stem_kernels(rgb, gray, "the stamp", kernels=4))
    grid = np.array(plot.figure.axes).reshape(5, 4)
    assert [line[0].get_ylabel() for line in grid] == ["R", "G", "B", "R + G + B", "gray network"]
    strongest = max(range(len(coloured)), key=lambda k: coloured[k].sum(0).norm().item())
    for line, channel in zip(grid, range(3), strict=False):
        assert np.allclose(line[0].images[0].get_array(), coloured[strongest, channel])
    assert np.allclose(grid[3, 0].images[0].get_array(), coloured[strongest].sum(0))
    assert plot.data["largest difference"].idxmax() == 3 and plot.data["largest difference"][3] == pytest.approx(0.25)
    assert plot.alt.endswith("over all kernels, is 0.250.")
