"""Lines of equal height lie where the heights are."""

import re

import numpy as np
import pytest

from refconv.report.charts import Surface, contour_maps
from refconv.report.charts.contours import round_levels

GRID = np.linspace(-1, 1, 41)


def bowl(factor=1.0):
    return (factor * (GRID[:, None] ** 2 + 2 * GRID[None, :] ** 2)).tolist()


def chart(*values, **more):
    surfaces = [Surface(f"surface {i}", GRID, GRID, one) for i, one in enumerate(values)]
    return contour_maps(surfaces, unit="u", x_label="x", y_label="y", **more)


def outlines(drawn):
    """Return the points of each area's outline, in units of the plane."""
    frame = drawn.all("c-frame")[0]
    x, y, wide, high = (float(frame.get(name)) for name in ("x", "y", "width", "height"))
    areas = [one for one in drawn.all("c-area") if one.tag == "path"]
    for area in areas:
        points = np.array([[float(n) for n in point.split()] for point in re.findall(r"[\d.]+ [\d.]+", area.get("d"))])
        yield np.stack([2 * (points[:, 0] - x) / wide - 1, 1 - 2 * (points[:, 1] - y) / high], axis=1)


def test_outlines_lie_at_their_heights(read):
    drawn = read(chart(bowl()))
    heights = round_levels(0, 3, 10)
    found = list(outlines(drawn))
    assert len(found) == len(heights)
    for points, height in zip(found, heights, strict=True):
        inside = points[np.abs(points).max(axis=1) < 0.99]
        values = inside[:, 1] ** 2 + 2 * inside[:, 0] ** 2
        assert len(inside) > 10
        assert values == pytest.approx(np.full(len(values), height), abs=0.02)


def test_surfaces_share_their_heights(read):
    drawn = read(chart(bowl(), bowl(2.0)))
    counts = [sum(one.tag == "path" for one in areas.iter()) for areas in drawn.all("c-areas")]
    heights = round_levels(0, 6, 10)
    assert counts == [sum(height < 3 for height in heights), len(heights)]
    assert "lowest 0, highest 6" in drawn.texts("c-under")


def test_y_grows_upwards(read):
    values = np.broadcast_to(GRID[:, None], (41, 41)).tolist()
    points = list(outlines(read(chart(values))))[-1]
    assert points[:, 1].min() > 0.4


def test_missing_areas_are_marked(read):
    values = bowl()
    values[20][20] = None
    assert read(chart(values)).all("c-missing")
    assert not read(chart(bowl())).all("c-missing")


def test_the_origin_is_marked_where_it_is_in_view(read):
    assert len(read(chart(bowl())).all("c-origin")) == 1
    away = contour_maps([Surface("a", GRID + 3, GRID, bowl())], unit="u", x_label="x", y_label="y")
    assert not read(away).all("c-origin")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.3, 40), (1e-6, 1e6), (-5, 5), (2, 2.001), (0.2, 5.53)])
def test_heights_are_about_as_many_as_asked_for(low, high):
    heights = round_levels(low, high, 10)
    assert 5 <= len(heights) <= 14
    assert heights == sorted(set(heights))
    assert low < heights[0]
    assert heights[-1] < high


def test_values_fit_their_positions():
    with pytest.raises(TypeError, match="must match number of rows"):
        contour_maps([Surface("a", [0, 1], [0, 1, 2], [[1, 2], [3, 4]])], unit="u", x_label="x", y_label="y")


def test_heights_are_round_and_grow_by_factors_where_values_do():
    assert round_levels(0.05, 1.05, 5) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert round_levels(0.3, 40, 5) == [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
