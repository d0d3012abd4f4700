"""The one table: every data set becomes rows of the same eight columns, and its checks live here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from did.data import clips
from did.errors import DidError

COLUMNS = ("path", "label", "method", "split", "video", "identity", "frame", "dataset")
SPLITS = ("train", "val", "test")
REAL = "real"
LABELS = {0: "real", 1: "fake"}


def make_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the table from one mapping per row.

    Columns:
        path: file, relative to the data set's root, with forward slashes.
        label: 0 real, 1 fake (int64).
        method: forgery method, "real" for label 0.
        split: "train", "val" or "test".
        video: unique id that includes the method ("Deepfakes/000_003"; FF++ has that file name under four methods).
        identity: everyone in the picture, the target first, joined by "+" ("000+003").
        frame: frame number in the video, counted from 0; <NA> for a video not yet sampled (Int64).
        dataset: name of the data set.

    Raises:
        DidError: If a column is missing or unknown, or label or frame is not a whole number.
    """
    table = pd.DataFrame(list(rows))
    _check_columns(table)
    try:
        return table[list(COLUMNS)].astype({"label": "int64", "frame": "Int64"}).reset_index(drop=True)
    except (TypeError, ValueError) as error:
        raise DidError(f"The columns label and frame must hold whole numbers: {error}.") from error


def _check_columns(table: pd.DataFrame) -> None:
    if len(table) == 0:
        raise DidError("The table of the data set has no rows; give it at least one real and one fake video.")
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DidError(f"The table of the data set lacks the column {missing[0]!r}; it needs {', '.join(COLUMNS)}.")
    unknown = [name for name in table.columns if name not in COLUMNS]
    if unknown:
        raise DidError(
            f"The table of the data set has an unknown column {unknown[0]!r}; it takes {', '.join(COLUMNS)}."
        )


def check(table: pd.DataFrame) -> None:
    """Check the table for wrong labels, leaks between splits, missing classes and duplicates.

    Only the splits that are present are checked; a table of a test split alone passes.

    Raises:
        DidError: If a check fails: the first one, naming the row, person, video or split.
    """
    _check_columns(table)
    table = table.reset_index(drop=True)
    for _, test in CHECKS:
        test(table)


def report(table: pd.DataFrame, root: str | Path | None = None, progress: bool = False) -> pd.DataFrame:
    """Run every check, even after one that fails.

    Args:
        table: the table.
        root: folder that `table["path"]` is relative to; with it, the files' content is compared, too.
        progress: show a bar while files are read.

    Returns:
        One row per check: check (its name), result ("ok" or "fail"), detail (the sentence of `check`, "" where ok).

    Raises:
        DidError: If a column is missing or unknown, or there are no rows: then nothing else can be checked; or a file
            cannot be read.
    """
    _check_columns(table)
    table = table.reset_index(drop=True)
    details = {name: _detail(test, table) for name, test in CHECKS}
    if root is not None:
        details |= equal_contents(table, root, progress)
    results = ["fail" if detail else "ok" for detail in details.values()]
    return pd.DataFrame({"check": list(details), "result": results, "detail": list(details.values())})


def _detail(test: Callable[[pd.DataFrame], None], table: pd.DataFrame) -> str:
    try:
        test(table)
    except DidError as error:
        return str(error)
    return ""


def _check_cells(table: pd.DataFrame) -> None:
    for name in COLUMNS:
        text = table[name].astype(str)
        empty = table[name].isna() | text.str.strip().eq("")
        if name == "identity":  # Nor beside a "+": people without a name would be one person for all.
            empty |= ("+" + text + "+").str.contains(r"\+\s*\+")
        if name != "frame" and empty.any():
            raise DidError(f"The column {name!r} has an empty cell; only frame may be empty.")


def _check_labels(table: pd.DataFrame) -> None:
    bad = table[~table["label"].isin(list(LABELS))]
    if len(bad):
        row = bad.iloc[0]
        raise DidError(f"The label of {row['path']} is {row['label']}; it must be 0 (real) or 1 (fake).")
    bad = table[(table["label"] == 0) != (table["method"] == REAL)]
    if len(bad):
        row = bad.iloc[0]
        raise DidError(
            f"{row['path']} has label {row['label']} and method {row['method']!r}; "
            "label 0 goes with the method 'real' and label 1 with any other."
        )


