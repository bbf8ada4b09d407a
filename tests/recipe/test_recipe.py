"""Recipes: read and written without loss, and refused where they make no sense."""

import dataclasses
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))

OTHER_VALUES = {
    "checkpoint": "weights.pth",
    "reset_classifier": True,
    "map_size": [3, 5],
    "include": ["depthwise"],
    "opt": "adamw",
    "opt_kwargs": {"betas": [0.9, 0.99]},
    "model_kwargs": {"width": 0.5},
    "method_kwargs": {"rank": 2, "scale": 0.5},
    "scale": [0.1, 1.0],
    "mean": [0.5],
    "std": [0.25],
    "clip_grad": 1.0,
    "distill": "resnet18",
    "warmup_epochs": 0.5,
}


def recipe(**settings):
    return Recipe(**{"model": "test_resnet", "data": "digits", **settings})


@pytest.mark.parametrize("settings", [{}, OTHER_VALUES], ids=["defaults", "others"])
def test_a_recipe_comes_back_from_toml_the_same(settings, tmp_path):
    written = recipe(**settings)
    path = tmp_path / "recipe.toml"
    path.write_text(written.to_toml({"torch": "2.8"}))
    assert Recipe.from_toml(path) == written
    assert '[versions]\ntorch = "2.8"' in path.read_text()


def test_every_setting_that_may_be_none_is_none_by_default():
    # TOML has no null: leaving the key out must mean None.
    hints = typing.get_type_hints(Recipe)
    optional = [f for f in dataclasses.fields(Recipe) if type(None) in typing.get_args(hints[f.name])]
    assert optional
    assert all(field.default is None for field in optional)


def test_every_setting_has_a_group_and_one_line_of_help():
    for field in dataclasses.fields(Recipe):
        assert field.metadata["group"], field.name
        assert 5 < len(field.metadata["help"]) < 100, field.name
        assert "\n" not in field.metadata["help"]


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('model = "test_resnet"\ndata = "digits"\nlr = 0.5\nepochs = 7\n')
    read = Recipe.from_toml(path, {"lr": 0.25})
    assert (read.lr, read.epochs) == (0.25, 7)


