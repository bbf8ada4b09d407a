"""Numbers that SGD cannot have are refused by name, and a learning rate may be a tensor."""

import re

import pytest
import torch

import refconv
from networks import EveryKind
from refconv.errors import SettingError
from spaces import step

NONE = ["0.1", float("nan"), float("inf"), None, True, torch.ones(2)]


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("lr", "momentum", "dampening", "weight_decay") for value in NONE]
    + [(name, -1) for name in ("lr", "momentum", "weight_decay")],
)
def test_numbers_that_sgd_cannot_have_are_refused_by_name(name, value):
    groups = refconv.param_groups(EveryKind())
    expected = "a finite number" if name == "dampening" else "a finite number >= 0"
    words = re.escape(f"{name}: invalid value; expected {expected}, found {value!r}")
    with pytest.raises(SettingError, match=words) as caught:
        refconv.RefocusSGD(groups, **{"lr": 0.1, name: value})
    assert isinstance(caught.value, ValueError)
    groups[0][name] = value
    with pytest.raises(SettingError, match=words):
        refconv.RefocusSGD(groups, lr=0.1)


def test_nesterov_without_momentum_and_a_norm_that_is_no_number_are_refused():
    groups = refconv.param_groups(EveryKind())
    with pytest.raises(SettingError, match=r"nesterov: .*found momentum 0\.0, dampening 0\.0"):
        refconv.RefocusSGD(groups, lr=0.1, nesterov=True)
    with pytest.raises(SettingError, match="max_norm: invalid norm; .*'1'"):
        refconv.RefocusSGD(groups, lr=0.1, max_norm="1")


def test_a_learning_rate_may_be_a_tensor():
    images = torch.randn(4, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    states = []
    for rate in (0.5, torch.tensor(0.5)):  # exact in float32
        torch.manual_seed(0)
        model = EveryKind()
        step(model, images, refconv.RefocusSGD(refconv.param_groups(model), lr=rate, momentum=0.9))
        states.append(dict(model.state_dict()))
    torch.testing.assert_close(*states)
