"""From a source's name to its table of videos: the licensed data if it is there, else the stand-in."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from did import presets
from did.data import cdf2, cdfpp, deepfakebench, dfd, dfdcp, dffd, diff, ffpp, folder, table
from did.data.layout import MARK, counted, lacking, readable
from did.data.prepare import CHOICES, GIVEN, prepare
from did.data.store import FORMAT, FaceStore
from did.errors import DidError, nearest
from did.settings import Settings
from did.standin import GENERATOR, london, write
from did.utils.files import alone, given_path, home, sha256

#: Data sets by name, each with its layout: see `register_layout`.
LAYOUTS: dict[str, Any] = {}
EDITIONS = ("auto", "licensed", "stand-in")
LONDON = "london"
#: Shown on every figure, table and number that is not a reproduction.
STANDIN = "STAND-IN"


L = TypeVar("L")


def register_layout(layout: L) -> L:
    """Register the layout of a data set: a module, or a class if used as a decorator.

    Args:
        layout: has `NAME`, what the source is called; `TITLE`, what tables call it; and `index(root, strict)`, which
            returns the table of its videos (see `did.data.table.make_table`). It may have `HOW_TO_GET`; `VARIANTS`,
            such as {"compression": ("c23", "raw")}: a keyword of `index` and its values, the default first, which may
            follow the name after a colon; and `LISTED`, True if `index` takes `allow_missing`.

    Raises:
        DidError: If one of the three is missing, or another layout has the name.
    """
    if lacking := [name for name in ("NAME", "TITLE", "index") if not hasattr(layout, name)]:
        raise DidError(f"the layout {layout!r} has no {lacking[0]}: see did.register_layout")
    name = layout.NAME  # type: ignore[attr-defined]
    if LAYOUTS.setdefault(name, layout).__name__ != layout.__name__:  # type: ignore[attr-defined]
        raise DidError(f"two layouts are called '{name}': rename one")
    LAYOUTS[name] = layout
    return layout


for _layout in (ffpp, cdf2, dffd, diff, cdfpp, dfd, dfdcp):
    register_layout(_layout)


@functools.cache
def _load() -> None:
    for point in importlib.metadata.entry_points(group="did.layouts"):
        register_layout(point.load())


def source_names() -> list[str]:
    """Return the valid names of sources.

    `ffpp:c40` is another compression, `folder:PATH` is anybody's own data, `deepfakebench:ROOT/NAME` a data set of that
    release.
    """
    _load()
    variants = [f"{name}:{variant}" for name, of in LAYOUTS.items() for variant in _variants(of)[1]]
    return [*LAYOUTS, *variants, "folder:PATH", f"{deepfakebench.NAME}:ROOT/NAME"]


def _variants(layout: Any) -> tuple[str, tuple[str, ...]]:
    return next(iter(getattr(layout, "VARIANTS", {"": ()}).items()))


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set on disk.

    Attributes:
        name: of its layout, or folder.
        edition: `licensed` or `stand-in`; a folder of one's own counts as licensed: it is what it is.
        root: its folder.
        label: how every figure and table names it.
        index: the table, one row per video or image.
        credit: attribution that the pictures ask for.
        counts: what is found and published (for a stand-in: nothing), and missing; see `did.data.layout.counted`.
        left_out: how many files of its folders are left out, by suffix (or another reason).
        bank: what its faces are: `licensed`, `own`, or for a stand-in `drawn` or `portraits`.
        face: which face of a frame is cut out, see `did.data.prepare.prepare`.
    """

    name: str
    edition: str
    root: Path
    label: str
    index: pd.DataFrame
    credit: str = ""
    counts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    bank: str = "licensed"
    face: str = CHOICES[0]

    @property
    def kind(self) -> str:
        """The edition, or `licensed, part` if less is found than its authors publish."""
        return f"{self.edition}, part" if lacking(self.counts) else self.edition

    def part(self, split: str) -> "Source":
        """Return the same data with the videos of one split alone.

        Raises:
            DidError: If it has none.
        """
        index = self.index[self.index["split"] == split].reset_index(drop=True)
        if index.empty:
            splits = ", ".join(self.index["split"].unique())
            raise DidError(f"{self.label} has no split '{split}'; it has {splits}")
        return dataclasses.replace(self, index=index)

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
    methods: Sequence[str] = (),
    world: int = 0,
) -> Source:
    """Find a data set, or write its stand-in.

    Args:
        name: `ffpp`, `cdf2`, `dffd`, `diff`; `cdfpp`, `dfd`, `dfdcp`, which are for tests and have no stand-in;
            `ffpp:raw` or `ffpp:c40` for another compression; `folder:PATH` for any folder with real/ and
            fake/<method>/; `deepfakebench:ROOT/NAME` for a data set of DeepfakeBench's release, such as DFDCP, or
            `FaceShifter:c40`.
        edition: `licensed`, `stand-in`, or `auto`: the licensed data if it is found or named by `data_root`, the
            stand-in otherwise.
        data_root: the folder of the licensed data, or for ffpp and cdf2 DeepfakeBench's release; by default
            `DID_DATA`/name, then `data/name` in the project.
        faces: a folder of portraits to make the stand-in from, or `london` for the Face Research Lab London Set, which
            is fetched once; drawn faces by default. If there are fewer people than the preset asks for, the splits
            shrink in proportion, and the label gives their number.
        preset: decides the size of the stand-in.
        progress: show a bar while the stand-in is written.
        strict: counts that differ from the published ones are an error; else a warning.
        allow_missing: go without videos that the lists of ffpp or cdf2 name and that are not there; else an error.
            They are counted in `Source.counts`.
        methods: forgery methods to take, of a layout that can leave some out; its usual ones by default.
        world: for a stand-in: another one has other people, forgeries and cameras, see `did.standin.worlds`.

    Raises:
        DidError: If there is an unknown name, edition or preset; licensed data asked for and not found; a layout or a
            table that does not hold; `faces` together with licensed data.
    """
    if not isinstance(name, str):
        raise DidError(f"source is {name!r}; it must be a name, as text: {nearest(name, source_names())}")
    kind, _, variant = name.partition(":")
    _load()
    layout = LAYOUTS.get(kind)
    other = kind in (folder.NAME, deepfakebench.NAME)
    if (layout is None and not other) or (layout is not None and variant and not hasattr(layout, "VARIANTS")):
        raise DidError(f"unknown source '{name}': {nearest(name, source_names())}")
    if edition not in EDITIONS:
        raise DidError(f"unknown edition '{edition}': {nearest(edition, EDITIONS)}")
    sizes = presets.preset(preset).standins
    if allow_missing and kind != deepfakebench.NAME and not getattr(layout, "LISTED", False):
        listed = [each for each, of in LAYOUTS.items() if getattr(of, "LISTED", False)]
        raise DidError(f"allow_missing is for {', '.join(listed)}, whose lists name their videos, not for {kind}")
    if world and (other or edition == "licensed"):
        raise DidError(f"world={world} makes a stand-in: leave it out, or take edition=stand-in of a data set's layout")
    if kind == deepfakebench.NAME:
        return _of_release(variant, edition, data_root, faces, strict, allow_missing, methods)
    if methods and "methods" not in inspect.signature(getattr(layout, "index", folder.index)).parameters:
        raise DidError(f"methods are for ffpp and {deepfakebench.NAME}, not for {kind}: leave them out")
    if layout is None:
        return _own_folder(variant, edition, data_root, faces, strict)
    return _data_set(
        layout, variant, edition, data_root, faces, sizes.get(kind), progress, strict, allow_missing, methods, world
    )


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
    return Source(folder.NAME, "licensed", root, f"folder {name}", index, left_out=index.attrs["left_out"], bank="own")


