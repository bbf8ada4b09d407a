"""Tables on a device whose memory is not read back, with pinned memory and CUDA graphs pretended."""

import pytest
import torch

from refconv.errors import RefconvWarning
from refconv.fused import launching, tables
from refconv.fused.launching import launches
from refconv.fused.tables import Tables

DEVICE = torch.device("meta")


@pytest.fixture
def pretended(monkeypatch):
    """Count what is pinned, and say whether a graph is captured."""
    state = {"pinned": 0, "capturing": False}

    def pinned(like):
        state["pinned"] += 1
        return torch.empty_like(like)

    monkeypatch.setattr(tables, "_pinned", pinned)
    monkeypatch.setattr(tables, "_capturing", lambda device: state["capturing"])
    return state


def table(own, says):
    return own.table("addresses", says, lambda: range(says, says + 4), DEVICE)


def test_every_table_is_written_through_pinned_memory_of_its_own(pretended):
    own = Tables()
    first = table(own, 1)
    assert first.device == DEVICE
    assert pretended["pinned"] == 2  # one of them the spare
    assert table(own, 1) is first
    assert table(own, 2) is not first
    assert pretended["pinned"] == 3
    assert not own._captured


def test_a_graph_pins_nothing_and_what_it_reads_is_kept(pretended):
    own = Tables()
    before = table(own, 1)
    pretended["capturing"] = True
    assert table(own, 1) is before
    assert own._captured == [before]  # it would be freed once it says something else
    inside = table(own, 5)
    assert pretended["pinned"] == 2
    _, host, kept = own._captured
    assert host.tolist() == [5, 6, 7, 8]
    assert kept is inside
    pretended["capturing"] = False
    table(own, 9)
    assert host.tolist() == [5, 6, 7, 8]  # the graph reads it whenever it is replayed
    assert pretended["pinned"] == 4  # and there is a spare for the next one


@pytest.fixture
def cuda(monkeypatch):
    """Pretend a device of CUDA."""
    launches.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    yield torch.device("cuda", 0)
    launches.cache_clear()


def test_kernels_are_launched_where_a_trial_runs(cuda, monkeypatch):
    pytest.importorskip("triton", reason="triton is not installed")
    tried = []
    monkeypatch.setattr(launching, "_try_out", tried.append)
    assert launches(cuda)
    assert launches(cuda)
    assert tried == [cuda]
    assert not launches(torch.device("cpu"))
    assert not launches(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    launches.cache_clear()
    assert not launches(cuda)


def test_a_trial_that_fails_is_said_once(cuda, monkeypatch):
    pytest.importorskip("triton", reason="triton is not installed")

    def fails(device):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(launching, "_try_out", fails)
    with pytest.warns(
        RefconvWarning, match=r"^cuda:0: Triton does not run here, .*\(RuntimeError: Failed to find C compiler.\)$"
    ):
        assert not launches(cuda)
    assert not launches(cuda)


def test_without_triton_nothing_is_launched(cuda, monkeypatch):
    monkeypatch.setattr(launching.importlib.util, "find_spec", lambda name: None)
    assert not launches(cuda)
