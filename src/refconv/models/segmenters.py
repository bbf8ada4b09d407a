"""Segmentation models by name, from plain values: torchvision's, or segmentation-models-pytorch's on timm's."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, cast

from torch import nn

from refconv.errors import ModelError, did_you_mean
from refconv.models.detection_heads import check_backbone
from refconv.models.weights import load_published

_DEFAULT_BACKBONE = "resnet34"  #: What segmentation-models-pytorch takes where none is named

_GIVEN = {
    "encoder_name": "backbone", "encoder_weights": "pretrained", "in_channels": "in_chans", "classes": "num_classes",
    "weights": "pretrained", "weights_backbone": "pretrained", "progress": "",
}  # fmt: skip
"""Arguments of the builders that are given by other names; "" is for none."""

_UNUSABLE = {
    "activation": "the loss needs the outputs as they are",
    "aux_params": "a second head that classifies whole images is not trained here",
    "drop_rate": "dropout is the model's own, such as decoder_dropout in model_kwargs",
}
_NO_CONVNET = {"dpt": "its decoder needs a vision transformer, which has no kernels to refocus"}


def build_torchvision_segmenter(
    name: str,
    *,
    num_classes: int | None = None,
    backbone: str | None = None,
    pretrained: bool = False,
    **arguments: Any,
) -> nn.Module:
    """Build one of torchvision's segmentation models; it returns ``{"out": [batch, num_classes, H, W], ...}``.

    With ``pretrained`` and other than 21 classes, as in Pascal VOC, the layers that give the classes start anew.
    ``aux_loss=True`` adds the auxiliary output, which the training loss counts by half.
    """
    from torchvision import models

    where = f"torchvision:{name}"
    if backbone is not None:
        remedy = "take a model such as smp:DeepLabV3Plus with another backbone"
        raise ModelError("has a fixed backbone", where=where, found=f"backbone={backbone}", remedy=remedy)
    _check_arguments(where, arguments, inspect.signature(models.get_model_builder(name)).parameters, passed_on=False)
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    model = cast(nn.Module, models.get_model(name, weights=None, weights_backbone=None, **arguments))
    if pretrained:
        state = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
        load_published(model, state, where)
    return model


def smp_models() -> dict[str, type[nn.Module]]:
    """Return the architectures of segmentation-models-pytorch by name."""
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        what, expected = "needs a package that is not installed", "segmentation-models-pytorch"
        remedy = 'pip install "refconv[tasks]"'
        raise ModelError(what, where="smp:", expected=expected, found=str(error), remedy=remedy) from error
    return {built.__name__: built for key, built in smp.MODEL_ARCHITECTURES_MAPPING.items() if key not in _NO_CONVNET}


def build_smp(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    backbone: str | None = None,
    pretrained: bool = False,
    **arguments: Any,
) -> nn.Module:
    """Build a decoder of segmentation-models-pytorch on a backbone of timm; it returns [batch, num_classes, H, W].

    Capitals in the name do not matter. ``pretrained`` loads timm's weights of the backbone; the decoder starts anew in
    any case. Further arguments are the decoder's, such as ``decoder_channels``, or the backbone's.
    """
    where = f"smp:{name}"
    if name.lower() in _NO_CONVNET:
        raise ModelError(_NO_CONVNET[name.lower()], where=where)
    found = smp_models()
    known = {built.lower(): built for built in found}
    if name.lower() not in known:
        expected, remedy = ", ".join(found), did_you_mean(name, found)
        raise ModelError("unknown segmentation model", where=where, expected=expected, remedy=remedy)
    builder = found[known[name.lower()]]
    backbone = backbone or _DEFAULT_BACKBONE
    check_backbone(backbone)
    _check_arguments(where, arguments, inspect.signature(builder).parameters, passed_on=True)
    ends = {"classes": num_classes, "in_channels": in_chans}
    arguments |= {name: value for name, value in ends.items() if value is not None}
    return builder(encoder_name=f"tu-{backbone}", encoder_weights=True if pretrained else None, **arguments)


def _check_arguments(where: str, arguments: Iterable[str], parameters: Iterable[str], *, passed_on: bool) -> None:
    """Refuse what is given by other means, what cannot work, and what the builder would drop without a word."""
    # With ``passed_on``, further names go to the backbone, which refuses what it does not know.
    taken = [name for name in parameters if name not in {"self", "kwargs", *_GIVEN, *_UNUSABLE, "num_classes"}]
    for key in arguments:
        if key in _GIVEN:
            other = _GIVEN[key]
            raise ModelError(f"{key} cannot be given", where=where, remedy=f"give {other}" if other else "leave it out")
        if key in _UNUSABLE:
            raise ModelError(f"{key} cannot be given: {_UNUSABLE[key]}", where=where)
        if key not in taken and (not passed_on or key.startswith(("decoder_", "encoder_", "psp_"))):
            expected = ", ".join(taken) or "no further arguments"
            raise ModelError(f"takes no {key}", where=where, expected=expected, remedy=did_you_mean(key, taken))
