"""Curvature of the loss at a model: the largest eigenvalues of the Hessian, and its trace.

H is the Hessian of the mean loss in eval mode over given batches, at the model as it is. It is known by its products,
H v = grad(grad L . v), by differentiating twice (Pearlmutter 1994), summed over batches. Eigenvalues by Lanczos;
the trace by Hutchinson's estimate, the mean of z^T H z over random signs z.

Units matter. A filter that is scaled before its normalisation computes the same, yet eigenvalues of H in units of
weights shrink with the square of the scale. In units of filters, every weight is counted in root mean squares of its
filter, and H becomes D H D with D the diagonal of these: scale is not seen, and the trace is 2 / r^2 times the mean
rise of :func:`refconv.analysis.sharpness` for small r without batch norm. Biases and parameters of normalisations
are then held.

Lanczos: after j steps, A Q = Q T + beta q e_j^T with Q [n, j] orthonormal and T [j, j] tridiagonal. An eigenvalue
theta of T with eigenvector s lies within |beta s_j| of an eigenvalue of A. Every new vector is made orthogonal to all
earlier ones, twice, so that rounding brings no eigenvalue back as a ghost of itself (Parlett, The symmetric eigenvalue
problem, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from refconv.analysis.batches import Batches, Passage, Progress, check_least, evaluating, refused
from refconv.analysis.measures.landscape import Steps, spread
from refconv.analysis.probe import Loss, Probe, Values, filter_norms, filter_sizes
from refconv.analysis.timing import timed
from refconv.errors import ModelError, SettingError
from refconv.measures.sharpness import Curvature

Units = Literal["weights", "filters"]


@timed(lambda steps, draws, **_: (steps / 2 + draws) / 2, top=1, steps=2, draws=0)  # Lanczos ends early, mostly
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
        units: ``weights``: all parameters as they are; ``filters``: weights over the root mean square of their filter,
            the choice for comparing models.
        top: how many eigenvalues.
        steps: Lanczos steps at most.
        tolerance: error of an eigenvalue, relative to the largest magnitude, at which Lanczos may stop.
        draws: random vectors for the trace, 2 or more; 0 leaves it out.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> found = curvature(model, data, loss=nn.functional.mse_loss, top=2)  # (2 / n) X^T X
        >>> [round(value, 4) for value in found.eigenvalues], round(found.trace.mean, 4)
        ([4.0, 1.0], 5.0)
    """
    if units not in {"weights", "filters"}:
        raise SettingError("unknown units", where="units", expected="weights or filters", found=repr(units))
    check_least(1, top=top, steps=steps)
    if not 0 <= tolerance < 1:
        raise SettingError("not a relative error", where="tolerance", expected="0 to 1", found=str(tolerance))
    if draws < 0 or draws == 1:
        raise SettingError("no spread", where="draws", expected="0, or 2 or more", found=str(draws))
    probe = Probe(model, Passage(batches, max_samples), loss=loss)
    as_is = probe.as_is()
    hessian = Hessian(probe, units)
    generator = torch.Generator().manual_seed(seed)
    counted = Steps(progress, min(steps, hessian.dimension) + draws)

    def product(vector: Tensor) -> Tensor:
        return counted.done(hessian.product(vector))

    start = hessian.like(torch.randn(hessian.dimension, generator=generator, dtype=torch.float64))
    top = min(top, hessian.dimension)
    ritz = lanczos(product, start, steps=max(steps, top), top=top, tolerance=tolerance, generator=generator)
    generator, traces = torch.Generator().manual_seed(seed), []
    for _ in range(draws):
        signs = hessian.like(torch.randint(0, 2, (hessian.dimension,), generator=generator).double() * 2 - 1)
        traces.append(float(signs.double() @ product(signs).double()))
    return Curvature(
        loss=as_is,
        eigenvalues=tuple(ritz.values[:top].tolist()),
        errors=tuple(ritz.errors[:top].tolist()),
        smallest=float(ritz.values[-1]),
        smallest_error=float(ritz.errors[-1]),
        converged=bool((ritz.errors[:top] <= tolerance * ritz.values.abs().max()).all()),
        steps=ritz.steps,
        trace=spread(traces) if draws else None,
        units=units,
        dimension=hessian.dimension,
        samples=probe.batches.samples,
        cut=probe.batches.cut,
        seed=seed,
    )


