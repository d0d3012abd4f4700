import pytest
import torch
from torch import nn

from did.method.backbones import Backbone
from did.method.losses import jsd_mutual_information, marginal_permutation
from did.method.model import DID, Estimator, map_statistics


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DID("test_efficientnet", 5, hidden=16, estimator_channels=16, image_size=64).eval()


@pytest.fixture
def images():
    return torch.rand(6, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def test_every_quantity_of_fig_2_has_its_shape(model, images):
    out = model(images, marginal_permutation(6), beta=0.5)
    for name in "features deepfake_map deepfake other domain_map domain residual".split():
        assert getattr(out, name).shape == (6, 256, 2, 2), name
    assert out.score.shape == (6,)
    assert out.domain_logits.shape == (6, 5)
    assert out.joint_scores.shape == out.marginal_scores.shape == (6,)


def test_decompositions_are_complementary(model, images):
    out = model.double()(images.double())
    assert torch.allclose(out.deepfake + out.other, out.features, rtol=0, atol=1e-12)
    assert torch.allclose(out.domain + out.residual, out.other, rtol=0, atol=1e-12)
    # Eq. 1 and 2 as printed
    assert torch.equal(out.deepfake_map, model.deepfake_attention(out.features))
    assert torch.equal(out.domain_map, model.domain_attention(out.other))
    assert torch.allclose(out.other, (1 - out.deepfake_map) * out.features, rtol=1e-9, atol=1e-12)
    assert torch.allclose(out.residual, (1 - out.domain_map) * out.other, rtol=1e-9, atol=1e-12)
    assert torch.equal(out.deepfake, out.deepfake_map * out.features)
    assert torch.allclose(out.domain, out.domain_map * out.other, rtol=1e-9, atol=1e-12)
    for m in (out.deepfake_map, out.domain_map):
        assert m.min() >= 0
        assert m.max() <= 1
    assert out.deepfake.abs().sum() > 0


def test_the_detector_gives_the_training_graphs_scores(model, images):
    detector = model.detector()
    assert torch.equal(detector(images), model(images).score)
    used = {id(p) for p in detector.parameters()}
    for module in (model.domain_attention, model.domain_classifier, model.estimator):
        assert not used & {id(p) for p in module.parameters()}


def test_permuting_a_batch_permutes_its_scores(model, images):
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(model(images[order]).score, model(images).score[order], rtol=1e-4, atol=1e-6)
    assert model(images).score.std() > 0


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_the_features_descend_what_the_estimator_ascends_scaled_by_beta(model, images, beta):
    partner = torch.arange(6).roll(1)

    def gradients(reversal):
        model.zero_grad()
        out = model(images, partner, reversal)
        (-jsd_mutual_information(out.joint_scores, out.marginal_scores)).backward()
        return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}

    # reversal -1 undoes the GRL: every module then ascends the estimate
    ascent, adversarial = gradients(-1.0), gradients(beta)
    for name, gradient in adversarial.items():
        if name.startswith("estimator"):
            expected = ascent[name]
        elif name.startswith(("backbone", "deepfake_attention")):
            expected = -beta * ascent[name]
        else:
            expected = torch.zeros_like(gradient)
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-7), name
    assert any(ascent[name].abs().sum() > 0 for name in ascent if name.startswith("backbone"))
    assert any(ascent[name].abs().sum() > 0 for name in ascent if name.startswith("deepfake_attention"))


def test_a_step_of_the_estimator_raises_the_estimate(model, images):
    partner = torch.arange(6).roll(1)
    optimizer = torch.optim.SGD(model.estimator.parameters(), lr=0.1)
    before = model(images, partner)
    estimate = jsd_mutual_information(before.joint_scores, before.marginal_scores)
    (-estimate).backward()
    optimizer.step()
    after = model(images, partner)
    assert jsd_mutual_information(after.joint_scores, after.marginal_scores) > estimate


