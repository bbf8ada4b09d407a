"""What a network needs of its input is found by tries; padding and tiles change nothing that they should not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import refconv
from refconv.data.resizing import enlarged
from refconv.errors import ModelError
from refconv.models.restorers import dncnn_small, edsr_small
from refconv.tasks.restoration.restoring import Needs, needs_of, restored


class Halving(nn.Module):
    """A network like a U-Net: halves so many times, comes back, and adds what it had."""

    def __init__(self, times, upscale=1):
        super().__init__()
        self.times, self.upscale = times, upscale
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        small = x
        for _ in range(self.times):
            small = F.avg_pool2d(small, 2)
        back = F.interpolate(self.conv(small), scale_factor=2**self.times)
        return F.interpolate(x + back, scale_factor=float(self.upscale))


class Giving(nn.Module):
    """Gives whatever it is told to."""

    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, x):
        return self.give(x)


@pytest.mark.parametrize(
    ("model", "upscale", "expected"),
    [
        (dncnn_small(width=4, depth=2), 1, Needs(False, 1)),
        (dncnn_small(width=4, depth=2), 3, Needs(True, 1)),
        (edsr_small(upscale=4, width=4, depth=1), 4, Needs(False, 1)),
        (Halving(3), 1, Needs(False, 8)),
        (Halving(6), 1, Needs(False, 64)),
        (Halving(2, upscale=2), 2, Needs(False, 4)),
        (Halving(2), 2, Needs(True, 4)),
    ],
    ids=lambda value: "" if isinstance(value, nn.Module) else None,
)
def test_needs_are_found(model, upscale, expected):
    assert needs_of(model, in_chans=3, upscale=upscale) == expected


def test_tries_leave_mode_statistics_and_generators_alone():
    model = dncnn_small(width=4, depth=3).train()
    model.body[0][1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    needs_of(model, in_chans=3, upscale=1)
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(state, torch.get_rng_state())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_tries_run_nothing_that_is_compiled():
    model = dncnn_small(width=4, depth=2)
    model.compile(backend=lambda *_: pytest.fail("compiled for a try"))
    made = model._compiled_call_impl
    needs_of(model, in_chans=3, upscale=1)
    assert model._compiled_call_impl is made


@pytest.mark.parametrize(
    ("give", "upscale", "message"),
    [
        (lambda x: x[..., ::2, ::2], 1, r"expected 3 channels and the size of the input, found \[1, 3, 32, 32\] for"),
        (lambda x: enlarged(x, 4), 2, r"or that of the input 2 times larger.*upscale=2"),
        (lambda x: x[:, :1], 1, "found .1, 1, 64, 64."),
        (lambda x: {"out": x}, 1, "found dict for"),
        (lambda x: x.reshape(7), 1, "found RuntimeError for 49 x 49: shape"),
        (nn.Conv2d(1, 1, 3, padding=1), 1, "found RuntimeError for 49 x 49: Given groups=1"),
    ],
)
def test_networks_that_restore_nothing_are_refused_in_one_line(give, upscale, message):
    with pytest.raises(ModelError, match=message) as caught:
        needs_of(Giving(give), in_chans=3, upscale=upscale)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("enlarge", [False, True])
@pytest.mark.parametrize("size", [(40, 60), (32, 32), (33, 70), (7, 90)])
def test_tiles_give_what_the_whole_image_gives(size, enlarge):
    torch.manual_seed(0)
    # Three convolutions of 3 x 3 look 3 pixels far.
    model = edsr_small(upscale=1 if enlarge else 2, width=4, depth=1).double().eval()
    model.tail.weight.data.mul_(50)
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    needs = Needs(enlarge, 1)
    whole = restored(model, image, needs, upscale=2)
    assert whole.shape == (1, 3, 2 * size[0], 2 * size[1])
    # The whole is enlarged bicubically after tiling or before; that kernel looks 2 pixels of the small image far.
    torch.testing.assert_close(restored(model, image, needs, upscale=2, tile=16, overlap=6), whole)
    if max(size) > 16:
        assert not torch.allclose(restored(model, image, needs, upscale=2, tile=16, overlap=0), whole, atol=1e-4)


def test_padding_mirrors_and_is_cut_off_again():
    model = Halving(3).eval()
    image = torch.rand(1, 3, 21, 16)
    mirrored = F.pad(image, (0, 0, 0, 3), mode="reflect")
    expected = model(mirrored)[..., :21, :]
    torch.testing.assert_close(restored(model, image, Needs(False, 8), upscale=1), expected)
    tiny = torch.rand(1, 3, 2, 3)  # too small to be mirrored
    assert restored(model, tiny, Needs(False, 8), upscale=1).shape == tiny.shape


def test_refocused_network_is_tried_as_it_is():
    model = dncnn_small(width=4, depth=3)
    refconv.refocus(model)
    assert needs_of(model, in_chans=3, upscale=2) == Needs(True, 1)
