"""The settings of a run: one frozen table of named fields whose defaults are the paper's.

Each field says where the paper states it, or that the paper leaves it open and which readings are offered. The book
prints its table of open choices from here. Presets change fields of this table and nothing else.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from did.errors import DidError, nearest
from did.presets import preset

#: Every forgery method of the data, in the setting `methods`.
ALL = "all"


def _stated(default: Any, where: str, says: str, trials: tuple[Any, ...] = ()) -> Any:
    return dataclasses.field(default=default, metadata={"where": where, "says": says, "trials": trials})


def _open(
    default: Any,
    says: str,
    options: tuple[str, ...] = (),
    where: str = "left open",
    trials: tuple[Any, ...] | None = None,
    added: bool = False,
) -> Any:
    """Declare a choice that the paper leaves open.

    `options`: every accepted value. `trials`: values to try; all options by default. `added`: the choice was added
    after there were runs, all of which took its default; it is part of a run's name only at other values.
    """
    more = {"options": options, "trials": options if trials is None else trials, "open": True, "unnamed": added}
    return dataclasses.field(default=default, metadata={"where": where, "says": says, **more})


def _machine(default: Any, says: str, options: tuple[str, ...] = ()) -> Any:
    """Declare a choice of how the machine computes, which the paper does not mention.

    It changes results by rounding only, unless its text says more. At its default it is not part of a run's name.
    """
    more = {"options": options, "machine": True, "unnamed": True}
    return dataclasses.field(default=default, metadata={"where": "machine", "says": says, **more})


def as_type(what: str, kind: type, value: Any) -> Any:
    """Convert a value to a field's type; texts from a command line are parsed.

    Args:
        what: the field, for the error.
        kind: bool, int, float, str, or tuple for numbers with commas between them.
        value: a text, or what JSON gives back.

    Raises:
        DidError: If it is not of this type.
    """
    try:
        if isinstance(value, str) and kind is not str:
            if kind is tuple:
                return tuple(float(part) for part in value.split(","))
            return {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        if (kind, type(value)) in ((float, int), (tuple, list)):
            return kind(value)
    except (ValueError, KeyError) as error:
        raise DidError(f"{what} takes {kind.__name__}, got '{value}'") from error
    if type(value) is not kind:
        raise DidError(f"{what} takes {kind.__name__}, got {value!r}")
    return value


def assigned(assignments: Iterable[str]) -> dict[str, str]:
    """Split texts such as `alpha=0.3` into names and values.

    Raises:
        DidError: If a text has no `=`.
    """
    values = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise DidError(f"'{text}' sets nothing: give name=value, as in alpha=0.3")
        values[name] = value
    return values


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides a run, with the paper's values as defaults.

    Raises:
        DidError: If a value is impossible; the sentence names the field and what it takes.
    """

    # data
    source: str = _stated("ffpp", "§4.1.1", "training data set: ffpp is FaceForensics++ at crf 23")
    frames: int = _open(32, "evenly spaced frames per video")
    image_size: int = _stated(224, "§4.1.3", "side of the aligned crop in pixels")
    crop_margin: float = _open(
        0.3, "rim of the crop: its side is 1 + margin times the height of MTCNN's box", trials=(0.1, 0.3, 0.6)
    )
    sampler: str = _open(
        "balanced",
        "batches: equal shares of each domain, uniform over images, or each real face with its own forgeries",
        ("balanced", "uniform", "pairs"),
        trials=("balanced", "uniform"),
    )
    methods: str = _open(
        ALL,
        "forgery methods that training and validation see: all, or names with commas between them; tests are on all",
        trials=(),
        added=True,
    )
    augment: str = _open(
        "none",
        "training images: as they are, or with the field's light augmentation (`did.data.augment`)",
        ("none", "light"),
        trials=(),
        added=True,
    )

    # model
    backbone: str = _stated("tf_efficientnetv2_l", "§4.1.3", "G: a timm name")
    pretrained: str = _open("hub", "weights of G: hub, package, none or a file; which ImageNet is left open")
    wiring: str = _open("parallel", "wiring of A's two branches", ("parallel", "sequential"), "Fig. 3, left open")
    merge: str = _open("sum", "how the two branches' logits join", ("sum", "product"), "Fig. 3, left open")
    adaptive_pool: str = _open("sum", "S-ADP pools by sum as printed, or by mean", ("sum", "mean"), "§3.2")
    reduction: int = _open(16, "channels of I_X over hidden channels of A")
    pooling: str = _open("average", "pooling before C and C̄", ("average", "flatten"))
    hidden: int = _open(128, "hidden units of C and C̄")
    estimator_channels: int = _open(64, "channels inside T")
    estimator_input: str = _open("maps", "T sees the feature maps, or their means over places", ("maps", "pooled"))
    domain_attention: bool = _stated(True, "Table 4", "False is the ablation without A_dom")
    domain_branch: str = _open(
        "kept",
        "without A_dom: C̄ and L_dom are kept, on all of I_os, or dropped with it; Table 4 runs both",
        ("kept", "dropped"),
        "Table 4, left open",
        trials=(),
        added=True,
    )
    decorrelation: bool = _stated(True, "Table 4", "False is the ablation without T")

    # losses
    alpha: float = _stated(0.5, "Eq. 9, §4.1.3", "α: weight of BCE against the AUC loss, in [0, 1]")
    auc_margin: float = _stated(0.15, "Eq. 8, §4.1.3", "γ, in (0, 1]")
    auc_power: float = _stated(2.0, "Eq. 8, §4.1.3", "p, above 1")
    lambda_cls: float = _stated(1.0, "Eq. 11, §4.1.3", "λ_cls")
    lambda_dom: float = _stated(1.0, "Eq. 11, §4.1.3", "λ_dom")
    lambda_dec: float = _stated(0.01, "Eq. 11, §4.1.3", "λ_dec")
    adversary: str = _open(
        "grl", "β scales the gradient that reaches G and A_df (text), or T's own step (equation)", ("grl", "eq12"),
        "§3.3 against Eq. 12",
    )  # fmt: skip
    estimator_weight: str = _open(
        "lambda_dec",
        "weight of T's own step: λ_dec as Eq. 11 and 12 give it, or 1",
        ("lambda_dec", "one"),
        "Eq. 11, 12",
    )

    # optimisation
    lr: float = _stated(1e-5, "§4.1.3", "η_θ, Adam's rate for G")
    # Stated, but what it does to M_df at small sizes makes it a choice to try.
    attention_rate: float = _stated(10.0, "§4.1.3", "rate of A_df and A_dom over G's", trials=(1.0, 3.0, 10.0))
    head_rate: float = _stated(10.0, "§4.1.3", "rate of C and C̄ over G's")
    estimator_rate: float = _stated(10.0, "§4.1.3", "rate of T over G's")
    weight_decay: float = _stated(5e-4, "§4.1.3", "Adam's coupled weight decay")
    batch_size: int = _stated(15, "§4.1.3", "images a batch")
    iterations: int = _open(60_000, "iterations in all; the paper gives 6000 an epoch and no number of epochs")
    validate_every: int = _open(6_000, "iterations between validations; an epoch of §4.1.3")
    selection: str = _open(
        "validation", "checkpoint: best frame AUC on the validation split, or the last", ("validation", "last")
    )
    optimizer: str = _open(
        "adam",
        "Adam with coupled weight decay as stated, AdamW, or SGD with momentum .9",
        ("adam", "adamw", "sgd"),
        "§4.1.3 states Adam",
        trials=(),
        added=True,
    )
    schedule: str = _open(
        "none",
        "factor of all rates over training: 1 throughout, or half a cosine from 1 to 0",
        ("none", "cosine"),
        trials=(),
        added=True,
    )
    patience: int = _open(
        0, "validations without a better one after which training ends; 0: it never ends early", trials=(), added=True
    )
    averaging: float = _open(
        0.0,
        "weights that are validated and kept: the last ones, or (above 0) their moving average with this decay",
        trials=(),
        added=True,
    )
    seed: int = _open(0, "seed of weights, batches and marginals")

    # machine
    precision: str = _machine("32", "G in training and in tests: float32, or bfloat16 under autocast", ("32", "bf16"))
    accumulate: int = _machine(
        1,
        "parts of a batch that G sees one by one, for memory; batch normalisation is then over a part, losses are not",
    )
    recompute: bool = _machine(False, "G's activations are computed again in the backward pass, for memory")
    compile: bool = _machine(False, "torch.compile for G in training, on one device")
    deterministic: bool = _machine(
        True,
        "cuDNN takes the same algorithms each time; False lets it choose the fastest, and two trainings then differ",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not kind:
                raise DidError(f"setting '{field.name}' takes {kind.__name__}, got {value!r}")
            if (options := field.metadata.get("options")) and value not in options:
                raise DidError(f"setting '{field.name}' cannot be '{value}': {nearest(value, options)}")
        positive = "frames image_size reduction hidden estimator_channels iterations validate_every lr".split()
        rates = "attention_rate head_rate estimator_rate lambda_cls lambda_dom lambda_dec".split()
        bounds = {
            "alpha": (0 <= self.alpha <= 1, "lie in [0, 1]"),
            "auc_margin": (0 < self.auc_margin <= 1, "lie in (0, 1]"),
            "auc_power": (self.auc_power > 1, "be above 1"),
            "batch_size": (self.batch_size >= 2, "be at least 2"),
            "averaging": (0 <= self.averaging < 1, "lie in [0, 1)"),
            "methods": (all(part.strip() for part in self.methods.split(",")), "be all, or names with commas between"),
            "domain_branch": (
                self.domain_branch == "kept" or not self.domain_attention,
                "be 'kept' with domain_attention = True",
            ),
            # torch's generators take 64 bits.
            "seed": (0 <= self.seed < 2**64, f"lie between 0 and {2**64 - 1}"),
            "accumulate": (1 <= self.accumulate <= self.batch_size, "lie between 1 and the batch size"),
            **{name: (getattr(self, name) > 0, "be above 0") for name in positive},
            **{
                name: (getattr(self, name) >= 0, "be at least 0")
                for name in [*rates, "crop_margin", "weight_decay", "patience"]
            },
        }
        for name, (holds, rule) in bounds.items():
            if not holds:  # also catches nan
                raise DidError(f"setting '{name}' must {rule}, got {getattr(self, name)!r}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is float and not math.isfinite(value):
                raise DidError(f"setting '{field.name}' must be finite, got {value!r}")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "Settings":
        """Return the settings of a preset, with changes on top.

        Args:
            name: `smoke` (seconds), `laptop` (minutes on 2 cores) or `paper` (§4.1.3 as printed).
            changes: any field by name.

        Raises:
            DidError: If a preset, field or value is unknown; the sentence names the nearest valid one.
        """
        return cls.of({**preset(name).settings, **changes})

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Settings":
        """Return settings from a mapping, such as a run's record.

        Raises:
            DidError: If a field is unknown.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                raise DidError(f"unknown setting '{name}': {nearest(name, fields)}")
        return cls(**values)

    @classmethod
    def parse(cls, assignments: Iterable[str]) -> dict[str, Any]:
        """Parse texts such as `alpha=0.3` into values by name, as the field's type.

        Raises:
            DidError: If a text is not a valid assignment.
        """
        kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        values = {}
        for name, value in assigned(assignments).items():
            if name not in kinds:
                raise DidError(f"unknown setting '{name}': {nearest(name, kinds)}")
            values[name] = as_type(f"setting '{name}'", kinds[name], value)
        return values

    def as_dict(self) -> dict[str, Any]:
        """Return every field and its value."""
        return dataclasses.asdict(self)

    def digest(self, *more: str) -> str:
        """Return 12 hexadecimal digits that identify these settings and `more` (a data fingerprint, a version).

        Settings of the machine, and choices that were added later, count only if they are not at their defaults: a new
        one renames no run.
        """
        named = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not field.metadata.get("unnamed") or getattr(self, field.name) != field.default
        }
        return hashlib.sha256(json.dumps([named, *more], sort_keys=True).encode()).hexdigest()[:12]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(settings: Settings) -> list[dict[str, Any]]:
    """Tabulate the settings: name, this run's value, the paper's, whether they differ, where it is stated, meaning."""
    return [
        {
            "setting": field.name,
            "value": _shown(getattr(settings, field.name)),
            "paper": _shown(field.default),
            "differs": getattr(settings, field.name) != field.default,
            "where": field.metadata["where"],
            "meaning": field.metadata["says"],
        }
        for field in dataclasses.fields(settings)
    ]
