"""Note [Scale] of Refocus: what reaches the refocus weight, in ordinary, functional and compiled code."""

import torch
from torch import nn

import refconv
from refconv.surgery.attach import transform_of


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
