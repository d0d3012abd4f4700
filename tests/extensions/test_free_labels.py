"""Labels that nobody gives: the environments are EIIL's optimum, shares are balanced, corruptions are what they say."""

import numpy as np
import pytest
import torch
from batches import batch
from test_unlabelled import faces
from torch.nn import functional as F

from did.errors import DidError
from did.extensions import free_labels
from did.extensions.free_labels import CORRUPTIONS, KEPT, DiscoveredOptions, balanced, corrupted, environments
from did.extensions.unlabelled import style
from did.method.backbones import evaluating
from did.settings import Settings
from did.task import Wants, task_named
from did.utils import checkpoints

RNG = np.random.default_rng(0)


def task_of(name="discovered", domains=3, **options):
    torch.manual_seed(0)
    kind = task_named(name)
    return kind(Settings.preset("smoke", sampler="uniform", lambda_dom=0.5), domains, kind.Options(**options))


def gap(q, logits, labels):
    """EIIL's objective, the derivative taken by autograd."""
    total = 0.0
    for weight in (q, 1 - q):
        w = torch.ones((), dtype=torch.float64, requires_grad=True)
        loss = (weight * F.binary_cross_entropy_with_logits(w * logits, labels, reduction="none")).mean()
        total = total + torch.autograd.grad(loss, w, create_graph=True)[0] ** 2
    return total


def test_the_environments_are_the_largest_gap_that_gradient_ascent_finds():
    logits, labels = RNG.normal(size=200), RNG.integers(2, size=200)
    f, y = torch.from_numpy(logits), torch.from_numpy(labels).double()
    mine = torch.from_numpy(environments(logits, labels)).double()
    a = torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([a], 0.1)
    for _ in range(500):
        optimizer.zero_grad()
        (-gap(a.sigmoid(), f, y)).backward()
        optimizer.step()
    found = a.detach().sigmoid()
    best = gap(mine, f, y).item()
    assert gap(found, f, y).item() <= best * (1 + 1e-9) and gap(found, f, y).item() > 0.95 * best
    agrees = ((found > 0.5) == (mine > 0.5)).double().mean().item()
    assert max(agrees, 1 - agrees) > 0.95
    assert environments(np.array([2.0, -2.0, 2.0, -2.0]), np.array([1, 1, 0, 0])).tolist() == [True, False, False, True]


def test_shares_are_balanced_even_where_all_rows_prefer_one_column():
    scores = torch.rand(60, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.5, 0.0, 0.0])
    found = balanced(scores, iterations=50, epsilon=0.2)
    assert found.sum(1).numpy() == pytest.approx(1, abs=1e-5) and found.sum(0).numpy() == pytest.approx(20, abs=0.1)
    assert (scores.argmax(1) == 0).float().mean() > 0.7 > 0.5 > (found.argmax(1) == 0).float().mean()
    # A single iteration, by hand: columns are divided by their sums and their number, then rows by their sums.
    one = torch.exp(scores / 0.2)
    one = one / one.sum(0)
    assert torch.allclose(balanced(scores, 1, 0.2), one / one.sum(1, keepdim=True), atol=1e-6)


def test_fakes_are_in_the_environment_of_what_a_reference_says_of_other_people(monkeypatch):
    train, task = faces(), task_of(labels="environments")
    asked = {}

    def reference(seen, labels, people):
        asked.update(people=people)
        return np.where(train.domains == 1, -1.0, 1.0)

    monkeypatch.setattr(free_labels, "_reference", reference)
    task.begin(train)
    assert task.pseudo.tolist() == train.domains.tolist() and task.clusters == 2
    assert asked["people"].tolist() == [identity.split("+")[0] for identity in train.rows.identity]
    assert task.agreement.item() == pytest.approx(1) and task.domain_graph() is None


def test_the_reference_is_fitted_on_other_people():
    """Each person has a number of her own that tells her label, and nothing else does: the reference must not know."""
    people = np.repeat(np.arange(40), 2)
    labels = np.tile([0, 1], 40)
    seen = np.eye(40)[people] * (2 * labels - 1)[:, None] * RNG.choice([-1, 1], 40)[people][:, None]
    logits = free_labels._reference(seen, labels, people)
    assert abs(((logits > 0) == labels).mean() - 0.5) < 0.2
    assert ((free_labels._reference(labels[:, None] + 0.0, labels, people) > 0) == labels).all()


