"""What the walk found, as a table for the terminal and as the page docs/coverage.md."""

from __future__ import annotations

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from architectures.ledger import versions
from architectures.names import Name
from pages import table

Records = Mapping[Name, Mapping[str, Any]]

# A relative difference that rounding explains; anything above counts as different.
_TOLERANCE = 1e-4

_SKIPPED_BLOCK = "stochastic depth skipped their blocks for the whole batch of two; without it all have a gradient"

# Why some names are not like the others. Glob on the name, then the reason.
_REASONS = {
    "timm:naflexvit_*": "its patches are embedded by a linear layer: there is no convolution in it",
    "timm:gemma4_vit_*": "its patches are embedded by a linear layer: there is no convolution in it",
    "timm:mvitv2_*_cls": "only the class token leaves the last block, and its query is not pooled: the convolution "
    "that pools the other queries there has no influence on the output",
    "torchvision:mvit_v2_*": "one pools the queries of the last block's patches, and only the class token leaves that "
    "block; the others are in blocks that stochastic depth skipped for the whole batch",
    "torchvision:ssd*": "a detection head learns only where one of its default boxes matches a target; the two "
    "boxes of the trial match none of the heads concerned",
    "timm:focalnet_*": _SKIPPED_BLOCK,
    "torchvision:convnext_*": _SKIPPED_BLOCK,
    "torchvision:efficientnet_*": _SKIPPED_BLOCK,
    "timm:efficientformerv2_*": _SKIPPED_BLOCK,
}

_INTRODUCTION = """# Coverage

Every model name that timm and torchvision list, counted. This page is generated from the records in
`benchmarks/coverage`, one line a model, by

    python benchmarks/coverage.py

with {versions}.

Every name is planned, on the meta device (shapes without values). Every model with a convolution kernel of more than
one tap and less than {limit:g} M parameters then goes through a real life, on a small input and with fresh weights:

1. built by its factory; parameters that start as a constant near zero (layer scales, last norms of a branch, skip
   gains) get random values, so that every kernel is felt at the output;
2. refocused: outputs must equal the plain model's bit for bit;
3. random refocus weights, then one training step of everything;
4. merged; loaded strictly into a fresh plain model of the same factory: same keys in the same order, shapes, dtypes,
   gradient flags and classes;
5. the fresh plain model's outputs in eval mode are compared with the refocused model's.
"""


def one_line(*records: Mapping[str, Any] | None) -> str:
    """Say in a few words what the records of one model hold."""
    words = []
    for record in records:
        if record is None:
            continue
        if "error" in record:
            words.append(record["error"])
        elif "identical" in record:
            words.append(f"{_verdict(record)} on {'x'.join(map(str, record['input']))}, {record['seconds']} s")
        else:
            skipped = ", ".join(f"{count} {reason}" for reason, count in record["skipped"].items())
            words.append(f"{record['refocused']} refocused" + (f", skipped: {skipped}" if skipped else ""))
    return "; ".join(words)


def per_model(names: Sequence[Name], structures: Records, trials: Records) -> str:
    """Return the table of models: kernels that are refocused, kernels that are not and why, equal or not."""
    width = max((len(str(name)) for name in names), default=0)
    return "\n".join(f"{name!s:<{width}}  {one_line(structures.get(name), trials.get(name))}" for name in names)


