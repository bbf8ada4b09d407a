"""Distances and alignments of known movements."""

import pytest
import torch

from refconv.report.sections import SPECS


def kernels(layers=6):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 1, 3, 3, generator=generator) for _ in range(layers)]


def of(pair_of, after, before=None):
    return SPECS["movement"]([pair_of("refocus", before or kernels(len(after)), after, "movement")])


@pytest.mark.parametrize(
    ("by", "text", "change"),
    [
        (1.5, "The kernels moved by 50.0 % of their length, all together; farthest moved ", "different"),
        (1.005, "The kernels moved by 0.5 % of their length, all together; farthest moved ", "same"),
        (1.0, "No kernel moved.", "same"),
    ],
)
def test_distance_is_a_share_of_the_start(pair_of, by, text, change):
    finding = of(pair_of, [by * kernel for kernel in kernels()]).findings[0]
    assert finding.text.startswith(text)
    assert finding.change == change


def test_the_farthest_layer_is_named_and_one_layer_is_not(pair_of):
    first, second = kernels(2)
    assert "farthest moved 1, by 200.0 %" in of(pair_of, [1.5 * first, 3 * second]).findings[0].text
    assert "farthest" not in of(pair_of, [1.5 * first]).findings[0].text


def test_movement_along_the_kernels_themselves_is_aligned(pair_of):
    smooth = [torch.ones(4, 1, 3, 3) + 0.1 * kernel for kernel in kernels()]
    finding = of(pair_of, [1.5 * kernel for kernel in smooth], before=smooth).findings[1]
    assert finding.change == "different"
    assert "where an isotropic movement has 1 (above in 6 of 6 layers, p = 0.031)" in finding.text


def test_what_did_not_move_has_no_alignment(pair_of):
    section = of(pair_of, kernels())
    assert (section.findings[1].text, section.findings[1].change) == (
        "Nothing moved, so there is no alignment.",
        "unclear",
    )
    assert "In refocus 6 layers did not move." in section.notes


def test_a_start_of_zeros_has_no_distance(pair_of):
    section = of(pair_of, [torch.ones(4, 1, 3, 3)], before=[torch.zeros(4, 1, 3, 3)])
    assert section.findings[0].change == "unclear"
    assert "no distance can be told" in section.findings[0].text


def test_who_moved_more_is_said_of_the_refocused_pair(pair_of):
    plain = pair_of("plain", kernels(), [1.2 * kernel for kernel in kernels()], "movement")
    refocus = pair_of("refocus", kernels(), [1.6 * kernel for kernel in kernels()], "movement")
    farther = SPECS["movement"]([plain, refocus]).findings[4]
    assert (farther.pair, farther.change) == ("refocus", "different")
    assert farther.text == (
        "Where refocus ends, the mean relative distance is 0.6, higher than the 0.2 of plain (higher in 6 of 6 "
        "layers, p = 0.031)."
    )
