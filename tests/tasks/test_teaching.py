"""Distillation: the formula, and teachers by every name."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from refconv.data.preprocessing import Statement
from refconv.errors import CheckpointError, ModelError
from refconv.models.opening import Opened
from refconv.surgery import merged
from refconv.tasks.teaching import (
    Features,
    Teacher,
    _restated,
    attention,
    for_teacher,
    make_teacher,
    of_directions,
    of_images,
    of_labels,
    of_values,
)  # fmt: skip
from run_checkpoints import INFO, save_run, small_recipe

CPU = torch.device("cpu")


def teacher(model, weight=0.25, temperature=2.0):
    return Teacher(model, weight=weight, temperature=temperature, autocast=nullcontext)


def test_the_loss_is_that_of_the_formula():
    model = nn.Linear(3, 4)
    inputs, outputs, labelled = torch.randn(5, 3), torch.randn(5, 4), torch.tensor(1.5)
    p = (model(inputs).detach().double() / 2).softmax(1)
    q = (outputs.double() / 2).softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    found = teacher(model).loss(inputs, outputs, labelled)
    torch.testing.assert_close(found.double(), 0.75 * 1.5 + 0.25 * 4 * divergence, rtol=1e-5, atol=1e-6)
    # The other way round is another number.
    assert abs(found - (0.75 * 1.5 + 0.25 * 4 * (q * (q.log() - p.log())).sum(1).mean())) > 1e-3


def test_a_student_that_agrees_has_no_divergence():
    model = nn.Linear(3, 4)
    inputs = torch.randn(5, 3)
    found = teacher(model).loss(inputs, model(inputs), torch.tensor(0.0))
    assert abs(float(found)) < 1e-6


def test_the_teacher_is_frozen_and_in_evaluation_mode():
    made = teacher(nn.Sequential(nn.Linear(3, 4), nn.Dropout()))
    assert not made.model.training
    assert not any(parameter.requires_grad for parameter in made.model.parameters())


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(
        ModelError, match=r"distill: the teacher has other outputs .* expected .*\[5, 3\], found \[5, 4\]"
    ):
        teacher(nn.Linear(3, 4)).loss(torch.randn(5, 3), torch.randn(5, 3), torch.tensor(0.0))


@pytest.mark.parametrize("reference", ["run", "run/model", "local-dir:run/model", "run/checkpoint.pt"])
def test_a_teacher_is_a_run_a_folder_or_a_checkpoint(reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = merged(save_run(tmp_path / "run", small_recipe()).eval())
    made = make_teacher(small_recipe(distill=reference), CPU, INFO)
    batch = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(made.model(batch), trained(batch))


def test_a_teacher_is_weights_of_the_students_model_or_of_its_own(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    weights = str(tmp_path / "run/model/model.safetensors")
    with pytest.raises(CheckpointError, match="does not fit"):
        make_teacher(small_recipe(distill=weights, model="test_resnet", model_kwargs={}), CPU, INFO)
    own = small_recipe(distill="refconv.models.networks:resnet_small", distill_checkpoint=weights)
    with pytest.raises(CheckpointError, match="does not fit"):
        make_teacher(own, CPU, INFO)


def test_there_is_no_teacher_by_default():
    assert make_teacher(small_recipe(), CPU, INFO) is None


def test_a_teacher_of_another_size_sees_the_students_image_resized_and_normalised_as_it_was_trained():
    """The crop is the student's; its batch was normalised by 0.3 and 0.4, the teacher's is by 0.5 and 0.2."""
    values = torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    cfg = {"input_size": (1, 12, 12), "mean": (0.5,), "std": (0.2,), "interpolation": "bilinear"}
    larger = Opened(nn.Identity(), "t", {"in_chans": 1}, stated=Statement("the model", cfg, of_run=True))
    found = for_teacher(INFO, larger)((values - 0.3) / 0.4)
    resized = nn.functional.interpolate(values, (12, 12), mode="bilinear", antialias=True)
    torch.testing.assert_close(found, (resized - 0.5) / 0.2)
    kept = for_teacher(INFO, larger, resizes=False)((values - 0.3) / 0.4)
    assert torch.equal(kept, (values - 0.5) / 0.2)
    alike = replace(
        larger, stated=Statement("the model", {"input_size": (1, 8, 8), "mean": (0.3,), "std": (0.4,)}, of_run=True)
    )
    assert for_teacher(INFO, alike) is None


def test_a_teacher_of_other_channels_is_refused():
    colour = {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.2,) * 3}
    opened = Opened(nn.Identity(), "t", {"in_chans": 3}, stated=Statement("the model", colour, of_run=True))
    words = "distill: the teacher takes another number of channels .*expected 1, found 3; give --in-chans 3, or another"
    with pytest.raises(ModelError, match=words):
        for_teacher(INFO, opened)


def test_labels_are_taught_by_the_divergence_of_each():
    student, taught = torch.randn(4, 3), torch.randn(4, 3)
    p, q = ((one.double() / 2).sigmoid() for one in (taught, student))
    divergence = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    torch.testing.assert_close(of_labels(student, taught, 2.0).double(), divergence, rtol=1e-4, atol=1e-6)
    assert float(of_labels(student, student, 2.0)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (of_values, lambda one, other: (one - other).square().mean()),
        (of_images, lambda one, other: (one - other).abs().mean()),
        (of_directions, lambda one, other: (1 - torch.cosine_similarity(one, other)).mean()),
    ],
)
def test_values_images_and_directions_have_no_temperature(distance, expected):
    student, taught = torch.randn(4, 3), torch.randn(4, 3)
    for temperature in (1.0, 4.0):
        torch.testing.assert_close(temperature**2 * distance(student, taught, temperature), expected(student, taught))


def test_a_teachers_values_are_restated_in_the_students_units():
    info = replace(INFO, target_mean=(10.0, 0.0), target_std=(2.0, 1.0))
    stated = Statement("theirs", {"target_mean": [20.0, 1.0], "target_std": [4.0, 0.5]}, of_run=True)
    restate = _restated(info, Opened(nn.Identity(), "teacher", {}, stated=stated))
    scaled = torch.tensor([[1.0, 2.0]])  # 24 and 2
    torch.testing.assert_close(restate(scaled), torch.tensor([[7.0, 2.0]]))
    same = Statement("theirs", {"target_mean": [10.0, 0.0], "target_std": [2.0, 1.0]}, of_run=True)
    assert _restated(info, Opened(nn.Identity(), "teacher", {}, stated=same)) is None


def test_attention_is_that_of_the_paper():
    """Zagoruyko and Komodakis 2017, equation 2: the squares summed over channels, as vectors of length 1."""
    features = torch.randn(3, 5, 4, 6)
    squares = features.double().square().sum(1).reshape(3, -1)
    expected = squares / squares.norm(dim=1, keepdim=True)
    torch.testing.assert_close(attention(features).double(), expected, rtol=1e-5, atol=1e-6)


class Two(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body, self.head = nn.Conv2d(2, width, 3, padding=1), nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def test_features_are_compared_whatever_their_channels_and_teach_the_student():
    student, model = Two(3), Two(7)
    made = replace(teacher(model, weight=0.0), features=Features(["body"], model), features_weight=2.0)
    inputs = torch.randn(5, 2, 6, 6)
    made.watch(student)
    made.watch(student)  # once is enough
    loss = made.loss(inputs, student(inputs), torch.tensor(0.5))
    maps = [attention(net.body(inputs)).detach() for net in (student, model)]
    expected = 0.5 + 2 * (maps[0] - maps[1]).square().sum(1).mean()
    torch.testing.assert_close(loss, expected, check_dtype=False)
    loss.backward()
    assert student.body.weight.grad.abs().max() > 0
    assert model.body.weight.grad is None
    assert student.head.weight.grad is None or not student.head.weight.grad.any()


def test_a_teacher_of_another_resolution_is_resized_to_the_student():
    student, model = Two(3), Two(3)
    model.body = nn.Conv2d(2, 3, 2, stride=2)
    features = Features(["body"], model)
    features.watch(student)
    student(torch.randn(2, 2, 6, 6)), model(torch.randn(2, 2, 6, 6))
    assert 0 < features.distance().item() < 2


def test_the_tokens_of_a_transformer_teach_the_maps_of_a_network():
    vit = timm.create_model("test_vit", img_size=32, patch_size=8, num_classes=4, in_chans=2).eval()
    student = Two(3)
    made = replace(teacher(vit, weight=0.0), features=Features(["body=blocks.1"], vit), features_weight=2.0)
    made.watch(student)
    inputs = torch.randn(5, 2, 32, 32)
    loss = made.loss(inputs, student(inputs), torch.tensor(0.5))
    with torch.no_grad():
        (tokens,) = vit.forward_intermediates(inputs, indices=[1], norm=False, intermediates_only=True)
        maps = attention(student.body(inputs)), tokens.square().mean(1, keepdim=True)
        resized = F.interpolate(maps[1], student.body(inputs).shape[2:], mode="bilinear").sqrt()
    expected = 0.5 + 2 * (maps[0] - attention(resized)).square().sum(1).mean()
    torch.testing.assert_close(loss, expected, check_dtype=False)
    loss.backward()
    assert student.body.weight.grad.abs().max() > 0


def test_layers_that_cannot_be_compared_are_named():
    with pytest.raises(ModelError, match="distill_features bodi: no such layer; expected a layer of the teacher.*body"):
        Features(["bodi"], Two(3))
    features = Features(["head"], Two(3))
    other = Two(3)
    other.head = nn.Linear(3, 5)
    features.watch(other)
    with pytest.raises(ModelError, match="distill_features head: the layer did not run"):
        features.distance()
