"""ultralytics (YOLO): its trainers with refocused kernels, in either space.

Such a trainer builds a model of its own from the one that it is given, averages it, and pickles the average as
``last.pt`` and ``best.pt``, which it also validates, fuses and loads again. So the average is kept as a plain model
here. What it takes to go on in kernel space travels with the state of the optimizer, which final files are without.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from refconv.config import RefocusConfig
from refconv.errors import CheckpointError, ModelError, SettingError
from refconv.gradspace import RefocusSGD, param_groups
from refconv.surgery import (
    in_kernel_space,
    load_refocused_state_dict,
    merged,
    plain_state_dict,
    refocus,
    refocused_state_dict,
)

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer as _Trainer
else:
    _Trainer = object

STATE = "refconv"  #: The key of the refocused model in the state of its optimizer
_MAX_NORM = 10.0  # to which ultralytics clips gradients


class Refocused(_Trainer):
    """What makes a trainer of ultralytics refocus: the first base of a subclass, before the trainer of a task.

    Train, validate, resume and export as ever, with ``trainer=`` the subclass. Every file that is written is a plain
    model, which ultralytics loads without this package. Resuming takes the same subclass again.

    Attributes:
        space: ``gradient``, with torch's SGD and no other optimizer; or ``kernel``, with any that ultralytics offers.
        config: the settings of refocusing; None for the defaults.

    Raises:
        SettingError: in training, if the space is unknown or another optimizer is asked for in gradient space.
        ModelError: in training, if the model that is given is refocused already.
        CheckpointError: in resuming, if the file was not saved in kernel space.

    Example:
        .. code-block:: python

            class Trainer(Refocused, DetectionTrainer):
                space = "kernel"

            YOLO("yolo11n.pt").train(trainer=Trainer, data="coco8.yaml", epochs=3)
    """

    space: ClassVar[Literal["gradient", "kernel"]] = "gradient"
    config: ClassVar[RefocusConfig | None] = None

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """Build the model that is trained, from a plain one."""
        if isinstance(weights, nn.Module) and in_kernel_space(weights.state_dict()):
            remedy = "give a plain model, which the trainer refocuses: refconv.merge(yolo.model)"
            raise ModelError("the model is refocused already", where=type(weights).__name__, remedy=remedy)
        return super().get_model(cfg, weights, verbose)

    def setup_model(self) -> Any:
        """Set the model up, and in kernel space refocus it."""
        if self.space not in {"gradient", "kernel"}:
            raise SettingError("unknown space", where="space", expected="gradient or kernel", found=repr(self.space))
        checkpoint = super().setup_model()
        if self.space == "kernel":
            _logger().info(str(refocus(self.model, self.config)))
        return checkpoint

    def _setup_train(self) -> None:
        # It says of frozen parameters that it makes them trainable, which bases refuse.
        logger = _logger()
        logger.addFilter(_not_about_bases)
        try:
            super()._setup_train()
        finally:
            logger.removeFilter(_not_about_bases)

    def build_optimizer(
        self,
        model: Any,
        name: str = "auto",
        lr: float = 0.001,
        momentum: float = 0.9,
        decay: float = 1e-5,
        iterations: float = 1e5,
    ) -> Optimizer:
        """Make the optimizer of the space, with ultralytics' groups, learning rates and decay."""
        if self.space == "gradient":
            if name.lower() not in {"auto", "sgd"}:
                remedy = "optimizer='SGD', or space = 'kernel'"
                raise SettingError("gradient space is for SGD", where="optimizer", found=repr(name), remedy=remedy)
            groups = super().build_optimizer(model, "SGD", lr, momentum, decay, iterations).param_groups
            return RefocusSGD(param_groups(model, groups=groups, config=self.config), lr, momentum, nesterov=True)
        optimizer: Optimizer = super().build_optimizer(model, name, lr, momentum, decay, iterations)
        optimizer.register_state_dict_post_hook(self._add_model)
        optimizer.register_load_state_dict_pre_hook(self._load_model)
        return optimizer

    def _add_model(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        state[STATE] = refocused_state_dict(_unwrapped(self.model))

    def _load_model(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        if STATE not in state:
            what = "the file was not saved by a trainer in kernel space"
            raise CheckpointError(what, where=str(self.args.model), remedy="resume with the trainer that it began with")
        load_refocused_state_dict(_unwrapped(self.model), state[STATE])

    def optimizer_step(self) -> None:
        """Take a step, with gradients clipped as ultralytics does, in gradient space by the norm of kernel space."""
        if not isinstance(self.optimizer, RefocusSGD):
            super().optimizer_step()
            return
        self.scaler.unscale_(self.optimizer)
        self.optimizer.clip_grad_norm_(_MAX_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)

    def resume_training(self, ckpt: Any) -> None:
        """Resume, if that is asked for; from here on the average is a plain model."""
        super().resume_training(ckpt)
        _average_plainly(self.ema)

    def _load_checkpoint_state(self, ckpt: Any) -> None:
        super()._load_checkpoint_state(ckpt)
        _average_plainly(self.ema)


def _average_plainly(average: Any) -> None:
    """Let a ModelEMA of a refocused model be one of merged kernels, which are linear in what refocusing trains."""
    if average is None or not in_kernel_space(average.ema.state_dict()):
        return
    average.ema = merged(average.ema).requires_grad_(False)
    update = average.update

    def update_plainly(model: nn.Module) -> None:
        average._pairs = None  # tensors that it keeps from the first update on: merged kernels are new each time
        update(_Merged(_unwrapped(model)))

    average.update = update_plainly


class _Merged:
    """A refocused model of which the state is that of the merged one."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def state_dict(self) -> dict[str, torch.Tensor]:
        return plain_state_dict(self.model)


def _unwrapped(model: nn.Module) -> nn.Module:
    from ultralytics.utils.torch_utils import unwrap_model

    plain: nn.Module = unwrap_model(model)
    return plain


def _logger() -> logging.Logger:
    from ultralytics.utils import LOGGER

    logger: logging.Logger = LOGGER
    return logger


def _not_about_bases(record: logging.LogRecord) -> bool:
    return ".parametrizations." not in record.getMessage()
