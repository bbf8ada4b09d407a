"""Every transformation on small networks of timm: put on, trained, merged."""

import pytest
import timm
import torch

import refconv
from refconv.parametrizations import TRANSFORMS
from refconv.surgery import reparametrize

NETWORKS = [
    "test_efficientnet",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_convnext", "test_resnet", "test_nfnet")),
]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_network_starts_the_same_trains_and_merges_exactly(name, network):
    torch.manual_seed(0)
    model = timm.create_model(network, num_classes=5).eval()
    batch = torch.randn(4, 3, 64, 64)
    before = model(batch)
    keys = list(model.state_dict())
    plan = reparametrize(model, name)
    assert torch.equal(model(batch), before) == TRANSFORMS[name].exact_start
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    model.train()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch), torch.tensor([0, 1, 2, 3]))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    certificate = refconv.verify(model, refconv.merged(model), batch)
    assert certificate.same_structure
    assert certificate.largest_output_difference == 0
    assert len(refconv.merge(model).layers) == len(plan.refocused) > 3
    assert list(model.state_dict()) == keys
