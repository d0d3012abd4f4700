"""From the store of face crops to batches."""

from __future__ import annotations

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
from did.errors import DidError
from did.utils.processes import spawn
from did.utils.workers import check_start


def domain_names(table: pd.DataFrame) -> list[str]:
    """The domains of a table in the order of their numbers: "real", then its forgery methods by name."""
    return [tables.REAL, *sorted(set(table["method"]) - {tables.REAL})]


class Faces(Dataset):
    """Face crops of a store.

    Args:
        rows: rows of the store's manifest.
        store: root folder of the store.
        size: side in pixels that the crops are brought to; larger crops are averaged over areas.
        gray: one channel, by ITU-R 601 luma as Pillow's mode "L"; else three.
        domains: names in the order of their numbers; by default `domain_names(rows)`. Give those of the training
            data to every split, so that a number means the same method in each.

    Each item is a dict: image, float32 (1 or 3, size, size) in [0, 1]; label, 0 real and 1 fake; domain, number of the
    method; index, the position in `rows`. A crop that cannot be read raises DidError; none ever stands in for it.

    Raises:
        DidError: no rows, or a method that is not among the domains.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        store: str | Path,
        size: int,
        gray: bool = True,
        domains: Sequence[str] | None = None,
    ) -> None:
        if len(rows) == 0:
            raise DidError("There are no face crops to load; check the split and the methods asked for.")
        self.rows = rows.reset_index(drop=True)
        self.store = Path(store)
        self.size = size
        self.gray = gray
        self.domain_names = list(domains) if domains is not None else domain_names(rows)
        unknown = sorted(set(rows["method"]) - set(self.domain_names))
        if unknown:
            raise DidError(
                f"The method {unknown[0]!r} is not among the domains {', '.join(self.domain_names)}; add it there."
            )
        numbers = {name: number for number, name in enumerate(self.domain_names)}
        self.labels = self.rows["label"].to_numpy(dtype=np.int64)
        self.domains = np.array([numbers[method] for method in self.rows["method"]], dtype=np.int64)
        self._files = self.rows["face"].tolist()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "image": self._image(self.store / self._files[index]),
            "label": int(self.labels[index]),
            "domain": int(self.domains[index]),
            "index": int(index),
        }

    def _image(self, file: Path) -> torch.Tensor:
        try:
            with Image.open(file) as opened:
                image = opened.convert("L" if self.gray else "RGB")
        except (OSError, SyntaxError, ValueError) as error:  # What Pillow raises for missing, cut and damaged files.
            raise DidError(f"The face crop {file} cannot be read; prepare the data again in a new folder.") from error
        return to_tensor(image, self.size)


def to_tensor(crop: Image.Image, size: int) -> torch.Tensor:
    """What the networks see of a crop, gray ("L") or RGB: float32 (1 or 3, size, size) in [0, 1]."""
    if crop.size != (size, size):
        smaller = min(crop.size) > size
        crop = crop.resize((size, size), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    pixels = np.asarray(crop, dtype=np.float32) / 255
    return torch.from_numpy(pixels[None] if crop.mode == "L" else pixels.transpose(2, 0, 1).copy())


class _Batches(Sampler[list[int]]):
    """Batch i depends on (seed, i) alone: training resumed at iteration i sees the batches it would have seen."""

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

    Where the batch size is no multiple of the number of domains, the places left over go to domains drawn anew for
    each batch.

    Args:
        domains: (n,) the domain number of each sample.
        batch_size: samples a batch, at least one a domain.
        iterations: number of the batch at which to end.
        seed: of all draws; batch i depends on (seed, i) alone.
        start: number of the first batch.

    Raises:
        DidError: a batch smaller than the number of domains, or a domain with too few samples for its places.
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
        DidError: a batch size below 1 or above the number of samples.
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


def batches(
    faces: Faces,
    batch_size: int,
    iterations: int,
    seed: int,
    start: int = 0,
    balanced: bool = True,
    num_workers: int = 0,
) -> DataLoader:
    """A loader for training: batches `start` to `iterations`, the same ones whatever the number of workers.

    Raises DidError as the samplers and, with workers, `did.utils.workers.check_start`.
    """
    sampler = BalancedBatches if balanced else UniformBatches
    return _loader(faces, num_workers, batch_sampler=sampler(faces.domains, batch_size, iterations, seed, start=start))


def ordered(faces: Faces, batch_size: int, num_workers: int = 0) -> DataLoader:
    """A loader for evaluation: every sample once, in the order of the rows.

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
