"""Confidence intervals over people and seeds, for every statistic, and DeLong's variance.

The unit is the person, not the video or the frame: a person's real clip and the forgeries of it are not independent
(`people`). One function draws people for every statistic (`draws`); the interval (`ends`) is a t interval on the logit
scale whose variance is that over people plus that over seeds. `benchmarks/coverage.py` measures how often it contains
the truth.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, logit
from scipy.stats import rankdata, t

from did.errors import DidError, nearest
from did.evaluation.metrics import METRICS, Array, _checked, _curves, _ranking, by_video

#: Bootstrap samples of people.
DRAWS = 1000
#: Data set -> the unit that is drawn; `pair` for all others. In Celeb-DF and its like swaps connect nearly everybody,
#: so that groups of connected people would leave one unit: there it is the target. Pictures of DFFD and DiFF are units
#: of their own.
UNITS = {
    "ffpp": "pair",
    **dict.fromkeys(("cdf2", "cdfpp", "dfd", "dfdcp"), "target"),
    **dict.fromkeys(("dffd", "diff"), "image"),
}
#: Weighted values of a statistic: how often each person was drawn, (draws, people) -> (draws,).
Weighted = Callable[[Array], Array]

# A ranking near 1 or a share near 0 or 1 has a bootstrap variance that is too small, or 0, if people are few. The
# variance over people is therefore at least `least` · m (1 - m) / people, where m keeps 1 / (`margin` · people) away
# from 0 and 1. The constants for rankings are from the coverage study; those for shares put the lower end of 24 right
# answers in 24 near Wilson's.
_RANKING, _SHARE = (0.06, 8), (0.5, 4)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A statistic of a detector's runs, measured and over draws of people.

    Attributes:
        values: (runs,) the statistic of each run on all people.
        draws: (runs, draws) the statistic of each run over the same draws of people; NaN in a draw in which it is not
            defined, such as one without a class.
        people: how many can be drawn.
        floor: (least, margin) of the variance, see above; None for a statistic that is not between 0 and 1, such as a
            difference, whose interval is a plain t interval.
    """

    values: Array
    draws: Array
    people: int
    floor: tuple[float, float] | None = None

    def __sub__(self, other: "Drawn") -> "Drawn":
        """Subtract run by run and draw by draw; both must have the same people and seeds."""
        return Drawn(self.values - other.values, self.draws - other.draws, self.people)

    @classmethod
    def average(cls, parts: "Sequence[Drawn]") -> "Drawn":
        """Average statistics of the same people and seeds, such as one per method, run by run and draw by draw."""
        values, draws = (np.mean([getattr(part, name) for part in parts], axis=0) for name in ("values", "draws"))
        return cls(values, draws, parts[0].people, parts[0].floor)

    @property
    def mean(self) -> float:
        """The mean over runs."""
        return float(self.values.mean())

    @property
    def std(self) -> float:
        """The sample's standard deviation over runs; NaN for one run."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else float("nan")

    @property
    def variances(self) -> tuple[float, float]:
        """The variance of the mean that is due to people, and that which is due to seeds (0 for one run)."""
        over_people, over_seeds = self._measured
        if self.floor:
            m = self._kept_inside
            over_people = max(over_people, self.floor[0] * m * (1 - m) / self.people)
        return over_people, over_seeds

    @property
    def _measured(self) -> tuple[float, float]:
        """The variances as they were measured, without the floor."""
        over_people = float(np.nanvar(self.draws.mean(0), ddof=1)) * self.people / max(self.people - 1, 1)
        return over_people, float(self.values.var(ddof=1)) / len(self.values) if len(self.values) > 1 else 0.0

    @property
    def _kept_inside(self) -> float:
        assert self.floor
        margin = 1 / (self.floor[1] * self.people)
        return min(max(self.mean, margin), 1 - margin)

    @property
    def se(self) -> float:
        """The standard error of the mean, over people and seeds."""
        return float(np.sqrt(sum(self.variances)))

    @property
    def df(self) -> float:
        """Degrees of freedom of the variance by Welch and Satterthwaite."""
        over_people, over_seeds = self.variances
        if over_people + over_seeds == 0:
            return max(self.people - 1, 1)
        parts = over_people**2 / max(self.people - 1, 1) + over_seeds**2 / max(len(self.values) - 1, 1)
        return (over_people + over_seeds) ** 2 / parts


def families(names: Sequence[Sequence[str]]) -> Array:
    """Label lists of names so that lists connected by shared names get the same number, (n,)."""
    _, codes = np.unique(np.concatenate([np.asarray(each) for each in names]), return_inverse=True)
    row = np.repeat(np.arange(len(names)), [len(each) for each in names])
    size = len(names) + int(codes.max()) + 1
    links = coo_matrix((np.ones(len(row)), (row, len(names) + codes)), shape=(size, size))
    return np.asarray(connected_components(links, directed=False)[1][: len(names)])


def people(table: pd.DataFrame) -> Array:
    """Return the unit of each row that is drawn: its people, by the rule of its data set (`UNITS`), (n,).

    `pair` is everybody who is connected by swaps: in FF++ a target and a source that swap with each other. `target` is
    the person whose video was forged; it also takes the place of `pair` if swaps connect more than half of all rows.
    `image` is the video or picture itself.

    Args:
        table: columns `video` and `identity` (people joined by "+", the target first), and `dataset` if it is known.
    """
    kinds = {UNITS.get(name, "pair") for name in table["dataset"].unique()} if "dataset" in table else {"pair"}
    kind = kinds.pop() if len(kinds) == 1 else "pair"
    if kind == "image":
        return table["video"].to_numpy()
    identities, of = np.unique(table["identity"].astype(str).to_numpy(), return_inverse=True)
    names = [identity.split("+") for identity in identities]
    labels = families(names)[of]
    if kind == "target" or np.bincount(labels).max() > len(labels) / 2:
        return np.array([each[0] for each in names])[of]
    return np.array([f"{label:06d}" for label in labels])


def draws(
    tables: Sequence[pd.DataFrame],
    statistic: str | Callable[[pd.DataFrame, Array], Weighted] = "auc",
    units: Sequence[ArrayLike] | None = None,
    among: ArrayLike | None = None,
    number: int = DRAWS,
    seed: int = 0,
) -> Drawn:
    """Compute a statistic of several runs over the same draws of people.

    A draw weights each row by how often its person was drawn. The same people and seed give the same draws, whatever
    the scores, the statistic and the order of the rows, so that two results can be subtracted draw by draw.

    Args:
        tables: one table per run, with `label` and `score` for `auc` and `eer`.
        statistic: `auc`, `eer`, or a function of a table and its rows' people (numbers) that returns a `Weighted`, such
            as `mean_of("hit")`.
        units: who is drawn in each row of each table; `people` of each by default.
        among: everybody who can be drawn; by default those of the first table. Give all people of a test set if the
            tables are parts of it, such as one method, that are to be compared with other parts.
        number, seed: of the draws.

    Raises:
        DidError: If the statistic is unknown, there is no table, a class has fewer than two people, or no draw is left.

    Examples:
        >>> scores = pd.DataFrame({"label": [0, 0, 1, 1], "score": [0.1, 0.4, 0.3, 0.9], "identity": list("abab")})
        >>> drawn = draws([scores.assign(video=["a", "b", "a+b", "b+a"])], units=[list("abab")])
        >>> drawn.mean, drawn.people
        (0.75, 2)
    """
    if not tables:
        raise DidError("an interval needs the scores of at least one run")
    named = [np.asarray(each) for each in units] if units is not None else [people(table) for table in tables]
    known = pd.Index(np.unique(np.asarray(named[0] if among is None else among)))
    codes = [known.get_indexer(pd.Index(each)) for each in named]
    for table, code in zip(tables, codes, strict=True):
        if len(code) != len(table) or (code < 0).any() or pd.isna(known).any():
            raise DidError(
                f"an interval over people needs the person of each of the {len(table)} rows, none of them empty"
            )
    if isinstance(statistic, str) and statistic not in METRICS:
        raise DidError(f"unknown metric '{statistic}': {nearest(statistic, METRICS)}")
    make = _rank_statistic(statistic) if isinstance(statistic, str) else statistic
    with np.errstate(invalid="ignore"):
        weighted = [make(table, code) for table, code in zip(tables, codes, strict=True)]
        values = np.array([each(np.ones((1, len(known))))[0] for each in weighted])
        found = []
        rng, share = np.random.default_rng(seed), max(1, 1_000_000 // max(map(len, tables)))  # memory stays bounded
        for first in range(0, number, share):
            times = rng.multinomial(len(known), np.full(len(known), 1 / len(known)), size=min(share, number - first))
            found.append(np.array([each(times) for each in weighted]))
    drawn = np.concatenate(found, axis=1)
    if np.isfinite(drawn.mean(0)).sum() < 2:
        raise DidError(f"none of the {number} draws of people contains both classes; ask for more draws or people")
    return Drawn(values, drawn, len(known), _RANKING if isinstance(statistic, str) else _SHARE)


def _rank_statistic(metric: str) -> Callable[[pd.DataFrame, Array], Weighted]:
    def prepared(table: pd.DataFrame, code: Array) -> Weighted:
        y, s = _checked(table["label"], table["score"])
        if min(len(np.unique(code[y == side])) for side in (0, 1)) < 2:
            raise DidError("an interval over people needs at least two people of each class")
        ranking = [(code[rows], counts) for rows, counts in _ranking(y, s)]
        return lambda times: METRICS[metric](*_curves(ranking, times))

    return prepared


def mean_of(column: str) -> Callable[[pd.DataFrame, Array], Weighted]:
    """Return the statistic "mean of a column" for `draws`; its values should be between 0 and 1."""

    def prepared(table: pd.DataFrame, code: Array) -> Weighted:
        size = int(code.max()) + 1
        sums = np.bincount(code, table[column].to_numpy(dtype=float), minlength=size)
        counts = np.bincount(code, minlength=size)
        return lambda times: np.asarray((times[:, :size] @ sums) / (times[:, :size] @ counts))

    return prepared


def ends(drawn: Drawn, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of the interval of a mean over runs.

    With several runs it is over people and seeds, with one run over people, conditional on its seed. A statistic
    between 0 and 1 gets a t interval on the logit scale; all others a plain t interval.
    """
    q = float(t.ppf((1 + level) / 2, drawn.df))
    if drawn.floor is None:
        return drawn.mean - q * drawn.se, drawn.mean + q * drawn.se
    m = drawn._kept_inside
    half = q * drawn.se / (m * (1 - m))
    low, high = expit(logit(m) - half), expit(logit(m) + half)
    return min(float(low), drawn.mean), max(float(high), drawn.mean)


