"""The findings of the project's studies, question by question, from their records.

Each question is answered by differences paired by seed. The page says which questions are open because their study
has not been run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import robustness
from differences import shown
from refconv.studies import Comparison
from refconv.studies.comparison import MEASURES
from refconv.studies.pages import table
from refconv.studies.statistics import Interval, t_interval

WANTED = 0.003
"""The gain in top-1 accuracy that was asked for."""

WANTED_ON = 4
"""On how many of the architectures of the main study."""

_GOAL_STUDIES = ("main", "tuned")
_PLAIN = "plain"
_AVERAGED = "-ema"


def difference(record: Comparison, architecture: str, method: str, other: str, measure: str) -> Interval | None:
    """Return a method minus another one, paired by seeds; None if either has no result there.

    Args:
        record: the study.
        architecture: where both were trained.
        method: the method.
        other: what is taken from it.
        measure: in what.
    """
    first, second = (record.cell(architecture, name) for name in (method, other))
    if first is None or second is None:
        return None
    pairs = zip(first.values[measure], second.values[measure], strict=True)
    return t_interval([a - b for a, b in pairs], MEASURES[measure].resolution(first.test_samples))


def reached(interval: Interval) -> bool:
    """Say whether a difference is as large as was asked for, and its interval excludes zero."""
    return interval.mean >= WANTED and interval.side > 0


def findings(records: Sequence[Comparison], robustness_rows: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the part of the page that answers the questions.

    Args:
        records: all studies that were run.
        robustness_rows: the lines of ``robustness.jsonl``.
    """
    known = {record.name: record for record in records}
    parts = [
        ("Is there a gain that is more than the extra training?", goal(known)),
        (
            "Do trained networks from outside gain, and from what?",
            _with(known, "adaptation", outside) + by_accuracy(known),
        ),
        ("Which directions of the filters should move?", _with(known, "subspaces", directions)),
        ("Which member of the family helps, and what does averaging add?", _with(known, "corruptions_family", family)),
        (
            "Does it help on other networks, and beside weight decay?",
            _with(known, "corruptions", corrupted) + of_more(known),
        ),
        ("How much of the published gain is extra training?", retraining(known)),
        ("What explains the differences?", _with(known, "contenders", explanation)),
        ("Does it matter how well the base was trained?", _with(known, "base_strength", base_strength)),
        ("Which settings matter?", _with(known, "ablations", settings)),
        ("And under corruptions, attacks and shifts?", robustness.section(robustness_rows)),
    ]
    return "\n\n".join(f"## {question}\n\n{answer}" for question, answer in parts)


def _with(known: Mapping[str, Comparison], name: str, answer: object) -> str:
    if name not in known:
        return f"Open: studies/{name}.toml has not been run yet."
    assert callable(answer)
    return str(answer(known[name]))


def goal(known: Mapping[str, Comparison]) -> str:
    """Say on how many architectures each form of refocusing gained what was asked for.

    Args:
        known: the studies by name.
    """
    rows: list[tuple[str, ...]] = [("study", "method minus plain", "at least 0.3 points, zero excluded", "range")]
    for name in _GOAL_STUDIES:
        if name not in known:
            rows.append((name, "not run yet", "", ""))
            continue
        for method in _methods(known[name]):
            found = _over_architectures(known[name], method)
            gains = sum(map(reached, found))
            span = [MEASURES["top1"].shown(value.mean, signed=True) for value in sorted(found, key=lambda i: i.mean)]
            rows.append((f"[{name}]({name}.md)", method, f"{gains} of {len(found)}", f"{span[0]} to {span[-1]} points"))
    rest = "" if _met(known) else f"\n\n{_default(known)}"
    return f"{verdict(known)}\n\n{table(rows)}{rest}"


def verdict(known: Mapping[str, Comparison]) -> str:
    """Say in one sentence what was asked for, and in another whether it was reached.

    Args:
        known: the studies by name.
    """
    return (
        f"**Verdict of the studies so far.** The goal was a gain of {100 * WANTED:g} points of top-1 accuracy over "
        "training the same network further plainly, at equal cost, with a 95 % interval that excludes zero, on "
        f"{WANTED_ON} of the five architectures of the main study, with settings chosen on validation data. "
        f"**This {'was reached' if _met(known) else 'was not reached'}.**"
    )


def _met(known: Mapping[str, Comparison]) -> bool:
    """Say whether any method of a study that searches for the gain has it on as many architectures as was asked."""
    return any(
        sum(map(reached, _over_architectures(known[name], method))) >= WANTED_ON
        for name in _GOAL_STUDIES
        if name in known
        for method in _methods(known[name])
    )


