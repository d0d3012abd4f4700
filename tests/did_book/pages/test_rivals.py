"""The rivals' page: a card for each, whose numbers are the records', the paper's and the benchmarks'."""

import copy
import json
import shutil
from pathlib import Path

import pytest

from did.paper.experiments import EXPERIMENTS
from did.paper.published import TABLE_1, TABLE_2
from did_book.pages import costs
from did_book.pages.rivals import rivals_page

ROOT = Path(__file__).resolve().parents[3]
RAN = [row.name for row in EXPERIMENTS["table1_intra_cross"].rows if row.task and row.name not in ("DID", "Xception")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The committed record of Table 1 with one row made up."""
    root = tmp_path_factory.mktemp("project")
    (root / "results").mkdir()
    entry = json.loads((ROOT / "results/table1_intra_cross-laptop-drawn.json").read_text(encoding="utf-8"))
    entry["rows"] = [row for row in entry["rows"] if row["row"] != "MDD"]
    entry["differences"] = [row for row in entry["differences"] if "MDD" not in (row["a"], row["b"])]
    (model,) = [row for row in entry["rows"] if (row["row"], row["test"], row["level"]) == ("BCE", "CDF2", "frame")]
    entry["rows"].append({**copy.deepcopy(model), "row": "MDD", "ours": 0.6543, "low": 0.6, "high": 0.7})
    (root / "results/table1_intra_cross-laptop-drawn.json").write_text(json.dumps(entry), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def cards(project):
    parts = rivals_page(project).split("\n## ")
    return {part.splitlines()[0]: part for part in parts[1:]}


def test_every_system_that_runs_here_has_a_card(cards):
    assert list(cards) == RAN and len(RAN) >= 14


def test_a_card_says_what_is_exact_what_is_a_reading_and_where_it_is_from(cards):
    for name, card in cards.items():
        assert "{py:mod}`did.rivals." in card and "million parameters trained" in card, name
        if name in TABLE_1 or name in ("UCF", "SBI", "DIRE-small", "GenD recipe"):
            assert "Source: " in card, name
            assert "Our reading" in card or "our reading" in card or name == "F3-Net", name
    assert "0.30 million parameters trained, 0.30 million at test" in cards["Multi-task"]


def test_published_and_own_numbers_stand_side_by_side(cards):
    assert "| CDF2 | 0.674 | 0.654 [0.600, 0.700] | - |" in cards["MDD"]
    assert f"| FF++ | {TABLE_1['MDD'][0]:.3f} | - | - |" in cards["MDD"], "not in this record"
    assert "0.674" not in cards["UCF"] and f"{TABLE_2['F3-Net']['T2I']:.3f}" not in cards["F3-Net"], "no Table 2 here"
    assert "nan" not in "".join(cards.values())


def test_a_measured_cost_is_shown(project, monkeypatch):
    assert "*Cost:*" not in rivals_page(project)
    monkeypatch.setenv("DID_HOME", str(project))
    rows = [costs.row(what, "a case", ("MDD", "BCE"), "cost", [(2.0, 1.0)]) for what in ("training step", "test time")]
    costs.save("rivals", rows, "python benchmarks/rivals.py", 1.0, file=project / "benchmarks/results/cpu.json")
    page = rivals_page(project)
    assert page.count("*Cost:* 2.0 times BCE's training step, 2.0 times BCE's test time.") == 1


def test_a_card_shows_how_the_validation_went(project, tmp_path):
    shutil.copytree(project / "results", tmp_path / "results")
    assert "*Validation AUC*" not in rivals_page(tmp_path), "no run is kept"
    shutil.copytree(ROOT / "results/runs", tmp_path / "results/runs")
    entry = json.loads((project / "results/table1_intra_cross-laptop-drawn.json").read_text(encoding="utf-8"))
    by_iteration: dict[int, list[float]] = {}
    for file in (ROOT / "results/runs").glob("*.json"):
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["run"]["run"] in entry["runs"]["UCF"]:
            history = kept["history"]
            for iteration, value in zip(history["iteration"], history["validation AUC"], strict=True):
                if value is not None:
                    by_iteration.setdefault(iteration, []).append(value)
    assert [len(values) for values in by_iteration.values()] == [3] * 4
    said = ", ".join(f"{sum(values) / 3:.3f} after {iteration}" for iteration, values in sorted(by_iteration.items()))
    page = rivals_page(tmp_path).split("\n## UCF\n")[1].split("\n## ")[0]
    assert f"*Validation AUC*, mean of its seeds: {said} iterations." in page


def test_records_of_other_tables_leave_the_published_numbers(project, tmp_path):
    (tmp_path / "results").mkdir()
    other = ROOT / "results/fig4_alpha-laptop-drawn.json"
    (tmp_path / "results" / other.name).write_bytes(other.read_bytes())
    page = rivals_page(tmp_path)
    assert "no record yet" in page and "none yet" in page and page.count("\n## ") == len(RAN)


def test_systems_without_all_of_their_runs_are_named(project, tmp_path):
    file = "results/table1_intra_cross-laptop-drawn.json"
    entry = json.loads((project / file).read_text(encoding="utf-8"))
    entry["setup"], entry["runs"] = ({name: entry[part]["BCE"] for name in RAN} for part in ("setup", "runs"))
    (tmp_path / "results").mkdir()
    (tmp_path / file).write_text(json.dumps(entry), encoding="utf-8")
    assert "Not all runs of these" not in rivals_page(tmp_path)
    del entry["setup"]["SBI"], entry["setup"]["NoiseDF"]
    (tmp_path / file).write_text(json.dumps(entry), encoding="utf-8")
    assert "Not all runs of these are in the records yet: NoiseDF, SBI." in rivals_page(tmp_path)
