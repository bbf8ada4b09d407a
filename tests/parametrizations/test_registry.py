"""The registry: names, settings, and what is refused."""

import dataclasses
import sys

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind
from refconv.config import GramConfig, TransformConfig
from refconv.errors import LayerError, SettingError
from refconv.layers import find_layers
from refconv.methods.registry import method_of
from refconv.parametrizations import TRANSFORMS, ForwardScope, KernelTransform, config_of, resolved
from refconv.recipe.recipe import Recipe
from refconv.surgery import plan_of, reparametrize
from refconv.surgery.refocusing import transform_of, transformed


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transformation_has_a_public_configuration_of_its_name_with_help_for_every_field(name):
    kind = TRANSFORMS[name]
    assert getattr(refconv, f"{kind.__name__}Config") is kind.config_class
    assert all(field.metadata["help"] for field in dataclasses.fields(kind.config_class))
    assert kind.size is None or kind.size in kind.config_class().settings()
    assert [kind.sized(step) for step in (1, 2)] == ([1, 3] if kind.size == "map_size" else [1, 2])
    assert hash(config_of(name, {})) == hash(kind.config_class())
    assert config_of(name, {}) == kind.config_class() == config_of(kind.config_class(), {})


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_configuration_does_what_its_fields_do_alone(name):
    settings = {"exclude": ("up", "dense")}
    model, other = EveryKind(), EveryKind()
    config = TRANSFORMS[name].config_class(**settings)
    assert refconv.plan(model, config) == plan_of(model, config) == plan_of(model, name, **settings)
    assert reparametrize(model, config) == reparametrize(other, name, **settings)
    assert [layer for layer, _, _ in transformed(model)] == [layer for layer, _, _ in transformed(other)]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transformation_knows_its_name_and_prints_its_settings(name):
    module = nn.Conv2d(4, 4, 3, groups=2)
    reparametrize(module, name)
    assert transform_of(module).config.method == name
    for setting, value in transform_of(module).settings().items():
        assert f"{setting}={value}" in str(module)


