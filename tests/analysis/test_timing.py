"""A bound on time: as many samples as fit, the record that so many samples give, and the same ones for both models."""

import inspect

import pytest
import torch
from torch import nn

from networks import EveryKind
from refconv import analysis
from refconv.analysis import timing
from refconv.analysis.answers import KeptBatches
from refconv.analysis.registry import DATA_MEASURES, SHARES, EvalData
from refconv.errors import SettingError


class Clock:
    """Time that passes only where a measure lets it: so much for a call, so much for a sample."""

    def __init__(self, monkeypatch, call, sample, samples=10**6):
        self.now, self.call, self.sample, self.samples = 0.0, call, sample, samples
        self.calls = []
        monkeypatch.setattr(timing, "clock", lambda: self.now)

    def measure(self, max_samples, progress):
        taken = min(max_samples if max_samples is not None else self.samples, self.samples)
        self.calls.append((taken, progress))
        self.now += self.call + self.sample * taken
        return taken


def told(done, total):
    raise AssertionError("never called")


@pytest.mark.parametrize(
    ("seconds", "most", "call", "sample", "taken"),
    [
        pytest.param(10, 1000, 0.0, 0.001, {1000}, id="all-fit"),
        pytest.param(10, None, 0.0, 0.01, range(512, 1000), id="some-fit"),
        pytest.param(10, None, 0.5, 0.01, range(500, 900), id="calls-cost"),
        pytest.param(10, 1000, 0.0, 1.0, {8}, id="the-fewest-take-nearly-all-the-time"),
        pytest.param(10, 1000, 0.0, 99.0, {8}, id="the-fewest-last-longer"),
        pytest.param(10, 3, 0.0, 99.0, {3}, id="fewer-are-asked-for"),
        pytest.param(10, None, 0.0, 1e-7, range(10**6, 10**6 + 1), id="no-bound-is-felt"),
    ],
)
def test_as_many_samples_are_taken_as_fit(monkeypatch, seconds, most, call, sample, taken):
    clock = Clock(monkeypatch, call, sample)
    found = timing.within(seconds, clock.measure, most, told)
    assert found in taken
    assert found % 8 == 0 or found in {most, 10**6}
    assert clock.now <= max(seconds, 8 * sample) * 1.05
    *trials, (_, progress) = clock.calls
    assert all(told is None for _, told in trials)
    assert progress is told or found == 8


@pytest.mark.parametrize(("call", "sample", "taken"), [(0.0, 0.01, range(700, 1000)), (5.0, 0.01, range(60, 513))])
def test_a_trial_with_less_to_do_leaves_more_time(monkeypatch, call, sample, taken):
    clock, quick = Clock(monkeypatch, call, sample), Clock(monkeypatch, call / 10, sample / 10)

    def trial(max_samples, progress):
        quick.now = clock.now
        found = quick.measure(max_samples, progress)
        clock.now = quick.now
        return found

    monkeypatch.setattr(timing, "clock", lambda: clock.now)
    assert timing.within(10, clock.measure, None, told, trial=trial, share=0.1) in taken
    assert clock.calls[-1][1] is told
    assert len(clock.calls) == 1
    assert clock.now <= 10.5


def test_a_cold_start_does_not_count(monkeypatch):
    clock = Clock(monkeypatch, 0.0, 0.001)
    measure = clock.measure

    def cold(max_samples, progress):
        if not clock.calls:
            clock.now += 0.4
        return measure(max_samples, progress)

    assert timing.within(10, cold, 4096, None) == 4096


@pytest.mark.parametrize(
    ("sample", "taken"), [(0.01, range(700, 1025)), (0.05, range(128, 201)), (1e-4, range(4096, 4097))]
)
def test_samples_that_are_kept_cost_once_and_trials_of_them_do_not_say_that_others_are_free(monkeypatch, sample, taken):
    clock = Clock(monkeypatch, 0.0, sample)
    known = 0

    def measure(max_samples, progress):
        nonlocal known
        clock.now += sample * max(max_samples - known, 0)
        known = max(known, max_samples)
        return max_samples

    assert timing.within(10, measure, 4096, None, grain=32, kept=True) in taken
    assert clock.now <= 10.5


