"""Leave one method out: the choice of a successor to DID, on FF++ alone.

The rule, written before the first run: each candidate is trained on three of FF++'s four methods, with its checkpoint
chosen on validation people forged by these three, and tested on the fourth. The candidate with the highest AUC on the
method that it has not seen, on average over the four methods and two seeds, is the successor; candidates whose
averages agree to three decimals are taken in the order of the list, which is from plain to elaborate. No other data
set is looked at.

DID's loss weights are searched for by the same rule, one weight at a time (`SEARCH`, one seed); the weights that it
chooses are then compared as the rules of *Weights that find themselves* are, on all four methods with three seeds.

Whether the successor is better is decided on data that nobody has seen, by a second rule, also written before: ten
worlds (1 to 10; other people, forgeries, strengths and cameras), in each of which the successor, BCE, (k+1)-way CE and
DID are trained once under the same settings (seed 0) and tested on Celeb-DF and DiFF. On a test the successor is better
than another if the 95% t interval over worlds of its difference lies above 0. The aim is +.03 on Celeb-DF and +.05 on
DiFF over the best of the others. The numbers are looked at when all ten worlds are there.

Two more detectors join these three in the same worlds, by the same rule, under the settings that they have in Tables 1
and 2: SBI, and Two Branch, which of all rivals has the highest mean AUC in world 0 on Celeb-DF and on DiFF. This was
written when the numbers of the first three were known, and before any run of these two in worlds 1 to 10.
"""

import dataclasses

import numpy as np
import pandas as pd
from scipy.stats import t

from did import evaluation
from did.data.ffpp import METHODS
from did.evaluation import Drawn
from did.paper.definition import Experiment, Row
from did.paper.measures import Tables, Tested, on_method
from did.paper.records import Record, comparisons, frame, kind, part, verdict
from did.paper.systems import SBI, system
from did.paper.tables import digits, gap

#: What everything is compared with: it names the methods and does nothing else.
CONTROL = "(k+1)-way CE"
#: From plain to elaborate. Each but the first and the last two adds one thing to the control.
CANDIDATES = (
    Row("BCE", "bce"),
    Row(CONTROL, "multiclass"),
    Row("averaged weights", "multiclass", {"averaging": 0.95}),
    Row("batches of pairs", "multiclass", {"sampler": "pairs"}),
    Row("detail", "naming", options={"detail": True}),
    Row("mixtures", "naming", options={"mixup": 0.5}),
    Row("both heads on I_X", "undivided", {"alpha": 1.0}),
    Row("DID", "did"),
)


#: Between the name of a candidate and the method that its run does not see.
_NOT = ", not "


def _without(row: Row, method: str) -> Row:
    others = ",".join(each for each in METHODS if each != method)
    return dataclasses.replace(row, name=f"{row.name}{_NOT}{method}", changes={**row.changes, "methods": others})


def unseen(outcome: Tested) -> Tables:
    """Measure each candidate on the methods that its runs have not seen, over the same draws of people.

    Returns:
        candidates: one row per candidate: its name, AUC on average over methods, with its interval, the difference from
        the control with its interval (NaN for the control), and a column per method. The control is `CONTROL`, or the
        first candidate where that is none.
    """
    source = outcome.experiment.train
    drawn: dict[str, dict[str, Drawn]] = {}
    for of in outcome.experiment.rows:
        candidate, _, method = of.name.rpartition(_NOT)
        if runs := outcome.runs.get(of.name, []):
            scores = [outcome.scores(one, source) for one in runs]
            drawn.setdefault(candidate, {})[method] = on_method(scores, method)
    most = max(map(len, drawn.values()))  # a mean over fewer methods is another quantity
    drawn = {name: by for name, by in drawn.items() if len(by) == most}
    averages = {name: Drawn.average(list(by.values())) for name, by in drawn.items()}
    names = [row.name.rpartition(_NOT)[0] for row in outcome.experiment.rows]
    control = CONTROL if CONTROL in names else names[0]
    rows = []
    for name, average in averages.items():
        low, high = evaluation.ends(average)
        row = {"candidate": name, "auc": average.mean, "low": low, "high": high}
        paired = name != control and set(drawn[name]) == set(drawn.get(control, ()))
        apart = average - averages[control] if paired else None
        ends = evaluation.ends(apart) if apart else (np.nan, np.nan)
        row |= {"difference": apart.mean if apart else np.nan, "difference_low": ends[0], "difference_high": ends[1]}
        rows.append(row | {method: of.mean for method, of in drawn[name].items()})
    return {"candidates": pd.DataFrame(rows)}


