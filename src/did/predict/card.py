"""The card of an exported detector: what must be known of it to use it, as JSON beside its weights.

detector.safetensors   the tensors of the test phase: for DID G, A_df and C, nothing of the training
detector.json          the card: settings, domains, training data, calibration, the weights' SHA-256, provenance
detector.onnx          the same function as an ONNX graph, checked against PyTorch
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from did.errors import DidError
from did.settings import Settings
from did.task import Wants
from did.training.runs import task_of
from did.utils import checkpoints
from did.utils.files import sha256
from did.utils.words import first_line

CARD, WEIGHTS, GRAPH = "detector.json", "detector.safetensors", "detector.onnx"
#: Of the folder; a later did may read older ones.
FORMAT = 1
CAUTION = "A score is evidence at best, never proof about a person. Look at what the detector was trained on."
_KEYS = {"format", "run", "task", "settings", "domains", "data", "protocol", "calibration", "provenance", "weights"}
# What `did.predict.report.about` reads of the card's parts, and of each level of the calibration.
_PARTS = {
    "data": {"source", "edition"},
    "provenance": {"commit", "date"},
    "calibration": {"rule", "frame", "video"},
}
_NUMBERS = ("temperature", "threshold", "fpr", "fnr", "n_real", "n_fake")
_MEND = "export the detector again"


def write(folder: Path, about: Mapping[str, Any], settings: Settings, wants: Wants) -> None:
    """Write the card of the weights, and of the graph if it is there, that a folder holds.

    Args:
        folder: of the export.
        about: the run's record, or a card.
        settings: of the run.
        wants: of its task.
    """
    size, margin = settings.image_size, settings.crop_margin
    colour = "gray" if wants.channels == 1 else "RGB"
    shape = f"(n, {f'{wants.frames}, ' if wants.frames > 1 else ''}{wants.channels}, {size}, {size})"
    more = "" if wants.context is None else f"; beside them the same faces at margin {wants.context:g}"
    files = {key: name for key, name in (("weights", WEIGHTS), ("onnx", GRAPH)) if (folder / name).is_file()}
    card = {
        "format": FORMAT,
        **{key: about[key] for key in ("run", "task", "domains", "data", "protocol", "calibration", "provenance")},
        **{key: about.get(key, {}) for key in ("options", "contents")},
        "metrics": about.get("metrics"),
        "settings": settings.as_dict(),
        "input": f"{colour} crops, float32 {shape} in [0, 1], aligned as did.data.faces.align does, margin "
        f"{margin:g}{more}",
        "output": "score, float32 (n,): a logit, higher for fake; probability = sigmoid(score / temperature)",
        "caution": CAUTION,
        **{key: {"file": name, "sha256": sha256(folder / name)} for key, name in files.items()},
    }
    (folder / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[nn.Module, dict[str, Any], Wants]:
    """Return the detector of an exported folder, its card, and what its task wants of a face.

    Raises:
        DidError: If the card or the weights are damaged, foreign, of a later format, or do not belong together.
    """
    card = _read(folder / CARD)
    weights = folder / WEIGHTS
    tensors, _ = checkpoints.load(weights, fix=_MEND)
    if sha256(weights) != card["weights"]["sha256"]:
        raise DidError(f"the weights {weights} are not those that {CARD} names (another SHA-256): {_MEND}")
    try:
        task = task_of(card)
    except (DidError, KeyError, TypeError) as error:
        raise DidError(f"{folder / CARD} describes no detector that this did knows ({error}): {_MEND}") from error
    module = task.detector()
    checkpoints.put(module, tensors, weights, fix=_MEND)
    return module.eval(), card, task.wants


def _read(file: Path) -> dict[str, Any]:
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(card, dict) or _KEYS - set(card):
            raise ValueError("it is not a card of a detector")
        if card["format"] != FORMAT:
            raise ValueError(f"its format is {card['format']}, and this did reads {FORMAT}")
        _check(card)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DidError(f"{file} cannot be read ({first_line(error)}): {_MEND}") from error
    return card


def _check(card: Mapping[str, Any]) -> None:
    """Check the parts of a card: what is missing would stop a later step, and a NaN would call every face real."""
    for part, keys in _PARTS.items():
        if lacking := keys - set(card[part]):
            raise ValueError(f"its {part} has no '{min(lacking)}'")
    if not isinstance(card["provenance"]["date"], str):
        raise ValueError("its date is not a text")
    for level in ("frame", "video"):
        known = card["calibration"][level]
        if lacking := {"bound", *_NUMBERS} - set(known):
            raise ValueError(f"its calibration of {level}s has no '{min(lacking)}'")
        for key in _NUMBERS:
            if type(known[key]) not in (int, float) or not math.isfinite(known[key]):
                raise ValueError(f"the {key} of {level}s is {known[key]!r}, not a finite number")
        if known["temperature"] <= 0:
            raise ValueError(f"the temperature of {level}s is not above 0")
    card["weights"]["sha256"].lower()
