"""The result at the top of README: it is what the record says, and it changes with the record."""

import copy
import json
import shutil
from pathlib import Path

import pytest

from did.errors import DidError
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
    assert front.written(readme) == front.block(entry), "run `did book front`"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.05, "DID is ahead"), (-0.05, -0.01, "DID is behind"), (-0.01, 0.05, "do not tell which")],
)
def test_the_sentence_follows_the_interval(entry, low, high, words):
    said = front.sentences(with_difference(entry, 0.02, low, high))
    assert words in said and f"+0.020 [{low:+.3f}, {high:+.3f}]" in said
    assert said.count(". ") == 1, "two sentences"


def test_the_figure_has_every_row_that_ran(entry):
    plot = front.figure(entry)
    ran = {row["row"] for row in entry["rows"] if row["run_here"]}
    assert {label.get_text() for label in plot.figure.axes[0].get_yticklabels()} == ran
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
