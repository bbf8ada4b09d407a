"""A folder for a hub: its card is as huggingface_hub reads it, timm loads it, and it is sent to a hub."""

import json
import socket

import huggingface_hub
import pytest
import timm
import torch
import torchvision
import yaml
from huggingface_hub import ModelCard
from torch import nn

import refconv
from exported_networks import Small, lively, opened
from fake_hub import fake_hub
from improvement_records import record as an_improvement
from refconv.cli import main
from refconv.errors import CheckpointError, ModelError, RefconvError, RefconvWarning
from refconv.exporting import ExportConfig, HubConfig, export_model_folder
from refconv.exporting.card import Described, metadata
from refconv.exporting.exporting import export_opened
from refconv.exporting.hub import _base
from refconv.exporting.inputs import Evidence
from refconv.exporting.results import Result, data_name, results_of
from refconv.measures.judging import share_interval, wilson
from refconv.models.metadata import certificate_hash
from refconv.models.model_folder import Located, located
from refconv.models.opening import Opened, open_model
from refconv.task_measures import measures_of
from run_checkpoints import save_run, small_recipe

INPUT = {
    "input_size": [3, 32, 32], "mean": [0.2, 0.4, 0.6], "std": [0.5, 0.25, 0.125], "interpolation": "bicubic",
    "crop_pct": 0.8, "crop_mode": "center",
}  # fmt: skip
NAMES = ("cat", "dog", "frog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that was written of a small network of timm's, with its record and the network."""
    out = tmp_path_factory.mktemp("hub") / "net"
    model = lively(timm.create_model("test_resnet", num_classes=3))
    known = {"class_names": NAMES, "license": "cc-by-4.0", "base_model": "timm/test_resnet.r160_in1k"}
    record = refconv.export(model, out, format="hub", preprocessing=INPUT, datasets=("me/animals",), **known)
    return out, record, model


def test_timm_loads_the_folder_with_its_preprocessing(folder):
    out, record, model = folder
    assert record.holds
    assert record.runtime.startswith("timm ")
    assert set(record.files) == {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    loaded = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)
    config = timm.data.resolve_model_data_config(loaded)
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()} == INPUT
    assert loaded.pretrained_cfg["label_names"] == list(NAMES)


def test_the_card_is_read_by_huggingface_hub(folder):
    out, _, _ = folder
    card = ModelCard.load(out / "README.md")
    assert card.data.to_dict() == {
        "base_model": "timm/test_resnet.r160_in1k", "datasets": ["me/animals"], "library_name": "timm",
        "license": "cc-by-4.0", "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "refconv"],
    }  # fmt: skip
    assert 'timm.create_model("hf-hub:USER/net", pretrained=True)' in card.text
    assert 'pipeline("image-classification", model="USER/net")' in card.text
    assert "No result is recorded" in card.text
    assert "3 classes: cat, dog, frog." in card.text


def test_the_preprocessor_says_what_timms_transform_does(folder):
    out, _, _ = folder
    said = json.loads((out / "preprocessor_config.json").read_text())
    transform = timm.data.create_transform(**timm.data.resolve_data_config(said["pretrained_cfg"]), is_training=False)
    resize, crop, *_, normalise = transform.transforms
    assert said["size"] == {"shortest_edge": resize.size}
    assert said["resample"] == 3  # PIL's number of bicubic
    assert (said["crop_size"]["height"], said["crop_size"]["width"]) == tuple(crop.size)
    wanted = torch.stack([normalise.mean, normalise.std])
    torch.testing.assert_close(torch.tensor([said["image_mean"], said["image_std"]]), wanted, rtol=0, atol=1e-7)
    assert said["rescale_factor"] == pytest.approx(1 / 255)


def described(**more):
    known = {
        "title": "net", "repository": "me/net", "architecture": "test_resnet", "task": "classification", "timm": True,
        "licence": {"license": "mit"}, "base": None, "datasets": (), "results": (), "preprocessing": "", "history": (),
        "class_names": (), "certificate": "", "versions": {},
    }  # fmt: skip
    return Described(**{**known, **more})


def test_results_are_a_model_index_as_the_hub_defines_it():
    measure = measures_of("classification").primary
    result = Result(measure, 0.75, (0.7, 0.8), 200, "My Birds", "test")
    written = metadata(described(results=[result])).to_dict()["model-index"]
    assert written == [
        {
            "name": "net",
            "results": [
                {
                    "task": {"type": "image-classification"},
                    "dataset": {"name": "My Birds", "type": "my-birds", "split": "test"},
                    "metrics": [
                        {
                            "type": "accuracy", "value": 0.75, "name": "top-1 accuracy",
                            "args": {"samples": 200, "confidence_level": 0.95, "low": 0.7, "high": 0.8},
                        },
                    ],
                }
            ],
        }
    ]  # fmt: skip
    name, (read,) = huggingface_hub.repocard_data.model_index_to_eval_results(written)
    assert (name, read.metric_value, read.metric_args["low"], read.dataset_split) == ("net", 0.75, 0.7, "test")


