"""docs/integrations/monai.md, run and checked."""

import torch

import refconv
from integration_pages import MARKS, run_page

pytestmark = MARKS


def volumes(number=3):
    draw = torch.Generator().manual_seed(0)
    images = [torch.randn(2, 1, 16, 16, 16, generator=draw) for _ in range(number)]
    return [{"image": image, "label": (image > 0).float()} for image in images]


def network():
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2), num_res_units=2)


def kernels(state):
    return [name for name, value in state.items() if value.ndim == 5 and value[0, 0].numel() > 1]


def test_page_trains_a_unet_in_both_spaces_and_resumes(tmp_path, monkeypatch):
    from ignite.engine import Engine
    from monai.handlers import CheckpointLoader

    before = network()
    torch.save(before.state_dict(), tmp_path / "unet.pt")
    names = run_page("monai", tmp_path, loader=volumes())
    base = before.state_dict()
    assert len(kernels(base)) > 5

    # Gradient space: "`model` is the result"
    gradient, (file,) = network(), (tmp_path / "gradient").glob("*.pt")
    saved = torch.load(file)
    gradient.load_state_dict(saved["model"])
    bases = [state["base"] for state in saved["optimizer"]["state"].values() if "base" in state]
    assert len(bases) == len(kernels(base))
    assert all(any(torch.equal(one, base[name]) for name in kernels(base)) for one in bases)

    # Kernel space: "an ordinary UNet"
    kernel = network()
    kernel.load_state_dict(torch.load(tmp_path / "unet-kernel.pt"))
    assert names["labels"].shape == (2, 16, 16, 16)
    volume = names["volume"]
    assert refconv.verify(names["model"], names["plain"], volume).same_outputs
    assert torch.equal(kernel.eval()(volume), names["plain"](volume))
    for after in (gradient, kernel):
        assert refconv.verify(before, after).same_structure
        assert not any(torch.equal(after.state_dict()[name], base[name]) for name in kernels(base))

    # "A resumed run makes both in the same way and loads them"
    monkeypatch.chdir(tmp_path)
    (file,) = (tmp_path / "kernel").glob("*.pt")
    resumed = names["unet"]()
    refconv.refocus(resumed)
    optimizer = torch.optim.AdamW([p for p in resumed.parameters() if p.requires_grad], lr=1e-3)
    engine = Engine(lambda engine, batch: None)
    CheckpointLoader(str(file), {"model": resumed, "optimizer": optimizer}).attach(engine)
    engine.run([0], max_epochs=5)
    assert torch.equal(resumed.eval()(volume), names["model"].eval()(volume))
    for one, other in zip(optimizer.state.values(), names["optimizer"].state.values(), strict=True):
        assert all(torch.equal(one[key], value) for key, value in other.items())
