import json
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from did import evaluation
from did.errors import DidError
from did.evaluation import (
    at_prior,
    auc,
    by_video,
    calibrate,
    calibration_error,
    confusion,
    delong,
    difference,
    difference_over_seeds,
    eer,
    interval,
    mean_accuracy,
    mean_draws,
    over_seeds,
    probability,
    reliability,
    report,
)
from did.evaluation.calibration import TEMPERATURES


def scores_with_ties(seed, n=200):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, np.round(rng.normal(size=n) + labels, 1)


@pytest.mark.parametrize("seed", range(5))
def test_auc_agrees_with_scikit_learn(seed):
    labels, scores = scores_with_ties(seed)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_is_the_wmw_statistic_of_eq_6():
    labels, scores = scores_with_ties(7)
    wins = [(s > r) + 0.5 * (s == r) for s in scores[labels == 1] for r in scores[labels == 0]]
    assert auc(labels, scores) == pytest.approx(np.mean(wins), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_eer_agrees_with_a_scan_of_all_thresholds(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 500)
    scores = rng.normal(size=1000) + 1.5 * labels
    gaps = []
    for t in [*scores, np.inf]:
        fpr, fnr = (scores[labels == 0] >= t).mean(), (scores[labels == 1] < t).mean()
        gaps.append((abs(fpr - fnr), (fpr + fnr) / 2))
    assert eer(labels, scores) == pytest.approx(min(gaps)[1], abs=1 / 500)
    assert 0.1 < eer(labels, scores) < 0.4


def eer_by_scan(labels, scores):
    """Walk down all thresholds; where FPR passes FNR, cut the straight line between the two points."""
    before = (0.0, 1.0)
    for t in sorted(set(scores), reverse=True):
        fpr, fnr = np.mean(scores[labels == 0] >= t), np.mean(scores[labels == 1] < t)
        if fpr >= fnr:
            gap, last = fpr - fnr, before[1] - before[0]
            return (before[0] * gap + fpr * last) / (gap + last)
        before = (fpr, fnr)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [0, 1, 8])
def test_eer_is_where_a_scan_of_all_thresholds_crosses(seed, digits):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 150)
    scores = np.round(rng.normal(size=150) + labels, digits)
    assert eer(labels, scores) == pytest.approx(eer_by_scan(labels, scores), abs=1e-12)


@pytest.mark.parametrize("rising", [np.exp, lambda s: s**3, lambda s: 1e-3 * s - 7, np.arctan])
def test_rising_maps_of_the_scores_change_nothing(rising):
    labels, scores = scores_with_ties(3)
    assert auc(labels, rising(scores)) == auc(labels, scores)
    assert eer(labels, rising(scores)) == eer(labels, scores)


@pytest.mark.parametrize("seed", range(5))
def test_turned_labels_turn_the_auc(seed):
    labels, scores = scores_with_ties(seed)
    assert auc(1 - labels, scores) == pytest.approx(1 - auc(labels, scores), abs=1e-12)
    assert auc(1 - labels, -scores) == pytest.approx(auc(labels, scores), abs=1e-12)


def test_eer_of_known_cases():
    assert eer([0, 0, 1, 1], [1, 2, 3, 4]) == 0
    assert eer([1, 1, 0, 0], [1, 2, 3, 4]) == 1
    assert eer([0, 1, 0, 1], [1, 1, 1, 1]) == 0.5
    assert eer([0, 0, 1, 1], [1, 3, 2, 4]) == 0.5


@pytest.mark.parametrize(
    ("labels", "scores", "sentence"),
    [
        ([1, 1], [0.1, 0.2], "both classes"),
        ([0, 2], [0.1, 0.2], "both classes"),
        ([0, 1], [0.1], "same length"),
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are not finite"),
    ],
)
def test_what_cannot_be_ranked_is_refused(labels, scores, sentence):
    for metric in (auc, eer, delong):
        with pytest.raises(DidError, match=sentence):
            metric(labels, scores)


