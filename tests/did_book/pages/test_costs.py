"""Ratios of time: how they come from pairs, how a target is judged, what is kept in a file, and the words."""

import importlib
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from did.errors import DidError
from did.method.model import DetectionGraph
from did_book.pages import costs
from did_book.pages.costs import row

PAIRS = [(1.0, 2.0), (3.0, 4.0), (2.0, 8.0)]
SIDES = ("ours", "theirs")


def rows():
    return [
        row("training step", "lite0, 112 px", ("DID", "BCE"), "cost", [(1.05, 1.0)] * 3, target=1.1,
            memory=(700.0, 650.5), more={"images/s": (14.3, 15.0)}, note="a note"),
        row("loader", "lite0, 112 px", ("waiting", "an iteration"), "share", [(0.06, 1.0)], target=0.05),
        row("AUC loss", "batch 15", ("ours", "a loop"), "speed-up", [(1.0, 0.5)]),
    ]  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("DID_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("reads", ["cost", "share"])
def test_the_ratio_is_taken_within_each_pair(reads):
    found = row("step", "case", SIDES, reads, PAIRS)
    np.testing.assert_allclose([found.low, found.ratio, found.high], np.quantile([0.5, 0.75, 0.25], [0.25, 0.5, 0.75]))
    assert found.seconds == (2.0, 4.0) and found.pairs == 3


def test_a_speed_up_is_the_other_way_round():
    found = row("loss", "case", SIDES, "speed-up", PAIRS)
    np.testing.assert_allclose([found.low, found.ratio, found.high], np.quantile([2, 4 / 3, 4], [0.25, 0.5, 0.75]))


def test_a_row_without_pairs_or_with_another_reading_is_refused():
    for reads, pairs in (("cost", []), ("gain", PAIRS)):
        with pytest.raises(DidError, match="a row needs pairs of times and one of cost, share, speed-up"):
            row("step", "case", SIDES, reads, pairs)


@pytest.mark.parametrize(
    ("reads", "target", "met"),
    [("cost", 0.6, True), ("cost", 0.5, True), ("cost", 0.4, False), ("share", 0.4, False), ("cost", None, None),
     ("speed-up", 1.9, True), ("speed-up", 2.1, False)],
)  # fmt: skip
def test_a_target_is_an_upper_bound_of_a_cost_and_a_lower_one_of_a_speed_up(reads, target, met):
    assert row("step", "case", SIDES, reads, [(1.0, 2.0)], target=target).met is met


def test_what_is_saved_is_loaded(project):
    file = costs.save("step", rows(), "python benchmarks/step.py", 1.234)
    assert file.parent == project / "benchmarks/results"
    (kind, parts), *others = costs.load().items()
    assert kind == file.stem and not others
    assert costs.rows_of(parts["step"]) == rows()
    entry = json.loads(file.read_text())["parts"]["step"]
    assert [each["met"] for each in entry["rows"]] == [True, False, None]
    assert (entry["command"], entry["minutes"], entry["quick"]) == ("python benchmarks/step.py", 1.23, False)
    assert entry["provenance"]["commit"] and entry["provenance"]["versions"]["torch"]


def test_a_part_replaces_itself_alone(project):
    first, other = rows()[:1], rows()[1:2]
    costs.save("step", first, "a", 1)
    costs.save("loader", other, "b", 1)
    costs.save("step", other, "c", 1)
    ((_, parts),) = costs.load().items()
    assert {name: part["command"] for name, part in parts.items()} == {"step": "c", "loader": "b"}
    assert [each.what for each in costs.rows_of(parts["step"])] == ["loader"]


def test_a_trial_is_kept_apart(project):
    file = costs.save("step", rows(), "python benchmarks/step.py --quick", 1, quick=True)
    assert file.stem.endswith("-quick") and costs.load() == {}


def test_each_kind_of_machine_has_a_file_of_its_own(project):
    assert costs.file_of({"gpu": None}) == project / "benchmarks/results/cpu.json"
    assert costs.file_of({"gpu": "NVIDIA H100 80GB HBM3"}, True).name == "nvidia-h100-80gb-hbm3-quick.json"


def test_no_file_is_no_fault(project):
    assert costs.load() == {} and "`make bench`" in costs.stamp({})


@pytest.mark.parametrize("text", ["", "[]", '{"parts": {"step": {}}}', '{"parts": {"step": {"rows": [{"what": 1}]}}}'])
def test_a_damaged_file_is_one_sentence(tmp_path, text):
    (tmp_path / "cpu.json").write_text(text)
    with pytest.raises(DidError, match=r"cpu.json cannot be read \(.+\): remove it and run `make bench`$"):
        costs.load(tmp_path)
    with pytest.raises(DidError, match=r"cpu.json cannot be read"):
        costs.save("step", rows(), "a", 1, file=tmp_path / "cpu.json")
    assert (tmp_path / "cpu.json").read_text() == text


def test_the_project_comes_before_the_checkout(project, monkeypatch):
    checkout = project / "checkout"
    for place in (checkout / "src/did", checkout / "benchmarks/results"):
        place.mkdir(parents=True)
    (checkout / "src/did/__init__.py").touch()
    monkeypatch.chdir(checkout / "src")
    assert costs.folder() == project / "benchmarks/results"
    (checkout / "benchmarks/results/cpu.json").write_text('{"parts": {}}')
    assert costs.folder() == checkout / "benchmarks/results"
    costs.save("step", rows(), "a", 1, quick=True)
    assert costs.folder() == checkout / "benchmarks/results"
    costs.save("step", rows(), "a", 1)
    assert costs.folder() == project / "benchmarks/results"


def saved(project):
    parts = json.loads(costs.save("step", rows(), "python benchmarks/step.py", 2).read_text())["parts"]
    parts["step"]["provenance"]["machine"]["gpu"] = None
    return parts


def test_the_tables_have_ratios_targets_and_what_was_measured(project):
    part = saved(project)["step"]
    first, second, third = costs.table(part).to_dict("records")
    assert first["ratio"] == "1.050 [1.050, 1.050]" and (first["target"], first["met"]) == ("at most 1.1", "yes")
    assert (first["ours"], first["theirs"], first["note"], second["note"]) == ("DID", "BCE", "a note", "-")
    assert (second["met"], third["target"], third["met"]) == ("no", "-", "-")
    first, second, third = costs.measured(part).to_dict("records")
    assert (first["MiB at the peak"], first["images/s"], first["seconds"]) == ("700 | 650", "14.3 | 15", "1.05 | 1")
    assert (second["MiB at the peak"], third["images/s"]) == ("-", "-")


def test_a_section_has_command_sentences_and_tables_or_says_how_to_make_them(project):
    found = {"cpu": saved(project)}
    words, *tables = costs.section(found, "step")
    assert words.startswith("**cpu**: `python benchmarks/step.py`") and words.count("\n- ") == 3
    assert [len(table) for table in tables] == [3, 3]
    (words,) = costs.section(found, "loader")
    assert "`python benchmarks/loader.py --json`" in words
    assert costs.section({}, "loader") == [words]


def test_several_machines_are_told_apart(project):
    parts = saved(project)
    assert [each.case for each in costs.all_rows({"cpu": parts})] == [each.case for each in rows()]
    both = {"cpu": parts, "h100": parts}
    assert [each.case for each in costs.all_rows(both)][::3] == ["cpu: lite0, 112 px", "h100: lite0, 112 px"]
    assert "**cpu**" in costs.in_words(both) and "**h100**" in costs.in_words(both)
    assert costs.in_words({}) == costs.stamp({})


def test_words_say_what_was_measured(project):
    said = [costs.sentence(each) for each in rows()]
    assert said == [
        "training step, lite0, 112 px: DID takes 1.050 [1.050, 1.050] of the time of BCE; at most 1.1 was wanted: met.",
        "loader, lite0, 112 px: waiting takes 0.060 [0.060, 0.060] of an iteration; at most 0.05 was wanted: not met.",
        "AUC loss, batch 15: ours is 0.500 [0.500, 0.500] times as fast as a loop.",
    ]


def test_the_summary_names_what_is_not_met_slower_missing_or_a_trial(project):
    parts = saved(project)
    said = costs.summary(parts)
    assert said[0] == "Targets met: 1 of 2."
    assert said[1] == costs.sentence(rows()[1]) and said[2].startswith("Ours is the slower side: AUC loss")
    assert said[3].startswith("No GPU was at hand") and len(said) == 4
    parts["step"]["provenance"]["machine"]["gpu"] = "H100"
    parts["step"]["quick"] = True
    assert costs.summary(parts)[3:] == ["A trial at small sizes (--quick), whose numbers mean nothing: step."]
    assert "H100" in costs.stamp({"h100": parts}) and "H100" in costs.machine(parts)["machine"]["step"]


@pytest.mark.parametrize(("value", "text"), [(1.2345, "1.234"), (12.345, "12.3"), (12345.6, "12,346")])
def test_numbers_are_as_long_as_a_reader_needs(value, text):
    assert costs.number(value) == text


# --- what measures them: benchmarks/side_by_side.py -------------------------------------------------------------------


@pytest.fixture
def side_by_side(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[3] / "benchmarks"))
    return importlib.import_module("side_by_side")


