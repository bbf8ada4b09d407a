"""Commands that train: one run, a search for the best way, methods compared, the demonstration; and data to run on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refconv.cli.arguments import ALONE, AUTO
from refconv.cli.options import FAILED, Json, RecipeFile, option, switch, table, with_recipe_flags
from refconv.cli.saying import say
from refconv.errors import SettingError, StudyError
from refconv.models.run_folder import RunFolder
from refconv.named_code import check_trusted
from refconv.process.volume import quiet
from refconv.process.workers import start_ahead
from refconv.recipe.code import code_of
from refconv.recipe.recipe import Recipe, read_settings
from refconv.recipe.shipped import resolved

if TYPE_CHECKING:
    from refconv.improvement import ImproveRecord

_OUTPUT = "the same as --out; with --experiment the folder that the run's is made in (default: runs)"
Output = Annotated[Path | None, option("FOLDER", _OUTPUT, "--output", hidden=True)]
Experiment = Annotated[str | None, option("NAME", "name of the run's folder in --output", "--experiment", hidden=True)]


_WAYS = "resume the run in --out, its recipe is the default; auto: start it if it has no checkpoint yet"
_RESUME = option(AUTO, _WAYS, "--resume")


@with_recipe_flags()
def train(
    flags: Mapping[str, Any],
    out: Annotated[Path | None, option("RUN", "folder of the run, written here", "--out", "-o")] = None,
    output: Output = None,
    experiment: Experiment = None,
    recipe: RecipeFile = None,
    resume: Annotated[str | None, _RESUME] = None,
    dry_run: Annotated[bool, switch("--dry-run", "open data and model, time a few steps, show the plan, stop")] = False,
    as_json: Json = False,
) -> None:
    """Train a model on images or signals, plainly or with its kernels refocused.

    The run folder gets the recipe, metrics, a resumable checkpoint, a record, and the plain result in RUN/model.
    """
    if resume not in {None, ALONE, "auto"}:
        remedy = "write --resume without a value, or auto; the folder of the run is --out"
        raise SettingError("not a way to resume", where="--resume", expected="auto", found=repr(resume), remedy=remedy)
    if dry_run and resume:
        raise SettingError("cannot be combined with --resume", where="--dry-run")
    folder = None if dry_run and not (out or output or experiment) else _folder(out, output, experiment)
    if resume == "auto" and folder is not None and not RunFolder(folder).checkpoint_file.is_file():
        resume = None
    # The command that began a run says all that its recipe does.
    lost = folder is not None and {"model", "data"} <= flags.keys() and not RunFolder(folder).recipe_file.is_file()
    if folder is not None and recipe is None and resume and not lost:
        recipe = RunFolder(folder).recipe_to_resume()
        known = Recipe.from_toml(recipe)
        check_trusted(code_of(known), where=str(recipe))
        # Other data is not in the folder of the run's data.
        if flags.get("data", known.data) != known.data:
            flags = {"data_dir": None, **flags}
    settings = _recipe(recipe, flags)
    if settings.workers and set(settings.data) & {":", "/"}:  # data that are not held in memory
        start_ahead()
    first = os.environ.get("RANK", "0") == "0"  # under torchrun the first process speaks
    if folder is None or dry_run:
        from refconv.engine.planning import plan_run

        planned = plan_run(settings)
        if first:
            say(planned.to_json() if as_json else str(planned), nl=not as_json)
        return
    from refconv.engine.loop import train as run

    record = run(settings, folder, resume=resume is not None, show=not as_json)
    if as_json and first:
        say(record.to_json(), nl=False)
    elif quiet() and first:
        from refconv.engine.loop import last_line

        say(last_line(record, settings, RunFolder(folder)))


def _folder(out: Path | None, output: Path | None, experiment: str | None) -> Path:
    """Return the folder to write: --out, or as timm's train.py names it."""
    if out is not None and (output is not None or experiment is not None):
        other = "--output" if experiment is None else "--experiment"
        raise SettingError("given twice", where="--out", found=f"--out and {other}", remedy="leave one of them out")
    if experiment is not None:
        return (output or Path("runs")) / experiment
    found = out or output
    if found is None:
        raise SettingError("missing", where="--out", expected="the folder to write")
    return found


def _recipe(file: Path | None, flags: Mapping[str, Any]) -> Recipe:
    if file is not None:
        return Recipe.from_toml(resolved(file, "recipes"), flags)
    if "model" not in flags and "checkpoint" in flags:
        from refconv.models.creation import named_by

        flags = {**named_by(flags["checkpoint"]), **flags}
    if not {"model", "data"} <= flags.keys():
        missing = "--data" if "model" in flags else "--model"
        raise SettingError("missing", where=missing, remedy="give it, or a whole recipe by --recipe FILE")
    return Recipe.from_mapping(flags)