def test_the_estimator_equals_one_that_concatenates():
    torch.manual_seed(0)
    estimator = Estimator(8, 4).double()
    deepfake, other = torch.randn(2, 5, 8, 3, 3, dtype=torch.float64)
    partner = torch.tensor([1, 2, 3, 4, 0])
    first = nn.Conv2d(16, 4, 1).double()
    first.weight.data = torch.cat([estimator.deepfake.weight, estimator.other.weight], 1)
    first.bias.data = estimator.deepfake.bias

    def by_concatenation(a, b):
        x = first(torch.cat([a, b], 1)).relu()
        return estimator.fc(estimator.conv3(estimator.conv2(x).relu()).relu().mean((2, 3))).squeeze(1)

    joint, marginal = estimator(deepfake, other, partner)
    assert torch.allclose(joint, by_concatenation(deepfake, other), atol=1e-12)
    assert torch.allclose(marginal, by_concatenation(deepfake, other[partner]), atol=1e-12)
    assert not torch.allclose(joint, marginal)


def test_ablations():
    torch.manual_seed(0)
    images, partner = torch.rand(4, 1, 64, 64), torch.tensor([1, 2, 3, 0])
    without_dom = DID("test_efficientnet", 3, domain_attention=False)(images)
    assert torch.equal(without_dom.domain, without_dom.other)
    assert without_dom.residual.abs().max() == 0
    assert without_dom.domain_logits.shape == (4, 3)
    dropped = DID("test_efficientnet", 3, domain_attention=False, domain_branch="dropped")
    out = dropped(images, partner)
    assert dropped.domain_classifier is None and out.domain_logits is None
    assert torch.equal(out.domain, out.other) and out.joint_scores.shape == (4,)
    without_t = DID("test_efficientnet", 3, decorrelation=False)(images, partner)
    assert without_t.joint_scores is None
    assert without_t.domain_logits.shape == (4, 3)


def test_flatten_pooling_sees_places():
    torch.manual_seed(0)
    model = DID("test_efficientnet", 3, pooling="flatten", image_size=96, estimator_input="pooled")
    assert model(torch.rand(2, 1, 96, 96), torch.tensor([1, 0])).score.shape == (2,)
    assert model.classifier.layers[0].in_features == 256 * 3 * 3


@pytest.mark.parametrize("name", ["test_efficientnet", "tf_efficientnet_lite0"])
def test_gray_equals_gray_repeated_three_times(name):
    """One channel with summed stem kernels is the RGB network on a repeated gray image."""
    weights = "package" if name == "tf_efficientnet_lite0" else "none"
    torch.manual_seed(0)
    rgb = Backbone(name, weights, in_chans=3).eval()
    torch.manual_seed(0)
    gray = Backbone(name, weights, in_chans=1).eval()
    if weights == "none":
        state = rgb.state_dict()
        stem = next(key for key, value in state.items() if value.ndim == 4 and value.shape[1] == 3)
        state[stem] = state[stem].sum(1, keepdim=True)
        gray.load_state_dict(state)
    images = torch.rand(2, 1, 64, 64)
    expected = rgb(images.repeat(1, 3, 1, 1))
    assert torch.allclose(gray(images), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    assert expected.abs().max() > 0


def test_map_statistics_see_the_ways_of_failing():
    stuck = map_statistics(torch.full((4, 8, 3, 3), 0.5))
    assert (stuck["mean"], stuck["saturated"], stuck["channels"], stuck["images"]) == (0.5, 0, 0, 0)
    mask = (torch.arange(8) % 2).float()[None, :, None, None].expand(4, 8, 3, 3)
    fixed = map_statistics(mask)
    assert fixed["saturated"] == 1
    assert fixed["channels"] > 0.5
    assert fixed["places"] == fixed["images"] == 0
    lively = map_statistics(torch.rand(4, 8, 3, 3, generator=torch.Generator().manual_seed(0)))
    assert lively["images"] > 0.2
    assert lively["places"] > 0.2
