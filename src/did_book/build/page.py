"""From an executed notebook to a page: words for its pictures, tables for a screen reader, stamps, data as CSV.

A notebook says where its numbers are from in one cell tagged `stamp`. That line is put under each of its
tables, and under each figure that has no stamp of its own.
"""

import ast
import base64
import copy
import csv
import html
import io
import re
from urllib.parse import quote

import nbformat
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from did.sources import STANDIN
from did.training.provenance import commit
from did.utils.words import code, plain, quoted

STAMP = "stamp"
CSV = "text/csv"
_TABLE = 'class="dataframe"'


def _outputs(cell: NotebookNode) -> list[NotebookNode]:
    return cell.get("outputs", [])


def _is_figure(output: NotebookNode) -> bool:
    return "image/png" in output.get("data", {})


def _is_table(output: NotebookNode) -> bool:
    return _TABLE in output.get("data", {}).get("text/html", "")


def stamp_of(nb: NotebookNode) -> str:
    """Return the text of the cell tagged `stamp`, or nothing."""
    for cell in nb.cells:
        if STAMP in cell.metadata.get("tags", []):
            for output in _outputs(cell):
                if "text/markdown" in output.get("data", {}):
                    return output.data["text/markdown"]
    return ""


def problems(nb: NotebookNode) -> list[str]:
    """List what keeps an executed notebook out of the book, one sentence each."""
    found = []
    shows = False
    for number, cell in enumerate(nb.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if cell.execution_count is None:
            found.append(f"cell {number} was not executed")
        found += [
            f"cell {number} ends in {output.ename}: {output.evalue}"
            for output in _outputs(cell)
            if output.output_type == "error"
        ]
        figures = [output for output in _outputs(cell) if _is_figure(output)]
        shows = shows or bool(figures) or any(map(_is_table, _outputs(cell)))
        if len(figures) > 1:
            found.append(f"cell {number} shows {len(figures)} figures: a page has words for one a cell")
        if any(len(_words(figure)) < 20 for figure in figures):
            found.append(f"cell {number} shows a figure without an alternative text: show a did.plots.Plot")
    if shows and not stamp_of(nb):
        found.append("it shows figures or tables and has no cell tagged 'stamp' that says where they are from")
    return found


def _words(figure: NotebookNode) -> str:
    words = figure.data.get("text/plain", "")
    return "" if words.startswith("<") else words.strip()


def finish(nb: NotebookNode, name: str, repository: str = "", answer: str = "") -> NotebookNode:
    """Turn a notebook into a page of the book.

    Each figure gets its words as alternative text; each table headers with a scope, in a region with a name that can be
    scrolled; both get the stamp and a link to their data as CSV, which is in the page itself. A page of stand-in
    numbers says so under its title, and one that was executed with other parameters than it shows, under those.

    Args:
        nb: executed, with no `problems`.
        name: of the notebook; names the files to download.
        repository: `owner/name` on GitHub: buttons open the notebook on Binder and Colab, at this commit.
        answer: what was found, in MyST; it comes first.
    """
    nb = copy.deepcopy(nb)
    # What was in bold ends in a full stop, or the credit after it would run on.
    stamp = re.sub(r"\.?\*\* +(?=\S)", ". ", stamp_of(nb)).replace("**", "")
    said, time = html.unescape(stamp.lstrip("> ").strip()), _time(nb)
    heading, number, from_standin = "", 0, said if STANDIN in said else ""
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            heading = ([heading] + re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE))[-1]
            continue
        tags = cell.metadata.setdefault("tags", [])
        # No part of the text: what papermill was given (`_executed_with` says it), and imports, which unfold.
        tags += ["remove-cell"] if "injected-parameters" in tags else []
        tags += ["hide-input"] if "check_parameters(globals()" in cell.source else []
        for place, output in reversed(list(enumerate(_outputs(cell)))):
            if not (_is_figure(output) or _is_table(output)):
                continue
            number, text = number + 1, said
            if _is_figure(output):
                cell.metadata["mystnb"] = {"image": {"alt": " ".join(_words(output).split())}}
                data = output.data.pop(CSV, "")
                text = output.metadata.get("image/png", {}).get("stamp") or said
                from_standin = from_standin or (text if STANDIN in text else "")
            else:
                output.data["text/html"], data = _table(output.data["text/html"], heading)
            under = _under(f"{text.rstrip('.')}. {time}", data, f"{name}-{number}.csv", _unmarked(heading))
            cell.outputs.insert(place + 1, nbformat.v4.new_output("display_data", {"text/html": under}))
    _executed_with(nb)
    top = [_text(_found(answer), "answer")] if answer else []
    top += [_text(_notice(from_standin), "stand-in")] if from_standin else []
    top += [_text(_launch(repository, name), "binder")] if repository else []
    nb.cells[1:1] = top
    _forget(nb)
    return nb


