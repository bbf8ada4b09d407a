"""transformers' pipeline takes a folder that ``refconv export --format hub`` wrote, with timm's own preprocessing."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import refconv
from exported_networks import lively

pytestmark = pytest.mark.integrations

INPUT = {
    "input_size": [3, 32, 32], "mean": [0.2, 0.4, 0.6], "std": [0.5, 0.25, 0.125], "interpolation": "bicubic",
    "crop_pct": 0.8, "crop_mode": "center",
}  # fmt: skip


def test_the_example_of_the_page_runs(tmp_path, image, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs/export.md").read_text(encoding="utf-8")
    (code,) = (block for block in page.split("```")[1::2] if "from transformers import pipeline" in block)
    monkeypatch.chdir(tmp_path)
    image.save("photo.jpg")
    model = lively(timm.create_model("test_resnet", num_classes=3))
    known = {"preprocessing": INPUT, "class_names": ("cat", "dog", "frog"), "license": "unknown"}
    refconv.export(model, "hub-folder", format="hub", **known)
    exec(code, {})
    assert "frog" in capsys.readouterr().out


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))


def as_timm_does(folder, image):
    """Return the logits of the folder's network by timm alone."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        return model(transform(image)[None])[0]


@pytest.mark.parametrize("only_the_preprocessor", [False, True], ids=["folder", "preprocessor_config.json"])
def test_the_pipeline_classifies_as_timm_does(tmp_path, image, only_the_preprocessor):
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    model = lively(timm.create_model("test_resnet", num_classes=3))
    names = ("cat", "dog", "frog")
    refconv.export(model, tmp_path / "n", format="hub", preprocessing=INPUT, class_names=names, license="unknown")
    folder = str(tmp_path / "n")
    if only_the_preprocessor:  # which is read instead of config.json where the folder is on a hub
        processor = AutoImageProcessor.from_pretrained(folder, image_processor_filename="preprocessor_config.json")
        network = AutoModelForImageClassification.from_pretrained(folder)
        classify = pipeline("image-classification", model=network, image_processor=processor)
    else:
        classify = pipeline("image-classification", model=folder)
    found = {entry["label"]: entry["score"] for entry in classify(image)}
    wanted = as_timm_does(folder, image).softmax(0)
    assert found == pytest.approx(dict(zip(names, wanted.tolist(), strict=True)), abs=1e-5)


def test_several_labels_have_a_sigmoid_each_as_the_card_says(tmp_path, image):
    from transformers import pipeline

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    names = ("cat", "dog", "frog")
    known = {"preprocessing": INPUT, "class_names": names, "license": "unknown", "task": "multilabel"}
    refconv.export(model, tmp_path / "n", format="hub", **known)
    folder = str(tmp_path / "n")
    assert 'classify("image.jpg", function_to_apply="sigmoid")' in (tmp_path / "n/README.md").read_text()
    classify = pipeline("image-classification", model=folder)
    found = {entry["label"]: entry["score"] for entry in classify(image, function_to_apply="sigmoid")}
    wanted = as_timm_does(folder, image).sigmoid()
    assert found == pytest.approx(dict(zip(names, wanted.tolist(), strict=True)), abs=1e-5)
