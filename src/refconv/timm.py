"""Refocusing under timm's own train.py: importing this module teaches timm's optimizer factory the word ``refocus_``.

timm's factory makes an optimizer of a model and a name. A name that begins with ``refocus_`` refocuses the model's
kernels: before timm's SGD (``refocus_sgd``, and ``refocus_momentum`` without Nesterov) in gradient space, where the
model is left as it is; before any other optimizer of timm in kernel space, where the model is refocused in place::

    python train.py --device-modules refconv.timm --opt refocus_sgd ...

Keyword arguments (``--opt-kwargs``) that are settings of refocusing go there, all others to the optimizer. Names
without the word make what timm makes. ``lookahead_refocus_sgd`` is timm's Lookahead around it.
"""

from __future__ import annotations

import logging
from typing import Any

from timm.optim import Lookahead
from timm.optim._optim_factory import OptimInfo, default_registry
from torch import nn
from torch.optim import SGD, Optimizer

from refconv.config import FIELDS
from refconv.errors import ModelError
from refconv.gradspace import RefocusSGD, param_groups
from refconv.surgery import refocus, unrefocus

__all__ = ["create_optimizer"]

_logger = logging.getLogger(__name__)
_WORD, _AROUND = "refocus", "lookahead"
_OWN = ("max_norm", "decay")  # settings of gradient space that timm's SGD does not have
_FORMS = {"refocus_sgd": True, "refocus_momentum": False}  # of SGD in timm, and whether they are Nesterov's
_of_timm = default_registry.create_optimizer


def create_optimizer(model_or_params: Any, opt: str, **settings: Any) -> Optimizer:
    """Make an optimizer as ``timm.optim.create_optimizer_v2`` does, which calls this function.

    Args:
        model_or_params: the model, if the name says ``refocus_``; timm's parameters or groups otherwise.
        opt: a name of timm's, perhaps with ``refocus_`` before it.
        **settings: of timm's factory and optimizer, such as ``lr``, ``weight_decay``, ``layer_decay`` and
            ``param_group_fn``; settings of refocusing (``map_size``, ``scale``, ``include`` and so on); in gradient
            space ``max_norm`` and ``decay``, which :class:`refconv.RefocusSGD` and :func:`refconv.param_groups` take.

    Raises:
        ModelError: if there is no model, or nothing in it can be refocused.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_resnet")
        >>> type(timm.optim.create_optimizer_v2(model, "refocus_sgd", lr=0.1)).__name__
        'RefocusSGD'
    """
    words = opt.lower().split("_")
    if _WORD not in words:
        return _of_timm(model_or_params, opt, **settings)  # type: ignore[no-any-return]
    if not isinstance(model_or_params, nn.Module):
        found, expected = type(model_or_params).__name__, "the model, whose layers are to be found"
        raise ModelError(f"{opt} cannot refocus this", where="create_optimizer_v2", expected=expected, found=found)
    words.remove(_WORD)
    own = {name: settings.pop(name) for name in FIELDS if name in settings}
    if words[-1] not in {"sgd", "momentum"}:
        plan = refocus(model_or_params, **own)
        try:
            optimizer = _of_timm(model_or_params, "_".join(words), **settings)
        except Exception:
            unrefocus(model_or_params)
            raise
        _logger.info(str(plan))
        return optimizer  # type: ignore[no-any-return]
    more = {name: settings.pop(name) for name in _OWN if name in settings}
    plain: SGD = _of_timm(model_or_params, words[-1], **settings)
    decay = {"decay": more.pop("decay")} if "decay" in more else {}
    groups = param_groups(model_or_params, groups=plain.param_groups, **decay, **own)
    defaults = {name: value for name, value in plain.defaults.items() if name != "differentiable"}
    refocused = RefocusSGD(groups, **defaults, **more)
    return Lookahead(refocused) if words[0] == _AROUND else refocused


for _name, _nesterov in _FORMS.items():
    _about = "SGD on the refocus weights of the kernels, in gradient space"
    default_registry.register(
        OptimInfo(_name, RefocusSGD, _about, has_eps=False, has_momentum=True, defaults={"nesterov": _nesterov})
    )
default_registry.create_optimizer = create_optimizer
