"""MDD: its losses against plain loops, its traps (detached centres, half-silent augmentation), gradients."""

import math

import pytest
import torch
from batches import batch as made

from did.errors import DidError
from did.method.backbones import Backbone
from did.rivals.cutting import cut_at
from did.rivals.mdd import MDDTask, _without_rim, degraded, independence
from did.settings import Settings


@pytest.fixture
def task():
    torch.manual_seed(0)
    return MDDTask(Settings.preset("smoke"), num_domains=5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n=10):
    return made(MDDTask.wants, n)


def test_the_backbone_is_cut_where_its_maps_have_these_strides():
    backbone = Backbone("tf_efficientnet_lite0", in_chans=3).eval()
    parts, x = cut_at(backbone, (4, 16)), torch.rand(1, 3, 128, 128)
    expected = backbone.body.forward_features(x)
    shapes = [(x := part(x)).shape[1:] for part in parts]
    assert [tuple(shape) for shape in shapes] == [(24, 32, 32), (112, 8, 8), (1280, 4, 4)]
    assert torch.allclose(x, expected, atol=1e-4)
    with pytest.raises(DidError, match="has no map of stride 3"):
        cut_at(backbone, (3,))


def test_independence_by_a_plain_loop():
    parts, labels = torch.randn(6, 4, 5, generator=generator()), torch.tensor([0, 1, 1, 0, 1, 1])
    centres = 0.01 * torch.randn(4, 5, generator=generator(1))
    loss, moved = independence(parts, labels, centres, 0.05)
    expected = [[centres[m, c].item() + 0.05 * sum(parts[i, m, c].item() - centres[m, c].item() for i in range(6)) / 6
                 for c in range(5)] for m in range(4)]  # fmt: skip
    assert torch.allclose(moved, torch.tensor(expected), atol=1e-5)
    near = sum(max(0, math.dist(parts[i, m].tolist(), expected[m]) - (0.05, 0.1)[labels[i]])
               for i in range(6) for m in range(4)) / 24  # fmt: skip
    apart = sum(max(0, 0.2 - math.dist(expected[a], expected[b])) for a in range(4) for b in range(a + 1, 4))
    assert apart > 0 and loss.item() == pytest.approx(near + apart / (4 * 0.05), abs=1e-4)


def test_the_distance_of_centres_has_a_gradient():
    """The trap of detached centres: then nothing drives them apart."""
    parts = torch.zeros(2, 2, 3)
    parts[:, 0, 0], parts[:, 1, 1] = 0.05, 0.05  # within the margins of their centres' neighbourhood
    parts.requires_grad_()
    independence(parts, torch.tensor([1, 1]), torch.zeros(2, 3), 0.05)[0].backward()
    assert parts.grad[:, 0, 0].sum() < 0 and parts.grad[:, 1, 1].sum() < 0  # a step makes each larger


@pytest.mark.parametrize(("side", "rim"), [(24, 2), (14, 1), (7, 1), (4, 0)])
def test_the_rim_of_the_maps_is_silent(side, rim):
    maps = _without_rim(torch.ones(1, 2, side, side))
    assert maps.sum().item() == 2 * (side - 2 * rim) ** 2
    assert maps[0, 0, side // 2, side // 2] == 1


def test_augmentation_degrades_where_the_chosen_map_looks():
    """The trap of half-silent augmentation: every image must change, and only where its map is."""
    images = torch.rand(8, 3, 64, 64, generator=generator(2))
    attention = torch.zeros(8, 2, 8, 8)
    attention[:, 0, :4], attention[:, 1, 4:] = 1.0, 1.0
    rough, chosen = degraded(images, attention, generator(3))
    moved = (rough - images).abs().mean(1)
    top, bottom = moved[:, :24].mean((1, 2)), moved[:, 40:].mean((1, 2))
    assert set(chosen.tolist()) == {0, 1}
    for i, one in enumerate(chosen.tolist()):
        on, off = (top[i], bottom[i]) if one == 0 else (bottom[i], top[i])
        assert on > 0.02 and off < 1e-6
    assert rough.min() >= 0 and rough.max() <= 1
    again, same = degraded(images, attention, generator(3))
    assert torch.equal(again, rough) and torch.equal(same, chosen)


def test_stronger_maps_are_chosen_more_often():
    attention = torch.zeros(4000, 2, 4, 4)
    attention[:, 0] = 0.5  # sums 8 and 0: roots of 9 and 1
    _, chosen = degraded(torch.rand(4000, 3, 16, 16), attention, generator())
    assert (chosen == 0).float().mean().item() == pytest.approx(3 / 4, abs=0.03)  # s.d. .007


def test_parts_have_length_1_and_attention_is_not_negative(task):
    task.eval()
    seen = task.model.look(batch()["image"])
    assert torch.allclose(seen.parts.norm(dim=2), torch.ones(10, 4), atol=1e-4) and seen.attention.min() >= 0
    assert seen.parts.shape[1:] == task.centres.shape == task.model.parts


def test_the_terms_are_weighted_and_the_centres_move_in_training_only(task):
    task.eval()
    of = batch()
    losses, before = task(of, 0.0, 0).losses, task.centres.clone()
    seen = task.model.look(of["image"])
    assert losses["ce"] == pytest.approx(torch.nn.functional.cross_entropy(seen.logits, of["label"]).item(), abs=1e-4)
    expected = 0.5 * independence(seen.parts, of["label"], task.centres, 0.05)[0].item()
    assert losses["independence"] == pytest.approx(expected, abs=1e-4)
    rough, chosen = degraded(of["image"], seen.attention, generator(0))
    again = task.model.look(rough)
    match = [
        (again.parts[i, m] - seen.parts[i, m]).norm().item() for i in range(10) for m in range(4) if m != chosen[i]
    ]
    assert losses["match"] == pytest.approx(0.1 * sum(match) / len(match), abs=1e-4)
    assert torch.equal(task.centres, before)
    task.train()
    task(of, 0.0, 0)
    assert not torch.equal(task.centres, before) and "centres" in task.state_dict()


def test_a_gradient_reaches_every_part(task):
    task(batch(), 0.0, 0).total.backward()
    for name, part in task.model.named_children():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters()), name
    rates, s = {group["name"]: group["lr"] for group in task.parameter_groups()}, task.settings
    assert rates == {"G": s.lr, "C": s.lr * s.head_rate}
    (g,) = [group for group in task.parameter_groups() if group["name"] == "G"]
    assert len(g["params"]) == len(list(task.model.backbone.parameters()))


def test_settings_of_the_machine_are_refused():
    with pytest.raises(DidError, match="mdd computes plainly"):
        MDDTask(Settings.preset("smoke", accumulate=3), 5)
