"""The paper's own arithmetic: the relative gains that its text prints, and its repeated numbers, from its own tables.

Nothing here is measured. Every number comes from `did.paper.published`.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from did.errors import DidError
from did.paper import published as printed

#: Half a unit of the tables' last decimal: a printed .779 stands for anything from .7785 to .7795.
HALF_UNIT = 0.0005


def published(table: str, row: str, column: str) -> float:
    """Return a number of the paper's tables.

    Args:
        table: `Table 1` to `Table 4`.
        row: as printed; in Table 3 `backbone + loss`.
        column: `FF++` or `CDF2` (Table 1), `T2I`, `I2I`, `FS` or `FE` (Table 2), `AUC` or `EER` (Tables 3 and 4).

    Raises:
        DidError: If there is no such number.
    """
    for place in _places():
        if (place["table"], place["row"], place["column"]) == (table, row, column):
            return float(place["value"])
    raise DidError(f"the paper prints no number in {table}, row '{row}', column '{column}': see did.paper.published")


def relative_gain(ours: float, theirs: float, over: float) -> float:
    """Compute (ours - theirs) / over, in per cent.

    It is negative if ours is the smaller number, as it should be for an error rate.
    """
    return 100 * (ours - theirs) / over


def rounding_range(
    ours: float, theirs: float, over_theirs: bool = True, half: float = HALF_UNIT
) -> tuple[float, float]:
    """Compute the smallest and largest relative gain, in per cent, that two rounded numbers allow.

    Args:
        ours, theirs: as printed, each known up to ± half.
        over_theirs: the denominator is theirs; else ours.
        half: half a unit of the last printed decimal.
    """
    ends = [(a, b) for a in (ours - half, ours + half) for b in (theirs - half, theirs + half)]
    sizes = [abs(relative_gain(a, b, b if over_theirs else a)) for a, b in ends]
    return min(sizes), max(sizes)


def recompute(gains: Iterable[Mapping[str, str]] = printed.GAINS) -> pd.DataFrame:
    """Recompute every printed gain in its two readings.

    Args:
        gains: entries as in `did.paper.published.GAINS`.

    Returns:
        One row per gain: `quote`, `where`, `compared`, `ours`, `theirs`, `printed` (text, in per cent), the signed
        gains `over theirs` and `over ours` in per cent, `matches` (theirs, ours, both or neither: which of the two
        rounds to the printed number, signs apart), `pair` (the text quotes the right two numbers, others, or none) and
        `verdict`.

    Raises:
        DidError: See `published`.
    """
    rows = []
    for gain in gains:
        ours, theirs = (published(gain["table"], gain[side], gain["column"]) for side in ("ours", "theirs"))
        readings = {"theirs": relative_gain(ours, theirs, theirs), "ours": relative_gain(ours, theirs, ours)}
        fits = [name for name, value in readings.items() if _rounds_to(abs(value), gain["printed"])]
        matches = "both" if len(fits) == 2 else fits[0] if fits else "neither"
        quoted = [float(number) for number in gain["pair"].split()]
        pair = "none" if not quoted else "right" if quoted == [ours, theirs] else "others"
        rows.append(
            {
                **{name: gain[name] for name in ("quote", "where")},
                "compared": f"{gain['table']}, {gain['column']}: {gain['ours']} against {gain['theirs']}",
                **{"ours": ours, "theirs": theirs, "printed": gain["printed"]},
                **{f"over {name}": value for name, value in readings.items()},
                **{"matches": matches, "pair": pair, "verdict": _verdict(matches, pair)},
            }
        )
    return pd.DataFrame(rows)


def _rounds_to(value: float, printed: str) -> bool:
    """Return whether a value agrees with a printed one within half a unit of its last decimal."""
    decimals = len(printed.partition(".")[2])
    return abs(value - float(printed)) <= 0.5 * 10.0**-decimals + 1e-9


def _verdict(matches: str, pair: str) -> str:
    said = {
        "theirs": "agrees: a share of the other's number",
        "ours": "agrees: a share of DID's own number",
        "both": "agrees on either reading",
        "neither": "does not follow from the tables",
    }[matches]
    return said + ("; the two numbers quoted beside it are others" if pair == "others" else "")


def best_rivals() -> pd.DataFrame:
    """Compare DID with the best of its rivals in each column of Tables 1 and 2.

    Returns:
        One row per column: `table`, `column`, `DID`, `best rival`, `its AUC`, and `gain`, relative to the rival, in per
        cent; below 0 where the rival is ahead.
    """
    columns: dict[tuple[str, str], dict[str, float]] = {}
    for place in _places():
        if place["table"] in ("Table 1", "Table 2"):
            key = str(place["table"]), str(place["column"])
            columns.setdefault(key, {})[str(place["row"])] = float(place["value"])
    rows = []
    for (table, column), of in columns.items():
        ours = of.pop("DID")
        best = max(of, key=of.__getitem__)
        gain = relative_gain(ours, of[best], of[best])
        rows.append((table, column, ours, best, of[best], gain))
    return pd.DataFrame(rows, columns=["table", "column", "DID", "best rival", "its AUC", "gain"])


def repeats() -> pd.DataFrame:
    """List the numbers that the paper prints for more than one experiment.

    DID trained on FF++ with α = .5 and tested on CDF2 is in Tables 1 and 4 and in Fig. 4: that is one experiment.

    Returns:
        One row per number: `metric`, `value`, `experiments` (how many) and `where`; most frequent first.
    """
    found: dict[tuple[str, float], dict[str, str]] = {}
    for place in _places():
        where = f"{place['table']}, {place['row']}, {place['column']}"
        found.setdefault((str(place["metric"]), float(place["value"])), {}).setdefault(_experiment(place), where)
    rows = [
        {"metric": metric, "value": value, "experiments": len(of), "where": "; ".join(of.values())}
        for (metric, value), of in found.items()
        if len(of) > 1
    ]
    rows.sort(key=lambda row: (-int(str(row["experiments"])), str(row["metric"]), -float(str(row["value"]))))
    return pd.DataFrame(rows)


def _experiment(place: Mapping[str, str | float]) -> str:
    """Describe what was trained and tested: the same text for the same experiment, wherever it is printed."""
    name = (place["table"], place["row"], place["column"])
    full = {("Table 1", "DID", "CDF2"), ("Table 4", "DID", "AUC"), ("Fig. 4", "α = 0.5", "CDF2")}
    return "DID, FF++ to CDF2" if name in full else " ".join(str(part) for part in name)


def _places() -> list[dict[str, str | float]]:
    """List every AUC and EER that the paper prints: table, row, column, metric, value."""
    rows: list[tuple[str, str, str, float | None]] = []
    for row, both in printed.TABLE_1.items():
        rows += [("Table 1", row, column, value) for column, value in zip(("FF++", "CDF2"), both, strict=True)]
    for row, subsets in printed.TABLE_2.items():
        rows += [("Table 2", row, column, value) for column, value in subsets.items()]
    named = {
        "Table 3": {" + ".join(key): both for key, both in printed.TABLE_3.items()},
        "Table 4": printed.TABLE_4,
    }
    for table, of in named.items():
        for row, both in of.items():
            rows += [(table, row, column, value) for column, value in zip(("AUC", "EER"), both, strict=True)]
    rows += [("Fig. 4", f"α = {alpha}", "CDF2", value) for alpha, value in printed.FIGURE_4.items()]
    return [
        {"table": table, "row": row, "column": column, "metric": "EER" if column == "EER" else "AUC", "value": value}
        for table, row, column, value in rows
        if value is not None
    ]
