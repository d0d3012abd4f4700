import json
import shutil

import pytest

from did.data import sources
from did.data.sources import STANDIN_SIZES, face_store, open_source
from did.data.standin import MARK
from did.errors import DidError
from did.settings import PRESETS, Settings


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder of its own, without licensed data."""
    monkeypatch.setenv("DID_HOME", str(tmp_path / "project"))
    monkeypatch.delenv("DID_DATA", raising=False)
    return tmp_path / "project"


@pytest.fixture(scope="session")
def smallest(tmp_path_factory):
    """A stand-in written once; tests copy it to where they want it."""
    root = tmp_path_factory.mktemp("standin") / "ffpp"
    sources.write_ffpp(root, {"train": 2, "val": 2, "test": 2}, frames=2, progress=False, workers=1)
    return root


@pytest.fixture
def licensed(smallest, tmp_path):
    """The same clips without the mark of a stand-in: to the code they are licensed data."""
    root = tmp_path / "FaceForensics++"
    shutil.copytree(smallest, root)
    (root / MARK).unlink()
    return root


def test_every_preset_has_a_stand_in_with_frames_enough():
    assert set(STANDIN_SIZES) == set(PRESETS)
    for preset, size in STANDIN_SIZES.items():
        assert size["frames"] >= Settings.preset(preset).frames
        assert min(size["people"].values()) >= 4  # two pairs a split: something to resample


def test_without_data_the_stand_in_is_written_once_and_says_so(project, monkeypatch, capsys):
    monkeypatch.setitem(STANDIN_SIZES, "smoke", {"people": {"train": 2, "val": 2, "test": 2}, "frames": 2})
    source = open_source("ffpp", preset="smoke", progress=False)
    assert source.edition == "stand-in"
    assert "not the licensed data. No number here reproduces a number of the paper" in source.banner
    assert source.root.is_relative_to(project / "data" / "stand-in")
    assert len(source.index) == 6 * 5
    before = {p: p.stat().st_mtime_ns for p in source.root.rglob("*.mp4")}
    again = open_source("ffpp", preset="smoke", progress=False)
    assert again.root == source.root
    assert before == {p: p.stat().st_mtime_ns for p in again.root.rglob("*.mp4")}


def test_licensed_data_is_found_in_its_places(project, licensed, monkeypatch, tmp_path):
    assert open_source("ffpp", data_root=licensed).edition == "licensed"
    assert open_source("ffpp", edition="licensed", data_root=str(licensed)).banner.endswith("licensed data")
    monkeypatch.setenv("DID_DATA", str(tmp_path / "sets"))
    (tmp_path / "sets").mkdir()
    licensed.rename(tmp_path / "sets" / "ffpp")
    assert open_source("ffpp").root == tmp_path / "sets" / "ffpp"
    assert open_source("ffpp", edition="licensed").edition == "licensed"


def test_a_stand_in_never_passes_for_licensed_data(project, smallest):
    assert open_source("ffpp", data_root=smallest).edition == "stand-in"
    with pytest.raises(DidError, match="is a stand-in that did wrote"):
        open_source("ffpp", edition="licensed", data_root=smallest)


def test_a_tree_that_does_not_fit_never_becomes_a_stand_in(project, licensed):
    (licensed / "splits" / "test.json").unlink()
    with pytest.raises(DidError, match=r"test\.json"):
        open_source("ffpp", data_root=licensed)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "fppp"}, "unknown source 'fppp': did you mean 'ffpp'"),
        ({"name": "ffpp", "edition": "licenced"}, "unknown edition 'licenced': did you mean 'licensed'"),
        ({"name": "ffpp", "preset": "lap"}, "unknown preset 'lap': did you mean 'laptop'"),
        ({"name": "ffpp", "edition": "licensed"}, r"looked in .*data/ffpp\): ask its authors .* name its folder by"),
        ({"name": "ffpp", "data_root": "no/such/folder"}, "data_root no/such/folder is not a folder"),
        ({"name": "ffpp", "faces": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_each_mistake_is_one_sentence_and_leaves_nothing(project, arguments, sentence):
    with pytest.raises(DidError, match=sentence) as error:
        open_source(**arguments, progress=False)
    assert "\n" not in str(error.value)
    assert not list(project.rglob("*.mp4"))
    assert not list(project.rglob(MARK))


def test_portraits_are_not_mixed_with_licensed_data(project, licensed, tmp_path):
    with pytest.raises(DidError, match="add edition=stand-in"):
        open_source("ffpp", data_root=licensed, faces=tmp_path)


def test_crops_are_prepared_once_for_a_size(project, smallest):
    source = open_source("ffpp", data_root=smallest)
    store = face_store(source, Settings.preset("smoke"), progress=False)
    assert store.info["size"] == 64
    assert face_store(source, Settings.preset("smoke", seed=5), progress=False).root == store.root
    assert face_store(source, Settings.preset("smoke", image_size=32), progress=False).root != store.root
    assert json.loads((source.root / MARK).read_text())["bank"] in source.label
