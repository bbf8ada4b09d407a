"""Exported files compute what the network does, by their own runtimes, and say what they are."""

import copy
import functools
import json
import logging
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from torch import nn

import refconv
from exported_networks import Boxes, Small, lively, opened
from refconv.errors import DataError, ModelError, RefconvError, RunError, SettingError
from refconv.exporting import ExportConfig, export_model_folder
from refconv.exporting.config import FORMATS
from refconv.exporting.exporting import _placed_when_checked, export_opened
from refconv.exporting.formats import _quiet
from refconv.exporting.inputs import Evidence
from refconv.models.exported import open_runtime
from refconv.models.metadata import certificate_hash
from run_checkpoints import save_run, small_recipe

INPUT = {"input_size": [3, 12, 16], "mean": [0.2, 0.4, 0.6], "std": [0.5, 0.25, 0.125], "crop_pct": 1.0}


def run(file, images):
    """Run an ONNX file by onnxruntime's own interface."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})


CLASS_NAMES = tuple(f"class {number}" for number in range(2000))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Export a network of 2,000 classes as a suffix says, once: it, its state before, the file and its record."""
    model = lively(Small(len(CLASS_NAMES)))

    @functools.cache
    def of(suffix):
        before = copy.deepcopy(model.state_dict())
        file = tmp_path_factory.mktemp("exported") / f"a{suffix}"
        about = {"class_names": CLASS_NAMES, "opset": 18} if suffix == ".onnx" else {}
        return model, before, file, refconv.export(model, file, preprocessing=INPUT, **about)

    return of


@pytest.mark.parametrize(("kind", "suffix"), FORMATS.items())
def test_every_format_computes_what_the_network_does_for_any_batch_size(exported, kind, suffix):
    model, before, file, record = exported(suffix)
    assert record.holds
    assert record.format == kind
    assert record.operations == record.unrefocused
    runtime = open_runtime(file)
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 12, 16)
        (found,) = runtime.run(images)
        torch.testing.assert_close(found, model(images).detach(), rtol=1e-4, atol=1e-5)
    assert json.loads(runtime.metadata["outputs"]) == ["logits"]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_an_onnx_file_has_stable_names_a_free_batch_and_nothing_of_this_machine(exported):
    file = exported(".onnx")[2]
    onnx.checker.check_model(str(file), full_check=True)
    model = onnx.load(file)
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    assert ([v.name for v in model.graph.input], shapes) == (["images"], [["batch", 3, 12, 16]])
    assert [v.name for v in model.graph.output] == ["logits"]
    assert model.opset_import[0].version == 18
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["class_names"]) == list(CLASS_NAMES)
    assert json.loads(said["preprocessing"])["mean"] == INPUT["mean"]
    assert torch.__version__.startswith(json.loads(said["versions"])["torch"])
    assert __file__.encode() not in file.read_bytes()
    assert b"site-packages" not in file.read_bytes()
    assert sorted(one.name for one in file.parent.iterdir()) == ["a.onnx"]


def test_preprocessing_inside_takes_bytes_in_rgb(tmp_path):
    model = lively(Small())
    record = refconv.export(model, tmp_path / "a.onnx", preprocessing=INPUT, with_preprocessing=True, softmax=True)
    assert record.holds
    assert (record.takes, record.gives) == ("uint8 [batch, 12, 16, 3]", ("probabilities",))
    images = torch.randint(0, 256, (3, 12, 16, 3), dtype=torch.uint8)
    (found,) = run(tmp_path / "a.onnx", images)
    mean, std = (np.array(INPUT[name], dtype=np.float64) for name in ("mean", "std"))
    normalised = torch.from_numpy(((images.numpy() / 255 - mean) / std).transpose(0, 3, 1, 2)).float()
    np.testing.assert_allclose(found, model(normalised).softmax(1).detach().numpy(), rtol=1e-4, atol=1e-6)
    reversed_channels = run(tmp_path / "a.onnx", images.flip(-1))[0]
    assert np.abs(reversed_channels - found).max() > 1e-3


def test_a_network_of_bgr_gets_its_channels_reversed_inside(tmp_path):
    model = lively(Small())
    reverses = {**INPUT, "color_mode": "BGR"}
    refconv.export(model, tmp_path / "a.torchscript", preprocessing=reverses, with_preprocessing=True)
    images = torch.randint(0, 256, (2, 12, 16, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(INPUT[name]).view(3, 1, 1) for name in ("mean", "std"))
    wanted = model((images.permute(0, 3, 1, 2).flip(1) / 255 - mean) / std).detach()
    (found,) = open_runtime(tmp_path / "a.torchscript").run(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".torchscript"])
