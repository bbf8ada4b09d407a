"""Backbones take over a classifier's weights wholly, or nothing happens and the error says why."""

import pytest
import timm
import torch
from torch import nn

from refconv.errors import CheckpointError
from refconv.models.builders import build
from refconv.models.creation import ModelSpec, load_backbone
from refconv.models.networks import resnet_small
from refconv.models.weights import fill_backbone
from run_checkpoints import INFO, save_run, small_recipe

HOLDERS = {
    "fcos": ("detector:fcos", {"img_size": 64}, "backbone.body"),
    "ssdlite": ("detector:ssdlite", {"img_size": 64}, "backbone.body"),
    "unet": ("smp:Unet", {}, "encoder.model"),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext"])
def test_a_timm_classifier_becomes_the_backbone(holder, backbone):
    name, arguments, inside = HOLDERS[holder]
    model = build(name, num_classes=3, in_chans=3, backbone=backbone, **arguments)
    classifier = timm.create_model(backbone, num_classes=5)
    head_before = {key: value.clone() for key, value in model.state_dict().items() if not key.startswith(inside)}
    assert fill_backbone(model, classifier.state_dict(), where="classifier") == inside
    expected = {key.replace("_", "."): value for key, value in classifier.state_dict().items()}
    for key, value in model.state_dict().items():
        if key.startswith(f"{inside}."):
            assert torch.equal(value, expected[key.removeprefix(f"{inside}.").replace("_", ".")]), key
        else:
            assert torch.equal(value, head_before[key]), key


def test_torchvision_keeps_its_backbone_under_another_name():
    from torchvision import models

    model = build("torchvision:lraspp_mobilenet_v3_large", num_classes=3)
    classifier = models.mobilenet_v3_large()
    assert fill_backbone(model, classifier.state_dict(), where="classifier") == "backbone"
    assert torch.equal(model.backbone["0"][0].weight, classifier.features[0][0].weight)


@pytest.mark.parametrize(
    "classifier",
    [lambda: timm.create_model("test_resnet", in_chans=1), lambda: timm.create_model("test_efficientnet")],
    ids=["other channels", "other architecture"],
)
def test_a_classifier_that_does_not_fit_changes_nothing(classifier):
    model = build("detector:fcos", num_classes=3, in_chans=3, backbone="test_resnet", img_size=64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="there: no part of the model is the backbone of this classifier"):
        fill_backbone(model, classifier().state_dict(), where="there")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_part_of_the_backbone_is_not_enough():
    classifier = resnet_small(channels=(4, 8))
    with pytest.raises(CheckpointError, match="no part"):
        fill_backbone(nn.Sequential(classifier.blocks[0]), classifier.state_dict(), where="there")


@pytest.mark.parametrize("method", ["plain", "refocus"])
def test_a_run_in_training_gives_its_merged_kernels(tmp_path, method):
    recipe = small_recipe(method=method, space="kernel")
    trained = save_run(tmp_path / "run", recipe)
    holder = nn.ModuleDict({"body": ModelSpec.of_run(recipe, INFO).build(), "head": nn.Linear(2, 2)})
    assert load_backbone(holder, tmp_path / "run" / "checkpoint.pt") == "body"
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(holder["body"].eval()(x), trained.eval()(x))
