"""What is said of too few samples, by one rule for all sections that read data."""

from types import SimpleNamespace

import pytest

import report_records as made
from refconv.measures.judging import mcnemar, paired_difference
from refconv.measures.redundancy import Redundancy
from refconv.measures.verdicts import FEWEST
from refconv.report.sections import SECTIONS
from refconv.report.writing import told
from report_pairs import pair, section


def test_the_fewest_samples_are_those_that_show_ten_points():
    changed = FEWEST // 10
    assert mcnemar(changed, 0) < 0.05 <= mcnemar(changed - 1, 0)
    assert paired_difference(both=FEWEST - changed, gained=changed, lost=0, neither=0).excludes_zero


def record(**fields):
    """Return a record of which these fields are known only."""
    found = object.__new__(Redundancy)
    found.__dict__.update(fields)
    return found


@pytest.mark.parametrize("records", [
    {"redundancy-before": record(samples=900), "redundancy-after": record(samples=8)},
    {"redundancy": record(samples=59)}, {"redundancy": record(conditions=SimpleNamespace(samples=59))},
])  # fmt: skip
def test_a_section_on_too_few_samples_keeps_its_numbers_and_judges_nothing(records):
    pairs = [pair(records=records)]
    whole = section(pairs)
    (found,) = told([lambda given: whole], pairs)
    (finding,) = found.findings
    assert finding.text.startswith("Too few samples to say: ")
    assert (finding.change, found.claim.verdicts) == ("unclear", {"refocus": ("undecided", finding.text)})
    assert found.figures == whole.figures


@pytest.mark.parametrize("records", [{"redundancy": record(samples=60)}, {"redundancy": record(layers=[])}, {}])
def test_samples_enough_and_weights_are_judged(records):
    pairs = [pair(records=records)]
    whole = section(pairs)
    assert told([lambda given: whole, lambda given: None], pairs) == (whole,)


def test_every_section_with_data_follows_the_rule(pairs):
    """Two real pairs on 16 samples: no section that reads data says better, worse or different."""
    found = {one.name: one for one in told(SECTIONS, pairs)}
    few = {name for name, one in found.items() if one.findings[0].text.startswith("Too few samples to say: 16")}
    assert few == {
        "agreement", "calibration", "similarity", "probes", "neighbours", "fourier", "attention", "receptive_field",
        "explanations", "interpolation", "landscape", "sharpness", "curvature", "attacks", "corruptions", "shifts",
    }  # fmt: skip
    assert all(finding.change == "unclear" for name in few for finding in found[name].findings)


def test_eight_images_decide_no_claim():
    """Eight images decided seven claims."""
    still, moved = made.attacks(0.9, 0.6, 0.2, samples=8), made.attacks(0.9, 0.9, 0.9, samples=8)
    both = [made.plain(attacks=(still, still)), made.pair(attacks=(still, moved))]
    (found,) = told(SECTIONS, both)
    assert found.claim.verdicts["refocus"] == ("undecided", "Too few samples to say: 8, and it takes 60.")
