"""Schedules of the learning rate, made as the recipe says."""

import pytest
import torch
from torch import nn

from refconv.engine.schedule import make_schedule
from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe


def rates(steps, *, steps_per_epoch=10, **settings):
    made = Recipe(model="m", data="digits", lr=1.0, **settings)
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    set_rates, epochs = make_schedule(optimizer, made, steps_per_epoch=steps_per_epoch)
    result = []
    for step in steps:
        set_rates(step)
        result.append(optimizer.param_groups[0]["lr"])
    return result, epochs


def test_warm_up_and_cosine_are_those_of_the_formula():
    found, epochs = rates([0, 5, 10, 55, 99], epochs=10, warmup_epochs=1, warmup_lr=0.0)
    expected = [0.0, 0.5] + [0.5 * (1 + torch.cos(torch.tensor(torch.pi * s / 100))).item() for s in (10, 55, 99)]
    assert epochs == 10
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_a_warm_up_prefix_adds_its_epochs():
    found, epochs = rates([10], epochs=10, warmup_epochs=1, warmup_prefix=True)
    assert (found, epochs) == ([1.0], 11)


@pytest.mark.parametrize("sched", ["cosine", "tanh", "step", "multistep", "poly", "constant"])
def test_the_rate_of_a_step_depends_on_its_number_alone(sched):
    forwards, _ = rates(range(100), epochs=10, warmup_epochs=2, sched=sched)
    backwards, _ = rates(reversed(range(100)), epochs=10, warmup_epochs=2, sched=sched)
    assert forwards == backwards[::-1]


def test_no_schedule_keeps_the_rate():
    assert rates([0, 50], epochs=10, sched="none") == ([1.0, 1.0], 10)


def test_schedule_arguments_are_handed_over():
    found, _ = rates([0, 29, 30, 60], epochs=10, sched="step", sched_kwargs={"decay_epochs": 3, "decay_rate": 0.5})
    assert found == [1.0, 1.0, 0.5, 0.25]
    with pytest.raises(RecipeError, match="sched: cosine does not take these settings; found .*wings"):
        rates([0], sched_kwargs={"wings": 2})