def _check_split_names(table: pd.DataFrame) -> None:
    bad = table[~table["split"].isin(SPLITS)]
    if len(bad):
        row = bad.iloc[0]
        raise DidError(f"The split of {row['path']} is {row['split']!r}; it must be one of {', '.join(SPLITS)}.")


def _check_videos(table: pd.DataFrame) -> None:
    _check_one_split(table["video"], table["split"], "video")


def _check_identities(table: pd.DataFrame) -> None:
    people = table["identity"].str.split("+").explode()
    _check_one_split(people, table["split"].loc[people.index], "identity")


def _check_one_split(groups: pd.Series, splits: pd.Series, kind: str) -> None:
    pairs = pd.DataFrame({"group": groups.to_numpy(), "split": splits.to_numpy()}).dropna().drop_duplicates()
    shared = pairs[pairs.duplicated("group")]
    if len(shared):
        name = shared.iloc[0]["group"]
        where = sorted(pairs.loc[pairs["group"] == name, "split"], key=_split_order)
        raise DidError(
            f"The {kind} {name!r} is in the splits {' and '.join(where)}, so that what is learnt in one leaks into "
            "the other; keep it in one split."
        )


def _split_order(split: str) -> tuple[int, str]:
    """Return a key that sorts the splits in the usual order, and unknown ones after them."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _check_classes(table: pd.DataFrame) -> None:
    for split, labels in table.groupby("split")["label"]:
        for label in set(LABELS) - set(labels):
            raise DidError(f"The split {split!r} holds no {LABELS[label]} video; every split needs both classes.")


def _check_video_ids(table: pd.DataFrame) -> None:
    files = table[["video", "path"]].drop_duplicates()
    bad = files[files.duplicated("video")]
    if len(bad):
        video = bad.iloc[0]["video"]
        first, second = files.loc[files["video"] == video, "path"].iloc[:2]
        raise DidError(f"The video id {video!r} stands for {first} and for {second}; give each video its own id.")


def _check_rows(table: pd.DataFrame) -> None:
    repeated = table[table.duplicated(["path", "frame"])]
    if len(repeated):
        row = repeated.iloc[0]
        frame = "" if pd.isna(row["frame"]) else f" (frame {row['frame']})"
        raise DidError(f"{row['path']}{frame} is in the table twice; keep one row.")


#: Every check of the table by its name, in the order in which `check` runs them.
CHECKS: tuple[tuple[str, Callable[[pd.DataFrame], None]], ...] = (
    ("no empty cell", _check_cells),
    ("labels match methods", _check_labels),
    ("split names", _check_split_names),
    ("no video in two splits", _check_videos),
    ("no identity in two splits", _check_identities),
    ("both classes in each split", _check_classes),
    ("unique video ids", _check_video_ids),
    ("no path twice", _check_rows),
)


def equal_contents(table: pd.DataFrame, root: str | Path, progress: bool = True) -> dict[str, str]:
    """Compare the files' contents: between splits, and between classes (the real files and each method).

    Args:
        table: the table.
        root: folder that `table["path"]` is relative to.
        progress: show a bar, one step a file that is read.

    Returns:
        For each of the two checks by its name what is wrong, "" for nothing.

    Raises:
        DidError: If a file is missing or cannot be read.
    """
    same = duplicates(table, root, progress, across=("split", "method"))
    found = {}
    for column, one, several in (("split", "split", "splits"), ("method", "class", "classes")):
        part = same[same.groupby("sha256")[column].transform("nunique") > 1]
        sentence = ""
        if len(part):
            first = part[part["sha256"] == part["sha256"].iloc[0]].drop_duplicates(column)
            (path, cell), (other, other_cell) = first[["path", column]].iloc[:2].itertuples(index=False, name=None)
            sentence = (
                f"{len(part)} files have the content of a file of another {one}, such as {path} ({cell}) and {other} "
                f"({other_cell}); keep each content in one {one}."
            )
        found[f"no file's content in two {several}"] = sentence
    return found


def duplicates(
    table: pd.DataFrame, root: str | Path, progress: bool = True, across: Sequence[str] = ("split",)
) -> pd.DataFrame:
    """Find files of different splits with equal content.

    Only files of equal size in different splits are read, in chunks.

    Args:
        table: the table.
        root: folder that `table["path"]` is relative to.
        progress: show a bar, one step a file that is read.
        across: columns of which one differs, in place of the split alone.

    Returns:
        One row per file: path, the columns of `across`, bytes, sha256; sorted by sha256, split and path, no row if all
        is well.

    Raises:
        DidError: If a file is missing or cannot be read.
    """
    files = table[list(dict.fromkeys(["path", "split", *across]))].drop_duplicates().reset_index(drop=True)
    files["cell"] = files.groupby(list(across)).ngroup()
    try:
        files["bytes"] = [clips.size(Path(root) / path) for path in files["path"]]
        files = files[files.groupby("bytes")["cell"].transform("nunique") > 1]
        bar = tqdm(files["path"], desc="compare", unit="file", disable=not (progress and len(files)))
        files = files.assign(sha256=[clips.digest(Path(root) / path) for path in bar])
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DidError(f"The file {error.filename} cannot be read ({reason}); put it there or fix it.") from error
    files = files[files.groupby("sha256")["cell"].transform("nunique") > 1]
    files = files.assign(order=files["split"].map(_split_order))
    files = files.sort_values(["sha256", "order", "path"], ignore_index=True)
    return files[["path", *across, "bytes", "sha256"]]


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Count the videos: one row per method ("real" first, then by name), one column per split in the usual order."""
    result = table.groupby(["method", "split"])["video"].nunique().unstack(fill_value=0)
    methods = sorted(result.index, key=lambda name: (name != REAL, name))
    return result.loc[methods, [split for split in SPLITS if split in result.columns]].astype("int64")


