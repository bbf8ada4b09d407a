"""Numbers per layer, gathered from pairs that need not hold the same layers."""

from types import SimpleNamespace as Namespace

import pytest

from refconv.measures.layers import Quantity, contrast_of, contrast_said, course_of, course_said, means, values
from refconv.measures.pairs import Measured, ModelPair
from refconv.report.sections.figures import layer_figure, pictured_note, spread

SIZE = Quantity("size", "size", "m")


def items(**layers):
    """Pairs by name, with rows layer -> (before, after)."""
    pairs = []
    for name, of in layers.items():
        rows = [
            Namespace(
                layer=layer, kind="dense", before=Namespace(size=a), after=None if b is None else Namespace(size=b)
            )
            for layer, (a, b) in of.items()
        ]
        pairs.append(
            Measured(len(pairs), ModelPair(name, {"before": {}, "after": {"method": name}}), Namespace(layers=rows))
        )
    return pairs


@pytest.fixture
def two():
    return items(plain={"a": (1.0, 2.0), "b": (2.0, 2.0)}, refocus={"b": (2.0, 5.0), "c": (4.0, None)})


def test_values_join_layers_and_keep_roles_apart(two):
    assert values(two, SIZE) == {
        "a": {"before": 1.0, 0: 2.0},
        "b": {"before": 2.0, 0: 2.0, 1: 5.0},
        "c": {"before": 4.0, 1: None},
    }
    assert means(two, SIZE) == {"before": 7 / 3, "plain": 2.0, "refocus": 5.0}


def test_course_is_of_one_pair_and_contrast_of_the_layers_in_common(two):
    plain, refocus = two
    assert (course_of(plain, SIZE).risen, course_of(plain, SIZE).level) == (1, 1)
    between = contrast_of(refocus, plain, SIZE)
    assert (between.before, between.after, between.layers) == (2.0, 5.0, 1)


def test_figure_holds_every_layer_in_its_table(two):
    figure = layer_figure(two, SIZE, "c", more={"twice": lambda layer: 2 * layer})
    assert figure.table.header == ("layer", "before", "plain", "refocus", "kind", "twice")
    assert figure.table.rows == (
        ("a", "1", "2", "–", "dense", "aa"),
        ("b", "2", "2", "5", "dense", "bb"),
        ("c", "4", "–", "–", "dense", "cc"),
    )
    assert (figure.choice, figure.option) == ("measure", "Size")
    assert figure.alt == "Size of 3 layers, a dot per model. Mean: before 2.33, plain 2, refocus 5 m."


@pytest.mark.parametrize(
    ("after", "text", "change"),
    [
        (2.0, "The size rises from 1 to 2 m (up in the only layer, too few layers to tell a direction).", "unclear"),
        (1.0, "The size stays at 1 m (the same in the only layer).", "same"),
        (None, "The size is defined in no layer of both models.", "unclear"),
    ],
)
def test_one_layer_has_no_mean(after, text, change):
    (item,) = items(plain={"a": (1.0, after)})
    assert course_said(item, SIZE, "up")[:2] == (text, change)


def test_findings_name_the_better_one_and_its_distance():
    layers = dict.fromkeys("abcdef", (1.0, 2.0))
    plain, refocus = items(plain=layers, refocus=dict.fromkeys("abcdef", (1.0, 3.0)))
    assert course_said(plain, SIZE, "up")[0] == "The mean size rises from 1 to 2 m (up in 6 of 6 layers, p = 0.031)."
    text, change, _ = contrast_said(refocus, plain, SIZE, "down")
    assert text == (
        "Where refocus ends, the mean size is 3 m, higher than the 2 m of plain (higher in 6 of 6 layers, p = 0.031)."
    )
    assert change == "worse"


def test_contrast_without_common_layers_is_unclear():
    plain, refocus = items(plain={"a": (1.0, 2.0)}, refocus={"b": (1.0, 2.0)})
    said = contrast_said(refocus, plain, SIZE)
    assert said[:2] == ("Where refocus ends, the size cannot be compared with plain.", "unclear")


def test_spread_keeps_both_ends_and_never_repeats():
    found = spread(list(range(101)), 16)
    assert (len(set(found)), found[0], found[-1]) == (16, 0, 100)
    assert pictured_note(16, "matrix") == ""
