"""What the answers look like: what the detector was trained on, lines, JSON, and one HTML file."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from did.data import table as tables
from did.data.layout import UNREADABLE_SUFFIXES
from did.data.video import CONVERT
from did.predict.card import CAUTION
from did.predict.detector import Answer, Detector
from did.predict.inputs import Judged
from did.utils.files import write_atomically
from did.utils.words import plain

STANDIN = (
    "STAND-IN: this detector was trained on a stand-in, not on the licensed data. What it says about a real picture "
    "means nothing."
)


def about(detector: Detector) -> list[str]:
    """List what a reader must know before a score: data, protocol, thresholds, the meaning of a probability.

    One line each, which any terminal can print: an exported detector's card may contain anything.
    """
    known = detector.about
    calibration, data = known["calibration"], known["data"]
    levels = []
    for level in ("frame", "video"):
        c = calibration[level]
        bound = f", at its {c['bound']} bound" if c["bound"] else ""
        levels.append(
            f"{level}s: fake above {c['threshold']:+.3f}, where {c['fpr']:.1%} of {c['n_real']} real and "
            f"{c['fnr']:.1%} of {c['n_fake']} fake ones are wrong; temperature {c['temperature']:.3g}{bound}"
        )
    made = known["provenance"]
    lines = [
        *([STANDIN] if data["edition"] == "stand-in" else []),
        f"Detector: {known['task']} of run {known['run']}, {detector.settings.backbone}, trained on {data['source']} "
        f"({data['edition']}); commit {made['commit']}, {made['date'][:10]}",
        f"Protocol: {known['protocol']}",
        f"Thresholds: {calibration['rule']}. {'; '.join(levels)}",
        "A probability is for a prior of one half: where forgeries are rarer, so are they among its alarms.",
        CAUTION,
    ]
    return [plain(text) for text in lines]


def line(answer: Answer) -> str:
    """Format an answer as one line: label, probability, score, faces, input; or the reason why there is none."""
    if answer.status != "scored":
        reason = plain("; ".join([answer.reason, *answer.notes]))
        return f"{answer.status:>7}  {'':>6} {'':>8} {'':>11}  {plain(answer.input)}: {reason}"
    faces = f"{len(answer.faces)} face{'s' if len(answer.faces) != 1 else ''}"
    if answer.kind == "video":
        faces = f"{sum(bool(frame.faces) for frame in answer.frames)}/{len(answer.frames)} frames"
    name = plain(": ".join([answer.input, *answer.notes]))
    return f"{answer.label:>7}  {answer.probability:6.3f} {answer.score:+8.3f} {faces:>11}  {name}"


HEAD = f"{'label':>7}  {'p':>6} {'score':>8} {'seen':>11}  input"


#: Columns of `rows`: `video` is the input's path, and `called` what the detector says.
COLUMNS = ("video", "frame", "face", "x0", "y0", "x1", "y1", "score", "probability", "called")


def rows(answer: Answer) -> list[dict[str, Any]]:
    """Return one row of `COLUMNS` per face of each frame; none for an input without a face."""
    return [
        dict(zip(COLUMNS, (answer.input, frame.number, number, *face.box, face.score, face.probability, face.label),
                 strict=True))
        for frame in answer.frames
        for number, face in enumerate(frame.faces)
    ]  # fmt: skip


def write_csv(file: Path, faces: Sequence[dict[str, Any]]) -> None:
    """Write rows as a table; the file gets its name when it is complete.

    Raises:
        DidError: If it cannot be written.
    """
    table = pd.DataFrame(faces, columns=list(COLUMNS))
    write_atomically(file, lambda path: tables.save(table, path))


def as_json(answer: Answer) -> str:
    r"""Format an answer as one line of JSON in ASCII: the fields of `did.predict.Answer`, with every frame and face.

    Bytes of a name that are not UTF-8 are surrogates (`\udce9` for E9), which `os.fsencode` converts back.
    """
    return json.dumps(dataclasses.asdict(answer), allow_nan=False)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>did predict: what a detector says about some files</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff; }}
table {{ border-collapse: collapse; width: 100%; }} td, th {{ padding: .4rem .6rem; border-bottom: 1px solid #bbb;
  text-align: left; vertical-align: middle; overflow-wrap: anywhere; }}
th, td:nth-child(3) {{ white-space: nowrap; }} td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.standin {{ border: 3px solid #a33b00; padding: .6rem; font-weight: bold; }}
.caution {{ border-left: 4px solid #0072b2; padding-left: .8rem; }}
</style></head><body>
<h1>What a detector says about some files</h1>
{about}
<table><thead><tr><th scope="col">picture</th><th scope="col">file</th><th scope="col">label</th>
<th scope="col">probability</th><th scope="col">score</th><th scope="col">seen</th></tr></thead><tbody>
"""


def write_html(file: Path, detector: Detector, judged: Iterable[Judged], left: Mapping[str, int]) -> None:
    """Write a self-contained HTML report, row by row as the answers come.

    Args:
        file: where to write.
        detector: that said it.
        judged: what it said.
        left: what `did.predict.inputs.files` left out.

    Raises:
        DidError: If the disk is full, or the file cannot be written.
    """
    lines = about(detector)
    kinds = {STANDIN: "standin", CAUTION: "caution"}
    said = "\n".join(f'<p class="{kinds.get(text, "")}">{html.escape(text)}</p>' for text in lines)

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as opened:
            opened.write(_PAGE.format(about=said))
            counts: dict[str, int] = {}
            for one in judged:
                counts[one.answer.status] = counts.get(one.answer.status, 0) + 1
                opened.write(_row(one))
            opened.write(f"</tbody></table>\n<p>{html.escape(summary(counts, left))}</p>\n</body></html>\n")

    write_atomically(file, write)


def summary(counts: Mapping[str, int], left: Mapping[str, int]) -> str:
    """Count the inputs by their outcome, and the files that were left out by suffix."""
    said = [f"{counts[status]} {status}" for status in ("scored", "no face", "refused") if status in counts]
    for suffix in sorted(filter(left.get, left)):
        said.append(f"{left[suffix]} × {plain(suffix)} left out" + f" ({CONVERT})" * (suffix in UNREADABLE_SUFFIXES))
    return "; ".join(said)


def _row(one: Judged) -> str:
    answer = one.answer
    name = html.escape(plain(answer.input))
    picture = "" if one.thumbnail is None else _inline(one.thumbnail, f"{Path(answer.input).name}, its face in a box")
    if answer.status != "scored":
        reason = html.escape(plain("; ".join([answer.reason, *answer.notes])))
        return f"<tr><td>{picture}</td><td>{name}</td><td>{answer.status}</td><td colspan=3>{reason}</td></tr>\n"
    seen = sum(bool(frame.faces) for frame in answer.frames)
    what = f"{seen} of {len(answer.frames)} frames" if answer.kind == "video" else f"{len(answer.faces)} face(s)"
    what = html.escape("; ".join([what, *answer.notes]))
    return (
        f"<tr><td>{picture}</td><td>{name}</td><td>{answer.label}</td><td class=number>{answer.probability:.3f}</td>"
        f"<td class=number>{answer.score:+.3f}</td><td>{what}</td></tr>\n"
    )


def _inline(picture: NDArray, words: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(plain(words))}">'
