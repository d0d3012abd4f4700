"""The researcher's walk, typed: from trees in the layouts that people have to Table 1's rows. `-s` shows the times."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from did.data import clips, layout
from did.data.faces import detect
from did.standin import write

pytestmark = pytest.mark.slow
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "table1_intra_cross.ipynb"
SIZES = {"ffpp": ({"train": 4, "val": 4, "test": 4}, 4), "cdf2": ({"train": 2, "val": 2, "test": 4}, 4),
         "dffd": ({"train": 4, "val": 4, "test": 4}, 1), "diff": ({"train": 2, "val": 2, "test": 4}, 1)}  # fmt: skip


@pytest.fixture(scope="module")
def authors(tmp_path_factory) -> Path:
    """The four data sets of the paper as their authors ship them: small ones, without the mark of a stand-in."""
    root = tmp_path_factory.mktemp("authors")
    for name, (people, frames) in SIZES.items():
        write(name, root / name, people, frames=frames, progress=False, workers=1)
        (root / name / layout.MARK).unlink()
    return root


def mirrored(authors: Path, root: Path) -> Path:
    """FF++ as the mirror has it: the methods side by side."""
    shutil.copytree(authors / "cdf2", root / "cdf2")
    (root / "ffpp").mkdir()
    shutil.copytree(authors / "ffpp/original_sequences/youtube/c23/videos", root / "ffpp/original")
    for method in (authors / "ffpp/manipulated_sequences").iterdir():
        shutil.copytree(method / "c23/videos", root / "ffpp" / method.name)
    for file in authors.glob("ffpp/**/*.json"):
        shutil.copy(file, root / "ffpp" / file.name)
    return root


def released(authors: Path, root: Path) -> Path:
    """The same videos as DeepfakeBench releases them: frames cut to the face, landmarks, lists."""
    names = {"original_sequences/youtube": "FF-real", "manipulated_sequences/Deepfakes": "FF-DF",
             "manipulated_sequences/Face2Face": "FF-F2F", "manipulated_sequences/FaceSwap": "FF-FS",
             "manipulated_sequences/NeuralTextures": "FF-NT"}  # fmt: skip
    splits = {split: {stem for pair in json.loads(next((authors / "ffpp").rglob(f"{split}.json")).read_text())
                      for stem in (*pair, "_".join(pair), "_".join(reversed(pair)))}
              for split in ("train", "val", "test")}  # fmt: skip
    listed: dict = {}
    for place, label in names.items():
        for video in sorted((authors / "ffpp" / place / "c23/videos").glob("*.mp4")):
            split = next(name for name, stems in splits.items() if video.stem in stems)
            frames = _cut(video, root, f"FaceForensics++/{place}/c23")
            of = listed.setdefault(label, {}).setdefault(split, {}).setdefault("c23", {})
            of[video.stem] = {"label": label, "frames": frames}
    celeb: dict = {}
    tested = {line.split()[1] for line in (authors / "cdf2/List_of_testing_videos.txt").read_text().splitlines()}
    for place, label in (("Celeb-real", "real"), ("YouTube-real", "real"), ("Celeb-synthesis", "fake")):
        for video in sorted((authors / "cdf2" / place).glob("*.mp4")):
            frames = _cut(video, root, f"Celeb-DF-v2/{place}")
            for split in ("val", "test") if f"{place}/{video.name}" in tested else ("train",):
                of = celeb.setdefault(f"CelebDFv2_{label}", {}).setdefault(split, {})
                of[video.stem] = {"label": f"CelebDFv2_{label}", "frames": frames}
    (root / "dataset_json").mkdir()
    for name, content in (("FaceForensics++", listed), ("Celeb-DF-v2", celeb)):
        (root / "dataset_json" / f"{name}.json").write_text(json.dumps({name: content}))
    return root


def _cut(video: Path, root: Path, folder: str) -> list[str]:
    """Write 256 px frames around the face and 81 landmarks beside each, of which MTCNN's five are right."""
    found = []
    for number, image in clips.stream(video, 4, []):
        (face, *_), *_ = detect([image])
        scale = 0.6 * 256 / face.height
        shift = 128 - scale * face.centre
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        points = np.full((81, 2), 5.0)
        five = face.landmarks * scale + shift
        points[36:42], points[42:48] = five[0], five[1]
        points[30], points[48], points[54] = five[2:]
        place = f"{folder}/frames/{video.stem}/{number:03d}.png"
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        marks = root / folder / "landmarks" / video.stem
        marks.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / place), cv2.warpAffine(image, matrix, (256, 256))[:, :, ::-1])
        np.save(marks / f"{number:03d}.npy", points)
        found.append(place)
    return found


class Walk:
    """Types lines in a project of its own, and keeps what each took."""

    def __init__(self, home: Path) -> None:
        self.home, self.lines = home, []
        home.mkdir()

    def type(self, line: str) -> str:
        name, *rest = line.split()
        start = time.monotonic()
        done = subprocess.run(
            [Path(sys.executable).with_name(name), *rest],
            env={**os.environ, "DID_HOME": str(self.home), "OMP_NUM_THREADS": "2"},
            capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=self.home,
        )  # fmt: skip
        self.lines.append((time.monotonic() - start, line))
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def show(self, what: str) -> None:
        print(f"\n{what}: {sum(took for took, _ in self.lines):.0f} s for {len(self.lines)} lines")
        for took, line in self.lines:
            print(f"  {took:5.1f} s  {line}")


@pytest.mark.parametrize("tree", ["authors", "mirror", "release"])
def test_from_a_tree_to_table_1(tree, authors, tmp_path):
    root = tmp_path / tree
    root.mkdir()
    if tree == "authors":
        root = authors
    else:
        {"mirror": mirrored, "release": released}[tree](authors, root)
    walk = Walk(tmp_path / "home")
    place = {name: root if tree == "release" else root / name for name in ("ffpp", "cdf2")}
    for name, folder in place.items():
        assert "ok" in walk.type(f"did data check {name} --root {folder}")
    walk.type(f"did runs train table1_intra_cross --preset smoke --edition licensed --root {root} --seeds 0 --jobs 1")
    out = tmp_path / "table1.ipynb"
    walk.type(f"papermill {NOTEBOOK} {out} -p preset smoke -p edition licensed -p data_root {root} -r seeds 0")
    text = out.read_text(encoding="utf-8")
    for row in ("BCE", "(k+1)-way CE", "Xception", "F3-Net", "DID"):
        assert row in text
    assert "STAND-IN" not in text
    walk.show(tree)


def test_from_one_run_to_every_other_layout(authors, tmp_path):
    walk = Walk(tmp_path / "home")
    said = walk.type(f"did train ffpp --preset smoke --root {authors / 'ffpp'}")
    run = said.split("\nrun ")[1].split()[0]
    (own := tmp_path / "own").mkdir()
    shutil.copytree(authors / "ffpp/original_sequences/youtube/c23/videos", own / "real")
    shutil.copytree(authors / "ffpp/manipulated_sequences/Deepfakes/c23/videos", own / "fake/Deepfakes")
    for source, root in (("cdf2", "cdf2"), ("diff", "diff"), ("dffd", "dffd")):
        walk.type(f"did prepare {source} --preset smoke --root {authors / root} --split test")
        assert "auc" in walk.type(f"did test {source} --preset smoke --run {run} --root {authors / root}")
    walk.type(f"did prepare folder:{own} --preset smoke")
    walk.show("one run, other data")
