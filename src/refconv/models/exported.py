"""Files that ``refconv export`` wrote, run by their own runtimes and used like the networks that they hold."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from refconv.errors import CheckpointError, ModelError, RefconvWarning, SettingError, in_one_line, lacks_memory
from refconv.models.metadata import KEY, InputSettings
from refconv.models.sealing import check_sealed
from refconv.records import conformed, parsed_json, type_hints

SUFFIXES = {".onnx": "onnx", ".pt2": "pt2", ".torchscript": "torchscript", ".xml": "openvino"}
"""The formats, by what their files' names end in."""

PROGRAMS = {".pt2": "torch.export", ".torchscript": "TorchScript"}
"""Files that are programs, by whose: opening or running them may do what programs do, as torch's loaders unpickle."""

Run = Callable[[Tensor], tuple[Tensor, ...]]
_Opened = tuple[Run, Mapping[str, str], str]


class ExportedMetadata(TypedDict):
    """What an exported file says about itself, as far as it is read."""

    task: str
    architecture: str
    class_names: list[str]
    preprocessing: InputSettings
    outputs: list[str]
    num_classes: int | None
    in_chans: int
    preprocessing_inside: bool


@dataclass(frozen=True)
class Runtime:
    """A file, opened by its runtime on the CPU."""

    run: Run  # from the one input to the outputs, in order
    metadata: Mapping[str, str]  # as :func:`refconv.models.metadata.described` made it
    name: str  # of the runtime, with its version
    said: ExportedMetadata | None = None  # the values of these texts

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return self.known["outputs"]

    @property
    def known(self) -> ExportedMetadata:
        """What the file says about itself."""
        assert self.said is not None, "no file was opened"
        return self.said


def open_runtime(path: Path) -> Runtime:
    """Open a file by the runtime that its name's end stands for."""
    openers = {"onnx": _onnx, "pt2": _pt2, "torchscript": _torchscript, "openvino": _openvino}
    with in_one_line(CheckpointError, "cannot be opened", where=str(path), remedy="export it again"):
        sealed = check_sealed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit warns of its successor
            run, found, name = openers[SUFFIXES[path.suffix]](path)
    if "outputs" not in found:
        what, remedy = "does not say what it takes and gives", "export the model again: refconv export MODEL -o FILE"
        raise CheckpointError(what, where=str(path), expected="a file that refconv export wrote", remedy=remedy)
    if not sealed:
        message = f"{path}: written by a version that kept no digest, so that damage cannot be told"
        warnings.warn(message, RefconvWarning, stacklevel=2)
    return Runtime(run, found, name, said_by_file(found, str(path)))


