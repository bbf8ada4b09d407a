"""The demo: a small network that was trained on the digits for a short time, and `improve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from refconv.engine.loop import train
from refconv.improvement.config import Budget, ImproveConfig
from refconv.improvement.improving import improve_recipe
from refconv.improvement.record import ImproveRecord
from refconv.models.run_folder import RunFolder
from refconv.recipe.recipe import Recipe


def demo(
    out: Path, *, epochs: int = 2, budget: str = "200ep", show: bool = True, say: Callable[[str], None] = print
) -> ImproveRecord:
    """Train a base for a few epochs and improve it; what an earlier call finished is kept."""
    common = {
        "model": "refconv.models.networks:mobilenet_small", "data": "digits", "val_split": 0.2, "batch_size": 64,
        "device": "cpu", "workers": 0,
    }  # fmt: skip
    base = RunFolder(out / "base")
    say(f"1/2 a network to start from: {base.path}")
    recipe = Recipe.from_mapping({**common, "epochs": epochs, "lr": 0.1, "log_interval": 10**6, "test": False})
    train(recipe, base.path, resume=base.checkpoint_file.is_file(), show=show)
    say(f"2/2 refconv improve: {out / 'improve'}")
    recipe = Recipe.from_mapping({**common, "checkpoint": str(base.path), "pad_crop": 1})
    config = ImproveConfig(budget=Budget.parse(budget), threads=1, show=show)
    record = improve_recipe(recipe, out / "improve", config, given=("batch_size",))
    assert record is not None  # this is no dry run
    return record
