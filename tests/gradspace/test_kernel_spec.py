"""The description of a refocused layer in saved optimizer states."""

from torch import nn

from refconv import param_groups
from refconv.gradspace import KernelSpec


def test_saved_states_name_layers_by_the_key_of_the_first_version():
    """Optimizer states of earlier versions are read, and theirs read ours."""
    groups = param_groups(nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)))
    (saved,) = [entry for group in groups for entry in group.get("sites", ())]
    assert sorted(saved) == ["layout", "map_size", "power", "scale", "site"]
    spec = KernelSpec.from_dict(saved)
    assert spec.layer == saved["site"] == "0"
    assert spec.to_dict() == saved
