"""The further arguments of schedules are checked: which schedule reads them, types and limits."""

import pytest

from refconv.engine import Recipe
from refconv.errors import RecipeError

NEEDED = {"model": "m", "data": "digits"}
ABOVE, LEAST = "value out of range; expected more than 0", "value out of range; expected at least"


@pytest.mark.parametrize(
    ("sched", "arguments", "words"),
    [
        ("step", {"decay_epochs": 0}, f"decay_epochs: {ABOVE}, found 0"),
        ("wsd", {"decay_epochs": -0.5}, f"decay_epochs: {ABOVE}, found -0.5"),
        ("step", {"decay_epochs": float("nan")}, "decay_epochs: not a finite number; found nan"),
        ("step", {"decay_epochs": "abc"}, "decay_epochs: wrong type; expected a number, found 'abc'"),
        ("step", {"decay_rate": -0.1}, f"decay_rate: {LEAST} 0, found -0.1"),
        ("multistep", {"decay_milestones": [3, -1]}, f"decay_milestones: {LEAST} 0, found -1"),
        ("cosine", {"cycle_limit": 0}, f"cycle_limit: {LEAST} 1, found 0"),
        ("cosine", {"cycle_mul": 0}, f"cycle_mul: {ABOVE}, found 0"),
        ("tanh", {"cycle_decay": -1}, f"cycle_decay: {LEAST} 0, found -1"),
        ("poly", {"k_decay": 0.0}, f"k_decay: {ABOVE}, found 0"),
        ("rsqrt", {"stable_timescale": 0}, f"stable_timescale: {ABOVE}, found 0"),
        ("wsd", {"decay_fn": "lineal"}, "decay_fn: unknown word; expected one of linear.*; did you mean linear"),
        ("cosine", {"noise_pct": -1}, f"noise_pct: {LEAST} 0, found -1"),
        ("cosine", {"cooldown_epochs": 1.5}, "cooldown_epochs: wrong type; expected a whole number, found 1.5"),
        ("step", {"cooldown_epochs": 1}, "cooldown_epochs: has no effect on the schedule step; expected sched = cos"),
        ("none", {"noise": 0.5}, "noise: has no effect on the schedule none; expected sched = cosine"),
        ("step", {"decay_epoch": 3}, "decay_epoch: unknown argument of a schedule; expected decay_epochs.*; did you"),
    ],
)  # fmt: skip
def test_an_argument_of_a_schedule_is_refused_by_its_name(sched, arguments, words):
    with pytest.raises(RecipeError, match=rf"^sched_kwargs\.{words}"):
        Recipe(**NEEDED, sched=sched, sched_kwargs=arguments)


def test_arguments_that_schedules_read_are_taken():
    cycles = {
        "cycle_mul": 2.0,
        "cycle_decay": 0.5,
        "cycle_limit": 3,
        "k_decay": 1.5,
        "noise": [0.4, 0.9],
        "noise_seed": 7,
    }
    for sched, arguments in {
        "cosine": cycles,
        "step": {"decay_epochs": 2.4, "decay_rate": 0.97},
        "multistep": {"decay_milestones": [1, 2]},
        "wsd": {"decay_epochs": None, "decay_fn": "cosine", "cooldown_epochs": 1},
    }.items():
        assert Recipe(**NEEDED, sched=sched, sched_kwargs=arguments).sched_kwargs == arguments
