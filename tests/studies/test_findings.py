"""The findings on the page follow from the differences in the records, and from nothing else."""

import functools

import pytest

import small_studies
from benchmark_scripts import script

comparison = functools.partial(small_studies.comparison, test_samples=10_000)
PLAIN = (0.900, 0.910, 0.920, 0.900, 0.910, 0.920)


@pytest.fixture(scope="module")
def findings():
    return script("findings")


def moved(by, spread=0.0005):
    return {
        "top1": tuple(v + by + e for v, e in zip(PLAIN, (-spread, 0.0, spread) * 2, strict=True)),
        "loss": (0.3, 0.31, 0.3) * 2,
    }


def study(name, gains, method="refocus", **changes):
    cells = {}
    for number, gain in enumerate(gains):
        cells[f"net{number}", "plain"] = moved(0.0, 0.0)
        cells[f"net{number}", method] = moved(gain)
    return comparison(cells, name=name, **changes)


def test_the_goal_needs_four_gains_that_are_large_and_clear(findings):
    assert "**This was reached.**" in findings.goal({"main": study("main", (0.004, 0.004, 0.004, 0.004, -0.01))})
    short = findings.goal({"main": study("main", (0.004, 0.004, 0.004, 0.0028, 0.0003))})
    assert "**This was not reached.**" in short
    assert "| refocus | 3 of 5 | +0.03 to +0.40 points |" in short
    assert "In the study main refocus is better than plain training on 4 and worse on 0 of 5." in short
    both = findings.goal({"main": study("main", (0.001,)), "tuned": study("tuned", (-0.01, 0.0))})
    assert "In the study tuned refocus is better than plain training on 0 and worse on 1 of 2." in both


def test_a_large_gain_with_a_wide_interval_does_not_count(findings):
    wide = comparison({("net", "plain"): moved(0.0, 0.0), ("net", "refocus"): moved(0.004, spread=0.02)}, name="main")
    assert "| refocus | 0 of 1 |" in findings.goal({"main": wide})


def test_differences_are_paired_by_seed(findings):
    record = comparison({("net", "a"): moved(0.01, 0.0), ("net", "plain"): moved(0.0, 0.0)}, test_samples=None)
    interval = findings.difference(record, "net", "a", "plain", "top1")
    assert interval.mean == pytest.approx(0.01)
    assert interval.low is None  # equal in all seeds; unpaired, their spread would show
    counted = comparison({("net", "a"): moved(0.01, 0.0), ("net", "plain"): moved(0.0, 0.0)}, test_samples=200)
    interval = findings.difference(counted, "net", "a", "plain", "top1")
    assert (interval.low, interval.high) == (pytest.approx(0.005), pytest.approx(0.015))
    assert findings.difference(record, "net", "a", "absent", "top1") is None


def test_questions_without_a_study_stay_open(findings):
    text = findings.findings([study("main", (0.0,))])
    for name in ("contenders", "base_strength", "ablations"):
        assert f"Open: studies/{name}.toml has not been run yet." in text
    assert "| tuned | not run yet |" in text


def test_the_control_of_learning_rates_is_compared_with_refocusing_itself(findings):
    cells = {("net", "plain"): moved(0.0, 0.0), ("net", "refocus"): moved(0.01), ("net", "lr_scaled"): moved(0.01)}
    text = findings.explanation(comparison(cells, name="contenders"))
    assert "excludes zero, on 0 of 1 architectures" in text
    cells["net", "lr_scaled"] = moved(0.0)
    text = findings.explanation(comparison(cells, name="contenders"))
    assert "excludes zero, on 1 of 1 architectures" in text
    assert "| refocus minus lr_scaled | " in text


def test_settings_are_compared_with_refocusing_and_optimizers_with_their_own_rival(findings):
    cells = {("net", name): moved(gain) for name, gain in (("plain", 0.0), ("refocus", 0.01), ("map-1", 0.002))}
    cells |= {("net", "adamw-plain"): moved(0.02), ("net", "adamw-refocus"): moved(0.03)}
    text = findings.settings(comparison(cells, name="ablations"))
    assert "| map-1 minus refocus | **-0.80" in text
    assert "| adamw-refocus minus adamw-plain | **+1.00" in text
    assert "adamw-refocus minus refocus" not in text


def test_a_basis_that_was_not_inherited_is_counted_on_the_side_where_it_falls(findings):
    cells = {("net", name): moved(gain) for name, gain in (("plain", 0.0), ("refocus", 0.01), ("shuffled", 0.005))}
    cells["net", "random"] = moved(0.0102, spread=0.002)  # within the noise
    text = findings.settings(comparison(cells, name="ablations"))
    assert "top-1 is lower in 1 and higher in 0 of 2 comparisons" in text
    assert "one method twice" not in text
    cells["net", "kernel-space"] = moved(0.01)
    assert "one method twice" in findings.settings(comparison(cells, name="ablations"))
    del cells["net", "shuffled"], cells["net", "random"]
    assert "inherited" not in findings.settings(comparison(cells, name="ablations"))


def test_bases_stand_in_the_order_of_the_record(findings):
    record = study("base_strength", (0.02, 0.0))
    text = findings.base_strength(record)
    for base in record.bases:
        assert f"| {base.architecture} | " in text
