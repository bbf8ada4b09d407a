import pytest

import report_records as made
from refconv.report.sections import SPECS

section = SPECS["sharpness"]

RISES = (1.0, 2.0, 3.0, 4.0)


def pairs_of(after, **settings):
    return [made.pair(sharpness=made.sharpness(RISES, after, **settings))]


@pytest.mark.parametrize(
    ("after", "change", "support"),
    [
        ((0.5, 1.4, 2.6, 3.5), "better", "supported"),  # less by about a half along each, though they spread by 1.3
        ((1.5, 2.4, 3.6, 4.5), "worse", "contradicted"),
        ((4.0, 1.0, 2.0, 2.0), "unclear", "undecided"),
        (RISES, "same", "undecided"),
    ],
)
def test_rises_are_compared_direction_by_direction(after, change, support):
    (pair,) = pairs_of(after)
    found = section([pair, made.unmoved(pair)])
    assert found.findings[0].change == change
    assert found.claim.verdicts["refocus"][0] == support


def test_numbers_in_the_sentence():
    text = section(pairs_of((0.5, 1.4, 2.6, 3.5))).findings[0].text
    assert "moved by 10 % of its norm" in text
    assert "rises by 2.5 before and by 2 after (difference −0.5 ±" in text
    assert "4 directions" in text


def compared(after, **settings):
    pairs = [*pairs_of(after, **settings)]
    return section([made.plain(sharpness=made.sharpness(RISES, (0.6, 1.5, 2.5, 3.6))), *pairs]).findings[-1]


def test_pairs_of_the_same_directions_are_compared_by_direction():
    assert compared((0.3, 1.1, 2.2, 3.2)).change == "better"
    assert compared((0.3, 1.1, 2.2, 3.2), seed=1).change == "unclear"  # other directions: the spread counts


def test_pairs_of_different_distances_are_not_compared():
    found = compared((0.3, 1.1, 2.2, 3.2), radius=0.2)
    assert found.change == "unclear"
    assert "different distances" in found.text


def test_table_has_the_loss_beside_the_rise():
    row = section(pairs_of(RISES)).figures[0].table.rows[0]
    assert row[:2] == ("before", "2.5")
    assert row[-2:] == ("0.4", "0.5")