def fingerprint(table: pd.DataFrame) -> str:
    """Compute the SHA-256 of the content of a table, in hexadecimal.

    It depends neither on the order of rows and columns nor on the root folder (paths are relative to it), so that
    two machines with the same data agree. Extra columns count too: with `sha256` in it, it covers the files' content.
    """
    names = sorted(table.columns)
    # repr keeps apart what joining by a separator would merge.
    cells = zip(*([_text(value) for value in table[name].tolist()] for name in names), strict=True)
    digest = hashlib.sha256(repr(names).encode())
    for row in sorted(cells):
        digest.update(repr(row).encode())
    return digest.hexdigest()


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    return str(value)


def save(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table, with any further columns that it has, as CSV in UTF-8."""
    table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def read_csv(path: str | Path, text: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a CSV file in UTF-8, with or without a byte order mark; names are not converted.

    A name such as "None", "NA", "nan" or "000" is text; pandas alone would take it for a missing value or a number.

    Args:
        path: of the file.
        text: columns that hold text, an empty cell being ""; all of them by default. In the others, which hold
            numbers, an empty cell is NaN.

    Raises:
        OSError, ValueError: the file is not there, or is not CSV in UTF-8.
    """
    columns = pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns
    names = [name for name in columns if text is None or name in text]
    empty = {name: ["", "nan"] for name in columns if name not in names}
    return pd.read_csv(
        path, dtype=dict.fromkeys(names, str), keep_default_na=False, na_values=empty, encoding="utf-8-sig"
    )


def load(path: str | Path, floats: Sequence[str] = ()) -> pd.DataFrame:
    """Read what `save` wrote: label and frame as whole numbers, the columns `floats` exactly, all others as text.

    Raises:
        DidError: If there is no such file, or it is not such a table.
    """
    try:
        table = read_csv(path)  # All as text first: float() is exact.
        if "label" in table.columns:
            table["label"] = table["label"].astype("int64")
        table["frame"] = pd.array([int(text) if text else pd.NA for text in table["frame"]], dtype="Int64")
        for name in floats:
            table[name] = [float(text) for text in table[name]]
    except FileNotFoundError as error:
        raise DidError(f"There is no table at {path}; prepare the data first.") from error
    except (ValueError, KeyError, OSError) as error:
        raise DidError(f"{path} is not a table that did wrote ({error}); prepare the data again.") from error
    return table