def clustered(seed, videos, frames=16):
    """Frames of a video share most of their score."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(videos), frames)
    labels = video % 2
    return labels, rng.normal(size=videos)[video] + 0.1 * rng.normal(size=len(video)) + 0.7 * labels, video


def test_the_interval_is_over_videos_not_frames():
    labels, scores, video = clustered(0, 40)
    low, high = interval(labels, scores, video)
    assert low < auc(labels, scores) < high
    narrow_low, narrow_high = interval(labels, scores, np.arange(len(video)))
    assert (high - low) > 2.5 * (narrow_high - narrow_low)


def test_the_interval_covers():
    """Of 60 data sets the 95% interval holds the true AUC in at least 51; an interval over frames does in few."""
    truth_labels, truth_scores, _ = clustered(99, 20000, frames=1)
    truth = auc(truth_labels, truth_scores)
    inside = {"videos": 0, "frames": 0}
    for seed in range(60):
        labels, scores, video = clustered(seed, 60, frames=8)
        for name, groups in (("videos", video), ("frames", np.arange(len(video)))):
            low, high = interval(labels, scores, groups, draws=200)
            inside[name] += low <= truth <= high
    assert inside["videos"] >= 51
    assert inside["frames"] <= 40


@pytest.mark.parametrize("videos", [4, 12])  # with 4, one draw in eight holds one class
def test_the_interval_equals_resampling_by_hand(videos):
    labels, scores, video = clustered(3, videos, frames=3)
    rng = np.random.default_rng(0)
    times = rng.multinomial(videos, np.full(videos, 1 / videos), size=500)
    values = []
    for row in times:
        rows = np.concatenate([np.flatnonzero(video == v).repeat(k) for v, k in enumerate(row)])
        if 0 < labels[rows].sum() < len(rows):
            values.append(roc_auc_score(labels[rows], scores[rows]))
    expected = np.quantile(values, [0.025, 0.975])
    assert interval(labels, scores, video, draws=500) == pytest.approx(tuple(expected), abs=1e-12)


@pytest.mark.parametrize(("metric", "by_hand"), [("auc", roc_auc_score), ("eer", eer_by_scan)])
def test_tied_and_separated_scores_are_drawn_alike(metric, by_hand):
    labels, scores, video = clustered(5, 14, frames=4)
    scores = np.round(scores + 0.5 * labels, 1)
    rng, values = np.random.default_rng(2), []
    for row in rng.multinomial(14, np.full(14, 1 / 14), size=200):
        rows = np.concatenate([np.flatnonzero(video == v).repeat(k) for v, k in enumerate(row)])
        if 0 < labels[rows].sum() < len(rows):
            values.append(by_hand(labels[rows], scores[rows]))
    expected = np.quantile(values, [0.05, 0.95])
    found = interval(labels, scores, video, metric, draws=200, level=0.9, seed=2)
    assert found == pytest.approx(tuple(expected), abs=1e-12)


def test_the_interval_is_repeatable_and_refuses_single_groups():
    labels, scores, video = clustered(1, 10)
    assert interval(labels, scores, video, "eer", draws=50) == interval(labels, scores, video, "eer", draws=50)
    assert interval(labels, scores, video, draws=50) != interval(labels, scores, video, draws=50, seed=1)
    with pytest.raises(DidError, match="at least two groups of each class"):
        interval([0, 0, 1, 1], [1, 2, 3, 4], ["a", "a", "b", "c"])
    with pytest.raises(DidError, match="a group for each of the 4 scores"):
        interval([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", "c"])
    with pytest.raises(DidError, match="a group for each of the 4 scores"):
        interval([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", "c", None])
    with pytest.raises(DidError, match="none of the 0 draws"):
        interval(labels, scores, video, draws=0)
    with pytest.raises(DidError, match="unknown metric 'aucc': did you mean 'auc'"):
        interval(labels, scores, video, "aucc")


@pytest.fixture
def frames():
    rows = []
    rng = np.random.default_rng(0)
    for k in range(8):
        for method in ("real", "Deepfakes", "FaceSwap"):
            for _ in range(3):
                shift = {"real": 0, "Deepfakes": 5, "FaceSwap": 0.5}[method]
                rows.append(
                    {"video": f"{method}/{k:03d}", "label": int(method != "real"), "method": method,
                     "identity": f"{k:03d}", "score": rng.normal() + shift}
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_video_scores_are_means_of_their_frames(frames):
    videos = by_video(frames)
    assert len(videos) == 24
    for row in videos.itertuples():
        part = frames[frames.video == row.video]
        assert row.score == pytest.approx(sum(part.score) / 3)
        assert row.label == part.label.iloc[0]


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
        expected = interval(frames.label, frames.score, frames.video, metric, draws=100)
        assert (row[f"{metric}_low"], row[f"{metric}_high"]) == expected


def test_videos_that_are_not_one_thing_are_refused(frames):
    with pytest.raises(DidError, match="1 of 72 scores are not finite"):
        by_video(frames.assign(score=frames.score.where(frames.index != 5)))
    with pytest.raises(DidError, match="video '003' has more than one label or method"):
        by_video(frames.assign(video=frames.video.where(frames.identity != "003", "003")))


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


def test_the_difference_equals_a_plain_loop_over_draws(two):
    a, b = two
    found = difference(a, b, draws=60, seed=3).set_index("level")
    pairs = a.merge(b[["video", "frame", "score"]], on=["video", "frame"], suffixes=("_a", "_b"))
    means = pairs.groupby("video", as_index=False)[["label", "score_a", "score_b"]].mean()
    for level, table in (("frame", pairs), ("video", means)):
        names, values = sorted(set(table.video)), []
        for row in np.random.default_rng(3).multinomial(24, np.full(24, 1 / 24), size=60):
            drawn = pd.concat([table[table.video == v] for v, k in zip(names, row, strict=True) for _ in range(k)])
            if 0 < drawn.label.sum() < len(drawn):
                aucs = [roc_auc_score(drawn.label, drawn[f"score_{which}"]) for which in "ab"]
                values.append(aucs[0] - aucs[1])
        expected_a, expected_b = (roc_auc_score(table.label, table[f"score_{which}"]) for which in "ab")
        row = found.loc[level]
        assert [row.auc_a, row.auc_b, row.difference] == pytest.approx(
            [expected_a, expected_b, expected_a - expected_b], abs=1e-12
        )
        assert [row.low, row.high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-12)


def test_a_detector_does_not_differ_from_itself(two):
    a, b = two
    assert (difference(a, a.sample(frac=1, random_state=1), 50)[["difference", "low", "high"]] == 0).all(axis=None)
    there, back = difference(a, b, 50), difference(b, a, 50)
    assert there.difference.tolist() == (-back.difference).tolist()
    assert there.low.tolist() == pytest.approx((-back.high).tolist(), abs=1e-12)


def test_pairing_narrows_the_difference(two):
    a, b = two
    row = difference(a, b, draws=300).iloc[0]
    apart = [np.subtract(*interval(x.label, x.score, x.video, draws=300)) for x in (a, b)]
    assert 0 < row.high - row.low < 0.8 * np.hypot(*apart)


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
        difference(a, change(b), draws=10)


@pytest.mark.parametrize(
    ("labels", "probabilities", "bins", "expected"),
    [
        ([1, 1, 1, 1, 0], [0.8] * 5, 15, 0.0),
        ([0, 0, 1, 1], [0.1, 0.1, 0.9, 0.9], 15, 0.1),
        ([1, 1, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 1.0], 15, (4 * 0.3 + 1 * 1.0) / 5),
        ([1, 0], [0.2, 0.8], 1, 0.0),  # one bin: the two errors cancel
        ([1, 0], [0.2, 0.8], 2, 0.8),
        ([1, 1], [0.7, 0.7], 15, 0.3),  # one class
    ],
)
def test_calibration_error_by_hand(labels, probabilities, bins, expected):
    assert calibration_error(labels, probabilities, bins) == pytest.approx(expected, abs=1e-12)


def test_reliability_by_hand():
    table = reliability([0, 1, 1, 1, 0], [0.0, 0.25, 0.26, 1.0, 0.9], bins=4)
    expected = pd.DataFrame(
        {
            "low": [0, 0.25, 0.5, 0.75],
            "high": [0.25, 0.5, 0.75, 1],
            "n": [2, 1, 0, 2],
            "probability": [0.125, 0.26, np.nan, 0.95],
            "share": [0.5, 1, np.nan, 0.5],
        }
    )
    pd.testing.assert_frame_equal(table, expected)
    assert len(reliability([0, 1], [0, 1])) == 15


@pytest.mark.parametrize(
    ("labels", "probabilities", "sentence"),
    [
        ([0, 1], [0.1, 2.3], "probabilities must lie in"),
        ([0, 1], [0.1, float("nan")], "probabilities must lie in"),
        ([0, 2], [0.1, 0.2], "labels 0 .real. and 1 .fake."),
        ([0, 1], [0.1], "of one length"),
        ([], [], "of one length"),
    ],
)
def test_what_is_no_probability_is_refused(labels, probabilities, sentence):
    with pytest.raises(DidError, match=sentence):
        calibration_error(labels, probabilities)


def test_confusion_by_hand():
    table = confusion([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 2, 2], ["real", "Deepfakes", "FaceSwap"])
    assert table.to_numpy().tolist() == [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]]
    assert table.loc["real", "Deepfakes"] == 0.25
    assert (table.index.name, table.columns.name) == ("true", "predicted")
    assert mean_accuracy(table) == 0.75  # and not 5 of 7


def test_a_domain_without_faces_counts_for_nothing():
    table = confusion([0, 0, 2], [0, 1, 2], ["real", "Deepfakes", "FaceSwap"])
    assert table.loc["Deepfakes"].isna().all()
    assert mean_accuracy(table) == 0.75


@pytest.mark.parametrize(
    ("true", "predicted", "sentence"),
    [
        ([0, 1], [0, 2], "whole numbers from 0 to 1, one for each of real, fake"),
        ([0, -1], [0, 1], "whole numbers from 0 to 1"),
        ([0, 0.5], [0, 1], "whole numbers from 0 to 1"),
        ([0, 1], [0], "of one length"),
        ([], [], "of one length"),
    ],
)
def test_domains_without_a_name_are_refused(true, predicted, sentence):
    with pytest.raises(DidError, match=sentence):
        confusion(true, predicted, ["real", "fake"])


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


def resampled(tables, level, method, metric, draws, seed):
    """A metric of each run on each draw of videos, one run's list after another."""
    values = []
    for part in parts(tables, level, method):
        names = sorted(set(part.video))
        rows_of = {name: np.flatnonzero(part.video == name) for name in names}
        labels, scores, own = part.label.to_numpy(), part.score.to_numpy(), []
        times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        for counts in times:
            rows = np.concatenate([rows_of[name].repeat(k) for name, k in zip(names, counts, strict=True)])
            if 0 < labels[rows].sum() < len(rows):
                own.append(metric(labels[rows], scores[rows]))
        values.append(own)
    return values


