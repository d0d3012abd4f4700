"""Settings of the machine: memory and precision without another loss, gradient or statistic than they say."""

import shutil
from collections import Counter
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from did.errors import DidError
from did.method.backbones import Backbone, Machine, steady_statistics
from did.method.task import DIDTask
from did.rivals.bce import BCETask
from did.rivals.f3net import F3NetTask
from did.settings import Settings
from did.training.loop import fit, optimizer_for, read_state, train_step, write_state
from did.training.runs import split_faces
from did.utils import distributed

TASKS = {DIDTask: "test_efficientnet", BCETask: "test_resnet", F3NetTask: "test_resnet"}


def batch() -> dict[str, torch.Tensor]:
    return {
        "image": torch.rand(15, 1, 64, 64, generator=torch.Generator().manual_seed(0)),
        "label": torch.tensor([0, 1, 1, 1, 1] * 3),
        "domain": torch.tensor([0, 1, 2, 3, 4] * 3),
    }


def task_of(kind: type, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return kind(Settings.preset("smoke", **{"backbone": TASKS[kind], **changes}), 5).train()


def stepped(task: nn.Module) -> tuple[dict[str, float], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Terms, gradients and buffers after the loop's own step."""
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = fabric.setup(task, optimizer_for(task))
    step = train_step(fabric, module, optimizer, lambda: module(batch(), 0.6, 5))
    gradients = {name: p.grad for name, p in task.named_parameters() if p.grad is not None}
    return {name: term.item() for name, term in step.terms.items()}, gradients, dict(task.named_buffers())


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(a[name].float(), b[name].float(), rtol=1e-4, atol=1e-6), name


class Operations(TorchDispatchMode):
    """Counts what is dispatched: on a GPU each of them starts a kernel or more, or reads a number from it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen[str(function)] += 1
        return function(*args, **(kwargs or {}))


def operations(task: nn.Module, fused: bool) -> Counter[str]:
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = fabric.setup(task, optimizer_for(task, fused))

    def step() -> None:
        train_step(fabric, module, optimizer, lambda: module(batch(), 0.6, 5, False))

    step()  # The first one makes Adam's moments.
    with Operations() as counted:
        step()
    return counted.seen


def test_a_step_between_logged_iterations_reads_no_number_and_starts_few_kernels():
    """With Adam in one kernel: 1087 operations for DID, 607 for BCE; without, 3099 and 2093."""
    did, bce = (operations(task_of(kind, backbone="tf_efficientnet_lite0"), True) for kind in (DIDTask, BCETask))
    for seen in (did, bce):
        assert not {name for name in seen if "_local_scalar_dense" in name or "nonzero" in name}
    assert did.total() < 2 * bce.total()
    assert bce.total() < 0.4 * operations(task_of(BCETask, backbone="tf_efficientnet_lite0"), False).total()


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_in_one_kernel_takes_the_same_steps_and_goes_on_from_a_state(optimizer, tmp_path):
    found = []
    for fused in (False, True):
        task = task_of(BCETask, optimizer=optimizer)
        fabric = Fabric(accelerator="cpu", devices=1)
        module, adam = fabric.setup(task, optimizer_for(task, fused))
        for number in range(4):
            if number == 2:  # Written and read in between.
                write_state(tmp_path / "state", task, adam, {"iteration": 2})
                task = task_of(BCETask, optimizer=optimizer)
                module, adam = fabric.setup(task, optimizer_for(task, fused))
                read_state(tmp_path / "state", task, adam)
            train_step(fabric, module, adam, lambda: module(batch(), 0.6, 5))  # noqa: B023
        assert {int(moments["step"]) for moments in adam.state.values()} == {4}
        found.append(torch.cat([value.detach().flatten() for value in task.parameters()]))
    start = torch.cat([value.detach().flatten() for value in task_of(BCETask).parameters()])
    assert (found[1] - found[0]).norm() < 0.01 * (found[0] - start).norm()


@pytest.mark.parametrize("kind", TASKS)
def test_recomputing_changes_no_loss_gradient_or_statistic(kind):
    plain, again = stepped(task_of(kind)), stepped(task_of(kind, recompute=True))
    assert again[0] == pytest.approx(plain[0], rel=1e-6)
    close(again[1], plain[1])
    close(again[2], plain[2])
    assert {int(buffer) for name, buffer in again[2].items() if name.endswith("num_batches_tracked")} == {1}


def test_without_care_recomputing_would_count_a_batch_twice():
    backbone = Backbone("test_efficientnet", machine=Machine(recompute=True)).train()
    counted = next(buffer for name, buffer in backbone.named_buffers() if name.endswith("blocks.0.0.bn1.running_mean"))
    features = backbone(batch()["image"])
    once = counted.clone()
    with steady_statistics(backbone):
        features.sum().backward(retain_graph=False)
    assert torch.equal(counted, once)
    backbone(batch()["image"]).sum().backward()
    features = backbone(batch()["image"])
    once = counted.clone()
    features.sum().backward()
    assert not torch.equal(counted, once)


class Parts(nn.Module):
    """A backbone that plainly sees one part of the batch after the other."""

    def __init__(self, backbone: Backbone, parts: int) -> None:
        super().__init__()
        self.body, self.mean, self.std, self.channels = backbone.body, backbone.mean, backbone.std, backbone.channels
        self.parts = parts

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = (images - self.mean) / self.std
        return torch.cat([self.body.forward_features(part) for part in images.tensor_split(self.parts)])


@pytest.mark.parametrize("parts", [3, 4])
def test_accumulating_is_a_batch_in_parts_with_the_loss_of_the_whole(parts):
    reference = task_of(DIDTask)
    reference.model.backbone = Parts(reference.model.backbone, parts)
    expected, found = stepped(reference), stepped(task_of(DIDTask, accumulate=parts))
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    close(found[1], expected[1])
    buffers = {name: buffer for name, buffer in found[2].items() if name.split(".")[-1] not in ("mean", "std")}
    close(buffers, {name: expected[2][name] for name in buffers})
    assert {int(b) for name, b in buffers.items() if name.endswith("num_batches_tracked")} == {parts}


def held(task: nn.Module) -> int:
    """Bytes that a forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step = task(batch(), 0.6, 5)
    return sum(kept.values()) if step else 0


@pytest.mark.parametrize("changes", [{"accumulate": 3}, {"recompute": True}, {"precision": "bf16"}], ids=str)
def test_less_is_held_for_the_backward_pass(changes):
    assert held(task_of(DIDTask, **changes)) < 0.8 * held(task_of(DIDTask))


@pytest.mark.parametrize("kind", TASKS)
def test_bf16_is_the_backbone_in_training_alone(kind):
    task, plain = task_of(kind, precision="bf16"), task_of(kind)
    seen, convolution = [], next(m for m in task.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
    convolution.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    step, exact = task(batch(), 0.6, 5), plain(batch(), 0.6, 5)
    assert seen == [torch.bfloat16]
    for name, term in exact.terms.items():
        assert step.terms[name].dtype == torch.float32
        assert step.terms[name].item() == pytest.approx(term.item(), rel=0.03)
        assert step.terms[name].item() != term.item() or name == "dec"
    if kind is DIDTask:
        inputs = []
        task.model.estimator.fc.register_forward_hook(lambda *given: inputs.append(given[1][0].dtype))
        task(batch(), 0.6, 5)
        assert inputs == [torch.float32]
    # In evaluation it is float32.
    task.load_state_dict(plain.state_dict())
    seen.clear()
    with torch.no_grad():
        assert torch.equal(task.detector().eval()(batch()["image"]), plain.detector().eval()(batch()["image"]))
    assert seen == [torch.float32]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TASKS)
def test_compiled_it_is_the_same(kind):
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("needs a compiler")
    plain, compiled = stepped(task_of(kind)), stepped(task_of(kind, compile=True))
    assert compiled[0] == pytest.approx(plain[0], rel=1e-4)
    for name, gradient in plain[1].items():
        # Normalised small statistics enlarge what rounding differs by.
        assert (compiled[1][name] - gradient).abs().max() < 0.02 * gradient.abs().max() + 1e-6, name


def test_a_run_with_them_trains_and_is_tested_by_plain_float32(tiny_source, tiny_settings, tmp_path):
    faces = split_faces(tiny_source[1], tiny_settings)
    more = {"precision": "bf16", "accumulate": 2, "recompute": True, "iterations": 4, "validate_every": 2}
    settings = Settings.of({**tiny_settings.as_dict(), **more})
    torch.manual_seed(0)
    history = fit(DIDTask(settings, 5), faces["train"], faces["val"], tmp_path, progress=False)
    assert history["cls"].notna().sum() == 4 and history["validation AUC"].notna().sum() == 2


def test_what_cannot_be_is_one_sentence(tiny_source, tiny_settings, tmp_path, monkeypatch):
    with pytest.raises(DidError, match=r"'legacy_xception' again: take recompute = False, and accumulate"):
        Backbone("legacy_xception", machine=Machine(recompute=True))
    with pytest.raises(DidError, match=r"2 images cannot be cut into accumulate = 3 parts"):
        Backbone("test_efficientnet", machine=Machine(accumulate=3)).train()(torch.zeros(2, 1, 64, 64))
    faces = split_faces(tiny_source[1], tiny_settings)
    task = DIDTask(Settings.of({**tiny_settings.as_dict(), "compile": True}), 5)
    monkeypatch.setattr(distributed, "ranks", lambda: 2)
    with pytest.raises(DidError, match="compile = True is for one device"):
        fit(task, faces["train"], faces["val"], tmp_path, progress=False)