def test_prototypes_follow_the_batches_and_share_the_fakes(monkeypatch):
    train, task = faces(people=24), task_of(labels="prototypes")
    task.begin(train)
    assert (task.pseudo[train.labels == 0] == 0).all() and set(task.pseudo[train.labels == 1].tolist()) == {1, 2}
    before = {name: getattr(task, name).clone() for name in ("prototypes", "queue", "pseudo")}
    rows = np.flatnonzero(train.labels == 1)[:6].tolist() + [0, 3]
    of = {"image": torch.stack([train[row]["image"] for row in rows]), "label": torch.tensor([1] * 6 + [0, 0]),
          "domain": torch.from_numpy(train.domains[rows]), "index": torch.tensor(rows)}  # fmt: skip
    with torch.no_grad(), evaluating(task.model.backbone):
        seen = (style(task.model.backbone(of["image"][:6])) - task.moments[0]) / task.moments[1]
    z = F.normalize(seen, dim=1)
    expected = balanced(torch.cat([before["queue"], z]) @ before["prototypes"].T)[-6:].argmax(1)
    moved = before["prototypes"].clone()
    for group in expected.unique().tolist():
        towards = F.normalize(z[expected == group].sum(0), dim=0)
        moved[group] = F.normalize(KEPT * moved[group] + (1 - KEPT) * towards, dim=0)
    step = task(of, 0.5, 0, details=True)
    assert task.pseudo[rows[:6]].tolist() == (1 + expected).tolist()
    assert torch.allclose(task.prototypes, moved, atol=1e-5) and torch.allclose(task.queue[-6:], z, atol=1e-5)
    assert not torch.equal(task.prototypes, before["prototypes"]) and 0 <= step.values["NMI of groups and methods"] <= 1
    assert task.prototypes.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert torch.equal(task.queue[:-6], before["queue"][6:])  # the real faces are not assigned
    untouched = [at for at in range(len(train.labels)) if at not in rows]
    assert torch.equal(task.pseudo[untouched], before["pseudo"][untouched]) and (task.pseudo[[0, 3]] == 0).all()


def test_the_domain_loss_learns_the_assignment_and_not_the_methods():
    train, task = faces(people=24), task_of(labels="environments")
    task.begin(train)
    of = batch(Wants(), 10)
    of["domain"] = of["domain"].clamp(max=2)
    step = task(of, 0.5, 0)
    assert task({**of, "domain": 2 - of["domain"]}, 0.5, 0).losses == step.losses
    task.pseudo = 2 - task.pseudo
    assert task(of, 0.5, 0).losses["dom"] != step.losses["dom"]


@pytest.mark.parametrize("labels", free_labels.KINDS)
def test_what_was_found_is_part_of_the_state(labels, tmp_path):
    train, task = faces(), task_of(labels=labels)
    task.begin(train)
    checkpoints.save(tmp_path / "x.safetensors", task.state_dict(), {})
    other = task_of(labels=labels)
    checkpoints.put(other, checkpoints.load(tmp_path / "x.safetensors")[0], tmp_path / "x.safetensors")
    for name in ("pseudo", "methods", "prototypes", "queue", "moments"):
        assert torch.equal(getattr(other, name), getattr(task, name)), name


def test_each_corruption_is_itself_in_the_middle_and_nothing_at_the_rim():
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    found = {name: corrupted(images, torch.tensor([at]))[0, 0] for at, name in enumerate(CORRUPTIONS)}
    image, middle = images[0, 0], (slice(24, 40), slice(24, 40))
    for name, changed in found.items():
        assert torch.equal(changed[:4], image[:4]) and not torch.equal(changed[middle], image[middle]), name
    assert found["brightened"][middle].numpy() == pytest.approx((1.1 * image + 0.05)[middle].numpy(), abs=1e-6)
    spread = {name: changed[middle].std().item() for name, changed in found.items()}
    assert spread["quartered"] < spread["halved"] < image[middle].std().item() < spread["sharpened"]
    both = corrupted(images.expand(2, -1, -1, -1), torch.tensor([3, 0]))
    assert torch.equal(both[0, 0], found["brightened"]) and torch.equal(both[1, 0], found["halved"])


def test_corruptions_label_the_real_faces_alone():
    task, of = task_of("corruptions"), batch(Wants(), 10)
    task.eval()  # a fake must not reach the real ones by batch normalisation either
    step = task(of, 0.5, 0)
    assert task.num_domains == 5 and task.domain_graph() is None
    assert task({**of, "domain": of["domain"].flip(0)}, 0.5, 0).losses == step.losses
    fakes = of["label"] == 1
    other = {**of, "image": torch.where(fakes[:, None, None, None], 1 - of["image"], of["image"])}
    assert task(other, 0.5, 0).losses["dom"] == pytest.approx(step.losses["dom"], abs=1e-5)
    assert task(other, 0.5, 0).losses["cls"] != step.losses["cls"]
    assert task(of, 0.5, 1).losses["dom"] != step.losses["dom"]  # other corruptions in another step
    none = {**of, "label": torch.ones_like(of["label"])}
    assert task(none, 0.5, 0).losses["dom"] == 0


def test_the_corruptions_loss_is_the_mean_over_real_faces_and_their_copies():
    task, of = task_of("corruptions"), batch(Wants(), 10)
    task.eval()
    which = torch.randint(len(CORRUPTIONS), (10,), generator=torch.Generator().manual_seed(7))
    total, count = 0.0, 0
    for at in (of["label"] == 0).nonzero()[:, 0].tolist():
        image = of["image"][at : at + 1]
        copy = corrupted(image, which[at : at + 1])
        for images, domain in ((image, 0), (copy, 1 + int(which[at]))):
            logits = task.model(images).domain_logits[0]
            total, count = total - F.log_softmax(logits, 0)[domain].item(), count + 1
    assert task(of, 0.5, 7).losses["dom"] == pytest.approx(task.settings.lambda_dom * total / count, abs=1e-5)


def test_what_cannot_be_is_one_sentence():
    with pytest.raises(DidError, match="unknown labels 'environment': did you mean 'environments'"):
        DiscoveredOptions("environment")
    with pytest.raises(DidError, match="2 fakes are too few for 2 groups: train on more"):
        task_of(labels="environments").begin(faces(people=1))
