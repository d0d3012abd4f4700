"""From an executed notebook to a page."""

import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from IPython.core.formatters import DisplayFormatter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from did.plots.base import Plot, canvas, put_stamp
from did.utils import words
from did_book.build import page

STAMP = "STAND-IN, not the licensed data: drawn faces. Preset smoke, seed 0"
DATA = pd.DataFrame({"method": ["FaceSwap", "Deepfakes, too"], "auc": [0.5, 1 / 3]})


def figure(stamp: str = "", alt: str = "Bars of the AUC of two methods, .500 and .333.") -> NotebookNode:
    drawing, _ = canvas(1, 1)
    if stamp:
        put_stamp(drawing, stamp)
    data, metadata = Plot(drawing, DATA, alt)._repr_mimebundle_()
    png = base64.b64encode(data.pop("image/png")).decode()
    return new_output("display_data", {"image/png": png, **data}, metadata=metadata)


def table() -> NotebookNode:
    return new_output("execute_result", {"text/html": DATA.to_html(), "text/plain": "a table"}, execution_count=1)


def cell(*outputs: NotebookNode, tags: tuple[str, ...] = (), count: int | None = 1) -> NotebookNode:
    return new_code_cell("show()", outputs=list(outputs), execution_count=count, metadata={"tags": list(tags)})


def stamp_cell(text: str = STAMP) -> NotebookNode:
    said = new_output("execute_result", {"text/markdown": f"> **{text}** "}, execution_count=1)
    return cell(said, tags=("stamp",))


def notebook(*cells: NotebookNode, stamp: str = STAMP) -> NotebookNode:
    title, heading = new_markdown_cell("# A page"), new_markdown_cell("Words.\n\n## The $T$ result")
    about = {"papermill": {"duration": 90.0, "parameters": {"preset": "smoke"}}}
    return new_notebook(cells=[title, stamp_cell(stamp), heading, *cells], metadata=about)


def under(of: NotebookNode) -> BeautifulSoup:
    return BeautifulSoup(of.outputs[1].data["text/html"], "html.parser")


def test_a_sound_notebook_has_no_problems():
    assert page.problems(notebook(cell(figure()), cell(table()))) == []


def test_a_figure_gets_its_words_and_its_data():
    done = page.finish(notebook(cell(figure())), "start")
    of = done.cells[-1]
    assert of.metadata["mystnb"]["image"]["alt"] == "Bars of the AUC of two methods, .500 and .333."
    assert "text/csv" not in of.outputs[0].data
    (link,) = under(of)("a")
    assert link["download"] == "start-1.csv"
    text = base64.b64decode(link["href"].removeprefix("data:text/csv;base64,")).decode()
    read = pd.read_csv(io.StringIO(text))
    assert list(read.method) == list(DATA.method)
    assert np.allclose(read.auc, DATA.auc, rtol=1e-5)


def test_a_table_can_be_heard_and_loaded():
    done = page.finish(notebook(cell(table())), "start")
    of = done.cells[-1]
    region = BeautifulSoup(of.outputs[0].data["text/html"], "html.parser").div
    assert (region["role"], region["aria-label"], region["tabindex"]) == ("region", "Table: The T result", "0")
    assert [head["scope"] for head in region("th")] == ["col", "col", "row", "row"]
    assert not region.table.has_attr("border")
    text = base64.b64decode(under(of).a["href"].removeprefix("data:text/csv;base64,")).decode()
    assert list(pd.read_csv(io.StringIO(text)).method) == list(DATA.method)


def test_the_stamp_stands_under_both_with_its_badge_and_the_minutes():
    done = page.finish(notebook(cell(figure()), cell(table())), "start")
    for of in done.cells[-2:]:
        line = under(of)
        assert line.select_one(".did-badge").get_text() == "STAND-IN"
        assert "drawn faces. Preset smoke, seed 0. This page: 1.5 min." in line.get_text()
    notice = done.cells[1]
    assert notice.cell_type == "markdown"
    assert "did-standin" in notice.source and STAMP in notice.source


@pytest.mark.parametrize("stamp", ["Drawn faces, 2 cores", "Drawn faces, 2 cores."])
def test_the_credit_after_the_stamp_is_a_sentence_of_its_own(stamp):
    of = notebook(cell(table()))
    of.cells[1].outputs[0].data["text/markdown"] = f"> **{stamp}** They show nobody."
    text = under(page.finish(of, "a").cells[-1]).get_text()
    assert "Drawn faces, 2 cores. They show nobody. This page: 1.5 min." in text


def test_a_figure_keeps_a_stamp_of_its_own():
    done = page.finish(notebook(cell(figure("Other numbers, seeds 0, 1"))), "start")
    text = under(done.cells[-1]).get_text()
    assert text.startswith("SourceOther numbers, seeds 0, 1. This page")
    assert "STAND-IN" not in text


