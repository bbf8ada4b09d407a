"""What the source of modules says of kernels: those that they write to in their forward, and convolutions without any.

Networks of the field generate kernels from a few numbers and write them into a convolution at each forward, or apply
kernels that they make for each input. Neither shows in their tensors, so their methods are read. Only what a forward
reaches through methods of ``self`` is looked at; where there is no source, nothing is found.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from torch import nn

_ENTRANCES = ("forward", "train", "eval")
_CONVOLUTIONS = {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)} | {"deform_conv2d", "unfold"}
_HARMLESS = {"requires_grad_", "retain_grad"}


@dataclass(frozen=True)
class Reading:
    """What the methods of a class say."""

    #: attributes, dotted and empty for the module itself, whose ``weight`` is written to, and the method that does
    writes: dict[str, str]
    applies: frozenset[str]  #: functions that convolve or unfold, which are called


@functools.cache
def reading(kind: Any) -> Reading:
    """Read what the forward of a class reaches; classes of torch itself say nothing."""
    writes: dict[str, str] = {}
    applies: set[str] = set()
    waiting, done = list(_ENTRANCES), set[str]()
    while waiting:
        name = waiting.pop()
        function = inspect.getattr_static(kind, name, None)
        if name in done or not isinstance(function, FunctionType) or _of_torch(function.__module__):
            continue
        done.add(name)
        for node in ast.walk(_tree(function)):
            for path in _written(node):
                writes.setdefault(path, f"{kind.__name__}.{name}")
            if isinstance(node, ast.Call):
                called = _chain(node.func)
                if called[-1:] and called[-1] in _CONVOLUTIONS:
                    applies.add(called[-1])
                if len(called) == 2 and called[0] == "self":
                    waiting.append(called[1])
    return Reading(writes, frozenset(applies))


def written_kernels(model: nn.Module) -> dict[str, str]:
    """Return the names of the modules whose kernel is written to in a forward, each with the method that does."""
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        for path, method in reading(_plain(module)).writes.items():
            found[".".join(filter(None, (name, path)))] = method
    return found


def functional_convolutions(model: nn.Module, layers: set[str]) -> tuple[str, ...]:
    """Return the modules, but those of these names, that convolve or unfold with kernels of no convolution module."""
    return tuple(
        f"{name or '(the model)'} ({_plain(module).__name__}: {', '.join(sorted(found))})"
        for name, module in model.named_modules()
        if name not in layers and (found := reading(_plain(module)).applies)
    )


def _plain(module: nn.Module) -> Any:
    """Return the class that was written; torch's parametrizations put one of their own in front."""
    kind = type(module)
    return kind.__bases__[0] if kind.__name__.startswith("Parametrized") and kind.__bases__ else kind


def _of_torch(module: str) -> bool:
    return module.partition(".")[0] == "torch"


def _tree(function: FunctionType) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return ast.Module(body=[], type_ignores=[])


def _chain(node: ast.AST) -> list[str]:
    """Return the names of ``a.b[0].c`` as a list; empty for any other expression."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Subscript):
        inner, index = _chain(node.value), node.slice
        return [*inner, str(index.value)] if inner and isinstance(index, ast.Constant) else inner
    if isinstance(node, ast.Attribute):
        inner = _chain(node.value)
        return [*inner, node.attr] if inner else []
    return []


def _written(node: ast.AST) -> Iterator[str]:
    """Yield the attribute of ``self`` whose kernel a statement or call writes to."""
    targets: list[ast.AST] = []
    if isinstance(node, ast.Assign):
        targets = [part for target in node.targets for part in getattr(target, "elts", [target])]
    elif isinstance(node, ast.AugAssign):
        targets = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if name.endswith("_") and not name.endswith("__") and name not in _HARMLESS:
            targets = [node.func.value]
    for target in targets:
        chain = _chain(target.value if isinstance(target, ast.Subscript) else target)
        if chain[-1:] == ["data"]:
            chain = chain[:-1]
        if len(chain) > 1 and chain[0] == "self" and chain[-1] == "weight":
            yield ".".join(chain[1:-1])
