"""Names of timm's train.py for what has another name here: flags, and keys of recipes and studies, that mean the same.

Fields of the recipe have timm's names where timm has one. The names below are read as the fields that they mean; what
has no counterpart is among the command line's absent flags, each with what there is instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from refconv.errors import RecipeError

Read = Callable[[Any], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class TimmName:
    """What one of timm's names means here."""

    text: str  # what it is the same as
    hint: Any  # the type of its value
    fields: tuple[str, ...]  # the settings that it gives values to
    read: Read  # from its value to these


def _field(name: str, hint: Any) -> TimmName:
    return TimmName(f"the same as --{name.replace('_', '-')}", hint, (name,), lambda value: {name: value})


def _entry(table: str, key: str, hint: Any) -> TimmName:
    text = f"the same as --{table.replace('_', '-')} {key}="
    return TimmName(text, hint, (table,), lambda value: {table: {key: value}})


def _switch(text: str, values: Mapping[str, Any]) -> TimmName:
    return TimmName(text, bool, tuple(values), lambda on: dict(values) if on else {})


def _input_size(value: Any) -> dict[str, Any]:
    """Return channels and side of a shape [C, H, W]."""
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if len(sizes) != 3 or sizes[1] != sizes[2]:
        expected, found = "three numbers, channels, height and width, of a square image", " ".join(map(str, sizes))
        raise RecipeError("not the size of an image", where="input_size", expected=expected, found=found)
    return {"in_chans": sizes[0], "img_size": sizes[1]}


def _amp_dtype(value: Any) -> dict[str, Any]:
    """Accept what amp computes in, and refuse everything else."""
    if value != "bfloat16":
        what, remedy = "amp computes in bfloat16, which needs no scaling of the loss", "give bfloat16, or leave it out"
        raise RecipeError(what, where="amp_dtype", expected="bfloat16", found=repr(value), remedy=remedy)
    return {}


_NO_AUGMENTATION = {
    "hflip": 0.0, "vflip": 0.0, "pad_crop": 0, "scale": None, "ratio": None, "aa": None, "color_jitter": 0.0,
    "re_prob": 0.0,
}  # fmt: skip

_RATE = ("lr_base", "lr_base_size", "lr_base_scale")

TIMM_NAMES: dict[str, TimmName] = {
    "initial_checkpoint": _field("checkpoint", str),
    "dataset": _field("data", str),
    "reprob": _field("re_prob", float),
    "drop_connect": _field("drop_path", float),
    "val_interval": _field("eval_interval", int),
    "recovery_interval": _field("checkpoint_interval", int),
    "kd_model_name": _field("distill", str),
    "kd_temperature": _field("distill_temperature", float),
    "input_size": TimmName("channels, height and width: --in-chans and --img-size", tuple[int, int, int],
                           ("in_chans", "img_size"), _input_size),
    "amp_dtype": TimmName("bfloat16, which --amp computes in", str, ("amp",), _amp_dtype),
    "gp": _entry("model_kwargs", "global_pool", str),
    "drop_block": _entry("model_kwargs", "drop_block_rate", float),
    "bn_momentum": _entry("model_kwargs", "bn_momentum", float),
    "bn_eps": _entry("model_kwargs", "bn_eps", float),
    "opt_eps": _entry("opt_kwargs", "eps", float),
    "opt_betas": _entry("opt_kwargs", "betas", tuple[float, ...]),
    "lr_base": TimmName("a learning rate for --lr-base-size samples per step: see --lr-base-scale", float, ("lr",),
                        lambda value: {"lr_base": value}),
    "lr_base_size": TimmName("samples per step that --lr-base is for (default: 256)", int, ("lr",),
                             lambda value: {"lr_base_size": value}),
    "lr_base_scale": TimmName("how --lr-base follows the batch size: linear, or sqrt; default: as timm does, sqrt for "
                              "optimizers with ada or lamb in their name", str, ("lr",),
                              lambda value: {"lr_base_scale": value}),
    "decay_epochs": _entry("sched_kwargs", "decay_epochs", float),
    "decay_rate": _entry("sched_kwargs", "decay_rate", float),
    "decay_milestones": _entry("sched_kwargs", "decay_milestones", tuple[int, ...]),
    "cooldown_epochs": _entry("sched_kwargs", "cooldown_epochs", int),
    "lr_noise": _entry("sched_kwargs", "noise", tuple[float, ...]),
    "lr_noise_pct": _entry("sched_kwargs", "noise_pct", float),
    "lr_noise_std": _entry("sched_kwargs", "noise_std", float),
    "lr_cycle_mul": _entry("sched_kwargs", "cycle_mul", float),
    "lr_cycle_decay": _entry("sched_kwargs", "cycle_decay", float),
    "lr_cycle_limit": _entry("sched_kwargs", "cycle_limit", int),
    "lr_k_decay": _entry("sched_kwargs", "k_decay", float),
    "no_aug": _switch("no random change of training samples", _NO_AUGMENTATION),
    "bce_loss": _switch("the same as --loss bce: binary cross-entropy of each class", {"loss": "bce"}),
    "bce_target_thresh": _entry("loss_kwargs", "target_threshold", float),
    "bce_sum": _switch("the same as --loss-kwargs sum_classes=true", {"loss_kwargs": {"sum_classes": True}}),
    "bce_pos_weight": _entry("loss_kwargs", "pos_weight", float),
    "tensorboard": _switch("the same as --log tensorboard", {"log": ("tensorboard",)}),
    "log_wandb": _switch("the same as --log wandb", {"log": ("wandb",)}),
    "wandb_project": _entry("log_kwargs", "project", str),
    "wandb_tags": _entry("log_kwargs", "tags", tuple[str, ...]),
}  # fmt: skip
"""By name; ``tensorboard`` is not timm's, but that of earlier versions."""