@pytest.fixture
def passing(side_by_side, monkeypatch):
    """Let so many seconds pass on the benchmarks' clock: a sleep would take longer where the machine is busy."""
    clock = [0.0]
    monkeypatch.setattr(side_by_side.time, "perf_counter", lambda: clock[0])
    return lambda seconds: clock.append(clock.pop() + seconds)


def test_the_sides_take_turns_and_keep_their_places(side_by_side, passing):
    order = []

    def side(name, seconds):
        return lambda: (order.append(name), passing(seconds))

    pairs = side_by_side.take_turns(side("ours", 0.06), side("theirs", 0.12), 3, "test", warm=1)
    assert order == ["ours", "theirs", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert pairs == [pytest.approx((0.06, 0.12))] * 3


def test_what_takes_no_time_is_called_several_times_in_a_row(side_by_side, passing):
    calls = {"ours": 0, "theirs": 0}

    def side(name, seconds):
        def call():
            calls[name] += 1
            passing(seconds)

        return call

    ((ours, theirs),) = side_by_side.take_turns(side("ours", 0.002), side("theirs", 0.06), 1, "test", warm=1)
    assert calls == {"theirs": 2, "ours": 26}
    assert (ours, theirs) == pytest.approx((0.002, 0.06))


@pytest.mark.skipif(platform.system() != "Linux", reason="children are counted on Linux only")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the memory is the GPU's")
def test_memory_is_the_most_that_was_held_also_by_a_child_that_is_alive(side_by_side):
    before = side_by_side.peak_memory()
    assert before > 60  # Python with torch
    code = "held = b'x' * 150 * 2**20; del held; print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert 140 < side_by_side.peak_memory() - before < 400
        child.kill()


def test_the_speed_of_scoring_is_a_row(side_by_side, tiny_source, monkeypatch):
    """Both sides see the same number of images, in the same batches."""
    loader = importlib.import_module("loader")
    scored, forward = [], []
    score, of_detector = loader.loop.score, DetectionGraph.forward

    def counted(detector, faces, *args, **options):
        found = score(detector, faces, *args, **options)
        scored.append(len(found))
        forward.clear()
        return found

    monkeypatch.setattr(loader.loop, "score", counted)
    monkeypatch.setattr(DetectionGraph, "forward", lambda self, x: forward.append(len(x)) or of_detector(self, x))
    found = loader.scoring("test_efficientnet", tiny_source[1], pairs=1)
    assert set(scored) == {140} and forward[:3] == [64, 64, 12]
    assert (found.what, found.case, found.reads) == ("scoring", "test_efficientnet, 64 px", "cost")
    assert found.sides[0] == "did.training.loop.score" and found.target is None and found.seconds[0] > 0
    assert found.more["images/s"] == pytest.approx([140 / each for each in found.seconds])
    assert found.note == "140 images in batches of 64; 0 workers"
    assert costs.sentence(found).startswith("scoring, test_efficientnet, 64 px: did.training.loop.score takes ")


def test_memory_stands_beside_that_of_the_packages(side_by_side):
    found = side_by_side.as_fields((10, 30, 1), (10, 15, 1))
    assert found == {"memory": (30, 15), "more": {"MiB above the packages": (20, 5)}}


ROWS = [
    costs.row("training step", "lite0", ("DID", "BCE"), "cost", [(1.05, 1), (1.0, 1), (1.2, 1)], target=1.1),
    costs.row("loader", "lite0", ("waiting", "an iteration"), "share", [(0.06, 1)], target=0.05),
    costs.row("loss", "batch 15", ("ours", "a loop"), "speed-up", [(1, 400)]),
]


def test_each_ratio_stands_at_its_place_and_what_misses_its_target_is_hollow(whole):
    plot = whole(costs.ratios(ROWS, "the stamp"))
    left, right = plot.figure.axes
    drawn = {line.get_label(): line for line in (*left.get_lines(), *right.get_lines())}
    places = {name: drawn[name].get_xydata().round(3).tolist() for name in ("training step", "loader", "loss")}
    assert places == {"training step": [[1.05, 0]], "loader": [[0.06, 1]], "loss": [[400, 0]]}
    hollow = {name: to_hex(drawn[name].get_markerfacecolor()) == "#ffffff" for name in places}
    assert hollow == {"training step": False, "loader": True, "loss": False}
    assert drawn["target (hollow: not met)"].get_xydata().tolist() == [[1.1, 0], [0.05, 1]]
    (quartiles, *_) = left.collections
    assert quartiles.get_segments()[0][:, 0].round(3).tolist() == [1.025, 1.125]
    assert [axis.get_xscale() for axis in (left, right)] == ["linear", "log"]
    assert "training step, lite0, DID against BCE: 1.050 [1.025, 1.125], target 1.100, met;" in plot.alt
    assert "waiting against an iteration: 0.060 [0.060, 0.060], target 0.050, not met;" in plot.alt
    assert plot.alt.endswith("ours against a loop: 400.0 [400.0, 400.0].")


def test_a_target_stands_at_its_own_row():
    plain = costs.row("memory", "lite0", ("DID", "BCE"), "cost", [(1.3, 1)])
    left, _ = costs.ratios([plain, *ROWS], "the stamp").figure.axes
    (target,) = [line for line in left.get_lines() if line.get_label().startswith("target")]
    assert target.get_xydata().tolist() == [[1.1, 1], [0.05, 2]]


@pytest.mark.parametrize(("rows", "scale"), [(ROWS[:1], "linear"), (ROWS[2:], "log")])
def test_one_kind_of_ratio_fills_the_figure(rows, scale):
    (axis,) = costs.ratios(rows, "the stamp").figure.axes
    assert axis.get_xscale() == scale


def test_nothing_to_draw_is_said():
    with pytest.raises(DidError, match="`make bench` measures them"):
        costs.ratios([], "the stamp")
