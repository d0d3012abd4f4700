"""What the PDF needs. The printing itself takes Chromium: `make book-pdf`."""

import sys

import pytest

from did.book.pdf import write_pdf
from did.errors import DidError


def test_without_its_packages_it_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(DidError, match="^a PDF needs more packages: .*make book-pdf"):
        write_pdf(tmp_path, tmp_path / "_toc.yml", tmp_path / "did.pdf")


def test_without_a_book_it_names_the_page(tmp_path):
    pytest.importorskip("playwright.sync_api")
    pytest.importorskip("pypdf")
    toc = tmp_path / "_toc.yml"
    toc.write_text("root: book/intro\nparts: []\n", "utf-8")
    with pytest.raises(DidError, match="^there is no .*book/intro.html: `make book` builds it"):
        write_pdf(tmp_path, toc, tmp_path / "did.pdf")
    assert not (tmp_path / "did.pdf").exists()
