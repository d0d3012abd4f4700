"""Logs of a training: TensorBoard shows what the history says, and nothing twice."""

import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from did.errors import DidError
from did.training.runs import run
from did.training.watching import TENSORBOARD, opened


def shown(folder):
    """Name -> the (step, value) pairs that TensorBoard draws."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_shows_the_history(tiny_source, tiny_settings, tmp_path):
    source, store = tiny_source
    done = run(source, tiny_settings, store=store, runs=tmp_path, progress=False, log=TENSORBOARD)
    drawn, history = shown(done.folder / TENSORBOARD), done.history
    assert set(drawn) == set(history.columns) - {"iteration"}
    for name in ("cls", "dom", "validation AUC"):
        known = history[["iteration", name]].dropna()
        assert [step for step, _ in drawn[name]] == known.iteration.tolist()
        assert [value for _, value in drawn[name]] == pytest.approx(known[name].tolist(), rel=1e-6)


def test_rows_that_a_resumed_training_took_back_are_not_shown_twice(tmp_path):
    for start, value in ((0, 1.0), (3, 2.0)):  # killed after 5 rows, resumed from a state at 3
        with opened(TENSORBOARD, tmp_path) as log:
            for step in range(start, start + 5):
                log({"iteration": step, "cls": value, "estimate": None})
    assert shown(tmp_path / TENSORBOARD) == {"cls": [(step, 1.0 if step < 3 else 2.0) for step in range(8)]}


def test_a_function_is_given_the_rows_as_they_are(tmp_path):
    seen = []
    with opened(seen.append, tmp_path) as log:
        log({"iteration": 0})
    assert seen == [{"iteration": 0}] and not list(tmp_path.iterdir())


def test_an_unknown_log_and_a_missing_package_are_refused_before_any_work(
    tiny_source, tiny_settings, tmp_path, monkeypatch
):
    source, store = tiny_source
    with pytest.raises(DidError, match="unknown log 'tensorbord': did you mean 'tensorboard'"):
        run(source, tiny_settings, store=store, runs=tmp_path, log="tensorbord")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DidError, match=r"needs its package: pip install 'crossdf\[tensorboard\]'"):
        run(source, tiny_settings, store=store, runs=tmp_path, log=TENSORBOARD)
    assert not list(tmp_path.iterdir())
