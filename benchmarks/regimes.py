"""Where refocusing helps: studies side by side by what a network is trained on, in one figure and three sentences.

A regime is a kind of data beside that of the base. Within it stand the architectures of its studies, by the form of
their convolutions. Differences are refocusing, scaled as published, minus plain training at its best uniform rate.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from findings import WANTED, WANTED_ON, difference, reached
from refconv.records import parsed_toml
from refconv.studies import Comparison
from refconv.studies.comparison import MEASURES
from refconv.studies.pages import table
from refconv.studies.statistics import Interval

OUTSIDE = (
    "adaptation",
    "adaptation_by_accuracy",
    "adaptation_few",
    "adaptation_more",
    "adaptation_most",
    "adaptation_most_deeper",
    "adaptation_deeper",
    "corruptions",
    "corruptions_family",
    "corruptions_more",
    "new_classes",
    "new_classes_lite1",
    "new_classes_lite2",
    "retraining",
    "subspaces",
)
"""Studies of networks that were trained elsewhere; the others use small networks trained here."""

_REGIMES = {
    "small networks, the data of the base": ("main",),
    "networks from outside, few shifted images": ("adaptation", "adaptation_by_accuracy", "adaptation_few"),
    "networks from outside, 5,000 shifted images": ("adaptation_more", "adaptation_deeper"),
    "networks from outside, 50,000 shifted images": ("adaptation_most", "adaptation_most_deeper"),
    "networks from outside, 500 corrupted images": ("corruptions",),
    "networks from outside, 5,000 corrupted images": ("corruptions_more",),
    "networks from outside, few images of new classes": ("new_classes", "new_classes_lite1", "new_classes_lite2"),
}
_FURTHER = {"networks from outside, 500 corrupted images": ("corruptions_family",)}
"""Studies of a regime that ask a question of their own, and count where the goal does."""

_DECAYED = "l2-sp"
"""What pulls kernels to the pretrained ones as the decay of refocusing does, and trains them plainly."""

_FORMS = {
    **dict.fromkeys(("mobilenet", "convnext", "signal", "lite0", "lite1", "lite2"), "depthwise"),
    "resnext": "grouped",
    **dict.fromkeys(("resnet", "resnet20", "resnet32", "resnet44", "resnet56"), "dense"),
}
"""What the convolutions of each architecture are."""

_COLOURS = {"dense": "#1b6ca8", "grouped": "#b8860b", "depthwise": "#7a3b8f", "other": "#555555"}
_WIDEST = 2.0
"""Points that the figure shows; a larger difference stands at its edge, with its number."""

_MARKS = {"dense": "o", "grouped": "s", "depthwise": "^", "other": "D"}


@dataclass(frozen=True)
class Row:
    """A difference to plain training, and where it was found."""

    regime: str
    study: str
    architecture: str
    form: str
    interval: Interval


def rows(records: Sequence[Comparison], method: str = "refocus", other: str = "plain") -> list[Row]:
    """Return the differences in top-1 of a method and another one, by regime."""
    known = {record.name: record for record in records}
    found = []
    for regime, studies in _REGIMES.items():
        for record in (known[name] for name in studies if name in known):
            for architecture in dict.fromkeys(cell.architecture for cell in record.cells):
                interval = difference(record, architecture, method, other, "top1")
                if interval is not None:
                    found.append(Row(regime, record.name, architecture, _FORMS.get(architecture, "other"), interval))
    return found


def sentences(records: Sequence[Comparison]) -> str:
    """Return where it helps, where it harms, and what is left against rates tuned for kernels or set by layer."""
    found = rows(records)
    by_regime = {regime: [row.interval for row in found if row.regime == regime] for regime in _REGIMES}
    words = [
        f"* **At least {100 * WANTED:g} points better** than plain training at its best rate, with an interval that "
        f"excludes zero: {_listed(by_regime, reached)}.",
        f"* **Worse**, with an interval that excludes zero: {_listed(by_regime, lambda interval: interval.side < 0)}.",
    ]
    if any(row.study in OUTSIDE for row in found):
        rates = []
        for other, what in (("plain-rates", "two tuned rates"), ("lr_scaled", "one rate for each layer")):
            own = [row.interval for row in rows(records, other=other) if row.study in OUTSIDE]
            better, worse = (sum(interval.side == side for interval in own) for side in (1, -1))
            rates.append(f"against {what} it is better in {better} and worse in {worse} of {len(own)}")
        words += [f"* **What is left of it on networks from outside:** {', and '.join(rates)}.", _goal_outside(records)]
    return "\n".join(words)


def _goal_outside(records: Sequence[Comparison]) -> str:
    """Say on how many networks from outside one setting reached the goal at most, in every study of one regime.

    The settings are all that refocus; a network counts where every study of the regime that tried the setting on it has
    the gain.
    """
    known = {record.name: record for record in records}
    best: tuple[int, int, str, str] | None = None
    tried = 0
    for regime, studies in _REGIMES.items():
        own = [known[name] for name in (*studies, *_FURTHER.get(regime, ())) if name in known and name in OUTSIDE]
        for method in dict.fromkeys(name for record in own for name in refocusing(record)):
            gained: dict[str, bool] = {}
            for record in own:
                for architecture in dict.fromkeys(cell.architecture for cell in record.cells):
                    found = difference(record, architecture, method, "plain", "top1")
                    if found is not None:
                        gained[architecture] = gained.get(architecture, True) and reached(found)
            count = sum(gained.values())
            tried += bool(gained)
            if gained and (best is None or count > best[0]):
                best = (count, len(gained), regime, method)
    assert best is not None, "no study of a network from outside compares refocusing and plain training"
    count, networks, regime, method = best
    rivals = [row.interval for row in rows(records, method, _DECAYED) if row.regime == regime]
    better, worse = (sum(interval.side == side for interval in rivals) for side in (1, -1))
    beside = (
        f" Decay towards the base without refocusing (`{_DECAYED}`) is worse on {better} and better on {worse} of "
        f"{len(rivals)}, with intervals that exclude zero."
    )
    return (
        f"* **The goal on networks from outside**, such a gain by one setting of refocusing on {WANTED_ON} of six in "
        f"one regime, was {'reached' if count >= WANTED_ON else 'not reached'}: on {_data(regime)} `{method}` gave it "
        f"on {count} of the {networks} networks that were trained so, in every study with them: the most among {tried} "
        f"pairs of a regime and a setting.{beside if rivals else ''}"
    )


def refocusing(record: Comparison) -> list[str]:
    """Return the methods of a study that refocus, under whatever names, as its file says."""
    methods = parsed_toml(record.study).get("methods", {})
    return [name for name, given in methods.items() if given.get("method", name) == "refocus"]


def _listed(by_regime: Mapping[str, Sequence[Interval]], which: Callable[[Interval], bool]) -> str:
    """Name the data of the regimes in which something holds, with the number of comparisons of which it does."""
    counts = {regime: sum(map(which, own)) for regime, own in by_regime.items()}
    parts = [f"{_data(regime)} ({count} of {len(by_regime[regime])})" for regime, count in counts.items() if count]
    return ", ".join(parts) or "nowhere"


def _data(regime: str) -> str:
    return regime.partition(", ")[2]


def overview(records: Sequence[Comparison]) -> str:
    """Return the table of the regimes: from where to where the differences go, and how many exclude zero."""
    found, normalized = rows(records), rows(records, method="refocus-normalized")
    lines: list[tuple[str, ...]] = [
        ("refocusing minus plain training", "as published", "better", "worse", f"at least {100 * WANTED:g}",
         "at the speed of plain training")
    ]  # fmt: skip
    for regime in dict.fromkeys(row.regime for row in found):
        own, slowed = ([row.interval for row in some if row.regime == regime] for some in (found, normalized))
        better, worse = (sum(interval.side == side for interval in own) for side in (1, -1))
        counts = (f"{count} of {len(own)}" for count in (better, worse, sum(map(reached, own))))
        lines.append((regime, _span(own), *counts, _span(slowed) if slowed else ""))
    words = (
        "Points of top-1, from the lowest to the highest comparison, and the comparisons whose 95 % interval lies "
        "above zero, below it, and above it with a gain as large as was asked for. A comparison is one network of one "
        "study."
    )
    return f"{table(lines)}\n\n{words}"


def _span(own: Sequence[Interval]) -> str:
    ends = (MEASURES["top1"].shown(pick(value.mean for value in own), signed=True) for pick in (min, max))
    return " to ".join(dict.fromkeys(ends))


def draw(records: Sequence[Comparison], path: Path) -> None:
    """Draw the differences with their intervals, a band for each regime; nothing where no study of one is there."""
    found = rows(records)
    if not found:
        return
    factor = MEASURES["top1"].factor
    with mpl.rc_context({"svg.hashsalt": "refconv", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(
            figsize=(7.2, 1.0 + 0.3 * (len(found) + len({row.regime for row in found}))), layout="constrained"
        )
        FigureCanvasAgg(figure)
        panel = figure.subplots()
        panel.axvline(0, color="black", linewidth=0.8)
        ticks: list[tuple[int, str]] = []
        height, regime = 0, ""
        for row in found:
            if row.regime != regime:
                regime = row.regime
                panel.text(0.01, height, regime, transform=panel.get_yaxis_transform(), weight="bold", va="center")
                height += 1
            interval, colour = row.interval, _COLOURS[row.form]
            mean = factor * interval.mean
            if abs(mean) > _WIDEST:
                side = 1 if mean > 0 else -1
                place, beside = (side * _WIDEST, height), (-8 * side, 0)
                align = "right" if side > 0 else "left"
                panel.annotate(
                    f"{mean:+.2f}", place, beside, textcoords="offset points", ha=align, va="center", color=colour
                )
            elif interval.low is not None and interval.high is not None:
                panel.plot([factor * interval.low, factor * interval.high], [height, height], color=colour)
            fill, shape = "full" if interval.side else "none", _MARKS[row.form]
            panel.plot(
                [max(-_WIDEST, min(mean, _WIDEST))], [height], shape, color=colour, fillstyle=fill, clip_on=False
            )
            ticks.append((height, f"{row.architecture} ({row.form}), {row.study}"))
            height += 1
        panel.set_yticks(*zip(*ticks, strict=True))
        panel.invert_yaxis()
        panel.set_xlim(-_WIDEST, _WIDEST)
        panel.set_xlabel(
            "top-1 of refocusing minus plain training, points\n(95 % intervals over seeds; filled marks: zero excluded)"
        )
        panel.grid(axis="x", linewidth=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    path.write_bytes(content.getvalue())
