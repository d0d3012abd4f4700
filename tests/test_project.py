"""The project's own files agree with each other, and imports inside src/did point one way."""

import ast
import json
import re
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import did
from did.standin.layouts import LAYOUTS
from did_book.build import notebooks
from did_book.build.checkout import listed
from did_book.build.notebooks import EXECUTED_WITH, chapters, parameters_of

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
COMPARED = ROOT / notebooks.COMPARED
DOI = "10.3389/fdata.2025.1669488"

# From the ground up: a folder may import only from those that stand before it.
ORDER = (
    "errors utils presets settings task method rivals extensions data standin sources evaluation training predict paper"
    " plots cli did_book.chapters did_book.pages did_book.build did_book.cli"
).split()

# Where the lock must hold: Python version, platform, machine.
PLACES = [
    (python, platform, machine)
    for python in ("3.10", "3.11", "3.12", "3.13")
    for platform, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pyproject() -> dict:
    return tomllib.loads(read("pyproject.toml"))


def requirements() -> list[str]:
    """Everything that `make install` installs; extras that name other extras are resolved."""
    project = pyproject()["project"]
    extras = project["optional-dependencies"]

    def of(lines: list[str]) -> list[str]:
        found = []
        for line in lines:
            wanted = Requirement(line)
            if wanted.name == project["name"]:
                found += [each for extra in sorted(wanted.extras) for each in of(extras[extra])]
            else:
                found.append(line)
        return found

    return [*project["dependencies"], *of(extras["test"]), *of(extras["dev"])]


def lock_lines() -> list[str]:
    return [line for line in read("requirements.lock").splitlines() if line and not line.startswith("#")]


def locked(python: str, platform: str, machine: str) -> dict[str, str]:
    """Name -> exact version, of the lines whose marker holds in that place."""
    place = default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[platform],
        "platform_machine": machine,
    }
    versions: dict[str, str] = {}
    for line in lock_lines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(place):
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"{name} is locked twice for {python} on {platform}"
            versions[name] = str(requirement.specifier).removeprefix("==")
    return versions


def tracked_files() -> list[Path]:
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def test_conda_and_pip_users_get_the_same_requirements():
    environment = yaml.safe_load(read("environment.yml"))
    *conda, pip = environment["dependencies"]
    assert conda == [f"python {pyproject()['project']['requires-python']}", "pip"]
    *listed, editable = pip["pip"]
    assert listed == requirements()
    assert editable == "-e ."


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_lock_satisfies_every_requirement(place):
    versions = locked(*place)
    for line in [*requirements(), *pyproject()["build-system"]["requires"]]:
        wanted = Requirement(line)
        version = versions.get(canonicalize_name(wanted.name))
        assert version, f"{wanted.name} is not in the lock; run `make lock`"
        assert wanted.specifier.contains(version, prereleases=True), f"{wanted.name} {version} is locked, not {wanted}"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_lock_has_no_cuda_packages_for_macos(python):
    unwanted = [name for name in locked(python, "darwin", "arm64") if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert not unwanted


def test_lock_is_exact_and_names_no_host_and_no_path():
    for line in lock_lines():
        requirement = Requirement(line)
        assert requirement.url is None
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), line
    assert not re.search(r"://|--(extra-)?index|--find-links|(^|\s)[/~]\w", read("requirements.lock"))


def test_version_stands_once():
    assert pyproject()["project"]["version"] == did.__version__
    assert yaml.safe_load(read("CITATION.cff"))["version"] == did.__version__


def test_citation_names_software_and_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    paper = citation["preferred-citation"]
    assert paper["doi"] == DOI
    assert len(paper["authors"]) == 8
    assert DOI in read("README.md")
    assert DOI in read("book/references.bib")


def test_readme_names_commands_that_exist():
    readme, makefile = read("README.md"), read("Makefile")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z][a-z-]+)", readme))
    assert {"train", "test", "book"} <= named
    assert named <= targets, f"README names targets that the Makefile has not: {named - targets}"
    assert "papermill notebooks/train.ipynb runs/train-ffpp.ipynb -p source ffpp" in readme
    assert "papermill notebooks/train.ipynb -p source ffpp > out.ipynb </dev/null" in read("book/use.md")
    assert len(readme.splitlines()) <= 70


def test_binder_installs_the_locked_packages_and_this_copy():
    assert read(".binder/requirements.txt").split() == ["-r", "../requirements.lock"]
    assert read(".binder/runtime.txt").strip() == "python-3.11"
    assert "pip install --no-deps --no-build-isolation -e ." in read(".binder/postBuild")


def test_links_in_the_top_pages_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", read(page)):
            assert "://" in target or (ROOT / target).exists(), f"{page} links to {target}, which is not there"


def test_book_files_exist():
    config = yaml.safe_load(read("_config.yml"))
    assert config["only_build_toc_files"] is True
    for bibliography in config["bibtex_bibfiles"]:
        assert (ROOT / bibliography).exists()
    pages = listed(ROOT / "book/_toc.yml")
    written = [page for page in pages if not page.startswith("book/executed/")]
    assert {"book/intro", "book/teachers", "book/ethics", "book/glossary", "book/cite"} <= set(written)
    for page in written:
        assert (ROOT / f"{page}.md").exists(), f"the book has no page {page}"


