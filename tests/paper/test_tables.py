import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from did import evaluation, plots
from did.errors import DidError
from did.evaluation import explain
from did.paper import measures, records, tables, verdicts
from did.paper.conduct import rows_of
from did.paper.experiments import EXPERIMENTS
from did.presets import PRESETS
from did.settings import Settings
from did.training.runs import split_faces
from did_book.chapters import start as start_module

NAN = float("nan")
LIVING, LITERAL = "DID, T's own step × 1", "DID, T's own step × λ_dec"


def row(name, test, ours, low=NAN, high=NAN, printed=NAN, level="frame", std=NAN, seeds=1, metric="auc"):
    """A row of a result's table; one without a number of ours is of a system that is not run."""
    here = np.isfinite(ours)
    return {
        "row": name, "runs_on": "lite0" if here else "", "test": test, "level": level, "metric": metric, "ours": ours,
        "std": std, "low": low, "high": high, "seeds": seeds, "paper": printed, "run_here": here,
    }  # fmt: skip


def apart(a, b, test, difference, low, high, printed=NAN, level="frame", seeds=3):
    """A row of a result's differences."""
    return {"a": a, "b": b, "test": test, "level": level, "difference": difference, "std": 0.0123, "low": low,
            "high": high, "seeds": seeds, "paper": printed}  # fmt: skip


def a_record(rows=(), differences=(), experiment="table1_intra_cross", preset="laptop", **figures):
    """A record as far as tables and sentences read it."""
    what = EXPERIMENTS[experiment]
    return {
        "experiment": experiment, "title": what.title, "claim": {"quote": "", "where": ""}, "edition": "stand-in",
        "bank": "drawn", "preset": preset, "rows": records.plain(pd.DataFrame(rows)),
        "differences": records.plain(pd.DataFrame(differences)),
        "figures": {name: records.columns(pd.DataFrame(table)) for name, table in figures.items()},
    }  # fmt: skip


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_papers_numbers_and_ours_side_by_side():
    table = [
        row("DID", "FF++", 0.9, 0.85, 0.95, 0.97, std=0.0126, seeds=3),
        row("DID", "FF++", 0.96, 0.9, 0.99, level="video", std=0.1, seeds=3),
        row("DID", "CDF2", 0.61234, 0.5, 0.7, 0.779, std=0.02, seeds=3),
        row("DID", "CDF2", 0.4, 0.3, 0.5, std=0.03, seeds=3, metric="eer"),
        row("DIRE", "FF++", NAN, printed=0.994, seeds=0),
        row("DIRE", "CDF2", NAN, seeds=0),
        row("DIRE", "CDF2", NAN, seeds=0, metric="eer"),
    ]
    found = tables.against(a_record(table))
    kind = {"kind": "STAND-IN (drawn)"}
    ours = {"seeds": "3", "backbone": "lite0", **kind}
    theirs = dict.fromkeys(("± seeds", "seeds", "videos", "backbone"), "-") | {"here": "not run here", **kind}
    assert [(name, *of.items()) for name, of in zip(found.index, found.to_dict("records"), strict=True)] == [
        (name, *{column: of[column] for column in found}.items())
        for name, of in (
            ("DID", {"on": "FF++", "metric": "AUC", "published": "0.970", "here": "0.900 [0.850, 0.950]",
                     "± seeds": "0.013", "videos": "0.960 [0.900, 0.990]", **ours}),
            ("DID", {"on": "CDF2", "metric": "AUC", "published": "0.779", "here": "0.612 [0.500, 0.700]",
                     "± seeds": "0.020", "videos": "-", **ours}),
            ("DID", {"on": "CDF2", "metric": "EER", "published": "-", "here": "0.400 [0.300, 0.500]",
                     "± seeds": "0.030", "videos": "-", **ours}),
            ("DIRE", {"on": "FF++", "metric": "AUC", "published": "0.994", **theirs}),
            ("DIRE", {"on": "CDF2", "metric": "AUC", "published": "-", **theirs}),
            ("DIRE", {"on": "CDF2", "metric": "EER", "published": "-", **theirs}),
        )
    ]  # fmt: skip
    one_seed = tables.against(a_record(pd.DataFrame(table).assign(seeds=1, std=NAN)))
    assert "± seeds" not in one_seed.columns


def test_differences_to_read():
    table = [
        apart("DID", "BCE", "CDF2", 0.05, 0.01, 0.09, 0.1),
        apart("DID", "BCE", "CDF2", 0.5, 0.4, 0.6, level="video"),
        apart("DID", "F3-Net", "CDF2", -0.05, -0.09, -0.01),
        apart("DID", "F3-Net", "FF++", 0.0, -0.1, 0.1),
    ]
    found = tables.differences(a_record(differences=table))
    assert found["so"].tolist() == ["ahead", "behind", "undecided"]
    assert found.drop(columns="kind").iloc[0].tolist() == [
        "DID", "BCE", "CDF2", "0.100", "0.050 [0.010, 0.090]", "0.012", "ahead"
    ]  # fmt: skip
    assert found["published"].tolist()[1:] == ["-", "-"] and set(found.kind) == {"STAND-IN (drawn)"}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.01, 0.2, "ahead"), (-0.2, -0.01, "behind"), (-0.1, 0.1, "undecided"), (0.0, 0.1, "undecided"),
     (-0.1, 0.0, "undecided")]
)  # fmt: skip
def test_the_verdict_is_the_intervals(low, high, expected):
    assert records.verdict(low, high) == expected


def test_what_is_run_is_said(tiny_outcome):
    rows = dict(zip(("BCE", "w/o T"), tiny_outcome.runs.values(), strict=True))
    outcome = dataclasses.replace(tiny_outcome, experiment=EXPERIMENTS["table4_ablation"], runs=rows)
    outcome = dataclasses.replace(outcome, table=pd.DataFrame(), differences=tiny_outcome.differences)
    found = outcome.record["setup"]
    assert found["w/o T"] == {
        "task": "did",
        "backbone": "test_efficientnet",
        "weights": "none",
        "trained on": "ffpp",
        "changed": "decorrelation = False",
    }
    assert list(found) == ["BCE", "w/o T"] and found["BCE"]["changed"] == "nothing"


