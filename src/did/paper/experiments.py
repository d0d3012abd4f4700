"""The paper's tables and figures as data: which runs each takes, and on what they are tested.

The call ::

    outcome = conduct("table1_intra_cross", preset="laptop")

trains what is not trained yet, tests it, and writes the record: our numbers beside the published ones. What is special
about an experiment is in its definition here, and nothing else asks for its name.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from did.data.ffpp import METHODS
from did.paper import better_data, beyond, heldout, measures, published, tables, verdicts
from did.paper.definition import Experiment, Row
from did.paper.systems import HEADLINE, TASKS, TODAY, system
from did.settings import Settings

# Readings of the game between T and the features, as changes to a preset of small size: §3.3 and Eq. 12 contradict
# each other, and neither says what λ_dec scales. "literal" undoes what those presets take in place of the paper's.
READINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "literal": {"estimator_weight": "lambda_dec", "adaptive_pool": "sum", "attention_rate": 10.0},
    "T's weight λ_dec": {"estimator_weight": "lambda_dec"},
    "A's rate ×10, S-ADP sum": {"adaptive_pool": "sum", "attention_rate": 10.0},
    "Eq. 12 as printed": {"adversary": "eq12"},
    "λ_dec = 1": {"lambda_dec": 1.0},
    "λ_dec = 1, T's rate = G's": {"lambda_dec": 1.0, "estimator_rate": 1.0},
    "λ_dec = 1, T pooled, T's rate = G's": {"lambda_dec": 1.0, "estimator_rate": 1.0, "estimator_input": "pooled"},
    "without T": {"decorrelation": False},
}


def _printed(tests: Sequence[str], metric: str, numbers: Iterable[float | None]) -> dict[tuple[str, str], float]:
    return {(test, metric): number for test, number in zip(tests, numbers, strict=True) if number is not None}


def _pair(numbers: tuple[float, float]) -> dict[tuple[str, str], float]:
    return {("CDF2", "auc"): numbers[0], ("CDF2", "eer"): numbers[1]}


_BCE, _DID = Row("BCE", "bce"), Row("DID", "did")
#: Not a row of the paper: it names the methods and does nothing else.
_CONTROL = Row("(k+1)-way CE", "multiclass")
_CDF2 = {"CDF2": ("cdf2", "all")}
_TABLE_1 = {"FF++": ("ffpp", "all"), **_CDF2}
_TABLE_2 = {name: ("diff", name) for name in ("T2I", "I2I", "FS", "FE")}


_FULL = _pair(published.TABLE_4["DID"])


def _rivals(rows: Iterable[Row]) -> tuple[tuple[str, str], ...]:
    """Pair DID with each other row that runs here."""
    return tuple(("DID", row.name) for row in rows if row.task and row.name != "DID")


def _choices() -> tuple[Row, ...]:
    """List each option of the settings' table one at a time, and the paper's three settled ones together."""
    rows = [Row("default", "did")]
    for field in dataclasses.fields(Settings):
        for value in field.metadata.get("trials", ()):
            rows.append(Row(f"{field.name} = {value}", "did", {field.name: value}))
    return (*rows, Row("literal: the paper's values of all three", "did", READINGS["literal"]))


#: The systems whose training length is varied, and by how much; with and without augmentation.
_LONG = (_BCE, _DID, _CONTROL, Row("F3-Net", "f3net", {}, "xception"))
LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
AUGMENTED = {"": "none", ", light": "light"}


def _long(name: str, length: float, how: str) -> str:
    return f"{name} ×{length:g}{how}"


def _lengths() -> tuple[Row, ...]:
    """List each system at each length; by augmentation, then by length."""
    return tuple(
        dataclasses.replace(
            row,
            name=_long(row.name, length, how),
            changes={} if augment == "none" else {"augment": augment},
            length=length,
        )
        for how, augment in AUGMENTED.items()
        for length in LENGTHS
        for row in _LONG
    )


#: What preset smoke runs of the open choices: data, model and game; another margin would take other crops.
_CHOICES_AT_SMOKE = ("default", "sampler = uniform", "merge = product", "pooling = flatten", "adversary = eq12")
#: What preset smoke runs of Tables 1 and 2. Each rival has a test of its own.
_FIRST = (_BCE.name, _CONTROL.name, *HEADLINE)
_ROWS_1 = (
    _BCE,
    _CONTROL,
    *(system(name, _printed(list(_TABLE_1), "auc", both)) for name, both in published.TABLE_1.items()),
    *TODAY,
)
#: What the paper has in Table 1 alone is tested on DiFF as well, beside no published number.
_ROWS_2 = (_BCE, _CONTROL, *(system(name, _printed(list(of), "auc", of.values()))
                             for name in published.TABLE_1 if name in {**published.TABLE_2, **TASKS}
                             for of in (published.TABLE_2.get(name, {}),)), *TODAY)  # fmt: skip

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        Experiment(
            "start", "What goes wrong: trained on one method, tested on the next", "ffpp",
            {method: ("ffpp", method) for method in METHODS},
            (*(Row(method, "bce", {"methods": method}) for method in METHODS), Row(tables.EVERY, "bce")),
            seeds=3, measure=measures.drops, sentences=(verdicts.methods,),
        ),
        Experiment(
            "table1_intra_cross", "Table 1: trained on FF++, tested on FF++ and on CDF2", "ffpp", _TABLE_1, _ROWS_1,
            compared=_rivals(_ROWS_1), seeds=5, claim=published.CLAIMS["Table 1"], measure=measures.reliability,
            sentences=(verdicts.compared, verdicts.unlearnt, verdicts.powered, verdicts.drop, verdicts.backbones),
            smoke=_FIRST,
        ),
        Experiment(
            "table2_diffusion", "Table 2: trained on FF++, tested on DiFF", "ffpp", _TABLE_2, _ROWS_2,
            compared=_rivals(_ROWS_2), seeds=5, claim=published.CLAIMS["Table 2"],
            sentences=(verdicts.compared, verdicts.powered, verdicts.backbones), smoke=_FIRST,
        ),
        Experiment(
            "table3_backbones", "Table 3: trained on DFFD, tested on CDF2, two backbones", "dffd", _CDF2,
            tuple(Row(f"{backbone} + {head}", head.lower(), {}, "second" if backbone == "ResNet50" else "first",
                      _pair(numbers)) for (backbone, head), numbers in published.TABLE_3.items()),
            metrics=("auc", "eer"), seeds=3, claim=published.CLAIMS["Table 3"],
            sentences=(verdicts.compared, verdicts.powered, verdicts.backbones),
            compared=(("ResNet50 + DID", "ResNet50 + BCE"), ("EfficientNet-v2-L + DID", "EfficientNet-v2-L + BCE")),
        ),
        Experiment(
            "fig4_alpha", "Fig. 4: the weight α of BCE against the AUC loss", "ffpp", _CDF2,
            tuple(Row(f"α = {alpha:g}", "did", {"alpha": alpha}, "first",
                      {("CDF2", "auc"): published.FIGURE_4[alpha]} if alpha in published.FIGURE_4 else {})
                  for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)),
            compared=(("α = 0.5", "α = 1"), ("α = 0.5", "α = 0")), seeds=3,
            claim=published.CLAIMS["Fig. 4"], measure=measures.logits,
            sentences=(verdicts.compared, verdicts.powered, verdicts.alpha_zero, verdicts.backbones),
        ),
        Experiment(
            "table4_ablation", "Table 4: without A_dom, without T", "ffpp", _CDF2,
            (
                _BCE,
                # What becomes of C̄ and L_dom is left open: both readings are shown beside the paper's numbers.
                Row("w/o A_dom", "did", {"domain_attention": False}, "first", _pair(published.TABLE_4["w/o A_dom"])),
                Row("w/o A_dom and L_dom", "did", {"domain_attention": False, "domain_branch": "dropped"}, "first",
                    _pair(published.TABLE_4["w/o A_dom"])),
                Row("w/o T", "did", {"decorrelation": False}, "first", _pair(published.TABLE_4["w/o T"])),
                # The paper has one DID; both readings of it are shown beside its numbers.
                Row("DID, T's own step × λ_dec", "did", {"estimator_weight": "lambda_dec"}, "first", _FULL),
                Row("DID, T's own step × 1", "did", {"estimator_weight": "one"}, "first", _FULL),
                # Not in the paper: what is left to take away, up to a plain backbone that knows the methods.
                Row("w/o the AUC loss", "did", {"estimator_weight": "one", "alpha": 1.0}),
                Row("w/o A_df", "undivided", options={"domain_attention": True}),
                Row("no decomposition", "undivided"),
                _CONTROL,
            ),
            metrics=("auc", "eer"), seeds=5, claim=published.CLAIMS["Table 4"], measure=measures.game,
            compared=(
                ("DID, T's own step × 1", "w/o A_dom"), ("DID, T's own step × 1", "w/o A_dom and L_dom"),
                ("DID, T's own step × 1", "w/o T"), ("DID, T's own step × λ_dec", "w/o T"),
                ("DID, T's own step × 1", "BCE"),
                *(("DID, T's own step × 1", other)
                  for other in ("w/o the AUC loss", "w/o A_df", "no decomposition", _CONTROL.name)),
            ),
            sentences=(verdicts.compared, verdicts.powered, verdicts.estimates, verdicts.backbones),
            smoke=("BCE", "w/o A_dom", "w/o T", "DID, T's own step × λ_dec", "DID, T's own step × 1",
                   "no decomposition"),
        ),
        Experiment(
            "fig5_domains", "Fig. 5: what the domain classifier confuses", "ffpp", {}, (_DID,), seeds=3,
            claim=published.CLAIMS["Fig. 5"],
            printed={(name, "Domains", "accuracy"): number for name, number in published.FIGURE_5.items()},
            measure=measures.domains, sentences=(verdicts.domains,), decide=verdicts.domains_told,
        ),
        Experiment(  # tested as in Table 1, so that both data sets are at hand
            "fig6_saliency", "Fig. 6: where M_df and M_dom look", "ffpp", _TABLE_1, (_DID,), seeds=3,
            claim=published.CLAIMS["Fig. 6"],
            measure=measures.saliency, sentences=(verdicts.saliency,), decide=verdicts.maps_apart,
        ),
        Experiment(
            "fig7_embeddings", "Fig. 7: what the features hold", "ffpp", {}, (_BCE, _DID), seeds=3,
            claim=published.CLAIMS["Fig. 7"],
            measure=measures.features, sentences=(verdicts.features,), decide=verdicts.features_apart,
        ),
        Experiment(
            "training_length", "Training length: four systems, with and without augmentation", "ffpp",
            {**_TABLE_1, "DiFF": ("diff", "all")}, _lengths(), seeds=3, measure=measures.lengths,
            compared=tuple((_long("DID", length, how), _long(other, length, how))
                           for how in AUGMENTED for length in LENGTHS for other in ("BCE", _CONTROL.name)),
            sentences=(verdicts.lengths,), smoke=("BCE ×1", "DID ×1", "BCE ×2", "DID ×2", "DID ×2, light"),
        ),
        Experiment(
            "open_choices", "What the paper leaves open, one choice at a time", "ffpp", _TABLE_1, _choices(),
            default="default", seeds=3, measure=measures.state, sentences=(verdicts.choices,),
            smoke=_CHOICES_AT_SMOKE,
        ),
        Experiment(
            "adversary", "The game between T and the features: how it ends under each reading", "ffpp",
            {"FF++": ("ffpp", "all")}, tuple(Row(name, "did", changes) for name, changes in READINGS.items()),
            measure=measures.game, sentences=(verdicts.game_ends,),
            smoke=("default", "literal", "Eq. 12 as printed", "without T"),
        ),
        *beyond.EXPERIMENTS,
        better_data.EXPERIMENT,
        heldout.EXPERIMENT,
        heldout.SEARCH,
        heldout.CONFIRMATION,
    )
}  # fmt: skip
