"""The experiments and figures of the chapters, one file a chapter: each experiment above its figure."""

from collections.abc import Sequence

from did.training import provenance


def stamp(preset: str, seeds: Sequence[int] = (0,)) -> str:
    """Describe the data of experiments on known distributions, for the line under a figure."""
    return provenance.stamp("Made-up numbers, no faces", preset, seeds)
