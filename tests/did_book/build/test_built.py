"""The whole book, built from the committed notebooks in a copy of the project, with every warning an error and every
gate of `did_book.build.check`; and what a broken page does to it."""

import re
import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from did.errors import DidError
from did_book.build.book import build

ROOT = Path(__file__).resolve().parents[3]
PARTS = (
    "_config.yml",
    "benchmarks/results",
    "results",
    "book",
    "notebooks",
    "examples",
    "src",
    "tests",
    "requirements.lock",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with its book."""
    root = tmp_path_factory.mktemp("project")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("executed", "__pycache__"))
        else:
            shutil.copy(ROOT / part, root / part)
    build(root, {"preset": "smoke"}, committed=True)
    return root


def article(root: Path, page: str) -> BeautifulSoup:
    found = BeautifulSoup((root / "_build/html" / f"{page}.html").read_text(encoding="utf-8"), "html.parser").article
    assert found
    return found


def test_it_passes_its_gates_and_has_every_part(project):
    table = article(project, "book/executed/table1_intra_cross")
    assert table.select(".did-standin"), "no notice of the stand-in"
    pictures = table.select(".cell_output img")
    assert pictures
    assert all(len(picture["alt"]) > 60 and re.search(r"\d\.\d{3}", picture["alt"]) for picture in pictures)
    assert all(head.has_attr("scope") for head in table.select("table.dataframe th"))
    links = table.select("a[download]")
    assert len(links) >= len(pictures) and all(link["href"].startswith("data:text/csv;base64,") for link in links)
    method = article(project, "book/executed/method_4_ranking")
    assert method.select(".math") and method.select(".exercise") and method.select(".solution")
    assert article(project, "book/teachers").find("td", string="laptop"), "no timings"


def test_a_broken_citation_stops_it_and_is_named(project, capfd):
    page = project / "book/ethics.md"
    sound = page.read_text(encoding="utf-8")
    page.write_text(sound + "\nAs {cite:t}`nobody2020` says.\n", encoding="utf-8")
    try:
        with pytest.raises(DidError, match="^the book is not built: Jupyter Book names the page and the reason above"):
            build(project, {"preset": "smoke"}, committed=True)
        printed = "".join(capfd.readouterr())
        assert "nobody2020" in printed and "ethics.md" in printed
        assert not (project / "_build/html/index.html").exists(), "an old book stands in for the one that failed"
    finally:
        page.write_text(sound, encoding="utf-8")


@pytest.mark.slow
def test_a_link_that_leads_nowhere_stops_it(project):
    page = project / "book/ethics.md"
    sound = page.read_text(encoding="utf-8")
    page.write_text(sound + '\n<a href="nowhere.html#x">x</a>\n', encoding="utf-8")
    try:
        with pytest.raises(DidError, match=r"- book/ethics.html: links to nowhere.html#x, which is not there"):
            build(project, {"preset": "smoke"}, committed=True)
    finally:
        page.write_text(sound, encoding="utf-8")


@pytest.mark.slow
def test_the_student_edition_has_no_solution(project):
    student = build(project, {"preset": "smoke"}, committed=True, student=True)
    chapter = article(project / "_build/student", "book/executed/method_4_ranking")
    assert chapter.select(".exercise") and not chapter.select(".solution")
    assert not list(student.rglob("*.ipynb")), "the notebooks to download hold the solutions"
