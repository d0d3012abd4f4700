import pytest

from did.files import home, write_atomically


def test_home_is_the_project_from_any_folder_inside_it(tmp_path, monkeypatch):
    monkeypatch.delenv("DID_HOME", raising=False)
    (tmp_path / "src" / "did").mkdir(parents=True)
    (tmp_path / "src" / "did" / "__init__.py").touch()
    (tmp_path / "notebooks").mkdir()
    for folder in (tmp_path, tmp_path / "notebooks", tmp_path / "src" / "did"):
        monkeypatch.chdir(folder)
        assert home() == tmp_path


def test_home_elsewhere_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DID_HOME", raising=False)
    assert home() == tmp_path
    monkeypatch.setenv("DID_HOME", str(tmp_path / "named"))
    assert home() == tmp_path / "named"


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    file = tmp_path / "deep" / "file.txt"
    write_atomically(file, lambda path: path.write_text("first"))

    def half(path):
        path.write_text("hal")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, half)
    assert file.read_text() == "first"
    assert [p.name for p in file.parent.iterdir()] == ["file.txt"]
