"""Many inputs, one after the other: files, folders and what is in them. Nothing is kept, however many there are."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from numpy.typing import NDArray

from did.data.layout import media_kind
from did.errors import DidError
from did.predict.detector import Answer, Detector, ScoredFrame, Seen
from did.predict.overlay import drawn, overlay_file, write_overlay
from did.utils.files import regardless

#: Frames a second of an overlay video: of evenly spaced frames, and of all of them.
SLOW, FAST = 2, 25


def files(inputs: Iterable[str | Path], left: Counter[str] | None = None) -> Iterator[tuple[Path, str]]:
    """Yield the files of inputs, each with "" or the reason why it is refused.

    Folders are searched with their subfolders, sorted by name.

    Args:
        inputs: files, which are all taken, and folders: there `did.data.layout.media_kind` says which files are, and
            links to folders are not followed.
        left: counts what is left out of folders, by suffix in lower case.
    """
    left = Counter() if left is None else left
    for given in map(Path, inputs):
        if not given.is_dir():
            yield given, ""
            continue
        found = False
        refused: list[OSError] = []
        for folder, folders, names in os.walk(given, onerror=refused.append):
            folders.sort()
            left["link to a folder"] += sum(os.path.islink(os.path.join(folder, name)) for name in folders)
            for name in sorted(names):
                if media_kind(name):
                    found = True
                    yield Path(folder, name), ""
                else:
                    left[Path(name).suffix.lower() or "no suffix"] += 1
        for error in refused:
            yield Path(error.filename), f"the folder cannot be read ({(error.strerror or '').lower()})"
        if not found and not refused:
            yield given, "the folder holds no picture and no video"


@dataclasses.dataclass(frozen=True)
class Judged:
    """An answer and its drawing, if one was asked for.

    Attributes:
        answer: it is the same whatever becomes of the drawing.
        thumbnail: a small picture of the first frame with a face, RGB uint8 (H, W, 3).
        overlay: the file that was written.
        undrawn: why there is none.
    """

    answer: Answer
    thumbnail: NDArray | None = None
    overlay: Path | None = None
    undrawn: str = ""


def judge(
    detector: Detector,
    inputs: Iterable[tuple[Path, str]],
    frames: int | None = None,
    all_faces: bool = False,
    overlay: Path | None = None,
    thumbnails: int = 0,
) -> Iterator[Judged]:
    """Yield the answer about each input.

    An input that cannot be read is an answer too, with its reason; the next input follows.

    Args:
        detector: see `did.predict.Detector`.
        inputs: of `files`.
        frames, all_faces: as in `Detector.predict_file`.
        overlay: folder for pictures and videos with box, score and M_df.
        thumbnails: longest side in pixels of the small pictures; 0 for none.
    """
    for number, (path, reason) in enumerate(inputs):
        drawing = _Drawing(detector, overlay, thumbnails, number, path)
        answer = None
        try:
            if not reason:
                answer = _one(detector, path, frames, all_faces, drawing)
        except DidError as error:
            reason = str(error)
        except Exception as error:  # Whatever one input brings about, the others get their answers.
            reason = f"it cannot be scored ({type(error).__name__}: {error})"
        if answer is None:
            answer = Answer(str(path), media_kind(path) or "", "refused", reason=reason)
        yield Judged(answer, drawing.thumbnail, drawing.file, drawing.failed)


def _one(detector: Detector, path: Path, frames: int | None, all_faces: bool, drawing: _Drawing) -> Answer:
    kind = detector.kind(path)
    scored: list[ScoredFrame] = []

    def watched() -> Iterator[Seen]:
        for seen in detector.watch(path, kind, frames, all_faces, maps=drawing.folder is not None):
            scored.append(seen.frame)
            yield seen

    drawing.draw(watched(), None if kind == "image" else FAST if frames == 0 else SLOW)
    return detector.answer(str(path), kind, scored, detector.reader.notes)


@dataclasses.dataclass
class _Drawing:
    """The drawing of one input while its frames are scored.

    If the drawing fails, every frame still gets its score.
    """

    detector: Detector
    folder: Path | None
    side: int
    number: int
    path: Path
    thumbnail: NDArray | None = None
    file: Path | None = None
    failed: str = ""

    def draw(self, seen: Iterator[Seen], fps: float | None) -> None:
        self.failed = regardless(seen, lambda seen: self._draw(self._kept(seen), fps))

    def _draw(self, seen: Iterator[Seen], fps: float | None) -> None:
        if self.folder is None:
            for _ in seen:
                pass
        else:
            file = overlay_file(self.folder, self.number, self.path, ".png" if fps is None else ".mp4")
            write_overlay(file, self.detector, seen, fps)
            self.file = file

    def _kept(self, seen: Iterator[Seen]) -> Iterator[Seen]:
        for one in seen:
            if self.side and self.thumbnail is None and one.frame.faces:
                self.thumbnail = drawn(self.detector, one, self.side, words=False)
            yield one
