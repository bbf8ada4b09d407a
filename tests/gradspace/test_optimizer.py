"""RefocusSGD as an optimizer: state, resumption, rounds, clipping, precision, and torch's own tools around it."""

import copy
import io
import pickle
import re

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import refconv
from networks import EveryKind
from operations import Operations
from refconv.errors import CheckpointError, LayerError, SettingError
from refconv.fused import slices
from refconv.gradspace.optimizer import BASE
from spaces import Case, step

SETTINGS = {"momentum": 0.9, "nesterov": True}


def made(start="zeros", seed=0, **more):
    torch.manual_seed(seed)
    model = EveryKind().double()
    groups = refconv.param_groups(model, weight_decay=0.05, start=start, scale="normalized")
    return model, refconv.RefocusSGD(groups, lr=0.05, **{**SETTINGS, **more})


def batch(seed=1):
    torch.manual_seed(seed)
    return torch.randn(4, 3, 20, 20, dtype=torch.float64)


def train(model, optimizer, steps, images=None):
    for _ in range(steps):
        step(model, batch() if images is None else images, optimizer)


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_state(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_model_stays_an_ordinary_model():
    model, optimizer = made()
    before = [(name, value.shape, value.dtype) for name, value in model.state_dict().items()]
    classes = [type(module) for module in model.modules()]
    train(model, optimizer, 2)
    assert [(name, value.shape, value.dtype) for name, value in model.state_dict().items()] == before
    assert [type(module) for module in model.modules()] == classes


def test_gradients_are_left_as_the_backward_pass_made_them():
    model, optimizer = made()
    model(batch()).square().mean().backward()
    before = [p.grad.clone() for p in model.parameters()]
    optimizer.step()
    assert all(torch.equal(p.grad, gradient) for p, gradient in zip(model.parameters(), before, strict=True))


def test_base_is_the_kernel_at_the_first_step():
    model, optimizer = made()
    assert not optimizer.refocus_weight("depthwise").any()  # looking does not make it a base yet
    assert torch.equal(optimizer.base("depthwise"), model.depthwise.weight)
    other, _ = made(seed=5)
    model.load_state_dict(other.state_dict())  # pretrained weights may come after the optimizer
    expected = model.depthwise.weight.detach().clone()
    train(model, optimizer, 3)
    assert torch.equal(optimizer.base("depthwise"), expected)
    assert not torch.equal(model.depthwise.weight, expected)


@pytest.mark.parametrize("start", ["zeros", "kaiming"])
@pytest.mark.parametrize("weights_first", [True, False])
def test_resumed_training_equals_the_uninterrupted_one_bit_for_bit(start, weights_first):
    model, optimizer = made(start)
    train(model, optimizer, 3)
    weights, state = state_of(model), through_a_file(optimizer.state_dict())
    train(model, optimizer, 3)
    if weights_first:  # the second optimizer's random start is applied on trained weights, and must be taken back
        resumed = EveryKind().double()
        resumed.load_state_dict(weights)
        groups = refconv.param_groups(resumed, weight_decay=0.05, start=start, scale="normalized")
        again = refconv.RefocusSGD(groups, lr=0.05, **SETTINGS)
        again.load_state_dict(state)
    else:
        resumed, again = made(start, seed=9)
        again.load_state_dict(state)
        resumed.load_state_dict(weights)
    train(resumed, again, 3)
    assert_same_state(resumed.state_dict(), model.state_dict())


def test_state_saved_before_the_first_step_keeps_the_base_of_a_random_start():
    model, optimizer = made("kaiming")
    state, base = through_a_file(optimizer.state_dict()), optimizer.base("stem")
    assert not torch.equal(base, model.stem.weight)
    resumed, again = made("kaiming", seed=3)
    again.load_state_dict(state)
    resumed.load_state_dict(model.state_dict())
    train(model, optimizer, 2)
    train(resumed, again, 2)
    assert_same_state(resumed.state_dict(), model.state_dict())


def test_state_holds_bases_and_momenta_and_nothing_of_the_size_of_a_gram():
    model, optimizer = made()
    train(model, optimizer, 1)
    sizes = {parameter: parameter.numel() for parameter in model.parameters()}
    for parameter, entries in optimizer.state.items():
        refocused = any(parameter is module.weight for module in (model.stem, model.depthwise, model.grouped, model.up))
        assert set(entries) == ({BASE, "momentum_buffer"} if refocused else {"momentum_buffer"})
        assert all(value.numel() == sizes[parameter] for value in entries.values())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": "paper"}, "stem: the state differs in scale; expected normalized, found paper"),
        ({"order": "across", "scale": "normalized"}, "stem: the state differs in layout"),
        ({"decay": "kernel", "scale": "normalized"}, "the state differs in decay; expected refocus, found kernel"),
        ({"exclude": "up", "scale": "normalized"}, "the state belongs to other layers"),
    ],
)
def test_state_of_other_sites_or_settings_is_refused(settings, words):
    _, optimizer = made()
    other = refconv.RefocusSGD(refconv.param_groups(EveryKind(), weight_decay=0.05, **settings), lr=0.05, **SETTINGS)
    with pytest.raises(CheckpointError, match=re.escape(words)):
        optimizer.load_state_dict(other.state_dict())


