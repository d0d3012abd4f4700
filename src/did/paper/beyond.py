"""Experiments beyond the paper: where DID's gain comes from, and its two limits, as data.

Their rules, written before the first run:

- *What carries DID*: a part carries DID on a test if what it adds on average over all cells lies above 0 with its whole
  95% interval. *Later*: the same over the cells with augmentation, trained four times as long.
- *Independence that can be reached*: a measure reaches it if a permutation test within methods does not find it out
  (median p over seeds above .05), and a critic that is trained afresh tells true pairs of other people from shuffled
  ones in less than 55% of cases. It helps on a test if it is ahead of DID without T there, by Holm's correction over
  its measures and tests.
- *Without labels*: groups are as good as labels if they bring at least 80% of what the methods' names bring over no
  domain head, on the mean of the tests, where the names bring anything at all.
- *Weights that find themselves*: a rule is as good as the paper's weights if on no test it is behind them with its
  whole interval, and better if it is ahead on one as well.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from did.data.loading import Faces
from did.evaluation import explain
from did.paper import verdicts
from did.paper.definition import Experiment, Row
from did.paper.factorial import LATER, OVER, carried, cells, effects, row_of
from did.paper.measures import Tables, Tested
from did.paper.records import Record, comparisons, part
from did.paper.tables import by_test, gap, percent
from did.training.runs import split_faces

_TESTS = {"FF++": ("ffpp", "all"), "CDF2": ("cdf2", "all"), "DiFF": ("diff", "all")}
#: Shuffles of the permutation test, and the directions in which the critic compares the halves.
SHUFFLES, DIRECTIONS = 500, 32
#: Below this accuracy on people it has not seen, a fresh critic counts as blind.
BLIND = 0.55
#: The share of what labels bring that groups without labels must reach.
SHARE = 0.8


# --- independence that can be reached -------------------------------------------------------------------------------


def halves(task: Any, faces: Faces) -> tuple[NDArray, NDArray]:
    """Return I_df and I_os = I_X - I_df of each face as means over places, standardised, (n, c) each."""
    found = explain.features(task, faces)
    both = (found["I_df"], found["I_X"] - found["I_df"])
    a, b = ((z - z.mean(0)) / np.maximum(z.std(0), 1e-6) for z in both)
    return a, b


def permutation_test(x: NDArray, y: NDArray, groups: NDArray, shuffles: int = SHUFFLES, seed: int = 0) -> pd.Series:
    """Test whether two samples are dependent within groups, by their bias-corrected distance correlation.

    In a shuffle each row of y goes to another row of its group. If x and y are independent given the group, the
    measured value is one of the shuffled ones. The corrected value, a square, is 0 on average for independent samples
    of any number of dimensions; the plain one would be near 1 for few rows of many.

    Args:
        x, y: (n, d) and (n, e), of the same rows.
        groups: (n,); those of fewer than four rows tell nothing and are left out.
        shuffles, seed: how many, and of which.

    Returns:
        value, its mean over the shuffles, and p.

    Source: Székely and Rizzo, "The distance correlation t-test of independence in high dimension" (J. Multivariate
        Analysis, 2013).
    """
    rng, values, seen = np.random.default_rng(seed), np.zeros(shuffles + 1), 0
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(rows) < 4:
            continue
        a, b = (_centred(z[rows]) for z in (x, y))
        scale = math.sqrt((a * a).sum() * (b * b).sum())
        orders = [np.arange(len(rows)), *(rng.permutation(len(rows)) for _ in range(shuffles))]
        values += len(rows) * np.array([(a * b[np.ix_(order, order)]).sum() for order in orders]) / max(scale, 1e-12)
        seen += len(rows)
    values /= max(seen, 1)
    p = (1 + np.sum(values[1:] >= values[0])) / (shuffles + 1)
    return pd.Series({"distance correlation": values[0], "shuffled": values[1:].mean(), "p": p})


def _centred(z: NDArray) -> NDArray:
    """Return the U-centred distances of rows: off the diagonal every row and column sums to 0."""
    apart, n = cdist(z, z), len(z)
    sums = apart.sum(0)
    centred = apart - (sums + sums[:, None]) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    return centred


def fresh_critic(fit: tuple[NDArray, NDArray, NDArray], test: tuple[NDArray, NDArray, NDArray], seed: int = 0) -> float:
    """Train a critic to tell pairs of one face from pairs of two, and return its accuracy on other people.

    Both kinds of pairs are within a group, so that what the group alone tells is of no use. The critic sees both halves
    in the same random directions, their product and their distance in each, through a network of one hidden layer.

    Args:
        fit, test: x (n, d), y (n, d) and groups (n,) of different people.
        seed: of directions, shuffles and network.
    """
    # Here, because this takes a second and few need it.
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(fit[0].shape[1], DIRECTIONS)) / math.sqrt(fit[0].shape[1])

    def pairs(x: NDArray, y: NDArray, groups: NDArray) -> tuple[NDArray, NDArray]:
        a, b = x @ directions, y @ directions
        seen = [np.hstack([a, b[to], a * b[to], np.abs(a - b[to])]) for to in (np.arange(len(x)), _apart(groups, rng))]
        return np.concatenate(seen), np.repeat([1, 0], len(x))

    critic = make_pipeline(
        StandardScaler(), MLPClassifier((64,), alpha=0.1, early_stopping=True, max_iter=300, random_state=seed)
    )
    return float(critic.fit(*pairs(*fit)).score(*pairs(*test)))


def _apart(groups: NDArray, rng: np.random.Generator) -> NDArray:
    """Return for each row another row of its group; itself if it has none."""
    other = np.arange(len(groups))
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        other[rows] = np.roll(rows, 1)
    return other


def reached(outcome: Tested) -> Tables:
    """Measure what is left of the dependence of I_df and I_os, by outside measures that no run was trained on.

    Returns:
        dependence: one row per run: row, seed, `permutation_test` within methods on one frame per video of the test
        split; critic: `fresh_critic`, fitted on the training split's people; and what a line reads
        (`explain.probe_table`): domain and identity from I_df, domain from I_dom.
    """
    rows = []
    for name, of in outcome.runs.items():
        _, store = outcome.source(of[0].settings.source)
        for one in of:
            task, splits = one.task(), split_faces(store, one.settings)
            if not hasattr(task.model, "decompose"):
                continue
            given = {split: _first_frames(splits[split]) for split in ("train", "test")}
            sides = {split: (*halves(task, faces), faces.domains) for split, faces in given.items()}
            probes = explain.probe_table(task, splits["val"], splits["test"]).set_index(["features", "target"]).accuracy
            rows.append(
                {"row": name, "seed": one.settings.seed, **permutation_test(*sides["test"]),
                 "critic": fresh_critic(sides["train"], sides["test"]),
                 "domain from I_df": probes["I_df", "domain"], "identity from I_df": probes["I_df", "identity"],
                 "domain from I_dom": probes.get(("I_dom", "domain"), np.nan)}
            )  # fmt: skip
    return {"dependence": pd.DataFrame(rows)}


def _first_frames(faces: Faces) -> Faces:
    """Return one face per video: frames of one video are not independent."""
    return Faces(faces.rows.drop_duplicates("video"), faces.store, faces.size, faces.domain_names)


def judged(dependence: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds per row, and `reached`, by the rule above."""
    of = dependence.drop(columns="seed").groupby("row", sort=False)
    return of.mean().assign(p=of.p.median(), reached=(of.p.median() > 0.05) & (of.critic.mean() < BLIND))


