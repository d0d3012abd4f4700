import dataclasses
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from did import __version__
from did.errors import DidError
from did.paper import kept, measures, published, records, tables, verdicts
from did.paper.conduct import rows_of, seeds_of
from did.paper.experiments import EXPERIMENTS
from did.utils.words import quoted
from did_book.pages import paper_against_ours

NAN = float("nan")
ROOT = Path(__file__).resolve().parents[2]


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
        tiny_outcome, experiment=saying("table1_intra_cross", []), table=pd.DataFrame(rows, columns=columns),
        differences=differences,
    )  # fmt: skip


def saying(name, sentences, table=None):
    """An experiment that measures nothing but a table of its own, if there is one, and says what a test gives it."""
    measure = (lambda outcome: {"rows": table}) if table is not None else None
    return dataclasses.replace(EXPERIMENTS[name], measure=measure, sentences=(lambda record: sentences,))


def record_of(outcome, sentences, table=None):
    return dataclasses.replace(outcome, experiment=saying(outcome.experiment.name, sentences, table)).record


def licensed(outcome):
    sources = {name: dataclasses.replace(each, edition="licensed") for name, each in outcome.sources.items()}
    return dataclasses.replace(outcome, sources=sources, bank="licensed")


def test_the_record_says_everything(outcome):
    entry = record_of(outcome, ["One sentence."])
    quote, where = published.CLAIMS["Table 1"]
    assert entry["claim"] == {"quote": quote, "where": where} and "0.742" in quote
    said = ["One sentence.", "Not among these runs: (k+1)-way CE, Xception, F3-Net."]
    expected = {"experiment": "table1_intra_cross", "preset": "smoke", "edition": "stand-in", "bank": "drawn",
                "data": {"ffpp": "bars on noise"}, "seeds": [0, 1], "sentences": said,
                "title": "Table 1: trained on FF++, tested on FF++ and on CDF2"}  # fmt: skip
    assert {name: entry[name] for name in expected} == expected
    assert entry["runs"] == {name: [one.folder.name for one in of] for name, of in outcome.runs.items()}
    assert entry["protocol"].startswith("trained on bars on noise; ") and "validation split" in entry["protocol"]
    made = entry["provenance"]
    assert made["did"] == __version__ and made["machine"]["cores"] >= 1 and made["minutes"] >= 0
    minutes = [one.record["provenance"]["minutes"] for of in outcome.runs.values() for one in of]
    assert made["minutes_runs"] == pytest.approx(sum(minutes)) and min(minutes) > 0


def test_a_run_that_two_rows_share_counts_once(outcome):
    twice = dataclasses.replace(outcome, runs={**outcome.runs, "again": outcome.runs["DID"]})
    minutes = [record_of(each, [])["provenance"]["minutes_runs"] for each in (outcome, twice)]
    assert minutes[0] == minutes[1]


def test_nan_becomes_null_and_numbers_are_rounded(outcome, tmp_path):
    entry = record_of(outcome, [])
    first, _, other = entry["rows"]
    assert (first["ours"], first["std"], first["seeds"], first["run_here"]) == (0.612346, None, 1, True)
    assert [other[name] for name in ("ours", "low", "paper", "run_here")] == [None, None, 0.674, False]
    assert entry["differences"][0]["std"] is None and entry["differences"][0]["difference"] == -0.1
    text = records.save(entry, tmp_path).read_text(encoding="utf-8")
    assert "NaN" not in text and "null" in text
    assert json.loads(text, parse_constant=pytest.fail) == entry


def test_a_figure_gives_a_table_of_its_own(outcome):
    table = outcome.table.iloc[:1].assign(metric="accuracy", chance=0.2)
    (row,) = record_of(outcome, [], table)["rows"]
    assert (row["metric"], row["chance"]) == ("accuracy", 0.2)
    figure = dataclasses.replace(outcome, experiment=EXPERIMENTS["open_choices"])
    assert record_of(figure, [], table)["claim"] == {"quote": "", "where": ""}


def test_a_record_comes_back_as_it_was_written(outcome, tmp_path):
    entry = record_of(outcome, ["T’s own step × λ_dec."])
    file = records.save(entry, tmp_path / "results")
    assert file.name == "table1_intra_cross-smoke-drawn.json"
    assert "T’s own step × λ_dec." in file.read_text(encoding="utf-8")
    assert records.load(tmp_path / "results") == [entry]


