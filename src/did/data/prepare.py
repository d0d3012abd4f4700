"""From the index of videos to a store of aligned face crops.

A store is a folder::

    faces/<number>.tar   shards: RGB crops of some videos each, lossless, as <video>/<frame>.png; see `places` for the
                         few videos whose id is not a path of its own
    manifest.csv         one row per crop: the table's columns and MANIFEST_COLUMNS
    quarantine.csv       path, frame, reason of everything that gave no crop
    store.json           the settings and a checksum of the videos' content; there only when all is finished

So the files of a store are few, however many pictures there are, and a network disk is asked for few of them. A shard
is an ordinary, uncompressed tar file; the manifest says at which byte of it each crop begins.

While the work goes on, `unfinished.json` replaces `store.json`, and `parts/` holds one file for each shard that is
done: the shard is written first, that file last, so that an interrupted run goes on at the next shard. The crops of one
shard at a time are in a worker's memory, however many videos there are.

Beside the store, `.<name>.seen.csv` holds the checksum of each video as this machine has read it, with what changes
when the file does. It saves reading all videos again; it may be removed.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import tarfile
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

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
# Shards handed out at a time, for each worker: enough that none waits, few enough that memory stays flat.
SHARDS_A_WORKER = 2
# Crops of a shard, at most, unless one video has more: some 10 MB, and a few seconds of work to lose. It may not depend
# on the machine, since the files of a store do not.
CROPS_A_SHARD = 256
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
        files = [root / path for path in index["path"]]
        many = max(1, CROPS_A_SHARD // frames)
        shards = [
            _Shard(store, first // many, tuple(files[first : first + many]), tuple(where[first : first + many]))
            for first in range(0, len(index), many)
        ]
        left = [shard for shard in shards if not shard.is_done(stamps[shard.number * many :])]
        jobs = [(shard, frames, size, margin, face) for shard in left]
        videos = sum(len(shard.files) for shard in left)
        with (
            tqdm(
                total=len(index), initial=len(index) - videos, unit=" videos", desc="faces", disable=not progress
            ) as bar,
            _executor(jobs, videos * frames, workers, cluster) as (executor, at_once),
        ):
            for done in _run(jobs, executor, at_once):
                bar.update(done)
        if strict:
            _refuse_broken(index, root, shards)
        _check_crops(shards, progress)
        write_atomically(store / "index.csv", lambda file: tables.save(index, file))
        write_atomically(store / "manifest.csv", lambda file: _write_rows(file, _manifest(index, shards)))
        write_atomically(store / "quarantine.csv", lambda file: _write_rows(file, _quarantine(index, shards)))
        _check_no_empty_cell(index, FaceStore(store))
        read = list(_parts(shards))
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
        for folder in (store, store / "faces"):
            for left in folder.glob(".*.tmp"):  # What a process that was killed in `write_atomically` left.
                left.unlink()
        (store / "unfinished.json").unlink(missing_ok=True)


def _note(file: Path, settings: dict[str, Any]) -> None:
    text = json.dumps(settings, indent=1) + "\n"
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))


@dataclasses.dataclass(frozen=True)
class _Shard:
    """Some videos of a store, and the files that hold their crops and what is known of them.

    Attributes:
        store: its folder.
        number: of the shard.
        files: of the videos.
        places: the folder of each video in the shard, see `places`.
    """

    store: Path
    number: int
    files: tuple[Path, ...]
    places: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"faces/{self.number:06d}.tar"

    @property
    def file(self) -> Path:
        return self.store / self.name

    @property
    def part(self) -> Path:
        """The file that is there if the shard is finished."""
        return self.store / "parts" / f"{self.number:06d}.json"

    def read(self) -> list[dict[str, Any]]:
        """Read what is known of each video: stamp and sha256 of its file, found, missed, notes, and broken.

        `broken` is the reason, or None.
        """
        return json.loads(self.part.read_text(encoding="utf-8"))

    def is_done(self, stamps: Sequence[str]) -> bool:
        """Return whether the shard is finished, from this content of its videos.

        One with a video that did not decode is made again, because the file may have been repaired.

        Args:
            stamps: of its files, and more.
        """
        if not self.part.is_file() or not self.file.is_file():
            return False
        return all(
            known["broken"] is None and ((stamp != "" and stamp == known["stamp"]) or _digest(file) == known["sha256"])
            for known, file, stamp in zip(self.read(), self.files, stamps, strict=False)
        )


def _parts(shards: Iterable[_Shard]) -> Iterator[dict[str, Any]]:
    """Yield what is known of each video, in the order of the index."""
    for shard in shards:
        yield from shard.read()


@contextlib.contextmanager
def _executor(
    jobs: Sequence[tuple], frames: int, workers: int | None, cluster: str | None
) -> Iterator[tuple[Executor | None, int]]:
    """Return what runs the jobs (None for this process) and how many of them to submit at a time.

    Args:
        jobs, workers, cluster: see `prepare`.
        frames: of all jobs together.
    """
    if cluster is not None:
        with dask_client(cluster) as client:
            yield client.get_executor(pure=False), SHARDS_A_WORKER * max(1, len(client.ncores()))
        return
    if workers is None:
        workers = min(cores(), 1 + frames // FRAMES_A_WORKER)
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield None, 1
        return
    pool = ProcessPoolExecutor(workers, mp_context=spawn(), initializer=_start_worker)
    try:
        yield pool, SHARDS_A_WORKER * workers
    except BrokenProcessPool as error:
        raise DidError(
            "A worker of the preparation ended early: it says why above, or it was killed, most often for lack of "
            "memory; then run again with fewer workers (it resumes where it stopped)."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _run(jobs: Sequence[tuple], executor: Executor | None, at_once: int) -> Iterator[int]:
    """Run all jobs, a limited number at a time; yield the number of videos of each finished one."""
    if executor is None:
        for job in jobs:
            yield _prepare_shard(*job)
        return
    waiting = set()
    for job in jobs:
        waiting.add(executor.submit(_prepare_shard, *job))
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


def _prepare_shard(shard: _Shard, frames: int, size: int, margin: float, face: str) -> int:
    """Write the crops of a shard's videos, then its part; return the number of videos."""
    done = [_prepare_video(file, place, frames, size, margin, face)
            for file, place in zip(shard.files, shard.places, strict=True)]  # fmt: skip

    def fill(file: Path) -> None:
        # Nothing of the machine or the time is in the headers, and any name is written in UTF-8.
        with tarfile.open(file, "w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
            for _, crops in done:
                for name, png in crops.items():
                    about = tarfile.TarInfo(name.removeprefix("faces/"))
                    about.size = len(png)
                    tar.addfile(about, io.BytesIO(png))

    write_atomically(shard.file, fill)
    with tarfile.open(shard.file, encoding="utf-8") as tar:
        at = {f"faces/{each.name}": (shard.name, each.offset_data, each.size) for each in tar}
    known = [{**of, "found": [[*row, *at[row[1]]] for row in of["found"]]} for of, _ in done]
    text = json.dumps(known)
    write_atomically(shard.part, lambda part: part.write_text(text, encoding="utf-8"))
    return len(known)


def _prepare_video(
    file: Path, place: str, frames: int, size: int, margin: float, face: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what is known of one video or image, see `_Shard.read`, and its crops: name -> PNG."""
    stamp, content = clips.stamp(file), _digest(file)
    crops: dict[str, bytes] = {}
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
                crops[path] = png
                box = [round(float(x), 2) for x in chosen.box]
                points = [round(float(x), 3) for x in chosen.landmarks.ravel()]
                digest = hashlib.sha256(png).hexdigest()
                found.append([number, path, *box, round(chosen.probability, 6), *points, digest])
    except _Unreadable as error:
        # Without the file's folder, so that the quarantine is the same on every machine.
        broken = str(error).split(f"{file} ")[-1].removesuffix("; replace the file.")
        found, missed, crops = [], [], {}
    if not found and all(reason == NO_FACE for _, reason in missed):
        missed = [[number, f"{NO_FACE} in any sampled frame of the video"] for number, _ in missed]
    known = {"found": found, "missed": missed, "broken": broken, "notes": notes}
    return {"stamp": stamp, "sha256": content, **known}, crops


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


def _refuse_broken(index: pd.DataFrame, root: Path, shards: Sequence[_Shard]) -> None:
    reasons = {path: known["broken"] for path, known in zip(index["path"], _parts(shards), strict=True)}
    broken = [(path, reason) for path, reason in reasons.items() if reason is not None]
    if broken:
        path, reason = broken[0]
        raise DidError(
            f"{len(broken)} of {len(index)} videos cannot be read, the first, {root / path}, {reason}; fix them and "
            "run again (the others are kept), or leave `strict` out to set them aside."
        )


def _check_crops(shards: Sequence[_Shard], progress: bool) -> None:
    """Check that every crop exists and is unchanged; otherwise its shard counts as unfinished."""
    wrong = []
    for shard in tqdm(shards, unit=" shards", desc="check", disable=not progress):
        rows = [row for known in shard.read() for row in known["found"]]
        try:
            with shard.file.open("rb") as file:
                bad = [row[1] for row in rows if not _is_whole(file, *row[-4:])]
        except OSError:
            bad = [row[1] for row in rows]
        if bad:
            wrong += bad
            shard.part.unlink()
    if wrong:
        raise DidError(
            f"{len(wrong)} crops of {shards[0].store} are gone or damaged, the first {wrong[0]}, so that it cannot be "
            "finished; run again: they are cut anew."
        )


def _is_whole(file: BinaryIO, digest: str, _: str, offset: int, length: int) -> bool:
    """Return whether a crop of an open shard has its checksum; the arguments end a row of `found`."""
    file.seek(offset)
    return hashlib.sha256(file.read(length)).hexdigest() == digest


def _write_rows(file: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV as `did.data.table.save` does, one row at a time."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened, lineterminator="\n").writerows(rows)


def _manifest(index: pd.DataFrame, shards: Sequence[_Shard]) -> Iterator[list[Any]]:
    """Yield the header and one row per crop, in the order of the index."""
    yield [*tables.COLUMNS, *MANIFEST_COLUMNS]
    at = tables.COLUMNS.index("frame")
    rows = index[list(tables.COLUMNS)].itertuples(index=False, name=None)
    for row, known in zip(rows, _parts(shards), strict=True):
        for number, *values in known["found"]:
            yield [*row[:at], number, *row[at + 1 :], *values]


def _quarantine(index: pd.DataFrame, shards: Sequence[_Shard]) -> Iterator[list[Any]]:
    """Yield the header and one row for everything that gave no crop, in the order of the index."""
    yield list(QUARANTINE_COLUMNS)
    for path, known in zip(index["path"], _parts(shards), strict=True):
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
