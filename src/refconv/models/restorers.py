"""Small image-to-image networks of our own, and those that ``spandrel`` recognises by their weights.

The first are opened by ``--model refconv.models.restorers:NAME``. They are plain torch and take images of any
size. Each adds what it has learned to its input, enlarged where the result is larger, and its last convolution starts
near zero: before training it does what bicubic enlargement does, or nothing, and training goes on from there.
``upscale`` is how many times the result is larger, per side; ``width`` the channels inside; ``depth`` the blocks, or of
:func:`dncnn_small` and :func:`espcn_small` the convolutions in all, at least 2.
"""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from refconv.data.resizing import enlarged
from refconv.errors import CheckpointError, ModelError
from refconv.models.weight_files import missing

_FIRST_STEP = 0.02
"""Scale of the last convolution's first weights, as against those of the others; not 0, for refocusing needs a base."""

_SPANDREL_HOME = "spandrel.architectures."  # left out of names
_SPANDREL_HOMES = (_SPANDREL_HOME, "spandrel_extra_arches.architectures.")


class Restorer(nn.Module):
    """``enlarge(x) + tail(body(head(x)))``, its pixels shuffled into place; ``residual`` adds the head's features."""

    def __init__(
        self, in_chans: int, width: int, head: nn.Module, body: Iterable[nn.Module], *, upscale: int = 1, residual: bool
    ) -> None:
        super().__init__()
        self.upscale, self.residual = upscale, residual
        self.head, self.body = head, nn.Sequential(*body)
        self.tail = nn.Conv2d(width, in_chans * upscale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(upscale) if upscale > 1 else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.tail.weight.mul_(_FIRST_STEP)

    def forward(self, x: Tensor) -> Tensor:
        """Return the restored images [n, C, H * upscale, W * upscale] of x [n, C, H, W], in [0, 1] but for noise."""
        features = self.head(x)
        inner = self.body(features)
        restored: Tensor = self.shuffle(self.tail(features + inner if self.residual else inner))
        return enlarged(x, self.upscale) + restored


class ResidualBlock(nn.Module):
    """``x + scale * body(x)`` (Lim et al. 2017, section 3.3)."""

    def __init__(self, body: nn.Module, scale: float) -> None:
        super().__init__()
        self.body, self.scale = body, scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.scale * cast(Tensor, self.body(x))


def dncnn_small(in_chans: int = 3, *, width: int = 32, depth: int = 8) -> Restorer:
    """Build a denoiser of plain 3 x 3 convolutions with batch norm (DnCNN, Zhang et al. 2017): dense kernels."""
    # The result has the input's size, so for super-resolution it is given the enlarged image.
    body = [nn.Sequential(_conv(width, bias=False), nn.BatchNorm2d(width), nn.ReLU()) for _ in range(depth - 2)]
    return Restorer(in_chans, width, _head(in_chans, width), body, residual=False)


def edsr_small(in_chans: int = 3, *, upscale: int = 1, width: int = 32, depth: int = 4) -> Restorer:
    """Build a network of residual blocks without norms, enlarged at its end (EDSR, Lim et al. 2017): dense kernels."""
    body = [ResidualBlock(nn.Sequential(_conv(width), nn.ReLU(), _conv(width)), 0.1) for _ in range(depth)]
    return Restorer(in_chans, width, nn.Conv2d(in_chans, width, 3, padding=1), body, upscale=upscale, residual=True)


def espcn_small(in_chans: int = 3, *, upscale: int = 1, width: int = 32, depth: int = 3) -> Restorer:
    """Build a few convolutions whose last pixels are shuffled into place (ESPCN, Shi et al. 2016): dense kernels."""
    body = [nn.Sequential(_conv(width), nn.ReLU()) for _ in range(depth - 2)]
    return Restorer(in_chans, width, _head(in_chans, width), body, upscale=upscale, residual=False)


def depthwise_small(
    in_chans: int = 3, *, upscale: int = 1, width: int = 32, depth: int = 4, kernel_size: int = 5
) -> Restorer:
    """Build :func:`edsr_small` of depthwise-separable blocks with batch norm: depthwise kernels."""
    body = []
    for _ in range(depth):
        depthwise = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=False)
        block = nn.Sequential(depthwise, nn.BatchNorm2d(width), nn.Conv2d(width, width, 1), nn.ReLU())
        body.append(ResidualBlock(block, 1.0))
    return Restorer(in_chans, width, _head(in_chans, width), body, upscale=upscale, residual=True)


