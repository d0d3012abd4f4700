"""Checkpoints: tensors and what is to be known about them in one safetensors file, which loading never unpickles."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from did.errors import DidError
from did.utils.files import write_atomically
from did.utils.words import lines_of

#: The one key of safetensors' header that holds `about`.
KEY = "did"
MEND = "give a file that did has written, or remove this one and train again"


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: if it fails, the file that was under `path` before is untouched.

    Args:
        path: of the file.
        tensors: by name, on any device.
        about: what JSON can hold; floats come back exactly.

    Raises:
        DidError: If a tensor has entries that are not finite, the disk is full, or the folder cannot be written to.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise DidError(
                f"{path} is not written, because '{name}' has entries that are not finite: lower the rates, and go on "
                "from what was written before"
            )
    # safetensors takes neither channels-last memory nor tensors that share some.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda file: _write(file, plain, {KEY: json.dumps(about)}))


def _write(file: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    try:
        save_file(tensors, file, header)
        mask = os.umask(0)
        os.umask(mask)
        file.chmod(0o666 & ~mask)  # safetensors gives its file to its owner alone
    except SafetensorError as error:
        if found := re.search(r"\(os error (\d+)\)", str(error)):  # The library hides the system's error in its text.
            raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
        raise


def load(path: Path, device: torch.device | str = "cpu", fix: str = MEND) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load tensors and `about` of a checkpoint.

    A safetensors file of another program has an empty `about`.

    Args:
        path: of the file.
        device: where the tensors are to be.
        fix: end of the error sentence: what to do.

    Raises:
        DidError: If the file is missing, cut short, or not a safetensors file (a pickle, a text, an ONNX graph).
    """
    with _opened(path, device, fix) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _about(file)  # noqa: SIM118 (not a mapping)


def about(path: Path, fix: str = MEND) -> dict[str, Any]:
    """Return the `about` of a checkpoint alone, without reading its tensors.

    Raises:
        DidError: As `load`.
    """
    with _opened(path, "cpu", fix) as file:
        return _about(file)


def _about(file: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((file.metadata() or {}).get(KEY, "{}"))
    return found


@contextlib.contextmanager
def _opened(path: Path, device: torch.device | str, fix: str) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            yield file
    except FileNotFoundError as error:
        raise DidError(f"there is no checkpoint {path}: {fix}") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise DidError(f"{path} is not a complete safetensors file ({lines_of(error)[-1]}): {fix}") from error


def put(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, fix: str = MEND) -> None:
    """Copy a checkpoint's tensors into a module; each must exist and have the module's shape.

    Args:
        module: takes the tensors.
        tensors: of `load`.
        path: where they are from, for the error.
        fix: end of the error sentence: what to do.

    Raises:
        DidError: If the tensors do not fit; the sentence names the first that does not.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = lines_of(error)[:2][-1]  # The first line names the module alone.
        raise DidError(f"the tensors in {path} do not fit the model ({reason}): {fix}") from error
