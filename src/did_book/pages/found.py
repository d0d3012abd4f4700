"""The page "What we found": one row per question, each with number, interval and link, computed from the records."""

from collections.abc import Sequence

import pandas as pd

from did.paper.beyond import judged
from did.paper.records import Record, comparisons, frame, kind, part
from did.paper.tables import gap
from did.paper.verdicts import claims, unlearnt

_SO = {"ahead": "above 0", "behind": "below 0", "undecided": "undecided"}
_INTRO = """# What we found

The answers of this copy of the book, from its records. All numbers are from **{kinds}**: they tell how the method
behaves here, and reproduce no number of the paper. Each row names the page that has its seeds, people and protocol, and
the published numbers. AUCs are per frame, with 95% intervals over people and seeds; a difference is *undecided* if its
interval contains 0.
"""


def found_page(entries: Sequence[Record]) -> str:
    """Return the page as MyST text.

    Args:
        entries: records; of several of an experiment, the first one from drawn faces is taken.
    """
    kinds = ", ".join(dict.fromkeys(kind(entry) for entry in _by_experiment(entries).values()))
    return f"{_INTRO.format(kinds=kinds)}\n{answers(entries)}"


def answers(entries: Sequence[Record], folder: str = "./", most: int | None = None) -> str:
    """Return the table of questions and answers.

    Args:
        entries: records, as for `found_page`.
        folder: where its links lead to, from the page that shows it.
        most: questions, the first ones; None for all.
    """
    lines = [f"| {question} | {answer} | []({folder}{page}) |" for question, answer, page in _rows(entries, most)]
    return "\n".join(["| question | answer here | where |", "|---|---|---|", *lines]) + "\n"


def bullets(entries: Sequence[Record], most: int) -> str:
    """Return the first questions and answers as a list, without links, for pages outside the book.

    Args:
        entries: records, as for `found_page`.
        most: questions.
    """
    return "\n".join(f"- *{question}* {answer}" for question, answer, _ in _rows(entries, most))


def _rows(entries: Sequence[Record], most: int | None) -> list["_Row"]:
    """Return (question, answer, page) of the first questions that these records answer."""
    of = _by_experiment(entries)
    return [row for make in _QUESTIONS for row in [make(of)] if row][:most]


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
    return f"{row.ours:.3f} [{row.low:.3f}, {row.high:.3f}]"


def _pairs(entry: Record, a: str, b: str) -> pd.DataFrame:
    found = comparisons([entry])
    return found[(found.a == a) & (found.b == b)]


def _told(found: pd.DataFrame) -> str:
    """Say the differences by what they tell, those that tell something first."""
    said = []
    for so, words in _SO.items():
        each = [f"{row.test} {gap(row)}" for row in found[found.so == so].itertuples()]
        said += [f"**{words}** on {', '.join(each)}"] if each else []
    return "; ".join(said)


_Row = tuple[str, str, str]


def _fails(of: dict[str, Record]) -> _Row | None:
    if "table1_intra_cross" not in of:
        return None
    auc = _auc(of["table1_intra_cross"])
    own, other = (auc.loc["BCE", test] for test in ("FF++", "CDF2"))
    answer = "Yes" if other.high < own.low else "Not clearly"
    said = f"{answer}: BCE has {_number(own)} on its own data set and {_number(other)} on the next."
    return "Does a detector fail on the next forgery?", said, "table1_intra_cross"


def _better(of: dict[str, Record]) -> _Row | None:
    told = _both_tables(of, "DID", "BCE")
    return ("Is DID better than BCE, and where?", f"DID − BCE: {told}.", "table1_intra_cross") if told else None


def _both_tables(of: dict[str, Record], a: str, b: str) -> str:
    """Say what Tables 1 and 2 tell of a pair, together."""
    found = [_pairs(of[name], a, b) for name in ("table1_intra_cross", "table2_diffusion") if name in of]
    return _told(pd.concat(found)) if any(map(len, found)) else ""


def _control(of: dict[str, Record]) -> _Row | None:
    told = _both_tables(of, "DID", "(k+1)-way CE")
    if not told:
        return None
    question = "Is it the decomposition, or knowing the methods' names?"
    return question, f"DID less a plain backbone with (k+1)-way cross-entropy: {told}.", "table1_intra_cross"


