"""Colours of scales."""

import numpy as np
import pytest

from refconv.report.charts.pictures import Scale, numbers


def lightness(colours):
    """Return CIE L* of sRGB colours [n, 3]."""
    linear = np.where(colours <= 10.31, colours / 12.92 / 255, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def test_amounts_are_viridis():
    matplotlib = pytest.importorskip("matplotlib")
    expected = 255 * matplotlib.colormaps["viridis"](np.linspace(0, 1, 254))[:, :3]
    assert np.abs(Scale(0, 1).palette()[:254] - expected).max() < 8


def test_amounts_grow_evenly_lighter():
    light = lightness(Scale(0, 1).palette()[:254].astype(float))
    assert (np.diff(light) > -0.05).all()
    even = np.linspace(light[0], light[-1], 254)
    assert np.abs(light - even).max() < 5


def test_the_scale_around_zero_is_lightest_there_and_even_to_both_sides():
    light = lightness(Scale(-1, 1, diverging=True).palette()[:254].astype(float))
    assert light.argmax() in {126, 127}
    assert light[0] == pytest.approx(light[253], abs=5)
    assert (np.diff(light[:127]) > -0.05).all()
    assert (np.diff(light[127:]) < 0.05).all()


def test_zero_is_in_the_middle_of_a_scale_around_it():
    scale = Scale.of([np.array([-1.0, 3.0])], diverging=True)
    assert (scale.low, scale.high) == (-3, 3)
    assert scale.shades(np.array([-3.0, 0.0, 3.0])).tolist() == [0, 126, 253]


def test_given_ends_count():
    scale = Scale.of([np.array([0.2, 0.4])], 0, 1)
    assert (scale.low, scale.high) == (0, 1)
    assert Scale.of([np.array([0.2, 0.4])], low=2).low == 2


def test_rows_are_of_one_length():
    with pytest.raises(ValueError, match="inhomogeneous"):
        numbers([[1], [1, 2]])
