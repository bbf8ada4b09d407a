"""Optimizers and clipping, made as the recipe says."""

import dataclasses
import io

import pytest
import timm
import torch
from timm.optim import list_optimizers
from torch import nn

from refconv.engine.stepping import make_schedule
from refconv.errors import LayerError, RecipeError
from refconv.methods.method import checked, inner_optimizer, make_optimizer
from refconv.methods.registry import method_of
from refconv.models.networks import mobilenet_small
from refconv.process.randomness import seed_everything
from refconv.recipe.recipe import Recipe
from refconv.surgery import refocus

# Those that need an accelerator and other packages, and the one that is refused.
ELSEWHERE = {name for name in list_optimizers() if name.startswith(("bnb", "fused"))} | {"adahessian"}


def recipe(**settings):
    return Recipe(model="m", data="digits", **settings)


def clipping(model, **settings):
    return method_of(recipe(**settings)).clipping(model)


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
        (
            {"opt": "adamw", "opt_kwargs": {"bases": "cpu"}},
            "opt_kwargs bases: only RefocusSGD, which trains in gradient space, .* found the optimizer adamw; method",
        ),
    ],
)
def test_an_impossible_optimizer_is_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        make_optimizer(nn.Linear(2, 2), recipe(**settings))


def test_errors_of_the_project_keep_their_words_while_an_optimizer_is_made():
    error = LayerError("the base is zero everywhere", where="conv1")  # a ValueError, like torch's own
    with pytest.raises(LayerError) as caught, checked(nn.Linear(2, 2), recipe()):
        raise error
    assert caught.value is error


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(RecipeError, match="nothing to train"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), recipe())


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


def test_in_gradient_space_the_optimizer_clips_by_the_norm_of_kernel_space():
    method = method_of(recipe(method="refocus", opt="lookahead_sgd", clip_grad=0.5))
    model = mobilenet_small(width=0.25)
    assert method.space == "gradient"
    assert method.clipping(model) is None
    assert inner_optimizer(method.optimizer(model)).max_norm == 0.5


SPACES = {
    "plain": {"method": "plain"},
    "gradient space": {"method": "refocus", "space": "gradient"},
    "kernel space": {"method": "refocus", "space": "kernel"},
    "kernel space, not decayed": {"method": "refocus", "space": "kernel", "decay": "none"},
    "low rank": {"method": "low_rank"},
}


def is_kernel(model, name):
    """Say whether a parameter is, or makes, the kernel of a convolution, found without the code under test."""
    owner, through, _ = name.partition(".parametrizations.weight.")
    owner = owner if through else name.removesuffix(".weight")
    return owner != name and isinstance(model.get_submodule(owner), nn.Conv2d)


def scaled_rates(opt, sched, settings):
    """Return a model, and by name the first learning rate, the scale and the decay of each parameter."""
    made = recipe(opt=opt, sched=sched, lr=0.5, weight_decay=1e-2, epochs=4, **{"kernel_lr_scale": 0.1, **settings})
    model, method = timm.create_model("test_efficientnet", num_classes=4), method_of(made)
    method.prepare(model)
    optimizer = method.optimizer(model)
    set_rates, _ = make_schedule(optimizer, made, steps_per_epoch=5)
    set_rates(0)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group.get("lr_scale", 1.0), group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert len(found) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    return model, found


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("sched", ["cosine", "none"])
@pytest.mark.parametrize(("opt", "space"), [
    *(("momentum", space) for space in SPACES), ("adamw", "plain"), ("adamw", "kernel space"),
    ("lookahead_sgd", "gradient space"),
])  # fmt: skip
def test_the_rate_of_kernels_alone_is_scaled(opt, space, sched, layer_decay):
    settings = {**SPACES[space], "layer_decay": layer_decay}
    model, found = scaled_rates(opt, sched, settings)
    _, unscaled = scaled_rates(opt, sched, {**settings, "kernel_lr_scale": 1.0})
    kernels = {name for name in found if is_kernel(model, name)}
    assert 0 < len(kernels) < len(found)
    for name, (rate, scale, decay) in found.items():
        before, scale_before, decay_before = unscaled[name]
        factor = 0.1 if name in kernels else 1.0
        assert (rate, scale) == pytest.approx((factor * before, factor * scale_before))
        assert rate == pytest.approx(0.5 * scale)
        assert decay == decay_before
    assert (len({scale for _, scale, _ in unscaled.values()}) > 2) == (layer_decay is not None)


