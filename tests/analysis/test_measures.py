"""What all measures of weights keep to: any convolution, any precision, the same record again, errors of one line."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind, Shared
from refconv import analysis
from refconv.errors import ModelError

PAIRS = (
    analysis.redundancy,
    analysis.skeletons,
    analysis.filter_statistics,
    analysis.filter_components,
    analysis.gaussian_fits,
    analysis.movement,
    analysis.relations,
    analysis.kernel_smoothness,
    analysis.spectral_norms,
    analysis.weight_ranges,
    analysis.kernels,
)


def of_the_first(before, after, **settings):
    """The one measure of a single model, called as the others are."""
    del after
    return analysis.gram_spectra(before, **settings)


MEASURES = [pytest.param(measure, id=measure.__name__) for measure in PAIRS]
MEASURES.append(pytest.param(of_the_first, id="gram_spectra"))


class Volumes(nn.Module):
    """One and three dimensions, depthwise and dense, and a kernel of a single slice."""

    def __init__(self):
        super().__init__()
        self.line = nn.Conv1d(4, 4, 9, groups=4)
        self.volume = nn.Conv3d(2, 3, (3, 1, 3))
        self.up = nn.ConvTranspose3d(4, 8, 2, groups=4)
        self.one = nn.Conv2d(1, 1, 3)


def changed(model):
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return other


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("build", [EveryKind, Volumes, Shared], ids=lambda build: build.__name__)
def test_any_convolution_is_measured_and_the_record_survives_json(measure, build):
    before = build()
    found = measure(before, changed(before))
    assert type(found).from_json(found.to_json()) == found
    assert str(found)


@pytest.mark.parametrize("measure", MEASURES)
def test_models_are_left_as_found_and_so_are_random_numbers(measure, trained_pair, state_of):
    frozen = copy.deepcopy(trained_pair[1]).eval()
    frozen.stem.requires_grad_(False)
    state = state_of(trained_pair[0], frozen)
    numbers = torch.get_rng_state()
    first = measure(trained_pair[0], frozen)
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert measure(trained_pair[0], frozen) == first


@pytest.mark.parametrize("measure", MEASURES)
def test_half_precision_is_measured_in_double(measure, trained_pair):
    halves = [copy.deepcopy(model).bfloat16() for model in trained_pair]
    doubles = [copy.deepcopy(model).double() for model in halves]
    assert measure(*halves) == measure(*doubles)


@pytest.mark.parametrize("measure", MEASURES)
def test_kernels_of_zeros_are_measured(measure):
    model = EveryKind()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    found = measure(model, copy.deepcopy(model))
    assert "nan" not in found.to_json().lower()
    assert "Infinity" not in found.to_json()
    assert str(found)


def spoilt(model):
    model.stem.weight.data[0, 0, 0, 0] = float("inf")


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [(spoilt, "stem: the kernel has entries that are not finite"), (refconv.refocus, "analysis reads plain models")],
    ids=["not-finite", "refocused"],
)
def test_bad_input_is_refused_in_one_line(measure, spoil, message):
    before, after = EveryKind(), EveryKind()
    spoil(before)
    spoil(after)
    with pytest.raises(ModelError, match=message) as caught:
        measure(before, after)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("measure", MEASURES)
def test_selection_leaves_only_what_was_asked_for(measure):
    before = EveryKind()
    found = measure(before, changed(before), include="depthwise")
    if hasattr(found, "layers"):
        assert [row.layer for row in found.layers] == ["depthwise"]
    else:
        assert [row.kernel_size for row in found.sizes] == [(5, 5)]


def test_everything_exported_is_there_and_every_measure_has_its_section():
    assert all(hasattr(analysis, name) for name in analysis.__all__)
    page = (Path(__file__).resolve().parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    for measure in (*PAIRS, analysis.gram_spectra):
        assert measure.__name__ in analysis.__all__
        assert page.count(f": `{measure.__name__}`\n") == 1
