"""What is executed for the book, what is stale, and what stops it. The projects here are small ones."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from did.errors import DidError
from did_book.build import equations
from did_book.build import notebooks as chapters

GIVEN = {"preset": "smoke"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two notebooks, the second of which reads a record."""
    monkeypatch.setattr(chapters, "PARAMETERS", {"first": ("preset",), "second": ("preset", "source")})
    monkeypatch.setattr(chapters, "READS", {"second": ("results/*.json",)})
    monkeypatch.setattr(equations, "EQUATIONS", {})
    monkeypatch.setattr(chapters, "load", lambda _: [])
    monkeypatch.setattr(chapters, "coverage_page", lambda root: "# Intervals\n")
    monkeypatch.setattr(chapters.front, "result", lambda root: "The AUC falls.\n")
    monkeypatch.setattr(chapters, "rivals_page", lambda root: "# The rivals\n")
    monkeypatch.setattr(equations, "gaps", lambda *_: [])
    for name in (
        "book",
        "notebooks",
        "results",
        "src/did/method",
        "src/did_book/build",
        "src/did_book/chapters",
        "src/did_book/pages",
    ):
        (tmp_path / name).mkdir(parents=True)
    files = "".join(f"  - file: book/executed/{name}\n" for name in ("first", "second", "equations"))
    (tmp_path / "book/_toc.yml").write_text(f"root: book/intro\nparts:\n- chapters:\n{files}", "utf-8")
    (tmp_path / "requirements.lock").write_text("torch==2\n", "utf-8")
    (tmp_path / "src/did/method/losses.py").write_text("MARGIN = 1\n", "utf-8")
    for name in ("build/page.py", "cli.py", "chapters/face.py", "chapters/face.json", "pages/costs.py"):
        (tmp_path / "src/did_book" / name).write_text("1\n", "utf-8")
    (tmp_path / "results/a.json").write_text("{}", "utf-8")
    write(tmp_path, "first", "2 + 2")
    write(tmp_path, "second", "preset")
    return tmp_path


