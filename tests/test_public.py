"""The public face: what `import did` gives, and that the core needs no notebook."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import did
from did.cli import main

SRC = Path(did.__file__).resolve().parent
# What the extras install: `crossdf` alone has none of it.
EXTRAS = {
    "IPython", "bs4", "distributed", "ipykernel", "jupyter", "jupyter_book", "nbformat", "onnx", "onnxruntime",
    "onnxscript", "papermill", "playwright", "pypdf", "pytest", "sphinx", "yaml",
}  # fmt: skip


@pytest.mark.parametrize("name", did.__all__)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(did, name)
    assert name == "__version__" or (found.__doc__ and found.__doc__.strip())


def test_importing_did_loads_no_torch():
    code = "import did, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'did' has no attribute 'Detectr'"):
        _ = did.Detectr


def top_imports(path: Path) -> set[str]:
    """Packages that importing a file imports: those of functions are asked for later."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_the_core_imports_nothing_of_the_extras(path):
    assert not top_imports(path) & EXTRAS


def test_windows_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    done = CliRunner().invoke(main, ["runs", "list"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: did runs on Linux and macOS: on Windows") and done.stderr.count("\n") == 1
