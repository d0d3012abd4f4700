"""From the index of videos to a store of aligned face crops.

A store is a folder::

    faces/<video>/<frame>.png   RGB crops, lossless; see `places` for the few videos whose id is not a path of its own
    manifest.csv                one row per crop: the table's columns and MANIFEST_COLUMNS
    quarantine.csv              path, frame, reason of everything that gave no crop
    store.json                  the settings and a checksum of the videos' content; there only when all is finished

While the work goes on, `unfinished.json` replaces `store.json`, and `parts/` holds one file for each video that
is done: its crops are written first, that file last, so that an interrupted run goes on at the next video. No more
than a few videos are in memory at any time, however many there are.

Beside the store, `.<name>.seen.csv` holds the checksum of each video as this machine has read it, with what changes
when the file does. It saves reading all videos again; it may be removed.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from did.data import clips
from did.data import table as tables
from did.data.faces import MARGIN, NO_FACE, SMALLEST_FRAME, Face, detect, in_batches
from did.data.given import NO_LANDMARKS, crop, given
from did.data.layout import compare_contents
from did.data.store import FORMAT, MANIFEST_COLUMNS, QUARANTINE_COLUMNS, FaceStore
from did.errors import DidError
from did.utils.files import alone, writable, write_atomically, writing
from did.utils.processes import spawn
from did.utils.workers import cores, dask_client

# Starting a worker takes as long as about so many frames: for fewer it takes longer than it saves.
FRAMES_A_WORKER = 800
# Videos handed out at a time, for each worker: enough that none waits, few enough that memory stays flat.
VIDEOS_A_WORKER = 4
#: Which face of a frame is cut out; of a picture that is cut out already, `given` is the only one.
GIVEN = "given"
CHOICES = ("largest", "track", GIVEN)


def prepare(
    index: pd.DataFrame,
    root: str | Path,
    store: str | Path,
    frames: int = 32,
    size: int = 224,
    margin: float = MARGIN,
    workers: int | None = None,
    progress: bool = True,
    strict: bool = False,
    face: str = "largest",
    cluster: str | None = None,
) -> FaceStore:
    """Cut aligned face crops out of evenly spaced frames of every video.

    A finished store with these settings and these videos is returned at once, an interrupted one is completed, and
    the result is the same, byte for byte, after any interruption and with any number of workers, here or on a cluster.
    Whether a video is the same one is told by its content, which is read again only if the file's size, number or
    times are others than when it was last read.

    Args:
        index: the table, one row per video or image, `frame` <NA>.
        root: folder that `index["path"]` is relative to.
        store: folder for the crops; new, empty, or begun with the same settings.
        frames: frames per video, evenly spaced (`did.data.video.evenly_spaced`).
        size: side of the crops in pixels.
        margin: see `template`.
        workers: processes; None for one a core (fewer for little work), 1 for none beside this one.
        progress: show a bar with videos/s and the time left.
        strict: stop at the end, before the store is finished, where files do not decode; else they go to the
            quarantine. The store is then completed by running again once they are fixed.
        face: which face of a frame: "largest", or "track", the one nearest to the last frame's (the largest in the
            first), which keeps to one person where two sizes are close; or "given": the frames are pictures of one
            face each, and none is looked for, see `did.data.given`.
        cluster: address of a Dask scheduler (tcp://host:port) whose workers see `root` and `store` under the same
            paths; `workers` does not count then.

    Returns:
        The store. A frame without a face, and a file that does not decode, is in its quarantine, never replaced by
        another one.

    Raises:
        DidError: If there is an impossible setting; a store made with other settings or from other videos; a missing
            file; a name that is not text; under `strict`, files that do not decode; a method of which a split has no
            face at all; crops that are gone or damaged at the end; a full disk, or a folder that cannot be written to;
            no scheduler at `cluster`.
    """
    if face not in CHOICES:
        raise DidError(f"face is {face!r}; it must be {' or '.join(map(repr, CHOICES))}.")
    if frames < 1 or size < 16 or margin < 0 or (workers is not None and workers < 1):
        raise DidError(
            f"frames is {frames}, size {size}, margin {margin} and workers {workers}; "
            "they must be at least 1, 16, 0 and 1."
        )
    tables.check(index)
    root, store = Path(root), Path(store)
    index = index.sort_values("video").reset_index(drop=True)
    if index["video"].duplicated().any():
        raise DidError("The index lists a video twice; give one row per video, not yet sampled to frames.")
    _check_names(index)
    stamps = [clips.stamp(root / path) for path in index["path"]]
    if strict or not (store / "store.json").is_file():
        compare_contents(index, root, strict, progress)
    settings = {
        "size": size,
        "margin": float(margin),
        "frames": frames,
        "face": face,
        "detector": "none: given" if face == GIVEN else f"MTCNN, facenet-pytorch {version('facenet-pytorch')}",
        "format": FORMAT,
        "index": tables.fingerprint(index),
        "finished": True,
    }
    # Without the lock, which a store in a read-only place cannot have.
    if _is_finished(store, settings, index, root, stamps) and not (store / "unfinished.json").exists():
        return FaceStore(store)
    with alone(store):
        if _is_finished(store, settings, index, root, stamps):
            _tidy(store)
            return FaceStore(store)
        _begin(store, settings)
        writable(store)
        where = places(index["video"])
        parts = [_part(store, place) for place in where]
        files = [root / path for path in index["path"]]
        jobs = [
            (file, store, place, frames, size, margin, face)
            for file, place, part, stamp in zip(files, where, parts, stamps, strict=True)
            if not _is_done(store, part, file, stamp)
        ]
        with (
            tqdm(
                total=len(index), initial=len(index) - len(jobs), unit=" videos", desc="faces", disable=not progress
            ) as bar,
            _executor(jobs, frames, workers, cluster) as (executor, at_once),
        ):
            for _ in _run(jobs, executor, at_once):
                bar.update()
        if strict:
            _refuse_broken(index, root, parts)
        _check_crops(store, parts, progress)
        write_atomically(store / "index.csv", lambda file: tables.save(index, file))
        write_atomically(store / "manifest.csv", lambda file: _write_rows(file, _manifest(index, parts)))
        write_atomically(store / "quarantine.csv", lambda file: _write_rows(file, _quarantine(index, parts)))
        _check_no_empty_cell(index, FaceStore(store))
        read = [_read_part(part) for part in parts]
        digests = [part["sha256"] for part in read]
        _note_seen(store, index, [part["stamp"] for part in read], digests)
        noted = zip(index["path"], read, strict=True)
        notes = {path: "; ".join(part["notes"]) for path, part in noted if part["notes"]}
        _finish(store, settings | {"content": _content(index, digests), "notes": notes})
    return FaceStore(store)


def places(videos: Sequence[str]) -> list[str]:
    """Assign a folder below `faces/` to each video; no folder is inside another video's folder.

    A place is the video's id, so that a person finds the crops. It is "~" and a checksum of the id if another id is
    inside it (a clip `real/p0` beside pictures `real/p0/1`), if a file system may take it for an earlier one (by upper
    and lower case, or by how accents are spelt), or if it would not be a path below `faces/`.

    Args:
        videos: ids, each once.
    """
    keys = [unicodedata.normalize("NFC", video).casefold() for video in videos]
    around = {key[:at] for key in keys for at, letter in enumerate(key) if letter == "/"}
    found, taken = [], set()
    for video, key in zip(videos, keys, strict=True):
        plain = not video.startswith("~") and not {"", ".", ".."} & set(video.split("/")) and "\0" not in video
        if not plain or key in around or key in taken:
            found.append(f"~{hashlib.sha256(video.encode()).hexdigest()[:16]}")
        else:
            found.append(video)
            taken.add(key)
    return found


def _check_names(index: pd.DataFrame) -> None:
    """Refuse names that a CSV table in UTF-8 would not give back: bytes that are not text, or a carriage return."""
    for name in ("path", "method", "video", "identity", "dataset"):
        for value in map(str, index[name].unique()):
            if "\r" in value or value.encode("utf-8", "replace").decode() != value:
                shown = os.fsencode(value).decode("utf-8", "backslashreplace").replace("\r", "\\r")
                raise DidError(
                    f"The {name} '{shown}' of the index is not UTF-8 or has a carriage return, which no table holds; "
                    "rename the file or folder."
                )


def _digest(file: Path) -> str:
    """Return the SHA-256 of a file's content; "" if it cannot be read, so that it goes to the quarantine."""
    try:
        return clips.digest(file)
    except OSError:
        return ""


def _content(index: pd.DataFrame, digests: Sequence[str]) -> str:
    return tables.fingerprint(index.assign(sha256=digests))


def _seen(store: Path) -> Path:
    return store.with_name(f".{store.name}.seen.csv")


def _note_seen(store: Path, index: pd.DataFrame, stamps: Sequence[str], digests: Sequence[str]) -> None:
    rows = zip(index["path"], stamps, digests, strict=True)
    with contextlib.suppress(DidError):  # It only saves time.
        write_atomically(_seen(store), lambda file: _write_rows(file, rows))


def _is_finished(store: Path, settings: dict[str, Any], index: pd.DataFrame, root: Path, stamps: Sequence[str]) -> bool:
    """Return whether the store is finished.

    Raises:
        DidError: If it is finished, but with other settings or from other videos.
    """
    if not (store / "store.json").is_file():
        return False
    found = json.loads((store / "store.json").read_text(encoding="utf-8"))
    _compare(store, found, settings)
    known = {}
    with contextlib.suppress(OSError, ValueError), _seen(store).open(newline="", encoding="utf-8") as rows:
        known = {path: (stamp, digest) for path, stamp, digest in csv.reader(rows)}
    digests, changed = [], []
    for path, stamp in zip(index["path"], stamps, strict=True):
        before, digest = known.get(path, ("", ""))
        if not stamp or stamp != before:
            now = _digest(root / path)
            changed += [path] * (bool(digest) and now != digest)
            digest = now
        digests.append(digest)
    content = _content(index, digests)
    if found["content"] != content:
        example = f", such as {changed[0]}" if changed else ""
        raise _other(store, [f"the videos' content{example}"])
    if dict(zip(index["path"], zip(stamps, digests, strict=True), strict=True)) != known:
        _note_seen(store, index, stamps, digests)
    return True


def _begin(store: Path, settings: dict[str, Any]) -> None:
    """Prepare the store for work, or resume one that is unfinished."""
    unfinished = store / "unfinished.json"
    # Not the files' content: a video that was fixed after it stopped the work is taken up alone.
    started = settings | {"finished": False}
    if unfinished.is_file():
        _compare(store, json.loads(unfinished.read_text(encoding="utf-8")), started)
        return
    if store.exists() and (not store.is_dir() or any(file.suffix != ".tmp" for file in store.iterdir())):
        raise DidError(f"{store} is not empty and is not a face store; give a new folder.")
    _note(unfinished, started)


def _compare(store: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    names = {"index": "the list of videos"}
    if differing := [names.get(key, f"{key} {found.get(key)}") for key in wanted if found.get(key) != wanted[key]]:
        raise _other(store, differing)


def _other(store: Path, differing: list[str]) -> DidError:
    return DidError(
        f"The face store {store} was made from other videos or with other settings (other there: "
        f"{', '.join(differing)}); give another folder or remove this one."
    )


def _finish(store: Path, settings: dict[str, Any]) -> None:
    _note(store / "store.json", settings)
    _tidy(store)


def _tidy(store: Path) -> None:
    with writing(store):
        shutil.rmtree(store / "parts", ignore_errors=True)
        for left in store.glob(".*.tmp"):  # What a process that was killed in `write_atomically` left.
            left.unlink()
        (store / "unfinished.json").unlink(missing_ok=True)


def _note(file: Path, settings: dict[str, Any]) -> None:
    text = json.dumps(settings, indent=1) + "\n"
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))


