"""Mutants: files that were damaged or changed in one place, and what may come of reading them.

Bytes are flipped, cut, doubled, removed, overwritten and inserted; in structures (JSON, TOML, what ``torch.save``
holds) every node becomes a value of another kind or size, or leaves, moves or is renamed. All are drawn from one seed.
Right is that reading refuses the mutant with an error of refconv in one line, or gives what the original gives, bit by
bit. Of files that people write, or that keep no digest, another value may also be a legal one: then reading must only
not fail in another way. Everything else is a fault: other exceptions, and readers that do not come to an end or take
gigabytes.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import resource
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch

from refconv.errors import RefconvError, RefconvWarning

Read = Callable[[], Any]
Mutant = tuple[str, bytes]

MEMORY = 2 << 30  #: Bytes that a reader may take beside what the process has
SECONDS = 60  #: After which a reader is taken to wait for ever; whole runs of pytest end before that

LONG = 10**400
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, -(2**63), 2**64, LONG, 0.5, -1e-9, 1e308, float("nan"), float("inf"), "", "x",
    "0", "\ud800", "a\x00b", "\x1b[31m\nred", "../../../etc/passwd", "/", "x" * 5000, [], [None], [[]], {}, {"": {}},
    {"x": 1}, [1, "1", None],
)  # fmt: skip
"""What stands in the place of a node."""


def deep(levels: int, kind: str = "[") -> Any:
    """Return lists or mappings inside of one another."""
    value: Any = 0
    for _ in range(levels):
        value = [value] if kind == "[" else {"x": value}
    return value


# Bytes


def bytes_mutants(content: bytes, seed: int, count: int, other: bytes = b"") -> Iterator[Mutant]:
    """Yield mutants of a file's bytes: the same for every file, then drawn ones; ``other`` takes its place."""
    draw = random.Random(seed)
    fixed = {
        "empty": b"", "zeros": bytes(len(content)), "one byte": content[:1], "swapped": other, "twice": content * 2,
        "newline": b"\n", "bom": b"\xef\xbb\xbf" + content, "utf-16": b"\xff\xfe" + content, "null": b"null",
        "number": b"7", "digits": b"9" * 5000, "list": b"[]", "object": b"{}", "text": b'"x"', "nested": b"[" * 100_000,
        "nested objects": b'{"a":' * 50_000, "zip": b"PK\x05\x06" + bytes(18), "gzip": b"\x1f\x8b\x08" + bytes(7),
        "pickle": b"\x80\x02}q\x00.", "eps": EPS, "surrogate": b'"\\ud800"', "invalid utf-8": b"\xff" * 64,
    }  # fmt: skip
    yield from fixed.items()
    size = len(content)
    for number in range(count - len(fixed)):
        kind = draw.choice(("flip", "flip", "flip", "cut", "removed", "doubled", "zeroed", "random", "null", "utf-8"))
        # Heads and tails hold the structure of most formats.
        place = draw.choice(
            (draw.randrange(size), draw.randrange(min(size, 400)), size - 1 - draw.randrange(min(size, 400)))
        )
        span = draw.choice((1, 2, 8, 64, draw.randint(1, size)))
        end = min(size, place + span)
        before, within, after = content[:place], content[place:end], content[end:]
        changed = {
            "flip": before + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :],
            "cut": before,
            "removed": before + after,
            "doubled": before + within + within + after,
            "zeroed": before + bytes(len(within)) + after,
            "random": before + draw.randbytes(len(within)) + after,
            "null": before + b"\x00" + within + after,
            "utf-8": before + b"\xc3\x28\xed\xa0\x80" + within + after,
        }[kind]
        yield f"{number} {kind} at {place} of {size}, {end - place} long", changed


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%touch ghostscript-ran) (w) file\n"


# Structures


