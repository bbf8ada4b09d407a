"""What a checkpoint holds of its optimizer: whole for every optimizer, refused by name where a part is lost."""

import copy
import re

import pytest
import torch
from timm.optim import list_optimizers
from torch import nn

from refconv.digests import DIGEST, with_digest
from refconv.engine import Recipe, train
from refconv.engine.remembering import finite, kept_by
from refconv.errors import CheckpointError
from refconv.methods.method import inner_optimizer, make_optimizer

pytestmark = pytest.mark.usefixtures("one_thread")

ELSEWHERE = {name for name in list_optimizers() if name.startswith(("bnb", "fused"))} | {"adahessian"}
OTHERS = sorted({*list_optimizers()} - ELSEWHERE - {"momentum", "adamw"})
STEPS = 7  # Lookahead begins to remember at the sixth


class PartlyUsed(nn.Module):
    """A network with a branch that no step reaches, and a frozen layer."""

    def __init__(self, num_classes=10, in_chans=1):
        super().__init__()
        self.first = nn.Conv2d(in_chans, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.unused = nn.Conv2d(4, 4, 3, groups=4)
        self.frozen = nn.Conv2d(4, 4, 3, groups=4).requires_grad_(False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.depthwise(self.first(x)) + self.frozen(self.first(x))).mean((2, 3)))


def recipe(**settings):
    return Recipe(**{
        "model": "engine.test_remembering:PartlyUsed", "data": "digits", "opt": "momentum", "epochs": 1,
        "epoch_steps": STEPS, "batch_size": 32, "lr": 0.01, "test": False, "log_interval": 4, **settings,
    })  # fmt: skip


def form(entry):
    return {
        name: tuple(value.shape) if isinstance(value, torch.Tensor) else type(value) for name, value in entry.items()
    }


@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum'")  # timm's kron, of its speed
@pytest.mark.parametrize("opt", [
    "momentum", "adamw", "lookahead_adamw",
    *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS),
])  # fmt: skip
def test_what_any_optimizer_of_timms_will_keep_is_known_before(opt):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3, groups=3), nn.Flatten(), nn.Linear(48, 4))
    optimizer = make_optimizer(model, Recipe(model="m", data="digits", opt=opt, lr=0.01))
    weights = copy.deepcopy(model.state_dict())
    begun = {key: form(entry) for key, entry in inner_optimizer(optimizer).state.items()}
    expected = kept_by(optimizer, STEPS)
    assert {key: form(entry) for key, entry in inner_optimizer(optimizer).state.items()} == begun
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 8, 8)).square().mean().backward()
        optimizer.step()
    assert expected.keys() == set(model.parameters())
    for parameter, entry in expected.items():
        assert entry.keys() == inner_optimizer(optimizer).state.get(parameter, {}).keys()


RUNS = {
    "plain": {},
    "adamw": {"opt": "adamw"},
    "lookahead": {"opt": "lookahead_adamw"},
    "gradient space": {"method": "refocus", "space": "gradient", "start": "kaiming"},
    "gradient space, lookahead": {"method": "refocus", "space": "gradient", "opt": "lookahead_sgd", "rounds": 2},
    "gradient space without momentum": {"method": "refocus", "space": "gradient", "momentum": 0.0},
    "kernel space, fused": {"method": "refocus", "space": "kernel"},
    "kernel space, rounds": {"method": "refocus", "space": "kernel", "rounds": 2, "opt": "adamw"},
    "parts": {"grad_accum_steps": 2, "opt": "adamw"},
    "only norms": {"train": "norm", "opt": "adamw"},
}


def resumed_after(change, run, settings):
    """Resume a copy of a run's checkpoint whose entries of the optimizer were changed, as if it had been stopped."""
    path = run / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    del content[DIGEST]
    change(content["optimizer"]["state"])
    torch.save(with_digest(content), path)
    (run / "record.json").unlink(missing_ok=True)
    return train(settings, run, resume=True, show=False)


def moved(part):
    name, value = part
    return name != "base" and bool(torch.as_tensor(value).any())


