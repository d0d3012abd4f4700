"""From the index of videos to a store of aligned face crops.

A store is a folder:

    faces/<method>/<video>/<frame>.png   RGB crops, lossless
    manifest.csv                         one row a crop: the table's columns and MANIFEST_COLUMNS
    quarantine.csv                       path, frame, reason of everything that gave no crop
    store.json                           the settings and the videos' fingerprint; there only when all is finished

While the work goes on, `unfinished.json` stands in for `store.json`, and `parts/` holds one file for each video that
is done: its crops are written first, that file last, so that an interrupted run goes on at the next video.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from facenet_pytorch import MTCNN
from tqdm.auto import tqdm

from did.data import table as tables
from did.data import video as videos
from did.data.geometry import similarity
from did.errors import DidError
from did.files import write_atomically

MARGIN = 0.3
MANIFEST_COLUMNS = ("face", "x0", "y0", "x1", "y1", "probability", "sha256")
QUARANTINE_COLUMNS = ("path", "frame", "reason")

# Left eye, right eye, nose, left and right corner of the mouth (left and right as seen in the picture), measured from
# the centre of the MTCNN box in units of its height: means over 189 frontal portraits of the Face Research Lab London
# and Young Adult White Faces sets (standard deviation about .02), made symmetric.
LANDMARKS_IN_BOX = np.array([[-0.173, -0.101], [0.173, -0.101], [0.0, 0.084], [-0.147, 0.262], [0.147, 0.262]])

# MTCNN's own defaults: smallest face in pixels and the step of its image pyramid.
SMALLEST_FACE = 20
PYRAMID_STEP = 0.709
# Below this side MTCNN has no scale to look at and raises.
SMALLEST_FRAME = 20
LARGE_FACE = 1 / 6
# Frames that MTCNN sees at once hold at most this many pixels, so that memory stays bounded (about 12 bytes each).
PIXELS_AT_ONCE = 16_000_000
# Starting a worker takes as long as about so many frames: for fewer it takes longer than it saves.
FRAMES_A_WORKER = 800
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class FaceStore:
    """A finished folder of face crops."""

    root: Path

    @property
    def info(self) -> dict[str, Any]:
        """size, margin, frames, detector, index and fingerprint (of the videos' list and content), finished."""
        return json.loads((self.root / "store.json").read_text(encoding="utf-8"))

    @property
    def manifest(self) -> pd.DataFrame:
        """One row a crop: the columns of the table, then MANIFEST_COLUMNS; `face` is relative to `root`."""
        return tables.load(self.root / "manifest.csv", floats=("x0", "y0", "x1", "y1", "probability"))

    @property
    def quarantine(self) -> pd.DataFrame:
        """path, frame (<NA> for a whole video) and reason of everything that gave no crop."""
        return tables.load(self.root / "quarantine.csv")


def open_store(store: str | Path) -> FaceStore:
    """Open a finished store.

    Raises:
        DidError: there is none, or its preparation was interrupted.
    """
    store = Path(store)
    if not (store / "store.json").is_file():
        raise DidError(
            f"There is no finished face store in {store}; run the preparation (it resumes where it stopped)."
        )
    return FaceStore(store)


def prepare(
    index: pd.DataFrame,
    root: str | Path,
    store: str | Path,
    frames: int = 32,
    size: int = 224,
    margin: float = MARGIN,
    workers: int | None = None,
    progress: bool = True,
    on_broken: str = "raise",
) -> FaceStore:
    """Cut aligned face crops out of evenly spaced frames of every video.

    A finished store with these settings and these videos is returned at once, an interrupted one is completed, and
    the result is the same, byte for byte, after any interruption and with any number of workers.

    Args:
        index: the table, one row a video, `frame` <NA>.
        root: folder that `index["path"]` is relative to.
        store: folder for the crops; new, empty, or begun with the same settings.
        frames: frames a video, evenly spaced (`did.data.video.evenly_spaced`).
        size: side of the crops in pixels.
        margin: see `template`.
        workers: processes; None for one a core (fewer for little work), 1 for none beside this one.
        progress: show a bar with videos/s.
        on_broken: what to do with videos that do not decode: "raise" (after finishing the others; run again once
            they are mended) or "quarantine".

    Returns:
        The store. A frame without a face is in its quarantine, never replaced by another one.

    Raises:
        DidError: an impossible setting; a store made with other settings or from other videos; a missing file;
            videos that do not decode; or a method of which a split has no face at all.
    """
    if on_broken not in ("raise", "quarantine"):
        raise DidError(f"on_broken is {on_broken!r}; it must be 'raise' or 'quarantine'.")
    if frames < 1 or size < 16 or margin < 0 or (workers is not None and workers < 1):
        raise DidError(
            f"frames is {frames}, size {size}, margin {margin} and workers {workers}; "
            "they must be at least 1, 16, 0 and 1."
        )
    tables.check(index)
    root, store = Path(root), Path(store)
    index = index.sort_values("video").reset_index(drop=True)
    if index["video"].duplicated().any():
        raise DidError("The index lists a video twice; give one row a video, not yet sampled to frames.")
    sizes = [_bytes(root / path) for path in index["path"]]
    settings = {
        "size": size,
        "margin": float(margin),
        "frames": frames,
        "detector": f"MTCNN, facenet-pytorch {version('facenet-pytorch')}",
        # The sizes of the files tell apart two sets of videos under the same names.
        "index": tables.fingerprint(index),
        "fingerprint": tables.fingerprint(index.assign(bytes=sizes)),
        "finished": True,
    }
    if _begin(store, settings):
        return FaceStore(store)

    broken = _work(index, root, store, frames, size, margin, workers, progress)
    if broken and on_broken == "raise":
        path, reason = next(iter(broken.items()))
        raise DidError(
            f"{len(broken)} of {len(index)} videos cannot be read, the first, {root / path}, {reason}; mend them and "
            "run again (the others are kept), or set them aside with on_broken='quarantine'."
        )
    manifest, quarantine = _collect(index, store, broken)
    _check_no_empty_cell(index, manifest, store)
    write_atomically(store / "manifest.csv", lambda file: tables.save(manifest, file))
    write_atomically(store / "quarantine.csv", lambda file: tables.save(quarantine, file))
    _finish(store, settings)
    return FaceStore(store)


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise DidError(f"The video {file} of the index is missing; put it there or index the folder again.") from error


def _begin(store: Path, settings: dict[str, Any]) -> bool:
    """True where the store is finished; otherwise it is ready to be worked on."""
    finished, unfinished = store / "store.json", store / "unfinished.json"
    if finished.is_file():
        _compare(store, json.loads(finished.read_text(encoding="utf-8")), settings)
        _tidy(store)
        return True
    # Not the files' content: a video that was mended after it stopped the work is taken up alone.
    started = settings | {"fingerprint": None, "finished": False}
    if unfinished.is_file():
        _compare(store, json.loads(unfinished.read_text(encoding="utf-8")), started)
        return False
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise DidError(f"{store} is not empty and is not a face store; give a new folder.")
    write_atomically(unfinished, lambda file: file.write_text(_json(started), encoding="utf-8"))
    return False


def _compare(store: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    names = {"fingerprint": "the videos' content", "index": "the list of videos"}
    differing = [names.get(key, f"{key} {found.get(key)}") for key in wanted if found.get(key) != wanted[key]]
    if differing:
        raise DidError(
            f"The face store {store} was made from other videos or with other settings (other there: "
            f"{', '.join(differing)}); give another folder or remove this one."
        )


def _finish(store: Path, settings: dict[str, Any]) -> None:
    write_atomically(store / "store.json", lambda file: file.write_text(_json(settings), encoding="utf-8"))
    _tidy(store)


def _tidy(store: Path) -> None:
    (store / "unfinished.json").unlink(missing_ok=True)
    shutil.rmtree(store / "parts", ignore_errors=True)


def _json(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=1) + "\n"


def _part(store: Path, video: str) -> Path:
    return store / "parts" / f"{video}.json"


def _is_done(store: Path, video: str, file: Path) -> bool:
    part = _part(store, video)
    return part.is_file() and json.loads(part.read_text(encoding="utf-8"))["bytes"] == file.stat().st_size


def _work(
    index: pd.DataFrame,
    root: Path,
    store: Path,
    frames: int,
    size: int,
    margin: float,
    workers: int | None,
    progress: bool,
) -> dict[str, str]:
    """Prepare every video that has no part yet; returns {path: reason} of those that do not decode, in index order."""
    jobs = [
        (root / path, store, video, frames, size, margin)
        for path, video in zip(index["path"], index["video"], strict=True)
        if not _is_done(store, video, root / path)
    ]
    if workers is None:
        workers = min(os.cpu_count() or 1, 1 + len(jobs) * frames // FRAMES_A_WORKER)
    reasons: dict[str, str] = {}
    bar = tqdm(total=len(index), initial=len(index) - len(jobs), unit=" videos", desc="faces", disable=not progress)
    with bar:
        for video, reason in _run(jobs, min(workers, len(jobs))):
            if reason is not None:
                reasons[video] = reason
            bar.update()
    pairs = zip(index["path"], index["video"], strict=True)
    return {path: reasons[video] for path, video in pairs if video in reasons}


def _run(jobs: Sequence[tuple], workers: int) -> Iterator[tuple[str, str | None]]:
    if workers <= 1:
        yield from (_prepare_video(*job) for job in jobs)
        return
    # Spawned, not forked: a forked copy of a process in which torch has started threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(_prepare_video, *job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise DidError(
            "A worker of the preparation was killed, most often for lack of memory; run it again with fewer workers, "
            "it resumes where it stopped."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _prepare_video(
    file: Path, store: Path, video: str, frames: int, size: int, margin: float
) -> tuple[str, str | None]:
    """Write the crops of one video, then its part; returns (video, None), or the reason why it does not decode."""
    try:
        images = _read(file, frames)
    except DidError as error:
        # Without the file's folder, so that the quarantine is the same on every machine.
        return video, str(error).split(f"{file} ")[-1].removesuffix("; replace the file.")
    found, missed = [], []
    shutil.rmtree(store / "faces" / video, ignore_errors=True)  # What an interruption or another content left there.
    smallest = min(images[0][1].shape[:2])
    if smallest < SMALLEST_FRAME:
        missed = [[number, f"frames of {smallest} pixels are too small for a face"] for number, _ in images]
        images = []
    boxes, probabilities, landmarks = detect([image for _, image in images])
    for (number, image), box, probability, points in zip(images, boxes, probabilities, landmarks, strict=True):
        if np.isnan(probability):
            missed.append([number, "no face found"])
            continue
        face = f"faces/{video}/{number:04d}.png"
        png = _png(align(image, points, size, margin))
        (store / face).parent.mkdir(parents=True, exist_ok=True)
        (store / face).write_bytes(png)
        row = [number, face, *(round(float(x), 2) for x in box), round(float(probability), 6)]
        found.append([*row, hashlib.sha256(png).hexdigest()])
    if images and not found:
        missed = [[number, "no face found in any sampled frame of the video"] for number, _ in missed]
    text = json.dumps({"bytes": file.stat().st_size, "found": found, "missed": missed})
    write_atomically(_part(store, video), lambda part: part.write_text(text, encoding="utf-8"))
    return video, None


def _read(file: Path, frames: int) -> list[tuple[int, np.ndarray]]:
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return [(0, videos.read_image(file))]
    return videos.read_frames(file, frames)


def _png(image: np.ndarray) -> bytes:
    # The fastest level with run lengths alone: faster than the default, and on camera noise the files are no larger.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError("OpenCV could not encode a PNG")
    return png.tobytes()


def _collect(index: pd.DataFrame, store: Path, broken: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest and the quarantine from the parts, in the order of the index."""
    rows: list[dict[Hashable, Any]] = []
    quarantine: list[list[Any]] = []
    for row in index.to_dict("records"):
        if row["path"] in broken:
            quarantine.append([row["path"], pd.NA, broken[row["path"]]])
            continue
        part = json.loads(_part(store, row["video"]).read_text(encoding="utf-8"))
        for number, *values in part["found"]:
            rows.append({**row, "frame": number, **dict(zip(MANIFEST_COLUMNS, values, strict=True))})
        quarantine += [[row["path"], number, reason] for number, reason in part["missed"]]
    manifest = pd.DataFrame(rows, columns=[*tables.COLUMNS, *MANIFEST_COLUMNS]).astype({"frame": "Int64"})
    return manifest, pd.DataFrame(quarantine, columns=list(QUARANTINE_COLUMNS)).astype({"frame": "Int64"})


def _check_no_empty_cell(index: pd.DataFrame, manifest: pd.DataFrame, store: Path) -> None:
    wanted = index[["method", "split"]].drop_duplicates().itertuples(index=False, name=None)
    got = set(manifest[["method", "split"]].itertuples(index=False, name=None))
    for method, split in wanted:
        if (method, split) not in got:
            raise DidError(
                f"No face was found in any video of {method!r} in the split {split!r}, so that {store} cannot be "
                "finished; look at those videos."
            )


def template(size: int, margin: float = MARGIN) -> np.ndarray:
    """Where the five landmarks come to lie in a crop of `size` pixels a side, as (5, 2) pixel coordinates (x, y).

    The crop is `1 + margin` times the height of MTCNN's box of an upright frontal face, about the box's centre. That
    box runs from the forehead to the chin: at the default of .3 the crop shows the whole face and a rim around it,
    where a pasted face has its seam.
    """
    return LANDMARKS_IN_BOX * size / (1 + margin) + (size - 1) / 2


def align(image: np.ndarray, landmarks: np.ndarray, size: int = 224, margin: float = MARGIN) -> np.ndarray:
    """Cut out a face, upright and at one scale.

    Args:
        image: RGB uint8 (H, W, 3).
        landmarks: (5, 2) pixel coordinates (x, y) in the order of MTCNN.
        size: side of the crop in pixels.
        margin: see `template`.

    Returns:
        RGB uint8 (size, size, 3). Beyond the image's border its last row or column is repeated.
    """
    matrix = similarity(np.asarray(landmarks, dtype=np.float64), template(size, margin))
    # A reduction by bilinear interpolation alone aliases: sample finely, then average areas.
    fine = max(1, int(np.ceil(1 / np.hypot(matrix[0, 0], matrix[1, 0]) - 1e-9)))
    matrix = fine * matrix
    matrix[:, 2] += (fine - 1) / 2  # Pixel coordinates count from the centre of the first pixel.
    crop = cv2.warpAffine(
        image, matrix, (fine * size, fine * size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return crop if fine == 1 else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def detect(images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the largest face in each image with MTCNN.

    Faces of at least a sixth of the image's shorter side are looked for first, and smaller ones only in the images
    where that finds none. As the largest face is wanted, the small scales of MTCNN's image pyramid, which take most
    of its time, would only matter there.

    Args:
        images: RGB uint8 arrays (H, W, 3) of one size, at least 20 pixels a side.

    Returns:
        boxes (n, 4) as x0, y0, x1, y1; probabilities (n,); landmarks (n, 5, 2) as (x, y): left eye, right eye, nose,
        left and right corner of the mouth as seen in the picture. All in pixels, float64, NaN where no face was found.

    Raises:
        DidError: images too small, of unequal size, or not uint8.
    """
    boxes = np.full((len(images), 4), np.nan)
    probabilities = np.full(len(images), np.nan)
    landmarks = np.full((len(images), 5, 2), np.nan)
    if not len(images):
        return boxes, probabilities, landmarks
    shape = images[0].shape
    if any(image.shape != shape or image.dtype != np.uint8 for image in images) or len(shape) != 3 or shape[2] != 3:
        raise DidError("The face detector takes uint8 RGB images of one size; convert or group them first.")
    if min(shape[:2]) < SMALLEST_FRAME:
        raise DidError(f"The face detector takes images of at least {SMALLEST_FRAME} pixels a side, not {shape[:2]}.")

    large = _pyramid_size(LARGE_FACE * min(shape[:2]))
    for smallest_face in dict.fromkeys((large, float(SMALLEST_FACE))):
        todo = np.flatnonzero(np.isnan(probabilities))
        at_once = max(1, PIXELS_AT_ONCE // (shape[0] * shape[1]))
        for start in range(0, len(todo), at_once):
            batch = todo[start : start + at_once]
            for number, face in zip(batch, _largest_faces([images[i] for i in batch], smallest_face), strict=True):
                if face is not None:
                    boxes[number], probabilities[number], landmarks[number] = face
    return boxes, probabilities, landmarks


def _pyramid_size(pixels: float) -> float:
    """The largest face size of MTCNN's default pyramid (20 / .709^k) up to `pixels`: its scales stay the same ones."""
    result = float(SMALLEST_FACE)
    while result / PYRAMID_STEP <= pixels:
        result /= PYRAMID_STEP
    return result


def _largest_faces(images: list[np.ndarray], smallest_face: float) -> list[tuple | None]:
    detector = _detector()
    detector.min_face_size = smallest_face
    with _one_thread():
        # A list even for one image; MTCNN raises on a call for crops when one image has no face, but not on detect.
        boxes, probabilities, landmarks = detector.detect(np.stack(images), landmarks=True)
    return [
        None if box is None else (np.asarray(box[0], float), float(probability[0]), np.asarray(points[0], float))
        for box, probability, points in zip(boxes, probabilities, landmarks, strict=True)
    ]


@lru_cache(maxsize=1)
def _detector() -> MTCNN:
    detector = MTCNN(factor=PYRAMID_STEP, select_largest=True)
    for net in (detector.pnet, detector.rnet, detector.onet):
        net.to(memory_format=torch.channels_last)  # Halves the time on the CPU, most of which goes into max pooling.
    return detector


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over several threads may round otherwise: the crops must not depend on the number of workers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
