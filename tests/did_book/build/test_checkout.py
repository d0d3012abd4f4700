"""What `did book` says where there is no checkout, or one that cannot be written: one sentence, before any work."""

import os
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from did.cli import main
from did.errors import DidError
from did_book.build.book import build
from did_book.build.notebooks import refresh
from did_book.build.pdf import write_pdf


@pytest.fixture
def project(tmp_path):
    for folder in ("notebooks", "book", "results"):
        (tmp_path / "project" / folder).mkdir(parents=True)
    (tmp_path / "project/book/_toc.yml").write_text("root: book/intro\nparts: []\n", "utf-8")
    return tmp_path / "project"


@pytest.fixture
def locked(project):
    """The project on a file system that is mounted for reading alone: root may write past every permission."""
    steps = [["--bind", str(project), str(project)], ["-o", "remount,bind,ro", str(project)]]
    if os.geteuid() != 0 or any(
        subprocess.run(["mount", *step], capture_output=True, check=False).returncode for step in steps
    ):
        pytest.skip("needs the right to mount")
    yield project
    subprocess.run(["umount", "-l", str(project)], check=True)


@pytest.mark.parametrize("command", ["build", "build --committed", "pdf", "refresh", "refresh train", "front"])
def test_outside_a_checkout_each_says_that_it_wants_one(tmp_path, monkeypatch, command):
    monkeypatch.delenv("DID_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["book", *command.split()])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.stderr == (
        f"Error: the book is made in a checkout of the project, and {tmp_path} is not one (it has no book/_toc.yml): "
        "run the command inside a checkout, with DID_HOME unset or naming it\n"
    )
    assert not list(tmp_path.iterdir())


def test_the_help_says_what_works_where():
    text = CliRunner().invoke(main, ["--help"]).stdout
    lines = dict(line.strip().split(": ", 1) for line in text.splitlines() if line.strip().startswith("In a"))
    anywhere, checkout = lines["In any folder"], lines["In a checkout of the project only"]
    named = sorted([*anywhere.rstrip(".").split(", "), *checkout.rstrip(".").split(", ")])
    assert named == main.list_commands(click.Context(main))


CALLS = {
    "build": lambda root: build(root, {"preset": "smoke"}),
    "build --committed": lambda root: build(root, {"preset": "smoke"}, committed=True),
    "build --student": lambda root: build(root, {"preset": "smoke"}, committed=True, student=True),
    "refresh": lambda root: refresh(root),
    "pdf": lambda root: write_pdf(root, root / "_build/did.pdf"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_read_only_checkout_is_one_sentence(locked, name):
    with pytest.raises(DidError, match=r"^Nothing can be written to \S+ \(read-only file system\)") as caught:
        CALLS[name](locked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("build", "_build"),
        ("build", "book/executed"),
        ("build", "runs"),
        ("build", "data"),
        ("build --committed", "_build"),
        ("build --committed", "book/executed"),
        ("build --student", "_build"),
        ("pdf", "_build"),
    ],
)
def test_a_place_that_cannot_be_made_is_named_before_the_work(project, name, place):
    (project / place).write_text("a file where a folder has to be", "utf-8")
    before = sorted(file for file in project.rglob("*") if file.is_file())
    with pytest.raises(DidError, match=rf"^Nothing can be written to {project / place}\S* \(\w"):
        CALLS[name](project)
    assert sorted(file for file in project.rglob("*") if file.is_file()) == before


def test_an_old_book_is_kept_where_no_new_one_can_be_written(project):
    old = project / "_build/html/index.html"
    old.parent.mkdir(parents=True)
    old.write_text("the book", "utf-8")
    (project / "book/executed").write_text("", "utf-8")
    with pytest.raises(DidError, match="^Nothing can be written to"):
        build(project, {"preset": "smoke"}, committed=True)
    assert Path(old).read_text("utf-8") == "the book"
