"""DID without method labels, the second limit that the paper names: pseudo-domains for the fakes.

Only the fakes lack a label: a real face is domain 0. Before training, the fakes are put into k groups by what the
untrained backbone sees of them, and L_dom learns the groups. Batches must not be drawn by method either: use
`sampler=uniform`.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from did.errors import DidError, nearest
from did.method.backbones import evaluating
from did.method.task import DIDTask
from did.settings import Settings
from did.task import Step, register_task
from did.utils import distributed

KINDS = ("style", "residual", "random", "true")
#: Dimensions that are left of the statistics before they are clustered, and faces that are read at a time.
DIMENSIONS, AT_ONCE = 32, 32


@dataclasses.dataclass(frozen=True)
class UnlabelledOptions:
    """Options of DID without method labels.

    Attributes:
        labels: `style` (k-means of the means and spreads of the backbone's channels), `residual` (the same, less those
            of the real frame of the same target), `random`, or `true`, the controls on either side.
        clusters: of the fakes; 0 for as many as there are methods.
    """

    labels: str = "style"
    clusters: int = 0

    def __post_init__(self) -> None:
        if self.labels not in KINDS:
            raise DidError(f"unknown labels '{self.labels}': {nearest(self.labels, KINDS)}")
        if self.clusters < 0 or self.clusters == 1:
            raise DidError(f"clusters is {self.clusters}; it must be 0 or at least 2")


def style(maps: Tensor) -> Tensor:
    """Return the mean and the standard deviation of each channel over the places, (n, 2c), of maps (n, c, h, w)."""
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3), unbiased=False)], 1)


@register_task("unlabelled")
class UnlabelledTask(DIDTask):
    """DID whose domains are found among the fakes instead of given."""

    Options = UnlabelledOptions
    options: UnlabelledOptions
    pseudo: Tensor
    agreement: Tensor
    #: Buffers with an entry for each training face: a saved state has as many entries as there were faces.
    per_face: ClassVar[tuple[str, ...]] = ("pseudo",)

    def __init__(self, settings: Settings, num_domains: int, options: Any = None) -> None:
        self.clusters = (options.clusters if options else 0) or num_domains - 1
        super().__init__(settings, 1 + self.clusters, options)
        self.register_buffer("pseudo", torch.zeros(0, dtype=torch.long))
        self.register_buffer("agreement", torch.tensor(float("nan")))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.per_face:
            if (saved := state.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(saved, device=getattr(self, name).device))
        super()._load_from_state_dict(state, prefix, *rest)

    @torch.no_grad()
    def begin(self, train: Any) -> None:
        """Give each training face a domain: 0 to the real ones, a group to each fake.

        Raises:
            DidError: If `residual` is asked for and a fake has no real frame of its target, or there are too few fakes.
        """
        # Here, because every command that names a task loads this module.
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.metrics import normalized_mutual_info_score

        fakes = np.flatnonzero(np.asarray(train.labels) == 1)
        if len(fakes) < 2 * self.clusters:
            raise DidError(f"{len(fakes)} fakes are too few for {self.clusters} groups: lower the option clusters")
        true, kind, seed = np.asarray(train.domains)[fakes], self.options.labels, self.settings.seed
        if kind == "true":
            groups = true - 1
        elif kind == "random":
            groups = np.random.default_rng(seed).integers(self.clusters, size=len(fakes))
        else:
            seen = self._styles(train, fakes)
            if kind == "residual":
                seen = seen - self._styles(train, _real_frames(train, fakes))
            reduced = PCA(min(DIMENSIONS, *seen.shape), random_state=seed).fit_transform(seen)
            groups = KMeans(self.clusters, n_init=10, random_state=seed).fit_predict(reduced)
        found = torch.zeros(len(train.labels), dtype=torch.long)
        found[torch.from_numpy(fakes)] = torch.from_numpy(np.asarray(groups, dtype=np.int64)) + 1
        self.pseudo = found.to(self.pseudo.device)
        self.agreement.fill_(normalized_mutual_info_score(true, groups))

    def _styles(self, train: Any, rows: np.ndarray) -> np.ndarray:
        backbone = self.model.backbone
        device = distributed.device_of(backbone)
        parts = [rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE)]
        with evaluating(backbone):
            found = [style(backbone(torch.stack([train[int(row)]["image"] for row in part]).to(device))).cpu()
                     for part in parts]  # fmt: skip
        return torch.cat(found).numpy()

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute DID's losses with the found domains in place of the methods."""
        step = super().forward({**batch, "domain": self.pseudo[batch["index"]]}, progress, seed, details)
        return Step(step.terms, {**step.logged, "NMI of groups and methods": self.agreement})

    def domain_graph(self) -> nn.Module | None:
        """Return None, because a group is not a method, so an accuracy would mean nothing."""
        return None


def _real_frames(train: Any, fakes: np.ndarray) -> np.ndarray:
    """Return for each fake the row of its target's real frame, the one with the nearest number."""
    rows = train.rows.reset_index(drop=True)
    reals: dict[str, list[tuple[int, int]]] = {}
    for at, row in rows[rows.label == 0].iterrows():
        reals.setdefault(str(row.identity), []).append((int(row.frame), int(at)))
    found = []
    for fake in fakes:
        target, number = str(rows.identity[fake]).split("+")[0], int(rows.frame[fake])
        if target not in reals:
            raise DidError(f"the fake {rows.video[fake]} has no real frame of {target} beside it: take labels=style")
        found.append(min(reals[target], key=lambda pair: abs(pair[0] - number))[1])
    return np.array(found)
