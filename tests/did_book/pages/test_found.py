"""What we found: the rows say what the records say, and change with them."""

import copy
import html
import json
import re
from pathlib import Path

import pytest

from did.paper.records import load
from did_book.pages.found import answers, bullets, found_page, of_pages

ROOT = Path(__file__).resolve().parents[3]


def records():
    return load(ROOT / "results")


def part_of(page: str, question: str) -> str:
    """Return the part of a question."""
    (found,) = [each for each in page.split("\n## ")[1:] if each.startswith(question)]
    return found


def short_of(page: str, question: str) -> str:
    return part_of(page, question).split("```")[0]


def difference(entry, b="BCE", test="CDF2"):
    (pair,) = [row for row in entry["differences"]
               if (row["a"], row["b"], row["test"], row["level"]) == ("DID", b, test, "frame")]  # fmt: skip
    return f"{pair['difference']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]"


def of(name, bank="drawn"):
    (entry,) = copy.deepcopy([e for e in records() if e["experiment"] == name and e["bank"] == bank])
    return entry


def test_every_question_has_a_short_answer_its_numbers_and_a_page():
    page = found_page(records())
    parts = page.split("\n## ")[1:]
    assert len(parts) == 18 and page.startswith("# What we found")
    for part in parts:
        question, _, short, *_ = part.splitlines()
        assert question.endswith("?") and "More: [](./" in short
        if not question.startswith("How many of the paper's"):
            assert "\n```{dropdown} The numbers\n- " in part
    assert f"DID − BCE on CDF2: {difference(of('table1_intra_cross'))}" in page


def test_the_figure_that_moves_has_every_systems_numbers():
    part = part_of(found_page(records()), "Does a detector fail on the next forgery")
    values = json.loads(html.unescape(re.search(r'data-values="(.*?)"', part)[1]))
    rows = [row for name in ("table1_intra_cross", "table2_diffusion") for row in of(name)["rows"]
            if (row["row"], row["level"], row["metric"]) == ("DID", "frame", "auc")]  # fmt: skip
    assert [each[0] for each in values["DID"]] == [row["test"] for row in rows] == list(EVERY)
    assert values["DID"][1][1:] == [round(rows[1][key], 3) for key in ("low", "ours", "high")]
    assert "DIRE" not in values  # it does not run here


def test_the_first_answers_are_a_list_for_other_pages():
    lines = answers(records(), "executed/", 4).splitlines()
    assert len(lines) == 4 and all(line.startswith("- **") and "([](executed/" in line for line in lines)
    plain = bullets(records(), 3).splitlines()
    assert len(plain) == 3 and not any("](" in line for line in plain)


def test_each_experiments_page_has_its_answers_or_its_verdict():
    found = of_pages(records())
    assert set(found) <= {entry["experiment"] for entry in records()}
    table = found["table1_intra_cross"]
    assert table.count("**Is ") == table.count("**What ") == 1 and table.startswith("**Does a detec")
    assert found["fig5_domains"] == "\n\n".join(of("fig5_domains")["verdict"])


def test_an_answer_from_a_part_of_its_rows_says_what_is_missing():
    entry = of("what_carries")
    entry["sentences"].append("Not among these runs: an invented row.")
    others = [e for e in records() if e["experiment"] != "what_carries"]
    assert "an invented row" in part_of(found_page([*others, entry]), "Which part carries DID?")


def changed(tests, **to):
    entries = copy.deepcopy(records())
    for entry in entries:
        for row in entry["differences"]:
            if (row["a"], row["b"]) == ("DID", "BCE") and row["test"] in tests:
                row.update(to)
    return short_of(found_page(entries), "Is DID better")


EVERY = ("FF++", "CDF2", "T2I", "I2I", "FS", "FE")


