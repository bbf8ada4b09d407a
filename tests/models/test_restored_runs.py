"""A run's model comes back from its checkpoint as it was in training."""

import dataclasses

import pytest
import torch

from refconv.digests import with_digest
from refconv.errors import CheckpointError, TrustError
from refconv.models.creation import create_model, load_weights, restore
from refconv.surgery import plain_state_dict, verify
from run_checkpoints import INFO, save_checkpoint, save_run, small_recipe


@pytest.mark.parametrize("settings", [
    {}, {"method": "plain"}, {"order": "across", "map_size": 1}, {"gram_scale": "normalized", "power": 0.5},
    {"include": ("depthwise",)}, {"start": "kaiming"}, {"model": "test_resnet", "model_kwargs": {}},
])  # fmt: skip
@pytest.mark.parametrize("ema", [False, True])
def test_restore_gives_the_model_in_training(tmp_path, settings, ema):
    recipe = small_recipe(**settings)
    trained = save_checkpoint(tmp_path / "c.pt", recipe, ema=ema).eval()
    found = restore(tmp_path / "c.pt")
    assert (found.recipe, found.info, found.step) == (recipe, INFO, 5)
    x = torch.randn(4, 1, 32, 32)
    assert torch.equal(found.model.eval()(x), trained(x))
    certificate = verify(trained, found.model, x)
    assert certificate.same_structure
    assert certificate.largest_output_difference == 0


def test_restore_keeps_the_models_own_number_of_classes(tmp_path):
    save_checkpoint(tmp_path / "c.pt", small_recipe(num_classes=12))
    found = restore(tmp_path / "c.pt")
    assert found.info == dataclasses.replace(INFO, num_classes=12)
    assert found.model.num_classes == 12


def test_restore_calls_nothing_that_a_checkpoint_names(tmp_path):
    save_checkpoint(tmp_path / "c.pt", small_recipe())
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    content["recipe"] |= {"model": "os:mkdir", "model_kwargs": {"path": str(tmp_path / "trap")}}
    torch.save(with_digest(content), tmp_path / "c.pt")
    with pytest.raises(TrustError, match="found os:mkdir"):
        restore(tmp_path / "c.pt")
    with pytest.raises(TrustError, match="found os:mkdir"):
        load_weights(create_model("test_resnet"), tmp_path / "c.pt")
    assert not (tmp_path / "trap").exists()


def test_restore_refuses_what_is_no_checkpoint(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of a run"):
        restore(tmp_path / "c.pt")


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("which", ["", "checkpoint.pt"])
def test_load_weights_merges_what_a_run_holds(tmp_path, finished, which):
    recipe = small_recipe()
    trained = save_run(tmp_path / "run", recipe, finished=finished)
    model = create_model(recipe.model, in_chans=1, model_kwargs=recipe.model_kwargs)
    load_weights(model, tmp_path / "run" / which)
    for name, value in plain_state_dict(trained).items():
        assert torch.equal(model.state_dict()[name], value), name


def test_load_weights_adapts_the_classifier_of_a_run(tmp_path):
    recipe = small_recipe()
    save_run(tmp_path / "run", recipe, finished=False)
    other = create_model(recipe.model, num_classes=3, in_chans=1, model_kwargs=recipe.model_kwargs)
    with pytest.raises(CheckpointError, match="expected 3 classes, found 10 classes"):
        load_weights(other, tmp_path / "run")
    load_weights(other, tmp_path / "run", reset_classifier=True)
    assert other.num_classes == 3
