"""The flag ``--trust`` of every command that reads what somebody else may have written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

from refconv import named_code
from refconv.cli.options import switch
from refconv.named_code import names_code, trusting

_TRUST = switch("--trust", "run code that runs, model folders and checkpoints name: only for files of people you know")


def with_trust(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that takes ``--trust`` and trusts what its flags name, until it ends."""

    @functools.wraps(command)
    def run(*, trust: bool = False, **given: Any) -> Any:
        with trusting(trust):
            for text in given.values():
                if isinstance(text, str) and names_code(text):
                    named_code.trust(text)
            return command(**given)

    flag = inspect.Parameter("trust", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, _TRUST])
    signature = inspect.signature(command, eval_str=True)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), flag])  # type: ignore[attr-defined]  # unknown to mypy
    run.__annotations__ = {**inspect.get_annotations(command, eval_str=True), "trust": flag.annotation}
    return run
