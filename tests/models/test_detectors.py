"""Detectors by name: what they take and give, what is refused, refocusing inside them, and building them again."""

import copy
import json

import pytest
import torch
from torch import nn

import refconv
from refconv.errors import ModelError
from refconv.models.builders import build as build_by_name
from refconv.models.detection_heads import HEADS
from refconv.models.detectors import build_detector, build_torchvision_detector
from refconv.models.weights import classifier_names, fill_backbone, load_state
from refconv.tasks.detection.task import Detection

SIZE = 64
FEW = {"rpn_post_nms_top_n_train": 16, "rpn_post_nms_top_n_test": 16, "box_batch_size_per_image": 16}
THIN = {"width": 32}
QUICK = {"fasterrcnn": {**FEW, **THIN}, "maskrcnn": {**FEW, **THIN}, "fcos": {**THIN, "depth": 2}, "retinanet": THIN}
ARGUMENTS = {"num_classes": 3, "backbone": "test_resnet", "img_size": SIZE}


def built(head, **changes):
    torch.manual_seed(0)
    return build_detector(head, **{**ARGUMENTS, **QUICK.get(head, {}), **changes})


def scenes(dtype=torch.float32):
    """Return two images of different sizes, one of them without any object."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=generator, dtype=dtype) for size in ((64, 64), (48, 64))]
    boxes = torch.tensor([[6.0, 4, 30, 40], [30, 20, 62, 60]], dtype=dtype)
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 4:40, 6:30], masks[1, 20:60, 30:62] = 1, 1
    full = {"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks}
    return images, [
        full,
        {name: value[:0, ..., :48, :] if name == "masks" else value[:0] for name, value in full.items()},
    ]


def losses(model, optimizer, steps, dtype=torch.float32):
    images, targets = scenes(dtype)
    found = []
    for _ in range(steps):
        torch.manual_seed(1)  # the R-CNN heads draw samples
        optimizer.zero_grad()
        loss = sum(model(images, targets).values())
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("head", HEADS)
def test_a_head_trains_and_detects_and_is_built_again_from_plain_values(head):
    arguments = json.loads(json.dumps({**ARGUMENTS, **QUICK.get(head, {})}))
    model = built(head)
    found = losses(model, torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9), 6)
    assert torch.tensor(found).isfinite().all()
    assert found[-1] < found[0]
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    again = build_detector(head, **arguments)
    again.load_state_dict(model.state_dict(), strict=True)
    images, _ = scenes()
    with torch.no_grad():
        one, two = model.eval()(images), again.eval()(images)
    assert [{name: value.tolist() for name, value in image.items()} for image in one] == [
        {name: value.tolist() for name, value in image.items()} for image in two
    ]
    for image, output in zip(images, one, strict=True):
        assert {"boxes", "labels", "scores"} <= output.keys()
        assert (output["boxes"] >= 0).all()
        assert (output["boxes"][:, [3, 2]] <= torch.tensor(image.shape[1:])).all()  # in the image's own pixels
        assert set(output["labels"].tolist()) <= {1, 2, 3}


@pytest.mark.parametrize("head", HEADS)
def test_a_head_is_refocused_alike_in_both_spaces(head):
    # The heads of FCOS and RetinaNet run once per level: the gradient of a kernel sums over the calls.
    before = built(head).double()
    sgd = {"lr": 0.001, "momentum": 0.9}
    kernel = copy.deepcopy(before)
    chosen = {"exclude": ["backbone.body.layer*"]}  # to be quick
    plan = refconv.refocus(kernel, **chosen)
    assert {row.layer.split(".")[0] for row in plan.refocused} > {"backbone"}
    first = losses(kernel, torch.optim.SGD([p for p in kernel.parameters() if p.requires_grad], **sgd), 2, torch.double)
    certificate = Detection().certify(kernel, refconv.merged(kernel), scenes(torch.double)[0])
    assert certificate.same_structure
    assert certificate.same_outputs
    refconv.merge(kernel)
    assert refconv.verify(before, kernel).same_structure
    gradient = copy.deepcopy(before)
    optimizer = refconv.RefocusSGD(refconv.param_groups(gradient, weight_decay=0.0, **chosen), **sgd)
    second = losses(gradient, optimizer, 2, torch.double)
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)
    for name, value in gradient.state_dict().items():
        torch.testing.assert_close(kernel.state_dict()[name], value, rtol=1e-8, atol=1e-9, msg=name)
        if name.endswith("body.conv1.0.weight"):
            assert not torch.equal(before.state_dict()[name], value)


def test_a_shared_head_is_one_layer():
    layers = [row.layer for row in refconv.plan(built("fcos")).refocused]
    assert len(layers) == len(set(layers))
    assert "head.classification_head.conv.0" in layers


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("mobilenetv3_small_050", "ssdlite"),
        ("test_convnext", "fcos"),
        ("test_nfnet", "retinanet"),
        pytest.param("vgg11", "ssd", marks=pytest.mark.slow),
    ],
)
def test_backbones_of_every_kind_carry_heads(backbone, head):
    model = built(head, backbone=backbone)
    images, targets = scenes()
    loss = sum(model(images, targets).values())
    loss.backward()
    assert loss.isfinite()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(("backbone", "strides"), [("mobilenetv3_small_050", (8, 16)), ("test_resnet", (4, 8))])
def test_with_fewer_levels_nothing_waits_for_a_gradient(backbone, strides):
    model = built("retinanet", backbone=backbone, strides=strides)
    sum(model(*scenes()).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("backbone", ["test_convnext", "test_resnet", "mobilenetv3_small_050"])
def test_a_classifier_fills_the_body(backbone):
    import timm

    model, classifier = built("fcos", backbone=backbone), timm.create_model(backbone, num_classes=7)
    assert fill_backbone(model, classifier.state_dict(), where="classifier") == "backbone.body"


@pytest.mark.parametrize("size", [64, 128, 320])
@pytest.mark.parametrize("head", ["ssdlite", "fcos", "retinanet"])
def test_some_anchor_or_point_fits_objects_of_most_sizes(head, size):
    # A box of a quarter, half and most of the image has to be trainable: the loss of its box is not zero.
    model = (
        build_detector(head, num_classes=2, backbone="test_resnet", img_size=size, width=32)
        if (head != "ssdlite")
        else build_detector(head, num_classes=2, backbone="test_resnet", img_size=size)
    )
    for share in (0.25, 0.5, 0.9):
        side = share * size
        box = torch.tensor([[2.0, 2.0, 2 + side, 2 + side]]).clamp(max=size)
        found = model([torch.rand(3, size, size)] * 2, [{"boxes": box, "labels": torch.tensor([1])}] * 2)
        assert float(found["bbox_regression"].detach()) > 0


def test_images_are_normalised_as_the_backbone_was():
    assert built("fcos").transform.image_mean == [0.5, 0.5, 0.5]  # timm's words about test_resnet
    given = built("fcos", image_mean=[0.1, 0.2, 0.3], image_std=[1.0, 2.0, 3.0]).transform
    assert (given.image_mean, given.image_std) == ([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    grey = built("fcos", in_chans=1)
    assert grey.transform.image_mean == [0.5]
    assert len(grey.eval()([torch.rand(1, 64, 64)])) == 1


def test_norms_can_be_kept_as_they_are():
    model = built("ssdlite", frozen_norm=True)
    before = copy.deepcopy(model.backbone.body.state_dict())
    losses(model, torch.optim.SGD(model.parameters(), lr=0.01), 1)
    after = model.backbone.body.state_dict()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.backbone.body.modules())
    assert all(torch.equal(after[name], before[name]) for name in after if "running" in name or "bn" in name)
    assert any(not torch.equal(after[name], before[name]) for name in after)


@pytest.mark.parametrize("head", ["ssdlite", "fcos", "retinanet", "fasterrcnn"])
def test_under_autocast_coordinates_stay_exact(head):
    # In bf16 the anchors of an image of 512 pixels would lie on a grid of two or more pixels.
    model = built(head, img_size=512, strides=(32,), width=32) if head != "ssdlite" else built(head, img_size=512)
    generator = model.rpn.anchor_generator if head == "fasterrcnn" else model.anchor_generator
    seen = []
    generator.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    image = torch.rand(3, 512, 512, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.eval()([image])
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model([image])
    assert torch.equal(*seen)
    assert outputs[0]["boxes"].dtype == outputs[0]["scores"].dtype == torch.float32


def test_class_layers_are_those_that_change_with_the_classes():
    for head in HEADS:
        few, many = built(head).state_dict(), built(head, num_classes=5).state_dict()
        resized = {name for name in few if few[name].shape != many[name].shape}
        assert resized
        assert resized <= classifier_names(built(head))


@pytest.mark.parametrize("head", HEADS)
def test_a_detector_of_other_classes_is_taken_over_with_its_class_layers_anew(head):
    model, other = built(head), built(head, num_classes=5)
    with torch.no_grad():
        for value in other.parameters():
            value.fill_(0.5)
    anew = set(load_state(model, other.state_dict(), where="other", reset_classifier=True))
    assert {name for name, p in model.named_parameters() if (p == 0.5).all()} == {
        name for name, _ in model.named_parameters() if name not in anew
    }
    assert {name for name, p in other.state_dict().items() if p.shape != model.state_dict()[name].shape} <= anew


def test_torchvisions_small_detector_trains_and_detects_at_small_size():
    torch.manual_seed(0)
    model = build_torchvision_detector("ssdlite320_mobilenet_v3_large", num_classes=3, img_size=SIZE)
    found = losses(model, torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9), 3)
    assert found[-1] < found[0]
    assert all(p.requires_grad for p in model.parameters())
    assert len(model.eval()(scenes()[0])) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2", "fcos_resnet50_fpn", "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2",
        "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large",
    ],
)  # fmt: skip
def test_all_of_torchvisions_detectors_train_and_detect(name):
    model = build_torchvision_detector(name, num_classes=3, img_size=None if name == "ssd300_vgg16" else SIZE)
    loss = sum(model(*scenes()).values())
    loss.backward()
    assert loss.isfinite()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    plan = refconv.refocus(model)
    assert plan.refocused
    refconv.merge(model)
    assert len(model.eval()(scenes()[0])) == 2


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: build_detector("yolo", backbone="test_resnet"), "detector:yolo: unknown detection head; expected"),
        (lambda: build_detector("retina", backbone="test_resnet"), "did you mean detector:retinanet"),
        (lambda: build_detector("fcos"), "backbone: no backbone named; give --backbone"),
        (lambda: build_detector("fcos", backbone="resnet19"), "resnet19: unknown backbone; .*did you mean resnet"),
        (lambda: build_detector("fcos", backbone="vit_tiny_patch16_224"), "vit_tiny_patch16_224: .*feature maps"),
        (
            lambda: build_detector("fcos", backbone="efficientnet_lite"),
            "did you mean efficientnet_lite0 or efficientnet_lite1 or efficientnet_lite2",
        ),
        (lambda: built("fcos", img_size=16), "images too small for a detector; .*at least 32, found 16"),
        (lambda: built("fcos", wdith=64), "fcos, wdith: unknown argument; .*did you mean width"),
        (lambda: built("fcos", width=48), "invalid width; expected a multiple of 32, found 48"),
        (lambda: built("fcos", strides=[8, 32]), "invalid strides"),
        (lambda: built("fcos", strides=[1, 2, 4]), "no feature maps for this head; expected strides 1, 2, 4"),
        (lambda: built("retinanet", anchor_sizes=[8, 16]), "wrong number of anchor sizes; expected 4 for strides 4"),
        (lambda: built("ssdlite", anchor_sizes=[8]), "ssdlite, anchor_sizes: unknown argument"),
        (lambda: build_torchvision_detector("keypointrcnn_resnet50_fpn"), "keypoint detection is not supported"),
        (lambda: build_by_name("torchvision:fcos_resnet5_fpn"), "unknown model; did you mean fcos_resnet50_fpn"),
        (lambda: build_torchvision_detector("ssd300_vgg16", img_size=64), "one size only; expected img_size = 300"),
        (lambda: build_by_name("torchvision:fcos_resnet50_fpn", in_chans=1), "torchvision's models take 3 channels"),
        (
            lambda: build_torchvision_detector("fcos_resnet50_fpn", trainable_backbone_layers=2),
            "trainable_backbone_layers: unknown argument; .*--train",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_in_one_line(build, words):
    with pytest.raises(ModelError, match=words) as raised:
        build()
    assert "\n" not in str(raised.value)
