"""Intervals over people and seeds: who is drawn, the draws against a plain loop, what the ends are made of."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from did.errors import DidError
from did.evaluation import (
    Drawn,
    auc,
    delong,
    difference_over_seeds,
    draws,
    eer,
    ends,
    ends_of_difference,
    interval,
    mean_of,
    over_seeds,
    people,
    report,
)
from did.evaluation.intervals import families, p_of_difference, two_way


def scores_with_ties(seed, n=200):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, np.round(rng.normal(size=n) + labels, 1)


def eer_by_scan(labels, scores):
    """Walk down all thresholds; where FPR passes FNR, cut the straight line between the two points."""
    before = (0.0, 1.0)
    labels, scores = np.asarray(labels), np.asarray(scores)
    for threshold in sorted(set(scores), reverse=True):
        fpr, fnr = np.mean(scores[labels == 0] >= threshold), np.mean(scores[labels == 1] < threshold)
        if fpr >= fnr:
            gap, last = fpr - fnr, before[1] - before[0]
            return (before[0] * gap + fpr * last) / (gap + last)
        before = (fpr, fnr)
    raise AssertionError


@pytest.fixture
def frames():
    table = []
    rng = np.random.default_rng(0)
    for k in range(8):
        for method in ("real", "Deepfakes", "FaceSwap"):
            for _ in range(3):
                shift = {"real": 0, "Deepfakes": 5, "FaceSwap": 0.5}[method]
                table.append(
                    {"video": f"{method}/{k:03d}", "label": int(method != "real"), "method": method,
                     "identity": f"{k:03d}", "score": rng.normal() + shift}
                )  # fmt: skip
    return pd.DataFrame(table)


def test_the_report_has_a_row_a_level_and_method(frames):
    table = report(frames, draws=100)
    assert list(zip(table.level, table.method, strict=True)) == [
        (level, method) for level in ("frame", "video") for method in ("all", "Deepfakes", "FaceSwap")
    ]
    row = table[(table.level == "frame") & (table.method == "FaceSwap")].iloc[0]
    part = frames[frames.method != "Deepfakes"]
    assert row.auc == pytest.approx(roc_auc_score(part.label, part.score))
    assert (row.n_real, row.n_fake) == (24, 24)
    assert row.auc_low <= row.auc <= row.auc_high
    assert row.eer == pytest.approx(eer(part.label, part.score))


def test_the_auc_of_videos_by_hand(frames):
    sums = {}
    for row in frames.itertuples():
        sums.setdefault((row.video, row.label), []).append(row.score)
    real, fake = ([np.mean(s) for (_, label), s in sums.items() if label == side] for side in (0, 1))
    wins = [(f > r) + 0.5 * (f == r) for f in fake for r in real]
    table = report(frames, draws=20).set_index(["level", "method"])
    assert table.auc["video", "all"] == pytest.approx(np.mean(wins), abs=1e-12)
    assert table.auc["video", "all"] != pytest.approx(table.auc["frame", "all"], abs=1e-3)
    assert (table.n_real["video", "all"], table.n_fake["video", "all"]) == (8, 16)


def test_the_report_holds_the_intervals(frames):
    row = report(frames, draws=100).iloc[0]
    for metric in ("auc", "eer"):
        expected = interval(frames.label, frames.score, frames.identity, metric, draws=100)
        assert (row[f"{metric}_low"], row[f"{metric}_high"]) == expected


def components(labels, scores):
    """DeLong's structural components by comparing every fake with every real: (fakes,), (reals,)."""
    fake, real = scores[labels == 1], scores[labels == 0]
    psi = np.array([[1.0 if f > r else 0.5 if f == r else 0.0 for r in real] for f in fake])
    return psi.mean(1), psi.mean(0)


