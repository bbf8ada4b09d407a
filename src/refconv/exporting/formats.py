"""Writing a network as ONNX, torch.export's .pt2, TorchScript or OpenVINO IR; and counting a file's operations."""

from __future__ import annotations

import io
import json
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refconv.errors import ModelError, RefconvError, SettingError, lacks_memory
from refconv.exporting.config import FORMATS, ExportConfig
from refconv.exporting.network import INPUT, Deployed
from refconv.models.exported import SUFFIXES, needs
from refconv.models.metadata import KEY
from refconv.models.sealing import seal

Axes = Mapping[int, str]  #: The free axes of the input, with their names
_UNCOUNTED = {"Constant", "Parameter", "Result", "Identity"}  # values and other names for them, not operations


def write(
    network: Deployed, example: Tensor, free: Axes, path: Path, config: ExportConfig, said: Mapping[str, str]
) -> None:
    """Write a network and seal the file; ``example`` is an input, ``said`` what the file says about itself."""
    writers: dict[str, Callable[..., None]] = {
        "onnx": _write_onnx, "pt2": _write_pt2, "torchscript": _write_torchscript, "openvino": _write_openvino,
    }  # fmt: skip
    try:
        with _quiet():
            writers[config.format](network, example, free, path, config, dict(said))
            seal(path)
    except (RefconvError, OSError):
        raise
    # Exporters raise what their parts raise.
    except Exception as error:
        if lacks_memory(error):
            raise
        others = [name for name in FORMATS if name != config.format]
        found = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
        what, remedy = "torch cannot export this network so", f"try the format {' or '.join(others)}"
        if config.dynamic_size and config.format != "torchscript":
            remedy = "leave out dynamic_size: the network may take one size only; or try the format torchscript"
        raise ModelError(what, where=f"format {config.format}", found=found, remedy=remedy) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back that exporters warn of their own successors, and print graphs of what is said in one line here."""
    names = ("onnxscript", "torch.onnx", "torch.fx.experimental.symbolic_shapes")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _program(network: Deployed, example: Tensor, free: Axes) -> torch.export.ExportedProgram:
    """Trace a network by torch.export, and leave out where in which files its code is."""
    shapes = (dict.fromkeys(free, torch.export.Dim.DYNAMIC),) if free else None
    program = torch.export.export(network, (example,), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _write_pt2(
    network: Deployed, example: Tensor, free: Axes, path: Path, config: ExportConfig, said: dict[str, str]
) -> None:
    if network.takes_lists:
        what = "torch.export does not follow a number of boxes that depends on the image"
        raise ModelError(what, where="format pt2", remedy="take onnx, torchscript or openvino")
    torch.export.save(_program(network, example, free), path, extra_files={KEY: json.dumps(said)})


def _write_torchscript(
    network: Deployed, example: Tensor, free: Axes, path: Path, config: ExportConfig, said: dict[str, str]
) -> None:
    script = torch.jit.trace(network, example, check_trace=False)
    torch.jit.save(script, str(path), _extra_files={KEY: json.dumps(said)})


def _write_onnx(
    network: Deployed, example: Tensor, free: Axes, path: Path, config: ExportConfig, said: dict[str, str]
) -> None:
    onnx = needs("onnx", "export")
    needs("onnxscript", "export")
    named: dict[str, Any] = {"input_names": [INPUT], "output_names": network.names, "opset_version": config.opset}
    if network.takes_lists:  # the older exporter, for which torchvision's detectors are written
        torch.onnx.export(network, (example,), str(path), dynamo=False, dynamic_axes={INPUT: dict(free)}, **named)
        model = onnx.load(path)
        onnx.helper.set_model_props(model, said)
        onnx.save(model, path)
    else:
        program = _program(network, example, free)
        shapes = (dict(free),) if free else None
        made = torch.onnx.export(program, dynamo=True, verbose=False, dynamic_shapes=shapes, **named)
        assert made is not None
        for node in made.model.graph.all_nodes():
            node.metadata_props.clear()
        made.model.metadata_props.update(said)
        made.save(path)
    opset = opset_of(path)
    if config.opset is not None and opset != config.opset:
        path.unlink()
        what, remedy = f"torch writes this network in version {opset} only", f"leave it out, or take {opset}"
        raise SettingError(what, where="opset", found=str(config.opset), remedy=remedy)


def _write_openvino(
    network: Deployed, example: Tensor, free: Axes, path: Path, config: ExportConfig, said: dict[str, str]
) -> None:
    ov = needs("openvino", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder, "model.onnx")
        _write_onnx(network, example, free, between, ExportConfig(half=config.half), {})
        model = ov.convert_model(between)
    for name, text in said.items():
        model.set_rt_info(text, [KEY, name])
    ov.save_model(model, path, compress_to_fp16=config.half)


def opset_of(path: Path) -> int:
    """Return the version of ONNX's operators that a file needs."""
    model = needs("onnx", "export").load(path, load_external_data=False)
    return int(next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}))


def operations(path: Path) -> dict[str, int]:
    """Count the operations of an exported file by their kind."""
    kinds: list[str]
    match SUFFIXES[path.suffix]:
        case "onnx":
            graph = needs("onnx", "export").load(path, load_external_data=False).graph
            kinds = [node.op_type for node in graph.node]
        case "pt2":
            graph = torch.export.load(path).graph
            kinds = [str(node.target) for node in graph.nodes if node.op == "call_function"]
        case "torchscript":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of its successor
                graph = torch.jit.load(str(path), map_location="cpu").inlined_graph
            kinds = [kind for node in graph.nodes() if not (kind := node.kind()).startswith("prim::")]
        case _:
            kinds = [node.get_type_name() for node in needs("openvino", "openvino").Core().read_model(path).get_ops()]
    return dict(Counter(kind for kind in kinds if kind not in _UNCOUNTED))
