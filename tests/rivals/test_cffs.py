"""CFFs: its losses against plain loops, who learns in which stage, and whose features a face is drawn to."""

import math

import pytest
import torch
from batches import batch as made

from did.errors import DidError
from did.rivals.cffs import MARGIN, AutomaticWeights, CFFsTask, dice_loss, triplet_loss
from did.settings import Settings


@pytest.fixture
def task():
    torch.manual_seed(0)
    return CFFsTask(Settings.preset("smoke"), 5)


def test_automatic_weights_by_hand():
    weights = AutomaticWeights(2)
    with torch.no_grad():
        weights.s.copy_(torch.tensor([1.0, 2.0]))
    total = weights(torch.tensor(3.0), torch.tensor(8.0))
    assert total.item() == pytest.approx(3 / 2 + math.log(2) + 8 / 8 + math.log(5), abs=1e-5)


def test_a_larger_loss_gets_a_smaller_weight():
    weights = AutomaticWeights(2)
    optimizer = torch.optim.SGD(weights.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        weights(torch.tensor(0.1), torch.tensor(4.0)).backward()
        optimizer.step()
    assert weights.s[1].abs() > 3 * weights.s[0].abs() > 0


def test_dice_by_a_plain_loop():
    logits, masks = torch.randn(2, 1, 3, 3), (torch.rand(2, 1, 3, 3) > 0.5).float()
    p = [1 / (1 + math.exp(-x)) for x in logits.flatten().tolist()]
    m = masks.flatten().tolist()
    expected = 1 - (2 * sum(a * b for a, b in zip(p, m, strict=True)) + 1) / (sum(p) + sum(m) + 1)
    assert dice_loss(logits, masks).item() == pytest.approx(expected, abs=1e-5)
    assert dice_loss(torch.full((1, 1, 4, 4), -99.0), torch.zeros(1, 1, 4, 4)).item() == pytest.approx(0, abs=1e-6)


def test_triplets_by_a_plain_loop():
    torch.manual_seed(0)
    z, y = torch.randn(7, 4), [0, 1, 1, 0, 1, 0, 1]
    rows = z.tolist()
    each = [max(0, math.dist(rows[a], rows[p]) - math.dist(rows[a], rows[n]) + MARGIN)
            for a in range(7) for p in range(7) for n in range(7) if a != p and y[a] == y[p] != y[n]]  # fmt: skip
    assert triplet_loss(z, torch.tensor(y)).item() == pytest.approx(sum(each) / len(each), abs=1e-4)
    assert triplet_loss(z[:2], torch.tensor([0, 0])).item() == 0


def grads(module):
    return [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters()]


def test_specialists_learn_in_the_first_half_and_the_common_one_in_the_second(task):
    of = made(CFFsTask.wants)
    first = task(of, 0.49, 0)
    assert list(first.losses) == [f"specialist {number}" for number in range(1, 5)]
    first.total.backward()
    assert not any(grads(task.model)) and all(any(grads(one)) for one in task.specialists)
    task.zero_grad(set_to_none=True)
    second = task(of, 0.5, 0)
    assert list(second.losses) == ["common"]
    second.total.backward()
    assert any(grads(task.model)) and not any(any(grads(one)) for one in task.specialists)


def test_a_specialist_sees_the_real_faces_and_its_own_method_alone(task):
    task.eval()
    of = made(CFFsTask.wants)
    before = task(of, 0.0, 0).losses
    of["image"][of["domain"] == 2] = 0.5
    after = task(of, 0.0, 0).losses
    assert [name for name in before if before[name] != after[name]] == ["specialist 2"]


def test_a_fake_is_drawn_to_its_own_specialist_and_a_real_face_to_one_at_random(task):
    task.eval()
    of = made(CFFsTask.wants)
    before = task(of, 0.9, 0).total.item()
    with torch.no_grad():
        for name, p in task.specialists[2].named_parameters():  # of domain 3
            if name.startswith("encoder"):
                p.mul_(1.5)
    assert task(of, 0.9, 0).total.item() != before
    fakes = {name: value[of["domain"] == 1] for name, value in of.items()}
    task.specialists[2].load_state_dict(task.specialists[1].state_dict())
    one = task(fakes, 0.9, 0).total.item()
    task.specialists[2].load_state_dict(task.specialists[0].state_dict())
    assert task(fakes, 0.9, 0).total.item() == one, "fakes of domain 1 do not ask the specialist of domain 3"
    reals = {name: value[of["domain"] == 0] for name, value in of.items()}
    assert len({round(task(reals, 0.9, seed).total.item(), 6) for seed in range(8)}) > 1


def test_the_detector_is_the_common_extractor_and_the_mask_has_the_images_size(task):
    images = made(CFFsTask.wants, 2)["image"]
    task.eval()
    found = task.model.look(images)
    assert found.mask.shape == (2, 1, 64, 64) and torch.equal(found.score, task.detector()(images))
    assert len(task.specialists) == 4
    with pytest.raises(DidError, match="cffs computes plainly"):
        CFFsTask(Settings.preset("smoke", accumulate=3), 5)
