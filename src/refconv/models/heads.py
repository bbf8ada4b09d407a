"""Classifiers that start anew beside weights that are loaded."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from torch.nn.modules.conv import _ConvNd


def start_anew(model: nn.Module, names: Collection[str]) -> None:
    """Draw the linear layers and convolutions among ``names`` anew, as torch's own ``reset_parameters`` does.

    What an architecture's own initialisation gives its classifier is made for training everything from scratch. timm's
    EfficientNets draw it with a standard deviation of 0.18 at ten classes, whatever the number of features, so that
    beside trained features the first outputs are far apart and the first loss is several times log(classes).
    """
    for prefix, module in model.named_modules():
        own = {f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters(recurse=False)}
        if own and own <= set(names) and isinstance(module, (nn.Linear, _ConvNd)):
            module.reset_parameters()


def unloaded_by_timm(model: nn.Module) -> set[str]:
    """Return the names of the classifier that timm left out of the pretrained weights, which have other classes."""
    known = getattr(model, "pretrained_cfg", None) or {}
    if getattr(model, "num_classes", None) == known.get("num_classes"):
        return set()
    heads = known.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    return {f"{head}.{entry}" for head in heads for entry in ("weight", "bias")}
