"""Shares of kernels that differences of Gaussians fit."""

import torch

from refconv.report.sections import SPECS


def smooth(n=6):
    rows = torch.arange(5) - 2.0
    bump = torch.exp(-(rows[:, None].square() + rows.square()) / 2)
    return bump.expand(n, 1, 5, 5).clone()


def noise(n=6):
    return torch.randn(n, 1, 5, 5, generator=torch.Generator().manual_seed(0))


def test_kernels_that_became_smooth_fit(pair_of):
    section = SPECS["gaussians"]([pair_of("refocus", [noise()] * 6, [smooth()] * 6, "gaussians")])
    headline = section.findings[0]
    assert headline.change == "different"
    assert headline.text.startswith("Of 36 depthwise kernels of 5 × 5 taps or more 0.0 % fit before and 100.0 % after")
    assert "up in 6 of 6 layers" in headline.text
    assert section.claim is None
    bars = section.figures[0].table.rows
    assert bars[:2] == (("any", "0.0 %", "100.0 %"), ("difference of Gaussians", "0.0 %", "100.0 %"))


def test_no_section_without_kernels_that_are_large_enough(pair_of):
    small = [torch.rand(4, 1, 3, 3)]
    assert SPECS["gaussians"]([pair_of("refocus", small, small, "gaussians")]) is None


def test_a_pair_without_large_kernels_is_named(pair_of):
    small = [torch.rand(4, 1, 3, 3)]
    plain = pair_of("plain", small, small, "gaussians")
    section = SPECS["gaussians"]([plain, pair_of("refocus", [noise()], [smooth()], "gaussians")])
    assert {finding.pair for finding in section.findings} == {"refocus"}
    assert "plain has no layers that this measure is about." in section.notes


def test_left_out_layers_are_counted_by_reason(pair_of):
    layers = [noise(), torch.rand(4, 1, 3, 3), torch.rand(4, 1, 3, 3)]
    section = SPECS["gaussians"]([pair_of("refocus", layers, layers, "gaussians")])
    assert "2 layers left out: 3 × 3 is too small." in section.notes
