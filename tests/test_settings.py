import dataclasses
import math

import pytest
import torch

from did.data.loading import BalancedBatches
from did.errors import DidError
from did.presets import PRESETS
from did.settings import Settings, table
from did.training import loop


def test_defaults_are_section_4_1_3():
    s = Settings.preset("paper")
    assert s == Settings()
    assert (s.lr, s.attention_rate, s.head_rate, s.estimator_rate) == (1e-5, 10, 10, 10)
    assert (s.weight_decay, s.batch_size, s.validate_every) == (5e-4, 15, 6000)
    assert (s.auc_margin, s.auc_power, s.alpha) == (0.15, 2, 0.5)
    assert (s.lambda_cls, s.lambda_dom, s.lambda_dec) == (1, 1, 0.01)
    assert (s.backbone, s.image_size, s.frames) == ("tf_efficientnetv2_l", 224, 32)
    assert (s.adversary, s.estimator_weight, s.adaptive_pool) == ("grl", "lambda_dec", "sum")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("auc_margin", 0.0, r"'auc_margin' must lie in \(0, 1\]"),
        ("auc_margin", 1.01, r"\(0, 1\]"),
        ("auc_power", 1.0, "'auc_power' must be above 1"),
        ("alpha", -0.1, r"'alpha' must lie in \[0, 1\]"),
        ("alpha", 1.1, r"\[0, 1\]"),
        ("alpha", math.nan, r"\[0, 1\]"),
        ("batch_size", 1, "at least 2"),
        ("accumulate", 0, "'accumulate' must lie between 1 and the batch size"),
        ("accumulate", 16, "between 1 and the batch size"),
        ("domain_branch", "dropped", "'domain_branch' must be 'kept' with domain_attention = True"),
        ("precision", "16", "valid: 32, bf16"),
        ("iterations", 0, "above 0"),
        ("lr", 0.0, "above 0"),
        ("lambda_dec", -1.0, "at least 0"),
        ("iterations", "many", "'iterations' takes int, got 'many'"),
        ("iterations", 2.5, "takes int"),
        ("seed", -1, "'seed' must lie between 0 and 18446744073709551615, got -1"),
        ("seed", 2**64, "'seed' must lie between 0 and 18446744073709551615, got 18446744073709551616"),
        ("domain_attention", 1, "takes bool"),
        ("wiring", "paralel", "did you mean 'parallel'"),
        ("averaging", 1.0, r"'averaging' must lie in \[0, 1\)"),
        ("methods", "Deepfakes,", "'methods' must be all, or names with commas between"),
        ("sampler", "x", "valid: balanced, pairs, uniform"),
    ],
)
def test_impossible_values_are_refused(name, value, sentence):
    with pytest.raises(DidError, match=sentence):
        Settings(**{name: value})


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Settings) if type(f.default) is float])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan], ids=str)
def test_every_number_is_finite(name, value):
    with pytest.raises(DidError, match=f"^setting '{name}' must .*, got {value}$"):
        Settings(**{name: value})
    (text,) = Settings.parse([f"{name}={value}"]).values()
    assert not math.isfinite(text)  # `--set` reads it, and then it is refused as above


def test_the_largest_seed_is_one_that_draws():
    seed = Settings(seed=2**64 - 1).seed
    assert torch.manual_seed(seed).initial_seed() == seed
    assert len(list(BalancedBatches([0, 1] * 4, 4, 2, seed))) == 2 and loop._seed(seed, 1) >= 0


def test_unknown_names_get_the_nearest_one():
    with pytest.raises(DidError, match="unknown preset 'labtop': did you mean 'laptop'"):
        Settings.preset("labtop")
    with pytest.raises(DidError, match="unknown setting 'lamda_dec': did you mean 'lambda_dec'"):
        Settings.preset("smoke", lamda_dec=1.0)


def test_settings_are_frozen_and_whole_numbers_serve_as_floats():
    s = Settings(alpha=1)
    assert s.alpha == 1.0
    assert type(s.alpha) is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        s.alpha = 0.5


def test_the_digest_names_settings_and_data():
    s = Settings()
    assert s.digest("data") == Settings.of(s.as_dict()).digest("data")
    assert s.digest("data") == Settings(alpha=0.5).digest("data")
    others = {s.digest("other data"), Settings(seed=1).digest("data"), Settings(alpha=1).digest("data")}
    assert len(others | {s.digest("data")}) == 4


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_shows_what_differs_from_the_paper(preset):
    rows = {row["setting"]: row for row in table(Settings.preset(preset))}
    assert len(rows) == len(dataclasses.fields(Settings))
    assert {name for name, row in rows.items() if row["differs"]} <= set(PRESETS[preset].settings)
    assert rows["lr"]["paper"] == "1e-05"
    assert all(row["where"] and row["meaning"] for row in rows.values())


def test_settings_of_the_machine_rename_no_run_at_their_defaults():
    # What the code gave before there were any.
    assert Settings().digest("data", "0.1.0") == "6286fe998afd"
    assert Settings.preset("laptop", seed=3).digest("x") == "6afc70c0953c"
    changed = [{"precision": "bf16"}, {"accumulate": 3}, {"recompute": True}, {"compile": True},
               {"deterministic": False}]  # fmt: skip
    machine = {f.name for f in dataclasses.fields(Settings) if f.metadata.get("machine")}
    assert machine == {name for change in changed for name in change}
    assert len({Settings(**change).digest("x") for change in [{}, *changed]}) == 6
    assert Settings.of(Settings(accumulate=3).as_dict()).accumulate == 3
    assert not any(f.metadata.get("open") or f.metadata.get("trials") for f in dataclasses.fields(Settings)
                   if f.name in machine)  # fmt: skip


def test_a_choice_that_was_added_renames_no_run_at_its_default():
    # What the code gave before there was this one.
    assert Settings(domain_attention=False).digest("did", "data", "0.1.0") == "9b01e3e73d3e"
    assert Settings.of({k: v for k, v in Settings().as_dict().items() if k != "domain_branch"}) == Settings()
    dropped = Settings(domain_attention=False, domain_branch="dropped")
    assert dropped.digest("did", "data", "0.1.0") != Settings(domain_attention=False).digest("did", "data", "0.1.0")
    assert Settings(augment="light").digest("did", "data", "0.1.0") != Settings().digest("did", "data", "0.1.0")
    unnamed = {f.name for f in dataclasses.fields(Settings) if f.metadata.get("unnamed")}
    assert unnamed == {
        "domain_branch",
        "methods",
        "averaging",
        "deterministic",
        "augment",
        "optimizer",
        "schedule",
        "patience",
        "precision",
        "accumulate",
        "recompute",
        "compile",
    }


def test_assignments_are_read_as_the_fields_type():
    given = ["lr=1e-4", "iterations=7", "domain_attention=False", "recompute=true", "pretrained=a=b.pth", "alpha=1"]
    assert Settings.parse(given) == {
        "lr": 1e-4, "iterations": 7, "domain_attention": False, "recompute": True, "pretrained": "a=b.pth", "alpha": 1.0
    }  # fmt: skip
    for text, sentence in (
        ("alpha", "'alpha' sets nothing: give name=value"),
        ("alhpa=1", "unknown setting 'alhpa': did you mean 'alpha'"),
        ("iterations=1.5", "'iterations' takes int, got '1.5'"),
        ("recompute=0", "'recompute' takes bool, got '0'"),
    ):
        with pytest.raises(DidError, match=sentence):
            Settings.parse([text])
