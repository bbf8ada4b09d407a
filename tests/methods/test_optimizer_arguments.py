"""What an optimizer of timm's cannot use is refused before a run begins, in one line."""

import pytest
import torch
from torch import nn

from refconv.engine import Recipe
from refconv.errors import RecipeError
from refconv.methods.method import make_optimizer


def optimizer_with(opt, **arguments):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(108, 4))
    return make_optimizer(model, Recipe(model="m", data="digits", opt=opt, lr=0.01, opt_kwargs=arguments))


@pytest.mark.parametrize(
    ("opt", "arguments", "words"),
    [
        ("adamw", {"eps": "abc"}, "opt_kwargs.eps: wrong type; expected a number, found 'abc'"),
        ("lookahead_adamw", {"eps": float("nan")}, "opt_kwargs.eps: not a finite number; found nan"),
        ("lamb", {"betas": [0.9]}, r"opt_kwargs.betas: wrong type; expected 2 numbers, found \[0.9\]"),
        ("adamw", {"betas": {}}, "opt_kwargs.betas: wrong type; expected 2 numbers"),
        ("momentum", {"differentiable": 1}, "opt_kwargs.differentiable: wrong type; expected true or false, found 1"),
        ("adamw", {"eps": -1}, "opt: adamw does not take these settings; found Invalid epsilon value: -1"),
        ("adafactor", {"betas": []}, "opt: adafactor does not take these settings; found list index out of range"),
        ("lamb", {"betas": [1.5, 2.0]}, "opt_kwargs: lamb does not take this; found RuntimeError: result type Complex"),
        ("adamw", {"capturable": True}, "opt_kwargs: adamw does not take this; found AssertionError: If cap"),
        ("muon", {"ns_steps": 2.5}, "opt_kwargs: muon does not take this; found TypeError: slice indices must be"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_used_is_refused_before_the_first_step(opt, arguments, words):
    with pytest.raises(RecipeError, match=f"^{words}"):
        optimizer_with(opt, **arguments)


def test_arguments_are_tried_without_a_trace():
    """The optimizer has no state, and no number is drawn from the generator."""
    before = torch.get_rng_state()
    optimizer_with("adamw")
    drawn = torch.get_rng_state()
    torch.set_rng_state(before)
    optimizer = optimizer_with("adamw", betas=[0.8, 0.9], eps=1e-6)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not optimizer.state
    assert optimizer_with("lamb", max_grad_norm=None).defaults["max_grad_norm"] is None
