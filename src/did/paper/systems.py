"""The systems that DID is compared with, as rows: each with its task, published training and length at small size."""

from collections.abc import Mapping
from typing import Any

from did.paper.definition import Row

#: What runs here of the systems that the paper names: task, and the place of its backbone in the preset.
TASKS: dict[str, tuple[str, str]] = {
    "Xception": ("bce", "xception"),
    "Multi-task": ("multi_task", "first"),
    "Two Branch": ("two_branch", "first"),
    "MDD": ("mdd", "first"),
    "RL": ("rl", "first"),
    "F3-Net": ("f3net", "xception"),
    "CFFs": ("cffs", "first"),
    "NoiseDF": ("noisedf", "first"),
    "FDML": ("fdml", "first"),
    "DID": ("did", "first"),
}
#: Sizes below preset `paper`: at full size a step of NoiseDF takes 25 times as long as one of BCE.
_SMALL: dict[str, dict[str, Any]] = {"NoiseDF": {"blocks": 2, "width": 32}, "FDML": {"narrow": 256}}
#: Iterations over the preset's for what starts from random weights, trains few of them, or sees no forgery: after the
#: preset's own, the validation AUC of these three is at chance level (.45 to .57 at laptop), that of most others at .9
#: and more. Multi-task's stays there even so. So are NoiseDF's, which would take hours a run, and DIRE-small's.
_LONGER = {"Multi-task": 8.0, "GenD recipe": 8.0, "SBI": 4.0}
#: What is published of each rival's backbone, input and training, for preset `paper`; the rest is DID's. RL's backbone
#: is DID's own. Nothing is published of NoiseDF's training; the GenD recipe's network, a vision transformer, cannot be
#: a backbone here.
_OWN: dict[str, dict[str, Any]] = {
    "Xception": {"image_size": 299, "lr": 2e-4, "head_rate": 1.0, "batch_size": 32},
    "Multi-task": {"image_size": 256, "batch_size": 64},
    "Two Branch": {"backbone": "densenet121", "lr": 1e-3, "head_rate": 1.0, "weight_decay": 1e-6},
    "MDD": {"backbone": "tf_efficientnet_b4", "image_size": 380, "lr": 1e-3, "head_rate": 1.0, "weight_decay": 1e-6,
            "batch_size": 48},
    "F3-Net": {"image_size": 299, "optimizer": "sgd", "schedule": "cosine", "lr": 2e-3, "head_rate": 1.0,
               "batch_size": 128},
    "CFFs": {"backbone": "tf_efficientnet_b0", "lr": 1e-4, "head_rate": 1.0, "weight_decay": 1e-5, "batch_size": 25},
    "FDML": {"backbone": "tf_efficientnet_b4", "image_size": 299, "schedule": "cosine", "lr": 2e-4, "head_rate": 1.0,
             "weight_decay": 4e-5, "batch_size": 8},
    "UCF": {"backbone": "legacy_xception", "image_size": 256, "lr": 2e-4, "head_rate": 1.0, "batch_size": 32},
    "SBI": {"backbone": "tf_efficientnet_b4", "image_size": 380, "optimizer": "sgd", "lr": 1e-3, "head_rate": 1.0,
            "batch_size": 32},
}  # fmt: skip
#: What has a network of its own, which starts from random weights, and no backbone.
_ALONE = {"Multi-task", "NoiseDF"}
#: Of the systems that DID is compared with besides the headline rows.
_FEWER = 3
#: Trained on real faces alone, and so on no forgery method.
SBI = Row("SBI", "sbi", longer=_LONGER["SBI"], seeds=_FEWER, own=_OWN["SBI"])
#: Not rows of the paper: DIRE's recipe with a diffusion model that is trained here, which is another detector than
#: DIRE; the rival that is nearest to DID; and what one should compare with today.
TODAY = (
    Row("DIRE-small", "dire", seeds=_FEWER, small={"side": 32, "width": 16, "passes": 8}),
    Row("UCF", "ucf", seeds=_FEWER, own=_OWN["UCF"]),
    SBI,
    Row("GenD recipe", "gend", longer=_LONGER["GenD recipe"], seeds=_FEWER),
    Row("BCE, light augmentation", "bce", {"augment": "light"}, seeds=_FEWER),
)
#: Of these, the ones that get all of an experiment's seeds.
HEADLINE = ("Xception", "F3-Net", "DID")


def system(name: str, numbers: Mapping[tuple[str, str], float]) -> Row:
    """Return the row of a system that the paper names, with its published numbers: (test, metric) -> number."""
    task, backbone = TASKS.get(name, (None, "first"))
    fewer = None if name in HEADLINE else _FEWER
    more: dict[str, Any] = {
        "small": _SMALL.get(name, {}), "longer": _LONGER.get(name, 1.0), "own": _OWN.get(name, {}),
        "network": "a network of its own" if name in _ALONE else "",
    }  # fmt: skip
    return Row(name, task, {}, backbone, numbers, seeds=fewer, **more)
