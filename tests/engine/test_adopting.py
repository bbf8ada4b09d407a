"""Weights of any origin become a folder that says what it is, and later commands need nothing else."""

import hashlib
import json

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import refconv
from image_folders import two_classes
from refconv.cli import main
from refconv.data import open_data
from refconv.engine.adopting import AdoptRecord, adopt, read_class_names
from refconv.errors import CheckpointError, DataError, ModelError, RefconvError, RefconvWarning, RunError, SettingError
from refconv.exporting import export_model_folder
from refconv.models.creation import create_model
from refconv.models.metadata import certificate_hash, certificate_of
from refconv.models.networks import resnet_small
from refconv.models.opening import open_model
from refconv.tasks.classification.task import evaluate


@pytest.fixture
def weights(tmp_path):
    """A training checkpoint of another program, of a network for two classes of grey images."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=2, in_chans=1)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "w.pth"
    )
    return tmp_path / "w.pth", model.eval()


def test_classes_and_channels_are_those_of_the_weights_and_the_folder_is_self_describing(tmp_path, weights):
    file, model = weights
    said = {"img_size": 32, "mean": (0.4,), "std": (0.2,), "interpolation": "bilinear", "crop_pct": 0.9}
    record = adopt(file, "test_resnet", tmp_path / "net", class_names=("cat", "dog"), preprocessing=said)
    assert record.holds
    assert record.not_evaluated == "no data given"
    assert record.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    loaded = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)
    cfg = timm.data.resolve_model_data_config(loaded)
    assert (cfg["input_size"], cfg["crop_pct"]) == ((1, 32, 32), 0.9)
    assert [*cfg["mean"], *cfg["std"]] == [0.4, 0.2]
    opened = open_model(str(tmp_path / "net"))
    assert opened.class_names == ("cat", "dog")
    assert certificate_of(tmp_path / "net") == certificate_hash(record.certificate.to_dict())
    assert AdoptRecord.read(tmp_path / "net" / "adopted.json") == record


def test_data_name_the_classes_and_are_evaluated_and_known_later(tmp_path):
    torch.manual_seed(0)
    model = resnet_small(channels=[4, 8])
    name, out = "refconv.models.networks:resnet_small", tmp_path / "net"
    said = {"mean": (0.3,), "std": (0.4,)}
    record = adopt(model, name, out, data="digits", preprocessing=said, model_kwargs={"channels": [4, 8]})
    data = open_data("digits", mean=(0.3,), std=(0.4,))
    assert record.measures["top1"] == pytest.approx(evaluate(model, data).top1, abs=1e-9)
    assert (record.weights, record.split, record.samples) == ("a module", "test", 359)
    assert "named as in the data" in record.classes_from
    assert "top-1" in str(record)
    opened = open_model(str(out))
    assert (opened.recipe.data, opened.recipe.model) == ("digits", name)
    exported = export_model_folder(out, tmp_path / "a.torchscript")
    assert (exported.checked_on, exported.holds) == ("32 test images of digits", True)


def test_guesses_about_images_are_said_to_be_some(tmp_path):
    """A centre crop that nobody named cost a user eight points on small images."""
    model, name = resnet_small(channels=[4, 8]), "refconv.models.networks:resnet_small"
    given = {"preprocessing": {"img_size": 8}, "model_kwargs": {"channels": [4, 8]}}
    said = str(adopt(model, name, tmp_path / "bare", **given))
    assert "center crop 0.875, mean 0.449, std 0.226 (ImageNet's default)\nwarning  what is ImageNet's default" in said
    assert "give --data, in Python data, to take it from the data as eval does" in said
    assert "warning" not in str(adopt(model, name, tmp_path / "with", data="digits", **given))
    every = {"mean": 0.3, "std": 0.4, "crop_pct": 1.0, "interpolation": "bicubic"}
    told = {**given, "preprocessing": {"img_size": 8, **every}}
    assert "warning" not in str(adopt(model, name, tmp_path / "told", **told))


def test_class_names_that_are_given_twice_are_warned_of(tmp_path):
    model = resnet_small(channels=[4, 8], num_classes=3)
    given = {"preprocessing": {"img_size": 8}, "model_kwargs": {"channels": [4, 8], "num_classes": 3}}
    about = {"class_names": ["cat", "dog", "cat"], **given}
    with pytest.warns(RefconvWarning, match="class names: classes of one name: folders are matched .*; found cat"):
        adopt(model, "refconv.models.networks:resnet_small", tmp_path / "a", **about)
    with pytest.warns(RefconvWarning, match="found cat"):
        refconv.export(
            model,
            tmp_path / "a.torchscript",
            class_names=["cat", "dog", "cat"],
            preprocessing={"input_size": [1, 8, 8]},
        )


class Brightness(nn.Sequential):
    """Its second output is larger for bright images."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        nn.init.ones_(self[0].weight).data[0].neg_()


