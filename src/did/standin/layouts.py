"""What the stand-ins differ in: which files a layout has, of whom, made how, seen by which camera.

A plan says all that will be written, before anything is drawn: groups of `Item` that share their people, and the
list files. Within a split everybody is a target once and a donor once, so nobody is in two splits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from did.data.cdf2 import VALIDATION
from did.data.layout import rank
from did.standin import camera as cameras
from did.standin.diffusion import METHODS_DIFF
from did.standin.forge import METHODS, METHODS_CDF2, Forgery
from did.standin.synthesis import METHODS_DFFD

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Item:
    """A file to write: a real one of `target`, or a forgery by `method` of `target` and `donor`."""

    path: str
    target: int
    donor: int | None = None
    method: str | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that a stand-in contains.

    Attributes:
        people: how many people each split has.
        groups: the items, those that share people together.
        names: person number -> the name that the layout gives them; every person is there.
        lists: path -> content of the layout's list files.
    """

    people: Mapping[str, int]
    groups: list[list[Item]]
    names: Mapping[int, str]
    lists: Mapping[str, str]


@dataclass(frozen=True)
class Layout:
    """What makes a stand-in look like a certain data set.

    Attributes:
        title: the data set's name.
        part: of the bank: "seen" for sets to train on, "unseen" for sets to test on after that.
        methods: the forgeries, by the method's name.
        camera: what all its pictures go through.
        size: side of the square pictures in pixels, unless another is asked for.
        stills: one picture a file instead of a clip.
        salt: keeps the random streams of the layouts apart.
        plan: people per split -> `Plan`.
    """

    title: str
    part: str
    methods: Mapping[str, Forgery]
    camera: cameras.Camera
    size: int
    stills: bool
    salt: int
    plan: Callable[[Mapping[str, int]], Plan]


def _rings(people: Sequence[int]) -> list[list[int]]:
    """Group people in pairs; the last three form a ring if the number is odd.

    In a ring each person is the donor of the one before.
    """
    rings = [list(people[k : k + 2]) for k in range(0, len(people), 2)]
    if len(rings) > 1 and len(rings[-1]) == 1:
        rings[-2:] = [rings[-2] + rings[-1]]
    return rings


def _couples(ring: Sequence[int]) -> list[tuple[int, int | None]]:
    """Return (target, donor) of a ring; a single person has no donor."""
    if len(ring) == 1:
        return [(ring[0], None)]
    return list(zip(ring, [*ring[1:], ring[0]], strict=True))


def _by_split(people: Mapping[str, int]) -> dict[str, list[int]]:
    numbers = iter(range(sum(people.values())))
    return {split: [next(numbers) for _ in range(people[split])] for split in SPLITS}


def _group(ring: Sequence[int], real: str, fake: str, methods: Mapping[str, Forgery]) -> list[Item]:
    """List everybody of a ring as a real item and as forged by every method.

    `real` and `fake` are path templates.
    """
    group = []
    for target, donor in _couples(ring):
        group.append(Item(real.format(target=target), target))
        for method in methods:
            group.append(Item(fake.format(method=method, target=target, donor=donor), target, donor, method))
    return group


def plan_ffpp(people: Mapping[str, int]) -> Plan:
    """Plan FF++: clips and lists of pairs."""
    groups, lists = [], {}
    for split, numbers in _by_split(people).items():
        rings = _rings(numbers)
        lists[f"splits/{split}.json"] = json.dumps([[f"{a:03d}" for a in ring] for ring in rings], indent=2)
        for ring in rings:
            real = "original_sequences/youtube/c23/videos/{target:03d}.mp4"
            fake = "manipulated_sequences/{method}/c23/videos/{target:03d}_{donor:03d}.mp4"
            groups.append(_group(ring, real, fake, METHODS))
    return Plan(dict(people), groups, {k: f"{k:03d}" for k in range(sum(people.values()))}, lists)


def plan_cdf2(people: Mapping[str, int]) -> Plan:
    """Plan Celeb-DF: clips, and the list of test clips.

    A fifth as many people again are filmed for YouTube-real and never forged. There is no list for val: the reader
    (`did.data.cdf2`) parts the other people by their names' rank. Donors are chosen on a target's own side, so that
    it need not leave out any forgery.
    """
    rest, test = people["train"] + people["val"], people["test"]
    extra, extra_test = max(1, rest // 5), max(1, test // 5)
    names = {k: f"id{k}" for k in range(rest + test)}
    names |= {rest + test + k: f"YouTube-real/{k:05d}" for k in range(extra + extra_test)}
    tested = {*range(rest, rest + test), *range(rest + test + extra, len(names))}
    ranked = sorted(set(names) - tested, key=lambda k: rank(names[k]))
    val = set(ranked[VALIDATION - 1 :: VALIDATION])
    sides = {"train": set(ranked) - val, "val": val, "test": tested}
    groups = []
    for side in sides.values():
        for ring in _rings(sorted(k for k in side if k < rest + test)):
            group = []
            for a, b in _couples(ring):
                group.append(Item(f"Celeb-real/{names[a]}_0000.mp4", a))
                if b is not None:
                    group.append(Item(f"Celeb-synthesis/{names[a]}_{names[b]}_0000.mp4", a, b, "Celeb-synthesis"))
            groups.append(group)
    groups += [[Item(f"{names[k]}.mp4", k)] for k in range(rest + test, len(names))]
    # Their list says 1 for real and ends without a new line.
    lines = [f"{int(i.method is None)} {i.path}" for group in groups for i in group if i.target in tested]
    counts = {split: len(side) for split, side in sides.items()}
    return Plan(counts, groups, names, {"List_of_testing_videos.txt": "\n".join(lines)})


def plan_dffd(people: Mapping[str, int]) -> Plan:
    """Plan DFFD: pictures, with a folder for each subset and split."""
    folders = {"train": "train", "val": "validation", "test": "test"}
    groups = []
    for split, numbers in _by_split(people).items():
        for ring in _rings(numbers):
            name = f"{folders[split]}/{{target:05d}}.png"
            groups.append(_group(ring, f"ffhq/{name}", f"{{method}}/{name}", METHODS_DFFD))
    return Plan(dict(people), groups, {k: f"{k:05d}" for k in range(sum(people.values()))}, {})


def plan_diff(people: Mapping[str, int]) -> Plan:
    """Plan DiFF: pictures, with a folder for each split and kind of forgery.

    It has no forgeries for training, and its readers leave out a split that has only real pictures, so nobody is used
    for training.
    """
    people = {**people, "train": 0}
    groups = []
    for split, numbers in _by_split(people).items():
        for ring in _rings(numbers):
            real = f"DiFF_real/{split}/{{target:05d}}.jpg"
            fake = f"{split}/{{method}}/stand-in/{{target:05d}}.jpg"
            groups.append(_group(ring, real, fake, METHODS_DIFF))
    return Plan(people, groups, {k: f"{k:05d}" for k in range(sum(people.values()))}, {})


LAYOUTS: dict[str, Layout] = {
    "ffpp": Layout("FaceForensics++", "seen", METHODS, cameras.VIDEO, 256, False, 0, plan_ffpp),
    "cdf2": Layout("Celeb-DF v2", "unseen", METHODS_CDF2, cameras.PHONE, 384, False, 100, plan_cdf2),
    "dffd": Layout("DFFD", "seen", METHODS_DFFD, cameras.STILL, 256, True, 200, plan_dffd),
    "diff": Layout("DiFF", "unseen", METHODS_DIFF, cameras.PRESS, 256, True, 300, plan_diff),
}
