"""Commands that bring a network to other runtimes: export it to a file that is checked, and time two of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from refconv.cli import options
from refconv.cli.options import FAILED, PREPROCESSING, REFERENCE, option, switch, with_recipe_flags
from refconv.cli.saying import say
from refconv.cli.volume import note

_FILE = "the file to write: .onnx, .pt2, .torchscript or .xml; of the format hub, a folder"
_FORMAT = "onnx, pt2, torchscript, openvino or hub; default: as FILE says"
_LICENCE = "hub, always needed: the licence of the weights, such as apache-2.0, or unknown"
_BASE = "hub: repository of the model that this one comes from; default: as the run says"
_SETS = "hub: a data set of the hub that the model was trained on; may be given several times"
_DATA = "check on this data's test images, and calibrate --int8 on its training images; default: that of a run of train"
_INSIDE = "take RGB bytes [batch, height, width, 3] and normalise them inside"


@with_recipe_flags(PREPROCESSING)
def export(
    flags: Mapping[str, Any],
    model: options.Reference,
    out: Annotated[Path, option("FILE", _FILE, "--out", "-o")],
    format: Annotated[str | None, option("WORD", _FORMAT)] = None,  # noqa: A002  # the word for it
    data: Annotated[str | None, option("DATA", _DATA)] = None,
    data_dir: options.DataFolder = None,
    dynamic_size: Annotated[bool, switch("--dynamic-size", "leave height and width free, like the batch size")] = False,
    opset: Annotated[int | None, option("N", "version of ONNX's operators; default: that of torch's exporter")] = None,
    half: Annotated[bool, switch("--half", "weights and arithmetic in float16")] = False,
    int8: Annotated[bool, switch("--int8", "static quantisation, per channel (onnx)")] = False,
    calibration: Annotated[int, option("N", "training images that calibrate --int8", min=1)] = 256,
    with_preprocessing: Annotated[bool, switch("--with-preprocessing", _INSIDE)] = False,
    softmax: Annotated[bool, switch("--softmax", "give probabilities in place of logits")] = False,
    license: Annotated[str | None, option("ID", _LICENCE)] = None,  # noqa: A002  # the word for it
    license_name: Annotated[str | None, option("NAME", "hub, with --license other: its name")] = None,
    license_link: Annotated[str | None, option("URL", "hub, with --license other: where it is")] = None,
    base_model: Annotated[str | None, option("REPO", _BASE)] = None,
    datasets: Annotated[list[str] | None, option("REPO", _SETS)] = None,
    push: Annotated[str | None, option("REPO", "hub: send the folder to this repository, USER/NAME")] = None,
    private: Annotated[bool, switch("--private", "hub, with --push: make a private repository")] = False,
    like: options.Like = None,
    task: options.TaskName = None,
    pretrained: options.Pretrained = True,
    force: Annotated[bool, switch("--force", "replace an existing file; add to an existing repository")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a merged network as ONNX, .pt2, TorchScript, OpenVINO IR or a folder for a model hub, and check it.

    The input is called images, the output logits; the batch size is free. Class names, preprocessing and versions are
    inside. The file is run in its own runtime and compared with the network; its operations are compared with those of
    the unrefocused network. The exit status is 3 if either differs, or if quantisation costs more than two points.
    """
    from refconv.exporting.config import ExportConfig
    from refconv.exporting.exporting import export_opened, hub_options
    from refconv.exporting.inputs import Evidence
    from refconv.models.opening import open_model
    from refconv.tasks.model_data import doubts

    chosen = {"dynamic_size": dynamic_size, "opset": opset, "half": half, "int8": int8, "calibration": calibration}
    inside = {"with_preprocessing": with_preprocessing, "softmax": softmax, "force": force}
    config = ExportConfig.for_file(out, format=format, **chosen, **inside)
    given = {
        "license": license, "license_name": license_name, "license_link": license_link, "base_model": base_model,
        "datasets": tuple(datasets or ()), "push": push, "private": private,
    }  # fmt: skip
    hub = hub_options(config, {name: value for name, value in given.items() if value})
    opened = open_model(model, pretrained=pretrained, model=like, task=task, flags=flags)
    evidence = Evidence(data, data_dir).opened_for(opened)
    for line in doubts(opened, evidence.found):
        note(line)
    record = export_opened(opened, out, config, evidence, hub=hub)
    say(record.to_json() if as_json else str(record), nl=not as_json)
    if not record.holds:
        raise typer.Exit(FAILED)


@with_recipe_flags(("img_size",))
def bench(
    flags: Mapping[str, Any],
    before: Annotated[str, option("A", REFERENCE)],
    after: Annotated[str, option("B", "the same; the model that it became")],
    batch_size: Annotated[int, option("N", "samples in a batch", min=1)] = 1,
    repetitions: Annotated[int, option("N", "pairs of timings", min=10)] = 50,
    model: options.Like = None,
    pretrained: options.Pretrained = True,
    as_json: options.Json = False,
) -> None:
    """Compare latency and memory of two networks of one structure on this CPU, in torch and in onnxruntime.

    Both are timed in turns, and the ratio is of each pair. It is an error if they have not the same graph.
    """
    from refconv.exporting.timing import bench as measured
    from refconv.models.opening import open_pair

    pair = open_pair(before, after, model=model, pretrained=pretrained, flags=flags)
    record = measured(*pair, batch_size=batch_size, repetitions=repetitions)
    say(record.to_json() if as_json else str(record), nl=not as_json)
