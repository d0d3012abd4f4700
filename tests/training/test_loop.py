import dataclasses
import inspect
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from did.data.loading import Faces
from did.errors import DidError
from did.evaluation import auc
from did.method.task import DIDTask
from did.rivals.bce import BCETask
from did.rivals.f3net import F3NetTask
from did.settings import Settings
from did.training import loop
from did.training.loop import BEST, RESUME, fit, optimizer_for, score
from did.training.runs import domain_predictions, evaluate, split_faces
from did.utils import checkpoints, distributed
from did.utils.workers import cores


@pytest.fixture(scope="module")
def faces(tiny_source, tiny_settings):
    return split_faces(tiny_source[1], tiny_settings)


def trained(settings, faces, folder, task=DIDTask, **options):
    torch.manual_seed(settings.seed)
    module = task(settings, 5)
    history = fit(module, faces["train"], faces["val"], folder, progress=False, **options)
    return module, history


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_seed_gives_the_same_weights_and_history(tiny_settings, faces, tmp_path):
    first, history = trained(tiny_settings, faces, tmp_path / "a")
    second, again = trained(tiny_settings, faces, tmp_path / "b")
    assert same(first.state_dict(), second.state_dict())
    assert history.equals(again)
    other, _ = trained(Settings.of({**tiny_settings.as_dict(), "seed": 1}), faces, tmp_path / "c")
    assert not same(first.state_dict(), other.state_dict())


def test_an_interrupted_run_ends_as_an_undisturbed_one(tiny_settings, faces, tmp_path):
    whole, history = trained(tiny_settings, faces, tmp_path / "whole")
    trained(tiny_settings, faces, tmp_path / "cut", stop_at=17)  # state was written at 10
    assert (tmp_path / "cut" / RESUME).is_file()
    resumed, again = trained(tiny_settings, faces, tmp_path / "cut")
    assert same(whole.state_dict(), resumed.state_dict())
    assert history.equals(again)


def test_the_checkpoint_is_the_best_on_validation_not_the_last(tiny_settings, faces, tmp_path):
    module, history = trained(tiny_settings, faces, tmp_path)
    validated = history["validation AUC"].dropna()
    assert list(history.iteration[validated.index]) == [10, 20, 30]
    kept = auc(faces["val"].labels, score(module.detector(), faces["val"]))
    assert kept == pytest.approx(validated.max(), abs=1e-9)
    assert same(module.state_dict(), load_file(tmp_path / BEST))


@pytest.mark.parametrize(
    ("values", "kept"),
    [([0.5, 0.5, 0.5], 10), ([0.5, 0.7, 0.7], 20), ([0.7, 0.5, 0.7], 10), ([0.5, 0.6, 0.7], 30)],
)
@pytest.mark.parametrize("cut", [None, 17])
def test_of_equal_validations_the_first_is_kept(tiny_settings, faces, tmp_path, monkeypatch, values, kept, cut):
    """In a run that was interrupted too."""
    given = iter(values)
    monkeypatch.setattr(loop.evaluation, "auc", lambda labels, scores: next(given))
    if cut:
        trained(tiny_settings, faces, tmp_path, stop_at=cut)
    module, history = trained(tiny_settings, faces, tmp_path)
    assert history["validation AUC"].dropna().tolist() == values
    tensors, about = checkpoints.load(tmp_path / BEST)
    assert (about["iteration"], about["validation AUC"]) == (kept, max(values))
    assert same(module.state_dict(), tensors)


def test_selection_last_keeps_the_last(tiny_settings, faces, tmp_path):
    last = Settings.of({**tiny_settings.as_dict(), "selection": "last"})
    module, history = trained(last, faces, tmp_path)
    kept = auc(faces["val"].labels, score(module.detector(), faces["val"]))
    assert kept == pytest.approx(history["validation AUC"].dropna().iloc[-1], abs=1e-9)


def test_training_learns(tiny_settings, faces, tmp_path):
    longer = Settings.of({**tiny_settings.as_dict(), "iterations": 60})
    module, history = trained(longer, faces, tmp_path)
    losses = history["dom"].dropna()
    assert losses.iloc[-5:].mean() < losses.iloc[:5].mean() - 0.1
    assert auc(faces["test"].labels, score(module.detector(), faces["test"])) > 0.9


