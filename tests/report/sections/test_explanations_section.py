"""Faithfulness of maps: judged by the gap, sample by sample, with random order beside it."""

import report_records as made
from refconv.measures.explanations import Area, Explanations, MapFaithfulness
from refconv.report.sections import SPECS


def explained(before, after, error=0.01, samples=100):
    rows = [
        MapFaithfulness(name, Area(0.5 + before, 0.5 + after, error), Area(0.5, 0.5, error), Area(before, after, error))
        for name in ("grad_cam", "grad_cam_plus", "occlusion")
    ]
    none = Area(0.5, 0.5, error), Area(0.5, 0.5, error), Area(0.0, 0.01, error)
    return Explanations(samples, False, "last", "last", 16, (*rows, MapFaithfulness("random", *none)))


def test_a_gap_that_grows_beyond_its_error_is_better():
    findings = SPECS["explanations"]([made.pair(explanations=explained(0.1, 0.2))]).findings
    assert findings[0].text == (
        "Grad-CAM: insertion less deletion rises from 0.1 to 0.2, with pixels in random order 0.01; insertion rises "
        "from 0.6 to 0.7, deletion stays at 0.5."
    )
    assert [finding.text.partition(":")[0] for finding in findings] == ["Grad-CAM", "Grad-CAM++", "Occlusion"]
    assert {finding.change for finding in findings} == {"better"}
    (worse, *_) = SPECS["explanations"]([made.pair(explanations=explained(0.2, 0.1))]).findings
    assert worse.change == "worse"
    (unclear, *_) = SPECS["explanations"]([made.pair(explanations=explained(0.1, 0.2, error=0.1))]).findings
    assert unclear.change == "unclear"


def test_pairs_are_compared_by_the_gap_of_grad_cam():
    pairs = [made.plain(explanations=explained(0.1, 0.1)), made.pair(explanations=explained(0.1, 0.3))]
    last = SPECS["explanations"](pairs).findings[-1]
    assert last.text == "After refocus insertion less deletion of Grad-CAM is 0.3, higher than the 0.1 of plain."
    assert last.change == "better"


def test_the_table_has_every_score_of_every_model():
    (figure,) = SPECS["explanations"]([made.pair(explanations=explained(0.1, 0.2))]).figures
    assert figure.table.rows[0] == ("Grad-CAM", "before", "0.6", "0.5", "0.1")
    assert figure.table.rows[4] == ("Grad-CAM", "refocus", "0.7", "0.5", "0.2")
    assert len(figure.table.rows) == 8
