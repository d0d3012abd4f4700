"""From the store to batches: pixels, labels, domains; balance; the same batches whenever and wherever."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from did.data import loading
from did.errors import DidError
from did.task import Wants

METHODS = ["real", "FaceSwap", "Deepfakes"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """(rows, root, pictures): seven noise crops a method, 64 pixels a side."""
    root = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    rows, pictures = [], []
    for method in METHODS:
        for number in range(7):
            picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            face = f"faces/{method}/000/{number:04d}.png"
            (root / face).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / face)
            rows.append({"face": face, "label": int(method != "real"), "method": method})
            pictures.append(picture)
    return pd.DataFrame(rows), root, np.stack(pictures)


@pytest.fixture
def faces(store) -> loading.Faces:
    return loading.Faces(store[0], store[1], size=64)


def test_domains_are_real_then_the_methods_by_name(store):
    assert loading.domain_names(store[0]) == ["real", "Deepfakes", "FaceSwap"]
    assert loading.domain_names(store[0][7:]) == ["real", "Deepfakes", "FaceSwap"]


def test_an_item(store, faces):
    item = faces[9]
    assert len(faces) == 21
    assert {key: value for key, value in item.items() if key != "image"} == {"label": 1, "domain": 2, "index": 9}
    assert (faces[3]["label"], faces[3]["domain"]) == (0, 0)
    assert (faces[15]["label"], faces[15]["domain"]) == (1, 1)
    assert item["image"].shape == (1, 64, 64)
    assert item["image"].dtype == torch.float32


def test_gray_is_pillows_and_rec_601(store, faces):
    picture = store[2][9]
    gray = faces[9]["image"][0].numpy() * 255
    assert np.array_equal(gray.round(), np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32))
    assert np.abs(gray - picture @ [0.299, 0.587, 0.114]).max() <= 1


def test_colour(store):
    image = loading.Faces(store[0], store[1], size=64, wants=Wants(channels=3))[4]["image"]
    assert image.shape == (3, 64, 64)
    assert np.array_equal((image.numpy() * 255).round().transpose(1, 2, 0), store[2][4])


def test_half_the_size_is_the_mean_of_two_by_two(store):
    image = loading.Faces(store[0], store[1], size=32, wants=Wants(channels=3))[4]["image"].numpy() * 255
    means = store[2][4].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(image - means).max() <= 1  # Pillow rounds after each direction


def test_another_size(store):
    assert loading.Faces(store[0], store[1], size=96)[0]["image"].shape == (1, 96, 96)


def test_domains_can_be_given_and_must_cover_the_methods(store):
    rows, root, _ = store
    given = loading.Faces(rows, root, 64, domains=["real", "Other", "FaceSwap", "Deepfakes"])
    assert Counter(given.domains.tolist()) == {0: 7, 2: 7, 3: 7}
    with pytest.raises(DidError, match="'Deepfakes' is not among the domains real, FaceSwap"):
        loading.Faces(rows, root, 64, domains=["real", "FaceSwap"])


def test_no_rows(store):
    with pytest.raises(DidError, match="no face crops"):
        loading.Faces(store[0][:0], store[1], 64)


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(40), "half"])
def test_an_unreadable_crop_is_named_and_not_replaced(store, tmp_path, content):
    rows, root, _ = store
    file = tmp_path / rows["face"][0]
    file.parent.mkdir(parents=True)
    if content == "half":
        whole = (root / rows["face"][0]).read_bytes()
        content = whole[: len(whole) // 2]
    if content is not None:
        file.write_bytes(content)
    broken = loading.Faces(rows, tmp_path, 64)
    with pytest.raises(DidError, match=r"faces/real/000/0000\.png cannot be read"):
        broken[0]


DOMAINS = np.repeat([0, 1, 2], [50, 20, 9])


def test_balanced_batches_are_equal_and_without_repeats():
    seen = set()
    for batch in loading.BalancedBatches(DOMAINS, 15, iterations=60, seed=3):
        assert Counter(DOMAINS[batch].tolist()) == {0: 5, 1: 5, 2: 5}
        assert len(set(batch)) == 15
        seen |= set(batch)
    assert len(seen) == len(DOMAINS)


def test_the_places_left_over_change_hands():
    extra: Counter[int] = Counter()
    for batch in loading.BalancedBatches(DOMAINS, 16, iterations=300, seed=3):
        counts = Counter(DOMAINS[batch].tolist())
        assert sorted(counts.values()) == [5, 5, 6]
        extra[max(counts, key=counts.__getitem__)] += 1
    assert all(70 < extra[domain] < 130 for domain in range(3))


def test_the_order_in_a_batch_does_not_give_the_domain_away():
    firsts = [DOMAINS[batch[0]] for batch in loading.BalancedBatches(DOMAINS, 15, iterations=90, seed=0)]
    assert set(Counter(firsts)) == {0, 1, 2}


@pytest.mark.parametrize("kind", [loading.BalancedBatches, loading.UniformBatches])
def test_a_batch_depends_on_seed_and_number_alone(kind):
    whole = list(kind(DOMAINS, 16, iterations=12, seed=5))
    sampler = kind(DOMAINS, 16, iterations=12, seed=5, start=7)
    assert len(sampler) == 5
    assert list(sampler) == whole[7:]
    assert list(sampler) == whole[7:]
    assert list(kind(DOMAINS, 16, iterations=40, seed=5))[:12] == whole
    assert list(kind(DOMAINS, 16, iterations=12, seed=6)) != whole
    assert len({tuple(batch) for batch in whole}) == 12


def test_uniform_batches_follow_the_frequencies():
    drawn: Counter[int] = Counter()
    for batch in loading.UniformBatches(DOMAINS, 20, iterations=300, seed=0):
        assert len(set(batch)) == 20
        drawn.update(DOMAINS[batch].tolist())
    shares = [drawn[domain] / 6000 for domain in range(3)]
    assert shares == pytest.approx([50 / 79, 20 / 79, 9 / 79], abs=0.02)


@pytest.mark.parametrize(
    ("kind", "batch_size", "start", "message"),
    [
        (loading.BalancedBatches, 2, 0, "batch size 2 is smaller than the number of domains, 3"),
        (loading.BalancedBatches, 28, 0, "takes 10 samples of a domain, and one domain has 9"),
        (loading.BalancedBatches, 15, 11, "start at 11 of 10"),
        (loading.UniformBatches, 0, 0, "batch size 0 must lie between 1 and 79"),
        (loading.UniformBatches, 80, 0, "batch size 80 must lie between 1 and 79"),
    ],
)
def test_impossible_batches(kind, batch_size, start, message):
    with pytest.raises(DidError, match=message):
        kind(DOMAINS, batch_size, iterations=10, seed=0, start=start)


def test_loaders_give_the_same_with_workers_and_leave_the_global_state_alone(faces):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    loaders = [loading.batches(faces, 6, iterations=3, seed=1, num_workers=workers) for workers in (0, 2)]
    alone, together = ([batch for batch in loader] for loader in loaders)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(alone) == len(together) == 3
    for a, b in zip(alone, together, strict=True):
        assert a["image"].shape == (6, 1, 64, 64)
        assert Counter(a["domain"].tolist()) == {0: 2, 1: 2, 2: 2}
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_unbalanced_batches(faces):
    loader = loading.batches(faces, 6, iterations=20, seed=1, sampler="uniform")
    assert any(Counter(batch["domain"].tolist()) != {0: 2, 1: 2, 2: 2} for batch in loader)


def test_ordered_gives_every_row_once_in_order(faces):
    batches = list(loading.ordered(faces, 8))
    assert [len(batch["label"]) for batch in batches] == [8, 8, 5]
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(21))
    assert torch.cat([batch["label"] for batch in batches]).tolist() == [0] * 7 + [1] * 14
