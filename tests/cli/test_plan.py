"""``refconv plan`` prints what refocusing would do."""

import json

import torch

from refconv.cli import main
from refconv.models.creation import create_model
from refconv.surgery import Budget, Plan, fit_budget, plan, plan_of


def test_plan_prints_the_table_of_the_library(capsys):
    assert main(["plan", "--model", "test_efficientnet", "--num-classes", "7", "--include", "depthwise"]) == 0
    expected = plan(create_model("test_efficientnet", num_classes=7), include="depthwise")
    assert capsys.readouterr().out == f"{expected}\n"


def test_plan_prints_the_record_as_json(capsys):
    assert main(["plan", "--model", "test_resnet", "--map-size", "3,1", "--order", "across", "--json"]) == 0
    record = Plan.from_dict(json.loads(capsys.readouterr().out))
    assert record == plan(create_model("test_resnet"), map_size=(3, 1), order="across")


def test_plan_takes_the_scale_by_the_name_of_the_recipe(capsys):
    arguments = ["plan", "--model", "test_resnet", "--gram-scale"]
    assert main([*arguments, "normalized", "--json"]) == 0
    record = Plan.from_dict(json.loads(capsys.readouterr().out))
    assert record == plan(create_model("test_resnet"), scale="normalized")
    assert main([*arguments, "wide"]) == 2
    assert "expected one of capped, normalized, paper" in capsys.readouterr().err


def test_plan_checks_a_checkpoint(tmp_path, capsys):
    torch.save(create_model("test_resnet", num_classes=5).state_dict(), tmp_path / "a.pth")
    arguments = ["plan", "--model", "test_resnet", "--checkpoint", str(tmp_path / "a.pth"), "--num-classes"]
    assert main([*arguments, "5"]) == 0
    assert main([*arguments, "6"]) == 2
    assert "expected 6 classes, found 5 classes" in capsys.readouterr().err
    assert main([*arguments, "6", "--reset-classifier"]) == 0


def test_plan_says_when_two_sources_of_weights_are_given(tmp_path, capsys):
    arguments = ["plan", "--model", "test_resnet", "--reset-classifier"]
    assert main(arguments) == 2
    assert "reset_classifier: has no effect without checkpoint" in capsys.readouterr().err


def test_plan_shows_another_transformation_and_its_budget(capsys):
    model = create_model("test_resnet")
    arguments = ["plan", "--model", "test_resnet", "--method", "low_rank", "--exclude", "layer4*"]
    assert main([*arguments, "--method-kwargs", "rank=2"]) == 0
    assert capsys.readouterr().out == f"{plan_of(model, 'low_rank', rank=2, exclude='layer4*')}\n"
    assert main([*arguments, "--budget", "5000", "--json"]) == 0
    budget = Budget.from_dict(json.loads(capsys.readouterr().out))
    assert budget == fit_budget(model, "low_rank", 5000, exclude="layer4*")
    assert main([*arguments, "--map-size", "5"]) == 2
    assert "map_size: low_rank has no such setting; expected one of rank, scale" in capsys.readouterr().err
    assert main(["plan", "--model", "test_resnet", "--method", "plain"]) == 2
    assert "plain: unknown transformation; expected one of refocus, " in capsys.readouterr().err


def test_every_setting_of_refocusing_is_a_flag(capsys):
    flags = ["--gram-scale", "paper", "--power", "0.5", "--order", "across", "--map-size", "5", "--start", "kaiming"]
    assert main(["plan", "--model", "test_resnet", *flags]) == 0
    assert "5 x 5" in capsys.readouterr().out


def test_the_model_stands_without_a_flag(capsys):
    assert main(["plan", "resnet18"]) == 0
    alone = capsys.readouterr().out
    assert main(["plan", "--model", "resnet18"]) == 0
    assert capsys.readouterr().out == alone
    assert main(["plan", "resnet18", "--model", "resnet34"]) == 2
    assert "--model: given twice; found resnet18 and resnet34" in capsys.readouterr().err
