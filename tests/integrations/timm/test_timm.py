"""docs/integrations/timm.md, run and checked.

timm's wheel does not have its scripts train.py and validate.py. They are taken from a checkout that the variable
TIMM_REPOSITORY names, and otherwise cloned as the page says.
"""

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import refconv
from integration_pages import MARKS, run_page
from refconv.gradspace.optimizer import BASE

pytestmark = MARKS


def write_images(folder):
    generator = np.random.default_rng(0)
    for split, name, number in ((s, n, i) for s in ("train", "validation") for n in "abc" for i in range(8)):
        file = folder / split / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)


def bring_scripts(folder):
    if given := os.environ.get("TIMM_REPOSITORY"):
        folder.mkdir()
        for name in ("train.py", "validate.py"):
            shutil.copyfile(Path(given, name), folder / name)
        return
    clone = [
        "git",
        "clone",
        "--quiet",
        "--depth",
        "1",
        "https://github.com/huggingface/pytorch-image-models",
        str(folder),
    ]
    done = subprocess.run(clone, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"timm's scripts cannot be cloned, and TIMM_REPOSITORY names no checkout: {done.stderr.strip()}")


def checkpoint(place, run_name, file="last"):
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(place / "runs" / run_name / f"{file}.pth.tar", weights_only=True)


def saved_bases(state):
    """Return the bases in the state of an optimizer, by the name of their layer."""
    return {
        layer["site"]: state["state"][index][BASE]
        for group in state["param_groups"]
        if "sites" in group
        for index, layer in zip(group["params"], group["sites"], strict=True)
    }


def test_page_trains_in_both_spaces_resumes_and_ends_in_plain_networks(tmp_path):
    write_images(tmp_path / "images")
    bring_scripts(tmp_path / "pytorch-image-models")
    pretrained = timm.create_model("test_efficientnet").state_dict()
    save_file(pretrained, tmp_path / "base.safetensors")
    names = run_page("timm", tmp_path)
    assert isinstance(names["optimizer"], refconv.RefocusSGD)
    assert names["optimizer"].max_norm == 1.0

    plain = timm.create_model("test_efficientnet", num_classes=3)
    kernels = {name: value for name, value in pretrained.items() if value.ndim == 4 and value.shape[-1] > 1}
    first, resumed = checkpoint(tmp_path, "gradient", "checkpoint-0"), checkpoint(tmp_path, "resumed")
    for one in (checkpoint(tmp_path, "gradient"), resumed):
        for key in ("state_dict", "state_dict_ema"):
            plain.load_state_dict(one[key], strict=True)
        bases = saved_bases(one["optimizer"])
        assert {f"{layer}.weight" for layer in bases} == set(kernels)
        assert all(torch.equal(base, pretrained[f"{layer}.weight"]) for layer, base in bases.items())
        assert not any(torch.equal(one["state_dict"][key], value) for key, value in kernels.items())
    # A resumed run keeps the bases of the run before, not the kernels that it began with.
    assert not any(torch.equal(first["state_dict"][key], value) for key, value in kernels.items())
    assert resumed["epoch"] == 1

    merged = timm.create_model(f"local-dir:{tmp_path}/refocused", pretrained=True)
    refocused = timm.create_model("test_efficientnet", num_classes=3)
    refconv.refocus(refocused)
    refocused.load_state_dict(checkpoint(tmp_path, "kernel")["state_dict"], strict=True)
    assert not any(torch.equal(merged.state_dict()[key], value) for key, value in kernels.items())
    image = torch.randn(4, 3, 32, 32)
    assert refconv.verify(refocused, merged, image).same_outputs
    assert refconv.verify(plain, merged).same_structure
