"""Export a detector alone into a folder that can be passed on: weights, a readable card, and ONNX if asked for."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from did.errors import DidError
from did.predict import card
from did.predict.card import CARD, GRAPH, WEIGHTS
from did.predict.detector import Detector
from did.task import task_named
from did.utils import checkpoints
from did.utils.files import write_atomically, writing
from did.utils.words import first_line

#: What ONNX Runtime's scores may differ by from PyTorch's.
TOLERANCE = 1e-4


def export(detector: Detector, folder: str | Path, onnx: bool = False) -> Path:
    """Write a detector into a folder; `Detector.load` of it gives the same scores.

    Args:
        detector: of a run.
        folder: new, or one that an export wrote before.
        onnx: write `detector.onnx` too, and check that it gives PyTorch's scores to `TOLERANCE`.

    Returns:
        The folder.

    Raises:
        DidError: If the folder contains something else; `onnx` without the packages of crossdf[onnx], or of a task that
            sees several crops; a graph that cannot be written as ONNX or gives other scores.
    """
    folder = Path(folder)
    check_folder(folder)
    if onnx:
        check_onnx()
        task = detector.about["task"]
        if detector.wants.frames > 1 or detector.wants.context is not None:
            raise DidError(f"the task {task} sees more than one crop of a face, which no ONNX graph is written for")
        if reason := task_named(task).no_graph:
            raise DidError(f"the task {task} cannot be written as ONNX: {reason}")
    with replacing(folder) as draft:
        write(detector, draft, onnx)
    return folder


def check_folder(folder: Path) -> None:
    """Check that a detector may be written into a folder.

    Raises:
        DidError: If the folder contains something else.
    """
    if folder.is_dir():
        free = (folder / CARD).is_file() or set(folder.iterdir()) <= set(_drafts(folder))
    else:
        free = not folder.exists()
    if not free:
        raise DidError(f"{folder} is not empty and holds no exported detector: give a new folder")


def _drafts(folder: Path) -> list[Path]:
    """Return the drafts in a folder, which exports that were killed have left there."""
    return [place for place in folder.glob(".*.tmp") if place.is_dir()]


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a draft folder for an exported detector, which takes the place of the one in `folder` at the end.

    If anything fails, the one before stays as it was. Drafts that were left there are removed.

    Raises:
        DidError: As `did.utils.files.writing`.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in _drafts(folder):
            shutil.rmtree(left, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=folder))
        try:
            yield draft
            (folder / CARD).unlink(missing_ok=True)  # Last to come and first to go: where it is, the rest is.
            (folder / GRAPH).unlink(missing_ok=True)
            for name in (WEIGHTS, GRAPH, CARD):
                if (draft / name).is_file():
                    os.replace(draft / name, folder / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def write(detector: Detector, folder: Path, onnx: bool) -> None:
    """Write the files of an exported detector into an empty folder; see `export`."""
    settings, about = detector.settings, detector.about
    checkpoints.save(folder / WEIGHTS, detector.module.state_dict(), {"run": about["run"], "task": about["task"]})
    if onnx:
        write_onnx(detector.module, settings.image_size, folder / GRAPH, detector.wants.channels)
    card.write(folder, about, settings, detector.wants)


def check_onnx() -> None:
    """Check that the packages of the extra are installed.

    Raises:
        DidError: If one is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DidError(f"ONNX needs {error.name}, which is not installed: pip install 'crossdf[onnx]'") from error


def write_onnx(module: nn.Module, size: int, file: Path, channels: int = 1) -> None:
    """Write images (n, channels, size, size) -> scores (n,) as an ONNX graph for any n.

    Raises:
        DidError: As `write_graph`.
    """
    example = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    write_graph(module, example, file, {0: torch.export.Dim("n", min=1)}, trial_images(size, channels), ("scores",))


def write_graph(
    module: nn.Module, example: Tensor, file: Path, varies: Mapping[int, torch.export.Dim], trials: Sequence[Tensor],
    outputs: Sequence[str],
) -> None:  # fmt: skip
    """Write a network as an ONNX graph, which is kept only if it gives PyTorch's numbers.

    Args:
        module: one tensor -> one tensor, or several.
        example: an input; the graph calls it `images`.
        file: for the graph.
        varies: the input's sides that may be of another size.
        trials: inputs that the graph is checked on.
        outputs: their names.

    Raises:
        DidError: If the graph cannot be written as ONNX, or ONNX Runtime's numbers differ by more than `TOLERANCE`.
    """
    module = copy.deepcopy(module).eval().cpu()  # the detector stays where it is, and in its mode
    try:
        # The exporter logs and warns at length about what does not matter here.
        logging.disable(logging.WARNING)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, (example,), dynamo=True, verbose=False, input_names=["images"], output_names=list(outputs),
                dynamic_shapes=(dict(varies),),
            )  # fmt: skip
        assert program is not None
    except Exception as error:  # The exporter raises what its many parts raise.
        raise DidError(f"this detector cannot be written as ONNX ({first_line(error)})") from error
    finally:
        logging.disable(logging.NOTSET)

    def save(path: Path) -> None:
        program.save(path, external_data=False)
        worst = max(difference(module, path, images) for images in trials)
        if not worst <= TOLERANCE:
            raise DidError(f"the ONNX graph gives other scores than PyTorch, by up to {worst:.2g}; it is not written")

    write_atomically(file, save)


def difference(module: nn.Module, file: Path, images: Tensor) -> float:
    """Return the largest difference between PyTorch's and ONNX Runtime's numbers for some images.

    Raises:
        DidError: If the graph does not run on them.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        theirs = session.run(None, {"images": images.numpy()})
    except Exception as error:  # Of its many kinds, none has a base of its own.
        raise DidError(
            f"the ONNX graph does not run on {len(images)} images ({first_line(error)}); it is not written"
        ) from error
    with torch.inference_mode():
        answer = module(images)
    ours = [part.numpy() for part in (answer if isinstance(answer, tuple) else (answer,))]
    if [part.shape for part in theirs] != [part.shape for part in ours]:
        return float("inf")
    return float(max(np.abs(their - our).max() for their, our in zip(theirs, ours, strict=True)))


def trial_images(size: int, channels: int = 1) -> list[Tensor]:
    """Make the images that an export is checked on.

    They are noise in batches of several sizes, black, white, and a smooth picture.
    """
    random = torch.Generator().manual_seed(1)
    ramp = torch.linspace(0, 1, size).expand(1, channels, size, size)
    flat = torch.stack([torch.zeros(channels, size, size), torch.ones(channels, size, size)])
    return [*(torch.rand(n, channels, size, size, generator=random) for n in (1, 2, 5)), flat, ramp.clone()]
