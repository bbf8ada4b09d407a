"""Curvature of the loss at a model: the largest eigenvalues of the Hessian, and its trace.

H is the Hessian of the mean loss in eval mode over given batches, at the model as it is. It is known by its products,
H v = grad(grad L . v), by differentiating twice (Pearlmutter 1994), summed over batches. Eigenvalues by Lanczos
(:mod:`refconv.analysis.lanczos`); the trace by Hutchinson's estimate, the mean of z^T H z over random signs z.

Units matter. A filter that is scaled before its normalisation computes the same, yet eigenvalues of H in units of
weights shrink with the square of the scale. In units of filters, every weight is counted in root mean squares of its
filter, and H becomes D H D with D the diagonal of these: scale is not seen, and the trace is 2 / r^2 times the mean
rise of :func:`refconv.analysis.sharpness` for small r without batch norm. Biases and parameters of normalisations
are then held.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from refconv.analysis.batches import Batches, Passage, Progress
from refconv.analysis.directions import Values, filter_norms, filter_sizes
from refconv.analysis.lanczos import RitzValues, lanczos
from refconv.analysis.losses import Loss
from refconv.analysis.measures.sharpness import spread
from refconv.analysis.probe import Probe, evaluating
from refconv.analysis.timing import within
from refconv.analysis.twice import TwiceDifferentiable
from refconv.errors import ModelError, SettingError
from refconv.measures.sharpness import Curvature, Spread

Units = Literal["weights", "filters"]


def curvature(
    model: nn.Module,
    batches: Batches,
    *,
    loss: Loss | None = None,
    units: Units = "weights",
    top: int = 3,
    steps: int = 40,
    tolerance: float = 1e-3,
    draws: int = 20,
    seed: int = 0,
    max_samples: int | None = 512,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Curvature:
    """Measure the largest eigenvalues of the Hessian of the loss at a model, and its trace.

    Memory: ``steps`` vectors of the size of the model, besides the graph of one batch.

    Args:
        model: plain; taken in eval mode, with the statistics that it has.
        batches: what the loss is taken over: (samples, targets) on the model's device, as
            :data:`refconv.analysis.batches.Batches`.
        loss: of outputs and targets, the mean over a batch; by default cross-entropy.
        units: ``weights``: all parameters as they are; ``filters``: weights over the root mean square of their filter,
            the choice for comparing models.
        top: how many eigenvalues.
        steps: Lanczos steps at most.
        tolerance: error of an eigenvalue, relative to the largest magnitude, at which Lanczos may stop.
        draws: random vectors for the trace, 2 or more; 0 leaves it out.
        seed: of the random vectors.
        max_samples: how many samples to take at most; None takes all.
        max_seconds: take fewer samples, as many as this time allows.
        progress: called with (products done, products at most).

    Raises:
        ModelError: if the model is not plain or not finite, does not fit the loss, or if the loss cannot be
            differentiated twice.
        DataError: if the batches cannot be used.
        SettingError: if a number or the units have no meaning.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> found = curvature(model, data, loss=nn.functional.mse_loss, top=2)  # (2 / n) X^T X
        >>> [round(value, 4) for value in found.eigenvalues], round(found.trace.mean, 4)
        ([4.0, 1.0], 5.0)
    """
    _check_settings(units, top, steps, tolerance, draws)
    if max_seconds is not None:
        more: dict[str, Any] = {
            "loss": loss,
            "units": units,
            "top": top,
            "steps": steps,
            "tolerance": tolerance,
            "draws": draws,
            "seed": seed,
        }
        again = partial(curvature, model, batches, **more)
        quick = partial(again, top=1, steps=2, draws=0)
        products = steps / 2 + draws  # Lanczos mostly ends before half of its steps
        return within(max_seconds, again, max_samples, progress, trial=quick, share=2 / products)
    probe = Probe(model, Passage(batches, max_samples), loss=loss)
    as_is = probe.as_is()
    hessian = Hessian(probe, units)
    generator = torch.Generator().manual_seed(seed)
    total = min(steps, hessian.dimension) + draws
    done = 0

    def product(vector: Tensor) -> Tensor:
        nonlocal done
        found = hessian.product(vector)
        done += 1
        if progress:
            progress(done, total)
        return found

    start = hessian.like(torch.randn(hessian.dimension, generator=generator, dtype=torch.float64))
    top = min(top, hessian.dimension)
    ritz = lanczos(product, start, steps=max(steps, top), top=top, tolerance=tolerance, generator=generator)
    return Curvature(
        loss=as_is,
        eigenvalues=tuple(ritz.values[:top].tolist()),
        errors=tuple(ritz.errors[:top].tolist()),
        smallest=float(ritz.values[-1]),
        smallest_error=float(ritz.errors[-1]),
        converged=_converged(ritz, top, tolerance),
        steps=ritz.steps,
        trace=_trace(hessian, product, draws, torch.Generator().manual_seed(seed)) if draws else None,
        units=units,
        dimension=hessian.dimension,
        samples=probe.batches.samples,
        cut=probe.batches.cut,
        seed=seed,
    )


class Hessian:
    """The Hessian of a model's loss in eval mode, as an operator on flat vectors.

    Args:
        probe: of the model.
        units: ``weights`` or ``filters``, as in :func:`curvature`.

    Attributes:
        dimension: entries of its vectors.

    Raises:
        ModelError: if there are no weights of that kind.
    """

    def __init__(self, probe: Probe, units: Units = "weights") -> None:
        self._probe = probe
        self._scales: Values | None = None
        self._names = [name for name, value in probe.parameters.items() if value.is_floating_point()]
        if units == "filters":
            norms = filter_norms(probe.model, probe.parameters)
            sizes = filter_sizes(probe.model, probe.parameters)
            self._scales = {name: norms[name] / sizes[name].sqrt() for name in norms}
            self._names = list(norms)
        self.dimension = sum(probe.parameters[name].numel() for name in self._names)

    def like(self, vector: Tensor) -> Tensor:
        """Return a vector in the precision and on the device of the model."""
        return vector.to(self._probe.parameters[self._names[0]])

    def product(self, vector: Tensor) -> Tensor:
        """Return H v [dimension].

        Args:
            vector: v [dimension].

        Raises:
            ModelError: if the loss cannot be differentiated twice, or the product is not finite.
        """
        probe = self._probe
        leaves = {name: probe.parameters[name].detach().requires_grad_() for name in self._names}
        along = self._scaled(self._split(vector))
        sums = {name: torch.zeros_like(value) for name, value in along.items()}
        with evaluating(probe.model), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), TwiceDifferentiable():
            for samples, targets in probe.batches:
                buffers = {name: value.clone() for name, value in probe.buffers.items()}
                loss = probe.batch_loss({**probe.parameters, **leaves}, buffers, samples, targets)
                for name, value in zip(self._names, _twice(loss, leaves, along), strict=True):
                    if value is not None:
                        sums[name] += len(samples) * value
        found = torch.cat([value.reshape(-1) for value in self._scaled(sums).values()]) / probe.batches.samples
        if not bool(torch.isfinite(found).all()):
            raise ModelError("the curvature of the loss is not finite", where=type(probe.model).__name__)
        return found

    def _split(self, vector: Tensor) -> Values:
        shapes = [self._probe.parameters[name].shape for name in self._names]
        parts = vector.split([shape.numel() for shape in shapes])
        return {name: part.reshape(shape) for name, part, shape in zip(self._names, parts, shapes, strict=True)}

    def _scaled(self, values: Values) -> Values:
        if self._scales is None:
            return values
        return {name: value * self._scales[name] for name, value in values.items()}


def _twice(loss: Tensor, leaves: Values, along: Values) -> tuple[Tensor | None, ...]:
    """Return the derivatives of grad(loss) . along; None where there are none.

    Functions that were marked as differentiable once only count as linear: torch does not say so.

    Raises:
        ModelError: if there is no first or no second derivative.
        OutOfMemoryError: as torch raises it.
    """
    if not loss.requires_grad:
        raise ModelError("the loss does not depend on the weights in a way that can be differentiated")
    inputs = list(leaves.values())
    try:
        gradients = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True)
        terms = [(g * along[name]).sum() for name, g in zip(leaves, gradients, strict=True) if g is not None]
        slope = torch.stack(terms).sum()
        if not slope.requires_grad:  # the loss is linear in the weights
            return (None,) * len(inputs)
        return torch.autograd.grad(slope, inputs, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ModelError("the loss cannot be differentiated twice", found=str(error)) from error


def _trace(hessian: Hessian, product: Callable[[Tensor], Tensor], draws: int, generator: torch.Generator) -> Spread:
    found = []
    for _ in range(draws):
        signs = hessian.like(torch.randint(0, 2, (hessian.dimension,), generator=generator).double() * 2 - 1)
        found.append(float(signs.double() @ product(signs).double()))
    return spread(found)


def _converged(ritz: RitzValues, top: int, tolerance: float) -> bool:
    return bool((ritz.errors[:top] <= tolerance * ritz.values.abs().max()).all())


def _check_settings(units: str, top: int, steps: int, tolerance: float, draws: int) -> None:
    if units not in {"weights", "filters"}:
        raise SettingError("unknown units", where="units", expected="weights or filters", found=repr(units))
    for name, value in (("top", top), ("steps", steps)):
        if value < 1:
            raise SettingError("too few", where=name, expected="1 or more", found=str(value))
    if not 0 <= tolerance < 1:
        raise SettingError("not a relative error", where="tolerance", expected="0 to 1", found=str(tolerance))
    if draws < 0 or draws == 1:
        raise SettingError("no spread", where="draws", expected="0, or 2 or more", found=str(draws))
