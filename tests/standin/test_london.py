"""The London portraits come whole or not at all, fetched from a local server or from archives put by hand."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import socket
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
from hostile import png, zeros
from PIL import Image

from did.errors import DidError
from did.standin import london
from did.standin.drawn import draw
from did.standin.portraits import PortraitBank

MENDING = (
    "download neutral_front.zip and smiling_front.zip from https://doi.org/10.6084/m9.figshare.5047666.v5 by hand, put "
    "them into {} and try again."
)
FILES = ["neutral_front/001_03.jpg", "neutral_front/002_03.jpg", "smiling_front/001_08.jpg"]


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Three drawn portraits under the set's names, as JPEG."""
    made = {}
    for number, name in enumerate(FILES):
        stream = io.BytesIO()
        Image.fromarray(draw(np.random.default_rng(number)).image).save(stream, "JPEG")
        made[name] = stream.getvalue()
    return made


@pytest.fixture
def archives(pictures) -> dict[str, bytes]:
    """Both archives, with what else lies in the set's own: templates, folders, and macOS' files."""
    neutral = {name: pictures[name] for name in FILES[:2]}
    others = {"neutral_front/": b"", "neutral_front/001_03.tem": b"points", "__MACOSX/neutral_front/._001_03.jpg": b"x"}
    return {
        "neutral_front.zip": archive(others | neutral),
        "smiling_front.zip": archive({FILES[2]: pictures[FILES[2]]}),
    }


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` by file name and remembers what it was asked for; `short` bodies break off half-way."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.short: set[str] = set()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        body = self.server.content.get(name)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if name in self.server.short else body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(archives) -> Iterator[Server]:
    with Server() as running:
        running.content = dict(archives)
        thread = threading.Thread(target=running.serve_forever, args=[0.01], daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def sums(content: dict[str, bytes], kind: str = "sha256") -> dict[str, str]:
    return {name: f"{kind}:{hashlib.new(kind, body).hexdigest()}" for name, body in content.items()}


def inside(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def check_folder(folder: Path, pictures: dict[str, bytes], also: tuple[str, ...] = ()) -> None:
    assert inside(folder) == sorted([*FILES, "portraits.csv", *also])
    assert all((folder / name).read_bytes() == content for name, content in pictures.items())
    table = pd.read_csv(folder / "portraits.csv", dtype=str)
    assert list(table[["file", "identity", "expression"]].itertuples(index=False, name=None)) == [
        ("neutral_front/001_03.jpg", "london_001", "neutral"),
        ("neutral_front/002_03.jpg", "london_002", "neutral"),
        ("smiling_front/001_08.jpg", "london_001", "smiling"),
    ]
    assert table["licence_basis"].str.contains("altered").all()
    assert set(table["attribution"]) == {london.ATTRIBUTION}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def refuse(folder: Path, reason: str, kept: tuple[str, ...] = (), **options) -> None:
    """Refused in one sentence that says how to do without the network; nothing half-written is left."""
    with pytest.raises(DidError) as caught:
        london.fetch(folder, **{"progress": False} | options)
    assert str(caught.value) == f"The London portraits cannot be had ({reason}); {MENDING.format(folder)}"
    assert inside(folder.parent) == sorted(f"{folder.name}/{name}" for name in kept)
    assert not any(path.name != folder.name for path in folder.parent.iterdir())


def test_the_archives_become_a_folder_of_portraits(server, archives, pictures, tmp_path, capsys):
    folder = tmp_path / "data" / "london"
    assert london.fetch(str(folder), server.url, sums(archives)) == folder
    check_folder(folder, pictures)
    assert london.ATTRIBUTION in capsys.readouterr().out
    assert sorted(server.asked) == ["neutral_front.zip", "smiling_front.zip"]
    bank = PortraitBank(folder)
    assert bank.find(2) == 2
    assert bank.attribution == london.ATTRIBUTION


def test_a_second_call_asks_for_nothing(server, archives, tmp_path, capsys):
    london.fetch(tmp_path / "london", server.url, sums(archives), progress=False)
    server.asked.clear()
    assert london.fetch(tmp_path / "london", server.url, sums(archives)) == tmp_path / "london"
    assert london.fetch(tmp_path / "london") == tmp_path / "london"
    assert server.asked == []
    assert capsys.readouterr().out == ""


def test_the_attribution_names_people_source_and_licence():
    for text in ("DeBruine", "Jones", "10.6084/m9.figshare.5047666.v5", "CC BY 4.0"):
        assert text in london.ATTRIBUTION


def test_a_wrong_checksum(server, archives, tmp_path):
    wrong = sums(archives) | {"smiling_front.zip": "sha256:" + "0" * 64}
    refuse(tmp_path / "london", "a checksum is not the published one", base_url=server.url, registry=wrong)


def test_a_file_that_the_server_lacks(server, archives, tmp_path):
    del server.content["smiling_front.zip"]
    refuse(tmp_path / "london", "the server answers 404", base_url=server.url, registry=sums(archives))


def test_a_closed_port(archives, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refuse(
        tmp_path / "london",
        "no connection to the server",
        base_url=f"http://127.0.0.1:{port}/",
        registry=sums(archives),
    )


def test_a_body_that_breaks_off(server, archives, tmp_path):
    server.short = {"smiling_front.zip"}
    refuse(tmp_path / "london", "the download broke off", base_url=server.url, registry=sums(archives))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda zipped: b"no zip", "smiling_front.zip is not a whole zip archive"),
        (lambda zipped: zipped[:-30], "smiling_front.zip is not a whole zip archive"),
        (lambda zipped: zipped[:500] + b"damaged" + zipped[507:], "smiling_front.zip is not a whole zip archive"),
        (lambda zipped: archive({"readme.txt": b"", "cover.jpg": b""}), "smiling_front.zip holds no portrait"),
    ],
    ids=["no zip", "cut", "damaged", "empty"],
)
def test_an_archive_that_is_none(server, archives, tmp_path, change, reason):
    server.content["smiling_front.zip"] = change(archives["smiling_front.zip"])
    refuse(tmp_path / "london", reason, base_url=server.url, registry=sums(server.content))


@pytest.mark.parametrize(
    "name", ["../001_08.jpg", "/001_08.jpg", "a/../../001_08.jpg", "..\\001_08.jpg", "C:/001_08.jpg"]
)
def test_a_member_that_would_land_outside(server, pictures, tmp_path, name):
    server.content["smiling_front.zip"] = archive({FILES[2]: pictures[FILES[2]], name: b"evil"})
    shown = name.replace("\\", "\\\\")
    refuse(
        tmp_path / "london",
        f"smiling_front.zip has the member '{shown}', which would land outside the folder",
        base_url=server.url,
        registry=sums(server.content),
    )


def test_a_server_that_does_not_stop(server, archives, tmp_path, monkeypatch):
    monkeypatch.setattr(london, "MOST_ARCHIVE", len(archives["neutral_front.zip"]) - 1)
    refuse(tmp_path / "london", "an archive is larger than 0 MB", base_url=server.url, registry=sums(archives))


def bomb(name: str, size: int) -> bytes:
    """An archive of a few kilobytes, a member of which unpacks to `size` bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file, file.open(name, "w", force_zip64=True) as member:
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: bomb(FILES[2], 300 << 20), f"neutral_front.zip has the member '{FILES[2]}' of more than 30 MB"),
        (
            lambda: archive({f"{n:03d}_08.jpg": b"" for n in range(2001)}),
            "neutral_front.zip has more than 2000 members",
        ),
    ],
    ids=["a large member", "many members"],
)
def test_an_archive_of_too_much_is_not_unpacked(archives, tmp_path, monkeypatch, made, reason):
    folder = tmp_path / "london"
    folder.mkdir()
    content = made()
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("was unpacked"))
    for name in archives:
        (folder / name).write_bytes(content)
    refuse(folder, reason, tuple(archives))


def test_portraits_that_are_too_much_together(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(london, "MOST_UNPACKED", 1000)
    folder = tmp_path / "london"
    folder.mkdir()
    for name, content in archives.items():
        (folder / name).write_bytes(content)
    refuse(folder, "neutral_front.zip holds more than 0 MB", tuple(archives))
    monkeypatch.setattr(london, "MOST_ARCHIVE", 1000)
    refuse(folder, "neutral_front.zip is larger than 0 MB", tuple(archives))


def test_a_member_that_says_it_is_small_is_not_unpacked_beyond_that(tmp_path):
    """Its size stands in the archive twice; both are changed."""
    content = bomb(FILES[2], 200 << 20).replace(struct.pack("<Q", 200 << 20), struct.pack("<Q", 999))
    content = content.replace(struct.pack("<I", 200 << 20), struct.pack("<I", 999))
    folder = tmp_path / "london"
    folder.mkdir()
    for name in ("neutral_front.zip", "smiling_front.zip"):
        (folder / name).write_bytes(content)
    tracemalloc.start()
    refuse(folder, "neutral_front.zip is not a whole zip archive", ("neutral_front.zip", "smiling_front.zip"))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_portrait_meets_the_limits_that_every_picture_meets(tmp_path):
    """A PNG of a few kilobytes that would take 1.2 GB."""
    (tmp_path / "a.png").write_bytes(png(20_000, 20_000, zeros(20_000 * 2_501), depth=1))
    assert (tmp_path / "a.png").stat().st_size < 100_000
    with pytest.raises(DidError, match=r"a\.png is too large: it has more than 64 million pixels"):
        PortraitBank(tmp_path).find(1)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DidError, match=r"a\.png cannot be read"):
        PortraitBank(tmp_path).find(1)


def test_archives_put_by_hand_need_no_network(archives, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "get", lambda *_, **__: pytest.fail("asked the network"))
    folder = tmp_path / "london"
    folder.mkdir()
    for name, body in archives.items():
        (folder / name).write_bytes(body)
    london.fetch(folder, progress=False)
    check_folder(folder, pictures, also=("neutral_front.zip", "smiling_front.zip"))


def test_of_one_archive_put_by_hand_the_other_is_fetched(server, archives, pictures, tmp_path):
    folder = tmp_path / "london"
    folder.mkdir()
    (folder / "neutral_front.zip").write_bytes(archives["neutral_front.zip"])
    london.fetch(folder, server.url, sums(archives), progress=False)
    assert server.asked == ["smiling_front.zip"]
    check_folder(folder, pictures, also=("neutral_front.zip",))


def test_a_broken_archive_put_by_hand(archives, tmp_path):
    folder = tmp_path / "london"
    folder.mkdir()
    (folder / "neutral_front.zip").write_bytes(archives["neutral_front.zip"])
    (folder / "smiling_front.zip").write_bytes(b"<html>")
    refuse(folder, "smiling_front.zip is not a whole zip archive", ("neutral_front.zip", "smiling_front.zip"))


def test_a_stop_half_way_is_taken_up(archives, pictures, tmp_path, monkeypatch):
    folder = tmp_path / "london"
    folder.mkdir()
    for name, body in archives.items():
        (folder / name).write_bytes(body)
    replace = os.replace

    def stop(source, target):
        if Path(target).name == "smiling_front" or Path(target).name.startswith("001_08"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        london.fetch(folder, progress=False)
    assert not (folder / "portraits.csv").exists()
    monkeypatch.setattr(os, "replace", replace)
    london.fetch(folder, progress=False)
    check_folder(folder, pictures, also=("neutral_front.zip", "smiling_front.zip"))


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "london").touch()
    with pytest.raises(DidError, match=r"london/below cannot be used \(.*\); name another folder"):
        london.fetch(tmp_path / "london" / "below", progress=False)


ARTICLE = "https://figshare.com/articles/dataset/Face_Research_Lab_London_Set/5047666/5"


@pytest.fixture
def figshare(server, archives, monkeypatch) -> dict[str, tuple[str, object]]:
    """What doi.org and figshare's interface answer; the files themselves come from the local server."""
    files = [
        {"name": name, "download_url": server.url + name, "computed_md5": hashlib.md5(body).hexdigest()}
        for name, body in {**archives, "london_faces_info.csv": b"age"}.items()
    ]
    answers: dict[str, tuple[str, object]] = {
        "https://doi.org/10.6084/m9.figshare.5047666.v5": (ARTICLE, "a page"),
        "https://api.figshare.com/v2/articles?doi=10.6084/m9.figshare.5047666.v5": ("", [{"id": 5047666}]),
        "https://api.figshare.com/v2/articles/5047666/versions/5": ("", {"files": files}),
    }
    get = requests.get

    def answer(url, *arguments, **options):
        if url.startswith(server.url):
            return get(url, *arguments, **options)
        response = requests.Response()
        if url.rstrip("/") not in answers:
            raise requests.ConnectionError(f"no route to {url}")
        response.url, content = answers[url.rstrip("/")]
        response.status_code = 200 if content is not None else 403
        response._content = json.dumps(content).encode()
        return response

    monkeypatch.setattr(requests, "get", answer)
    return answers


def test_the_doi_leads_to_the_archives_and_their_checksums(figshare, server, archives, pictures, tmp_path):
    london.fetch(tmp_path / "london", progress=False)
    check_folder(tmp_path / "london", pictures)
    assert sorted(server.asked) == ["neutral_front.zip", "smiling_front.zip"]


def test_a_download_that_is_not_what_figshare_says(figshare, server, archives, tmp_path):
    server.content["neutral_front.zip"] = archives["smiling_front.zip"]
    refuse(tmp_path / "london", "a checksum is not the published one")


def test_no_network_at_all(figshare, tmp_path):
    figshare.clear()
    refuse(tmp_path / "london", "no connection to the server")


def test_figshare_turns_the_caller_away(figshare, tmp_path):
    figshare["https://doi.org/10.6084/m9.figshare.5047666.v5"] = (ARTICLE, None)
    refuse(tmp_path / "london", "the server answers 403")


@pytest.mark.parametrize("answer", [[], [{}], {"message": "moved"}])
def test_figshare_answers_something_else(figshare, tmp_path, answer):
    figshare["https://api.figshare.com/v2/articles?doi=10.6084/m9.figshare.5047666.v5"] = ("", answer)
    with pytest.raises(DidError, match=r"cannot be had \((IndexError|KeyError): .*\); download") as caught:
        london.fetch(tmp_path / "london", progress=False)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
