"""Refocusing beside what else computes kernels: it acts on what is stored, whichever was registered first."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import refconv
from networks import randomise
from refconv.errors import LayerError
from refconv.surgery import load_refocused_state_dict, merged_state, refocused_state_dict, reparametrize


class Mask(nn.Module):
    """A user's own parametrization, W * mask, with a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", (torch.arange(8 * 4 * 9).reshape(8, 4, 3, 3) % 3 > 0).double())

    def forward(self, weight):
        return weight * self.mask


class Binary(nn.Module):
    """alpha sign(W), with the gradient passed straight through, as XNOR-Net has it."""

    def forward(self, weight):
        binary = weight.abs().mean((1, 2, 3), keepdim=True) * weight.sign()
        return weight + (binary - weight).detach()


def old(function):
    """Register one of torch's older hooks, which warn that they are old."""

    def register(conv):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(conv)

    return register


STACKED = {  # by what can be registered before refocusing and after it
    "mask": lambda conv: parametrize.register_parametrization(conv, "weight", Mask()),
    "binary": lambda conv: parametrize.register_parametrization(conv, "weight", Binary()),
    "spectral_norm": parametrizations.spectral_norm,
}
BEFORE = {
    **STACKED,
    "weight_norm": parametrizations.weight_norm,
    "old weight_norm": old(nn.utils.weight_norm),
    "old spectral_norm": old(nn.utils.spectral_norm),
    "pruning": lambda conv: prune.l1_unstructured(conv, "weight", 0.5),
    "two": lambda conv: (parametrizations.weight_norm(conv), STACKED["mask"](conv)),
}
every_one = pytest.mark.parametrize("name", BEFORE)


def network(name=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten()).double()
    if name is not None:
        torch.manual_seed(1)  # spectral_norm starts from a random vector
        BEFORE[name](model[0])
        for key, parameter in model[0].named_parameters():
            if key.endswith(("original0", "weight_g")):  # else weight_norm returns what is stored
                parameter.data *= 1.7
    return model


def images():
    torch.manual_seed(2)
    return torch.randn(3, 4, 8, 8, dtype=torch.float64)


def train(model, optimizer, steps=10):
    for _ in range(steps):
        optimizer.zero_grad()
        (model(images()) - 0.3).square().mean().backward()
        optimizer.step()


def in_kernel_space(model, **settings):
    refconv.refocus(model, **settings)
    train(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5, momentum=0.9))
    return model


def structure(model):
    return (
        [(key, value.shape, value.dtype) for key, value in model.state_dict().items()],
        [(name, value.requires_grad, type(value)) for name, value in model.named_parameters()],
        [(name, type(module).__name__) for name, module in model.named_modules()],
    )


@every_one
def test_both_spaces_train_the_stored_tensor_alike_and_neighbours_do_not(name):
    """kernel = f(V), V = B + R P(B), for what is stored, V; its gradient g becomes g G(B), whatever f is."""
    trained = in_kernel_space(network(name), scale="normalized")
    refconv.merge(trained)

    def distance(model):
        pairs = zip(trained.state_dict().values(), model.state_dict().values(), strict=True)
        return max(float((one - other).abs().max()) for one, other in pairs)

    def in_gradient_space(model, **settings):
        train(model, refconv.RefocusSGD(refconv.param_groups(model, **settings), lr=0.5, momentum=0.9))
        return model

    # ten steps, each a few roundings of numbers of about one, which the loss does not enlarge a hundredfold
    assert distance(in_gradient_space(network(name), scale="normalized")) < 1e-12
    assert distance(in_gradient_space(network(name), scale="normalized", power=0)) > 1e-4

    # the neighbouring formula: the Gram of the computed kernel, f(B), in place of that of the stored one
    other = network(name)
    optimizer = refconv.RefocusSGD(refconv.param_groups(other, scale="paper"), lr=0.5, momentum=0.9)
    with torch.no_grad():
        other(images())
        for parameter, spec in optimizer._geometries.items():
            computed = other[0].weight if spec.layer == "0" else parameter
            optimizer.state[parameter]["base"] = computed.detach().clone()
    train(other, optimizer)
    paper = in_kernel_space(network(name), scale="paper")
    refconv.merge(paper)
    assert max(
        float((one - two).abs().max())
        for one, two in zip(paper.state_dict().values(), other.state_dict().values(), strict=True)
    ) > (1e-4)


