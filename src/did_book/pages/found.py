"""The page "What we found": an answer to each question in a sentence, with its numbers folded, from the records."""

import html
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from did.paper.beyond import NAMED, SHARE, judged, shares
from did.paper.factorial import LATER
from did.paper.heldout import CONTROL, alone, differences, leads, winner
from did.paper.records import Record, comparisons, frame, kind, part, verdict
from did.paper.tables import digits, gap, percent
from did.paper.verdicts import claims, corrected, surviving, unlearnt, weak
from did.sources import STANDIN

_SO = {"ahead": "above 0", "behind": "below 0", "undecided": "undecided"}
_INTRO = """# What we found

The answers of this copy of the book, from its records. All numbers are from **{kinds}**: they tell how the method
behaves here, and reproduce no number of the paper. AUCs are per frame, with 95% intervals over people and seeds, unless
a page says otherwise. Two detectors are *not told apart* if the interval of their difference contains 0, or if the
difference does not survive Holm's correction over those that its answer looks at. That does not mean that they are
equal.
"""


class _Answer(NamedTuple):
    """A question, its answer in a sentence or two, the numbers behind it, the page that has it all, and a figure."""

    question: str
    short: str
    numbers: Sequence[str]
    page: str
    figure: str = ""


def found_page(entries: Sequence[Record]) -> str:
    """Return the page as MyST text.

    Args:
        entries: records; of several of an experiment, the first one from drawn faces is taken.
    """
    kinds = ", ".join(dict.fromkeys(kind(entry) for entry in _by_experiment(entries).values()))
    parts = [_INTRO.format(kinds=kinds)]
    for answer in _answers(entries, None):
        parts.append(f"## {answer.question}\n\n{answer.short} More: [](./{answer.page}).\n")
        parts += [answer.figure] if answer.figure else []
        if answer.numbers:
            listed = "\n".join(f"- {number}" for number in answer.numbers)
            parts.append(f"```{{dropdown}} The numbers\n{listed}\n```\n")
    return "\n".join(parts)


def answers(entries: Sequence[Record], folder: str, most: int) -> str:
    """Return the first questions and answers as a list with links.

    Args:
        entries: records, as for `found_page`.
        folder: where its links lead to, from the page that shows it.
        most: questions.
    """
    lines = [f"- **{each.question}** {each.short} ([]({folder}{each.page}))\n" for each in _answers(entries, most)]
    return "".join(lines)


def of_pages(entries: Sequence[Record]) -> dict[str, str]:
    """Return what each experiment's page begins with: its questions and answers, or else its verdicts.

    Args:
        entries: records, as for `found_page`.
    """
    records = _by_experiment(entries)
    told = {name: "\n\n".join(entry["verdict"]) for name, entry in records.items() if entry["verdict"]}
    found: dict[str, str] = {}
    for question, short, _, page, _ in _answers(entries, None):
        if page in records:
            found[page] = "\n\n".join(filter(None, [found.get(page), f"**{question}** {short}"]))
    return {name: text for name, text in (told | found).items() if not name.endswith(_PORTRAITS)}


def bullets(entries: Sequence[Record], most: int) -> str:
    """Return the first questions and answers as a list, without links, for pages outside the book.

    Args:
        entries: records, as for `found_page`.
        most: questions.
    """
    return "\n".join(f"- *{question}* {short}" for question, short, *_ in _answers(entries, most))


def _answers(entries: Sequence[Record], most: int | None) -> list[_Answer]:
    """Return the first questions that these records answer."""
    of = _by_experiment(entries)
    return [answer for make in _QUESTIONS for answer in [make(of)] if answer][:most]


_PORTRAITS = ", portraits"


def _by_experiment(entries: Sequence[Record]) -> dict[str, Record]:
    """Return the records by experiment, drawn faces before others; those from portraits also under their own name."""
    found = {entry["experiment"]: entry for entry in sorted(entries, key=lambda entry: entry["bank"] == "drawn")}
    return found | {entry["experiment"] + _PORTRAITS: entry for entry in entries if entry["bank"] == "portraits"}


def _auc(entry: Record) -> pd.DataFrame:
    rows = frame(entry["rows"])
    return rows[(rows.level == "frame") & (rows.metric == "auc") & rows.run_here.astype(bool)].set_index(
        ["row", "test"]
    )