def _of_release(
    place: str,
    edition: str,
    data_root: str | Path | None,
    faces: str | Path | None,
    strict: bool,
    allow_missing: bool,
    methods: Sequence[str],
) -> Source:
    path, _, compression = place.partition(":") if place.endswith(ffpp.COMPRESSIONS) else (place, "", "")
    root, name = given_path(path or ".", "the release's folder").parent, os.path.basename(path)
    if not name or not deepfakebench.is_release(root):
        raise DidError(
            f"the source '{deepfakebench.NAME}' needs the release's folder and the name of a list of "
            f"{deepfakebench.LISTS[0]}/ in it, such as {deepfakebench.NAME}:{path or 'ROOT'}/DFDCP"
        )
    if edition == "stand-in" or faces is not None or data_root is not None:
        raise DidError(f"{deepfakebench.NAME}:{place} is on your disk: leave out edition=stand-in, faces and data_root")
    return _release(deepfakebench.NAME, root, name, compression, methods or None, strict, allow_missing)


def _release(
    name: str,
    root: Path,
    listed: str,
    compression: str,
    methods: Collection[str] | None,
    strict: bool,
    allow_missing: bool,
) -> Source:
    index = deepfakebench.index(root, listed, strict, compression, methods, allow_missing)
    title = f"{listed} ({compression})" if compression else listed
    usual = deepfakebench.KNOWN[name][1] if name in deepfakebench.KNOWN else ()
    label = f"{title}{_alone(methods, usual)}, frames of {deepfakebench.TITLE}"
    return Source(name, "licensed", root, label, index, counts=index.attrs["counts"], face=GIVEN)


