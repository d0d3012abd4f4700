"""Fetching the Face Research Lab London Set: portraits of 102 people who may be forged.

CC BY 4.0; every sitter signed to the use of the pictures "in their original or altered forms". The frontal
photographs come as two archives, whose files are named by sitter and view::

    neutral_front.zip    neutral_front/001_03.jpg, ...
    smiling_front.zip    smiling_front/001_08.jpg, ...

The folder that they are unpacked into follows `did.standin.portraits`.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from did.errors import DidError
from did.standin.portraits import SUFFIXES, TABLE
from did.utils.files import given_path

if TYPE_CHECKING:
    import pooch

DOI = "doi:10.6084/m9.figshare.5047666.v5/"
PAGE = "https://doi.org/10.6084/m9.figshare.5047666.v5"
#: Each archive and the expression that its pictures show.
ARCHIVES = {"neutral_front.zip": "neutral", "smiling_front.zip": "smiling"}
ATTRIBUTION = (
    "DeBruine, L. & Jones, B. (2017). Face Research Lab London Set (Version 5). figshare. "
    "https://doi.org/10.6084/m9.figshare.5047666.v5. "
    "Licence: CC BY 4.0, https://creativecommons.org/licenses/by/4.0/."
)
LICENCE_BASIS = "CC BY 4.0; signed consent to use in original or altered forms"
#: Bytes of an archive, of a portrait in it and of all of them, and members of an archive, at most: several times what
#: the set has.
MOST_ARCHIVE, MOST_PORTRAIT, MOST_UNPACKED, MOST_MEMBERS = 500_000_000, 30_000_000, 1_000_000_000, 2000


def fetch(
    folder: str | Path, base_url: str = DOI, registry: Mapping[str, str] | None = None, progress: bool = True
) -> Path:
    """Download the London set and make `folder` a folder of portraits.

    Cached: if it is one already, nothing is downloaded.

    Archives that lie in `folder` are used as they are, without the network. The folder gets its table, and with it
    counts as made, when everything else is there; what fails leaves it as it was.

    Args:
        folder: where the portraits go.
        base_url: where the archives are: the set's DOI, or an address that ends in "/".
        registry: checksum of each archive ("sha256:..."); for a DOI, figshare gives them.
        progress: show a bar a download and print the attribution.

    Returns:
        `folder`.

    Raises:
        DidError: If there is no network, a server's error, a wrong checksum, an archive that is broken, too large,
            holds no portrait or would write elsewhere, or a folder that cannot be written.
    """
    folder = given_path(folder, "the folder of portraits")
    if (folder / TABLE).is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            archives = {name: folder / name for name in ARCHIVES}
            missing = [name for name, file in archives.items() if not file.is_file()]
            if missing:
                archives |= _download(missing, Path(temporary) / "archives", folder, base_url, registry, progress)
            draft = Path(temporary) / "portraits"
            _unpack(archives, draft, folder)
            _move(draft, folder)
    except OSError as error:
        raise DidError(f"{folder} cannot be used ({error.strerror or error}); name another folder.") from error
    if progress:
        print(ATTRIBUTION)
    return folder


def _failed(folder: Path, reason: str) -> DidError:
    return DidError(
        f"The London portraits cannot be had ({reason}); download {' and '.join(ARCHIVES)} from {PAGE} by hand, put "
        f"them into {folder} and try again."
    )


def _download(
    names: list[str], to: Path, folder: Path, base_url: str, registry: Mapping[str, str] | None, progress: bool
) -> dict[str, Path]:
    """Fetch the named archives and compare their checksums."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # The bar says enough.
    try:
        server = pooch.create(path=to, base_url=base_url, registry=dict(registry or {}))
        if registry is None:
            server.load_registry_from_doi()
        return {name: Path(server.fetch(name, downloader=partial(_get, progress=progress))) for name in names}
    except Exception as error:  # Of the network, of pooch, or of an answer that is not what pooch expects.
        raise _failed(folder, _reason(error)) from error


