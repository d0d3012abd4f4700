"""python benchmarks/evaluation.py [--rows 560000] [--frames 32] [--draws 1000] [--turns 3]

The cost of evaluation on many scores, side by side with scikit-learn, in one process:
  AUC, EER and DeLong's variance: seconds for each and for all three;
  the 95% interval of the AUC by a bootstrap over videos: `did.evaluation.interval`, all draws measured, beside
  scikit-learn's roc_auc_score in a loop over the same draws, a few measured and scaled to all. The loop comes in two
  forms: drawn rows copied out, and rows weighted by how often their video was drawn.
Times are medians over the turns, which alternate. Run it with OMP_NUM_THREADS=1 for one core.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.metrics import roc_auc_score, roc_curve

from did.evaluation import auc, delong, eer, interval

LOOP_DRAWS = 3  # of scikit-learn's loop, a turn


def scores_of(rows: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and videos: one real video to four fakes, as FF++; a video's frames share half of their noise."""
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


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def medians(calls: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    measured = [{name: seconds(call) for name, call in calls.items()} for _ in range(turns)]
    return {name: float(np.median([turn[name] for turn in measured])) for name in calls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=560_000)
    parser.add_argument("--frames", type=int, default=32, help="frames a video")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    labels, scores, video = scores_of(options.rows, options.frames)
    print(
        f"{options.rows} scores of {video[-1] + 1} videos; numpy {np.__version__}, scikit-learn {sklearn.__version__}"
    )

    apart = abs(auc(labels, scores) - roc_auc_score(labels, scores))
    print(f"the two AUCs differ by {apart:.1e}, the two EERs by ", end="")
    print(f"{abs(eer(labels, scores) - eer_by_roc_curve(labels, scores)):.1e}")
    single = {
        "AUC": lambda: auc(labels, scores),
        "EER": lambda: eer(labels, scores),
        "DeLong": lambda: delong(labels, scores),
        "AUC, scikit-learn": lambda: roc_auc_score(labels, scores),
        "EER, scikit-learn's roc_curve": lambda: eer_by_roc_curve(labels, scores),
    }
    times = medians(single, options.turns)
    for name, value in times.items():
        print(f"{name:32s} {value:8.3f} s")
    print(f"{'AUC, EER and DeLong':32s} {times['AUC'] + times['EER'] + times['DeLong']:8.3f} s")

    ours = medians({"interval": lambda: interval(labels, scores, video, draws=options.draws)}, 1)["interval"]
    print(f"interval, {options.draws} draws: did {ours:.1f} s, all measured")
    loops = medians(
        {
            "copied": lambda: copied(labels, scores, video, LOOP_DRAWS),
            "weighted": lambda: weighted(labels, scores, video, LOOP_DRAWS),
        },
        options.turns,
    )
    for name, value in loops.items():
        whole = value / LOOP_DRAWS * options.draws
        print(
            f"  roc_auc_score on {name} rows: {whole:.0f} s, scaled from {options.turns} × {LOOP_DRAWS} draws; "
            f"{whole / ours:.1f} times did's"
        )


if __name__ == "__main__":
    main()
