"""Leaks: what gives forgeries away without a look at the face.

A detector's AUC means little where a trivial one has it, too. The trivial ones here are a logistic regression on the
spectrum of the crop, the same on what lies outside the forged region, and the size of the file.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from did.data import clips
from did.data.loading import Faces, domain_names, ordered
from did.data.masks import mask
from did.data.store import FaceStore
from did.data.table import REAL
from did.errors import DidError
from did.evaluation import auc, interval
from did.evaluation.intervals import families
from did.sources import Source
from did.standin import made

#: Side and step of the windows that are compared outside a forged region, in pixels.
WINDOW, STEP = 32, 16
#: How far the windows keep from the region, in pixels: a codec's block mixes what lies within it.
AWAY = 16
#: Parts of the cross-validation, and people of a ring of swaps: a pair, as in FF++, or one more.
FOLDS, RING = 5, 3


def radial_spectrum(images: np.ndarray) -> np.ndarray:
    """Compute the log power spectrum of gray images, averaged over rings of equal frequency.

    Args:
        images: (n, size, size).

    Returns:
        (n, size // 2): ring r holds the frequencies of r to r + 1 cycles an image, under a Hann window.

    Source: Durall et al. (2020), "Watch your up-convolution", arXiv:2003.01826, for its use on forgeries.
    """
    size = images.shape[-1]
    window = np.outer(np.hanning(size), np.hanning(size))
    power = np.abs(np.fft.fftshift(np.fft.fft2(images * window), axes=(1, 2))) ** 2
    y, x = np.indices((size, size)) - size // 2
    ring = np.hypot(x, y).astype(int)
    inside = ring < size // 2
    counts = np.bincount(ring[inside])
    sums = np.stack([np.bincount(ring[inside], p[inside]) for p in power])
    return np.log(sums / counts + 1e-8)


def _spectra(faces: Faces) -> NDArray:
    """Compute the radial spectra of gray crops, a batch at a time: (n, size // 2)."""
    return np.concatenate([radial_spectrum(batch["image"][:, 0].numpy()) for batch in ordered(faces, 64)])


def _fit(features: NDArray, labels: NDArray) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features, labels)


def spectral_baseline(train: Faces, test: Faces) -> pd.DataFrame:
    """Measure how well the radial spectrum alone tells each forgery method from real faces.

    The classifier is a logistic regression, real against one method.

    A detector's AUC on forgeries that a spectrum gives away says little about faces.

    Returns:
        One row per method: method, auc on the frames of `test`.
    """
    spectra, methods = [], []
    for faces in (train, test):
        spectra.append(_spectra(faces))
        methods.append(np.array(faces.domain_names)[faces.domains])
    rows = []
    for method in train.domain_names[1:]:
        parts = [np.isin(m, [REAL, method]) for m in methods]
        model = _fit(spectra[0][parts[0]], train.labels[parts[0]])
        value = auc(test.labels[parts[1]], model.decision_function(spectra[1][parts[1]]))
        rows.append({"method": method, "auc": value})
    return pd.DataFrame(rows)


def crop_baseline(source: Source, store: FaceStore, size: int, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Measure how well the radial spectrum of the crop, averaged over a video, tells each method from real faces.

    As `spectral_baseline`, but over all splits: the logistic regression is tried on people it was not fitted to. Who
    is in which file comes from a stand-in's record, else from the identities; who belongs together: see `_groups`.

    Args:
        source, store: the data and its crops.
        size: side that the crops are brought to.
        draws, seed: of the bootstrap.

    Returns:
        One row per method: method, auc, low, high (95%, over people) and note.
    """
    rows = store.manifest
    if source.edition == "stand-in":
        known = _record(source.root).set_index("path")
        rows = rows.assign(people=rows.path.map(known.people), family=rows.path.map(known.family))
    else:
        people = rows.identity.str.split("+")
        rows = rows.assign(people=people, family=_groups(people.tolist(), (rows.method != REAL).to_numpy()))
    spectra = _spectra(Faces(rows, store.root, size))
    whole = rows.drop_duplicates("video").set_index("video")[["method", "people", "family"]]
    features = pd.DataFrame(spectra).groupby(rows.video.to_numpy()).mean().loc[whole.index].to_numpy()
    rows_out = []
    for method in domain_names(rows)[1:]:
        part = whole.method.isin([REAL, method]).to_numpy()
        labels, families = (whole.method[part] == method).to_numpy(int), whole.family[part].to_numpy()
        scores = _unseen_scores(features[part], labels, families, whole.people[part].tolist())
        rows_out.append(_row(method, labels, scores, families, draws, seed))
    return pd.DataFrame(rows_out)


def leak_table(source: Source, store: FaceStore, size: int, draws: int = 1000) -> pd.DataFrame:
    """Tabulate what can be told without looking at the face, one row per method and check.

    The column `check` says what was used: "whole crop" and, for stand-ins, whose forged regions are known, "outside"
    and "file size".
    """
    checks = {"whole crop": crop_baseline(source, store, size, draws)}
    if source.edition == "stand-in":
        checks["outside"] = outside_baseline(source.root, source.index, draws=draws)
        checks["file size"] = file_size_baseline(source.root, source.index, draws=draws)
    return pd.concat([table.assign(check=name) for name, table in checks.items()], ignore_index=True)


def outside_baseline(
    root: str | Path, index: pd.DataFrame, frames: int = 4, draws: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Measure how well the pixels outside the forged region give a stand-in's forgeries away.

    An AUC of .5 is as it should be.

    A forged file and the real one of the same target are cut alike: the windows that keep clear of the forged file's
    mask are taken from both, so that the region's shape tells nothing. The radial spectrum of the windows, averaged
    over a file, goes to a logistic regression that is tried on people it was not fitted to.

    Args:
        root: folder of the stand-in.
        index: its table, one row per file.
        frames: frames per clip, evenly spaced.
        draws, seed: of the bootstrap.

    Returns:
        One row per method: method, auc, low, high (95%, over people) and note. Where less than half of a method's files
        have anything outside, as with a face made as a whole, the numbers are NaN and the note says so.

    Raises:
        DidError: If `root` is not a stand-in, a file does not decode, or there are fewer than two groups of people.
    """
    forged = _forged(root, index)
    spectra: dict[int, NDArray] = {}
    for real, rows in forged.groupby("real"):
        target = _gray_frames(Path(root) / str(real), frames)
        for row in rows.itertuples():
            pair = _outside_pair(root, str(row.path), target, frames)
            if pair is not None:
                spectra[int(str(row.Index))] = pair
    rows_out = []
    for method, rows in forged.groupby("method", sort=False):
        have = [number for number in rows.index if number in spectra]
        if 2 * len(have) < len(rows):
            rows_out.append({"method": method, "auc": np.nan, "low": np.nan, "high": np.nan, "note": "nothing outside"})
            continue
        features = np.concatenate([spectra[number] for number in have])
        labels = np.tile([1, 0], len(have))
        families = np.repeat(rows.family[have].to_numpy(), 2)
        people = [each for each in rows.people[have] for _ in range(2)]
        scores = _unseen_scores(features, labels, families, people)
        rows_out.append(_row(method, labels, scores, families, draws, seed))
    return pd.DataFrame(rows_out)


def file_size_baseline(root: str | Path, index: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Measure how well the size of the files gives a stand-in's forgeries away.

    An AUC of .5 is as it should be.

    The score is the logarithm of the bytes, with nothing fitted: above .5 forged files are larger than the real ones
    of the same targets, below .5 they are smaller.

    Args, returns and raises as `outside_baseline`, but that nothing is decoded.
    """
    rows_out = []
    for method, rows in _forged(root, index).groupby("method", sort=False):
        files = [*rows.path, *rows.real]
        scores = np.log([(Path(root) / file).stat().st_size for file in files])
        labels, families = np.repeat([1, 0], len(rows)), np.tile(rows.family.to_numpy(), 2)
        rows_out.append(_row(method, labels, scores, families, draws, seed))
    return pd.DataFrame(rows_out)


def _row(method: Any, labels: NDArray, scores: NDArray, groups: ArrayLike, draws: int, seed: int) -> dict[str, Any]:
    low, high = interval(labels, scores, groups, draws=draws, seed=seed)
    return {"method": method, "auc": auc(labels, scores), "low": low, "high": high, "note": ""}


def _groups(people: list[list[str]], forged: NDArray) -> NDArray:
    """Label the lists of names by who is held out and drawn together, (n,).

    That is a family (see `did.evaluation.intervals.families`): in FF++ a pair that swaps with each other. If a family
    of more people than a ring has more forgeries than a fold should, as in Celeb-DF, where swaps connect nearly
    everybody, it is the target, the first name of a list; `_unseen_scores` then leaves those who are tried out of the
    other targets' swaps.
    """
    shared = families(people)
    sizes = np.bincount(shared[forged])
    if len(sizes):
        largest = sizes.argmax()
        members = {name for number in np.flatnonzero(shared == largest) for name in people[number]}
        if len(members) > RING and sizes[largest] > forged.sum() / FOLDS:
            return pd.factorize(np.array([names[0] for names in people], dtype=object))[0]
    return shared


def _record(root: str | Path) -> pd.DataFrame:
    """Read the stand-in's record of each file, with `people`, target and donor, and `family`; see `_groups`."""
    table = made(root)
    people = [[target, donor or target] for target, donor in zip(table.target, table.donor, strict=True)]
    return table.assign(people=people, family=_groups(people, (table.method != "").to_numpy()))


def _forged(root: str | Path, index: pd.DataFrame) -> pd.DataFrame:
    """Select the forged files of the index: path, method (of the index), real, people and family."""
    fakes = index.loc[index.label == 1, ["path", "method"]]
    return fakes.merge(_record(root)[["path", "real", "people", "family"]], on="path").reset_index(drop=True)


def _gray_frames(file: Path, count: int) -> dict[int, NDArray]:
    """Read evenly spaced gray frames of a clip, or a picture: frame number -> (h, w)."""
    return {number: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for number, image in clips.stream(file, count, [])}


def _outside_pair(root: str | Path, path: str, target: dict[int, NDArray], count: int) -> NDArray | None:
    """Compute mean spectra of a forged file and of its target outside the region, (2, WINDOW // 2).

    None if there is no outside.
    """
    found = []
    for number, image in _gray_frames(Path(root) / path, count).items():
        region = mask(root, path, number)
        if region is None or number not in target:
            continue
        corners = _clear_windows(region, image.shape[0])
        for y, x in corners:
            cut = (slice(y, y + WINDOW), slice(x, x + WINDOW))
            found.append([image[cut], target[number][cut]])
    if not found:
        return None
    windows = np.array(found, float).reshape(-1, WINDOW, WINDOW)
    return radial_spectrum(windows).reshape(-1, 2, WINDOW // 2).mean(axis=0)


def _clear_windows(region: NDArray, size: int) -> list[tuple[int, int]]:
    """Return the upper left corners (y, x) of those windows of a frame (size, size) that avoid the region (m, m)."""
    full = cv2.resize((region > 0).astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
    full = cv2.dilate(full, np.ones((2 * AWAY + 1, 2 * AWAY + 1), np.uint8))
    places = range(0, size - WINDOW + 1, STEP)
    return [(y, x) for y in places for x in places if not full[y : y + WINDOW, x : x + WINDOW].any()]


def _unseen_scores(features: NDArray, labels: NDArray, groups: NDArray, people: list[list[str]]) -> NDArray:
    """Compute held-out scores of a logistic regression, (n,).

    Each score is from a fit that has seen nobody of the same group, and no row with the target of the scored row.
    """
    few = "All forgeries of a method share their people; give data, or write a stand-in, of at least four people."
    if len(np.unique(groups)) < 2:
        raise DidError(few)
    folds = GroupKFold(min(FOLDS, len(np.unique(groups))))
    scores = np.empty(len(labels))
    for fit, test in folds.split(features, labels, groups):
        tried = {people[number][0] for number in test}
        fit = fit[[tried.isdisjoint(people[number]) for number in fit]]
        if len(np.unique(labels[fit])) < 2:
            raise DidError(few)
        scores[test] = _fit(features[fit], labels[fit]).decision_function(features[test])
    return scores
