"""docs/integrations/fastai.md, run and checked."""

import subprocess
import sys
import warnings

import numpy as np
import torch
from PIL import Image

import refconv
from integration_pages import MARKS, run_page
from refconv.errors import RefconvWarning
from refconv.surgery.places import places

pytestmark = MARKS

WITHOUT = """
import sys
sys.modules["refconv"] = None  # any import of it fails
import torch
from fastai.vision.all import load_learner
learn = load_learner(sys.argv[1])
torch.save((learn.model.state_dict(), learn.predict(sys.argv[2])[2]), sys.argv[3])
"""


def write_images(folder):
    draw = np.random.default_rng(0)
    for split, name, number in ((s, n, i) for s in ("train", "valid") for n in ("cat", "dog") for i in range(8)):
        file = folder / split / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 128 if name == "cat" else 256, (64, 64, 3), dtype=np.uint8)).save(file)


def kernels(state):
    return [name for name, value in state.items() if value.ndim == 4 and value.shape[-1] > 1]


def test_page_trains_saves_and_exports_in_both_spaces(tmp_path, monkeypatch):
    from fastai.vision.all import Adam, ImageDataLoaders, Resize, load_learner, resnet18, vision_learner

    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    dls = ImageDataLoaders.from_folder("images", valid="valid", item_tfms=Resize(64), bs=8, num_workers=0)
    torch.manual_seed(0)
    first = vision_learner(dls, resnet18, pretrained=False)
    first.save("trained", with_opt=False)
    before = {name: value.clone() for name, value in first.model.state_dict().items()}
    assert len(kernels(before)) == 17
    with warnings.catch_warnings():
        warnings.simplefilter("error", RefconvWarning)
        names = run_page("fastai", tmp_path)

    # "the exported learner needs no refconv"
    exported = {}
    for space in ("gradient", "kernel"):
        words = [sys.executable, "-c", WITHOUT, f"images/{space}.pkl", "images/valid/cat/0.png", "found.pt"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        exported[space], _ = torch.load("found.pt")
        assert list(exported[space]) == list(before)
        assert not any(torch.equal(exported[space][name], before[name]) for name in kernels(before))

    # "model and optimizer, with the bases, to go on from by learn.load"
    learn = names["learn"] = vision_learner(dls, resnet18, pretrained=False)
    learn.opt_func = names["partial"](names["OptimWrapper"], opt=names["refocused_sgd"])
    learn.create_opt()
    learn.load("gradient")
    for name, value in exported["gradient"].items():
        assert torch.equal(learn.model.state_dict()[name], value)
    optimizer = learn.opt.opt
    assert isinstance(optimizer, refconv.RefocusSGD)
    assert all(torch.equal(optimizer.base(layer), before[f"{layer}.weight"]) for layer in optimizer.layers)
    assert [len(group.get("sites", ())) > 0 for group in optimizer.param_groups] == [False, True, False, True, False]

    # "to go on: refocus, then learn.load", and "an exported learner that is not merged works too"
    learn = vision_learner(dls, resnet18, pretrained=False, opt_func=Adam)
    refconv.refocus(learn.model)
    learn.create_opt()
    learn.load("kernel")
    assert any(bool(state["grad_avg"].any()) for state in learn.opt.state_dict()["state"] if "grad_avg" in state)
    learn.export("unmerged.pkl")
    again = load_learner("images/unmerged.pkl")
    assert len(list(places(again.model))) == 17
    refconv.merge(again.model)
    for name, value in exported["kernel"].items():
        torch.testing.assert_close(again.model.state_dict()[name], value)
