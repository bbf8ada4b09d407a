"""Networks for video and volumes: 3-D kernels are refocused, trained in both spaces, merged and certified."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import refconv

video = pytest.importorskip("torchvision.models.video")

# Input, and the sizes of the kernels.
CASES = {
    "r2plus1d_18": ((2, 3, 4, 24, 24), {(1, 7, 7), (1, 3, 3), (3, 1, 1)}),
    "s3d": ((2, 3, 16, 32, 32), {(1, 7, 7), (1, 3, 3), (7, 1, 1), (3, 1, 1)}),
    "r3d_18": ((2, 3, 4, 24, 24), {(3, 7, 7), (3, 3, 3)}),
}
LABELS = torch.tensor([0, 1])


def network(name):
    torch.manual_seed(0)
    model = getattr(video, name)(weights=None, num_classes=2)
    model.avgpool = nn.AdaptiveAvgPool3d(1)  # s3d's own wants 224 x 224 pixels
    if name == "s3d":  # the first of nine blocks is like the others
        model.features, model.classifier[1] = model.features[:6], nn.Conv3d(256, 2, 1)
    return model


def step(model, optimizer, clip):
    torch.manual_seed(0)  # dropout
    optimizer.zero_grad()
    loss = F.cross_entropy(model(clip), LABELS)
    loss.backward()
    optimizer.step()
    return loss.item()


# The ResNets have over 30 million parameters.
@pytest.mark.parametrize(
    "name", ["s3d", *(pytest.param(name, marks=pytest.mark.slow) for name in ("r2plus1d_18", "r3d_18"))]
)
def test_video_network_is_refocused_trained_merged_and_certified(name):
    shape, kernels = CASES[name]
    clip = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    before = network(name)
    model, plain = copy.deepcopy(before), copy.deepcopy(before)
    plan = refconv.refocus(model)
    assert {tuple(row.shape[2:]) for row in plan.refocused} == kernels
    assert refconv.verify(before, model, clip).same_outputs

    kernel_space = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    gradient_space = refconv.RefocusSGD(refconv.param_groups(plain), lr=0.01, momentum=0.9)
    first = step(model, kernel_space, clip)
    assert step(plain, gradient_space, clip) == pytest.approx(first, rel=1e-5)

    merged = refconv.merged(model)
    certificate = refconv.verify(model, merged, clip)
    assert certificate.same_structure
    assert certificate.same_outputs
    assert certificate.kernels == len(plan.rows)
    shipped = refconv.verify(before, merged)
    assert shipped.same_structure
    assert shipped.largest_kernel_difference > 0
    # One step of either space moves the kernels by the same: formula (2) in three dimensions.
    ours, theirs = dict(merged.named_parameters()), dict(plain.named_parameters())
    for key, start in before.named_parameters():
        if start.dim() == 5:
            moved, expected = (ours[key] - start).detach(), (theirs[key] - start).detach()
            assert float((moved - expected).norm()) <= 1e-3 * float(expected.norm()), key