def test_half_keeps_inputs_and_outputs_in_float32_and_halves_the_weights(exported, tmp_path, suffix):
    model, _, _, whole = exported(suffix)
    half = refconv.export(model, tmp_path / f"b{suffix}", preprocessing=INPUT, half=True)
    assert half.holds
    assert half.precision == "float16"
    assert 0 < half.relative_difference < half.tolerance
    weights = sum(value.numel() for value in model.parameters())
    assert whole.bytes - half.bytes > 1.5 * weights
    (found,) = open_runtime(tmp_path / f"b{suffix}").run(torch.randn(2, 3, 12, 16))
    assert found.dtype == torch.float32


def test_dynamic_size_leaves_height_and_width_free(tmp_path):
    model = lively(Small())
    refconv.export(model, tmp_path / "a.onnx", preprocessing=INPUT, dynamic_size=True)
    images = torch.randn(3, 3, 20, 9)
    torch.testing.assert_close(
        torch.from_numpy(run(tmp_path / "a.onnx", images)[0]), model(images).detach(), rtol=1e-4, atol=1e-5
    )


class OfOneSize(Small):
    """A network with an entry for each pixel of its map."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, 3, 12, 16))

    def forward(self, images):
        return super().forward(images + self.places)


@pytest.mark.parametrize("suffix", [".onnx", ".torchscript"])
def test_a_network_of_one_size_is_one_line_and_prints_no_graph(suffix, tmp_path, capfd):
    words = "dynamic_size: the network takes images of one size; found .*; leave it out"
    with pytest.raises(ModelError, match=words) as caught:
        refconv.export(lively(OfOneSize()), tmp_path / f"a{suffix}", preprocessing=INPUT, dynamic_size=True)
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


class Decides(Small):
    """A network whose path depends on what it sees, which torch.export does not follow."""

    def forward(self, images):
        return super().forward(images if images.mean() < 1e9 else 2 * images)


def test_what_a_killed_export_left_goes_with_the_next_one(tmp_path):
    file = tmp_path / "a.torchscript"
    with _placed_when_checked(file) as written:
        (written.parent / "rest").write_bytes(b"x")
        left = shutil.copytree(written.parent, tmp_path / "copy")
    left.rename(written.parent)  # as a killed process leaves it
    refconv.export(lively(Small(3)), file, preprocessing=INPUT)
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "about", [{"format": "torchscript"}, {"format": "onnx", "int8": True}, {"format": "hub", "license": "mit"}]
)
def test_what_is_exported_is_placed_when_it_was_checked_and_not_before(about, tmp_path, monkeypatch):
    model = lively(timm.create_model("test_resnet", in_chans=1, num_classes=10))
    out = tmp_path / ("a" if about["format"] == "hub" else "a.onnx" if "int8" in about else "a.torchscript")
    about = {"data": "digits", "preprocessing": {"input_size": [1, 8, 8]}, **about}
    refconv.export(model, out, **about)
    there = [out, *out.glob("*")]
    seen = []

    def stopped(*given):
        seen.append([file.stat().st_mtime_ns for file in there])
        raise KeyboardInterrupt

    former = [file.stat().st_mtime_ns for file in there]
    monkeypatch.setattr("refconv.exporting.exporting.compared", stopped)
    with pytest.raises(KeyboardInterrupt):
        refconv.export(model, out, force=True, **about)
    assert seen == [former]
    assert [file.stat().st_mtime_ns for file in there] == former
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith((".partial", ".former"))] == []


def test_a_network_that_cannot_be_traced_is_one_line_and_prints_no_graph(tmp_path, capfd):
    with pytest.raises(ModelError, match="format pt2: torch cannot export this network so; found .*") as caught:
        refconv.export(lively(Decides()), tmp_path / "a.pt2", preprocessing=INPUT)
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_not_exported(factor, tmp_path):
    model = lively(Small())
    next(model.parameters()).data.mul_(factor)
    with pytest.raises(ModelError, match="Small: its outputs are not finite; check its weights and its input"):
        refconv.export(model, tmp_path / "a.torchscript", preprocessing=INPUT)
    assert not list(tmp_path.iterdir())


def test_a_file_that_overflows_does_not_hold_and_its_record_is_json(tmp_path):
    model = lively(Small())
    next(model.parameters()).data.mul_(1e5)  # finite in float32, and beyond float16
    record = refconv.export(model, tmp_path / "a.torchscript", preprocessing=INPUT, half=True)
    assert not record.holds
    assert (record.largest_difference, record.relative_difference) == (None, None)
    assert "largest difference infinite" in str(record)
    assert "Infinity" not in record.to_json()
    assert "NaN" not in record.to_json()
    assert record.from_json(record.to_json()) == record


class Maps(nn.Module):
    """A segmenter as torchvision's: a dictionary with an auxiliary output."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return {"out": self.conv(x), "aux": self.conv(x) * 2}


