"""FaceForensics++: a root folder in one of its two layouts becomes the table.

Official layout (https://github.com/ondyari/FaceForensics/tree/master/dataset)::

    original_sequences/youtube/<compression>/videos/<id>.mp4
    manipulated_sequences/<Method>/<compression>/videos/<target>_<source>.mp4

Mirror: the folders `original`, `Deepfakes`, `Face2Face`, ... directly under the root, c23 only.

The authors' split files are lists of *pairs* of ids; each pair stands for two real videos and, per method, for two
fake ones, `a_b` and `b_a`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from did.data import layout
from did.data import table as tables
from did.errors import DidError

NAME = "ffpp"
TITLE = "FaceForensics++"
COMPRESSIONS = ("raw", "c23", "c40")
VARIANTS = {"compression": ("c23", "raw", "c40")}
LISTED = True
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
# The explicit map of labels; FaceShifter came later and is in no split of the paper.
LABELS = {tables.REAL: 0, "Deepfakes": 1, "Face2Face": 1, "FaceSwap": 1, "NeuralTextures": 1, "FaceShifter": 1}
#: Videos of each method, the real ones too, that the authors' splits list.
PUBLISHED = {"train": 720, "val": 140, "test": 140}
HOW_TO_GET = "ask its authors for it with the form at https://github.com/ondyari/FaceForensics"
SPLITS_URL = "https://github.com/ondyari/FaceForensics/tree/master/dataset/splits"


@layout.readable()
def index(
    root: str | Path,
    strict: bool = False,
    compression: str = "c23",
    methods: Sequence[str] = METHODS,
    allow_missing: bool = False,
) -> pd.DataFrame:
    """Index the videos that the split files list.

    Args:
        root: folder of the data set, in the official layout or the mirror's (see the module).
        strict: raise where the number of videos is not the published one, instead of warning.
        compression: "raw", "c23" or "c40"; the mirror has c23 only.
        methods: forgery methods to take, in the authors' spelling.
        allow_missing: leave out listed videos that are not there, with a `LayoutWarning`, instead of raising.

    Returns:
        The table (`did.data.table.COLUMNS`), one row per video, sorted by split, method and name; `frame` is <NA> and
        `path` is relative to `root`, so that its fingerprint is the same on every machine.

    Raises:
        DidError: If the root is missing, empty or not FF++; a method's folder, a split file or listed videos are
            missing; a split file is malformed; an argument is unknown; or a count differs under `strict`.
    """
    if compression not in COMPRESSIONS:
        raise DidError(f"FF++ has no compression {compression!r}; choose one of {', '.join(COMPRESSIONS)}.")
    known = [name for name, label in LABELS.items() if label == 1]
    if not methods:
        raise DidError(f"No FF++ method is named; choose from {', '.join(known)}.")
    for name in methods:
        if name not in known:
            raise DidError(f"FF++ has no method {name!r}; choose from {', '.join(known)}.")
    root = layout.open_root(root, TITLE)
    folders = _folders(root, compression, methods)
    layout.apart(folders.values())
    left = layout.Left()
    there = {method: layout.by_stem(folder, ".mp4", left) for method, folder in folders.items()}
    pairs = {split: _pairs(_split_file(root, split)) for split in tables.SPLITS}

    rows = []
    listed = dict.fromkeys(folders, 0)
    present = {(split, method): 0 for split in pairs for method in folders}
    absent: dict[str, list[str]] = {method: [] for method in folders}
    for split, split_pairs in pairs.items():
        for method, folder in folders.items():
            for stem, identity in _videos(method, split_pairs):
                file = there[method].get(stem, folder / f"{stem}.mp4")
                listed[method] += 1
                if not file.is_file():
                    absent[method].append(file.name)
                    continue
                present[split, method] += 1
                rows.append(layout.row(root, file, NAME, method, LABELS[method], split, f"{method}/{stem}", identity))
    if any(absent.values()):
        found = "; ".join(
            f"{len(names)} of {listed[method]} of {method}, first {names[0]}"
            for method, names in absent.items()
            if names
        )
        if not allow_missing:
            raise DidError(
                f"The FF++ tree {root} lacks videos that its splits list ({found}); add them, or go without them by "
                "allow_missing (--allow-missing)."
            )
        layout.let_pass(root, TITLE, found)
    # Of the method that has the fewest.
    counts = {f"{split} videos a method": min(present[split, method] for method in folders) for split in pairs}
    published = {f"{split} videos a method": n for split, n in PUBLISHED.items()}
    layout.compare(root, TITLE, counts, published, strict)
    table = layout.finish(rows, layout.counted(counts, published, sum(map(len, absent.values()))))
    return left.noted(table, root, strict)


def _folders(root: Path, compression: str, methods: Sequence[str]) -> dict[str, Path]:
    """Return the folder with the .mp4 files of each method, "real" first."""
    names = (tables.REAL, *methods)
    official = {name: root / "manipulated_sequences" / name for name in methods}
    official[tables.REAL] = root / "original_sequences" / "youtube"
    mirror = {name: root / name for name in methods} | {tables.REAL: root / "original"}
    levels = [f"{compression}/videos", compression]  # Some copies lack the last level.
    if (root / "original_sequences").is_dir() or (root / "manipulated_sequences").is_dir():
        bases = official
    elif any(folder.is_dir() for folder in mirror.values()):
        bases = mirror
        if compression == "c23":
            levels += ["videos", ""]  # The mirror does not name its compression: it was published as c23 only.
    else:
        raise DidError(
            f"{root} is not a FaceForensics++ tree: it has neither original_sequences/ and manipulated_sequences/ "
            f"nor original/ and {methods[0]}/; {layout.hint(root, ('original_sequences', 'original'))}."
        )

    folders = {}
    for name in names:
        base = bases[name]
        if not base.is_dir():
            raise DidError(f"The FF++ tree {root} has no folder {base.relative_to(root).as_posix()}/; add it.")
        candidates = [base / level for level in levels]
        with_videos = [folder for folder in candidates if folder.is_dir() and layout.files(folder, (".mp4",))]
        if not with_videos:
            looked = " nor ".join(f"{folder.relative_to(root).as_posix()}/" for folder in candidates)
            raise DidError(
                f"The FF++ tree {root} has no .mp4 file of {name} at {compression}: neither {looked} holds one; "
                "add the videos or choose the compression that you have."
            )
        folders[name] = with_videos[0]
    return folders


def _split_file(root: Path, split: str) -> Path:
    candidates = [root / "splits" / f"{split}.json", root / f"{split}.json"]
    for file in candidates:
        if file.is_file():
            return file
    raise DidError(
        f"The split file {candidates[0]} is missing; the authors publish it in the FaceForensics repository on GitHub, "
        f"folder dataset/splits ({SPLITS_URL})."
    )


def _pairs(file: Path) -> list[tuple[str, str]]:
    malformed = DidError(
        f'The split file {file} is malformed; it must be a JSON list of pairs of ids such as [["071", "054"], ...], as '
        f"published at {SPLITS_URL}."
    )
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors.
        raise malformed from error
    if not isinstance(content, list) or not content:
        raise malformed
    for pair in content:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) and name for name in pair):
            raise malformed
    ids = [name for pair in content for name in pair]
    repeated = sorted({name for name in ids if ids.count(name) > 1})
    if repeated:
        raise DidError(f"The split file {file} lists the id {repeated[0]!r} twice; each id belongs to one pair.")
    return [(first, second) for first, second in content]


def _videos(method: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (file stem, identity) of every video that the pairs describe, sorted by stem."""
    if method == tables.REAL:
        return sorted((name, name) for pair in pairs for name in pair)
    both_ways = [*pairs, *((second, first) for first, second in pairs)]
    return sorted((f"{target}_{source}", f"{target}+{source}") for target, source in both_ways)
