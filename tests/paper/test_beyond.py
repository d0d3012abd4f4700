"""The outside measures of independence, the share that groups bring, and the rules' sentences."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from did import plots
from did.paper import beyond
from did.paper.beyond import fresh_critic, permutation_test
from did.paper.experiments import EXPERIMENTS
from did.task import options_of, task_named

GROUPS = np.repeat([0, 1], 60)


def samples(seed, dimensions=30):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(120, dimensions)), rng.normal(size=(120, dimensions))


def test_a_permutation_test_finds_dependence_and_only_that():
    x, y = samples(0, 2)
    shared = permutation_test(x, x**2 + 0.3 * y, GROUPS)  # uncorrelated, and dependent
    assert shared.p < 0.01 and shared["distance correlation"] > shared.shuffled + 0.1
    found = [permutation_test(*samples(seed), GROUPS, shuffles=99, seed=seed) for seed in range(1, 41)]
    rejected = np.mean([one.p <= 0.05 for one in found])
    assert rejected <= 0.15
    assert abs(np.mean([one["distance correlation"] for one in found])) < 0.02


def test_what_the_group_alone_tells_is_no_dependence():
    x, y = samples(3)
    apart = 5 * GROUPS[:, None]
    assert permutation_test(x + apart, y + apart, GROUPS).p > 0.05
    assert permutation_test(x + apart, y + apart, np.zeros(120)).p < 0.01


def test_the_corrected_distance_correlation_by_a_plain_loop():
    x, y = samples(5, 3)
    x, y, n = x[:8], y[:8], 8

    def centred(z):
        d = [[float(np.linalg.norm(z[i] - z[j])) for j in range(n)] for i in range(n)]
        total = sum(map(sum, d))
        return [[0.0 if i == j else d[i][j] - sum(d[i]) / (n - 2) - sum(d[j]) / (n - 2) + total / ((n - 1) * (n - 2))
                 for j in range(n)] for i in range(n)]  # fmt: skip

    a, b = centred(x), centred(y)

    def product(p, q):
        return sum(p[i][j] * q[i][j] for i in range(n) for j in range(n))

    expected = product(a, b) / (product(a, a) * product(b, b)) ** 0.5
    assert permutation_test(x, y, np.zeros(n), shuffles=1)["distance correlation"] == pytest.approx(expected)


def test_a_group_that_is_too_small_is_left_out():
    x, y = samples(1)
    few = np.concatenate([np.zeros(117), [1, 1, 1]])
    whole = permutation_test(x[:117], y[:117], few[:117], shuffles=9)
    assert permutation_test(x, y, few, shuffles=9)["distance correlation"] == pytest.approx(
        whole["distance correlation"]
    )


def test_a_fresh_critic_tells_halves_that_fit_and_is_at_chance_otherwise():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(600, 20))
    halves = (0.6 * whole, 0.4 * whole + 0.1 * rng.normal(size=whole.shape))
    groups = np.repeat([0, 1, 2], 200)
    order = rng.permutation(600)
    fit, test = order[:400], order[400:]

    def part(rows, x, y):
        return x[rows], y[rows], groups[rows]

    assert fresh_critic(part(fit, *halves), part(test, *halves)) > 0.8
    apart = (halves[0], rng.normal(size=whole.shape))
    assert abs(fresh_critic(part(fit, *apart), part(test, *apart)) - 0.5) < 0.08


def test_the_outside_measures_of_real_runs(tiny_outcome, whole):
    found = beyond.reached(tiny_outcome)["dependence"]
    assert found.row.tolist() == ["DID", "DID"] and found.seed.tolist() == [0, 1]  # BCE has no halves
    assert found.drop(columns=["row"]).notna().all(axis=None)
    assert found.p.between(0, 1).all() and found.critic.between(0, 1).all()
    again = beyond.reached(tiny_outcome)["dependence"]
    pd.testing.assert_frame_equal(found, again)
    plot = whole(plots.dependence(found, "the stamp"))
    assert [label.get_text() for label in plot.figure.axes[0].get_yticklabels()] == ["DID"]


def dependence(p, critic, name="dcor"):
    return pd.DataFrame({"row": name, "seed": range(3), "distance correlation": 0.1, "shuffled": 0.0, "p": p,
                         "critic": critic, "domain from I_df": 0.4})  # fmt: skip


@pytest.mark.parametrize(
    ("p", "critic", "reached"),
    [([0.2, 0.01, 0.4], [0.5, 0.52, 0.54], True), ([0.2, 0.01, 0.01], [0.5, 0.5, 0.5], False),
     ([0.2, 0.2, 0.2], [0.6, 0.55, 0.52], False)],
)  # fmt: skip
def test_independence_is_reached_if_neither_test_finds_dependence(p, critic, reached):
    assert bool(beyond.judged(dependence(p, critic)).reached["dcor"]) is reached


def difference(a, b, test, value, half, p):
    return {"a": a, "b": b, "test": test, "level": "frame", "difference": value, "std": 0.01, "low": value - half,
            "high": value + half, "p": p, "seeds": 3, "people": 40, "paper": None}  # fmt: skip


def record(name, differences, **figures):
    tables = {key: {column: values.tolist() for column, values in table.items()} for key, table in figures.items()}
    return {"experiment": name, "title": EXPERIMENTS[name].title, "edition": "stand-in", "bank": "drawn",
            "preset": "laptop", "differences": differences, "figures": tables}  # fmt: skip


def test_help_is_corrected_over_all_differences():
    pairs = [difference("dcor", "without T", test, 0.03, 0.02, p) for test, p in (("CDF2", 0.02), ("DiFF", 0.04))]
    of = record("independence", pairs, dependence=dependence([0.2] * 3, [0.5] * 3))
    said = beyond.independent(of)
    assert said[0].endswith("right in 0.500 of cases: reached.")
    assert said[1].startswith("Ahead of DID without T by Holm's correction over 2 differences: dcor on CDF2")
    weak = [{**pair, "p": 0.03} for pair in pairs]
    assert beyond.independent({**of, "differences": weak})[1].endswith("differences: none.")
    behind = [{**pairs[0], "difference": -0.03, "low": -0.05, "high": -0.01, "p": 0.001}]
    assert beyond.independent({**of, "differences": behind})[2].startswith("Behind DID without T")
    assert "dcor on CDF2" in beyond.independent({**of, "differences": behind})[2]


def test_the_share_of_what_labels_bring():
    pairs = [difference(name, "no domain head", test, value, 0.01, 0.01)
             for name, values in (("methods named", (0.05, 0.10)), ("groups by style", (0.05, 0.08)),
                                  ("random groups", (0.01, 0.0)))
             for test, value in zip(("CDF2", "DiFF"), values, strict=True)]  # fmt: skip
    agreement = pd.DataFrame({"row": ["methods named", "groups by style"], "agreement": [1.0, 0.25]})
    of = record("without_labels", pairs, agreement=agreement)
    shares = beyond.shares(of).set_index(["row", "test"]).share
    assert shares["groups by style", "DiFF"] == pytest.approx(0.8)
    assert shares["random groups", "CDF2"] == pytest.approx(0.2)
    said = beyond.label_free(of)
    assert any(each.startswith("groups by style: 87% of what the names bring") and "at least" in each for each in said)
    assert any(each.startswith("random groups: 7%") and "less than" in each for each in said)
    assert "agree with the methods by 0.25" in said[1]
    nothing = record("without_labels", [{**pair, "low": -0.1} for pair in pairs])
    assert beyond.label_free(nothing)[-1].startswith("No test shows that the methods' names bring anything, so")


def test_a_rule_is_as_good_unless_it_is_behind_somewhere():
    paper = "the paper's weights"
    pairs = [
        difference("equal", paper, "FF++", 0.03, 0.01, 0.01), difference("equal", paper, "CDF2", 0.0, 0.01, 0.9),
        difference("cosine", paper, "FF++", 0.03, 0.01, 0.01), difference("cosine", paper, "CDF2", -0.03, 0.01, 0.01),
        difference("random", paper, "FF++", 0.0, 0.01, 0.9),
    ]  # fmt: skip
    said = beyond.by_themselves(record("loss_weights", pairs))
    assert [each.rsplit(": ", 1)[1] for each in said[:3]] == ["better.", "not as good.", "not told from them."]
    assert said[3] == "Of 5 differences, 0.2 would lie off 0 by chance."


def test_weights_are_means_over_the_end_and_over_seeds(whole):
    def run_of(value):
        steps = pd.DataFrame({"iteration": range(20), "cls": 0.5})
        for name in ("cls", "dom", "dec"):
            steps[f"weight of {name}"] = np.where(steps.iteration < 10, 50.0, value)
        return SimpleNamespace(history=steps)

    runs = {"plain": [SimpleNamespace(history=pd.DataFrame({"cls": [1.0]}))], "equal": [run_of(1.0), run_of(3.0)]}
    found = beyond.found_weights(SimpleNamespace(runs=runs))
    assert found["weights"].to_dict("records") == [
        {"row": "equal", "weight of cls": 2.0, "weight of dom": 2.0, "weight of dec": 2.0}
    ]
    assert len(found["paths"]) == 20 and set(found["paths"].row) == {"equal"}
    assert beyond.found_weights(SimpleNamespace(runs={"plain": runs["plain"]})) == {}
    plot = whole(plots.weight_paths(found["paths"], "the stamp"))
    assert [axis.get_title() for axis in plot.figure.axes] == ["weight of cls", "weight of dom", "weight of dec"]


def test_agreement_is_that_of_the_log():
    with_it = SimpleNamespace(history=pd.DataFrame({"NMI of groups and methods": [0.3, np.nan]}))
    without = SimpleNamespace(history=pd.DataFrame({"cls": [1.0]}))
    found = beyond.agreement(SimpleNamespace(runs={"a": [with_it, with_it], "b": [without]}))["agreement"]
    assert found.to_dict("records") == [{"row": "a", "agreement": 0.3}]


@pytest.mark.parametrize("name", ["independence", "without_labels", "loss_weights"])
def test_the_rows_differ_in_what_they_are_named_after(name):
    rows = EXPERIMENTS[name].rows
    settings = [row.settings("laptop", 0, "ffpp") for row in rows]
    made = [(row.task, tuple(sorted(row.options.items())), of) for row, of in zip(rows, settings, strict=True)]
    assert len(set(made)) == len(rows)
    for row in rows:
        options_of(task_named(row.task), dict(row.options))
    assert name != "without_labels" or {of.sampler for of in settings} == {"uniform"}


def test_an_effect_is_drawn_where_it_is(whole):
    table = pd.DataFrame({"part": ["T", "L_dom"], "test": "CDF2", "difference": [0.0, 0.05], "low": [-0.01, 0.03],
                          "high": [0.01, 0.07], "so": ["undecided", "ahead"]})  # fmt: skip
    plot = whole(plots.effects(table, "the stamp"))
    (axis,) = plot.figure.axes
    assert axis.get_title() == "CDF2" and [each.get_text() for each in axis.get_yticklabels()] == ["T", "L_dom"]
    marks = [line.get_xydata().tolist()[0] for line in axis.get_lines() if line.get_marker() == "o"]
    assert marks == [[0.0, 0.0], [0.05, 1.0]]
    assert "L_dom on CDF2 0.050 [0.030, 0.070]" in plot.alt
