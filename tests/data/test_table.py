"""The one table: what it holds, what its checks refuse, its fingerprint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from did.data import clips
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
        ({"identity": ""}, "'identity' has an empty cell"),
        ({"identity": "000+ "}, "'identity' has an empty cell"),
        ({"method": " "}, "'method' has an empty cell"),
        ({"video": float("nan")}, "'video' has an empty cell"),
    ],
)
def test_each_fault_is_refused_by_name(change: dict[str, Any], message: str):
    faulty = rows()
    faulty[2] |= change
    table = tables.make_table(faulty)
    with pytest.raises(DidError, match=message):
        tables.check(table)


NAMES = [
    "no empty cell",
    "labels match methods",
    "split names",
    "no video in two splits",
    "no identity in two splits",
    "both classes in each split",
    "unique video ids",
    "no path twice",
]


def test_the_report_of_a_sound_table_is_all_ok():
    report = tables.report(tables.make_table(rows()))
    assert report.columns.tolist() == ["check", "result", "detail"]
    assert report["check"].tolist() == NAMES
    assert set(report["result"]) == {"ok"}
    assert set(report["detail"]) == {""}


def failed(changes: dict[int, dict[str, Any]]) -> list[str]:
    faulty = rows()
    for number, change in changes.items():
        faulty[number] |= change
    table = tables.make_table(faulty)
    report = tables.report(table)
    bad = report[report["result"] == "fail"]
    assert bad["detail"].str.len().gt(10).all()
    assert report.loc[report["result"] == "ok", "detail"].eq("").all()
    with pytest.raises(DidError) as caught:
        tables.check(table)
    assert str(caught.value) == bad["detail"].iloc[0]  # `check` raises the first of them.
    return bad["check"].tolist()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({2: {"identity": None}}, ["no empty cell"]),
        ({2: {"label": 2}}, ["labels match methods"]),
        ({2: {"method": "real"}}, ["labels match methods"]),
        ({4: {"split": "valid"}}, ["split names", "no identity in two splits", "both classes in each split"]),
        (
            {2: {"split": "test", "identity": "x", "video": "Deepfakes/000_003"}},
            ["no video in two splits", "unique video ids"],
        ),
        ({4: {"identity": "003"}}, ["no identity in two splits"]),
        ({4: {"split": "train", "identity": "x"}}, ["both classes in each split"]),
        ({2: {"video": "real/000"}}, ["unique video ids"]),
        ({2: {"path": "real/000.mp4"}}, ["no path twice"]),
    ],
)
def test_each_fault_fails_its_checks_and_no_other(changes, names):
    assert failed(changes) == names


def test_every_check_runs_after_one_has_failed():
    changes = {
        0: {"dataset": None},
        1: {"label": 0, "split": "valid", "path": "real/000.mp4"},
        3: {"video": "real/000", "identity": "000"},
    }
    assert failed(changes) == NAMES


def test_two_files_under_one_video_id_are_refused():
    faulty = rows()
    faulty[2] |= {"video": "Deepfakes/000_003"}
    with pytest.raises(
        DidError, match=r"'Deepfakes/000_003' stands for Deepfakes/000_003\.mp4 and for Face2Face/000_003\.mp4"
    ):
        tables.check(tables.make_table(faulty))


def contents(root: Path, **other: bytes) -> pd.DataFrame:
    """The table and a file a row, each of the same size with its own content, but for `other` by number ("n3")."""
    table = tables.make_table(rows())
    for number, path in enumerate(table["path"]):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(other.get(f"n{number}", b"content%d" % number))
    return table


def test_equal_content_in_two_splits_is_found(tmp_path):
    table = contents(tmp_path, n3=b"content1", n2=b"content1", n4=b"another size")
    same = tables.duplicates(table, tmp_path, progress=False)
    # From sha256sum.
    digest = "d0b425e00e15a0d36b9b361f02bab63563aed6cb4665083905386c55d5b679fa"
    assert list(same.itertuples(index=False, name=None)) == [
        ("Deepfakes/000_003.mp4", "train", 8, digest),
        ("Face2Face/000_003.mp4", "train", 8, digest),
        ("real/010.mp4", "test", 8, digest),
    ]
    assert same.columns.tolist() == ["path", "split", "bytes", "sha256"]
    report = tables.report(table, tmp_path)
    assert report["check"].tolist() == [*NAMES, "no file's content in two splits", "no file's content in two classes"]
    assert report["result"].tolist() == ["ok"] * len(NAMES) + ["fail"] * 2
    assert report["detail"].iloc[-2] == (
        "3 files have the content of a file of another split, such as Deepfakes/000_003.mp4 (train) and real/010.mp4 "
        "(test); keep each content in one split."
    )


def test_equal_content_in_one_split_is_no_leak_and_may_not_be_real_and_fake(tmp_path):
    table = contents(tmp_path, n4=b"content3")
    assert tables.duplicates(table, tmp_path).empty
    assert set(tables.equal_contents(table.assign(method="one"), tmp_path).values()) == {""}
    report = tables.report(table, tmp_path).set_index("check")
    assert report.loc["no file's content in two splits", "result"] == "ok"
    assert report.loc["no file's content in two classes", "detail"] == (
        "2 files have the content of a file of another class, such as Deepfakes/010_011.mp4 (Deepfakes) and "
        "real/010.mp4 (real); keep each content in one class."
    )


def test_names_that_look_like_missing_values_or_numbers_stay_names(tmp_path):
    names = ["None", "NA", "nan", "null", "N/A", "NaN", "", "000", "1e3", "True", "-"]
    written = pd.DataFrame({"method": names, "score": [0.1, np.nan, np.inf, *range(8)], "n": range(11)})
    written.to_csv(tmp_path / "a.csv", index=False)
    read = tables.read_csv(tmp_path / "a.csv", text=("method", "gone"))
    assert read["method"].tolist() == names
    assert (read["score"].dtype, read["n"].dtype) == ("float64", "int64")
    assert read["score"].equals(written["score"]) and read["n"].equals(written["n"])
    assert tables.read_csv(tmp_path / "a.csv")["score"].tolist()[:3] == ["0.1", "", "inf"]
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes())
    assert tables.read_csv(tmp_path / "b.csv", text=("method",)).equals(read)


def test_only_files_of_equal_size_in_two_splits_are_read(tmp_path, monkeypatch):
    table = contents(tmp_path, n0=b"four", n1=b"FOUR", n3=b"content9")
    read = []
    digest = clips.sha256
    monkeypatch.setattr(clips, "sha256", lambda file: (read.append(file.name), digest(file))[1])
    assert tables.duplicates(table, tmp_path, progress=False).empty
    assert sorted(read) == ["000_003.mp4", "010.mp4", "010_011.mp4"]


def test_large_files_are_compared_to_the_end(tmp_path):
    large = bytes(3 << 20)
    table = contents(tmp_path, n0=large, n3=large[:-1] + b"x", n1=large, n4=large)
    same = tables.duplicates(table, tmp_path, progress=False)
    assert same["path"].tolist() == ["Deepfakes/000_003.mp4", "real/000.mp4", "Deepfakes/010_011.mp4"]


def test_frames_of_a_file_are_compared_once(tmp_path):
    table = contents(tmp_path, n3=b"content1")
    frames = pd.concat([table.assign(frame=n) for n in range(3)], ignore_index=True)
    assert tables.duplicates(frames, tmp_path, progress=False)["path"].tolist() == [
        "Deepfakes/000_003.mp4",
        "real/010.mp4",
    ]


def test_a_missing_file_is_named(tmp_path):
    table = contents(tmp_path)
    (tmp_path / "real/010.mp4").unlink()
    for look in (tables.duplicates, tables.report):
        with pytest.raises(DidError, match=r"real/010\.mp4 cannot be read \(no such file or directory\)"):
            look(table, tmp_path)


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


@pytest.mark.parametrize("name", ["None", "NA", "nan", "null", "-", "a,b", 'say "x"', "<img src=x onerror=y>", "000"])
def test_a_name_stays_the_text_that_it_is(tmp_path, name):
    renamed = [r | {column: name for column in ("identity", "dataset")} for r in rows()[:3]]
    renamed[1] |= {"method": name, "video": f"{name}/1", "path": f"{name}/1.mp4"}
    table = tables.make_table(renamed)
    tables.check(table)
    tables.save(table, tmp_path / "t.csv")
    loaded = tables.load(tmp_path / "t.csv")
    assert loaded.astype(str).equals(table.astype(str))
    assert tables.fingerprint(loaded) == tables.fingerprint(table)
    assert tables.counts(loaded).loc[name].tolist() == [1]


def test_load_names_what_is_missing_or_no_table(tmp_path):
    with pytest.raises(DidError, match="There is no table at"):
        tables.load(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("label,frame\nx,y\n")
    with pytest.raises(DidError, match="is not a table that did wrote"):
        tables.load(tmp_path / "t.csv")