@pytest.mark.faults
@pytest.mark.parametrize("name", RUNS)
def test_any_lost_part_of_an_optimizer_is_refused_and_a_whole_one_resumed(name, tmp_path, figures):
    quick, run = recipe(**RUNS[name]), tmp_path / "run"
    record = train(quick, run, show=False)
    whole = (run / "checkpoint.pt").read_bytes()
    again = resumed_after(lambda state: None, run, quick)
    assert again.train_loss == record.train_loss
    state = torch.load(run / "checkpoint.pt", weights_only=True)["optimizer"]["state"]
    # Of what no step reaches there may be a base, and a momentum of zero that the fused form begins with.
    full = {key: entry for key, entry in state.items() if quick.momentum == 0 or any(map(moved, entry.items()))}
    assert full
    words = r"the state of the optimizer is (incomplete for 1 of \d+ parameters \(\w[\w.]+\)|empty); expected "
    changes = [lambda state, key=key: state.pop(key) for key in full]
    key = next(iter(full))
    changes += [lambda state, part=part: state[key].pop(part) for part in full[key]]
    changes += [
        lambda state, part=part: state[key].update({part: state[key][part].flatten()[:1].clone()})
        for part, value in full[key].items()
        if isinstance(value, torch.Tensor) and value.ndim
    ]
    for change in changes:
        (run / "checkpoint.pt").write_bytes(whole)
        with pytest.raises(CheckpointError, match=words) as caught:
            resumed_after(change, run, quick)
        assert re.search("copy the file again", str(caught.value))
    tried = len(changes) + 1
    figures("an optimizer that has lost a part is refused by name, and a whole one is resumed", tried, tried)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["plain", "adamw", "lookahead", "gradient space", "kernel space, fused"])
def test_a_state_that_is_not_finite_is_refused_by_the_name_of_the_parameter(name, value, tmp_path):
    quick, run = recipe(**RUNS[name]), tmp_path / "run"
    train(quick, run, show=False)
    whole = (run / "checkpoint.pt").read_bytes()
    state = torch.load(run / "checkpoint.pt", weights_only=True)["optimizer"]["state"]
    key, entry = next(iter(state.items()))
    for part in [part for part, held in entry.items() if isinstance(held, torch.Tensor) and held.ndim]:

        def spoil(state, part=part):
            state[key][part].flatten()[-1] = value

        (run / "checkpoint.pt").write_bytes(whole)
        words = (
            rf"not finite for 1 of \d+ parameters \((\S+)\); expected finite numbers, found .* in {part} of \1; take"
        )
        with pytest.raises(CheckpointError, match=words):
            resumed_after(spoil, run, quick)


@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum'")
@pytest.mark.parametrize("opt", [
    "momentum", "adamw", "lookahead_adamw",
    *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS),
])  # fmt: skip
@pytest.mark.parametrize("scale", [1.0, 0.0, 1e-25])
def test_no_optimizer_of_timms_keeps_what_is_not_finite(opt, scale):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3, groups=3), nn.Flatten(), nn.Linear(48, 4))
    optimizer = make_optimizer(model, Recipe(model="m", data="digits", opt=opt, lr=0.001))
    for _ in range(STEPS):
        optimizer.zero_grad()
        (model(torch.randn(4, 1, 8, 8)).square().mean() * scale).backward()
        optimizer.step()
    assert all(map(finite, inner_optimizer(optimizer).state.values()))


def test_a_setting_that_the_optimizer_has_lost_is_refused(tmp_path):
    quick, run = recipe(), tmp_path / "run"
    train(quick, run, show=False)
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    del content[DIGEST], content["optimizer"]["param_groups"][0]["momentum"]
    torch.save(with_digest(content), run / "checkpoint.pt")
    (run / "record.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.pt: a setting of the optimizer is missing; expected momentum"
    ):
        train(quick, run, resume=True, show=False)


def test_a_group_that_the_optimizer_has_lost_is_refused(tmp_path):
    quick, run = recipe(), tmp_path / "run"
    train(quick, run, show=False)
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    del content[DIGEST], content["optimizer"]["param_groups"][-1]
    torch.save(with_digest(content), run / "checkpoint.pt")
    (run / "record.json").unlink()
    with pytest.raises(CheckpointError, match=r"groups of the optimizer's parameters are not .*; copy the file again"):
        train(quick, run, resume=True, show=False)