def test_class_names_in_another_order_than_the_outputs_are_doubted(tmp_path):
    for split in ("train", "val"):
        for name, value in (("dark", 0), ("light", 255)):
            place = tmp_path / "data" / split / name
            place.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8), (value, value, number)).save(place / f"{split}{number}.png")
    about = {"data": f"folder:{tmp_path / 'data'}", "preprocessing": {"img_size": 8}}
    name = "engine.test_adopting:Brightness"
    words = "class_names: perhaps in another .* expected dark, light: top-1 100.00%, found light, dark: 0.00% of the s"
    with pytest.warns(RefconvWarning, match=words):
        adopt(Brightness(), name, tmp_path / "wrong", class_names=["light", "dark"], **about)
    assert "100.00%" in str(adopt(Brightness(), name, tmp_path / "right", class_names=["dark", "light"], **about))


def test_adopt_is_public():
    assert refconv.adopt is adopt


def test_a_network_of_imagenet_keeps_the_names_of_the_library(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    record = adopt(tmp_path / "w.safetensors", "test_resnet", tmp_path / "net")
    assert record.classes_from == "named by the library: tench, goldfish, great white shark, tiger shark, ..."
    assert (record.classes, open_model(str(tmp_path / "net")).class_name(1)) == (1000, "goldfish")
    assert "timm's test_resnet" in record.preprocessing


_SMALL = {"backbone": "test_resnet", "img_size": 64}
_TASKS = {
    "detection": ("detector:ssdlite", {**_SMALL, "num_classes": 3}),
    "segmentation": ("smp:FPN", {**_SMALL, "num_classes": 3}),
    "restoration": ("refconv.models.restorers:dncnn_small", {"in_chans": 1}),
    "multilabel": ("test_resnet", {"num_classes": 3}),
    "binary": ("test_resnet", {"num_classes": 1}),
    "regression": ("test_resnet", {"num_classes": 2}),
    "embedding": ("test_resnet", {"num_classes": 0}),
}


@pytest.mark.parametrize("task", _TASKS)
def test_every_task_is_adopted(tmp_path, task):
    name, settings = _TASKS[task]
    arguments = {key: settings[key] for key in ("backbone", "img_size") if key in settings}
    ends = {key: settings[key] for key in ("num_classes", "in_chans") if key in settings}
    if name.startswith("smp"):
        arguments.pop("img_size")
    model = create_model(name, model_kwargs=arguments, **ends)
    names = () if task in {"restoration", "embedding", "regression"} else tuple("abc")[: settings["num_classes"]]
    flags = {"img_size": settings["img_size"]} if "img_size" in settings else {}
    built = {key: value for key, value in settings.items() if key not in {"img_size", "num_classes", "in_chans"}}
    record = adopt(
        model.state_dict(), name, tmp_path / "net", task=task, class_names=names, preprocessing=flags, **built,
        **({"in_chans": 1} if "in_chans" in ends else {}),
    )  # fmt: skip
    assert record.holds
    assert record.certificate.same_outputs
    opened = open_model(str(tmp_path / "net"))
    assert (opened.task, opened.class_names) == (task, names)


def test_what_does_not_fit_is_one_line(tmp_path, weights):
    file, _ = weights
    with pytest.raises(SettingError, match="class_names: not a name for each output; expected 2, found 3 names"):
        adopt(file, "test_resnet", tmp_path / "net", class_names="abc", num_classes=2)
    with pytest.raises(
        SettingError, match=r"class_names: not a name .*; expected 2, the outputs of w\.pth, found 3 names"
    ):
        adopt(file, "test_resnet", tmp_path / "net", class_names="abc")
    with pytest.raises(CheckpointError, match=r"w\.pth: does not fit this model"):
        adopt(file, "test_convnext", tmp_path / "net")
    with pytest.raises(DataError, match="digits: the data has not a class for each output; expected 2, found 10"):
        adopt(file, "test_resnet", tmp_path / "net", data="digits")
    with pytest.raises(SettingError, match="class_names: has no effect: there are no classes"):
        adopt(file, "test_resnet", tmp_path / "net", task="embedding", class_names=("a", "b"), num_classes=2)
    model = timm.create_model("test_resnet", num_classes=2)
    refconv.refocus(model)
    with pytest.raises(CheckpointError, match=r"holds refocused kernels; merge first: refconv\.merge\(model\)"):
        adopt(model, "test_resnet", tmp_path / "net")
    assert not (tmp_path / "net").exists()


class OfOwn(nn.Module):
    """A network whose classes can only be told by its last layer."""

    def __init__(self, classes=5):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


def fixed():
    return OfOwn()


def free(num_classes=5):
    return OfOwn(num_classes)


@pytest.mark.parametrize("builder", ["fixed", "free"])
@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"class_names": "abc"}, SettingError, "class_names: not a name for each output; expected 5, .*found 3 names"),
        ({"num_classes": 3}, SettingError, "num_classes: not the number of outputs; expected 5, .*, found 3; leave it"),
        ({"data": "digits"}, DataError, "digits: the data has not a class for each output; expected 5, found 10"),
    ],
    ids=["names", "number", "data"],
)
def test_another_number_of_classes_than_an_own_network_has_is_what_is_wrong(tmp_path, builder, settings, error, words):
    with pytest.raises(error, match=words):
        adopt(OfOwn(), f"engine.test_adopting:{builder}", tmp_path / "net", **settings)