def nodes(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every node but the root."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    for key, value in inner:
        yield (*path, key)
        yield from nodes(value, (*path, key))


def _parent(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def lists_of(tree: Any) -> Any:
    """Return a structure whose tuples are lists, so that its nodes can be changed; tensors stay."""
    if isinstance(tree, dict):
        return {key: lists_of(value) for key, value in tree.items()}
    return [lists_of(value) for value in tree] if isinstance(tree, (list, tuple)) else tree


def _tensors(value: torch.Tensor) -> list[Any]:
    # clone: torch.save would keep a whole storage for a part of it
    return [
        value.double(), value.long(), value.bool(), value[None], value.flatten()[:0].clone(), value.new_zeros(3, 3, 3),
        torch.full_like(value.float(), float("nan")), torch.full_like(value.float(), float("inf")), value.to("meta"),
        value.to_sparse() if value.ndim else value[None].to_sparse(), value.to(torch.complex64), value.tolist(),
    ]  # fmt: skip


def tree_mutants(tree: Any, seed: int, count: int) -> Iterator[tuple[str, Any]]:
    """Yield mutants of a structure: values of all kinds in every node, which also leaves, moves or is renamed."""
    draw = random.Random(seed)
    tree = lists_of(tree)
    places = list(nodes(tree))
    wanted = []
    for path in places:
        value = _parent(tree, path)[path[-1]]
        others = _tensors(value) if isinstance(value, torch.Tensor) else []
        wanted += [(path, "value", other) for other in (*others, *VALUES)]
        wanted += [(path, kind, None) for kind in ("removed", "renamed", "surplus", "swapped", "deep", "deep mapping")]
    draw.shuffle(wanted)
    # Every node in turn, so that none is left out where there are more mutants than asked for.
    turns: dict[tuple[Any, ...], int] = Counter()
    ranked = []
    for one in wanted:
        ranked.append((turns[one[0]], one))
        turns[one[0]] += 1
    ranked.sort(key=lambda pair: pair[0])
    for _, (path, kind, value) in ranked[:count]:
        changed = _copied(tree)
        parent, key = _parent(changed, path), path[-1]
        if kind == "value":
            parent[key] = value
        elif kind == "removed":
            del parent[key]
        elif kind in {"renamed", "surplus"} and isinstance(parent, dict):
            parent[draw.choice(("", "x", f"{key} ", f"{key}\ud800", 7))] = parent[key]
            if kind == "renamed":
                del parent[key]
        elif kind in {"renamed", "surplus"}:
            parent.insert(key, copy.copy(parent[key]))
        elif kind == "swapped":
            other = draw.choice(places)
            parent[key] = _copied(_parent(tree, other)[other[-1]])
        else:
            parent[key] = deep(2000, "[" if kind == "deep" else "{")
        yield f"{'.'.join(map(str, path))}: {kind} {str(value)[:40]!r}", changed


def _copied(tree: Any) -> Any:
    """Return a copy of the containers; tensors are shared."""
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def json_bytes(tree: Any) -> bytes:
    """Return JSON as another program would write it, however deep, lone surrogates and long numbers too."""
    with contextlib.suppress(RecursionError):
        return json.dumps(tree, separators=(",", ":")).replace(str(LONG), "9" * 5000).encode()
    pieces: list[str] = []
    stack: list[Any] = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, _Text):
            pieces.append(value)
        elif isinstance(value, dict):
            stack.append(_Text("}"))
            for number, (key, item) in reversed([*enumerate(value.items())]):
                stack += [item, _Text(f"{',' if number else ''}{json.dumps(str(key))}:")]
            stack.append(_Text("{"))
        elif isinstance(value, list):
            stack.append(_Text("]"))
            for number, item in reversed([*enumerate(value)]):
                stack += [item, _Text("," if number else "")]
            stack.append(_Text("["))
        elif value == LONG and type(value) is int:
            pieces.append("9" * 5000)
        else:
            pieces.append(json.dumps(value))
    return "".join(pieces).encode()


class _Text(str):
    """What stands in JSON as it is."""


# Judging


@contextlib.contextmanager
def confined() -> Iterator[None]:
    """Let what is inside end, and take no more than :data:`MEMORY`."""

    def hang(*_: Any) -> None:
        raise TimeoutError("does not come to an end")

    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        size = int(file.read().split()[0]) * resource.getpagesize()
    limits, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, hang)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def outcome(read: Read, original: Any, *, legal: bool, same: Callable[[Any, Any], bool]) -> str | None:
    """Say what came of a mutant: None if it is right, else the fault."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with confined():
                found = read()
        except RefconvError as error:
            return None if one_line(str(error)) else f"several lines: {str(error)!r}"
        except BaseException as error:  # that is what is looked for
            if isinstance(error, KeyboardInterrupt):
                raise
            return f"{type(error).__name__}: {str(error)[:200]!r} at {_place(error)}"
    for warning in said:
        if issubclass(warning.category, RefconvWarning) and not one_line(str(warning.message)):
            return f"a warning of several lines: {str(warning.message)!r}"
    return None if legal or same(found, original) else "a silent difference"


def one_line(text: str) -> bool:
    """Say whether a message is one line that a terminal can show."""
    return bool(text) and text.isprintable() and len(text) < 5000


def _place(error: BaseException) -> str:
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "refconv" in file and "faults" not in file:
            place = f"{file.rpartition('refconv/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
