"""What nbval does not compare in the notebooks here: pictures that it does not know as such, the numbers behind them,
and progress bars."""

import pytest

NOT_COMPARED = ("application/papermill.record/image/png", "image/svg+xml", "text/csv", "stderr")


def pytest_collectstart(collector: pytest.Collector) -> None:
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += NOT_COMPARED
