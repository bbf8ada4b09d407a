"""``refconv eval`` gives the accuracy that the library gives."""

import contextlib
import dataclasses
import json

import pytest
import torch
from PIL import Image

from refconv.cli import main
from refconv.data import open_data
from refconv.engine import train
from refconv.models.creation import create_model
from refconv.models.opening import open_model
from refconv.tasks.classification.evaluation import ClassificationEvaluation
from refconv.tasks.classification.task import evaluate
from refconv.tasks.model_data import doubts
from run_checkpoints import save_run, small_recipe


@pytest.mark.parametrize("which", ["", "checkpoint.pt", "model"])
def test_eval_evaluates_what_was_named(tmp_path, capsys, which):
    trained = save_run(tmp_path / "run", small_recipe())
    arguments = ["eval", str(tmp_path / "run" / which), "--data", "digits", "--device", "cpu"]
    assert main([*arguments, "--json"]) == 0
    found = ClassificationEvaluation.from_dict(json.loads(capsys.readouterr().out))
    expected = evaluate(trained, open_data("digits", mean=(0.3,), std=(0.4,)))
    assert found.samples == 359
    assert found.top1 == expected.top1
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)
    assert main(arguments) == 0
    assert f"digits, test: {found}" in capsys.readouterr().out


def test_eval_takes_the_data_of_the_run(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe(val_split=0.1))
    assert main(["eval", str(tmp_path / "run"), "--split", "val", "--device", "cpu"]) == 0
    assert "digits, val" in capsys.readouterr().out


def test_eval_says_when_model_and_data_do_not_fit(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe())
    assert main(["eval", str(tmp_path / "run"), "--data", "mnist1d", "--device", "cpu"]) == 2
    assert main(["eval", str(tmp_path / "run" / "model"), "--device", "cpu"]) == 2
    assert "give --data" in capsys.readouterr().err


def test_eval_says_how_classes_were_matched_and_takes_a_class_map(tmp_path, capsys):
    for split in ("train", "val"):
        for name, value in {"ant": 20, "bee": 120, "cat": 220}.items():
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(4):
                Image.new("L", (8, 8), value + number).save(tmp_path / "data" / split / name / f"{number}.png")
    settings = small_recipe(
        data=f"folder:{tmp_path / 'data'}", in_chans=1, img_size=8, batch_size=6, epochs=1, workers=0
    )
    train(settings, tmp_path / "run", show=False)
    (tmp_path / "data" / "val" / "ant").rename(tmp_path / "data" / "val" / "emmet")
    arguments = ["eval", str(tmp_path / "run"), "--data", f"folder:{tmp_path / 'data' / 'val'}", "--device", "cpu"]
    assert main([*arguments, "--workers", "0"]) == 2
    assert "1 of 3 classes are not among the model's" in capsys.readouterr().err
    (tmp_path / "map.json").write_text('{"emmet": "ant"}')
    assert main([*arguments, "--workers", "0", "--class-map", str(tmp_path / "map.json")]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[1] == "classes: 3 classes, matched by name: bee is 1, cat is 2, emmet is 0"
    assert "on 12 samples" in said.out


def test_eval_refuses_weights_and_outputs_that_are_not_finite(tmp_path, capsys):
    name_of_model = small_recipe().model
    state = create_model(name_of_model).state_dict()
    name = next(name for name in state if name.endswith("weight"))
    huge = {key: value * 1e30 if value.is_floating_point() else value for key, value in state.items()}
    state[name].view(-1)[0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    torch.save(huge, tmp_path / "huge.pth")
    arguments = ["--data", "digits", "--device", "cpu", "--model", name_of_model]
    assert main(["eval", str(tmp_path / "nan.pth"), *arguments]) == 2
    said = capsys.readouterr()
    assert "nan.pth: the weights are not finite; expected finite numbers, found NaN or infinity in 1 of" in said.err
    assert name in said.err
    assert main(["eval", str(tmp_path / "huge.pth"), *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "huge.pth: its outputs on this data are not finite" in said.err.splitlines()[-1]


def test_a_loss_that_only_absurd_weights_give_is_said(tmp_path, capsys):
    """Outputs above 2^24 are told apart by rounding alone."""
    state = create_model("refconv.models.networks:mobilenet_small", num_classes=10, in_chans=1).state_dict()
    state = {name: value * 1e12 if name.startswith("classifier") else value for name, value in state.items()}
    torch.save(state, tmp_path / "huge.pth")
    arguments = ["--data", "digits", "--device", "cpu", "--model", "refconv.models.networks:mobilenet_small"]
    assert main(["eval", str(tmp_path / "huge.pth"), *arguments]) == 0
    said = capsys.readouterr()
    assert "warning: a loss of " in said.err
    assert "takes outputs above 1.7e+07, which float32 does not tell apart to 1: check the weights" in said.err
    assert ClassificationEvaluation(10, 0.5, 1.0, 2.0**24).absurd is None
    assert "huge.pth on digits, test" in said.out


def test_images_below_the_total_stride_are_said_by_every_command(tmp_path, capsys):
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (3, 3), (number, 9, 9)).save(tmp_path / "data" / split / name / f"{number}.png")
    run, data = str(tmp_path / "run"), ["--data", f"folder:{tmp_path / 'data'}", "--device", "cpu", "--workers", "0"]
    few = ["--epochs", "1", "--batch-size", "2", "--out", run]
    for command in (
        ["train", "--model", "test_resnet", *data, "--img-size", "3", *few],
        ["eval", run, *data],
        ["predict", run, str(tmp_path / "data/val/a/0.png")],
        ["export", run, "--data", data[1], "--out", str(tmp_path / "m.torchscript")],
    ):
        assert main(command) == 0
        said = "".join(capsys.readouterr())
        assert "warning: images of 3 x 3 are smaller than the total stride of the network: 3 of its 5 layers" in said
        assert "give a larger --img-size" in said


def test_weights_that_do_not_say_how_images_are_prepared_are_said_before_export(tmp_path):
    torch.save(create_model("test_resnet", num_classes=2).state_dict(), tmp_path / "w.pth")
    like = dataclasses.replace(open_model("test_resnet"), arguments={"num_classes": 2})
    weights = open_model(str(tmp_path / "w.pth"), model="test_resnet", like=like)
    (line,) = doubts(weights)
    assert line.startswith(f"warning: {tmp_path}/w.pth does not say how its images are prepared, and eval may follow")
    assert "; written is RGB, 160 x 160 px, " in line
    assert " center crop " in line
    assert "(timm's test_resnet); choose" in line
    assert line.endswith("choose by --img-size, --crop-pct, --mean and --std, or by the --data that eval is to take")
    chosen = {"img_size": 32, "crop_pct": 1.0, "mean": (0.5,), "std": (0.5,)}
    assert not doubts(dataclasses.replace(weights, flags=chosen))


def test_eval_makes_samples_in_as_many_workers_as_are_asked_for(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("refconv.data.disk.load_batches", lambda *_, workers, **__: asked.append(workers) or iter(()))
    folder = tmp_path / "data/val"
    for name in "0123456789":
        (folder / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / name / "a.png")
    save_run(tmp_path / "run", small_recipe())
    for flag in ("-j", "--workers"):
        with contextlib.suppress(Exception):  # of an evaluation without samples
            main(["eval", str(tmp_path / "run"), "--data", f"folder:{folder}", "--device", "cpu", flag, "3"])
    assert asked == [3, 3]
