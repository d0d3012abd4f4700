import pytest
import torch

from did.errors import DidError
from did.method.backbones import Backbone
from did.method.task import DIDTask
from did.rivals.bce import BCETask
from did.settings import Settings
from did.training.loop import optimizer_for


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
