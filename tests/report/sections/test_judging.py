import math
import random

import pytest
from scipy import stats

from refconv.measures.judging import Difference, agreed, paired, share_error, share_interval, student


@pytest.mark.parametrize(
    ("value", "error", "lower", "expected"),
    [
        (0.3, 0.1, False, "better"),
        (-0.3, 0.1, False, "worse"),
        (0.3, 0.1, True, "worse"),
        (-0.3, 0.1, True, "better"),
        (0.19, 0.1, False, "unclear"),
        (0.0, 0.1, False, "same"),
        (0.0, None, True, "same"),
        (0.3, None, False, "unclear"),
        (None, 0.1, False, "unclear"),
    ],
)
def test_difference_counts_beyond_two_standard_errors(value, error, lower, expected):
    assert Difference(value, error).judged(lower=lower) == expected


def test_few_values_reach_further():
    values = [0.9, 1.1, 1.3]  # mean 1.1, standard error 0.115: 9.5 of them
    found = paired([0.0] * 3, values)
    assert found.value == pytest.approx(1.1)
    assert found.error == pytest.approx(0.2 / math.sqrt(3))
    assert found.reach == student(3) == pytest.approx(stats.t.ppf(0.975, 2))
    assert Difference(0.3, 0.1, student(3)).judged() == "unclear"
    assert Difference(0.3, 0.1, student(30)).judged() == "better"
    assert math.isinf(student(1))


@pytest.mark.parametrize("samples", [2, 5, 31, 32, 33, 60, 1000])
def test_students_t_is_that_of_scipy_without_a_jump(samples):
    assert student(samples) == pytest.approx(stats.t.ppf(0.975, samples - 1), rel=1e-9)
    drawn = random.Random(samples)
    before, after = ([drawn.gauss(0, 1) for _ in range(samples)] for _ in range(2))
    bounds = stats.ttest_rel(after, before).confidence_interval(0.95)
    found = paired(before, after)
    assert found.value - found.reach * found.error == pytest.approx(bounds.low)
    assert found.value + found.reach * found.error == pytest.approx(bounds.high)


def test_differences_that_are_all_equal_tell_nothing_of_chance():
    assert paired([0.0, 1.0, 2.0], [0.5, 1.5, 2.5]).error == 0
    assert paired([0.0, 1.0, 2.0], [0.5, 1.5, 2.5]).judged() == "unclear"


def test_share_error_is_binomial_for_many_samples_and_never_zero():
    assert share_error(0.3, 10**6) == pytest.approx(math.sqrt(0.3 * 0.7 / 10**6), rel=1e-3)
    assert share_error(0.0, 100) == pytest.approx(share_error(1.0, 100)) == pytest.approx(0.0135, abs=1e-4)


def test_share_interval_stays_within_zero_and_one():
    assert share_interval(1.0, 10)[1] == 1.0
    assert share_interval(0.0, 10)[0] == 0.0
    low, high = share_interval(0.5, 96)
    assert (low, high) == pytest.approx((0.402, 0.598), abs=1e-3)


def test_only_what_all_say_is_said():
    assert agreed(["worse"]) == "worse"
    assert agreed(["same", "same"]) == "same"
    assert agreed(["better", "worse"]) == agreed(["better", "same"]) == "unclear"
