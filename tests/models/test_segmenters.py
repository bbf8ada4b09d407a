"""Segmentation models by name: what they take, what they give, what is refused, and refocusing inside them."""

import copy
import json

import pytest
import torch
from torchvision import models

from refconv.errors import ModelError
from refconv.layers import find_layers
from refconv.models.builders import build as build_by_name
from refconv.models.segmenters import build_smp, build_torchvision_segmenter, smp_models
from refconv.surgery import merge, plain_state_dict, refocus, verify

LRASPP = "lraspp_mobilenet_v3_large"
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def lraspp():
    torch.manual_seed(0)
    return build_torchvision_segmenter(LRASPP, num_classes=5).eval()


def test_lraspp_gives_one_map_per_class(lraspp):
    outputs = lraspp(IMAGES)
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {"out": (2, 5, 64, 64)}


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", pytest.param("fcn_resnet50", marks=pytest.mark.slow)])
def test_an_auxiliary_output_comes_when_it_is_asked_for(name):
    outputs = build_torchvision_segmenter(name, num_classes=5, aux_loss=True).eval()(IMAGES)
    assert {key: tuple(value.shape) for key, value in outputs.items()} == {"out": (2, 5, 64, 64), "aux": (2, 5, 64, 64)}
    assert set(build_torchvision_segmenter(name, num_classes=5).eval()(IMAGES)) == {"out"}


def test_nothing_is_downloaded_unless_asked_for(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a download")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fail)
    monkeypatch.setattr("torchvision._internally_replaced_utils.load_state_dict_from_url", fail)
    monkeypatch.setattr("timm.models._builder.load_pretrained", fail)
    built = build_torchvision_segmenter(LRASPP), build_smp("Linknet", backbone="test_resnet", num_classes=2)
    assert all(sum(1 for _ in model.parameters()) for model in built)
    with pytest.raises(AssertionError, match="a download"):
        build_smp("Linknet", backbone="test_resnet", num_classes=2, pretrained=True)


@pytest.mark.parametrize("classes", [21, 5])
def test_own_weights_are_loaded_but_for_another_number_of_classes(monkeypatch, classes):
    torch.manual_seed(1)
    theirs = build_torchvision_segmenter(LRASPP).state_dict()
    weights = models.get_model_weights(LRASPP)
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: theirs)
    loaded = build_torchvision_segmenter(LRASPP, num_classes=classes, pretrained=True).state_dict()
    differing = {name for name in loaded if not torch.equal(loaded[name], theirs[name])}
    ends = {f"classifier.{end}_classifier.{name}" for end in ("low", "high") for name in ("weight", "bias")}
    assert differing == (set() if classes == 21 else ends)


def test_own_weights_of_an_auxiliary_head_that_is_not_built_are_left_out(monkeypatch):
    name = "deeplabv3_mobilenet_v3_large"
    theirs = build_torchvision_segmenter(name, aux_loss=True).state_dict()
    monkeypatch.setattr(models.get_model_weights(name), "get_state_dict", lambda *_, **__: theirs)
    loaded = build_torchvision_segmenter(name, pretrained=True).state_dict()
    assert not any(key.startswith("aux") for key in loaded)
    assert all(torch.equal(value, theirs[key]) for key, value in loaded.items())


@pytest.mark.parametrize("name", sorted(set(smp_models()) - {"PAN"}))
def test_every_decoder_takes_a_backbone_of_timm(name):
    model = build_smp(name, num_classes=4, backbone="test_efficientnet").eval()
    assert model(IMAGES).shape == (2, 4, 64, 64)


def test_pan_needs_larger_images():
    assert (
        build_smp("PAN", num_classes=4, backbone="test_efficientnet").eval()(torch.rand(1, 3, 128, 128)).shape[1] == 4
    )
    assert set(smp_models()) >= {"PAN", "Unet"}


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "mobilenetv3_small_050"])
def test_backbones_keep_timms_weights_and_take_other_channels(backbone):
    model = build_smp("linknet", num_classes=4, in_chans=1, backbone=backbone).eval()
    assert model(IMAGES[:, :1]).shape == (2, 4, 64, 64)
    assert any(layer.name.startswith("encoder.model.") for layer in find_layers(model))