def _number(row: pd.Series) -> str:
    return digits(row.ours, row.low, row.high)


def _pairs(entry: Record, a: str, b: str) -> pd.DataFrame:
    found = comparisons([entry])
    return found[(found.a == a) & (found.b == b)]


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _so(found: pd.DataFrame, a: str, b: str) -> str:
    """Say in a clause on which tests `a` is ahead of `b`, behind it, or not told apart from it."""
    tests = {so: list(found.test[found.so == so]) for so in _SO}
    told = [f"**{words}** {b} on {_listed(tests[so])}" for so, words in (("ahead", "ahead of"), ("behind", "behind"))
            if tests[so]]  # fmt: skip
    left = tests["undecided"]
    if left and told:
        told.append(f"not told apart from it on {f'the other {len(left)}' if len(left) > 1 else left[0]}")
    elif left:
        told.append(f"**not told apart** from {b} on {f'any of {len(left)} tests' if len(left) > 1 else left[0]}")
    return f"{a} is {', and '.join(told)}"


def _differences(found: pd.DataFrame, what: str) -> list[str]:
    return [f"{what} on {row.test}: {gap(row)}, {_SO[row.so]}" for row in found.itertuples()]


def _fails(of: dict[str, Record]) -> _Answer | None:
    if "table1_intra_cross" not in of:
        return None
    auc = _auc(of["table1_intra_cross"])
    if not {("BCE", "FF++"), ("BCE", "CDF2")} <= set(auc.index):
        return None
    own, other = (auc.loc["BCE", test] for test in ("FF++", "CDF2"))
    answer = "**Yes**" if other.high < own.low else "**Not clearly**"
    said = f"{answer}: BCE's AUC is {own.ours:.3f} on its own data set and {other.ours:.3f} on the next."
    shown = [(row, test) for row in ("BCE", "(k+1)-way CE", "DID") for test in ("FF++", "CDF2")]
    numbers = [f"{row} on {test}: {_number(auc.loc[row, test])}" for row, test in shown if (row, test) in auc.index]
    question = "Does a detector fail on the next forgery?"
    return _Answer(question, said, numbers, "table1_intra_cross", _moving(of))


_FALLS = {"ahead": "**Yes**", "behind": "**No, on the contrary**", "undecided": "**Not clearly**"}


def _next_method(of: dict[str, Record]) -> _Answer | None:
    if "start" not in of:
        return None
    drops = part(of["start"], "drops")
    mean, each = drops[drops.train == "mean"].iloc[0], drops[drops.train != "mean"]
    said = (
        f"{_FALLS[verdict(mean.low, mean.high)]}: trained on one method of FF++, detectors have an AUC of "
        f"{mean.own:.3f} on forgeries by that method and of {mean.others:.3f} on those by the other {len(each) - 1}."
    )
    numbers = [f"trained on {row.train}: a drop of {digits(row.drop, row.low, row.high)}" for row in drops.itertuples()]
    return _Answer("Does a detector fail on a method that it has not seen?", said, numbers, "start")


def _moving(of: dict[str, Record]) -> str:
    """Return the figure that shows, for each system, its AUC on what it was trained on and on what comes next."""
    values: dict[str, list[tuple[str, float, float, float]]] = {}
    for name in ("table1_intra_cross", "table2_diffusion"):
        for (row, test), number in _auc(of[name]).iterrows() if name in of else ():
            values.setdefault(row, []).append(
                (test, *(round(float(number[key]), 3) for key in ("low", "ours", "high")))
            )
    given = html.escape(json.dumps(values), quote=True)
    words = "With scripts on, this shows the drop of each detector of Tables 1 and 2, test by test."
    figure = f'<div class="did-move" data-figure="drops" data-values="{given}"><p>{words}</p></div>'
    badge = f'<div class="did-stamp"><span class="did-badge">{STANDIN}</span> Tables 1 and 2, preset laptop</div>'
    return f"```{{raw}} html\n{figure}\n{badge}\n```\n"


def _both_tables(of: dict[str, Record], a: str, b: str, suffix: str = "") -> pd.DataFrame:
    """Return the differences of a pair in Tables 1 and 2."""
    names = [name + suffix for name in ("table1_intra_cross", "table2_diffusion")]
    found = [_pairs(of[name], a, b) for name in names if name in of]
    return pd.concat(found) if found else pd.DataFrame()


