"""What the layouts share: roots, files, names, the comparison with the published counts; all five refuse alike."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from did.data import cdf2, dffd, diff, ffpp, folder, layout
from did.errors import DidError

LAYOUTS = pytest.mark.parametrize("module", [ffpp, cdf2, dffd, diff, folder], ids=lambda module: module.NAME)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@contextlib.contextmanager
def locked(place: Path) -> Iterator[None]:
    """`place` unreadable, for root too: root gives up its rights meanwhile."""
    place.chmod(0o000)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        place.chmod(0o755)


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


@LAYOUTS
def test_every_layout_has_the_same_constants(module):
    assert all(isinstance(text, str) and text for text in (module.NAME, module.TITLE, module.HOW_TO_GET))
    assert not module.HOW_TO_GET.endswith(".")
    assert set(module.LABELS.values()) == {0, 1}
    assert module.LABELS["real"] == 0
    assert all(isinstance(count, int) for count in module.PUBLISHED.values())


@LAYOUTS
def test_every_layout_refuses_a_root_that_is_none(module, tmp_path):
    for root, match in [
        (tmp_path / "nowhere", "^There is no folder .*nowhere; give the folder that holds"),
        (put(tmp_path, "set.zip") / "set.zip", r"set\.zip is a file; give the folder that holds"),
        (Path(tempfile.mkdtemp(dir=tmp_path)), "^The folder .* is empty; put"),
        (put(tmp_path / "other", "notes.txt"), r"other.*(add it|add one|check the folder)"),
    ]:
        with pytest.raises(DidError, match=match) as caught:
            module.index(root)
        assert "\n" not in str(caught.value)


@LAYOUTS
def test_every_layout_says_which_folder_it_may_not_read(module, open_place):
    inner = {
        ffpp: "original/000.mp4",
        cdf2: "Celeb-real/id0_0000.mp4",
        dffd: "ffhq/train/1.png",
        diff: "DiFF_real/train/1.png",
        folder: "real/1.png",
    }
    others = {dffd: "faceapp/train/1.png", folder: "fake/a/1.png", diff: "test/FS/1.png"}
    put(open_place, inner[module], others.get(module, "note.txt"))
    place = (open_place / inner[module]).parent
    with locked(place), pytest.raises(DidError, match=rf"{place.name}.* cannot be read \(permission denied\)"):
        module.index(open_place)
    with locked(open_place), pytest.raises(DidError, match=r"cannot be read \(permission denied\); mend that"):
        module.index(open_place)


def test_files_are_sorted_and_hidden_ones_left_out(tmp_path):
    put(tmp_path, "b.png", "a.PNG", "._a.png", ".b.png", "a.txt", "sub/c.png", ".cache/d.png", "__MACOSX/e.png")
    assert [f.name for f in layout.files(tmp_path, (".png",))] == ["a.PNG", "b.png"]
    deep = layout.files(tmp_path, (".png", ".txt"), deep=True)
    assert [f.relative_to(tmp_path).as_posix() for f in deep] == ["a.PNG", "a.txt", "b.png", "sub/c.png"]


def test_files_follow_links_and_do_not_pass_over_what_they_may_not_read(tmp_path, open_place):
    put(tmp_path / "elsewhere", "x.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    assert layout.files(tmp_path / "set", (".png",), deep=True) == [tmp_path / "set/link/x.png"]
    put(open_place, "a/1.png", "b/2.png")
    with locked(open_place / "b"), pytest.raises(DidError, match=r"/b cannot be read \(permission denied\)"):
        layout.files(open_place, (".png",), deep=True)
    with pytest.raises(DidError, match=r"/none cannot be read \(no such file or directory\)"):
        layout.files(tmp_path / "none", (".png",))


def test_stems_are_unique(tmp_path):
    assert layout.stems([tmp_path / "a.b.png", tmp_path / "d/c.jpg"], tmp_path) == ["a.b", "d/c"]
    names = ["a.jpg", "a.png", "a.png.jpg", "b.png"]
    assert layout.stems([tmp_path / name for name in names], tmp_path) == names


def test_a_plus_in_a_name_does_not_make_two_people():
    assert layout.person("a+b") == "a%2Bb"


def test_the_rank_is_the_same_on_every_machine():
    # Pinned, from sha256sum: a split that follows it must never change.
    assert sorted("abcdefghij", key=layout.rank) == list("jdfcbehagi")


def test_rows_are_sorted_by_split_method_and_name(tmp_path):
    wanted = [("test", "zoom", "z/1"), ("test", "real", "r/1"), ("train", "real", "r/3"), ("train", "real", "r/2")]
    rows = [
        layout.row(tmp_path, tmp_path / f"{video}.png", "set", method, int(method != "real"), split, video, video)
        for split, method, video in [*wanted, ("train", "able", "a/1")]
    ]
    table = layout.finish(rows)
    assert table["video"].tolist() == ["r/2", "r/3", "a/1", "r/1", "z/1"]
    assert table["path"].tolist() == ["r/2.png", "r/3.png", "a/1.png", "r/1.png", "z/1.png"]


def test_counts_are_compared_in_one_sentence(tmp_path):
    published = {"real videos": 3, "fake videos": 4, "lists": 1}
    found = {"real videos": 2, "lists": 1}
    match = r"^Set in .* has 2 real videos \(published: 3\), 0 fake videos \(published: 4\); complete it"
    with pytest.warns(layout.LayoutWarning, match=match) as caught:
        layout.compare(tmp_path, "Set", found, published, strict=False)
    assert len(caught) == 1
    with pytest.raises(DidError, match=match):
        layout.compare(tmp_path, "Set", found, published, strict=True)


def test_a_stand_in_and_a_whole_set_are_not_complained_about(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layout.compare(tmp_path, "Set", {"videos": 3}, {"videos": 3}, strict=True)
        put(tmp_path, layout.MARK)
        layout.compare(tmp_path, "Set", {"videos": 2}, {"videos": 3}, strict=True)
        layout.note(tmp_path, "Something is left out.")
