import ast
import json
import types
from pathlib import Path

import pytest

from did.errors import DidError
from did.experiments import PARAMETERS, READINGS, check_parameters, train_settings
from did.settings import Settings


@pytest.mark.parametrize("notebook", PARAMETERS)
def test_a_mistyped_parameter_gets_the_nearest_name(notebook):
    given = dict.fromkeys(PARAMETERS[notebook])
    check_parameters({**given, "In": [], "_i1": "", "np": types}, notebook)
    with pytest.raises(DidError, match="unknown parameter 'sorce': did you mean 'source'"):
        check_parameters({**given, "sorce": "ffpp"}, notebook)


@pytest.mark.parametrize("notebook", PARAMETERS)
def test_the_notebooks_have_these_parameters_and_no_others(notebook):
    path = Path(__file__).parents[1] / "notebooks" / f"{notebook}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    assigned = {node.targets[0].id for node in ast.parse("".join(cell["source"])).body}
    assert assigned == set(PARAMETERS[notebook])


def test_every_reading_is_a_setting_of_its_own():
    assert len({train_settings("laptop", options=changes) for changes in READINGS.values()}) == len(READINGS)
    literal = train_settings("laptop", options=READINGS["literal"])
    paper = Settings.preset("paper")
    for name in ("estimator_weight", "adaptive_pool", "attention_rate", "adversary", "lambda_dec", "estimator_rate"):
        assert getattr(literal, name) == getattr(paper, name), name


def test_what_is_given_replaces_the_presets_value():
    assert train_settings("laptop") == Settings.preset("laptop")
    changed = train_settings("laptop", backbone="resnet50", pretrained="none", seed=3, options={"alpha": 1})
    assert (changed.backbone, changed.pretrained, changed.seed, changed.alpha) == ("resnet50", "none", 3, 1.0)
    assert changed.image_size == 112


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"preset": "lapdop"}, "did you mean 'laptop'"),
        ({"preset": "laptop", "iterations": "many"}, "'iterations' takes int"),
        ({"preset": "laptop", "options": "alpha=1"}, "options takes a mapping"),
        ({"preset": "laptop", "options": {"alfa": 1}}, "unknown setting 'alfa': did you mean 'alpha'"),
    ],
)
def test_mistakes(arguments, sentence):
    with pytest.raises(DidError, match=sentence):
        train_settings(**arguments)


def test_in_a_notebook_only_the_sentence_is_shown():
    assert DidError("one sentence")._render_traceback_() == ["DidError: one sentence"]
