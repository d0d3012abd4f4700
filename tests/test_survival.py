"""Training under kill -9, losses that are not finite, and a full disk: it goes on to the weights of a calm run."""

import dataclasses
import multiprocessing
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from did.data.loading import Faces
from did.data.store import FaceStore
from did.errors import DidError
from did.method.task import DIDTask
from did.settings import Settings
from did.training import loop
from did.training import loop as training
from did.training.loop import BEST, HISTORY, RESUME, fit
from did.training.runs import split_faces
from did.utils import checkpoints

fresh = multiprocessing.get_context("forkserver")
fresh.set_forkserver_preload(["did.training.runs", "pytest", "timm.layers"])


@pytest.fixture(scope="module")
def faces(tiny_source, tiny_settings):
    return split_faces(tiny_source[1], tiny_settings)


def trained(settings: Settings, faces: dict[str, Faces], folder: Path, **options: Any) -> DIDTask:
    torch.manual_seed(settings.seed)
    task = DIDTask(settings, 5)
    fit(task, faces["train"], faces["val"], folder, progress=False, **options)
    return task


def same(a: DIDTask, b: DIDTask) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def calm(tiny_settings, faces, tmp_path_factory):
    return trained(tiny_settings, faces, tmp_path_factory.mktemp("calm"))


# --- what is random --------------------------------------------------------------------------------------------------


def test_with_dropout_and_drop_path_it_goes_on_bit_for_bit(tiny_settings, faces, tmp_path, monkeypatch):
    settings, create = dataclasses.replace(tiny_settings, backbone="test_resnet"), timm.create_model

    def random_one(*given: Any, **options: Any) -> Any:
        body = create(*given, **options, drop_path_rate=0.3)
        body.act1 = nn.Sequential(body.act1, nn.Dropout(0.3))
        return body

    plain = trained(settings, faces, tmp_path / "plain")
    monkeypatch.setattr("did.method.backbones.timm.create_model", random_one)
    whole = trained(settings, faces, tmp_path / "whole")
    assert not same(whole, plain)
    monkeypatch.setattr(loop, "MINUTES_BETWEEN_STATES", 0)  # a state each iteration
    trained(settings, faces, tmp_path / "cut", stop_at=17)
    assert checkpoints.load(tmp_path / "cut" / RESUME)[1]["iteration"] == 17
    torch.rand(5)  # what else the process draws does not matter
    assert same(whole, trained(settings, faces, tmp_path / "cut"))


def test_between_validations_the_state_is_written_when_time_has_passed(tiny_settings, faces, tmp_path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: now.__setitem__(0, now[0] + 100) or now[0])
    monkeypatch.setattr(
        training, "write_state", lambda path, task, optimizer, state, mean: written.append(state["iteration"])
    )
    trained(tiny_settings, faces, tmp_path)
    assert loop.MINUTES_BETWEEN_STATES == 10
    assert {10, 20, 30} < set(written) and 2 < len(written) < 10


# --- losses that are not finite ------------------------------------------------------------------------------------