def ends_of_difference(a: Drawn, b: Drawn, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of the interval of the mean of a less that of b, paired by people and seeds.

    The two intervals of `ends` are combined with the correlation of both means over people and seeds, so that the
    interval is as asymmetric as they are.

    Source: Zou, "Toward using confidence intervals to compare correlations", Psychological Methods 12 (2007).
    """
    difference = a.mean - b.mean
    if (a - b).se == 0:  # the same scores, or the same ranking of them
        return difference, difference
    (low_a, high_a), (low_b, high_b) = ends(a, level), ends(b, level)
    both = np.stack([a.draws.mean(0), b.draws.mean(0)])
    together = np.cov(both[:, np.isfinite(both).all(0)])[0, 1] * a.people / max(a.people - 1, 1)
    if len(a.values) > 1:
        together += np.cov(a.values, b.values)[0, 1] / len(a.values)
    spread = float(np.sqrt(sum(a._measured) * sum(b._measured)))
    r = min(max(together / spread, -1.0), 1.0) if spread > 0 else 0.0

    def reach(x: float, y: float) -> float:
        return float(np.sqrt(max(x**2 + y**2 - 2 * r * x * y, 0)))

    return difference - reach(a.mean - low_a, high_b - b.mean), difference + reach(high_a - a.mean, b.mean - low_b)


def p_of_difference(a: Drawn, b: Drawn) -> float:
    """Return the two-sided p value that belongs to `ends_of_difference`: below .05 where the 95% interval leaves 0 out.

    It is one less the level at which the interval reaches 0, and at least 1e-9. So it has the interval's floor on the
    variance, without which a handful of people who all rank alike would look like proof.
    """

    def beyond(log_p: float) -> float:
        low, high = ends_of_difference(a, b, 1 - float(np.exp(log_p)))
        return low if a.mean > b.mean else -high

    if beyond(0.0) <= 0:  # no difference
        return 1.0
    least = float(np.log(1e-9))
    return 1e-9 if beyond(least) >= 0 else float(np.exp(brentq(beyond, least, 0.0)))


def two_way(targets: ArrayLike, donors: ArrayLike, number: int = DRAWS, seed: int = 0) -> tuple[Array, Array]:
    """Draw targets and donors independently: the check of one-way draws where swaps connect nearly everybody.

    Args:
        targets, donors: (n,) the target and the donor of each row; the target again for a real one.
        number, seed: of the draws.

    Returns:
        (n,) the number of each row's combination, and (number, combinations) how often each combination was drawn: the
        product of its target's and its donor's counts.

    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007).
    """
    rng = np.random.default_rng(seed)
    sides = [pd.factorize(np.asarray(names), sort=True) for names in (targets, donors)]
    counts = [rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=number) for _, names in sides]
    pairs, row = np.unique(np.stack([code for code, _ in sides], 1), axis=0, return_inverse=True)
    return row.reshape(-1), counts[0][:, pairs[:, 0]] * counts[1][:, pairs[:, 1]]


def interval(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    metric: str = "auc",
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the interval of a metric over groups; see `ends`.

    Args:
        labels, scores: (n,) as for `auc`.
        groups: (n,) a name for each entry: its person or people.
        metric: `auc` or `eer`.
        draws: bootstrap samples; those that contain one class only are left out.
        level: coverage.
        seed: of the draws.

    Returns:
        (low, high).

    Raises:
        DidError: As `auc`; or if the metric is unknown, or there are fewer than two groups of a class, so that nothing
            can be drawn.
    """
    y, s = _checked(labels, scores)
    return ends(_draws([pd.DataFrame({"label": y, "score": s})], metric, [groups], number=draws, seed=seed), level)