def _rivals(of: dict[str, Record]) -> _Row | None:
    """Sort the rivals that have a row of their own by what DID less each of them tells on Celeb-DF."""
    if "table1_intra_cross" not in of:
        return None
    found = comparisons([of["table1_intra_cross"]])
    found = found[(found.a == "DID") & (found.test == "CDF2") & ~found.b.isin(["BCE", "(k+1)-way CE", "Xception"])]
    if not len(found):
        return None
    told = []
    for so, words in (("ahead", "ahead of"), ("behind", "behind"), ("undecided", "not told from")):
        each = [f"{row.b} {gap(row)}" for row in found[found.so == so].sort_values("difference").itertuples()]
        told += [f"**{words}** {', '.join(each)}"] if each else []
    said = " ".join([f"On CDF2, DID is {'; '.join(told)}.", *unlearnt(of["table1_intra_cross"])])
    return "And its rivals, trained side by side?", said, "rivals"


def _ablation(of: dict[str, Record]) -> _Row | None:
    if "table4_ablation" not in of:
        return None
    full = "DID, T's own step × 1"
    parts = [
        (name, _pairs(of["table4_ablation"], full, name))
        for name in ("w/o T", "w/o A_dom", "w/o A_dom and L_dom", "w/o the AUC loss", "w/o A_df", "no decomposition")
    ]
    told = "; ".join(f"{name}: {_told(found)}" for name, found in parts if len(found))
    return "What does DID lose without one of its parts?", f"The whole less {told}.", "table4_ablation"


def _split(of: dict[str, Record]) -> _Row | None:
    if "fig7_embeddings" not in of:
        return None
    said = [
        sentence for sentence in of["fig7_embeddings"]["sentences"] if sentence.startswith(("From I_df", "The domain"))
    ]
    return "Does the split make I_df independent of the method?", " ".join(said), "fig7_embeddings"


def _alpha(of: dict[str, Record]) -> _Row | None:
    if "fig4_alpha" not in of:
        return None
    found = comparisons([of["fig4_alpha"]])
    told = "; ".join(f"α = .5 less {row.b}: **{_SO[row.so]}**, {gap(row)}" for row in found.itertuples())
    return "Is α = .5 the best mixture of both losses?", f"{told}.", "fig4_alpha"


def _claims(of: dict[str, Record]) -> _Row | None:
    every = [claims(entry) for entry in of.values() if entry["claim"]["quote"]]
    found = pd.concat([each for each in every if len(each)], ignore_index=True) if any(map(len, every)) else None
    if found is None:
        return None
    counts = found.verdict.value_counts()
    plural = {"holds": "hold", "does not hold": "do not hold"}
    said = ", ".join(f"{number} {plural.get(name, name)}" for name, number in counts.items())
    return (
        "How many of the paper's comparisons hold here?",
        f"Of {len(found)} pairs of which the paper has the first ahead: {said} (p values corrected by Holm within each "
        "claim). On stand-ins, *ruled out* speaks of the stand-in.",
        "paper_against_ours",
    )


def _photographs(of: dict[str, Record]) -> _Row | None:
    entries = [of[name + _PORTRAITS] for name in ("table1_intra_cross", "table2_diffusion") if name + _PORTRAITS in of]
    told = []
    for other in ("BCE", "(k+1)-way CE"):
        pairs = [_pairs(entry, "DID", other) for entry in entries]
        found = pd.concat(pairs) if pairs else pd.DataFrame()
        told += [f"DID − {other}: {_told(found)}"] if len(found) else []
    if not told:
        return None
    seeds = len(entries[0]["seeds"])
    question = "Do stand-ins from photographs say the same?"
    return question, f"{'. '.join(told)} ({seeds} seeds, fewer people).", "paper_against_ours"