def _alone(methods: Collection[str] | None, usual: Collection[str] = ()) -> str:
    """Return what a label says of the methods that are taken; nothing if they are all or the usual ones."""
    return f", {' and '.join(methods)} alone" if methods and set(methods) != set(usual) else ""


def _in(folder: Path, name: str) -> Path:
    return folder if deepfakebench.is_release(folder) else folder / name


def within(data_root: str | Path | None, name: str, edition: str = "auto") -> Path | None:
    """Return where a data set is looked for in a folder of several: the folder `name` in it, or a release itself.

    Args:
        data_root: the folder; None for nowhere.
        name: of the data set.
        edition: as of `open_source`; a stand-in is looked for nowhere.
    """
    if data_root is None or edition == "stand-in":
        return None
    return _in(given_path(data_root, "data_root"), name)


def _data_set(
    layout: Any,
    variant: str,
    edition: str,
    data_root: str | Path | None,
    faces: str | Path | None,
    size: Mapping[str, Any] | None,
    progress: bool,
    strict: bool,
    allow_missing: bool,
    methods: Sequence[str],
    world: int,
) -> Source:
    name, (keyword, variants) = layout.NAME, _variants(layout)
    options: dict[str, Any] = {keyword: variant or variants[0]} if variants else {}
    title = f"{layout.TITLE} ({options[keyword]})" if options else layout.TITLE
    if getattr(layout, "LISTED", False):
        options["allow_missing"] = allow_missing
    if methods:
        options["methods"] = tuple(methods)
        title += _alone(methods)
    root = None if edition == "stand-in" else _find(layout, edition, data_root, needed=size is None)
    if root is not None and not (root / MARK).is_file():
        if faces is not None or world:
            what = f"faces={faces}" if faces is not None else f"world={world}"
            raise DidError(f"{what} makes a stand-in, but {root} holds licensed data: add edition=stand-in")
        if deepfakebench.is_release(root):
            if name not in deepfakebench.KNOWN:
                known = " and ".join(deepfakebench.KNOWN)
                raise DidError(f"{root} is {deepfakebench.TITLE}, which has {known}, not {name}: name its own folder")
            listed, usual = deepfakebench.KNOWN[name]
            return _release(name, root, listed, options.get(keyword, ""), methods or usual, strict, allow_missing)
        index = layout.index(root, strict, **options)
        noted = {name: index.attrs.get(name, {}) for name in ("counts", "left_out")}
        return Source(name, "licensed", root, title, index, **noted)
    if size is None:
        raise DidError(f"there is no stand-in for {layout.TITLE}: name its folder by data_root")
    if root is None:
        if variant and variant != variants[0]:
            raise DidError(
                f"the stand-in for {layout.TITLE} has {variants[0]} only, not {variant}: name the licensed data's "
                "folder"
            )
        root = _write_standin(name, faces, size, progress, world)
    elif edition == "licensed":
        raise DidError(
            f"edition=licensed, but {root} is a stand-in that did wrote; name the licensed data by data_root"
        )
    made = json.loads((root / MARK).read_text(encoding="utf-8"))
    label = f"stand-in for {title} from {sum(made['people'].values())} {made['bank']}"
    if there := made.get("world", {}).get("number"):
        label += f", world {there}"
    index = layout.index(root, strict, **options)
    counts = counted({}, {}, index.attrs["counts"]["missing"])  # A stand-in is smaller on purpose.
    bank = ("portraits" if made["bank"] == "portraits" else "drawn") + (f"-world{there}" if there else "")
    return Source(name, "stand-in", root, label, index, made["attribution"], counts, bank=bank)


