"""Every command that README, CONTRIBUTING, the book's pages and the notebooks name exists, with its options."""

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from did.cli import main
from did.paper.parameters import PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]


def prose(page: Path) -> str:
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def commands(text: str) -> Iterator[str]:
    """Commands in indented blocks (continued lines joined), in fences of a shell, and in backquotes."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"```(?!bash|sh|console|text)[^\n]*\n.*?```", "", text, flags=re.S)
    for line in text.splitlines():
        block = re.match(r"(?: {4,}|\t)(?:\.venv/bin/)?((?:did|papermill|make) .*)$", line)
        yield from [block[1]] if block else re.findall(r"`(?:\.venv/bin/)?((?:did|papermill|make) [^`]+)`", line)


FOUND = sorted({(page.name, command.strip()) for page in PAGES for command in commands(prose(page))})


def test_there_are_commands_of_every_kind():
    kinds = {command.split()[0] for _, command in FOUND}
    assert kinds == {"did", "papermill", "make"} and len(FOUND) > 60


def words(command: str) -> list[str]:
    command = re.split(r"\s(?:>|<|\||&&|#)\s?", command)[0]
    return [word for word in shlex.split(command.replace("<", "").replace(">", "")) if word != "..."]


def check_did(given: list[str]) -> None:
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and given and not given[0].startswith("-"):
        name = given.pop(0)
        found = command.get_command(context, name)
        assert found, f"there is no command {name}"
        command = found
    options = {option for parameter in command.get_params(context) for option in (*parameter.opts,)}
    used = {word.split("=")[0] for word in given if word.startswith("--")}
    assert used <= options, f"{command.name} has no {used - options}"


def check_papermill(given: list[str]) -> None:
    paths = [word for word in given if word.endswith(".ipynb")]
    name = Path(paths[0]).stem
    assert (ROOT / paths[0]).is_file(), paths[0]
    known = set(PARAMETERS.get(name, ()))
    for flag, parameter in itertools.pairwise(given):
        if flag in ("-p", "-r"):
            assert parameter in known, f"{name} has no parameter {parameter}"
        if flag == "-y":
            assert parameter.split(":")[0].strip("{ ") in known, f"{name} has no parameter {parameter}"


def check_make(given: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.M))
    variables = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.M))
    for word in given:
        name, _, value = word.partition("=")
        assert (name in variables) if value else (word in targets), f"the Makefile has no {word}"


CHECKS = {"did": check_did, "papermill": check_papermill, "make": check_make}


@pytest.mark.parametrize(("page", "command"), FOUND)
def test_a_command_exists_with_its_options(page, command):
    tool, *given = words(command)
    CHECKS[tool](given)


@pytest.mark.parametrize(
    ("command", "lacking"),
    [
        ("did trian ffpp", "no command trian"),
        ("did train ffpp --sed 1", "--sed"),
        ("papermill notebooks/train.ipynb out.ipynb -p sorce ffpp", "no parameter sorce"),
        ("make trian", "no trian"),
        ("make train SORCE=ffpp", "no SORCE"),
    ],
)
def test_a_command_that_rots_is_found(command, lacking):
    tool, *given = words(command)
    with pytest.raises(AssertionError, match=lacking):
        CHECKS[tool](given)