@pytest.mark.parametrize("seed", range(3))
def test_delong_is_the_covariance_of_the_structural_components(seed):
    labels, first = scores_with_ties(seed, 80)
    second = np.round(first + np.random.default_rng(seed + 10).normal(size=80), 1)
    expected = np.zeros((2, 2))
    parts = [components(labels, first), components(labels, second)]
    for i in (0, 1):
        for j in (0, 1):
            for a, b in zip(parts[i], parts[j], strict=True):
                expected[i, j] += ((a - a.mean()) * (b - b.mean())).sum() / (len(a) - 1) / len(a)
    aucs, covariance = delong(labels, first, second)
    assert covariance == pytest.approx(expected, abs=1e-14)
    assert aucs == pytest.approx([roc_auc_score(labels, first), roc_auc_score(labels, second)], abs=1e-12)


def test_delong_by_hand():
    """Fakes 3 and 1, reals 2 and 0: components (1, 1/2) and (1/2, 1), each of variance 1/8."""
    aucs, covariance = delong([1, 1, 0, 0], [3, 1, 2, 0])
    assert (aucs.tolist(), covariance.tolist()) == ([0.75], [[0.125]])
    with pytest.raises(DidError, match="two rows of each class"):
        delong([1, 0, 0], [3, 1, 2])
    with pytest.raises(DidError, match="at least one detector"):
        delong([1, 1, 0, 0])


def test_delong_agrees_with_a_bootstrap_of_rows():
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], (150, 250))
    first = rng.normal(size=400) + labels
    second = 0.7 * first + rng.normal(size=400)
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([rng.integers(0, 150, 150), rng.integers(150, 400, 250)])
        drawn.append((auc(labels[rows], first[rows]), auc(labels[rows], second[rows])))
    _, covariance = delong(labels, first, second)
    assert covariance == pytest.approx(np.cov(np.transpose(drawn)), rel=0.15)
    of_difference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert of_difference == pytest.approx(np.var(np.subtract(*np.transpose(drawn)), ddof=1), rel=0.15)
    assert of_difference < 0.8 * (covariance[0, 0] + covariance[1, 1])


@pytest.fixture
def two(frames):
    """Scores of two detectors that share most of what they see; the second's rows in another order."""
    a = frames.assign(frame=frames.groupby("video").cumcount() * 10)
    b = a.assign(score=0.8 * a.score + 0.3 * np.random.default_rng(5).normal(size=len(a)))
    return a, b.sample(frac=1, random_state=0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda b: b.iloc[1:], "1 rows .* have no partner: score both on the same test split"),
        (lambda b: b.assign(frame=b.frame + 1), "not about the same frames"),
        (lambda b: b.assign(label=1 - b.label), "not about the same frames, 144 rows"),
        (lambda b: pd.concat([b, b.iloc[:1]]), "second detector's scores hold a frame of a video twice"),
        (lambda b: b.drop(columns="frame"), "second detector's scores lack the column 'frame'"),
        (lambda b: b.assign(score=np.nan), "72 of 72 scores are not finite"),
    ],
)
def test_detectors_on_other_frames_are_not_compared(two, change, sentence):
    a, b = two
    with pytest.raises(DidError, match=sentence):
        difference_over_seeds([a], [change(b)], draws=10)


@pytest.fixture
def three(two):
    """Three seeds of one detector on the same frames, some better than others, the rows in another order each."""
    a, _ = two
    rng = np.random.default_rng(11)
    return [
        a.assign(score=a.score + shift * a.label + 0.5 * rng.normal(size=len(a))).sample(frac=1, random_state=number)
        for number, shift in enumerate((0.0, -0.4, 0.6))
    ]


METHODS = ("all", "Deepfakes", "FaceSwap")


def parts(tables, level, method):
    """Each run's rows at a level, in the same order of videos and frames, of one method and the reals."""
    for table in tables:
        at = table.sort_values(["video", "frame"])
        if level == "video":
            at = at.groupby("video", as_index=False).agg({"label": "first", "method": "first", "score": "mean"})
        yield at if method == "all" else at[(at.label == 0) | (at.method == method)]


