"""python benchmarks/step.py [--pairs 7] [--backbones tf_efficientnet_lite0 resnet50 tf_efficientnetv2_l]
                          [--precision 32] [--peak TFLOPS] [--quick] [--json [FILE]]

The cost of DID as ratios, measured in one process with the two sides taking turns:
  training step: DID (G, A_df, A_dom, T, C and C̄, Adam) over the same backbone with BCE (G, linear, Adam);
  test time: DetectionGraph (G, A_df, C) over the bare backbone (G).
The ratio is the median over pairs of neighbouring timings, with its quartiles. Beside it stand the memory of each side
in a process of its own, images/s, and FLOP/s: of the card's peak in that precision where `--peak` gives it. Under
`--precision bf16` only the training step is measured. Weights are random: they cost the same.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from lightning_fabric import Fabric
from side_by_side import Call, finish, memory, parser, take_turns
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from did.method.task import DIDTask
from did.rivals.bce import BCETask
from did.settings import Settings
from did.training.loop import optimizer_for, train_step
from did_book.pages.costs import Row, row

CASES = {"tf_efficientnet_lite0": 112, "resnet50": 224, "tf_efficientnetv2_l": 224, "test_efficientnet": 64}
# v2_l takes 13 s a step on 2 cores; lite0 a third of a second.
PAIRS = {"tf_efficientnetv2_l": 0.5, "tf_efficientnet_lite0": 6, "test_efficientnet": 6}
BATCH = 15
MAX_TRAINING, MAX_TEST = 1.10, 1.02
NAMES = {"32": "float32", "bf16": "bfloat16"}
DID, BCE, BARE = "DID", "BCE on the same backbone", "the bare backbone"


def setting(backbone: str, precision: str) -> tuple[Fabric, Settings, dict[str, Tensor]]:
    torch.manual_seed(0)
    fabric = Fabric(accelerator="auto", devices=1)
    size = CASES[backbone]
    batch = {
        "image": torch.rand(BATCH, 1, size, size),
        "label": torch.tensor([0, 1, 1, 1, 1] * 3),
        "domain": torch.tensor([0, 1, 2, 3, 4] * 3),
    }
    settings = Settings(backbone=backbone, pretrained="none", image_size=size, precision=precision)
    return fabric, settings, {name: tensor.to(fabric.device) for name, tensor in batch.items()}


def training(side: str, backbone: str, precision: str) -> Call:
    fabric, settings, batch = setting(backbone, precision)
    task = DIDTask(settings, 5) if side == DID else BCETask(settings)
    module, optimizer = fabric.setup(task, optimizer_for(task))
    return lambda: train_step(fabric, module, optimizer, lambda: module(batch, 0.5, 0))


def testing(side: str, backbone: str, precision: str) -> Call:
    fabric, settings, batch = setting(backbone, precision)
    task = DIDTask(settings, 5)
    module = (task.detector() if side == DID else task.model.backbone).eval().to(fabric.device)

    @torch.inference_mode()
    def forward() -> Tensor:
        return module(batch["image"])

    return forward


def flops(call: Call) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return counter.get_total_flops()


def measure(
    what: str, build: Callable[..., Call], theirs: str, target: float, pairs: int, *case: str, peak: float
) -> Row:
    calls = {side: build(side, *case) for side in (DID, theirs)}
    if case[1] == "32":
        work = [flops(call) for call in calls.values()]  # also the first call of each, which is slower
    else:  # The counter cannot look under autocast; the operations are the same.
        work = [flops(build(side, case[0], "32")) for side in calls]
    times = take_turns(*calls.values(), pairs, f"{what}, {case[0]}", warm=1)
    del calls
    found = row(what, f"{case[0]}, {CASES[case[0]]} px, batch {BATCH}, {NAMES[case[1]]}", (DID, theirs), "cost", times)
    speed = [count / took / 1e9 for count, took in zip(work, found.seconds, strict=True)]
    held = memory(build, (DID, *case), (theirs, *case))
    held["more"] |= {"images/s": tuple(BATCH / took for took in found.seconds), "GFLOP/s": tuple(speed)}
    if peak:
        held["more"]["% of the card's peak"] = tuple(each / peak / 10 for each in speed)
    note = f"DID reaches {100 / found.ratio:.0f} % of the images/s of {theirs}"
    return replace(found, target=target, note=note, **held)


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--pairs", type=int, default=7)
    found.add_argument("--backbones", nargs="+", default=list(CASES)[:3], choices=list(CASES))
    found.add_argument("--precision", default="32", choices=list(NAMES), help="of the backbone in training")
    found.add_argument("--peak", type=float, default=0, metavar="TFLOPS", help="of the card, in that precision")
    options = found.parse_args()
    if options.quick:
        options.backbones, options.pairs = ["test_efficientnet"], 1
    rows = []
    for backbone in options.backbones:
        pairs = max(1, round(options.pairs * (1 if torch.cuda.is_available() else PAIRS.get(backbone, 1))))
        case = (backbone, options.precision)
        rows.append(measure("training step", training, BCE, MAX_TRAINING, pairs, *case, peak=options.peak))
        if options.precision == "32":
            rows.append(measure("test time", testing, BARE, MAX_TEST, 3 * pairs, *case, peak=options.peak))
    finish(rows, options)


if __name__ == "__main__":
    main()
