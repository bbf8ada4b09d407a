"""The forest plot: mean differences to the reference method with intervals, a row per architecture and method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refconv.studies.comparison import Comparison, Contrast
from refconv.studies.measures import MEASURES

_BETTER, _WORSE, _OPEN = "#1b7837", "#b2182b", "#4d4d4d"


def draw(comparison: Comparison, *paths: Path) -> None:
    """Draw the differences in the primary measure and, beside them, in the second one.

    Colour says what the interval says: excludes zero and better, excludes zero and worse. What includes zero and what
    has too few seeds for a verdict is grey, the latter with open marks.

    Args:
        comparison: the record, with at least one contrast.
        paths: where to write; the suffix says the format.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [name for name in comparison.measures if comparison.contrasts_in(name)][:2]
    rows = comparison.contrasts_in(shown[0])
    # The same record gives the same file, so that a plot under version control changes with its record only.
    with mpl.rc_context({"svg.hashsalt": "refconv", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(3.2 + 3.2 * len(shown), 1.1 + 0.28 * len(rows)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, shown, strict=True):
            _panel(panel, comparison, name)
        panels[0].set_yticks(range(len(rows)), [f"{row.architecture}: {row.method}" for row in rows])
        panels[0].invert_yaxis()
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, metadata=metadata, dpi=150)


def _panel(panel: Any, comparison: Comparison, name: str) -> None:
    measure, contrasts = MEASURES[name], comparison.contrasts_in(name)
    panel.axvline(0, color="black", linewidth=0.8)
    for height, contrast in enumerate(contrasts):
        interval, colour = contrast.interval, _colour(contrast)
        if interval.low is not None and interval.high is not None:
            bounds = [measure.factor * interval.low, measure.factor * interval.high]
            panel.plot(bounds, [height, height], color=colour, linewidth=1.6)
        fill = "full" if interval.enough else "none"
        panel.plot([measure.factor * interval.mean], [height], "o", color=colour, markersize=4, fillstyle=fill)
    direction = "larger is better" if measure.larger_is_better else "smaller is better"
    unit = measure.unit and f",{measure.unit}"
    panel.set_xlabel(f"{measure.title.split(',')[0]}: difference to {comparison.reference}{unit}\n({direction})")
    panel.grid(axis="x", linewidth=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _colour(contrast: Contrast) -> str:
    if not contrast.interval.side:
        return _OPEN
    better = (contrast.interval.side > 0) == MEASURES[contrast.measure].larger_is_better
    return _BETTER if better else _WORSE
