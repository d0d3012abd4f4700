"""The built book as one PDF: each page printed by Chromium, with a bookmark for each chapter."""

import io
import os
from pathlib import Path

from tqdm import tqdm

from did.errors import DidError
from did.utils.files import writable, write_atomically
from did_book.build.checkout import TOC, listed, ready

CHROMIUM = "/usr/bin/chromium"


def write_pdf(root: Path, file: Path) -> int:
    """Print the book.

    Args:
        root: the project, whose book is built.
        file: the PDF.

    Returns:
        The number of pages.

    Raises:
        DidError: If there is no checkout; a folder that cannot be written; no built book, no Chromium (`CHROMIUM` in
            the environment names it; by default /usr/bin/chromium), or no packages of `crossdf[browser]`.
    """
    ready(root)
    writable(file.parent)
    try:
        from playwright.sync_api import Error, sync_playwright
        from pypdf import PdfReader, PdfWriter
    except ImportError as error:
        raise DidError("a PDF needs more packages: pip install 'crossdf[browser]', or `make book-pdf`") from error
    pages = [root / "_build/html" / f"{name}.html" for name in listed(root / TOC)]
    for page in pages:
        if not page.is_file():
            raise DidError(f"there is no {page}: `make book` builds it")
    chromium = os.environ.get("CHROMIUM", CHROMIUM)
    writer = PdfWriter()
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        except Error as error:
            raise DidError(f"{chromium} does not start: name a Chromium in the environment's CHROMIUM") from error
        tab = browser.new_page(color_scheme="light", offline=True)
        for page in tqdm(pages, desc="printing", unit="page"):
            tab.goto(page.as_uri(), wait_until="load")
            # MathJax, where there is any, answers when it is done.
            tab.evaluate("() => window.MathJax?.startup?.promise")
            # Paper does not unfold.
            tab.evaluate("() => document.querySelectorAll('.did-stamp details').forEach(stamp => stamp.open = true)")
            printed = PdfReader(io.BytesIO(tab.pdf(format="A4", scale=0.75, margin={"top": "15mm", "bottom": "15mm"})))
            start = len(writer.pages)
            writer.append(printed, import_outline=False)
            writer.add_outline_item(title=tab.title().split(" — ")[0], page_number=start)
        browser.close()
    write_atomically(file, lambda path: writer.write(path))
    return len(writer.pages)
