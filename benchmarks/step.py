"""python benchmarks/step.py [--repeats 7] [--backbones tf_efficientnet_lite0 resnet50 tf_efficientnetv2_l]

The cost of DID as ratios, measured in one process with the two sides taking turns:
  training step: DID (G, A_df, A_dom, T, C and C̄, Adam) over the same backbone with BCE (G, linear, Adam);
  test time: DetectionGraph (G, A_df, C) over the bare backbone (G).
The ratio is the median over pairs of neighbouring timings, with its quartiles. Weights are random: they cost the same.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm.auto import tqdm

from did.baselines import BCETask
from did.settings import Settings
from did.tasks import DIDTask
from did.training import optimizer_for, train_step

CASES = {"tf_efficientnet_lite0": 112, "resnet50": 224, "tf_efficientnetv2_l": 224}


def training_step(fabric: Fabric, task: nn.Module, batch: dict[str, Tensor]) -> Callable[[], object]:
    module, optimizer = fabric.setup(task, optimizer_for(task))
    return lambda: train_step(fabric, module, optimizer, lambda: module(batch, 0.5, 0))


def inference(fabric: Fabric, module: nn.Module, batch: dict[str, Tensor]) -> Callable[[], object]:
    module = module.to(fabric.device).eval()

    @torch.inference_mode()
    def forward() -> Tensor:
        return module(batch["image"])

    return forward


def compare(ours: Callable[[], object], theirs: Callable[[], object], repeats: int, name: str) -> str:
    def seconds(call: Callable[[], object]) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for call in (ours, theirs, ours, theirs):
        call()
    pairs = []
    for turn in tqdm(range(repeats), desc=name, leave=False):
        first, second = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
        times = {first: seconds(first), second: seconds(second)}
        pairs.append((times[ours], times[theirs]))
    a, b = np.array(pairs).T
    low, middle, high = np.quantile(a / b, [0.25, 0.5, 0.75])
    return f"{middle:5.3f} [{low:.3f}, {high:.3f}]  ({np.median(a):.3f} s over {np.median(b):.3f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--backbones", nargs="+", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    fabric = Fabric(accelerator="auto", devices=1)
    print(f"torch {torch.__version__}, {fabric.device}, {torch.get_num_threads()} threads, batch 15, ratio [quartiles]")
    for backbone in options.backbones:
        size = CASES[backbone]
        settings = Settings(backbone=backbone, pretrained="none", image_size=size)
        generator = torch.Generator().manual_seed(0)
        batch = {
            "image": torch.rand(15, 1, size, size, generator=generator).to(fabric.device),
            "label": torch.tensor([0, 1, 1, 1, 1] * 3, device=fabric.device),
            "domain": torch.tensor([0, 1, 2, 3, 4] * 3, device=fabric.device),
        }
        did, bce = DIDTask(settings, 5), BCETask(settings)
        repeats = options.repeats * (1 if size == 224 else 10)
        steps = training_step(fabric, did, batch), training_step(fabric, bce, batch)
        print(f"{backbone:22s} {size} px  training step {compare(*steps, repeats, backbone)}", flush=True)
        tests = inference(fabric, did.detector(), batch), inference(fabric, did.model.backbone, batch)
        print(f"{backbone:22s} {size} px  test time     {compare(*tests, 3 * repeats, backbone)}", flush=True)


if __name__ == "__main__":
    main()
