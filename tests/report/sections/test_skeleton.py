"""Skeletons that grow, shrink and stay, and the claim that they grow."""

import pytest
import torch

from refconv.report.sections import SPECS


def crosses(strength, layers=6, size=3):
    kernel = torch.ones(size, size)
    kernel[size // 2] = kernel[:, size // 2] = strength
    return [kernel.expand(4, 1, size, size).clone() for _ in range(layers)]


def of(pair_of, before, after, name="refocus"):
    return SPECS["skeleton"]([pair_of(name, before, after, "skeleton")])


@pytest.mark.parametrize(
    ("before", "after", "change", "support"),
    [(1.0, 2.0, "better", "supported"), (2.0, 1.0, "worse", "contradicted"), (2.0, 2.001, "same", "undecided")],
)
def test_a_larger_ratio_supports_the_claim(pair_of, before, after, change, support):
    ends = {"refocus": crosses(after), "plain": crosses(before)}
    section = SPECS["skeleton"]([pair_of(name, crosses(before), end, "skeleton") for name, end in ends.items()])
    assert section.findings[0].change == change
    assert section.claim.verdicts["refocus"][0] == support


def test_numbers_are_those_of_the_kernels(pair_of):
    section = of(pair_of, crosses(1.0), crosses(4.0))
    headline, share = section.findings
    assert headline.text == "The mean ratio of cross to corners rises from 1 to 4 (up in 6 of 6 layers, p = 0.031)."
    assert share.text == (  # 5 taps of 4 and 4 of 1
        "In 6 layers of 3 × 3 taps the share of magnitude on the cross rises from 55.6 % to 83.3 %; a flat kernel has "
        "55.6 %."
    )
    maps = section.figures[0]
    assert (maps.choice, maps.option) == ("kernel size", "3 × 3")
    assert maps.table.rows == (("before", "1", "1", "1", "55.6 %"), ("refocus", "1", "0.25", "4", "83.3 %"))


def test_flat_share_is_of_the_kernel_size(pair_of):
    section = of(pair_of, crosses(3.0, size=5), crosses(2.0, size=5))
    assert "a flat kernel has 36.0 %" in section.findings[1].text  # 9 of 25


def test_kernels_without_corners_have_no_ratio(pair_of):
    all_cross = [torch.rand(4, 1, 2, 2)]
    section = of(pair_of, all_cross, all_cross)
    assert [finding.text for finding in section.findings] == [
        "The ratio of cross to corners is defined in no layer of both models."
    ]
    assert section.claim.verdicts["refocus"][0] == "undecided"


def test_kernels_of_zeros_are_named(pair_of):
    section = of(pair_of, [torch.zeros(4, 1, 3, 3), *crosses(1.0)], [torch.zeros(4, 1, 3, 3), *crosses(2.0)])
    assert "All zero in one of the models: 0." in section.notes
    assert section.findings[0].change == "better"


def test_lines_and_volumes_are_counted_and_only_what_is_flat_is_drawn(pair_of):
    before = [torch.rand(4, 1, 5) + 0.1, torch.rand(4, 1, 3, 3, 3) + 0.1]
    section = of(pair_of, before, [2 * kernel for kernel in before])
    assert [figure.option for figure in section.figures if figure.choice == "kernel size"] == ["5"]
    assert "Kernels of three dimensions are counted but not drawn." in section.notes
