"""A model that was opened, written as a model folder."""

from __future__ import annotations

from pathlib import Path

from refconv.data import DataInfo
from refconv.data.preprocessing import Preprocessing
from refconv.models.model_folder import save_model_folder
from refconv.models.opening import Opened
from refconv.surgery import Certificate, plain_state_dict

UNCOUNTED = frozenset(("restoration", "embedding"))
"""Tasks whose models have no classes; what ``num_classes`` their builders take is an argument like others."""


def save_opened(
    folder: Path, opened: Opened, used: Preprocessing, certificate: Certificate | str | None = None
) -> None:
    """Write a model folder of a model that was opened; ``certificate`` is one or its hash.

    The number of classes is that of the model, its names are the opened model's, ``used`` is its preprocessing. How
    images of restoration were degraded is what it says about its input.
    """
    arguments, counted = dict(opened.arguments), opened.task not in UNCOUNTED
    arguments.pop("in_chans", None)
    classes = 0
    if counted:
        classes = arguments.pop("num_classes", None) or getattr(opened.model, "num_classes", None) or 0
        classes = classes or len(opened.class_names)
    arguments = {name: value for name, value in arguments.items() if value is not None}
    beside = {name: opened.stated.values[name] for name in ("noise", "upscale") if name in opened.stated.values}
    facts = (used.in_chans, used.input_size, used.mean, used.std, opened.class_names, 0, 0, 0)
    save_model_folder(
        folder, plain_state_dict(opened.model), name=opened.name, info=DataInfo(opened.name, classes, *facts),
        model_kwargs=arguments, preprocessing={**used.as_pretrained_cfg(), **beside}, task=opened.task,
        certificate=certificate,
    )  # fmt: skip
