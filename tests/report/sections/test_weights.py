"""What all sections on weights keep to, on the records of two real pairs."""

import re
from dataclasses import replace

import pytest

from refconv.analysis.registry import WEIGHT_MEASURES
from refconv.measures.pairs import ModelPair
from refconv.report.sections import SECTIONS

OF_WEIGHTS = {section.name: section for section in SECTIONS[: len(WEIGHT_MEASURES)]}
NAMES = [pytest.param(name, id=name) for name in WEIGHT_MEASURES]


def words(section):
    """All that is read on the page."""
    found = [section.title, section.about, *section.notes, *(finding.text for finding in section.findings)]
    for figure in section.figures:
        cells = [cell for row in figure.table.rows for cell in row]
        found += [figure.alt, figure.caption, figure.table.caption, *figure.table.header, *cells]
    return found


def test_sections_come_first_and_in_the_order_of_the_measures():
    assert list(OF_WEIGHTS) == list(WEIGHT_MEASURES)


@pytest.mark.parametrize("name", NAMES)
def test_both_pairs_are_told_of_and_drawn(name, pairs):
    section = OF_WEIGHTS[name](pairs)
    assert section.name == name
    assert {finding.pair for finding in section.findings} == {"plain", "refocus"}
    assert section.figures
    assert all("<svg" in figure.drawing for figure in section.figures)
    assert all(len(figure.table.header) > 1 for figure in section.figures)
    assert not [text for text in words(section) if re.search(r"\b(None|nan|inf)\b|\{|\}|  ", text)]
    sentences = [*section.notes, *(finding.text for finding in section.findings)]
    sentences += [text for figure in section.figures for text in (figure.alt, figure.caption)]
    assert not [text for text in sentences if not text.endswith(".") or text.endswith("..")]


@pytest.mark.parametrize("name", NAMES)
def test_without_records_there_is_no_section(name, pairs):
    assert OF_WEIGHTS[name]([ModelPair(pair.name, pair.facts) for pair in pairs]) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_without_the_record_is_left_out_and_named(name, pairs):
    plain, refocus = pairs
    bare = ModelPair("plain", replace(plain.facts, left_out={name: "no time"}))
    section = OF_WEIGHTS[name]([bare, refocus])
    assert {finding.pair for finding in section.findings} == {"refocus"}
    assert "plain was not measured: no time." in section.notes
    header = {cell for figure in section.figures for cell in figure.table.header}
    assert not any("plain" in cell for cell in header)
    if section.claim is not None:
        assert "not compared with plain training" in section.claim.verdicts["refocus"][1]


@pytest.mark.parametrize("name", NAMES)
def test_one_pair_is_compared_with_none(name, pairs):
    section = OF_WEIGHTS[name](pairs[1:])
    assert not any("Where refocus ends" in finding.text for finding in section.findings)


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_one_choice_have_names_of_their_own(name, pairs):
    options = [(figure.choice, figure.option) for figure in OF_WEIGHTS[name](pairs).figures if figure.choice]
    assert len(set(options)) == len(options)


def test_claims_are_those_of_the_sources_and_of_refocusing_alone(pairs):
    claims = {name: section(pairs).claim for name, section in OF_WEIGHTS.items()}
    assert {name for name, claim in claims.items() if claim} == {"redundancy", "skeleton"}
    assert all(set(claim.verdicts) == {"refocus"} for claim in claims.values() if claim)


def test_a_real_refocusing_is_aligned_and_within_reach(pairs):
    findings = [finding.text for finding in OF_WEIGHTS["relations"](pairs).findings if finding.pair == "refocus"]
    assert "Refocusing from this start can reach all of the change." in findings
    alignment = {row.layer: row.alignment for row in pairs[1].record("movement").layers}
    table = next(figure for figure in OF_WEIGHTS["movement"](pairs).figures if "Alignment" in figure.alt).table
    assert {row[0]: row[2] for row in table.rows} == {layer: f"{value:.3g}" for layer, value in alignment.items()}
