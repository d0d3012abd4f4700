"""Text from files where it is read as Markdown or HTML: what a browser shows is the text, and nothing else happens."""

import html
import os

import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from did.utils.words import bullets, code, credited, line, plain, quoted

HOSTILE = {
    "element": "<img src=x onerror=alert(1)>",
    "script": "</p><script>alert(1)</script>",
    "quotes": "\" onload=alert(1) x='y",
    "backticks": "`a` ``b`` ```\n```{raw} html\n<b>\n```",
    "pipes": "a | b |\n|---|---|\n| c | d |",
    "lines": "one\n\n# two\n\n- three\r\nfour\x0bfive\u2028six",
    "emphasis": "*a* **b** _c_ __d__ ~~e~~",
    "links": "[a](javascript:alert(1)) ![b](http://example.org/b.png) [c]: d <http://example.org> [^e]",
    "references": "&lt;b&gt; &#60;b&#62; &amp;",
    "maths": r"$a$ $$b$$ \(c\) \[d\] \\",
    "myst": "{math}`a` {{ b }} @c %d ^e^ (f)=",
    "not UTF-8": os.fsdecode(b"caf\xe9.mp4"),
    "control": "a\x00b\x1b[31mc\x7f\u202ed",
    "plain": "stand-in for FaceForensics++ (c23), 95%: .5; commit abc+changes é × Î https://example.org/a",
}


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys())
def text(request):
    return request.param


def rendered(markdown: str) -> BeautifulSoup:
    """As myst-nb reads the Markdown of an output, and as Jupyter does: with tables and strikethrough."""
    one, other = MarkdownIt("commonmark"), MarkdownIt("gfm-like", {"linkify": False, "html": True})
    assert one.render(markdown) == other.render(markdown)
    return BeautifulSoup(one.render(markdown), "html.parser")


def tags(soup: BeautifulSoup) -> list[str]:
    return [tag.name for tag in soup(True)]


def shown(tag) -> str:
    return tag.get_text().strip("\n")


def test_plain_is_one_line_that_can_be_printed_and_written(text):
    found = plain(text)
    assert found.isprintable()
    found.encode("utf-8")
    assert plain(found) == found


def test_plain_changes_nothing_else():
    assert plain(HOSTILE["plain"]) == HOSTILE["plain"]
    assert plain(os.fsdecode(b"caf\xe9.mp4")) == "caf\\xe9.mp4"
    assert plain("a\nb") == "a\\nb"


def test_in_markdown_it_is_read_as_itself(text):
    soup = rendered(f"Before {line(text)} after")
    assert tags(soup) == ["p"]
    assert shown(soup.p) == f"Before {plain(text)} after"


def test_in_html_and_in_its_attributes_it_is_read_as_itself(text):
    for quote in "\"'":
        soup = BeautifulSoup(f"<p title={quote}{quoted(text)}{quote}>{quoted(text)}</p>", "html.parser")
        assert tags(soup) == ["p"] and soup.p.attrs == {"title": plain(text)}
        assert soup.p.get_text() == plain(text)


def test_the_quotation_is_undone(text):
    assert html.unescape(quoted(text)) == plain(text)


def test_what_needs_no_quotation_has_none():
    assert quoted(HOSTILE["plain"]) == HOSTILE["plain"]


def test_code_is_read_as_itself(text):
    soup = rendered(f"With {code(text)}.")
    assert tags(soup) == ["p", "code"]
    assert shown(soup.code) == plain(text)


@pytest.mark.parametrize("odd", ["", " ", "`", "``", " `x` "])
def test_code_of_next_to_nothing(odd):
    soup = rendered(f"With {code(odd)}.")
    assert tags(soup) == ["p", "code"]
    assert soup.code.get_text().strip() == odd.strip()


def test_each_sentence_is_a_line_of_a_list(text):
    soup = rendered(bullets([f"First {text}", f"Second {text}"]))
    assert tags(soup) == ["ul", "li", "li"]
    assert [shown(item) for item in soup("li")] == [f"First {plain(text)}", f"Second {plain(text)}"]


def test_a_credit_stands_after_its_data(text):
    soup = rendered(credited((f"data {text}", f"by {text}"), ("more", "")))
    assert tags(soup) == ["blockquote", "p", "strong", "br", "strong"]
    first, second = soup("strong")
    assert first.get_text() == f"data {plain(text)}" and second.get_text() == "more"
    assert soup.p.get_text().startswith(f"data {plain(text)} by {plain(text)}")


def test_a_notebook_shows_it_as_markdown():
    assert credited(("a", "b"))._repr_markdown_() == "> **a** b"
    assert type(line("a")._repr_markdown_()) is str
