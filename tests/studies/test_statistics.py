"""Statistics against closed forms, scipy, published values and simulation."""

import numpy as np
import pytest
from scipy import stats

from refconv.studies.statistics import (
    Interval,
    bootstrap_interval,
    holm,
    p_value,
    power,
    seeds_needed,
    spread,
    t_interval,
)

VALUES = [0.31, -0.12, 0.44, 0.02, 0.27, 0.19, -0.05, 0.38]


def test_t_interval_is_that_of_scipy_and_of_the_closed_form():
    found = t_interval(VALUES)
    low, high = stats.t.interval(0.95, len(VALUES) - 1, np.mean(VALUES), stats.sem(VALUES))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    # n = 3, s = 1: t(0.975, 2) = 4.302653
    assert t_interval([1.0, 2.0, 3.0]).high == pytest.approx(2 + 4.302653 / 3**0.5, rel=1e-6)
    assert spread(VALUES) == pytest.approx(np.std(VALUES, ddof=1))


def test_p_value_is_that_of_scipy():
    other = [0.1 * i for i in range(len(VALUES))]
    differences = [a - b for a, b in zip(VALUES, other, strict=True)]
    assert p_value(differences) == pytest.approx(stats.ttest_rel(VALUES, other).pvalue)


def test_interval_excludes_zero_exactly_where_p_is_below_five_percent():
    for shift in np.linspace(-0.3, 0.3, 61):
        moved = [value + shift for value in VALUES]
        assert t_interval(moved).excludes_zero == (p_value(moved) < 0.05)


def test_bootstrap_is_that_of_scipy():
    ours = bootstrap_interval(VALUES)
    theirs = stats.bootstrap((VALUES,), np.mean, n_resamples=20_000, method="BCa", random_state=3).confidence_interval
    plain = np.quantile(VALUES, [0.025, 0.975])
    assert ours.low == pytest.approx(theirs.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.high, abs=0.006)
    assert plain[0] < ours.low < ours.mean < ours.high < plain[1]


def test_bootstrap_of_skewed_values_leans_to_their_long_side():
    skewed = [0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 3.0]
    ours = bootstrap_interval(skewed)
    assert ours.high - ours.mean > 1.5 * (ours.mean - ours.low)


def test_holm_is_the_textbook_example():
    # Holm 1979 as worked by statsmodels' multipletests(method="holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_holm_keeps_the_rate_of_any_false_alarm():
    generator = np.random.default_rng(0)
    alarms = sum(min(holm(list(generator.uniform(size=6)))) < 0.05 for _ in range(4000))
    assert alarms / 4000 == pytest.approx(0.05, abs=0.011)  # three standard errors


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_tables(effect, n):
    # Paired t test, two-sided 5 %, power 80 %: G*Power 3.1 and R's power.t.test.
    assert seeds_needed(1.0, effect) == n
    assert power(n, effect) >= 0.8 > power(n - 1, effect)


def test_power_is_the_simulated_share_of_finds():
    generator = np.random.default_rng(1)
    drawn = generator.normal(0.6, 1, size=(4000, 12))
    found = np.mean([p_value(list(row)) < 0.05 for row in drawn])
    assert power(12, 0.6) == pytest.approx(found, abs=0.024)
    assert power(12, 0.0) == pytest.approx(0.05)


@pytest.mark.parametrize(("n", "interval", "least", "most"), [
    (5, t_interval, 0.93, 0.97), (10, t_interval, 0.93, 0.97), (30, bootstrap_interval, 0.92, 0.97),
])  # fmt: skip
def test_intervals_cover_as_often_as_they_say(n, interval, least, most):
    generator = np.random.default_rng(2)
    more = {"resamples": 1000} if interval is bootstrap_interval else {}
    covered = 0
    for row in generator.normal(0.3, 2.0, size=(2000, n)):
        found = interval(list(row), **more)
        covered += found.low <= 0.3 <= found.high
    assert least <= covered / 2000 <= most


def test_one_value_has_no_interval_and_equal_values_have_no_width():
    assert t_interval([0.5]) == bootstrap_interval([0.5]) == Interval(0.5)
    assert p_value([0.5]) is None
    assert not Interval(0.5).excludes_zero
    assert (bootstrap_interval([0.5] * 3).low, t_interval([0.5] * 3).high) == (0.5, 0.5)
    assert (p_value([0.5] * 3), p_value([0.0] * 3)) == (0.0, 1.0)
    assert seeds_needed(0.0, 0.1) == 2
