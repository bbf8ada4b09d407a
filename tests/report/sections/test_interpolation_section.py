from dataclasses import replace

import report_records as made
from refconv.report.sections import SPECS

section = SPECS["interpolation"]


def finding(*losses):
    return section([made.pair(interpolation=made.interpolation(*losses))]).findings[0]


def test_rise_between_the_ends_is_a_barrier():
    found = finding(0.5, 0.9, 0.3)
    assert found.change == "different"
    assert "falls from 0.5 to 0.3" in found.text
    assert "the barrier is 0.5, it left the basin" in found.text


def test_small_rise_is_none_to_speak_of():
    assert finding(1.0, 1.01, 1.0).change == "same"
    assert finding(1.0, 1.03, 1.0).change == "different"
    assert "one basin" in finding(1.0, 0.7, 0.9).text


def test_loss_that_is_not_finite_leaves_it_open():
    found = finding(1.0, None, 1.0)
    assert found.change == "unclear"
    assert "not finite somewhere on the line between: whether there is a barrier is not known." in found.text


def test_pairs_are_compared_by_their_basins():
    low, high, unknown = (
        made.interpolation(1.0, 0.8, 0.7),
        made.interpolation(1.0, 2.0, 0.7),
        made.interpolation(1, None, 1),
    )

    def compared(first, second):
        return section([made.plain(interpolation=first), made.pair(interpolation=second)]).findings[-1]

    assert "only the first left" in compared(low, high).text
    assert "only the second left" in compared(high, low).text
    assert (compared(low, low).change, compared(high, high).change) == ("same", "same")
    assert "both left" in compared(high, high).text
    assert compared(low, unknown).change == "unclear"


def test_loss_has_a_unit_for_classification_only():
    pair = made.pair(interpolation=made.interpolation(1.0, 0.8, 0.7))
    assert "nats" in section([pair]).figures[0].drawing
    pair = replace(pair, facts=replace(pair.facts, task="segmentation"))
    assert "nats" not in section([pair]).figures[0].drawing
