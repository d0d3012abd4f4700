"""What the book needs before any work: a checkout of the project, and folders in it that can be written."""

from pathlib import Path

import yaml

from did.errors import DidError
from did.utils.files import writable

TOC = "book/_toc.yml"


def listed(toc: Path) -> list[str]:
    """Return the pages of a table of contents, in its order."""
    contents = yaml.safe_load(toc.read_text(encoding="utf-8"))
    return [contents["root"], *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"])]


def ready(root: Path, *folders: str) -> None:
    """Check that `root` is a checkout of the project, and that the folders in it can be written.

    The book's notebooks and pages are not part of the installed package.

    Args:
        root: the project.
        folders: relative to it; those that are not there are not made.

    Raises:
        DidError: If it is not a checkout, or a folder that cannot be written.
    """
    for part in (TOC, "notebooks"):
        if not (root / part).exists():
            raise DidError(
                f"the book is made in a checkout of the project, and {root} is not one (it has no {part}): run the "
                "command inside a checkout, with DID_HOME unset or naming it"
            )
    for folder in folders:
        writable(root / folder)
