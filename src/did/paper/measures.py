"""What an experiment measures besides AUC and EER: the numbers behind Fig. 4 to 7, T's state, and calibration.

A measure takes an outcome's runs and sources, once, and returns tables by name: `rows` takes the place of the outcome's
own table, the others are the record's figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from did import evaluation
from did.data.loading import Faces
from did.data.store import FaceStore
from did.data.table import REAL
from did.evaluation import explain
from did.paper.published import FIGURE_5
from did.sources import Source
from did.training.runs import Run, check_store, domain_predictions, split_faces

Tables = dict[str, pd.DataFrame]


class Tested(Protocol):
    """The part of an outcome that a measure reads: what was run, its finished runs by row, and its data with crops."""

    @property
    def experiment(self) -> Any:
        """Return the experiment, see `did.paper.definition`."""

    @property
    def runs(self) -> dict[str, list[Run]]:
        """Return row -> its finished runs, in the order of the seeds."""

    def source(self, name: str) -> tuple[Source, FaceStore]:
        """Return a data set and its crops."""

    def scores(self, one: Run, name: str) -> pd.DataFrame:
        """Return a run's score of each frame of a data set's test split."""


#: What T and M_df are doing; means over the last ten logged iterations.
STATE = ("estimate", "T accuracy", "gradient from T", "gradient from C", "M_df mean", "M_df saturated", "M_df channels",
         "M_df places", "M_df images")  # fmt: skip
#: The two attention maps of Fig. 6, seen through the features that they cut out.
MAPS = ("I_df", "I_dom")


# --- scores and histories -------------------------------------------------------------------------------------------


def reliability(outcome: Tested) -> Tables:
    """Measure the share of fakes against the probability of "fake" on Celeb-DF, for the first seed of each row."""
    found = []
    for name, of in outcome.runs.items():
        scores = outcome.scores(of[0], "cdf2")
        bins = evaluation.reliability(scores.label, 1 / (1 + np.exp(-scores.score)), bins=10)
        found.append(bins.assign(detector=name))
    return {"reliability": pd.concat(found, ignore_index=True)}


def logits(outcome: Tested) -> Tables:
    """Measure median and spread of the logits of both classes on Celeb-DF, for the first seed of each row."""
    rows = []
    for name, of in outcome.runs.items():
        scores = outcome.scores(of[0], "cdf2").groupby("label").score
        medians, spreads = scores.median(), scores.std()
        rows.append({"row": name, "real: median logit": medians[0], "fake: median logit": medians[1],
                     "real: s.d.": spreads[0], "fake: s.d.": spreads[1]})  # fmt: skip
    return {"logits": pd.DataFrame(rows)}


def final_state(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Return how T and M_df ended: `STATE` for each row.

    The numbers are means over the last ten logged iterations and over seeds. At T's estimate -2 log 2 = -1.386 T sees
    no dependence, or has collapsed; near 0 it tells every pair.
    """
    rows = {}
    for name, of in runs.items():
        ends = [one.history[one.history["cls"].notna()].tail(10) for one in of if "cls" in one.history]
        if ends:
            rows[name] = pd.concat(ends).reindex(columns=list(STATE)).mean()
    return pd.DataFrame(rows).T


def state(outcome: Tested) -> Tables:
    """Measure `final_state`."""
    return {"state": final_state(outcome.runs).rename_axis("row").reset_index()}


def game(outcome: Tested) -> Tables:
    """Measure `final_state`, and keep what `plots.compare_histories` draws of the first seed's histories."""
    names = ("iteration", "cls", "estimate", "T accuracy", "gradient from T", "gradient from C", "M_df saturated",
             "M_df channels", "M_df images")  # fmt: skip
    first = {name: of[0].history for name, of in outcome.runs.items()}
    steps = [
        history[history["cls"].notna()].reindex(columns=list(names)).assign(row=name)
        for name, history in first.items()
        if "cls" in history
    ]
    whole = pd.concat(steps, ignore_index=True) if steps else pd.DataFrame(columns=["row", *names])
    return {**state(outcome), "histories": whole}


def lengths(outcome: Tested) -> Tables:
    """Measure how long each row was trained, and the validation AUC that selected its checkpoint, mean over seeds."""
    rows = []
    for name, of in outcome.runs.items():
        settings = of[0].settings
        validated = [one.history["validation AUC"].max() for one in of]
        rows.append({"row": name, "system": name.split(" ×")[0], "augmentation": settings.augment,
                     "iterations": settings.iterations, "validation AUC": float(np.mean(validated))})  # fmt: skip
    return {"lengths": pd.DataFrame(rows)}


# --- Fig. 5 -------------------------------------------------------------------------------------------------------


