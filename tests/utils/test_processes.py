"""What did starts imports nothing from the folder it is started in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from did.data.reading import Reader
from did.utils import processes

#: What a process imports before anything of did's, on one Python or another, and packages that did itself needs.
NAMES = sorted({*sys.stdlib_module_names} - {*sys.builtin_module_names}) + ["numpy", "PIL", "av", "torch", "filelock"]


@pytest.fixture
def shadow(tmp_path) -> Path:
    """A folder with a picture, and files that bear the names of modules: whoever imports one leaves its name there."""
    folder = tmp_path / "shadow"
    folder.mkdir()
    Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(folder / "face.png")
    for name in NAMES:
        if name != "sitecustomize":
            (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name + ' '!r})")
    return folder


def imported(folder: Path) -> str:
    file = folder.parent / "imported"
    return file.read_text() if file.is_file() else ""


# As in a notebook, "" is on the path of the parent, which has all that it needs itself.
PARENT = """
import multiprocessing, random, sys, json
import numpy as np
from concurrent.futures import ProcessPoolExecutor
from torch.utils.data import DataLoader
from did.data import loading, reading, prepare
from did.standin import writing
from did.data.prepare import _executor

if __name__ == "__main__":
    sys.path.insert(0, "")
    multiprocessing.set_start_method("spawn")
    {do}
    assert sys.path[0] == ""
"""
WAYS = {
    "the decoder": "print(reading.Reader().image('face.png').shape[0])",
    "the preparation": "\n    ".join(
        ["with _executor([1] * 3, 1000, 2, None) as (pool, _):", "    print(*pool.map(max, [[40], [3]]))"]
    ),
    "the loader": "print(len(list(loading._loader([7] * 40, 1, batch_size=1, collate_fn=list))))",
}


@pytest.mark.parametrize("way", WAYS)
def test_children_import_nothing_from_the_working_folder(shadow, tmp_path, way):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(do=WAYS[way]))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [sys.executable, script], cwd=shadow, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0 and done.stdout.startswith("40"), done.stderr
    assert imported(shadow) == ""


def test_the_folder_itself_would_be_imported_from(shadow):
    """The fixture is a trap: Python as it is falls into it."""
    code = "import random; from did.data.reading import serve"
    subprocess.run([sys.executable, "-c", code], cwd=shadow, capture_output=True, check=False, timeout=60)
    assert "random" in imported(shadow)


@pytest.mark.parametrize("entry", ["", "."])
def test_a_python_path_that_names_the_working_folder_is_no_way_in(shadow, monkeypatch, entry):
    """An empty entry, as in PYTHONPATH=$PYTHONPATH:/x, means the working folder, too."""
    monkeypatch.chdir(shadow)
    monkeypatch.setenv("PYTHONPATH", f"{entry}{os.pathsep}{shadow.parent}")
    monkeypatch.setattr(sys, "path", [entry, str(shadow), *sys.path])
    with Reader() as reader:
        assert reader.image("face.png").shape == (40, 30, 3)
    assert imported(shadow) == ""


def test_a_child_finds_what_its_parent_finds(tmp_path, monkeypatch):
    """Through PYTHONPATH, a .pth file, or a line of the program: also did itself, out of the working folder."""
    (tmp_path / "extra.py").write_text("VALUE = 7")
    code = "import json, extra, did; print(json.dumps([extra.VALUE, did.__file__]))"
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    own = Path(processes.__file__).resolve().parents[2]
    for here in (tmp_path.parent, own):
        monkeypatch.chdir(here)
        done = subprocess.run(processes.command(code), capture_output=True, text=True, check=True, timeout=60)
        assert json.loads(done.stdout) == [7, str(own / "did" / "__init__.py")]


def test_a_script_keeps_its_own_folder(tmp_path, monkeypatch):
    """A worker reads the script anew, which may import what lies beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    assert str(tmp_path) in processes.import_path(here=True) and "" not in processes.import_path(here=True)
    assert str(tmp_path) not in processes.import_path()


def test_nothing_stays_changed():
    from multiprocessing import util

    path, flags = sys.path, util._args_from_interpreter_flags
    with processes.isolated():
        assert util._args_from_interpreter_flags()[0] == "-I"
    assert sys.path is path and util._args_from_interpreter_flags is flags
