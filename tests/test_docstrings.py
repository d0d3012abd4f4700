"""Every public docstring is there and fits its signature, and every module stands on a page of the reference."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Dotted name -> file, of all modules and packages.
MODULES = {
    ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted((ROOT / "src").rglob("*.py"))
}
Public = ast.FunctionDef | ast.ClassDef


def public(tree: ast.Module | ast.ClassDef, where: str) -> Iterator[tuple[str, Public]]:
    """Public functions, classes and methods with their dotted names."""
    for node in tree.body:
        if isinstance(node, Public) and not node.name.startswith("_"):
            yield f"{where}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{where}.{node.name}")


def faults(node: Public) -> Iterator[str]:
    text = ast.get_docstring(node)
    if text is None:
        if node.name != "forward":  # the docstring of its class says what it maps to what
            yield "has no docstring"
        return
    if re.match(r"\w+:\n", text):
        yield "begins with a section, not with a sentence"
    if unknown := arguments(text) - parameters(node):
        yield f"names arguments that it does not take: {sorted(unknown)}"
    command = any(
        word in ast.unparse(mark) for word in ("command", "group") for mark in node.decorator_list
    )  # its docstring is its --help
    if isinstance(node, ast.FunctionDef) and raises(node) and "DidError" not in text and not command:
        yield "raises DidError and does not say so"


def arguments(text: str) -> set[str]:
    """The names under `Args:`, of which several may share a line."""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", text, re.M)
    entries = re.findall(r"^ {4}(\w+(?:, \w+)*):", section[1], re.M) if section else []
    return {name for entry in entries for name in entry.split(", ")}


def parameters(node: Public) -> set[str]:
    """Of a function, or of a class: its fields and what its constructor takes."""
    if isinstance(node, ast.FunctionDef):
        return {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    fields = {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
    constructors = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    return fields.union(*map(parameters, constructors))


def raises(node: ast.FunctionDef) -> bool:
    return any(isinstance(part, ast.Raise) and "DidError(" in ast.unparse(part) for part in ast.walk(node))


def test_public_docstrings_are_there_and_fit():
    trees = {module: ast.parse(file.read_text(encoding="utf-8")) for module, file in MODULES.items()}
    every = [found for module, tree in trees.items() for found in public(tree, module)]
    assert len(every) > 300
    found = [f"{name} {fault}" for name, node in every for fault in faults(node)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def f(a): pass", "no docstring"),
        ('def f(a):\n    """Do.\n\n    Args:\n        a, b: c.\n    """', r"does not take: \['b'\]"),
        ('def f(a):\n    """Args:\n        a: b.\n    """', "begins with a section"),
        ('def f(a):\n    """Do."""\n    raise DidError("no")', "does not say so"),
    ],
)
def test_a_planted_fault_is_found(code, fault):
    (found,) = faults(ast.parse(code).body[0])
    assert re.search(fault, found)


def read_by_sphinx(code: str) -> Iterator[str]:
    """The docstrings of a module, and its comments that begin with "#:", without what is literal in them."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(code)) if isinstance(node, nodes)]
    texts += ["\n".join(re.findall(r"#: ?(.*)", block)) for block in re.findall(r"(?:^ *#:.*\n)+", code, re.M)]
    for text in texts:
        plain = re.sub(r"::\n\n(?: +.*\n?|\n)+|^ *>>> .*$", "", text, flags=re.M)
        yield re.sub(r"`[^`]*`", "", plain)


def substitutions(code: str) -> list[str]:
    """What Sphinx would look up as a substitution, and fail the book for."""
    return [
        found
        for text in read_by_sphinx(code)
        for found in re.findall(r"(?<![\w|])\|[^\s|][^|\n]*(?<=\S)\|(?!\w)", text)
    ]


def test_no_docstring_has_what_sphinx_takes_for_a_substitution():
    found = {name: substitutions(file.read_text(encoding="utf-8")) for name, file in MODULES.items()}
    assert not {name: each for name, each in found.items() if each}, "put it into backquotes"
    assert substitutions("#: Then\n#: |I_df| is whole.\nX = 1\n") == ["|I_df|"]
    assert not substitutions("#: Then `|I_df|` is whole.\nX = 1\n")
    assert substitutions('def f():\n    """Return |x|."""\n') == ["|x|"]


def test_every_module_is_once_in_the_reference():
    pages = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "book/api").glob("*.md"))
    assert sorted(re.findall(r"^\.\. automodule:: (\S+)$", pages, re.M)) == sorted(set(MODULES) - {"did"})
