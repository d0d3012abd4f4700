"""FDML: bands, mixed scenes, complementary masks, the four losses by plain loops, and the trap of mixing nothing."""

import math

import pytest
import torch
from batches import batch as made

from did.errors import DidError
from did.rivals.fdml import Bands, FDMLOptions, FDMLTask, Meeting, mixed_scenes
from did.settings import Settings


@pytest.fixture
def task():
    torch.manual_seed(0)
    return FDMLTask(Settings.preset("smoke"), 5, FDMLOptions(narrow=32))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_bands_sum_to_the_image_and_so_does_the_fourth():
    images = torch.rand(2, 3, 64, 64, generator=generator())
    parts = Bands(64)(images).unflatten(1, (4, 3))
    assert torch.allclose(2 * parts[:, :3].sum(1), images, atol=1e-4)
    assert torch.allclose(2 * parts[:, 3], images, atol=1e-4)


def test_scenes_are_mixed_within_a_class_and_never_left_alone():
    """The authors' script catches its own failures, so that it mixes nothing."""
    labels = torch.tensor([0, 1, 1, 0, 1])
    images = torch.arange(1.0, 6)[:, None, None, None].expand(5, 3, 10, 10)
    seen = set()
    for seed in range(30):
        mixed = mixed_scenes(images, labels, generator(seed))
        for at in range(5):
            outside, middle = (float(mixed[at, 0, y, y]) for y in (0, 5))
            middle = round(middle, 3)
            assert at + 1 in (outside, middle) and outside != middle
            assert labels[int(outside) - 1] == labels[int(middle) - 1] == labels[at]
            seen.add((at + 1, outside == at + 1))
    assert len(seen) == 10, "either may be the scene"
    alone = mixed_scenes(images[:2], torch.tensor([0, 1]), generator())
    assert torch.equal(alone, images[:2])


def test_views_are_mixed_in_training_only(task):
    of = made(FDMLTask.wants)
    task.eval()
    assert task(of, 0.0, 1).losses == task(of, 0.0, 2).losses


def test_a_meeting_is_a_product_of_two_masks():
    torch.manual_seed(0)
    meeting = Meeting(8, 9).eval()
    a, b = torch.randn(2, 2, 8, 3, 3)
    out = meeting(a, b)
    assert out.shape == a.shape and out.min() > 0 and out.max() < 1
    x = (a.relu() + b.relu()).flatten(2)
    places = x.transpose(1, 2)
    one = meeting.norm_places(places + meeting.over_places(places, places, places)[0]).transpose(1, 2).sigmoid()
    other = meeting.norm_channels(x + meeting.over_channels(x, x, x)[0]).sigmoid()
    assert torch.allclose(out.flatten(2), one * other, atol=1e-5)
    assert torch.equal(meeting(a, b), meeting(b, a))


def test_the_four_losses_by_plain_loops_and_the_source_is_always_real(task):
    of = made(FDMLTask.wants)
    task.eval()
    found = task.model.split(of["image"], of["image"])

    def cross_entropy(logits, labels):
        rows = zip(logits.tolist(), labels.tolist(), strict=True)
        return sum(math.log(sum(map(math.exp, row))) - row[label] for row, label in rows) / len(labels)

    losses, zeros = task(of, 0.0, 0).losses, torch.zeros(10, dtype=torch.long)
    for number, name in enumerate(("channels", "places")):
        assert losses[f"forgery {name}"] == pytest.approx(cross_entropy(found.forgery[number], of["label"]), abs=1e-4)
        assert losses[f"source {name}"] == pytest.approx(cross_entropy(found.source[number], zeros), abs=1e-4)
    assert len(losses) == 4
    mean = (found.forgery[0] + found.forgery[1]) / 2
    assert torch.allclose(task.detector()(of["image"]), mean[:, 1] - mean[:, 0], atol=1e-5)


def test_both_halves_sum_to_the_features(task):
    """The mask over channels is complementary: with a mask of 1 the forgery's half is 0."""
    task.eval()
    last = [layer for layer in task.model.over_channels if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(99)
        of = made(FDMLTask.wants, 3)["image"]
        logits = task.model.split(of, of).forgery[0]
        assert torch.allclose(logits, task.model.channel_heads[0](torch.zeros(3, last.out_features)), atol=1e-6)


def test_the_authors_size_is_the_default():
    torch.manual_seed(0)
    wide = FDMLTask(Settings.preset("smoke"), 5).model.over_channels
    assert {layer.in_features for layer in wide if isinstance(layer, torch.nn.Linear)} == {2 * 256}
    with pytest.raises(DidError, match="fdml computes plainly"):
        FDMLTask(Settings.preset("smoke", accumulate=3), 5)
