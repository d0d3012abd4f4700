"""did: the executable companion to CrossDF (Yang et al., 2025)."""

import importlib
from typing import TYPE_CHECKING, Any

from did.errors import DidError

if TYPE_CHECKING:
    from did.sources import register_layout
    from did.task import Step, Task, Wants, register_task

__version__ = "0.1.0"
__all__ = ["DidError", "Step", "Task", "Wants", "__version__", "register_layout", "register_task"]

# Imported when they are asked for: torch takes seconds.
_LATER = {"register_layout": "did.sources", **dict.fromkeys(("Step", "Task", "Wants", "register_task"), "did.task")}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'did' has no attribute '{name}'")
    return getattr(importlib.import_module(_LATER[name]), name)