def test_a_scaled_rate_is_kept_where_parameters_of_every_kind_decay():
    settings = {"filter_bias_and_bn": False, **SPACES["kernel space, not decayed"]}
    model, found = scaled_rates("momentum", "none", settings)
    assert {name for name, (rate, _, _) in found.items() if rate == pytest.approx(0.05)} == {
        name for name in found if is_kernel(model, name)
    }
    assert {name for name, (_, _, decay) in found.items() if not decay} == {
        name for name in found if name.endswith("refocus_weight")
    }


@pytest.mark.parametrize("opt", ["momentum", "adamw"])
def test_a_step_with_kernels_at_a_tenth_is_one_of_two_rates(opt):
    def after(rate, scale):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
        made = recipe(opt=opt, lr=rate, weight_decay=1e-2, kernel_lr_scale=scale, momentum=0.0)
        optimizer = make_optimizer(model, made)
        make_schedule(optimizer, made, steps_per_epoch=5)
        model(torch.randn(3, 1, 4, 4)).square().sum().backward()
        optimizer.step()
        return model.state_dict()

    mixed, fast, slow = after(0.1, 0.1), after(0.1, 1.0), after(0.01, 1.0)
    for name, value in mixed.items():
        torch.testing.assert_close(value, (slow if name == "0.weight" else fast)[name])
    assert not torch.equal(fast["0.weight"], slow["0.weight"])


@pytest.mark.parametrize(
    ("settings", "fused"),
    [
        ({"opt": "sgd"}, True),
        ({"opt": "adamw"}, True),
        ({"opt": "lookahead_adam"}, True),
        ({"opt": "sgd", "opt_kwargs": {"foreach": True}}, False),
        ({"opt": "adamw", "opt_kwargs": {"fused": False}}, False),
        ({"opt": "lamb"}, False),
        ({"opt": "sgd", "rounds": 2, "epochs": 2}, False),
        ({"opt": "sgd", "method": "low_rank"}, False),
    ],
    ids=str,
)
def test_refocus_weights_are_stepped_by_fused_optimizers_where_there_are_any(settings, fused):
    recipe = Recipe(model="test_resnet", data="digits", **{"method": "refocus", "space": "kernel", **settings})
    method, model = method_of(recipe), timm.create_model("test_resnet")
    method.change(model)
    optimizer = method.optimizer(model)
    assert all(bool(group.get("fused")) is fused for group in optimizer.param_groups)


def test_fused_steps_bear_parameters_whose_first_gradient_comes_later():
    recipe = Recipe(model="test_resnet", data="digits", method="refocus", space="kernel", opt="sgd", momentum=0.9)
    results = []
    for kwargs in ({}, {"fused": False}):
        method, model = (
            method_of(dataclasses.replace(recipe, opt_kwargs=kwargs)),
            nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)),
        )
        torch.manual_seed(0)
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        method.change(model)
        optimizer = method.optimizer(model)
        for step in range(3):
            for number, parameter in enumerate(one for one in model.parameters() if one.requires_grad):
                parameter.grad = torch.full_like(parameter, 0.1 * (number + 1)) if number or step else None
            optimizer.step()
        results.append(model.state_dict())
    for found, expected in zip(results[0].values(), results[1].values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_bases_are_kept_where_the_optimizers_arguments_say():
    recipe = Recipe(model="test_resnet", data="digits", method="refocus", opt="sgd", opt_kwargs={"bases": "cpu"})
    method, model = method_of(recipe), timm.create_model("test_resnet")
    method.change(model)
    assert method.optimizer(model).bases == "cpu"
