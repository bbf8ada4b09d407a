"""Whatever a user names, the right model opens, in evaluation mode and with its weights."""

import json
import shutil

import pytest
import torch

from refconv.data import DataInfo
from refconv.errors import CheckpointError, ModelError
from refconv.models.creation import create_model
from refconv.models.model_folder import save_model_folder
from refconv.models.opening import input_of, open_model, open_pair
from refconv.process.randomness import derive_seed, seeded
from refconv.surgery import plain_state_dict
from run_checkpoints import save_run, small_recipe

X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("which", ["", "checkpoint.pt", "model"])
def test_open_model_opens_every_part_of_a_run(tmp_path, which):
    recipe = small_recipe()
    trained = save_run(tmp_path / "run", recipe).eval()
    opened = open_model(str(tmp_path / "run" / which))
    assert not opened.model.training
    torch.testing.assert_close(opened.model(X), trained(X))
    assert opened.name == recipe.model
    assert opened.arguments == {"width": 0.25, "num_classes": 10, "in_chans": 1}
    assert tuple(opened.stated.values["input_size"]) == (1, 8, 8)
    assert (opened.recipe is None) == (which == "model")


def test_open_model_opens_an_unfinished_run_and_local_dir(tmp_path):
    trained = save_run(tmp_path / "run", small_recipe()).eval()
    assert open_model(f"local-dir:{tmp_path / 'run' / 'model'}").recipe is None
    shutil.rmtree(tmp_path / "run" / "model")
    assert torch.equal(open_model(str(tmp_path / "run")).model(X), trained(X))


def test_open_model_builds_names_with_the_ends_of_the_other():
    assert open_model("test_resnet").model.num_classes == 1000
    other = open_model("refconv.models.networks:resnet_small")
    assert open_model("test_resnet", like=other).model.num_classes == 1000
    assert other.arguments == {}


def test_open_pair_lets_a_name_take_what_the_run_knows(tmp_path):
    recipe = small_recipe()
    save_run(tmp_path / "run", recipe)
    for pair in ((recipe.model, str(tmp_path / "run")), (str(tmp_path / "run"), recipe.model)):
        first, second = open_pair(*pair, pretrained=False)
        assert [value.shape for value in first.model.state_dict().values()] == [
            value.shape for value in second.model.state_dict().values()
        ]
    name, _ = open_pair("test_resnet", str(tmp_path / "run"), pretrained=False)
    assert (name.model.num_classes, next(name.model.parameters()).shape[1]) == (10, 1)


def test_open_pair_builds_the_model_of_a_weights_file(tmp_path):
    recipe = small_recipe()
    trained = save_run(tmp_path / "run", recipe)
    torch.save(plain_state_dict(trained), tmp_path / "a.pth")
    first, second = open_pair(str(tmp_path / "a.pth"), str(tmp_path / "run"))
    assert torch.equal(first.model(X), second.model(X))
    again = create_model("test_resnet", num_classes=5)
    torch.save(again.state_dict(), tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="does not fit"):
        open_pair(str(tmp_path / "b.pth"), str(tmp_path / "run"))
    with pytest.raises(CheckpointError, match=r"a\.pth: .*which model.*--model"):
        open_pair(str(tmp_path / "a.pth"), str(tmp_path / "b.pth"))


def test_open_model_names_what_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="absent.pth: no such file"):
        open_model("absent.pth", model="test_resnet")
    for path in ("runs/x", r"C:\runs\x"):
        with pytest.raises(CheckpointError, match="x: no such run, model folder or file"):
            open_model(path)
    with pytest.raises(CheckpointError, match="no such run"):
        open_model("local-dir:x")
    with pytest.raises(CheckpointError, match="neither a run nor a model folder"):
        open_model(str(tmp_path))
    with pytest.raises(ModelError, match="did you mean test_resnet"):
        open_model("test_resnett")


def test_a_bare_name_means_its_pretrained_weights_and_never_random_ones_in_silence(tmp_path):
    recipe = small_recipe()
    save_run(tmp_path / "run", recipe)
    for pair in ((recipe.model, str(tmp_path / "run")), (str(tmp_path / "run"), recipe.model)):
        words = "pretrained weights are not available; .*no argument pretrained; .*--model"
        with pytest.raises(ModelError, match=words):
            open_pair(*pair)


def test_what_weights_leave_open_is_drawn_as_the_run_drew_it(tmp_path):
    for seed in (0, 1):
        save_run(tmp_path / f"run-{seed}", small_recipe(seed=seed))
        first, run = open_pair("test_resnet", str(tmp_path / f"run-{seed}"), pretrained=False)
        again, _ = open_pair("test_resnet", str(tmp_path / f"run-{seed}"), pretrained=False)
        with seeded(derive_seed("model", seed)):
            start = create_model("test_resnet", num_classes=10, in_chans=1)
        for opened in (first, again):
            assert torch.equal(opened.model.state_dict()["fc.weight"], start.state_dict()["fc.weight"])
        assert run.recipe.seed == seed


def test_weights_of_other_classes_open_beside_the_run_that_started_its_classifier_anew(tmp_path):
    recipe = small_recipe(checkpoint=str(tmp_path / "five.pth"), reset_classifier=True)
    five = create_model(recipe.model, num_classes=5, in_chans=1, model_kwargs={"width": 0.25})
    for name in ("five", "other"):
        torch.save(five.state_dict(), tmp_path / f"{name}.pth")
    save_run(tmp_path / "run", recipe)
    first, _ = open_pair(recipe.checkpoint, str(tmp_path / "run"))
    found, known = first.model.state_dict(), five.state_dict()
    other = {name for name, value in found.items() if value.shape != known[name].shape}
    assert {value.shape[0] for name, value in found.items() if name in other} == {10}
    assert all(torch.equal(found[name], known[name]) for name in found.keys() - other)
    with pytest.raises(CheckpointError, match="different number of classes"):
        open_pair(str(tmp_path / "other.pth"), str(tmp_path / "run"))


def test_a_network_that_was_handed_over_in_python_opens_by_the_name_of_what_builds_it(tmp_path):
    network = create_model("test_resnet", num_classes=3, in_chans=1).eval()
    facts = (1, (1, 32, 32), (0.0,), (1.0,), ("a", "b", "c"), 0, 0, 0)
    usual = {"mean": [0.0], "std": [1.0], "crop_pct": 1.0}
    save_model_folder(
        tmp_path / "model", network.state_dict(), name="refconv.improvement.handed_over:Net", model_kwargs={},
        info=DataInfo("TensorDataset", 3, *facts), preprocessing=usual, model=network,
    )  # fmt: skip
    with pytest.raises(ModelError, match="Net: .* handed over by a program in Python, .*; name that by --model"):
        open_model(str(tmp_path))
    opened = open_model(str(tmp_path), model="test_resnet")
    samples = torch.randn(2, 1, 32, 32)
    assert torch.equal(opened.model(samples), network(samples))
    assert (opened.name, opened.class_names) == ("test_resnet", ("a", "b", "c"))
    assert not usual.keys() & json.loads((tmp_path / "model/config.json").read_text())["pretrained_cfg"].keys()
    assert {"mean", "std", "crop_pct"} <= {*input_of(opened).guesses}
    assert input_of(opened).input_size == (1, 32, 32)
    with pytest.raises(CheckpointError, match="does not fit"):
        open_model(str(tmp_path), model="test_vit")
