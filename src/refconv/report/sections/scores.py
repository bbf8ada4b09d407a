"""How well the models do a task other than classification."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.numbers import count, percent
from refconv.measures.pairs import Measured, models, role_names
from refconv.measures.scores import Scores
from refconv.measures.verdicts.scores import VERDICT, Words, value_of, words_of
from refconv.report.charts import Dots, dot_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.spec import Spec
from refconv.sentences import capital


def _figures(items: Sequence[Measured]) -> Sequence[Figure]:
    words = words_of(items[0])
    return (*([_figure(words, items)] if items[0].after.classes else []), *_all_measures(words, items))


def _figure(words: Words, items: Sequence[Measured]) -> Figure:
    found = models(items)
    names = list(items[0].after.classes)

    def shown(record: Scores, name: str) -> float | None:
        value = record.classes.get(name)
        return None if value is None else 100 * value

    rows = [Dots(name, {role: shown(record, name) for role, _, record in found}) for name in names]
    title = f"{capital(words.of_classes)} of each class"
    means = ", ".join(f"{name} {words.shown(words.first, value_of(words, record))}" for _, name, record in found)
    cells = tuple((name, *(percent(record.classes.get(name), 2) for _, _, record in found)) for name in names)
    return Figure(
        dot_chart(rows, role_names(items), title=title, x_label=f"{words.of_classes}, %"),
        alt=f"The {words.of_classes} of {count(len(names), 'class', 'classes')}; mean over classes: {means}.",
        caption=f"The {words.of_classes} of each class, a dot per model.",
        table=Table(title, ("class", *(name for _, name, _ in found)), cells),
    )


def _all_measures(words: Words, items: Sequence[Measured]) -> tuple[Figure, ...]:
    """Return all measures that every model has, as dots where they are shares of one scale; the table has them all."""
    found = models(items)
    names = [name for name in words.titles if any(name in record.measures for _, _, record in found)]
    shares = [name for name in names if name not in words.plain]
    drawn = shares or [words.first]
    factor, unit = (100, "%") if shares else (1, "dB")
    rows = [
        Dots(
            words.titles[name],
            {role: factor * record.measures[name] for role, _, record in found if name in record.measures},
        )
        for name in drawn
    ]
    cells = tuple(
        (words.titles[name], *(words.shown(name, record.measures.get(name)) for _, _, record in found))
        for name in names
    )
    ends = ", ".join(f"{name} {words.shown(words.first, value_of(words, record))}" for _, name, record in found)
    return (
        Figure(
            dot_chart(rows, role_names(items), title="The measures of the task", x_label=unit),
            alt=f"{capital(words.titles[words.first])} and what else was measured: {ends}.",
            caption="What the task is judged by, a dot per model.",
            table=Table("The measures of the task", ("measure", *(name for _, name, _ in found)), cells),
        ),
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    record = items[0].after
    taken = f"Measured on {count(record.samples, 'sample')}"
    return (
        f"{taken} drawn from more." if record.cut else f"{taken}, the whole split.",
        "There is no interval: the records hold one number for each model, and one model is one seed. Several seeds "
        "side by side, by refconv compare, tell a difference from chance.",
    )


section = Spec(
    VERDICT,
    title="Task measures",
    about="The measures that the task is judged by, of all models on the same samples. The trivial result beside "
    "them is what a model must beat.",
    figures=_figures,
    notes=_notes,
)
