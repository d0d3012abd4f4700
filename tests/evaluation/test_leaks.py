import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest

from did.errors import DidError
from did.evaluation import leaks
from did.evaluation.intervals import families
from did.evaluation.leaks import (
    _clear_windows,
    _forged,
    crop_baseline,
    file_size_baseline,
    leak_table,
    outside_baseline,
    radial_spectrum,
    spectral_baseline,
)
from did.training.runs import split_faces


def test_a_wave_stands_in_its_ring():
    x = np.arange(64)
    for cycles in (4, 13, 25):
        image = np.cos(2 * np.pi * cycles * x / 64)[None, None, :].repeat(64, 1)
        spectrum = radial_spectrum(image)
        assert spectrum.shape == (1, 32)
        assert spectrum[0].argmax() == cycles


def test_the_spectrum_does_not_depend_on_orientation():
    image = np.random.default_rng(0).normal(size=(1, 64, 64))
    turned = radial_spectrum(image.transpose(0, 2, 1))
    assert np.allclose(radial_spectrum(image), turned, atol=1e-9)


def test_the_spectral_baseline_finds_what_a_spectrum_shows(tiny_source, tiny_settings):
    """A bright bar has a spectrum of its own; noise against noise has none."""
    faces = split_faces(tiny_source[1], tiny_settings)
    table = spectral_baseline(faces["train"], faces["test"])
    assert list(table.method) == ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    assert (table.auc > 0.9).all()


def test_whole_crops_show_what_a_spectrum_shows(tiny_source):
    """People in folds and draws come from the identities, as with data that has no record."""
    source, store = tiny_source
    table = crop_baseline(dataclasses.replace(source, edition="licensed"), store, 64, draws=100)
    assert list(table.method) == ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    assert (table.auc > 0.9).all()
    assert ((table.low <= table.auc) & (table.auc <= table.high)).all()
    # Half of the real videos against the other half: nothing to find.
    noise = store.manifest[store.manifest.method == "real"].copy()
    half = noise.identity.astype(int) % 4 < 2
    noise.loc[half, ["method", "label"]] = ["none", 1]
    other = type("Store", (), {"manifest": noise, "root": store.root})()
    (auc,) = crop_baseline(dataclasses.replace(source, edition="licensed"), other, 64, draws=100).auc
    assert auc < 0.85


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """Pictures of 40 people and three forgeries of each, with the record and masks of a stand-in. All noise; `clean`
    differs inside the mask only, `blurred` outside it, too, and `whole` is made as a whole."""
    root = tmp_path_factory.mktemp("leaky")
    rng = np.random.default_rng(0)
    region = np.zeros((64, 64), np.uint8)
    region[24:40, 24:40] = 255
    record, rows = [], []

    def put(path, image, method, person):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / path), image)
        donor = "" if method == "real" else f"{person ^ 1:02d}"
        record.append([path, "" if method == "real" else method, f"{person:02d}", donor, f"real/{person:02d}.png"])
        rows.append({"path": path, "label": int(method != "real"), "method": method, "split": "test"})
        if method != "real":
            mask = root / "masks" / f"{path}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(mask), region if method != "whole" else np.full_like(region, 255))

    for person in range(40):
        scene = rng.normal(128, rng.uniform(20, 40), (256, 256, 3))
        clean = scene.copy()
        clean[96:160, 96:160] = 128
        noise = [np.clip(image + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8) for image in (scene, clean)]
        put(f"real/{person:02d}.png", noise[0], "real", person)
        put(f"clean/{person:02d}.png", noise[1], "clean", person)
        put(f"blurred/{person:02d}.png", cv2.GaussianBlur(noise[1], (0, 0), 0.7), "blurred", person)
        put(f"whole/{person:02d}.png", np.full_like(noise[0], 128), "whole", person)
    pd.DataFrame(record, columns=["path", "method", "target", "donor", "real"]).to_csv(root / "made.csv", index=False)
    return root, pd.DataFrame(rows)


