"""Commands that look at models: evaluate one, predict with it, measure what changed between two, report on runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refconv.cli import options
from refconv.cli.options import FAILED, PREPROCESSING, REFERENCE, flag, option, switch, with_recipe_flags
from refconv.cli.saying import say
from refconv.cli.volume import note
from refconv.errors import DataError, ModelError, RunError, SettingError, file_name_text, printable
from refconv.process.volume import quiet
from refconv.recipe.fields import WORKERS

if TYPE_CHECKING:
    from refconv.report import ModelPair

_NAMED = 3  # of the images that could not be read, in the line about all of them


@with_recipe_flags(PREPROCESSING)
def eval_(
    flags: Mapping[str, Any],
    model: options.Runnable,
    data: options.DataName = None,
    data_dir: options.DataFolder = None,
    class_map: options.ClassMapFile = None,
    split: options.SplitName = "test",
    batch_size: Annotated[int, option("N", "samples per step", "--batch-size", "-b", min=1)] = 256,
    workers: Annotated[int, option("N", "processes that decode images", "--workers", "-j", min=0)] = WORKERS,
    device: options.Device = None,
    amp: Annotated[bool, options.switch("--amp", "compute in bf16 where that is safe")] = False,
    like: options.Like = None,
    task: options.TaskName = None,
    as_json: options.Json = False,
) -> None:
    """Evaluate a model by the measures of its task: top-1, mAP, mIoU or PSNR.

    A model's bare name is evaluated with its pretrained weights.

    Images get the size, crop, resampling and normalisation that the model was trained with, unless flags say otherwise;
    what is used is printed first, with where each value comes from.
    """
    if split not in {"train", "val", "test"}:
        raise SettingError("unknown split", where="--split", expected="train, val or test", found=repr(split))
    from refconv.models.opening import open_model
    from refconv.models.strides import too_small
    from refconv.process.distributed import choose_device
    from refconv.process.progress import Evaluating
    from refconv.tasks.evaluation import emulated_bf16
    from refconv.tasks.model_data import data_for
    from refconv.tasks.registry import task_named

    place = choose_device(device)
    opened = open_model(model, pretrained=True, model=like, task=task, flags=flags, exported=True)
    images = data_for(opened, data, root=data_dir, workers=workers, class_map=class_map)
    small = too_small(opened.model, images.info.input_size) if task_named(opened.task).prepares_images else None
    for line in filter(None, (*images.said, emulated_bf16(place, amp), small)):
        note(line)
    part: Any = split
    settings: dict[str, Any] = {"batch_size": batch_size, "device": place, "amp": amp}
    with Evaluating(model, images, part):
        found = task_named(opened.task).evaluate(opened.model.to(place), images, part, **settings)
    if not found.finite:
        remedy = "check the preprocessing and how the weights were trained"
        raise ModelError("its outputs on this data are not finite, so it has no loss", where=model, remedy=remedy)
    if found.absurd:
        note(found.absurd)
    say(found.to_json() if as_json else f"{model} on {images.info.name}, {split}: {found}", nl=not as_json)


@with_recipe_flags(PREPROCESSING)
def predict(
    flags: Mapping[str, Any],
    model: options.Runnable,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="images, or folders of images")],
    out: Annotated[Path | None, option("FOLDER", "write pictures and predictions.json", "--out", "-o")] = None,
    threshold: Annotated[float | None, option("X", "minimum score; default for boxes: 0.5", min=0, max=1)] = None,
    device: options.Device = None,
    like: options.Like = None,
    task: options.TaskName = None,
    as_json: Annotated[bool, options.switch("--json", "print JSON, an object a line")] = False,
) -> None:
    """Predict on images: classes, boxes, segments, or the restored image.

    Images get the size, crop, resampling and normalisation that the model was trained with, unless flags say otherwise;
    what is used is printed first, with where each value comes from. Where neither says the size, that of the images is.
    Pictures are written with --out. Images that cannot be read are left out and named, and the exit status is 3 then.
    """
    from refconv.models.opening import input_of, open_model
    from refconv.models.strides import too_small
    from refconv.process.distributed import choose_device
    from refconv.tasks.predicting import image_files, looking_at, pictured, predictions, save_predictions
    from refconv.tasks.registry import task_named

    if out is not None:
        check_folder(out)
    files = image_files(images)
    opened = open_model(model, pretrained=True, model=like, task=task, flags=flags, exported=True)
    opened = looking_at(opened, files)
    pictures = all(pictured(opened, file) for file in files)
    preprocessing = input_of(opened, pictures=pictures) if task_named(opened.task).prepares_images else None
    if preprocessing is not None:
        small = too_small(opened.model, preprocessing.input_size)
        for line in filter(None, (f"images: {preprocessing}", preprocessing.warning, small)):
            note(line)
    found = []
    unreadable: list[tuple[Path, DataError]] = []
    asked: dict[str, Any] = {"device": choose_device(device), "threshold": threshold, "unreadable": unreadable}
    with _holding(out, "folder of predictions"):
        for file, prediction in predictions(opened, files, **asked):
            line = json.dumps({"image": file_name_text(str(file)), **prediction.content}, ensure_ascii=False)
            say(line if as_json else printable(f"{file}: {prediction.words}"))
            found.append((file, prediction))
        if out is not None:
            save_predictions(out, found)
    if out is not None and not as_json and not quiet():
        say(f"written to {out}")
    if unreadable:
        if as_json:
            for file, error in unreadable:
                said = {"image": file_name_text(str(file)), "error": file_name_text(str(error))}
                say(json.dumps(said, ensure_ascii=False))
        _name_unreadable(unreadable, len(files))
        raise typer.Exit(FAILED)


def _name_unreadable(unreadable: Sequence[tuple[Path, DataError]], count: int) -> None:
    """Say on standard error why each image could not be read, and at the end how many these are."""
    for _, error in unreadable:
        note(f"warning: {error}")
    names = ", ".join(file_name_text(str(file)) for file, _ in unreadable[:_NAMED])
    more = f" and {len(unreadable) - _NAMED:,} more" if len(unreadable) > _NAMED else ""
    say(printable(f"{len(unreadable):,} of {count:,} images could not be read: {names}{more}"), err=True)


@with_recipe_flags(PREPROCESSING)
def analyze(
    flags: Mapping[str, Any],
    before: Annotated[str, option("A", REFERENCE)],
    after: Annotated[str, option("B", "the same; the model that it became")],
    out: Annotated[Path | None, option("FOLDER", "write a JSON record per measure, for report", "--out", "-o")] = None,
    only: options.Only = None,
    include: Annotated[list[str] | None, option("PATTERN", "only layers that match")] = None,
    exclude: Annotated[list[str] | None, option("PATTERN", "no layer that matches")] = None,
    model: options.Like = None,
    pretrained: options.Pretrained = True,
    data: Annotated[str | None, option("DATA", "also measure on this data: classifiers only")] = None,
    data_dir: options.DataFolder = None,
    class_map: options.ClassMapFile = None,
    split: options.SplitName = "test",
    cue_conflict: Annotated[str | None, option("FOLDER", "also measure shape or texture, on SHAPE-TEXTURE.png")] = None,
    samples: options.Samples = None,
    seconds: Annotated[float | None, option("S", "approximate time of all measures; default: no limit")] = None,
    again: options.Again = False,
    device: options.Device = None,
    as_json: Annotated[bool, options.switch("--json", "print records and verdicts as JSON")] = False,
) -> None:
    """Measure what changed between two models: redundancy, skeletons, filters, movement, relations of kernels.

    With --data also which samples changed sides, calibration, the landscape of the loss and its curvature, and accuracy
    under attacks, corruptions and shifts. Refocused models count as the plain ones they merge to, a bare name as the
    model with its pretrained weights. Weights take seconds,
    data minutes, or up to --seconds. With --out each measure is written when it is finished, and the same command goes
    on after a stop. docs/analysis.md explains each number; refconv report makes a page of what --out wrote.
    """
    from refconv.analysis.analysing import Display, analyse, open_couple
    from refconv.analysis.evidence import AnalysisConfig
    from refconv.measures.pairs import ModelPair
    from refconv.measures.verdicts import judgements
    from refconv.report import read_pair

    if out is not None:
        check_folder(out)
    elif again:
        raise SettingError("has no effect", where="--again", remedy="only a folder given by --out has measures already")
    patterns = {"only": tuple(only or ()), "include": tuple(include or ()), "exclude": tuple(exclude or ())}
    evidence: dict[str, Any] = {**patterns, "data": data, "data_dir": data_dir, "class_map": class_map, "split": split}
    evidence["cue_conflict"] = cue_conflict
    questions = AnalysisConfig(**evidence, samples=samples, seconds=seconds, device=device)
    couple = open_couple(before, after, model=model, pretrained=pretrained, flags=flags)
    with _holding(out, "analysis folder"):
        analysis = analyse(couple, questions, display=Display(), keep=out, again=again)
        pair = ModelPair(analysis.facts.after.method or "after", analysis.facts, analysis.records)
        if out is not None:
            pair = _chosen(read_pair(out, pair.name), only)
        if as_json:
            records = {name: record.to_dict() for name, record in pair.records.items()}
            verdicts = {name: found.to_dict() for name, found in judgements([pair]).items()}
            say(json.dumps({**records, "verdicts": verdicts}, ensure_ascii=False))
        else:
            say("\n\n".join(f"{name}\n\n{record}" for name, record in pair.records.items()))
        for name, reason in analysis.facts.left_out.items():
            if not only or name in only:
                note(f"{name} left out: {reason}")


_RUNS = "folders of runs with one base, or of analyses (analyze --out)"
_PAGE = "the page; default: report.html, in a single RUN"


@with_recipe_flags(PREPROCESSING)
def report(
    flags: Mapping[str, Any],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help=_RUNS)],
    out: Annotated[Path | None, option("FILE", _PAGE, "--out", "-o")] = None,
    before: Annotated[str | None, option("BASE", "model before; default: what the run started from")] = None,
    data: options.DataName = None,
    data_dir: options.DataFolder = None,
    class_map: options.ClassMapFile = None,
    split: options.SplitName = "test",
    samples: options.Samples = None,
    seconds: Annotated[float, option("S", "approximate time of all measures")] = 60,
    only: options.Only = None,
    title: Annotated[str | None, option("TEXT", "title of the page")] = None,
    weights: Annotated[bool, switch("--weights", "measure weights only, without data")] = False,
    again: options.Again = False,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Show what changed between a base and the runs that came of it, on one page without a network.

    Each run is measured against its base, and the records are kept in RUN/analysis for the next time. Several runs of
    one base, such as plain and refocus, stand side by side. docs/analysis.md explains the page.
    """
    from refconv.analysis.reportable import ANALYSIS_FOLDER, holds_analysis, pair_names
    from refconv.report import read_pair, write_report
    from refconv.report.writing import check_page_place

    places = [run.resolve() for run in runs]
    if twice := [run for place, run in zip(places, runs, strict=True) if places.count(place) > 1]:
        raise RunError("named more than once", where=str(twice[-1]), expected="every run once")
    page = out or (runs[0] if len(runs) == 1 else Path()) / "report.html"
    check_file(page)
    check_page_place(page)
    unmade = [folder for folder in runs if not holds_analysis(folder)]
    with _holding(page, "report"):
        asked = {"data": data, "data_dir": data_dir, "class_map": class_map, "samples": samples, "device": device}
        how: dict[str, Any] = {"before": before, "weights": weights, "again": again}
        if unmade:
            if weights and data is not None:
                raise SettingError("cannot be combined with --data", where="--weights")
            from refconv.analysis.analysing import Display
            from refconv.analysis.evidence import AnalysisConfig
            from refconv.analysis.reporting import analyses_of

            questions: dict[str, Any] = {**asked, "split": split, "seconds": seconds, "only": tuple(only or ())}
            reasons = analyses_of(unmade, AnalysisConfig(**questions), display=Display, flags=flags, **how)
            for run, missing in zip(unmade, reasons, strict=True):
                if missing:
                    note(f"{run}: weights only; {missing}")
        elif given := [name for name, value in {**asked, **how, **flags}.items() if value]:
            remedy = "name runs, or analyse again by refconv analyze --out"
            raise SettingError("has no effect on analyses that are there", where=flag(given[0]), remedy=remedy)
        folders = [folder / ANALYSIS_FOLDER if folder in unmade else folder for folder in runs]
        pairs = [_chosen(read_pair(folder), only) for folder in folders]
        names = pair_names([pair.facts for pair in pairs], runs)
        pairs = [replace(pair, name=name) for pair, name in zip(pairs, names, strict=True)]
        written = write_report(pairs, page, title=title)
    found = {"page": str(written.path), "measures": written.sections, "results": dict(written.headlines)}
    say(json.dumps(found, ensure_ascii=False) if as_json else str(written))


