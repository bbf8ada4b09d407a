"""The theorem: SGD on the refocus weight is SGD on the plain kernel with its gradient multiplied by the Gram.

Every test trains twice on the same numbers, in kernel space and in gradient space, in float64. The neighbouring
wrong formulas at the end train in the same way and must come out different.
"""

import dataclasses

import pytest
import torch
from hypothesis import given, settings

import refconv
from refconv.gradspace import metric
from refconv.ops import patches
from spaces import Case, cases

CONVERSES = Case(groups=4, outputs=2, inputs=2, kernel_size=(3, 2))


def assert_same_kernels(found, expected, tolerance=1e-10):
    """Compare kernels and biases within a share of the largest entry of the kernel; see ``Case.tolerance``."""
    assert tolerance < 1e-5  # the neighbouring wrong formulas are 1e-4 away
    within = tolerance * max(expected[0].weight.abs().max().item(), 1.0)
    torch.testing.assert_close(found[0].weight, expected[0].weight, rtol=0, atol=within)
    torch.testing.assert_close(found[0].bias, expected[0].bias, rtol=0, atol=within)


def assert_other_kernels(found, expected):
    difference = (found[0].weight - expected[0].weight).abs().max() / expected[0].weight.abs().max()
    assert difference > 1e-4


@settings(max_examples=25, deadline=None)
@given(cases())
def test_fifty_steps_in_both_spaces_end_at_the_same_kernel(case):
    expected, _ = case.in_kernel_space()
    trained = found, _ = case.in_gradient_space()
    assert not torch.equal(found[0].weight, case.model()[0].weight)
    assert_same_kernels(found, expected, case.tolerance(trained))


def recovered(case):
    """Return the refocus weight recovered from the kernel, the one that was trained, and how far they may differ."""
    _, expected = case.in_kernel_space()
    trained = model, optimizer = case.in_gradient_space()
    return optimizer.refocus_weight(model[0].weight), expected, case.weight_tolerance(trained, expected)


@settings(max_examples=10, deadline=None)
@given(cases())
def test_refocus_weight_recovered_from_the_kernel_is_the_one_that_kernel_space_trained(case):
    found, expected, tolerance = recovered(dataclasses.replace(case, start="zeros"))
    assert ((found - expected).abs() <= tolerance).all()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_recovered_refocus_weight_is_exact_to_nine_digits_where_kernels_are_well_conditioned(power):
    found, expected, tolerance = recovered(dataclasses.replace(CONVERSES, power=power, rounds=2))
    assert tolerance.max() < 1e-9 * expected.abs().max()
    assert ((found - expected).abs() <= tolerance).all()


@settings(max_examples=10, deadline=None)
@given(cases())
def test_clipping_by_norm_is_equal_in_both_spaces(case):
    case = dataclasses.replace(case, rounds=1)
    expected, _ = case.in_kernel_space(clip=0.05)
    trained = found, _ = case.in_gradient_space(clip=0.05)
    assert_same_kernels(found, expected, case.tolerance(trained, clip=0.05))
    assert_other_kernels(case.in_gradient_space()[0], expected)


@pytest.mark.parametrize("kernel_size", [(3, 3), (2, 5)])
@pytest.mark.parametrize("groups", [1, 2, 12])
def test_every_route_of_the_metric_gives_the_same_training(groups, kernel_size, monkeypatch):
    case = Case(groups=groups, outputs=3, inputs=1, kernel_size=kernel_size, scale="normalized")
    expected, _ = case.in_kernel_space()
    assert_same_kernels(case.in_gradient_space()[0], expected)
    monkeypatch.setattr(metric, "_SMALL", 0)  # nothing is small: Grams are not kept where they outgrow the kernels
    monkeypatch.setattr(refconv.ops.grams, "_CHUNK", 200)  # more than one chunk
    model, optimizer = case.in_gradient_space()
    kinds = {1: metric.BySlices, 2: metric.ByPatches, 12: metric.ByGrams}
    assert isinstance(optimizer._metrics[model[0].weight], kinds[groups])
    assert_same_kernels(model, expected)


def test_decay_towards_zero_is_another_training():
    expected, _ = CONVERSES.in_kernel_space()
    assert_same_kernels(CONVERSES.in_gradient_space()[0], expected)
    assert_other_kernels(CONVERSES.in_gradient_space(decay="kernel")[0], expected)
    assert_other_kernels(CONVERSES.in_gradient_space(decay="none")[0], expected)


@pytest.mark.parametrize("order", ["contiguous", "across", "layer", "filters"])
def test_blocks_in_another_order_are_another_training(order):
    case = dataclasses.replace(CONVERSES, order=order)
    expected, _ = case.in_kernel_space()
    assert_same_kernels(case.in_gradient_space()[0], expected)
    for other in {"contiguous", "across", "layer", "filters"} - {order}:
        assert_other_kernels(case.in_gradient_space(order=other)[0], expected)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("settings", [{}, {"damping": 0.3}, {"power": 0.5}, {"power": -1.0, "damping": 0.3}], ids=str)
