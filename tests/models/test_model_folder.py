"""Model folders load in timm and here, strictly."""

import json
import re
import shutil
import sys
import textwrap
from types import SimpleNamespace

import pytest
import timm
import torch

from refconv.errors import CheckpointError, RunError
from refconv.models.creation import create_model, load_weights
from refconv.models.model_folder import is_model_folder, load_model_folder, save_model_folder


def info(classes=7, chans=1, size=48):
    return SimpleNamespace(
        name="x", num_classes=classes, in_chans=chans, input_size=(chans, size, size), mean=(0.25,) * chans,
        std=(0.5,) * chans, class_names=tuple(f"class {i}" for i in range(classes)),
    )  # fmt: skip


def assert_same_state(found, expected):
    assert list(found.state_dict()) == list(expected.state_dict())
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("test_resnet", {}), ("test_efficientnet", {}), ("test_convnext", {}), ("test_resnet", {"output_stride": 16})],
)
def test_save_model_folder_is_read_by_timm(tmp_path, name, arguments):
    trained = create_model(name, num_classes=7, in_chans=1, model_kwargs=arguments)
    save_model_folder(tmp_path / "m", trained.state_dict(), name=name, info=info(), model_kwargs=arguments)
    by_timm = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True)
    assert_same_state(by_timm, trained)
    assert by_timm.num_classes == 7
    settings = timm.data.resolve_model_data_config(by_timm)
    assert tuple(settings["input_size"]) == (1, 48, 48)
    assert tuple(settings["mean"]) == (0.25,)
    assert tuple(settings["std"]) == (0.5,)
    assert by_timm.pretrained_cfg["label_names"][2] == "class 2"
    x = torch.randn(2, 1, 48, 48)
    assert torch.equal(by_timm.eval()(x), trained.eval()(x))
    assert_same_state(load_model_folder(tmp_path / "m"), trained)


def test_save_model_folder_weights_load_strictly_into_a_plain_timm_model(tmp_path):
    trained = create_model("test_resnet", num_classes=7, in_chans=1)
    save_model_folder(tmp_path, trained.state_dict(), name="test_resnet", info=info(), model_kwargs={})
    from safetensors.torch import load_file

    fresh = timm.create_model("test_resnet", num_classes=7, in_chans=1)
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert_same_state(fresh, trained)


def test_save_model_folder_follows_local_dirs_and_adapts_classes(tmp_path):
    trained = create_model("test_resnet", num_classes=7, in_chans=1, model_kwargs={"output_stride": 16})
    first, second = tmp_path / "first", tmp_path / "second"
    save_model_folder(first, trained.state_dict(), name="test_resnet", info=info(), model_kwargs={"output_stride": 16})
    again = create_model(f"local-dir:{first}", pretrained=True)
    save_model_folder(second, again.state_dict(), name=f"local-dir:{first}", info=info(), model_kwargs={})
    assert json.loads((second / "config.json").read_text())["architecture"] == "test_resnet"
    assert_same_state(load_model_folder(second), trained)
    other = create_model(f"local-dir:{first}", pretrained=True, num_classes=3)
    assert other.num_classes == 3
    assert torch.equal(next(other.parameters()), next(trained.parameters()))


