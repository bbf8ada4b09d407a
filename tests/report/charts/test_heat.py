"""Matrices as pictures."""

import numpy as np
import pytest

from refconv.report.charts import Heat, heat_maps
from refconv.report.charts.scales import Scale


def test_cells_have_the_colours_of_their_values(read):
    drawn = read(heat_maps([Heat("a", [[0.0, 0.5], [1.0, 0.25]])], unit="u"))
    scale = Scale(0, 1)
    expected = scale.palette()[scale.shades(np.array([[0.0, 0.5], [1.0, 0.25]]))]
    assert np.array_equal(drawn.pixels(0)[..., :3], expected)


def test_the_same_value_has_the_same_colour_in_all_maps(read):
    drawn = read(heat_maps([Heat("a", [[0.0, 3.0]]), Heat("b", [[3.0, 12.0]])], unit="u"))
    assert drawn.pixels(0)[0, 1].tolist() == drawn.pixels(1)[0, 0].tolist()
    assert drawn.pixels(0)[0, 0].tolist() != drawn.pixels(1)[0, 0].tolist()


def test_missing_cells_are_hatched_and_said(read):
    drawn = read(heat_maps([Heat("a", [[1.0, None], [2.0, 3.0]])], unit="u"))
    pixels = drawn.pixels(0)
    half = pixels.shape[0] // 2
    assert 0 < (pixels[:half, half:, 3] == 0).mean() < 1
    assert (pixels[half:, :, 3] == 255).all()
    assert "hatched: no value" in drawn.texts("c-under")
    assert [" ".join(tip.split()) for tip in drawn.tips()][:2] == ["row 1, column 1 1", "row 1, column 2 no value"]


def test_complete_maps_have_nothing_hatched(read):
    assert read(heat_maps([Heat("a", [[1.0, 2.0]])], unit="u")).texts("c-under") == ["u"]


def test_the_bar_of_colours_has_ticks_at_their_places(read):
    drawn = read(heat_maps([Heat("a", [[0.0, 1.0]])], unit="u", low=0, high=2))
    ticks = {one.text: float(one.get("x")) for one in drawn.all("c-tick")}
    assert ticks["1.0"] == pytest.approx(150)
    assert drawn.pixels(1).shape[:2] == (1, 254)


def test_boxes_of_cells_lie_over_them(read):
    drawn = read(heat_maps([Heat("a", [[0.0] * 4, [1.0] * 4])], unit="u"))
    boxes = [one.get("d") for one in drawn.root.iter() if one.get("data-tip")]
    assert boxes[5] == "M60 60h60v60h-60z"


def test_large_maps_stay_small(read):
    markup = heat_maps([Heat("a", np.random.default_rng(0).random((100, 100)).tolist())], unit="u")
    assert read(markup).tips() == []
    assert len(markup) < 25_000
