import pytest

import report_records as made
from refconv.report.sections import SPECS

section = SPECS["shifts"]


def pairs_of(before, after):
    return [made.pair(shifts=(before, after))]


@pytest.mark.parametrize(
    ("same", "change", "words"),
    [
        ((0.97, 0.95), "better", "rises from 85.0 % to 95.0 %"),
        ((0.9, 0.7), "worse", "falls from 85.0 % to 70.0 %"),
        ((0.9, 0.85), "same", "stays at 85.0 %"),
        ((0.9, 0.86), "unclear", "rises from 85.0 % to 86.0 %"),
    ],
)
def test_consistency_at_the_largest_shift(same, change, words):
    found = section(pairs_of(made.shifts(0.92, 0.85), made.shifts(*same))).findings[0]
    assert found.change == change
    assert f"by 2 pixels that keep the class {words}" in found.text


def test_consistency_at_the_price_of_accuracy_is_only_different():
    after = made.shifts(0.99, 0.99, accuracy=0.5)
    found = section(pairs_of(made.shifts(0.92, 0.85), after))
    assert [finding.change for finding in found.findings] == ["different", "worse"]


def test_records_are_compared_at_a_shift_that_both_have():
    text = section(pairs_of(made.shifts(0.9, 0.8, 0.7), made.shifts(0.95))).findings[0].text
    assert "by 1 pixel that keep the class rises from 90.0 % to 95.0 %" in text


def test_four_directions_count_as_one_sample():
    # at 2,000 images the difference of 1.5 points has a standard error of 1.0; 8,000 make it sure
    before, after = made.shifts(0.88), made.shifts(0.895)
    assert section(pairs_of(before, after)).findings[0].change == "unclear"
    more = [made.shifts(share, samples=8000) for share in (0.88, 0.895)]
    assert section(pairs_of(*more)).findings[0].change == "better"


def test_figures_are_of_single_shifts_and_of_all_shifts():
    figures = section(pairs_of(made.shifts(0.9, 0.8), made.shifts(0.9, 0.8))).figures
    assert [row[1] for row in figures[0].table.rows] == ["90.0 %", "80.0 %"]
    assert [row[1] for row in figures[1].table.rows] == ["81.0 %", "64.0 %"]