def test_an_answer_follows_its_interval():
    below, above, none = (
        {"difference": d, "low": d - 0.1, "high": d + 0.1, "p": 1e-6 if d else 1.0} for d in (-0.2, 0.2, 0.0)
    )
    assert "DID is **behind** BCE on FF++, CDF2, T2I, I2I, FS and FE. The difference on CDF2 is -0.200 [" in changed(
        EVERY, **below
    )
    assert "DID is **ahead of** BCE on FF++, CDF2, T2I, I2I, FS and FE." in changed(EVERY, **above)
    assert "DID is **not told apart** from BCE on any of 6 tests." in changed(EVERY, **none)
    one = changed(("CDF2",), **above)
    assert "DID is **ahead of** BCE on CDF2, and not told apart from it on the other 5." in one


def test_an_answer_counts_only_what_survives_the_correction_over_its_tests():
    alone = {"difference": 0.2, "low": 0.01, "high": 0.39, "p": 0.04}  # of six, .24 by Holm
    entries = copy.deepcopy(records())
    for row in (row for entry in entries for row in entry["differences"]):
        if (row["a"], row["b"], row["level"]) == ("DID", "BCE", "frame"):
            row.update(alone if row["test"] == "CDF2" else {"difference": 0.0, "low": -0.1, "high": 0.1, "p": 0.9})
    part = part_of(found_page(entries), "Is DID better")
    assert "DID is **not told apart** from BCE on any of 6 tests." in part
    assert "DID − BCE on CDF2: +0.200 [+0.010, +0.390], above 0" in part, "the interval itself is shown as it is"


def test_the_ablation_sorts_what_is_taken_away():
    entry = of("table4_ablation")
    for row in entry["differences"]:
        far = {"w/o T": 0.2, "w/o A_df": -0.2}.get(row["b"], 0.0)
        row.update(difference=far, low=far - 0.1, high=far + 0.1, p=1e-6 if far else 1.0)
    said = short_of(found_page([entry]), "What does DID lose")
    assert (
        "it is **worse** without T; it is **better** without A_df; it is **not told apart from the whole** with" in said
    )
    assert said.split("More:")[0].rstrip().endswith("and any decomposition.")


def test_what_groups_bring_is_a_share_of_what_names_bring():
    entry = of("without_labels")
    for row in entry["differences"]:
        row["difference"] = {"methods named": 0.04, "groups by style": 0.02}.get(row["a"], 0.0)
    said = short_of(found_page([entry]), "Does it work without")
    others = [f"{name} bring 0%" for name in ("groups by residual", "environments", "prototypes", "known corruptions")]
    listed = f"groups by style bring 50%, {', '.join(others)} and random groups bring 0%"
    assert f"On average over the tests, {listed} of what the methods' names bring; the aim was 80%." in said
    for row in entry["differences"]:
        row["difference"] = 0.0
    assert "names bring nothing" in short_of(found_page([entry]), "Does it work without")
    entry["differences"] = [row for row in entry["differences"] if row["a"] != "methods named"]
    assert "Does it work without" not in found_page([entry]), "there is nothing to be a share of"


def test_the_best_on_unseen_methods_is_named_with_what_its_lead_is_worth():
    entry = of("leave_one_out")
    table = entry["figures"]["candidates"]
    at = table["candidate"].index
    for name, auc, low, high in (("(k+1)-way CE", 0.9, None, None), ("DID", 0.8, -0.2, -0.05), ("BCE", 0.7, -0.3, 0.1)):
        table["auc"][at(name)], table["difference_low"][at(name)], table["difference_high"][at(name)] = auc, low, high
    for name in set(table["candidate"]) - {"(k+1)-way CE", "DID", "BCE"}:
        table["auc"][at(name)], table["difference_low"][at(name)], table["difference_high"][at(name)] = 0.6, -0.1, 0.1
    said = short_of(found_page([entry]), "Which detector copes best")
    assert (
        "**(k+1)-way CE**, with an AUC of 0.900" in said and "The interval of its lead over DID lies above 0." in said
    )
    table["auc"][at("DID")] = 0.95
    table["difference"][at("DID")], table["difference_low"][at("DID")], table["difference_high"][at("DID")] = (
        0.05,
        -0.1,
        0.2,
    )
    said = short_of(found_page([entry]), "Which detector copes best")
    assert "**DID**, with" in said and "Its lead over naming the methods alone is +0.050 [-0.100, +0.200]." in said