@pytest.mark.parametrize(("groups", "inputs"), [(1, 1), (2, 3)], ids=["short filters", "long filters"])
def test_filters_refocus_by_the_smaller_side_of_their_matrix(groups, inputs, settings, transposed):
    """Two filters of nine entries a group: a Gram [9, 9] for eighteen filters, two factors for four of 27 entries."""
    case = Case(groups=groups, outputs=18 // inputs**2, inputs=inputs, order="filters", transposed=transposed)
    case = dataclasses.replace(case, **settings)
    expected, _ = case.in_kernel_space()
    model, optimizer = case.in_gradient_space()
    (found,) = optimizer._metrics.values()
    assert (found.grams is None) == (inputs == 3)
    assert_same_kernels(model, expected)
    assert_other_kernels(case.in_gradient_space(power=2.0)[0], expected)


def test_filters_related_by_the_gram_of_their_inputs_are_another_training(monkeypatch):
    """The neighbouring mistake: F F^T g, which mixes filters, in place of g F^T F."""
    case = dataclasses.replace(CONVERSES, order="filters", scale="paper")
    expected, _ = case.in_kernel_space()

    def from_the_left(self, gradient):
        base = self.layout.to_blocks(case.model()[0].weight.detach())
        return self.layout.from_blocks(base @ base.mT @ self.layout.to_blocks(gradient))

    monkeypatch.setattr(metric.ByFilters, "apply", from_the_left)
    assert_other_kernels(case.in_gradient_space()[0], expected)


def test_another_power_or_scale_is_another_training():
    expected, _ = CONVERSES.in_kernel_space()
    assert_other_kernels(CONVERSES.in_gradient_space(power=0.5)[0], expected)
    assert_other_kernels(CONVERSES.in_gradient_space(scale="normalized")[0], expected)


def test_another_damping_is_another_training_and_so_is_one_by_the_mean_over_rows():
    """What is added is a multiple of trace(G) / k, the mean over taps; trace(G) / (m t), over rows of P, is another."""
    case = dataclasses.replace(CONVERSES, damping=0.3)
    expected, _ = case.in_kernel_space()
    assert_same_kernels(case.in_gradient_space()[0], expected)
    taps, rows = 6, 4 * 9
    for wrong in (0.0, 0.1, 0.3 * taps / rows):
        assert_other_kernels(case.in_gradient_space(damping=wrong)[0], expected)


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_a_mixture_of_refocusing_and_plain_training_is_a_sum_of_both_gradients(damping, monkeypatch):
    """At power 1 and the paper's scale g G~ = g G + damping l g."""
    case = dataclasses.replace(CONVERSES, scale="paper", damping=damping)
    expected, _ = case.in_kernel_space()
    apply = metric.ByGrams.apply

    def mixture(self, gradient):
        base = self.layout.to_blocks(case.model()[0].weight.detach())
        mean = torch.linalg.eigvalsh(refconv.ops.gram(patches(base, *self.sizes))).mean(-1)
        own = self.layout.to_blocks(gradient) * mean[:, None, None]
        return apply(self, gradient) + damping * self.layout.from_blocks(own)

    monkeypatch.setattr(metric.ByGrams, "apply", mixture)
    assert_same_kernels(case.in_gradient_space(damping=0.0)[0], expected)


def test_gram_of_the_taps_reversed_is_another_training(monkeypatch):
    """G is symmetric, so its transpose is itself; the neighbouring mistakes are flips of its axes."""
    expected, _ = CONVERSES.in_kernel_space()
    grams = metric.Metric._grams
    for flip in ([-1], [-2], [-1, -2]):
        monkeypatch.setattr(metric.Metric, "_grams", lambda self, blocks, flip=flip: grams(self, blocks).flip(flip))
        assert_other_kernels(CONVERSES.in_gradient_space()[0], expected)


def test_gram_of_slices_instead_of_taps_is_another_training(monkeypatch):
    """The transposed Gram, P P^T of a map of one tap, relates slices to one another: [m, m] from the left."""
    case = dataclasses.replace(CONVERSES, map_size=1)
    expected, _ = case.in_kernel_space()
    assert_same_kernels(case.in_gradient_space()[0], expected)

    def from_the_left(self, gradient):
        base = self.layout.to_blocks(case.model()[0].weight.detach())
        return self.layout.from_blocks(base @ base.mT @ self.layout.to_blocks(gradient))

    monkeypatch.setattr(metric.ByGrams, "apply", from_the_left)
    assert_other_kernels(case.in_gradient_space()[0], expected)


def test_momentum_kept_over_a_new_round_is_another_training():
    case = dataclasses.replace(CONVERSES, rounds=2)
    expected, _ = case.in_kernel_space()
    assert_same_kernels(case.in_gradient_space()[0], expected)

    class Keeping(refconv.RefocusSGD):
        def rebase(self):
            momenta = {kernel: self.state[kernel]["momentum_buffer"] for kernel in self._geometries}
            super().rebase()
            for kernel, momentum in momenta.items():
                self.state[kernel]["momentum_buffer"] = momentum

    assert_other_kernels(case.in_gradient_space(kind=Keeping)[0], expected)
