"""A comparison in words, tables and a plot: the same words whatever came out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from refconv.errors import printable
from refconv.models.run_folder import AGAIN, write_whole
from refconv.sentences import capital
from refconv.studies.comparison import MEASURES, Comparison, Contrast
from refconv.studies.estimate import clock
from refconv.studies.runs import label
from refconv.studies.statistics import FEWEST, Interval, t_interval
from refconv.task_measures import Measure

Rows = list[tuple[str, ...]]  # a table, its titles first
GAINS = (
    "Measured on a few of the samples that choose settings, before the first step and after the last; intervals over "
    "seeds. The test split is read once, so it does not say this."
)
_BETTER, _WORSE, _OPEN = "#1b7837", "#b2182b", "#4d4d4d"


def results(comparison: Comparison) -> Rows:
    """Return the table of results: one row per architecture and method."""
    measures = [MEASURES[name] for name in comparison.measures]
    memory = any(cell.peak_memory_mb is not None for cell in comparison.cells)
    titles = ("architecture", "method", "chosen settings", *(measure.title for measure in measures))
    rows: Rows = [(*titles, "trained", "shipped", "step, ratio", *(["peak memory, MB"] if memory else []))]
    for cell in comparison.cells:
        chosen = label(cell.point) + (" (edge of the grid)" if cell.edges else "")
        row = [cell.architecture, cell.method, chosen, *(_mean(cell.intervals[m.name], m) for m in measures)]
        row += [f"{cell.parameters_trained:,}", f"{cell.parameters_shipped:,}", f"{cell.step_ratio:.2f}"]
        if memory:
            row.append("" if cell.peak_memory_mb is None else f"{cell.peak_memory_mb:,.0f}")
        rows.append(tuple(row))
    return rows


def differences(comparison: Comparison, name: str) -> Rows:
    """Return the table of paired differences in one measure."""
    measure = MEASURES[name]
    power = measure.resolve is not None
    titles = ["architecture", f"method minus {comparison.reference}"]
    titles += [f"difference in {measure.label}{measure.unit and ','}{measure.unit}"]
    titles += ["95 % interval (t)", "95 % interval (bootstrap)", "p", "p (Holm)", "verdict"]
    rows: Rows = [(*titles, *([f"seeds to detect {measure.limit()}"] if power else []))]
    for contrast in comparison.contrasts_in(name):
        row = [contrast.architecture, contrast.method, measure.shown(contrast.interval.mean, signed=True)]
        row += [_bounds(contrast.interval, measure), _bounds(contrast.bootstrap, measure)]
        row += [_p(contrast.p), _p(contrast.p_holm), verdict(contrast, comparison.reference)]
        rows.append((*row, *([f"{contrast.seeds_needed or '':}"] if power else [])))
    return rows


def gains(comparison: Comparison) -> Rows:
    """Return the table of what training made of the network that it started from; titles alone where nothing says it.

    A gain is extra training and method together: the difference of two methods' gains is what a method adds.
    """
    rows: Rows = [("architecture", "method", "measure", "before", "after", "after minus before", "samples")]
    for cell in comparison.cells:
        if (gain := cell.gain) is not None:
            measure = MEASURES[gain.measure]
            interval = t_interval(gain.differences, measure.resolution(gain.samples))
            before, after = (measure.shown(fmean(values)) for values in (gain.starts, gain.ends))
            change = " ".join(filter(None, (measure.shown(interval.mean, signed=True), _bracketed(interval, measure))))
            row = cell.architecture, cell.method, measure.title, before, after, change, f"{gain.samples:,} {gain.split}"
            rows.append(row)
    return rows


def _bracketed(interval: Interval, measure: Measure) -> str:
    bounds = _bounds(interval, measure)
    return bounds and f"({bounds})"


def _better(contrast: Contrast) -> bool | None:
    """Return whether the interval says better or worse; None if it says neither."""
    side = contrast.interval.side
    return (side > 0) == MEASURES[contrast.measure].larger_is_better if side else None


def verdict(contrast: Contrast, reference: str) -> str:
    """Say in words what a contrast with the reference method shows."""
    interval, better = contrast.interval, _better(contrast)
    if not interval.enough:
        return f"no verdict: {_seeds(interval.values)}, at least {FEWEST} are needed"
    if interval.low is None:
        return "no verdict: the difference is the same for all seeds, so its variance cannot be estimated"
    if better is None:
        return "the interval includes zero"
    return f"the interval excludes zero: {'better' if better else 'worse'} than {reference}"


def sentences(comparison: Comparison) -> list[str]:
    """Say what each contrast in the primary measure shows, and how many seeds a finer answer needs."""
    lines = []
    for contrast in _primary(comparison):
        measure, mean = MEASURES[contrast.measure], contrast.interval.mean
        evidence = ", ".join(filter(None, (_bounds(contrast.interval, measure), _seeds(len(contrast.differences)))))
        line = (
            f"{contrast.architecture}: {contrast.method} minus {comparison.reference} is "
            f"{measure.shown(mean, signed=True)}{measure.unit} in {measure.label} ({evidence}); "
            f"{verdict(contrast, comparison.reference)}. {_power(contrast, measure)}"
        )
        lines.append(line.rstrip())
    return lines


def _power(contrast: Contrast, measure: Measure) -> str:
    """Say how many seeds a finer answer needs; nothing where no difference is customary, or nothing is known."""
    seeds, step = len(contrast.differences), contrast.resolution
    if contrast.seeds_needed is not None:
        more = contrast.seeds_needed - seeds
        if more > 0:
            return f"Detecting {measure.limit()} needs {contrast.seeds_needed} seeds, {more} more."
        return f"The {seeds} seeds are enough to detect {measure.limit()}."
    if measure.resolve is not None and step is not None and measure.resolve <= step and seeds > 1:
        return f"No number of seeds can detect {measure.limit()}: one test sample is {_step(measure, step)}."
    return ""


def _step(measure: Measure, resolution: float) -> str:
    return f"{measure.factor * resolution:.2g}{measure.unit}"


def notes(comparison: Comparison) -> list[str]:
    """Say under which conditions the numbers hold, and what is missing."""
    lines = [
        f"{cell.architecture}/{cell.method}: the chosen {' and '.join(cell.edges)} "
        f"{'is' if len(cell.edges) == 1 else 'are'} at the edge of the grid; a better value may lie outside it."
        for cell in comparison.cells
        if cell.edges
    ]
    lines += [f"{name} has no result: {why}." for name, why in comparison.missing.items()]
    for base in comparison.bases:
        means = {MEASURES[name]: sum(values) / len(values) for name, values in base.validation.items()}
        ends = ", ".join(f"{measure.label} {measure.shown(mean)}" for measure, mean in means.items())
        seen = "given" if base.samples_seen is None else f"{base.samples_seen:,} training samples seen"
        lines.append(f"Base of {base.architecture}: {seen}" + (f"; on the validation split {ends}." if ends else "."))
    seen_by = sorted({f"{cell.samples_seen:,}" for cell in comparison.cells})
    definitions = {name: comparison.definitions.get(name, MEASURES[name].note) for name in comparison.measures}
    splits = dict.fromkeys((MEASURES[m], cell.test_samples) for cell in comparison.cells for m in comparison.measures)
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    return [
        *lines,
        f"Each final run sees {' or '.join(seen_by)} training samples. The seeds are {_some(comparison.seeds)}; all "
        "methods share the base, the data order and the augmentation of a seed.",
        _choosing(comparison),
        "The test split was read once per final run, and by no other run.",
        "Intervals are 95 % intervals over seeds, on this data: Student's t, and bootstrap (BCa, 10,000 resamples). "
        "p is that of the paired t test; Holm's method corrects it for the number of contrasts in one measure, "
        f"{len(_primary(comparison))}. With fewer than {FEWEST} seeds there is no test and no verdict.",
        f"Step times are ratios to {comparison.reference}; the steps of all methods alternate in one process.",
        *(
            f"{capital(measure.label)}: one of {samples:,} test samples is {_step(measure, resolution)}, "
            "and every interval extends at least that far to either side."
            for measure, samples in splits
            if (resolution := measure.resolution(samples)) is not None
        ),
        *(f"{capital(MEASURES[name].label)}: {words}." for name, words in definitions.items() if words),
        f"Data: {'; '.join(comparison.data)}.",
        f"{comparison.runs} runs, {clock(comparison.seconds)} of training in all, on {'; '.join(comparison.hardware)}; "
        f"{versions}.",
    ]


def markdown(comparison: Comparison, *, plot: str | None = None, level: int = 1) -> str:
    """Return the whole comparison as Markdown, with the address of the forest plot and the level of its heading."""
    head = "#" * level
    parts = [f"{head} {printable(comparison.name)}", comparison.description, table(results(comparison))]
    parts.append("\n".join(f"* {line}" for line in sentences(comparison)))
    for name in comparison.measures:
        if comparison.contrasts_in(name):
            parts += [f"{head}# Differences in {MEASURES[name].label}", table(differences(comparison, name))]
    if len(rows := gains(comparison)) > 1:
        parts += [f"{head}# Against the network before training", table(rows), GAINS]
    if plot is not None:
        parts.append(f"![Differences to {comparison.reference} with 95 % intervals]({plot})")
    parts += [f"{head}# Conditions", "\n".join(f"* {line}" for line in notes(comparison))]
    parts.append(f"```sh\n{comparison.command}\n```")
    return printable("\n\n".join(part for part in parts if part), lines=True) + "\n"


def table(rows: Rows) -> str:
    """Return a table in Markdown."""
    lines = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(map(printable, line)) + " |" for line in lines)


def _choosing(comparison: Comparison) -> str:
    if not any(cell.tried for cell in comparison.cells):
        return "No settings were chosen: each method has a single combination."
    untouched = "no run, base or continuation, was trained on that split."
    if any(base.samples_seen is None for base in comparison.bases):
        untouched = "no continuation was trained on that split; whether the given weights were is unknown."
    return (
        f"Settings were chosen by {MEASURES[comparison.select_by].label} on the validation split, in the mean over "
        f"seeds {_some(comparison.selection_seeds)}; {untouched}"
    )


def _primary(comparison: Comparison) -> tuple[Contrast, ...]:
    return comparison.contrasts_in(comparison.measures[0]) if comparison.measures else ()


def _mean(interval: Interval, measure: Measure) -> str:
    bounds = _bounds(interval, measure, signed=False)
    return measure.shown(interval.mean) + (f" ({bounds})" if bounds else "")


def _bounds(interval: Interval, measure: Measure, *, signed: bool = True) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"{measure.shown(interval.low, signed=signed)} to {measure.shown(interval.high, signed=signed)}"


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _some(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _seeds(number: int) -> str:
    return f"{number} seed" if number == 1 else f"{number} seeds"


def draw(comparison: Comparison, *paths: Path) -> None:
    """Draw a forest plot: the differences in the primary measure and, beside them, in the second one.

    Green and red are intervals that exclude zero, better and worse; grey is what includes zero and what has too few
    seeds for a verdict, the latter with open marks. Without contrasts nothing is drawn.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [name for name in comparison.measures if comparison.contrasts_in(name)][:2]
    if not shown:
        return
    rows = comparison.contrasts_in(shown[0])
    # The same record gives the same file, so that a plot under version control changes with its record only.
    with mpl.rc_context({"svg.hashsalt": "refconv", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(3.2 + 3.2 * len(shown), 1.1 + 0.28 * len(rows)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, shown, strict=True):
            _panel(panel, comparison, name)
        panels[0].set_yticks(range(len(rows)), [printable(f"{row.architecture}: {row.method}") for row in rows])
        panels[0].invert_yaxis()
        for path in paths:
            content = io.BytesIO()
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(content, format=path.suffix[1:], metadata=metadata, dpi=150)
            write_whole(path, content.getvalue(), then=AGAIN)


def _panel(panel: Any, comparison: Comparison, name: str) -> None:
    measure = MEASURES[name]
    panel.axvline(0, color="black", linewidth=0.8)
    for height, contrast in enumerate(comparison.contrasts_in(name)):
        interval, colour = contrast.interval, {True: _BETTER, False: _WORSE, None: _OPEN}[_better(contrast)]
        if interval.low is not None and interval.high is not None:
            bounds = [measure.factor * interval.low, measure.factor * interval.high]
            panel.plot(bounds, [height, height], color=colour, linewidth=1.6)
        fill = "full" if interval.enough else "none"
        panel.plot([measure.factor * interval.mean], [height], "o", color=colour, markersize=4, fillstyle=fill)
    direction = "larger is better" if measure.larger_is_better else "smaller is better"
    unit = measure.unit and f",{measure.unit}"
    panel.set_xlabel(f"{measure.label}: difference to {comparison.reference}{unit}\n({direction})")
    panel.grid(axis="x", linewidth=0.3)
    panel.spines[["top", "right"]].set_visible(False)
