"""python benchmarks/loader.py [--steps 40] [--pairs 5] [--backbones tf_efficientnet_lite0 tf_efficientnetv2_l]
                            [--quick] [--json [FILE]]

What reading the crops costs, in training and in scoring.

Training: the share of its time that it waits for the loader, the seconds in `next(loader)` over those of the whole
iteration (loading, step, and reading the losses, which ends a GPU's work), iteration by iteration. The loader and its
number of workers are those of `did.training.loop.fit`: none on the CPU, where the crops are read in the training
process itself. The crops are those of the stand-in of FF++, RGB PNG files of the size that the network takes: 112 px at
preset laptop, 224 px at preset paper. They lie in the page cache; a slow disk is not measured.

Scoring: `did.training.loop.score` of DID's test-time graph on crops, over the same graph on batches of the same size
that are on the device already; images/s stand beside it. Batches and workers are what `score` takes on the device.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from side_by_side import finish, parser, take_turns
from tqdm.auto import tqdm

from did import standin
from did.data import ffpp
from did.data.loading import Faces, batches
from did.data.prepare import prepare
from did.data.store import FaceStore
from did.method.task import DIDTask
from did.settings import Settings
from did.training import loop
from did.utils import distributed
from did_book.pages.costs import Row, row

CASES = {"tf_efficientnet_lite0": 112, "tf_efficientnetv2_l": 224, "test_efficientnet": 64}
# Each step of v2_l takes 13 s on 2 cores.
STEPS = {"tf_efficientnetv2_l": 0.1}
# Images that the CPU scores, on which v2_l takes .2 s for each, and the part of the pairs that are asked for.
IMAGES, PAIRS = {"tf_efficientnetv2_l": 64}, {"tf_efficientnetv2_l": 0.2}
ON_GPU = 4096
MAX_SHARE = 0.05
PEOPLE, FRAMES = {"train": 6, "val": 4, "test": 4}, 4


def store_of(videos: Path, size: int) -> FaceStore:
    if not videos.exists():
        standin.write("ffpp", videos, PEOPLE, FRAMES)
    return prepare(ffpp.index(videos), videos, videos.with_name(f"faces{size}"), FRAMES, size)


def waits(backbone: str, store: FaceStore, steps: int) -> tuple[list[tuple[float, float]], int]:
    """Return the seconds in the loader and in total for each iteration but the first two, and the number of workers."""
    torch.manual_seed(0)
    settings = Settings(backbone=backbone, pretrained="none", image_size=CASES[backbone])
    faces = Faces(store.manifest[store.manifest.split == "train"], store.root, settings.image_size)
    task, fabric = DIDTask(settings, len(faces.domain_names)), Fabric(accelerator="auto", devices=1)
    module, optimizer = fabric.setup(task, loop.optimizer_for(task))
    workers = distributed.loader_workers(fabric.device)
    drawn = batches(faces, settings.batch_size, steps + 2, settings.seed, num_workers=workers)
    loader = iter(fabric.setup_dataloaders(drawn, use_distributed_sampler=False))
    found = []
    for _ in tqdm(range(steps + 2), desc=backbone, leave=False):
        start = time.perf_counter()
        batch = next(loader)
        loaded = time.perf_counter()
        step = loop.train_step(fabric, module, optimizer, lambda: module(batch, 0.5, 0))  # noqa: B023
        assert all(np.isfinite(each) for each in step.losses.values())
        found.append((loaded - start, time.perf_counter() - start))
    return found[2:], workers


def measure(backbone: str, videos: Path, steps: int) -> Row:
    size = CASES[backbone]
    found, workers = waits(backbone, store_of(videos, size), steps)
    loading, all_of_it = (sum(each) for each in zip(*found, strict=True))
    sides = ("waiting for the loader", "an iteration of training")
    note = f"{100 * loading / all_of_it:.1f} % of the {all_of_it:.0f} s in all; {workers} workers"
    case = f"{backbone}, {size} px, batch 15"
    return row("loader", case, sides, "share", found, target=MAX_SHARE, note=note)


def scoring(backbone: str, store: FaceStore, pairs: int) -> Row:
    torch.manual_seed(0)
    settings = Settings(backbone=backbone, pretrained="none", image_size=CASES[backbone])
    device = distributed.device()
    rows = store.manifest
    images = IMAGES.get(backbone, len(rows)) if device.type == "cpu" else ON_GPU
    rows = pd.concat([rows] * (1 + images // len(rows)), ignore_index=True)[:images]
    faces = Faces(rows, store.root, settings.image_size)
    detector = DIDTask(settings, len(faces.domain_names)).detector().eval().to(device)
    sizes: list[int] = []
    hook = detector.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    loop.score(detector, faces)
    hook.remove()
    batch = torch.stack([faces[number % len(faces)]["image"] for number in range(sizes[0])]).to(device)

    @torch.inference_mode()
    def forward() -> list[torch.Tensor]:
        return [detector(batch[:size]) for size in sizes]

    sides = ("did.training.loop.score", "the forward passes alone")
    times = take_turns(lambda: loop.score(detector, faces), forward, pairs, f"scoring, {backbone}", warm=1)
    workers = distributed.loader_workers(device)
    note = f"{images} images in batches of {sizes[0]}; {workers} workers"
    found = row("scoring", f"{backbone}, {settings.image_size} px", sides, "cost", times, note=note)
    speed = tuple(images / took for took in found.seconds)
    return replace(found, more={"images/s": speed})


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--steps", type=int, default=40)
    found.add_argument("--pairs", type=int, default=5, help="of timings of scoring")
    found.add_argument("--backbones", nargs="+", default=list(CASES)[:2], choices=list(CASES))
    options = found.parse_args()
    if options.quick:
        options.backbones, options.steps, options.pairs = ["test_efficientnet"], 4, 1
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for each in options.backbones:
            videos = Path(temporary) / "ffpp"
            rows.append(measure(each, videos, max(4, round(options.steps * STEPS.get(each, 1)))))
            pairs = max(1, round(options.pairs * PAIRS.get(each, 1)))
            rows.append(scoring(each, store_of(videos, CASES[each]), pairs))
    finish(rows, options)


if __name__ == "__main__":
    main()
