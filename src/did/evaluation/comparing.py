"""Compare two detectors' scores: those of runs here, or of anybody's detector, from a CSV file."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from did.data.table import REAL, read_csv
from did.errors import DidError
from did.evaluation.intervals import check_same_frames, difference_over_seeds, over_seeds

_TEXT = ("path", "video", "method", "identity", "dataset", "split")


def read_scores(file: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read anybody's scores from a CSV file.

    Args:
        file: with the columns `video` (or `path`), `label` (0 real, 1 fake) and `score` (any number that rises with
            "fake"), and, if known, `frame`, `method` and `identity` (who is in the video, joined by "+").

    Returns:
        - A table with the columns that comparisons need, one row per frame.
        - What was assumed, in sentences: where there is no `frame`, rows of a video are numbered in their order;
          without `method` all fakes are one; without `identity` each video counts as a person of its own.

    Raises:
        DidError: If the file cannot be read, lacks a column, or has labels other than 0 and 1, scores that are not
            finite numbers, or a frame of a video twice.
    """
    try:
        table = read_csv(file, text=_TEXT)
    except (OSError, ValueError) as error:
        raise DidError(f"the scores {file} cannot be read ({error}): give a CSV file in UTF-8") from error
    said = []
    if "video" not in table and "path" in table:
        table = table.assign(video=table.path)
    for column in ("video", "label", "score"):
        if column not in table:
            raise DidError(f"the scores {file} have no column '{column}': it takes video (or path), label and score")
    for column in ("label", "score"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        fine = numbers.isin([0, 1]) if column == "label" else numbers.abs() < float("inf")
        if not fine.all():
            row = int((~fine).to_numpy().argmax())
            wanted = "0 or 1" if column == "label" else "a finite number"
            raise DidError(
                f"the scores {file} have {table[column].iloc[row]!r} as {column} in row {row + 1}, not {wanted}"
            )
        table[column] = numbers
    table["label"] = table.label.astype(int)
    if "frame" not in table:
        table["frame"] = table.groupby("video").cumcount()
    if "method" not in table:
        table["method"] = table.label.map({0: REAL, 1: "fake"})
    if "identity" not in table:
        table["identity"] = table.video
        said.append(f"{file} names no people (column identity): each video counts as a person of its own.")
    if table.duplicated(["video", "frame"]).any():
        raise DidError(f"the scores {file} have a frame of a video twice: leave one row per frame")
    return table, said


def ensemble(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the scores of several detectors as one: the mean of each frame's.

    Args:
        tables: scores on the same frames, in any order.

    Raises:
        DidError: If there is no table, one lacks a column or has a frame twice, or they have other frames or labels.

    Examples:
        >>> one = pd.DataFrame({"video": ["a", "b"], "label": [0, 1], "frame": 0, "score": [1.0, 2.0],
        ...                     "method": ["real", "FS"], "identity": ["a", "b"]})
        >>> ensemble([one, one[::-1].assign(score=[4.0, 0.0])]).score.tolist()
        [0.5, 3.0]
    """
    if not tables:
        raise DidError("an ensemble needs scores of one detector or more")
    first, frame = tables[0], ["video", "frame"]
    for table in tables:
        check_same_frames(first, table)
    mean = pd.concat(tables).groupby(frame).score.mean()
    return first.assign(score=mean.loc[pd.MultiIndex.from_frame(first[frame])].to_numpy())


def compare(a: Sequence[pd.DataFrame], b: Sequence[pd.DataFrame], names: tuple[str, str] = ("a", "b")) -> pd.DataFrame:
    """Tabulate the AUC of two detectors and their difference, on the same frames, with 95% intervals.

    Args:
        a, b: scores, one table per run; runs are paired in their order.
        names: of the columns.

    Returns:
        One row per level and method that both name, with `all` fakes: level, method, the AUC of each with low and high,
        difference, low, high, p, people, seeds. Who is in a video is taken from the side that knows it.

    Raises:
        DidError: As `did.evaluation.difference_over_seeds`.

    Examples:
        >>> one = pd.DataFrame({"video": list("abcd"), "label": [0, 0, 1, 1], "method": ["real"] * 2 + ["FS"] * 2,
        ...                     "identity": list("abcd"), "frame": 0, "score": [0.1, 0.6, 0.5, 0.9]})
        >>> compare([one], [one.assign(score=-one.score)]).difference.tolist()[0]
        0.5
    """
    if len(a) and len(b):
        a, b = _same_people(a, b)
    named = [set(of[0].method[of[0].label == 1]) for of in (a, b) if len(of)]
    methods = ["all", *sorted(set.intersection(*named))] if named else None
    gaps = difference_over_seeds(a, b, methods=methods)
    found = gaps[["level", "method"]].copy()
    for name, of in zip(names, (a, b), strict=True):
        auc = over_seeds(of, methods=methods)
        auc = (
            auc[auc.metric == "auc"]
            .set_index(["level", "method"])
            .loc[list(gaps[["level", "method"]].itertuples(index=False))]
        )
        for column, part in ((f"AUC {name}", "mean"), (f"{name} low", "low"), (f"{name} high", "high")):
            found[column] = auc[part].to_numpy()
    return pd.concat([found, gaps[["difference", "low", "high", "p", "people", "seeds"]]], axis=1)


def _same_people(*sides: Sequence[pd.DataFrame]) -> list[list[pd.DataFrame]]:
    """Give all tables the people of the side that names some: draws of people are paired."""
    known = next((of[0] for of in sides if (of[0].identity != of[0].video).any()), sides[0][0])
    people = dict(zip(known.video, known.identity, strict=True))
    return [[table.assign(identity=table.video.map(people).fillna(table.video)) for table in of] for of in sides]


def in_a_sentence(table: pd.DataFrame, names: tuple[str, str] = ("a", "b"), level: str = "frame") -> str:
    """Say which of two detectors is ahead over all fakes, from the table of `compare`."""
    row = table[(table.level == level) & (table.method == "all")].iloc[0]
    so = "is ahead of" if row.low > 0 else "is behind" if row.high < 0 else "cannot be told from"
    seeds = "" if row.seeds > 1 else ", conditional on these two runs"
    return (
        f"{names[0]} {so} {names[1]}: AUC per {level} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}], "
        f"p = {row.p:.2g}, {int(row.people)} units of people{seeds}."
    )