def _methods(record: Comparison) -> list[str]:
    return list(dict.fromkeys(cell.method for cell in record.cells if cell.method != _PLAIN))


def _default(known: Mapping[str, Comparison]) -> str:
    """Say what follows for the defaults where the goal was not reached."""
    parts = []
    for record in (known[name] for name in _GOAL_STUDIES if name in known):
        words = []
        for method in _methods(record):
            found = _over_architectures(record, method)
            worse = sum(value.side < 0 for value in found)
            better = sum(value.side > 0 for value in found)
            words.append(f"{method} is better than plain training on {better} and worse on {worse} of {len(found)}")
        parts.append(f"In the study {record.name} {'; '.join(words)}.")
    if not parts:
        return ""
    return f"{' '.join(parts)} {advice(known)}"


def advice(known: Mapping[str, Comparison]) -> str:
    """Say what follows for users where the goal was not reached; nothing where it was.

    Args:
        known: the studies by name.
    """
    if _met(known):
        return ""
    return (
        "No setting of refocusing is therefore recommended over plain training on the data of the base. To find out "
        "whether refocusing helps your own model, compare both with `refconv compare`, with `gram_scale = "
        "'normalized'` among the methods."
    )


def _over_architectures(record: Comparison, method: str) -> list[Interval]:
    architectures = dict.fromkeys(cell.architecture for cell in record.cells)
    found = (difference(record, name, method, _PLAIN, "top1") for name in architectures)
    return [interval for interval in found if interval is not None]


def explanation(record: Comparison) -> str:
    """Compare refocusing with the control that has nothing of it but the learning rate of each layer.

    Args:
        record: the study of the contenders.
    """
    pairs = [("refocus", _PLAIN), ("lr_scaled", _PLAIN), ("refocus", "lr_scaled"), ("refocus-normalized", _PLAIN)]
    rows = _rows(record, pairs)
    control = [difference(record, name, "refocus", "lr_scaled", "top1") for name in _architectures(record)]
    differing = sum(interval is not None and interval.side != 0 for interval in control)
    return (
        "If refocusing only changed how fast each layer learns, then `lr_scaled`, a plain network whose layers learn "
        "at the rate that the mean eigenvalue of their Gram gives, would do the same. Refocusing and this control "
        f"differ, with an interval that excludes zero, on {differing} of {len(control)} architectures.\n\n{table(rows)}"
    )


def by_accuracy(known: Mapping[str, Comparison]) -> str:
    """Say what changes where accuracy and not the loss chooses the settings; nothing where that was not run.

    Args:
        known: the studies by name.
    """
    name = "adaptation_by_accuracy"
    if name not in known:
        return ""
    found = _over_architectures(known[name], "refocus")
    span = [MEASURES["top1"].shown(value.mean, signed=True) for value in sorted(found, key=lambda value: value.mean)]
    return (
        "\n\nThere the loss of one run chose the settings. Where the accuracy of two chooses them "
        f"([{name}]({name}.md)), refocusing is {span[0]} to {span[-1]} points above plain training; the gain is that "
        f"large, and its interval excludes zero, on {sum(map(reached, found))} of {len(found)} networks."
    )


def outside(record: Comparison) -> str:
    """Compare refocusing on trained networks from outside with plain training, tuned rates and rates per layer.

    Args:
        record: the study of adaptation.
    """
    found = _over_architectures(record, "refocus")
    gains = sum(map(reached, found))
    others = ("plain-rates", "lr_scaled", "inverse")
    pairs = [*((name, _PLAIN) for name in ("refocus", *others)), *(("refocus", name) for name in others)]
    return (
        f"Adapted to few shifted images, refocusing gains at least {100 * WANTED:g} points over plain training at its "
        f"tuned uniform rate, with an interval that excludes zero, on {gains} of {len(found)} networks. `plain-rates` "
        "tunes the rate of the kernels apart from that of norms and classifier, `lr_scaled` moves the kernels of each "
        "layer at the mean speed of refocusing, and `inverse` moves them away from what the kernels of a layer "
        f"share.\n\n{table(_rows(record, pairs))}"
    )


def directions(record: Comparison) -> str:
    """Compare training along principal, minor and protected directions of the filters with plain training.

    Args:
        record: the study of subspaces.
    """
    pairs = [*((name, _PLAIN) for name in _methods(record)), ("principal", "minor"), ("filters", "null_space")]
    return (
        "`filters` is refocusing among the filters of a layer, which moves their principal directions most; "
        "`null_space` lets all but these move. `low_rank` trains two thin factors from zero, `principal` (PiSSA) from "
        "the largest and `minor` (MiLoRA) from the smallest singular components of the filters, with as many numbers."
        f"\n\n{table(_rows(record, pairs))}"
    )