def fake_run(estimate, ratio=0.5, logged=13):
    """A run's history: rows of the log, and rows of validations that hold nothing else."""
    rows = []
    for k in range(logged):
        late = k >= logged - 10
        rows.append({"iteration": k, "cls": 0.7, "estimate": estimate + 0.01 * k if late else 99.0,
                     "gradient from T": ratio, "gradient from C": 1.0, "M_df mean": 0.1 * k})  # fmt: skip
        if k % 4 == 3:
            rows.append({"iteration": k, "validation AUC": 0.9, "estimate": NAN})
    return SimpleNamespace(history=pd.DataFrame(rows))


def test_the_final_state_is_the_mean_of_the_last_ten_logged_rows():
    runs = {
        "BCE": [SimpleNamespace(history=pd.DataFrame({"iteration": [0], "bce": [0.7]}))],
        "DID": [fake_run(-1.0), fake_run(-0.5)],
        "w/o T": [SimpleNamespace(history=pd.DataFrame({"cls": [0.5, 0.4], "M_df mean": [0.2, 0.4]}))],
    }
    found = measures.final_state(runs)
    assert found.index.tolist() == ["DID", "w/o T"]
    assert found.columns.tolist() == list(measures.STATE)
    estimates = [start + 0.01 * k for start in (-1.0, -0.5) for k in range(3, 13)]
    assert found.estimate["DID"] == pytest.approx(sum(estimates) / 20)
    assert found["M_df mean"]["DID"] == pytest.approx(sum(0.1 * k for k in range(3, 13)) / 10)
    assert found["M_df mean"]["w/o T"] == pytest.approx(0.3) and np.isnan(found.estimate["w/o T"])


def test_a_real_run_has_a_final_state_and_a_history(tiny_outcome):
    found = measures.game(tiny_outcome)
    assert found["state"].row.tolist() == ["DID"] and found["state"].notna().all(axis=None)
    assert found["state"].equals(measures.state(tiny_outcome)["state"])
    whole = tiny_outcome.runs["DID"][0].history
    logged = whole[whole["cls"].notna()]
    assert set(found["histories"].row) == {"DID"} and len(found["histories"]) == len(logged)
    assert found["histories"].estimate.tolist() == logged.estimate.tolist()
    kept = plots.compare_histories({"DID": found["histories"]}, "s")
    assert kept.alt == plots.compare_histories({"DID": whole}, "s").alt
    pd.testing.assert_frame_equal(kept.data, plots.compare_histories({"DID": whole}, "s").data)


# --- Fig. 5 -----------------------------------------------------------------------------------------------------------


def domains_of(outcome, **options):
    found = measures.domains(outcome, **options)
    return found["confusion"].set_index("domain"), found["rows"]


def test_domains_are_those_that_the_runs_take_the_faces_for(tiny_outcome, tiny_source):
    confusion, table = domains_of(tiny_outcome)
    faces = split_faces(tiny_source[1], tiny_outcome.runs["DID"][0].settings)["test"]
    images = torch.stack([faces[i]["image"] for i in range(len(faces))])
    counts = np.zeros((5, 5))
    for one in tiny_outcome.runs["DID"]:
        with torch.no_grad():
            taken_for = one.task().model(images).domain_logits.argmax(1).tolist()
        for true, guess in zip(faces.domains.tolist(), taken_for, strict=True):
            counts[true, guess] += 1 / 8 / 2  # 4 videos of 2 frames a domain, 2 seeds
    assert confusion.to_numpy() == pytest.approx(counts)
    recorded = [one.record["metrics"]["domain_accuracy"] for one in tiny_outcome.runs["DID"]]
    assert table.set_index("row").ours["mean"] == pytest.approx(sum(recorded) / 2)


def test_accuracies_of_domains_and_their_intervals_by_hand(tiny_outcome, tiny_source, monkeypatch):
    faces = split_faces(tiny_source[1], tiny_outcome.runs["DID"][0].settings)["test"]
    rng, taken_for = np.random.default_rng(3), []
    for _ in range(2):
        taken_for.append(np.where(rng.uniform(size=40) < 0.6, faces.domains, rng.integers(0, 5, 40)))
    given = iter(taken_for)
    monkeypatch.setattr(measures, "domain_predictions", lambda task, faces: next(given))
    confusion, table = domains_of(tiny_outcome)
    names, of = faces.domain_names, table.set_index("row")
    assert of.index.tolist() == [*names, "mean"]
    assert confusion.index.tolist() == confusion.columns.tolist() == names
    assert confusion.to_numpy().sum(1) == pytest.approx(1)

    right = [[float(a == b) for a, b in zip(one, faces.domains, strict=True)] for one in taken_for]
    per_seed, people = np.zeros((2, 5)), np.array(evaluation.people(faces.rows))
    times = np.random.default_rng(0).multinomial(2, [0.5, 0.5], size=1000)  # two pairs of people
    assert sorted(set(people)) == ["000000", "000001"]
    number = np.array([int(each) for each in people])
    for domain in range(5):
        mine = [i for i in range(40) if faces.domains[i] == domain]
        for seed in (0, 1):
            per_seed[seed, domain] = sum(right[seed][i] for i in mine) / 8
        found = of.loc[names[domain]]
        assert found.ours == pytest.approx(per_seed[:, domain].mean()) == np.diag(confusion)[domain]
        weights = times[:, number[mine]]
        over = [(weights @ np.array(right[seed])[mine]) / weights.sum(1) for seed in (0, 1)]
        drawn = evaluation.Drawn(per_seed[:, domain], np.array(over), 2, (0.5, 4))
        assert [found.low, found.high] == pytest.approx(evaluation.ends(drawn))
    mean = of.loc["mean"]
    assert mean.ours == pytest.approx(per_seed.mean())
    assert of["std"].tolist() == pytest.approx([*per_seed.std(0, ddof=1), per_seed.mean(1).std(ddof=1)])
    assert ((of.low <= of.ours) & (of.ours <= of.high)).all() and mean.low < mean.ours < mean.high
    assert (mean.paper, of.paper["FaceSwap"]) == (0.91, 0.99) and np.isnan(of.paper["Deepfakes"])
    assert (of.metric == "accuracy").all() and (of.seeds == 2).all() and of.run_here.all()


