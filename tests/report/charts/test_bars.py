"""Bars start at zero and end at their values."""

import re

import pytest

from refconv.report.charts import Bars, bar_chart

NAMES = {"before": "before", 0: "plain"}


def chart(groups, **more):
    return bar_chart(groups, NAMES, title="t", y_label="y", **more)


def corners(drawn):
    """Return the corners of each bar."""
    return [[tuple(map(float, one.split())) for one in bar.get("d")[1:].split("L")] for bar in drawn.all("c-bar")]


def axis(drawn):
    """Return the position of each labelled tick of the upright axis."""
    return {one.text: float(one.get("y")) - 0.35 * 13.5 for one in drawn.all("c-tick")}


def test_bars_end_at_their_values(read):
    drawn = read(chart([Bars("a", {"before": 0.5, 0: 1.0})], y_range=(0, 1)))
    places = axis(drawn)
    half, whole = corners(drawn)
    assert half[0][1] == pytest.approx(places["0"], abs=0.1)
    assert whole[1][1] == pytest.approx(places["1.0"], abs=0.1)
    assert half[1][1] == pytest.approx((places["0"] + places["1.0"]) / 2, abs=0.1)


def test_bars_below_zero_hang(read):
    drawn = read(chart([Bars("a", {"before": -1.0, 0: 1.0})]))
    down, up = corners(drawn)
    assert down[1][1] > down[0][1] == up[0][1] > up[1][1]


def test_errors_reach_to_both_sides(read):
    drawn = read(chart([Bars("a", {"before": 0.5}, {"before": 0.25})], y_range=(0, 1)))
    places = axis(drawn)
    ends = [float(y) for y in re.findall(r" ([\d.]+)", drawn.all("c-error")[0].get("d"))][:2]
    height = places["0"] - places["1.0"]
    assert ends == pytest.approx([places["0"] - 0.25 * height, places["0"] - 0.75 * height], abs=0.15)


def test_missing_bars_leave_their_place(read):
    whole = corners(read(chart([Bars("a", {"before": 1, 0: 2}), Bars("b", {"before": 1, 0: 2})])))
    missing = corners(read(chart([Bars("a", {"before": None, 0: 2}), Bars("b", {"before": 1, 0: 2})])))
    assert missing[0] == whole[1]


def test_bars_lie_where_names_do_not_fit(read):
    names = ["gaussian noise", "gaussian blur", "contrast", "brightness", "compression", "an awfullylongwordhere"]
    drawn = read(chart([Bars(name, {"before": 0.2, 0: 0.4}) for name in names], y_range=(0, 1)))
    first, second = corners(drawn)[:2]
    assert first[0][0] == second[0][0] == 1
    assert (second[1][0] - 1) == pytest.approx(2 * (first[1][0] - 1), abs=0.2)
    assert drawn.texts("c-name") == names


def test_groups_say_their_values(read):
    drawn = read(chart([Bars("a", {"before": 0.5, 0: None}, {"before": 0.1})]))
    assert [" ".join(tip.split()) for tip in drawn.tips()] == ["a before 0.5 ± 0.1"]