def over_drawn_runs(values, seed):
    """The mean, draw by draw, over as many runs as there are, drawn with replacement."""
    runs, means = len(values), []
    times = np.random.default_rng([seed, runs]).multinomial(runs, np.full(runs, 1 / runs), size=len(values[0]))
    for draw, counts in enumerate(times):
        means.append(sum(counts[run] * values[run][draw] for run in range(runs)) / runs)
    return means


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


def test_the_interval_over_seeds_equals_a_plain_loop(three):
    found = over_seeds(three, draws=25, seed=4)
    for level in ("frame", "video"):
        for method in METHODS:
            for metric, by_hand in (("auc", roc_auc_score), ("eer", eer_by_scan)):
                drawn = over_drawn_runs(resampled(three, level, method, by_hand, 25, 4), 4)
                row = found.set_index(["level", "method", "metric"]).loc[level, method, metric]
                assert [row.low, row.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-12)


def test_seeds_that_differ_widen_the_interval(two):
    a, _ = two
    alone, alike = over_seeds([a], draws=300), over_seeds([a, a, a], draws=300)
    assert alike[["low", "high"]].to_numpy() == pytest.approx(alone[["low", "high"]].to_numpy(), abs=1e-12)
    assert (alike["std"] < 1e-12).all()
    apart = over_seeds([a.assign(score=a.score + shift * a.label) for shift in (-0.8, 0, 0.8)], draws=300)
    one, other = (table.query("method == 'FaceSwap' and metric == 'auc'") for table in (alike, apart))
    assert ((other.high - other.low) > 1.2 * (one.high - one.low)).all()


