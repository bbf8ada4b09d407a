"""Feature maps by frequency: which parts of its maps a layer passes on, from the constant part to the finest one.

With X [channels, *space] a convolution's output for one sample, F its discrete Fourier transform over space and f_j,
j = 0, ..., m, the frequencies on the diagonal from 0 to half a cycle a position in every dimension,

    amplitude[j] = mean over samples and channels of |F(f_j)|,     curve[j] = log(amplitude[j] / amplitude[0]).

After Park and Kim (ICLR 2022, arXiv 2202.06709), who take the mean of logarithms, which a channel of zeros does not
have. m is half of the least number of positions; along longer dimensions the nearest frequency below is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from refconv.analysis.batches import Batches, Passage, Progress, check_same, observing, run
from refconv.analysis.timing import timed
from refconv.errors import ModelError
from refconv.layers import find_layers
from refconv.measures.frequencies import FeatureSpectra, LayerAmplitudes

_LEAST = 4  # positions of a map in its shortest dimension that is longer than one


@timed()
def feature_spectra(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    max_samples: int | None = 256,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> FeatureSpectra:
    """Measure the amplitudes of the outputs of all convolutions of two models, by frequency.

    Targets do not matter. Layers that run several times count with all of their maps of the first shape.

    Example:
        >>> model, data = nn.Conv2d(1, 1, 1), [(torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.long))]
        >>> found = feature_spectra(model, model, data)
        >>> len(found.layers[0].after), found.layers[0].after[0]
        (5, 0.0)
    """
    passage = Passage(batches, max_samples, progress)
    with observing(before, after), torch.no_grad():
        kinds = {layer.label: layer.kind for layer in find_layers(before)}
        check_same(dict.fromkeys(kinds), dict.fromkeys(layer.label for layer in find_layers(after)), "convolutions")
        sides = [_Amplitudes(model) for model in (before, after)]
        for samples, _ in passage:
            for side in sides:
                side.add(samples)
    first, second = sides
    rows, left_out = [], {}
    for name, kind in kinds.items():
        if name not in first.shapes or name not in second.shapes:
            left_out[name] = "it does not run"
        elif first.shapes[name] != second.shapes[name] or not _frequencies(first.shapes[name]):
            left_out[name] = f"its map has fewer than {_LEAST} positions in a dimension"
        else:
            rows.append(LayerAmplitudes(name, kind, first.shapes[name], first.curve(name), second.curve(name)))
    return FeatureSpectra(passage.samples, passage.cut, tuple(rows), left_out)


class _Amplitudes:
    """The sums of amplitudes of one model's convolutions over batches."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers = {layer.label: layer.module for layer in find_layers(model)}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.sums: dict[str, Tensor] = {}

    def add(self, samples: Tensor) -> None:
        """Add a batch."""

        def take(name: str, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim < 3:
                return
            shape = tuple(output.shape[2:])
            if self.shapes.setdefault(name, shape) == shape and _frequencies(shape):
                found = _amplitudes(output)
                if not bool(torch.isfinite(found).all()):
                    raise ModelError("the features are not finite", where=name, remedy="check the model and its data")
                self.sums[name] = self.sums[name] + found if name in self.sums else found

        with ExitStack() as stack:
            for name, layer in self.layers.items():
                handle = layer.register_forward_hook(lambda _, __, output, name=name: take(name, output))
                stack.callback(handle.remove)
            run(self.model, samples)

    def curve(self, name: str) -> tuple[float | None, ...]:
        """Return the logarithms of a layer's amplitudes over that of the constant part."""
        constant, *others = self.sums[name].tolist()
        logs = [float(torch.tensor(value / constant, dtype=torch.float64).log()) if constant and value else None
                for value in others]  # fmt: skip
        return (0.0 if constant else None, *logs)


def _frequencies(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the places of frequencies on the diagonal of a transform over this shape; none for small maps."""
    sizes = [size for size in shape if size > 1]
    if not sizes or min(sizes) < _LEAST:
        return []
    most = min(sizes) // 2
    return [tuple(step * (size // 2) // most for size in shape) for step in range(most + 1)]


def _amplitudes(maps: Tensor) -> Tensor:
    """Return the mean amplitude over samples and channels, times the samples, of maps [n, channels, *space]."""
    spectra = torch.fft.fftn(maps.double(), dim=tuple(range(2, maps.ndim))).abs().mean(1).sum(0)
    return torch.stack([spectra[place] for place in _frequencies(maps.shape[2:])]).cpu()
