"""The core works with torch and safetensors alone, and importing the package costs nothing."""

import subprocess
import sys

EXTRAS = ("timm", "torchvision", "rich", "typer", "tensorboard", "sklearn", "mnist1d", "tomli_w", "matplotlib")

SCRIPT = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
import refconv
assert "torch" not in sys.modules, "import refconv loads torch"
import torch
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3, groups=8))
batch = torch.randn(2, 3, 9, 9)
plan = refconv.refocus(model)
refconv.save_adapter(model, sys.argv[1])
certificate = refconv.verify(model, refconv.merged(model), batch)
refconv.unrefocus(model)
refconv.load_adapter(model, sys.argv[1])
refconv.merge(model)
print(len(plan.refocused), certificate.same_structure and certificate.same_outputs)
"""


def test_core_runs_without_the_extras(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path / "a.safetensors")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "True"]


def test_every_public_name_resolves():
    import refconv

    assert all(callable(getattr(refconv, name)) for name in refconv.__all__)
    assert refconv.__version__.count(".") == 2
    assert set(refconv.__all__) <= set(dir(refconv))
