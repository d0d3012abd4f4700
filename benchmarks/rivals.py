"""python benchmarks/rivals.py [--pairs 3] [--quick] [--json [FILE]]

The cost of each system of Tables 1 and 2 as a ratio to plain binary cross-entropy on the same backbone, at the sizes of
preset laptop, measured in one process with the two sides taking turns: a training step (with its optimiser), and the
time at test. Weights are random, and faces are noise: they cost the same. What a batch costs before the step, such as
making self-blended images, is not in it; DIRE-small's step is that of its classifier, whose images are rebuilt.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from side_by_side import Call, finish, parser, take_turns
from torch import Tensor

from did.paper.definition import Row
from did.paper.experiments import EXPERIMENTS
from did.settings import Settings
from did.task import Task, options_of, task_named
from did.training.loop import MovingAverage, optimizer_for
from did_book.pages.costs import row

BATCH, CASE = 15, {False: "laptop", True: "smoke"}
SLOW = {"NoiseDF": 1, "DIRE-small": 1, "FDML": 1}


def build(of: Row, preset: str) -> tuple[Task, dict[str, Tensor]]:
    torch.manual_seed(0)
    kind = task_named(str(of.task))
    settings = Settings.of({**of.settings(preset, 0, "ffpp").as_dict(), "pretrained": "none"})
    task, wants, size = kind(settings, 5, options_of(kind, of.options_at(preset))), kind.wants, settings.image_size
    domain = torch.arange(BATCH) % 5
    lead = (BATCH, wants.frames) if wants.frames > 1 else (BATCH,)
    batch = {"image": torch.rand(*lead, wants.channels, size, size), "domain": domain, "label": (domain > 0).long()}
    if wants.masks:
        batch["mask"] = torch.rand(BATCH, 1, size, size)
    if wants.context is not None:
        batch["context"] = torch.rand(BATCH, wants.channels, size, size)
    if wants.blended:  # as many images as the others see
        half = (BATCH + 1) // 2
        batch = {"image": batch["image"][:half], "blended": torch.rand(half, wants.channels, size, size)}
    return task, batch


def training(of: Row, preset: str) -> Call:
    task, batch = build(of, preset)
    optimizer, mean = optimizer_for(task), MovingAverage(task, task.settings.averaging)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        task(batch, 0.9, 0).total.backward()
        optimizer.step()
        mean.update()

    return step


def testing(of: Row, preset: str) -> Call:
    task, batch = build(of, preset)
    detector = task.eval().detector()
    given = [batch[name] for name in ("image", "context") if name in batch]
    if task.wants.blended:
        given = [torch.cat([batch["image"], batch["blended"]])[:BATCH]]

    @torch.inference_mode()
    def forward() -> Tensor:
        return detector(*given)

    return forward


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--pairs", type=int, default=3)
    options = found.parse_args()
    preset = CASE[options.quick]
    rows = {of.name: of for of in EXPERIMENTS["table1_intra_cross"].rows if of.task}
    bce, settings, made = rows.pop("BCE"), Settings.preset(preset), []
    sides: dict[str, Callable[[Row, str], Call]] = {"training step": training, "test time": testing}
    for name, of in rows.items():
        if (of.task, of.changes) == ("bce", {}):  # Xception, which is BCE below preset paper
            continue
        for what, side in sides.items():
            pairs = 1 if options.quick else SLOW.get(name, options.pairs)
            times = take_turns(side(of, preset), side(bce, preset), pairs, f"{what}, {name}", warm=1)
            case = f"{settings.backbone}, {settings.image_size} px, batch {BATCH}"
            made.append(replace(row(what, case, (name, "BCE"), "cost", times), note=""))
    finish(made, options)


if __name__ == "__main__":
    main()
