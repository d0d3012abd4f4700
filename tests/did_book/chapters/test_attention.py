"""The small experiments of the chapters on the split and on attention: their arithmetic in loops, and their figures."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from did.errors import DidError
from did.method.layers import Attention
from did.method.model import map_statistics
from did_book.chapters import attention as a


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_patterns_differ_in_shape_and_not_in_mean():
    maps = a.pattern_maps(6)
    assert {one.mean().item() for one in maps.values()} == {0.5} and len(maps) == 4
    assert len({tuple(one.flatten().tolist()) for one in maps.values()}) == 4


def test_pooled_patterns_are_those_of_plain_loops():
    maps = {"noise": noise(4, 5), "other": noise(4, 5, seed=1)}
    kernel = noise(3, 3, seed=2)
    table = a.pooled_patterns(maps, kernel).set_index("map")
    for name, one in maps.items():
        adaptive = 0.0
        for i in range(4):
            for j in range(5):
                value = 0.0
                for di in range(3):
                    for dj in range(3):
                        y, x = i + di - 1, j + dj - 1
                        if 0 <= y < 4 and 0 <= x < 5:
                            value += kernel[di, dj].item() * one[y, x].item()
                adaptive += value if value > 0 else 0.25 * value
        assert table.loc[name, "S-GAP"] == pytest.approx(sum(one.flatten().tolist()) / 20, abs=1e-6)
        assert table.loc[name, "S-GMP"] == max(one.flatten().tolist())
        assert table.loc[name, "S-ADP"] == pytest.approx(adaptive, abs=1e-4)


def test_bars_of_the_patterns(whole):
    maps = a.pattern_maps()
    table = a.pooled_patterns(maps, torch.tensor([[-1.0, 2, -1]] * 3))
    plot = whole(a.pattern_bars(maps, table, "the stamp"))
    above, below = np.array(plot.figure.axes).reshape(2, 4)
    assert [axis.get_title() for axis in above] == list(maps)
    for axis, row in zip(below, table.itertuples(), strict=True):
        assert [bar.get_width() for bar in axis.patches] == pytest.approx(row[2:])
    assert f"stripes: S-GAP 0.500, S-GMP 1.000, S-ADP {table['S-ADP'].iloc[3]:.3f}." in plot.alt


def test_the_sum_grows_with_the_places_and_the_mean_does_not():
    table = a.pooled_sizes((3, 6), channels=16, images=32, weights=3)
    size = table.set_index(["side", "vector"])["size"]
    for side in (3, 6):
        assert size[side, "S-ADP sum"] == pytest.approx(side**2 * size[side, "S-ADP mean"], rel=1e-4)
    assert 3 < size[6, "S-ADP sum"] / size[3, "S-ADP sum"] < 6
    assert 0.7 < size[6, "S-ADP mean"] / size[3, "S-ADP mean"] < 1.5
    assert 0.9 < size[6, "S-GAP"] / size[3, "S-GAP"] < 1.1
    # of the rectified normal: mean 1 / sqrt(2 pi)
    assert size[6, "S-GAP"] == pytest.approx(1 / math.sqrt(2 * math.pi), rel=0.05)
    state = torch.random.get_rng_state()
    assert a.pooled_sizes((3, 6), channels=16, images=32, weights=3).equals(table)
    assert torch.equal(state, torch.random.get_rng_state())


def test_lines_of_the_sizes(whole):
    table = a.pooled_sizes((3, 6), channels=16, images=2, weights=1)
    plot = whole(a.size_lines(table, "the stamp"))
    (axis,) = plot.figure.axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    for name, part in table.groupby("vector"):
        assert drawn[name] == part["size"].tolist()
    assert len({(line.get_marker(), line.get_linestyle()) for line in axis.lines}) == 4
    assert f"S-GAP {table['size'][0]:.3f} at 3×3, " in plot.alt


def test_interaction_is_what_no_sum_of_terms_explains():
    u, v = noise(3, 1), noise(1, 4, seed=1)
    assert a.interaction((u + v).reshape(3, 2, 2)) < 1e-12
    assert a.interaction(torch.tensor([[1.0, -1], [-1, 1]]).reshape(2, 1, 2)) == pytest.approx(1)
    table = noise(3, 4, seed=2).double()
    mean = sum(table.flatten().tolist()) / 12
    rows = [sum(table[i].tolist()) / 4 for i in range(3)]
    columns = [sum(table[:, j].tolist()) / 3 for j in range(4)]
    rest = sum((table[i, j].item() - rows[i] - columns[j] + mean) ** 2 for i in range(3) for j in range(4))
    whole = sum((table[i, j].item() - mean) ** 2 for i in range(3) for j in range(4))
    assert a.interaction(table.reshape(3, 2, 2)) == pytest.approx(rest / whole)


@pytest.mark.parametrize(
    ("logits", "got"),
    [
        (noise(1, 3, 2, 2), "(1, 3, 2, 2)"),
        (noise(3, 4), "(3, 4)"),
        (noise(3, 2, 2).numpy(), "ndarray"),
        ([[[1.0, 2.0]]], "list"),
    ],
)
def test_interaction_is_of_one_image(logits, got):
    with pytest.raises(DidError) as caught:
        a.interaction(logits)
    sentence = "interaction takes the logits of one image, a torch tensor of shape (c, h, w); got "
    assert str(caught.value) == sentence + got


def test_there_is_no_share_of_no_variance():
    assert math.isnan(a.interaction(torch.ones(2, 3, 1)))


def test_added_branches_have_rank_2_and_multiplied_ones_rank_1(whole):
    networks = {}
    for wiring in ("parallel", "sequential"):
        for merge in ("sum", "product"):
            torch.manual_seed(0)
            networks[f"{wiring}, {merge}"] = Attention(12, wiring, merge)
    features = noise(1, 12, 4, 4)
    plot = whole(a.wiring_panels(networks, features, "the stamp"))
    for row in plot.data.itertuples():
        assert row.rank == (2 if "sum" in row.network else 1)
        assert (row.interaction < 1e-12) == ("sum" in row.network)
    assert all(p.dtype == torch.float32 for one in networks.values() for p in one.parameters())
    shown = plot.figure.axes[0].images[0].get_array()
    with torch.no_grad():
        expected = networks["parallel, sum"](features)[0].logit().flatten(1)
    assert np.allclose(shown, expected, atol=1e-4)
    assert "parallel, sum: rank 2, interaction 0.000;" in plot.alt


@pytest.mark.parametrize("merge", ["sum", "product"])
def test_the_descent_is_that_of_the_written_gradient(merge):
    path = a.descend(merge, (0.3, -0.2), 0.5, 3)
    u, v = 0.3, -0.2
    for row in path.itertuples():
        joined = u + v if merge == "sum" else u * v
        opened = 1 / (1 + math.exp(-joined))
        assert (row.u, row.v, row.M) == pytest.approx((u, v, opened))
        # d(-log σ(z))/dz = -(1 - σ(z))
        u, v = (u + 0.5 * (1 - opened) * (1 if merge == "sum" else v),
                v + 0.5 * (1 - opened) * (1 if merge == "sum" else u))  # fmt: skip
    assert list(path.step) == [0, 1, 2, 3]


def test_paths_of_the_merges(whole):
    paths = pd.concat([a.descend(merge, (0.02, -0.01), 0.5, 40) for merge in ("sum", "product")])
    early = paths[paths.step == 10].set_index("merge").M
    assert early["sum"] > 0.8 and early["product"] < 0.51
    plot = whole(a.merge_paths(paths, "the stamp"))
    one, two, steps = plot.figure.axes
    assert (one.get_title(), two.get_title()) == ("M by sum", "M by product")
    for axis, merge, line in ((one, "sum", steps.lines[0]), (two, "product", steps.lines[1])):
        part = paths[paths["merge"] == merge]
        assert list(axis.lines[0].get_xdata()) == part.u.tolist()
        assert list(axis.lines[0].get_ydata()) == part.v.tolist()
        assert list(line.get_ydata()) == part.M.tolist() and line.get_label() == merge
    assert (
        f"sum from {0.5025:.3f} to" in plot.alt
        and f"product from 0.500 to {early['product']:.3f} at step 10" in plot.alt
    )


@pytest.fixture(scope="module")
def runs():
    return pd.concat([a.saturation(pool, factor, 40) for pool, factor in (("sum", 10), ("mean", 1))])


def test_sum_and_a_high_rate_saturate_where_mean_and_a_low_one_do_not(runs):
    last = runs[runs.step == 40].set_index("S-ADP")
    assert last.saturated["sum"] > 0.4 and last.saturated["mean"] < 0.02
    assert (last.loss < runs[runs.step == 0].set_index("S-ADP").loss).all()
    assert last["mean"].between(0.3, 0.8).all(), "the mean tells nothing"
    assert runs[runs["S-ADP"] == "mean"].step.tolist() == list(range(0, 41, 5))


def test_the_toy_starts_from_its_seed():
    state = torch.random.get_rng_state()
    first = a.saturation("sum", 1, 0, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert a.saturation("sum", 10, 0, seed=3).drop(columns="factor").equals(first.drop(columns="factor"))
    assert a.saturation("sum", 1, 0, seed=4).loss[0] != first.loss[0]
    torch.manual_seed(3)
    network = Attention(16)
    features = torch.Generator().manual_seed(3)
    bits = torch.randint(0, 2, (2, 16), generator=features)
    x = torch.randn(16, 16, 7, 7, generator=features)
    for n in range(16):
        for c in range(16):
            x[n, c] += 1 + (0.5 if bits[c // 8, n] else -0.5)
    expected = map_statistics(network(x.relu()))
    assert first.iloc[0]["mean"] == pytest.approx(expected["mean"], abs=1e-5)
    assert first.iloc[0]["images"] == pytest.approx(expected["images"], abs=1e-5)


def test_curves_of_saturation(whole, runs):
    plot = whole(a.saturation_curves(runs, "the stamp"))
    for axis, key in zip(plot.figure.axes, ("saturated", "mean", "images"), strict=True):
        drawn = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
        assert drawn["S-ADP sum, rate × 10"] == runs[runs["S-ADP"] == "sum"][key].tolist()
        assert drawn["S-ADP mean, rate × 1"] == runs[runs["S-ADP"] == "mean"][key].tolist()
    last = runs[(runs.step == 40) & (runs["S-ADP"] == "sum")].iloc[0]
    assert f"after 40 steps. S-ADP sum, rate × 10: saturated share {last.saturated:.3f}, mean" in plot.alt
