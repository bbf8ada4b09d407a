"""Every command gives a network the tensor that timm's, or torchvision's, own evaluation transform makes."""

import dataclasses
from types import SimpleNamespace

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn
from torchvision import models

from image_folders import two_classes
from refconv.cli import main
from refconv.data import Augmentation, open_data
from refconv.data.preprocessing import FLAGS, RECIPE, Statement, resolve
from refconv.errors import SettingError
from refconv.models.model_input import as_run, of_name, of_recipe, stated_by
from refconv.models.opening import Opened, input_of, open_model
from refconv.recipe.recipe import Recipe
from refconv.tasks.classification.task import Classification
from refconv.tasks.model_data import data_for
from refconv.tasks.teaching import for_teacher

TIMM = (
    "test_convnext", "test_resnet", "test_efficientnet", "tf_efficientnet_lite0", "tf_efficientnet_lite4",
    "tf_efficientnet_b7.ns_jft_in1k", "tf_efficientnetv2_s.in21k", "resnet50.a1_in1k", "resnet50.tv_in1k",
    "resnet50.fb_swsl_ig1b_ft_in1k", "resnetv2_50x1_bit.goog_in21k", "mobilenetv3_large_100.ra_in1k",
    "mobilevit_s", "inception_v3.tv_in1k", "inception_v4", "nasnetalarge", "xception41", "dpn68",
    "deepseek_vit_412m.deepseek_v4_flash_vision_exp",
    "convnext_tiny.in12k_ft_in1k_384", "vit_base_patch16_224", "vit_base_patch16_clip_224.openai",
    "vit_base_patch16_siglip_224", "volo_d4_448", "beit_base_patch16_384",
)  # fmt: skip
TORCHVISION = (
    "resnet18", "resnet50", "inception_v3", "googlenet", "efficientnet_b0", "efficientnet_b1", "efficientnet_v2_s",
    "swin_t", "regnet_y_400mf", "maxvit_t",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return two_classes(tmp_path_factory.mktemp("images"), (160, 120))


def theirs(name):
    if name in TORCHVISION:
        return models.get_model_weights(name).DEFAULT.transforms()
    cfg = timm.models.get_pretrained_cfg(name, allow_unregistered=False).to_dict()
    return create_transform(**resolve_data_config(pretrained_cfg=cfg), is_training=False)


def full(name):
    return f"torchvision:{name}" if name in TORCHVISION else name


def opened_as(name, **settings):
    bare = Opened(nn.Identity(), name, {"in_chans": 3, "num_classes": 2}, **settings)
    return dataclasses.replace(bare, stated=of_name(name))


class Seen(nn.Module):
    """Keeps what it is given."""

    def forward(self, inputs):
        self.inputs = inputs
        return torch.zeros(len(inputs), 2)


@pytest.mark.parametrize("name", [*TIMM, *TORCHVISION])
def test_commands_feed_what_the_library_feeds(name, folder):
    with Image.open(folder / "val/a/0.png") as image:
        picture = image.convert("RGB")
    expected, model = theirs(name)(picture), full(name)

    def first(data, split="test"):
        return next(data.eval_batches(split, batch_size=1))[0][0]

    recipe = Recipe(model=model, pretrained=True, data=f"folder:{folder}", workers=0)
    trained = Classification().open_data(recipe)
    assert torch.equal(first(trained), expected), "evaluation of train"

    opened = opened_as(model)
    assert torch.equal(first(data_for(opened, f"folder:{folder}")), expected), "eval"
    seen = Seen()
    looking = dataclasses.replace(opened, model=seen)
    Classification().predict(looking, picture, device=torch.device("cpu"), threshold=0)
    assert torch.equal(seen.inputs[0], expected), "predict"

    # The student has another normalisation; all else is the teacher's.
    said = {key: opened.stated.values[key] for key in ("interpolation", "crop_pct", "crop_mode")}
    size = trained.preprocessing.size
    said |= {"input_size": (3, *size), "mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.2435, 0.2616)}
    if opened.stated.values["crop_mode"] == "border":  # timm pads with the mean, which is the student's there
        said["mean"] = opened.stated.values["mean"]
    student = open_data(f"folder:{folder}", stated=[dataclasses.replace(of_name(model), values=said)])
    prepare = for_teacher(student.info, opened)
    assert torch.equal(prepare(first(student)[None])[0], expected), "teacher"

    # What a run writes down is read back by timm.
    cfg = as_run(trained.preprocessing, recipe)
    again = create_transform(**resolve_data_config(pretrained_cfg=cfg))
    assert torch.equal(again(picture), expected), "config.json"


def test_the_names_differ_in_everything():
    found = [open_values(full(name)) for name in (*TIMM, *TORCHVISION)]
    for key, least in (("mean", 4), ("std", 4), ("interpolation", 2), ("crop_pct", 10), ("input_size", 8)):
        assert len({value[key] for value in found}) >= least, key
    assert {value["crop_mode"] for value in found} == {"center", "squash", "border"}


def open_values(name):
    values = dict(of_name(name).values)
    values.setdefault("crop_mode", "center")
    values["input_size"] = tuple(values.get("input_size") or (3, *[values.get("img_size")] * 2))
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def test_a_mean_for_values_up_to_255_is_refused(folder):
    recipe = Recipe(model="test_convnext", data=f"folder:{folder}", mean=(123.7, 116.3, 103.5), std=0.25)
    with pytest.raises(
        SettingError, match=r"mean: out of range; .*from 0 to 1, found 123.7 .*divide mean and std by 255"
    ):
        Classification().open_data(recipe)


def test_a_flag_wins_over_the_recipe_and_this_over_the_model(folder):
    recipe = Recipe(model="test_convnext", pretrained=True, data=f"folder:{folder}", mean=0.25, std=0.5, img_size=64)
    found = Classification().open_data(recipe).preprocessing
    assert (found.size, found.mean, found.interpolation) == ((64, 64), (0.25,) * 3, "bicubic")
    assert found.sources == {
        "input_size": "recipe", "mean": "recipe", "std": "recipe", "interpolation": "timm's test_convnext",
        "crop_pct": "timm's test_convnext", "crop_mode": "timm's test_convnext",
    }  # fmt: skip
    asked = opened_as("test_convnext", recipe=recipe, flags={"img_size": 48})
    found = data_for(asked).preprocessing
    assert (found.size, found.mean, found.sources["input_size"]) == ((48, 48), (0.25,) * 3, "flags")


def test_fresh_weights_say_nothing_but_a_fixed_size(folder):
    recipe = Recipe(model="test_convnext", data=f"folder:{folder}")
    assert not of_recipe(recipe)
    assert not stated_by(recipe)
    assert of_recipe(Recipe(model="vit_tiny_patch16_224", data="digits")).values == {"input_size": (3, 224, 224)}


@pytest.mark.parametrize(
    ("settings", "crop_pct", "source"),
    [
        ({}, 1.0, "as in training"),
        ({"scale": (0.5, 1.0)}, 0.875, "ImageNet's default"),
        ({"crop_pct": 0.9}, 0.9, "recipe"),
    ],
    ids=str,
)
def test_evaluation_crops_no_more_than_training(settings, crop_pct, source, folder):
    recipe = Recipe(model="test_resnet", data=f"folder:{folder}", **settings)
    found = Classification().open_data(recipe).preprocessing
    assert (found.crop_pct, found.sources["crop_pct"]) == (crop_pct, source)


def test_the_size_of_equal_square_images_is_the_size_where_nobody_says_it(tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(tmp_path / split / name / "0.png")
    bare = Opened(nn.Identity(), "mine:net", {"in_chans": 3, "num_classes": 2})
    found = data_for(bare, f"folder:{tmp_path}").preprocessing
    assert (found.size, found.crop_pct, found.mean[0]) == ((32, 32), 1.0, 0.485)
    assert "32 x 32 px, whole (size of the images)" in str(found)
    assert open_data(f"folder:{tmp_path}", augmentation=Augmentation(scale=(0.5, 1.0))).preprocessing.crop_pct == 1.0
    Image.new("RGB", (32, 40)).save(tmp_path / "train" / "b" / "y.png")
    assert data_for(bare, f"folder:{tmp_path}").preprocessing.size == (224, 224)


def test_one_number_is_taken_for_all_channels(folder):
    bare = Opened(nn.Identity(), "mine:net", {"in_chans": 3}, flags={"mean": (0.5,), "std": (0.25,)})
    found = data_for(bare, f"folder:{folder}", labelled=False).info
    assert (found.mean, found.std) == ((0.5,) * 3, (0.25,) * 3)


def test_a_models_own_pretrained_cfg_is_heard():
    from refconv.models.model_input import of_model

    network = SimpleNamespace(pretrained_cfg={"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3)})
    found = of_model(network, by="mine:net").values
    assert (found["input_size"], found["mean"], found["interpolation"]) == ((3, 32, 32), (0.1, 0.2, 0.3), "bicubic")


@pytest.mark.parametrize(
    ("size", "said", "far"),
    [
        (112, {"input_size": (3, 224, 224)}, False),
        (111, {"input_size": (3, 224, 224)}, True),
        (448, {"input_size": (3, 224, 224)}, False),
        (449, {"input_size": (3, 224, 224)}, True),
        (449, {"input_size": (3, 224, 224), "test_input_size": (3, 288, 288)}, False),
        (577, {"input_size": (3, 224, 224), "test_input_size": (3, 288, 288)}, True),
        (32, {"img_size": 300}, True),
        (32, {"mean": (0.5,)}, False),
    ],
)
def test_a_size_far_from_that_of_the_model_is_said(size, said, far):
    for known in ({"of_run": True}, {"of_weights": True}):
        used = resolve([Statement(FLAGS, {"img_size": size}), Statement("the model", said, **known)], in_chans=3)
        assert (used.warning is not None) == far
        assert "far_from" not in used.as_pretrained_cfg()
    own = "300 x 300 px" if "img_size" in said else "224 x 224 px"
    assert not far or used.warning.startswith(
        f"warning: images of {size} x {size} px are far from what the model was made for, {own} (the model), and "
    )


def test_only_the_users_own_size_is_compared_and_only_with_that_of_the_weights():
    model = Statement("the model", {"img_size": 224}, of_weights=True)
    sized = {"img_size": 32}
    assert resolve([Statement(RECIPE, sized), model], in_chans=3).warning is None  # training at this size
    assert resolve([Statement("size of the images", sized), model], in_chans=3).warning is None
    assert resolve([Statement(FLAGS, sized), Statement("data", {"img_size": 224})], in_chans=3).warning is None
    trained = Statement("recipe.toml", {"img_size": 32}, of_run=True)
    assert resolve([Statement(FLAGS, sized), trained, model], in_chans=3).warning is None


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    place = tmp_path_factory.mktemp("adopted")
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), place / "w.pth")
    named = ["--model", "test_resnet", "--img-size", "40", "--out", str(place / "model")]
    assert main(["adopt", str(place / "w.pth"), *named]) == 0
    return place


@pytest.mark.parametrize("command", ["eval", "predict", "export", "analyze"])
def test_commands_that_evaluate_or_export_say_that_a_size_is_far_from_the_models(command, adopted, folder, capsys):
    model, data, cpu = str(adopted / "model"), ["--data", f"folder:{folder}"], ["--device", "cpu"]
    words = {
        "eval": ["eval", model, *data, *cpu],
        "predict": ["predict", model, str(folder / "val/a/0.png"), *cpu],
        "export": ["export", model, "--out", str(adopted / "m.torchscript"), "--force"],
        "analyze": ["analyze", "--before", model, "--after", model, *data, *cpu, "--only", "agreement"],
    }[command]
    expected = (
        "warning: images of 96 x 96 px are far from what the model was made for, 40 x 40 px (model/config.json), and "
        "it may do much worse on them: leave --img-size out, or give a size between half of that and twice as much"
    )
    capsys.readouterr()
    assert main([*words, "--img-size", "96"]) == 0
    assert capsys.readouterr().err.splitlines().count(expected) == 1
    for near in ([], ["--img-size", "64"]):
        assert main([*words, *near]) == 0
        assert "far from" not in capsys.readouterr().err


def test_librarys_weights_were_made_for_a_size_and_a_file_of_weights_for_one_that_nobody_knows(tmp_path, monkeypatch):
    network = timm.create_model("test_resnet")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    flags = {"img_size": 40}
    own = open_model(str(tmp_path / "w.pth"), model="test_resnet", flags=flags)
    assert input_of(own).warning is None
    monkeypatch.setattr("refconv.models.opening.create_model", lambda *names, **how: network)
    published = open_model("test_resnet", pretrained=True, flags=flags)
    assert "made for, 160 x 160 px (timm's test_resnet), and" in input_of(published).warning