def test_what_lies_outside_gives_away_a_blur_and_no_change_inside(leaky):
    table = outside_baseline(*leaky, draws=200).set_index("method")
    assert list(table.index) == ["clean", "blurred", "whole"]
    assert table.loc["blurred", "auc"] > 0.95 and table.loc["blurred", "low"] > 0.9
    assert 0.35 < table.loc["clean", "auc"] < 0.65
    assert table.loc["clean", "low"] < 0.5 < table.loc["clean", "high"]
    assert table.loc["whole", ["auc", "low", "high"]].isna().all()
    assert list(table.note) == ["", "", "nothing outside"]


def test_only_the_files_of_the_index_are_judged(leaky):
    root, index = leaky
    some = index[index.method.isin(["real", "clean"])].iloc[:20]
    assert list(outside_baseline(root, some, draws=50).method) == ["clean"]


def test_two_people_are_too_few(leaky):
    root, index = leaky
    with pytest.raises(DidError, match="at least four people"):
        outside_baseline(root, index[index.path.isin(["real/00.png", "clean/00.png", "clean/01.png"])])


def test_smaller_files_give_forgeries_away(leaky):
    """A flat picture is the smallest PNG, a blurred one smaller than noise."""
    table = file_size_baseline(*leaky, draws=200).set_index("method")
    assert table.loc["whole", "auc"] == 0 and table.loc["whole", "high"] < 0.1
    assert table.loc["blurred", "auc"] < 0.3
    assert table.loc["clean", "auc"] > table.loc["blurred", "auc"]
    assert (table.low <= table.auc).all() and (table.auc <= table.high).all()


def test_windows_keep_clear_of_the_region():
    region = np.zeros((64, 64), np.float32)
    region[0, 0] = 0.01  # covers 2 by 2 pixels of 128, and 16 more are kept clear: 0 to 17
    found = _clear_windows(region, 128)
    assert (0, 0) not in found and (16, 16) not in found
    assert (0, 32) in found and (32, 0) in found and (96, 96) in found
    assert len(found) == 7 * 7 - 4
    assert _clear_windows(np.ones((64, 64), np.float32), 128) == []


def test_people_who_share_a_forgery_are_one_family(tmp_path):
    record = [["r1", "", "a", "", "r1"], ["f1", "m", "a", "b", "r1"], ["f2", "m", "b", "c", "r2"]]
    record += [["f3", "m", "d", "e", "r4"], ["r6", "", "f", "", "r6"]]
    pd.DataFrame(record, columns=["path", "method", "target", "donor", "real"]).to_csv(tmp_path / "made.csv")
    index = pd.DataFrame({"path": ["f1", "f2", "f3", "r1"], "label": [1, 1, 1, 0], "method": ["m", "m", "m", "real"]})
    table = _forged(tmp_path, index).set_index("path")
    assert list(table.index) == ["f1", "f2", "f3"] and list(table.real) == ["r1", "r2", "r4"]
    assert table.family["f1"] == table.family["f2"] != table.family["f3"]


# --- tables of the licensed data's shape and size, without pixels ----------------------------------------------------


def celeb_df():
    """A manifest as of Celeb-DF v2: 590 real videos of 59 people, 300 of somebody each, and 5639 swaps among the 59."""
    rng = np.random.default_rng(0)
    rows = [("real", f"id{k % 59}", f"Celeb-real/id{k % 59}_{k // 59:04d}") for k in range(590)]
    rows += [("real", f"YouTube-real/{k:05d}", f"YouTube-real/{k:05d}") for k in range(300)]
    for k in range(5639):
        target, donor = rng.choice(59, 2, replace=False)
        rows.append(("Celeb-synthesis", f"id{target}+id{donor}", f"Celeb-synthesis/id{target}_id{donor}_{k:04d}"))
    return _manifest(rows, frames=2)


def faceforensics():
    """A manifest as of FF++: 1000 real videos, two by two, and four forgeries of each."""
    rows = [("real", f"{k:03d}", f"real/{k:03d}") for k in range(1000)]
    for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"):
        rows += [(method, f"{k:03d}+{k ^ 1:03d}", f"{method}/{k:03d}_{k ^ 1:03d}") for k in range(1000)]
    return _manifest(rows, frames=2)