def domain_rows(best, mean=0.5):
    names = ["real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    rows = [row(name, "Domains", 0.8 if name == best else 0.4, 0.3, 0.9) for name in names]
    return a_record([*rows, row("mean", "Domains", mean, mean - 0.1, mean + 0.1, 0.91, seeds=3)])


def test_the_sentences_of_fig_5_follow_the_table():
    said = verdicts.domains(domain_rows("FaceSwap"))
    assert said[0] == (
        "The mean accuracy over domains is 0.500 [0.400, 0.600] over 3 seeds; published: 0.910, chance: 0.200."
    )
    assert said[1].startswith(
        "The domain recognised best is FaceSwap (0.800 [0.300, 0.900]); in the paper it is FaceSwap"
    )
    other = verdicts.domains(domain_rows("real", 0.7))
    assert "0.700 [0.600, 0.800]" in other[0] and "recognised best is real (0.800" in other[1]


# --- Fig. 6 -----------------------------------------------------------------------------------------------------------


def test_saliency_is_of_one_frame_a_video_of_the_first_people(tiny_outcome, monkeypatch):
    every = measures.saliency_faces(tiny_outcome, "ffpp")
    assert len(every) == 20 and not every.rows.video.duplicated().any() and set(every.rows.split) == {"test"}
    two = measures.saliency_faces(tiny_outcome, "ffpp", people=2)
    assert set(two.rows.identity.str.split("+").str[0]) == {"010", "011"} and len(two) == 10

    asked = []

    def overlap_faces(task, faces, root, margin, names):
        asked.append((len(faces), root, margin, tuple(names)))
        return pd.DataFrame({"face": [0]})

    apart = pd.DataFrame({"method": ["Deepfakes"], "difference": [0.1], "low": [0.05], "high": [0.15]})
    monkeypatch.setattr(explain, "overlap_faces", overlap_faces)
    of_two = overlaps(0.35, 0.2).drop(columns="data").assign(share_std=0.1, seeds=2)
    monkeypatch.setattr(explain, "overlap_table", lambda faces: of_two.assign(seen=str(faces.seed.tolist())))
    monkeypatch.setattr(explain, "overlap_difference", lambda _: apart)
    one = tiny_outcome.runs["DID"][0]
    twice = dataclasses.replace(tiny_outcome, runs={"DID": [one, one]})
    found = measures.saliency(twice, people=1, sources=["ffpp"])
    assert asked == [(5, tiny_outcome.sources["ffpp"].root, 0.3, ("I_df", "I_dom"))] * 2, "not every run is asked"
    assert (found["overlap"].seen == "[0, 0]").all()
    pd.testing.assert_frame_equal(found["overlap"].drop(columns="seen"), of_two.assign(data="ffpp"))
    rows = found["rows"]
    assert rows.row.tolist() == [f"{name} on {of}" for name in ("I_dom", "I_df") for of in ("Deepfakes", "FaceSwap")]
    first = rows.iloc[0]
    assert (first.test, first.ours, first.low, first.high, first.area, first.fixed) == (
        "ffpp",
        0.4,
        0.35,
        0.5,
        0.3,
        0.35,
    )
    assert rows.paper.isna().all() and rows.run_here.all() and (rows.runs_on == "test_efficientnet").all()
    assert (rows.metric == "share inside the forged region").all()
    assert (rows.seeds == 2).all() and (rows["std"] == 0.1).all()
    licensed = {name: dataclasses.replace(each, edition="licensed") for name, each in tiny_outcome.sources.items()}
    found = measures.saliency(dataclasses.replace(tiny_outcome, sources=licensed), people=1, sources=["ffpp"])
    assert set(found) == {"likeness"} and len(asked) == 2


def maps_of(monkeypatch, maps):
    monkeypatch.setattr(explain, "saliency", lambda model, images, name: maps[name])


def test_identical_maps_have_a_likeness_of_1(tiny_outcome, monkeypatch):
    maps = np.random.default_rng(0).uniform(size=(20, 64, 64)).astype(np.float32)
    maps_of(monkeypatch, {"I_df": maps, "I_dom": maps})
    found = measures.map_likeness(tiny_outcome, "ffpp")
    assert found.method.tolist() == ["real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    assert found["I_df with I_dom"].to_numpy() == pytest.approx(1)
    assert (found["I_df with another face's I_df"].abs() < 0.1).all() and (found.faces == 4).all()


def test_the_likeness_of_maps_by_hand(tiny_outcome, monkeypatch):
    rng = np.random.default_rng(1)
    shared = rng.uniform(size=(20, 1, 1)) * np.linspace(0, 1, 64)  # alike in all faces, in part
    maps = {name: (shared + rng.uniform(size=(20, 64, 64))).astype(np.float32) for name in ("I_df", "I_dom")}
    maps["I_dom"][3] = 0  # nothing pushes this one's score up: it counts for nothing
    maps_of(monkeypatch, maps)
    found = measures.map_likeness(tiny_outcome, "ffpp").set_index("method")
    methods = measures.saliency_faces(tiny_outcome, "ffpp").rows.method.tolist()
    for method in found.index:
        mine = [i for i, of in enumerate(methods) if of == method]
        flat = {name: [maps[name][i].ravel() for i in mine] for name in maps}
        between = [np.corrcoef(a, b)[0, 1] for a, b in zip(flat["I_df"], flat["I_dom"], strict=True) if b.any()]
        ring = [np.corrcoef(flat["I_df"][k], flat["I_df"][k - 1])[0, 1] for k in range(len(mine))]
        assert found["I_df with I_dom"][method] == pytest.approx(sum(between) / len(between), abs=1e-6)
        assert found["I_df with another face's I_df"][method] == pytest.approx(sum(ring) / len(ring), abs=1e-6)


def test_maps_of_a_real_run_are_compared(tiny_outcome):
    found = measures.map_likeness(tiny_outcome, "ffpp", people=1)
    assert found["I_df with another face's I_df"].isna().all()  # one face a method
    known = found["I_df with I_dom"].dropna()
    assert len(found) == 5 and known.between(-1, 1).all()


def overlaps(dom_low, df_low):
    rows = []
    for name, low in (("I_dom", dom_low), ("I_df", df_low)):
        rows += [{"map": name, "method": method, "share": 0.4, "area": 0.3, "fixed": 0.35, "share_low": low,
                  "share_high": 0.5, "data": "ffpp"} for method in ("Deepfakes", "FaceSwap")]  # fmt: skip
    lost = {"map": "I_df", "method": "whole", "share": NAN, "area": NAN, "fixed": NAN, "share_low": NAN}
    return pd.DataFrame([*rows, lost])


def likeness(between, within):
    return pd.DataFrame({"I_df with I_dom": [between] * 2, "I_df with another face's I_df": [within] * 2})


def maps_record(dom_low, df_low, between, within):
    rows = [
        {**row(f"{name} on {method}", "ffpp", 0.4, low, 0.5, metric="share inside the forged region"), "area": 0.3}
        for name, low in (("I_dom", dom_low), ("I_df", df_low)) for method in ("Deepfakes", "FaceSwap")
    ]  # fmt: skip
    return a_record(rows, experiment="fig6_saliency", likeness=likeness(between, within))


def test_the_sentences_of_fig_6_follow_the_tables():
    said = verdicts.saliency(maps_record(0.35, 0.2, 0.2, 0.6))
    assert "I_dom, which by the paper captures the forged region, puts 0.400 of its map" in said[0]
    assert "covers 0.300 of the crop; its interval lies above the area for 2 of 2 methods." in said[0]
    assert said[1].startswith("I_df, which by the paper is at what all") and "for 0 of 2 methods." in said[1]
    assert said[2] == (
        "The two maps of a face correlate by 0.200, less than the same map on two faces of a method (0.600)."
    )
    other = verdicts.saliency(maps_record(0.2, 0.35, 0.7, 0.6))
    assert "for 0 of 2 methods." in other[0] and "for 2 of 2 methods." in other[1]
    assert "correlate by 0.700, as much as, or more than, the same map" in other[2]


def test_without_known_regions_or_with_empty_maps_fig_6_says_so():
    def unknown(between, within):
        rows = [row("DID", test, 0.7, 0.6, 0.8) for test in ("FF++", "CDF2")]
        return a_record(rows, experiment="fig6_saliency", likeness=likeness(between, within))

    (said,) = verdicts.saliency(unknown(0.2, 0.6))
    assert said.startswith("The two maps of a face correlate by 0.200")
    assert verdicts.saliency(unknown(NAN, 0.6)) == [
        "One map of each face, or both, are 0 everywhere: nothing to compare."
    ]
    assert verdicts.maps_apart(unknown(0.2, 0.6)).startswith("Not tested: no forged region is known")


# --- Fig. 7 -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held(tiny_runs, tiny_source):
    """What the features of all tiny runs hold."""
    return measures.features(SimpleNamespace(runs=tiny_runs, source=lambda name: tiny_source))


def test_every_run_is_probed(held, tiny_runs, tiny_source):
    probed = held["probes"]
    found = set(probed[["row", "seed", "features"]].itertuples(index=False, name=None))
    of_did = {("DID", seed, name) for seed in (0, 1) for name in ("I_X", "I_df", "I_dom", "I_res")}
    assert found == {("BCE", 0, "I_X"), *of_did}
    splits = split_faces(tiny_source[1], tiny_runs["BCE"][0].settings)
    x, tested = (explain.features(tiny_runs["BCE"][0].task(), splits[name])["I_X"] for name in ("val", "test"))
    expected = explain.probe(x, splits["val"].labels, tested, splits["test"].labels)
    label = probed[(probed.row == "BCE") & (probed.target == "label")].iloc[0]
    assert label.accuracy == pytest.approx(expected) and label.chance == 0.5


def test_probes_as_rows_of_a_table(held):
    found = held["rows"].set_index(["row", "test"])
    for (name, features, target), part in held["probes"].groupby(["row", "features", "target"]):
        values, mine = part.accuracy.tolist(), found.loc[(f"{name}: {target}", features)]
        assert mine.ours == pytest.approx(sum(values) / len(values), nan_ok=True)
        assert mine.seeds == len(values) and mine.chance == pytest.approx(part.chance.iloc[0], nan_ok=True)
        if len(values) == 2:
            spread = abs(values[0] - values[1]) / 2**0.5
            assert mine["std"] == pytest.approx(spread, nan_ok=True)
    assert found[["low", "high", "paper"]].isna().all(axis=None)
    assert (found.metric == "probe accuracy").all() and len(found) == 3 + 4 * 3


def test_the_panels_of_fig_7(held, tiny_outcome, tiny_source):
    panels = measures.panels(tiny_outcome)
    names = ["(a) backbone trained with BCE", "(b) DID: I_df", "(c) DID: I_dom"]
    assert list(panels) == held["silhouettes"].features.tolist() == names
    faces = split_faces(tiny_source[1], tiny_outcome.runs["DID"][0].settings)["test"]
    of_did = explain.features(tiny_outcome.runs["DID"][0].task(), faces)
    of_bce = explain.features(tiny_outcome.runs["BCE"][0].task(), faces)
    truth = ["real" if label == 0 else "fake" for label in faces.labels]
    labels = [truth, truth, faces.rows.method.tolist()]
    vectors = [of_bce["I_X"], of_did["I_df"], of_did["I_dom"]]
    for name, of, known in zip(names, vectors, labels, strict=True):
        points = held["points"][held["points"].features == name]
        assert points.label.tolist() == known
        assert points[["x", "y"]].to_numpy() == pytest.approx(explain.tsne(of), abs=0.006)
        silhouette = held["silhouettes"].set_index("features").silhouette[name]
        assert silhouette == pytest.approx(explain.silhouette(of, np.array(known)))


def test_the_sentences_of_fig_7_follow_the_tables():
    def probes(domain):
        rows = [("BCE: label", "I_X", 0.85, 0.5), ("DID: label", "I_df", 0.9, 0.5),
                ("DID: domain", "I_df", domain, 0.2), ("DID: domain", "I_dom", 0.7, 0.2)]  # fmt: skip
        table = [
            {**row(name, of, value, metric="probe accuracy"), "chance": chance} for name, of, value, chance in rows
        ]
        panels = {"features": ["(a)", "(b)"], "silhouette": [0.1234, -0.5]}
        return a_record(table, experiment="fig7_embeddings", silhouettes=panels)

    said = verdicts.features(probes(0.6))
    assert said[0].startswith(
        "Silhouettes in the features themselves: (a) 0.123, (b) -0.500. A linear probe reads real"
    )
    assert "accuracy 0.900 from I_df and 0.850 from the features" in said[0]
    assert "domain with accuracy 0.600 (chance 0.200), from I_dom with 0.700" in said[1]
    assert said[1].endswith("I_df still tells the methods apart here.")
    assert verdicts.features(probes(0.25))[1].endswith("little better than chance here.")
    # A tenth above chance is where it begins.
    assert verdicts.features(probes(0.29))[1].endswith("little better than chance here.")
    assert verdicts.features(probes(0.31))[1].endswith("I_df still tells the methods apart here.")


# --- tables in words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        ((0.01, 0.05), "The interval lies above 0: the claim holds here."),
        ((-0.05, -0.01), "The interval lies below 0: here it is the other way round."),
        ((-0.05, 0.05), "The interval contains 0: these runs do not decide it."),
    ],
)
def test_one_difference_in_words(ends, sentence):
    table = [
        apart("DID", "BCE", "CDF2", sum(ends) / 2, *ends, 0.047),
        apart("DID", "BCE", "CDF2", 1, 1, 1, level="video"),
    ]
    said = verdicts.compared(a_record(differences=table))
    shown = f"{sum(ends) / 2:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}] (published: +0.047)"
    assert said == [f"AUC of DID less that of BCE, 3 seeds: on CDF2 {shown}.", sentence]
    assert verdicts.compared(a_record()) == []