def _chosen(pair: ModelPair, only: list[str] | None) -> ModelPair:
    """Return a pair with the records of some measures alone."""
    if not only:
        return pair
    of_measure = {name: name.removesuffix("-before").removesuffix("-after") for name in pair.records}
    for name in only:
        if name not in of_measure.values() and name not in pair.facts.left_out:
            expected = ", ".join(dict.fromkeys(of_measure.values()))
            raise SettingError("no such measure", where="--only", expected=expected, found=name)
    return replace(pair, records={name: pair.records[name] for name, measure in of_measure.items() if measure in only})


def _holding(out: Path | None, what: str) -> AbstractContextManager[None]:
    """Hold what a command is to write, or replace, from before its work begins; None: it writes nothing."""
    from refconv.models.run_folder import held

    return nullcontext() if out is None else held(out, what, force=True)


def check_file(path: Path) -> None:
    """Make sure that a file can be written at ``path``; its folder need not exist."""
    if path.is_dir():
        raise RunError("cannot be written: a folder is there", where=str(path), remedy="name a file in it")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Make sure that files can be written into ``path``, which need not exist."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
    remedy = "give another place"
    if not there.is_dir():
        raise RunError("cannot be a folder", where=str(path), found=f"a file {there}", remedy=remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        found = f"no right to write in {there}"
        raise RunError("cannot be written to", where=str(path), found=found, remedy=remedy)
