"""From the store of face crops to batches."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from did.data import table as tables
from did.data.augment import light
from did.data.faces import MARGIN, template
from did.data.geometry import similarity
from did.data.layout import MARK
from did.data.masks import true_region
from did.data.selfblend import self_blended
from did.data.store import LANDMARKS, Crops, FaceStore
from did.errors import DidError
from did.task import Wants
from did.utils.processes import spawn
from did.utils.workers import check_start

#: What a task wants that says nothing: gray crops.
PLAIN = Wants()


def domain_names(table: pd.DataFrame) -> list[str]:
    """Return the domains of a table in the order of their numbers: "real", then its forgery methods by name."""
    return [tables.REAL, *sorted(set(table["method"]) - {tables.REAL})]


class Faces(Dataset):
    """Face crops of a store.

    Args:
        rows: rows of the store's manifest.
        store: root folder of the store.
        size: side in pixels that the crops are brought to; larger crops are averaged over areas.
        domains: names in the order of their numbers; by default `domain_names(rows)`. Give those of the training
            data to every split, so that a number means the same method in each.
        wants: what the task wants of its batches.
        data: folder of the data set; asked for if masks are wanted.
        context: store with the wider crops of the same faces; asked for if they are wanted.
        margin: of the crops.
        training: whether images go through the task's transform.

    Each item is a dict: image, float32 (channels, size, size) in [0, 1], gray by ITU-R 601 luma as Pillow's mode "L",
    or (frames, channels, size, size): the frames of the video around this one, of which the first or last is repeated
    at its ends; label, 0 real and 1 fake; domain, number of the method; index, the position in `rows`; mask, context
    and, in training, blended as `did.task.Wants` has them. A crop that cannot be read raises DidError; it is never
    replaced by another.

    An index may come with the seed of its transform, as `batches` gives it.

    Raises:
        DidError: If there are no rows, a method that is not among the domains, masks without their folder, or context
            without a store that has a crop of each row.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        store: str | Path,
        size: int,
        domains: Sequence[str] | None = None,
        *,
        wants: Wants = PLAIN,
        data: str | Path | None = None,
        context: FaceStore | None = None,
        margin: float = MARGIN,
        training: bool = False,
    ) -> None:
        if len(rows) == 0:
            raise DidError("There are no face crops to load; check the split and the methods asked for.")
        self.rows = rows.reset_index(drop=True)
        self.store = Path(store)
        self.size = size
        self.wants, self.margin, self.training = wants, margin, training
        self.data, self.context = None if data is None else Path(data), context
        if wants.masks and (self.data is None or not (self.data / MARK).is_file()):
            raise DidError("The task wants masks of what was forged, which only stand-ins have; take edition=stand-in.")
        if wants.context is not None and self.context is None:
            raise DidError(f"The task wants crops of margin {wants.context:g} beside its own; give their store.")
        self.domain_names = list(domains) if domains is not None else domain_names(rows)
        unknown = sorted(set(rows["method"]) - set(self.domain_names))
        if unknown:
            raise DidError(
                f"The method {unknown[0]!r} is not among the domains {', '.join(self.domain_names)}; add it there."
            )
        numbers = {name: number for number, name in enumerate(self.domain_names)}
        self.labels = self.rows["label"].to_numpy(dtype=np.int64)
        self.domains = np.array([numbers[method] for method in self.rows["method"]], dtype=np.int64)
        self._crops = Crops(self.store, self.rows)
        if wants.context is not None and context is not None:
            self._wider = Crops(context.root, _of_same_faces(context, self.rows))
        # Both of a blended pair get one augmentation: otherwise it would tell them apart.
        self._transform = wants.transform or (light if wants.blended else None)
        self._around = _windows(self.rows, wants.frames) if wants.frames > 1 else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        item: dict[str, Any] = {
            "label": int(self.labels[index]),
            "domain": int(self.domains[index]),
            "index": int(index),
        }
        around = [index] if self._around is None else self._around[index]
        images = [self._image(self._crops, each) for each in around]
        if self.training and self._transform is not None:
            images = [self._transform(image, torch.Generator().manual_seed(seed)) for image in images]
        item["image"] = images[0] if self._around is None else torch.stack(images)
        if self.training and self.wants.blended:
            blended = self_blended(self._image(self._crops, index), self._landmarks(index), seed)
            assert self._transform
            item["blended"] = self._transform(blended, torch.Generator().manual_seed(seed))
        if self.wants.masks and self.data is not None:
            region = true_region(self.data, self.rows.iloc[index], self.size, self.margin)
            item["mask"] = torch.zeros(1, self.size, self.size) if region is None else torch.from_numpy(region)[None]
        if self.wants.context is not None:
            item["context"] = self._image(self._wider, index)
        return item

    def _landmarks(self, index: int) -> np.ndarray:
        """Return the five landmarks in the loaded crop, (5, 2)."""
        row = self.rows.iloc[index]
        found = np.array([row[name] for name in LANDMARKS], dtype=np.float64).reshape(5, 2)
        if not np.ptp(found, axis=0).min() > 0:
            raise DidError(
                f"The crop {row['face']} has no landmarks, which a self-blended image needs; prepare it anew."
            )
        matrix = similarity(found, template(self.size, self.margin))
        return found @ matrix[:, :2].T + matrix[:, 2]

    def _image(self, crops: Crops, index: int) -> torch.Tensor:
        try:
            with Image.open(io.BytesIO(crops.read(index))) as opened:
                image = opened.convert("L" if self.wants.channels == 1 else "RGB")
        except (OSError, SyntaxError, ValueError) as error:  # What Pillow raises for missing, cut and damaged files.
            raise DidError(
                f"The face crop {crops.named(index)} cannot be read; prepare the data again in a new folder."
            ) from error
        return to_tensor(image, self.size)


