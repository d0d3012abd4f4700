import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from did import __version__, findings, ledger, paper
from did.errors import DidError
from did.experiments import EXPERIMENTS, rows_of

NAN = float("nan")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def outcome(tiny_outcome):
    """Table 1 with one system that is run and one that is not; the number is longer than a reader needs."""
    columns = ["row", "runs_on", "test", "level", "metric", "ours", "std", "low", "high", "seeds", "paper", "run_here"]
    rows = [
        ("DID", "lite0", "CDF2", "frame", "auc", np.float64(0.61234567), NAN, 0.5, 0.7, np.int64(1), 0.779, True),
        ("DID", "lite0", "CDF2", "video", "auc", 0.7, NAN, 0.6, 0.8, 1, NAN, np.True_),
        ("MDD", "", "CDF2", "frame", "auc", NAN, NAN, NAN, NAN, 0, 0.674, False),
    ]
    differences = pd.DataFrame(
        [("DID", "BCE", "CDF2", "frame", -0.1, NAN, -0.2, -0.05, 1, NAN)], columns=tiny_outcome.differences.columns
    )
    return dataclasses.replace(
        tiny_outcome, experiment=EXPERIMENTS["table1_intra_cross"], table=pd.DataFrame(rows, columns=columns),
        differences=differences,
    )  # fmt: skip


def licensed(outcome):
    sources = {name: dataclasses.replace(each, edition="licensed") for name, each in outcome.sources.items()}
    return dataclasses.replace(outcome, sources=sources, bank="licensed")


def test_the_record_says_everything(outcome):
    entry = ledger.record(outcome, ["One sentence."])
    quote, where = paper.CLAIMS["table1_intra_cross"]
    assert entry["claim"] == {"quote": quote, "where": where} and "0.742" in quote
    expected = {"experiment": "table1_intra_cross", "preset": "smoke", "edition": "stand-in", "bank": "drawn",
                "data": {"ffpp": "bars on noise"}, "seeds": [0, 1], "sentences": ["One sentence."],
                "title": "Table 1: trained on FF++, tested on FF++ and on CDF2"}  # fmt: skip
    assert {name: entry[name] for name in expected} == expected
    assert entry["runs"] == {name: [one.folder.name for one in of] for name, of in outcome.runs.items()}
    assert entry["protocol"] == outcome.protocol and "validation split" in entry["protocol"]
    made = entry["provenance"]
    assert made["did"] == __version__ and made["machine"]["cores"] >= 1 and made["minutes"] >= 0
    minutes = [one.record["provenance"]["minutes"] for of in outcome.runs.values() for one in of]
    assert made["minutes_runs"] == pytest.approx(sum(minutes)) and min(minutes) > 0


def test_a_run_that_two_rows_share_counts_once(outcome):
    twice = dataclasses.replace(outcome, runs={**outcome.runs, "again": outcome.runs["DID"]})
    minutes = [ledger.record(each, [])["provenance"]["minutes_runs"] for each in (outcome, twice)]
    assert minutes[0] == minutes[1]


def test_nan_becomes_null_and_numbers_are_rounded(outcome, tmp_path):
    entry = ledger.record(outcome, [])
    first, _, other = entry["rows"]
    assert (first["ours"], first["std"], first["seeds"], first["run_here"]) == (0.612346, None, 1, True)
    assert [other[name] for name in ("ours", "low", "paper", "run_here")] == [None, None, 0.674, False]
    assert entry["differences"][0]["std"] is None and entry["differences"][0]["difference"] == -0.1
    text = ledger.save(entry, tmp_path).read_text(encoding="utf-8")
    assert "NaN" not in text and "null" in text
    assert json.loads(text, parse_constant=pytest.fail) == entry


def test_a_figure_gives_a_table_of_its_own(outcome):
    table = outcome.table.iloc[:1].assign(metric="accuracy", chance=0.2)
    (row,) = ledger.record(outcome, [], table)["rows"]
    assert (row["metric"], row["chance"]) == ("accuracy", 0.2)
    figure = dataclasses.replace(outcome, experiment=EXPERIMENTS["open_choices"])
    assert ledger.record(figure, [], table)["claim"] == {"quote": "", "where": ""}


def test_a_record_comes_back_as_it_was_written(outcome, tmp_path):
    entry = ledger.record(outcome, ["T’s own step × λ_dec."])
    file = ledger.save(entry, tmp_path / "results")
    assert file.name == "table1_intra_cross-smoke-drawn.json"
    assert "T’s own step × λ_dec." in file.read_text(encoding="utf-8")
    assert ledger.load(tmp_path / "results") == [entry]