def test_records_lie_in_the_projects_results(outcome, tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    file = records.save(record_of(outcome, []))
    assert file.parent == tmp_path / "results" == records.folder()
    assert len(records.load()) == 1


def test_the_same_outcome_gives_records_that_differ_in_provenance_alone(outcome, tmp_path):
    later = dataclasses.replace(outcome, started=outcome.started - 60)
    first, second = record_of(outcome, ["Said."]), record_of(later, ["Said."])
    assert second["provenance"]["minutes"] > first["provenance"]["minutes"] + 0.9
    assert {name for name in first if first[name] != second[name]} == {"provenance"}
    for entry in (first, second):
        records.save(entry, tmp_path)
    assert records.load(tmp_path) == [second]


def test_other_data_another_preset_or_experiment_has_a_record_of_its_own(outcome, tmp_path):
    figure = dataclasses.replace(outcome, experiment=EXPERIMENTS["fig4_alpha"])
    others = [outcome, dataclasses.replace(outcome, bank="portraits"), dataclasses.replace(outcome, preset="laptop"),
              licensed(outcome), figure]  # fmt: skip
    for each in others:
        records.save(record_of(each, []), tmp_path)
    assert [file.name for file in sorted(tmp_path.iterdir())] == [
        "fig4_alpha-smoke-drawn.json",
        "table1_intra_cross-laptop-drawn.json",
        "table1_intra_cross-smoke-drawn.json",
        "table1_intra_cross-smoke-licensed.json",
        "table1_intra_cross-smoke-portraits.json",
    ]
    found = [(entry["experiment"], entry["preset"], entry["bank"]) for entry in records.load(tmp_path)]
    assert len(set(found)) == 5 and found[0] == ("fig4_alpha", "smoke", "drawn")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '{"experiment": "x"}', "cut"])
def test_a_damaged_record_is_one_sentence_that_names_it(outcome, tmp_path, content):
    entry = record_of(outcome, [])
    records.save(entry, tmp_path)
    (tmp_path / "table9.json").write_text(json.dumps(entry)[:-20] if content == "cut" else content)
    with pytest.raises(DidError, match=r"the record .*table9\.json cannot be read \(.+\): make it again, or") as caught:
        records.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["bank", "rows", "protocol", "provenance", "sentences", "runs"])
def test_a_record_that_lacks_a_part_says_which(outcome, tmp_path, part):
    entry = record_of(outcome, [])
    del entry[part]
    (tmp_path / "table9.json").write_text(json.dumps(entry))
    with pytest.raises(DidError, match=rf"table9\.json cannot be read \(it has no '{part}'\)"):
        records.load(tmp_path)


def test_without_a_record_the_sentence_says_how_to_make_one(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DidError, match="no record in .*: `make results`, in a checkout, makes them"):
            records.load(place)


def test_stand_in_rows_are_marked_and_what_is_not_run_says_so(outcome):
    portraits = dataclasses.replace(outcome, bank="portraits")
    entries = [record_of(each, []) for each in (outcome, portraits, licensed(outcome))]
    table = records.table(entries)
    assert table.kind.tolist() == ["STAND-IN (drawn)"] * 3 + ["STAND-IN (portraits)"] * 3 + ["licensed"] * 3
    assert table.note.tolist() == ["", "", "not run here"] * 3
    assert (table.protocol == entries[0]["protocol"]).all() and (table.data == "bars on noise").all()
    first, video, other = (row for _, row in table.iloc[:3].iterrows())
    assert (first.experiment, first.row, first.runs_on, first.test, first.level, first.metric) == (
        "table1_intra_cross", "DID", "lite0", "CDF2", "frame", "auc"
    )  # fmt: skip
    assert (first.paper, first.here, first.low, first.high, first.seeds) == (0.779, 0.612346, 0.5, 0.7, 1)
    assert np.isnan(video.paper) and video.here == 0.7
    assert np.isnan(other.here) and other.paper == 0.674
    assert len(first.date) == 10 and first.commit == entries[0]["provenance"]["commit"]


def test_a_fragment_of_licensed_data_is_a_part(outcome, tmp_path):
    def entry(found, missing=0, **more):
        counts = {"found": {"test videos": found}, "published": {"test videos": 518}, "missing": missing}
        sources = {"cdf2": dataclasses.replace(outcome.sources["ffpp"], edition="licensed", counts=counts)}
        return record_of(dataclasses.replace(outcome, sources=sources, bank="licensed", **more), [])

    part, whole = entry(14, 3), entry(518)
    assert part["counts"]["cdf2"]["found"] == {"test videos": 14}
    assert [records.kind(one) for one in (part, whole)] == ["licensed, part", "licensed"]
    table = records.table([part, whole])
    assert table.kind.tolist() == ["licensed, part"] * 3 + ["licensed"] * 3
    said = "cdf2: 14 of 518 test videos, 3 of its lists let be missing"
    assert table.found.tolist() == [said] * 3 + ["cdf2: all that is published"] * 3
    assert f"\nfound: {said}\n" in tables.shown(part)
    assert "from a part of the licensed data" in paper_against_ours.stamp([part, whole])
    assert "STAND-IN" not in paper_against_ours.stamp([part, whole])
    assert records.table([record_of(outcome, [])]).found.tolist() == [""] * 3