ARGUMENTS = {
    "lraspp": (build_torchvision_segmenter, {"name": LRASPP, "num_classes": 3}),
    "unet": (
        build_smp,
        {
            "name": "Unet",
            "num_classes": 3,
            "backbone": "test_resnet",
            "encoder_depth": 3,
            "decoder_channels": [16, 8, 8],
        },
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_model_is_built_again_from_json(case):
    build, arguments = ARGUMENTS[case]
    first, second = build(**arguments), build(**json.loads(json.dumps(arguments)))
    second.load_state_dict(first.state_dict(), strict=True)
    assert verify(first, second, IMAGES).largest_output_difference == 0


@pytest.mark.parametrize("case", ARGUMENTS)
def test_refocusing_inside_changes_nothing_at_first_and_merges_exactly(case):
    build, arguments = ARGUMENTS[case]
    torch.manual_seed(0)
    model = build(**arguments)
    before = copy.deepcopy(model)
    plan = refocus(model)
    assert plan.refocused
    assert verify(before, model, IMAGES).largest_output_difference == 0
    outputs = model.train()(IMAGES)
    (outputs["out"] if isinstance(outputs, dict) else outputs).square().mean().backward()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    optimizer.step()
    fresh = build(**arguments)
    fresh.load_state_dict(plain_state_dict(model), strict=True)
    certificate = verify(model, fresh, IMAGES)
    assert certificate.same_structure
    assert certificate.same_outputs
    merge(model)
    assert verify(model, fresh, IMAGES).largest_output_difference == 0
    assert verify(before, fresh).largest_kernel_difference > 0


REFUSED_BY_TORCHVISION = {
    "channels": ({"in_chans": 1}, "torchvision's models take 3 channels"),
    "backbone": ({"backbone": "resnet18"}, "has a fixed backbone"),
    "lost": ({"drop_path_rate": 0.1}, "takes no drop_path_rate; expected no further arguments"),
    "weights": ({"weights": "DEFAULT"}, "weights cannot be given; give pretrained"),
}
REFUSED_BY_SMP = {
    "decoder": ({"name": "Unett"}, "unknown segmentation model; .*did you mean Unet"),
    "transformer": ({"name": "DPT"}, "needs a vision transformer"),
    "backbone": ({"backbone": "resnet17"}, "resnet17: unknown backbone; expected a timm name; did you mean resnet18"),
    "letter": ({"decoder_chanels": [1]}, "takes no decoder_chanels; .*did you mean decoder_channels"),
    "activation": ({"activation": "softmax"}, "activation cannot be given: the loss"),
    "classes": ({"classes": 3}, "classes cannot be given; give num_classes"),
    "drop": ({"drop_rate": 0.1}, "drop_rate cannot be given: dropout"),
}


@pytest.mark.parametrize("case", REFUSED_BY_TORCHVISION)
def test_what_has_no_place_in_torchvisions_models_is_refused(case):
    arguments, words = REFUSED_BY_TORCHVISION[case]
    with pytest.raises(ModelError, match=words):
        build_by_name(f"torchvision:{LRASPP}", **arguments)


@pytest.mark.parametrize("case", REFUSED_BY_SMP)
def test_what_has_no_place_in_smps_models_is_refused(case):
    arguments, words = REFUSED_BY_SMP[case]
    with pytest.raises(ModelError, match=words):
        build_smp(**{"name": "Unet", "backbone": "test_resnet", **arguments})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "segmentation_models_pytorch", None)
    with pytest.raises(ModelError, match=r"smp:: needs a package that is not installed; .*refconv\[tasks\]"):
        build_smp("Unet")