def _given(file: Path | None, flags: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the settings that the user gave, by flags or in a recipe."""
    return tuple(flags if file is None else read_settings(resolved(file, "recipes"), flags))


_DECIDED = frozenset((
    "method", "method_kwargs", "budget", "map_size", "order", "start", "gram_scale", "power", "damping", "rounds",
    "space", "decay", "train", "kernel_lr_scale", "epochs", "epoch_steps", "model_ema", "model_ema_decay",
    "model_ema_warmup", "distill", "distill_checkpoint", "distill_alpha", "distill_temperature",
    "distill_features", "distill_features_weight", "test", "snapshots", "eval_interval",
))  # fmt: skip
"""Settings of a recipe that the search decides."""

_JOBS = "runs at a time; default: GPUs, or 1; ray: as the cluster has room; slurm: 16"
_EXECUTOR = "where runs are executed: local, ray or slurm"
_OPTIONS = "what a run gets on ray or slurm, such as gpus=0.5 or partition=NAME; may be given several times"
_EXPORTS = "also write the result as onnx, pt2, torchscript or openvino, checked; may be given several times"
_CONTENDER = "only these ways to train, such as 'plain'"
_NAMES = [name for name in Recipe.__dataclass_fields__ if name not in _DECIDED]


@with_recipe_flags(_NAMES)
def improve(
    flags: Mapping[str, Any],
    budget: Annotated[str, option("AMOUNT", "of all training together: 40ep, 2h, 1h30m or '400k samples'")],
    out: Annotated[Path | None, option("FOLDER", "folder of the result and of all runs", "--out", "-o")] = None,
    output: Output = None,
    experiment: Experiment = None,
    contenders: Annotated[list[str] | None, option("PATTERN", _CONTENDER, "--contender")] = None,
    teacher: Annotated[str | None, option("MODEL", "also distil from this model; base: the network as it is")] = None,
    exports: Annotated[list[str] | None, option("FORMAT", _EXPORTS, "--export")] = None,
    jobs: Annotated[int | None, option("N", _JOBS, min=1)] = None,
    threads: Annotated[int | None, option("N", "threads of each run on a CPU", min=1)] = None,
    executor: Annotated[str, option("WORD", _EXECUTOR)] = "local",
    executor_options: Annotated[list[str] | None, option("KEY=VALUE", _OPTIONS)] = None,
    dry_run: Annotated[bool, switch("--dry-run", "measure the network and show the plan, then stop")] = False,
    no_check: Annotated[bool, switch("--no-check", "also train a network that does no better than guessing")] = False,
    recipe: RecipeFile = None,
    as_json: Json = False,
) -> None:
    """Train a trained network further in several ways within one budget, and keep the best result.

    The network is measured, contenders are tried at several learning rates, the weights of the best are averaged where
    that helps, and the validation split decides. The test split is read once, at the end. The result has the structure
    of the network it came from and lies in FOLDER/model, with a report beside it. The same command goes on after an
    interruption.
    """
    folder = _folder(out, output, experiment)
    from refconv.improvement import Budget, ImproveConfig, improve_recipe
    from refconv.improvement.improving import plan_improvement
    from refconv.improvement.looking import said

    common = _recipe(recipe, flags)
    config = ImproveConfig(
        budget=Budget.parse(budget), contenders=tuple(contenders or ()), teacher=teacher, exports=tuple(exports or ()),
        jobs=jobs, threads=threads, executor=executor, executor_options=table("executor_options", executor_options),
        check=not no_check, show=not (as_json or quiet()),
    )  # fmt: skip
    given = _given(recipe, flags)
    if dry_run:
        planned = plan_improvement(common, folder, config, given=given)
        if as_json or quiet():
            say(planned.to_json() if as_json else "\n".join(said(planned)), nl=not as_json)
        return
    record = improve_recipe(common, folder, config, given=given)
    assert record is not None  # this is no dry run
    _tell(record, folder, as_json=as_json)


def _tell(record: ImproveRecord, out: Path, *, as_json: bool = False) -> None:
    """Show what an improvement found and where it is; end with a status of its own if the certificate fails."""
    from refconv.improvement import improving, verdict

    if as_json:
        say(record.to_json(), nl=False)
    elif sys.stdout.isatty():
        _draw(verdict.result_table(record), record.verdict, right=True)
        say(f"\n{record.certificate}")
    else:
        say(f"\n{verdict.markdown(record)}")
    if not as_json:
        say(f"\n{out}: model, {improving.REPORT_FILE}, {improving.RECORD_FILE}")
    if not (record.certificate.same_structure and all(one.holds for one in record.exports)):
        raise typer.Exit(FAILED)


def compare(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="the study")],
    out: Annotated[Path | None, option("FOLDER", "folder; default: runs/NAME of the study", "--out", "-o")] = None,
    jobs: Annotated[int | None, option("N", _JOBS, "--jobs", "-j", min=1)] = None,
    dry_run: Annotated[bool, switch("--dry-run", "show the runs and the time they will take")] = False,
    only: Annotated[str | None, option("PATTERN", "only cells that match, such as 'resnet/*'")] = None,
    journal: Annotated[Path | None, option("FILE", "record finished runs here, and skip those recorded here")] = None,
    threads: Annotated[int | None, option("N", "threads of each run on a CPU", min=1)] = None,
    executor: Annotated[str, option("WORD", _EXECUTOR)] = "local",
    executor_options: Annotated[list[str] | None, option("KEY=VALUE", _OPTIONS)] = None,
    as_json: Json = False,
) -> None:
    """Compare methods on equal terms: same base, data, order, schedule and budget for every method of a seed.

    Settings are chosen on a validation split; the test split is read once per final run. What is finished is kept and
    what was interrupted is resumed, so the same command can be repeated at any time.
    """
    from refconv.studies.reading import read_study

    read = read_study(resolved(study, "studies"))
    if out is None and (not read.name or set(read.name) & set("/\\") or read.name.startswith(".")):
        remedy = "give --out"
        raise StudyError("cannot be the name of a folder", where="study.name", found=repr(read.name), remedy=remedy)
    folder = out or Path("runs") / read.name
    from refconv.studies import conduct, pages

    config = conduct.CompareConfig(
        jobs=jobs, threads=threads, executor=executor, executor_options=table("executor_options", executor_options),
        only=only, journal=journal, show=not as_json,
    )  # fmt: skip
    if dry_run:
        found = conduct.preview(read, folder, config)
        if as_json:
            say(found.to_json(), nl=False)
            return
        _print(found.table)
        say(str(found))
        return
    comparison = conduct.compare(read, folder, config)
    if as_json:
        say(comparison.to_json(), nl=False)
        return
    _print(pages.results(comparison))
    for line in pages.sentences(comparison):
        say(line)
    if len(gains := pages.gains(comparison)) > 1:
        say("\nAgainst the network before training")
        _print(gains)
        say(pages.GAINS)
    for line in ("", *pages.notes(comparison)):
        say(line)
    files = [conduct.RECORD_FILE, conduct.PAGE_FILE, *(conduct.PLOT_FILES if comparison.contrasts else ())]
    say(f"\n{folder}: {', '.join(files)}")


def _print(rows: list[tuple[str, ...]]) -> None:
    """Print a table: drawn in a terminal, as Markdown in a pipe."""
    if sys.stdout.isatty():
        _draw(rows)
        return
    from refconv.studies.pages import table

    say(f"\n{table(rows)}\n")


def _draw(rows: Sequence[Sequence[str]], caption: str | None = None, *, right: bool = False) -> None:
    """Draw a table, its titles first, in a terminal; if asked, with numbers at the right of their columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table(caption=caption)
    for place, title in enumerate(rows[0]):
        table.add_column(title, justify="right" if right and place else "left")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)


