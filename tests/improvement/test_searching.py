"""Which runs the rounds of a search consist of; whole searches are in test_improving.py."""

import dataclasses

import pytest

from improvement_records import of_hits, record
from refconv.errors import RunError
from refconv.improvement.halving import Round
from refconv.improvement.record import Entry, Tried
from refconv.improvement.searching import Search
from refconv.studies.execution import Outcome

ENTRIES = tuple(Entry(name, name, lr) for name, lr in (
    ("plain", 0.01), ("refocus", 0.03), ("plain", 0.003), ("plain", 0.03), ("norms-head", 0.03),
))  # fmt: skip


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Return what carries out a search whose runs have given values, and tells which runs there were."""

    def carried_out(values, base=0.8, entries=ENTRIES, losses={}):  # noqa: B006  # not changed
        recipe = {"model": "m:net", "data": "digits", "checkpoint": "w.pth", "lr": 0.01}
        hits = of_hits([i < 1000 * base for i in range(1000)])
        plan = dataclasses.replace(
            record().plan, recipe=recipe | {"task": "classification"}, base=hits, entries=entries,
            rounds=(Round(len(entries), 10), Round(2, 30)), steps_per_epoch=5, contenders=(),
        )  # fmt: skip
        monkeypatch.setattr("refconv.improvement.searching.is_over", lambda run: False)

        def tried(self, number, run):
            entry = self._entries[run.folder]
            found = values.get((run.folder.parts[-3], str(entry)), values.get(str(entry)))
            return Tried(number, entry, 10, found, losses.get(str(entry), 0.5))

        monkeypatch.setattr(Search, "_tried", tried)
        found = Search(plan, tmp_path)
        while (run := found.start()) is not None:
            found.ended(run, Outcome("finished", ""))
        return found

    return carried_out


def last(found):
    return sorted(str(entry) for entry, run in found.finalists if "round-2" in run.folder.parts)


def test_the_best_with_and_without_refocusing_go_on_at_their_rates(search):
    values = {"plain lr 0.01": 0.88, "plain lr 0.003": 0.90, "refocus lr 0.03": 0.85}
    assert last(search(values)) == ["plain lr 0.003", "refocus lr 0.03"]


def test_within_noise_the_lower_loss_goes_on(search):
    values = {"plain lr 0.01": 0.88, "plain lr 0.003": 0.87, "plain lr 0.03": 0.86, "refocus lr 0.03": 0.85}
    losses = {"plain lr 0.003": 0.4, "plain lr 0.03": 0.3}
    assert last(search(values, losses=losses)) == ["plain lr 0.003", "refocus lr 0.03"]


def test_a_network_that_no_short_run_betters_goes_on_at_high_rates(search):
    """One standard error of 80 % of 1,000 samples is 1.3 points."""
    values = {"plain lr 0.01": 0.79, "plain lr 0.003": 0.81, "refocus lr 0.03": 0.80, "norms-head lr 0.03": 0.812}
    bold = {"plain lr 0.1": 0.8, "refocus lr 0.3": 0.8}
    assert last(search(values | bold)) == ["plain lr 0.1", "refocus lr 0.3"]
    values["plain lr 0.003"] = 0.816
    assert last(search(values)) == ["plain lr 0.003", "refocus lr 0.03"]


def test_a_contender_that_failed_does_not_go_on_at_high_rates(search):
    entries = (*ENTRIES[:1], *ENTRIES[2:])
    values = {"plain lr 0.003": 0.8, "plain lr 0.01": 0.79, "plain lr 0.1": 0.8}
    assert last(search(values, entries=entries)) == ["plain lr 0.003", "plain lr 0.1"]


def test_without_a_result_of_the_last_round_the_first_one_is_combined(search):
    found = search({"plain lr 0.01": 0.79, "refocus lr 0.03": 0.78})
    assert last(found) == []
    assert [str(entry) for entry, _ in found.finalists] == ["plain lr 0.01", "refocus lr 0.03"]
    assert found.earlier == []


def test_both_rounds_are_combined_and_runs_keep_their_last_weights(search):
    found = search({"plain lr 0.01": 0.9, "refocus lr 0.03": 0.89})
    assert [str(entry) for entry, _ in found.earlier] == ["plain lr 0.01", "refocus lr 0.03"]
    assert all(run.recipe.snapshots for run in found.over)


def test_no_result_at_all_is_an_error(search):
    with pytest.raises(RunError, match="no run of the round left a result"):
        search({})
