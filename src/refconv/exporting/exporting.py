"""From a model to a file that was checked in its own runtime."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from refconv.data.preprocessing import Preprocessing
from refconv.errors import DataError, ModelError, RefconvError, RunError, SettingError
from refconv.exporting.checking import TOLERANCE, check_outputs, compared, finite
from refconv.exporting.config import HUB, ExportConfig
from refconv.exporting.formats import operations, opset_of, write
from refconv.exporting.given import batches, check_class_names, checked_preprocessing, size_of_images
from refconv.exporting.hub import HubConfig, layers, loaded, write_hub_folder
from refconv.exporting.inputs import Evidence, free_axes, generated, inputs_for, of_another_size, shape_in_words
from refconv.exporting.network import Deployed, check_exportable, with_other_weights
from refconv.exporting.pushing import check_token, push
from refconv.exporting.quantising import accuracy_of, quantise
from refconv.exporting.record import Accuracy, ExportRecord
from refconv.models.creation import create_model
from refconv.models.exported import Runtime, as_tuple, open_runtime
from refconv.models.metadata import certificate_of, described
from refconv.models.model_folder import check_model_place, replace_folder
from refconv.models.model_input import of_model
from refconv.models.opening import Opened, open_model
from refconv.models.run_folder import AGAIN, held, writing
from refconv.models.saving import UNCOUNTED
from refconv.models.sealing import seal
from refconv.paths import path_of
from refconv.task_measures import TASKS
from refconv.tasks.model_data import data_for, preprocessing_of
from refconv.tasks.registry import task_named
from refconv.tasks.task import Task

_PROGRAMS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


def export(
    model: nn.Module,
    out: Path | str,
    *,
    format: str | None = None,  # noqa: A002  # the word for it
    task: str = "classification",
    preprocessing: Mapping[str, Any] | None = None,
    class_names: Sequence[str] = (),
    images: Tensor | list[Tensor] | None = None,
    data: str | None = None,
    **options: Any,
) -> ExportRecord:
    """Write a plain network to a file for another runtime, run it there, and compare.

    The input is called ``images``, float32 [batch, C, H, W], of any batch size; the output ``logits``.

    Args:
        model: a plain network on any device; it stays as it is.
        out: the file to write; an existing one is only replaced with ``force=True``.
        format: ``onnx``, ``pt2``, ``torchscript``, ``openvino`` or, for a folder, ``hub``; by default what the file's
            name ends in.
        task: ``classification``, ``detection``, ``segmentation`` or ``restoration``.
        preprocessing: ``img_size`` or ``input_size`` [C, H, W], ``mean``, ``std``, ``interpolation``, ``crop_pct`` and
            others of timm's names; by default those of the model's ``pretrained_cfg``. The file says them.
        class_names: a name for each output, in order; the file says them.
        images: what the file is checked on, prepared as the network takes it; by default ``data``, or else generated.
            Where nothing else says the size of the network's input, it is that of the images.
        data: name of a data set, such as ``folder:PATH``, to check on, and to calibrate ``int8`` on. Where
            ``preprocessing`` does not say otherwise, the file then prepares samples as an evaluation on this data does.
        **options: further fields of :class:`refconv.exporting.ExportConfig`, and of the format ``hub`` those of
            :class:`refconv.exporting.HubConfig`.

    Raises:
        ModelError: if the model is refocused, or the exporter cannot follow it.
        SettingError: if an option has no meaning, a package is missing, or images or class names do not fit.
        DataError: if the input's size is not known.
        RunError: if the file exists already.
    """
    if not isinstance(model, nn.Module):
        raise ModelError("cannot export this", expected="a torch.nn.Module", found=type(model).__name__)
    if task not in TASKS:
        raise SettingError("unknown task", where="task", expected=", ".join(TASKS), found=repr(task))
    options, hub = _split(options)
    config = ExportConfig.for_file(out := path_of(out), format=format, **options)
    stated = of_model(model, by="the model")
    flags = checked_preprocessing(preprocessing)
    sized = size_of_images(images, takes_lists=task_named(task).takes_lists)
    known: dict[str, Any] = {name: getattr(model, name, None) for name in ("num_classes", "in_chans")}
    known["in_chans"] = (flags.get("input_size") or [known["in_chans"]])[0]
    name = str(getattr(model, "pretrained_cfg", {}).get("architecture") or type(model).__name__)
    opened = Opened(
        model, name, known, stated=stated, task=task, class_names=tuple(class_names), flags=flags, images=sized
    )
    return export_opened(opened, out, config, Evidence(data, samples=images), builds=False, hub=hub(config))


def export_model_folder(
    folder: Path | str,
    out: Path | str,
    format: str | None = None,  # noqa: A002  # the word for it
    *,
    data: str | None = None,
    data_dir: str | None = None,
    **options: Any,
) -> ExportRecord:
    """Write the model of a run or model folder to a file, run it there, and compare; see :func:`export`.

    Args:
        folder: a run or a model folder.
        out: the file to write; an existing one is only replaced with ``force=True``.
        format: see :func:`export`.
        data: data to check on, and to calibrate ``int8`` on; by default that of the run, else generated input.
        data_dir: folder of the data.
        **options: further fields of :class:`refconv.exporting.ExportConfig`.

    Raises:
        RefconvError: as :func:`export`.
    """
    options, hub = _split(options)
    config = ExportConfig.for_file(out := path_of(out), format=format, **options)
    return export_opened(open_model(str(folder)), out, config, Evidence(data, data_dir), hub=hub(config))


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], Callable[[ExportConfig], HubConfig | None]]:
    """Return the options of every format, and what makes those of a hub, which other formats have no use for."""
    given = {name: value for name, value in options.items() if name in HubConfig.__dataclass_fields__}

    def hub(config: ExportConfig) -> HubConfig | None:
        return hub_options(config, given)

    return {name: value for name, value in options.items() if name not in given}, hub


def hub_options(config: ExportConfig, given: Mapping[str, Any]) -> HubConfig | None:
    """Return the options of a hub; other formats are refused them."""
    if config.format == HUB:
        return HubConfig(**given)
    if given:
        name = next(iter(given))
        raise SettingError("is for the format hub", where=name, found=f"format {config.format}")
    return None


def export_opened(
    opened: Opened,
    out: Path,
    config: ExportConfig,
    evidence: Evidence,
    *,
    builds: bool = True,
    hub: HubConfig | None = None,
) -> ExportRecord:
    """Export a model that was opened; ``builds`` says that its name is one that :func:`create_model` knows.

    ``hub`` is needed by, and has an effect on, the format of that name.
    """
    if config.format == HUB:
        if hub is not None and hub.push is not None:
            check_token(hub.push)
        with held(out, "model folder", force=config.force):
            check_model_place(out)
            return _as_hub_folder(opened, out, config, evidence, hub or HubConfig())
    _check_place(out)
    with held(out, "file", force=config.force):
        return _as_file(opened, out, config, evidence, builds=builds)


def _as_file(opened: Opened, out: Path, config: ExportConfig, evidence: Evidence, *, builds: bool) -> ExportRecord:
    task = task_named(opened.task)
    evidence, preprocessing = _exportable(opened, task, config, evidence)
    prepares = preprocessing if config.with_preprocessing else None
    if prepares is not None and not prepares.color_mode:
        shape = list(prepares.input_size)
        raise SettingError("is for images", where="with_preprocessing", found=f"samples of shape {shape}")
    calibrating = _calibration(opened, evidence) if config.int8 else None
    example = generated(task, preprocessing, prepares)
    exact = Deployed(opened.model, task, prepares, softmax=config.softmax)
    with batches(evidence.samples, opened.model):
        inputs, checked_on = inputs_for(opened, task, preprocessing, prepares, evidence, any_size=config.dynamic_size)
        exact.look_at(example)
    check_outputs(exact, inputs)
    check_class_names(_given_names(opened), _outputs(opened, exact), task)
    said = _said(opened, preprocessing, config, exact)
    free = free_axes(task, preprocessing, config)
    if config.dynamic_size and task.prepares_images:
        inputs.append(of_another_size(exact, example, free))
    precision = "int8" if config.int8 else "float16" if config.half else "float32"
    with _placed_when_checked(out) as file:
        first = file.with_name(f"float{out.suffix}") if config.int8 else file
        other = file.with_name(f"other{out.suffix}")
        half = config.half and config.format != "openvino"  # which halves weights itself
        for model, path in ((opened.model, first), (_other(opened, builds=builds), other)):
            network = Deployed(model, task, prepares, softmax=config.softmax, half=half)
            network.names = exact.names
            with writing(out, AGAIN):
                write(network, example, free, path, config, said)
        counted, unrefocused = operations(first), operations(other)
        accuracy = None if calibrating is None else _quantised(task, first, file, config, *calibrating)
        runtime = open_runtime(file)
        found = compared(exact, runtime, inputs)
        opset = opset_of(file) if config.format == "onnx" else None
    files = _files(out)
    return ExportRecord(
        file=str(out), format=config.format, task=task.name, architecture=opened.name, precision=precision,
        bytes=sum(file.stat().st_size for file in files), files=tuple(file.name for file in files),
        opset=opset, takes=shape_in_words(example, free),
        gives=tuple(exact.names), left_outside=_left_outside(task, preprocessing, prepares), runtime=runtime.name,
        operations=counted, unrefocused=unrefocused, checked_on=checked_on,
        samples=len(inputs) if task.takes_lists else len(inputs[0]), largest_difference=finite(found.difference),
        relative_difference=finite(found.relative), tolerance=TOLERANCE.get(precision),
        top1_agreement=found.top1_agreement, unlike=found.unlike, accuracy=accuracy,
        guesses=_guesses(preprocessing, evidence),
    )  # fmt: skip


def _exportable(opened: Opened, task: Task, config: ExportConfig, evidence: Evidence) -> tuple[Evidence, Preprocessing]:
    """Refuse what cannot be exported; for the rest open the data, and return how samples are prepared."""
    if opened.flags and not task.prepares_images:
        what = "has no effect: the file takes whole images with values from 0 to 1"
        raise SettingError(what, where=", ".join(opened.flags), found=f"a model for {task.name}")
    check_exportable(opened.model, task, config)
    evidence = evidence.opened_for(opened)
    return evidence, preprocessing_of(opened, task, evidence.found)


def _as_hub_folder(opened: Opened, out: Path, config: ExportConfig, evidence: Evidence, hub: HubConfig) -> ExportRecord:
    """Write a folder for a hub, load it as its users do, compare, and push it if it computes the same."""
    task = task_named(opened.task)
    evidence, preprocessing = _exportable(opened, task, config, evidence)
    exact = Deployed(opened.model, task, None)
    with batches(evidence.samples, opened.model):
        inputs, checked_on = inputs_for(opened, task, preprocessing, None, evidence)
        exact.look_at(generated(task, preprocessing, None))
    check_outputs(exact, inputs)
    check_class_names(_given_names(opened), _outputs(opened, exact), task)
    opened = hub.named(_counted(opened, exact, task))
    with _placed_when_checked(out) as folder:
        files = write_hub_folder(opened, folder, preprocessing, hub)
        network, runtime = loaded(folder)
        other = Deployed(network, task, None)
        other.names = exact.names
        found = compared(exact, Runtime(as_tuple(other), {}, runtime), inputs)
        record = ExportRecord(
            file=str(out), format=HUB, task=task.name, architecture=opened.name, precision="float32",
            bytes=sum(file.stat().st_size for file in files), files=tuple(file.name for file in files), opset=None,
            takes=shape_in_words(inputs[0], {0: "batch"} if len(inputs[0]) > 1 else {}), gives=tuple(exact.names),
            left_outside=_left_outside(task, preprocessing, None), runtime=runtime, operations=layers(network),
            unrefocused=layers(opened.model), checked_on=checked_on,
            samples=len(inputs) if task.takes_lists else len(inputs[0]), largest_difference=finite(found.difference),
            relative_difference=finite(found.relative), tolerance=TOLERANCE["float32"],
            top1_agreement=found.top1_agreement, unlike=found.unlike, guesses=_guesses(preprocessing, evidence),
        )  # fmt: skip
        if not record.holds:  # nobody is to load it for the network
            shutil.rmtree(folder)
    if hub.push is None or not record.holds:
        return record
    try:
        address = push(out, hub.push, private=hub.private, force=config.force)
    except RunError as error:
        kept = f"the folder is written and whole: hf upload {hub.push} {out}"
        remedy = "; ".join(filter(None, (error.remedy, kept)))
        raise RunError(
            error.what, where=error.where, expected=error.expected, found=error.found, remedy=remedy
        ) from error
    return dataclasses.replace(record, pushed_to=address)


@contextlib.contextmanager
def _placed_when_checked(out: Path) -> Iterator[Path]:
    """Yield a path in a folder beside; what was written there takes the place of ``out`` once the block is done.

    Until then ``out`` is as it was. The folder of an export that was killed is removed by the next one.
    """
    folder = out.with_name(f".{hashlib.sha256(os.fsencode(out.name)).hexdigest()[:16]}.partial")
    with writing(out, AGAIN):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        yield folder / out.name
        with writing(out, AGAIN):
            if (folder / out.name).is_dir():
                replace_folder(folder / out.name, out)
            files = _files(folder / out.name)
            if len(files) > 1:  # no moment with weights that are not the file's
                out.unlink(missing_ok=True)
            for file in reversed(files):
                file.replace(out.with_name(file.name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_place(out: Path) -> None:
    """Make the folder of a file, unless the file cannot be written."""
    if out.is_dir():
        raise RunError("cannot be written: a folder is there", where=str(out), remedy="name a file in it")
    with writing(out, AGAIN):
        out.parent.mkdir(parents=True, exist_ok=True)


def _other(opened: Opened, *, builds: bool) -> nn.Module:
    """Return the same network with other weights: a fresh one of its builder, where it has one."""
    model = opened.model
    if builds:
        with contextlib.suppress(RefconvError):  # such as a name on a hub that is out of reach
            model = create_model(opened.name, model_kwargs=opened.arguments)
    return with_other_weights(model)


def _given_names(opened: Opened) -> tuple[str, ...]:
    """Return the names of classes that a program gives; those of runs and folders were checked as they were written."""
    return opened.class_names if opened.located is None else ()


def _outputs(opened: Opened, network: Deployed) -> int | None:
    return network.classes or opened.arguments.get("num_classes") or getattr(opened.model, "num_classes", None)


def _counted(opened: Opened, network: Deployed, task: Task) -> Opened:
    """Return a model with its number of classes, which networks that are not timm's do not say themselves."""
    if opened.located is not None or task.name in UNCOUNTED:
        return opened
    return dataclasses.replace(opened, arguments={**opened.arguments, "num_classes": _outputs(opened, network)})


