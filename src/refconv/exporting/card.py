"""The model card of a folder for a hub: metadata as ``huggingface_hub`` defines them, and how to load the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.errors import printable
from refconv.exporting.results import Result
from refconv.models.exported import needs

PIPELINES = {
    "classification": "image-classification", "multilabel": "image-classification", "binary": "image-classification",
    "detection": "object-detection", "segmentation": "image-segmentation", "restoration": "image-to-image",
    "embedding": "image-feature-extraction",
}  # fmt: skip
"""What the hub calls the tasks; it has no name for regression."""

_METRICS = {"top1": "accuracy", "accuracy": "accuracy", "miou": "mean_iou"}
"""Measures that the hub has a name for; others keep their own."""

_IN_TRANSFORMERS = {"classification": "", "multilabel": ', function_to_apply="sigmoid"'}
"""Tasks that transformers' pipeline computes as refconv does, with what has to be said to it."""

_SHOWN = 20  #: Names of classes that a card lists; config.json has all of them


@dataclass(frozen=True)
class Described:
    """What a card says.

    Attributes:
        title: name of the model.
        repository: as ``timm`` and ``transformers`` name it on the hub; a placeholder where it is not pushed.
        architecture: name of the model that was built.
        task: refconv's name of the task.
        timm: whether timm has the architecture.
        licence: ``license``, ``license_name`` and ``license_link`` of the hub.
        base: repository of the model that this one comes from; None if it is not known.
        datasets: data sets of the hub.
        results: what was measured.
        preprocessing: how images are prepared.
        class_names: names of the outputs.
        history: sentences about how the weights came about.
        certificate: SHA-256 of the certificate; may be empty.
        versions: the programs that wrote the folder.
    """

    title: str
    repository: str
    architecture: str
    task: str
    timm: bool
    licence: Mapping[str, str]
    base: str | None
    datasets: Sequence[str]
    results: Sequence[Result]
    preprocessing: str
    class_names: Sequence[str]
    history: Sequence[str]
    certificate: str
    versions: Mapping[str, str]

    @property
    def pipeline(self) -> str | None:
        """What the hub calls the task; samples that are no images have no pipeline."""
        return PIPELINES.get(self.task)


def card(model: Described) -> str:
    """Return README.md: the metadata as YAML, then text."""
    parts = [f"# {printable(model.title)}", " ".join(_about(model)), *_results(model), *_usage(model), *_details(model)]
    return f"---\n{metadata(model).to_yaml()}\n---\n\n" + printable("\n\n".join(parts), lines=True) + "\n"


def metadata(model: Described) -> Any:
    """Return the metadata, a ``huggingface_hub.ModelCardData``."""
    hub = needs("huggingface_hub", "export")
    kind = model.pipeline or model.task
    results = [
        hub.EvalResult(
            task_type=kind, dataset_type=_slug(one.data), dataset_name=one.data, dataset_split=one.split,
            metric_type=_METRICS.get(one.measure.name, one.measure.name), metric_value=one.value,
            metric_name=one.measure.description, metric_args=_interval(one),
        )
        for one in model.results
    ]  # fmt: skip
    return hub.ModelCardData(
        base_model=model.base, datasets=list(model.datasets) or None, eval_results=results or None,
        library_name="timm" if model.timm else "refconv", model_name=model.title if results else None,
        pipeline_tag=model.pipeline,
        tags=[*([model.pipeline] if model.pipeline else []), *(["timm"] if model.timm else []), "refconv"],
        **model.licence,
    )  # fmt: skip


def _interval(result: Result) -> dict[str, Any]:
    """Return samples and interval, which metadata have no field for, among the arguments of the metric."""
    known: dict[str, Any] = {"samples": result.samples}
    if result.interval is not None:
        known |= {"confidence_level": 0.95, "low": result.interval[0], "high": result.interval[1]}
    return known


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-") or "data"


def _about(model: Described) -> list[str]:
    whose = "of timm, " if model.timm else ""
    return [f"The network `{model.architecture}` {whose}for {model.task}.", *model.history]


def _results(model: Described) -> list[str]:
    if not model.results:
        return ["## Results", "No result is recorded for these weights."]
    rows = [
        f"| {one.measure.title} | {one} | {one.samples:,} | {printable(one.data)}, {one.split} |"
        for one in model.results
    ]
    head = "| measure | value (95 % interval) | samples | data |\n| --- | --- | --- | --- |"
    return ["## Results", "\n".join([head, *rows])]


def _usage(model: Described) -> list[str]:
    if not model.timm:
        return ["## Use", _WITH_REFCONV.format(repository=model.repository, architecture=model.architecture)]
    found = ["## Use", _WITH_TIMM.format(repository=model.repository)]
    if model.task in _IN_TRANSFORMERS:
        more = _IN_TRANSFORMERS[model.task]
        found.append(_WITH_TRANSFORMERS.format(repository=model.repository, more=more))
    return found


_WITH_TIMM = """With [timm](https://github.com/huggingface/pytorch-image-models), or with `local-dir:FOLDER` for a copy:

```python
import timm, torch
from PIL import Image

model = timm.create_model("hf-hub:{repository}", pretrained=True).eval()
config = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**config, is_training=False)
with torch.no_grad():
    outputs = model(transform(Image.open("image.jpg").convert("RGB"))[None])
```"""

_WITH_TRANSFORMERS = """With [transformers](https://github.com/huggingface/transformers), or with the path of a copy:

```python
from transformers import pipeline

classify = pipeline("image-classification", model="{repository}")
print(classify("image.jpg"{more}))
```"""

_WITH_REFCONV = """`{architecture}` is no architecture of timm, so neither timm nor transformers loads this folder. \
refconv does. The code that builds the network is not in the folder: it must be importable, \
and you say that you trust it:

```sh
hf download {repository} --local-dir FOLDER
refconv predict FOLDER image.jpg --trust
```

```python
import refconv
from refconv.models.model_folder import load_model_folder

refconv.trust("{architecture}")
model = load_model_folder("FOLDER").eval()
```

Without refconv, build the network as `config.json` says (`architecture`, `model_args`, `num_classes`) and load
`model.safetensors` by `load_state_dict`."""


def _details(model: Described) -> list[str]:
    lines = [f"* Input: {model.preprocessing}."]
    if model.class_names:
        shown = ", ".join(map(printable, model.class_names[:_SHOWN]))
        more = f" and {len(model.class_names) - _SHOWN:,} more" if len(model.class_names) > _SHOWN else ""
        lines.append(f"* {len(model.class_names):,} classes: {shown}{more}.")
    if model.certificate:
        lines.append(
            f"* SHA-256 of the certificate, which is also in the header of the weights: `{model.certificate}`."
        )
    lines.append("* Written by " + ", ".join(f"{name} {version}" for name, version in model.versions.items()) + ".")
    return ["## Details", "\n".join(lines)]