def independent(record: Record) -> list[str]:
    """Say under which measures independence is reached, and whether it helps on other data."""
    if "dependence" not in record.get("figures", {}):
        return []
    found = judged(part(record, "dependence"))
    said = [
        f"{name}: distance correlation {row['distance correlation']:.3f} ({row.shuffled:.3f} if shuffled, median p "
        f"{row.p:.3f}), a fresh critic is right in {row.critic:.3f} of cases: {'' if row.reached else 'not '}reached."
        for name, row in found.iterrows()
    ]
    pairs = comparisons([record])
    for words, of in zip(("ahead of", "behind"), verdicts.surviving(pairs), strict=True):
        named = "; ".join(f"{row.a} on {row.test} {gap(row)}" for row in of.itertuples())
        said.append(f"{words.capitalize()} DID without T by Holm's correction over {len(pairs)} differences: "
                    f"{named or 'none'}.")  # fmt: skip
    return said


# --- without labels -------------------------------------------------------------------------------------------------

#: The row whose domains are the methods, and the one that all are compared with.
NAMED, _NO_HEAD = "methods named", "no domain head"
_UNIFORM = {"sampler": "uniform"}


def agreement(outcome: Tested) -> Tables:
    """Measure how well the groups agree with the methods: normalised mutual information, mean over seeds, per row."""
    name = "NMI of groups and methods"
    rows = [
        {"row": row, "agreement": float(np.mean([one.history[name].dropna().iloc[-1] for one in of]))}
        for row, of in outcome.runs.items()
        if all(name in one.history for one in of)
    ]
    return {"agreement": pd.DataFrame(rows, columns=["row", "agreement"])}


