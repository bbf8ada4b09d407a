"""The space in which a recipe refocuses: kernel space, with explicit refocus weights, or gradient space, without.

Imports nothing heavy, since recipes are checked before anything is loaded.
"""

from __future__ import annotations

from typing import Literal, Protocol

from refconv.errors import RecipeError

Space = Literal["kernel", "gradient"]

NESTEROV = {"sgd": True, "nesterov": True, "momentum": False}
"""timm's names of torch's SGD, for which gradient space is equivalent, and whether they mean Nesterov's momentum."""

LOOKAHEAD = "lookahead_"
"""timm's prefix for averaging an optimizer's steps, which is linear, so that it changes nothing here."""


class Settings(Protocol):
    """Those fields of a recipe that decide the space, or have a meaning in one space only."""

    @property
    def method(self) -> str:
        """What is done to the kernels."""

    @property
    def space(self) -> str:
        """The space asked for, or ``auto``."""

    @property
    def opt(self) -> str:
        """The optimizer, by timm's name."""

    @property
    def clip_grad(self) -> float | None:
        """The limit of clipping."""

    @property
    def clip_mode(self) -> str:
        """What is clipped."""

    @property
    def decay(self) -> str:
        """What weight decay pulls kernels to."""

    @property
    def rounds(self) -> int:
        """Rounds of training."""

    @property
    def model_ema(self) -> bool:
        """Whether weights are averaged."""


def space_of(recipe: Settings) -> Space | None:
    """Return the space in which a recipe refocuses; None if it does not."""
    if recipe.method != "refocus":
        return None
    if recipe.space != "auto":
        return "gradient" if recipe.space == "gradient" else "kernel"
    return "kernel" if _obstacle(recipe) else "gradient"


def check_space(recipe: Settings) -> None:
    """Check that a recipe refocuses in a space in which its other settings have a meaning.

    Raises:
        RecipeError: if it does not; the remedy names the way out.
    """
    space = space_of(recipe)
    if space is None:
        return
    obstacle = _obstacle(recipe)
    if space == "gradient" and obstacle:
        where, what, remedy = obstacle
        raise RecipeError(f"gradient space is {what}", where=where, remedy=remedy)
    if space == "kernel" and recipe.decay == "kernel":
        raise RecipeError(
            "kernel space decays refocus weights, which pulls kernels towards their bases, not towards zero",
            where="decay",
            expected="refocus or none",
            found="'kernel'",
            remedy="space = gradient, with an optimizer that is SGD",
        )
    if space == "kernel" and recipe.rounds > 1 and recipe.model_ema:
        raise RecipeError(
            "an average over several bases is not the average of the kernels",
            where="rounds",
            expected="1 with model_ema in kernel space",
            found=str(recipe.rounds),
            remedy="space = gradient, or no model_ema",
        )


def _obstacle(recipe: Settings) -> tuple[str, str, str] | None:
    """Return what of a recipe is not equivalent in gradient space: the setting, why, and the remedy."""
    if recipe.opt.lower().removeprefix(LOOKAHEAD) not in NESTEROV:
        return "opt", f"equivalent under SGD only, not under {recipe.opt}", "opt = momentum or sgd, or space = kernel"
    if recipe.clip_grad is not None and recipe.clip_mode != "norm":
        return (
            "clip_mode",
            f"not equivalent under clipping by {recipe.clip_mode}, which acts on entries of the refocus weight",
            "clip_mode = norm, or space = kernel",
        )
    return None