def test_of_one_seed_the_difference_over_seeds_is_the_difference(two):
    a, b = two
    expected = difference(a, b, draws=100, seed=3)
    found = difference_over_seeds([a], [b], draws=100, seed=3)
    columns = ["level", "difference", "low", "high"]
    pd.testing.assert_frame_equal(found[found.method == "all"][columns].reset_index(drop=True), expected[columns])
    assert found["std"].isna().all() and (found.seeds == 1).all()


def test_the_difference_over_seeds_equals_a_plain_loop(three, two):
    others = [two[1].assign(score=shift * two[1].score ** 3) for shift in (1, -1, 0.5)]
    found = difference_over_seeds(three, others, draws=25, seed=2)
    assert list(zip(found.level, found.method, strict=True)) == [(x, y) for x in ("frame", "video") for y in METHODS]
    for row in found.itertuples():
        aucs = [
            [roc_auc_score(part.label, part.score) for part in parts(side, row.level, row.method)]
            for side in (three, others)
        ]
        values = [a - b for a, b in zip(*aucs, strict=True)]
        assert row.difference == pytest.approx(sum(values) / 3, abs=1e-12)
        assert row.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        drawn = [resampled(side, row.level, row.method, roc_auc_score, 25, 2) for side in (three, others)]
        apart = [[a - b for a, b in zip(*of, strict=True)] for of in zip(*drawn, strict=True)]
        assert [row.low, row.high] == pytest.approx(np.quantile(over_drawn_runs(apart, 2), [0.025, 0.975]), abs=1e-12)


