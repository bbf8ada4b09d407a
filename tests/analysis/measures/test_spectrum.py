"""The Gram's spectrum against closed forms and the loop version of the Gram."""

import math

import pytest
import torch
from torch import nn

from ops_reference import reference_gram
from refconv.analysis.measures.grams import gram_spectra
from refconv.analysis.pairs import BlockView, find_kernels
from refconv.errors import ModelError, SettingError
from refconv.measures.refocusing import GramSpectra


def convolution(slices, groups=1):
    """A 2-D convolution with the given slices [out, in / groups, *kernel_size]."""
    out, inner, *size = slices.shape
    conv = nn.Conv2d(inner * groups, out, tuple(size), groups=groups, bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(slices)
    return conv


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_spectrum_is_that_of_the_loop_version():
    slices = drawn(5, 1, 3, 3)
    (row,) = gram_spectra(convolution(slices, groups=5)).layers
    values = torch.linalg.eigvalsh(reference_gram(list(slices[:, 0]), (3, 3))).flip(0)
    torch.testing.assert_close(torch.tensor(row.eigenvalues).double(), values / values.mean())
    shares = values / values.sum()
    assert row.mean_eigenvalue == pytest.approx(float(values.mean()))
    assert row.condition == pytest.approx(float(values[0] / values[-1]))
    assert row.effective_rank == pytest.approx(math.exp(-float((shares * shares.log()).sum())))
    assert (row.rank, row.blocks, row.sampled) == (9, 1, 1)
    roots = values.sqrt() / values.sqrt().sum()  # singular values of P, the neighbouring definition
    assert row.effective_rank != pytest.approx(math.exp(-float((roots * roots.log()).sum())), rel=0.01)


def test_a_single_tap_learns_alike_in_every_direction():
    delta = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    delta[0, 0, 1, 1] = 3
    (row,) = gram_spectra(convolution(delta)).layers
    assert row.eigenvalues == pytest.approx((1,) * 9)
    assert (row.mean_eigenvalue, row.condition, row.effective_rank) == pytest.approx((9, 1, 9))


def test_one_slice_with_more_taps_than_the_map_has_the_maps_rank():
    (row,) = gram_spectra(convolution(drawn(1, 1, 5, 5))).layers
    assert row.rank == 9
    assert sum(row.eigenvalues) == pytest.approx(25)
    (larger,) = gram_spectra(convolution(drawn(1, 1, 5, 5)), map_size=5).layers
    assert larger.rank == 25


def test_blocks_are_those_of_the_order():
    slices = drawn(8, 2, 3, 3)
    conv = convolution(slices, groups=4)
    contiguous = gram_spectra(conv).layers[0]
    across = gram_spectra(conv, order="across").layers[0]
    assert contiguous.blocks == across.blocks == 4
    in_a_block = [[(2 * g + o, i) for g in range(4)] for o in range(2) for i in range(2)]  # of `across`
    values = [
        torch.linalg.eigvalsh(reference_gram([slices[out, i] for out, i in block], (3, 3))) for block in in_a_block
    ]
    conditions = torch.stack([of_block[-1] / of_block[0] for of_block in values])
    assert across.condition == pytest.approx(float(conditions.quantile(0.5)))
    assert contiguous.condition != pytest.approx(across.condition, rel=0.01)


@pytest.mark.parametrize("order", ["contiguous", "across"])
@pytest.mark.parametrize("transposed", [False, True])
def test_slices_know_their_output_channel(order, transposed):
    conv = (nn.ConvTranspose2d if transposed else nn.Conv2d)(8, 12, 2, groups=4, bias=False)
    with torch.no_grad():
        if transposed:  # [in, out / groups, ...]: output channel g * 3 + o
            conv.weight.copy_((torch.arange(8)[:, None] // 2 * 3 + torch.arange(3))[..., None, None].expand(8, 3, 2, 2))
        else:
            conv.weight.copy_(torch.arange(12)[:, None, None, None].expand(12, 2, 2, 2))
    (kernel,) = find_kernels(conv)
    view = BlockView.choose(kernel, 3, order, 0)
    assert torch.equal(view.of(kernel)[..., 0].long(), view.output_channels(kernel))


def test_layers_of_zeros_have_no_spectrum():
    (row,) = gram_spectra(convolution(torch.zeros(2, 1, 3, 3))).layers
    assert (row.mean_eigenvalue, row.rank, row.condition, row.effective_rank) == (0, None, None, None)
    found = gram_spectra(nn.Sequential(convolution(torch.zeros(2, 1, 3, 3)), convolution(drawn(2, 2, 3, 3))))
    assert found.condition == found.layers[1].condition


def test_very_many_blocks_are_sampled(monkeypatch):
    monkeypatch.setattr("refconv.analysis.pairs._MOST_BLOCKS", 20)
    (row,) = gram_spectra(convolution(drawn(10, 10, 3, 3))).layers
    assert (row.blocks, row.sampled) == (100, 20)
    assert "20 of 100" in str(gram_spectra(convolution(drawn(10, 10, 3, 3))))


def test_a_real_network_is_measured_left_alone_and_written(trained_pair, state_of):
    model = trained_pair[0]
    state = state_of(model)
    found = gram_spectra(model)
    assert state.unchanged()
    assert [row.layer for row in found.layers] == ["stem", "depthwise", "grouped", "up"]
    assert all(1 <= row.effective_rank <= len(row.eigenvalues) for row in found.layers)
    assert GramSpectra.from_json(found.to_json()) == found
    assert "effective rank over taps" in str(found)


def test_models_without_convolutions_and_maps_without_a_centre_are_refused():
    with pytest.raises(ModelError, match="nothing to analyse"):
        gram_spectra(nn.Linear(1, 1))
    with pytest.raises(SettingError, match="map_size: a map needs a centre"):
        gram_spectra(convolution(drawn(1, 1, 3, 3)), map_size=2)
    with pytest.raises(SettingError, match="order: unknown order"):
        gram_spectra(convolution(drawn(1, 1, 3, 3)), order="along")
