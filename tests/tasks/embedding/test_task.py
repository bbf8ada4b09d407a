"""Embeddings: whole runs with losses of pytorch-metric-learning, one of which has parameters of its own."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from image_folders import two_classes
from refconv.engine import Recipe, train
from refconv.engine.epochs import Loop
from refconv.errors import ModelError, RecipeError, RefconvWarning, SettingError
from refconv.models.checkpoint import Checkpoint
from refconv.models.opening import open_model
from refconv.process.interruption import StoppedError
from refconv.tasks.model_data import data_for
from refconv.tasks.predicting import predictions
from refconv.tasks.registry import task_named
from run_results import same_result

CPU = torch.device("cpu")
library = pytest.importorskip("pytorch_metric_learning")
SMALL = {
    "task": "embedding", "model": "test_resnet", "data": "digits", "img_size": 16, "epochs": 1, "epoch_steps": 6,
    "batch_size": 32, "lr": 0.02, "device": "cpu", "log_interval": 1,
}  # fmt: skip


def recipe(**settings):
    return Recipe(**{**SMALL, **settings})


@pytest.mark.parametrize("loss", ["triplet", "contrastive", "multi_similarity", "arcface"])
def test_losses_bring_classes_together(tmp_path, loss):
    record = train(recipe(loss=loss, epoch_steps=40), tmp_path / "run", show=False)
    assert record.course.end > record.course.start + 0.15  # 0.28 to 0.51 over three seeds; chance moves it by 0.1
    opened = open_model(str(tmp_path / "run"))
    found = task_named("embedding").evaluate(opened.model, data_for(opened), "test", batch_size=100)
    assert found.recall_at_1 == pytest.approx(record.measures["recall_at_1"], abs=0.01)
    (_, prediction), *_ = predictions(opened, [_image(tmp_path)], device=CPU)
    assert len(json.loads(json.dumps(prediction.content))["embedding"]) == opened.model.num_features


def _image(folder):
    Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(folder / "a.png")
    return folder / "a.png"


@pytest.mark.parametrize("name", ["digits", "own_datasets:blinking"])
def test_batches_are_of_some_samples_of_some_classes(name, monkeypatch):
    embedding = task_named("embedding")
    data = embedding.open_data(recipe(data=name, samples_per_class=4, img_size=None, workers=0))
    for epoch in (0, 1):
        for _, labels in data.train_batches(seed=0, epoch=epoch, batch_size=8):
            assert labels.unique(return_counts=True)[1].tolist() == [4, 4]
    assert embedding.open_data(recipe(data=name, img_size=None)).per_class is None


def test_samples_per_class_are_for_embeddings(tmp_path):
    with pytest.raises(RecipeError, match="samples_per_class: has no effect in classification: it is for embedding"):
        train(recipe(task="classification", samples_per_class=4), tmp_path / "run", show=False)
    with pytest.raises(SettingError, match="samples_per_class: too few classes for a batch; expected 16 .*found 10"):
        train(recipe(samples_per_class=2), tmp_path / "run", show=False)


@pytest.mark.parametrize("balanced", [None, 4])
def test_what_arcface_has_learned_is_resumed(tmp_path, monkeypatch, balanced):
    how = {"grad_accum_steps": 2, "samples_per_class": balanced} if balanced else {}
    settings = recipe(loss="arcface", loss_kwargs={"margin": 10}, num_classes=12, method="refocus", **how)
    train(settings, tmp_path / "whole", show=False)
    step = Loop._step

    def stopping(loop, batches):
        if loop.step == 3:
            loop._save()
            raise StoppedError("stopped")
        return step(loop, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stopping)
        with pytest.raises(StoppedError):
            train(settings, tmp_path / "cut", show=False)
    (learned,) = Checkpoint.load(tmp_path / "cut/checkpoint.pt").loss.values()
    assert learned.shape == (12, 10)
    train(settings, tmp_path / "cut", resume=True, show=False)
    same_result(tmp_path / "whole", tmp_path / "cut")
    (end,) = Checkpoint.load(tmp_path / "cut/checkpoint.pt").loss.values()
    assert not torch.equal(learned, end)
    assert open_model(str(tmp_path / "cut")).model.num_classes == 12


def test_training_goes_on_from_a_classifier_without_its_head(tmp_path):
    train(recipe(task="classification"), tmp_path / "classifier", show=False)
    with pytest.warns(RefconvWarning, match=r"fc.bias, fc.weight are left out: the model ends with its features"):
        record = train(recipe(checkpoint=str(tmp_path / "classifier")), tmp_path / "run", show=False)
    assert record.certificate.same_structure
    classifier, after = (open_model(str(tmp_path / name)).model for name in ("classifier", "run"))
    distance = (after.layer1[0].conv1.weight - classifier.layer1[0].conv1.weight).norm() / after.layer1[
        0
    ].conv1.weight.norm()
    assert 0 < distance < 0.5


def test_outputs_without_numbers_are_no_embeddings():
    model, samples = torch.nn.Identity(), torch.zeros(2, 0)
    with pytest.raises(ModelError, match="the model gives no embeddings; .*or give num_classes"):
        task_named("embedding").check_outputs(model, samples, model(samples), None)


def test_other_classes_are_searched_as_well(tmp_path):
    train(recipe(epoch_steps=2, in_chans=3), tmp_path / "run", show=False)
    two_classes(tmp_path / "data", (16, 16), count=3)
    opened = open_model(str(tmp_path / "run"))
    data = data_for(opened, f"folder:{tmp_path / 'data'}")
    assert task_named("embedding").evaluate(opened.model, data, "test", batch_size=4).samples == 6


def test_only_embeddings_have_no_outputs(tmp_path):
    with pytest.raises(RecipeError, match="num_classes: too few; expected at least 1, found 0; .*--task embedding"):
        train(recipe(task="classification", num_classes=0), tmp_path / "run", show=False)
