import itertools

import pytest

from refconv.improvement.halving import FINALISTS, Round, rounds


@pytest.mark.parametrize("entries", [1, 2, 3, 4, 9, 21, 40])
@pytest.mark.parametrize("budget", [1, 60, 200, 1000, 7777, 100_000])
def test_the_budget_is_kept_and_no_run_is_too_short(entries, budget):
    found = rounds(entries, budget=budget, shortest=50)
    assert sum(one.entries * one.steps for one in found) <= budget
    assert found[0].entries <= entries
    assert found[0].steps >= 50 or found == (Round(1, budget),)
    for before, after in itertools.pairwise(found):
        assert after.steps == 3 * before.steps
        assert FINALISTS <= after.entries < before.entries
    assert found[-1].entries <= FINALISTS


def test_as_many_entries_take_part_as_the_budget_allows():
    found = rounds(21, budget=2000, shortest=50)
    assert 3 < found[0].entries < 21
    assert all(rounds(more, budget=2000, shortest=50) == found for more in range(found[0].entries, 22))


def test_most_of_the_budget_is_used():
    for budget in (500, 5000, 50_000):
        found = rounds(21, budget=budget, shortest=50)
        assert sum(one.entries * one.steps for one in found) > 0.9 * budget
