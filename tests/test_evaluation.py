import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from did.errors import DidError
from did.evaluation import auc, by_video, eer, interval, report


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
    for metric in (auc, eer):
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


def test_the_interval_equals_resampling_by_hand():
    labels, scores, video = clustered(3, 12, frames=3)
    rng = np.random.default_rng(0)
    times = rng.multinomial(12, np.full(12, 1 / 12), size=500)
    values = []
    for row in times:
        rows = np.concatenate([np.flatnonzero(video == v).repeat(k) for v, k in enumerate(row)])
        if 0 < labels[rows].sum() < len(rows):
            values.append(roc_auc_score(labels[rows], scores[rows]))
    expected = np.quantile(values, [0.025, 0.975])
    assert interval(labels, scores, video, draws=500) == pytest.approx(tuple(expected), abs=1e-12)


def test_the_interval_is_repeatable_and_refuses_single_groups():
    labels, scores, video = clustered(1, 10)
    assert interval(labels, scores, video, "eer", draws=50) == interval(labels, scores, video, "eer", draws=50)
    assert interval(labels, scores, video, draws=50) != interval(labels, scores, video, draws=50, seed=1)
    with pytest.raises(DidError, match="at least two groups of each class"):
        interval([0, 0, 1, 1], [1, 2, 3, 4], ["a", "a", "b", "c"])
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