def test_the_history_names_losses_maps_and_gradients(tiny_settings, faces, tmp_path):
    _, history = trained(tiny_settings, faces, tmp_path)
    wanted = {"cls", "dom", "dec", "beta", "estimate", "auc loss", "bce", "M_df mean", "M_df saturated", "M_dom images"}
    assert wanted | {"gradient from C", "gradient from T", "validation AUC"} <= set(history)
    assert np.isfinite(history["gradient from T"].dropna()).all()


def test_bce_goes_through_the_same_loop(tiny_settings, faces, tmp_path):
    _, history = trained(tiny_settings, faces, tmp_path, task=BCETask)
    assert history["bce"].dropna().iloc[-1] < history["bce"].iloc[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_state(tiny_settings, faces, tmp_path, monkeypatch):
    trained(tiny_settings, faces, tmp_path, stop_at=17)
    before = (tmp_path / RESUME).read_bytes()
    monkeypatch.setattr("did.method.task.domain_loss", lambda logits, domains: logits.sum() * float("nan"))
    with pytest.raises(DidError, match=r"not finite at iteration 10 .*rows"):
        trained(tiny_settings, faces, tmp_path)
    assert (tmp_path / RESUME).read_bytes() == before


def test_a_batch_too_small_for_its_domains_is_refused(tiny_settings, faces, tmp_path):
    small = Settings.of({**tiny_settings.as_dict(), "batch_size": 4})
    with pytest.raises(DidError, match="batch size 4 is smaller than the number of domains, 5"):
        trained(small, faces, tmp_path)


def test_adam_is_the_papers():
    torch.manual_seed(0)
    optimizer = optimizer_for(DIDTask(Settings(backbone="test_efficientnet", pretrained="none"), 5))
    assert type(optimizer) is torch.optim.Adam
    assert {group["weight_decay"] for group in optimizer.param_groups} == {5e-4}
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-5, 1e-4, 1e-4, 1e-4])


def test_scores_are_in_the_order_of_the_rows(tiny_run, tiny_source, tiny_settings):
    faces = split_faces(tiny_source[1], tiny_settings)["test"]
    detector = tiny_run.task().detector()
    whole = score(detector, faces)
    backwards = Faces(faces.rows.iloc[::-1], faces.store, 64, domains=faces.domain_names)
    assert np.allclose(score(detector, backwards), whole[::-1], atol=1e-5)
    assert whole.std() > 0


class Noting(nn.Module):
    """A detector that notes what it is given; its weight is on the device `meta`, which computes nothing, anywhere."""

    def __init__(self, device="meta"):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, device=device))
        self.seen = []

    def forward(self, images):
        flags = torch.backends.cudnn
        self.seen.append((len(images), images.device.type, self.training, flags.deterministic, flags.benchmark))
        return torch.zeros(len(images))


def test_scores_are_computed_where_the_detector_is(tiny_source, tiny_settings, monkeypatch):
    faces = split_faces(tiny_source[1], tiny_settings)["train"]
    workers = []
    original = loop.ordered
    monkeypatch.setattr(loop, "ordered", lambda *args: workers.append(args[2]) or original(*args))
    there, here = Noting("meta"), Noting("cpu")
    assert len(score(there, faces)) == len(score(here, faces)) == len(faces) == 60
    # In batches as large as a GPU wants them, read by workers; on the CPU as ever.
    assert [each[:3] for each in there.seen] == [(60, "meta", False)] and workers[0] == min(8, cores())
    score(here, faces, 8)
    assert [each[:2] for each in here.seen] == [(60, "cpu"), (32, "cpu"), (28, "cpu")] and workers[1:] == [0, 0]
    assert not any("device" in inspect.signature(each).parameters for each in (score, evaluate, domain_predictions))


def test_a_run_is_loaded_onto_the_device_of_this_process(tiny_run, tiny_source, tiny_settings, monkeypatch):
    assert distributed.device_of(tiny_run.task()) == distributed.device()
    monkeypatch.setattr(distributed, "device", lambda: torch.device("meta"))
    assert {tensor.device.type for tensor in tiny_run.task().state_dict().values()} == {"meta"}