def write(root, name, code):
    parameters = new_code_cell('preset = "laptop"\nsource = "ffpp"', metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    of = new_notebook(cells=[new_markdown_cell(f"# {name}"), parameters, new_code_cell(code)], metadata=kernel)
    nbformat.write(of, root / "notebooks" / f"{name}.ipynb")


def digests(root, given=GIVEN):
    return [chapters.digest(root, name, chapters.parameters_of(name, given)) for name in ("first", "second")]


def test_the_table_of_contents_is_the_list(project):
    assert chapters.chapters(project) == ["first", "second"]
    (project / "notebooks/second.ipynb").unlink()
    with pytest.raises(DidError, match=r"^book/_toc.yml names book/executed/second, but there is no notebooks/second"):
        chapters.chapters(project)


@pytest.mark.parametrize(
    ("file", "text", "changed"),
    [
        ("src/did/method/losses.py", "MARGIN = 2\n", [True, True]),
        ("requirements.lock", "torch==3\n", [True, True]),
        ("results/a.json", '{"auc": 1}', [False, True]),
        ("results/b.json", "{}", [False, True]),
        ("src/did_book/chapters/face.py", "2\n", [True, True]),
        ("src/did_book/chapters/face.json", "2\n", [True, True]),
        ("src/did_book/pages/costs.py", "2\n", [True, True]),
        ("src/did/new.py", "2\n", [True, True]),
        ("src/did_book/build/page.py", "2\n", [False, False]),
        ("src/did_book/cli.py", "2\n", [False, False]),
        ("src/did/cli.py", "2\n", [False, False]),
    ],
)
def test_what_makes_a_notebook_stale(project, file, text, changed):
    before = digests(project)
    (project / file).write_text(text, "utf-8")
    assert [a != b for a, b in zip(before, digests(project), strict=True)] == changed


def test_a_table_is_stale_after_a_change_of_each_record_that_it_shows(project):
    write(project, "first", 'conduct("first", preset)\nlater = conduct(\n    "later", preset)')
    for name, changed in (("first", True), ("later", True), ("other", False)):
        before = chapters.digest(project, "first", {"fresh": False})
        (project / f"results/{name}-laptop-drawn.json").write_text("{}", "utf-8")
        assert (chapters.digest(project, "first", {"fresh": False}) != before) == changed
        assert chapters.digest(project, "first", {"fresh": True}) == chapters.digest(project, "first", {"fresh": True})


def test_what_the_committed_notebooks_read_is_known():
    root = Path(__file__).parents[3]
    loads = set()
    for name in chapters.chapters(root):
        cells = nbformat.read(root / f"notebooks/{name}.ipynb", 4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        loads |= {name} if re.search(r"\b(costs|ledger|records)\.(load|read)\(", code) else set()
    assert loads == set(chapters.READS)
    for glob in (glob for globs in chapters.READS.values() for glob in globs):
        assert list(root.glob(glob)), f"nothing is {glob}"


def test_its_cells_and_its_own_parameters_make_it_stale(project):
    before = digests(project)
    write(project, "first", "2 + 3")
    assert digests(project)[0] != before[0] and digests(project)[1] == before[1]
    assert digests(project, {"preset": "smoke", "source": "dffd"})[1] != before[1]
    assert digests(project, {"preset": "smoke", "source": "dffd"})[0] == digests(project)[0]


def test_outputs_do_not_make_it_stale(project):
    before = digests(project)
    file = project / "notebooks/first.ipynb"
    of = nbformat.read(file, 4)
    of.cells[-1].execution_count = 7
    nbformat.write(of, file)
    assert digests(project) == before


def test_only_what_is_stale_is_executed_again(project):
    assert chapters.execute(project, GIVEN) == ["first", "second"]
    assert chapters.execute(project, GIVEN) == []
    chapters.write_pages(project, GIVEN)
    assert "4" in (project / "book/executed/first.ipynb").read_text("utf-8")
    (project / "results/a.json").write_text('{"auc": 1}', "utf-8")
    with pytest.raises(DidError, match="^the book is not built:\n- second is stale: "):
        chapters.write_pages(project, GIVEN)
    assert chapters.execute(project, GIVEN) == ["second"]


def test_what_reads_records_is_executed_after_what_writes_them(project, monkeypatch):
    """Wherever it stands in the book: else it is stale as soon as the other is done."""
    monkeypatch.setattr(chapters, "READS", {"first": ("results/*.json",)})
    write(project, "second", "import pathlib; pathlib.Path('../results/b.json').write_text('{}')")
    assert chapters.chapters(project) == ["first", "second"]
    assert chapters.execute(project, GIVEN) == ["second", "first"]
    assert chapters.execute(project, GIVEN) == []
    chapters.write_pages(project, GIVEN)


def test_several_are_executed_at_a_time(project, monkeypatch):
    """Each waits for what the other writes, so that one after the other would not do."""
    monkeypatch.setattr(chapters, "READS", {})
    wait = """
import pathlib, time
pathlib.Path("../{mine}").touch()
for _ in range(600):
    if pathlib.Path("../{other}").exists():
        break
    time.sleep(0.1)
else:
    raise TimeoutError
"""
    write(project, "first", wait.format(mine="a", other="b"))
    write(project, "second", wait.format(mine="b", other="a"))
    assert chapters.execute(project, GIVEN, jobs=2) == ["first", "second"]


def test_after_a_failure_no_other_is_begun(project, monkeypatch):
    monkeypatch.setattr(chapters, "READS", {})
    write(project, "first", "1 / 0")
    with pytest.raises(DidError, match="^the notebook first failed"):
        chapters.execute(project, GIVEN, jobs=1)
    assert not (project / "runs/book/second.ipynb").exists()


def test_new_text_comes_into_the_book_without_a_new_execution(project):
    chapters.execute(project, GIVEN)
    file = project / "notebooks/first.ipynb"
    of = nbformat.read(file, 4)
    of.cells[0].source = "# Another title"
    of.cells.insert(2, new_markdown_cell("More words."))
    nbformat.write(of, file)
    assert chapters.execute(project, GIVEN) == []
    chapters.write_pages(project, GIVEN)
    cells = nbformat.read(project / "book/executed/first.ipynb", 4).cells
    assert [cell.source.split("\n")[0] for cell in cells] == [
        "# Another title",
        'preset = "laptop"',
        "This page was executed with preset `smoke`.",
        "More words.",
        "2 + 2",
    ]
    assert cells[-1].outputs[0].data["text/plain"] == "4"


def test_a_failed_notebook_stops_the_book_and_is_named(project):
    chapters.execute(project, GIVEN)
    write(project, "first", "1 / 0")
    with pytest.raises(DidError, match="^the notebook first failed in its cell 3 .ZeroDivisionError: division by zero"):
        chapters.execute(project, GIVEN)
    assert (project / "runs/book/first-failed.ipynb").is_file()
    # Nothing of an earlier execution stands in for it.
    with pytest.raises(DidError, match="- first has not been executed: `make book` does it"):
        chapters.write_pages(project, GIVEN)


def test_a_kernel_that_dies_is_one_sentence_that_says_where_to_look(project):
    write(project, "first", "print('so far', flush=True)")
    nb = nbformat.read(project / "notebooks/first.ipynb", 4)
    nb.cells.append(new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    nbformat.write(nb, project / "notebooks/first.ipynb")
    with pytest.raises(
        DidError, match="^the kernel of the notebook first died, most often for lack of memory; "
    ) as caught:
        chapters.execute(project, GIVEN, jobs=1)
    failed = project / "runs/book/first-failed.ipynb"
    assert str(caught.value).endswith(f"{failed} shows how far it came") and "so far" in failed.read_text("utf-8")
    assert not (project / "runs/book/first.ipynb").exists()


def test_a_missing_run_and_an_equation_without_a_test_are_both_named(project, monkeypatch):
    monkeypatch.setattr(equations, "EQUATIONS", {})
    monkeypatch.setattr(equations, "gaps", lambda *_: ["equation 4: no test"])
    with pytest.raises(DidError) as caught:
        chapters.write_pages(project, GIVEN)
    assert str(caught.value).splitlines()[:3] == [
        "the book is not built:",
        "- equation 4: no test",
        "- first has not been executed: `make book` does it",
    ]
    assert not (project / "book/executed").exists()


def test_a_parameter_that_no_notebook_has(project):
    with pytest.raises(DidError, match="^no notebook of the book has a parameter 'sorce': did you mean 'source'"):
        chapters.execute(project, {"sorce": "ffpp"})


def test_pages_that_did_not_change_are_not_written_again(project):
    chapters.execute(project, GIVEN)
    chapters.write_pages(project, GIVEN)
    page = project / "book/executed/first.ipynb"
    before = page.stat().st_mtime_ns
    shutil.copy(page, project / "book/executed/left_over.ipynb")
    chapters.write_pages(project, GIVEN)
    assert page.stat().st_mtime_ns == before
    assert not (project / "book/executed/left_over.ipynb").exists()


def test_the_committed_notebooks_are_taken_as_they_are(project):
    chapters.execute(project, GIVEN)
    for name in ("first", "second"):
        shutil.move(project / f"runs/book/{name}.ipynb", project / f"notebooks/{name}.ipynb")
    chapters.write_pages(project, GIVEN, committed=True)
    assert (project / "book/executed/second.ipynb").is_file()
    assert "| [](executed/second) | smoke |" in (project / "book/executed/timings.md").read_text("utf-8")


def test_a_refreshed_notebook_has_no_bars_and_what_is_compared_no_text_and_no_pictures(project):
    bar = "import sys\nprint('3 of 3', file=sys.stderr)\nprint('done')"
    write(project, "first", bar + "\nfrom IPython.display import Image\nImage(data=b'\\x89PNG', format='png')")
    (project / "tests/notebooks").mkdir(parents=True)
    chapters.refresh(project, ["first"])
    chapters.refresh(project, ["first"], shown=True)
    for folder, preset in (("notebooks", "laptop"), ("tests/notebooks", "smoke")):
        nb = nbformat.read(project / folder / "first.ipynb", 4)
        assert nb.metadata.papermill.parameters == {"preset": preset}
        printed = [output.text for cell in nb.cells for output in cell.get("outputs", []) if "text" in output]
        assert printed == ["done\n"], "a bar, or nothing"
        pictures = ["image/png" in output.get("data", {}) for cell in nb.cells for output in cell.get("outputs", [])]
        assert any(pictures) == (folder == "notebooks")
        assert ("markdown" in [cell.cell_type for cell in nb.cells]) == (folder == "notebooks")


def test_a_notebook_that_fails_leaves_those_before_it_refreshed(project):
    (project / "tests/notebooks").mkdir(parents=True)
    write(project, "second", "1 / 0")
    with pytest.raises(
        DidError, match="the notebook second failed in its cell .*; see .*second-failed.ipynb$"
    ) as caught:
        chapters.refresh(project)
    shown = nbformat.read(str(caught.value).split("; see ")[1], 4)
    assert "division by zero" in shown.cells[-1].outputs[0].evalue
    assert [file.name for file in (project / "tests/notebooks").iterdir()] == ["first.ipynb"]
