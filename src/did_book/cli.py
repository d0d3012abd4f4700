"""`did book`: what a terminal offers for the book. The command line of did finds it by its entry point."""

from pathlib import Path
from typing import Any

import click

from did.errors import DidError


class _Book(click.Group):
    """A group of commands that says which packages are missing."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            raise DidError(f"the book needs {error.name}: pip install 'crossdf[book]'") from error


@click.group(cls=_Book)
def book() -> None:
    """Make the book, in a checkout: execute its notebooks, build it, check it."""


@book.command()
@click.option("--preset", default="laptop", show_default=True, help="smoke, laptop or paper.")
@click.option("--source", default="ffpp", show_default=True, help="Data set of the first chapters.")
@click.option("--faces", help="Make the stand-ins from a folder of portraits, or from 'london'.")
@click.option("--committed", is_flag=True, help="From the committed notebooks, executing none.")
@click.option("--fresh", is_flag=True, help="Train every run of the tables, instead of showing committed records.")
@click.option("--student", is_flag=True, help="Without solutions.")
@click.option("--repository", default="", help="OWNER/NAME on GitHub: buttons on each chapter open it elsewhere.")
def build(
    preset: str, source: str, faces: str | None, committed: bool, fresh: bool, student: bool, repository: str
) -> None:
    """Execute what is stale, write the pages, build them, check what was built."""
    from did.utils.files import home
    from did_book.build.book import build as build_book

    given = {"preset": preset, "source": source, "fresh": fresh} | ({"faces": faces} if faces else {})
    html = build_book(home(), given, committed, student, repository)
    click.echo(f"The book: {html / 'index.html'}")


@book.command()
@click.argument("file", type=click.Path(path_type=Path), default="_build/did.pdf")
def pdf(file: Path) -> None:
    """Print the built book into FILE (_build/did.pdf), with Chromium."""
    from did.utils.files import home, writable_file
    from did_book.build.pdf import write_pdf

    writable_file(file)
    pages = write_pdf(home(), file)
    click.echo(f"{pages} pages: {file}")


@book.command()
@click.argument("notebooks", nargs=-1)
@click.option("--shown", is_flag=True, help="Those that people read, at preset laptop.")
def refresh(notebooks: tuple[str, ...], shown: bool) -> None:
    """Execute the committed NOTEBOOKS again (all by default).

    In tests/notebooks/ are their outputs at preset smoke, which the tests compare; with --shown those in notebooks/ are
    executed, at preset laptop and with the tables' committed records.
    """
    from did.utils.files import home
    from did_book.build.notebooks import refresh as refresh_notebooks

    refresh_notebooks(home(), notebooks, shown)


@book.command()
def front() -> None:
    """Write the result at the top of README.md, sentences and figure, from the committed record of Table 1."""
    from did.utils.files import home
    from did_book.build.checkout import ready
    from did_book.pages import front as page

    ready(home(), ".")
    page.write(home())
    click.echo(f"README.md and {page.FIGURE}")


@book.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def face(run: str, file: Path | None) -> None:
    """Write the face with which the method's chapters open, from RUN, a finished run of DID; see `did runs`.

    FILE is by default the one that the chapters read.
    """
    from did.sources import face_store, open_source
    from did.training.runs import find_run
    from did.utils.files import writable_file
    from did_book.chapters import face as chapter

    place = file or chapter.FILE
    writable_file(place)

    found = find_run(run)
    data = found.record["data"]
    source = open_source(data["source"], data["edition"], preset="laptop")
    chapter.write(chapter.look(found, face_store(source, found.settings), source.banner), place)
    click.echo(place)
