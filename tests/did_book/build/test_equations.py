"""The list of the paper's equations: every link of it holds, and each that breaks is named."""

import dataclasses
import importlib
import inspect
import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest

from did.method.model import DID
from did_book.build.equations import EQUATIONS, SYMBOLS, anchor, equations_page, gaps, printed, prose

ROOT = Path(__file__).resolve().parents[3]
EACH = pytest.mark.parametrize("equation", EQUATIONS.values(), ids=lambda equation: equation.name)
CHAPTER = "notebooks/method_3_mutual_information.ipynb"


def named(name):
    """The object of a dotted name."""
    parts = name.split(".")
    for i in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


def changed(number=4, **changes):
    return {**EQUATIONS, number: dataclasses.replace(EQUATIONS[number], **changes)}


@pytest.fixture
def project(tmp_path):
    """What `gaps` reads, to be broken."""
    for folder in ("src", "tests", "notebooks", "book"):
        ignored = shutil.ignore_patterns("__pycache__", "executed", "images", "*.egg-info")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored, copy_function=os.symlink)
    return tmp_path


def edit(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.unlink()  # a link to the real one
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_list_is_the_papers():
    assert list(EQUATIONS) == [*range(1, 13), "Algorithm 1", "Algorithm 2"]
    assert all(equation.number == key for key, equation in EQUATIONS.items())
    assert [equation.label for equation in EQUATIONS.values()][:12] == [f"eq-{n}" for n in range(1, 13)]


@EACH
def test_the_code_of_an_equation_can_be_called(equation):
    assert equation.code
    assert all(callable(named(name)) for name in equation.code)


@EACH
def test_the_chapter_shows_the_equation_its_code_and_its_tests(equation):
    cells = nbformat.read(ROOT / "notebooks" / f"{equation.chapter}.ipynb", 4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert (f":label: {equation.label}\n" if equation.printed else f"({equation.label})=\n") in text
    for name in equation.code:
        parts = name.split(".")
        folders = (Path("src", *parts[:at]).with_suffix(".py") for at in range(1, len(parts)))
        file = next(file for file in folders if (ROOT / file).is_file())
        start = text.index(f"\n:pyobject: {'.'.join(parts[len(file.parts) - 1 :])}\n")
        assert text[:start].rpartition("{literalinclude} ")[2].split("\n")[0] == f"../../{file}"
    for test in equation.tests:
        file, _, name = test.partition("::")
        start = text.index(f"\n:pyobject: {name}\n")
        assert text[:start].rpartition("{literalinclude} ")[2].split("\n")[0] == f"../../{file}"
        assert text.count(f"\n:name: {anchor(test)}\n") == 1


def test_nothing_lacks():
    assert gaps(EQUATIONS, ROOT) == []


def test_an_equation_that_is_not_listed_is_named():
    assert gaps({key: value for key, value in EQUATIONS.items() if key != 7}, ROOT) == ["equation 7: not in the list"]


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"tests": ()}, ["equation 4: no test"]),
        ({"code": ()}, ["equation 4: no code"]),
        (
            {"code": ("did.method.losses.jsd",)},
            [
                "equation 4: there is no did.method.losses.jsd",
                f"equation 4: {CHAPTER} does not show did.method.losses.jsd",
                f"equation 4: {CHAPTER} does not link to did.method.losses.jsd in the reference by "
                "{py:func}`did.method.losses.jsd`",
            ],
        ),
        ({"chapter": "method_6"}, ["equation 4: there is no notebooks/method_6.ipynb that can be read"]),
    ],
)  # fmt: skip
def test_an_entry_that_is_wrong_is_named(changes, sentences):
    assert gaps(changed(**changes), ROOT) == sentences


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("tests/method/test_losses.py", "def test_domain_loss_is_eq_10", "def a_helper",
         "equation 10: there is no tests/method/test_losses.py::test_domain_loss_is_eq_10"),
        ("tests/method/test_losses.py", "def test_domain_loss_is_eq_10",
         "@pytest.mark.slow\ndef test_domain_loss_is_eq_10",
         "equation 10: tests/method/test_losses.py::test_domain_loss_is_eq_10 is marked slow, so `make test` does not "
         "hold the code to it"),
        ("src/did/method/losses.py", "def domain_loss", "def loss_of_domains",
         "equation 10: there is no did.method.losses.domain_loss"),
        ("src/did/method/task.py", "def rate_factor", "def factor",
         "equation 12: there is no did.method.task.DIDTask.rate_factor"),
        (CHAPTER, ":label: eq-5", ":label: eq-five",
         f"equation 5: {CHAPTER} has no equation with the label eq-5"),
        (CHAPTER, ":pyobject: Estimator", ":pyobject: DID",
         f"equation 4: {CHAPTER} does not show did.method.model.Estimator"),
        (CHAPTER, ":name: code-estimator\\n", ":lines: 1-\\n",
         f"equation 4: {CHAPTER} shows did.method.model.Estimator without `:name: code-estimator`"),
        (CHAPTER, "{py:class}`did.method.model.Estimator`", "T",
         f"equation 4: {CHAPTER} does not link to did.method.model.Estimator "
         "in the reference by {py:class}`did.method.model.Estimator`"),
        (CHAPTER, ":pyobject: test_the_best_estimate_is_the_integral", ":pyobject: test_the_same",
         f"equation 4: {CHAPTER} does not show "
         "tests/did_book/chapters/test_mutual_information.py::test_the_best_estimate_is_the_integral"),
        (CHAPTER, ":name: test-the-best-estimate-is-the-integral\\n", ":name: test-x\\n",
         f"equation 4: {CHAPTER} has no `:name: test-the-best-estimate-is-the-integral`"),
        ("notebooks/method_1_decomposition.ipynb", "(algorithm-1)=", "",
         "algorithm 1: notebooks/method_1_decomposition.ipynb has no place (algorithm-1)="),
        ("notebooks/method_5_together.ipynb", '"cells": [', '"cells": {',
         "equation 11: there is no notebooks/method_5_together.ipynb that can be read"),
        ("book/_toc.yml", "parts:", "part:",
         "book/_toc.yml cannot be read, so the numbers of the equations are not known"),
    ],
)  # fmt: skip
def test_what_breaks_in_the_project_is_named(project, file, old, new, sentence):
    edit(project / file, old, new)
    assert sentence in gaps(EQUATIONS, project)


