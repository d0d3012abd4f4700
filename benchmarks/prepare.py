"""python benchmarks/prepare.py [--videos 40] [--frames 32] [--pairs 1] [--quick] [--json [FILE]]

Faces prepared per second, ours against facenet-pytorch called frame by frame over OpenCV as its README does, on the
same H.264 files, the two sides taking turns; then how far their boxes differ on frames that both see, and where our
time goes. The clips are drawn people before a wall, 854×480 and 1280×720, 200 frames each; the same eight files stand
under many names.
"""

import argparse
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import clips
import cv2
import numpy as np
import pandas as pd
from facenet_pytorch import MTCNN
from PIL import Image
from side_by_side import finish, parser
from tqdm.auto import tqdm

from did.data import prepare, table, video
from did_book.pages.costs import Row, row


def write_clips(folder: Path, videos: int, length: int = 200) -> pd.DataFrame:
    """Write `videos` clips and return their index; every eighth is a link to the same file."""
    files = [folder / f"clip{person}.mp4" for person in range(8)]
    for person, file in enumerate(tqdm(files, desc="clips")):
        clips.write(file, person, length, ((854, 480), (1280, 720))[person % 2])
    rows = []
    for number in range(videos):
        name = f"{number:04d}.mp4"
        os.link(files[number % 8], folder / name)
        label = number % 2
        rows.append(
            {"path": name, "label": label, "method": "fake" if label else "real", "split": "test", "video": name[:-4],
             "identity": name[:-4], "frame": pd.NA, "dataset": "clips"}
        )  # fmt: skip
    return table.make_table(rows)


def theirs(index: pd.DataFrame, root: Path, out: Path, frames: int) -> dict[tuple[str, int], np.ndarray]:
    """Prepare as facenet-pytorch does: each frame from OpenCV as a PIL image, detected and cut out by itself."""
    detector = MTCNN(image_size=224, margin=52, post_process=False)
    boxes = {}
    for path in tqdm(index["path"], desc="facenet-pytorch", leave=False):
        capture = cv2.VideoCapture(str(root / path))
        wanted = set(video.evenly_spaced(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), frames))
        for number in range(max(wanted) + 1):
            capture.grab()
            if number in wanted:
                image = Image.fromarray(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
                found, _ = detector.detect(image)
                if found is not None:
                    detector.extract(image, found, str(out / f"{path}-{number}.png"))
                    boxes[path, number] = found[0].astype(float)
    return boxes


def parts_of_our_time(index: pd.DataFrame, root: Path, store: Path, frames: int) -> pd.DataFrame:
    """Return the seconds per video in one process, by step."""
    spent: dict[str, float] = {}

    def timed(name: str, call: Callable) -> Callable:
        def wrapped(*arguments: object) -> object:
            start = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

        return wrapped

    originals = {name: getattr(prepare, name) for name in ("_read", "detect", "crop", "_png")}
    prepare._read = timed("decode", lambda *a: iter(list(originals["_read"](*a))))
    prepare.detect, prepare.crop = timed("detect", originals["detect"]), timed("align", originals["crop"])
    prepare._png = timed("encode PNG", originals["_png"])
    start = time.perf_counter()
    try:
        prepare.prepare(index, root, store, frames, workers=1, progress=False)
    finally:
        for name, call in originals.items():
            setattr(prepare, name, call)
    spent["write and rest"] = time.perf_counter() - start - sum(spent.values())
    seconds = pd.Series(spent) / len(index)
    return pd.DataFrame({"ms a video": 1000 * seconds, "share": seconds / seconds.sum()})


def both(options: argparse.Namespace, root: Path) -> Row:
    """Prepare the same clips both ways, in turns; print how far the boxes differ and where our time goes."""
    index = write_clips(root, options.videos)
    times = []
    for turn in range(options.pairs):
        store, out = root / f"store{turn}", root / f"out{turn}"
        out.mkdir()
        start = time.perf_counter()
        ours = prepare.prepare(index, root, store, options.frames).manifest
        middle = time.perf_counter()
        boxes = theirs(index, root, out, options.frames)
        times.append(((middle - start) / len(ours), (time.perf_counter() - middle) / len(boxes)))
        shutil.rmtree(out)
    box = ours.set_index(["path", "frame"])[["x0", "y0", "x1", "y1"]]
    shared = [key for key in boxes if key in box.index]
    apart = max(float(np.abs(box.loc[key].to_numpy(float) - boxes[key]).max()) for key in shared)
    print(f"boxes on the {len(shared)} frames that both see: at most {apart:.3f} pixels apart")
    print(parts_of_our_time(index.iloc[:8], root, root / "parts", options.frames).round(3).to_string())
    case = f"{options.videos} videos of 480 and 720 lines, {options.frames} frames each"
    sides = ("did.data.prepare", "facenet-pytorch frame by frame")
    found = row("preparation", case, sides, "speed-up", times, note="seconds are those of a face")
    return replace(found, more={"faces/s": tuple(1 / took for took in found.seconds)})


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--videos", type=int, default=40)
    found.add_argument("--frames", type=int, default=32)
    found.add_argument("--pairs", type=int, default=1)
    options = found.parse_args()
    if options.quick:
        options.videos, options.frames = 8, 2
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        rows = [both(options, Path(temporary))]
    finish(rows, options)


if __name__ == "__main__":
    main()
