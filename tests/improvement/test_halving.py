import pytest

from refconv.improvement.halving import FINALISTS, Round, rounds


@pytest.mark.parametrize("entries", [1, 2, 3, 4, 9, 21, 40])
@pytest.mark.parametrize("budget", [1, 60, 200, 1000, 7777, 100_000])
@pytest.mark.parametrize("shortest", [50, 300])
def test_the_budget_is_kept_and_no_run_is_too_short(entries, budget, shortest):
    found = rounds(entries, budget=budget, shortest=shortest)
    assert sum(one.entries * one.steps for one in found) <= budget
    assert found[0].entries <= entries
    assert found[-1].entries <= FINALISTS
    assert all(one.steps >= 50 for one in found) or found == (Round(1, budget),)
    if len(found) == 2:
        assert found[0].steps >= shortest
        assert found[0].entries >= 2 * FINALISTS
        assert found[0].entries * found[0].steps <= budget / 4


def test_as_many_entries_take_part_as_a_quarter_of_the_budget_allows():
    found = rounds(21, budget=3000, shortest=50)
    assert 2 * FINALISTS <= found[0].entries < 21
    assert all(rounds(more, budget=3000, shortest=50) == found for more in range(found[0].entries, 22))


def test_most_of_the_budget_is_used():
    for budget in (500, 5000, 50_000):
        found = rounds(21, budget=budget, shortest=50)
        assert sum(one.entries * one.steps for one in found) > 0.99 * budget