def test_the_difference_over_seeds_turns_with_the_sides(three, two):
    a, b = three[:2], [two[1], two[0]]
    there, back = difference_over_seeds(a, b, draws=50), difference_over_seeds(b, a, draws=50)
    assert there.difference.tolist() == pytest.approx((-back.difference).tolist(), abs=1e-12)
    assert there.low.tolist() == pytest.approx((-back.high).tolist(), abs=1e-12)
    assert there["std"].tolist() == pytest.approx(back["std"].tolist(), abs=1e-12)
    assert (there.difference.abs() > 0.01).any()
    none = difference_over_seeds(a, [one.sample(frac=1, random_state=9) for one in a], draws=50)
    assert (none[["difference", "low", "high", "std"]] == 0).all(axis=None)


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


def test_means_over_draws_of_groups_equal_a_plain_loop():
    groups, values = ["b", "a", "b", "c", "c", "c"], [1.0, 0.0, 0.0, 1.0, 1.0, 0.5]
    expected = []
    for times in np.random.default_rng(6).multinomial(3, np.full(3, 1 / 3), size=40):
        drawn = []
        for name, k in zip(["b", "a", "c"], times, strict=True):  # in the order in which they are met
            for _ in range(k):
                drawn += [v for g, v in zip(groups, values, strict=True) if g == name]
        expected.append(sum(drawn) / len(drawn))
    assert mean_draws(values, groups, draws=40, seed=6).tolist() == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) > 3


def test_one_group_gives_one_mean():
    assert mean_draws([1, 0, 0, 1, 1], ["a"] * 5, draws=7).tolist() == [0.6] * 7


def test_half_a_million_scores_take_less_than_two_seconds():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 560_000)
    scores = rng.normal(size=560_000) + labels
    start = time.process_time()
    auc(labels, scores), eer(labels, scores), delong(labels, scores)
    assert time.process_time() - start < 2


# --- several methods on the same draws -------------------------------------------------------------------------------


