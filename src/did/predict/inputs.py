"""Many inputs, one after the other: files, folders and what is in them. Nothing is kept, however many there are."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from numpy.typing import NDArray

from did.data.layout import VIDEO_SUFFIXES
from did.data.video import write_clip
from did.errors import DidError
from did.predict.detector import PICTURE_SUFFIXES, Answer, Detector, ScoredFrame, Seen
from did.predict.overlay import drawn, overlay_file, write_picture

#: Frames a second of an overlay video: of evenly spaced frames, and of all of them.
SLOW, FAST = 2, 25


def files(inputs: Iterable[str | Path]) -> Iterator[tuple[Path, str]]:
    """The files of inputs, those of folders and their subfolders by name, each with "" or the reason why it is refused.

    In a folder only files with the suffix of a picture or a video count; links to folders are not followed.
    """
    for given in map(Path, inputs):
        if not given.is_dir():
            yield given, ""
            continue
        found = False
        refused: list[OSError] = []
        for folder, folders, names in os.walk(given, onerror=refused.append):
            folders.sort()
            for name in sorted(names):
                if Path(name).suffix.lower() in (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES):
                    found = True
                    yield Path(folder, name), ""
        for error in refused:
            yield Path(error.filename), f"the folder cannot be read ({(error.strerror or '').lower()})"
        if not found and not refused:
            yield given, "the folder holds no picture and no video"


@dataclasses.dataclass(frozen=True)
class Judged:
    """An answer and, where it was asked for, a small picture of the first frame with a face, RGB uint8 (H, W, 3)."""

    answer: Answer
    thumbnail: NDArray | None = None


def judge(
    detector: Detector,
    inputs: Iterable[tuple[Path, str]],
    frames: int | None = None,
    all_faces: bool = False,
    overlay: Path | None = None,
    thumbnails: int = 0,
) -> Iterator[Judged]:
    """The answer about each input. One that cannot be read is an answer too, with its reason, and the next one comes.

    Args:
        detector: see `did.predict.Detector`.
        inputs: of `files`.
        frames, all_faces: as in `Detector.predict_file`.
        overlay: folder for pictures and videos with box, score and M_df.
        thumbnails: longest side in pixels of the small pictures; 0 for none.
    """
    for number, (path, reason) in enumerate(inputs):
        small: list[NDArray] = []

        def keep(seen: Seen, small: list[NDArray] = small) -> None:
            if thumbnails and not small and seen.frame.faces:
                small.append(drawn(detector, seen, thumbnails, words=False))

        answer = None
        try:
            if not reason:
                answer = _one(detector, path, number, frames, all_faces, overlay, keep)
        except DidError as error:
            reason = str(error)
        except Exception as error:  # Whatever one input brings about, the others get their answers.
            reason = f"it cannot be judged ({type(error).__name__}: {error})"
        if answer is None:
            kind = "video" if path.suffix.lower() in VIDEO_SUFFIXES else "image"
            answer = Answer(str(path), kind, "refused", reason=reason)
        yield Judged(answer, small[0] if small else None)


def _one(
    detector: Detector,
    path: Path,
    number: int,
    frames: int | None,
    all_faces: bool,
    overlay: Path | None,
    keep: Callable[[Seen], None],
) -> Answer:
    kind = detector.kind(path)
    scored: list[ScoredFrame] = []

    def watched() -> Iterator[Seen]:
        for seen in detector.watch(path, kind, frames, all_faces, maps=overlay is not None):
            scored.append(seen.frame)
            keep(seen)
            yield seen

    if overlay is None:
        for _ in watched():
            pass
    elif kind == "image":
        for seen in watched():
            write_picture(overlay_file(overlay, number, path, ".png"), drawn(detector, seen))
    else:
        pictures = (drawn(detector, seen, even=True) for seen in watched())
        write_clip(overlay_file(overlay, number, path, ".mp4"), pictures, FAST if frames == 0 else SLOW, crf=18)
    return detector.answer(str(path), kind, scored)
