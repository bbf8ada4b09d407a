"""Statistics against closed forms, scipy, published values and simulation."""

import numpy as np
import pytest
from scipy import stats

from refconv.studies import statistics
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
        for resolution in (None, 0.1, 0.2):
            assert (t_interval(moved, resolution).side != 0) == (p_value(moved, resolution) < 0.05)


def test_bootstrap_is_bias_corrected_and_accelerated():
    """The formula of Efron 1987 by hand, on the same resamples; neither correction may be left out."""
    ours, sample = bootstrap_interval(VALUES), np.array(VALUES)
    drawn = np.random.default_rng(statistics._BOOTSTRAP_SEED).integers(len(sample), size=(statistics.RESAMPLES, 8))
    means = sample[drawn].mean(axis=1)
    bias = stats.norm.ppf((np.mean(means < sample.mean()) + np.mean(means <= sample.mean())) / 2)
    influence = sample - sample.mean()  # of each value on the mean, by the jackknife
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)

    def bounds(bias, acceleration):
        z = bias + stats.norm.ppf([0.025, 0.975])
        return np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))

    assert (ours.low, ours.high) == pytest.approx(bounds(bias, acceleration), rel=1e-9)
    assert (ours.low, ours.high) != pytest.approx(bounds(0, 0), rel=1e-3)
    plain = np.quantile(VALUES, [0.025, 0.975])
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
def test_intervals_cover_as_often_as_they_say(monkeypatch, n, interval, least, most):
    generator = np.random.default_rng(2)
    monkeypatch.setattr(statistics, "RESAMPLES", 500)  # enough here, and quick
    covered = 0
    for row in generator.normal(0.3, 2.0, size=(2000, n)):
        found = interval(list(row))
        covered += found.low <= 0.3 <= found.high
    assert least <= covered / 2000 <= most


def test_one_value_has_no_interval_and_equal_values_have_none_without_a_resolution():
    assert t_interval([0.5]) == bootstrap_interval([0.5]) == Interval(0.5, values=1)
    assert t_interval([0.5] * 6) == bootstrap_interval([0.5] * 6) == Interval(0.5, values=6)
    assert p_value([0.5] * 6) is None
    assert p_value([0.9 - 0.8, 1.1 - 1.0, 0.1, 0.3 - 0.2, 0.5 - 0.4]) is None  # equal but for rounding
    assert seeds_needed(0.0, 0.1) is None


def test_one_image_decides_nothing():
    """Two seeds of 500 test images that differ by one image each: once "+0.20 (+0.20 to +0.20), p < 0.001: better"."""
    for seeds in (2, 5, 50):
        for interval in (t_interval, bootstrap_interval):
            found = interval([0.902 - 0.9] * seeds, 1 / 500)
            assert (found.low, found.high) == (pytest.approx(0, abs=1e-9), pytest.approx(0.004))
            assert found.side == 0
        assert p_value([0.902 - 0.9] * seeds, 1 / 500) == (pytest.approx(0.05) if seeds >= 5 else None)
    assert t_interval([0.904 - 0.9] * 5, 1 / 500).side == 1
    assert t_interval([0.9 - 0.904] * 5, 1 / 500).side == -1


def test_four_seeds_have_numbers_and_no_verdict():
    values = [0.010, 0.011, 0.012, 0.010, 0.011]
    assert t_interval(values).side == 1
    assert t_interval(values[:4]).low > 0
    assert (t_interval(values[:4]).side, p_value(values[:4])) == (0, None)


@pytest.mark.parametrize("seeds", [5, 20])
@pytest.mark.parametrize("sigma", [0.2, 1.0], ids=lambda sigma: f"{sigma}-images")
def test_intervals_of_counts_cover_where_seeds_tie(seeds, sigma):
    """Accuracies are whole numbers of images: a true difference of any size, seen through rounding.

    Half an image over the root of the seeds, the step of the mean, and half an image do not cover; one image does.
    """
    generator = np.random.default_rng(3)
    plain = generator.uniform(0, 1, size=(400, 1))
    difference = generator.uniform(-3, 3, size=(400, 1))
    other = plain + difference + generator.normal(0, sigma, size=(400, seeds))
    seen = np.round(other) - np.round(plain)

    def coverage(resolution):
        found = [t_interval(list(row), resolution) for row in seen]
        inside = (i.low is not None and i.low <= d <= i.high for i, d in zip(found, difference[:, 0], strict=True))
        return sum(inside) / len(found)

    assert coverage(1.0) >= 0.93
    if sigma <= 0.2:
        assert max(coverage(None), coverage(0.5 / seeds), coverage(0.5)) < 0.92


def test_values_that_are_no_numbers_are_refused():
    for values in ([], [0.1, float("nan")], [float("inf"), 0.1]):
        for of in (t_interval, bootstrap_interval, p_value):
            with pytest.raises(ValueError, match="finite"):
                of(values)
    assert Interval(float("nan"), float("nan"), float("nan"), 10).side == 0


def test_seeds_needed_respect_the_test_set():
    # 0.1 points are less than one of 359 images, and 1 of 1,000; of 10,000 images they are ten.
    assert seeds_needed(0.002, 0.001, 1 / 359) is None
    assert seeds_needed(0.002, 0.001, 1 / 1000) is None
    assert seeds_needed(0.002, 0.001, 1 / 10_000) == seeds_needed(0.002, 0.001) == 34
    # 1 of 1,100 images: the mean of the seeds must exceed 0.909 of the 1 thousandth, with probability 0.8.
    needed = seeds_needed(0.002, 0.001, 1 / 1100)
    assert stats.norm.sf((1 / 1100 - 0.001) / (0.002 / needed**0.5)) == pytest.approx(0.8, abs=1e-3)
    assert seeds_needed(0.0, 0.001, 1 / 10_000) == 5  # ties are no proof that two seeds are enough