def test_save_model_folder_keeps_the_users_own_builder(tmp_path, monkeypatch):
    (tmp_path / "folder_models.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            def net(num_classes=3, in_chans=1, width=4):
                return nn.Sequential(
                    nn.Conv2d(in_chans, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
                )
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    name, arguments = "folder_models:net", {"width": 6}
    trained = create_model(name, num_classes=7, in_chans=1, model_kwargs=arguments)
    save_model_folder(tmp_path / "m", trained.state_dict(), name=name, info=info(), model_kwargs=arguments)
    assert_same_state(load_model_folder(tmp_path / "m"), trained)
    other = create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True, num_classes=3)
    assert torch.equal(other[0].weight, trained[0].weight)
    assert other[3].out_features == 3
    sys.modules.pop("folder_models")


def test_save_model_folder_writes_only_what_fits(tmp_path):
    trained = create_model("test_resnet", num_classes=7, in_chans=1)
    state = trained.state_dict()
    first, *_ = state
    del state[first]
    with pytest.raises(CheckpointError, match=f"1 missing \\({first}\\)"):
        save_model_folder(tmp_path / "m", state, name="test_resnet", info=info(), model_kwargs={})
    assert not list(tmp_path.iterdir())


def test_save_model_folder_replaces_an_earlier_one_and_takes_strided_tensors(tmp_path):
    trained = create_model("test_resnet", num_classes=7, in_chans=1).to(memory_format=torch.channels_last)
    for _ in range(2):
        save_model_folder(tmp_path / "m", trained.state_dict(), name="test_resnet", info=info(), model_kwargs={})
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert_same_state(load_model_folder(tmp_path / "m"), trained)


def test_files_that_are_no_part_of_a_model_are_not_lost(tmp_path):
    """Of a folder for a hub the card and what transformers reads may be replaced."""
    folder = tmp_path / "m"
    given = {"name": "test_resnet", "info": info(), "model_kwargs": {}}
    state = create_model("test_resnet", num_classes=7, in_chans=1).state_dict()
    save_model_folder(folder, state, **given)
    for name in ("README.md", "preprocessor_config.json", "adopted.json"):
        (folder / name).write_text("of the earlier model")
    save_model_folder(folder, state, **given)
    assert {entry.name for entry in folder.iterdir()} == {"config.json", "model.safetensors"}
    for kept in (folder / "NOTES.md", folder / "sub/deep.txt"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("mine")
        with pytest.raises(
            RunError, match=r"m: holds more than a model, which would be lost; found (NOTES\.md|sub); move"
        ):
            save_model_folder(folder, state, **given)
        assert kept.read_text() == "mine"
        shutil.rmtree(kept.parent) if kept.parent != folder else kept.unlink()


def test_load_model_folder_names_what_is_wrong(tmp_path):
    with pytest.raises(CheckpointError, match=r"not a model folder.*config\.json"):
        load_model_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: damaged"):
        load_model_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="names no architecture"):
        load_model_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "test_resnet"}')
    assert not is_model_folder(tmp_path)


def test_load_weights_finds_the_result_of_a_run(tmp_path):
    trained = create_model("test_resnet", num_classes=7, in_chans=1)
    save_model_folder(tmp_path / "model", trained.state_dict(), name="test_resnet", info=info(), model_kwargs={})
    for where in (tmp_path, tmp_path / "model", f"local-dir:{tmp_path / 'model'}"):
        model = create_model("test_resnet", num_classes=7, in_chans=1)
        load_weights(model, where)
        assert_same_state(model, trained)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_classes": -1}, "num_classes: out of range; expected a number from 0 to 10000000, found -1; copy"),
        ({"num_classes": 10**9}, "num_classes: out of range"),
        ({"crop_pct": 1e9}, r"pretrained_cfg\.crop_pct: out of range; expected between 0 and 100, found 1000000000"),
        ({"mean": [float("nan")] * 3}, r"pretrained_cfg\.mean: not a mean; expected finite numbers, found"),
        ({"std": 0}, r"pretrained_cfg\.std: not a standard deviation; expected more than 0"),
        ({"input_size": [3, 0, 0]}, r"pretrained_cfg\.input_size: no shape of an input; .*found \[3, 0, 0\]"),
        ({"interpolation": "smooth"}, r"pretrained_cfg\.interpolation: unknown; expected nearest, "),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_with_file_and_key(tmp_path, changed, message):
    model = timm.create_model("test_resnet", num_classes=7, in_chans=1)
    save_model_folder(tmp_path / "m", model.state_dict(), name="test_resnet", info=info(), model_kwargs={})
    file = tmp_path / "m" / "config.json"
    config = json.loads(file.read_text())
    del config["refconv_digest"]  # as whoever changes a file is told to
    part = config if "num_classes" in changed else config["pretrained_cfg"]
    file.write_text(
        json.dumps({**config, **changed} if part is config else {**config, "pretrained_cfg": part | changed})
    )
    with pytest.raises(CheckpointError, match=f"{re.escape(str(file))}: {message}"):
        load_model_folder(tmp_path / "m")
