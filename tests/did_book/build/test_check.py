"""The gates of a built book, each with a fault of its own."""

import pytest

from did_book.build.check import check
from did_book.build.equations import EQUATIONS, anchor

WORDS = "Two bars, one of .500 and one of .700."


LINKS = "".join(
    [
        *(f'<a href="#{code}">c</a><i id="{code}"></i>' for each in EQUATIONS.values() for code in each.code),
        *(
            f'<a href="#{anchor(test)}">t</a><i id="{anchor(test)}"></i>'
            for e in EQUATIONS.values()
            for test in e.tests
        ),
    ]
)
STAMPED = '<div class="cell_output">{}<p class="did-stamp"><span class="did-badge">STAND-IN</span> drawn</p></div>'
SHOWN = STAMPED.format(f'<img src="a.png" alt="{WORDS}">')
NOTICE = '<div class="did-standin">STAND-IN</div>'


@pytest.fixture
def built(tmp_path):
    """Builds a small book; its function takes the article of the page `intro`."""
    toc = tmp_path / "_toc.yml"
    toc.write_text(
        "root: book/intro\nparts:\n- chapters:\n  - file: book/other\n  - file: book/executed/equations\n", "utf-8"
    )
    place = tmp_path / "html"
    (place / "book/executed").mkdir(parents=True)
    (place / "a.png").touch()

    def build(article: str = "", head: str = "", css: str = "") -> list[str]:
        page = "<html><head>{}</head><body><article>{}</article></body></html>"
        for name in ("index", "genindex", "search", "book/other"):
            (place / f"{name}.html").write_text(page.format("", '<h1 id="there">T</h1>'), "utf-8")
        (place / "book/executed/equations.html").write_text(page.format("", LINKS), "utf-8")
        (place / "book/intro.html").write_text(page.format(head, article), "utf-8")
        (place / "did.css").write_text(css, "utf-8")
        return check(place, toc)

    build.place = place
    return build


def test_a_sound_book_has_no_fault(built):
    links = '<a href="other.html#there">x</a><a href="https://doi.org/1">y</a><a href="mailto:a@b">z</a>'
    head = '<link rel="canonical" href="https://example.org"><script src="../a.js"></script>'
    assert built(NOTICE + SHOWN + links, head, "a {background: url(a.png)}") == []


@pytest.mark.parametrize(
    ("article", "fault"),
    [
        ('<a href="nowhere.html">x</a>', "links to nowhere.html, which is not there"),
        ('<a href="other.html#here">x</a>', "links to other.html#here, and there is no such place"),
        ('<a href="#gone">x</a>', "links to #gone, and there is no such place"),
        ('<img src="a.png">', "the picture a.png has no alternative text"),
        ('<img src="a.png" alt="../_images/7f63cdd91190.png">', "the picture a.png has no alternative text"),
        ('<div class="output traceback">ValueError: no</div>', "shows an error: ValueError: no"),
        ('<img src="https://example.org/a.png" alt="' + WORDS + '">', "loads https://example.org/a.png"),
        ("<style>@import '//example.org/a.css'</style>", "loads //example.org/a.css"),
        (SHOWN, "shows stand-in numbers without STAND-IN under its title"),
        (NOTICE + SHOWN.replace("did-badge", ""), "has a stand-in's stamp without a badge"),
        (NOTICE + SHOWN.replace("did-stamp", ""), "has 1 figures and tables, and 0 stamps"),
    ],
)
def test_each_fault_is_named_with_its_page(built, article, fault):
    assert built(article) == [f"book/intro.html: {fault}"]


@pytest.mark.parametrize(
    "head",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<link rel="preload" href="https://example.org/a.woff2">',
    ],
)
def test_what_a_head_loads_from_another_host(built, head):
    (fault,) = built(head=head)
    assert "loads " in fault and "example.org" in fault


def test_a_style_sheet_that_loads_from_another_host(built):
    assert built(css="@font-face {src: url('https://example.org/a.woff2')}") == [
        "did.css: loads https://example.org/a.woff2"
    ]


def test_a_page_that_was_not_built(built):
    built()
    (built.place / "book/other.html").unlink()
    toc = built.place.parent / "_toc.yml"
    assert "book/other.html was not built" in check(built.place, toc)


def test_an_equation_that_is_not_linked(built):
    built()
    page = built.place / "book/executed/equations.html"
    number, equation = next(iter(EQUATIONS.items()))
    page.write_text(page.read_text("utf-8").replace(f'href="#{anchor(equation.tests[0])}"', 'href="#"'), "utf-8")
    faults = check(built.place, built.place.parent / "_toc.yml")
    assert f"book/executed/equations.html: {number} does not link to {equation.tests[0]}" in faults


def test_an_equation_with_another_number_than_the_papers(built):
    built()
    page = built.place / "book/executed/equations.html"
    page.write_text(page.read_text("utf-8") + '<a href="#equation-eq-4" id="equation-eq-4">(8)</a>', "utf-8")
    faults = check(built.place, built.place.parent / "_toc.yml")
    assert faults == ["book/executed/equations.html: equation 4 has the number (8) in its chapter"]
