import re

import pytest


@pytest.fixture
def whole():
    """A check of what every plot has: a picture, its data, words made from numbers of three decimals, the stamp."""

    def check(plot):
        bundle, about = plot._repr_mimebundle_()
        assert about["image/png"]["stamp"] == plot.stamp and "the stamp" in plot.stamp
        assert bundle["image/png"].startswith(b"\x89PNG") and len(bundle["image/png"]) > 5000
        assert bundle["text/plain"] == plot.alt and plot.alt.endswith(".")
        assert re.search(r"\d\.\d{3}", plot.alt) and not re.search(r"nan|\d\.\d{4}", plot.alt)
        assert len(plot.data) > 0
        assert bundle["text/csv"].count("\n") > len(plot.data)
        return plot

    return check