@pytest.mark.parametrize(
    ("task", "model", "gives"),
    [
        ("segmentation", Maps, ("logits",)),
        ("restoration", lambda: nn.Conv2d(3, 3, 3, padding=1), ("restored",)),
        ("detection", Boxes, ("boxes", "labels", "scores")),
    ],
)
def test_other_tasks_export_and_those_of_whole_images_take_any_size(tmp_path, task, model, gives):
    model = lively(model())
    record = export_opened(
        opened(model, task, input_size=[3, 12, 16]), tmp_path / "a.onnx", ExportConfig(), Evidence(), builds=False
    )
    assert record.holds
    assert record.gives == gives
    size = (12, 16) if task == "segmentation" else (18, 10)
    images = torch.randn(1, 3, *size)
    found = run(tmp_path / "a.onnx", images)
    wanted = model([images[0]])[0] if task == "detection" else model(images)
    wanted = wanted["out"] if task == "segmentation" else wanted
    wanted = [wanted[name] for name in gives] if task == "detection" else [wanted]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(torch.from_numpy(one), other.detach(), rtol=1e-4, atol=1e-5)


def test_a_detector_as_pt2_is_refused_in_one_line(tmp_path):
    detector = opened(lively(Boxes()), "detection", input_size=[3, 12, 16])
    config = ExportConfig(format="pt2")
    with pytest.raises(ModelError, match="number of boxes that depends on the image; take onnx"):
        export_opened(detector, tmp_path / "a.pt2", config, Evidence(), builds=False)
    assert list(tmp_path.iterdir()) == []


def test_a_refocused_model_is_refused_and_its_merged_copy_exported(tmp_path):
    model = lively(Small())
    refconv.refocus(model)
    with pytest.raises(ModelError, match=r"stem: the model is refocused; expected a merged model; merge first"):
        refconv.export(model, tmp_path / "a.onnx", preprocessing=INPUT)
    assert refconv.export(refconv.merged(model), tmp_path / "a.torchscript", preprocessing=INPUT).holds


def test_an_operation_too_many_and_other_outputs_are_found(tmp_path):
    model = lively(Small())
    record = refconv.export(model, tmp_path / "a.torchscript", preprocessing=INPUT)
    kind = next(kind for kind in record.unrefocused if "conv" in kind)
    fewer = {**record.unrefocused, kind: record.unrefocused[kind] - 1}
    changed = record.from_dict({**record.to_dict(), "unrefocused": fewer})
    assert (changed.same_graph, changed.holds) == (False, False)
    assert "NOT those of" in str(changed)
    apart = record.from_dict({**record.to_dict(), "relative_difference": 1e-3})
    assert (apart.same_outputs, apart.holds) == (False, False)
    assert "DIFFERENT" in str(apart)


def test_a_run_is_checked_on_its_own_images_and_says_its_certificate(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    certificate = {"same": True, "kernels": 5}
    (tmp_path / "run/record.json").write_text(json.dumps({"certificate": certificate}))
    record = export_model_folder(tmp_path / "run", tmp_path / "out/a.torchscript")
    assert record.holds
    assert (record.checked_on, record.top1_agreement) == ("32 test images of digits", 1.0)
    said = open_runtime(tmp_path / "out/a.torchscript").metadata
    assert said["certificate"] == certificate_hash(dict(reversed(certificate.items())))
    assert json.loads(said["class_names"]) == []  # the names are the numbers
    assert (said["num_classes"], said["in_chans"]) == ("10", "1")


def test_an_unfinished_run_is_refused(tmp_path):
    save_run(tmp_path / "run", small_recipe(), finished=False)
    with pytest.raises(ModelError, match="refconv merge RUN -o FOLDER"):
        export_model_folder(tmp_path / "run", tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"format": "tflite"},
            "format: unknown format; expected onnx, pt2, torchscript, openvino, hub, found 'tflite'",
        ),
        ({"format": "pt2"}, r"a\.onnx: not a name for this format; expected a name that ends in \.pt2"),
        ({"half": True, "int8": True}, "int8: cannot be combined with half"),
        (
            {"int8": True},
            "int8: quantisation is calibrated on training images, and no data are recorded with the model; give",
        ),
        (
            {"task": "restoration", "softmax": True},
            "softmax: is for outputs of which one class holds; found restoration gives restored",
        ),
        ({"task": "detection", "half": True}, "half: detectors compute boxes in float32"),
        ({"opset": 3}, r"opset: torch writes this network in version \d+ only; found 3; leave it out, or take \d+"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, options, message):
    given = {} if "task" in options else {"preprocessing": INPUT}
    with pytest.raises(RefconvError, match=message):
        refconv.export(lively(Small()), tmp_path / "a.onnx", **given, **options)