def shares(record: Record) -> pd.DataFrame:
    """Return what each way brings over no domain head on each test, and as a share of what the methods' names bring.

    Returns:
        row, test, difference, low, high, share (NaN where the names bring nothing), one row per way and test.
    """
    found = comparisons([record])
    found = found[found.b == _NO_HEAD].rename(columns={"a": "row"})
    brought = found[found.row == NAMED].set_index("test").difference
    full = found.test.map(brought)
    return found.assign(share=(found.difference / full).where(full > 0))[
        ["row", "test", "difference", "low", "high", "share"]
    ]


def label_free(record: Record) -> list[str]:
    """Say what groups bring without labels, and whether that is 80% of what labels bring."""
    found = shares(record)
    if not len(found):
        return []
    nmi = part(record, "agreement").set_index("row").agreement if "agreement" in record["figures"] else pd.Series()
    said = []
    for name, of in found.groupby("row", sort=False):
        agrees = f" (groups agree with the methods by {nmi[name]:.2f})" if name in nmi else ""
        said.append(f"{name}{agrees}, compared with no domain head: {by_test(of)}.")
    brought = found[found.row == NAMED]
    if not len(brought):
        return said
    if not (brought.low > 0).any():
        said.append("No test shows that the methods' names bring anything, so there is nothing to make up for.")
        return said
    means = found.groupby("row", sort=False).difference.mean()
    for name, value in means.drop(NAMED).items():
        share = value / means[NAMED] if means[NAMED] > 0 else math.nan
        enough = "at least" if share >= SHARE else "less than"
        said.append(
            f"{name}: {percent(share)} of what the names bring, on average over the tests: {enough} the {SHARE:.0%} "
            "asked for."
        )
    return said


# --- weights that find themselves -----------------------------------------------------------------------------------

_PAPER = "the paper's weights"
_WEIGHTS = ("weight of cls", "weight of dom", "weight of dec")


def found_weights(outcome: Tested) -> Tables:
    """Measure each rule's weights: `weights`, means over the last ten logged iterations and over seeds, and `paths`.

    `paths` are those of the first seed, one row per row and logged iteration.
    """
    of_rules = {
        name: [one.history[one.history["cls"].notna()] for one in of]
        for name, of in outcome.runs.items()
        if _WEIGHTS[0] in of[0].history
    }
    if not of_rules:
        return {}
    ends = [
        {"row": name, **pd.concat([each.tail(10) for each in steps])[list(_WEIGHTS)].mean()}
        for name, steps in of_rules.items()
    ]
    paths = [steps[0][["iteration", *_WEIGHTS]].assign(row=name) for name, steps in of_rules.items()]
    return {"weights": pd.DataFrame(ends), "paths": pd.concat(paths, ignore_index=True)}


def by_themselves(record: Record) -> list[str]:
    """Say which rules are as good as the paper's weights, and which are not."""
    pairs = comparisons([record])
    pairs, said = pairs[pairs.b == _PAPER], []
    for name, of in pairs.groupby("a", sort=False):
        so = set(of.so)
        words = "not as good" if "behind" in so else "better" if "ahead" in so else "not told from them"
        said.append(f"{name} less the paper's weights: {by_test(of)}: {words}.")
    if len(pairs):
        said.append(f"Of {len(pairs)} differences, {0.05 * len(pairs):.1f} would lie off 0 by chance.")
    return said


