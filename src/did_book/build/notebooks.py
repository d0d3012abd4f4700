"""The book's notebooks: executed by papermill where what they came from has changed, and never half.

`runs/book/` keeps them as papermill left them, so that a second build executes only what is stale; `book/executed/`
has them as pages.
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from did.errors import DidError, nearest
from did.paper.parameters import PARAMETERS
from did.paper.records import load
from did.utils.files import write_atomically
from did.utils.workers import cores
from did_book.build import equations, page
from did_book.build.checkout import TOC, listed, ready
from did_book.pages import front
from did_book.pages.coverage import coverage_page
from did_book.pages.found import found_page, of_pages
from did_book.pages.rivals import rivals_page
from did_book.pages.try_it import make as try_it

#: Where the table of contents and everybody's links expect the executed pages.
EXECUTED = "book/executed"
#: The committed notebooks: those that people read, and those whose outputs nbval compares.
SHOWN, COMPARED = "notebooks", "tests/notebooks"
#: The parameters that they are executed with; a notebook gets those that it has.
EXECUTED_WITH: dict[str, dict[str, Any]] = {SHOWN: {"preset": "laptop", "fresh": False}, COMPARED: {"preset": "smoke"}}
# What a page reads besides the package: the records that other pages, or `make bench`, have written.
READS = {
    "method_1_decomposition": ("results/fig7_embeddings-*.json",),
    "paper_against_ours": ("results/*.json",),
    "speed": ("benchmarks/results/*.json", "results/runs/*.json"),
}
#: Notebooks executed at a time: each takes about a gigabyte of memory.
MOST = 4
# What of the packages no notebook's output comes from.
_APART = ("did/cli.py", "did_book/cli.py", "did_book/build/")


def chapters(root: Path) -> list[str]:
    """List the notebooks that the table of contents names, in its order.

    Raises:
        DidError: If one does not exist.
    """
    names = [Path(file).name for file in listed(root / TOC) if file.startswith(f"{EXECUTED}/")]
    found = [name for name in names if name not in GENERATED]
    for name in found:
        if not (root / SHOWN / f"{name}.ipynb").is_file():
            raise DidError(f"{TOC} names {EXECUTED}/{name}, but there is no notebooks/{name}.ipynb")
    return found


def digest(root: Path, name: str, parameters: Mapping[str, Any]) -> str:
    """Hash what decides a notebook's output and belongs to the project.

    That is its code, its parameters, the packages with what lies in them, the locked versions, and the records that it
    reads; not its text, which may change without a new execution.
    """
    code = [cell.source for cell in _own(_source(root, name)) if cell.cell_type == "code"]
    # A table's page may show other experiments' records besides its own.
    conducted = {name, *re.findall(r'\bconduct\(\s*"(\w+)"', "\n".join(code))}
    source = root / "src"
    files = [
        file
        for file in sorted(source.rglob("*"))
        if file.suffix in (".py", ".json") and not file.relative_to(source).as_posix().startswith(_APART)
    ]
    shown = [f"results/{each}-*.json" for each in sorted(conducted)]
    reads = shown if parameters.get("fresh") is False else READS.get(name, ())
    files += [root / "requirements.lock", *(file for each in reads for file in sorted(root.glob(each)))]
    found = hashlib.sha256(json.dumps([code, sorted(parameters.items())], default=str).encode())
    for file in files:
        found.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return found.hexdigest()


def _source(root: Path, name: str) -> nbformat.NotebookNode:
    return nbformat.read(root / SHOWN / f"{name}.ipynb", 4)


def _own(nb: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return a notebook's cells without the one that papermill adds."""
    return [cell for cell in nb.cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def _with_text(executed: nbformat.NotebookNode, source: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an executed notebook with the current text.

    Its code is the source's, because it is not stale.
    """
    run = iter([cell for cell in _own(executed) if cell.cell_type == "code"])
    executed.cells = [next(run) if cell.cell_type == "code" else cell for cell in _own(source)]
    return executed


def parameters_of(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Select those of the given parameters that a notebook has."""
    return {key: value for key, value in given.items() if key in PARAMETERS[name]}


def execute(root: Path, given: Mapping[str, Any], jobs: int | None = None) -> list[str]:
    """Execute every chapter that is stale, several at a time; last those that read what others write.

    A notebook takes some ten seconds to start and mostly computes with one thread, so that two at a time take little
    more than half of the time. If two need the same data or the same run, one makes it and the other waits.

    Args:
        root: the project.
        given: parameters; a notebook gets those that it has.
        jobs: how many at a time; by default one per core, at most `MOST`.

    Returns:
        The names of those that were executed, in the order of the book.

    Raises:
        DidError: If a parameter is unknown to every notebook, or a notebook fails: then no further one is begun, and
            what was executed stays.
    """
    names = sorted(chapters(root), key=READS.__contains__)
    known = {key for name in names for key in PARAMETERS[name]}
    for key in given:
        if key not in known:
            raise DidError(f"no notebook of the book has a parameter '{key}': {nearest(key, known)}")
    many = jobs or min(cores(), MOST)
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // many)))
    with _set("OMP_NUM_THREADS", threads):
        return [
            name for late in (False, True)
            for name in _stale(root, [each for each in names if (each in READS) == late], given, many)
        ]  # fmt: skip


def _stale(root: Path, names: Sequence[str], given: Mapping[str, Any], many: int) -> list[str]:
    """Execute those that are stale, so many at a time, and return them."""
    parameters = {name: parameters_of(name, given) for name in names}
    stale = [name for name in names if _state(_cached(root, name)) != digest(root, name, parameters[name])]
    stop = threading.Event()

    def one(name: str) -> None:
        if not stop.is_set():  # Asked for here: a worker takes up the next one before anybody could cancel it.
            try:
                _execute(root, name, parameters[name])
            except BaseException:
                stop.set()
                raise

    with (
        tqdm(total=len(stale), desc="notebooks", unit="notebook", disable=not stale) as bar,
        ThreadPoolExecutor(many) as pool,
    ):
        running = {pool.submit(one, name): name for name in stale}
        try:
            for each in as_completed(running):
                each.result()
                bar.set_postfix_str(running[each], refresh=False)
                bar.update()
        finally:
            stop.set()
    return stale


def _cached(root: Path, name: str) -> Path:
    return root / "runs/book" / f"{name}.ipynb"


def _state(file: Path) -> str | None:
    """Return the digest under which an executed notebook was made."""
    return nbformat.read(file, 4).metadata.get("did", {}).get("digest") if file.is_file() else None


def _execute(root: Path, name: str, parameters: dict[str, Any]) -> None:
    cached = _cached(root, name)
    cached.unlink(missing_ok=True)
    nb = _papermill(root, name, parameters, bar=False)
    # After it: what it reads, it may have written.
    nb.metadata["did"] = {"digest": digest(root, name, parameters)}
    write_atomically(cached, lambda path: nbformat.write(nb, path))


def _papermill(root: Path, name: str, parameters: dict[str, Any], bar: bool = True) -> nbformat.NotebookNode:
    """Execute a notebook. If it fails, what it shows up to there stays beside those of the book, and the error says so.

    Raises:
        DidError: If a cell fails, or its kernel dies.
    """
    source, failed = root / SHOWN / f"{name}.ipynb", _cached(root, f"{name}-failed")
    failed.parent.mkdir(parents=True, exist_ok=True)
    try:
        nb = papermill.execute_notebook(source, failed, parameters, cwd=source.parent, progress_bar=bar)
    except PapermillExecutionError as error:
        raise DidError(
            f"the notebook {name} failed in its cell {error.exec_count} ({error.ename}: {error.evalue}); see {failed}"
        ) from error
    except DeadKernelError as error:
        raise DidError(
            f"the kernel of the notebook {name} died, most often for lack of memory; {failed} shows how far it came"
        ) from error
    failed.unlink()
    lean(nb)
    return nb


def lean(nb: nbformat.NotebookNode) -> None:
    """Keep only duration and parameters of papermill's metadata; the rest is paths and times of one machine."""
    about = nb.metadata["papermill"]
    nb.metadata["papermill"] = {key: about[key] for key in ("duration", "parameters")}
    for cell in nb.cells:
        cell.metadata.pop("papermill", None)


def refresh(root: Path, names: Sequence[str] = (), shown: bool = False) -> None:
    """Execute the committed notebooks again: those whose outputs nbval compares, or those that people read.

    The first ones, in `tests/notebooks/`, are at preset smoke, without text and pictures, and are executed in a project
    folder of their own. The others, in `notebooks/`, are at preset laptop, from the committed records, and use what
    this project's folder has. Nothing is written before all are executed, so that their commit is one without changes;
    if one fails, those before it are written.

    Args:
        root: the checkout.
        names: only these.
        shown: those that people read.

    Raises:
        DidError: If there is no checkout, or one that cannot be written; an unknown name; a notebook that fails.
    """
    folder = SHOWN if shown else COMPARED
    ready(root, folder)
    known = sorted(file.stem for file in (root / SHOWN).glob("*.ipynb"))
    for name in names:
        if name not in known:
            raise DidError(f"unknown notebook '{name}': {nearest(name, known)}")
    done = {}
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        if not shown:
            stack.enter_context(_set("DID_HOME", place))
        try:
            for name in names or known:
                nb = _papermill(root, name, parameters_of(name, EXECUTED_WITH[folder]))
                done[name] = quiet(nb if shown else compared(nb))
        finally:
            for name, nb in done.items():
                file = root / folder / f"{name}.ipynb"
                write_atomically(file, lambda path, nb=nb: nbformat.write(nb, path))  # type: ignore[misc]


def quiet(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook without what its cells wrote on standard error: each step of each progress bar."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return nb


def compared(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return what nbval needs of an executed notebook: its code and outputs, without text and pictures."""
    nb.cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    for output in (output for cell in nb.cells for output in cell.outputs):
        for kind in [kind for kind in output.get("data", {}) if "image/" in kind or kind == "text/csv"]:
            del output.data[kind]
    return nb


@contextlib.contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def write_pages(root: Path, given: Mapping[str, Any], committed: bool = False, repository: str = "") -> None:
    """Write the pages of all chapters, and those that are generated, into `book/executed/`.

    Args:
        root: the project.
        given: parameters, as for `execute`.
        committed: of the notebooks as they are committed, without executing any.
        repository: `owner/name` on GitHub, for buttons that open the notebook on Binder and Colab.

    Raises:
        DidError: If there is a notebook that is missing, stale, unfinished or failed, or a figure without words or
            stamp; every reason, one a line.
    """
    problems = equations.gaps(equations.EQUATIONS, root)
    names, pages = chapters(root), {}
    for name in names:
        file = root / SHOWN / f"{name}.ipynb" if committed else _cached(root, name)
        if not file.is_file():
            problems.append(f"{name} has not been executed: `make book` does it")
            continue
        nb = nbformat.read(file, 4)
        if not committed and nb.metadata.get("did", {}).get("digest") != digest(root, name, parameters_of(name, given)):
            problems.append(
                f"{name} is stale: its code, the package, a parameter or what it reads has changed since it was "
                "executed; `make book` executes it again"
            )
        elif not committed:
            nb = _with_text(nb, _source(root, name))
        problems += [f"{name}: {problem}" for problem in page.problems(nb)]
        pages[name] = nb
    if problems:
        raise DidError("the book is not built:\n" + "\n".join(f"- {problem}" for problem in problems))
    said = of_pages(load(root / "results"))
    texts = {
        f"{name}.ipynb": nbformat.writes(page.finish(nb, name, repository, said.get(name, ""))) + "\n"
        for name, nb in pages.items()
    }
    texts |= {f"{name}.md": make(root, pages, given) for name, make in GENERATED.items()}
    folder = root / EXECUTED
    for left in [*folder.glob("*.ipynb"), *folder.glob("*.md")]:  # Pages of chapters that no longer exist.
        if left.name not in texts:
            left.unlink()
    for name, text in texts.items():
        file = folder / name
        # Sphinx reads a page again when its file is newer.
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            write_atomically(file, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]


def timings(pages: Mapping[str, nbformat.NotebookNode]) -> str:
    """Tabulate the minutes that each notebook took, for `book/teachers.md` to include."""
    rows = ["| chapter | preset | minutes |", "|---|---|---|"]
    for name, nb in pages.items():
        about = nb.metadata.get("papermill", {})
        rows.append(f"| [](executed/{name}) | {about['parameters']['preset']} | {about['duration'] / 60:.1f} |")
    return "\n".join(rows) + "\n"


#: Pages that no notebook makes: from the project, the executed notebooks and the given parameters.
GENERATED = {
    "coverage": lambda root, *_: coverage_page(root),
    "found": lambda root, *_: found_page(load(root / "results")),
    "answers": lambda root, *_: front.result(root),
    "rivals": lambda root, *_: rivals_page(root),
    "equations": lambda _root, pages, _given: equations.equations_page(
        {name: equations.prose(nb) for name, nb in pages.items()}
    ),
    "timings": lambda _root, pages, _given: timings(pages),
    "try_it": lambda root, _pages, given: try_it(root, given),
}