def needs(package: str, extra: str) -> Any:
    """Import an optional package, or say which extra brings it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        what, remedy = "needs a package that is not installed", f"pip install 'refconv[{extra}]'"
        raise SettingError(what, where=f"format {extra}", expected=package, remedy=remedy) from error


def onnx_session(path: Path, threads: int | None = None) -> Any:
    """Open an ONNX file by onnxruntime on the CPU, by default with as many threads as torch."""
    ort = needs("onnxruntime", "export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3  # warnings are about the machine
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _onnx(path: Path) -> _Opened:
    session = onnx_session(path)
    (given,) = session.get_inputs()
    version = needs("onnxruntime", "export").__version__

    def run(images: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(found) for found in session.run(None, {given.name: images.numpy()}))

    return run, session.get_modelmeta().custom_metadata_map, f"onnxruntime {version}"


def _pt2(path: Path) -> _Opened:
    stored, log = {KEY: ""}, logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it logs a traceback of what is said in one line here
    try:
        program = torch.export.load(path, extra_files=stored)
    finally:
        log.setLevel(level)
    return as_tuple(program.module()), parsed_json(stored[KEY] or "{}"), f"torch.export {torch.__version__}"


def _torchscript(path: Path) -> _Opened:
    stored = {KEY: ""}
    script = torch.jit.load(str(path), map_location="cpu", _extra_files=stored)
    return as_tuple(script), parsed_json(stored[KEY] or "{}"), f"torch.jit {torch.__version__}"


def _openvino(path: Path) -> _Opened:
    ov = needs("openvino", "openvino")
    model = ov.Core().read_model(path)
    stored = model.get_rt_info()
    found = {key: value.astype(str) for key, value in stored[KEY].items()} if KEY in stored else {}
    # What a CPU computes in by default depends on the CPU.
    compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array.copy()) for array in compiled(images.numpy()).to_tuple())

    return run, found, f"openvino {ov.__version__.partition('-')[0]}"


def as_tuple(network: Callable[[Tensor], Any]) -> Run:
    """Return a network as a function whose result is a tuple of its outputs."""

    def run(images: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            found = network(images)
        return (found,) if isinstance(found, Tensor) else tuple(found)

    return run


_OTHER_SIZE = "leave --img-size out, or export with --dynamic-size"


class ExportedModel(nn.Module):
    """An exported file as a network: it takes and gives what the network it was made of does.

    Where normalisation is inside the file, samples are values from 0 to 1; :func:`statement_of` says so. Where softmax
    is inside, the logits are the logarithms of the probabilities, whose softmax is the same.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        self.names = runtime.outputs
        self.takes_bytes = runtime.known["preprocessing_inside"]

    def forward(self, samples: Any) -> Any:
        """Return logits, images, or for a list of images a list of dictionaries of boxes."""
        if isinstance(samples, list):
            return [self._outputs(image[None]) for image in samples]
        ((name, found),) = self._outputs(samples).items()
        return found.log() if name == "probabilities" else found

    def _outputs(self, samples: Tensor) -> dict[str, Tensor]:
        given = samples.detach().cpu().float().contiguous()
        try:
            found = self.runtime.run(as_bytes(given) if self.takes_bytes else given)
        except Exception as error:  # each runtime has exceptions of its own
            if lacks_memory(error):
                raise
            raise self._refused(given, error) from error
        return {name: value.to(samples.device) for name, value in zip(self.names, found, strict=True)}

    def _refused(self, samples: Tensor, error: Exception) -> ModelError:
        """Return the error of samples that the file does not take, mostly for their size."""
        size, found = list(self.runtime.known["preprocessing"].get("input_size") or ()), list(samples.shape[1:])
        what = "the exported file does not take these samples"
        if found == size:
            return ModelError(what, where=self.runtime.name, found=str(error).strip().partition("\n")[0])
        return ModelError(what, where=self.runtime.name, expected=str(size), found=str(found), remedy=_OTHER_SIZE)


def as_bytes(samples: Tensor) -> Tensor:
    """Return values [batch, C, H, W] from 0 to 1 as the bytes [batch, H, W, C] that image decoders give."""
    return (samples * 255).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).contiguous()


def said_by_file(metadata: Mapping[str, str], where: str) -> ExportedMetadata:
    """Return the values that the texts of an exported file stand for.

    Raises:
        CheckpointError: if one is missing or of another type.
    """
    hints = type_hints(ExportedMetadata)
    try:
        values = {
            name: metadata[name] if hint is str else parsed_json(metadata[name])
            for name, hint in hints.items()
            if name in metadata
        }
        found: ExportedMetadata = conformed(ExportedMetadata, values)
    except (ValueError, TypeError) as error:
        what, remedy = "says something else than refconv export wrote", "export it again"
        raise CheckpointError(what, where=where, found=str(error), remedy=remedy) from error
    return found


def stated_by_file(said: ExportedMetadata) -> dict[str, Any]:
    """Return what an exported file says about the input that is left to prepare, under timm's names."""
    values: dict[str, Any] = dict(said["preprocessing"])
    if said["preprocessing_inside"]:
        values = {**values, "mean": [0.0], "std": [1.0], "color_mode": None}
    return values
