"""What a task wants of its batches: pairs, frames of a video, transforms, wider crops, masks; and a run with all."""

import dataclasses

import numpy as np
import pytest
import torch

from did.data import loading
from did.data.loading import PairedBatches, batches
from did.errors import DidError
from did.sources import face_store, open_source
from did.task import _REGISTER, Step, Task, Wants, register_task
from did.training.runs import run


def faces(tiny_source, **wants):
    store = tiny_source[1]
    rows = store.manifest[store.manifest["split"] == "train"]
    return loading.Faces(rows, store.root, 32, wants=Wants(**wants), training=True)


def test_a_task_that_wants_nothing_gets_the_same_batches(tiny_source):
    plain, asked = faces(tiny_source), faces(tiny_source, channels=1)
    for one, other in zip(batches(plain, 10, 3, seed=4), batches(asked, 10, 3, seed=4), strict=True):
        assert one.keys() == other.keys() == {"image", "label", "domain", "index"}
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_pairs_put_a_real_face_beside_forgeries_of_the_same_target(tiny_source):
    of = faces(tiny_source, pairs=True)
    for batch in batches(of, 10, 4, seed=0):
        rows = of.rows.iloc[batch["index"].tolist()]
        targets = rows["identity"].str.split("+").str[0].tolist()
        # Groups of one real face and one forgery by each of the four methods.
        assert [targets[:5], targets[5:]] == [[targets[0]] * 5, [targets[5]] * 5]
        assert batch["domain"][[0, 5]].tolist() == [0, 0]
        assert all(sorted(batch["domain"][i : i + 5].tolist()) == [0, 1, 2, 3, 4] for i in (0, 5))


def test_pairs_resume_where_they_were():
    domains, targets = [0, 1, 2] * 4, [i // 3 for i in range(12)]
    whole = list(PairedBatches(domains, targets, 6, 5, seed=3))
    assert list(PairedBatches(domains, targets, 6, 5, seed=3, start=2)) == whole[2:]
    assert whole[0] != whole[1]


@pytest.mark.parametrize(("domains", "targets"), [([0, 0, 1], ["a", "b", "c"]), ([1, 1], ["a", "a"])])
def test_no_pairs_are_named(domains, targets):
    with pytest.raises(DidError, match="a real face and a forgery of the same target"):
        PairedBatches(domains, targets, 2, 1, seed=0)


def test_frames_are_those_around_in_the_order_of_time(tiny_source):
    of = faces(tiny_source, frames=3)
    first = next(i for i, row in enumerate(of.rows.itertuples()) if row.frame == 0)
    video = of.rows.video[first]
    item, alone = of[first]["image"], faces(tiny_source)
    of_video = [i for i in range(len(of.rows)) if of.rows.video[i] == video]
    one, two = sorted(of_video, key=lambda i: of.rows.frame[i])
    assert item.shape == (3, 1, 32, 32)
    assert torch.equal(item, torch.stack([alone[i]["image"] for i in (one, one, two)]))


def test_a_transform_is_seeded_by_batch_and_spares_tests(tiny_source):
    def noisy(image, generator):
        return image + torch.rand(image.shape, generator=generator)

    of = faces(tiny_source, transform=noisy)
    first, again = ([b["image"] for b in batches(of, 10, 2, seed=1)] for _ in range(2))
    assert all(map(torch.equal, first, again))
    (resumed,) = [b["image"] for b in batches(of, 10, 2, seed=1, start=1)]
    assert torch.equal(resumed, first[1])
    plain = next(iter(batches(faces(tiny_source), 10, 2, seed=1)))["image"]
    noise = first[0] - plain
    assert noise.min() >= -1e-6 and 0.2 < noise.std() < 0.4
    assert not torch.allclose(noise[0], noise[1])
    of.training = False
    assert torch.equal(of[3]["image"], faces(tiny_source)[3]["image"])


def test_what_cannot_be_had_is_named(tiny_source):
    with pytest.raises(DidError, match="masks of what was forged, which only stand-ins have"):
        faces(tiny_source, masks=True)
    with pytest.raises(DidError, match=r"crops of margin 0\.8 beside its own; give their store"):
        faces(tiny_source, context=0.8)


def test_a_wider_crop_that_the_store_lacks_is_named_before_any_batch(tiny_source):
    store = tiny_source[1]
    given = {"wants": Wants(context=0.8), "context": store.only("Deepfakes")}
    with pytest.raises(DidError, match=r"has no crop faces/Face2Face/.*\(84 of 140 are missing\): prepare"):
        loading.Faces(store.manifest, store.root, 32, **given)
    known = loading.Faces(given["context"].manifest[::-1], store.root, 32, **given)
    assert all(torch.equal(known[number]["context"], known[number]["image"]) for number in (0, 20, 55))


@pytest.fixture
def greedy():
    """A task that wants everything and notes what it gets."""
    seen = []

    class Greedy(Task):
        wants = Wants(channels=3, transform=lambda x, _: 1 - x, pairs=True, masks=True, context=0.9, frames=2)

        def __init__(self, settings, num_domains=2, options=None):
            super().__init__(settings, num_domains, options)
            self.model = torch.nn.Sequential()
            self.model.backbone = torch.nn.Linear(3, 1)
            self.model.forward = self.scores

        def scores(self, images, context):
            assert images.shape[2:] == context.shape[1:]
            return self.model.backbone(images.mean((1, 3, 4))).squeeze(1)

        def forward(self, batch, progress, seed, details=False):
            seen.append({name: value.detach().clone() for name, value in batch.items()})
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                self.model(batch["image"], batch["context"]), batch["label"].float()
            )
            return Step({"cls": loss}, {})

    register_task("greedy")(Greedy)
    yield seen
    del _REGISTER["greedy"]


def test_a_run_gives_a_task_all_that_it_wants(greedy, tiny_settings, tmp_path, furnish, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(furnish(tmp_path)))
    source = open_source("ffpp", "stand-in", preset="smoke", progress=False)
    settings = dataclasses.replace(tiny_settings, iterations=2, validate_every=2, batch_size=5)
    done = run(source, settings, "greedy", progress=False)
    batch = greedy[0]
    side = settings.image_size
    assert batch["image"].shape == (5, 2, 3, side, side)
    assert batch["mask"].shape == (5, 1, side, side) and batch["context"].shape == (5, 3, side, side)
    shares = batch["mask"].mean((1, 2, 3))
    assert (shares[batch["domain"] == 0] == 0).all() and (shares[batch["domain"] > 0] > 0.02).all()
    # A wider crop is another picture of the same face: much like the crop, not equal to it.
    crop, wide = (1 - batch["image"][:, 1]).flatten(1), batch["context"].flatten(1)
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(crop.numpy(), wide.numpy(), strict=True)]
    assert all(0.2 < each < 0.999 for each in alike), alike
    assert done.scores.score.notna().all()
    stores = {path.parent for path in (tmp_path / "data/faces").glob("*/store.json")}
    assert len(stores) == 2 and face_store(source, settings, progress=False).root in stores
