import dataclasses

import pytest

import report_records as made
from refconv.measures.agreement import confusions, same_samples_difference
from refconv.measures.pairs import measured
from refconv.report.sections import SPECS

section = SPECS["agreement"]


def one(*records):
    return [made.pair(agreement=record) for record in records]


@pytest.mark.parametrize(
    ("gained", "lost", "change", "support", "words"),
    [
        (30, 5, "better", "supported", "rises from 48.15 % to 66.67 %"),
        (5, 30, "worse", "contradicted", "falls from 66.67 % to 48.15 %"),
        (6, 4, "unclear", "undecided", "rises from 58.18 % to 60.00 %"),
        (4, 4, "same", "undecided", "stays at 59.26 %"),
    ],
)
def test_accuracy_is_judged_by_mcnemar(gained, lost, change, support, words):
    pair = made.pair(agreement=made.agreement(gained, lost))
    still = made.plain(agreement=made.agreement(0, 0, both=60 + lost, neither=40 + gained))
    found = section([pair, still])
    first = found.findings[0]
    assert first.change == change
    assert found.claim.verdicts["refocus"][0] == support
    assert f"{gained} are right only after and {lost} only before" in first.text
    assert words in first.text


def test_a_part_of_the_split_does_not_decide_the_claim_on_accuracy():
    """500 of 2,000 images said "+4.20, more accurate" where all of them say less than plain training."""
    records = made.agreement(0, 0, both=65, neither=70), made.agreement(30, 5)
    pairs = [made.plain(agreement=records[0]), made.pair(agreement=dataclasses.replace(records[1], cut=True))]
    assert section(pairs).claim.verdicts["refocus"] == (
        "undecided", "Only a part of the split was compared, 135 samples; accuracy is told by all of it.",
    )  # fmt: skip


def test_one_sample_is_in_the_singular():
    assert "1 is right only after and 3 only before" in section(one(made.agreement(1, 3))).findings[0].text


def test_pairs_are_compared_sample_by_sample():
    # plain gains 0 to 19; refocus gains 10 to 39: 20 to 39 are right only with refocus, 0 to 9 only with plain
    places = (range(10, 40), ())
    pairs = [
        made.plain(agreement=made.agreement(20, 0, neither=60)),
        made.pair(agreement=made.agreement(30, 0, neither=50, places=places)),
    ]
    items = measured(pairs, "agreement")
    assert same_samples_difference(items[1], items[0]) == (20, 10)
    found = section(pairs)
    assert found.findings[-1].change == "unclear"
    assert "20 are right only with refocus and 10 only with plain (McNemar's p = 0.099)" in found.findings[-1].text
    assert found.claim.verdicts["refocus"] == (
        "undecided",
        "More samples are right after than before, beyond chance, but as far as can be told plain "
        "training from the same start gave as much.",
    )


def test_sample_lost_in_both_pairs_counts_for_neither():
    pairs = [made.plain(agreement=made.agreement(0, 5)), made.pair(agreement=made.agreement(0, 5))]
    first, second = measured(pairs, "agreement")
    assert same_samples_difference(first, second) == (0, 0)
    assert section(pairs).findings[-1].change == "same"


def test_pairs_with_samples_that_are_not_listed_are_not_compared_one_by_one():
    pairs = [made.plain(agreement=made.agreement(20, 0)), made.pair(agreement=made.agreement(20, 0, listed=0.5))]
    found = section(pairs)
    assert found.findings[-1].change == "unclear"
    assert "cannot be compared" in found.findings[-1].text


def test_pairs_of_different_starts_are_not_compared_one_by_one():
    pairs = [made.plain(agreement=made.agreement(9, 0)), made.pair(agreement=made.agreement(9, 0), fingerprint="f1")]
    second, first = measured(pairs, "agreement")
    assert same_samples_difference(first, second) is None


def test_confusions_that_were_resolved_count_negative():
    (item,) = measured(one(made.agreement(3, 1)), "agreement")
    assert confusions(item) == {(0, 1): -2}
    figure = section([item.pair]).figures[1]
    assert figure.table.rows == (("ant taken for bee", "−2"),)


def test_class_without_a_name_is_numbered():
    pair = made.pair(agreement=made.agreement(3, 1))
    pair = dataclasses.replace(pair, facts=dataclasses.replace(pair.facts, class_names=()))
    assert section([pair]).figures[0].table.rows[0][0] == "class 0"


def test_classes_are_given_with_gains_and_losses():
    figure = section(one(made.agreement(30, 10))).figures[0]
    assert figure.table.rows[0][-2:] == ("30", "10")
    assert "ant +16.7 points" in figure.alt  # 20 more of 120
    assert "bee +0.0 points" in figure.alt