def _text(source: str, name: str) -> NotebookNode:
    """Build a cell of text.

    Its id is not random, so that a page that has not changed is the same file again.
    """
    return nbformat.v4.new_markdown_cell(source, id=f"page-{name}")


def _executed_with(nb: NotebookNode) -> None:
    """Name below the cell of parameters, which shows the defaults, those that had other values."""
    given = nb.metadata.get("papermill", {}).get("parameters", {})
    for place, cell in enumerate(nb.cells):
        if "parameters" in cell.metadata.get("tags", []):
            set_to = [line for line in ast.parse(cell.source).body if isinstance(line, ast.Assign)]
            shown = {ast.unparse(line.targets[0]): ast.literal_eval(line.value) for line in set_to}
            # Of a folder its last part: the whole path is nobody's business.
            others = [
                f"{key} {code(str(of).rsplit('/', 1)[-1])}"
                for key, of in given.items()
                if shown.get(key) != of and key != "fresh"
            ]
            lines = [f"This page was executed with {', '.join(others)}."] if others else []
            if given.get("fresh") is False:
                lines.append("It shows the committed record of its runs (`fresh = False`), and trains none.")
            if lines:
                nb.cells.insert(place + 1, _text(" ".join(lines), "executed-with"))
            return


def _time(nb: NotebookNode) -> str:
    """Say how long the page took."""
    seconds = nb.metadata.get("papermill", {}).get("duration")
    return f"This page: {seconds / 60:.1f} min." if seconds else ""


def _unmarked(heading: str) -> str:
    """Return a heading without its markup."""
    return re.sub(r"[$`*\\{}]", "", heading).strip()


def _table(text: str, heading: str) -> tuple[str, str]:
    """Convert a pandas table to one for a screen reader, and to CSV."""
    soup = BeautifulSoup(text, "html.parser")
    table = soup.find("table")
    assert table is not None
    del table["border"]
    for head in table("th"):
        # An empty cell heads nothing.
        if not head.get_text(strip=True):
            head.name = "td"
        else:
            head["scope"] = "col" if head.find_parent("thead") else "row"
    data = io.StringIO()
    csv.writer(data).writerows([cell.get_text() for cell in row(["th", "td"])] for row in table("tr"))
    label = html.escape(_unmarked(heading) or "Table", quote=True)
    region = f'<div class="did-table" role="region" aria-label="Table: {label}" tabindex="0">{table}</div>'
    return region, data.getvalue()


def _under(text: str, data: str, file: str, heading: str) -> str:
    """Return the line below a figure or table: its badge, where it is from, which unfolds, and its data."""
    badge, rest, link = "", text, ""
    if STANDIN in text:
        badge, rest = f'<span class="did-badge">{STANDIN}</span> ', re.sub(rf"^{STANDIN}[,:]? *", "", text)
    if data:
        inside = base64.b64encode(data.encode("utf-8", "backslashreplace")).decode()
        label = html.escape(f"data as CSV: {heading}", quote=True)
        link = f'<a download="{file}" href="data:text/csv;base64,{inside}" aria-label="{label}">data as CSV</a>'
    origin = f"<details><summary>Source</summary>{html.escape(plain(rest))}</details>"
    return f'<div class="did-stamp">{badge}{origin}{link}</div>'


def _found(text: str) -> str:
    return (
        f"```{{admonition}} The answer, from the committed records (preset laptop, {STANDIN})\n:class: tip\n{text}\n```"
    )


def _notice(text: str) -> str:
    title = f"{STANDIN}: numbers with this badge reproduce no number of the paper"
    return f"```{{admonition}} {title}\n:class: warning did-standin\n{quoted(text)}\n```"


def _launch(repository: str, name: str) -> str:
    """Return buttons that open the notebook on Binder, in the environment that `.binder/` locks, and on Colab."""
    at, project = commit().removesuffix("+changes"), quote(repository)
    places = {
        "Binder": f"https://mybinder.org/v2/gh/{project}/{at}?labpath=notebooks%2F{name}.ipynb",
        "Colab": f"https://colab.research.google.com/github/{project}/blob/{at}/notebooks/{name}.ipynb",
    }
    buttons = [
        f"```{{button-link}} {url}\n:color: primary\n:outline:\nOpen this notebook on {place}\n```"
        for place, url in places.items()
    ]
    install = f"On Colab, first run `!pip install 'crossdf[book] @ git+https://github.com/{project}@{at}'`."
    return "\n\n".join([*buttons, install])


def _forget(nb: NotebookNode) -> None:
    """Drop metadata on how the page was executed."""
    for metadata in (nb.metadata, *(cell.metadata for cell in nb.cells)):
        for key in ("papermill", "did"):
            metadata.pop(key, None)
