import report_records as made
from refconv.report.sections import SPECS

section = SPECS["landscape"]

BOWL = (3.0, 2.0, 1.0, 2.0, 3.0)
WIDER = (2.0, 1.5, 1.0, 1.5, 2.0)
LOWER = (2.5, 1.5, 0.5, 1.5, 2.5)  # as steep, from a smaller loss


def change(before, after):
    return section([made.pair(landscape=made.line(before, after))]).findings[0].change


def test_bowl_is_judged_by_rises_and_not_by_losses():
    assert change(BOWL, WIDER) == "better"
    assert change(WIDER, BOWL) == "worse"
    assert change(BOWL, LOWER) == change(BOWL, BOWL) == "same"


def test_mixed_rises_leave_it_open():
    assert change(BOWL, (2.0, 1.5, 1.0, 2.5, 4.0)) == "unclear"


def test_numbers_in_the_sentence():
    text = section([made.pair(landscape=made.line(BOWL, WIDER))]).findings[0].text
    assert "by 1.5 before and by 0.75 after" in text
    assert "rises less after at 4 of 4 points" in text


def test_points_that_are_not_finite_are_left_out():
    text = section([made.pair(landscape=made.line(BOWL, (None, 1.5, 1.0, 1.5, 2.0)))]).findings[0].text
    assert "at 3 of 3 points" in text
    found = section([made.pair(landscape=made.line(BOWL, (2.0, 1.5, None, 1.5, 2.0)))])
    assert found.findings[0].change == "unclear"
    assert "not finite" in found.findings[0].text


def test_line_and_plane_must_agree_for_the_claim():
    wider, narrower = made.surface((1.0, 2.0), (1.0, 1.5)), made.surface((1.0, 2.0), (1.0, 3.0))

    def support(surface):
        pair = made.pair(landscape=made.line(BOWL, WIDER), surface=surface)
        return section([pair, made.unmoved(pair)]).claim.verdicts["refocus"][0]

    assert support(wider) == "supported"
    assert support(narrower) == "undecided"


def test_plane_alone_makes_a_section():
    pair = made.pair(surface=made.surface((1.0, 2.0), (1.0, 3.0)))
    found = section([pair, made.unmoved(pair)])
    assert found.findings[0].change == "worse"
    assert len(found.figures) == 1
    assert found.claim.verdicts["refocus"][0] == "contradicted"


def test_plain_training_with_the_wider_bowl_leaves_the_claim_open():
    widest = (1.5, 1.2, 1.0, 1.2, 1.5)
    pairs = [made.plain(landscape=made.line(BOWL, widest)), made.pair(landscape=made.line(BOWL, WIDER))]
    found = section(pairs)
    assert found.claim.verdicts["refocus"][0] == "undecided"
    assert "did better" in found.claim.verdicts["refocus"][1]
    assert (found.findings[-1].pair, found.findings[-1].change) == ("refocus", "worse")


def test_conditions_are_noted():
    notes = section([made.pair(landscape=made.line(BOWL, WIDER))]).notes
    assert "1,024 samples drawn from more" in notes[0]
    assert "3 batch-norm layers" in notes[0]
