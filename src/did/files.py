"""Files: where the project keeps its data and runs, and writing that is whole or not there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def home() -> Path:
    """The folder that holds `data/` and `runs/`: `DID_HOME` if set, else the project around the working folder, else
    the working folder. papermill runs in the caller's folder and nbval in the notebook's; both find the same one.
    """
    if named := os.environ.get("DID_HOME"):
        return Path(named).expanduser().resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "src" / "did" / "__init__.py").is_file():
            return folder
    return here


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with another name in the same folder, then rename: the file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
