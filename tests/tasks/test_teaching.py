"""Distillation: the formula, and teachers by every name."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from refconv.data.preprocessing import Statement
from refconv.errors import CheckpointError, ModelError
from refconv.models.opening import Opened
from refconv.surgery import merged
from refconv.tasks.teaching import Teacher, for_teacher, make_teacher
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
