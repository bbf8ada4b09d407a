"""One step: what is accumulated, averaged, mixed and seeded."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timm.optim import Lookahead
from torch import nn
from torch.nn import functional as F

from refconv.data import DataInfo
from refconv.data.splits import taken_by
from refconv.engine.stepping import Stepper, make_schedule, medians, step_seconds
from refconv.errors import LayerError, RecipeError
from refconv.models.networks import mobilenet_small
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from setups import setup_of

INFO = DataInfo("images", 4, 1, (1, 8, 8), (0.0,), (1.0,), ("a", "b", "c", "d"), 8, 0, 0)
ALONE = Processes(0, 1, torch.device("cpu"))


def stepper(model, part_size=8, **settings):
    recipe = Recipe(**{"model": "m", "data": "digits", "opt": "momentum", "lr": 0.1, "sched": "none", **settings})
    return Stepper(setup_of(model, recipe, INFO, ALONE, steps_per_epoch=10, part_size=part_size))


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


def test_errors_of_the_project_keep_their_words_in_the_optimizers_step(monkeypatch):
    made, error = stepper(plain_model()), LayerError("its Gram is not finite", where="conv1")

    def fail():
        raise error

    monkeypatch.setattr(made.optimizer, "step", fail)
    with pytest.raises(LayerError) as caught:
        made.step(0, [batch()])
    assert caught.value is error


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


class Maps(nn.Module):
    """A small segmenter with an auxiliary output; no norm, so that a sample's gradient is its own."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.more = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)

    def forward(self, images):
        features = self.body(images).relu()
        return {"out": self.head(features), "aux": self.more(features)}


def maps_batch():
    """Return eight images whose share of ignored pixels goes from 0 to 1."""
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(8, 1, 8, 8, generator=drawn)
    truth = torch.randint(0, 4, (8, 8, 8), generator=drawn)
    truth[torch.rand(8, 8, 8, generator=drawn) < torch.linspace(0, 1, 8)[:, None, None]] = 255
    return images, truth


def maps_gradients(images, truth):
    """Return the gradients of the mean over all counted pixels, in float64 and by another route."""
    torch.manual_seed(0)
    model = Maps().double()
    outputs = model(images.double())
    kept = truth != 255
    losses = [F.cross_entropy(outputs[key].movedim(1, -1)[kept], truth[kept]) for key in ("out", "aux")]
    (losses[0] + 0.5 * losses[1]).backward()
    return [parameter.grad.float() for parameter in model.parameters()]


