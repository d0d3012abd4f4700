"""Writing a stand-in for FF++: people, pairs, forgeries, one camera for all, the official folders."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from did.data.standin.animate import animate
from did.data.standin.drawn import DrawnBank
from did.data.standin.forge import METHODS
from did.data.standin.landmarks import Image
from did.data.standin.portraits import PortraitBank
from did.data.video import write_clip
from did.errors import DidError

#: Raise it with every change that changes the clips, so that an old stand-in on disk is recognised.
GENERATOR = 1
#: The file that says how a stand-in was made; a folder that holds it is a stand-in.
MARK = "standin.json"
PEOPLE: Mapping[str, int] = {"train": 40, "val": 12, "test": 20}
REAL = "original_sequences/youtube/c23/videos"
FAKE = "manipulated_sequences/{}/c23/videos"


def camera(frames: Image, taste: np.random.Generator, rng: np.random.Generator) -> Image:
    """What a camera makes of clean frames (n, h, w, 3): tone, lens blur, sensor grid, noise.

    `taste` decides which camera it is (the same one for a person's real and forged clips), `rng` its noise.
    """
    gamma, gain = taste.uniform(0.85, 1.2), taste.uniform(0.92, 1.08) * taste.normal(1, 0.02, 3)
    blur, grid, grain = taste.uniform(0.3, 0.6), taste.uniform(0.85, 1.0), taste.uniform(0.8, 2.5)
    tone = np.clip((np.arange(256)[:, None] / 255) ** gamma * gain, 0, 1) * 255
    size = frames.shape[1]
    out = []
    for frame in frames:
        image = cv2.LUT(frame, tone[:, None].astype(np.float32))
        image = cv2.GaussianBlur(image, (0, 0), blur)
        few = round(size * grid)
        image = cv2.resize(
            cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_CUBIC
        )
        image += grain * rng.standard_normal((size, size, 1), dtype=np.float32)
        out.append(np.clip(image + 0.5, 0, 255).astype(np.uint8))
    return np.stack(out)


@dataclass(frozen=True)
class _Job:
    """One pair of people and where their ten clips go."""

    root: Path
    bank: DrawnBank | PortraitBank
    pair: tuple[int, int]
    frames: int
    size: int
    seed: int


def _write_pair(job: _Job) -> int:
    """Write the real clips of a pair and its forgeries both ways; returns how many clips."""

    def rng(*what: int) -> np.random.Generator:
        # Each clip has generators of its own, so that nothing depends on the order of the work.
        return np.random.default_rng([job.seed, *what])

    clips = {who: animate(job.bank.still(who), rng(3, who), job.frames, job.size) for who in job.pair}
    written = 0
    for target, donor in (job.pair, job.pair[::-1]):
        videos = {REAL + f"/{target:03d}.mp4": clips[target].frames}
        for number, (method, forgery) in enumerate(METHODS.items()):
            forged, _ = forgery(clips[target], clips[donor], rng(4, target, donor, number))
            videos[FAKE.format(method) + f"/{target:03d}_{donor:03d}.mp4"] = forged
        for number, (path, frames) in enumerate(videos.items()):
            write_clip(job.root / path, camera(frames, rng(5, target), rng(6, target, number)))
            written += 1
    return written


def write_ffpp(
    root: str | Path,
    people: Mapping[str, int] = PEOPLE,
    frames: int = 12,
    faces: str | Path | None = None,
    seed: int = 0,
    size: int = 256,
    workers: int | None = None,
    progress: bool = True,
    fewer: bool = False,
) -> None:
    """Write a stand-in for FF++ in FF++'s own layout, from faces that may be forged.

    The clips (H.264, crf 23, 25 frames/s) lie under `original_sequences/youtube/c23/videos` and
    `manipulated_sequences/<method>/c23/videos`, the pair lists under `splits`; `standin.json` says how the set was
    made and marks the folder as a stand-in. Nobody is in two splits. The same arguments give the same bytes with any
    number of workers. Everything is written beside `root` and moved there at the end.

    Args:
        root: the folder to make; it must not exist, or be empty.
        people: how many people each of the splits train, val and test gets; even numbers, since FF++ pairs them.
        frames: frames a clip.
        faces: a folder of portraits (see `did.data.standin.portraits`); None draws the faces by code.
        seed: another seed, other people, motions and forgeries.
        size: side of the square frames in pixels; a multiple of 4.
        workers: processes; None for one a core, 1 for none beside this one.
        progress: show a bar, one step a clip.
        fewer: where the folder has too few people, reduce the splits in proportion; else that is an error.

    Raises:
        DidError: an odd or impossible number; `root` holds something; the folder of portraits does not do.
    """
    root = Path(root)
    if set(people) != {"train", "val", "test"} or any(n < 2 or n % 2 for n in people.values()):
        raise DidError(f"people is {dict(people)}; train, val and test each need an even number of at least 2.")
    if frames < 1 or size < 96 or size % 4 or (workers is not None and workers < 1):
        raise DidError(
            f"frames is {frames}, size {size} and workers {workers}; frames and workers start at 1, and size is a "
            "multiple of 4 from 96."
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DidError(f"There is something in {root} already; name a new folder for the stand-in or remove it.")
    total = sum(people.values())
    bank: DrawnBank | PortraitBank = DrawnBank(seed) if faces is None else PortraitBank(faces, seed)
    if (found := bank.find(total)) < total:
        if not fewer:
            raise DidError(
                f"The folder {faces} has {found} people with a face and the set needs {total}; ask for fewer people or "
                "add portraits."
            )
        people = {split: max(2, 2 * (n * found // total // 2)) for split, n in people.items()}
        if (total := sum(people.values())) > found:
            raise DidError(f"The folder {faces} has {found} people with a face; two for each split are the least.")
    numbers = iter(range(total))
    pairs = {split: [(next(numbers), next(numbers)) for _ in range(n // 2)] for split, n in people.items()}
    everyone = [pair for split in pairs.values() for pair in split]

    draft = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        (draft / "splits").mkdir()
        for split, listed in pairs.items():
            names = [[f"{a:03d}", f"{b:03d}"] for a, b in listed]
            (draft / "splits" / f"{split}.json").write_text(json.dumps(names, indent=2), encoding="utf-8")
        made = {
            "stand_in_for": "FaceForensics++",
            "generator": GENERATOR,
            "seed": seed,
            "people": dict(people),
            "frames": frames,
            "size": size,
            "bank": bank.name,
            "attribution": bank.attribution,
            "identities": {f"{k:03d}": bank.identity(k) for k in range(total)},
        }
        (draft / MARK).write_text(json.dumps(made, indent=2, ensure_ascii=False), encoding="utf-8")
        jobs = [_Job(draft, bank, pair, frames, size, seed) for pair in everyone]
        with tqdm(total=total * (1 + len(METHODS)), desc="stand-in", unit="clip", disable=not progress) as bar:
            _run(jobs, workers or os.cpu_count() or 1, bar)
        if root.exists():
            root.rmdir()
        os.replace(draft, root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _one_thread() -> None:
    """One thread a process: more would only compete, and sums over several threads may round otherwise."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _run(jobs: list[_Job], workers: int, bar: tqdm) -> None:
    workers = min(workers, len(jobs))
    if workers == 1:
        threads = cv2.getNumThreads()
        try:
            cv2.setNumThreads(1)
            with threadpool_limits(1):
                for job in jobs:
                    bar.update(_write_pair(job))
        finally:
            cv2.setNumThreads(threads)
        return
    # Fork would copy the threads of torch and OpenCV in an unknown state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        try:
            for done in as_completed([pool.submit(_write_pair, job) for job in jobs]):
                bar.update(done.result())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
