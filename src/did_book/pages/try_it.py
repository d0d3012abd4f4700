"""The page "Try it": the detector of this machine's run, in the page, with the face finder, as ONNX graphs.

Everything runs in the browser (`book/_static/try.js`), from files that are written here; no picture leaves the machine.
The runtime is onnxruntime-web, in `book/vendor/`.
"""

import base64
import gzip
import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.export import Dim

from did.data.faces import template
from did.data.mtcnn import networks
from did.data.table import REAL
from did.errors import DidError
from did.method.model import DetectionGraph
from did.paper.parameters import train_settings
from did.predict import Detector, report
from did.predict.exporting import check_onnx, trial_images, write_graph
from did.sources import Source, open_source
from did.training.runs import Run, all_runs
from did.utils.files import write_atomically

#: Where the parts are made, in the project, and where they go in the built book.
MADE, PLACED = "_build/try", "_static/try"
_RUNTIME = "book/vendor/onnxruntime-web"
_ANY = {0: Dim("n", min=1)}
#: MTCNN's networks: an input, its smallest one, which sides vary, and the outputs.
_NETS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[int, Dim], tuple[str, ...]]] = {
    "pnet": ((1, 3, 40, 52), (1, 3, 12, 12), {2: Dim("h", min=12), 3: Dim("w", min=12)}, ("shift", "probability")),
    "rnet": ((2, 3, 24, 24), (1, 3, 24, 24), _ANY, ("shift", "probability")),
    "onet": ((2, 3, 48, 48), (1, 3, 48, 48), _ANY, ("shift", "landmarks", "probability")),
}

_PAGE = """# Try it

{body}
"""

_WITHOUT = """\
This copy of the book was built without a trained detector. `make train` trains one in a few minutes, on the
stand-in that the project makes. Build the book again, and this page has it: it finds the face in a picture, cuts it
out and scores it, in your browser.

At a terminal the same is `did predict`; see [](predict).
"""

_WITH = """```{{admonition}} What this detector is
:class: warning

{about}

**What it says about a real person means nothing.**
```

The detector of [](train) runs in this page. It finds the largest face, cuts it out and scores it, as `did predict`
does. Your picture stays on this machine: the page asks no other for anything. The first picture takes some seconds,
while {megabytes:.0f} MB are loaded.

```{{raw}} html
<div class="did-try">This needs scripts, which are off. At a terminal, <code>did predict</code> does the same.</div>
```

## How to read it

- **The score** is a logit. Above the threshold of {threshold:+.3f}, chosen on the validation people, a face is called
  "fake". For a sample, the score of `did predict` is given too; the two agree to .001.
- **The percentage** holds if half of all pictures are forged. Where one in a thousand is, most alarms are about real
  pictures: see [](predict).
- **$M_{{df}}$** is the map by which the detector weights the features of the face ([](method_2_attention)). Its colours
  span its own range, which may be narrow; they show the network, not the place of a forgery ([](fig6_saliency)).
- **Change the picture a little**: make it smaller, save it as JPEG with low quality, or cut it closely. If the score
  moves by more than the distance to the threshold, you have seen how little such a score is worth alone.
"""


class _WithMap(nn.Module):
    """Images -> scores and the mean of M_df over channels, (n, h, w)."""

    def __init__(self, detector: DetectionGraph) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.detector.backbone(images)
        attention = self.detector.deepfake_attention(features)
        return self.detector.classifier(attention * features).squeeze(1), attention.mean(1)


def trained(root: Path, given: Mapping[str, Any]) -> tuple[Run, Source] | None:
    """Return the run of the book's `train` notebook and its data, or None if the project has no such run.

    A run of licensed data is not one: its test people may not be shown in a book.

    Args:
        root: the project.
        given: parameters of the notebooks: preset, source, faces.
    """
    preset = given.get("preset", "laptop")
    settings = train_settings(preset, seed=0, source=given.get("source", "ffpp"))
    for run in reversed(all_runs(root / "runs")):
        record = run.record
        data = record["data"]
        wanted = run.settings == settings and record["task"] == "did" and not record.get("options")
        if wanted and data["edition"] == "stand-in":
            source = open_source(data["source"], "stand-in", faces=given.get("faces"), preset=preset)
            if source.label == data["label"]:
                return run, source
    return None


def make(root: Path, given: Mapping[str, Any]) -> str:
    """Write the parts of the page into `_build/try/` and return the page as MyST text.

    They are written anew when the run, the runtime or this module has changed. Without a run of the `train` notebook
    there are no parts, and the page says how to get them.

    Args:
        root: the project.
        given: parameters of the notebooks: preset, source, faces.

    Raises:
        DidError: If the packages of crossdf[onnx] are missing, or a graph gives other numbers than PyTorch.
    """
    folder = root / MADE
    found = trained(root, given)
    if found is None:
        for file in folder.glob("*.js"):
            file.unlink()
        return _PAGE.format(body=_WITHOUT)
    run, source = found
    detector = Detector.load(run.folder)
    if not (folder / "card.js").is_file() or _card(folder).get("made_from") != _made_from(detector, root):
        write(detector, source, root, folder)
    size = sum(file.stat().st_size for file in folder.glob("*.js"))
    lines = "\n".join(f"- {line}" for line in report.about(detector)[:3])
    threshold = detector.about["calibration"]["frame"]["threshold"]
    return _PAGE.format(body=_WITH.format(about=lines, megabytes=size / 1e6, threshold=threshold))


