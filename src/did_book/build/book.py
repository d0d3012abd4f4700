"""`make book`: execute what is stale, write the pages, let Jupyter Book build them, and check what was built."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from did.errors import DidError
from did_book.build.check import check
from did_book.build.checkout import TOC, ready
from did_book.build.notebooks import EXECUTED, execute, write_pages
from did_book.pages.try_it import MADE, PLACED


def build(
    root: Path, given: Mapping[str, Any], committed: bool = False, student: bool = False, repository: str = ""
) -> Path:
    """Build the book.

    Args:
        root: the project.
        given: parameters of the notebooks, such as preset and source.
        committed: from the committed notebooks, without executing any.
        student: without solutions, and without the notebooks to download, which hold them.
        repository: `owner/name` on GitHub: each chapter gets buttons that open its notebook on Binder and Colab.

    Returns:
        The folder with the HTML.

    Raises:
        DidError: If there is no checkout, or one that cannot be written, before any work; a notebook that fails, a
            warning of the build, or a fault that `check` finds. A book that was built before is then no longer there,
            so that nobody takes it for this one.
    """
    place = root / "_build/student" if student else root
    made = () if committed else ("runs/book", "data", "results")
    ready(root, str(place.relative_to(root) / "_build"), EXECUTED, *made)
    html = place / "_build/html"
    shutil.rmtree(html, ignore_errors=True)
    if not committed:
        execute(root, given)
    write_pages(root, given, committed, repository)
    config = place / "_build/config.yml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(_config(root, student), encoding="utf-8")
    program = str(Path(sys.executable).with_name("jupyter-book"))
    options = ["--toc", TOC, "--config", str(config), "--path-output", str(place), "-W", "--keep-going"]
    done = subprocess.run([program, "build", ".", *options], cwd=root, check=False)
    if done.returncode:
        shutil.rmtree(html, ignore_errors=True)
        # Sphinx would not repeat the warnings of pages that it has read.
        shutil.rmtree(place / "_build/.doctrees", ignore_errors=True)
        raise DidError("the book is not built: Jupyter Book names the page and the reason above")
    # Sphinx itself would copy them only with a page that has changed.
    shutil.copytree(root / "book/_static", html / "_static", dirs_exist_ok=True)
    if (root / MADE / "card.js").is_file():
        shutil.copytree(root / MADE, html / PLACED, dirs_exist_ok=True)
    if problems := check(html, root / TOC):
        shutil.rmtree(html)
        raise DidError("the book does not pass its checks:\n" + "\n".join(f"- {problem}" for problem in problems))
    return html


def _config(root: Path, student: bool) -> str:
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    if student:
        config["sphinx"]["config"] |= {"hide_solutions": True, "html_copy_source": False}
        config["sphinx"]["config"]["html_theme_options"]["use_download_button"] = False
    return yaml.safe_dump(config, allow_unicode=True)
