"""Models with torchvision's weights are those that torchvision builds; the files are made of random weights here."""

import copy
import dataclasses
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models._api import WeightsEnum

from refconv.data.disk import eval_transform
from refconv.data.preprocessing import resolve
from refconv.engine import train
from refconv.models.builders import build
from refconv.models.checkpoint import Checkpoint
from refconv.models.creation import ModelSpec, completed, create_model
from refconv.models.model_folder import save_model_folder
from refconv.models.model_input import of_recipe
from refconv.recipe.recipe import Recipe
from run_checkpoints import INFO

QUICK = {"aux_logits": False, "init_weights": False}
INFO_OF_COLOURS = dataclasses.replace(INFO, in_chans=3, mean=(0.485, 0.456, 0.406))


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


def first_inputs(name, recipe, images):
    """Return what torchvision's evaluation gives to the first convolution, and what a run of the recipe gives to it."""
    weights = models.get_model_weights(name).DEFAULT
    theirs = models.get_model(name, weights=None, transform_input=True, init_weights=False)
    ours = ModelSpec.of_run(recipe, INFO_OF_COLOURS).build()
    transform = eval_transform(resolve([of_recipe(recipe)], in_chans=3))
    batches = [(theirs, weights.transforms()), (ours, transform)]
    return [
        model._transform_input(torch.stack([prepare(image.convert("RGB")) for image in images]))
        for model, prepare in batches
    ]


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("source", ["pretrained", "checkpoint"])
def test_the_first_convolution_gets_what_it_gets_from_torchvision(name, source, tmp_path):
    """With ``transform_input`` bit for bit; weights of a file are used without it, and images normalised by 0.5.

    Then ((x - m) / s) (s / 0.5) + (m - 0.5) / 0.5 is computed as (x - 0.5) / 0.5: of numbers up to (1 - m) / s < 2.7,
    and each of the five operations rounds by at most half an ulp of 4, that is 2**-22.
    """
    torch.save({}, tmp_path / "w.pth")
    given = {"pretrained": True} if source == "pretrained" else {"checkpoint": str(tmp_path / "w.pth")}
    recipe = Recipe(
        model=f"torchvision:{name}", data="digits", in_chans=3, model_kwargs={"init_weights": False}, **given
    )
    pixels = np.random.default_rng(0).integers(0, 256, (400, 350, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels), Image.fromarray(pixels[..., 0]), Image.new("L", (400, 350))]
    theirs, ours = first_inputs(name, recipe, images)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0 if source == "pretrained" else 5 * 2**-22)


def test_the_result_of_a_run_transforms_its_input_as_the_pretrained_model_did():
    recipe = Recipe(model="torchvision:googlenet", pretrained=True, data="digits", in_chans=3)
    assert ModelSpec.of_run(recipe, INFO_OF_COLOURS).model_kwargs["transform_input"]
    assert ModelSpec.of_run(recipe, INFO_OF_COLOURS).build().transform_input


@pytest.mark.parametrize("part", ["model", "", "checkpoint.pt"])
@pytest.mark.parametrize("name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.slow)])
def test_a_run_from_the_weights_of_such_a_run_transforms_its_input_too(name, part, tmp_path, monkeypatch):
    first = Recipe(model=f"torchvision:{name}", pretrained=True, data="digits", in_chans=3)
    spec = ModelSpec.of_run(first, INFO_OF_COLOURS)
    torch.manual_seed(0)
    state = spec.build().state_dict()
    run, started = tmp_path / "run", []
    save_model_folder(
        run / "model", state, name=first.model, info=INFO_OF_COLOURS, model_kwargs=spec.model_kwargs,
        preprocessing=of_recipe(first).values,
    )  # fmt: skip
    Checkpoint(
        step=5, recipe=first.to_dict(), info=INFO_OF_COLOURS.to_dict(), model=state, model_ema=None, optimizer={},
        seconds=1.0, metrics_length=0, validation=[],
    ).save(run / "checkpoint.pt")  # fmt: skip
    second = Recipe(model=first.model, checkpoint=str(run / part), data="digits", in_chans=3, device="cpu")

    def opened(method, *_):
        started.append(method.recipe)
        raise InterruptedError

    monkeypatch.setattr("refconv.engine.loop.open_setup", opened)
    with pytest.raises(InterruptedError):
        train(second, tmp_path / "out", show=False)
    made = create_model(ModelSpec.of_run(started[0], INFO_OF_COLOURS), checkpoint=second.checkpoint)
    assert made.transform_input
    assert tuple(of_recipe(started[0]).values["mean"]) == tuple(of_recipe(first).values["mean"])
    assert all(torch.equal(value, state[key]) for key, value in made.state_dict().items())


def test_arguments_that_the_user_gives_win_over_those_of_an_earlier_run(tmp_path):
    save_model_folder(
        tmp_path / "m", create_model("torchvision:googlenet", model_kwargs=QUICK).state_dict(),
        name="torchvision:googlenet", info=dataclasses.replace(INFO_OF_COLOURS, num_classes=1000, class_names=()),
        model_kwargs={**QUICK, "transform_input": True},
    )  # fmt: skip
    recipe = Recipe(model="torchvision:googlenet", checkpoint=str(tmp_path / "m"), data="digits")
    assert completed(recipe).model_kwargs == {**QUICK, "transform_input": True}
    given = dataclasses.replace(recipe, model_kwargs={"transform_input": False})
    assert completed(given).model_kwargs == {**QUICK, "transform_input": False}
    other = dataclasses.replace(recipe, model="torchvision:resnet18")
    assert completed(other) is other
