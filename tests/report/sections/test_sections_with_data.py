"""What all sections with data share: real records, figures that can be read without seeing, pairs without a record."""

import dataclasses

import pytest

from refconv.measures.pairs import ModelPair
from refconv.report.sections import SECTIONS

NAMES = [section.name for section in SECTIONS]
WITH_DATA = [section for section in SECTIONS if NAMES.index(section.name) >= NAMES.index("agreement")]
every = pytest.mark.parametrize("section", WITH_DATA, ids=lambda section: section.name)
CLAIMED = {"agreement", "attacks", "curvature", "landscape", "sharpness"}


def without_records(pair, *names):
    left = {key: value for key, value in pair.records.items() if key.partition("-")[0] not in names}
    return dataclasses.replace(pair, records=left)


@every
def test_section_says_something_of_each_real_pair_and_compares_them(section, pairs):
    found = section(pairs)
    said = [finding.pair for finding in found.findings]
    assert {"plain", "refocus"} == set(said)
    assert said.count("refocus") > said.count("plain")
    assert any("plain" in finding.text for finding in found.findings if finding.pair == "refocus")
    for finding in found.findings:
        assert finding.text.endswith(".")
        assert "None" not in finding.text
        assert "nan" not in finding.text


@every
def test_every_figure_has_numbers_in_words_and_in_a_table(section, pairs):
    for figure in section(pairs).figures:
        assert any(letter.isdigit() for letter in figure.alt), figure.alt
        assert figure.table.rows
        assert "None" not in str(figure.table.rows)
        assert len(figure.drawing) > 500


@every
def test_claim_is_about_refocusing_and_measured_against_plain_training(section, pairs):
    claim = section(pairs).claim
    if section.name not in CLAIMED:
        assert claim is None
        return
    assert list(claim.verdicts) == ["refocus"]
    assert "plain training from the same start" in claim.verdicts["refocus"][1]
    alone = section([pairs[1]]).claim
    assert "not compared with plain training" in alone.verdicts["refocus"][1]
    assert section([pairs[0]]).claim is None


@every
def test_no_pair_with_the_record_means_no_section(section):
    assert section([ModelPair("empty", {"before": {}, "after": {}})]) is None


@every
def test_pair_without_the_record_is_named_in_the_notes_and_the_other_keeps_its_role(section, pairs):
    name = section.name
    missing = without_records(pairs[0], name, "surface")
    missing = dataclasses.replace(missing, facts=dataclasses.replace(missing.facts, left_out={name: "too few samples"}))
    found = section([missing, pairs[1]])
    assert {finding.pair for finding in found.findings} == {"refocus"}
    assert "plain was not measured: too few samples." in found.notes
    drawn = "".join(str(figure.drawing) for figure in found.figures)
    if name not in {"attention", "receptive_field"}:  # their drawings carry names instead of roles
        assert "c-r1" in drawn or "refocus" in drawn
        assert "c-r0" not in drawn
