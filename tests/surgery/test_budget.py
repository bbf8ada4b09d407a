"""Budgets: the closest size, by trying all of them; and saying by how much it misses."""

import functools

import pytest
import torch

from networks import EveryKind, Shared
from refconv.errors import SettingError
from refconv.parametrizations import TRANSFORMS
from refconv.surgery import Budget, fit_budget, plan_of, reparametrize

SIZED = [name for name, kind in TRANSFORMS.items() if kind.size is not None]


@functools.cache
def counts_of(name):
    """Return what each size of a transformation trains in one network."""
    model, kind = EveryKind(), TRANSFORMS[name]
    sizes = [kind.sized(step) for step in range(1, 400)]
    return {size: plan_of(model, name, **{kind.size: size}).extra_parameters for size in sizes}


@pytest.mark.parametrize("parameters", [1, 100, 1000, 5000])
@pytest.mark.parametrize("name", SIZED)
def test_budget_is_the_closest_of_all_sizes(name, parameters):
    kind, counts = TRANSFORMS[name], counts_of(name)
    closest = min(abs(count - parameters) for count in counts.values())
    found = fit_budget(EveryKind(), name, parameters)
    assert abs(found.miss) == closest
    assert found.settings == {kind.size: min(s for s, count in counts.items() if abs(count - parameters) == closest)}
    assert found.miss == found.count - parameters


@pytest.mark.parametrize(("name", "largest"), [("refocus", 9), ("low_rank", 16)])
def test_transformation_that_cannot_grow_as_far_gives_its_largest(name, largest):
    """A map of 9 for the kernel of 5 taps, and the rank of the kernel with the most filters."""
    found = fit_budget(EveryKind(), name, 10**9)
    assert list(found.settings.values()) == [largest]
    assert found.count == plan_of(EveryKind(), name, **found.settings).extra_parameters
    assert found.miss == found.count - 10**9


@pytest.mark.parametrize("name", SIZED)
def test_count_is_that_of_the_transformed_model(name):
    model = Shared()
    found = fit_budget(model, name, 300)
    assert reparametrize(model, name, **found.settings).extra_parameters == found.count


def test_selection_and_other_settings_are_kept():
    with torch.device("meta"):
        model = EveryKind()
    found = fit_budget(model, "low_rank", 500, include="dense", scale=0.5)
    assert found.settings == {"scale": 0.5, "rank": 8}
    assert found.count == (8 + 27) * 8
    assert str(found) == "low_rank with scale=0.5, rank=8: 280 trained, -220 against the budget"
    assert Budget.from_json(found.to_json()) == found


def test_no_size_or_a_size_given_is_refused():
    with pytest.raises(SettingError, match="density has no setting .*expected one of .*low_rank.*it trains 47"):
        fit_budget(EveryKind(), "density", 100)
    with pytest.raises(SettingError, match="rank: is set by the budget; leave it out"):
        fit_budget(EveryKind(), "low_rank", 100, rank=2)
    with pytest.raises(SettingError, match="unknown transformation"):
        fit_budget(EveryKind(), "lowrank", 100)
