"""Every public layer, loss and metric has a runnable example, and every example in the package gives what it says."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
WITH_EXAMPLES = ("did.method.layers", "did.method.losses", "did.evaluation.metrics")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


RUNNABLE = [path for path in sorted(SRC.rglob("*.py")) if "\n    >>> " in path.read_text(encoding="utf-8").replace(
    "        >>> ", "    >>> ")]  # fmt: skip


def test_there_are_examples():
    assert len(RUNNABLE) >= 9


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_every_public_layer_loss_and_metric_has_one(name):
    tree = ast.parse((SRC / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"))
    public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    assert not [node.name for node in public if ">>> " not in (ast.get_docstring(node) or "")]


@pytest.mark.parametrize("path", RUNNABLE, ids=module_of)
def test_the_examples_give_what_they_say(path):
    found = doctest.testmod(importlib.import_module(module_of(path)))
    assert found.attempted and not found.failed
