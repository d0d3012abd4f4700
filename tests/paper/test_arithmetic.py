"""The paper's gains against a calculation by hand, typed from its tables; its repeated numbers."""

from collections import Counter

import pandas as pd
import pytest

from did.errors import DidError
from did.paper import arithmetic, published

# printed, ours, theirs, the denominator that gives it: read from the paper by eye, apart from did.paper.published.
BY_HAND = [
    (4.99, 0.779, 0.742, "theirs"),
    (2.635, 0.779, 0.759, "theirs"),
    (81.45, 0.802, 0.442, "theirs"),
    (12.82, 0.741, 0.646, "ours"),
    (17.16, 0.676, 0.577, "theirs"),
    (17.26, 0.727, 0.620, "theirs"),
    (19.22, 0.332, 0.411, "theirs"),
    (6.56, 0.763, 0.716, "theirs"),
    (12.21, 0.302, 0.344, "theirs"),
    (2.05, 0.779, 0.763, "ours"),
    (5.59, 0.286, 0.302, "ours"),
    (2.57, 0.779, 0.759, "ours"),
    (6.64, 0.286, 0.305, "ours"),
]


@pytest.fixture(scope="module")
def table():
    return arithmetic.recompute()


def test_every_gain_against_the_calculation_by_hand(table):
    assert len(table) == len(BY_HAND) == len(published.GAINS)
    for (printed, ours, theirs, denominator), row in zip(BY_HAND, table.to_dict("records"), strict=True):
        assert float(row["printed"]) == printed
        assert (row["ours"], row["theirs"]) == (ours, theirs), row["quote"]
        assert row["over theirs"] == pytest.approx(100 * (ours - theirs) / theirs, rel=1e-12)
        assert row["over ours"] == pytest.approx(100 * (ours - theirs) / ours, rel=1e-12)
        assert row["matches"] == denominator, row["quote"]


def test_the_gains_are_printed_where_they_are_quoted_from():
    for gain in published.GAINS:
        assert f"{gain['printed']}%" in gain["quote"]
        pair = gain["pair"].split()
        assert all(number in gain["quote"] for number in pair) and len(pair) in (0, 2)


def test_better_means_higher_auc_and_lower_eer(table):
    lower = table["compared"].str.contains("EER")
    assert (table["over theirs"] < 0).tolist() == lower.tolist()
    assert lower.sum() == 4


def test_i2i_alone_among_dires_three_is_a_share_of_dids_own_number(table):
    dire = table[table["compared"].str.contains("DIRE")]
    assert dire["matches"].tolist() == ["theirs", "ours", "theirs"]
    assert dire["over theirs"].iloc[1] == pytest.approx(14.706, abs=1e-3)


def test_one_sentence_quotes_another_rows_numbers(table):
    wrong = table[table["pair"] == "others"]
    assert wrong["printed"].tolist() == ["19.22"]
    assert wrong["verdict"].item() == (
        "agrees: a share of the other's number; the two numbers quoted beside it are others"
    )
    assert Counter(table["pair"]) == {"right": 7, "none": 5, "others": 1}


@pytest.mark.parametrize(
    ("printed", "matches", "verdict"),
    [
        ("4.99", "theirs", "agrees: a share of the other's number"),
        ("4.75", "ours", "agrees: a share of DID's own number"),
        ("5", "both", "agrees on either reading"),  # 4.987 and 4.750 both round to it
        ("4.98", "neither", "does not follow from the tables"),
        ("4.987", "theirs", "agrees: a share of the other's number"),
        ("4.9", "neither", "does not follow from the tables"),
    ],
)
def test_the_printed_decimals_decide(printed, matches, verdict):
    row = arithmetic.recompute([{**published.GAINS[0], "printed": printed}]).iloc[0]
    assert (row["matches"], row["verdict"]) == (matches, verdict)


