"""Cutting a backbone in three and widening its stem."""

import pytest
import torch

from did.errors import DidError
from did.method.backbones import Backbone
from did.rivals.cutting import cut, widen


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
