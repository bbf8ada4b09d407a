"""Which space a recipe refocuses in, what is refused there, and that both train alike under every option."""

import re

import pytest
import torch
from timm.optim import Lookahead

from refconv.data import DataInfo
from refconv.engine.stepping import Stepper
from refconv.errors import RecipeError
from refconv.gradspace import RefocusSGD
from refconv.methods.registry import method_of
from refconv.models.networks import mobilenet_small, resnext_small
from refconv.process.distributed import joined
from refconv.recipe.recipe import Recipe
from refconv.recipe.rules import space_of
from refconv.surgery import merge, refocus
from setups import setup_of

INFO = DataInfo("images", 4, 1, (1, 8, 8), (0.0,), (1.0,), ("a", "b", "c", "d"), 64, 0, 0)


def recipe(**settings):
    return Recipe(**{"model": "m", "data": "digits", "method": "refocus", "workers": 0, "device": "cpu", **settings})


@pytest.mark.parametrize(
    ("settings", "space"),
    [
        ({}, "gradient"),
        ({"opt": "momentum"}, "gradient"),
        ({"opt": "nesterov", "clip_grad": 1.0}, "gradient"),
        ({"opt": "lookahead_sgd"}, "gradient"),
        ({"opt": "adamw"}, "kernel"),
        ({"opt": "sgdp"}, "kernel"),
        ({"clip_grad": 1.0, "clip_mode": "value"}, "kernel"),
        ({"clip_grad": 1.0, "clip_mode": "agc"}, "kernel"),
        ({"clip_mode": "agc"}, "gradient"),
        ({"space": "kernel"}, "kernel"),
        ({"method": "plain", "opt": "adamw", "space": "gradient"}, None),
    ],
)
def test_auto_is_gradient_space_where_it_is_equivalent(settings, space):
    assert space_of(recipe(**settings)) == space


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"space": "gradient", "opt": "adamw"},
            "opt: gradient space is equivalent under SGD only, not under adamw; opt = momentum or sgd, or space =",
        ),
        (
            {"space": "gradient", "clip_grad": 1.0, "clip_mode": "value"},
            "clip_mode: gradient space is not equivalent under clipping by value",
        ),
        ({"space": "kernel", "decay": "kernel"}, "decay: kernel space decays refocus weights"),
        ({"opt": "adamw", "decay": "kernel"}, "space = gradient, with an optimizer that is SGD"),
        ({"space": "kernel", "rounds": 2, "model_ema": True}, "rounds: an average over several bases"),
        ({"space": "elsewhere"}, "space"),
        ({"rounds": 0}, "rounds"),
    ],
)
def test_settings_without_meaning_in_a_space_are_refused(settings, words):
    with pytest.raises(RecipeError, match=re.escape(words)):
        recipe(**settings)


def trained(network, settings, steps=12):
    """Take steps of one network in float64 and return its plain state, or that of its average."""
    made = recipe(**{"batch_size": 8, "lr": 0.02, "weight_decay": 0.01, "epochs": 2, **settings})
    torch.manual_seed(0)
    model = network().double()
    method_of(made).prepare(model)
    with joined("cpu") as processes:
        stepper = Stepper(setup_of(model, made, INFO, processes, steps_per_epoch=steps // 2, part_size=8))
        for number in range(steps):
            torch.manual_seed(number)
            images, labels = torch.randn(8, 1, 8, 8, dtype=torch.float64), torch.randint(4, (8,))
            stepper.step(number, [(images, labels)])
    result = stepper.result
    if space_of(made) == "kernel":
        merge(result)
    return result.state_dict(), stepper


def networks():
    return {
        "depthwise": lambda: mobilenet_small(width=0.25, strides=(1, 2), num_classes=4),
        "grouped": lambda: resnext_small(channels=(16, 32), num_classes=4),
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"opt": "momentum", "decay": "none"},
        {"opt_kwargs": {"dampening": 0.1}, "opt": "momentum"},
        {"clip_grad": 0.1},
        {"layer_decay": 0.7},
        {"layer_decay": 0.7, "decay": "none"},
        {"filter_bias_and_bn": False},
        {"filter_bias_and_bn": False, "decay": "none"},
        {"model_ema": True, "model_ema_decay": 0.8},
        {"opt": "lookahead_momentum"},
        {"rounds": 3, "gram_scale": "normalized"},
        {"rounds": 2, "opt": "lookahead_sgd"},
        {"order": "across", "power": 0.5, "map_size": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("network", ["depthwise", "grouped"])
def test_both_spaces_train_alike(network, settings):
    build = networks()[network]
    expected, _ = trained(build, {**settings, "space": "kernel"})
    found, stepper = trained(build, {**settings, "space": "gradient"})
    assert isinstance(getattr(stepper.optimizer, "_base_optimizer", stepper.optimizer), RefocusSGD)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-10, msg=lambda text, n=name: f"{n}: {text}")


def test_rounds_begin_at_equal_distances():
    _, stepper = trained(networks()["depthwise"], {"rounds": 3})
    assert stepper._round_starts == {4, 8}


@pytest.mark.parametrize("space", ["kernel", "gradient"])
def test_rounds_are_another_training_than_one(space):
    one, _ = trained(networks()["depthwise"], {"space": space})
    two, _ = trained(networks()["depthwise"], {"space": space, "rounds": 2})
    assert any(not torch.allclose(one[name], two[name]) for name in one if name.endswith("weight"))


def test_lookahead_wraps_the_gradient_space_optimizer():
    model = mobilenet_small(width=0.25)
    optimizer = method_of(recipe(opt="lookahead_sgd")).optimizer(model)
    assert isinstance(optimizer, Lookahead)
    assert optimizer.param_groups[0]["nesterov"] is True


def test_no_decay_in_kernel_space_spares_refocus_weights_only():
    model = mobilenet_small(width=0.25)
    refocus(model)
    optimizer = method_of(recipe(space="kernel", decay="none", weight_decay=0.5)).optimizer(model)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert {decay[id(p)] for name, p in trainable if name.endswith("refocus_weight")} == {0.0}
    assert {decay[id(p)] for name, p in trainable if name.endswith("weight") and p.ndim == 4} == {0.5}
