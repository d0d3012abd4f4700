"""Preparation under faults: hostile files, a full disk, kill -9, a cluster; what is kept is what it should be."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import psutil
import pytest
from crops import pictures

from did.data import ffpp, folder, prepare, table
from did.data import store as store_module
from did.errors import DidError
from did.utils import workers

SETTINGS = {"frames": 2, "size": 64, "workers": 1, "progress": False}

pytestmark = [
    pytest.mark.filterwarnings("ignore::did.data.layout.LayoutWarning"),
    pytest.mark.usefixtures("two_videos_a_shard"),
]


@pytest.fixture(scope="module")
def clean_root(ffpp_tree, tmp_path_factory) -> Path:
    return ffpp_tree(tmp_path_factory.mktemp("faults") / "ffpp", methods=("Deepfakes",))


@pytest.fixture(scope="module")
def index(clean_root) -> pd.DataFrame:
    return ffpp.index(clean_root, methods=("Deepfakes",))


@pytest.fixture(scope="module")
def undisturbed(two_videos_a_shard, clean_root, index, tmp_path_factory) -> Path:
    return prepare.prepare(index, clean_root, tmp_path_factory.mktemp("store") / "new", **SETTINGS).root


def content(store: Path) -> dict[str, bytes]:
    return {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*") if file.is_file()}


# --- hostile files -----------------------------------------------------------------------------------------------


def encode(path: Path, frames: list[np.ndarray], pixels: str = "yuv420p", stamps: list[int] | None = None) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = pixels, {"preset": "ultrafast"}
        if stamps:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if stamps:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def turn_by_metadata(path: Path) -> None:
    """A quarter clockwise, written into the matrix of the track header."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 20] = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 65536, 0, -65536, 0))
    path.write_bytes(content)


def test_hostile_videos_are_prepared_or_set_aside_with_the_reason(clean_root, index, tmp_path, draw_face):
    root = Path(shutil.copytree(clean_root, tmp_path / "ffpp"))
    face, blank = draw_face(128), np.full((96, 96, 3), 90, np.uint8)
    large = cv2.resize(draw_face(540), (2160, 2160), interpolation=cv2.INTER_CUBIC)
    fakes = index.loc[index["label"] == 1, "path"].tolist()
    # Each split keeps a sound one.
    empty, cut, nobody, uhd, text, ten_bit, tiny, turned = fakes
    (variable, *_) = index.loc[index["label"] == 0, "path"]
    (root / empty).write_bytes(b"")
    (root / cut).write_bytes((root / cut).read_bytes()[:-200])
    (root / text).write_text("this is not a video\n" * 50)
    encode(root / nobody, [blank] * 4)
    encode(root / tiny, [blank[:8, :8]] * 4)
    encode(root / uhd, [np.hstack([large, np.zeros((2160, 1680, 3), np.uint8)])] * 2)
    encode(root / ten_bit, [face] * 4, "yuv420p10le")
    encode(root / turned, [np.ascontiguousarray(np.rot90(face))] * 4)
    turn_by_metadata(root / turned)
    encode(root / variable, [face] * 4, stamps=[0, 40, 500, 507])

    store = prepare.prepare(index, root, tmp_path / "s", **SETTINGS)
    rows = [(path, reason) for path, reason in zip(store.quarantine["path"], store.quarantine["reason"], strict=True)]
    reasons = {path: [r for p, r in rows if p == path] for path, _ in rows}
    assert set(reasons) == {empty, cut, text, nobody, tiny}
    assert reasons[nobody] == ["no face found in any sampled frame of the video"] * 2
    assert reasons[tiny] == ["frames of 8 pixels are too small for a face"] * 2
    for path in (empty, cut, text):
        assert len(reasons[path]) == 1
        assert reasons[path][0].startswith(("does not decode (", "ends early: "))
        assert str(root) not in reasons[path][0]
    crops = store.manifest.groupby("path").size()
    assert crops.drop(index=[*reasons], errors="ignore").eq(2).all()
    assert set(crops.index) == set(index["path"]) - set(reasons)

    # All of one face: whatever the file's size, bits, turn and time stamps, the crop is the same.
    crops = dict(zip(store.manifest["path"], pictures(store).values(), strict=True))
    plain = crops[variable].astype(float)
    assert plain.std() > 30
    for path in (uhd, ten_bit, turned):
        assert np.abs(crops[path] - plain).mean() < 6, path

    summary = store.summary
    assert summary.loc["Deepfakes"].tolist() == [8, 6, 4, 5, 0.6]
    assert summary.loc["real"].tolist() == [8, 16, 0, 0, 1.0]


def test_names_with_spaces_and_letters_of_any_script(tmp_path, draw_face):
    people = ["Ana María", "Борис", "陳 大文", "名前", "Ζωή", "étoile"]
    for name in people:
        for place in ("real", "fake/мой метод"):
            path = tmp_path / "my data" / place / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", cv2.cvtColor(draw_face(96), cv2.COLOR_RGB2BGR))[1].tobytes())
    index = folder.index(tmp_path / "my data")
    store = prepare.prepare(index, tmp_path / "my data", tmp_path / "faces of mine", **SETTINGS)
    manifest = store.manifest
    assert sorted(set(manifest["identity"])) == sorted(people)
    assert set(manifest["method"]) == {"real", "мой метод"}
    assert all(picture.shape == (64, 64, 3) for picture in pictures(store).values())