def test_a_run_brings_its_result_its_certificate_and_no_path_of_this_machine(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    certificate = {"same": True}
    record = {
        "task": "classification", "data": "folder:/home/me/birds", "test_samples": 200, "top1": 0.75, "top5": None,
        "loss": 0.5, "ece": 0.03, "measures": {}, "certificate": certificate,
    }  # fmt: skip
    (tmp_path / "run/record.json").write_text(json.dumps(record))
    first, second = results_of(located(tmp_path / "run"))
    assert (first.measure.name, first.value, first.data, second.measure.name) == ("top1", 0.75, "birds", "ece")
    assert first.interval == wilson(150, 200)
    assert second.interval is None
    written = export_model_folder(tmp_path / "run", tmp_path / "net", "hub", license="unknown", data="digits")
    assert written.holds
    card = ModelCard.load(tmp_path / "net/README.md")
    assert card.data.eval_results[0].metric_value == 0.75
    assert card.data.license == "unknown"
    assert "75.00% (68.57 to 80.49)" in card.text
    assert certificate_hash(certificate) in card.text
    assert "/home" not in (tmp_path / "net/README.md").read_text()
    # not timm's: the card says what loads it instead
    assert card.data.library_name == "refconv"
    assert "neither timm nor transformers loads this folder" in card.text
    assert "load_model_folder" in card.text
    assert written.runtime.startswith("refconv ")
    assert open_model(str(tmp_path / "net")).class_names == tuple("0123456789")


def test_an_improvement_brings_the_result_that_it_ends_with(tmp_path):
    save_run(tmp_path / "net", small_recipe())
    (tmp_path / "net/recipe.toml").unlink()
    record = an_improvement()
    (tmp_path / "net/improve.json").write_text(record.to_json())
    (found,) = results_of(located(tmp_path / "net"))
    assert (found.value, found.samples) == (record.tested.winner.value, record.tested.winner.samples)
    assert found.interval == pytest.approx(record.tested.winner.interval)
    assert found.interval != pytest.approx(share_interval(found.value, found.samples))


def test_a_damaged_record_is_one_line(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    (tmp_path / "run/record.json").write_text('{"test_samples": 3}')
    with pytest.raises(CheckpointError, match=r"record\.json: damaged; expected a record, found KeyError"):
        results_of(located(tmp_path / "run"))


def test_names_of_data_have_no_folders():
    assert [data_name(name) for name in ("digits", "folder:/a/b/cats", "torch/cifar10")] == [
        "digits", "cats", "torch/cifar10",
    ]  # fmt: skip


def test_the_base_is_named_only_where_it_is_known(tmp_path):
    model = timm.create_model("test_resnet")
    assert _base(Opened(model, "test_resnet", {})) == "timm/test_resnet.r160_in1k"  # by its name alone
    recipe = small_recipe(model="test_resnet", model_kwargs={}, pretrained=True)
    place = Located("weights", tmp_path)
    assert _base(Opened(model, "test_resnet", {}, recipe, located=place)) == "timm/test_resnet.r160_in1k"
    trained = small_recipe(model="test_resnet", model_kwargs={}, checkpoint="w.pth")
    assert _base(Opened(model, "test_resnet", {}, trained, located=place)) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "license: missing; expected an identifier such as apache-2.0, or unknown; a licence is not guessed"),
        ({"license": "Apache 2"}, "license: not a licence; expected a lower-case identifier"),
        ({"license": "other"}, "license_name, license_link: do not fit; expected both with the licence other"),
        ({"license": "mit", "license_name": "x", "license_link": "y"}, "do not fit"),
        ({"license": "mit", "push": "net"}, "push: not the name of a repository; expected USER/NAME, found 'net'"),
        ({"license": "mit", "private": True}, "private: has no effect without push"),
        ({"license": "mit", "base_model": "a b"}, "base_model: not a name of the hub"),
        ({"license": "mit", "half": True}, "half: has no effect on the format hub; found format hub; the weights stay"),
        ({"license": "mit", "int8": True}, "int8: is for the format onnx; found format hub"),
    ],
)
def test_what_the_hub_cannot_have_is_one_line(tmp_path, settings, message):
    with pytest.raises(RefconvError, match=message) as caught:
        refconv.export(lively(Small()), tmp_path / "net", format="hub", preprocessing=INPUT, **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("arguments", [{"act_layer": "gelu"}, {"stem_type": ""}, {"global_pool": "max"}])
def test_a_network_built_with_arguments_needs_them(tmp_path, arguments):
    model = lively(timm.create_model("test_resnet", num_classes=3, **arguments))
    about = {"format": "hub", "license": "mit", "preprocessing": INPUT}
    if "stem_type" in arguments:  # other weights
        with pytest.raises(
            ModelError, match=r"test_resnet: .* cannot be built by this name .*; found .*model_kwargs={\.\.\.}"
        ):
            refconv.export(model, tmp_path / "net", **about)
    else:
        record = refconv.export(model, tmp_path / "net", **about)
        assert not record.holds
        assert "removed    the folder, because it builds another network; in Python give" in str(record)
    assert list(tmp_path.iterdir()) == []
    assert refconv.export(model, tmp_path / "net", model_kwargs=arguments, **about).holds
    images = torch.randn(2, 3, 32, 32)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
    torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)


