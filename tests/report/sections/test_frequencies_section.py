"""Sections on smoothness, norms, ranges and frequencies of maps: which way they went, and what is drawn."""

import pytest
import torch
from torch import nn

import report_records as made
from refconv.analysis import feature_spectra, kernel_smoothness, spectral_norms, weight_ranges
from refconv.measures.frequencies import FeatureSpectra, LayerAmplitudes
from refconv.report.sections import SPECS


class Layers(nn.Sequential):
    """Eight depthwise convolutions: as many as a direction takes."""

    def __init__(self, change=lambda weight: weight):
        torch.manual_seed(0)
        super().__init__(*(nn.Conv2d(4, 4, 3, padding=1, groups=4) for _ in range(8)))
        with torch.no_grad():
            for layer in self:
                layer.weight.copy_(change(layer.weight))


def smoothed(weight):
    return 0.5 * weight + 0.5 * weight.mean((2, 3), keepdim=True)


def uneven(weight):
    return weight * torch.tensor([1.0, 1, 1, 30])[:, None, None, None]


def first(name, measure, change):
    (found,) = [SPECS[name]([made.pair(**{name: measure(Layers(), Layers(change))})])]
    return found.findings


def test_smoother_kernels_are_told_and_not_judged():
    variation, high = first("smoothness", kernel_smoothness, smoothed)
    assert variation.text.startswith("The mean total variation falls from ")
    assert high.text.startswith("The mean share of high frequencies falls from ")
    assert (variation.change, high.change) == ("different", "different")
    assert all(finding.change == "same" for finding in first("smoothness", kernel_smoothness, lambda w: 3 * w))


def test_larger_norms_are_told_and_not_judged():
    norm, bound = first("norms", spectral_norms, lambda weight: 2 * weight)
    assert norm.text.startswith("The mean spectral norm rises from ")
    assert bound.text.startswith("The mean Lipschitz bound rises from ")
    assert (norm.change, bound.change) == ("different", "different")


def test_channels_that_grew_make_one_scale_worse_and_not_a_scale_each():
    channels, layer, spread = first("ranges", weight_ranges, uneven)
    assert (layer.change, spread.change) == ("worse", "different")
    assert channels.change in {"same", "unclear"}
    assert layer.text.startswith("The mean rounding error with one scale per layer rises from ")


def curves(*ends):
    rows = [LayerAmplitudes(f"layer{at}", "dense", (8, 8), (0.0, -1.0), (0.0, end)) for at, end in enumerate(ends)]
    return FeatureSpectra(100, False, tuple(rows), {"small": "its map is small"})


def test_smoother_maps_are_told_layer_by_layer():
    section = SPECS["fourier"]([made.pair(fourier=curves(*[-2.0] * 8))])
    (finding,) = section.findings
    assert finding.text.startswith(
        "The mean log amplitude of the highest frequency falls from −1 to −2 (down in 8 of 8"
    )
    assert finding.change == "different"
    assert [figure.option for figure in section.figures[1:]] == [f"layer{at}" for at in range(8)]
    assert "1 convolution left out, whose maps are too small or that do not run." in section.notes
    assert section.figures[1].table.rows == (("0", "0", "0"), ("0.5", "−1", "−2"))


def test_maps_that_are_all_small_make_no_section():
    assert SPECS["fourier"]([made.pair(fourier=curves())]) is None


@pytest.mark.parametrize("name", ["smoothness", "norms", "ranges"])
def test_one_layer_has_no_direction(name):
    measure = {"smoothness": kernel_smoothness, "norms": spectral_norms, "ranges": weight_ranges}[name]
    pair = [nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)) for _ in range(2)]
    findings = SPECS[name]([made.pair(**{name: measure(*pair)})]).findings
    assert all(finding.change in {"unclear", "same"} for finding in findings)


def test_real_maps_make_a_section():
    x = torch.randn(70, 4, 8, 8)
    found = feature_spectra(Layers(), Layers(smoothed), [(x, torch.zeros(70, dtype=torch.long))])
    assert len(SPECS["fourier"]([made.pair(fourier=found)]).figures) == 9
