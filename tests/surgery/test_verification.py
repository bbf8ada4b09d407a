"""The certificate: it sees every difference it names, and leaves both models as they were."""

import copy
import re

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind, randomise
from refconv.errors import ModelError
from refconv.surgery import Certificate, evaluating

BATCH = torch.randn(8, 3, 20, 20, generator=torch.Generator().manual_seed(0))


def pair():
    torch.manual_seed(0)
    model = EveryKind()
    return model, copy.deepcopy(model)


def test_verify_certifies_a_merge():
    model, _ = pair()
    refconv.refocus(model)
    randomise(model)
    certificate = refconv.verify(model, refconv.merged(model), BATCH)
    assert certificate.same_structure
    assert certificate.same_outputs
    assert (certificate.largest_kernel_difference, certificate.largest_output_difference) == (0, 0)
    assert (certificate.top1_agreement, certificate.batch, certificate.kernels) == (1.0, 8, 5)
    assert "identical" in str(certificate)
    assert Certificate.from_json(certificate.to_json()) == certificate


def test_verify_measures_what_training_changed():
    before, after = pair()
    with torch.no_grad():
        after.grouped.weight[0, 0, 0, 0] += 0.5
    certificate = refconv.verify(before, after, BATCH)
    assert certificate.same_structure
    assert certificate.same_outputs is False
    assert certificate.largest_kernel_difference == pytest.approx(0.5)
    assert certificate.largest_kernel_layer == "grouped"
    with torch.no_grad():
        a, b = before.eval()(BATCH), after.eval()(BATCH)
    assert certificate.largest_output_difference == pytest.approx(float((a - b).abs().max()))
    assert certificate.relative_output_difference == pytest.approx(float((a - b).abs().max() / a.abs().max()))
    assert certificate.top1_agreement == float((a.argmax(1) == b.argmax(1)).double().mean())


def missing_key(model):
    model.norm.register_buffer("num_batches_tracked", None)


def surplus_key(model):
    model.extra = nn.Linear(1, 1)


def other_order(model):
    weight, bias = model.stem.weight, model.stem.bias
    del model.stem.weight, model.stem.bias
    model.stem.bias, model.stem.weight = bias, weight


def other_shape(model):
    model.head = nn.Linear(6, 7)


def other_dtype(model):
    model.head.to(torch.float64)


def other_flag(model):
    model.stem.weight.requires_grad_(False)


def other_class(model):
    model.norm.__class__ = type("Norm", (nn.BatchNorm2d,), {})


@pytest.mark.parametrize(
    ("change", "field", "word"),
    [
        (missing_key, "missing", "num_batches_tracked"),
        (surplus_key, "surplus", "extra.weight"),
        (other_order, "reordered", None),
        (other_shape, "shapes", "head.weight: [5, 6] -> [7, 6]"),
        (other_dtype, "dtypes", "head.weight: float32 -> float64"),
        (other_flag, "flags", "stem.weight: True -> False"),
        (other_class, "classes", "BatchNorm2d -> "),
    ],
)
def test_verify_names_every_structural_difference(change, field, word):
    before, after = pair()
    change(after)
    certificate = refconv.verify(before, after)
    assert not certificate.same_structure
    assert certificate.same_outputs is None
    value = getattr(certificate, field)
    assert value is True or any(word in entry for entry in value)
    assert "DIFFERENT" in str(certificate)
    assert "no batch" in str(certificate)


@pytest.mark.parametrize(
    ("after", "keys"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 5)), r"\d+ missing: .*; 2 surplus: 0.weight, 0.bias"),
        (nn.ModuleDict({"stem": nn.Conv2d(3, 9, 3)}), "missing"),
    ],
)
def test_verify_of_two_different_networks_says_first_that_they_have_no_kernel_in_common(after, keys):
    printed = str(refconv.verify(EveryKind(), after)).splitlines()
    assert printed[0] == "structure  DIFFERENT: no convolution kernel has the same key and shape in both"
    assert re.search(keys, printed[1])
    assert "kernels    not compared: none has the same key and shape in both" in printed


