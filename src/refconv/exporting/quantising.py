"""Static quantisation to eight bits by onnxruntime: per channel, calibrated on training images."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from refconv.data import Data
from refconv.data.dataset import in_drawn_order
from refconv.errors import DataError, ModelError, lacks_memory
from refconv.exporting.network import INPUT
from refconv.exporting.record import Accuracy
from refconv.measures.judging import paired_difference
from refconv.models.exported import ExportedModel, as_bytes, needs, open_runtime
from refconv.tasks.task import Task

_BATCH = 32


def quantise(source: Path, out: Path, data: Data, count: int, *, takes_bytes: bool) -> str:
    """Write a quantised copy of an ONNX file; return what it was calibrated on.

    Weights are symmetric 8-bit integers, a scale for each output channel; activations have the range that they had on
    ``count`` training images.
    """
    quantization = needs("onnxruntime.quantization", "export")
    if not data.size_of("train"):
        what, remedy = "no training images to calibrate on", "give data with a split train"
        raise DataError(what, where=data.info.name, remedy=remedy)
    drawn, _, cut = in_drawn_order(data, "train", count)
    prepared = source.with_name(f"prepared-{source.name}")
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        quantization.shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared), str(out), _Calibration(drawn, takes_bytes), per_channel=True,
            quant_format=quantization.QuantFormat.QDQ, weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )  # fmt: skip
    # onnxruntime's tools raise what their parts raise.
    except Exception as error:
        if lacks_memory(error):
            raise
        found = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
        raise ModelError("onnxruntime cannot quantise this network", where="int8", found=found) from error
    finally:
        logging.root.setLevel(level)
    _say_again(source, out)
    size = drawn.size_of("train")
    return f"{size:,} {'random ' if cut else ''}training images of {data.info.name}"


class _Calibration:
    """Training images, not augmented, as onnxruntime asks for them: one at a time, then None."""

    def __init__(self, data: Data, takes_bytes: bool) -> None:
        self.takes_bytes = takes_bytes
        self.batches: Iterator[Any] = iter(data.eval_batches("train", batch_size=_BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input."""
        samples = next(self.batches, (None, None))[0]
        if samples is None:
            return None
        return {INPUT: (as_bytes(samples) if self.takes_bytes else samples).numpy()}

    def set_range(self, start_index: int, end_index: int) -> None:
        """Take no notice: all images are read in one pass."""


def _say_again(source: Path, out: Path) -> None:
    """Write what a file says about itself into its quantised copy."""
    onnx = needs("onnx", "export")
    said = {entry.key: entry.value for entry in onnx.load(source, load_external_data=False).metadata_props}
    model = onnx.load(out)
    onnx.helper.set_model_props(model, said)
    onnx.save(model, out)


def accuracy_of(task: Task, before: Path, after: Path, data: Data, calibrated_on: str) -> Accuracy:
    """Evaluate a file and its quantised copy on the test split, classifiers on each sample in turn."""
    models = [ExportedModel(open_runtime(file)).eval() for file in (before, after)]
    if task.name == "classification":
        return _paired(task, models, data, calibrated_on)
    found = [task.evaluate(model, data, "test", batch_size=_BATCH) for model in models]
    values = [evaluation.measures()[task.primary] for evaluation in found]
    return Accuracy(task.primary, values[0], values[1], found[0].samples, calibrated_on)


@torch.no_grad()
def _paired(task: Task, models: Sequence[nn.Module], data: Data, calibrated_on: str) -> Accuracy:
    """Return the shares of samples that two classifiers get right, with the interval of their difference."""
    pairs: Counter[tuple[bool, bool]] = Counter()
    for samples, labels in data.eval_batches("test", batch_size=_BATCH):
        hits = [(task.outputs(model, samples, data.info).argmax(1) == labels).tolist() for model in models]
        pairs.update(zip(*hits, strict=True))
    both, neither = pairs[True, True], pairs[False, False]
    found = paired_difference(both, pairs[False, True], pairs[True, False], neither)
    return Accuracy(task.primary, found.first, found.second, found.samples, calibrated_on, found.low, found.high)
