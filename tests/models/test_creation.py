"""Models by name, their weights, and what is said when either is wrong."""

import logging
import re
import socket
import sys
import textwrap

import pytest
import torch
import torchvision

from refconv.errors import CheckpointError, ModelError
from refconv.models.checkpoint import Checkpoint
from refconv.models.creation import create_model, load_weights
from refconv.models.model_input import of_name
from refconv.models.opening import open_model
from refconv.models.weight_files import read_weights

OWN = """
    import torch
    from os import system
    from torch import nn

    class Net(nn.Sequential):
        def __init__(self, num_classes: int = 3, in_chans: int = 1, width: int = 4):
            super().__init__(nn.Conv2d(in_chans, width, 3), nn.Flatten(), nn.LazyLinear(num_classes))

    def net(num_classes=3, in_chans=1, width=4, drop_rate=0.0):
        return nn.Sequential(
            nn.Conv2d(in_chans, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Dropout(drop_rate), nn.Linear(width, num_classes),
        )

    def fixed():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def broken(num_classes=3):
        return torch.zeros(2) @ torch.zeros(3)

    def no_model(num_classes=3):
        return 5
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "own_broken.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    yield "own_models"
    for name in ("own_models", "own_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_create_model_builds_timm_models_with_other_ends(name):
    model = create_model(name, num_classes=7, in_chans=1).eval()
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 7)


def test_create_model_builds_torchvision_models():
    model = create_model("torchvision:squeezenet1_1", num_classes=7)
    assert isinstance(model, torchvision.models.SqueezeNet)
    assert model.num_classes == 7


def test_create_model_refuses_channels_that_torchvision_cannot_give():
    with pytest.raises(ModelError, match=r"torchvision:resnet18.*3 channels"):
        create_model("torchvision:resnet18", in_chans=1)


def test_create_model_builds_the_users_own_from_the_current_folder(own):
    path = list(sys.path)
    model = create_model(f"{own}:net", num_classes=5, in_chans=2, drop_rate=0.3, model_kwargs={"width": 6})
    assert model(torch.zeros(1, 2, 4, 4)).shape == (1, 5)
    assert model[3].p == 0.3
    assert model[0].out_channels == 6
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet81", r"resnet81: unknown model.*did you mean .*resnet18"),
        ("resnet18.nonsense_tag", "nonsense_tag"),
        ("torchvision:resnet81", "unknown model.*resnet18"),
        ("no_such_module:net", "no_such_module:net: no such module"),
        ("own_models.py:net", "no such module; give the module's name instead of its file: own_models:net$"),
        ("nets/own.py:net", "no such module; .*: nets.own:net$"),
        ("own_models:nte", "no such function in the module; did you mean net"),
        ("own_models:broken", r"own_models:broken: the builder failed.*RuntimeError.*own_models\.py|builder failed"),
        ("own_models:no_model", r"expected a torch\.nn\.Module, found int"),
        ("own_broken:net", "no_such_package"),
    ],
)
def test_create_model_names_the_mistake(own, name, words):
    with pytest.raises(ModelError, match=words) as caught:
        create_model(name)
    assert "\n" not in str(caught.value)


def test_create_model_refuses_arguments_without_effect(own):
    with pytest.raises(ModelError, match=r"takes no widht.*did you mean width"):
        create_model(f"{own}:net", model_kwargs={"widht": 3})
    with pytest.raises(ModelError, match="has no pretrained weights: its builder takes no argument pretrained"):
        create_model(f"{own}:net", pretrained=True)
    with pytest.raises(ModelError, match="takes no drop_path_rate"):
        create_model(f"{own}:net", drop_path_rate=0.1)
    with pytest.raises(ModelError, match="test_resnet: timm failed"):
        create_model("test_resnet", model_kwargs={"widht": 3})


def test_create_model_checks_the_ends_of_a_fixed_builder(own):
    assert create_model(f"{own}:fixed", num_classes=3, in_chans=1)[0].in_channels == 1
    with pytest.raises(
        ModelError, match=r"classes in its last layer; expected num_classes = 10, found 3.*num_classes$"
    ):
        create_model(f"{own}:fixed", num_classes=10)
    with pytest.raises(
        ModelError, match=r"first convolution; expected in_chans = 3, found 1.*in_chans, or .* --in-chans 1"
    ):
        create_model(f"{own}:fixed", in_chans=3)


def test_create_model_loads_a_checkpoint_strictly(tmp_path):
    torch.manual_seed(1)
    before = create_model("test_resnet", num_classes=5)
    torch.save({"state_dict": before.state_dict()}, tmp_path / "a.pth")
    after = create_model("test_resnet", num_classes=5, checkpoint=tmp_path / "a.pth")
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name
    with pytest.raises(CheckpointError, match="expected 6 classes, found 5 classes"):
        create_model("test_resnet", num_classes=6, checkpoint=tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="does not fit this model"):
        load_weights(create_model("test_efficientnet", num_classes=5), tmp_path / "a.pth")


def test_create_model_starts_the_classifier_anew_when_asked(tmp_path):
    before = create_model("test_resnet", num_classes=5)
    torch.save(before.state_dict(), tmp_path / "a.pth")
    after = create_model("test_resnet", num_classes=6, checkpoint=tmp_path / "a.pth", reset_classifier=True)
    assert torch.equal(next(after.parameters()), next(before.parameters()))
    assert after.num_classes == 6


def unreachable(*_, **__):
    """Fail as the hub's client does without a network: it logs every retry and wraps the system's error."""
    logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
    print("Downloading: something")
    try:
        raise socket.gaierror(-2, "Name or service not known")
    except OSError as error:
        raise FileNotFoundError("cannot find the requested files in the local cache") from error


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("resnet18", "timm.models._builder.load_pretrained"),
        ("hf-hub:timm/resnet18", "timm.models._factory.load_model_config_from_hf"),
        ("torchvision:resnet18", "torchvision.models._api.WeightsEnum.get_state_dict"),
        ("torchvision:lraspp_mobilenet_v3_large", "torchvision.models._api.WeightsEnum.get_state_dict"),
        ("torchvision:ssdlite320_mobilenet_v3_large", "torchvision.models._api.WeightsEnum.get_state_dict"),
    ],
)
def test_pretrained_weights_without_a_network_are_one_line(name, source, monkeypatch, capsys, caplog):
    monkeypatch.setattr(source, unreachable)
    words = (
        f"{name}: its pretrained weights are not available; found gaierror: [Errno -2] Name or service not known; "
        "connect to the network, or give the weights as a file by --checkpoint"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(words)}$"):
        create_model(name, pretrained=True)
    assert capsys.readouterr().out == ""
    assert caplog.messages == []


def test_what_the_hub_says_about_a_model_is_explained_without_a_network(monkeypatch):
    monkeypatch.setattr("timm.models.load_model_config_from_hf", unreachable)
    with pytest.raises(ModelError, match="hf-hub:timm/resnet18: its pretrained weights are not available; found gaie"):
        of_name("hf-hub:timm/resnet18")


@pytest.mark.parametrize("given", [b"", b"hello", b"PK", None])
@pytest.mark.parametrize(
    "name", ["weights.pth", "weights.safetensors", "checkpoint.pt", "model", "nowhere/weights.pth"]
)
def test_weights_that_are_missing_or_unreadable_come_with_a_remedy(name, given, tmp_path):
    path = tmp_path / name
    if given is not None and path.parent.is_dir():
        path.write_bytes(given)
    for read in (read_weights, lambda path: open_model(str(path), model="test_resnet"), Checkpoint.load):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert caught.value.remedy, str(caught.value)
        assert caught.value.where == str(path)


def test_a_file_beside_with_a_similar_name_is_named(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "resnet20.pth")
    with pytest.raises(CheckpointError, match=r"resnet2.pth: no such file or folder; did you mean resnet20.pth\?"):
        read_weights(tmp_path / "resnet2.pth")
