"""docs/integrations/lightning.md, run and checked."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, TensorDataset

import refconv
from integration_pages import MARKS, run_page

pytestmark = MARKS


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return the names that the page has defined, the weights of the backbone before it, and the folder."""
    place = tmp_path_factory.mktemp("page")
    draw = torch.Generator().manual_seed(0)
    images = TensorDataset(torch.randn(16, 3, 32, 32, generator=draw), torch.arange(16) % 3)
    torch.manual_seed(0)
    before = timm.create_model("test_convnext", num_classes=0).state_dict()
    save_file(before, place / "backbone.safetensors")
    return run_page("lightning", place, loader=DataLoader(images, batch_size=4)), before, place


def kernels(model):
    return [f"{layer.name}.weight" for layer in refconv.find_layers(model) if layer.kind != "pointwise"]


def test_backbone_is_frozen_at_first_and_refocused_then(done):
    names, before, place = done
    for space, key in (("gradient", "backbone.stem.0.weight"), ("kernel", "backbone.stem.0.bias")):
        first, second = (torch.load(place / f"runs/{space}/epoch={n}.ckpt")["state_dict"] for n in (0, 1))
        assert torch.equal(first[key], before[key.removeprefix("backbone.")])
        assert not torch.equal(second[key], first[key])
    optimizer = names["models"]["gradient"].optimizers(use_pl_optimizer=False)
    assert {f"{layer.removeprefix('backbone.')}.weight" for layer in optimizer.layers} == set(
        kernels(timm.create_model("test_convnext", num_classes=0))
    )
    assert all(bool(optimizer.refocus_weight(layer).any()) for layer in optimizer.layers)
    assert len(optimizer.param_groups[-1]["params"]) == len(list(names["models"]["gradient"].backbone.parameters()))


@pytest.mark.parametrize("space", ["gradient", "kernel"])
def test_results_are_plain_networks_with_other_kernels(done, space):
    names, before, place = done
    backbone = names["models"][space].backbone
    plain = timm.create_model("test_convnext", num_classes=0)
    plain.load_state_dict(backbone.state_dict(), strict=True)
    assert refconv.verify(backbone.eval(), plain.eval(), torch.randn(2, 3, 32, 32)).largest_output_difference == 0
    assert kernels(plain)
    assert not any(torch.equal(plain.state_dict()[key], before[key]) for key in kernels(plain))
    if space == "kernel":
        plain.load_state_dict(torch.load(place / "refocused.pth"), strict=True)


@pytest.mark.parametrize("space", ["gradient", "kernel"])
@pytest.mark.parametrize("when", ["frozen", "unfrozen"])
def test_resumed_training_ends_at_the_same_weights(done, space, when):
    names, _, _ = done
    resumed = names[when][space]
    if space == "kernel":
        refconv.merge(resumed.backbone)
    for key, value in names["models"][space].state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
