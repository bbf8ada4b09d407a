import pytest

from refconv.improvement.halving import FINALISTS, Round, budget_for, rounds


@pytest.mark.parametrize("entries", [1, 2, 3, 4, 9, 21, 40])
@pytest.mark.parametrize("budget", [1, 60, 200, 1000, 7777, 100_000])
@pytest.mark.parametrize("shortest", [50, 300])
def test_the_budget_is_kept_and_no_run_is_too_short(entries, budget, shortest):
    found = rounds(entries, budget=budget, shortest=shortest)
    assert sum(one.entries * one.steps for one in found) <= budget
    assert found[0].entries <= entries
    assert found[-1].entries <= (FINALISTS if len(found) == 2 else FINALISTS + 1)
    assert all(one.steps >= 50 for one in found) or found == (Round(1, budget),)
    if len(found) == 2:
        assert found[0].steps >= shortest
        assert found[0].entries >= 4
        assert found[0].entries * found[0].steps <= 0.4 * budget


def test_as_many_entries_take_part_as_two_fifths_of_the_budget_allow():
    found = rounds(21, budget=1000, shortest=50)
    assert found[0].entries == 8
    assert all(rounds(more, budget=1000, shortest=50) == found for more in range(found[0].entries, 22))


def test_most_of_the_budget_is_used():
    for budget in (500, 5000, 50_000):
        found = rounds(21, budget=budget, shortest=50)
        assert sum(one.entries * one.steps for one in found) > 0.99 * budget


@pytest.mark.parametrize("entries", [1, 2, 3, 4, 9, 21])
@pytest.mark.parametrize("shortest", [50, 70, 333])
def test_the_budget_for_a_number_of_entries_is_the_least_that_suffices(entries, shortest):
    steps = budget_for(entries, shortest=shortest)
    assert rounds(21, budget=steps, shortest=shortest)[0].entries >= entries
    assert rounds(21, budget=steps - 1, shortest=shortest)[0].entries < entries or entries == 1
