"""Note [Scale] of Refocus: what reaches the refocus weight, in ordinary, functional and compiled code."""

import pytest
import torch
from torch import nn

import refconv
from refconv.surgery.refocusing import transform_of


def refocused():
    torch.manual_seed(0)
    model = nn.Conv2d(6, 6, 3, groups=6).double()
    refconv.refocus(model)
    return model, transform_of(model), torch.randn(2, 6, 5, 5, dtype=torch.float64)


def test_gradient_is_that_of_the_formula_times_the_gain_of_each_block():
    model, transform, batch = refocused()
    kernel = model.weight.detach().requires_grad_()
    nn.functional.conv2d(batch, kernel, model.bias, groups=6).square().sum().backward()
    model(batch).square().sum().backward()
    expected = transform.gain * (kernel.grad.reshape(1, 6, 9) @ transform.patches.mT)
    torch.testing.assert_close(transform.refocus_weight.grad, expected)
    assert (transform.gain > 1).all()


def test_functional_gradients_of_samples_add_up_to_that_of_the_batch():
    model, transform, batch = refocused()

    def loss(parameters, images):
        return torch.func.functional_call(model, parameters, (images,)).square().sum()

    parameters = dict(model.named_parameters())
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, batch[:, None])
    model(batch).square().sum().backward()
    (name,) = [name for name in parameters if name.endswith("refocus_weight")]
    torch.testing.assert_close(each[name].sum(0), transform.refocus_weight.grad)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")  # of torch itself, at its first forward mode
def test_forward_mode_gives_the_derivative_of_what_forward_computes():
    """Of the input it is that of the merged model; of the refocus weight that of R P, without the gain."""
    model, transform, batch = refocused()
    with torch.no_grad():
        transform.refocus_weight += 0.1 * torch.randn_like(transform.refocus_weight)
    plain, tangent = refconv.merged(model), torch.randn_like(batch)
    for found, expected in zip(*(torch.func.jvp(m, (batch,), (tangent,)) for m in (model, plain)), strict=True):
        torch.testing.assert_close(found, expected)
    (name,) = [name for name, _ in model.named_parameters() if name.endswith("refocus_weight")]
    direction = torch.randn_like(transform.refocus_weight)

    def outputs(weight):
        return torch.func.functional_call(model, {name: weight}, (batch,))

    _, found = torch.func.jvp(outputs, (transform.refocus_weight.detach(),), (direction,))
    moved = (direction.detach() @ transform.patches).reshape(model.weight.shape)
    torch.testing.assert_close(found, nn.functional.conv2d(batch, moved, groups=6))


def test_a_compiled_kernel_has_the_same_gradient_without_a_graph_break():
    model, transform, batch = refocused()
    model(batch).square().sum().backward()
    expected, transform.refocus_weight.grad = transform.refocus_weight.grad, None
    torch.compiler.reset()
    model.compile(fullgraph=True, backend="aot_eager")
    model(batch).square().sum().backward()
    torch.testing.assert_close(transform.refocus_weight.grad, expected)
