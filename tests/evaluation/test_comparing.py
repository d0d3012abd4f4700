"""Anybody's scores from a file, and two detectors compared on the same frames."""

import numpy as np
import pandas as pd
import pytest

from did.errors import DidError
from did.evaluation import auc, compare, difference_over_seeds, ensemble, in_a_sentence, read_scores


def table(shift=1.0, seed=0, people=12):
    rng, rows = np.random.default_rng(seed), []
    for person in range(people):
        for method in ("real", "FaceSwap", "Deepfakes"):
            for frame in range(2):
                rows.append({"video": f"{method}/{person:03d}", "label": int(method != "real"), "method": method,
                             "identity": f"{person:03d}", "frame": frame,
                             "score": rng.normal() + shift * (method != "real")})  # fmt: skip
    return pd.DataFrame(rows)


def test_a_file_is_read_as_it_was_written(tmp_path):
    table().to_csv(tmp_path / "x.csv", index=False)
    found, said = read_scores(tmp_path / "x.csv")
    pd.testing.assert_frame_equal(found, table(), check_like=True)
    assert said == []


def test_what_a_file_lacks_is_assumed_and_said(tmp_path):
    table()[["video", "label", "score"]].rename(columns={"video": "path"}).to_csv(tmp_path / "x.csv", index=False)
    found, said = read_scores(tmp_path / "x.csv")
    assert found.frame.tolist() == [0, 1] * 36 and set(found.method) == {"real", "fake"}
    assert (found.identity == found.video).all() and len(said) == 1 and "each video counts as a person" in said[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="score"), "have no column 'score': it takes video"),
        (lambda t: t.assign(label=t.label * 2), "have .* as label in row 3, not 0 or 1"),
        (lambda t: t.assign(score=np.where(t.index == 4, np.inf, t.score)), "as score in row 5, not a finite number"),
        (lambda t: t.assign(score="high"), "have 'high' as score in row 1, not a finite number"),
        (lambda t: t.assign(frame=0), "a frame of a video twice"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, change, sentence):
    change(table()).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(DidError, match=sentence):
        read_scores(tmp_path / "x.csv")


def test_no_file_is_one_sentence(tmp_path):
    with pytest.raises(DidError, match=r"x.csv cannot be read .*: give a CSV file in UTF-8"):
        read_scores(tmp_path / "x.csv")


def test_the_table_is_that_of_the_intervals():
    good, bad = table(2.0), table(0.3, seed=1)
    found = compare([good], [bad], ("mine", "theirs"))
    gaps = difference_over_seeds([good], [bad])
    assert found.difference.tolist() == gaps.difference.tolist() and found.p.tolist() == gaps.p.tolist()
    first = found.set_index(["level", "method"]).loc["frame", "all"]
    assert first["AUC mine"] == pytest.approx(auc(good.label, good.score))
    assert first["AUC theirs"] == pytest.approx(auc(bad.label, bad.score))
    assert first["theirs low"] < first["AUC theirs"] < first["theirs high"]
    assert set(found.method) == {"all", "FaceSwap", "Deepfakes"} and set(found.level) == {"frame", "video"}


def test_the_sentence_follows_the_interval():
    good, bad = table(2.5), table(0.1, seed=1)
    assert in_a_sentence(compare([good], [bad])).startswith("a is ahead of b: AUC per frame +0.")
    assert " is behind " in in_a_sentence(compare([bad], [good]))
    assert " cannot be told from " in in_a_sentence(compare([good], [good.assign(score=good.score + 0.01)]))
    one, several = in_a_sentence(compare([good], [bad])), in_a_sentence(compare([good, good], [bad, bad]))
    assert "conditional on these two runs" in one and "conditional" not in several


def test_people_are_those_of_the_side_that_knows_them():
    good, bad = table(2.0), table(0.3, seed=1)
    whole = compare([good], [bad])
    for one, other in ((good, bad.assign(identity=bad.video)), (good.assign(identity=good.video), bad)):
        assert compare([one], [other]).equals(whole)
    assert set(whole.people) == {12}
    nobody = compare([good.assign(identity=good.video)], [bad.assign(identity=bad.video)])
    assert set(nobody[nobody.method == "all"].people) == {36}


def test_only_methods_that_both_name_are_compared():
    found = compare([table()], [table().assign(method=lambda t: t.method.replace("FaceSwap", "swap"))])
    assert set(found.method) == {"all", "Deepfakes"}


def test_other_frames_are_refused():
    with pytest.raises(DidError, match="not about the same frames"):
        compare([table()], [table().iloc[2:]])


def test_an_ensemble_scores_each_frame_with_the_mean_whatever_the_order():
    one, other = table(seed=1), table(seed=2).sample(frac=1, random_state=0)
    mean = ensemble([one, other])
    by_hand = {}
    for of in (one, other):
        for row in of.itertuples():
            by_hand.setdefault((row.video, row.frame), []).append(row.score)
    for row in mean.itertuples():
        assert row.score == pytest.approx(sum(by_hand[row.video, row.frame]) / 2, abs=1e-15)
    pd.testing.assert_frame_equal(mean.drop(columns="score"), one.drop(columns="score"))
    assert auc(mean.label, mean.score) > max(auc(one.label, one.score), auc(other.label, other.score))


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t.assign(frame=t.frame + 1),
                                    lambda t: t.assign(label=1 - t.label)])  # fmt: skip
def test_an_ensemble_of_other_frames_is_refused(change):
    with pytest.raises(
        DidError, match=r"are not about the same frames, \d+ rows \(video, frame, label\) have no partner"
    ):
        ensemble([table(), change(table(seed=1))])
    with pytest.raises(DidError, match="needs scores"):
        ensemble([])


def test_an_ensemble_with_a_frame_twice_is_refused():
    twice = pd.concat([table(), table()[:1]])
    for tables in ([twice], [table(), twice]):
        with pytest.raises(DidError, match="hold a frame of a video twice"):
            ensemble(tables)
