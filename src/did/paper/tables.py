"""What came out: results as tables to read, the numbers behind Fig. 5 to 7, and plain sentences computed from them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from did import evaluation
from did.data.loading import Faces
from did.data.table import REAL
from did.evaluation import explain
from did.paper import published
from did.paper.conduct import Outcome, experiment
from did.paper.experiments import BACKBONES
from did.settings import Settings, of_preset
from did.training.runs import Run, check_store, domain_predictions, split_faces

#: What T and M_df are doing; means over the last ten logged iterations.
STATE = ("estimate", "T accuracy", "gradient from T", "gradient from C", "M_df mean", "M_df saturated", "M_df channels",
         "M_df places", "M_df images")  # fmt: skip
#: The two attention maps of Fig. 6, seen through the features that they cut out.
MAPS = ("I_df", "I_dom")


def digits(value: float, low: float = np.nan, high: float = np.nan) -> str:
    """A number to read, three decimals, with its interval where it has one; `-` where there is none."""
    if not np.isfinite(value):
        return "-"
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else "")


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's table with ours beside it: one row a system; for each test and metric the published number, ours with
    its interval and, over several seeds, its spread; frame level, then the video level.

    Args:
        table: `Outcome.table`, or one of its columns.
    """
    found: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        line = found.setdefault(row["row"], {"backbone": row["runs_on"] or "-"})
        metric = row["metric"].upper() if row["metric"] in evaluation.METRICS else row["metric"]
        name = f"{row['test']} {metric}"
        if row["level"] == "video":
            line[f"{name}, videos"] = digits(row["ours"])
            continue
        if table.paper[(table.test == row["test"]) & (table.metric == row["metric"])].notna().any():
            line[f"{name}, published"] = digits(row["paper"])
        line[f"{name}, here"] = digits(row["ours"], row["low"], row["high"]) if row["run_here"] else "not run here"
        if row["seeds"] > 1:
            line[f"{name}, ± seeds"] = digits(row["std"])
    return pd.DataFrame.from_dict(found, orient="index").fillna("-")


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """`Outcome.differences` to read: frame level, one row a comparison, with what its interval says."""
    rows = [
        {
            "AUC of": row["a"],
            "less that of": row["b"],
            "on": row["test"],
            "published": digits(row["paper"]),
            "here": digits(row["difference"], row["low"], row["high"]),
            "± seeds": digits(row["std"]),
            "so": verdict(row["low"], row["high"]),
        }
        for row in table[table.level == "frame"].to_dict("records")
    ]
    return pd.DataFrame(rows)


def setup(outcome: Outcome) -> pd.DataFrame:
    """What is run: one row a row of the table, with its task, backbone and changes to the preset."""
    rows = {}
    for row in outcome.experiment.rows:
        if row.name in outcome.runs:
            settings = outcome.runs[row.name][0].settings
            changed = ", ".join(f"{name} = {value}" for name, value in row.changes.items())
            rows[row.name] = {"task": row.task, "backbone": settings.backbone, "weights": settings.pretrained,
                              "trained on": settings.source, "changed": changed or "nothing"}  # fmt: skip
    return pd.DataFrame(rows).T


def verdict(low: float, high: float) -> str:
    """`ahead`, `behind`, or `undecided` where the interval of a difference holds 0."""
    return "ahead" if low > 0 else "behind" if high < 0 else "undecided"