def test_state_of_plain_sgd_is_refused():
    model, optimizer = made()
    plain = torch.optim.SGD([{"params": group["params"]} for group in optimizer.param_groups], lr=0.05)
    with pytest.raises(CheckpointError, match="not of gradient space"):
        optimizer.load_state_dict(plain.state_dict())
    with pytest.raises(CheckpointError, match="other parameter groups"):
        optimizer.load_state_dict(torch.optim.SGD(model.parameters(), lr=0.05).state_dict())


def test_copies_go_on_alike():
    model, optimizer = made()
    train(model, optimizer, 2)
    both = copy.deepcopy((model, optimizer))
    train(model, optimizer, 2)
    train(*both, 2)
    assert_same_state(both[0].state_dict(), model.state_dict())


@pytest.mark.parametrize("way", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_copies_made_before_the_first_step_keep_the_base_of_a_random_start(way):
    model, optimizer = made("kaiming", max_norm=0.1)
    both = way((model, optimizer))
    assert torch.equal(both[1].base("stem"), optimizer.base("stem"))
    assert not torch.equal(both[1].base("stem"), model.stem.weight)
    train(model, optimizer, 2)
    train(*both, 2)
    assert_same_state(both[0].state_dict(), model.state_dict())


def replace_parameters(model, optimizer):
    """What libraries do that shard or move a model: other parameters in it and in the groups of its optimizer."""
    new = {}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                new[parameter] = module._parameters[name] = nn.Parameter(parameter.detach().clone())
    for group in optimizer.param_groups:
        group["params"] = [new[parameter] for parameter in group["params"]]


@pytest.mark.parametrize("start", ["zeros", "kaiming"])
@pytest.mark.parametrize("steps", [0, 2])
def test_training_goes_on_with_parameters_that_were_replaced_in_the_groups(start, steps):
    states = []
    for replace in (lambda *both: None, replace_parameters):
        model, optimizer = made(start, max_norm=0.1)
        train(model, optimizer, steps)
        replace(model, optimizer)
        train(model, optimizer, 2)
        optimizer.load_state_dict(through_a_file(optimizer.state_dict()))
        train(model, optimizer, 1)
        states.append(
            {**state_of(model), "base": optimizer.base("stem"), "R": optimizer.refocus_weight(model.up.weight)}
        )
    assert_same_state(*states)


def test_replaced_parameters_of_other_shapes_are_refused():
    _, optimizer = made()
    optimizer.param_groups[-1]["params"] = [nn.Parameter(torch.ones(3)) for _ in optimizer.param_groups[-1]["params"]]
    with pytest.raises(SettingError, match="replaced by others of other shapes"):
        optimizer.clip_grad_norm_(1.0)


def test_state_loads_whatever_is_wrapped_around_modules():
    def wrapped(wrap):
        torch.manual_seed(0)
        model = nn.Sequential(wrap(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))), nn.Flatten())
        return refconv.RefocusSGD(refconv.param_groups(model), lr=0.1)

    optimizers = [
        wrapped(wrap)
        for wrap in (lambda m: m, lambda m: torch.compile(m, backend="eager"), checkpoint_wrapper, nn.DataParallel)
    ]
    for optimizer in optimizers:
        assert torch.equal(optimizer.base("0.0"), optimizers[0].base("0._orig_mod.0"))
        for other in optimizers:
            optimizer.load_state_dict(other.state_dict())


