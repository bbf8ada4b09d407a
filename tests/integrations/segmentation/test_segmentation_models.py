"""docs/integrations/segmentation_models.md, run and checked."""

import pytest
import torch

import refconv
from integration_pages import MARKS, run_page

pytestmark = MARKS


def batches(number):
    draw = torch.Generator().manual_seed(0)
    images = [torch.randn(4, 3, 64, 64, generator=draw) for _ in range(number)]
    return [(image, (image.mean(1) > 0).long() + (image[:, 0] > 1).long()) for image in images]


def refocused(model):
    """Return the names of the encoder's kernels with more than one tap."""
    return {name for name, value in model.encoder.state_dict().items() if value.ndim == 4 and value.shape[-1] > 1}


def test_page_trains_saves_and_resumes_in_both_spaces(tmp_path):
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    before = smp.Unet("resnet18", encoder_weights=None, classes=3)
    before.save_pretrained(tmp_path / "unet")
    names = run_page("segmentation_models", tmp_path, loader=batches(2))
    images, _ = batches(3)[-1]
    kernels = refocused(before)
    assert len(kernels) == 17

    # Gradient space: "an ordinary network", "the groups keep their learning rates"
    gradient = smp.from_pretrained(tmp_path / "unet-gradient")
    saved = torch.load(tmp_path / "last.pt")
    assert refconv.verify(before, gradient).same_structure
    for key, value in gradient.state_dict().items():
        assert torch.equal(value, saved["model"][key])
    groups = saved["optimizer"]["param_groups"]
    assert [(group["lr"], len(group.get("sites", ()))) for group in groups] == [(0.01, 0), (0.01, 17), (0.1, 0)]

    # "loads both states; the bases are in that of the optimizer"
    model = smp.from_pretrained(tmp_path / "unet")
    own = [
        {"params": [*model.encoder.parameters()], "lr": 0.01},
        {"params": [*model.decoder.parameters(), *model.segmentation_head.parameters()], "lr": 0.1},
    ]
    resumed = refconv.RefocusSGD(refconv.param_groups(model, groups=own, include="encoder.*"), momentum=0.9)
    model.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    first = smp.from_pretrained(tmp_path / "unet")
    own = [
        {"params": [*first.encoder.parameters()], "lr": 0.01},
        {"params": [*first.decoder.parameters(), *first.segmentation_head.parameters()], "lr": 0.1},
    ]
    whole = refconv.RefocusSGD(refconv.param_groups(first, groups=own, include="encoder.*"), momentum=0.9)
    for trained, optimizer, seen in ((first, whole, batches(3)), (model, resumed, batches(3)[-1:])):
        for x, y in seen:
            optimizer.zero_grad()
            names["criterion"](trained.train()(x), y).backward()
            optimizer.step()
    for key, value in first.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    for name in kernels:
        layer = f"encoder.{name.removesuffix('.weight')}"
        assert torch.equal(resumed.base(layer), before.encoder.state_dict()[name])

    # Kernel space
    kernel = smp.from_pretrained(tmp_path / "unet-kernel")
    assert refconv.verify(before, kernel).same_structure
    assert refconv.verify(names["model"], names["plain"], images).same_outputs
    torch.testing.assert_close(kernel.eval()(images), names["plain"].eval()(images))
    for after in (gradient, kernel):
        assert not any(
            torch.equal(after.encoder.state_dict()[name], before.encoder.state_dict()[name]) for name in kernels
        )

    # "which from_pretrained refuses"
    names["model"].save_pretrained(tmp_path / "unmerged")
    with pytest.raises(RuntimeError, match="parametrizations"):
        smp.from_pretrained(tmp_path / "unmerged")
