"""What `pytest --nbval` notices in the committed notebooks: a changed constant in the AUC loss, in the metric and in
the label map, and words that the code no longer prints.

Each change is made in a copy of the package beside a copy of one notebook. The same copy without it is green, so that
the change and nothing else is why a cell is red.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from did_book.build import notebooks

ROOT = Path(__file__).resolve().parents[1]
COMPARED = ROOT / notebooks.COMPARED


def project(folder: Path, notebook: str, last: str | None = None) -> Path:
    """A project of the package and one notebook, up to the cell whose code holds `last`, or all of it.

    A cell of its own stands first: the kernel imports this copy, not the installed package.
    """
    shutil.copytree(ROOT / "src" / "did", folder / "src" / "did", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "notebooks").mkdir()
    for name in ("conftest.py", "nbval_sanitize.cfg"):
        shutil.copy(COMPARED / name, folder / "notebooks")
    content = json.loads((COMPARED / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    if last is not None:
        (end,) = [number for number, cell in enumerate(code) if last in "".join(cell["source"])]
        code = code[: end + 1]
    source = f"import did\n\nassert did.__file__ == {str(folder / 'src' / 'did' / '__init__.py')!r}, did.__file__"
    first = {"cell_type": "code", "execution_count": 1, "id": "copy", "metadata": {}, "outputs": [], "source": [source]}
    content["cells"] = [first, *code]
    (folder / "notebooks" / f"{notebook}.ipynb").write_text(json.dumps(content), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return folder


def plant(file: Path, old: str, new: str) -> None:
    """Change one place of a file; a place that has gone, or stands there twice, is no proof of anything."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name} holds {text.count(old)} times: {old}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def red_cells(folder: Path) -> list[str]:
    """The code of the cells that nbval finds red in the notebook of a project."""
    (notebook,) = (folder / "notebooks").glob("*.ipynb")
    command = [
        sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-sanitize-with",
        "notebooks/nbval_sanitize.cfg", "-q", "-rf", "--color=no", "-p", "no:cacheprovider",
        f"notebooks/{notebook.name}",
    ]  # fmt: skip
    paths = [str(folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "DID_HOME": str(folder / "home")}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1), said  # 2 to 5: pytest itself did not get to the cells
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    red = ["".join(cells[int(number)]["source"]) for number in re.findall(r"^FAILED \S+::Cell (\d+)", said, re.M)]
    assert bool(red) == (done.returncode == 1), said
    return red


#: How far each notebook is run. The AUC loss is checked early; a run's record stands at the end.
ENDS = {
    "method_4_ranking": "ranking.auc_loss_by_pairs",
    "data": "table.report(data.index, data.root)",
    "train": 'print("the record holds")',
}
OPENS = "open_source(source, edition, data_root, faces, preset)"


@pytest.fixture(scope="module")
def green(tmp_path_factory):
    """Make sure, once a notebook, that it is green without a change."""
    done = set()

    def check(notebook: str) -> None:
        if notebook not in done:
            assert red_cells(project(tmp_path_factory.mktemp("green"), notebook, ENDS[notebook])) == []
            done.add(notebook)

    return check


AUC_LOSS = "def auc_loss(scores: Tensor, labels: Tensor, margin: float = {}, power: float = {})"
PAIRS = "shortfall.pow(power).mean()"
LABELLED = '"label": {},'
CHECKED = '(table["label"] == {}) != (table["method"] == REAL)'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("notebook", "changes", "cell"),
    [
        pytest.param(
            "method_4_ranking",
            [("losses.py", AUC_LOSS.format(0.15, 2.0), AUC_LOSS.format(0.15, 3.0))],
            ENDS["method_4_ranking"],
            id="AUC loss, power",
        ),
        pytest.param(
            "method_4_ranking",
            [("losses.py", PAIRS, f"0.5 * {PAIRS}")],
            ENDS["method_4_ranking"],
            id="AUC loss, half",
        ),
        pytest.param(
            "train",
            [("evaluation.py", "(tpr[:, 1:] + tpr[:, :-1]) / 2)", "(tpr[:, 1:] + tpr[:, :-1]) / 2.1)")],
            ENDS["train"],
            id="metric, AUC",
        ),
        pytest.param(
            "train",
            [("evaluation.py", "gap = fpr - (1 - tpr)", "gap = fpr - (0.9 - tpr)")],
            ENDS["train"],
            id="metric, EER",
        ),
        pytest.param("data", [("data/ffpp.py", '"Deepfakes": 1', '"Deepfakes": 0')], OPENS, id="label map, one method"),
        pytest.param("data", [("data/ffpp.py", "tables.REAL: 0", "tables.REAL: 1")], OPENS, id="label map, real"),
        pytest.param(
            "data",
            [
                ("data/layout.py", LABELLED.format("label"), LABELLED.format("1 - label")),
                ("data/table.py", CHECKED.format(0), CHECKED.format(1)),
            ],
            ENDS["data"],
            id="labels the other way round, and their check",
        ),
    ],
)
def test_a_changed_constant_turns_a_notebook_red(notebook, changes, cell, green, tmp_path):
    green(notebook)
    folder = project(tmp_path, notebook, ENDS[notebook])
    for file, old, new in changes:
        plant(folder / "src" / "did" / file, old, new)
    red = red_cells(folder)
    assert red and cell in red[0], red


def test_a_constant_of_the_auc_loss_and_words_that_are_not_printed_turn_a_notebook_red(tmp_path):
    name = "method_4_ranking"
    plain, changed = (project(tmp_path / folder, name, ENDS[name]) for folder in ("plain", "changed"))
    plant(changed / "src/did/method/losses.py", AUC_LOSS.format(0.15, 2.0), AUC_LOSS.format(0.16, 2.0))
    plant(changed / f"notebooks/{name}.ipynb", "scikit-learn's AUC 0", "the AUC of scikit-learn 0")
    with ThreadPoolExecutor(2) as pool:
        green, red = pool.map(red_cells, (plain, changed))
    assert green == []
    words, loss = red
    assert "scikit-learn's AUC" in words
    assert ENDS[name] in loss
