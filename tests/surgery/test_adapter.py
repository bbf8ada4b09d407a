"""Adapter files: round trips, and every file that must not load."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import refconv
from networks import EveryKind, Shared, randomise
from refconv.errors import CheckpointError, ModelError
from refconv.surgery import file_bytes

SETTINGS = {"map_size": 5, "order": "across", "scale": "normalized", "power": 0.5, "exclude": "up"}


@pytest.fixture
def pretrained():
    torch.manual_seed(0)
    return EveryKind().eval()


def trained(pretrained, **settings):
    model = copy.deepcopy(pretrained)
    refconv.refocus(model, **settings)
    randomise(model)
    with torch.no_grad():
        model.head.weight.add_(1.0)
        model.norm.running_mean.add_(1.0)
    return model


BATCH = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("settings", [{}, SETTINGS], ids=["defaults", "everything"])
def test_adapter_onto_the_pretrained_model_gives_the_trained_one(tmp_path, pretrained, settings):
    model = trained(pretrained, **settings)
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    refconv.load_adapter(pretrained, tmp_path / "a.safetensors")
    assert torch.equal(pretrained(BATCH), model(BATCH))
    assert list(pretrained.state_dict()) == list(model.state_dict())
    refconv.merge(pretrained)


def test_adapter_without_the_rest_holds_refocus_weights_alone(tmp_path, pretrained):
    model = trained(pretrained)
    refconv.save_adapter(model, tmp_path / "a.safetensors", rest=False)
    assert set(load_file(tmp_path / "a.safetensors")) == {
        f"{name}.refocus_weight" for name in ("stem", "depthwise", "grouped", "up")
    }
    head = pretrained.head.weight.clone()
    refconv.load_adapter(pretrained, tmp_path / "a.safetensors")
    assert torch.equal(pretrained.stem.weight, model.stem.weight)
    assert torch.equal(pretrained.head.weight, head)


def test_adapter_of_shared_kernels_round_trips(tmp_path):
    torch.manual_seed(0)
    model = Shared()
    pretrained = copy.deepcopy(model)
    refconv.refocus(model)
    randomise(model)
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    refconv.load_adapter(pretrained, tmp_path / "a.safetensors")
    batch = torch.randn(1, 4, 8, 8)
    assert torch.equal(pretrained(batch), model(batch))


def test_adapter_refuses_another_base_and_names_the_layers(tmp_path, pretrained):
    refconv.save_adapter(trained(pretrained), tmp_path / "a.safetensors")
    with torch.no_grad():
        pretrained.depthwise.weight[0, 0, 0, 0] += 1e-6
    before = list(pretrained.state_dict())
    with pytest.raises(CheckpointError, match="the base differs at 1 of 4 layers: depthwise; expected the pretrained"):
        refconv.load_adapter(pretrained, tmp_path / "a.safetensors")
    assert list(pretrained.state_dict()) == before


def rewritten(path, tensors=None, **metadata):
    """Write an adapter file again with some tensors and metadata changed."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        merged = {**file.metadata(), **metadata}
    path.write_bytes(file_bytes(load_file(path) if tensors is None else tensors, merged))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path, t: rewritten(path, {k: v for k, v in t.items() if k != "up.refocus_weight"}),
            "1 missing: up.refocus_weight",
        ),
        (lambda path, t: rewritten(path, {**t, "more": torch.zeros(1)}), "1 surplus: more"),
        (
            lambda path, t: rewritten(path, {**t, "head.bias": torch.zeros(9)}),
            r"head.bias has another shape; expected \[5\], found \[9\]",
        ),
        (
            lambda path, t: rewritten(path, {**t, "up.refocus_weight": torch.zeros(1, 2, 3)}),
            "up.refocus_weight has another shape",
        ),
        (lambda path, t: rewritten(path, version="99"), "another format version; expected 1, found 99"),
        (lambda path, t: rewritten(path, format="x"), "not an adapter file; expected format refconv-adapter, found x"),
        (lambda path, t: save_file(t, path), "not an adapter file"),
        (
            lambda path, t: path.write_bytes(file_bytes(t, {"format": "refconv-adapter", "version": "1"})),
            "lacks sites and rest in its metadata",
        ),
        (
            lambda path, t: path.write_bytes(path.read_bytes()[:200]),
            "damaged, not whole, or not an adapter; expected a file that save_adapter wrote, found 200 bytes; copy",
        ),
        (lambda path, t: path.unlink(), "no such file"),
        (
            lambda path, t: rewritten(path, sites=json.dumps({"body.conv": {}})),
            "the model has no convolution body.conv",
        ),
    ],
)
def test_adapter_that_does_not_fit_is_refused_and_nothing_is_touched(tmp_path, pretrained, spoil, message):
    path = tmp_path / "a.safetensors"
    refconv.save_adapter(trained(pretrained), path)
    spoil(path, load_file(path))
    before = {key: value.clone() for key, value in pretrained.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        refconv.load_adapter(pretrained, path)
    assert list(pretrained.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in pretrained.state_dict().items())


def test_adapter_needs_a_refocused_model_to_save_and_a_plain_one_to_load(tmp_path, pretrained):
    with pytest.raises(ModelError, match="no adapter to save"):
        refconv.save_adapter(pretrained, tmp_path / "a.safetensors")
    model = trained(pretrained)
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="stem is already parametrized by Refocus"):
        refconv.load_adapter(model, tmp_path / "a.safetensors")


def test_adapter_says_where_it_cannot_be_written_or_read(tmp_path, pretrained):
    model = trained(pretrained)
    with pytest.raises(
        CheckpointError, match=r"none/a: cannot be written \(No such file .*; make the folder .*none first"
    ):
        refconv.save_adapter(model, tmp_path / "none" / "a")
    with pytest.raises(CheckpointError, match=r"cannot be written \(Is a directory\)$"):
        refconv.save_adapter(model, tmp_path)
    with pytest.raises(CheckpointError, match=r": a folder; expected a file that save_adapter wrote"):
        refconv.load_adapter(pretrained, tmp_path)


def test_fingerprint_depends_on_values_alone():
    weight = torch.randn(4, 3, 3, 3)
    same = weight.to(memory_format=torch.channels_last)
    from refconv.surgery import fingerprint

    assert fingerprint(same) == fingerprint(weight)
    assert fingerprint(weight.flip(0)) != fingerprint(weight)
    assert fingerprint(weight.reshape(3, 4, 3, 3)) != fingerprint(weight)
    assert fingerprint(nn.Parameter(weight)) == fingerprint(weight)
