"""Plane geometry that alignment and the stand-ins share."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def similarity(source: Points, target: Points) -> NDArray[np.float64]:
    """Fit the rotation, scale and shift that maps points onto others, in least squares, without reflections.

    Args:
        source: (n, 2) points (x, y).
        target: (n, 2) points to bring them to.

    Returns:
        (2, 3) matrix.

    Source: Umeyama (1991), whose solution in the plane has this closed form.
    """
    s, t = source - source.mean(0), target - target.mean(0)
    a, b = (s * t).sum(), (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()
    linear = np.array([[a, -b], [b, a]]) / (s**2).sum()
    return np.column_stack([linear, target.mean(0) - linear @ source.mean(0)])