def test_clipping_in_the_step_is_clipping_before_it():
    states = []
    for inside in (True, False):
        model, optimizer = made(**({"max_norm": 0.05} if inside else {}))
        for _ in range(3):
            optimizer.zero_grad()
            (model(batch()) - 0.3).square().mean().backward()
            if not inside:
                optimizer.clip_grad_norm_(0.05)
            optimizer.step()
        states.append(state_of(model))
    assert_same_state(*states)

    model, optimizer = made(max_norm=0.05)

    def closure():
        optimizer.zero_grad()
        loss = (model(batch()) - 0.3).square().mean()
        loss.backward()
        return loss

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for number in range(3):
        if number < 2:
            optimizer.step(closure)
            continue
        optimizer.zero_grad()
        scaler.scale((model(batch()) - 0.3).square().mean()).backward()
        scaler.step(optimizer)
    for name, value in states[0].items():
        assert torch.equal(model.state_dict()[name], value), name

    model, optimizer = made()  # the norm of plain gradients is another number
    (model(batch()) - 0.3).square().mean().backward()
    plain = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    assert abs(optimizer.clip_grad_norm_(1e9) - plain) > 0.001 * plain
    with pytest.raises(SettingError, match="max_norm: invalid norm"):
        made(max_norm=0.0)


@pytest.mark.parametrize("implementation", [{"foreach": True}, {"fused": True}, {"foreach": False}])
def test_torch_s_implementations_agree(implementation):
    model, optimizer = made()
    train(model, optimizer, 4)
    twin, other = made(**implementation)
    train(twin, other, 4)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients_give_the_same_training(fused):
    """GradScaler unscales, also where torch's fused step would have done it, because decay is not scaled."""
    model, optimizer = made(fused=fused)
    train(model, optimizer, 3)
    twin, other = made(fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(3):
        other.zero_grad()
        scaler.scale((twin(batch()) - 0.3).square().mean()).backward()
        scaler.step(other)
        scaler.update()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-12, atol=1e-14)


def test_steps_under_autocast_are_not_rounded():
    model, optimizer = made()
    twin, other = copy.deepcopy((model, optimizer))
    for network, sgd in ((model, optimizer), (twin, other)):
        (network(batch()) - 0.3).square().mean().backward()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=network is twin):
            sgd.step()
    assert_same_state(twin.state_dict(), model.state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_kernels_are_rewritten_in_float32(dtype):
    model = nn.Conv2d(8, 8, 3, groups=8).to(dtype)
    optimizer = refconv.RefocusSGD(refconv.param_groups(model), lr=1.0)
    before = model.weight.detach().clone()
    model.weight.grad = torch.randn_like(model.weight)
    optimizer.step()
    gram = refconv.ops.metric_gram(before.double().reshape(1, 8, 9), (3, 3), (3, 3), scale="capped").float()
    expected = (model.weight.grad.float().reshape(8, 9) @ gram).reshape(model.weight.shape).to(dtype)
    assert torch.equal(model.weight.detach(), before.sub(expected))


def test_channels_last_kernels_keep_their_format_and_training():
    model, optimizer = made()
    train(model, optimizer, 3)
    twin, _ = made()
    twin.to(memory_format=torch.channels_last)
    groups = refconv.param_groups(twin, weight_decay=0.05, scale="normalized")
    other = refconv.RefocusSGD(groups, lr=0.05, **SETTINGS)
    train(twin, other, 3, batch().contiguous(memory_format=torch.channels_last))
    assert twin.up.weight.is_contiguous(memory_format=torch.channels_last)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-10, atol=1e-12)


def test_closure_is_called_once_and_its_gradients_are_rewritten():
    model, optimizer = made()
    twin, other = copy.deepcopy((model, optimizer))
    step(model, batch(), optimizer)
    calls = []

    def closure():
        calls.append(1)
        other.zero_grad()
        loss = (twin(batch()) - 0.3).square().mean()
        loss.backward()
        return loss

    assert other.step(closure).item() > 0
    assert len(calls) == 1
    assert_same_state(twin.state_dict(), model.state_dict())