def _better(of: dict[str, Record]) -> _Answer | None:
    found = _both_tables(of, "DID", "BCE")
    if not len(found):
        return None
    said = f"{_so(corrected(found), 'DID', 'BCE')}."
    if len(row := found[found.test == "CDF2"]):
        said += f" The difference on CDF2 is {gap(row.iloc[0])}."
    return _Answer("Is DID better than BCE, and where?", said, _differences(found, "DID − BCE"), "table1_intra_cross")


def _control(of: dict[str, Record]) -> _Answer | None:
    found = _both_tables(of, "DID", "(k+1)-way CE")
    if not len(found):
        return None
    said = f"{_so(corrected(found), 'DID', 'a plain backbone that is trained to name the methods, (k+1)-way CE,')}."
    numbers = _differences(found, "DID − (k+1)-way CE")
    question = "What helps: the decomposition, or knowing the methods' names?"
    return _Answer(question, said, numbers, "table1_intra_cross")


def _rivals(of: dict[str, Record]) -> _Answer | None:
    """Sort the rivals that have a row of their own by what DID less each of them tells on Celeb-DF."""
    if "table1_intra_cross" not in of:
        return None
    found = comparisons([of["table1_intra_cross"]])
    found = found[(found.a == "DID") & (found.test == "CDF2") & ~found.b.isin(["BCE", "(k+1)-way CE", "Xception"])]
    if not len(found):
        return None
    sure = corrected(found)
    groups = {so: list(sure.b[sure.so == so]) for so in _SO}
    words = {"ahead": "ahead of", "behind": "behind", "undecided": "not told apart from"}
    told = [f"**{words[so]}** {_listed(names)}" for so, names in groups.items() if names]
    said = " ".join([f"On CDF2, DID is {'; '.join(told)}.", *unlearnt(of["table1_intra_cross"])])
    numbers = [f"DID − {row.b}: {gap(row)}, {_SO[row.so]}" for row in found.sort_values("difference").itertuples()]
    return _Answer("How does DID compare with its rivals, trained side by side?", said, numbers, "rivals")


def _ablation(of: dict[str, Record]) -> _Answer | None:
    if "table4_ablation" not in of:
        return None
    full = "DID, T's own step × 1"
    parts = {
        name: _pairs(of["table4_ablation"], full, name)
        for name in ("w/o T", "w/o A_dom", "w/o A_dom and L_dom", "w/o the AUC loss", "w/o A_df", "no decomposition")
    }
    if not any(map(len, parts.values())):
        return None
    found = pd.concat([each.assign(without=name) for name, each in parts.items() if len(each)])
    sure = corrected(found)
    groups = {
        so: [name.removeprefix("w/o ").replace("no ", "any ") for name in sure.without[sure.so == so]] for so in _SO
    }
    words = {"ahead": "worse", "behind": "better", "undecided": "not told apart from the whole"}
    told = [f"it is **{words[so]}** without {_listed(names)}" for so, names in groups.items() if names]
    said = f"On CDF2, {'; '.join(told)}."
    numbers = [f"the whole less {row.without}: {gap(row)}, {_SO[row.so]}" for row in found.itertuples()]
    return _Answer("What does DID lose without one of its parts?", said, numbers, "table4_ablation")


def _split(of: dict[str, Record]) -> _Answer | None:
    if "fig7_embeddings" not in of:
        return None
    begins = ("From I_df", "The domain")
    sentences = [each for each in of["fig7_embeddings"]["sentences"] if each.startswith(begins)]
    if not sentences:
        return None
    return _Answer(
        "Does the split make I_df independent of the method?", sentences[0], sentences[1:], "fig7_embeddings"
    )


def _alpha(of: dict[str, Record]) -> _Answer | None:
    if "fig4_alpha" not in of:
        return None
    found = comparisons([of["fig4_alpha"]])
    sure = corrected(found)
    said = f"{'; '.join(_so(pair, 'α = .5', b) for b, pair in sure.groupby('b', sort=False))}."
    numbers = [
        number for b, pair in found.groupby("b", sort=False) for number in _differences(pair, f"α = .5 less {b}")
    ]
    return _Answer("Is α = .5 the best mixture of both losses?", said, numbers, "fig4_alpha")


