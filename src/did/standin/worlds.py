"""Worlds: stand-ins whose people, forgeries, strengths and cameras are drawn anew.

A conclusion from one set of forgeries may be one about that set. In another world each method of a data set is made by
another mechanism of the pool, at another strength, and every camera differs; the layouts, the protocol and the names of
the methods stay. What holds in ten worlds is not due to one of them. World 0 is the usual one.

Drawn per world, evenly from these ranges:

- the mechanism of each method: from the pool of all of them, each in one data set only, so that sets to test on hold
  nothing that was trained on; DFFD's, which nobody is tested on after FF++, share the pool with FF++'s;
- the strength of each: the share of its change that is kept, `STRENGTH`, for what changes a part of the picture;
- each camera's grain and blur: their usual ranges, multiplied by a factor in `CAMERA`;
- the codec of clips: crf in `CRF`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache

import numpy as np

from did.errors import DidError
from did.standin.animate import Clip
from did.standin.diffusion import METHODS_DIFF
from did.standin.forge import METHODS, METHODS_CDF2, Forgery, Masks
from did.standin.landmarks import Image
from did.standin.layouts import LAYOUTS, Layout
from did.standin.synthesis import METHODS_DFFD

POOL: Mapping[str, Forgery] = {**METHODS, **METHODS_CDF2, **METHODS_DFFD, **METHODS_DIFF}
STRENGTH, CAMERA, CRF = (0.6, 1.0), (0.7, 1.4), (19, 29)
#: A mask that covers more than this has no target outside it to be blended with.
_WHOLE = 0.99


@dataclasses.dataclass(frozen=True)
class World:
    """What is drawn for a world.

    Attributes:
        number: of the world; 0 is the usual one.
        mechanisms: data set -> method's name -> the mechanism of `POOL` that makes it.
        strengths: data set -> method's name -> the share of its change that is kept.
        light: data set -> what its camera's ranges are multiplied by: grain, blur.
        crf: of the clips.
    """

    number: int
    mechanisms: Mapping[str, Mapping[str, str]]
    strengths: Mapping[str, Mapping[str, float]]
    light: Mapping[str, tuple[float, float]]
    crf: int

    def described(self) -> dict[str, object]:
        """Return what `standin.json` says of it for people to read."""
        return dataclasses.asdict(self)


@cache
def world(number: int) -> World:
    """Draw a world; the same number gives the same world.

    Raises:
        DidError: If the number is not a whole number from 1 up.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise DidError(f"a world is a whole number from 1 up (0 is the usual one), not {number!r}")
    rng = np.random.default_rng([number, 7])
    apart = [name for name in LAYOUTS if name != "dffd"]
    # All mechanisms work on clips and on pictures, so each can stand for any method.
    mixed = [str(name) for name in rng.permutation(sorted(POOL))]
    mechanisms: dict[str, dict[str, str]] = {}
    for name in apart:
        methods = list(LAYOUTS[name].methods)
        mechanisms[name] = dict(zip(methods, mixed, strict=False))
        mixed = mixed[len(methods) :]
    # DFFD takes what is left, then what FF++ has: both are trained on, and never tested after each other.
    left = [*mixed, *mechanisms["ffpp"].values()]
    mechanisms["dffd"] = dict(zip(LAYOUTS["dffd"].methods, left, strict=False))
    strengths = {
        name: {method: round(float(rng.uniform(*STRENGTH)), 3) for method in LAYOUTS[name].methods} for name in LAYOUTS
    }
    light = {name: (float(rng.uniform(*CAMERA)), float(rng.uniform(*CAMERA))) for name in LAYOUTS}
    return World(number, mechanisms, strengths, light, int(rng.integers(CRF[0], CRF[1] + 1)))


def layout_in(number: int, name: str) -> Layout:
    """Return the layout of a data set as it is in a world: its own in world 0."""
    usual = LAYOUTS[name]
    if number == 0:
        return usual
    of = world(number)
    grain, blur = of.light[name]
    (quiet, loud), (sharp, soft) = usual.camera.grain, usual.camera.blur
    seen = dataclasses.replace(usual.camera, grain=(grain * quiet, grain * loud), blur=(blur * sharp, blur * soft))
    methods = {
        method: _at_strength(POOL[mechanism], of.strengths[name][method])
        for method, mechanism in of.mechanisms[name].items()
    }
    return dataclasses.replace(usual, methods=methods, camera=seen)


def _at_strength(forge: Forgery, strength: float) -> Forgery:
    """Return a forgery that keeps this share of its change wherever the target is still seen around it."""

    def forged(target: Clip, donor: Clip, rng: np.random.Generator) -> tuple[Image, Masks]:
        frames, masks = forge(target, donor, rng)
        if float(masks.mean()) > _WHOLE:
            return frames, masks
        mixed = target.frames + np.float32(strength) * (frames.astype(np.float32) - target.frames)
        return np.clip(np.round(mixed), 0, 255).astype(np.uint8), masks

    return forged
