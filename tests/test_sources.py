import dataclasses
import json
import os
import shutil

import pytest

from did import sources
from did.data import table
from did.data.layout import MARK
from did.errors import DidError
from did.presets import PRESETS
from did.settings import Settings
from did.sources import LAYOUTS, face_of, face_store, for_testing, open_source, store_folder
from did.standin import write
from did.utils.files import home

pytestmark = pytest.mark.filterwarnings("ignore::did.data.layout.LayoutWarning")


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
    write("ffpp", root, {"train": 2, "val": 2, "test": 2}, frames=2, progress=False, workers=1)
    return root


@pytest.fixture
def licensed(smallest, tmp_path):
    """The same clips without the mark of a stand-in: to the code they are licensed data."""
    root = tmp_path / "FaceForensics++"
    shutil.copytree(smallest, root)
    (root / MARK).unlink()
    return root


TINY = {"people": {"train": 2, "val": 2, "test": 2}, "frames": 2}


def test_every_preset_has_stand_ins_with_frames_and_people_enough():
    of_the_paper = {"ffpp", "cdf2", "dffd", "diff"}
    assert of_the_paper <= set(LAYOUTS) and all(set(preset.standins) == of_the_paper for preset in PRESETS.values())
    for preset, sizes in ((name, of.standins) for name, of in PRESETS.items()):
        assert all(sizes[name]["frames"] >= Settings.preset(preset).frames for name in ("ffpp", "cdf2"))
        assert all(min(size["people"].values()) >= 2 and size["people"]["test"] >= 4 for size in sizes.values())


def test_without_data_the_stand_in_is_written_once_and_says_so(project, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS["smoke"].standins, "ffpp", TINY)
    source = open_source("ffpp", preset="smoke", progress=False)
    assert source.edition == "stand-in"
    assert source.banner.startswith("STAND-IN, not the licensed data: stand-in for ")
    assert source.banner.endswith(". No number here reproduces a number of the paper.")
    assert source.root.is_relative_to(project / "data" / "stand-in")
    assert len(source.index) == 6 * 5
    before = {p: p.stat().st_mtime_ns for p in source.root.rglob("*.mp4")}
    again = open_source("ffpp", preset="smoke", progress=False)
    assert before == {p: p.stat().st_mtime_ns for p in again.root.rglob("*.mp4")}


@pytest.mark.parametrize(
    ("name", "methods", "splits"),
    [
        ("cdf2", {"real", "Celeb-synthesis"}, {"train", "val", "test"}),
        (
            "dffd",
            {"real", "faceapp", "stargan", "pggan_v1", "pggan_v2", "stylegan_celeba", "stylegan_ffhq"},
            {"train", "val", "test"},
        ),
        ("diff", {"real", "T2I", "I2I", "FS", "FE"}, {"val", "test"}),
    ],
)
def test_every_source_has_a_stand_in_that_passes_all_checks_and_is_prepared(project, name, methods, splits):
    source = open_source(name, preset="smoke", progress=False)
    assert (source.name, source.edition) == (name, "stand-in")
    assert LAYOUTS[name].TITLE in source.label
    assert set(source.index["method"]) == methods
    assert set(source.index["split"]) == splits
    assert (table.report(source.index, source.root)["result"] == "ok").all()
    store = face_store(source, Settings.preset("smoke"), progress=False)
    assert set(store.manifest["method"]) == methods
    assert store.summary["found"].min() >= 0.75


def test_no_two_sources_share_a_file(project):
    """Nor do those that are tested on share people with those that are trained on; see test_standin."""
    assert len({layout.NAME for layout in LAYOUTS.values()} | {layout.TITLE for layout in LAYOUTS.values()}) == 14


def test_a_folder_of_ones_own(project, tmp_path):
    for number in range(12):
        for place in ("real", "fake/mine"):
            file = tmp_path / "my set" / place / f"person {number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
    source = open_source(f"folder:{tmp_path / 'my set'}")
    assert (source.name, source.label) == ("folder", "folder my set")
    assert "your own data. No number here reproduces" in source.banner
    assert table.counts(source.index).loc["mine"].sum() == 12
    for options in ({"edition": "stand-in"}, {"faces": "x"}, {"data_root": "x"}):
        with pytest.raises(DidError, match="is your own data: leave out"):
            open_source(f"folder:{tmp_path}", **options)
    with pytest.raises(DidError, match="needs a path: folder:PATH"):
        open_source("folder:")
    (tmp_path / "my set/real/notes.txt").touch()
    assert open_source(f"folder:{tmp_path / 'my set'}").left_out == {".txt": 1}


