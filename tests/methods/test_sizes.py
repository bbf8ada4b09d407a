"""Sizes by budget: chosen as fit_budget chooses, recorded with the miss, refused where they decide nothing."""

import re

import pytest

from refconv.engine import Recipe, train
from refconv.errors import RecipeError
from refconv.methods.registry import METHODS, method_of
from refconv.models.networks import mobilenet_small
from refconv.parametrizations import TRANSFORMS
from refconv.surgery import fit_budget, plan_of

BASIS = {"model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.25}, "data": "digits"}


def recipe(method, **settings):
    return Recipe(**{**BASIS, "method": method, "space": "kernel", **settings})


@pytest.mark.parametrize("method", [name for name, kind in TRANSFORMS.items() if kind.size is not None])
def test_a_number_gives_the_size_that_fits_best(method):
    made = recipe(method, budget="900", include="depthwise")
    plan = method_of(made).prepare(mobilenet_small(width=0.25))
    expected = fit_budget(mobilenet_small(width=0.25), method, 900, include="depthwise")
    assert plan.extra_parameters == expected.count
    own = {**expected.settings}
    assert plan_of(mobilenet_small(width=0.25), method, include="depthwise", **own).extra_parameters == expected.count


def test_a_method_stands_for_what_it_trains():
    wanted = plan_of(mobilenet_small(width=0.25), "refocus").extra_parameters
    made = recipe("low_rank", budget="refocus")
    plan = method_of(made).prepare(mobilenet_small(width=0.25))
    assert plan.extra_parameters == fit_budget(mobilenet_small(width=0.25), "low_rank", wanted).count


def test_the_record_says_by_how_much_the_budget_is_missed(tmp_path):
    made = recipe("points", budget="500", epochs=1, batch_size=479, workers=0, device="cpu")
    record = train(made, tmp_path / "run", show=False)
    assert record.budget_miss == record.extra_parameters - 500
    assert record.budget_miss == fit_budget(mobilenet_small(width=0.25), "points", 500).miss


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "plain"}, "budget: plain has no size to choose; expected one of"),
        ({"method": "density"}, "budget: density has no size to choose"),
        ({"method": "refocus", "space": "auto"}, "budget: gradient space trains no refocus weights"),
        ({"method": "refocus", "map_size": 5}, "map_size: is set by the budget"),
        ({"method": "low_rank", "method_kwargs": {"rank": 2}}, "rank: is set by the budget"),
        ({"method": "low_rank", "budget": "refocsu"}, "found 'refocsu'; did you mean refocus"),
        ({"method": "low_rank", "budget": "0"}, "budget: neither a number nor a method"),
    ],
)
def test_a_budget_that_decides_nothing_is_refused(settings, words):
    made = recipe(**{"method": "plain", "budget": "100", **settings})
    with pytest.raises(RecipeError, match=re.escape(words)):
        method_of(made)


def test_every_method_is_sized_or_says_that_it_is_not():
    for name in METHODS:
        made = recipe(name, budget="100")
        sized = name in TRANSFORMS and TRANSFORMS[name].size is not None
        if sized:
            method_of(made)
        else:
            with pytest.raises(RecipeError, match="no size to choose"):
                method_of(made)
