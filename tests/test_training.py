import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from did.baselines import BCETask
from did.data.loading import Faces
from did.errors import DidError
from did.evaluation import auc
from did.results import split_faces
from did.settings import Settings
from did.tasks import DIDTask
from did.training import BEST, RESUME, fit, optimizer_for, score


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
    monkeypatch.setattr("did.tasks.domain_loss", lambda logits, domains: logits.sum() * float("nan"))
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
