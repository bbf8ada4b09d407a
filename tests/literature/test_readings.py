"""What papers read off a trained network, by their own procedures in a few lines or by scikit-learn and captum.

Each reading takes a network and returns tensors. A network that is still refocused and its merged form give the same
ones, and the base gives others. What a reading must satisfy by itself is asserted inside.
"""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import refconv
from networks import randomise

pytestmark = pytest.mark.literature

CLASSES, SIDE = 3, 12


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)).double().eval()


def data():
    """Return images [36, 1, 12, 12] of a square, a bar or noise, their classes, and which pixels are square or bar."""
    drawn = torch.Generator().manual_seed(1)
    x = 0.3 * torch.randn(36, 1, SIDE, SIDE, dtype=torch.float64, generator=drawn)
    y, masks = torch.arange(36) % CLASSES, torch.zeros(36, 2, SIDE, SIDE, dtype=torch.bool)
    masks[0::3, 0, 2:6, 3:7] = True
    masks[1::3, 1, 7:9] = True
    return x + 2 * masks.any(1, keepdim=True), y, masks


X, Y, MASKS = data()


def features(model, x=X):
    """Return the features [n, 8, 12, 12] after the last ReLU."""
    return model[:4](x)


def descended(loss, start, steps=15, rate=0.5):
    """Return an image after some steps down a loss, which must have become smaller."""
    x = start.clone().requires_grad_()
    for _ in range(steps):
        (slope,) = torch.autograd.grad(loss(x), x)
        x = (x - rate * slope / slope.norm()).detach().requires_grad_()
    assert loss(x) < loss(start)
    return x.detach()


def image_that_maximises_a_unit(model):
    return [descended(lambda x: -features(model, x)[0, 2].mean(), X[:1])]


def linear_system_at_an_input(model):
    """Mahendran's and others' view: f(x) = J x + the share of the biases, exactly, as ReLU is piecewise linear."""
    jacobian = torch.func.jacrev(lambda x: model(x)[0])(X[:1])
    share = model(X[:1])[0] - (jacobian * X[:1]).flatten(1).sum(1)
    nearby = X[:1] + 1e-6 * X[1:2]
    torch.testing.assert_close((jacobian * nearby).flatten(1).sum(1) + share, model(nearby)[0], rtol=1e-8, atol=1e-8)
    return [jacobian, share]


def attack_by_a_patch(model):
    """Unbounded steps inside a patch of 4 x 4 pixels, by captum's PGD with a mask."""
    pgd = pytest.importorskip("captum.robust").PGD
    patch = torch.zeros_like(X[:8])
    patch[..., :4, :4] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that inputs get gradients
        steps = {"radius": 50.0, "step_size": 0.5, "step_num": 10}
        attack = pgd(model, loss_func=nn.CrossEntropyLoss(reduction="none"))
        attacked = attack.perturb(X[:8], target=Y[:8], mask=patch, norm="Linf", **steps)
    assert torch.equal(attacked * (1 - patch), X[:8] * (1 - patch))
    assert F.cross_entropy(model(attacked), Y[:8]) > F.cross_entropy(model(X[:8]), Y[:8])
    return [attacked.detach()]


def rationales_by_a_decision_tree(model):
    tree = pytest.importorskip("sklearn.tree")
    pooled = features(model).mean((2, 3)).detach().numpy()
    found = tree.DecisionTreeClassifier(max_depth=3, random_state=0).fit(pooled, Y.numpy())
    assert found.score(pooled, Y.numpy()) > 0.6
    rules = found.tree_
    return [torch.tensor(np.stack([rules.feature.astype(float), rules.threshold]))]


def concepts_by_non_negative_factors(model):
    nmf = pytest.importorskip("sklearn.decomposition").NMF
    pixels = features(model).detach().movedim(1, -1).reshape(-1, 8).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        fitted = [nmf(rank, init="nndsvda", random_state=0, max_iter=100).fit(pixels) for rank in (1, 3)]
    assert fitted[1].reconstruction_err_ < fitted[0].reconstruction_err_
    return [torch.tensor(fitted[1].components_)]


def overlap(chosen, mask):
    return float((chosen & mask).sum() / (chosen | mask).sum())


