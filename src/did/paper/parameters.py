"""The notebooks' parameters, and their checks."""

import types
from collections.abc import Mapping
from typing import Any

from did.errors import DidError, nearest
from did.paper.conduct import seed_list
from did.settings import Settings

_COMMON = ("source", "edition", "faces", "data_root", "preset", "seed", "iterations")

_ANY = ("preset", "edition", "faces", "data_root", "seeds")

_RESULT = (*_ANY, "fresh")

PARAMETERS = {
    "data": ("source", "edition", "faces", "data_root", "preset"),
    "train": (*_COMMON, "backbone", "pretrained", "options"),
    "start": _RESULT,
    "predict": ("source", "edition", "faces", "data_root", "preset", "seed"),
    "adversary": (*_RESULT, "rows"),
    **{
        f"method_{name}": ("preset",)
        for name in ("1_decomposition", "2_attention", "3_mutual_information", "4_ranking", "5_together")
    },
    "arithmetic": ("preset",),
    "table1_intra_cross": (*_RESULT, "rows"),
    "table2_diffusion": (*_RESULT, "rows"),
    "table3_backbones": _RESULT,
    "fig4_alpha": _RESULT,
    "table4_ablation": (*_RESULT, "rows"),
    "fig5_domains": _RESULT,
    "fig6_saliency": (*_RESULT, "people"),
    "fig7_embeddings": _RESULT,
    "training_length": (*_RESULT, "rows"),
    "open_choices": (*_RESULT, "rows"),
    "what_carries": (*_RESULT, "rows"),
    "independence": (*_RESULT, "rows"),
    "without_labels": (*_RESULT, "rows"),
    "loss_weights": (*_RESULT, "rows"),
    "better_data": (*_RESULT, "rows"),
    "leave_one_out": (*_RESULT, "rows"),
    "ten_worlds": _RESULT,
    "paper_against_ours": ("preset", "records"),
    "speed": ("preset", "records"),
}

_TEXTS = ("source", "edition", "preset", "faces", "data_root", "backbone", "pretrained", "records")

_NEVER_NONE = ("source", "edition", "preset", "seed", "fresh")


def check_parameters(namespace: Mapping[str, Any], notebook: str) -> None:
    """Stop a notebook, before any work, if it was given an unknown parameter or a value of the wrong kind.

    papermill itself would only warn, and it reads `-p data_root 2024` as a number.

    Args:
        namespace: the notebook's `globals()`, right after its parameter cells.
        notebook: its name, a key of `PARAMETERS`.

    Raises:
        DidError: If a name is unknown (the sentence gives the nearest one), or a value is not possible, and it says
            what the parameter takes.
    """
    known = PARAMETERS[notebook]
    shell = {"In", "Out", "exit", "quit", "get_ipython", "open", "check_parameters"}
    for name, value in namespace.items():
        if name.startswith("_") or name in shell or isinstance(value, types.ModuleType):
            continue
        if name not in known:
            raise DidError(f"unknown parameter '{name}': {nearest(name, known)}")
    for name in known:
        _check_value(name, namespace[name])


def _check_value(name: str, value: Any) -> None:
    """Check one value of a notebook's parameter; rows and options are checked where they are used.

    Raises:
        DidError: If the parameter does not take the value.
    """
    if value is None and name not in _NEVER_NONE:
        return
    if name in _TEXTS and not isinstance(value, str):
        raise DidError(f"the parameter '{name}' takes a text, got {value!r}: give it with -r, as in -r {name} TEXT")
    if name == "people" and (type(value) is not int or value < 1):
        raise DidError(f"the parameter 'people' takes a whole number from 1 up, as in -p people 4, got {value!r}")
    if name == "fresh" and type(value) is not bool:
        raise DidError(f"the parameter 'fresh' takes True or False, as in -p fresh False, got {value!r}")
    if name in ("seed", "iterations"):
        Settings(**{name: value})
    if name == "seeds":
        for seed in seed_list(value, 1):
            Settings(seed=seed)


def train_settings(
    preset: str,
    backbone: str | None = None,
    pretrained: str | None = None,
    seed: int | None = None,
    iterations: int | None = None,
    options: Mapping[str, Any] | None = None,
    source: str = "ffpp",
) -> Settings:
    """Return the settings of the train notebook: a preset, changed by the values that are given.

    Raises:
        DidError: See `did.settings.Settings.preset`.
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