@pytest.mark.parametrize("before", [512, 4096])
def test_what_another_measure_has_kept_does_not_say_that_further_samples_are_free(monkeypatch, before):
    clock = Clock(monkeypatch, 0.0, 0.01)
    known = before

    def measure(max_samples, progress):
        nonlocal known
        clock.now += 0.01 * max(max_samples - known, 0)
        known = max(known, max_samples)
        return max_samples

    found = timing.within(2.0, measure, 8000, None, grain=32, kept=True, known=before)
    assert found == timing.rung(found)
    assert before <= found <= before + 200
    assert clock.now <= 2.1


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_is_refused(seconds):
    with pytest.raises(SettingError, match="max_seconds: no time; expected above 0, or None"):
        timing.within(seconds, lambda **settings: None, None, None)


def test_the_decorator_tries_with_less_to_do_and_shows_all_arguments(monkeypatch):
    clock, calls = Clock(monkeypatch, 0.0, 0.0), []

    @timing.timed(lambda points, **_: points / 2, points=2)
    def measure(model, *, points=10, max_samples=None, max_seconds=None, progress=None):
        calls.append((model, points, max_samples, progress))
        clock.now += 0.01 * points * max_samples
        return max_samples

    assert measure("a", max_samples=3) == 3
    found = measure("a", max_seconds=100.0, progress=told)
    assert calls[-1] == ("a", 10, found, told)
    assert {points for _, points, *_ in calls[1:-1]} == {2}
    assert 0.5 * 100 < clock.now <= 105
    assert list(inspect.signature(measure).parameters) == ["model", "points", "max_samples", "max_seconds", "progress"]


def test_measures_with_data_take_a_bound_on_time():
    measures = (
        analysis.adversarial_robustness, analysis.agreement, analysis.attention, analysis.calibration,
        analysis.corruption_robustness, analysis.curvature, analysis.interpolation, analysis.loss_line,
        analysis.loss_surface, analysis.receptive_field, analysis.sharpness, analysis.shift_consistency,
        analysis.similarity,
    )  # fmt: skip
    for measure in measures:
        arguments = inspect.signature(measure).parameters
        assert {"max_samples", "max_seconds", "progress"} <= set(arguments)
        assert arguments["max_seconds"].default is None


@pytest.fixture
def evidence():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(40, 3, 20, 20, generator=generator)
    batches = [((pixels - 0.5) / 0.25, torch.randint(0, 5, (40,), generator=generator))]

    def of(**bounds):
        return EvalData(batches, batches, (0.5,) * 3, (0.25,) * 3, **bounds)

    return of


@pytest.mark.parametrize("name", DATA_MEASURES)
def test_a_record_bounded_in_time_is_that_of_its_samples_for_both_models(name, evidence, monkeypatch):
    torch.manual_seed(0)
    pair = EveryKind(), EveryKind()
    ticks = iter(range(10**6))  # a second passes between any two looks at the clock: the fewest samples are too many
    monkeypatch.setattr(timing, "clock", lambda: float(next(ticks)))
    found = DATA_MEASURES[name](*pair, evidence(max_seconds=2.0))
    assert found == DATA_MEASURES[name](*pair, evidence(max_samples=8))
    for record in found.values():
        assert getattr(record, "conditions", record).samples == 8
        assert getattr(record, "conditions", record).cut


def test_progress_covers_both_models_in_one_count(evidence):
    heard = []
    pair = nn.Sequential(nn.Flatten(), nn.Linear(1200, 5)), nn.Sequential(nn.Flatten(), nn.Linear(1200, 5))
    DATA_MEASURES["calibration"](*pair, evidence(max_samples=40, progress=lambda *done: heard.append(done)))
    assert heard == [(40, 80), (80, 80)]


