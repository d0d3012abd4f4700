"""Crops in shards: the bytes that were put in, by one reader or several, and one sentence if a shard is gone."""

import io
import tarfile
import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from did.data.loading import Faces, ordered
from did.data.store import PLACE, Crops
from did.errors import DidError


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """(rows with shards, rows without, root): 30 noise crops as files, and the same in three shards."""
    root, rng, rows = tmp_path_factory.mktemp("store"), np.random.default_rng(0), []
    (root / "faces").mkdir()
    for shard in range(3):
        name = f"faces/{shard:06d}.tar"
        with tarfile.open(root / name, "w", format=tarfile.PAX_FORMAT) as tar:
            for number in range(10):
                face = (
                    f"faces/{'ü' * 40 * (number % 2)}{shard}/{number:04d}.png"  # long names have headers of their own
                )
                buffer = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(buffer, "PNG")
                (root / face).parent.mkdir(parents=True, exist_ok=True)
                (root / face).write_bytes(buffer.getvalue())
                about = tarfile.TarInfo(face.removeprefix("faces/"))
                about.size = len(buffer.getvalue())
                tar.addfile(about, io.BytesIO(buffer.getvalue()))
                method = ("real", "swap")[number % 2]
                rows.append({"face": face, "label": number % 2, "method": method, "shard": name})
        with tarfile.open(root / name) as tar:
            for row, member in zip(rows[-10:], tar, strict=True):
                row |= {"offset": member.offset_data, "length": member.size}
    table = pd.DataFrame(rows)
    return table, table.drop(columns=list(PLACE)), root


def test_both_ways_give_the_bytes_of_each_crop_in_any_order(stores):
    sharded, single, root = stores
    order = np.random.default_rng(1).permutation(len(sharded))
    packed, loose = Crops(root, sharded.iloc[order]), Crops(root, single.iloc[order])
    for number, at in enumerate(order):
        assert packed.read(number) == loose.read(number) == (root / single.face[at]).read_bytes()
    assert packed.named(0) == f"{root / sharded.face[order[0]]} in {sharded['shard'][order[0]]}"
    assert loose.named(0) == str(root / single.face[order[0]])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_read_the_same_pixels(stores, workers):
    sharded, single, root = stores
    images = [
        np.concatenate([batch["image"].numpy() for batch in ordered(Faces(rows, root, 16), 7, number)])
        for rows, number in ((sharded, workers), (single, 0))
    ]
    assert np.array_equal(*images) and images[0].shape == (30, 1, 16, 16)


def test_several_threads_read_one_store(stores):
    sharded, _, root = stores
    crops, wrong = Crops(root, sharded), []
    known = [crops.read(number) for number in range(len(sharded))]

    def read(seed):
        for number in np.random.default_rng(seed).integers(0, len(sharded), 500):
            if crops.read(number) != known[number]:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_shard_that_is_gone_or_cut_short_is_named(stores, tmp_path):
    sharded, _, root = stores
    row = sharded.iloc[[25]]
    with pytest.raises(DidError, match=r"The face crop .*2/0005\.png in faces/000002\.tar cannot be read; prepare"):
        Faces(row, tmp_path, 16, ["real", "swap"])[0]
    (tmp_path / "faces").mkdir()
    whole = (root / row["shard"].item()).read_bytes()
    (tmp_path / row["shard"].item()).write_bytes(whole[: row["offset"].item() + 10])
    with pytest.raises(DidError, match=r"in faces/000002\.tar cannot be read"):
        Faces(row, tmp_path, 16, ["real", "swap"])[0]