def scored_methods(seed, shift=0.0, videos=6, frames=3):
    """Made-up scores: reals and the methods A and B, which score higher by 1 + shift and by 0.5."""
    rng = np.random.default_rng(seed)
    rows = [
        {"video": f"{method}/{video}", "frame": frame, "label": int(method != "real"), "method": method,
         "identity": f"{video}", "score": rng.normal() + lift}
        for method, lift in (("real", 0.0), ("A", 1.0 + shift), ("B", 0.5))
        for video in range(videos)
        for frame in range(frames)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_draws_over_methods_are_those_of_copied_rows():
    """Each draw again by the plain way: the rows of a video as often as it was drawn, and another library's AUC."""
    scored = [scored_methods(0), scored_methods(1, 0.5).sample(frac=1, random_state=0)]
    drawn = evaluation.auc_draws(scored, ["A", "B"], draws=20, seed=3)
    videos = sorted(set(scored[0].video))
    times = np.random.default_rng(3).multinomial(len(videos), np.full(len(videos), 1 / len(videos)), size=20)
    kept = []
    for count in times:
        often = dict(zip(videos, count, strict=True))
        if not all(any(n and v.startswith(m) for v, n in often.items()) for m in ("real", "A", "B")):
            continue
        copies = [one.loc[one.index.repeat(one.video.map(often))] for one in scored]
        parts = [[of[of.method.isin(["real", method])] for method in "AB"] for of in copies]
        kept.append([[roc_auc_score(part.label, part.score) for part in of] for of in parts])
    assert drawn.shape == (2, 2, len(kept)) and len(kept) > 15
    assert np.allclose(drawn, np.moveaxis(np.array(kept), 0, -1), rtol=0, atol=1e-12)


def test_draws_over_methods_need_methods_and_the_same_frames():
    with pytest.raises(DidError, match="need both classes"):
        evaluation.auc_draws([scored_methods(0)], ["C"])
    with pytest.raises(DidError, match="not about the same frames"):
        evaluation.auc_draws([scored_methods(0), scored_methods(1, videos=5)], ["A"])
    with pytest.raises(DidError, match="at least one detector"):
        evaluation.auc_draws([], ["A"])


# --- calibration ---------------------------------------------------------------------------------------------------


def of_split(real, fake, videos=10):
    """A table of a validation split with these scores: every class dealt out over so many videos."""
    parts = []
    for label, scores in ((0, real), (1, fake)):
        names = [f"{'fake' if label else 'real'}/{number % videos}" for number in range(len(scores))]
        parts.append(
            pd.DataFrame({"video": names, "label": label, "method": "m" if label else "real", "score": scores})
        )
    table = pd.concat(parts, ignore_index=True)
    return table.assign(identity=table.video)


def test_the_temperature_that_made_the_scores_is_found_whatever_the_shares_of_the_classes():
    """Scores 3·z whose true probability is sigmoid(z): the temperature is 3. Half of the fakes or all, it stays."""
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, 60_000)
    fake = rng.random(len(z)) < 1 / (1 + np.exp(-z))
    for share in (1, 0.1):
        some = 3 * z[fake][: int(share * fake.sum())]
        found = calibrate(of_split(3 * z[~fake], some))["frame"]
        assert found["temperature"] == pytest.approx(3, rel=0.05)
        assert found["bound"] is None
        assert (found["n_real"], found["n_fake"]) == ((~fake).sum(), len(some))


def test_the_temperature_minimises_the_balanced_log_loss_on_a_grid():
    rng = np.random.default_rng(1)
    real, fake = rng.normal(-0.3, 1, 300), rng.normal(0.8, 2, 40)
    grid = np.exp(np.linspace(*np.log(TEMPERATURES), 4001))
    losses = [
        -np.log(probability(-real, t)).mean() / 2 - np.log(probability(fake, t)).mean() / 2 for t in grid
    ]  # of a real one: 1 - sigmoid(x) = sigmoid(-x)
    found = calibrate(of_split(real, fake))["frame"]["temperature"]
    assert found == pytest.approx(grid[np.argmin(losses)], rel=2e-3)


@pytest.mark.parametrize(
    ("real", "fake", "bound", "temperature"),
    [([-2, -1.0], [1, 2.0], "lower", TEMPERATURES[0]), ([1, 2.0], [-2, -1.0], "upper", TEMPERATURES[1])],
)
def test_a_split_that_is_separated_or_upside_down_stops_at_a_bound(real, fake, bound, temperature):
    found = calibrate(of_split(real, fake))
    for level in ("frame", "video"):
        assert (found[level]["bound"], found[level]["temperature"]) == (bound, pytest.approx(temperature, rel=1e-9))
    json.dumps(found, allow_nan=False)


def test_the_threshold_is_the_equal_error_point_by_hand():
    # Sorted: r0 r1 f2 r3 f4 f5 f6 r7. Above 3.5: of the reals 7 (1/4), of the fakes all but 2 (3/4).
    found = calibrate(of_split([0, 1, 3, 7], [2, 4, 5, 6], videos=2))
    assert {key: found["frame"][key] for key in ("threshold", "fpr", "fnr")} == {
        "threshold": 3.5, "fpr": 0.25, "fnr": 0.25
    }  # fmt: skip
    # The videos' means: real (0 + 3) / 2 and (1 + 7) / 2, fake (2 + 5) / 2 and (4 + 6) / 2; above 3.75 one of each.
    assert {key: found["video"][key] for key in ("threshold", "fpr", "fnr", "n_real", "n_fake")} == {
        "threshold": 3.75, "fpr": 0.5, "fnr": 0.5, "n_real": 2, "n_fake": 2
    }  # fmt: skip
    assert found["prior"] == 0.5 and "equal-error point of the validation split" in found["rule"]


