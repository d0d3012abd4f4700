"""python benchmarks/extensions.py [--pairs 3] [--quick] [--json [FILE]]

The cost of what goes beyond the paper as a ratio to DID on the same backbone: a training step of each measure in T's
place, of each rule for the loss weights, and of each candidate for a successor, measured as `benchmarks/rivals.py`
does. At test all are DID but the candidates.
"""

from rivals import BATCH, CASE, training
from side_by_side import finish, parser, take_turns

from did.paper.experiments import EXPERIMENTS
from did.settings import Settings
from did_book.pages.costs import row

#: Experiment -> its row that is DID itself.
DID = {"independence": "T on maps (DID)", "loss_weights": "the paper's weights", "leave_one_out": "DID, not FaceSwap"}
#: The end of the names of the rows that are taken, where the others cost the same.
SAME = {"leave_one_out": ", not FaceSwap"}


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--pairs", type=int, default=3)
    options = found.parse_args()
    preset, made = CASE[options.quick], []
    settings = Settings.preset(preset)
    case = f"{settings.backbone}, {settings.image_size} px, batch {BATCH}"
    for experiment, base in DID.items():
        rows = {of.name: of for of in EXPERIMENTS[experiment].rows if of.name.endswith(SAME.get(experiment, ""))}
        did = rows.pop(base)
        for name, of in rows.items():
            ours, theirs = training(of, preset), training(did, preset)
            times = take_turns(ours, theirs, 1 if options.quick else options.pairs, f"training step, {name}", warm=1)
            made.append(row("training step", case, (name, "DID"), "cost", times))
    finish(made, options)


if __name__ == "__main__":
    main()