def _get(url: str, file: str, server: pooch.Pooch, progress: bool) -> None:
    """Download as pooch does, but no more than `MOST_ARCHIVE`.

    A checksum would come too late for a disk that is full.
    """
    from pooch.downloaders import choose_downloader

    with _Limited(file) as limited:
        choose_downloader(url, progressbar=progress)(url, limited, server)


class _TooLarge(Exception):
    """A download is larger than any archive of the set."""


class _Limited(io.FileIO):
    def __init__(self, file: str) -> None:
        super().__init__(file, "wb")

    def write(self, content: Any) -> int:
        if self.tell() + len(content) > MOST_ARCHIVE:
            raise _TooLarge
        return super().write(content)


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code}"
    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return "no connection to the server"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the download broke off"
    if isinstance(error, _TooLarge):
        return f"an archive is larger than {MOST_ARCHIVE / 1e6:.0f} MB"
    if isinstance(error, ValueError) and "does not match the known hash" in str(error):
        return "a checksum is not the published one"
    return f"{type(error).__name__}: {error}".split("\n")[0].rstrip(".")


def _unpack(archives: Mapping[str, Path], draft: Path, folder: Path) -> None:
    """Write the portraits of the archives and their table to `draft`."""
    rows = []
    for name, file in archives.items():
        place = draft / Path(name).stem
        place.mkdir(parents=True)
        if file.stat().st_size > MOST_ARCHIVE:
            raise _failed(folder, f"{name} is larger than {MOST_ARCHIVE / 1e6:.0f} MB")
        try:
            with zipfile.ZipFile(file) as archive:
                portraits = _portraits(archive)
                for portrait, member in sorted(portraits.items()):
                    with archive.open(member) as packed:
                        # Not all that there is: a member may be larger than it says.
                        content = packed.read(member.file_size + 1)
                    (place / portrait).write_bytes(content)
                    rows.append(
                        {
                            "file": f"{place.name}/{portrait}",
                            "identity": f"london_{portrait.split('_')[0]}",
                            "licence_basis": LICENCE_BASIS,
                            "expression": ARCHIVES[name],
                            "attribution": ATTRIBUTION,
                        }
                    )
        # RuntimeError: an encrypted archive or an unknown compression.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise _failed(folder, f"{name} is not a whole zip archive") from error
        except ValueError as error:
            raise _failed(folder, f"{name} {error}") from error
    pd.DataFrame(rows).to_csv(draft / TABLE, index=False, lineterminator="\n", encoding="utf-8")


def _portraits(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members that are portraits, by file name, such as "001_03.jpg".

    Raises:
        ValueError: a member would land outside the folder, none is a portrait, or there is too much of them.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    if len(archive.infolist()) > MOST_MEMBERS:
        raise ValueError(f"has more than {MOST_MEMBERS} members")
    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise ValueError(f"has the member {member.filename!r}, which would land outside the folder")
        if path.suffix.lower() in SUFFIXES and re.fullmatch(r"\d+_\d+", path.stem) and not member.is_dir():
            if member.file_size > MOST_PORTRAIT:
                raise ValueError(f"has the member {member.filename!r} of more than {MOST_PORTRAIT / 1e6:.0f} MB")
            found[path.name] = member
    if sum(member.file_size for member in found.values()) > MOST_UNPACKED:
        raise ValueError(f"holds more than {MOST_UNPACKED / 1e6:.0f} MB")
    if not found:
        raise ValueError("holds no portrait")
    return found


def _move(draft: Path, folder: Path) -> None:
    """Move the portraits to `folder`: at once if it does not exist, else one by one, the table last."""
    if not folder.exists():
        os.replace(draft, folder)
        return
    files = [file for file in draft.rglob("*") if file.is_file()]
    for file in sorted(files, key=lambda file: (file.name == TABLE, file)):
        target = folder / file.relative_to(draft)
        target.parent.mkdir(exist_ok=True)
        os.replace(file, target)
