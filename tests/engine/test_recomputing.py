"""Gradient checkpointing changes the memory of a run and nothing of its result."""

import copy

import pytest
import timm
import torch
from torch import nn

from refconv.data import DataInfo
from refconv.engine.recomputing import recompute_activations, statistics_kept
from refconv.engine.stepping import Stepper
from refconv.errors import RecipeError
from refconv.models.builders import build
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.surgery import refocus
from setups import setup_of

INFO = DataInfo("images", 4, 1, (1, 32, 32), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)


def stepper(model, **settings):
    given = {"model": "m", "data": "digits", "opt": "momentum", "lr": 0.1, "sched": "none", "batch_size": 8, **settings}
    alone = Processes(0, 1, torch.device("cpu"))
    return Stepper(setup_of(model, Recipe(**given), INFO, alone, steps_per_epoch=10, part_size=8))


def batch():
    return torch.randn(8, 1, 32, 32), torch.arange(8) % 4


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("refocused", [False, True])
def test_steps_are_the_same_with_and_without(name, refocused):
    model = timm.create_model(name, num_classes=4, in_chans=1, drop_rate=0.2)
    if refocused:
        refocus(model)
    results = []
    for checkpointing in (False, True):
        made = stepper(copy.deepcopy(model), grad_checkpointing=checkpointing)
        torch.manual_seed(0)
        batches = [batch() for _ in range(3)]
        losses = [made.step(number, [one]) for number, one in enumerate(batches)]
        results.append((losses, made.model.state_dict()))
    (losses, state), (other_losses, other_state) = results
    assert all(torch.equal(one, other) for one, other in zip(losses, other_losses, strict=True))
    for key, value in state.items():
        torch.testing.assert_close(value, other_state[key], rtol=1e-5, atol=1e-6)


def test_activations_are_computed_again():
    model = timm.create_model("test_resnet", num_classes=4, in_chans=1)
    counts = []
    for checkpointing in (False, True):
        made = stepper(copy.deepcopy(model), grad_checkpointing=checkpointing)
        calls = []
        made.model.layer3[0].conv1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        made.step(0, [batch()])
        counts.append(len(calls))
    assert counts == [1, 2]


def test_statistics_would_move_twice_without_care():
    norm = nn.BatchNorm2d(2)
    with statistics_kept(norm):
        norm(torch.randn(3, 2, 4, 4))
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(2))
    norm(torch.randn(3, 2, 4, 4))
    assert norm.num_batches_tracked == 1
    assert not torch.equal(norm.running_mean, torch.zeros(2))


def test_a_backbone_of_timm_in_a_detector_recomputes():
    model = build("detector:ssdlite", backbone="test_efficientnet", num_classes=2, img_size=64)
    recompute_activations(model)
    parts = [part for part in model.modules() if getattr(part, "grad_checkpointing", False)]
    assert parts


class Refusing(nn.Module):
    def set_grad_checkpointing(self, enable=True):
        assert not enable, "gradient checkpointing not supported"  # timm's own words


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3)), "no set_grad_checkpointing"),
        (Refusing(), "gradient checkpointing not supported"),
    ],
)
def test_other_models_say_why_not(model, found):
    name = type(model).__name__
    with pytest.raises(RecipeError, match=f"grad_checkpointing: {name} has no gradient checkpointing; .* {found}"):
        recompute_activations(model)