# --- the experiments ------------------------------------------------------------------------------------------------


def _against(rows: tuple[Row, ...], base: str) -> tuple[tuple[str, str], ...]:
    return tuple((row.name, base) for row in rows if row.name != base)


def _independent(name: str, measure: str, weight: float = 1.0) -> Row:
    return Row(name, "independent", options={"measure": measure, "weight": weight})


#: Each measure at weight 1, as L_cls and L_dom have; vCLUB, whose bound is of the size of the number of directions, at
#: a tenth.
_INDEPENDENCE = (
    Row("without T", "did", {"decorrelation": False}),
    Row("T on maps (DID)", "did"),
    Row("T on pooled vectors", "did", {"estimator_input": "pooled", "lambda_dec": 1.0}),
    _independent("distance correlation", "dcor"),
    _independent("HSIC", "hsic"),
    _independent("cross-covariance", "cross"),
    _independent("vCLUB", "club", 0.1),
    _independent("tamed critic", "critic"),
    _independent("domain adversary", "adversary"),
)


def _grouped(name: str, labels: str) -> Row:
    return Row(name, "unlabelled", _UNIFORM, options={"labels": labels})


_LABELS = (
    Row(_NO_HEAD, "did", {**_UNIFORM, "domain_attention": False, "domain_branch": "dropped"}),
    _grouped(NAMED, "true"),
    _grouped("groups by style", "style"),
    _grouped("groups by residual", "residual"),
    Row("environments", "discovered", _UNIFORM, options={"labels": "environments"}),
    Row("prototypes", "discovered", _UNIFORM, options={"labels": "prototypes"}),
    Row("known corruptions", "corruptions", _UNIFORM),
    _grouped("random groups", "random"),
)
_RULES = (
    Row(_PAPER, "did"),
    *(Row(rule, "weights", options={"rule": rule})
      for rule in ("equal", "random", "uncertainty", "gradnorm", "cosine", "constraint", "heldout")),
    # What `did.paper.heldout.SEARCH` chose, by its rule, at preset laptop on drawn stand-ins.
    Row("searched: λ_dec = 0.1", "did", {"lambda_dec": 0.1}),
)  # fmt: skip

EXPERIMENTS = (
    Experiment(
        "what_carries", "What carries DID: every combination of its parts", "ffpp", _TESTS,
        tuple(map(row_of, cells())), measure=effects, sentences=(carried,), decide=verdicts.ahead, over=OVER,
        smoke=("none of them", "L_dom", "L_auc", "L_dom + L_auc", "A_df", "A_df + L_dom", "A_df + T"),
    ),
    Experiment(
        "what_carries_later", "What carries DID later: with augmentation, four times as long", "ffpp", _TESTS,
        tuple(row_of(cell, LATER) for cell in cells() if "augmentation" in cell),
        measure=effects, sentences=(carried,), over=OVER,
        smoke=("augmentation", "L_dom + augmentation", "A_df + augmentation", "A_df + L_dom + augmentation"),
    ),
    Experiment(
        "independence", "Independence that can be reached: other measures in T's place", "ffpp", _TESTS, _INDEPENDENCE,
        compared=_against(_INDEPENDENCE, "without T"), seeds=3, measure=reached,
        sentences=(independent, verdicts.powered),
        smoke=("without T", "T on maps (DID)", "distance correlation"),
    ),
    Experiment(
        "without_labels", "Without labels: groups of fakes in place of the methods' names", "ffpp", _TESTS, _LABELS,
        compared=_against(_LABELS, _NO_HEAD), seeds=3, measure=agreement, sentences=(label_free, verdicts.powered),
        smoke=(_NO_HEAD, NAMED, "groups by style"),
    ),
    Experiment(
        "loss_weights", "Weights that find themselves: rules in place of λ_cls, λ_dom and λ_dec", "ffpp", _TESTS,
        _RULES, compared=_against(_RULES, _PAPER), seeds=3, measure=found_weights,
        sentences=(by_themselves, verdicts.powered), smoke=(_PAPER, "equal", "uncertainty"),
    ),
)  # fmt: skip
