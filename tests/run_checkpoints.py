"""Small checkpoints of runs, without training: for tests of what reads them."""

import copy

import torch

from refconv.data import DataInfo
from refconv.methods.registry import method_of
from refconv.models.checkpoint import Checkpoint
from refconv.models.creation import ModelSpec
from refconv.models.model_folder import save_model_folder
from refconv.models.model_input import of_checkpoint
from refconv.recipe.recipe import Recipe
from refconv.surgery import plain_state_dict, refocused_state_dict

INFO = DataInfo(
    name="digits", num_classes=10, in_chans=1, input_size=(1, 8, 8), mean=(0.3,), std=(0.4,),
    class_names=tuple("0123456789"), train_size=1438, val_size=0, test_size=359,
)  # fmt: skip

KERNEL_SPACE = {"method": "refocus", "space": "kernel"}


def small_recipe(**settings):
    name = "refconv.models.networks:mobilenet_small"
    return Recipe(**{"model": name, "model_kwargs": {"width": 0.25}, "data": "digits", **KERNEL_SPACE, **settings})


def save_checkpoint(path, recipe, *, ema=False):
    """Write a checkpoint with random refocus weights and return its model in training."""
    model = ModelSpec.of_run(recipe, INFO).build()
    method_of(recipe).prepare(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    average = copy.deepcopy(model)
    state = refocused_state_dict(model)
    if ema:
        with torch.no_grad():
            for parameter in average.parameters():
                if parameter.requires_grad:
                    parameter *= 0.5
    Checkpoint(
        step=5, recipe=recipe.to_dict(), info=INFO.to_dict(), model=state,
        model_ema=refocused_state_dict(average) if ema else None, optimizer={}, seconds=1.0, metrics_length=0,
        validation=[],
    ).save(path)  # fmt: skip
    return average if ema else model


def save_run(folder, recipe, *, finished=True, ema=False):
    """Write a run folder and return its model in training."""
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(recipe.to_toml())
    model = save_checkpoint(folder / "checkpoint.pt", recipe, ema=ema)
    if finished:
        save_model_folder(
            folder / "model", plain_state_dict(model), name=recipe.model, info=INFO, model_kwargs=recipe.model_kwargs,
            preprocessing=of_checkpoint(recipe, INFO, None).values,
        )  # fmt: skip
    return model