def test_of_one_seed_the_mean_and_interval_are_the_reports(frames):
    table, found = report(frames, draws=100), over_seeds([frames], draws=100)
    expected = [
        (row["level"], row["method"], metric, row[metric], row[f"{metric}_low"], row[f"{metric}_high"], 1)
        for row in table.to_dict("records")
        for metric in ("auc", "eer")
    ]
    columns = ["level", "method", "metric", "mean", "low", "high", "seeds"]
    assert list(found[columns].itertuples(index=False, name=None)) == expected
    assert found["std"].isna().all()


def test_mean_and_spread_over_seeds_by_hand(three):
    found = over_seeds(three, draws=20)
    for level in ("frame", "video"):
        for method in METHODS:
            for metric, by_hand in (("auc", roc_auc_score), ("eer", eer_by_scan)):
                values = [by_hand(part.label, part.score) for part in parts(three, level, method)]
                mean = sum(values) / 3
                row = found.set_index(["level", "method", "metric"]).loc[level, method, metric]
                assert row["mean"] == pytest.approx(mean, abs=1e-12)
                assert row["std"] == pytest.approx((sum((v - mean) ** 2 for v in values) / 2) ** 0.5, abs=1e-12)
                assert row["seeds"] == 3
    assert len(found) == 2 * 3 * 2


def test_the_difference_over_seeds_turns_with_the_sides(three, two):
    a, b = three[:2], [two[1], two[0]]
    there, back = difference_over_seeds(a, b, draws=50), difference_over_seeds(b, a, draws=50)
    assert there.difference.tolist() == pytest.approx((-back.difference).tolist(), abs=1e-12)
    assert there.low.tolist() == pytest.approx((-back.high).tolist(), abs=1e-12)
    assert there["std"].tolist() == pytest.approx(back["std"].tolist(), abs=1e-12)
    assert (there.difference.abs() > 0.01).any()
    none = difference_over_seeds(a, [one.sample(frac=1, random_state=9) for one in a], draws=50)
    assert np.allclose(none[["difference", "low", "high", "std"]], 0, atol=1e-8)


def test_seeds_that_differ_widen_the_difference(two):
    a, b = two
    alike = difference_over_seeds([a] * 3, [b] * 3, draws=300)
    apart = difference_over_seeds(
        [a] * 3, [b.assign(score=b.score + shift * b.label) for shift in (-0.8, 0, 0.8)], draws=300
    )
    one, other = (table[table.method == "FaceSwap"] for table in (alike, apart))
    assert ((other.high - other.low) > 1.5 * (one.high - one.low)).all()


def test_seeds_that_cannot_be_averaged_or_paired_are_refused(two):
    a, b = two
    with pytest.raises(DidError, match="at least one run"):
        over_seeds([])
    with pytest.raises(DidError, match="1 rows .* have no partner"):
        over_seeds([a, b, b.iloc[1:]], draws=10)
    with pytest.raises(DidError, match="2 and 1 runs cannot be paired by seed: run both with the same seeds"):
        difference_over_seeds([a, a], [b], draws=10)
    with pytest.raises(DidError, match="0 and 0 runs cannot be paired"):
        difference_over_seeds([], [])
    for first, second in (([a, a], [b, b.iloc[1:]]), ([a, a.iloc[1:]], [b, b])):
        with pytest.raises(DidError, match="1 rows .* have no partner"):
            difference_over_seeds(first, second, draws=10)


# --- who is drawn ---------------------------------------------------------------------------------


def rows(dataset, *identities):
    return pd.DataFrame({"video": [f"v{i}" for i in range(len(identities))], "identity": identities}).assign(
        **({"dataset": dataset} if dataset else {})
    )