class Hessian:
    """The Hessian of a model's loss in eval mode, as an operator on flat vectors of ``dimension`` entries."""

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
        """Return H v [dimension]."""
        probe = self._probe
        leaves = {name: probe.parameters[name].detach().requires_grad_() for name in self._names}
        parts = vector.split([leaf.numel() for leaf in leaves.values()])
        pairs = zip(leaves.items(), parts, strict=True)
        along = self._scaled({name: part.reshape(leaf.shape) for (name, leaf), part in pairs})
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

    def _scaled(self, values: Values) -> Values:
        if self._scales is None:
            return values
        return {name: value * self._scales[name] for name, value in values.items()}


def _twice(loss: Tensor, leaves: Values, along: Values) -> tuple[Tensor | None, ...]:
    """Return the derivatives of grad(loss) . along; None where there are none.

    Functions that were marked as differentiable once only count as linear: torch does not say so.
    """
    if not loss.requires_grad:
        raise ModelError("the loss does not depend on the weights in a way that can be differentiated")
    inputs = list(leaves.values())
    with refused("the loss cannot be differentiated twice"):
        gradients = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True)
        terms = [(g * along[name]).sum() for name, g in zip(leaves, gradients, strict=True) if g is not None]
        slope = torch.stack(terms).sum()
        if not slope.requires_grad:  # the loss is linear in the weights
            return (None,) * len(inputs)
        return torch.autograd.grad(slope, inputs, allow_unused=True)


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, hardsigmoid is computed as relu6(x + 3) / 6: the same values, with a second derivative.

    Of the activations, poolings and normalisations of torch, it alone is differentiated once only.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace hardsigmoid, in place or not; let everything else through."""
        del types
        if func in {F.hardsigmoid, torch._C._nn.hardsigmoid}:  # in place or not: callers go on with what is returned
            return F.relu6((args[0] if args else kwargs["input"]) + 3) / 6
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, eq=False)
class RitzValues:
    """Eigenvalues theta [j] of T, descending, their errors |beta s_j| [j], and the number of products taken."""

    values: Tensor
    errors: Tensor
    steps: int


def lanczos(
    product: Callable[[Tensor], Tensor], start: Tensor, *, steps: int, top: int, tolerance: float, generator: Generator
) -> RitzValues:
    """Run Lanczos until the largest eigenvalues are known, or the steps are used up.

    Where an invariant subspace ends the recurrence, it goes on from a new random vector, so that repeated eigenvalues
    are found as often as they occur; then all steps are taken.

    ``product``: v [n] -> A v [n], A symmetric. The first vector gives the basis, steps * n numbers, its precision and
    device. ``tolerance``: error at which one of the ``top`` largest is known, relative to the largest magnitude. The
    generator, for new vectors, is of the CPU.
    """
    size = len(start)
    steps = min(steps, size)
    basis = start.new_empty(steps, size)
    alphas: list[float] = []
    betas: list[float] = []
    restarted = False
    vector = start / start.norm()
    while True:
        index = len(alphas)
        basis[index] = vector
        image = product(vector)
        alphas.append(float(vector @ image))
        rest = _orthogonal(image, basis[: index + 1])
        beta = float(rest.norm())
        found = _ritz(alphas, betas, beta)
        scale = float(found.values.abs().max())
        ended = beta <= 10 * torch.finfo(start.dtype).eps * max(scale, float(image.norm()))
        restarted = restarted or ended
        known = len(alphas) >= top and bool((found.errors[:top] <= tolerance * scale).all())
        if len(alphas) == steps or (known and not restarted):
            return found
        if ended:
            drawn = torch.randn(size, generator=generator, dtype=torch.float64).to(start)
            rest, beta = _orthogonal(drawn / drawn.norm(), basis[: index + 1]), 0.0
        betas.append(beta)
        vector = rest / rest.norm()


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """Return what of a vector [n] is orthogonal to the rows of a basis [j, n]."""
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector


def _ritz(alphas: list[float], betas: list[float], last: float) -> RitzValues:
    off = torch.tensor(betas, dtype=torch.float64)
    T = torch.diag(torch.tensor(alphas, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(T)
    return RitzValues(values.flip(0), (abs(last) * vectors[-1].abs()).flip(0), len(alphas))