def _claims(of: dict[str, Record]) -> _Answer | None:
    every = [claims(entry) for entry in of.values() if entry["claim"]["quote"]]
    found = pd.concat([each for each in every if len(each)], ignore_index=True) if any(map(len, every)) else None
    if found is None:
        return None
    counts = found.verdict.value_counts()
    against = weak(found, of["table1_intra_cross"]) if "table1_intra_cross" in of else ""
    said = (
        f"Of {len(found)} pairs of which the paper has the first ahead, **{counts.get('holds', 0)} hold** here, "
        f"{counts.get('does not hold', 0)} do not, {counts.get('ruled out', 0)} rule out an effect as large as the "
        f"paper's, and {counts.get('undecided', 0)} are undecided (p values corrected by Holm within each claim)."
        f"{against} On stand-ins, *rule out* speaks of the stand-in."
    )
    return _Answer("How many of the paper's comparisons hold here?", said, (), "paper_against_ours")


def _photographs(of: dict[str, Record]) -> _Answer | None:
    pairs = {other: _both_tables(of, "DID", other, _PORTRAITS) for other in ("BCE", "(k+1)-way CE")}
    pairs = {other: found for other, found in pairs.items() if len(found)}
    if not pairs:
        return None
    seeds = len(of["table1_intra_cross" + _PORTRAITS]["seeds"]) if "table1_intra_cross" + _PORTRAITS in of else 0
    said = f"{'. '.join(_so(corrected(found), 'DID', other) for other, found in pairs.items())}. There are fewer people"
    said += f", and {seeds} seeds." if seeds else "."
    numbers = [number for other, found in pairs.items() for number in _differences(found, f"DID − {other}")]
    return _Answer("Do stand-ins from photographs say the same?", said, numbers, "paper_against_ours")


def _length(of: dict[str, Record]) -> _Answer:
    question, page = "Does the comparison depend on training length?", "training_length"
    lengths = part(of[page], "lengths") if page in of else pd.DataFrame(columns=["system", "iterations"])
    longest = lengths[lengths.iterations == lengths.iterations.max()]
    if not {"DID", "BCE"} <= set(longest.system):
        return _Answer(question, "Not answered yet: all runs here have the preset's length, which is short.", (), page)
    how = longest.augmentation.iloc[-1]  # with augmentation, if both ways were trained that long
    alike = lengths[lengths.augmentation == how]
    first, last = (alike[alike.iterations == each].set_index("system").row
                   for each in (alike.iterations.min(), alike.iterations.max()))  # fmt: skip
    pairs = {name: _pairs(of[page], last["DID"], row) for name, row in last.drop("DID").items()}
    told = {name: found for name, found in pairs.items() if len(found)}
    sure = corrected(pd.concat(told.values())).replace({"b": {last[name]: name for name in told}})
    auc = _auc(of[page])
    short, long = (auc.loc[rows["BCE"], "CDF2"] for rows in (first, last))
    said = (
        f"After {alike.iterations.max()} iterations {'without' if how == 'none' else f'with {how}'} augmentation, "
        f"{'; '.join(_so(found, 'DID', name) for name, found in sure.groupby('b', sort=False))}. From "
        f"{alike.iterations.min()} iterations to {alike.iterations.max()}, BCE's own AUC on CDF2 goes from "
        f"{short.ours:.3f} to {long.ours:.3f}."
    )
    numbers = [number for name, found in told.items() for number in _differences(found, f"DID − {name}")]
    numbers += [f"BCE on CDF2 after {n} iterations: {_number(row)}"
                for n, row in ((alike.iterations.min(), short), (alike.iterations.max(), long))]  # fmt: skip
    return _Answer(question, said, numbers, page)


def _absent(entry: Record) -> list[str]:
    """Return the sentences that name rows which the record lacks."""
    return [each for each in entry["sentences"] if each.startswith("Not among these runs")]


