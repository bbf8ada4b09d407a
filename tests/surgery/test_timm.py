"""What timm's users do around a refocused model: EMA, folding branches, checkpointing, counting."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import refconv
from networks import randomise

timm = pytest.importorskip("timm")
ByoBlockCfg, ByoModelCfg, ByobNet = (
    getattr(timm.models.byobnet, name) for name in ("ByoBlockCfg", "ByoModelCfg", "ByobNet")
)
BATCH = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SITE = "blocks.4.0.conv_dw"


def small(name="test_efficientnet", **kwargs):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **kwargs)


def step(model, optimizer, batch=BATCH):
    optimizer.zero_grad()
    model(batch).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("foreach", [True, False])
def test_ema_of_a_refocused_model_averages_the_kernels(foreach):
    """The kernel is linear in the refocus weight, so averaging refocus weights averages kernels."""
    model = small().double()
    refconv.refocus(model)
    ema = timm.utils.ModelEmaV3(model, decay=0.5, foreach=foreach)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    expected = model.get_submodule(SITE).weight.detach().clone()
    for _ in range(3):
        step(model, optimizer, BATCH.double())
        ema.update(model)
        expected = 0.5 * expected + 0.5 * model.get_submodule(SITE).weight.detach()
    averaged = refconv.merged(ema.module)
    torch.testing.assert_close(averaged.get_submodule(SITE).weight.detach(), expected, rtol=1e-12, atol=1e-12)
    fresh = small().double()
    fresh.load_state_dict(refconv.plain_state_dict(ema.module))
    assert refconv.verify(ema.module, fresh, BATCH.double()).same_outputs
    assert refconv.merge(model).layers  # the model in training is whole


# RepVGG and MobileOne, but for their size
BRANCHES = {
    "rep": ByoBlockCfg("rep", d=2, c=16, s=2),
    "one": ByoBlockCfg("one", d=2, c=16, s=2, gs=1, block_kwargs={"num_conv_branches": 4}),
}


@pytest.mark.parametrize("kind", BRANCHES)
def test_branches_are_folded_after_the_merge(kind):
    torch.manual_seed(0)
    model = ByobNet(ByoModelCfg(blocks=(BRANCHES[kind],) * 2, stem_type=kind, stem_chs=8), num_classes=5).eval()
    refconv.refocus(model)
    randomise(model, 0.01)
    expected = model(BATCH)
    folded = timm.utils.reparameterize_model(refconv.merged(model))
    assert len(list(folded.modules())) < len(list(model.modules()))
    torch.testing.assert_close(folded(BATCH), expected, rtol=1e-3, atol=1e-4)
    while_refocused = timm.utils.reparameterize_model(model)  # reads the kernels, on a copy
    torch.testing.assert_close(while_refocused(BATCH), expected, rtol=1e-3, atol=1e-4)


def test_activation_checkpointing_gives_the_same_gradients():
    model = small("test_convnext")
    refconv.refocus(model)
    randomise(model, 0.01)
    model(BATCH).sum().backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.set_grad_checkpointing()
    model(BATCH).sum().backward()
    for name, parameter in model.named_parameters():
        if name in plain:
            torch.testing.assert_close(parameter.grad, plain[name], rtol=1e-4, atol=1e-5)


def test_modules_stay_what_they_are_and_merged_models_cost_what_plain_ones_do():
    plain = small().eval()
    model = copy.deepcopy(plain)
    refconv.refocus(model)
    for name, module in plain.named_modules():
        assert isinstance(model.get_submodule(name), type(module))

    def flops(network):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(BATCH)
        return counter.get_total_flops()

    assert flops(model) > flops(plain)
    assert flops(refconv.merged(model)) == flops(plain)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sum(name.endswith("refocus_weight") for name in names) == len(refconv.plan(plain).refocused)
    assert not any(name.endswith("original") for name in names)


def test_timm_gives_refocus_weights_their_decay():
    from timm.optim import create_optimizer_v2

    model = small()
    refconv.refocus(model)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1, weight_decay=4e-5, momentum=0.9)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    weights = [p for n, p in model.named_parameters() if n.endswith("refocus_weight")]
    assert all(id(weight) in decayed for weight in weights)
    before = [weight.clone() for weight in weights]
    step(model, optimizer)
    assert all(not torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))


@pytest.mark.parametrize(
    ("name", "plain", "extra"),
    [
        ("mobilenetv3_large_100", 5.48e6, 28.67e6),
        ("efficientnet_b0", 5.29e6, 67.69e6),
        ("convmixer_1536_20", 51.6e6, 425e6),
    ],
)
def test_plan_counts_what_training_as_released_would_hold(name, plain, extra):
    with torch.device("meta"):
        plan = refconv.plan(timm.create_model(name))
    assert plan.parameters == pytest.approx(plain, rel=2e-3)
    assert plan.extra_parameters == pytest.approx(extra, rel=2e-3)
