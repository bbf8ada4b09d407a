"""Taps as rows."""

import pytest

from refconv.measures.kernels import plane


@pytest.mark.parametrize(
    ("size", "rows"),
    [
        ((6,), [[1, 2, 3, 4, 5, 6]]),
        ((6, 1), [[1], [2], [3], [4], [5], [6]]),
        ((3, 2), [[1, 2], [3, 4], [5, 6]]),
        ((2, 1, 3), [[1, 2, 3], [4, 5, 6]]),
        ((1, 6, 1), [[1, 2, 3, 4, 5, 6]]),
    ],
)
def test_taps_are_read_row_by_row(size, rows):
    assert plane([1, 2, 3, 4, 5, 6], size) == rows


def test_a_single_tap_and_three_dimensions():
    assert plane([1], (1, 1, 1)) == [[1]]
    assert plane([1] * 8, (2, 2, 2)) == []


def test_another_number_of_taps_is_refused():
    with pytest.raises(ValueError, match=r"expected 6 taps of a kernel \(2, 3\), found 5"):
        plane([1] * 5, (2, 3))