def test_a_record_in_a_terminal(outcome):
    entry = record_of(outcome, ["It does not hold here."])
    text = tables.shown(entry)
    assert text.startswith("Table 1: trained on FF++, tested on FF++ and on CDF2   [STAND-IN (drawn), preset smoke]")
    for words in ("data: bars on noise", f"protocol: {entry['protocol']}", "0.612 [0.500, 0.700]", "0.779",
                  "0.700 [0.600, 0.800]", "not run here", "- It does not hold here.", " min, its runs "):  # fmt: skip
        assert words in text
    head, *rows = text.splitlines()[3:6]
    assert head.split()[:4] == ["on", "metric", "published", "here"]
    assert [line.split()[0] for line in rows] == ["DID", "MDD"]
    assert all("STAND-IN (drawn)" in line for line in rows)
    assert "STAND-IN" not in tables.shown(record_of(licensed(outcome), []))


def test_numbers_without_an_interval_are_shown_too(outcome):
    """As the probes of Fig. 7, which have none at all."""
    bare = outcome.table.iloc[:2].assign(low=NAN, high=NAN, paper=NAN)
    entry = record_of(outcome, [], bare)
    assert records.table([entry])[["low", "high", "paper", "std"]].isna().all(axis=None)
    text = tables.shown(entry)
    assert " 0.612 " in text and "[0." not in text and "nan" not in text.lower()


def test_the_record_of_a_figure_from_real_runs(tiny_outcome, tmp_path):
    """Its own table in place of the outcome's, its figures as they were measured, its own sentences and verdict."""
    outcome = dataclasses.replace(tiny_outcome, experiment=EXPERIMENTS["fig5_domains"])
    records.save(outcome.record, tmp_path)
    (entry,) = records.load(tmp_path)
    measured = measures.domains(tiny_outcome)
    table = measured["rows"]
    found = records.table([entry]).set_index("row")
    assert (found.paper["mean"], found.paper["FaceSwap"]) == (0.91, 0.99)
    assert found.here.tolist() == pytest.approx(table.ours.tolist(), abs=1e-6)
    assert "mean accuracy over domains" in tables.shown(entry)
    pd.testing.assert_frame_equal(records.part(entry, "confusion"), measured["confusion"], check_names=False)
    assert entry["sentences"] == verdicts.domains(entry) and entry["verdict"][0] == verdicts.domains_told(entry)
    assert entry["setup"]["DID"]["backbone"] == "test_efficientnet"


def test_a_part_that_a_record_lacks_is_one_sentence(outcome):
    entry = record_of(outcome, [])
    old = {name: of for name, of in entry.items() if name not in ("figures", "setup", "verdict")}
    for each in (entry, old):
        with pytest.raises(DidError, match="the record of table1_intra_cross has no 'histories': make it again with"):
            records.part(each, "histories")
    assert "of an older version; make it again" in paper_against_ours.summary([old])["does it hold here"]["Table 1"]


def test_a_record_is_made_once_and_measures_once(tiny_outcome):
    asked = []

    def measure(outcome, people=None):
        asked.append(people)
        return {"numbers": pd.DataFrame({"x": [1.5, NAN], "name": ["a", "b"], "k": [1, 2]})}

    what = dataclasses.replace(saying("table1_intra_cross", ["Said."]), measure=measure)
    outcome = dataclasses.replace(tiny_outcome, experiment=what, options={"people": 3})
    first = outcome.record
    assert outcome.record is first and asked == [3] and first["rows"] == []
    assert json.loads(json.dumps(first), parse_constant=pytest.fail) == first
    found = records.part(first, "numbers")
    assert found.x.tolist()[0] == 1.5 and np.isnan(found.x[1]) and found.dtypes["k"] == "int64"


def test_timings_by_record(outcome):
    entries = [record_of(outcome, []), record_of(licensed(outcome), [])]
    table = records.timings(entries)
    assert table[["experiment", "preset", "bank", "seeds"]].to_numpy().tolist() == [
        ["table1_intra_cross", "smoke", "drawn", 2], ["table1_intra_cross", "smoke", "licensed", 2]
    ]  # fmt: skip
    assert table["minutes of its runs"].tolist() == [entry["provenance"]["minutes_runs"] for entry in entries]
    assert table.minutes.tolist() == [entry["provenance"]["minutes"] for entry in entries]


