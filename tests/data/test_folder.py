"""A folder of one's own indexes to the tables written here by hand; every fault of it has its sentence."""

from __future__ import annotations

import os
import unicodedata
import warnings
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from did.data import folder
from did.data import table as tables
from did.data.layout import LayoutWarning
from did.errors import DidError

# By the SHA-256 of the names: eva, boris, "zoë", dai, anna, hana, ivo, femi, "søren berg", "gül", kofi, julia,
# "李 明", chloe. Of 3 people the first is for test, the second for val.
EXPECTED = {
    "real/anna/1.mp4": ("train", "real", "real/anna/1", "anna"),
    "fake/swap/anna/day one/1.mp4": ("train", "swap", "swap/anna/day one/1", "anna"),
    "real/boris.mp4": ("val", "real", "real/boris", "boris"),
    "fake/swap/boris.png": ("val", "swap", "swap/boris", "boris"),
    "real/eva/1.mp4": ("test", "real", "real/eva/1", "eva"),
    "real/eva/2.MOV": ("test", "real", "real/eva/2", "eva"),
    "fake/Gesicht neu/eva/1.mp4": ("test", "Gesicht neu", "Gesicht neu/eva/1", "eva"),
    # Real files alone: zoë, søren berg, 李 明.
    "real/zoë/1.jpg": ("test", "real", "real/zoë/1", "zoë"),
    "real/søren berg/a b.jpg": ("val", "real", "real/søren berg/a b", "søren berg"),
    "real/李 明.webm": ("train", "real", "real/李 明", "李 明"),
    # Fakes alone: two people are too few to share out.
    "fake/swap/gül/1.png": ("train", "swap", "swap/gül/1", "gül"),
    "fake/swap/chloe/1.png": ("train", "swap", "swap/chloe/1", "chloe"),
}


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def plain(index: pd.DataFrame) -> dict[str, tuple]:
    assert index["frame"].isna().all()
    assert index["dataset"].eq("folder").all()
    assert index["label"].tolist() == [int(path.startswith("fake/")) for path in index["path"]]
    columns = index[["split", "method", "video", "identity"]].itertuples(index=False, name=None)
    return dict(zip(index["path"], columns, strict=True))


def splits(index: pd.DataFrame) -> dict[str, str]:
    return dict(zip(index["path"], index["split"], strict=True))


def both(*names: str) -> list[str]:
    """A real and a fake file of each person."""
    return [f"{top}/{name}/1.png" for name in names for top in ("real", "fake/swap")]


def test_people_in_folders_and_in_file_names(tmp_path):
    put(tmp_path, *EXPECTED, "real/._boris.mp4", "real/notes.txt", "fake/.DS_Store")
    index = folder.index(tmp_path)
    assert plain(index) == EXPECTED
    assert index["split"].tolist() == ["train"] * 5 + ["val"] * 3 + ["test"] * 4
    assert index["method"].tolist()[:5] == ["real", "real", "swap", "swap", "swap"]
    assert plain(folder.index(str(tmp_path), strict=True)) == EXPECTED


def test_seventy_ten_twenty(tmp_path):
    names = [chr(ord("a") + k) for k in range(10)]
    index = folder.index(put(tmp_path, *both(*names)))
    of = dict(zip(index["identity"], index["split"], strict=True))
    # By the SHA-256 of the names: j, d, f, c, b, e, h, a, g, i.
    assert {s: "".join(sorted(n for n in of if of[n] == s)) for s in ("test", "val", "train")} == {
        "test": "dj",
        "val": "f",
        "train": "abceghi",
    }


def test_accents_written_as_two_signs_are_the_same_name(tmp_path):
    """macOS writes "ë" as "e" and a mark: the split and the person may not depend on it."""
    two = [unicodedata.normalize("NFD", path) for path in EXPECTED]
    assert two != list(EXPECTED)
    index = folder.index(put(tmp_path, *two))
    assert {unicodedata.normalize("NFC", path): split for path, split in splits(index).items()} == {
        path: row[0] for path, row in EXPECTED.items()
    }
    assert set(index["identity"]) == {row[3] for row in EXPECTED.values()}


