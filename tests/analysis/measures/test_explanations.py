"""Insertion and deletion by loops, occlusion by hand, Grad-CAM++ by its derivatives and as pytorch-grad-cam has it."""

import copy
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refconv.analysis import explanations
from refconv.analysis.measures.attribution import grad_cam
from refconv.analysis.measures.explanations import faithfulness, occlusion
from refconv.errors import DataError, SettingError


def network(seed=0):
    torch.manual_seed(seed)
    parts = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)).double()


def data(count=6):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, 8, 8, generator=generator, dtype=torch.float64), torch.arange(count) % 3


def test_areas_are_those_of_a_loop_over_pixels():
    model, (images, targets) = network(), data(3)
    marked = torch.randn(3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        found = faithfulness(model, images, targets, marked, steps=4)
    for i, image in enumerate(images):
        order = sorted(range(64), key=lambda at: -float(marked[i].flatten()[at]))
        curves = [[], []]
        for taken in (0, 16, 32, 48, 64):
            kept = torch.zeros(64, dtype=torch.bool)
            kept[order[:taken]] = True
            for curve, mask in zip(curves, (kept, ~kept), strict=True):
                scores = model((image * mask.view(8, 8))[None]).softmax(1)
                curve.append(float(scores[0, targets[i]].detach()))
        for place, curve in enumerate(curves):
            expected = torch.trapezoid(torch.tensor(curve, dtype=torch.float64), dx=1 / 4)
            assert float(found[place, i]) == pytest.approx(float(expected), rel=1e-12)


def test_the_order_that_a_linear_model_gives_is_the_most_faithful():
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double()
    images, targets = data()
    marked = (model[1].weight[targets].view(-1, 2, 8, 8) * images).sum(1).detach()
    with torch.no_grad():
        insertion, deletion = faithfulness(model, images, targets, marked, steps=16)
        worst = faithfulness(model, images, targets, -marked, steps=16)
    assert (insertion > worst[0]).all()
    assert (deletion < worst[1]).all()


def test_occlusion_is_what_the_output_loses_under_each_square():
    """Squares of 2 x 2 in steps of one pixel: a pixel's value is the mean over the squares that cover it."""
    model, (images, targets) = network(), data(2)
    with torch.no_grad():
        found = occlusion(model, images, targets)
        plain = model(images).gather(1, targets[:, None])[:, 0]
        total, covered = torch.zeros_like(found), torch.zeros_like(found)
        for row in range(7):
            for column in range(7):
                square = (..., slice(row, row + 2), slice(column, column + 2))
                hidden = images.clone()
                hidden[square] = 0
                lost = plain - model(hidden).gather(1, targets[:, None])[:, 0]
                total[square] += lost[:, None, None]
                covered[square] += 1
    torch.testing.assert_close(found, total / covered)


def test_grad_cam_plus_weighs_by_the_derivatives_of_the_exponential():
    """Equation 19 of the paper, with every derivative of exp(y) by a position taken on its own."""
    model, (images, targets) = network(), data(1)
    features = model[:4](images).detach().requires_grad_()

    def score(values):
        return model[4:](values)[0, targets[0]].exp()

    (first,) = torch.autograd.grad(score(features), features)
    second, third = torch.zeros_like(first), torch.zeros_like(first)
    for place in range(features.numel()):
        basis = torch.zeros(features.numel(), dtype=features.dtype)
        basis[place] = 1

        def along(t, basis=basis):
            return score(features.detach() + t * basis.view_as(features))

        derivative = along
        for kept in (None, second, third):
            if kept is not None:
                kept.view(-1)[place] = derivative(torch.zeros((), dtype=features.dtype))
            derivative = torch.func.grad(derivative)
    share = second / (2 * second + features.sum((2, 3), keepdim=True) * third)
    weights = (torch.where(second > 0, share, 0) * first.clamp(min=0)).sum((2, 3), keepdim=True)
    expected = (weights * features).sum(1).clamp(min=0).detach()
    found = grad_cam(model, images, targets, "3", plus=True)
    torch.testing.assert_close(found, expected / expected.max())
    assert not torch.allclose(found, grad_cam(model, images, targets, "3"))


def test_grad_cam_plus_is_that_of_pytorch_grad_cam_where_gradients_are_large():
    cam = pytest.importorskip("pytorch_grad_cam")
    model, (images, targets) = network().float(), data()
    with torch.no_grad():
        model[6].weight.mul_(1000)  # its constant in the denominator is 1e-6
        model[6].bias.zero_()
    choose = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    tool = cam.GradCAMPlusPlus(copy.deepcopy(model), [])
    found = grad_cam(model, images.float(), targets, "3", plus=True)
    features = model[:4](images.float()).detach().requires_grad_()
    scores = sum(choose(int(one))(row) for one, row in zip(targets, model[4:](features), strict=True))
    (slope,) = torch.autograd.grad(scores, features)
    weights = tool.get_cam_weights(None, None, None, features.detach().numpy(), slope.numpy())
    expected = torch.einsum("nc,nchw->nhw", torch.from_numpy(weights), features.detach()).clamp(min=0)
    largest = expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(found.float(), expected / torch.where(largest > 0, largest, 1), rtol=1e-3, atol=1e-4)


def test_maps_are_compared_sample_by_sample():
    before, after, (images, targets) = network(), network(1), data()
    found = explanations(before, after, [(images[:4], targets[:4]), (images[4:], targets[4:])], steps=4)
    assert [row.name for row in found.maps] == ["grad_cam", "grad_cam_plus", "occlusion", "random"]
    assert (found.layer_before, found.samples, found.cut) == ("2", 6, False)
    with torch.no_grad():
        sides = []
        for model in (before, after):
            marked = grad_cam(model, images, targets, "2")
            marked = F.interpolate(marked[:, None], (8, 8), mode="bilinear")[:, 0]
            areas = faithfulness(model, images, targets, marked, steps=4)
            sides.append(areas[0] - areas[1])
    gap = found.maps[0].gap
    assert (gap.before, gap.after) == pytest.approx([float(side.mean()) for side in sides])
    assert gap.error == pytest.approx(float((sides[1] - sides[0]).std() / 6**0.5))
    whole = explanations(before, after, [(images, targets)], steps=4)
    assert whole.maps[3].gap.after == pytest.approx(found.maps[3].gap.after)  # random orders belong to samples


def test_no_image_is_classified_twice():
    """Maps share the blank and the whole image, and both kinds of Grad-CAM one gradient; the rest differs by map."""
    sizes, models = list[int](), (network(), network(1))
    for model in models:
        model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    images, targets = data()
    explanations(*models, [(images, targets)], steps=5)
    layer, gradient, ends, squares, parts = 1, len(images), 2 * len(images), 50 * len(images), 4 * 2 * 4 * len(images)
    assert sum(sizes) == 2 * (layer + gradient + ends + squares + parts)


def test_what_cannot_be_explained_is_refused_in_one_line():
    model, (images, targets) = network(), data()
    with pytest.raises(DataError):
        explanations(model, model, [(images[..., 0], targets)])
    with pytest.raises(SettingError, match="steps: too few"):
        explanations(model, model, [(images, targets)], steps=0)


def test_a_real_pair_is_left_alone_and_its_record_written(trained_pair, state_of):
    x = torch.randn(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    state, numbers = state_of(*trained_pair), torch.get_rng_state()
    found = explanations(*trained_pair, [(x, torch.arange(4) % 3)], steps=2)
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert type(found).from_json(found.to_json()) == found
    assert "grad_cam_plus" in str(found)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(SettingError, match=r"occlusion maps need captum; pip install .refconv.analysis."):
        explanations(network(), network(), [data()])