def test_many_differences_in_words():
    ends = [(0.01, 0.05), (-0.05, -0.01), (-0.05, 0.05), (-0.02, 0.01)]
    table = [apart("DID", name, "CDF2", 0.0, *of, seeds=1) for name, of in zip("abcd", ends, strict=True)]
    said = verdicts.compared(a_record(differences=table))
    assert said[0] == "AUC of DID less that of a, one seed: on CDF2 +0.000 [+0.010, +0.050]."
    assert said[1].startswith("Of the 4 differences compared here, 1 lie above 0 with their whole interval, 1 lie")
    assert "and 2 contain 0" in said[1]
    two_tests = [apart("DID", "a", test, 0.1, 0.01, 0.2) for test in ("FF++", "CDF2")]
    assert "on FF++ +0.100 [+0.010, +0.200], on CDF2 +0.100" in verdicts.compared(a_record(differences=two_tests))[0]


def told(name, table=(), differences=(), runs=None, **figures):
    """What an experiment says of a record with these tables, and with the state of these runs."""
    state = measures.final_state(runs or {}).rename_axis("row").reset_index()
    record = a_record(table, differences, name, state=state, **figures)
    return [sentence for say in EXPERIMENTS[name].sentences for sentence in say(record)]


def test_rows_with_the_same_runs_count_once():
    pairs = [apart("DID", b, test, 0.1, 0.05, 0.15) for b in ("BCE", "Xception", "F3-Net") for test in ("FF++", "CDF2")]
    entry = a_record([], pairs)
    assert verdicts.compared(entry)[1].startswith("Of the 6 differences compared here, 6 lie above 0")
    entry["runs"] = {"BCE": ["a", "b"], "Xception": ["a", "b"], "F3-Net": ["a"], "DID": ["c", "d"]}
    _, counted, same = verdicts.compared(entry)
    assert counted.startswith("Of the 4 differences compared here, 4 lie above 0")
    assert same == "On one backbone Xception is BCE: the same runs, whose differences are counted once."


