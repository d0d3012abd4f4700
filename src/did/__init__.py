"""did: the executable companion to CrossDF (Yang et al., 2025).

The public face. Each name is imported when it is first used, because torch takes seconds to load::

    import did

    loss = did.losses.auc_loss(logits, labels)     # Eq. 8 and 9
    model = did.DID(did.Backbone("tf_efficientnet_lite0", "package"), num_domains=5)
    run = did.run(did.open_source("ffpp"), did.Settings.preset("laptop"))
    answer = did.Detector.load(run.folder).predict_file("portrait.png")
"""

import importlib
from typing import TYPE_CHECKING, Any

from did.errors import DidError

if TYPE_CHECKING:
    from did.method import layers, losses
    from did.method.backbones import Backbone
    from did.method.model import DID
    from did.predict.detector import Detector
    from did.settings import Settings
    from did.sources import open_source, register_layout
    from did.task import Step, Task, Wants, register_task
    from did.training.runs import evaluate, run

__version__ = "0.2.0"
__all__ = [
    "DID",
    "Backbone",
    "Detector",
    "DidError",
    "Settings",
    "Step",
    "Task",
    "Wants",
    "__version__",
    "evaluate",
    "layers",
    "losses",
    "open_source",
    "register_layout",
    "register_task",
    "run",
]

_MODULES = {"layers": "did.method.layers", "losses": "did.method.losses"}
_NAMES = {
    "Backbone": "did.method.backbones",
    "DID": "did.method.model",
    "Detector": "did.predict.detector",
    "Settings": "did.settings",
    **dict.fromkeys(("open_source", "register_layout"), "did.sources"),
    **dict.fromkeys(("Step", "Task", "Wants", "register_task"), "did.task"),
    **dict.fromkeys(("evaluate", "run"), "did.training.runs"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'did' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
