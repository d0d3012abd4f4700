"""What the layouts share: roots, files, names, the comparison with the published counts; all five refuse alike."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
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
    with locked(open_place), pytest.raises(DidError, match=r"cannot be read \(permission denied\); fix that"):
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


def test_each_real_folder_is_entered_once_under_its_own_path(tmp_path):
    top = put(tmp_path / "set", "b/c/1.png", "d/2.png")
    put(tmp_path / "elsewhere", "sub/3.png")
    (top / "a").symlink_to(top / "b")
    (top / "b/again").symlink_to(top)
    (top / "b/c/self").symlink_to(".")
    (top / "x").symlink_to(tmp_path / "elsewhere/sub")
    (top / "y").symlink_to(tmp_path / "elsewhere")
    left = layout.Left()
    found = layout.files(top, (".png",), deep=True, left=left)
    assert [f.relative_to(top).as_posix() for f in found] == ["b/c/1.png", "d/2.png", "x/3.png"]
    assert {f.relative_to(top).as_posix() for f in left.again} == {"a", "b/again", "b/c/self", "y/sub"}


def test_a_link_to_a_folder_around_is_refused_and_to_another_under_stay(tmp_path):
    top = put(tmp_path / "set", "a/1.png")
    put(tmp_path / "other", "2.png")
    (top / "a/out").symlink_to(tmp_path / "other")
    assert len(layout.files(top, (".png",), deep=True)) == 2
    with pytest.raises(DidError, match=r"a/out is a link to .*other, out of the folder .*set"):
        layout.files(top, (".png",), deep=True, stay=True)
    (top / "a/out").unlink()
    (top / "a/up").symlink_to("../..")
    with pytest.raises(DidError, match=r"a/up is a link to .*, out of the folder .*set"):
        layout.files(top, (".png",), deep=True)


def test_what_is_left_out_is_counted_by_suffix(tmp_path):
    put(tmp_path, "1.png", "2.HEIC", "3.avif", "4.txt", "5", "sub/6.Txt", ".7.txt")
    (tmp_path / "8").symlink_to("nowhere")
    left = layout.Left()
    layout.files(tmp_path, (".png",), deep=True, left=left)
    assert left.counts == {".heic": 1, ".avif": 1, ".txt": 2, "no suffix": 1, "broken link": 1}
    match = r"pictures that cannot be read are left out \(2 in all, first 2\.HEIC\); convert to JPEG or PNG"
    with pytest.warns(layout.LayoutWarning, match=match):
        table = left.noted(pd.DataFrame(), tmp_path, strict=False)
    assert table.attrs["left_out"] == left.counts
    with pytest.raises(DidError, match=match):
        left.noted(pd.DataFrame(), tmp_path, strict=True)


def test_one_rule_says_what_a_file_is():
    kinds = {"a.MP4": "video", "b.c/x.Ts": "video", "x.gif": "image", "x.JPG": "image", "x.heic": None, "mp4": None}
    assert {name: layout.media_kind(name) for name in kinds} == kinds
    every = [*layout.VIDEO_SUFFIXES, *layout.IMAGE_SUFFIXES, *layout.UNREADABLE_SUFFIXES]
    assert len(every) == len(set(every)) and all(suffix == suffix.lower() for suffix in every)


@pytest.mark.parametrize(("name", "shown"), [(b"caf\xe9", r"caf\xe9"), (b"a\nb", r"a\nb"), (b"\x1b[31m", r"\x1b[31m")])
def test_a_name_that_no_table_holds_is_refused_with_escapes(tmp_path, name, shown):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    put(Path(folder), "1.png")
    put(tmp_path / "x", f"{os.fsdecode(name)}.png")
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / os.fsdecode(name)).symlink_to(put(tmp_path / "z", "1.png"))
    for look in (
        lambda: layout.files(tmp_path / "y", (".png",), deep=True),
        lambda: layout.files(tmp_path, (".png",), deep=True),
        lambda: layout.files(tmp_path / "x", (".png",)),
        lambda: layout.folders(tmp_path),
        lambda: layout.open_root(folder, "anything"),
    ):
        with pytest.raises(DidError, match=rf"name of .*{re.escape(shown)}.* not UTF-8, .*; rename it") as caught:
            look()
        assert str(caught.value).isprintable()


def test_folders_of_two_classes_are_two_folders(tmp_path):
    put(tmp_path, "a/1.png", "b/c/2.png", "bb/3.png")
    layout.apart([tmp_path / "a", tmp_path / "b", tmp_path / "bb"])
    (tmp_path / "link").symlink_to("a")
    for places in (("a", "link"), ("b", "b/c"), ("bb", "b/c", "b")):
        with pytest.raises(DidError, match="or is the same folder, through a link"):
            layout.apart(tmp_path / place for place in places)


def test_two_files_that_differ_in_the_case_of_the_suffix(tmp_path):
    put(tmp_path, "a.mp4", "b.MP4", "c.avi")
    assert {stem: file.name for stem, file in layout.by_stem(tmp_path, ".mp4").items()} == {"a": "a.mp4", "b": "b.MP4"}
    put(tmp_path, "b.mp4")
    with pytest.raises(DidError, match=r"holds b\.MP4 and b\.mp4; keep one"):
        layout.by_stem(tmp_path, ".mp4")


def test_equal_contents_are_warned_of_and_an_error_under_strict(tmp_path):
    put(tmp_path, "real/1.png", "fake/a/1.png")
    rows = [
        layout.row(tmp_path, tmp_path / path, "folder", method, int(method != "real"), "test", path, path)
        for path, method in (("real/1.png", "real"), ("fake/a/1.png", "a"))
    ]
    table = layout.finish(rows)
    match = "2 files have the content of a file of another class"
    with pytest.warns(layout.LayoutWarning, match=match):
        layout.compare_contents(table, tmp_path, strict=False, progress=False)
    with pytest.raises(DidError, match=match):
        layout.compare_contents(table, tmp_path, strict=True, progress=False)
    with pytest.warns(layout.LayoutWarning, match=match):  # Nobody can fix the authors' splits.
        layout.compare_contents(table.assign(dataset="diff"), tmp_path, strict=True, progress=False)
    (tmp_path / "real/1.png").write_bytes(b"other")
    layout.compare_contents(table, tmp_path, strict=True, progress=False)


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