@pytest.mark.parametrize(
    ("dataset", "identities", "alike"),
    [
        # FF++: 000 and 003 swap with each other; their real videos and both forgeries are one unit.
        ("ffpp", ["000", "003", "000+003", "003+000", "1", "2", "1+2", "2+1"], [0, 0, 0, 0, 1, 1, 1, 1]),
        (None, ["a", "b", "a+b", "c", "d", "c+d"], [0, 0, 0, 1, 1, 1]),
        # Own data in which swaps connect more than half of all: the target, as in Celeb-DF.
        (None, ["a", "b", "a+b", "b+c", "d"], [0, 1, 0, 1, 2]),
        # Celeb-DF: swaps connect everybody, the target is the unit.
        ("cdf2", ["id0", "id0+id1", "id1", "id1+id0"], [0, 0, 1, 1]),
        ("diff", ["p", "p", "p+q"], [0, 1, 2]),
        ("dffd", ["p", "p"], [0, 1]),
    ],
)
def test_the_unit_is_the_person_by_the_data_sets_rule(dataset, identities, alike):
    found = people(rows(dataset, *identities))
    assert [[a == b for b in found] for a in found] == [[a == b for b in alike] for a in alike]


def test_families_are_connected_by_any_shared_name():
    assert families([["a"], ["b", "c"], ["c", "d"], ["e"], ["a", "f"]]).tolist() == [0, 1, 1, 2, 0]


# --- draws ----------------------------------------------------------------------------------------


