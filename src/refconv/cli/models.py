"""Commands about models: what refocusing would do to one, the plain one out of a run, and what two have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refconv.cli import options
from refconv.cli.options import FAILED, PREPROCESSING, REFERENCE, chosen, flag, option, switch, with_recipe_flags
from refconv.cli.saying import say
from refconv.cli.volume import note
from refconv.config import FIELDS, RefocusConfig
from refconv.errors import RunError, SettingError

if TYPE_CHECKING:
    from torch import nn

    from refconv.records import Record

_MODEL = (
    "model", "model_kwargs", "pretrained", "checkpoint", "reset_classifier", "num_classes", "in_chans", "backbone",
)  # fmt: skip
_STAGES = "also show the sums over the layers whose names begin alike, up to DEPTH parts"
_BUDGET = "instead, show which size of the method trains closest to N parameters"


@with_recipe_flags((*_MODEL, "method", "method_kwargs", *FIELDS.values()))
def plan(
    flags: Mapping[str, Any],
    name: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="the same as --model", show_default=False)
    ] = None,
    as_json: options.Json = False,
    budget: Annotated[int | None, option("N", _BUDGET, min=1)] = None,
    stages: Annotated[int | None, option("DEPTH", _STAGES, min=1)] = None,
) -> None:
    """Show which kernels of a model would be refocused, which not and why, and what it costs while training.

    With --method, the same for another transformation of kernels.
    """
    if name is not None and "model" in flags:
        raise SettingError("given twice", where=flag("model"), found=f"{name} and {flags['model']}")
    if stages is not None and (as_json or budget is not None):
        other = "--json" if as_json else "--budget"
        raise SettingError(f"has no effect with {other}", where="--stages", remedy="leave one of them out")
    if name is None and "model" not in flags:
        raise SettingError("missing", where=flag("model"), expected="a timm name, module:function or local-dir:FOLDER")
    from refconv import surgery
    from refconv.models.creation import create_model
    from refconv.parametrizations import resolved

    arguments = {"model": name, **chosen(flags, _MODEL)}
    if "backbone" in arguments:
        arguments["model_kwargs"] = {"backbone": arguments.pop("backbone"), **arguments.get("model_kwargs", {})}
    model = create_model(arguments.pop("model"), **arguments)
    method, settings = resolved(flags.get("method", "refocus")), method_settings(flags)
    found: Record
    if budget is None:
        found = surgery.plan_of(model, method, **settings)
    else:
        found = surgery.fit_budget(model, method, budget, **settings)
    say(found.to_json() if as_json else str(found), nl=not as_json)
    if stages is not None and isinstance(found, surgery.Plan):
        say(f"\n{found.stages(stages)}")


def method_settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is for :func:`refconv.surgery.reparametrize` among the flags that are fields of the recipe."""
    settings = {name: flags[field] for name, field in FIELDS.items() if field in flags}
    if len(settings.get("map_size", ())) == 1:
        (settings["map_size"],) = settings["map_size"]
    return {**flags.get("method_kwargs", {}), **settings}


_ARCHITECTURE = ("num_classes", "in_chans", "model_kwargs")
_KERNELS = tuple(FIELDS.get(name, name) for name in (*RefocusConfig().settings(), *RefocusConfig.unsaid))
_RUN = "a run folder, its checkpoint.pt, or a file of refocused weights with --model"


@with_recipe_flags(("model", *_ARCHITECTURE, *PREPROCESSING, "method", "method_kwargs", *_KERNELS))
def merge(
    flags: Mapping[str, Any],
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_CHECKPOINT", help=_RUN)],
    out: Annotated[Path, option("FOLDER", "the model folder to write", "--out", "-o")],
    force: Annotated[bool, switch("--force", "replace an existing model folder")] = False,
    as_json: options.Json = False,
) -> None:
    """Write the plain model of a run's checkpoint as a model folder, and certify that it computes the same.

    A file of refocused weights that another training program saved is merged too: --model names its architecture. If
    torch.save kept the metadata of model.state_dict(), the file says how its kernels were refocused; else the flags
    --power, --order and so on have to. The folder loads with timm.create_model("local-dir:FOLDER", pretrained=True).
    The exit status is 3 if the certificate does not hold.
    """
    from refconv.models.model_folder import is_model_folder
    from refconv.models.opening import open_model
    from refconv.models.run_folder import check_unused, held
    from refconv.models.weight_files import is_run_checkpoint, weights_file
    from refconv.tasks.model_data import random_input
    from refconv.tasks.registry import task_named

    check_unused(out, force=force)
    if is_model_folder(run):
        what = "is plain already, so there is nothing to merge"
        raise RunError(what, where=str(run), expected="a run or a checkpoint")
    file = run / "checkpoint.pt" if (run / "checkpoint.pt").is_file() else run
    if flags:
        file = weights_file(file)
    given = "model" in flags and not is_run_checkpoint(file)
    if flags and not given:
        why = ": a run says itself what its model is" if "model" in flags else " without --model"
        raise SettingError(f"has no effect{why}", where=flag(next(iter(flags))))
    with held(out, "model folder", force=force):
        before, words = _merge_weights(file, flags, out) if given else _merge_run(file, out)
        written = open_model(str(out))
        certificate = task_named(written.task).certify(before, written.model, random_input(written, 16))
    say(certificate.to_json() if as_json else f"{out}: {words}\n{certificate}", nl=not as_json)
    if not (certificate.same_structure and certificate.same_outputs):
        raise typer.Exit(FAILED)


