"""python benchmarks/store.py [--stills 10000] [--videos 200] [--pairs 5] [--quick] [--json [FILE]]

What a store of face crops costs a disk, and how fast it is read.

Both stores are made by `did prepare`, of pictures that are face crops already, so that no face is looked for: stills,
one crop each, and videos of 32 frames. Beside each is what the store would be with a file per crop. Files (folders
included) and bytes are counted. Then crops are read in random order on one core, as training reads them, from the
shards and from single files, by `did.data.loading.Faces` and by a plain loop over OpenCV. All of it is in the page
cache; a slow disk or a network disk, for which fewer files matter most, is not measured.
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from side_by_side import finish, parser, take_turns
from tqdm.auto import tqdm

from did.data.loading import Faces
from did.data.prepare import prepare
from did.data.store import PLACE, Crops, FaceStore
from did.data.table import make_table
from did_book.pages.costs import Row, row

READ, PATTERNS = 1000, 64


def pictures(size: int) -> list[np.ndarray]:
    """Draw smooth pictures with a camera's noise, whose PNGs are as large as those of crops."""
    rng, found = np.random.default_rng(0), []
    for _ in range(PATTERNS):
        smooth = cv2.resize(
            rng.uniform(0, 255, (6, 6, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
        found.append(np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8))
    return found


def prepared(place: Path, kind: str, number: int, frames: int, size: int) -> FaceStore:
    """Prepare stills, or videos as folders of frames."""
    root, drawn, rows = place / kind, pictures(size), []
    for i in tqdm(range(number), desc=kind, leave=False):
        method = ("real", "fake")[i % 2]
        path = f"{method}/{i:06d}" + (".png" if kind == "stills" else "")
        for j in range(frames):
            file = root / path if kind == "stills" else root / path / f"{j:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), drawn[(i + j) % PATTERNS])
        rows.append({"path": path, "label": i % 2, "method": method, "split": "test", "video": f"{method}/{i:06d}",
                     "identity": str(i), "frame": pd.NA, "dataset": kind})  # fmt: skip
    store = prepare(make_table(rows), root, place / f"{kind}-store", frames, size, face="given")
    shutil.rmtree(root)
    return store


def unpacked(store: FaceStore) -> pd.DataFrame:
    """Write each crop into a file of its own, as stores were before shards, and return the manifest of that."""
    rows, root = store.manifest, store.root.with_name(f"{store.root.name}-files")
    crops = Crops(store.root, rows)
    for number, name in enumerate(rows["face"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(crops.read(number))
    return rows.drop(columns=list(PLACE))


def size_of(place: Path) -> tuple[int, int]:
    """Count files and folders, and bytes."""
    found = list(place.rglob("*"))
    return len(found), sum(file.stat().st_size for file in found if file.is_file())


def measure(kind: str, store: FaceStore, size: int, pairs: int) -> list[Row]:
    single, root = unpacked(store), store.root.with_name(f"{store.root.name}-files")
    order = np.random.default_rng(0).permutation(len(single))[:READ].tolist()
    ours, files = Faces(store.manifest, store.root, size), Faces(single, root, size)
    names = [str(root / name) for name in single["face"]]
    (few, here), (many, there) = size_of(store.root / "faces"), size_of(root)
    note = f"{len(single)} crops: {few} files of {here / 2**20:.0f} MiB, not {many} of {there / 2**20:.0f} MiB"

    def opencv() -> list[np.ndarray]:
        return [cv2.imread(names[i], cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255 for i in order]

    found = []
    for other, call in (("one file per crop", lambda: [files[i] for i in order]), ("a loop over OpenCV", opencv)):
        times = take_turns(lambda: [ours[i] for i in order], call, pairs, f"{kind}, {other}", warm=1)
        made = row("reading crops", f"{kind}, {size} px, one core", ("from shards", other), "cost", times, note=note)
        found.append(replace(made, more={"images/s": (len(order) / made.seconds[0], len(order) / made.seconds[1])}))
    return found


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--stills", type=int, default=10_000)
    found.add_argument("--videos", type=int, default=200)
    found.add_argument("--pairs", type=int, default=5)
    options = found.parse_args()
    size = 224
    if options.quick:
        options.stills, options.videos, options.pairs, size = 40, 4, 1, 64
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind, number, frames in (("stills", options.stills, 1), ("videos", options.videos, 32)):
            store = prepared(Path(temporary), kind, number, frames, size)
            rows += measure(kind, store, size, options.pairs)
    finish(rows, options)


if __name__ == "__main__":
    main()
