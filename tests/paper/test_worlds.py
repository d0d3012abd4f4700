"""Which worlds a text names."""

import pytest

from did.errors import DidError
from did.paper.worlds import numbers


def test_worlds_are_named_one_by_one_and_by_their_ends():
    assert numbers("1-3, 7") == [1, 2, 3, 7] and numbers("4-4") == [4]


@pytest.mark.parametrize("text", ["", "0", "a", "1,", "1-2,2", "-3", "1-"])
def test_what_names_no_world_or_one_twice_is_refused(text):
    with pytest.raises(DidError, match="^worlds are "):
        numbers(text)


@pytest.mark.parametrize("text", ["3-2", "1,3-2"])
def test_the_higher_number_first_is_not_silently_nothing(text):
    with pytest.raises(DidError, match=rf"^worlds from 3 to 2 are none: name the lower number first, not '{text}'$"):
        numbers(text)
