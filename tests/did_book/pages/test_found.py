"""What we found: the rows say what the records say, and change with them."""

import copy
from pathlib import Path

from did.paper.records import load
from did_book.pages.found import found_page

ROOT = Path(__file__).resolve().parents[3]


def records():
    return load(ROOT / "results")


def test_every_question_has_its_number_interval_and_page():
    page = found_page(records())
    rows = [line for line in page.splitlines() if line.startswith("| ") and "](./" in line]
    assert len(rows) == 14 and page.startswith("# What we found")
    assert all("](./" in row and "](./" in row for row in rows)
    (table,) = [e for e in records() if e["experiment"] == "table1_intra_cross" and e["bank"] == "drawn"]
    (pair,) = [row for row in table["differences"]
               if (row["a"], row["b"], row["test"], row["level"]) == ("DID", "BCE", "CDF2", "frame")]  # fmt: skip
    assert f"CDF2 {pair['difference']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]" in page


def test_an_answer_from_a_part_of_its_rows_says_what_is_missing():
    page = found_page(records())
    (row,) = [line for line in page.splitlines() if line.startswith("| Which part carries DID?")]
    (entry,) = [e for e in records() if e["experiment"] == "what_carries"]
    missing = [each for each in entry["sentences"] if each.startswith("Not among these runs")]
    assert all(each in row for each in missing)
    entry["sentences"].append("Not among these runs: an invented row.")
    others = [e for e in records() if e["experiment"] != "what_carries"]
    assert "an invented row" in found_page([*others, entry])


def test_an_answer_follows_its_interval():
    entries = copy.deepcopy(records())
    for entry in entries:
        for row in entry["differences"]:
            if (row["a"], row["b"]) == ("DID", "BCE"):
                row.update(difference=-0.2, low=-0.3, high=-0.1)
    (row,) = [line for line in found_page(entries).splitlines() if line.startswith("| Is DID better")]
    assert "**below 0** on " in row and "CDF2 -0.200 [-0.300, -0.100]" in row
    assert "above 0" not in row and "undecided" not in row


def test_rivals_that_learnt_nothing_are_named_beside_the_lead_over_them():
    (entry,) = copy.deepcopy([e for e in records() if e["experiment"] == "table1_intra_cross" and e["bank"] == "drawn"])

    def rivals(**changed):
        for row in entry["rows"]:
            if row["test"] == "FF++" and row["run_here"]:
                row["ours"] = changed.get(row["row"], 0.9)
        (row,) = [line for line in found_page([entry]).splitlines() if line.startswith("| And its rivals")]
        return row

    assert "Below 0.85 on FF++ itself, where they were trained: NoiseDF 0.506. A lead" in rivals(NoiseDF=0.506)
    assert "Below" not in rivals(NoiseDF=0.85)


def test_portraits_have_a_row_of_their_own_and_leave_the_others_alone():
    entries = [e for e in records() if e["experiment"] in ("table1_intra_cross", "table2_diffusion")]
    both = found_page(entries).splitlines()
    drawn = found_page([e for e in entries if e["bank"] == "drawn"]).splitlines()
    (row,) = [line for line in both if line.startswith("| Do stand-ins from photographs")]
    assert [line for line in both if line.startswith("| ") and line != row] == [
        line for line in drawn if line.startswith("| ")
    ]
    (table,) = [e for e in entries if e["experiment"] == "table1_intra_cross" and e["bank"] == "portraits"]
    (pair,) = [d for d in table["differences"]
               if (d["a"], d["b"], d["test"], d["level"]) == ("DID", "BCE", "CDF2", "frame")]  # fmt: skip
    assert f"CDF2 {pair['difference']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]" in row


def test_without_records_the_page_says_what_was_not_asked():
    page = found_page([])
    assert "Not answered yet" in page and "Is DID better" not in page


def test_training_length_is_answered_at_the_longest_length():
    (entry,) = [e for e in records() if e["experiment"] == "training_length"]
    (row,) = [line for line in found_page([entry]).splitlines() if "training length" in line]
    iterations = max(entry["figures"]["lengths"]["iterations"])
    assert f"After {iterations} iterations with" in row and "[](./training_length)" in row
    last = entry["figures"]["lengths"]["row"][entry["figures"]["lengths"]["iterations"].index(iterations)]
    (pair,) = [d for d in entry["differences"]
               if (d["b"], d["test"], d["level"]) == (last, "CDF2", "frame")]  # fmt: skip
    assert f"CDF2 {pair['difference']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]" in row


def test_training_length_takes_one_augmentation_if_both_are_as_long():
    (entry,) = copy.deepcopy([e for e in records() if e["experiment"] == "training_length"])
    lengths = entry["figures"]["lengths"]
    kept = [number for number, iterations in enumerate(lengths["iterations"]) if iterations <= 400]
    entry["figures"]["lengths"] = {name: [column[number] for number in kept] for name, column in lengths.items()}
    (row,) = [line for line in found_page([entry]).splitlines() if "training length" in line]
    assert "After 400 iterations with light augmentation" in row


def test_training_length_without_both_detectors_is_not_answered():
    (entry,) = copy.deepcopy([e for e in records() if e["experiment"] == "training_length"])
    entry["figures"]["lengths"] = {name: column[:1] for name, column in entry["figures"]["lengths"].items()}
    (row,) = [line for line in found_page([entry]).splitlines() if "training length" in line]
    assert "Not answered yet" in row