def maps_step(batches, processes=ALONE, parts=1):
    """Return the loss and the gradients of a step of the parts that one process has."""
    torch.manual_seed(0)
    model = Maps()
    recipe = Recipe(model="m", data="d", task="segmentation", opt="sgd", lr=1.0, weight_decay=0.0, sched="none")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    made = Stepper(setup_of(model, recipe, INFO, processes, steps_per_epoch=1, part_size=8 // parts))
    loss = made.step(0, batches)
    return loss, [parameter.grad for parameter in made.model.parameters()], before


def in_parts(images, truth, parts):
    return list(zip(images.chunk(parts), truth.chunk(parts), strict=True))


# Sums of 8 * 64 terms of order 1 in float32, divided by their number: 512 * 2**-24 = 3e-5 at the very most, of values
# that are below 1; the error of a mean of rounding errors is nearer to sqrt(512) * 2**-24 = 1.3e-6.
TOLERANCE = {"rtol": 1e-5, "atol": 2e-6}


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_a_step_of_class_maps_is_the_mean_over_its_pixels_into_however_many_parts_it_is_cut(parts):
    batch = maps_batch()
    expected = maps_gradients(*batch)
    loss, found, _ = maps_step(in_parts(*batch, parts), parts=parts)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)
    whole, _, _ = maps_step([batch])
    torch.testing.assert_close(loss, whole, **TOLERANCE)
    if parts > 1:  # the neighbour: the mean of the parts' means
        means = [maps_gradients(*part) for part in in_parts(*batch, parts)]
        means = [torch.stack(own).nan_to_num().mean(0) for own in zip(*means, strict=True)]
        distance = sum((a - b).square().sum() for a, b in zip(means, expected, strict=True)).sqrt()
        assert distance > 0.05 * sum(b.square().sum() for b in expected).sqrt()


def test_a_step_without_a_pixel_that_counts_changes_nothing():
    images, truth = maps_batch()
    loss, found, _ = maps_step(in_parts(images, torch.full_like(truth, 255), 2), parts=2)
    assert loss == 0
    assert all(gradient.abs().max() == 0 for gradient in found)


class Apart(Processes):
    """One of two processes that is told the sum over both, and shares no gradients: the test averages them."""

    @property
    def alone(self):
        return True

    def sums(self, values):
        return [self.total for _ in values]


def test_processes_with_other_numbers_of_pixels_average_to_the_mean_over_all():
    batch = maps_batch()
    expected = maps_gradients(*batch)
    Apart.total = float((batch[1] != 255).sum())
    cut = in_parts(*batch, 4)
    shares = [maps_step(cut[2 * rank : 2 * rank + 2], Apart(rank, 2, torch.device("cpu")), parts=2) for rank in (0, 1)]
    for first, second, wanted in zip(shares[0][1], shares[1][1], expected, strict=True):
        torch.testing.assert_close((first + second) / 2, wanted, **TOLERANCE)  # as DDP averages
    whole, _, _ = maps_step([batch])
    torch.testing.assert_close((shares[0][0] + shares[1][0]) / 2, whole, **TOLERANCE)


def shared_step(model, batch, rank, world_size, **settings):
    """Return the gradients of one process's step on its share of a batch of one part, and put the weights back."""
    recipe = Recipe(
        model="m", data="digits", opt="momentum", lr=0.1, sched="none", batch_size=len(batch[1]), **settings
    )
    processes = Apart(rank, world_size, torch.device("cpu"))
    made = Stepper(setup_of(model, recipe, INFO, processes, steps_per_epoch=1, part_size=len(batch[1])))
    own = taken_by(len(batch[1]), rank=rank, world_size=world_size, pairs=recipe.mixes)
    state = copy.deepcopy(model.state_dict())
    made.step(3, [(batch[0][own], batch[1][own])])
    model.load_state_dict(state)
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("size", [1, 2, 4, 5, 8, 10])
@pytest.mark.parametrize(
    ("settings", "counted"),
    [
        ({}, lambda labels: float(len(labels))),
        ({"mixup": 0.4, "cutmix": 1.0, "mixup_mode": "elem"}, lambda labels: float(len(labels))),
        ({"loss": "cross_entropy", "loss_kwargs": {"weight": [1.0, 5.0, 0.1, 2.0]}}, lambda labels: float(
            torch.tensor([1.0, 5.0, 0.1, 2.0])[labels].sum())),
    ],
    ids=["plain", "mixed", "weighted classes"],
)  # fmt: skip
def test_three_processes_average_to_the_step_of_one_whatever_their_shares(settings, counted, size):
    """Some have one sample more than others, and some none."""
    if "mixup" in settings and size % 2:
        size += 1
    inputs, labels = batch(size, torch.float64)
    labels = labels.flip(0)
    model = plain_model(torch.float64)
    Apart.total = counted(labels)
    expected = shared_step(model, (inputs, labels), 0, 1, **settings)
    shares = [shared_step(model, (inputs, labels), rank, 3, **settings) for rank in range(3)]
    for *own, wanted in zip(*shares, expected, strict=True):
        torch.testing.assert_close(sum(own) / 3, wanted, rtol=1e-5, atol=1e-7)  # the loss is computed in float32
    if size == 5 and not settings:  # the neighbour: each process counts alike
        means = []
        for share in torch.arange(size).tensor_split(3):
            model.zero_grad()
            F.cross_entropy(model(inputs[share]), labels[share]).backward()
            means.append([parameter.grad.clone() for parameter in model.parameters()])
        distance = max(
            float((sum(own) / 3 - wanted).abs().max()) for *own, wanted in zip(*means, expected, strict=True)
        )
        assert distance > 1e-3


DISTRIBUTED = """
import sys
sys.path[:0] = sys.argv[2:]
import torch
from refconv.process.distributed import joined
from test_stepping import in_parts, maps_batch, maps_step
torch.set_num_threads(1)
with joined("cpu") as processes:
    cut = in_parts(*maps_batch(), 4)
    rank = processes.rank
    loss, gradients, _ = maps_step(cut[2 * rank : 2 * rank + 2], processes, parts=2)
    torch.save(gradients, f"{sys.argv[1]}/{rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_the_whole_batch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DISTRIBUTED)
    here = Path(__file__).parent
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(script), str(tmp_path), str(here), str(here.parent)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = maps_gradients(*maps_batch())
    for rank in range(2):
        for found, wanted in zip(torch.load(tmp_path / f"{rank}.pt"), expected, strict=True):
            torch.testing.assert_close(found, wanted, **TOLERANCE)


@pytest.mark.parametrize("opt", ["lookahead_sgd", "lookahead_adamw"])
def test_lookahead_ends_an_epoch_with_its_slow_weights(opt):
    model = plain_model()
    other = copy.deepcopy(model)
    made = stepper(model, opt=opt, lr=0.05, weight_decay=0.0)
    inner = torch.optim.SGD if opt.endswith("sgd") else torch.optim.AdamW
    settings = {"momentum": 0.9, "nesterov": True} if opt.endswith("sgd") else {"weight_decay": 0.0}
    reference = Lookahead(inner(other.parameters(), lr=0.05, **settings))
    data = [batch() for _ in range(8)]  # two steps beyond the sixth, at which the slow weights were moved
    for number, (inputs, labels) in enumerate(data):
        made.step(number, [(inputs, labels)])
        reference.zero_grad()
        F.cross_entropy(other(inputs), labels).backward()
        reference.step()
    fast = [parameter.detach().clone() for parameter in model.parameters()]
    made.end_epoch()
    reference.sync_lookahead()  # what timm's training script does at the end of an epoch
    for own, theirs, before in zip(model.parameters(), other.parameters(), fast, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(own, before, rtol=1e-4, atol=1e-5)
    slow = [made.optimizer._base_optimizer.state[p]["lookahead_slow_buff"] for p in model.parameters()]
    assert all(torch.equal(p, buffer) for p, buffer in zip(model.parameters(), slow, strict=True))


def test_an_optimizer_without_slow_weights_ends_an_epoch_as_it_is():
    model = plain_model()
    made = stepper(model)
    made.step(0, [batch()])
    before = copy.deepcopy(model.state_dict())
    made.end_epoch()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def rates(steps, *, steps_per_epoch=10, **settings):
    made = Recipe(model="m", data="digits", lr=1.0, **settings)
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    set_rates, epochs = make_schedule(optimizer, made, steps_per_epoch=steps_per_epoch)
    result = []
    for step in steps:
        set_rates(step)
        result.append(optimizer.param_groups[0]["lr"])
    return result, epochs


def test_warm_up_and_cosine_are_those_of_the_formula():
    found, epochs = rates([0, 5, 10, 55, 99], epochs=10, warmup_epochs=1, warmup_lr=0.0)
    expected = [0.0, 0.5] + [0.5 * (1 + torch.cos(torch.tensor(torch.pi * s / 100))).item() for s in (10, 55, 99)]
    assert epochs == 10
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_a_warm_up_prefix_adds_its_epochs():
    found, epochs = rates([10], epochs=10, warmup_epochs=1, warmup_prefix=True)
    assert (found, epochs) == ([1.0], 11)


@pytest.mark.parametrize("sched", ["cosine", "tanh", "step", "multistep", "poly", "constant"])
def test_the_rate_of_a_step_depends_on_its_number_alone(sched):
    forwards, _ = rates(range(100), epochs=10, warmup_epochs=2, sched=sched)
    backwards, _ = rates(reversed(range(100)), epochs=10, warmup_epochs=2, sched=sched)
    assert forwards == backwards[::-1]


def test_no_schedule_keeps_the_rate():
    assert rates([0, 50], epochs=10, sched="none") == ([1.0, 1.0], 10)


def test_schedule_arguments_are_handed_over():
    found, _ = rates([0, 29, 30, 60], epochs=10, sched="step", sched_kwargs={"decay_epochs": 3, "decay_rate": 0.5})
    assert found == [1.0, 1.0, 0.5, 0.25]
    with pytest.raises(RecipeError, match="sched_kwargs.wings: unknown argument of a schedule"):
        rates([0], sched_kwargs={"wings": 2})


SMALL = {
    "model": "refconv.models.networks:mobilenet_small",
    "model_kwargs": {"width": 0.25, "strides": [1, 2], "stem_stride": 2},
    "data": "digits",
}


def test_recipes_take_their_steps_in_turn(monkeypatch):
    taken = []
    honest = Stepper.step

    def noted(self, number, parts):
        taken.append(len(parts[0][1]) * len(parts))
        return honest(self, number, parts)

    monkeypatch.setattr(Stepper, "step", noted)
    recipes = {
        "large": Recipe(**SMALL, batch_size=64, device="cpu"),
        "parts": Recipe(**SMALL, batch_size=16, grad_accum_steps=2, method="refocus", device="cpu"),
    }
    seconds = step_seconds(recipes, turns=3)
    assert taken == [64, 16] * 4  # the first of each is not counted
    assert {name: len(found) for name, found in seconds.items()} == {"large": 3, "parts": 3}
    assert all(value > 0 for value in medians(seconds).values())
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}