def test_the_book_has_every_notebook():
    assert sorted(chapters(ROOT)) == sorted(file.stem for file in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_page_on_stand_ins_names_every_method_and_every_source():
    page = read("book/standins.md")
    for name, layout in LAYOUTS.items():
        assert f"`{name}`" in page
        for method in layout.methods:
            row = re.search(rf"^\|[^|\n]*\b{method}\b[^|\n]*\|([^|\n]+)\|([^|\n]+)\|$", page, re.MULTILINE)
            assert row, f"book/standins.md has no row on {method}"
            assert all(len(cell.strip()) > 7 for cell in row.groups()), row.group()


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells_of(path: Path) -> list[str]:
    """The code of a notebook's cells, without what papermill has added."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in code if "injected-parameters" not in cell["metadata"].get("tags", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_nbval_compares_is_what_people_read(path):
    assert cells_of(COMPARED / path.name) == cells_of(path), "run `did book refresh` and `did book refresh --shown`"


def test_nbval_compares_every_notebook_and_no_other():
    assert [file.name for file in sorted(COMPARED.glob("*.ipynb"))] == [file.name for file in NOTEBOOKS]
    assert NOTEBOOKS


@pytest.mark.parametrize(("folder", "preset"), [("notebooks", "laptop"), ("tests/notebooks", "smoke")])
def test_people_read_numbers_at_laptop_and_the_tests_compare_those_at_smoke(folder, preset):
    for path in sorted((ROOT / folder).glob("*.ipynb")):
        given = json.loads(path.read_text(encoding="utf-8"))["metadata"]["papermill"]["parameters"]
        assert given == parameters_of(path.stem, EXECUTED_WITH[folder]) and given["preset"] == preset, path


def test_committed_notebooks_are_executed_and_clean():
    """nbval compares no cell that was never executed, so none may be left."""
    for path in [*NOTEBOOKS, *sorted(COMPARED.glob("*.ipynb"))]:
        text = path.read_text(encoding="utf-8")
        for number, cell in enumerate(json.loads(text)["cells"]):
            if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
                continue
            where = f"{path.name}, cell {number}"
            assert cell["execution_count"] is not None, f"{where} was not executed; run `make notebooks`"
            assert not [o for o in cell["outputs"] if o["output_type"] == "error"], f"{where} ends in an error"
            tags = cell["metadata"].get("tags", [])
            printed = json.dumps([o for o in cell["outputs"] if "image/png" not in o.get("data", {})])
            home = re.search(r"(/home/|/root/|/Users/|/work/)[\w.-]+", printed)
            assert not home, f"{where} ({tags}) prints a path of one machine: {home and home.group()}"


def test_no_tracked_file_is_large():
    large = [path.name for path in tracked_files() if path.is_file() and path.stat().st_size > 5_000_000]
    assert not large


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


SOURCES = sorted((ROOT / "src").rglob("*.py"))
MODULES = set(map(module_of, SOURCES))


def place_of(module: str) -> str:
    """The folder, or file, directly in `did` or `did_book` that a module lies in; "" for the packages themselves."""
    top, *rest = module.split(".")
    return ".".join([top, *rest[:1]]).removeprefix("did.") if rest else ""


def imported(path: Path) -> set[str]:
    """Every module that a file imports, with its full name; relative imports resolved."""
    package = list(path.relative_to(ROOT / "src").parent.parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            parts = {f"{module}.{alias.name}" for alias in node.names}
            names |= parts if module == "did" else (parts & MODULES) or {module}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_imports_point_down(path):
    place = place_of(module_of(path))
    assert place in ("", "__main__", *ORDER), f"{place} has no place in ORDER: give it one"
    height = ORDER.index(place) if place in ORDER else len(ORDER)
    for name in imported(path):
        assert name.split(".")[0] not in ("tests", "notebooks"), f"{path.name} imports {name}"
        if name.split(".")[0] in ("did", "did_book") and (there := place_of(name)) in ORDER:
            assert ORDER.index(there) <= height, f"{place} imports {there}, which stands above it"


def test_imports_form_no_circle():
    """Imports inside functions count too: hiding a circle in one does not remove it. `did` itself is left out: it names
    the public face and imports each name on first use."""
    graph = {module_of(path): imported(path) & MODULES - {"did"} for path in SOURCES if module_of(path) != "did"}
    TopologicalSorter(graph).prepare()


METHOD = sorted((ROOT / "src/did/method").glob("*.py"))


def lines_of_code(path: Path) -> int:
    """Lines with a statement on them: no docstring, comment or empty line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines: set[int] = set()
    for node in ast.walk(tree):
        string = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not string and not hasattr(node, "body"):
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif hasattr(node, "body") and isinstance(node, ast.stmt):
            lines.add(node.lineno)
    return len(lines)


def test_the_method_stays_small():
    """What the paper proposes can be read in one sitting; what surrounds it goes elsewhere."""
    assert {path.stem for path in METHOD} == {"__init__", "backbones", "layers", "losses", "model", "task"}
    assert sum(map(lines_of_code, METHOD)) <= 600


@pytest.mark.parametrize("path", METHOD, ids=lambda path: path.name)
def test_the_method_knows_no_process_group_no_data_and_no_notebook(path):
    allowed = {"did.errors", "did.settings", "did.task", "did.utils.weights"}
    ours = {name for name in imported(path) if name.split(".")[0] in ("did", "did_book")}
    assert {name for name in ours if not name.startswith("did.method.")} <= allowed
    outside = {name.split(".")[0] for name in imported(path)} - {"did"}
    assert not outside & {"lightning", "lightning_fabric", "pandas", "cv2", "av", "PIL", "papermill", "nbformat"}
    assert "torch.distributed" not in path.read_text(encoding="utf-8")
