"""Writing a stand-in: people, forgeries, one camera for all, the official folders, and what was changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from did.data import masks
from did.data.layout import MARK
from did.data.table import read_csv
from did.errors import DidError, nearest
from did.standin import camera
from did.standin.animate import animate
from did.standin.drawn import DrawnBank
from did.standin.layouts import LAYOUTS, SPLITS, Item, Plan
from did.standin.portraits import PortraitBank
from did.standin.worlds import layout_in
from did.standin.worlds import world as world_of
from did.utils.processes import spawn
from did.utils.workers import check_start, cores

#: Raise it with every change that changes the clips, so that an old stand-in on disk is recognised.
GENERATOR = 6
#: The table of how each file was made (see `made`).
RECORD = "made.csv"
#: What a world adds to the seed, so that no two worlds share people or motions for any seed in use.
WORLD_APART = 1_000_003
#: Sizes are multiples of this, which the warps work in, and at least `SMALLEST`.
STEP, SMALLEST = 4, 96
PEOPLE: Mapping[str, int] = {"train": 40, "val": 12, "test": 20}
Bank = DrawnBank | PortraitBank


@dataclass(frozen=True)
class _Job:
    """Files that share people, and everything that decides them."""

    root: Path
    name: str
    bank: Bank
    items: list[Item]
    frames: int
    size: int
    seed: int
    world: int


def _write_group(job: _Job) -> int:
    """Write the files of a group and their masks; return the number of files."""
    layout = layout_in(job.world, job.name)
    crf = world_of(job.world).crf if job.world else 23

    def rng(what: int, *whom: int) -> np.random.Generator:
        # Each clip has generators of its own, so that nothing depends on the order of the work.
        return np.random.default_rng([job.seed, layout.salt + what, *whom])

    people = {who for item in job.items for who in (item.target, item.donor) if who is not None}
    clips = {who: animate(job.bank.still(who), rng(3, who), job.frames, job.size) for who in sorted(people)}
    for item in job.items:
        number, frames = 0, clips[item.target].frames
        if item.method is not None and item.donor is not None:
            number = 1 + list(layout.methods).index(item.method)
            forge, whom = layout.methods[item.method], (item.target, item.donor, number - 1)
            frames, changed = forge(clips[item.target], clips[item.donor], rng(4, *whom))
            masks.save(job.root, item.path, changed)
        shot = camera.shoot(layout.camera, frames, rng(5, item.target), rng(6, item.target, number))
        camera.save(job.root / item.path, shot, crf)
    return len(job.items)


def write(
    name: str,
    root: str | Path,
    people: Mapping[str, int] = PEOPLE,
    frames: int = 12,
    faces: str | Path | None = None,
    seed: int = 0,
    size: int | None = None,
    workers: int | None = None,
    progress: bool = True,
    fewer: bool = False,
    world: int = 0,
) -> None:
    """Write a stand-in in a data set's own layout, from faces that may be forged.

    Clips are H.264, crf 23, 25 frames/s; pictures PNG (dffd) or JPEG (diff). Real and forged files go through one
    camera and one codec. `standin.json` says how the set was made and marks the folder as a stand-in, `made.csv` how
    each file was made, and `masks/` what was changed (`did.standin.mask`). Nobody is in two splits; sets to
    train on (ffpp, dffd) and sets to test on after that (cdf2, diff) share nobody. The same arguments give the same
    bytes with any number of workers. Everything is written beside `root` and moved there at the end.

    Args:
        name: `ffpp`, `cdf2`, `dffd` or `diff`.
        root: the folder to make; it must not exist, or be empty.
        people: how many people each of the splits train, val and test gets; even numbers, since they are paired.
            In cdf2 the reader parts train and val anew, and a fifth more people are there who are never forged;
            diff has no train.
        frames: frames per clip; pictures have one.
        faces: a folder of portraits (see `did.standin.portraits`); None draws the faces by code.
        seed: another seed, other people, motions and forgeries.
        size: side of the square frames in pixels, a multiple of 4; None for the layout's own.
        workers: processes; None for one a core, 1 for none beside this one.
        progress: show a bar, one step a file.
        fewer: where the folder has too few people, reduce the splits in proportion; else that is an error.
        world: another one has other people, forgeries and cameras, see `did.standin.worlds`.

    Raises:
        DidError: If there is an unknown name; an odd or impossible number; `root` is not empty; the folder of portraits
            does not do.
    """
    if name not in LAYOUTS:
        raise DidError(f"unknown stand-in '{name}': {nearest(name, LAYOUTS)}")
    layout, root = layout_in(world, name), Path(root)
    size = layout.size if size is None else size
    if set(people) != set(SPLITS) or any(n < 2 or n % 2 for n in people.values()):
        raise DidError(f"people is {dict(people)}; train, val and test each need an even number of at least 2.")
    if frames < 1 or size < SMALLEST or size % STEP or (workers is not None and workers < 1):
        raise DidError(
            f"frames is {frames}, size {size} and workers {workers}; frames and workers start at 1, and size is a "
            f"multiple of {STEP} from {SMALLEST}."
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DidError(f"There is something in {root} already; name a new folder for the stand-in or remove it.")
    seed += world * WORLD_APART
    bank: Bank = DrawnBank(seed, layout.part) if faces is None else PortraitBank(faces, seed, layout.part)
    plan = _fitting(name, people, bank, faces, fewer)

    draft = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        for path, text in plan.lists.items():
            (draft / path).parent.mkdir(exist_ok=True)
            (draft / path).write_text(text, encoding="utf-8")
        mark = {
            "stand_in_for": layout.title,
            "generator": GENERATOR,
            "seed": seed,
            "people": dict(plan.people),
            "frames": 1 if layout.stills else frames,
            "size": size,
            "bank": bank.name,
            "attribution": bank.attribution,
            "identities": {plan.names[k]: bank.identity(k) for k in sorted(plan.names)},
            **({"world": world_of(world).described()} if world else {}),
        }
        (draft / MARK).write_text(json.dumps(mark, indent=2, ensure_ascii=False), encoding="utf-8")
        _record(plan).to_csv(draft / RECORD, index=False)
        count = 1 if layout.stills else frames
        jobs = [_Job(draft, name, bank, group, count, size, seed, world) for group in plan.groups]
        total = sum(len(group) for group in plan.groups)
        with tqdm(total=total, desc=f"stand-in {name}", unit="file", disable=not progress) as bar:
            _run(jobs, workers or cores(), bar)
        if root.exists():
            root.rmdir()
        os.replace(draft, root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fitting(name: str, people: Mapping[str, int], bank: Bank, faces: str | Path | None, fewer: bool) -> Plan:
    """Plan for `people`, or for as many as the bank has."""
    plan = LAYOUTS[name].plan(people)
    if (found := bank.find(len(plan.names))) == len(plan.names):
        return plan
    whose = f"The folder {faces} has {found} {LAYOUTS[name].part} people with a face"
    if not fewer:
        raise DidError(f"{whose} and the set needs {len(plan.names)}; ask for fewer people or add portraits.")
    while len(plan.names) > found and max(people.values()) > 2:
        share = found / len(plan.names)
        largest = max(people.values())
        smaller = {split: max(2, 2 * int(n * share / 2)) for split, n in people.items()}
        # Rounding may leave all as it was; then the largest split gives two.
        people = smaller if smaller != people else {s: n - 2 * (n == largest) for s, n in people.items()}
        plan = LAYOUTS[name].plan(people)
    if len(plan.names) > found:
        raise DidError(f"{whose}; two for each split are the least ({len(plan.names)}).")
    return plan


def _record(plan: Plan) -> pd.DataFrame:
    rows = []
    for group in plan.groups:
        real = {item.target: item.path for item in group if item.method is None}
        for item in group:
            donor = "" if item.donor is None else plan.names[item.donor]
            rows.append([item.path, item.method or "", plan.names[item.target], donor, real[item.target]])
    return pd.DataFrame(rows, columns=["path", "method", "target", "donor", "real"])


def made(root: str | Path) -> pd.DataFrame:
    """Tabulate how each file of a stand-in was made: one row per file.

    Returns:
        Columns path, method ("" for real), target and donor (the layout's names of the people, donor "" for real) and
        real (path of the target's real file).

    Raises:
        DidError: If the folder is not a stand-in, or one of an older version.
    """
    file = Path(root) / RECORD
    if not file.is_file():
        raise DidError(f"There is no {RECORD} in {root}; give the folder of a stand-in, or write it anew.")
    return read_csv(file)


def _one_thread() -> None:
    """Compute in one thread per process.

    More would only compete, and sums over several threads may round differently.
    """
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
                    bar.update(_write_group(job))
        finally:
            cv2.setNumThreads(threads)
        return
    check_start()
    with ProcessPoolExecutor(workers, mp_context=spawn(), initializer=_one_thread) as pool:
        try:
            for done in as_completed([pool.submit(_write_group, job) for job in jobs]):
                bar.update(done.result())
        except BrokenProcessPool as error:
            raise DidError(
                "A worker that writes the stand-in ended early: it says why above, or it was killed, most often for "
                "lack of memory; then write it with fewer workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