def _carries(of: dict[str, Record]) -> _Answer | None:
    """Say which parts add something on other data, over all combinations of them."""
    if "effects" not in of.get("what_carries", {}).get("figures", {}):
        return None
    found = part(of["what_carries"], "effects").query("test != 'FF++'")
    told = [
        f"**{name}** {words} on {_listed(each.test)}"
        for so, words in (("ahead", "adds something"), ("behind", "costs something"))
        for name, each in found[found.so == so].groupby("part", sort=False)
    ]
    others = [name for name in dict.fromkeys(found.part) if (found[found.part == name].so == "undecided").all()]
    said = f"Over all combinations of the parts, on other data: {'; '.join(told) or 'no part is told from 0'}."
    said += f" Not told from 0: {_listed(others)}." if told and others else ""
    numbers = [*_absent(of["what_carries"]), *(f"{row.part} on {row.test}: {gap(row)}, {_SO[row.so]}"
                                               for row in found.itertuples())]  # fmt: skip
    if "effects" in of.get("what_carries_later", {}).get("figures", {}):
        later = part(of["what_carries_later"], "effects").query("test != 'FF++'")
        clear = [f"{row.part} on {row.test} ({gap(row)})" for row in later[later.so != "undecided"].itertuples()]
        told_later = _listed(clear) if clear else "none"
        said += f" With augmentation and {LATER:g} times as many iterations, these are told from 0: {told_later}."
        numbers += [f"later, {row.part} on {row.test}: {gap(row)}, {_SO[row.so]}" for row in later.itertuples()]
    return _Answer("Which part carries DID?", said, numbers, "what_carries")


def _independence(of: dict[str, Record]) -> _Answer | None:
    entry = of.get("independence", {})
    if "dependence" not in entry.get("figures", {}):
        return None
    found = judged(part(entry, "dependence"))
    met = list(found.index[found.reached])
    pairs = comparisons([entry])
    counts = pairs.so.value_counts()
    reached = f"**Reached** by {_listed(met)}." if met else f"**Not reached** by any of {len(found)} measures."
    said = (
        f"{reached} Of {len(pairs)} differences from DID without T, {counts.get('ahead', 0)} lie above 0 and "
        f"{counts.get('behind', 0)} below, with {0.05 * len(pairs):.1f} expected off 0 by chance."
    )
    numbers = [*_absent(entry), *(f"{name}: a critic trained afresh tells pairs of one image from others in "
                                  f"{row.critic:.3f} of cases" for name, row in found.iterrows())]  # fmt: skip
    return _Answer("Can the halves be made independent, and does it help?", said, numbers, "independence")


def _unlabelled(of: dict[str, Record]) -> _Answer | None:
    entry = of.get("without_labels")
    found = shares(entry) if entry else pd.DataFrame()
    if not entry or not len(found):
        return None
    means = found.groupby("row", sort=False).difference.mean()
    if NAMED not in means:
        return None
    brought, others = means[NAMED], means.drop(NAMED)
    told = _listed(f"{name} bring {percent(value / brought)}" for name, value in others.items()) if brought > 0 else ""
    said = f"On average over the tests, {told} of what the methods' names bring; the aim was {SHARE:.0%}."
    if not told:
        said = "On average over the tests the methods' names bring nothing, so that nothing can take their place."
    numbers = [*_absent(entry), *(f"{row.row}, compared with no domain head, on {row.test}: {gap(row)}"
                                  for row in found.itertuples())]  # fmt: skip
    return _Answer("Does it work without the methods' names?", said, numbers, "without_labels")


def _weights(of: dict[str, Record]) -> _Answer | None:
    if "loss_weights" not in of:
        return None
    found = comparisons([of["loss_weights"]])
    rules = found.groupby("a", sort=False).so.apply(set)
    groups = {
        "better": [name for name, so in rules.items() if "ahead" in so and "behind" not in so],
        "not as good": [name for name, so in rules.items() if "behind" in so],
        "not told apart from them": [name for name, so in rules.items() if so == {"undecided"}],
    }
    told = "; ".join(f"**{words}**: {_listed(names)}" for words, names in groups.items() if names)
    numbers = [*_absent(of["loss_weights"]), *(f"{row.a} on {row.test}: {gap(row)}, {_SO[row.so]}"
                                               for row in found.itertuples())]  # fmt: skip
    said = f"Against the paper's weights, {told}."
    if "candidates" in of.get("weight_search", {}).get("figures", {}):
        best = winner(of["weight_search"])
        said += f" A plain search on the method left out chooses **{best.candidate}**."
        numbers += [
            f"search, {row.a} less {row.b}: {gap(row)}" for row in differences(of["weight_search"]).itertuples()
        ]
    return _Answer("Can the loss weights find themselves?", said, numbers, "loss_weights")


