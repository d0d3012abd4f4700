"""What the PDF needs. The printing itself takes Chromium: `make book-pdf`."""

import sys

import pytest

from did.errors import DidError
from did_book.build.pdf import write_pdf


@pytest.fixture
def project(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    (tmp_path / "book/_toc.yml").write_text("root: book/intro\nparts: []\n", "utf-8")
    return tmp_path


def test_without_its_packages_it_names_the_command(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(DidError, match="^a PDF needs more packages: .*make book-pdf"):
        write_pdf(project, project / "did.pdf")


def test_without_a_book_it_names_the_page(project):
    pytest.importorskip("playwright.sync_api")
    pytest.importorskip("pypdf")
    with pytest.raises(DidError, match="^there is no .*book/intro.html: `make book` builds it"):
        write_pdf(project, project / "did.pdf")
    assert not (project / "did.pdf").exists()
