"""`Detector`: a trained detector that scores pictures and videos.

Faces are found, aligned, resized and converted to gray by the code that prepared the training data, so that a score
here is the score that the run's tables are made of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from did.data.faces import NO_FACE, SMALLEST_FRAME, align, detect, in_batches
from did.data.faces import Face as FoundFace
from did.data.layout import media_kind
from did.data.loading import to_tensor
from did.data.reading import Reader
from did.data.video import MOST_PIXELS, as_rgb
from did.errors import DidError
from did.evaluation import probability
from did.method.model import DetectionGraph
from did.predict import card
from did.settings import Settings
from did.task import Wants
from did.training.runs import RECORD, Run, find_run
from did.utils import distributed

# Crops that the network sees at once.
_CROPS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class ScoredFace:
    """One face and what the detector says about it.

    The box (x0, y0, x1, y1) and the five landmarks (x, y) are in pixels of the picture. Then follow the probability
    that it is a face at all, the score (a logit), the calibrated probability of "fake" at a prior of one half, and the
    label (`fake` above the threshold, else `real`).
    """

    box: tuple[float, ...]
    landmarks: tuple[tuple[float, ...], ...]
    face_probability: float
    score: float
    probability: float
    label: str


@dataclasses.dataclass(frozen=True)
class ScoredFrame:
    """A picture, or a numbered frame of a video: its size in pixels, its faces and the highest score.

    The faces are sorted, the largest first. The score is None if there is no face.
    """

    number: int
    width: int
    height: int
    faces: tuple[ScoredFace, ...]
    score: float | None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the detector says about one input.

    Attributes:
        input: the path as it was given, or "" for a picture in memory.
        kind: `image`, `video`, or "" where a refused file is neither.
        status: `scored`, `no face` or `refused`.
        score: of a picture its face's, the highest if there are several; of a video the mean over the frames that
            have a face.
        probability, label: by the calibration of frames for a picture, of videos for a video.
        reason: why there is no score.
        frames: one for a picture.
        notes: what else to know: that the file holds several pictures or videos, and which one counts.
    """

    input: str
    kind: str
    status: str
    score: float | None = None
    probability: float | None = None
    label: str | None = None
    reason: str = ""
    frames: tuple[ScoredFrame, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def faces(self) -> tuple[ScoredFace, ...]:
        """The faces of all frames."""
        return tuple(face for frame in self.frames for face in frame.faces)


@dataclasses.dataclass(frozen=True)
class Seen:
    """A picture (H, W, 3), what was found in it, and the map of each face.

    The maps, (faces, h, w), are M_df's mean over channels; None if they were not asked for or the detector does not
    have M_df.
    """

    image: NDArray
    frame: ScoredFrame
    maps: NDArray | None


@dataclasses.dataclass
class Detector:
    """A trained detector with its calibration.

    Attributes:
        module: crops (n, channels, H, W) in [0, 1], and what else `wants` says -> logits (n,).
        settings: of the run that trained it.
        about: run, task, domains, data, protocol, metrics, calibration, provenance; see `did.training.runs.Run.record`.
        reader: opens files; it holds the limit of seconds.
        wants: what the task wants of a face: channels, context, frames.
    """

    module: nn.Module
    settings: Settings
    about: dict[str, Any]
    reader: Reader = dataclasses.field(default_factory=Reader)
    wants: Wants = dataclasses.field(default_factory=Wants)

    def __post_init__(self) -> None:
        if "calibration" not in self.about:
            name = self.about["run"]
            raise DidError(
                f"the run {name} was trained before runs had a calibration, so that its scores have no threshold: "
                f"train it again (`did runs rm {name}` first)"
            )
        self.device = distributed.device()
        self.module.eval().to(self.device)

    @classmethod
    def load(cls, path: str | Path, runs: Path | None = None) -> Detector:
        """Load a detector from a run's folder, a run's name (or its first digits), or an exported folder.

        Args:
            path: folder or name.
            runs: folder of the runs for a name; `runs/` in the project by default.

        Raises:
            DidError: If there is no such run, it has no calibration, or weights or files are damaged, foreign or do not
                fit.
        """
        folder = Path(path)
        if (folder / card.CARD).is_file():
            module, known, wants = card.load(folder)
            return cls(module, Settings.of(known["settings"]), known, wants=wants)
        if folder.is_dir() and not (folder / RECORD).is_file():
            raise DidError(f"the folder {folder} holds neither a run ({RECORD}) nor a detector ({card.CARD})")
        run = Run(folder) if folder.is_dir() else find_run(str(path), runs)
        task = run.task()
        return cls(task.detector(), run.settings, run.record, wants=task.wants)

    def predict(self, image: NDArray | Image.Image | str | Path, all_faces: bool = False) -> Answer:
        """Score a picture: its largest face, for which the run's numbers hold, or all of its faces.

        Args:
            image: RGB uint8 (H, W, 3), a Pillow image, or a path.
            all_faces: look for every face, which takes longer.

        Raises:
            DidError: If it cannot be read, or is too large or too small; or as `check_faces`.
        """
        notes: tuple[str, ...] = ()
        name, picture = "", image
        if isinstance(image, str | Path):
            name, picture, notes = str(image), self.reader.image(image), self.reader.notes
        elif isinstance(image, Image.Image):
            picture = as_rgb(ImageOps.exif_transpose(image))
        (seen,) = self.look([(0, _checked(np.asarray(picture), name))], all_faces)
        return self.answer(name, "image", [seen.frame], notes)

    def predict_video(self, path: str | Path, frames: int | None = None, all_faces: bool = False) -> Answer:
        """Score evenly spaced frames of a video.

        Args:
            path: of the video.
            frames: how many, 0 for all of them; as many as the run was trained and tested on by default.
            all_faces: as in `predict`.

        Raises:
            DidError: If it cannot be read, or its frames are too large or too small; or as `check_faces`.
        """
        return self._answer(path, "video", frames, all_faces)

    def predict_file(self, path: str | Path, frames: int | None = None, all_faces: bool = False) -> Answer:
        """Score a picture or a video; the file's suffix, or else its content, says which it is.

        Raises:
            DidError: As `predict` and `predict_video`.
        """
        return self._answer(path, self.kind(path), frames, all_faces)

    def _answer(self, path: str | Path, kind: str, frames: int | None, all_faces: bool) -> Answer:
        seen = [one.frame for one in self.watch(path, kind, frames, all_faces)]
        return self.answer(str(path), kind, seen, self.reader.notes)

    def watch(
        self, path: str | Path, kind: str, frames: int | None = None, all_faces: bool = False, maps: bool = False
    ) -> Iterator[Seen]:
        """Yield what `predict` and `predict_video` see in a file, one frame at a time; see `look`.

        Raises:
            DidError: As `predict` and `predict_video`.
        """
        if kind == "image":
            images: Iterable[tuple[int, NDArray]] = [(0, _checked(self.reader.image(path), str(path)))]
        else:
            images = self.reader.frames(path, None if frames == 0 else frames or self.settings.frames)
        return self.look(images, all_faces, maps)

    def kind(self, path: str | Path) -> str:
        """Return `image` or `video`, from the file's suffix or, if that is another one, its content.

        Raises:
            DidError: If it is neither.
        """
        if known := media_kind(path):
            return known
        try:
            self.reader.image(path)
        except DidError as error:
            if "is none of" not in str(error):
                raise
        else:
            return "image"
        try:
            next(self.reader.frames(path, 1))
        except DidError as error:
            raise DidError(f"{path} is neither a picture nor a video that can be read.") from error
        return "video"

    def look(
        self, images: Iterable[tuple[int, NDArray]], all_faces: bool = False, maps: bool = False
    ) -> Iterator[Seen]:
        """Find and score the faces of numbered pictures, a few at a time.

        Args:
            images: pairs (number, RGB uint8 (H, W, 3)).
            all_faces: every face, not the largest alone.
            maps: give M_df too, where the detector has one.

        Raises:
            DidError: If pictures have less than 20 pixels a side, or are not uint8; or as `check_faces`.
        """
        self.check_faces(all_faces)
        for batch in in_batches(iter(images)):
            pictures = [image for _, image in batch]
            if min(pictures[0].shape[:2]) < SMALLEST_FRAME:
                raise DidError(f"pictures of {min(pictures[0].shape[:2])} pixels a side are too small for a face")
            found = [faces if all_faces else faces[:1] for faces in detect(pictures, every=all_faces)]
            scores, seen_maps = self._score(pictures, found, maps)
            done = 0
            for (number, image), faces in zip(batch, found, strict=True):
                mine = slice(done, done + len(faces))
                done = mine.stop
                scored = tuple(self._face(face, float(s)) for face, s in zip(faces, scores[mine], strict=True))
                highest = max((face.score for face in scored), default=None)
                frame = ScoredFrame(number, image.shape[1], image.shape[0], scored, highest)
                yield Seen(image, frame, None if seen_maps is None else seen_maps[mine])

    def check_faces(self, all_faces: bool) -> None:
        """Check, before any work, that the detector can score every face if that is asked for.

        Raises:
            DidError: If it cannot, because its task sees a face in several frames at once.
        """
        if all_faces and self.wants.frames > 1:
            raise DidError(
                f"the task {self.about['task']} sees a person's face in {self.wants.frames} frames at once, but which "
                "of a frame's faces is that person's is not known: leave out --all-faces (all_faces)"
            )

    @torch.inference_mode()
    def _score(
        self, pictures: list[NDArray], found: list[list[FoundFace]], maps: bool
    ) -> tuple[NDArray, NDArray | None]:
        module, wants = self.module, self.wants
        every = [(image, face) for image, faces in zip(pictures, found, strict=True) for face in faces]
        if not every:
            return np.empty(0), None
        given = [self._crops(every, self.settings.crop_margin)]
        if wants.frames > 1:  # Around each frame, as in training; a window ends where the frames read at once end.
            at = torch.arange(len(every))[:, None] + torch.arange(wants.frames) - wants.frames // 2
            given = [given[0][at.clamp(0, len(every) - 1)]]
        if wants.context is not None:
            given.append(self._crops(every, wants.context))
        scores, seen = [], []
        for batch in zip(*(part.split(_CROPS_AT_ONCE) for part in given), strict=True):
            batch = tuple(part.to(self.device) for part in batch)
            scores.append(module(*batch).float().cpu())
            if maps and isinstance(module, DetectionGraph):
                seen.append(module.deepfake_attention(module.backbone(batch[0])).mean(1).float().cpu())
        return torch.cat(scores).numpy(), torch.cat(seen).numpy() if seen else None

    def _crops(self, every: Sequence[tuple[NDArray, FoundFace]], margin: float) -> Tensor:
        size, mode = self.settings.image_size, "L" if self.wants.channels == 1 else "RGB"
        crops = (Image.fromarray(align(image, face.landmarks, size, margin)) for image, face in every)
        return torch.stack([to_tensor(crop.convert(mode), size) for crop in crops])

    def crop(self, image: NDArray, landmarks: Any) -> NDArray:
        """Return the aligned face that the network sees, RGB uint8, before it is converted to gray."""
        return align(image, np.asarray(landmarks), self.settings.image_size, self.settings.crop_margin)

    def _face(self, face: FoundFace, score: float) -> ScoredFace:
        box, five = face.box.round(2).tolist(), face.landmarks.round(2).tolist()
        landmarks = tuple(tuple(point) for point in five)
        return ScoredFace(tuple(box), landmarks, round(face.probability, 6), score, *self._judged("frame", score))

    def _judged(self, level: str, score: float) -> tuple[float, str]:
        """Return probability and label at a level of the calibration."""
        known = self.about["calibration"][level]
        label = "fake" if score > known["threshold"] else "real"
        return float(probability(score, known["temperature"])), label

    def answer(self, name: str, kind: str, frames: list[ScoredFrame], notes: tuple[str, ...] = ()) -> Answer:
        """Return the answer about an input, from its frames."""
        scores = [frame.score for frame in frames if frame.score is not None]
        if not scores:
            reason = NO_FACE if kind == "image" else f"{NO_FACE} in any of {len(frames)} frames"
            return Answer(name, kind, "no face", reason=reason, frames=tuple(frames), notes=notes)
        score = float(np.mean(scores))
        judged = self._judged("frame" if kind == "image" else "video", score)
        return Answer(name, kind, "scored", score, *judged, frames=tuple(frames), notes=notes)


def _checked(image: NDArray, name: str) -> NDArray:
    what = f"the picture {name}" if name else "a picture in memory"
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DidError(f"{what} must be RGB uint8 of shape (H, W, 3), not {image.dtype} of shape {image.shape}")
    if min(image.shape[:2]) < SMALLEST_FRAME:
        raise DidError(f"{what} is too small for a face: {image.shape[1]}×{image.shape[0]} pixels")
    if image.shape[0] * image.shape[1] > MOST_PIXELS:
        raise DidError(f"{what} is too large: it has more than {MOST_PIXELS / 1e6:.0f} million pixels; make it smaller")
    return image