class Spoiled:
    """The domain loss, but in its nth call, from 0, what `spoil` makes of it."""

    def __init__(self, number: int, spoil: Any) -> None:
        from did.method.losses import domain_loss

        self.calls, self.number, self.spoil, self.loss = 0, number, spoil, domain_loss

    def __call__(self, logits: torch.Tensor, domains: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        loss = self.loss(logits, domains)
        return self.spoil(loss, logits) if self.calls == self.number + 1 else loss


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_names_the_batch_and_is_in_no_state(
    tiny_settings, faces, calm, tmp_path, monkeypatch, value
):
    monkeypatch.setattr("did.method.task.domain_loss", Spoiled(13, lambda loss, _: loss * float(value)))
    monkeypatch.setattr(loop, "MINUTES_BETWEEN_STATES", 0)
    torch.manual_seed(0)
    task = DIDTask(tiny_settings, 5)
    with pytest.raises(DidError, match=r"not finite at iteration 13 .*rows \[\d") as caught:
        fit(task, faces["train"], faces["val"], tmp_path, progress=False)
    assert "\n" not in str(caught.value)
    drawn = loop.batches(faces["train"], 10, 30, 0).batch_sampler
    rows = list(drawn)[13]
    assert str(rows) in str(caught.value)
    for row in rows:
        assert faces["train"].rows["face"][row] in str(caught.value)
    assert checkpoints.about(tmp_path / RESUME)["iteration"] == 13, "not the last good one"
    monkeypatch.undo()  # fixed
    assert same(calm, trained(tiny_settings, faces, tmp_path))


@pytest.mark.parametrize("at", [121, 124])
def test_a_loss_between_logged_iterations_is_found_at_the_next_look(tiny_settings, faces, tmp_path, monkeypatch, at):
    """One in two is logged; a validation, here after iteration 124, which is logged, or 149, is a look too."""
    settings = dataclasses.replace(tiny_settings, iterations=250, validate_every=25)
    trained(settings, faces, tmp_path, stop_at=101)
    before = (tmp_path / RESUME).read_bytes()
    monkeypatch.setattr("did.method.task.domain_loss", Spoiled(at - 100, lambda loss, _: loss * float("nan")))
    with pytest.raises(DidError, match=rf"not finite at iteration {at} .*rows \[\d") as caught:
        trained(settings, faces, tmp_path)
    rows = list(loop.batches(faces["train"], 10, 250, 0).batch_sampler)[at]
    assert str(rows) in str(caught.value)
    assert (tmp_path / RESUME).read_bytes() == before


def test_weights_that_are_not_finite_are_never_written(tiny_settings, faces, calm, tmp_path, monkeypatch):
    # A loss of 0 whose gradient is not finite, in the last step before a state is due.
    spoiled = Spoiled(14, lambda loss, logits: loss + (logits * 0).square().sum().sqrt())
    monkeypatch.setattr("did.method.task.domain_loss", spoiled)
    monkeypatch.setattr(loop, "MINUTES_BETWEEN_STATES", 0)
    with pytest.raises(DidError, match="has entries that are not finite") as caught:
        trained(tiny_settings, faces, tmp_path)
    assert "\n" not in str(caught.value)
    tensors, state = checkpoints.load(tmp_path / RESUME)
    assert state["iteration"] == 14
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    monkeypatch.undo()
    assert same(calm, trained(tiny_settings, faces, tmp_path))


# --- a state that is no state, a full disk ---------------------------------------------------------------------------


def test_a_damaged_state_or_one_of_another_task_is_one_sentence(tiny_settings, faces, tmp_path):
    trained(tiny_settings, faces, tmp_path, stop_at=17)
    whole = (tmp_path / RESUME).read_bytes()
    (tmp_path / RESUME).write_bytes(whole[:-100])
    with pytest.raises(DidError, match=r"resume\.safetensors is not a complete .*: remove it, and training begins"):
        trained(tiny_settings, faces, tmp_path)
    (tmp_path / RESUME).write_bytes(whole)
    other = Settings.of({**tiny_settings.as_dict(), "hidden": 24})
    with pytest.raises(DidError, match=r"resume\.safetensors do not fit the model .*: remove it, and training begins"):
        trained(other, faces, tmp_path)


# Weights and one state, and not a second one beside them.
@pytest.mark.parametrize("small_disk", ["4m"], indirect=True)
def test_a_full_disk_is_one_sentence_and_the_last_state_goes_on(tiny_settings, faces, calm, small_disk):
    with pytest.raises(DidError, match=r"The disk is full: .*small; free some space and run again") as caught:
        trained(tiny_settings, faces, small_disk)
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in small_disk.iterdir()) == [HISTORY, BEST, RESUME]
    assert checkpoints.load(small_disk / RESUME)[1]["iteration"] == 10
    checkpoints.load(small_disk / BEST)
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    assert same(calm, trained(tiny_settings, faces, small_disk))


# --- kill -9 ---------------------------------------------------------------------------------------------------------


def child(store: Path, settings: Settings, folder: Path) -> None:
    """A training that writes its state at each iteration, so that it is often met while it writes."""
    torch.set_num_threads(1)
    loop.MINUTES_BETWEEN_STATES = 0
    faces = split_faces(FaceStore(store), settings)
    begin = time.monotonic()
    (folder / "begun").touch()
    task = trained(settings, faces, folder)
    checkpoints.save(folder / "final.safetensors", task.state_dict(), {"seconds": time.monotonic() - begin})


def life(store: Path, settings: Settings, folder: Path, seconds: float | None = None) -> int:
    """A child's exit status; it is killed this long after its training has begun, or never."""
    folder.mkdir(exist_ok=True)
    (folder / "begun").unlink(missing_ok=True)
    process = fresh.Process(target=child, args=(store, settings, folder))
    process.start()
    while seconds is not None and process.is_alive() and not (folder / "begun").exists():
        time.sleep(0.001)
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode


@pytest.mark.parametrize(
    ("kills", "iterations"), [(2, 16), pytest.param(10, 100, marks=pytest.mark.slow)], ids=["two", "ten"]
)
def test_killed_at_random_moments_it_ends_with_the_weights_of_a_calm_run(
    tiny_source, tiny_settings, tmp_path, kills, iterations
):
    store = tiny_source[1].root
    settings = Settings.of({**tiny_settings.as_dict(), "iterations": iterations, "validate_every": 7})
    assert life(store, settings, tmp_path / "calm") == 0
    expected, about = checkpoints.load(tmp_path / "calm" / "final.safetensors")
    moments, reached = random.Random(0), []
    for _ in range(kills):
        seconds = moments.uniform(0.3, 1) * about["seconds"] / (kills + 1)
        assert life(store, settings, tmp_path / "killed", seconds) == -signal.SIGKILL
        if (tmp_path / "killed" / RESUME).exists():
            reached.append(checkpoints.load(tmp_path / "killed" / RESUME)[1]["iteration"])
    assert reached == sorted(reached) and 0 < reached[-1] < iterations
    assert life(store, settings, tmp_path / "killed") == 0
    found = checkpoints.load(tmp_path / "killed" / "final.safetensors")[0]
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert (tmp_path / "killed" / BEST).read_bytes() == (tmp_path / "calm" / BEST).read_bytes()
