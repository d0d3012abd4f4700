"""python benchmarks/evaluation.py [--rows 560000] [--frames 32] [--draws 1000] [--pairs 3] [--quick] [--json [FILE]]

The AUC, the EER and the 95% interval of the AUC by a bootstrap over videos, on many scores, beside scikit-learn in one
process. Ours is `did.evaluation.auc`, `eer` and `interval`, all draws measured. Theirs is roc_auc_score, the EER from
roc_curve, and roc_auc_score in a loop over the same draws, a few of them measured and scaled to all. The loop comes in
two forms, drawn rows copied out and rows weighted by how often their video was drawn; the faster counts. Both AUCs and
EERs must agree. DeLong's variance of the AUC is timed beside it. Run it with OMP_NUM_THREADS=1 for one core.
"""

from functools import partial

import numpy as np
from side_by_side import Call, finish, memory, parser, seconds
from sklearn.metrics import roc_auc_score, roc_curve
from tqdm.auto import tqdm

from did.evaluation import auc, delong, eer, interval
from did_book.pages.costs import row

LOOP_DRAWS = 3  # of scikit-learn's loop, a turn
OURS, THEIRS = "did.evaluation", "scikit-learn"


def scores_of(rows: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels, scores and videos: one real video per four fakes, as in FF++.

    The frames of a video share half of their noise.
    """
    rng = np.random.default_rng(0)
    video = np.arange(rows) // frames
    labels = (video % 5 > 0).astype(int)
    return labels, rng.normal(size=video[-1] + 1)[video] + rng.normal(size=rows) + 2 * labels, video


def copied(labels: np.ndarray, scores: np.ndarray, video: np.ndarray, draws: int) -> None:
    rng, rows_of = np.random.default_rng(0), np.split(np.arange(len(video)), np.flatnonzero(np.diff(video)) + 1)
    for _ in range(draws):
        rows = np.concatenate([rows_of[v] for v in rng.integers(0, len(rows_of), len(rows_of))])
        roc_auc_score(labels[rows], scores[rows])


def weighted(labels: np.ndarray, scores: np.ndarray, video: np.ndarray, draws: int) -> None:
    rng, videos = np.random.default_rng(0), video[-1] + 1
    for _ in range(draws):
        times = np.bincount(rng.integers(0, videos, videos), minlength=videos)
        roc_auc_score(labels, scores, sample_weight=times[video])


def eer_by_roc_curve(labels: np.ndarray, scores: np.ndarray) -> float:
    fpr, tpr, _ = roc_curve(labels, scores)
    gap = fpr - (1 - tpr)
    return float(np.interp(0, gap, fpr))


def ours(labels: np.ndarray, scores: np.ndarray, video: np.ndarray, draws: int) -> None:
    auc(labels, scores), eer(labels, scores), interval(labels, scores, video, draws=draws)


def theirs(labels: np.ndarray, scores: np.ndarray, video: np.ndarray, draws: int) -> float:
    """Return the seconds of the other side; its loop over draws is extrapolated from a few."""
    single = seconds(lambda: roc_auc_score(labels, scores)) + seconds(lambda: eer_by_roc_curve(labels, scores))
    of_draws = min(seconds(partial(form, labels, scores, video, LOOP_DRAWS)) for form in (copied, weighted))
    return single + of_draws / LOOP_DRAWS * draws


def side(name: str, rows: int, frames: int, draws: int) -> Call:
    function, drawn = (ours, scores_of(rows, frames)) if name == OURS else (theirs, scores_of(rows, frames))
    return lambda: function(*drawn, draws)


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--rows", type=int, default=560_000)
    found.add_argument("--frames", type=int, default=32, help="frames per video")
    found.add_argument("--draws", type=int, default=1000)
    found.add_argument("--pairs", type=int, default=3)
    options = found.parse_args()
    if options.quick:
        options.rows, options.draws, options.pairs = 20_000, 50, 1
    labels, scores, video = drawn = scores_of(options.rows, options.frames)
    assert abs(auc(labels, scores) - roc_auc_score(labels, scores)) < 1e-9
    assert abs(eer(labels, scores) - eer_by_roc_curve(labels, scores)) < 1e-6
    print(f"AUC {seconds(lambda: auc(labels, scores)):.3f} s, EER {seconds(lambda: eer(labels, scores)):.3f} s, "
          f"DeLong's variance {seconds(lambda: delong(labels, scores)):.3f} s")  # fmt: skip
    pairs = [
        (seconds(lambda: ours(*drawn, options.draws)), theirs(*drawn, options.draws))
        for _ in tqdm(range(options.pairs), desc="evaluation", leave=False)
    ]
    sizes = options.rows, options.frames, options.draws
    case = f"{options.rows:,} scores of {video[-1] + 1:,} videos, {options.draws} draws"
    note = f"{LOOP_DRAWS} draws of scikit-learn's loop are measured and scaled to all"
    held = memory(side, (OURS, *sizes), (THEIRS, *sizes), calls=1)
    finish([row("AUC, EER and interval", case, (OURS, THEIRS), "speed-up", pairs, note=note, **held)], options)


if __name__ == "__main__":
    main()
