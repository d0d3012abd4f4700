import types

import pytest

from did.errors import DidError
from did.experiments import TRAIN_PARAMETERS, check_parameters, train_settings
from did.settings import Settings


def test_a_mistyped_parameter_gets_the_nearest_name():
    given = dict.fromkeys(TRAIN_PARAMETERS)
    check_parameters({**given, "In": [], "_i1": "", "np": types})
    with pytest.raises(DidError, match="unknown parameter 'sorce': did you mean 'source'"):
        check_parameters({**given, "sorce": "ffpp"})


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
