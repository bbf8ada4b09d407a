"""Losses by name: the field's formulas, what is not known, and the user's own."""

import pytest
import timm.loss
import torch
import torchvision
from torch.nn import functional as F

from refconv.errors import ModelError, RecipeError
from refconv.recipe.recipe import Recipe
from refconv.tasks.losses import asymmetric, bce, chosen_loss, huber, l1, l2

CPU = torch.device("cpu")
NAMED = {"bce": bce, "asymmetric": asymmetric}


def recipe(**settings):
    return Recipe(model="m", data="digits", task="multilabel", **settings)


def batch():
    drawn = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 4, dtype=torch.float64, generator=drawn) * 3
    return outputs, (torch.rand(6, 4, generator=drawn) > 0.6).double()


@pytest.mark.parametrize("settings", [{}, {"gamma_neg": 2, "gamma_pos": 0, "clip": 0.0}], ids=["default", "other"])
def test_the_asymmetric_loss_is_that_of_its_authors_per_entry(settings):
    outputs, labels = batch()
    theirs = timm.loss.AsymmetricLossMultiLabel(
        **{"gamma_neg": 4, "gamma_pos": 1, "clip": 0.05, **settings}, reduction="mean"
    )
    expected = theirs(outputs, labels).item()  # in float32
    assert asymmetric(**settings)(outputs, labels).item() == pytest.approx(expected, rel=1e-5)


def test_without_focusing_and_clipping_it_is_focal_loss_and_cross_entropy():
    outputs, labels = batch()
    focal = torchvision.ops.sigmoid_focal_loss(outputs, labels, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(asymmetric(2, 2, 0)(outputs, labels), focal)
    torch.testing.assert_close(asymmetric(0, 0, 0)(outputs, labels), bce()(outputs, labels))


@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        (bce(), F.binary_cross_entropy_with_logits),
        (l1(), F.l1_loss),
        (l2(), F.mse_loss),
        (huber(delta=0.5), lambda outputs, labels: F.huber_loss(outputs, labels, delta=0.5)),
    ],
    ids=["bce", "l1", "l2", "huber"],
)
def test_what_is_not_known_counts_nowhere(loss, theirs):
    outputs, labels = batch()
    torch.testing.assert_close(loss(outputs, labels), theirs(outputs, labels))
    holes = labels.clone()
    holes[0, 1] = holes[3] = torch.nan
    known = ~holes.isnan()
    inputs = outputs.clone().requires_grad_()
    found = loss(inputs, holes)
    torch.testing.assert_close(found, theirs(outputs[known], labels[known]))
    found.backward()
    assert bool(inputs.grad.isfinite().all())
    assert bool((inputs.grad[~known] == 0).all())
    assert loss(outputs, torch.full_like(labels, torch.nan)) == 0


OWN = """
import torch

def weighted(outputs, targets, by=1.0):
    return by * (outputs - targets).square().mean()

class Made(torch.nn.Module):
    def __init__(self, by=1.0):
        super().__init__()
        self.by = by

    def forward(self, outputs, targets):
        return weighted(outputs, targets, self.by)

def maker(by=1.0):
    return Made(by)

def per_sample(outputs, targets):
    return (outputs - targets).square().mean(dim=1)

def broken(outputs, targets):
    raise RuntimeError("shapes do not match")

number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_losses_here.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", ["weighted", "Made", "maker"])
def test_a_loss_of_ones_own_is_a_function_or_what_makes_one(own, name):
    outputs, labels = batch()
    loss = chosen_loss(recipe(loss=f"own_losses_here:{name}", loss_kwargs={"by": 2.0}), NAMED, CPU)
    torch.testing.assert_close(loss(outputs, labels), 2 * F.mse_loss(outputs, labels))


def test_losses_of_torch_are_had_by_their_name():
    outputs, labels = batch()
    loss = chosen_loss(
        recipe(loss="torch.nn:BCEWithLogitsLoss", loss_kwargs={"pos_weight": [1.0, 2, 3, 4]}), NAMED, CPU
    )
    weight = torch.tensor([1.0, 2, 3, 4])
    expected = F.binary_cross_entropy_with_logits(outputs, labels, pos_weight=weight)
    torch.testing.assert_close(loss(outputs, labels), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "bces"}, "loss: unknown loss; expected bce, asymmetric or module:function, found 'bces'; .*bce"),
        ({"loss": "bce", "loss_kwargs": {"gamma": 2}}, "loss_kwargs: bce does not take gamma; found TypeError"),
        ({"loss": "no_such_module:loss"}, "loss no_such_module:loss: cannot import the loss; .*ModuleNotFoundError"),
        ({"loss": "own_losses_here:missing"}, "cannot import the loss; .*AttributeError"),
        ({"loss": "own_losses_here:number"}, "loss own_losses_here:number: not a loss; .*found int"),
    ],
)
def test_what_is_no_loss_is_refused(own, settings, message):
    with pytest.raises(RecipeError, match=message):
        chosen_loss(recipe(**settings), NAMED, CPU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("per_sample", r"loss own_losses_here:per_sample: the loss is no number; .* found a tensor \[6\]"),
        ("broken", r"the loss fails; expected a loss of outputs \[6, 4\] .*found RuntimeError: shapes do not match"),
    ],
)
def test_a_loss_that_fails_says_so_in_one_line(own, name, message):
    loss = chosen_loss(recipe(loss=f"own_losses_here:{name}"), NAMED, CPU)
    with pytest.raises(ModelError, match=message):
        loss(*batch())
