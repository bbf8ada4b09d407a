"""Step times: taken in turn, of steps that train."""

from refconv.engine.step_time import medians, step_seconds
from refconv.engine.stepping import Stepper
from refconv.recipe.recipe import Recipe

SMALL = {"model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.25}, "data": "digits"}


def test_recipes_take_their_steps_in_turn(monkeypatch):
    taken = []
    honest = Stepper.step

    def noted(self, number, parts):
        taken.append(len(parts[0][1]) * len(parts))
        return honest(self, number, parts)

    monkeypatch.setattr(Stepper, "step", noted)
    recipes = {
        "large": Recipe(**SMALL, batch_size=64, device="cpu"),
        "parts": Recipe(**SMALL, batch_size=16, grad_accum_steps=2, method="refocus", device="cpu"),
    }
    seconds = step_seconds(recipes, turns=3)
    assert taken == [64, 16] * 4  # the first of each is not counted
    assert {name: len(found) for name, found in seconds.items()} == {"large": 3, "parts": 3}
    assert all(value > 0 for value in medians(seconds).values())
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}
