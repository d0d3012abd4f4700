"""Better training data: what a detector gains from augmentation, pairs, larger batches and averaged weights.

All rows are (k+1)-way cross-entropy, the detector that `did.paper.heldout` chose. The rule, written before the first
run: a choice helps on a test if the difference lies above 0 by Holm's correction over all differences of the
experiment, and it costs something if the difference lies below. Pairs (each real face of a batch beside its own
forgeries) are compared with usual batches of the same size, so that the size itself is not counted for them.
"""

from typing import Any

from did.paper import verdicts
from did.paper.definition import Experiment, Row
from did.paper.records import Record, comparisons
from did.paper.tables import by_test, gap

SIZES = (15, 30, 60)


def _usual(size: int) -> str:
    return f"batches of {size}"


def _pairs(size: int) -> str:
    return f"pairs, batches of {size}"


#: Row -> what it changes; the first is the detector as everywhere in this book.
_ROWS: dict[str, dict[str, Any]] = {
    _usual(15): {},
    "light augmentation": {"augment": "light"},
    "averaged weights, .95": {"averaging": 0.95},
    "averaged weights, .99": {"averaging": 0.99},
    _pairs(15): {"sampler": "pairs"},
    **{_usual(size): {"batch_size": size} for size in SIZES[1:]},
    **{_pairs(size): {"sampler": "pairs", "batch_size": size} for size in SIZES[1:]},
}
_COMPARED = tuple(
    (name, _usual(int(name.rpartition(" ")[2])) if name.startswith("pairs") else _usual(15)) for name in list(_ROWS)[1:]
)


def helped(record: Record) -> list[str]:
    """Say what each choice adds on each test, and which help or cost something by the rule."""
    pairs = comparisons([record])
    said = [f"{a} less {b}: {by_test(of)}." for (a, b), of in pairs.groupby(["a", "b"], sort=False)]
    for words, side in zip(("helps", "costs something"), verdicts.surviving(pairs), strict=True):
        named = "; ".join(f"{row.a} on {row.test} {gap(row)}" for row in side.itertuples())
        said.append(f"By Holm's correction over {len(pairs)} differences, what {words}: {named or 'nothing'}.")
    return said


EXPERIMENT = Experiment(
    "better_data", "Better training data: augmentation, pairs, larger batches, averaged weights", "ffpp",
    {"FF++": ("ffpp", "all"), "CDF2": ("cdf2", "all"), "DiFF": ("diff", "all")},
    tuple(Row(name, "multiclass", changes) for name, changes in _ROWS.items()),
    compared=_COMPARED, seeds=3, sentences=(helped, verdicts.powered),
    smoke=(_usual(15), _pairs(15), "averaged weights, .95"),
)  # fmt: skip