def test_a_folder_is_called_by_its_name_however_it_is_named(project, tmp_path, monkeypatch):
    for path in ("real/a", "fake/x/a", "real/b", "fake/x/b", "real/c", "fake/x/c"):
        (tmp_path / "mine" / path).mkdir(parents=True)
        (tmp_path / "mine" / path / "1.png").touch()
    monkeypatch.chdir(tmp_path / "mine")
    assert open_source("folder:.").label == "folder mine"
    monkeypatch.chdir("real")
    assert open_source("folder:..").label == "folder mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source("folder:~/mine").root == tmp_path / "mine"


def test_a_store_of_a_folder_whose_path_is_not_utf8(project, smallest, tmp_path):
    place = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    shutil.copytree(smallest, f"{place}/ffpp")
    with pytest.raises(DidError, match=r"The name of .*caf\\xe9.*; rename it"):
        open_source("ffpp", data_root=f"{place}/ffpp")
    (tmp_path / "link").symlink_to(place)
    source = open_source("ffpp", data_root=tmp_path / "link/ffpp")
    assert sources.store_folder(source, 2, 64, 0.3).name.startswith("ffpp-")


def test_did_data_must_be_a_folder_and_its_tilde_is_expanded(project, licensed, monkeypatch, tmp_path):
    monkeypatch.setenv("DID_DATA", str(tmp_path / "nowhere"))
    for edition in ("auto", "licensed"):
        with pytest.raises(DidError, match="DID_DATA names .*/nowhere, which is not a folder: name the one that holds"):
            open_source("ffpp", edition, progress=False)
    assert not list(project.rglob(MARK))
    monkeypatch.setenv("HOME", str(tmp_path))
    licensed.rename(tmp_path / "ffpp")
    for given in ("~", "~/"):
        monkeypatch.setenv("DID_DATA", given)
        assert open_source("ffpp").edition == "licensed"
    assert open_source("ffpp", data_root="~/ffpp").root == tmp_path / "ffpp"
    monkeypatch.setenv("DID_HOME", "~/project")
    assert home() == project
    monkeypatch.setenv("DID_DATA", "~nobody-of-this-name")
    with pytest.raises(DidError, match="DID_DATA names ~nobody-of-this-name, which is not a folder"):
        open_source("ffpp")


def test_the_folder_of_drawn_faces_keeps_its_name_and_portraits_go_by_content(project, tmp_path):
    # Pinned: with another name every stand-in would be written again.
    assert sources._standin_root("ffpp", None, PRESETS["laptop"].standins["ffpp"]).name == "ffpp-drawn-0f60cb7d"
    (tmp_path / "portraits").mkdir()
    names = set()
    for content in (b"one", b"two", b"one"):
        (tmp_path / "portraits/1.png").write_bytes(content)
        names.add(sources._standin_root("ffpp", tmp_path / "portraits", TINY))
    assert len(names) == 2


def test_another_compression_of_ffpp(project, licensed):
    for folder in list(licensed.rglob("c23")):
        folder.rename(folder.with_name("c40"))
    source = open_source("ffpp:c40", data_root=licensed)
    assert source.label == "FaceForensics++ (c40)"
    assert source.index["path"].str.contains("/c40/").all()
    with pytest.raises(DidError, match="the stand-in for .* has c23 only, not c40"):
        open_source("ffpp:c40")


def test_london_is_fetched_into_the_project(project, monkeypatch):
    asked = []

    def fetch(folder):
        asked.append(folder)
        raise DidError("no network")

    monkeypatch.setattr(sources.london, "fetch", fetch)
    with pytest.raises(DidError, match="no network"):
        open_source("ffpp", faces="london", progress=False)
    assert asked == [project / "data" / "portraits" / "london"]
    assert not list(project.rglob(MARK))


def test_licensed_data_is_found_in_its_places(project, licensed, monkeypatch, tmp_path):
    assert open_source("ffpp", data_root=licensed).edition == "licensed"
    assert open_source("ffpp", edition="licensed", data_root=str(licensed)).banner.endswith("licensed data")
    monkeypatch.setenv("DID_DATA", str(tmp_path / "sets"))
    (tmp_path / "sets").mkdir()
    licensed.rename(tmp_path / "sets" / "ffpp")
    assert open_source("ffpp").root == tmp_path / "sets" / "ffpp"
    assert open_source("ffpp", edition="licensed").edition == "licensed"


def test_a_fragment_says_that_it_is_a_part(project, licensed, monkeypatch):
    part = open_source("ffpp", data_root=licensed)
    less = "2 of 720 train videos a method, 2 of 140 val videos a method, 2 of 140 test videos a method"
    assert (part.edition, part.kind) == ("licensed", "licensed, part")
    assert part.banner == f"FaceForensics++ (c23), with {less}, a part of the licensed data"
    monkeypatch.setattr(LAYOUTS["ffpp"], "PUBLISHED", {"train": 2, "val": 2, "test": 2})
    whole = open_source("ffpp", data_root=licensed)
    assert (whole.kind, whole.banner) == ("licensed", "FaceForensics++ (c23), licensed data")
    assert whole.counts["found"] == whole.counts["published"] and whole.counts["missing"] == 0


