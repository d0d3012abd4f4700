import math
import sys
import types

import pytest
import torch
from torch import nn

from did.errors import DidError
from did.method.losses import classification_loss, domain_loss, jsd_mutual_information, marginal_permutation
from did.method.task import DIDTask, adversary_scales, beta
from did.rivals.bce import BCETask
from did.settings import Settings
from did.task import Task, code_digest, task_named, task_names


def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(10, 1, 64, 64, generator=generator),
        "label": torch.tensor([0, 1, 1, 1, 1] * 2),
        "domain": torch.tensor([0, 1, 2, 3, 4] * 2),
    }


def task(**changes):
    torch.manual_seed(0)
    return DIDTask(Settings.preset("smoke", **changes), 5)


def test_betas_schedule():
    assert beta(0.0) == 0
    assert beta(0.5) == pytest.approx(2 / (1 + math.exp(-2.5)) - 1) == pytest.approx(0.8483, abs=1e-4)
    assert beta(1.0) == pytest.approx(0.98661, abs=1e-5)


@pytest.mark.parametrize(
    ("adversary", "estimator_weight", "own", "features", "rate"),
    [
        ("grl", "lambda_dec", 0.01, 0.01 * 0.8483, 1),
        ("grl", "one", 1.0, 0.01 * 0.8483, 1),
        ("eq12", "lambda_dec", 0.01, 0.01, 0.8483),
        ("eq12", "one", 1.0, 0.01, 0.8483),
    ],
)
def test_the_readings_of_section_3_3_and_eq_12(adversary, estimator_weight, own, features, rate):
    settings = Settings(adversary=adversary, estimator_weight=estimator_weight)
    weight, reversal, factor = adversary_scales(settings, 0.5)
    assert weight == own
    assert weight * reversal == pytest.approx(features, rel=1e-4)
    assert factor == pytest.approx(rate, rel=1e-4)


def test_at_the_start_the_text_spares_the_features_and_eq_12_spares_t():
    assert adversary_scales(Settings(adversary="grl"), 0.0) == (0.01, 0.0, 1.0)
    assert adversary_scales(Settings(adversary="eq12"), 0.0) == (0.01, 1.0, 0.0)


@pytest.mark.parametrize("adversary", ["grl", "eq12"])
@pytest.mark.parametrize("estimator_weight", ["lambda_dec", "one"])
def test_gradients_of_a_step_are_those_of_eq_11_and_12(adversary, estimator_weight):
    """Every module's gradient against one composed by hand from L_cls, L_dom and Î, with the signs of Eq. 12."""
    module = task(adversary=adversary, estimator_weight=estimator_weight, lambda_cls=0.7, lambda_dom=0.3).eval()
    data, progress = batch(), 0.6
    module(data, progress, seed=5).total.backward()
    got = {name: p.grad.clone() for name, p in module.model.named_parameters() if p.grad is not None}

    out = module.model(data["image"], marginal_permutation(10, torch.Generator().manual_seed(5)), beta=-1.0)
    parts = {
        "cls": classification_loss(out.score, data["label"]),
        "dom": domain_loss(out.domain_logits, data["domain"]),
        "estimate": jsd_mutual_information(out.joint_scores, out.marginal_scores),
    }
    names, parameters = zip(*module.model.named_parameters(), strict=True)
    gradients = {}
    for part, value in parts.items():
        found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        gradients[part] = dict(zip(names, found, strict=True))
    own = 0.01 if estimator_weight == "lambda_dec" else 1.0
    towards_features = 0.01 * beta(progress) if adversary == "grl" else 0.01
    for name, gradient in got.items():
        scale = -own if name.startswith("estimator") else towards_features  # T ascends, G and A_df descend
        expected = torch.zeros_like(gradient)
        for part, factor in (("cls", 0.7), ("dom", 0.3), ("estimate", scale)):
            if gradients[part][name] is not None:
                expected = expected + factor * gradients[part][name]
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-6), name
    assert any(name.startswith("estimator") for name in got)


def test_terms_are_named_and_sum_to_the_total():
    step = task()(batch(), 0.5, 0, details=True)
    assert set(step.terms) == {"cls", "dom", "dec"}
    assert step.total.item() == pytest.approx(sum(term.item() for term in step.terms.values()), rel=1e-6)
    assert step.terms["dec"].item() == pytest.approx(-step.values["estimate"], rel=1e-6)
    for name in ("M_df mean", "M_df saturated", "M_dom images", "gradient from C", "gradient from T", "T accuracy"):
        assert math.isfinite(step.values[name]), name
    assert step.values["gradient from C"] > 0
    assert step.values["gradient from T"] > 0
    assert task()(batch(), 0.0, 0, details=True).values["gradient from T"] == 0  # β is 0 at the start


