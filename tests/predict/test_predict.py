"""The detector in practice: the scores are those of the run, whatever way they are asked for."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
from av.stream import Disposition
from click.testing import CliRunner
from hostile import heic, saved, with_cover
from PIL import Image
from safetensors import safe_open
from torch import nn

from did import standin
from did.cli import main
from did.data import layout, video
from did.data.faces import template
from did.errors import DidError
from did.evaluation import by_video, probability
from did.method.task import DIDTask
from did.predict import Detector, export, exporting, inputs, overlay, report
from did.predict import card as card_of
from did.predict.detector import ScoredFace, ScoredFrame, Seen
from did.settings import Settings
from did.sources import face_store, open_source
from did.standin.drawn import draw
from did.task import Wants
from did.training.runs import run, split_faces
from did.utils.files import sha256


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def clips(home):
    standin.write("ffpp", home / "ffpp", {"train": 2, "val": 2, "test": 4}, frames=5, progress=False, workers=1)
    return open_source("ffpp", data_root=home / "ffpp")


@pytest.fixture(scope="module")
def settings():
    """Trained for long enough that faces have scores of their own."""
    return Settings.preset("smoke", iterations=24, validate_every=12, batch_size=5, lr=0.003, frames=3)


@pytest.fixture(scope="module")
def store(clips, settings, home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DID_HOME", str(home))
        return face_store(clips, settings, progress=False)


@pytest.fixture(scope="module")
def trained(clips, store, settings, home):
    return run(clips, settings, store=store, runs=home / "runs", progress=False)


@pytest.fixture(scope="module")
def detector(trained):
    loaded = Detector.load(trained.folder)
    yield loaded
    loaded.reader.close()


@pytest.fixture(scope="module")
def rivals(clips, store, settings, home):
    return {
        task: run(clips, settings, task, store=store, runs=home / "runs", progress=False) for task in ("bce", "f3net")
    }


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return draw(np.random.default_rng(5)).image


# --- the scores ----------------------------------------------------------------------------------------------------


def check_scores(loaded: Detector, recorded: pd.DataFrame, root: Path) -> None:
    assert recorded.score.std() > 1e-3, "scores that are all alike would prove nothing"
    for path, part in recorded.groupby("path"):
        answer = loaded.predict_file(root / path)
        assert (answer.kind, answer.status) == ("video", "scored")
        found = {frame.number: frame.score for frame in answer.frames if frame.faces}
        assert found == pytest.approx(dict(zip(part.frame, part.score, strict=True)), abs=1e-4)
        assert answer.score == pytest.approx(by_video(part).score[0], abs=1e-4)


def test_a_video_has_the_scores_of_the_run(detector, trained, clips):
    check_scores(detector, trained.scores, clips.root)


@pytest.mark.parametrize("task", ["bce", "f3net"])
def test_a_rivals_too(rivals, clips, task):
    loaded = Detector.load(rivals[task].folder)
    some = rivals[task].scores
    check_scores(loaded, some[some.video.isin(sorted(set(some.video))[:6])], clips.root)
    loaded.reader.close()


def test_a_picture_has_one_score_however_it_is_given(detector, portrait, tmp_path):
    Image.fromarray(portrait).save(tmp_path / "a.png")
    answers = [
        detector.predict(portrait),
        detector.predict(Image.fromarray(portrait)),
        detector.predict(tmp_path / "a.png"),
        detector.predict_file(tmp_path / "a.png"),
    ]
    assert len({answer.score for answer in answers}) == 1
    assert [answer.input for answer in answers] == ["", "", *[str(tmp_path / "a.png")] * 2]
    (face,) = answers[0].faces
    assert face.score == answers[0].score
    x0, y0, x1, y1 = face.box
    assert 0 < x0 < x1 < 352 and 0 < y0 < y1 < 352 and face.face_probability > 0.9


def test_a_file_without_a_known_suffix_goes_by_its_content(detector, portrait, clips, trained, tmp_path):
    Image.fromarray(portrait).save(tmp_path / "a", "PNG")
    assert detector.predict_file(tmp_path / "a").score == detector.predict(portrait).score
    clip = clips.root / trained.scores.path[0]
    shutil.copy(clip, tmp_path / "b")
    assert detector.predict_file(tmp_path / "b").score == detector.predict_video(clip).score
    (tmp_path / "c").write_text("neither")
    with pytest.raises(DidError, match=r"c is neither a picture nor a video"):
        detector.predict_file(tmp_path / "c")


def test_the_number_of_frames_is_the_runs_or_as_asked(detector, clips, trained):
    clip = clips.root / trained.scores.path[0]
    assert [len(detector.predict_video(clip, n).frames) for n in (None, 1, 4, 0)] == [3, 1, 4, 5]


def test_labels_and_probabilities_are_by_the_level_of_the_calibration(detector, portrait, clips, trained):
    mine = copy.copy(detector)
    picture, clip = mine.predict(portrait).score, clips.root / trained.scores.path[0]
    average = mine.predict_video(clip).score
    for shift, label in ((1e-6, "real"), (-1e-6, "fake")):
        levels = {
            "frame": {"temperature": 0.3, "threshold": picture + shift},
            "video": {"temperature": 2.0, "threshold": average + shift},
        }
        mine.about = detector.about | {"calibration": detector.about["calibration"] | levels}
        one, several = mine.predict(portrait), mine.predict_video(clip)
        assert (one.label, several.label) == (label, label)
        assert (one.faces[0].label, one.faces[0].probability) == (one.label, one.probability)
        assert one.probability == pytest.approx(probability(picture, 0.3))
        assert several.probability == pytest.approx(probability(average, 2.0))


def test_a_cover_does_not_change_the_answer(detector, clips, trained, tmp_path):
    clip = clips.root / trained.scores.path[0]
    right = detector.predict_file(clip)
    for first in (True, False):
        (tmp_path / "c.mp4").write_bytes(
            with_cover(clip.read_bytes(), saved(Image.new("RGB", (64, 64)), "JPEG"), first)
        )
        answer = detector.predict_file(tmp_path / "c.mp4")
        assert dataclasses.replace(answer, input=str(clip)) == right


@pytest.mark.parametrize("name", ["a.HEIC", "a.mp4", "a.png", "a"])
def test_a_photograph_that_cannot_be_read_is_refused(detector, portrait, tmp_path, name):
    (tmp_path / name).write_bytes(heic([portrait[:128, :128]] * 4, 2))
    with pytest.raises(
        DidError, match=f"{name} is a HEIC or AVIF picture, which cannot be read; convert to JPEG or PNG"
    ):
        detector.predict_file(tmp_path / name)


def test_that_one_of_several_pictures_or_videos_counts_is_said(detector, portrait, tmp_path):
    """In the answer, so that line, JSON and page have it; whether there is a face or not."""
    face, nothing = Image.fromarray(portrait), Image.new("RGB", portrait.shape[1::-1], "white")
    face.save(tmp_path / "face.gif", save_all=True, append_images=[nothing])
    nothing.save(tmp_path / "white.gif", save_all=True, append_images=[face])
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = *portrait.shape[:2], "yuv420p"
        streams[1].disposition = Disposition.default
        for _ in range(4):
            for stream, picture in zip(streams, (np.zeros_like(portrait), portrait), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    judged = list(inputs.judge(detector, inputs.files([tmp_path])))
    report.write_html(tmp_path / "r.html", detector, judged, {})
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    first, best = "of its several pictures the first counts", "of its 2 video streams the best counts, number 1"
    for one, status, note in zip(judged, ("scored", "scored", "no face"), (first, best, first), strict=True):
        assert (one.answer.status, one.answer.notes) == (status, (note,))
        assert note in report.line(one.answer) and json.loads(report.as_json(one.answer))["notes"] == [note]
    assert page.count(first) == 2 and page.count(best) == 1
    assert detector.predict(tmp_path / "white.gif").notes == (first,)
    assert detector.predict(nothing).notes == detector.predict(np.asarray(nothing)).notes == ()


def test_what_is_found_in_a_folder_is_what_can_be_named(detector, portrait, tmp_path):
    """Files of every suffix of `media_kind` are read; the others are counted."""
    for suffix in layout.IMAGE_SUFFIXES:
        Image.fromarray(portrait).save(tmp_path / f"a{suffix.upper()}", "PNG")
    video.write_clip(tmp_path / "clip", [portrait] * 2)
    for suffix in layout.VIDEO_SUFFIXES:
        shutil.copy(tmp_path / "clip", tmp_path / f"a{suffix}")
    for name in ("b.HEIC", "c.heic", "d.avif", "e.txt", "f.n\no"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "again").symlink_to(".")
    left: Counter[str] = Counter()
    found = list(inputs.files([tmp_path], left))
    assert len(found) == len(layout.IMAGE_SUFFIXES) + len(layout.VIDEO_SUFFIXES)
    assert {detector.predict_file(path).status for path, _ in found} == {"scored"}
    assert left == {"no suffix": 1, ".heic": 2, ".avif": 1, ".txt": 1, ".n\no": 1, "link to a folder": 1}
    assert report.summary({"scored": 3}, left) == (
        "3 scored; 1 × .avif left out (convert to JPEG or PNG); 2 × .heic left out (convert to JPEG or PNG); "
        "1 × .n\\no left out; 1 × .txt left out; 1 × link to a folder left out; 1 × no suffix left out"
    )
    assert [path for path, _ in inputs.files([tmp_path / "b.HEIC", tmp_path / "e.txt"])] == [
        tmp_path / "b.HEIC",
        tmp_path / "e.txt",
    ]


@pytest.fixture(scope="module")
def two(portrait) -> np.ndarray:
    """A large face and a small one."""
    picture = np.full((352, 560, 3), 120, np.uint8)
    picture[:, :352] = portrait
    small = Image.fromarray(draw(np.random.default_rng(8)).image).resize((170, 170))
    picture[100:270, 380:550] = np.asarray(small)
    return picture


def test_the_largest_face_by_default_or_all_and_then_the_highest_score(detector, two):
    (largest,) = detector.predict(two).faces
    answer = detector.predict(two, all_faces=True)
    first, second = answer.faces
    assert first.score == pytest.approx(largest.score, abs=1e-4)
    assert second.box[0] > 352 > first.box[2]
    assert second.score != pytest.approx(first.score, abs=1e-4)
    assert answer.score == max(first.score, second.score)


def test_every_face_is_not_for_a_task_that_sees_several_frames(detector, two, tmp_path, monkeypatch):
    several = dataclasses.replace(detector, wants=Wants(frames=3))
    with pytest.raises(DidError, match=r"^the task did sees .* in 3 frames at once.*: leave out --all-faces"):
        several.predict(two, all_faces=True)
    monkeypatch.setattr(Detector, "load", lambda *_: several)
    Image.fromarray(two).save(tmp_path / "two.png")
    said = CliRunner().invoke(main, ["predict", str(tmp_path), "--run", "any", "--all-faces"])
    assert said.exit_code == 1 and said.stdout == "" and said.stderr.startswith("Error: the task did sees ")


def test_no_face_is_an_answer(detector):
    answer = detector.predict(np.zeros((100, 120, 3), np.uint8))
    assert (answer.status, answer.score, answer.label, answer.reason) == ("no face", None, None, "no face found")
    assert [(frame.width, frame.height, frame.faces) for frame in answer.frames] == [(120, 100, ())]


def test_a_video_without_a_face_and_one_with_a_face_in_some_frames(detector, portrait, tmp_path):
    empty = np.full((352, 352, 3), 90, np.uint8)
    video.write_clip(tmp_path / "none.mp4", [empty] * 4)
    answer = detector.predict_file(tmp_path / "none.mp4")
    assert (answer.status, answer.reason) == ("no face", "no face found in any of 3 frames")
    video.write_clip(tmp_path / "some.mp4", [portrait, empty, portrait], crf=1)
    answer = detector.predict_file(tmp_path / "some.mp4")
    scores = [frame.score for frame in answer.frames]
    assert scores[1] is None
    assert answer.score == pytest.approx((scores[0] + scores[2]) / 2)


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (np.zeros((1, 1, 3), np.uint8), "a picture in memory is too small for a face: 1×1 pixels"),
        (np.zeros((50, 50), np.uint8), "must be RGB uint8"),
        (np.zeros((50, 50, 3), np.float32), "not float32 of shape"),
        (np.broadcast_to(np.uint8(0), (9000, 9000, 3)), "too large: it has more than 64 million"),
    ],
)
def test_a_picture_that_is_none_is_refused(detector, picture, sentence):
    with pytest.raises(DidError, match=sentence):
        detector.predict(picture)


# --- loading and exporting -----------------------------------------------------------------------------------------


def test_a_detector_is_loaded_by_name_or_folder(detector, trained, portrait, tmp_path):
    score = detector.predict(portrait).score
    named = Detector.load(trained.folder.name[:6], trained.folder.parent)
    assert named.predict(portrait).score == score
    with pytest.raises(DidError, match="there is no finished run 'nonsense'"):
        Detector.load("nonsense", trained.folder.parent)
    with pytest.raises(DidError, match=r"holds neither a run \(record.json\) nor a detector \(detector.json\)"):
        Detector.load(tmp_path)


def test_a_run_without_calibration_says_to_train_again(trained, tmp_path):
    folder = Path(shutil.copytree(trained.folder, tmp_path / trained.folder.name))
    record = trained.record
    del record["calibration"]
    (folder / "record.json").write_text(json.dumps(record))
    with pytest.raises(
        DidError, match=rf"trained before runs had a calibration.*train it again \(`did runs rm {folder.name}"
    ):
        Detector.load(folder)


@pytest.fixture(scope="module")
def exported(detector, home):
    return export(detector, home / "exported")


def test_an_exported_folder_gives_the_same_answers(detector, exported, portrait, clips, trained):
    loaded = Detector.load(exported)
    assert loaded.predict(portrait) == detector.predict(portrait)
    clip = clips.root / trained.scores.path[3]
    assert loaded.predict_video(clip) == detector.predict_video(clip)
    assert report.about(loaded) == report.about(detector)


def test_an_exported_folder_holds_the_test_phase_alone_and_says_what_it_is(exported, trained):
    assert {file.name for file in exported.iterdir()} == {"detector.json", "detector.safetensors"}
    with safe_open(exported / "detector.safetensors", "pt") as tensors:
        assert {name.split(".")[0] for name in tensors.keys()} == {"backbone", "deepfake_attention", "classifier"}  # noqa: SIM118
    card = json.loads((exported / "detector.json").read_text(encoding="utf-8"))
    assert card["settings"] == trained.record["settings"]
    for key in ("run", "task", "domains", "data", "protocol", "calibration", "provenance"):
        assert card[key] == trained.record[key]
    assert card["format"] == 1 and "never proof" in card["caution"]


@pytest.mark.parametrize("task", ["bce", "f3net"])
def test_a_rival_is_exported_too(rivals, portrait, tmp_path, task):
    loaded = Detector.load(rivals[task].folder)
    assert Detector.load(export(loaded, tmp_path / "x")).predict(portrait) == loaded.predict(portrait)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 4
    file.write_bytes(content)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _change(**changes):
    def change(file: Path) -> None:
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def _calibrate(**changes):
    """Change numbers of the calibration of frames; those that are ... go."""

    def change(file: Path) -> None:
        card = json.loads(file.read_text())
        frame = card["calibration"]["frame"] | changes
        card["calibration"]["frame"] = {key: value for key, value in frame.items() if value is not ...}
        file.write_text(json.dumps(card))

    return change


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("detector.safetensors", _flip, "are not those that detector.json names"),
        ("detector.safetensors", _cut, "is not a complete safetensors file"),
        ("detector.safetensors", Path.unlink, "there is no checkpoint"),
        ("detector.json", _cut, "detector.json cannot be read"),
        ("detector.json", lambda file: file.write_text("[1, 2]"), "it is not a card of a detector"),
        ("detector.json", lambda file: file.write_bytes(b"\xff\xfe\x00"), "detector.json cannot be read"),
        ("detector.json", _change(format=2), "its format is 2, and this did reads 1"),
        ("detector.json", _change(calibration={}), "cannot be read"),
        ("detector.json", _change(settings={"backbone": "no_such_net"}), "describes no detector that this did knows"),
        ("detector.json", _change(task="other"), "describes no detector that this did knows"),
        ("detector.json", _calibrate(threshold=float("nan")), "the threshold of frames is nan, not a finite number"),
        ("detector.json", _calibrate(temperature="0"), "the temperature of frames is '0', not a finite number"),
        ("detector.json", _calibrate(temperature=0), "the temperature of frames is not above 0"),
        ("detector.json", _calibrate(bound=None, fpr=...), "its calibration of frames has no 'fpr'"),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_folder_is_one_sentence(exported, tmp_path, name, damage, sentence):
    folder = Path(shutil.copytree(exported, tmp_path / "x"))
    damage(folder / name)
    with pytest.raises(DidError, match=sentence) as caught:
        Detector.load(folder)
    assert "\n" not in str(caught.value) and "export the detector again" in str(caught.value)


def _places(part: dict, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where each value of a nested dict is."""
    return [
        place for key, value in part.items()
        for place in ((*before, key), *(_places(value, (*before, key)) if isinstance(value, dict) else ()))
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["calibration", "data", "provenance"])
def test_a_card_that_loads_is_told_and_judges_whatever_was_changed_in_it(exported, tmp_path, part):
    """With each value of a part gone or another, the card is refused, or all that is read of it is there."""
    file, whole = tmp_path / "detector.json", (exported / "detector.json").read_text()
    refused = set()
    for place in _places({part: json.loads(whole)[part]}):
        for value in (..., None, "0", float("nan"), -1, 10**400, []):
            card = json.loads(whole)
            of = card
            for key in place[:-1]:
                of = of[key]
            of[place[-1]] = value
            if value is ...:
                del of[place[-1]]
            file.write_text(json.dumps(card))
            try:
                known = card_of._read(file)
            except DidError:
                refused.add(place)
            else:
                loaded = Detector(nn.Identity(), Settings.of(known["settings"]), known)
                assert report.about(loaded)
                assert [loaded._judged(level, 1e6) for level in ("frame", "video")] == [(1.0, "fake")] * 2
    assert (part,) in refused and len(refused) > 1