def test_table_1_says_how_far_each_falls():
    table = [row("BCE", "FF++", 0.95), row("BCE", "CDF2", 0.6), row("BCE", "CDF2", 0.1, level="video"),
             row("DIRE", "FF++", NAN, printed=0.994), row("DID", "FF++", 0.9), row("DID", "CDF2", 0.7)]  # fmt: skip
    differences = [apart("DID", "BCE", "CDF2", 0.1, 0.05, 0.15, 0.1)]
    said = told("table1_intra_cross", table, differences)
    assert said[1] == "The interval lies above 0: the claim holds here."
    assert said[2] == "From FF++ to CDF2, the AUC changes as follows: BCE from 0.950 to 0.600, DID from 0.900 to 0.700."


@pytest.mark.parametrize(
    ("low", "high", "where"), [(0.55, 0.65, "above"), (0.4, 0.65, "not told from"), (0.3, 0.45, "below")]
)
def test_fig_4_says_where_alpha_0_ends_and_which_is_highest(low, high, where):
    table = [
        row("α = 0", "CDF2", (low + high) / 2, low, high, 0.380),
        row("α = 0.25", "CDF2", 0.8, 0.7, 0.9),
        row("α = 0.5", "CDF2", 0.7, 0.6, 0.8, 0.779),
        row("α = 1", "CDF2", 0.99, 0.9, 1, level="video"),
    ]
    (said,) = told("fig4_alpha", table)
    assert f"gives {(low + high) / 2:.3f} [{low:.3f}, {high:.3f}] on CDF2, {where} chance; published: 0.380" in said
    assert said.endswith("The highest mean is that of α = 0.25, 0.800.")
    table[2]["ours"] = 0.9
    assert told("fig4_alpha", table)[0].endswith("that of α = 0.5, 0.900.")