def test_records_lie_in_the_projects_results(outcome, tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    file = ledger.save(ledger.record(outcome, []))
    assert file.parent == tmp_path / "results" == ledger.folder()
    assert len(ledger.load()) == 1


def test_the_same_outcome_gives_records_that_differ_in_provenance_alone(outcome, tmp_path):
    later = dataclasses.replace(outcome, started=outcome.started - 60)
    first, second = ledger.record(outcome, ["Said."]), ledger.record(later, ["Said."])
    assert second["provenance"]["minutes"] > first["provenance"]["minutes"] + 0.9
    assert {name for name in first if first[name] != second[name]} == {"provenance"}
    for entry in (first, second):
        ledger.save(entry, tmp_path)
    assert ledger.load(tmp_path) == [second]


def test_other_data_another_preset_or_experiment_has_a_record_of_its_own(outcome, tmp_path):
    figure = dataclasses.replace(outcome, experiment=EXPERIMENTS["fig4_alpha"])
    others = [outcome, dataclasses.replace(outcome, bank="portraits"), dataclasses.replace(outcome, preset="laptop"),
              licensed(outcome), figure]  # fmt: skip
    for each in others:
        ledger.save(ledger.record(each, []), tmp_path)
    assert [file.name for file in sorted(tmp_path.iterdir())] == [
        "fig4_alpha-smoke-drawn.json",
        "table1_intra_cross-laptop-drawn.json",
        "table1_intra_cross-smoke-drawn.json",
        "table1_intra_cross-smoke-licensed.json",
        "table1_intra_cross-smoke-portraits.json",
    ]
    found = [(entry["experiment"], entry["preset"], entry["bank"]) for entry in ledger.load(tmp_path)]
    assert len(set(found)) == 5 and found[0] == ("fig4_alpha", "smoke", "drawn")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '{"experiment": "x"}', "cut"])
def test_a_damaged_record_is_one_sentence_that_names_it(outcome, tmp_path, content):
    entry = ledger.record(outcome, [])
    ledger.save(entry, tmp_path)
    (tmp_path / "table9.json").write_text(json.dumps(entry)[:-20] if content == "cut" else content)
    with pytest.raises(DidError, match=r"the record .*table9\.json cannot be read \(.+\): make it again, or") as caught:
        ledger.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["bank", "rows", "protocol", "provenance", "sentences", "runs"])
def test_a_record_that_lacks_a_part_says_which(outcome, tmp_path, part):
    entry = ledger.record(outcome, [])
    del entry[part]
    (tmp_path / "table9.json").write_text(json.dumps(entry))
    with pytest.raises(DidError, match=rf"table9\.json cannot be read \(it has no '{part}'\)"):
        ledger.load(tmp_path)


def test_without_a_record_the_sentence_says_how_to_make_one(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DidError, match="no record in .*: `make results` makes them"):
            ledger.load(place)


def test_stand_in_rows_are_marked_and_what_is_not_run_says_so(outcome):
    portraits = dataclasses.replace(outcome, bank="portraits")
    entries = [ledger.record(each, []) for each in (outcome, portraits, licensed(outcome))]
    table = ledger.table(entries)
    assert table.kind.tolist() == ["STAND-IN (drawn)"] * 3 + ["STAND-IN (portraits)"] * 3 + ["licensed"] * 3
    assert table.note.tolist() == ["", "", "not run here"] * 3
    assert (table.protocol == outcome.protocol).all() and (table.data == "bars on noise").all()
    first, video, other = (row for _, row in table.iloc[:3].iterrows())
    assert (first.experiment, first.row, first.runs_on, first.test, first.level, first.metric) == (
        "table1_intra_cross", "DID", "lite0", "CDF2", "frame", "auc"
    )  # fmt: skip
    assert (first.paper, first.here, first.low, first.high, first.seeds) == (0.779, 0.612346, 0.5, 0.7, 1)
    assert np.isnan(video.paper) and video.here == 0.7
    assert np.isnan(other.here) and other.paper == 0.674
    assert len(first.date) == 10 and first.commit == entries[0]["provenance"]["commit"]


