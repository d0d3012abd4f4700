"""The one table: what it holds, what its checks refuse, its fingerprint."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from did.data import table as tables
from did.errors import DidError


def row(video: str, split: str, identity: str, **other: Any) -> dict[str, Any]:
    method = video.split("/")[0]
    values = {
        "path": f"{video}.mp4",
        "label": int(method != "real"),
        "method": method,
        "split": split,
        "video": video,
        "identity": identity,
        "frame": pd.NA,
        "dataset": "ffpp",
    }
    return values | other


def rows() -> list[dict[str, Any]]:
    return [
        row("real/000", "train", "000"),
        row("Deepfakes/000_003", "train", "000+003"),
        row("Face2Face/000_003", "train", "000+003"),
        row("real/010", "test", "010"),
        row("Deepfakes/010_011", "test", "010+011"),
    ]


def test_a_sound_table_passes_and_has_the_columns_and_types():
    table = tables.make_table(rows())
    tables.check(table)
    assert tuple(table.columns) == tables.COLUMNS
    assert str(table["label"].dtype) == "int64"
    assert str(table["frame"].dtype) == "Int64"
    assert table["frame"].isna().all()


def test_a_table_of_one_split_alone_passes():
    tables.check(tables.make_table([r for r in rows() if r["split"] == "test"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 2}, r"label of Face2Face/000_003\.mp4 is 2"),
        ({"label": 0}, "label 0 and method 'Face2Face'"),
        ({"method": "real"}, "label 1 and method 'real'"),
        ({"split": "valid"}, "'valid'; it must be one of train, val, test"),
        ({"split": "test", "identity": "003"}, "identity '003' is in the splits train and test"),
        ({"split": "test", "identity": "x+000"}, "identity '000' is in the splits train and test"),
        (
            {"split": "test", "identity": "x", "video": "Deepfakes/000_003"},
            "video 'Deepfakes/000_003' is in the splits",
        ),
        ({"split": "val", "identity": "x"}, "split 'val' holds no real video"),
        ({"path": "Deepfakes/000_003.mp4"}, r"Deepfakes/000_003\.mp4 is in the table twice"),
        ({"identity": None}, "'identity' has an empty cell"),
    ],
)
def test_each_fault_is_refused_by_name(change: dict[str, Any], message: str):
    faulty = rows()
    faulty[2] |= change
    table = tables.make_table(faulty)
    with pytest.raises(DidError, match=message):
        tables.check(table)


def test_a_split_without_fakes_is_refused():
    with pytest.raises(DidError, match="split 'test' holds no fake video"):
        tables.check(tables.make_table(rows()[:4]))


def test_the_same_frame_twice_is_refused_and_two_frames_of_a_file_are_not():
    frames = [r | {"frame": 7} for r in rows()]
    tables.check(tables.make_table([*frames, frames[0] | {"frame": 8}]))
    with pytest.raises(DidError, match=r"real/000\.mp4 \(frame 7\) is in the table twice"):
        tables.check(tables.make_table([*frames, frames[0]]))


def test_the_rows_own_numbers_do_not_matter():
    table = pd.concat([tables.make_table(rows()), tables.make_table(rows()).assign(frame=1)])
    tables.check(table)


def test_missing_and_unknown_columns_and_no_rows_are_refused():
    with pytest.raises(DidError, match="lacks the column 'identity'"):
        tables.make_table([{k: v for k, v in r.items() if k != "identity"} for r in rows()])
    with pytest.raises(DidError, match="unknown column 'lable'"):
        tables.make_table([r | {"lable": 1} for r in rows()])
    with pytest.raises(DidError, match="no rows"):
        tables.make_table([])
    with pytest.raises(DidError, match="unknown column 'face'"):
        tables.check(tables.make_table(rows()).assign(face="x"))


def test_a_label_that_is_no_number_is_refused():
    with pytest.raises(DidError, match="whole numbers"):
        tables.make_table([r | {"label": "fake"} for r in rows()])


def test_counts_are_videos_not_rows():
    frames = [r | {"frame": n} for r in rows() for n in range(3)]
    counted = tables.counts(tables.make_table(frames))
    expected = pd.DataFrame(
        {"train": [1, 1, 1], "test": [1, 1, 0]}, index=["real", "Deepfakes", "Face2Face"], dtype="int64"
    )
    assert counted.index.tolist() == expected.index.tolist()
    assert counted.columns.tolist() == expected.columns.tolist()
    assert (counted.to_numpy() == expected.to_numpy()).all()


def test_the_fingerprint_is_pinned_and_ignores_order():
    table = tables.make_table(rows())
    shuffled = table.sample(frac=1, random_state=1)[list(reversed(tables.COLUMNS))]
    assert tables.fingerprint(shuffled) == tables.fingerprint(table)
    # Pinned: it must be the same for every version of pandas and Python, or stores are prepared anew for nothing.
    assert tables.fingerprint(table) == "696422c810f71259dbdadf132e47697c3204c44610ce3ba3cfc949368d693f39"


@pytest.mark.parametrize("column", [c for c in tables.COLUMNS if c not in ("label", "frame")])
def test_the_fingerprint_changes_with_every_text_column(column: str):
    changed = rows()
    changed[1] |= {column: "other"}
    assert tables.fingerprint(tables.make_table(changed)) != tables.fingerprint(tables.make_table(rows()))


def test_the_fingerprint_changes_with_numbers_and_further_columns():
    table = tables.make_table(rows())
    others = [table.assign(label=1 - table["label"]), table.assign(frame=0), table.assign(bytes=10)]
    others.append(table.assign(bytes=11))
    assert len({tables.fingerprint(t) for t in [table, *others]}) == 5


def test_save_and_load_keep_names_and_numbers(tmp_path):
    changed = rows()
    changed[0] |= {"dataset": "NA", "frame": 3}
    table = tables.make_table(changed).assign(x0=[0.1, 1 / 3, 2.0, 3.0, 4.0], sha256="00e1")
    tables.save(table, tmp_path / "t.csv")
    loaded = tables.load(tmp_path / "t.csv", floats=["x0"])
    assert loaded["identity"].tolist() == ["000", "000+003", "000+003", "010", "010+011"]
    assert loaded["dataset"][0] == "NA"
    assert loaded["sha256"][0] == "00e1"
    assert loaded["frame"].isna().tolist() == [False, True, True, True, True]
    assert tables.fingerprint(loaded) == tables.fingerprint(table)


def test_load_names_what_is_missing_or_no_table(tmp_path):
    with pytest.raises(DidError, match="There is no table at"):
        tables.load(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("label,frame\nx,y\n")
    with pytest.raises(DidError, match="is not a table that did wrote"):
        tables.load(tmp_path / "t.csv")
