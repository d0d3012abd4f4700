"""Give every row of a training's history to what shows it, as it comes."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from did.errors import DidError, nearest

#: What takes the rows of a history: each has `iteration`, and numbers by name.
Log = Callable[[Mapping[str, Any]], None]
TENSORBOARD = "tensorboard"


def check_log(log: Log | str | None) -> None:
    """Check that there is such a log, before any work.

    Raises:
        DidError: If the name is unknown, or its package is not installed.
    """
    if isinstance(log, str):
        if log != TENSORBOARD:
            raise DidError(f"unknown log '{log}': {nearest(log, [TENSORBOARD])}")
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise DidError("the log tensorboard needs its package: pip install 'crossdf[tensorboard]'") from error


@contextlib.contextmanager
def opened(log: Log | str | None, folder: Path) -> Iterator[Log | None]:
    """Open a log for a training.

    Args:
        log: a function; or `tensorboard`, whose event files lie in `tensorboard/` of the folder: `tensorboard --logdir
            runs` shows all runs. A resumed training shows its new rows in place of those that it took back.
            `check_log` has passed it.
        folder: of the run.
    """
    if not isinstance(log, str):
        yield log
        return
    from torch.utils.tensorboard import SummaryWriter

    writers: list[SummaryWriter] = []

    def write(row: Mapping[str, Any]) -> None:
        if not writers:  # at the first row, since rows from there on are taken back
            writers.append(SummaryWriter(folder / TENSORBOARD, purge_step=row["iteration"]))
        for name, value in row.items():
            if name != "iteration" and value is not None:
                writers[0].add_scalar(name, value, row["iteration"])
        writers[0].flush()

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()
