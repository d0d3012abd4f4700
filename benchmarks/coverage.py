"""python benchmarks/coverage.py [--worlds 300] [--draws 200] [--jobs 2] [--quick] [--out FILE]

How often the intervals of `did.evaluation` contain the truth, in worlds where the truth is known. Each world has people
with one real and four forged videos; a person's videos share a part of their score, two detectors share another part,
and every seed of a detector has its own separation of the classes, a random effect. Per cell: people, seeds, the true
AUCs of two detectors, and the share of worlds whose interval contains the true AUC, and the true difference. Beside
them: the percentile interval over videos and seeds that `did` used up to 0.1. The table goes to
`benchmarks/results/coverage.csv`.
"""

import argparse
import itertools
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm
from tqdm.auto import tqdm

from did.evaluation import draws, ends, ends_of_difference
from did.utils.files import write_atomically

FAKES = 4  # videos forged of each person
PERSON, SHARED, INTERACTION = 0.5, 0.7, 0.35  # parts of the score's spread; see `world`
PEOPLE, SEEDS, SPREADS = (24, 60, 200, 400), (1, 3, 5, 10), (0.15, 0.3)
OLD_UP_TO = 60  # people; the old interval is measured up to here
AUCS = ((0.6, 0.6), (0.75, 0.72), (0.9, 0.9), (0.95, 0.9), (0.99, 0.99), (0.995, 0.97))


def world(rng: np.random.Generator, people: int, seeds: int, aucs: tuple[float, float], spread: float) -> list:
    """Draw the scores of two detectors: per detector, one table per seed.

    Within a class, a score has variance 1: `PERSON`² is the person's, `INTERACTION`² that of person and seed together,
    and of the rest the share `SHARED` is the same for both detectors. The separation of the classes varies over seeds
    with standard deviation `spread`; it is set so that the AUC over all seeds is the given one.
    """
    label = np.tile(np.r_[0, np.ones(FAKES, int)], people)
    person = np.repeat(np.arange(people), FAKES + 1)
    video, rest = rng.normal(size=len(label)), np.sqrt(1 - PERSON**2 - INTERACTION**2)
    of_person = rng.normal(0, PERSON, people)[person]
    found = []
    for auc in aucs:
        own = np.sqrt(SHARED) * video + np.sqrt(1 - SHARED) * rng.normal(size=len(label))
        separation = norm.ppf(auc) * np.sqrt(2 + spread**2)
        found.append([
            pd.DataFrame({
                "label": label, "person": person,
                "score": (separation + rng.normal(0, spread)) * label + of_person + rest * own
                + INTERACTION * rng.normal(size=len(label)),
            })
            for _ in range(seeds)
        ])  # fmt: skip
    return found


def percentile(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the interval that `did` used up to 0.1: percentiles over videos and over runs drawn with replacement."""
    times = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=values.shape[1]) / len(values)
    low, high = np.quantile((values * times.T).sum(0), [0.025, 0.975])
    return float(low), float(high)


def cell(what: tuple[int, int, tuple[float, float], float, int, int]) -> dict:
    """Measure one cell of the table."""
    people, seeds, aucs, spread, worlds, number = what
    rng = np.random.default_rng([people, seeds, *(int(1000 * auc) for auc in aucs), int(100 * spread)])
    inside = np.zeros((4, worlds), bool)
    for at in range(worlds):
        sides = world(rng, people, seeds, aucs, spread)
        seed = int(rng.integers(2**31))
        a, b = (draws(one, "auc", [t.person for t in one], number=number, seed=seed) for one in sides)
        pairs = [(ends(a), aucs[0]), (ends_of_difference(a, b), aucs[0] - aucs[1])]
        if people <= OLD_UP_TO:
            videos = [draws(one, "auc", [np.arange(len(t)) for t in one], number=number, seed=seed) for one in sides]
            pairs += [
                (percentile(videos[0].draws, rng), aucs[0]),
                (percentile(videos[0].draws - videos[1].draws, rng), aucs[0] - aucs[1]),
            ]
        inside[: len(pairs), at] = [low <= truth <= high for (low, high), truth in pairs]
    names = ("auc", "difference", "auc, over videos", "difference, over videos")
    rates = dict(zip(names, inside.mean(1).round(4), strict=True))
    if people > OLD_UP_TO:
        rates |= dict.fromkeys(names[2:], float("nan"))
    return {"people": people, "seeds": seeds, "auc_a": aucs[0], "auc_b": aucs[1], "spread": spread, "worlds": worlds,
            **rates}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=300, help="per cell")
    parser.add_argument("--draws", type=int, default=200, help="of people, per world; did takes 1000")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="20 worlds per cell, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/coverage.csv")
    options = parser.parse_args()
    worlds = 20 if options.quick else options.worlds
    # With one seed, the interval is conditional on it: there the truth is that of a detector without a spread.
    cells = [(people, seeds, aucs, spread if seeds > 1 else 0.0, worlds, options.draws)
             for people, seeds, aucs, spread in itertools.product(PEOPLE, SEEDS, AUCS, SPREADS)
             if seeds == 3 or spread == SPREADS[-1]]  # fmt: skip
    cells.sort(key=lambda each: each[0] * each[1], reverse=True)
    start = time.monotonic()
    with multiprocessing.Pool(options.jobs) as pool:
        rows = list(tqdm(pool.imap_unordered(cell, cells), total=len(cells), desc="cells"))
    table = pd.DataFrame(rows).sort_values(["people", "seeds", "auc_a", "spread"]).reset_index(drop=True)
    if not options.quick:
        write_atomically(options.out, lambda path: table.to_csv(path, index=False))
    new = table[["auc", "difference"]]
    print(f"{len(table)} cells of {worlds} worlds, {(time.monotonic() - start) / 60:.1f} min")
    print(new.describe().loc[["mean", "min", "max"]].round(3).to_string())
    inside = ((new >= 0.93) & (new <= 0.97)).mean().round(3)
    print(f"share of cells in .93 to .97: AUC {inside['auc']}, difference {inside['difference']}")


if __name__ == "__main__":
    main()
