"""docs/integrations/accelerate.md, run by two processes and checked.

accelerate shards on accelerators only. ``SHARDING`` lets it take the same way in processes of a CPU, as a test of its
own does (test_utils/scripts/test_distributed_data_loop.py).
"""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import refconv
from integration_pages import MARKS, run_page

pytestmark = MARKS

SHARDING = """
from accelerate.state import AcceleratorState, DistributedType, PartialState

made = AcceleratorState.__init__

def init(self, *args, fsdp_plugin=None, **settings):
    made(self, *args, fsdp_plugin=fsdp_plugin, **settings)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP

AcceleratorState.__init__ = init
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    draw = torch.Generator().manual_seed(0)
    torch.save((torch.randn(16, 3, 32, 32, generator=draw), torch.arange(16) % 3), place / "data.pt")
    torch.manual_seed(0)
    save_file(timm.create_model("test_convnext", num_classes=1000).state_dict(), place / "base.safetensors")
    (place / "sitecustomize.py").write_text(SHARDING, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(place), prepend=":")
        patch.setenv("ACCELERATE_USE_FSDP", "false")
        run_page("accelerate", place)
    return place


@pytest.mark.parametrize("space", ["gradient", "kernel"])
def test_results_are_plain_networks_with_refocused_kernels(place, space):
    before = load_file(place / "base.safetensors")
    model = timm.create_model("test_convnext")
    for how in ("ddp", "fsdp2", "fsdp2-resumed"):
        after = load_file(place / f"{space}-{how}.safetensors")
        model.load_state_dict(after, strict=True)
        kernels = [f"{layer.name}.weight" for layer in refconv.find_layers(model) if layer.kind != "pointwise"]
        assert kernels
        assert not any(torch.equal(after[key], before[key]) for key in kernels)


@pytest.mark.parametrize("space", ["gradient", "kernel"])
def test_sharded_training_ends_where_replicated_training_does(place, space):
    replicated, sharded = (load_file(place / f"{space}-{how}.safetensors") for how in ("ddp", "fsdp2"))
    before = load_file(place / "base.safetensors")
    for key, value in replicated.items():
        moved = (value - before[key]).norm() + 1e-3 * before[key].norm()
        assert (sharded[key] - value).norm() <= 1e-3 * moved  # float32, four steps


@pytest.mark.parametrize("space", ["gradient", "kernel"])
def test_resumed_training_ends_at_the_same_weights(place, space):
    straight, resumed = (load_file(place / f"{space}-{how}.safetensors") for how in ("fsdp2", "fsdp2-resumed"))
    assert all(torch.equal(resumed[key], value) for key, value in straight.items())


def test_processes_did_shard(place):
    """accelerate writes the state of a sharded model to a file of another name."""
    names = {how: {file.name for file in (place / f"kernel-{how}-1").iterdir()} for how in ("ddp", "fsdp2")}
    assert names["ddp"] != names["fsdp2"]
    assert any("fsdp" in name for name in names["fsdp2"])
