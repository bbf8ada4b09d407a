"""One step: what is accumulated, averaged, mixed and seeded."""

import copy

import pytest
import torch
from torch import nn

from refconv.training.data import DataInfo
from refconv.training.distributed import Processes
from refconv.training.networks import mobilenet_small
from refconv.training.recipe import Recipe
from refconv.training.stepping import Stepper

INFO = DataInfo("images", 4, 1, (1, 8, 8), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)
ALONE = Processes(0, 1, torch.device("cpu"))


def stepper(model, part_size=8, **settings):
    recipe = Recipe(**{"model": "m", "data": "digits", "opt": "momentum", "lr": 0.1, "sched": "none", **settings})
    return Stepper(model, recipe, INFO, ALONE, steps_per_epoch=10, part_size=part_size)


def plain_model(dtype=torch.float32):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)).to(dtype)


def batch(size=8, dtype=torch.float32):
    return torch.randn(size, 1, 8, 8, dtype=dtype), torch.arange(size) % 4


def test_a_step_is_that_of_the_textbook():
    model = plain_model()
    other = copy.deepcopy(model)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    made = stepper(model, weight_decay=1e-2, filter_bias_and_bn=False)
    for number in range(3):
        inputs, labels = batch()
        loss = made.step(number, [(inputs, labels)])
        optimizer.zero_grad()
        expected = nn.functional.cross_entropy(other(inputs), labels)
        expected.backward()
        optimizer.step()
        assert torch.equal(loss, expected.detach())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_are_the_whole_batch(parts):
    model = plain_model()
    other = copy.deepcopy(model)
    inputs, labels = batch()
    whole = stepper(model).step(0, [(inputs, labels)])
    size = 8 // parts
    made = stepper(other, part_size=size, grad_accum_steps=parts, batch_size=8)
    accumulated = made.step(0, list(zip(inputs.split(size), labels.split(size), strict=True)))
    torch.testing.assert_close(whole, accumulated)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_step_depends_on_its_number_and_not_on_what_was_drawn_before():
    inputs, labels = batch()
    settings = {"mixup": 0.5, "seed": 3}
    results = []
    for noise in (0, 7):
        torch.manual_seed(noise)
        torch.rand(noise)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 4))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.01)
        stepper(model, **settings).step(5, [(inputs.clone(), labels)])
        results.append(model[2].weight.detach().clone())
    assert torch.equal(*results)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.01)
    stepper(model, **settings).step(6, [(inputs.clone(), labels)])
    assert not torch.equal(model[2].weight, results[0])


def test_the_average_follows_the_weights():
    model = plain_model()
    made = stepper(model, model_ema=True, model_ema_decay=0.75)
    expected = None
    for number in range(4):
        made.step(number, [batch()])
        weight = model[0].weight.detach()
        expected = weight.clone() if expected is None or number == 0 else 0.75 * expected + 0.25 * weight
    torch.testing.assert_close(made.result[0].weight, expected)
    assert made.result is not model


def test_without_average_the_model_is_the_result():
    model = plain_model()
    assert stepper(model).result is model


@pytest.mark.parametrize("settings", [{"amp": True}, {"channels_last": True}, {"clip_grad": 0.1}, {"drop": 0.5}])
def test_a_step_with_each_option_lowers_the_loss(settings):
    model = mobilenet_small(width=0.25, num_classes=4)
    made = stepper(model, **{"lr": 0.05, **settings})
    data = batch(16)
    losses = [float(made.step(number, [data])) for number in range(15)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_compiled_model_keeps_its_keys_and_trains():
    model = plain_model()
    names = list(model.state_dict())
    made = stepper(model, compile=True)
    data = batch()
    losses = [float(made.step(number, [data])) for number in range(5)]
    assert list(model.state_dict()) == names
    assert losses[-1] < losses[0]