def family(record: Comparison) -> str:
    """Compare the members of the family and their plain rivals with plain training, each with and without an average.

    Args:
        record: the study of the family on corrupted images.
    """
    methods = _methods(record)
    averaged = [(name, name.removesuffix(_AVERAGED)) for name in methods if name.endswith(_AVERAGED)]
    members = [(name, _PLAIN) for name in methods if not name.endswith(_AVERAGED)]
    rivals = [("refocus", "plain-rates"), ("refocus", "lr_scaled"), ("refocus", "l2-sp")]
    return (
        "`capped` and `normalized` move kernels no faster than, or as fast as, plain training; `half` takes the Gram's "
        "square root and `inverse` its inverse. `norm-head` leaves the kernels alone, `l2-sp` pulls them back to the "
        f"pretrained ones. A name that ends in `{_AVERAGED}` is tested with a moving average of the weights."
        f"\n\n{table(_rows(record, [*members, *averaged, *rivals, *_both_averaged(averaged)]))}"
    )


def corrupted(record: Comparison) -> str:
    """Compare the family's best member, and strong weight decay with and without it, with plain training.

    Args:
        record: the study of corrupted images on several networks.
    """
    members = [(name, _PLAIN) for name in _methods(record)]
    pairs = [*members, *(("inverse-decayed", other) for other in ("plain-decayed", "l2-sp", "inverse"))]
    gains = {name: sum(map(reached, found)) for name, _ in members if (found := _over_architectures(record, name))}
    words = ", ".join(f"`{name}` on {count}" for name, count in gains.items())
    return (
        "Four networks on the same corrupted images. `plain-decayed` and `inverse-decayed` choose strong weight decay, "
        "which pulls refocused kernels to the pretrained ones, plain kernels to zero, and norms and classifier too; "
        "`l2-sp` pulls plain kernels to the pretrained ones. "
        f"At least {100 * WANTED:g} points above plain training, with an interval that excludes zero: {words}, of "
        f"{len(_architectures(record))}.\n\n{table(_rows(record, pairs))}"
    )


def of_more(known: Mapping[str, Comparison]) -> str:
    """Say what is left with ten times as many corrupted images; nothing where that was not run.

    Args:
        known: the studies by name.
    """
    name, other = "corruptions_more", "inverse-decayed"
    if name not in known:
        return ""
    members = [(method, _PLAIN) for method in _methods(known[name])]
    pairs = [*members, *((other, rival) for rival in ("plain-decayed", "l2-sp"))]
    edges = [f"`{cell.method}`" for cell in known[name].cells if cell.edges]
    chosen = (
        f" At the edge of the grid, so that a better value may lie outside it: {', '.join(edges)}." if edges else ""
    )
    return f"\n\nWith ten times as many images ([{name}]({name}.md)).{chosen}\n\n{table(_rows(known[name], pairs))}"


def _both_averaged(averaged: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, f"{_PLAIN}{_AVERAGED}") for name, other in averaged if other != _PLAIN]


def retraining(known: Mapping[str, Comparison]) -> str:
    """Divide the change against the network before into extra training and what refocusing adds.

    Args:
        known: the studies by name, with that of the paper's protocol; and that of the same network at tuned rates.
    """
    if "retraining" not in known:
        return "Open: studies/retraining.toml has not been run yet."
    record, top1 = known["retraining"], MEASURES["top1"]
    rows: list[tuple[str, ...]] = [("architecture", "method", "minus the network before", "minus plain, test split")]
    for cell in record.cells:
        plain = record.cell(cell.architecture, _PLAIN)
        if cell.gain is None or plain is None or plain.gain is None:
            continue
        # Random refocus weights make another network at once: the one that was given is where plain training starts.
        changes = [end - start for end, start in zip(cell.gain.ends, plain.gain.starts, strict=True)]
        change = t_interval(changes, top1.resolution(cell.gain.samples))
        added = difference(record, cell.architecture, cell.method, _PLAIN, "top1") if cell.method != _PLAIN else None
        rows.append((cell.architecture, cell.method, shown(change, top1), shown(added, top1)))
    return (
        "The paper compares the retrained network with the network before. Plain training from the same rate, for as "
        "long, changes it too: what refocusing adds at this rate is the last column, in points of top-1 accuracy. The "
        "network before was measured on the validation split, as the test split is read once."
        f"\n\n{table(rows)}{_at_tuned_rates(known)}"
    )


