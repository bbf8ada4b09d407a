"""The first screen: one row per model, and the findings with the strongest evidence."""

import pytest

from refconv.measures.judging import Finding
from refconv.report.verdict import keys, verdict
from report_pairs import agreed, pair, run, section


def of(name, *findings):
    return section(
        [], name, findings=tuple(Finding("refocus", f"{p}.", change, p) for change, p in findings), claim=None
    )


def test_every_model_has_a_row_with_its_interval_certificate_and_cost():
    records = {"agreement": agreed([0] * 60 + [1] * 40, [0] * 80 + [1] * 20)}
    found = verdict([pair(records=records, after_run=run(top1=None))], [])
    start, (_, _, refocus) = found.models
    assert (*start[:2], start[2][0]) == ("before", "base", "60.00 % (50.20 to 69.06)")  # Wilson
    assert refocus[0] == "80.00 % (71.12 to 86.66)"
    assert refocus[1].startswith("+20.00 points (+")
    assert refocus[2:] == ("holds", "1 min 35 s, 122 parameters")
    assert all(len(cells) == 4 for *_, cells in found.models)


def test_recorded_accuracies_have_the_interval_of_their_own_samples():
    found = verdict([pair(before_run=run(top1=0.4), after_run=run(top1=0.5))], [])
    assert [cells[:2] for *_, cells in found.models] == [
        ("40.00 % (39.04 to 40.96)", "–"), ("50.00 % (49.02 to 50.98)", "+10.00 points"),
    ]  # fmt: skip


def test_what_is_not_known_is_said():
    (*_, start), (*_, refocus) = verdict([pair()], []).models
    assert start[0] == "–"
    assert refocus == ("not known", "not known", "none on record", "–")


def test_the_smallest_p_of_each_section_comes_first_and_five_are_kept():
    sections = [of("redundancy", ("better", 0.03), ("worse", 0.001)), of("attacks", ("different", 1e-9))]
    sections += [of(name, ("better", p)) for name, p in (("shifts", 0.02), ("kernels", 0.01), ("scores", 0.04))]
    sections += [of("skeleton", ("unclear", 1e-3), ("same", 0.2)), of("spectrum", ("better", None))]
    assert [section.name for section, _ in keys(sections)] == ["redundancy", "kernels", "shifts", "scores", "attacks"]
    assert [section.name for section, _ in keys([*sections, of("filters", ("worse", 0.015))])][-1] == "scores"


def test_of_equally_strong_findings_the_last_is_kept():
    section = of("movement", ("better", 0.001), ("better", 0.001), ("better", 0.01))
    assert keys([section])[0][1] is section.findings[1]


@pytest.mark.parametrize("sections", [[], [of("skeleton", ("unclear", 0.3))]])
def test_without_evidence_there_are_no_findings(sections):
    assert keys(sections) == ()
