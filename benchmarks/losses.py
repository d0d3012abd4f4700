"""python benchmarks/losses.py [--sizes 15 512 8192] [--pairs 5] [--quick] [--json [FILE]]

The AUC loss of Eq. 7 and 8, forward and backward, beside a plain Python loop over pairs and beside LibAUC's
PairwiseAUCLoss with the same squared hinge; half of a batch is fake. Values and gradients of all three must agree
first. Of a batch larger than 512 the loop sees 16 fakes against all reals, and its time is scaled to all fakes; its
memory is that of this part. Scores are random.

LibAUC has requirements that this project does without, among them another build of OpenCV; `make bench` installs it
alone.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from libauc.losses import PairwiseAUCLoss
from side_by_side import Call, finish, memory, parser, take_turns
from torch import Tensor

from did.method.losses import auc_loss
from did.utils.distributed import device
from did_book.pages.costs import Row, row

MARGIN = 0.15
LARGEST_LOOP, PART = 512, 16
OURS, LOOP, LIBAUC = "did.method.losses.auc_loss", "a Python loop over pairs", "LibAUC's PairwiseAUCLoss"


def loop(scores: Tensor, labels: Tensor) -> Tensor:
    """Compute Eq. 7 and 8 as printed, one pair after the other."""
    fake, real = scores[labels == 1].unbind(), scores[labels == 0].unbind()
    total = scores.new_zeros(())
    for i in fake:
        for j in real:
            if i - j < MARGIN:
                total = total + (MARGIN - (i - j)) ** 2
    return total / (len(fake) * len(real))


def loss(side: str) -> Callable[[Tensor, Tensor], Tensor]:
    if side == LIBAUC:
        return PairwiseAUCLoss("squared_hinge", hparam=MARGIN)
    return {OURS: lambda scores, labels: auc_loss(scores, labels, MARGIN, 2.0), LOOP: loop}[side]


def batch(size: int, fakes: int | None = None) -> tuple[Tensor, Tensor]:
    """Draw scores and labels, half of them fake; of the fakes only the first `fakes`."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(size) % 2).flip(0)
    scores = torch.randn(size, generator=generator) + 0.3 * labels
    keep = (labels == 0) | (labels.cumsum(0) <= (fakes or size))
    return scores[keep].to(device()).requires_grad_(), labels[keep].to(device())


def part_of(side: str, size: int) -> int | None:
    return PART if side == LOOP and size > LARGEST_LOOP else None


def both_ways(side: str, size: int) -> Call:
    scores, labels = batch(size, part_of(side, size))
    function = loss(side)
    return lambda: torch.autograd.grad(function(scores, labels), scores)


def check(size: int) -> None:
    """Check that all three give the same value and gradient on the inputs of the slowest of them."""
    scores, labels = batch(size, part_of(LOOP, size))
    values = [loss(side)(scores, labels) for side in (OURS, LOOP, LIBAUC)]
    gradients = [torch.autograd.grad(value, scores)[0] for value in values]
    for value, gradient in zip(values[1:], gradients[1:], strict=True):
        torch.testing.assert_close(value, values[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-3, atol=1e-7)


def measure(size: int, theirs: str, pairs: int) -> Row:
    part = part_of(theirs, size)
    times = take_turns(
        both_ways(OURS, size), both_ways(theirs, size), pairs, f"batch {size}, {theirs}", warm=1 + (part is None)
    )
    fakes, note = size // 2, ""
    if part:
        times = [(a, b * fakes / part) for a, b in times]
        note = f"the loop is measured on {part} of {fakes} fakes and its time scaled; its memory is not"
    pairs_of_scores = fakes * (size - fakes)
    found = row("AUC loss", f"batch {size}, {pairs_of_scores:,} pairs", (OURS, theirs), "speed-up", times, note=note)
    return replace(found, **memory(both_ways, (OURS, size), (theirs, size), calls=1))


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--sizes", type=int, nargs="+", default=[15, 512, 8192])
    found.add_argument("--pairs", type=int, default=5)
    options = found.parse_args()
    if options.quick:
        options.sizes, options.pairs = [15, 600], 1
    for size in options.sizes:
        check(size)
    print(f"values and gradients agree at {', '.join(map(str, options.sizes))}")
    finish([measure(size, theirs, options.pairs) for size in options.sizes for theirs in (LOOP, LIBAUC)], options)


if __name__ == "__main__":
    main()