def candidates(record: Record) -> pd.DataFrame:
    """Format what `unseen` measured: one row per candidate, a column per method that it has not seen, and the mean."""
    table = part(record, "candidates").set_index("candidate")
    shown = table[[name for name in METHODS if name in table]].map(digits)
    shown["mean"] = [digits(row.auc, row.low, row.high) for row in table.itertuples()]
    return shown


def differences(record: Record) -> pd.DataFrame:
    """Return how far each candidate's mean lies from the control's, as `did.plots.forest` takes it."""
    table, control = part(record, "candidates"), _control(record)
    table = table[(table.candidate != control) & table.difference.notna()]
    low, high = table.difference_low, table.difference_high
    so = [verdict(*ends) for ends in zip(low, high, strict=True)]
    return pd.DataFrame({"of": "A method it has not seen", "a": table.candidate, "b": control, "test": "the fourth",
                         "difference": table.difference, "low": low, "high": high, "paper": np.nan,
                         "kind": kind(record), "so": so})  # fmt: skip


def _control(record: Record) -> str:
    """Return what the others are compared with: the candidate without a difference."""
    table = part(record, "candidates")
    return str(table.candidate[table.difference.isna()].iloc[0])


def winner(record: Record) -> pd.Series:
    """Return the row of `unseen` that the rule chooses."""
    table = part(record, "candidates")
    return table.loc[table.auc.round(3).idxmax()]


def chosen(record: Record) -> list[str]:
    """Say which candidate the rule chooses, and how the others lie about the control."""
    table, best = part(record, "candidates"), winner(record)
    said = [
        f"On the method that they have not seen, the candidates have an AUC of {table.auc.min():.3f} to "
        f"{table.auc.max():.3f} on average. The rule chooses {best.candidate}, with "
        f"{digits(best.auc, best.low, best.high)}."
    ]
    others = differences(record)
    lies = [f"{row.a} {gap(row)}" for row in others.itertuples()]
    off = int(others.so.ne("undecided").sum())
    said.append(
        f"Difference from the AUC of {_control(record)}: {', '.join(lies)}. Of the {len(others)} intervals, {off} lie "
        f"off 0; about {0.05 * len(others):.1f} would by chance."
    )
    return said


EXPERIMENT = Experiment(
    "leave_one_out", "Leave one method out: which detector copes with a method it has not seen", "ffpp",
    {method: ("ffpp", method) for method in METHODS},
    tuple(_without(row, method) for row in CANDIDATES for method in METHODS),
    seeds=2, measure=unseen, sentences=(chosen,),
    smoke=tuple(_without(row, method).name
                for row in CANDIDATES if row.name in (CONTROL, "averaged weights", "batches of pairs", "mixtures")
                for method in METHODS[:2]),
)  # fmt: skip

#: A plain search for the loss weights, one at a time: the control of the rules that find weights by themselves.
SEARCHED = (
    Row("the paper's weights", "did"),
    Row("λ_dom = 0.3", "did", {"lambda_dom": 0.3}),
    Row("λ_dom = 3", "did", {"lambda_dom": 3.0}),
    Row("λ_dec = 0.001", "did", {"lambda_dec": 0.001}),
    Row("λ_dec = 0.1", "did", {"lambda_dec": 0.1}),
)
SEARCH = Experiment(
    "weight_search", "A plain search for the loss weights, on the method left out", "ffpp",
    {method: ("ffpp", method) for method in METHODS},
    tuple(_without(row, method) for row in SEARCHED for method in METHODS),
    measure=unseen, sentences=(chosen,),
    smoke=tuple(_without(row, method).name for row in SEARCHED[:2] for method in METHODS[:2]),
)  # fmt: skip


