"""The page "Try it": its steps in Node beside the package's, and the graphs and the card that it is made of."""

import base64
import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.ops import nms

from did import standin
from did.data.faces import align, template
from did.data.geometry import similarity
from did.method.model import DID, DetectionGraph
from did.paper.parameters import train_settings
from did.predict import Detector
from did.predict.exporting import trial_images
from did.settings import Settings
from did.sources import open_source
from did_book.pages import try_it

ROOT = Path(__file__).resolve().parents[3]
node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")


def in_node(expression: str, **given):
    """The value of an expression of `try.js`'s steps; `image` is RGB and becomes what a canvas gives."""
    if "image" in given:
        pixels = given["image"]
        rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        given["image"] = {"width": pixels.shape[1], "height": pixels.shape[0], "data": rgba.ravel().tolist()}
    script = f"""require({json.dumps(str(ROOT / "book/_static/try.js"))});
        const {{ area, suppress, similarity, align, asInput }} = didTry;
        const given = JSON.parse(require("fs").readFileSync(0));
        const {{ {", ".join(given)} }} = given;
        const value = {expression};
        console.log(JSON.stringify(ArrayBuffer.isView(value) ? Array.from(value) : value));"""
    done = subprocess.run(["node", "-e", script], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    random = np.random.default_rng(3)
    small = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((163, 121), Image.Resampling.BICUBIC))


@node
@pytest.mark.parametrize("width", [30.0, 64.0, 150.0])  # enlarged, about as large, and reduced by sampling finely
def test_a_face_is_cut_out_as_the_package_does(image, width):
    turn = np.array([[0.97, 0.24], [-0.24, 0.97]])
    landmarks = (template(64, 0.3) - 31.5) / 64 * width @ turn + [75, 60]
    mine = in_node("align(image, landmarks, target, 64)", image=image, landmarks=landmarks.tolist(),
                   target=template(64, 0.3).tolist())  # fmt: skip
    apart = np.abs(np.array(mine) - align(image, landmarks, 64, 0.3).ravel())
    assert apart.sum() <= 1  # of 12,288 values: without a fused multiply-add, OpenCV rounds about one in 10^5 otherwise


@node
def test_points_are_brought_onto_points_as_the_package_does():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 2))
    assert in_node("similarity(a, b)", a=a.tolist(), b=b.tolist()) == pytest.approx(similarity(a, b).ravel().tolist())


@node
@pytest.mark.parametrize("size", [(24, 24), (100, 57)])
def test_areas_are_averaged_as_torch_does(image, size):
    box = (7, 3, 120, 118)
    mine = in_node("area(image, box, width, height)", image=image, box=box, width=size[0], height=size[1])
    part = torch.from_numpy(image[box[1] : box[3], box[0] : box[2]].copy()).permute(2, 0, 1)[None].float()
    theirs = (interpolate(part, size[::-1], mode="area") - 127.5) / 128
    assert np.allclose(mine, theirs.ravel().numpy(), atol=1e-5)


@node
def test_overlapping_boxes_go_as_torchvision_has_it():
    random = np.random.default_rng(1)
    at = random.uniform(0, 60, (60, 4))
    at[:, 2:] = at[:, :2] + random.uniform(10, 40, (60, 2))
    scores = random.permutation(60) / 60
    boxes = [{"at": list(box), "score": score} for box, score in zip(at, scores, strict=True)]
    kept = in_node("suppress(boxes, .5).map((box) => box.score)", boxes=boxes)
    theirs = nms(torch.from_numpy(at), torch.from_numpy(scores), 0.5)
    assert 5 < len(kept) < 60
    assert kept == pytest.approx(scores[theirs.numpy()].tolist())


@node
def test_the_input_is_pillows_gray(image):
    gray = np.asarray(Image.fromarray(image).convert("L"), np.float32) / 255
    mine = in_node("asInput(Uint8Array.from(crop), 1)", crop=image.ravel().tolist())
    assert np.array_equal(np.float32(mine), gray.ravel())
    colours = in_node("asInput(Uint8Array.from(crop), 3)", crop=image.ravel().tolist())
    assert np.array_equal(np.float32(colours), (image.transpose(2, 0, 1) / np.float32(255)).ravel())


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    model = DID("test_efficientnet", num_domains=5)
    calibration = {"frame": {"threshold": 0.1, "temperature": 1.5}, "video": {"threshold": 0.2, "temperature": 1.5}}
    graph = DetectionGraph(model.backbone, model.deepfake_attention, model.classifier)
    return Detector(graph, Settings.preset("smoke"), {"run": "0123", "task": "did", "calibration": calibration})