def clustered(seed, videos, frames=16):
    """Frames of a person share most of their score; every second person is forged."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(videos), frames)
    labels = person % 2
    return labels, rng.normal(size=videos)[person] + 0.1 * rng.normal(size=len(person)) + 0.7 * labels, person


@pytest.mark.parametrize(("metric", "by_hand"), [("auc", roc_auc_score), ("eer", eer_by_scan)])
def test_draws_equal_a_plain_loop_over_people(metric, by_hand):
    labels, scores, person = clustered(5, 14, frames=4)
    scores = np.round(scores, 1)  # with ties
    table = pd.DataFrame({"label": labels, "score": scores})
    found = draws([table, table.assign(score=-scores)], metric, [person, person], number=60, seed=2)
    expected = []
    for row in np.random.default_rng(2).multinomial(14, np.full(14, 1 / 14), size=60):
        at = np.concatenate([np.flatnonzero(person == p).repeat(k) for p, k in enumerate(row)])
        both = 0 < labels[at].sum() < len(at)
        expected.append([by_hand(labels[at], sign * scores[at]) if both else np.nan for sign in (1, -1)])
    assert np.allclose(found.draws.T, expected, rtol=0, atol=1e-12, equal_nan=True)
    assert found.values == pytest.approx([by_hand(labels, scores), by_hand(labels, -scores)], abs=1e-12)
    assert (found.people, found.draws.shape) == (14, (2, 60))


def test_means_over_draws_equal_a_plain_loop():
    who, values = ["b", "a", "b", "c", "c", "c"], [1.0, 0.0, 0.0, 1.0, 1.0, 0.5]
    table, expected = pd.DataFrame({"hit": values}), []
    for times in np.random.default_rng(6).multinomial(3, np.full(3, 1 / 3), size=40):
        drawn = [v for name, k in zip("abc", times, strict=True) for _ in range(k)
                 for g, v in zip(who, values, strict=True) if g == name]  # fmt: skip
        expected.append(sum(drawn) / len(drawn))
    found = draws([table], mean_of("hit"), [who], number=40, seed=6)
    assert found.draws[0] == pytest.approx(expected, abs=1e-12)


def test_parts_among_everybody_are_drawn_alike():
    """The AUC on two methods over the same draws: people without the method, or the class, do not shift the others."""
    labels, scores, person = clustered(1, 8, frames=2)
    table = pd.DataFrame({"label": labels, "score": scores, "person": person})
    part = table[table.person != 3]
    one, other = (draws([each], "auc", [each.person], among=person, number=30, seed=1) for each in (table, part))
    times = np.random.default_rng(1).multinomial(8, np.full(8, 1 / 8), size=30)
    without = times[:, 3] == 0
    assert without.sum() > 3
    assert one.draws[:, without] == pytest.approx(other.draws[:, without], abs=1e-12, nan_ok=True)


def test_the_order_of_the_rows_changes_nothing():
    labels, scores, person = clustered(3, 12, frames=3)
    table = pd.DataFrame({"label": labels, "score": scores, "person": person})
    mixed = table.sample(frac=1, random_state=0)
    one, other = (draws([each], "auc", [each.person], number=20, seed=4) for each in (table, mixed))
    assert one.draws == pytest.approx(other.draws, abs=1e-12)


def test_what_cannot_be_drawn_is_refused():
    labels, scores, person = clustered(1, 10)
    with pytest.raises(DidError, match="at least two people of each class"):
        interval([0, 0, 1, 1], [1, 2, 3, 4], ["a", "a", "b", "c"])
    with pytest.raises(DidError, match="the person of each of the 4 rows"):
        interval([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", "c"])
    with pytest.raises(DidError, match="none of the 1 draws"):
        interval(labels, scores, person, draws=1)
    with pytest.raises(DidError, match="unknown metric 'aucc': did you mean 'auc'"):
        interval(labels, scores, person, "aucc")
    with pytest.raises(DidError, match="at least one run"):
        draws([])


# --- the ends -------------------------------------------------------------------------------------


def made(values, spread, people=50, floor=None, seed=0):
    drawn = np.array(values)[:, None] + np.random.default_rng(seed).normal(0, spread, 400)
    return Drawn(np.array(values), drawn, people, floor)


def test_the_ends_by_hand_over_people_and_seeds():
    drawn = made([0.7, 0.74, 0.75], 0.02)
    over_people = drawn.draws.mean(0).var(ddof=1) * 50 / 49
    over_seeds = np.var(drawn.values, ddof=1) / 3
    df = (over_people + over_seeds) ** 2 / (over_people**2 / 49 + over_seeds**2 / 2)
    half = student.ppf(0.975, df) * np.sqrt(over_people + over_seeds)
    assert (drawn.df, drawn.se) == pytest.approx((df, np.sqrt(over_people + over_seeds)))
    assert ends(drawn) == pytest.approx((0.73 - half, 0.73 + half))
    on_logits = ends(dataclasses.replace(drawn, floor=(0.0, 8)))
    spread = half / (0.73 * 0.27)
    assert on_logits == pytest.approx([1 / (1 + np.exp(-(np.log(0.73 / 0.27) + s * spread))) for s in (-1, 1)])
    assert on_logits[1] - 0.73 < 0.73 - on_logits[0], "longer towards one half"


def test_with_one_seed_the_interval_is_over_people_alone():
    one = made([0.8], 0.03)
    assert one.variances[1] == 0 and one.df == pytest.approx(49) and np.isnan(one.std)


def test_seeds_that_differ_widen_the_interval():
    alike, apart = made([0.8, 0.8, 0.8], 0.02), made([0.75, 0.8, 0.85], 0.02)
    assert np.diff(ends(apart)) > 1.5 * np.diff(ends(alike))


@pytest.mark.parametrize("metric", ["auc", "eer"])
def test_perfect_scores_have_an_interval_too(metric):
    labels, person = np.tile([0, 1], 12), np.repeat(np.arange(12), 2)
    low, high = interval(labels, labels * 5.0 + person * 0.01, person, metric)
    value = 1.0 if metric == "auc" else 0.0
    assert (high == 1 and 0.8 < low < 0.999) if value else (low == 0 and 0.001 < high < 0.2)


def test_all_right_answers_have_an_interval_near_wilsons():
    table = pd.DataFrame({"right": np.ones(24)})
    low, high = ends(draws([table], mean_of("right"), [np.arange(24)]))
    assert high == 1.0 and low == pytest.approx(0.862, abs=0.04)


def test_the_interval_covers_and_one_over_frames_does_not():
    """In 120 worlds; `benchmarks/coverage.py` measures it in many."""
    inside = {"people": 0, "frames": 0}
    truth = norm.cdf(0.7 / np.sqrt(2 * 1.01))
    for seed in range(120):
        labels, scores, person = clustered(seed, 60, frames=8)
        for name, groups in (("people", person), ("frames", np.arange(len(person)))):
            low, high = interval(labels, scores, groups, draws=150)
            inside[name] += low <= truth <= high
    assert inside["people"] >= 108
    assert inside["frames"] <= 75


def test_the_difference_is_that_of_zou_by_hand():
    a, b = made([0.9, 0.92], 0.02, floor=(0.06, 8)), made([0.8, 0.83], 0.03, floor=(0.06, 8), seed=1)
    (low_a, high_a), (low_b, high_b) = ends(a), ends(b)
    covariance = np.cov(a.draws.mean(0), b.draws.mean(0))[0, 1] * 50 / 49 + np.cov(a.values, b.values)[0, 1] / 2
    r = covariance / (a.se * b.se)
    low = 0.095 - np.sqrt((0.91 - low_a) ** 2 + (high_b - 0.815) ** 2 - 2 * r * (0.91 - low_a) * (high_b - 0.815))
    high = 0.095 + np.sqrt((high_a - 0.91) ** 2 + (0.815 - low_b) ** 2 - 2 * r * (high_a - 0.91) * (0.815 - low_b))
    assert ends_of_difference(a, b) == pytest.approx((low, high))
    assert ends_of_difference(b, a) == pytest.approx((-high, -low))
    assert ends_of_difference(a, a) == pytest.approx((0, 0), abs=1e-9)


def test_pairing_narrows_the_difference(two):
    a, b = two
    row = difference_over_seeds([a], [b], draws=300).iloc[0]
    apart = [np.subtract(*interval(x.label, x.score, x.identity, draws=300)) for x in (a, b)]
    assert 0 < row.high - row.low < 0.8 * np.hypot(*apart)


def test_the_difference_has_what_power_needs(two):
    a, b = two
    better = [a.assign(score=a.score + shift * a.label) for shift in (0.2, 0.4)]
    row = difference_over_seeds(better, [b, b], draws=200, methods=["FaceSwap"]).iloc[0]
    assert 0 < row.p < 1 and (row.seeds, row.people) == (2, 8)
    assert row.var_people > 0 and row.var_seeds > 0


def test_the_p_value_is_that_of_the_interval():
    """At the level 1 - p the interval just reaches 0; with the floor on the variance, which a plain t test lacks."""
    for gap, spread in ((0.03, 0.02), (0.01, 0.02), (-0.03, 0.02)):
        a, b = made([0.8 + gap] * 3, spread), made([0.8] * 3, spread, seed=1)
        p = p_of_difference(a, b)
        low, high = ends_of_difference(a, b, 1 - p)
        assert (low if gap > 0 else high) == pytest.approx(0, abs=1e-6)
        inside = ends_of_difference(a, b)
        assert (p < 0.05) == (inside[0] > 0 or inside[1] < 0)
    assert p_of_difference(a, a) == 1.0
    floor = (0.06, 8)
    certain, sure = made([0.99] * 3, 1e-6, 24, floor), made([0.97] * 3, 1e-6, 24, floor, seed=1)
    assert p_of_difference(certain, sure) > 0.001  # nobody ranks another way, but 24 people are no proof


def test_two_way_draws_count_target_and_donor():
    """A row is drawn as often as its target times its donor, in FF++'s way of two people who swap."""
    row, times = two_way(["a", "a", "b", "b"], ["a", "b", "a", "b"], number=50, seed=0)
    assert row.tolist() == [0, 1, 2, 3] and times.shape == (50, 4)
    assert (times[:, 0] * times[:, 3] == times[:, 1] * times[:, 2]).all()
    assert (times.sum(1) == 4).all()
