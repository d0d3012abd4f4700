"""From a source's name to its table of videos: the licensed data where it is, else the stand-in, and which it was."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from did.data import ffpp
from did.data.prepare import FaceStore, prepare
from did.data.standin import GENERATOR, MARK, write_ffpp
from did.data.table import fingerprint
from did.errors import DidError
from did.files import home
from did.settings import Settings, nearest

SOURCES: dict[str, tuple[str, Callable[[Path], pd.DataFrame], Callable[..., None]]] = {
    "ffpp": ("FaceForensics++ (c23)", ffpp.index, write_ffpp)
}
EDITIONS = ("auto", "licensed", "stand-in")
HOW_TO_GET = {
    "ffpp": "ask its authors for it with the form at https://github.com/ondyari/FaceForensics and download c23 videos",
}

# Sizes of the stand-in: people a split, frames a clip. They follow the preset, as all sizes do.
STANDIN_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"people": {"train": 6, "val": 4, "test": 4}, "frames": 4},
    "laptop": {"people": {"train": 100, "val": 16, "test": 24}, "frames": 6},
    "paper": {"people": {"train": 200, "val": 40, "test": 40}, "frames": 64},
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set on disk.

    Attributes:
        name: ffpp.
        edition: `licensed` or `stand-in`.
        root: its folder.
        label: how every figure and table names it.
        index: the table, one row a video.
        credit: attribution that the pictures ask for.
    """

    name: str
    edition: str
    root: Path
    label: str
    index: pd.DataFrame
    credit: str = ""

    @property
    def banner(self) -> str:
        """One line that says which edition the numbers are from."""
        if self.edition == "licensed":
            return f"{self.label}, licensed data"
        return f"{self.label}: a stand-in, not the licensed data. No number here reproduces a number of the paper."


def open_source(
    name: str,
    edition: str = "auto",
    data_root: str | Path | None = None,
    faces: str | Path | None = None,
    preset: str = "laptop",
    progress: bool = True,
) -> Source:
    """Find a data set, or write its stand-in.

    Args:
        name: `ffpp`.
        edition: `licensed`, `stand-in`, or `auto`: the licensed data where it is found or named by `data_root`, the
            stand-in otherwise.
        data_root: the folder of the licensed data; by default `DID_DATA`/name, then `data/name` in the project.
        faces: a folder of portraits to make the stand-in from; drawn faces by default. Where it has fewer people than
            the preset asks for, the splits shrink in proportion, and the label gives their number.
        preset: decides the size of the stand-in.
        progress: show a bar while the stand-in is written.

    Raises:
        DidError: an unknown name or edition; licensed data asked for and not found; a layout that does not match;
            `faces` together with licensed data.
    """
    if name not in SOURCES:
        raise DidError(f"unknown source '{name}': {nearest(name, SOURCES)}")
    if edition not in EDITIONS:
        raise DidError(f"unknown edition '{edition}': {nearest(edition, EDITIONS)}")
    if preset not in STANDIN_SIZES:
        raise DidError(f"unknown preset '{preset}': {nearest(preset, STANDIN_SIZES)}")
    title, index, write = SOURCES[name]
    root = None if edition == "stand-in" else _find(name, edition, data_root)
    if root is not None and not (root / MARK).is_file():
        if faces:
            raise DidError(f"faces={faces} makes a stand-in, but {root} holds licensed data: add edition=stand-in")
        return Source(name, "licensed", root, title, index(root))
    if root is None:
        root = _standin_root(name, faces, STANDIN_SIZES[preset])
        if not root.is_dir():
            folder = Path(faces).expanduser() if faces else None
            write(root, **STANDIN_SIZES[preset], faces=folder, fewer=True, progress=progress)
    elif edition == "licensed":
        raise DidError(
            f"edition=licensed, but {root} is a stand-in that did wrote; name the licensed data by data_root"
        )
    made = json.loads((root / MARK).read_text(encoding="utf-8"))
    label = f"stand-in for {title} from {sum(made['people'].values())} {made['bank']}"
    return Source(name, "stand-in", root, label, index(root), made["attribution"])


def _find(name: str, edition: str, data_root: str | Path | None) -> Path | None:
    if data_root:
        root = Path(data_root).expanduser()
        if not root.is_dir():
            raise DidError(f"data_root {root} is not a folder: name the folder of {SOURCES[name][0]}")
        return root
    places = [Path(base) / name for base in (os.environ.get("DID_DATA"), home() / "data") if base]
    for place in places:
        if place.is_dir():
            return place
    if edition == "licensed":
        looked = " and ".join(str(place) for place in places)
        raise DidError(
            f"edition=licensed, but there is no {SOURCES[name][0]} (looked in {looked}): {HOW_TO_GET[name]}, then name "
            "its folder by data_root"
        )
    return None


def _standin_root(name: str, faces: str | Path | None, sizes: Mapping[str, Any]) -> Path:
    """A folder whose name follows from all that decides the stand-in's content."""
    what: list[Any] = [GENERATOR, sizes]
    if faces:
        folder = Path(faces).expanduser()
        what.append(
            sorted((p.relative_to(folder).as_posix(), p.stat().st_size) for p in folder.rglob("*") if p.is_file())
        )
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return home() / "data" / "stand-in" / f"{name}-{'portraits' if faces else 'drawn'}-{digest}"


def face_store(source: Source, settings: Settings, progress: bool = True) -> FaceStore:
    """The source's aligned crops at the settings' size, margin and frames; prepared now where they are not there.

    Raises:
        DidError: see `did.data.prepare.prepare`.
    """
    # Named by place and list, not by content: a clip that was mended is redone alone, in the same store.
    what = hashlib.sha256(f"{source.root.resolve()} {fingerprint(source.index)}".encode()).hexdigest()[:8]
    name = f"{source.name}-{what}-{settings.frames}x{settings.image_size}-m{settings.crop_margin:g}"
    store = home() / "data" / "faces" / name
    return prepare(
        source.index, source.root, store, settings.frames, settings.image_size, settings.crop_margin, progress=progress
    )
