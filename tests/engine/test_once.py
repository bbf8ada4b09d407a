"""What a run does once: building its model before the first step, and starting its data workers."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from refconv.data import loading
from refconv.engine import Recipe, train
from refconv.engine.stepping import Stepper
from refconv.models import creation, model_folder

SMALL = {
    "model": "refconv.models.networks:mobilenet_small",
    "model_kwargs": {"width": 0.25, "strides": [1, 2], "stem_stride": 2},
    "device": "cpu",
}


@pytest.fixture
def built(monkeypatch):
    """The names of the models that are built, and where among them steps are taken."""
    found = []
    for module in (creation, model_folder):

        def noted(name, *, build=module.build, **arguments):
            found.append(name)
            return build(name, **arguments)

        monkeypatch.setattr(module, "build", noted)
    step = Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda *given: (found.append("step"), step(*given))[1])
    return found


@pytest.mark.parametrize("start", ["", "model", "checkpoint.pt"])
def test_one_model_is_built_before_the_first_step_and_one_to_take_the_result(tmp_path, built, start):
    recipe = Recipe(**SMALL, data="digits", workers=0, epochs=1, epoch_steps=1, batch_size=32)
    if start:
        train(recipe, tmp_path / "base", show=False)
        built.clear()
        more = {"method": "refocus", "model_ema": True, "checkpoint": str(tmp_path / "base" / start)}
        recipe = Recipe(**SMALL, data="digits", workers=0, epochs=1, epoch_steps=1, batch_size=32, **more)
    train(recipe, tmp_path / "run", show=False)
    another = [SMALL["model"]] if start == "checkpoint.pt" else []  # the run that it goes on from, to be merged
    assert built == [SMALL["model"], *another, "step", SMALL["model"]]


def test_workers_are_started_once_in_a_run_and_change_nothing(tmp_path, monkeypatch):
    pixels = torch.Generator().manual_seed(0)
    for split, count in (("train", 6), ("val", 4)):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                values = torch.randint(0, 256, (10, 10, 3), generator=pixels, dtype=torch.uint8)
                Image.fromarray(values.numpy()).save(folder / f"{number}.png")
    made = []

    class Counted(loading.DataLoader):
        def __init__(self, *arguments, **settings):
            made.append(settings["num_workers"])
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(loading, "DataLoader", Counted)
    settings = {
        **SMALL, "data": f"folder:{tmp_path / 'images'}", "img_size": 8, "epochs": 3, "batch_size": 4, "epoch_steps": 2,
        "scale": (0.3, 1.0), "hflip": 0.5, "val_split": 0.25,
    }  # fmt: skip
    for workers in (0, 1):
        made.clear()
        record = train(Recipe(**settings, workers=workers), tmp_path / str(workers), show=False)
        assert len(record.validation) == 3
        if workers:
            assert made == [1]
    one, other = (load_file(tmp_path / name / "model/model.safetensors") for name in "01")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
