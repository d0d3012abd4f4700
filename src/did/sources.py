"""From a source's name to its table of videos: the licensed data where it is, else the stand-in, and which it was."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from did.data import cdf2, dffd, diff, ffpp, folder, table
from did.data.layout import MARK, counted, lacking, readable
from did.data.prepare import prepare
from did.data.store import FORMAT, FaceStore
from did.errors import DidError
from did.settings import Settings, nearest, of_preset
from did.standin import GENERATOR, london, write
from did.utils.files import alone, given_path, home, sha256

#: The paper's data sets, each with its layout.
LAYOUTS: dict[str, ModuleType] = {"ffpp": ffpp, "cdf2": cdf2, "dffd": dffd, "diff": diff}
#: What a source may be called, for messages; ffpp:c40 is another compression, folder:PATH anybody's own data.
SOURCES = (*LAYOUTS, *(f"ffpp:{name}" for name in ffpp.COMPRESSIONS), "folder:PATH")
#: Those whose authors publish lists of the videos.
LISTED = (ffpp.NAME, cdf2.NAME)
EDITIONS = ("auto", "licensed", "stand-in")
LONDON = "london"
#: Stands on every figure, table and number that is no reproduction.
STANDIN = "STAND-IN"

# Sizes of the stand-ins: people a split, frames a clip. They follow the preset, as all sizes do. cdf2 and diff are
# tested on only, so that most of their people are in the test split.
STANDIN_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "ffpp": {"people": {"train": 6, "val": 4, "test": 4}, "frames": 4},
        "cdf2": {"people": {"train": 6, "val": 4, "test": 6}, "frames": 4},
        "dffd": {"people": {"train": 6, "val": 4, "test": 4}, "frames": 1},
        "diff": {"people": {"train": 2, "val": 4, "test": 6}, "frames": 1},
    },
    "laptop": {
        "ffpp": {"people": {"train": 100, "val": 16, "test": 24}, "frames": 6},
        "cdf2": {"people": {"train": 8, "val": 6, "test": 60}, "frames": 6},
        "dffd": {"people": {"train": 200, "val": 30, "test": 40}, "frames": 1},
        "diff": {"people": {"train": 2, "val": 10, "test": 60}, "frames": 1},
    },
    "paper": {
        "ffpp": {"people": {"train": 200, "val": 40, "test": 40}, "frames": 64},
        "cdf2": {"people": {"train": 40, "val": 20, "test": 100}, "frames": 64},
        "dffd": {"people": {"train": 1000, "val": 100, "test": 200}, "frames": 1},
        "diff": {"people": {"train": 10, "val": 100, "test": 400}, "frames": 1},
    },
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set on disk.

    Attributes:
        name: ffpp, cdf2, dffd, diff or folder.
        edition: `licensed` or `stand-in`; a folder of one's own counts as licensed: it is what it is.
        root: its folder.
        label: how every figure and table names it.
        index: the table, one row a video or image.
        credit: attribution that the pictures ask for.
        counts: what is found and published (for a stand-in: nothing), and missing; see `did.data.layout.counted`.
        left_out: how many files of its folders are left out, by suffix (or another reason).
    """

    name: str
    edition: str
    root: Path
    label: str
    index: pd.DataFrame
    credit: str = ""
    counts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The edition, or `licensed, part` if less is found than its authors publish."""
        return f"{self.edition}, part" if lacking(self.counts) else self.edition

    @property
    def banner(self) -> str:
        """One line that says which edition the numbers are from."""
        if self.name == folder.NAME:
            return f"{self.label}: your own data. No number here reproduces a number of the paper."
        if self.edition == "licensed":
            less = lacking(self.counts)
            return f"{self.label}, {f'with {less}, a part of the ' if less else ''}licensed data"
        return f"{STANDIN}, not the licensed data: {self.label}. No number here reproduces a number of the paper."


def open_source(
    name: str,
    edition: str = "auto",
    data_root: str | Path | None = None,
    faces: str | Path | None = None,
    preset: str = "laptop",
    progress: bool = True,
    strict: bool = False,
    allow_missing: bool = False,
) -> Source:
    """Find a data set, or write its stand-in.

    Args:
        name: `ffpp`, `cdf2`, `dffd`, `diff`; `ffpp:raw` or `ffpp:c40` for another compression; `folder:PATH` for any
            folder with real/ and fake/<method>/.
        edition: `licensed`, `stand-in`, or `auto`: the licensed data where it is found or named by `data_root`, the
            stand-in otherwise.
        data_root: the folder of the licensed data; by default `DID_DATA`/name, then `data/name` in the project.
        faces: a folder of portraits to make the stand-in from, or `london` for the Face Research Lab London Set, which
            is fetched once; drawn faces by default. Where there are fewer people than the preset asks for, the splits
            shrink in proportion, and the label gives their number.
        preset: decides the size of the stand-in.
        progress: show a bar while the stand-in is written.
        strict: counts that differ from the published ones are an error; else a warning.
        allow_missing: go without videos that the lists of ffpp or cdf2 name and that are not there; else an error.
            They are counted in `Source.counts`.

    Raises:
        DidError: an unknown name, edition or preset; licensed data asked for and not found; a layout or a table that
            does not hold; `faces` together with licensed data.
    """
    if not isinstance(name, str):
        raise DidError(f"source is {name!r}; it must be a name, as text: {nearest(name, SOURCES)}")
    kind, _, variant = name.partition(":")
    if kind not in (*LAYOUTS, folder.NAME) or (variant and kind not in (ffpp.NAME, folder.NAME)):
        raise DidError(f"unknown source '{name}': {nearest(name, SOURCES)}")
    if edition not in EDITIONS:
        raise DidError(f"unknown edition '{edition}': {nearest(edition, EDITIONS)}")
    of_preset(STANDIN_SIZES, preset)
    if allow_missing and kind not in LISTED:
        raise DidError(f"allow_missing is for {' and '.join(LISTED)}, whose lists name their videos, not for {kind}")
    if kind == folder.NAME:
        return _own_folder(variant, edition, data_root, faces, strict)
    return _data_set(kind, variant, edition, data_root, faces, preset, progress, strict, allow_missing)


def _own_folder(
    path: str, edition: str, data_root: str | Path | None, faces: str | Path | None, strict: bool
) -> Source:
    if not path:
        raise DidError("the source 'folder' needs a path: folder:PATH, a folder with real/ and fake/<method>/")
    if edition == "stand-in" or faces is not None or data_root is not None:
        raise DidError(f"folder:{path} is your own data: leave out edition=stand-in, faces and data_root")
    root = given_path(path, "the data set's folder")
    index = folder.index(root, strict)
    name = os.path.basename(os.path.abspath(root)) or str(root)  # "." and ".." have none, and "/" has none at all.
    return Source(folder.NAME, "licensed", root, f"folder {name}", index, left_out=index.attrs["left_out"])


def _data_set(
    name: str,
    variant: str,
    edition: str,
    data_root: str | Path | None,
    faces: str | Path | None,
    preset: str,
    progress: bool,
    strict: bool,
    allow_missing: bool,
) -> Source:
    layout = LAYOUTS[name]
    options: dict[str, Any] = {"compression": variant or "c23"} if name == ffpp.NAME else {}
    title = f"{layout.TITLE} ({options['compression']})" if options else layout.TITLE
    if name in LISTED:
        options["allow_missing"] = allow_missing
    root = None if edition == "stand-in" else _find(name, edition, data_root)
    if root is not None and not (root / MARK).is_file():
        if faces is not None:
            raise DidError(f"faces={faces} makes a stand-in, but {root} holds licensed data: add edition=stand-in")
        index = layout.index(root, strict, **options)
        noted = {name: index.attrs[name] for name in ("counts", "left_out")}
        return Source(name, "licensed", root, title, index, **noted)
    if root is None:
        if variant not in ("", "c23"):
            raise DidError(
                f"the stand-in for {layout.TITLE} has c23 only, not {variant}: name the licensed data's folder"
            )
        root = _write_standin(name, faces, preset, progress)
    elif edition == "licensed":
        raise DidError(
            f"edition=licensed, but {root} is a stand-in that did wrote; name the licensed data by data_root"
        )
    made = json.loads((root / MARK).read_text(encoding="utf-8"))
    label = f"stand-in for {title} from {sum(made['people'].values())} {made['bank']}"
    index = layout.index(root, strict, **options)
    counts = counted({}, {}, index.attrs["counts"]["missing"])  # A stand-in is smaller on purpose.
    return Source(name, "stand-in", root, label, index, made["attribution"], counts)


def _write_standin(name: str, faces: str | Path | None, preset: str, progress: bool) -> Path:
    """The stand-in's folder, written now where it is not there."""
    portraits = None
    if faces == LONDON:
        portraits = london.fetch(home() / "data" / "portraits" / LONDON)
    elif faces is not None:
        portraits = given_path(faces, "faces")
    size = STANDIN_SIZES[preset][name]
    root = _standin_root(name, portraits, size)
    if root.is_dir():
        return root
    with alone(root):
        for left in root.parent.glob(f".{root.name}.*.tmp"):  # What a process that was killed in `write` left.
            shutil.rmtree(left, ignore_errors=True)
        if not root.is_dir():
            write(name, root, **size, faces=portraits, fewer=True, progress=progress)
    return root


