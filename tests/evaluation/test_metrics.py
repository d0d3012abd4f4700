import json
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from did.errors import DidError
from did.evaluation import (
    at_prior,
    auc,
    by_video,
    calibrate,
    calibration_error,
    confusion,
    delong,
    eer,
    mean_accuracy,
    probability,
    reliability,
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


def test_videos_that_are_not_one_thing_are_refused(frames):
    with pytest.raises(DidError, match="1 of 72 scores are not finite"):
        by_video(frames.assign(score=frames.score.where(frames.index != 5)))
    with pytest.raises(DidError, match="video '003' has more than one label or method"):
        by_video(frames.assign(video=frames.video.where(frames.identity != "003", "003")))


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


def test_half_a_million_scores_take_less_than_two_seconds():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 560_000)
    scores = rng.normal(size=560_000) + labels
    start = time.process_time()
    auc(labels, scores), eer(labels, scores), delong(labels, scores)
    assert time.process_time() - start < 2


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