def test_a_module_marked_slow_holds_nothing(project):
    edit(
        project / "tests/did_book/chapters/test_mutual_information.py",
        "\ndef test_the_best_estimate",
        "\npytestmark = pytest.mark.slow\n\n\ndef test_the_best_estimate",
    )
    found = gaps(EQUATIONS, project)
    assert len(found) == 2 and all("is marked slow" in sentence for sentence in found)


def test_a_label_before_the_papers_shifts_their_numbers(project):
    """Sphinx numbers what has a label, in the order of the table of contents."""
    edit(project / "book/data.md", "\n## ", "\n```{math}\n:label: eq-mine\na = b\n```\n\n## ")
    found = gaps(EQUATIONS, project)
    assert len(found) == 12
    assert found[3].startswith("equation 4: the book numbers it (5); take the label from the equations before it")


def test_an_empty_project_raises_nothing(tmp_path):
    found = gaps(EQUATIONS, tmp_path)
    assert "equation 1: there is no did.method.model.DID.forward" in found
    assert "equation 1: there is no tests/method/test_model.py::test_decompositions_are_complementary" in found


def test_the_page_links_every_equation_to_chapter_code_and_tests():
    texts = {file.stem: prose(json.loads(file.read_text("utf-8"))) for file in (ROOT / "notebooks").glob("*.ipynb")}
    page = equations_page(texts)
    sections = dict(part.partition("\n")[::2] for part in page.split("\n## ")[1:])
    assert list(sections) == [equation.name for equation in EQUATIONS.values()] + ["Symbols"]
    for equation in EQUATIONS.values():
        section = sections[equation.name]
        assert equation.says in section
        assert f"[](./{equation.chapter})" in section
        assert f"{{eq}}`{equation.label}`" in section or f"(#{equation.label})" in section
        assert section.count("$$") == (2 if equation.printed else 0)
        assert not equation.printed or printed(texts[equation.chapter])[equation.label] in section
        assert all(f"`{code}`" in section for code in equation.code)
        assert all(f"[{test.split('::')[1]}](#{anchor(test)})" in section for test in equation.tests)
    assert (
        "{py:meth}`did.method.task.DIDTask.rate_factor` ([source of DIDTask.rate_factor](#code-didtask-rate-factor))"
        in page
    )
    assert "{py:class}`did.method.model.Estimator`" in page


def test_every_symbol_has_its_name():
    modules = inspect.getsource(DID.__init__)
    for symbol, _, name in SYMBOLS:
        owner, _, attribute = name.rpartition(".")
        if owner == "did.method.model.DID":
            assert f"self.{attribute}" in modules, symbol
        elif dataclasses.is_dataclass(fields := named(owner)):
            assert attribute in {field.name for field in dataclasses.fields(fields)}, symbol
        else:
            assert callable(named(name)), symbol