OWN_START = {"spacings", "gabor", "sinc"}  # every slice starts from numbers of its own


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in OWN_START])
def test_order_of_slices_matters_where_it_is_a_setting_and_nowhere_else(name):
    """The kernel after one step, with slices gathered into blocks in either order."""
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3, groups=4).double()
    module.weight.data *= 3  # so that blocks are capped, which is all that lr_scaled sees of them
    direction = torch.randn_like(module.weight)
    kernels = []
    for order in ("contiguous", "across"):
        torch.manual_seed(1)
        layout = find_layers(module)[0].layout(order)
        transform = TRANSFORMS[name]("site", module.weight.detach(), layout, ForwardScope(), config_of(name, {}))
        (transform(module.weight.detach()) * direction).sum().backward()
        with torch.no_grad():
            for parameter in transform.parameters():
                parameter -= 0.1 * parameter.grad
        kernels.append(transform(module.weight.detach()))
    assert torch.allclose(*kernels) == (not issubclass(TRANSFORMS[name].config_class, GramConfig))
    assert not torch.allclose(kernels[0], module.weight)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_unknown_setting_is_refused_and_nothing_is_touched(name):
    model = nn.Sequential(nn.Conv2d(3, 3, 3))
    with pytest.raises(SettingError, match=f"depth: {name} has no such setting; expected one of .*include, exclude"):
        reparametrize(model, name, depth=1)
    assert type(model[0]) is nn.Conv2d


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lowrank", {}, "lowrank: unknown transformation; expected one of refocus, .*; did you mean low_rank"),
        ("low_rank", {"rang": 2}, "low_rank has no such setting; expected one of rank, scale, .*; did you mean rank"),
        ("low_rank", {"rank": 0}, "rank: value out of range; expected a whole number of at least 1, found 0"),
        ("low_rank", {"rank": 1.5}, "rank: value out of range; expected a whole number of at least 1, found 1.5"),
        ("low_rank", {"scale": 0}, "scale: value out of range; expected a number above 0, found 0"),
        ("spacings", {"taps": -1}, "taps: value out of range"),
        ("points", {"points": 0}, "points: value out of range"),
        ("points", {"radius": float("inf")}, "radius: value out of range; expected a number above 0, found inf"),
        ("continuous", {"hidden": True}, "hidden: value out of range"),
        ("continuous", {"frequency": -1.0}, "frequency: value out of range"),
        ("lr_scaled", {"map_size": 2}, "map_size: a map needs a centre; expected odd positive numbers"),
        ("shuffled", {"seed": -1}, "seed: value out of range; expected a whole number of at least 0, found -1"),
        ("random", {"start": "ones"}, "start: unknown start; expected zeros or kaiming, found 'ones'"),
        ("random", {"order": "up"}, "order: unknown order; expected contiguous or .*, found 'up'"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_with_the_remedy(name, settings, message):
    model = nn.Sequential(nn.Conv2d(3, 3, 3))
    with pytest.raises(SettingError, match=message):
        reparametrize(model, name, **settings)
    with pytest.raises(SettingError, match=message):
        plan_of(model, name, **settings)
    assert type(model[0]) is nn.Conv2d


def test_one_transformation_on_top_of_another_is_refused():
    model = EveryKind()
    reparametrize(model, "low_rank", include="depthwise")
    reparametrize(model, "density", include="dense")  # other layers: fine
    with pytest.raises(LayerError, match=r"depthwise: the kernel is refocused already \(LowRank\); merge"):
        refconv.refocus(model, include="depthwise")
    assert [type(transform).__name__ for _, _, transform in transformed(model)] == ["Density", "LowRank"]


def tilted(name="tilt"):
    """A transformation of one's own, defined outside of the package."""
    config = type("TiltConfig", (TransformConfig,), {"__doc__": "Tilt."}, method=name)

    class Tilt(KernelTransform, settings=config):
        @classmethod
        def shapes(cls, layout, config):
            return {"slope": (layout.taps,)}

        def transform(self, blocks):
            return blocks + self.slope.to(blocks.dtype)

    return Tilt


@pytest.fixture
def registry():
    """The registry as it is, put back after the test."""
    before = dict(TRANSFORMS)
    yield TRANSFORMS
    TRANSFORMS.clear()
    TRANSFORMS.update(before)


def test_a_transformation_of_ones_own_does_all_that_others_do(registry, tmp_path):
    assert refconv.register_transform(tilt := tilted()) is tilt
    torch.manual_seed(0)
    model, fresh = EveryKind().eval(), EveryKind().eval()
    fresh.load_state_dict(model.state_dict())
    plan = reparametrize(model, "tilt", include="dense")
    assert plan == plan_of(fresh, tilt.config_class(include="dense"))
    assert plan.extra_parameters == 9
    with torch.no_grad():
        transform_of(model.stem).slope.normal_()
    batch = torch.randn(2, 3, 20, 20)
    expected = model(batch)
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    refconv.load_adapter(fresh, tmp_path / "a.safetensors")
    assert torch.equal(fresh(batch), expected)
    refconv.merge(model)
    assert torch.equal(model(batch), expected)
    refconv.register_transform(tilted())  # the cell of a notebook, run again
    del registry["tilt"]
    with pytest.raises(SettingError, match="tilt: unknown transformation; .*refconv.register_transform"):
        plan_of(fresh, "tilt")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear, "is no kernel transformation; expected a subclass of KernelTransform with shapes and"),
        (lambda: 3, "3: is no kernel transformation"),
        (lambda: KernelTransform, "is no kernel transformation"),
        (lambda: type("Bare", (tilted(),), {}), "Bare"),
        (lambda: tilted("low_rank"), "low_rank: the name is taken; .*found that of LowRank; give it another name"),
        (lambda: tilted("plain"), "plain: the name is taken; .*found that of a training method"),
    ],
    ids=["module", "number", "abstract", "subclass", "taken", "reserved"],
)
def test_what_cannot_be_registered_is_refused(registry, make, message):
    kind = make()
    if getattr(kind, "__name__", "") == "Bare":
        assert refconv.register_transform(kind) is kind  # it has the configuration of its parent
        return
    before = dict(registry)
    with pytest.raises(SettingError, match=message):
        refconv.register_transform(kind)
    assert registry == before


def test_a_class_of_the_current_folder_is_found_by_its_name(registry, tmp_path, monkeypatch):
    source = (
        "from refconv.config import TransformConfig\nfrom refconv.parametrizations import KernelTransform\n"
        "class LeanConfig(TransformConfig, method='lean'):\n    pass\n"
        "class Lean(KernelTransform, settings=LeanConfig):\n"
        "    @classmethod\n    def shapes(cls, layout, config):\n        return {'slope': (layout.taps,)}\n"
        "    def transform(self, blocks):\n        return blocks + self.slope.to(blocks.dtype)\n"
    )
    (tmp_path / "leaning_of_this_test.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert resolved("leaning_of_this_test:Lean") == "lean" == resolved("lean")
    assert sys.path == path
    recipe = Recipe(model="m", data="digits", method="leaning_of_this_test:Lean")
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert method_of(recipe).prepare(model).extra_parameters == 9
    assert method_of(dataclasses.replace(recipe, method="lean")).config() == registry["lean"].config_class()
    for name in ("leaning_of_this_test:Fat", "no_such_module_anywhere:Lean"):
        with pytest.raises(SettingError, match=f"{name}: cannot import it; expected MODULE:CLASS, found"):
            resolved(name)