def test_verify_of_networks_without_convolutions_compares_no_kernels():
    printed = str(refconv.verify(nn.Linear(2, 3), nn.Linear(2, 3)))
    assert printed.startswith("structure  the same\n")
    assert "kernels    not compared: there are none\n" in printed


def test_verify_sees_a_remembered_flag_through_the_refocused_model():
    before, after = pair()
    before.stem.weight.requires_grad_(False)
    refconv.refocus(before)
    assert refconv.verify(before, after).flags == ("stem.weight: False -> True",)


def test_verify_leaves_modes_and_buffers_as_found():
    before, after = pair()
    before.train()
    before.norm.eval()
    after.eval()
    buffers = copy.deepcopy(dict(before.named_buffers()))
    refconv.verify(before, after, BATCH)
    assert (before.training, before.norm.training, before.stem.training, after.training) == (True, False, True, False)
    assert all(torch.equal(value, buffers[name]) for name, value in before.named_buffers())


def test_verify_does_not_take_not_a_number_for_equal():
    before, after = pair()
    with torch.no_grad():
        after.head.bias[0] = float("nan")
    certificate = refconv.verify(before, after, BATCH)
    assert certificate.same_outputs is False
    assert certificate.largest_output_difference == float("inf")


def test_verify_does_not_certify_outputs_that_are_not_finite():
    before, after = pair()
    with torch.no_grad():
        before.head.bias.fill_(float("nan"))
        after.head.bias.fill_(float("nan"))
    broken = refconv.verify(before, after, BATCH)
    given = refconv.verify(*pair(), BATCH * float("nan"))
    for certificate in (broken, given):
        assert certificate.same_structure
        assert certificate.same_outputs is None
        assert certificate.not_finite == ("the whole",)
        assert certificate.top1_agreement is None
        assert "not comparable: outputs are not finite" in str(certificate)
        assert "top-1" not in str(certificate)


def test_verify_certifies_the_structure_of_a_merge_whose_bias_is_not_finite():
    model, _ = pair()
    refconv.refocus(model)
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    certificate = refconv.verify(model, refconv.merged(model), BATCH)
    assert certificate.same_structure
    assert (certificate.largest_kernel_difference, certificate.same_outputs) == (0, None)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (BATCH.numpy(), r"batch: EveryKind cannot be run on it \(.*\); expected a tensor, or .*, found ndarray"),
        ("images", "batch: EveryKind cannot be run on it .*, found str"),
        ([1.0, 2.0], "batch: EveryKind cannot be run on it .*, found list"),
        (BATCH[:, :2], r"batch: EveryKind cannot be run on tensors of shape \[8, 2, 20, 20\]; found RuntimeError: "),
    ],
    ids=["numpy", "str", "list", "channels"],
)
def test_verify_says_in_one_line_what_a_model_cannot_be_run_on(batch, message):
    before, after = pair()
    before.train()
    with pytest.raises(ModelError, match=message) as caught:
        refconv.verify(before, after, batch)
    assert "\n" not in str(caught.value)
    assert before.training


def test_verify_tolerance_follows_the_dtype_of_the_outputs():
    before, after = pair()
    assert refconv.verify(before, after, BATCH).tolerance == pytest.approx(2.0 ** (-23 * 2 / 3))
    certificate = refconv.verify(before.double(), after.double(), BATCH.double())
    assert certificate.tolerance == pytest.approx(2.0 ** (-52 * 2 / 3))
    assert refconv.verify(before, after, BATCH.double(), tolerance=0.5).tolerance == 0.5


class Many(nn.Module):
    """Takes several inputs and returns a nest of outputs, as detectors do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3)

    def forward(self, a, b):
        return {"sum": self.conv(a) + b, "list": [self.conv(b[..., :5])]}


@pytest.mark.parametrize("form", [tuple, dict])
def test_verify_takes_positional_and_keyword_inputs_and_nested_outputs(form):
    before, after = Many(), Many()
    a, b = torch.randn(3, 2, 8), torch.randn(3, 2, 6)
    batch = (a, b) if form is tuple else {"a": a, "b": b}
    certificate = refconv.verify(before, after, batch)
    with torch.no_grad():
        expected = max(
            float((before.conv(a) - after.conv(a)).abs().max()),
            float((before.conv(b[..., :5]) - after.conv(b[..., :5])).abs().max()),
        )
    assert certificate.largest_output_difference == pytest.approx(expected, rel=1e-4)
    assert certificate.top1_agreement is None
    assert refconv.verify(before, before, batch).same_outputs


class Returning(nn.Module):
    """Returns what a function makes of its convolution's mean."""

    def __init__(self, form):
        super().__init__()
        self.conv, self.form = nn.Conv2d(3, 6, 3), form

    def forward(self, x):
        return self.form(self.conv(x.sub_(0.5)).mean((2, 3)))  # writes into its input, as some do