def _conv(width: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1, bias=bias)


def _head(in_chans: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_chans, width, 3, padding=1), nn.ReLU())


def build_spandrel(
    name: str, *, pretrained: bool = False, hyperparameters: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a network that ``spandrel`` recognises by the names and shapes of the weights in a file, or by name.

    With ``pretrained`` it has the weights of the file. ``hyperparameters`` are as :func:`spandrel_arguments` gives them
    and a model folder keeps them; then ``name`` is that of a network.
    """
    state: Mapping[str, Tensor] | None = None
    if hyperparameters is None:
        loaded = _spandrel_of_file(name)
        state = loaded.state_dict()
        name, hyperparameters = spandrel_arguments(loaded)
    model = _spandrel_of_hyperparameters(name, hyperparameters)
    if state is not None:
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        if shapes != {key: value.shape for key, value in state.items()}:
            raise ModelError("the network cannot be rebuilt from spandrel's hyperparameters", where=f"spandrel:{name}")
        if pretrained:
            model.load_state_dict(state, strict=True)
    return model


def spandrel_arguments(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return a name and plain values from which :func:`build_spandrel` makes a network again, without a file."""
    kind = type(model)
    name = f"{kind.__module__.removeprefix(_SPANDREL_HOME)}.{kind.__qualname__}"
    known: Mapping[str, Any] = getattr(model, "hyperparameters", {})
    parameters = inspect.signature(kind.__init__).parameters
    taken = {key: value for key, value in known.items() if key in parameters}
    differing = {key: value for key, value in taken.items() if parameters[key].default is not value}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(differing))
    except TypeError as error:
        raise ModelError("a hyperparameter is no plain value", where=f"spandrel:{name}", found=str(error)) from error
    return name, plain


def _spandrel_of_file(name: str) -> nn.Module:
    spandrel = _spandrel()
    where = f"spandrel:{name}"
    if not Path(name).is_file():
        raise missing(Path(name), where=where)
    try:
        known = spandrel.MAIN_REGISTRY.copy()  # spandrel's own stays as it is
        if (more := _extra()) is not None:
            known.add(*more.EXTRA_REGISTRY, ignore_duplicates=True)
        model: nn.Module = spandrel.ModelLoader(device="cpu", registry=known).load_from_file(name).model
    except Exception as error:  # whatever over forty authors' code raises about a file
        found = f"{type(error).__name__}: {error}".removesuffix(": ")
        extra = "some networks, such as Restormer and MIRNet, need spandrel-extra-arches"
        remedy = extra if _extra() is None else "give another file"
        raise CheckpointError("no network that spandrel recognises", where=where, found=found, remedy=remedy) from error
    return model


def _spandrel_of_hyperparameters(name: str, hyperparameters: Mapping[str, Any]) -> nn.Module:
    """Build a network anew, every parameter to be trained."""
    _spandrel()
    where = f"spandrel:{name}"
    home, _, kind = name.rpartition(".")
    try:
        home = home if home.startswith(_SPANDREL_HOMES) else _SPANDREL_HOME + home
        found = getattr(importlib.import_module(home), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError("spandrel has no such network", where=where, found=str(error)) from error
    # A name may come from a file, and a file must not choose what to call: only networks.
    if not (isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(_SPANDREL_HOMES)):
        raise ModelError("no network of spandrel's", where=where)
    try:
        model: nn.Module = found(**hyperparameters)
    except Exception as error:  # foreign code
        raise ModelError("cannot be built", where=where, found=f"{type(error).__name__}: {error}") from error
    return model.train().requires_grad_(True)


def _spandrel() -> Any:
    try:
        import spandrel
    except ImportError as error:
        remedy = 'pip install "refconv[tasks]"'
        raise ModelError("spandrel is not installed", where="spandrel:", remedy=remedy) from error
    return spandrel


def _extra() -> Any:
    """Return the package of further architectures of spandrel's, or None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old code, at its import
            return importlib.import_module("spandrel_extra_arches")
    except ImportError:
        return None