def _calibration(opened: Opened, evidence: Evidence) -> tuple[str, str | None]:
    """Return name and folder of the data that quantisation is calibrated on."""
    recipe = opened.recipe
    name = evidence.data or (None if recipe is None else recipe.data)
    if name is None:
        what = "quantisation is calibrated on training images, and no data are recorded with the model"
        raise DataError(what, where="int8", remedy="give --data, in Python data")
    return name, evidence.data_dir or (recipe.data_dir if recipe is not None and recipe.data == name else None)


def _quantised(task: Task, first: Path, out: Path, config: ExportConfig, name: str, root: str | None) -> Accuracy:
    """Write the quantised file, and measure what that cost."""
    data = data_for(open_model(str(first), exported=True), name, root=root)
    calibrated_on = quantise(first, out, data, config.calibration, takes_bytes=config.with_preprocessing)
    with writing(out, AGAIN):
        seal(out)
    return accuracy_of(task, first, out, data, calibrated_on)


def _said(opened: Opened, preprocessing: Preprocessing, config: ExportConfig, network: Deployed) -> dict[str, str]:
    """Return what the file says about itself."""
    located = opened.located
    outputs = _outputs(opened, network)
    names = [opened.class_name(index) for index in range(outputs or len(opened.class_names))]
    beside = {key: opened.stated.values[key] for key in ("noise", "upscale") if key in opened.stated.values}
    return described(
        task=opened.task,
        architecture=opened.name,
        class_names=() if names == [str(index) for index in range(len(names))] else names,
        preprocessing={**preprocessing.as_pretrained_cfg(), **beside},
        certificate=certificate_of(located.path) if located is not None and located.kind == "folder" else "",
        programs=_PROGRAMS.get(config.format, ()),
        num_classes=outputs,
        in_chans=preprocessing.in_chans,
        preprocessing_inside=config.with_preprocessing,
        outputs=network.names,
    )


def _guesses(preprocessing: Preprocessing, evidence: Evidence) -> tuple[str, ...]:
    """Return the values of preprocessing that neither the model nor the user nor data that were named say."""
    return preprocessing.guesses if evidence.found is None else ()


def _left_outside(task: Task, preprocessing: Preprocessing, prepares: Preprocessing | None) -> str:
    """Return what is to be done to a picture before it is given to the file."""
    if not task.prepares_images:
        return "RGB bytes of a whole image" if prepares is not None else "a whole image, values from 0 to 1"
    if prepares is None:
        return f"prepared as {preprocessing}"
    rest = dataclasses.replace(preprocessing, mean=(0.0,), std=(1.0,), color_mode="", sources={})
    order = "RGB" if preprocessing.in_chans == 3 else "grey"
    return f"{order} bytes, resized and cropped outside: {rest}"


def _files(out: Path) -> list[Path]:
    """Return the files of an export: OpenVINO keeps weights in a second one, and ONNX those beyond 2 GB."""
    beside = {".xml": [out.with_suffix(".bin")], ".onnx": [out.with_name(f"{out.name}.data")]}
    return [file for file in (out, *beside.get(out.suffix, [])) if file.is_file()]
