"""What trains under --train, for every method, and that freezing leaves no trace in the result."""

import pytest
import torch
from timm.layers import RmsNorm2d

from refconv.engine import Recipe, setup, train
from refconv.engine.setup import freeze_others, norm_names, thaw
from refconv.errors import RecipeError
from refconv.methods.registry import method_of
from refconv.models.model_folder import load_model_folder
from refconv.models.networks import mobilenet_small
from refconv.surgery import plain_state_dict
from refconv.tasks.registry import task_named

TASK = task_named("classification")
NETWORK = {"width": 0.25, "strides": [1, 2], "stem_stride": 2}


def prepared(**settings):
    recipe = Recipe(model="m", data="digits", **settings)
    model = mobilenet_small(**NETWORK)
    plan = method_of(recipe).prepare(model)
    frozen = freeze_others(model, recipe, plan, TASK)
    return model, frozen


def trains(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("method", ["plain", "norm_fold", "refocus", "low_rank", "weight_norm"])
def test_only_kernels_with_several_taps_train(method):
    model, frozen = prepared(method=method, train="refocus")
    kernels = {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size != (1, 1)
    }
    assert trains(model)
    assert {name.split(".parametrizations.")[0].removesuffix(".weight") for name in trains(model)} == kernels
    everything, none = prepared(method=method)
    assert none == ()
    assert trains(everything) == trains(model) | set(frozen)


def test_norm_and_head_come_on_top():
    kernels = trains(prepared(train="refocus")[0])
    norms = trains(prepared(train="refocus+norm")[0])
    head = trains(prepared(train="refocus+head")[0])
    model = mobilenet_small(**NETWORK)
    assert (
        norms - kernels
        == norm_names(model)
        == {n for n, p in model.named_parameters() if p.dim() == 1} - {"classifier.bias"}
    )
    assert head - kernels == {"classifier.weight", "classifier.bias"}


def test_the_selection_of_sites_counts():
    model, _ = prepared(train="refocus", include=("blocks.0.*",))
    assert trains(model)
    assert all(name.startswith("blocks.0.") for name in trains(model))


def test_thawing_gives_back_what_was_frozen():
    model, frozen = prepared(method="refocus", space="kernel", train="refocus")
    thaw(model, frozen)
    assert trains(model) == trains(prepared(method="refocus", space="kernel")[0])


def test_no_kernel_to_train_is_refused():
    recipe = Recipe(model="m", data="digits", train="refocus")
    with pytest.raises(RecipeError, match="train: no kernel of this model is chosen to train"):
        freeze_others(torch.nn.Sequential(torch.nn.Linear(2, 2)), recipe, None, TASK)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "plain"},
        {"method": "refocus"},
        {"method": "refocus", "space": "kernel"},
        {"method": "plain", "model_ema": True},
    ],
    ids=["plain", "gradient space", "kernel space", "average"],
)
def test_a_run_moves_only_what_trains_and_certifies(tmp_path, settings):
    common = {
        "model": "refconv.models.networks:mobilenet_small",
        "model_kwargs": NETWORK, "data": "digits",
        "opt": "momentum", "epochs": 1, "device": "cpu",
    }  # fmt: skip
    train(Recipe(**common), tmp_path / "base", show=False)
    base = plain_state_dict(load_model_folder(tmp_path / "base/model"))
    recipe = Recipe(**common, **settings, checkpoint=str(tmp_path / "base"), train="refocus+head")
    record = train(recipe, tmp_path / "run", show=False)
    after = load_model_folder(tmp_path / "run/model")
    moved = {name for name, parameter in after.named_parameters() if not torch.equal(parameter, base[name])}
    assert moved == trains(prepared(train="refocus+head")[0])
    assert record.certificate.same_structure
    assert record.certificate.same_outputs
    if settings["method"] == "plain":
        assert record.parameters_trained == sum(base[name].numel() for name in moved)
    assert all(parameter.requires_grad for parameter in after.parameters())


@pytest.mark.parametrize(
    "settings", [{}, {"opt": "adamw", "weight_decay": 0.1}, {"model_ema": True}, {"method": "scratch"}]
)
@pytest.mark.parametrize("part", ["norm", "head", "norm+head"])
def test_norms_and_head_train_alone_and_kernels_stay_bit_for_bit(part, settings, tmp_path):
    made = Recipe(**{
        "model": "refconv.models.networks:mobilenet_small",
        "model_kwargs": NETWORK, "data": "digits",
        "opt": "momentum", "epochs": 1, "epoch_steps": 3, "device": "cpu", "train": part, **settings,
    })  # fmt: skip
    starts = []
    freeze = setup.freeze_others

    def noted(model, *rest):
        starts.append(plain_state_dict(model))
        return freeze(model, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "freeze_others", noted)
        record = train(made, tmp_path / "run", show=False)
    after = load_model_folder(tmp_path / "run/model")
    moved = {name for name, parameter in after.named_parameters() if not torch.equal(parameter, starts[0][name])}
    norms = {
        f"{name}.{own}"
        for name, module in after.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
        for own in ("weight", "bias")
    }
    wanted = {"norm": norms, "head": {"classifier.weight", "classifier.bias"}}
    assert moved == set().union(*(wanted[word] for word in part.split("+")))
    assert record.parameters_trained == sum(dict(after.named_parameters())[name].numel() for name in moved)
    assert record.certificate.same_structure
    assert record.certificate.same_outputs
    assert all(parameter.requires_grad for parameter in after.parameters())


@pytest.mark.parametrize("norm", [torch.nn.GroupNorm(1, 3), torch.nn.InstanceNorm2d(3, affine=True), RmsNorm2d(3)])
def test_norms_of_every_kind_are_known(norm):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), norm, torch.nn.LayerNorm(3), torch.nn.RMSNorm(3))
    assert norm_names(model) == {name for name, _ in model.named_parameters() if not name.startswith("0.")}


def test_a_model_without_norms_is_refused_where_only_norms_train():
    with pytest.raises(RecipeError, match="train: the model has no such parameters; found 'norm'"):
        freeze_others(torch.nn.Linear(2, 2), Recipe(model="m", data="digits", train="norm"), None, TASK)
