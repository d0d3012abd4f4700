import time

import pytest
import torch

from did.backbones import Backbone
from did.errors import DidError


def test_packaged_weights_are_imagenets_and_all_of_them():
    body = Backbone("tf_efficientnet_lite0", "package").body
    random = Backbone("tf_efficientnet_lite0").body
    for name, value in body.state_dict().items():
        if value.ndim == 4:
            assert not torch.equal(value, random.state_dict()[name]), name
    assert body.bn2.running_mean.abs().sum() > 0  # filled by training on ImageNet, zero in a new network


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
    monkeypatch.setattr("did.backbones._reachable", lambda url: False)
    start = time.monotonic()
    with pytest.raises(DidError, match=r"'timm/resnet50.*' of 'resnet50'.*hub.*package, none"):
        Backbone("resnet50", "hub")
    assert time.monotonic() - start < 2


def test_a_weights_file_is_loaded_and_a_foreign_one_refused(tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    donor = timm.create_model("test_efficientnet", in_chans=3)
    save_file(donor.state_dict(), tmp_path / "donor.safetensors")
    loaded = Backbone("test_efficientnet", str(tmp_path / "donor.safetensors"), in_chans=3)
    assert torch.equal(loaded.body.conv_stem.weight, donor.conv_stem.weight)
    save_file({"other": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DidError, match=r"foreign\.safetensors does not fit backbone 'test_efficientnet'"):
        Backbone("test_efficientnet", str(tmp_path / "foreign.safetensors"))