def test_a_plus_in_a_name_is_no_swap_and_equal_stems_are_two_videos(tmp_path):
    put(tmp_path, *both("anna", "boris", "eva"), "real/anna+eva.png", "real/anna/1.jpg")
    index = folder.index(tmp_path).set_index("path")
    assert index["identity"]["real/anna+eva.png"] == "anna%2Beva"
    assert index["video"]["real/anna/1.jpg"] == "real/anna/1.jpg"
    assert index["video"]["real/anna/1.png"] == "real/anna/1.png"


def table(root: Path, *lines: str) -> None:
    (root / "people.csv").write_text("\n".join(lines), encoding="utf-8")


def test_the_table_joins_people_who_then_stay_together(tmp_path):
    put(tmp_path, *both("anna", "boris", "eva", "hana"), "fake/swap/x 1.mp4")
    table(tmp_path, "path,identity", "fake/swap/x 1.mp4,boris + eva")
    index = folder.index(tmp_path)
    assert plain(index)["fake/swap/x 1.mp4"][3] == "boris+eva"
    # By the SHA-256 of the names: "boris+eva", anna, hana.
    assert splits(index) == {
        **dict.fromkeys([*both("boris", "eva"), "fake/swap/x 1.mp4"], "test"),
        **dict.fromkeys(both("anna"), "val"),
        **dict.fromkeys(both("hana"), "train"),
    }


def test_chains_of_shared_files_are_one_group(tmp_path):
    put(tmp_path, *both("a", "b", "c", "d", "e", "f"), *(f"fake/swap/{n}.png" for n in range(4)))
    swaps = ["a+b", "c+d", "b+c", "a+d"]
    table(tmp_path, "path,identity", *(f"fake/swap/{n}.png,{who}" for n, who in enumerate(swaps)))
    index = folder.index(tmp_path)
    together = index[index["identity"].isin(["a", "b", "c", "d", *swaps])]
    assert len(together) == 12
    assert together["split"].nunique() == 1


def test_the_table_gives_splits_too(tmp_path):
    put(tmp_path, *EXPECTED)
    table(
        tmp_path,
        "path,identity,split",
        "real/anna/1.mp4,anna,val",
        "real/zoë/1.jpg,somebody,",
        "real/boris.mp4,b,train",
    )
    index = folder.index(tmp_path)
    of = splits(index)
    assert of["real/anna/1.mp4"] == of["fake/swap/anna/day one/1.mp4"] == "val"
    assert of["real/boris.mp4"] == "train"
    assert plain(index)["real/zoë/1.jpg"][3] == "somebody"


def test_a_test_set_alone_by_the_table(tmp_path):
    put(tmp_path, "real/1.png", "fake/swap/2.png")
    table(tmp_path, "path,identity,split", "real/1.png,anna,test", "fake/swap/2.png,anna+eva,test")
    assert set(folder.index(tmp_path)["split"]) == {"test"}


def refuse(match: str, root: Path, strict: bool = False) -> None:
    with pytest.raises(DidError, match=match) as caught:
        folder.index(root, strict)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["file,identity", "real/boris.mp4,b"], "needs the columns path and identity; it has file, identity"),
        (["path,identity", "real/nobody.mp4,b"], "Row 2 of .* names 'real/nobody.mp4', which is listed twice or is no"),
        (["path,identity", *["real/boris.mp4,b"] * 2], "Row 3 of .* names 'real/boris.mp4', which is listed twice"),
        (["path,identity", "real/boris.mp4,"], "Row 2 of .* has no name, or none beside a"),
        (["path,identity", "real/boris.mp4,a+"], "Row 2 of .* has no name, or none beside a"),
        (["path,identity,split", "real/boris.mp4,b,valid"], "Row 2 of .* has the split 'valid'; write train, val"),
        (
            ["path,identity,split", "real/boris.mp4,boris,test", "fake/swap/boris.png,boris,train"],
            r"puts files that share people \(boris\) in (test|train) and in (test|train); keep them in one",
        ),
        ([], "is not a table in CSV and UTF-8"),
        (["path,identity", "real/boris.mp4,b,test"], "Row 2 of .* has 3 cells and the head 2; fix the row"),
        (["path,identity", "real/nobody,b"], "Row 2 of .* names 'real/nobody', which is listed twice or is no"),
        (["path,identity", "real/eva,b", "real/eva/,c"], "Row 3 of .* names 'real/eva/', which is listed twice"),
        (["path,identity", 'real/boris.mp4,"b'], "is not a table in CSV and UTF-8"),
    ],
)
def test_a_faulty_table(tmp_path, lines, match):
    put(tmp_path, *EXPECTED)
    table(tmp_path, *lines)
    refuse(match, tmp_path)


