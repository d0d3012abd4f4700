"""UCF: its losses against plain loops, who is paired with whom, a gradient for every part, the detector's graph."""

import math

import pytest
import torch
from batches import batch as made

from did.errors import DidError
from did.rivals.ucf import Decoder, UCFTask, adain, partners, triplet
from did.settings import Settings
from did.task import task_named


@pytest.fixture
def task():
    torch.manual_seed(0)
    return UCFTask(Settings.preset("smoke"), num_domains=5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n=15):
    return made(UCFTask.wants, n)


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def test_triplets_by_a_plain_loop():
    a, p, n = torch.randn(3, 6, 4, generator=generator())
    expected = [max(0, distance(a[i], p[i]) - distance(a[i], n[i]) + 3.0) for i in range(6)]
    assert triplet(a, p, n).item() == pytest.approx(sum(expected) / 6, abs=1e-5)
    assert triplet(a[:0], p[:0], n[:0]).item() == 0
    assert triplet(a, a, a + 100).item() == 0


def test_a_partner_is_another_of_the_group_and_all_are_taken_once():
    groups = torch.tensor([0, 1, 1, 0, 2, 1, 0, 0])
    seen = {tuple(partners(groups, generator(seed)).tolist()) for seed in range(30)}
    for found in map(torch.tensor, seen):
        assert (groups[found] == groups).all() and sorted(found.tolist()) == list(range(8))
        assert found[4] == 4 and not (found == torch.arange(8))[groups != 2].any()
    assert len(seen) > 5


def test_adain_gives_the_styles_mean_and_spread():
    content, style = torch.randn(2, 3, 5, 5), 2 + 3 * torch.randn(2, 3, 7, 7)
    out = adain(content, style)
    assert torch.allclose(out.mean((2, 3)), style.mean((2, 3)), atol=1e-4)
    assert torch.allclose(out.std((2, 3), unbiased=False), style.std((2, 3), unbiased=False), atol=1e-3)
    assert torch.allclose(adain(10 * content + 5, style), out, atol=1e-3)


def test_the_decoder_gives_the_images_size_in_its_range():
    out = Decoder(64, 112)(torch.randn(2, 64, 4, 4), torch.randn(2, 64, 4, 4))
    assert out.shape == (2, 3, 112, 112) and out.abs().max() <= 1


def test_a_partner_of_the_other_class_is_of_it():
    labels = batch()["label"]
    for seed in range(10):
        assert (labels[UCFTask._of_the_other(labels, generator(seed))] != labels).all()


def test_reconstruction_counts_four_images_alike(task):
    task.eval()
    of = batch()
    style = torch.cat(task.model.split(of["image"]), 1)
    found = task.reconstruction(of["image"], style, of["label"], generator(7)).item()
    other = task._of_the_other(of["label"], generator(7)).tolist()
    content, expected = task.content(of["image"]), 0.0
    for label in (0, 1):
        rows = [i for i in range(15) if of["label"][i] == label]
        for give in (lambda i: i, lambda i: other[i]):
            errors = [
                (task.decoder(content[i : i + 1], style[give(i) : give(i) + 1]) - (2 * of["image"][i] - 1)).abs().mean()
                for i in rows
            ]
            expected += sum(errors).item() / len(rows)
    assert found == pytest.approx(expected, abs=1e-4)


def test_contrast_by_a_plain_loop(task):
    of = batch()
    specific, shared = torch.randn(2, 15, 6, generator=generator(3))
    found = task.contrast(specific, shared, of["label"], of["domain"], generator(5)).item()
    draws, expected = generator(5), 0.0
    other = task._of_the_other(of["label"], draws)
    for features, groups in ((shared, of["label"]), (specific, of["domain"])):
        same = partners(groups, draws)
        for label in (0, 1):
            each = [max(0, distance(features[i], features[same[i]]) - distance(features[i], features[other[i]]) + 3)
                    for i in range(15) if of["label"][i] == label]  # fmt: skip
            expected += sum(each) / len(each)
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_terms_are_weighted(task):
    task.eval()
    of = batch()
    seed = next(s for s in range(20) if torch.rand((), generator=generator(s)) >= 0.7)  # the shared parts stay
    losses = task(of, 0.0, seed).losses
    specific, shared = (part.mean((2, 3)) for part in task.model.split(of["image"]))
    ce = torch.nn.functional.cross_entropy
    assert losses["ce"] == pytest.approx(ce(task.model.shared_head(shared), of["label"]).item(), abs=1e-4)
    expected = 0.1 * ce(task.model.specific_head(specific), of["domain"]).item()
    assert losses["specific"] == pytest.approx(expected, abs=1e-4)
    assert list(losses) == ["ce", "specific", "rec", "con"] and losses == task(of, 0.0, seed).losses


def test_a_gradient_reaches_every_part(task):
    task(batch(), 0.0, 0).total.backward()
    for part in (task.model.backbone, task.model.squeeze, task.model.specific, task.model.shared, task.content,
                 task.model.specific_head, task.model.shared_head, task.decoder):  # fmt: skip
        assert all(p.grad is not None for p in part.parameters())
        assert any(p.grad.abs().sum() > 0 for p in part.parameters())
    rates, s = {group["name"]: group["lr"] for group in task.parameter_groups()}, task.settings
    assert rates == {"G": s.lr, "C": s.lr * s.head_rate}


def test_the_detector_is_the_shared_head_alone(task):
    assert task_named("ucf") is UCFTask
    task.eval()
    images, order = batch()["image"], torch.randperm(15)
    scores = task.detector()(images)
    logits = task.model.shared_head(task.model.split(images)[1].mean((2, 3)))
    assert torch.allclose(scores, logits[:, 1] - logits[:, 0], atol=1e-5)
    assert torch.allclose(scores[order], task.detector()(images[order]), atol=1e-5)
    assert task.domain_graph()(images).shape == (15, 5)


def test_a_batch_of_one_class_is_one_sentence(task):
    of = {name: values[:1] for name, values in batch().items()}
    with pytest.raises(DidError, match="ucf takes batches with real and fake faces"):
        task(of, 0.0, 0)
