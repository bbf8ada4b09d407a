"""Sheets of kernels."""

import numpy as np
import pytest

from refconv.report.charts import Sheet, kernel_sheets
from refconv.report.charts.scales import Scale


def drawn_taps(pixels, row, column, kernel=(3, 3)):
    """Return the colours of the middles of a kernel's taps."""
    top, left = 2 + row * (kernel[0] * 4 + 2), 2 + column * (kernel[1] * 4 + 2)
    return pixels[top + 2 : top + 4 * kernel[0] : 4, left + 2 : left + 4 * kernel[1] : 4]


def test_taps_have_the_colours_of_their_values(read):
    kernels = np.random.default_rng(0).normal(size=(7, 3, 3))
    drawn = read(kernel_sheets([Sheet("base", kernels.tolist())], columns=3))
    far = np.abs(kernels).max()
    scale = Scale(-far, far, diverging=True)
    expected = scale.palette()[scale.shades(kernels[5])]
    assert np.array_equal(drawn_taps(drawn.pixels(0), 1, 2)[..., :3], expected)
    assert drawn.images()[0].size == (3 * 14 + 2, 3 * 14 + 2)


def test_gaps_are_clear(read):
    pixels = read(kernel_sheets([Sheet("base", np.ones((4, 3, 3)).tolist())])).pixels(0)
    assert (pixels[:2, :, 3] == 0).all()
    assert (pixels[:, 14:16, 3] == 0).all()


def test_sheets_share_a_scale_around_zero(read):
    drawn = read(kernel_sheets([Sheet("base", [[[1.0, 0.0]]]), Sheet("difference", [[[-4.0, 1.0]]])]))
    first, second = drawn.pixels(0), drawn.pixels(1)
    assert drawn_taps(first, 0, 0, (1, 2))[0, 0].tolist() == drawn_taps(second, 0, 0, (1, 2))[0, 1].tolist()
    assert drawn_taps(first, 0, 0, (1, 2))[0, 1, :3].min() > 240


def test_kernels_say_their_names_and_taps_in_rows(read):
    markup = kernel_sheets([Sheet("base", [[[0.12345, -1], [0, 2e-7]]], ["slice 9"])])
    assert "slice 9&#10;0.123 −1&#10;0 2e−07" in markup
    assert "kernel 1" in kernel_sheets([Sheet("base", [[[1.0]]])])


def test_kernels_of_one_dimension_fill_the_sheet_in_rows(read):
    drawn = read(kernel_sheets([Sheet("base", np.ones((16, 1, 9)).tolist())]))
    wide, high = drawn.images()[0].size
    assert 0.6 < wide / high < 1.7


def test_a_sheet_of_64_stays_small_and_a_larger_one_is_silent(read):
    kernels = np.random.default_rng(0).normal(size=(65, 3, 3))
    assert len(kernel_sheets([Sheet("base", kernels[:64].tolist())]).encode()) < 15_000
    assert read(kernel_sheets([Sheet("base", kernels.tolist())])).tips() == []


def test_kernels_of_a_sheet_are_of_one_size():
    with pytest.raises(ValueError, match="expected kernels of one size"):
        kernel_sheets([Sheet("base", [[[1.0]], [[1.0, 2.0]]])])


def test_as_many_names_as_kernels():
    with pytest.raises(ValueError, match="expected 1 names, found 2"):
        Sheet("base", [[[1.0]]], ["a", "b"])
