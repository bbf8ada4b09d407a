"""Sheets of kernels: the start, each result, each difference."""

import math

import numpy as np
import pytest
import torch

from refconv.report.sections import SPECS
from refconv.report.sections.kernels import amplitudes


def made(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_pair_has_its_sheets(pair_of):
    start = [made(4, 1, 3, 3)]
    pairs = [pair_of("plain", start, [1.5 * start[0]], "kernels"), pair_of("refocus", start, [3 * start[0]], "kernels")]
    section = SPECS["kernels"](pairs)
    (figure,) = section.figures
    assert (figure.choice, figure.option) == ("layer", "0")
    states = ("before", "plain", "refocus", "plain − before", "refocus − before")
    assert tuple(row[0] for row in figure.table.rows) == states
    assert all(f">{state}<" in str(figure.drawing) for state in states)
    assert "plain 50.0 %, refocus 200.0 %" in figure.alt
    assert [finding.text for finding in section.findings] == [
        "The kernels shown of 0, the only layer, differ by 50.0 % of their length.",
        "The kernels shown of 0, the only layer, differ by 200.0 % of their length.",
    ]


def test_largest_change_and_median_are_of_layers(pair_of):
    start = [made(4, 1, 3, 3, seed=seed) for seed in range(3)]
    after = [factor * kernel for factor, kernel in zip((1.1, 1.2, 1.9), start, strict=True)]
    (finding,) = SPECS["kernels"]([pair_of("refocus", start, after, "kernels")]).findings
    assert finding.text == (
        "The kernels shown differ by 20.0 % of their length in the median of 3 layers, most in 2, by 90.0 %."
    )
    assert finding.change == "different"


def test_no_change_and_kernels_of_zeros(pair_of):
    start, zeros = [made(4, 1, 3, 3)], [torch.zeros(4, 1, 3, 3)]
    same = SPECS["kernels"]([pair_of("refocus", start, start, "kernels")]).findings[0]
    assert (same.text, same.change) == ("None of the kernels that are shown changed.", "same")
    assert SPECS["kernels"]([pair_of("refocus", zeros, start, "kernels")]).findings[0].change == "unclear"


def test_large_layers_show_some_kernels_and_large_kernels_fewer(pair_of):
    start = [made(100, 1, 3, 3), made(100, 1, 7, 7)]
    section = SPECS["kernels"]([pair_of("refocus", start, start, "kernels")])
    small, large = section.figures
    assert small.alt.startswith("64 kernels of 0")
    assert large.alt.startswith("20 kernels of 1")  # 3 sheets of 20 kernels of 49 taps
    many = [pair_of(name, start, start, "kernels") for name in ("a", "b", "c", "d")]
    assert SPECS["kernels"](many).figures[1].alt.startswith("16 kernels of 1")
    assert "64 of 100 kernels" in small.caption
    assert "Of a layer at most 64 kernels are chosen, drawn with a seed." in section.notes


def test_lines_are_drawn_and_volumes_are_not(pair_of):
    start = [made(4, 1, 5), made(4, 1, 3, 3, 3), made(4, 1, 3, 1, 3)]
    section = SPECS["kernels"]([pair_of("refocus", start, start, "kernels")])
    assert [figure.option for figure in section.figures if figure.choice == "layer"] == ["0", "2"]
    assert "1 layer with kernels of three dimensions cannot be drawn." in section.notes


def test_kernels_of_one_dimension_have_spectra(pair_of):
    """A kernel of taps 1, -1 passes |1 - exp(-2 pi i f)| = 2 sin(pi f): nothing of a constant, most at f = 1/2."""
    found = amplitudes([[1.0, -1.0], [2.0, -2.0]])
    expected = [1.5 * 2 * math.sin(math.pi * place / 64) for place in range(33)]
    assert found == pytest.approx(expected, abs=1e-14)
    long = made(2, 101).double().numpy()  # longer than there are frequencies
    spectra = np.abs(np.fft.rfft(long, n=6400, axis=1)).mean(axis=0)[:: 3200 // 32]
    assert amplitudes(long.tolist()) == pytest.approx(spectra.tolist(), rel=1e-12)
    start = [made(4, 3, 5)]
    section = SPECS["kernels"]([pair_of("refocus", start, [2 * start[0]], "kernels")])
    drawn = [one for one in section.figures if "Fourier transform" in one.caption]
    assert len(drawn) == 1
    assert "a line per model" in drawn[0].alt
    flat = SPECS["kernels"]([pair_of("refocus", [made(4, 3, 3, 3)], [made(4, 3, 3, 3, seed=1)], "kernels")])
    assert not [one for one in flat.figures if "Fourier transform" in one.caption]
