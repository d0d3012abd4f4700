"""RL: actions that keep shape and range, rewards by a plain loop, an agent that finds what pays, the chosen mean."""

import math

import pytest
import torch
from batches import batch as made

from did.rivals.rl import ACTIONS, Agent, RLOptions, RLTask, learn, rewards
from did.settings import Settings
from did.training import runs

K = len(ACTIONS)


@pytest.fixture
def task():
    torch.manual_seed(0)
    return RLTask(Settings.preset("smoke"), 5)


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_keeps_shape_and_range_and_changes_something(name):
    x = torch.linspace(0.1, 0.9, 32)
    images = (x[:, None] * x + 0.1 * torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    out = ACTIONS[name](images)
    assert out.shape == images.shape and out.min() >= 0 and out.max() <= 1
    assert torch.equal(out, images) == (name == "as it is")
    assert torch.allclose(ACTIONS[name](images[:1]), out[:1], atol=1e-6)


def test_rewards_by_a_plain_loop():
    scores, labels = torch.randn(4, K, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0])
    found = rewards(scores, labels)

    def likelihood(p, label):
        return math.log(p if label else 1 - p)

    for i in range(4):
        for a in range(K):
            plain, copy = (1 / (1 + math.exp(-scores[i, j].item())) for j in (0, a))
            expected = likelihood((plain + copy) / 2, labels[i]) - likelihood(plain, labels[i])
            assert found[i, a].item() == pytest.approx(expected, abs=1e-4)
    assert torch.allclose(found[:, 0], torch.zeros(4), atol=1e-6), "doing nothing earns nothing"


def test_the_agent_finds_what_pays_for_each_kind_of_face():
    torch.manual_seed(0)
    features = torch.randn(200, 8)
    best = torch.where(features[:, 0] > 0, 3, 7)
    earned = torch.nn.functional.one_hot(best, K).float()
    agent = Agent(8, 64)
    learn(agent, features, earned, RLOptions(rounds=150), seed=0)
    assert (agent(features)[0].argmax(1) == best).float().mean() > 0.9
    assert not any(p.requires_grad for p in agent.parameters())


def test_where_nothing_pays_no_action_is_sure():
    torch.manual_seed(0)
    features = torch.randn(100, 8)
    agent = Agent(8, 64)
    learn(agent, features, torch.zeros(100, K), RLOptions(), seed=0)
    assert agent(features)[0].softmax(1).max() < 0.5


def test_learning_starts_anew_each_time_and_leaves_torchs_random_state(task):
    torch.manual_seed(0)
    features, earned = torch.randn(50, 8), torch.rand(50, K)
    agent, state = Agent(8, 64), torch.get_rng_state()
    learn(agent, features, earned, RLOptions(rounds=3), 5)
    once = agent(features)[0].clone()
    learn(agent, features, earned, RLOptions(rounds=3), 5)
    assert torch.equal(agent(features)[0], once) and torch.equal(torch.get_rng_state(), state)


def test_the_score_is_the_mean_over_the_chosen_copies(task):
    task.eval()
    images = made(RLTask.wants, 3)["image"]
    with torch.no_grad():
        task.model.agent.policy.bias[[1, 4, 10]] = 99.0
        names = [list(ACTIONS)[number] for number in (1, 4, 10)]
        p = torch.stack([task.model.look(ACTIONS[name](images))[1].sigmoid() for name in names]).mean(0)
        assert torch.allclose(task.detector()(images), torch.logit(p), atol=1e-4)


def test_the_network_learns_from_the_plain_image_and_the_agent_after_it(task, tiny_source, tiny_settings, tmp_path):
    of = made(RLTask.wants)
    plain = task.model.look(of["image"])[1]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(plain, of["label"].float()).item()
    assert task(of, 0.0, 0).losses == {"bce": pytest.approx(expected, abs=1e-4)}
    source, store = tiny_source
    run = runs.run(source, tiny_settings, "rl", store=store, runs=tmp_path, progress=False)
    bce = runs.run(source, tiny_settings, "bce", store=store, runs=tmp_path, progress=False)
    mine, theirs = run.task().state_dict(), bce.task().state_dict()
    assert mine["model.agent.policy.weight"].abs().sum() > 0, "it was taught, and that was saved"
    assert mine["model.agent.trunk.0.weight"].shape[0] == 64
    assert set(theirs) <= set(mine)
