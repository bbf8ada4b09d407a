"""A comparison in words and tables: the same words whatever came out."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.sentences import capital
from refconv.studies.comparison import CellResult, Comparison, Contrast
from refconv.studies.estimate import clock
from refconv.studies.measures import MEASURES, Measure
from refconv.studies.runs import label
from refconv.studies.statistics import FEWEST, Interval

Rows = list[tuple[str, ...]]


def results(comparison: Comparison) -> Rows:
    """Return the table of results, its titles first: one row per architecture and method."""
    measures = _measures(comparison)
    memory = any(cell.peak_memory_mb is not None for cell in comparison.cells)
    titles = ["architecture", "method", "chosen settings", *(measure.title for measure in measures)]
    titles += ["trained", "shipped", "step, ratio", *(["peak memory, MB"] if memory else [])]
    rows: Rows = [tuple(titles)]
    for cell in comparison.cells:
        row = [cell.architecture, cell.method, settings(cell)]
        row += [_mean(cell.intervals[measure.name], measure) for measure in measures]
        row += [f"{cell.parameters_trained:,}", f"{cell.parameters_shipped:,}", f"{cell.step_ratio:.2f}"]
        if memory:
            row.append("" if cell.peak_memory_mb is None else f"{cell.peak_memory_mb:,.0f}")
        rows.append(tuple(row))
    return rows


def differences(comparison: Comparison, name: str) -> Rows:
    """Return the table of paired differences in one measure, its titles first.

    Args:
        comparison: the record.
        name: the measure.
    """
    measure, contrasts = MEASURES[name], comparison.contrasts_in(name)
    power = measure.resolve is not None
    titles = [
        "architecture",
        f"method minus {comparison.reference}",
        f"difference in {_title(measure)}{measure.unit and ','}{measure.unit}",
    ]
    titles += ["95 % interval (t)", "95 % interval (bootstrap)", "p", "p (Holm)", "says"]
    rows: Rows = [(*titles, *([f"seeds to find {measure.limit()}"] if power else []))]
    for contrast in contrasts:
        row = [contrast.architecture, contrast.method, measure.shown(contrast.interval.mean, signed=True)]
        row += [_bounds(contrast.interval, measure), _bounds(contrast.bootstrap, measure)]
        row += [_p(contrast.p), _p(contrast.p_holm), verdict(contrast, comparison.reference)]
        rows.append((*row, *([f"{contrast.seeds_needed or '':}"] if power else [])))
    return rows


def verdict(contrast: Contrast, reference: str) -> str:
    """Say in words what a contrast shows.

    Args:
        contrast: the contrast.
        reference: the method it is a difference to.
    """
    interval = contrast.interval
    if not interval.enough:
        return f"no verdict: {_count(interval.values, 'seed')}, and it takes {FEWEST}"
    if interval.low is None:
        return "no verdict: all seeds have the same difference, which says nothing of chance"
    if not interval.side:
        return "the interval includes zero"
    better = (interval.side > 0) == MEASURES[contrast.measure].larger_is_better
    return f"the interval excludes zero: {'better' if better else 'worse'} than {reference}"


def sentences(comparison: Comparison) -> list[str]:
    """Say what each contrast in the primary measure shows, and how many seeds a finer answer needs."""
    if not comparison.measures:
        return []
    measure = MEASURES[comparison.measures[0]]
    lines = []
    for contrast in comparison.contrasts_in(measure.name):
        seeds = _count(len(contrast.differences), "seed")
        lines.append(
            f"{contrast.architecture}: {contrast.method} minus {comparison.reference} is "
            f"{measure.shown(contrast.interval.mean, signed=True)}{measure.unit} in {measure.title.split(',')[0]} "
            f"({', '.join(filter(None, (_bounds(contrast.interval, measure), seeds)))}); "
            f"{verdict(contrast, comparison.reference)}."
        )
        if power := _power(contrast, measure):
            lines[-1] += f" {power}"
    return lines


def _power(contrast: Contrast, measure: Measure) -> str:
    """Say how many seeds a finer answer needs; nothing where no difference is customary, or nothing is known."""
    seeds, step = len(contrast.differences), contrast.resolution
    if contrast.seeds_needed is not None:
        more = contrast.seeds_needed - seeds
        if more > 0:
            return f"To find {measure.limit()} needs {contrast.seeds_needed} seeds, {more} more."
        return f"The {seeds} seeds are enough to find {measure.limit()}."
    if measure.resolve is not None and step is not None and measure.resolve <= step and seeds > 1:
        return f"No number of seeds finds {measure.limit()}: one test sample is {_step(measure, step)}."
    return ""


def _step(measure: Measure, resolution: float) -> str:
    return f"{measure.factor * resolution:.2g}{measure.unit}"


def _resolutions(comparison: Comparison) -> list[str]:
    """Say what the test splits resolve, per measure for which that is known."""
    found: dict[tuple[str, int], float] = {}
    for cell in comparison.cells:
        for measure in _measures(comparison):
            resolution = measure.resolution(cell.test_samples)
            if resolution is not None and cell.test_samples is not None:
                found[measure.name, cell.test_samples] = resolution
    return [
        f"{capital(_title(MEASURES[name]))}: one of {samples:,} test samples is {_step(MEASURES[name], resolution)}; "
        "no interval reaches less far to either side."
        for (name, samples), resolution in found.items()
    ]


def notes(comparison: Comparison) -> list[str]:
    """Say under which conditions the numbers hold, and what is missing."""
    lines = [
        f"{cell.architecture}/{cell.method}: the chosen {' and '.join(cell.edges)} "
        f"{'stands' if len(cell.edges) == 1 else 'stand'} at the edge of the grid; "
        "a better value may lie beyond."
        for cell in comparison.cells
        if cell.edges
    ]
    lines += [f"{name} has no result: {why}." for name, why in comparison.missing.items()]
    for base in comparison.bases:
        ends = ", ".join(
            f"{_title(MEASURES[name])} {_mean_of(values, MEASURES[name])}" for name, values in base.validation.items()
        )
        seen = "given" if base.samples_seen is None else f"{base.samples_seen:,} training samples seen"
        lines.append(f"Base of {base.architecture}: {seen}" + (f"; on the validation split {ends}." if ends else "."))
    seen_by = {f"{cell.samples_seen:,}" for cell in comparison.cells}
    lines += [
        f"Final runs of each method see {' or '.join(sorted(seen_by))} training samples; seeds "
        f"{_some(comparison.seeds)}, the same base, order of the data and augmentation for every method of a seed.",
        _choosing(comparison),
        "The test split was read once per final run, and by no other run.",
        "Intervals are over seeds, on this data: 95 %, Student's t, beside a bootstrap (BCa, 10,000 resamples). "
        f"p is of the paired t test; Holm's method corrects it for the number of contrasts in one measure, "
        f"{_family(comparison)}. With fewer than {FEWEST} seeds there is no test and no verdict.",
        f"Step times: steps of each method taken in turn in one process, as a ratio to {comparison.reference}.",
        *_resolutions(comparison),
        *(
            f"{capital(_title(measure))}: {words}."
            for measure in _measures(comparison)
            if (words := comparison.definitions.get(measure.name, measure.note))
        ),
        f"Data: {'; '.join(comparison.data)}.",
        f"{comparison.runs} runs, {clock(comparison.seconds)} of training in all, on {'; '.join(comparison.hardware)}; "
        f"{', '.join(f'{name} {version}' for name, version in comparison.versions.items())}.",
    ]
    return lines


def markdown(comparison: Comparison, *, plot: str | None = None, level: int = 1) -> str:
    """Return the whole comparison as Markdown.

    Args:
        comparison: the record.
        plot: address of the forest plot, if there is one.
        level: of the heading.
    """
    head = "#" * level
    parts = [f"{head} {comparison.name}", comparison.description, table(results(comparison))]
    parts.append("\n".join(f"* {line}" for line in sentences(comparison)))
    for name in comparison.measures:
        if comparison.contrasts_in(name):
            parts += [f"{head}# Differences in {_title(MEASURES[name])}", table(differences(comparison, name))]
    if plot is not None:
        parts.append(f"![Differences to {comparison.reference} with 95 % intervals]({plot})")
    parts += [f"{head}# Conditions", "\n".join(f"* {line}" for line in notes(comparison))]
    parts.append(f"```sh\n{comparison.command}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: Rows) -> str:
    """Return rows, titles first, as a Markdown table."""
    lines = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def settings(cell: CellResult) -> str:
    """Return the chosen settings in words, flagged where one stands at the edge of its grid."""
    return label(cell.point) + (" (edge of the grid)" if cell.edges else "")


def _measures(comparison: Comparison) -> list[Measure]:
    return [MEASURES[name] for name in comparison.measures]


def _choosing(comparison: Comparison) -> str:
    if not any(cell.tried for cell in comparison.cells):
        return "There was nothing to choose: every method has one setting."
    given = any(base.samples_seen is None for base in comparison.bases)
    untouched = (
        "no continuation was trained on that split; whether the given weights were, is not known here."
        if given
        else "no run, base or continuation, was trained on that split."
    )
    return (
        f"Settings were chosen by {_title(MEASURES[comparison.select_by])} on the validation split, in the mean over "
        f"seeds {_some(comparison.selection_seeds)}; {untouched}"
    )


def _family(comparison: Comparison) -> int:
    return len(comparison.contrasts_in(comparison.measures[0])) if comparison.measures else 0


def _title(measure: Measure) -> str:
    return measure.title.split(",")[0]


def _mean(interval: Interval, measure: Measure) -> str:
    bounds = f" ({_bounds(interval, measure, signed=False)})" if interval.low is not None else ""
    return f"{measure.shown(interval.mean)}{bounds}"


def _mean_of(values: Sequence[float], measure: Measure) -> str:
    return measure.shown(sum(values) / len(values))


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


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
