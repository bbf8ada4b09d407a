import pytest

import report_records as made
from refconv.report.sections import SPECS

section = SPECS["curvature"]

TRACE = (10.0, 12.0, 14.0)
LESS = (7.0, 9.1, 11.0)


def found(before, after):
    return section([made.pair(curvature=(before, after))])


@pytest.mark.parametrize(
    ("after", "errors", "change"),
    [(1.0, 0.01, "better"), (3.0, 0.01, "worse"), (2.0, 0.01, "same"), (1.9, 0.01, "unclear"), (1.0, 0.8, "unclear")],
)
def test_largest_eigenvalue_is_judged_by_its_bounds(after, errors, change):
    sides = made.curvature(2.0, 1.0, errors=errors), made.curvature(after, 0.5, errors=errors)
    assert found(*sides).findings[0].change == change


def test_traces_of_the_same_vectors_are_compared_by_vector():
    paired = found(made.curvature(2.0, trace=TRACE), made.curvature(1.0, trace=LESS))
    assert [finding.change for finding in paired.findings] == ["better", "better"]
    assert "falls from 12 to 9.03" in paired.findings[1].text
    alone = found(made.curvature(2.0, trace=TRACE), made.curvature(1.0, trace=LESS, seed=1))
    assert alone.findings[1].change == "unclear"


def test_claim_asks_for_eigenvalue_and_trace():
    def support(first, second):
        pair = made.pair(curvature=(first, second))
        return section([pair, made.unmoved(pair)]).claim.verdicts["refocus"][0]

    assert support(made.curvature(2.0, trace=TRACE), made.curvature(1.0, trace=LESS)) == "supported"
    assert support(made.curvature(2.0, trace=LESS), made.curvature(1.0, trace=TRACE)) == "undecided"
    assert support(made.curvature(1.0, trace=LESS), made.curvature(2.0, trace=TRACE)) == "contradicted"
    assert support(made.curvature(2.0), made.curvature(1.0)) == "supported"


def test_without_a_trace_there_is_no_picture_of_it():
    assert len(found(made.curvature(2.0), made.curvature(1.0)).figures) == 1
    assert len(found(made.curvature(2.0, trace=TRACE), made.curvature(1.0)).figures) == 2


def test_different_units_are_not_compared():
    sides = made.curvature(2.0), made.curvature(1.0, units="weights")
    assert found(*sides).findings[0].change == "unclear"


def test_fewer_eigenvalues_leave_a_gap():
    rows = found(made.curvature(2.0, 1.0), made.curvature(1.0)).figures[0].table.rows
    assert rows[1] == ("eigenvalue 2", "1 ± 0.01", "–")


def test_what_did_not_converge_and_what_is_no_minimum_are_noted():
    notes = " ".join(found(made.curvature(2.0, converged=False), made.curvature(1.0, smallest=-0.5)).notes)
    assert "Not converged, eigenvalues may be larger: before." in notes
    assert "no minimum of this loss on these samples: refocus (−0.5)." in notes
    notes = " ".join(found(made.curvature(2.0), made.curvature(1.0, smallest=-0.01)).notes)
    assert "minimum" not in notes
    assert "converged" not in notes
