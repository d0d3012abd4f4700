"""Which loss reaches which module and with which factor; batches, Algorithm 2 and Adam; and how they are drawn."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle

from did.errors import DidError
from did.method.task import DIDTask, beta
from did.settings import Settings
from did_book.chapters import together as flow


def task(**changes):
    torch.manual_seed(0)
    return DIDTask(Settings.preset("smoke", **changes), 5)


@pytest.fixture(scope="module")
def halfway():
    return flow.gradient_flow(task(), flow.stripes(0), 0.5)


def cells(table, state):
    return {(row.term, row.module) for row in table[table.state == state].itertuples()}


def test_sizes_are_of_a_preset():
    assert flow.sizes("smoke")["iterations"] < flow.sizes("laptop")["iterations"]
    with pytest.raises(DidError, match="unknown preset 'labtop': did you mean 'laptop'"):
        flow.sizes("labtop")


def test_stripes_are_a_batch_with_equal_domains():
    batch = flow.stripes(3, size=10, side=32)
    assert batch["image"].shape == (10, 1, 32, 32) and batch["image"].dtype == torch.float32
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert batch["domain"].tolist() == [0, 1, 2, 3, 4] * 2
    assert batch["label"].tolist() == [0, 1, 1, 1, 1] * 2
    assert torch.equal(batch["image"], flow.stripes(3, size=10, side=32)["image"])
    assert not torch.equal(batch["image"], flow.stripes(4, size=10, side=32)["image"])


def test_stripes_mark_the_forged_ones_and_leave_the_real_ones_alone():
    noise = torch.rand(5, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    left = flow.stripes(0, size=5)["image"] - 0.8 * noise - 0.1
    assert left[0].abs().max() < 1e-6
    assert all(image.abs().max() == pytest.approx(0.1, rel=1e-2) for image in left[1:])
    spectra = torch.fft.rfft2(left[1:, 0]).abs().flatten(1).argmax(1)
    assert len(set(spectra.tolist())) == 4  # a direction of its own for each


def test_real_images_in_a_batch_against_the_hypergeometric():
    shares = flow.real_in_batches(1500, (1000,) * 5, 15, seed=1)
    assert shares.groupby("sampler").share.sum().tolist() == pytest.approx([1, 1])
    of = {name: part.share.to_numpy() for name, part in shares.groupby("sampler")}
    assert of["balanced"][3] == 1
    for real in range(16):
        exact = math.comb(1000, real) * math.comb(4000, 15 - real) / math.comb(5000, 15)
        assert of["uniform"][real] == pytest.approx(exact, abs=4 * math.sqrt(exact / 1500) + 1e-3)


def test_the_bars_of_real_images(whole):
    shares = flow.real_in_batches(200)
    plot = whole(flow.real_bars(shares, "the stamp"))
    pd.testing.assert_frame_equal(plot.data, shares)
    heights = sorted(bar.get_height() for bar in plot.figure.axes[0].patches)
    assert heights == pytest.approx(sorted(shares.share))
    none = shares[(shares.sampler == "uniform") & (shares.real == 0)].share.item()
    assert "balanced, 3.000 on average and none in a share of 0.000" in plot.alt
    assert f"none in a share of {none:.3f} of the batches." in plot.alt


def test_factors_are_those_of_the_two_readings():
    table = flow.factors((0.0, 0.5, 1.0))
    assert len(table) == 12
    for row in table.to_dict("records"):
        b = 2 / (1 + math.exp(-5 * row["progress"])) - 1
        literal, text = row["estimator_weight"] == "lambda_dec", row["adversary"] == "grl"
        assert row["beta"] == pytest.approx(b)
        assert row["T's loss"] == (0.01 if literal else 1.0)
        assert row["G and A_df"] == pytest.approx(0.01 * b if text else 0.01)
        assert row["T's rate"] == pytest.approx(1.0 if text else b)
    assert flow.factors([1.0], Settings(lambda_dec=0.5))["G and A_df"].iloc[0] == pytest.approx(0.5 * beta(1.0))


def test_the_curves_of_the_factors(whole):
    table = flow.factors(np.linspace(0, 1, 11))
    plot = whole(flow.factor_curves(table, "the stamp"))
    first, features, rate = plot.figure.axes
    x = np.linspace(0, 1, 11)
    b = 2 / (1 + np.exp(-5 * x)) - 1
    assert first.lines[0].get_ydata() == pytest.approx(b)
    assert features.lines[0].get_ydata() == pytest.approx(0.01 * b)
    assert features.lines[1].get_ydata() == pytest.approx([0.01] * 11)
    assert rate.lines[0].get_ydata() == pytest.approx([1] * 11)
    assert rate.lines[1].get_ydata() == pytest.approx(b)
    assert "β rises from 0.000 to 0.987" in plot.alt
    assert "under grl the factor of G and A_df from 0.000 to 0.010 and of T's rate from 1.000 to 1.000" in plot.alt
    assert "under eq12 the factor of G and A_df from 0.010 to 0.010 and of T's rate from 0.000 to 0.987" in plot.alt


def test_which_loss_reaches_which_module(halfway):
    assert cells(halfway, "reaches") == {
        ("cls", "G"), ("cls", "A_df"), ("cls", "C"),
        ("dom", "G"), ("dom", "A_df"), ("dom", "A_dom"), ("dom", "C̄"),
        ("dec", "G"), ("dec", "A_df"), ("dec", "T"),
    }  # fmt: skip
    assert not cells(halfway, "zero") and not cells(halfway, "absent")
    assert ((halfway.norm > 0) == (halfway.state == "reaches")).all()


def test_the_norms_against_one_backward_pass_a_term(halfway):
    for term in flow.TERMS:
        module = task()
        module(flow.stripes(0), 0.5, 0).terms[term].backward()
        for name, attribute in flow.MODULES.items():
            total = 0.0
            for parameter in getattr(module.model, attribute).parameters():
                if parameter.grad is not None:
                    for value in parameter.grad.flatten().tolist():
                        total += value**2
            found = halfway[(halfway.term == term) & (halfway.module == name)].norm.item()
            assert found == pytest.approx(math.sqrt(total), rel=1e-3, abs=1e-12), (term, name)


def test_at_the_start_the_path_is_there_and_blocked():
    start = flow.gradient_flow(task(), flow.stripes(0), 0.0)
    assert cells(start, "zero") == {("dec", "G"), ("dec", "A_df")}
    assert ("dec", "T") in cells(start, "reaches")
    printed = flow.gradient_flow(task(adversary="eq12"), flow.stripes(0), 0.0)
    assert not cells(printed, "zero")  # under Eq. 12 the features get their gradient from the first step


def test_what_an_ablation_takes_away():
    without_t = flow.gradient_flow(task(decorrelation=False), flow.stripes(0))
    assert {module for _, module in cells(without_t, "absent")} == set(flow.MODULES)
    assert {term for term, module in cells(without_t, "absent") if module != "T"} == {"dec"}
    without_a = flow.gradient_flow(task(domain_attention=False), flow.stripes(0))
    assert cells(without_a, "absent") == {(term, "A_dom") for term in flow.TERMS}
    assert ("dom", "A_df") in cells(without_a, "reaches")


def test_looking_changes_no_weight_and_leaves_no_gradient():
    module = task()
    before = [parameter.clone() for parameter in module.parameters()]
    flow.gradient_flow(module, flow.stripes(0))
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_matrix_shows_each_state(whole, halfway):
    flows = {
        "start": flow.gradient_flow(task(), flow.stripes(0), 0.0),
        "halfway": halfway,
        "without T": flow.gradient_flow(task(decorrelation=False), flow.stripes(0)),
    }
    plot = whole(flow.flow_matrix(flows, "the stamp"))
    assert len(plot.data) == 3 * 18 and plot.data.panel.drop_duplicates().tolist() == list(flows)
    for axis, (title, table) in zip(plot.figure.axes, flows.items(), strict=True):
        assert axis.get_title() == title
        assert [tick.get_text() for tick in axis.get_xticklabels()] == list(flow.MODULES)
        drawn = {(round(p.get_x() + 0.5), round(p.get_y() + 0.5)): p for p in axis.patches if isinstance(p, Rectangle)}
        texts = {(round(t.get_position()[0]), round(t.get_position()[1])): t.get_text() for t in axis.texts}
        for row in table.itertuples():
            place = list(flow.MODULES).index(row.module), flow.TERMS.index(row.term)
            hatch = {"zero": "...", "absent": "///"}.get(row.state)
            assert (drawn[place].get_hatch() or None) == hatch
            assert texts.get(place) == {"reaches": f"{row.norm:.2g}", "zero": "0"}.get(row.state)
    assert "blocked: dec on its way to G, dec on its way to A_df" in plot.alt
    norm = halfway[(halfway.term == "cls") & (halfway.module == "C")].norm.item()
    assert f"C ({norm:.3f})" in plot.alt
    assert "without T: cls reaches G" in plot.alt and "dec reaches" not in plot.alt.split("without T:")[1]


def test_beta_scales_what_reaches_the_features_and_spares_t():
    table = flow.shares_of_dec(task(), flow.stripes(0), (0.0, 0.1, 0.5, 1.0))
    assert table.index.tolist() == [0.0, 0.1, 0.5, 1.0]
    for progress, row in table.iterrows():
        share = beta(progress) / beta(1.0)
        assert row["beta"] == beta(progress)
        assert row["G"] == pytest.approx(share, rel=1e-3)
        assert row["A_df"] == pytest.approx(share, rel=1e-3)
        assert row["T"] == pytest.approx(1.0, rel=1e-6)


def test_algorithm_2_learns_and_is_the_same_twice():
    settings = Settings.preset("smoke")
    history = flow.algorithm_2(settings, 12)
    assert history.iteration.tolist() == list(range(12))
    assert history.cls.tail(3).mean() < 0.93 * history.cls.head(3).mean()
    assert history.beta.tolist() == pytest.approx([beta(i / 12) for i in range(12)])
    pd.testing.assert_frame_equal(flow.algorithm_2(settings, 2), flow.algorithm_2(settings, 2))


def test_under_eq_12_t_takes_no_first_step():
    """The second estimate tells: only under the text's reading has T moved after the first iteration."""
    moved = {}
    for adversary in ("grl", "eq12"):
        settings = Settings.preset("smoke", adversary=adversary, lr=1e-12, estimator_rate=1e11)  # T's rate is .1
        moved[adversary] = flow.algorithm_2(settings, 2).estimate
    assert moved["grl"][0] == pytest.approx(moved["eq12"][0], rel=1e-6)
    assert abs(moved["grl"][1] - moved["eq12"][1]) > 1e-3


