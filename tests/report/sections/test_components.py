"""Shared patterns: shifts beside chance, explained variance, pictures per kernel size."""

import torch

from refconv.report.sections import SPECS


def varied(n=400, seed=0):
    return torch.randn(n, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


def flat(n=400, seed=0):
    """Kernels of nearly one pattern."""
    noise = torch.randn(n, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.linspace(1, 2, 9).reshape(3, 3) + 0.05 * noise


def of(pair):
    return SPECS["components"]([pair])


def test_a_shift_far_above_chance_is_a_change(pair_of):
    section = of(pair_of("refocus", [varied()], [flat()], "components"))
    shift, explained = section.findings
    assert shift.change == "different"
    assert "so the distribution changed" in shift.text
    assert "400 slices" in shift.text
    assert explained.text.startswith("The variance of the 3 × 3 kernels that the first 3 of 9 components explain")


def test_a_shift_of_chance_is_unclear_and_none_is_none(pair_of):
    again = of(pair_of("refocus", [varied(40)], [varied(40, seed=1)], "components"))
    assert again.findings[0].change == "unclear"
    assert "no change of the distribution can be told" in again.findings[0].text
    same = of(pair_of("refocus", [varied()], [varied()], "components"))
    assert same.findings[0].text == "The patterns of the 3 × 3 kernels (400 slices) did not shift at all."
    assert [finding.change for finding in same.findings] == ["same", "same"]


def test_pairs_are_compared_on_their_kernels(pair_of):
    plain = pair_of("plain", [varied()], [varied()], "components")
    refocus = pair_of("refocus", [varied()], [flat()], "components")
    contrast = SPECS["components"]([plain, refocus]).findings[-1]
    assert (contrast.pair, contrast.change) == ("refocus", "different")
    assert "higher than the 0 nats of plain; that is more than the" in contrast.text
    twice = SPECS["components"]([plain, pair_of("refocus", [varied()], [varied()], "components")]).findings[-1]
    assert (twice.text, twice.change) == (
        "From the start to refocus the 3 × 3 kernels shift by 0 nats, as that of plain.",
        "same",
    )


def test_every_kernel_size_has_its_picture_and_table(pair_of):
    before = [varied(), torch.rand(8, 1, 5), torch.rand(4, 1, 3, 3, 3)]
    section = of(pair_of("refocus", before, [2 * kernel for kernel in before], "components"))
    assert [figure.option for figure in section.figures] == ["3 × 3", "5", "3 × 3 × 3"]
    assert [len(figure.table.rows) for figure in section.figures] == [9, 5, 27]
    drawn = [str(figure.drawing).count("c-sheets") for figure in section.figures]
    assert drawn[2] == 0 < min(drawn[:2])
    assert "Components of kernels of three dimensions are not drawn." in section.notes


def test_without_that_kernel_size_pairs_cannot_be_compared(pair_of):
    plain = pair_of("plain", [torch.rand(4, 1, 5)], [torch.rand(4, 1, 5)], "components")
    contrast = SPECS["components"]([plain, pair_of("refocus", [varied()], [flat()], "components")]).findings[-1]
    assert contrast.change == "unclear"
    assert contrast.text == "plain has no 3 × 3 kernels to compare with those of refocus."