def test_the_wall_time_is_added_and_no_record_is_touched(outcome, tmp_path):
    records.save(record_of(outcome, []), tmp_path)
    for seconds in (600, 1234):
        file = records.note_wall(seconds, "laptop", 9, tmp_path)
    table = pd.read_csv(file)
    assert table.minutes.tolist() == [10.0, 20.6]
    assert table.preset.tolist() == ["laptop"] * 2 and table.notebooks.tolist() == [9, 9] and (table.cores >= 1).all()
    assert len(records.load(tmp_path)) == 1


def test_the_wall_times_of_processes_at_once_are_all_noted(tmp_path, monkeypatch):
    """Threads stand in for processes: the lock is a file, and each takes it anew."""
    write = records.write_atomically
    monkeypatch.setattr(records, "write_atomically", lambda *given: time.sleep(0.05) or write(*given))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: records.note_wall(60 * n, "laptop", 9, tmp_path), range(1, 5)))
    assert sorted(pd.read_csv(tmp_path / records.WALL).minutes) == [1.0, 2.0, 3.0, 4.0]


def all_kept(what, name, entry):
    """Whether all runs of a row are in `results/runs`, so that its record can have it."""
    (row,) = [row for row in what.rows if row.name == name]
    keys = [kept.key(row.settings("laptop", seed, what.train), row.task, row.options_at("laptop"),
                     entry["data"][what.train]) for seed in seeds_of(row, entry["seeds"])]  # fmt: skip
    return all((ROOT / "results" / kept.RUNS / f"{key}.json").is_file() for key in keys)


def test_the_committed_ledger_fills_every_row_of_every_experiment():
    """`results/` holds a record of each table and figure; no row of the paper is missing, and none passes for it."""
    entries = {entry["experiment"]: entry for entry in records.load(ROOT / "results") if entry["bank"] == "drawn"}
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
            ran, defined = set(rows.row[rows.run_here]), {row.name for row in rows_of(what, "laptop") if row.task}
            # Training takes hours. A record may lack long ones, but none of those that its rule compares at ×1, and
            # rows of which not all runs are kept yet.
            assert ran <= defined and defined - ran <= {
                row for row in defined if ("×" in row and name == "training_length") or not all_kept(what, row, entry)
            }
            assert {name for pair in what.compared for name in pair if "×1" in name} <= ran
            assert rows[rows.run_here][["ours", "low", "high"]].notna().all(axis=None)
        assert set(entry["setup"]) == set(entry["runs"]) and bool(entry["verdict"]) == bool(what.claim[0])
        if entry["verdict"]:
            assert entry["verdict"] == verdicts.holds(entry, what.decide)
        for say in what.sentences:
            if entry["figures"] or say not in (verdicts.estimates, verdicts.saliency, verdicts.features):
                assert not set(say(entry)) - set(entry["sentences"])
    assert all(len(entries[name]["seeds"]) >= 3 for name in ("table1_intra_cross", "table4_ablation"))
    (portraits,) = [
        e for e in records.load(ROOT / "results") if (e["experiment"], e["bank"]) == ("table1_intra_cross", "portraits")
    ]
    assert len(portraits["seeds"]) >= 3
    assert set(records.table(list(entries.values())).kind) == {"STAND-IN (drawn)"}


# --- the page "Paper against ours" ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return records.load(ROOT / "results")


def made_up(name, differences=(), rows=(), quote="DID outperforms MDD", **more):
    """A record as `ledger.load` gives it. differences: (a, b, test, low, high, published)."""
    apart = [
        {"a": a, "b": b, "test": test, "level": level, "difference": (low + high) / 2, "std": None, "low": low,
         "high": high, "seeds": 1, "paper": published if level == "frame" else None}
        for a, b, test, low, high, published in differences for level in ("frame", "video")
    ]  # fmt: skip
    machine = {"cores": 2, "gpu": None}
    made = {"commit": "abc", "date": "2026-01-02T03:04:05", "machine": machine, "minutes": 1.0, "minutes_runs": 2.0}
    title = EXPERIMENTS[name].title if name in EXPERIMENTS else name
    entry = {
        "experiment": name, "title": title, "claim": {"quote": quote, "where": "§9"}, "preset": "laptop",
        "edition": "stand-in", "bank": "drawn", "data": {"ffpp": "bars"}, "protocol": "frames", "seeds": [0],
        "rows": list(rows), "differences": apart, "sentences": ["Said."], "runs": {}, "provenance": made,
    }  # fmt: skip
    return {**entry, **more}