def own(width=4):
    """Build a network as users write them, which says nothing about itself."""
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: own(6), {"architecture": f"{__name__}:own", "model_kwargs": {"width": 6}}),
        (lambda: torchvision.models.squeezenet1_1(num_classes=5), {"architecture": "torchvision:squeezenet1_1"}),
    ],
    ids=["own", "torchvision"],
)
def test_networks_that_timm_does_not_have_are_named_by_what_builds_them(tmp_path, build, named):
    model, images = lively(build()), torch.randn(2, 3, 40, 40)
    about = {"format": "hub", "license": "mit", "images": images, "class_names": "abcde"}
    with pytest.raises(
        ModelError, match=r"cannot be built by this name .*; found unknown model; say in Python .*module:function"
    ):
        refconv.export(model, tmp_path / "net", **about)
    record = refconv.export(model, tmp_path / "net", **named, **about)
    assert record.holds
    opened = open_model(str(tmp_path / "net"))
    assert (opened.name, opened.class_names) == (named["architecture"], tuple("abcde"))
    torch.testing.assert_close(opened.model(images), model(images), rtol=0, atol=0)


def test_options_of_the_hub_have_no_effect_elsewhere(tmp_path):
    with pytest.raises(RefconvError, match="license: is for the format hub; found format pt2"):
        refconv.export(lively(Small()), tmp_path / "a.pt2", preprocessing=INPUT, license="mit")


def test_a_network_of_bgr_is_refused(tmp_path):
    model = opened(lively(timm.create_model("test_resnet")), name="test_resnet", **INPUT, color_mode="BGR")
    config, hub = ExportConfig(format="hub"), HubConfig(license="mit")
    with pytest.raises(ModelError, match="timm and transformers give RGB, and the network takes BGR"):
        export_opened(model, tmp_path / "net", config, Evidence(), hub=hub)


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with fake_hub() as (address, server):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield address, server


@pytest.fixture
def run(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    return ["export", str(tmp_path / "run"), "-o", str(tmp_path / "net"), "--format", "hub", "--license", "mit"]


def test_a_folder_is_pushed_whole_and_private(tmp_path, capsys, run, hub):
    address, server = hub
    assert main([*run, "--push", "me/net", "--private"]) == 0
    assert f"pushed     {address}/me/net" in capsys.readouterr().out
    sent = {path.name: path.read_bytes() for path in (tmp_path / "net").iterdir()}
    assert server.files == {"me/net": sent}
    assert server.private == {"me/net": True}
    assert set(server.tokens) == {"Bearer hf_secret"}
    assert yaml.safe_load(sent["README.md"].split(b"---")[1])["license"] == "mit"
    # A second time, the repository exists.
    assert main([*run[:3], str(tmp_path / "other"), *run[4:], "--push", "me/net"]) == 2
    error = capsys.readouterr().err
    assert "push me/net: the repository exists already; give another name, or --force" in error
    assert error.count("\n") == 1
    assert main([*run, "--push", "me/net", "--force"]) == 0
    assert "hf_secret" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"writes": 401}, "the hub does not accept the token; found not allowed here; log in by hf auth login"),
        ({"refuses": 401}, "the hub does not accept the token"),
        ({"writes": 403}, "the token may not write there; found not allowed here; take a token that may write to me"),
        ({"writes": 503}, "the hub refuses; found 503: not allowed here"),
    ],
    ids=["no token", "bad token", "token of another", "out of order"],
)
def test_what_a_hub_refuses_is_one_line(capsys, run, hub, settings, message):
    for name, status in settings.items():
        setattr(hub[1], name, status)
    assert main([*run, "--push", "me/net"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "the folder is written and whole: hf upload me/net" in error
    assert error.count("\n") == 1
    assert "hf_secret" not in error


def test_a_hub_out_of_reach_is_one_line(capsys, run, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main([*run, "--push", "me/net"]) == 2
    error = capsys.readouterr().err
    assert f"push me/net: the hub at {address} cannot be reached" in error
    assert error.count("\n") == 1


def test_a_missing_token_is_noticed_before_the_export(tmp_path, capsys, run, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert main([*run, "--push", "me/net"]) == 2
    error = capsys.readouterr().err
    assert "push me/net: no token for the hub; log in by hf auth login, or set HF_TOKEN" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("given", "meant"), [("apache-2", "did you mean apache-2.0?"), ("my-own-1.0", "give other, with --license-name")]
)
def test_a_licence_that_the_hub_does_not_know_is_a_warning(given, meant):
    with pytest.warns(RefconvWarning, match="license: no identifier that the hub is known to have; found .*; " + meant):
        assert HubConfig(license=given).licence == {"license": given}
