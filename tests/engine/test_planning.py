"""A dry run: the plan of a training run, as text and as JSON, and nothing written."""

import pytest

from refconv.cli import main
from refconv.engine.loop import train
from refconv.engine.planning import RunPlan, plan_run
from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe

SETTINGS = {
    "model": "refconv.models.networks:mobilenet_small",
    "model_kwargs": {"width": 0.25, "strides": [1, 2], "stem_stride": 2}, "data": "digits",
    "val_split": 0.1, "epochs": 2, "batch_size": 256, "device": "cpu", "workers": 0,
}  # fmt: skip


@pytest.mark.parametrize("space", ["kernel", "gradient"])
def test_the_plan_is_what_the_run_then_does(space, tmp_path):
    recipe = Recipe(**SETTINGS, method="refocus", space=space)
    plan, record = plan_run(recipe), train(recipe, tmp_path / "run", show=False)
    for name in ("steps", "epochs", "samples_seen", "space", "sites", "parameters_trained", "preprocessing"):
        assert getattr(plan, name) == getattr(record, name), name
    assert plan.parameters == record.parameters_shipped
    assert (plan.train_samples, plan.val_samples, plan.test_samples) == (1294, 144, 359)
    assert f"{plan.sites} kernels refocused in {space} space" in str(plan)
    assert plan.seconds == pytest.approx(plan.steps * plan.step_ms / 1000)


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--recipe", "digits", "--device", "cpu", "--workers", "0", "--dry-run"]
    assert main(["train", *flags]) == 0
    assert "steps of 64 samples" in capsys.readouterr().out
    assert main(["train", *flags, "--json", "-o", "run"]) == 0
    assert RunPlan.from_json(capsys.readouterr().out).recipe["data"] == "digits"
    assert not list(tmp_path.iterdir())


def test_a_dry_run_finds_what_the_run_would_stop_at():
    with pytest.raises(RecipeError, match=r"sched_kwargs\.wings: unknown argument of a schedule"):
        plan_run(Recipe(**SETTINGS, sched="step", sched_kwargs={"wings": 2}))
