"""A classifier that is replaced starts as torch's layers do, beside weights that are loaded."""

import math

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from refconv.data import DataInfo
from refconv.errors import CheckpointError, ModelError, RefconvWarning
from refconv.models.creation import create_model
from refconv.models.model_folder import save_model_folder
from refconv.models.weights import load_state

CLASSES = 10


def info_of(classes):
    return DataInfo("", classes, 3, (3, 64, 64), (0.5,) * 3, (0.5,) * 3, (), 0, 0, 0)


def as_torch_starts(layer):
    """Say whether weight and bias are drawn uniformly up to one over the root of the fan-in; timm's biases are zero."""
    fan_in = layer.weight[0].numel()
    bound = 1 / math.sqrt(fan_in)
    deviation = float(layer.weight.detach().std()) * math.sqrt(3)
    inside = all(float(parameter.detach().abs().max()) <= bound for parameter in layer.parameters())
    return inside and abs(deviation / bound - 1) < 0.1 and bool(layer.bias.any())


def first_loss(layer):
    """Return the loss on features as trained networks give them: not negative, of a scale of about one."""
    generator = torch.Generator().manual_seed(0)
    features = 1.5 * torch.rand(512, layer.in_features, generator=generator)
    labels = torch.randint(layer.out_features, (512,), generator=generator)
    return float(F.cross_entropy(layer(features).detach(), labels))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a timm model of seven classes as a folder and return the folder and its state."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("heads") / "model"
    state = create_model("test_efficientnet", num_classes=7).state_dict()
    save_model_folder(path, state, name="test_efficientnet", info=info_of(7), model_kwargs={})
    return path, state


@pytest.mark.parametrize("way", ["pretrained", "checkpoint"])
def test_a_new_classifier_of_timm_starts_as_torch_does_and_the_rest_is_loaded(way, folder):
    path, state = folder
    torch.manual_seed(1)
    if way == "pretrained":
        model = create_model(f"local-dir:{path}", pretrained=True, num_classes=CLASSES)
    else:
        model = create_model("test_efficientnet", checkpoint=path, reset_classifier=True, num_classes=CLASSES)
    assert as_torch_starts(model.classifier)
    assert first_loss(model.classifier) == pytest.approx(math.log(CLASSES), abs=0.1)
    fresh = create_model("test_efficientnet", num_classes=CLASSES)  # from scratch: as timm starts everything
    assert first_loss(fresh.classifier) > 1.5 * math.log(CLASSES)
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier")}
    assert all(torch.equal(value, state[name]) for name, value in kept.items())


@pytest.mark.parametrize("classes", [None, 7])
def test_a_classifier_that_is_loaded_stays(classes, folder):
    path, state = folder
    model = create_model(f"local-dir:{path}", pretrained=True, num_classes=classes)
    assert torch.equal(model.classifier.weight, state["classifier.weight"])


@pytest.mark.parametrize(("name", "head"), [("resnet18", "fc"), ("squeezenet1_1", "classifier.1")])
@pytest.mark.parametrize("classes", [CLASSES, 1000])
def test_torchvisions_classifier_starts_anew_only_for_other_classes(name, head, classes, monkeypatch):
    torch.manual_seed(0)
    state = torchvision.models.get_model(name).state_dict()
    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", lambda self, **settings: state)
    model = create_model(f"torchvision:{name}", pretrained=True, num_classes=classes)
    layer = model.get_submodule(head)
    if classes == 1000:
        assert torch.equal(layer.weight, state[f"{head}.weight"])
    else:
        assert as_torch_starts(layer)
    assert torch.equal(next(model.parameters()), next(iter(state.values())))


def test_convolutional_classifiers_of_own_models_start_anew(tmp_path, monkeypatch):
    (tmp_path / "own_heads.py").write_text(
        "from torch import nn\n\n\ndef net(num_classes=3, in_chans=3):\n"
        "    model = nn.Sequential(nn.Conv2d(in_chans, 64, 3), nn.Conv2d(64, num_classes, 1), nn.Flatten())\n"
        "    nn.init.normal_(model[1].weight, std=3.0)\n    nn.init.zeros_(model[1].bias)\n"
        "    model.num_classes = num_classes\n    return model\n"
    )
    monkeypatch.chdir(tmp_path)
    torch.save(create_model("own_heads:net", num_classes=3).state_dict(), "three.pth")
    model = create_model("own_heads:net", num_classes=50, checkpoint="three.pth", reset_classifier=True)
    assert isinstance(model[1], nn.Conv2d)
    assert as_torch_starts(model[1])


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_convnext", "test_vit", "refconv.models.networks:resnet_small", "torchvision:resnet18"]
)
def test_a_model_that_ends_with_its_features_takes_a_classifiers_weights_and_says_so(name, tmp_path):
    torch.manual_seed(0)
    classifier = create_model(name, num_classes=CLASSES, in_chans=3).eval()
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    with pytest.warns(RefconvWarning, match=r"classifier.pth: .*weight.* left out: the model ends with its features"):
        model = create_model(name, num_classes=0, in_chans=3, checkpoint=tmp_path / "classifier.pth").eval()
    size = 160 if name.startswith("test_vit") else 64
    x = torch.randn(2, 3, size, size)
    (last,) = (
        layer for layer in classifier.modules() if isinstance(layer, nn.Linear) and layer.out_features == CLASSES
    )
    with torch.no_grad():
        assert torch.equal(last(model(x)), classifier(x))
    torch.save(model.state_dict(), tmp_path / "features.pth")
    again = create_model(name, num_classes=7, in_chans=3, checkpoint=tmp_path / "features.pth", reset_classifier=True)
    torch.testing.assert_close(again.state_dict() | model.state_dict(), again.state_dict(), rtol=0, atol=0)


def test_other_surplus_weights_are_not_left_out():
    model = create_model("test_resnet", num_classes=0)
    state = {**create_model("test_resnet").state_dict(), "neck.weight": torch.zeros(3)}
    with (
        pytest.warns(RefconvWarning, match="left out"),
        pytest.raises(CheckpointError, match=r"1 surplus \(neck.weight\)"),
    ):
        load_state(model, state, where="file")
    ends_with_identity = nn.Sequential(nn.Linear(3, 4), nn.Identity())
    with pytest.raises(CheckpointError, match=r"1 surplus \(2.bias\)"):
        load_state(ends_with_identity, {**ends_with_identity.state_dict(), "2.bias": torch.zeros(4)}, where="file")


def test_models_of_torchvision_that_end_with_a_convolution_have_no_features():
    with pytest.raises(ModelError, match="squeezenet1_0: ends with a convolution that gives the classes"):
        create_model("torchvision:squeezenet1_0", num_classes=0)
