"""A store of aligned face crops, as the preparation leaves it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from did.data import table as tables
from did.errors import DidError, nearest

#: The five landmarks of a face in the pixels of its frame, in the order of `did.data.faces.Face`.
LANDMARKS = tuple(f"landmark_{axis}{number}" for number in range(5) for axis in "xy")
_FLOATS = ("x0", "y0", "x1", "y1", "probability", *LANDMARKS)
#: Where a crop's PNG is: the shard, relative to the store, and in it the first byte and the number of bytes.
PLACE = ("shard", "offset", "length")
MANIFEST_COLUMNS = ("face", *_FLOATS, "sha256", *PLACE)
#: Raised when what a store holds changes: a store of another format is not read.
FORMAT = 4

QUARANTINE_COLUMNS = ("path", "frame", "reason")


@dataclass(frozen=True)
class FaceStore:
    """A finished folder of face crops, or part of one.

    Attributes:
        root: the folder.
        methods: the forgery methods that are seen, beside the real faces; None for all.
    """

    root: Path
    methods: tuple[str, ...] | None = None

    @property
    def info(self) -> dict[str, Any]:
        """Description of the store: size, margin, frames, face, detector, index, content, notes, finished.

        `index` and `content` are checksums of the videos' list and of their content; `notes` map a path to a remark on
        a file that was read, for example that its first picture counts.
        """
        return json.loads((self.root / "store.json").read_text(encoding="utf-8"))

    @property
    def manifest(self) -> pd.DataFrame:
        """One row per crop: the columns of the table, then MANIFEST_COLUMNS; `face` is its name.

        A store that was written without shards lacks the columns PLACE: there `face` is a file, relative to `root`.
        """
        found = tables.load(self.root / "manifest.csv", floats=_FLOATS)
        numbers = {name: "int64" for name in PLACE[1:] if name in found}
        return self._seen(found.astype(numbers))

    @property
    def fingerprint(self) -> str:
        """Checksum of the crops: of the table's columns, the crops' names and their content.

        It names the data of a run, so it does not depend on how the faces were found.
        """
        return tables.fingerprint(self.manifest[[*tables.COLUMNS, "face", "sha256"]])

    @property
    def index(self) -> pd.DataFrame:
        """The table that the store was made from: one row per video or image."""
        return self._seen(tables.load(self.root / "index.csv"))

    @property
    def quarantine(self) -> pd.DataFrame:
        """Everything that gave no crop: path, frame (<NA> for a whole video) and reason."""
        quarantine = tables.load(self.root / "quarantine.csv")
        return quarantine if self.methods is None else quarantine[quarantine["path"].isin(self.index["path"])]

    @property
    def summary(self) -> pd.DataFrame:
        """Count per method: videos, crops, frames without a face, videos without a crop, share with a face."""
        manifest, quarantine, index = self.manifest, self.quarantine, self.index
        method = index.set_index("path")["method"]
        counts = pd.DataFrame(
            {
                "videos": index.groupby("method")["video"].nunique(),
                "crops": manifest.groupby("method").size(),
                "frames without a face": quarantine["path"][quarantine["frame"].notna()].map(method).value_counts(),
                "videos without a crop": index["method"][~index["video"].isin(manifest["video"])].value_counts(),
            }
        )
        counts = counts.fillna(0).astype("int64").loc[tables.counts(index).index]
        return counts.assign(found=counts["crops"] / (counts["crops"] + counts["frames without a face"]))

    def only(self, *methods: str) -> FaceStore:
        """Return the same folder with the real faces and the forgeries of these methods only, in every split.

        Its manifest has a fingerprint of its own, so that a run on it is another run than one on the whole store.

        Raises:
            DidError: If there is no method, or one that the store does not have.
        """
        known = sorted(set(self.manifest["method"]) - {tables.REAL})
        if unknown := [method for method in methods if method not in known]:
            raise DidError(f"unknown method '{unknown[0]}': {nearest(unknown[0], known)}")
        if not methods:
            raise DidError(f"a part of a store needs at least one forgery method of it: {', '.join(known)}")
        return FaceStore(self.root, tuple(sorted(set(methods))))

    def _seen(self, table: pd.DataFrame) -> pd.DataFrame:
        if self.methods is None:
            return table
        return table[table["method"].isin([tables.REAL, *self.methods])].reset_index(drop=True)


class Crops:
    """The crops of a store's rows, read one at a time; threads and processes can share it.

    Args:
        root: folder of the store.
        rows: of its manifest.
    """

    def __init__(self, root: Path, rows: pd.DataFrame) -> None:
        self.root = root
        self.names = rows["face"].tolist()
        sharded = "shard" in rows
        self._file_of, files = pd.factorize(rows["shard" if sharded else "face"])
        self._files = files.tolist()
        self._at = rows[list(PLACE[1:])].to_numpy() if sharded else None

    def read(self, number: int) -> bytes:
        """Return the PNG of a row.

        Raises:
            OSError: If its file is gone or cannot be read.
        """
        with open(self.root / self._files[self._file_of[number]], "rb") as file:
            if self._at is None:
                return file.read()
            offset, length = self._at[number].tolist()
            file.seek(offset)
            return file.read(length)

    def named(self, number: int) -> str:
        """Return where a row's crop is, for a sentence."""
        shard = "" if self._at is None else f" in {self._files[self._file_of[number]]}"
        return f"{self.root / self.names[number]}{shard}"


def open_store(store: str | Path) -> FaceStore:
    """Open a finished store.

    Raises:
        DidError: If there is none, or its preparation was interrupted.
    """
    store = Path(store)
    if not (store / "store.json").is_file():
        raise DidError(
            f"There is no finished face store in {store}; run the preparation (it resumes where it stopped)."
        )
    return FaceStore(store)