def test_table_4_says_whether_t_is_dead(tiny_outcome):
    runs = {"BCE": tiny_outcome.runs["BCE"], LITERAL: [fake_run(-1.45, 0.0001)], LIVING: [fake_run(-0.15, 0.25)]}
    (said,) = told("table4_ablation", runs=runs)
    assert "T's own step × λ_dec: the estimate ends at -1.375, so that T sees nothing, and T's gradient at G is" in said
    assert "0.010% of C's. DID, T's own step × 1: the estimate ends at -0.075, so that T tells nearly every" in said
    assert said.endswith("is 25.000% of C's.")
    turned = told("table4_ablation", runs={LITERAL: [fake_run(-0.9)], LIVING: [fake_run(-1.5)]})[0]
    assert "-0.825, so that T tells some" in turned and "-1.425, so that T sees nothing" in turned
    assert told("table4_ablation", runs={"BCE": tiny_outcome.runs["BCE"]}) == []


def test_open_choices_name_those_that_differ_clearly():
    differences = [apart("merge = product", "default", "CDF2", -0.1, -0.15, -0.05, seeds=1),
                   apart("pooling = flatten", "default", "CDF2", 0.1, -0.05, 0.25, seeds=1),
                   apart("pooling = flatten", "default", "CDF2", 0.1, 0.05, 0.25, level="video", seeds=1)]  # fmt: skip
    said = told("open_choices", differences=differences)
    assert said[0] == "merge = product on CDF2: -0.100 [-0.150, -0.050] against the default."
    assert len(said) == 2 and said[1].startswith("Of 2 differences from the default, 1 have intervals that do not")
    assert "with one seed, the difference between two seeds can look like one between two choices" in said[1]
    differences[0]["high"] = 0.01
    (said,) = told("open_choices", differences=differences)
    assert said.startswith("Of 2 differences from the default, 0 have")


def the_lengths():
    """Two systems at three lengths: DID levels off at 100, BCE does not; DID's lead melts."""
    validated = {"DID": (0.9, 0.96, 0.964), "BCE": (0.8, 0.9, 0.95)}
    table = [
        {"row": f"{system} ×{at}", "system": system, "augmentation": "light", "iterations": 50 * at,
         "validation AUC": value}
        for system, of in validated.items() for at, value in zip((1, 2, 4), of, strict=True)
    ]  # fmt: skip
    differences = [apart(f"DID ×{at}", f"BCE ×{at}", "CDF2", d, d - 0.05, d + 0.05)
                   for at, d in ((4, 0.01), (1, 0.1), (2, 0.04))]  # fmt: skip
    return table, differences


def test_lengths_say_both_ends_and_each_plateau():
    table, differences = the_lengths()
    said = told("training_length", differences=differences, lengths=table)
    assert said[0] == (
        "DID − BCE, with light augmentation: on CDF2 +0.100 [+0.050, +0.150] after 50 iterations and "
        "+0.010 [-0.040, +0.060] after 200 iterations."
    )
    assert said[2].endswith("to the validation AUC: DID, light: 100; BCE, light: not by 200.")
    assert said[3].startswith("Preset laptop stops 2 of these 2 before their plateau (DID, light; BCE, light), so")
    assert said[4].startswith("Of the 3 differences, 1 lie above 0, 0 below, and 2 contain 0; about 0.2")
    short = [row for row in table if row["row"].endswith("×1")]
    said = told("training_length", differences=differences[1:2], lengths=short)
    assert said[0].endswith("on CDF2 +0.100 [+0.050, +0.150] after 50 iterations.")
    assert not any("plateau" in each or "doubling" in each for each in said), "one length says nothing of a plateau"


def test_lengths_apply_the_rule_on_being_better_and_on_learning_faster():
    table, (longest, *shorter) = the_lengths()
    where = "BCE on CDF2 with light augmentation"
    told_by_rule = "By the rule, DID is better after the longest training than: {}. It only learns faster than: {}."
    said = told("training_length", differences=[longest, *shorter], lengths=table)
    assert said[1] == told_by_rule.format("none", where)
    ahead = {**longest, "low": 0.001}  # whatever it was before
    assert told("training_length", differences=[ahead, *shorter], lengths=table)[1] == told_by_rule.format(
        where, "none"
    )
    never = [{**each, "low": -0.01} for each in shorter]
    assert told("training_length", differences=[longest, *never], lengths=table)[1] == told_by_rule.format(
        "none", "none"
    )


def test_lengths_without_a_compared_pair_say_the_plateau_alone():
    table = the_lengths()[0]
    said, stopped = told("training_length", lengths=table)
    assert said.startswith("Iterations after which a doubling adds less than 0.005")
    assert stopped.startswith("Preset laptop stops 2 of these 2")
    table[1]["validation AUC"] = 0.904  # DID is at its plateau at once
    stopped = told("training_length", lengths=table)[1]
    assert stopped.startswith("Preset laptop stops 1 of these 2 before their plateau (BCE, light),")
    assert len(told("training_length", lengths=table[:3])) == 1