def final_state(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """How T and M_df ended: `STATE` for each row, means over the last ten logged iterations and over seeds.

    At T's estimate -2 log 2 = -1.386 T sees nothing, or is dead; near 0 it tells every pair.
    """
    rows = {}
    for name, of in runs.items():
        ends = [one.history[one.history["cls"].notna()].tail(10) for one in of if "cls" in one.history]
        if ends:
            rows[name] = pd.concat(ends).reindex(columns=list(STATE)).mean()
    return pd.DataFrame(rows).T


# --- Fig. 5 -------------------------------------------------------------------------------------------------------


def domains(outcome: Outcome, draws: int = 1000, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What C̄ takes each test face for.

    Returns:
        The confusion matrix, mean over seeds; and a table as `Outcome.table` with the metric `accuracy` for each
        domain and for their mean, each with its 95% interval by a bootstrap over videos, drawn within each domain.
    """
    _, store = outcome.source(outcome.experiment.train)
    of = outcome.runs["DID"]
    faces = split_faces(store, of[0].settings)["test"]
    predicted = [domain_predictions(one.task(), faces) for one in of]
    matrices = [evaluation.confusion(faces.domains, each, faces.domain_names) for each in predicted]
    confusion = sum(matrices[1:], matrices[0]) / len(matrices)
    right = np.mean([each == faces.domains for each in predicted], axis=0)
    drawn, rows = [], []
    for number, name in enumerate(faces.domain_names):
        mine = faces.domains == number
        values = evaluation.mean_draws(right[mine], faces.rows.video[mine], draws, seed + number)
        drawn.append(values)
        rows.append((name, [np.diag(each)[number] for each in matrices], values))
    rows.append(("mean", [evaluation.mean_accuracy(each) for each in matrices], np.mean(drawn, axis=0)))
    table = [
        _row("Domains", name, "accuracy", per_seed, values, published.FIGURE_5.get(name, np.nan), outcome)
        for name, per_seed, values in rows
    ]
    return confusion, pd.DataFrame(table)


def _row(
    test: str, row: str, metric: str, per_seed: Sequence[float], drawn: Any, printed: float, outcome: Outcome
) -> dict[str, Any]:
    low, high = evaluation.low_high(drawn)
    std = float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else np.nan
    return {
        "row": row, "runs_on": next(iter(outcome.runs.values()))[0].settings.backbone, "test": test, "level": "frame",
        "metric": metric, "ours": float(np.mean(per_seed)), "std": std, "low": low, "high": high,
        "seeds": len(per_seed), "paper": printed, "run_here": True,
    }  # fmt: skip


# --- Fig. 6 -------------------------------------------------------------------------------------------------------


def saliency_faces(outcome: Outcome, source: str, people: int | None = None) -> Faces:
    """Test faces of a source for Fig. 6: one frame a video, of the first `people` targets (all by default)."""
    _, store = outcome.source(source)
    settings = outcome.runs["DID"][0].settings
    check_store(store, settings)
    rows = store.manifest[store.manifest.split == "test"].drop_duplicates("video")
    target = rows.identity.str.split("+").str[0]
    if people is not None:
        rows = rows[target.isin(sorted(set(target))[:people])]
    return Faces(rows, store.root, settings.image_size)


def saliency(outcome: Outcome, sources: Sequence[str], people: int | None = None) -> pd.DataFrame:
    """Fig. 6 in numbers: `explain.overlap_table` of the first seed's run for each source, with a column `data`."""
    tables = []
    for name in sources:
        data, _ = outcome.source(name)
        faces = saliency_faces(outcome, name, people)
        task = outcome.runs["DID"][0].task()
        margin = outcome.runs["DID"][0].settings.crop_margin
        tables.append(explain.overlap_table(task, faces, data.root, margin, MAPS).assign(data=name))
    return pd.concat(tables, ignore_index=True)


def saliency_rows(overlap: pd.DataFrame | None, outcome: Outcome) -> pd.DataFrame:
    """`saliency` as rows of a table like `Outcome.table`; none where no region is known."""
    if overlap is None:
        return outcome.table
    known = overlap[overlap.share.notna()]
    return pd.DataFrame(
        {
            "row": known["map"] + " on " + known.method, "runs_on": outcome.runs["DID"][0].settings.backbone,
            "test": known.data, "level": "frame", "metric": "share inside the forged region", "ours": known.share,
            "std": np.nan, "low": known.share_low, "high": known.share_high, "seeds": 1, "paper": np.nan,
            "run_here": True, "area": known.area, "fixed": known.fixed,
        }
    )  # fmt: skip


def map_likeness(outcome: Outcome, source: str, people: int | None = None) -> pd.DataFrame:
    """How alike the two maps of a face are: correlation over pixels of the Grad-CAMs of I_df and I_dom, and of I_df
    with itself on another face of the same method; means over faces, one row a method.

    Two maps that differ between the branches no more than from face to face have nothing of their own to show.
    """
    faces = saliency_faces(outcome, source, people)
    model = outcome.runs["DID"][0].task().model
    images = np.stack([faces[i]["image"].numpy() for i in range(len(faces))])
    import torch

    maps = {name: explain.saliency(model, torch.from_numpy(images), name).reshape(len(faces), -1) for name in MAPS}
    methods = faces.rows.method.to_numpy()
    rows = []
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
    return pd.DataFrame(rows)


def _mean(values: Sequence[float]) -> float:
    """Mean of the numbers among `values`; NaN where there is none, as for maps that are 0 everywhere."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan


def _correlation(a: NDArray, b: NDArray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else np.nan


# --- Fig. 7 -------------------------------------------------------------------------------------------------------


def probes(outcome: Outcome) -> pd.DataFrame:
    """What a line reads from each feature set (see `explain.probe_table`): all runs, with columns row and seed."""
    tables = []
    for name, of in outcome.runs.items():
        _, store = outcome.source(outcome.experiment.train)
        splits = split_faces(store, of[0].settings)
        for one in of:
            found = explain.probe_table(one.task(), splits["val"], splits["test"])
            tables.append(found.assign(row=name, seed=one.settings.seed))
    return pd.concat(tables, ignore_index=True)


def probe_rows(table: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """`probes` as rows of a table like `Outcome.table`: means over seeds, with their spread and without an interval."""
    rows = []
    for (name, features, target), part in table.groupby(["row", "features", "target"], sort=False):
        row = _row(
            features, f"{name}: {target}", "probe accuracy", part.accuracy.tolist(), part.accuracy, np.nan, outcome
        )
        rows.append({**row, "low": np.nan, "high": np.nan, "chance": part.chance.mean()})
    return pd.DataFrame(rows)


def embeddings(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Fig. 7's panels, of the first seed's runs on the test split: (a) the plain backbone's features, (b) I_df,
    (c) I_dom.

    Returns:
        Panel -> points (n, 2) by t-SNE, labels (n,), and silhouette of the labels in the features themselves.
    """
    _, store = outcome.source(outcome.experiment.train)
    first = outcome.runs["DID"][0]
    faces = split_faces(store, first.settings)["test"]
    truth = np.where(faces.labels == 1, "fake", REAL)
    methods = faces.rows.method.to_numpy()
    of_did, of_bce = explain.features(first.task(), faces), explain.features(outcome.runs["BCE"][0].task(), faces)
    panels = {
        "(a) backbone trained with BCE": (of_bce["I_X"], truth),
        "(b) DID: I_df": (of_did["I_df"], truth),
        "(c) DID: I_dom": (of_did["I_dom"], methods),
    }
    return {
        name: {"points": explain.tsne(vectors), "labels": labels, "silhouette": explain.silhouette(vectors, labels)}
        for name, (vectors, labels) in panels.items()
    }


# --- trained on one method, tested on each ------------------------------------------------------------------------


# --- sentences ----------------------------------------------------------------------------------------------------

_SO = {
    "ahead": "The interval lies above 0: the claim holds here.",
    "behind": "The interval lies below 0: here it is the other way round.",
    "undecided": "The interval holds 0: these runs do not decide it.",
}


def _seeds(number: int) -> str:
    return "one seed" if number == 1 else f"{number} seeds"


def compared(table: pd.DataFrame) -> list[str]:
    """One sentence on the first difference, one on all of them; frame level."""
    frame = table[table.level == "frame"]
    if not len(frame):
        return []
    first = frame[(frame.a == frame.a.iloc[0]) & (frame.b == frame.b.iloc[0])]
    parts = [
        f"on {row.test} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        + (f" (published: {row.paper:+.3f})" if np.isfinite(row.paper) else "")
        for row in first.itertuples()
    ]
    pair, number = f"{first.a.iloc[0]} less that of {first.b.iloc[0]}", _seeds(int(first.seeds.iloc[0]))
    said = [f"AUC of {pair}, {number}: {', '.join(parts)}."]
    found = [verdict(*ends) for ends in zip(frame.low, frame.high, strict=True)]
    if len(found) == 1:
        return [*said, _SO[found[0]]]
    said.append(
        f"Of the {len(found)} differences compared here, {found.count('ahead')} lie above 0 with their whole interval, "
        f"{found.count('behind')} lie below, and {found.count('undecided')} hold 0: these runs do not decide those."
    )
    return said


def sentences(outcome: Outcome) -> list[str]:
    """Two or three plain sentences on whether the paper's claim holds here, computed from the result."""
    if outcome.experiment.default is not None:
        return choice_sentences(outcome.differences)
    said = compared(outcome.differences)
    extra = {
        "table1_intra_cross": _drop,
        "fig4_alpha": _alpha_zero,
        "table4_ablation": _dead_or_alive,
    }.get(outcome.experiment.name)
    return [*said, *(extra(outcome) if extra else []), *_in_whose_place(outcome)]


def _in_whose_place(outcome: Outcome) -> list[str]:
    """Which row ran on which backbone, where there are several: it may not be the one that the row is named after."""
    if not len(outcome.table):
        return []
    ran = outcome.table[outcome.table.run_here].drop_duplicates("row")
    if ran.runs_on.nunique() < 2:
        return []
    parts = [f"{', '.join(part.row)} on {backbone}" for backbone, part in ran.groupby("runs_on", sort=False)]
    return [f"What ran here: {'; '.join(parts)}."]


def choice_sentences(table: pd.DataFrame) -> list[str]:
    """Which choices differ from the default by more than their interval, from `Outcome.differences`."""
    frame = table[table.level == "frame"]
    clear = [row for row in frame.itertuples() if verdict(row.low, row.high) != "undecided"]
    said = [
        f"{row.a} on {row.test}: {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}] against the default."
        for row in clear
    ]
    seeds = _seeds(int(frame.seeds.max())) if len(frame) else "no seed"
    return [
        *said,
        f"Of {len(frame)} differences from the default, {len(clear)} have intervals that do not hold 0; if no choice "
        f"mattered, about {0.05 * len(frame):.1f} would by chance. They are from {seeds}.",
    ]


def _frame(outcome: Outcome, row: str, test: str) -> Any:
    found = outcome.table.query("row == @row and test == @test and level == 'frame' and metric == 'auc'")
    return found.iloc[0] if len(found) else None


def _drop(outcome: Outcome) -> list[str]:
    own = outcome.table[outcome.table.run_here & (outcome.table.level == "frame")]
    drops = {name: part.set_index("test").ours for name, part in own.groupby("row", sort=False)}
    said = ", ".join(f"{name} from {of['FF++']:.3f} to {of['CDF2']:.3f}" for name, of in drops.items())
    return [f"From FF++ to CDF2, AUC goes for {said}."]


def _alpha_zero(outcome: Outcome) -> list[str]:
    at = _frame(outcome, "α = 0", "CDF2")
    if at is None:
        return []
    best = outcome.table.query("level == 'frame' and run_here")
    top = best.loc[best.ours.idxmax()]
    where = "above" if at.low > 0.5 else "below" if at.high < 0.5 else "not told from"
    return [
        f"α = 0, the AUC loss alone, gives {digits(at.ours, at.low, at.high)} on CDF2, {where} chance; published: "
        f"{at.paper:.3f}. The highest mean is that of {top.row}, {top.ours:.3f}."
    ]


def _dead_or_alive(outcome: Outcome) -> list[str]:
    state = final_state(outcome.runs)
    said = []
    for name in ("DID, T's own step × λ_dec", "DID, T's own step × 1"):
        if name in state.index and np.isfinite(state.estimate[name]):
            estimate, ratio = state.estimate[name], state["gradient from T"][name] / state["gradient from C"][name]
            how = "sees nothing" if estimate < -1.3 else "tells nearly every pair" if estimate > -0.1 else "tells some"
            said.append(f"{name}: the estimate ends at {estimate:.3f}, so that T {how}, and T's gradient at G is "
                        f"{100 * ratio:.3f}% of C's.")  # fmt: skip
    return [" ".join(said)] if said else []


def domain_sentences(table: pd.DataFrame) -> list[str]:
    """On Fig. 5, from the table of `domains`."""
    of = table.set_index("row")
    mean, methods = of.loc["mean"], of.drop(index="mean")
    best, chance = methods.ours.idxmax(), 1 / len(methods)
    return [
        f"The mean accuracy over domains is {digits(mean.ours, mean.low, mean.high)} over {_seeds(int(mean.seeds))}; "
        f"published: {mean.paper:.3f}, chance: {chance:.3f}.",
        f"The domain told best is {best} ({digits(*methods.loc[best, ['ours', 'low', 'high']])}); in the paper it "
        f"is FaceSwap ({published.FIGURE_5['FaceSwap']:.3f}).",
    ]


def saliency_sentences(overlap: pd.DataFrame | None, likeness: pd.DataFrame) -> list[str]:
    """On Fig. 6, from the tables of `saliency` (None where no region is known) and `map_likeness`."""
    said = []
    known = pd.DataFrame({"map": []}) if overlap is None else overlap[overlap.share.notna()]
    for name, claim in (("I_dom", "captures the forged region"), ("I_df", "is at what all forgeries share")):
        if not (known["map"] == name).any():
            continue
        of = known[known["map"] == name]
        above = int((of.share_low > of.area).sum())
        said.append(
            f"{name}, which by the paper {claim}, puts {of.share.mean():.3f} of its map into the forged region, "
            f"which covers {of.area.mean():.3f} of the crop; its interval lies above the area for {above} of {len(of)} "
            "methods."
        )
    between, within = likeness["I_df with I_dom"].mean(), likeness["I_df with another face's I_df"].mean()
    if not np.isfinite(between):
        return [*said, "One map of each face, or both, are 0 everywhere: nothing to compare."]
    differ = "less than" if between < within else "as much as, or more than,"
    said.append(
        f"The two maps of a face correlate by {between:.3f}, {differ} the same map on two faces of a method "
        f"({within:.3f})."
    )
    return said


def probe_sentences(table: pd.DataFrame, panels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """On Fig. 7, from the tables of `probes` and `embeddings`."""
    mean = table[table.row == "DID"].groupby(["features", "target"]).accuracy.mean()
    chance = table[table.row == "DID"].groupby(["features", "target"]).chance.mean()
    plain = table[(table.row == "BCE") & (table.target == "label")].accuracy.mean()
    shapes = ", ".join(f"{name} {panel['silhouette']:.3f}" for name, panel in panels.items())
    leak = mean["I_df", "domain"] - chance["I_df", "domain"] > 0.1
    return [
        f"Silhouettes in the features themselves: {shapes}. A line reads real from fake with accuracy "
        f"{mean['I_df', 'label']:.3f} "
        f"from I_df and {plain:.3f} from the features of the backbone trained with BCE.",
        f"From I_df, which should hold nothing of the method, a line reads the domain with accuracy "
        f"{mean['I_df', 'domain']:.3f} "
        f"(chance {chance['I_df', 'domain']:.3f}), from I_dom with {mean['I_dom', 'domain']:.3f}: I_df "
        + ("still tells the methods apart here." if leak else "tells the methods little better than chance here."),
    ]


# --- what the paper leaves open -----------------------------------------------------------------------------------


def calibration_sentences(calibration: Mapping[str, Any], gaps: Mapping[str, float]) -> list[str]:
    """What a run's temperature did to the probabilities of its test faces.

    Args:
        calibration: of the run's record.
        gaps: expected calibration errors on the test split, `before` and `after` the temperature.
    """
    frame = calibration["frame"]
    said = [f"The temperature of frames is {frame['temperature']:.3f}."]
    if frame["bound"] == "lower":
        said = ["The scores separate the validation frames: any temperature is too high, and it stops at its bound."]
    elif frame["bound"] == "upper":
        said = [
            "On the validation frames the scores tell nothing, or the contrary: the temperature stops at its bound, "
            "and every probability is drawn to one half."
        ]
    before, after = gaps["before"], gaps["after"]
    words = "nearer to" if after < before - 0.005 else "farther from" if after > before + 0.005 else "no nearer to"
    said.append(
        f"On the test frames it brings the probabilities {words} the share of fakes: calibration error {before:.3f} "
        f"before, {after:.3f} after."
    )
    errors = "more than one in three" if max(frame["fpr"], frame["fnr"]) > 1 / 3 else "at most one in three"
    said.append(
        f"At the threshold {errors} of the validation frames of a class are called wrongly: of the real ones "
        f"{frame['fpr']:.3f}, of the fakes {frame['fnr']:.3f}."
    )
    return said


def open_choices(preset: str) -> pd.DataFrame:
    """Every choice that the paper leaves open or contradicts itself on, and every stated one that is tried otherwise,
    from the settings' own table: one row a setting.

    Args:
        preset: whose values are `default here`.

    Returns:
        setting, `what it decides`, `the paper` (where it speaks of it, or `left open`), `default here`,
        `at preset paper`, `tried instead` (`not measured` where no other value is).

    Raises:
        DidError: an unknown preset.
    """
    rows = []
    for field, default, paper_default, others in _choices(preset):
        rows.append(
            {
                "setting": field.name,
                "what it decides": field.metadata["says"],
                "the paper": _paper_says(field),
                "default here": default,
                "at preset paper": paper_default,
                "tried instead": ", ".join(others) or "not measured",
            }
        )
    return pd.DataFrame(rows)


def _choices(preset: str) -> list[tuple[Any, str, str, list[str]]]:
    """(field, default at the preset, default at preset paper, other values that the experiment tries)."""
    of_preset(BACKBONES, preset)
    what = experiment("open_choices")
    here, printed = (what.rows[0].settings(name, 0, what.train) for name in (preset, "paper"))
    found = []
    for field in dataclasses.fields(Settings):
        trials = field.metadata.get("trials", ())
        if not (field.metadata.get("open") or trials):
            continue
        default = getattr(here, field.name)
        others = [str(value) for value in trials if value != default]
        found.append((field, str(default), str(getattr(printed, field.name)), others))
    return found


def _paper_says(field: Any) -> str:
    where = field.metadata["where"]
    return where if field.metadata.get("open") else f"{where} states {field.default:g}"


def measured_choices(differences: pd.DataFrame, preset: str) -> pd.DataFrame:
    """`open_choices` joined with what each other value did: one row a setting and value tried.

    Args:
        differences: `Outcome.differences` of the experiment `open_choices`; frame level is taken.
        preset: of its runs.

    Returns:
        setting, `the paper`, `default here`, tried, and for each test its AUC less the default's with its interval and
        what that says; `not measured` where nothing else is tried, `not run` where these runs left it out. Last, what
        changes several settings at once.
    """
    frame = differences[differences.level == "frame"]
    tests = list(dict.fromkeys(frame.test)) or list(experiment("open_choices").tests)
    said = {
        (row.a, row.test): f"{digits(row.difference, row.low, row.high)}, {verdict(row.low, row.high)}"
        for row in frame.itertuples()
    }
    rows, seen = [], set()
    for field, default, _, others in _choices(preset):
        for other in others or [""]:
            name = f"{field.name} = {other}"
            seen.add(name)
            lacking = "not run" if other else "not measured"
            line = {"setting": field.name, "the paper": _paper_says(field), "default here": default}
            line |= {"tried": other or "-", **{f"on {test}": said.get((name, test), lacking) for test in tests}}
            rows.append(line)
    for name in dict.fromkeys(frame.a):
        if name not in seen:
            head, _, what = str(name).partition(": ")
            line = {"setting": what or head, "the paper": "-", "default here": "-", "tried": head if what else "-"}
            rows.append({**line, **{f"on {test}": said[name, test] for test in tests}})
    return pd.DataFrame(rows)