@every_one
def test_start_merge_and_drop_leave_what_was_there(name):
    model, plain = network(name), network(name)
    plan = refconv.refocus(model)
    assert len(plan.refocused) == 2
    assert plan.refocused[0].through
    assert any("stays and acts after" in remark for remark in plan.remarks)
    model.eval(), plain.eval()
    assert torch.equal(model(images()), plain(images()))
    randomise(model, 0.2)
    expected = model(images())
    assert not torch.allclose(expected, plain(images()))
    state = refconv.plain_state_dict(model)
    certificate = refconv.verify(plain, model)
    assert certificate.same_structure, str(certificate)
    assert certificate.kernels == 2
    assert certificate.largest_kernel_difference > 0
    merged = refconv.merged(model)
    report = refconv.merge(model)
    assert [layer.layer for layer in report.layers] == ["0", "2"]
    for one in (model, merged):
        assert torch.equal(one(images()), expected)
        assert structure(one) == structure(plain)
        assert len(one[0]._load_state_dict_pre_hooks) == len(plain[0]._load_state_dict_pre_hooks)
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert dict(state._metadata) == dict(plain.state_dict()._metadata)
    plain.load_state_dict(state)
    assert torch.equal(plain(images()), expected)
    refconv.refocus(model)  # a second round
    randomise(model, 0.2)
    assert refconv.unrefocus(model) == ("0", "2")
    assert torch.equal(model(images()), expected)
    assert structure(model) == structure(plain)


@pytest.mark.parametrize("name", STACKED)
def test_the_order_of_registration_changes_nothing(name):
    first, second = network(name).eval(), network().eval()
    refconv.refocus(first)
    refconv.refocus(second)
    torch.manual_seed(1)
    STACKED[name](second[0])
    second.load_state_dict(first.state_dict())
    for model in (first, second):
        torch.manual_seed(3)
        randomise(model, 0.2)
    assert torch.equal(first(images()), second(images()))
    assert list(first.state_dict()) == list(second.state_dict())
    assert refconv.verify(first, second).same_structure
    before = second(images())
    refconv.merge(second)
    assert torch.equal(second(images()), before)
    assert parametrize.is_parametrized(second[0])
    refconv.unrefocus(first)
    assert torch.equal(first(images()), network(name).eval()(images()))


@every_one
def test_checkpoints_plain_and_refocused_load_and_say_their_kernels(name):
    model, other = network(name).eval(), network(name).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    refconv.refocus(model)
    randomise(model)
    model.load_state_dict(other.state_dict())  # a plain one, strictly: the transformation starts anew
    assert torch.equal(model(images()), other(images()))
    randomise(model)
    again = network(name).eval()
    refconv.refocus(again)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(images()), model(images()))
    randomise(again)
    load_refocused_state_dict(again, refocused_state_dict(model))
    assert torch.equal(again(images()), model(images()))
    plain = network(name).eval()
    plain.load_state_dict(merged_state(plain, model.state_dict(), where="a file"))
    assert torch.equal(plain(images()), model(images()))