def _part(store: Path, place: str) -> Path:
    """Return the folder that records a finished video; see `places` for why each has its own."""
    return store / "parts" / place / "part.json"


def _read_part(part: Path) -> dict[str, Any]:
    """Read the record of a finished video: stamp and sha256 of its file, found, missed, and broken.

    `broken` is the reason, or None.
    """
    return json.loads(part.read_text(encoding="utf-8"))


def _is_done(store: Path, part: Path, file: Path, stamp: str) -> bool:
    """Return whether a video is finished, from this content and with all its crops.

    A video that did not decode is tried again, because the file may have been repaired.
    """
    if not part.is_file():
        return False
    known = _read_part(part)
    if known["broken"] is not None or not all((store / path).is_file() for _, path, *_ in known["found"]):
        return False
    return (stamp != "" and stamp == known["stamp"]) or _digest(file) == known["sha256"]


@contextlib.contextmanager
def _executor(
    jobs: Sequence[tuple], frames: int, workers: int | None, cluster: str | None
) -> Iterator[tuple[Executor | None, int]]:
    """Return what runs the jobs (None for this process) and how many of them to submit at a time."""
    if cluster is not None:
        with dask_client(cluster) as client:
            yield client.get_executor(pure=False), VIDEOS_A_WORKER * max(1, len(client.ncores()))
        return
    if workers is None:
        workers = min(cores(), 1 + len(jobs) * frames // FRAMES_A_WORKER)
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield None, 1
        return
    pool = ProcessPoolExecutor(workers, mp_context=spawn(), initializer=_start_worker)
    try:
        yield pool, VIDEOS_A_WORKER * workers
    except BrokenProcessPool as error:
        raise DidError(
            "A worker of the preparation ended early: it says why above, or it was killed, most often for lack of "
            "memory; then run again with fewer workers (it resumes where it stopped)."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _run(jobs: Sequence[tuple], executor: Executor | None, at_once: int) -> Iterator[None]:
    """Run all jobs, a limited number at a time; yield once for each finished one."""
    if executor is None:
        for job in jobs:
            _prepare_video(*job)
            yield
        return
    waiting = set()
    for job in jobs:
        waiting.add(executor.submit(_prepare_video, *job))
        if len(waiting) >= at_once:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    yield from (future.result() for future in as_completed(waiting))


def _start_worker() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End this worker if its parent is killed; otherwise it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _prepare_video(file: Path, store: Path, place: str, frames: int, size: int, margin: float, face: str) -> None:
    """Write the crops of one video or image, then its part."""
    # What an interruption or another content left there: of this video alone, see `places`.
    shutil.rmtree(store / "faces" / place, ignore_errors=True)
    stamp, content = clips.stamp(file), _digest(file)
    found: list[list[Any]] = []
    missed: list[list[Any]] = []
    notes: list[str] = []
    broken = None
    last = None  # centre of the last face
    try:
        for images in in_batches(_read(file, frames, notes)):
            numbers, pictures = zip(*images, strict=True)
            if min(pictures[0].shape[:2]) < SMALLEST_FRAME:
                reason = f"frames of {min(pictures[0].shape[:2])} pixels are too small for a face"
                missed += [[number, reason] for number in numbers]
                continue
            faces_of = _given(file, numbers, pictures) if face == GIVEN else detect(pictures)
            for number, image, faces in zip(numbers, pictures, faces_of, strict=True):
                if not faces:
                    missed.append([number, NO_LANDMARKS if face == GIVEN else NO_FACE])
                    continue
                chosen = faces[0]
                if face == "track" and last is not None:
                    chosen = min(faces, key=lambda one: float(np.linalg.norm(one.centre - last)))
                last = chosen.centre
                png = _png(crop(image, chosen.landmarks, size, margin))
                path = f"faces/{place}/{number:04d}.png"
                with writing(store):
                    (store / path).parent.mkdir(parents=True, exist_ok=True)
                    (store / path).write_bytes(png)
                box = [round(float(x), 2) for x in chosen.box]
                points = [round(float(x), 3) for x in chosen.landmarks.ravel()]
                digest = hashlib.sha256(png).hexdigest()
                found.append([number, path, *box, round(chosen.probability, 6), *points, digest])
    except _Unreadable as error:
        # Without the file's folder, so that the quarantine is the same on every machine.
        broken = str(error).split(f"{file} ")[-1].removesuffix("; replace the file.")
        found, missed = [], []
    if not found and all(reason == NO_FACE for _, reason in missed):
        missed = [[number, f"{NO_FACE} in any sampled frame of the video"] for number, _ in missed]
    known = {"found": found, "missed": missed, "broken": broken, "notes": notes}
    text = json.dumps({"stamp": stamp, "sha256": content, **known})
    write_atomically(_part(store, place), lambda part: part.write_text(text, encoding="utf-8"))


class _Unreadable(Exception):
    """A file that does not decode; its sentence goes to the quarantine."""


def _read(file: Path, frames: int, notes: list[str]) -> Iterator[tuple[int, np.ndarray]]:
    try:
        yield from clips.stream(file, frames, notes)
    except DidError as error:
        raise _Unreadable(str(error)) from error


def _given(file: Path, numbers: Sequence[int], pictures: Sequence[np.ndarray]) -> list[list[Face]]:
    try:
        return given(file, numbers, pictures)
    except DidError as error:
        raise _Unreadable(str(error)) from error


def _png(image: np.ndarray) -> bytes:
    # The fastest level with run lengths alone: faster than the default, and on camera noise the files are no larger.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError("OpenCV could not encode a PNG")
    return png.tobytes()


def _refuse_broken(index: pd.DataFrame, root: Path, parts: Sequence[Path]) -> None:
    reasons = {path: _read_part(part)["broken"] for path, part in zip(index["path"], parts, strict=True)}
    broken = [(path, reason) for path, reason in reasons.items() if reason is not None]
    if broken:
        path, reason = broken[0]
        raise DidError(
            f"{len(broken)} of {len(index)} videos cannot be read, the first, {root / path}, {reason}; fix them and "
            "run again (the others are kept), or leave `strict` out to set them aside."
        )


def _check_crops(store: Path, parts: Sequence[Path], progress: bool) -> None:
    """Check that every crop exists and is unchanged; otherwise its video counts as unfinished."""
    wrong = []
    for part in tqdm(parts, unit=" videos", desc="check", disable=not progress):
        crops = {path: digest for _, path, *_, digest in _read_part(part)["found"]}
        if bad := [path for path, digest in crops.items() if _digest(store / path) != digest]:
            wrong += bad
            part.unlink()
    if wrong:
        raise DidError(
            f"{len(wrong)} crops of {store} are gone or damaged, the first {wrong[0]}, so that it cannot be finished; "
            "run again: they are cut anew."
        )


def _write_rows(file: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV as `did.data.table.save` does, one row at a time."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened, lineterminator="\n").writerows(rows)


def _manifest(index: pd.DataFrame, parts: Sequence[Path]) -> Iterator[list[Any]]:
    """Yield the header and one row per crop, in the order of the index."""
    yield [*tables.COLUMNS, *MANIFEST_COLUMNS]
    at = tables.COLUMNS.index("frame")
    rows = index[list(tables.COLUMNS)].itertuples(index=False, name=None)
    for row, part in zip(rows, parts, strict=True):
        for number, *values in _read_part(part)["found"]:
            yield [*row[:at], number, *row[at + 1 :], *values]


def _quarantine(index: pd.DataFrame, parts: Sequence[Path]) -> Iterator[list[Any]]:
    """Yield the header and one row for everything that gave no crop, in the order of the index."""
    yield list(QUARANTINE_COLUMNS)
    for path, part in zip(index["path"], parts, strict=True):
        known = _read_part(part)
        if known["broken"] is not None:
            yield [path, "", known["broken"]]
        for number, reason in known["missed"]:
            yield [path, number, reason]


def _check_no_empty_cell(index: pd.DataFrame, store: FaceStore) -> None:
    wanted = index[["method", "split"]].drop_duplicates().itertuples(index=False, name=None)
    got = set(store.manifest[["method", "split"]].itertuples(index=False, name=None))
    for method, split in wanted:
        if (method, split) not in got:
            raise DidError(
                f"No face was found in any video of {method!r} in the split {split!r}, so that {store.root} cannot be "
                f"finished; look at those videos ({store.root / 'quarantine.csv'} says what was wrong)."
            )
