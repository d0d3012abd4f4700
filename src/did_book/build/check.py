"""Checks of a built book: what a reader would stumble over stops the build, with the page named."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from did.sources import STANDIN
from did_book.build.checkout import listed
from did_book.build.equations import EQUATIONS, anchor

# What makes a browser load something at once, by attribute. A link that a reader may follow is none of it.
_LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
_NOT_LOADED = {"canonical", "alternate", "next", "prev", "search", "index", "author"}
#: Built beside the pages of the table of contents.
KEY_PAGES = ("index", "genindex", "search")


def check(built: Path, toc: Path) -> list[str]:
    """Return every fault of a built book, one sentence each, with its page.

    Args:
        built: the folder with its HTML.
        toc: its table of contents.
    """
    problems = [
        f"{name}.html was not built" for name in (*KEY_PAGES, *listed(toc)) if not (built / f"{name}.html").is_file()
    ]
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(built.rglob("*.html"))}
    anchors = {
        file: {html.unescape(name) for name in re.findall(r"""\b(?:id|name)=["']([^"']+)""", text)}
        for file, text in texts.items()
    }
    # Not the theme's own, nor the listings of the sources, which would take longest.
    pages = {
        file: BeautifulSoup(text, "html.parser")
        for file, text in texts.items()
        if not {"_static", "_modules"} & set(file.relative_to(built).parts)
    }
    for file, soup in pages.items():
        name = file.relative_to(built).as_posix()
        for fault in (*_links(file, soup, anchors), *_pictures(soup), *_errors(soup), *_foreign(soup), *_badge(soup)):
            problems.append(f"{name}: {fault}")
    problems += [f"{file.relative_to(built)}: loads {url}" for file in built.rglob("*.css") for url in _imports(file)]
    equations = built / "book/executed/equations.html"
    if equations in pages:
        problems += _equations(pages[equations])
    return problems


def _links(page: Path, soup: BeautifulSoup, anchors: dict[Path, set[str]]) -> Iterator[str]:
    """Yield links within the book that lead nowhere."""
    for link in soup("a", href=True):
        target = urlsplit(str(link["href"]))
        if target.scheme or target.netloc:
            continue
        file = (page.parent / unquote(target.path)).resolve() if target.path else page
        if not file.exists():
            yield f"links to {link['href']}, which is not there"
        elif target.fragment and file in anchors and unquote(target.fragment) not in anchors[file] | {"top"}:
            yield f"links to {link['href']}, and there is no such place"


def _pictures(soup: BeautifulSoup) -> Iterator[str]:
    """Yield pictures in the text without alternative text.

    A theme's logo with an empty text is decoration.
    """
    article = soup.find("article") or soup
    assert isinstance(article, Tag)
    for picture in article("img"):
        words = str(picture.get("alt") or "")
        if len(words) < 20 or re.search(r"\.(png|svg|jpe?g)$", words):
            yield f"the picture {picture.get('src')} has no alternative text"


def _errors(soup: BeautifulSoup) -> Iterator[str]:
    for error in soup.select(".output.traceback, .output_error, .problematic, .system-message"):
        yield f"shows an error: {error.get_text(' ', strip=True)[:100]}"


def _foreign(soup: BeautifulSoup) -> Iterator[str]:
    """Yield what a browser would fetch from another host."""
    for tag in soup(list(_LOADS)):
        url = str(tag.get(_LOADS[tag.name]) or "")
        if tag.name == "link" and _NOT_LOADED & set(tag.get("rel") or ()):
            continue
        if re.match(r"(https?:)?//", url):
            yield f"loads {url}"
    for style in soup("style"):
        yield from (f"loads {url}" for url in _urls(style.get_text()))


def _urls(css: str) -> list[str]:
    return re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", css)


def _imports(file: Path) -> list[str]:
    return _urls(file.read_text(encoding="utf-8", errors="replace"))


def _badge(soup: BeautifulSoup) -> Iterator[str]:
    """Check that every figure and table of a notebook has its stamp, and its badge if it is from a stand-in."""
    page = soup.find("article")
    if not isinstance(page, Tag):
        return
    shown = [*page.select(".cell_output table.dataframe"), *page.select(".cell_output img")]
    stamps = page.select(".cell_output .did-stamp")
    if len(stamps) < len(shown):
        yield f"has {len(shown)} figures and tables, and {len(stamps)} stamps"
    if any(STANDIN in stamp.get_text() for stamp in stamps):
        if not page.select(".did-standin"):
            yield f"shows stand-in numbers without {STANDIN} under its title"
        if any(STANDIN in stamp.get_text() and not stamp.select(".did-badge") for stamp in stamps):
            yield "has a stand-in's stamp without a badge"


def _equations(soup: BeautifulSoup) -> Iterator[str]:
    """Check that the section of each equation links to code and test, and that the numbers are the paper's.

    Where the links lead is checked by `_links`.
    """
    links = [str(link["href"]) for link in soup("a", href=True)]
    for link in soup("a", href=re.compile(r"#equation-eq-\d+$")):
        printed = str(link["href"]).rsplit("-", 1)[1]
        if link.get_text() != f"({printed})":
            yield f"book/executed/equations.html: equation {printed} has the number {link.get_text()} in its chapter"
    for number, equation in EQUATIONS.items():
        for code in equation.code:
            if not any(link.endswith(f"#{code}") for link in links):
                yield f"book/executed/equations.html: {number} does not link to {code}"
        for test in equation.tests:
            if not any(link.endswith(f"#{anchor(test)}") for link in links):
                yield f"book/executed/equations.html: {number} does not link to {test}"
