"""The result at the top of README: it is what the record says, and it changes with the record."""

import copy
import json
import shutil
from pathlib import Path

import pytest

from did.errors import DidError
from did.paper.records import load
from did_book.pages import front

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def entry():
    return json.loads((ROOT / "results" / front.RECORD).read_text(encoding="utf-8"))


def with_difference(entry, difference, low, high):
    other = copy.deepcopy(entry)
    for row in other["differences"]:
        if (row["a"], row["b"], row["test"], row["level"]) == ("DID", "BCE", "CDF2", "frame"):
            row.update(difference=difference, low=low, high=high)
    return other


def test_readme_says_what_the_record_says(entry):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = front.block(entry, load(ROOT / "results"))
    assert front.written(readme) == found, "run `did book front`"
    asked = [line for line in found.splitlines() if line.startswith("- *")]
    assert len(asked) == front.IN_README and asked[0].startswith(
        "- *Does a detector fail on the next forgery?* **Yes**"
    )


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.05, "DID is ahead"), (-0.05, -0.01, "DID is behind"), (-0.01, 0.05, "do not tell which")],
)
def test_the_sentence_follows_the_interval(entry, low, high, words):
    said = front.sentences(with_difference(entry, 0.02, low, high))
    assert words in said and f"+0.020 [{low:+.3f}, {high:+.3f}]" in said
    assert said.count(". ") == 1, "two sentences"


def test_the_figure_shows_how_far_each_detector_falls(entry):
    plot = front.figure(entry)
    assert [label.get_text() for label in plot.figure.axes[0].get_yticklabels()] == list(front.SHOWN)
    falls = [each for each in plot.figure.axes[0].texts if each.arrow_patch is not None]
    assert len(falls) == len(front.SHOWN)  # On this record each interval on CDF2 lies below the one on FF++.
    other = copy.deepcopy(entry)
    for row in other["rows"]:
        if row["row"] == "DID" and row["test"] == "CDF2":
            row["high"] = 0.99
    assert len(front.figure(other).figure.axes[0].texts) == len(plot.figure.axes[0].texts) - 1
    assert plot.alt.count(";") == len(plot.data) - 1 and "DID on CDF2: 0." in plot.alt
    assert plot.stamp.startswith("STAND-IN (drawn). trained on stand-in for FaceForensics++")


def test_it_is_written_between_the_marks(entry, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "book/images").mkdir(parents=True)
    shutil.copy(ROOT / "README.md", tmp_path)
    other = with_difference(entry, 0.5, 0.4, 0.6)
    (tmp_path / "results" / front.RECORD).write_text(json.dumps(other), encoding="utf-8")
    front.write(tmp_path)
    before, after = (folder.joinpath("README.md").read_text(encoding="utf-8") for folder in (ROOT, tmp_path))
    assert "+0.500 [+0.400, +0.600]" in after
    assert before.split("<!--")[0] == after.split("<!--")[0] and before.split("-->")[-1] == after.split("-->")[-1]
    assert (tmp_path / front.FIGURE).read_bytes().startswith(b"\x89PNG")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DidError, match="no record in"):
        front.record(tmp_path)
    with pytest.raises(DidError, match=r"README\.md lacks the marks"):
        front.written("nothing")


def test_the_books_first_page_has_the_sentences_the_figure_and_the_first_answers(entry):
    text = front.result(ROOT)
    assert (
        text.startswith(front.sentences(entry)) and "```{image} images/result.png\n:alt: AUC per frame: BCE on" in text
    )
    questions = [line for line in text.splitlines() if line.startswith("- **") and line.endswith("))")]
    assert len(questions) == front.QUESTIONS and all("](executed/" in line for line in questions)
