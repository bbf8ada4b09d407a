"""Studies: what is read, and what is refused with which words."""

import pytest

from refconv.errors import StudyError
from refconv.records import tomllib
from refconv.studies import read_study
from small_studies import TINY, changed, study, write


def only(items):
    (item,) = items
    return item


def test_a_study_gives_each_run_its_settings(tmp_path):
    read = study(tmp_path, methods={"wide": {"method": "refocus", "gram_scale": "paper", "grid": {"power": [0.5, 1]}}})
    net = only(read.architectures)
    assert read.seeds == (0, 1)
    assert read.selection_seeds == (1000,)
    assert (net.samples, net.base.samples) == (1000, 2000)
    base = read.base_recipe(net, seed=5, epochs=7)
    assert (base.method, base.lr, base.seed, base.epochs, base.test, base.val_split) == ("plain", 0.1, 5, 7, False, 0.2)
    wide = read.methods[-1]
    assert wide.points == tuple({"lr": lr, "power": power} for lr in (0.01, 0.05) for power in (0.5, 1))
    run = read.recipe(net, wide, {"lr": 0.05, "power": 0.5}, seed=5, epochs=7, base="there", test=True)
    assert (run.method, run.gram_scale, run.power, run.lr, run.checkpoint, run.test) == (
        "refocus", "paper", 0.5, 0.05, "there", True,
    )  # fmt: skip
    assert run.differences(base) == ("checkpoint", "method", "gram_scale", "power", "lr", "test")


def test_settings_of_an_architecture_win_over_those_of_the_study(tmp_path):
    other = {**TINY["architectures"]["mobilenet"], "batch_size": 32, "samples": 500, "base": {"lr": 0.3}}
    read = study(tmp_path, architectures={"other": other})
    net = read.architectures[1]
    assert (net.samples, net.base.samples) == (500, 2000)
    assert read.base_recipe(net, seed=0, epochs=1).lr == 0.3
    assert read.base_recipe(net, seed=0, epochs=1).batch_size == 32
    assert read.base_recipe(read.architectures[0], seed=0, epochs=1).lr == 0.1


def test_a_methods_own_value_replaces_the_grid_of_the_study(tmp_path):
    fixed, own = {"method": "plain", "lr": 0.2}, {"method": "plain", "grid": {"lr": [1]}}
    read = study(tmp_path, methods={"fixed": fixed, "own": own})
    assert read.methods[2].points == ({},)
    assert read.methods[3].points == ({"lr": 1},)


def test_tables_of_a_method_are_joined_with_those_of_its_grid(tmp_path):
    read = study(tmp_path, methods={"adam": {
        "method": "plain", "opt": "adamw", "opt_kwargs": {"eps": 1e-6},
        "grid": {"opt_kwargs": [{"betas": [0.9, 0.99]}]},
    }})  # fmt: skip
    method = read.methods[-1]
    net, point = only(read.architectures), method.points[0]
    recipe = read.recipe(net, method, point, seed=0, epochs=1, base=None, test=True)
    assert recipe.opt_kwargs == {"eps": 1e-6, "betas": [0.9, 0.99]}