def _length(of: dict[str, Record]) -> _Row:
    question, page = "Is it a matter of training length?", "training_length"
    lengths = part(of[page], "lengths") if page in of else pd.DataFrame(columns=["system", "iterations"])
    longest = lengths[lengths.iterations == lengths.iterations.max()]
    if not {"DID", "BCE"} <= set(longest.system):
        return question, "Not answered yet: all runs here have the preset's length, which is short.", page
    how = longest.augmentation.iloc[-1]  # with augmentation, if both ways were trained that long
    alike = lengths[lengths.augmentation == how]
    first, last = (alike[alike.iterations == each].set_index("system").row
                   for each in (alike.iterations.min(), alike.iterations.max()))  # fmt: skip
    pairs = {name: _pairs(of[page], last["DID"], row) for name, row in last.drop("DID").items()}
    told = [f"DID − {name}: {_told(found)}" for name, found in pairs.items() if len(found)]
    auc = _auc(of[page])
    grown = " to ".join(_number(auc.loc[rows["BCE"], "CDF2"]) for rows in (first, last))
    answer = (
        f"After {alike.iterations.max()} iterations {'without' if how == 'none' else f'with {how}'} augmentation, "
        f"{'; '.join(told)}. From {alike.iterations.min()} iterations to these, BCE itself goes on CDF2 from {grown}."
    )
    return question, answer, page


def _with_absent(said: str, entry: Record) -> str:
    """Return an answer and, if its record lacks rows, the sentence that names them."""
    return " ".join([said, *(each for each in entry["sentences"] if each.startswith("Not among these runs"))])


def _carries(of: dict[str, Record]) -> _Row | None:
    """Say which parts add something on other data, over all combinations of them."""
    if "effects" not in of.get("what_carries", {}).get("figures", {}):
        return None
    found = part(of["what_carries"], "effects").query("test != 'FF++'")
    clear = found[found.so != "undecided"]
    named = "; ".join(f"**{row.part}** on {row.test} {gap(row)}" for row in clear.itertuples())
    others = [name for name in dict.fromkeys(found.part) if name not in set(clear.part)]
    told = f"Over combinations of the parts, on other data: {named or 'none is told from 0'}."
    more = f" Not told from 0 on either test: {', '.join(others)}." if named and others else ""
    return "Which part carries DID?", _with_absent(told + more, of["what_carries"]), "what_carries"


def _independence(of: dict[str, Record]) -> _Row | None:
    entry = of.get("independence", {})
    if "dependence" not in entry.get("figures", {}):
        return None
    found = judged(part(entry, "dependence"))
    met = list(found.index[found.reached])
    best = found.critic.idxmin()
    said = (
        f"Reached by {', '.join(met)}." if met else
        f"Not reached by any of {len(found)} measures: a critic trained afresh is right in at least "
        f"{found.critic[best]:.3f} of cases ({best})."
    )  # fmt: skip
    pairs = comparisons([entry])
    counts = pairs.so.value_counts()
    told = (
        f"Of {len(pairs)} differences to DID without T, {counts.get('ahead', 0)} lie above 0 and "
        f"{counts.get('behind', 0)} below."
    )
    answer = _with_absent(f"{said} {told}", entry)
    return "Can the halves be made independent, and does it help?", answer, "independence"


def _unlabelled(of: dict[str, Record]) -> _Row | None:
    sentences = of.get("without_labels", {}).get("sentences", [])
    begins = ("No test shows", "methods named")
    said = [each for each in sentences if "of what the names bring" in each or each.startswith(begins)]
    if not said:
        return None
    answer = _with_absent(" ".join(said), of["without_labels"])
    return "Does it work without the methods' names?", answer, "without_labels"


def _weights(of: dict[str, Record]) -> _Row | None:
    if "loss_weights" not in of:
        return None
    found = comparisons([of["loss_weights"]])
    rules = found.groupby("a", sort=False).so.apply(set)
    groups = {
        "better": [name for name, so in rules.items() if "ahead" in so and "behind" not in so],
        "not as good": [name for name, so in rules.items() if "behind" in so],
        "not told from them": [name for name, so in rules.items() if so == {"undecided"}],
    }
    told = "; ".join(f"**{words}**: {', '.join(names)}" for words, names in groups.items() if names)
    answer = _with_absent(f"Against the paper's weights, {told}.", of["loss_weights"])
    return "Can the loss weights find themselves?", answer, "loss_weights"


_QUESTIONS = (_fails, _better, _control, _rivals, _photographs, _length, _ablation, _carries, _split, _independence,
              _unlabelled, _weights, _alpha, _claims)  # fmt: skip
