"""The spectrum of the start, which is no change and the same for all pairs."""

import pytest
import torch

from refconv.report.sections import SPECS


def delta(layers=1):
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[..., 1, 1] = 1
    return [kernel] * layers


def test_shifts_of_one_tap_are_the_even_spectrum(pair_of):
    section = SPECS["spectrum"]([pair_of("refocus", delta(), delta(), "spectrum")])
    (finding,) = section.findings
    assert "in its only layer the fastest pattern learns 1 times as fast as the slowest" in finding.text
    assert "the effective rank is 100.0 % of the taps." in finding.text
    assert finding.change == "same"
    assert section.figures[1].table.rows == tuple((str(number), "1") for number in range(1, 10))


def test_every_pair_has_its_finding_and_the_start_is_drawn_once(pair_of):
    kernels = [torch.rand(4, 1, 3, 3), torch.rand(4, 1, 5, 5)]
    pairs = [pair_of(name, kernels, kernels, "spectrum") for name in ("plain", "refocus")]
    section = SPECS["spectrum"](pairs)
    assert [finding.pair for finding in section.findings] == ["plain", "refocus"]
    assert "in the median layer" in section.findings[0].text
    assert [figure.option for figure in section.figures] == [None, "0", "1"]
    assert not any("differ" in note for note in section.notes)


def test_another_start_is_noticed(pair_of):
    pairs = [
        pair_of("plain", delta(), delta(), "spectrum"),
        pair_of("refocus", [torch.ones(1, 1, 3, 3)], delta(), "spectrum"),
    ]
    assert "The pairs' records of the before model differ; drawn is that of plain." in SPECS["spectrum"](pairs).notes


def test_a_lower_rank_is_a_direction_that_stays(pair_of):
    centre = torch.zeros(1, 1, 5, 5)
    centre[..., 2, 2] = 1
    section = SPECS["spectrum"]([pair_of("refocus", [centre], [centre], "spectrum")])
    note = "In 1 layer the rank is below the number of taps: some patterns refocusing cannot move."
    assert note in section.notes


@pytest.mark.parametrize("layers", [1, 2])
def test_kernels_of_zeros_have_no_spectrum(pair_of, layers):
    zeros = [torch.zeros(1, 1, 3, 3)] * layers
    section = SPECS["spectrum"]([pair_of("refocus", zeros, zeros, "spectrum")])
    assert "cannot move them" in section.findings[0].text
    assert len(section.figures) == 1