def write_page(path: Path, names: Sequence[Name], structures: Records, trials: Records, limit: float) -> None:
    """Write docs/coverage.md."""
    made_with = ", ".join(f"{name} {number}" for name, number in versions().items())
    parts = [
        _INTRODUCTION.format(limit=limit, versions=made_with),
        "## Counts\n",
        _counts(names, structures, trials, limit),
        "\n## Exceptions\n",
        _exceptions(structures, trials, limit),
        "\n## Kernels\n",
        _kernels(structures),
        "\n## Families\n",
        "A family is the module of the library that defines the architectures; the kernels are those with more than\n"
        "one tap, summed over its names. The whole list, name by name, is in the records, and\n"
        "`python benchmarks/coverage.py --only 'timm:resnet*'` prints any part of it.\n",
        _families(structures, trials),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _verdict(trial: Mapping[str, Any]) -> str:
    if "error" in trial:
        return "failed"
    if trial["identical"]:
        return "identical"
    return "close" if trial["difference"] <= _TOLERANCE else "different"


def _counts(names: Sequence[Name], structures: Records, trials: Records, limit: float) -> str:
    planned = [record for record in structures.values() if "error" not in record]
    convolutional = [record for record in planned if record["kernels"]]
    small = [record for record in convolutional if record["parameters"] < 1e6 * limit]
    done = [record for record in trials.values() if "error" not in record]
    verdicts = Counter(map(_verdict, trials.values()))
    rows = [
        ("names listed by the two libraries", len(names)),
        ("planned", len(planned)),
        ("without a convolution kernel of more than one tap", len(planned) - len(convolutional)),
        ("with such kernels", len(convolutional)),
        (f"of these with {limit:g} M parameters or more: planned only", len(convolutional) - len(small)),
        (f"of these with less than {limit:g} M parameters", len(small)),
        ("**really run**", f"**{len(trials)}**"),
        ("**merged outputs equal the refocused ones bit for bit**", f"**{verdicts['identical']}**"),
        (f"equal within a relative difference of {_TOLERANCE:g}, but not bit for bit", verdicts["close"]),
        ("different", verdicts["different"]),
        ("failed", verdicts["failed"]),
        ("outputs unchanged by refocusing, at the start, bit for bit", sum(record["same_start"] for record in done)),
        ("structure, keys and their order as from the factory", sum(record["same_structure"] for record in done)),
        ("outputs changed by random refocus weights and training", sum(record["felt"] for record in done)),
        (
            "every refocus weight had a gradient in the training step",
            sum(record["moved"] >= _transforms(record) for record in done),
        ),
        ("kernels refocused, trained and merged in all", f"{sum(record['refocused'] for record in done):,}"),
    ]
    return table(("", "number"), rows)


def _transforms(trial: Mapping[str, Any]) -> int:
    """Refocus weights of a trial: kernels that are shared have one together."""
    return int(trial["refocused"])


def _exceptions(structures: Records, trials: Records, limit: float) -> str:
    found: dict[tuple[str, str], list[Name]] = defaultdict(list)
    for name, record in structures.items():
        if "error" in record:
            found["cannot be planned", record["error"]].append(name)
        elif not record["kernels"]:
            found["no kernel of more than one tap", ""].append(name)
        elif record["parameters"] < 1e6 * limit and name not in trials:
            found["not run yet", ""].append(name)
    for name, record in trials.items():
        for what, detail in _oddities(record):
            found[what, detail].append(name)
    rows = [
        (", ".join(f"`{name}`" for name in some), what, reason or detail or "not explained yet")
        for (what, detail), names in found.items()
        for reason, some in _by_reason(names).items()
    ]
    return table(("names", "what", "why"), rows) if rows else "None."


def _oddities(trial: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if "error" in trial:
        yield "failed", trial["error"]
        return
    if not trial["identical"]:
        yield f"{_verdict(trial)}, relative difference {trial['difference']:.1g}", ""
    if trial["moved"] < _transforms(trial):
        yield f"{trial['moved']} of {_transforms(trial)} refocus weights had a gradient in the training step", ""
    if trial["zero_kernels"]:
        yield f"{trial['zero_kernels']} kernels start as zeros", "refused until weights are loaded"
    for key, what in (
        ("same_start", "outputs changed by refocusing alone"),
        ("same_structure", "another structure after merging"),
        ("felt", "outputs the same whatever the refocus weights are"),
    ):
        if not trial[key]:
            yield what, ""


def _by_reason(names: Sequence[Name]) -> dict[str, list[Name]]:
    groups: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        reasons = [text for pattern, text in _REASONS.items() if fnmatch.fnmatch(str(name), pattern)]
        groups[reasons[0] if reasons else ""].append(name)
    return groups


def _kernels(structures: Records) -> str:
    planned = [record for record in structures.values() if "error" not in record]
    kinds = _tally(record["kernels"] for record in planned)
    skipped = _tally(record["skipped"] for record in planned)
    note = (
        "\nPointwise kernels have one tap, so there is nothing to shift. Kernels on request were requested in the "
        "trials.\ntorchvision's `DeformConv2d` is in none of its models; tests cover it.\n"
    )
    return "\n".join(
        [
            table(("kind of kernel, more than one tap", "kernels", "in models"), kinds),
            "",
            table(("skipped by the default plan", "kernels", "in models"), skipped),
            note,
        ]
    )


def _tally(counts: Iterable[Mapping[str, int]]) -> list[tuple[str, str, int]]:
    kernels, models = Counter[str](), Counter[str]()
    for one in counts:
        kernels.update(one)
        models.update(one.keys())
    return [(word, f"{count:,}", models[word]) for word, count in kernels.most_common()]


def _families(structures: Records, trials: Records) -> str:
    groups: dict[tuple[str, str], list[Name]] = defaultdict(list)
    for name, record in structures.items():
        groups[name.library, record.get("family", "?")].append(name)
    return table(
        ("family", "names", "kernels", "run", "identical", "planned only", "other"),
        [
            _family_row(f"{library} {family}", names, structures, trials)
            for (library, family), names in sorted(groups.items())
        ],
    )


def _family_row(title: str, names: Sequence[Name], structures: Records, trials: Records) -> tuple[object, ...]:
    kinds = _tally(structures[name].get("kernels", {}) for name in names)
    verdicts = Counter(_verdict(trials[name]) if name in trials else "planned only" for name in names)
    others = [f"{verdicts[verdict]} {verdict}" for verdict in ("close", "different", "failed") if verdicts[verdict]]
    return (
        title,
        len(names),
        ", ".join(f"{count} {kind}" for kind, count, _ in kinds) or "none",
        sum(name in trials for name in names),
        verdicts["identical"],
        verdicts["planned only"],
        ", ".join(others),
    )