def test_step_hooks_run_once_whether_or_not_plain_sgd_was_used_before():
    torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    _, optimizer = made()
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.step()
    assert calls == ["before", "after"]


def test_schedulers_of_torch_see_an_ordinary_optimizer():
    model, optimizer = made()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
    train(model, optimizer, 1)
    scheduler.step()
    assert len({group["lr"] for group in optimizer.param_groups}) == 1


def test_compiled_model_and_compiled_step_train_alike():
    model, optimizer = made()
    twin, other = copy.deepcopy((model, optimizer))
    train(model, optimizer, 3)
    twin.compile(backend="aot_eager")
    compiled_step = torch.compile(other.step, backend="aot_eager")
    for _ in range(3):
        other.zero_grad()
        (twin(batch()) - 0.3).square().mean().backward()
        compiled_step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-9, atol=1e-12)


def test_accumulated_gradients_equal_one_batch():
    model = Case(groups=4).model()
    twin = copy.deepcopy(model)
    images = torch.randn(4, 8, 7, 7, dtype=torch.float64)
    for network, parts in ((model, 1), (twin, 4)):
        optimizer = refconv.RefocusSGD(refconv.param_groups(network, 0.1), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            for part in images.chunk(parts):
                (network(part).square().mean() / parts).backward()
            optimizer.step()
    torch.testing.assert_close(twin[0].weight, model[0].weight, rtol=1e-12, atol=1e-14)


def test_parameters_without_gradient_are_left_alone():
    model, optimizer = made()
    before = model.up.weight.detach().clone()
    model.depthwise(torch.randn(1, 8, 9, 9, dtype=torch.float64)).square().mean().backward()
    optimizer.step()
    assert torch.equal(model.up.weight, before)
    assert not torch.equal(model.depthwise.weight, optimizer.base("depthwise"))


def test_new_round_takes_the_kernels_as_bases():
    model, optimizer = made()
    train(model, optimizer, 3)
    before = model.up.weight.detach().clone()
    assert optimizer.refocus_weight("up").abs().max() > 0
    optimizer.rebase()
    assert torch.equal(optimizer.base("up"), before)
    assert torch.equal(optimizer.refocus_weight("up"), torch.zeros_like(optimizer.refocus_weight("up")))
    train(model, optimizer, 1)
    assert not torch.equal(model.up.weight, before)


def test_clipping_returns_the_norm_and_leaves_small_gradients():
    model, optimizer = made()
    model(batch()).square().mean().backward()
    before = [p.grad.clone() for p in model.parameters()]
    norm = optimizer.clip_grad_norm_(1e6)
    assert all(torch.equal(p.grad, gradient) for p, gradient in zip(model.parameters(), before, strict=True))
    assert norm != torch.nn.utils.get_total_norm(before)
    assert optimizer.clip_grad_norm_(norm / 2) == norm
    torch.testing.assert_close(optimizer.clip_grad_norm_(norm), norm / 2, rtol=1e-5, atol=0)


def test_clipping_by_a_norm_that_is_not_finite_is_an_error_on_request():
    model, optimizer = made()
    model(batch()).square().mean().backward()
    model.up.weight.grad[0, 0, 0, 0] = float("nan")
    with pytest.raises(RuntimeError, match="norm of the gradients is nan"):
        optimizer.clip_grad_norm_(1.0, error_if_nonfinite=True)


def test_clipping_without_gradients_is_nothing():
    _, optimizer = made()
    assert optimizer.clip_grad_norm_(1.0) == 0


def test_clipping_entry_by_entry_is_refused():
    _, optimizer = made()
    with pytest.raises(SettingError, match="kernel space: refconv.refocus"):
        optimizer.clip_grad_value_(1.0)


def test_unknown_sites_are_refused_with_the_closest_names():
    model, optimizer = made()
    with pytest.raises(SettingError, match=r"'depthwize' is not a refocused layer.*did you mean depthwise"):
        optimizer.refocus_weight("depthwize")
    with pytest.raises(SettingError, match=r"a tensor of shape \[8\].*optimizer.layers lists them"):
        optimizer.base(model.norm.weight)


def test_a_name_that_two_models_have_and_what_is_no_name_are_refused():
    models = [nn.Sequential(nn.Conv2d(2, 2, 3)), nn.Sequential(nn.Conv2d(2, 2, 3))]
    optimizer = refconv.RefocusSGD([group for model in models for group in refconv.param_groups(model)], lr=0.1)
    with pytest.raises(SettingError, match="layer: '0' is the name of 2 layers; give the parameter of the one that"):
        optimizer.refocus_weight("0")
    assert torch.equal(optimizer.base(models[1][0].weight), models[1][0].weight)
    with pytest.raises(
        SettingError, match="layer: not a layer; expected the name of a layer or its parameter, found 0"
    ):
        optimizer.refocus_weight(0)


def test_weight_decay_that_no_group_would_take_is_refused():
    with pytest.raises(SettingError, match=r"weight_decay: has no effect.*; param_groups\(model, weight_decay=5.0\)"):
        refconv.RefocusSGD(refconv.param_groups(EveryKind()), lr=0.1, weight_decay=5.0)
    model = EveryKind()
    optimizer = refconv.RefocusSGD(refconv.param_groups(model, groups=model.parameters()), lr=0.1, weight_decay=5.0)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {5.0}
    refconv.RefocusSGD(refconv.param_groups(EveryKind(), weight_decay=5.0), lr=0.1, weight_decay=5.0)


def test_printing_names_counts_and_not_layouts():
    _, optimizer = made()
    text = repr(optimizer)
    assert "refocused: 4 kernels" in text
    assert "kernel_size" not in text
    assert text.startswith("RefocusSGD (\nParameter Group 0\n")


def test_further_groups_can_be_added():
    _, optimizer = made()
    head = nn.Conv2d(3, 3, 3).double()
    for group in refconv.param_groups(head):
        optimizer.add_param_group(group)
    head(torch.randn(1, 3, 5, 5, dtype=torch.float64)).square().mean().backward()
    before = head.weight.detach().clone()
    optimizer.step()
    assert optimizer.layers[-1] == ""
    assert not torch.equal(head.weight, before)


@pytest.mark.parametrize("loops", [True, False])
def test_dense_steps_hold_no_more_than_a_few_copies_of_the_kernel(loops, monkeypatch):
    """Grams of a dense kernel are k = 9 times as large as it; nothing of that size is made, by loops nothing at all."""
    if not loops:
        monkeypatch.setattr(slices, "fits", lambda *_: False)
    model = nn.Conv2d(256, 256, 3, bias=False)
    optimizer = refconv.RefocusSGD(refconv.param_groups(model, 0.1, scale="normalized"), lr=0.1)
    model.weight.grad = torch.randn_like(model.weight)
    optimizer.step()  # the first step makes the base
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert peak < (1000 if loops and slices.fits((3, 3), (3, 3), model.weight) else 5 * model.weight.nbytes)
    assert loops or peak > 0
    assert held <= 0


def test_steps_wait_for_no_number_and_make_no_gram_again():
    """Nothing in a step after the first may fetch a value from the device, or CUDA graphs could not capture it."""
    model, optimizer = made()
    train(model, optimizer, 1)
    (model(batch()) - 0.3).square().mean().backward()
    with Operations() as step_:
        optimizer.step()
    assert step_.count("mm", "bmm", "convolution") > 0
    assert step_.count("_local_scalar_dense", "item", "is_nonzero", "unfold", "_linalg_eigh") == 0


@pytest.mark.parametrize("groups", [1, 4], ids=["dense", "depthwise"])
def test_a_kernel_of_another_shape_than_its_base_is_named(groups):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=groups))
    optimizer = refconv.RefocusSGD(refconv.param_groups(model), lr=0.1, momentum=0.9)
    step(model, torch.randn(1, 4, 8, 8), optimizer)
    optimizer.zero_grad()
    model[0].weight.data = torch.randn(4, 4 // groups, 5, 5)
    model[0](torch.randn(1, 4, 8, 8)).mean().backward()
    shapes = rf"expected \[4, {4 // groups}, 3, 3\], found \[4, {4 // groups}, 5, 5\]"
    for act in (optimizer.step, lambda: optimizer.clip_grad_norm_(1.0)):
        with pytest.raises(LayerError, match=f"^0, a kernel of RefocusSGD: .*{shapes}; make a new optimizer"):
            act()