def _at_tuned_rates(known: Mapping[str, Comparison]) -> str:
    """Say what both methods reach where their rates are tuned, on the same network and images."""
    tuned, record, top1 = known.get("adaptation_more"), known["retraining"], MEASURES["top1"]
    if tuned is None:
        return ""
    words = []
    for name in (_PLAIN, "refocus"):
        here, there = record.cell("resnet20", name), tuned.cell("resnet20", name)
        if here is None or there is None:
            return ""
        means = (top1.shown(one.intervals["top1"].mean) for one in (here, there))
        words.append(f"{name} has {' here and '.join(means)} there, at {there.point['lr']}")
    return (
        "\n\nThe rate is what makes the difference: with tuned rates and half as many samples "
        f"([adaptation_more](adaptation_more.md)) {', and '.join(words)}."
    )


def base_strength(record: Comparison) -> str:
    """Show the difference against how well the base was trained.

    Args:
        record: the study of base strength, an architecture per budget of the base.
    """
    methods = _methods(record)
    top1 = MEASURES["top1"]
    rows: list[tuple[str, ...]] = [
        (
            "base",
            "its training samples",
            "its top-1 on validation data, %",
            *(f"{name} minus plain" for name in methods),
        )
    ]
    for base in record.bases:
        values = base.validation.get("top1", ())
        reach = top1.shown(sum(values) / len(values)) if values else ""
        found = (difference(record, base.architecture, name, _PLAIN, "top1") for name in methods)
        rows.append(
            (base.architecture, f"{base.samples_seen or 0:,}", reach, *(shown(interval, top1) for interval in found))
        )
    return f"Differences in top-1 accuracy, in points, with 95 % intervals:\n\n{table(rows)}"


def settings(record: Comparison) -> str:
    """Show each setting of refocusing against refocusing as published.

    Args:
        record: the study of ablations.
    """
    methods = [name for name in _methods(record) if name != "refocus"]
    pairs = [("refocus", _PLAIN), *((name, "refocus") for name in methods if not name.startswith("adamw"))]
    pairs.append(("adamw-refocus", "adamw-plain"))
    found = [
        difference(record, name, method, other, measure)
        for name in _architectures(record)
        for method, other in pairs
        for measure in ("top1", "loss")
    ]
    clear = sum(interval is not None and interval.side != 0 for interval in found)
    total = sum(interval is not None for interval in found)
    return (
        f"Of {total} differences {clear} have a 95 % interval that excludes zero (bold); about {round(0.05 * total)} "
        f"would by chance alone if nothing mattered.{_repeated(record)}{_inherited(record)}\n\n"
        f"{table(_rows(record, pairs))}"
    )


def _repeated(record: Comparison) -> str:
    """Say how to read the row of refocusing in kernel space, if the study has it."""
    if "kernel-space" not in _methods(record):
        return ""
    return (
        " kernel-space and refocus are one method twice, apart by rounding, which training amplifies until it may tip "
        "the choice of a learning rate: their row shows how far chance alone carries."
    )


def _inherited(record: Comparison) -> str:
    """Say whether refocusing on other kernels than the inherited ones is worse."""
    found = [
        interval
        for method in ("shuffled", "random")
        for name in _architectures(record)
        if (interval := difference(record, name, method, "refocus", "top1")) is not None
    ]
    if not found:
        return ""
    worse = sum(interval.side < 0 for interval in found)
    better = sum(interval.side > 0 for interval in found)
    return (
        " Do the inherited kernels matter as a basis? On shuffled or random kernels of equal moments top-1 is lower "
        f"in {worse} and higher in {better} of {len(found)} comparisons, with intervals that exclude zero."
    )


def _rows(record: Comparison, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return a table of differences, an architecture in two columns: in accuracy and in loss."""
    measures = [MEASURES[name] for name in ("top1", "loss")]
    architectures = _architectures(record)
    header = [f"{name}, {measure.title.split(',')[0]}{measure.unit}" for name in architectures for measure in measures]
    rows: list[tuple[str, ...]] = [("difference", *header)]
    for method, other in pairs:
        found = [
            (difference(record, name, method, other, measure.name), measure)
            for name in architectures
            for measure in measures
        ]
        if any(interval is not None for interval, _ in found):
            rows.append((f"{method} minus {other}", *(shown(interval, measure) for interval, measure in found)))
    return rows


def _architectures(record: Comparison) -> list[str]:
    return list(dict.fromkeys(cell.architecture for cell in record.cells))