def test_the_curves_of_the_readings(whole):
    first = pd.DataFrame({"iteration": [0, 1], "cls": [1.0, 0.5], "dom": [1.6, 1.2], "estimate": [-1.386, -1.1]})
    second = first.assign(cls=[1.0, 0.25])
    plot = whole(flow.reading_curves({"grl": first, "eq12": second}, "the stamp"))
    assert [list(axis.lines[1].get_ydata()) for axis in plot.figure.axes] == [[1.0, 0.25], [1.6, 1.2], [-1.386, -1.1]]
    assert "grl: cls from 1.000 to 0.500, dom from 1.600 to 1.200, estimate from -1.386 to -1.100" in plot.alt
    assert plot.data.reading.tolist() == ["grl", "grl", "eq12", "eq12"]


def adam_by_hand(scale, weight_decay, steps, lr=1e-3):
    """The chain and Adam in plain numbers; the gradient of the product by the product of the others."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, generator=generator).double().numpy()
    noise = torch.randn(512, generator=generator).double().numpy()
    sign = np.sign(0.5 * x + math.sqrt(0.75) * noise)
    w, m, v, norms = [0.5] * 4, [0.0] * 4, [0.0] * 4, []
    for step in range(1, steps + 1):
        norms.append(math.sqrt(sum(each**2 for each in w)))
        product = math.prod(w)
        outer = float((-sign * x / (1 + np.exp(sign * x * product))).mean())
        gradients = [scale * outer * math.prod(w[:i] + w[i + 1 :]) + weight_decay * w[i] for i in range(4)]
        for i, g in enumerate(gradients):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            w[i] -= lr * (m[i] / (1 - 0.9**step)) / (math.sqrt(v[i] / (1 - 0.999**step)) + 1e-8)
    return norms


@pytest.mark.parametrize(("scale", "weight_decay"), [(1.0, 0.0), (0.01, 0.0), (1.0, 5e-4), (0.01, 5e-4)])
def test_the_chain_is_adam_on_a_product(scale, weight_decay):
    path = flow.chain(scale, weight_decay, 80)
    assert path.norm.tolist() == pytest.approx(adam_by_hand(scale, weight_decay, 80), rel=2e-3)


def test_adam_minds_the_scale_of_the_loss_only_with_coupled_decay():
    ends = {(s, d): flow.chain(s, d, 250).iloc[-1] for s in (1.0, 0.01) for d in (0.0, 5e-4)}
    assert ends[0.01, 0.0].norm == pytest.approx(ends[1.0, 0.0].norm, rel=1e-2)
    assert ends[1.0, 5e-4].norm == pytest.approx(ends[1.0, 0.0].norm, rel=1e-2)
    assert ends[0.01, 5e-4].norm < 0.6 < 1 < ends[1.0, 0.0].norm
    assert ends[0.01, 5e-4].loss == pytest.approx(math.log(2), abs=2e-3)  # dying: it says nothing
    assert ends[1.0, 0.0].loss < math.log(2) - 0.03
    assert flow.chain(0.01, 5e-4, 250, decoupled=True).iloc[-1].norm > 1


def test_the_curves_of_the_chains(whole):
    paths = {"alive": flow.chain(1.0, 0.0, 5), "dying": flow.chain(0.01, 5e-4, 5)}
    plot = whole(flow.chain_curves(paths, "the stamp"))
    for line, path in zip(plot.figure.axes[0].lines, paths.values(), strict=True):
        assert list(line.get_ydata()) == path.norm.tolist()
    assert plot.figure.axes[1].lines[1].get_ydata() == pytest.approx(paths["dying"].loss)
    assert f"dying: norm from 1.000 to {paths['dying'].norm.iloc[-1]:.3f}" in plot.alt
    assert plot.data.chain.tolist() == ["alive"] * 5 + ["dying"] * 5
