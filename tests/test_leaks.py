import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest

from did.errors import DidError
from did.leaks import (
    _clear_windows,
    _families,
    _forged,
    crop_baseline,
    file_size_baseline,
    outside_baseline,
    radial_spectrum,
    spectral_baseline,
)
from did.results import split_faces


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


def test_lists_that_share_a_name_are_one_family():
    people = [["a"], ["b", "a"], ["c", "d"], ["e"], ["d", "e"], ["f"]]
    families = _families(people)
    assert families[0] == families[1]
    assert families[2] == families[3] == families[4]
    assert len(set(families)) == 3


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
    assert table.loc["whole", "auc"] == 0 and table.loc["whole", "high"] == 0
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