@every_one
def test_adapters_and_copies(name, tmp_path):
    model = network(name).eval()
    reparametrize(model, "low_rank", rank=2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    other = network(name).eval()
    refconv.load_adapter(other, tmp_path / "a.safetensors")
    assert torch.equal(other(images()), model(images()))
    with torch.no_grad():  # torch copies no tensor that has a graph, as its older hooks keep one
        model(images())
        copied = copy.deepcopy(model)
    refconv.merge(copied)
    assert torch.equal(copied(images()), model(images()))
    model(images()).sum().backward()


def test_weight_norm_on_top_is_refused_with_a_remedy_that_works():
    model = network()
    refconv.refocus(model)
    expected = model(images())
    for norm, name in ((parametrizations.weight_norm, "_WeightNorm"), (parametrizations.orthogonal, "_Orthogonal")):
        with pytest.raises(LayerError, match=rf"^0: {name} .*register it before refocusing: refconv\.unrefocus"):
            norm(model[0])
    assert torch.equal(model(images()), expected)
    refconv.unrefocus(model)
    parametrizations.weight_norm(model[0])
    refconv.refocus(model)
    torch.testing.assert_close(model(images()), expected)


def test_pruning_a_refocused_layer_is_refused_with_a_remedy_that_works():
    model = network()
    refconv.refocus(model)
    randomise(model)
    with pytest.raises(LayerError, match=r"^0: .*as in torch\.nn\.utils\.prune; prune first and refocus then"):
        prune.l1_unstructured(model[0], "weight", 0.5)
    refconv.merge(model)
    prune.l1_unstructured(model[0], "weight", 0.5)
    pattern = model[0].weight == 0
    in_kernel_space(model)
    report = refconv.merge(model)
    prune.remove(model[0], "weight")
    assert torch.equal(model[0].weight == 0, pattern)
    assert report.layers[0].relative_change > 0


TAKING_OUT = {
    "weight_norm": old(nn.utils.weight_norm),
    "spectral_norm": old(nn.utils.spectral_norm),
    "remove_parametrizations": lambda conv: parametrize.remove_parametrizations(conv, "weight"),
    "base alone": lambda conv: parametrize.remove_parametrizations(conv, "weight", leave_parametrized=False),
    "del": lambda conv: delattr(conv, "weight"),
    "pop": lambda conv: conv._parameters.pop("weight"),
    "lookup": lambda conv: conv._parameters["weight"],
}
PUTTING_BACK = {
    "old weight_norm": nn.utils.remove_weight_norm,
    "old spectral_norm": nn.utils.remove_spectral_norm,
    "pruning": lambda conv: prune.remove(conv, "weight"),
    "weight_norm": TAKING_OUT["remove_parametrizations"],
    "two": TAKING_OUT["remove_parametrizations"],
    "mask": TAKING_OUT["base alone"],
}


@pytest.mark.parametrize(
    ("before", "tool"),
    [*((None, tool) for tool in TAKING_OUT.values()), *PUTTING_BACK.items()],
    ids=[*TAKING_OUT, *(f"remove {name}" for name in PUTTING_BACK)],
)
def test_what_takes_a_kernel_out_of_its_module_is_refused_and_changes_nothing(before, tool):
    model = network(before).eval()
    refconv.refocus(model)
    randomise(model)
    expected, keys = model(images()), [*model.state_dict()]
    with pytest.raises(
        LayerError, match=r"^0: .* cannot be taken out of its module, .* refconv.merge\(model\) or refconv"
    ):
        tool(model[0])
    assert [*model.state_dict()] == keys
    assert torch.equal(model(images()), expected)
    copied = network(before)  # the remedy works, and nothing stays behind that would refuse
    refconv.refocus(copied)
    refconv.merge(copied)
    assert type(copied[0]._parameters) is dict
    if before is not None:
        tool(copied[0])
        assert type(copied[0].weight) is nn.Parameter
        assert copied[0].weight.requires_grad


class Rule:
    """As a hook of zennit, which modifies what ``named_parameters`` says is ``weight``, and nothing if nothing is."""

    __module__ = "zennit.core"

    def pre_forward(self, module, args):
        return None


@pytest.mark.parametrize("way", ["register_forward_pre_hook", "register_forward_hook"])
def test_rules_that_look_for_the_kernel_among_the_parameters_are_refused(way):
    class Own(Rule):
        pass

    model = network()
    plain = copy.deepcopy(model)
    refconv.refocus(model)
    for rule in (Rule(), Own()):
        with pytest.raises(LayerError, match=r"^0: zennit looks for the kernel .*; give it refconv.merged\(model\)"):
            getattr(model[0], way)(rule.pre_forward)
        getattr(plain[0], way)(rule.pre_forward).remove()
        getattr(refconv.merged(model)[0], way)(rule.pre_forward)
    calls = []
    handle = getattr(model[0], way)(lambda *_: calls.append(1))
    model(images())
    handle.remove()
    model(images())
    assert calls == [1]


def test_other_parameters_of_a_refocused_module_can_be_taken_out():
    model = network()
    refconv.refocus(model)
    bias = model[0].bias
    assert model[0]._parameters.pop("bias") is bias
    assert model[0]._parameters.pop("weight", None) is None
    for missing in (lambda: model[0]._parameters.pop("bias"), lambda: model[0]._parameters["none"]):
        with pytest.raises(KeyError):
            missing()


def test_two_parametrizations_registered_around_refocusing_keep_their_order():
    model = network("mask")
    refconv.refocus(model)
    STACKED["binary"](model[0])
    randomise(model)
    stored = model[0].parametrizations.weight[0](model[0].parametrizations.weight.original)
    expected = Binary()(Mask()(stored))
    torch.testing.assert_close(model[0].weight, expected)
    refconv.merge(model)
    assert [type(one).__name__ for one in model[0].parametrizations.weight] == ["Mask", "Binary"]
    torch.testing.assert_close(model[0].weight, expected)


def in_place(model):
    """As fuse() of detectors: the norm is folded into the kernel in place."""
    scale = model[1].weight / (model[1].running_var + model[1].eps).sqrt()
    model[0].weight.data = torch.diag(scale) @ model[0].weight.flatten(1)


def replaced(model):
    """As pruning of whole channels: a new parameter takes the place of the kernel."""
    model[0].weight = nn.Parameter(model[0].weight.data[:4])


def fused(model):
    nn.utils.fusion.fuse_conv_bn_eval(model[0], model[1])


@pytest.mark.parametrize("tool", [in_place, replaced, fused])
def test_tools_that_exchange_kernels_meet_one_clear_error(tool):
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)).double().eval()
    refconv.refocus(model)
    randomise(model)
    expected = model(images())
    with pytest.raises(LayerError, match=r"^0: the kernel is computed from its base and cannot .*merge\(model\)"):
        tool(model)
    assert torch.equal(model(images()), expected)