def test_time_that_suffices_changes_nothing(evidence):
    torch.manual_seed(0)
    model = EveryKind()
    batches = evidence().batches
    assert analysis.calibration(model, batches, max_seconds=60) == analysis.calibration(model, batches)


def test_measures_share_the_time_by_weight_and_pass_on_what_they_leave(monkeypatch):
    clock = Clock(monkeypatch, 0.0, 0.0)
    budget = timing.Budget(60.0, {"first": 3, "second": 1, "third": 1})
    clock.now = 10.0  # measures that cannot be bounded
    assert budget.share("first") == pytest.approx(30.0)
    clock.now = 20.0
    assert budget.share("second") == pytest.approx(20.0)
    clock.now = 70.0
    third = budget.share("third")
    assert 0 < third < 1e-3
    assert third.left == pytest.approx(-10.0)
    assert timing.Budget(None, {"first": 1}).share("first") is None


@pytest.mark.parametrize(
    ("left", "sample", "words"),
    [
        pytest.param(3.0, 1.0, "expected about 8 s, found 2.2 s", id="a-trial-says-so"),
        pytest.param(0.0, 1.0, "expected more time, found 0 s", id="nothing-is-left"),
    ],
)
def test_the_fewest_samples_of_a_measure_with_a_trial_give_way_to_what_is_left(monkeypatch, left, sample, words):
    clock = Clock(monkeypatch, 0.0, sample)

    def trial(max_samples, progress):
        clock.now += 0.1 * sample * max_samples

    with pytest.raises(SettingError, match=f"--seconds: too little time is left for the fewest samples; {words}"):
        timing.within(timing.Share(1.0, left), clock.measure, None, None, trial=trial, share=0.1)
    assert clock.calls == []


def test_what_a_first_trial_takes_to_warm_up_does_not_leave_a_measure_out(monkeypatch):
    clock = Clock(monkeypatch, 0.0, 0.1)
    warm = False

    def trial(max_samples, progress):
        nonlocal warm
        clock.now += 0.01 * max_samples + (0.0 if warm else 1.0)
        warm = True

    assert timing.within(timing.Share(0.1, 5.0), clock.measure, None, None, trial=trial, share=0.1) == 8


@pytest.mark.parametrize("left", [10.0, 1e9])
def test_the_fewest_samples_are_taken_where_all_that_is_left_allows_it(monkeypatch, left):
    clock = Clock(monkeypatch, 0.0, 1.0)

    def trial(max_samples, progress):
        clock.now += 0.1 * max_samples

    assert timing.within(timing.Share(1.0, left), clock.measure, None, None, trial=trial, share=0.1) == 8


def test_measures_without_a_trial_and_times_of_their_own_do_not_give_way(monkeypatch):
    clock = Clock(monkeypatch, 0.0, 1.0)
    assert timing.within(timing.Share(1.0, 2.0), clock.measure, None, None) == 8
    assert timing.within(1.0, clock.measure, None, None, trial=clock.measure, share=0.5) == 8


def test_half_of_a_share_has_half_of_what_is_left():
    half = timing.halved(timing.Share(3.0, 8.0))
    assert (half, half.left) == (1.5, 4.0)
    assert timing.halved(3.0) == 1.5
    assert not isinstance(timing.halved(3.0), timing.Share)


def test_every_measure_with_data_has_a_share():
    assert list(SHARES) == list(DATA_MEASURES)


def test_a_whole_split_is_taken_if_it_fits_though_no_step_of_the_ladder_has_its_number(monkeypatch):
    clock, taken = Clock(monkeypatch, 0.0, 0.0), []

    @timing.timed()
    def measure(batches, *, max_samples=None, max_seconds=None, progress=None):
        taken.append(max_samples)
        clock.now += 0.001 * max_samples

    for samples, most in ((1000, 1000), (None, 768)):
        measure(KeptBatches(lambda: iter(()), samples=samples), max_seconds=1.1)
        assert taken[-1] == most
