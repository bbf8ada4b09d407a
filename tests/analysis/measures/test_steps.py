"""How much of a step learning rates explain, against numbers that are fitted by least squares to explicit matrices."""

import copy

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind
from refconv.analysis import StepShares, step_shares
from refconv.errors import ModelError, SettingError
from refconv.layers import find_layers
from refconv.ops import metric_gram

SETTINGS = [
    {},
    {"scale": "paper", "order": "across", "power": 0.5},
    {"order": "filters", "damping": 0.5, "power": -0.5, "exclude": "pointwise"},
    {"zeros": "keep"},
]
BATCH = torch.randn(4, 3, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def network():
    torch.manual_seed(0)
    model = EveryKind().double()
    with torch.no_grad():
        model.stem.weight[0] = 0  # a dead filter
    return model


def loss(output):
    return (output - 0.3).square().mean()


def fitted(pairs):
    """The share of |s|^2 that the best number for g explains, over pairs (g, s), by least squares."""
    g, s = (torch.cat([part.flatten() for part in parts]) for parts in zip(*pairs, strict=True))
    number = torch.linalg.lstsq(g[:, None], s[:, None]).solution[0, 0]
    return 1 - (s - number * g).square().sum() / s.square().sum(), number


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_shares_are_those_of_numbers_fitted_by_least_squares(settings):
    model = network()
    loss(model(BATCH)).backward()
    config, found = refconv.RefocusConfig(**settings), step_shares(model, **settings)
    pairs = {}
    for row in found.layers:
        (layer,) = [layer for layer in find_layers(model) if layer.label == row.layer]
        layout, base = layer.layout(config.order), layer.weight.detach()
        shape = {"scale": config.scale, "power": config.power, "damping": config.damping}
        sizes = layout.slice_size, layout.map_size(config.map_size)
        matrices = metric_gram(layout.to_blocks(base), *sizes, **shape)
        kept = layout.to_blocks(base != 0) if config.zeros == "keep" else 1
        g = layout.to_blocks(layer.weight.grad) * kept
        pairs[row.layer] = g, g @ matrices * kept
        share, number = fitted([pairs[row.layer]])
        assert row.cosine**2 == pytest.approx(float(share))
        assert row.best == pytest.approx(float(number))
        assert row.mean == pytest.approx(float(torch.linalg.eigvalsh(matrices).mean()))
        assert row.energy == pytest.approx(float(pairs[row.layer][1].square().sum()))
    assert [share.kind for share in found.shares] == ["all", *dict.fromkeys(row.kind for row in found.layers)]
    for share in found.shares:
        own = [pairs[row.layer] for row in found.layers if share.kind in ("all", row.kind)]
        total = sum(s.square().sum() for _, s in own)
        assert share.layers == len(own)
        assert share.network == pytest.approx(float(fitted(own)[0]))
        assert share.layer == pytest.approx(
            float(sum(fitted([pair])[0] * pair[1].square().sum() for pair in own) / total)
        )
        blocks = [(g[number], s[number]) for g, s in own for number in range(len(g)) if s[number].any()]
        assert share.block == pytest.approx(
            float(sum(fitted([pair])[0] * pair[1].square().sum() for pair in blocks) / total)
        )
        assert share.network < share.layer + 1e-12 < share.block + 2e-12
    assert StepShares.from_json(found.to_json()) == found
    assert "of each block" in str(found)


def test_multiples_of_the_identity_are_explained_by_blocks_alone_or_by_one_number():
    """At power 0 M is the identity where the base spans every direction, so that one number explains everything."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, groups=1), nn.Conv2d(8, 8, 3, groups=8)).double()
    image = BATCH[:, :, :10, :10]
    plain = step_shares(model, batch=image, loss=loss, power=0.0, scale="paper").shares[0]
    assert plain.network == pytest.approx(1)
    # heavily damped, M is nearly a number of its own for each block
    everything, dense, depthwise = step_shares(model, batch=image, loss=loss, damping=1e6, scale="paper").shares
    assert everything.block == pytest.approx(1, abs=1e-9)
    assert everything.network < everything.layer < everything.block
    assert dense.network == dense.layer < 0.99 < dense.block
    assert depthwise.network == pytest.approx(depthwise.block)  # one block


def test_gradients_given_taken_or_held_are_the_same_and_the_model_is_left_as_found():
    model = network()
    before = copy.deepcopy(model.state_dict())
    of_batch = step_shares(model, batch=BATCH, loss=loss)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in model.parameters())
    loss(model(BATCH)).backward()
    assert step_shares(model) == of_batch
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert step_shares(network(), gradients) == of_batch
    assert step_shares(network(), {name.removesuffix(".weight"): one for name, one in gradients.items()}) == of_batch


def test_what_cannot_be_measured_is_said_in_one_line():
    with pytest.raises(ModelError, match="stem: has no gradient to measure; expected a gradient of shape"):
        step_shares(network())
    for arguments in ({"batch": BATCH}, {"loss": loss}, {"gradients": {}, "batch": BATCH, "loss": loss}):
        with pytest.raises(SettingError, match="gradients: cannot tell which gradients; expected gradients, or batch"):
            step_shares(network(), **arguments)
    zeros = {name: torch.zeros_like(parameter) for name, parameter in network().named_parameters()}
    found = step_shares(network(), zeros)
    assert {(share.network, share.layer, share.block) for share in found.shares} == {(None, None, None)}
    assert {(row.cosine, row.block, row.best) for row in found.layers} == {(None, None, None)}
    str(found)
