"""Which code a recipe names."""

from __future__ import annotations

from refconv.named_code import names_code, trust
from refconv.recipe.recipe import Recipe

_FIELDS = ("model", "data", "loss", "method", "distill")


def code_of(recipe: Recipe) -> list[str]:
    """Return the ``module:function`` of the user's that a recipe names."""
    return [name for field in _FIELDS if names_code(name := getattr(recipe, field))]


def trust_named(recipe: Recipe) -> None:
    """Let files name the code that a recipe names, which the user gives."""
    if named := code_of(recipe):
        trust(*named)