def test_one_figure_from_a_stand_in_is_said_under_the_title_too():
    of = notebook(cell(figure(STAMP)))
    of.cells[1].outputs[0].data["text/markdown"] = "Random input, no data set"
    done = page.finish(of, "start")
    assert "did-standin" in done.cells[1].source and STAMP in done.cells[1].source
    of.cells[-1].outputs[0].metadata["image/png"]["stamp"] = "Random input"
    assert not any("did-standin" in each.source for each in page.finish(of, "start").cells)


def test_licensed_data_get_no_badge():
    done = page.finish(notebook(cell(table()), stamp="FaceForensics++, licensed data"), "start")
    assert "did-standin" not in nbformat.writes(done)
    assert "did-badge" not in nbformat.writes(done)


def test_imports_unfold_and_given_parameters_are_left_out():
    imports = new_code_cell('check_parameters(globals(), "start")', execution_count=1)
    given = new_code_cell("# Parameters", execution_count=1, metadata={"tags": ["injected-parameters"]})
    done = page.finish(notebook(imports, given, cell(table())), "start")
    tags = [of.metadata["tags"] for of in done.cells[-3:]]
    assert tags == [["hide-input"], ["injected-parameters", "remove-cell"], []]


def with_parameters(given: dict) -> list[str]:
    """The texts of a page's cells, where the notebook has two parameters and papermill was given these."""
    shown = cell(tags=("parameters",))
    shown.source = 'preset = "laptop"  # smoke or laptop\nfaces = None'
    of = notebook(shown, cell(table()))
    of.metadata["papermill"]["parameters"] = given
    return [each.source for each in page.finish(of, "start").cells]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"preset": "smoke"}, "This page was executed with preset `smoke`."),
        ({"preset": "laptop", "faces": "/home/me/portraits"}, "This page was executed with faces `portraits`."),
        ({"preset": "smoke", "faces": "london"}, "This page was executed with preset `smoke`, faces `london`."),
        (
            {"preset": "laptop", "fresh": False},
            "It shows the committed record of its runs (`fresh = False`), and trains none.",
        ),
    ],
)
def test_a_page_says_under_its_parameters_with_which_others_it_was_executed(given, line):
    texts = with_parameters(given)
    (place,) = [place for place, text in enumerate(texts) if text.startswith("preset =")]
    assert texts[place + 1] == line


def test_a_page_of_the_parameters_that_it_shows_says_nothing_of_them():
    assert not any("executed with" in text for text in with_parameters({"preset": "laptop", "faces": None}))


def test_the_same_notebook_gives_the_same_page():
    shown = cell(tags=("parameters",))
    shown.source = 'preset = "laptop"'
    of = notebook(shown, cell(table()))
    first, second = (nbformat.writes(page.finish(of, "start", "someone/did")) for _ in range(2))
    assert "executed with" in first and "binder" in first and "did-standin" in first
    assert first == second


def test_a_page_keeps_nothing_of_how_it_was_executed():
    of = notebook(cell(table()))
    of.metadata["did"] = {"digest": "0"}
    of.cells[-1].metadata["papermill"] = {"start_time": "now"}
    done = page.finish(of, "start")
    assert not {"papermill", "did"} & set(done.metadata)
    assert "papermill" not in done.cells[-1].metadata
    assert "papermill" in of.metadata, "the notebook itself was changed"


def test_the_answer_comes_first_where_there_is_one():
    of = notebook(cell(table()))
    first, *_ = page.finish(of, "start", answer="**Is it so?** Yes.").cells[1:]
    assert first.source.startswith("```{admonition} The answer, from the committed records (preset laptop, STAND-IN)")
    assert "**Is it so?** Yes." in first.source
    assert not any("The answer" in each.source for each in page.finish(of, "start").cells)


def test_buttons_to_binder_and_colab_only_with_a_repository():
    of = notebook(cell(table()))
    assert "binder" not in nbformat.writes(page.finish(of, "start"))
    button = page.finish(of, "start", "someone/did").cells[2].source
    assert "https://mybinder.org/v2/gh/someone/did/" in button
    assert "labpath=notebooks%2Fstart.ipynb" in button
    assert re.search(r"https://colab\.research\.google\.com/github/someone/did/blob/\w+/notebooks/start\.ipynb", button)
    assert "!pip install" in button


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])


