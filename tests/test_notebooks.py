"""The notebooks as a user runs them: papermill in a process of its own. What all those of the paper's tables and
figures have in common is read from their cells, and their mistakes are made without a kernel."""

import ast
import builtins
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from did.errors import DidError
from did.paper import conduct as conduct_module
from did.paper import records
from did.paper.conduct import conduct
from did.paper.experiments import EXPERIMENTS
from did.paper.parameters import PARAMETERS

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
#: Experiments with a notebook of their own.
SHOWN = [name for name in EXPERIMENTS if name in PARAMETERS]


def papermill(folder: Path, *arguments: str, notebook: str = "train") -> subprocess.CompletedProcess:
    """Run a notebook with `folder` as the working folder and as the project that data and runs go to."""
    command = [sys.executable, "-m", "papermill", NOTEBOOKS / f"{notebook}.ipynb", "out.ipynb", *arguments]
    environment = {**os.environ, "DID_HOME": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


#: What `train` says of a mistake. A kernel takes some 11 seconds to start, so that the quick tests start one for a
#: parameter and one for the data; without a kernel all are tried, see below.
OF_TRAIN = [
    ("sorce", "ffpp", "unknown parameter 'sorce': did you mean 'source'?"),
    ("edition", "licensed", "edition=licensed, but there is no FaceForensics++ (looked in"),
    ("source", "fppp", "unknown source 'fppp': did you mean 'ffpp'?"),
    ("preset", "labtop", "unknown preset 'labtop': did you mean 'laptop'?"),
    ("data_root", 2024, "the parameter 'data_root' takes a text, got 2024"),
    ("seed", 2**64, "setting 'seed' must lie between 0 and 18446744073709551615, got 184"),
]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [pytest.param(*each, marks=[pytest.mark.slow] if number > 1 else []) for number, each in enumerate(OF_TRAIN)],
)
def test_a_mistake_is_one_sentence_with_a_bad_exit_status(tmp_path, name, value, sentence):
    done = papermill(tmp_path, "-p", name, str(value))
    assert done.returncode != 0
    assert f"DidError: {sentence}" in done.stderr
    after = done.stderr.split("Exception encountered at")[1]
    assert after.count("\n") < 8, "a stack stands beside the sentence"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("notebook", "arguments", "sentence"),
    [
        ("table4_ablation", ["-y", "rows: [w/o TT]"], "DidError: unknown row 'w/o TT': did you mean 'w/o T'?"),
        pytest.param(
            "fig4_alpha",
            ["-p", "seeds", "a,b"],
            "DidError: seeds takes different whole numbers from 0 up",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mistake_in_a_results_notebook_leaves_nothing_behind(tmp_path, notebook, arguments, sentence):
    done = papermill(tmp_path, *arguments, notebook=notebook)
    assert done.returncode != 0
    after = done.stderr.split("Exception encountered at")[1]
    assert sentence in after
    assert after.count("\n") < 8, "a stack stands beside the sentence"
    assert {file.name for file in tmp_path.iterdir()} == {"out.ipynb"}


# --- the notebooks of the paper's tables and figures, without a kernel -----------------------------------------------


def code_cells(notebook: str) -> list[str]:
    """The code of each cell from the one with the parameters on, without what papermill has injected."""
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    tags = [cell["metadata"].get("tags", []) for cell in cells]
    (first,) = [number for number, of in enumerate(tags) if "parameters" in of]
    found = zip(cells[first:], tags[first:], strict=True)
    return [
        "".join(cell["source"]) for cell, of in found if cell["cell_type"] == "code" and "injected-parameters" not in of
    ]


def calls(code: str, name: str) -> list[ast.Call]:
    """The calls of `name`, a function or module.function, in the order of the code."""
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return sorted((node for node in found if ast.unparse(node.func) == name), key=lambda node: node.lineno)


MISTAKES = {
    "unknown parameter 'sedes': did you mean 'seeds'": {"sedes": "0,1"},
    "unknown preset 'labtop': did you mean 'laptop'": {"preset": "labtop"},
    "unknown edition 'licenced': did you mean 'licensed'": {"edition": "licenced"},
    "seeds takes different whole numbers from 0 up, as in -p seeds 0,1,2; got 'a,b'": {"seeds": "a,b"},
    "unknown row 'DIDD': ": {"rows": ["DIDD"]},
    "rows takes a list, as in -y 'rows: ": {"rows": "DID"},
}


@pytest.mark.parametrize(
    ("notebook", "sentence"),
    [
        (notebook, sentence)
        for notebook in SHOWN
        for sentence, given in MISTAKES.items()
        if set(given) <= {*PARAMETERS[notebook], "sedes"}
    ],
)
def test_each_stops_at_a_mistake_before_anything_is_made(notebook, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    monkeypatch.delenv("DID_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    parameters, *cells = code_cells(notebook)
    namespace: dict = {"__name__": "__main__"}
    exec(parameters, namespace)
    namespace |= {"preset": "smoke"} | MISTAKES[sentence]
    # They set this option; here it is set back.
    with pd.option_context("display.max_colwidth", 50), pytest.raises(DidError) as caught:
        exec("\n".join(cells), namespace)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value", "sentence"), OF_TRAIN)
def test_train_stops_at_a_mistake_before_anything_is_made(name, value, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    monkeypatch.delenv("DID_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    parameters, *cells = code_cells("train")
    namespace: dict = {"__name__": "__main__"}
    exec(parameters, namespace)
    with pytest.raises(DidError) as caught:
        exec("\n".join(cells), namespace | {name: value})
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("notebook", PARAMETERS)
def test_each_checks_its_parameters_before_all_else(notebook):
    first, second, *_ = ast.parse(code_cells(notebook)[1]).body
    assert ast.unparse(first) == "from did.paper.parameters import check_parameters"
    assert ast.unparse(second) == f"check_parameters(globals(), '{notebook}')"


TEXT, SEEDS = "takes a text, got ", "seeds takes different whole numbers from 0 up"
UNFIT = [
    ({"data_root": 2024}, TEXT),
    ({"data_root": False}, TEXT),
    ({"faces": 3.5}, TEXT),
    ({"source": None}, TEXT),
    ({"source": 1}, TEXT),
    ({"edition": None}, TEXT),
    ({"preset": 7}, TEXT),
    ({"preset": None}, TEXT),
    ({"backbone": ["a"]}, TEXT),
    ({"pretrained": True}, TEXT),
    ({"records": 12}, TEXT),
    ({"seed": "zero"}, "setting 'seed' takes int, got 'zero'"),
    ({"seed": None}, "setting 'seed' takes int, got None"),
    ({"seed": 1.5}, "setting 'seed' takes int, got 1.5"),
    ({"seed": True}, "setting 'seed' takes int, got True"),
    ({"seed": -1}, "setting 'seed' must lie between 0 and "),
    ({"seed": 2**64}, "setting 'seed' must lie between 0 and "),
    ({"seeds": 2**64}, "setting 'seed' must lie between 0 and "),
    ({"seeds": "0,1,1"}, SEEDS),
    ({"seeds": {"a": 1}}, SEEDS),
    ({"iterations": 0}, "setting 'iterations' must be above 0"),
    ({"iterations": "many"}, "setting 'iterations' takes int"),
    ({"fresh": 1}, "the parameter 'fresh' takes True or False, as in -p fresh False, got 1"),
    ({"fresh": None}, "the parameter 'fresh' takes True or False"),
    ({"people": "all"}, "the parameter 'people' takes a whole number from 1 up"),
    ({"people": 0}, "the parameter 'people' takes a whole number from 1 up"),
    ({"sorce": "ffpp"}, "unknown parameter 'sorce': "),
    ({"data-root": "x"}, "unknown parameter 'data-root': "),
    ({"os": "x"}, "unknown parameter 'os': "),
]


@pytest.mark.parametrize("notebook", PARAMETERS)
def test_each_says_of_a_parameter_what_it_takes(notebook):
    parameters, first, *_ = code_cells(notebook)
    check = ast.unparse(ast.Module(ast.parse(first).body[:2], []))
    for given, sentence in UNFIT:
        (name,) = given
        if name not in PARAMETERS[notebook] and sentence[:7] != "unknown":
            continue
        namespace: dict = {"__name__": "__main__"}
        exec(parameters, namespace)
        with pytest.raises(DidError) as caught:
            exec(check, namespace | given)
        assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("notebook", PARAMETERS)
def test_each_takes_its_defaults_and_what_its_comments_name(notebook):
    parameters, first, *_ = code_cells(notebook)
    namespace: dict = {"__name__": "__main__"}
    exec(parameters, namespace)
    given = {"seeds": "0,1,2", "seed": 2**64 - 1, "iterations": 1, "people": 1, "source": "folder:/a", "data_root": "a",
             "faces": "london", "records": "a", "backbone": "resnet50", "pretrained": "none"}  # fmt: skip
    check = ast.unparse(ast.Module(ast.parse(first).body[:2], []))
    exec(check, dict(namespace))
    exec(check, namespace | {name: value for name, value in given.items() if name in PARAMETERS[notebook]})


@pytest.mark.parametrize("notebook", SHOWN)
def test_each_passes_its_parameters_on(notebook):
    parameters, *cells = code_cells(notebook)
    call, *others = calls("\n".join(cells), "conduct")
    assert all(ast.literal_eval(other.args[0]) in set(EXPERIMENTS) - set(SHOWN) for other in others)
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    passed = inspect.signature(conduct).bind(*call.args, **keywords).arguments
    passed |= passed.pop("options", {})
    shown = {name: ast.unparse(value) for name, value in passed.items()}
    assert shown.pop("name") == repr(notebook)
    assert all(name == value for name, value in shown.items()), shown
    # What the experiment does not take is the notebook's own, and it reads it.
    own = set(PARAMETERS[notebook]) - set(shown)
    assert not own & set(inspect.signature(conduct).parameters)
    read = {node.id for cell in cells for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Name)}
    assert own <= read
    given = {node.targets[0].id: node.value for node in ast.parse(parameters).body}
    assert ast.unparse(given["preset"]) == "'laptop'"


@pytest.mark.parametrize("notebook", SHOWN)
def test_each_shows_its_record(notebook):
    """`conduct` has saved it; what a notebook says, compares and draws is read from it, and it ends with its stamp."""
    *cells, last = code_cells(notebook)
    code = "\n".join(cells)
    assert len(re.findall(r"^record, stamp = outcome\.record, outcome\.record\[", code, re.MULTILINE)) == 1
    (said,) = [cell for cell in cells if 'record["sentences"]' in cell]
    assert calls(said, "words.bullets")
    assert (calls(code, "tables.against") or calls(code, "part")) and "save(" not in code + last
    assert last.splitlines()[-1] == "words.line(stamp)"


#: Those that show faces open the data, and Fig. 6 trains a run, even where their numbers are from a record.
PICTURED = {"start", "fig6_saliency"}
RECORDED = [name for name in SHOWN if "fresh" in PARAMETERS[name] and name not in PICTURED]


@pytest.mark.parametrize("notebook", RECORDED)
def test_each_shows_the_committed_record_without_training(notebook, tmp_path, monkeypatch, capsys):
    what = EXPERIMENTS[notebook]
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    monkeypatch.delenv("DID_DATA", raising=False)
    monkeypatch.chdir(NOTEBOOKS)  # The committed records are those of the checkout.
    file = NOTEBOOKS.parent / "results" / f"{notebook}-laptop-drawn.json"
    entry = records.read(file) if file.is_file() else {}
    if len(entry.get("seeds", ())) != what.seeds or (what.measure and not entry.get("figures")):
        pytest.skip("its record is older than its definition")
    monkeypatch.setattr(conduct_module, "_open", lambda *_: pytest.fail("data was asked for"))
    parameters, *cells = code_cells(notebook)
    monkeypatch.setattr(builtins, "display", lambda *_: None, raising=False)
    namespace: dict = {"__name__": "__main__"}
    exec(parameters, namespace)
    namespace["fresh"] = False
    with pd.option_context("display.max_colwidth", 50):
        exec("\n".join(cells), namespace)
    assert namespace["stamp"].startswith("From the committed record. ")
    assert namespace["outcome"].runs == {} and not list(tmp_path.iterdir())
    assert "another library" not in capsys.readouterr().out


def test_what_is_not_our_own_text_is_quoted():
    """Banners, credits, protocols and sentences hold names of folders and people: `did.utils.words` shows them."""
    for notebook in PARAMETERS:
        for cell in code_cells(notebook):
            for shown in ("Markdown", "HTML"):
                for call in calls(cell, shown):
                    names = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
                    names |= {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
                    foreign = names & {"banner", "credit", "label", "protocol", "said", "sentence", "source", "data"}
                    assert not foreign, f"{notebook} shows {foreign} as {shown}: take did.utils.words"


def test_the_makefile_runs_each_of_them():
    lines = (NOTEBOOKS.parent / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    (line,) = [line for line in lines if line.startswith("RESULTS =")]
    assert sorted(line.split()[2:]) == sorted(SHOWN)


def test_the_owners_line_writes_the_notebook_to_a_redirected_output(tmp_path):
    """`papermill notebooks/train.ipynb -p ... > out.ipynb`: stopped by a wrong preset, it still writes what it ran."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOKS / "train.ipynb"),
        "-p",
        "source",
        "ffpp",
        "-p",
        "preset",
        "x",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "DID_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stdout.lstrip().startswith("{")
    assert '"nbformat"' in done.stdout
