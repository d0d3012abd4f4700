"""Better training data: pairs are compared at their own batch size, and only what survives Holm counts."""

import pandas as pd
import pytest

from did.paper.better_data import EXPERIMENT, helped


def test_pairs_are_compared_with_usual_batches_of_their_size_and_nothing_else_changes():
    rows = {row.name: row.settings("laptop", 0, "ffpp") for row in EXPERIMENT.rows}
    assert {row.task for row in EXPERIMENT.rows} == {"multiclass"} and len(EXPERIMENT.compared) == len(rows) - 1
    for a, b in EXPERIMENT.compared:
        one, other = rows[a].as_dict(), rows[b].as_dict()
        apart = {name for name in one if one[name] != other[name]}
        assert len(apart) == 1, (a, b)
        if rows[a].sampler == "pairs":
            assert apart == {"sampler"} and rows[a].batch_size == rows[b].batch_size
    assert sorted(row.batch_size for row in rows.values() if row.sampler == "pairs") == [15, 30, 60]


def record(*differences):
    columns = ("a", "b", "test", "difference", "low", "high", "p")
    rows = [{**dict(zip(columns, of, strict=True)), "level": "frame"} for of in differences]
    return {"experiment": "better_data", "title": "Better training data: x", "edition": "stand-in", "bank": "drawn",
            "preset": "laptop", "differences": rows}  # fmt: skip


@pytest.mark.parametrize(("p", "named"), [(0.001, True), (0.03, False)])
def test_what_helps_survives_the_correction(p, named):
    said = helped(record(("light augmentation", "batches of 15", "DiFF", 0.05, 0.01, 0.09, p),
                         ("pairs, batches of 15", "batches of 15", "DiFF", -0.05, -0.09, -0.01, p),
                         ("pairs, batches of 30", "batches of 30", "DiFF", 0.0, -0.1, 0.1, 0.9)))  # fmt: skip
    assert said[0] == "light augmentation less batches of 15: on DiFF +0.050 [+0.010, +0.090]."
    helps, costs = said[-2:]
    assert ("light augmentation on DiFF +0.050 [+0.010, +0.090]" in helps) is named
    assert ("pairs, batches of 15 on DiFF -0.050 [-0.090, -0.010]" in costs) is named
    assert "over 3 differences" in helps and "batches of 30" not in helps + costs
    assert pd.Series(said).str.contains("nothing").sum() == (0 if named else 2)
