import pytest

import report_records as made
from refconv.measures.robustness import judged, level, telling_radius
from refconv.report.sections import SPECS

section = SPECS["attacks"]

BEFORE = (0.9, 0.6, 0.2)


def pairs_of(*after, **settings):
    return [made.pair(attacks=(made.attacks(*BEFORE, **settings), made.attacks(*after, **settings)))]


@pytest.mark.parametrize(
    ("after", "change", "support"),
    [
        ((0.9, 0.8, 0.4), "better", "supported"),
        ((0.9, 0.4, 0.1), "worse", "contradicted"),
        (BEFORE, "same", "undecided"),
        ((0.9, 0.61, 0.2), "unclear", "undecided"),
        ((0.97, 0.67, 0.3), "same", "undecided"),  # higher by as much as without an attack
        ((0.6, 0.55, 0.2), "unclear", "undecided"),  # falls less deep because it is worse throughout
    ],
)
def test_robustness_is_the_fall_together_with_the_level(after, change, support):
    (pair,) = pairs_of(*after)
    found = section([pair, made.unmoved(pair)])
    assert found.findings[0].change == change
    assert found.claim.verdicts["refocus"][0] == support


def test_fall_that_the_level_speaks_against_is_said_so():
    assert "says otherwise" in section(pairs_of(0.6, 0.55, 0.2)).findings[0].text
    assert "says otherwise" not in section(pairs_of(0.9, 0.8, 0.4)).findings[0].text


def test_few_samples_leave_the_same_difference_open():
    assert section(pairs_of(0.9, 0.8, 0.4, samples=40)).findings[0].change == "unclear"


def test_sentences_are_about_the_telling_radius():
    text = section(pairs_of(0.9, 0.8, 0.4)).findings[0].text
    assert text.startswith("PGD at 1 / 255 takes 30.0 points of accuracy before (90.0 % to 60.0 %) and 10.0 after")


@pytest.mark.parametrize(
    ("accuracy", "step"), [((0.9, 0.6, 0.2), 1), ((0.9, 0.85, 0.5), 2), ((0.9, 0.9, 0.9), 2), ((0.9, 0.0, 0.0), 1)]
)
def test_telling_radius_leaves_about_half(accuracy, step):
    assert telling_radius(made.attacks(*accuracy)) == step / 255


def test_both_attacks_are_found_by_name():
    found = section(pairs_of(0.9, 0.8, 0.4, fgsm=(0.9, 0.7, 0.5)))
    assert "(90.0 % to 70.0 %)" in found.findings[1].text
    assert [row[1] for row in found.figures[0].table.rows] == ["90.0 %", "60.0 %", "20.0 %"]
    assert [row[1] for row in found.figures[1].table.rows] == ["90.0 %", "70.0 %", "50.0 %"]
    assert [row[0] for row in found.figures[0].table.rows] == ["0 / 255", "1 / 255", "2 / 255"]


def test_one_step_that_finds_more_than_several_is_noted():
    hidden = [made.pair(attacks=(made.attacks(*BEFORE), made.attacks(0.9, 0.8, 0.6, fgsm=(0.9, 0.5, 0.1))))]
    assert any("hidden gradients: refocus." in note for note in section(hidden).notes)
    assert not any("hidden" in note for note in section(pairs_of(*BEFORE)).notes)


def test_plain_training_that_is_more_robust_leaves_the_claim_open():
    start = made.attacks(*BEFORE)
    pairs = [
        made.plain(attacks=(start, made.attacks(0.9, 0.88, 0.5))),
        made.pair(attacks=(start, made.attacks(0.9, 0.7, 0.3))),
    ]
    found = section(pairs)
    assert found.claim.verdicts["refocus"][0] == "undecided"
    assert (found.findings[-1].pair, found.findings[-1].change) == ("refocus", "worse")
    assert "with plain (90.0 % to 88.0 %) and 20.0 with refocus" in found.findings[-1].text


def test_falls_that_differ_by_rounding_are_the_same():
    assert 0.97 - 0.67 != 0.9 - 0.6
    assert judged(level(0.9, [0.6], 100), level(0.97, [0.67], 100)) == "same"
