"""Rows of dots."""

from itertools import pairwise

import pytest

from refconv.report.charts import Dots, Guide, dot_chart

NAMES = {"before": "before", 0: "plain"}


def chart(rows, **more):
    return dot_chart(rows, NAMES, title="t", x_label="x", **more)


def rows(count, name="layers.{}.conv"):
    return [Dots(name.format(i), {"before": float(i), 0: i + 1.0}) for i in range(count)]


def span(drawn):
    return [path.split("L") for path in drawn.all("c-span")[0].get("d").strip("M").split("M")]


def test_a_line_joins_least_and_largest_of_a_row(read):
    drawn = read(chart([Dots("a", {"before": 4, 0: 1}), Dots("b", {"before": 2, 0: None})]))
    ((low, high),) = span(drawn)
    assert float(low.split()[0]) < float(high.split()[0])
    assert low.split()[1] == high.split()[1]


def test_a_logarithmic_row_has_equal_factors_equally_far(read):
    drawn = read(chart([Dots("a", {"before": 1, 0: 10}), Dots("b", {"before": 10, 0: 100})], log=True))
    lengths = [float(high.split()[0]) - float(low.split()[0]) for low, high in span(drawn)]
    assert lengths[0] == pytest.approx(lengths[1], abs=0.2)


def test_rows_say_their_full_names_and_values(read):
    name = "a.very.long.name.of.a.layer.in.a.deep.network.{}"
    drawn = read(chart(rows(20, name)))
    assert " ".join(drawn.tips()[3].split()) == f"{name.format(3)} before 3 plain 4"
    assert all(len(label) <= 27 for label in drawn.texts("c-name"))
    assert len(set(drawn.texts("c-name"))) == 20


def test_names_of_few_rows_stand_above_if_they_are_long(read):
    drawn = read(chart(rows(3, "features.denseblock3.denselayer{}.conv2")))
    assert drawn.texts("c-name")[1] == "features.denseblock3.denselayer1.conv2"
    assert {one.get("x") for one in drawn.all("c-name")} == {"0"}


@pytest.mark.parametrize("count", [1, 30, 60, 61, 200])
def test_names_do_not_overlap(count, read):
    drawn = read(chart(rows(count)))
    heights = [float(one.get("y")) for one in drawn.all("c-name")]
    assert all(b - a > 13.5 for a, b in pairwise(heights))
    assert len(drawn.tips()) == count
    assert len(heights) == (count if count <= 60 else -(-count // 2))


def test_a_guide_is_upright(read):
    drawn = read(chart(rows(4), guides=[Guide("x", 2, "two")]))
    (start,) = drawn.starts("c-guide")
    two = next(float(high.split()[0]) for low, high in span(drawn)[1:2])
    assert start[0] == pytest.approx(two, abs=0.1)
    assert drawn.texts("c-guide-name") == ["two"]
