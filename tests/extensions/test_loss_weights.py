"""Loss weights that follow a rule: each rule does what its source says, and none of them touches T's own step."""

import math

import pytest
import torch
from batches import batch

from did.errors import DidError
from did.extensions.loss_weights import LEAST, MOST, RULES, WeightsOptions
from did.method.task import DIDTask
from did.settings import Settings
from did.task import task_named

each_rule = pytest.mark.parametrize("rule", RULES)


def task_of(rule, **options):
    torch.manual_seed(0)
    return task_named("weights")(Settings.preset("smoke"), 5, WeightsOptions(rule=rule, **options))


def gradients(task, of, progress=1.0, term=None):
    task.zero_grad()
    step = task(of, progress, 3)
    (step.total if term is None else step.terms[term]).backward()
    return {name: p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}


@each_rule
def test_every_part_learns_and_the_log_has_the_weights(rule):
    task = task_of(rule)
    of = batch(task.wants, 15)
    found = gradients(task, of, 0.5)
    assert sorted(found) == sorted(name for name, p in task.named_parameters() if p.requires_grad)
    step = task(of, 0.5, 0, details=True)
    assert step.total.isfinite() and {f"weight of {name}" for name in ("cls", "dom", "dec")} <= set(step.values)
    assert all(LEAST <= step.values[f"weight of {name}"] <= MOST for name in ("cls", "dom", "dec"))


def test_the_papers_weights_are_did_with_ts_own_step_at_full_size():
    task, of = task_of("paper"), batch(task_of("paper").wants, 15)
    torch.manual_seed(0)
    plain = DIDTask(Settings.preset("smoke", estimator_weight="one"), 5)
    plain.load_state_dict(task.state_dict(), strict=False)
    mine, theirs = gradients(task, of), gradients(plain, of)
    assert set(mine) == set(theirs)
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-6) for name in mine)


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_the_weight_of_the_game_moves_the_features_and_never_t(factor):
    task = task_of("equal")
    of = batch(task.wants, 15)
    before = gradients(task, of, term="dec")
    task.weights[2] = factor
    after = gradients(task, of, term="dec")
    for name, was in before.items():
        scale = 1.0 if name.startswith("model.estimator") else factor
        assert torch.allclose(after[name], scale * was, atol=1e-7 * max(1, factor)), name
    assert any(name.startswith("model.deepfake_attention") for name in after)


def test_random_weights_are_drawn_anew_and_sum_to_three():
    task = task_of("random")
    of = batch(task.wants, 15)
    drawn = [[task(of, 0.5, seed).values[f"weight of {name}"] for name in ("cls", "dom", "dec")] for seed in range(4)]
    assert all(sum(each) == pytest.approx(3, abs=1e-5) for each in drawn)
    assert len({round(each[0], 6) for each in drawn}) == 4
    again = [task(of, 0.5, 2).values[f"weight of {name}"] for name in ("cls", "dom", "dec")]
    assert again == drawn[2]  # of the step's seed, so that a resumed run draws them again


def test_the_constraint_rises_while_t_sees_more_than_is_allowed_and_falls_below():
    task = task_of("constraint", allowed=0.2, ascent=0.5)
    zero = torch.zeros(())
    for estimate, rises in ((-0.1, True), (-2 * math.log(2), False)):
        task.weights.fill_(1.0)
        task.left.fill_(2 * math.log(2) + estimate)
        task._follow(zero, zero, torch.tensor(-estimate), zero, zero)
        expected = math.exp(0.5 * (2 * math.log(2) + estimate - 0.2))
        assert task.weights[2].item() == pytest.approx(expected, rel=1e-5) and (expected > 1) == rises
        assert task.weights[:2].tolist() == [1, 1]
    for _ in range(1000):
        task._follow(zero, zero, torch.tensor(0.0), zero, zero)
    assert task.weights[2].item() == MOST


def test_uncertainty_goes_to_the_inverse_of_the_loss():
    """exp(-v)·L + v/2 is least at exp(v) = 2·L, the weight then being 1/(2·L)."""
    task = task_of("uncertainty")
    loss = torch.tensor([0.25, 1.5])
    optimizer = torch.optim.Adam([task.log_variance], 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        ((-task.log_variance).exp() * loss + task.log_variance / 2).sum().backward()
        optimizer.step()
    assert (-task.log_variance).exp().tolist() == pytest.approx([2.0, 1 / 3], rel=1e-2)


def test_gradnorm_makes_gradients_equal_at_equal_pace():
    task = task_of("gradnorm")
    task.first.copy_(torch.tensor([0.5, 1.5]))
    gradients_ = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 4.0]), torch.tensor([0.1, 0.0])]
    w = task._by_norm(torch.tensor([0.25, 0.75]), gradients_)
    norms = [(a * g).norm().item() for a, g in zip(w, gradients_, strict=True)]
    assert norms == pytest.approx([norms[0]] * 3) and w.sum().item() == pytest.approx(3)
    slower = task._by_norm(torch.tensor([0.5, 0.75]), gradients_)  # L_cls has not moved: it gets more
    assert slower[0] / slower[1] > w[0] / w[1]


def test_cosine_counts_a_loss_as_far_as_it_agrees_with_the_classification():
    task = task_of("cosine")
    a = torch.tensor([1.0, 0.0])
    w = task._by_cosine([a, torch.tensor([1.0, 1.0]), torch.tensor([-1.0, 0.3])])
    assert w.tolist() == pytest.approx([1.0, math.sqrt(0.5), 0.0], abs=1e-6)


def test_a_loss_counts_more_if_it_helps_the_held_out_method():
    """The held-out loss against itself, against its opposite, and against a loss that has nothing to do with it."""
    task = task_of("heldout", step=0.5)
    of = batch(task.wants, 15)
    out = task.model(of["image"], None, 0.0)
    unseen = out.score.mean()
    task._follow_unseen(unseen, [unseen, -unseen, 0 * unseen])
    assert task.weights.tolist() == pytest.approx([math.exp(0.5), math.exp(-0.5), 1.0], rel=1e-4)


def test_the_held_out_method_changes_and_is_not_in_the_classification():
    task = task_of("heldout")
    of = batch(task.wants, 15)
    found = {round(task(of, 0.0, seed).terms["cls"].item() / task.weights[0].item(), 3) for seed in range(12)}
    assert len(found) > 1  # of another subset each time
    task.eval()
    whole = {task(of, 0.0, seed).terms["cls"].item() for seed in range(3)}
    assert len(whole) == 1  # in evaluation all methods count
    alone = {**of, "domain": (of["domain"] > 0).long()}  # one method: nothing is left to train on without it
    assert task.train()(alone, 0.0, 0).total.isfinite()


def test_weights_are_part_of_the_state_and_do_not_move_in_evaluation():
    task = task_of("gradnorm")
    of = batch(task.wants, 15)
    task(of, 0.5, 0)
    assert task.weights.tolist() != [1, 1, 1] and {"weights", "first", "left"} <= set(task.state_dict())
    before = task.weights.clone()
    task.eval()(of, 0.5, 0)
    assert torch.equal(task.weights, before)


def test_an_unknown_rule_is_one_sentence():
    with pytest.raises(DidError, match="unknown rule 'gradnrom': did you mean 'gradnorm'"):
        WeightsOptions(rule="gradnrom")