def translated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by the names of fields; entries of a table are joined, and so are the words of ``log``.

    Raises:
        RecipeError: if two names give a setting different values, or a value is not possible.

    Example:
        >>> translated({"bce_loss": True, "bce_sum": True, "decay_epochs": 30.0})
        {'loss': 'bce', 'loss_kwargs': {'sum_classes': True}, 'sched_kwargs': {'decay_epochs': 30.0}}
    """
    found = {name: value for name, value in values.items() if name not in TIMM_NAMES or name in _RATE}
    for name, value in values.items():
        if name not in TIMM_NAMES or name in _RATE or value is None:
            continue
        for field, meant in TIMM_NAMES[name].read(value).items():
            known = found.get(field)
            if isinstance(meant, dict):
                meant = {**meant, **known} if isinstance(known, Mapping) else meant
            elif field == "log":
                before = () if known is None else (known,) if isinstance(known, str) else tuple(known)
                meant = tuple(dict.fromkeys([*before, *meant]))
            elif field in found and known != meant:
                found_text = f"{known!r}, and {meant!r} by {name}"
                raise RecipeError("given twice", where=field, found=found_text, remedy="leave one of them out")
            found[field] = meant
    return found


def scaled_rate(rate: float, *, batch_size: int, base_size: int, opt: str, scale: str | None = None) -> float:
    """Return a learning rate for a batch size, given that for another, as timm's train.py does.

    The rate grows with the batch size, with optimizers whose names contain ``ada`` or ``lamb`` by its root;
    ``scale`` chooses ``linear`` or ``sqrt`` in any case.

    Example:
        >>> scaled_rate(0.1, batch_size=64, base_size=256, opt="sgd")
        0.025
        >>> scaled_rate(0.001, batch_size=64, base_size=256, opt="adamw")
        0.0005
    """
    by_root = scale == "sqrt" if scale else any(word in opt.lower() for word in ("ada", "lamb"))
    return float(rate * (batch_size / base_size) ** (0.5 if by_root else 1.0))


def rated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the ``lr`` that timm's ``lr_base`` means, if it is given and no ``lr`` is.

    Raises:
        RecipeError: if a value is not possible, or would have no effect.
    """
    given = {name: values[name] for name in _RATE if values.get(name) is not None}
    found = {name: value for name, value in values.items() if name not in _RATE}
    if not given:
        return found
    if "lr_base" not in given:
        raise RecipeError("has no effect without lr_base", where=next(iter(given)))
    if found.get("lr") is not None:
        raise RecipeError("given twice", where="lr", found="lr and lr_base", remedy="leave one of them out")
    base, size, scale = given["lr_base"], given.get("lr_base_size", 256), given.get("lr_base_scale")
    batch, opt = found.get("batch_size", 128), found.get("opt", "sgd")
    for name, value, kinds in (
        ("lr_base", base, (int, float)),
        ("lr_base_size", size, (int,)),
        ("batch_size", batch, (int,)),
    ):
        if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
            raise RecipeError("not a positive number", where=name, found=repr(value))
    if scale not in {None, "", "linear", "sqrt"}:
        raise RecipeError("unknown word", where="lr_base_scale", expected="linear or sqrt", found=repr(scale))
    found["lr"] = scaled_rate(base, batch_size=batch, base_size=size, opt=str(opt), scale=scale)
    return found