@pytest.mark.parametrize("same", [True, False])
def test_cudnn_takes_the_same_algorithms_unless_speed_is_asked_for(tiny_settings, faces, tmp_path, monkeypatch, same):
    flags, seen = torch.backends.cudnn, []
    step = loop.train_step

    def noting(*given):
        seen.append((flags.deterministic, flags.benchmark))
        return step(*given)

    monkeypatch.setattr(loop, "train_step", noting)
    trained(dataclasses.replace(tiny_settings, deterministic=same), faces, tmp_path, stop_at=2)
    assert seen == [(same, not same)] * 2
    usual = dataclasses.replace(tiny_settings, deterministic=True)
    assert usual.digest() == tiny_settings.digest()  # The usual one names no run anew.


def test_flags_and_modes_are_as_they_were_before(tiny_settings, tiny_source, faces, tmp_path, monkeypatch):
    flags = torch.backends.cudnn
    monkeypatch.setattr(flags, "benchmark", True)
    monkeypatch.setattr(flags, "deterministic", False)
    detector = Noting("cpu").train()
    detector.frozen = nn.BatchNorm2d(1).eval()
    score(detector, faces["val"])
    assert detector.seen[0][2:] == (False, True, False)
    assert (flags.deterministic, flags.benchmark) == (False, True)
    assert (detector.training, detector.frozen.training) == (True, False)
    trained(tiny_settings, faces, tmp_path, stop_at=1)
    assert (flags.deterministic, flags.benchmark) == (False, True)
    monkeypatch.setattr(Noting, "forward", lambda self, images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(detector, faces["val"])
    assert (flags.deterministic, flags.benchmark, detector.training) == (False, True, True)


@pytest.mark.parametrize("task", [DIDTask, BCETask, F3NetTask])
def test_scores_in_bf16_are_the_backbones_alone_and_for_once(tiny_settings, faces, task):
    torch.manual_seed(0)
    detector = task(dataclasses.replace(tiny_settings, backbone="test_resnet"), 5).detector().train()
    plain, seen = score(detector, faces["val"]), []
    heads = [m for m in detector.modules() if isinstance(m, nn.Linear)]
    convolution = next(m for m in detector.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
    convolution.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    heads[-1].register_forward_hook(lambda *given: seen.append(given[2].dtype))
    low = score(detector, faces["val"], precision="bf16")
    assert set(seen[::2]) == {torch.bfloat16} and set(seen[1::2]) == {torch.float32}
    assert np.allclose(low, plain, atol=0.1) and not np.array_equal(low, plain)
    assert np.array_equal(score(detector, faces["val"]), plain) and detector.training


class Reads(TorchDispatchMode):
    """Counts how often Python reads a number of a tensor: with a GPU each time waits for it."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        Reads.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("task", [DIDTask, BCETask, F3NetTask])
def test_numbers_are_read_once_per_logged_iteration(tiny_settings, faces, tmp_path, monkeypatch, task):
    """And never between them. Adam's own counts are on the CPU with a GPU as well."""
    for name in ("tolist", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def read(tensor, *args, original=original, **kwargs):
            Reads.count += 1
            return original(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, read)
    step = torch.optim.Adam.step

    def quiet(*args, **kwargs):
        before = Reads.count
        found = step(*args, **kwargs)
        Reads.count = before
        return found

    monkeypatch.setattr(torch.optim.Adam, "step", quiet)
    # One iteration in two is logged.
    settings = dataclasses.replace(tiny_settings, iterations=200, validate_every=200, backbone="test_resnet")
    counts = []
    for stop in (1, 9):
        Reads.count = 0
        with Reads():
            trained(settings, faces, tmp_path / str(stop), task=task, stop_at=stop)
        counts.append(Reads.count)
    assert counts[1] - counts[0] == 4


def changed(settings, **changes):
    return dataclasses.replace(settings, **changes)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_the_optimiser_is_the_settings(tiny_settings, faces, tmp_path, name, kind):
    settings = changed(tiny_settings, optimizer=name, iterations=12, validate_every=6)
    module, _ = trained(settings, faces, tmp_path / "whole")
    optimizer = optimizer_for(module)
    assert type(optimizer) is kind and {group["weight_decay"] for group in optimizer.param_groups} == {5e-4}
    trained(settings, faces, tmp_path / "cut", stop_at=8)
    assert same(trained(settings, faces, tmp_path / "cut")[0].state_dict(), module.state_dict())


def test_a_cosine_takes_all_rates_to_0(tiny_settings, faces, tmp_path, monkeypatch):
    rates = []
    plain = loop.train_step

    def noted(fabric, module, optimizer, step):
        rates.append([group["lr"] / group["base_lr"] for group in optimizer.param_groups])
        return plain(fabric, module, optimizer, step)

    monkeypatch.setattr(loop, "train_step", noted)
    trained(changed(tiny_settings, schedule="cosine"), faces, tmp_path)
    first = [row[0] for row in rates]
    assert first[0] == 1 and first[15] == pytest.approx(0.5) and 0 < first[-1] < 0.01
    assert all(len(set(row)) == 1 for row in rates) and sorted(first, reverse=True) == first


@pytest.mark.parametrize("cut", [None, 17])
def test_training_ends_when_validations_bring_nothing_better(tiny_settings, faces, tmp_path, monkeypatch, cut):
    given = iter([0.5, 0.7, 0.7, 0.6, 0.9])
    monkeypatch.setattr(loop.evaluation, "auc", lambda *_: next(given))
    settings = changed(tiny_settings, iterations=50, patience=2)
    if cut:
        trained(settings, faces, tmp_path, stop_at=cut)
        given = iter([0.7, 0.7, 0.6, 0.9])  # that of iteration 20 and on
    _, history = trained(settings, faces, tmp_path)
    assert history["validation AUC"].dropna().tolist() == [0.5, 0.7, 0.7, 0.6] and history.iteration.max() == 40
    assert checkpoints.about(tmp_path / BEST)["iteration"] == 20
    again = trained(settings, faces, tmp_path)[1]
    assert again.equals(history), "asked again, it does not go on"


def test_a_training_is_watched_line_by_line(tiny_settings, faces, tmp_path):
    seen = []
    trained(tiny_settings, faces, tmp_path, stop_at=17)
    lines = (tmp_path / loop.HISTORY).read_text().splitlines()
    assert json.loads(lines[-1])["iteration"] == 16 and len(lines) == 17 + 1
    _, history = trained(tiny_settings, faces, tmp_path, log=seen.append)
    lines = [json.loads(line) for line in (tmp_path / loop.HISTORY).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == history.iteration.tolist(), "nothing twice"
    assert [row["iteration"] for row in seen] == history.iteration.tolist()[11:]
    assert lines[0]["cls"] == history.cls[0]


# --- averaged weights ----------------------------------------------------------------------------------------------


def test_the_average_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    task = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    mean = loop.MovingAverage(task, 0.8)
    expected = {name: of.clone() for name, of in task.state_dict().items()}
    for step in range(20):
        with torch.no_grad():
            for of in task.parameters():
                of.add_(torch.randn(of.shape))
        task[1].running_mean += 1
        mean.update()
        decay = min(0.8, (1 + step) / (10 + step))
        for name, of in task.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * of
    last = {name: of.clone() for name, of in task.state_dict().items()}
    with mean.in_place():
        for name, of in task.state_dict().items():
            assert name.endswith("num_batches_tracked") or torch.allclose(of, expected[name], atol=1e-6), name
    assert same(last, task.state_dict())


def test_averaged_weights_are_kept_and_training_goes_on_with_its_own(tiny_settings, faces, tmp_path):
    """The last history is that of a training without an average, validations apart; the kept weights are others."""
    chosen = dataclasses.replace(tiny_settings, averaging=0.9)
    plain, history = trained(tiny_settings, faces, tmp_path / "plain")
    whole, averaged = trained(chosen, faces, tmp_path / "whole")
    validations = averaged["validation AUC"].notna()
    assert history[~validations].equals(averaged[~validations])
    assert not same(plain.state_dict(), whole.state_dict())
    scores = score(whole.detector(), faces["val"], chosen.batch_size)
    assert auc(faces["val"].labels, scores) == pytest.approx(averaged["validation AUC"].max())

    trained(chosen, faces, tmp_path / "cut", stop_at=17)  # state was written at 10
    resumed, again = trained(chosen, faces, tmp_path / "cut")
    assert same(whole.state_dict(), resumed.state_dict()) and averaged.equals(again)


def test_what_a_task_sets_before_training_is_not_averaged_with_what_was_there(tiny_settings, faces, tmp_path):
    class Centred(DIDTask):
        def __init__(self, *given):
            super().__init__(*given)
            self.register_buffer("centre", torch.tensor(float("nan")))

        def begin(self, train):
            self.centre.fill_(7.0)

    chosen = dataclasses.replace(tiny_settings, averaging=0.9, iterations=5, validate_every=5)
    assert trained(chosen, faces, tmp_path, task=Centred)[0].centre == 7
