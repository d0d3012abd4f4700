"""Plugins: found by file or module, imported once, and fixed in one sentence if they are broken."""

import sys

import pytest

from did.errors import DidError
from did.utils.plugins import load_plugin


@pytest.fixture(autouse=True)
def forget():
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("did_plugin_"):
            del sys.modules[name]


def test_a_file_is_imported_once(tmp_path):
    (tmp_path / "mine.py").write_text("import pathlib\nwith open(__file__ + '.log', 'a') as log:\n    log.write('x')\n")
    first = load_plugin(tmp_path / "mine.py")
    assert load_plugin(str(tmp_path / "mine.py")) is first
    assert (tmp_path / "mine.py.log").read_text() == "x"


def test_files_of_one_name_in_two_folders_are_two_plugins(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"NAME = {folder!r}\n")
    assert [load_plugin(tmp_path / folder / "mine.py").NAME for folder in ("a", "b")] == ["a", "b"]


def test_a_module_is_found_by_name():
    assert load_plugin("json").loads("1") == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [("1 +", "SyntaxError"), ("raise ValueError('no luck')", "ValueError: no luck"), ("import nowhere", "nowhere")],
)
def test_a_broken_one_is_one_sentence_and_can_be_mended(tmp_path, text, reason):
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(DidError, match=f"^the plugin .*broken.py cannot be imported .*{reason}"):
        load_plugin(file)
    file.write_text("MENDED = True\n")
    sys.path_importer_cache.clear()
    assert load_plugin(file).MENDED


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DidError, match="cannot be imported"):
        load_plugin(tmp_path / "none.py")
    with pytest.raises(DidError, match="the plugin no_such_module cannot be imported"):
        load_plugin("no_such_module")
