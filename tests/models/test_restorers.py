"""Restorers: the right size, near the baseline before training, refocused in both spaces; spandrel's built again."""

import copy
import json
import sys
import types

import pytest
import torch
from torch import nn

import refconv
from refconv.data.resizing import enlarged
from refconv.errors import CheckpointError, ModelError
from refconv.models import restorers
from refconv.models.restorers import build_spandrel, spandrel_arguments

BUILDERS = ["edsr_small", "espcn_small", "depthwise_small"]


def seeded(name, **arguments):
    torch.manual_seed(0)
    return getattr(restorers, name)(**arguments)


@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
@pytest.mark.parametrize("name", BUILDERS)
def test_result_has_the_wanted_size(name, upscale):
    model = seeded(name, in_chans=1, upscale=upscale, width=8, depth=2)
    assert model(torch.rand(2, 1, 9, 14)).shape == (2, 1, 9 * upscale, 14 * upscale)


@pytest.mark.parametrize(("name", "upscale"), [("dncnn_small", 1), *((name, 2) for name in BUILDERS)])
def test_network_starts_near_the_enlarged_input_but_not_at_it(name, upscale):
    model = seeded(name, **({"upscale": upscale} if upscale > 1 else {}))
    x = torch.rand(2, 3, 24, 24)
    change = (model(x) - enlarged(x, upscale)).square().mean().sqrt()
    assert 0.001 < change < 0.1


@pytest.mark.parametrize(("name", "kind"), [("dncnn_small", "dense"), ("depthwise_small", "depthwise")])
def test_kernels_are_of_the_kind_named(name, kind):
    model = seeded(name, width=8, depth=4)
    plan = refconv.plan(model, include=[kind])
    assert len(plan.refocused) == {"dense": 4, "depthwise": 4}[kind]


@pytest.mark.parametrize("name", ["dncnn_small", *BUILDERS])
def test_both_spaces_train_and_the_merge_is_certified(name):
    model = seeded(name, width=8, depth=4)
    clean = torch.rand(4, 3, 16, 16)
    noisy = clean + 0.1 * torch.randn(4, 3, 16, 16)
    plain = copy.deepcopy(model)
    refconv.refocus(model)
    spaces = [
        (model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)),
        (plain, refconv.RefocusSGD(refconv.param_groups(plain), lr=0.01, momentum=0.9)),
    ]
    for network, optimizer in spaces:
        losses = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = (network(noisy) - clean).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
    certificate = refconv.verify(model, refconv.merged(model), noisy)
    assert certificate.same_structure
    assert certificate.same_outputs
    # Both took the same steps.
    torch.testing.assert_close(refconv.merged(model).tail.weight, plain.tail.weight, rtol=1e-4, atol=1e-5)


def small_dncnn():
    pytest.importorskip("spandrel")
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(0)
    return DnCNN(in_nc=3, out_nc=3, nc=8, nb=8, act_mode="BR")


def small_esrgan():
    pytest.importorskip("spandrel")
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    return ESRGAN(in_nc=3, out_nc=3, num_filters=4, num_blocks=1, scale=2)


@pytest.mark.parametrize("make", [small_dncnn, small_esrgan])
def test_spandrel_file_is_opened_built_again_from_plain_values_and_opened_by_spandrel_again(make, tmp_path):
    original = make().eval()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    model = build_spandrel(str(tmp_path / "weights.pth"), pretrained=True)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    x = torch.rand(1, 3, 12, 10)
    with torch.no_grad():
        expected = original(x)
        torch.testing.assert_close(model.eval()(x), expected)
        name, arguments = spandrel_arguments(model)
        again = build_spandrel(name, hyperparameters=json.loads(json.dumps(arguments)))
        assert not torch.equal(again.eval()(x), expected)
        again.load_state_dict(model.state_dict(), strict=True)
        torch.testing.assert_close(again(x), expected)
        import spandrel

        refconv.refocus(model)
        merged = refconv.merged(model)
        loaded = spandrel.ModelLoader().load_from_state_dict(dict(merged.state_dict())).model
        torch.testing.assert_close(loaded.eval()(x), expected)


def test_spandrel_file_without_pretrained_starts_anew(tmp_path):
    original = small_dncnn()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    model = build_spandrel(str(tmp_path / "weights.pth"))
    assert model.state_dict().keys() == original.state_dict().keys()
    assert not torch.equal(model.model[0].weight, original.model[0].weight)


def test_spandrel_refusals_are_one_line(tmp_path, monkeypatch):
    pytest.importorskip("spandrel")
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)  # as if it were not installed
    with pytest.raises(CheckpointError, match="no such file"):
        build_spandrel(str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="no network that spandrel recognises") as caught:
        build_spandrel(str(tmp_path / "text.pth"))
    assert "\n" not in str(caught.value)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"found UnsupportedModelError; .* need spandrel-extra-arches"):
        build_spandrel(str(tmp_path / "other.pth"))


def test_spandrels_further_networks_are_registered_where_they_are_installed(tmp_path, monkeypatch):
    spandrel = pytest.importorskip("spandrel")
    further = types.ModuleType("spandrel_extra_arches")
    home = types.ModuleType("spandrel_extra_arches.architectures.Small")

    class Small(nn.Sequential):
        def __init__(self, width):
            super().__init__(nn.Conv2d(3, width, 3))
            self.hyperparameters = {"width": width}

    class SmallArch(spandrel.Architecture):
        def __init__(self):
            super().__init__(id="Small", detect=lambda state: set(state) == {"0.weight", "0.bias"})

        def load(self, state_dict):
            model = Small(len(state_dict["0.weight"]))
            return spandrel.ImageModelDescriptor(
                model, state_dict, self, "Restoration", [], False, False, 1, 3, 3, size_requirements=None
            )

    Small.__module__, Small.__qualname__ = home.__name__, "Small"
    home.Small = Small
    for module in (further, types.ModuleType("spandrel_extra_arches.architectures"), home):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    further.EXTRA_REGISTRY = [spandrel.ArchSupport.from_architecture(SmallArch())]
    original = Small(4)
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    model = build_spandrel(str(tmp_path / "weights.pth"), pretrained=True)
    assert torch.equal(model[0].weight, original[0].weight)
    name, arguments = spandrel_arguments(model)
    assert name == "spandrel_extra_arches.architectures.Small.Small"
    assert build_spandrel(name, hyperparameters=arguments)[0].out_channels == 4
    assert "Small" not in spandrel.MAIN_REGISTRY
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="UnsupportedModelError; give another file$"):
        build_spandrel(str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    "name", ["DnCNN.Nothing", "nowhere.DnCNN", "", "DnCNN.DnCNNArch", "DnCNN.__arch.network_dncnn.nn.Conv2d"]
)
def test_a_stored_name_can_only_be_a_network_of_spandrels(name):
    pytest.importorskip("spandrel")
    with pytest.raises(ModelError, match="no such network|no network of spandrel's"):
        build_spandrel(name, hyperparameters={})


def test_impossible_hyperparameters_are_said():
    pytest.importorskip("spandrel")
    with pytest.raises(ModelError, match="cannot be built"):
        build_spandrel("DnCNN.DnCNN", hyperparameters={"nothing": 1})