def part(folder: Path, name: str) -> bytes:
    text = (folder / f"{name}.js").read_text()
    return gzip.decompress(base64.b64decode(text.split('"')[3]))


def test_the_parts_are_the_graphs_the_runtime_and_the_card(detector, tmp_path):
    standin.write("ffpp", tmp_path / "ffpp", {"train": 2, "val": 2, "test": 2}, frames=3, progress=False, workers=1)
    try_it.write(detector, open_source("ffpp", data_root=tmp_path / "ffpp"), ROOT, tmp_path)
    card = try_it._card(tmp_path)
    assert (card["threshold"], card["temperature"]) == (0.1, 1.5)
    assert card["template"] == template(card["size"], detector.settings.crop_margin).tolist()
    assert card["samples"][0]["is"] == "real" and len(card["samples"]) > 1
    session = onnxruntime.InferenceSession(part(tmp_path, "detector"))
    assert [output.name for output in session.get_outputs()] == card["outputs"]["detector"] == ["scores", "map"]
    (images,) = trial_images(card["size"])[1:2]
    scores, shown = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        module = detector.module.cpu()
        assert np.allclose(scores, module(images), atol=1e-4)
        expected = module.deepfake_attention(module.backbone(images)).mean(1)
    assert np.allclose(shown, expected, atol=1e-4)
    for name in ("pnet", "rnet", "onet"):
        outputs = onnxruntime.InferenceSession(part(tmp_path, name)).get_outputs()
        assert [output.name for output in outputs] == card["outputs"][name]
    assert part(tmp_path, "wasm")[:4] == b"\0asm"


def test_the_runtime_is_the_one_that_its_note_names():
    folder = ROOT / "book/vendor/onnxruntime-web"
    note = (folder / "README.md").read_text(encoding="utf-8")
    for file in sorted(folder.iterdir()):
        if file.name != "README.md":
            content = file.read_bytes()
            content = gzip.decompress(content) if file.suffix == ".gz" else content
            assert hashlib.sha256(content).hexdigest() in note, file.name


@pytest.fixture
def found(detector, tmp_path, monkeypatch):
    """A run that `make` finds, a project with a runtime, and how often the parts were written."""
    runtime = tmp_path / "book/vendor/onnxruntime-web/ort.wasm.min.js"
    runtime.parent.mkdir(parents=True)
    runtime.write_text("1")
    written = []

    def write(detector, source, root, folder):
        written.append(folder)
        try_it._write(
            folder / "card.js", f'didTry.part("card", {{"made_from": "{try_it._made_from(detector, root)}"}});'
        )

    monkeypatch.setattr(try_it, "trained", lambda *_: (SimpleNamespace(folder=tmp_path), None))
    monkeypatch.setattr(try_it.Detector, "load", lambda _: detector)
    monkeypatch.setattr(try_it.report, "about", lambda _: ["STAND-IN: drawn."])
    monkeypatch.setattr(try_it, "write", write)
    return tmp_path, runtime, written


def test_the_parts_are_written_anew_when_the_runtime_has_changed(found):
    root, runtime, written = found
    first = try_it.make(root, {})
    assert "STAND-IN: drawn." in first and 'class="did-try"' in first and "+0.100" in first
    assert try_it.make(root, {}) == first and len(written) == 1
    runtime.write_text("2")
    try_it.make(root, {})
    assert len(written) == 2


@pytest.mark.parametrize("change", [{}, {"edition": "licensed"}, {"label": "of other people"}, {"options": {"x": 1}}])
def test_only_a_run_on_the_stand_in_of_the_train_notebook_is_shown(tmp_path, monkeypatch, change):
    settings = train_settings("smoke", seed=0, source="ffpp")
    data = {"source": "ffpp", "edition": change.get("edition", "stand-in"), "label": change.get("label", "stand-in")}
    record = {"task": "did", "options": change.get("options", {}), "data": data}
    run = SimpleNamespace(settings=settings, record=record)
    monkeypatch.setattr(try_it, "all_runs", lambda folder: [run] if folder == tmp_path / "runs" else [])
    monkeypatch.setattr(try_it, "open_source", lambda *_, **__: SimpleNamespace(label="stand-in"))
    assert (try_it.trained(tmp_path, {"preset": "smoke"}) is not None) == (not change)


def test_without_a_run_the_page_says_how_to_get_one_and_no_old_part_stays(tmp_path):
    stale = tmp_path / try_it.MADE / "card.js"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    text = try_it.make(tmp_path, {"preset": "smoke", "source": "ffpp"})
    assert text.startswith("# Try it") and "`make train`" in text and "did-try" not in text
    assert not stale.exists()