@pytest.mark.parametrize(
    ("form", "same", "words"),
    [
        (lambda t: [{"a": t}], True, "identical: largest difference 0, relative 0"),
        (lambda t: t * float("nan"), None, "not comparable: outputs are not finite (1 not finite: the whole), finite"),
        (lambda t: None, None, "not compared (they are empty, or hold no tensors, numbers or texts)"),
        (lambda t: iter([t]), None, "not compared (1 parts cannot be looked into: the whole (list_iterator))"),
        (
            lambda t: (t, iter([t])),
            None,
            "not certified (1 parts cannot be looked into: [1] (list_iterator)), the others",
        ),
    ],
)
def test_verify_certifies_outputs_only_where_all_was_compared(form, same, words):
    model = Returning(form)
    certificate = refconv.verify(model, copy.deepcopy(model), BATCH)
    assert certificate.same_outputs is same
    assert f"outputs    {words}" in str(certificate)
    assert Certificate.from_json(certificate.to_json()) == certificate


def test_verify_names_outputs_of_another_shape():
    certificate = refconv.verify(Returning(lambda t: {"a": t}), Returning(lambda t: {"a": t[:, :2]}), BATCH)
    assert certificate.unlike == ("['a']: float32 [8, 6] -> float32 [8, 2]",)
    assert certificate.same_outputs is False
    assert "1 differ: ['a']: float32 [8, 6] -> float32 [8, 2]" in str(certificate)


class Remembering(nn.Module):
    """Keeps something that is no tensor in its state."""

    def __init__(self, memory):
        super().__init__()
        self.conv, self.memory = nn.Conv2d(3, 6, 3), memory

    def get_extra_state(self):
        return self.memory

    def set_extra_state(self, state):
        self.memory = state


def test_verify_compares_states_that_are_no_tensors_by_value():
    first, second = {"levels": [1, 2], "scale": torch.ones(2)}, {"levels": [1, 3], "scale": torch.ones(2)}
    assert refconv.verify(Remembering(first), Remembering(copy.deepcopy(first))).same_structure
    certificate = refconv.verify(Remembering(first), Remembering(second))
    assert certificate.values == ("_extra_state: largest difference 1",)
    assert not certificate.same_structure
    assert "values   1 differ: _extra_state" in str(certificate)
    second = {**first, "scale": torch.tensor([1.0, 2.0]), "levels": "none"}
    assert len(refconv.verify(Remembering(first), Remembering(second)).values) > 0


def test_verify_reads_certificates_of_before_there_were_values():
    old = refconv.verify(*pair()).to_dict()
    for key in ("values", "unlike", "uncompared"):
        del old[key]
    assert Certificate.from_dict(old).same_structure


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_lack_of_memory_is_not_taken_for_a_batch_that_does_not_fit(error):
    class Large(nn.Module):
        def forward(self, images):
            raise error

    with pytest.raises(type(error)) as raised:
        refconv.verify(Large(), Large(), torch.zeros(1, 3, 8, 8))
    assert raised.value is error


def test_a_compiled_model_is_evaluated_as_it_is():
    """See Note [Evaluations are not compiled]; its compiled code is there again afterwards."""
    compiled = []
    model, plain = pair()
    model.compile(backend=lambda graph, inputs: compiled.append(graph) or graph.forward)
    model.train()
    for batch in (BATCH[:2], BATCH):
        with evaluating(model):
            assert torch.equal(model(batch), plain.eval()(batch))
    assert compiled == []
    assert model.training
    model(BATCH)
    assert compiled
