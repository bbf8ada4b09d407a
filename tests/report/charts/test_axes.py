"""Ranges, ticks and positions."""

import pytest
from hypothesis import given, strategies as some

from refconv.report.charts.axes import Axis, fit, labels, linear_ticks, log_label, log_ticks

NUMBERS = some.floats(-1e12, 1e12, allow_subnormal=False)


def test_places_lie_evenly():
    axis = Axis(0, 10, 100, 0)
    assert [axis.place(value) for value in (0, 5, 10)] == [100, 50, 0]


def test_logarithmic_places_lie_evenly_by_factors():
    axis = Axis(0.01, 100, 0, 400, log=True)
    assert [axis.place(value) for value in (0.01, 1, 100)] == pytest.approx([0, 200, 400])
    assert axis.place(0) is None
    assert axis.place(-1) is None


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True)])
def test_a_range_without_room_is_refused(low, high, log):
    with pytest.raises(ValueError, match="expected a range"):
        Axis(low, high, 0, 1, log)


@given(some.lists(NUMBERS, min_size=1, max_size=5))
def test_fitted_axes_hold_their_values(values):
    axis = fit(values, 0, 100)
    assert all(0 <= axis.place(value) <= 100 for value in values)


@given(NUMBERS, some.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_inside(low, span):
    ticks = linear_ticks(low, low + max(span, abs(low) * 1e-6))
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert len(set(labels(ticks))) == len(ticks)


@given(some.floats(1e-12, 1e9), some.floats(1.01, 1e12))
def test_logarithmic_ticks_are_few_and_inside(low, factor):
    ticks = log_ticks(low, low * factor)
    assert 2 <= len(ticks) <= 12
    assert all(low * (1 - 1e-6) <= tick <= low * factor * (1 + 1e-6) for tick in ticks)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.25, 0.5], ["0.25", "0.50"]),
        ([1.0, 1.5], ["1.0", "1.5"]),
        ([-10.0, 0.0], ["−10", "0"]),
        ([5e6], ["5×10⁶"]),
        ([-0.5, 0.0, 0.5], ["−0.5", "0", "0.5"]),
        ([0.0, 20000.0], ["0", "20,000"]),
        ([0.0, 2e-5], ["0", "2×10⁻⁵"]),
    ],
)
def test_labels_have_the_decimals_of_their_step(values, expected):
    assert labels(values) == expected


def test_a_constant_has_room_on_both_sides():
    axis = fit([3.0], 0, 100)
    assert axis.place(3.0) == pytest.approx(50)
    assert fit([0.0], 0, 100).place(0.0) == pytest.approx(50)


def test_labels_of_logarithmic_axes_are_powers_of_ten_where_numbers_are_long():
    assert [log_label(value) for value in (0.01, 1000, 1e-5, 2e6)] == ["0.01", "1,000", "10⁻⁵", "2×10⁶"]


def test_ticks_are_multiples_of_one_two_and_five():
    assert linear_ticks(0, 1, 5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert (log_ticks(0.9, 120), log_ticks(1, 10)) == ([1.0, 10.0, 100.0], [1.0, 2.0, 5.0, 10.0])
