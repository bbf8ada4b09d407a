"""docs/integrations/torchvision.md, run and checked, with ``train.py`` beside this in the place of torchvision's."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

import refconv
from integration_pages import MARKS, run_page

pytestmark = MARKS


def write_images(folder):
    draw = np.random.default_rng(0)
    for name, number in ((n, i) for n in ("cat", "dog") for i in range(4)):
        file = folder / "train" / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)


def checkpoint(place, name):
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(place / name, weights_only=True)


def plain(state):
    """Load a state, perhaps of an average, into a network of torchvision, strictly."""
    model = torchvision.models.resnet18(num_classes=2)
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items() if key != "n_averaged"})
    return model


def test_page_trains_averages_resumes_and_merges_in_both_spaces(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "vision" / "references" / "classification").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("train.py"), tmp_path / "vision" / "references" / "classification")
    run_page("torchvision", tmp_path)

    torch.manual_seed(0)
    before = torchvision.models.resnet18(num_classes=2)
    kernels = [name for name, value in before.state_dict().items() if value.ndim == 4 and value.shape[-1] > 1]
    assert len(kernels) == 17

    # "plain states of the network", "keeps the options of each group"
    whole, resumed = checkpoint(tmp_path, "gradient/checkpoint.pth"), checkpoint(tmp_path, "resumed/checkpoint.pth")
    for state in (whole["model"], whole["model_ema"]):
        after = plain(state)
        assert refconv.verify(before, after).same_structure
        assert not any(torch.equal(after.state_dict()[name], before.state_dict()[name]) for name in kernels)
    groups = whole["optimizer"]["param_groups"]
    assert [(group["weight_decay"], group["momentum"], len(group.get("sites", ()))) for group in groups] == [
        (1e-4, 0.9, 0),
        (1e-4, 0.9, 17),
        (0.0, 0.9, 0),
    ]

    # A run that is resumed ends where one does that is not: the order of images does not change here.
    kernel, kernel_resumed = (checkpoint(tmp_path, f"{name}/checkpoint.pth") for name in ("kernel", "kernel-resumed"))
    for one, other in ((whole, resumed), (kernel, kernel_resumed)):
        for part in ("model", "model_ema"):
            for key, value in one[part].items():
                torch.testing.assert_close(other[part][key], value)

    # "a plain network of torchvision"
    merged = plain(torch.load(tmp_path / "resnet18-refocused.pth"))
    assert not any(torch.equal(merged.state_dict()[name], before.state_dict()[name]) for name in kernels)
    refocused, average = torchvision.models.resnet18(num_classes=2), torchvision.models.resnet18(num_classes=2)
    for model in (refocused, average):
        refconv.refocus(model)
    refocused.load_state_dict(kernel["model"])
    average.load_state_dict({k.removeprefix("module."): v for k, v in kernel["model_ema"].items() if k != "n_averaged"})
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert refconv.verify(refocused, merged, image).same_outputs
    refconv.merge(average)
    assert torch.isfinite(average.eval()(image)).all()