def test_the_search_for_weights_stands_beside_the_rules():
    entries = [of("loss_weights"), of("leave_one_out")]
    alone = short_of(found_page(entries[:1]), "Can the loss weights")
    search = {**entries[1], "experiment": "weight_search"}
    both = part_of(found_page([entries[0], search]), "Can the loss weights")
    table = search["figures"]["candidates"]
    _, best = max(zip(table["auc"], table["candidate"], strict=True))
    assert f"A plain search on the method left out chooses **{best}**." in both and "A plain search" not in alone
    assert f"- search, DID less {best}: " in both


def by_hand(experiment, aucs, differences, **figures):
    """A record with these frame AUCs, (row, test) -> auc, and differences (a, b, test, difference, half, p)."""
    rows = [{"row": row, "test": test, "level": "frame", "metric": "auc", "ours": auc}
            for (row, test), auc in aucs.items()]  # fmt: skip
    apart = [{"a": a, "b": b, "test": test, "level": "frame", "difference": by, "low": by - half, "high": by + half,
              "p": p} for a, b, test, by, half, p in differences]  # fmt: skip
    return {"experiment": experiment, "title": f"{experiment}: x", "edition": "stand-in", "bank": "drawn",
            "preset": "laptop", "claim": {"quote": "", "where": ""}, "sentences": [], "verdict": [], "rows": rows,
            "differences": apart, "figures": figures}  # fmt: skip


@pytest.mark.parametrize(
    ("cdf2", "diff", "half", "aim"),
    [
        (0.04, 0.06, 0.005, "is met:"),
        (0.04, 0.04, 0.005, "is met on CDF2 alone:"),
        (0.01, 0.04, 0.005, "is missed:"),
        (0.04, 0.06, 0.1, "is missed:"),
    ],
)
def test_worlds_say_what_holds_over_them_what_each_alone_says_and_whether_the_aim_is_met(cdf2, diff, half, aim):
    chosen = "(k+1)-way CE"
    entry = by_hand(
        "ten_worlds", {(row, test): auc for row, auc in (("BCE", 0.6), ("DID", 0.7)) for test in ("CDF2", "DiFF")},
        [(chosen, "BCE", "CDF2", 0.2, 0.01, 0.01), (chosen, "BCE", "DiFF", -0.2, 0.01, 0.01),
         (chosen, "DID", "CDF2", cdf2, half, 0.01), (chosen, "DID", "DiFF", diff, half, 0.01)],
        worlds={"a": [chosen] * 4, "world": [1, 2, 3, 3], "low": [0.1, -0.2, -0.1, 0.2], "high": [0.2, -0.1, 0.1, 0.3]},
    )  # fmt: skip
    said = part_of(found_page([entry]), "Does any lead hold")
    to_bce = f"{chosen} is **ahead of** BCE on CDF2, and **behind** BCE on DiFF"
    to_did = f"; {chosen} is **ahead of** DID on CDF2 and DiFF."
    if half == 0.1:
        to_did = f". Not told apart on CDF2 and DiFF: {chosen} and DID."
    assert f"**Yes**: over 3 worlds, each with its own people, forgeries and cameras, {to_bce}{to_did} Taken" in said
    assert "Taken one world at a time, 2 of 4 differences" in said and "and 1 below." in said
    assert f"The aim of the chosen detector, {chosen}, {aim}" in said
    assert f"its lead is {cdf2:+.3f} [{cdf2 - half:+.3f}, {cdf2 + half:+.3f}] over DID on CDF2" in said
    for row in entry["differences"]:
        row["p"] = 0.02  # four of them, so that none survives Holm's correction
    said = part_of(found_page([entry]), "Does any lead hold")
    assert "none of these pairs is told apart on CDF2 and DiFF: (k+1)-way CE and BCE; (k+1)-way CE and DID." in said