def test_rows_on_other_backbones_say_which():
    table = [row("BCE", "CDF2", 0.6), {**row("Xception", "CDF2", 0.5), "runs_on": "lite1"}]
    said = told("table2_diffusion", table, [apart("BCE", "Xception", "CDF2", 0.1, 0.05, 0.15, 0.1)])
    assert said[-1] == "What ran here: lite0 for BCE; lite1 for Xception."


# --- trained on one method, tested on each ----------------------------------------------------------------------------


def on_each_method(lift, seeds=1):
    """An outcome by hand of detectors A, B and `all`: (train, test) -> how much higher a forged face scores."""
    runs = {}
    for number, train in enumerate(("A", "B", "all")):
        for seed in range(seeds):
            rng = np.random.default_rng([number, seed])
            rows = [
                {"video": f"{method}/{video}", "frame": frame, "label": int(method != "real"), "method": method,
                 "identity": f"{video}", "score": rng.normal() + lift.get((train, method), 0.0)}
                for method in ("real", "A", "B")
                for video in range(12)
                for frame in range(2)
            ]  # fmt: skip
            runs.setdefault(train, []).append(pd.DataFrame(rows))
    what = SimpleNamespace(tests={method: ("ffpp", method) for method in "AB"}, train="ffpp")
    return SimpleNamespace(experiment=what, runs=runs, scores=lambda run, source: run)


def its_record(outcome):
    """What `conduct` makes of it, as far as the sentences read it."""
    rows = []
    for train, of in outcome.runs.items():
        for test in "AB":
            report = evaluation.over_seeds(of, methods=[test]).query("level == 'frame' and metric == 'auc'").iloc[0]
            rows.append(row(train, test, report["mean"], report["low"], report["high"]))
    return a_record(rows, experiment="start", **measures.drops(outcome))


APART = {("A", "A"): 4.0, ("B", "B"): 4.0, ("all", "A"): 2.0, ("all", "B"): 2.0}


def test_the_matrix_over_methods_is_that_of_the_scores():
    outcome = on_each_method(APART)
    table = tables.across_methods(its_record(outcome))
    places = [("A", "A", "own"), ("A", "B", "other"), ("B", "A", "other"), ("B", "B", "own"), ("all", "A", "all"),
              ("all", "B", "all")]  # fmt: skip
    assert list(table[["train", "test", "kind"]].itertuples(index=False, name=None)) == places
    for line in table.itertuples():
        scores = outcome.runs[line.train][0]
        part = scores[scores.method.isin(["real", line.test])]
        assert line.auc == pytest.approx(roc_auc_score(part.label, part.score), abs=1e-6)  # as a record rounds
        ends = evaluation.interval(part.label, part.score, part.identity)
        assert (line.low, line.high) == pytest.approx(ends, abs=1e-6)
    wide = start_module.method_matrix(table)
    assert wide.shape == (3, 2) and wide.index.tolist() == ["A", "B", "all"]
    own, other = table.iloc[0], table.iloc[2]
    assert wide.loc["A", "A"] == f"{own.auc:.3f} [{own.low:.3f}, {own.high:.3f}] (own)"
    assert wide.loc["B", "A"] == f"{other.auc:.3f} [{other.low:.3f}, {other.high:.3f}]"


@pytest.mark.parametrize("seeds", [1, 3])
def test_drops_over_methods_are_paired(seeds):
    outcome = on_each_method(APART, seeds)
    drops = measures.drops(outcome)["drops"].set_index("train")
    auc = {}
    for train, test in itertools.product("AB", repeat=2):
        parts = [each[each.method.isin(["real", test])] for each in outcome.runs[train]]
        auc[train, test] = np.mean([roc_auc_score(part.label, part.score) for part in parts])
    assert drops.index.tolist() == ["A", "B", "mean"]
    assert drops["own"]["A"] == pytest.approx(auc["A", "A"], abs=1e-12)
    assert drops["others"]["A"] == pytest.approx(auc["A", "B"], abs=1e-12)
    assert drops["drop"]["A"] == pytest.approx(auc["A", "A"] - auc["A", "B"], abs=1e-12)
    assert drops["drop"]["mean"] == pytest.approx((drops["drop"]["A"] + drops["drop"]["B"]) / 2, abs=1e-12)
    drawn = {}
    for train, test in itertools.product("AB", repeat=2):
        parts = [each[each.method.isin(["real", test])] for each in outcome.runs[train]]
        drawn[train, test] = evaluation.draws(parts, "auc", [part.identity for part in parts])
    gaps = [drawn["A", "A"] - drawn["A", "B"], drawn["B", "B"] - drawn["B", "A"]]
    both = evaluation.Drawn.average(gaps)
    assert (drops.low["mean"], drops.high["mean"]) == pytest.approx(evaluation.ends(both))
    assert (drops.low["A"], drops.high["A"]) == pytest.approx(evaluation.ends(gaps[0]))
    # Two detectors are steadier than one.
    width = drops.high - drops.low
    assert width["mean"] < min(width["A"], width["B"])
    shown = start_module.drop_table(drops.reset_index())
    assert shown.index.tolist() == ["A", "B", "mean"] and shown.so["mean"] == "drops"


