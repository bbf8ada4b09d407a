"""A pruned network stays sparse under every method, also at kernels that the method does not change."""

import pytest
import safetensors.torch
import torch
from torch import nn

from refconv.engine import train
from refconv.engine.epochs import Loop
from refconv.errors import RecipeError
from refconv.layers import find_layers
from refconv.methods.registry import method_of
from refconv.models.networks import mobilenet_small
from refconv.models.weight_files import read_weights
from refconv.process.interruption import StoppedError
from refconv.recipe.recipe import Recipe
from refconv.surgery import plain_state_dict
from run_results import same_result


def pruned():
    torch.manual_seed(0)
    model = mobilenet_small(width=0.25)
    with torch.no_grad():
        for layer in find_layers(model):
            layer.weight.mul_(torch.rand_like(layer.weight) > 0.5)
    return model


def trained(**settings):
    model = pruned()
    method = method_of(Recipe(model="m", data="digits", weight_decay=0.01, **settings))
    method.prepare(model)
    model.load_state_dict(model.state_dict())  # as a resumed run does
    optimizer = method.optimizer(model)
    torch.manual_seed(1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 8, 8)).square().mean().backward()
        optimizer.step()
    return plain_state_dict(model)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "plain"},
        {"method": "plain", "opt": "adamw"},
        {"method": "refocus"},
        {"method": "refocus", "opt": "adamw"},
        {"method": "low_rank"},
        {"method": "norm_fold"},
    ],
    ids=str,
)
def test_zeros_stay_where_they_are_on_request_and_fill_otherwise(settings):
    kernels = {layer.key: layer.weight for layer in find_layers(pruned())}
    assert any(isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) for module in pruned().modules())
    state, filled = trained(zeros="keep", **settings), trained(**settings)
    for key, start in kernels.items():
        assert torch.equal(state[key] == 0, start == 0)
        assert not torch.equal(state[key], start)
        assert not torch.equal(filled[key] == 0, start == 0)


@pytest.mark.parametrize(
    "settings", [{"method": "plain"}, {"method": "refocus"}, {"method": "refocus", "opt": "adamw"}]
)
def test_a_run_keeps_a_mask_from_a_file_and_goes_on_without_the_file(tmp_path, monkeypatch, settings):
    masks = {layer.key: torch.rand(layer.weight.shape) > 0.5 for layer in find_layers(pruned())}
    safetensors.torch.save_file(masks, tmp_path / "masks.safetensors")
    recipe = Recipe(
        model="refconv.models.networks:mobilenet_small", model_kwargs={"width": 0.25}, data="digits", epochs=1,
        epoch_steps=4, batch_size=16, device="cpu", zeros="keep", mask=str(tmp_path / "masks.safetensors"), **settings,
    )  # fmt: skip
    train(recipe, tmp_path / "whole", show=False)
    step = Loop._step

    def stopping(loop, batches):
        if loop.step == 2:
            loop._save()
            raise StoppedError("stopped")
        return step(loop, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stopping)
        with pytest.raises(StoppedError):
            train(recipe, tmp_path / "cut", show=False)
    (tmp_path / "masks.safetensors").unlink()
    train(recipe, tmp_path / "cut", resume=True, show=False)
    same_result(tmp_path / "whole", tmp_path / "cut")
    state = read_weights(tmp_path / "cut/model")
    assert all(torch.equal(state[key] != 0, mask) for key, mask in masks.items())


def test_a_mask_without_kept_zeros_is_refused():
    with pytest.raises(RecipeError, match="mask: has no effect where zeros are filled; zeros = keep"):
        Recipe(model="m", data="digits", mask="masks.safetensors")
