"""Losses of papers in the user's own loop: both spaces end alike, and the merge is exact, whatever the loss is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from literature.life import Case, Net, depthwise, head, live, unit

pytestmark = pytest.mark.literature
SAMPLES = 6
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
MANY = (torch.arange(4) <= LABELS[:, None]).double()


def network():
    return nn.Sequential(unit(3, 8), unit(8, 8, stride=2), depthwise(8), head(8, 4))


def soft():
    """Return labels mixed between samples, as CutMix and mixup give them."""
    one_hot = F.one_hot(LABELS, 4).double()
    return 0.7 * one_hot + 0.3 * one_hot.flip(0)


def asymmetric(scores):
    """Return the asymmetric loss of multi-label training: easy negatives count less."""
    p = scores.sigmoid()
    negative = (p - 0.05).clamp(min=0)
    return -(MANY * F.logsigmoid(scores) + (1 - MANY) * negative**4 * (1 - negative).log()).sum(1).mean()


def focal(scores):
    chosen = scores.log_softmax(1).gather(1, LABELS[:, None])
    return -((1 - chosen.exp()) ** 2 * chosen).mean()


def contrast(scores):
    embedded = F.normalize(scores, dim=1)
    return F.cross_entropy(10 * embedded @ embedded.flip(0).T, torch.arange(SAMPLES))


def margins(scores):
    embedded = F.normalize(scores, dim=1)
    return F.triplet_margin_loss(embedded, embedded.roll(4, 0), embedded.roll(1, 0), margin=0.5)


def taught(scores):
    teacher = torch.linspace(-1, 1, 4 * SAMPLES, dtype=scores.dtype).view(SAMPLES, 4)
    return F.kl_div((scores / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean") * 4


def regression(scores):
    target = LABELS.double() / 3
    return F.huber_loss(scores[:, 0], target, delta=0.2) + F.l1_loss(scores[:, 1], target)


def discriminators(scores):
    """Return a least-squares adversarial loss of real and generated halves."""
    real, fake = scores[:, 0].chunk(2)
    return ((real - 1) ** 2).mean() + (fake**2).mean()


LOSSES = {
    "several labels": lambda scores: F.binary_cross_entropy_with_logits(scores, MANY),
    "several labels, asymmetric": asymmetric,
    "one logit": lambda scores: F.binary_cross_entropy_with_logits(scores[:, 0], (LABELS > 1).double()),
    "soft labels": lambda scores: F.cross_entropy(scores, soft()),
    "focal": focal,
    "contrast of pairs": contrast,
    "margins of triplets": margins,
    "noise as targets": lambda scores: (F.normalize(scores) - F.normalize(MANY + 0.1)).square().sum(1).mean(),
    "a teacher's scores": taught,
    "regression": regression,
    "real and generated": discriminators,
}


@pytest.mark.parametrize("name", LOSSES)
def test_both_spaces_end_alike_under(name):
    live(Case(network, 3, 3, ((SAMPLES, 3, 12, 12),)), LOSSES[name])


def test_both_spaces_end_alike_under_losses_of_hidden_features():
    """Features are taken by hooks, as distillation of features and companion losses do."""

    def build():
        kept = {}
        trunk = network()
        trunk[1].register_forward_hook(lambda module, inputs, output: kept.update(features=output))
        return Net(lambda net, x: (net.trunk(x), kept.pop("features")), trunk=trunk)

    def loss(output):
        scores, features = output
        return F.cross_entropy(scores, LABELS) + (features.mean((2, 3)) - 0.1 * LABELS[:, None]).square().mean()

    live(Case(build, 3, 3, ((SAMPLES, 3, 12, 12),)), loss)


def test_both_spaces_end_alike_under_a_penalty_on_kernels():
    """Orthonormality of filters is asked of the kernels themselves (training of very deep networks)."""

    def penalised(net, x):
        grams = [layer.weight.flatten(1) for layer in net.trunk.modules() if isinstance(layer, nn.Conv2d)]
        return net.trunk(x), sum((w @ w.T - torch.eye(len(w), dtype=w.dtype)).square().sum() for w in grams)

    def loss(output):
        return F.cross_entropy(output[0], LABELS) + 0.1 * output[1]

    live(Case(lambda: Net(penalised, trunk=network()), 3, 3, ((SAMPLES, 3, 12, 12),)), loss)


def test_both_spaces_end_alike_under_erased_images():
    """Images are erased in the loop, by random numbers that follow from the step (Cutout)."""
    erasing = pytest.importorskip("torchvision.transforms.v2").RandomErasing(p=1.0)

    def augmented(net, x):
        return net.trunk(torch.stack([erasing(image) for image in x]) if net.training else x)

    live(Case(lambda: Net(augmented, trunk=network()), 3, 3, ((SAMPLES, 3, 12, 12),)), LOSSES["soft labels"])