def a_row(name, test, ours, printed=None, level="frame", metric="auc", **more):
    known = {"low": None, "high": None, "std": None} | more
    return {"row": name, "runs_on": "lite0" if ours else "", "test": test, "level": level, "metric": metric,
            "ours": ours, "seeds": 1, "paper": printed, "run_here": ours is not None, **known}  # fmt: skip


def test_a_page_reads_the_home_or_else_the_checkout_and_no_smoke(tmp_path, monkeypatch):
    home, checkout = tmp_path / "home", tmp_path / "checkout"
    (checkout / "src/did").mkdir(parents=True)
    (checkout / "src/did/__init__.py").touch()
    for place in (checkout / "results", checkout / "notebooks", home / "results"):
        place.mkdir(parents=True)
    (checkout / "results/table1_intra_cross-laptop-drawn.json").touch()
    monkeypatch.setenv("DID_HOME", str(home))
    monkeypatch.chdir(checkout / "notebooks")
    assert records.nearest() == checkout / "results"
    (home / "results/fig4_alpha-smoke-drawn.json").touch()
    assert records.nearest() == checkout / "results"
    (home / "results/fig4_alpha-laptop-drawn.json").touch()
    assert records.nearest() == home / "results"
    assert records.nearest(str(tmp_path)) == tmp_path
    monkeypatch.chdir(tmp_path)
    (home / "results/fig4_alpha-laptop-drawn.json").unlink()
    assert records.nearest() == home / "results"  # nowhere: the sentence of `load` names this one


def test_smoke_is_never_shown():
    entries = [made_up("fig4_alpha"), made_up("fig4_alpha", preset="smoke")]
    assert records.without_smoke(entries) == entries[:1]
    assert records.left_out(entries) == ["Left out, since their numbers mean nothing: 1 of preset smoke."]
    assert records.left_out(entries[:1]) == []
    with pytest.raises(DidError, match="every record is of preset smoke"):
        records.without_smoke(entries[1:])


def test_comparisons_are_on_frames_in_the_papers_order():
    pair = ("α = 0.5", "α = 1", "CDF2", 0.01, 0.03, 0.016)
    entries = [made_up("fig4_alpha", [pair]), made_up("table1_intra_cross", [("DID", "BCE", "CDF2", -0.3, -0.1, None)]),
               made_up("gone", [pair])]  # fmt: skip
    found = records.comparisons(paper_against_ours.in_order(entries))
    assert found.of.tolist() == ["Table 1", "Fig. 4"] and found.so.tolist() == ["behind", "ahead"]
    assert found.difference.tolist() == pytest.approx([-0.2, 0.02]) and np.isnan(found.paper[0])
    assert set(found.kind) == {"STAND-IN (drawn)"}
    assert list(records.comparisons([]).columns) == list(found.columns)


def test_both_numbers_to_read():
    rows = [a_row("DID", "CDF2", 0.61234, 0.779, low=0.5, high=0.7),
            a_row("DID", "CDF2", 0.8, level="video", low=0.75, high=0.9),
            a_row("MDD", "CDF2", None, 0.674), a_row("DID", "CDF2", 0.4, metric="eer")]  # fmt: skip
    found = tables.against(made_up("table1_intra_cross", rows=rows))
    assert found.iloc[0].to_dict() == {
        "on": "CDF2", "metric": "AUC", "published": "0.779", "here": "0.612 [0.500, 0.700]", "seeds": "1",
        "videos": "0.800 [0.750, 0.900]", "backbone": "lite0", "kind": "STAND-IN (drawn)",
    }  # fmt: skip
    assert found.index.tolist() == ["DID", "MDD", "DID"]
    assert found.loc["MDD", ["published", "here", "seeds", "videos"]].tolist() == ["0.674", "not run here", "-", "-"]
    assert found.iloc[2][["metric", "published", "videos"]].tolist() == ["EER", "-", "-"]  # videos: an AUC is no EER
    figure = tables.against(made_up("fig6_saliency", rows=[a_row("I_df on A", "ffpp", 0.4, area=0.3)]))
    assert figure["by chance"].tolist() == ["0.300"] and "videos" not in figure
    seeds = tables.against(made_up("table1_intra_cross", rows=[a_row("DID", "CDF2", 0.6, std=0.0126)]), made_up("x",
                           rows=[a_row("DID", "CDF2", 0.5)], bank="portraits"))  # fmt: skip
    assert seeds["± seeds"].tolist() == ["0.013", "-"] and seeds.kind.tolist()[1] == "STAND-IN (portraits)"