def test_a_builder_that_cannot_make_the_outputs_of_the_weights_is_what_is_wrong(tmp_path):
    words = r"fixed: .* number of classes in its last layer; expected 3, as a module has, found 5; let .* num_classes"
    with pytest.raises(ModelError, match=words):
        adopt(OfOwn(3), "engine.test_adopting:fixed", tmp_path / "net", class_names="abc")
    said = {"img_size": 8}
    assert adopt(OfOwn(3), "engine.test_adopting:free", tmp_path / "net", preprocessing=said).classes == 3


@pytest.mark.parametrize(
    "text", ["cat\ndog\n", '["cat", "dog"]', '{"0": "cat", "1": "dog"}', '{"dog": 1, "cat": 0}'],
    ids=["lines", "list", "id2label", "class_to_idx"],
)  # fmt: skip
def test_class_names_are_read_from_files(tmp_path, text):
    (tmp_path / "names").write_text(text)
    assert read_class_names(str(tmp_path / "names")) == ("cat", "dog")
    assert read_class_names("cat, dog") == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, RunError, "no such file"),
        ("[1,", RunError, "cannot be read"),
        ('{"a": 0, "b": 2}', SettingError, "not a name for each output; expected the numbers from 0 to 1"),
    ],
)
def test_class_names_that_cannot_be_read_are_one_line(tmp_path, text, error, message):
    if text is not None:
        (tmp_path / "names.json").write_text(text)
    with pytest.raises(error, match=message):
        read_class_names(str(tmp_path / "names.json"))


def test_the_command_makes_a_folder_that_eval_predict_and_train_take(tmp_path, capsys, weights, monkeypatch):
    file, _ = weights
    monkeypatch.chdir(tmp_path)
    two_classes(tmp_path / "images", (40, 32), 2)
    words = ["adopt", str(file), "--model", "test_resnet", "-o", "net", "--img-size", "32"]
    assert main([*words, "--data", "folder:images"]) == 0
    said = capsys.readouterr().out
    assert "net: test_resnet for classification with the weights of w.pth, computes the same" in said
    assert "classes  2 named as in the data, in the order of its labels: a, b" in said
    assert main([*words]) == 2
    assert "net: exists already; give another folder, or --force" in capsys.readouterr().err
    assert main(["eval", "net", "--workers", "0", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["top1"] == json.loads((tmp_path / "net/adopted.json").read_text())["measures"]["top1"]
    assert main(["predict", "net", "images/val/a/0.png", "--device", "cpu"]) == 0
    assert "a " in capsys.readouterr().out
    quick = ["--epochs", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu", "--lr", "0"]
    assert (
        main(["train", "--model", "local-dir:net", "--pretrained", "--data", "folder:images", *quick, "--out", "r"])
        == 0
    )
    assert json.loads((tmp_path / "r/model/config.json").read_text())["label_names"] == ["a", "b"]


def test_a_missing_model_is_one_line(tmp_path, capsys):
    assert main(["adopt", "w.pth", "-o", str(tmp_path / "net")]) == 2
    assert "--model: missing; expected a timm name" in capsys.readouterr().err


def test_a_folder_that_exists_is_only_replaced_if_asked_for(tmp_path, weights):
    adopt(weights[0], "test_resnet", tmp_path / "net", class_names=("cat", "dog"))
    with pytest.raises(RunError, match="net: exists already; give another folder, or --force .* force=True"):
        adopt(weights[0], "test_resnet", tmp_path / "net")
    assert open_model(str(tmp_path / "net")).class_names == ("cat", "dog")
    adopt(weights[0], "test_resnet", tmp_path / "net", force=True)
    assert open_model(str(tmp_path / "net")).class_names == ()


def test_a_damaged_record_is_one_line(tmp_path, weights):
    adopt(weights[0], "test_resnet", tmp_path / "net")
    (tmp_path / "net/adopted.json").write_text("{")
    with pytest.raises(RefconvError, match=r"adopted\.json: damaged or not a record"):
        open_model(str(tmp_path / "net"))


def test_refocused_weights_name_the_way_out_of_where_they_are(tmp_path):
    model = resnet_small(channels=[4, 8])
    refconv.refocus(model)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    name, settings = "refconv.models.networks:resnet_small", {"model_kwargs": {"channels": [4, 8]}}
    for weights in (model, model.state_dict()):
        with pytest.raises(CheckpointError, match=r"merge first: refconv\.merge\(model\), or give refconv\.merged"):
            adopt(weights, name, tmp_path / "net", **settings)
    with pytest.raises(CheckpointError, match=r"refconv merge w\.pth --model .* -o FOLDER"):
        adopt(tmp_path / "w.pth", name, tmp_path / "net", **settings)
    with pytest.raises(CheckpointError, match="weights: no weights; expected a file, a folder, .*, found list"):
        adopt([1], name, tmp_path / "net", **settings)
