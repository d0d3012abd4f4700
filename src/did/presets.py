"""The presets: every size that depends on one, in one table.

A preset changes sizes and nothing else, but for what `laptop` names below.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from did.errors import DidError, nearest

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a preset decides.

    Attributes:
        settings: fields of `did.settings.Settings` in place of the paper's.
        standins: data set -> people of each split and frames of a clip. cdf2 and diff are tested on only, so that most
            of their people are in the test split.
        backbones: place in the paper -> (timm's name, where its weights are from). Below `paper` those whose ImageNet
            weights come in packages (`laptop`), or small ones without (`smoke`): they take the paper's places, and
            every row names what it ran on.
    """

    settings: Mapping[str, Any]
    standins: Mapping[str, Mapping[str, Any]]
    backbones: Mapping[str, tuple[str, str]]


def _people(train: int, val: int, test: int, frames: int) -> dict[str, Any]:
    return {"people": {"train": train, "val": val, "test": test}, "frames": frames}


# `laptop` differs from the paper in size and, since the paper's literal settings let T die and M_df saturate at
# this size (the train notebook shows both), in three open or stated choices that are named here and in the book. The
# learning rate is ten times the paper's or more, because far fewer steps are taken.
_LIVING: dict[str, Any] = {"estimator_weight": "one", "adaptive_pool": "mean", "attention_rate": 1.0}
PRESETS: dict[str, Preset] = {
    "paper": Preset(
        settings={},
        standins={
            "ffpp": _people(200, 40, 40, frames=64),
            "cdf2": _people(40, 20, 100, frames=64),
            "dffd": _people(1000, 100, 200, frames=1),
            "diff": _people(10, 100, 400, frames=1),
        },
        backbones={
            "first": ("tf_efficientnetv2_l", "hub"),
            "second": ("resnet50", "hub"),
            "xception": ("legacy_xception", "hub"),
        },
    ),
    "laptop": Preset(
        settings={
            **_LIVING,
            "backbone": "tf_efficientnet_lite0",
            "pretrained": "package",
            "image_size": 112,
            "frames": 4,
            "lr": 0.0001,
            "iterations": 200,
            "validate_every": 50,
        },
        standins={
            "ffpp": _people(100, 16, 40, frames=6),
            "cdf2": _people(8, 6, 200, frames=6),
            "dffd": _people(200, 30, 40, frames=1),
            "diff": _people(2, 10, 200, frames=1),
        },
        backbones={
            "first": ("tf_efficientnet_lite0", "package"),
            "second": ("tf_efficientnet_lite1", "package"),
            # The rivals run on DID's own backbone: a difference between backbones is not one between methods.
            "xception": ("tf_efficientnet_lite0", "package"),
        },
    ),
    "smoke": Preset(
        settings={
            **_LIVING,
            "backbone": "test_efficientnet",
            "pretrained": "none",
            "image_size": 64,
            "frames": 2,
            "lr": 0.001,
            "head_rate": 1.0,
            "estimator_rate": 1.0,
            "hidden": 16,
            "estimator_channels": 16,
            "iterations": 6,
            "validate_every": 3,
        },
        standins={
            "ffpp": _people(6, 4, 4, frames=4),
            "cdf2": _people(6, 4, 6, frames=4),
            "dffd": _people(6, 4, 4, frames=1),
            "diff": _people(2, 4, 6, frames=1),
        },
        backbones={
            "first": ("test_efficientnet", "none"),
            "second": ("test_resnet", "none"),
            "xception": ("test_resnet", "none"),
        },
    ),
}


def preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        DidError: If the name is unknown; the sentence gives the nearest.
    """
    return of_preset(PRESETS, name)


def of_preset(table: Mapping[str, T], preset: str) -> T:
    """Return a table's entry for a preset.

    Raises:
        DidError: If the preset is unknown; the sentence names the nearest.
    """
    if preset not in table:
        raise DidError(f"unknown preset '{preset}': {nearest(preset, table)}")
    return table[preset]
