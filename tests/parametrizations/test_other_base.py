"""Refocusing on a shuffled and on a random base: what P is made of, and from which seed."""

import copy

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind
from refconv.ops import gram, patches
from refconv.surgery import load_refocused_state_dict, refocused_state_dict, reparametrize
from refconv.surgery.refocusing import transform_of
from transforms import CONVOLUTIONS, blocks_of, disturb, transform_on

both = pytest.mark.parametrize("name", ["shuffled", "random"])


def source(module):
    """The slices that P is made of, from the layer's dense route or out of its patches with a map of one tap."""
    transform = transform_of(module)
    return transform.patches if transform.patches is not None else transform.other


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@both
def test_source_has_the_moments_of_the_base_and_not_its_pattern(name, kind):
    torch.manual_seed(0)
    module = CONVOLUTIONS[kind]().double()
    transform_on(name, module, map_size=1)
    base, _ = blocks_of(module)
    other = source(module)
    torch.testing.assert_close(other.mean(), base.mean())
    torch.testing.assert_close(other.std(), base.std())
    assert not torch.allclose(other, base)
    same_entries = torch.equal(other.flatten().sort().values, base.flatten().sort().values)
    assert same_entries == (name == "shuffled")


@pytest.mark.parametrize("kind", ["dense", "depthwise", "grouped"])
@pytest.mark.parametrize("settings", [{}, {"scale": "normalized"}, {"power": 0.5}], ids=str)
@both
def test_kernel_is_the_pretrained_base_plus_the_refocus_of_the_other_one(name, settings, kind):
    """Against ordinary refocusing of a convolution whose base is the other one."""
    torch.manual_seed(0)
    module = CONVOLUTIONS[kind]().double()
    probe, other = copy.deepcopy(module), copy.deepcopy(module)
    transform_on(name, probe, map_size=1)
    transform_on(name, module, **settings)
    disturb(module)
    with torch.no_grad():
        other.weight.copy_(transform_of(module).layout.from_blocks(source(probe)))
    refconv.refocus(other, **settings)
    transform_of(other).refocus_weight.data.copy_(transform_of(module).refocus_weight)
    base, kernel = blocks_of(module)
    other_base, other_kernel = blocks_of(other)
    torch.testing.assert_close(kernel - base, other_kernel - other_base)


def test_the_shuffle_changes_the_gram_of_a_depthwise_layer_which_an_order_of_slices_would_not():
    torch.manual_seed(0)
    module = nn.Conv2d(6, 6, 3, groups=6).double()
    transform_on("shuffled", module)
    base, _ = blocks_of(module)
    own = gram(patches(base, (3, 3), (3, 3)))
    assert not torch.allclose(gram(transform_of(module).patches), own)
    torch.testing.assert_close(gram(patches(base.flip(1), (3, 3), (3, 3))), own)


@both
def test_numbers_follow_from_seed_and_site_and_not_from_the_global_generator(name):
    torch.manual_seed(0)
    model = EveryKind().eval()
    fresh, seeded = copy.deepcopy(model), copy.deepcopy(model)
    reparametrize(model, name)
    disturb(model)
    torch.manual_seed(5)
    reparametrize(fresh, name)
    reparametrize(seeded, name, seed=1)
    state = refocused_state_dict(model)
    load_refocused_state_dict(fresh, state)
    with pytest.raises(RuntimeError, match="stem: trained with other settings: seed 0 instead of 1"):
        load_refocused_state_dict(seeded, state)
    batch = torch.randn(2, 3, 20, 20)
    assert torch.equal(fresh(batch), model(batch))
    assert not torch.allclose(source(seeded.stem), source(model.stem))


@both
def test_layers_of_the_same_shape_get_different_numbers(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, groups=4))
    model[1].load_state_dict(model[0].state_dict())
    reparametrize(model, name)
    assert not torch.equal(source(model[0]), source(model[1]))


@both
def test_other_slices_are_kept_where_the_convolution_reads_them_and_no_longer_than_needed(name):
    depthwise, dense = CONVOLUTIONS["depthwise"](), CONVOLUTIONS["dense"]()
    assert transform_on(name, depthwise).other is None  # its patches hold them
    assert transform_on(name, dense).patches is None
    assert transform_of(dense).other.dtype == torch.float32
    assert not any("other" in key for key in (*depthwise.state_dict(), *dense.state_dict()))
