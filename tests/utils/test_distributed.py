"""Two processes on the CPU against one with the whole batch: scores, losses, gradients, statistics, weights."""

import dataclasses
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from did.errors import DidError
from did.method.task import DIDTask
from did.rivals.bce import BCETask
from did.rivals.f3net import F3NetTask
from did.settings import Settings
from did.training import runs
from did.utils import distributed

fresh = multiprocessing.get_context("forkserver")
fresh.set_forkserver_preload(["did.training.runs", "pytest", "timm.layers"])


#: A group as NCCL's on a machine with GPUs: collectives on CPU tensors fail in it. That needs no GPU.
GPUS_ONLY = "cuda:gloo"


def member(rank: int, ranks: int, place: Path, backend: str, function: Any, arguments: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(backend, init_method=f"file://{place / 'meet'}", rank=rank, world_size=ranks)
    torch.save(function(*arguments), place / f"{rank}.pt")
    dist.destroy_process_group()


def on_two(place: Path, function: Any, *arguments: Any, backend: str = "gloo") -> list[Any]:
    """What `function` gives in each of two processes."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    children = [fresh.Process(target=member, args=(rank, 2, place, backend, function, arguments)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0, 0]
    return [torch.load(place / f"{rank}.pt") for rank in range(2)]


# --- the pieces -----------------------------------------------------------------------------------------------------


def test_shares_follow_each_other_and_differ_by_one(monkeypatch):
    assert distributed.share(15) == slice(0, 15)
    for ranks in (2, 4, 7):
        monkeypatch.setattr(distributed, "ranks", lambda ranks=ranks: ranks)
        parts = []
        for rank in range(ranks):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            parts.append(list(range(15))[distributed.share(15)])
        assert [row for part in parts for row in part] == list(range(15))
        assert {len(part) for part in parts} <= {15 // ranks, 15 // ranks + 1}
    with pytest.raises(DidError, match="3 images cannot be shared by 7 processes"):
        distributed.share(3)


def gathered() -> dict[str, Any]:
    rank = distributed.rank()
    rows = (torch.arange(5.0 * 3).view(5, 3) + 100)[distributed.share(5)].requires_grad_()
    everything = distributed.gather(rows)
    (everything * (torch.arange(15.0).view(5, 3) + rank)).sum().backward()  # each rank has a loss of its own
    labels = distributed.gather(torch.arange(5)[distributed.share(5)])
    distributed.wait()
    return {"rows": everything.detach(), "gradient": rows.grad, "labels": labels, "first": distributed.of_first(rank)}


@pytest.mark.parametrize("backend", ["gloo", GPUS_ONLY])
def test_gathered_rows_are_in_order_and_gradients_of_all_losses_come_back(tmp_path, backend):
    found = on_two(tmp_path, gathered, backend=backend)
    for each in found:
        assert torch.equal(each["rows"], torch.arange(15.0).view(5, 3) + 100)
        assert torch.equal(each["labels"], torch.arange(5)) and each["labels"].dtype == torch.long
        assert each["first"] == 0
    gradient = torch.cat([each["gradient"] for each in found])
    assert torch.equal(gradient, 2 * torch.arange(15.0).view(5, 3) + 1)


def norms() -> list[nn.Module]:
    torch.manual_seed(0)
    several = [nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=None), BatchNormAct2d(4, act_layer=nn.SiLU)]
    for norm in several:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return several


def normalised(joint: bool) -> list[dict[str, Any]]:
    x = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double) * 3 + 20
    towards = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    own = distributed.share(5) if joint else slice(None)
    found = []
    for norm in norms():
        distributed.join_batch_norms(norm.double())
        x_own = x[own].clone().requires_grad_()
        for _ in range(2):  # the statistics move twice
            norm.zero_grad()
            x_own.grad = None
            y = norm(x_own)
            (y * towards[own]).sum().backward()
        found.append({"y": y.detach(), "x": x_own.grad, **{n: p.grad for n, p in norm.named_parameters()},
                      "buffers": dict(norm.named_buffers()), "eval": norm.eval()(x).detach()})  # fmt: skip
    return found


def test_batch_normalisation_over_two_processes_is_that_of_the_whole_batch(tmp_path):
    whole, (first, second) = normalised(joint=False), on_two(tmp_path, normalised, True)
    for one, a, b in zip(whole, first, second, strict=True):
        for key in ("y", "x"):
            assert torch.allclose(torch.cat([a[key], b[key]]), one[key], rtol=1e-9, atol=1e-10), key
        for key in ("weight", "bias"):
            assert torch.allclose(a[key] + b[key], one[key], rtol=1e-9, atol=1e-10), key
        for each in (a, b):
            for name, buffer in one["buffers"].items():
                assert torch.allclose(each["buffers"][name], buffer, rtol=1e-9), name
            assert torch.allclose(each["eval"], one["eval"], rtol=1e-9)


def test_on_one_process_nothing_is_replaced():
    norm = nn.BatchNorm2d(3)
    distributed.join_batch_norms(norm)
    assert "forward" not in vars(norm)
    rows = torch.zeros(3)
    assert distributed.gather(rows) is rows and distributed.all_sum(rows) is rows
    loader = torch.utils.data.DataLoader([1, 2])
    assert distributed.shared(loader) is loader


# --- a step of each task --------------------------------------------------------------------------------------------

TASKS = {"did": DIDTask, "bce": BCETask, "f3net": F3NetTask}


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(15, 1, 64, 64, generator=generator, dtype=torch.double),
        "label": torch.tensor([0, 1, 1, 1, 1] * 3),
        "domain": torch.tensor([0, 1, 2, 3, 4] * 3),
    }


def step(task: str, changes: dict[str, Any], joint: bool) -> dict[str, Any]:
    """Terms, values, gradients and buffers after one step of all tasks, in double precision."""
    torch.manual_seed(0)
    module: nn.Module = TASKS[task](Settings.preset("smoke", **changes), 5).double().train()
    given, called = batch(), module
    if joint:
        distributed.join_batch_norms(module)
        own = distributed.share(15)
        given, called = {name: rows[own] for name, rows in given.items()}, DistributedDataParallel(module)
    result = called(given, 0.6, 5, True)
    result.total.backward()
    return {
        "terms": {name: term.item() for name, term in result.terms.items()},
        "values": result.values,
        "gradients": {name: p.grad for name, p in module.named_parameters() if p.grad is not None},
        "buffers": dict(module.named_buffers()),
    }


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("did", {}),
        ("did", {"estimator_weight": "lambda_dec", "wiring": "sequential", "recompute": True}),
        ("bce", {}),
        ("f3net", {"backbone": "test_resnet"}),
    ],
    ids=["did", "did recomputed", "bce", "f3net"],
)
def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path, task, changes):
    one, several = step(task, changes, joint=False), on_two(tmp_path, step, task, changes, True)
    assert len(one["gradients"]) > 20
    if task == "did":
        assert any(name.startswith("model.estimator") for name in one["gradients"])
        assert any(name.startswith("model.backbone") for name in one["gradients"])
        assert {"M_df images", "gradient from C", "gradient from T", "auc loss"} <= set(one["values"])
    for each in several:
        assert each["terms"] == pytest.approx(one["terms"], rel=1e-9)
        assert each["values"] == pytest.approx(one["values"], rel=1e-5)  # the maps' statistics are float32
        assert each["gradients"].keys() == one["gradients"].keys()
        for name, gradient in one["gradients"].items():
            assert torch.allclose(each["gradients"][name], gradient, rtol=1e-6, atol=1e-9), name
        if "recompute" not in changes:  # else `steady_statistics`, which the loop uses, has to put them right
            for name, buffer in one["buffers"].items():
                assert torch.allclose(each["buffers"][name], buffer, rtol=1e-6), name


def test_with_accumulation_the_processes_agree(tmp_path):
    """Part i of the whole batch is then part i of each process: no order of one process's rows gives the same parts."""
    first, second = on_two(tmp_path, step, "did", {"accumulate": 3}, True)
    assert first["terms"] == pytest.approx(second["terms"], rel=1e-12)
    assert all(torch.equal(first["gradients"][name], second["gradients"][name]) for name in first["gradients"])
    assert all(torch.equal(first["buffers"][name], second["buffers"][name]) for name in first["buffers"])


# --- a whole run ----------------------------------------------------------------------------------------------------


def plain_collective() -> str:
    try:
        dist.all_reduce(torch.zeros(1))
    except RuntimeError as error:
        return str(error)
    return ""


def test_the_group_of_gpus_refuses_tensors_on_the_cpu_as_nccl_does(tmp_path):
    for error in on_two(tmp_path, plain_collective, backend=GPUS_ONLY):
        assert "No backend type associated with device type cpu" in error


def whole_run(source: Any, store: Any, settings: Settings, folder: Path) -> dict[str, Any]:
    """Training, validation, tests and what `domain_predictions` finds, with a group that serves GPUs only."""
    rank, world = str(dist.get_rank()), str(dist.get_world_size())
    os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=world, LOCAL_WORLD_SIZE=world, GROUP_RANK="0",
                      TORCHELASTIC_RUN_ID="none")  # fmt: skip
    # DistributedDataParallel would have GPUs there; on the CPU it needs a group of its own.
    strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group=dist.new_group(backend="gloo"))
    fabric = Fabric(accelerator="cpu", devices=2, strategy=strategy)
    fabric.launch()
    done = runs.run(source, settings, store=store, runs=folder, progress=False, fabric=fabric)
    faces = runs.split_faces(store, settings)["test"]
    return {"scores": done.scores.score.tolist(), "domains": runs.domain_predictions(done.task(), faces).tolist(),
            "history": done.history.to_dict("list"), "record": done.record["metrics"]}  # fmt: skip


def test_a_run_over_a_group_of_gpus_ends_as_on_one_device(tmp_path, tiny_source, tiny_settings):
    settings = dataclasses.replace(tiny_settings, iterations=4, validate_every=2)
    alone = runs.run(tiny_source[0], settings, store=tiny_source[1], runs=tmp_path / "alone", progress=False)
    first, second = on_two(tmp_path, whole_run, *tiny_source, settings, tmp_path / "runs", backend=GPUS_ONLY)
    assert first["scores"] == second["scores"] and first["domains"] == second["domains"]
    np.testing.assert_allclose(first["scores"], alone.scores.score, atol=1e-3)
    np.testing.assert_allclose(first["history"]["cls"], alone.history["cls"], rtol=1e-3)
    faces = runs.split_faces(tiny_source[1], settings)["test"]
    predicted = runs.domain_predictions(alone.task(), faces)
    assert np.mean(np.array(first["domains"]) == predicted) > 0.9
    assert first["record"]["auc"] == pytest.approx(alone.record["metrics"]["auc"], abs=0.01)
