import numpy as np
import pytest

from did.data.geometry import similarity


def test_similarity_is_the_least_squares_solution():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 5, 2))
    # The same fit as an ordinary system in (a, b, dx, dy).
    zero, one = np.zeros(5), np.ones(5)
    rows_x = np.stack([source[:, 0], -source[:, 1], one, zero], axis=1)
    rows_y = np.stack([source[:, 1], source[:, 0], zero, one], axis=1)
    a, b, dx, dy = np.linalg.lstsq(np.vstack([rows_x, rows_y]), np.concatenate(target.T), rcond=None)[0]
    assert similarity(source, target) == pytest.approx(np.array([[a, -b, dx], [b, a, dy]]))
