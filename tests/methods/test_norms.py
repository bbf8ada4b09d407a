"""Batch norms that keep their statistics under any method, as a setting of the recipe."""

import copy

import pytest
import torch

from refconv.errors import RecipeError
from refconv.methods.registry import method_of
from refconv.models.networks import mobilenet_small
from refconv.recipe.recipe import Recipe


def trained(**settings):
    torch.manual_seed(0)
    model = mobilenet_small(width=0.25).double()
    before = copy.deepcopy(model)
    recipe = Recipe(model="m", data="digits", lr=0.1, **settings)
    method = method_of(recipe)
    method.prepare(model)
    optimizer = method.optimizer(model)
    torch.manual_seed(1)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 8, 8, dtype=torch.float64)).square().mean().backward()
        optimizer.step()
    return model, before


@pytest.mark.parametrize("settings", [{"method": "plain"}, {"method": "refocus"}, {"method": "low_rank"}], ids=str)
def test_statistics_are_kept_with_every_method(settings):
    for kept in ("keep", "batch"):
        model, before = trained(**settings, norm_statistics=kept)
        names = [name for name, _ in before.named_buffers()]
        same = [torch.equal(model.get_buffer(name), before.get_buffer(name)) for name in names]
        assert names
        assert all(same) if kept == "keep" else not any(same)


def test_norm_fold_is_plain_training_that_keeps_statistics():
    models = [trained(method="norm_fold")[0], trained(method="plain", norm_statistics="keep")[0]]
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, other)


def test_both_spaces_agree_with_kept_statistics():
    from refconv.surgery import plain_state_dict

    settings = {"method": "refocus", "norm_statistics": "keep", "opt": "momentum", "weight_decay": 1e-3}
    states = [plain_state_dict(trained(space=space, **settings)[0]) for space in ("kernel", "gradient")]
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("name", "found"), [("norm_statistics", "statistics"), ("zeros", "zeros")])
def test_new_weights_have_nothing_to_keep(name, found):
    with pytest.raises(RecipeError, match=f"{name}: scratch starts from new weights, which have no {found} to keep"):
        Recipe(model="m", data="digits", method="scratch", **{name: "keep"})
