"""The tests draw without a screen and ask no hub for weights."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from did.data.faces import template
from did.data.store import LANDMARKS, FaceStore
from did.data.table import COLUMNS, fingerprint
from did.paper import conduct
from did.paper.conduct import Outcome
from did.paper.experiments import EXPERIMENTS
from did.settings import Settings
from did.sources import Source, face_store, open_source, store_folder
from did.training.runs import run
from did.utils.files import sha256

# Not through MPLBACKEND: the notebooks' kernels would inherit that and show no figure.
torch.set_num_threads(1)  # small tensors: a second thread costs more than it saves
matplotlib.use("Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory):
    """A source whose videos are names only, and a finished store of 64-pixel crops for it: noise, with a bright bar
    at a place of its own for each forgery method, so that there is something to learn and it is learnt in seconds."""
    root = tmp_path_factory.mktemp("tiny")
    methods = ["real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    rng = np.random.default_rng(0)
    landmarks = dict(zip(LANDMARKS, template(64).ravel(), strict=True))
    rows = []
    for split, people in (("train", range(0, 6)), ("val", range(6, 10)), ("test", range(10, 14))):
        for person in people:
            donor = person ^ 1
            for number, method in enumerate(methods):
                name = f"{person:03d}" if method == "real" else f"{person:03d}_{donor:03d}"
                identity = name.replace("_", "+")
                for frame in range(2):
                    pixels = rng.integers(60, 180, (64, 64, 3), dtype=np.uint8)
                    if number:
                        pixels[12 * number : 12 * number + 6] = 250
                    face = root / "faces" / method / name / f"{frame:04d}.png"
                    face.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(face)
                    rows.append(
                        {"path": f"{method}/{name}.mp4", "label": int(number > 0), "method": method, "split": split,
                         "video": f"{method}/{name}", "identity": identity, "frame": frame, "dataset": "ffpp",
                         "face": face.relative_to(root).as_posix(), "x0": 0.0, "y0": 0.0, "x1": 64.0, "y1": 64.0,
                         "probability": 1.0, **landmarks, "sha256": sha256(face)}
                    )  # fmt: skip
    manifest = pd.DataFrame(rows)
    manifest.to_csv(root / "manifest.csv", index=False)
    (root / "quarantine.csv").write_text("path,frame,reason\n")
    index = manifest.drop_duplicates("video")[list(COLUMNS)]
    info = {"frames": 2, "size": 64, "margin": 0.3, "face": "largest", "index": fingerprint(index)}
    (root / "store.json").write_text(json.dumps(info))
    index.to_csv(root / "index.csv", index=False)
    return Source("ffpp", "stand-in", root, "bars on noise", index), FaceStore(root)


@pytest.fixture(scope="session")
def tiny_settings():
    return Settings.preset("smoke", iterations=30, validate_every=10, batch_size=10)


@pytest.fixture(scope="session")
def tiny_run(tiny_source, tiny_settings, tmp_path_factory):
    """A run on the tiny source, finished once for all tests."""
    source, store = tiny_source
    return run(source, tiny_settings, store=store, runs=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="session")
def tiny_runs(tiny_run, tiny_source, tiny_settings, tmp_path_factory):
    """The rows of Fig. 7 on the tiny source: BCE, and DID with two seeds, the first of them `tiny_run`."""
    place, short = tmp_path_factory.mktemp("more"), dataclasses.replace(tiny_settings, iterations=10)
    other = run(tiny_source[0], dataclasses.replace(short, seed=1), store=tiny_source[1], runs=place, progress=False)
    return {
        "BCE": [run(tiny_source[0], short, "bce", store=tiny_source[1], runs=place, progress=False)],
        "DID": [tiny_run, other],
    }


@pytest.fixture
def tiny_outcome(tiny_runs, tiny_source, monkeypatch):
    """An outcome of Fig. 7 made by hand from these runs; tests put other tables and experiments into it."""
    source, store = tiny_source
    monkeypatch.setattr(conduct, "face_store", lambda *_, **__: store)
    nothing = pd.DataFrame(columns=["a", "b", "test", "level", "difference", "std", "low", "high", "seeds", "paper"])
    return Outcome(
        EXPERIMENTS["fig7_embeddings"], "smoke", [0, 1], "drawn", {"ffpp": source}, tiny_runs, pd.DataFrame(), nothing,
        time.monotonic(),
    )  # fmt: skip


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A project with the stand-in of FF++ at preset smoke and its crops, made once for all processes of the suite.

    `make test` names a project for the notebooks: it is the same one.
    """
    base = tmp_path_factory.getbasetemp()
    own = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made"
    place = Path(os.environ.get("DID_HOME", own))
    place.mkdir(exist_ok=True)
    with _at_home(place):
        face_store(open_source("ffpp", "stand-in", preset="smoke", progress=False), Settings.preset("smoke"), False)
    return place


@pytest.fixture(scope="session")
def furnish(made):
    """A function that puts a copy of that stand-in and of its crops into another project's folder."""

    def copy(home):
        stores = []
        for place in (made, home):
            if place is home:
                shutil.copytree(made / "data/stand-in", home / "data/stand-in", dirs_exist_ok=True)
            with _at_home(place):
                source = open_source("ffpp", "stand-in", preset="smoke", progress=False)
                of = Settings.preset("smoke")
                stores.append(store_folder(source, of.frames, of.image_size, of.crop_margin, source.face))
        shutil.copytree(*stores)
        return home

    return copy


@contextlib.contextmanager
def _at_home(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DID_HOME", str(place))
        patch.delenv("DID_DATA", raising=False)
        yield


@contextlib.contextmanager
def _mounted(place, options):
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def small_disk(tmp_path, request):
    """A folder on a disk of 300 kB, or of the size that a test gives as the fixture's parameter."""
    with _mounted(tmp_path / "small", f"size={getattr(request, 'param', '300k')}") as place:
        yield place


@pytest.fixture
def read_only(tmp_path):
    """An empty read-only file system; `mount -o remount,rw` lets a test put something there first."""
    with _mounted(tmp_path / "read-only", "ro") as place:
        yield place


@pytest.fixture
def whole():
    """A check of what every plot has: a picture, its data, words made from numbers of three decimals, the stamp."""

    def check(plot):
        bundle, about = plot._repr_mimebundle_()
        assert about["image/png"]["stamp"] == plot.stamp and "the stamp" in plot.stamp
        assert bundle["image/png"].startswith(b"\x89PNG") and len(bundle["image/png"]) > 5000
        assert bundle["text/plain"] == plot.alt and plot.alt.endswith(".")
        assert re.search(r"\d\.\d{3}", plot.alt) and not re.search(r"nan|\d\.\d{4}", plot.alt)
        assert len(plot.data) > 0
        assert bundle["text/csv"].count("\n") > len(plot.data)
        return plot

    return check
