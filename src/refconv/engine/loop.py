"""A whole run: open, train, and write the plain result, its certificate and the record."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from refconv.data.loading import workers_kept
from refconv.engine.epochs import Loop
from refconv.engine.loggers.several import Loggers, check_installed
from refconv.engine.metrics import Metrics, NoMetrics
from refconv.engine.run_record import RunRecord, by_field, command, hardware, versions
from refconv.engine.setup import Setup, open_setup, thaw
from refconv.engine.start import evaluate_start, idle_settings, random_bases
from refconv.engine.stepping import Stepper
from refconv.errors import printable
from refconv.methods.method import parameters_allowed
from refconv.methods.registry import method_of
from refconv.models.checkpoint import Checkpoint
from refconv.models.creation import completed
from refconv.models.model_folder import is_model_folder, save_model_folder
from refconv.models.model_input import as_run
from refconv.models.run_folder import RunFolder, write_whole
from refconv.models.weight_files import read_weights
from refconv.named_code import resuming, running
from refconv.process.distributed import joined
from refconv.process.interruption import StoppedError
from refconv.process.progress import StepDisplay
from refconv.process.volume import quiet
from refconv.process.workers import leave_if_imported
from refconv.recipe.code import code_of, trust_named
from refconv.recipe.recipe import Recipe
from refconv.surgery import Certificate, plain_state_dict
from refconv.tasks.evaluation import emulated_bf16

__all__ = ["RunRecord", "train"]


def train(recipe: Recipe, out: Path | str, *, resume: bool = False, show: bool = True) -> RunRecord:
    """Train a model as a recipe says, and leave everything in a run folder.

    Under torchrun all processes call this and share the work; the first one writes and shows. A script that is run
    calls this below ``if __name__ == "__main__":``, since the workers that read images import it.

    Args:
        recipe: the settings.
        out: the run folder; it must be new, unless the run is resumed.
        resume: continue from the folder's checkpoint. A finished run returns its record.
        show: show progress on standard output.

    Returns:
        The record, which is also written as ``record.json``.

    Raises:
        RunError: if the folder is in use, exists already, cannot be written, or cannot be resumed with this recipe;
            or, like its subclass StoppedError after Ctrl-C, where it had to stop on the way.
        StoppedError: after Ctrl-C and other signals.
        RecipeError: if a setting does not fit the data, the model or the processes.
        DataError: if the data cannot be had.
        ModelError: if the model cannot be built, or does not fit the data.
        CheckpointError: if weights or checkpoint are damaged, refused, or do not fit.
        TrainingError: if a loss or a weight is not finite.
    """
    leave_if_imported()
    trust_named(recipe)
    begin = time.perf_counter()
    recipe = completed(recipe)
    check_installed(recipe.log)
    method = method_of(recipe)
    folder = RunFolder(out)
    with running(code_of(recipe)), joined(recipe.device) as processes, _reproducible(recipe), ExitStack() as stack:
        stack.enter_context(workers_kept(processes.device))
        if processes.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(processes.device)
        with processes.together():
            if processes.first:
                stack.enter_context(folder.opened(resume=resume))
        with processes.together():
            checkpoint = _checkpoint(folder, recipe) if resume else None
            if resume and folder.record_file.is_file() and is_model_folder(folder.model_folder):  # else finished again
                record = RunRecord.of_run(folder)
                if processes.first:
                    read_weights(folder.model_folder)  # which refuses what was damaged since
                    _keep_recipe(folder, recipe)
                if show and processes.first and not quiet():
                    print(printable(f"finished before: {last_line(record, recipe, folder)}"), flush=True)
                return record
            setup = open_setup(method, processes, checkpoint)
            loop = Loop(setup, Stepper(setup), folder, checkpoint)
            if processes.first and not (resume and folder.holds(recipe)):
                write_whole(folder.recipe_file, recipe.to_toml(versions()).encode())
        metrics: Metrics = NoMetrics()
        with processes.together():
            if processes.first:
                length = 0 if checkpoint is None else checkpoint.metrics_length
                loggers = Loggers(recipe, folder, step=loop.step)
                written = None if checkpoint is None else checkpoint.metrics_hash
                metrics = stack.enter_context(Metrics(folder, length=length, written=written, loggers=loggers))
        title = f"{recipe.method} {recipe.model.rpartition(':')[2]}"
        shown = StepDisplay(title, start=loop.step, total=loop.total, show=show and processes.first)
        stack.enter_context(shown)
        warnings = () if loop.step else (
            random_bases(method), idle_settings(method), setup.task.warning(setup.model, recipe), _alone(setup),
            emulated_bf16(processes.device, recipe.amp), setup.small_images,
        )  # fmt: skip
        for line in (*setup.data.said, *filter(None, warnings)):
            shown.say(line)
        before = loop.seconds_before
        loop.run(metrics, shown)
        begin += loop.seconds - before
        try:
            return _finish(loop, metrics, shown, begin)
        except KeyboardInterrupt:
            what, remedy = "stopped after the last step", f"the checkpoint is written: finish with {resuming()}"
            raise StoppedError(what, where=str(folder.path), remedy=remedy) from None


def _alone(setup: Setup) -> str | None:
    """Return a warning if batch norms are to share their statistics, and there is nobody to share them with."""
    alone = setup.recipe.sync_bn and setup.processes.alone
    return "warning: sync_bn has no effect: one process sees the whole batch anyway" if alone else None


def _checkpoint(folder: RunFolder, recipe: Recipe) -> Checkpoint:
    checkpoint = Checkpoint.load(folder.checkpoint_file)
    checkpoint.check_recipe(recipe, where=str(folder.path))
    return checkpoint


@contextmanager
def _reproducible(recipe: Recipe) -> Iterator[None]:
    """Use only deterministic algorithms, if the recipe asks for it; put torch's setting back afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    if recipe.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _finish(loop: Loop, metrics: Metrics, shown: StepDisplay, begin: float) -> RunRecord:
    """Build the plain result, certify it, test it once, and write model and record."""
    setup, seconds, folder = loop.setup, loop.seconds, loop.folder
    recipe, processes, space, device = setup.recipe, setup.processes, setup.method.space, setup.processes.device
    trained = sum(p.numel() for p in setup.model.parameters() if p.requires_grad)
    trained_model = loop.stepper.plain_result()
    thaw(trained_model, setup.frozen)
    state = plain_state_dict(trained_model)
    shipped = setup.spec.build()
    shipped.load_state_dict(state, strict=True)
    if recipe.channels_last:
        shipped.to(memory_format=torch.channels_last)  # as it was trained: another order of the sums rounds otherwise
    certificate = _certify(trained_model, shipped.to(device), setup)
    result = setup.evaluate(shipped, "test") if recipe.test and setup.data.info.test_size else None
    if result is not None:
        loop.check_finite(result, "test")
        epoch = loop.step / setup.steps_per_epoch
        metrics.write("test", step=loop.step, epoch=epoch, **result.measures())
        shown.say(f"test {result}")
    course = loop.course
    if course is not None:
        split, end = evaluate_start(shipped, setup, seen=loop.samples)
        loop.check_finite(end, split)
        course = dataclasses.replace(course, end=end.measures().get(course.measure))
    allowed = parameters_allowed(shipped, recipe)
    record = RunRecord(
        **{name: getattr(recipe, name) for name in ("task", "model", "data", "method", "seed", "batch_size")},
        test_samples=result.samples if result else 0,
        train_loss=loop.train_loss,
        validation=tuple(loop.validation),
        epochs=loop.stepper.epochs,
        steps=loop.total,
        samples_seen=loop.samples,
        parameters_trained=trained,
        parameters_shipped=sum(p.numel() for p in shipped.parameters()),
        extra_parameters=setup.plan.extra_parameters if setup.plan and space != "gradient" else 0,
        sites=len(setup.plan.refocused) if setup.plan else 0,
        seconds=seconds,
        seconds_around=time.perf_counter() - begin,
        step_ms=loop.step_ms,
        processes=processes.world_size,
        hardware=hardware(device, processes.world_size),
        versions=versions(),
        command=command(),
        certificate=certificate,
        peak_memory_mb=torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None,
        space=space,
        budget_miss=setup.plan.extra_parameters - allowed if setup.plan and allowed is not None else None,
        preprocessing=setup.data.preprocessing,
        course=course,
        definitions=setup.task.definitions(setup.data),
        **by_field(RunRecord, result.measures() if result else {}),
    )
    with processes.together():
        if processes.first:
            _write(folder, setup, state, record, shipped)
    metrics.record(record.to_dict())
    shown.say(last_line(record, recipe, folder))
    return record


