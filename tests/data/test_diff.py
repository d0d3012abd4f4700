"""DiFF trees index to the table written here by hand; every fault of a tree has its sentence."""

from __future__ import annotations

import shutil
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest

from did.data import diff, layout, table
from did.errors import DidError

pytestmark = pytest.mark.filterwarnings("ignore::did.data.layout.LayoutWarning")

EXPECTED = """
    val   real 0 real/val/celeb/1      DiFF_real/val/celeb/1.jpg
    val   real 0 real/val/ffhq/1       DiFF_real/val/ffhq/1.jpg
    val   FE   1 FE/val/imagic/1       val/FE/imagic/1.png
    val   T2I  1 T2I/val/SDXL/a/1      val/T2I/SDXL/a/1.png
    test  real 0 real/test/1           DiFF_real/test/1.jpg
    test  FE   1 FE/test/imagic/1      test/FE/imagic/1.png
    test  FS   1 FS/test/1             test/FS/1.png
    test  I2I  1 I2I/test/SDXL/1       test/I2I/SDXL/1.png
    test  T2I  1 T2I/test/SDXL/1       test/T2I/SDXL/1.png
"""
TRAINING = ["DiFF_real/train/1.jpg", "DiFF_real/train/2.jpg"]


def expected(real: str = "DiFF_real") -> list[tuple]:
    rows = []
    for line in EXPECTED.split("\n")[1:-1]:
        split, method, label, video, path = line.split()
        rows.append((path.replace("DiFF_real", real), int(label), method, split, video, video, "diff"))
    return rows


def plain(index: pd.DataFrame) -> list[tuple]:
    assert index["frame"].isna().all()
    return list(index.drop(columns="frame").itertuples(index=False, name=None))


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def tree(root: Path) -> Path:
    return put(root, *TRAINING, *(row[0] for row in expected()))


def test_the_official_layout(tmp_path):
    assert plain(diff.index(tree(tmp_path))) == expected()


def test_the_real_images_under_another_name(tmp_path):
    (tree(tmp_path) / "DiFF_real").rename(tmp_path / "real")
    assert plain(diff.index(str(tmp_path))) == expected("real")


def test_labels_do_not_follow_the_order_of_the_folders(tmp_path):
    """DiFF_real sorts before FE, real sorts after it."""
    for name in ("DiFF_real", "real"):
        index = diff.index(put(tmp_path / name, f"{name}/test/1.png", "test/FE/1.png"))
        assert dict(zip(index["path"], index["label"], strict=True)) == {f"{name}/test/1.png": 0, "test/FE/1.png": 1}


def test_forgeries_for_training_are_taken_where_there_are_some(tmp_path):
    index = diff.index(put(tree(tmp_path), "train/FS/x/1.png"))
    assert index[index["split"] == "train"]["video"].tolist() == ["real/train/1", "real/train/2", "FS/train/x/1"]


def test_what_is_left_out_and_missing_is_said(tmp_path):
    shutil.rmtree(tree(tmp_path) / "DiFF_real" / "val")
    put(tmp_path, "val/T2V/1.png")
    with pytest.warns(layout.LayoutWarning, match="DiFF") as caught:
        index = diff.index(tmp_path)
    assert plain(index) == [row for row in expected() if row[3] == "test"]
    assert [str(warning.message) for warning in caught] == [
        f"DiFF in {tmp_path} has 3 pristine images (published: 23661), 6 forged images (published: 537466); complete "
        "it, or call its numbers those of a part of DiFF.",
        f"Of DiFF in {tmp_path} are left out: the folder val/T2V, which is not a method of DiFF; 2 images of train, "
        "since it has no fake one; 2 images of val, since it has no real one.",
    ]


def test_the_published_totals_count_what_is_left_out_too(tmp_path, monkeypatch):
    monkeypatch.setattr(diff, "PUBLISHED", {"pristine images": 5, "forged images": 6})
    assert plain(diff.index(tree(tmp_path), strict=True)) == expected()
    (tmp_path / TRAINING[0]).unlink()
    refuse(r"has 4 pristine images \(published: 5\); complete it", tmp_path, strict=True)


def test_a_stand_in_is_indexed_without_a_word(tmp_path):
    put(tree(tmp_path), layout.MARK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain(diff.index(tmp_path, strict=True)) == expected()


def refuse(match: str, root: Path, **options) -> None:
    with pytest.raises(DidError, match=match) as caught:
        diff.index(root, **options)
    assert "\n" not in str(caught.value)


def test_both_folders_of_real_images(tmp_path):
    refuse("has both DiFF_real/ and real/; keep the one", put(tree(tmp_path), "real/test/1.png"))


def test_no_real_images(tmp_path):
    shutil.rmtree(tree(tmp_path / "set") / "DiFF_real")
    refuse("has no folder of real images of DiFF, DiFF_real/ or real/; add it, or check the folder", tmp_path / "set")
    put(tmp_path / "set", "DiFF_real/1.jpg")
    refuse("DiFF_real holds no image in train/, val/ or test/", tmp_path / "set")
    refuse("or it is in the folder 'set' inside, give that", tmp_path)


def test_no_forged_images(tmp_path):
    refuse("holds no forged image in folders such as test/T2I/", put(tmp_path, *TRAINING, "test/1.png"))


def test_no_split_with_both_classes(tmp_path):
    refuse("No split of DiFF in .* has real and fake images", put(tmp_path, *TRAINING, "test/FS/1.png"))


def test_tens_of_thousands_of_images(tmp_path):
    real = [f"DiFF_real/{split}/{n % 7}/{n}.jpg" for split in ("val", "test") for n in range(1500)]
    fake = [f"{split}/{method}/g{n % 3}/{n}.png" for split in ("val", "test") for method in diff.METHODS
            for n in range(1200)]  # fmt: skip
    for folder in {path.rpartition("/")[0] for path in (*real, *fake)}:
        (tmp_path / folder).mkdir(parents=True)
    for path in (*real, *fake):
        (tmp_path / path).touch()
    started = time.monotonic()
    index = diff.index(tmp_path)
    report = table.report(index)
    assert time.monotonic() - started < 30
    assert report["result"].eq("ok").all()
    assert table.counts(index).loc[["real", *sorted(diff.METHODS)]].to_numpy().tolist() == [
        [1500] * 2,
        *[[1200] * 2] * 4,
    ]


def test_what_is_left_out_is_counted_and_no_folder_is_met_twice(tmp_path):
    tree(tmp_path)
    put(tmp_path, "test/T2I/SDXL/clip.mp4", "DiFF_real/test/2.heic")
    (tmp_path / "test/T2I/again").symlink_to("SDXL")
    assert diff.index(tmp_path).attrs["left_out"] == {".heic": 1, ".mp4": 1}
    assert plain(diff.index(tmp_path)) == expected()
    shutil.rmtree(tmp_path / "test/FS")
    (tmp_path / "test/FS").symlink_to("../DiFF_real/test")
    with pytest.raises(DidError, match="or is the same folder, through a link"):
        diff.index(tmp_path)