def delong(labels: ArrayLike, *scores: ArrayLike) -> tuple[Array, Array]:
    """Compute AUCs of several detectors on the same rows, and the covariance of these AUCs.

    The variance of detector i's AUC is `covariance[i, i]`; that of the difference of i and j is
    `covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]`. Every row is taken for independent: give one row per
    person. For the frames of videos the variance comes out far too small; take `difference_over_seeds` there.

    Args:
        labels: (n,).
        scores: k lists, (n,) each.

    Returns:
        (k,) and (k, k).

    Raises:
        DidError: As `auc`; or if there are no scores, or fewer than two rows of a class.

    Source: DeLong, DeLong and Clarke-Pearson (Biometrics, 1988); by midranks: Sun and Xu (IEEE SPL, 2014).
    """
    if not scores:
        raise DidError("delong needs the scores of at least one detector after the labels")
    checked = [_checked(labels, one) for one in scores]
    y = checked[0][0]
    fake, real = y == 1, y == 0
    if min(fake.sum(), real.sum()) < 2:
        raise DidError("DeLong's variance needs at least two rows of each class")
    # A row's midrank among all, less its midrank in its own class, counts the rows of the other class below it.
    ranks = [(rankdata(s), rankdata(s[fake]), rankdata(s[real])) for _, s in checked]
    wins = np.array([(every[fake] - own) / real.sum() for every, own, _ in ranks])
    losses = np.array([(every[real] - own) / fake.sum() for every, _, own in ranks])
    covariance = np.cov(wins) / fake.sum() + np.cov(losses) / real.sum()
    return wins.mean(1), covariance.reshape(len(scores), len(scores))


