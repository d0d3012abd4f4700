"""The one table: every data set becomes rows of the same eight columns, and its checks live here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from did.errors import DidError

COLUMNS = ("path", "label", "method", "split", "video", "identity", "frame", "dataset")
SPLITS = ("train", "val", "test")
REAL = "real"
LABELS = {0: "real", 1: "fake"}


def make_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the table from one mapping a row.

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
        DidError: a column is missing or unknown, or label or frame is not a whole number.
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
    """Check what no experiment may get wrong: labels, leaks between splits, both classes, duplicates.

    Only the splits that are present are checked; a table of a test split alone passes.

    Raises:
        DidError: the first of these that fails, naming the row, person, video or split.
    """
    _check_columns(table)
    table = table.reset_index(drop=True)
    empty = [name for name in COLUMNS if name != "frame" and table[name].isna().any()]
    if empty:
        raise DidError(f"The column {empty[0]!r} has an empty cell; only frame may be empty.")
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
    bad = table[~table["split"].isin(SPLITS)]
    if len(bad):
        row = bad.iloc[0]
        raise DidError(f"The split of {row['path']} is {row['split']!r}; it must be one of {', '.join(SPLITS)}.")

    _check_one_split(table["video"], table["split"], "video")
    people = table["identity"].str.split("+").explode()
    _check_one_split(people, table["split"].loc[people.index], "identity")

    for split, labels in table.groupby("split")["label"]:
        for label in set(LABELS) - set(labels):
            raise DidError(f"The split {split!r} holds no {LABELS[label]} video; every split needs both classes.")
    duplicates = table[table.duplicated(["path", "frame"])]
    if len(duplicates):
        row = duplicates.iloc[0]
        frame = "" if pd.isna(row["frame"]) else f" (frame {row['frame']})"
        raise DidError(f"{row['path']}{frame} is in the table twice; keep one row.")


def _check_one_split(groups: pd.Series, splits: pd.Series, kind: str) -> None:
    pairs = pd.DataFrame({"group": groups.to_numpy(), "split": splits.to_numpy()}).drop_duplicates()
    shared = pairs[pairs.duplicated("group")]
    if len(shared):
        name = shared.iloc[0]["group"]
        where = [split for split in SPLITS if split in set(pairs.loc[pairs["group"] == name, "split"])]
        raise DidError(
            f"The {kind} {name!r} is in the splits {' and '.join(where)}, so that what is learnt in one leaks into "
            "the other; keep it in one split."
        )


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Number of videos, one row a method ("real" first, then by name), one column a split in the usual order."""
    result = table.groupby(["method", "split"])["video"].nunique().unstack(fill_value=0)
    methods = sorted(result.index, key=lambda name: (name != REAL, name))
    return result.loc[methods, [split for split in SPLITS if split in result.columns]].astype("int64")


def fingerprint(table: pd.DataFrame) -> str:
    """SHA-256 of the content of a table, in hexadecimal.

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


def load(path: str | Path, floats: Sequence[str] = ()) -> pd.DataFrame:
    """Read what `save` wrote: label and frame as whole numbers, the columns `floats` exactly, all others as text.

    Raises:
        DidError: no such file, or it is not such a table.
    """
    try:
        # All as text first: names such as "000" and "NA" are not numbers, and float() is exact.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
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