def demo(
    out: Annotated[Path, option("FOLDER", "folder of the runs", "--out", "-o")] = Path("runs/demo"),
    as_json: Json = False,
) -> None:
    """Train a small network on the digits for a short time, and improve it with refconv improve.

    Takes about a minute on two cores. Finished runs are kept: remove the folder to repeat them.
    """
    from refconv.improvement.demo import demo as run

    told = as_json or quiet()
    record = run(out, say=(lambda line: None) if told else typer.echo, show=not told)
    _tell(record, out / "improve", as_json=as_json)


_OUT = "folder to write; default: where --data scenes looks for it, in the user's cache"


def scenes(
    out: Annotated[Path | None, option("FOLDER", _OUT, "--out", "-o")] = None,
    train: Annotated[int, option("N", "scenes to train on")] = 2000,
    val: Annotated[int, option("N", "scenes to validate on")] = 250,
    test: Annotated[int, option("N", "scenes to test on")] = 500,
    size: Annotated[int, option("PIXELS", "height and width of a scene")] = 128,
    items: Annotated[str, option("LOW..HIGH", "how many items a scene is composed of")] = "1..6",
    seed: Annotated[int, option("S", "seed of everything random")] = 0,
    source: Annotated[str, typer.Option(help="what the items are: fashion-mnist or digits")] = "fashion-mnist",
    data_dir: Annotated[str | None, option("FOLDER", "folder of the source's files")] = None,
    force: Annotated[bool, switch("--force", "replace an existing folder of scenes")] = False,
    as_json: Json = False,
) -> None:
    """Compose scenes of several items on textured backgrounds, with exact labels of every pixel.

    Written at once as COCO json, as semantic masks and in Pascal VOC's layout; train, val and test share no item.
    """
    bounds = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", items.strip())
    if bounds is None:
        raise SettingError("no range", where="--items", expected="LOW..HIGH, such as 1..6", found=repr(items))
    counts = int(bounds[1]), int(bounds[2] or bounds[1])
    from refconv.data.scenes import default_folder, make_scenes
    from refconv.models.run_folder import held

    out = out or default_folder()
    scenes: dict[str, Any] = {"train": train, "val": val, "test": test, "size": size, "items": counts}
    with held(out, "folder of scenes", force=True):
        record = make_scenes(out, **scenes, seed=seed, source=source, root=data_dir, force=force, show=not as_json)
    say(record.to_json() if as_json else f"{out}: {record}", nl=not as_json)