def _write_standin(
    name: str, faces: str | Path | None, size: Mapping[str, Any], progress: bool, world: int = 0
) -> Path:
    """Return the stand-in's folder; write the stand-in if it does not exist."""
    portraits = None
    if faces == LONDON:
        portraits = london.fetch(home() / "data" / "portraits" / LONDON)
    elif faces is not None:
        portraits = given_path(faces, "faces")
    root = _standin_root(name, portraits, size, world)
    if root.is_dir():
        return root
    with alone(root):
        for left in root.parent.glob(f".{root.name}.*.tmp"):  # What a process that was killed in `write` left.
            shutil.rmtree(left, ignore_errors=True)
        if not root.is_dir():
            write(name, root, **size, faces=portraits, fewer=True, progress=progress, world=world)
    return root


def has_licensed(name: str) -> bool:
    """Return whether `open_source` would find the licensed data of this name where it looks by default."""
    _load()
    found = _find(LAYOUTS[name], "auto", None)
    return found is not None and not (found / MARK).is_file()


def _find(layout: Any, edition: str, data_root: str | Path | None, needed: bool = False) -> Path | None:
    name, title = layout.NAME, layout.TITLE
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
        places.insert(0, _in(base, name))
    for place in places:
        if place.is_dir():
            return place
    if needed or edition == "licensed":
        asked = "edition=licensed, but there" if edition == "licensed" else "there"
        looked = " and ".join(str(place) for place in places)
        raise DidError(
            f"{asked} is no {title} (looked in {looked}): "
            f"{getattr(layout, 'HOW_TO_GET', 'put it there')}, then name its folder by data_root"
        )
    return None


@readable()
def _standin_root(name: str, portraits: Path | None, sizes: Mapping[str, Any], world: int = 0) -> Path:
    """Return a folder whose name depends on everything that decides the stand-in's content."""
    what: list[Any] = [GENERATOR, sizes, *([{"world": world}] if world else [])]
    if portraits:
        what.append(
            sorted((p.relative_to(portraits).as_posix(), sha256(p)) for p in portraits.rglob("*") if p.is_file())
        )
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    bank = ("portraits" if portraits else "drawn") + (f"-world{world}" if world else "")
    return home() / "data" / "stand-in" / f"{name}-{bank}-{digest}"


def store_folder(source: Source, frames: int, size: int, margin: float, face: str = CHOICES[0]) -> Path:
    """Return where the project stores (caches) the source's crops for these settings."""
    # Named by place and list, not by content: a clip that was fixed is redone alone, in the same store.
    what = f"{FORMAT} {source.root.resolve()} {table.fingerprint(source.index)}"
    what = hashlib.sha256(os.fsencode(what)).hexdigest()[:8]
    choice = "" if face == CHOICES[0] else f"-{face}"
    return home() / "data" / "faces" / f"{source.name}-{what}-{frames}x{size}-m{margin:g}{choice}"


def face_of(source: Source, asked: str | None) -> str:
    """Return which face of a frame is cut out: the one that is asked for, or by default the source's own.

    Raises:
        DidError: If one is asked for that the source does not have: its frames show one face each, or they do not.
    """
    if asked is None or asked == source.face:
        return source.face
    if source.face == GIVEN:
        raise DidError(
            f"the frames of {source.label} show one face each, which is cut out already: leave the choice of a face out"
        )
    if asked == GIVEN:
        raise DidError(f"face is {asked!r}, but the frames of {source.label} are whole pictures: take largest or track")
    return asked


def face_store(source: Source, settings: Settings, progress: bool = True) -> FaceStore:
    """Return the source's aligned crops at the settings' size, margin and frames.

    Cached: crops that exist are reused; missing ones are prepared now.

    Raises:
        DidError: See `did.data.prepare.prepare`.
    """
    s = settings
    store = store_folder(source, s.frames, s.image_size, s.crop_margin, source.face)
    return prepare(
        source.index, source.root, store, s.frames, s.image_size, s.crop_margin, progress=progress, face=source.face
    )


def for_testing(source: Source, settings: Settings) -> Source:
    """Return the part of a source that a test needs: its test split, or the whole if all of its crops are finished.

    Raises:
        DidError: If it has no test split.
    """
    whole = store_folder(source, settings.frames, settings.image_size, settings.crop_margin, source.face)
    return source if (whole / "store.json").is_file() else source.part("test")
