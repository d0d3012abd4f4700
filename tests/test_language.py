"""Words that make an English reader stumble do not come back; words that people search for are there."""

import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What -> what to write instead. The patterns are for prose: docstrings, comments, messages, pages and cells of text.
AVOID = {
    r"\b(?:stands|stood)\b(?! for)|\bstand (?:beside|under|in for|on|here|there)\b": "is, are, is shown",
    r"\b(?:alive|dead)\b|\bT (?:dies|lives)\b": "learns, has collapsed",
    r"\bjudges?\b": "scores, measures, decides",
    r"(?<!\")\bgates?\b(?!\")": "checks, factors",
    r"\brooms?\b": "folders",
    r"(?<!there )(?<!There )\b(?:is|are) no (?!longer\b|larger\b|faster\b|later\b|more\b)[a-z]": "is not a",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bholds? 0\b": "contains 0",
    r"\b[Oo]ne (?:row|line) a\b": "one row per",
    r"\bwhoever\b": "anyone who",
    r"\basks? nobody\b": "does not ask",
}
# Words that people search for in the reference.
FIELD = "atomic bounding-box cache checkpoint chance held-out lock per-frame resume seed worker".split()


def prose() -> Iterator[tuple[str, str]]:
    """Where -> text, of everything that a reader reads."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                yield f"{path.relative_to(ROOT)}:{token.start[0]}", token.string
    for path in [*ROOT.glob("*.md"), *(ROOT / "book").glob("*.md")]:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield path.name, "".join(cell["source"])


PROSE = list(prose())


@pytest.mark.parametrize("pattern", AVOID)
def test_an_awkward_word_does_not_come_back(pattern):
    found = [
        f"{where}: ...{text[max(0, match.start() - 40) : match.end() + 30]}...".replace("\n", " ")
        for where, text in PROSE
        for match in re.finditer(pattern, text)
    ]
    assert not found, f"write {AVOID[pattern]} instead:\n" + "\n".join(found)


@pytest.mark.parametrize("word", FIELD)
def test_a_word_that_people_search_for_is_there(word):
    pattern = word.replace("-", "[- ]")
    assert any(re.search(rf"\b{pattern}", text, re.I) for _, text in PROSE)


@pytest.mark.parametrize(
    "sentence", ["The rates stand beside it.", "It is no proof.", "An interval that holds 0", "One row a video."]
)
def test_a_planted_word_is_found(sentence):
    assert any(re.search(pattern, sentence) for pattern in AVOID)
