"""Files of every format say what they are: read by each format's own reader, without refconv."""

import json

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import safetensors
import torch

from refconv.engine.adopting import adopt
from refconv.exporting import export_model_folder
from refconv.models.metadata import certificate_hash
from refconv.models.networks import resnet_small

NAMES = tuple("abcdefghij")
INPUT = {"img_size": 8, "mean": (0.3,), "std": (0.4,), "crop_pct": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder with names of its classes and a certificate, and the hash of the latter."""
    out = tmp_path_factory.mktemp("said") / "net"
    model = resnet_small(channels=[2], num_classes=10)
    name = "refconv.models.networks:resnet_small"
    record = adopt(model, name, out, class_names=NAMES, preprocessing=INPUT, model_kwargs={"channels": [2]})
    return out, certificate_hash(record.certificate.to_dict())


def by_onnx(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def by_onnxruntime(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.get_modelmeta().custom_metadata_map


def by_torch_export(path):
    stored = {"refconv": ""}
    torch.export.load(path, extra_files=stored)
    return json.loads(stored["refconv"])


def by_torch_jit(path):
    stored = {"refconv": ""}
    torch.jit.load(str(path), _extra_files=stored)
    return json.loads(stored["refconv"])


def by_openvino(path):
    info = openvino.Core().read_model(path).get_rt_info()["refconv"]
    return {key: value.astype(str) for key, value in info.items()}


def by_safetensors(path):
    with safetensors.safe_open(path, "np") as file:
        assert file.get_tensor(file.keys()[0]).dtype == np.float32
        return file.metadata()


READERS = {
    "onnx and onnxruntime": ("a.onnx", None, (by_onnx, by_onnxruntime)),
    "torch.export": ("a.pt2", None, (by_torch_export,)),
    "torch.jit": ("a.torchscript", None, (by_torch_jit,)),
    "openvino": ("a.xml", None, (by_openvino,)),
    "safetensors": ("hub/model.safetensors", "hub", (by_safetensors,)),
}


# What an OpenVINO file says is also read where test_exporting.py runs it.
@pytest.mark.parametrize(
    "readers", [pytest.param(name, marks=pytest.mark.slow) if name == "openvino" else name for name in READERS]
)
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
def test_certificate_classes_preprocessing_and_versions_are_in_the_file(tmp_path, folder, readers):
    place, kind, reads = READERS[readers]
    source, certificate = folder
    more = {"license": "unknown"} if kind == "hub" else {}
    export_model_folder(source, tmp_path / place.partition("/")[0], kind, **more)
    for read in reads:
        said = read(tmp_path / place)
        assert said["certificate"] == certificate
        assert (said["task"], said["architecture"]) == ("classification", "refconv.models.networks:resnet_small")
        assert json.loads(said["class_names"]) == list(NAMES)
        preprocessing = json.loads(said["preprocessing"])
        assert (preprocessing["input_size"], preprocessing["mean"], preprocessing["std"]) == ([1, 8, 8], [0.3], [0.4])
        versions = json.loads(said["versions"])
        assert {"python", "refconv", "torch", "timm"} <= versions.keys()
        if place == "a.onnx":
            assert {"onnx", "onnxscript", "onnxruntime"} <= versions.keys()