def _card(folder: Path) -> dict[str, Any]:
    text = (folder / "card.js").read_text(encoding="utf-8")
    card: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return card


def _made_from(detector: Detector, root: Path) -> str:
    """Hash what decides the parts: the run, this module and the runtime."""
    found = hashlib.sha256(detector.about["run"].encode())
    for file in (Path(__file__), *sorted((root / _RUNTIME).iterdir())):
        found.update(file.read_bytes())
    return found.hexdigest()


def write(detector: Detector, source: Source, root: Path, folder: Path) -> None:
    """Write runtime, graphs and card as scripts, which a page loads from a disk too; the card comes last.

    Args:
        detector: of a task that sees one crop of a face.
        source: the data whose test people are the samples.
        root: the project, which has the runtime.
        folder: for the scripts.

    Raises:
        DidError: As `make`.
    """
    check_onnx()
    (folder / "card.js").unlink(missing_ok=True)
    runtime = root / _RUNTIME
    _write(folder / "ort.js", (runtime / "ort.wasm.min.js").read_text(encoding="utf-8"))
    _part(folder, "glue", gzip.compress((runtime / "ort-wasm-simd-threaded.mjs").read_bytes(), mtime=0))
    _part(folder, "wasm", (runtime / "ort-wasm-simd-threaded.wasm.gz").read_bytes())
    outputs = {}
    with tempfile.TemporaryDirectory() as place:
        for name, (file, names) in graphs(detector, Path(place)).items():
            outputs[name] = names
            _part(folder, name, gzip.compress(file.read_bytes(), mtime=0))
    settings, known = detector.settings, detector.about
    card = {
        "made_from": _made_from(detector, root),
        "size": settings.image_size,
        "channels": detector.wants.channels,
        "template": template(settings.image_size, settings.crop_margin).tolist(),
        **{key: known["calibration"]["frame"][key] for key in ("threshold", "temperature")},
        "outputs": outputs,
        "samples": samples(detector, source),
    }
    _write(folder / "card.js", f'didTry.part("card", {json.dumps(card)});\n')


def graphs(detector: Detector, folder: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """Write MTCNN's three networks and the detector as ONNX graphs: name -> file and names of its outputs.

    Raises:
        DidError: If a graph cannot be written or gives other numbers than PyTorch.
    """
    random = torch.Generator().manual_seed(0)
    made = {}
    for net, (name, (*shapes, varies, outputs)) in zip(networks(), _NETS.items(), strict=True):
        trials = [torch.rand(shape, generator=random) * 2 - 1 for shape in shapes]
        made[name] = folder / f"{name}.onnx", outputs
        write_graph(net, trials[0], made[name][0], varies, trials, outputs)
    trials = trial_images(detector.settings.image_size, detector.wants.channels)
    module, outputs = detector.module, ("scores",)
    if isinstance(module, DetectionGraph):
        module, outputs = _WithMap(module), ("scores", "map")
    made["detector"] = folder / "detector.onnx", outputs
    write_graph(module, trials[1], made["detector"][0], _ANY, trials, outputs)
    return made


def samples(detector: Detector, source: Source) -> list[dict[str, Any]]:
    """Return the middle frame of one test person, as filmed and as each method forged it, and the detector's score.

    Returns:
        is, score, data (a PNG as a URL), one per method; those without a face are left out.

    Raises:
        DidError: If a video cannot be read, or none of them has a face.
    """
    test = source.index[source.index.split == "test"]
    person = test[test.method == REAL].identity.iloc[0]
    mine = test[test.identity.str.split("+").str[0] == person].drop_duplicates("method")
    found = []
    for row in mine.itertuples():
        path = source.root / row.path
        (seen,) = detector.watch(path, detector.kind(path), frames=1)
        if seen.frame.score is not None:
            is_ = "real" if row.method == REAL else f"forged by {row.method}"
            found.append({"is": is_, "score": seen.frame.score, "data": _png(seen.image)})
    if not found:
        raise DidError(f"no face is found in any video of the test person {person} of {source.label}")
    return found


def _png(image: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _part(folder: Path, name: str, packed: bytes) -> None:
    _write(folder / f"{name}.js", f'didTry.part("{name}", "{base64.b64encode(packed).decode()}");\n')


def _write(file: Path, text: str) -> None:
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
