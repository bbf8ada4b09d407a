"""What models say about their input: transformers' files, folders of runs as timm reads them, earlier checkpoints."""

import dataclasses
import json

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import nn
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from image_folders import two_classes
from refconv.digests import with_digest
from refconv.engine import Recipe, train
from refconv.errors import DataError
from refconv.models.model_input import of_weights
from refconv.models.opening import Opened, open_model
from refconv.tasks.model_data import data_for, first_samples

HALF = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.3]}
NORMALISED = transforms.Normalize(HALF["image_mean"], HALF["image_std"])
BICUBIC, BILINEAR = InterpolationMode.BICUBIC, InterpolationMode.BILINEAR


def sized(side, mode, crop=None):
    return [transforms.Resize(side, mode), *([transforms.CenterCrop(crop)] if crop else []), transforms.ToTensor()]


PROCESSORS = {
    # Processors of transformers, and what each does to an image in the words of torchvision.
    "resnet": (
        {
            "size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "do_center_crop": True,
            "resample": 3,
        },
        [*sized(32, BICUBIC, 28), NORMALISED],
    ),
    "vit": ({"size": {"height": 24, "width": 24}, "resample": 2}, [*sized((24, 24), BILINEAR), NORMALISED]),
    "old vit": ({"size": 24}, [*sized(24, BILINEAR, 24), NORMALISED]),
    "convnext": (
        {"size": {"shortest_edge": 28}, "crop_pct": 0.875, "resample": 3},
        [*sized(32, BICUBIC, 28), NORMALISED],
    ),
    "large convnext": (
        {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3},
        [*sized((384, 384), BICUBIC), NORMALISED],
    ),
    "mobilenet": (
        {"size": {"shortest_edge": 32}, "crop_size": 24, "do_center_crop": True, "do_normalize": False, "resample": 2},
        sized(32, BILINEAR, 24),
    ),
    "mobilevit": (
        {
            "size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "do_center_crop": True,
            "do_normalize": False, "resample": 2, "do_flip_channel_order": True,
        },
        [*sized(32, BILINEAR, 28), lambda image: image.flip(0)],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return two_classes(tmp_path_factory.mktemp("images"), (64, 48), 4)


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_a_processor_of_transformers_says_is_done(name, folder, tmp_path):
    said, steps = PROCESSORS[name]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**HALF, **said}))
    (tmp_path / "model.safetensors").touch()
    bare = Opened(nn.Identity(), "mine:net", {"in_chans": 3, "num_classes": 2})
    opened = dataclasses.replace(bare, stated=of_weights(tmp_path / "model.safetensors"))
    assert opened.stated.by == "preprocessor_config.json"
    with Image.open(folder / "val/a/0.png") as image:
        expected = transforms.Compose(steps)(image.convert("RGB"))
    assert torch.equal(first_samples(data_for(opened, f"folder:{folder}"), 1)[0], expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "damaged or of an unknown layout"),
        (json.dumps({"size": {"longest_edge": 224}}), "damaged or of an unknown layout; found 'shortest_edge'"),
        (
            json.dumps({"rescale_factor": 1 / 127.5}),
            "does not scale images to the range 0 to 1; .*give --mean and --std",
        ),
        (json.dumps({"do_rescale": False}), "does not scale images to the range 0 to 1"),
    ],
)
def test_a_processor_that_is_not_understood_is_refused(text, words, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(text)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(DataError, match=f"preprocessor_config.json: .*{words}"):
        of_weights(tmp_path / "model.safetensors")


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run with values that are nobody's default."""
    out = tmp_path_factory.mktemp("runs") / "run"
    recipe = Recipe(
        model="test_resnet", data=f"folder:{folder}", epochs=1, batch_size=4, workers=0, device="cpu", lr=0.01,
        img_size=40, interpolation="bicubic", crop_pct=0.95, mean=0.5, std=(0.25, 0.3, 0.35), scale=(0.5, 1.0),
    )  # fmt: skip
    train(recipe, out, show=False)
    return out


def test_timm_reads_back_the_values_that_a_run_used(run, folder):
    model = timm.create_model(f"local-dir:{run / 'model'}", pretrained=True)
    config = resolve_model_data_config(model)
    assert config == {
        "input_size": (3, 40, 40), "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.25, 0.3, 0.35],
        "crop_pct": 0.95, "crop_mode": "center",
    }  # fmt: skip
    with Image.open(folder / "val/a/0.png") as image:
        expected = create_transform(**config)(image)
    opened = open_model(str(run))
    assert torch.equal(first_samples(data_for(opened), 1)[0], expected)
    torch.testing.assert_close(model.eval()(expected[None]), opened.model(expected[None]))


def test_a_checkpoint_of_before_preprocessing_was_stored_prepares_as_its_run_did(run, tmp_path):
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    assert content.pop("preprocessing")["crop_pct"] == 0.95
    torch.save(with_digest(content), tmp_path / "checkpoint.pt")
    (before, now), samples = (run / "checkpoint.pt", tmp_path / "checkpoint.pt"), []
    for path in (before, now):
        opened = open_model(str(path))
        samples.append(first_samples(data_for(opened), 9))
    assert torch.equal(*samples)
    assert of_weights(now).values == of_weights(before).values
