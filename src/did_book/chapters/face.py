"""One face inside a trained detector, with which the method's chapters open; `did book face` has written its file."""

import base64
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from did import evaluation
from did.data.store import FaceStore
from did.data.table import REAL
from did.errors import DidError
from did.method.model import DID, Decomposed
from did.plots.base import Plot, canvas, put_stamp
from did.training.runs import Run, split_faces
from did.utils.distributed import device_of
from did.utils.files import write_atomically

FILE = Path(__file__).with_name("face.json")
#: What is kept of each quantity, place by place: of an attention map the mean over channels, of all others the mean
#: absolute value. Then the parts still add up, because a weight between 0 and 1 never flips a sign:
#: `|I_df| + |I_os| = |I_X|`.
PARTS = {
    "I_X": "features", "M_df": "deepfake_map", "I_df": "deepfake", "I_os": "other", "M_dom": "domain_map",
    "I_dom": "domain", "I_res": "residual",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Face:
    """A person's real face and a forgery of it, as a finished run of DID sees them.

    Attributes:
        names: of the rows, such as real and Deepfakes.
        crops: (2, H, W) in [0, 1].
        parts: name -> (2, h, w), see `PARTS`.
        scores: (2,) logits of fake.
        domains: names, (k + 1).
        chances: (2, k + 1), what the domain classifier gives each domain.
        ranked: (2,) the share of the test faces of the other class that the score is on the right side of.
        auc: the mean of that share over all forged test faces, which is the run's frame AUC.
        stamp: where it is from.
    """

    names: tuple[str, ...]
    crops: NDArray
    parts: dict[str, NDArray]
    scores: NDArray
    domains: tuple[str, ...]
    chances: NDArray
    ranked: NDArray
    auc: float
    stamp: str

    def table(self) -> pd.DataFrame:
        """Return score, share ranked right, and the chance of each domain, a row for each of the two crops."""
        columns = {f"C̄: {name}": self.chances[:, i] for i, name in enumerate(self.domains)}
        known = {"score": self.scores, "ranked right among the other class": self.ranked}
        return pd.DataFrame({**known, **columns}, index=list(self.names))

    def likeness(self, a: str, b: str) -> list[float]:
        """Return the correlation over places of two parts, one number for each of the two crops."""
        return [
            float(np.corrcoef(x.ravel(), y.ravel())[0, 1]) for x, y in zip(self.parts[a], self.parts[b], strict=True)
        ]


@torch.inference_mode()
def look(run: Run, store: FaceStore, banner: str) -> Face:
    """Look at the first test person of a run's data set, real and as the first method forges it.

    Args:
        run: a finished run of DID, with its weights.
        store: the crops that it was trained on.
        banner: of their source.

    Raises:
        DidError: If the run is of another task, or as `did.training.runs.split_faces`.
    """
    task = run.task()
    if not isinstance(task.model, DID):
        raise DidError(f"the run {run.folder.name} is of {run.record['task']} and is not DID: name a run of DID")
    faces = split_faces(store, run.settings)["test"]
    rows, scores = faces.rows, run.scores
    first = rows[rows.method == REAL].sort_values(["identity", "frame"]).iloc[0]
    forged = rows[(rows.method != REAL) & (rows.identity.str.split("+").str[0] == first.identity)]
    chosen = [int(first.name), int(forged.sort_values(["method", "frame"]).index[0])]
    out: Decomposed = task.eval().model(torch.stack([faces[i]["image"] for i in chosen]).to(device_of(task)))
    parts = {}
    for name, field in PARTS.items():
        values = getattr(out, field).float().cpu()
        parts[name] = (values if name.startswith("M") else values.abs()).mean(1).numpy()
    mine = [scores.score[scores.face == rows.face[i]].iloc[0] for i in chosen]
    by_class = [scores.score[scores.label == label].to_numpy() for label in (0, 1)]
    ranked = [_below(mine[0], by_class[1]), 1 - _below(mine[1], by_class[0])]
    assert out.domain_logits is not None
    return Face(
        tuple(rows.method[i] for i in chosen),
        np.stack([faces[i]["image"][0].numpy() for i in chosen]),
        parts,
        np.array(mine),
        tuple(faces.domain_names),
        out.domain_logits.softmax(1).cpu().numpy(),
        np.array(ranked),
        evaluation.auc(scores.label, scores.score),
        f"{banner} {_how(run.record['protocol'])}. Run {run.folder.name}, commit {run.record['provenance']['commit']}",
    )


def _how(protocol: str) -> str:
    """Return a protocol without the data and the edition, with which it begins and which the banner names."""
    how = "; ".join(protocol.split("; ")[2:])
    return how[:1].upper() + how[1:]


def _below(score: float, others: NDArray) -> float:
    """Return the share of pairs in which a score is below another one; a tie counts half."""
    return float(((score < others) + 0.5 * (score == others)).mean())


def write(face: Face, file: Path = FILE) -> None:
    """Write a face for `load`: numbers to four digits, crops as PNG."""
    values = dataclasses.asdict(face) | {"crops": [_png(crop) for crop in face.crops]}
    found = {name: _plain(value) for name, value in values.items()}
    write_atomically(file, lambda path: path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8"))


def load(file: Path = FILE) -> Face:
    """Return the face that the chapters show."""
    found = json.loads(file.read_text(encoding="utf-8"))
    arrays = {name: np.array(found[name]) for name in ("scores", "chances", "ranked")}
    crops = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) / 255 for text in found["crops"]]
    parts = {name: np.array(values) for name, values in found["parts"].items()}
    names = {name: tuple(found[name]) for name in ("names", "domains")}
    return Face(**{**found, **names, **arrays, "crops": np.stack(crops), "parts": parts})


