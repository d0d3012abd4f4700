"""SBI: it sees no forgery; its loss by a plain loop; its detector is the plain one."""

import math

import pytest
import torch
from batches import batch as made

from did.rivals.bce import PlainDetector
from did.rivals.sbi import SBITask
from did.settings import Settings
from did.training import runs


@pytest.fixture
def task():
    torch.manual_seed(0)
    return SBITask(Settings.preset("smoke"), 5)


def test_the_loss_by_a_plain_loop(task):
    of = made(SBITask.wants, 4)
    task.eval()
    scores = [task.model(of[name]).tolist() for name in ("image", "blended")]
    each = [math.log1p(math.exp(s)) for s in scores[0]] + [math.log1p(math.exp(-s)) for s in scores[1]]
    assert task(of, 0.0, 0).losses == {"bce": pytest.approx(sum(each) / 8, abs=1e-4)}
    assert isinstance(task.detector(), PlainDetector)


def test_no_forgery_decides_what_it_learns(tiny_source, tiny_settings, tmp_path):
    """The forged crops of the training split can be anything: the weights come out the same."""
    source, store = tiny_source
    faces = runs.split_faces(store, tiny_settings, SBITask.wants, source)["train"]
    seen = set()
    from did.data.loading import batches

    for of in batches(faces, tiny_settings.batch_size, tiny_settings.iterations, 0):
        seen |= set(of["index"].tolist())
    assert {faces.rows.method[i] for i in seen} == {"real"}
    run = runs.run(source, tiny_settings, "sbi", store=store, runs=tmp_path, progress=False)
    assert run.record["task"] == "sbi" and 0 <= run.record["metrics"]["auc"] <= 1
