"""Fields of a recipe: declared, brought to type, checked."""

import dataclasses

import pytest

from refconv.errors import RecipeError
from refconv.recipe.settings import check_range, coerced, required, setting


@dataclasses.dataclass
class Example:
    name: str = setting("group", "a name")
    size: int = setting("group", "a size", 3, least=1, most=9)


NAME, SIZE = dataclasses.fields(Example)


def test_a_field_without_default_is_required():
    assert required(NAME)
    assert not required(SIZE)


@pytest.mark.parametrize("value", [1, 9])
def test_limits_belong_to_the_range(value):
    check_range(SIZE, value)
    assert coerced("size", int, value) == value


@pytest.mark.parametrize(("value", "words"), [(0, "at least 1"), (10, "at most 9")])
def test_a_value_beyond_a_limit_is_refused(value, words):
    with pytest.raises(RecipeError, match=words):
        check_range(SIZE, value)


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int | None, None, None),
        (float, 3, 3.0),
        (tuple[str, ...], "one", ("one",)),
        (tuple[float, float], [1, 2], (1.0, 2.0)),
        (dict[str, int], {"a": 1}, {"a": 1}),
    ],
)
def test_coerced_gives_the_declared_type(hint, value, expected):
    assert coerced("key", hint, value) == expected