def test_a_table_that_is_not_utf8(tmp_path):
    put(tmp_path, *EXPECTED)
    (tmp_path / "people.csv").write_bytes(b"path,identity\nreal/\xff.mp4,x\n")
    refuse("is not a table in CSV and UTF-8", tmp_path)


def test_too_few_people(tmp_path):
    put(tmp_path, *both("anna", "boris"), "real/zoë/1.jpg", "fake/swap/gül/1.png")
    refuse("2 with both, 1 with real and 1 with fake files only, .* it takes 3 with both, or 3 with real", tmp_path)
    put(tmp_path, *both("eva"))
    assert folder.index(tmp_path)["split"].nunique() == 3


@pytest.mark.parametrize(("people", "test", "val"), [(19, 4, 2), (12, 2, 1)])
def test_shares_are_rounded_to_the_nearest(tmp_path, people, test, val):
    """A fifth of 19 is 3.8 and a tenth 1.9; of 12, 2.4 and 1.2."""
    index = folder.index(put(tmp_path, *both(*map(str, range(people)))))
    assert tables.counts(index).loc["real"].tolist() == [people - test - val, val, test]


def test_three_with_real_and_three_with_fake_files_are_enough(tmp_path):
    put(tmp_path, "real/a.png", "real/b.png", "real/c.png", "fake/x/d.png", "fake/x/e.png", "fake/x/f.png")
    assert sorted(folder.index(tmp_path)["split"]) == ["test", "test", "train", "train", "val", "val"]


def test_another_layout(tmp_path):
    put(tmp_path / "set", "real/1.png")
    refuse("has no folder fake/; it must be a folder with real/ and fake/<method>/: add it", tmp_path / "set")
    refuse("has no folder real/; .* or it is in the folder 'set' inside, give that", tmp_path)
    (tmp_path / "set" / "fake").mkdir()
    refuse("fake has no folder; put the forged files in fake/<method>/", tmp_path / "set")
    put(tmp_path / "set", "fake/1.png")
    refuse(r"1\.png lies in no method's folder; move it to fake/<method>/", tmp_path / "set")


def test_a_method_without_files_or_called_real(tmp_path):
    put(tmp_path, *EXPECTED, "fake/empty/notes.txt")
    refuse("fake/empty holds no video and no image", tmp_path)
    (tmp_path / "fake/empty/notes.txt").unlink()
    (tmp_path / "fake/empty").rmdir()
    put(tmp_path, "fake/Real/1.png")
    refuse("fake/Real holds forged files and is called 'Real'; give the method another name", tmp_path)
    (tmp_path / "fake/Real").rename(tmp_path / "fake/real")
    refuse("fake/real holds forged files and is called 'real'; give the method another name", tmp_path)


PEOPLE = [f"{number:03d}" for number in range(14)]


def identities(index: pd.DataFrame) -> dict[str, str]:
    return dict(zip(index["path"], index["identity"], strict=True))


