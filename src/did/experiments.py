"""What the notebooks run: their parameters checked, and turned into settings."""

import types
from collections.abc import Mapping
from typing import Any

from did.errors import DidError
from did.settings import Settings, nearest

_COMMON = ("source", "edition", "faces", "data_root", "preset", "seed", "iterations")
PARAMETERS = {
    "data": ("source", "edition", "faces", "data_root", "preset"),
    "train": (*_COMMON, "backbone", "pretrained", "options"),
    "adversary": _COMMON,
}

# Readings of the game between T and the features, as changes to a preset of small size: §3.3 and Eq. 12 contradict
# each other, and neither says what λ_dec scales. "literal" undoes what those presets take in place of the paper's.
READINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "literal": {"estimator_weight": "lambda_dec", "adaptive_pool": "sum", "attention_rate": 10.0},
    "T's weight λ_dec": {"estimator_weight": "lambda_dec"},
    "A's rate ×10, S-ADP sum": {"adaptive_pool": "sum", "attention_rate": 10.0},
    "Eq. 12 as printed": {"adversary": "eq12"},
    "λ_dec = 1": {"lambda_dec": 1.0},
    "λ_dec = 1, T's rate = G's": {"lambda_dec": 1.0, "estimator_rate": 1.0},
    "λ_dec = 1, T pooled, T's rate = G's": {"lambda_dec": 1.0, "estimator_rate": 1.0, "estimator_input": "pooled"},
    "without T": {"decorrelation": False},
}


def check_parameters(namespace: Mapping[str, Any], notebook: str) -> None:
    """Stop a notebook that was given a parameter it does not have: papermill itself would only warn.

    Args:
        namespace: the notebook's `globals()`, right after its parameter cells.
        notebook: its name, a key of `PARAMETERS`.

    Raises:
        DidError: a name that is not known; the sentence gives the nearest one.
    """
    known = PARAMETERS[notebook]
    shell = {"In", "Out", "exit", "quit", "get_ipython", "open", "check_parameters"}
    for name, value in namespace.items():
        if name.startswith("_") or name in shell or isinstance(value, types.ModuleType):
            continue
        if name not in known:
            raise DidError(f"unknown parameter '{name}': {nearest(name, known)}")


def train_settings(
    preset: str,
    backbone: str | None = None,
    pretrained: str | None = None,
    seed: int | None = None,
    iterations: int | None = None,
    options: Mapping[str, Any] | None = None,
    source: str = "ffpp",
) -> Settings:
    """Settings of the train notebook: a preset, and whatever is given in place of the preset's values.

    Raises:
        DidError: see `did.settings.Settings.preset`.
    """
    if options is not None and not isinstance(options, Mapping):
        raise DidError(f"options takes a mapping of settings, as in -y 'options: {{alpha: 1.0}}', got {options!r}")
    # Without the path of folder:PATH: settings name a run on every machine alike.
    named = {
        "source": source.partition(":")[0],
        "backbone": backbone,
        "pretrained": pretrained,
        "seed": seed,
        "iterations": iterations,
    }
    given = {name: value for name, value in named.items() if value is not None}
    return Settings.preset(preset, **{**(options or {}), **given})
