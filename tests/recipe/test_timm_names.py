"""timm's other names mean settings of the recipe, in recipes and on the command line alike."""

import pytest

from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe
from refconv.recipe.timm_names import scaled_rate, translated

NEEDED = {"model": "test_resnet", "data": "digits"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"initial_checkpoint": "w.pt"}, {"checkpoint": "w.pt"}),
        ({"reprob": 0.2}, {"re_prob": 0.2}),
        ({"drop_connect": 0.1}, {"drop_path": 0.1}),
        ({"val_interval": 3, "recovery_interval": 9}, {"eval_interval": 3, "checkpoint_interval": 9}),
        ({"kd_model_name": "a", "kd_temperature": 4.0}, {"distill": "a", "distill_temperature": 4.0}),
        ({"input_size": [1, 64, 64]}, {"in_chans": 1, "img_size": 64}),
        ({"amp": True, "amp_dtype": "bfloat16"}, {"amp": True}),
        ({"gp": "max", "bn_momentum": 0.2}, {"model_kwargs": {"global_pool": "max", "bn_momentum": 0.2}}),
        ({"opt_eps": 1e-6, "opt_kwargs": {"a": 1}}, {"opt_kwargs": {"eps": 1e-6, "a": 1}}),
        ({"bce_loss": True, "bce_target_thresh": 0.2, "bce_sum": True},
         {"loss": "bce", "loss_kwargs": {"target_threshold": 0.2, "sum_classes": True}}),
        ({"bce_loss": False}, {}),
        ({"log_wandb": True, "log": ["csv"], "wandb_project": "p"},
         {"log": ("csv", "wandb"), "log_kwargs": {"project": "p"}}),
        ({"tensorboard": True}, {"log": ("tensorboard",)}),
        ({"tensorboard": False}, {}),
        ({"no_aug": True}, {}),
        ({"sched": "step", "decay_epochs": 30, "decay_rate": 0.2},
         {"sched": "step", "sched_kwargs": {"decay_epochs": 30, "decay_rate": 0.2}}),
        ({"lr_base": 0.5, "batch_size": 64}, {"lr": 0.125, "batch_size": 64}),
        ({"lr_base": 0.5, "batch_size": 64, "opt": "adamw"}, {"lr": 0.25, "batch_size": 64, "opt": "adamw"}),
        ({"lr_base": 0.5, "lr_base_size": 128, "batch_size": 64, "opt": "adamw", "lr_base_scale": "linear"},
         {"lr": 0.25, "batch_size": 64, "opt": "adamw"}),
    ],
)  # fmt: skip
def test_a_name_of_timms_means_a_setting(given, meant):
    assert Recipe.from_mapping({**NEEDED, **given}) == Recipe(**NEEDED, **meant)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"input_size": [3, 224, 192]}, "input_size: not the size of an image; .*found 3 224 192"),
        ({"amp_dtype": "float16"}, "amp_dtype: amp computes in bfloat16, .*; expected bfloat16, found 'float16'"),
        ({"dataset": "mnist1d"}, "data: given twice; found 'digits', and 'mnist1d' by dataset"),
        ({"lr": 0.1, "lr_base": 0.1}, "lr: given twice"),
        ({"lr_base_scale": "sqrt"}, "lr_base_scale: has no effect without lr_base"),
        ({"lr_base": 0.1, "lr_base_scale": "cube"}, "lr_base_scale: unknown word"),
        ({"lr_base": -1.0}, "lr_base: not a positive number"),
        ({"no_aug": True, "hflip": 0.5}, "hflip: given twice"),
        ({"bce_sum": True}, "loss_kwargs: has no effect without loss"),
        (
            {"decay_epochs": 30},
            "sched_kwargs.decay_epochs: has no effect on the schedule cosine; expected sched = step",
        ),
        ({"sched": "step", "lr_k_decay": 2.0}, "sched_kwargs.k_decay: has no effect on the schedule step"),
    ],
)
def test_what_has_no_meaning_is_refused(given, words):
    with pytest.raises(RecipeError, match=words):
        Recipe.from_mapping({**NEEDED, **given})


def test_a_flag_adds_to_a_table_of_the_recipe_unless_it_names_what_the_table_is_for(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(Recipe(**NEEDED, sched="step", sched_kwargs={"decay_rate": 0.2}).to_toml())
    assert Recipe.from_toml(file, {"decay_epochs": 30.0}).sched_kwargs == {"decay_rate": 0.2, "decay_epochs": 30.0}
    other = Recipe.from_toml(file, {"sched": "multistep", "decay_milestones": (3, 4)})
    assert other.sched_kwargs == {"decay_milestones": [3, 4]} or other.sched_kwargs == {"decay_milestones": (3, 4)}


def test_translating_twice_changes_nothing():
    once = translated({"bce_loss": True, "decay_epochs": 30.0, "log_wandb": True, "lr_base": 0.1})
    assert translated(once) == once


@pytest.mark.parametrize(("opt", "factor"), [("sgd", 0.25), ("lamb", 0.5), ("adafactor", 0.5), ("rmsprop", 0.25)])
def test_rates_follow_the_batch_size_as_in_timms_program(opt, factor):
    # Its words: sqrt for any optimizer whose name contains ada or lamb, else linear.
    assert scaled_rate(0.4, batch_size=64, base_size=256, opt=opt) == pytest.approx(0.4 * factor)