def test_frame_folders_that_join_names_are_two_people_who_stay_together(tmp_path):
    pairs = [f"{a}_{b}" for a, b in zip(PEOPLE[::2], PEOPLE[1::2], strict=True)]
    put(tmp_path, *(f"real/{name}/1.png" for name in PEOPLE), *(f"fake/swap/{pair}/1.png" for pair in pairs))
    with pytest.warns(LayoutWarning, match=r"read as those people \(7 in all, first fake/swap/000_001: 000 and 001\)"):
        index = folder.index(tmp_path)
    assert identities(index)["fake/swap/000_001/1.png"] == "000+001"
    of = splits(index)
    for pair in pairs:
        assert len({of[f"fake/swap/{pair}/1.png"], *(of[f"real/{name}/1.png"] for name in pair.split("_"))}) == 1
    refuse("read as those people .*; say who is in those files or folders in people.csv", tmp_path, strict=True)
    table(tmp_path, "path,identity", *(f"fake/swap/{pair},{pair.replace('_', '+')}" for pair in pairs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert identities(folder.index(tmp_path, strict=True)) == identities(index)
    # As it was read before: a person of its own, whose forgeries are in other splits than their target.
    leaky = index.assign(split=["train", "val", "test"] * 7)
    assert tables.report(leaky).set_index("check").loc["no identity in two splits", "result"] == "fail"


def test_people_that_are_all_joined_cannot_be_parted(tmp_path):
    chain = [f"{a}_{b}" for a, b in pairwise(PEOPLE)]
    put(tmp_path, *(f"real/{name}/1.png" for name in PEOPLE), *(f"fake/swap/{pair}/1.png" for pair in chain))
    with pytest.warns(LayoutWarning, match="13 in all"):
        refuse(r"1 with both, .* who share a file counted as one \(at most 14\)", tmp_path)


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("p0_p1", "p0+p1"),
        ("p0_p9", "p0+p9"),  # p9 has no file of its own
        ("p0_p1_0012", "p0+p1"),
        ("p0_2", "p0"),
        ("anna_maria_boris", "anna_maria+boris"),
        ("boris_anna_maria_boris", "boris+anna_maria"),
        ("boris_smiling", "boris"),
        ("BORIS_P0", "boris+p0"),
        ("123_456", "123+456"),
        ("123_456_0007", "123+456"),
        ("id3_id14_0002", "id3+id14"),
        ("id3_0002", "id3"),
        ("01_02__exit_phone_room__YVGY8LOK", "01+02"),
        ("01__exit_phone_room", "01"),
        ("clara_maria", "clara_maria"),
        ("2024_01", "2024_01"),
    ],
)
def test_who_is_in_a_file_by_its_name(tmp_path, name, identity):
    put(tmp_path, *both("p0", "p1", "anna_maria", "boris", "eva", "dai", "femi"), f"fake/swap/{name}.mp4")
    with warnings.catch_warnings():
        warnings.simplefilter("error" if name == identity else "ignore")
        assert identities(folder.index(tmp_path))[f"fake/swap/{name}.mp4"] == identity


def test_names_that_only_look_alike_are_warned_of(tmp_path):
    put(tmp_path, *both("anna", "boris", "eva"), "fake/swap/boris-eva.png")
    match = r"another name in them .* \(1 in all, first fake/swap/boris-eva\.png, beside boris\)"
    with pytest.warns(LayoutWarning, match=match):
        folder.index(tmp_path)
    refuse(match, tmp_path, strict=True)


