"""DFFD trees index to the table written here by hand; every fault of a tree has its sentence."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pandas as pd
import pytest

from did.data import dffd, layout, table
from did.errors import DidError

EXPECTED = """
    train real            0 celeba/train/1           celeba/train/1.png
    train real            0 ffhq/train/1             ffhq/train/1.png
    train faceapp         1 faceapp/train/1          faceapp/train/1.png
    train stylegan_celeba 1 stylegan_celeba/train/1  stylegan_celeba/train/1.png
    val   real            0 ffhq/val/1               ffhq/validation/1.png
    val   faceapp         1 faceapp/val/1            faceapp/validation/1.png
    test  real            0 ffhq/test/1              ffhq/test/1.png
    test  real            0 ffhq/test/2              ffhq/test/2.JPG
    test  faceapp         1 faceapp/test/7           faceapp/test/7.png
    test  stylegan_celeba 1 stylegan_celeba/test/1   stylegan_celeba/test/1.png
"""


def expected() -> list[tuple]:
    rows = []
    for line in EXPECTED.split("\n")[1:-1]:
        split, method, label, video, path = line.split()
        rows.append((path, int(label), method, split, video, video, "dffd"))
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
    return put(root, *(row[0] for row in expected()))


def test_the_official_layout(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain(dffd.index(tree(tmp_path), strict=True)) == expected()


def test_val_for_validation_and_names_in_capitals(tmp_path):
    tree(tmp_path)
    for subset in ("ffhq", "faceapp"):
        (tmp_path / subset / "validation").rename(tmp_path / subset / "val")
    (tmp_path / "stylegan_celeba").rename(tmp_path / "StyleGAN_CelebA")
    paths = [row[0].replace("validation", "val").replace("stylegan_celeba", "StyleGAN_CelebA") for row in expected()]
    assert plain(dffd.index(tmp_path)) == [(path, *row[1:]) for path, row in zip(paths, expected(), strict=True)]


def test_one_stem_under_two_suffixes_gives_two_videos(tmp_path):
    put(tmp_path, "ffhq/test/1.png", "ffhq/test/1.jpg", "ffhq/test/2.png", "stargan/test/1.png", "pggan_v1/test/1.png")
    index = dffd.index(tmp_path)
    assert index["video"].tolist() == [
        "ffhq/test/1.jpg",
        "ffhq/test/1.png",
        "ffhq/test/2.png",
        "pggan_v1/test/1",
        "stargan/test/1",
    ]
    assert index["identity"].is_unique


def test_hidden_and_other_files_are_left_alone(tmp_path):
    put(tree(tmp_path), "ffhq/train/._1.png", "ffhq/train/Thumbs.db", "ffhq/readme.png", "masks.zip")
    assert plain(dffd.index(tmp_path)) == expected()


def refuse(match: str, root: Path, **options) -> None:
    with pytest.raises(DidError, match=match) as caught:
        dffd.index(root, **options)
    assert "\n" not in str(caught.value)


def test_unknown_folders_are_named(tmp_path):
    put(tree(tmp_path), "deepfacelab/test/1.png", "masks/1.png")
    match = r"are left out \(deepfacelab\); the known ones are ffhq, celeba, faceapp, stargan"
    with pytest.warns(layout.LayoutWarning, match=match) as caught:
        assert plain(dffd.index(tmp_path)) == expected()
    assert len(caught) == 1
    refuse(match, tmp_path, strict=True)


def test_no_real_or_no_fake_subset(tmp_path):
    put(tmp_path / "a", "stargan/test/1.png")
    refuse(r"has no real subset of DFFD \(ffhq, celeba\); add one, or check the folder", tmp_path / "a")
    put(tmp_path / "b", "celeba/test/1.png")
    refuse(r"has no fake subset of DFFD \(faceapp, stargan, pggan_v1", tmp_path / "b")


def test_one_folder_too_high_gets_a_hint(tmp_path):
    tree(tmp_path / "dffd")
    refuse("it is in the folder 'dffd' inside, give that", tmp_path)


def test_a_subset_without_images(tmp_path):
    put(tree(tmp_path), "pggan_v2/other/1.png")
    refuse("The subset .*pggan_v2 has no image in train/, validation/ or test/", tmp_path)


def test_a_split_without_fakes(tmp_path):
    put(tmp_path, "ffhq/test/1.png", "ffhq/train/1.png", "stargan/train/1.png")
    refuse("The split 'test' holds no fake video", tmp_path)


def test_two_folders_for_one_thing(tmp_path):
    put(tree(tmp_path), "ffhq/val/1.png")
    refuse("ffhq has both validation/ and val/; keep one", tmp_path)
    put(tmp_path, "FFHQ/test/1.png")
    refuse("holds the subset ffhq twice, FFHQ/ and ffhq/; keep one", tmp_path)


def test_tens_of_thousands_of_images(tmp_path):
    for subset in ("ffhq", "faceapp", "stargan", "pggan_v2"):
        for split, number in (("train", 3000), ("validation", 500), ("test", 1500)):
            (tmp_path / subset / split).mkdir(parents=True)
            for n in range(number):
                (tmp_path / subset / split / f"{n:05d}.png").touch()
    started = time.monotonic()
    index = dffd.index(tmp_path, strict=True)
    report = table.report(index)
    assert time.monotonic() - started < 30
    assert report["result"].eq("ok").all()
    assert table.counts(index).to_numpy().tolist() == [[3000, 500, 1500]] * 4


def test_what_is_left_out_is_counted_and_a_subset_is_no_link_to_another(tmp_path):
    for path in ("ffhq/train/1.png", "ffhq/train/2.AVIF", "stargan/train/1.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    with pytest.warns(layout.LayoutWarning, match=r"first ffhq/train/2\.AVIF\); convert to JPEG or PNG"):
        assert dffd.index(tmp_path).attrs["left_out"] == {".avif": 1}
    (tmp_path / "celeba").symlink_to("stargan")
    with pytest.raises(DidError, match="or is the same folder, through a link"):
        dffd.index(tmp_path)
