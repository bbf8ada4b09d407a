"""Lines lie where their values are."""

import re

import pytest

from refconv.report.charts import Guide, Line, line_chart


def chart(*lines, **more):
    return line_chart(lines, title="t", x_label="x", y_label="y", **more)


def points(drawn, class_="c-line"):
    """Return the points of the curves in a drawing, not of the legend."""
    data = "".join(one.get("d") for one in drawn.all("c-clip")[0].iter() if class_ in (one.get("class") or "").split())
    return [[tuple(map(float, point.split())) for point in run.split("L")] for run in data.strip("MZ").split("M")]


def plane(drawn):
    left, top, width, height = map(float, drawn.all("c-clip")[0].get("viewBox").split())
    return left, top, left + width, top + height


def test_the_ends_of_a_range_are_the_ends_of_the_plane(read):
    drawn = read(chart(Line("a", 0, [0, 1, 2], [0, 1, 0.5]), y_range=(0, 1)))
    _, top, _, foot = plane(drawn)
    assert [y for _, y in points(drawn)[0]] == pytest.approx([foot, top, (foot + top) / 2])


def test_a_logarithmic_axis_puts_the_geometric_mean_in_the_middle(read):
    drawn = read(chart(Line("a", 0, [1, 2, 3], [0.1, 1, 10]), y_log=True))
    (x0, y0), (x1, y1), (x2, y2) = points(drawn)[0]
    assert (x1, y1) == pytest.approx(((x0 + x2) / 2, (y0 + y2) / 2), abs=0.1)
    assert x0 < x2
    assert y0 > y2


def test_missing_values_leave_gaps(read):
    drawn = read(chart(Line("a", 0, [0, 1, 2, 3, 4], [1, 2, None, 2, 1])))
    assert [len(run) for run in points(drawn)] == [2, 2]


def test_the_diagonal_joins_equal_values(read):
    drawn = read(chart(Line("a", 0, [0.2, 0.4], [0.4, 0.2]), y_range=(0, 1), guides=[Guide("diagonal")]))
    left, top, right, foot = plane(drawn)
    guide = re.findall(r"[\d.]+", drawn.all("c-guide")[0].get("d"))
    assert list(map(float, guide)) == pytest.approx([left, foot, right, top])


def test_guides_lie_at_their_values_and_have_names(read):
    guides = [Guide("y", 0.5, "half"), Guide("y", 0.5, "also half"), Guide("y", 9, "far")]
    drawn = read(chart(Line("a", 0, [0, 1], [0, 1]), y_range=(0, 1), guides=guides))
    left, top, right, foot = plane(drawn)
    numbers = list(map(float, re.findall(r"[\d.]+", drawn.all("c-guide")[0].get("d"))))
    assert numbers == pytest.approx([left, (top + foot) / 2, right, (top + foot) / 2])
    assert drawn.texts("c-guide-name") == ["half", "also half"]
    heights = [float(one.get("y")) for one in drawn.all("c-guide-name")]
    assert abs(heights[0] - heights[1]) > 10


def test_a_band_goes_from_low_to_high(read):
    drawn = read(chart(Line("a", 0, [0, 1], [0.5, 0.5], [0, 0], [1, 1]), y_range=(0, 1)))
    _, top, _, foot = plane(drawn)
    (corners,) = points(drawn, "c-band")
    assert [y for _, y in corners] == pytest.approx([foot, foot, top, top])


def test_values_outside_of_a_range_are_cut_off(read):
    drawn = read(chart(Line("a", 0, [0, 1, 2], [0.5, 7, 0.5]), y_range=(0, 1)))
    marks = [one for one in drawn.all("c-mark") if one.get("d").count("M") == 2]
    assert len(marks) == 1


def test_long_lines_show_few_shapes_and_alone_standing_points_all(read):
    values = [1.0] * 100
    values[50] = values[52] = None
    drawn = read(chart(Line("a", 0, list(range(100)), values)))
    counts = sorted(one.get("d").count("M") for one in drawn.all("c-mark"))
    assert counts[-1] < 15
    x = next(a[0] for a in points(drawn)[1])
    assert any(abs(a - x) < 20 for a, _ in drawn.starts("c-mark"))


def test_each_position_says_what_every_line_has_there(read):
    lines = [Line("a", 0, [0, 1], [0.25, None]), Line("b", 1, [0, 1], [0.5, 0.75], [0.4, 0.7], [0.6, 0.8])]
    drawn = read(chart(*lines))
    assert re.sub(r"\s+", " ", drawn.tips()[0]) == "x 0 a 0.25 b 0.5 (0.4 to 0.6)"
    assert re.sub(r"\s+", " ", drawn.tips()[1]) == "x 1 b 0.75 (0.7 to 0.8)"
    assert [one.find("title") is not None for one in drawn.root.iter() if one.get("data-tip")] == [True, True]


def test_the_legend_tells_roles_apart_without_colours(read):
    drawn = read(chart(*(Line(f"line {role}", role, [0, 1], [0, 1]) for role in ("before", *range(7)))))
    keys = drawn.all("c-key")
    shapes = {
        next(
            one.get("d").split("M")[1].lstrip("0123456789. -") for one in key.iter() if "c-mark" in one.get("class", "")
        )
        for key in keys
    }
    assert drawn.texts("c-key") == [f"line {role}" for role in ("before", *range(7))]
    assert len(shapes) == 8


def test_as_many_values_as_positions():
    with pytest.raises(ValueError, match="shorter"):
        chart(Line("a", 0, [0, 1], [0]))
