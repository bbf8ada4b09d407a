"""Differences of paired shares against published numbers and against the intervals' own definitions."""

import itertools
import math
from fractions import Fraction

import pytest

from refconv.analysis.measures.outputs import mcnemar as mcnemar_of_analysis
from refconv.measures.judging import mcnemar, paired_difference, wilson


def test_interval_is_that_of_a_published_example():
    """Complete response before and after consolidation therapy; Fagerland et al., chapter 8, method of Newcombe."""
    found = paired_difference(both=59, gained=16, lost=6, neither=80)
    assert round(found.low, 4) == 0.0046
    assert round(found.high, 4) == 0.1186
    assert (found.first, found.second) == (65 / 161, 75 / 161)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((18, 12, 2, 18), 0.0562, 0.3290),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((35, 14, 0, 1), 0.1461, 0.4175),
        ((18, 14, 0, 18), 0.1441, 0.3963),
        ((2, 97, 1, 0), 0.8721, 0.9854),
        ((54, 0, 0, 0), -0.0664, 0.0664),
    ],
)
def test_intervals_are_those_of_the_paper(table, low, high):
    """Newcombe 1998, table III, method 10."""
    found = paired_difference(*table)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_exchanging_the_models_mirrors_the_interval():
    there, back = paired_difference(90, 7, 1, 12), paired_difference(90, 1, 7, 12)
    assert there.low == pytest.approx(-back.high, rel=1e-12)
    assert there.high == pytest.approx(-back.low, rel=1e-12)
    assert there.p == back.p


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (9000, 10000)])
def testwilson_bounds_solve_the_equation_that_defines_them(hits, n):
    z = 1.959963984540054
    for bound in wilson(hits, n, 0.95):
        assert (hits / n - bound) ** 2 == pytest.approx(z * z * bound * (1 - bound) / n, abs=1e-15)


def test_pairing_makes_the_interval_shorter_than_that_of_independent_samples():
    paired = paired_difference(both=880, gained=20, lost=10, neither=90)
    (low_1, high_1), (low_2, high_2) = wilson(890, 1000, 0.95), wilson(900, 1000, 0.95)
    independent = math.hypot(0.9 - low_2, high_1 - 0.89) + math.hypot(high_2 - 0.9, 0.89 - low_1)
    assert paired.high - paired.low < 0.5 * independent


@pytest.mark.parametrize("table", [(10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (5, 0, 0, 5)])
def test_tables_with_empty_margins_have_an_interval_around_the_difference(table):
    found = paired_difference(*table)
    assert -1 <= found.low <= found.difference <= found.high <= 1 + 1e-12


def test_mcnemar_is_the_binomial_tail_and_that_of_the_analysis():
    for gained, lost in itertools.product(range(7), repeat=2):
        n, least = gained + lost, min(gained, lost)
        tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(least + 1))
        assert mcnemar(gained, lost) == min(1.0, float(2 * tail)) == mcnemar_of_analysis(gained, lost)
