"""Sharing a detector, against a server on this machine that answers as the hub does."""

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import timm
import torch
import yaml
from click.testing import CliRunner

from did.cli import main
from did.errors import DidError
from did.predict import Detector, exporting, hub
from did.predict.card import CARD, WEIGHTS

REPO = "somebody/detector"


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's interface that an upload of small files and a download ask for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, content=b"{}", status=200, **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def repo(self, pattern):
        found = re.match(pattern, urllib.parse.urlparse(self.path).path)
        return found and (self.server.repos.get(found[1]), found)

    def sha(self, files):
        return hashlib.sha1(repr(sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items()))
                            .encode()).hexdigest()  # fmt: skip

    def missing(self):
        self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append(self.path)
        if found := self.repo(r"/api/models/([\w-]+/[\w-]+)/tree/[^/]+"):
            files, _ = found
            if files is None:
                return self.missing()
            return self.answer([{"type": "file", "path": name, "size": len(data), "oid": self.blob(data)}
                                for name, data in files.items()], Content_Type="application/json")  # fmt: skip
        if found := self.repo(r"/api/models/([\w-]+/[\w-]+)"):
            files, match = found
            if files is None:
                return self.missing()
            return self.answer({"id": match[1], "sha": self.sha(files), "private": False, "tags": [], "downloads": 0,
                                "siblings": [{"rfilename": name} for name in files]})  # fmt: skip
        found = self.repo(r"/([\w-]+/[\w-]+)/resolve/[^/]+/(.+)")
        files, match = found
        if files is None or match[2] not in files:
            return self.answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
        data = files[match[2]]
        return self.answer(data, ETag=f'"{self.blob(data)}"', X_Repo_Commit=self.sha(files))

    def blob(self, data):
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer of-somebody":
            return self.answer({"error": "Invalid credentials"}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            status = 409 if name in self.server.repos else 200
            self.server.repos.setdefault(name, {})
            return self.answer({"url": f"{self.server.address}/{name}", "id": name}, status)
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        files, match = self.repo(r"/api/models/([\w-]+/[\w-]+)/(?:preupload|commit)/main")
        if "/preupload/" in self.path:
            return self.answer({"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                                          for file in json.loads(body)["files"]]})  # fmt: skip
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        commit = self.sha(files)
        return self.answer({"commitUrl": f"{self.server.address}/{match[1]}/commit/{commit}", "commitOid": commit})


@pytest.fixture
def server(monkeypatch, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        running.repos, running.asked, running.address = {}, [], f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.address)
        url = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "of-somebody")
        huggingface_hub.close_session()
        yield running
        running.shutdown()
    huggingface_hub.close_session()


@pytest.fixture
def detector(tiny_run):
    return Detector.load(tiny_run.folder)


def test_what_is_pushed_is_pulled_with_its_scores(server, detector, tmp_path):
    assert hub.push(detector, REPO, "mit") == f"{server.address}/{REPO}"
    pulled = hub.pull(REPO, tmp_path / "here")
    again = Detector.load(tmp_path / "here")
    assert {file.name for file in (tmp_path / "here").iterdir()} == {CARD, WEIGHTS}
    crops = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for one in (pulled, again):
            assert torch.equal(one.module(crops), detector.module(crops))
    assert again.about["metrics"] == detector.about["metrics"]


def test_timm_reads_the_backbone(server, detector):
    hub.push(detector, REPO, "mit")
    body = timm.create_model(f"hf-hub:{REPO}", pretrained=True).eval()
    assert body.pretrained_cfg["input_size"] == (1, detector.settings.image_size, detector.settings.image_size)
    mean, std = (torch.tensor(body.pretrained_cfg[key]).view(1, 1, 1, 1) for key in ("mean", "std"))
    crops = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        ours = detector.module.backbone(crops)
        torch.testing.assert_close(body.forward_features((crops - mean) / std), ours)
    assert ours.std() > 0


def test_the_page_tells_what_the_detector_is_and_is_not_for(detector):
    text = hub.page(detector, REPO, "Terms of *FaceForensics*")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "other"
    assert yaml.safe_load(head)["license_name"] == "Terms of *FaceForensics*"
    assert yaml.safe_load(hub.page(detector, REPO, "MIT").split("---\n")[1])["license"] == "mit"
    metrics = detector.about["metrics"]
    for fact in ("STAND-IN", "bars on noise", detector.about["run"], "Do not accuse or clear anyone",
                 f"{metrics['auc']:.3f}", f"did pull {REPO}", "hf-hub:"):  # fmt: skip
        assert fact in body
    assert "*FaceForensics*" not in body, "not as markup"


def test_a_second_push_takes_the_place_of_the_first(server, detector):
    hub.push(detector, REPO, "mit")
    server.repos[REPO] |= {"detector.onnx": b"of an earlier push", "notes.txt": b"somebody's own"}
    hub.push(detector, REPO, "cc-by-4.0")
    assert set(server.repos[REPO]) == {CARD, WEIGHTS, "README.md", *hub.TIMM, "notes.txt"}
    assert b"cc-by-4.0" in server.repos[REPO]["README.md"]


def test_somebody_elses_files_are_left_alone(server, detector):
    server.repos[REPO] = {"model.safetensors": b"a language model"}
    with pytest.raises(DidError, match="it holds files, but no detector"):
        hub.push(detector, REPO, "mit")
    assert server.repos[REPO] == {"model.safetensors": b"a language model"}


def test_what_does_not_arrive_whole_leaves_what_was_there(server, detector, tmp_path):
    folder = exporting.export(detector, tmp_path / "here")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    hub.push(detector, REPO, "mit")
    server.repos[REPO][WEIGHTS] = server.repos[REPO][WEIGHTS][:-8] + b"damaged!"
    for repo, reason in ((REPO, "not those that detector.json names"), ("nobody/nothing", "is not pulled")):
        with pytest.raises(DidError, match=reason):
            hub.pull(repo, folder)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    server.repos["some/model"] = {"README.md": b"hello"}
    with pytest.raises(DidError, match="it holds no detector"):
        hub.pull("some/model", tmp_path / "new")


def test_a_version_can_be_asked_for(server, detector, tmp_path):
    hub.push(detector, REPO, "mit")
    hub.pull(REPO, tmp_path / "here", revision="v1")
    assert any(path.endswith("/revision/v1") for path in server.asked)


@pytest.mark.parametrize("token", ["", "of-somebody-else"])
def test_without_a_login_a_sentence_says_what_to_do(server, detector, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(DidError, match=r"is not pushed: .*hf auth login"):
        hub.push(detector, REPO, "mit")
    assert server.repos == {}


def test_a_hub_that_is_not_there_is_one_sentence(detector, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    for act in (lambda: hub.push(detector, REPO, "mit"), lambda: hub.pull(REPO, tmp_path / "x")):
        with pytest.raises(DidError, match="check the name, the network"):
            act()
    assert not (tmp_path / "x" / CARD).exists()


def test_terms_have_to_be_named(detector, tiny_run, tmp_path):
    with pytest.raises(DidError, match="name its licence"):
        hub.push(detector, REPO, " ")
    result = CliRunner().invoke(main, ["push", str(tiny_run.folder), REPO])
    assert result.exit_code == 2 and "--licence" in result.output


def test_the_commands_push_and_pull(server, tiny_run, tmp_path):
    result = CliRunner().invoke(main, ["push", str(tiny_run.folder), REPO, "--licence", "mit"])
    assert result.exit_code == 0, result.output
    assert f"Written: {server.address}/{REPO}" in result.output
    result = CliRunner().invoke(main, ["pull", REPO, str(tmp_path / "mine")])
    assert result.exit_code == 0 and "STAND-IN" in result.output
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    result = CliRunner().invoke(main, ["pull", REPO, str(tmp_path / "full")])
    assert result.exit_code == 1 and "give a new folder" in result.output