def test_what_carries_did_says_what_is_left_after_a_longer_training():
    first, later = of("what_carries"), of("what_carries_later")
    effects = later["figures"]["effects"]
    effects["so"] = ["behind" if (name, test) == ("T", "DiFF") else "undecided"
                     for name, test in zip(effects["part"], effects["test"], strict=True)]  # fmt: skip
    at = effects["so"].index("behind")
    effects["difference"][at], effects["low"][at], effects["high"][at] = -0.1, -0.15, -0.05
    said = short_of(found_page([first, later]), "Which part carries DID")
    assert "and 4 times as many iterations, these are told from 0: T on DiFF (-0.100 [-0.150, -0.050])." in said
    effects["so"][at] = "undecided"
    assert "told from 0: none." in short_of(found_page([first, later]), "Which part carries DID")
    assert "as many iterations" not in short_of(found_page([first]), "Which part carries DID")


def test_better_data_names_what_survives_the_correction():
    entry = by_hand("better_data", {}, [("light", "usual", "DiFF", 0.1, 0.05, 0.001), ("pairs", "usual", "CDF2", -0.1,
                                        0.05, 0.001), ("averaged", "usual", "DiFF", 0.1, 0.05, 0.04)])  # fmt: skip
    said = short_of(found_page([entry]), "Does better training data help")
    assert "for 3 comparisons, **light** helps on DiFF; **averaged** helps on DiFF; **pairs** costs" in said
    entry["differences"][2]["p"] = 0.06
    assert "averaged" not in short_of(found_page([entry]), "Does better training data help")
    for row in entry["differences"]:
        row["p"] = 0.03  # each of them alone is below .05
    assert "no choice is told apart from" in short_of(found_page([entry]), "Does better training data help")


def test_rivals_that_learnt_nothing_are_named_beside_the_lead_over_them():
    entry = of("table1_intra_cross")

    def rivals(**changed):
        for row in entry["rows"]:
            if row["test"] == "FF++" and row["run_here"]:
                row["ours"] = changed.get(row["row"], 0.9)
        return short_of(found_page([entry]), "How does DID compare with its rivals")

    assert "Below 0.85 on FF++ itself, where they were trained: NoiseDF 0.506. A lead" in rivals(NoiseDF=0.506)
    assert "Below" not in rivals(NoiseDF=0.85)


def test_portraits_have_an_answer_of_their_own_and_leave_the_others_alone():
    entries = [e for e in records() if e["experiment"] in ("table1_intra_cross", "table2_diffusion")]
    both, drawn = (found_page(each).split("\n## ")[1:] for each in
                   (entries, [e for e in entries if e["bank"] == "drawn"]))  # fmt: skip
    (own,) = [each for each in both if each.startswith("Do stand-ins from photographs")]
    assert [each for each in both if each != own] == drawn
    assert f"DID − BCE on CDF2: {difference(of('table1_intra_cross', 'portraits'))}" in own


def test_without_records_the_page_says_what_was_not_asked():
    page = found_page([])
    assert "Not answered yet" in page and "Is DID better" not in page


def test_training_length_is_answered_at_the_longest_length():
    entry = of("training_length")
    found = part_of(found_page([entry]), "Does the comparison depend")
    lengths = entry["figures"]["lengths"]
    iterations = max(lengths["iterations"])
    assert f"After {iterations} iterations with" in found and "[](./training_length)" in found
    columns = (lengths[key] for key in ("row", "system", "iterations"))
    *_, last = (row for row, *what in zip(*columns, strict=True) if what == ["BCE", iterations])
    (pair,) = [d for d in entry["differences"]
               if (d["b"], d["test"], d["level"]) == (last, "CDF2", "frame")]  # fmt: skip
    assert f"on CDF2: {pair['difference']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]" in found


def test_training_length_takes_one_augmentation_if_both_are_as_long():
    entry = of("training_length")
    lengths = entry["figures"]["lengths"]
    kept = [number for number, iterations in enumerate(lengths["iterations"]) if iterations <= 400]
    entry["figures"]["lengths"] = {name: [column[number] for number in kept] for name, column in lengths.items()}
    assert "After 400 iterations with light augmentation" in short_of(found_page([entry]), "Does the comparison depend")


def test_training_length_without_both_detectors_is_not_answered():
    entry = of("training_length")
    entry["figures"]["lengths"] = {name: column[:1] for name, column in entry["figures"]["lengths"].items()}
    assert "Not answered yet" in part_of(found_page([entry]), "Does the comparison depend")