def test_an_unknown_key_is_named_with_the_closest_ones(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('model = "test_resnet"\ndata = "digits"\nweight_decoy = 0.1\n')
    with pytest.raises(RecipeError, match=r"recipe\.toml: weight_decoy: unknown key; did you mean weight_decay"):
        Recipe.from_toml(path)


def test_a_missing_key_is_named():
    with pytest.raises(RecipeError, match="data: missing key"):
        Recipe.from_mapping({"model": "test_resnet"})


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot read the recipe"), ("model = ", "not a TOML file"), (b"\xff\xfe", "cannot read the recipe")],
    ids=["missing", "no toml", "no text"],
)
def test_a_file_that_is_no_recipe_is_refused_by_name(content, words, tmp_path):
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecipeError, match=words) as caught:
        Recipe.from_toml(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": "fast"}, "lr: wrong type; expected a number, found 'fast'"),
        ({"epochs": 1.5}, "epochs: wrong type; expected a whole number"),
        ({"epochs": True}, "epochs: wrong type"),
        ({"amp": 1}, "amp: wrong type; expected true or false"),
        ({"scale": [0.1]}, "scale: wrong type; expected 2 numbers"),
        ({"include": [3]}, "include: wrong type; expected a text"),
        ({"data": "folder:caf\udce9"}, r"data: a name that is not UTF-8, .* found folder:caf\\xe9; rename"),
        ({"mixup_mode": "\ud800"}, r"mixup_mode: a name that is not UTF-8, .* found \\ud800; rename"),
        ({"opt_kwargs": [1]}, "opt_kwargs: wrong type; expected a table"),
        ({"order": "accross"}, "order: unknown word; .* did you mean across"),
        ({"epochs": 0}, "epochs: value out of range; expected at least 1, found 0"),
        ({"distill_temperature": 0}, "distill_temperature: value out of range; expected more than 0"),
        ({"drop": 1.5}, "drop: value out of range; expected at most 1"),
        ({"lr": float("nan")}, "lr: not a finite number"),
        ({"map_size": [3, 0]}, "map_size: value out of range"),
        ({"pretrained": True, "checkpoint": "x"}, "pretrained or checkpoint, not both"),
        ({"reset_classifier": True}, "reset_classifier: has no effect without checkpoint"),
        ({"distill_checkpoint": "x"}, "distill_checkpoint: has no effect without distill"),
        ({"batch_size": 10, "grad_accum_steps": 3}, "grad_accum_steps: .* expected a divisor of batch_size = 10"),
        ({"mean": [0.5]}, "mean and std go together"),
        ({"kernel_lr_scale": 0}, "kernel_lr_scale: value out of range; expected more than 0"),
        ({"kernel_lr_scale": 0.1, "train": "norm"}, "kernel_lr_scale: has no effect where only norms train"),
        ({"train": "norm", "method": "refocus"}, "train: trains no kernel, so refocus has no effect"),
        ({"train": "norm+head", "method": "low_rank"}, "train: trains no kernel, so low_rank has no effect"),
        ({"epoch_steps": 0}, "epoch_steps: value out of range; expected at least 1"),
        ({"snapshots": -1}, "snapshots: value out of range; expected at least 0"),
        ({"scale": [1.0, 0.5]}, "scale: not a range"),
        ({"epochs": 2, "warmup_epochs": 3}, "warmup_epochs: .* longer than the training"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_impossible_setting_is_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        recipe(**settings)


def test_values_are_brought_to_their_types():
    made = recipe(lr=1, map_size=5, include="depthwise", scale=[0.5, 1])
    assert (made.lr, made.map_size, made.include, made.scale) == (1.0, (5,), ("depthwise",), (0.5, 1.0))
    assert isinstance(made.lr, float)


def test_differences_leave_out_what_the_result_does_not_depend_on():
    before, after = recipe(lr=0.1, workers=1, log_interval=3), recipe(lr=0.2, workers=2, log_interval=4, seed=1)
    assert before.differences(after) == ("lr", "seed")
    assert before.differences(before) == ()


def test_differences_name_tables_and_leave_out_what_earlier_versions_wrote_for_nothing():
    assert recipe(model_kwargs={"width": 0.5}).differences(recipe()) == ("model_kwargs",)
    assert recipe(interpolation="bilinear").differences(recipe()) == ()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_that_come_along_can_be_read(path):
    assert Recipe.from_toml(path).epochs > 0


def test_the_papers_recipe_has_the_published_settings():
    paper = Recipe.from_toml(next(path for path in RECIPES if path.stem == "paper-imagenet"))
    assert (paper.opt, paper.lr, paper.momentum, paper.weight_decay) == ("momentum", 0.1, 0.9, 4e-5)
    assert (paper.epochs, paper.warmup_epochs, paper.warmup_prefix, paper.sched) == (100, 5, True, "cosine")
    assert (paper.batch_size, paper.hflip, paper.scale) == (512, 0.5, (0.08, 1.0))
    assert (paper.method, paper.start, paper.order, paper.map_size) == ("refocus", "kaiming", "contiguous", (3,))
    assert paper.pretrained


def test_reading_a_recipe_loads_neither_torch_nor_timm():
    code = "import sys, refconv.recipe.recipe; assert not {'torch', 'timm'} & set(sys.modules), 'loaded'"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_source_of_weights_on_the_command_line_wins_over_the_file(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('model = "test_resnet"\ndata = "digits"\npretrained = true\n')
    recipe = Recipe.from_toml(file, {"checkpoint": "a.pth"})
    assert (recipe.checkpoint, recipe.pretrained) == ("a.pth", False)
    file.write_text('model = "test_resnet"\ndata = "digits"\ncheckpoint = "a.pth"\nreset_classifier = true\n')
    recipe = Recipe.from_toml(file, {"pretrained": True})
    assert (recipe.checkpoint, recipe.pretrained, recipe.reset_classifier) == (None, True, False)
    with pytest.raises(RecipeError, match="two sources of weights"):
        Recipe.from_toml(file, {"pretrained": True, "checkpoint": "b.pth"})


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({}, 0.1),
        ({"method": "refocus"}, 0.1),
        ({"pretrained": True}, 0.01),
        ({"checkpoint": "w.pth", "opt": "momentum"}, 0.01),
        ({"backbone_checkpoint": "w.pth", "opt": "lookahead_sgd"}, 0.01),
        ({"checkpoint": "w.pth", "method": "scratch"}, 0.1),
        ({"opt": "adamw"}, 1e-3),
        ({"pretrained": True, "opt": "AdamW"}, 1e-3),
        ({"checkpoint": "w.pth", "opt": "lookahead_adamw", "method": "refocus"}, 1e-3),
        ({"pretrained": True, "lr": 0.1}, 0.1),
        ({"pretrained": True, "lr": 0}, 0.0),
    ],
)
def test_a_rate_that_is_not_given_depends_on_weights_and_optimizer_and_is_kept(settings, rate, tmp_path):
    recipe = Recipe(model="test_resnet", data="digits", **settings)
    assert recipe.lr == pytest.approx(rate, rel=1e-12)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    assert Recipe.from_toml(tmp_path / "recipe.toml") == recipe
    assert f"lr = {recipe.lr!r}" in recipe.to_toml()
    assert dataclasses.replace(recipe, checkpoint=None, pretrained=False).lr == recipe.lr  # as in a study's runs


@pytest.mark.parametrize(("normalize", "scale"), [(True, "normalized"), (False, "paper")])
def test_recipes_of_before_there_was_a_choice_of_scales_mean_what_they_meant(normalize, scale):
    given = {"model": "test_resnet", "data": "digits"}
    assert Recipe.from_mapping({**given, "normalize": normalize}).gram_scale == scale
    assert Recipe.from_mapping(given).gram_scale == "capped"


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text('model = "resnet18"\ndata = "digits"\n', encoding="utf-8-sig")
    assert Recipe.from_toml(file).model == "resnet18"


@pytest.mark.parametrize("name", ["seed", "epochs", "epoch_steps"])
def test_whole_numbers_that_no_recipe_file_can_hold_are_refused(name):
    words = f"^{name}: too large; expected a whole number of 64 bits, found 9223372036854775808$"
    with pytest.raises(RecipeError, match=words):
        Recipe(model="resnet18", data="digits", **{name: 2**63})
    assert getattr(Recipe(model="resnet18", data="digits", **{name: 2**63 - 1}), name) == 2**63 - 1
