"""What a model looks at and what its features hold: Grad-CAM beside the truly forged region, embeddings and probes."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.utils.data import DataLoader

from did.data.faces import MARGIN
from did.data.loading import Faces, ordered
from did.data.masks import true_region
from did.data.table import REAL
from did.errors import DidError, nearest
from did.evaluation import Drawn, ends, mean_of, people
from did.evaluation import draws as drawn_people
from did.method.backbones import evaluating
from did.utils.distributed import device_of, loader_workers

#: The maps of Fig. 2 that `saliency` takes, and their names in `did.method.model.Decomposed`.
MAPS = {"I_X": "features", "M_df": "deepfake_map", "I_df": "deepfake", "M_dom": "domain_map", "I_dom": "domain"}
#: The feature sets of a DID run, and their names in `did.method.model.Decomposed`.
FEATURES = {"I_X": "features", "I_df": "deepfake", "I_dom": "domain", "I_res": "residual"}
#: A region that covers more of the crop than this leaves nothing to miss.
WHOLE = 0.99
#: Faces whose maps are computed at a time: memory does not grow with the number of faces.
AT_ONCE = 32
#: t-SNE's usual perplexity, lowered if there are few points.
PERPLEXITY = 30


# --- saliency (Fig. 6) --------------------------------------------------------------------------------------------


def saliency(model: nn.Module, images: Tensor, name: str = "I_df", targets: ArrayLike | None = None) -> NDArray:
    """Compute Grad-CAM maps: which places of a feature map push a score up.

    The map's channels are weighted by their mean gradient over places and summed; what is negative becomes 0; the
    result is brought to the images' size (bilinear) and each image is divided by its own maximum.

    §4.5.1 shows "Grad-CAM outputs" of M_df and M_dom and says neither which score was derived nor by what. Here the
    score is what the branch decides: C's logit of fake for I_X, M_df and I_df, C̄'s logit of a domain for M_dom and
    I_dom. By what, there are two readings, and both names are taken:

    - I_df, I_dom (the default): the map that the classifier sees, the attention applied. This is Grad-CAM as it was
      published, on the last map before the classifier.
    - M_df, M_dom: the attention map itself, as the words say. It holds no content, only weights in [0, 1]: where it
      is flat, so is the picture.

    I_X is the map before any attention: it is there for other models that have a `backbone`, too.

    No library is used. grad-cam and captum hook the output of a module, and I_df and I_dom are products that no
    module puts out; here they are named, and what is left is a dozen lines of autograd.

    Args:
        model: one that can `decompose` images, as `did.method.model.DID` does, or a detector with `backbone`.
        images: (n, 1, H, W) in [0, 1].
        name: a key of `MAPS`.
        targets: (n,) numbers of the domains whose logits are taken for M_dom and I_dom; the likeliest by default.

    Returns:
        (n, H, W) float32 in [0, 1]. An image's maximum is 1, but where nothing pushes the score up all is 0.

    Raises:
        DidError: If the map is unknown, or this model lacks it.

    Source: Selvaraju et al. (ICCV 2017), arXiv:1610.02391.
    """
    if name not in MAPS:
        raise DidError(f"unknown map '{name}': {nearest(name, MAPS)}")
    wanted = None if targets is None else np.asarray(targets)
    maps = []
    with evaluating(model), torch.enable_grad():
        for first in range(0, len(images), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            given = images[part].to(device_of(model))
            activation, score = _map_and_score(model, given, name, None if wanted is None else wanted[part])
            # An image's score depends on its own map only: the gradient of the sum holds every image's gradient.
            (gradient,) = torch.autograd.grad(score.sum(), activation)
            maps.append(_grad_cam(activation.detach(), gradient, images.shape[2:]))
    return np.concatenate(maps)


def _map_and_score(model: Any, images: Tensor, name: str, targets: ArrayLike | None) -> tuple[Tensor, Tensor]:
    """Return the map (n, c, h, w) and the scores (n,) that depend on it.

    G's own activations are not kept, because no gradient goes below its map.
    """
    if not hasattr(model, "decompose"):
        if name != "I_X" or not hasattr(model, "backbone"):
            raise DidError(f"A {type(model).__name__} has no map {name}; take a run of DID, or I_X of one backbone.")
        with _graph_above(model.backbone) as seen:
            score = model(images)
        return seen[0], score
    if name == "M_dom" and model.domain_attention is None:
        raise DidError("This run has no A_dom, so that M_dom is 1 everywhere; take I_dom.")
    with _graph_above(model.backbone):
        out = model.decompose(images)
    score = out.score
    if name.endswith("dom"):
        if out.domain_logits is None:
            raise DidError(f"This run has no C̄, so that nothing depends on {name}; take I_df.")
        chosen = (
            out.domain_logits.argmax(1) if targets is None else torch.as_tensor(np.asarray(targets)).to(score.device)
        )
        score = out.domain_logits.gather(1, chosen[:, None]).squeeze(1)
    return getattr(out, MAPS[name]), score


@contextlib.contextmanager
def _graph_above(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Let autograd's graph begin at a backbone's map.

    What the backbone computes has no gradients. Its maps, which are appended to the list, require one, even if the
    weights are frozen.
    """
    seen: list[Tensor] = []

    def begin(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        seen.append(output.requires_grad_())
        return output

    hooks = [
        backbone.register_forward_pre_hook(lambda module, inputs: torch.set_grad_enabled(False) and None),
        backbone.register_forward_hook(begin),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _grad_cam(activation: Tensor, gradient: Tensor, size: Sequence[int]) -> NDArray:
    """Compute Grad-CAM from a map and its gradient, (n, c, h, w) -> (n, H, W) in [0, 1]."""
    weights = gradient.mean((2, 3), keepdim=True)
    cam = torch.relu((weights * activation).sum(1, keepdim=True)).float()
    cam = nn.functional.interpolate(cam, size=tuple(size), mode="bilinear", align_corners=False)[:, 0]
    top = cam.amax((1, 2), keepdim=True)
    return (cam / torch.where(top > 0, top, 1)).clamp(0, 1).cpu().numpy()


def overlap(maps: NDArray, regions: Sequence[NDArray | None]) -> pd.DataFrame:
    """Measure how well saliency maps and forged regions agree, one row per face.

    Args:
        maps: (n, H, W), at least 0, as from `saliency`.
        regions: n regions (H, W) in [0, 1]; a pixel is inside from .5 on. None for a face that was not forged.

    Returns:
        - share: of the map's mass that lies inside.
        - area: of the crop that lies inside: the share that a uniform map has, and the hits of a random point.
        - fixed: share of the mean of all the maps: what one picture for every face, which looks at none, would have.
        - hit: 1 where the map's maximum lies inside, else 0 (the pointing game).
        - note: why the numbers are NaN: "not forged", "whole crop forged", "nothing forged in the crop" or "empty map".

    Source of the pointing game: Zhang et al. (ECCV 2016), arXiv:1608.00507; without its tolerance of 15 pixels.
    """
    mean = maps.mean(0, dtype=np.float64)
    rows = []
    for one, region in zip(maps.astype(np.float64), regions, strict=True):
        inside = None if region is None else region >= 0.5
        note = _no_overlap(one, inside)
        if note or inside is None:
            rows.append({"share": np.nan, "area": np.nan, "fixed": np.nan, "hit": np.nan, "note": note})
            continue
        shares = {
            "share": one[inside].sum() / one.sum(),
            "area": inside.mean(),
            "fixed": mean[inside].sum() / mean.sum(),
        }
        rows.append({**shares, "hit": float(inside.flat[one.argmax()]), "note": ""})
    return pd.DataFrame(rows)


def _no_overlap(one: NDArray, inside: NDArray | None) -> str:
    if inside is None:
        return "not forged"
    if inside.mean() > WHOLE:
        return "whole crop forged"
    if not inside.any():
        return "nothing forged in the crop"
    return "" if one.any() else "empty map"


def overlap_faces(
    task: Any, faces: Faces, root: str | Path, margin: float = MARGIN, names: Sequence[str] = ("I_df", "I_dom")
) -> pd.DataFrame:
    """Measure where a model looks on a stand-in's forged faces, beside where they were forged.

    For M_dom and I_dom the logit is that of the domain that C̄ predicts for each face.

    Args:
        task: a finished run's, with `model`.
        faces: of one split; the real ones among them are left out.
        root: folder of the stand-in.
        margin: of the crops (the store's `info`).
        names: maps, as `saliency` takes them.

    Returns:
        One row per map and face: map, face, method, video, person and the columns of `overlap`.

    Raises:
        DidError: If there are no forged faces, or as `saliency` and `true_region`.
    """
    rows = faces.rows[faces.rows.method != REAL].reset_index(drop=True)
    if len(rows) == 0:
        raise DidError(
            "There are no forged faces whose regions could be compared; give faces of a split with forgeries."
        )
    forged = Faces(rows, faces.store, faces.size, faces.domain_names, wants=faces.wants)
    regions = [true_region(root, row, faces.size, margin) for row in rows.itertuples()]
    who = rows[["face", "method", "video"]].assign(person=people(rows))
    tables = []
    for name in names:
        maps = np.concatenate([saliency(task.model, batch["image"], name) for batch in _batches(forged, task.model)])
        tables.append(pd.concat([who, overlap(maps, regions)], axis=1).assign(map=name))
    return pd.concat(tables, ignore_index=True)


def overlap_table(per_face: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Average `overlap_faces` over the faces of each method and over runs, with intervals over people and seeds.

    Args:
        per_face: from `overlap_faces`; of several runs joined, with a column `seed`.
        draws, seed: of the intervals.

    Returns:
        One row per map and method: map, method, share, area, fixed and hit (means over runs of means over faces; see
        `overlap`), share_std (over runs; NaN for one), the ends of the 95% intervals of share and hit over people and
        seeds, share_low, share_high, hit_low, hit_high (NaN with a single person), faces and videos that count, empty
        (maps that are 0 everywhere, left out), seeds, and note, which says why a row is NaN.
    """
    parts = per_face.groupby(["map", "method"], sort=False)
    return pd.DataFrame([_overlap_row(name, method, part, draws, seed) for (name, method), part in parts])


def overlap_difference(per_face: pd.DataFrame, a: str = "I_df", b: str = "I_dom") -> pd.DataFrame:
    """Compare the shares of two maps inside the forged region, paired by face and by run.

    Args:
        per_face: as `overlap_table` takes it.
        a, b: names of maps.

    Returns:
        One row per method with faces of two people or more: method, difference (a less b), low, high (95%, over people
        and seeds).
    """
    have = per_face[per_face.note == ""]
    index = [name for name in ("seed", "method", "person", "face") if name in have]
    wide = have.pivot(index=index, columns="map", values="share").dropna().reset_index()
    rows = []
    for method, part in wide.groupby("method", sort=False):
        if part.person.nunique() > 1:
            apart = _drawn(part, a) - _drawn(part, b)
            low, high = ends(apart)
            rows.append({"method": method, "difference": apart.mean, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["method", "difference", "low", "high"])


def _batches(faces: Faces, model: nn.Module, at_once: int = AT_ONCE) -> DataLoader:
    return ordered(faces, at_once, loader_workers(device_of(model)))


def _overlap_row(name: str, method: Any, part: pd.DataFrame, draws: int, seed: int) -> dict[str, Any]:
    have = part[part.note == ""]
    runs = _by_run(have)
    row: dict[str, Any] = {"map": name, "method": method}
    row |= {column: np.mean([run[column].mean() for run in runs]) for column in ("share", "area", "fixed", "hit")}
    row["share_std"] = np.std([run.share.mean() for run in runs], ddof=1) if len(runs) > 1 else np.nan
    for column in ("share", "hit"):
        known = have.person.nunique() > 1
        limits = ends(_drawn(have, column, number=draws, seed=seed)) if known else (np.nan, np.nan)
        row[f"{column}_low"], row[f"{column}_high"] = limits
    row |= {"faces": have.face.nunique(), "videos": have.video.nunique(), "seeds": len(runs)}
    row["empty"] = int((part.note == "empty map").sum())
    return row | {"note": "" if len(have) else part.note.mode()[0]}


def _by_run(table: pd.DataFrame) -> list[pd.DataFrame]:
    return [part for _, part in table.groupby("seed")] if "seed" in table and len(table) else [table]


def _drawn(table: pd.DataFrame, column: str, **more: int) -> Drawn:
    """Draw people for the mean of a column of each run."""
    runs = _by_run(table)
    return drawn_people(runs, mean_of(column), [run.person for run in runs], table.person.unique(), **more)


# --- embeddings (Fig. 7) ------------------------------------------------------------------------------------------


@torch.inference_mode()
def features(task: Any, faces: Faces, batch_size: int = 64) -> dict[str, NDArray]:
    """Extract what a model's classifiers see of each face, as vectors.

    Args:
        task: a finished run's, with `model`.
        faces: n faces.
        batch_size: faces at a time.

    Returns:
        Feature set -> (n, d) float32 in the order of the rows: means over places of I_X, I_df, I_dom and I_res if the
        model can `decompose`; for any other model what its `classifier` is given, as I_X.
    """
    model = task.model
    parts: list[dict[str, Tensor]] = []
    given: list[Tensor] = []
    hook = None
    if not hasattr(model, "decompose"):
        hook = model.classifier.register_forward_pre_hook(lambda m, x: given.append(x[0]))
    try:
        with evaluating(model):
            for batch in _batches(faces, model, batch_size):
                images = batch["image"].to(device_of(model))
                out = model(images) if hook else model.decompose(images)
                found = {"I_X": given.pop()} if hook else {name: getattr(out, key) for name, key in FEATURES.items()}
                parts.append({name: (x.mean((2, 3)) if x.ndim == 4 else x).float().cpu() for name, x in found.items()})
    finally:
        if hook:
            hook.remove()
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def tsne(vectors: NDArray, seed: int = 0) -> NDArray:
    """Embed vectors (n, d) in the plane, (n, 2), by t-SNE; the same seed gives the same points.

    Distances between clusters and their sizes mean nothing in it: `silhouette` and `probe` give the numbers.

    Raises:
        DidError: If there are fewer than four vectors, or of fewer than two numbers each.

    Source: van der Maaten and Hinton (JMLR, 2008). §4.5.2 states no setting; these are scikit-learn's.
    """
    if vectors.ndim != 2 or len(vectors) < 4 or vectors.shape[1] < 2:
        raise DidError(
            f"t-SNE needs at least 4 vectors of 2 numbers, not an array of {vectors.shape}; give more faces."
        )
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    with threadpool_limits(1):  # The sums of several threads may round otherwise.
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)


def silhouette(vectors: NDArray, labels: ArrayLike) -> float:
    """Compute the mean silhouette of labelled vectors (n, d), in [-1, 1].

    It is near 1 where each lies far nearer to those of its own label than to the next label's, near 0 where labels mix.

    Raises:
        DidError: If there are fewer than two labels, or as many labels as vectors.

    Source: Rousseeuw (J. Comput. Appl. Math., 1987).

    Examples:
        >>> round(silhouette(np.array([[0.0, 0], [0, 1], [9, 0], [9, 1]]), np.array([0, 0, 1, 1])), 2)
        0.89
    """
    names = np.asarray(labels)
    if not 2 <= len(np.unique(names)) < len(names):
        raise DidError(
            f"A silhouette needs two labels or more and fewer than vectors; {len(np.unique(names))} labels of "
            f"{len(names)} vectors were given."
        )
    return float(silhouette_score(vectors, names))


def probe(train_features: NDArray, train_labels: ArrayLike, test_features: NDArray, test_labels: ArrayLike) -> float:
    """Measure how well a linear probe reads labels from features: the test accuracy of a logistic regression.

    Each class counts alike in the fit and in the accuracy (chance level: 1 / classes).

    Shapes: (n, d), (n,), (m, d), (m,).

    Raises:
        DidError: If there is only one class to fit on, or a class to test was not fitted.

    Source: Alain and Bengio (2016), arXiv:1610.01644, for probes.
    """
    fitted, tested = np.asarray(train_labels), np.asarray(test_labels)
    if len(np.unique(fitted)) < 2:
        raise DidError("A probe needs at least two classes to fit on; give faces of more classes.")
    unknown = np.setdiff1d(tested, fitted)
    if len(unknown):
        raise DidError(
            f"The probe is tested on the class '{unknown[0]}', which it was not fitted on; give faces of it."
        )
    line = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
    right = line.fit(train_features, fitted).predict(test_features) == tested
    return float(pd.Series(right).groupby(tested).mean().mean())


def probe_table(task: Any, fit: Faces, test: Faces, seed: int = 0) -> pd.DataFrame:
    """Tabulate what a linear probe reads from each feature set: label, domain and identity.

    The paper's argument needs label from I_df, domain from I_dom, and little of either from where it does not belong.
    Label and domain are fitted on `fit` and tried on `test`, people whom the probe has not seen; give the validation
    split as `fit`: the network has learnt its training faces by heart, and a probe fitted there reads that. The
    domains are those that both have. Identity, the target's, is fitted on half of the videos of each person of `test`
    and tried on the others, so that no frame's neighbour is among those fitted; people with one video are left out. As
    forgeries keep their target's hair and background, a person is read from these too.

    Args:
        task: a finished run's.
        fit, test: faces of two splits, with the same domain names.
        seed: of the halves.

    Returns:
        One row per feature set and target: features, target (label, domain, identity), accuracy (see `probe`),
        chance and n, the faces it was tried on; NaN with n 0 if fewer than two classes can be tried.

    Raises:
        DidError: As `probe`.
    """
    halves = _halves(test.rows, seed)
    who = test.rows.identity.str.split("+").str[0].to_numpy()
    known, tried = (np.isin(a.domains, np.intersect1d(fit.domains, test.domains)) for a in (fit, test))
    every, all_of = np.ones(len(fit), dtype=bool), np.ones(len(test), dtype=bool)
    fitted, found = features(task, fit), features(task, test)
    rows = []
    for name, x in found.items():
        targets = {
            "label": (fitted[name], fit.labels, every, x, test.labels, all_of),
            "domain": (fitted[name], fit.domains, known, x, test.domains, tried),
            "identity": (x, who, halves == 0, x, who, halves == 1),
        }
        for target, (a, a_labels, a_rows, b, b_labels, b_rows) in targets.items():
            classes = len(np.unique(b_labels[b_rows]))
            row = {"features": name, "target": target, "accuracy": np.nan, "chance": np.nan, "n": 0}
            if classes > 1:
                accuracy = probe(a[a_rows], a_labels[a_rows], b[b_rows], b_labels[b_rows])
                row |= {"accuracy": accuracy, "chance": 1 / classes, "n": int(b_rows.sum())}
            rows.append(row)
    return pd.DataFrame(rows)


def _halves(rows: pd.DataFrame, seed: int) -> NDArray:
    """Assign each person's videos to two halves: 0 to fit on, 1 to test on, -1 for people with one video, (n,)."""
    videos = rows.drop_duplicates("video")[["video", "identity"]].sample(frac=1, random_state=seed)
    person = videos.identity.str.split("+").str[0]
    half = (videos.groupby(person).cumcount() % 2).where(videos.groupby(person).video.transform("size") > 1, -1)
    return rows.video.map(dict(zip(videos.video, half, strict=True))).to_numpy()