def test_every_printed_number_stands_in_the_committed_records(committed):
    assert paper_against_ours.unpublished(committed) == []
    everything = {number for pair in published.TABLE_1.values() for number in pair if number}
    everything |= {number for of in published.TABLE_2.values() for number in of.values()}
    everything |= {number for of in (published.TABLE_3, published.TABLE_4) for pair in of.values() for number in pair}
    everything |= {*published.FIGURE_4.values(), *published.FIGURE_5.values()}
    assert everything <= set(records.table(committed).paper)


@pytest.mark.parametrize(("name", "row", "words"), [
    ("table1_intra_cross", "MDD", "Table 1 prints 0.998 for MDD on FF++, and no record"),
    ("fig5_domains", "FaceSwap", "Fig. 5 prints 0.990 for FaceSwap on Domains"),
])  # fmt: skip
def test_a_number_that_is_lost_or_changed_is_named(committed, name, row, words):
    (entry,) = [entry for entry in committed if entry["experiment"] == name and entry["bank"] == "drawn"]
    without = {**entry, "rows": [each for each in entry["rows"] if each["row"] != row]}
    changed = [{**each, "paper": 0.5} if each["row"] == row else each for each in entry["rows"]]
    for damaged in (without, {**entry, "rows": changed}):
        assert words in paper_against_ours.unpublished([damaged])[0]
    assert paper_against_ours.unpublished([entry]) == []


UP, DOWN, ZERO = (0.01, 0.2), (-0.2, -0.01), (-0.1, 0.1)


@pytest.mark.parametrize(
    ("ends", "answer"),
    [([UP, UP], "Yes"), ([UP, ZERO], "In part"), ([UP, DOWN], "In part"), ([DOWN, ZERO], "No"), ([DOWN, DOWN], "No"),
     ([ZERO, ZERO], "Undecided"), ([], "Not tested")],
)  # fmt: skip
def test_a_claim_is_put_to_the_test_where_the_papers_numbers_are_ahead(ends, answer):
    claimed = [("DID", f"rival {k}", "CDF2", *pair, 0.1) for k, pair in enumerate(ends)]
    # Neither a pair that the paper has behind, nor one that it does not print, is in the claim.
    others = [("DID", "Xception", "FF++", *UP, -0.03), ("DID", "BCE", "FF++", *DOWN, None)]
    entry = made_up("table1_intra_cross", [*claimed, *others], [a_row("MDD", "CDF2", None, 0.6)])
    said = verdicts.holds(entry, EXPERIMENTS["table1_intra_cross"].decide)
    assert said[0].startswith(f"{answer}: ") and said[0].split(":")[0] in verdicts.ANSWERS
    assert said[1:] == ["Named by the claim and not run here: MDD."]
    if ends:
        assert f"of {len(ends)} pairs" in said[0] and ("does not hold: DID − rival" in said[0]) == (DOWN in ends)


def test_what_holds_against_systems_that_learnt_nothing_is_counted():
    claimed = [("DID", f"rival {k}", "CDF2", *UP, 0.1) for k in range(3)]
    trained = [a_row(f"rival {k}", "FF++", ours, 0.9) for k, ours in enumerate((0.5, 0.84, 0.86))]
    (said,) = verdicts.holds(made_up("table1_intra_cross", claimed, trained), verdicts.ahead)
    assert said.startswith("Yes: ")
    assert said.endswith(" Of those that hold, 2 are against systems that have not learnt FF++ itself.")
    (said,) = verdicts.holds(made_up("table1_intra_cross", claimed, trained[2:]), verdicts.ahead)
    assert "have not learnt" not in said


def domain(name, ours, low, high, printed=None):
    return a_row(name, "Domains", ours, printed, metric="accuracy", low=low, high=high)


RARE = {"p": 0.004, "seeds": 3, "people": 100, "var_people": 1e-4, "var_seeds": 1e-5}


