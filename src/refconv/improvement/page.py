"""The report of an improvement: the verdict first, then what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refconv.errors import printable
from refconv.improvement.record import ImproveRecord
from refconv.improvement.verdict import result_table, value
from refconv.models.run_folder import write_whole
from refconv.report.charts import Dots, Guide, Role, dot_chart
from refconv.report.elements import Figure, Table
from refconv.report.page import environment
from refconv.studies.estimate import clock
from refconv.task_measures import measures_of

_RULE = (
    "The network is replaced if the best candidate is better by two standard errors of the paired difference, or "
    "better at all with a loss lower by two. Within a standard error of the best one the loss decides, and within a "
    "standard error of the lowest loss simplicity."
)


@dataclass(frozen=True)
class _Page:
    """What is drawn: the verdict and lines below it, the result, the search, the candidates, and how it was made."""

    title: str
    headline: str
    lines: tuple[str, ...]
    result: Table
    notes: tuple[str, ...]
    search: Figure
    candidates: Table
    usage: str
    made: tuple[tuple[str, str], ...]
    rule: str


def write_page(record: ImproveRecord, path: Path) -> None:
    """Write the report as one HTML file."""
    kept = record.winner == record.candidates[0].name
    headline, _, rest = record.verdict.partition(". ")
    page = _Page(
        title=f"{record.model.rpartition(':')[2]}{'' if kept else ', improved'}",
        headline=f"{headline.removesuffix('.')}.",
        lines=tuple(filter(None, (rest, f"{record.model}; {record.preprocessing}"))),
        result=_result(record),
        notes=_notes(record),
        search=_search(record),
        candidates=_candidates(record),
        usage=_usage(record, path.parent),
        made=_made(record),
        rule=_RULE,
    )
    template = environment().get_template("refconv.improvement:page.html.j2")
    write_whole(path, printable(template.render(page=page), lines=True).encode())


def _result(record: ImproveRecord) -> Table:
    header, *rows = result_table(record)
    return Table("Result", header, tuple(rows))


def _notes(record: ImproveRecord) -> tuple[str, ...]:
    """Return what has to be known to read the table."""
    classifier = bool(record.tested.base.hits)
    method = (
        "Intervals of one model are Wilson's, those of differences Newcombe's for paired shares; p is McNemar's exact."
        if classifier
        else "Intervals are Student's over parts of the split; p is that of the paired t test over them."
    )
    chosen = "Everything was chosen on the validation split; trained networks met the test split once, at the end."
    if record.tested.split != "test":
        chosen = "The data has no test split: the result is told on the samples that chose it, which flatters it."
    return (f"{chosen} {method} They tell of other samples, not of other trainings.",)


def _search(record: ImproveRecord) -> Figure:
    about, base = measures_of(record.task).primary, record.plan.base
    rounds = range(1, len(record.plan.rounds) + 1)
    steps = {number: max(one.steps for one in record.tried if one.round == number) for number in rounds}
    names: dict[Role, str] = {number - 1: f"round {number}: {steps[number]:,} steps" for number in rounds}
    by_entry: dict[str, dict[Role, float | None]] = {}
    for one in record.tried:
        value = None if one.value is None else one.value * about.factor
        by_entry.setdefault(str(one.entry), {})[one.round - 1] = value
    rows = [Dots(name, values) for name, values in by_entry.items()]
    table = Table(
        f"{about.title} on the validation split",
        ("contender and learning rate", *names.values()),
        tuple((row.label, *(_number(about.scale.digits, row.values.get(role)) for role in names)) for row in rows),
    )
    title = f"{about.title} on {base.samples:,} validation samples"
    drawing = dot_chart(
        rows, names, title=title, x_label=about.title, guides=[Guide("x", base.value * about.factor, "as it was")]
    )
    sign = -1.0 if about.larger_is_better else 1.0
    known = (one for one in record.tried if one.value is not None)
    best = min(known, key=lambda one: (sign * (one.value or 0.0), one.loss or 0.0))
    words = f"{len(record.tried)} runs of {len(by_entry)} contenders and learning rates; the best is {best.entry}."
    return Figure(
        drawing,
        alt=f"A row for each contender and learning rate with its result in each round: {words}",
        caption=f"{title}, of the moving average of the weights over each run. "
        + ("The best of the first round started again and trained longer. " if len(record.plan.rounds) > 1 else "")
        + words,
        table=table,
    )


def _number(digits: int, value: float | None) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _candidates(record: ImproveRecord) -> Table:
    about = measures_of(record.task).primary
    rows = []
    for one in sorted(record.candidates, key=lambda c: -c.score.value if about.larger_is_better else c.score.value):
        loss = "" if one.score.loss is None else f"{one.score.loss:.4f}"
        rows.append((one.name, *value(one.score), loss, "chosen" if one.name == record.winner else ""))
    return Table(
        f"On the validation split; the result is marked ({len(rows)} candidates)",
        ("weights", about.title, "95 % interval", "loss", ""),
        tuple(rows),
    )


def _usage(record: ImproveRecord, out: Path) -> str:
    lines = [f"refconv eval {out}/model --data {record.plan.recipe['data']}"]
    lines.append(f"refconv predict {out}/model IMAGE")
    lines += [f"refconv predict {one.file} IMAGE" for one in record.exports]
    if ":" not in record.model:
        lines.append(f'timm.create_model("local-dir:{out}/model", pretrained=True)')
    return "\n".join(lines)


def _made(record: ImproveRecord) -> tuple[tuple[str, str], ...]:
    plan = record.plan
    left_out = "; ".join(f"{name}: {why}" for name, why in plan.excluded.items()) or "none"
    waiting = ", ".join(plan.waiting) or "none"
    waiting += f"; about {plan.enough} would try all" if plan.enough else ""
    failed = (
        "; ".join(f"{one.entry}: {one.message or 'diverged'}" for one in record.tried if one.value is None) or "none"
    )
    return (
        *((("said before training", "; ".join(plan.notes)),) if plan.notes else ()),
        ("certificate", str(record.certificate).splitlines()[0]),
        *((f"export to {one.format}", str(one)) for one in record.exports),
        ("budget", f"{plan.budget}, {plan.samples:,} samples; {record.samples_seen:,} were used"),
        ("training time", f"{clock(record.seconds)}, one run after the other"),
        ("ms of a step", ", ".join(f"{name} {value:.1f}" for name, value in plan.step_ms.items())),
        ("contenders left out", left_out),
        ("contenders that the budget did not suffice for", waiting),
        ("runs without result", failed),
        ("hardware", record.hardware),
        ("versions", ", ".join(f"{name} {value}" for name, value in record.versions.items())),
        ("command", record.command),
    )