def concepts_in_units(model):
    """Network dissection: how each unit's strongest pixels overlap with each concept, and how many concepts it has."""
    maps = features(model).detach()
    strongest = maps > torch.quantile(maps.movedim(1, 0).flatten(1), 0.95, dim=1).view(-1, 1, 1)
    found = torch.tensor([[overlap(strongest[:, unit], MASKS[:, c]) for c in range(2)] for unit in range(8)])
    assert found.max() > 0.2
    return [found, (found > 0.04).sum(1).double()]


def concepts_in_many_units_at_once(model):
    """Net2Vec: a linear classifier of pixels over all units overlaps with a concept no less than the best unit does."""
    linear = pytest.importorskip("sklearn.linear_model")
    pixels, mask = features(model).detach().movedim(1, -1).reshape(-1, 8).numpy(), MASKS[:, 0].flatten()
    found = linear.LogisticRegression(C=10.0, max_iter=2000, tol=1e-10).fit(pixels, mask.numpy())
    together = overlap(torch.tensor(found.predict(pixels)).bool(), mask)
    assert together >= max(float(value) for value in concepts_in_units(model)[0][:, 0])
    return [torch.tensor(found.coef_)]


def patterns_of_units(model):
    """PatternNet: the sets of units that are active together, and how many pixels have each."""
    active = features(model).detach() > 0
    codes = (active.long() * 2 ** torch.arange(8).view(-1, 1, 1)).sum(1)
    return [torch.stack(codes.unique(return_counts=True)).double()]


def image_recovered_from_features(model):
    wanted = features(model, X[:1]).detach()
    loss = lambda x: (features(model, x) - wanted).square().mean()  # noqa: E731
    return [descended(loss, torch.zeros_like(X[:1]), rate=0.2)]


def heatmap_of_a_pair(model):
    """The similarity of two images is a sum over positions of both, whose parts are the heatmap."""
    one, other = (F.normalize(features(model, x).detach().sum((2, 3)), dim=1) for x in (X[:1], X[3:4]))
    parts = features(model, X[:1]).detach()
    heatmap = torch.einsum("nchw,nc->nhw", parts / parts.sum((2, 3)).norm(), other)
    torch.testing.assert_close(heatmap.sum(), (one * other).sum())
    return [heatmap]


def energy_over_components_of_patches(model):
    """The first layer's kernels over the principal components of 3 x 3 patches; all energies make the kernel's own."""
    patches = F.unfold(X, 3).movedim(1, -1).reshape(-1, 9)
    _, components = torch.linalg.eigh(torch.cov(patches.T))
    kernels = model[0].weight.detach().flatten(1)
    energy = (kernels @ components).square()
    torch.testing.assert_close(energy.sum(1), kernels.square().sum(1))
    return [energy]


READINGS = [
    image_that_maximises_a_unit, linear_system_at_an_input, attack_by_a_patch, rationales_by_a_decision_tree,
    concepts_by_non_negative_factors, concepts_in_units, concepts_in_many_units_at_once, patterns_of_units,
    image_recovered_from_features, heatmap_of_a_pair, energy_over_components_of_patches,
]  # fmt: skip


@pytest.mark.parametrize("reading", READINGS, ids=lambda one: one.__name__)
def test_a_reading_is_the_same_after_the_merge_and_another_for_the_base(reading):
    model, base = network(), network()
    refconv.refocus(model)
    randomise(model, 0.3)
    refocused, of_base = reading(model), reading(base)
    merged = reading(refconv.merged(model))
    # The kernels are equal bit for bit; kernels of float64 in other memory may be summed in another order.
    torch.testing.assert_close(merged, refocused, rtol=1e-7, atol=1e-9)
    same = all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3) for a, b in zip(merged, of_base, strict=True))
    assert not same


def test_scores_of_words_by_their_place_in_a_window_are_read_from_kernels():
    """A kernel over words is a rule: the score of a window is the sum of the scores of its words at their places."""
    torch.manual_seed(0)
    words = torch.randn(20, 6, dtype=torch.float64)
    model = nn.Sequential(nn.Conv1d(6, 4, 3), nn.ReLU()).double()
    refconv.refocus(model)
    randomise(model, 0.3)
    text = torch.randint(0, 20, (9,), generator=torch.Generator().manual_seed(2))
    read = [torch.einsum("ock,wc->okw", one[0].weight.detach(), words) for one in (model, refconv.merged(model))]
    assert torch.equal(*read)
    windows = text.unfold(0, 3, 1)
    score = sum(read[0][:, place, windows[:, place]] for place in range(3)) + model[0].bias.detach()[:, None]
    torch.testing.assert_close(score.relu(), model(words[text].T[None])[0].detach())
