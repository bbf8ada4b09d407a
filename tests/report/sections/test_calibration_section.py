import math

import pytest

import report_records as made
from refconv.measures.agreement import ece_error
from refconv.report.sections import SPECS
from refconv.report.sections.classifiers import chance_ece

section = SPECS["calibration"]


def pairs_of(before, after, **settings):
    return [made.pair(calibration=(made.calibration(before, **settings), made.calibration(after, **settings)))]


@pytest.mark.parametrize(
    ("before", "after", "change", "words"),
    [
        (0.10, 0.05, "better", "falls from 10.00 % to 5.00 %"),
        (0.05, 0.10, "worse", "rises from 5.00 % to 10.00 %"),
        (0.05, 0.05, "same", "stays at 5.00 %"),
        (0.050, 0.054, "unclear", "rises from 5.00 % to 5.40 %"),
    ],
)
def test_error_of_calibration_is_judged_by_its_standard_error(before, after, change, words):
    found = section(pairs_of(before, after)).findings[0]
    assert found.change == change
    assert words in found.text


def test_few_samples_leave_the_same_difference_open():
    assert section(pairs_of(0.10, 0.05, samples=100)).findings[0].change == "unclear"


def test_errors_by_hand():
    record = made.calibration(0.1, samples=100, accuracy=0.8)
    assert ece_error(record) == pytest.approx(math.sqrt(82 / 104 * 22 / 104 / 104))  # Agresti and Coull
    assert ece_error(made.calibration(0.1, samples=100, accuracy=1.0)) > 0.01  # all right: still an error
    assert chance_ece(record) == pytest.approx(math.sqrt(2 / math.pi * 0.9 * 0.1 / 100))


def test_confidence_above_and_below_accuracy():
    text = section(pairs_of(0.05, -0.02)).findings[2].text
    assert "5.00 points overconfident" in text
    assert "2.00 points underconfident" in text
    assert "neither over- nor underconfident" in section(pairs_of(0.0, 0.1)).findings[2].text


def test_scores_without_an_error_stay_open():
    found = section(pairs_of(0.05, 0.02)).findings[1]
    assert found.change == "unclear"
    assert "falls from 0.55 to 0.52 nats" in found.text
    assert section(pairs_of(0.05, 0.05)).findings[1].change == "same"


def test_bins_without_samples_are_left_out_of_the_diagram():
    figure = section(pairs_of(0.1, 0.05)).figures[0]
    assert [row[0] for row in figure.table.rows] == ["50 to 100 %"] * 2
    assert [row[3:] for row in figure.table.rows] == [("90.0 %", "80.0 %"), ("85.0 %", "80.0 %")]


def test_pairs_are_compared_by_what_they_end_at():
    pairs = [
        made.plain(calibration=(made.calibration(0.10), made.calibration(0.09))),
        made.pair(calibration=(made.calibration(0.10), made.calibration(0.05))),
    ]
    found = section(pairs).findings[-1]
    assert (found.pair, found.change) == ("refocus", "better")
    assert "5.00 %, lower than the 9.00 % of plain" in found.text