def test_the_rates_at_the_threshold_are_those_that_it_gives_and_near_the_eer():
    rng = np.random.default_rng(2)
    real, fake = rng.normal(0, 1, 500), rng.normal(1.5, 1, 300)
    found = calibrate(of_split(real, fake))["frame"]
    assert found["fpr"] == np.mean(real > found["threshold"])
    assert found["fnr"] == np.mean(fake <= found["threshold"])
    labels = np.repeat([0, 1], [len(real), len(fake)])
    assert found["fpr"] == pytest.approx(eer(labels, np.concatenate([real, fake])), abs=0.01)


def test_scores_at_the_threshold_are_called_real():
    """Ties at the only cuts that there are: below 1 and above it. A score that is the threshold is not above it."""
    found = calibrate(of_split([0, 0, 0, 1], [0, 1, 1, 1]))["frame"]
    assert (found["threshold"], found["fpr"], found["fnr"]) == (0.5, 0.25, 0.25)


@pytest.mark.parametrize("start", [1.0, np.nextafter(1.0, 2), -1.0, 0.0])
def test_a_threshold_between_neighbouring_numbers_parts_them(start):
    """Nothing lies between them, and half-way is rounded to one of the two: it has to be the lower one."""
    real, fake = start, np.nextafter(start, 2)
    found = calibrate(of_split([real, real], [fake, fake]))["frame"]
    assert (found["threshold"], found["fpr"], found["fnr"]) == (real, 0, 0)
    assert not real > found["threshold"] and fake > found["threshold"]


def test_scores_that_are_all_alike_have_a_threshold_too():
    found = calibrate(of_split([0.25, 0.25], [0.25, 0.25]))["frame"]
    assert (found["threshold"], found["fpr"], found["fnr"]) == (0.25, 0, 1)


def test_a_calibration_needs_both_classes_and_finite_scores():
    for real, fake in (([], [1.0]), ([1.0], [])):
        with pytest.raises(DidError, match="real \\(0\\) and fake \\(1\\) frames in the validation split; it has one"):
            calibrate(of_split(real, fake))
    with pytest.raises(DidError, match="1 of 2 scores are not finite"):
        calibrate(of_split([0.0], [np.nan]))


def test_probability_by_hand():
    assert probability([0, np.log(3), -2 * np.log(3)], 1).tolist() == pytest.approx([0.5, 0.75, 0.1])
    assert probability(2 * np.log(3), 2) == pytest.approx(0.75)
    assert probability([-1e4, 1e4], 0.05).tolist() == [0, 1]


def test_a_probability_at_another_prior_by_hand():
    # Of 1000 pictures one is forged. Odds of 9 for one half are odds of 9 / 999 there.
    assert at_prior(0.9, 0.001) == pytest.approx(9 / (9 + 999))
    assert at_prior([0, 0.3, 1], 0.5).tolist() == pytest.approx([0, 0.3, 1])
    assert at_prior(0.5, 0.8) == pytest.approx(0.8)
    for prior in (0, 1, -1, np.nan):
        with pytest.raises(DidError, match="a prior must lie between 0 and 1"):
            at_prior(0.5, prior)


def test_of_two_cuts_at_which_the_errors_are_as_far_apart_the_one_with_fewer_is_the_threshold():
    # Sorted: r-3 r-2 f-1 r0 r0 f1 f2 f3. Above -.5: 2/4 and 1/4; above .5: 0 and 1/4; above -1.5: 2/4 and 0.
    found = calibrate(of_split([-3, -2, 0, 0], [-1, 1, 2, 3], videos=2))["frame"]
    assert {key: found[key] for key in ("threshold", "fpr", "fnr")} == {"threshold": 0.5, "fpr": 0.0, "fnr": 0.25}
