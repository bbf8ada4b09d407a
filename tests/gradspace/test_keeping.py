"""Bases that are kept outside the memory of the model: the same training, the same states, less memory."""

import contextlib
import copy
import errno
import io
import os
import pickle
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

import refconv
from refconv.errors import SettingError
from refconv.fused import slices
from refconv.gradspace.optimizer import BASE

NAMELESS = pytest.mark.skipif(sys.platform == "win32", reason="no files without names there")
ON_DISK = pytest.param("disk", marks=NAMELESS)


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 8, 3, groups=2))
    return model.to(memory_format=torch.channels_last)


def made(model, **settings):
    return refconv.RefocusSGD(refconv.param_groups(model, 0.1), lr=0.1, momentum=0.9, **settings)


def train(model, optimizer, steps=3):
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        (model(torch.randn(2, 3, 9, 9)) - 0.3).square().mean().backward()
        optimizer.step()
    return model.state_dict()


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("bases", ["cpu", ON_DISK])
def test_training_and_states_are_those_of_bases_beside_the_kernels(bases, loops, monkeypatch):
    if not loops:
        monkeypatch.setattr(slices, "fits", lambda *_: False)
    model, plain = network(), network()
    optimizer, other = made(model, bases=bases), made(plain)
    assert_equal(train(model, optimizer), train(plain, other))
    found, expected = optimizer.state_dict(), other.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for key, values in expected["state"].items():
        assert_equal(found["state"][key], values)
    for name in ("0", "1", "2"):
        assert torch.equal(optimizer.base(name), other.base(name))


@pytest.mark.parametrize("bases", ["device", "cpu", ON_DISK])
def test_states_load_wherever_bases_are_kept(bases):
    expected = train(model := network(), made(model), 6)
    optimizer = made(model := network(), bases="cpu" if sys.platform == "win32" else "disk")
    train(model, optimizer, 3)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    resumed = network()
    resumed.load_state_dict(model.state_dict())
    again = made(resumed, bases=bases)
    again.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    assert again.bases == bases
    for step in range(3, 6):
        torch.manual_seed(step)
        again.zero_grad()
        (resumed(torch.randn(2, 3, 9, 9)) - 0.3).square().mean().backward()
        again.step()
    assert_equal(resumed.state_dict(), expected)


@pytest.mark.parametrize("bases", ["cpu", ON_DISK])
def test_copies_and_new_rounds_keep_their_bases_there_too(bases):
    model = network()
    optimizer = made(model, bases=bases)
    train(model, optimizer, 1)
    both = copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))
    expected = train(model, optimizer)
    for other, copied in both:
        assert copied.bases == bases
        assert_equal(train(other, copied), expected)
    optimizer.rebase()
    assert torch.equal(optimizer.base("0"), model[0].weight)
    train(model, optimizer, 1)
    assert not torch.equal(optimizer.base("0"), model[0].weight)


@NAMELESS
def test_bases_on_the_disk_lie_in_files_without_names(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = nn.Conv2d(64, 64, 3)
    optimizer = made(model, bases="disk")
    (model(torch.randn(1, 64, 8, 8))).square().mean().backward()
    optimizer.step()
    assert list(tmp_path.iterdir()) == []
    where = optimizer.state[model.weight][BASE].data_ptr()
    maps = Path("/proc/self/maps")
    if maps.exists():
        lines = [line for line in maps.read_text().splitlines() if "refconv-base-" in line]
        ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
        assert any(first <= where < last for first, last in ranges)


@NAMELESS
def test_a_full_disk_is_one_line_before_a_kernel_has_moved(monkeypatch):
    @contextlib.contextmanager
    def full(**_):
        class File(io.BytesIO):
            def write(self, _):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        yield File()

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    model = nn.Conv2d(3, 4, 3)
    before = model.weight.detach().clone()
    optimizer = made(model, bases="disk")
    model(torch.randn(1, 3, 8, 8)).sum().backward()
    with pytest.raises(
        SettingError, match=r"no room for 432 bytes: No space left on device; set TMPDIR to a folder with room"
    ):
        optimizer.step()
    assert torch.equal(model.weight, before)


def test_unknown_places_are_refused():
    with pytest.raises(SettingError, match="bases: unknown place.*device, cpu, disk.*'memory'"):
        made(network(), bases="memory")