def _of_same_faces(store: FaceStore, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a store that have the names of these crops, in this order."""
    known = store.manifest.set_index("face", drop=False)
    if missing := sorted(set(rows["face"]) - set(known.index)):
        raise DidError(
            f"The store {store.root} has no crop {missing[0]} ({len(missing)} of {len(rows)} are missing): prepare the "
            "data again in a new folder."
        )
    return known.loc[rows["face"]]


def _windows(rows: pd.DataFrame, frames: int) -> np.ndarray:
    """Return the positions of the rows around each row in its video, in the order of time, (n, frames)."""
    found = np.empty((len(rows), frames), dtype=np.int64)
    for _, part in rows.reset_index(drop=True).sort_values("frame", kind="stable").groupby("video", sort=False):
        at = np.arange(len(part))[:, None] + np.arange(frames) - frames // 2
        found[part.index] = part.index.to_numpy()[at.clip(0, len(part) - 1)]
    return found


def to_tensor(crop: Image.Image, size: int) -> torch.Tensor:
    """Convert a crop, gray ("L") or RGB, to the network's input: float32 (1 or 3, size, size) in [0, 1]."""
    if crop.size != (size, size):
        smaller = min(crop.size) > size
        crop = crop.resize((size, size), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    pixels = np.asarray(crop, dtype=np.float32) / 255
    return torch.from_numpy(pixels[None] if crop.mode == "L" else pixels.transpose(2, 0, 1).copy())


class _Batches(Sampler[list[int]]):
    """Batches of which number i depends only on (seed, i).

    So training resumed at iteration i sees the batches that it would have seen.
    """

    def __init__(
        self, domains: Sequence[int] | np.ndarray, batch_size: int, iterations: int, seed: int, start: int = 0
    ) -> None:
        if not 0 <= start <= iterations:
            raise DidError(f"The batches start at {start} of {iterations}; the start must lie between 0 and that.")
        self.domains = np.asarray(domains)
        self.batch_size = batch_size
        self.iterations = iterations
        self.seed = seed
        self.start = start

    def __len__(self) -> int:
        return self.iterations - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for iteration in range(self.start, self.iterations):
            yield self._draw(np.random.default_rng([self.seed, iteration])).tolist()

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


class BalancedBatches(_Batches):
    """Batches with equal numbers of each domain, each drawn without replacement within the batch.

    If the batch size is not a multiple of the number of domains, the places left over go to domains drawn anew for
    each batch.

    Args:
        domains: (n,) the domain number of each sample.
        batch_size: samples a batch, at least one a domain.
        iterations: number of the batch at which to end.
        seed: of all draws; batch i depends on (seed, i) alone.
        start: number of the first batch.

    Raises:
        DidError: If a batch is smaller than the number of domains, or a domain has too few samples for its places.
    """

    def __init__(
        self, domains: Sequence[int] | np.ndarray, batch_size: int, iterations: int, seed: int, start: int = 0
    ) -> None:
        super().__init__(domains, batch_size, iterations, seed, start)
        self._members = [np.flatnonzero(self.domains == domain) for domain in np.unique(self.domains)]
        if not self._members or batch_size < len(self._members):
            raise DidError(
                f"The batch size {batch_size} is smaller than the number of domains, {len(self._members)}; raise it."
            )
        most = -(-batch_size // len(self._members))
        fewest = min(len(members) for members in self._members)
        if fewest < most:
            raise DidError(
                f"A batch of {batch_size} takes {most} samples of a domain, and one domain has {fewest}; "
                "lower the batch size or add data."
            )

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        each, left = divmod(self.batch_size, len(self._members))
        extra = rng.choice(len(self._members), size=left, replace=False)
        drawn = [
            rng.choice(members, size=each + (number in extra), replace=False)
            for number, members in enumerate(self._members)
        ]
        return rng.permutation(np.concatenate(drawn))


class UniformBatches(_Batches):
    """Batches drawn from all samples alike, without replacement within the batch; arguments as `BalancedBatches`.

    Raises:
        DidError: If the batch size is below 1 or above the number of samples.
    """

    def __init__(
        self, domains: Sequence[int] | np.ndarray, batch_size: int, iterations: int, seed: int, start: int = 0
    ) -> None:
        super().__init__(domains, batch_size, iterations, seed, start)
        if not 1 <= batch_size <= len(self.domains):
            raise DidError(
                f"The batch size {batch_size} must lie between 1 and {len(self.domains)}, the number of samples."
            )

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.choice(len(self.domains), size=self.batch_size, replace=False)


class RealBatches(_Batches):
    """Batches of real faces alone, without replacement within the batch; arguments as `BalancedBatches`.

    Raises:
        DidError: If there are fewer real faces than a batch takes.
    """

    def __init__(
        self, domains: Sequence[int] | np.ndarray, batch_size: int, iterations: int, seed: int, start: int = 0
    ) -> None:
        super().__init__(domains, batch_size, iterations, seed, start)
        self._real = np.flatnonzero(self.domains == 0)
        if not 1 <= batch_size <= len(self._real):
            raise DidError(f"A batch takes {batch_size} real faces, and there are {len(self._real)}; add data.")

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.choice(self._real, size=self.batch_size, replace=False)


class PairedBatches(_Batches):
    """Batches of real faces, each beside one forgery of the same target by each method, if there is one.

    Args:
        domains: (n,) the domain number of each sample; 0 is real.
        targets: (n,) who is the target of each sample.
        batch_size, iterations, seed, start: as `BalancedBatches`.

    Raises:
        DidError: If no target has both a real face and a forgery, or a batch of less than 2.
    """

    def __init__(
        self, domains: Sequence[int] | np.ndarray, targets: Sequence[Any], batch_size: int, iterations: int, seed: int,
        start: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(domains, batch_size, iterations, seed, start)
        found = pd.DataFrame({"domain": self.domains, "target": targets})
        groups = [{d: part.index.to_numpy() for d, part in of.groupby("domain")} for _, of in found.groupby("target")]
        self._groups = [group for group in groups if 0 in group and len(group) > 1]
        if not self._groups or batch_size < 2:
            raise DidError("Pairs need a real face and a forgery of the same target; take a data set that has both.")

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        rows: list[int] = []
        while len(rows) < self.batch_size:
            for number in rng.permutation(len(self._groups)):
                group = self._groups[number]
                forged = rng.permutation([domain for domain in group if domain])
                rows += [int(rng.choice(group[domain])) for domain in (0, *forged)]
        return np.array(rows[: self.batch_size])


class _Seeded(Sampler[list[tuple[int, int]]]):
    """The batches of another sampler, with a seed for the transform of each image."""

    def __init__(self, whole: _Batches) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for iteration, rows in enumerate(self.whole, start=self.whole.start):
            seeds = np.random.default_rng([self.whole.seed, iteration, 1]).integers(2**62, size=len(rows))
            yield list(zip(rows, seeds.tolist(), strict=True))


def batches(
    faces: Faces,
    batch_size: int,
    iterations: int,
    seed: int,
    start: int = 0,
    sampler: str = "balanced",
    num_workers: int = 0,
) -> DataLoader:
    """Build the training loader.

    It yields batches `start` to `iterations`, which do not depend on the number of workers. What the faces' task wants
    goes before the setting `sampler`.

    Raises DidError as the samplers and, with workers, `did.utils.workers.check_start`.
    """
    drawn: _Batches
    if faces.wants.blended:
        drawn = RealBatches(faces.domains, (batch_size + 1) // 2, iterations, seed, start)
    elif faces.wants.pairs or sampler == "pairs":
        targets = faces.rows["identity"].str.split("+").str[0].tolist()
        drawn = PairedBatches(faces.domains, targets, batch_size, iterations, seed, start)
    else:
        kind = {"balanced": BalancedBatches, "uniform": UniformBatches}[sampler]
        drawn = kind(faces.domains, batch_size, iterations, seed, start)
    plain = faces.wants.transform is None and not faces.wants.blended
    return _loader(faces, num_workers, batch_sampler=drawn if plain else _Seeded(drawn))


def ordered(faces: Faces, batch_size: int, num_workers: int = 0) -> DataLoader:
    """Build the loader for evaluation: every sample once, in the order of the rows.

    Raises DidError, with workers, as `did.utils.workers.check_start`.
    """
    return _loader(faces, num_workers, batch_size=batch_size, shuffle=False)


def _loader(faces: Faces, num_workers: int, **options: Any) -> DataLoader:
    if num_workers:
        check_start()
    # Workers are forked where that is the rule (Linux); others must not import from the working folder.
    forked = num_workers == 0 or multiprocessing.get_start_method() == "fork"
    context = None if forked else spawn()
    # With a generator of its own the loader leaves torch's global random state alone.
    generator = torch.Generator().manual_seed(0)
    return DataLoader(faces, num_workers=num_workers, generator=generator, multiprocessing_context=context, **options)
