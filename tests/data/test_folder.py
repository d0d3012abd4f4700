"""A folder of one's own indexes to the tables written here by hand; every fault of it has its sentence."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from did.data import folder
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


def refuse(match: str, root: Path) -> None:
    with pytest.raises(DidError, match=match) as caught:
        folder.index(root)
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