def test_the_range_that_rounding_leaves():
    for ours, theirs in [(0.779, 0.742), (0.286, 0.302), (0.779, 0.763)]:
        for over_theirs in (True, False):
            sizes = []
            for i in range(-10, 11):
                for j in range(-10, 11):
                    a, b = ours + i * 0.00005, theirs + j * 0.00005
                    sizes.append(100 * abs(a - b) / (b if over_theirs else a))
            found = arithmetic.rounding_range(ours, theirs, over_theirs)
            assert found == pytest.approx((min(sizes), max(sizes)), rel=1e-9)


def test_the_tables_cannot_tell_some_denominators_apart():
    _, high = arithmetic.rounding_range(0.779, 0.763, over_theirs=False)
    low, _ = arithmetic.rounding_range(0.779, 0.763, over_theirs=True)
    assert low < high
    _, high = arithmetic.rounding_range(0.741, 0.646, over_theirs=False)
    low, _ = arithmetic.rounding_range(0.741, 0.646, over_theirs=True)
    assert high < low  # I2I: the two readings are far apart


def test_numbers_by_table_row_and_column():
    assert arithmetic.published("Table 1", "Multi-task", "FF++") == 0.763
    assert arithmetic.published("Table 2", "DID", "FS") == 0.817
    assert arithmetic.published("Table 3", "ResNet50 + BCE", "EER") == 0.411
    assert arithmetic.published("Table 4", "w/o T", "AUC") == 0.759
    assert arithmetic.published("Fig. 4", "α = 0.0", "CDF2") == 0.380
    for missing in [("Table 1", "DIRE", "CDF2"), ("Table 2", "DID", "AUC"), ("Table 9", "DID", "AUC")]:
        with pytest.raises(DidError, match=f"prints no number in {missing[0]}, row '{missing[1]}'"):
            arithmetic.published(*missing)


def test_the_best_rival_of_each_column():
    found = {(row.table, row.column): row for row in arithmetic.best_rivals().itertuples()}
    by_eye = {
        ("Table 1", "FF++"): ("MDD", 0.998, 0.970),
        ("Table 1", "CDF2"): ("NoiseDF", 0.759, 0.779),
        ("Table 2", "T2I"): ("F3-Net", 0.669, 0.802),
        ("Table 2", "I2I"): ("F3-Net", 0.676, 0.741),
        ("Table 2", "FS"): ("Xception", 0.860, 0.817),
        ("Table 2", "FE"): ("F3-Net", 0.606, 0.676),
    }
    assert list(found) == list(by_eye)
    for place, (rival, theirs, ours) in by_eye.items():
        row = found[place]
        assert (row[4], row[5], row.DID) == (rival, theirs, ours)
        assert row.gain == pytest.approx(100 * (ours / theirs - 1))


def test_repeats_count_experiments_not_places():
    found = arithmetic.repeats()
    assert isinstance(found, pd.DataFrame)
    by_value = {(row.metric, row.value): row for row in found.itertuples()}
    most = by_value["AUC", 0.763]
    assert most.Index == 0 and most.experiments == 4
    for part in (
        "Table 1, Multi-task, FF++",
        "Table 3, EfficientNet-v2-L + DID",
        "Table 4, w/o A_dom",
        "Fig. 4, α = 1.0",
    ):
        assert part in most.where
    assert by_value["EER", 0.302].experiments == 2
    assert ("AUC", 0.779) not in by_value  # one experiment in three places
    assert ("AUC", 0.380) not in by_value
    # the same count in plain loops over the tables as typed
    auc = [value for both in published.TABLE_1.values() for value in both if value is not None]
    auc += [value for of in published.TABLE_2.values() for value in of.values()]
    auc += [both[0] for both in published.TABLE_3.values()]
    auc += [both[0] for name, both in published.TABLE_4.items() if name != "DID"]
    auc += [value for alpha, value in published.FIGURE_4.items() if alpha != 0.5]
    expected = {value: n for value, n in Counter(auc).items() if n > 1}
    assert {row.value: row.experiments for row in found.itertuples() if row.metric == "AUC"} == expected