def test_flat_frames_of_several_people_are_warned_of(tmp_path):
    frames = [f"{top}/{who}_{n}.png" for who in ("a", "b", "c") for n in range(3) for top in ("real", "fake/x")]
    put(tmp_path, *frames)
    match = r"differ in a number at the end alone .*\(9 in all, first real/a_0\.png\); put the frames or takes"
    with pytest.warns(LayoutWarning, match=match):
        folder.index(tmp_path)
    put(tmp_path / "other", *(f"{top}/person {n}.png" for n in range(9) for top in ("real", "fake/x")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder.index(tmp_path / "other", strict=True)


def test_names_that_differ_in_case_are_kept_together(tmp_path):
    put(tmp_path, *both("boris", "eva", "hana", "dai", "femi"), "real/Anna/1.png", "fake/swap/anna /1.png")
    with pytest.warns(LayoutWarning, match=r"in upper and lower case .*\(1 in all, first 'Anna' and 'anna '\)"):
        of = splits(folder.index(tmp_path))
    assert of["real/Anna/1.png"] == of["fake/swap/anna /1.png"]
    refuse("in upper and lower case", tmp_path, strict=True)


def test_the_table_takes_folders_and_a_files_own_row_goes_first(tmp_path):
    put(tmp_path, *both("anna", "boris", "eva", "dai"), "real/anna/deep/2.png", "fake/swap/anna/3.png")
    table(
        tmp_path,
        "path,identity,split,",
        "real/anna/,x,val,",
        "fake/swap/anna,x+y,,",
        "fake/swap/anna/3.png,z,train,",
        ",",
    )
    index = folder.index(tmp_path)
    rows = {path: (row[3], row[0]) for path, row in plain(index).items()}
    assert rows["real/anna/1.png"] == rows["real/anna/deep/2.png"] == ("x", "val")
    assert rows["fake/swap/anna/1.png"] == ("x+y", "val")
    assert rows["fake/swap/anna/3.png"] == ("z", "train")


def test_a_comma_at_the_end_of_each_row_is_no_cell(tmp_path):
    put(tmp_path, *EXPECTED)
    table(tmp_path, "path,identity", "real/zoë/1.jpg,somebody,", '"real/boris.mp4",b,')
    assert identities(folder.index(tmp_path))["real/zoë/1.jpg"] == "somebody"


@pytest.mark.parametrize("name", ["None", "NA", "nan", "null"])
def test_a_name_that_looks_like_nothing_stays_text(tmp_path, name):
    put(tmp_path, *both("anna", "boris", "eva", name), "real/x.png", f"fake/{name}/anna.png")
    table(tmp_path, "path,identity", f"real/x.png,{name}")
    index = folder.index(tmp_path)
    assert identities(index)["real/x.png"] == identities(index)[f"real/{name}/1.png"] == name
    tables.save(index, tmp_path / "index.csv")
    again = tables.load(tmp_path / "index.csv")
    assert again["identity"].tolist() == index["identity"].tolist()
    assert set(again["method"]) == {"real", "swap", name}


def test_a_link_to_its_own_folder_brings_nothing_and_one_out_of_it_is_refused(tmp_path):
    root = put(tmp_path / "set", *both("anna", "boris", "eva"), "fake/other/anna/1.png")
    plainly = plain(folder.index(root))
    link = root / "real/again"
    link.symlink_to(".")
    with pytest.warns(LayoutWarning, match=r"links to what is there already are left out \(1 in all, first real/again"):
        assert plain(folder.index(root)) == plainly
    refuse("links to what is there already", root, strict=True)
    for target in ("..", "../..", "../fake", "../fake/swap/anna", str(put(tmp_path / "elsewhere", "1.png"))):
        link.unlink()
        link.symlink_to(target)
        refuse("real/again is a link to .*, out of the folder .*/real, so that files would count for a class", root)
    link.unlink()
    (root / "fake/swap/loop").symlink_to("../other")
    refuse("fake/swap/loop is a link to .*, out of the folder", root)
    (root / "fake/swap/loop").unlink()
    (root / "fake/third").symlink_to("swap")
    refuse("or is the same folder, through a link, so that its files would be of two classes", root)
    (root / "fake/third").unlink()
    (root / "fake/third").symlink_to("../real")
    refuse("or is the same folder, through a link", root)


def test_a_class_may_be_a_link_itself(tmp_path):
    root = put(tmp_path / "set", *(path for path in both("anna", "boris", "eva") if path.startswith("fake")))
    put(tmp_path / "disk", "anna/1.png", "boris/1.png", "eva/1.png")
    (root / "real").symlink_to(tmp_path / "disk")
    assert sorted(folder.index(root, strict=True)["path"]) == sorted(both("anna", "boris", "eva"))


def test_two_names_of_one_folder_or_file_are_kept_together(tmp_path):
    root = put(tmp_path, *both("anna", "boris", "eva", "dai", "femi"), "fake/swap/aka/1.png", "fake/swap/nom/1.png")
    (root / "real/aka").symlink_to("anna")
    os.link(root / "real/boris/1.png", root / "real/nom.png")
    with pytest.warns(LayoutWarning, match=r"links to what is there already are left out \(2 in all"):
        index = folder.index(root)
    of = splits(index)
    assert of["fake/swap/aka/1.png"] == of["real/anna/1.png"]
    assert of["fake/swap/nom/1.png"] == of["real/boris/1.png"]
    assert "real/nom.png" not in of
    assert index.attrs["left_out"] == {".png, linked again": 1}


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_of_two_classes_is_refused(tmp_path, link):
    put(tmp_path, *both("anna", "boris", "eva"))
    link(tmp_path / "fake/swap/anna/1.png", tmp_path / "real/anna/2.png")
    refuse("are one file, through a link, and of two classes, (swap and real|real and swap); remove one", tmp_path)


def test_a_broken_link_and_a_pipe_are_named(tmp_path):
    put(tmp_path, *both("anna", "boris", "eva"))
    (tmp_path / "real/x.mp4").symlink_to("nowhere")
    refuse(r"real/x\.mp4 cannot be read \(no such file", tmp_path)
    (tmp_path / "real/x.mp4").unlink()
    os.mkfifo(tmp_path / "real/x.mp4")
    refuse(r"real/x\.mp4 is not a regular file", tmp_path)


def test_every_kind_of_video_is_found_and_what_is_not_is_counted_and_named(tmp_path):
    kinds = [f"real/{suffix[1:]}{suffix.upper()}" for suffix in folder.SUFFIXES]
    put(tmp_path, *both("anna", "boris", "eva"), *kinds, "real/a.HEIC", "fake/swap/b.avif", "fake/c.txt", "real/d.txt")
    with pytest.warns(LayoutWarning, match=r"\(2 in all, first fake/swap/b\.avif\); convert to JPEG or PNG"):
        index = folder.index(tmp_path)
    assert set(kinds) < set(index["path"])
    assert index.attrs["left_out"] == {".avif": 1, ".heic": 1, ".txt": 2}
    refuse("pictures that cannot be read are left out", tmp_path, strict=True)
    put(tmp_path, "fake/phone/1.heic")
    refuse("fake/phone holds no video and no image; its pictures cannot be read, convert to JPEG or PNG", tmp_path)


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"a\nb.png", b"x\r.png"])
def test_a_name_that_no_table_holds(tmp_path, name):
    put(tmp_path, *both("anna", "boris", "eva"), f"real/{os.fsdecode(name)}")
    refuse(r"The name of .*(caf\\xe9\.mp4|a\\nb\.png|x\\r\.png) has a byte .*; rename it", tmp_path)


@pytest.mark.parametrize("name", ['"quoted", a', "<img src=x onerror=alert(1)>", "%2B", "a\u202eb", "-"])
def test_odd_names_come_back_from_the_table(tmp_path, name):
    index = folder.index(put(tmp_path, *both("anna", "boris", "eva", name), f"fake/{name}/anna.png"))
    tables.save(index, tmp_path / "index.csv")
    again = tables.load(tmp_path / "index.csv")
    assert tables.fingerprint(again) == tables.fingerprint(index)
    assert f"real/{name}/1.png" in set(again["path"])


def test_tens_of_thousands_of_files(tmp_path):
    for number in range(1000):
        for top in ("real", "fake/a", "fake/b"):
            (tmp_path / top / f"{number:04d}").mkdir(parents=True)
            for frame in range(4):
                (tmp_path / top / f"{number:04d}" / f"{frame}.png").touch()
    index = folder.index(tmp_path, strict=True)
    assert tables.counts(index).to_numpy().tolist() == [[2800, 400, 800]] * 3