def domains(outcome: Tested) -> Tables:
    """Measure what C̄ takes each test face for.

    Returns:
        confusion: the confusion matrix, mean over seeds, with the true domain in the first column; rows: the accuracy
        of each domain and their mean, each with its 95% interval over people and seeds.
    """
    of = outcome.runs["DID"]
    _, store = outcome.source(of[0].settings.source)
    faces = split_faces(store, of[0].settings)["test"]
    predicted = [domain_predictions(one.task(), faces) for one in of]
    matrices = [evaluation.confusion(faces.domains, each, faces.domain_names) for each in predicted]
    confusion = sum(matrices[1:], matrices[0]) / len(matrices)
    right = [faces.rows.assign(right=(each == faces.domains).astype(float), person=evaluation.people(faces.rows))
             for each in predicted]  # fmt: skip
    everybody = right[0].person
    of_domain, rows = [], []
    for number, name in enumerate(faces.domain_names):
        mine = [table[faces.domains == number] for table in right]
        drawn = evaluation.draws(mine, evaluation.mean_of("right"), [table.person for table in mine], everybody)
        of_domain.append(drawn)
        rows.append((name, drawn))
    # Each domain counts alike; a draw of people is the same one for every domain.
    rows.append(("mean", evaluation.Drawn.average(of_domain)))
    table = [_row("Domains", name, "accuracy", drawn.values, evaluation.ends(drawn), outcome,
                  paper=FIGURE_5.get(name, np.nan)) for name, drawn in rows]  # fmt: skip
    return {"confusion": confusion.rename_axis("domain").reset_index(), "rows": pd.DataFrame(table)}


def _row(
    test: str,
    row: str,
    metric: str,
    per_seed: Sequence[float] | NDArray,
    ends: Sequence[float],
    outcome: Tested,
    **more: float,
) -> dict[str, Any]:
    std = float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else np.nan
    return {
        "row": row, "runs_on": next(iter(outcome.runs.values()))[0].settings.backbone, "test": test, "level": "frame",
        "metric": metric, "ours": float(np.mean(per_seed)), "std": std, "low": ends[0], "high": ends[1],
        "seeds": len(per_seed), "paper": np.nan, "run_here": True, **more,
    }  # fmt: skip


# --- Fig. 6 -------------------------------------------------------------------------------------------------------


def drops(outcome: Tested) -> Tables:
    """Measure how far each detector's AUC drops from its own method to the mean of the others, over all runs.

    A row of the experiment is a detector by the method that it was trained on. Both sides of a drop, and all detectors,
    see the same draws of people. The detector that has seen every method is left out.

    Returns:
        drops: one row per detector, and `mean` over them: train, own, others, drop, low, high.
    """
    tests = {test: place for test, place in outcome.experiment.tests.items() if test in outcome.runs}
    sources = {source for source, _ in tests.values()}
    rows, found = [], {}
    for train in tests:
        scores = {source: [outcome.scores(one, source) for one in outcome.runs[train]] for source in sources}
        drawn = {test: on_method(scores[source], method) for test, (source, method) in tests.items()}
        own = drawn.pop(train)
        found[train] = own, own - evaluation.Drawn.average(list(drawn.values()))
    average = evaluation.Drawn.average
    found["mean"] = average([own for own, _ in found.values()]), average([apart for _, apart in found.values()])
    for train, (own, apart) in found.items():
        low, high = evaluation.ends(apart)
        rows.append({"train": train, "own": own.mean, "others": own.mean - apart.mean, "drop": apart.mean, "low": low,
                     "high": high})  # fmt: skip
    return {"drops": pd.DataFrame(rows)}


def on_method(scores: Sequence[pd.DataFrame], method: str) -> evaluation.Drawn:
    """Draw the AUC on real faces and one method's forgeries, from all people of the test.

    Args:
        scores: of each run, one row per frame of the whole test split.
        method: its forgeries.
    """
    parts = [table[(table.label == 0) | (table.method == method)] for table in scores]
    return evaluation.draws(parts, "auc", among=evaluation.people(scores[0]))


def saliency_faces(outcome: Tested, source: str, people: int | None = None) -> Faces:
    """Return test faces of a source for Fig. 6: one frame per video.

    Of the first `people` targets; of all by default.
    """
    _, store = outcome.source(source)
    settings = outcome.runs["DID"][0].settings
    check_store(store, settings)
    rows = store.manifest[store.manifest.split == "test"].drop_duplicates("video")
    target = rows.identity.str.split("+").str[0]
    if people is not None:
        rows = rows[target.isin(sorted(set(target))[:people])]
    return Faces(rows, store.root, settings.image_size)


