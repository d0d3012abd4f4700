"""The page on the intervals is made from the study's table."""

import pandas as pd
import pytest

from did.errors import DidError
from did_book.pages.coverage import FILE, coverage_page


def test_the_page_shows_the_table(tmp_path):
    table = pd.DataFrame(
        {"people": [24, 24, 60], "seeds": [1, 3, 1], "auc_a": [0.9, 0.9, 0.9], "auc_b": [0.9, 0.9, 0.8], "spread": 0.3,
         "worlds": 300, "auc": [0.95, 0.94, 0.96], "difference": [0.95, 0.93, 0.95],
         "auc, over videos": [0.8, 0.8, None], "difference, over videos": [0.6, 0.9, None]}
    )  # fmt: skip
    (tmp_path / FILE).parent.mkdir(parents=True)
    table.to_csv(tmp_path / FILE, index=False)
    page = coverage_page(tmp_path)
    assert page.startswith("# Can the intervals be trusted?") and "300 worlds per cell, 3 cells" in page
    assert (
        "| 24 | 0.950 [0.950, 0.950] | 0.940 [0.940, 0.940] |" in page and "| 60 | 0.960 [0.960, 0.960] | - |" in page
    )
    assert "Of 6 shares, 6 lie between .93 and .97; if every interval were exact, 6 would" in page
    assert "The lowest is 0.930, with 24 people and 3 seeds." in page
    assert "| 1 | 40 of 100 | 5 of 100 |" in page and "| 3 | 10 of 100 | 7 of 100 |" in page


def test_a_missing_study_is_named(tmp_path):
    with pytest.raises(DidError, match=r"there is no benchmarks/results/coverage\.csv: make it with"):
        coverage_page(tmp_path)