def test_tools_that_read_kernels_see_the_refocused_one():
    from torch.fx.experimental.optimization import fuse

    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)).double().eval()
    refconv.refocus(model)
    randomise(model)
    torch.testing.assert_close(fuse(model)(images()), model(images()))


@pytest.mark.parametrize("name", ["mask", "weight_norm", "two"])
def test_writing_to_a_kernel_is_refused_under_other_parametrizations_too(name):
    model = network(name)
    refconv.refocus(model)
    expected = model(images())
    for write in (lambda weight: weight.data.mul_(0.5), lambda weight: weight.data.__setitem__(0, 0.0)):
        with pytest.raises(LayerError, match="^0: the kernel is computed from its base and cannot be written to"):
            write(model[0].weight)
    with pytest.raises((LayerError, RuntimeError)):  # torch asks what stands on top for its inverse first
        model[0].weight = torch.ones(8, 4, 3, 3, dtype=torch.float64)
    assert torch.equal(model(images()), expected)
    torch.compiler.reset()
    model.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(model(images()), expected)


class Holder(nn.Conv2d):
    """A convolution with a buffer and a child, as quantization-aware training makes them."""

    def __init__(self, bias):
        super().__init__(4, 4, 3, bias=bias)
        self.register_buffer("steps", torch.zeros(1))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(super().forward(x))


@pytest.mark.parametrize("bias", [True, False])
def test_the_order_of_keys_is_kept_beside_buffers_and_children(bias):
    model, plain = nn.Sequential(Holder(bias)), nn.Sequential(Holder(bias))
    refconv.refocus(model)
    assert list(refconv.plain_state_dict(model)) == list(plain.state_dict())
    certificate = refconv.verify(plain, model)
    assert certificate.same_structure, str(certificate)