@pytest.mark.parametrize(
    ("lift", "third", "how"),
    [
        (APART, "The interval lies above 0: on forgeries of a kind", "AUC drops for 2 of 2, trained on A (+"),
        ({("A", "B"): 5, ("B", "A"): 5, ("A", "A"): 1.2, ("B", "B"): 1.2}, "The interval lies below 0", "AUC rises"),
        (dict.fromkeys([(a, b) for a in "AB" for b in "AB"], 2.0), "The interval contains 0: these runs do not show",
         "The interval of the drop contains 0 for 2 of 2"),
    ],
)  # fmt: skip
def test_the_sentences_over_methods_follow_the_drop(lift, third, how):
    record = its_record(on_each_method(lift))
    table, drops = tables.across_methods(record), records.part(record, "drops")
    said = verdicts.methods(record)
    mean = drops.iloc[-1]
    assert said[0].startswith(f"On the method that they were trained on, the 2 detectors have an AUC of {mean.own:.3f}")
    assert f"never saw, {mean.others:.3f}. That is a drop of {mean['drop']:.3f} [{mean.low:.3f}, " in said[0]
    assert said[1] == "2 of 2 detectors beat guessing on their own method with their whole interval."
    assert said[2].startswith(third)
    assert said[3].startswith(how)
    other = table[table.kind == "other"]
    assert f"Of the 2 AUCs on a method that was never seen, {(other.low <= 0.5).sum()} are not told" in said[-2]
    assert f"the lowest is {other.auc.min():.3f} [" in said[-2]
    everywhere = table.auc[table.kind == "all"].mean()
    assert said[-1] == f"One detector that was trained on all methods has {everywhere:.3f} on average over them."


def test_where_nothing_is_learnt_the_sentences_say_so_and_claim_no_failure():
    outcome = on_each_method({})
    del outcome.runs["all"]
    said = verdicts.methods(its_record(outcome))
    assert "0 of 2 detectors beat guessing" in said[1] and "Nothing was learnt, so that nothing could fail" in said[1]
    assert not any("The interval lies" in sentence or "trained on all" in sentence for sentence in said)


# --- what the paper leaves open ---------------------------------------------------------------------------------------


def test_every_open_setting_is_listed_with_its_other_values():
    found = tables.open_choices("laptop").set_index("setting")
    fields = {field.name: field.metadata for field in dataclasses.fields(Settings)}
    assert {name for name, of in fields.items() if of.get("open")} < set(found.index)
    assert set(found.index) - {name for name, of in fields.items() if of.get("open")} == {"attention_rate"}
    assert found.loc["adaptive_pool"].tolist()[1:] == ["§3.2", "mean", "sum", "sum"]
    assert found.loc["adversary", "the paper"] == "§3.3 against Eq. 12"
    assert found.loc["attention_rate"].tolist()[1:] == ["§4.1.3 states 10", "1.0", "10.0", "3.0, 10.0"]
    assert found.loc["hidden", "tried instead"] == "not measured"
    assert found.loc["pretrained", "default here"] == "package"
    assert tables.open_choices("paper").set_index("setting").loc["adaptive_pool", "tried instead"] == "mean"
    with pytest.raises(DidError, match="unknown preset 'labtop': did you mean 'laptop'"):
        tables.open_choices("labtop")


def choices_record(differences, preset="laptop"):
    rows = [row("default", test, 0.7) for test in ("FF++", "CDF2")]
    return a_record(rows, differences, "open_choices", preset)


def test_choices_are_joined_with_what_was_measured():
    literal = "literal: the paper's values of all three"
    table = [
        apart("merge = product", "default", "FF++", -0.1, -0.2, -0.05),
        apart("merge = product", "default", "CDF2", 0.1, -0.1, 0.2),
        apart("merge = product", "default", "CDF2", 0.5, 0.4, 0.6, level="video"),
        apart(literal, "default", "FF++", 0.1, 0.05, 0.2),
        apart(literal, "default", "CDF2", 0.1, 0.05, 0.2),
    ]
    found = tables.measured_choices(choices_record(table)).set_index(["setting", "tried"])
    assert found.loc["merge", "product"].tolist() == [
        "Fig. 3, left open", "sum", "-0.100 [-0.200, -0.050], behind", "0.100 [-0.100, 0.200], undecided"
    ]  # fmt: skip
    assert set(found.loc["hidden", "-"][["on FF++", "on CDF2"]]) == {"not measured"}
    assert set(found.loc["wiring", "sequential"][["on FF++", "on CDF2"]]) == {"not run"}
    assert found.index[-1] == ("the paper's values of all three", "literal")
    assert found.iloc[-1]["on CDF2"].endswith("ahead") and len(found) == found.index.nunique()
    assert set(tables.measured_choices(choices_record([]))["on CDF2"]) == {"not run", "not measured"}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_row_of_the_experiment_has_its_place_in_the_table(preset):
    """None but the row that changes several settings is left for the end."""
    rows = [row.name for row in rows_of(EXPERIMENTS["open_choices"], preset) if row.name != "default"]
    table = [apart(name, "default", test, 0.1, 0.05, 0.2) for name in rows for test in ("FF++", "CDF2")]
    found = tables.measured_choices(choices_record(table, preset))
    assert found["on CDF2"].str.endswith("ahead").sum() == len(rows)
    assert preset == "smoke" or (found["on CDF2"] == "not run").sum() == 0
    assert set(found.setting[found["the paper"] == "-"]) <= {"the paper's values of all three"}


def test_who_wins_is_said_of_every_reading_with_a_t():
    state = pd.DataFrame({
        "estimate": [-1.386, -0.05, -0.6, float("nan")],
        "gradient from T": [0.0, 0.02, 0.01, float("nan")],
        "gradient from C": [1.0, 0.5, 0.5, 0.5],
    }, index=["literal", "default", "pooled", "without T"])  # fmt: skip
    assert verdicts.players(state) == [
        "T sees nothing under 1 of 3 readings: literal.",
        "T tells nearly every pair under 1 of 3 readings: default.",
        "T tells some pairs under 1 of 3 readings: pooled.",
        "T's gradient at G is at most 4% of C's, under default.",
        "Where T works it wins: under default the features have not become independent.",
    ]
    assert verdicts.players(state.loc[["without T"]]) == ["T is in none of these rows."]
    dead = verdicts.players(state.assign(estimate=[-1.386, -1.4, -1.38, float("nan")]))
    assert dead[0] == "T sees nothing under 3 of 3 readings: literal; default; pooled."
    assert dead[-1].startswith("So nobody has won: T has not learnt, or has collapsed")
