import re

import pytest


@pytest.fixture
def whole():
    """A check of what every plot has: a picture, its data, words made from numbers of three decimals, the stamp."""

    def check(plot):
        bundle = plot._repr_mimebundle_()
        assert bundle["image/png"].startswith(b"\x89PNG") and len(bundle["image/png"]) > 5000
        assert bundle["text/plain"] == plot.alt and plot.alt.endswith(".")
        assert re.search(r"\d\.\d{3}", plot.alt) and not re.search(r"nan|\d\.\d{4}", plot.alt)
        assert len(plot.data) > 0
        assert any("the stamp" in text.get_text() for text in plot.figure.texts)
        return plot

    return check