@pytest.mark.parametrize(
    ("p", "verdicts_found"),
    [
        ([0.001, 0.002, 0.04], ["holds", "holds", "holds"]),  # Holm: 0.003, 0.004, 0.04
        ([0.03, 0.03, 0.03], ["undecided"] * 3),  # each alone would hold; corrected, each is at 0.09
        ([0.01, 0.04, 0.5], ["holds", "undecided", "undecided"]),  # 0.03, 0.08, 0.5
    ],
)
def test_p_values_are_corrected_over_the_pairs_by_holm(p, verdicts_found):
    entry = made_up("table1_intra_cross", [("DID", f"rival {k}", "CDF2", *UP, 0.1) for k in range(3)])
    per_frame = [row for row in entry["differences"] if row["level"] == "frame"]
    for row, value in zip(per_frame, p, strict=True):
        row.update({**RARE, "p": value})
    found = verdicts.claims(entry)
    assert found.verdict.tolist() == verdicts_found
    rank = np.argsort(p, kind="stable")
    expected = np.maximum.accumulate([min(1, (3 - i) * p[k]) for i, k in enumerate(rank)])
    assert found.holm[rank].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("high", "verdict"), [(0.05, "ruled out"), (0.2, "undecided")])
def test_an_effect_as_large_as_the_papers_is_ruled_out_by_the_interval(high, verdict):
    entry = made_up("table1_intra_cross", [("DID", "rival", "CDF2", -0.02, high, 0.1)])
    entry["differences"][0].update({**RARE, "p": 0.5})
    assert verdicts.claims(entry).verdict.tolist() == [verdict]
    assert verdicts.ahead(entry).startswith("No: " if verdict == "ruled out" else "Undecided: ")


@pytest.mark.parametrize(
    ("low", "high", "best", "answer"),
    [(0.92, 0.95, 0.99, "Yes"), (0.8, 0.9, 0.99, "No"), (0.8, 0.95, 0.99, "Undecided"), (0.92, 0.95, 0.5, "Yes")],
)
def test_fig_5_holds_by_its_mean_and_an_imprecise_one_is_no_support(low, high, best, answer):
    rows = [domain("real", 0.8, 0.7, 0.9), domain("FaceSwap", best, 0.4, 1, 0.99), domain("mean", 0.85, low, high,
            0.91)]  # fmt: skip
    said = EXPERIMENTS["fig5_domains"].decide(made_up("fig5_domains", rows=rows))
    assert said.startswith(f"{answer}: the mean, 0.850 [{low:.3f}, {high:.3f}]")
    assert ("the domain recognised best is FaceSwap, as published" in said) == (best > 0.8)


@pytest.mark.parametrize(
    ("ends", "answer"),
    [([(0.1, 0.2), (-0.2, -0.1)], "Yes"), ([(0.1, 0.2), (-0.1, 0.1)], "In part"), ([(-0.1, 0.1)], "Undecided"),
     ([], "Not tested"), (None, "Not tested")],
)  # fmt: skip
def test_fig_6_holds_by_paired_differences_of_the_two_maps(ends, answer):
    entry = made_up("fig6_saliency", rows=[a_row("I_df on FaceSwap", "ffpp", 0.5, metric="share", area=0.2)])
    if ends is not None:
        table = pd.DataFrame(ends, columns=["low", "high"]).assign(
            method=[f"method {k}" for k in range(len(ends))], difference=0.1, data="ffpp"
        )
        entry["figures"] = {"apart": records.columns(table)}
    said = verdicts.holds(entry, EXPERIMENTS["fig6_saliency"].decide)
    assert said[0].startswith(f"{answer}: ") and len(said) == 1


def probes(ours, theirs, target="label"):
    """Accuracies of a probe on I_df of DID and on I_X of BCE, one per seed."""
    table = pd.DataFrame(
        [{"row": row, "features": of, "target": target, "seed": seed, "accuracy": value}
         for row, of, values in (("DID", "I_df", ours), ("BCE", "I_X", theirs)) for seed, value in enumerate(values)]
    )  # fmt: skip
    entry = made_up("fig7_embeddings", rows=[a_row("DID: label", "I_df", 0.8, metric="probe accuracy")])
    return {**entry, "figures": {"probes": records.columns(table)}}


@pytest.mark.parametrize(
    ("ours", "theirs", "answer"),
    [
        ([0.90, 0.91, 0.92], [0.80, 0.81, 0.82], "Yes"),  # the same gain in each seed
        ([0.70, 0.71, 0.72], [0.80, 0.81, 0.82], "No"),
        ([0.90, 0.80, 0.85], [0.80, 0.85, 0.84], "Undecided"),
        ([0.9], [0.8], "Undecided"),
    ],
)
def test_fig_7_holds_by_a_gain_paired_by_seed(ours, theirs, answer):
    said = EXPERIMENTS["fig7_embeddings"].decide(probes(ours, theirs))
    gain = np.mean(ours) - np.mean(theirs)
    assert said.startswith(f"{answer}: a linear probe reads real from fake {gain:+.3f} better")
    assert EXPERIMENTS["fig7_embeddings"].decide(made_up("fig7_embeddings", rows=[])).startswith("Not tested")


