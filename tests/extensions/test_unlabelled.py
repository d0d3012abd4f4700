"""Pseudo-domains: groups that are there are found, the controls are what they say, and L_dom learns the groups."""

import types

import numpy as np
import pandas as pd
import pytest
import torch
from batches import batch

from did.errors import DidError
from did.extensions.unlabelled import UnlabelledOptions, style
from did.settings import Settings
from did.task import task_named
from did.utils import checkpoints


def faces(people=12, textured=True):
    """Training faces of two methods: each leaves a texture of its own on its target's real frame."""
    generator = torch.Generator().manual_seed(0)
    rows, images = [], []
    stripes = (torch.arange(64) % 2).float().expand(64, 64)
    for person in range(people):
        plain = torch.rand(1, 64, 64, generator=generator) * 0.3 + 0.5 * torch.rand(1, generator=generator)
        for domain, texture in enumerate((None, stripes, stripes.T)):
            images.append(plain if texture is None or not textured else plain + 0.2 * texture)
            rows.append({"label": int(domain > 0), "domain": domain, "frame": 0, "video": f"{domain}/{person}",
                         "identity": str(person) if domain == 0 else f"{person}+{(person + 1) % people}"})  # fmt: skip
    table = pd.DataFrame(rows)

    class Train:
        labels, domains = table.label.to_numpy(), table.domain.to_numpy()

        def __getitem__(self, at):
            return {"image": images[at]}

    Train.rows = table
    return Train()


def task_of(domains=3, **options):
    torch.manual_seed(0)
    kind = task_named("unlabelled")
    return kind(Settings.preset("smoke", sampler="uniform"), domains, UnlabelledOptions(**options))


def test_style_is_the_mean_and_the_spread_of_each_channel():
    maps = torch.arange(24.0).view(1, 2, 3, 4)
    assert style(maps)[0].tolist() == pytest.approx([5.5, 17.5, *[np.arange(12).std()] * 2], rel=1e-6)


def test_real_faces_stay_domain_0_and_the_true_labels_are_a_control():
    train, task = faces(), task_of(labels="true")
    task.begin(train)
    assert task.pseudo.tolist() == train.domains.tolist() and task.agreement.item() == pytest.approx(1)


def test_residuals_find_the_methods_where_they_leave_a_texture():
    train, task = faces(), task_of(labels="residual")
    task.begin(train)
    assert (task.pseudo[train.labels == 0] == 0).all() and set(task.pseudo[train.labels == 1].tolist()) == {1, 2}
    assert task.agreement.item() > 0.9


def test_random_groups_agree_with_nothing_and_depend_on_the_seed_alone():
    train = faces(people=60)
    found = []
    for _ in range(2):
        task = task_of(labels="random")
        task.begin(train)
        found.append(task.pseudo.tolist())
    assert found[0] == found[1] and task.agreement.item() < 0.1


def test_the_domain_loss_learns_the_groups_and_not_the_methods():
    train, task = faces(), task_of(labels="random")
    task.begin(train)
    of = batch(types.SimpleNamespace(frames=1, channels=1, masks=False, context=None, blended=False), 10)
    of["domain"] = of["domain"].clamp(max=2)
    step = task(of, 0.5, 0)
    swapped = {**of, "domain": 2 - of["domain"]}
    assert task(swapped, 0.5, 0).losses == step.losses  # The methods are not looked at.
    task.pseudo = 2 - task.pseudo
    assert task(of, 0.5, 0).losses["dom"] != step.losses["dom"]
    assert 0 <= step.values["NMI of groups and methods"] <= 1 and task.domain_graph() is None


def test_groups_are_part_of_the_state_whatever_their_number(tmp_path):
    train, task = faces(), task_of(labels="style", clusters=4)
    task.begin(train)
    assert task.model.domain_classifier.layers[-1].out_features == 5
    checkpoints.save(tmp_path / "x.safetensors", task.state_dict(), {})
    other = task_of(labels="style", clusters=4)
    checkpoints.put(other, checkpoints.load(tmp_path / "x.safetensors")[0], tmp_path / "x.safetensors")
    assert torch.equal(other.pseudo, task.pseudo) and torch.equal(other.agreement, task.agreement)


def test_what_cannot_be_grouped_is_one_sentence():
    train = faces(people=2)
    with pytest.raises(DidError, match="4 fakes are too few for 4 groups: lower the option clusters"):
        task_of(clusters=4).begin(train)
    train = faces()
    train.rows.loc[train.rows.label == 0, "identity"] = "somebody"
    with pytest.raises(DidError, match=r"has no real frame of 0 beside it: take labels=style"):
        task_of(labels="residual").begin(train)
    with pytest.raises(DidError, match="unknown labels 'stile': did you mean 'style'"):
        UnlabelledOptions(labels="stile")