def test_an_option_without_effect_on_the_format_is_refused(tmp_path):
    with pytest.raises(SettingError, match="opset: is for the format onnx; found format pt2"):
        refconv.export(lively(Small()), tmp_path / "a.pt2", preprocessing=INPUT, opset=17)


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(SettingError, match=r"expected onnx; pip install 'refconv\[export\]'"):
        refconv.export(lively(Small()), tmp_path / "a.onnx", preprocessing=INPUT)


def test_a_network_that_does_not_say_its_classes_is_looked_at(tmp_path):
    model = lively(nn.Sequential(nn.Conv2d(3, 7, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    refconv.export(model, tmp_path / "a.torchscript", preprocessing=INPUT)
    assert open_runtime(tmp_path / "a.torchscript").metadata["num_classes"] == "7"


def test_input_that_the_network_does_not_take_is_one_line(tmp_path):
    with pytest.raises(
        ModelError, match=r"Small: the network does not take such input; expected input of shape \[2, 1"
    ):
        refconv.export(lively(Small()), tmp_path / "a.pt2", preprocessing={"input_size": [1, 8, 8]})


@pytest.mark.parametrize("hub", [False, True])
def test_what_exists_is_only_replaced_if_asked_for(tmp_path, hub):
    out = tmp_path / ("net" if hub else "a.torchscript")
    about = {"format": "hub", "license": "mit"} if hub else {}
    model = lively(timm.create_model("test_resnet", num_classes=3) if hub else Small(3))
    refconv.export(model, out, preprocessing=INPUT, class_names=("a", "b", "c"), **about)
    before = (out / "config.json" if hub else out).read_bytes()
    with pytest.raises(RunError, match="exists already; give another .*, or --force .* force=True"):
        refconv.export(model, out, preprocessing=INPUT, **about)
    assert (out / "config.json" if hub else out).read_bytes() == before
    assert refconv.export(model, out, preprocessing=INPUT, force=True, **about).holds
    assert (out / "config.json" if hub else out).read_bytes() != before


IMAGES = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))


def test_given_images_say_the_size_where_nothing_else_does(tmp_path):
    model = lively(nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    record = refconv.export(model, tmp_path / "a.torchscript", images=IMAGES)
    assert record.holds
    assert record.takes == "float32 [batch, 3, 40, 40]"
    assert "size of the given images" in record.left_outside
    with pytest.raises(DataError, match=r"not known; give --img-size or --data, in Python preprocessing={'img_size'"):
        refconv.export(model, tmp_path / "b.torchscript")
    grey = lively(nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert refconv.export(grey, tmp_path / "c.torchscript", data="digits").takes == "float32 [batch, 1, 8, 8]"
    record = refconv.export(model, tmp_path / "b.torchscript", preprocessing={"img_size": 8, "mean": 0.25})
    said = json.loads(open_runtime(tmp_path / "b.torchscript").metadata["preprocessing"])
    assert (said["input_size"], said["mean"]) == ([3, 8, 8], [0.25, 0.25, 0.25])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"class_names": ("a", "b")}, "class_names: not a name for each output; expected 4, found 2 names"),
        ({"task": "restoration", "class_names": "ab"}, "class_names: has no effect: there are no classes"),
        ({"preprocessing": {"input_size": 32}}, r"preprocessing\['input_size'\]: not the shape of a sample; expected"),
        ({"preprocessing": {"inputsize": [3, 8, 8]}}, r"\['inputsize'\]: unknown; .* did you mean input_size\?"),
        ({"preprocessing": {**INPUT, "mean": "dark"}}, r"preprocessing\['mean'\]: not a number; found 'dark'"),
        ({"preprocessing": {**INPUT, "std": [0.5, 0.5]}}, "wrong number of values; expected 1 or 3"),
        ({"preprocessing": {"crop_pct": [1]}}, r"preprocessing\['crop_pct'\]: not a number; found \[1\]"),
        ({"preprocessing": {"img_size": 0}}, "expected a positive number of pixels, found 0"),
        (
            {"images": IMAGES},
            r"images: not of the size that the network takes; expected \[3, 12, 16\], found \[3, 40, 40",
        ),
        ({"images": IMAGES[:, :2], "dynamic_size": True}, r"images: not of the network's channels; expected \[3, 12"),
        ({"images": (IMAGES * 9).byte()}, "images: not prepared; expected floating-point numbers.*, found uint8"),
        ({"images": IMAGES.numpy()}, r"images: not input of this network; expected a tensor \[batch.*found ndarray"),
        ({"images": IMAGES[:0]}, "images: not input of this network; .*found none"),
        ({"images": [IMAGES.numpy()], "task": "detection"}, "images: .*found list with one of ndarray"),
        ({"images": torch.tensor([1.0])}, r"images: .*found shape \[1\]"),
    ],
)
def test_what_does_not_fit_the_network_is_one_line(tmp_path, given, message):
    about = {} if "task" in given else {"preprocessing": INPUT}
    with pytest.raises(RefconvError, match=message) as caught:
        refconv.export(lively(Small()), tmp_path / "a.torchscript", **{**about, **given})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_is_none_is_one_line(tmp_path):
    with pytest.raises(SettingError, match="img_size: unknown option; expected format, dynamic_size"):
        refconv.export(nn.Conv2d(1, 2, 3), tmp_path / "m.onnx", img_size=32)
    with pytest.raises(SettingError, match=r"a name that ends in .onnx or .pt2 or .torchscript or .xml"):
        refconv.export(nn.Conv2d(1, 2, 3), tmp_path / "m.pth")