def test_a_track_keeps_to_one_person_where_the_larger_face_changes(tmp_path, index, clean_root, draw_face):
    """Left person stays; the right one is smaller first and larger then."""

    def scene(right: float) -> np.ndarray:
        return np.hstack([draw_face(160, height=0.55, skin=1.0), draw_face(160, height=right, skin=0.75)])

    root = Path(shutil.copytree(clean_root, tmp_path / "ffpp"))
    path = index["path"][0]
    encode(root / path, [scene(0.45), scene(0.45), scene(0.65), scene(0.65)])
    centres = {}
    for face in prepare.CHOICES:
        manifest = prepare.prepare(index, root, tmp_path / face, **SETTINGS, face=face).manifest
        row = manifest[manifest["path"] == path]
        centres[face] = ((row["x0"] + row["x1"]) / 2).tolist()
    assert centres["track"][0] == centres["largest"][0] < 160
    assert centres["largest"][1] > 160
    assert centres["track"][1] < 160


# --- the disk ----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(undisturbed, clean_root, index, small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(170_000))
    store = small_disk / "s"
    with pytest.raises(
        DidError, match="The disk is full: nothing more can be written to .*; free some space"
    ) as caught:
        prepare.prepare(index, clean_root, store, **SETTINGS)
    assert "\n" not in str(caught.value)
    done = len(list((store / "parts").rglob("[!.]*.json")))
    assert 1 <= done < 8
    assert not list(store.rglob("*.tmp"))
    # Larger now: what was done is kept, the rest is done.
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    filler.unlink()
    prepare.prepare(index, clean_root, store, **SETTINGS)
    assert content(store) == content(undisturbed)


# --- kill -9 -----------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
from did.data import ffpp, prepare
if __name__ == "__main__":
    root, store, workers = sys.argv[1:]
    index = ffpp.index(root, methods=("Deepfakes",))
    prepare.CROPS_A_SHARD = 4
    prepare.prepare(index, root, store, frames=2, size=64, workers=int(workers), progress=False)
"""


def start(tmp_path: Path, root: Path, store: Path, workers: int) -> subprocess.Popen:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(root), str(store), str(workers)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)


def parts(store: Path) -> int:
    try:
        return len(list((store / "parts").rglob("[!.]*.json")))
    except FileNotFoundError:  # removed while we looked: the store is finished
        return -1


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments_changes_nothing(undisturbed, clean_root, index, tmp_path, kills):
    rng, killed, begun = random.Random(kills), 0, 1
    while killed < kills:
        store = tmp_path / f"s{begun}"
        process = start(tmp_path, clean_root, store, workers=1 + killed % 2)
        # Soon after its first work; every fifth time at any moment of the first seconds.
        before, deadline = parts(store), time.monotonic() + (rng.uniform(0, 5) if killed % 5 == 4 else 60)
        while time.monotonic() < deadline and process.poll() is None and 0 <= parts(store) <= before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
        if (store / "store.json").exists():  # Too late, or in the last moment: the next one gets a new store.
            begun += 1
    for number in range(1, begun + 1):
        prepare.prepare(index, clean_root, tmp_path / f"s{number}", **SETTINGS)
        assert content(tmp_path / f"s{number}") == content(undisturbed)


def test_two_readers_see_a_store_whole_or_not_at_all(undisturbed, clean_root, index, tmp_path):
    """While a process writes it, two threads ask for it again and again, and read every crop once they get it."""
    store, wanted = tmp_path / "s", store_module.open_store(undisturbed)
    process = start(tmp_path, clean_root, store, workers=1)

    def read(_: int) -> tuple[int, list[bytes]]:
        refused, deadline = 0, time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                manifest = store_module.open_store(store).manifest
            except DidError:
                refused += 1
                time.sleep(0.002)
                continue
            crops = store_module.Crops(store, manifest)
            return refused, [crops.read(number) for number in range(len(manifest))]
        raise TimeoutError

    with ThreadPoolExecutor(2) as readers:
        found = list(readers.map(read, range(2)))
    assert process.wait() == 0
    whole = store_module.Crops(undisturbed, wanted.manifest)
    for refused, crops in found:
        assert refused > 10 and crops == [whole.read(number) for number in range(len(wanted.manifest))]


def test_workers_do_not_outlive_a_killed_parent(clean_root, tmp_path):
    process = start(tmp_path, clean_root, tmp_path / "s", workers=2)
    deadline = time.monotonic() + 60
    while parts(tmp_path / "s") < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


# --- a cluster ---------------------------------------------------------------------------------------------------


def test_two_workers_of_a_cluster_give_the_same_bytes(undisturbed, clean_root, index, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, protocol="tcp"
    ) as cluster:
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        store = prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS, cluster=cluster.scheduler_address)
        assert content(store.root) == content(undisturbed)
        (tmp_path / "full").write_text("a file where the store should have its folder")
        with pytest.raises(DidError, match="is not empty and is not a face store"):
            prepare.prepare(index, clean_root, tmp_path / "full", **SETTINGS, cluster=cluster.scheduler_address)


def test_a_cluster_that_is_not_there(clean_root, index, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "PATIENCE", 1)
    with pytest.raises(DidError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9; start one"):
        prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS, cluster="tcp://127.0.0.1:9")
    with pytest.raises(DidError, match="No Dask scheduler answers at nowhere"):
        prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS, cluster="nowhere")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DidError, match=r"pip install 'crossdf\[cluster\]'"):
        prepare.prepare(index, clean_root, tmp_path / "s", **SETTINGS, cluster="tcp://127.0.0.1:9")


@pytest.mark.slow
def test_two_preparations_of_one_store_wait_for_each_other(undisturbed, clean_root, index, tmp_path):
    processes = [start(tmp_path, clean_root, tmp_path / "s", workers=1) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert content(tmp_path / "s") == content(undisturbed)
    table.check(store_module.open_store(tmp_path / "s").manifest[list(table.COLUMNS)])