def saliency(outcome: Tested, people: int | None = None, sources: Sequence[str] = ("ffpp", "cdf2")) -> Tables:
    """Measure where the maps look, over all runs.

    Returns:
        likeness: see `map_likeness`, on the first source; for stand-ins, whose forged regions are known, overlap:
        `explain.overlap_table` of each source, with a column `data`, and its shares as rows; apart:
        `explain.overlap_difference` of each source, with a column `data`.
    """
    found = {"likeness": map_likeness(outcome, sources[0], people)}
    roots = {name: outcome.source(name)[0].root for name in sources if outcome.source(name)[0].edition != "licensed"}
    faces = {
        name: pd.concat(
            explain.overlap_faces(
                one.task(), saliency_faces(outcome, name, people), root, one.settings.crop_margin, MAPS
            ).assign(seed=one.settings.seed)
            for one in outcome.runs["DID"]
        )
        for name, root in roots.items()
    }
    tables = [explain.overlap_table(table).assign(data=name) for name, table in faces.items()]
    if tables:
        found["overlap"] = pd.concat(tables, ignore_index=True)
        apart = [explain.overlap_difference(table).assign(data=name) for name, table in faces.items()]
        found["apart"] = pd.concat(apart, ignore_index=True)
        found["rows"] = pd.DataFrame(
            [
                _row(one.data, f"{one.map} on {one.method}", "share inside the forged region", [one.share],
                     (one.share_low, one.share_high), outcome, area=one.area, fixed=one.fixed)
                | {"std": one.share_std, "seeds": one.seeds}
                for one in found["overlap"].itertuples() if np.isfinite(one.share)
            ]
        )  # fmt: skip
    return found


def map_likeness(outcome: Tested, source: str, people: int | None = None) -> pd.DataFrame:
    """Measure how alike the two maps of a face are.

    The measure is the correlation over pixels of the Grad-CAMs of I_df and I_dom and, for comparison, of I_df with
    itself on another face of the same method; means over faces, then over runs, one row per method.

    Two maps that differ between the branches no more than from face to face have nothing of their own to show.
    """
    faces = saliency_faces(outcome, source, people)
    images = torch.stack([faces[i]["image"] for i in range(len(faces))])
    methods = faces.rows.method.to_numpy()
    rows = []
    for one in outcome.runs["DID"]:
        model = one.task().model
        maps = {name: explain.saliency(model, images, name).reshape(len(faces), -1) for name in MAPS}
        for method in dict.fromkeys(methods):
            mine = np.flatnonzero(methods == method)
            between = [_correlation(maps["I_df"][i], maps["I_dom"][i]) for i in mine]
            pairs = [(i, j) for i, j in zip(mine, np.roll(mine, 1), strict=True) if i != j]
            within = [_correlation(maps["I_df"][i], maps["I_df"][j]) for i, j in pairs]
            rows.append(
                {
                    "method": method,
                    "I_df with I_dom": _mean(between),
                    "I_df with another face's I_df": _mean(within),
                    "faces": len(mine),
                }
            )
    return pd.DataFrame(rows).groupby("method", sort=False, as_index=False).mean()


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the finite numbers among `values`; NaN if there are none."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan


def _correlation(a: NDArray, b: NDArray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else np.nan


# --- Fig. 7 -------------------------------------------------------------------------------------------------------


def features(outcome: Tested) -> Tables:
    """Measure what the features hold.

    Returns:
        probes: what a line reads from each feature set (`explain.probe_table`) of every run, with row and seed; rows:
        their means over seeds, with their spread and without an interval; points: of `panels`, by t-SNE, two decimals;
        silhouettes: of the panels' labels in the features themselves.
    """
    probes, rows = [], []
    for name, of in outcome.runs.items():
        _, store = outcome.source(of[0].settings.source)
        splits = split_faces(store, of[0].settings)
        for one in of:
            found = explain.probe_table(one.task(), splits["val"], splits["test"])
            probes.append(found.assign(row=name, seed=one.settings.seed))
    table = pd.concat(probes, ignore_index=True)
    for (name, of_what, target), part in table.groupby(["row", "features", "target"], sort=False):
        accuracy, ends = part.accuracy.tolist(), (np.nan, np.nan)
        chance = part.chance.mean()
        rows.append(_row(of_what, f"{name}: {target}", "probe accuracy", accuracy, ends, outcome, chance=chance))
    shown = panels(outcome)
    points = [
        pd.DataFrame(explain.tsne(vectors).round(2), columns=["x", "y"]).assign(features=name, label=labels)
        for name, (vectors, labels) in shown.items()
    ]
    silhouettes = [
        {"features": name, "silhouette": explain.silhouette(vectors, labels)}
        for name, (vectors, labels) in shown.items()
    ]
    return {"probes": table, "rows": pd.DataFrame(rows), "points": pd.concat(points, ignore_index=True),
            "silhouettes": pd.DataFrame(silhouettes)}  # fmt: skip


def panels(outcome: Tested) -> dict[str, tuple[NDArray, NDArray]]:
    """Return Fig. 7's panels: features (n, d) and labels (n,) of the first seed's runs on the test split.

    (a) the plain backbone's features, (b) I_df, (c) I_dom.
    """
    first = outcome.runs["DID"][0]
    _, store = outcome.source(first.settings.source)
    faces = split_faces(store, first.settings)["test"]
    truth = np.where(faces.labels == 1, "fake", REAL)
    methods = faces.rows.method.to_numpy()
    of_did, of_bce = explain.features(first.task(), faces), explain.features(outcome.runs["BCE"][0].task(), faces)
    return {
        "(a) backbone trained with BCE": (of_bce["I_X"], truth),
        "(b) DID: I_df": (of_did["I_df"], truth),
        "(c) DID: I_dom": (of_did["I_dom"], methods),
    }
