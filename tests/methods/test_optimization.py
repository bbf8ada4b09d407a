"""Optimizers, schedules, mixing and clipping, made as the recipe says."""

import dataclasses
import io

import pytest
import torch
from timm.optim import list_optimizers
from torch import nn

from refconv.data import DataInfo
from refconv.errors import RecipeError
from refconv.methods.optimization import (
    make_average,
    make_clipping,
    make_loss,
    make_mixing,
    make_optimizer,
    make_schedule,
)
from refconv.models.networks import mobilenet_small
from refconv.process.randomness import seed_everything
from refconv.recipe.recipe import Recipe
from refconv.surgery import refocus

IMAGES = DataInfo("images", 4, 1, (1, 8, 8), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)
SIGNALS = DataInfo("signals", 4, 1, (1, 40), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)

# Those that need an accelerator and other packages, and the one that is refused.
ELSEWHERE = {name for name in list_optimizers() if name.startswith(("bnb", "fused"))} | {"adahessian"}


def recipe(**settings):
    return Recipe(model="m", data="digits", **settings)


def clipping(model, **settings):
    made = recipe(**settings)
    return make_clipping(model, made, make_optimizer(model, made))


def rates(steps, *, steps_per_epoch=10, **settings):
    made = recipe(lr=1.0, **settings)
    optimizer = make_optimizer(nn.Linear(2, 2), made)
    set_rates, epochs = make_schedule(optimizer, made, steps_per_epoch=steps_per_epoch)
    result = []
    for step in steps:
        set_rates(step)
        result.append(optimizer.param_groups[0]["lr"])
    return result, epochs


def test_weight_decay_reaches_refocus_weights_and_spares_biases():
    model = mobilenet_small(width=0.25)
    refocus(model)
    optimizer = make_optimizer(model, recipe(weight_decay=4e-5))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    trained = {name for name, p in named.items() if id(p) in decay}
    assert trained == {name for name, p in named.items() if p.requires_grad}
    assert all(decay[id(named[name])] == 4e-5 for name in trained if name.endswith("refocus_weight"))
    assert all(decay[id(named[name])] == 0 for name in trained if name.endswith("bias"))
    assert not any(name.endswith("original") for name in trained)


def test_weight_decay_reaches_everything_when_asked():
    optimizer = make_optimizer(mobilenet_small(), recipe(weight_decay=4e-5, filter_bias_and_bn=False))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [4e-5]


@pytest.mark.parametrize("opt", ["sgd", "momentum", "adamw", "lamb", "lion", "lookahead_adam"])
def test_any_optimizer_of_timms_takes_a_step(opt):
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    optimizer = make_optimizer(model, recipe(opt=opt, lr=0.1))
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum'")  # timm's kron, of its speed
@pytest.mark.parametrize("opt", [*sorted(ELSEWHERE.symmetric_difference(list_optimizers())), "lookahead_adamw"])
def test_every_optimizer_of_timms_can_be_resumed_exactly(opt):
    """Its state dict holds all that its next steps depend on, and is read with weights_only."""
    whole, first, second = [], [], []
    inputs, labels = torch.randn(8, 6), torch.arange(8) % 4
    for parameters, steps, state in ((whole, range(8), None), (first, range(5), None), (second, range(5, 8), first)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
        optimizer = make_optimizer(model, recipe(opt=opt, lr=0.01))
        if state is not None:
            saved = io.BytesIO()
            torch.save(state, saved)
            saved.seek(0)
            weights, moments = torch.load(saved, weights_only=True)
            model.load_state_dict(weights)
            optimizer.load_state_dict(moments)
        for step in steps:
            seed_everything(step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        parameters += [model.state_dict(), optimizer.state_dict()]
    assert all(torch.equal(whole[0][key], second[0][key]) for key in whole[0])


def test_optimizer_arguments_are_handed_over():
    optimizer = make_optimizer(nn.Linear(2, 2), recipe(opt="adamw", opt_kwargs={"betas": [0.5, 0.6]}))
    assert tuple(optimizer.param_groups[0]["betas"]) == (0.5, 0.6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"opt": "adamm"},
            "opt: unknown optimizer; .* did you mean adamw|opt: unknown optimizer; .* did you mean adam",
        ),
        ({"opt": "adahessian"}, "opt: adahessian needs second derivatives"),
        ({"opt_kwargs": {"wings": 2}}, "opt: sgd does not take these settings; found .*wings"),
    ],
)
def test_an_impossible_optimizer_is_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        make_optimizer(nn.Linear(2, 2), recipe(**settings))


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(RecipeError, match="nothing to train"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), recipe())


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


def test_mixing_gives_soft_labels_that_sum_to_one():
    mixing = make_mixing(recipe(mixup=0.2, cutmix=1.0, smoothing=0.1), IMAGES, batch_size=4)
    _, labels = mixing(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))
    assert labels.shape == (4, 4)
    torch.testing.assert_close(labels.sum(1), torch.ones(4))


def test_mixing_is_off_by_default_and_refused_where_it_cannot_be():
    assert make_mixing(recipe(), IMAGES, batch_size=3) is None
    with pytest.raises(RecipeError, match="batch_size: mixup and cutmix need pairs; expected an even number"):
        make_mixing(recipe(mixup=0.2), IMAGES, batch_size=3)
    for size, processes in ((1, 1), (3, 1), (6, 2)):  # the only batch is smaller than the batch size, and shared out
        few = dataclasses.replace(IMAGES, train_size=size)
        with pytest.raises(RecipeError, match=f"need pairs; expected an even number .*, found {size // processes}"):
            make_mixing(recipe(mixup=0.2), few, batch_size=4, processes=processes)
    with pytest.raises(RecipeError, match="cutmix: cutmix needs images"):
        make_mixing(recipe(cutmix=0.2), SIGNALS, batch_size=4)
    assert make_mixing(recipe(mixup=0.2), SIGNALS, batch_size=4) is not None


def test_labels_are_smoothed_once():
    outputs, labels = torch.randn(4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    smooth = torch.full((4, 4), 0.025, dtype=torch.float64) + 0.9 * torch.eye(4, dtype=torch.float64)
    expected = -(smooth * outputs.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(make_loss(recipe(smoothing=0.1))(outputs, labels), expected)
    # Mixing smooths the labels itself.
    torch.testing.assert_close(make_loss(recipe(smoothing=0.1, mixup=0.2))(outputs, smooth), expected)


@pytest.mark.parametrize("mode", ["norm", "value", "agc"])
def test_clipping_limits_the_gradient(mode):
    model = nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    clipping(model, clip_grad=0.5, clip_mode=mode)()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    if mode == "norm":
        assert gradient.norm() <= 0.5 + 1e-6
    elif mode == "value":
        assert gradient.abs().max() == 0.5
    else:
        assert model.weight.grad.norm() <= 0.5 * model.weight.norm() + 1e-6


def test_clipping_is_off_by_default_and_adaptive_clipping_spares_the_classifier():
    model = mobilenet_small(width=0.25)
    assert clipping(model) is None
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    clipping(model, clip_grad=0.01, clip_mode="agc")()
    assert all(bool((p.grad == 100).all()) for p in model.get_classifier().parameters())
    assert any(bool((p.grad < 100).all()) for p in model.parameters())


def test_an_average_is_made_on_request():
    assert make_average(nn.Linear(2, 2), recipe()) is None
    assert make_average(nn.Linear(2, 2), recipe(model_ema=True, model_ema_decay=0.5)).decay == 0.5