def last_line(record: RunRecord, recipe: Recipe, folder: RunFolder) -> str:
    """Return the last line of a run: the measure at start and end, and where the result is."""
    course, place = record.course, f"written to {folder.model_folder}"
    if course is None or course.end is None:
        return place
    advice = f", worse than its start: a lower --lr than {recipe.lr:g} may help" if course.fell else ""
    return f"{course}{advice}, {place}"


def _certify(trained: nn.Module, shipped: nn.Module, setup: Setup) -> Certificate:
    """Compare the model in training with the plain result on training samples: the test split is not for this."""
    samples, _ = next(setup.data.eval_batches("train", batch_size=setup.task.samples_certified))
    return setup.task.certify(trained, shipped, setup.placed(samples))


def _keep_recipe(folder: RunFolder, recipe: Recipe) -> None:
    """Write the recipe again if it was removed; without it the folder cannot be read."""
    if not folder.recipe_file.is_file():
        write_whole(folder.recipe_file, recipe.to_toml(versions()).encode())


def _write(folder: RunFolder, setup: Setup, state: dict[str, Tensor], record: RunRecord, shipped: nn.Module) -> None:
    """Write the model, then the record, whose presence says that the run has finished."""
    save_model_folder(
        folder.model_folder,
        state,
        name=setup.recipe.model,
        info=setup.info,
        model_kwargs=setup.spec.model_kwargs,
        preprocessing=as_run(setup.data.preprocessing, setup.recipe),
        task=setup.recipe.task,
        certificate=record.certificate,
        model=shipped,
        then=None,
    )
    _keep_recipe(folder, setup.recipe)
    write_whole(folder.record_file, record.file_text().encode())