def test_details_do_not_change_the_gradient():
    gradients = []
    for details in (False, True):
        module = task()
        module(batch(), 0.5, 0, details).total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    assert torch.equal(*gradients)


def test_ten_times_the_rate_for_all_but_the_backbone():
    torch.manual_seed(0)
    paper = Settings(backbone="test_efficientnet", pretrained="none")
    module = DIDTask(paper, 5)
    groups = {group["name"]: group for group in module.parameter_groups()}
    assert {name: group["lr"] for name, group in groups.items()} == pytest.approx(
        {"G": 1e-5, "A": 1e-4, "C": 1e-4, "T": 1e-4}
    )
    members = {id(p): name for name, group in groups.items() for p in group["params"]}
    wanted = {"backbone": "G", "deepfake_attention": "A", "domain_attention": "A", "classifier": "C",
              "domain_classifier": "C", "estimator": "T"}  # fmt: skip
    parameters = dict(module.model.named_parameters())
    assert len(parameters) == len(members) == sum(len(group["params"]) for group in groups.values())
    for name, parameter in parameters.items():
        assert members[id(parameter)] == wanted[name.split(".")[0]], name


def test_only_t_slows_down_under_eq_12():
    module = task(adversary="eq12")
    assert module.rate_factor("T", 0.0) == 0
    assert module.rate_factor("T", 0.5) == pytest.approx(0.8483, abs=1e-4)
    assert module.rate_factor("G", 0.0) == module.rate_factor("A", 0.5) == 1
    assert task().rate_factor("T", 0.0) == 1


def test_without_t_there_is_no_decorrelation_term():
    module = task(decorrelation=False)
    assert set(module(batch(), 0.5, 0, details=True).terms) == {"cls", "dom"}
    assert "T" not in {group["name"] for group in module.parameter_groups()}


def test_the_two_readings_of_the_ablation_without_a_dom():
    """C̄ and L_dom on all of I_os, or neither; the detector is the same in both."""
    kept = task(domain_attention=False)
    assert set(kept(batch(), 0.5, 0, details=True).terms) == {"cls", "dom", "dec"}
    dropped = task(domain_attention=False, domain_branch="dropped")
    step = dropped(batch(), 0.5, 0, details=True)
    assert set(step.terms) == {"cls", "dec"} and "domain accuracy" not in step.values
    assert "gradient from C̄" not in step.values
    step.total.backward()
    grouped = {id(p) for group in dropped.parameter_groups() for p in group["params"]}
    assert grouped == {id(p) for p in dropped.parameters()}
    assert kept.detector().state_dict().keys() == dropped.detector().state_dict().keys()


def test_bce_is_the_backbone_and_a_linear_layer():
    torch.manual_seed(0)
    module = BCETask(Settings.preset("smoke")).eval()
    data = batch()
    step = module(data, 0.5, 0)
    scores = module.detector()(data["image"])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, data["label"].float())
    assert step.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert {group["name"] for group in module.parameter_groups()} == {"G", "C"}


def test_the_code_of_did_s_own_tasks_counts_nothing():
    assert {code_digest(task) for task in map(task_named, task_names())} == {""}


def test_a_task_whose_code_cannot_be_read_is_refused():
    made = type("Made", (DIDTask,), {"__module__": "__main__"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
        with pytest.raises(DidError, match="the source of the task Made cannot be read: define it in a file"):
            code_digest(made)


def test_what_is_in_no_group_joins_c_and_takes_nothing_from_it():
    class Mine(Task):
        def __init__(self):
            super().__init__(Settings.preset("smoke"), 5)
            self.model, self.head, self.more = nn.Linear(2, 2), nn.Linear(2, 1), nn.Linear(3, 1)

        def parameter_groups(self):
            return self.groups(G=([self.model], 1.0), C=([self.head], 7.0))

    task = Mine()
    groups = {group["name"]: group for group in task.parameter_groups()}
    assert len(groups["G"]["params"]) == 2 and groups["C"]["lr"] == pytest.approx(7 * task.settings.lr)
    assert [p.shape for p in groups["C"]["params"]] == [p.shape for m in (task.head, task.more) for p in m.parameters()]