def test_weights_of_another_network_under_the_right_hash_are_refused(exported, tmp_path):
    folder = Path(shutil.copytree(exported, tmp_path / "x"))
    card = json.loads((folder / "detector.json").read_text())
    _change(settings=card["settings"] | {"hidden": 24})(folder / "detector.json")
    with pytest.raises(DidError, match=r"do not fit the model .*export the detector again"):
        Detector.load(folder)


def test_a_folder_that_holds_something_else_is_left_alone(detector, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DidError, match="holds no exported detector: give a new folder"):
        export(detector, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_killed_exports_left_is_in_nobodys_way_and_goes(detector, tmp_path):
    for name in (f".{os.getpid()}.tmp", ".abc.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "detector.safetensors").write_text("half")
    assert {file.name for file in export(detector, tmp_path).iterdir()} == {"detector.json", "detector.safetensors"}
    (tmp_path / ".mine.tmp").write_text("a file is no draft")
    export(detector, tmp_path)
    assert (tmp_path / ".mine.tmp").is_file()
    (tmp_path / "detector.json").unlink()
    with pytest.raises(DidError, match="holds no exported detector: give a new folder"):
        export(detector, tmp_path)


def test_onnx_gives_the_same_scores_on_crops_and_noise_in_any_batch(detector, store, settings, tmp_path):
    file = export(detector, tmp_path / "x", onnx=True) / "detector.onnx"
    card = json.loads((tmp_path / "x" / "detector.json").read_text())
    assert card["onnx"]["sha256"] == sha256(file)
    faces = split_faces(store, settings)["test"]
    crops = torch.stack([faces[k]["image"] for k in range(len(faces))])
    noise = torch.rand(9, 1, settings.image_size, settings.image_size)
    module = detector.module.cpu()
    with torch.inference_mode():
        assert module(crops).std() > 1e-3
    for images in (crops[:1], crops[:7], crops, noise[:3], noise):
        assert exporting.difference(module, file, images) < exporting.TOLERANCE
    wrong = copy.deepcopy(module)
    with torch.no_grad():
        wrong.classifier.layers[-1].bias += 0.01
    assert exporting.difference(wrong, file, crops) == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize("level", ["frame", "video"])
def test_a_score_at_the_threshold_is_called_real(detector, level):
    """As the calibration counts it: fake is above the threshold."""
    threshold = detector.about["calibration"][level]["threshold"]
    scores = [np.nextafter(threshold, -np.inf), threshold, np.nextafter(threshold, np.inf)]
    assert [detector._judged(level, float(score))[1] for score in scores] == ["real", "real", "fake"]


class Elsewhere(nn.Module):
    """A detector on a device that notes that it was moved away."""

    moved = False

    def forward(self, images):
        return images.mean((1, 2, 3))

    def _apply(self, function, recurse=True):
        self.moved = True
        return super()._apply(function, recurse)


def test_writing_onnx_leaves_the_detector_on_its_device_and_in_its_mode(tmp_path):
    module = Elsewhere().train()
    exporting.write_onnx(module, 8, tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").is_file() and module.training and not module.moved


def test_a_graph_that_does_not_run_on_other_images_is_one_sentence(tmp_path):
    exporting.write_onnx(Elsewhere(), 8, tmp_path / "x.onnx")
    with pytest.raises(DidError, match=r"the ONNX graph does not run on 3 images \(.*\); it is not written"):
        exporting.difference(Elsewhere(), tmp_path / "x.onnx", torch.rand(3, 1, 9, 9))


def test_a_task_may_say_why_it_has_no_graph(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(DIDTask, "no_graph", "it asks somebody")
    with pytest.raises(DidError, match="the task did cannot be written as ONNX: it asks somebody"):
        export(detector, tmp_path / "x", onnx=True)
    assert not (tmp_path / "x").exists() or not list((tmp_path / "x").iterdir())


def test_an_onnx_graph_that_gives_other_scores_is_not_written(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "difference", lambda *_: 0.01)
    with pytest.raises(DidError, match="gives other scores than PyTorch, by up to 0.01; it is not written"):
        export(detector, tmp_path / "x", onnx=True)
    assert list((tmp_path / "x").iterdir()) == []
    with pytest.raises(DidError, match="holds neither a run"):
        Detector.load(tmp_path / "x")


def test_without_the_packages_onnx_says_what_to_install(detector, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(
        DidError, match=r"ONNX needs onnxruntime, which is not installed: pip install 'crossdf\[onnx\]'"
    ):
        export(detector, tmp_path / "x", onnx=True)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["bce", "f3net"])
def test_a_rivals_onnx(rivals, tmp_path, task):
    loaded = Detector.load(rivals[task].folder)
    file = export(loaded, tmp_path / "x", onnx=True) / "detector.onnx"
    noise = torch.rand(6, 1, loaded.settings.image_size, loaded.settings.image_size)
    assert exporting.difference(loaded.module.cpu(), file, noise) < exporting.TOLERANCE


# --- overlays and reports ------------------------------------------------------------------------------------------


def test_the_map_lies_where_the_crop_was_cut_out(detector):
    """A face whose landmarks are those of a crop of 100 pixels at (60, 30): the map's last cell lies at its corner."""
    margin = detector.settings.crop_margin
    landmarks = template(100, margin) + (60, 30)
    face = ScoredFace((70, 40, 150, 120), tuple(map(tuple, landmarks)), 1.0, 0.0, 0.5, "real")
    attention = np.zeros((1, 4, 4), np.float32)
    attention[0, 3, 3] = 1
    gray = np.full((200, 300, 3), 128, np.uint8)
    seen = Seen(gray, ScoredFrame(0, 300, 200, (face,), 0.0), attention)
    picture = overlay.drawn(detector, seen, words=False).astype(int)
    bright = picture[..., 0] - picture[..., 2] > 40  # viridis ends in yellow
    rows, columns = np.nonzero(bright)
    assert 30 + 75 < rows.mean() < 30 + 100 and 60 + 75 < columns.mean() < 60 + 100
    changed = (picture != 128).any(2)
    changed[40:121, 70:151] = False  # the box
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min()) == (30, 60) and (rows.max(), columns.max()) == (129, 159)


def test_without_a_map_the_box_alone_is_drawn(rivals, portrait):
    loaded = Detector.load(rivals["bce"].folder)
    (seen,) = loaded.look([(0, portrait)], maps=True)
    assert seen.maps is None
    assert 0 < (overlay.drawn(loaded, seen) != portrait).any(2).mean() < 0.2


def test_the_maps_are_those_of_the_model(detector, trained, portrait):
    (seen,) = detector.look([(0, portrait)], maps=True)
    (face,) = seen.frame.faces
    gray = Image.fromarray(detector.crop(portrait, face.landmarks)).convert("L")
    with torch.inference_mode():
        out = trained.task().model(torch.from_numpy(np.asarray(gray, np.float32) / 255)[None, None])
    assert np.allclose(seen.maps[0], out.deepfake_map[0].mean(0), atol=1e-3)
    assert face.score == pytest.approx(out.score.item(), abs=1e-2)  # the landmarks are rounded to .01 pixel


def test_an_overlay_is_large_in_neither_way_and_even_for_videos(detector, two, tmp_path):
    large = np.asarray(Image.fromarray(two).resize((2001, 1259)))
    (seen,) = detector.look([(0, large)], maps=True)
    assert max(overlay.drawn(detector, seen).shape) == overlay.LONGEST
    assert all(side % 2 == 0 for side in overlay.drawn(detector, seen, longest=333, even=True).shape[:2])
    assert overlay.overlay_file(tmp_path, 3, Path("/x/../a b<é>.png"), ".png").name == "00003-a_b___.png"


def test_a_report_needs_nothing_else_and_trusts_no_name(detector, portrait, tmp_path):
    evil = tmp_path / "<script>alert(1)</script>.png".replace("/", "∕")
    Image.fromarray(portrait).save(evil)
    (tmp_path / "text.png").write_text("&<b>")
    judged = inputs.judge(detector, inputs.files([tmp_path]), thumbnails=80)
    report.write_html(tmp_path / "r.html", detector, judged, {})
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert "<script" not in page and "&lt;script&gt;alert" in page
    assert "STAND-IN" in page and "never proof about a person" in page and "equal-error point" in page
    assert page.count('src="data:image/jpeg;base64,') == 1 and "http" not in page
    assert "1 scored; 1 refused" in page


@pytest.fixture
def growing(portrait, tmp_path) -> Path:
    """A video whose frames are of two sizes, which the container allows: 352 pixels, then 256 × 192."""
    file, small = tmp_path / "growing.webm", np.asarray(Image.fromarray(portrait).resize((192, 192)))
    small = np.pad(small, ((0, 0), (32, 32), (0, 0)))
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libvpx", rate=5)
        stream.width = stream.height = 352
        stream.pix_fmt = "yuv420p"
        encoders = [stream, av.CodecContext.create("libvpx", "w")]
        encoders[1].width, encoders[1].height, encoders[1].pix_fmt = 256, 192, "yuv420p"
        encoders[1].time_base = Fraction(1, 5)
        for part, (encoder, picture) in enumerate(zip(encoders, (portrait, small), strict=True)):
            frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for _ in range(2)]
            for number, frame in enumerate(frames):
                frame.pts, frame.time_base = 2 * part + number, Fraction(1, 5)
            packets = [packet for frame in [*frames, None] for packet in encoder.encode(frame)]
            for packet in packets:
                packet.stream = stream
                container.mux(packet)
    return file


def test_a_video_whose_size_changes_is_scored_and_drawn(detector, growing, tmp_path):
    seen = [one.frame for one in detector.watch(growing, "video", 0)]
    assert [(frame.width, frame.height) for frame in seen] == [(352, 352)] * 2 + [(256, 192)] * 2
    (one,) = inputs.judge(detector, [(growing, "")], frames=0, overlay=tmp_path / "o")
    assert (one.undrawn, one.overlay) == ("", tmp_path / "o/00000-growing.mp4")
    assert one.answer == detector.predict_video(growing, frames=0)
    pictures = [image for _, image in video.every_frame(one.overlay)]
    assert [picture.shape for picture in pictures] == [(352, 352, 3)] * 4
    # 256 × 192 fits as 352 × 264, in the middle.
    for row, dark in ((20, True), (60, False), (292, False), (332, True)):
        assert (pictures[3][row].max() < 40) == dark, row


def test_pictures_of_one_size_keep_their_sides_in_proportion():
    shapes = [(40, 60), (80, 60), (20, 20), (2, 600)]
    pictures = list(overlay._of_one_size(np.full((*shape, 3), 255, np.uint8) for shape in shapes))
    assert {picture.shape for picture in pictures} == {(40, 60, 3)}
    inner = [np.nonzero(picture[..., 0])[axis] for picture in pictures for axis in (0, 1)]
    sides = [int(side.max() - side.min() + 1) for side in inner]
    assert sides == [40, 60, 40, 30, 40, 40, 1, 60]


@pytest.mark.parametrize("broken", ["write_clip", "drawn"])
def test_a_drawing_that_fails_costs_no_frame_its_score(detector, clips, trained, tmp_path, monkeypatch, broken):
    clip = clips.root / trained.scores.path[0]
    calm = detector.predict_file(clip)

    def fails(*given, **options):
        if broken == "write_clip":
            next(given[1])
        raise ValueError("no more ink")

    monkeypatch.setattr(overlay, broken, fails)
    (one,) = inputs.judge(detector, [(clip, "")], overlay=tmp_path / "o")
    assert (one.answer, one.overlay, one.undrawn) == (calm, None, "ValueError: no more ink")
    monkeypatch.setattr(inputs, "drawn", fails)
    if broken == "drawn":
        (one,) = inputs.judge(detector, [(clip, "")], thumbnails=80)
        assert (one.answer, one.thumbnail, one.undrawn) == (calm, None, "ValueError: no more ink")


def test_a_video_that_breaks_off_is_refused_and_not_drawn(detector, clips, trained, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((clips.root / trained.scores.path[0]).read_bytes()[:-400])
    (plain,) = inputs.judge(detector, [(cut, "")])
    (one,) = inputs.judge(detector, [(cut, "")], overlay=tmp_path / "o")
    assert one == plain and one.answer.status == "refused" and one.answer.reason
    assert not list(tmp_path.glob("o/*"))


ODD = [
    '"><img src=x onerror=alert(1)>',
    "a\nb\rc\td",
    'it\'s "so" & <b>',
    "caf\udce9",
    "\x1b[31mred",
    "\u202egnp.evil",
    "é 名",
]


def test_odd_names_are_quoted_on_every_way_out(detector, portrait, trained, tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    for number, name in enumerate(ODD):
        if number % 2:
            (place / f"{name}.png").write_text("broken")
        else:
            Image.fromarray(portrait).save(place / "x.png")
            os.rename(place / "x.png", place / f"{name}.png")
    command = [sys.executable, "-m", "did.cli", "predict", place, "--run", trained.folder, "--quiet"]
    more = ["--html", tmp_path / "r.html", "--overlay", tmp_path / "o\udce9"]
    done, lines = (
        subprocess.run([*command, *options], capture_output=True, check=False, timeout=300)
        for options in ([*more, "--json"], [])
    )
    assert done.returncode == lines.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    assert sorted(answer["input"] for answer in answers) == sorted(str(place / f"{name}.png") for name in ODD)
    assert {answer["status"] for answer in answers} == {"scored", "refused"}
    text = lines.stdout.decode("utf-8").split("\n\n")[1].splitlines()
    assert len(text) == 1 + len(ODD)
    assert all(line.isprintable() for line in text)
    assert sum(r"caf\xe9.png" in line and "refused" in line for line in text) == 1
    assert sum(r"a\nb\rc\td.png" in line for line in text) == 1
    written = sorted(file.name for file in (tmp_path / "o\udce9").iterdir())
    assert len(written) == 4 and all(name.isascii() and "<" not in name for name in written)
    assert rf"Written: {tmp_path}/o\xe9" in done.stderr.decode("utf-8")

    page = (tmp_path / "r.html").read_bytes().decode("utf-8")
    parser = Tags()
    parser.feed(page)
    assert parser.counts["img"] == 4 and parser.counts["tr"] == 1 + len(ODD) and parser.counts["b"] == 0
    assert parser.names == {"src", "alt"}
    cells = "".join(parser.text)
    for name in ODD:
        shown = report.plain(f"{place}/{name}.png")
        assert cells.count(shown) >= 1, shown


class Tags(HTMLParser):
    """Counts a page's tags, and keeps the attributes of its pictures and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.names: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.counts[tag] += 1
        self.names |= {name for name, _ in attributes if tag == "img"}

    def handle_data(self, data):
        self.text.append(data)


def test_what_a_detector_says_of_itself_is_printed_as_text(detector):
    mine = copy.copy(detector)
    mine.about = detector.about | {"protocol": "folder \x1b[2J\n<script>\udce9"}
    (said,) = [line for line in report.about(mine) if line.startswith("Protocol")]
    assert said == r"Protocol: folder \x1b[2J\n<script>\xe9"


# --- the command line ----------------------------------------------------------------------------------------------


def did(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path, portrait, clips, trained) -> Path:
    place = tmp_path / "in"
    (place / "deep/er").mkdir(parents=True)
    Image.fromarray(portrait).save(place / "deep/er/a.png")
    shutil.copy(clips.root / trained.scores.path[0], place / "clip.mp4")
    Image.new("RGB", (64, 64)).save(place / "empty.jpg")
    (place / "broken.png").write_text("no picture")
    (place / "notes.txt").write_text("passed over")
    return place


def test_predict_prints_a_line_an_input_after_what_it_was_trained_on(folder, trained, tmp_path):
    code, out, err = did(
        "predict", folder, "--run", trained.folder, "--overlay", tmp_path / "o", "--html", tmp_path / "r"
    )
    assert code == 0, err
    head, table = out.split("\n\n")
    assert head.startswith("STAND-IN: this detector was trained on a stand-in")
    for words in (
        "trained on ffpp (stand-in)",
        "Protocol:",
        "Thresholds:",
        "temperature",
        "prior of one half",
        "proof",
    ):
        assert words in head, words
    lines = table.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["refused", lines[1].split()[0], "no", lines[3].split()[0]]
    assert "3/3 frames" in lines[1] and "1 face " in lines[3]
    assert "broken.png cannot be read (it is none of PNG" in lines[0] and "notes.txt" not in out
    assert "2 scored; 1 no face; 1 refused" in err
    assert sorted(file.name for file in (tmp_path / "o").iterdir()) == [
        "00001-clip.mp4",
        "00002-empty.png",
        "00003-a.png",
    ]
    assert video.count_frames(tmp_path / "o/00001-clip.mp4") == 3
    assert (tmp_path / "r").read_text(encoding="utf-8").count("<tr>") == 5


def test_predict_as_json(folder, trained, detector):
    code, out, err = did("predict", folder, "--run", trained.folder, "--json")
    assert code == 0 and "STAND-IN" in err
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["status"] for answer in answers] == ["refused", "scored", "no face", "scored"]
    assert answers[1]["score"] == pytest.approx(detector.predict_video(folder / "clip.mp4").score, abs=1e-6)
    assert answers[1]["frames"][0]["faces"][0]["box"]
    assert answers[0]["reason"] and answers[0]["score"] is None


def test_predict_as_a_table_that_compare_takes(folder, trained, detector, tmp_path):
    code, out, err = did("predict", folder, "--run", trained.folder, "--csv", tmp_path / "faces.csv")
    assert code == 0 and f"Written: {tmp_path / 'faces.csv'}" in err
    table = pd.read_csv(tmp_path / "faces.csv")
    assert table.groupby("video").size().tolist() == [3, 1]  # the clip's frames, and the picture
    clip = table[table["video"].str.endswith("clip.mp4")]
    answer = detector.predict_video(folder / "clip.mp4")
    assert clip["score"].tolist() == pytest.approx([frame.faces[0].score for frame in answer.frames], abs=1e-6)
    assert clip["score"].mean() == pytest.approx(answer.score, abs=1e-6)
    assert set(table["called"]) <= {"real", "fake"} and table["probability"].between(0, 1).all()
    people = [table.assign(label=number % 2, identity=str(number), video=f"{number} " + table["video"])
              for number in range(4)]  # fmt: skip
    pd.concat(people).to_csv(tmp_path / "a.csv", index=False)
    code, out, _ = did("compare", tmp_path / "a.csv", tmp_path / "a.csv")
    assert code == 0 and "0.5" in out
    code, _, err = did("predict", folder, "--run", trained.folder, "--csv", tmp_path)
    assert code == 1 and str(tmp_path) in err


def test_what_cannot_be_drawn_or_written_costs_no_score(folder, trained, small_disk, monkeypatch):
    """The disk is full when the second picture is drawn, and before the page is done."""
    code, out, _ = did("predict", folder, "--run", trained.folder, "--json")
    assert code == 0
    write, filler = inputs.write_overlay, small_disk / "filler"

    def filling(file, *given):
        write(file, *given)
        with contextlib.suppress(OSError), filler.open("ab", 0) as opened:
            while True:
                opened.write(bytes(1000))

    monkeypatch.setattr(inputs, "write_overlay", filling)
    places = ("--overlay", small_disk / "o", "--html", small_disk / "page.html")
    code, same, err = did("predict", folder, "--run", trained.folder, "--json", *places)
    assert code == 1 and same == out
    said = err.splitlines()[err.splitlines().index("2 scored; 1 no face; 1 refused; 1 × .txt left out") + 1 :]
    assert said[0] == f"Written: {small_disk / 'o'}"
    assert [line.split(" is not ")[0] for line in said[1:]] == [
        f"Error: {folder / 'empty.jpg'}", f"Error: {folder / 'deep/er/a.png'}", f"Error: {small_disk / 'page.html'}"
    ]  # fmt: skip
    assert all("The disk is full" in line for line in said[1:])
    assert not (small_disk / "page.html").exists()


def test_nothing_is_said_to_be_written_that_was_not(folder, trained, tmp_path):
    code, _, err = did("predict", folder / "broken.png", "--run", trained.folder, "--overlay", tmp_path / "o")
    assert code == 1 and "Written" not in err and not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("{folder}/broken.png", "--run", "{run}"), 1, "1 refused"),
        (("{folder}/none.png", "--run", "{run}"), 1, "There is no image"),
        (("{folder}/empty.jpg", "--run", "{run}"), 0, "no face found"),
        (("{folder}/empty.jpg", "--run", "{folder}"), 1, "holds neither a run"),
        (("{folder}/empty.jpg",), 2, "--run"),
        (("{folder}/deep/er/a.png", "{folder}/broken.png", "--run", "{run}"), 0, "1 scored; 1 refused"),
    ],
)
def test_exit_status(folder, trained, arguments, code, said):
    found, out, err = did("predict", *(a.format(folder=folder, run=trained.folder) for a in arguments))
    assert found == code and said in out + err
    assert "Traceback" not in err


def test_export_from_the_command_line_and_predict_from_it(folder, trained, tmp_path):
    code, out, err = did("export", trained.folder, tmp_path / "x")
    assert code == 0, err
    assert "detector.json" in out and "detector.safetensors" in out
    picture = folder / "deep/er/a.png"
    answers = [did("predict", picture, "--detector", place, "--json")[1] for place in (trained.folder, tmp_path / "x")]
    assert answers[0] == answers[1]


def test_what_one_input_brings_about_leaves_the_others_alone(folder, detector, monkeypatch):
    look = Detector.look

    def fails(self, images, *more):
        images = list(images)
        if images[0][1].shape[0] == 64:
            raise RuntimeError("not enough memory")
        return look(self, images, *more)

    monkeypatch.setattr(Detector, "look", fails)
    answers = [one.answer for one in inputs.judge(detector, inputs.files([folder]))]
    assert [answer.status for answer in answers] == ["refused", "scored", "refused", "scored"]
    assert answers[2].reason == "it cannot be scored (RuntimeError: not enough memory)"


def test_an_export_that_fails_leaves_the_one_before(detector, small_disk):
    place = small_disk / "detector"
    place.mkdir()
    (small_disk / "filler").write_bytes(bytes(250_000))
    for name in ("detector.json", "detector.safetensors", "mine.txt"):
        (place / name).write_text("before")
    with pytest.raises(DidError, match="The disk is full"):
        exporting.export(detector, place)
    assert {file.name: file.read_text() for file in place.iterdir()} == dict.fromkeys(
        ("detector.json", "detector.safetensors", "mine.txt"), "before"
    )
