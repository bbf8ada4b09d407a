"""Every format with every option for every task: a file that computes the same, or a reason in one line."""

import itertools

import pytest
import torch
from torch import nn

from exported_networks import Boxes, Small, lively, opened
from refconv.errors import RefconvError
from refconv.exporting import ExportConfig, HubConfig
from refconv.exporting.exporting import export_opened
from refconv.exporting.inputs import Evidence
from refconv.models.creation import create_model

SIZE = [3, 32, 32]
SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "torchscript": ".torchscript", "openvino": ".xml", "hub": ""}
OPTIONS = {
    "none": {}, "half": {"half": True}, "dynamic size": {"dynamic_size": True}, "opset": {"opset": 18},
    "softmax": {"softmax": True}, "preprocessing": {"with_preprocessing": True}, "int8": {"int8": True},
    "size": {},  # what --img-size says is not of the format
}  # fmt: skip
LABELS = {"multilabel": "logits", "binary": "logits", "regression": "values", "embedding": "embedding"}
TASKS = ("classification", "segmentation", "restoration", "detection", *LABELS)
ANY = "any"

REASONS = (
    # format, option, task, what is said: the first row that fits
    ("pt2", "int8", ANY, "int8: is for the format onnx; found format pt2"),
    ("torchscript", "int8", ANY, "int8: is for the format onnx"),
    ("openvino", "int8", ANY, "int8: is for the format onnx"),
    ("hub", "int8", ANY, "int8: is for the format onnx"),
    ("pt2", "opset", ANY, "opset: is for the format onnx; found format pt2"),
    ("torchscript", "opset", ANY, "opset: is for the format onnx"),
    ("openvino", "opset", ANY, "opset: is for the format onnx"),
    ("hub", "opset", ANY, "opset: is for the format onnx"),
    ("hub", "half", ANY, r"half: has no effect on the format hub; .*; the weights stay as trained"),
    ("hub", "dynamic size", ANY, "dynamic_size: has no effect on the format hub; .*the sizes that their layers take"),
    ("hub", "softmax", ANY, "softmax: has no effect on the format hub; .*pipeline gives probabilities, timm logits"),
    ("hub", "preprocessing", ANY, "with_preprocessing: has no effect on the format hub; .*timm's transform"),
    (
        ANY,
        "softmax",
        "restoration",
        "softmax: is for outputs of which one class holds; found restoration gives restored",
    ),
    (ANY, "softmax", "detection", "softmax: is for outputs of which one class holds; found detection gives boxes"),
    *((ANY, "softmax", task, f"softmax: is for .*; found {task} gives {name}") for task, name in LABELS.items()),
    (ANY, "half", "detection", "half: detectors compute boxes in float32"),
    ("onnx", "int8", "detection", "int8: is not for detectors, whose boxes need more than 8 bits"),
    ("onnx", "int8", ANY, "int8: quantisation is calibrated on training images, and no data are recorded"),
    (ANY, "size", "restoration", "img_size: has no effect: the file takes whole images"),
    (ANY, "size", "detection", "img_size: has no effect: the file takes whole images"),
    ("pt2", ANY, "detection", "torch.export does not follow a number of boxes"),
)
QUICK = {
    ("torchscript", "none", "classification"), ("torchscript", "half", "segmentation"),
    ("torchscript", "preprocessing", "restoration"), ("torchscript", "size", "multilabel"),
    ("torchscript", "dynamic size", "regression"), ("pt2", "softmax", "classification"),
    ("pt2", "dynamic size", "segmentation"), ("torchscript", "preprocessing", "detection"),
    ("hub", "size", "classification"), ("torchscript", "none", "embedding"),
}  # fmt: skip


def reason(*case):
    """Return what is said about a case, or None if a file is written."""
    fits = (row[3] for row in REASONS if all(a in {ANY, b} for a, b in zip(row[:3], case, strict=True)))
    return next(fits, None)


class Maps(nn.Module):
    """A segmenter as torchvision's."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return {"out": self.conv(x)}


def network(kind, task):
    """Return a small network of a task; for a hub one that a builder makes."""
    if kind != "hub":
        made = {"segmentation": Maps, "restoration": lambda: nn.Conv2d(3, 3, 3, padding=1), "detection": Boxes}
        sizes = {"binary": 1, "regression": 2}
        return opened(lively(made.get(task, lambda: Small(sizes.get(task, 4)))()), task, input_size=SIZE)
    names = {
        "segmentation": "smp:FPN", "restoration": "refconv.models.restorers:dncnn_small",
        "detection": "detector:ssdlite",
    }  # fmt: skip
    arguments = {"backbone": "test_resnet"} if task in {"segmentation", "detection"} else {}
    arguments |= {"img_size": 64} if task == "detection" else {}
    classes = {"restoration": None, "embedding": 0, "binary": 1}.get(task, 3)
    name = names.get(task, "test_resnet")
    model = create_model(name, num_classes=classes, in_chans=3, model_kwargs=arguments).eval()
    found = opened(model, task, name, input_size=[3, 64, 64])
    found.arguments.update(arguments, num_classes=classes)
    return found


def cases(*, quick):
    """Return the cases in which a file is written, some of them or all the others."""
    every = itertools.product(SUFFIXES, OPTIONS, TASKS)
    chosen = [case for case in every if reason(*case) is None and (case in QUICK) is quick]
    return [pytest.param(*case, id=", ".join(case)) for case in chosen]


REFUSED = [case for case in itertools.product(SUFFIXES, OPTIONS, TASKS) if reason(*case)]


def exported(folder, kind, option, task):
    model = network(kind, task)
    if option == "size":
        model.flags["img_size"] = 64
    config, hub = ExportConfig(format=kind, **OPTIONS[option]), HubConfig(license="unknown") if kind == "hub" else None
    torch.manual_seed(0)
    return export_opened(model, folder / f"a{SUFFIXES[kind]}", config, Evidence(), builds=False, hub=hub)


def check(record, kind, option, task):
    assert record.holds, str(record)
    assert record.format == kind
    assert record.precision == ("float16" if option == "half" else "float32")
    assert record.takes.startswith("uint8" if option == "preprocessing" else "float32")
    free = record.takes.count("height") + record.takes.count("width")
    whole = task in {"restoration", "detection"} and kind != "hub"
    assert free == (2 if whole or option == "dynamic size" else 0)
    if option == "size":
        assert "64, 64" in record.takes
    if option == "softmax":
        assert record.gives == ("probabilities",)
    elif task in LABELS:
        assert record.gives == (LABELS[task],)
    if option == "opset":
        assert record.opset == 18


@pytest.mark.parametrize(("kind", "option", "task"), cases(quick=True))
def test_some_files_compute_what_the_network_does(tmp_path, kind, option, task):
    check(exported(tmp_path, kind, option, task), kind, option, task)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "option", "task"), cases(quick=False))
def test_all_files_compute_what_the_network_does(tmp_path, kind, option, task):
    check(exported(tmp_path, kind, option, task), kind, option, task)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_cannot_be_is_said_in_one_line(tmp_path, option):
    cases = [case for case in REFUSED if case[1] == option]
    assert len(cases) == sum(1 for kind, task in itertools.product(SUFFIXES, TASKS) if reason(kind, option, task))
    for kind, _, task in cases:
        with pytest.raises(RefconvError, match=reason(kind, option, task)) as caught:
            exported(tmp_path, kind, option, task)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