def _find(name: str, edition: str, data_root: str | Path | None) -> Path | None:
    title = LAYOUTS[name].TITLE
    if data_root is not None:
        root = given_path(data_root, "data_root")
        if not root.is_dir():
            raise DidError(f"data_root {root} is not a folder: name the folder of {title}")
        return root
    places = [home() / "data" / name]
    if named := os.environ.get("DID_DATA"):
        base = given_path(named, "DID_DATA")
        if not base.is_dir():
            raise DidError(
                f"DID_DATA names {base}, which is not a folder: name the one that holds {name}/, or unset it"
            )
        places.insert(0, base / name)
    for place in places:
        if place.is_dir():
            return place
    if edition == "licensed":
        looked = " and ".join(str(place) for place in places)
        raise DidError(
            f"edition=licensed, but there is no {title} (looked in {looked}): {LAYOUTS[name].HOW_TO_GET}, then name "
            "its folder by data_root"
        )
    return None


@readable()
def _standin_root(name: str, portraits: Path | None, sizes: Mapping[str, Any]) -> Path:
    """A folder whose name follows from all that decides the stand-in's content."""
    what: list[Any] = [GENERATOR, sizes]
    if portraits:
        what.append(
            sorted((p.relative_to(portraits).as_posix(), sha256(p)) for p in portraits.rglob("*") if p.is_file())
        )
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return home() / "data" / "stand-in" / f"{name}-{'portraits' if portraits else 'drawn'}-{digest}"


def store_folder(source: Source, frames: int, size: int, margin: float, face: str = "largest") -> Path:
    """Where the project keeps the source's crops with these settings."""
    # Named by place and list, not by content: a clip that was mended is redone alone, in the same store.
    what = f"{FORMAT} {source.root.resolve()} {table.fingerprint(source.index)}"
    what = hashlib.sha256(os.fsencode(what)).hexdigest()[:8]
    choice = "" if face == "largest" else f"-{face}"
    return home() / "data" / "faces" / f"{source.name}-{what}-{frames}x{size}-m{margin:g}{choice}"


def face_store(source: Source, settings: Settings, progress: bool = True) -> FaceStore:
    """The source's aligned crops at the settings' size, margin and frames; prepared now where they are not there.

    Raises:
        DidError: see `did.data.prepare.prepare`.
    """
    s = settings
    store = store_folder(source, s.frames, s.image_size, s.crop_margin)
    return prepare(source.index, source.root, store, s.frames, s.image_size, s.crop_margin, progress=progress)