def _merge_run(file: Path, out: Path) -> tuple[nn.Module, str]:
    """Write the plain model of a run's checkpoint; return the model in training, and what was written in words."""
    from refconv import surgery
    from refconv.models.creation import ModelSpec, restore
    from refconv.models.model_folder import save_model_folder

    restored = restore(file)
    recipe = restored.recipe
    save_model_folder(
        out,
        surgery.plain_state_dict(restored.model),
        name=recipe.model,
        info=restored.info,
        model_kwargs=ModelSpec.of_run(recipe, restored.info).model_kwargs,
        preprocessing=restored.stated.values,
        task=recipe.task,
    )
    return restored.model, f"{recipe.model} after {restored.step:,} steps"


def _merge_weights(file: Path, flags: Mapping[str, Any], out: Path) -> tuple[nn.Module, str]:
    """Write the plain model of a file of refocused weights; return it, and what was written in words."""
    from refconv.models.creation import merge_weights

    given = method_settings(flags)
    settings = {**({"transform": flags["method"]} if "method" in flags else {}), **given}
    stated = chosen(flags, PREPROCESSING)
    built = chosen(flags, _ARCHITECTURE)
    merged = merge_weights(file, flags["model"], out, settings=settings, flags=stated, **built)
    note(f"images: {merged.preprocessing}")
    words = f"{flags['model']} with the weights of {file}"
    if not merged.told:
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
        method = flags.get("method", "refocus")
        words += f", which do not say how their kernels were made; assumed: {method} with {said}"
    return merged.model, words


_WEIGHTS = "a file of weights (.pth, .safetensors and others), or a folder with one"
_NAMES = "names of the outputs: a,b,c, or a file with a name a line, a JSON list or object; default: of the data"
_FOR = "evaluate on this data, record it, and take it by default later"


@with_recipe_flags(("model", *_ARCHITECTURE, "task", "backbone", *PREPROCESSING, "noise", "upscale", "positive"))
def adopt(
    flags: Mapping[str, Any],
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help=_WEIGHTS)],
    out: Annotated[Path, option("FOLDER", "the model folder to write", "--out", "-o")],
    class_names: Annotated[str | None, option("NAMES", _NAMES)] = None,
    data: Annotated[str | None, option("DATA", _FOR)] = None,
    data_dir: options.DataFolder = None,
    force: Annotated[bool, switch("--force", "replace an existing model folder")] = False,
    as_json: options.Json = False,
) -> None:
    """Make weights of your own into a model folder that says what it is: model, task, classes, preprocessing.

    The folder is all that eval, predict, train, improve and export need: eval FOLDER, train --model local-dir:FOLDER
    --pretrained. The numbers of classes and channels are those of the weights. With --data the model is evaluated, the
    result is recorded, and the classes are named as there. The exit status is 3 if the folder computes something else.
    """
    if "model" not in flags:
        raise SettingError("missing", where=flag("model"), expected="a timm name, torchvision:NAME or module:function")
    from refconv.engine.adopting import adopt as adopted, read_class_names

    names = () if class_names is None else read_class_names(class_names)
    settings = {name: value for name, value in flags.items() if name not in PREPROCESSING}
    given = chosen(flags, PREPROCESSING)
    record = adopted(
        weights, settings.pop("model"), out, class_names=names, data=data, data_dir=data_dir, preprocessing=given,
        force=force, **settings,
    )  # fmt: skip
    say(record.to_json() if as_json else str(record), nl=not as_json)
    if not record.holds:
        raise typer.Exit(FAILED)


_AFTER = "the same; weights files need the other, or --model"
_EQUAL = "equal outputs are required too; without --data they are compared on random input"
_COMPARED = "also compare outputs, on the test split of this data"


@with_recipe_flags(PREPROCESSING)
def verify(
    flags: Mapping[str, Any],
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=REFERENCE)],
    after: Annotated[str, typer.Argument(metavar="AFTER", help=_AFTER)],
    data: Annotated[str | None, option("DATA", _COMPARED)] = None,
    data_dir: options.DataFolder = None,
    samples: Annotated[int, option("N", "samples that outputs are compared on", min=1)] = 64,
    equal: Annotated[bool, switch("--equal", _EQUAL)] = False,
    model: options.Like = None,
    pretrained: options.Pretrained = True,
    as_json: options.Json = False,
) -> None:
    """Check whether two models have the same structure and, on data, the same outputs.

    The structure is the names of all weights in their order, with shape, type and whether they train, and the classes.
    Types are those in the files; loading converts weights to the model's own. The values of weights may differ.

    The exit status is 0 if the structure is the same, else 3; with --equal it is 3 also if outputs differ by more than
    rounding. A run or checkpoint counts as the plain model it merges to. The bare name of a model means its pretrained
    weights, and is built with the classes and channels of the other one.
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
    say(certificate.to_json() if as_json else str(certificate), nl=not as_json)
    if not certificate.same_structure or (equal and not certificate.same_outputs):
        raise typer.Exit(FAILED)