# --- the confirmation -----------------------------------------------------------------------------------------------

#: How far ahead of the best other detector the successor aims to be.
AIM = {"CDF2": 0.03, "DiFF": 0.05}
#: Of the rivals the one that is best in world 0.
BEST_RIVAL = "Two Branch"


def leads(record: Record) -> pd.DataFrame:
    """Return the chosen detector's lead over the best other one, by its mean over worlds, and the aim, per test.

    Returns:
        test, b (the best other one), difference, low, high, so, aim, met (as large as the aim, with its interval above
        0); one row per test.
    """
    pairs, rows = comparisons([record]), frame(record["rows"]).query("level == 'frame' and metric == 'auc'")
    found = []
    for test, aim in AIM.items():
        others = rows[(rows.test == test) & rows.row.ne(CONTROL)]
        lead = pairs[(pairs.test == test) & (pairs.a == CONTROL)]
        if len(others) and len(lead := lead[lead.b == others.loc[others.ours.idxmax(), "row"]]):
            found.append(lead[["test", "b", "difference", "low", "high", "so"]].assign(aim=aim))
    whole = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["difference", "low", "aim"])
    return whole.assign(met=whole.difference.ge(whole.aim) & whole.low.gt(0))


def alone(record: Record) -> tuple[int, int]:
    """Return how many differences lie above 0, and how many below, with their interval within a single world."""
    each = part(record, "worlds")
    return int(each.low.gt(0).sum()), int(each.high.lt(0).sum())


def confirmed(record: Record) -> list[str]:
    """Say on which tests the chosen detector is better, by the rule, and whether the aim is met."""
    pairs = comparisons([record])
    said = []
    for (a, b), of in pairs.groupby(["a", "b"], sort=False):
        outcomes = ", ".join(f"on {row.test} {gap(row)}, {row.so}" for row in of.itertuples())
        said.append(f"{a} less {b}: {outcomes}.")
    for lead in leads(record).itertuples():
        said.append(
            f"On {lead.test} the best of the others is {lead.b}; the aim, +{lead.aim:.2f} over it with the interval "
            f"above 0, is {'met' if lead.met else 'missed'}: {gap(lead)}."
        )
    off = int(pairs.so.ne("undecided").sum())
    said.append(f"Of the {len(pairs)} intervals, {off} lie off 0; about {0.05 * len(pairs):.1f} would by chance.")
    if "worlds" in record.get("figures", {}):
        each = part(record, "worlds")
        worlds = each.world.nunique()
        errors = (pairs.high - pairs.low) / 2 / t.ppf(0.975, worlds - 1)
        low, high = errors.agg(["min", "max"]) * (t.ppf(0.975, worlds - 1) + t.ppf(0.8, worlds - 1))
        said.append(
            f"With {worlds} worlds, a difference of {low:.3f} to {high:.3f} would have been found in 80% of cases."
        )
        above, below = alone(record)
        both = ": a verdict from one set of forgeries is one about that set" if above and below else ""
        said.append(
            f"One world at a time, over its people alone, {above} of {len(each)} intervals lie above 0 and {below} "
            f"below{both}."
        )
    return said


CONFIRMATION = Experiment(
    "ten_worlds", "Ten worlds: does the choice prove itself on data that nobody has looked at", "ffpp",
    {"CDF2": ("cdf2", "all"), "DiFF": ("diff", "all")},
    (Row("BCE", "bce"), Row(CONTROL, "multiclass"), Row("DID", "did"), SBI, system(BEST_RIVAL, {})),
    compared=((CONTROL, "BCE"), (CONTROL, "DID"), ("DID", "BCE"), (CONTROL, SBI.name), (CONTROL, BEST_RIVAL)),
    sentences=(confirmed,), smoke=("BCE", CONTROL, "DID"), worlds=tuple(range(1, 11)),
)  # fmt: skip
