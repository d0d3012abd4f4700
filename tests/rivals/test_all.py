"""What holds for every rival and control: parts that learn, a batch learnt by heart, scores in any order."""

import pkgutil

import pytest
import torch
from batches import batch

import did.rivals
from did import evaluation
from did.predict.exporting import write_onnx
from did.settings import Settings
from did.task import options_of, task_named, task_names

#: Smaller than a rival's own, where that would be slow.
SMALL = {"noisedf": {"blocks": 1, "width": 16}, "fdml": {"narrow": 32}, "dire": {"side": 16, "width": 16, "passes": 2}}
TASKS = [name for name in task_names() if task_named(name).__module__.startswith("did.rivals.")]
each_task = pytest.mark.parametrize("name", TASKS)


def task_of(name):
    torch.manual_seed(0)
    kind = task_named(name)
    return kind(Settings.preset("smoke"), 5, options_of(kind, SMALL.get(name, {})))


def given(task, of):
    names = ["image", "context"] if task.wants.context is not None else ["image"]
    return [of[name] for name in names]


def test_every_module_of_the_rivals_registers_a_task():
    modules = {module.name for module in pkgutil.iter_modules(did.rivals.__path__)} - {"cutting"}
    assert {task_named(name).__module__.rsplit(".", 1)[1] for name in TASKS} == modules


@each_task
def test_a_gradient_reaches_every_part_that_learns(name):
    task = task_of(name)
    taken = [p for group in task.parameter_groups() for p in group["params"]]
    learning = [p for p in task.parameters() if p.requires_grad]
    assert sorted(map(id, taken)) == sorted(map(id, learning))
    for progress in (0.0, 0.99):  # a rival may train in two stages
        task(batch(task.wants), progress, 0).total.backward()
    assert [key for key, p in task.named_parameters() if p.requires_grad and p.grad is None] == []
    for child, part in task.named_children():
        own = [p for p in part.parameters() if p.requires_grad]
        assert not own or any(p.grad.abs().sum() > 0 for p in own), child


@each_task
def test_the_order_of_a_batch_does_not_change_a_score(name):
    task = task_of(name).eval()
    images, order = given(task, batch(task.wants, 6)), torch.randperm(6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = task.detector()(*images)
        alone = torch.cat([task.detector()(*(one[i : i + 1] for one in images)) for i in range(6)])
        turned = task.detector()(*(one[order] for one in images))
    assert scores.shape == (6,) and torch.isfinite(scores).all() and scores.std() > 0
    assert torch.allclose(scores[order], turned, atol=1e-4) and torch.allclose(scores, alone, atol=1e-4)


@each_task
def test_the_same_seed_gives_the_same_losses(name):
    task = task_of(name)
    of = batch(task.wants)
    found = []
    for _ in range(2):
        torch.manual_seed(3)  # dropout; the loop seeds it for each iteration
        found.append(task_of(name)(of, 0.5, 7).losses)
    assert found[0] == found[1] and all(value == value for value in found[0].values())


@each_task
def test_one_batch_is_learnt_by_heart(name):
    task = task_of(name)
    of = batch(task.wants, 5)
    optimizer = torch.optim.Adam([p for p in task.parameters() if p.requires_grad], 3e-3)
    steps = 120 if name in ("cffs", "dire") else 60  # two stages
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        task(of, step / steps, step).total.backward()
        optimizer.step()
    images, labels = given(task, of), of["label"]
    if task.wants.blended:
        images, labels = [torch.cat([of["image"], of["blended"]])], torch.arange(2).repeat_interleave(5)
    with torch.no_grad():
        scores = task.eval().detector()(*images)
    assert evaluation.auc(labels, scores) == 1.0


@each_task
def test_the_domains_it_names_are_those_of_the_data(name):
    task = task_of(name).eval()
    graph = task.domain_graph()
    if graph is not None:
        with torch.no_grad():
            assert graph(batch(task.wants, 4)["image"]).shape == (4, 5)


@pytest.mark.slow
@each_task
def test_its_detector_is_written_as_onnx_or_it_is_known_why_not(name, tmp_path):
    task = task_of(name)
    if task.no_graph or task.wants.frames > 1 or task.wants.context is not None:
        return  # `did export` says so, see tests/predict
    write_onnx(task.detector(), 64, tmp_path / "x.onnx", task.wants.channels)
    assert (tmp_path / "x.onnx").is_file()
