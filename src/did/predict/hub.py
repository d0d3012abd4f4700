"""Share an exported detector on the Hugging Face Hub, with a page made from its record, and fetch one from there.

Beside the exported files are the weights of G alone, in the form of timm:
`timm.create_model("hf-hub:OWNER/NAME", pretrained=True)` is the backbone as the training left it.
"""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import HfApi, ModelCardData, snapshot_download
from timm.models import save_for_hf

from did.errors import DidError
from did.method.backbones import Backbone
from did.predict import exporting, report
from did.predict.card import CARD, GRAPH, WEIGHTS
from did.predict.detector import Detector
from did.utils.words import bullets, first_line, quoted

PAGE = "README.md"
#: What timm reads.
TIMM = ("config.json", "model.safetensors")
#: Licences that the hub knows by these names; any other text is shown as it is.
LICENCES = ("apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-4.0", "cc0-1.0", "mit")
_MEND = "check the name, the network, and that `hf auth login` was run"


def push(detector: Detector, repo: str, licence: str, private: bool = False, onnx: bool = False) -> str:
    """Upload a detector with its page to the hub, as one commit, and return its address.

    Args:
        detector: of a run, or an exported one.
        repo: `OWNER/NAME`; new, or one that holds a detector.
        licence: terms under which the weights may be used, which those of the training data bound.
        private: a new one is shown to its owner alone.
        onnx: see `did.predict.export`.

    Raises:
        DidError: If there is no licence, the repository holds something else, the hub refuses or cannot be reached, or
            as `did.predict.export`.
    """
    if not licence.strip():
        raise DidError("a detector is shared under terms: name its licence, which that of its training data bounds")
    api = HfApi()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "detector"
        exporting.export(detector, folder, onnx)
        backbone = getattr(detector.module, "backbone", None)
        if isinstance(backbone, Backbone):
            write_timm(backbone, detector, folder)
        (folder / PAGE).write_text(page(detector, repo, licence, (folder / TIMM[0]).is_file()), encoding="utf-8")
        with _hub(f"{repo} is not pushed"):
            address = api.create_repo(repo, private=private, exist_ok=True)
            there = set(api.list_repo_files(repo)) - {".gitattributes"}
            if there and CARD not in there:
                raise DidError(f"{repo} is not pushed: it holds files, but no detector ({CARD}); give another name")
            api.upload_folder(repo_id=repo, folder_path=folder, commit_message=f"Run {detector.about['run']}",
                              delete_patterns=[PAGE, CARD, WEIGHTS, GRAPH, *TIMM])  # fmt: skip
    return str(address)


def pull(repo: str, folder: str | Path, revision: str | None = None) -> Detector:
    """Download a detector from the hub into a folder and load it; it gives the scores that its owner gets.

    Args:
        repo: `OWNER/NAME`.
        folder: new, or one that an export or a pull wrote before.
        revision: a commit, branch or tag.

    Raises:
        DidError: If there is no such detector, it is damaged or of a later version, or the hub cannot be reached.
    """
    folder = Path(folder)
    exporting.check_folder(folder)
    with exporting.replacing(folder) as draft:
        with _hub(f"{repo} is not pulled"):
            snapshot_download(repo, revision=revision, local_dir=draft, allow_patterns=[CARD, WEIGHTS, GRAPH])
        if not (draft / CARD).is_file():
            raise DidError(f"{repo} is not pulled: it holds no detector ({CARD})")
        detector = Detector.load(draft)
    return detector


def write_timm(backbone: Backbone, detector: Detector, folder: Path) -> None:
    """Write the weights of G as timm reads them from a folder or the hub."""
    channels, size = detector.wants.channels, detector.settings.image_size
    seen = {
        "input_size": [channels, size, size],
        "mean": [float(backbone.mean)] * channels,
        "std": [float(backbone.std)] * channels,
    }
    # On the CPU and row by row, which safetensors asks for; the detector stays as it is.
    body = copy.deepcopy(backbone.body).cpu().to(memory_format=torch.contiguous_format)
    save_for_hf(body, str(folder), {"pretrained_cfg": seen}, {"in_chans": channels}, safe_serialization=True)


def page(detector: Detector, repo: str, licence: str, timm: bool = True) -> str:
    """Write the page of a detector on the hub: what it is, what it must not be used for, how to use it.

    Args:
        detector: what the page is about; all facts are from its record.
        repo: where it is going to be.
        licence: see `push`.
        timm: name the weights of G too.
    """
    about, settings = detector.about, detector.settings
    data, numbers = about["data"], about.get("metrics") or {}
    known = licence.lower() in LICENCES
    head = ModelCardData(
        license=licence.lower() if known else "other", license_name=None if known else licence, library_name="did",
        pipeline_tag="image-classification", tags=["deepfake-detection", "did", str(about["task"])],
    )  # fmt: skip
    *lines, caution = report.about(detector)
    own = ""
    if "auc" in numbers:
        own = (
            f"Frame AUC on the test split of the data that it was trained on: {numbers['auc']:.3f}, 95% interval "
            f"[{numbers['auc_low']:.3f}, {numbers['auc_high']:.3f}]. On other data, people and forgeries it is lower."
        )
    weights = f"""
`model.safetensors` is its backbone alone:

```python
import timm

backbone = timm.create_model("hf-hub:{repo}", pretrained=True)
```
"""
    return f"""---
{head.to_yaml()}
---

# {quoted(str(about["task"]))}: a detector of forged faces

**{quoted(caution)}**

## What it must not be used for

Do not accuse or clear anyone with it. Do not decide about work, credit, admission or a sentence with it, and do not
sort people. Where forgeries are rare, most of the faces that it calls fake are real.

## What it is

{bullets(lines)}
- Trained on: {quoted(data["label"])}, {quoted(data["edition"])}. Terms of these weights: {quoted(licence)}.

{own}

## How to use it

```
pip install crossdf
did pull {repo} my-detector
did predict --detector my-detector picture.jpg
```

Input: {settings.image_size} px crops, found and aligned by `did`.
{weights if timm else ""}"""


@contextlib.contextmanager
def _hub(what: str) -> Iterator[None]:
    try:
        yield
    except DidError:
        raise
    except Exception as error:  # Of its many kinds, and those of its network library, none has a base of its own.
        raise DidError(f"{what}: {first_line(error)}; {_MEND}") from error
