"""`export`: a detector alone, in a folder that can be passed on: weights, a readable card, and ONNX where wanted.

detector.safetensors   the tensors of the test phase: for DID G, A_df and C, nothing of the training
detector.json          settings, domains, what it was trained on, calibration, the weights' SHA-256, provenance
detector.onnx          the same function as an ONNX graph, checked against PyTorch
"""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from did.errors import DidError
from did.settings import Settings
from did.training.runs import TASKS, check_code
from did.utils import checkpoints
from did.utils.files import sha256, write_atomically, writing

if TYPE_CHECKING:
    from did.predict.detector import Detector

CARD, WEIGHTS, GRAPH = "detector.json", "detector.safetensors", "detector.onnx"
#: Of the folder; a later did may read older ones.
FORMAT = 1
#: What ONNX Runtime's scores may differ by from PyTorch's.
TOLERANCE = 1e-4
_KEYS = {"format", "run", "task", "settings", "domains", "data", "protocol", "calibration", "provenance", "weights"}
_MEND = "export the detector again"
INPUT = "gray crops, float32 (n, 1, {0}, {0}) in [0, 1], aligned as did.data.prepare.align does, margin {1:g}"
CAUTION = "A score is evidence at best, never proof about a person. Look at what the detector was trained on."


def export(detector: Detector, folder: str | Path, onnx: bool = False) -> Path:
    """Write a detector into a folder; `Detector.load` of it gives the same scores.

    Args:
        detector: of a run.
        folder: new, or one that an export wrote before.
        onnx: write `detector.onnx` too, and check that it gives PyTorch's scores to `TOLERANCE`.

    Returns:
        The folder.

    Raises:
        DidError: the folder holds something else; `onnx` without the packages of did[onnx]; a graph that cannot be
            written as ONNX or gives other scores.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / CARD).is_file())):
        raise DidError(f"{folder} is not empty and holds no exported detector: give a new folder")
    if onnx:
        check_onnx()
    # Written in a folder inside, then moved out: an export that fails leaves the one before as it was.
    draft = folder / f".{os.getpid()}.tmp"
    with writing(folder):
        draft.mkdir(parents=True)
        try:
            _write(detector, draft, onnx)
            (folder / CARD).unlink(missing_ok=True)  # Last to come and first to go: where it is, the rest is.
            (folder / GRAPH).unlink(missing_ok=True)
            for name in (WEIGHTS, GRAPH, CARD):
                if (draft / name).is_file():
                    os.replace(draft / name, folder / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def _write(detector: Detector, folder: Path, onnx: bool) -> None:
    settings, about = detector.settings, detector.about
    checkpoints.save(folder / WEIGHTS, detector.module.state_dict(), {"run": about["run"], "task": about["task"]})
    if onnx:
        write_onnx(detector.module, settings.image_size, folder / GRAPH)
    files = {"weights": WEIGHTS} | ({"onnx": GRAPH} if onnx else {})
    card = {
        "format": FORMAT,
        **{key: about[key] for key in ("run", "task", "domains", "data", "protocol", "calibration", "provenance")},
        "contents": about.get("contents", {}),
        "metrics": about.get("metrics"),
        "settings": settings.as_dict(),
        "input": INPUT.format(settings.image_size, settings.crop_margin),
        "output": "score, float32 (n,): a logit, higher for fake; probability = sigmoid(score / temperature)",
        "caution": CAUTION,
        **{key: {"file": name, "sha256": sha256(folder / name)} for key, name in files.items()},
    }
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")


def load(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The detector's module and card of an exported folder.

    Raises:
        DidError: the card or the weights are damaged, foreign, of a later format, or not of one another.
    """
    card = _read_card(folder / CARD)
    weights = folder / WEIGHTS
    tensors, _ = checkpoints.load(weights, mend=_MEND)
    if sha256(weights) != card["weights"]["sha256"]:
        raise DidError(f"the weights {weights} are not those that {CARD} names (another SHA-256): {_MEND}")
    try:
        check_code(card)
        settings = dataclasses.replace(Settings.of(card["settings"]), pretrained="none")
        module = TASKS[card["task"]](settings, len(card["domains"])).detector()
    except (DidError, KeyError, TypeError) as error:
        raise DidError(f"{folder / CARD} describes no detector that this did knows ({error}): {_MEND}") from error
    checkpoints.put(module, tensors, weights, mend=_MEND)
    return module.eval(), card


def _read_card(file: Path) -> dict[str, Any]:
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(card, dict) or _KEYS - set(card):
            raise ValueError("it is no card of a detector")
        if card["format"] != FORMAT:
            raise ValueError(f"its format is {card['format']}, and this did reads {FORMAT}")
        for level in ("frame", "video"):
            for key in ("temperature", "threshold"):
                float(card["calibration"][level][key])
        card["weights"]["sha256"].lower()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DidError(f"{file} cannot be read ({_first_line(error)}): {_MEND}") from error
    return card


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def check_onnx() -> None:
    """Are the packages there?

    Raises:
        DidError: one is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DidError(f"ONNX needs packages that are not installed ({error.name}): pip install 'did[onnx]'") from error


def write_onnx(module: nn.Module, size: int, file: Path) -> None:
    """Write images (n, 1, size, size) -> scores (n,) as an ONNX graph for any n, once it gives PyTorch's scores.

    Raises:
        DidError: the graph cannot be written as ONNX, or ONNX Runtime's scores differ by more than `TOLERANCE`.
    """
    module = copy.deepcopy(module).eval().cpu()  # the detector stays where it is, and in its mode
    example = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))
    try:
        # The exporter logs and warns at length about what does not matter here.
        logging.disable(logging.WARNING)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, (example,), dynamo=True, verbose=False, input_names=["images"], output_names=["scores"],
                dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            )  # fmt: skip
        assert program is not None
    except Exception as error:  # The exporter raises what its many parts raise.
        raise DidError(f"this detector cannot be written as ONNX ({_first_line(error)})") from error
    finally:
        logging.disable(logging.NOTSET)

    def write(path: Path) -> None:
        program.save(path, external_data=False)
        worst = max(difference(module, path, images) for images in trial_images(size))
        if not worst <= TOLERANCE:
            raise DidError(f"the ONNX graph gives other scores than PyTorch, by up to {worst:.2g}; it is not written")

    write_atomically(file, write)


def difference(module: nn.Module, file: Path, images: Tensor) -> float:
    """The largest difference between PyTorch's and ONNX Runtime's scores of some images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        ours = module(images).numpy()
    if theirs.shape != ours.shape:
        return float("inf")
    return float(np.abs(theirs - ours).max())


def trial_images(size: int) -> list[Tensor]:
    """What an export is checked on: noise in batches of several sizes, black, white, and a smooth picture."""
    random = torch.Generator().manual_seed(1)
    ramp = torch.linspace(0, 1, size).expand(1, 1, size, size)
    flat = torch.stack([torch.zeros(1, size, size), torch.ones(1, size, size)])
    return [*(torch.rand(n, 1, size, size, generator=random) for n in (1, 2, 5)), flat, ramp.clone()]
