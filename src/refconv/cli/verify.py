"""``refconv verify``: a certificate of what two models have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from refconv.cli import options
from refconv.cli.flags import PREPROCESSING, with_recipe_flags
from refconv.cli.options import REFERENCE, option, switch
from refconv.cli.outputs import FAILED

_AFTER = "the same; weights files need the other, or --model"
_EQUAL = "also require equal outputs; without --data, on random input"


@with_recipe_flags(PREPROCESSING)
def verify(
    flags: Mapping[str, Any],
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=REFERENCE)],
    after: Annotated[str, typer.Argument(metavar="AFTER", help=_AFTER)],
    data: Annotated[str | None, option("DATA", "compare outputs on this data's test split")] = None,
    data_dir: options.DataFolder = None,
    samples: Annotated[int, typer.Option(min=1, help="how many samples to compare outputs on")] = 64,
    equal: Annotated[bool, switch("--equal", _EQUAL)] = False,
    model: options.Like = None,
    pretrained: options.Pretrained = True,
    as_json: options.Json = False,
) -> None:
    """Compare two models: the same keys, order, shapes, types, flags and classes, and on data the same outputs.

    Types are those in the files; loading converts weights to the model's own.

    A model's bare name means its pretrained weights and is built with the other one's classes and channels. Refocused
    models count as the plain ones they merge to. The exit status is 0 if the structure is the same (with --equal: and
    all outputs were compared and agree), else 3.
    """
    from refconv.models.opening import open_pair
    from refconv.tasks.model_data import data_for, first_samples, random_input
    from refconv.tasks.registry import task_named

    first, second = open_pair(before, after, model=model, pretrained=pretrained, flags=flags)
    known = next((side for side in (second, first) if side.stated), second)
    batch = None
    if data is not None:
        batch = first_samples(data_for(known, data, root=data_dir, labelled=False), samples)
    elif equal:
        batch = random_input(known, samples)
    certificate = task_named(known.task).certify(first.model, second.model, batch)
    # Loading converts to the model's dtypes; what is certified is what the files hold.
    one, other = first.stored_dtypes(), second.stored_dtypes()
    unlike = tuple(f"{name}: {one[name]} -> {other[name]}" for name in one if one[name] != other.get(name, one[name]))
    certificate = replace(certificate, dtypes=unlike)
    typer.echo(certificate.to_json() if as_json else str(certificate), nl=not as_json)
    if not certificate.same_structure or (equal and not certificate.same_outputs):
        raise typer.Exit(FAILED)
