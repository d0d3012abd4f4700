"""The Python that readers copy from the text, solutions of exercises included: its imports exist, and it runs."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.M | re.S)


def texts():
    """Every text of the book by its name: the pages, and the markdown of each notebook."""
    for file in (*sorted((ROOT / "book").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        if "executed" not in file.parts:
            yield file.name, file.read_text(encoding="utf-8")
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        yield file.name, "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


SNIPPETS = [(f"{name} {number}", code) for name, text in texts() for number, code in enumerate(BLOCK.findall(text), 1)]


@pytest.mark.parametrize("code", [code for _, code in SNIPPETS], ids=[name for name, _ in SNIPPETS])
def test_a_snippet_finds_what_it_imports(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("did", "did_book"):
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")


def imports_of(name):
    """What a chapter that asks its readers to copy the imports at its top imports there; nothing for the others."""
    cells = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    if "Your code needs the imports at the top of this page" not in "".join("".join(c["source"]) for c in cells):
        return ""
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found = [node for node in ast.parse(code).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return "".join(f"{ast.unparse(node)}\n" for node in found)


BEYOND = (
    "what_carries",
    "independence",
    "without_labels",
    "loss_weights",
    "better_data",
    "leave_one_out",
    "ten_worlds",
)
SOLUTIONS = [
    (name, imports_of(name.split()[0]) + code) for name, code in SNIPPETS if name.startswith(("method_", *BEYOND))
]


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for _, code in SOLUTIONS], ids=[name for name, _ in SOLUTIONS])
def test_the_solution_of_an_exercise_runs(code, tmp_path):
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("runs"))
    env = {**os.environ, "MPLBACKEND": "agg", "DID_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_there_are_solutions_in_every_method_chapter():
    chapters = {name.split()[0] for name, _ in SOLUTIONS}
    assert len(chapters) == 12