@pytest.mark.parametrize(
    ("faulty", "sentence"),
    [
        (cell(ERROR), "cell 3 ends in ValueError: no"),
        (cell(count=None), "cell 3 was not executed"),
        (cell(figure(), figure()), "cell 3 shows 2 figures"),
        (cell(figure(alt="")), "cell 3 shows a figure without an alternative text"),
        (cell(figure(alt="<Figure size 640x480 with 1 Axes>")), "cell 3 shows a figure without an alternative text"),
    ],
)
def test_what_keeps_a_notebook_out_of_the_book(faulty, sentence):
    (found,) = page.problems(notebook(faulty))
    assert found.startswith(sentence)


@pytest.mark.parametrize("shown", [figure, table])
def test_a_notebook_that_does_not_say_where_its_numbers_are_from(shown):
    of = notebook(cell(shown()))
    del of.cells[1]
    (found,) = page.problems(of)
    assert "no cell tagged 'stamp'" in found


# --- names of files and credits, as far as the built page -------------------------------------------------------------

ODD = "<img src=x onerror=alert(1)> \"q\" 'r' `s` ```t a|b [c](javascript:alert(1)) $d$ *e* </p><script>f()</script>"
SEEN = f"{ODD} caf\\xe9\\n# g"
HOSTILE = os.fsdecode(f"{ODD} caf".encode() + b"\xe9") + "\n# g"

CONFIG = """
extensions = ["myst_nb", "sphinx_design"]
nb_execution_mode = "off"
html_theme = "basic"
smartquotes = False
myst_enable_extensions = ["colon_fence", "dollarmath", "linkify", "substitution", "tasklist"]  # Jupyter Book's
"""


def sphinx(folder: Path, page_: NotebookNode) -> BeautifulSoup:
    """The page as a browser gets it: built by Sphinx and myst-nb, with each warning an error."""
    source = folder / "source"
    source.mkdir()
    (source / "conf.py").write_text(CONFIG, "utf-8")
    nbformat.write(page_, source / "index.ipynb")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(source), str(folder / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return BeautifulSoup((folder / "html/index.html").read_text("utf-8"), "html.parser")


def outputs_of(shown: object, kind: str = "execute_result") -> NotebookNode:
    """What a kernel would send of an object."""
    bundle, about = DisplayFormatter().format(shown)
    if "image/png" in bundle:
        bundle["image/png"] = base64.b64encode(bundle["image/png"]).decode()
    return new_output(kind, bundle, metadata=about, execution_count=1)


def html_of(table_: pd.DataFrame) -> str:
    """As the notebooks show it, which let no cell end in dots."""
    with pd.option_context("display.max_colwidth", None):
        return table_._repr_html_()


def test_a_built_page_shows_names_and_credits_as_text(tmp_path):
    banner = f"STAND-IN, not the licensed data: {HOSTILE}"
    names = pd.DataFrame({"method": [SEEN], SEEN: [0.5]}, index=[SEEN])
    drawing, axes = canvas(3, 2)
    axes[0, 0].set_title(HOSTILE)
    put_stamp(drawing, banner)
    of = notebook(
        cell(outputs_of(words.bullets([f"A sentence on {HOSTILE}."]))),
        cell(outputs_of(words.line(f"Protocol: {HOSTILE}."))),
        cell(new_output("execute_result", {"text/html": html_of(names), "text/plain": "names"}, execution_count=1)),
        cell(outputs_of(Plot(drawing, names.assign(raw=HOSTILE), f"A figure of {HOSTILE}."))),
    )
    of.cells[1] = cell(outputs_of(words.credited((banner, f"By {HOSTILE}"))), tags=("stamp",))
    of.cells.insert(1, new_code_cell("faces = None", execution_count=1, metadata={"tags": ["parameters"]}))
    of.metadata["papermill"]["parameters"] = {"faces": HOSTILE}
    of.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
    assert page.problems(of) == []
    body = sphinx(tmp_path, page.finish(of, "start", f"owner/{ODD}")).find(role="main")
    for tag in body(True):
        assert not [name for name in tag.attrs if name.startswith("on")], tag
    assert len(body("img")) == 1 and not body("script")
    assert {urlsplit(link["href"]).scheme for link in body("a")} == {"", "data", "https"}
    text = " ".join(body.get_text().split())
    for said in (
        f"A sentence on {SEEN}.",
        f"Protocol: {SEEN}.",
        f"licensed data: {SEEN} By {SEEN}",
        f"faces {SEEN.rsplit('/', 1)[1]}.",
    ):
        assert said in text
    assert body.img["alt"] == f"A figure of {SEEN}."
    table_, figure_ = (link["href"] for link in body("a", download=True))
    for link in (table_, figure_):
        read = pd.read_csv(io.StringIO(base64.b64decode(link.split(",", 1)[1]).decode()))
        assert list(read.method) == [SEEN]
    under_, _ = (stamp.get_text() for stamp in body.select(".did-stamp"))
    assert under_.startswith(f"STAND-IN Sourcenot the licensed data: {SEEN}. By {SEEN}")