def _fed(of: dict[str, Record]) -> _Answer | None:
    """Say which choices of training data help, by Holm's correction over all of them."""
    if "better_data" not in of:
        return None
    pairs = comparisons([of["better_data"]])
    told = [
        f"**{name}** {words} on {_listed(each.test)}"
        for words, side in zip(("helps", "costs something"), surviving(pairs), strict=True)
        for name, each in side.groupby("a", sort=False)
    ]
    said = f"Corrected for {len(pairs)} comparisons, {'; '.join(told) or 'no choice is told apart from its control'}."
    numbers = [*_absent(of["better_data"]), *(f"{row.a} less {row.b} on {row.test}: {gap(row)}, {_SO[row.so]}"
                                              for row in pairs.itertuples())]  # fmt: skip
    return _Answer("Does better training data help?", said, numbers, "better_data")


def _held_out(of: dict[str, Record]) -> _Answer | None:
    entry = of.get("leave_one_out", {})
    if "candidates" not in entry.get("figures", {}):
        return None
    best, apart = winner(entry), differences(entry)
    said = f"**{best.candidate}**, with an AUC of {digits(best.auc, best.low, best.high)}."
    if best.candidate == CONTROL:
        behind = list(apart[apart.so == "behind"].a)
        said += " It names the methods and does nothing else; no addition comes out above it."
        lead = "interval of its lead over {} lies" if len(behind) == 1 else "intervals of its leads over {} lie"
        said += f" The {lead.format(_listed(behind))} above 0." if behind else ""
    else:
        mine = apart[apart.a == best.candidate].iloc[0]
        said += f" Its lead over naming the methods alone is {gap(mine)}."
    numbers = [*_absent(entry), *(f"{row.a} less {row.b}: {gap(row)}" for row in apart.itertuples())]
    return _Answer("Which detector copes best with a method that it has not seen?", said, numbers, "leave_one_out")


def _elsewhere(of: dict[str, Record]) -> _Answer | None:
    """Say what holds over worlds, what single worlds would have said, and whether the chosen detector meets its aim."""
    entry = of.get("ten_worlds", {})
    if "worlds" not in entry.get("figures", {}):
        return None
    pairs, found, each = comparisons([entry]), leads(entry), part(entry, "worlds")
    worlds = f"{each.world.nunique()} worlds, each with its own people, forgeries and cameras"
    groups = list(corrected(pairs).groupby(["a", "b"], sort=False))
    told = [_so(rows, a, b) for (a, b), rows in groups if rows.so.ne("undecided").any()]
    alike = "; ".join(f"{a} and {b}" for (a, b), rows in groups if rows.so.eq("undecided").all())
    tests = _listed(dict.fromkeys(pairs.test))
    said = f"**No**: over {worlds}, none of these pairs is told apart on {tests}: {alike}."
    if told:
        rest = f" Not told apart on {tests}: {alike}." if alike else ""
        said = f"**Yes**: over {worlds}, {'; '.join(told)}.{rest}"
    above, below = alone(entry)
    said += f" Taken one world at a time, {above} of {len(each)} differences have intervals above 0 and {below} below."
    met = found[found.met].test
    aimed = "is met" if found.met.all() else f"is met on {_listed(met)} alone" if len(met) else "is missed"
    best = "; ".join(f"{gap(row)} over {row.b} on {row.test}" for row in found.itertuples())
    numbers = [*_absent(entry), f"The aim of the chosen detector, {CONTROL}, {aimed}: its lead is {best}",
               *(f"{row.a} less {row.b} on {row.test}: {gap(row)}, {_SO[row.so]}"
                 for row in pairs.itertuples())]  # fmt: skip
    return _Answer("Does any lead hold for other people and other forgeries?", said, numbers, "ten_worlds")


_QUESTIONS = (_fails, _better, _control, _elsewhere, _next_method, _rivals, _photographs, _length, _ablation, _carries,
              _split, _independence, _unlabelled, _weights, _fed, _held_out, _alpha, _claims)  # fmt: skip
