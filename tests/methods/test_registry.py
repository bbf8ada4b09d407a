"""Methods: found by name, and doing to the model what the recipe says."""

from pathlib import Path

import pytest
import torch

from refconv.errors import RecipeError
from refconv.methods.registry import METHODS, method_of
from refconv.models.networks import mobilenet_small
from refconv.parametrizations import TRANSFORMS
from refconv.recipe.recipe import Recipe
from refconv.surgery import refocus, reparametrize


def recipe(**settings):
    return Recipe(model="m", data="digits", **settings)


def test_plain_leaves_the_model_as_it_is():
    model = mobilenet_small(width=0.25)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert method_of(recipe(method="plain")).prepare(model) is None
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def as_arguments(fields):
    """Fields of a recipe as the library's arguments."""
    return {{"gram_scale": "scale"}.get(name, name): value for name, value in fields.items()}


@pytest.mark.parametrize(
    "settings",
    [{}, {"map_size": 5}, {"gram_scale": "normalized", "power": 0.5}, {"include": "depthwise"}],
    ids=["defaults", "map_size", "shaped", "selected"],
)
def test_refocus_hands_over_every_setting(settings):
    model, other = mobilenet_small(width=0.25), mobilenet_small(width=0.25)
    made = recipe(method="refocus", space="kernel", **settings)
    plan = method_of(made).prepare(model)
    assert plan == refocus(other, **as_arguments(settings))
    assert str(model) == str(other)


def test_refocus_in_gradient_space_plans_alike_and_leaves_the_model_as_it_is():
    model, other = mobilenet_small(width=0.25), mobilenet_small(width=0.25)
    made = recipe(method="refocus", space="gradient", map_size=5, include="depthwise")
    assert method_of(made).prepare(model) == refocus(other, map_size=5, include="depthwise")
    assert str(model) == str(mobilenet_small(width=0.25))


def test_refocus_starts_as_the_recipe_says():
    model = mobilenet_small(width=0.25)
    made = recipe(method="refocus", space="kernel", start="kaiming")
    method_of(made).prepare(model)
    weights = [p for name, p in model.named_parameters() if name.endswith("refocus_weight")]
    assert weights
    assert all(bool(weight.any()) for weight in weights)


@pytest.mark.parametrize("method", ["refocus", "shuffled", "lr_scaled"])
def test_a_field_of_the_recipe_that_the_method_cannot_take_is_named_before_training(method):
    with pytest.raises(RecipeError, match="^map_size: a map needs a centre; expected odd positive numbers, found 4"):
        method_of(recipe(method=method, map_size=4))
    with pytest.raises(RecipeError, match=r"^include: 're:\(' is no regular expression"):
        method_of(recipe(method=method, include="re:("))


def test_an_unknown_method_is_named_with_those_that_exist():
    with pytest.raises(RecipeError, match="method: unknown method; expected one of plain, .* did you mean refocus"):
        method_of(recipe(method="refocuss"))
    assert set(METHODS) == {"plain", "scratch", "norm_fold", *TRANSFORMS}


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "refocus"])
def test_a_transformation_gets_every_setting_and_the_selection(name):
    model, other = mobilenet_small(width=0.25), mobilenet_small(width=0.25)
    own = {"low_rank": {"rank": 2, "scale": 0.5}, "points": {"points": 3}, "shuffled": {"seed": 4}}.get(name, {})
    fields = {"map_size": 5, "gram_scale": "normalized"} if name in {"shuffled", "random"} else {}
    made = recipe(method=name, method_kwargs=own, **fields, include="depthwise", exclude="blocks.0.*")
    plan = method_of(made).prepare(model)
    assert plan == reparametrize(other, name, **own, **as_arguments(fields), include="depthwise", exclude="blocks.0.*")
    assert len(plan.refocused) == 3
    assert str(model) == str(other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("low_rank", {"rang": 2}), "method_kwargs.rang: low_rank has no such setting; .* did you mean rank"),
        (("low_rank", {"rank": 0}), "method_kwargs.rank: value out of range; expected a whole number of at least 1"),
        (("shuffled", {"map_size": 5}), "method_kwargs.map_size: is a field of the recipe; give map_size on its own"),
        (("refocus", {"map_size": 5}), "method_kwargs.map_size: is a field of the recipe; give map_size on its own"),
        (("plain", {"rank": 2}), "method_kwargs.rank: plain has no such setting"),
        (("norm_fold", {"momentum": 2}), "method_kwargs.momentum: norm_fold has no such setting"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_settings_that_a_method_does_not_have_are_refused(settings, message):
    method, own = settings
    with pytest.raises(RecipeError, match=message):
        method_of(recipe(method=method, method_kwargs=own))


def test_every_method_has_its_line_on_the_page():
    page = (Path(__file__).resolve().parents[2] / "docs/contenders.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if page.count(f"\n| `{name}` |") != 1] == []