def test_given_weights_are_the_base_of_every_method(tmp_path):
    read = study(tmp_path, base={"samples": None, "lr": None, "checkpoint": "weights.pth", "reset_classifier": True})
    net = only(read.architectures)
    recipe = read.recipe(net, read.methods[0], {"lr": 0.1}, seed=0, epochs=1, base=None, test=True)
    assert net.base.given
    assert (recipe.checkpoint, recipe.reset_classifier) == ("weights.pth", True)
    own = study(
        tmp_path, architectures={"mobilenet": {**TINY["architectures"]["mobilenet"], "base": {"pretrained": True}}}
    )
    assert only(own.architectures).base.given  # the study's samples and lr are for bases trained here


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"study": {"seedz": 3}}, "study.seedz: unknown key; did you mean seeds"),
        ({"study": {"seeds": None}}, "study.seeds: missing key"),
        ({"study": {"seeds": [1, 1]}}, "study.seeds: wrong value; expected how many, or a list of different"),
        ({"study": {"seeds": [1000, 1]}}, "study.selection_seeds: a final run must not help .* found 1000"),
        ({"study": {"select_by": "los"}}, "did you mean loss"),
        ({"study": {"select_by": "ece"}}, "study.select_by: wrong value; expected one of top1, "),
        ({"study": {"reference": "plane"}}, "study.reference: no such method; expected one of plain, refocus"),
        ({"study": {"val_split": 1.0}}, "study.val_split: .* from 0 to below 1"),
        ({"study": {"samples": 0}}, "study.samples: .* a whole number from 1 on, found 0"),
        ({"study": {"keep": "none"}}, "study.keep: .* records, models, all"),
        ({"study": {"name": 3}}, "study.name: .* a text"),
        ({"study": None}, "study: missing key"),
        ({"methods": None}, "methods: missing key"),
        ({"grit": {"lr": [1]}}, "grit: unknown key; did you mean grid"),
        ({"grid": {"lr": 0.1}}, "grid.lr: wrong value; expected a list of different values, found 0.1"),
        ({"grid": {"lr": [0.1, 0.1]}}, "grid.lr: .* different values"),
        ({"grid": {"lr": [0.1, -1]}}, "methods.plain: lr: value out of range; expected at least 0"),
        ({"grid": {"batch_size": [32, 64]}}, "grid.batch_size: is not set here"),
        ({"recipe": {"seed": 3}}, "recipe.seed: is not set here: the study gives it to each run"),
        ({"recipe": {"batch_sise": 3}}, "recipe.batch_sise: unknown key; did you mean batch_size"),
        ({"recipe": {"hflip": 3}}, "architectures.mobilenet: hflip: value out of range"),
        ({"base": {"samples": None}}, "architectures.mobilenet.base: no base; expected samples"),
        ({"base": {"checkpoint": "x"}}, "architectures.mobilenet.base: two sources .* found samples and checkpoint"),
        ({"base": {"samples": None, "checkpoint": "x"}}, "base: has no effect beside weights that are given; found lr"),
        ({"base": {"samples": None, "lr": None, "backbones": "x"}}, "methods.plain: is trained from the backbone"),
        ({"base": {"backbones": "x"}}, "architectures.mobilenet.base: two sources .* found samples and backbones"),
        ({"methods": {"big": {"batch_size": 3}}}, "methods.big.batch_size: is the same for every method"),
        ({"methods": {"big": {"distill": "x"}}}, "methods.big.distill: is the same for every method"),
        ({"methods": {"big": {"epochs": 3}}}, "methods.big.epochs: is not set here"),
        ({"methods": {"big": {"lr": 1, "grid": {"lr": [1, 2]}}}}, "methods.big.lr: given twice"),
        ({"methods": {"big": {"nesterof": True}}}, "methods.big.nesterof: unknown key"),
        ({"methods": {"big": {"power": "x"}}}, "methods.big: power: wrong type; expected a number"),
        ({"methods": {"big": {"from_base": 1}}}, "methods.big.from_base: .* true or false"),
        ({"methods": {"big": 3}}, "methods.big: wrong value; expected a table, found 3"),
        ({"methods": {"a/b": {"method": "plain"}}}, "methods.a/b: cannot be the name of a folder; expected letters"),
        ({"methods": {"..": {"method": "plain"}}}, "cannot be the name of a folder"),
        ({"architectures": {"mobilenet": {"modell": "x"}}}, "mobilenet.modell: unknown key; did you mean model"),
        ({"architectures": {"mobilenet": {}}}, "architectures.mobilenet: model: missing key"),
    ],
)  # fmt: skip
def test_a_study_says_in_one_line_what_is_wrong(tmp_path, tables, words):
    with pytest.raises(StudyError, match=words) as caught:
        study(tmp_path, **tables)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "study.toml"))


def test_a_method_may_average_its_weights_and_choose_the_decay(tmp_path):
    averaged = {"method": "plain", "model_ema": True, "grid": {"model_ema_decay": [0.9, 0.99]}}
    found = study(tmp_path, methods={"averaged": averaged}).methods[-1]
    assert found.settings["model_ema"] is True
    assert {point["model_ema_decay"] for point in found.points} == {0.9, 0.99}


def test_starting_anew_needs_a_base_that_was_trained_here(tmp_path):
    given = {"samples": None, "lr": None, "checkpoint": "weights.pth"}
    with pytest.raises(StudyError, match="methods.scratch: cannot start anew .* train the base of mobilenet"):
        study(tmp_path, base=given, methods={"scratch": {"method": "plain", "from_base": False}})


def test_a_file_that_is_no_study_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text("[study\n")
    with pytest.raises(StudyError, match="not a TOML file"):
        read_study(tmp_path / "a.toml")
    with pytest.raises(StudyError, match="cannot read the study"):
        read_study(tmp_path / "b.toml")
    write(tmp_path, {**changed(), "methods": {}})
    with pytest.raises(StudyError, match=r"methods: empty; expected at least one table \[methods.NAME\]"):
        read_study(tmp_path / "study.toml")
    assert tomllib.loads(study(tmp_path).text) == TINY


def test_timms_other_names_are_read_as_in_recipes(tmp_path):
    ours = study(tmp_path, recipe={"loss": "bce", "loss_kwargs": {"sum_classes": True}, "log": ["csv"]})
    timms = study(tmp_path, recipe={"bce_loss": True, "bce_sum": True, "log": ["csv"]})
    assert timms.architectures == ours.architectures
    with pytest.raises(StudyError, match=r"recipe: amp_dtype: amp computes in bfloat16"):
        study(tmp_path, recipe={"amp_dtype": "float16"})