def test_loggers_are_quiet_during_an_export_and_as_before_after_it_fails():
    loggers = [logging.getLogger(name) for name in ("onnxscript", "torch.onnx")]
    before = [logger.level for logger in loggers]
    during = []

    def fail():
        with _quiet():
            during.extend(logger.level for logger in loggers)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert during == [logging.CRITICAL] * 2
    assert [logger.level for logger in loggers] == before


@pytest.mark.parametrize("inside", [False, True])
def test_values_of_preprocessing_that_nobody_said_are_said_to_be_guesses(inside, tmp_path):
    images, file = torch.randn(2, 3, 12, 16), tmp_path / "a.torchscript"
    record = refconv.export(lively(Small()), file, images=images, with_preprocessing=inside)
    assert record.guesses == ("mean", "std", "interpolation", "crop_pct", "crop_mode")
    assert "\nwarning    mean, std, interpolation, crop_pct, crop_mode: guessed, and later" in str(record)
    every = {**INPUT, "interpolation": "bicubic", "crop_mode": "center"}
    assert "warning" not in str(refconv.export(lively(Small()), file, preprocessing=every, force=True))


def refocused():
    model = lively(Small())
    refconv.refocus(model)
    return model


def given(**arguments):
    """Return a call of export as a program makes it, by default of a network with a batch of images."""
    return {"model": lively(Small()), "out": "a.torchscript", "images": torch.randn(2, 3, 12, 16), **arguments}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (given(images=torch.randn(3, 12, 16)), r"images: without a batch dimension; .* found shape \[3, 12, 16\]; give "
         r"images\[None\]"),
        (given(images=torch.randn(3, 12, 16), preprocessing=INPUT), "images: without a batch dimension; "),
        (given(images=torch.randn(12, 16)), r"images: not input of this network; .* \[batch, .*found shape \[12, 16\]"),
        (given(model=Small().state_dict()), "cannot export this; expected a torch.nn.Module, found OrderedDict"),
        (given(model=refocused()), r"refconv\.merge\(model\)"),
        (given(task="detektion"), "task: unknown task; expected classification, "),
        (given(out="a.onnx", int8=True), "int8: .*; give --data, in Python data$"),
        (given(images=None), "in Python preprocessing="),
        (given(images=None, preprocessing={"input_size": [1, 8, 8]}), "in Python preprocessing="),
    ],
)  # fmt: skip
def test_what_a_program_gives_wrongly_is_said_in_its_words(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefconvError, match=message) as caught:
        refconv.export(**call)
    assert "--" not in str(caught.value) or "in Python" in str(caught.value)