def _png(crop: NDArray) -> str:
    buffer = io.BytesIO()
    Image.fromarray((crop * 255).round().astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return float(f"{value:.4g}") if isinstance(value, float) else value


def panels(face: Face, names: Sequence[str]) -> Plot:
    """Draw the two crops, and parts of them place by place.

    Features share one colour scale, attention maps have 0 to 1. Below each feature is its mean over places: those of
    I_df and I_os add up to that of I_X, those of I_dom and I_res to that of I_os. Below each map is its range.

    Args:
        face: from `load`.
        names: of parts, keys of `PARTS`.
    """
    figure, axes = canvas(1.5 * (len(names) + 1), 3.7, len(face.names), len(names) + 1)
    top = max(part.max() for name, part in face.parts.items() if not name.startswith("M"))
    rows = []
    for i, label in enumerate(face.names):
        axes[i, 0].imshow(face.crops[i], cmap="gray", vmin=0, vmax=1)
        axes[i, 0].set(xticks=[], yticks=[], ylabel=label, xlabel=f"score {face.scores[i]:+.1f}")
        for axis, name in zip(axes[i, 1:], names, strict=True):
            part, attention = face.parts[name][i], name.startswith("M")
            axis.imshow(part, cmap="viridis" if attention else "magma", vmin=0, vmax=1 if attention else top)
            below = f"{part.min():.2f} to {part.max():.2f}" if attention else f"mean {part.mean():.3f}"
            axis.set(xticks=[], yticks=[], xlabel=below)
            if i == 0:
                axis.set_title(f"${name[0]}_{{{name[2:]}}}$")
            rows.append({"face": label, "part": name, "mean": part.mean(), "least": part.min(), "most": part.max()})
    put_stamp(figure, face.stamp)
    data = pd.DataFrame(rows)
    said = "; ".join(f"{row.part} of the {row.face} face {row.mean:.3f} ({row.least:.3f} to {row.most:.3f})"
                     for row in data.itertuples())  # fmt: skip
    return Plot(figure, data, f"A face inside a trained detector, means over places: {said}.", mathtext=True)
