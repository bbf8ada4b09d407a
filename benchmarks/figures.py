"""The plots of docs/performance.md, as small SVG files that come out the same for the same records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

import transform
from four_methods import GRADIENT, KERNEL, METHODS, PLAIN, RELEASED
from goals import default_steps
from ratios import ratio

DRAWN_ALIKE = {"svg.hashsalt": "refconv", "svg.fonttype": "none", "font.size": 9}
COLOURS = {RELEASED: "#b9722c", KERNEL: "#4a7fb5", GRADIENT: "#3a8f5b"}
STYLES = {3: "-", 5: "--", 7: ":"}

Row = dict[str, Any]


def plot_steps(rows: Sequence[Row], path: Path) -> None:
    """Draw the time of a step over that of a plain one, with quartiles, by model."""
    chosen = default_steps(rows, 16)
    figure = Figure(figsize=(7, 0.5 * len(chosen) + 1))
    axes = figure.subplots()
    methods = [method for method in METHODS if method != PLAIN]
    for number, method in enumerate(methods):
        places = [index + 0.25 * (number - 1) for index in range(len(chosen))]
        found = [ratio(row, method) for row in chosen]
        middles = [middle for _, middle, _ in found]
        spread = [[middle - low for low, middle, _ in found], [high - middle for _, middle, high in found]]
        axes.barh(places, [m - 1 for m in middles], 0.22, left=1, xerr=spread, label=method, color=COLOURS[method])
    axes.set_yticks(range(len(chosen)), [row["model"] for row in chosen])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time of a training step, plain fine-tuning = 1")
    axes.legend(frameon=False)
    save(figure, path)


def plot_growth(rows: Sequence[Row], path: Path) -> None:
    """Draw the cost of a depthwise layer over its channels, by method and kernel size."""
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for method, colour in COLOURS.items():
        for side in transform.KERNELS:
            points = [
                (row["site"][0], 1e3 * row["seconds"][method])
                for row in rows
                if row["site"][0] == row["site"][1] and row["site"][2] == side
            ]
            axes.loglog(*zip(*points, strict=True), STYLES[side], color=colour, label=f"{method}, {side} x {side}")
    axes.set_xlabel("channels of a depthwise layer")
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False, fontsize=7, ncols=3)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure without a date, so that the same records give the same file."""
    with mpl.rc_context(DRAWN_ALIKE):
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})