def _manifest(rows, frames):
    table = pd.DataFrame(rows, columns=["method", "identity", "video"])
    table = table.loc[np.repeat(table.index, frames)].reset_index(drop=True)
    return table.assign(
        label=(table.method != "real").astype(int), face=table.video + ".png", path=table.video + ".mp4"
    )


class Watched:
    """A classifier that looks at nothing but who it was fitted to: people and methods are hidden in the features."""

    def __init__(self, features, labels):
        self.fitted, self.labels = features, labels
        assert set(labels) == {0, 1}

    def decision_function(self, features):
        seen = {int(name) for name in self.fitted[:, :2].ravel()}
        assert not seen & {int(name) for name in features[:, 0]}, "a target is tried that was fitted to"
        self.sizes.append(len(self.labels))
        return features[:, 2]


@pytest.mark.parametrize("table", [celeb_df, faceforensics])
def test_at_the_licensed_size_every_target_is_tried_by_a_fit_that_has_not_seen_it(table, tiny_source, monkeypatch):
    manifest = table()
    names = manifest.identity.str.split("+")
    _, codes = np.unique(np.concatenate([names.str[0], names.str[-1]]), return_inverse=True)
    rng = np.random.default_rng(1)
    signal = rng.normal(size=len(manifest)) + manifest.label
    features = np.column_stack([*codes.reshape(2, -1), signal])
    monkeypatch.setattr(leaks, "_spectra", lambda faces: features)
    monkeypatch.setattr(leaks, "_fit", Watched)
    monkeypatch.setattr(Watched, "sizes", [], raising=False)
    store = type("Store", (), {"manifest": manifest, "root": tiny_source[1].root})()
    found = leak_table(dataclasses.replace(tiny_source[0], edition="licensed"), store, 64, draws=100)
    methods = list(dict.fromkeys(manifest.method[manifest.label == 1]))
    assert list(found.method) == methods and set(found.check) == {"whole crop"}
    # The means of two frames lie 1 apart and have a variance of .5: Φ(1).
    assert found.auc.to_numpy() == pytest.approx(0.841, abs=0.03)
    assert (found.low < found.auc).all() and (found.auc < found.high).all() and (found.high - found.low < 0.1).all()
    # Five folds a method; each fit has most of the rows that name nobody who is tried.
    one = manifest[manifest.method.isin(["real", methods[0]])].video.nunique()
    assert len(Watched.sizes) == 5 * len(methods) and min(Watched.sizes) > 0.55 * one


def test_in_pairs_the_family_is_the_unit_and_in_a_crowd_the_target():
    pairs = [["a", "b"], ["b", "a"], ["a"], ["b"], ["c", "d"], ["d", "c"]]
    assert (leaks._groups(pairs, np.array([1, 1, 0, 0, 1, 1], bool)) == families(pairs)).all()
    ring = [["a", "b"], ["b", "c"], ["c", "a"], ["d", "e"], ["e", "d"]]
    assert (leaks._groups(ring, np.ones(5, bool)) == families(ring)).all()
    crowd = [["a", "b"], ["b", "c"], ["c", "d"], ["d", "a"], ["e", "f"], ["a"], ["g"]]
    assert leaks._groups(crowd, np.array([1, 1, 1, 1, 1, 0, 0], bool)).tolist() == [0, 1, 2, 3, 4, 0, 5]
    # The same crowd among many pairs is one family of them.
    many = [*crowd, *([f"{k}", f"{k}'"] for k in range(40))]
    forged = np.array([1, 1, 1, 1, 1, 0, 0, *[1] * 40], bool)
    assert (leaks._groups(many, forged) == families(many)).all()
    assert (leaks._groups(crowd, np.zeros(7, bool)) == families(crowd)).all()


def test_forgeries_that_leave_a_fit_without_a_class_are_one_sentence():
    people = [["a", "b"], ["b", "a"], ["a"], ["b"]]
    with pytest.raises(DidError, match="share their people; give data, or write a stand-in, of at least four people"):
        leaks._unseen_scores(np.zeros((4, 1)), np.array([1, 1, 0, 0]), np.array([0, 1, 0, 1]), people)