def test_whether_the_domain_is_more_readable_from_i_df_is_said():
    (said,) = verdicts._domain_read(probes([0.80, 0.81, 0.80], [0.66, 0.67, 0.65], "domain"))
    assert said.startswith("The domain is more readable from I_df than from BCE's features") and "+0.143" in said
    (less,) = verdicts._domain_read(probes([0.5, 0.51, 0.5], [0.66, 0.67, 0.65], "domain"))
    assert "is less readable" in less


def test_the_summary_has_every_claim_and_says_what_was_not_run(committed):
    table = paper_against_ours.summary(committed)
    assert list(dict.fromkeys(table.index)) == list(published.CLAIMS)
    assert len(table) == sum(bool(entry["claim"]["quote"]) for entry in committed)
    assert table["data"].str.startswith("STAND-IN").all()
    assert table["does it hold here"].str.match("|".join(verdicts.ANSWERS)).all()
    said = paper_against_ours.summary_sentences(committed)
    assert said[0].startswith(f"{len(table)} answers") and "no claim of the paper is confirmed" in said[-1]
    entry = made_up("table4_ablation", [("DID", "w/o T", "CDF2", *UP, 0.02), ("DID", "BCE", "CDF2", *ZERO, None)],
                    edition="licensed", bank="licensed", verdict=["Yes: it does."])  # fmt: skip
    alone = paper_against_ours.summary([entry])
    assert alone.loc["Table 4", "these runs"] == "2 compared: 1 ahead, 0 behind, 1 undecided"
    assert alone.loc["Table 4", "data"].startswith("licensed: bars") and alone.loc["Fig. 5", "data"] == "-"
    said = paper_against_ours.summary_sentences([entry])
    assert said[0] == "1 answer, one for each claim and kind of data: yes 1." and said[1].startswith("Not run: Table 1")
    assert len(said) == 2


def test_a_section_holds_claim_numbers_differences_and_sentences():
    rows = [a_row("DID", "CDF2", 0.6, 0.779)]
    entries = [made_up("table1_intra_cross", [("DID", "BCE", "CDF2", *UP, None)], rows),
               made_up("table1_intra_cross", rows=rows, bank="portraits")]  # fmt: skip
    claim, numbers, words, apart, drawn, portraits = paper_against_ours.section(entries, "table1_intra_cross")
    assert claim == "> “DID outperforms MDD” (§9)" and claim._repr_markdown_() == claim
    assert numbers.kind.tolist() == ["STAND-IN (drawn)", "STAND-IN (portraits)"]
    assert words.startswith("Differences of AUCs, 1 in all") and apart.so.tolist() == ["ahead"]
    assert drawn.endswith("bars; frames.\n\n- Said.") and portraits.startswith("**STAND-IN (portraits)**")
    (missing,) = paper_against_ours.section(entries, "fig4_alpha")
    assert missing.startswith("Fig. 4 has not been run: `papermill notebooks/fig4_alpha.ipynb ")


def test_the_stamp_names_the_records():
    entries = [made_up("fig4_alpha"), made_up("fig5_domains", bank="portraits"), made_up("fig4_alpha")]
    entries[1]["provenance"] = entries[1]["provenance"] | {
        "commit": "def", "date": "2026-02-03T00", "machine": {"cores": 8, "gpu": "H200"}
    }  # fmt: skip
    assert paper_against_ours.stamp(entries) == (
        "STAND-IN (drawn, portraits), no reproduction of a published number. 3 records; preset laptop; "
        "commit abc, def; 2026-01-02 to 2026-02-03; 2 cores or 8 cores, H200."
    )
    licensed = made_up("fig4_alpha", edition="licensed", bank="licensed")
    assert paper_against_ours.stamp([licensed]) == "1 record; preset laptop; commit abc; 2026-01-02; 2 cores."
    assert "2 records, 1 of them from licensed data" in paper_against_ours.stamp([entries[0], licensed])


def test_a_section_shows_what_a_record_says_as_text():
    odd = "<img src=x onerror=alert(1)> `a` [b](c)"
    entry = made_up("table1_intra_cross", rows=[a_row("DID", "CDF2", 0.6, 0.779)])
    entry |= {"protocol": odd, "sentences": [odd], "data": {"ffpp": odd}, "claim": {"quote": odd, "where": odd}}
    said = [
        part
        for part in paper_against_ours.section([entry], "table1_intra_cross")
        if isinstance(part, paper_against_ours.Words)
    ]
    assert sum(part.count(quoted(odd)) for part in said) == 5
    assert not any("<img" in part for part in said)
