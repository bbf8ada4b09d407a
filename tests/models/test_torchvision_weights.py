"""Models with torchvision's weights are those that torchvision builds; the files are made of random weights here."""

import copy
import re

import pytest
import torch
from torchvision import models
from torchvision.models._api import WeightsEnum

from refconv.models.builders import build
from refconv.models.spec import ModelSpec
from refconv.recipe.recipe import Recipe
from run_checkpoints import INFO


def served(name):
    """Return a state dict as the server's file has it: densenet's with names of an earlier version."""
    quick = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    state = models.get_model(name, weights=None, **quick).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value for key, value in state.items()}
    return {key: value for key, value in old.items() if name != "densenet121" or "num_batches" not in key}


@pytest.mark.parametrize("name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.slow), "densenet121"])
def test_pretrained_models_are_those_of_torchvision(name, monkeypatch):
    torch.manual_seed(0)
    state = served(name)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: copy.copy(state))
    theirs, ours = models.get_model(name, weights="DEFAULT").eval(), build(f"torchvision:{name}", pretrained=True)
    x = torch.rand(1, 3, 80, 80)
    with torch.no_grad():
        assert torch.equal(theirs(x), ours.eval()(x))


def test_the_result_of_a_run_transforms_its_input_as_the_pretrained_model_did():
    recipe = Recipe(model="torchvision:googlenet", pretrained=True, data="digits", in_chans=3)
    info = type(INFO)(**{**INFO.to_dict(), "in_chans": 3})
    assert ModelSpec.of_run(recipe, info).model_kwargs["transform_input"]
    assert ModelSpec.of_run(recipe, info).build().transform_input
