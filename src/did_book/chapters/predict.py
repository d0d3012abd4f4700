"""The chapter on using a detector: its answers for single files as a figure, and its calibration in sentences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from did.plots.base import Plot, canvas, put_stamp
from did.predict import Detector
from did.predict.overlay import drawn


def predictions(detector: Detector, files: Mapping[str, Path], stamp: str, columns: int = 5) -> Plot:
    """Draw a frame of each file with its largest face in a box, and M_df over it if the detector has one.

    Of a video, the middle frame. The colours span each map's own range.

    Args:
        detector: scores the frames.
        files: words -> picture or video.
        stamp: where the numbers come from.
        columns: pictures in a row.
    """
    count = max(1, -(-len(files) // columns))
    figure, axes = canvas(2.2 * min(columns, len(files)), 2.5 * count, count, min(columns, len(files)))
    rows, said = [], []
    for axis in axes.ravel():
        axis.set_axis_off()
    for axis, (words, path) in zip(axes.ravel(), files.items(), strict=False):
        (seen,) = detector.watch(path, detector.kind(path), frames=1, maps=True)
        axis.imshow(drawn(detector, seen, longest=480, words=False))
        row: dict[str, Any] = {"file": words, "label": "no face"}
        text = f"{words}\nno face found"
        for face in seen.frame.faces:
            row |= {"label": face.label, "score": face.score, "probability": face.probability}
            text = f"{words}\n{face.label}, {face.score:+.2f}, p {face.probability:.2f}"
            said.append(f"{words}: called {face.label}, forged with probability {face.probability:.3f}")
        if seen.maps is not None:
            row |= {"low": float(seen.maps.min()), "high": float(seen.maps.max())}
        axis.set_title(text, fontsize=8)
        rows.append(row)
    put_stamp(figure, stamp)
    data = pd.DataFrame(rows, columns=["file", "label", "score", "probability", "low", "high"])
    range_ = f"; M_df from {data.low.min():.3f} to {data.high.max():.3f}" if data.low.notna().any() else ""
    alt = f"{len(data)} frames, each with a box around its face: {'; '.join(said) or 'no face'}{range_}."
    return Plot(figure, data, alt)


def calibration_sentences(calibration: Mapping[str, Any], gaps: Mapping[str, float]) -> list[str]:
    """Say what a run's temperature did to the probabilities of its test faces.

    Args:
        calibration: of the run's record.
        gaps: expected calibration errors on the test split, `before` and `after` the temperature.
    """
    frame = calibration["frame"]
    said = [f"The temperature of frames is {frame['temperature']:.3f}."]
    if frame["bound"] == "lower":
        said = ["The scores separate the validation frames: any temperature is too high, and it stops at its bound."]
    elif frame["bound"] == "upper":
        said = [
            "On the validation frames the scores tell nothing, or the contrary: the temperature stops at its bound, "
            "and every probability is drawn to one half."
        ]
    before, after = gaps["before"], gaps["after"]
    words = "nearer to" if after < before - 0.005 else "farther from" if after > before + 0.005 else "no nearer to"
    said.append(
        f"On the test frames it brings the probabilities {words} the share of fakes: calibration error {before:.3f} "
        f"before, {after:.3f} after."
    )
    errors = "more than one in three" if max(frame["fpr"], frame["fnr"]) > 1 / 3 else "at most one in three"
    said.append(
        f"At the threshold {errors} of the validation frames of a class are called wrongly: of the real ones "
        f"{frame['fpr']:.3f}, of the fakes {frame['fnr']:.3f}."
    )
    return said