def report(frames: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Tabulate AUC and EER with 95% intervals: all fakes and each method against all reals, frames and videos.

    Args:
        frames: columns `video`, `label`, `method`, `identity`, `score`; one row per frame.
        draws, seed: of the intervals over people.

    Returns:
        One row per level and method: level, method, auc, auc_low, auc_high, eer, eer_low, eer_high, n_real, n_fake.
    """
    rows = []
    for level, (table,) in _levels([frames]):
        for method in _every_method(table):
            part = _against_reals(table, method)
            row: dict[str, Any] = {"level": level, "method": method}
            for metric in METRICS:
                drawn = _draws([part], metric, [part.person], number=draws, seed=seed)
                row[metric] = drawn.mean
                row[f"{metric}_low"], row[f"{metric}_high"] = ends(drawn)
            row["n_real"], row["n_fake"] = int((part.label == 0).sum()), int((part.label == 1).sum())
            rows.append(row)
    return pd.DataFrame(rows)


def over_seeds(
    scored: Sequence[pd.DataFrame], draws: int = DRAWS, seed: int = 0, methods: Sequence[str] | None = None
) -> pd.DataFrame:
    """Compute AUC and EER as means over runs that differ in their seed, with 95% intervals over people and seeds.

    Args:
        scored: one table per run, columns as for `report`, all about the same frames.
        draws, seed: of the intervals.
        methods: `all` fakes or single methods; all of them by default.

    Returns:
        One row per level, method (all fakes, and each) and metric: level, method, metric, mean, std, low, high, seeds,
        people. The standard deviation is the sample's over runs, NaN for one run, whose interval is conditional on it.

    Raises:
        DidError: If there is no table, there are tables about other frames, or as `report`.
    """
    if not len(scored):
        raise DidError("a mean over seeds needs the scores of at least one run")
    for other in scored[1:]:
        check_same_frames(scored[0], other)
    rows = []
    for level, tables in _levels(scored):
        for method in methods or _every_method(tables[0]):
            parts = [_against_reals(one, method) for one in tables]
            for metric in METRICS:
                drawn = _draws(parts, metric, [part.person for part in parts], number=draws, seed=seed)
                low, high = ends(drawn)
                rows.append({"level": level, "method": method, "metric": metric, "mean": drawn.mean, "std": drawn.std,
                             "low": low, "high": high, "seeds": len(scored), "people": drawn.people})  # fmt: skip
    return pd.DataFrame(rows)


def difference_over_seeds(
    scored_a: Sequence[pd.DataFrame],
    scored_b: Sequence[pd.DataFrame],
    draws: int = DRAWS,
    seed: int = 0,
    methods: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compute the AUC of detector a less that of detector b, as a mean over runs, with 95% intervals.

    Runs are paired by their seed; the intervals are over people and seeds (see `ends_of_difference`). What makes a
    person, or a seed's batches, hard for both cancels.

    Args:
        scored_a, scored_b: one table per run, in the same order of seeds, all about the same frames.
        draws, seed, methods: as in `over_seeds`.

    Returns:
        One row per level and method: level, method, difference, std, low, high, p (see `p_of_difference`), seeds,
        people, and the two variances of the difference, var_people and var_seeds, from which `did.paper.power` tells
        what could have been found.

    Raises:
        DidError: If the numbers of runs differ, or as `over_seeds`.
    """
    if len(scored_a) != len(scored_b) or not len(scored_a):
        raise DidError(
            f"{len(scored_a)} and {len(scored_b)} runs cannot be paired by seed: run both with the same seeds"
        )
    for other in (*scored_a[1:], *scored_b):
        check_same_frames(scored_a[0], other)
    rows = []
    for (level, side_a), (_, side_b) in zip(_levels(scored_a), _levels(scored_b), strict=True):
        for method in methods or _every_method(side_a[0]):
            a, b = (
                _draws(parts, "auc", [part.person for part in parts], number=draws, seed=seed)
                for parts in ([_against_reals(one, method) for one in side] for side in (side_a, side_b))
            )
            low, high = ends_of_difference(a, b)
            gap = a - b
            var_people, var_seeds = gap.variances
            p = p_of_difference(a, b)
            rows.append({"level": level, "method": method, "difference": gap.mean, "std": gap.std, "low": low,
                         "high": high, "p": p, "seeds": len(scored_a), "people": gap.people, "var_people": var_people,
                         "var_seeds": var_seeds})  # fmt: skip
    return pd.DataFrame(rows)


# The functions above take a number called `draws`, as their callers know it.
_draws = draws


def _levels(scored: Sequence[pd.DataFrame]) -> list[tuple[str, list[pd.DataFrame]]]:
    """Return the tables per frame and per video, each with its people in the column `person`."""
    frames = [table.assign(person=people(table)) for table in scored]
    videos = []
    for table in frames:
        of = dict(zip(table.video, table.person, strict=True))
        averaged = by_video(table)
        videos.append(averaged.assign(person=averaged.video.map(of)))
    return [("frame", frames), ("video", videos)]


def check_same_frames(scored_a: pd.DataFrame, scored_b: pd.DataFrame) -> None:
    """Check that two tables of scores are about the same frames.

    Raises:
        DidError: If one lacks a column or has a frame twice, or frames or labels differ.
    """
    keys = ["video", "frame"]
    for name, scored in (("first", scored_a), ("second", scored_b)):
        lacking = {*keys, "label", "method", "identity", "score"} - set(scored.columns)
        if lacking:
            raise DidError(f"the {name} detector's scores lack the column '{min(lacking)}': take a run's scores")
        if scored.duplicated(keys).any():
            raise DidError(f"the {name} detector's scores hold a frame of a video twice: leave one row per frame")
    pairs = scored_a[[*keys, "label"]].merge(scored_b[[*keys, "label"]], "outer", indicator="side")
    alone = int((pairs.side != "both").sum())
    if alone:
        raise DidError(
            f"the two detectors are not about the same frames, {alone} rows (video, frame, label) have no partner: "
            f"score both on the same test split"
        )


def _every_method(table: pd.DataFrame) -> list[str]:
    return ["all", *sorted(set(table.method[table.label == 1]))]


def _against_reals(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table if method == "all" else table[(table.label == 0) | (table.method == method)]