def test_missing_videos_are_let_pass_and_counted_where_there_are_lists(project, licensed):
    (licensed / "manipulated_sequences/Deepfakes/c23/videos/000_001.mp4").unlink()
    with pytest.raises(DidError, match="lacks videos that its splits list"):
        open_source("ffpp", data_root=licensed)
    source = open_source("ffpp", data_root=licensed, allow_missing=True)
    assert (len(source.index), source.counts["missing"], source.kind) == (29, 1, "licensed, part")
    for name in ("dffd", "diff", "folder:x"):
        with pytest.raises(
            DidError, match=f"allow_missing is for ffpp, cdf2, cdfpp, dfdcp, .*, not for {name.partition(':')[0]}"
        ):
            open_source(name, allow_missing=True)


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
        ({"name": "cdf2:c40"}, "unknown source 'cdf2:c40': did you mean"),
        ({"name": "ffpp:c41"}, "c41"),
        ({"name": "ffpp", "edition": "licenced"}, "unknown edition 'licenced': did you mean 'licensed'"),
        ({"name": "ffpp", "preset": "lap"}, "unknown preset 'lap': did you mean 'laptop'"),
        ({"name": "ffpp", "edition": "licensed"}, r"looked in .*data/ffpp\): ask its authors .* name its folder by"),
        ({"name": "ffpp", "data_root": "no/such/folder"}, "data_root no/such/folder is not a folder"),
        ({"name": "ffpp", "faces": "no/such/folder"}, "no/such/folder"),
        ({"name": None}, "source is None; it must be a name, as text: valid: cdf2"),
        ({"name": 3}, "source is 3; it must be a name"),
        ({"name": "ffpp", "data_root": 3}, "data_root is 3; it must be a path, as text"),
        ({"name": "ffpp", "data_root": ""}, "data_root is ''; it must be a path, as text"),
        ({"name": "ffpp", "data_root": "~nobody-of-this-name/x"}, "data_root ~nobody-of-this-name/x is not a folder"),
        ({"name": "ffpp", "faces": 3.5}, "faces is 3.5; it must be a path, as text"),
        ({"name": "ffpp", "faces": ""}, "faces is ''; it must be a path, as text"),
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


def test_a_test_needs_the_crops_of_the_test_split_alone(project, licensed):
    source = open_source("ffpp", data_root=licensed)
    settings = Settings.preset("smoke")
    part = for_testing(source, settings)
    assert set(part.index["split"]) == {"test"} and (part.label, part.kind) == (source.label, source.kind)
    assert store_folder(part, 2, 64, 0.3) != store_folder(source, 2, 64, 0.3)
    whole = store_folder(source, settings.frames, settings.image_size, settings.crop_margin)
    whole.mkdir(parents=True)
    (whole / "store.json").touch()  # The crops of all are there: nothing is prepared twice.
    assert for_testing(source, settings) is source
    with pytest.raises(DidError, match="has no split 'val'; it has test"):
        part.part("val")


def test_some_methods_of_ff_or_another_one(project, licensed):
    source = open_source("ffpp", data_root=licensed, methods=["FaceSwap", "Deepfakes"])
    assert set(source.index["method"]) == {"real", "FaceSwap", "Deepfakes"}
    assert source.label == "FaceForensics++ (c23), FaceSwap and Deepfakes alone"
    manipulated = licensed / "manipulated_sequences"
    shutil.copytree(manipulated / "FaceSwap", manipulated / "FaceShifter")
    assert set(open_source("ffpp", data_root=licensed, methods=["FaceShifter"]).index["method"]) == {
        "real", "FaceShifter",
    }  # fmt: skip
    with pytest.raises(DidError, match="FF.. has no method 'Faceswap'; choose from Deepfakes, "):
        open_source("ffpp", data_root=licensed, methods=["Faceswap"])
    for name in ("cdf2", f"folder:{licensed}"):
        with pytest.raises(DidError, match="methods are for ffpp and deepfakebench, not for (cdf2|folder): leave them"):
            open_source(name, methods=["FaceSwap"])


def test_which_face_is_cut_out_is_asked_of_the_source(project, licensed):
    source = open_source("ffpp", data_root=licensed)
    cut = dataclasses.replace(source, face="given")
    assert [face_of(source, asked) for asked in (None, "largest", "track")] == ["largest", "largest", "track"]
    assert [face_of(cut, asked) for asked in (None, "given")] == ["given", "given"]
    with pytest.raises(DidError, match="show one face each, which is cut out already: leave the choice of a face out"):
        face_of(cut, "track")
    with pytest.raises(DidError, match="are whole pictures: take largest or track"):
        face_of(source, "given")