def test_a_record_in_a_terminal(outcome):
    text = ledger.shown(ledger.record(outcome, ["It does not hold here."]))
    assert text.startswith("Table 1: trained on FF++, tested on FF++ and on CDF2   [STAND-IN (drawn), preset smoke]")
    for words in ("data: bars on noise", f"protocol: {outcome.protocol}", "0.612 [0.500, 0.700]", "0.779",
                  "not run here", "- It does not hold here.", " min, its runs "):  # fmt: skip
        assert words in text
    rows = text.splitlines()[3:7]
    assert all("STAND-IN (drawn)" in line for line in rows[1:])
    assert "STAND-IN" not in ledger.shown(ledger.record(licensed(outcome), []))


def test_numbers_without_an_interval_are_shown_too(outcome):
    """As the probes of Fig. 7, which have none at all."""
    bare = outcome.table.iloc[:2].assign(low=NAN, high=NAN, paper=NAN)
    entry = ledger.record(outcome, [], bare)
    assert ledger.table([entry])[["low", "high", "paper", "std"]].isna().all(axis=None)
    text = ledger.shown(entry)
    assert " 0.612 " in text and "[0." not in text and "nan" not in text.lower()


def test_the_record_of_a_figure_from_real_runs(tiny_outcome, tmp_path):
    _, table = findings.domains(tiny_outcome, draws=20)
    outcome = dataclasses.replace(tiny_outcome, experiment=EXPERIMENTS["fig5_domains"])
    ledger.save(ledger.record(outcome, findings.domain_sentences(table), table), tmp_path)
    (entry,) = ledger.load(tmp_path)
    found = ledger.table([entry]).set_index("row")
    assert (found.paper["mean"], found.paper["FaceSwap"]) == (0.91, 0.99)
    assert found.here.tolist() == pytest.approx(table.ours.tolist(), abs=1e-6)
    assert "mean accuracy over domains" in ledger.shown(entry)


def test_timings_by_record(outcome):
    entries = [ledger.record(outcome, []), ledger.record(licensed(outcome), [])]
    table = ledger.timings(entries)
    assert table[["experiment", "preset", "bank", "seeds"]].to_numpy().tolist() == [
        ["table1_intra_cross", "smoke", "drawn", 2], ["table1_intra_cross", "smoke", "licensed", 2]
    ]  # fmt: skip
    assert table["minutes of its runs"].tolist() == [entry["provenance"]["minutes_runs"] for entry in entries]
    assert table.minutes.tolist() == [entry["provenance"]["minutes"] for entry in entries]


def test_the_wall_time_is_added_and_no_record_is_touched(outcome, tmp_path):
    ledger.save(ledger.record(outcome, []), tmp_path)
    for seconds in (600, 1234):
        file = ledger.note_wall(seconds, "laptop", 9, tmp_path)
    table = pd.read_csv(file)
    assert table.minutes.tolist() == [10.0, 20.6]
    assert table.preset.tolist() == ["laptop"] * 2 and table.notebooks.tolist() == [9, 9] and (table.cores >= 1).all()
    assert len(ledger.load(tmp_path)) == 1


def test_the_committed_ledger_fills_every_row_of_every_experiment():
    """`results/` holds a record of each table and figure; no row of the paper is missing, and none passes for it."""
    entries = {entry["experiment"]: entry for entry in ledger.load(ROOT / "results") if entry["bank"] == "drawn"}
    assert set(entries) == set(EXPERIMENTS)
    for name, what in EXPERIMENTS.items():
        entry, rows = entries[name], pd.DataFrame(entries[name]["rows"])
        assert (entry["preset"], entry["edition"]) == ("laptop", "stand-in")
        assert len(entry["sentences"]) >= 1 and entry["provenance"]["minutes_runs"] > 0
        assert "+changes" not in entry["provenance"]["commit"], f"{name}: commit the code before `make results`"
        if what.tests and name != "fig6_saliency":
            printed = {(row.name, *place): number for row in what.rows for place, number in row.paper.items()}
            frames = rows[rows.level == "frame"].set_index(["row", "test", "metric"]).paper.dropna().to_dict()
            assert frames == printed
            assert set(rows.row[rows.run_here]) == {row.name for row in rows_of(what, "laptop") if row.task}
            assert rows[rows.run_here][["ours", "low", "high"]].notna().all(axis=None)
    assert all(len(entries[name]["seeds"]) >= 3 for name in ("table1_intra_cross", "table4_ablation"))
    for name in ("table1_intra_cross", "table4_ablation"):
        (portraits,) = [e for e in ledger.load(ROOT / "results") if (e["experiment"], e["bank"]) == (name, "portraits")]
        assert len(portraits["seeds"]) >= 3
    assert set(ledger.table(list(entries.values())).kind) == {"STAND-IN (drawn)"}
